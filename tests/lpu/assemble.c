/* SPDX-License-Identifier: Apache-2.0 */
#include "lpu/assemble.h"

#include <stdlib.h>
#include <string.h>

struct marked {
  int32_t instruction;
  struct td_lpu_meaning meaning;
};
struct hand_code {
  struct td_lpu_program *program;
  struct marked *meanings; /* of the segment being written */
  int32_t meaning_count;
};

/* An array that grows by one: *array has `count` elements before. Gives the new one, zeroed. */
static void *grown(void *array, int32_t count, size_t size) {
  void **at = array;
  void *larger = realloc(*at, ((size_t)count + 1) * size);
  if (!larger) abort();
  *at = larger;
  return memset((char *)larger + (size_t)count * size, 0, size);
}
static void *copy_of(const void *from, size_t bytes) {
  void *copy = malloc(bytes ? bytes : 1);
  if (!copy) abort();
  return memcpy(copy, from, bytes);
}
static struct td_lpu_segment *segment_of(struct hand_code *code) {
  if (code->program->segment_count == 0) abort();
  return &code->program->segments[code->program->segment_count - 1];
}

struct hand_code *hand_begin(const struct td_lpu_machine *machine, int32_t chips) {
  struct hand_code *code = calloc(1, sizeof *code);
  if (!code || !(code->program = calloc(1, sizeof *code->program))) abort();
  code->program->machine = *machine;
  code->program->chips = chips;
  return code;
}

/* ---- images ---- */

int32_t hand_image(struct hand_code *code, const char *name, enum td_lpu_image_kind kind, enum td_lpu_type type,
                   int32_t chip, int32_t hemisphere, int32_t slice, int32_t slices, int32_t word, int32_t words) {
  struct td_lpu_program *program = code->program;
  struct td_lpu_image *image = grown(&program->images, program->image_count, sizeof *image);
  *image = (struct td_lpu_image){.kind = (int32_t)kind,
                                 .chip = chip,
                                 .hemisphere = hemisphere,
                                 .slice = slice,
                                 .slices = slices,
                                 .word = word,
                                 .words = words,
                                 .type = (int32_t)type};
  strncpy(image->name, name, sizeof image->name - 1);
  return program->image_count++;
}
void hand_image_matrix(struct hand_code *code, int32_t image, int32_t rows, int32_t cols, int32_t by_steps) {
  code->program->images[image].rows = rows;
  code->program->images[image].cols = cols;
  code->program->images[image].by_steps = by_steps;
}
const struct td_lpu_image *hand_image_at(const struct hand_code *code, int32_t image) {
  return &code->program->images[image];
}
void hand_image_data(struct hand_code *code, int32_t image, const void *bytes) {
  struct td_lpu_program *program = code->program;
  struct td_lpu_image *at = &program->images[image];
  uint64_t size = (uint64_t)at->words * (uint64_t)at->slices * (uint64_t)program->machine.lanes;
  uint8_t *data = realloc(program->data, program->data_bytes + size);
  if (!data) abort();
  memcpy(data + program->data_bytes, bytes, size);
  at->data = program->data_bytes;
  at->data_bytes = size;
  program->data = data;
  program->data_bytes += size;
}
int32_t hand_map(struct hand_code *code, const int16_t *lanes) {
  struct td_lpu_program *program = code->program;
  struct td_lpu_map *map = grown(&program->maps, program->map_count, sizeof *map);
  memcpy(map->lane, lanes, (size_t)program->machine.lanes * sizeof *lanes);
  return program->map_count++;
}
void hand_kv_block(struct hand_code *code, int32_t block_tokens) {
  code->program->block_tokens = block_tokens;
}

/* ---- instructions ---- */

struct td_lpu_instruction *hand_at(struct hand_code *code, int32_t instruction) {
  if (instruction < 0 || instruction >= segment_of(code)->instruction_count) abort();
  return &segment_of(code)->instructions[instruction];
}
static struct td_lpu_instruction *add(struct hand_code *code, int32_t cycle, int32_t chip, int32_t queue,
                                      enum td_lpu_opcode opcode) {
  struct td_lpu_segment *segment = segment_of(code);
  struct td_lpu_instruction *at = grown(&segment->instructions, segment->instruction_count++, sizeof *at);
  *at = (struct td_lpu_instruction){.cycle = cycle,
                                    .chip = (uint16_t)chip,
                                    .queue = (uint16_t)queue,
                                    .opcode = (uint8_t)opcode,
                                    .in = {TD_LPU_NO_STREAM, TD_LPU_NO_STREAM, TD_LPU_NO_STREAM},
                                    .out = TD_LPU_NO_STREAM,
                                    .repeat = 1,
                                    .gap = 1};
  return at;
}
static int32_t last(struct hand_code *code) {
  return segment_of(code)->instruction_count - 1;
}

static struct td_lpu_instruction *add_memory(struct hand_code *code, int32_t cycle, int32_t image, int32_t slice) {
  const struct td_lpu_program *program = code->program;
  const struct td_lpu_image *at = &program->images[image];
  return add(code, cycle, at->chip, td_lpu_memory_queue(&program->machine, at->hemisphere, at->slice + slice),
             TD_LPU_MEMORY);
}
int32_t hand_read(struct hand_code *code, int32_t cycle, int32_t image, int32_t slice, int32_t word, int32_t out) {
  struct td_lpu_instruction *at = add_memory(code, cycle, image, slice);
  at->flags = TD_LPU_READ;
  at->image[0] = image;
  at->address[0] = code->program->images[image].word + word;
  at->out = (uint8_t)out;
  return last(code);
}
int32_t hand_write(struct hand_code *code, int32_t cycle, int32_t image, int32_t slice, int32_t word, int32_t in) {
  add_memory(code, cycle, image, slice);
  hand_also_write(code, last(code), image, word, in);
  return last(code);
}
void hand_also_write(struct hand_code *code, int32_t read, int32_t image, int32_t word, int32_t in) {
  struct td_lpu_instruction *at = hand_at(code, read);
  at->flags |= TD_LPU_WRITE;
  at->image[1] = image;
  at->address[1] = code->program->images[image].word + word;
  at->in[0] = (uint8_t)in;
}

static struct td_lpu_instruction *add_matrix(struct hand_code *code, int32_t cycle, int32_t chip, int32_t plane,
                                             enum td_lpu_matrix_queue queue, enum td_lpu_opcode opcode,
                                             enum td_lpu_type type) {
  int32_t number = td_lpu_matrix_queue(&code->program->machine, plane, queue);
  struct td_lpu_instruction *at = add(code, cycle, chip, number, opcode);
  at->type = (uint8_t)type;
  return at;
}
int32_t hand_load(struct hand_code *code, int32_t cycle, int32_t chip, int32_t plane, enum td_lpu_type type,
                  int32_t step, int32_t in) {
  struct td_lpu_instruction *at = add_matrix(code, cycle, chip, plane, TD_MATRIX_LOAD, TD_LPU_LOAD, type);
  at->address[0] = step;
  at->in[0] = (uint8_t)in;
  return last(code);
}
int32_t hand_load_columns(struct hand_code *code, int32_t cycle, int32_t chip, int32_t plane, enum td_lpu_type type,
                          int32_t step, int32_t in, int32_t half) {
  int32_t load = hand_load(code, cycle, chip, plane, type, step, in);
  hand_at(code, load)->flags = TD_LPU_COLUMNS;
  hand_at(code, load)->half = (uint8_t)half;
  return load;
}
int32_t hand_install(struct hand_code *code, int32_t cycle, int32_t chip, int32_t plane) {
  add_matrix(code, cycle, chip, plane, TD_MATRIX_INSTALL, TD_LPU_INSTALL, 0);
  return last(code);
}
int32_t hand_pass(struct hand_code *code, int32_t cycle, int32_t chip, int32_t plane, enum td_lpu_type type, int32_t in,
                  int32_t half) {
  struct td_lpu_instruction *at = add_matrix(code, cycle, chip, plane, TD_MATRIX_PASS, TD_LPU_PASS, type);
  at->in[0] = (uint8_t)in;
  at->half = (uint8_t)half;
  return last(code);
}
int32_t hand_sum(struct hand_code *code, int32_t cycle, int32_t chip, int32_t plane, enum td_lpu_type type,
                 int32_t flags, int32_t accumulator, int32_t out) {
  struct td_lpu_instruction *at = add_matrix(code, cycle, chip, plane, TD_MATRIX_SUM, TD_LPU_SUM, type);
  at->flags = (uint8_t)flags;
  at->address[0] = accumulator;
  at->out = (uint8_t)out;
  return last(code);
}

int32_t hand_alu(struct hand_code *code, int32_t cycle, int32_t chip, int32_t alu, enum td_lpu_alu operation,
                 enum td_lpu_type out_type, int32_t out) {
  struct td_lpu_instruction *at = add(code, cycle, chip, td_lpu_vector_queue(&code->program->machine, alu), TD_LPU_ALU);
  at->operation = (uint8_t)operation;
  at->out_type = (uint8_t)out_type;
  at->out = (uint8_t)out;
  return last(code);
}
void hand_from(struct hand_code *code, int32_t instruction, int32_t which, enum td_lpu_type type, int32_t in) {
  struct td_lpu_instruction *at = hand_at(code, instruction);
  at->source[which] = TD_SOURCE_STREAM;
  at->in_type[which] = (uint8_t)type;
  at->in[which] = (uint8_t)in;
}
void hand_chain(struct hand_code *code, int32_t instruction, int32_t which, int32_t alu) {
  struct td_lpu_instruction *at = hand_at(code, instruction);
  at->source[which] = TD_SOURCE_CHAIN;
  at->in[which] = (uint8_t)alu;
}
void hand_value(struct hand_code *code, int32_t instruction, int32_t which, float value) {
  struct td_lpu_instruction *at = hand_at(code, instruction);
  at->source[which] = TD_SOURCE_IMMEDIATE;
  memcpy(&at->immediate, &value, sizeof value);
}

static struct td_lpu_instruction *add_switch(struct hand_code *code, int32_t cycle, int32_t chip, int32_t hemisphere,
                                             enum td_lpu_switch_queue queue, enum td_lpu_opcode opcode, int32_t width) {
  int32_t number = td_lpu_switch_queue(&code->program->machine, hemisphere, queue);
  struct td_lpu_instruction *at = add(code, cycle, chip, number, opcode);
  at->width = (uint8_t)width;
  return at;
}
int32_t hand_rotate(struct hand_code *code, int32_t cycle, int32_t chip, int32_t hemisphere, int32_t width, int32_t in,
                    int32_t out, int32_t by) {
  struct td_lpu_instruction *at = add_switch(code, cycle, chip, hemisphere, TD_SWITCH_SHIFT, TD_LPU_ROTATE, width);
  at->in[0] = (uint8_t)in;
  at->out = (uint8_t)out;
  at->immediate = (uint32_t)by;
  return last(code);
}
int32_t hand_shift(struct hand_code *code, int32_t cycle, int32_t chip, int32_t hemisphere, int32_t width, int32_t in,
                   int32_t out, int32_t by) {
  int32_t shift = hand_rotate(code, cycle, chip, hemisphere, width, in, out, by);
  hand_at(code, shift)->opcode = TD_LPU_SHIFT;
  return shift;
}
int32_t hand_permute(struct hand_code *code, int32_t cycle, int32_t chip, int32_t hemisphere, int32_t width, int32_t in,
                     int32_t out, int32_t map) {
  struct td_lpu_instruction *at = add_switch(code, cycle, chip, hemisphere, TD_SWITCH_PERMUTE, TD_LPU_PERMUTE, width);
  at->in[0] = (uint8_t)in;
  at->out = (uint8_t)out;
  at->address[0] = map;
  return last(code);
}
int32_t hand_select(struct hand_code *code, int32_t cycle, int32_t chip, int32_t hemisphere, int32_t width, int32_t a,
                    int32_t b, int32_t out, int32_t map) {
  struct td_lpu_instruction *at = add_switch(code, cycle, chip, hemisphere, TD_SWITCH_SELECT, TD_LPU_SELECT, width);
  at->in[0] = (uint8_t)a;
  at->in[1] = (uint8_t)b;
  at->out = (uint8_t)out;
  at->address[0] = map;
  return last(code);
}
int32_t hand_transpose(struct hand_code *code, int32_t cycle, int32_t chip, int32_t hemisphere, int32_t in,
                       int32_t out) {
  struct td_lpu_instruction *at = add_switch(code, cycle, chip, hemisphere, TD_SWITCH_TRANSPOSE, TD_LPU_TRANSPOSE, 1);
  at->in[0] = (uint8_t)in;
  at->out = (uint8_t)out;
  return last(code);
}
int32_t hand_send(struct hand_code *code, int32_t cycle, int32_t chip, int32_t link, int32_t in) {
  add(code, cycle, chip, td_lpu_link_queue(&code->program->machine, link), TD_LPU_SEND)->in[0] = (uint8_t)in;
  return last(code);
}
int32_t hand_receive(struct hand_code *code, int32_t cycle, int32_t chip, int32_t link, int32_t out) {
  add(code, cycle, chip, td_lpu_link_queue(&code->program->machine, link), TD_LPU_RECEIVE)->out = (uint8_t)out;
  return last(code);
}

/* ---- what any instruction can have ---- */

void hand_repeat(struct hand_code *code, int32_t instruction, int32_t repeat, int32_t gap, int32_t stride) {
  struct td_lpu_instruction *at = hand_at(code, instruction);
  at->repeat = repeat;
  at->gap = gap;
  at->stride[0] = at->stride[1] = stride;
}
int32_t hand_patch(struct hand_code *code, const struct td_lpu_patch *patch) {
  struct td_lpu_segment *segment = segment_of(code);
  struct td_lpu_patch *at = grown(&segment->patches, segment->patch_count, sizeof *at);
  *at = *patch;
  return segment->patch_count++;
}
void hand_patched(struct hand_code *code, int32_t instruction, int32_t which, int32_t patch) {
  hand_at(code, instruction)->patch[which] = (uint16_t)(patch + 1);
}
void hand_meaning(struct hand_code *code, int32_t instruction, struct td_lpu_meaning meaning) {
  struct marked *at = grown(&code->meanings, code->meaning_count++, sizeof *at);
  at->instruction = instruction;
  at->meaning = meaning;
}
void hand_means(struct hand_code *code, int32_t instruction, int32_t operand, int32_t producer, int32_t component) {
  struct td_lpu_meaning meaning = {
      .operand = operand, .component = component, .end = INT32_MAX, .producer = producer, .scale = 1};
  hand_meaning(code, instruction, meaning);
}
void hand_means_all(struct hand_code *code, int32_t instruction, int32_t operand, int32_t producer, int32_t component,
                    int32_t count) {
  for (int32_t i = 0; i < count; i++) hand_means(code, instruction, operand + i, producer, component + i);
}

/* ---- segments ---- */

static int by_place(const void *a, const void *b, void *context) {
  const struct td_lpu_instruction *all = context;
  int32_t first = *(const int32_t *)a, second = *(const int32_t *)b;
  const struct td_lpu_instruction *x = &all[first], *y = &all[second];
  if (x->chip != y->chip) return x->chip < y->chip ? -1 : 1;
  if (x->queue != y->queue) return x->queue < y->queue ? -1 : 1;
  if (x->cycle != y->cycle) return x->cycle < y->cycle ? -1 : 1;
  return first < second ? -1 : first > second;
}
/* Moves the code's meanings behind each other, instruction by instruction, with the producers' new numbers. */
static void settle_meanings(struct hand_code *code, struct td_lpu_segment *segment, const int32_t *place) {
  segment->meanings = copy_of("", 0);
  for (int32_t i = 0; i < segment->instruction_count; i++) {
    struct td_lpu_instruction *at = &segment->instructions[i];
    at->meaning = segment->meaning_count;
    for (int32_t m = 0; m < code->meaning_count; m++) {
      if (place[code->meanings[m].instruction] != i) continue;
      struct td_lpu_meaning *to = grown(&segment->meanings, segment->meaning_count++, sizeof *to);
      *to = code->meanings[m].meaning;
      to->producer = place[to->producer];
      if (to->end > at->repeat) to->end = at->repeat;
    }
    at->meaning_count = segment->meaning_count - at->meaning;
  }
  code->meaning_count = 0;
}
/* Sorts the last segment's instructions and gives the meanings their final form. */
static void settle(struct hand_code *code) {
  if (code->program->segment_count == 0) return;
  struct td_lpu_segment *segment = segment_of(code);
  int32_t count = segment->instruction_count;
  int32_t *order = malloc(((size_t)count + 1) * sizeof *order), *place = malloc(((size_t)count + 1) * sizeof *place);
  if (!order || !place) abort();
  for (int32_t i = 0; i < count; i++) order[i] = i;
  qsort_r(order, (size_t)count, sizeof *order, by_place, segment->instructions);
  struct td_lpu_instruction *sorted = malloc(((size_t)count + 1) * sizeof *sorted);
  if (!sorted) abort();
  for (int32_t i = 0; i < count; i++) {
    sorted[i] = segment->instructions[order[i]];
    place[order[i]] = i;
  }
  free(segment->instructions);
  segment->instructions = sorted;
  settle_meanings(code, segment, place);
  free(order);
  free(place);
}
int32_t hand_segment(struct hand_code *code, const char *name, int32_t length) {
  settle(code);
  struct td_lpu_program *program = code->program;
  struct td_lpu_segment *segment = grown(&program->segments, program->segment_count, sizeof *segment);
  strncpy(segment->name, name, sizeof segment->name - 1);
  segment->length = length;
  return program->segment_count++;
}
void hand_arrays(struct hand_code *code, uint32_t in, uint32_t out) {
  segment_of(code)->arrays_in = in;
  segment_of(code)->arrays_out = out;
}

/* ---- links ---- */

static struct td_lpu_link *add_link(struct hand_code *code, enum td_lpu_link_kind kind) {
  struct td_lpu_program *program = code->program;
  if (program->entry_count == 0) abort();
  struct td_lpu_link *link = grown(&program->links, program->link_count++, sizeof *link);
  program->entries[program->entry_count - 1].link_count++;
  link->kind = (int32_t)kind;
  return link;
}
void hand_entry(struct hand_code *code, int32_t rows) {
  struct td_lpu_program *program = code->program;
  struct td_lpu_entry *entry = grown(&program->entries, program->entry_count++, sizeof *entry);
  entry->rows = rows;
  entry->link = program->link_count;
}
void hand_run(struct hand_code *code, int32_t segment, int32_t chip) {
  struct td_lpu_link *link = add_link(code, TD_LINK_RUN);
  link->segment = segment;
  link->chip = chip;
}
void hand_loop(struct hand_code *code, enum td_lpu_variable variable, int32_t first, int32_t count) {
  struct td_lpu_link *link = add_link(code, TD_LINK_LOOP);
  link->variable = (int32_t)variable;
  link->first = first;
  link->count = count;
}
void hand_end(struct hand_code *code) {
  add_link(code, TD_LINK_END);
}

/* ---- what addresses mean ---- */

struct table {
  struct td_lpu_meaning *rows;
  int32_t count;
  size_t room;
};
static void add_meaning(struct table *table, struct td_lpu_meaning meaning) {
  if ((size_t)table->count == table->room) {
    table->room = table->room ? 2 * table->room : 1024;
    table->rows = realloc(table->rows, table->room * sizeof *table->rows);
    if (!table->rows) abort();
  }
  table->rows[table->count++] = meaning;
}
static void mean(struct table *table, const struct td_lpu_instruction *at, int32_t component, int32_t scale,
                 int32_t offset) {
  add_meaning(table, (struct td_lpu_meaning){TD_MEANING_ADDRESS, component, 0, at->repeat, 0, scale, offset});
}
static void mean_address(struct table *table, const struct td_lpu_program *program,
                         const struct td_lpu_segment *segment, const struct td_lpu_instruction *at, int32_t which) {
  int32_t first = at->opcode == TD_LPU_MEMORY ? program->images[at->image[which]].word : 0;
  mean(table, at, which, at->stride[which], at->address[which] - first);
  if (!at->patch[which]) return;
  const struct td_lpu_patch *patch = &segment->patches[at->patch[which] - 1];
  for (int32_t v = 0; v < TD_LPU_VARIABLES; v++) {
    if (patch->coefficient[v]) mean(table, at, which + 2 * (1 + v), 0, patch->coefficient[v]);
  }
  if (patch->lane >= 0) mean(table, at, which + 2 * (1 + TD_LPU_VARIABLES), patch->lane, patch->otherwise);
}
static void mean_instruction(struct table *table, const struct td_lpu_program *program,
                             const struct td_lpu_segment *segment, const struct td_lpu_instruction *at) {
  bool map = at->opcode == TD_LPU_PERMUTE || at->opcode == TD_LPU_SELECT, memory = at->opcode == TD_LPU_MEMORY;
  bool columns = at->opcode == TD_LPU_LOAD && at->flags & TD_LPU_COLUMNS;
  if (map || (memory && at->flags & TD_LPU_READ)) mean_address(table, program, segment, at, 0);
  if (memory && at->flags & TD_LPU_WRITE) mean_address(table, program, segment, at, 1);
  if (at->opcode == TD_LPU_PASS || at->opcode == TD_LPU_LOAD) mean(table, at, 1, columns, at->half);
  if (at->opcode == TD_LPU_ALU) mean(table, at, 0, 0, at->operation);
}
static void mean_addresses(struct td_lpu_program *program) {
  for (int32_t s = 0; s < program->segment_count; s++) {
    struct td_lpu_segment *segment = &program->segments[s];
    struct table table = {NULL, 0, 0};
    for (int32_t i = 0; i < segment->instruction_count; i++) {
      struct td_lpu_instruction *at = &segment->instructions[i];
      int32_t begin = table.count;
      for (int32_t m = 0; m < at->meaning_count; m++) {
        const struct td_lpu_meaning *had = &segment->meanings[at->meaning + m];
        if (had->operand != TD_MEANING_ADDRESS) add_meaning(&table, *had);
      }
      mean_instruction(&table, program, segment, at);
      at->meaning = begin;
      at->meaning_count = table.count - begin;
    }
    free(segment->meanings);
    segment->meanings = table.rows;
    segment->meaning_count = table.count;
  }
}

struct td_lpu_program *hand_finish(struct hand_code *code) {
  settle(code);
  struct td_lpu_program *program = code->program;
  free(code->meanings);
  free(code);
  mean_addresses(program);
  return program;
}
