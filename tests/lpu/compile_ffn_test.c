/* SPDX-License-Identifier: Apache-2.0
 *
 * FFNs alone, an entry a layer: attention is the reference's, each layer's FFN the program's, which says bit for bit
 * what the reference's FFN says.
 */
#include <stdlib.h>
#include <string.h>

#include "lpu/course.h"
#include "lpu/decoder.h"
#include "lpu/reference.h"
#include "tandem/lpu_host.h"

#define TINY(name) TANDEM_SOURCE_DIR "/tests/data/tiny/" name ".gguf"

struct part {
  struct td_device_params *params;
  const struct td_lpu_machine *machine;
  struct td_lpu_machine varied;
  struct td_model *model;
  struct td_graph *graph;
  const void **weights;
  struct lpu_reference *reference;
  struct td_lpu_program *program;
  struct td_lpu_system *system;
  struct td_lpu_host *host; /* the same program as operations on whole vectors */
  const char *name;         /* of the mode */
  int32_t begin, end, rows, hidden;
};

static struct td_lpu_options options_of(const struct lpu_mode *mode, int32_t chips, int32_t rows) {
  return (struct td_lpu_options){
      .weights = mode->weights, .activations = mode->activations, .chips = chips, .rows = rows};
}

static void open_part(struct part *part, const char *model, const struct lpu_mode *mode, int32_t begin, int32_t end,
                      int32_t chips, int32_t rows) {
  struct td_lpu_options options = options_of(mode, chips, rows);
  struct lpu_reference_options numbers = lpu_reference_options(mode->weights, mode->activations, 32);
  const struct td_slice slice = {begin, end, TD_PART_FFN};
  *part = (struct part){.name = mode->name, .begin = begin, .end = end, .rows = rows};
  assert_ok(td_device_params_open("groq-lpu-v1", &part->params));
  part->varied = *td_lpu_machine_of(part->params);
  part->varied.fp8 = mode->weights == TD_LPU_WEIGHTS_F8;
  part->machine = &part->varied;
  assert_ok(td_model_open(model, &part->model));
  assert_ok(td_graph_build(part->model, &part->graph));
  assert_ok(td_lpu_model_weights(part->model, part->graph, &part->weights));
  assert_ok(lpu_reference_open(part->model, &numbers, &part->reference));
  assert_ok(td_lpu_compile(part->machine, part->graph, &slice, part->weights, &options, &part->program));
  assert_ok(td_lpu_system_open(part->program, &part->system));
  assert_ok(td_lpu_host_open(part->program, "cpu", &part->host));
  part->hidden = part->graph->shape.hidden;
}

static void close_part(struct part *part) {
  td_lpu_host_close(part->host);
  td_lpu_system_close(part->system);
  td_lpu_program_free(part->program);
  lpu_reference_close(part->reference);
  free(part->weights);
  td_graph_free(part->graph);
  td_model_close(part->model);
  td_device_params_close(part->params);
}

static float *value_of(const struct part *part, int32_t layer, const char *half) {
  char name[TD_NAME_BYTES];
  snprintf(name, sizeof name, "layers.%d.%s.residual", layer, half);
  float *value = lpu_reference_value(part->reference, name);
  assert_non_null(value);
  return value;
}

/* The same on the fast host. */
static void run_on_cpu(struct part *part, int32_t entry, const struct td_lpu_step *step, const float *x,
                       const float *made) {
  struct td_lpu_counts counts;
  float *y = calloc((size_t)part->hidden, sizeof *y);
  assert_non_null(y);
  for (int32_t r = 0; r < step->row_count; r++) {
    assert_ok(td_lpu_host_image_write(part->host, "x", r, x + r * part->hidden));
  }
  assert_ok(td_lpu_host_run(part->host, entry, step, &counts));
  for (int32_t r = 0; r < step->row_count; r++) {
    assert_ok(td_lpu_host_image_read(part->host, td_lpu_program_output(part->program, entry), r, y));
    lpu_assert_same_bits(y, made + r * part->hidden, part->hidden, "on cpu", r, entry);
  }
  free(y);
}

/* One layer's entry on `rows` rows of x; y. */
static void run_layer(struct part *part, int32_t layer, int32_t rows, const float *x, float *y) {
  int32_t entry = td_lpu_program_layer_entry(part->program, layer, rows);
  struct td_lpu_row nowhere[64] = {{0}};
  struct td_lpu_step step = {nowhere, rows};
  struct td_lpu_violation violation;
  struct td_lpu_counts counts;
  assert_true(entry >= 0);
  const char *output = td_lpu_program_output(part->program, entry);
  for (int32_t r = 0; r < rows; r++) assert_ok(td_lpu_image_write(part->system, "x", r, x + r * part->hidden));
  assert_ok(td_lpu_check(part->program, entry, &step, &violation));
  if (violation.found) fail_msg("%s", violation.text);
  assert_ok(td_lpu_execute(part->system, entry, &step, &counts));
  assert_int_equal(counts.cycles, td_lpu_program_cycles(part->program, entry, &step));
  for (int32_t r = 0; r < rows; r++) assert_ok(td_lpu_image_read(part->system, output, r, y + r * part->hidden));
  run_on_cpu(part, entry, &step, x, y);
}

/* The model from its embedding on, FFNs of the slice twice. */
static void compare(struct part *part, int32_t rows) {
  int32_t layers = part->graph->shape.layers, ids[32];
  const struct td_slice embedding = {-1, 0, TD_PART_ALL};
  float *y = calloc((size_t)(part->rows * part->hidden), sizeof *y);
  assert_non_null(y);
  for (int32_t r = 0; r < rows; r++) ids[r] = lpu_course_id(0, r, part->graph->shape.vocab);
  assert_ok(lpu_reference_run(part->reference, &embedding, 0, 0, rows, ids));
  for (int32_t layer = 0; layer < layers; layer++) {
    const struct td_slice attention = {layer, layer + 1, TD_PART_ATTENTION}, ffn = {layer, layer + 1, TD_PART_FFN};
    assert_ok(lpu_reference_run(part->reference, &attention, 0, 0, rows, NULL));
    assert_ok(lpu_reference_run(part->reference, &ffn, 0, 0, rows, NULL));
    if (layer < part->begin || layer >= part->end) continue;
    float *made = value_of(part, layer, "ffn");
    run_layer(part, layer, rows, value_of(part, layer, "attention"), y);
    for (int32_t r = 0; r < rows; r++) {
      lpu_assert_same_bits(y + r * part->hidden, made + r * part->hidden, part->hidden, part->name, r, layer);
    }
    memcpy(made, y, (size_t)(rows * part->hidden) * sizeof *y); /* what the next layer takes is the program's */
  }
  free(y);
}

static void test_modes(void **state) {
  (void)state;
  static const char *const models[] = {TINY("llama"), TINY("qwen2-small"), TINY("qwen3-small"), TINY("gemma3-small")};
  for (size_t i = 0; i < 4 * LPU_MODES; i++) {
    struct part part;
    open_part(&part, models[i / LPU_MODES], &lpu_modes[i % LPU_MODES], 0, 2, 1, 1);
    compare(&part, 1);
    close_part(&part);
  }
}

/* Some layers only, on two chips, fewer rows than the program takes. */
static void test_slices(void **state) {
  (void)state;
  for (size_t i = 0; i < LPU_MODES; i++) {
    struct part part;
    open_part(&part, TINY("gemma3-small"), &lpu_modes[i], 1, 4, 2, 5);
    compare(&part, 3);
    assert_int_equal(part.program->entry_count, 2 * 3); /* of five rows and of one */
    assert_int_equal(part.program->block_tokens, 0);
    assert_int_equal(td_lpu_program_layer_entry(part.program, 0, 1), -1);
    assert_int_equal(td_lpu_program_layer_entry(part.program, 1, 6), -1);
    assert_int_equal(td_lpu_program_entry(part.program, 1), -1);
    close_part(&part);
  }
}

/* It takes less than the whole model does. */
static void test_smaller(void **state) {
  (void)state;
  struct part part;
  open_part(&part, TINY("llama"), &lpu_modes[0], 0, 2, 1, 1);
  int64_t words = 0;
  for (int32_t i = 0; i < part.program->image_count; i++) {
    const struct td_lpu_image *image = &part.program->images[i];
    assert_int_not_equal(image->kind, TD_IMAGE_KV);
    if (image->kind == TD_IMAGE_WEIGHT) words += (int64_t)image->words * image->slices;
    if (strncmp(image->name, "qkv", 3) == 0 || strncmp(image->name, "head", 4) == 0) fail_msg("%s", image->name);
  }
  assert_true(words > 0);
  close_part(&part);
}

static void expect_refusal(const char *model, struct td_slice slice, const char *words) {
  struct td_device_params *params = NULL;
  struct td_model *opened = NULL;
  struct td_graph *graph = NULL;
  struct td_lpu_program *program = NULL;
  struct td_lpu_options options = options_of(&lpu_modes[0], 1, 1);
  assert_ok(td_device_params_open("groq-lpu-v1", &params));
  assert_ok(td_model_open(model, &opened));
  assert_ok(td_graph_build(opened, &graph));
  const struct td_lpu_machine *machine = td_lpu_machine_of(params);
  assert_int_equal(td_lpu_compile(machine, graph, &slice, NULL, &options, &program), TD_UNSUPPORTED);
  if (!strstr(td_error_text(), words)) fail_msg("found \"%s\", expected \"%s\"", td_error_text(), words);
  td_graph_free(graph);
  td_model_close(opened);
  td_device_params_close(params);
}

static void test_refused(void **state) {
  (void)state;
  expect_refusal(TINY("llama"), (struct td_slice){0, 1, TD_PART_ATTENTION}, "found a slice of layers 0..0, parts 1");
  expect_refusal(TINY("llama"), (struct td_slice){-1, 1, TD_PART_FFN}, "some of its layers 0..");
  expect_refusal(TINY("llama"), (struct td_slice){0, 1, TD_PART_ALL}, "parts 7");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_modes),
      cmocka_unit_test(test_slices),
      cmocka_unit_test(test_smaller),
      cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
