/* SPDX-License-Identifier: Apache-2.0
 *
 * Switches: streams go on as what they were, with their lanes moved.
 */
#include "check.h"
#include "tandem/base.h"

#define TRANSPOSED 16

static enum td_lpu_switch_queue function_of(const struct td_lpu_instruction *at) {
  if (at->opcode == TD_LPU_PERMUTE) return TD_SWITCH_PERMUTE;
  if (at->opcode == TD_LPU_SELECT) return TD_SWITCH_SELECT;
  return at->opcode == TD_LPU_TRANSPOSE ? TD_SWITCH_TRANSPOSE : TD_SWITCH_SHIFT;
}

static struct check_group group_of(const struct td_lpu_instruction *at, int32_t first) {
  if (at->opcode == TD_LPU_TRANSPOSE) return (struct check_group){first, TRANSPOSED, 1};
  return (struct check_group){first, at->width, at->width};
}

/* A map says what is meant, where the side table has its digest. */
static void judge_lanes(struct check *check, const struct check_issue *issue, int32_t map) {
  const struct td_lpu_meaning *meaning =
      check_meaning(check, issue->instruction, TD_MEANING_ADDRESS, 1, issue->iteration);
  const int16_t *lanes = check->program->maps[map].lane;
  if (!meaning) return;
  uint64_t digest = td_hash(TD_HASH_INIT, lanes, (size_t)check->machine->lanes * sizeof *lanes) & INT32_MAX;
  if (digest == (uint64_t)meaning->offset) return;
  check_found(check, TD_RULE_SWITCH, issue, "map %d has digest %llu, expected %d", map, (unsigned long long)digest,
              meaning->offset);
}

static void judge_map(struct check *check, const struct check_issue *issue) {
  const struct td_lpu_program *program = check->program;
  int32_t map = td_lpu_address(program, &check->call, issue->at, 0, issue->iteration);
  const struct td_lpu_meaning *meaning =
      check_meaning(check, issue->instruction, TD_MEANING_ADDRESS, 0, issue->iteration);
  if (map < 0 || map >= program->map_count) {
    check_found(check, TD_RULE_SWITCH, issue, "map %d of %d", map, program->map_count);
    return;
  }
  int64_t meant = meaning ? (int64_t)meaning->scale * issue->iteration + meaning->offset : 0;
  if (meaning && meant != map)
    check_found(check, TD_RULE_SWITCH, issue, "map %d, expected %lld", map, (long long)meant);
  if (issue->iteration == 0) judge_lanes(check, issue, map);
  for (int32_t lane = 0; lane < check->machine->lanes && issue->iteration == 0; lane++) {
    int32_t from = program->maps[map].lane[lane];
    if (from >= -1 && from < check->machine->lanes) continue;
    check_found(check, TD_RULE_SWITCH, issue, "map %d: lane %d takes lane %d of %d", map, lane, from,
                check->machine->lanes);
    return;
  }
}

/* One operation a function and cycle: the queue of another function is no way around. */
static void judge_function(struct check *check, const struct check_issue *issue) {
  int32_t function = (int32_t)function_of(issue->at);
  if (issue->place->function != function) {
    check_found(check, TD_RULE_SWITCH, issue, "operation of function %d in the queue of function %d", function,
                issue->place->function);
  }
}
void check_switch_issue(struct check *check, const struct check_issue *issue) {
  const struct td_lpu_instruction *at = issue->at;
  const struct check_tag none = {0, 0};
  if (at->width != 1 && at->width != 2 && at->width != 4) {
    check_found(check, TD_RULE_WIDTH, issue, "moves elements of %d streams, expected 1, 2 or 4", at->width);
    return;
  }
  judge_function(check, issue);
  if (at->opcode == TD_LPU_PERMUTE || at->opcode == TD_LPU_SELECT) judge_map(check, issue);
  bool fits = check_group_fits(check, issue, group_of(at, at->in[0]), "an operand");
  if (at->opcode == TD_LPU_SELECT) fits = check_group_fits(check, issue, group_of(at, at->in[1]), "an operand") && fits;
  if (!check_group_fits(check, issue, group_of(at, at->out), "the result") || !fits) return;
  check_later(check, issue, CHECK_READ, CHECK_OPERANDS, check->machine->delay[at->opcode].skew, none);
}

/* All streams of a group hold bytes of one type: each its own (TRANSPOSE: the same). */
static struct check_tag read_alike(struct check *check, const struct check_issue *issue, int32_t operand,
                                   struct check_group group) {
  struct check_tag first = check_stream_read(check, issue, operand, group.first, NULL);
  int32_t bytes = td_lpu_type_bytes((enum td_lpu_type)first.type);
  for (int32_t k = 1; k < group.count; k++) {
    struct check_tag expected = first;
    if (group.width > 1 && bytes) expected.component = (uint8_t)((first.component + k) % bytes);
    bool known = first.type != TD_LPU_TYPE_COUNT;
    check_stream_read(check, issue, operand + k, group.first + k, known ? &expected : NULL);
  }
  return first;
}

void check_switch_operands(struct check *check, const struct check_issue *issue) {
  const struct td_lpu_instruction *at = issue->at;
  struct check_group group = group_of(at, at->in[0]);
  struct check_tag tag = read_alike(check, issue, 0, group);
  if (at->opcode == TD_LPU_SELECT) {
    struct check_tag other = read_alike(check, issue, group.count, group_of(at, at->in[1]));
    bool known = tag.type != TD_LPU_TYPE_COUNT && other.type != TD_LPU_TYPE_COUNT;
    if (known && (other.type != tag.type || other.component != tag.component)) {
      check_found(check, TD_RULE_WIDTH, issue, "selects between byte %d of type %d and byte %d of type %d",
                  tag.component, tag.type, other.component, other.type);
    }
  }
  const struct td_lpu_delay *delay = &check->machine->delay[at->opcode];
  check_later(check, issue, CHECK_PUT, CHECK_RESULT, delay->func - delay->skew, tag);
}
