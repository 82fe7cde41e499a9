/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers in a row over stages, the ends with the last; heads and blocks over the chips of a stage: how much each takes.
 */
#include <stdlib.h>

#include "compile.h"
#include "tandem/base.h"

/* ---- a chip's share ---- */

int32_t lpu_first_kv_head(const struct lpu_compiler *compiler, int32_t part) {
  int32_t heads = compiler->graph->ops[compiler->layer.attention].kv_heads;
  return td_lpu_kv_first_head(heads, compiler->tensor, part);
}

/* Where blocks are few, the last chips have more: the first ones have more heads. */
int32_t lpu_first_block(const struct lpu_compiler *compiler, int32_t count, int32_t part) {
  return (int32_t)((int64_t)count * part / compiler->tensor);
}

bool lpu_head_vectors(const struct lpu_compiler *compiler, int32_t part, int32_t *out_first, int32_t *out_end) {
  const struct td_op *op = &compiler->graph->ops[compiler->layer.attention];
  int32_t width = op->heads / op->kv_heads * op->head_dim, lanes = compiler->machine->lanes;
  int32_t begin = lpu_first_kv_head(compiler, part) * width, end = lpu_first_kv_head(compiler, part + 1) * width;
  *out_first = begin / lanes;
  *out_end = (end + lanes - 1) / lanes;
  return begin % lanes > 0;
}

void lpu_take_heads(struct lpu_compiler *compiler) {
  const struct td_op *whole = &compiler->graph->ops[compiler->layer.attention];
  struct td_op *op = &compiler->attention;
  compiler->first_kv_head = lpu_first_kv_head(compiler, compiler->part);
  *op = *whole;
  op->kv_heads = lpu_first_kv_head(compiler, compiler->part + 1) - compiler->first_kv_head;
  op->heads = whole->heads / whole->kv_heads * op->kv_heads;
}

/* K of a token is one vector, no head across its middle; V's has one element more; a row's scores are sums of one
 * plane.
 */
static td_status check_heads(const struct lpu_compiler *compiler) {
  const struct td_op *op = &compiler->attention;
  int32_t lanes = compiler->machine->lanes, depth = compiler->machine->accumulator_depth;
  if (compiler->head_halves < 1) {
    return td_fail(TD_UNSUPPORTED, "LPU: heads of %d elements, expected at most half of the %d lanes: %d", op->head_dim,
                   lanes, lanes / 2);
  }
  if (op->heads > depth) {
    return td_fail(TD_UNSUPPORTED, "LPU: %d heads on a chip, expected at most one an accumulator of a plane: %d",
                   op->heads, depth);
  }
  if (op->kv_heads > compiler->head_halves * 2) {
    return td_fail(TD_UNSUPPORTED, "LPU: %d KV heads of %d elements on a chip, expected at most %d in %d lanes",
                   op->kv_heads, op->head_dim, compiler->head_halves * 2, lanes);
  }
  if (lpu_one_lane(compiler) >= 0) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "LPU: %d KV heads of %d elements on a chip fill its %d lanes, expected one left for V",
                 op->kv_heads, op->head_dim, lanes);
}

td_status lpu_check_share(const struct lpu_compiler *compiler, int32_t tensor) {
  struct lpu_compiler first = *compiler;
  if (first.ffn_only || first.encoder) return TD_OK;
  first.tensor = tensor;
  first.part = 0; /* the first chips have most heads */
  lpu_take_heads(&first);
  return check_heads(&first);
}

struct lpu_rows lpu_share_of(const struct lpu_compiler *compiler, int32_t weight, enum lpu_share share) {
  int64_t rows = compiler->graph->weights[weight].rows, lanes = compiler->machine->lanes;
  if (share == LPU_BY_HEADS) {
    int64_t of_head = rows / compiler->graph->ops[compiler->layer.attention].kv_heads;
    return (struct lpu_rows){weight, compiler->first_kv_head * of_head, compiler->attention.kv_heads * of_head};
  }
  int32_t blocks = (int32_t)((rows + lanes - 1) / lanes);
  int64_t first = lanes * lpu_first_block(compiler, blocks, compiler->part);
  int64_t end = lanes * lpu_first_block(compiler, blocks, compiler->part + 1);
  return (struct lpu_rows){weight, first, (end < rows ? end : rows) - first};
}

void lpu_place_blocks(const struct lpu_compiler *compiler, int32_t weight, struct lpu_matrix *matrix) {
  int64_t lanes = compiler->machine->lanes;
  matrix->row_blocks = (int32_t)((compiler->graph->weights[weight].rows + lanes - 1) / lanes);
  matrix->first_block = lpu_first_block(compiler, matrix->row_blocks, compiler->part);
}

/* ---- stages ---- */

void lpu_weight_sizes(const struct lpu_compiler *compiler, double *out_layer, double *out_head) {
  const struct td_graph *graph = compiler->graph;
  *out_layer = *out_head = 0.0;
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    if (op->kind != TD_OP_MATMUL) continue;
    if (compiler->ffn_only && op->part != TD_PART_FFN) continue;
    if (op->layer == compiler->begin) *out_layer += (double)op->n * (double)op->k;
    if (op->layer == graph->shape.layers) *out_head += (double)op->n * (double)op->k;
  }
}

/* Layers of a stage, so that the last one, which has the head too, holds about as much as the others. */
static int32_t layers_of(const struct lpu_compiler *compiler, int32_t stage) {
  double layer, head;
  int32_t layers = compiler->end - compiler->begin, stages = compiler->stages;
  if (stages == 1) return layers;
  lpu_weight_sizes(compiler, &layer, &head);
  /* An encoder's pooler is a small part of a layer. */
  double share = (layers * layer + head) / stages / layer - head / layer;
  int32_t last = (int32_t)(compiler->encoder ? share + 0.5 : share);
  if (last < 1) last = 1;
  if (stage == stages - 1) return last;
  int32_t others = layers - last;
  return others / (stages - 1) + (stage < others % (stages - 1));
}

static td_status place_chip(struct lpu_compiler *compiler) {
  if (!compiler->ffn_only) {
    compiler->layer = *lpu_layer_of(compiler, 0);
    lpu_take_heads(compiler);
    if (!compiler->encoder) TD_TRY(check_heads(compiler));
  }
  compiler->low_layer = 0;
  compiler->high_layer = compiler->layers - 1;
  lpu_place_begin(compiler);
  if (compiler->layout.spread) TD_TRY(lpu_spread_begin(compiler));
  TD_TRY(lpu_add_weights(compiler));
  TD_TRY(lpu_add_state(compiler));
  lpu_place_scratches(compiler);
  return TD_OK;
}

td_status lpu_place_stage(struct lpu_compiler *chips, int32_t stage) {
  int32_t first_layer = stage == 0 ? chips->begin : chips->first_layer + chips->layers,
          layers = layers_of(chips, stage);
  if (layers < 1) {
    return td_fail(TD_CONFIG, "lpu.chips: found %d stages, expected at most one a layer: %d", chips->stages,
                   chips->end - chips->begin);
  }
  for (int32_t part = 0; part < chips->tensor; part++) {
    struct lpu_compiler *compiler = &chips[part];
    compiler->first_layer = first_layer;
    compiler->layers = layers;
    compiler->stage = stage;
    compiler->part = part;
    compiler->chip = stage * compiler->tensor + part;
    TD_TRY(place_chip(compiler));
  }
  return TD_OK;
}
