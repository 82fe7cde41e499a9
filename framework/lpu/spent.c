/* SPDX-License-Identifier: Apache-2.0
 *
 * A segment's cycles by who is told something in them.
 */
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"
#include "tandem/lpu_price.h"

/* A file may say anything: what a segment may take here. */
#define MOST_CYCLES (1 << 22)

const char *td_lpu_spent_name(enum td_lpu_spent spent) {
  static const char *const names[TD_LPU_SPENT_COUNT] = {"load",   "install", "pass",   "vector",
                                                        "switch", "link",    "memory", "wait"};
  return spent >= 0 && spent < TD_LPU_SPENT_COUNT ? names[spent] : "?";
}

static enum td_lpu_spent spent_on(const struct td_lpu_machine *machine, const struct td_lpu_instruction *of) {
  struct td_lpu_queue queue;
  if (!td_lpu_queue_at(machine, of->queue, &queue)) return TD_SPENT_WAIT;
  switch (queue.unit) {
    case TD_UNIT_MATRIX:
      return queue.function == TD_MATRIX_LOAD      ? TD_SPENT_LOAD
             : queue.function == TD_MATRIX_INSTALL ? TD_SPENT_INSTALL
                                                   : TD_SPENT_PASS;
    case TD_UNIT_VECTOR:
      return TD_SPENT_VECTOR;
    case TD_UNIT_SWITCH:
      return TD_SPENT_SWITCH;
    case TD_UNIT_LINK:
      return TD_SPENT_LINK;
    default:
      return TD_SPENT_MEMORY;
  }
}

/* From a SEND to the far end. */
static void fly(const struct td_lpu_machine *machine, const struct td_lpu_segment *segment, int64_t at,
                uint8_t *flying) {
  for (int64_t end = at + machine->link_latency; at <= end && at < segment->length; at++) flying[at] = 1;
}

static void mark(const struct td_lpu_machine *machine, const struct td_lpu_segment *segment, uint8_t *cycles,
                 uint8_t *flying) {
  for (int32_t i = 0; i < segment->instruction_count; i++) {
    const struct td_lpu_instruction *of = &segment->instructions[i];
    enum td_lpu_spent spent = spent_on(machine, of);
    for (int64_t r = 0, at = of->cycle; r < of->repeat && at < segment->length; r++, at += of->gap) {
      if (spent < cycles[at]) cycles[at] = (uint8_t)spent;
      if (of->opcode == TD_LPU_SEND) fly(machine, segment, at, flying);
    }
  }
}

td_status td_lpu_segment_spent(const struct td_lpu_program *program, int32_t segment, int64_t *out_spent,
                               int64_t *out_exchange) {
  const struct td_lpu_segment *of = &program->segments[segment];
  void *memory = NULL;
  if (of->length > MOST_CYCLES) {
    return td_fail(TD_UNSUPPORTED, "segment %.31s: found %d cycles, expected at most %d", of->name, of->length,
                   MOST_CYCLES);
  }
  TD_TRY(td_alloc(2 * (size_t)of->length + 1, 1, &memory));
  uint8_t *cycles = memory, *flying = cycles + of->length;
  memset(cycles, TD_SPENT_WAIT, (size_t)of->length);
  mark(&program->machine, of, cycles, flying);
  for (int i = 0; i < TD_LPU_SPENT_COUNT; i++) out_spent[i] = 0;
  *out_exchange = 0;
  for (int32_t i = 0; i < of->length; i++) {
    out_spent[cycles[i]]++;
    *out_exchange += flying[i];
  }
  free(memory);
  return TD_OK;
}
