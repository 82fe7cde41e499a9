/* SPDX-License-Identifier: Apache-2.0
 *
 * Activations of products: fp16 as they come, or FP8, or int8 in one or two passes, with a scale a row.
 */
#include <string.h>

#include "compile.h"
#include "tandem/lpu_math.h"

#define FOLD 16

enum td_lpu_type lpu_value_type(const struct lpu_compiler *compiler) {
  return compiler->options->activations == TD_LPU_ACTIVATIONS_F16 ? TD_LPU_F16 : TD_LPU_F32;
}

/* Lane by lane, the maximum of |x| over a row's vectors. */
static td_status fold_tops(struct lpu_compiler *compiler, struct lpu_tensor *x, int32_t vectors, int32_t first,
                           int32_t rows, struct lpu_tensor **out) {
  struct lpu_tensor *before = NULL, *tops = NULL;
  for (int32_t begin = 0; begin < vectors; begin += FOLD) {
    struct lpu_chain chain;
    struct lpu_operand top = lpu_nothing;
    lpu_chain_begin(&chain, compiler->chip, rows);
    TD_TRY(lpu_new_fold(compiler, rows, vectors > FOLD ? x : NULL, &tops));
    if (before) top = lpu_chain_input(&chain, before, 0, 1);
    for (int32_t v = begin; v < vectors && v < begin + FOLD; v++) {
      struct lpu_operand value = lpu_chain_input(&chain, x, first * vectors + v, vectors);
      value = lpu_chain_step(&chain, TD_ALU_ABS, value, lpu_nothing, lpu_nothing);
      top = top.from == LPU_FROM_NOTHING ? lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing)
                                         : lpu_chain_step(&chain, TD_ALU_MAX, top, value, lpu_nothing);
    }
    lpu_chain_result(&chain, top, tops, 0, 1);
    TD_TRY(lpu_chain_run(compiler->builder, &chain));
    before = tops;
  }
  *out = tops;
  return TD_OK;
}

static struct lpu_operand top_of(struct lpu_chain *chain, struct lpu_tensor *top) {
  struct lpu_operand most = lpu_chain_input(chain, top, 0, 1);
  return lpu_chain_step(chain, TD_ALU_MAX, most, lpu_chain_number(LPU_LEAST_TOP), lpu_nothing);
}

/* The chain's last step into all copies: as many as there are places for. */
static td_status write_copies(struct lpu_compiler *compiler, struct lpu_chain *chain, struct lpu_operand value,
                              const struct lpu_tensor *beside, struct lpu_tensor *copies[LPU_COPIES]) {
  int32_t count = compiler->place.outer_quads > 0 ? LPU_COPIES : 1;
  memset(copies, 0, LPU_COPIES * sizeof(struct lpu_tensor *));
  for (int32_t i = 0; i < count; i++) {
    TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, chain->n, beside, &copies[i]));
    if (i > 0) value = lpu_chain_step(chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
    lpu_chain_result(chain, value, copies[i], 0, 1);
  }
  return lpu_chain_run(compiler->builder, chain);
}

/* scale = top / levels, factor = levels / top, by multiplication. with: NULL, or in whose quad the scale is to lie. */
static td_status scales(struct lpu_compiler *compiler, struct lpu_tensor *top, float levels,
                        const struct lpu_tensor *value, const struct lpu_tensor *with,
                        struct lpu_tensor *factor[LPU_COPIES], struct lpu_tensor *scale[LPU_COPIES]) {
  struct lpu_chain chain;
  lpu_chain_begin(&chain, compiler->chip, compiler->rows);
  struct lpu_operand most = top_of(&chain, top);
  most = lpu_chain_step(&chain, TD_ALU_RECIPROCAL, most, lpu_nothing, lpu_nothing);
  most = lpu_chain_step(&chain, TD_ALU_MUL, most, lpu_chain_number(levels), lpu_nothing);
  TD_TRY(write_copies(compiler, &chain, most, value->columns ? NULL : value, factor));
  lpu_chain_begin(&chain, compiler->chip, compiler->rows);
  most = lpu_chain_step(&chain, TD_ALU_MUL, top_of(&chain, top), lpu_chain_number(1.0f / levels), lpu_nothing);
  if (!with) return write_copies(compiler, &chain, most, NULL, scale);
  memset(scale, 0, LPU_COPIES * sizeof(struct lpu_tensor *));
  TD_TRY(lpu_new_scratch_with(compiler, TD_LPU_F32, compiler->rows, with, &scale[0]));
  lpu_chain_result(&chain, most, scale[0], 0, 1);
  return lpu_chain_run(compiler->builder, &chain);
}

/* FP8 is what the float is narrowed to on its way out. */
static struct lpu_operand whole(struct lpu_chain *chain, struct lpu_tensor *value, int32_t v, int32_t vectors,
                                struct lpu_tensor *const factor[LPU_COPIES], bool fp8) {
  struct lpu_operand x = lpu_chain_input(chain, value, v, vectors);
  struct lpu_operand by = lpu_chain_input(chain, lpu_copy_beside(factor, v, chain->inputs[x.index].tensor), 0, 1);
  x = lpu_chain_step(chain, TD_ALU_MUL, x, by, lpu_nothing);
  if (fp8) return x;
  return lpu_chain_step(chain, TD_ALU_TO_I32, x, lpu_nothing, lpu_nothing);
}

static struct lpu_operand integer(int32_t value) {
  return (struct lpu_operand){LPU_FROM_NUMBER, 0, (uint32_t)value};
}

/* (q + 64) >> 7. */
static struct lpu_operand high_part(struct lpu_chain *chain, struct lpu_operand q) {
  q = lpu_chain_step(chain, TD_ALU_ADD_I32, q, integer(64), lpu_nothing);
  return lpu_chain_step(chain, TD_ALU_SHIFT_I32, q, integer(-7), lpu_nothing);
}

static td_status write_vector(struct lpu_compiler *compiler, struct lpu_tensor *value,
                              struct lpu_tensor *const factor[LPU_COPIES], int32_t v, int32_t part,
                              struct lpu_tensor *out) {
  int32_t rows = compiler->rows, vectors = value->count / rows;
  struct lpu_chain chain;
  lpu_chain_begin(&chain, compiler->chip, rows);
  bool fp8 = compiler->options->activations == TD_LPU_ACTIVATIONS_F8;
  struct lpu_operand q = whole(&chain, value, v, vectors, factor, fp8);
  if (compiler->options->activations == TD_LPU_ACTIVATIONS_I8X2) {
    struct lpu_operand high = high_part(&chain, q);
    if (part == 1) { /* q - (high << 7): q once more, to be there when high is */
      high = lpu_chain_step(&chain, TD_ALU_SHIFT_I32, high, integer(7), lpu_nothing);
      high = lpu_chain_step(&chain, TD_ALU_SUB_I32, whole(&chain, value, v, vectors, factor, false), high, lpu_nothing);
    }
    q = high;
  }
  lpu_chain_result(&chain, q, out, part * value->count + v, vectors);
  return lpu_chain_run(compiler->builder, &chain);
}

static td_status narrow(struct lpu_compiler *compiler, struct lpu_tensor *value, struct lpu_activation *out) {
  *out = (struct lpu_activation){.x = value, .passes = 1};
  if (compiler->options->activations == TD_LPU_ACTIVATIONS_F16) return TD_OK;
  bool twice = compiler->options->activations == TD_LPU_ACTIVATIONS_I8X2;
  bool fp8 = compiler->options->activations == TD_LPU_ACTIVATIONS_F8;
  int32_t rows = compiler->rows, vectors = value->count / rows;
  struct lpu_tensor *tops[LPU_TREE_PARTS], *top = NULL, *factor[LPU_COPIES];
  int32_t some = value->columns ? lpu_tree_rows(compiler, rows) : rows;
  struct lpu_tree tree = {TD_ALU_MAX, LPU_FINISH_NOTHING, 0, 0, rows, 0, NULL, true};
  out->passes = twice ? 2 : 1;
  for (int32_t part = 0; part < LPU_TREE_PARTS; part++) {
    int32_t first = part * some, left = rows - first;
    tops[part] = tops[0];
    if (left <= 0) continue;
    compiler->place.inner_turn += part > 0;
    TD_TRY(fold_tops(compiler, value, vectors, first, left < some ? left : some, &tops[part]));
  }
  TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, rows, NULL, &top));
  TD_TRY(lpu_lane_trees(compiler, &tree, tops, top));
  enum td_lpu_type type = fp8 ? TD_LPU_F8 : TD_LPU_I8;
  float levels = fp8 ? TD_LPU_F8_MOST : twice ? 16256.0f : 127.0f;
  bool with = fp8 && lpu_scales_lie_with_rows(compiler);
  if (with) TD_TRY(lpu_new_rows(compiler, type, rows, vectors, NULL, &out->x));
  TD_TRY(scales(compiler, top, levels, value, with ? out->x : NULL, factor, out->scale));
  if (!with) TD_TRY(lpu_new_rows(compiler, type, rows * out->passes, vectors, NULL, &out->x));
  for (int32_t v = 0; v < vectors; v++) {
    for (int32_t part = 0; part < out->passes; part++) {
      TD_TRY(write_vector(compiler, value, factor, v, part, out->x));
    }
  }
  return TD_OK;
}

/* Planes of both hemispheres would wait for each other at the slices of x, for as long as rows pass. */
#define MANY_ROWS 128
bool lpu_has_twins(const struct lpu_compiler *compiler) {
  return compiler->rows >= MANY_ROWS;
}

static td_status add_twin(struct lpu_compiler *compiler, struct lpu_activation *activation) {
  struct lpu_tensor *x = activation->x;
  int32_t rows = compiler->rows * activation->passes, vectors = x->count / rows;
  if (compiler->place.turn % TD_LPU_HEMISPHERES == x->hemisphere) compiler->place.turn++;
  TD_TRY(lpu_new_rows(compiler, x->type, rows, vectors, x, &activation->twin));
  for (int32_t v = 0; v < vectors; v++) {
    struct lpu_chain chain;
    lpu_chain_begin(&chain, compiler->chip, rows);
    struct lpu_operand value = lpu_chain_input(&chain, x, v, vectors);
    value = lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
    lpu_chain_result(&chain, value, activation->twin, v, vectors);
    TD_TRY(lpu_chain_run(compiler->builder, &chain));
  }
  return TD_OK;
}

td_status lpu_narrow(struct lpu_compiler *compiler, struct lpu_tensor *value, struct lpu_activation *out) {
  TD_TRY(narrow(compiler, value, out));
  return lpu_has_twins(compiler) && !compiler->layout.single ? add_twin(compiler, out) : TD_OK;
}
