/* SPDX-License-Identifier: Apache-2.0
 *
 * Programs by hand on every host: one that uses everything leaves the SRAM of step mode, and those that go out of range
 * say what all hosts say. Slow hosts have the emulator's own tests.
 */
#include <math.h>

#include "lpu/hosts.h"
#include "lpu/rig.h"
#include "lpu/sample.h"
#include "tandem/devices.h"

#define LANES 32
#define READ_AT 80

#define assert_ok(expr)                                   \
  do {                                                    \
    if (expr) fail_msg("%s: %s", #expr, td_error_text()); \
  } while (0)

/* ---- everything ---- */

static uint64_t bytes_of(const struct td_lpu_program *program) {
  const struct td_lpu_machine *m = &program->machine;
  return (uint64_t)program->chips * (uint64_t)m->mem_words * (uint64_t)m->mem_slices * (uint64_t)m->lanes;
}

/* The KV cache, which comes without contents: halves of either sign below 2. */
static void fill_kv(struct td_lpu_host *host, const struct td_lpu_program *program, const struct td_lpu_image *image) {
  const struct td_lpu_machine *m = &program->machine;
  uint8_t row[TD_LPU_MOST_STREAMS * TD_LPU_MOST_LANES];
  size_t bytes = (size_t)image->slices * (size_t)m->lanes;
  int64_t slice = (int64_t)image->hemisphere * m->mem_slices / 2 + image->slice;
  uint32_t seed = 11;
  assert_true(bytes <= sizeof row);
  for (int32_t w = 0; w < image->words; w++) {
    int64_t word = (int64_t)image->chip * m->mem_words + image->word + w;
    for (size_t i = 0; i < bytes; i++) row[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24 & 0xbf);
    assert_ok(td_lpu_host_sram_write(host, (uint64_t)((word * m->mem_slices + slice) * m->lanes), bytes, row));
  }
}

static void run_twice(struct td_lpu_host *host, const struct td_lpu_program *program, struct td_lpu_counts *counts) {
  for (int32_t i = 0; i < program->image_count; i++) {
    if (program->images[i].kind == TD_IMAGE_KV) fill_kv(host, program, &program->images[i]);
  }
  for (int i = 0; i < 2; i++) assert_ok(td_lpu_host_run(host, 0, sample_step(), counts));
}

static void test_sample(void **state) {
  (void)state;
  struct td_device_params *params;
  struct td_lpu_host *truth;
  struct td_lpu_counts counts, found;
  assert_ok(td_device_params_open(test_source("devices/lpu-tiny.cfg"), &params));
  struct td_lpu_program *program = sample_program(td_lpu_machine_of(params));
  uint64_t bytes = bytes_of(program);
  uint8_t *expected = malloc(bytes);
  assert_non_null(expected);
  assert_ok(td_lpu_host_open(program, "step", &truth));
  run_twice(truth, program, &counts);
  /* The last segment says that it is longer than what it does, which only instructions by themselves can tell. */
  int64_t spare = td_lpu_program_cycles(program, 0, sample_step()) - counts.cycles;
  program->segments[program->segment_count - 1].length -= (int32_t)spare;
  assert_ok(td_lpu_host_sram_read(truth, 0, bytes, expected));
  td_lpu_host_close(truth);
  for (size_t i = 0; i < lpu_host_kind_count; i++) {
    struct td_lpu_host *host = lpu_host_kinds[i].slow ? NULL : lpu_host_open(&lpu_host_kinds[i], program);
    if (!host) continue;
    if (td_lpu_host_note(host)) fail_msg("%s", td_lpu_host_note(host));
    run_twice(host, program, &found);
    lpu_host_compare(host, &lpu_host_kinds[i], program, expected, bytes, "the sample");
    lpu_host_compare_counts(&found, &counts, lpu_host_kinds[i].name);
    td_lpu_host_close(host);
  }
  free(expected);
  td_lpu_program_free(program);
  td_device_params_close(params);
}

/* ---- out of range ---- */

/* On each of two chips: y = operation of x, 1; then v = y + y in float32, so that more follows a failure. */
static void build_pair(struct rig *rig, enum td_lpu_alu operation, enum td_lpu_type out) {
  static const char *const names[2][3] = {{"x0", "y0", "v0"}, {"x1", "y1", "v1"}};
  rig_open(rig, 2);
  const struct td_lpu_machine *m = rig->machine;
  int32_t middle = td_lpu_vector_position(m), issue = READ_AT - m->delay[TD_LPU_ALU].skew;
  for (int32_t chip = 0; chip < 2; chip++) {
    int32_t x = rig_image(rig, names[chip][0], TD_LPU_F32, chip, 0, 4, 1, LANES, 0);
    int32_t y = rig_image(rig, names[chip][1], out, chip, 1, 3, 1, LANES, 0);
    int32_t v = rig_image(rig, names[chip][2], TD_LPU_F32, chip, 1, 8, 1, LANES, 0);
    int32_t to = rig_store(rig, y, 0, middle, issue + m->alu_func[operation], 4);
    int32_t op = hand_alu(rig->code, issue, chip, 0, operation, out, to);
    int32_t from = rig_feed(rig, x, 0, middle, READ_AT, 0);
    hand_from(rig->code, op, 0, TD_LPU_F32, from);
    if (operation == TD_ALU_MUL) hand_value(rig->code, op, 1, 1.0f);
    int32_t sum_to = rig_store(rig, v, 0, middle, issue + m->alu_func[TD_ALU_ADD], 12);
    int32_t sum = hand_alu(rig->code, issue, chip, 1, TD_ALU_ADD, TD_LPU_F32, sum_to);
    for (int i = 0; i < 2; i++) hand_from(rig->code, sum, i, TD_LPU_F32, from);
  }
  rig_ready(rig);
}

/* Lane 7 of chip c's input is at[c], all others 1. */
static td_status run_pair(struct td_lpu_host *host, const float at[2]) {
  const struct td_lpu_row row = {.position = 0};
  float x[LANES];
  for (int c = 0; c < 2; c++) {
    for (int l = 0; l < LANES; l++) x[l] = l == 7 ? at[c] : 1.0f;
    assert_ok(td_lpu_host_image_write(host, c ? "x1" : "x0", 0, x));
  }
  return td_lpu_host_run(host, 0, &(struct td_lpu_step){&row, 1}, NULL);
}

static void refused(struct td_lpu_host *host, const char *name, const float at[2], int chip, const char *words) {
  char where[32];
  snprintf(where, sizeof where, "chip %d of", chip);
  td_status status = run_pair(host, at);
  if (status == TD_CORRUPT && strstr(td_error_text(), words) && strstr(td_error_text(), where)) return;
  fail_msg("%s: found status %d, \"%s\", expected \"%s\" on chip %d", name, (int)status, status ? td_error_text() : "",
           words, chip);
}

static void out_of_range(enum td_lpu_alu operation, enum td_lpu_type out, float bad, const char *words) {
  const float fine[2] = {1, 2}, first[2] = {bad, 1}, second[2] = {1, bad};
  struct rig rig;
  build_pair(&rig, operation, out);
  for (size_t i = 0; i < lpu_host_kind_count; i++) {
    const char *name = lpu_host_kinds[i].name;
    struct td_lpu_host *host = lpu_host_kinds[i].slow ? NULL : lpu_host_open(&lpu_host_kinds[i], rig.program);
    if (!host) continue;
    if (td_lpu_host_note(host)) fail_msg("%s", td_lpu_host_note(host));
    refused(host, name, first, 0, words);
    refused(host, name, second, 1, words);
    assert_ok(run_pair(host, fine)); /* nothing is left of a failure */
    td_lpu_host_close(host);
  }
  rig_close(&rig);
}

static void test_out_of_range(void **state) {
  (void)state;
  const char *narrow = "out of range in its result's type", *integer = "out of range as an integer";
  out_of_range(TD_ALU_MUL, TD_LPU_F16, 65520.0f, narrow);
  out_of_range(TD_ALU_MUL, TD_LPU_F16, -INFINITY, narrow);
  out_of_range(TD_ALU_MUL, TD_LPU_I8, 127.5f, narrow);
  out_of_range(TD_ALU_MUL, TD_LPU_I8, 3e9f, narrow);
  out_of_range(TD_ALU_TO_I32, TD_LPU_I32, 2147483648.0f, integer);
  out_of_range(TD_ALU_TO_I32, TD_LPU_I8, NAN, integer);
  out_of_range(TD_ALU_TO_I32, TD_LPU_I8, -129, narrow);
}

/* Chips of a phase that fail beside each other: the lowest is told, which one block sees and the other does not. */
static void test_both(void **state) {
  (void)state;
  const float both[2] = {1e6f, 1e6f};
  struct rig rig;
  build_pair(&rig, TD_ALU_MUL, TD_LPU_F16);
  for (size_t i = 0; i < lpu_host_kind_count; i++) {
    if (strncmp(lpu_host_kinds[i].spec, "opencl", 6) == 0) continue; /* tells of either */
    struct td_lpu_host *host = lpu_host_kinds[i].slow ? NULL : lpu_host_open(&lpu_host_kinds[i], rig.program);
    if (!host) continue;
    for (int again = 0; again < 2; again++) { /* the emulated driver takes blocks in turns from either end */
      refused(host, lpu_host_kinds[i].name, both, 0, "out of range in its result's type");
    }
    td_lpu_host_close(host);
  }
  rig_close(&rig);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sample),
      cmocka_unit_test(test_out_of_range),
      cmocka_unit_test(test_both),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
