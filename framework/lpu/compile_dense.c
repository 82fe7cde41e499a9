/* SPDX-License-Identifier: Apache-2.0
 *
 * What all rows of a step do together: norms, products, activations, residuals.
 */
#include <string.h>

#include "compile.h"
#include "tandem/base.h"

const struct lpu_operand lpu_nothing = {LPU_FROM_NOTHING, 0, 0};

/* Images with vectors of every row of a step. */
static bool has_rows(const struct lpu_compiler *compiler, int32_t image) {
  if (compiler->ffn_only) return image == compiler->x || image == compiler->y;
  return image == compiler->x || image == compiler->qkv_out || image == compiler->attended ||
         (compiler->tensor > 1 && image == compiler->shared);
}

td_status lpu_view(struct lpu_compiler *compiler, int32_t image, struct lpu_tensor **out) {
  if (compiler->encoder && compiler->builder->program->images[image].by_steps > 0) {
    return lpu_rows_of(compiler->builder, image, out);
  }
  TD_TRY(lpu_tensor_of(compiler->builder, image, out));
  if (compiler->encoder || !has_rows(compiler, image)) return TD_OK;
  (*out)->count = compiler->builder->program->images[image].words / compiler->options->rows * compiler->rows;
  return TD_OK;
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
  return layers > 1 ? lpu_patch(compiler, TD_VAR_LAYER, words, compiler->low_layer, compiler->high_layer, out_number)
                    : TD_OK;
}

td_status lpu_matrix_patch(struct lpu_compiler *compiler, const struct lpu_matrix *matrix, int32_t words,
                           uint16_t *out_number) {
  struct td_lpu_patch patch;
  if (matrix->experts == 0) return lpu_layer_patch(compiler, words, matrix->layers, out_number);
  memset(&patch, 0, sizeof patch);
  patch.coefficient[TD_VAR_LAYER] = words * matrix->experts;
  patch.low[TD_VAR_LAYER] = compiler->low_layer;
  patch.high[TD_VAR_LAYER] = compiler->high_layer;
  patch.coefficient[TD_VAR_CHOSEN] = words;
  patch.high[TD_VAR_CHOSEN] = matrix->experts - 1;
  patch.lane = -1;
  return lpu_add_patch(compiler->builder, &patch, out_number);
}

/* ---- products ---- */

/* Rows of a turn: at least so many, of few rows; of many about so many. */
#define LEAST_ROWS 64
#define MOST_ROWS 128

int32_t lpu_rows_at_once(const struct lpu_compiler *compiler, int32_t rows) {
  if (compiler->place.outer_quads == 0 || rows < 2 * LEAST_ROWS || rows % LEAST_ROWS) return rows;
  int32_t turns = rows / LEAST_ROWS < 4 ? rows / LEAST_ROWS : rows / MOST_ROWS;
  while (rows % (turns * LEAST_ROWS)) turns--;
  return rows / turns;
}

/* As many rows at a time as there are accumulators for, and so many that what follows of the first ones goes on beside
 * the products of the others. */
static td_status run_in_turns(struct lpu_compiler *compiler, const struct lpu_product *whole) {
  int32_t most = compiler->machine->accumulator_depth * (lpu_one_plane(whole->tiles.type) ? 1 : 2);
  int32_t some = lpu_rows_at_once(compiler, whole->rows) < most ? lpu_rows_at_once(compiler, whole->rows) : most;
  int32_t turns = (whole->rows + some - 1) / some, rows = (whole->rows + turns - 1) / turns;
  for (int32_t first = 0; first < whole->rows; first += rows) {
    struct lpu_product part = *whole;
    part.rows = whole->rows - first < rows ? whole->rows - first : rows;
    part.x_offset += first * whole->x_row_stride;
    part.y_offset += first * whole->y_row_stride;
    part.crosses = turns > 1 && first / rows % 2 == 1;
    TD_TRY(lpu_product_run(compiler->builder, &part));
  }
  return TD_OK;
}

/* `beside`: what the sums will be read with. */
static td_status multiply(struct lpu_compiler *compiler, const struct lpu_matrix *matrix,
                          const struct lpu_activation *activation, const struct lpu_tensor *beside,
                          struct lpu_tensor **out_sums) {
  int32_t blocks = matrix->tiles.blocks, rows = compiler->rows * activation->passes;
  enum td_lpu_type type = matrix->tiles.type == TD_LPU_I8 ? TD_LPU_I32 : TD_LPU_F32;
  struct lpu_product product;
  memset(&product, 0, sizeof product);
  lpu_note_busy(compiler, activation->x, blocks / 2);
  if (activation->twin) lpu_note_busy(compiler, activation->twin, blocks / 2);
  TD_TRY(lpu_new_sums(compiler, type, rows, blocks, activation, beside, out_sums));
  TD_TRY(lpu_matrix_tiles(compiler, matrix, &product.tiles));
  product.rows = rows;
  product.chip = compiler->chip;
  product.plane = -1;
  product.blocks = blocks;
  product.x = activation->x;
  product.twin = activation->twin;
  product.x_row_stride = activation->x->count / rows;
  product.y = *out_sums;
  product.y_row_stride = blocks;
  product.y_block_stride = 1;
  return run_in_turns(compiler, &product);
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

struct lpu_tensor *lpu_copy_beside(struct lpu_tensor *const copies[LPU_COPIES], int32_t turn,
                                   const struct lpu_tensor *beside) {
  int32_t count = 0;
  while (count < LPU_COPIES && copies[count]) count++;
  for (int32_t i = 0; i < count; i++) {
    struct lpu_tensor *copy = copies[(turn + i) % count];
    if (copy->hemisphere != beside->hemisphere || copy->slice / 4 != beside->slice / 4) return copy;
  }
  return copies[0];
}

static struct lpu_operand unbiased(struct lpu_chain *chain, const struct lpu_sums *sums, int32_t block) {
  bool whole = sums->matrix->tiles.type == TD_LPU_I8, by_row = lpu_one_plane(sums->matrix->tiles.type);
  struct lpu_operand value =
      whole ? widened(chain, sums, block) : lpu_chain_input(chain, sums->sums, block, sums->matrix->tiles.blocks);
  if (!sums->scales) return value;
  struct lpu_operand scale = lpu_chain_input(chain, sums->scales, block, 0);
  chain->inputs[scale.index].patch = sums->patch;
  value = lpu_chain_step(chain, TD_ALU_MUL, value, scale, lpu_nothing);
  if (!by_row) return value;
  const struct lpu_tensor *beside = chain->inputs[0].tensor;
  struct lpu_operand row = lpu_chain_input(chain, lpu_copy_beside(sums->activation->scale, block, beside), 0, 1);
  return lpu_chain_step(chain, TD_ALU_MUL, value, row, lpu_nothing);
}

struct lpu_operand lpu_scaled(struct lpu_chain *chain, const struct lpu_sums *sums, int32_t block) {
  struct lpu_operand value = unbiased(chain, sums, block);
  if (!sums->biases) return value;
  struct lpu_operand bias = lpu_chain_input(chain, sums->biases, block, 0);
  chain->inputs[bias.index].patch = sums->patch;
  return lpu_chain_step(chain, TD_ALU_ADD, value, bias, lpu_nothing);
}

td_status lpu_sum_up(struct lpu_compiler *compiler, const struct lpu_matrix *matrix,
                     const struct lpu_activation *activation, const struct lpu_tensor *beside, struct lpu_sums *out) {
  *out = (struct lpu_sums){.matrix = matrix, .activation = activation};
  TD_TRY(multiply(compiler, matrix, activation, beside, &out->sums));
  if (matrix->scale >= 0) TD_TRY(lpu_view(compiler, matrix->scale, &out->scales));
  if (matrix->bias >= 0) TD_TRY(lpu_view(compiler, matrix->bias, &out->biases));
  return lpu_matrix_patch(compiler, matrix, matrix->tiles.blocks, &out->patch);
}

td_status lpu_project(struct lpu_compiler *compiler, const struct lpu_matrix *matrix,
                      const struct lpu_activation *activation, struct lpu_tensor *old, struct lpu_tensor *out) {
  struct lpu_sums sums;
  int32_t blocks = matrix->tiles.blocks, stride = matrix->row_blocks;
  TD_TRY(lpu_sum_up(compiler, matrix, activation, old, &sums));
  for (int32_t block = 0; block < blocks; block++) {
    struct lpu_chain chain;
    lpu_chain_begin(&chain, compiler->chip, compiler->rows);
    struct lpu_operand value = lpu_scaled(&chain, &sums, block);
    if (old) {
      struct lpu_operand base = lpu_chain_input(&chain, old, matrix->first_block + block, stride);
      value = lpu_chain_step(&chain, TD_ALU_ADD, base, value, lpu_nothing);
    } else if (value.from == LPU_FROM_INPUT) {
      value = lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
    }
    lpu_chain_result(&chain, value, out, matrix->first_block + block, stride);
    TD_TRY(lpu_run_rows(compiler, &chain));
  }
  return TD_OK;
}

/* out = old + branch. */
static td_status add_rows(struct lpu_compiler *compiler, struct lpu_tensor *old, struct lpu_tensor *branch,
                          struct lpu_tensor *out) {
  int32_t vectors = compiler->hidden_vectors;
  for (int32_t v = 0; v < vectors; v++) {
    struct lpu_chain chain;
    lpu_chain_begin(&chain, compiler->chip, compiler->rows);
    struct lpu_operand base = lpu_chain_input(&chain, old, v, vectors);
    struct lpu_operand sum =
        lpu_chain_step(&chain, TD_ALU_ADD, base, lpu_chain_input(&chain, branch, v, vectors), lpu_nothing);
    lpu_chain_result(&chain, sum, out, v, vectors);
    TD_TRY(lpu_chain_run(compiler->builder, &chain));
  }
  return TD_OK;
}

td_status lpu_begin_residual(struct lpu_compiler *compiler, const struct lpu_matrix *matrix, struct lpu_tensor *x,
                             int32_t half, struct lpu_tensor *old, struct lpu_tensor *out) {
  bool branch = compiler->branch[half].op >= 0, post = compiler->post[half].op >= 0;
  struct lpu_activation narrow;
  compiler->made = out;
  int32_t vectors = compiler->hidden_vectors, rows = old->count / vectors;
  if (branch || post) TD_TRY(lpu_new_rows(compiler, TD_LPU_F32, rows, vectors, branch ? NULL : old, &compiler->made));
  if (matrix->tiles.blocks == 0) return TD_OK;
  TD_TRY(lpu_narrow(compiler, x, &narrow));
  return lpu_project(compiler, matrix, &narrow, branch ? NULL : old, compiler->made);
}

td_status lpu_end_residual(struct lpu_compiler *compiler, int32_t half, struct lpu_tensor *old,
                           struct lpu_tensor *out) {
  const struct lpu_norm *branch = &compiler->branch[half], *post = &compiler->post[half];
  struct lpu_tensor *sum = compiler->made, *normed = NULL;
  int32_t vectors = compiler->hidden_vectors, rows = old->count / vectors;
  if (branch->op >= 0) {
    sum = out;
    if (post->op >= 0) TD_TRY(lpu_new_rows(compiler, TD_LPU_F32, rows, vectors, old, &sum));
    TD_TRY(lpu_new_rows(compiler, TD_LPU_F32, rows, vectors, old, &normed));
    TD_TRY(lpu_normalize(compiler, compiler->made, branch, normed));
    TD_TRY(add_rows(compiler, old, normed, sum));
  }
  return post->op < 0 ? TD_OK : lpu_normalize(compiler, sum, post, out);
}

static td_status clear(struct lpu_compiler *compiler, int32_t image) {
  struct lpu_tensor *tensor = NULL;
  struct lpu_chain chain;
  TD_TRY(lpu_view(compiler, image, &tensor));
  lpu_chain_begin(&chain, compiler->chip, tensor->count);
  struct lpu_operand zero = lpu_chain_step(&chain, TD_ALU_MOVE, lpu_chain_number(0.0f), lpu_nothing, lpu_nothing);
  lpu_chain_result(&chain, zero, tensor, 0, 1);
  return lpu_chain_run(compiler->builder, &chain);
}

td_status lpu_dense(struct lpu_compiler *compiler) {
  struct lpu_tensor *x = NULL, *out = NULL;
  struct lpu_activation normed;
  /* Rows that a step does not have attend to nothing: the products after attention take all rows. */
  if (compiler->rows > 1) TD_TRY(clear(compiler, compiler->attended));
  if (compiler->rows > 1 && compiler->tensor > 1) TD_TRY(clear(compiler, compiler->shared));
  TD_TRY(lpu_view(compiler, compiler->x, &x));
  TD_TRY(lpu_view(compiler, compiler->qkv_out, &out));
  TD_TRY(lpu_normed(compiler, x, &compiler->norm[0], &normed));
  return lpu_project(compiler, &compiler->qkv, &normed, NULL, out);
}

/* ---- after attention ---- */

/* Lanes that a chip before this one has of the same vector, and this one's: one of them is zero. */
static td_status join(struct lpu_compiler *compiler, int32_t part, int32_t v) {
  struct lpu_tensor *attended = NULL, *shared = NULL;
  struct lpu_chain chain;
  TD_TRY(lpu_view(compiler, compiler->attended, &attended));
  TD_TRY(lpu_view(compiler, compiler->shared, &shared));
  lpu_chain_begin(&chain, compiler->chip, compiler->rows);
  struct lpu_operand here = lpu_chain_input(&chain, attended, v, compiler->q_vectors);
  struct lpu_operand there = lpu_chain_input(&chain, shared, part, compiler->tensor);
  struct lpu_operand sum = lpu_chain_step(&chain, TD_ALU_ADD, here, there, lpu_nothing);
  lpu_chain_result(&chain, sum, attended, v, compiler->q_vectors);
  return lpu_chain_run(compiler->builder, &chain);
}

td_status lpu_join_heads(struct lpu_compiler *compiler) {
  for (int32_t part = 0; part < compiler->tensor; part++) {
    int32_t first = 0, end = 0;
    if (lpu_head_vectors(compiler, part, &first, &end)) TD_TRY(join(compiler, part, first));
  }
  return TD_OK;
}

td_status lpu_begin_output(struct lpu_compiler *compiler) {
  struct lpu_tensor *attended = NULL, *x = NULL;
  TD_TRY(lpu_view(compiler, compiler->attended, &attended));
  TD_TRY(lpu_view(compiler, compiler->x, &x));
  return lpu_begin_residual(compiler, &compiler->o, attended, 0, x, x);
}

td_status lpu_end_output(struct lpu_compiler *compiler) {
  struct lpu_tensor *x = NULL;
  TD_TRY(lpu_view(compiler, compiler->x, &x));
  return lpu_end_residual(compiler, 0, x, x);
}

/* Some rows of x, as many as the head takes: those from the loop's row on. */
static td_status take_rows(struct lpu_compiler *compiler, struct lpu_tensor **out) {
  int32_t rows = compiler->head_rows.rows, first = compiler->head_rows.first, last = compiler->head_rows.last;
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

td_status lpu_head(struct lpu_compiler *compiler) {
  struct lpu_tensor *some = NULL, *logits = NULL;
  struct lpu_activation normed;
  int32_t all = compiler->rows, rows = compiler->head_rows.rows;
  if (compiler->head.tiles.blocks == 0) return TD_OK;
  TD_TRY(lpu_view(compiler, compiler->logits, &logits));
  TD_TRY(rows < all ? take_rows(compiler, &some) : lpu_view(compiler, compiler->x, &some));
  compiler->rows = rows;
  td_status status = lpu_normed(compiler, some, &compiler->final_norm, &normed);
  if (!status) status = lpu_project(compiler, &compiler->head, &normed, NULL, logits);
  compiler->rows = all;
  return status;
}
