/* SPDX-License-Identifier: Apache-2.0
 *
 * How far predictions are from measurements.
 */
#include <math.h>
#include <stdlib.h>

#include "op_calibrate.h"
#include "tandem/base.h"

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

static double quantile(const double *sorted, int64_t count, double at) {
  double place = at * (double)(count - 1);
  int64_t below = (int64_t)place, above = below + 1 < count ? below + 1 : below;
  return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

static struct td_op_error error_of(const struct td_op_compared *rows, int64_t count, int32_t class_index, double *ratio,
                                   double *off) {
  struct td_op_error error = {.rows = 0};
  double sum = 0, missed = 0, measured = 0;
  for (int64_t i = 0; i < count; i++) {
    if (class_index ? rows[i].class_index != class_index : rows[i].class_index == TD_OP_CLASS_SUMS) continue;
    double wrong = fabs(rows[i].predicted / rows[i].measured - 1);
    ratio[error.rows] = rows[i].measured / rows[i].predicted;
    off[error.rows++] = wrong;
    sum += wrong;
    missed += fabs(rows[i].predicted - rows[i].measured);
    measured += rows[i].measured;
  }
  if (!error.rows) return error;
  qsort(ratio, (size_t)error.rows, sizeof *ratio, ascending);
  qsort(off, (size_t)error.rows, sizeof *off, ascending);
  error.mape = sum / (double)error.rows;
  error.p90 = quantile(off, error.rows, 0.9);
  error.time_weighted = missed / measured;
  error.low = quantile(ratio, error.rows, 0.05);
  error.high = quantile(ratio, error.rows, 0.95);
  return error;
}

td_status td_op_errors(const struct td_op_compared *rows, int64_t count, struct td_op_error *out_errors) {
  void *memory;
  TD_TRY(td_alloc(2 * (size_t)count + 1, sizeof(double), &memory));
  double *scratch = memory;
  for (int32_t i = 0; i < TD_OP_CLASSES; i++) out_errors[i] = error_of(rows, count, i, scratch, scratch + count);
  free(memory);
  return TD_OK;
}
