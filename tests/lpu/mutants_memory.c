/* SPDX-License-Identifier: Apache-2.0
 *
 * Families of LIFETIME and FINISH: words.
 */
#include "lpu/mutants.h"

static bool is_memory(const struct mutant_site *site, int32_t flag) {
  return site->at->opcode == TD_LPU_MEMORY && site->at->flags & flag;
}

/* ---- LIFETIME ---- */

static bool other_writer(const struct mutant_site *site) {
  if (!is_memory(site, TD_LPU_READ) || !mutant_has_meaning(site, TD_MEANING_WORD)) return false;
  struct td_lpu_meaning *meaning = mutant_meaning(site, TD_MEANING_WORD);
  meaning->offset += site->variant % 2 ? 1 + site->variant / 2 : -1 - site->variant / 2;
  return true;
}
static bool stale_word(const struct mutant_site *site) {
  if (!is_memory(site, TD_LPU_READ) || !mutant_has_meaning(site, TD_MEANING_WORD)) return false;
  mutant_meaning(site, TD_MEANING_WORD)->end = 0;
  return true;
}
/* Read in the very cycle in which the write lands, or before. */
static bool read_too_early(const struct mutant_site *site) {
  if (!is_memory(site, TD_LPU_READ) || !mutant_has_meaning(site, TD_MEANING_WORD)) return false;
  const struct td_lpu_segment *segment = site->segment;
  for (int32_t m = site->at->meaning; m < site->at->meaning + site->at->meaning_count; m++) {
    const struct td_lpu_meaning *meaning = &segment->meanings[m];
    if (meaning->operand != TD_MEANING_WORD || meaning->begin > 0) continue;
    const struct td_lpu_instruction *write = &segment->instructions[meaning->producer];
    int32_t lands = write->cycle + meaning->offset * write->gap + site->mutant->from->machine.memory_write_skew;
    return mutant_move(site, lands - site->variant - site->at->cycle);
  }
  return false;
}
/* Another word of the image than the one that is meant. */
static bool other_word(const struct mutant_site *site) {
  int32_t which = site->variant % 2, shift = site->variant / 2 + 1;
  if (!is_memory(site, which ? TD_LPU_WRITE : TD_LPU_READ)) return false;
  if (!mutant_has_meaning(site, TD_MEANING_ADDRESS) || site->at->patch[which]) return false;
  if (site->at->flags & TD_LPU_READ && site->at->flags & TD_LPU_WRITE) return false; /* maybe PORT */
  const struct td_lpu_image *image = &site->mutant->from->images[site->at->image[which]];
  int64_t low = site->at->address[which], last = (int64_t)site->at->stride[which] * (site->at->repeat - 1), high = low;
  if (last < 0) low += last;
  if (last > 0) high += last;
  if (high + shift >= image->word + image->words) shift = -shift;
  if (low + shift < image->word || high + shift >= image->word + image->words) return false;
  mutant_edit(site)->address[which] += shift;
  return true;
}

/* ---- FINISH ---- */

/* Outputs that nobody on the chip reads: only the end of the step misses them. */
static bool is_last_output(const struct mutant_site *site) {
  const struct td_lpu_program *program = site->mutant->from;
  if (!is_memory(site, TD_LPU_WRITE) || site->at->flags & TD_LPU_READ) return false;
  int32_t image = site->at->image[1];
  if (program->images[image].kind != TD_IMAGE_OUTPUT) return false;
  for (int32_t s = 0; s < program->segment_count; s++) {
    for (int32_t i = 0; i < program->segments[s].instruction_count; i++) {
      const struct td_lpu_instruction *at = &program->segments[s].instructions[i];
      if (at->opcode == TD_LPU_MEMORY && at->flags & TD_LPU_READ && at->image[0] == image) return false;
    }
  }
  return true;
}
static bool not_written(const struct mutant_site *site) {
  if (!is_last_output(site)) return false;
  mutant_remove(site);
  return true;
}
static bool short_repeat(const struct mutant_site *site) {
  if (site->at->repeat <= site->variant + 1 || !is_last_output(site)) return false;
  mutant_edit(site)->repeat -= site->variant + 1;
  return true;
}

const struct mutant_family mutant_memory_families[] = {
    {TD_RULE_LIFETIME, "means another write", 6, other_writer},
    {TD_RULE_LIFETIME, "means what stood there before the segment", 1, stale_word},
    {TD_RULE_LIFETIME, "read before the write lands", 12, read_too_early},
    {TD_RULE_LIFETIME, "another word of the image", 6, other_word},
    {TD_RULE_FINISH, "an output is not written", 1, not_written},
    {TD_RULE_FINISH, "shortened repeat of an output's write", 32, short_repeat},
    {TD_RULE_QUEUE, NULL, 0, NULL}};
