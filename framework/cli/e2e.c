/* SPDX-License-Identifier: Apache-2.0 */
#include "e2e.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compare.h"
#include "tandem/base.h"

/* ---- price ---- */

enum { POSSIBLE, TOO_FAST }; /* groups */

static bool is_first(const struct td_e2e_table *table, int64_t row) {
  for (int64_t i = 0; i < row; i++) {
    if (!strcmp(table->rows[i].backend, table->rows[row].backend)) return false;
  }
  return true;
}

static td_status one_framework(const struct td_e2e_table *table, const struct cli_compared *rows, const char *backend) {
  void *memory;
  TD_TRY(td_alloc((size_t)table->row_count + 1, sizeof *rows, &memory));
  struct cli_compared *some = memory;
  for (int64_t i = 0; i < table->row_count; i++) {
    some[i] = rows[i];
    if (strcmp(table->rows[i].backend, backend)) some[i].group = -1;
  }
  td_status status = cli_compare(backend, some, table->row_count, -1);
  free(memory);
  return status;
}

static td_status summarise(const struct td_e2e_table *table, const struct cli_compared *rows) {
  int64_t fast = 0;
  for (int64_t i = 0; i < table->row_count; i++) {
    fast += rows[i].group == TOO_FAST;
    if (is_first(table, i)) TD_TRY(one_framework(table, rows, table->rows[i].backend));
  }
  TD_TRY(cli_compare("all", rows, table->row_count, -1));
  if (!fast) return TD_OK;
  TD_TRY(cli_compare("all that are possible", rows, table->row_count, POSSIBLE));
  printf("%" PRId64 " rows were measured faster than weights and caches can be read once at the memory's peak rate\n",
         fast);
  return TD_OK;
}

/* What the interval's note and the cache's size come to. */
static void print_price(const struct td_e2e_row *row, const struct td_e2e_price *price, const char *line, FILE *out) {
  const struct td_op_price *tpot = &price->tpot;
  bool fewer = price->running < row->batch;
  fprintf(out, "%s,%.6g,%.6g,%.6g,", line, tpot->seconds * 1e3, tpot->low * 1e3, tpot->high * 1e3);
  if (fewer) fprintf(out, "%" PRId64 " requests run at once", price->running);
  fprintf(out, "%s%s\n", fewer && tpot->note ? "; " : "", tpot->note ? tpot->note : "");
}

static td_status price_rows(struct td_e2e *e2e, const struct td_e2e_table *table, FILE *out,
                            struct cli_compared *rows) {
  int64_t without = 0;
  fprintf(out, "%s,predicted_ms,low_ms,high_ms,note\n", table->header);
  for (int64_t i = 0; i < table->row_count; i++) {
    const struct td_e2e_row *row = &table->rows[i];
    struct td_e2e_price price;
    td_status status = td_e2e_price(e2e, row, &price);
    rows[i].group = -1;
    if (status == TD_NO_MEMORY) return status;
    if (status) {
      if (row->aggregated && !without++) fprintf(stderr, "tandem: line %" PRId32 ": %s\n", row->line, td_error_text());
      fprintf(out, "%s,,,,no price: %s\n", table->lines[i], row->aggregated ? "see stderr" : "mode is not agg");
      continue;
    }
    print_price(row, &price, table->lines[i], out);
    if (isnan(row->tpot)) continue;
    rows[i] = (struct cli_compared){row->tpot, price.tpot.seconds, price.tpot.low, price.tpot.high,
                                    row->tpot < price.least ? TOO_FAST : POSSIBLE};
  }
  if (without) fprintf(stderr, "tandem: %" PRId64 " aggregated rows have no price; the first is above\n", without);
  return summarise(table, rows);
}

static td_status write_prices(struct td_e2e *e2e, const struct td_e2e_table *table, const char *output) {
  struct td_text part = {0};
  void *memory;
  TD_TRY(td_alloc((size_t)table->row_count + 1, sizeof(struct cli_compared), &memory));
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
