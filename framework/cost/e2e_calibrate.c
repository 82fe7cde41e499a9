/* SPDX-License-Identifier: Apache-2.0
 *
 * One scale per framework, from one part of the configurations, with its error on the other.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "e2e_model.h"
#include "op_calibrate.h"
#include "tandem/base.h"

struct pair {
  double measured, predicted;
  struct td_op_shape shape;
  bool held;
};

/* Rows of the same configuration stay on one side, whatever their measured times and versions. */
static bool is_held(const struct td_e2e_row *row, const struct td_calibration *how) {
  const int64_t numbers[] = {row->isl,      row->osl,      row->batch,         row->tensor,
                             row->pipeline, row->replicas, row->expert_tensor, row->expert};
  uint64_t hash = td_hash(TD_HASH_INIT ^ (uint64_t)how->seed, numbers, sizeof numbers);
  hash = td_hash(hash, row->model, strlen(row->model));
  hash = td_hash(hash, row->gemm, strlen(row->gemm));
  return td_random_unit((uint64_t)how->seed, hash, 0) < how->held_back;
}

static int by_ratio(const void *a, const void *b) {
  const struct pair *x = a, *y = b;
  double p = x->measured / x->predicted, q = y->measured / y->predicted;
  return p < q ? -1 : p > q;
}

/* The scale with the least mean |scale * predicted / measured - 1| over rows held back or not (`both`): the median of
 * measured / predicted, where a row counts as predicted / measured. `pairs` are in the order of their ratios. */
static double best_scale(const struct pair *pairs, int64_t count, bool both) {
  double all = 0, sum = 0;
  for (int64_t i = 0; i < count; i++) all += both || !pairs[i].held ? pairs[i].predicted / pairs[i].measured : 0;
  for (int64_t i = 0; i < count; i++) {
    if (!both && pairs[i].held) continue;
    sum += pairs[i].predicted / pairs[i].measured;
    if (sum >= all / 2) return pairs[i].measured / pairs[i].predicted;
  }
  return 1;
}

/* Of the rows held back with their scale, or of all rows as they are. */
static td_status errors_of(const struct pair *pairs, int64_t count, double scale, bool all, struct td_op_error *out) {
  void *memory;
  int64_t used = 0;
  TD_TRY(td_alloc((size_t)count + 1, sizeof(struct td_op_compared), &memory));
  struct td_op_compared *compared = memory;
  for (int64_t i = 0; i < count; i++) {
    if (!all && !pairs[i].held) continue;
    compared[used++] = (struct td_op_compared){pairs[i].measured, pairs[i].predicted * scale,
                                               td_op_class_of(td_op_model(TD_E2E), &pairs[i].shape)};
  }
  td_status status = td_op_errors(compared, used, 0, out);
  free(memory);
  return status;
}

static td_status price_rows(struct td_e2e *e2e, const struct td_calibration *how, const struct td_e2e_table *table,
                            const char *backend, struct pair *pairs, int64_t *out_count, int64_t *out_left_out) {
  int64_t count = 0, left = 0;
  for (int64_t i = 0; i < table->row_count; i++) {
    const struct td_e2e_row *row = &table->rows[i];
    struct td_e2e_price price;
    if (strcmp(row->backend, backend) || !row->aggregated) continue;
    td_status status = td_e2e_price_plain(e2e, row, &price);
    if (status == TD_NO_MEMORY) return status;
    left += status != TD_OK;
    if (status) continue;
    TD_TRY(td_op_row_check(row->line, "silicon_tpot_ms", row->tpot, price.tpot.seconds));
    pairs[count++] =
        (struct pair){row->tpot, price.tpot.seconds, {{row->isl, row->osl, row->batch}}, is_held(row, how)};
  }
  *out_count = count;
  *out_left_out = left;
  return TD_OK;
}

static void widen(struct td_op_fit *fit, const struct td_op_shape *shape, bool first) {
  for (int32_t i = 0; i < 3; i++) {
    if (first || shape->v[i] < fit->least.v[i]) fit->least.v[i] = shape->v[i];
    if (first || shape->v[i] > fit->most.v[i]) fit->most.v[i] = shape->v[i];
  }
}

/* What a device file may hold. */
static td_status check_scale(double scale, const char *backend) {
  const struct td_op_parameter *parameter = &td_op_model(TD_E2E)->parameters[TD_E2E_SCALE];
  if (scale >= parameter->low && scale <= parameter->high) return TD_OK;
  return td_fail(TD_CONFIG, "%.40s: found a scale of %g, expected %g..%g: times in ms, of this device", backend, scale,
                 parameter->low, parameter->high);
}

static int64_t count_held(const struct pair *pairs, int64_t count) {
  int64_t held = 0;
  for (int64_t i = 0; i < count; i++) held += pairs[i].held;
  return held;
}

static td_status check_pairs(const struct pair *pairs, int64_t count, const char *backend) {
  if (count < 4) {
    return td_fail(TD_CONFIG, "found %" PRId64 " rows of \"%.40s\" with a price, expected at least 4", count, backend);
  }
  if (count_held(pairs, count) < count) return TD_OK;
  return td_fail(TD_CONFIG,
                 "found all %" PRId64
                 " rows of \"%.40s\" held back, expected some to fit to (another --seed, a smaller --held-back)",
                 count, backend);
}

static td_status fit_pairs(const struct td_calibration *how, struct pair *pairs, int64_t count, const char *backend,
                           struct td_op_fit *fit, struct td_op_error *out_before) {
  struct td_op_error before[TD_OP_CLASSES];
  TD_TRY(check_pairs(pairs, count, backend));
  qsort(pairs, (size_t)count, sizeof *pairs, by_ratio);
  td_op_guesses(TD_E2E, fit);
  TD_TRY(td_format(fit->path, sizeof fit->path, "%s", backend));
  TD_TRY(errors_of(pairs, count, 1, true, before));
  TD_TRY(errors_of(pairs, count, best_scale(pairs, count, false), false, fit->errors));
  fit->parameters[TD_E2E_SCALE] = best_scale(pairs, count, true);
  TD_TRY(check_scale(fit->parameters[TD_E2E_SCALE], backend));
  fit->source = how->source;
  fit->command = how->command;
  fit->rows = count;
  fit->seed = how->seed;
  for (int64_t i = 0; i < count; i++) widen(fit, &pairs[i].shape, !i);
  *out_before = before[0];
  return TD_OK;
}

td_status td_e2e_calibrate(struct td_e2e *e2e, const struct td_calibration *how, const struct td_e2e_table *table,
                           const char *backend, struct td_op_fit *out_fit, struct td_op_error *out_before,
                           int64_t *out_left_out) {
  struct td_op_fit fit = {0};
  void *memory;
  int64_t count, left;
  TD_TRY(td_alloc((size_t)table->row_count + 1, sizeof(struct pair), &memory));
  td_status status = price_rows(e2e, how, table, backend, memory, &count, &left);
  if (!status) status = fit_pairs(how, memory, count, backend, &fit, out_before);
  free(memory);
  if (status) return status;
  *out_fit = fit;
  *out_left_out = left;
  return TD_OK;
}
