/* SPDX-License-Identifier: Apache-2.0
 *
 * Families of QUEUE, PORT, ADDRESS and EPOCH: what is wrong at issue.
 */
#include "lpu/mutants.h"

static bool same_queue(const struct td_lpu_instruction *x, const struct td_lpu_instruction *y) {
  return x->chip == y->chip && x->queue == y->queue;
}
static const struct td_lpu_instruction *next_of(const struct mutant_site *site) {
  bool next = site->i + 1 < site->segment->instruction_count && same_queue(site->at, site->at + 1);
  return next ? site->at + 1 : NULL;
}
static bool is_memory(const struct mutant_site *site, int32_t flag) {
  return site->at->opcode == TD_LPU_MEMORY && site->at->flags & flag;
}

/* ---- QUEUE ---- */

static bool move_into_last(const struct mutant_site *site) {
  if (site->i == 0 || !same_queue(site->at - 1, site->at)) return false;
  mutant_edit(site)->cycle = mutant_last_cycle(site->at - 1);
  return true;
}
static bool issue_twice(const struct mutant_site *site) {
  const struct td_lpu_instruction *next = next_of(site);
  if (!next || site->at->repeat != 1 || next->cycle <= site->at->cycle) return false;
  struct td_lpu_instruction *at = mutant_edit(site);
  at->repeat = 2;
  at->gap = next->cycle - at->cycle;
  at->stride[0] = at->stride[1] = 0;
  return true;
}
static bool swap_order(const struct mutant_site *site) {
  const struct td_lpu_instruction *next = next_of(site);
  if (!next || next->cycle == site->at->cycle || next->repeat != 1 || site->at->repeat != 1) return false;
  struct td_lpu_instruction *at = mutant_edit(site);
  int32_t cycle = at[0].cycle;
  at[0].cycle = at[1].cycle;
  at[1].cycle = cycle;
  return true;
}
static bool other_unit(const struct mutant_site *site) {
  bool memory = site->at->opcode == TD_LPU_MEMORY;
  struct td_lpu_instruction *at = mutant_edit(site);
  at->opcode = memory ? TD_LPU_ALU : TD_LPU_MEMORY;
  at->flags = memory ? 0 : TD_LPU_READ;
  at->image[0] = 0;
  return true;
}

/* ---- PORT ---- */

static bool read_and_write(const struct mutant_site *site) {
  if (site->at->opcode != TD_LPU_MEMORY) return false;
  bool reads = (site->at->flags & TD_LPU_READ) != 0;
  if (reads && site->at->flags & TD_LPU_WRITE) return false;
  struct td_lpu_instruction *at = mutant_edit(site);
  int from = reads ? 0 : 1, to = reads ? 1 : 0;
  at->flags |= TD_LPU_READ | TD_LPU_WRITE;
  at->image[to] = at->image[from];
  at->address[to] = at->address[from];
  at->stride[to] = at->stride[from];
  at->patch[to] = at->patch[from];
  if (reads) at->in[0] = at->out;
  if (!reads) at->out = at->in[0];
  return true;
}

/* ---- ADDRESS ---- */

static const struct td_lpu_image *image_of(const struct mutant_site *site) {
  int32_t which = site->variant % 2;
  if (!is_memory(site, which ? TD_LPU_WRITE : TD_LPU_READ)) return NULL;
  return &site->mutant->from->images[site->at->image[which]];
}
static bool behind_image(const struct mutant_site *site) {
  const struct td_lpu_image *image = image_of(site);
  if (!image || site->at->patch[site->variant % 2]) return false;
  mutant_edit(site)->address[site->variant % 2] = image->word + image->words;
  return true;
}
static bool before_image(const struct mutant_site *site) {
  const struct td_lpu_image *image = image_of(site);
  if (!image || site->at->stride[site->variant % 2] < 0) return false;
  mutant_edit(site)->address[site->variant % 2] = image->word - 1 - site->variant / 2;
  return true;
}
static bool wide_stride(const struct mutant_site *site) {
  const struct td_lpu_image *image = image_of(site);
  if (!image || site->at->repeat < 2) return false;
  mutant_edit(site)->stride[site->variant % 2] = image->words;
  return true;
}
static bool other_image(const struct mutant_site *site) {
  const struct td_lpu_image *image = image_of(site);
  int32_t other = site->variant / 2;
  if (!image || other >= site->mutant->from->image_count || other == site->at->image[site->variant % 2]) return false;
  const struct td_lpu_image *to = &site->mutant->from->images[other];
  if (to->chip == image->chip && to->hemisphere == image->hemisphere) return false;
  mutant_edit(site)->image[site->variant % 2] = other;
  return true;
}
static bool wide_patch(const struct mutant_site *site) {
  const struct td_lpu_image *image = image_of(site);
  uint16_t patch = image ? site->at->patch[site->variant % 2] : 0;
  if (!patch) return false;
  int32_t v = site->variant / 2;
  int32_t coefficient = site->segment->patches[patch - 1].coefficient[v];
  if (coefficient == 0) return false;
  mutant_segment(site)->patches[patch - 1].high[v] += image->words;
  return true;
}
/* The image of the instruction is allocated where another one is. */
static bool overlap(const struct mutant_site *site) {
  const struct td_lpu_image *image = image_of(site);
  int32_t other = site->variant / 2;
  if (!image || other >= site->mutant->from->image_count || other == site->at->image[site->variant % 2]) return false;
  if (site->i % 7) return false; /* an image has many instructions */
  const struct td_lpu_image *to = &site->mutant->from->images[other];
  struct td_lpu_image *own = &mutant_images(site)[site->at->image[site->variant % 2]];
  own->chip = to->chip;
  own->hemisphere = to->hemisphere;
  own->slice = to->slice;
  own->word = to->word;
  return own->slice + own->slices <= site->mutant->from->machine.mem_slices / 2 &&
         own->word + own->words <= site->mutant->from->machine.mem_words;
}

/* ---- EPOCH ---- */

static bool within_slack(const struct mutant_site *site) {
  if (site->at->opcode != TD_LPU_RECEIVE || site->variant >= site->mutant->from->machine.link_slack) return false;
  return mutant_move(site, -1 - site->variant);
}
static bool before_epoch(const struct mutant_site *site) {
  if (site->s != site->first || (site->i > 0 && same_queue(site->at - 1, site->at))) return false;
  mutant_edit(site)->cycle = -1 - site->variant;
  return true;
}

const struct mutant_family mutant_issue_families[] = {
    {TD_RULE_QUEUE, "moved to the last cycle of the one before", 1, move_into_last},
    {TD_RULE_QUEUE, "issued again in the cycle of the next", 1, issue_twice},
    {TD_RULE_QUEUE, "order swapped with the next", 1, swap_order},
    {TD_RULE_QUEUE, "given to a unit of another kind", 1, other_unit},
    {TD_RULE_PORT, "reads and writes the same bank", 1, read_and_write},
    {TD_RULE_ADDRESS, "address behind its image", 2, behind_image},
    {TD_RULE_ADDRESS, "address before its image", 8, before_image},
    {TD_RULE_ADDRESS, "stride out of its image", 2, wide_stride},
    {TD_RULE_ADDRESS, "an image of another place", 24, other_image},
    {TD_RULE_ADDRESS, "patch leaves the image at its upper end", 2 * TD_LPU_VARIABLES, wide_patch},
    {TD_RULE_ADDRESS, "two images in the same words", 24, overlap},
    {TD_RULE_EPOCH, "received within the drift", 16, within_slack},
    {TD_RULE_EPOCH, "issued before the epoch", 4, before_epoch},
    {TD_RULE_QUEUE, NULL, 0, NULL}};
