/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers share one body, compiled from the first: what it leaves out, or what differs in a later layer, is refused.
 */
#include "compile.h"

/* Whether the operator is one that the body computes. */
static bool in_body(const struct lpu_layer *layer, int32_t op) {
  const int32_t known[] = {layer->attention, layer->append,  layer->rope_q,  layer->rope_k,    layer->q,  layer->k,
                           layer->v,         layer->o,       layer->norm[0], layer->gate,      layer->up, layer->down,
                           layer->add[0],    layer->norm[1], layer->add[1],  layer->activation};
  for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
    if (known[i] == op) return true;
  }
  return false;
}

static td_status differs(const struct td_op *op, const char *what, double found, double expected) {
  return td_fail(TD_UNSUPPORTED, "LPU: %s of layer %d: found %s %.17g, expected %.17g as in the first layer",
                 td_op_kind_name(op->kind), op->layer, what, found, expected);
}

static td_status same_op(const struct td_op *op, const struct td_op *first) {
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
                 {"a window of", op->window, first->window},
                 {"activation", op->activation, first->activation},
                 {"both directions", op->bidirectional, first->bidirectional},
                 {"epsilon", op->epsilon, first->epsilon},
                 {"theta", op->theta, first->theta},
                 {"scale", op->scale, first->scale},
                 {"position scale", op->position_scale, first->position_scale}};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
    if (numbers[i].found == numbers[i].expected) continue;
    return differs(op, numbers[i].what, numbers[i].found, numbers[i].expected);
  }
  return TD_OK;
}

static td_status check_layer(const struct td_graph *graph, const struct lpu_layer *layer, const struct lpu_layer *first,
                             int32_t number) {
  const int32_t ops[] = {layer->attention, layer->append, layer->rope_q, layer->rope_k,    layer->norm[0],
                         layer->q,         layer->k,      layer->v,      layer->o,         layer->norm[1],
                         layer->gate,      layer->up,     layer->down,   layer->activation};
  const int32_t firsts[] = {first->attention, first->append, first->rope_q, first->rope_k,    first->norm[0],
                            first->q,         first->k,      first->v,      first->o,         first->norm[1],
                            first->gate,      first->up,     first->down,   first->activation};
  for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) TD_TRY(same_op(&graph->ops[ops[i]], &graph->ops[firsts[i]]));
  for (int32_t i = 0; i < graph->op_count; i++) {
    if (graph->ops[i].layer != number || in_body(layer, i)) continue;
    return lpu_refuse(&graph->ops[i], "an operator that is not compiled here");
  }
  return TD_OK;
}

/* The embedding and the sampling are the host's. */
static td_status check_ends(const struct td_graph *graph) {
  int32_t count[TD_OP_KIND_COUNT] = {0};
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    if (op->layer >= 0 && op->layer < graph->shape.layers) continue;
    bool known = op->layer < 0 ? op->kind == TD_OP_EMBED
                               : op->kind == TD_OP_RMS_NORM || op->kind == TD_OP_MATMUL || op->kind == TD_OP_SELECT ||
                                     op->kind == TD_OP_SAMPLE;
    if (!known || count[op->kind]++ > 0) return lpu_refuse(op, "expected a norm and a matrix behind the last layer");
  }
  if (count[TD_OP_RMS_NORM] && count[TD_OP_MATMUL]) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "LPU: found %d norms and %d matrices behind the last layer, expected one of each",
                 count[TD_OP_RMS_NORM], count[TD_OP_MATMUL]);
}

td_status lpu_check_layers(const struct td_graph *graph) {
  struct lpu_layer first, layer;
  TD_TRY(lpu_find_layer(graph, 0, &first));
  for (int32_t i = 0; i < graph->shape.layers; i++) {
    TD_TRY(lpu_find_layer(graph, i, &layer));
    TD_TRY(check_layer(graph, &layer, &first, i));
  }
  return check_ends(graph);
}
