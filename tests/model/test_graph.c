/* SPDX-License-Identifier: Apache-2.0
 *
 * The step graph: its form, and its FLOPs and bytes against closed forms worked out by hand.
 */
#include <stdio.h>

#include "gguf_builder.h"
#include "support.h"
#include "tandem/base.h"
#include "tandem/graph.h"

/* No window, no experts. */
static const struct td_shape plain_shape;

static void open_graph(const char *path, struct td_model **out_model, struct td_graph **out_graph) {
  if (td_model_open(path, out_model) || td_graph_build(*out_model, out_graph)) fail_msg("%s", td_error_text());
}

static struct td_op_cost sum_costs(const struct td_graph *graph, enum td_dtype kv_dtype) {
  struct td_op_cost sum = {0};
  for (int32_t i = 0; i < graph->op_count; i++) {
    struct td_op_cost cost;
    td_op_cost(graph, &graph->ops[i], kv_dtype, &cost);
    sum.flops = td_poly_add(sum.flops, cost.flops);
    sum.weight_bytes = td_poly_add(sum.weight_bytes, cost.weight_bytes);
    sum.activation_bytes = td_poly_add(sum.activation_bytes, cost.activation_bytes);
    sum.kv_read_bytes = td_poly_add(sum.kv_read_bytes, cost.kv_read_bytes);
    sum.kv_write_bytes = td_poly_add(sum.kv_write_bytes, cost.kv_write_bytes);
  }
  return sum;
}

/* ---- form ---- */

static const enum td_op_kind layer_kinds[] = {
    TD_OP_RMS_NORM,  TD_OP_MATMUL,     TD_OP_MATMUL, TD_OP_MATMUL, TD_OP_ROPE,     TD_OP_ROPE,
    TD_OP_KV_APPEND, TD_OP_ATTENTION,  TD_OP_MATMUL, TD_OP_ADD,    TD_OP_RMS_NORM, TD_OP_MATMUL,
    TD_OP_MATMUL,    TD_OP_ACTIVATION, TD_OP_MATMUL, TD_OP_ADD,
};
static const char *const layer_weights[] = {
    "attn_norm",   "attn_q", "attn_k",   "attn_v",   NULL,     NULL, NULL,       NULL,
    "attn_output", NULL,     "ffn_norm", "ffn_gate", "ffn_up", NULL, "ffn_down", NULL,
};
#define LAYER_OPS ((int)(sizeof layer_kinds / sizeof layer_kinds[0]))

static void check_weight(const struct td_graph *graph, const struct td_op *op, const char *name) {
  if (!name) {
    assert_int_equal(op->weight, -1);
    return;
  }
  assert_in_range(op->weight, 0, graph->weight_count - 1);
  assert_string_equal(graph->weights[op->weight].name, name);
  if (op->kind == TD_OP_MATMUL) {
    assert_int_equal(graph->weights[op->weight].rows, op->n);
    assert_int_equal(graph->weights[op->weight].cols, op->k);
    assert_int_equal(graph->values[op->in[0]].cols, op->k);
  }
}

static void check_layer(const struct td_graph *graph, int32_t layer) {
  for (int i = 0; i < LAYER_OPS; i++) {
    const struct td_op *op = &graph->ops[1 + layer * LAYER_OPS + i];
    char name[64];
    assert_int_equal(op->kind, layer_kinds[i]);
    assert_int_equal(op->layer, layer);
    assert_int_equal(op->part, i < 10 ? TD_PART_ATTENTION : TD_PART_FFN);
    assert_int_equal(op->rows, TD_ROWS_TOKENS);
    snprintf(name, sizeof name, "blk.%d.%s.weight", layer, layer_weights[i] ? layer_weights[i] : "");
    check_weight(graph, op,
                 layer_weights[i]                            ? name
                 : op->kind == TD_OP_ROPE && op->weight >= 0 ? "rope_freqs.weight"
                                                             : NULL);
  }
}

static void check_ends(const struct td_graph *graph) {
  static const enum td_op_kind kinds[] = {TD_OP_SELECT, TD_OP_RMS_NORM, TD_OP_MATMUL, TD_OP_SAMPLE};
  const struct td_op *embed = &graph->ops[0], *tail = &graph->ops[graph->op_count - 4];
  assert_int_equal(embed->kind, TD_OP_EMBED);
  assert_int_equal(embed->layer, -1);
  assert_int_equal(embed->part, TD_PART_ENDS);
  check_weight(graph, embed, "token_embd.weight");
  for (int i = 0; i < 4; i++) {
    assert_int_equal(tail[i].kind, kinds[i]);
    assert_int_equal(tail[i].layer, graph->shape.layers);
    assert_int_equal(tail[i].part, TD_PART_ENDS);
    assert_int_equal(tail[i].rows, TD_ROWS_LOGITS);
  }
  check_weight(graph, &tail[1], "output_norm.weight");
  check_weight(graph, &tail[2], graph->shape.tied_output ? "token_embd.weight" : "output.weight");
  assert_string_equal(graph->values[tail[2].out].name, "logits");
  assert_int_equal(graph->values[tail[2].out].cols, graph->shape.vocab);
  assert_int_equal(tail[3].in[0], tail[2].out);
}

/* Every value has one producer that comes before its readers, and a name of its own. */
static void check_values(const struct td_graph *graph) {
  int32_t produced = 0;
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    for (int j = 0; j < TD_OP_INPUTS; j++) {
      if (op->in[j] >= 0) assert_true(op->in[j] < produced);
    }
    if (op->out >= 0) {
      assert_int_equal(op->out, produced++);
      assert_int_equal(graph->values[op->out].cols, op->n);
      assert_int_equal(graph->values[op->out].rows, op->rows);
    }
  }
  assert_int_equal(produced, graph->value_count);
  for (int32_t i = 0; i < graph->value_count; i++) {
    for (int32_t j = 0; j < i; j++) assert_string_not_equal(graph->values[i].name, graph->values[j].name);
  }
}

static void check_form(const char *path) {
  struct td_model *model;
  struct td_graph *graph;
  open_graph(path, &model, &graph);
  assert_int_equal(graph->op_count, 1 + graph->shape.layers * LAYER_OPS + 4);
  check_ends(graph);
  for (int32_t layer = 0; layer < graph->shape.layers; layer++) check_layer(graph, layer);
  check_values(graph);
  for (int32_t i = 0; i < graph->weight_count; i++) {
    const struct td_tensor *tensor = td_model_tensor(model, graph->weights[i].name);
    if (!td_model_has_weights(model)) continue;
    assert_non_null(tensor);
    assert_int_equal(tensor->dtype, graph->weights[i].dtype);
    assert_int_equal(tensor->rows, graph->weights[i].rows);
    assert_int_equal(tensor->cols, graph->weights[i].cols);
  }
  td_graph_free(graph);
  td_model_close(model);
}

static void test_form(void **state) {
  (void)state;
  check_form(test_source("tests/data/tiny/llama.gguf"));
  check_form(test_source("tests/data/tiny/llama-ropescale.gguf"));
  check_form(test_source("experiments/models/smollm2-135m.cfg"));
  check_form(test_source("experiments/models/llama-3.1-8b.cfg"));
}

/* A file's graph and a shape's graph are one function: the same operators but for the types of the weights. */
static void test_same_for_both_kinds(void **state) {
  (void)state;
  struct td_model *model, *shape;
  struct td_graph *a, *b;
  const char *path = test_model_path();
  if (!path) {
    print_message("SKIPPED: no SmolLM2 model (TANDEM_TEST_MODEL)\n");
    skip();
    return;
  }
  open_graph(path, &model, &a);
  open_graph(test_source("experiments/models/smollm2-135m.cfg"), &shape, &b);
  assert_int_equal(a->op_count, b->op_count);
  for (int32_t i = 0; i < a->op_count; i++) {
    assert_int_equal(a->ops[i].kind, b->ops[i].kind);
    assert_int_equal(a->ops[i].n, b->ops[i].n);
    assert_int_equal(a->ops[i].k, b->ops[i].k);
    assert_int_equal(a->ops[i].out, b->ops[i].out);
  }
  struct td_op_cost x = sum_costs(a, TD_F16), y = sum_costs(b, TD_F16);
  assert_memory_equal(&x.flops, &y.flops, sizeof x.flops);
  td_graph_free(a);
  td_graph_free(b);
  td_model_close(model);
  td_model_close(shape);
}

/* ---- cost ---- */

static void test_weight_bytes(void **state) {
  (void)state;
  static const char *const files[] = {
      "tests/data/tiny/llama.gguf",          "tests/data/tiny/llama-ropescale.gguf",
      "experiments/models/llama-2-70b.cfg",  "experiments/models/llama-3.1-405b.cfg",
      "experiments/models/smollm2-135m.cfg",
  };
  for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
    struct td_model *model;
    struct td_graph *graph;
    open_graph(test_source(files[i]), &model, &graph);
    const struct td_shape *shape = td_model_shape(model);
    struct td_poly bytes = sum_costs(graph, TD_F16).weight_bytes;
    uint64_t row, factors = shape->rope_factors ? 4u * (unsigned)shape->rope_dim / 2 : 0;
    const struct td_weight *embed = &graph->weights[graph->ops[0].weight];
    assert_int_equal(td_dtype_row_bytes(embed->dtype, embed->cols, &row), TD_OK);
    /* all tensors once; but the embedding by rows unless it is also the head, and the rope factors twice a layer */
    uint64_t want = td_model_weight_bytes(model) - (shape->tied_output ? 0 : row * (uint64_t)embed->rows) - factors +
                    factors * 2 * (uint64_t)shape->layers;
    assert_int_equal(bytes.c[TD_SYM_ONE], want);
    assert_int_equal(bytes.c[TD_SYM_TOKENS], row);
    assert_int_equal(bytes.c[TD_SYM_LOGITS] + bytes.c[TD_SYM_SEQS] + bytes.c[TD_SYM_CONTEXT] + bytes.c[TD_SYM_PAIRS],
                     0);
    td_graph_free(graph);
    td_model_close(model);
  }
}

static int64_t matmul_flops(const struct td_graph *graph, enum td_symbol symbol) {
  int64_t sum = 0;
  for (int32_t i = 0; i < graph->op_count; i++) {
    struct td_op_cost cost;
    td_op_cost(graph, &graph->ops[i], TD_F16, &cost);
    if (graph->ops[i].kind == TD_OP_MATMUL) sum += cost.flops.c[symbol];
  }
  return sum;
}

/* Llama-3.1-8B, by hand: 2 FLOPs per matrix parameter and token; 4 * 4096 per layer and attended position. */
static void test_flops(void **state) {
  (void)state;
  struct td_model *model;
  struct td_graph *graph;
  open_graph(test_source("experiments/models/llama-3.1-8b.cfg"), &model, &graph);
  const int64_t layer = 2 * INT64_C(4096) * 4096 + 2 * INT64_C(1024) * 4096 + 3 * INT64_C(14336) * 4096;
  assert_int_equal(matmul_flops(graph, TD_SYM_TOKENS), 2 * 32 * layer);
  assert_int_equal(matmul_flops(graph, TD_SYM_LOGITS), 2 * INT64_C(128256) * 4096);
  struct td_op_cost sum = sum_costs(graph, TD_F16);
  assert_int_equal(sum.flops.c[TD_SYM_PAIRS], 32 * INT64_C(4) * 32 * 128);
  /* norms: 4 n + 3; rope: 6 a pair, of 32 + 8 heads; silu: 5; two residual additions */
  const int64_t vectors = 2 * (4 * 4096 + 3) + 3 * 40 * 128 + 5 * 14336 + 2 * 4096;
  assert_int_equal(sum.flops.c[TD_SYM_TOKENS], 32 * (2 * layer + vectors));
  assert_int_equal(sum.flops.c[TD_SYM_LOGITS], 2 * INT64_C(128256) * 4096 + 4 * 4096 + 3);
  assert_int_equal(sum.flops.c[TD_SYM_ONE] + sum.flops.c[TD_SYM_SEQS] + sum.flops.c[TD_SYM_CONTEXT], 0);
  td_graph_free(graph);
  td_model_close(model);
}

static void test_activation_bytes(void **state) {
  (void)state;
  struct td_model *model;
  struct td_graph *graph;
  open_graph(test_source("tests/data/tiny/llama.gguf"), &model, &graph);
  /* columns read and written a token and layer; hidden 128, q 128, kv 64, ffn 256 */
  const int64_t attention = 256 + 256 + 192 + 192 + 256 + 128 + 128 + 256 + 256 + 384;
  const int64_t ffn = 256 + 384 + 384 + 768 + 384 + 384;
  struct td_op_cost sum = sum_costs(graph, TD_F32);
  assert_int_equal(sum.activation_bytes.c[TD_SYM_TOKENS], 4 * (128 + 4 * (attention + ffn)));
  assert_int_equal(sum.activation_bytes.c[TD_SYM_LOGITS], 4 * (256 + 256 + 128 + 320));
  td_graph_free(graph);
  td_model_close(model);
}

static void test_kv_bytes(void **state) {
  (void)state;
  struct td_model *model;
  struct td_graph *graph;
  open_graph(test_source("experiments/models/llama-2-70b.cfg"), &model, &graph);
  const struct td_shape *shape = td_model_shape(model);
  /* 80 layers x 2 x 8 heads x 128 x 2 bytes: the well-known 320 KiB a token */
  assert_int_equal(td_kv_bytes(shape, TD_F16, 80, 1), 327680);
  assert_int_equal(td_kv_bytes(shape, TD_F32, 80, 1), 655360);
  assert_int_equal(td_kv_bytes(shape, TD_F16, 3, 1000), INT64_C(3) * 2 * 8 * 128 * 2 * 1000);
  assert_int_equal(td_kv_bytes(shape, TD_F16, 80, 0), 0);
  struct td_op_cost sum = sum_costs(graph, TD_F16);
  assert_int_equal(sum.kv_write_bytes.c[TD_SYM_TOKENS], 327680);
  assert_int_equal(sum.kv_read_bytes.c[TD_SYM_CONTEXT], 327680);
  assert_int_equal(sum.kv_read_bytes.c[TD_SYM_TOKENS] + sum.kv_write_bytes.c[TD_SYM_CONTEXT], 0);
  td_graph_free(graph);
  td_model_close(model);
}

/* ---- counts and forms ---- */

static void test_step_stats(void **state) {
  (void)state;
  struct td_step_stats stats = {0};
  td_step_stats_add(&stats, &plain_shape, 0, 5, 1);  /* prefill: 1 + 2 + 3 + 4 + 5 */
  td_step_stats_add(&stats, &plain_shape, 10, 1, 1); /* decode: 11 */
  td_step_stats_add(&stats, &plain_shape, 7, 4, 0);  /* a chunk: 8 + 9 + 10 + 11 */
  static const int64_t want[TD_SYM_COUNT] = {[TD_SYM_ONE] = 1,
                                             [TD_SYM_TOKENS] = 10,
                                             [TD_SYM_LOGITS] = 2,
                                             [TD_SYM_SEQS] = 3,
                                             [TD_SYM_CONTEXT] = 27,
                                             [TD_SYM_PAIRS] = 15 + 11 + 38,
                                             /* no window, no experts */
                                             [TD_SYM_WINDOW_CONTEXT] = 27,
                                             [TD_SYM_WINDOW_PAIRS] = 15 + 11 + 38,
                                             [TD_SYM_FULL_PAIRS] = 25 + 11 + 44,
                                             [TD_SYM_DECODES] = 1,
                                             [TD_SYM_DECODE_CONTEXT] = 11};
  for (int i = 0; i < TD_SYM_COUNT; i++) assert_int_equal(stats.v[i], want[i]);
}

static void test_poly(void **state) {
  (void)state;
  struct td_poly a = {{1, 2, 3, 4, 5, 6}}, b = {{10, 20, 30, 40, 50, 60}};
  struct td_step_stats stats = {{1, 1, 2, 3, 5, 8}};
  assert_int_equal(td_poly_eval(&a, &stats), 1 + 2 + 6 + 12 + 25 + 48);
  struct td_poly sum = td_poly_add(a, b);
  assert_int_equal(td_poly_eval(&sum, &stats), 11 * (1 + 2 + 6 + 12 + 25 + 48));
  struct td_poly huge = {{0, INT64_MAX, 0, 0, 0, 0}};
  stats.v[TD_SYM_TOKENS] = 2;
  assert_true(td_poly_eval(&huge, &stats) == INT64_MAX);
  sum = td_poly_add(huge, huge);
  assert_true(sum.c[TD_SYM_TOKENS] == INT64_MAX);
}

static void test_kind_names(void **state) {
  (void)state;
  assert_string_equal(td_op_kind_name(TD_OP_KV_APPEND), "kv_append");
  assert_string_equal(td_op_kind_name(TD_OP_KIND_COUNT), "unknown");
  for (int i = 0; i < TD_OP_KIND_COUNT; i++) assert_non_null(td_op_kind_name((enum td_op_kind)i));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_form),
      cmocka_unit_test(test_same_for_both_kinds),
      cmocka_unit_test(test_weight_bytes),
      cmocka_unit_test(test_flops),
      cmocka_unit_test(test_activation_bytes),
      cmocka_unit_test(test_kv_bytes),
      cmocka_unit_test(test_step_stats),
      cmocka_unit_test(test_poly),
      cmocka_unit_test(test_kind_names),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
