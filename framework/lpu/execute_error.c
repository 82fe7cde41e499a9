/* SPDX-License-Identifier: Apache-2.0
 *
 * How the emulator says what went wrong: where, when, which rule, what was found.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "execute.h"

static void name_unit(const struct execute_op *op, char *out, size_t size) {
  const struct td_lpu_queue *queue = &op->queue;
  static const char *const matrix[TD_MATRIX_QUEUES] = {"load", "install", "pass", "sum"};
  const char *side = queue->hemisphere ? "east" : "west";
  switch (queue->unit) {
    case TD_UNIT_MEMORY:
      snprintf(out, size, "memory %s %d", side, queue->index);
      break;
    case TD_UNIT_MATRIX:
      snprintf(out, size, "plane %d %s", queue->index, matrix[queue->function]);
      break;
    case TD_UNIT_VECTOR:
      snprintf(out, size, "ALU %d", queue->index);
      break;
    case TD_UNIT_SWITCH:
      snprintf(out, size, "switch %s %d", side, queue->function);
      break;
    default:
      snprintf(out, size, "link %d", queue->index);
      break;
  }
}

td_status execute_refuse(const struct execution *run, const struct execute_op *op, int64_t clock, enum td_lpu_rule rule,
                         const char *format, ...) {
  char unit[32], text[512];
  name_unit(op, unit, sizeof unit);
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  int64_t cycle = clock - run->base;
  const struct td_lpu_segment *segment = &run->system.program->segments[run->call->segment];
  return td_fail(TD_CORRUPT, "chip %d, queue %d (%s), cycle %" PRId64 " (%" PRId64 " of segment %.31s): %s: %s",
                 execute_chip_of(run, op), op->of->queue, unit, run->call->cycle + cycle, cycle, segment->name,
                 td_lpu_rule_name(rule), text);
}

td_status execute_absent(const struct execution *run, const struct execute_op *op, uint8_t stream) {
  return execute_refuse(run, op, run->now, TD_RULE_ARRIVE,
                        "found nothing on stream %s %d at position %d, expected an operand of %s",
                        stream & TD_LPU_EAST ? "east" : "west", stream & TD_LPU_STREAM_INDEX, op->queue.position,
                        td_lpu_opcode_name((enum td_lpu_opcode)op->of->opcode));
}
