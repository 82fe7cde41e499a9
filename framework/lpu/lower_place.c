/* SPDX-License-Identifier: Apache-2.0
 *
 * After a segment was replayed: results that nobody reads are dropped, work vectors get room (first fit among what is
 * free, per chip, since chips may run beside each other), operations are sorted into runs by phase and chip.
 */
#include <stdlib.h>
#include <string.h>

#include "lower.h"
#include "tandem/base.h"

/* Every work vector that an operation names: `write`: it is a result. */
typedef td_status (*visit)(struct lowering *lower, int32_t op, int32_t *vector, bool write);

static td_status visit_place(struct lowering *lower, int32_t op, struct td_lpu_code_place *place, bool write,
                             visit each) {
  return place->patch == TD_CODE_WORK && place->vector >= 0 ? each(lower, op, &place->vector, write) : TD_OK;
}

static int32_t inputs_of(const struct td_lpu_code_op *op) {
  switch (op->kind) {
    case TD_CODE_ALU:
      return (op->types >> 8 & 15) ? 3 : (op->types >> 4 & 15) ? 2 : 1;
    case TD_CODE_SELECT:
    case TD_CODE_SUM:
      return 2;
    case TD_CODE_PASS:
      return op->detail >= TD_TILE_BYTES ? 2 : 1;
    case TD_CODE_EXPAND:
      return 0;
    default:
      return 1;
  }
}

static bool immediate(const struct td_lpu_code_op *op, int which) {
  return op->kind == TD_CODE_ALU && (op->types >> (4 * which) & 15) == TD_OPERAND_IMMEDIATE;
}

/* Steps of tiles are shared by operations, so that only reading may visit them here. */
static td_status visit_steps(struct lowering *lower, int32_t number, visit each) {
  const struct td_lpu_code_op *op = &lower->all.ops[number];
  bool has = op->kind == TD_CODE_EXPAND || (op->kind == TD_CODE_PASS && op->detail < TD_TILE_BYTES);
  for (int32_t s = op->first; has && s < op->first + op->count; s++) {
    int32_t vector = lower->steps[s].vector;
    if (lower->steps[s].patch == TD_CODE_WORK) TD_TRY(each(lower, number, &vector, false));
  }
  return TD_OK;
}

static td_status visit_op(struct lowering *lower, int32_t number, visit each) {
  struct td_lpu_code_op *op = &lower->all.ops[number];
  struct td_lpu_code_place *in[3] = {&op->a, &op->b, &op->c};
  for (int i = 0; i < inputs_of(op); i++) {
    if (!immediate(op, i)) TD_TRY(visit_place(lower, number, in[i], false, each));
  }
  TD_TRY(visit_place(lower, number, &op->out, true, each));
  return op->whole >= 0 ? each(lower, number, &op->whole, true) : TD_OK;
}

/* ---- what is read, and how long ---- */

static td_status count_reads(struct lowering *lower, int32_t op, int32_t *vector, bool write) {
  (void)op;
  lower_temp_at(lower, *vector)->reads += !write;
  return TD_OK;
}

static void drop_unread(struct lowering *lower, struct td_lpu_code_op *op) {
  bool work = op->out.patch == TD_CODE_WORK && op->out.vector >= 0;
  if (work && !lower_temp_at(lower, op->out.vector)->reads) op->out.vector = -1;
  if (op->whole >= 0 && !lower_temp_at(lower, op->whole)->reads) op->whole = -1;
}

static td_status extend(struct lowering *lower, int32_t op, int32_t *vector, bool write) {
  (void)write;
  struct lower_temp *temp = lower_temp_at(lower, *vector);
  if (temp->begin < 0) temp->begin = op;
  temp->end = op;
  return TD_OK;
}

/* ---- room ---- */

/* Free runs of work vectors of one chip, and temps by their end. */
struct room {
  int32_t begin, end, chip;
};
struct rooms {
  struct room *free;
  size_t count, capacity;
  int32_t high;
};

static td_status give(struct rooms *rooms, struct room room) {
  for (size_t i = 0; i < rooms->count; i++) {
    struct room *other = &rooms->free[i];
    if (other->chip != room.chip || (other->begin != room.end && other->end != room.begin)) continue;
    room.begin = other->begin < room.begin ? other->begin : room.begin;
    room.end = other->end > room.end ? other->end : room.end;
    *other = rooms->free[--rooms->count];
    return give(rooms, room);
  }
  void *free_rooms = rooms->free;
  TD_TRY(td_grow(&free_rooms, &rooms->capacity, rooms->count + 1, sizeof *rooms->free));
  rooms->free = free_rooms;
  rooms->free[rooms->count++] = room;
  return TD_OK;
}

static int32_t take_room(struct rooms *rooms, const struct lower_temp *temp) {
  for (size_t i = 0; i < rooms->count && !temp->kept; i++) {
    struct room *room = &rooms->free[i];
    if (room->chip != temp->chip || room->end - room->begin < temp->vectors) continue;
    int32_t at = room->begin;
    room->begin += temp->vectors;
    if (room->begin == room->end) *room = rooms->free[--rooms->count];
    return at;
  }
  int32_t at = rooms->high;
  rooms->high += temp->vectors;
  return at;
}

static int by_end(const void *a, const void *b) {
  const struct lower_temp *const *x = a, *const *y = b;
  if ((*x)->end != (*y)->end) return (*x)->end < (*y)->end ? -1 : 1;
  return (*x)->first < (*y)->first ? -1 : 1;
}

/* Temps begin in the order of operations but for those that an operation was gathered from; `starts` sorts that out by
 * walking operations. An operation's results never lie where its operands do. */
static td_status place_new(struct lowering *lower, int32_t op, int32_t *vector, struct rooms *rooms) {
  (void)op;
  struct lower_temp *temp = lower_temp_at(lower, *vector);
  if (temp->place < 0) temp->place = take_room(rooms, temp);
  return TD_OK;
}

static td_status place_op(struct lowering *lower, int32_t number, struct rooms *rooms) {
  struct td_lpu_code_op *op = &lower->all.ops[number];
  if (op->out.patch == TD_CODE_WORK && op->out.vector >= 0) TD_TRY(place_new(lower, number, &op->out.vector, rooms));
  return op->whole >= 0 ? place_new(lower, number, &op->whole, rooms) : TD_OK;
}

static td_status place_all(struct lowering *lower, struct lower_temp **ends, struct rooms *rooms) {
  size_t next = 0, count = lower->temp_count;
  for (int32_t op = lower->first_op; op < (int32_t)lower->all.count; op++) {
    TD_TRY(place_op(lower, op, rooms));
    for (; next < count && ends[next]->end <= op; next++) {
      const struct lower_temp *temp = ends[next];
      if (temp->place < 0 || temp->kept) continue;
      TD_TRY(give(rooms, (struct room){temp->place, temp->place + temp->vectors, temp->chip}));
    }
  }
  return TD_OK;
}

static td_status place_temps(struct lowering *lower) {
  struct rooms rooms = {0};
  void *memory;
  TD_TRY(td_alloc(lower->temp_count + 1, sizeof(struct lower_temp *), &memory));
  struct lower_temp **ends = memory;
  for (size_t i = 0; i < lower->temp_count; i++) ends[i] = &lower->temps[i];
  qsort(ends, lower->temp_count, sizeof *ends, by_end);
  td_status status = place_all(lower, ends, &rooms);
  if (rooms.high > lower->code->work_vectors) lower->code->work_vectors = rooms.high;
  free(ends);
  free(rooms.free);
  return status;
}

static int32_t placed(const struct lowering *lower, int32_t vector) {
  const struct lower_temp *temp = lower_temp_at(lower, vector);
  return temp->place + vector - temp->first;
}

static td_status rename_vector(struct lowering *lower, int32_t op, int32_t *vector, bool write) {
  (void)op, (void)write;
  *vector = placed(lower, *vector);
  return TD_OK;
}

static td_status place_vectors(struct lowering *lower) {
  int32_t first = lower->first_op, end = (int32_t)lower->all.count;
  for (int32_t op = first; op < end; op++) {
    TD_TRY(visit_op(lower, op, count_reads));
    TD_TRY(visit_steps(lower, op, count_reads));
  }
  for (int32_t op = first; op < end; op++) drop_unread(lower, &lower->all.ops[op]);
  for (int32_t op = first; op < end; op++) {
    TD_TRY(visit_op(lower, op, extend));
    TD_TRY(visit_steps(lower, op, extend));
  }
  TD_TRY(place_temps(lower));
  for (int32_t op = first; op < end; op++) TD_TRY(visit_op(lower, op, rename_vector));
  for (size_t s = (size_t)lower->first_step; s < lower->step_count; s++) {
    struct td_lpu_code_load *step = &lower->steps[s];
    if (step->patch == TD_CODE_WORK) step->vector = placed(lower, step->vector);
  }
  return TD_OK;
}

/* ---- runs ---- */

static td_status count_runs(struct lowering *lower, int32_t phases) {
  void *runs = lower->runs;
  size_t need = (size_t)phases * (size_t)lower->chip_count;
  struct td_lpu_code_segment *segment = &lower->segments[lower->index];
  *segment = (struct td_lpu_code_segment){(int32_t)lower->run_count, phases, lower->chip_count};
  TD_TRY(td_grow(&runs, &lower->run_capacity, lower->run_count + need, sizeof *lower->runs));
  lower->runs = runs;
  memset(lower->runs + lower->run_count, 0, need * sizeof *lower->runs);
  lower->run_count += need;
  for (int32_t op = lower->first_op; op < (int32_t)lower->all.count; op++) {
    lower->runs[segment->first_run + lower->all.phases[op] * lower->chip_count + lower->all.chips[op]].count++;
  }
  int32_t at = lower->first_op;
  for (size_t r = (size_t)segment->first_run; r < lower->run_count; r++) {
    lower->runs[r].op = at;
    at += lower->runs[r].count;
  }
  return TD_OK;
}

/* Stable: a run keeps the order of its operations. */
static void sort_runs(struct lowering *lower, struct td_lpu_code_op *ops, struct lower_origin *origins) {
  struct lower_ops *all = &lower->all;
  const struct td_lpu_code_segment *segment = &lower->segments[lower->index];
  size_t first = (size_t)lower->first_op, count = all->count - first;
  memcpy(ops, all->ops + first, count * sizeof *ops);
  memcpy(origins, all->origins + first, count * sizeof *origins);
  for (size_t i = 0; i < count; i++) {
    int32_t at =
        lower->runs[segment->first_run + all->phases[first + i] * lower->chip_count + all->chips[first + i]].op++;
    all->ops[at] = ops[i];
    all->origins[at] = origins[i];
  }
  for (size_t r = (size_t)segment->first_run; r < lower->run_count; r++) lower->runs[r].op -= lower->runs[r].count;
}

static td_status make_runs(struct lowering *lower) {
  int32_t phases = 1;
  for (size_t op = (size_t)lower->first_op; op < lower->all.count; op++) {
    if (lower->all.phases[op] >= phases) phases = lower->all.phases[op] + 1;
  }
  TD_TRY(count_runs(lower, phases));
  size_t count = lower->all.count - (size_t)lower->first_op;
  void *ops = NULL, *origins = NULL;
  td_status status = td_alloc(count + 1, sizeof(struct td_lpu_code_op), &ops);
  if (!status) status = td_alloc(count + 1, sizeof(struct lower_origin), &origins);
  if (!status) sort_runs(lower, ops, origins);
  free(ops);
  free(origins);
  return status;
}

td_status lower_finish(struct lowering *lower) {
  TD_TRY(place_vectors(lower));
  return make_runs(lower);
}
