/* SPDX-License-Identifier: Apache-2.0
 *
 * What measurements say beyond a model's parameters: log(measured / modelled) at points, interpolated by simple kriging
 * with an exponential covariance exp(-distance / length) over the nearest points. Far from all points it says nothing.
 * Distances are octaves of the fields, each scaled by the model.
 *
 * Models with a field `other_kernel` have groups (shapes that differ in the last field only), each of which may have
 * run a kernel of its own: a group's points have a second covariance, ten times the first and over more octaves, and
 * points further off than that field says nothing of other groups.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op_model.h"
#include "tandem/base.h"

#define NEAREST 24

/* Chosen on single rows of NVIDIA's table of MoE layers: anything from 3 to 30, and from 4 on, does as well. */
#define OWN 6
#define GROUP_VARIANCE 10
#define GROUP_LENGTH 4

/* One more than the fields: how much tiles and waves lengthen the operator. */
#define PLACE (TD_SHAPE_FIELDS + 1)
#define TILES_PER_OCTAVE 4

static void place_local(const struct td_op_model *model, const struct td_op_shape *shape, float *out) {
  double local[TD_SHAPE_FIELDS] = {0};
  model->local(shape->v, local);
  for (int32_t i = 0; i < model->field_count; i++) out[i] = (float)local[i];
}

static void place(const struct td_op_chip *chip, const struct td_op_fit *fit, const struct td_op_shape *shape,
                  double seconds, float *out) {
  const struct td_op_model *model = td_op_model(fit->op);
  for (int32_t i = 0; i < PLACE; i++) out[i] = 0;
  if (model->local) place_local(model, shape, out);
  for (int32_t i = 0; i < model->field_count && !model->local; i++) {
    const struct td_op_field *field = &model->fields[i];
    double v = (double)shape->v[i];
    /* a window of 0 is none: as wide as the longest contexts */
    out[i] = (float)(field->linear ? v / field->octaves : log2(v > 0 ? v : 131072) / field->octaves);
  }
  if (!model->plain) return;
  out[TD_SHAPE_FIELDS] = (float)(TILES_PER_OCTAVE * log2(seconds / model->plain(chip, fit->parameters, shape->v)));
}

td_status td_op_residual_prepare(const struct td_op_chip *chip, struct td_op_fit *fit) {
  const struct td_op_model *model = td_op_model(fit->op);
  void *memory;
  TD_TRY(td_alloc((size_t)fit->residual_count + 1, sizeof(float) * PLACE, &memory));
  fit->places = memory;
  for (int32_t i = 0; i < fit->residual_count; i++) {
    const struct td_op_shape *shape = &fit->residuals[i].shape;
    place(chip, fit, shape, model->seconds(chip, fit->parameters, shape->v), fit->places + (size_t)i * PLACE);
  }
  return TD_OK;
}

struct near {
  float distance[NEAREST]; /* squared */
  int32_t index[NEAREST];
  int32_t count;
};

static void insert(struct near *near, int32_t most, float distance, int32_t index) {
  int32_t at = near->count < most ? near->count++ : most - 1;
  while (at > 0 && near->distance[at - 1] > distance) {
    near->distance[at] = near->distance[at - 1];
    near->index[at] = near->index[at - 1];
    at--;
  }
  near->distance[at] = distance;
  near->index[at] = index;
}

static float apart(const float *a, const float *b) {
  float sum = 0;
  for (int32_t i = 0; i < PLACE; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

static bool same_group(const struct td_op_model *model, const struct td_op_shape *a, const struct td_op_shape *b) {
  return model->other_kernel > 0 && !memcmp(a->v, b->v, sizeof *a->v * (size_t)(model->field_count - 1));
}

/* Of a point's own group as many as OWN, the rest of others. */
static void join(const struct near *own, struct near *near) {
  int32_t others = near->count < NEAREST - own->count ? near->count : NEAREST - own->count;
  near->count = others;
  for (int32_t i = 0; i < own->count && i < OWN; i++) {
    near->distance[near->count] = own->distance[i];
    near->index[near->count++] = own->index[i];
  }
}

static struct near find_near(const struct td_op_fit *fit, const struct td_op_shape *shape, const float *at) {
  const struct td_op_model *model = td_op_model(fit->op);
  struct near near = {.count = 0}, own = {.count = 0};
  for (int32_t i = 0; i < fit->residual_count; i++) {
    float distance = apart(fit->places + (size_t)i * PLACE, at);
    bool is_own = same_group(model, shape, &fit->residuals[i].shape);
    if (!is_own && model->other_kernel > 0 && fabs(fit->residuals[i].log_ratio) > model->other_kernel) continue;
    struct near *list = is_own ? &own : &near;
    int32_t most = is_own ? OWN : NEAREST;
    if (list->count < most || distance < list->distance[most - 1]) insert(list, most, distance, i);
  }
  join(&own, &near);
  return near;
}

/* Of two points this far apart, their own noise aside; `own`: both of the group that is asked for. */
static double covariance(const struct td_op_fit *fit, double distance, bool own) {
  double all = exp(-distance / fit->length);
  return own ? all + GROUP_VARIANCE * exp(-distance / GROUP_LENGTH) : all;
}

/* Cholesky, in place; the matrix is a covariance plus noise, so its pivots are positive. Then solves for x. */
static void solve(double a[NEAREST][NEAREST], int32_t n, double *x) {
  for (int32_t j = 0; j < n; j++) {
    for (int32_t k = 0; k < j; k++) a[j][j] -= a[j][k] * a[j][k];
    a[j][j] = sqrt(a[j][j]);
    for (int32_t i = j + 1; i < n; i++) {
      for (int32_t k = 0; k < j; k++) a[i][j] -= a[i][k] * a[j][k];
      a[i][j] /= a[j][j];
    }
  }
  for (int32_t i = 0; i < n; i++) {
    for (int32_t k = 0; k < i; k++) x[i] -= a[i][k] * x[k];
    x[i] /= a[i][i];
  }
  for (int32_t i = n - 1; i >= 0; i--) {
    for (int32_t k = i + 1; k < n; k++) x[i] -= a[k][i] * x[k];
    x[i] /= a[i][i];
  }
}

double td_op_residual_at(const struct td_op_chip *chip, const struct td_op_fit *fit, const struct td_op_shape *shape,
                         double seconds) {
  const struct td_op_model *model = td_op_model(fit->op);
  float at[PLACE];
  double a[NEAREST][NEAREST], x[NEAREST], sum = 0;
  place(chip, fit, shape, seconds, at);
  struct near near = find_near(fit, shape, at);
  for (int32_t i = 0; i < near.count; i++) {
    const float *where = fit->places + (size_t)near.index[i] * PLACE;
    bool own = same_group(model, &fit->residuals[near.index[i]].shape, shape);
    x[i] = covariance(fit, sqrt((double)near.distance[i]), own);
    for (int32_t j = 0; j <= i; j++) {
      double distance = sqrt((double)apart(where, fit->places + (size_t)near.index[j] * PLACE));
      bool both = own && same_group(model, &fit->residuals[near.index[j]].shape, shape);
      a[i][j] = covariance(fit, distance, both) + (i == j ? fit->noise : 0);
    }
  }
  solve(a, near.count, x);
  for (int32_t i = 0; i < near.count; i++) sum += x[i] * fit->residuals[near.index[i]].log_ratio;
  return sum;
}

/* How far a point is from the family, whatever its last field and its tiles. */
static double family_distance(const struct td_op_model *model, const float *a, const float *b) {
  double sum = 0;
  for (int32_t i = 0; i < model->field_count - 1; i++) sum += (double)(a[i] - b[i]) * (double)(a[i] - b[i]);
  return sqrt(sum);
}

double td_op_residual_gap(const struct td_op_fit *fit, const struct td_op_shape *shape) {
  const struct td_op_model *model = td_op_model(fit->op);
  float at[PLACE] = {0};
  double least = HUGE_VAL;
  if (!model->local || !fit->residual_count) return 0;
  place_local(model, shape, at);
  for (int32_t i = 0; i < fit->residual_count; i++) {
    double distance = family_distance(model, fit->places + (size_t)i * PLACE, at);
    if (distance < least) least = distance;
  }
  return least > 1 ? least - 1 : 0;
}

/* ---- those near a family ---- */

#define NEAR_FAMILY 1024
#define BINS 512
#define BINS_PER_UNIT 8.0

static int32_t bin_of(double distance) {
  return distance * BINS_PER_UNIT < BINS - 1 ? (int32_t)(distance * BINS_PER_UNIT) : BINS - 1;
}

/* The bin up to which NEAR_FAMILY points lie. */
static int32_t last_bin(const struct td_op_fit *fit, const float *at) {
  int32_t counts[BINS] = {0}, bin = 0, sum = 0;
  for (int32_t i = 0; i < fit->residual_count; i++) {
    counts[bin_of(family_distance(td_op_model(fit->op), fit->places + (size_t)i * PLACE, at))]++;
  }
  while (bin < BINS - 1 && (sum += counts[bin]) < NEAR_FAMILY) bin++;
  return bin;
}

td_status td_op_residual_family(const struct td_op_chip *chip, const struct td_op_fit *fit,
                                const struct td_op_shape *family, struct td_op_fit *out_near) {
  float at[PLACE];
  void *residuals, *places;
  place(chip, fit, family, 1, at);
  int32_t bin = last_bin(fit, at);
  TD_TRY(td_alloc((size_t)fit->residual_count + 1, sizeof *fit->residuals, &residuals));
  td_status status = td_alloc((size_t)fit->residual_count + 1, sizeof(float) * PLACE, &places);
  if (status) {
    free(residuals);
    return status;
  }
  *out_near = *fit;
  out_near->residuals = residuals;
  out_near->places = places;
  out_near->residual_count = 0;
  for (int32_t i = 0; i < fit->residual_count; i++) {
    const float *here = fit->places + (size_t)i * PLACE;
    if (bin_of(family_distance(td_op_model(fit->op), here, at)) > bin) continue;
    memcpy(out_near->places + (size_t)out_near->residual_count * PLACE, here, sizeof(float) * PLACE);
    out_near->residuals[out_near->residual_count++] = fit->residuals[i];
  }
  return TD_OK;
}
