/* SPDX-License-Identifier: Apache-2.0
 *
 * Statistics that equal numpy's to the last bit, so that anybody can recompute `tandem show` from the trace: the order
 * of every addition below is numpy's.
 */
#include <math.h>
#include <stdlib.h>

#include "statistics.h"
#include "tandem/metrics.h"

#define BLOCK 128 /* numpy's PW_BLOCKSIZE */

static double sum_block(const double *values, uint64_t count) {
  double part[8];
  for (int j = 0; j < 8; j++) part[j] = values[j];
  uint64_t i = 8;
  for (; i < count - count % 8; i += 8) {
    for (uint64_t j = 0; j < 8; j++) part[j] += values[i + j];
  }
  double sum = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
  for (; i < count; i++) sum += values[i];
  return sum;
}

static double sum_few(const double *values, uint64_t count) {
  double sum = 0;
  for (uint64_t i = 0; i < count; i++) sum += values[i];
  return sum;
}

double td_pairwise_sum(td_take take, void *context, uint64_t count) {
  if (count < 8) return sum_few(take(context, count), count);
  if (count <= BLOCK) return sum_block(take(context, count), count);
  uint64_t half = count / 2;
  half -= half % 8;
  double left = td_pairwise_sum(take, context, half); /* they are taken in order */
  return left + td_pairwise_sum(take, context, count - half);
}

static const double *take_from_array(void *context, uint64_t count) {
  const double **values = context, *now = *values;
  *values += count;
  return now;
}

struct td_rank td_rank(uint64_t count, double percent) {
  double rank = percent / 100 * (double)(count - 1), whole = floor(rank);
  if (rank >= (double)(count - 1)) return (struct td_rank){count - 1, count - 1, 0};
  if (rank < 0) return (struct td_rank){0, 0, 0};
  return (struct td_rank){(uint64_t)whole, (uint64_t)whole + 1, rank - whole};
}

double td_between(double low, double high, struct td_rank rank) {
  return rank.t >= 0.5 ? high - (high - low) * (1 - rank.t) : low + (high - low) * rank.t;
}

double td_percentile(const double *sorted, uint64_t count, double percent) {
  if (!count) return NAN;
  struct td_rank rank = td_rank(count, percent);
  return td_between(sorted[rank.low], sorted[rank.high], rank);
}

static int by_value(const void *left, const void *right) {
  double a = *(const double *)left, b = *(const double *)right;
  return a < b ? -1 : a > b;
}

void td_summarize(double *values, uint64_t count, struct td_summary *out) {
  const double *next = values;
  double mean = count ? td_pairwise_sum(take_from_array, &next, count) / (double)count : NAN;
  if (count) qsort(values, count, sizeof *values, by_value);
  *out = (struct td_summary){.count = count,
                             .mean = mean,
                             .min = count ? values[0] : NAN,
                             .p50 = td_percentile(values, count, 50),
                             .p90 = td_percentile(values, count, 90),
                             .p95 = td_percentile(values, count, 95),
                             .p99 = td_percentile(values, count, 99),
                             .max = count ? values[count - 1] : NAN};
}
