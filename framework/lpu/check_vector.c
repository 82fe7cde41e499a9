/* SPDX-License-Identifier: Apache-2.0
 *
 * The vector unit: what an operation takes, and results that go from ALU to ALU in the very cycle they are there.
 */
#include "check.h"

enum number { ANY, FLOAT, INTEGER };
struct shape {
  int32_t operands;
  enum number takes, gives; /* ANY: what it takes */
};
static const struct shape shapes[TD_ALU_COUNT] = {[TD_ALU_MOVE] = {1, ANY, ANY},
                                                  [TD_ALU_ADD] = {2, FLOAT, FLOAT},
                                                  [TD_ALU_SUB] = {2, FLOAT, FLOAT},
                                                  [TD_ALU_MUL] = {2, FLOAT, FLOAT},
                                                  [TD_ALU_MAX] = {2, FLOAT, FLOAT},
                                                  [TD_ALU_MIN] = {2, FLOAT, FLOAT},
                                                  [TD_ALU_ABS] = {1, FLOAT, FLOAT},
                                                  [TD_ALU_SELECT_LE] = {3, FLOAT, FLOAT},
                                                  [TD_ALU_EXP] = {1, FLOAT, FLOAT},
                                                  [TD_ALU_RSQRT] = {1, FLOAT, FLOAT},
                                                  [TD_ALU_RECIPROCAL] = {1, FLOAT, FLOAT},
                                                  [TD_ALU_TANH] = {1, FLOAT, FLOAT},
                                                  [TD_ALU_SIGMOID] = {1, FLOAT, FLOAT},
                                                  [TD_ALU_TO_I32] = {1, FLOAT, INTEGER},
                                                  [TD_ALU_TO_F32] = {1, INTEGER, FLOAT},
                                                  [TD_ALU_ADD_I32] = {2, INTEGER, INTEGER},
                                                  [TD_ALU_SUB_I32] = {2, INTEGER, INTEGER},
                                                  [TD_ALU_SHIFT_I32] = {2, INTEGER, INTEGER}};

static bool is_integer(uint8_t type) {
  return type == TD_LPU_I8 || type == TD_LPU_W8 || type == TD_LPU_I32;
}

static struct check_group group_of(const struct td_lpu_instruction *at, int32_t which) {
  int32_t bytes = td_lpu_type_bytes((enum td_lpu_type)at->in_type[which]);
  return (struct check_group){at->in[which], bytes, bytes};
}

/* Streams of a type that the machine has. */
static bool is_here(struct check *check, const struct check_issue *issue, uint8_t type) {
  if (check->machine->fp8 || (type != TD_LPU_F8 && type != TD_LPU_WF8)) return true;
  check_found(check, TD_RULE_WIDTH, issue, "found FP8, which %s does not have", check->machine->name);
  return false;
}

static void judge_number(struct check *check, const struct check_issue *issue, enum number expected, bool integer,
                         const char *what) {
  if (expected == ANY || (expected == INTEGER) == integer) return;
  check_found(check, TD_RULE_WIDTH, issue, "%s of %s is %s", what,
              td_lpu_alu_name((enum td_lpu_alu)issue->at->operation), integer ? "an integer" : "a float");
}

/* False where the operand cannot be read. */
static bool judge_operand(struct check *check, const struct check_issue *issue, int32_t which) {
  const struct td_lpu_instruction *at = issue->at;
  const struct shape *shape = &shapes[at->operation];
  bool wanted = which < shape->operands, good = true;
  if (wanted != (at->source[which] != TD_SOURCE_NONE)) {
    check_found(check, TD_RULE_ALU, issue, "%s takes %d operands, operand %d is %s",
                td_lpu_alu_name((enum td_lpu_alu)at->operation), shape->operands, which,
                wanted ? "none" : "one too many");
    good = false; /* whose meaning is whose? */
  }
  if (at->source[which] == TD_SOURCE_STREAM) {
    good = is_here(check, issue, at->in_type[which]) && good;
    good = check_group_fits(check, issue, group_of(at, which), "an operand") && good;
    judge_number(check, issue, shape->takes, is_integer(at->in_type[which]), "an operand");
  }
  if (at->source[which] == TD_SOURCE_CHAIN && at->in[which] >= check->machine->alus) {
    check_found(check, TD_RULE_ALU, issue, "chains ALU %d of %d", at->in[which], check->machine->alus);
    good = false;
  }
  return good;
}

/* What the ALU computes is what is meant, where the side table says so. */
static void judge_operation(struct check *check, const struct check_issue *issue) {
  const struct td_lpu_meaning *meaning = check_meaning(check, issue->instruction, TD_MEANING_ADDRESS, 0, 0);
  if (!meaning || meaning->offset == issue->at->operation) return;
  check_found(check, TD_RULE_ALU, issue, "computes %s, expected operation %d",
              td_lpu_alu_name((enum td_lpu_alu)issue->at->operation), meaning->offset);
}

/* False where it cannot go on. */
static bool judge_shape(struct check *check, const struct check_issue *issue) {
  const struct td_lpu_instruction *at = issue->at;
  int32_t operands = 0,
          meant = at->meaning_count ? check->looked->meanings[at->meaning + at->meaning_count - 1].operand : -1;
  bool good = true;
  for (int32_t which = 0; which < 3; which++) {
    good = judge_operand(check, issue, which) && good;
    if (at->source[which] == TD_SOURCE_STREAM) operands += group_of(at, which).count;
    if (at->source[which] == TD_SOURCE_CHAIN) operands++;
  }
  if (meant >= operands) check_found(check, TD_RULE_ALU, issue, "operand %d is meant, there are %d", meant, operands);
  judge_operation(check, issue);
  if (at->out == TD_LPU_NO_STREAM) return good;
  int32_t bytes = td_lpu_type_bytes((enum td_lpu_type)at->out_type);
  struct check_group out = {at->out, bytes, bytes};
  good = is_here(check, issue, at->out_type) && check_group_fits(check, issue, out, "the result") && good;
  judge_number(check, issue, shapes[at->operation].gives, is_integer(at->out_type), "the result");
  return good;
}

void check_alu_issue(struct check *check, const struct check_issue *issue) {
  const struct td_lpu_instruction *at = issue->at;
  const struct check_tag none = {0, 0};
  if (issue->iteration == 0 ? !judge_shape(check, issue) : check->out->found) return;
  check_later(check, issue, CHECK_READ, CHECK_OPERANDS, check->machine->delay[TD_LPU_ALU].skew, none);
  int32_t func = check->machine->alu_func[at->operation];
  struct check_tag tag = {check_plain_type(at->out_type), 0};
  check_later(check, issue, CHECK_ARRIVE, CHECK_CHAINED, func, tag);
  if (at->out != TD_LPU_NO_STREAM) check_later(check, issue, CHECK_PUT, CHECK_RESULT, func, tag);
}

/* A chain's number is its producer's; MOVE hands on what it takes. */
static bool gives_integer(const struct check *check, int32_t instruction, int32_t depth) {
  const struct td_lpu_instruction *at = &check->segment->instructions[instruction];
  enum number gives = shapes[at->operation].gives;
  if (gives != ANY) return gives == INTEGER;
  if (at->out != TD_LPU_NO_STREAM) return is_integer(at->out_type);
  if (at->source[0] == TD_SOURCE_STREAM) return is_integer(at->in_type[0]);
  const struct td_lpu_meaning *meaning = check_meaning(check, instruction, 0, 0, 0);
  if (at->source[0] != TD_SOURCE_CHAIN || !meaning || depth > 8) return false;
  bool known = meaning->producer >= 0 && meaning->producer < check->segment->instruction_count;
  return known && gives_integer(check, meaning->producer, depth + 1);
}

void check_alu_arrived(struct check *check, const struct check_issue *issue) {
  struct check_chained *last = &issue->chip->alus[issue->place->index];
  bool twice = last->maker.call == check->ordinal && last->cycle == check->now;
  bool integer = gives_integer(check, issue->instruction, 0);
  *last = (struct check_chained){check_maker_of(check, issue), check->now, integer, twice};
}

static void read_chain(struct check *check, const struct check_issue *issue, int32_t which, int32_t operand) {
  const struct check_chained *from = &issue->chip->alus[issue->at->in[which]];
  const struct td_lpu_meaning *meaning = check_meaning(check, issue->instruction, operand, 0, issue->iteration);
  if (from->maker.call != check->ordinal || from->cycle != check->now) {
    check_found(check, TD_RULE_ALU, issue, "ALU %d has no result in this cycle", issue->at->in[which]);
  } else if (from->twice) {
    check_found(check, TD_RULE_ALU, issue, "ALU %d has two results in this cycle", issue->at->in[which]);
  } else if (!check_meant(check, meaning, issue->iteration, &from->maker) || meaning->component != 0) {
    check_found(check, TD_RULE_ALU, issue, "ALU %d's result is of instruction %d iteration %d, expected %d",
                issue->at->in[which], from->maker.instruction, from->maker.iteration, meaning ? meaning->producer : -1);
  } else {
    judge_number(check, issue, shapes[issue->at->operation].takes, from->integer, "a chained operand");
  }
}

/* A move's result is what its operand was. */
static void judge_move(struct check *check, const struct check_issue *issue) {
  const struct td_lpu_instruction *at = issue->at;
  if (at->operation != TD_ALU_MOVE || at->out == TD_LPU_NO_STREAM) return;
  bool integer = is_integer(at->in_type[0]);
  if (at->source[0] == TD_SOURCE_CHAIN) integer = issue->chip->alus[at->in[0]].integer;
  if (at->source[0] == TD_SOURCE_IMMEDIATE || integer == is_integer(at->out_type)) return;
  check_found(check, TD_RULE_WIDTH, issue, "moves %s", integer ? "an integer to a float" : "a float to an integer");
}

void check_alu_operands(struct check *check, const struct check_issue *issue) {
  const struct td_lpu_instruction *at = issue->at;
  int32_t operand = 0;
  for (int32_t which = 0; which < 3; which++) {
    if (at->source[which] == TD_SOURCE_STREAM) {
      struct check_group group = group_of(at, which);
      check_group_read(check, issue, operand, group, at->in_type[which]);
      operand += group.count;
    } else if (at->source[which] == TD_SOURCE_CHAIN) {
      read_chain(check, issue, which, operand++);
    }
  }
  judge_move(check, issue);
}
