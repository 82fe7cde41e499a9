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
         a->experts_used == b->experts_used && a->bidirectional == b->bidirectional &&
         (a->in[0] < 0) == (b->in[0] < 0) && (a->in[1] < 0) == (b->in[1] < 0) &&
         same_weight(graph, a->weight, b->weight) && same_cost(graph, a, b, TD_F32) && same_cost(graph, a, b, TD_F16);
}

/* The search goes on where the last one ended: layers repeat in order. */
void td_graph_mark_alike(struct td_graph *graph) {
  int32_t last = -1;
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
}
