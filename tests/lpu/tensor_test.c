/* SPDX-License-Identifier: Apache-2.0
 *
 * Chips that share layers: the bits of the graph's reference, however heads and blocks are dealt; every rule kept; the
 * same on fast hosts; KV and logits gathered; and what is refused.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lpu/decoder.h"
#include "lpu/hosts.h"
#include "lpu/modes.h"
#include "lpu/reference.h"
#include "lpu/small_model.h"

#define TINY TANDEM_SOURCE_DIR "/tests/data/tiny/llama.gguf"
#define SMALL TANDEM_SOURCE_DIR "/devices/lpu-tiny.cfg"

/* 64 lanes: several blocks a matrix, heads across vectors, one link each way. */
static const char *const narrow[] = {"superlanes=4", "plane_k=64", "mem_words=1024", "accumulator_depth=64", NULL};
static const char *const two_links[] = {"superlanes=4",         "plane_k=64",   "mem_words=1024",
                                        "accumulator_depth=64", "links_used=4", NULL};
static const char *const wide[] = {NULL};

struct course {
  const char *device;
  const char *const *sets;
  int32_t rows, block_tokens, steps, lag, chips, tensor;
};

static void expect_bits(const float *found, const float *expected, int32_t count, const char *what, int32_t row,
                        int32_t position) {
  for (int32_t i = 0; i < count; i++) {
    if (memcmp(&found[i], &expected[i], sizeof *found) == 0) continue;
    fail_msg("%s: row %d, position %d, logit %d: found %.9g, expected %.9g", what, row, position, i, (double)found[i],
             (double)expected[i]);
  }
}

/* The same step, from the same SRAM, on the host cpu. */
static void on_host(const struct lpu_decoder *decoder, const uint8_t *before, const struct td_lpu_step *step) {
  struct td_lpu_host *host = lpu_host_open(&lpu_host_kinds[0], decoder->program);
  struct td_lpu_counts counts;
  if (!host) return;
  assert_ok(td_lpu_host_sram_write(host, 0, decoder->system->sram_bytes, before));
  assert_ok(td_lpu_host_run(host, 0, step, &counts));
  lpu_host_compare(host, &lpu_host_kinds[0], decoder->program, decoder->system->sram, decoder->system->sram_bytes,
                   "tensor");
  td_lpu_host_close(host);
}

static void step_hosts(struct lpu_decoder *decoder, const int32_t *ids, const int32_t *positions, float *logits) {
  uint64_t bytes = decoder->system->sram_bytes;
  uint8_t *before = malloc(bytes);
  assert_non_null(before);
  lpu_decoder_inputs(decoder, ids, positions);
  memcpy(before, decoder->system->sram, bytes);
  lpu_decoder_step(decoder, ids, positions, true, logits);
  on_host(decoder, before, &(struct td_lpu_step){decoder->rows, decoder->options.rows});
  free(before);
}

static void run(const struct course *course, struct lpu_decoder *decoder, struct lpu_reference *reference,
                const char *what) {
  int32_t vocab = td_model_shape(decoder->model)->vocab, ids[8], positions[8];
  float *found = calloc((size_t)(course->rows * vocab), sizeof *found),
        *expected = calloc((size_t)vocab, sizeof *found);
  assert_true(found && expected && course->rows <= 8);
  for (int32_t step = 0; step < course->steps; step++) {
    for (int32_t r = 0; r < course->rows; r++) {
      positions[r] = step > r * course->lag ? step - r * course->lag : 0;
      ids[r] = (r * 131 + positions[r] * 37 + 5) % vocab;
    }
    if (step == course->steps - 1)
      step_hosts(decoder, ids, positions, found);
    else
      lpu_decoder_step(decoder, ids, positions, step < 2, found);
    for (int32_t r = 0; r < course->rows; r++) {
      if (step < r * course->lag) continue;
      assert_ok(lpu_reference_feed(reference, r, &ids[r], 1, 1, expected));
      expect_bits(found + (int64_t)r * vocab, expected, vocab, what, r, positions[r]);
    }
  }
  free(found);
  free(expected);
}

static void compare(const char *model, const struct course *course, const struct lpu_mode *mode) {
  struct lpu_decoder decoder;
  struct lpu_reference *reference = NULL;
  struct td_lpu_options options = {.weights = mode->weights,
                                   .activations = mode->activations,
                                   .chips = course->chips,
                                   .tensor = course->tensor,
                                   .rows = course->rows,
                                   .block_tokens = course->block_tokens,
                                   .context = 64};
  char what[64];
  snprintf(what, sizeof what, "%s, %d chips in groups of %d", mode->name, course->chips, course->tensor);
  lpu_decoder_open_varied(&decoder, course->device, course->sets, model, &options);
  struct lpu_reference_options numbers = lpu_reference_options(mode->weights, mode->activations, 64);
  numbers.block_tokens = course->block_tokens;
  numbers.sequences = course->rows;
  numbers.lanes = numbers.plane_k = decoder.machine->lanes;
  assert_int_equal(decoder.program->chips, course->chips);
  assert_int_equal(decoder.program->tensor, course->tensor);
  assert_ok(lpu_reference_open(decoder.model, &numbers, &reference));
  run(course, &decoder, reference, what);
  lpu_reference_close(reference);
  lpu_decoder_close(&decoder);
}

/* ---- models ---- */

static char four_heads[64], three_heads[64]; /* paths */

static int write_models(void **state) {
  (void)state;
  snprintf(four_heads, sizeof four_heads, "lpu_tensor_four_%ld.gguf", (long)getpid());
  snprintf(three_heads, sizeof three_heads, "lpu_tensor_three_%ld.gguf", (long)getpid());
  /* 12 heads of 16: chips' heads end inside vectors of 64 lanes. */
  small_model_write(&(struct small_model){3, 192, 288, 12, 4}, four_heads);
  small_model_write(&(struct small_model){2, 96, 160, 6, 3}, three_heads);
  return 0;
}

static int remove_models(void **state) {
  (void)state;
  return remove(four_heads) || remove(three_heads);
}

static void test_narrow(void **state) {
  (void)state;
  static const int32_t groups[][2] = {{2, 2}, {4, 4}, {4, 2}, {3, 3}};
  for (size_t g = 0; g < 4; g++) {
    for (size_t m = 0; m < LPU_MODES; m++) {
      int32_t rows = (g + m) % 2 ? 3 : 1;
      const struct course course = {SMALL, m % 2 ? narrow : two_links, rows, 16, 6, 2, groups[g][0], groups[g][1]};
      compare(four_heads, &course, &lpu_modes[m]);
    }
  }
}

/* One block a matrix: most chips have none of it. */
static void test_wide(void **state) {
  (void)state;
  static const int32_t groups[][2] = {{1, 1}, {3, 3}};
  for (size_t g = 0; g < 2; g++) {
    const struct course course = {"groq-lpu-v1", wide, g % 2 ? 2 : 1, 32, 3, 1, groups[g][0], groups[g][1]};
    compare(four_heads, &course, &lpu_modes[2 * g]);
  }
}

/* 2 + 1 heads, and one each. */
static void test_uneven(void **state) {
  (void)state;
  for (size_t m = 0; m < LPU_MODES; m++) {
    const struct course two = {SMALL, narrow, 2, 32, 5, 2, 2, 2}, three = {SMALL, two_links, 1, 16, 5, 0, 3, 3};
    compare(three_heads, &two, &lpu_modes[m]);
    compare(three_heads, &three, &lpu_modes[m]);
  }
}

/* One KV head a chip: two would fill the lanes. */
static void test_llama(void **state) {
  (void)state;
  for (size_t m = 0; m < LPU_MODES; m++) {
    const struct course course = {SMALL, narrow, 1 + (int32_t)m, 16, 5, 2, m % 2 ? 4 : 2, 2};
    compare(TINY, &course, &lpu_modes[m]);
  }
}

/* Biases, norms of heads, norms of what a half layer made and after it, windows. */
static void test_models(void **state) {
  (void)state;
  static const char *const shared[] = {"reference/tiny/gemma3.gguf", "reference/tiny/qwen3.gguf"};
  for (size_t m = 0; m < LPU_MODES; m++) {
    const struct course course = {SMALL, narrow, 1 + 2 * (int32_t)(m % 2), 16, 4, 1, 2, 2};
    compare(TANDEM_SOURCE_DIR "/tests/data/tiny/qwen2-small.gguf", &course, &lpu_modes[m]);
  }
  for (size_t i = 0; i < 2; i++) {
    const struct course course = {"groq-lpu-v1", wide, 2, 16, 2, 0, 2, 2};
    const char *model = test_shared(shared[i]);
    if (model)
      compare(model, &course, &lpu_modes[2 * i]);
    else
      printf("not here: %s\n", shared[i]);
  }
}

/* ---- KV caches ---- */

static void open_for_kv(struct lpu_decoder *decoder, int32_t chips, int32_t tensor) {
  const struct td_lpu_options options = {
      .chips = chips, .tensor = tensor, .rows = 1, .block_tokens = 32, .context = 64};
  lpu_decoder_open_varied(decoder, SMALL, narrow, three_heads, &options);
}

/* What chips in groups appended, moved to one chip: both go on alike. And back. */
static void move_kv(struct lpu_decoder *from, struct lpu_decoder *to, int32_t positions) {
  const struct td_shape *shape = td_model_shape(from->model);
  const struct td_lpu_kv kv = {from->options.kv_blocks, shape->kv_heads, shape->head_dim};
  uint16_t k[64], v[64];
  assert_true(shape->kv_heads * shape->head_dim <= 64);
  for (int32_t layer = 0; layer < shape->layers; layer++) {
    for (int32_t p = 0; p < positions; p++) {
      int32_t block = from->rows[0].blocks[p / 32];
      assert_ok(td_lpu_kv_read(from->system, &kv, layer, block, p % 32, k, v));
      assert_ok(td_lpu_kv_write(to->system, &kv, layer, block, p % 32, k, v));
    }
  }
  assert_int_equal(td_lpu_kv_read(from->system, &kv, shape->layers, 0, 0, k, v), TD_CONFIG);
}

static void test_kv(void **state) {
  (void)state;
  enum { POSITIONS = 35 };
  struct lpu_decoder one, group;
  float logits[2][512];
  open_for_kv(&one, 1, 1);
  open_for_kv(&group, 2, 2);
  for (int32_t p = 0; p < POSITIONS; p++) {
    int32_t id = 3 * p + 1;
    lpu_decoder_step(p < 33 ? &group : &one, &id, &p, false, logits[0]);
    if (p == 32) move_kv(&group, &one, p + 1);
  }
  for (int32_t p = 33; p < POSITIONS; p++) {
    int32_t id = 3 * p + 1;
    if (p == 34) move_kv(&one, &group, p);
    if (p == 34) lpu_decoder_step(&group, &id, &p, true, logits[1]);
  }
  expect_bits(logits[1], logits[0], td_model_shape(one.model)->vocab, "KV moved", 0, POSITIONS - 1);
  lpu_decoder_close(&one);
  lpu_decoder_close(&group);
}

/* ---- the choice ---- */

struct study {
  struct td_device_params *params;
  struct td_lpu_machine machine;
  struct td_model *model;
  struct td_graph *graph;
  struct td_slice whole;
};

static void open_study(struct study *study, const char *device, const char *model) {
  assert_ok(td_device_params_open(device, &study->params));
  study->machine = *td_lpu_machine_of(study->params);
  assert_ok(td_model_open(model, &study->model));
  assert_ok(td_graph_build(study->model, &study->graph));
  study->whole = td_slice_whole(study->graph);
}

static void close_study(struct study *study) {
  td_graph_free(study->graph);
  td_model_close(study->model);
  td_device_params_close(study->params);
}

static void refuse(const struct study *study, struct td_lpu_options options, td_status code, const char *words) {
  struct td_lpu_program *program = NULL;
  assert_int_equal(td_lpu_compile(&study->machine, study->graph, &study->whole, NULL, &options, &program), code);
  if (!strstr(td_error_text(), words)) fail_msg("found \"%s\", expected \"%s\"", td_error_text(), words);
}

static void test_refused(void **state) {
  (void)state;
  struct study study;
  struct td_lpu_options options = {
      .chips = 4, .tensor = 3, .rows = 1, .block_tokens = 32, .kv_blocks = 2, .context = 64};
  open_study(&study, "groq-lpu-v1", three_heads);
  refuse(&study, options, TD_CONFIG, "lpu.tensor: found 3, expected a divisor of lpu.chips: 4");
  options.tensor = 4;
  refuse(&study, options, TD_CONFIG, "lpu.tensor: found 4, expected at most one chip per KV head: 3");
  options.chips = 7;
  options.tensor = 0;
  refuse(&study, options, TD_CONFIG, "lpu.chips: found 7, expected at most one a layer and KV head, 2 x 3");
  options.tensor = -1;
  refuse(&study, options, TD_CONFIG, "lpu.tensor: found -1, expected 0..64");
  options.chips = options.tensor = 2;
  study.machine.links_used = 1;
  refuse(&study, options, TD_UNSUPPORTED, "no link leads from chip 0 to chip 1 of 2 (1 links are wired)");
  close_study(&study);
}

/* The fewest cycles first, and it is taken; all that fit are there. */
static void test_choice(void **state) {
  (void)state;
  struct study study;
  struct td_lpu_grouping groupings[TD_LPU_MOST_GROUPINGS];
  struct td_lpu_program *program = NULL;
  struct td_lpu_options options = {.chips = 4, .rows = 1, .block_tokens = 32, .kv_blocks = 2, .context = 64};
  int32_t count = 0;
  open_study(&study, "groq-lpu-v1", four_heads);
  assert_ok(td_lpu_groupings(&study.machine, study.graph, &study.whole, &options, groupings, &count));
  assert_int_equal(count, 2); /* three layers: not four stages */
  assert_true(groupings[0].cycles > 0 && groupings[0].cycles <= groupings[1].cycles);
  assert_int_equal(groupings[0].tensor * groupings[0].stages, 4);
  assert_int_equal(groupings[0].tensor + groupings[1].tensor, 2 + 4);
  assert_ok(td_lpu_compile(&study.machine, study.graph, &study.whole, NULL, &options, &program));
  assert_int_equal(program->tensor, groupings[0].tensor);
  const struct td_lpu_row row = {63, NULL, 2};
  assert_int_equal(td_lpu_program_cycles(program, 0, &(struct td_lpu_step){&row, 1}), groupings[0].cycles);
  td_lpu_program_free(program);
  options.chips = 0; /* one chip does */
  assert_ok(td_lpu_groupings(&study.machine, study.graph, &study.whole, &options, groupings, &count));
  assert_int_equal(count, 1);
  assert_int_equal(groupings[0].tensor * groupings[0].stages, 1);
  options.tensor = 2; /* two, then */
  assert_ok(td_lpu_groupings(&study.machine, study.graph, &study.whole, &options, groupings, &count));
  assert_int_equal(groupings[0].tensor, 2);
  assert_int_equal(groupings[0].stages, 1);
  close_study(&study);
}

/* ---- FFNs alone ---- */

/* y of every layer: [layers][rows][hidden]. */
static void run_ffns(const struct study *study, const void *const *weights, int32_t chips, int32_t tensor, float *out) {
  enum { ROWS = 3 };
  const struct td_lpu_options options = {.weights = TD_LPU_WEIGHTS_I8,
                                         .activations = TD_LPU_ACTIVATIONS_I8X2,
                                         .chips = chips,
                                         .tensor = tensor,
                                         .rows = ROWS};
  const struct td_slice slice = {0, study->graph->shape.layers, TD_PART_FFN};
  int32_t hidden = study->graph->shape.hidden;
  struct td_lpu_row nowhere[ROWS] = {{0}};
  const struct td_lpu_step step = {nowhere, ROWS};
  struct td_lpu_program *program = NULL;
  struct td_lpu_system *system = NULL;
  struct td_lpu_violation violation;
  float x[512];
  assert_ok(td_lpu_compile(&study->machine, study->graph, &slice, weights, &options, &program));
  assert_int_equal(program->tensor, tensor);
  assert_ok(td_lpu_system_open(program, &system));
  for (int32_t layer = 0; layer < slice.layer_end; layer++) {
    int32_t entry = td_lpu_program_layer_entry(program, layer, ROWS);
    for (int32_t r = 0; r < ROWS; r++) {
      for (int32_t i = 0; i < hidden; i++) x[i] = (float)((i * 7 + r * 13 + layer) % 41 - 20) / 16.0f;
      assert_ok(td_lpu_image_write(system, "x", r, x));
    }
    assert_ok(td_lpu_check(program, entry, &step, &violation));
    if (violation.found) fail_msg("%s", violation.text);
    assert_ok(td_lpu_execute(system, entry, &step, NULL));
    const char *name = td_lpu_program_output(program, entry);
    for (int32_t r = 0; r < ROWS; r++, out += hidden) assert_ok(td_lpu_image_read(system, name, r, out));
  }
  td_lpu_system_close(system);
  td_lpu_program_free(program);
}

static void test_ffns(void **state) {
  (void)state;
  static float alone[3 * 3 * 192], shared[3 * 3 * 192];
  struct study study;
  const void **weights = NULL;
  open_study(&study, SMALL, four_heads);
  assert_ok(td_lpu_machine_vary(study.params, narrow, 4, &study.machine));
  assert_ok(td_lpu_model_weights(study.model, study.graph, &weights));
  run_ffns(&study, weights, 1, 1, alone);
  for (int32_t chips = 2; chips <= 5; chips++) {
    run_ffns(&study, weights, chips, chips == 4 ? 2 : chips, shared);
    expect_bits(shared, alone, 3 * 3 * 192, "FFNs", chips, 0);
  }
  struct td_lpu_options many = {.chips = 6, .tensor = 6, .rows = 1};
  study.whole = (struct td_slice){0, 3, TD_PART_FFN};
  refuse(&study, many, TD_CONFIG, "lpu.tensor: found 6, expected at most one chip per FFN block: 5");
  free(weights);
  close_study(&study);
}

/* SmolLM2 in fp16 on two chips, both ways: valid, and what each takes. */
static void test_smollm2(void **state) {
  (void)state;
  const char *path = test_model_path();
  struct td_lpu_options options = {.chips = 2, .rows = 1, .block_tokens = 320, .kv_blocks = 1, .context = 320};
  struct study study;
  if (!path) {
    printf("SKIPPED: no SmolLM2 here\n");
    skip();
  }
  open_study(&study, "groq-lpu-v1", path);
  for (options.tensor = 1; options.tensor <= 2; options.tensor++) {
    struct td_lpu_program *program = NULL;
    struct td_lpu_violation violation;
    const int32_t block = 0;
    const struct td_lpu_row row = {319, &block, 1};
    const struct td_lpu_step step = {&row, 1};
    assert_ok(td_lpu_compile(&study.machine, study.graph, &study.whole, NULL, &options, &program));
    assert_ok(td_lpu_check(program, 0, &step, &violation));
    if (violation.found) fail_msg("%s", violation.text);
    printf("SmolLM2, fp16, 2 chips in groups of %d: %lld cycles\n", options.tensor,
           (long long)td_lpu_program_cycles(program, 0, &step));
    td_lpu_program_free(program);
  }
  close_study(&study);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_narrow),  cmocka_unit_test(test_uneven), cmocka_unit_test(test_wide),
      cmocka_unit_test(test_llama),   cmocka_unit_test(test_models), cmocka_unit_test(test_kv),
      cmocka_unit_test(test_ffns),    cmocka_unit_test(test_choice), cmocka_unit_test(test_refused),
      cmocka_unit_test(test_smollm2),
  };
  return cmocka_run_group_tests(tests, write_models, remove_models);
}
