/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a program can be replayed at all: every index inside what it points into, every enum one of its values.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "check.h"

#define MOST_CHIPS 4096
#define MOST_TURNS (1 << 20) /* of nested loops, altogether */

static bool inside(int64_t begin, int64_t count, int64_t all) {
  return begin >= 0 && count >= 0 && begin <= all && count <= all - begin;
}

static td_status wrong(int32_t segment, int32_t instruction, const char *field, int64_t found, int64_t most) {
  return td_fail(TD_CORRUPT, "program: segment %d instruction %d: found %s %" PRId64 ", expected 0..%" PRId64, segment,
                 instruction, field, found, most);
}

static td_status check_enums(int32_t segment, int32_t i, const struct td_lpu_instruction *at) {
  if (at->opcode >= TD_LPU_OPCODE_COUNT) return wrong(segment, i, "opcode", at->opcode, TD_LPU_OPCODE_COUNT - 1);
  if (at->operation >= TD_ALU_COUNT) return wrong(segment, i, "operation", at->operation, TD_ALU_COUNT - 1);
  if (at->type >= TD_LPU_TYPE_COUNT) return wrong(segment, i, "type", at->type, TD_LPU_TYPE_COUNT - 1);
  if (at->out_type >= TD_LPU_TYPE_COUNT) return wrong(segment, i, "result type", at->out_type, TD_LPU_TYPE_COUNT - 1);
  if (at->half > 1) return wrong(segment, i, "half", at->half, 1);
  for (int k = 0; k < 3; k++) {
    if (at->source[k] > TD_SOURCE_IMMEDIATE) return wrong(segment, i, "source", at->source[k], TD_SOURCE_IMMEDIATE);
    if (at->in_type[k] >= TD_LPU_TYPE_COUNT) {
      return wrong(segment, i, "operand type", at->in_type[k], TD_LPU_TYPE_COUNT - 1);
    }
  }
  return TD_OK;
}

static int32_t flags_of(const struct td_lpu_instruction *at) {
  if (at->opcode == TD_LPU_MEMORY) return TD_LPU_READ | TD_LPU_WRITE;
  if (at->opcode == TD_LPU_LOAD) return TD_LPU_COLUMNS;
  return at->opcode == TD_LPU_SUM ? TD_LPU_ADD | TD_LPU_KEEP | TD_LPU_EMIT : 0;
}
static td_status check_flags(int32_t segment, int32_t i, const struct td_lpu_instruction *at) {
  int32_t known = flags_of(at);
  if (at->flags & ~known) return wrong(segment, i, "flags", at->flags, known);
  if (at->opcode != TD_LPU_MEMORY || at->flags) return TD_OK;
  return td_fail(TD_CORRUPT, "program: segment %d instruction %d: found flags 0, expected a read or a write", segment,
                 i);
}

static td_status check_times(int32_t segment, int32_t i, const struct td_lpu_instruction *at) {
  if (at->repeat < 1) return wrong(segment, i, "repeat - 1", (int64_t)at->repeat - 1, INT32_MAX - 1);
  if (at->gap < 1) return wrong(segment, i, "gap - 1", (int64_t)at->gap - 1, INT32_MAX - 1);
  if (at->cycle < -INT32_MAX / 4) return wrong(segment, i, "cycle", at->cycle, INT32_MAX / 2);
  int64_t last = at->cycle + (int64_t)(at->repeat - 1) * at->gap;
  return last > INT32_MAX / 2 ? wrong(segment, i, "last cycle", last, INT32_MAX / 2) : TD_OK;
}

static td_status check_instruction(const struct check *check, int32_t segment, int32_t i) {
  const struct td_lpu_program *program = check->program;
  const struct td_lpu_segment *in = &program->segments[segment];
  const struct td_lpu_instruction *at = &in->instructions[i];
  TD_TRY(check_enums(segment, i, at));
  TD_TRY(check_flags(segment, i, at));
  TD_TRY(check_times(segment, i, at));
  if (at->queue >= check->queues) return wrong(segment, i, "queue", at->queue, check->queues - 1);
  for (int k = 0; k < 2; k++) {
    if (at->patch[k] > in->patch_count) return wrong(segment, i, "patch", at->patch[k], in->patch_count);
    bool used = at->opcode == TD_LPU_MEMORY && at->flags & (k ? TD_LPU_WRITE : TD_LPU_READ);
    if (used && !inside(at->image[k], 1, program->image_count)) {
      return wrong(segment, i, "image", at->image[k], program->image_count - 1);
    }
  }
  if (!inside(at->meaning, at->meaning_count, in->meaning_count)) {
    return wrong(segment, i, "end of meanings", (int64_t)at->meaning + at->meaning_count, in->meaning_count);
  }
  return TD_OK;
}

/* Ascending by chip and queue; by cycle is the rule QUEUE's. */
static td_status check_order(const struct check *check, int32_t segment) {
  const struct td_lpu_segment *in = &check->program->segments[segment];
  for (int32_t i = 0; i < in->instruction_count; i++) {
    TD_TRY(check_instruction(check, segment, i));
    const struct td_lpu_instruction *at = &in->instructions[i], *before = i ? at - 1 : at;
    if (before->chip > at->chip || (before->chip == at->chip && before->queue > at->queue)) {
      return td_fail(TD_CORRUPT, "program: segment %d instruction %d: found chip %d queue %d behind chip %d queue %d",
                     segment, i, at->chip, at->queue, before->chip, before->queue);
    }
  }
  return TD_OK;
}

static td_status check_segments(const struct check *check) {
  const struct td_lpu_program *program = check->program;
  for (int32_t s = 0; s < program->segment_count; s++) {
    const struct td_lpu_segment *segment = &program->segments[s];
    if (segment->instruction_count < 0 || segment->meaning_count < 0 || segment->patch_count < 0 ||
        segment->length < 0 || segment->length > INT32_MAX / 2) {
      return td_fail(TD_CORRUPT, "program: segment %d: found a negative count or a length of %d cycles", s,
                     segment->length);
    }
    TD_TRY(check_order(check, s));
  }
  return TD_OK;
}

struct nest {
  int32_t depth;
  int64_t turns[TD_LPU_VARIABLES + 1]; /* of the loops around, multiplied */
};

/* Loops end, and not only in theory: without a count they run over the step's rows or a row's blocks. */
static bool loop_is_good(const struct td_lpu_link *link, struct nest *nest) {
  bool endless = link->count == 0 && link->variable != TD_VAR_ROW && link->variable != TD_VAR_BLOCK;
  if (link->variable < TD_VAR_LAYER || link->variable > TD_VAR_BLOCK || endless || nest->depth >= TD_LPU_VARIABLES ||
      link->first < 0 || link->first > MOST_TURNS || link->count < 0 || link->count > MOST_TURNS) {
    return false;
  }
  int64_t turns = nest->turns[nest->depth++] * (link->count ? link->count : 1);
  nest->turns[nest->depth] = turns;
  return turns <= MOST_TURNS;
}

static td_status check_link_row(const struct check *check, int32_t i, struct nest *nest) {
  const struct td_lpu_program *program = check->program;
  const struct td_lpu_link *link = &program->links[i];
  bool good = link->kind == TD_LINK_END && nest->depth-- > 0;
  if (link->kind == TD_LINK_RUN) {
    good = inside(link->segment, 1, program->segment_count) && inside(link->chip, 1, program->chips);
  }
  if (link->kind == TD_LINK_LOOP) good = loop_is_good(link, nest);
  if (good) return TD_OK;
  return td_fail(TD_CORRUPT,
                 "program: link %d: found kind %d segment %d chip %d variable %d from %d, %d times, expected "
                 "a segment and chip that are there, or a loop that ends",
                 i, link->kind, link->segment, link->chip, link->variable, link->first, link->count);
}

static td_status check_entry(const struct check *check, int32_t entry) {
  const struct td_lpu_program *program = check->program;
  const struct td_lpu_entry *at = &program->entries[entry];
  struct nest nest = {0, {1}};
  if (!inside(at->link, at->link_count, program->link_count)) {
    return td_fail(TD_CORRUPT, "program: entry %d: found links %d + %d, expected at most %d", entry, at->link,
                   at->link_count, program->link_count);
  }
  for (int32_t i = 0; i < at->link_count; i++) TD_TRY(check_link_row(check, at->link + i, &nest));
  return nest.depth ? td_fail(TD_CORRUPT, "program: entry %d: found a loop without an end", entry) : TD_OK;
}

td_status check_program(struct check *check, int32_t entry) {
  const struct td_lpu_program *program = check->program;
  if (program->chips < 1 || program->chips > MOST_CHIPS) {
    return td_fail(TD_CORRUPT, "program: found %d chips, expected 1..%d", program->chips, MOST_CHIPS);
  }
  TD_TRY(check_segments(check));
  if (!inside(entry, 1, program->entry_count)) {
    return td_fail(TD_CONFIG, "found entry %d, expected one of %d", entry, program->entry_count);
  }
  for (int32_t i = 0; i < program->entry_count; i++) TD_TRY(check_entry(check, i));
  return TD_OK;
}
