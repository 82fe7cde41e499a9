/* SPDX-License-Identifier: Apache-2.0
 *
 * Slices: they partition the graph, and what one hands out is what the next takes in.
 */
#include "support.h"
#include "tandem/base.h"
#include "tandem/graph.h"

#define LAYERS 4

static struct td_model *model;
static struct td_graph *graph;

static int open_model(void **state) {
  (void)state;
  return td_model_open(test_source("tests/data/tiny/llama.gguf"), &model) || td_graph_build(model, &graph);
}

static int close_model(void **state) {
  (void)state;
  td_graph_free(graph);
  td_model_close(model);
  return 0;
}

static void build(struct td_slice slice, struct td_slice_ops *out) {
  if (td_slice_ops_build(graph, &slice, out)) fail_msg("%s", td_error_text());
  for (int32_t i = 1; i < out->op_count; i++) assert_true(out->ops[i - 1] < out->ops[i]);
}

static void check_names(const int32_t *values, int32_t count, const char *const *names, int32_t want) {
  assert_int_equal(count, want);
  for (int32_t i = 0; i < count; i++) assert_string_equal(graph->values[values[i]].name, names[i]);
}

static void test_whole(void **state) {
  (void)state;
  struct td_slice_ops ops;
  build(td_slice_whole(graph), &ops);
  assert_int_equal(ops.op_count, graph->op_count);
  check_names(ops.live_in, ops.live_in_count, NULL, 0);
  check_names(ops.live_out, ops.live_out_count, (const char *const[]){"logits"}, 1);
  td_slice_ops_free(&ops);
  assert_null(ops.ops);
}

/* Pipeline stages: each operator in exactly one, and one value across each cut. */
static void test_pipeline(void **state) {
  (void)state;
  static const int32_t cuts[] = {-1, 0, 1, 3, LAYERS, LAYERS + 1};
  static const char *const crossing[] = {"embedding", "layers.0.ffn.residual", "layers.2.ffn.residual",
                                         "layers.3.ffn.residual", "logits"};
  int32_t seen = 0;
  for (int i = 0; i < 5; i++) {
    struct td_slice_ops ops;
    build((struct td_slice){cuts[i], cuts[i + 1], TD_PART_ALL}, &ops);
    for (int32_t j = 0; j < ops.op_count; j++) assert_int_equal(ops.ops[j], seen++);
    check_names(ops.live_in, ops.live_in_count, crossing + i - 1, i > 0);
    check_names(ops.live_out, ops.live_out_count, crossing + i, 1);
    td_slice_ops_free(&ops);
  }
  assert_int_equal(seen, graph->op_count);
}

/* Attention on one device, FFN on another: what goes over is the residual stream, in both directions. */
static void test_disaggregated_layer(void **state) {
  (void)state;
  struct td_slice_ops attention, ffn;
  build((struct td_slice){1, 2, TD_PART_ATTENTION}, &attention);
  build((struct td_slice){1, 2, TD_PART_FFN}, &ffn);
  assert_int_equal(attention.op_count, 10);
  assert_int_equal(ffn.op_count, 6);
  check_names(attention.live_in, attention.live_in_count, (const char *const[]){"layers.0.ffn.residual"}, 1);
  check_names(attention.live_out, attention.live_out_count, (const char *const[]){"layers.1.attention.residual"}, 1);
  check_names(ffn.live_in, ffn.live_in_count, (const char *const[]){"layers.1.attention.residual"}, 1);
  check_names(ffn.live_out, ffn.live_out_count, (const char *const[]){"layers.1.ffn.residual"}, 1);
  td_slice_ops_free(&attention);
  td_slice_ops_free(&ffn);
}

/* The three parts of the whole model together are the whole model, and every live-in is some other part's live-out. */
static void test_parts(void **state) {
  (void)state;
  static const uint32_t parts[] = {TD_PART_ATTENTION, TD_PART_FFN, TD_PART_ENDS};
  struct td_slice_ops ops[3];
  int32_t sum = 0, in = 0, out = 0;
  for (int i = 0; i < 3; i++) {
    build((struct td_slice){-1, LAYERS + 1, parts[i]}, &ops[i]);
    sum += ops[i].op_count;
    out += ops[i].live_out_count;
  }
  assert_int_equal(sum, graph->op_count);
  for (int i = 0; i < 3; i++) {
    for (int32_t j = 0; j < ops[i].live_in_count; j++, in++) {
      int found = 0;
      for (int k = 0; k < 3; k++) {
        for (int32_t l = 0; l < ops[k].live_out_count; l++) found += k != i && ops[k].live_out[l] == ops[i].live_in[j];
      }
      assert_int_equal(found, 1);
    }
  }
  for (int i = 0; i < 3; i++) td_slice_ops_free(&ops[i]);
  /* embedding, 4 x attention, 4 x ffn, logits; all but the last are read elsewhere */
  assert_int_equal(out, 1 + 2 * LAYERS + 1);
  assert_int_equal(in, out - 1);
}

static void test_refusals(void **state) {
  (void)state;
  static const struct {
    struct td_slice slice;
    const char *words;
  } bad[] = {
      {{2, 2, TD_PART_ALL}, "layers: found 2 to before 2"}, {{3, 1, TD_PART_ALL}, "layers: found 3 to before 1"},
      {{-2, 2, TD_PART_ALL}, "inside -1 to before 5"},      {{0, 6, TD_PART_ALL}, "layers: found 0 to before 6"},
      {{0, 1, 0}, "parts: found 0, expected 1 to 7"},       {{0, 1, 8}, "parts: found 8"},
      {{0, 2, TD_PART_ENDS}, "found no operators"},         {{-1, 0, TD_PART_FFN}, "found no operators"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    struct td_slice_ops ops;
    assert_int_equal(td_slice_ops_build(graph, &bad[i].slice, &ops), TD_CONFIG);
    if (!strstr(td_error_text(), bad[i].words)) fail_msg("%s: %s", bad[i].words, td_error_text());
  }
}

static void check_kv(struct td_slice slice, int32_t begin, int32_t end) {
  int32_t got_begin, got_end;
  td_slice_kv_layers(graph, &slice, &got_begin, &got_end);
  assert_int_equal(got_begin, begin);
  assert_int_equal(got_end, end);
}

static void test_kv_layers(void **state) {
  (void)state;
  check_kv(td_slice_whole(graph), 0, LAYERS);
  check_kv((struct td_slice){1, 3, TD_PART_ALL}, 1, 3);
  check_kv((struct td_slice){1, 3, TD_PART_ATTENTION}, 1, 3);
  check_kv((struct td_slice){1, 3, TD_PART_FFN | TD_PART_ENDS}, 0, 0);
  check_kv((struct td_slice){-1, 0, TD_PART_ALL}, 0, 0);
  check_kv((struct td_slice){LAYERS, LAYERS + 1, TD_PART_ALL}, 0, 0);
}

/* What graphs remember of themselves is what a look at all operators finds, here and in models of unlike layers. */
static void same_groups(const struct td_graph *known) {
  struct td_graph unknown = *known;
  const struct td_slice whole = td_slice_whole(known);
  struct td_slice_group *groups, *looked;
  int32_t count, looked_count, ops = 0;
  unknown.distinct_count = 0;
  assert_int_equal(td_slice_groups_build(known, &whole, &groups, &count), TD_OK);
  assert_int_equal(td_slice_groups_build(&unknown, &whole, &looked, &looked_count), TD_OK);
  assert_int_equal(count, looked_count);
  assert_int_equal(count, known->distinct_count);
  assert_memory_equal(groups, looked, (size_t)count * sizeof *groups);
  for (int32_t i = 0; i < count; i++) ops += groups[i].count;
  assert_int_equal(ops, known->op_count);
  free(groups);
  free(looked);
}

static void test_groups(void **state) {
  (void)state;
  static const char *const shapes[] = {"deepseek-v3", "gpt-oss-20b", "bert-base"};
  same_groups(graph);
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    char path[80];
    struct td_model *other;
    struct td_graph *built;
    snprintf(path, sizeof path, "experiments/models/%s.cfg", shapes[i]);
    assert_int_equal(td_model_open(test_source(path), &other), TD_OK);
    assert_int_equal(td_graph_build(other, &built), TD_OK);
    same_groups(built);
    td_graph_free(built);
    td_model_close(other);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_whole),  cmocka_unit_test(test_pipeline), cmocka_unit_test(test_disaggregated_layer),
      cmocka_unit_test(test_parts),  cmocka_unit_test(test_refusals), cmocka_unit_test(test_kv_layers),
      cmocka_unit_test(test_groups),
  };
  return cmocka_run_group_tests(tests, open_model, close_model);
}
