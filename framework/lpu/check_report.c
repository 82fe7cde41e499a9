/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeping the first violation: of the earliest cycle, then of the first rule.
 */
#include <inttypes.h>
#include <stdarg.h>

#include "check.h"

static bool comes_first(const struct td_lpu_violation *found, int64_t cycle, enum td_lpu_rule rule) {
  if (!found->found) return true;
  return cycle != found->cycle ? cycle < found->cycle : rule < found->rule;
}

static void report(struct check *check, enum td_lpu_rule rule, int32_t cycle, const struct check_issue *issue,
                   const char *format, va_list args) {
  struct td_lpu_violation *out = check->out;
  int64_t absolute = check->call.cycle + cycle;
  if (!comes_first(out, absolute, rule)) return;
  *out = (struct td_lpu_violation){.found = true,
                                   .rule = rule,
                                   .cycle = absolute,
                                   .call = check->ordinal,
                                   .segment = check->segment ? check->call.segment : -1,
                                   .instruction = issue ? issue->instruction : -1,
                                   .iteration = issue ? issue->iteration : 0};
  int used = snprintf(out->text, sizeof out->text, "%s, cycle %" PRId64, td_lpu_rule_name(rule), absolute);
  if (issue) {
    used += snprintf(out->text + used, sizeof out->text - (size_t)used,
                     ", chip %d queue %d (%s, segment %d instruction %d iteration %d)", issue->chip_number,
                     issue->at->queue, td_lpu_opcode_name((enum td_lpu_opcode)issue->at->opcode), check->call.segment,
                     issue->instruction, issue->iteration);
  }
  used += snprintf(out->text + used, sizeof out->text - (size_t)used, ": ");
  vsnprintf(out->text + used, sizeof out->text - (size_t)used, format, args);
}

void check_found(struct check *check, enum td_lpu_rule rule, const struct check_issue *issue, const char *format, ...) {
  va_list args;
  va_start(args, format);
  report(check, rule, check->now, issue, format, args);
  va_end(args);
}

void check_found_at(struct check *check, enum td_lpu_rule rule, int32_t cycle, const struct check_issue *issue,
                    const char *format, ...) {
  va_list args;
  va_start(args, format);
  report(check, rule, cycle, issue, format, args);
  va_end(args);
}

bool check_meant(const struct check *check, const struct td_lpu_meaning *meaning, int32_t iteration,
                 const struct check_maker *maker) {
  return meaning && maker->call == check->ordinal && maker->instruction == meaning->producer &&
         maker->iteration == (int64_t)meaning->scale * iteration + meaning->offset;
}

struct check_maker check_maker_of(const struct check *check, const struct check_issue *issue) {
  return (struct check_maker){check->ordinal, issue->instruction, issue->iteration};
}

struct check_issue check_issue_of(struct check *check, int32_t instruction, int32_t iteration) {
  const struct td_lpu_instruction *at = &check->segment->instructions[instruction];
  int32_t chip = at->chip + check->call.chip;
  return (struct check_issue){at, &check->places[at->queue], &check->chips[chip], instruction, iteration, chip};
}
