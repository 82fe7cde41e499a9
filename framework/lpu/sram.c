/* SPDX-License-Identifier: Apache-2.0
 *
 * Images in SRAM, and their rows.
 */
#include "sram.h"

#include <inttypes.h>
#include <string.h>

uint64_t sram_bytes(const struct td_lpu_program *program) {
  return sram_word(&program->machine, program->chips, 0, 0);
}

td_status sram_check_image(const struct td_lpu_program *program, const struct td_lpu_image *image) {
  const struct td_lpu_machine *machine = &program->machine;
  bool placed = image->chip >= 0 && image->chip < program->chips && (image->hemisphere | 1) == 1 && image->slice >= 0 &&
                image->slices >= 0 && image->slice <= machine->mem_slices / 2 - image->slices && image->word >= 0 &&
                image->words >= 0 && image->word <= machine->mem_words - image->words;
  if (!placed) {
    return td_fail(TD_CORRUPT,
                   "image %.47s: found words %d+%d of slices %d+%d of hemisphere %d of chip %d, expected %d "
                   "words, %d slices, 2 hemispheres, %d chips",
                   image->name, image->word, image->words, image->slice, image->slices, image->hemisphere, image->chip,
                   machine->mem_words, machine->mem_slices / 2, program->chips);
  }
  uint64_t bytes = (uint64_t)image->words * (uint64_t)image->slices * (uint64_t)machine->lanes;
  if (image->data_bytes && (image->data_bytes != bytes || image->data > program->data_bytes ||
                            image->data_bytes > program->data_bytes - image->data)) {
    return td_fail(TD_CORRUPT,
                   "image %.47s: found %" PRIu64 " bytes of data at %" PRIu64 " of %" PRIu64 ", expected %" PRIu64,
                   image->name, image->data_bytes, image->data, program->data_bytes, bytes);
  }
  return TD_OK;
}

/* ---- rows ---- */

static const struct td_lpu_image *find_image(const struct td_lpu_program *program, const char *name, int32_t copy) {
  for (int32_t i = 0; i < program->image_count; i++) {
    const struct td_lpu_image *image = &program->images[i];
    if (strncmp(image->name, name, sizeof image->name) == 0 && copy-- == 0) return image;
  }
  return NULL;
}

int32_t sram_copies(const struct td_lpu_program *program, const char *name) {
  int32_t copies = 0;
  while (find_image(program, name, copies)) copies++;
  return copies;
}

int32_t sram_parts(const struct td_lpu_program *program, const char *name) {
  const struct td_lpu_image *image = find_image(program, name, 0);
  return image && image->kind == TD_IMAGE_OUTPUT ? sram_copies(program, name) : 1;
}

td_status sram_find_row(const struct td_lpu_program *program, const char *name, int32_t copy, int32_t row,
                        struct sram_row *out) {
  const struct td_lpu_image *image = find_image(program, name, copy);
  if (!image)
    return td_fail(TD_CONFIG, "found image \"%.47s\", expected one of the program's %d", name, program->image_count);
  if (row < 0 || row >= image->rows) {
    return td_fail(TD_CONFIG, "image %.47s: found row %d, expected one of its %d rows from 0 on", image->name, row,
                   image->rows);
  }
  int32_t lanes = program->machine.lanes, steps = image->by_steps;
  int64_t blocks = ((int64_t)image->cols + lanes - 1) / lanes, last = ((int64_t)row + 1) * blocks - 1;
  int32_t bytes = td_lpu_type_bytes((enum td_lpu_type)image->type);
  int64_t words = image->by_steps ? last / steps : last, slices = image->by_steps ? (int64_t)steps * bytes : bytes;
  if (!bytes || image->cols < 1 || words >= image->words || slices > image->slices) {
    return td_fail(TD_CORRUPT, "image %.47s: found %d words of %d slices, expected room for row %d of %d elements",
                   image->name, image->words, image->slices, row, image->cols);
  }
  *out = (struct sram_row){program, image, row * blocks, (int32_t)blocks, bytes};
  return TD_OK;
}

uint64_t sram_block(const struct sram_row *row, int32_t block) {
  const struct td_lpu_machine *machine = &row->program->machine;
  const struct td_lpu_image *image = row->image;
  int64_t vector = row->vector + block, steps = image->by_steps;
  int64_t word = image->by_steps ? vector / steps : vector;
  int64_t slice = image->by_steps ? vector % steps * row->bytes : 0;
  slice += (int64_t)image->hemisphere * (machine->mem_slices / TD_LPU_HEMISPHERES) + image->slice;
  return sram_word(machine, image->chip, slice, image->word + word);
}

static int32_t elements_of(const struct sram_row *row, int32_t block) {
  int32_t lanes = row->program->machine.lanes, left = row->image->cols - block * lanes;
  return left < lanes ? left : lanes;
}

void sram_pack(const struct sram_row *row, int32_t block, const void *elements, uint8_t *vectors) {
  int32_t lanes = row->program->machine.lanes, count = elements_of(row, block);
  const uint8_t *from = (const uint8_t *)elements + (int64_t)block * lanes * row->bytes;
  for (int32_t part = 0; part < row->bytes; part++) {
    for (int32_t l = 0; l < count; l++) vectors[part * lanes + l] = from[l * row->bytes + part];
  }
}

void sram_unpack(const struct sram_row *row, int32_t block, const uint8_t *vectors, void *elements) {
  int32_t lanes = row->program->machine.lanes, count = elements_of(row, block);
  uint8_t *to = (uint8_t *)elements + (int64_t)block * lanes * row->bytes;
  for (int32_t part = 0; part < row->bytes; part++) {
    for (int32_t l = 0; l < count; l++) to[l * row->bytes + part] = vectors[part * lanes + l];
  }
}

/* ---- of a system ---- */

td_status td_lpu_image_write(struct td_lpu_system *system, const char *image, int32_t row, const void *elements) {
  int32_t copy = 0, copies = sram_copies(system->program, image);
  do {
    struct sram_row at;
    TD_TRY(sram_find_row(system->program, image, copy, row, &at));
    for (int32_t b = 0; b < at.blocks; b++) sram_pack(&at, b, elements, system->sram + sram_block(&at, b));
  } while (++copy < copies);
  return TD_OK;
}

td_status td_lpu_image_read(const struct td_lpu_system *system, const char *image, int32_t row, void *elements) {
  char *to = elements;
  for (int32_t part = 0; part < sram_parts(system->program, image); part++) {
    struct sram_row at;
    TD_TRY(sram_find_row(system->program, image, part, row, &at));
    for (int32_t b = 0; b < at.blocks; b++) sram_unpack(&at, b, system->sram + sram_block(&at, b), to);
    to += (int64_t)at.image->cols * at.bytes;
  }
  return TD_OK;
}
