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

static void *copy_of(const void *from, size_t count, size_t size) {
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
      copy_of(mutant->from->segments, (size_t)mutant->from->segment_count, sizeof *mutant->program.segments);
  struct td_lpu_segment *to = &mutant->program.segments[site->s];
  to->instructions = copy_of(from->instructions, (size_t)from->instruction_count, sizeof *to->instructions);
  to->meanings = copy_of(from->meanings, (size_t)from->meaning_count, sizeof *to->meanings);
  to->patches = copy_of(from->patches, (size_t)from->patch_count, sizeof *to->patches);
  mutant->segment = site->s;
  return to;
}
struct td_lpu_instruction *mutant_edit(const struct mutant_site *site) {
  return &mutant_segment(site)->instructions[site->i];
}
struct td_lpu_image *mutant_images(const struct mutant_site *site) {
  struct td_lpu_program *program = &site->mutant->program;
  if (program->images == site->mutant->from->images) {
    program->images = copy_of(program->images, (size_t)program->image_count, sizeof *program->images);
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
static struct mutant *start(const struct td_lpu_program *program) {
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
  struct mutant *mutant = at.mutant = start(program);
  snprintf(mutant->text, sizeof mutant->text, "%s, variant %d, segment %d instruction %d (%s)", family->name,
           at.variant, at.s, at.i, td_lpu_opcode_name((enum td_lpu_opcode)at.at->opcode));
  if (family->make(&at)) return mutant;
  mutant_free(mutant);
  return NULL;
}

/* ---- random fields ---- */

struct field {
  const char *name;
  size_t offset, size;
};
#define FIELD(type, field) \
  { #field, offsetof(struct type, field), sizeof(((struct type *)0)->field) }
static const struct field instruction_fields[] = {
    FIELD(td_lpu_instruction, cycle),      FIELD(td_lpu_instruction, chip),
    FIELD(td_lpu_instruction, queue),      FIELD(td_lpu_instruction, opcode),
    FIELD(td_lpu_instruction, flags),      FIELD(td_lpu_instruction, type),
    FIELD(td_lpu_instruction, width),      FIELD(td_lpu_instruction, in[0]),
    FIELD(td_lpu_instruction, in[1]),      FIELD(td_lpu_instruction, in[2]),
    FIELD(td_lpu_instruction, out),        FIELD(td_lpu_instruction, source[0]),
    FIELD(td_lpu_instruction, source[1]),  FIELD(td_lpu_instruction, source[2]),
    FIELD(td_lpu_instruction, in_type[0]), FIELD(td_lpu_instruction, in_type[1]),
    FIELD(td_lpu_instruction, in_type[2]), FIELD(td_lpu_instruction, out_type),
    FIELD(td_lpu_instruction, repeat),     FIELD(td_lpu_instruction, gap),
    FIELD(td_lpu_instruction, address[0]), FIELD(td_lpu_instruction, address[1]),
    FIELD(td_lpu_instruction, stride[0]),  FIELD(td_lpu_instruction, stride[1]),
    FIELD(td_lpu_instruction, image[0]),   FIELD(td_lpu_instruction, image[1]),
    FIELD(td_lpu_instruction, patch[0]),   FIELD(td_lpu_instruction, patch[1]),
    FIELD(td_lpu_instruction, meaning),    FIELD(td_lpu_instruction, meaning_count),
    FIELD(td_lpu_instruction, half)};
static const struct field meaning_fields[] = {FIELD(td_lpu_meaning, operand),  FIELD(td_lpu_meaning, component),
                                              FIELD(td_lpu_meaning, begin),    FIELD(td_lpu_meaning, end),
                                              FIELD(td_lpu_meaning, producer), FIELD(td_lpu_meaning, scale),
                                              FIELD(td_lpu_meaning, offset)};
static const struct field segment_fields[] = {FIELD(td_lpu_segment, length), FIELD(td_lpu_segment, arrays_in),
                                              FIELD(td_lpu_segment, arrays_out)};
static const struct field patch_fields[] = {
    FIELD(td_lpu_patch, coefficient[0]), FIELD(td_lpu_patch, coefficient[1]), FIELD(td_lpu_patch, coefficient[2]),
    FIELD(td_lpu_patch, coefficient[3]), FIELD(td_lpu_patch, coefficient[4]), FIELD(td_lpu_patch, coefficient[5]),
    FIELD(td_lpu_patch, low[0]),         FIELD(td_lpu_patch, low[3]),         FIELD(td_lpu_patch, high[0]),
    FIELD(td_lpu_patch, high[3]),        FIELD(td_lpu_patch, lane),           FIELD(td_lpu_patch, otherwise)};
static const struct field image_fields[] = {
    FIELD(td_lpu_image, chip), FIELD(td_lpu_image, hemisphere), FIELD(td_lpu_image, slice), FIELD(td_lpu_image, slices),
    FIELD(td_lpu_image, word), FIELD(td_lpu_image, words),      FIELD(td_lpu_image, type)};

static uint32_t next_random(uint32_t *state) {
  *state = *state * 747796405u + 2891336453u;
  uint32_t word = ((*state >> ((*state >> 28) + 4)) ^ *state) * 277803737u;
  return (word >> 22) ^ word;
}
/* Near the old value, a bit of it flipped, or anything. */
static int64_t other_value(int64_t old, size_t size, uint32_t *state) {
  uint32_t how = next_random(state) % 8, bits = (uint32_t)size * 8;
  if (how < 5) return old + (next_random(state) % 2 ? 1 : -1) * (int64_t)(1 + next_random(state) % (how < 3 ? 3 : 40));
  if (how < 7) return old ^ (int64_t)1 << next_random(state) % bits;
  return (int64_t)next_random(state);
}
static void change(struct mutant *mutant, void *record, const struct field *field, const char *what, uint32_t *state) {
  char *at = (char *)record + field->offset;
  int64_t old = 0, made;
  memcpy(&old, at, field->size); /* little-endian hosts, as all that tandem runs on */
  if (field->size == 4) old = (int32_t)old;
  int64_t now = old;
  while (now == old) {
    made = other_value(old, field->size, state);
    memcpy(at, &made, field->size);
    now = 0;
    memcpy(&now, at, field->size);
    if (field->size == 4) now = (int32_t)now;
  }
  size_t used = strlen(mutant->text);
  snprintf(mutant->text + used, sizeof mutant->text - used, "%s.%s: %lld -> %lld", what, field->name, (long long)old,
           (long long)now);
}
static const struct field *any_field(const struct field *fields, size_t bytes, uint32_t *state) {
  return &fields[next_random(state) % (bytes / sizeof *fields)];
}
static int32_t any_segment(const struct td_lpu_program *program, const bool *called, uint32_t *state) {
  int32_t s;
  do {
    s = (int32_t)(next_random(state) % (uint32_t)program->segment_count);
  } while (!called[s] || program->segments[s].instruction_count == 0);
  return s;
}
/* Most are MEMORY; half of the time another one is taken. */
static uint32_t any_instruction(const struct td_lpu_segment *segment, uint32_t *state) {
  uint32_t count = (uint32_t)segment->instruction_count, i = next_random(state) % count;
  bool other = next_random(state) % 2;
  for (uint32_t k = 0; other && k < count && segment->instructions[i].opcode == TD_LPU_MEMORY; k++) i = (i + 1) % count;
  return i;
}
struct mutant *mutant_random(const struct td_lpu_program *program, const bool *called, uint32_t seed) {
  uint32_t state = seed * 2654435761u + 1;
  struct mutant *mutant = start(program);
  struct mutant_site site = {.mutant = mutant, .s = any_segment(program, called, &state)};
  site.segment = &program->segments[site.s];
  uint32_t what = next_random(&state) % 16;
  if (what == 0) {
    uint32_t i = next_random(&state) % (uint32_t)program->image_count;
    snprintf(mutant->text, sizeof mutant->text, "image %u ", i);
    change(mutant, &mutant_images(&site)[i], any_field(image_fields, sizeof image_fields, &state), "", &state);
    return mutant;
  }
  struct td_lpu_segment *segment = mutant_segment(&site);
  uint32_t i = any_instruction(segment, &state);
  snprintf(mutant->text, sizeof mutant->text, "segment %d ", site.s);
  if (what == 1) {
    change(mutant, segment, any_field(segment_fields, sizeof segment_fields, &state), "segment", &state);
  } else if (what == 2 && segment->patch_count) {
    uint32_t p = next_random(&state) % (uint32_t)segment->patch_count;
    change(mutant, &segment->patches[p], any_field(patch_fields, sizeof patch_fields, &state), "patch", &state);
  } else if (what < 5 && segment->meaning_count) {
    uint32_t m = next_random(&state) % (uint32_t)segment->meaning_count;
    change(mutant, &segment->meanings[m], any_field(meaning_fields, sizeof meaning_fields, &state), "meaning", &state);
  } else {
    char name[64];
    snprintf(name, sizeof name, "%u (%s)", i, td_lpu_opcode_name((enum td_lpu_opcode)segment->instructions[i].opcode));
    change(mutant, &segment->instructions[i], any_field(instruction_fields, sizeof instruction_fields, &state), name,
           &state);
  }
  return mutant;
}
