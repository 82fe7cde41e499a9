/* SPDX-License-Identifier: Apache-2.0 */
#include "diff_interval.h"

#include <math.h>

#include "check.h"

#define THOUSAND 1000.0

struct sums {
  double all, low, high;
  bool known;
};

/* Prefill makes the first token and decode the others; a mixed step is of both. */
static bool counts_for(const struct td_row_step *row, enum td_diff_member member) {
  if (member == TD_MEMBER_TTFT) return row->kind != TD_STEP_DECODE;
  return member == TD_MEMBER_E2E || row->kind != TD_STEP_PREFILL;
}

static void add_row(const struct td_row_step *row, struct sums *sums) {
  double time = (double)td_step_end(row, row->count - 1);
  bool modelled = row->time_kind == TD_TIME_MODELLED;
  double low = row->interval & 0xffff, high = row->interval >> 16;
  sums->all += time;
  sums->low += modelled && row->interval ? time * low / THOUSAND : time;
  sums->high += modelled && row->interval ? time * high / THOUSAND : time;
  if (modelled && !row->interval) sums->known = false;
}

static double mean_of(const struct td_metrics *metrics, enum td_diff_member member) {
  return member == TD_MEMBER_TTFT   ? metrics->ttft.mean
         : member == TD_MEMBER_TPOT ? metrics->tpot.mean
                                    : metrics->e2e.mean;
}

struct td_sure td_diff_sure(const struct td_diff_side *side, enum td_diff_member member) {
  struct sums sums = {.known = true};
  double mean = mean_of(side->metrics, member);
  for (uint64_t i = 0; i < side->trace->count[TD_TABLE_STEPS]; i++) {
    if (counts_for(&side->trace->steps[i], member)) add_row(&side->trace->steps[i], &sums);
  }
  struct td_sure sure = {mean, mean, mean, sums.known};
  if (sums.known && sums.all > 0) {
    sure.low = mean * sums.low / sums.all;
    sure.high = mean * sums.high / sums.all;
  }
  return sure;
}

enum td_verdict td_diff_verdict(const struct td_sure *a, const struct td_sure *b) {
  bool modelled = a->high > a->low || b->high > b->low;
  if (!a->known || !b->known || !modelled || isnan(a->mean) || isnan(b->mean)) return TD_VERDICT_NONE;
  if (a->high < b->low) return TD_VERDICT_A;
  return b->high < a->low ? TD_VERDICT_B : TD_VERDICT_OPEN;
}

const char *td_diff_verdict_name(enum td_verdict verdict) {
  static const char *const names[] = {"unknown", "not decidable", "A is shorter", "B is shorter"};
  return names[verdict];
}
