/* SPDX-License-Identifier: Apache-2.0
 *
 * Families of LINK and SEGMENT: between chips, between segments.
 */
#include "lpu/mutants.h"

static bool is(const struct mutant_site *site, enum td_lpu_opcode opcode) {
  return site->at->opcode == opcode;
}
static const struct td_lpu_machine *machine_of(const struct mutant_site *site) {
  return &site->mutant->from->machine;
}
static bool same_queue(const struct td_lpu_instruction *x, const struct td_lpu_instruction *y) {
  return x->chip == y->chip && x->queue == y->queue;
}

/* ---- LINK ---- */

static bool sends_too_fast(const struct mutant_site *site) {
  if (!is(site, TD_LPU_SEND) || site->at->repeat < 2) return false;
  struct td_lpu_rates rates;
  td_lpu_machine_rates(machine_of(site), &rates);
  int32_t gap = (int32_t)rates.link_vector_cycles - 1 - site->variant;
  if (gap < 1) return false;
  mutant_edit(site)->gap = gap;
  return true;
}
static bool received_late(const struct mutant_site *site) {
  return is(site, TD_LPU_RECEIVE) && mutant_move(site, 1 + site->variant);
}
static bool received_early(const struct mutant_site *site) {
  return is(site, TD_LPU_RECEIVE) && mutant_move(site, -1 - machine_of(site)->link_slack - site->variant);
}
static bool other_send(const struct mutant_site *site) {
  if (!is(site, TD_LPU_RECEIVE) || !mutant_has_meaning(site, TD_MEANING_SENT)) return false;
  int32_t distance = 1 + site->variant / 2;
  mutant_meaning(site, TD_MEANING_SENT)->offset += site->variant % 2 ? distance : -distance;
  return true;
}
static bool never_received(const struct mutant_site *site) {
  if (!is(site, TD_LPU_RECEIVE) || site->at->repeat < 2 + site->variant) return false;
  /* Nobody may read what is not received before it is due: the others' iterations come later than that. */
  mutant_edit(site)->repeat -= 1 + site->variant;
  return true;
}

/* ---- SEGMENT ---- */

/* One mutant per segment, though there is a site per instruction. */
static bool once(const struct mutant_site *site) {
  return site->i == 0;
}
static bool short_length(const struct mutant_site *site) {
  if (!once(site)) return false;
  int32_t latest = 0;
  for (int32_t i = 0; i < site->segment->instruction_count; i++) {
    int32_t last = mutant_last_cycle(&site->segment->instructions[i]);
    if (last > latest) latest = last;
  }
  if (latest < site->variant) return false;
  mutant_segment(site)->length = latest - site->variant;
  return true;
}
static bool arrays_from_nowhere(const struct mutant_site *site) {
  if (!once(site) || site->variant >= machine_of(site)->planes) return false;
  if (site->segment->arrays_in >> site->variant & 1) return false;
  for (int32_t s = 0; s < site->mutant->from->segment_count; s++) {
    if (site->mutant->from->segments[s].arrays_out >> site->variant & 1) return false;
  }
  mutant_segment(site)->arrays_in |= 1u << site->variant;
  return true;
}
static bool foreign_meaning(const struct mutant_site *site) {
  if (!mutant_has_meaning(site, 0) || is(site, TD_LPU_ALU)) return false;
  struct td_lpu_meaning *meaning = mutant_meaning(site, 0);
  meaning->producer = site->variant ? -1 : mutant_segment(site)->instruction_count;
  return true;
}
static bool total_left(const struct mutant_site *site) {
  if (!is(site, TD_LPU_SUM) || !(site->at->flags & TD_LPU_ADD) || !(site->at->flags & TD_LPU_EMIT)) return false;
  mutant_edit(site)->flags = TD_LPU_EMIT;
  return true;
}
static bool before_segment(const struct mutant_site *site) {
  if (site->s == site->first || (site->i > 0 && same_queue(site->at - 1, site->at))) return false;
  mutant_edit(site)->cycle = -1 - site->variant;
  return true;
}

const struct mutant_family mutant_step_families[] = {
    {TD_RULE_LINK, "sent before the link is free", 24, sends_too_fast},
    {TD_RULE_LINK, "received too late", 8, received_late},
    {TD_RULE_LINK, "received too early", 8, received_early},
    {TD_RULE_LINK, "means another vector", 8, other_send},
    {TD_RULE_LINK, "never received", 2, never_received},
    {TD_RULE_SEGMENT, "ends while units work", 24, short_length},
    {TD_RULE_SEGMENT, "uses arrays that nobody left", TD_LPU_MOST_PLANES, arrays_from_nowhere},
    {TD_RULE_SEGMENT, "means an instruction of another segment", 2, foreign_meaning},
    {TD_RULE_SEGMENT, "leaves an accumulator behind", 1, total_left},
    {TD_RULE_SEGMENT, "issued before the segment", 3, before_segment},
    {TD_RULE_QUEUE, NULL, 0, NULL}};
