/* SPDX-License-Identifier: Apache-2.0
 *
 * From measurements to terms: least squares of relative errors, no term below zero.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"
#include "tandem/measured.h"

#define LEAST_ROWS 4
#define SWEEPS 4000
#define ROUNDS 4
#define USUAL 0.05 /* a relative error above this is an outlier's, and weighs less */
#define TERMS TD_MEASURED_TERMS

/* The normal equations of the weighted problem, with columns scaled to one. */
struct system {
  double square[TERMS][TERMS], right[TERMS], scale[TERMS];
};

static double predict(const struct td_measured_row *row, const double *terms) {
  double sum = 0;
  for (int32_t i = 0; i < TERMS; i++) sum += row->uses[i] * terms[i];
  return sum;
}

/* Rows of family `without` stay out. */
static void make_system(const struct td_measured_row *rows, int64_t count, int32_t without, const double *weights,
                        struct system *out) {
  *out = (struct system){.right = {0}};
  for (int64_t r = 0; r < count; r++) {
    if (rows[r].family == without) continue;
    for (int32_t i = 0; i < TERMS; i++) {
      double x = rows[r].uses[i] / rows[r].seconds * weights[r];
      out->right[i] += x * weights[r];
      for (int32_t j = 0; j <= i; j++) out->square[i][j] += x * rows[r].uses[j] / rows[r].seconds * weights[r];
    }
  }
  for (int32_t i = 0; i < TERMS; i++) out->scale[i] = out->square[i][i] > 0 ? 1 / sqrt(out->square[i][i]) : 0;
  for (int32_t i = 0; i < TERMS; i++) {
    out->right[i] *= out->scale[i];
    for (int32_t j = 0; j <= i; j++)
      out->square[i][j] = out->square[j][i] = out->square[i][j] * out->scale[i] * out->scale[j];
  }
}

/* One coordinate after the other, never below zero: it converges, and needs no library. */
static void solve(const struct system *system, double *terms) {
  double scaled[TERMS] = {0};
  for (int32_t sweep = 0; sweep < SWEEPS; sweep++) {
    for (int32_t i = 0; i < TERMS; i++) {
      if (system->scale[i] == 0) continue;
      double rest = system->right[i];
      for (int32_t j = 0; j < TERMS; j++) rest -= j == i ? 0 : system->square[i][j] * scaled[j];
      scaled[i] = rest > 0 ? rest : 0;
    }
  }
  for (int32_t i = 0; i < TERMS; i++) terms[i] = scaled[i] * system->scale[i];
}

static void fit(const struct td_measured_row *rows, int64_t count, int32_t without, double *weights, double *terms) {
  struct system system;
  for (int64_t r = 0; r < count; r++) weights[r] = 1;
  for (int32_t round = 0; round < ROUNDS; round++) {
    make_system(rows, count, without, weights, &system);
    solve(&system, terms);
    for (int64_t r = 0; r < count; r++) {
      double off = fabs(predict(&rows[r], terms) / rows[r].seconds - 1);
      weights[r] = off > USUAL ? sqrt(USUAL / off) : 1;
    }
  }
}

static int ascending(const void *a, const void *b) {
  const double *x = a, *y = b;
  return (*x > *y) - (*x < *y);
}

static double percentile(const double *sorted, int64_t count, double share) {
  double at = share * (double)(count - 1);
  int64_t below = (int64_t)at;
  double above = below + 1 < count ? sorted[below + 1] : sorted[below];
  return sorted[below] + (at - (double)below) * (above - sorted[below]);
}

static void take_errors(double *ratios, double *offs, int64_t count, struct td_measured_op *op) {
  double sum = 0;
  for (int64_t r = 0; r < count; r++) sum += offs[r];
  qsort(ratios, (size_t)count, sizeof *ratios, ascending);
  qsort(offs, (size_t)count, sizeof *offs, ascending);
  op->mape = sum / (double)count;
  op->p90 = percentile(offs, count, 0.9);
  op->low = percentile(ratios, count, 0.05);
  op->high = percentile(ratios, count, 0.95);
}

/* Predicts each family from the others. */
static void validate(const struct td_measured_row *rows, int64_t count, double *space, struct td_measured_op *op) {
  double *weights = space, *ratios = space + count, *offs = space + 2 * count;
  int32_t families = 0;
  for (int64_t r = 0; r < count; r++) families = rows[r].family >= families ? rows[r].family + 1 : families;
  for (int32_t family = 0; family < families; family++) {
    double terms[TERMS];
    fit(rows, count, families > 1 ? family : -1, weights, terms);
    for (int64_t r = 0; r < count; r++) {
      if (rows[r].family != family) continue;
      double predicted = predict(&rows[r], terms);
      ratios[r] = predicted > 0 ? rows[r].seconds / predicted : 1e6;
      offs[r] = fabs(predicted / rows[r].seconds - 1);
    }
  }
  take_errors(ratios, offs, count, op);
}

td_status td_measured_fit(enum td_op_kind kind, const struct td_measured_row *rows, int64_t count,
                          struct td_measured_op *out_op) {
  if (count < LEAST_ROWS) {
    return td_fail(TD_INTERNAL, "calibrate: %s: found %lld measurements, expected %d or more",
                   td_measured_kind_name(kind), (long long)count, LEAST_ROWS);
  }
  void *memory;
  TD_TRY(td_alloc(3 * (size_t)count, sizeof(double), &memory));
  struct td_measured_op op = {.kind = kind, .rows = count};
  validate(rows, count, memory, &op);
  fit(rows, count, -1, memory, op.terms);
  free(memory);
  *out_op = op;
  return TD_OK;
}
