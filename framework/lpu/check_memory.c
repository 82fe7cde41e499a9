/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory slices: ports and banks, addresses, which write a read sees.
 */
#include <stdlib.h>

#include "check.h"

static const struct td_lpu_image *image_of(const struct check *check, const struct check_issue *issue, int32_t which) {
  return &check->program->images[issue->at->image[which]];
}

/* ---- PORT ---- */

static void judge_ports(struct check *check, const struct check_issue *issue) {
  const struct td_lpu_instruction *at = issue->at;
  if (!(at->flags & TD_LPU_READ) || !(at->flags & TD_LPU_WRITE)) return;
  int32_t read = td_lpu_address(check->program, &check->call, at, 0, issue->iteration);
  int32_t write = td_lpu_address(check->program, &check->call, at, 1, issue->iteration);
  bool there = read >= 0 && write >= 0 && read < check->machine->mem_words && write < check->machine->mem_words;
  if (!there || read / check->bank_words != write / check->bank_words) return; /* not there: ADDRESS, not PORT */
  check_found(check, TD_RULE_PORT, issue, "reads word %d and writes word %d of one bank of %d words", read, write,
              check->bank_words);
}

/* ---- ADDRESS ---- */

static bool same_region(const struct td_lpu_image *x, const struct td_lpu_image *y) {
  return x->kind == y->kind && x->hemisphere == y->hemisphere && x->slice == y->slice && x->slices == y->slices &&
         x->word == y->word && x->words == y->words && x->type == y->type && x->owner == y->owner;
}

/* An image is named for the segment as it stands; where a link moves the segment to another chip, that chip has one
 * just like it. */
static bool on_chip(const struct check *check, const struct check_issue *issue, const struct td_lpu_image *image) {
  if (image->chip + check->call.chip != issue->chip_number) return false;
  if (check->call.chip == 0) return true;
  for (int32_t i = 0; i < check->program->image_count; i++) {
    const struct td_lpu_image *other = &check->program->images[i];
    if (other->chip == issue->chip_number && same_region(image, other)) return true;
  }
  return false;
}

/* A segment that was written for one chip names that chip's images. */
static bool is_owner(const struct check *check, const struct check_issue *issue, const struct td_lpu_image *image) {
  const struct check_place *place = issue->place;
  bool lives = image->owner == 0 || image->owner == check->call.segment + 1;
  return lives && image->hemisphere == place->hemisphere && place->index >= image->slice &&
         place->index < image->slice + image->slices &&
         (image->chip == issue->chip_number || on_chip(check, issue, image));
}

static bool in_image(const struct td_lpu_image *image, int64_t word) {
  return word >= image->word && word < (int64_t)image->word + image->words;
}

/* A word that an append writes and nobody reads: the image's own, or a scratch of the slice. */
static bool is_scratch(const struct check *check, const struct check_issue *issue, int32_t word) {
  for (int32_t i = 0; i < check->program->image_count; i++) {
    const struct td_lpu_image *image = &check->program->images[i];
    if (image->kind == TD_IMAGE_SCRATCH && in_image(image, word) && is_owner(check, issue, image)) return true;
  }
  return false;
}

/* The addresses that a patch and the iterations can give, at both ends. */
static void reach_of(const struct td_lpu_instruction *at, const struct td_lpu_patch *patch, int32_t which,
                     int64_t *out_low, int64_t *out_high) {
  int64_t last = (int64_t)at->stride[which] * (at->repeat - 1);
  int64_t low = at->address[which] + (last < 0 ? last : 0), high = at->address[which] + (last > 0 ? last : 0);
  for (int v = 0; patch && v < TD_LPU_VARIABLES; v++) {
    int64_t one = (int64_t)patch->coefficient[v] * patch->low[v], two = (int64_t)patch->coefficient[v] * patch->high[v];
    low += one < two ? one : two;
    high += one < two ? two : one;
  }
  *out_low = low;
  *out_high = high;
}

static void judge_reach(struct check *check, const struct check_issue *issue, const struct td_lpu_image *image,
                        int32_t which) {
  const struct td_lpu_instruction *at = issue->at;
  const struct td_lpu_patch *patch = at->patch[which] ? &check->segment->patches[at->patch[which] - 1] : NULL;
  int64_t low, high;
  reach_of(at, patch, which, &low, &high);
  if (!in_image(image, low) || !in_image(image, high)) {
    check_found(check, TD_RULE_ADDRESS, issue, "words %lld..%lld leave image %.47s, words %d..%lld", (long long)low,
                (long long)high, image->name, image->word, (long long)image->word + image->words - 1);
  } else if (patch && patch->lane >= 0 && !in_image(image, patch->otherwise) &&
             !is_scratch(check, issue, patch->otherwise)) {
    check_found(check, TD_RULE_ADDRESS, issue, "word %d, for other lanes, is neither in image %.47s nor in a scratch",
                patch->otherwise, image->name);
  }
}

/* Once for all iterations: they share the image, and the ends of what they reach are looked at. */
static void judge_address(struct check *check, const struct check_issue *issue, int32_t which) {
  if (issue->iteration > 0) return;
  const struct td_lpu_image *image = image_of(check, issue, which);
  if (!is_owner(check, issue, image)) {
    bool other = image->owner && image->owner != check->call.segment + 1;
    check_found(check, TD_RULE_ADDRESS, issue, "image %.47s is %s slice %d of hemisphere %d of this chip", image->name,
                other ? "another segment's, in" : "not in", issue->place->index, issue->place->hemisphere);
  } else if (which == 1 && (image->kind == TD_IMAGE_WEIGHT || image->kind == TD_IMAGE_CONSTANT)) {
    check_found(check, TD_RULE_ADDRESS, issue, "writes into image %.47s, which is loaded once", image->name);
  } else {
    judge_reach(check, issue, image, which);
  }
}

/* ---- LIFETIME ---- */

static struct check_word *word_at(struct check *check, const struct check_issue *issue, int32_t word, bool make) {
  struct check_word **slice = &issue->chip->slices[issue->place->hemisphere * check->half_slices + issue->place->index];
  if (word < 0 || word >= check->machine->mem_words) return NULL;
  if (!*slice && make) {
    *slice = calloc((size_t)check->machine->mem_words, sizeof **slice);
  }
  return *slice ? *slice + word : NULL;
}

/* What the side table says of a part of an address; offset 0 and scale -1 where it says nothing. */
static struct td_lpu_meaning told(const struct check *check, const struct check_issue *issue, int32_t component) {
  const struct td_lpu_meaning nothing = {.scale = -1};
  const struct td_lpu_meaning *meaning =
      check_meaning(check, issue->instruction, TD_MEANING_ADDRESS, component, issue->iteration);
  return meaning ? *meaning : nothing;
}

static bool patch_is_meant(const struct check *check, const struct check_issue *issue, int32_t which) {
  const struct td_lpu_patch none = {.lane = -1};
  int32_t index = issue->at->patch[which];
  const struct td_lpu_patch *patch = index ? &check->segment->patches[index - 1] : &none;
  for (int32_t v = 0; v < TD_LPU_VARIABLES; v++) {
    if (patch->coefficient[v] != told(check, issue, which + 2 * (1 + v)).offset) return false;
  }
  struct td_lpu_meaning lane = told(check, issue, which + 2 * (1 + TD_LPU_VARIABLES));
  if (patch->lane < 0) return lane.scale < 0;
  return patch->lane == lane.scale && patch->otherwise == lane.offset;
}

/* The word is the one that the side table means, where it says so. */
static void judge_meant_word(struct check *check, const struct check_issue *issue, int32_t which) {
  const struct td_lpu_meaning *meaning =
      check_meaning(check, issue->instruction, TD_MEANING_ADDRESS, which, issue->iteration);
  if (!meaning) return;
  const struct td_lpu_instruction *at = issue->at;
  const struct td_lpu_image *image = image_of(check, issue, which);
  int64_t found = at->address[which] + (int64_t)at->stride[which] * issue->iteration - image->word;
  int64_t expected = (int64_t)meaning->scale * issue->iteration + meaning->offset;
  if (found != expected) {
    check_found(check, TD_RULE_LIFETIME, issue, "%s word %lld of image %.47s, expected %lld",
                which ? "writes" : "reads", (long long)found, image->name, (long long)expected);
  } else if (issue->iteration == 0 && !patch_is_meant(check, issue, which)) {
    check_found(check, TD_RULE_LIFETIME, issue, "the word of image %.47s moves in another way than is meant",
                image->name);
  }
}

static void judge_lifetime(struct check *check, const struct check_issue *issue) {
  const struct check_maker nobody = {-1, 0, 0};
  int32_t address = td_lpu_address(check->program, &check->call, issue->at, 0, issue->iteration);
  const struct check_word *word = word_at(check, issue, address, false);
  const struct check_maker *maker = word && word->written ? &word->maker : &nobody;
  const struct td_lpu_meaning *meaning = check_meaning(check, issue->instruction, TD_MEANING_WORD, 0, issue->iteration);
  int32_t kind = image_of(check, issue, 0)->kind, owner = image_of(check, issue, 0)->owner;
  /* A layer's entries are steps of their own: what the one leaves is there for the next. */
  bool kept = owner == 0 && check->program->entries[check->entry].work > TD_LPU_WORK_ROUTE;
  if (meaning && !check_meant(check, meaning, issue->iteration, maker)) {
    check_found(check, TD_RULE_LIFETIME, issue,
                "word %d was last written by instruction %d iteration %d of call %d, "
                "expected instruction %d",
                address, maker->instruction, maker->iteration, maker->call, meaning->producer);
  } else if (!meaning && maker->call == check->ordinal) {
    check_found(check, TD_RULE_LIFETIME, issue,
                "word %d was written by instruction %d iteration %d, expected what "
                "stood there before the segment",
                address, maker->instruction, maker->iteration);
  } else if (maker->call < 0 && !kept && (kind == TD_IMAGE_SCRATCH || kind == TD_IMAGE_OUTPUT)) {
    check_found(check, TD_RULE_LIFETIME, issue, "word %d was not written in this step", address);
  } else if (owner && maker->call != check->ordinal) {
    check_found(check, TD_RULE_LIFETIME, issue, "word %d of the segment's own was last written in call %d", address,
                maker->call);
  }
}

/* ---- in time ---- */

static struct check_tag tag_of_word(const struct check *check, const struct check_issue *issue, int32_t which) {
  const struct td_lpu_image *image = image_of(check, issue, which);
  int32_t bytes = td_lpu_type_bytes((enum td_lpu_type)image->type);
  int32_t byte = (issue->place->index - image->slice) % bytes;
  return (struct check_tag){check_plain_type((uint8_t)image->type), (uint8_t)(byte < 0 ? 0 : byte)};
}

static void issue_read(struct check *check, const struct check_issue *issue) {
  judge_address(check, issue, 0);
  judge_meant_word(check, issue, 0);
  judge_lifetime(check, issue);
  struct check_group out = {issue->at->out, 1, 1};
  if (!check_group_fits(check, issue, out, "the result")) return;
  int32_t func = check->machine->delay[TD_LPU_MEMORY].func;
  check_later(check, issue, CHECK_PUT, CHECK_RESULT, func, tag_of_word(check, issue, 0));
}

static void issue_write(struct check *check, const struct check_issue *issue) {
  const struct check_tag none = {0, 0};
  judge_address(check, issue, 1);
  judge_meant_word(check, issue, 1);
  struct check_group in = {issue->at->in[0], 1, 1};
  if (!check_group_fits(check, issue, in, "what is written")) return;
  check_later(check, issue, CHECK_READ, CHECK_STORED, check->machine->memory_write_skew, none);
  check_later(check, issue, CHECK_PUT, CHECK_WRITTEN, check->machine->memory_write_skew, none);
}

void check_memory_issue(struct check *check, const struct check_issue *issue) {
  judge_ports(check, issue);
  if (issue->at->flags & TD_LPU_READ) issue_read(check, issue);
  if (issue->at->flags & TD_LPU_WRITE) issue_write(check, issue);
}

void check_memory_stored(struct check *check, const struct check_issue *issue) {
  struct check_tag tag = tag_of_word(check, issue, 1);
  check_stream_read(check, issue, 0, issue->at->in[0], &tag);
}

void check_memory_written(struct check *check, const struct check_issue *issue) {
  int32_t address = td_lpu_address(check->program, &check->call, issue->at, 1, issue->iteration);
  struct check_word *word = word_at(check, issue, address, true);
  if (word)
    *word = (struct check_word){check_maker_of(check, issue), true};
  else if (address >= 0 && address < check->machine->mem_words)
    check->no_memory = true;
}
