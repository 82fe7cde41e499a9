/* SPDX-License-Identifier: Apache-2.0
 *
 * FFNs, as a part of a layer and as all that is compiled of it.
 */
#include <string.h>

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

/* g, where it is as a sum or, settled, in two places. */
struct once {
  const struct lpu_sums *gate;
  int32_t block;
  struct lpu_tensor *settled[2]; /* NULL: in none */
};

static struct lpu_operand once_more(struct lpu_chain *chain, struct once g) {
  return g.settled[0] ? lpu_chain_input(chain, g.settled[0], 0, 1) : lpu_scaled(chain, g.gate, g.block);
}

static struct once second(struct once g) {
  g.settled[0] = g.settled[1];
  return g;
}

/* The same of a g that is read twice only: it waits in moves for the steps that take it. That needs steps of one
 * length. */
static struct lpu_operand gelu_once(struct lpu_chain *chain, struct once g) {
  struct lpu_operand x = once_more(chain, g);
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
  struct lpu_operand half = times(chain, once_more(chain, second(g)), lpu_chain_number(0.5f));
  return times(chain, half, inner);
}

/* The sums of one block as they are, for what reads them often. */
static td_status settle(struct lpu_compiler *compiler, const struct lpu_sums *sums, int32_t block, int32_t copies,
                        struct lpu_tensor **out) {
  struct lpu_chain chain;
  lpu_chain_begin(&chain, compiler->chip, compiler->rows);
  struct lpu_operand value = lpu_scaled(&chain, sums, block);
  for (int32_t i = 0; i < copies; i++) {
    if (!out[i]) TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, compiler->rows, i > 0 ? out[0] : NULL, &out[i]));
    bool moves = i > 0 || value.from == LPU_FROM_INPUT;
    if (moves) value = lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
    lpu_chain_result(&chain, value, out[i], 0, 1);
  }
  return lpu_run_rows(compiler, &chain);
}

/* Rows at a time, so that the second reading of the sums begins when the first one is done. */
#define GELU_ROWS 24
td_status lpu_activate(struct lpu_compiler *compiler, const struct lpu_sums *gate, const struct lpu_sums *up,
                       int32_t block, struct lpu_tensor *settled[2], struct lpu_tensor *out) {
  const struct td_op *op = &compiler->graph->ops[compiler->layer.activation];
  bool even = compiler->machine->alu_func[TD_ALU_MOVE] == compiler->machine->alu_func[TD_ALU_MUL];
  bool columns = gate->sums->columns != NULL;
  struct once once = {gate, block, {NULL, NULL}};
  struct lpu_operand result;
  struct lpu_chain chain;
  if (op->activation == TD_ACT_GELU && (columns || !even)) {
    TD_TRY(settle(compiler, gate, block, even ? 2 : 1, settled));
    memcpy(once.settled, settled, sizeof once.settled);
  }
  lpu_chain_begin(&chain, compiler->chip, compiler->rows);
  if (op->activation == TD_ACT_SILU) {
    result = silu(&chain, gate, block);
  } else if (even) {
    chain.chunk = columns ? 0 : GELU_ROWS;
    result = gelu_once(&chain, once);
  } else {
    result = gelu(&chain, once.settled[0], 0, 1);
  }
  if (up) result = times(&chain, result, lpu_scaled(&chain, up, block));
  lpu_chain_result(&chain, result, out, gate->matrix->first_block + block, gate->matrix->row_blocks);
  return lpu_run_rows(compiler, &chain);
}

/* Blocks that are on their way at a time, where sums are settled. */
#define SETTLED 4
td_status lpu_ffn_up(struct lpu_compiler *compiler, struct lpu_tensor *x, struct lpu_tensor *inner) {
  bool gated = compiler->layer.gate >= 0;
  struct lpu_sums gate, up;
  struct lpu_tensor *settled[SETTLED][2] = {{NULL, NULL}};
  struct lpu_activation normed;
  TD_TRY(lpu_normed(compiler, x, &compiler->norm[1], &normed));
  if (gated) TD_TRY(lpu_sum_up(compiler, &compiler->gate, &normed, NULL, &gate));
  TD_TRY(lpu_sum_up(compiler, &compiler->up, &normed, gated ? gate.sums : NULL, &up));
  for (int32_t block = 0; block < compiler->up.tiles.blocks; block++) {
    TD_TRY(lpu_activate(compiler, gated ? &gate : &up, gated ? &up : NULL, block, settled[block % SETTLED], inner));
  }
  return TD_OK;
}

td_status lpu_inner(struct lpu_compiler *compiler) {
  struct lpu_tensor *x = NULL;
  int32_t vectors = compiler->rows * compiler->ffn_vectors;
  TD_TRY(lpu_new_scratch(compiler, lpu_value_type(compiler), vectors, NULL, &compiler->inner));
  if (compiler->up.tiles.blocks == 0) return TD_OK;
  TD_TRY(lpu_view(compiler, compiler->x, &x));
  return lpu_ffn_up(compiler, x, compiler->inner);
}

/* What the FFN is added to, and where the sum goes. */
static td_status ends_of(struct lpu_compiler *compiler, struct lpu_tensor **out_old, struct lpu_tensor **out_new) {
  TD_TRY(lpu_view(compiler, compiler->x, out_old));
  return lpu_view(compiler, compiler->ffn_only ? compiler->y : compiler->x, out_new);
}

td_status lpu_begin_down(struct lpu_compiler *compiler) {
  struct lpu_tensor *old = NULL, *out = NULL;
  TD_TRY(ends_of(compiler, &old, &out));
  return lpu_begin_residual(compiler, &compiler->down, compiler->inner, 1, old, out);
}

td_status lpu_end_down(struct lpu_compiler *compiler) {
  struct lpu_tensor *old = NULL, *out = NULL;
  TD_TRY(ends_of(compiler, &old, &out));
  return lpu_end_residual(compiler, 1, old, out);
}

/* ---- alone: from x to y ---- */

static td_status rows_image(struct lpu_compiler *compiler, const char *name, enum td_lpu_image_kind kind,
                            int32_t *out_image) {
  TD_TRY(lpu_new_vectors(compiler, name, kind, TD_LPU_F32, compiler->rows * compiler->hidden_vectors, out_image));
  struct td_lpu_image *image = &compiler->builder->program->images[*out_image];
  image->rows = compiler->rows;
  image->cols = compiler->graph->shape.hidden;
  return TD_OK;
}

/* All chips of a stage have y; the last one's is read. */
td_status lpu_add_ffn_state(struct lpu_compiler *compiler) {
  char name[16] = "y";
  bool last = compiler->part == compiler->tensor - 1;
  if (compiler->stage > 0) TD_TRY(td_format(name, sizeof name, "y.%d", compiler->stage));
  TD_TRY(rows_image(compiler, "x", TD_IMAGE_INPUT, &compiler->x));
  TD_TRY(rows_image(compiler, name, last ? TD_IMAGE_OUTPUT : TD_IMAGE_SCRATCH, &compiler->y));
  return lpu_has_experts(compiler) ? lpu_add_expert_state(compiler) : TD_OK;
}
