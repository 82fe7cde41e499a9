/* SPDX-License-Identifier: Apache-2.0
 *
 * All-reduce level by level: every unit's sum goes to all chips of its group, which add the units' sums up.
 */
#include <stdlib.h>

#include "collective.h"
#include "tandem/base.h"

/* Between two levels. */
struct stage {
  struct lpu_collective *own;
  struct lpu_tensor **now, **next; /* [chips] sums of units, of groups */
  int32_t *sent;                   /* [chips][vectors] of `now` */
  int32_t size;                    /* chips of a unit */
};

/* Of one group: `count` chips from `first` on. */
struct group {
  int32_t first, count, units;
  struct lpu_plan plan;
  struct lpu_trees trees;
  struct lpu_tensor **tensors; /* [units][count] */
  int32_t *sent;               /* [units * vectors][count] */
  struct lpu_cell *cells;      /* [units] */
};

static void close_group(struct group *group) {
  lpu_plan_close(&group->plan);
  lpu_trees_close(&group->trees);
  free(group->tensors);
  free(group->sent);
  free(group->cells);
}

static td_status plan_group(struct stage *stage, struct group *group) {
  int32_t *chips = NULL;
  TD_TRY(td_alloc((size_t)group->count, sizeof *chips, (void **)&chips));
  for (int32_t i = 0; i < group->count; i++) chips[i] = group->first + i;
  td_status status = lpu_plan_open(stage->own->builder, chips, group->count, &group->plan);
  free(chips);
  return status;
}

/* Its own unit's sum where it is, room for the others'. */
static td_status place_group(struct stage *stage, struct group *group) {
  for (int32_t unit = 0; unit < group->units; unit++) {
    for (int32_t i = 0; i < group->count; i++) {
      struct lpu_tensor **tensor = &group->tensors[unit * group->count + i];
      char name[32];
      *tensor = stage->now[group->first + i];
      if (i / stage->size == unit) continue;
      TD_TRY(td_format(name, sizeof name, "of.%d.%d", stage->size, unit));
      TD_TRY(
          lpu_collective_place(stage->own, group->first + i, name, TD_IMAGE_SCRATCH, stage->own->of.vectors, tensor));
    }
  }
  return TD_OK;
}

static td_status open_group(struct stage *stage, struct group *group) {
  size_t units = (size_t)group->units, count = (size_t)group->count, vectors = (size_t)stage->own->of.vectors;
  TD_TRY(plan_group(stage, group));
  TD_TRY(td_alloc(units * count, sizeof(struct lpu_tensor *), (void **)&group->tensors));
  TD_TRY(td_alloc(units * vectors * count, sizeof *group->sent, (void **)&group->sent));
  TD_TRY(td_alloc(units, sizeof *group->cells, (void **)&group->cells));
  TD_TRY(lpu_trees_open((int32_t)(units * vectors), group->count, &group->trees));
  return place_group(stage, group);
}

static td_status grow_trees(struct stage *stage, struct group *group) {
  int32_t vectors = stage->own->of.vectors;
  for (int32_t v = 0; v < vectors; v++) {
    for (int32_t unit = 0; unit < group->units; unit++) {
      int32_t first = unit * stage->size, end = first + stage->size, row = unit * vectors + v;
      if (end > group->count) end = group->count;
      TD_TRY(lpu_trees_grow(stage->own->builder, &group->plan, &group->trees, row, first, end));
      for (int32_t i = first; i < end; i++) {
        group->sent[(size_t)row * (size_t)group->count + (size_t)i] = stage->sent[(group->first + i) * vectors + v];
      }
    }
  }
  return TD_OK;
}

static td_status add_units(struct stage *stage, struct group *group) {
  int32_t vectors = stage->own->of.vectors;
  for (int32_t v = 0; v < vectors; v++) {
    for (int32_t i = 0; i < group->count; i++) {
      for (int32_t unit = 0; unit < group->units; unit++) {
        size_t row = (size_t)(unit * vectors + v) * (size_t)group->count;
        group->cells[unit] =
            (struct lpu_cell){group->tensors[unit * group->count + i], v, group->sent[row + (size_t)i]};
      }
      struct lpu_cell sum = {stage->next[group->first + i], v, 0};
      TD_TRY(lpu_collective_sum(stage->own, group->cells, group->units, &sum));
      stage->sent[(group->first + i) * vectors + v] = sum.sent;
    }
  }
  return TD_OK;
}

static td_status reduce_group(struct stage *stage, struct group *group) {
  struct lpu_following following = {0};
  struct lpu_turns turns = {0};
  td_status status = open_group(stage, group);
  if (!status) status = grow_trees(stage, group);
  if (!status) status = lpu_turns_open(stage->own->builder, group->count, &turns);
  following = (struct lpu_following){group->tensors, stage->own->of.vectors, group->sent};
  if (!status) status = lpu_trees_follow(stage->own->builder, &turns, &group->trees, &following);
  if (!status) status = add_units(stage, group);
  lpu_turns_close(&turns);
  close_group(group);
  return status;
}

/* Groups of `size` chips; a unit that is alone keeps its sum. */
static td_status reduce_groups(struct stage *stage, int32_t size, bool last) {
  struct lpu_collective *own = stage->own;
  for (int32_t first = 0; first < own->of.chips; first += size) {
    struct group group = {.first = first, .count = own->of.chips - first < size ? own->of.chips - first : size};
    group.units = (group.count + stage->size - 1) / stage->size;
    for (int32_t i = first; i < first + group.count; i++) {
      char name[32];
      stage->next[i] = last ? own->y[i] : stage->now[i];
      if (last || group.units == 1) continue;
      TD_TRY(td_format(name, sizeof name, "sum.%d", size));
      TD_TRY(lpu_collective_place(own, i, name, TD_IMAGE_SCRATCH, own->of.vectors, &stage->next[i]));
    }
    if (group.units > 1) TD_TRY(reduce_group(stage, &group));
  }
  return TD_OK;
}

static td_status reduce(struct stage *stage) {
  struct lpu_collective *own = stage->own;
  bool levels = own->of.way == TD_LPU_BY_LEVELS;
  for (int32_t l = 0; stage->size < own->of.chips; l++) {
    int32_t size = levels ? stage->size * own->machine->level[l].units : own->of.chips;
    TD_TRY(reduce_groups(stage, size, size >= own->of.chips));
    struct lpu_tensor **done = stage->now;
    stage->now = stage->next;
    stage->next = done;
    stage->size = size;
  }
  return TD_OK;
}

td_status lpu_reduce_levels(struct lpu_collective *own) {
  size_t chips = (size_t)own->of.chips, cells = chips * (size_t)own->of.vectors;
  struct stage stage = {.own = own, .size = 1};
  struct lpu_tensor **held[2] = {NULL, NULL};
  td_status status = td_alloc(chips, sizeof **held, (void **)&held[0]);
  if (!status) status = td_alloc(chips, sizeof **held, (void **)&held[1]);
  if (!status) status = td_alloc(cells, sizeof *stage.sent, (void **)&stage.sent);
  for (size_t i = 0; !status && i < chips; i++) held[0][i] = own->x[i];
  for (size_t i = 0; !status && i < cells; i++) stage.sent[i] = INT32_MIN;
  stage.now = held[0];
  stage.next = held[1];
  if (!status) status = reduce(&stage);
  free(stage.sent);
  free(held[0]);
  free(held[1]);
  return status;
}
