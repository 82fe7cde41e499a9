/* SPDX-License-Identifier: Apache-2.0
 *
 * How far predictions are from measurements.
 */
#include <inttypes.h>
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

/* Student's t, 95 % to one side, for 1 and more degrees of freedom. */
static const double student[TD_FEW_FAMILIES - 2] = {6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833,
                                                    1.812, 1.796, 1.782, 1.771, 1.761, 1.753, 1.746, 1.740, 1.734};
#define NORMAL 1.645

/* Rows of a family are off together, so a few families' percentiles are too near for the next one: by as much as a
 * prediction from so many values is wider than the percentiles of a normal distribution that is known, from the median
 * on. But no further than what is said without any measurement, unless rows were that far off. */
static void widen(double median, int64_t families, struct td_op_error *error) {
  double low = TD_GUESS_LOW, high = TD_GUESS_HIGH, count = (double)families;
  if (families >= TD_FEW_FAMILIES) return;
  if (families > 1) {
    double wider = student[families - 2] * sqrt(1 + 1 / count) / NORMAL;
    low = fmax(low, median * pow(error->low / median, wider));
    high = fmin(high, median * pow(error->high / median, wider));
  }
  error->low = fmin(error->low, low);
  error->high = fmax(error->high, high);
}

/* Of a few rows, percentiles lie between the outermost, which the next row often does not: as far out as a prediction
 * from so many values is, by their standard deviation. No further than without any, as above. */
static void widen_rows(const double *ratio, struct td_op_error *error) {
  double sum = 0, squares = 0, count = (double)error->rows, far = HUGE_VAL;
  if (error->rows >= TD_FEW_FAMILIES) return;
  for (int64_t i = 0; i < error->rows; i++) sum += log(ratio[i]);
  for (int64_t i = 0; i < error->rows; i++) squares += pow(log(ratio[i]) - sum / count, 2);
  if (error->rows > 1) far = student[error->rows - 2] * sqrt((1 + 1 / count) * squares / (count - 1));
  error->low = fmin(error->low, fmax(TD_GUESS_LOW, exp(sum / count - far)));
  error->high = fmax(error->high, fmin(TD_GUESS_HIGH, exp(sum / count + far)));
}

static struct td_op_error error_of(const struct td_op_compared *rows, int64_t count, int64_t families,
                                   int32_t class_index, double *ratio, double *off) {
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
  if (families) widen(quantile(ratio, error.rows, 0.5), families, &error);
  if (!class_index) widen_rows(ratio, &error); /* a class says beside all rows only whether it is worse */
  return error;
}

td_status td_op_errors(const struct td_op_compared *rows, int64_t count, int64_t families,
                       struct td_op_error *out_errors) {
  void *memory;
  TD_TRY(td_alloc(2 * (size_t)count + 1, sizeof(double), &memory));
  double *scratch = memory;
  for (int32_t i = 0; i < TD_OP_CLASSES; i++) {
    out_errors[i] = error_of(rows, count, families, i, scratch, scratch + count);
  }
  free(memory);
  return TD_OK;
}

td_status td_op_row_check(int32_t line, const char *column, double measured, double predicted) {
  if (fabs(log(measured / predicted)) <= 10) return TD_OK;
  return td_fail(TD_CONFIG, "line %" PRId32 ": %s: found %g, expected it within a factor of 22000 of the model's %g",
                 line, column, measured * 1e3, predicted * 1e3);
}
