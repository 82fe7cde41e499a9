/* SPDX-License-Identifier: Apache-2.0
 *
 * The step graphs of all architectures: the operators of a layer in order, sizes that fit together, published totals,
 * and the counts that windows and experts bring.
 */
#include <math.h>
#include <stdio.h>

#include "support.h"
#include "tandem/base.h"
#include "tandem/graph.h"

static struct td_graph *graph_at(const char *path) {
  struct td_model *model;
  struct td_graph *graph = NULL;
  if (td_model_open(path, &model) || td_graph_build(model, &graph)) fail_msg("%s", td_error_text());
  td_model_close(model);
  return graph;
}

static struct td_graph *graph_of(const char *name) {
  char path[128];
  snprintf(path, sizeof path, "experiments/models/%s.cfg", name);
  return graph_at(test_source(path));
}

static struct td_graph *graph_of_text(const char *text) {
  char path[4300];
  const char *folder = test_scratch();
  assert_non_null(folder);
  snprintf(path, sizeof path, "%s/shape.cfg", folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  assert_int_equal(fclose(file), 0);
  struct td_graph *graph = graph_at(path);
  test_run(NULL, 0, "rm -rf '%s'", folder);
  return graph;
}

#define QWEN2                                                                                                  \
  "name = \"q\"; architecture = \"qwen2\"; layers = 3; hidden = 96; heads = 6; kv_heads = 2; head_dim = 16;\n" \
  "ffn = 80; vocab = 100; context = 64; rope_dim = 16; rope_theta = 1e4; norm_epsilon = 1e-6; weights = \"f16\";"
#define GEMMA3                                                                                                    \
  "name = \"g\"; architecture = \"gemma3\"; layers = 13; hidden = 96; heads = 4; kv_heads = 1; head_dim = 32;\n"  \
  "ffn = 80; vocab = 100; context = 64; rope_dim = 32; rope_theta = 1e6; norm_epsilon = 1e-6; weights = \"f16\";" \
  "window = 16; tied_output = true;"

/* ---- form ---- */

static const struct {
  const char *name, *text; /* a file of experiments/models, or a text */
  int32_t layer;
  const char *kinds;
} forms[] = {
    {"qwen2", QWEN2, 0,
     "rms_norm matmul matmul matmul add add add rope rope kv_append attention matmul add "
     "rms_norm matmul matmul activation matmul add "},
    {"qwen3-32b", NULL, 63,
     "rms_norm matmul matmul matmul rms_norm rms_norm rope rope kv_append attention matmul add "
     "rms_norm matmul matmul activation matmul add "},
    {"mixtral-8x7b", NULL, 0,
     "rms_norm matmul matmul matmul rope rope kv_append attention matmul add "
     "rms_norm matmul router expert_matmul expert_matmul activation expert_matmul expert_sum add "},
    {"qwen3-30b-a3b", NULL, 1,
     "rms_norm matmul matmul matmul rms_norm rms_norm rope rope kv_append attention matmul add "
     "rms_norm matmul router expert_matmul expert_matmul activation expert_matmul expert_sum add "},
    {"gemma3", GEMMA3, 5,
     "rms_norm matmul matmul matmul rms_norm rms_norm rope rope kv_append attention matmul rms_norm add "
     "rms_norm matmul matmul activation matmul rms_norm add "},
    {"gpt-oss-120b", NULL, 0,
     "rms_norm matmul matmul matmul add add add rope rope kv_append attention matmul add add "
     "rms_norm matmul add router expert_matmul add expert_matmul add activation expert_matmul add expert_sum add "},
    {"deepseek-v3", NULL, 2,
     "rms_norm matmul matmul rms_norm rms_norm matmul rope rope matmul kv_append attention matmul matmul add "
     "rms_norm matmul matmul activation matmul add "},
    {"deepseek-v3", NULL, 3,
     "rms_norm matmul matmul rms_norm rms_norm matmul rope rope matmul kv_append attention matmul matmul add "
     "rms_norm matmul add router expert_matmul expert_matmul activation expert_matmul expert_sum "
     "matmul matmul activation matmul add add "},
    {"opt-13b", NULL, 7,
     "layer_norm matmul matmul matmul add add add kv_append attention matmul add add "
     "layer_norm matmul add pointwise matmul add add "},
    {"bert-base", NULL, 11,
     "matmul matmul matmul add add add kv_append attention matmul add add layer_norm "
     "matmul add pointwise matmul add add layer_norm "},
    {"opt-13b", NULL, -1, "embed embed_positions "},
    {"opt-13b", NULL, 40, "select layer_norm matmul sample "},
    {"bert-base", NULL, -1, "embed embed_positions add layer_norm "},
    {"bert-base", NULL, 12, "select matmul add pointwise "},
};

static void test_forms(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
    struct td_graph *graph = forms[i].text ? graph_of_text(forms[i].text) : graph_of(forms[i].name);
    char kinds[1024] = "";
    for (int32_t j = 0; j < graph->op_count; j++) {
      if (graph->ops[j].layer != forms[i].layer) continue;
      size_t used = strlen(kinds);
      snprintf(kinds + used, sizeof kinds - used, "%s ", td_op_kind_name(graph->ops[j].kind));
    }
    if (strcmp(kinds, forms[i].kinds)) fail_msg("%s, layer %d: %s", forms[i].name, (int)forms[i].layer, kinds);
    td_graph_free(graph);
  }
}

/* Columns of an operator's output. */
static int64_t cols_of(const struct td_op *op) {
  return op->kind == TD_OP_EXPERT_MATMUL ? op->n * op->experts_used : op->n;
}

static void check_weight(const struct td_graph *graph, const struct td_op *op) {
  const struct td_weight *weight = &graph->weights[op->weight];
  if (op->kind == TD_OP_MATMUL || op->kind == TD_OP_EXPERT_MATMUL) {
    assert_int_equal(weight->cols, op->k);
    assert_int_equal(weight->rows, op->kind == TD_OP_MATMUL ? op->n : op->n * op->experts);
  }
  if (op->kind == TD_OP_RMS_NORM) assert_int_equal(weight->cols * op->groups, op->n);
  if (op->kind == TD_OP_LAYER_NORM) assert_int_equal(weight->rows, 2);
  if (op->kind == TD_OP_ADD && !op->experts) assert_int_equal(weight->cols, op->n);
  if (op->kind == TD_OP_ADD && op->experts) assert_int_equal(weight->rows, op->experts);
}

/* Every value has one producer, before its readers; every name is there once; sizes fit. */
static void check_values(const struct td_graph *graph) {
  int32_t produced = 0;
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    for (int j = 0; j < TD_OP_INPUTS; j++) assert_true(op->in[j] < produced);
    if (op->weight >= 0) check_weight(graph, op);
    bool wide = op->groups > 1 || op->kind == TD_OP_EXPERT_MATMUL;
    if (op->kind == TD_OP_MATMUL && !wide) assert_int_equal(graph->values[op->in[0]].cols, op->k);
    if (op->kind == TD_OP_ACTIVATION) assert_int_equal(graph->values[op->in[1]].cols, op->n);
    if (op->kind == TD_OP_ROUTER) assert_int_equal(graph->values[op->in[0]].cols, op->experts);
    if (op->kind == TD_OP_EXPERT_SUM) assert_int_equal(graph->values[op->in[0]].cols, op->n * op->experts_used);
    if (op->out < 0) continue;
    assert_int_equal(op->out, produced++);
    assert_int_equal(graph->values[op->out].cols, cols_of(op));
    assert_int_equal(graph->values[op->out].rows, op->rows);
  }
  assert_int_equal(produced, graph->value_count);
  for (int32_t i = 1; i < graph->value_count; i++) {
    assert_string_not_equal(graph->values[i].name, graph->values[i - 1].name);
  }
}

static void test_values(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
    struct td_graph *graph = forms[i].text ? graph_of_text(forms[i].text) : graph_of(forms[i].name);
    check_values(graph);
    td_graph_free(graph);
  }
}

static const struct td_op *op_of(const struct td_graph *graph, int32_t layer, enum td_op_kind kind, int nth) {
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    if (op->layer == layer && op->kind == kind && nth-- == 0) return op;
  }
  fail_msg("layer %d has no such %s", (int)layer, td_op_kind_name(kind));
  return NULL;
}

/* What tells the families apart besides the operators' kinds. */
static void test_attributes(void **state) {
  (void)state;
  struct td_graph *graph = graph_of_text(GEMMA3);
  for (int32_t layer = 0; layer < 13; layer++) {
    bool full = layer == 5 || layer == 11;
    assert_int_equal(op_of(graph, layer, TD_OP_ATTENTION, 0)->window, full ? 0 : 16);
    for (int i = 0; i < 2; i++) assert_true(op_of(graph, layer, TD_OP_ROPE, i)->theta == (full ? 1e6 : 1e4));
    assert_int_equal(op_of(graph, layer, TD_OP_ROPE, 0)->rope_pairs, TD_ROPE_HALVES);
    assert_int_equal(op_of(graph, layer, TD_OP_ACTIVATION, 0)->activation, TD_ACT_GELU);
    assert_int_equal(op_of(graph, layer, TD_OP_RMS_NORM, 1)->groups, 4);
    assert_int_equal(op_of(graph, layer, TD_OP_RMS_NORM, 2)->groups, 1);
  }
  assert_true(op_of(graph, -1, TD_OP_EMBED, 0)->scale == sqrt(96.0));
  assert_true(op_of(graph, 0, TD_OP_ATTENTION, 0)->scale == 1 / sqrt(32.0));
  td_graph_free(graph);
  graph = graph_of("mixtral-8x7b");
  assert_int_equal(op_of(graph, 0, TD_OP_ROPE, 0)->rope_pairs, TD_ROPE_ADJACENT);
  assert_int_equal(op_of(graph, 0, TD_OP_ACTIVATION, 0)->activation, TD_ACT_SILU);
  assert_true(op_of(graph, -1, TD_OP_EMBED, 0)->scale == 1);
  assert_int_equal(op_of(graph, 0, TD_OP_ROUTER, 0)->n, 4);
  td_graph_free(graph);
  graph = graph_of("gpt-oss-120b");
  for (int32_t layer = 0; layer < 36; layer++) {
    assert_int_equal(op_of(graph, layer, TD_OP_ATTENTION, 0)->window, layer % 2 ? 0 : 128);
  }
  td_graph_free(graph);
  graph = graph_of("bert-base");
  assert_true(op_of(graph, 0, TD_OP_ATTENTION, 0)->bidirectional);
  td_graph_free(graph);
}

/* Gemma 3's 27B alone scales its scores by hidden / heads, and only full layers have their positions scaled. */
static void test_gemma_27b(void **state) {
  (void)state;
  struct td_graph *graph = graph_of_text(
      "name = \"27b\"; architecture = \"gemma3\"; layers = 62; hidden = 5376; heads = 32; kv_heads = 16;\n"
      "head_dim = 128; ffn = 21504; vocab = 262208; context = 131072; rope_dim = 128; rope_theta = 1e6;\n"
      "norm_epsilon = 1e-6; weights = \"bf16\"; window = 1024; tied_output = true;");
  assert_true(op_of(graph, 0, TD_OP_ATTENTION, 0)->scale == 1 / sqrt(168.0));
  td_graph_free(graph);
}

/* ---- published totals ---- */

/* A weight that two operators read (a tied embedding) is in the list once. */
static int64_t parameters(const struct td_graph *graph) {
  int64_t sum = 0;
  for (int32_t i = 0; i < graph->weight_count; i++) sum += graph->weights[i].rows * graph->weights[i].cols;
  return sum;
}

/* Parameters of matrices that one token passes, the head among them: half the FLOPs. */
static int64_t active(const struct td_graph *graph) {
  int64_t sum = 0;
  for (int32_t i = 0; i < graph->op_count; i++) {
    struct td_op_cost cost;
    const struct td_op *op = &graph->ops[i];
    if (op->kind != TD_OP_MATMUL && op->kind != TD_OP_EXPERT_MATMUL) continue;
    td_op_cost(graph, op, TD_F16, &cost);
    sum += (cost.flops.c[TD_SYM_TOKENS] + cost.flops.c[TD_SYM_LOGITS]) / 2;
  }
  return sum;
}

/* The graph's weights are the model's: same tables, but once by role and once by operator. */
static void check_bytes(const char *name, const struct td_graph *graph) {
  char path[128];
  struct td_model *model;
  uint64_t sum = 0;
  snprintf(path, sizeof path, "experiments/models/%s.cfg", name);
  assert_int_equal(td_model_open(test_source(path), &model), TD_OK);
  for (int32_t i = 0; i < graph->weight_count; i++) {
    uint64_t row;
    assert_int_equal(td_dtype_row_bytes(graph->weights[i].dtype, graph->weights[i].cols, &row), TD_OK);
    sum += row * (uint64_t)graph->weights[i].rows;
  }
  assert_int_equal(sum, td_model_weight_bytes(model));
  td_model_close(model);
}

static void test_parameters(void **state) {
  (void)state;
  static const struct {
    const char *name;
    int64_t parameters;       /* of the published files */
    double published, active; /* in the model's card or paper, 1e9; 0: none */
    bool embedding;           /* which counts the embedding as active */
  } models[] = {
      {"mixtral-8x7b", INT64_C(46702792704), 46.7, 12.9, true},
      {"qwen3-30b-a3b", INT64_C(30532122624), 30.5, 3.3, true},
      {"qwen3-32b", INT64_C(32762123264), 32.8, 0, false},
      {"gpt-oss-120b", INT64_C(116829156672), 116.8, 5.1, false},
      {"deepseek-v3", INT64_C(671026419200), 671, 37, false},
      {"opt-13b", INT64_C(12853473280), 12.85, 0, false},
      {"bert-base", INT64_C(109482240), 0.11, 0, false},
      {"bert-large", INT64_C(335141888), 0.34, 0, false},
      {"moe-2t", 0, 2000, 38, false},
  };
  for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
    struct td_graph *graph = graph_of(models[i].name);
    double all = (double)parameters(graph) / 1e9, used = (double)active(graph) / 1e9;
    if (models[i].embedding) used += (double)graph->shape.vocab * graph->shape.hidden / 1e9;
    printf("%-14s %9.3f B parameters, %.2f B active\n", models[i].name, all, used);
    if (models[i].parameters) assert_int_equal(parameters(graph), models[i].parameters);
    check_bytes(models[i].name, graph);
    assert_true(fabs(all - models[i].published) <= 0.016 * models[i].published);
    if (models[i].active > 0) assert_true(fabs(used - models[i].active) <= 0.02 * models[i].active);
    td_graph_free(graph);
  }
}

/* All weights of a step that reaches every expert are all of the model's bytes but the embedding, of which it reads a
 * row a token. */
static void test_weight_bytes(void **state) {
  (void)state;
  static const char *const names[] = {"mixtral-8x7b", "qwen3-30b-a3b", "gpt-oss-120b", "deepseek-v3", "moe-2t"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    char path[128];
    struct td_model *model;
    struct td_graph *graph = graph_of(names[i]);
    snprintf(path, sizeof path, "experiments/models/%s.cfg", names[i]);
    assert_int_equal(td_model_open(test_source(path), &model), TD_OK);
    struct td_step_stats stats = {{0}};
    td_step_stats_add(&stats, &graph->shape, 0, 1000000, 1);
    assert_int_equal(stats.v[TD_SYM_EXPERTS], graph->shape.experts);
    uint64_t row, sum = 0;
    for (int32_t j = 0; j < graph->op_count; j++) {
      struct td_op_cost cost;
      td_op_cost(graph, &graph->ops[j], TD_F16, &cost);
      if (graph->ops[j].kind != TD_OP_EMBED) sum += (uint64_t)td_poly_eval(&cost.weight_bytes, &stats);
    }
    const struct td_weight *embed = &graph->weights[graph->ops[0].weight];
    assert_int_equal(td_dtype_row_bytes(embed->dtype, embed->cols, &row), TD_OK);
    assert_int_equal(sum + row * (uint64_t)embed->rows, td_model_weight_bytes(model));
    td_model_close(model);
    td_graph_free(graph);
  }
  /* the checkpoint of gpt-oss-120b: 60.8 GiB (model card) */
  struct td_model *model;
  assert_int_equal(td_model_open(test_source("experiments/models/gpt-oss-120b.cfg"), &model), TD_OK);
  assert_true(fabs((double)td_model_weight_bytes(model) / (1 << 30) - 60.8) < 0.1);
  td_model_close(model);
}

/* ---- attention of other kinds ---- */

static struct td_op_cost attention_costs(const struct td_graph *graph) {
  struct td_op_cost sum = {0};
  for (int32_t i = 0; i < graph->op_count; i++) {
    struct td_op_cost cost;
    if (graph->ops[i].kind != TD_OP_ATTENTION && graph->ops[i].kind != TD_OP_KV_APPEND) continue;
    td_op_cost(graph, &graph->ops[i], TD_F16, &cost);
    sum.flops = td_poly_add(sum.flops, cost.flops);
    sum.kv_read_bytes = td_poly_add(sum.kv_read_bytes, cost.kv_read_bytes);
    sum.kv_write_bytes = td_poly_add(sum.kv_write_bytes, cost.kv_write_bytes);
  }
  return sum;
}

/* DeepSeek-V3: 70.272 KB a token in bf16 (arXiv:2505.09343, table 1); 128 heads over keys of 576 and values of 512. */
static void test_latent_attention(void **state) {
  (void)state;
  struct td_graph *graph = graph_of("deepseek-v3");
  struct td_op_cost cost = attention_costs(graph);
  assert_int_equal(td_shape_kv_elements(&graph->shape), 576);
  assert_int_equal(td_kv_bytes(&graph->shape, TD_BF16, 61, 1), 70272);
  assert_int_equal(cost.kv_write_bytes.c[TD_SYM_TOKENS], 70272);
  assert_int_equal(cost.kv_read_bytes.c[TD_SYM_CONTEXT], 70272);
  assert_int_equal(cost.flops.c[TD_SYM_PAIRS], INT64_C(61) * 2 * 128 * (576 + 512));
  /* the head matrices: 128 of 512 x 128 in the query's way, as many in the value's */
  assert_int_equal(op_of(graph, 0, TD_OP_MATMUL, 3)->groups, 128);
  assert_int_equal(op_of(graph, 0, TD_OP_MATMUL, 3)->n * op_of(graph, 0, TD_OP_MATMUL, 3)->k, 128 * 512 * 128);
  assert_int_equal(op_of(graph, 0, TD_OP_MATMUL, 4)->n * op_of(graph, 0, TD_OP_MATMUL, 4)->k, 128 * 512 * 128);
  td_graph_free(graph);
}

static void test_windowed_attention(void **state) {
  (void)state;
  struct td_graph *graph = graph_of("gpt-oss-120b");
  struct td_op_cost cost = attention_costs(graph);
  const int64_t position = 2 * 8 * 64 * 2;
  assert_int_equal(cost.kv_write_bytes.c[TD_SYM_TOKENS], 36 * position);
  assert_int_equal(cost.kv_read_bytes.c[TD_SYM_CONTEXT], 18 * position);
  assert_int_equal(cost.kv_read_bytes.c[TD_SYM_WINDOW_CONTEXT], 18 * position);
  assert_int_equal(cost.flops.c[TD_SYM_PAIRS], INT64_C(18) * 4 * 64 * 64);
  assert_int_equal(cost.flops.c[TD_SYM_WINDOW_PAIRS], INT64_C(18) * 4 * 64 * 64);
  assert_int_equal(td_kv_bytes(&graph->shape, TD_F16, 36, 1), 36 * position);
  td_graph_free(graph);
  graph = graph_of("bert-base");
  cost = attention_costs(graph);
  assert_int_equal(cost.flops.c[TD_SYM_FULL_PAIRS], INT64_C(12) * 4 * 768);
  assert_int_equal(cost.flops.c[TD_SYM_PAIRS], 0);
  td_graph_free(graph);
}

/* An encoder's result is what no operator reads: a slice hands it out. */
static void test_pooled(void **state) {
  (void)state;
  struct td_graph *graph = graph_of("bert-base");
  struct td_slice whole = td_slice_whole(graph);
  struct td_slice_ops ops;
  assert_int_equal(td_slice_ops_build(graph, &whole, &ops), TD_OK);
  assert_int_equal(ops.live_in_count, 0);
  assert_int_equal(ops.live_out_count, 1);
  assert_string_equal(graph->values[ops.live_out[0]].name, "pooled");
  td_slice_ops_free(&ops);
  td_graph_free(graph);
}

/* ---- counts ---- */

static uint64_t draws;
static int64_t draw(int64_t low, int64_t high) {
  return low + (int64_t)(td_random(5, 6, draws++) % (uint64_t)(high - low + 1));
}

/* Position by position, as the symbols are defined. */
static void test_counts(void **state) {
  (void)state;
  for (int round = 0; round < 200; round++) {
    struct td_shape shape = {.window = (int32_t)draw(0, 40)};
    struct td_step_stats stats = {{0}}, want = {{0}};
    for (int64_t seq = draw(1, 5); seq > 0; seq--) {
      int64_t past = draw(0, 60), tokens = draw(1, 50), window = shape.window ? shape.window : INT32_MAX;
      td_step_stats_add(&stats, &shape, past, tokens, 1);
      int64_t first = past - window + 1 > 0 ? past - window + 1 : 0; /* the first position that any new token sees */
      want.v[TD_SYM_WINDOW_CONTEXT] += past + tokens - first;
      for (int64_t position = past; position < past + tokens; position++) {
        want.v[TD_SYM_PAIRS] += position + 1;
        want.v[TD_SYM_WINDOW_PAIRS] += position + 1 < window ? position + 1 : window;
        want.v[TD_SYM_FULL_PAIRS] += past + tokens;
      }
    }
    assert_int_equal(stats.v[TD_SYM_PAIRS], want.v[TD_SYM_PAIRS]);
    assert_int_equal(stats.v[TD_SYM_FULL_PAIRS], want.v[TD_SYM_FULL_PAIRS]);
    assert_int_equal(stats.v[TD_SYM_WINDOW_PAIRS], want.v[TD_SYM_WINDOW_PAIRS]);
    assert_int_equal(stats.v[TD_SYM_WINDOW_CONTEXT], want.v[TD_SYM_WINDOW_CONTEXT]);
    assert_int_equal(stats.v[TD_SYM_EXPERTS], 0);
  }
}

static double expected(double experts, double used, double tokens) {
  return experts * -expm1(tokens * log1p(-used / experts));
}

static void test_expected_experts(void **state) {
  (void)state;
  static const int64_t pairs[][2] = {{8, 2}, {128, 8}, {256, 8}, {512, 8}, {128, 4}, {65536, 1}, {3, 2}, {7, 6}};
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    int64_t experts = pairs[i][0], used = pairs[i][1], last = 0;
    for (int64_t tokens = 0; tokens < 3000; tokens++) {
      int64_t got = td_expected_experts(experts, used, tokens);
      double want = expected((double)experts, (double)used, (double)tokens);
      if (!(fabs((double)got - want) <= 0.5 + 1e-9))
        fail_msg("%d of %d, %d tokens", (int)used, (int)experts, (int)tokens);
      assert_true(got >= last && got <= experts);
      last = got;
    }
    assert_int_equal(td_expected_experts(experts, used, 1), used);
    assert_int_equal(td_expected_experts(experts, used, INT64_MAX), experts);
  }
  for (int64_t tokens = 1; tokens < 1000000; tokens = tokens * 9 / 8 + 1) { /* monotone where it saturates, too */
    assert_true(td_expected_experts(65536, 1, tokens) <= td_expected_experts(65536, 1, tokens + 1));
  }
  assert_int_equal(td_expected_experts(8, 8, 1), 8);
  assert_int_equal(td_expected_experts(8, 9, 1), 8);
  assert_int_equal(td_expected_experts(0, 0, 5), 0);
  assert_int_equal(td_expected_experts(8, 2, 0), 0);
  assert_int_equal(td_expected_experts(128, 8, 16), 82); /* 128 x (1 - 0.9375^16) = 82.42 */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_forms),
      cmocka_unit_test(test_values),
      cmocka_unit_test(test_attributes),
      cmocka_unit_test(test_gemma_27b),
      cmocka_unit_test(test_parameters),
      cmocka_unit_test(test_weight_bytes),
      cmocka_unit_test(test_latent_attention),
      cmocka_unit_test(test_windowed_attention),
      cmocka_unit_test(test_pooled),
      cmocka_unit_test(test_counts),
      cmocka_unit_test(test_expected_experts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
