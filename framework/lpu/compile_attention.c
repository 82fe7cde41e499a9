/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of one row: K and V are the installed side, fp16 in all modes. A K word holds all KV heads of one token, as
 * many as fit in each half of the lanes; queries stand in the lanes of their KV head, with zeros beside.
 */
#include <string.h>

#include "compile.h"
#include "tandem/base.h"

static const struct td_op *attention_op(const struct lpu_compiler *compiler) {
  return &compiler->attention;
}

/* The first lane of a KV head in K and V words. */
static int32_t head_lane(const struct lpu_compiler *compiler, int32_t kv_head) {
  return td_lpu_kv_lane(compiler->machine, attention_op(compiler)->head_dim, kv_head);
}

/* A map that moves lanes [from, from + n) of a vector to lanes [to, to + n), zeros elsewhere. */
static td_status move_map(struct lpu_compiler *compiler, int32_t from, int32_t to, int32_t n, int32_t *out_map) {
  struct td_lpu_map map;
  memset(&map, 0xff, sizeof map); /* -1 */
  for (int32_t i = 0; i < n; i++) map.lane[to + i] = (int16_t)(from + i);
  return lpu_add_map(compiler->builder, &map, out_map);
}

/* Elements [first, first + n) of a row of vectors (element e: vector e / lanes, lane e % lanes) in lanes to .. of one
 * vector: one permute for each vector they come from, added to what was there. */
static td_status gather(struct lpu_compiler *compiler, struct lpu_chain *chain, struct lpu_tensor *from, int32_t first,
                        int32_t n, int32_t to, struct lpu_operand *sum) {
  int32_t lanes = compiler->machine->lanes;
  while (n > 0) {
    int32_t lane = first % lanes, piece = n < lanes - lane ? n : lanes - lane, map = 0;
    TD_TRY(move_map(compiler, lane, to, piece, &map));
    struct lpu_operand moved = lpu_chain_via(chain, from, first / lanes, 0, LPU_VIA_PERMUTE, map);
    *sum = sum->from == LPU_FROM_NOTHING ? lpu_chain_step(chain, TD_ALU_MOVE, moved, lpu_nothing, lpu_nothing)
                                         : lpu_chain_step(chain, TD_ALU_ADD, *sum, moved, lpu_nothing);
    first += piece;
    to += piece;
    n -= piece;
  }
  return TD_OK;
}

/* ---- row: rope, queries into place, KV append ---- */

static td_status swap_map(struct lpu_compiler *compiler, const struct td_op *op, int32_t *out_map) {
  struct td_lpu_map map;
  memset(&map, 0xff, sizeof map);
  for (int32_t lane = 0; lane < compiler->machine->lanes; lane++) {
    int32_t element = lane % compiler->head_stride, half = op->rope_dim / 2, other = element;
    if (element < op->rope_dim && op->rope_pairs == TD_ROPE_ADJACENT) other = element ^ 1;
    if (element < op->rope_dim && op->rope_pairs == TD_ROPE_HALVES) other = (element + half) % op->rope_dim;
    map.lane[lane] = (int16_t)(lane - element + other);
  }
  return lpu_add_map(compiler->builder, &map, out_map);
}

/* One vector: x * cos + swapped * sin, tables by position. */
static td_status rotate_vector(struct lpu_compiler *compiler, struct lpu_tensor *in, uint16_t patch, int32_t v,
                               int32_t map, struct lpu_tensor *out) {
  struct lpu_tensor *cosine = NULL, *sine = NULL;
  struct lpu_chain chain;
  uint16_t by_position = 0;
  TD_TRY(lpu_view(compiler, compiler->cosine, &cosine));
  TD_TRY(lpu_view(compiler, compiler->sine, &sine));
  TD_TRY(lpu_patch(compiler, TD_VAR_POSITION, 1, 0, compiler->options->context - 1, &by_position));
  lpu_chain_begin(&chain, compiler->chip, 1);
  struct lpu_operand here = lpu_chain_input(&chain, in, v, 0), cos = lpu_chain_input(&chain, cosine, 0, 0);
  struct lpu_operand straight = lpu_chain_step(&chain, TD_ALU_MUL, here, cos, lpu_nothing);
  struct lpu_operand there = lpu_chain_via(&chain, in, v, 0, LPU_VIA_PERMUTE, map);
  struct lpu_operand sin = lpu_chain_input(&chain, sine, 0, 0);
  struct lpu_operand crossed = lpu_chain_step(&chain, TD_ALU_MUL, there, sin, lpu_nothing);
  struct lpu_operand result = lpu_chain_step(&chain, TD_ALU_ADD, straight, crossed, lpu_nothing);
  chain.inputs[here.index].patch = chain.inputs[there.index].patch = patch;
  chain.inputs[cos.index].patch = chain.inputs[sin.index].patch = by_position;
  lpu_chain_result(&chain, result, out, v, 1);
  return lpu_chain_run(compiler->builder, &chain);
}

/* The vectors of a row that hold Q and K, rotated; K's first, that attention waits for. The last may hold V too: that
 * is nobody's. */
static td_status rotate(struct lpu_compiler *compiler, struct lpu_tensor *qkv, uint16_t by_row,
                        struct lpu_tensor **out) {
  const struct td_op *op = &compiler->graph->ops[compiler->layer.rope_q];
  int32_t elements = (attention_op(compiler)->heads + attention_op(compiler)->kv_heads) * compiler->head_stride,
          map = 0;
  int32_t vectors = (elements + compiler->machine->lanes - 1) / compiler->machine->lanes;
  if (compiler->layer.q_norm >= 0) {
    TD_TRY(lpu_head_norms(compiler, qkv, by_row, vectors, &qkv));
    by_row = 0;
  }
  TD_TRY(swap_map(compiler, op, &map));
  TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, vectors, qkv, out));
  for (int32_t v = vectors - 1; v >= 0; v--) TD_TRY(rotate_vector(compiler, qkv, by_row, v, map, *out));
  return TD_OK;
}

static td_status place_queries(struct lpu_compiler *compiler, struct lpu_tensor *q) {
  const struct td_op *op = attention_op(compiler);
  struct lpu_tensor *heads = NULL;
  TD_TRY(lpu_view(compiler, compiler->heads_q, &heads));
  for (int32_t head = 0; head < op->heads; head++) {
    struct lpu_chain chain;
    struct lpu_operand sum = lpu_nothing;
    lpu_chain_begin(&chain, compiler->chip, 1);
    int32_t lane = head_lane(compiler, head / (op->heads / op->kv_heads));
    TD_TRY(gather(compiler, &chain, q, head * compiler->head_stride, op->head_dim, lane, &sum));
    lpu_chain_result(&chain, sum, heads, head, 1);
    TD_TRY(lpu_chain_run(compiler->builder, &chain));
  }
  return TD_OK;
}

/* All slices of the group write: the token's own for real, the others into their scratch word, the image's last. */
static td_status append_results(struct lpu_compiler *compiler, struct lpu_chain *chain, struct lpu_operand step,
                                int32_t cache) {
  const struct td_lpu_image image = compiler->builder->program->images[cache];
  int32_t vectors = compiler->machine->load_vectors, group = compiler->options->block_tokens / vectors;
  int32_t per_layer = compiler->options->kv_blocks * group, first = -1;
  for (int32_t lane = 0; lane < vectors; lane++) {
    struct lpu_tensor *slot = NULL;
    struct td_lpu_patch patch;
    memset(&patch, 0, sizeof patch);
    patch.coefficient[TD_VAR_LAYER] = per_layer;
    patch.coefficient[TD_VAR_KV_BLOCK] = group;
    patch.coefficient[TD_VAR_SLOT] = 1;
    patch.low[TD_VAR_LAYER] = compiler->low_layer;
    patch.high[TD_VAR_LAYER] = compiler->high_layer;
    patch.high[TD_VAR_KV_BLOCK] = compiler->options->kv_blocks - 1;
    patch.high[TD_VAR_SLOT] = group - 1;
    patch.lane = lane;
    patch.otherwise = image.word + image.words - 1;
    TD_TRY(lpu_part_tensor(compiler->builder, cache, 2 * lane, TD_LPU_F16, &slot));
    int32_t index = lpu_chain_result(chain, step, slot, 0, 0);
    struct lpu_result *result = &chain->results[index];
    TD_TRY(lpu_add_patch(compiler->builder, &patch, &result->patch[0]));
    result->patch[1] = result->patch[0];
    result->tap = first;
    if (first < 0) first = index;
  }
  return TD_OK;
}

/* Elements of a row from `first` on, a head every `stride`; `one`: a constant to add, or NULL. */
static td_status append(struct lpu_compiler *compiler, struct lpu_tensor *from, int32_t first, int32_t stride,
                        uint16_t patch, struct lpu_tensor *one, int32_t cache) {
  const struct td_op *op = attention_op(compiler);
  struct lpu_chain chain;
  struct lpu_operand sum = lpu_nothing;
  lpu_chain_begin(&chain, compiler->chip, 1);
  for (int32_t head = 0; head < op->kv_heads; head++) {
    TD_TRY(gather(compiler, &chain, from, first + head * stride, op->head_dim, head_lane(compiler, head), &sum));
  }
  for (int32_t i = 0; i < chain.input_count; i++) chain.inputs[i].patch = patch;
  if (one) sum = lpu_chain_step(&chain, TD_ALU_ADD, sum, lpu_chain_input(&chain, one, 0, 0), lpu_nothing);
  TD_TRY(append_results(compiler, &chain, sum, cache));
  return lpu_chain_run(compiler->builder, &chain);
}

/* Running maximum and product of every head to their beginnings. */
static td_status clear_head_state(struct lpu_compiler *compiler) {
  const int32_t images[2] = {compiler->top, compiler->product};
  const float values[2] = {LPU_LEAST, 0.0f};
  for (int32_t i = 0; i < 2; i++) {
    struct lpu_tensor *tensor = NULL;
    struct lpu_chain chain;
    TD_TRY(lpu_view(compiler, images[i], &tensor));
    lpu_chain_begin(&chain, compiler->chip, attention_op(compiler)->heads);
    struct lpu_operand step =
        lpu_chain_step(&chain, TD_ALU_MOVE, lpu_chain_number(values[i]), lpu_nothing, lpu_nothing);
    lpu_chain_result(&chain, step, tensor, 0, 1);
    TD_TRY(lpu_chain_run(compiler->builder, &chain));
  }
  return TD_OK;
}

td_status lpu_row(struct lpu_compiler *compiler) {
  const struct td_op *op = attention_op(compiler);
  int32_t stride = compiler->head_stride, k = op->heads * stride, v = k + op->kv_heads * stride;
  struct lpu_tensor *qkv = NULL, *rotated = NULL, *one = NULL;
  uint16_t by_row = 0;
  TD_TRY(lpu_view(compiler, compiler->qkv_out, &qkv));
  TD_TRY(lpu_patch(compiler, TD_VAR_ROW, compiler->qkv.tiles.blocks, 0, compiler->rows - 1, &by_row));
  TD_TRY(rotate(compiler, qkv, by_row, &rotated));
  TD_TRY(append(compiler, rotated, k, stride, 0, NULL, compiler->k_cache));
  TD_TRY(lpu_view(compiler, compiler->one, &one));
  TD_TRY(append(compiler, qkv, v, op->head_dim, by_row, one, compiler->v_cache));
  TD_TRY(place_queries(compiler, rotated));
  return clear_head_state(compiler);
}

/* ---- scores of one block ---- */

static td_status cache_tiles(struct lpu_compiler *compiler, int32_t cache, bool columns, struct lpu_tiles *out) {
  int32_t vectors = compiler->machine->load_vectors, group = compiler->options->block_tokens / vectors;
  int32_t part = compiler->machine->plane_k / 2 / vectors;
  struct td_lpu_patch patch;
  memset(&patch, 0, sizeof patch);
  memset(out, 0, sizeof *out);
  patch.coefficient[TD_VAR_LAYER] = compiler->options->kv_blocks * group;
  patch.coefficient[TD_VAR_KV_BLOCK] = group;
  patch.low[TD_VAR_LAYER] = compiler->low_layer;
  patch.high[TD_VAR_LAYER] = compiler->high_layer;
  patch.high[TD_VAR_KV_BLOCK] = compiler->options->kv_blocks - 1;
  patch.lane = -1;
  out->image = cache;
  out->one_image = true;
  out->type = TD_LPU_F16;
  out->columns = columns;
  out->blocks = 1;
  out->steps = columns || group < part ? group : part;
  out->parts = columns ? 1 : (group + part - 1) / part;
  out->last_steps = group - (out->parts - 1) * out->steps;
  TD_TRY(lpu_add_patch(compiler->builder, &patch, &out->patch));
  out->last_patch = out->patch;
  return TD_OK;
}

/* Heads whose KV head is in one half of the lanes. */
static td_status score_half(struct lpu_compiler *compiler, int32_t half, struct lpu_tensor *raw) {
  const struct td_op *op = attention_op(compiler);
  int32_t group = op->heads / op->kv_heads, begin = half * compiler->head_halves * group;
  int32_t end = begin + compiler->head_halves * group;
  struct lpu_product product;
  struct lpu_tensor *heads = NULL;
  memset(&product, 0, sizeof product);
  TD_TRY(lpu_view(compiler, compiler->heads_q, &heads));
  TD_TRY(cache_tiles(compiler, compiler->k_cache, true, &product.tiles));
  product.tiles.half = half;
  product.rows = (end < op->heads ? end : op->heads) - begin;
  product.chip = compiler->chip;
  product.plane = 0;
  product.blocks = 1;
  product.x = heads;
  product.x_offset = begin;
  product.x_row_stride = 1;
  product.y = raw;
  product.y_offset = begin;
  product.y_row_stride = 1;
  return lpu_product_run(compiler->builder, &product);
}

td_status lpu_scores(struct lpu_compiler *compiler) {
  const struct td_op *op = attention_op(compiler);
  struct lpu_tensor *raw = NULL, *heads = NULL;
  TD_TRY(lpu_view(compiler, compiler->heads_q, &heads));
  TD_TRY(lpu_new_sums(compiler, TD_LPU_F32, op->heads, 1, &(struct lpu_activation){.x = heads}, NULL, &raw));
  for (int32_t half = 0; half * compiler->head_halves < op->kv_heads; half++) {
    TD_TRY(score_half(compiler, half, raw));
  }
  return lpu_mask_scores(compiler, raw);
}

/* ---- the maxima over lanes ---- */

td_status lpu_soft(struct lpu_compiler *compiler) {
  struct lpu_tree tree = {TD_ALU_MAX, LPU_FINISH_NOTHING, 0, 0, attention_op(compiler)->heads, 0, NULL, false};
  struct lpu_tensor *top = NULL;
  TD_TRY(lpu_view(compiler, compiler->top, &top));
  return lpu_lane_tree(compiler, &tree, top, top);
}

/* ---- values of one block ---- */

/* p = f16(exp(score - maximum)). */
static td_status weigh(struct lpu_compiler *compiler, struct lpu_tensor *p) {
  const struct td_op *op = attention_op(compiler);
  struct lpu_tensor *scores = NULL, *top = NULL;
  uint16_t block_heads = 0;
  int32_t blocks = compiler->builder->program->images[compiler->lane_number].rows;
  struct lpu_chain chain;
  TD_TRY(lpu_view(compiler, compiler->scores, &scores));
  TD_TRY(lpu_view(compiler, compiler->top, &top));
  TD_TRY(lpu_patch(compiler, TD_VAR_BLOCK, op->heads, 0, blocks - 1, &block_heads));
  lpu_chain_begin(&chain, compiler->chip, op->heads);
  struct lpu_operand score = lpu_chain_input(&chain, scores, 0, 1), most = lpu_chain_input(&chain, top, 0, 1);
  struct lpu_operand below = lpu_chain_step(&chain, TD_ALU_SUB, score, most, lpu_nothing);
  struct lpu_operand weight = lpu_chain_step(&chain, TD_ALU_EXP, below, lpu_nothing, lpu_nothing);
  chain.inputs[score.index].patch = block_heads;
  lpu_chain_result(&chain, weight, p, 0, 1);
  return lpu_chain_run(compiler->builder, &chain);
}

td_status lpu_values(struct lpu_compiler *compiler) {
  const struct td_op *op = attention_op(compiler);
  struct lpu_tensor *p = NULL, *parts = NULL, *total = NULL;
  struct lpu_product product;
  struct lpu_chain chain;
  memset(&product, 0, sizeof product);
  TD_TRY(lpu_new_scratch(compiler, TD_LPU_F16, op->heads, NULL, &p));
  TD_TRY(weigh(compiler, p));
  TD_TRY(cache_tiles(compiler, compiler->v_cache, false, &product.tiles));
  TD_TRY(lpu_view(compiler, compiler->product, &total));
  TD_TRY(lpu_new_sums(compiler, TD_LPU_F32, op->heads, product.tiles.parts, &(struct lpu_activation){.x = p}, total,
                      &parts));
  product.rows = op->heads;
  product.chip = compiler->chip;
  product.plane = compiler->machine->planes / 2;
  product.blocks = 1;
  product.separate = true;
  product.x = p;
  product.x_row_stride = 1;
  product.y = parts;
  product.y_row_stride = 1;
  product.y_part_stride = op->heads;
  TD_TRY(lpu_product_run(compiler->builder, &product));
  lpu_chain_begin(&chain, compiler->chip, op->heads);
  struct lpu_operand sum = lpu_chain_input(&chain, total, 0, 1);
  for (int32_t part = 0; part < product.tiles.parts; part++) {
    struct lpu_operand next = lpu_chain_input(&chain, parts, part * op->heads, 1);
    sum = lpu_chain_step(&chain, TD_ALU_ADD, sum, next, lpu_nothing);
  }
  lpu_chain_result(&chain, sum, total, 0, 1);
  return lpu_chain_run(compiler->builder, &chain);
}

/* ---- division, and the heads side by side ---- */

static td_status merge_vector(struct lpu_compiler *compiler, struct lpu_tensor *divided, int32_t v) {
  const struct td_op *op = attention_op(compiler);
  int32_t lanes = compiler->machine->lanes, width = op->head_dim, group = op->heads / op->kv_heads;
  int32_t above = compiler->first_head * width - v * lanes, first = 0, end_vector = 0;
  bool shared = lpu_head_vectors(compiler, compiler->part, &first, &end_vector) && v == first;
  struct lpu_tensor *out = NULL;
  struct lpu_chain chain;
  struct lpu_operand sum = lpu_nothing;
  uint16_t by_row = 0;
  int32_t stride = shared ? compiler->tensor : compiler->q_vectors;
  TD_TRY(lpu_view(compiler, shared ? compiler->shared : compiler->attended, &out));
  TD_TRY(lpu_patch(compiler, TD_VAR_ROW, stride, 0, compiler->rows - 1, &by_row));
  lpu_chain_begin(&chain, compiler->chip, 1);
  for (int32_t head = 0; head < op->heads; head++) {
    int32_t at = above + head * width; /* lanes from the vector's first */
    int32_t begin = at < 0 ? 0 : at, end = at + width > lanes ? lanes : at + width;
    if (begin >= end) continue;
    int32_t from = head * lanes + head_lane(compiler, head / group) + begin - at;
    TD_TRY(gather(compiler, &chain, divided, from, end - begin, begin, &sum));
  }
  int32_t index = lpu_chain_result(&chain, sum, out, shared ? compiler->part : v, 1);
  for (int32_t c = 0; c < 4; c++) chain.results[index].patch[c] = by_row;
  return lpu_chain_run(compiler->builder, &chain);
}

/* The lane of V that is 1 in every token: its product is the sum of p. */
int32_t lpu_one_lane(const struct lpu_compiler *compiler) {
  const struct td_op *op = attention_op(compiler);
  return td_lpu_kv_one_lane(compiler->machine, op->kv_heads, op->head_dim);
}

td_status lpu_merge(struct lpu_compiler *compiler) {
  const struct td_op *op = attention_op(compiler);
  struct lpu_tensor *product = NULL, *divided = NULL;
  struct lpu_chain chain;
  struct td_lpu_map map;
  int32_t spread = 0, first = 0, end = 0;
  memset(&map, 0xff, sizeof map);
  for (int32_t lane = 0; lane < compiler->machine->lanes; lane++) map.lane[lane] = (int16_t)lpu_one_lane(compiler);
  TD_TRY(lpu_add_map(compiler->builder, &map, &spread));
  TD_TRY(lpu_view(compiler, compiler->product, &product));
  TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, op->heads, NULL, &divided));
  lpu_chain_begin(&chain, compiler->chip, op->heads);
  struct lpu_operand sum = lpu_chain_via(&chain, product, 0, 1, LPU_VIA_PERMUTE, spread);
  struct lpu_operand inverse = lpu_chain_step(&chain, TD_ALU_RECIPROCAL, sum, lpu_nothing, lpu_nothing);
  struct lpu_operand value = lpu_chain_input(&chain, product, 0, 1);
  struct lpu_operand result = lpu_chain_step(&chain, TD_ALU_MUL, value, inverse, lpu_nothing);
  lpu_chain_result(&chain, result, divided, 0, 1);
  TD_TRY(lpu_chain_run(compiler->builder, &chain));
  lpu_head_vectors(compiler, compiler->part, &first, &end);
  for (int32_t v = first; v < end; v++) TD_TRY(merge_vector(compiler, divided, v));
  return TD_OK;
}
