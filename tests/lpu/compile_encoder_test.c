/* SPDX-License-Identifier: Apache-2.0
 *
 * Encoders: all rows of a step are one sequence. Made-up weights; programs say, bit for bit, what the graph's reference
 * says, and keep every rule.
 */
#include <stdlib.h>
#include <string.h>

#include "lpu/course.h"
#include "lpu/decoder.h"
#include "lpu/reference.h"
#include "tandem/kernels.h"
#include "tandem/lpu_host.h"

#define SHAPE(name) TANDEM_SOURCE_DIR "/tests/data/tiny/" name ".cfg"

struct encoder {
  struct td_device_params *params;
  struct td_model *model;
  struct td_graph *graph;
  void **weights;
  struct lpu_reference *reference;
  struct td_lpu_program *program;
  struct td_lpu_system *system;
  struct td_lpu_host *host; /* the same program as operations on whole vectors */
  int32_t rows;
};

/* Numbers of -1 to 1, the same everywhere. */
static float next_number(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  return (float)(int32_t)(*state >> 8) / 8388608.0f - 1.0f;
}

/* Norms: weights near 1, then biases near 0. Matrices such that rows stay about as large. */
static void *make_weight(const struct td_weight *weight, uint32_t *state) {
  size_t elements = (size_t)(weight->rows * weight->cols);
  float *values = calloc(elements, sizeof *values);
  uint16_t *halves = calloc(elements, sizeof *halves);
  assert_true(values && halves);
  bool norm = strstr(weight->name, "norm") != NULL;
  for (size_t i = 0; i < elements; i++) {
    values[i] = next_number(state) * 0.1f + (norm && i < (size_t)weight->cols ? 1.0f : 0.0f);
    halves[i] = td_float_to_half(values[i]);
  }
  if (weight->dtype == TD_F32) {
    free(halves);
    return values;
  }
  assert_int_equal(weight->dtype, TD_F16);
  free(values);
  return halves;
}

static void make_weights(struct encoder *encoder) {
  uint32_t state = 1;
  encoder->weights = calloc((size_t)encoder->graph->weight_count, sizeof *encoder->weights);
  assert_non_null(encoder->weights);
  for (int32_t i = 0; i < encoder->graph->weight_count; i++) {
    encoder->weights[i] = make_weight(&encoder->graph->weights[i], &state);
  }
}

/* layout: NULL: the compiler's choice. */
static void open_encoder(struct encoder *encoder, const char *shape, const struct lpu_mode *mode, int32_t rows,
                         int32_t chips, const struct lpu_layout *layout) {
  struct td_lpu_options options = {
      .weights = mode->weights, .activations = mode->activations, .chips = chips, .rows = rows};
  struct lpu_reference_options numbers = lpu_reference_options(mode->weights, mode->activations, rows);
  *encoder = (struct encoder){.rows = rows};
  assert_ok(td_device_params_open("groq-lpu-v1", &encoder->params));
  assert_ok(td_model_open(shape, &encoder->model));
  assert_ok(td_graph_build(encoder->model, &encoder->graph));
  make_weights(encoder);
  numbers.rows = rows;
  numbers.data = (const void *const *)encoder->weights;
  assert_ok(lpu_reference_open(encoder->model, &numbers, &encoder->reference));
  struct td_lpu_machine machine = *td_lpu_machine_of(encoder->params);
  machine.fp8 = mode->weights == TD_LPU_WEIGHTS_F8;
  assert_ok(lpu_compile_laid_out(&machine, encoder->graph, numbers.data, &options, layout, &encoder->program));
  assert_ok(td_lpu_system_open(encoder->program, &encoder->system));
  assert_ok(td_lpu_host_open(encoder->program, "cpu", &encoder->host));
  if (td_lpu_host_note(encoder->host)) fail_msg("%s", td_lpu_host_note(encoder->host));
}

static void close_encoder(struct encoder *encoder) {
  td_lpu_host_close(encoder->host);
  td_lpu_system_close(encoder->system);
  td_lpu_program_free(encoder->program);
  lpu_reference_close(encoder->reference);
  for (int32_t i = 0; i < encoder->graph->weight_count; i++) free(encoder->weights[i]);
  free(encoder->weights);
  td_graph_free(encoder->graph);
  td_model_close(encoder->model);
  td_device_params_close(encoder->params);
}

static void write_row(struct encoder *encoder, const char *image, int32_t row, const float *values) {
  assert_ok(td_lpu_image_write(encoder->system, image, row, values));
  assert_ok(td_lpu_host_image_write(encoder->host, image, row, values));
}

/* What the host does: embeddings of the tokens, zeros behind them, and where they end. */
static void write_inputs(struct encoder *encoder, int32_t tokens) {
  int32_t hidden = encoder->graph->shape.hidden, lanes = encoder->program->machine.lanes;
  const float *embedded = lpu_reference_value(encoder->reference, "embedding_typed");
  float *row = calloc((size_t)(hidden + lanes), sizeof *row);
  assert_true(row && embedded);
  for (int32_t r = 0; r < encoder->rows; r++) {
    if (r == tokens) memset(row, 0, (size_t)hidden * sizeof *row);
    write_row(encoder, "x", r, r < tokens ? embedded + (int64_t)r * hidden : row);
  }
  for (int32_t i = 0; i < lanes; i++) row[i] = (float)(tokens - 1);
  write_row(encoder, "last", 0, row);
  free(row);
}

/* On one chip the last layer's rows are where the first one's were. */
static void compare_rows(struct encoder *encoder, int32_t tokens, float *row) {
  int32_t hidden = encoder->graph->shape.hidden;
  char name[TD_NAME_BYTES];
  if (encoder->program->chips > 1) return;
  snprintf(name, sizeof name, "layers.%d.ffn.residual", encoder->graph->shape.layers - 1);
  const float *made = lpu_reference_value(encoder->reference, name);
  assert_non_null(made);
  for (int32_t r = 0; r < tokens; r++) {
    assert_ok(td_lpu_image_read(encoder->system, "x", r, row));
    lpu_assert_same_bits(row, made + (int64_t)r * hidden, hidden, name, r, tokens);
  }
}

static void compare(struct encoder *encoder, int32_t tokens, bool check) {
  int32_t ids[512], hidden = encoder->graph->shape.hidden;
  struct td_slice whole = td_slice_whole(encoder->graph);
  struct td_lpu_row nowhere[512] = {{0}};
  struct td_lpu_step step = {nowhere, encoder->rows};
  struct td_lpu_violation violation;
  struct td_lpu_counts counts;
  float *pooled = calloc((size_t)hidden, sizeof *pooled);
  assert_non_null(pooled);
  for (int32_t r = 0; r < tokens; r++) ids[r] = lpu_course_id(tokens, r, encoder->graph->shape.vocab);
  assert_ok(lpu_reference_run(encoder->reference, &whole, 0, 0, tokens, ids));
  write_inputs(encoder, tokens);
  if (check) {
    assert_ok(td_lpu_check(encoder->program, 0, &step, &violation));
    if (violation.found) fail_msg("%s", violation.text);
  }
  assert_ok(td_lpu_execute(encoder->system, 0, &step, &counts));
  assert_int_equal(counts.cycles, td_lpu_program_cycles(encoder->program, 0, &step));
  assert_ok(td_lpu_image_read(encoder->system, "pooled", 0, pooled));
  lpu_assert_same_bits(pooled, lpu_reference_value(encoder->reference, "pooled"), hidden, "pooled", 0, tokens);
  compare_rows(encoder, tokens, pooled);
  struct td_lpu_counts on_cpu;
  assert_ok(td_lpu_host_run(encoder->host, 0, &step, &on_cpu));
  assert_int_equal(on_cpu.cycles, counts.cycles);
  assert_ok(td_lpu_host_image_read(encoder->host, "pooled", 0, pooled));
  lpu_assert_same_bits(pooled, lpu_reference_value(encoder->reference, "pooled"), hidden, "on cpu", 0, tokens);
  free(pooled);
}

static void test_small(void **state) {
  (void)state;
#ifdef TANDEM_SANITIZED
  const size_t modes = 1; /* slow enough */
#else
  const size_t modes = 4;
#endif
  for (size_t m = 0; m < modes; m++) {
    struct encoder encoder;
    open_encoder(&encoder, SHAPE("bert-small"), &lpu_modes[m], 64, 1, NULL);
    compare(&encoder, 64, true);
    compare(&encoder, 37, false);
    compare(&encoder, 1, false);
    close_encoder(&encoder);
  }
}

/* Heads in several vectors, layers on two chips, weights wherever there is room. */
static void test_chips(void **state) {
  (void)state;
  const struct lpu_layout layout = {.shared = true, .spread = true, .head_rows = 128};
  struct encoder encoder;
  open_encoder(&encoder, SHAPE("bert-wide"), &lpu_modes[1], 128, 2, &layout);
  compare(&encoder, 100, true);
  close_encoder(&encoder);
}

static void test_fp8(void **state) {
  (void)state;
  struct encoder encoder;
  open_encoder(&encoder, SHAPE("bert-small"), &lpu_modes[4], 64, 1, NULL);
  compare(&encoder, 40, true);
  close_encoder(&encoder);
}

/* Queries in two blocks, tokens in two vectors. */
static void test_long(void **state) {
  (void)state;
  for (size_t m = 1; m < 3; m++) {
    struct encoder encoder;
    open_encoder(&encoder, SHAPE("bert-small"), &lpu_modes[m], 384, 1, NULL);
    compare(&encoder, 350, true);
    close_encoder(&encoder);
  }
}

/* Int8 tiles on planes one by one, beside fp16 tiles on pairs of them. */
static void test_wide(void **state) {
  (void)state;
  struct encoder encoder;
  open_encoder(&encoder, SHAPE("bert-wide"), &lpu_modes[2], 128, 1, NULL);
  compare(&encoder, 128, true);
  close_encoder(&encoder);
}

static void expect_refusal(struct td_lpu_options options, td_status code, const char *words) {
  struct td_device_params *params = NULL;
  struct td_model *model = NULL;
  struct td_graph *graph = NULL;
  struct td_lpu_program *program = NULL;
  assert_ok(td_device_params_open("groq-lpu-v1", &params));
  assert_ok(td_model_open(SHAPE("bert-small"), &model));
  assert_ok(td_graph_build(model, &graph));
  struct td_slice whole = td_slice_whole(graph);
  assert_int_equal(td_lpu_compile(td_lpu_machine_of(params), graph, &whole, NULL, &options, &program), code);
  if (!strstr(td_error_text(), words)) fail_msg("found \"%s\", expected \"%s\"", td_error_text(), words);
  td_graph_free(graph);
  td_model_close(model);
  td_device_params_close(params);
}

static void test_refused(void **state) {
  (void)state;
  const struct td_lpu_options good = {.chips = 1, .rows = 64, .weights = TD_LPU_WEIGHTS_I8};
  struct td_lpu_options bad = good;
  bad.rows = 100;
  expect_refusal(bad, TD_CONFIG, "lpu.rows: found 100, expected a multiple of 64");
  bad.rows = 576;
  expect_refusal(bad, TD_CONFIG, "lpu.rows: found 576, expected 64..512");
  bad = good;
  bad.weights = TD_LPU_WEIGHTS_F8;
  bad.activations = TD_LPU_ACTIVATIONS_F8;
  expect_refusal(bad, TD_UNSUPPORTED, "f8");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_small), cmocka_unit_test(test_fp8),  cmocka_unit_test(test_chips),
      cmocka_unit_test(test_long),  cmocka_unit_test(test_wide), cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
