/* SPDX-License-Identifier: Apache-2.0
 *
 * Norms of rows: RMS norms, and layer norms as RMS norms of what the mean is taken from.
 */
#include "compile.h"
#include "tandem/base.h"

/* Vectors in one chain, at most. */
#define FOLD 16

/* One vector of a row, or its square. */
static struct lpu_operand value_of(struct lpu_chain *chain, struct lpu_tensor *x, int32_t v, int32_t vectors,
                                   bool square) {
  struct lpu_operand value = lpu_chain_input(chain, x, v, vectors);
  return square ? lpu_chain_step(chain, TD_ALU_MUL, value, value, lpu_nothing) : value;
}

/* Vectors of `rows` rows from `first` on, or their squares, summed lane by lane. */
static td_status fold(struct lpu_compiler *compiler, struct lpu_tensor *x, int32_t vectors, bool square, int32_t first,
                      int32_t rows, struct lpu_tensor **out) {
  struct lpu_tensor *before = NULL, *sums = NULL;
  for (int32_t begin = 0; begin < vectors; begin += FOLD) {
    struct lpu_chain chain;
    struct lpu_operand sum = lpu_nothing;
    lpu_chain_begin(&chain, compiler->chip, rows);
    TD_TRY(lpu_new_fold(compiler, rows, vectors > FOLD ? x : NULL, &sums));
    if (before) sum = lpu_chain_input(&chain, before, 0, 1);
    for (int32_t v = begin; v < vectors && v < begin + FOLD; v++) {
      struct lpu_operand value = value_of(&chain, x, first * vectors + v, vectors, square);
      /* The first one waits a step, so that no two vectors are wanted from their slices in one cycle. The zero: sums
       * are never a negative one. */
      sum = sum.from == LPU_FROM_NOTHING
                ? lpu_chain_step(&chain, TD_ALU_ADD, value, lpu_chain_number(0.0f), lpu_nothing)
                : lpu_chain_step(&chain, TD_ALU_ADD, sum, value, lpu_nothing);
    }
    lpu_chain_result(&chain, sum, sums, 0, 1);
    TD_TRY(lpu_run_rows(compiler, &chain));
    before = sums;
  }
  *out = sums;
  return TD_OK;
}

/* The lane tree of a row's vectors, or of their squares, and what comes of it, in all lanes. */
static td_status reduce(struct lpu_compiler *compiler, struct lpu_tensor *x, const struct td_op *op,
                        enum lpu_finish finish, struct lpu_tensor **out) {
  int32_t vectors = compiler->hidden_vectors, rows = x->count / vectors;
  struct lpu_tensor *sums[LPU_TREE_PARTS];
  int32_t some = x->columns ? lpu_tree_rows(compiler, rows) : rows;
  struct lpu_tree tree = {TD_ALU_ADD, finish, (float)(1.0 / (double)op->n), (float)op->epsilon, rows, 0, NULL, true};
  for (int32_t part = 0; part < LPU_TREE_PARTS; part++) {
    int32_t first = part * some, left = rows - first;
    sums[part] = sums[0];
    if (left <= 0) continue;
    compiler->place.inner_turn += part > 0;
    TD_TRY(fold(compiler, x, vectors, finish == LPU_FINISH_RSQRT, first, left < some ? left : some, &sums[part]));
  }
  TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, rows, x, out));
  return lpu_lane_trees(compiler, &tree, sums, *out);
}

/* x - mean, 0 in lanes beyond the row. */
static td_status centre(struct lpu_compiler *compiler, struct lpu_tensor *x, const struct td_op *op,
                        struct lpu_tensor **out) {
  int32_t vectors = compiler->hidden_vectors, rows = x->count / vectors;
  struct lpu_tensor *mean = NULL, *mask = NULL;
  TD_TRY(reduce(compiler, x, op, LPU_FINISH_MEAN, &mean));
  TD_TRY(lpu_new_rows(compiler, TD_LPU_F32, rows, vectors, NULL, out));
  if (compiler->row_mask >= 0) TD_TRY(lpu_view(compiler, compiler->row_mask, &mask));
  for (int32_t v = 0; v < vectors; v++) {
    struct lpu_chain chain;
    lpu_chain_begin(&chain, compiler->chip, rows);
    struct lpu_operand value = lpu_chain_input(&chain, x, v, vectors), by = lpu_chain_input(&chain, mean, 0, 1);
    value = lpu_chain_step(&chain, TD_ALU_SUB, value, by, lpu_nothing);
    if (mask && v == vectors - 1) {
      value = lpu_chain_step(&chain, TD_ALU_MUL, value, lpu_chain_input(&chain, mask, 0, 0), lpu_nothing);
    }
    lpu_chain_result(&chain, value, *out, v, vectors);
    TD_TRY(lpu_run_rows(compiler, &chain));
  }
  return TD_OK;
}

/* (x * root) * weight [+ bias] of one vector. */
static td_status scale_vector(struct lpu_compiler *compiler, struct lpu_tensor *x, struct lpu_tensor *root,
                              const struct lpu_norm *norm, int32_t v, struct lpu_tensor *out) {
  int32_t vectors = compiler->hidden_vectors;
  struct lpu_tensor *weight = NULL, *bias = NULL;
  struct lpu_chain chain;
  uint16_t patch = 0;
  TD_TRY(lpu_view(compiler, norm->weight, &weight));
  if (norm->bias >= 0) TD_TRY(lpu_view(compiler, norm->bias, &bias));
  TD_TRY(lpu_layer_patch(compiler, vectors, norm->layers, &patch));
  lpu_chain_begin(&chain, compiler->chip, x->count / vectors);
  struct lpu_operand value = lpu_chain_input(&chain, x, v, vectors), scale = lpu_chain_input(&chain, root, 0, 1);
  value = lpu_chain_step(&chain, TD_ALU_MUL, value, scale, lpu_nothing);
  struct lpu_operand by = lpu_chain_input(&chain, weight, v, 0);
  chain.inputs[by.index].patch = patch;
  value = lpu_chain_step(&chain, TD_ALU_MUL, value, by, lpu_nothing);
  if (bias) {
    struct lpu_operand more = lpu_chain_input(&chain, bias, v, 0);
    chain.inputs[more.index].patch = patch;
    value = lpu_chain_step(&chain, TD_ALU_ADD, value, more, lpu_nothing);
  }
  lpu_chain_result(&chain, value, out, v, vectors);
  return lpu_run_rows(compiler, &chain);
}

td_status lpu_normalize(struct lpu_compiler *compiler, struct lpu_tensor *x, const struct lpu_norm *norm,
                        struct lpu_tensor *out) {
  const struct td_op *op = &compiler->graph->ops[norm->op];
  struct lpu_tensor *from = x, *root = NULL;
  if (op->kind == TD_OP_LAYER_NORM) TD_TRY(centre(compiler, x, op, &from));
  TD_TRY(reduce(compiler, from, op, LPU_FINISH_RSQRT, &root));
  for (int32_t v = 0; v < compiler->hidden_vectors; v++) {
    TD_TRY(scale_vector(compiler, from, root, norm, v, out));
  }
  return TD_OK;
}

/* ---- heads, side by side in their vectors ---- */

static td_status square_heads(struct lpu_compiler *compiler, struct lpu_tensor *in, uint16_t patch,
                              struct lpu_tensor *out) {
  struct lpu_chain chain;
  lpu_chain_begin(&chain, compiler->chip, out->count);
  struct lpu_operand value = lpu_chain_input(&chain, in, 0, 1);
  chain.inputs[value.index].patch = patch;
  value = lpu_chain_step(&chain, TD_ALU_MUL, value, value, lpu_nothing);
  lpu_chain_result(&chain, value, out, 0, 1);
  return lpu_run_rows(compiler, &chain);
}

td_status lpu_head_norms(struct lpu_compiler *compiler, struct lpu_tensor *in, uint16_t patch, int32_t count,
                         struct lpu_tensor **out) {
  const struct td_op *op = &compiler->graph->ops[compiler->layer.q_norm];
  int32_t width = (int32_t)(op->n / op->groups), vectors = 0;
  struct lpu_tree tree = {TD_ALU_ADD, LPU_FINISH_RSQRT,      (float)(1.0 / width), (float)op->epsilon,
                          count,      compiler->head_stride, compiler->group_map,  false};
  struct lpu_tensor *squares = NULL, *roots = NULL, *weight = NULL;
  struct lpu_chain chain;
  uint16_t by_layer = 0;
  TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, count, NULL, &squares));
  TD_TRY(square_heads(compiler, in, patch, squares));
  TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, count, in, &roots));
  TD_TRY(lpu_lane_tree(compiler, &tree, squares, roots));
  TD_TRY(lpu_view(compiler, compiler->head_weight, &weight));
  vectors = weight->count / compiler->layers;
  TD_TRY(lpu_layer_patch(compiler, vectors, compiler->layers, &by_layer));
  TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, count, in, out));
  lpu_chain_begin(&chain, compiler->chip, count);
  struct lpu_operand value = lpu_chain_input(&chain, in, 0, 1), root = lpu_chain_input(&chain, roots, 0, 1);
  chain.inputs[value.index].patch = patch;
  value = lpu_chain_step(&chain, TD_ALU_MUL, value, root, lpu_nothing);
  struct lpu_operand by = lpu_chain_input(&chain, weight, 0, 1);
  chain.inputs[by.index].patch = by_layer;
  value = lpu_chain_step(&chain, TD_ALU_MUL, value, by, lpu_nothing);
  lpu_chain_result(&chain, value, *out, 0, 1);
  return lpu_run_rows(compiler, &chain);
}

/* ---- in front of products ---- */

/* x in the type that products take. */
static td_status copy(struct lpu_compiler *compiler, struct lpu_tensor *x, struct lpu_tensor *out) {
  int32_t columns = x->columns || out->columns ? compiler->hidden_vectors : 1;
  for (int32_t v = 0; v < columns; v++) {
    struct lpu_chain chain;
    lpu_chain_begin(&chain, compiler->chip, x->count / columns);
    struct lpu_operand value = lpu_chain_input(&chain, x, v, columns);
    value = lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
    lpu_chain_result(&chain, value, out, v, columns);
    TD_TRY(lpu_run_rows(compiler, &chain));
  }
  return TD_OK;
}

td_status lpu_normed(struct lpu_compiler *compiler, struct lpu_tensor *x, const struct lpu_norm *norm,
                     struct lpu_activation *out) {
  struct lpu_tensor *value = NULL;
  int32_t vectors = compiler->hidden_vectors;
  TD_TRY(lpu_new_rows(compiler, lpu_value_type(compiler), x->count / vectors, vectors, NULL, &value));
  TD_TRY(norm->op < 0 ? copy(compiler, x, value) : lpu_normalize(compiler, x, norm, value));
  return lpu_narrow(compiler, value, out);
}
