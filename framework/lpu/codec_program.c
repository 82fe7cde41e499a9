/* SPDX-License-Identifier: Apache-2.0
 *
 * The fields of a machine and of a program, in the file's order. A change here is a new TD_LPU_PROGRAM_VERSION.
 */
#include <stddef.h>

#include "codec.h"
#include "tandem/base.h"

static void code_bool(struct td_codec *code, bool *value) {
  uint8_t byte = *value;
  td_codec_u8(code, &byte);
  *value = byte != 0;
}

static void code_f64s(struct td_codec *code, double *values, size_t count) {
  for (size_t i = 0; i < count; i++) td_codec_f64(code, &values[i]);
}

static void code_delays(struct td_codec *code, struct td_lpu_machine *m) {
  for (int i = 0; i < TD_LPU_OPCODE_COUNT; i++) {
    td_codec_i32(code, &m->delay[i].skew);
    td_codec_i32(code, &m->delay[i].func);
  }
  td_codec_i32(code, &m->memory_write_skew);
  td_codec_i32s(code, m->alu_func, TD_ALU_COUNT);
}

static void code_links(struct td_codec *code, struct td_lpu_machine *m) {
  td_codec_i32(code, &m->links);
  td_codec_i32(code, &m->links_used);
  td_codec_f64(code, &m->link_bytes_per_second);
  td_codec_i32(code, &m->link_overhead_bytes);
  td_codec_i32(code, &m->link_latency);
  td_codec_f64(code, &m->link_hop_seconds);
  td_codec_i32(code, &m->link_epoch);
  td_codec_i32(code, &m->link_slack);
  td_codec_i32(code, &m->node_chips);
}

/* The host's and the system's: as many levels as there are. */
static void code_system(struct td_codec *code, struct td_lpu_machine *m) {
  td_codec_f64(code, &m->host_bytes_per_second);
  td_codec_f64(code, &m->host_latency_seconds);
  td_codec_i32(code, &m->system_chips);
  td_codec_i32(code, &m->levels);
  if (!code->status && (m->levels < 0 || m->levels > TD_LPU_MOST_LEVELS)) {
    code->status =
        td_fail(TD_CORRUPT, "%s: found %d levels of wiring, expected 0..%d", code->path, m->levels, TD_LPU_MOST_LEVELS);
  }
  for (int32_t i = 0; i < m->levels && !code->status; i++) {
    struct td_lpu_level *level = &m->level[i];
    int32_t *const numbers[] = {&level->wiring, &level->units, &level->spares, &level->columns, &level->links};
    td_codec_name(code, level->name, sizeof level->name);
    for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++) td_codec_i32(code, numbers[n]);
  }
}

void td_codec_machine(struct td_codec *code, struct td_lpu_machine *m) {
  int32_t *const sizes[] = {&m->superlanes,        &m->lanes_per_superlane, &m->lanes,
                            &m->streams,           &m->mem_slices,          &m->mem_slices_per_hop,
                            &m->mem_words,         &m->mem_banks,           &m->planes,
                            &m->plane_k,           &m->load_vectors,        &m->install_cycles,
                            &m->accumulator_depth, &m->transpose_cycles,    &m->alus,
                            &m->switch_functions,  &m->instruction_queues};
  code->what = "the machine";
  td_codec_name(code, m->name, sizeof m->name);
  td_codec_f64(code, &m->clock_hz);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) td_codec_i32(code, sizes[i]);
  code_delays(code, m);
  code_links(code, m);
  code_f64s(code, m->power_active, TD_LPU_UNIT_COUNT);
  code_f64s(code, m->power_idle, TD_LPU_UNIT_COUNT);
  td_codec_f64(code, &m->power_base);
  code_bool(code, &m->has_power);
  code_system(code, m);
}

static void code_image(struct td_codec *code, struct td_lpu_image *image) {
  int32_t *const numbers[] = {&image->kind,   &image->chip, &image->hemisphere, &image->slice,
                              &image->slices, &image->word, &image->words,      &image->type,
                              &image->rows,   &image->cols, &image->by_steps,   &image->owner};
  td_codec_name(code, image->name, sizeof image->name);
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) td_codec_i32(code, numbers[i]);
  td_codec_u64(code, &image->data);
  td_codec_u64(code, &image->data_bytes);
}

static void code_instruction(struct td_codec *code, struct td_lpu_instruction *i) {
  uint8_t *const bytes[] = {&i->opcode,    &i->operation,  &i->flags,      &i->type,       &i->half,      &i->width,
                            &i->in[0],     &i->in[1],      &i->in[2],      &i->out,        &i->source[0], &i->source[1],
                            &i->source[2], &i->in_type[0], &i->in_type[1], &i->in_type[2], &i->out_type};
  td_codec_i32(code, &i->cycle);
  td_codec_u16(code, &i->chip);
  td_codec_u16(code, &i->queue);
  for (size_t b = 0; b < sizeof bytes / sizeof *bytes; b++) td_codec_u8(code, bytes[b]);
  td_codec_u16(code, &i->patch[0]);
  td_codec_u16(code, &i->patch[1]);
  td_codec_i32(code, &i->repeat);
  td_codec_i32(code, &i->gap);
  td_codec_i32s(code, i->address, 2);
  td_codec_i32s(code, i->stride, 2);
  td_codec_i32s(code, i->image, 2);
  td_codec_u32(code, &i->immediate);
  td_codec_i32(code, &i->meaning);
  td_codec_i32(code, &i->meaning_count);
}

static void code_meaning(struct td_codec *code, struct td_lpu_meaning *meaning) {
  int32_t *const numbers[] = {&meaning->operand,  &meaning->component, &meaning->begin, &meaning->end,
                              &meaning->producer, &meaning->scale,     &meaning->offset};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) td_codec_i32(code, numbers[i]);
}

static void code_patch(struct td_codec *code, struct td_lpu_patch *patch) {
  td_codec_i32s(code, patch->coefficient, TD_LPU_VARIABLES);
  td_codec_i32s(code, patch->low, TD_LPU_VARIABLES);
  td_codec_i32s(code, patch->high, TD_LPU_VARIABLES);
  td_codec_i32(code, &patch->lane);
  td_codec_i32(code, &patch->otherwise);
}

enum { IMAGE_BYTES = 48 + 12 * 4 + 16, INSTRUCTION_BYTES = 73, MEANING_BYTES = 28, PATCH_BYTES = 80, MAP_BYTES = 1024 };
_Static_assert(sizeof((struct td_lpu_machine *)0)->name <= 64, "td_codec_name has room");
enum { SEGMENT_BYTES = 32 + 12 + 12, LINK_BYTES = 24, ENTRY_BYTES = 20 };

/* Goes through a counted array; `one` codes *element. */
#define CODE_ARRAY(what, owner, field, bytes, one)                                                                   \
  do {                                                                                                               \
    if (td_codec_array(code, what, &(owner)->field##_count, &(owner)->field##s, sizeof *(owner)->field##s, bytes)) { \
      for (int32_t e = 0; e < (owner)->field##_count && !code->status; e++) one(code, &(owner)->field##s[e]);        \
    }                                                                                                                \
  } while (0)

static void code_segment(struct td_codec *code, struct td_lpu_segment *segment) {
  code->what = "a segment";
  td_codec_name(code, segment->name, sizeof segment->name);
  td_codec_i32(code, &segment->length);
  td_codec_u32(code, &segment->arrays_in);
  td_codec_u32(code, &segment->arrays_out);
  CODE_ARRAY("instructions", segment, instruction, INSTRUCTION_BYTES, code_instruction);
  CODE_ARRAY("meanings", segment, meaning, MEANING_BYTES, code_meaning);
  if (td_codec_array(code, "patches", &segment->patch_count, &segment->patches, sizeof *segment->patches,
                     PATCH_BYTES)) {
    for (int32_t i = 0; i < segment->patch_count && !code->status; i++) code_patch(code, &segment->patches[i]);
  }
}

static void code_map(struct td_codec *code, struct td_lpu_map *map) {
  for (int i = 0; i < TD_LPU_MOST_LANES; i++) td_codec_i16(code, &map->lane[i]);
}

static void code_link(struct td_codec *code, struct td_lpu_link *link) {
  int32_t *const numbers[] = {&link->kind, &link->segment, &link->chip, &link->variable, &link->first, &link->count};
  for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) td_codec_i32(code, numbers[i]);
}

static void code_entry(struct td_codec *code, struct td_lpu_entry *entry) {
  td_codec_i32(code, &entry->rows);
  td_codec_i32(code, &entry->layer);
  td_codec_i32(code, &entry->link);
  td_codec_i32(code, &entry->link_count);
  td_codec_i32(code, &entry->first_row);
}

static void code_data(struct td_codec *code, struct td_lpu_program *program) {
  uint64_t bytes = program->data_bytes;
  void *memory = NULL;
  code->what = "the data";
  td_codec_u64(code, &bytes);
  if (code->reads && !code->status) {
    if (bytes != code->left) {
      code->status = td_fail(TD_CORRUPT, "%s: found %llu bytes of data, expected the %llu that are left of the file",
                             code->path, (unsigned long long)bytes, (unsigned long long)code->left);
    } else if (bytes) {
      code->status = td_alloc((size_t)bytes, 1, &memory);
    }
    if (code->status) return;
    program->data = memory;
    program->data_bytes = bytes;
  }
  if (bytes) td_codec_bytes(code, program->data, (size_t)bytes);
}

void td_codec_program(struct td_codec *code, struct td_lpu_program *program) {
  td_codec_machine(code, &program->machine);
  code->what = "the program's head";
  td_codec_i32(code, &program->chips);
  td_codec_i32(code, &program->tensor);
  td_codec_i32(code, &program->block_tokens);
  CODE_ARRAY("images", program, image, IMAGE_BYTES, code_image);
  CODE_ARRAY("maps", program, map, MAP_BYTES, code_map);
  CODE_ARRAY("segments", program, segment, SEGMENT_BYTES, code_segment);
  CODE_ARRAY("links", program, link, LINK_BYTES, code_link);
  if (td_codec_array(code, "entries", &program->entry_count, &program->entries, sizeof *program->entries,
                     ENTRY_BYTES)) {
    for (int32_t i = 0; i < program->entry_count && !code->status; i++) code_entry(code, &program->entries[i]);
  }
  code_data(code, program);
}
