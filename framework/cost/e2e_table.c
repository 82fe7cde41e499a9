/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op_csv.h"
#include "tandem/base.h"
#include "tandem/e2e.h"

enum { MODEL, BACKEND, MODE, GEMM, MOE, ISL, OSL, BATCH, TP, PP, DP, MOE_TP, MOE_EP, RUNNING, TPOT, COLUMN_COUNT };
static const char *const column_names[COLUMN_COUNT] = {
    "model_path",  "backend",      "mode",           "gemm_quant_mode", "moe_quant_mode",    "isl",
    "osl",         "batch_size",   "tp_size",        "pp_size",         "attention_dp_size", "moe_tp_size",
    "moe_ep_size", "max_num_seqs", "silicon_tpot_ms"};

struct place {
  const char *file;
  int32_t line, count;
  int32_t at[COLUMN_COUNT]; /* -1: not there */
};

static td_status find_columns(struct place *place, char *header, bool measured) {
  char *names[TD_CSV_COLUMNS];
  TD_TRY(td_csv_names(place->file, header, names, &place->count));
  for (int i = 0; i < COLUMN_COUNT; i++) {
    bool optional = i == MODE || i == RUNNING || (i == TPOT && !measured);
    TD_TRY(td_csv_find(place->file, names, place->count, column_names[i], &place->at[i]));
    if (place->at[i] >= 0 || optional) continue;
    return td_fail(TD_CONFIG, "%s:1: found no column %s, expected it in the header", place->file, column_names[i]);
  }
  return TD_OK;
}

/* Empty or 0: `absent`. */
static td_status number(const struct place *place, char *const *values, int column, int64_t absent, int64_t most,
                        int64_t *out) {
  const char *text = values[place->at[column]];
  char *end;
  errno = 0;
  long long value = strtoll(text, &end, 10);
  bool none = absent >= 0 && (!*text || (end != text && !*end && !value));
  if (none) value = absent;
  if (!none && (errno || end == text || *end || value < 1 || value > most)) {
    return td_fail(TD_CONFIG, "%s:%" PRId32 ": %s: found \"%.40s\", expected a whole number 1..%" PRId64, place->file,
                   place->line, column_names[column], text, most);
  }
  *out = value;
  return TD_OK;
}

static td_status small_number(const struct place *place, char *const *values, int column, int64_t absent,
                              int32_t *out) {
  int64_t value;
  TD_TRY(number(place, values, column, absent, 4096, &value));
  *out = (int32_t)value;
  return TD_OK;
}

static td_status take_tpot(const struct place *place, char *const *values, double *out) {
  char *end;
  const char *text = place->at[TPOT] < 0 ? "" : values[place->at[TPOT]];
  double value = *text ? strtod(text, &end) : (double)NAN;
  if (*text && (*end || !(value > 0) || value > 1e9)) {
    return td_fail(TD_CONFIG, "%s:%" PRId32 ": silicon_tpot_ms: found \"%.40s\", expected a positive number of ms",
                   place->file, place->line, text);
  }
  *out = value * 1e-3;
  return TD_OK;
}

static td_status take_row(const struct place *place, char *text, bool measured, struct td_e2e_row *out) {
  char *values[TD_CSV_COLUMNS];
  int32_t count = td_csv_cut(text, values);
  if (count != place->count) {
    return td_fail(TD_CONFIG, "%s:%" PRId32 ": found %" PRId32 " values, expected %" PRId32 " as in the header",
                   place->file, place->line, count, place->count);
  }
  struct td_e2e_row row = {.model = values[place->at[MODEL]],
                           .backend = values[place->at[BACKEND]],
                           .gemm = values[place->at[GEMM]],
                           .moe = values[place->at[MOE]],
                           .line = place->line};
  row.aggregated = place->at[MODE] < 0 || !strcmp(values[place->at[MODE]], "agg");
  TD_TRY(take_tpot(place, values, &row.tpot));
  if (row.aggregated) {
    TD_TRY(number(place, values, ISL, -1, INT64_C(1) << 24, &row.isl));
    TD_TRY(number(place, values, OSL, -1, INT64_C(1) << 24, &row.osl));
    TD_TRY(number(place, values, BATCH, -1, 1 << 20, &row.batch));
    if (place->at[RUNNING] >= 0) TD_TRY(number(place, values, RUNNING, 0, 1 << 20, &row.running_most));
    TD_TRY(small_number(place, values, TP, 1, &row.tensor));
    TD_TRY(small_number(place, values, PP, 1, &row.pipeline));
    TD_TRY(small_number(place, values, DP, 1, &row.replicas));
    TD_TRY(small_number(place, values, MOE_TP, 0, &row.expert_tensor));
    TD_TRY(small_number(place, values, MOE_EP, 0, &row.expert));
  }
  if (measured && row.aggregated && isnan(row.tpot)) {
    return td_fail(TD_CONFIG, "%s:%" PRId32 ": silicon_tpot_ms: found nothing, expected a positive number of ms",
                   place->file, place->line);
  }
  *out = row;
  return TD_OK;
}

/* The line as it is in lines[], and cut into values in the copy of the text. */
static td_status take_rows(struct place *place, bool measured, struct td_e2e_table *table) {
  char *at = table->text + strlen(table->header) + 1;
  for (place->line = 2; *at; place->line++) {
    char *end = strchr(at, '\n'), *next = end ? end + 1 : at + strlen(at);
    if (end) *end = 0;
    char *copy = table->cut + (at - table->text);
    copy[strlen(at)] = 0;
    if (*at) {
      TD_TRY(take_row(place, copy, measured, &table->rows[table->row_count]));
      table->lines[table->row_count++] = at;
    }
    at = next;
  }
  return TD_OK;
}

static td_status fill(const char *file, bool measured, struct td_e2e_table *table) {
  struct place place = {.file = file, .line = 1};
  size_t bytes = 0, lines = 1;
  void *memory;
  TD_TRY(td_csv_text(file, &table->text, &bytes));
  if (strlen(table->text) != bytes) return td_fail(TD_CONFIG, "%s: found a NUL byte, expected a table of text", file);
  for (size_t i = 0, to = 0; i <= bytes; i++) { /* lines end in \n alone */
    lines += table->text[i] == '\n';
    if (table->text[i] != '\r') table->text[to++] = table->text[i];
  }
  char *end = strchr(table->text, '\n');
  if (!end) return td_fail(TD_CONFIG, "%s:1: found no line, expected a header and rows below it", file);
  TD_TRY(td_copy_text(table->text, &table->cut));
  *end = 0;
  table->cut[end - table->text] = 0;
  table->header = table->text;
  TD_TRY(find_columns(&place, table->cut, measured));
  TD_TRY(td_alloc(lines, sizeof *table->rows, &memory));
  table->rows = memory;
  TD_TRY(td_alloc(lines, sizeof *table->lines, &memory));
  table->lines = memory;
  TD_TRY(take_rows(&place, measured, table));
  return table->row_count ? TD_OK : td_fail(TD_CONFIG, "%s: found no rows, expected some below the header", file);
}

td_status td_e2e_table_read(const char *file, bool measured, struct td_e2e_table *out_table) {
  struct td_e2e_table table = {0};
  td_status status = fill(file, measured, &table);
  if (status) {
    td_e2e_table_free(&table);
    return status;
  }
  *out_table = table;
  return TD_OK;
}

void td_e2e_table_free(struct td_e2e_table *table) {
  free(table->rows);
  free(table->lines);
  free(table->text);
  free(table->cut);
  *table = (struct td_e2e_table){0};
}
