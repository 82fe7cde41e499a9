/* SPDX-License-Identifier: Apache-2.0
 *
 * Instructions and their meanings; reads and writes of tensors.
 */
#include <string.h>

#include "builder.h"
#include "tandem/base.h"

struct td_lpu_instruction lpu_instruction(enum td_lpu_opcode opcode, int32_t chip, int32_t queue, int32_t cycle,
                                          int32_t repeat) {
  struct td_lpu_instruction instruction;
  memset(&instruction, 0, sizeof instruction);
  instruction.cycle = cycle;
  instruction.chip = (uint16_t)chip;
  instruction.queue = (uint16_t)queue;
  instruction.opcode = (uint8_t)opcode;
  instruction.width = 1;
  memset(instruction.in, TD_LPU_NO_STREAM, sizeof instruction.in);
  instruction.out = TD_LPU_NO_STREAM;
  instruction.repeat = repeat;
  instruction.gap = 1;
  instruction.image[0] = instruction.image[1] = -1;
  return instruction;
}

/* The last cycle in which an instruction still does something on its chip. */
static int32_t end_of(const struct td_lpu_machine *machine, const struct td_lpu_instruction *instruction) {
  int32_t func = machine->delay[instruction->opcode].func;
  if (instruction->opcode == TD_LPU_ALU) func = machine->alu_func[instruction->operation];
  if (instruction->opcode == TD_LPU_LOAD && instruction->flags & TD_LPU_COLUMNS) func += machine->transpose_cycles;
  /* A read ends where somebody takes it. */
  if (instruction->opcode == TD_LPU_MEMORY) func = instruction->flags & TD_LPU_WRITE ? machine->memory_write_skew : 0;
  return instruction->cycle + (instruction->repeat - 1) * instruction->gap + func + 1;
}

static td_status mean_addresses(struct lpu_builder *builder, const struct td_lpu_instruction *instruction);

td_status lpu_emit(struct lpu_builder *builder, const struct td_lpu_instruction *instruction, int32_t *out_index) {
  struct td_lpu_segment *segment = &builder->segment;
  if (builder->counting) {
    int32_t last = end_of(builder->machine, instruction);
    if (last > builder->end) builder->end = last;
    *out_index = builder->counted++;
    return TD_OK;
  }
  TD_TRY(td_grow((void **)&segment->instructions, &builder->instruction_capacity,
                 (size_t)segment->instruction_count + 1, sizeof *instruction));
  struct td_lpu_instruction *place = &segment->instructions[segment->instruction_count];
  *place = *instruction;
  place->meaning = segment->meaning_count;
  place->meaning_count = 0;
  int32_t end = end_of(builder->machine, place);
  if (end > builder->end) builder->end = end;
  *out_index = segment->instruction_count++;
  struct td_lpu_instruction copy = *place;
  return mean_addresses(builder, &copy);
}

static td_status mean_range(struct lpu_builder *builder, const struct td_lpu_meaning *meaning) {
  struct td_lpu_segment *segment = &builder->segment;
  if (builder->counting) return TD_OK;
  TD_TRY(td_grow((void **)&segment->meanings, &builder->meaning_capacity, (size_t)segment->meaning_count + 1,
                 sizeof *meaning));
  segment->meanings[segment->meaning_count++] = *meaning;
  segment->instructions[segment->instruction_count - 1].meaning_count++;
  return TD_OK;
}

/* ---- what addresses mean ---- */

static td_status mean_address(struct lpu_builder *builder, int32_t component, int32_t scale, int32_t offset) {
  const struct td_lpu_segment *segment = &builder->segment;
  struct td_lpu_meaning meaning = {.operand = TD_MEANING_ADDRESS,
                                   .component = component,
                                   .end = segment->instructions[segment->instruction_count - 1].repeat,
                                   .scale = scale,
                                   .offset = offset};
  return mean_range(builder, &meaning);
}

static td_status mean_word(struct lpu_builder *builder, const struct td_lpu_instruction *instruction, int32_t which) {
  const struct td_lpu_image *image = &builder->program->images[instruction->image[which]];
  TD_TRY(mean_address(builder, which, instruction->stride[which], instruction->address[which] - image->word));
  if (instruction->patch[which] == 0) return TD_OK;
  const struct td_lpu_patch patch = builder->segment.patches[instruction->patch[which] - 1];
  for (int32_t v = 0; v < TD_LPU_VARIABLES; v++) {
    if (patch.coefficient[v]) TD_TRY(mean_address(builder, which + 2 * (1 + v), 0, patch.coefficient[v]));
  }
  if (patch.lane < 0) return TD_OK;
  return mean_address(builder, which + 2 * (1 + TD_LPU_VARIABLES), patch.lane, patch.otherwise);
}

/* Which map, and what it says. */
static td_status mean_map(struct lpu_builder *builder, const struct td_lpu_instruction *instruction) {
  const struct td_lpu_map *map = &builder->program->maps[instruction->address[0]];
  uint64_t digest = td_hash(TD_HASH_INIT, map->lane, (size_t)builder->machine->lanes * sizeof *map->lane);
  TD_TRY(mean_address(builder, 0, instruction->stride[0], instruction->address[0]));
  return instruction->stride[0] ? TD_OK : mean_address(builder, 1, 0, (int32_t)(digest & INT32_MAX));
}

static td_status mean_addresses(struct lpu_builder *builder, const struct td_lpu_instruction *instruction) {
  switch (instruction->opcode) {
    case TD_LPU_MEMORY:
      if (instruction->flags & TD_LPU_READ) TD_TRY(mean_word(builder, instruction, 0));
      return instruction->flags & TD_LPU_WRITE ? mean_word(builder, instruction, 1) : TD_OK;
    case TD_LPU_PERMUTE:
    case TD_LPU_SELECT:
      return mean_map(builder, instruction);
    case TD_LPU_ALU:
      return mean_address(builder, 0, 0, instruction->operation);
    case TD_LPU_PASS:
    case TD_LPU_LOAD:
      return mean_address(builder, 1, instruction->flags & TD_LPU_COLUMNS ? 1 : 0, instruction->half);
    default:
      return TD_OK;
  }
}

td_status lpu_mean(struct lpu_builder *builder, int32_t operand, int32_t producer, int32_t component, int32_t scale,
                   int32_t offset) {
  const struct td_lpu_segment *segment = &builder->segment;
  if (builder->counting) return TD_OK;
  struct td_lpu_meaning meaning = {.operand = operand,
                                   .component = component,
                                   .begin = 0,
                                   .end = segment->instructions[segment->instruction_count - 1].repeat,
                                   .producer = producer,
                                   .scale = scale,
                                   .offset = offset};
  return mean_range(builder, &meaning);
}

/* ---- reads ---- */

static int32_t slice_position(const struct lpu_builder *builder, const struct lpu_tensor *tensor, int32_t component) {
  return td_lpu_memory_position(builder->machine, tensor->hemisphere, tensor->slice + component);
}

int32_t lpu_distance(int32_t a, int32_t b) {
  return a < b ? b - a : a - b;
}

/* The issue, from T on, of component c's READ. */
static int32_t read_issue(const struct lpu_builder *builder, const struct lpu_read *read, int32_t component) {
  int32_t hops = lpu_distance(slice_position(builder, read->tensor, component), read->at);
  return read->when - hops - builder->machine->delay[TD_LPU_MEMORY].func;
}

/* The component's slice that is farthest from (or nearest to) a position. */
static int32_t extreme_position(const struct lpu_builder *builder, const struct lpu_tensor *tensor, int32_t at) {
  int32_t width = td_lpu_type_bytes(tensor->type), best = slice_position(builder, tensor, 0);
  for (int32_t c = 1; c < width; c++) {
    int32_t position = slice_position(builder, tensor, c);
    if (lpu_distance(position, at) > lpu_distance(best, at)) best = position;
  }
  return best;
}

/* T such that no vector is read before it is there. */
static void wait_ready(struct lpu_pattern *pattern, const struct lpu_read *read, int32_t issue) {
  const struct lpu_tensor *tensor = read->tensor;
  for (int32_t i = 0; tensor->ready && i < read->n; i++) {
    int32_t earliest = tensor->ready[read->offset + i * read->stride] - issue - i;
    if (earliest > pattern->not_before) pattern->not_before = earliest;
  }
}

void lpu_read_book(struct lpu_builder *builder, struct lpu_pattern *pattern, struct lpu_read *read) {
  const struct lpu_tensor *tensor = read->tensor;
  int32_t width = td_lpu_type_bytes(tensor->type);
  for (int32_t c = 0; c < width; c++) {
    int32_t issue = read_issue(builder, read, c);
    int32_t queue = td_lpu_memory_queue(builder->machine, tensor->hemisphere, tensor->slice + c);
    int32_t use = lpu_use_queue(pattern, tensor->chip, queue, issue, read->n);
    if (c == 0) read->first_use = use;
    wait_ready(pattern, read, issue);
  }
  int32_t from = extreme_position(builder, tensor, read->at);
  read->stream_use = lpu_use_stream(pattern, tensor->chip, from, read->at, read->when, width, read->n);
}

/* The words' writers, as linear runs. */
static td_status mean_words(struct lpu_builder *builder, const struct lpu_read *read, int32_t component) {
  const struct lpu_tensor *tensor = read->tensor;
  if (!tensor->writer || builder->counting) return TD_OK;
  for (int32_t begin = 0; begin < read->n;) {
    int32_t at = read->offset + begin * read->stride, writer = tensor->writer[at], first = tensor->iteration[at];
    int32_t end = begin + 1, scale = 0;
    for (; end < read->n; end++) {
      int32_t next = read->offset + end * read->stride;
      if (end == begin + 1) scale = tensor->iteration[next] - first;
      if (tensor->writer[next] != writer || tensor->iteration[next] != first + scale * (end - begin)) break;
    }
    if (end == begin + 1) scale = 0;
    struct td_lpu_meaning meaning = {TD_MEANING_WORD,      0, begin, end, writer + tensor->byte + component, scale,
                                     first - scale * begin};
    if (writer >= 0) TD_TRY(mean_range(builder, &meaning));
    begin = end;
  }
  return TD_OK;
}

/* What writes of the segment that are placed later wait for. */
static td_status note_taken(struct lpu_tensor *tensor, const struct lpu_read *read, int32_t issue) {
  if (!tensor->taken) TD_TRY(td_alloc((size_t)tensor->count, sizeof(int32_t), (void **)&tensor->taken));
  for (int32_t i = 0; i < read->n; i++) {
    int32_t *taken = &tensor->taken[read->offset + i * read->stride];
    if (issue + i > *taken) *taken = issue + i;
  }
  return TD_OK;
}

td_status lpu_read_emit(struct lpu_builder *builder, const struct lpu_pattern *pattern, int32_t cycle,
                        struct lpu_read *read) {
  const struct lpu_tensor *tensor = read->tensor;
  int32_t width = td_lpu_type_bytes(tensor->type);
  for (int32_t c = 0; c < width; c++) {
    const struct lpu_use *use = &pattern->uses[read->first_use + c];
    struct td_lpu_instruction instruction =
        lpu_instruction(TD_LPU_MEMORY, tensor->chip, use->queue, cycle + use->at, read->n);
    instruction.flags = TD_LPU_READ;
    instruction.out = lpu_stream_of(&pattern->uses[read->stream_use], c);
    instruction.address[0] = tensor->word + read->offset;
    instruction.stride[0] = read->stride;
    instruction.patch[0] = read->patch;
    instruction.image[0] = tensor->image;
    int32_t index;
    TD_TRY(lpu_emit(builder, &instruction, &index));
    if (c == 0) read->first = index;
    TD_TRY(mean_words(builder, read, c));
    TD_TRY(note_taken(read->tensor, read, instruction.cycle));
  }
  return TD_OK;
}

/* ---- writes ---- */

/* T such that nothing that is read, or was written, before is written over. */
static void wait_taken(const struct lpu_builder *builder, struct lpu_pattern *pattern, const struct lpu_write *write,
                       int32_t issue) {
  const struct lpu_tensor *tensor = write->tensor;
  for (int32_t i = 0; (tensor->taken || tensor->ready) && i < write->n; i++) {
    int32_t at = write->offset + i * write->stride, seen = issue + i + builder->machine->memory_write_skew;
    int32_t taken = tensor->taken ? tensor->taken[at] : 0, ready = tensor->ready ? tensor->ready[at] : 0;
    int32_t last = taken > ready ? taken : ready;
    if (last - seen > pattern->not_before) pattern->not_before = last - seen;
  }
}

void lpu_write_book(struct lpu_builder *builder, struct lpu_pattern *pattern, struct lpu_write *write) {
  const struct lpu_tensor *tensor = write->tensor;
  int32_t width = td_lpu_type_bytes(tensor->type);
  for (int32_t c = 0; c < width; c++) {
    int32_t hops = lpu_distance(slice_position(builder, tensor, c), write->from);
    int32_t issue = write->when + hops - builder->machine->memory_write_skew;
    int32_t queue = td_lpu_memory_queue(builder->machine, tensor->hemisphere, tensor->slice + c);
    int32_t use = lpu_use_queue(pattern, tensor->chip, queue, issue, write->n);
    if (c == 0) write->first_use = use;
    wait_taken(builder, pattern, write, issue);
  }
  write->stream_use = write->tap;
  if (write->tap >= 0) return;
  int32_t to = extreme_position(builder, tensor, write->from);
  if (write->reach >= 0 && lpu_distance(write->reach, write->from) > lpu_distance(to, write->from)) to = write->reach;
  write->stream_use = lpu_use_stream(pattern, tensor->chip, write->from, to,
                                     write->when + lpu_distance(write->from, to), width, write->n);
}

td_status lpu_note_written(struct lpu_builder *builder, const struct lpu_write *write, int32_t issue, int32_t first) {
  struct lpu_tensor *tensor = write->tensor;
  size_t count = (size_t)tensor->count;
  if (!tensor->ready) {
    TD_TRY(td_alloc(count, sizeof(int32_t), (void **)&tensor->ready));
    TD_TRY(td_alloc(count, sizeof(int32_t), (void **)&tensor->writer));
    TD_TRY(td_alloc(count, sizeof(int32_t), (void **)&tensor->iteration));
    for (size_t i = 0; i < count; i++) tensor->writer[i] = -1;
  }
  for (int32_t i = 0; i < write->n; i++) {
    int32_t at = write->offset + i * write->stride;
    tensor->ready[at] = issue + i + builder->machine->memory_write_skew + 1;
    tensor->writer[at] = first;
    tensor->iteration[at] = i;
  }
  return TD_OK;
}

td_status lpu_write_emit(struct lpu_builder *builder, const struct lpu_pattern *pattern, int32_t cycle,
                         struct lpu_write *write, int32_t producer) {
  const struct lpu_tensor *tensor = write->tensor;
  int32_t width = td_lpu_type_bytes(tensor->type), first = 0, latest = 0;
  for (int32_t c = 0; c < width; c++) {
    const struct lpu_use *use = &pattern->uses[write->first_use + c];
    struct td_lpu_instruction instruction =
        lpu_instruction(TD_LPU_MEMORY, tensor->chip, use->queue, cycle + use->at, write->n);
    instruction.flags = TD_LPU_WRITE;
    instruction.in[0] = lpu_stream_of(&pattern->uses[write->stream_use], c);
    instruction.address[1] = tensor->word + write->offset;
    instruction.stride[1] = write->stride;
    instruction.patch[1] = write->patch[c];
    instruction.image[1] = tensor->image;
    int32_t index;
    TD_TRY(lpu_emit(builder, &instruction, &index));
    TD_TRY(lpu_mean(builder, 0, producer, c, 1, 0));
    if (c == 0) first = index;
    if (instruction.cycle > latest) latest = instruction.cycle;
  }
  return lpu_note_written(builder, write, latest, first);
}
