/* SPDX-License-Identifier: Apache-2.0
 *
 * FFNs, as a part of a layer and as all that is compiled of it.
 */
#include "compile.h"
#include "tandem/base.h"

/* ---- activations ---- */

static struct lpu_operand times(struct lpu_chain *chain, struct lpu_operand a, struct lpu_operand b) {
  return lpu_chain_step(chain, TD_ALU_MUL, a, b, lpu_nothing);
}

/* g * sigmoid(g). */
static struct lpu_operand silu(struct lpu_chain *chain, const struct lpu_sums *gate, int32_t block) {
  struct lpu_operand inner = lpu_scaled(chain, gate, block);
  struct lpu_operand sigmoid = lpu_chain_step(chain, TD_ALU_SIGMOID, inner, lpu_nothing, lpu_nothing);
  return times(chain, lpu_scaled(chain, gate, block), sigmoid);
}

/* (g * 0.5) * (1 + tanh(sqrt(2 / pi) * (g + ((0.044715 * g) * g) * g))). */
static struct lpu_operand gelu(struct lpu_chain *chain, struct lpu_tensor *g, int32_t block, int32_t blocks) {
  struct lpu_operand x = lpu_chain_input(chain, g, block, blocks);
  struct lpu_operand inner = times(chain, x, lpu_chain_number(0.044715f));
  inner = times(chain, inner, lpu_chain_input(chain, g, block, blocks));
  inner = times(chain, inner, lpu_chain_input(chain, g, block, blocks));
  inner = lpu_chain_step(chain, TD_ALU_ADD, inner, lpu_chain_input(chain, g, block, blocks), lpu_nothing);
  inner = times(chain, inner, lpu_chain_number(0.79788456080286536f));
  inner = lpu_chain_step(chain, TD_ALU_TANH, inner, lpu_nothing, lpu_nothing);
  inner = lpu_chain_step(chain, TD_ALU_ADD, inner, lpu_chain_number(1.0f), lpu_nothing);
  struct lpu_operand half = times(chain, lpu_chain_input(chain, g, block, blocks), lpu_chain_number(0.5f));
  return times(chain, half, inner);
}

/* The same of sums that are read twice only: g waits in moves for the steps that take it. That needs steps of one
 * length. */
static struct lpu_operand gelu_once(struct lpu_chain *chain, const struct lpu_sums *gate, int32_t block) {
  struct lpu_operand x = lpu_scaled(chain, gate, block);
  x = lpu_chain_step(chain, TD_ALU_MOVE, x, lpu_nothing, lpu_nothing);
  struct lpu_operand inner = times(chain, x, lpu_chain_number(0.044715f));
  for (int i = 0; i < 2; i++) {
    x = lpu_chain_step(chain, TD_ALU_MOVE, x, lpu_nothing, lpu_nothing);
    inner = times(chain, inner, x);
  }
  x = lpu_chain_step(chain, TD_ALU_MOVE, x, lpu_nothing, lpu_nothing);
  inner = lpu_chain_step(chain, TD_ALU_ADD, inner, x, lpu_nothing);
  inner = times(chain, inner, lpu_chain_number(0.79788456080286536f));
  inner = lpu_chain_step(chain, TD_ALU_TANH, inner, lpu_nothing, lpu_nothing);
  inner = lpu_chain_step(chain, TD_ALU_ADD, inner, lpu_chain_number(1.0f), lpu_nothing);
  struct lpu_operand half = times(chain, lpu_scaled(chain, gate, block), lpu_chain_number(0.5f));
  return times(chain, half, inner);
}

/* The sums of one block as they are, for what reads them often. */
static td_status settle(struct lpu_compiler *compiler, const struct lpu_sums *sums, int32_t block,
                        struct lpu_tensor **out) {
  struct lpu_chain chain;
  TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, compiler->rows, NULL, out));
  lpu_chain_begin(&chain, compiler->chip, compiler->rows);
  struct lpu_operand value = lpu_scaled(&chain, sums, block);
  if (value.from == LPU_FROM_INPUT) value = lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
  lpu_chain_result(&chain, value, *out, 0, 1);
  return lpu_chain_run(compiler->builder, &chain);
}

/* Rows at a time, so that the second reading of the sums begins when the first one is done. */
#define GELU_ROWS 24
td_status lpu_activate(struct lpu_compiler *compiler, const struct lpu_sums *gate, const struct lpu_sums *up,
                       int32_t block, struct lpu_tensor *out) {
  const struct td_op *op = &compiler->graph->ops[compiler->layer.activation];
  bool even = compiler->machine->alu_func[TD_ALU_MOVE] == compiler->machine->alu_func[TD_ALU_MUL];
  struct lpu_tensor *settled = NULL;
  struct lpu_operand result;
  struct lpu_chain chain;
  if (op->activation == TD_ACT_GELU && !even) TD_TRY(settle(compiler, gate, block, &settled));
  lpu_chain_begin(&chain, compiler->chip, compiler->rows);
  if (op->activation == TD_ACT_SILU) {
    result = silu(&chain, gate, block);
  } else if (even) {
    chain.chunk = GELU_ROWS;
    result = gelu_once(&chain, gate, block);
  } else {
    result = gelu(&chain, settled, 0, 1);
  }
  if (up) result = times(&chain, result, lpu_scaled(&chain, up, block));
  lpu_chain_result(&chain, result, out, block, gate->matrix->tiles.blocks);
  return lpu_chain_run(compiler->builder, &chain);
}

td_status lpu_ffn_up(struct lpu_compiler *compiler, struct lpu_tensor *x, struct lpu_tensor *inner) {
  bool gated = compiler->layer.gate >= 0;
  struct lpu_sums gate, up;
  struct lpu_activation normed;
  TD_TRY(lpu_normed(compiler, x, &compiler->norm[1], &normed));
  if (gated) TD_TRY(lpu_sum_up(compiler, &compiler->gate, &normed, NULL, &gate));
  TD_TRY(lpu_sum_up(compiler, &compiler->up, &normed, gated ? gate.sums : NULL, &up));
  for (int32_t block = 0; block < compiler->ffn_vectors; block++) {
    TD_TRY(lpu_activate(compiler, gated ? &gate : &up, gated ? &up : NULL, block, inner));
  }
  return TD_OK;
}

td_status lpu_ffn_down(struct lpu_compiler *compiler, struct lpu_tensor *inner, struct lpu_tensor *x,
                       struct lpu_tensor *out) {
  struct lpu_activation narrow;
  TD_TRY(lpu_narrow(compiler, inner, &narrow));
  return lpu_residual(compiler, &compiler->down, &narrow, 1, x, out);
}

td_status lpu_feed_forward(struct lpu_compiler *compiler, struct lpu_tensor *x, struct lpu_tensor *out) {
  struct lpu_tensor *inner = NULL;
  TD_TRY(lpu_new_scratch(compiler, lpu_value_type(compiler), compiler->rows * compiler->ffn_vectors, NULL, &inner));
  TD_TRY(lpu_ffn_up(compiler, x, inner));
  return lpu_ffn_down(compiler, inner, x, out);
}

/* ---- alone: an entry a layer, from x to y ---- */

static td_status rows_image(struct lpu_compiler *compiler, const char *name, enum td_lpu_image_kind kind,
                            int32_t *out_image) {
  TD_TRY(lpu_new_vectors(compiler, name, kind, TD_LPU_F32, compiler->rows * compiler->hidden_vectors, out_image));
  struct td_lpu_image *image = &compiler->builder->program->images[*out_image];
  image->rows = compiler->rows;
  image->cols = compiler->graph->shape.hidden;
  return TD_OK;
}

td_status lpu_add_ffn_state(struct lpu_compiler *compiler) {
  char name[16] = "y";
  if (compiler->chip > 0) TD_TRY(td_format(name, sizeof name, "y.%d", compiler->chip));
  TD_TRY(rows_image(compiler, "x", TD_IMAGE_INPUT, &compiler->x));
  return rows_image(compiler, name, TD_IMAGE_OUTPUT, &compiler->y);
}

static td_status ffn_segment(struct lpu_compiler *compiler, int32_t *out_segment) {
  struct lpu_tensor *x = NULL, *y = NULL;
  TD_TRY(lpu_open_segment(compiler, "ffn"));
  TD_TRY(lpu_view(compiler, compiler->x, &x));
  TD_TRY(lpu_view(compiler, compiler->y, &y));
  TD_TRY(lpu_feed_forward(compiler, x, y));
  return lpu_end_segment(compiler->builder, out_segment);
}

static td_status layer_entry(struct lpu_compiler *compiler, int32_t layer, int32_t segment) {
  const struct td_lpu_link links[3] = {
      {TD_LINK_LOOP, 0, 0, TD_VAR_LAYER, layer, 1}, {TD_LINK_RUN, segment, 0, 0, 0, 0}, {TD_LINK_END, 0, 0, 0, 0, 0}};
  struct td_lpu_entry entry = {.rows = compiler->rows,
                               .layer = compiler->first_layer + layer,
                               .link = compiler->builder->program->link_count,
                               .link_count = 3};
  for (int i = 0; i < 3; i++) TD_TRY(lpu_add_link(compiler->builder, &links[i]));
  return lpu_add_entry(compiler->builder, &entry);
}

td_status lpu_chip_ffn(struct lpu_compiler *compiler) {
  int32_t segment = 0;
  TD_TRY(ffn_segment(compiler, &segment));
  for (int32_t layer = 0; layer < compiler->layers; layer++) TD_TRY(layer_entry(compiler, layer, segment));
  return TD_OK;
}
