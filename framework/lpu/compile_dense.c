/* SPDX-License-Identifier: Apache-2.0
 *
 * What all rows of a step do together: norms, products, activations, residuals.
 */
#include <string.h>

#include "compile.h"
#include "tandem/base.h"

const struct lpu_operand lpu_nothing = {LPU_FROM_NOTHING, 0, 0};

td_status lpu_view(struct lpu_compiler *compiler, int32_t image, struct lpu_tensor **out) {
  return lpu_tensor_of(compiler->builder, image, out);
}

td_status lpu_patch(struct lpu_compiler *compiler, enum td_lpu_variable variable, int32_t coefficient, int32_t low,
                    int32_t high, uint16_t *out_number) {
  struct td_lpu_patch patch;
  memset(&patch, 0, sizeof patch);
  patch.coefficient[variable] = coefficient;
  patch.low[variable] = low;
  patch.high[variable] = high;
  patch.lane = -1;
  return lpu_add_patch(compiler->builder, &patch, out_number);
}

td_status lpu_layer_patch(struct lpu_compiler *compiler, int32_t words, int32_t layers, uint16_t *out_number) {
  *out_number = 0;
  return layers > 1 ? lpu_patch(compiler, TD_VAR_LAYER, words, 0, layers - 1, out_number) : TD_OK;
}

/* ---- norm ---- */

/* Squares of a row's vectors, summed lane by lane; at most FOLD vectors in one chain. */
#define FOLD 16
static td_status fold_squares(struct lpu_compiler *compiler, struct lpu_tensor *x, int32_t vectors,
                              struct lpu_tensor **out) {
  struct lpu_tensor *before = NULL, *sums = NULL;
  int32_t rows = x->count / vectors;
  for (int32_t begin = 0; begin < vectors; begin += FOLD) {
    struct lpu_chain chain;
    struct lpu_operand sum = lpu_nothing;
    lpu_chain_begin(&chain, compiler->chip, rows);
    TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, rows, NULL, &sums));
    if (before) sum = lpu_chain_input(&chain, before, 0, 1);
    for (int32_t v = begin; v < vectors && v < begin + FOLD; v++) {
      struct lpu_operand value = lpu_chain_input(&chain, x, v, vectors);
      struct lpu_operand square = lpu_chain_step(&chain, TD_ALU_MUL, value, value, lpu_nothing);
      /* The first one waits a step, so that no two vectors are wanted from their slices in one cycle. */
      sum = sum.from == LPU_FROM_NOTHING ? lpu_chain_step(&chain, TD_ALU_MOVE, square, lpu_nothing, lpu_nothing)
                                         : lpu_chain_step(&chain, TD_ALU_ADD, sum, square, lpu_nothing);
    }
    lpu_chain_result(&chain, sum, sums, 0, 1);
    TD_TRY(lpu_chain_run(compiler->builder, &chain));
    before = sums;
  }
  *out = sums;
  return TD_OK;
}

td_status lpu_norm(struct lpu_compiler *compiler, struct lpu_tensor *x, int32_t weight_image, int32_t layers,
                   const struct td_op *op, struct lpu_tensor *out) {
  int32_t vectors = compiler->hidden_vectors, rows = x->count / vectors;
  struct lpu_tensor *sums = NULL, *root = NULL, *weight = NULL;
  struct lpu_tree tree = {TD_ALU_ADD, LPU_FINISH_RSQRT, (float)(1.0 / (double)op->n), (float)op->epsilon, rows};
  uint16_t patch = 0;
  TD_TRY(fold_squares(compiler, x, vectors, &sums));
  TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, rows, x, &root));
  TD_TRY(lpu_lane_tree(compiler, &tree, sums, root));
  TD_TRY(lpu_view(compiler, weight_image, &weight));
  TD_TRY(lpu_layer_patch(compiler, vectors, layers, &patch));
  for (int32_t v = 0; v < vectors; v++) {
    struct lpu_chain chain;
    lpu_chain_begin(&chain, compiler->chip, rows);
    struct lpu_operand value = lpu_chain_input(&chain, x, v, vectors), scale = lpu_chain_input(&chain, root, 0, 1);
    struct lpu_operand scaled = lpu_chain_step(&chain, TD_ALU_MUL, value, scale, lpu_nothing);
    struct lpu_operand by = lpu_chain_input(&chain, weight, v, 0);
    chain.inputs[by.index].patch = patch;
    struct lpu_operand result = lpu_chain_step(&chain, TD_ALU_MUL, scaled, by, lpu_nothing);
    lpu_chain_result(&chain, result, out, v, vectors);
    TD_TRY(lpu_chain_run(compiler->builder, &chain));
  }
  return TD_OK;
}

/* ---- products ---- */

td_status lpu_multiply(struct lpu_compiler *compiler, const struct lpu_matrix *matrix,
                       const struct lpu_activation *activation, const struct lpu_tensor *beside,
                       struct lpu_tensor **out_sums) {
  int32_t blocks = matrix->tiles.blocks, rows = compiler->rows * activation->passes;
  enum td_lpu_type type = matrix->tiles.type == TD_LPU_I8 ? TD_LPU_I32 : TD_LPU_F32;
  struct lpu_product product;
  memset(&product, 0, sizeof product);
  TD_TRY(lpu_new_sums(compiler, type, rows * blocks, rows, activation->x, beside, out_sums));
  TD_TRY(lpu_matrix_tiles(compiler, matrix, &product.tiles));
  product.rows = rows;
  product.chip = compiler->chip;
  product.plane = -1;
  product.blocks = blocks;
  product.x = activation->x;
  product.x_row_stride = activation->x->count / rows;
  product.y = *out_sums;
  product.y_row_stride = blocks;
  product.y_block_stride = 1;
  return lpu_product_run(compiler->builder, &product);
}

/* int32 sums as float32: float(sum), or float(high) * 128 + float(low). */
static struct lpu_operand widened(struct lpu_chain *chain, const struct lpu_sums *sums, int32_t block) {
  int32_t blocks = sums->matrix->tiles.blocks, passes = sums->activation->passes;
  struct lpu_operand high = lpu_chain_input(chain, sums->sums, block, blocks);
  high = lpu_chain_step(chain, TD_ALU_TO_F32, high, lpu_nothing, lpu_nothing);
  if (passes == 1) return high;
  high = lpu_chain_step(chain, TD_ALU_MUL, high, lpu_chain_number(128.0f), lpu_nothing);
  struct lpu_operand low = lpu_chain_input(chain, sums->sums, block + sums->sums->count / passes, blocks);
  low = lpu_chain_step(chain, TD_ALU_TO_F32, low, lpu_nothing, lpu_nothing);
  return lpu_chain_step(chain, TD_ALU_ADD, high, low, lpu_nothing);
}

struct lpu_operand lpu_scaled(struct lpu_chain *chain, const struct lpu_sums *sums, int32_t block) {
  bool whole = sums->matrix->tiles.type == TD_LPU_I8;
  struct lpu_operand value =
      whole ? widened(chain, sums, block) : lpu_chain_input(chain, sums->sums, block, sums->matrix->tiles.blocks);
  if (!sums->scales) return value;
  struct lpu_operand scale = lpu_chain_input(chain, sums->scales, block, 0);
  chain->inputs[scale.index].patch = sums->patch;
  value = lpu_chain_step(chain, TD_ALU_MUL, value, scale, lpu_nothing);
  if (!whole) return value;
  struct lpu_operand row = lpu_chain_input(chain, sums->activation->scale, 0, 1);
  return lpu_chain_step(chain, TD_ALU_MUL, value, row, lpu_nothing);
}

/* x * matrix^T, as sums with what scales them. */
static td_status multiply(struct lpu_compiler *compiler, const struct lpu_matrix *matrix,
                          const struct lpu_activation *activation, const struct lpu_tensor *beside,
                          struct lpu_sums *out) {
  *out = (struct lpu_sums){.matrix = matrix, .activation = activation};
  TD_TRY(lpu_multiply(compiler, matrix, activation, beside, &out->sums));
  if (matrix->scale < 0) return TD_OK;
  TD_TRY(lpu_view(compiler, matrix->scale, &out->scales));
  return lpu_layer_patch(compiler, matrix->tiles.blocks, matrix->layers, &out->patch);
}

/* out = x * matrix^T [+ residual], into an image. */
static td_status project(struct lpu_compiler *compiler, const struct lpu_matrix *matrix,
                         const struct lpu_activation *activation, int32_t residual, int32_t out_image) {
  struct lpu_tensor *out = NULL, *old = NULL;
  struct lpu_sums sums;
  int32_t blocks = matrix->tiles.blocks;
  TD_TRY(lpu_view(compiler, out_image, &out));
  if (residual >= 0) TD_TRY(lpu_view(compiler, residual, &old));
  TD_TRY(multiply(compiler, matrix, activation, old, &sums));
  for (int32_t block = 0; block < blocks; block++) {
    struct lpu_chain chain;
    lpu_chain_begin(&chain, compiler->chip, compiler->rows);
    struct lpu_operand value = lpu_scaled(&chain, &sums, block);
    if (old) {
      struct lpu_operand base = lpu_chain_input(&chain, old, block, blocks);
      value = lpu_chain_step(&chain, TD_ALU_ADD, base, value, lpu_nothing);
    } else if (value.from == LPU_FROM_INPUT) {
      value = lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
    }
    lpu_chain_result(&chain, value, out, block, blocks);
    TD_TRY(lpu_chain_run(compiler->builder, &chain));
  }
  return TD_OK;
}

/* The norm of x (NULL: the chip's), ready for products. */
static td_status normed(struct lpu_compiler *compiler, struct lpu_tensor *x, int32_t weight_image, int32_t layers,
                        const struct td_op *op, struct lpu_activation *out) {
  struct lpu_tensor *value = NULL;
  if (!x) TD_TRY(lpu_view(compiler, compiler->x, &x));
  TD_TRY(lpu_new_scratch(compiler, lpu_value_type(compiler), x->count, NULL, &value));
  TD_TRY(lpu_norm(compiler, x, weight_image, layers, op, value));
  return lpu_narrow(compiler, value, out);
}

/* Rows that a step does not have attend to nothing: the products after attention take all rows. */
static td_status clear_attended(struct lpu_compiler *compiler) {
  struct lpu_tensor *attended = NULL;
  struct lpu_chain chain;
  TD_TRY(lpu_view(compiler, compiler->attended, &attended));
  lpu_chain_begin(&chain, compiler->chip, attended->count);
  struct lpu_operand zero = lpu_chain_step(&chain, TD_ALU_MOVE, lpu_chain_number(0.0f), lpu_nothing, lpu_nothing);
  lpu_chain_result(&chain, zero, attended, 0, 1);
  return lpu_chain_run(compiler->builder, &chain);
}

td_status lpu_segment_dense(struct lpu_compiler *compiler, int32_t *out_segment) {
  struct lpu_activation x;
  TD_TRY(lpu_open_segment(compiler, "dense"));
  if (compiler->rows > 1) TD_TRY(clear_attended(compiler));
  TD_TRY(normed(compiler, NULL, compiler->norm_weight[0], compiler->layers,
                &compiler->graph->ops[compiler->layer.norm[0]], &x));
  TD_TRY(project(compiler, &compiler->qkv, &x, -1, compiler->qkv_out));
  return lpu_end_segment(compiler->builder, out_segment);
}

/* ---- after attention ---- */

/* (g * sigmoid(g)) * u of one block. */
static td_status activate(struct lpu_compiler *compiler, const struct lpu_sums *gate, const struct lpu_sums *up,
                          int32_t block, struct lpu_tensor *out) {
  struct lpu_chain chain;
  lpu_chain_begin(&chain, compiler->chip, compiler->rows);
  struct lpu_operand inner = lpu_scaled(&chain, gate, block);
  struct lpu_operand sigmoid = lpu_chain_step(&chain, TD_ALU_SIGMOID, inner, lpu_nothing, lpu_nothing);
  struct lpu_operand outer = lpu_scaled(&chain, gate, block);
  struct lpu_operand silu = lpu_chain_step(&chain, TD_ALU_MUL, outer, sigmoid, lpu_nothing);
  struct lpu_operand other = lpu_scaled(&chain, up, block);
  struct lpu_operand result = lpu_chain_step(&chain, TD_ALU_MUL, silu, other, lpu_nothing);
  lpu_chain_result(&chain, result, out, block, gate->matrix->tiles.blocks);
  return lpu_chain_run(compiler->builder, &chain);
}

static td_status feed_forward(struct lpu_compiler *compiler, const struct lpu_activation *x) {
  struct lpu_tensor *inner = NULL;
  struct lpu_sums gate, up;
  struct lpu_activation narrow;
  TD_TRY(multiply(compiler, &compiler->gate, x, NULL, &gate));
  TD_TRY(multiply(compiler, &compiler->up, x, gate.sums, &up));
  TD_TRY(lpu_new_scratch(compiler, lpu_value_type(compiler), compiler->rows * compiler->ffn_vectors, NULL, &inner));
  for (int32_t block = 0; block < compiler->ffn_vectors; block++) {
    TD_TRY(activate(compiler, &gate, &up, block, inner));
  }
  TD_TRY(lpu_narrow(compiler, inner, &narrow));
  return project(compiler, &compiler->down, &narrow, compiler->x, compiler->x);
}

td_status lpu_segment_output(struct lpu_compiler *compiler, int32_t *out_segment) {
  struct lpu_tensor *attended = NULL;
  struct lpu_activation narrow, x;
  TD_TRY(lpu_open_segment(compiler, "output"));
  TD_TRY(lpu_view(compiler, compiler->attended, &attended));
  TD_TRY(lpu_narrow(compiler, attended, &narrow));
  TD_TRY(project(compiler, &compiler->o, &narrow, compiler->x, compiler->x));
  TD_TRY(normed(compiler, NULL, compiler->norm_weight[1], compiler->layers,
                &compiler->graph->ops[compiler->layer.norm[1]], &x));
  TD_TRY(feed_forward(compiler, &x));
  return lpu_end_segment(compiler->builder, out_segment);
}

/* Some rows of x, as many as the head takes: those from the loop's row on, which goes from `first` to `last`. */
static td_status take_rows(struct lpu_compiler *compiler, int32_t rows, int32_t first, int32_t last,
                           struct lpu_tensor **out) {
  struct lpu_tensor *x = NULL;
  struct lpu_chain chain;
  uint16_t by_row = 0;
  TD_TRY(lpu_view(compiler, compiler->x, &x));
  TD_TRY(lpu_patch(compiler, TD_VAR_ROW, compiler->hidden_vectors, first, last, &by_row));
  TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, rows * compiler->hidden_vectors, x, out));
  lpu_chain_begin(&chain, compiler->chip, (*out)->count);
  struct lpu_operand value = lpu_chain_input(&chain, x, 0, 1);
  chain.inputs[value.index].patch = by_row;
  value = lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
  lpu_chain_result(&chain, value, *out, 0, 1);
  return lpu_chain_run(compiler->builder, &chain);
}

td_status lpu_segment_head(struct lpu_compiler *compiler, int32_t rows, int32_t first, int32_t last,
                           int32_t *out_segment) {
  const struct td_graph *graph = compiler->graph;
  struct lpu_tensor *some = NULL;
  struct lpu_activation x;
  const struct td_op *norm = NULL;
  int32_t all = compiler->rows;
  for (int32_t i = 0; i < graph->op_count; i++) {
    if (graph->ops[i].kind == TD_OP_RMS_NORM && graph->ops[i].layer == graph->shape.layers) norm = &graph->ops[i];
  }
  TD_TRY(lpu_open_segment(compiler, rows < compiler->layout.head_rows ? "head.rest" : "head"));
  if (rows < all) TD_TRY(take_rows(compiler, rows, first, last, &some));
  compiler->rows = rows;
  td_status status = normed(compiler, some, compiler->final_weight, 1, norm, &x);
  if (!status) status = project(compiler, &compiler->head, &x, -1, compiler->logits);
  compiler->rows = all;
  return status ? status : lpu_end_segment(compiler->builder, out_segment);
}
