/* SPDX-License-Identifier: Apache-2.0
 *
 * The segments of a stage: the work of its chips side by side, with exchanges between the parts; and their links.
 */
#include <stdlib.h>

#include "compile.h"
#include "tandem/base.h"

typedef td_status work(struct lpu_compiler *compiler);

static td_status each(struct lpu_compiler *chips, work *of) {
  for (int32_t part = 0; part < chips->tensor; part++) TD_TRY(of(&chips[part]));
  return TD_OK;
}

/* ---- what all chips need ---- */

/* What chip `part` of the stage holds: an image's vectors, or the inner value. */
enum value { X, ATTENDED, SHARED, INNER };

static td_status tensor_of(struct lpu_compiler *compiler, enum value value, struct lpu_tensor **out) {
  *out = compiler->inner;
  if (value == INNER) return TD_OK;
  const int32_t images[] = {[X] = compiler->x, [ATTENDED] = compiler->attended, [SHARED] = compiler->shared};
  return lpu_view(compiler, images[value], out);
}

static td_status gather(struct lpu_compiler *chips, enum value value, int32_t vectors, const int32_t *owner) {
  struct lpu_tensor *tensors[LPU_MOST_CHIPS];
  for (int32_t part = 0; part < chips->tensor; part++) TD_TRY(tensor_of(&chips[part], value, &tensors[part]));
  const struct lpu_gather all = {tensors, chips->tensor, vectors, owner};
  return lpu_exchange_gather(chips->builder, &all);
}

/* Blocks of a matrix's results. */
static td_status gather_blocks(struct lpu_compiler *chips, enum value value, int32_t vectors) {
  int32_t *owner = NULL;
  if (chips->tensor == 1) return TD_OK;
  TD_TRY(td_alloc((size_t)vectors, sizeof *owner, (void **)&owner));
  for (int32_t part = 0; part < chips->tensor; part++) {
    int32_t end = lpu_first_block(chips, vectors, part + 1);
    for (int32_t v = lpu_first_block(chips, vectors, part); v < end; v++) owner[v] = part;
  }
  td_status status = gather(chips, value, vectors, owner);
  free(owner);
  return status;
}

/* Attended vectors from the first chip that has heads in them, and what later ones have of the same vector. */
static td_status gather_heads(struct lpu_compiler *chips) {
  int32_t *owner = NULL, shared[LPU_MOST_CHIPS];
  if (chips->tensor == 1) return TD_OK;
  TD_TRY(td_alloc((size_t)chips->q_vectors, sizeof *owner, (void **)&owner));
  for (int32_t part = 0; part < chips->tensor; part++) {
    int32_t first = 0, end = 0;
    bool both = lpu_head_vectors(chips, part, &first, &end);
    shared[part] = both ? part : -1;
    for (int32_t v = both ? first + 1 : first; v < end; v++) owner[v] = part;
  }
  td_status status = gather(chips, ATTENDED, chips->q_vectors, owner);
  free(owner);
  TD_TRY(status);
  return gather(chips, SHARED, chips->tensor, shared);
}

/* ---- segments ---- */

static td_status segment(struct lpu_compiler *chips, const char *name, work *of, int32_t *out_segment) {
  TD_TRY(lpu_begin_segment(chips->builder, name));
  TD_TRY(each(chips, of));
  return lpu_end_segment(chips->builder, out_segment);
}

static td_status segment_output(struct lpu_compiler *chips, int32_t *out_segment) {
  TD_TRY(lpu_begin_segment(chips->builder, "output"));
  TD_TRY(gather_heads(chips));
  TD_TRY(each(chips, lpu_join_heads));
  TD_TRY(each(chips, lpu_output));
  TD_TRY(gather_blocks(chips, X, chips->hidden_vectors));
  TD_TRY(each(chips, lpu_inner));
  TD_TRY(gather_blocks(chips, INNER, chips->ffn_vectors));
  TD_TRY(each(chips, lpu_down));
  TD_TRY(gather_blocks(chips, X, chips->hidden_vectors));
  return lpu_end_segment(chips->builder, out_segment);
}

/* ---- links ---- */

static td_status run(struct lpu_compiler *compiler, int32_t segment) {
  struct td_lpu_link link = {TD_LINK_RUN, segment, 0, 0, 0, 0};
  return lpu_add_link(compiler->builder, &link);
}

static td_status loop(struct lpu_compiler *compiler, enum td_lpu_variable variable, int32_t count) {
  struct td_lpu_link link = {TD_LINK_LOOP, 0, 0, (int32_t)variable, 0, count};
  return lpu_add_link(compiler->builder, &link);
}

static td_status end(struct lpu_compiler *compiler) {
  struct td_lpu_link link = {TD_LINK_END, 0, 0, 0, 0, 0};
  return lpu_add_link(compiler->builder, &link);
}

static td_status loop_over_blocks(struct lpu_compiler *compiler, int32_t segment) {
  TD_TRY(loop(compiler, TD_VAR_BLOCK, 0));
  TD_TRY(run(compiler, segment));
  return end(compiler);
}

td_status lpu_add_layers(struct lpu_compiler *chips) {
  int32_t dense, row, scores, soft, values, merge, output;
  TD_TRY(segment(chips, "dense", lpu_dense, &dense));
  TD_TRY(segment(chips, "row", lpu_row, &row));
  TD_TRY(segment(chips, "scores", lpu_scores, &scores));
  TD_TRY(segment(chips, "soft", lpu_soft, &soft));
  TD_TRY(segment(chips, "values", lpu_values, &values));
  TD_TRY(segment(chips, "merge", lpu_merge, &merge));
  TD_TRY(segment_output(chips, &output));
  TD_TRY(loop(chips, TD_VAR_LAYER, chips->layers));
  TD_TRY(run(chips, dense));
  TD_TRY(loop(chips, TD_VAR_ROW, 0));
  TD_TRY(run(chips, row));
  TD_TRY(loop_over_blocks(chips, scores));
  TD_TRY(run(chips, soft));
  TD_TRY(loop_over_blocks(chips, values));
  TD_TRY(run(chips, merge));
  TD_TRY(end(chips));
  TD_TRY(run(chips, output));
  return end(chips);
}

td_status lpu_add_head(struct lpu_compiler *chips) {
  int32_t head;
  TD_TRY(segment(chips, "head", lpu_head, &head));
  return run(chips, head);
}

td_status lpu_add_forward(struct lpu_compiler *before, struct lpu_compiler *chips) {
  struct lpu_tensor *tensors[LPU_MOST_CHIPS + 1];
  int32_t forward = 0, tensor = chips->tensor;
  TD_TRY(lpu_begin_segment(chips->builder, "forward"));
  TD_TRY(lpu_view(before, before[tensor - 1].x, &tensors[0]));
  for (int32_t part = 0; part < tensor; part++) TD_TRY(lpu_view(chips, chips[part].x, &tensors[part + 1]));
  TD_TRY(lpu_exchange_pass(chips->builder, tensors, tensor + 1));
  TD_TRY(lpu_end_segment(chips->builder, &forward));
  return run(chips, forward);
}
