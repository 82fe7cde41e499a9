/* SPDX-License-Identifier: Apache-2.0
 *
 * CSV traces: which column is what, and a row's values.
 */
#include <inttypes.h>
#include <string.h>

#include "trace.h"

/* "a, b or c": the format's columns, the optional ones in brackets. */
static void list_columns(const struct format *format, struct td_text *out) {
  for (const struct column *column = format->columns; column->name; column++) {
    td_text_printf(out, column->needed ? "%s%s" : "%s[%s]", column == format->columns ? "" : ",", column->name);
  }
}

static td_status header_wrong(const struct trace *trace, const char *what, struct field found) {
  struct td_text text = {0};
  list_columns(trace->format, &text);
  td_status status =
      lines_fail(&trace->lines, "%s \"%.*s\", expected %s", what, (int)(found.bytes < 80 ? found.bytes : 80), found.at,
                 text.data ? text.data : trace->format->name);
  td_text_free(&text);
  return status;
}

/* What a trace without this column would not have: its time where it counts. */
static bool is_needed(const struct trace *trace, const struct column *column) {
  return column->needed || (column->kind == COLUMN_TIME && trace->uses_times);
}

static td_status name_column(struct trace *trace, int32_t index) {
  static const struct column further = {"", COLUMN_IGNORED, false};
  struct field name = trace->fields[index];
  const struct column *column = trace->format->columns;
  while (column->name && !field_is(name, column->name)) column++;
  if (!column->name && !trace->format->open) return header_wrong(trace, "found the column", name);
  trace->columns[index] = column->name ? column : &further;
  for (int32_t i = 0; i < index && column->name; i++) {
    if (trace->columns[i] == column) return header_wrong(trace, "found twice the column", name);
  }
  trace->timed |= column->name && column->kind == COLUMN_TIME;
  return TD_OK;
}

static td_status check_needed(const struct trace *trace) {
  for (const struct column *column = trace->format->columns; column->name; column++) {
    bool found = false;
    for (int32_t i = 0; i < trace->column_count; i++) found |= trace->columns[i] == column;
    if (found || !is_needed(trace, column)) continue;
    return header_wrong(trace, "found no column", (struct field){column->name, strlen(column->name)});
  }
  return TD_OK;
}

/* Without a header line the columns are the format's own, in its order, and the first line is a row. */
static td_status take_bare(struct trace *trace) {
  int32_t own = 0;
  for (; trace->format->columns[own].name; own++) trace->columns[own] = &trace->format->columns[own];
  trace->column_count = own;
  return lines_rewind(&trace->lines);
}

td_status csv_header(struct trace *trace) {
  char *line;
  size_t bytes;
  bool any;
  TD_TRY(lines_next(&trace->lines, &line, &bytes, &any));
  if (!any) return td_fail(TD_CORRUPT, "%s: found an empty file, expected a trace", trace->lines.path);
  const char *trouble = fields_cut(line, bytes, trace->fields, &trace->column_count);
  if (trouble) return lines_fail(&trace->lines, "%s", trouble);
  bool number = trace->fields[0].bytes && trace->fields[0].at[0] >= '0' && trace->fields[0].at[0] <= '9';
  if (trace->format->bare && number) return take_bare(trace);
  for (int32_t i = 0; i < trace->column_count; i++) TD_TRY(name_column(trace, i));
  return check_needed(trace);
}

static td_status read_time(const struct trace *trace, const char *name, struct field field, struct instant *out) {
  if (trace->format->stamps) {
    if (field_stamp(field, out)) return TD_OK;
    return trace_wrong(trace, name, field, "a time such as 2023-11-16 18:15:46.6805900");
  }
  if (field_time(field, trace->format->power, out)) return TD_OK;
  return trace_wrong(trace, name, field, "a time, not negative");
}

static td_status read_wait(const struct trace *trace, const char *name, struct field field, int64_t *out_ps) {
  struct instant wait;
  const struct instant zero = {0, 0};
  if (!field_time(field, 9, &wait) || !instant_since(zero, wait, out_ps)) {
    return trace_wrong(trace, name, field, "milliseconds, 0 to 9e9");
  }
  return TD_OK;
}

/* Classes of service from the most urgent on; without one a request is standard. */
static td_status read_class(const struct trace *trace, const char *name, struct field field, int32_t *out_tier) {
  static const char *const classes[] = {"critical", "standard", "batch", "sheddable", "background"};
  if (!field.bytes) field = (struct field){classes[1], strlen(classes[1])};
  for (int32_t i = 0; i < 5; i++) {
    *out_tier = i;
    if (field_is(field, classes[i])) return TD_OK;
  }
  return trace_wrong(trace, name, field, "critical, standard, batch, sheddable or background");
}

static td_status read_tokens(const struct trace *trace, const char *name, struct field field, bool zero, int64_t *out) {
  uint64_t value;
  if (field_count(field, ROW_TOKENS_MAX, &value) && (value || zero)) {
    *out = (int64_t)value;
    return TD_OK;
  }
  return trace_wrong(trace, name, field, zero ? "tokens, 0 to 10000000" : "tokens, 1 to 10000000");
}

static td_status read_output(const struct trace *trace, const char *name, struct field field, int64_t *out) {
  int format = trace->source->format;
  bool may_fail = format == TD_SOURCE_BURSTGPT || format == TD_SOURCE_BLIS;
  if (may_fail && !trace->source->skip_failed && field_is(field, "0")) {
    return trace_wrong(trace, name, field, "tokens, 1 to 10000000; skip_failed leaves out requests that failed");
  }
  return read_tokens(trace, name, field, trace->source->skip_failed, out);
}

/* A name's hash, never 0, which means none. */
static uint64_t key_of(struct field field) {
  return field.bytes ? td_hash(TD_HASH_INIT, field.at, field.bytes) | 1 : 0;
}

struct values {
  struct row *row;
  struct instant *time;
  int64_t server;
};

static td_status read_value(struct trace *trace, const struct column *column, struct field field,
                            struct values *values) {
  struct row *row = values->row;
  uint64_t turn;
  switch (column->kind) {
    case COLUMN_TIME:
      return read_time(trace, column->name, field, values->time);
    case COLUMN_PROMPT:
      return read_tokens(trace, column->name, field, false, &row->prompt);
    case COLUMN_OUTPUT:
      return read_output(trace, column->name, field, &row->output);
    case COLUMN_PREFIX:
      return read_tokens(trace, column->name, field, true, &row->shared);
    case COLUMN_SERVER:
      return read_tokens(trace, column->name, field, true, &values->server);
    case COLUMN_SESSION:
      row->key = key_of(field);
      return row->key ? TD_OK : trace_wrong(trace, column->name, field, "a session");
    case COLUMN_GROUP:
      row->key = key_of(field);
      return TD_OK;
    case COLUMN_TURN:
      if (!field_count(field, INT32_MAX, &turn)) return trace_wrong(trace, column->name, field, "0, 1, ...");
      row->turn = (int64_t)turn;
      return TD_OK;
    case COLUMN_WAIT:
      return read_wait(trace, column->name, field, &row->wait_ps);
    case COLUMN_CLASS:
      return read_class(trace, column->name, field, &row->tier);
    default:
      return TD_OK;
  }
}

/* The prompt as it was asked: a session's or a group's prefix comes before the row's own tokens; else the server's
 * count, where there is one, has what a chat format added. */
static td_status join_prompt(const struct trace *trace, struct values *values) {
  struct row *row = values->row;
  if (!row->key) row->shared = 0;
  if (!row->key && values->server) row->prompt = values->server;
  row->prompt += row->shared;
  if (row->prompt <= ROW_TOKENS_MAX) return TD_OK;
  return lines_fail(&trace->lines, "found a prompt of %" PRId64 " tokens with its prefix, expected at most %" PRId64,
                    row->prompt, ROW_TOKENS_MAX);
}

td_status csv_row(struct trace *trace, char *line, size_t bytes, struct row *out_row, struct instant *out_time) {
  int32_t count;
  struct values values = {out_row, out_time, 0};
  const char *trouble = fields_cut(line, bytes, trace->fields, &count);
  if (trouble) return lines_fail(&trace->lines, "%s", trouble);
  if (count != trace->column_count) {
    return lines_fail(&trace->lines, "found %d field%s, expected %d", count, count == 1 ? "" : "s",
                      trace->column_count);
  }
  for (int32_t i = 0; i < count; i++) {
    if (trace->columns[i]->kind == COLUMN_IGNORED) continue;
    TD_TRY(read_value(trace, trace->columns[i], trace->fields[i], &values));
  }
  return join_prompt(trace, &values);
}
