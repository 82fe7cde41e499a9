/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix planes: buffers, arrays, passes, accumulators. Two int8 planes are one fp16 plane, a pair, which is kept with
 * the even one.
 */
#include "check.h"

static struct check_plane *plane_of(const struct check_issue *issue, bool pair) {
  int32_t plane = issue->place->index;
  return &issue->chip->planes[pair ? plane & ~1 : plane];
}
static bool is_pair_type(uint8_t type) {
  return type == TD_LPU_F16 || type == TD_LPU_W8 || type == TD_LPU_WF8;
}

/* WIDTH is also a machine's: whether it has FP8. */
static bool has_type(struct check *check, const struct check_issue *issue, uint8_t type) {
  bool has = check->machine->fp8 || (type != TD_LPU_F8 && type != TD_LPU_WF8);
  if (!has) check_found(check, TD_RULE_WIDTH, issue, "found FP8, which %s does not have", check->machine->name);
  return has;
}

/* The half of the lanes and the orientation that are meant, where the side table says so. */
static void judge_half(struct check *check, const struct check_issue *issue) {
  const struct td_lpu_meaning *meaning =
      check_meaning(check, issue->instruction, TD_MEANING_ADDRESS, 1, issue->iteration);
  int32_t columns = (issue->at->flags & TD_LPU_COLUMNS) != 0;
  if (!meaning || (meaning->offset == issue->at->half && meaning->scale == columns)) return;
  check_found(check, TD_RULE_ARRIVE, issue, "takes half %d of the lanes, columns %d, expected half %d, columns %d",
              issue->at->half, columns, meaning->offset, meaning->scale);
}

/* ---- LOAD ---- */

static int32_t steps_of(const struct check *check, bool pair, bool columns) {
  const struct td_lpu_machine *machine = check->machine;
  int32_t k = pair ? machine->plane_k / 2 : machine->plane_k;
  return (columns ? machine->lanes : k) / machine->load_vectors;
}

static struct check_group load_group(const struct check *check, const struct td_lpu_instruction *at) {
  int32_t bytes = at->type == TD_LPU_F16 ? 2 : 1;
  return (struct check_group){at->in[0], check->machine->load_vectors * bytes, bytes};
}

void check_load_issue(struct check *check, const struct check_issue *issue) {
  const struct td_lpu_instruction *at = issue->at;
  const struct check_tag none = {0, 0};
  bool columns = (at->flags & TD_LPU_COLUMNS) != 0;
  if (at->type != TD_LPU_I8 && at->type != TD_LPU_F8 && !is_pair_type(at->type)) {
    check_found(check, TD_RULE_WIDTH, issue, "loads type %d, expected int8, fp8, fp16 or one of them to widen",
                at->type);
    return;
  }
  if (!has_type(check, issue, at->type)) return;
  if (!check_group_fits(check, issue, load_group(check, at), "vectors to load")) return;
  judge_half(check, issue);
  check_later(check, issue, CHECK_READ, CHECK_OPERANDS, check->machine->delay[TD_LPU_LOAD].skew, none);
  int32_t func = check->machine->delay[TD_LPU_LOAD].func + (columns ? check->machine->transpose_cycles : 0);
  check_later(check, issue, CHECK_ARRIVE, CHECK_LOADED, func, none);
}

/* Both planes of a pair share the pair's buffer, and then have none of their own. */
static bool is_free(const struct check_issue *issue, bool pair, bool columns) {
  const struct check_plane *own = plane_of(issue, pair), *even = plane_of(issue, true);
  bool fp8 = issue->at->type == TD_LPU_F8;
  if (own->filled > 0) return own->pair == pair && own->columns == columns && own->fp8 == fp8;
  if (!pair) return !(even->filled > 0 && even->pair);
  return even[1].filled == 0;
}

void check_load_arrived(struct check *check, const struct check_issue *issue) {
  const struct td_lpu_instruction *at = issue->at;
  bool pair = is_pair_type(at->type), columns = (at->flags & TD_LPU_COLUMNS) != 0;
  struct check_plane *plane = plane_of(issue, pair);
  int32_t step = td_lpu_address(check->program, &check->call, at, 0, issue->iteration);
  int32_t steps = steps_of(check, pair, columns);
  if (step < 0 || step >= steps) {
    check_found(check, TD_RULE_BUFFER, issue, "loads step %d, expected 0..%d", step, steps - 1);
  } else if (!is_free(issue, pair, columns)) {
    check_found(check, TD_RULE_BUFFER, issue, "the buffer is being filled another way (type, pair, rows or columns)");
  } else if (plane->steps[step].call >= 0) {
    check_found(check, TD_RULE_BUFFER, issue, "step %d was loaded by instruction %d and not installed yet", step,
                plane->steps[step].instruction);
  } else {
    plane->steps[step] = check_maker_of(check, issue);
    plane->filled++;
    plane->pair = pair;
    plane->columns = columns;
    plane->fp8 = at->type == TD_LPU_F8;
  }
}

/* ---- INSTALL ---- */

static void judge_step(struct check *check, const struct check_issue *issue, const struct check_plane *plane,
                       int32_t step) {
  const struct check_maker *maker = &plane->steps[step];
  const struct td_lpu_meaning *meaning =
      check_meaning(check, issue->instruction, TD_MEANING_STEP, step, issue->iteration);
  if (!meaning && maker->call < 0) return;
  if (meaning && check_meant(check, meaning, issue->iteration, maker)) return;
  check_found(check, TD_RULE_BUFFER, issue, "step %d holds what instruction %d iteration %d loaded, expected %d", step,
              maker->call < 0 ? -1 : maker->instruction, maker->iteration, meaning ? meaning->producer : -1);
}

/* A pair's array takes both planes; a plane's own one ends the pair's. */
static void put_array(struct check *check, const struct check_issue *issue, bool pair) {
  struct check_plane *even = plane_of(issue, true);
  struct check_array array = {check_maker_of(check, issue), check->now, pair, plane_of(issue, pair)->fp8};
  if (even->array.pair && !pair) even[0].array.maker.call = even[1].array.maker.call = -1;
  even[0].array.pair = even[1].array.pair = pair;
  if (pair) {
    even[0].array = even[1].array = array;
  } else {
    plane_of(issue, false)->array = array;
  }
}

static bool in_install(const struct check *check, const struct check_array *array) {
  return array->maker.call == check->ordinal && check->now < array->cycle + check->machine->install_cycles;
}

void check_install_issue(struct check *check, const struct check_issue *issue) {
  struct check_plane *plane = plane_of(issue, false);
  int32_t steps = steps_of(check, plane->pair, plane->columns);
  if (plane->filled == 0) {
    check_found(check, TD_RULE_BUFFER, issue, "nothing is in the buffer of plane %d", issue->place->index);
    return;
  }
  for (int32_t step = 0; step < steps; step++) judge_step(check, issue, plane, step);
  if (in_install(check, &plane->array) || (plane->pair && in_install(check, &plane[1].array))) {
    check_found(check, TD_RULE_INSTALL, issue, "another install of plane %d takes until cycle %d", issue->place->index,
                plane->array.cycle + check->machine->install_cycles);
  }
  put_array(check, issue, plane->pair);
  for (int32_t step = 0; step < steps; step++) plane->steps[step].call = -1;
  plane->filled = 0;
}

/* ---- PASS ---- */

static int32_t pass_delay(const struct check *check) {
  return check->machine->delay[TD_LPU_PASS].func;
}

static void judge_array(struct check *check, const struct check_issue *issue, const struct check_array *array) {
  const struct td_lpu_meaning *meaning =
      check_meaning(check, issue->instruction, TD_MEANING_ARRAY, 0, issue->iteration);
  const struct check_maker *maker = &array->maker;
  if (maker->call < 0) {
    check_found(check, TD_RULE_INSTALL, issue, "plane %d has no array", issue->place->index);
  } else if (in_install(check, array)) {
    check_found(check, TD_RULE_INSTALL, issue, "plane %d is being installed until cycle %d", issue->place->index,
                array->cycle + check->machine->install_cycles);
  } else if (meaning ? !check_meant(check, meaning, issue->iteration, maker) : maker->call == check->ordinal) {
    check_found(check, TD_RULE_INSTALL, issue,
                "the array was installed by instruction %d iteration %d of call %d, "
                "expected %d (-1: of an earlier one)",
                maker->instruction, maker->iteration, maker->call, meaning ? meaning->producer : -1);
  } else if (!meaning && !(check->segment->arrays_in >> issue->place->index & 1)) {
    check_found(check, TD_RULE_SEGMENT, issue, "plane %d's array comes from before the segment, which does not say so",
                issue->place->index);
  }
}

void check_pass_issue(struct check *check, const struct check_issue *issue) {
  const struct td_lpu_instruction *at = issue->at;
  const struct check_tag none = {0, 0};
  bool pair = at->type == TD_LPU_F16, fp8 = at->type == TD_LPU_F8;
  if (!pair && !fp8 && at->type != TD_LPU_I8) {
    check_found(check, TD_RULE_WIDTH, issue, "passes type %d, expected int8, fp8 or fp16", at->type);
    return;
  }
  if (!has_type(check, issue, at->type)) return;
  struct check_group in = {at->in[0], pair ? 2 : 1, pair ? 2 : 1};
  if (!check_group_fits(check, issue, in, "the activation")) return;
  judge_half(check, issue);
  struct check_plane *plane = plane_of(issue, pair);
  judge_array(check, issue, &plane->array);
  if (plane->array.maker.call >= 0 && plane->array.pair != pair) {
    check_found(check, TD_RULE_PLANE, issue, "the array is %s, the vector is not",
                plane->array.pair ? "a pair's" : "one plane's");
  }
  if (plane->array.maker.call >= 0 && plane->array.pair == pair && plane->array.fp8 != fp8) {
    check_found(check, TD_RULE_WIDTH, issue, "the array is of %s, the vector is not",
                plane->array.fp8 ? "fp8" : "int8");
  }
  if (pair && issue->place->index % 2) {
    check_found(check, TD_RULE_PLANE, issue, "a pair takes its one fp16 vector a cycle through plane %d",
                issue->place->index - 1);
  }
  plane->rows[(uint32_t)check->now & (uint32_t)(check->wheel - 1)] =
      (struct check_row){check_maker_of(check, issue), check->now,
                         pair  ? TD_LPU_F32
                         : fp8 ? TD_LPU_F8
                               : TD_LPU_I32};
  check_later(check, issue, CHECK_READ, CHECK_OPERANDS, check->machine->delay[TD_LPU_PASS].skew, none);
}

/* ---- SUM ---- */

static void judge_row(struct check *check, const struct check_issue *issue) {
  const struct check_plane *plane = plane_of(issue, false);
  int32_t cycle = check->now - pass_delay(check);
  const struct check_row *row = &plane->rows[(uint32_t)cycle & (uint32_t)(check->wheel - 1)];
  const struct td_lpu_meaning *meaning = check_meaning(check, issue->instruction, TD_MEANING_ROW, 0, issue->iteration);
  bool there = cycle >= 0 && row->cycle == cycle && row->maker.call == check->ordinal;
  if (!there) {
    check_found(check, TD_RULE_SUM, issue, "no pass of plane %d was issued in cycle %d", issue->place->index, cycle);
  } else if (!check_meant(check, meaning, issue->iteration, &row->maker)) {
    check_found(check, TD_RULE_SUM, issue, "the row is of instruction %d iteration %d, expected %d",
                row->maker.instruction, row->maker.iteration, meaning ? meaning->producer : -1);
  } else if (row->type != issue->at->type) {
    check_found(check, TD_RULE_WIDTH, issue, "the row is of type %d, expected %d", row->type, issue->at->type);
  }
}

static void add_total(struct check *check, const struct check_issue *issue, struct check_plane *plane,
                      struct check_total *total) {
  const struct td_lpu_meaning *meaning =
      check_meaning(check, issue->instruction, TD_MEANING_TOTAL, 0, issue->iteration);
  if (!total->kept) {
    check_found(check, TD_RULE_SUM, issue, "adds to an accumulator that holds nothing");
  } else if (!check_meant(check, meaning, issue->iteration, &total->maker)) {
    check_found(check, TD_RULE_SUM, issue, "the accumulator is of instruction %d iteration %d, expected %d",
                total->maker.instruction, total->maker.iteration, meaning ? meaning->producer : -1);
  }
  plane->kept -= total->kept && !total->emitted;
  total->kept = false;
}

static void keep_total(struct check *check, const struct check_issue *issue, struct check_plane *plane,
                       struct check_total *total) {
  if (total->kept && !total->emitted) {
    check_found(check, TD_RULE_SUM, issue, "the accumulator still holds what instruction %d kept and nobody took",
                total->maker.instruction);
  }
  bool emitted = (issue->at->flags & TD_LPU_EMIT) != 0;
  *total = (struct check_total){check_maker_of(check, issue), true, emitted};
  plane->kept += !emitted;
}

static void account(struct check *check, const struct check_issue *issue) {
  int32_t flags = issue->at->flags;
  int32_t index = td_lpu_address(check->program, &check->call, issue->at, 0, issue->iteration);
  if (!(flags & (TD_LPU_KEEP | TD_LPU_EMIT))) check_found(check, TD_RULE_SUM, issue, "the row goes nowhere");
  if (!(flags & (TD_LPU_ADD | TD_LPU_KEEP))) return;
  int32_t depth = check->machine->accumulator_depth * (issue->at->type == TD_LPU_F32 ? 2 : 1);
  if (index < 0 || index >= depth) {
    check_found(check, TD_RULE_SUM, issue, "accumulator %d of %d", index, depth);
    return;
  }
  struct check_plane *plane = plane_of(issue, false);
  if (flags & TD_LPU_ADD) add_total(check, issue, plane, &plane->totals[index]);
  if (flags & TD_LPU_KEEP) keep_total(check, issue, plane, &plane->totals[index]);
}

void check_sum_issue(struct check *check, const struct check_issue *issue) {
  const struct td_lpu_instruction *at = issue->at;
  if (at->type != TD_LPU_F32 && at->type != TD_LPU_I32 && at->type != TD_LPU_F8) {
    check_found(check, TD_RULE_WIDTH, issue, "sums of type %d, expected int32 or float32, of fp16 or fp8", at->type);
    return;
  }
  judge_row(check, issue);
  account(check, issue);
  struct check_group out = {at->out, 4, 4};
  if (!(at->flags & TD_LPU_EMIT) || !check_group_fits(check, issue, out, "the result")) return;
  struct check_tag tag = {check_sum_type(at), 0};
  check_later(check, issue, CHECK_PUT, CHECK_RESULT, check->machine->delay[TD_LPU_SUM].func, tag);
}
