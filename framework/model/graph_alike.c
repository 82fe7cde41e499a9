/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators whose work is the same: most layers of a model are.
 */
#include <string.h>

#include "tandem/graph.h"

static bool same_weight(const struct td_graph *graph, int32_t a, int32_t b) {
  if (a < 0 || b < 0) return a < 0 && b < 0;
  const struct td_weight *x = &graph->weights[a], *y = &graph->weights[b];
  return x->dtype == y->dtype && x->rows == y->rows && x->cols == y->cols;
}

static bool same_cost(const struct td_graph *graph, const struct td_op *a, const struct td_op *b, enum td_dtype kv) {
  struct td_op_cost x, y;
  memset(&x, 0, sizeof x);
  memset(&y, 0, sizeof y);
  td_op_cost(graph, a, kv, &x);
  td_op_cost(graph, b, kv, &y);
  return !memcmp(&x, &y, sizeof x);
}

/* Everything a price may look at; not the layer, the part, the values' names and what only the result depends on. */
static bool alike(const struct td_graph *graph, const struct td_op *a, const struct td_op *b) {
  return a->kind == b->kind && a->rows == b->rows && a->n == b->n && a->k == b->k && a->heads == b->heads &&
         a->kv_heads == b->kv_heads && a->head_dim == b->head_dim && a->rope_dim == b->rope_dim &&
         a->groups == b->groups && a->window == b->window && a->experts == b->experts &&
         a->experts_used == b->experts_used && a->fused_n == b->fused_n && a->joins == b->joins &&
         a->bidirectional == b->bidirectional && (a->in[0] < 0) == (b->in[0] < 0) && (a->in[1] < 0) == (b->in[1] < 0) &&
         same_weight(graph, a->weight, b->weight) && same_cost(graph, a, b, TD_F32) && same_cost(graph, a, b, TD_F16);
}

static bool is_product(const struct td_op *op) {
  return op->kind == TD_OP_MATMUL && op->groups <= 1;
}

/* Products of one input stand next to each other. */
static void mark_fused(struct td_graph *graph) {
  for (int32_t i = 0; i < graph->op_count; i++) {
    struct td_op *op = &graph->ops[i], *first = op;
    if (!is_product(op)) continue;
    op->fused_n = op->n;
    while (first > graph->ops && is_product(first - 1) && first[-1].in[0] == op->in[0] &&
           graph->weights[first[-1].weight].dtype == graph->weights[op->weight].dtype) {
      first--;
    }
    if (first == op) continue;
    first->fused_n += op->n;
    op->fused_n = 0;
  }
}

static const struct td_op *producer(const struct td_graph *graph, int32_t before, int32_t value) {
  while (before > 0 && graph->ops[before - 1].out != value) before--;
  return before > 0 ? &graph->ops[before - 1] : NULL;
}

/* A product whose input is made of heads or of an FFN's inner values. */
static void mark_joins(struct td_graph *graph) {
  for (int32_t i = 0; i < graph->op_count; i++) {
    struct td_op *op = &graph->ops[i];
    op->joins = op->kind == TD_OP_EXPERT_SUM;
    if (!is_product(op)) continue;
    const struct td_op *from = producer(graph, i, op->in[0]);
    op->joins = from && (from->kind == TD_OP_ATTENTION || from->kind == TD_OP_ACTIVATION ||
                         from->kind == TD_OP_POINTWISE || (from->kind == TD_OP_MATMUL && from->groups > 1));
  }
}

/* So that the whole graph's distinct operators are counted without a look at all of them. */
static void link_distinct(struct td_graph *graph) {
  struct td_op *last = NULL;
  graph->distinct_count = 0;
  for (int32_t i = 0; i < graph->op_count; i++) {
    struct td_op *op = &graph->ops[i], *first = &graph->ops[op->alike - 1];
    op->alike_count = 0;
    op->alike_next = graph->op_count;
    first->alike_count++;
    if (first != op) continue;
    graph->distinct_count++;
    if (last) last->alike_next = i;
    last = op;
  }
}

/* The search goes on where the last one ended: layers repeat in order. */
void td_graph_mark_alike(struct td_graph *graph) {
  int32_t last = -1;
  mark_fused(graph);
  mark_joins(graph);
  for (int32_t i = 0; i < graph->op_count; i++) {
    struct td_op *op = &graph->ops[i];
    int32_t found = -1;
    op->alike = i + 1;
    for (int32_t step = 0; step < i && found < 0; step++) {
      int32_t j = (last + 1 + step) % i;
      if (graph->ops[j].alike == j + 1 && alike(graph, &graph->ops[j], op)) found = j;
    }
    if (found >= 0) op->alike = found + 1;
    last = found >= 0 ? found : i;
  }
  link_distinct(graph);
}
