/* SPDX-License-Identifier: Apache-2.0
 *
 * Families of BUFFER, INSTALL, PLANE, SUM, ALU and SWITCH.
 */
#include "lpu/mutants.h"

static bool is(const struct mutant_site *site, enum td_lpu_opcode opcode) {
  return site->at->opcode == opcode;
}
static const struct td_lpu_machine *machine_of(const struct mutant_site *site) {
  return &site->mutant->from->machine;
}
static int32_t plane_of(const struct mutant_site *site) {
  struct td_lpu_queue queue;
  return td_lpu_queue_at(machine_of(site), site->at->queue, &queue) ? queue.index : 0;
}
/* The offset of a meaning, one or more iterations off. */
static bool other_maker(const struct mutant_site *site, enum td_lpu_opcode opcode, int32_t operand) {
  if (!is(site, opcode) || !mutant_has_meaning(site, operand)) return false;
  int32_t distance = 1 + site->variant / 2;
  mutant_meaning(site, operand)->offset += site->variant % 2 ? distance : -distance;
  return true;
}
static bool no_maker(const struct mutant_site *site, enum td_lpu_opcode opcode, int32_t operand) {
  if (!is(site, opcode) || !mutant_has_meaning(site, operand)) return false;
  mutant_meaning(site, operand)->begin = 1 + site->variant;
  return true;
}
/* The first instruction whose special meaning is this one's; NULL: none. */
static const struct td_lpu_instruction *user_of(const struct mutant_site *site, int32_t operand) {
  for (int32_t i = 0; i < site->segment->instruction_count; i++) {
    const struct td_lpu_instruction *at = &site->segment->instructions[i];
    for (int32_t m = 0; m < at->meaning_count; m++) {
      const struct td_lpu_meaning *meaning = &site->segment->meanings[at->meaning + m];
      if (meaning->operand == operand && meaning->producer == site->i) return at;
    }
  }
  return NULL;
}

/* ---- BUFFER ---- */

static bool other_load(const struct mutant_site *site) {
  return other_maker(site, TD_LPU_INSTALL, TD_MEANING_STEP);
}
static bool no_load(const struct mutant_site *site) {
  return no_maker(site, TD_LPU_INSTALL, TD_MEANING_STEP);
}
/* Installed before its last load is in the buffer. */
static bool install_early(const struct mutant_site *site) {
  if (!is(site, TD_LPU_INSTALL)) return false;
  int32_t latest = 0;
  for (int32_t m = 0; m < site->at->meaning_count; m++) {
    const struct td_lpu_meaning *meaning = &site->segment->meanings[site->at->meaning + m];
    if (meaning->operand != TD_MEANING_STEP) continue;
    const struct td_lpu_instruction *load = &site->segment->instructions[meaning->producer];
    int32_t arrives = load->cycle + meaning->offset * load->gap + machine_of(site)->delay[TD_LPU_LOAD].func;
    if (load->flags & TD_LPU_COLUMNS) arrives += machine_of(site)->transpose_cycles;
    if (arrives > latest) latest = arrives;
  }
  return mutant_move(site, latest - 1 - site->variant - site->at->cycle);
}
static bool install_twice(const struct mutant_site *site) {
  if (!is(site, TD_LPU_INSTALL)) return false;
  struct td_lpu_instruction again = *site->at;
  again.cycle += 1 + site->variant;
  return again.cycle < site->at->cycle + machine_of(site)->install_cycles && mutant_insert(site, again);
}
static bool other_step(const struct mutant_site *site) {
  if (!is(site, TD_LPU_LOAD) || site->at->patch[0]) return false;
  mutant_edit(site)->address[0] += site->variant % 2 ? 1 + site->variant / 2 : -1 - site->variant / 2;
  return true;
}

/* ---- INSTALL ---- */

static bool other_install(const struct mutant_site *site) {
  return other_maker(site, TD_LPU_PASS, TD_MEANING_ARRAY);
}
static bool no_install(const struct mutant_site *site) {
  return site->variant < site->at->repeat && no_maker(site, TD_LPU_PASS, TD_MEANING_ARRAY);
}
/* The pass starts in a slot of its install. */
static bool pass_in_install(const struct mutant_site *site) {
  if (!is(site, TD_LPU_PASS) || site->variant >= machine_of(site)->install_cycles) return false;
  if (machine_of(site)->delay[TD_LPU_PASS].skew == 0) return false; /* its operand is missing in the same cycle */
  for (int32_t m = 0; m < site->at->meaning_count; m++) {
    const struct td_lpu_meaning *meaning = &site->segment->meanings[site->at->meaning + m];
    if (meaning->operand != TD_MEANING_ARRAY) continue;
    const struct td_lpu_instruction *install = &site->segment->instructions[meaning->producer];
    return mutant_move(site, install->cycle + site->variant - site->at->cycle);
  }
  return false;
}
/* Whether another load reaches the plane's buffer, or the pair's, in cycles (from, to]. */
static bool loads_between(const struct mutant_site *site, int32_t from, int32_t to) {
  for (int32_t i = 0; i < site->segment->instruction_count; i++) {
    const struct td_lpu_instruction *at = &site->segment->instructions[i];
    struct td_lpu_queue queue;
    if (at->opcode != TD_LPU_LOAD || at->chip != site->at->chip) continue;
    if (!td_lpu_queue_at(machine_of(site), at->queue, &queue) || (queue.index ^ plane_of(site)) > 1) continue;
    int32_t delay = machine_of(site)->delay[TD_LPU_LOAD].func;
    if (at->flags & TD_LPU_COLUMNS) delay += machine_of(site)->transpose_cycles;
    for (int32_t r = 0; r < at->repeat; r++) {
      int32_t arrives = at->cycle + r * at->gap + delay;
      if (arrives > from && arrives <= to) return true;
    }
  }
  return false;
}
/* The install ends after its first pass was issued. */
static bool install_late(const struct mutant_site *site) {
  if (!is(site, TD_LPU_INSTALL)) return false;
  const struct td_lpu_instruction *pass = user_of(site, TD_MEANING_ARRAY);
  if (!pass || site->variant >= machine_of(site)->install_cycles) return false;
  if (loads_between(site, site->at->cycle, pass->cycle)) return false; /* BUFFER comes first */
  return mutant_move(site, pass->cycle - site->variant - site->at->cycle);
}

/* ---- PLANE ---- */

/* One iteration of the pass again, in the same cycle, through the other plane of the pair. */
static bool pass_twice(const struct mutant_site *site, enum td_lpu_type type) {
  if (!is(site, TD_LPU_PASS) || site->at->type != TD_LPU_F16 || site->variant >= site->at->repeat) return false;
  struct td_lpu_instruction again = *site->at;
  again.queue = (uint16_t)td_lpu_matrix_queue(machine_of(site), plane_of(site) ^ 1, TD_MATRIX_PASS);
  again.type = (uint8_t)type;
  return mutant_insert_iteration(site, again, site->variant);
}
static bool pair_twice(const struct mutant_site *site) {
  return pass_twice(site, TD_LPU_F16);
}
static bool half_pair(const struct mutant_site *site) {
  return machine_of(site)->delay[TD_LPU_PASS].skew > 0 && pass_twice(site, TD_LPU_I8);
}
static bool other_pass_type(const struct mutant_site *site) {
  if (!is(site, TD_LPU_PASS) || machine_of(site)->delay[TD_LPU_PASS].skew == 0) return false;
  bool wide = site->at->type == TD_LPU_F16;
  if (!wide && (plane_of(site) % 2 || site->at->in[0] % 2)) return false;
  mutant_edit(site)->type = wide ? TD_LPU_I8 : TD_LPU_F16;
  return true;
}

/* ---- SUM ---- */

static bool other_pass(const struct mutant_site *site) {
  return other_maker(site, TD_LPU_SUM, TD_MEANING_ROW);
}
static bool other_total(const struct mutant_site *site) {
  return other_maker(site, TD_LPU_SUM, TD_MEANING_TOTAL);
}
static bool moved_sum(const struct mutant_site *site) {
  int32_t distance = 1 + site->variant / 2;
  return is(site, TD_LPU_SUM) && mutant_move(site, site->variant % 2 ? distance : -distance);
}
static bool other_accumulator(const struct mutant_site *site) {
  if (!is(site, TD_LPU_SUM) || !(site->at->flags & TD_LPU_ADD)) return false;
  mutant_edit(site)->address[0] += site->variant % 2 ? 1 + site->variant / 2 : -1 - site->variant / 2;
  return true;
}
static bool no_accumulator(const struct mutant_site *site) {
  if (!is(site, TD_LPU_SUM) || !(site->at->flags & (TD_LPU_ADD | TD_LPU_KEEP))) return false;
  mutant_edit(site)->address[0] =
      site->variant % 2 ? machine_of(site)->accumulator_depth + site->variant / 2 : -1 - site->variant / 2;
  return true;
}
static bool nowhere(const struct mutant_site *site) {
  if (!is(site, TD_LPU_SUM) || site->at->flags & TD_LPU_ADD) return false;
  mutant_edit(site)->flags = 0;
  return true;
}

/* ---- ALU ---- */

static bool other_alu(const struct mutant_site *site) {
  int32_t which = site->variant % 3, distance = 1 + site->variant / 3, alus = machine_of(site)->alus;
  if (!is(site, TD_LPU_ALU) || site->at->source[which] != TD_SOURCE_CHAIN || distance >= alus) return false;
  mutant_edit(site)->in[which] = (uint8_t)((site->at->in[which] + distance) % alus);
  return true;
}
static bool no_alu(const struct mutant_site *site) {
  int32_t which = site->variant % 3;
  if (!is(site, TD_LPU_ALU) || site->at->source[which] != TD_SOURCE_CHAIN) return false;
  mutant_edit(site)->in[which] = (uint8_t)(machine_of(site)->alus + site->variant / 3);
  return true;
}
static bool moved_chain(const struct mutant_site *site) {
  if (!is(site, TD_LPU_ALU)) return false;
  bool chain = false;
  for (int which = 0; which < 3; which++) {
    if (site->at->source[which] == TD_SOURCE_STREAM) return false;
    chain = chain || site->at->source[which] == TD_SOURCE_CHAIN;
  }
  int32_t distance = 1 + site->variant / 2;
  return chain && mutant_move(site, site->variant % 2 ? distance : -distance);
}
static bool too_many_operands(const struct mutant_site *site) {
  int32_t which = site->variant;
  if (!is(site, TD_LPU_ALU) || site->at->source[which] != TD_SOURCE_NONE) return false;
  mutant_edit(site)->source[which] = TD_SOURCE_IMMEDIATE;
  return true;
}
static bool too_few_operands(const struct mutant_site *site) {
  int32_t which = site->variant;
  if (!is(site, TD_LPU_ALU) || site->at->source[which] == TD_SOURCE_NONE) return false;
  mutant_edit(site)->source[which] = TD_SOURCE_NONE;
  return true;
}

/* ---- SWITCH ---- */

/* The same operation in the same cycle, given to the queue of another function. */
static bool switch_twice(const struct mutant_site *site) {
  bool moves = site->at->opcode >= TD_LPU_ROTATE && site->at->opcode <= TD_LPU_TRANSPOSE;
  struct td_lpu_queue queue;
  if (!moves || !td_lpu_queue_at(machine_of(site), site->at->queue, &queue)) return false;
  int32_t functions = machine_of(site)->switch_functions, iteration = site->variant / 4;
  if (queue.function == site->variant % 4 || site->variant % 4 >= functions || iteration >= site->at->repeat) {
    return false;
  }
  struct td_lpu_instruction again = *site->at;
  again.queue =
      (uint16_t)td_lpu_switch_queue(machine_of(site), queue.hemisphere, (enum td_lpu_switch_queue)(site->variant % 4));
  return mutant_insert_iteration(site, again, iteration);
}
static bool uses_map(const struct mutant_site *site) {
  return is(site, TD_LPU_PERMUTE) || is(site, TD_LPU_SELECT);
}
static bool no_map(const struct mutant_site *site) {
  if (!uses_map(site)) return false;
  mutant_edit(site)->address[0] =
      site->variant % 2 ? site->mutant->from->map_count + site->variant / 2 : -1 - site->variant / 2;
  return true;
}

const struct mutant_family mutant_unit_families[] = {
    {TD_RULE_BUFFER, "means another load", 6, other_load},
    {TD_RULE_BUFFER, "means an empty step", 1, no_load},
    {TD_RULE_BUFFER, "installed before the load is there", 20, install_early},
    {TD_RULE_BUFFER, "installed twice", 20, install_twice},
    {TD_RULE_BUFFER, "loaded into another step", 8, other_step},
    {TD_RULE_INSTALL, "means another install", 12, other_install},
    {TD_RULE_INSTALL, "means an array from before the segment", 16, no_install},
    {TD_RULE_INSTALL, "passes while being installed", 20, pass_in_install},
    {TD_RULE_INSTALL, "installed too late", 20, install_late},
    {TD_RULE_PLANE, "a pair's vector through both planes", 32, pair_twice},
    {TD_RULE_PLANE, "an int8 vector beside a pair's", 32, half_pair},
    {TD_RULE_PLANE, "a vector of another kind than the array", 1, other_pass_type},
    {TD_RULE_SUM, "means another pass", 8, other_pass},
    {TD_RULE_SUM, "means another total", 8, other_total},
    {TD_RULE_SUM, "takes the row early or late", 8, moved_sum},
    {TD_RULE_SUM, "adds to another accumulator", 8, other_accumulator},
    {TD_RULE_SUM, "an accumulator that is not there", 8, no_accumulator},
    {TD_RULE_SUM, "goes nowhere", 1, nowhere},
    {TD_RULE_ALU, "chains another ALU", 45, other_alu},
    {TD_RULE_ALU, "chains an ALU that is not there", 12, no_alu},
    {TD_RULE_ALU, "takes a chained result early or late", 8, moved_chain},
    {TD_RULE_ALU, "too many operands", 3, too_many_operands},
    {TD_RULE_ALU, "too few operands", 3, too_few_operands},
    {TD_RULE_SWITCH, "given to another function as well", 32, switch_twice},
    {TD_RULE_SWITCH, "a map that is not there", 32, no_map},
    {TD_RULE_QUEUE, NULL, 0, NULL}};
