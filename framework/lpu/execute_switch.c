/* SPDX-License-Identifier: Apache-2.0
 *
 * The switch: vectors whose lanes change places.
 */
#include <string.h>

#include "execute.h"

static void rotate(const uint8_t *in, uint8_t *out, int32_t lanes, int32_t group, int32_t by) {
  by = (by % group + group) % group;
  for (int32_t at = 0; at < lanes; at += group) {
    memcpy(out + at, in + at + by, (size_t)(group - by));
    memcpy(out + at + group - by, in + at, (size_t)by);
  }
}

static void shift(const uint8_t *in, uint8_t *out, int32_t lanes, int32_t by) {
  memset(out, 0, (size_t)lanes);
  size_t kept = (size_t)lanes - (size_t)(by < 0 ? -by : by);
  if (by >= 0 && by < lanes) memcpy(out, in + by, kept);
  if (by < 0 && by > -lanes) memcpy(out - by, in, kept);
}

static void permute(const uint8_t *in, uint8_t *out, int32_t lanes, const int16_t *map) {
  for (int32_t l = 0; l < lanes; l++) out[l] = map[l] < 0 ? 0 : in[map[l]];
}

static void choose(const uint8_t *a, const uint8_t *b, uint8_t *out, int32_t lanes, const int16_t *map) {
  for (int32_t l = 0; l < lanes; l++) out[l] = map[l] >= 0 ? a[l] : b[l];
}

/* The map that an instruction names; its lanes are looked at only where they are read from. */
static td_status map_of(const struct execution *run, const struct execute_node *node, const int16_t **out) {
  const struct td_lpu_program *program = run->system.program;
  const struct execute_op *op = node->op;
  if (node->address < 0 || node->address >= program->map_count) {
    return execute_refuse(run, op, run->now, TD_RULE_ADDRESS, "found map %d, expected one of %d", node->address,
                          program->map_count);
  }
  const int16_t *lane = program->maps[node->address].lane;
  for (int32_t l = 0; l < program->machine.lanes; l++) {
    if (op->of->opcode == TD_LPU_PERMUTE && lane[l] >= program->machine.lanes) {
      return execute_refuse(run, op, run->now, TD_RULE_ADDRESS, "map %d: found lane %d at %d, expected under %d",
                            node->address, lane[l], l, program->machine.lanes);
    }
  }
  *out = lane;
  return TD_OK;
}

static td_status transpose(struct execution *run, struct execute_node *node) {
  const struct execute_op *op = node->op;
  int32_t lanes = execute_machine(run)->lanes;
  for (int32_t l = 0; l < 16; l++) {
    const uint8_t *in = execute_passing(run, op, op->of->in[0], l);
    if (!in) return execute_absent(run, op, (uint8_t)(op->of->in[0] + l));
    for (int32_t at = 0; at < lanes; at += 16) {
      for (int32_t i = 0; i < 16; i++) node->vector[i][at + l] = in[at + i];
    }
  }
  return TD_OK;
}

static td_status move_one(struct execution *run, struct execute_node *node, int32_t i, const int16_t *map) {
  const struct td_lpu_machine *machine = execute_machine(run);
  const struct td_lpu_instruction *of = node->op->of;
  const uint8_t *a = execute_passing(run, node->op, of->in[0], i), *b = NULL;
  if (!a) return execute_absent(run, node->op, (uint8_t)(of->in[0] + i));
  if (of->opcode == TD_LPU_SELECT) {
    b = execute_passing(run, node->op, of->in[1], i);
    if (!b) return execute_absent(run, node->op, (uint8_t)(of->in[1] + i));
  }
  uint8_t *out = node->vector[i];
  switch (of->opcode) {
    case TD_LPU_ROTATE:
      rotate(a, out, machine->lanes, machine->lanes_per_superlane, (int32_t)of->immediate);
      break;
    case TD_LPU_SHIFT:
      shift(a, out, machine->lanes, (int32_t)of->immediate);
      break;
    case TD_LPU_PERMUTE:
      permute(a, out, machine->lanes, map);
      break;
    default:
      choose(a, b, out, machine->lanes, map);
      break;
  }
  return TD_OK;
}

td_status execute_switch_read(struct execution *run, struct execute_node *node) {
  const struct execute_op *op = node->op;
  const int16_t *map = NULL;
  TD_TRY(execute_node_vectors(run, node, op->out_width));
  if (op->of->opcode == TD_LPU_TRANSPOSE) {
    TD_TRY(transpose(run, node));
  } else {
    if (op->of->opcode == TD_LPU_PERMUTE || op->of->opcode == TD_LPU_SELECT) TD_TRY(map_of(run, node, &map));
    for (int32_t i = 0; i < op->out_width; i++) TD_TRY(move_one(run, node, i, map));
  }
  execute_push(run, run->results, node, op->func - op->skew);
  return TD_OK;
}
