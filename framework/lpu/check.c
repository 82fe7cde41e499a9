/* SPDX-License-Identifier: Apache-2.0
 *
 * td_lpu_check: the calls of a step, the seams between them, what the step must have written.
 */
#include "check.h"

/* More calls than any step has: a program whose loops run for ever is refused. */
#define MOST_CALLS (1 << 20)

/* ---- seams ---- */

static void forget_plane(struct check *check, int32_t chip, int32_t number) {
  struct check_plane *plane = &check->chips[chip].planes[number];
  if (plane->filled) {
    check_found(check, TD_RULE_SEGMENT, NULL, "chip %d plane %d: %d steps are loaded and not installed at the seam",
                chip, number, plane->filled);
  }
  if (plane->kept) {
    check_found(check, TD_RULE_SEGMENT, NULL, "chip %d plane %d: %d accumulators are not emitted at the seam", chip,
                number, plane->kept);
  }
  for (int32_t i = 0; i < 2 * check->machine->accumulator_depth; i++) plane->totals[i].kept = false;
  if (!(check->segment->arrays_out >> number & 1)) plane->array.maker.call = -1;
}

static void forget_chip(struct check *check, int32_t number) {
  struct check_chip *chip = &check->chips[number];
  for (int32_t i = 0; i < check->machine->planes; i++) forget_plane(check, number, i);
  for (int32_t i = 0; i < check->machine->links; i++) chip->links[i].count = chip->links[i].oldest = 0;
}

/* Only arrays that this segment says it uses, and the one before says it leaves, come in. */
static void begin_call(struct check *check) {
  uint32_t in = check->segment->arrays_in;
  if (in & ~check->arrays) {
    check_found(check, TD_RULE_SEGMENT, NULL, "segment %.31s uses arrays of planes 0x%x, the one before leaves 0x%x",
                check->segment->name, in, check->arrays);
  }
  for (int32_t chip = 0; chip < check->program->chips; chip++) {
    for (int32_t i = 0; i < check->machine->planes; i++) {
      if (!(in >> i & 1)) check->chips[chip].planes[i].array.maker.call = -1;
    }
  }
}

static void end_call(struct check *check) {
  check->now = check->segment->length;
  for (int32_t chip = 0; chip < check->program->chips; chip++) forget_chip(check, chip);
  check->arrays = check->segment->arrays_out;
}

static td_status run_call(void *context, const struct td_lpu_call *call) {
  struct check *check = context;
  if (check->out->found && check->out->cycle < check->base + call->cycle) return TD_ABORTED;
  if (++check->ordinal >= MOST_CALLS) {
    return td_fail(TD_EXHAUSTED, "program: a step runs %d segments, expected fewer", check->ordinal);
  }
  check->call = *call;
  check->call.cycle += check->base;
  check->segment = &check->program->segments[call->segment];
  check->looked = &check->segments[call->segment];
  check->now = 0;
  if (check->looked->most_chip + call->chip >= check->program->chips) {
    return td_fail(TD_CORRUPT, "program: segment %d on chip %d: found chip %d of %d", call->segment, call->chip,
                   check->looked->most_chip + call->chip, check->program->chips);
  }
  begin_call(check);
  TD_TRY(check_replay(check));
  if (!check->out->found) end_call(check);
  return check->out->found ? TD_ABORTED : TD_OK;
}

/* ---- a step ---- */

/* An epoch of its own: nothing but SRAM is left of the entry before. */
static td_status run_entry(struct check *check, int32_t entry) {
  check->entry = entry;
  check->entry_ordinal = check->ordinal + 1;
  check->arrays = 0;
  td_status status = td_lpu_program_walk(check->program, entry, check->step, run_call, check);
  if (status == TD_ABORTED && check->out->found) return TD_OK;
  TD_TRY(status);
  int64_t end = check->segment ? check->call.cycle + check->segment->length : check->base;
  check_finish(check, end);
  check->base = end + check->machine->superlanes - 1;
  return TD_OK;
}

static td_status run_step(struct check *check, int32_t entry) {
  TD_TRY(check_shape_machine(check));
  TD_TRY(check_program(check, entry));
  TD_TRY(check_state_open(check));
  for (int32_t i = 0; i < check->program->segment_count; i++) TD_TRY(check_segment_look(check, i));
  TD_TRY(check_images(check));
  TD_TRY(check_whole(check));
  int32_t rows = check->step->row_count;
  for (; entry >= 0 && !check->out->found; entry = td_lpu_program_next(check->program, entry, rows)) {
    TD_TRY(run_entry(check, entry));
  }
  if (!check->out->found) TD_TRY(check_loops(check));
  return TD_OK;
}

td_status td_lpu_check(const struct td_lpu_program *program, int32_t entry, const struct td_lpu_step *step,
                       struct td_lpu_violation *out) {
  struct td_lpu_violation found = {.found = false};
  struct check check = {.program = program, .machine = &program->machine, .step = step, .out = &found, .ordinal = -1};
  td_status status = run_step(&check, entry);
  check_state_close(&check);
  if (status == TD_OK) *out = found;
  return status;
}
