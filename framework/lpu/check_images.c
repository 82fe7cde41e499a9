/* SPDX-License-Identifier: Apache-2.0
 *
 * Images: inside their slices, none in the words of another (all live as long as the program), outputs complete.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"

static td_status check_fields(const struct check *check, int32_t i) {
  const struct td_lpu_image *image = &check->program->images[i];
  uint64_t all = check->program->data_bytes;
  bool known = image->kind >= TD_IMAGE_WEIGHT && image->kind <= TD_IMAGE_SCRATCH && image->type >= 0 &&
               image->type < TD_LPU_TYPE_COUNT;
  bool placed = image->chip >= 0 && image->chip < check->program->chips && image->hemisphere >= 0 &&
                image->hemisphere < TD_LPU_HEMISPHERES && image->slice >= 0 && image->slices >= 1 && image->word >= 0 &&
                image->words >= 1 && image->rows >= 0 && image->cols >= 0;
  uint64_t bytes = (uint64_t)image->slices * (uint64_t)image->words * (uint64_t)check->machine->lanes;
  bool backed = image->data <= all && image->data_bytes <= all - image->data &&
                (image->data_bytes == 0 || image->data_bytes == bytes);
  if (known && placed && backed) return TD_OK;
  return td_fail(TD_CORRUPT, "program: image %d (%.47s): found %s, expected kind, chip, place and data that are there",
                 i, image->name,
                 !known    ? "an unknown kind or type"
                 : !placed ? "no place"
                           : "data of another size");
}

static bool fits_chip(const struct check *check, const struct td_lpu_image *image) {
  return (int64_t)image->slice + image->slices <= check->half_slices &&
         (int64_t)image->word + image->words <= check->machine->mem_words;
}

/* Marks the image's words of its chip; false if one was marked before. */
static bool mark(const struct check *check, uint8_t *used, const struct td_lpu_image *image) {
  for (int32_t s = 0; s < image->slices; s++) {
    int64_t slice = (int64_t)image->hemisphere * check->half_slices + image->slice + s;
    uint8_t *words = used + slice * check->machine->mem_words + image->word;
    if (memchr(words, 1, (size_t)image->words)) return false;
    memset(words, 1, (size_t)image->words);
  }
  return true;
}

static void judge_image(struct check *check, uint8_t *used, int32_t i) {
  const struct td_lpu_image *image = &check->program->images[i];
  if (!fits_chip(check, image)) {
    check_found_at(check, TD_RULE_ADDRESS, 0, NULL,
                   "image %d (%.47s): found slices %d + %d, words %d + %d, expected at most %d and %d", i, image->name,
                   image->slice, image->slices, image->word, image->words, check->half_slices,
                   check->machine->mem_words);
  } else if (!mark(check, used, image)) {
    check_found_at(check, TD_RULE_ADDRESS, 0, NULL, "image %d (%.47s) on chip %d lies in words of another", i,
                   image->name, image->chip);
  }
}

td_status check_images(struct check *check) {
  const struct td_lpu_program *program = check->program;
  size_t bytes = (size_t)check->machine->mem_slices * (size_t)check->machine->mem_words;
  for (int32_t i = 0; i < program->image_count; i++) TD_TRY(check_fields(check, i));
  uint8_t *used = malloc(bytes);
  if (!used) return td_fail(TD_NO_MEMORY, "checker: no memory for %zu words", bytes);
  for (int32_t chip = 0; chip < program->chips; chip++) {
    memset(used, 0, bytes);
    for (int32_t i = 0; i < program->image_count; i++) {
      if (program->images[i].chip == chip) judge_image(check, used, i);
    }
  }
  free(used);
  return TD_OK;
}

/* ---- FINISH ---- */

static bool written(const struct check *check, const struct td_lpu_image *image, int32_t slice, int32_t word) {
  const struct check_word *words =
      check->chips[image->chip].slices[image->hemisphere * check->half_slices + image->slice + slice];
  return words && words[image->word + word].written;
}

/* One byte of a vector of the image's matrix. */
static void expect_written(struct check *check, int32_t i, int64_t vector, int32_t byte) {
  const struct td_lpu_image *image = &check->program->images[i];
  int32_t bytes = td_lpu_type_bytes((enum td_lpu_type)image->type), in_step = image->by_steps;
  int64_t word = image->by_steps ? vector / in_step : vector;
  int32_t slice = (image->by_steps ? (int32_t)(vector % in_step) * bytes : 0) + byte;
  if (word >= image->words || slice >= image->slices) {
    check_found(check, TD_RULE_ADDRESS, NULL, "output %.47s: vector %lld is outside its %d words of %d slices",
                image->name, (long long)vector, image->words, image->slices);
  } else if (!written(check, image, slice, (int32_t)word)) {
    check_found(check, TD_RULE_FINISH, NULL, "output %.47s: word %d of slice %d was not written", image->name,
                image->word + (int32_t)word, image->slice + slice);
  }
}

/* Rows of an output that a step of fewer rows than the program takes must write. */
static int64_t rows_of(const struct check *check, const struct td_lpu_image *image) {
  int64_t most = 1;
  for (int32_t i = 0; i < check->program->entry_count; i++) {
    if (check->program->entries[i].rows > most) most = check->program->entries[i].rows;
  }
  int64_t rows = (image->rows * (int64_t)check->step->row_count + most - 1) / most;
  return rows < image->rows ? rows : image->rows;
}

/* The rows of the step, or the whole region where there is no matrix. */
static void expect_image(struct check *check, int32_t i) {
  const struct td_lpu_image *image = &check->program->images[i];
  if (image->rows == 0) {
    for (int32_t s = 0; s < image->slices; s++) {
      for (int32_t w = 0; w < image->words; w++) {
        if (written(check, image, s, w)) continue;
        check_found(check, TD_RULE_FINISH, NULL, "output %.47s: word %d of slice %d was not written", image->name,
                    image->word + w, image->slice + s);
        return;
      }
    }
    return;
  }
  int64_t vectors = rows_of(check, image) * check_positive_divide(image->cols, check->machine->lanes);
  int32_t bytes = td_lpu_type_bytes((enum td_lpu_type)image->type);
  for (int64_t vector = 0; vector < vectors && !check->out->found; vector++) {
    for (int32_t byte = 0; byte < bytes; byte++) expect_written(check, i, vector, byte);
  }
}

/* At the step's end, in the cycle behind the last. */
void check_finish(struct check *check, int64_t cycle) {
  check->call.cycle = cycle;
  check->now = 0;
  check->segment = NULL;
  for (int32_t i = 0; i < check->program->image_count && !check->out->found; i++) {
    if (check->program->images[i].kind == TD_IMAGE_OUTPUT) expect_image(check, i);
  }
}
