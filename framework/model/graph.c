/* SPDX-License-Identifier: Apache-2.0
 *
 * Building the step graph: the ends of a model, the loop over its layers, and the pieces both are made of.
 */
#include "tandem/graph.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "graph_builder.h"
#include "tandem/base.h"

/* No architecture has more: add_all asserts it. */
#define OPS_PER_LAYER_MAX 40
#define OPS_AT_ENDS_MAX 10

const char *td_op_kind_name(enum td_op_kind kind) {
  static const char *const names[TD_OP_KIND_COUNT] = {
      [TD_OP_EMBED] = "embed",
      [TD_OP_RMS_NORM] = "rms_norm",
      [TD_OP_MATMUL] = "matmul",
      [TD_OP_ROPE] = "rope",
      [TD_OP_KV_APPEND] = "kv_append",
      [TD_OP_ATTENTION] = "attention",
      [TD_OP_ACTIVATION] = "activation",
      [TD_OP_ADD] = "add",
      [TD_OP_ROUTER] = "router",
      [TD_OP_EXPERT_MATMUL] = "expert_matmul",
      [TD_OP_EXPERT_SUM] = "expert_sum",
      [TD_OP_SELECT] = "select",
      [TD_OP_SAMPLE] = "sample",
      [TD_OP_LAYER_NORM] = "layer_norm",
      [TD_OP_EMBED_POSITIONS] = "embed_positions",
      [TD_OP_POINTWISE] = "pointwise",
      [TD_OP_LPU_RUN] = "lpu_run",
  };
  return (unsigned)kind < TD_OP_KIND_COUNT ? names[kind] : "unknown";
}

/* ---- pieces ---- */

int32_t td_build_value(struct td_builder *b, int64_t cols, const char *name) {
  struct td_graph *graph = b->graph;
  struct td_value *value = &graph->values[graph->value_count];
  bool in_layer = b->layer >= 0 && b->layer < graph->shape.layers;
  const char *part = b->part == TD_PART_ATTENTION ? "attention" : "ffn";
  int used = in_layer ? snprintf(value->name, sizeof value->name, "layers.%" PRId32 ".%s.%s", b->layer, part, name)
                      : snprintf(value->name, sizeof value->name, "%s", name);
  assert(used > 0 && (size_t)used < sizeof value->name);
  (void)used;
  value->rows = b->rows;
  value->cols = cols;
  return graph->value_count++;
}

int32_t td_build_weight(struct td_builder *b, enum td_role role) {
  struct td_graph *graph = b->graph;
  struct td_weight *weight = &graph->weights[graph->weight_count];
  td_role_weight(&graph->shape, role, b->layer, weight);
  const struct td_tensor *tensor = td_model_tensor(b->model, weight->name);
  if (tensor) weight->dtype = tensor->dtype;
  return graph->weight_count++;
}

struct td_op *td_build_op(struct td_builder *b, enum td_op_kind kind, int32_t in0, int32_t in1, int64_t n) {
  struct td_op *op = &b->graph->ops[b->graph->op_count++];
  *op = (struct td_op){.kind = kind, .layer = b->layer, .part = b->part, .rows = b->rows, .in = {in0, in1}, .n = n};
  op->out = op->weight = TD_NONE;
  return op;
}

int32_t td_build_simple(struct td_builder *b, enum td_op_kind kind, int32_t in0, int32_t in1, int64_t n,
                        const char *name) {
  struct td_op *op = td_build_op(b, kind, in0, in1, n);
  return op->out = td_build_value(b, n, name);
}

int32_t td_build_norm(struct td_builder *b, enum td_role role, int32_t in, int32_t groups, const char *name) {
  int32_t weight = td_build_weight(b, role);
  enum td_op_kind kind = b->info->traits & TD_HAS_LAYER_NORM ? TD_OP_LAYER_NORM : TD_OP_RMS_NORM;
  struct td_op *op = td_build_op(b, kind, in, TD_NONE, b->graph->weights[weight].cols * groups);
  op->weight = weight;
  op->epsilon = b->graph->shape.norm_epsilon;
  op->groups = groups;
  return op->out = td_build_value(b, op->n, name);
}

int32_t td_build_matmul(struct td_builder *b, int32_t weight, int32_t in, const char *name) {
  const struct td_weight *matrix = &b->graph->weights[weight];
  struct td_op *op = td_build_op(b, TD_OP_MATMUL, in, TD_NONE, matrix->rows);
  op->weight = weight;
  op->k = matrix->cols;
  return op->out = td_build_value(b, op->n, name);
}

int32_t td_build_bias(struct td_builder *b, enum td_role role, int32_t in, const char *name) {
  if (!td_role_has(&b->graph->shape, role, b->layer)) return in;
  struct td_op *op = td_build_op(b, TD_OP_ADD, in, TD_NONE, b->graph->values[in].cols);
  op->weight = td_build_weight(b, role);
  return op->out = td_build_value(b, op->n, name);
}

int32_t td_build_activation(struct td_builder *b, int32_t gate, int32_t up, const char *name) {
  struct td_op *op = td_build_op(b, TD_OP_ACTIVATION, gate, up, b->graph->values[gate].cols);
  op->activation = b->info->activation;
  return op->out = td_build_value(b, op->n, name);
}

int32_t td_build_pointwise(struct td_builder *b, enum td_activation activation, int32_t in, const char *name) {
  struct td_op *op = td_build_op(b, TD_OP_POINTWISE, in, TD_NONE, b->graph->values[in].cols);
  op->activation = activation;
  return op->out = td_build_value(b, op->n, name);
}

int32_t td_build_residual(struct td_builder *b, int32_t residual, int32_t branch, enum td_role branch_norm,
                          enum td_role post_norm) {
  int64_t hidden = b->graph->shape.hidden;
  bool normed = b->traits & TD_HAS_POST_NORM;
  if (b->traits & TD_HAS_BRANCH_NORM) branch = td_build_norm(b, branch_norm, branch, 1, "out_normed");
  int32_t sum = td_build_simple(b, TD_OP_ADD, residual, branch, hidden, normed ? "sum" : "residual");
  return normed ? td_build_norm(b, post_norm, sum, 1, "residual") : sum;
}

/* ---- ends ---- */

static int32_t add_embedding(struct td_builder *b, int32_t weight) {
  const struct td_shape *shape = &b->graph->shape;
  struct td_op *op = td_build_op(b, TD_OP_EMBED, TD_NONE, TD_NONE, shape->hidden);
  op->scale = b->traits & TD_HAS_EMBED_SCALE ? sqrt((double)shape->hidden) : 1;
  op->weight = weight;
  int32_t out = op->out = td_build_value(b, op->n, "embedding");
  if (td_role_has(shape, TD_ROLE_POSITIONS, b->layer)) {
    op = td_build_op(b, TD_OP_EMBED_POSITIONS, out, TD_NONE, shape->hidden);
    op->weight = td_build_weight(b, TD_ROLE_POSITIONS);
    out = op->out = td_build_value(b, op->n, "embedding_placed");
  }
  out = td_build_bias(b, TD_ROLE_TOKEN_TYPES, out, "embedding_typed");
  return b->traits & TD_HAS_POST_NORM ? td_build_norm(b, TD_ROLE_EMBED_NORM, out, 1, "embedding_normed") : out;
}

/* What an encoder's users read: the first position through one more layer. */
static void add_pooler(struct td_builder *b, int32_t selected) {
  int32_t pooled = td_build_matmul(b, td_build_weight(b, TD_ROLE_POOLER), selected, "final.pooled");
  pooled = td_build_bias(b, TD_ROLE_POOLER_BIAS, pooled, "final.biased");
  td_build_pointwise(b, TD_ACT_TANH, pooled, "pooled");
}

/* Rows are selected before the last norm, so that norm and head only see rows whose logits are wanted. */
static void add_head(struct td_builder *b, int32_t residual, int32_t embedding) {
  const struct td_shape *shape = &b->graph->shape;
  b->part = TD_PART_ENDS;
  b->rows = TD_ROWS_LOGITS;
  int32_t last = td_build_simple(b, TD_OP_SELECT, residual, TD_NONE, shape->hidden, "final.selected");
  if (!(b->traits & TD_HAS_HEAD)) {
    add_pooler(b, last);
    return;
  }
  last = td_build_norm(b, TD_ROLE_OUTPUT_NORM, last, 1, "final.norm");
  int32_t output = shape->tied_output ? embedding : td_build_weight(b, TD_ROLE_OUTPUT);
  int32_t logits = td_build_matmul(b, output, last, "logits");
  td_build_op(b, TD_OP_SAMPLE, logits, TD_NONE, shape->vocab);
}

static void add_all(struct td_builder *b) {
  const struct td_shape *shape = &b->graph->shape;
  b->layer = -1;
  b->traits = td_traits(shape, -1);
  b->part = TD_PART_ENDS;
  b->rows = TD_ROWS_TOKENS;
  int32_t embedding = td_build_weight(b, TD_ROLE_EMBED);
  b->factors = shape->rope_factors ? td_build_weight(b, TD_ROLE_ROPE_FREQS) : TD_NONE;
  int32_t residual = add_embedding(b, embedding);
  for (b->layer = 0; b->layer < shape->layers; b->layer++) {
    int32_t before = b->graph->op_count;
    b->traits = td_traits(shape, b->layer);
    b->part = TD_PART_ATTENTION;
    residual = td_build_attention(b, residual);
    b->part = TD_PART_FFN;
    residual = td_build_ffn(b, residual);
    assert(b->graph->op_count - before <= OPS_PER_LAYER_MAX);
    (void)before;
  }
  add_head(b, residual, embedding);
}

static td_status allocate(struct td_graph *graph) {
  size_t ops = (size_t)graph->shape.layers * OPS_PER_LAYER_MAX + OPS_AT_ENDS_MAX;
  TD_TRY(td_alloc(ops, sizeof *graph->ops, (void **)&graph->ops));
  TD_TRY(td_alloc(ops, sizeof *graph->values, (void **)&graph->values));
  return td_alloc(ops, sizeof *graph->weights, (void **)&graph->weights);
}

td_status td_graph_build(const struct td_model *model, struct td_graph **out_graph) {
  struct td_graph *graph;
  TD_TRY(td_alloc(1, sizeof *graph, (void **)&graph));
  graph->shape = *td_model_shape(model);
  td_status status = allocate(graph);
  if (status) {
    td_graph_free(graph);
    return status;
  }
  add_all(&(struct td_builder){.model = model, .graph = graph, .info = td_arch_info(graph->shape.arch)});
  td_graph_mark_alike(graph);
  *out_graph = graph;
  return TD_OK;
}

void td_graph_free(struct td_graph *graph) {
  if (!graph) return;
  free(graph->ops);
  free(graph->values);
  free(graph->weights);
  free(graph);
}
