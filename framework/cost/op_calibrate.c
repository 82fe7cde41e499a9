/* SPDX-License-Identifier: Apache-2.0
 *
 * From a table of measurements to a fit whose error is known: some families of shapes are held back, a fit that never
 * sees them is compared with them, and then the same procedure takes all rows.
 */
#include "op_calibrate.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"

#define LEAST_ROWS 20
#define SEARCH_ROWS 1500
#define TRIAL_ROWS 60 /* of a fold */

/* A list of rows of the table; borrowed. */
struct rows {
  const struct td_op_row **items;
  int64_t count;
};

enum { STREAM_HELD = 1, STREAM_SAMPLE, STREAM_SEARCH, STREAM_TRIAL, STREAM_HELD_ROWS };

static uint64_t hash_fields(const struct td_op_row *row, int32_t fields) {
  return td_hash(TD_HASH_INIT, row->shape.v, sizeof *row->shape.v * (size_t)fields);
}

/* Which fields rows share that are held back together: so many leading ones (0: all), but for the one given (0: none).
 */
struct alike {
  int32_t fields, but;
};

/* A family's fate depends on its own numbers and the seed alone: the same for every path and table. */
static double fate(struct alike alike, const struct td_op_row *row, int64_t seed, uint64_t stream) {
  int32_t fields = alike.fields ? alike.fields : TD_SHAPE_FIELDS;
  struct td_op_row same = *row;
  if (alike.but) same.shape.v[alike.but] = 0;
  return td_random_unit((uint64_t)seed, stream, hash_fields(&same, fields));
}

static struct alike same_row(const struct td_calibration *how) {
  return (struct alike){0, td_op_model(how->op)->drawn_field};
}

static struct alike same_family(const struct td_calibration *how) {
  int32_t fields = how->held_as == TD_HELD_ROWS ? 0 : td_op_model(how->op)->family_fields;
  return fields ? (struct alike){fields, 0} : same_row(how);
}

/* The rows in a random order of their own, first `most` of them. */
struct drawn {
  uint64_t order;
  const struct td_op_row *row;
};

static int by_order(const void *a, const void *b) {
  const struct drawn *x = a, *y = b;
  if (x->order != y->order) return x->order < y->order ? -1 : 1;
  return x->row->line < y->row->line ? -1 : x->row->line > y->row->line;
}

static td_status draw(const struct rows *from, int64_t most, int64_t seed, uint64_t stream, struct rows *out) {
  void *memory;
  TD_TRY(td_alloc((size_t)from->count + 1, sizeof(struct drawn), &memory));
  struct drawn *drawn = memory;
  for (int64_t i = 0; i < from->count; i++) {
    uint64_t own = hash_fields(from->items[i], TD_SHAPE_FIELDS);
    drawn[i] = (struct drawn){td_random((uint64_t)seed, stream, own), from->items[i]};
  }
  qsort(drawn, (size_t)from->count, sizeof *drawn, by_order);
  td_status status = td_alloc((size_t)from->count + 1, sizeof *out->items, &memory);
  out->items = memory;
  out->count = from->count < most ? from->count : most;
  for (int64_t i = 0; i < out->count && !status; i++) out->items[i] = drawn[i].row;
  free(drawn);
  return status;
}

/* Parts rows by the fate of their families, which is in 0..1. */
static td_status part(struct alike alike, const struct rows *from, double from_share, double to_share, int64_t seed,
                      uint64_t stream, struct rows *out_kept, struct rows *out_held) {
  void *kept, *held;
  TD_TRY(td_alloc((size_t)from->count + 1, sizeof *from->items, &kept));
  td_status status = td_alloc((size_t)from->count + 1, sizeof *from->items, &held);
  if (status) {
    free(kept);
    return status;
  }
  *out_kept = (struct rows){kept, 0};
  *out_held = (struct rows){held, 0};
  for (int64_t i = 0; i < from->count; i++) {
    double at = fate(alike, from->items[i], seed, stream);
    struct rows *to = at >= from_share && at < to_share ? out_held : out_kept;
    to->items[to->count++] = from->items[i];
  }
  return TD_OK;
}

/* ---- residuals ---- */

static int by_shape(const void *a, const void *b) {
  const struct td_op_residual *x = a, *y = b;
  for (int32_t i = 0; i < TD_SHAPE_FIELDS; i++) {
    if (x->shape.v[i] != y->shape.v[i]) return x->shape.v[i] < y->shape.v[i] ? -1 : 1;
  }
  return 0;
}

/* In whole thousandths, as the device file keeps them, so that what is written predicts what was compared. */
static td_status take_residuals(const struct td_op_chip *chip, const struct rows *rows, struct td_op_fit *fit) {
  void *memory;
  td_op_fit_free(fit);
  TD_TRY(td_alloc((size_t)rows->count + 1, sizeof *fit->residuals, &memory));
  fit->residuals = memory;
  for (int64_t i = 0; i < rows->count; i++) {
    const struct td_op_row *row = rows->items[i];
    double ratio = row->seconds / td_op_model(fit->op)->seconds(chip, fit->parameters, row->shape.v);
    double thousandths = round(log(ratio) * 1000) + 0.0; /* no -0 */
    fit->residuals[fit->residual_count++] = (struct td_op_residual){row->shape, thousandths / 1000};
  }
  qsort(fit->residuals, (size_t)fit->residual_count, sizeof *fit->residuals, by_shape);
  return td_op_residual_prepare(chip, fit);
}

static double mean_off(const struct td_op_chip *chip, const struct td_op_fit *fit, const struct rows *rows) {
  double sum = 0;
  for (int64_t i = 0; i < rows->count; i++) {
    sum += fabs(log(rows->items[i]->seconds / td_op_seconds(chip, fit, &rows->items[i]->shape)));
  }
  return rows->count ? sum / (double)rows->count : 0;
}

static const double lengths[] = {0.3, 1, 3, 8}, noises[] = {0.03, 0.1, 0.5};
#define LENGTHS 4
#define NOISES 3
#define FOLDS 5

/* Adds what every setting misses by on one fold of the families (or of single rows), predicted from the others. */
static td_status try_fold(const struct td_calibration *how, const struct td_op_chip *chip, const struct rows *rows,
                          int32_t fold, struct alike alike, struct td_op_fit *fit, double *sums) {
  struct rows kept = {0}, held = {0}, trial = {0};
  TD_TRY(part(alike, rows, (double)fold / FOLDS, (double)(fold + 1) / FOLDS, how->seed, STREAM_TRIAL, &kept, &held));
  td_status status = draw(&held, TRIAL_ROWS, how->seed, STREAM_TRIAL, &trial);
  if (!status) status = take_residuals(chip, &kept, fit);
  for (int32_t i = 0; i < LENGTHS * NOISES && !status && kept.count; i++) {
    fit->length = lengths[i / NOISES];
    fit->noise = noises[i % NOISES];
    sums[i] += mean_off(chip, fit, &trial) * (double)trial.count;
  }
  free(kept.items);
  free(held.items);
  free(trial.items);
  return status;
}

/* Length and noise: those with which every fifth of the families, and every fifth of the rows, is predicted best from
 * the rest: shapes to come are of both kinds. */
static td_status choose_settings(const struct td_calibration *how, const struct td_op_chip *chip,
                                 const struct rows *rows, struct td_op_fit *fit) {
  double sums[LENGTHS * NOISES] = {0};
  int32_t best = 0;
  for (int32_t fold = 0; fold < FOLDS; fold++) {
    TD_TRY(try_fold(how, chip, rows, fold, same_family(how), fit, sums));
    if (same_family(how).fields) TD_TRY(try_fold(how, chip, rows, fold, same_row(how), fit, sums));
  }
  for (int32_t i = 1; i < LENGTHS * NOISES; i++) {
    if (sums[i] < sums[best]) best = i;
  }
  fit->length = lengths[best / NOISES];
  fit->noise = noises[best % NOISES];
  return TD_OK;
}

/* ---- fits ---- */

static void note_ranges(const struct rows *rows, struct td_op_fit *fit) {
  fit->least = fit->most = rows->items[0]->shape;
  for (int64_t i = 1; i < rows->count; i++) {
    for (int32_t f = 0; f < TD_SHAPE_FIELDS; f++) {
      int64_t v = rows->items[i]->shape.v[f];
      if (v < fit->least.v[f]) fit->least.v[f] = v;
      if (v > fit->most.v[f]) fit->most.v[f] = v;
    }
  }
}

static td_status check_rows(const struct td_op_chip *chip, const struct td_op_fit *fit, const struct rows *rows) {
  for (int64_t i = 0; i < rows->count; i++) {
    const struct td_op_row *row = rows->items[i];
    TD_TRY(td_op_row_check(row->line, "latency_ms", row->seconds, td_op_seconds(chip, fit, &row->shape)));
  }
  return TD_OK;
}

static td_status fit_rows(const struct td_calibration *how, const struct td_op_chip *chip, const struct rows *rows,
                          struct td_op_fit *fit) {
  struct rows search = {0}, points = {0};
  TD_TRY(draw(rows, SEARCH_ROWS, how->seed, STREAM_SEARCH, &search));
  td_status status = td_op_minimise(chip, search.items, search.count, fit);
  free(search.items);
  note_ranges(rows, fit);
  fit->rows = rows->count;
  if (!status) status = check_rows(chip, fit, rows);
  if (status || how->analytic) return status;
  status = draw(rows, TD_OP_RESIDUALS_MAX, how->seed, STREAM_SAMPLE, &points);
  if (!status) status = choose_settings(how, chip, &points, fit);
  if (!status) status = take_residuals(chip, &points, fit);
  free(points.items);
  return status;
}

static int ascending(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static int by_m(const void *a, const void *b) {
  const struct td_op_row *x = *(const struct td_op_row *const *)a, *y = *(const struct td_op_row *const *)b;
  if (x->shape.v[2] != y->shape.v[2]) return x->shape.v[2] < y->shape.v[2] ? -1 : 1;
  uint64_t i = hash_fields(x, 2), j = hash_fields(y, 2);
  return i < j ? -1 : i > j;
}

/* Sums of four products of one m, drawn without putting back; adds them to `compared`. */
static td_status compare_sums(const struct td_op_chip *chip, const struct td_op_fit *fit, const struct rows *held,
                              struct td_op_compared *compared, int64_t *count) {
  void *memory;
  TD_TRY(td_alloc((size_t)held->count + 1, sizeof *held->items, &memory));
  const struct td_op_row **rows = memory;
  memcpy(memory, held->items, sizeof *rows * (size_t)held->count);
  qsort(memory, (size_t)held->count, sizeof *rows, by_m);
  for (int64_t i = 0; i + 4 <= held->count; i++) {
    if (rows[i]->shape.v[2] != rows[i + 3]->shape.v[2]) continue;
    struct td_op_compared *sum = &compared[(*count)++];
    *sum = (struct td_op_compared){.class_index = TD_OP_CLASS_SUMS};
    for (int64_t j = i; j < i + 4; j++) {
      sum->measured += rows[j]->seconds;
      sum->predicted += td_op_seconds(chip, fit, &rows[j]->shape);
    }
    i += 3;
  }
  free(memory);
  return TD_OK;
}

/* Among rows, the first `fields` of whose shapes say which family they are of; 0: there are none. */
static td_status count_families(int32_t fields, const struct rows *rows, int64_t *out_count) {
  void *memory;
  *out_count = 0;
  if (!fields) return TD_OK;
  TD_TRY(td_alloc((size_t)rows->count + 1, sizeof(uint64_t), &memory));
  uint64_t *hashes = memory;
  for (int64_t i = 0; i < rows->count; i++) hashes[i] = hash_fields(rows->items[i], fields);
  qsort(memory, (size_t)rows->count, sizeof *hashes, ascending);
  for (int64_t i = 0; i < rows->count; i++) *out_count += !i || hashes[i] != hashes[i - 1];
  free(memory);
  return TD_OK;
}

static td_status compare(const struct td_op_chip *chip, const struct td_op_fit *fit, const struct rows *held,
                         int64_t families, struct td_op_error *out_errors) {
  const struct td_op_model *model = td_op_model(fit->op);
  void *memory;
  TD_TRY(check_rows(chip, fit, held));
  TD_TRY(td_alloc(2 * (size_t)held->count + 1, sizeof(struct td_op_compared), &memory));
  struct td_op_compared *compared = memory;
  int64_t count = held->count;
  for (int64_t i = 0; i < held->count; i++) {
    const struct td_op_row *row = held->items[i];
    compared[i] = (struct td_op_compared){row->seconds, td_op_seconds(chip, fit, &row->shape),
                                          td_op_class_of(model, &row->shape)};
  }
  td_status status = fit->op == TD_GEMM ? compare_sums(chip, fit, held, compared, &count) : TD_OK;
  if (!status) status = td_op_errors(compared, count, families, out_errors);
  free(compared);
  return status;
}

/* Of the rows kept beside families, half the share again, of single rows. */
static td_status hold_rows(const struct td_calibration *how, struct rows *kept, struct rows *held) {
  struct rows rest = {0}, more = {0};
  TD_TRY(part(same_row(how), kept, 0, how->held_back / 2, how->seed, STREAM_HELD_ROWS, &rest, &more));
  void *memory;
  td_status status = td_alloc((size_t)(held->count + more.count) + 1, sizeof *held->items, &memory);
  if (!status) {
    const struct td_op_row **items = memory;
    memcpy(items, held->items, sizeof *items * (size_t)held->count);
    memcpy(items + held->count, more.items, sizeof *items * (size_t)more.count);
    free(held->items);
    free(kept->items);
    *held = (struct rows){items, held->count + more.count};
    *kept = rest;
  }
  if (status) free(rest.items);
  free(more.items);
  return status;
}

static td_status hold_back(const struct td_calibration *how, const struct rows *all, struct rows *kept,
                           struct rows *held, int64_t *out_families) {
  TD_TRY(part(same_family(how), all, 0, how->held_back, how->seed, STREAM_HELD, kept, held));
  TD_TRY(count_families(same_family(how).fields, held, out_families));
  return how->held_as == TD_HELD_BOTH ? hold_rows(how, kept, held) : TD_OK;
}

/* The error first, from a fit of its own; then the fit to keep. */
static td_status fit_both(const struct td_calibration *how, const struct td_op_chip *chip, const struct rows *all,
                          struct td_op_fit *fit) {
  struct rows kept = {0}, held = {0}, sample = {0};
  struct td_op_fit blind = *fit;
  int64_t families = 0;
  td_status status = hold_back(how, all, &kept, &held, &families);
  if (!status) status = draw(&kept, how->rows ? how->rows : kept.count, how->seed, STREAM_SAMPLE, &sample);
  if (!status && sample.count < LEAST_ROWS) {
    status = td_fail(TD_CONFIG, "found %" PRId64 " rows to fit to beside %" PRId64 " held back, expected at least %d",
                     sample.count, held.count, LEAST_ROWS);
  }
  if (!status) status = fit_rows(how, chip, &sample, &blind);
  if (!status) status = compare(chip, &blind, &held, families, fit->errors);
  if (!status) status = fit_rows(how, chip, how->rows ? &sample : all, fit);
  td_op_fit_free(&blind);
  free(kept.items);
  free(held.items);
  free(sample.items);
  return status;
}

td_status td_op_calibrate(const struct td_calibration *how, const struct td_op_table *table, int32_t path,
                          struct td_op_fit *out_fit) {
  struct td_op_fit fit = {
      .op = how->op, .source = how->source, .command = how->command, .seed = how->seed, .length = 1, .noise = 1};
  struct td_op_chip chip;
  void *memory;
  TD_TRY(td_format(fit.path, sizeof fit.path, "%s", table->path_names[path]));
  TD_TRY(td_alloc((size_t)table->row_count, sizeof(struct td_op_row *), &memory));
  struct rows all = {memory, 0};
  for (int64_t i = 0; i < table->row_count; i++) {
    if (table->rows[i].path == path) all.items[all.count++] = &table->rows[i];
  }
  td_status status = td_op_chip_of(how->device, how->op, fit.path, &chip);
  if (status) status = td_fail_within(status, "line %" PRId32, all.items[0]->line);
  if (!status) status = fit_both(how, &chip, &all, &fit);
  free(all.items);
  if (status) {
    td_op_fit_free(&fit);
    return td_fail_within(status, "%s %s", td_operator_name(how->op), fit.path);
  }
  *out_fit = fit;
  return TD_OK;
}
