/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "lines.h"
#include "schema.h"
#include "tandem/export.h"
#include "walk.h"

/* ---- tables as stored ---- */

static char *write_field(char *to, const struct td_field *field, const char *row) {
  const char *from = row + field->offset;
  union {
    uint32_t u32;
    int32_t i32;
    uint64_t u64;
    int64_t i64;
    double f64;
  } value;
  if (field->type == TD_FIELD_TEXT) return td_lines_text(to, from, field->bytes);
  memcpy(&value, from, field->bytes);
  switch (field->type) {
    case TD_FIELD_U32:
      return td_lines_u64(to, value.u32);
    case TD_FIELD_I32:
      return td_lines_i64(to, value.i32);
    case TD_FIELD_U64:
      return td_lines_u64(to, value.u64);
    case TD_FIELD_I64:
      return td_lines_i64(to, value.i64);
    case TD_FIELD_F64:
    case TD_FIELD_TEXT:
      break;
  }
  return td_lines_real(to, value.f64);
}

/* Steps are expanded, so that they have neither. */
static bool is_left_out(const struct td_table_schema *table, const struct td_field *field) {
  return table == &td_schema[TD_TABLE_STEPS] && (!strcmp(field->name, "slope") || !strcmp(field->name, "count"));
}

static void write_names(const struct td_table_schema *table, struct td_lines *lines) {
  const char *comma = "";
  for (int32_t i = 0; i < table->field_count; i++) {
    if (is_left_out(table, &table->fields[i])) continue;
    lines->next = td_lines_bytes(lines->next, comma, strlen(comma));
    lines->next = td_lines_bytes(lines->next, table->fields[i].name, strlen(table->fields[i].name));
    comma = ",";
  }
  *lines->next++ = '\n';
}

static td_status write_row(const struct td_table_schema *table, const void *row, struct td_lines *lines) {
  TD_TRY(td_lines_room(lines));
  char *to = lines->next;
  for (int32_t i = 0; i < table->field_count; i++) {
    if (is_left_out(table, &table->fields[i])) continue;
    to = write_field(to, &table->fields[i], row);
    *to++ = ',';
  }
  to[-1] = '\n';
  lines->next = to;
  return TD_OK;
}

static td_status write_table(const struct td_trace *trace, enum td_table which, struct td_lines *lines) {
  const void *const tables[] = {trace->devices,    trace->requests,  trace->steps,   trace->tokens,
                                trace->residency,  trace->transfers, trace->changes, trace->orchestrators,
                                trace->tool_calls, trace->paces};
  const struct td_table_schema *table = &td_schema[which];
  write_names(table, lines);
  for (uint64_t i = 0; i < trace->count[which]; i++) {
    TD_TRY(write_row(table, (const char *)tables[which] + i * table->row_bytes, lines));
  }
  return TD_OK;
}

static td_status check_rows(const char *table, uint64_t rows) {
  if (rows <= TD_EXPORT_MAX_ROWS) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "export: found %" PRIu64 " rows of %s, expected at most %" PRIu64, rows, table,
                 TD_EXPORT_MAX_ROWS);
}

/* ---- steps ---- */

static td_status write_stretch(const struct td_row_step *row, struct td_lines *lines) {
  struct td_row_step step = *row;
  int64_t end = 0;
  for (uint64_t i = 0; i < row->count; i++) {
    int64_t next = td_step_end(row, i);
    step.step = row->step + i;
    step.index = row->index + i;
    step.start = row->start + end;
    step.duration = next - end;
    if (row->duration) step.energy = row->energy * ((double)step.duration / (double)row->duration);
    TD_TRY(write_row(&td_schema[TD_TABLE_STEPS], &step, lines));
    end = next;
  }
  return TD_OK;
}

static td_status write_steps(const struct td_trace *trace, struct td_lines *lines) {
  uint64_t rows = 0;
  for (uint64_t i = 0; i < trace->count[TD_TABLE_STEPS]; i++) rows += trace->steps[i].count; /* each below 2^31 */
  TD_TRY(check_rows("steps", rows));
  write_names(&td_schema[TD_TABLE_STEPS], lines);
  for (uint64_t i = 0; i < trace->count[TD_TABLE_STEPS]; i++) TD_TRY(write_stretch(&trace->steps[i], lines));
  return TD_OK;
}

/* ---- tokens ---- */

/* What the rows of a request begin with, and those of a span end with. Copied whole, as whole words: what is behind
 * their bytes is overwritten. */
struct around {
  char begin[24], end[24];
  size_t begin_bytes, end_bytes;
};

static char *copy_begin(char *to, const struct around *around) {
  memcpy(to, around->begin, sizeof around->begin);
  return to + around->begin_bytes;
}

static td_status write_executed(const struct td_row_token *row, const struct around *around, struct td_lines *lines) {
  TD_TRY(td_lines_room(lines));
  char *to = copy_begin(lines->next, around);
  to = td_lines_u64(to, row->index);
  *to++ = ',';
  to = td_lines_i64(to, row->id);
  *to++ = ',';
  to = td_lines_i64(to, row->time);
  *to++ = ',';
  to = td_lines_u64(to, row->device);
  *to++ = ',';
  to = td_lines_real(to, row->logprob);
  *to++ = ',';
  to = td_lines_real(to, row->gap);
  *to++ = '\n';
  lines->next = to;
  return TD_OK;
}

static td_status write_span(const struct td_span *span, struct around *around, struct td_lines *lines) {
  char *end = around->end;
  uint64_t index = span->index;
  if (span->executed) return write_executed(span->executed, around, lines);
  *end++ = ',';
  end = td_lines_u64(end, span->device);
  end = td_lines_bytes(end, ",,\n", 3);
  around->end_bytes = (size_t)(end - around->end);
  for (uint64_t i = 0; i < span->count; i++) {
    uint64_t time = (uint64_t)td_span_time(span, i);
    for (uint32_t t = 0; t < span->per_step; t++) {
      TD_TRY(td_lines_room(lines));
      char *to = copy_begin(lines->next, around);
      to = td_lines_u64(to, index++);
      to = td_lines_bytes(to, ",-1,", 4);
      to = td_lines_u64(to, time);
      memcpy(to, around->end, sizeof around->end);
      lines->next = to + around->end_bytes;
    }
  }
  return TD_OK;
}

static td_status write_request(struct td_walk *walk, struct td_lines *lines) {
  struct around around = {.begin_bytes = 0};
  struct td_span span;
  char *end = td_lines_u64(around.begin, walk->request);
  *end++ = ',';
  around.begin_bytes = (size_t)(end - around.begin);
  for (bool more = true; more;) {
    TD_TRY(td_walk_span(walk, &span, &more));
    if (more) TD_TRY(write_span(&span, &around, lines));
  }
  return TD_OK;
}

static td_status write_tokens(const struct td_trace *trace, struct td_lines *lines) {
  static const char names[] = "request,index,id,time,device,logprob,gap\n";
  struct td_walk walk = {.trace = trace};
  TD_TRY(check_rows("tokens", td_walk_most_tokens(trace)));
  lines->next = td_lines_bytes(lines->next, names, sizeof names - 1);
  for (;;) {
    bool more = false;
    TD_TRY(td_walk_next(&walk, &more));
    if (!more) return TD_OK;
    TD_TRY(write_request(&walk, lines));
  }
}

/* ---- all of them ---- */

static td_status unknown_table(const char *table) {
  struct td_text names = {0};
  for (int t = 0; t < TD_TABLE_COUNT; t++) td_text_printf(&names, "%s%s", t ? ", " : "", td_schema[t].name);
  td_status status = td_fail(TD_USAGE, "export: found no table \"%s\", expected one of %s", table, names.data);
  td_text_free(&names);
  return status;
}

static td_status write_csv(const struct td_trace *trace, const char *table, struct td_lines *lines) {
  for (int t = 0; t < TD_TABLE_COUNT; t++) {
    if (strcmp(td_schema[t].name, table)) continue;
    if (t == TD_TABLE_TOKENS) return write_tokens(trace, lines);
    if (t == TD_TABLE_STEPS) return write_steps(trace, lines);
    return write_table(trace, (enum td_table)t, lines);
  }
  return unknown_table(table);
}

td_status td_export_csv(const struct td_trace *trace, const char *table, FILE *out) {
  struct td_lines *lines = NULL;
  TD_TRY(td_alloc(1, sizeof *lines, (void **)&lines));
  td_lines_begin(lines, out);
  td_status status = write_csv(trace, table, lines);
  if (!status) status = td_lines_flush(lines);
  free(lines);
  return status;
}
