/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem show` of several traces: a row per fact, a column per trace.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/metrics.h"
#include "values.h"

enum { WIDEST = 40 }; /* columns of a title: none is longer */

/* ---- cells ---- */

typedef void cell_writer(const struct td_column *column, struct td_text *cell);

static void write_path(const struct td_column *column, struct td_text *cell) {
  td_text_printf(cell, "%s", column->path);
}

static void write_experiment(const struct td_column *column, struct td_text *cell) {
  td_text_printf(cell, "%s", column->trace->experiment);
}

static void write_pace(const struct td_column *column, struct td_text *cell) {
  td_text_printf(cell, "%s", column->trace->pace);
}

static void write_policy(const struct td_column *column, struct td_text *cell) {
  td_text_printf(cell, "%s", column->trace->policy);
}

static void write_end(const struct td_column *column, struct td_text *cell) {
  td_text_printf(cell, "%s", column->trace->complete ? "complete" : "INCOMPLETE");
}

/* "h100_sxm (modelled)", "cpu (executed)": what executed is this machine, whatever file it was priced by. Where the
 * times are not what the device does, both. */
static void describe(const struct td_column *column, uint64_t device, struct td_text *out) {
  const struct td_row_device *row = &column->trace->devices[device];
  const char *does = td_executes_name(row->executes),
             *times = td_times_name(column->metrics->devices[device].time_kinds);
  bool by_file = row->executes != 1 && *row->file;
  td_text_printf(out, "%s (%s", by_file ? row->file : row->backend, does);
  if (column->metrics->devices[device].time_kinds && strcmp(does, times)) td_text_printf(out, ", times %s", times);
  td_text_printf(out, ")");
}

/* The devices of a role; equal ones that follow each other are counted. */
static void write_role(const struct td_column *column, uint32_t role, struct td_text *cell) {
  struct td_text last = {0}, now = {0};
  uint64_t equal = 0;
  for (uint64_t i = 0; i <= column->trace->count[TD_TABLE_DEVICES]; i++) {
    bool end = i == column->trace->count[TD_TABLE_DEVICES];
    if (!end && column->trace->devices[i].role != role) continue;
    now.bytes = 0;
    if (!end) describe(column, i, &now);
    if (equal && (end || strcmp(last.data, now.data))) {
      if (cell->bytes) td_text_printf(cell, ", ");
      if (equal > 1) td_text_printf(cell, "%" PRIu64 " x ", equal);
      td_text_printf(cell, "%s", last.data);
      equal = 0;
    }
    equal++;
    struct td_text other = last;
    last = now, now = other;
    if (last.failed) cell->failed = true;
    if (cell->failed) break;
  }
  td_text_free(&last);
  td_text_free(&now);
}

static void write_prefill(const struct td_column *column, struct td_text *cell) {
  write_role(column, 1, cell);
}

static void write_decode(const struct td_column *column, struct td_text *cell) {
  write_role(column, 2, cell);
}

static void write_both(const struct td_column *column, struct td_text *cell) {
  write_role(column, 0, cell);
}

/* 1,234,567 */
static void write_count(struct td_text *cell, uint64_t value, const char *unit) {
  char digits[24];
  int length = snprintf(digits, sizeof digits, "%" PRIu64, value);
  for (int i = 0; i < length; i++) {
    if (i && (length - i) % 3 == 0) td_text_add(cell, ",", 1);
    td_text_add(cell, &digits[i], 1);
  }
  td_text_printf(cell, "%s", unit);
}

static void write_requests(const struct td_column *column, struct td_text *cell) {
  write_count(cell, column->metrics->requests, "");
}

static void write_output(const struct td_column *column, struct td_text *cell) {
  write_count(cell, column->metrics->output_tokens, "");
}

static void write_kv(const struct td_column *column, struct td_text *cell) {
  write_count(cell, column->metrics->kv_bytes, " B");
}

/* Four digits. */
static void write_rate(struct td_text *cell, double value) {
  if (!isnan(value)) td_text_printf(cell, value >= 1000 ? "%.0f" : "%.4g", value);
}

static void write_user_rate(const struct td_column *column, struct td_text *cell) {
  write_rate(cell, column->metrics->user_rate.p50);
}

static void write_total_rate(const struct td_column *column, struct td_text *cell) {
  write_rate(cell, column->metrics->output_tokens_per_s);
}

/* ---- rows ---- */

struct row {
  const char *title;
  cell_writer *write; /* NULL: a time, at `summary` in td_metrics and `value` in td_summary */
  size_t summary, value;
  bool optional; /* left out when every cell is empty */
};

#define TIMES(title, member)                                                                            \
  {title " p50", NULL, offsetof(struct td_metrics, member), offsetof(struct td_summary, p50), false}, { \
    title " p99", NULL, offsetof(struct td_metrics, member), offsetof(struct td_summary, p99), false    \
  }

static const struct row rows[] = {
    {"", write_path, 0, 0, false},
    {"experiment", write_experiment, 0, 0, false},
    {"run", write_end, 0, 0, false},
    {"pace", write_pace, 0, 0, false},
    {"policy", write_policy, 0, 0, false},
    {"prefill", write_prefill, 0, 0, true},
    {"decode", write_decode, 0, 0, true},
    {"prefill and decode", write_both, 0, 0, true},
    {"requests", write_requests, 0, 0, false},
    {"output tokens", write_output, 0, 0, false},
    TIMES("TTFT", ttft),
    TIMES("TPOT", tpot),
    TIMES("ITL", itl),
    TIMES("E2E", e2e),
    {"tokens/s per user p50", write_user_rate, 0, 0, false},
    {"tokens/s in all", write_total_rate, 0, 0, false},
    {"KV moved", write_kv, 0, 0, false},
    {"tools queued p50", NULL, offsetof(struct td_metrics, tool_queueing), offsetof(struct td_summary, p50), true},
    {"tools queued p99", NULL, offsetof(struct td_metrics, tool_queueing), offsetof(struct td_summary, p99), true},
};
enum { ROW_COUNT = sizeof rows / sizeof *rows };

/* Four digits and the unit that suits this cell: traces beside each other may be orders of magnitude apart. */
static void write_time(const struct row *row, const struct td_column *column, struct td_text *cell) {
  const char *summary = (const char *)column->metrics + row->summary;
  double seconds;
  memcpy(&seconds, summary + row->value, sizeof seconds);
  if (isnan(seconds)) return;
  const struct td_scale scale = seconds >= 1 ? (struct td_scale){"s", 1} : td_scale_for(seconds);
  write_rate(cell, seconds * scale.factor);
  td_text_printf(cell, " %s", scale.unit);
}

/* ---- the table ---- */

/* cells[row * count + column] */
static td_status fill(const struct td_column *columns, int32_t count, struct td_text *cells) {
  for (int r = 0; r < ROW_COUNT; r++) {
    for (int32_t c = 0; c < count; c++, cells++) {
      if (rows[r].write) {
        rows[r].write(&columns[c], cells);
      } else {
        write_time(&rows[r], &columns[c], cells);
      }
      if (cells->failed) return td_fail(TD_NO_MEMORY, "%s: found no memory for its column", columns[c].path);
    }
  }
  return TD_OK;
}

static int width_of(const struct td_text *cells, int32_t count, int32_t column) {
  size_t width = 1;
  for (int r = 0; r < ROW_COUNT; r++) {
    size_t bytes = cells[r * count + column].bytes;
    if (bytes > width) width = bytes;
  }
  return (int)width;
}

static bool is_empty(const struct td_text *cells, int32_t count) {
  for (int32_t c = 0; c < count; c++) {
    if (cells[c].bytes) return false;
  }
  return true;
}

static void print(const struct td_text *cells, int32_t count, FILE *out) {
  int title_width = 0;
  for (int r = 0; r < ROW_COUNT; r++) {
    int width = (int)strnlen(rows[r].title, WIDEST);
    if (width > title_width) title_width = width;
  }
  for (int r = 0; r < ROW_COUNT; r++) {
    const struct td_text *row = cells + r * count;
    if (rows[r].optional && is_empty(row, count)) continue;
    fprintf(out, "%-*s", title_width, rows[r].title);
    for (int32_t c = 0; c < count; c++) {
      const char *text = row[c].bytes ? row[c].data : "-";
      fprintf(out, "  %*s", width_of(cells, count, c) - (int)strlen(text), "");
      td_print_text(out, 0, text);
    }
    fprintf(out, "\n");
  }
}

td_status td_metrics_print_columns(const struct td_column *columns, int32_t count, FILE *out) {
  size_t cell_count = (size_t)count * ROW_COUNT;
  struct td_text *cells;
  TD_TRY(td_alloc(cell_count, sizeof *cells, (void **)&cells));
  td_status status = fill(columns, count, cells);
  if (!status) print(cells, count, out);
  for (size_t i = 0; i < cell_count; i++) td_text_free(&cells[i]);
  free(cells);
  return status;
}
