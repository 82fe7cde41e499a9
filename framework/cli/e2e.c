/* SPDX-License-Identifier: Apache-2.0 */
#include "e2e.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tandem/base.h"

/* ---- price ---- */

struct priced {
  double measured, predicted;
  bool is, too_fast; /* has both; was measured below what the memory's peak rate allows */
};

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

/* Mean and 90th percentile of |predicted / measured - 1|, and sum |predicted - measured| / sum measured. */
static void say(const char *what, const struct priced *rows, int64_t count, bool possible, double *off) {
  double sum = 0, missed = 0, measured = 0;
  int64_t used = 0;
  for (int64_t i = 0; i < count; i++) {
    if (!rows[i].is || (possible && rows[i].too_fast)) continue;
    off[used] = fabs(rows[i].predicted / rows[i].measured - 1);
    sum += off[used++];
    missed += fabs(rows[i].predicted - rows[i].measured);
    measured += rows[i].measured;
  }
  if (!used) return;
  qsort(off, (size_t)used, sizeof *off, ascending);
  printf("%-24s %6" PRId64 " rows  MAPE %6.2f%%  median %6.2f%%  p90 %6.2f%%  time-weighted %6.2f%%\n", what, used,
         100 * sum / (double)used, 100 * off[used / 2], 100 * off[(used - 1) * 9 / 10], 100 * missed / measured);
}

static td_status summarise(const struct td_e2e_table *table, const struct priced *rows) {
  void *memory;
  struct priced *some;
  TD_TRY(td_alloc((size_t)table->row_count + 1, sizeof(double) + sizeof *some, &memory));
  double *off = memory;
  some = (struct priced *)(off + table->row_count + 1);
  int64_t fast = 0;
  for (int64_t i = 0; i < table->row_count; i++) {
    bool first = true;
    for (int64_t j = 0; j < i && first; j++) first = strcmp(table->rows[j].backend, table->rows[i].backend) != 0;
    fast += rows[i].too_fast;
    if (!first) continue;
    for (int64_t j = 0; j < table->row_count; j++) {
      some[j] = rows[j];
      some[j].is = rows[j].is && !strcmp(table->rows[j].backend, table->rows[i].backend);
    }
    say(table->rows[i].backend, some, table->row_count, false, off);
  }
  say("all", rows, table->row_count, false, off);
  if (fast) {
    say("all that are possible", rows, table->row_count, true, off);
    printf("%" PRId64 " rows were measured faster than weights and caches can be read once at the memory's peak rate\n",
           fast);
  }
  free(memory);
  return TD_OK;
}

static td_status price_rows(struct td_e2e *e2e, const struct td_e2e_table *table, FILE *out, struct priced *rows) {
  int64_t without = 0, scored = 0;
  fprintf(out, "%s,predicted_ms,low_ms,high_ms,note\n", table->header);
  for (int64_t i = 0; i < table->row_count; i++) {
    const struct td_e2e_row *row = &table->rows[i];
    struct td_e2e_price price;
    td_status status = td_e2e_price(e2e, row, &price);
    if (status == TD_NO_MEMORY) return status;
    if (status) {
      if (row->aggregated && !without++) fprintf(stderr, "tandem: line %" PRId32 ": %s\n", row->line, td_error_text());
      fprintf(out, "%s,,,,no price: %s\n", table->lines[i], row->aggregated ? "see stderr" : "mode is not agg");
      continue;
    }
    const struct td_op_price *tpot = &price.tpot;
    fprintf(out, "%s,%.6g,%.6g,%.6g,%s%s\n", table->lines[i], tpot->seconds * 1e3, tpot->low * 1e3, tpot->high * 1e3,
            tpot->note ? tpot->note : "",
            price.running < row->batch
                ? (tpot->note ? "; the cache holds fewer requests" : "the cache holds fewer requests")
                : "");
    bool is = !isnan(row->tpot);
    rows[i] = (struct priced){row->tpot, tpot->seconds, is, is && row->tpot < price.least};
    scored += is;
  }
  if (without) fprintf(stderr, "tandem: %" PRId64 " aggregated rows have no price; the first is above\n", without);
  return scored ? summarise(table, rows) : TD_OK;
}

static td_status write_prices(struct td_e2e *e2e, const struct td_e2e_table *table, const char *output) {
  struct td_text part = {0};
  void *memory;
  TD_TRY(td_alloc((size_t)table->row_count + 1, sizeof(struct priced), &memory));
  td_text_printf(&part, "%s.part", output);
  FILE *out = part.failed ? NULL : fopen(part.data, "w");
  td_status status = out ? price_rows(e2e, table, out, memory) : td_fail(TD_IO, "%s.part: %s", output, strerror(errno));
  if (out && fclose(out) && !status) status = td_fail(TD_IO, "%s: %s", part.data, strerror(errno));
  if (!status && rename(part.data, output)) status = td_fail(TD_IO, "%s: %s", output, strerror(errno));
  if (out && status) unlink(part.data);
  td_text_free(&part);
  free(memory);
  return status;
}

td_status cli_price_e2e(const struct td_device_params *device, const char *models, const char *input,
                        const char *output) {
  struct td_e2e_table table;
  struct td_e2e *e2e;
  TD_TRY(td_e2e_table_read(input, false, &table));
  td_status status = td_e2e_open(device, models, &e2e);
  if (!status) {
    status = write_prices(e2e, &table, output);
    td_e2e_close(e2e);
  }
  td_e2e_table_free(&table);
  return status;
}

/* ---- calibrate ---- */

static td_status fit_backends(struct td_e2e *e2e, const struct td_calibration *how, const struct td_e2e_table *table,
                              const char *wanted, bool quiet, struct td_op_fit *fits, int32_t most,
                              int32_t *out_count) {
  int32_t count = 0;
  for (int64_t i = 0; i < table->row_count; i++) {
    const char *backend = table->rows[i].backend;
    struct td_op_error before;
    int64_t left;
    bool skip = (wanted && strcmp(wanted, backend)) || !table->rows[i].aggregated;
    for (int32_t j = 0; j < count && !skip; j++) skip = !strcmp(fits[j].path, backend);
    if (skip) continue;
    if (count == most) return td_fail(TD_CONFIG, "found over %" PRId32 " frameworks, expected fewer", most);
    TD_TRY(td_e2e_calibrate(e2e, how, table, backend, &fits[count++], &before, &left));
    if (quiet) continue;
    printf("%s: before, all rows: MAPE %.2f%%, p90 %.2f%%, time-weighted %.2f%%; %" PRId64 " rows without a price\n",
           backend, 100 * before.mape, 100 * before.p90, 100 * before.time_weighted, left);
  }
  *out_count = count;
  return count ? TD_OK : td_fail(TD_CONFIG, "found no aggregated row of that framework, expected some");
}

td_status cli_calibrate_e2e(const struct td_calibration *how, const char *models, const char *measured,
                            const char *backend, bool quiet, struct td_op_fit *fits, int32_t most, int32_t *out_count) {
  struct td_e2e_table table;
  struct td_e2e *e2e;
  TD_TRY(td_e2e_table_read(measured, true, &table));
  td_status status = td_e2e_open(how->device, models, &e2e);
  if (!status) {
    status = fit_backends(e2e, how, &table, backend, quiet, fits, most, out_count);
    if (status) status = td_fail_within(status, "%s", measured);
    td_e2e_close(e2e);
  }
  td_e2e_table_free(&table);
  return status;
}
