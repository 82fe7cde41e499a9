/* SPDX-License-Identifier: Apache-2.0
 *
 * Pieces of td_summarize for values that do not fit memory.
 */
#ifndef TRACES_STATISTICS_H
#define TRACES_STATISTICS_H

#include <stdint.h>

/* The next `count` <= 128 values. */
typedef const double *(*td_take)(void *context, uint64_t count);
/* Their sum, `count` in all, added as numpy adds an array of them. */
double td_pairwise_sum(td_take take, void *context, uint64_t count);

/* Between which of n sorted values a percentile lies, and where. */
struct td_rank {
  uint64_t low, high;
  double t; /* of the way from low to high */
};
struct td_rank td_rank(uint64_t count, double percent);
double td_between(double low, double high, struct td_rank rank);

#endif
