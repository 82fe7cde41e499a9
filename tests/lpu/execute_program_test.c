/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole programs: loops, patches, appends to a KV cache, arrays across a seam, two chips, energy, running again.
 */
#include <math.h>

#include "lpu/rig.h"

#define LANES 32

/* A copy of word `from` of image `a` to word `to` of image `b` (both one slice of hemisphere 0 and 1) in the segment
 * being written; gives the segment's length. */
static int32_t copy_word(struct rig *rig, int32_t a, int32_t b, const struct td_lpu_patch *from,
                         const struct td_lpu_patch *to) {
  const struct td_lpu_machine *m = rig->machine;
  int32_t at = td_lpu_memory_position(m, 0, rig->images[a].slice),
          far = td_lpu_memory_position(m, 1, rig->images[b].slice);
  int32_t passes = m->delay[TD_LPU_MEMORY].func + far - at;
  int32_t read = hand_read(rig->code, 0, a, 0, 0, TD_LPU_EAST | 7);
  hand_patched(rig->code, read, 0, hand_patch(rig->code, from));
  int32_t write = hand_write(rig->code, passes - m->memory_write_skew, b, 0, 0, TD_LPU_EAST | 7);
  hand_patched(rig->code, write, 1, hand_patch(rig->code, to));
  return passes + 1;
}

static struct td_lpu_patch moving_by(enum td_lpu_variable a, int32_t by, enum td_lpu_variable b, int32_t other) {
  struct td_lpu_patch patch = {.lane = -1};
  for (int v = 0; v < TD_LPU_VARIABLES; v++) patch.high[v] = 400;
  patch.coefficient[a] = by;
  patch.coefficient[b] += other;
  return patch;
}

static void fill(struct rig *rig, const char *image, int32_t rows, int32_t factor) {
  uint8_t bytes[LANES];
  for (int32_t r = 0; r < rows; r++) {
    for (int l = 0; l < LANES; l++) bytes[l] = (uint8_t)(factor * (r + 1) + l);
    rig_write(rig, image, r, bytes);
  }
}

static void check_row(struct rig *rig, const char *image, int32_t row, int32_t from, int32_t factor) {
  uint8_t got[LANES];
  rig_read(rig, image, row, got);
  for (int l = 0; l < LANES; l++) assert_int_equal(got[l], from < 0 ? 0 : (uint8_t)(factor * (from + 1) + l));
}

/* Layers, then rows and their KV blocks: word BLOCK + 8 ROW of "b" becomes word KV_BLOCK of "a", word LAYER + 100 of
 * "b" word 3 LAYER. */
static void test_loops(void **state) {
  (void)state;
  struct rig rig;
  rig_open(&rig, 1);
  int32_t a = rig_image(&rig, "a", TD_LPU_I8, 0, 0, 3, 32, LANES, 0),
          b = rig_image(&rig, "b", TD_LPU_I8, 0, 1, 9, 120, LANES, 0);
  hand_kv_block(rig.code, 16);
  struct td_lpu_patch from = moving_by(TD_VAR_KV_BLOCK, 1, TD_VAR_ROW, 0),
                      to = moving_by(TD_VAR_BLOCK, 1, TD_VAR_ROW, 8);
  int32_t lengths[2] = {copy_word(&rig, a, b, &from, &to), 0};
  hand_segment(rig.code, "layer", 0);
  from = moving_by(TD_VAR_LAYER, 3, TD_VAR_ROW, 0);
  to = moving_by(TD_VAR_LAYER, 1, TD_VAR_ROW, 0);
  lengths[1] = copy_word(&rig, a, b, &from, &to);
  hand_at(rig.code, 1)->address[1] += 100;
  hand_entry(rig.code, 3);
  hand_loop(rig.code, TD_VAR_LAYER, 0, 4);
  hand_run(rig.code, 1, 0);
  hand_end(rig.code);
  hand_loop(rig.code, TD_VAR_ROW, 0, 0);
  hand_loop(rig.code, TD_VAR_BLOCK, 0, 0);
  hand_run(rig.code, 0, 0);
  hand_end(rig.code);
  hand_end(rig.code);
  rig_build(&rig);
  for (int s = 0; s < 2; s++) rig.program->segments[s].length = lengths[s];
  fill(&rig, "a", 32, 7);
  const int32_t blocks[3][3] = {{4, 2, 9}, {1}, {30, 31}};
  const struct td_lpu_row rows[] = {{40, blocks[0], 3}, {3, blocks[1], 1}, {16, blocks[2], 2}};
  const struct td_lpu_step step = {rows, 3};
  if (td_lpu_execute(rig.system, 0, &step, &rig.counts)) fail_msg("%s", td_error_text());
  assert_int_equal(rig.counts.cycles, 4 * lengths[1] + 6 * lengths[0] + rig.machine->superlanes - 1);
  assert_int_equal(rig.counts.cycles, td_lpu_program_cycles(rig.program, 0, &step));
  assert_int_equal(rig.counts.issued[TD_LPU_MEMORY], 2 * (4 + 6));
  for (int r = 0; r < 3; r++) {
    for (int i = 0; i < 8; i++) check_row(&rig, "b", 8 * r + i, i < rows[r].block_count ? blocks[r][i] : -1, 7);
  }
  for (int layer = 0; layer < 4; layer++) check_row(&rig, "b", 100 + layer, 3 * layer, 7);
  rig_close(&rig);
}

/* Each row's vector goes to its position's place in its block: all slices of the group write, one for real. */
static void test_append(void **state) {
  (void)state;
  enum { TOKENS = 32, BLOCKS = 4 };
  struct rig rig;
  rig_open(&rig, 1);
  const struct td_lpu_machine *m = rig.machine;
  hand_kv_block(rig.code, TOKENS);
  int32_t x = rig_image(&rig, "x", TD_LPU_I8, 0, 0, 39, 3, LANES, 0);
  int32_t kv = rig_image(&rig, "kv", TD_LPU_I8, 0, 0, 0, BLOCKS * TOKENS, LANES, 16), scratch = rig.next_word;
  int32_t start = td_lpu_memory_position(m, 0, 39);
  struct td_lpu_patch row = moving_by(TD_VAR_ROW, 1, TD_VAR_LAYER, 0),
                      slot = moving_by(TD_VAR_KV_BLOCK, TOKENS / 16, TD_VAR_SLOT, 1);
  hand_patched(rig.code, hand_read(rig.code, 0, x, 0, 0, TD_LPU_EAST | 3), 0, hand_patch(rig.code, &row));
  for (int32_t s = 0; s < 16; s++) {
    int32_t passes = m->delay[TD_LPU_MEMORY].func + td_lpu_memory_position(m, 0, s) - start;
    int32_t write = hand_write(rig.code, passes - m->memory_write_skew, kv, s, 0, TD_LPU_EAST | 3);
    slot.lane = s;
    slot.otherwise = scratch;
    hand_patched(rig.code, write, 1, hand_patch(rig.code, &slot));
    if (passes > rig.last) rig.last = passes;
  }
  hand_entry(rig.code, 3);
  hand_loop(rig.code, TD_VAR_ROW, 0, 0);
  hand_run(rig.code, 0, 0);
  hand_end(rig.code);
  rig_build(&rig);
  rig.program->segments[0].length = rig.last + 1;
  fill(&rig, "x", 3, 50);
  const int32_t blocks[3][3] = {{2}, {0, 3}, {1}};
  const struct td_lpu_row rows[] = {{5, blocks[0], 1}, {32 + 19, blocks[1], 2}, {31, blocks[2], 1}};
  const struct td_lpu_step step = {rows, 3};
  if (td_lpu_execute(rig.system, 0, &step, &rig.counts)) fail_msg("%s", td_error_text());
  for (int32_t r = 0; r < BLOCKS * TOKENS; r++) {
    check_row(&rig, "kv", r, r == 2 * 32 + 5 ? 0 : r == 3 * 32 + 19 ? 1 : r == 1 * 32 + 31 ? 2 : -1, 50);
  }
  rig_close(&rig);
}

/* ---- a seam: segment 0 installs, segment 1 passes ---- */

static void build_seam(struct rig *rig, uint32_t out, uint32_t in) {
  rig_open(rig, 1);
  const struct td_lpu_machine *m = rig->machine;
  int32_t w = rig_image(rig, "w", TD_LPU_I8, 0, 0, 0, 32, LANES, 16),
          x = rig_image(rig, "x", TD_LPU_I8, 0, 0, 32, 1, LANES, 0);
  int32_t y = rig_image(rig, "y", TD_LPU_I32, 0, 0, 36, 1, LANES, 0), install = 0, lengths[2];
  hand_arrays(rig->code, 0, out);
  for (int32_t c = 0; c < 2; c++) {
    int32_t issue = 40 + c - m->delay[TD_LPU_LOAD].skew;
    hand_load(rig->code, issue, 0, 1, TD_LPU_I8, c, rig_feed(rig, w, c, 0, 40 + c, 0));
    install = issue + m->delay[TD_LPU_LOAD].func;
  }
  hand_install(rig->code, install, 0, 1);
  lengths[0] = install + m->install_cycles;
  hand_segment(rig->code, "pass", 0);
  hand_arrays(rig->code, in, 0);
  int32_t sum = 40 + m->delay[TD_LPU_PASS].func;
  hand_pass(rig->code, 40, 0, 1, TD_LPU_I8, rig_feed(rig, x, 0, 0, 40 + m->delay[TD_LPU_PASS].skew, 0), 0);
  hand_sum(rig->code, sum, 0, 1, TD_LPU_I32, TD_LPU_EMIT, 0,
           rig_store(rig, y, 0, 0, sum + m->delay[TD_LPU_SUM].func, 4));
  lengths[1] = rig->last + 1;
  hand_entry(rig->code, 1);
  hand_run(rig->code, 0, 0);
  hand_run(rig->code, 1, 0);
  rig_build(rig);
  for (int s = 0; s < 2; s++) rig->program->segments[s].length = lengths[s];
  rig->last += lengths[0];
}

static void test_seam(void **state) {
  (void)state;
  struct rig rig;
  build_seam(&rig, 2, 2);
  int8_t row[LANES], x[LANES];
  int32_t y[LANES];
  for (int k = 0; k < LANES; k++) {
    for (int n = 0; n < LANES; n++) row[n] = (int8_t)(k * n - 40);
    rig_write(&rig, "w", k, row);
    x[k] = (int8_t)(k - 9);
  }
  rig_write(&rig, "x", 0, x);
  for (int turn = 0; turn < 3; turn++) rig_run(&rig); /* nothing is left over from one to the next */
  rig_read(&rig, "y", 0, y);
  for (int n = 0; n < LANES; n++) {
    int32_t want = 0;
    for (int k = 0; k < LANES; k++) want += x[k] * (int8_t)(k * n - 40);
    assert_int_equal(y[n], want);
  }
  rig_close(&rig);
  for (uint32_t undeclared = 0; undeclared < 2; undeclared++) {
    build_seam(&rig, undeclared ? 2 : 0, undeclared ? 0 : 2);
    rig_refused(&rig, "INSTALL: found no array");
    rig_close(&rig);
  }
}

/* ---- two chips ---- */

/* Vectors r = 0 .. 2 of chip 0 go east over link 0 and those of chip 1 back west over the same wire. */
static void test_links(void **state) {
  (void)state;
  struct rig rig;
  rig_open(&rig, 2);
  const struct td_lpu_machine *m = rig.machine;
  struct td_lpu_rates rates;
  td_lpu_machine_rates(m, &rates);
  int32_t spacing = (int32_t)rates.link_vector_cycles;
  const char *const names[2][2] = {{"x0", "y0"}, {"x1", "y1"}};
  for (int32_t chip = 0; chip < 2; chip++) {
    int32_t side = chip, far = 1 - chip; /* chip 0 sends on link 0, in the west; chip 1 on link 1, in the east */
    int32_t x = rig_image(&rig, names[chip][0], TD_LPU_I8, chip, side, 2, 3, LANES, 0);
    int32_t y = rig_image(&rig, names[chip][1], TD_LPU_I8, far, far, 6, 3, LANES, 0);
    for (int32_t r = 0; r < 3; r++) {
      int32_t issue = 60 + r * spacing, position = td_lpu_matrix_position(m, side);
      hand_send(rig.code, issue, chip, chip, rig_feed(&rig, x, r, position, issue + m->delay[TD_LPU_SEND].skew, 5));
      int32_t arrives = issue + m->link_latency;
      int32_t out = rig_store(&rig, y, r, td_lpu_matrix_position(m, far), arrives + m->delay[TD_LPU_RECEIVE].func, 6);
      hand_receive(rig.code, arrives, far, far, out);
    }
  }
  rig_ready(&rig);
  for (int32_t chip = 0; chip < 2; chip++) fill(&rig, names[chip][0], 3, 20 + 60 * chip);
  rig_run(&rig);
  for (int32_t chip = 0; chip < 2; chip++) {
    for (int32_t r = 0; r < 3; r++) check_row(&rig, names[chip][1], r, r, 20 + 60 * chip);
  }
  assert_int_equal(rig.counts.busy[TD_UNIT_LINK], 6 * spacing);
  rig_close(&rig);
}

static void test_wiring(void **state) {
  (void)state;
  struct rig rig;
  int32_t chip, link;
  rig_open(&rig, 1);
  const struct td_lpu_machine *m = rig.machine; /* 3 links used of 4 */
  assert_true(td_lpu_link_peer(m, 3, 2, 0, &chip, &link));
  assert_int_equal(chip, 0);
  assert_int_equal(link, 1);
  assert_true(td_lpu_link_peer(m, 3, 0, 1, &chip, &link));
  assert_int_equal(chip, 2);
  assert_int_equal(link, 0);
  assert_false(td_lpu_link_peer(m, 3, 0, 2, &chip, &link)); /* its far end, link 3, is not wired */
  assert_false(td_lpu_link_peer(m, 3, 0, 3, &chip, &link));
  assert_false(td_lpu_link_peer(m, 3, 0, -1, &chip, &link));
  assert_false(td_lpu_link_peer(m, 1, 0, 0, &chip, &link));
  rig_ready(&rig);
  rig_close(&rig);
}

/* ---- energy, images ---- */

/* Copying one word: two memory slices work for a cycle each, all else idles. */
static void test_energy(void **state) {
  (void)state;
  struct rig rig;
  rig_open(&rig, 1);
  const struct td_lpu_machine *m = rig.machine;
  int32_t a = rig_image(&rig, "a", TD_LPU_I8, 0, 0, 3, 1, LANES, 0),
          b = rig_image(&rig, "b", TD_LPU_I8, 0, 1, 9, 1, LANES, 0);
  struct td_lpu_patch still = {.lane = -1};
  rig.last = copy_word(&rig, a, b, &still, &still) - 1;
  rig_ready(&rig);
  rig_run(&rig);
  double cycles = (double)rig.counts.cycles;
  double watts = 0.7 + 80 * 0.004 + 4 * 0.06 + 16 * 0.001 + 8 * 0.007 + 3 * 0.009;
  double want = (watts * cycles + 2 * (0.03 - 0.004)) / m->clock_hz;
  assert_true(fabs(rig.counts.energy_j - want) < 1e-12 * want);
  rig.program->machine.has_power = false;
  rig_run(&rig);
  assert_true(isnan(rig.counts.energy_j));
  rig_close(&rig);
}

static void refused_image(td_status status, td_status want, const char *words) {
  assert_int_equal(status, want);
  if (!strstr(td_error_text(), words)) fail_msg("found \"%s\", expected \"%s\"", td_error_text(), words);
}

/* Rows of more than one vector, in both layouts; what is not there. */
static void test_images(void **state) {
  (void)state;
  struct rig rig;
  rig_open(&rig, 2);
  rig_image(&rig, "wide", TD_LPU_F32, 1, 1, 5, 4, 70, 0);
  rig_image(&rig, "steps", TD_LPU_F16, 0, 0, 0, 20, 40, 16);
  hand_image(rig.code, "scratch", TD_IMAGE_SCRATCH, TD_LPU_I8, 0, 0, 0, 1, 200, 4);
  rig_ready(&rig);
  float in[70], out[70];
  uint16_t half[40], back[40];
  for (int i = 0; i < 70; i++) in[i] = (float)i * 1.25f;
  for (int i = 0; i < 40; i++) half[i] = (uint16_t)(i * 1001);
  rig_write(&rig, "wide", 2, in);
  rig_read(&rig, "wide", 2, out);
  assert_memory_equal(in, out, sizeof in);
  /* row 2 begins with vector 6: element 33 is lane 1 of vector 7, byte 3 in the fourth slice */
  uint64_t at = (((uint64_t)1 * 512 + 7) * 80 + 40 + 5 + 3) * 32 + 1;
  assert_int_equal(rig.system->sram[at], ((uint8_t *)&in[33])[3]);
  rig_write(&rig, "steps", 19, half);
  rig_read(&rig, "steps", 19, back);
  assert_memory_equal(half, back, sizeof half);
  /* row 19 begins with vector 38: element 5 is in word 2 behind "wide", slices 12 and 13 */
  at = ((12 + 2) * (uint64_t)80 + 6 * 2 + 1) * 32 + 5;
  assert_int_equal(rig.system->sram[at], half[5] >> 8);
  refused_image(td_lpu_image_read(rig.system, "wide", 4, out), TD_CONFIG, "found row 4, expected one of its 4 rows");
  refused_image(td_lpu_image_write(rig.system, "wide", -1, out), TD_CONFIG, "found row -1, expected one of its 4 rows");
  refused_image(td_lpu_image_read(rig.system, "none", 0, out), TD_CONFIG, "found image \"none\"");
  refused_image(td_lpu_image_read(rig.system, "scratch", 0, out), TD_CONFIG, "found row 0, expected one of its 0 rows");
  rig_close(&rig);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_loops),  cmocka_unit_test(test_append), cmocka_unit_test(test_seam),
      cmocka_unit_test(test_links),  cmocka_unit_test(test_wiring), cmocka_unit_test(test_energy),
      cmocka_unit_test(test_images),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
