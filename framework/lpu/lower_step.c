/* SPDX-License-Identifier: Apache-2.0
 *
 * A step for lowered code: which segments it calls, and what each call adds to patched addresses.
 */
#include <inttypes.h>
#include <string.h>

#include "lower.h"
#include "tandem/base.h"

struct walking {
  const struct td_lpu_code *code;
  int32_t *words; /* NULL: counting */
  int64_t calls, patches, parts;
  int64_t part_at, call_at, patch_at; /* in words */
  int32_t most_chips;
  bool open; /* the last part takes calls of one chip and one phase */
};

#define WORDS(type) ((int64_t)(sizeof(type) / sizeof(int32_t)))

static int64_t moved(const struct td_lpu_program *program, const struct td_lpu_patch *patch,
                     const struct td_lpu_call *call, int32_t base) {
  int64_t add = 0;
  if (patch->lane >= 0 && call->variable[TD_VAR_POSITION] % program->machine.load_vectors != patch->lane) {
    return (int64_t)patch->otherwise - base;
  }
  for (int v = 0; v < TD_LPU_VARIABLES; v++) add += (int64_t)patch->coefficient[v] * call->variable[v];
  return add;
}

static td_status patch_value(const struct td_lpu_code *code, const struct td_lpu_call *call,
                             const struct lower_patch *entry, int32_t *out) {
  const struct td_lpu_program *program = code->program;
  const struct td_lpu_segment *segment = &program->segments[call->segment];
  *out = 0;
  if (entry->patch < 0) return TD_OK;
  int64_t add = moved(program, &segment->patches[entry->patch], call, entry->base);
  int64_t room = entry->scale == 1 ? program->map_count : program->machine.mem_words;
  if (entry->low + add >= 0 && entry->high + add < room) {
    *out = (int32_t)(add * entry->scale);
    return TD_OK;
  }
  return td_fail(
      TD_CORRUPT, "segment %.31s, cycle %" PRId64 ": ADDRESS: found %s %" PRId64 "..%" PRId64 ", expected 0..%" PRId64,
      segment->name, call->cycle, entry->scale == 1 ? "maps" : "words", entry->low + add, entry->high + add, room - 1);
}

static td_status write_call(struct walking *walking, const struct td_lpu_call *call) {
  const struct lower_segment *segment = &walking->code->segments[call->segment];
  struct td_lpu_code_call row = {call->segment, call->chip, (int32_t)walking->patches};
  memcpy(walking->words + walking->call_at + walking->calls * WORDS(row), &row, sizeof row);
  for (size_t i = 0; i < segment->patch_count; i++) {
    int32_t *to = &walking->words[walking->patch_at + walking->patches + (int64_t)i];
    TD_TRY(patch_value(walking->code, call, &segment->patches[i], to));
  }
  return TD_OK;
}

static td_status check_call(const struct td_lpu_code *code, const struct td_lpu_call *call) {
  const struct td_lpu_code_head *head = (const struct td_lpu_code_head *)(const void *)code->words;
  const struct td_lpu_code_segment *segments =
      (const struct td_lpu_code_segment *)(const void *)(code->words + head->at_segments);
  if (call->chip >= 0 && call->chip <= code->program->chips - segments[call->segment].chips) return TD_OK;
  return td_fail(TD_CORRUPT, "segment %.31s: found chips from %d on, expected %d among %d",
                 code->program->segments[call->segment].name, call->chip, segments[call->segment].chips,
                 code->program->chips);
}

static void add_part(struct walking *walking, int32_t phase, int32_t chips) {
  struct td_lpu_code_part part = {(int32_t)walking->calls, 1, phase, chips};
  int32_t *to = walking->words ? walking->words + walking->part_at + walking->parts * WORDS(part) : NULL;
  if (to) memcpy(to, &part, sizeof part);
  walking->parts++;
  if (chips > walking->most_chips) walking->most_chips = chips;
}

static void count_parts(struct walking *walking, const struct td_lpu_code_segment *segment) {
  bool simple = segment->chips == 1 && segment->phases == 1;
  if (simple && walking->open) {
    struct td_lpu_code_part part;
    int32_t *last = walking->words ? walking->words + walking->part_at + (walking->parts - 1) * WORDS(part) : NULL;
    if (last) last[1]++;
  } else {
    for (int32_t p = 0; p < segment->phases; p++) add_part(walking, p, segment->chips);
  }
  walking->open = simple;
}

static td_status walk_call(void *context, const struct td_lpu_call *call) {
  struct walking *walking = context;
  const struct td_lpu_code_head *head = (const struct td_lpu_code_head *)(const void *)walking->code->words;
  const struct td_lpu_code_segment *segments = (const void *)(walking->code->words + head->at_segments);
  TD_TRY(check_call(walking->code, call));
  if (walking->words) TD_TRY(write_call(walking, call));
  count_parts(walking, &segments[call->segment]);
  walking->calls++;
  walking->patches += (int64_t)walking->code->segments[call->segment].patch_count;
  return TD_OK;
}

td_status td_lpu_code_step(const struct td_lpu_code *code, int32_t entry, const struct td_lpu_step *step,
                           int32_t **words, size_t *capacity, size_t *out_count) {
  struct walking walking = {.code = code};
  TD_TRY(td_lpu_program_walk(code->program, entry, step, walk_call, &walking));
  walking.part_at = WORDS(struct td_lpu_code_step);
  walking.call_at = walking.part_at + walking.parts * WORDS(struct td_lpu_code_part);
  walking.patch_at = walking.call_at + walking.calls * WORDS(struct td_lpu_code_call);
  int64_t count = walking.patch_at + walking.patches;
  if (count > INT32_MAX) return td_fail(TD_UNSUPPORTED, "found a step of %" PRId64 " calls, too many", walking.calls);
  void *memory = *words;
  TD_TRY(td_grow(&memory, capacity, (size_t)count, sizeof **words));
  *words = memory;
  struct td_lpu_code_step first = {(int32_t)walking.calls, (int32_t)walking.patches, (int32_t)walking.parts,
                                   walking.most_chips};
  memcpy(*words, &first, sizeof first);
  walking.words = *words;
  walking.calls = walking.patches = walking.parts = 0;
  walking.open = false;
  TD_TRY(td_lpu_program_walk(code->program, entry, step, walk_call, &walking));
  *out_count = (size_t)count;
  return TD_OK;
}
