/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers share one body, compiled from the first: what it leaves out, or what differs in a later layer, is refused.
 * What attention sees and how it rotates may differ (compile_kinds.c).
 */
#include "compile.h"

/* struct lpu_layer is operators and nothing else. */
#define LAYER_OPS (sizeof(struct lpu_layer) / sizeof(int32_t))
static const int32_t *ops_of(const struct lpu_layer *layer) {
  return (const int32_t *)(const void *)layer;
}

static bool in_body(const struct lpu_layer *layer, int32_t op) {
  for (size_t i = 0; i < LAYER_OPS; i++) {
    if (ops_of(layer)[i] == op) return true;
  }
  return false;
}

static td_status same_op(const struct td_op *op, const struct td_op *first, int32_t first_layer) {
  const struct {
    const char *what;
    double found, expected;
  } numbers[] = {{"columns", (double)op->n, (double)first->n},
                 {"inner size", (double)op->k, (double)first->k},
                 {"heads", op->heads, first->heads},
                 {"KV heads", op->kv_heads, first->kv_heads},
                 {"head size", op->head_dim, first->head_dim},
                 {"rotated elements", op->rope_dim, first->rope_dim},
                 {"pairs", op->rope_pairs, first->rope_pairs},
                 {"groups", op->groups, first->groups},
                 {"experts", op->experts, first->experts},
                 {"experts of a token", op->experts_used, first->experts_used},
                 {"activation", op->activation, first->activation},
                 {"both directions", op->bidirectional, first->bidirectional},
                 {"epsilon", op->epsilon, first->epsilon}};
  if (op->kind != first->kind) {
    return td_fail(TD_UNSUPPORTED, "LPU: layer %d: found %s, expected %s as in layer %d", op->layer,
                   td_op_kind_name(op->kind), td_op_kind_name(first->kind), first_layer);
  }
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    if (numbers[i].found == numbers[i].expected) continue;
    return td_fail(TD_UNSUPPORTED, "LPU: %s of layer %d: found %s %.17g, expected %.17g as in layer %d",
                   td_op_kind_name(op->kind), op->layer, numbers[i].what, numbers[i].found, numbers[i].expected,
                   first_layer);
  }
  return TD_OK;
}

static td_status check_layer(const struct lpu_compiler *compiler, int32_t number) {
  const struct td_graph *graph = compiler->graph;
  const struct lpu_layer *first = &compiler->found[0], *layer = &compiler->found[number - compiler->begin];
  for (size_t i = 0; i < LAYER_OPS; i++) {
    int32_t a = ops_of(first)[i], b = ops_of(layer)[i];
    if ((a < 0) != (b < 0)) {
      return td_fail(TD_UNSUPPORTED, "LPU: layer %d: found other operators than those of layer %d: %s", number,
                     compiler->begin, td_op_kind_name(graph->ops[a < 0 ? b : a].kind));
    }
    if (a >= 0) TD_TRY(same_op(&graph->ops[b], &graph->ops[a], compiler->begin));
  }
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    if (op->layer != number || !(op->part & lpu_parts(compiler)) || in_body(layer, i)) continue;
    return lpu_refuse(op, "an operator that is not compiled here");
  }
  return TD_OK;
}

/* ---- in front of the layers and behind them ---- */

/* What lookups and sampling leave to the chips, and how often. */
struct ends {
  int32_t norms, matrices, biases, tanhs;
};

static bool is_norm(const struct td_op *op) {
  return op->kind == TD_OP_RMS_NORM || op->kind == TD_OP_LAYER_NORM;
}

/* Whether an operator in front of the layers is the host's, or the norm that an encoder has there. */
static bool is_known_front(const struct lpu_compiler *compiler, const struct td_op *op) {
  if (op->kind == TD_OP_EMBED) return true;
  bool lookup = op->kind == TD_OP_EMBED_POSITIONS || (op->kind == TD_OP_ADD && op->weight >= 0);
  return compiler->encoder && (lookup || is_norm(op));
}

static bool is_known_back(const struct lpu_compiler *compiler, const struct td_op *op, struct ends *ends) {
  ends->norms += is_norm(op);
  ends->matrices += op->kind == TD_OP_MATMUL;
  ends->biases += op->kind == TD_OP_ADD && op->weight >= 0;
  ends->tanhs += op->kind == TD_OP_POINTWISE && op->activation == TD_ACT_TANH;
  if (op->kind == TD_OP_SELECT || op->kind == TD_OP_MATMUL) return true;
  if (!compiler->encoder) return op->kind == TD_OP_RMS_NORM || op->kind == TD_OP_SAMPLE;
  return (op->kind == TD_OP_ADD && op->weight >= 0) || (op->kind == TD_OP_POINTWISE && op->activation == TD_ACT_TANH);
}

static td_status check_ends(const struct lpu_compiler *compiler) {
  struct ends ends = {0, 0, 0, 0};
  for (int32_t i = 0; i < compiler->graph->op_count; i++) {
    const struct td_op *op = &compiler->graph->ops[i];
    if (op->layer >= 0 && op->layer < compiler->graph->shape.layers) continue;
    bool known = op->layer < 0 ? is_known_front(compiler, op) : is_known_back(compiler, op, &ends);
    if (!known) return lpu_refuse(op, "an operator that is not compiled outside of layers");
  }
  bool pooler = ends.matrices == 1 && ends.biases <= 1 && ends.tanhs == 1;
  if (compiler->encoder ? pooler : ends.norms == 1 && ends.matrices == 1) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "LPU: found %d norms, %d matrices, %d biases and %d tanh behind the last layer, %s",
                 ends.norms, ends.matrices, ends.biases, ends.tanhs,
                 compiler->encoder ? "expected an encoder's pooler" : "expected a norm and a matrix");
}

td_status lpu_check_layers(const struct lpu_compiler *compiler) {
  for (int32_t layer = compiler->begin; layer < compiler->end; layer++) TD_TRY(check_layer(compiler, layer));
  return compiler->ffn_only ? TD_OK : check_ends(compiler);
}
