/* SPDX-License-Identifier: Apache-2.0
 *
 * How sure the times of a trace are, and whether two traces can be told apart by them.
 */
#ifndef TRACES_DIFF_INTERVAL_H
#define TRACES_DIFF_INTERVAL_H

#include "diff_spread.h"

/* The mean of a member over finished requests, seconds, and where it lies if every modelled step is as long as the near
 * or the far end of its interval at once. low = high = mean: nothing of it is modelled. */
struct td_sure {
  double mean, low, high;
  bool known; /* false: some step was modelled by a device whose interval is not known; low and high are the mean */
};
struct td_sure td_diff_sure(const struct td_diff_side *side, enum td_diff_member member);

/* What two of them say: */
enum td_verdict {
  TD_VERDICT_NONE, /* nothing: neither is modelled, or one has no such time or no known interval */
  TD_VERDICT_OPEN, /* not decidable: the intervals overlap */
  TD_VERDICT_A,    /* A's is shorter */
  TD_VERDICT_B
};
enum td_verdict td_diff_verdict(const struct td_sure *a, const struct td_sure *b);
const char *td_diff_verdict_name(enum td_verdict verdict);

#endif
