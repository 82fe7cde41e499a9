/* SPDX-License-Identifier: Apache-2.0 */
#include "compare.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tandem/base.h"
#include "tandem/metrics.h"

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

td_status cli_compare(const char *label, const struct cli_compared *rows, int64_t count, int32_t group) {
  double sum = 0, missed = 0, measured = 0;
  int64_t used = 0, inside = 0;
  void *memory;
  TD_TRY(td_alloc((size_t)count + 1, sizeof(double), &memory));
  double *off = memory;
  for (int64_t i = 0; i < count; i++) {
    const struct cli_compared *row = &rows[i];
    if (row->group < 0 || (group >= 0 && row->group != group)) continue;
    off[used] = fabs(row->predicted / row->measured - 1);
    sum += off[used++];
    missed += fabs(row->predicted - row->measured);
    measured += row->measured;
    inside += row->low <= row->measured && row->measured <= row->high;
  }
  if (used) {
    qsort(off, (size_t)used, sizeof *off, ascending);
    double all = (double)used;
    printf("%-22s %6" PRId64
           " rows  MAPE %6.2f%%  median %6.2f%%  p90 %6.2f%%  time-weighted %6.2f%%  inside the interval %5.1f%%\n",
           label, used, 100 * sum / all, 100 * td_percentile(off, (uint64_t)used, 50),
           100 * td_percentile(off, (uint64_t)used, 90), 100 * missed / measured, 100 * (double)inside / all);
  }
  free(memory);
  return TD_OK;
}
