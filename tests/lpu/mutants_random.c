/* SPDX-License-Identifier: Apache-2.0
 *
 * One field of a program, any but immediates, data and maps, becomes another number.
 */
#include <string.h>

#include "lpu/mutants.h"

struct field {
  const char *name;
  size_t offset, size;
};
#define FIELD(type, field) \
  { #field, offsetof(struct type, field), sizeof(((struct type *)0)->field) }
static const struct field instruction_fields[] = {
    FIELD(td_lpu_instruction, cycle),         FIELD(td_lpu_instruction, chip),
    FIELD(td_lpu_instruction, queue),         FIELD(td_lpu_instruction, opcode),
    FIELD(td_lpu_instruction, operation),     FIELD(td_lpu_instruction, flags),
    FIELD(td_lpu_instruction, type),          FIELD(td_lpu_instruction, width),
    FIELD(td_lpu_instruction, in[0]),         FIELD(td_lpu_instruction, in[1]),
    FIELD(td_lpu_instruction, in[2]),         FIELD(td_lpu_instruction, out),
    FIELD(td_lpu_instruction, source[0]),     FIELD(td_lpu_instruction, source[1]),
    FIELD(td_lpu_instruction, source[2]),     FIELD(td_lpu_instruction, in_type[0]),
    FIELD(td_lpu_instruction, in_type[1]),    FIELD(td_lpu_instruction, in_type[2]),
    FIELD(td_lpu_instruction, out_type),      FIELD(td_lpu_instruction, repeat),
    FIELD(td_lpu_instruction, gap),           FIELD(td_lpu_instruction, address[0]),
    FIELD(td_lpu_instruction, address[1]),    FIELD(td_lpu_instruction, stride[0]),
    FIELD(td_lpu_instruction, stride[1]),     FIELD(td_lpu_instruction, image[0]),
    FIELD(td_lpu_instruction, image[1]),      FIELD(td_lpu_instruction, patch[0]),
    FIELD(td_lpu_instruction, patch[1]),      FIELD(td_lpu_instruction, meaning),
    FIELD(td_lpu_instruction, meaning_count), FIELD(td_lpu_instruction, half)};
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
    FIELD(td_lpu_image, chip),      FIELD(td_lpu_image, hemisphere), FIELD(td_lpu_image, slice),
    FIELD(td_lpu_image, slices),    FIELD(td_lpu_image, word),       FIELD(td_lpu_image, words),
    FIELD(td_lpu_image, type),      FIELD(td_lpu_image, kind),       FIELD(td_lpu_image, rows),
    FIELD(td_lpu_image, cols),      FIELD(td_lpu_image, by_steps),   FIELD(td_lpu_image, data),
    FIELD(td_lpu_image, data_bytes)};
static const struct field link_fields[] = {FIELD(td_lpu_link, kind),  FIELD(td_lpu_link, segment),
                                           FIELD(td_lpu_link, chip),  FIELD(td_lpu_link, variable),
                                           FIELD(td_lpu_link, first), FIELD(td_lpu_link, count)};
static const struct field entry_fields[] = {FIELD(td_lpu_entry, rows), FIELD(td_lpu_entry, link),
                                            FIELD(td_lpu_entry, link_count)};
static const struct field program_fields[] = {FIELD(td_lpu_program, chips), FIELD(td_lpu_program, block_tokens)};

static uint32_t next_random(uint32_t *state) {
  *state = *state * 747796405u + 2891336453u;
  uint32_t word = ((*state >> ((*state >> 28) + 4)) ^ *state) * 277803737u;
  return (word >> 22) ^ word;
}
/* Near the old value, a bit of it flipped, or anything. */
static int64_t other_value(int64_t old, size_t size, uint32_t *state) {
  uint32_t how = next_random(state) % 8, bits = (uint32_t)size * 8;
  if (how < 5) {
    int64_t sign = next_random(state) % 2 ? 1 : -1;
    return old + sign * (int64_t)(1 + next_random(state) % (how < 3 ? 3 : 40));
  }
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
static bool means_operation(const struct td_lpu_segment *segment, const struct td_lpu_instruction *at) {
  for (int32_t m = 0; m < at->meaning_count; m++) {
    const struct td_lpu_meaning *meaning = &segment->meanings[at->meaning + m];
    if (meaning->operand == TD_MEANING_ADDRESS && meaning->component == 0) return true;
  }
  return at->opcode != TD_LPU_ALU;
}
static void change_instruction(struct mutant *mutant, struct td_lpu_segment *segment, uint32_t *state) {
  struct td_lpu_instruction *at = &segment->instructions[any_instruction(segment, state)];
  const struct field *field;
  bool immediate; /* an operation that nothing else tells is like one */
  do {
    field = any_field(instruction_fields, sizeof instruction_fields, state);
    immediate = field->offset == offsetof(struct td_lpu_instruction, operation) && !means_operation(segment, at);
  } while (immediate);
  char name[64];
  snprintf(name, sizeof name, "%d (%s)", (int)(at - segment->instructions),
           td_lpu_opcode_name((enum td_lpu_opcode)at->opcode));
  change(mutant, at, field, name, state);
}
static void change_in_segment(const struct mutant_site *site, uint32_t what, uint32_t *state) {
  struct mutant *mutant = site->mutant;
  struct td_lpu_segment *segment = mutant_segment(site);
  snprintf(mutant->text, sizeof mutant->text, "segment %d ", site->s);
  if (what == 0) {
    change(mutant, segment, any_field(segment_fields, sizeof segment_fields, state), "segment", state);
  } else if (what == 1 && segment->patch_count) {
    uint32_t p = next_random(state) % (uint32_t)segment->patch_count;
    change(mutant, &segment->patches[p], any_field(patch_fields, sizeof patch_fields, state), "patch", state);
  } else if (what < 4 && segment->meaning_count) {
    uint32_t m = next_random(state) % (uint32_t)segment->meaning_count;
    change(mutant, &segment->meanings[m], any_field(meaning_fields, sizeof meaning_fields, state), "meaning", state);
  } else {
    change_instruction(mutant, segment, state);
  }
}
static void change_links(struct mutant *mutant, uint32_t *state) {
  struct td_lpu_program *program = &mutant->program;
  program->links = mutant_copy(program->links, (size_t)program->link_count, sizeof *program->links);
  uint32_t i = next_random(state) % (uint32_t)program->link_count;
  change(mutant, &program->links[i], any_field(link_fields, sizeof link_fields, state), "link", state);
}
static void change_whole(struct mutant *mutant, uint32_t *state) {
  struct td_lpu_program *program = &mutant->program;
  if (next_random(state) % 2) {
    program->entries = mutant_copy(program->entries, (size_t)program->entry_count, sizeof *program->entries);
    change(mutant, program->entries, any_field(entry_fields, sizeof entry_fields, state), "entry", state);
    return;
  }
  do { /* chips that do nothing change nothing, but for memory that they take here */
    *program = *mutant->from;
    mutant->text[0] = 0;
    change(mutant, program, any_field(program_fields, sizeof program_fields, state), "program", state);
  } while (program->chips > mutant->from->chips + 4);
}
struct mutant *mutant_random(const struct td_lpu_program *program, const bool *called, uint32_t seed) {
  uint32_t state = seed * 2654435761u + 1;
  struct mutant *mutant = mutant_start(program);
  struct mutant_site site = {.mutant = mutant, .s = any_segment(program, called, &state)};
  site.segment = &program->segments[site.s];
  uint32_t what = next_random(&state) % 20;
  if (what == 0) {
    uint32_t i = next_random(&state) % (uint32_t)program->image_count;
    snprintf(mutant->text, sizeof mutant->text, "image %u ", i);
    change(mutant, &mutant_images(&site)[i], any_field(image_fields, sizeof image_fields, &state), "", &state);
  } else if (what == 1) {
    change_whole(mutant, &state);
  } else if (what == 2) {
    change_links(mutant, &state);
  } else {
    change_in_segment(&site, what - 3, &state);
  }
  return mutant;
}
