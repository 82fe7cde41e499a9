/* SPDX-License-Identifier: Apache-2.0
 *
 * What a row sees of a KV block.
 */
#include <string.h>

#include "compile.h"
#include "tandem/base.h"

static const struct td_op *attention_op(const struct lpu_compiler *compiler) {
  return &compiler->attention;
}

/* What a lane's score is seen by: left <= right. */
struct sight {
  struct lpu_tensor *left, *right;
  uint16_t left_patch, right_patch;
};

/* Position - window < lane <= position: |(lane - position) + (window - 1) / 2| <= (window - 1) / 2, exact below 2^22.
 */
static td_status see_window(struct lpu_compiler *compiler, struct sight *sight) {
  float half = (float)(attention_op(compiler)->window - 1) / 2.0f;
  struct lpu_tensor *distance = NULL, *most = NULL;
  struct lpu_chain chain;
  TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, 1, NULL, &distance));
  TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, 1, distance, &most));
  lpu_chain_begin(&chain, compiler->chip, 1);
  struct lpu_operand lane = lpu_chain_input(&chain, sight->left, 0, 0);
  struct lpu_operand last = lpu_chain_input(&chain, sight->right, 0, 0);
  chain.inputs[lane.index].patch = sight->left_patch;
  chain.inputs[last.index].patch = sight->right_patch;
  struct lpu_operand step = lpu_chain_step(&chain, TD_ALU_SUB, lane, last, lpu_nothing);
  step = lpu_chain_step(&chain, TD_ALU_ADD, step, lpu_chain_number(half), lpu_nothing);
  step = lpu_chain_step(&chain, TD_ALU_ABS, step, lpu_nothing, lpu_nothing);
  lpu_chain_result(&chain, step, distance, 0, 1);
  TD_TRY(lpu_chain_run(compiler->builder, &chain));
  lpu_chain_begin(&chain, compiler->chip, 1);
  step = lpu_chain_step(&chain, TD_ALU_MOVE, lpu_chain_number(half), lpu_nothing, lpu_nothing);
  lpu_chain_result(&chain, step, most, 0, 1);
  *sight = (struct sight){distance, most, 0, 0};
  return lpu_chain_run(compiler->builder, &chain);
}

static td_status see(struct lpu_compiler *compiler, int32_t blocks, struct sight *out) {
  memset(out, 0, sizeof *out);
  TD_TRY(lpu_view(compiler, compiler->lane_number, &out->left));
  TD_TRY(lpu_view(compiler, compiler->position, &out->right));
  TD_TRY(lpu_patch(compiler, TD_VAR_BLOCK, 1, 0, blocks - 1, &out->left_patch));
  TD_TRY(lpu_patch(compiler, TD_VAR_ROW, 1, 0, compiler->rows - 1, &out->right_patch));
  return attention_op(compiler)->window > 0 ? see_window(compiler, out) : TD_OK;
}

td_status lpu_mask_scores(struct lpu_compiler *compiler, struct lpu_tensor *raw) {
  const struct td_op *op = attention_op(compiler);
  struct lpu_tensor *scores = NULL, *top = NULL;
  struct sight sight;
  int32_t blocks = compiler->builder->program->images[compiler->lane_number].rows;
  uint16_t block_heads = 0;
  struct lpu_chain chain;
  TD_TRY(see(compiler, blocks, &sight));
  TD_TRY(lpu_view(compiler, compiler->scores, &scores));
  TD_TRY(lpu_view(compiler, compiler->top, &top));
  TD_TRY(lpu_patch(compiler, TD_VAR_BLOCK, op->heads, 0, blocks - 1, &block_heads));
  lpu_chain_begin(&chain, compiler->chip, op->heads);
  struct lpu_operand score = lpu_chain_input(&chain, raw, 0, 1);
  struct lpu_operand scaled =
      lpu_chain_step(&chain, TD_ALU_MUL, score, lpu_chain_number((float)op->scale), lpu_nothing);
  struct lpu_operand left = lpu_chain_input(&chain, sight.left, 0, 0);
  struct lpu_operand right = lpu_chain_input(&chain, sight.right, 0, 0);
  struct lpu_operand masked = lpu_chain_select(&chain, left, right, scaled, LPU_LEAST);
  chain.inputs[left.index].patch = sight.left_patch;
  chain.inputs[right.index].patch = sight.right_patch;
  struct lpu_operand before = lpu_chain_input(&chain, top, 0, 1);
  struct lpu_operand most = lpu_chain_step(&chain, TD_ALU_MAX, masked, before, lpu_nothing);
  int32_t kept = lpu_chain_result(&chain, masked, scores, 0, 1);
  chain.results[kept].patch[0] = chain.results[kept].patch[1] = block_heads;
  chain.results[kept].patch[2] = chain.results[kept].patch[3] = block_heads;
  lpu_chain_result(&chain, most, top, 0, 1);
  return lpu_chain_run(compiler->builder, &chain);
}
