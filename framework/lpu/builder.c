/* SPDX-License-Identifier: Apache-2.0
 *
 * The builder's life, and the parts of a program that are no instructions.
 */
#include "builder.h"

#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"

td_status lpu_builder_open(const struct td_lpu_machine *machine, int32_t chips, struct lpu_builder **out_builder) {
  struct lpu_builder *builder = NULL;
  TD_TRY(td_alloc(1, sizeof *builder, (void **)&builder));
  size_t queues = (size_t)chips * (size_t)machine->instruction_queues;
  size_t streams = (size_t)chips * 2 * LPU_ZONES * (size_t)machine->streams;
  size_t alus = (size_t)chips * (size_t)machine->alus, links = (size_t)chips * (size_t)machine->links;
  td_status status = td_alloc(1, sizeof *builder->program, (void **)&builder->program);
  if (!status) status = td_alloc(queues, sizeof *builder->queues, (void **)&builder->queues);
  if (!status) status = td_alloc(streams, sizeof *builder->streams, (void **)&builder->streams);
  if (!status) status = td_alloc(alus, sizeof *builder->results, (void **)&builder->results);
  if (!status) status = td_alloc(links + 1, sizeof *builder->sends, (void **)&builder->sends);
  if (!status) status = td_alloc((size_t)chips, sizeof *builder->planes, (void **)&builder->planes);
  if (!status) status = td_alloc((size_t)chips, sizeof *builder->booked, (void **)&builder->booked);
  if (!status) status = td_alloc((size_t)chips, sizeof *builder->ever_booked, (void **)&builder->ever_booked);
  if (status) {
    lpu_builder_close(builder);
    return status;
  }
  builder->machine = machine;
  builder->middle = td_lpu_vector_position(machine);
  builder->positions = td_lpu_positions(machine);
  builder->chips = chips;
  builder->program->machine = *machine;
  builder->program->chips = chips;
  builder->program->tensor = 1;
  *out_builder = builder;
  return TD_OK;
}

static void free_bits(struct lpu_bits *bits, size_t count) {
  for (size_t i = 0; i < count; i++) free(bits[i].words);
}

static void clear_bits(struct lpu_bits *bits, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (bits[i].used) memset(bits[i].words, 0, bits[i].used * sizeof(uint64_t));
    bits[i].used = 0;
  }
}

/* All tables of a chip. */
static void each_table(struct lpu_builder *builder, size_t chip, void (*of)(struct lpu_bits *bits, size_t count)) {
  const struct td_lpu_machine *machine = builder->machine;
  size_t queues = (size_t)machine->instruction_queues, streams = 2 * LPU_ZONES * (size_t)machine->streams;
  size_t alus = (size_t)machine->alus, links = (size_t)machine->links;
  of(builder->queues + chip * queues, queues);
  of(builder->streams + chip * streams, streams);
  of(builder->results + chip * alus, alus);
  of(builder->sends + chip * links, links);
}

static void drop_tensors(struct lpu_builder *builder) {
  for (size_t i = 0; i < builder->tensor_count; i++) {
    free(builder->tensors[i]->ready);
    free(builder->tensors[i]->writer);
    free(builder->tensors[i]->iteration);
    free(builder->tensors[i]->taken);
    free(builder->tensors[i]->columns);
    free(builder->tensors[i]);
  }
  builder->tensor_count = 0;
}

void lpu_builder_close(struct lpu_builder *builder) {
  if (!builder) return;
  for (size_t chip = 0; builder->machine && chip < (size_t)builder->chips; chip++) {
    if (builder->ever_booked[chip]) each_table(builder, chip, free_bits);
  }
  free(builder->queues);
  free(builder->streams);
  free(builder->results);
  free(builder->sends);
  free(builder->booked);
  free(builder->ever_booked);
  drop_tensors(builder);
  free(builder->planes);
  free(builder->tensors);
  free(builder->segment.instructions);
  free(builder->segment.meanings);
  free(builder->segment.patches);
  td_lpu_program_free(builder->program);
  free(builder);
}

td_status lpu_builder_finish(struct lpu_builder *builder, struct td_lpu_program **out_program) {
  *out_program = builder->program;
  builder->program = NULL;
  return TD_OK;
}

/* Appends an element of `bytes` bytes to an array of the program. */
static td_status append(void **array, size_t *capacity, int32_t *count, const void *element, size_t bytes) {
  TD_TRY(td_grow(array, capacity, (size_t)*count + 1, bytes));
  memcpy((char *)*array + (size_t)*count * bytes, element, bytes);
  ++*count;
  return TD_OK;
}

#define APPEND(builder, field, counter, capacity, element)                                                 \
  append((void **)&(builder)->program->field, &(builder)->capacity, &(builder)->program->counter, element, \
         sizeof *(element))

td_status lpu_add_image(struct lpu_builder *builder, const struct td_lpu_image *image, int32_t *out_index) {
  *out_index = builder->program->image_count;
  return APPEND(builder, images, image_count, image_capacity, image);
}

td_status lpu_add_map(struct lpu_builder *builder, const struct td_lpu_map *map, int32_t *out_index) {
  for (int32_t i = 0; i < builder->program->map_count; i++) {
    if (memcmp(&builder->program->maps[i], map, sizeof *map) != 0) continue;
    *out_index = i;
    return TD_OK;
  }
  *out_index = builder->program->map_count;
  return APPEND(builder, maps, map_count, map_capacity, map);
}

td_status lpu_add_link(struct lpu_builder *builder, const struct td_lpu_link *link) {
  return APPEND(builder, links, link_count, link_capacity, link);
}

td_status lpu_add_entry(struct lpu_builder *builder, const struct td_lpu_entry *entry) {
  return APPEND(builder, entries, entry_count, entry_capacity, entry);
}

td_status lpu_add_patch(struct lpu_builder *builder, const struct td_lpu_patch *patch, uint16_t *out_number) {
  struct td_lpu_segment *segment = &builder->segment;
  for (int32_t i = 0; i < segment->patch_count; i++) {
    if (memcmp(&segment->patches[i], patch, sizeof *patch) != 0) continue;
    *out_number = (uint16_t)(i + 1);
    return TD_OK;
  }
  if (segment->patch_count == UINT16_MAX) return td_fail(TD_INTERNAL, "lpu: a segment of over 65,535 patches");
  *out_number = (uint16_t)(segment->patch_count + 1);
  return append((void **)&segment->patches, &builder->patch_capacity, &segment->patch_count, patch, sizeof *patch);
}

td_status lpu_add_data(struct lpu_builder *builder, uint64_t bytes, uint64_t *out_at) {
  struct td_lpu_program *program = builder->program;
  TD_TRY(td_grow((void **)&program->data, &builder->data_capacity, (size_t)(program->data_bytes + bytes), 1));
  memset(program->data + program->data_bytes, 0, (size_t)bytes);
  *out_at = program->data_bytes;
  program->data_bytes += bytes;
  return TD_OK;
}

/* ---- segments ---- */

td_status lpu_begin_segment(struct lpu_builder *builder, const char *name) {
  const struct td_lpu_machine *machine = builder->machine;
  memset(&builder->segment, 0, sizeof builder->segment);
  builder->instruction_capacity = builder->meaning_capacity = builder->patch_capacity = 0;
  drop_tensors(builder);
  for (int32_t chip = 0; chip < builder->chips; chip++) {
    if (builder->booked[chip]) each_table(builder, (size_t)chip, clear_bits);
    builder->booked[chip] = false;
    for (int32_t plane = 0; plane < machine->planes; plane++) {
      builder->planes[chip][plane] = (struct lpu_plane){-1, -1, -1, -1};
    }
  }
  builder->end = 0;
  return td_format(builder->segment.name, sizeof builder->segment.name, "%s", name);
}

struct order {
  uint64_t key; /* chip, queue, cycle: the order of the program */
  int32_t index;
};

static struct order order_of(const struct td_lpu_instruction *instruction, size_t index) {
  uint64_t queue = (uint64_t)instruction->chip << 16 | instruction->queue;
  return (struct order){queue << 32 | (uint32_t)instruction->cycle, (int32_t)index};
}

static int by_queue(const void *left, const void *right) {
  const struct order *a = left, *b = right;
  return a->key < b->key ? -1 : a->key > b->key;
}

/* Brings the instructions into the program's order and lets meanings follow. */
static td_status sort_segment(struct td_lpu_segment *segment) {
  size_t count = (size_t)segment->instruction_count;
  struct order *order = NULL;
  int32_t *place = NULL;
  struct td_lpu_instruction *sorted = NULL;
  td_status status = td_alloc(count + 1, sizeof *order, (void **)&order);
  if (!status) status = td_alloc(count + 1, sizeof *place, (void **)&place);
  if (!status) status = td_alloc(count + 1, sizeof *sorted, (void **)&sorted);
  for (size_t i = 0; !status && i < count; i++) order[i] = order_of(&segment->instructions[i], i);
  if (!status) qsort(order, count, sizeof *order, by_queue);
  for (size_t i = 0; !status && i < count; i++) {
    place[order[i].index] = (int32_t)i;
    sorted[i] = segment->instructions[order[i].index];
  }
  for (int32_t i = 0; !status && i < segment->meaning_count; i++) {
    if (segment->meanings[i].operand == TD_MEANING_ADDRESS) continue; /* nobody's */
    segment->meanings[i].producer = place[segment->meanings[i].producer];
  }
  if (!status) {
    free(segment->instructions);
    segment->instructions = sorted;
  }
  free(order);
  free(place);
  return status;
}

td_status lpu_end_segment(struct lpu_builder *builder, int32_t first_chip, int32_t *out_index) {
  TD_TRY(sort_segment(&builder->segment));
  for (int32_t i = 0; i < builder->segment.instruction_count; i++) {
    struct td_lpu_instruction *instruction = &builder->segment.instructions[i];
    instruction->chip = (uint16_t)(instruction->chip - first_chip);
  }
  /* Everything that is read has arrived by then; what still flies nobody reads. */
  builder->segment.length = builder->end;
  *out_index = builder->program->segment_count;
  TD_TRY(APPEND(builder, segments, segment_count, segment_capacity, &builder->segment));
  memset(&builder->segment, 0, sizeof builder->segment);
  return TD_OK;
}

static td_status new_tensor(struct lpu_builder *builder, int32_t image, struct lpu_tensor **out) {
  const struct td_lpu_image *from = &builder->program->images[image];
  struct lpu_tensor *tensor = NULL;
  TD_TRY(td_grow((void **)&builder->tensors, &builder->tensor_capacity, builder->tensor_count + 1, sizeof tensor));
  TD_TRY(td_alloc(1, sizeof *tensor, (void **)&tensor));
  builder->tensors[builder->tensor_count++] = tensor;
  tensor->image = image;
  tensor->chip = from->chip;
  tensor->hemisphere = from->hemisphere;
  tensor->slice = from->slice;
  tensor->word = from->word;
  tensor->type = (enum td_lpu_type)from->type;
  tensor->count = from->words;
  *out = tensor;
  return TD_OK;
}

td_status lpu_tensor_of(struct lpu_builder *builder, int32_t image, struct lpu_tensor **out) {
  for (size_t i = 0; i < builder->tensor_count; i++) {
    if (builder->tensors[i]->image == image && !builder->tensors[i]->part) {
      *out = builder->tensors[i];
      return TD_OK;
    }
  }
  return new_tensor(builder, image, out);
}

td_status lpu_part_tensor(struct lpu_builder *builder, int32_t image, int32_t slice, enum td_lpu_type type,
                          struct lpu_tensor **out) {
  TD_TRY(new_tensor(builder, image, out));
  (*out)->part = true;
  (*out)->slice += slice;
  (*out)->type = type;
  return TD_OK;
}

/* ---- columns ---- */

td_status lpu_join_columns(struct lpu_builder *builder, struct lpu_tensor *const *columns, int32_t count,
                           struct lpu_tensor **out) {
  struct lpu_tensor *tensor = NULL;
  TD_TRY(new_tensor(builder, columns[0]->image, &tensor));
  TD_TRY(td_alloc((size_t)count, sizeof(struct lpu_tensor *), (void **)&tensor->columns));
  for (int32_t i = 0; i < count; i++) tensor->columns[i] = columns[i];
  tensor->type = columns[0]->type;
  tensor->part = true;
  tensor->column_count = count;
  tensor->count = columns[0]->count * count;
  *out = tensor;
  return TD_OK;
}

td_status lpu_rows_of(struct lpu_builder *builder, int32_t image, struct lpu_tensor **out) {
  const struct td_lpu_image *from = &builder->program->images[image];
  int32_t count = from->by_steps, bytes = td_lpu_type_bytes((enum td_lpu_type)from->type);
  struct lpu_tensor *columns[TD_LPU_MOST_LANES];
  for (size_t i = 0; i < builder->tensor_count; i++) {
    *out = builder->tensors[i];
    if ((*out)->image == image && (*out)->column_count == count) return TD_OK;
  }
  for (int32_t i = 0; i < count; i++) {
    TD_TRY(lpu_part_tensor(builder, image, i * bytes, (enum td_lpu_type)builder->program->images[image].type,
                           &columns[i]));
  }
  return lpu_join_columns(builder, columns, count, out);
}

void lpu_take_column(struct lpu_tensor **tensor, int32_t *offset, int32_t *stride) {
  int32_t count = (*tensor)->column_count;
  if (!(*tensor)->columns || *stride % count) return; /* lpu_chain_run refuses the latter */
  *tensor = (*tensor)->columns[*offset % count];
  *offset /= count;
  *stride /= count;
}
