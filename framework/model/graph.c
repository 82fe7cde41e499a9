/* SPDX-License-Identifier: Apache-2.0
 *
 * Building the step graph of a llama model.
 */
#include "tandem/graph.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "llama.h"
#include "tandem/base.h"

#define OPS_PER_LAYER 16
#define OPS_AT_ENDS 5
#define NONE (-1)

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
  };
  return (unsigned)kind < TD_OP_KIND_COUNT ? names[kind] : "unknown";
}

struct builder {
  const struct td_model *model;
  struct td_graph *graph;
  int32_t layer;
  enum td_part part;
  enum td_rows rows;
  int32_t factors; /* index of rope_freqs.weight, or NONE */
};

/* Everything is allocated before for the known number of operators, so building cannot fail half-way. */
static int32_t add_value(struct builder *b, int64_t cols, const char *name) {
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

/* A file's weights keep their own types. */
static int32_t add_weight(struct builder *b, enum td_llama_role role) {
  struct td_graph *graph = b->graph;
  struct td_weight *weight = &graph->weights[graph->weight_count];
  td_llama_weight(&graph->shape, role, b->layer, weight);
  const struct td_tensor *tensor = td_model_tensor(b->model, weight->name);
  if (tensor) weight->dtype = tensor->dtype;
  return graph->weight_count++;
}

static struct td_op *add_op(struct builder *b, enum td_op_kind kind, int32_t in0, int32_t in1, int64_t n) {
  struct td_op *op = &b->graph->ops[b->graph->op_count++];
  *op = (struct td_op){.kind = kind, .layer = b->layer, .part = b->part, .rows = b->rows, .in = {in0, in1}, .n = n};
  op->out = op->weight = NONE;
  return op;
}

static int32_t add_norm(struct builder *b, enum td_llama_role role, int32_t in, const char *name) {
  struct td_op *op = add_op(b, TD_OP_RMS_NORM, in, NONE, b->graph->shape.hidden);
  op->weight = add_weight(b, role);
  op->epsilon = b->graph->shape.norm_epsilon;
  op->groups = 1;
  return op->out = add_value(b, op->n, name);
}

static int32_t add_matmul(struct builder *b, int32_t weight, int32_t in, const char *name) {
  const struct td_weight *matrix = &b->graph->weights[weight];
  struct td_op *op = add_op(b, TD_OP_MATMUL, in, NONE, matrix->rows);
  op->weight = weight;
  op->k = matrix->cols;
  return op->out = add_value(b, op->n, name);
}

static void set_heads(struct td_op *op, const struct td_shape *shape, int32_t heads) {
  op->heads = heads;
  op->kv_heads = shape->kv_heads;
  op->head_dim = shape->head_dim;
  op->rope_dim = shape->rope_dim;
}

static int32_t add_rope(struct builder *b, int32_t in, int32_t heads, const char *name) {
  const struct td_shape *shape = &b->graph->shape;
  struct td_op *op = add_op(b, TD_OP_ROPE, in, NONE, (int64_t)heads * shape->head_dim);
  set_heads(op, shape, heads);
  op->weight = b->factors;
  op->theta = shape->rope_theta;
  op->position_scale = 1;
  return op->out = add_value(b, op->n, name);
}

static int32_t add_attention(struct builder *b, int32_t q, int32_t k, int32_t v) {
  const struct td_shape *shape = &b->graph->shape;
  struct td_op *append = add_op(b, TD_OP_KV_APPEND, k, v, (int64_t)shape->kv_heads * shape->head_dim);
  set_heads(append, shape, shape->heads);
  struct td_op *op = add_op(b, TD_OP_ATTENTION, q, NONE, (int64_t)shape->heads * shape->head_dim);
  set_heads(op, shape, shape->heads);
  op->scale = 1.0 / sqrt((double)shape->head_dim);
  return op->out = add_value(b, op->n, "heads");
}

static int32_t add_binary(struct builder *b, enum td_op_kind kind, int32_t in0, int32_t in1, const char *name) {
  int64_t n = b->graph->values[in0].cols;
  struct td_op *op = add_op(b, kind, in0, in1, n);
  return op->out = add_value(b, n, name);
}

static int32_t add_attention_block(struct builder *b, int32_t residual) {
  const struct td_shape *shape = &b->graph->shape;
  b->part = TD_PART_ATTENTION;
  int32_t norm = add_norm(b, TD_LLAMA_ATTN_NORM, residual, "norm");
  int32_t q = add_matmul(b, add_weight(b, TD_LLAMA_Q), norm, "q");
  int32_t k = add_matmul(b, add_weight(b, TD_LLAMA_K), norm, "k");
  int32_t v = add_matmul(b, add_weight(b, TD_LLAMA_V), norm, "v");
  q = add_rope(b, q, shape->heads, "q_rotated");
  k = add_rope(b, k, shape->kv_heads, "k_rotated");
  int32_t heads = add_attention(b, q, k, v);
  int32_t out = add_matmul(b, add_weight(b, TD_LLAMA_O), heads, "out");
  return add_binary(b, TD_OP_ADD, residual, out, "residual");
}

static int32_t add_ffn_block(struct builder *b, int32_t residual) {
  b->part = TD_PART_FFN;
  int32_t norm = add_norm(b, TD_LLAMA_FFN_NORM, residual, "norm");
  int32_t gate = add_matmul(b, add_weight(b, TD_LLAMA_GATE), norm, "gate");
  int32_t up = add_matmul(b, add_weight(b, TD_LLAMA_UP), norm, "up");
  int32_t inner = add_binary(b, TD_OP_ACTIVATION, gate, up, "inner");
  int32_t out = add_matmul(b, add_weight(b, TD_LLAMA_DOWN), inner, "out");
  return add_binary(b, TD_OP_ADD, residual, out, "residual");
}

static int32_t add_embedding(struct builder *b, int32_t weight) {
  struct td_op *op = add_op(b, TD_OP_EMBED, NONE, NONE, b->graph->shape.hidden);
  op->scale = 1;
  op->weight = weight;
  return op->out = add_value(b, op->n, "embedding");
}

/* Rows are selected before the last norm, so that norm and head only see rows whose logits are wanted. */
static void add_head(struct builder *b, int32_t residual, int32_t embedding) {
  const struct td_shape *shape = &b->graph->shape;
  b->part = TD_PART_ENDS;
  b->rows = TD_ROWS_LOGITS;
  struct td_op *select = add_op(b, TD_OP_SELECT, residual, NONE, shape->hidden);
  select->out = add_value(b, shape->hidden, "final.selected");
  int32_t norm = add_norm(b, TD_LLAMA_OUTPUT_NORM, select->out, "final.norm");
  int32_t output = shape->tied_output ? embedding : add_weight(b, TD_LLAMA_OUTPUT);
  int32_t logits = add_matmul(b, output, norm, "logits");
  add_op(b, TD_OP_SAMPLE, logits, NONE, shape->vocab);
}

static void add_all(struct builder *b) {
  const struct td_shape *shape = &b->graph->shape;
  b->layer = -1;
  b->part = TD_PART_ENDS;
  b->rows = TD_ROWS_TOKENS;
  int32_t embedding = add_weight(b, TD_LLAMA_EMBED);
  b->factors = shape->rope_factors ? add_weight(b, TD_LLAMA_ROPE_FREQS) : NONE;
  int32_t residual = add_embedding(b, embedding);
  for (b->layer = 0; b->layer < shape->layers; b->layer++) {
    residual = add_attention_block(b, residual);
    residual = add_ffn_block(b, residual);
  }
  add_head(b, residual, embedding);
}

static td_status allocate(struct td_graph *graph) {
  size_t ops = (size_t)graph->shape.layers * OPS_PER_LAYER + OPS_AT_ENDS;
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
  add_all(&(struct builder){.model = model, .graph = graph});
  assert(graph->op_count == graph->shape.layers * OPS_PER_LAYER + OPS_AT_ENDS);
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
