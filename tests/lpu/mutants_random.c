/* SPDX-License-Identifier: Apache-2.0
 *
 * One field of a program, any but immediates and data, becomes another number.
 */
#include <string.h>

#include "lpu/mutants.h"

struct field {
  const char *name;
  size_t offset, size;
  const char *why; /* a change may change nothing; NULL: that needs a reason in the record */
};
#define FIELD(type, field, why) \
  { #field, offsetof(struct type, field), sizeof(((struct type *)0)->field), why }
#define OTHER "another valid schedule: nothing else is there then"
#define EXTRA "results that nobody reads, or words that are written as they were"
#define FREE "streams that nobody else uses there"
#define ASKED "the side table says more than is asked for, or nothing"
#define IDLE "idle cycles, more or fewer, at a segment's end"
#define CROSS "arrays may cross a seam that nobody uses behind it"
#define COMES "a variable, a lane, an end of a range that the step does not come to"
#define HOST "how the host finds a row, which is no matter of the step"
#define ALIKE "a kind of image that the step treats alike"
#define ROOM "room that nobody uses"
#define TURNS "as many turns as the step has rows or blocks"
#define CHIPS "chips that do nothing"
static const struct field instruction_fields[] = {FIELD(td_lpu_instruction, cycle, OTHER),
                                                  FIELD(td_lpu_instruction, chip, NULL),
                                                  FIELD(td_lpu_instruction, queue, OTHER),
                                                  FIELD(td_lpu_instruction, opcode, NULL),
                                                  FIELD(td_lpu_instruction, operation, NULL),
                                                  FIELD(td_lpu_instruction, flags, NULL),
                                                  FIELD(td_lpu_instruction, type, NULL),
                                                  FIELD(td_lpu_instruction, width, NULL),
                                                  FIELD(td_lpu_instruction, in[0], NULL),
                                                  FIELD(td_lpu_instruction, in[1], NULL),
                                                  FIELD(td_lpu_instruction, in[2], NULL),
                                                  FIELD(td_lpu_instruction, out, FREE),
                                                  FIELD(td_lpu_instruction, source[0], NULL),
                                                  FIELD(td_lpu_instruction, source[1], NULL),
                                                  FIELD(td_lpu_instruction, source[2], NULL),
                                                  FIELD(td_lpu_instruction, in_type[0], NULL),
                                                  FIELD(td_lpu_instruction, in_type[1], NULL),
                                                  FIELD(td_lpu_instruction, in_type[2], NULL),
                                                  FIELD(td_lpu_instruction, out_type, NULL),
                                                  FIELD(td_lpu_instruction, repeat, EXTRA),
                                                  FIELD(td_lpu_instruction, gap, NULL),
                                                  FIELD(td_lpu_instruction, address[0], NULL),
                                                  FIELD(td_lpu_instruction, address[1], NULL),
                                                  FIELD(td_lpu_instruction, stride[0], NULL),
                                                  FIELD(td_lpu_instruction, stride[1], NULL),
                                                  FIELD(td_lpu_instruction, image[0], NULL),
                                                  FIELD(td_lpu_instruction, image[1], NULL),
                                                  FIELD(td_lpu_instruction, patch[0], NULL),
                                                  FIELD(td_lpu_instruction, patch[1], NULL),
                                                  FIELD(td_lpu_instruction, meaning, ASKED),
                                                  FIELD(td_lpu_instruction, meaning_count, ASKED),
                                                  FIELD(td_lpu_instruction, half, NULL)};
static const struct field meaning_fields[] = {
    FIELD(td_lpu_meaning, operand, ASKED), FIELD(td_lpu_meaning, component, ASKED), FIELD(td_lpu_meaning, begin, ASKED),
    FIELD(td_lpu_meaning, end, ASKED),     FIELD(td_lpu_meaning, producer, ASKED),  FIELD(td_lpu_meaning, scale, ASKED),
    FIELD(td_lpu_meaning, offset, ASKED)};
static const struct field segment_fields[] = {FIELD(td_lpu_segment, length, IDLE),
                                              FIELD(td_lpu_segment, arrays_in, NULL),
                                              FIELD(td_lpu_segment, arrays_out, CROSS)};
static const struct field patch_fields[] = {
    FIELD(td_lpu_patch, coefficient[0], COMES), FIELD(td_lpu_patch, coefficient[1], COMES),
    FIELD(td_lpu_patch, coefficient[2], COMES), FIELD(td_lpu_patch, coefficient[3], COMES),
    FIELD(td_lpu_patch, coefficient[4], COMES), FIELD(td_lpu_patch, coefficient[5], COMES),
    FIELD(td_lpu_patch, low[0], COMES),         FIELD(td_lpu_patch, low[3], COMES),
    FIELD(td_lpu_patch, high[0], COMES),        FIELD(td_lpu_patch, high[3], COMES),
    FIELD(td_lpu_patch, lane, COMES),           FIELD(td_lpu_patch, otherwise, COMES)};
static const struct field image_fields[] = {
    FIELD(td_lpu_image, chip, NULL),      FIELD(td_lpu_image, hemisphere, NULL), FIELD(td_lpu_image, slice, NULL),
    FIELD(td_lpu_image, slices, ROOM),    FIELD(td_lpu_image, word, NULL),       FIELD(td_lpu_image, words, ROOM),
    FIELD(td_lpu_image, type, HOST),      FIELD(td_lpu_image, kind, ALIKE),      FIELD(td_lpu_image, rows, HOST),
    FIELD(td_lpu_image, cols, HOST),      FIELD(td_lpu_image, by_steps, HOST),   FIELD(td_lpu_image, data, NULL),
    FIELD(td_lpu_image, data_bytes, NULL)};
static const struct field link_fields[] = {FIELD(td_lpu_link, kind, NULL),  FIELD(td_lpu_link, segment, NULL),
                                           FIELD(td_lpu_link, chip, NULL),  FIELD(td_lpu_link, variable, TURNS),
                                           FIELD(td_lpu_link, first, NULL), FIELD(td_lpu_link, count, TURNS)};
static const struct field entry_fields[] = {FIELD(td_lpu_entry, rows, ROOM), FIELD(td_lpu_entry, link, NULL),
                                            FIELD(td_lpu_entry, link_count, NULL)};
static const struct field program_fields[] = {FIELD(td_lpu_program, chips, CHIPS),
                                              FIELD(td_lpu_program, block_tokens, NULL)};

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
#define UNUSED "a field that this opcode or kind has no use for"
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
  mutant->idle = field->why;
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
/* Whether the opcode has a use for a field of the instruction. */
static bool is_operand(const struct td_lpu_instruction *at, int which) {
  switch (at->opcode) {
    case TD_LPU_ALU:
      return at->source[which] == TD_SOURCE_STREAM || at->source[which] == TD_SOURCE_CHAIN;
    case TD_LPU_MEMORY:
      return which == 0 && at->flags & TD_LPU_WRITE;
    case TD_LPU_SELECT:
      return which < 2;
    case TD_LPU_INSTALL:
    case TD_LPU_SUM:
    case TD_LPU_RECEIVE:
      return false;
    default:
      return which == 0;
  }
}
static bool has_address(const struct td_lpu_instruction *at, int which) {
  if (at->opcode == TD_LPU_MEMORY) return at->flags & (which ? TD_LPU_WRITE : TD_LPU_READ);
  if (at->opcode == TD_LPU_SUM) return which == 0 && at->flags & (TD_LPU_ADD | TD_LPU_KEEP);
  return which == 0 && (at->opcode == TD_LPU_LOAD || at->opcode == TD_LPU_PERMUTE || at->opcode == TD_LPU_SELECT);
}
static bool has_result(const struct td_lpu_instruction *at) {
  if (at->opcode == TD_LPU_MEMORY) return at->flags & TD_LPU_READ;
  if (at->opcode == TD_LPU_SUM) return at->flags & TD_LPU_EMIT;
  return at->opcode == TD_LPU_ALU || (at->opcode >= TD_LPU_ROTATE && at->opcode != TD_LPU_SEND);
}
#define IS(field) (offset == offsetof(struct td_lpu_instruction, field))
static bool is_used(const struct td_lpu_instruction *at, size_t offset) {
  bool matrix = at->opcode == TD_LPU_LOAD || at->opcode == TD_LPU_PASS || at->opcode == TD_LPU_SUM;
  for (int k = 0; k < 2; k++) {
    if (IS(address[k]) || IS(patch[k])) return has_address(at, k);
    if (IS(stride[k])) return has_address(at, k) && at->repeat > 1;
    if (IS(image[k])) return has_address(at, k) && at->opcode == TD_LPU_MEMORY;
  }
  for (int k = 0; k < 3; k++) {
    if (IS(in[k])) return is_operand(at, k);
    if (IS(source[k])) return at->opcode == TD_LPU_ALU;
    if (IS(in_type[k])) return at->opcode == TD_LPU_ALU && at->source[k] == TD_SOURCE_STREAM;
  }
  if (IS(gap)) return at->repeat > 1;
  if (IS(operation)) return at->opcode == TD_LPU_ALU;
  if (IS(type)) return matrix;
  if (IS(half)) return at->opcode == TD_LPU_LOAD || at->opcode == TD_LPU_PASS;
  if (IS(width)) return at->opcode >= TD_LPU_ROTATE && at->opcode < TD_LPU_TRANSPOSE;
  if (IS(out)) return has_result(at);
  if (IS(out_type)) return at->opcode == TD_LPU_ALU && at->out != TD_LPU_NO_STREAM;
  if (IS(meaning)) return at->meaning_count > 0;
  return true;
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
  bool used = is_used(at, field->offset);
  change(mutant, at, field, name, state);
  if (!used) mutant->idle = UNUSED;
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
  struct td_lpu_link *link = &program->links[next_random(state) % (uint32_t)program->link_count];
  const struct field *field = any_field(link_fields, sizeof link_fields, state);
  bool run =
      field->offset == offsetof(struct td_lpu_link, segment) || field->offset == offsetof(struct td_lpu_link, chip);
  int32_t kind = field->offset == 0 ? link->kind : run ? TD_LINK_RUN : TD_LINK_LOOP;
  change(mutant, link, field, "link", state);
  if (link->kind != kind) mutant->idle = UNUSED;
}
/* Whether the side table says what maps are: not that of programs by hand. */
static bool means_maps(const struct td_lpu_segment *segment) {
  for (int32_t i = 0; i < segment->instruction_count; i++) {
    const struct td_lpu_instruction *at = &segment->instructions[i];
    if (at->opcode != TD_LPU_PERMUTE) continue;
    for (int32_t m = 0; m < at->meaning_count; m++) {
      const struct td_lpu_meaning *meaning = &segment->meanings[at->meaning + m];
      if (meaning->operand == TD_MEANING_ADDRESS && meaning->component == 1) return true;
    }
  }
  return false;
}
static void change_map(struct mutant *mutant, uint32_t *state) {
  struct td_lpu_program *program = &mutant->program;
  program->maps = mutant_copy(program->maps, (size_t)program->map_count, sizeof *program->maps);
  uint32_t map = next_random(state) % (uint32_t)program->map_count;
  uint32_t lane = next_random(state) % (uint32_t)program->machine.lanes;
  const struct field field = {"lane", lane * sizeof(int16_t), sizeof(int16_t), "a map that the step does not use"};
  snprintf(mutant->text, sizeof mutant->text, "map %u lane %u ", map, lane);
  change(mutant, &program->maps[map], &field, "", state);
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
/* Entries of fewer rows have scratches of their own, which no other step touches. */
static bool is_named(const struct td_lpu_program *program, const bool *called, int32_t image) {
  for (int32_t s = 0; s < program->segment_count; s++) {
    const struct td_lpu_segment *segment = &program->segments[s];
    for (int32_t i = 0; called[s] && i < segment->instruction_count; i++) {
      const struct td_lpu_instruction *at = &segment->instructions[i];
      for (int which = 0; which < 2; which++) {
        if (has_address(at, which) && at->opcode == TD_LPU_MEMORY && at->image[which] == image) return true;
      }
    }
  }
  return false;
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
    if (program->images[i].data_bytes == 0 && strstr(mutant->text, ".data:")) mutant->idle = UNUSED;
    if (!is_named(program, called, (int32_t)i)) mutant->idle = "an image that the step does not use";
  } else if (what == 1 && next_random(&state) % 2 && means_maps(site.segment)) {
    change_map(mutant, &state);
  } else if (what == 1) {
    change_whole(mutant, &state);
  } else if (what == 2) {
    change_links(mutant, &state);
  } else {
    change_in_segment(&site, what - 3, &state);
  }
  return mutant;
}
