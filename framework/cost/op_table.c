/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables of measurements: CSV files with a header, plain or gzip, whose columns are found by name.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op_csv.h"
#include "op_model.h"
#include "tandem/base.h"

/* ---- columns ---- */

struct columns {
  const char *file;
  int32_t field[TD_SHAPE_FIELDS]; /* which column of the file holds a field */
  int32_t path[2];                /* of the path's one or two parts; -1 none */
  int32_t seconds;                /* latency_ms; -1 none */
  int32_t count;
  bool one_shot; /* a framework's own all-reduce: allreduce_dtype and message_elements, and no op_name */
};
#define ONE_SHOT "one_shot_all_reduce"

static td_status need(const struct columns *columns, char *const *names, int32_t count, const char *name,
                      int32_t *out) {
  TD_TRY(td_csv_find(columns->file, names, count, name, out));
  if (*out >= 0) return TD_OK;
  return td_fail(TD_CONFIG, "%s:1: found no column %s, expected it in the header", columns->file, name);
}

static const char *const path_columns[TD_OPERATOR_COUNT][2] = {{"gemm_dtype", NULL},
                                                               {"attn_dtype", "kv_cache_dtype"},
                                                               {"attn_dtype", "kv_cache_dtype"},
                                                               {"moe_dtype", NULL},
                                                               {"op_name", NULL},
                                                               {"backend", NULL}};

static const char *column_of(const struct columns *columns, const char *field) {
  if (!strcmp(field, "step + 1")) return "step";
  if (columns->one_shot && !strcmp(field, "dtype")) return "allreduce_dtype";
  if (columns->one_shot && !strcmp(field, "bytes")) return "message_elements";
  return field;
}

static td_status find_columns(const char *file, enum td_operator op, bool measured, char *header, struct columns *out) {
  const struct td_op_model *model = td_op_model(op);
  char *names[TD_CSV_COLUMNS];
  struct columns columns = {.file = file, .path = {-1, -1}};
  int32_t own_type;
  TD_TRY(td_csv_names(file, header, names, &columns.count));
  TD_TRY(td_csv_find(file, names, columns.count, "allreduce_dtype", &own_type));
  columns.one_shot = op == TD_COLLECTIVE && own_type >= 0;
  for (int32_t i = 0; i < model->field_count; i++) {
    TD_TRY(need(&columns, names, columns.count, column_of(&columns, model->fields[i].name), &columns.field[i]));
  }
  for (int32_t i = 0; i < 2 && !columns.one_shot; i++) {
    if (path_columns[op][i]) TD_TRY(need(&columns, names, columns.count, path_columns[op][i], &columns.path[i]));
  }
  TD_TRY(td_csv_find(file, names, columns.count, "latency_ms", &columns.seconds));
  if (measured && columns.seconds < 0) TD_TRY(need(&columns, names, columns.count, "latency_ms", &columns.seconds));
  *out = columns;
  return TD_OK;
}

/* ---- rows ---- */

static td_status whole(const struct columns *columns, int32_t line, const char *name, const char *text, int64_t *out) {
  char *end;
  errno = 0;
  long long value = strtoll(text, &end, 10);
  if (errno || end == text || *end) {
    return td_fail(TD_CONFIG, "%s:%" PRId32 ": %s: found \"%.40s\", expected a whole number", columns->file, line, name,
                   text);
  }
  *out = value;
  return TD_OK;
}

/* The two fields that are words in the tables. */
static td_status distribution(const struct columns *columns, int32_t line, const char *text, int64_t *out) {
  char *end;
  if (!strcmp(text, "balanced")) {
    *out = 0;
    return TD_OK;
  }
  double exponent = strncmp(text, "power_law_", 10) ? NAN : strtod(text + 10, &end);
  if (!(exponent >= 0.001) || exponent > 100 || *end) { /* kept in thousandths, of which 0 is balanced */
    return td_fail(TD_CONFIG, "%s:%" PRId32 ": distribution: found \"%.40s\", expected balanced or power_law_EXPONENT",
                   columns->file, line, text);
  }
  *out = (int64_t)(exponent * 1000 + 0.5);
  return TD_OK;
}

/* Bytes of an element: of a collective, the type matters for sums only. */
static td_status width(const struct columns *columns, int32_t line, const char *text, int64_t *out) {
  static const struct {
    const char *name;
    int64_t bytes;
  } types[] = {{"half", 2}, {"float16", 2}, {"bfloat16", 2}, {"int8", 1}, {"fp8", 1}, {"float", 4}, {"float32", 4}};
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    if (strcmp(types[i].name, text)) continue;
    *out = types[i].bytes;
    return TD_OK;
  }
  return td_fail(TD_CONFIG, "%s:%" PRId32 ": dtype: found \"%.40s\", expected half, bfloat16, int8, fp8 or float",
                 columns->file, line, text);
}

static td_status field_value(const struct columns *columns, int32_t line, const char *name, const char *text,
                             int64_t *out) {
  if (!strcmp(name, "distribution")) return distribution(columns, line, text, out);
  if (!strcmp(name, "dtype")) return width(columns, line, text, out);
  if (!strcmp(name, "kernel_source")) {
    *out = strstr(text, "nongated") ? 2 : 3;
    return TD_OK;
  }
  bool next = !strcmp(name, "step + 1");
  TD_TRY(whole(columns, line, next ? "step" : name, text, out));
  if (next && *out < INT64_MAX) *out += 1;
  return TD_OK;
}

static td_status latency(const struct columns *columns, int32_t line, const char *text, double *out) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || *end || !(value > 0) || value > 1e9) {
    return td_fail(TD_CONFIG, "%s:%" PRId32 ": latency_ms: found \"%.40s\", expected a positive number of milliseconds",
                   columns->file, line, text);
  }
  *out = value * 1e-3;
  return TD_OK;
}

static td_status wrong_part(const struct columns *columns, int32_t line, const char *part) {
  return td_fail(TD_CONFIG, "%s:%" PRId32 ": found \"%.40s\", expected the name of an element type or collective",
                 columns->file, line, part);
}

/* A path's part: what device files can quote, and a slash cannot be taken for two parts. */
static td_status check_part(const struct columns *columns, int32_t line, const char *part) {
  return *part && !strpbrk(part, "/\"\\") ? TD_OK : wrong_part(columns, line, part);
}

static td_status path_index(const struct columns *columns, int32_t line, char *const *values, struct td_op_table *table,
                            int32_t *out) {
  char name[TD_PATH_BYTES];
  const char *first = columns->one_shot ? ONE_SHOT : values[columns->path[0]],
             *second = columns->path[1] < 0 ? "" : values[columns->path[1]];
  TD_TRY(check_part(columns, line, first));
  if (columns->path[1] >= 0) TD_TRY(check_part(columns, line, second));
  int used = snprintf(name, sizeof name, "%s%s%s", first, *second ? "/" : "", second);
  if (used >= (int)sizeof name) return wrong_part(columns, line, first);
  for (int32_t i = 0; i < table->path_count; i++) {
    if (strcmp(table->path_names[i], name)) continue;
    *out = i;
    return TD_OK;
  }
  if (table->path_count == (int32_t)(sizeof table->path_names / sizeof *table->path_names)) {
    return td_fail(TD_CONFIG, "%s:%" PRId32 ": found a 17th path \"%s\", expected at most 16 in a table", columns->file,
                   line, name);
  }
  char *copy;
  TD_TRY(td_copy_text(name, &copy));
  *out = table->path_count;
  table->path_names[table->path_count++] = copy;
  return TD_OK;
}

static td_status take_row(enum td_operator op, const struct columns *columns, int32_t line, char *text,
                          struct td_op_table *table, struct td_op_row *out) {
  const struct td_op_model *model = td_op_model(op);
  char *values[TD_CSV_COLUMNS];
  struct td_op_row row = {.seconds = (double)NAN, .line = line};
  int32_t count = td_csv_cut(text, values);
  if (count != columns->count) {
    return td_fail(TD_CONFIG, "%s:%" PRId32 ": found %" PRId32 " values, expected %" PRId32 " as in the header",
                   columns->file, line, count, columns->count);
  }
  for (int32_t i = 0; i < model->field_count; i++) {
    TD_TRY(field_value(columns, line, model->fields[i].name, values[columns->field[i]], &row.shape.v[i]));
  }
  if (columns->one_shot && row.shape.v[2] > 0 && row.shape.v[2] <= INT64_MAX / 8) row.shape.v[2] *= row.shape.v[0];
  td_status status = td_op_shape_check(op, &row.shape);
  if (status) return td_fail_within(TD_CONFIG, "%s:%" PRId32, columns->file, line);
  if (columns->seconds >= 0) TD_TRY(latency(columns, line, values[columns->seconds], &row.seconds));
  TD_TRY(path_index(columns, line, values, table, &row.path));
  *out = row;
  return TD_OK;
}

/* ---- the table ---- */

static int64_t count_lines(const char *text, size_t bytes) {
  int64_t lines = 1;
  for (size_t i = 0; i < bytes; i++) lines += text[i] == '\n';
  return lines;
}

#define LINE_BYTES 4096

static td_status too_long(const char *file, int32_t line, size_t bytes) {
  return td_fail(TD_CONFIG, "%s:%" PRId32 ": found a line of %zu bytes, expected at most %d", file, line, bytes,
                 LINE_BYTES - 1);
}

/* The lines of the file, and a copy of each for the rows to be cut from. */
static td_status take_rows(enum td_operator op, const struct columns *columns, char *at, struct td_op_table *table) {
  char copy[LINE_BYTES];
  for (int32_t line = 2; *at; line++) {
    char *end = strchr(at, '\n');
    char *next = end ? end + 1 : at + strlen(at);
    if (end) *end = 0;
    size_t bytes = strlen(at);
    if (bytes && at[bytes - 1] == '\r') at[--bytes] = 0;
    if (bytes >= sizeof copy) return too_long(columns->file, line, bytes);
    if (bytes) {
      memcpy(copy, at, bytes + 1);
      TD_TRY(take_row(op, columns, line, copy, table, &table->rows[table->row_count]));
      table->lines[table->row_count++] = at;
    }
    at = next;
  }
  return TD_OK;
}

static int by_shape(const void *a, const void *b) {
  const struct td_op_row *x = *(const struct td_op_row *const *)a, *y = *(const struct td_op_row *const *)b;
  if (x->path != y->path) return x->path < y->path ? -1 : 1;
  for (int32_t i = 0; i < TD_SHAPE_FIELDS; i++) {
    if (x->shape.v[i] != y->shape.v[i]) return x->shape.v[i] < y->shape.v[i] ? -1 : 1;
  }
  return x->line < y->line ? -1 : x->line > y->line;
}

static td_status check_once(const char *file, const struct td_op_table *table) {
  void *memory;
  TD_TRY(td_alloc((size_t)table->row_count + 1, sizeof(struct td_op_row *), &memory));
  const struct td_op_row **sorted = memory;
  td_status status = TD_OK;
  for (int64_t i = 0; i < table->row_count; i++) sorted[i] = &table->rows[i];
  qsort(sorted, (size_t)table->row_count, sizeof *sorted, by_shape);
  for (int64_t i = 1; i < table->row_count && !status; i++) {
    const struct td_op_row *a = sorted[i - 1], *b = sorted[i];
    if (a->path != b->path || memcmp(&a->shape, &b->shape, sizeof a->shape)) continue;
    status = td_fail(TD_CONFIG,
                     "%s:%" PRId32 ": found the same shape and path as in line %" PRId32
                     ", expected each once (of repeats, keep their mean; of frameworks, one)",
                     file, b->line, a->line);
  }
  free(sorted);
  return status;
}

static td_status fill(const char *file, enum td_operator op, bool measured, struct td_op_table *table) {
  size_t bytes = 0;
  struct columns columns;
  void *rows, *lines;
  char header[LINE_BYTES];
  TD_TRY(td_csv_text(file, &table->text, &bytes));
  if (strlen(table->text) != bytes) return td_fail(TD_CONFIG, "%s: found a NUL byte, expected a table of text", file);
  char *end = strchr(table->text, '\n');
  if (!end) return td_fail(TD_CONFIG, "%s:1: found no line, expected a header and rows below it", file);
  *end = 0;
  if (end > table->text && end[-1] == '\r') end[-1] = 0;
  table->header = table->text;
  if (strlen(table->header) >= sizeof header) return too_long(file, 1, strlen(table->header));
  memcpy(header, table->header, strlen(table->header) + 1);
  TD_TRY(find_columns(file, op, measured, header, &columns));
  int64_t most = count_lines(end + 1, bytes - (size_t)(end + 1 - table->text));
  TD_TRY(td_alloc((size_t)most, sizeof *table->rows, &rows));
  table->rows = rows;
  TD_TRY(td_alloc((size_t)most, sizeof *table->lines, &lines));
  table->lines = lines;
  TD_TRY(take_rows(op, &columns, end + 1, table));
  if (!table->row_count) return td_fail(TD_CONFIG, "%s: found no rows, expected some below the header", file);
  return measured ? check_once(file, table) : TD_OK;
}

td_status td_op_table_read(const char *file, enum td_operator op, bool measured, struct td_op_table *out_table) {
  struct td_op_table table = {0};
  td_status status = fill(file, op, measured, &table);
  if (status) {
    td_op_table_free(&table);
    return status;
  }
  *out_table = table;
  return TD_OK;
}

void td_op_table_free(struct td_op_table *table) {
  for (int32_t i = 0; i < table->path_count; i++) free((void *)(uintptr_t)table->path_names[i]);
  free(table->rows);
  free(table->lines);
  free(table->text);
  *table = (struct td_op_table){0};
}
