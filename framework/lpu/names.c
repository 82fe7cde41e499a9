/* SPDX-License-Identifier: Apache-2.0
 *
 * The names of opcodes, ALU operations, units and rules, as dumps and messages print them.
 */
#include "tandem/lpu.h"

static const char *const opcodes[TD_LPU_OPCODE_COUNT] = {"memory",    "load",   "install", "pass",    "sum",
                                                         "alu",       "rotate", "shift",   "permute", "select",
                                                         "transpose", "send",   "receive"};
static const char *const operations[TD_ALU_COUNT] = {
    "move",  "add",        "sub",  "mul",     "max",    "min",    "abs",     "select_le", "exp",
    "rsqrt", "reciprocal", "tanh", "sigmoid", "to_i32", "to_f32", "add_i32", "sub_i32",   "shift_i32"};
static const char *const units[TD_LPU_UNIT_COUNT] = {"memory", "matrix", "vector", "switch", "link"};
static const char *const rules[TD_LPU_RULE_COUNT] = {"QUEUE",  "PORT",     "ADDRESS", "WIDTH",   "REACH",  "STREAM",
                                                     "ARRIVE", "LIFETIME", "BUFFER",  "INSTALL", "PLANE",  "SUM",
                                                     "ALU",    "SWITCH",   "LINK",    "EPOCH",   "FINISH", "SEGMENT"};

const char *td_lpu_opcode_name(enum td_lpu_opcode opcode) {
  return opcode >= 0 && opcode < TD_LPU_OPCODE_COUNT ? opcodes[opcode] : "?";
}
const char *td_lpu_alu_name(enum td_lpu_alu operation) {
  return operation >= 0 && operation < TD_ALU_COUNT ? operations[operation] : "?";
}
const char *td_lpu_unit_name(enum td_lpu_unit unit) {
  return unit >= 0 && unit < TD_LPU_UNIT_COUNT ? units[unit] : "?";
}
const char *td_lpu_rule_name(enum td_lpu_rule rule) {
  return rule >= 0 && rule < TD_LPU_RULE_COUNT ? rules[rule] : "?";
}

int32_t td_lpu_type_bytes(enum td_lpu_type type) {
  static const int32_t bytes[TD_LPU_TYPE_COUNT] = {1, 2, 4, 4, 1, 1, 1};
  return type >= 0 && type < TD_LPU_TYPE_COUNT ? bytes[type] : 0;
}
