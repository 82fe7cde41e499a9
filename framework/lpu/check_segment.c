/* SPDX-License-Identifier: Apache-2.0
 *
 * What a segment's replay looks up, once per segment: its queues, whether one is told something while it is busy, and
 * the side table in an order to search.
 */
#include <stdlib.h>
#include <string.h>

#include "check.h"

/* ---- the side table ---- */

static int32_t step_of(const struct td_lpu_meaning *meaning) {
  bool keyed = meaning->operand == TD_MEANING_STEP || meaning->operand == TD_MEANING_ADDRESS;
  return keyed ? meaning->component : 0;
}

static int compare(const struct td_lpu_meaning *x, int32_t operand, int32_t step, int32_t begin) {
  int32_t of = step_of(x);
  if (x->operand != operand) return x->operand < operand ? -1 : 1;
  if (of != step) return of < step ? -1 : 1;
  return x->begin < begin ? -1 : x->begin > begin;
}

static int by_key(const void *a, const void *b) {
  const struct td_lpu_meaning *y = b;
  return compare(a, y->operand, step_of(y), y->begin);
}

static td_status sort_meanings(const struct td_lpu_segment *segment, int32_t number, struct check_segment *out) {
  size_t bytes = (size_t)segment->meaning_count * sizeof *out->meanings;
  out->meanings = malloc(bytes ? bytes : 1);
  if (!out->meanings) return td_fail(TD_NO_MEMORY, "checker: no memory for %d meanings", segment->meaning_count);
  if (bytes) memcpy(out->meanings, segment->meanings, bytes);
  for (int32_t i = 0; i < segment->instruction_count; i++) {
    const struct td_lpu_instruction *at = &segment->instructions[i];
    struct td_lpu_meaning *first = out->meanings + at->meaning;
    int32_t sorted = 1;
    while (sorted < at->meaning_count && by_key(first + sorted - 1, first + sorted) <= 0) sorted++;
    if (sorted < at->meaning_count) qsort(first, (size_t)at->meaning_count, sizeof *first, by_key);
    for (int32_t m = 1; m < at->meaning_count; m++) {
      struct td_lpu_meaning *x = first + m - 1, *y = first + m;
      if (x->operand == y->operand && step_of(x) == step_of(y) && y->begin < x->end) {
        return td_fail(TD_CORRUPT, "program: segment %d instruction %d: found two meanings of operand %d", number, i,
                       x->operand);
      }
    }
  }
  return TD_OK;
}

const struct td_lpu_meaning *check_meaning(const struct check *check, int32_t instruction, int32_t operand,
                                           int32_t step, int32_t iteration) {
  const struct td_lpu_instruction *at = &check->segment->instructions[instruction];
  const struct td_lpu_meaning *all = check->looked->meanings + at->meaning, *found = NULL;
  int32_t low = 0, high = at->meaning_count;
  if (operand >= 0 && operand < high && compare(&all[operand], operand, step, iteration) <= 0 &&
      all[operand].operand == operand) {
    low = operand; /* as most tables are */
  }
  while (low < high) {
    int32_t middle = low + (high - low) / 2;
    if (compare(&all[middle], operand, step, iteration) <= 0) {
      found = &all[middle];
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (!found || found->operand != operand || step_of(found) != step) return NULL;
  return iteration >= found->begin && iteration < found->end ? found : NULL;
}

/* ---- queues ---- */

static int32_t last_cycle(const struct td_lpu_instruction *at) {
  return at->cycle + (at->repeat - 1) * at->gap;
}

static void look_at_queue(const struct td_lpu_segment *segment, const struct check_run *run,
                          struct check_segment *out) {
  const struct td_lpu_instruction *all = segment->instructions;
  for (int32_t i = run->begin; i < run->end; i++) {
    if (all[i].cycle < 0 && (out->early < 0 || all[i].cycle < all[out->early].cycle)) out->early = i;
    if (i == run->begin || all[i].cycle > last_cycle(&all[i - 1])) continue;
    if (out->busy >= 0 && out->busy_cycle <= all[i].cycle) continue;
    out->busy = i;
    out->busy_cycle = all[i].cycle;
  }
}

static bool same_queue(const struct td_lpu_instruction *x, const struct td_lpu_instruction *y) {
  return x->chip == y->chip && x->queue == y->queue;
}

static td_status find_runs(const struct td_lpu_segment *segment, struct check_segment *out) {
  const struct td_lpu_instruction *all = segment->instructions;
  int32_t count = 0;
  for (int32_t i = 0; i < segment->instruction_count; i++) count += i == 0 || !same_queue(&all[i], &all[i - 1]);
  out->runs = calloc((size_t)count + 1, sizeof *out->runs);
  if (!out->runs) return td_fail(TD_NO_MEMORY, "checker: no memory for %d queues", count);
  for (int32_t i = 0; i < segment->instruction_count; i++) {
    if (i == 0 || !same_queue(&all[i], &all[i - 1])) out->runs[out->run_count++] = (struct check_run){i, i, 0};
    out->runs[out->run_count - 1].end = i + 1;
    out->runs[out->run_count - 1].chip = all[i].chip;
    if (all[i].chip > out->most_chip) out->most_chip = all[i].chip;
  }
  return TD_OK;
}

td_status check_segment_look(struct check *check, int32_t segment) {
  struct check_segment *out = &check->segments[segment];
  const struct td_lpu_segment *in = &check->program->segments[segment];
  *out = (struct check_segment){.busy = -1, .early = -1};
  TD_TRY(find_runs(in, out));
  for (int32_t i = 0; i < out->run_count; i++) look_at_queue(in, &out->runs[i], out);
  return sort_meanings(in, segment, out);
}

void check_segment_close(struct check_segment *looked) {
  free(looked->meanings);
  free(looked->runs);
}
