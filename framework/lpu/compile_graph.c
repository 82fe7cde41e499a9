/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds the operators of a layer in the graph, and what they must look like.
 */
#include "compile.h"

td_status lpu_refuse(const struct td_op *op, const char *why) {
  return td_fail(TD_UNSUPPORTED, "LPU: %s of layer %d: %s", td_op_kind_name(op->kind), op->layer, why);
}

/* The matmul that reads a value, the n-th in graph order. */
static int32_t reader(const struct td_graph *graph, enum td_op_kind kind, int32_t value, int32_t nth) {
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    if (op->kind == kind && (op->in[0] == value || op->in[1] == value) && nth-- == 0) return i;
  }
  return -1;
}

static int32_t producer(const struct td_graph *graph, int32_t value) {
  for (int32_t i = 0; i < graph->op_count; i++) {
    if (value >= 0 && graph->ops[i].out == value) return i;
  }
  return -1;
}

static bool is_kind(const struct td_graph *graph, int32_t op, enum td_op_kind kind) {
  return op >= 0 && graph->ops[op].kind == kind;
}

/* Finds the operators of `layer` by what feeds what, from its attention outwards. */
td_status lpu_find_layer(const struct td_graph *graph, int32_t layer, struct lpu_layer *out) {
  int32_t attention = -1;
  out->append = -1;
  for (int32_t i = 0; i < graph->op_count; i++) {
    if (graph->ops[i].layer == layer && graph->ops[i].kind == TD_OP_ATTENTION) attention = i;
    if (graph->ops[i].layer == layer && graph->ops[i].kind == TD_OP_KV_APPEND) out->append = i;
  }
  if (attention < 0 || out->append < 0) {
    return td_fail(TD_UNSUPPORTED, "LPU: layer %d: found no attention with a KV cache of its own", layer);
  }
  const struct td_op *op = &graph->ops[attention];
  out->attention = attention;
  out->rope_q = producer(graph, op->in[0]);
  out->rope_k = producer(graph, graph->ops[out->append].in[0]);
  out->v = producer(graph, graph->ops[out->append].in[1]);
  if (!is_kind(graph, out->rope_q, TD_OP_ROPE) || !is_kind(graph, out->rope_k, TD_OP_ROPE)) {
    return lpu_refuse(op, "expected Q and K straight from a rope");
  }
  out->q = producer(graph, graph->ops[out->rope_q].in[0]);
  out->k = producer(graph, graph->ops[out->rope_k].in[0]);
  out->o = reader(graph, TD_OP_MATMUL, op->out, 0);
  if (!is_kind(graph, out->q, TD_OP_MATMUL) || !is_kind(graph, out->k, TD_OP_MATMUL) ||
      !is_kind(graph, out->v, TD_OP_MATMUL) || out->o < 0) {
    return lpu_refuse(op, "expected Q, K, V and the output straight from and to matrices (no bias, no QK norm)");
  }
  if (graph->ops[out->k].in[0] != graph->ops[out->q].in[0] || graph->ops[out->v].in[0] != graph->ops[out->q].in[0]) {
    return lpu_refuse(op, "expected Q, K and V of one value");
  }
  out->norm[0] = producer(graph, graph->ops[out->q].in[0]);
  out->add[0] = reader(graph, TD_OP_ADD, graph->ops[out->o].out, 0);
  if (!is_kind(graph, out->norm[0], TD_OP_RMS_NORM) || out->add[0] < 0) {
    return lpu_refuse(op, "expected a norm before and a residual after");
  }
  out->norm[1] = reader(graph, TD_OP_RMS_NORM, graph->ops[out->add[0]].out, 0);
  if (out->norm[1] < 0) return lpu_refuse(op, "expected a norm before the FFN");
  out->gate = reader(graph, TD_OP_MATMUL, graph->ops[out->norm[1]].out, 0);
  out->up = reader(graph, TD_OP_MATMUL, graph->ops[out->norm[1]].out, 1);
  if (out->gate < 0 || out->up < 0) return lpu_refuse(op, "expected an FFN with gate and up");
  out->activation = reader(graph, TD_OP_ACTIVATION, graph->ops[out->gate].out, 0);
  if (out->activation < 0 || graph->ops[out->activation].activation != TD_ACT_SILU) {
    return lpu_refuse(op, "expected a gate through silu");
  }
  if (graph->ops[out->activation].in[0] != graph->ops[out->gate].out) {
    int32_t gate = out->gate;
    out->gate = out->up;
    out->up = gate;
  }
  out->down = reader(graph, TD_OP_MATMUL, graph->ops[out->activation].out, 0);
  out->add[1] = out->down < 0 ? -1 : reader(graph, TD_OP_ADD, graph->ops[out->down].out, 0);
  return out->add[1] < 0 ? lpu_refuse(op, "expected a residual after the FFN") : TD_OK;
}
