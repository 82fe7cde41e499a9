/* SPDX-License-Identifier: Apache-2.0
 *
 * How lowering says what it cannot lower, and how a run that stopped is named.
 */
#include <stdarg.h>
#include <stdio.h>

#include "lower.h"

td_status lower_refuse(const struct lowering *lower, const char *format, ...) {
  char text[256];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (!lower->op) return td_fail(TD_UNSUPPORTED, "segment %.31s: %s", lower->segment->name, text);
  const struct td_lpu_instruction *of = lower->op->of;
  return td_fail(TD_UNSUPPORTED, "segment %.31s, instruction %d (%s, chip %d, queue %d), cycle %d: %s",
                 lower->segment->name, lower->op->index, td_lpu_opcode_name((enum td_lpu_opcode)of->opcode), of->chip,
                 of->queue, lower->now, text);
}

td_status td_lpu_code_failure(const struct td_lpu_code *code, const struct td_lpu_code_state *state) {
  static const char *const reasons[] = {
      [TD_CODE_NOT_INTEGER] = "a lane is out of range as an integer",
      [TD_CODE_NOT_NARROW] = "a lane is out of range in its result's type",
      [TD_CODE_WRAPS] = "a lane of an accumulator wraps",
  };
  const struct td_lpu_code_head *head = (const struct td_lpu_code_head *)(const void *)code->words;
  if (!state->call) return TD_OK;
  if (state->op < 0 || state->op >= head->ops || state->reason <= 0 || state->reason > TD_CODE_WRAPS) {
    return td_fail(TD_INTERNAL, "LPU_RUN: found operation %d stopped for reason %d, expected one of %d", state->op,
                   state->reason, head->ops);
  }
  const struct lower_origin *origin = &code->origins[state->op];
  const struct td_lpu_segment *segment = &code->program->segments[origin->segment];
  const struct td_lpu_instruction *of = &segment->instructions[origin->instruction];
  const char *what = of->opcode == TD_LPU_ALU ? td_lpu_alu_name((enum td_lpu_alu)of->operation)
                                              : td_lpu_opcode_name((enum td_lpu_opcode)of->opcode);
  return td_fail(TD_CORRUPT, "chip %d of the segment, queue %d, cycle %d and on of segment %.31s (call %d): %s: %s",
                 of->chip, of->queue, of->cycle, segment->name, state->call - 1, what, reasons[state->reason]);
}
