/* SPDX-License-Identifier: Apache-2.0
 *
 * Decoders beyond the plain ones: biases, norms of heads, windows, gates through gelu, norms after branches, scaled
 * embeddings and positions. Compiled programs say, bit for bit, what the graph's reference says, and keep every rule.
 */
#include <string.h>

#include "lpu/course.h"
#include "lpu/decoder.h"

static const char *const models[] = {"qwen2", "qwen3", "gemma3"};
#define MODELS (sizeof models / sizeof *models)

static const char *small(const char *name) {
  static char path[256];
  snprintf(path, sizeof path, "%s/tests/data/tiny/%s-small.gguf", TANDEM_SOURCE_DIR, name);
  return path;
}

static void test_modes(void **state) {
  (void)state;
  for (size_t i = 0; i < MODELS * LPU_MODES; i++) {
    const struct lpu_course course = {small(models[i / LPU_MODES]), 1, 32, 64, 12, 0, 1};
    lpu_course_run(&course, &lpu_modes[i % LPU_MODES]);
  }
}

/* Rows that are apart, on two chips. */
static void test_rows(void **state) {
  (void)state;
  for (size_t i = 0; i < MODELS; i++) {
    const struct lpu_course course = {small(models[i]), 3, 16, 48, 20, 7, 2};
    lpu_course_run(&course, &lpu_modes[i + 1]);
  }
}

/* Past the window, and across blocks of which a row sees nothing. */
static void test_window(void **state) {
  (void)state;
  const struct lpu_course course = {small("gemma3"), 1, 16, 96, 90, 0, 1};
  lpu_course_run(&course, &lpu_modes[1]);
}

/* The models that the project shares, where it is there: larger heads. */
static void test_larger(void **state) {
  (void)state;
  static const char *const names[] = {"llama", "llama-ropescale", "qwen2", "qwen3", "gemma3"};
  char path[64];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "reference/tiny/%s.gguf", names[i]);
    const char *model = test_shared(path);
    if (!model) skip();
    const struct lpu_course course = {model, 1, 160, 160, 3, 0, 1};
    lpu_course_run(&course, &lpu_modes[i % LPU_MODES]);
  }
}

/* ---- what is refused ---- */

struct opened {
  struct td_device_params *params;
  struct td_model *model;
  struct td_graph *graph;
};

static struct opened open_graph(const char *model) {
  struct opened opened;
  assert_ok(td_device_params_open("groq-lpu-v1", &opened.params));
  assert_ok(td_model_open(model, &opened.model));
  assert_ok(td_graph_build(opened.model, &opened.graph));
  return opened;
}

static void expect(const struct opened *opened, const char *words) {
  const struct td_lpu_options options = {.chips = 1, .rows = 1, .block_tokens = 32, .kv_blocks = 2, .context = 64};
  struct td_slice whole = td_slice_whole(opened->graph);
  struct td_lpu_program *program = NULL;
  td_status status = td_lpu_compile(td_lpu_machine_of(opened->params), opened->graph, &whole, NULL, &options, &program);
  td_lpu_program_free(program);
  assert_int_equal(status, words ? TD_UNSUPPORTED : TD_OK);
  if (words && !strstr(td_error_text(), words)) fail_msg("found \"%s\", expected \"%s\"", td_error_text(), words);
}

static struct td_op *op_of(const struct opened *opened, int32_t layer, enum td_op_kind kind) {
  for (int32_t i = 0; i < opened->graph->op_count; i++) {
    struct td_op *op = &opened->graph->ops[i];
    if (op->layer == layer && op->kind == kind) return op;
  }
  fail_msg("no %s in layer %d", td_op_kind_name(kind), layer);
  return NULL;
}

/* Every operator of a layer, one after the other, made into one that nobody knows there. */
static void test_other_operators(void **state) {
  (void)state;
  struct opened opened = open_graph(small("gemma3"));
  for (int32_t i = 0; i < opened.graph->op_count; i++) {
    struct td_op *op = &opened.graph->ops[i], kept = *op;
    if (op->layer < 0 || op->kind == TD_OP_SELECT || op->kind == TD_OP_SAMPLE) continue;
    op->kind = TD_OP_EXPERT_SUM;
    expect(&opened, "LPU: ");
    *op = kept;
  }
  expect(&opened, NULL);
  td_graph_free(opened.graph);
  td_model_close(opened.model);
  td_device_params_close(opened.params);
}

/* Windows, scales and bases may differ between layers; nothing else may. */
static void test_other_layers(void **state) {
  (void)state;
  struct opened opened = open_graph(small("qwen2"));
  struct td_op *norm = op_of(&opened, 1, TD_OP_RMS_NORM), *attention = op_of(&opened, 1, TD_OP_ATTENTION);
  norm->epsilon = 0.5;
  expect(&opened, "rms_norm of layer 1: found epsilon 0.5");
  norm->epsilon = op_of(&opened, 0, TD_OP_RMS_NORM)->epsilon;
  attention->window = 8;
  expect(&opened, NULL);
  attention->kv_heads = 1;
  expect(&opened, "attention of layer 1: found KV heads 1");
  td_graph_free(opened.graph);
  td_model_close(opened.model);
  td_device_params_close(opened.params);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_other_operators), cmocka_unit_test(test_other_layers),
      cmocka_unit_test(test_modes),           cmocka_unit_test(test_rows),
      cmocka_unit_test(test_window),          cmocka_unit_test(test_larger),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
