/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators priced at speed. The residuals of a family are interpolated once, at knots of the last field; a price is
 * then the model's exact time and a straight line between two knots, or a look at what was asked before.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op_curve.h"
#include "tandem/base.h"

#define KNOTS 160
/* A product's start, at most: what narrows its activations is part of the norm or activation before it. */
#define FUSED_START 6e-6
/* Places of answers, powers of two: those of a curve that few values are asked of, and of others. A step's curves are
 * many and new, and what they take up must be found in memory. */
#define FEW_BITS 4
#define MANY_BITS 10

struct answer {
  int64_t value, ps; /* value 0: none */
};

struct knot {
  double at, residual; /* log2 of the last field; log(measured / modelled) */
};

struct td_op_curve {
  const struct td_op_model *model;
  struct td_op_chip chip;
  struct td_op_basis basis; /* without its residuals */
  struct td_op_shape family;
  struct knot *knots; /* NULL: no residuals */
  int32_t knot_count;
  struct answer few[1 << FEW_BITS], *many;
};

/* Every value up to 8, from there four an octave. */
int64_t td_op_knot(int32_t index) {
  if (index < 8) return index + 1;
  int32_t octave = (index - 8) / 4, quarter = (index - 8) % 4;
  return (INT64_C(8) << octave) + (quarter + 1) * (INT64_C(2) << octave);
}

int32_t td_op_knot_below(int64_t value) {
  if (value < 8) return value > 1 ? (int32_t)value - 1 : 0;
  int32_t octave = 60 - __builtin_clzll((uint64_t)value); /* value >= 8 << octave */
  int32_t below = 7 + 4 * octave + (int32_t)((value >> (octave + 1)) - 4);
  return below < KNOTS ? below : KNOTS - 1;
}

/* Knots as far as the fit's rows go; beyond them the last residual holds. */
static td_status fill_knots(const struct td_op_fit *fit, struct td_op_curve *curve) {
  int32_t last = curve->model->field_count - 1;
  struct td_op_shape shape = curve->family;
  struct td_op_fit near;
  TD_TRY(td_alloc(KNOTS, sizeof *curve->knots, (void **)&curve->knots));
  shape.v[last] = 1;
  TD_TRY(td_op_residual_family(&curve->chip, fit, &shape, &near));
  for (int32_t i = 0; i < KNOTS && (!i || td_op_knot(i) <= fit->most.v[last]); i++) {
    shape.v[last] = td_op_knot(i);
    double seconds = curve->model->seconds(&curve->chip, fit->parameters, shape.v);
    double residual = near.residual_count ? td_op_residual_at(&curve->chip, &near, &shape, seconds) : 0;
    curve->knots[i] = (struct knot){log2((double)shape.v[last]), residual};
    curve->knot_count = i + 1;
  }
  td_op_fit_free(&near);
  return TD_OK;
}

static td_status fill(const struct td_device_params *device, enum td_operator op, const char *path, bool cold,
                      struct td_op_curve *curve) {
  struct td_op_shape shape = curve->family;
  curve->model = td_op_model(op);
  shape.v[curve->model->field_count - 1] = 1;
  TD_TRY(td_op_shape_check(op, &shape));
  TD_TRY(td_op_chip_of(device, op, path, &curve->chip));
  td_op_basis_of(device, op, path, &curve->basis);
  struct td_op_fit *fit = &curve->basis.own;
  *fit = *curve->basis.fit;
  curve->basis.fit = fit;
  curve->basis.gap = td_op_residual_gap(fit, &shape);
  if (fit->residual_count) TD_TRY(fill_knots(fit, curve));
  if (cold) curve->chip.start = FUSED_START;
  curve->chip.cold = cold; /* the residuals are those of the benchmark, whose weights may have stayed in the cache */
  fit->residuals = NULL;
  fit->places = NULL;
  fit->residual_count = 0;
  return td_format(fit->path, sizeof fit->path, "%s", path);
}

td_status td_op_curve_make(const struct td_device_params *device, enum td_operator op, const char *path,
                           const struct td_op_shape *family, bool cold, struct td_op_curve **out_curve) {
  void *memory;
  TD_TRY(td_alloc(1, sizeof(struct td_op_curve), &memory));
  struct td_op_curve *curve = memory;
  curve->family = *family;
  td_status status = fill(device, op, path, cold, curve);
  if (status) {
    td_op_curve_close(curve);
    return status;
  }
  *out_curve = curve;
  return TD_OK;
}

td_status td_op_curve_open(const struct td_device_params *device, enum td_operator op, const char *path,
                           const struct td_op_shape *family, struct td_op_curve **out_curve) {
  return td_op_curve_make(device, op, path, family, false, out_curve);
}

static double residual_at(const struct td_op_curve *curve, int64_t value) {
  if (!curve->knot_count) return 0;
  int32_t last = curve->knot_count - 1, below = last ? td_op_knot_below(value) : 0;
  const struct knot *knot = &curve->knots[below];
  if (below >= last) return curve->knots[last].residual;
  double at = (log2((double)value) - knot->at) / (knot[1].at - knot->at);
  return knot->residual + at * (knot[1].residual - knot->residual);
}

static int64_t compute_ps(const struct td_op_curve *curve, int64_t value) {
  struct td_op_shape shape = curve->family;
  shape.v[curve->model->field_count - 1] = value;
  double seconds = curve->model->seconds(&curve->chip, curve->basis.own.parameters, shape.v);
  double residual = residual_at(curve, value);
  double ps = (residual != 0 ? seconds * exp(residual) : seconds) * 1e12 + 0.5;
  return ps < 9e18 ? (int64_t)ps : INT64_MAX; /* over 106 days: as td_poly_eval */
}

static struct answer *place_of(struct td_op_curve *curve, int64_t value) {
  uint64_t hash = (uint64_t)value * UINT64_C(0x9e3779b97f4a7c15);
  return curve->many ? &curve->many[hash >> (64 - MANY_BITS)] : &curve->few[hash >> (64 - FEW_BITS)];
}

int64_t td_op_curve_ps(struct td_op_curve *curve, int64_t value) {
  struct answer *answer = place_of(curve, value);
  if (answer->value == value) return answer->ps;
  if (answer->value && !curve->many) { /* without memory for many, few do */
    curve->many = calloc(1 << MANY_BITS, sizeof *curve->many);
    answer = place_of(curve, value);
  }
  *answer = (struct answer){value, compute_ps(curve, value)};
  return answer->ps;
}

void td_op_curve_range(const struct td_op_curve *curve, int64_t value, double *out_low, double *out_high) {
  struct td_op_shape shape = curve->family;
  struct td_op_price price = {.seconds = 1};
  shape.v[curve->model->field_count - 1] = value;
  td_op_interval(&curve->basis, &shape, residual_at(curve, value), &price);
  *out_low = price.low;
  *out_high = price.high;
}

bool td_op_curve_is(const struct td_op_curve *curve, enum td_operator op, const char *path,
                    const struct td_op_shape *family) {
  return curve->basis.own.op == op && !strcmp(curve->basis.own.path, path) &&
         !memcmp(&curve->family, family, sizeof *family);
}

void td_op_curve_close(struct td_op_curve *curve) {
  if (!curve) return;
  free(curve->knots);
  free(curve->many);
  free(curve);
}
