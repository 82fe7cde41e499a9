/* SPDX-License-Identifier: Apache-2.0
 *
 * A layer with experts, as entries between which the host routes: tokens normed and the router's logits (`route`);
 * routed tokens side by side, those of one expert after another (`take`); an expert on some of them, its weights'
 * addresses moved by its number (`expert`); what it made, times a gate, into its token (`give`).
 */
#include <stdlib.h>
#include <string.h>

#include "compile.h"
#include "tandem/base.h"

/* Vectors from one image to another, as they are; either's address may move. */
struct move {
  struct lpu_tensor *from, *to;
  int32_t from_offset, to_offset, count;
  uint16_t from_patch, to_patch;
};

static void patch_result(struct lpu_chain *chain, int32_t result, uint16_t patch) {
  for (int i = 0; i < 4; i++) chain->results[result].patch[i] = patch;
}

static td_status move_in_steps(struct lpu_compiler *compiler, const struct move *move, int steps) {
  struct lpu_chain chain;
  lpu_chain_begin(&chain, compiler->chip, move->count);
  struct lpu_operand value = lpu_chain_input(&chain, move->from, move->from_offset, 1);
  chain.inputs[value.index].patch = move->from_patch;
  while (steps-- > 0) value = lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
  patch_result(&chain, lpu_chain_result(&chain, value, move->to, move->to_offset, 1), move->to_patch);
  return lpu_chain_run(compiler->builder, &chain);
}

/* From a slice into itself, delays may be so that a vector's read and write are told in one cycle: then it goes through
 * one more ALU. */
static td_status move_vectors(struct lpu_compiler *compiler, const struct move *move) {
  td_status status = move_in_steps(compiler, move, 1);
  return status == TD_INTERNAL ? move_in_steps(compiler, move, 2) : status;
}

static int32_t passes_of(const struct lpu_compiler *compiler) {
  return compiler->options->activations == TD_LPU_ACTIVATIONS_I8X2 ? 2 : 1;
}

/* ---- route ---- */

/* The residual, to which experts are added: on the first of the programs that share them; on the others nothing. */
static td_status begin_sum(struct lpu_compiler *compiler, struct lpu_tensor *x) {
  struct lpu_tensor *y = NULL;
  struct lpu_chain chain;
  TD_TRY(lpu_view(compiler, compiler->y, &y));
  if (compiler->options->expert_part == 0) {
    const struct move all = {.from = x, .to = y, .count = x->count};
    return move_vectors(compiler, &all);
  }
  lpu_chain_begin(&chain, compiler->chip, y->count);
  struct lpu_operand zero = lpu_chain_step(&chain, TD_ALU_MOVE, lpu_chain_number(0.0f), lpu_nothing, lpu_nothing);
  lpu_chain_result(&chain, zero, y, 0, 1);
  return lpu_chain_run(compiler->builder, &chain);
}

/* Where `take` finds it: low parts lie behind the high ones of all rows that there may be. */
static td_status keep_normed(struct lpu_compiler *compiler, const struct lpu_activation *normed) {
  const struct lpu_moe *moe = &compiler->moe;
  int32_t vectors = compiler->hidden_vectors, all = compiler->options->rows * vectors;
  struct move move = {.from = normed->x, .count = compiler->rows * vectors};
  TD_TRY(lpu_tensor_of(compiler->builder, moe->x, &move.to));
  for (int32_t pass = 0; pass < normed->passes; pass++) {
    move.from_offset = pass * move.count;
    move.to_offset = pass * all;
    TD_TRY(move_vectors(compiler, &move));
  }
  if (moe->scale < 0) return TD_OK;
  struct move scales = {.from = normed->scale[0], .count = compiler->rows};
  TD_TRY(lpu_tensor_of(compiler->builder, moe->scale, &scales.to));
  return move_vectors(compiler, &scales);
}

static td_status route(struct lpu_compiler *compiler) {
  const struct lpu_moe *moe = &compiler->moe;
  struct lpu_tensor *x = NULL, *routes = NULL;
  struct lpu_activation normed;
  TD_TRY(lpu_view(compiler, compiler->x, &x));
  TD_TRY(begin_sum(compiler, x));
  TD_TRY(lpu_normed(compiler, x, &compiler->norm[1], &normed));
  TD_TRY(keep_normed(compiler, &normed));
  if (moe->router.tiles.blocks == 0) return TD_OK;
  TD_TRY(lpu_tensor_of(compiler->builder, moe->routes, &routes));
  return lpu_project(compiler, &moe->router, &normed, NULL, routes);
}

/* ---- what all tokens share: the same, and its result before theirs ---- */

/* Its matrices stand where the experts' do, while its segment is made. */
static void turn_to_shared(struct lpu_compiler *compiler) {
  compiler->gate = compiler->moe.shared_gate;
  compiler->up = compiler->moe.shared_up;
  compiler->down = compiler->moe.shared_down;
  compiler->layer.gate = compiler->layer.shared_gate;
  compiler->layer.up = compiler->layer.shared_up;
  compiler->layer.activation = compiler->layer.shared_activation;
  compiler->ffn_vectors = compiler->up.row_blocks;
}

static td_status shared_inner(struct lpu_compiler *compiler) {
  struct lpu_tensor *x = NULL;
  turn_to_shared(compiler);
  TD_TRY(lpu_new_scratch(compiler, lpu_value_type(compiler), compiler->rows * compiler->ffn_vectors, NULL,
                         &compiler->inner));
  if (compiler->up.tiles.blocks == 0) return TD_OK;
  TD_TRY(lpu_view(compiler, compiler->x, &x));
  return lpu_ffn_up(compiler, x, compiler->inner);
}

static td_status shared_down(struct lpu_compiler *compiler) {
  struct lpu_tensor *y = NULL;
  struct lpu_activation narrow;
  TD_TRY(lpu_view(compiler, compiler->y, &y));
  compiler->made = y;
  if (compiler->down.tiles.blocks == 0) return TD_OK;
  TD_TRY(lpu_narrow(compiler, compiler->inner, &narrow));
  return lpu_project(compiler, &compiler->down, &narrow, y, y);
}

/* ---- take ---- */

static td_status take(struct lpu_compiler *compiler) {
  const struct lpu_moe *moe = &compiler->moe;
  int32_t vectors = compiler->hidden_vectors, last = compiler->options->rows - 1;
  struct move move = {.count = vectors}, scale = {.count = 1};
  TD_TRY(lpu_tensor_of(compiler->builder, moe->x, &move.from));
  TD_TRY(lpu_tensor_of(compiler->builder, moe->routed_x, &move.to));
  TD_TRY(lpu_patch(compiler, TD_VAR_POSITION, vectors, 0, last, &move.from_patch));
  TD_TRY(lpu_patch(compiler, TD_VAR_CHOSEN, vectors, 0, moe->routed - 1, &move.to_patch));
  for (int32_t pass = 0; pass < passes_of(compiler); pass++) {
    move.from_offset = pass * compiler->options->rows * vectors;
    move.to_offset = pass * moe->routed * vectors;
    TD_TRY(move_vectors(compiler, &move));
  }
  if (moe->scale < 0) return TD_OK;
  TD_TRY(lpu_tensor_of(compiler->builder, moe->scale, &scale.from));
  TD_TRY(lpu_tensor_of(compiler->builder, moe->routed_scale, &scale.to));
  TD_TRY(lpu_patch(compiler, TD_VAR_POSITION, 1, 0, last, &scale.from_patch));
  TD_TRY(lpu_patch(compiler, TD_VAR_CHOSEN, 1, 0, moe->routed - 1, &scale.to_patch));
  return move_vectors(compiler, &scale);
}

/* ---- expert: compiler->rows routed tokens ---- */

static td_status position_patch(struct lpu_compiler *compiler, int32_t words, uint16_t *out_number) {
  return lpu_patch(compiler, TD_VAR_POSITION, words, 0, compiler->moe.routed - compiler->rows, out_number);
}

static td_status group_input(struct lpu_compiler *compiler, struct lpu_activation *out) {
  const struct lpu_moe *moe = &compiler->moe;
  int32_t vectors = compiler->hidden_vectors;
  struct move move = {.count = compiler->rows * vectors}, scale = {.count = compiler->rows};
  *out = (struct lpu_activation){.passes = passes_of(compiler)};
  TD_TRY(lpu_tensor_of(compiler->builder, moe->routed_x, &move.from));
  TD_TRY(lpu_new_scratch(compiler, move.from->type, move.count * out->passes, move.from, &out->x));
  TD_TRY(position_patch(compiler, vectors, &move.from_patch));
  move.to = out->x;
  for (int32_t pass = 0; pass < out->passes; pass++) {
    move.from_offset = pass * moe->routed * vectors;
    move.to_offset = pass * move.count;
    TD_TRY(move_vectors(compiler, &move));
  }
  if (moe->scale < 0) return TD_OK;
  TD_TRY(lpu_tensor_of(compiler->builder, moe->routed_scale, &scale.from));
  bool with = out->x->type == TD_LPU_F8 && lpu_scales_lie_with_rows(compiler);
  TD_TRY(with ? lpu_new_scratch_with(compiler, TD_LPU_F32, scale.count, out->x, &out->scale[0])
              : lpu_new_scratch(compiler, TD_LPU_F32, scale.count, scale.from, &out->scale[0]));
  TD_TRY(position_patch(compiler, 1, &scale.from_patch));
  scale.to = out->scale[0];
  return move_vectors(compiler, &scale);
}

static td_status expert_inner(struct lpu_compiler *compiler) {
  struct lpu_activation x;
  struct lpu_sums gate, up;
  struct lpu_tensor *settled[2] = {NULL, NULL};
  TD_TRY(lpu_new_scratch(compiler, lpu_value_type(compiler), compiler->rows * compiler->ffn_vectors, NULL,
                         &compiler->inner));
  if (compiler->up.tiles.blocks == 0) return TD_OK;
  TD_TRY(group_input(compiler, &x));
  TD_TRY(lpu_sum_up(compiler, &compiler->gate, &x, NULL, &gate));
  TD_TRY(lpu_sum_up(compiler, &compiler->up, &x, gate.sums, &up));
  for (int32_t block = 0; block < compiler->up.tiles.blocks; block++) {
    TD_TRY(lpu_activate(compiler, &gate, &up, block, settled, compiler->inner));
  }
  return TD_OK;
}

static td_status expert_down(struct lpu_compiler *compiler) {
  struct lpu_activation narrow;
  TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, compiler->rows * compiler->hidden_vectors, NULL, &compiler->made));
  if (compiler->down.tiles.blocks == 0) return TD_OK;
  TD_TRY(lpu_narrow(compiler, compiler->inner, &narrow));
  return lpu_project(compiler, &compiler->down, &narrow, NULL, compiler->made);
}

static td_status keep_made(struct lpu_compiler *compiler) {
  struct move move = {.from = compiler->made, .count = compiler->made->count};
  TD_TRY(lpu_tensor_of(compiler->builder, compiler->moe.made, &move.to));
  TD_TRY(position_patch(compiler, compiler->hidden_vectors, &move.to_patch));
  return move_vectors(compiler, &move);
}

/* ---- give ---- */

static td_status give(struct lpu_compiler *compiler) {
  const struct lpu_moe *moe = &compiler->moe;
  int32_t vectors = compiler->hidden_vectors, last = compiler->options->rows - 1;
  struct lpu_tensor *y = NULL, *made = NULL, *gates = NULL;
  uint16_t token = 0, routed = 0, gate = 0;
  struct lpu_chain chain;
  TD_TRY(lpu_tensor_of(compiler->builder, compiler->y, &y));
  TD_TRY(lpu_tensor_of(compiler->builder, moe->made, &made));
  TD_TRY(lpu_tensor_of(compiler->builder, moe->gates, &gates));
  TD_TRY(lpu_patch(compiler, TD_VAR_POSITION, vectors, 0, last, &token));
  TD_TRY(lpu_patch(compiler, TD_VAR_CHOSEN, vectors, 0, moe->routed - 1, &routed));
  TD_TRY(lpu_patch(compiler, TD_VAR_CHOSEN, 1, 0, moe->routed - 1, &gate));
  lpu_chain_begin(&chain, compiler->chip, vectors);
  struct lpu_operand value = lpu_chain_input(&chain, made, 0, 1), by = lpu_chain_input(&chain, gates, 0, 0);
  chain.inputs[value.index].patch = routed;
  chain.inputs[by.index].patch = gate;
  value = lpu_chain_step(&chain, TD_ALU_MUL, value, by, lpu_nothing);
  struct lpu_operand old = lpu_chain_input(&chain, y, 0, 1);
  chain.inputs[old.index].patch = token;
  value = lpu_chain_step(&chain, TD_ALU_ADD, old, value, lpu_nothing);
  patch_result(&chain, lpu_chain_result(&chain, value, y, 0, 1), token);
  return lpu_chain_run(compiler->builder, &chain);
}

/* ---- segments and entries ---- */

/* A layer's entry of one segment, once or for each row of the step. */
static td_status add_entry(struct lpu_compiler *chips, int32_t segment, int32_t layer, struct td_lpu_entry entry) {
  const struct td_lpu_program *program = chips->builder->program;
  bool many = entry.work != TD_LPU_WORK_ROUTE;
  entry.layer = chips->first_layer + layer;
  entry.link = program->link_count;
  TD_TRY(lpu_loop_link(chips, TD_VAR_LAYER, layer, 1));
  if (many) TD_TRY(lpu_loop_link(chips, TD_VAR_ROW, 0, 0));
  TD_TRY(lpu_run_link(chips, segment));
  if (many) TD_TRY(lpu_end_link(chips));
  TD_TRY(lpu_end_link(chips));
  entry.link_count = program->link_count - entry.link;
  return lpu_add_entry(chips->builder, &entry);
}

static td_status add_entries(struct lpu_compiler *chips, int32_t segment, struct td_lpu_entry entry) {
  for (int32_t layer = 0; layer < chips->layers; layer++) TD_TRY(add_entry(chips, segment, layer, entry));
  return TD_OK;
}

/* One that measures stands alone. */
static int32_t count_of(const struct lpu_compiler *chips) {
  return chips->measuring ? 1 : chips->tensor;
}

/* What all tokens share goes on copies of the compilers: its matrices are theirs alone. */
static td_status add_shared(struct lpu_compiler *chips) {
  struct lpu_compiler *own = NULL;
  size_t count = (size_t)count_of(chips);
  if (chips->layer.shared_up < 0 || chips->options->expert_part > 0) return TD_OK;
  TD_TRY(td_alloc(count, sizeof *own, (void **)&own));
  memcpy(own, chips, count * sizeof *own);
  td_status status = lpu_on_stage(own, shared_inner);
  if (!status) status = lpu_gather_inner(own);
  if (!status) status = lpu_on_stage(own, shared_down);
  if (!status) status = lpu_gather_made(own);
  for (size_t i = 0; i < count; i++) chips[i].place = own[i].place;
  free(own);
  return status;
}

static td_status add_route(struct lpu_compiler *chips) {
  int32_t segment = 0;
  TD_TRY(lpu_begin_stage_segment(chips, "route"));
  TD_TRY(lpu_on_stage(chips, route));
  TD_TRY(add_shared(chips));
  TD_TRY(lpu_close_segment(chips, &segment));
  return add_entries(chips, segment, (struct td_lpu_entry){.rows = chips->rows, .work = TD_LPU_WORK_ROUTE});
}

static td_status add_moves(struct lpu_compiler *chips, const char *name, lpu_work *of, enum td_lpu_work work) {
  int32_t segment = 0;
  TD_TRY(lpu_begin_stage_segment(chips, name));
  TD_TRY(lpu_on_stage(chips, of));
  TD_TRY(lpu_close_segment(chips, &segment));
  return add_entries(chips, segment, (struct td_lpu_entry){.rows = chips->moe.routed, .work = (int32_t)work});
}

static td_status segment_expert(struct lpu_compiler *chips, int32_t rows) {
  char name[24];
  int32_t segment = 0;
  TD_TRY(td_format(name, sizeof name, "expert.%d", rows));
  TD_TRY(lpu_begin_stage_segment(chips, name));
  TD_TRY(lpu_on_stage(chips, expert_inner));
  TD_TRY(lpu_gather_inner(chips));
  TD_TRY(lpu_on_stage(chips, expert_down));
  TD_TRY(lpu_gather_made(chips));
  TD_TRY(lpu_on_stage(chips, keep_made));
  TD_TRY(lpu_close_segment(chips, &segment));
  struct td_lpu_entry entry = {.rows = chips->moe.routed, .work = TD_LPU_WORK_EXPERT, .run_rows = rows};
  return add_entries(chips, segment, entry);
}

static td_status add_runs(struct lpu_compiler *chips, int32_t rows) {
  int32_t all = chips->rows;
  for (int32_t i = 0; i < count_of(chips); i++) chips[i].rows = rows;
  td_status status = segment_expert(chips, rows);
  for (int32_t i = 0; i < count_of(chips); i++) chips[i].rows = all;
  return status;
}

/* Runs of fewer tokens are shorter: the next has a quarter. */
#define FEWER 4
td_status lpu_add_experts(struct lpu_compiler *chips) {
  TD_TRY(add_route(chips));
  if (chips->rows < chips->options->rows) return TD_OK;
  TD_TRY(add_moves(chips, "take", take, TD_LPU_WORK_TAKE));
  int32_t rows = chips->moe.group_rows;
  TD_TRY(add_runs(chips, rows));
  while (rows > 1) {
    rows = rows > FEWER ? rows / FEWER : 1;
    TD_TRY(add_runs(chips, rows));
  }
  return add_moves(chips, "give", give, TD_LPU_WORK_GIVE);
}
