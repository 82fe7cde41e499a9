/* SPDX-License-Identifier: Apache-2.0 */
#include "trace.h"

#include <stdlib.h>
#include <string.h>

#include "tandem/experiment.h"

#define SHOWN_MAX 60
#define TIME_MAX_S INT64_C(9000000)

td_status trace_wrong(const struct trace *trace, const char *column, struct field found, const char *expected) {
  bool cut = found.bytes > SHOWN_MAX;
  return lines_fail(&trace->lines, "%s: found \"%.*s%s\", expected %s", column, (int)(cut ? SHOWN_MAX : found.bytes),
                    found.at, cut ? "..." : "", expected);
}

static bool is_json(const struct trace *trace) {
  return trace->format == &trace_formats[TD_SOURCE_MOONCAKE];
}

static td_status read_header(struct trace *trace) {
  trace->rows = 0;
  trace->window_ended = false;
  trace->timed = is_json(trace);
  return trace->timed ? TD_OK : csv_header(trace);
}

/* A file that is not there is the config's mistake. */
static td_status check_blis(const struct td_config *config, const char *path) {
  td_status status = blis_header_check(path);
  return status == TD_CONFIG ? td_config_fail(config, "workload.source.header", "%s", td_error_text()) : status;
}

static td_status open_file(const struct td_config *config, struct trace *trace) {
  const struct td_cfg_source *source = trace->source;
  TD_TRY(td_ps_from_seconds(source->begin, &trace->begin_ps));
  TD_TRY(td_ps_from_seconds(source->end, &trace->end_ps));
  if (*source->header) TD_TRY(check_blis(config, source->header));
  td_status status = lines_open(source->file, &trace->lines);
  if (status == TD_CONFIG) return td_config_fail(config, "workload.source.file", "%s", td_error_text());
  return status ? status : read_header(trace);
}

td_status trace_open(const struct td_config *config, const struct td_cfg_source *source, int64_t block,
                     struct trace *out_trace) {
  *out_trace = (struct trace){
      .source = source,
      .format = &trace_formats[source->format],
      .block = block,
      .uses_times = source->arrivals == TD_ARRIVALS_TRACE || source->begin > 0 || source->end > 0,
  };
  td_status status = open_file(config, out_trace);
  if (status) trace_close(out_trace);
  return status;
}

void trace_close(struct trace *trace) {
  lines_close(&trace->lines);
  free(trace->hashes);
  trace->hashes = NULL;
}

td_status trace_rewind(struct trace *trace) {
  TD_TRY(lines_rewind(&trace->lines));
  return read_header(trace);
}

/* A session has one time, or a window could cut it in the middle: its later rounds say the first one's again. */
static td_status check_order(struct trace *trace, struct instant time, const struct row *row) {
  int order = instant_compare(time, trace->last);
  bool goes_on = row->turn > 0 && row->key == trace->key;
  trace->key = row->key;
  if (goes_on && order)
    return lines_fail(&trace->lines,
                      "arrival_time: found another time than in the session's round before, expected the same");
  if (order >= 0) return TD_OK;
  return lines_fail(&trace->lines, "found a time before the previous row's, expected rows in order of time");
}

/* The first row's time is the beginning where the format says so; the order counts where the times do. */
static td_status place_row(struct trace *trace, struct instant time, struct row *row) {
  bool first = trace->rows++ == 0;
  if (!trace->timed) return TD_OK;
  if (first && trace->format->from_first) trace->origin = time;
  if (first) trace->last = time;
  if (trace->uses_times) TD_TRY(check_order(trace, time, row));
  trace->last = time;
  bool told = instant_since(trace->origin, time, &row->at_ps) && row->at_ps <= TIME_MAX_S * TD_PS_PER_SECOND;
  if (told || !trace->uses_times) return TD_OK;
  return lines_fail(&trace->lines, "found a time %lld s after the trace's beginning, expected at most %lld",
                    (long long)(time.s - trace->origin.s), (long long)TIME_MAX_S);
}

static td_status read_row(struct trace *trace, struct row *out_row, bool *out_any) {
  char *line;
  size_t bytes;
  struct instant time = trace->origin;
  *out_row = (struct row){.tier = -1};
  TD_TRY(lines_next(&trace->lines, &line, &bytes, out_any));
  if (!*out_any) return TD_OK;
  out_row->line = trace->lines.row;
  TD_TRY(is_json(trace) ? json_row(trace, line, bytes, out_row, &time) : csv_row(trace, line, bytes, out_row, &time));
  return place_row(trace, time, out_row);
}

td_status trace_next(struct trace *trace, struct row *out_row, bool *out_any) {
  do {
    TD_TRY(read_row(trace, out_row, out_any));
    if (!*out_any) return TD_OK;
    trace->window_ended = trace->end_ps && out_row->at_ps >= trace->end_ps;
    *out_any = !trace->window_ended;
    if (!*out_any) return TD_OK;
  } while (out_row->at_ps < trace->begin_ps || !out_row->output);
  out_row->at_ps -= trace->begin_ps;
  return TD_OK;
}
