/* SPDX-License-Identifier: Apache-2.0 */
#include "lpu/mutants.h"

#include <stdlib.h>
#include <string.h>

const struct mutant_family *const mutant_families[] = {mutant_issue_families,  mutant_memory_families,
                                                       mutant_stream_families, mutant_unit_families,
                                                       mutant_step_families,   NULL};

/* ---- which segments run ---- */

struct called {
  bool *segments;
  int32_t first;
};
static td_status note_call(void *context, const struct td_lpu_call *call) {
  struct called *called = context;
  if (called->first < 0) called->first = call->segment;
  called->segments[call->segment] = true;
  return TD_OK;
}
bool *mutant_called(const struct td_lpu_program *program, int32_t entry, const struct td_lpu_step *step,
                    int32_t *out_first) {
  struct called called = {calloc((size_t)program->segment_count + 1, sizeof(bool)), -1};
  if (!called.segments) abort();
  if (td_lpu_program_walk(program, entry, step, note_call, &called)) {
    free(called.segments);
    return NULL;
  }
  *out_first = called.first;
  return called.segments;
}

/* ---- copies ---- */

void *mutant_copy(const void *from, size_t count, size_t size) {
  void *copy = malloc(count * size + 1);
  if (!copy) abort();
  if (count) memcpy(copy, from, count * size);
  return copy;
}
struct td_lpu_segment *mutant_segment(const struct mutant_site *site) {
  struct mutant *mutant = site->mutant;
  if (mutant->segment == site->s) return &mutant->program.segments[site->s];
  if (mutant->segment >= 0) abort();
  const struct td_lpu_segment *from = site->segment;
  mutant->program.segments =
      mutant_copy(mutant->from->segments, (size_t)mutant->from->segment_count, sizeof *mutant->program.segments);
  struct td_lpu_segment *to = &mutant->program.segments[site->s];
  to->instructions = mutant_copy(from->instructions, (size_t)from->instruction_count, sizeof *to->instructions);
  to->meanings = mutant_copy(from->meanings, (size_t)from->meaning_count, sizeof *to->meanings);
  to->patches = mutant_copy(from->patches, (size_t)from->patch_count, sizeof *to->patches);
  mutant->segment = site->s;
  return to;
}
struct td_lpu_instruction *mutant_edit(const struct mutant_site *site) {
  return &mutant_segment(site)->instructions[site->i];
}
struct td_lpu_image *mutant_images(const struct mutant_site *site) {
  struct td_lpu_program *program = &site->mutant->program;
  if (program->images == site->mutant->from->images) {
    program->images = mutant_copy(program->images, (size_t)program->image_count, sizeof *program->images);
  }
  return program->images;
}
void mutant_free(struct mutant *mutant) {
  if (!mutant) return;
  const struct td_lpu_program *from = mutant->from;
  if (mutant->segment >= 0) {
    struct td_lpu_segment *own = &mutant->program.segments[mutant->segment];
    free(own->instructions);
    free(own->meanings);
    free(own->patches);
    free(mutant->program.segments);
  }
  if (mutant->program.images != from->images) free(mutant->program.images);
  if (mutant->program.links != from->links) free(mutant->program.links);
  if (mutant->program.maps != from->maps) free(mutant->program.maps);
  if (mutant->program.entries != from->entries) free(mutant->program.entries);
  free(mutant);
}

/* ---- instructions ---- */

int32_t mutant_last_cycle(const struct td_lpu_instruction *at) {
  return at->cycle + (at->repeat - 1) * at->gap;
}

static bool before(const struct td_lpu_instruction *x, const struct td_lpu_instruction *y) {
  if (x->chip != y->chip) return x->chip < y->chip;
  if (x->queue != y->queue) return x->queue < y->queue;
  return x->cycle < y->cycle;
}
static bool same_queue(const struct td_lpu_instruction *x, const struct td_lpu_instruction *y) {
  return x->chip == y->chip && x->queue == y->queue;
}
/* Where it would stand: behind all that are before it. */
static int32_t place_of(const struct td_lpu_segment *segment, const struct td_lpu_instruction *made) {
  int32_t low = 0, high = segment->instruction_count;
  while (low < high) {
    int32_t middle = low + (high - low) / 2;
    if (before(&segment->instructions[middle], made)) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}
/* Whether the instructions at `i - 1` and `i` leave room for it. */
static bool fits_before(const struct td_lpu_segment *segment, int32_t i, const struct td_lpu_instruction *made) {
  const struct td_lpu_instruction *all = segment->instructions;
  if (i > 0 && same_queue(&all[i - 1], made) && mutant_last_cycle(&all[i - 1]) >= made->cycle) return false;
  bool next = i < segment->instruction_count && same_queue(&all[i], made);
  return !next || mutant_last_cycle(made) < all[i].cycle;
}
static void shift_meanings(struct td_lpu_segment *segment, int32_t from) {
  for (int32_t m = 0; m < segment->meaning_count; m++)
    segment->meanings[m].producer += segment->meanings[m].producer >= from;
}
bool mutant_insert(const struct mutant_site *site, struct td_lpu_instruction made) {
  int32_t i = place_of(site->segment, &made);
  if (!fits_before(site->segment, i, &made) || made.cycle < 0) return false;
  struct td_lpu_segment *segment = mutant_segment(site);
  size_t count = (size_t)segment->instruction_count;
  struct td_lpu_instruction *larger = realloc(segment->instructions, (count + 1) * sizeof *larger);
  if (!larger) abort();
  memmove(larger + i + 1, larger + i, (count - (size_t)i) * sizeof *larger);
  larger[i] = made;
  segment->instructions = larger;
  segment->instruction_count++;
  shift_meanings(segment, i);
  return true;
}
bool mutant_insert_iteration(const struct mutant_site *site, struct td_lpu_instruction made, int32_t iteration) {
  made.cycle += iteration * made.gap;
  made.repeat = 1;
  int32_t i = place_of(site->segment, &made);
  if (!mutant_insert(site, made)) return false;
  struct td_lpu_segment *segment = mutant_segment(site);
  int32_t had = segment->meaning_count, count = made.meaning_count;
  segment->meanings = realloc(segment->meanings, (size_t)(had + count + 1) * sizeof *segment->meanings);
  if (!segment->meanings) abort();
  for (int32_t m = 0; m < count; m++) {
    struct td_lpu_meaning *meaning = &segment->meanings[had + m];
    *meaning = segment->meanings[made.meaning + m];
    bool its = meaning->begin <= iteration && meaning->end > iteration;
    meaning->offset += meaning->scale * iteration;
    if (meaning->operand == TD_MEANING_ADDRESS) meaning->offset -= meaning->scale * iteration;
    meaning->begin = its ? 0 : 1 + m;
    meaning->end = its ? 1 : 2 + m;
  }
  segment->meaning_count += count;
  segment->instructions[i].meaning = had;
  return true;
}
void mutant_remove(const struct mutant_site *site) {
  struct td_lpu_segment *segment = mutant_segment(site);
  struct td_lpu_instruction *at = segment->instructions + site->i;
  memmove(at, at + 1, (size_t)(segment->instruction_count - site->i - 1) * sizeof *at);
  segment->instruction_count--;
  for (int32_t m = 0; m < segment->meaning_count; m++)
    segment->meanings[m].producer -= segment->meanings[m].producer > site->i;
}
bool mutant_move(const struct mutant_site *site, int32_t cycles) {
  const struct td_lpu_instruction *all = site->segment->instructions;
  struct td_lpu_instruction moved = *site->at;
  int32_t i = site->i;
  moved.cycle += cycles;
  if (cycles == 0 || moved.cycle < 0 || mutant_last_cycle(&moved) >= site->segment->length) return false;
  if (i > 0 && same_queue(&all[i - 1], &moved) && mutant_last_cycle(&all[i - 1]) >= moved.cycle) return false;
  bool next = i + 1 < site->segment->instruction_count && same_queue(&all[i + 1], &moved);
  if (next && mutant_last_cycle(&moved) >= all[i + 1].cycle) return false;
  mutant_edit(site)->cycle = moved.cycle;
  return true;
}

static int32_t find_meaning(const struct mutant_site *site, int32_t operand) {
  for (int32_t m = 0; m < site->at->meaning_count; m++) {
    const struct td_lpu_meaning *meaning = &site->segment->meanings[site->at->meaning + m];
    if (meaning->operand == operand && meaning->begin <= 0 && meaning->end > 0) return site->at->meaning + m;
  }
  return -1;
}
bool mutant_has_meaning(const struct mutant_site *site, int32_t operand) {
  return find_meaning(site, operand) >= 0;
}
struct td_lpu_meaning *mutant_meaning(const struct mutant_site *site, int32_t operand) {
  int32_t found = find_meaning(site, operand);
  return found < 0 ? NULL : &mutant_segment(site)->meanings[found];
}

/* ---- sites ---- */

static int64_t instructions_of(const struct td_lpu_program *program) {
  int64_t count = 0;
  for (int32_t s = 0; s < program->segment_count; s++) count += program->segments[s].instruction_count;
  return count;
}
int64_t mutant_sites(const struct td_lpu_program *program, enum td_lpu_rule rule) {
  int64_t all = instructions_of(program), sites = 0;
  for (int f = 0; mutant_families[f]; f++) {
    for (const struct mutant_family *family = mutant_families[f]; family->name; family++) {
      sites += family->rule == rule ? all * family->variants : 0;
    }
  }
  return sites;
}
/* The family of a site; *site is left the number within it. */
static const struct mutant_family *family_of(int64_t all, enum td_lpu_rule rule, int64_t *site) {
  for (int f = 0; mutant_families[f]; f++) {
    for (const struct mutant_family *family = mutant_families[f]; family->name; family++) {
      if (family->rule != rule) continue;
      if (*site < all * family->variants) return family;
      *site -= all * family->variants;
    }
  }
  return NULL;
}
struct mutant *mutant_start(const struct td_lpu_program *program) {
  struct mutant *mutant = calloc(1, sizeof *mutant);
  if (!mutant) abort();
  mutant->from = program;
  mutant->program = *program;
  mutant->segment = -1;
  return mutant;
}
struct mutant *mutant_make(const struct td_lpu_program *program, const bool *called, int32_t first,
                           enum td_lpu_rule rule, int64_t site) {
  int64_t all = instructions_of(program);
  const struct mutant_family *family = family_of(all, rule, &site);
  if (!family) return NULL;
  struct mutant_site at = {.first = first, .variant = (int32_t)(site / all)};
  int64_t i = site % all;
  while (i >= program->segments[at.s].instruction_count) i -= program->segments[at.s++].instruction_count;
  if (!called[at.s]) return NULL;
  at.i = (int32_t)i;
  at.segment = &program->segments[at.s];
  at.at = &at.segment->instructions[i];
  struct mutant *mutant = at.mutant = mutant_start(program);
  snprintf(mutant->text, sizeof mutant->text, "%s, variant %d, segment %d instruction %d (%s)", family->name,
           at.variant, at.s, at.i, td_lpu_opcode_name((enum td_lpu_opcode)at.at->opcode));
  if (family->make(&at)) return mutant;
  mutant_free(mutant);
  return NULL;
}
