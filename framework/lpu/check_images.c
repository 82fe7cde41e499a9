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
  bool owned =
      image->owner >= 0 && image->owner <= (image->kind == TD_IMAGE_SCRATCH ? check->program->segment_count : 0);
  uint64_t bytes = (uint64_t)image->slices * (uint64_t)image->words * (uint64_t)check->machine->lanes;
  bool backed = image->data <= all && image->data_bytes <= all - image->data &&
                (image->data_bytes == 0 || image->data_bytes == bytes);
  if (known && placed && backed && owned) return TD_OK;
  return td_fail(TD_CORRUPT,
                 "program: image %d (%.47s): found %s, expected kind, chip, place, owner and data that are there", i,
                 image->name,
                 !known    ? "an unknown kind or type"
                 : !placed ? "no place"
                 : !owned  ? "an owner that is no segment"
                           : "data of another size");
}

static bool fits_chip(const struct check *check, const struct td_lpu_image *image) {
  return (int64_t)image->slice + image->slices <= check->half_slices &&
         (int64_t)image->word + image->words <= check->machine->mem_words;
}

/* Words are marked with the owner whose scratch was last marked there; images come by owner, the program's last. */
#define NOBODYS 0
#define THE_PROGRAMS (-1)

static bool taken(int32_t mark, int32_t owner) {
  return owner == 0 ? mark != NOBODYS : mark == owner;
}

/* Marks the image's words of its chip; false if one was marked before. */
static bool mark(const struct check *check, int32_t *used, const struct td_lpu_image *image) {
  for (int32_t s = 0; s < image->slices; s++) {
    int64_t slice = (int64_t)image->hemisphere * check->half_slices + image->slice + s;
    int32_t *words = used + slice * check->machine->mem_words + image->word;
    for (int32_t w = 0; w < image->words; w++) {
      if (taken(words[w], image->owner)) return false;
      words[w] = image->owner ? image->owner : THE_PROGRAMS;
    }
  }
  return true;
}

static void judge_image(struct check *check, int32_t *used, int32_t i) {
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

struct image_order {
  int32_t chip, owner, index;
};

static int by_owner(const void *a, const void *b) {
  const struct image_order *x = a, *y = b;
  if (x->chip != y->chip) return x->chip < y->chip ? -1 : 1;
  if (x->owner != y->owner) return x->owner > y->owner ? -1 : 1;
  return x->index < y->index ? -1 : x->index > y->index;
}

static void judge_all(struct check *check, int32_t *used, size_t words, struct image_order *order) {
  const struct td_lpu_program *program = check->program;
  for (int32_t i = 0; i < program->image_count; i++) {
    order[i] = (struct image_order){program->images[i].chip, program->images[i].owner, i};
  }
  qsort(order, (size_t)program->image_count, sizeof *order, by_owner);
  for (int32_t i = 0; i < program->image_count; i++) {
    if (i > 0 && order[i].chip != order[i - 1].chip) memset(used, 0, words * sizeof *used);
    judge_image(check, used, order[i].index);
  }
}

td_status check_images(struct check *check) {
  const struct td_lpu_program *program = check->program;
  size_t words = (size_t)check->machine->mem_slices * (size_t)check->machine->mem_words;
  for (int32_t i = 0; i < program->image_count; i++) TD_TRY(check_fields(check, i));
  int32_t *used = calloc(words, sizeof *used);
  struct image_order *order = calloc((size_t)program->image_count + 1, sizeof *order);
  if (used && order) judge_all(check, used, words, order);
  bool made = used && order;
  free(used);
  free(order);
  return made ? TD_OK : td_fail(TD_NO_MEMORY, "checker: no memory for %zu words", words);
}

/* ---- FINISH ---- */

static bool written(const struct check *check, const struct td_lpu_image *image, int32_t slice, int32_t word) {
  const struct check_word *words =
      check->chips[image->chip].slices[image->hemisphere * check->half_slices + image->slice + slice];
  const struct check_word *at = words ? &words[image->word + word] : NULL;
  return at && at->written && at->maker.call >= check->entry_ordinal;
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

/* Rows of an output that an entry must write: of a chain those that it gives; else as great a part of them as the step
 * has of the rows that the program takes. */
static int64_t rows_of(const struct check *check, const struct td_lpu_image *image) {
  const struct td_lpu_program *program = check->program;
  int32_t given = td_lpu_program_outputs(program, check->entry, check->step->row_count), most = 1;
  for (int32_t i = 0; i < program->entry_count; i++) {
    if (program->entries[i].rows > most) most = program->entries[i].rows;
  }
  bool chain = program->entries[check->entry].first_row > 0 || td_lpu_program_next(program, check->entry, most) >= 0;
  int64_t rows = chain ? given : (image->rows * (int64_t)given + most - 1) / most;
  return rows < image->rows ? rows : image->rows;
}

/* The rows that the entry gives, or the whole region where there is no matrix. */
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

/* Of one layer alone comes the output of the chip that has it; of a step every output. Where experts work, the host
 * says on what. */
static bool is_made(const struct check *check, const struct td_lpu_image *image) {
  if (check->program->entries[check->entry].work > TD_LPU_WORK_ROUTE) return false;
  if (image->kind != TD_IMAGE_OUTPUT || check->program->entries[check->entry].layer < 0) {
    return image->kind == TD_IMAGE_OUTPUT;
  }
  const char *made = td_lpu_program_output(check->program, check->entry);
  return made && strncmp(made, image->name, sizeof image->name) == 0;
}

/* At an entry's end, in the cycle behind the last. */
void check_finish(struct check *check, int64_t cycle) {
  check->call.cycle = cycle;
  check->now = 0;
  check->segment = NULL;
  for (int32_t i = 0; i < check->program->image_count && !check->out->found; i++) {
    if (is_made(check, &check->program->images[i])) expect_image(check, i);
  }
}
