/* SPDX-License-Identifier: Apache-2.0
 *
 * The segments of a stage: the work of its chips side by side, with exchanges between the parts; and their links.
 */
#include <stdlib.h>

#include "compile.h"
#include "tandem/base.h"

/* Chips whose work is placed: one that measures stands alone. */
static int32_t count_of(const struct lpu_compiler *chips) {
  return chips->measuring ? 1 : chips->tensor;
}

static td_status each(struct lpu_compiler *chips, lpu_work *of) {
  for (int32_t part = 0; part < count_of(chips); part++) TD_TRY(of(&chips[part]));
  return TD_OK;
}

/* ---- what all chips need ---- */

/* What chips hold a part of: images, or what stands in the segment under that name. */
enum value { ATTENDED, SHARED, INNER, MADE };

static td_status tensor_of(struct lpu_compiler *compiler, enum value value, struct lpu_tensor **out) {
  *out = value == INNER ? compiler->inner : compiler->made;
  if (value == INNER || value == MADE) return TD_OK;
  return lpu_view(compiler, value == ATTENDED ? compiler->attended : compiler->shared, out);
}

static td_status gather(struct lpu_compiler *chips, enum value value, int32_t vectors, const int32_t *owner) {
  struct lpu_tensor *tensors[LPU_MOST_CHIPS];
  if (chips->builder->dry) return TD_OK;
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

td_status lpu_open_segment(struct lpu_compiler *compiler, const char *name) {
  lpu_reuse_scratches(compiler);
  return lpu_begin_segment(compiler->builder, name);
}

td_status lpu_close_segment(struct lpu_compiler *compiler, int32_t *out_segment) {
  return lpu_end_segment(compiler->builder, compiler->chip, out_segment);
}

static td_status open_segment(struct lpu_compiler *chips, const char *name) {
  for (int32_t part = 0; part < count_of(chips); part++) lpu_reuse_scratches(&chips[part]);
  return lpu_begin_segment(chips->builder, name);
}

static td_status segment(struct lpu_compiler *chips, const char *name, lpu_work *of, int32_t *out_segment) {
  TD_TRY(open_segment(chips, name));
  TD_TRY(each(chips, of));
  return lpu_close_segment(chips, out_segment);
}

td_status lpu_begin_stage_segment(struct lpu_compiler *chips, const char *name) {
  return open_segment(chips, name);
}

td_status lpu_on_stage(struct lpu_compiler *chips, lpu_work *of) {
  return each(chips, of);
}

td_status lpu_gather_inner(struct lpu_compiler *chips) {
  return gather_blocks(chips, INNER, chips->ffn_vectors);
}

td_status lpu_gather_made(struct lpu_compiler *chips) {
  return gather_blocks(chips, MADE, chips->hidden_vectors);
}

static td_status feed_forward(struct lpu_compiler *chips) {
  TD_TRY(each(chips, lpu_inner));
  TD_TRY(lpu_gather_inner(chips));
  TD_TRY(each(chips, lpu_begin_down));
  TD_TRY(lpu_gather_made(chips));
  return each(chips, lpu_end_down);
}

static td_status segment_output(struct lpu_compiler *chips, int32_t *out_segment) {
  TD_TRY(open_segment(chips, "output"));
  TD_TRY(gather_heads(chips));
  TD_TRY(each(chips, lpu_join_heads));
  TD_TRY(each(chips, lpu_begin_output));
  TD_TRY(gather_blocks(chips, MADE, chips->hidden_vectors));
  TD_TRY(each(chips, lpu_end_output));
  TD_TRY(feed_forward(chips));
  return lpu_close_segment(chips, out_segment);
}

static td_status segment_ffn(struct lpu_compiler *chips, int32_t *out_segment) {
  TD_TRY(open_segment(chips, "ffn"));
  TD_TRY(feed_forward(chips));
  return lpu_close_segment(chips, out_segment);
}

static void turn_to(struct lpu_compiler *chips, int32_t kind) {
  for (int32_t part = 0; part < count_of(chips); part++) lpu_turn_to(&chips[part], kind);
}

static void turn_to_all(struct lpu_compiler *chips) {
  for (int32_t part = 0; part < count_of(chips); part++) lpu_turn_to_all(&chips[part]);
}

/* A segment that layers of another kind have one of their own of. */
static td_status segment_of_kind(struct lpu_compiler *chips, const char *name, lpu_work *of, int32_t *out_segment) {
  char full[16];
  TD_TRY(td_format(full, sizeof full, chips->kind ? "%s.%d" : "%s", name, chips->kind));
  return segment(chips, full, of, out_segment);
}

/* ---- links ---- */

/* A segment whose first chip this is. */
td_status lpu_run_link(struct lpu_compiler *compiler, int32_t segment) {
  struct td_lpu_link link = {TD_LINK_RUN, segment, compiler->chip, 0, 0, 0};
  return lpu_add_link(compiler->builder, &link);
}

td_status lpu_loop_link(struct lpu_compiler *compiler, enum td_lpu_variable variable, int32_t first, int32_t count) {
  struct td_lpu_link link = {TD_LINK_LOOP, 0, 0, (int32_t)variable, first, count};
  return lpu_add_link(compiler->builder, &link);
}

td_status lpu_end_link(struct lpu_compiler *compiler) {
  struct td_lpu_link link = {TD_LINK_END, 0, 0, 0, 0, 0};
  return lpu_add_link(compiler->builder, &link);
}

static td_status loop_over_blocks(struct lpu_compiler *compiler, int32_t segment) {
  TD_TRY(lpu_loop_link(compiler, TD_VAR_BLOCK, 0, 0));
  TD_TRY(lpu_run_link(compiler, segment));
  return lpu_end_link(compiler);
}

static td_status add_segments(struct lpu_compiler *chips, struct lpu_body *out) {
  TD_TRY(segment(chips, "dense", lpu_dense, &out->dense));
  for (int32_t kind = 0; kind < chips->kind_count; kind++) {
    turn_to(chips, kind);
    TD_TRY(segment_of_kind(chips, "row", lpu_row, &out->row[kind]));
    TD_TRY(segment_of_kind(chips, "scores", lpu_scores, &out->scores[kind]));
  }
  turn_to_all(chips);
  TD_TRY(segment(chips, "soft", lpu_soft, &out->soft));
  TD_TRY(segment(chips, "values", lpu_values, &out->values));
  TD_TRY(segment(chips, "merge", lpu_merge, &out->merge));
  return segment_output(chips, &out->output);
}

/* Layers [first, first + count) of the stage, of one kind. */
static td_status link_layers(struct lpu_compiler *chips, const struct lpu_body *body, int32_t kind, int32_t first,
                             int32_t count) {
  TD_TRY(lpu_loop_link(chips, TD_VAR_LAYER, first, count));
  TD_TRY(lpu_run_link(chips, body->dense));
  TD_TRY(lpu_loop_link(chips, TD_VAR_ROW, 0, 0));
  TD_TRY(lpu_run_link(chips, body->row[kind]));
  TD_TRY(loop_over_blocks(chips, body->scores[kind]));
  TD_TRY(lpu_run_link(chips, body->soft));
  TD_TRY(loop_over_blocks(chips, body->values));
  TD_TRY(lpu_run_link(chips, body->merge));
  TD_TRY(lpu_end_link(chips));
  TD_TRY(lpu_run_link(chips, body->output));
  return lpu_end_link(chips);
}

static td_status add_layers(struct lpu_compiler *chips, const struct lpu_compiler *like) {
  if (like) chips->body = like->body;
  if (!like) TD_TRY(add_segments(chips, &chips->body));
  for (int32_t first = 0, count; first < chips->layers; first += count) {
    int32_t kind = lpu_kind_of(chips, first);
    for (count = 1; first + count < chips->layers && lpu_kind_of(chips, first + count) == kind;) count++;
    TD_TRY(link_layers(chips, &chips->body, kind, first, count));
  }
  return TD_OK;
}

/* An entry a layer. */
static td_status add_ffns(struct lpu_compiler *chips) {
  int32_t ffn = 0;
  TD_TRY(segment_ffn(chips, &ffn));
  for (int32_t layer = 0; layer < chips->layers; layer++) {
    struct td_lpu_entry entry = {.rows = chips->rows,
                                 .layer = chips->first_layer + layer,
                                 .link = chips->builder->program->link_count,
                                 .link_count = 3};
    TD_TRY(lpu_loop_link(chips, TD_VAR_LAYER, layer, 1));
    TD_TRY(lpu_run_link(chips, ffn));
    TD_TRY(lpu_end_link(chips));
    TD_TRY(lpu_add_entry(chips->builder, &entry));
  }
  return TD_OK;
}

/* The entry of what was linked since the one before. */
td_status lpu_entry_of_rest(struct lpu_compiler *chips, int32_t first_row) {
  const struct td_lpu_program *program = chips->builder->program;
  const struct td_lpu_entry *before = program->entry_count ? &program->entries[program->entry_count - 1] : NULL;
  struct td_lpu_entry entry = {.rows = chips->rows, .layer = -1, .first_row = first_row};
  entry.link = before ? before->link + before->link_count : 0;
  entry.link_count = program->link_count - entry.link;
  return lpu_add_entry(chips->builder, &entry);
}

static td_status segment_head(struct lpu_compiler *chips, const char *name, int32_t rows, int32_t first, int32_t last,
                              int32_t *out_segment) {
  for (int32_t part = 0; part < count_of(chips); part++) {
    chips[part].head_rows.rows = rows;
    chips[part].head_rows.first = first;
    chips[part].head_rows.last = last;
  }
  return segment(chips, name, lpu_head, out_segment);
}

static td_status run_head(struct lpu_compiler *chips, int32_t segment, int32_t row) {
  TD_TRY(lpu_loop_link(chips, TD_VAR_ROW, row, 1));
  TD_TRY(lpu_run_link(chips, segment));
  TD_TRY(lpu_end_link(chips));
  return lpu_entry_of_rest(chips, row);
}

/* All rows, or an entry for each group of them. */
static td_status add_head(struct lpu_compiler *chips) {
  int32_t rows = chips->rows, some = rows < chips->layout.head_rows ? rows : chips->layout.head_rows;
  int32_t whole = rows / some * some, head = 0, rest = 0;
  TD_TRY(segment_head(chips, "head", some, 0, whole - some, &head));
  if (some == rows) {
    TD_TRY(lpu_run_link(chips, head));
    return lpu_entry_of_rest(chips, 0);
  }
  if (whole < rows) TD_TRY(segment_head(chips, "head.rest", rows - whole, whole, whole, &rest));
  for (int32_t row = 0; row < rows; row += some) TD_TRY(run_head(chips, row < whole ? head : rest, row));
  return TD_OK;
}

/* Few rows lie where many do: those words are what a spread layout keeps from weights. With one quad of activations in
 * a hemisphere turns go on: which one begins decides whether three tensors can be apart. */
static void begin_turns(struct lpu_compiler *chips) {
  if (!chips->layout.spread || chips->place.quads < 3) return;
  for (int32_t part = 0; part < count_of(chips); part++) chips[part].place.turn = chips[part].place.first_turn;
}

td_status lpu_add_stage(struct lpu_compiler *chips, const struct lpu_compiler *like) {
  begin_turns(chips);
  if (lpu_has_experts(chips)) return lpu_add_experts(chips);
  if (chips->ffn_only) return add_ffns(chips);
  if (chips->encoder) return lpu_chip_encoder(chips);
  TD_TRY(add_layers(chips, like));
  return chips->stage == chips->stages - 1 ? add_head(chips) : TD_OK;
}

/* Around a ring, the last chip alone gives it on. */
static struct lpu_compiler *first_giver(struct lpu_compiler *before) {
  return &before[before->machine->levels ? 0 : before->tensor - 1];
}

td_status lpu_run_forward(struct lpu_compiler *before, int32_t segment) {
  return lpu_run_link(first_giver(before), segment);
}

td_status lpu_add_forward(struct lpu_compiler *before, struct lpu_compiler *chips) {
  struct lpu_tensor *tensors[2 * LPU_MOST_CHIPS];
  int32_t tensor = chips->tensor;
  TD_TRY(open_segment(chips, "forward"));
  for (int32_t part = 0; part < tensor; part++) {
    TD_TRY(lpu_view_here(&before[part], before[part].x, &tensors[part]));
    TD_TRY(lpu_view_here(&chips[part], chips[part].x, &tensors[tensor + part]));
  }
  if (!chips->builder->dry) TD_TRY(lpu_exchange_forward(chips->builder, tensors, tensor, 2 * tensor));
  TD_TRY(lpu_end_segment(chips->builder, first_giver(before)->chip, &chips->forward));
  return lpu_run_forward(before, chips->forward);
}
