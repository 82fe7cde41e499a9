/* SPDX-License-Identifier: Apache-2.0 */
#include "paces.h"

#include <inttypes.h>
#include <stdlib.h>

__extension__ typedef __int128 wide;

struct merge {
  struct td_trace *trace;
  const char *path;
  struct td_row_step *out;
  uint64_t made, next; /* rows of `out`; the first pace that is in none */
};

static td_status bad_step(const struct merge *merge, uint64_t row, const char *field, uint64_t found,
                          const char *expected) {
  return td_fail(TD_CORRUPT, "trace %s: steps[%" PRIu64 "].%s is %" PRIu64 ", expected %s", merge->path, row, field,
                 found, expected);
}

static td_status bad_pace(const struct merge *merge, const char *expected) {
  return td_fail(TD_CORRUPT, "trace %s: paces[%" PRIu64 "].step is %" PRIu64 ", expected %s", merge->path, merge->next,
                 merge->trace->paces[merge->next].step, expected);
}

/* As far as the rows must be right to be taken apart; all else is checked of their parts. */
static td_status check_row(const struct merge *merge, uint64_t i) {
  const struct td_row_step *row = &merge->trace->steps[i];
  if (row->count < 1 || row->count > INT32_MAX) return bad_step(merge, i, "count", row->count, "1 .. 2147483647");
  if (row->step > INT64_MAX - row->count) return bad_step(merge, i, "step", row->step, "a number below 2^63");
  if (row->index > INT64_MAX - row->count) return bad_step(merge, i, "index", row->index, "a number below 2^63");
  if (!i || row[-1].step + row[-1].count <= row->step) return TD_OK;
  return bad_step(merge, i, "step", row->step, "a number behind the steps of the row before, as there are paces");
}

/* `part` ends where the next pace begins, and becomes what follows. */
static td_status next_part(const struct merge *merge, struct td_row_step *part) {
  const struct td_row_pace *pace = &merge->trace->paces[merge->next];
  wide count = part->count;
  wide start = part->start + count * part->duration + count * (count - 1) / 2 * part->slope;
  if (start < 0 || start > INT64_MAX) return bad_pace(merge, "one that begins below 2^63 ps");
  part->index += part->count;
  part->step = pace->step;
  part->start = (int64_t)start;
  part->duration = pace->duration;
  part->slope = pace->slope;
  return TD_OK;
}

static td_status take_apart(struct merge *merge, const struct td_row_step *row) {
  struct td_row_step part = *row;
  const uint64_t end = row->step + row->count, paces = merge->trace->count[TD_TABLE_PACES];
  for (; merge->next < paces && merge->trace->paces[merge->next].step < end; merge->next++) {
    const uint64_t step = merge->trace->paces[merge->next].step;
    if (step <= part.step) return bad_pace(merge, "one behind the first of a row of steps, and behind the pace before");
    part.count = step - part.step;
    merge->out[merge->made++] = part;
    TD_TRY(next_part(merge, &part));
  }
  part.count = end - part.step;
  merge->out[merge->made++] = part;
  return TD_OK;
}

static td_status take_all_apart(struct merge *merge) {
  const struct td_trace *trace = merge->trace;
  for (uint64_t i = 0; i < trace->count[TD_TABLE_STEPS]; i++) {
    TD_TRY(check_row(merge, i));
    TD_TRY(take_apart(merge, &trace->steps[i]));
  }
  bool written = trace->complete && merge->next < trace->count[TD_TABLE_PACES];
  return written ? bad_pace(merge, "a step of a row of steps") : TD_OK;
}

td_status td_paces_apply(struct td_trace *trace, const char *path) {
  struct merge merge = {.trace = trace, .path = path};
  if (!trace->count[TD_TABLE_PACES]) return TD_OK;
  TD_TRY(td_alloc(trace->count[TD_TABLE_STEPS] + trace->count[TD_TABLE_PACES], sizeof *merge.out, (void **)&merge.out));
  td_status status = take_all_apart(&merge);
  if (status) {
    free(merge.out);
    return status;
  }
  free(trace->steps);
  trace->steps = merge.out;
  trace->count[TD_TABLE_STEPS] = merge.made;
  trace->count[TD_TABLE_PACES] = merge.next;
  return TD_OK;
}
