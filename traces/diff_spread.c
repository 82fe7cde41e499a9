/* SPDX-License-Identifier: Apache-2.0 */
#include "diff_spread.h"

#include <math.h>

const char *td_diff_what_name(enum td_diff_what what) {
  static const char *const names[] = {"same", "unmatched", "prompt", "id", "logprob", "length", "kv bytes", "time"};
  return names[what];
}

static double member_of(const struct td_diff_request *request, enum td_diff_member member) {
  return member == TD_MEMBER_TTFT ? request->ttft : member == TD_MEMBER_TPOT ? request->tpot : request->e2e;
}

struct td_spread td_diff_spread(const struct td_diff *diff, enum td_diff_member member) {
  struct td_spread spread = {.max = -1};
  double sum = 0;
  for (uint64_t i = 0; i < diff->paired; i++) {
    double value = fabs(member_of(&diff->requests[i], member));
    if (isnan(value)) continue;
    spread.count++;
    sum += value;
    if (value <= spread.max) continue;
    spread.max = value;
    spread.worst = i;
  }
  spread.mean = spread.count ? sum / (double)spread.count : NAN;
  if (!spread.count) spread.max = NAN;
  return spread;
}
