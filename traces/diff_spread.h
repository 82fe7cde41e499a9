/* SPDX-License-Identifier: Apache-2.0
 *
 * What text and JSON of `tandem diff` share.
 */
#ifndef TRACES_DIFF_SPREAD_H
#define TRACES_DIFF_SPREAD_H

#include "tandem/diff.h"

enum td_diff_member { TD_MEMBER_TTFT, TD_MEMBER_TPOT, TD_MEMBER_E2E, TD_MEMBER_COUNT };

/* Relative differences of one member over all pairs that have it. */
struct td_spread {
  uint64_t count, worst; /* worst: number of the pair with the largest */
  double mean, max;      /* of |difference|; NaN if count is 0 */
};
struct td_spread td_diff_spread(const struct td_diff *diff, enum td_diff_member member);
/* "same", "id", "length", ... */
const char *td_diff_what_name(enum td_diff_what what);

#endif
