/* SPDX-License-Identifier: Apache-2.0
 *
 * Compiled programs say, bit for bit, what the graph's reference says, and keep every rule.
 */
#include <stdlib.h>
#include <string.h>

#include "lpu/course.h"
#include "lpu/decoder.h"
#include "lpu/modes.h"
#include "lpu/reference.h"

#define TINY(name) TANDEM_SOURCE_DIR "/tests/data/tiny/" name ".gguf"

static void test_one_row(void **state) {
  (void)state;
  const struct lpu_course course = {TINY("llama"), 1, 32, 96, 40, 0, 1};
  for (size_t i = 0; i < LPU_MODES; i++) lpu_course_run(&course, &lpu_modes[i]);
}

/* Blocks that fill the lanes, blocks of half of them, and the smallest there are. */
static void test_blocks(void **state) {
  (void)state;
  static const int32_t blocks[] = {320, 160, 176, 16};
  for (size_t i = 0; i < 4; i++) {
    const struct lpu_course course = {TINY("llama"), 1, blocks[i], 320, 20, 0, 1};
    lpu_course_run(&course, &lpu_modes[i % 2]);
  }
}

/* Positions across the parts of a block, and across blocks of 320. */
static void test_long_context(void **state) {
  (void)state;
  const struct lpu_course course = {TINY("llama"), 1, 320, 352, 330, 0, 1};
  lpu_course_run(&course, &lpu_modes[1]);
}

static void test_rows_apart(void **state) {
  (void)state;
  for (size_t i = 0; i < LPU_MODES; i++) {
    const struct lpu_course course = {TINY("llama"), 3 + (int32_t)i, 16, 48, 22, 7, 1};
    lpu_course_run(&course, &lpu_modes[i]);
  }
}

static void test_many_rows(void **state) {
  (void)state;
  const struct lpu_course course = {TINY("llama"), 64, 32, 32, 2, 0, 1};
  lpu_course_run(&course, &lpu_modes[1]);
  lpu_course_run(&course, &lpu_modes[3]);
}

/* Other delays, distances and depths: another schedule, as valid, and the same bits. */
static void test_other_machines(void **state) {
  (void)state;
  static const char *const machines[][9] = {
      {NULL},
      {"alu_skew=2", "load_skew=3", "load_func=8", "pass_skew=1", "memory_write_skew=4", "rotate_skew=2",
       "permute_skew=3", "permute_func=40", NULL},
      {"pass_func=64", "permute_func=64", "alu_add=8", "alu_mul=5", "sum_func=12", "memory_func=10", NULL},
      {"install_cycles=20", "accumulator_depth=16", NULL},
      {"mem_slices_per_hop=1", NULL},
      {"alu_add=1", "alu_move=1", "alu_mul=1", "rotate_func=1", NULL},
  };
  float *logits[2];
  int64_t cycles[2] = {0, 0};
  for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
    struct lpu_decoder decoder;
    struct td_lpu_options options = {.weights = TD_LPU_WEIGHTS_I8,
                                     .activations = TD_LPU_ACTIVATIONS_I8X2,
                                     .chips = 2,
                                     .rows = 1,
                                     .block_tokens = 32,
                                     .context = 64};
    lpu_decoder_open_varied(&decoder, "groq-lpu-v1", machines[i], TINY("llama"), &options);
    int32_t vocab = td_model_shape(decoder.model)->vocab;
    logits[i > 0] = calloc((size_t)vocab, sizeof(float));
    assert_non_null(logits[i > 0]);
    for (int32_t position = 0; position < 3; position++) {
      int32_t id = lpu_course_id(0, position, vocab);
      lpu_decoder_step(&decoder, &id, &position, true, logits[i > 0]);
    }
    struct td_lpu_step step = {decoder.rows, 1};
    cycles[i > 0] = td_lpu_program_cycles(decoder.program, 0, &step);
    if (i > 0) {
      lpu_assert_same_bits(logits[1], logits[0], vocab, "another machine", 0, 2);
      assert_int_not_equal(cycles[1], cycles[0]);
      free(logits[1]);
    }
    lpu_decoder_close(&decoder);
  }
  free(logits[0]);
}

/* Layers in a row over chips: two rows that are apart, and blocks that change. */
static void test_chips(void **state) {
  (void)state;
  for (size_t i = 0; i < LPU_MODES; i++) {
    const struct lpu_course course = {TINY("llama"), 2, 16, 48, 20, 3, 2};
    lpu_course_run(&course, &lpu_modes[i]);
  }
}

static void test_scaled_rope(void **state) {
  (void)state;
  const struct lpu_course course = {TINY("llama-ropescale"), 1, 32, 64, 12, 0, 1};
  lpu_course_run(&course, &lpu_modes[0]);
}

static void test_smollm2(void **state) {
  (void)state;
#ifdef TANDEM_SANITIZED
  skip(); /* minutes, and the small models go the same ways */
#endif
  const char *path = test_model_path();
  if (!path) skip();
  const struct lpu_course course = {path, 1, 320, 320, 2, 0, 1};
  for (size_t i = 1; i < LPU_MODES; i++) {
    if (i != 4) lpu_course_run(&course, &lpu_modes[i]); /* FP8 that is widened goes the way of widened int8 */
  }
  const struct lpu_course wide = {path, 1, 320, 320, 2, 0, 0}; /* fp16: the compiler takes two chips */
  lpu_course_run(&wide, &lpu_modes[0]);
}

/* What does not fit, or cannot be, is refused with the numbers. */
static void expect_refusal(const char *model, struct td_lpu_options options, td_status code, const char *words) {
  struct td_device_params *params = NULL;
  struct td_model *opened = NULL;
  struct td_graph *graph = NULL;
  struct td_lpu_program *program = NULL;
  assert_ok(td_device_params_open("groq-lpu-v1", &params));
  assert_ok(td_model_open(model, &opened));
  assert_ok(td_graph_build(opened, &graph));
  struct td_slice whole = td_slice_whole(graph);
  assert_int_equal(td_lpu_compile(td_lpu_machine_of(params), graph, &whole, NULL, &options, &program), code);
  if (!strstr(td_error_text(), words)) fail_msg("found \"%s\", expected \"%s\"", td_error_text(), words);
  td_graph_free(graph);
  td_model_close(opened);
  td_device_params_close(params);
}

static void test_refused(void **state) {
  (void)state;
  struct td_lpu_options good = {.chips = 1, .rows = 1, .block_tokens = 32, .kv_blocks = 2, .context = 64};
  struct td_lpu_options bad = good;
  bad.rows = 513;
  expect_refusal(TINY("llama"), bad, TD_CONFIG, "lpu.rows: found 513, expected 1..512");
  bad = good;
  bad.block_tokens = 24;
  expect_refusal(TINY("llama"), bad, TD_CONFIG, "lpu.block_tokens: found 24, expected a multiple of 16");
  bad = good;
  bad.activations = TD_LPU_ACTIVATIONS_I8;
  expect_refusal(TINY("llama"), bad, TD_CONFIG, "lpu.activations: found i8 with f16 weights, expected i8 weights");
  bad.activations = TD_LPU_ACTIVATIONS_F8;
  bad.weights = TD_LPU_WEIGHTS_I8;
  expect_refusal(TINY("llama"), bad, TD_CONFIG, "lpu.activations: found f8 with i8 weights, expected f8 weights");
  bad.weights = TD_LPU_WEIGHTS_F8;
  expect_refusal(TINY("llama"), bad, TD_UNSUPPORTED, "found f8, but groq-lpu-v1 has no FP8");
  bad = good;
  bad.chips = 4097;
  expect_refusal(TINY("llama"), bad, TD_CONFIG, "lpu.chips: found 4097, expected 0..4096");
  bad = good;
  bad.chips = 64;
  expect_refusal(TINY("llama"), bad, TD_CONFIG, "expected at most one a layer");
  bad = good;
  bad.kv_blocks = 3000;
  bad.chips = 1;
  expect_refusal(TINY("llama"), bad, TD_EXHAUSTED, "4 chips would do");
  expect_refusal(TINY("mixtral-small"), good, TD_UNSUPPORTED,
                 "router of layer 0: experts are compiled with FFNs alone");
  expect_refusal(TINY("qwen3moe-small"), good, TD_UNSUPPORTED,
                 "router of layer 0: experts are compiled with FFNs alone");
}

/* The same inputs, the same bytes. */
static void test_deterministic(void **state) {
  (void)state;
  uint64_t digest[2];
  for (int i = 0; i < 2; i++) {
    struct lpu_decoder decoder;
    struct td_lpu_options options = {.chips = 1, .rows = 2, .block_tokens = 32, .context = 64};
    lpu_decoder_open(&decoder, "groq-lpu-v1", TINY("llama"), &options);
    digest[i] = td_lpu_program_digest(decoder.program);
    lpu_decoder_close(&decoder);
  }
  assert_true(digest[0] == digest[1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_row),    cmocka_unit_test(test_blocks),         cmocka_unit_test(test_long_context),
      cmocka_unit_test(test_rows_apart), cmocka_unit_test(test_many_rows),      cmocka_unit_test(test_scaled_rope),
      cmocka_unit_test(test_chips),      cmocka_unit_test(test_other_machines), cmocka_unit_test(test_refused),
      cmocka_unit_test(test_smollm2),    cmocka_unit_test(test_deterministic),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
