/* SPDX-License-Identifier: Apache-2.0
 *
 * What a program from a file must hold so that whoever works with it need not look again: every index, operand and
 * address is inside what it points into, for all values that variables may take. Whether the program keeps the rules
 * of the machine is the checker's matter (check*.c), not this file's.
 */
#include <inttypes.h>
#include <string.h>

#include "codec.h"

enum { MOST_ROWS = 65536, MOST_TURNS = 1 << 20, MOST_NESTED_TURNS = 1 << 24 };

/* ---- head, images, maps ---- */

static td_status check_head(const struct td_lpu_program *program) {
  const struct td_lpu_machine *m = &program->machine;
  if (td_lpu_machine_check(m)) return td_fail_within(TD_CORRUPT, "machine");
  if (program->chips < 1 || program->chips > UINT16_MAX) {
    return td_fail(TD_CORRUPT, "chips: found %d, expected 1..%d", program->chips, UINT16_MAX);
  }
  if (m->levels && program->chips > m->system_chips) {
    return td_fail(TD_CORRUPT, "chips: found %d, expected at most the %d of %s", program->chips, m->system_chips,
                   m->name);
  }
  if (program->tensor < 1 || program->chips % program->tensor) {
    return td_fail(TD_CORRUPT, "tensor: found %d, expected a divisor of the %d chips", program->tensor, program->chips);
  }
  int32_t tokens = program->block_tokens;
  if (tokens >= 0 && tokens <= m->lanes && tokens % m->load_vectors == 0) return TD_OK;
  return td_fail(TD_CORRUPT, "block_tokens: found %d, expected 0 or a multiple of %d up to %d", tokens, m->load_vectors,
                 m->lanes);
}

static bool ends(const char *name, size_t bytes) {
  return *name && memchr(name, 0, bytes);
}

static td_status check_region(const struct td_lpu_program *program, const struct td_lpu_image *image) {
  const struct td_lpu_machine *m = &program->machine;
  if (image->chip < 0 || image->chip >= program->chips || image->hemisphere < 0 ||
      image->hemisphere >= TD_LPU_HEMISPHERES) {
    return td_fail(TD_CORRUPT, "image %s: found chip %d and hemisphere %d, expected ones of %d and %d", image->name,
                   image->chip, image->hemisphere, program->chips, TD_LPU_HEMISPHERES);
  }
  if (!td_lpu_inside(image->slice, image->slices, m->mem_slices / TD_LPU_HEMISPHERES)) {
    return td_fail(TD_CORRUPT, "image %s: found %d slices from %d, expected some of a hemisphere's %d", image->name,
                   image->slices, image->slice, m->mem_slices / TD_LPU_HEMISPHERES);
  }
  if (td_lpu_inside(image->word, image->words, m->mem_words)) return TD_OK;
  return td_fail(TD_CORRUPT, "image %s: found %d words from %d, expected some of a slice's %d", image->name,
                 image->words, image->word, m->mem_words);
}

/* The matrix lies inside the region. */
static td_status check_matrix(const struct td_lpu_program *program, const struct td_lpu_image *image) {
  const struct td_lpu_machine *m = &program->machine;
  if (image->kind < 0 || image->kind > TD_IMAGE_SCRATCH || image->type < 0 || image->type >= TD_LPU_TYPE_COUNT ||
      image->by_steps < 0 || image->by_steps > m->mem_slices || image->rows < 0 || image->cols < 0) {
    return td_fail(TD_CORRUPT,
                   "image %s: found kind %d, type %d, by_steps %d and %d x %d elements, expected known ones",
                   image->name, image->kind, image->type, image->by_steps, image->rows, image->cols);
  }
  int64_t bytes = td_lpu_type_bytes((enum td_lpu_type)image->type);
  int64_t vectors = image->rows * (((int64_t)image->cols + m->lanes - 1) / m->lanes);
  int64_t steps = image->by_steps, beside = steps == 0 ? 1 : vectors < steps ? vectors : steps;
  int64_t words = steps == 0 ? vectors : (vectors + steps - 1) / steps;
  if (words <= image->words && beside * bytes <= image->slices) return TD_OK;
  return td_fail(TD_CORRUPT,
                 "image %s: found %d x %d elements, %" PRId64 " words of %" PRId64
                 " slices, expected them to fit %d words of %d slices",
                 image->name, image->rows, image->cols, words, beside * bytes, image->words, image->slices);
}

static td_status check_image(const struct td_lpu_program *program, int32_t index) {
  const struct td_lpu_image *image = &program->images[index];
  if (!ends(image->name, sizeof image->name)) {
    return td_fail(TD_CORRUPT, "image %d: found no name, expected 1..%zu bytes", index, sizeof image->name - 1);
  }
  if (image->owner < 0 || image->owner > (image->kind == TD_IMAGE_SCRATCH ? program->segment_count : 0)) {
    return td_fail(TD_CORRUPT, "image %s: found owner %d, expected 0, or one of %d segments for a scratch", image->name,
                   image->owner, program->segment_count);
  }
  TD_TRY(check_region(program, image));
  TD_TRY(check_matrix(program, image));
  uint64_t bytes = (uint64_t)image->words * (uint64_t)image->slices * (uint64_t)program->machine.lanes;
  bool whole = image->data_bytes == 0 || image->data_bytes == bytes;
  if (whole && image->data <= program->data_bytes && image->data_bytes <= program->data_bytes - image->data) {
    return TD_OK;
  }
  return td_fail(TD_CORRUPT,
                 "image %s: found %" PRIu64 " bytes of data at %" PRIu64 ", expected 0 or %" PRIu64
                 " inside the program's %" PRIu64,
                 image->name, image->data_bytes, image->data, bytes, program->data_bytes);
}

static td_status check_map(const struct td_lpu_program *program, int32_t index) {
  for (int lane = 0; lane < TD_LPU_MOST_LANES; lane++) {
    int value = program->maps[index].lane[lane];
    if (value >= -1 && value < program->machine.lanes) continue;
    return td_fail(TD_CORRUPT, "map %d: found lane %d from %d, expected -1..%d", index, lane, value,
                   program->machine.lanes - 1);
  }
  return TD_OK;
}

static td_status check_patch(const struct td_lpu_program *program, const struct td_lpu_segment *segment,
                             int32_t index) {
  const struct td_lpu_patch *patch = &segment->patches[index];
  for (int v = 0; v < TD_LPU_VARIABLES; v++) {
    if (patch->low[v] >= 0 && patch->low[v] <= patch->high[v]) continue;
    return td_fail(TD_CORRUPT, "segment %s: patch %d: found a variable from %d to %d, expected 0 or more, in order",
                   segment->name, index, patch->low[v], patch->high[v]);
  }
  if (patch->lane >= -1 && patch->lane < program->machine.load_vectors) return TD_OK;
  return td_fail(TD_CORRUPT, "segment %s: patch %d: found lane %d, expected -1..%d", segment->name, index, patch->lane,
                 program->machine.load_vectors - 1);
}

/* ---- patches, meanings ---- */

static td_status check_meaning(const struct td_lpu_segment *segment, int32_t index) {
  const struct td_lpu_meaning *meaning = &segment->meanings[index];
  const char *name = segment->name;
  if (meaning->operand == TD_MEANING_ADDRESS) {
    if (meaning->component >= 0 && meaning->component < TD_MEANING_ADDRESS_COMPONENTS) return TD_OK;
    return td_fail(TD_CORRUPT, "segment %s: meaning %d: found address component %d, expected 0..%d", name, index,
                   meaning->component, TD_MEANING_ADDRESS_COMPONENTS - 1);
  }
  if (meaning->producer < 0 || meaning->producer >= segment->instruction_count) {
    return td_fail(TD_CORRUPT, "segment %s: meaning %d: found producer %d, expected one of %d instructions", name,
                   index, meaning->producer, segment->instruction_count);
  }
  if (meaning->operand < TD_MEANING_SENT || meaning->operand > 3 * TD_LPU_MOST_STREAMS || meaning->component < 0 ||
      meaning->begin < 0 || meaning->end < meaning->begin) {
    return td_fail(TD_CORRUPT,
                   "segment %s: meaning %d: found operand %d, component %d, iterations %d..%d, expected them in order",
                   name, index, meaning->operand, meaning->component, meaning->begin, meaning->end);
  }
  if (meaning->begin == meaning->end) return TD_OK;
  int64_t first = (int64_t)meaning->scale * meaning->begin + meaning->offset;
  int64_t last = (int64_t)meaning->scale * (meaning->end - 1) + meaning->offset;
  int32_t repeat = segment->instructions[meaning->producer].repeat;
  if (first >= 0 && first < repeat && last >= 0 && last < repeat) return TD_OK;
  return td_fail(TD_CORRUPT,
                 "segment %s: meaning %d: found iterations %" PRId64 "..%" PRId64
                 " of a producer, expected ones of its %d",
                 name, index, first, last, repeat);
}

/* ---- segments ---- */

static td_status check_segment(const struct td_lpu_program *program, int32_t index) {
  const struct td_lpu_segment *segment = &program->segments[index];
  uint32_t planes = (1u << program->machine.planes) - 1;
  if (!ends(segment->name, sizeof segment->name) || segment->length < 0) {
    return td_fail(TD_CORRUPT, "segment %d: found a length of %d cycles or no name, expected both", index,
                   segment->length);
  }
  if ((segment->arrays_in | segment->arrays_out) & ~planes) {
    return td_fail(TD_CORRUPT, "segment %s: found planes %x and %x across its seams, expected ones of %x",
                   segment->name, segment->arrays_in, segment->arrays_out, planes);
  }
  for (int32_t i = 0; i < segment->patch_count; i++) TD_TRY(check_patch(program, segment, i));
  for (int32_t i = 0; i < segment->instruction_count; i++) {
    TD_TRY(td_lpu_instruction_validate(program, segment, i));
  }
  for (int32_t i = 0; i < segment->meaning_count; i++) TD_TRY(check_meaning(segment, i));
  return TD_OK;
}

/* ---- links and entries ---- */

/* The highest chip of a segment; instructions are sorted by it. */
static int32_t last_chip(const struct td_lpu_segment *segment) {
  return segment->instruction_count ? segment->instructions[segment->instruction_count - 1].chip : 0;
}

static td_status check_run(const struct td_lpu_program *program, int32_t index) {
  const struct td_lpu_link *link = &program->links[index];
  if (link->segment < 0 || link->segment >= program->segment_count) {
    return td_fail(TD_CORRUPT, "link %d: found segment %d, expected one of %d", index, link->segment,
                   program->segment_count);
  }
  int64_t last = (int64_t)link->chip + last_chip(&program->segments[link->segment]);
  if (link->chip >= 0 && last < program->chips) return TD_OK;
  return td_fail(TD_CORRUPT, "link %d: found chip %d for a segment of %d chips, expected them among %d", index,
                 link->chip, last_chip(&program->segments[link->segment]) + 1, program->chips);
}

static td_status check_loop(const struct td_lpu_program *program, int32_t index, const bool *open) {
  const struct td_lpu_link *link = &program->links[index];
  if (link->variable != TD_VAR_LAYER && link->variable != TD_VAR_ROW && link->variable != TD_VAR_BLOCK) {
    return td_fail(TD_CORRUPT, "link %d: found a loop over variable %d, expected layers, rows or blocks", index,
                   link->variable);
  }
  if (open[link->variable] || (link->variable == TD_VAR_BLOCK && !open[TD_VAR_ROW])) {
    return td_fail(TD_CORRUPT, "link %d: found a loop over variable %d, expected it once, and blocks inside rows",
                   index, link->variable);
  }
  if (link->count >= 0 && link->count <= MOST_TURNS && link->first >= 0 && link->first <= MOST_TURNS) return TD_OK;
  return td_fail(TD_CORRUPT, "link %d: found %d turns from %d, expected at most %d", index, link->count, link->first,
                 MOST_TURNS);
}

/* The loops around a place. */
struct nest {
  int32_t variable[TD_LPU_VARIABLES], depth;
  int64_t turns[TD_LPU_VARIABLES + 1]; /* of the loops with a fixed count, from the outermost to this one */
  bool open[TD_LPU_VARIABLES];
};

/* What stands in the file bounds how long a walk can take. */
static td_status enter_loop(const struct td_lpu_program *program, int32_t index, struct nest *nest) {
  const struct td_lpu_link *link = &program->links[index];
  TD_TRY(check_loop(program, index, nest->open));
  nest->open[link->variable] = true;
  nest->variable[nest->depth] = link->variable;
  int64_t turns = nest->turns[nest->depth++] * (link->count ? link->count : 1);
  nest->turns[nest->depth] = turns;
  if (turns <= MOST_NESTED_TURNS) return TD_OK;
  return td_fail(TD_CORRUPT, "link %d: found %" PRId64 " turns with the loops around it, expected at most %d", index,
                 turns, MOST_NESTED_TURNS);
}

/* Loops of an entry nest and end inside it. */
static td_status check_links(const struct td_lpu_program *program, const struct td_lpu_entry *entry) {
  struct nest nest = {.turns = {1}};
  for (int32_t i = entry->link; i < entry->link + entry->link_count; i++) {
    const struct td_lpu_link *link = &program->links[i];
    if (link->kind == TD_LINK_RUN) {
      TD_TRY(check_run(program, i));
    } else if (link->kind == TD_LINK_LOOP) {
      TD_TRY(enter_loop(program, i, &nest));
    } else if (link->kind == TD_LINK_END && nest.depth) {
      nest.open[nest.variable[--nest.depth]] = false;
    } else {
      return td_fail(TD_CORRUPT, "link %d: found kind %d, expected a run, a loop, or the end of one", i, link->kind);
    }
  }
  return nest.depth ? td_fail(TD_CORRUPT, "links: found %d loops without an end", nest.depth) : TD_OK;
}

/* A chain's entries take the same rows and give them in order. */
static td_status check_chain(const struct td_lpu_program *program, int32_t index) {
  const struct td_lpu_entry *entry = &program->entries[index], *before = index ? entry - 1 : NULL;
  if (entry->first_row == 0) return TD_OK;
  bool follows = before && entry->rows == before->rows && entry->first_row > before->first_row;
  if (follows && entry->first_row < entry->rows) return TD_OK;
  return td_fail(TD_CORRUPT,
                 "entry %d: found rows from %d on of %d, expected 0 or ones behind those of the entry before, of as "
                 "many",
                 index, entry->first_row, entry->rows);
}

static td_status check_entry(const struct td_lpu_program *program, int32_t index) {
  const struct td_lpu_entry *entry = &program->entries[index];
  if (entry->rows < 1 || entry->rows > MOST_ROWS) {
    return td_fail(TD_CORRUPT, "entry %d: found %d rows, expected 1..%d", index, entry->rows, MOST_ROWS);
  }
  if (entry->layer < -1) {
    return td_fail(TD_CORRUPT, "entry %d: found layer %d, expected -1 (a whole step) or more", index, entry->layer);
  }
  int32_t before = index ? program->entries[index - 1].link + program->entries[index - 1].link_count : 0;
  if (entry->link < before || !td_lpu_inside(entry->link, entry->link_count, program->link_count)) {
    return td_fail(TD_CORRUPT, "entry %d: found %d links from %d, expected ones of %d, behind the entry before", index,
                   entry->link_count, entry->link, program->link_count);
  }
  TD_TRY(check_chain(program, index));
  return check_links(program, entry);
}

td_status td_lpu_program_validate(const struct td_lpu_program *program) {
  TD_TRY(check_head(program));
  for (int32_t i = 0; i < program->image_count; i++) TD_TRY(check_image(program, i));
  for (int32_t i = 0; i < program->map_count; i++) TD_TRY(check_map(program, i));
  for (int32_t i = 0; i < program->segment_count; i++) TD_TRY(check_segment(program, i));
  for (int32_t i = 0; i < program->entry_count; i++) TD_TRY(check_entry(program, i));
  return TD_OK;
}
