/* SPDX-License-Identifier: Apache-2.0
 *
 * td_lpu_compile_collective: places, sums, and the collectives that are one tree a vector.
 */
#include "collective.h"

#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"

const char *td_lpu_collective_op_name(enum td_lpu_collective_op op) {
  static const char *const names[] = {"all-reduce", "broadcast", "all-gather"};
  return (unsigned)op < TD_LPU_COLLECTIVE_OPS ? names[op] : "unknown";
}

const char *td_lpu_collective_way_name(enum td_lpu_collective_way way) {
  static const char *const names[] = {"direct", "scattered", "by levels"};
  return (unsigned)way < TD_LPU_COLLECTIVE_WAYS ? names[way] : "unknown";
}

int32_t td_lpu_collective_owner(const struct td_lpu_collective *what, int32_t vector) {
  return (int32_t)((int64_t)vector * what->chips / what->vectors);
}

bool td_lpu_collective_has(const struct td_lpu_machine *machine, const struct td_lpu_collective *what) {
  if (what->way == TD_LPU_DIRECT) return true;
  if (what->op == TD_LPU_ALL_GATHER) return false;
  if (what->way == TD_LPU_SCATTERED) return what->vectors > 1;
  return what->op == TD_LPU_ALL_REDUCE && machine->levels > 1 && machine->level[0].units < what->chips;
}

/* ---- places ---- */

static int32_t *used_of(const struct lpu_collective *own, int32_t chip, int32_t place) {
  return &own->used[chip * TD_LPU_HEMISPHERES * own->quads + place];
}

td_status lpu_collective_place(struct lpu_collective *own, int32_t chip, const char *name, enum td_lpu_image_kind kind,
                               int32_t words, struct lpu_tensor **out) {
  struct td_lpu_image image;
  int32_t best = 0, index = 0, width = td_lpu_type_bytes(own->of.type);
  memset(&image, 0, sizeof image);
  for (int32_t place = 1; place < TD_LPU_HEMISPHERES * own->quads; place++) {
    if (*used_of(own, chip, place) < *used_of(own, chip, best)) best = place;
  }
  if (words > own->machine->mem_words - *used_of(own, chip, best)) {
    return td_fail(TD_EXHAUSTED, "LPU %s: %s of %d vectors on %d chips: found no room for %d more words on chip %d",
                   own->machine->name, td_lpu_collective_op_name(own->of.op), own->of.vectors, own->of.chips, words,
                   chip);
  }
  TD_TRY(td_format(image.name, sizeof image.name, "%s.%d", name, chip));
  image.kind = kind;
  image.chip = chip;
  image.hemisphere = best % TD_LPU_HEMISPHERES;
  image.slice = best / TD_LPU_HEMISPHERES * width;
  image.slices = width;
  image.word = *used_of(own, chip, best);
  image.words = image.rows = words;
  image.type = (int32_t)own->of.type;
  image.cols = own->machine->lanes;
  *used_of(own, chip, best) += words;
  TD_TRY(lpu_add_image(own->builder, &image, &index));
  return lpu_tensor_of(own->builder, index, out);
}

static td_status place_all(struct lpu_collective *own, const char *name, enum td_lpu_image_kind kind,
                           struct lpu_tensor ***out) {
  TD_TRY(td_alloc((size_t)own->of.chips, sizeof **out, (void **)out));
  for (int32_t chip = 0; chip < own->of.chips; chip++) {
    TD_TRY(lpu_collective_place(own, chip, name, kind, own->of.vectors, &(*out)[chip]));
  }
  return TD_OK;
}

/* ---- sums ---- */

#define MOST_OPERANDS 8

static bool side_by_side(const struct lpu_tensor *a, const struct lpu_tensor *b) {
  return a->hemisphere != b->hemisphere || a->slice != b->slice;
}

/* Of at most MOST_OPERANDS. Two that lie in the same slices cannot be read in one cycle. */
static td_status sum_some(struct lpu_collective *own, const struct lpu_cell *cells, int32_t count,
                          const struct lpu_cell *out) {
  struct lpu_chain chain;
  lpu_chain_begin(&chain, out->tensor->chip, 1);
  struct lpu_operand sum = lpu_chain_input(&chain, cells[0].tensor, cells[0].at, 1);
  if (!side_by_side(cells[0].tensor, cells[1].tensor)) {
    sum = lpu_chain_step(&chain, TD_ALU_MOVE, sum, lpu_nothing, lpu_nothing);
  }
  for (int32_t i = 1; i < count; i++) {
    struct lpu_operand next = lpu_chain_input(&chain, cells[i].tensor, cells[i].at, 1);
    sum = lpu_chain_step(&chain, TD_ALU_ADD, sum, next, lpu_nothing);
  }
  lpu_chain_result(&chain, sum, out->tensor, out->at, 1);
  return lpu_chain_run(own->builder, &chain);
}

td_status lpu_collective_sum(struct lpu_collective *own, const struct lpu_cell *cells, int32_t count,
                             struct lpu_cell *out) {
  struct lpu_cell some[MOST_OPERANDS];
  int32_t done = 0, held = 0;
  out->sent = INT32_MIN;
  while (done < count) {
    for (; held < MOST_OPERANDS && done < count; done++) {
      if (cells[done].sent > out->sent) out->sent = cells[done].sent;
      some[held++] = cells[done];
    }
    TD_TRY(sum_some(own, some, held, out));
    some[0] = *out;
    held = 1;
  }
  return TD_OK;
}

/* ---- one tree a vector ---- */

static td_status spread(struct lpu_collective *own, struct lpu_trees *trees, int32_t *sent) {
  const struct lpu_following following = {own->y, own->of.vectors, sent};
  for (int32_t v = 0; v < own->of.vectors; v++) {
    int32_t owner = own->of.op == TD_LPU_BROADCAST ? 0 : td_lpu_collective_owner(&own->of, v);
    TD_TRY(lpu_trees_grow(own->builder, &own->plan, trees, v, owner, owner + 1));
    sent[v * own->of.chips + owner] = INT32_MIN;
  }
  return lpu_trees_follow(own->builder, &own->turns, trees, &following);
}

static td_status spread_direct(struct lpu_collective *own) {
  struct lpu_trees trees;
  int32_t *sent = NULL;
  td_status status = lpu_trees_open(own->of.vectors, own->of.chips, &trees);
  if (!status) status = td_alloc((size_t)own->of.vectors * (size_t)own->of.chips, sizeof *sent, (void **)&sent);
  if (!status) status = spread(own, &trees, sent);
  free(sent);
  lpu_trees_close(&trees);
  return status;
}

/* ---- the whole ---- */

static td_status run(struct lpu_collective *own) {
  if (own->of.op != TD_LPU_ALL_REDUCE) {
    return own->of.way == TD_LPU_SCATTERED ? lpu_broadcast_scattered(own) : spread_direct(own);
  }
  return own->of.way == TD_LPU_SCATTERED ? lpu_reduce_scattered(own) : lpu_reduce_levels(own);
}

static td_status build(struct lpu_collective *own) {
  struct lpu_builder *builder = own->builder;
  const struct td_lpu_link link = {.kind = TD_LINK_RUN};
  const struct td_lpu_entry entry = {.rows = 1, .layer = -1, .link_count = 1};
  int32_t segment = 0;
  TD_TRY(lpu_begin_segment(builder, td_lpu_collective_op_name(own->of.op)));
  bool made = own->of.op == TD_LPU_ALL_REDUCE; /* else some of y is there before */
  if (made) TD_TRY(place_all(own, "x", TD_IMAGE_INPUT, &own->x));
  TD_TRY(place_all(own, "y", made ? TD_IMAGE_OUTPUT : TD_IMAGE_INPUT, &own->y));
  TD_TRY(run(own));
  TD_TRY(lpu_end_segment(builder, 0, &segment));
  TD_TRY(lpu_add_link(builder, &link));
  return lpu_add_entry(builder, &entry);
}

static td_status check(const struct td_lpu_machine *machine, const struct td_lpu_collective *what) {
  int32_t most = machine->levels && machine->system_chips < LPU_MOST_CHIPS ? machine->system_chips : LPU_MOST_CHIPS;
  if ((unsigned)what->op >= TD_LPU_COLLECTIVE_OPS || (unsigned)what->way >= TD_LPU_COLLECTIVE_WAYS ||
      (what->type != TD_LPU_F32 && what->type != TD_LPU_F16 &&
       (what->type != TD_LPU_I8 || what->op == TD_LPU_ALL_REDUCE))) {
    return td_fail(TD_CONFIG,
                   "collective: found operation %d, way %d, type %d, expected known ones, f32 or f16, or i8 where "
                   "nothing is added",
                   (int)what->op, (int)what->way, (int)what->type);
  }
  if (what->chips < 2 || what->chips > most) {
    return td_fail(TD_CONFIG, "collective: found %d chips, expected 2..%d of %s", what->chips, most, machine->name);
  }
  if (what->vectors < 1 || what->vectors > machine->mem_words) {
    return td_fail(TD_CONFIG, "collective: found %d vectors, expected 1..%d", what->vectors, machine->mem_words);
  }
  if (td_lpu_collective_has(machine, what)) return TD_OK;
  return td_fail(TD_CONFIG, "collective: found %s %s of %d vectors on %d chips, expected another way",
                 td_lpu_collective_op_name(what->op), td_lpu_collective_way_name(what->way), what->vectors,
                 what->chips);
}

static td_status open_parts(struct lpu_collective *own) {
  int32_t *chips = NULL, count = own->of.chips;
  size_t places = (size_t)count * TD_LPU_HEMISPHERES * (size_t)own->quads;
  TD_TRY(lpu_builder_open(own->machine, count, &own->builder));
  TD_TRY(lpu_turns_open(own->builder, count, &own->turns));
  own->turns.hop = td_lpu_hop_cycles(own->machine);
  TD_TRY(td_alloc(places, sizeof *own->used, (void **)&own->used));
  TD_TRY(td_alloc((size_t)count, sizeof *chips, (void **)&chips));
  for (int32_t i = 0; i < count; i++) chips[i] = i;
  td_status status = lpu_plan_open(own->builder, chips, count, &own->plan);
  free(chips);
  return status;
}

td_status td_lpu_compile_collective(const struct td_lpu_machine *machine, const struct td_lpu_collective *what,
                                    struct td_lpu_program **out_program) {
  struct lpu_collective own = {.of = *what, .machine = machine};
  TD_TRY(check(machine, what));
  own.quads = machine->mem_slices / TD_LPU_HEMISPHERES / td_lpu_type_bytes(what->type);
  td_status status = open_parts(&own);
  if (!status) status = build(&own);
  if (!status) status = lpu_builder_finish(own.builder, out_program);
  lpu_plan_close(&own.plan);
  lpu_turns_close(&own.turns);
  lpu_builder_close(own.builder);
  free(own.used);
  free(own.x);
  free(own.y);
  return status;
}
