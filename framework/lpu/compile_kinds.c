/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers may differ in what their attention sees and in how it rotates: windowed layers among others.
 */
#include "compile.h"
#include "tandem/base.h"

td_status lpu_find_layers(struct lpu_compiler *compiler) {
  size_t layers = (size_t)(compiler->end - compiler->begin);
  TD_TRY(td_alloc(layers, sizeof *compiler->found, (void **)&compiler->found));
  for (int32_t layer = compiler->begin; layer < compiler->end; layer++) {
    TD_TRY(lpu_find_layer(compiler->graph, layer, lpu_parts(compiler), &compiler->found[layer - compiler->begin]));
  }
  compiler->layer = compiler->found[0];
  return TD_OK;
}

const struct lpu_layer *lpu_layer_of(const struct lpu_compiler *compiler, int32_t layer) {
  return &compiler->found[compiler->first_layer - compiler->begin + layer];
}

static bool is_same_rope(const struct td_op *a, const struct td_op *b) {
  return a->theta == b->theta && a->position_scale == b->position_scale && a->rope_dim == b->rope_dim &&
         a->rope_pairs == b->rope_pairs && a->weight == b->weight;
}

bool lpu_same_kind(const struct td_graph *graph, const struct lpu_layer *a, const struct lpu_layer *b) {
  const struct td_op *first = &graph->ops[a->attention], *second = &graph->ops[b->attention];
  bool ropes = a->rope_q >= 0 && b->rope_q >= 0;
  if (ropes && !is_same_rope(&graph->ops[a->rope_q], &graph->ops[b->rope_q])) return false;
  return (a->rope_q < 0) == (b->rope_q < 0) && first->window == second->window && first->scale == second->scale;
}

int32_t lpu_kind_of(const struct lpu_compiler *compiler, int32_t layer) {
  const struct lpu_layer *found = lpu_layer_of(compiler, layer);
  for (int32_t i = 0; i < compiler->kind_count; i++) {
    if (lpu_same_kind(compiler->graph, &compiler->kinds[i].layer, found)) return i;
  }
  return -1;
}

td_status lpu_find_kinds(struct lpu_compiler *compiler) {
  compiler->kind_count = 0;
  for (int32_t layer = 0; layer < compiler->layers; layer++) {
    if (lpu_kind_of(compiler, layer) >= 0) continue;
    if (compiler->kind_count == LPU_MOST_KINDS) {
      return td_fail(TD_UNSUPPORTED, "LPU: found over %d kinds of attention on chip %d, expected at most as many",
                     LPU_MOST_KINDS, compiler->chip);
    }
    struct lpu_kind *kind = &compiler->kinds[compiler->kind_count];
    *kind = (struct lpu_kind){*lpu_layer_of(compiler, layer), -1, -1};
    compiler->kind_count++;
  }
  return TD_OK;
}

void lpu_turn_to_all(struct lpu_compiler *compiler) {
  lpu_turn_to(compiler, 0);
  compiler->low_layer = 0;
  compiler->high_layer = compiler->layers - 1;
}

void lpu_turn_to(struct lpu_compiler *compiler, int32_t kind) {
  compiler->low_layer = -1;
  for (int32_t layer = 0; layer < compiler->layers; layer++) {
    if (lpu_kind_of(compiler, layer) != kind) continue;
    if (compiler->low_layer < 0) compiler->low_layer = layer;
    compiler->high_layer = layer;
  }
  compiler->kind = kind;
  compiler->layer = compiler->kinds[kind].layer;
  lpu_take_heads(compiler);
  compiler->cosine = compiler->kinds[kind].cosine;
  compiler->sine = compiler->kinds[kind].sine;
}
