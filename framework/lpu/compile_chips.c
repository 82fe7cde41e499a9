/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers in a row over stages, the ends with the last; heads and blocks over the chips of a stage: how much each takes.
 */
#include <math.h>
#include <stdlib.h>

#include "compile.h"
#include "tandem/base.h"

/* ---- a chip's share ---- */

/* Heads of queries: [first, end) of chip `part` of the stage. */
static void heads_of(const struct lpu_compiler *compiler, int32_t part, int32_t *out_first, int32_t *out_end) {
  const struct td_op *op = &compiler->graph->ops[compiler->layer.attention];
  int32_t group = op->heads / op->kv_heads, tensor = compiler->tensor, kv_heads = 0;
  int32_t kv_head = td_lpu_kv_share(op->kv_heads, tensor, part, &kv_heads), first = 0, sharers = 1;
  if (tensor > op->kv_heads) {
    first = td_lpu_kv_first_head(tensor, op->kv_heads, kv_head); /* chips are dealt to KV heads */
    sharers = td_lpu_kv_first_head(tensor, op->kv_heads, kv_head + 1) - first;
    first = part - first;
  }
  *out_first = kv_head * group + td_lpu_kv_first_head(group * kv_heads, sharers, first);
  *out_end = kv_head * group + td_lpu_kv_first_head(group * kv_heads, sharers, first + 1);
}

/* Where blocks are few, the last chips have more: the first ones have more heads. */
int32_t lpu_first_block(const struct lpu_compiler *compiler, int32_t count, int32_t part) {
  return (int32_t)((int64_t)count * part / compiler->tensor);
}

bool lpu_head_vectors(const struct lpu_compiler *compiler, int32_t part, int32_t *out_first, int32_t *out_end) {
  const struct td_op *op = &compiler->graph->ops[compiler->layer.attention];
  int32_t begin = 0, end = 0, lanes = compiler->machine->lanes;
  heads_of(compiler, part, &begin, &end);
  begin *= op->head_dim;
  end *= op->head_dim;
  *out_first = begin / lanes;
  *out_end = (end + lanes - 1) / lanes;
  return begin % lanes > 0;
}

void lpu_take_heads(struct lpu_compiler *compiler) {
  const struct td_op *whole = &compiler->graph->ops[compiler->layer.attention];
  struct td_op *op = &compiler->attention;
  int32_t end = 0;
  *op = *whole;
  compiler->first_kv_head = td_lpu_kv_share(whole->kv_heads, compiler->tensor, compiler->part, &op->kv_heads);
  heads_of(compiler, compiler->part, &compiler->first_head, &end);
  op->heads = end - compiler->first_head;
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
  int32_t kv_heads = first.graph->ops[first.layer.attention].kv_heads;
  /* Who has most heads: of chips that have KV heads each, the first; else those of whom fewest share one. */
  first.part = tensor > kv_heads ? td_lpu_kv_first_head(tensor, kv_heads, kv_heads - 1) : 0;
  lpu_take_heads(&first);
  return check_heads(&first);
}

struct lpu_rows lpu_share_of(const struct lpu_compiler *compiler, int32_t weight, enum lpu_share share) {
  int64_t rows = compiler->graph->weights[weight].rows, lanes = compiler->machine->lanes;
  if (share == LPU_BY_HEADS) {
    int64_t of_head = rows / compiler->graph->ops[compiler->layer.attention].heads;
    return (struct lpu_rows){weight, compiler->first_head * of_head, compiler->attention.heads * of_head};
  }
  if (share == LPU_BY_KV_HEADS) {
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
    bool experts = op->kind == TD_OP_EXPERT_MATMUL;
    if (op->kind != TD_OP_MATMUL && !experts) continue;
    if (compiler->ffn_only && op->part != TD_PART_FFN) continue;
    if (experts && op->layer == compiler->begin) *out_layer += (double)op->n * (double)op->k * compiler->moe.experts;
    if (experts) continue;
    if (op->layer == compiler->begin) *out_layer += (double)op->n * (double)op->k;
    if (op->layer == graph->shape.layers) *out_head += (double)op->n * (double)op->k;
  }
}

/* Layers of the last stage, which has the head too: so that the stage with most weights has as little as can be. */
static int32_t last_layers(const struct lpu_compiler *compiler) {
  double layer, head, least = INFINITY;
  int32_t layers = compiler->end - compiler->begin, others = compiler->stages - 1, best = 1;
  lpu_weight_sizes(compiler, &layer, &head);
  for (int32_t last = 1; last <= layers - others; last++) {
    int32_t fullest = (layers - last + others - 1) / others;
    double most = last * layer + head > fullest * layer ? last * layer + head : fullest * layer;
    if (most >= least) continue;
    least = most;
    best = last;
  }
  return best;
}

/* The same of an encoder, whose pooler is a small part of a layer. */
static int32_t last_of_encoder(const struct lpu_compiler *compiler) {
  double layer, head;
  lpu_weight_sizes(compiler, &layer, &head);
  double share = ((compiler->end - compiler->begin) * layer + head) / compiler->stages / layer - head / layer;
  return share < 1 ? 1 : (int32_t)(share + 0.5);
}

int32_t lpu_layers_of(const struct lpu_compiler *compiler, int32_t stage) {
  int32_t layers = compiler->end - compiler->begin, stages = compiler->stages;
  if (stages == 1) return layers;
  int32_t last = compiler->encoder ? last_of_encoder(compiler) : last_layers(compiler), others = layers - last;
  if (stage == stages - 1) return last;
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

/* The places of a chip that is like this one. */
static void stand_in(const struct lpu_compiler *like, struct lpu_compiler *compiler) {
  struct lpu_compiler own = *like;
  own.first_layer = compiler->first_layer;
  own.stage = compiler->stage;
  own.chip = compiler->chip;
  own.alike = compiler->alike;
  *compiler = own;
}

td_status lpu_place_stage(struct lpu_compiler *chips, int32_t stage) {
  int32_t first_layer = stage == 0 ? chips->begin : chips->first_layer + chips->layers,
          layers = lpu_layers_of(chips, stage);
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
  }
  chips->alike = lpu_find_alike(chips - stage * chips->tensor, stage);
  for (int32_t part = 0; part < chips->tensor; part++) {
    const struct lpu_compiler *like = chips + (chips->alike - stage) * chips->tensor + part;
    if (chips->alike == stage) TD_TRY(place_chip(&chips[part]));
    if (chips->alike != stage) stand_in(like, &chips[part]);
  }
  return TD_OK;
}
