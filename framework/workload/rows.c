/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>

#include "stream.h"

static bool is_lengths_only(int format) {
  return format != TD_SOURCE_MOONCAKE && format != TD_SOURCE_BLIS && format != TD_SOURCE_SESSIONS;
}

static bool draws(const struct rows *rows) {
  return rows->trace.source->draw;
}

static void forget(struct rows *rows) {
  free(rows->kept);
  free(rows->times);
  rows->kept = NULL;
  rows->times = NULL;
  rows->kept_capacity = rows->times_capacity = 0;
  rows->keep = false;
}

static td_status keep_row(struct rows *rows, const struct row *row) {
  size_t each = sizeof *rows->kept + (rows->timed ? sizeof *rows->times : 0);
  if ((rows->count + 1) * each > rows->kept_max) {
    if (draws(rows)) {
      return lines_fail(&rows->trace.lines, "found over %zu rows, expected fewer to draw from", rows->kept_max / each);
    }
    forget(rows);
    return TD_OK;
  }
  TD_TRY(td_grow((void **)&rows->kept, &rows->kept_capacity, rows->count + 1, sizeof *rows->kept));
  rows->kept[rows->count] = (struct kept_row){(uint32_t)row->prompt, (uint32_t)row->output};
  if (!rows->timed) return TD_OK;
  TD_TRY(td_grow((void **)&rows->times, &rows->times_capacity, rows->count + 1, sizeof *rows->times));
  rows->times[rows->count] = row->at_ps;
  return TD_OK;
}

static td_status none_found(const struct rows *rows) {
  const struct td_cfg_source *source = rows->trace.source;
  if (!rows->trace.rows) return td_fail(TD_CORRUPT, "%s: found no rows, expected at least one", source->file);
  return td_fail(TD_CORRUPT, "%s: found no row %s, expected at least one", source->file,
                 source->begin > 0 || source->end > 0 ? "from begin to end" : "that did not fail");
}

/* From the file; the end of a pass is told once. */
static td_status read_row(struct rows *rows, struct row *out_row, bool *out_any) {
  TD_TRY(trace_next(&rows->trace, out_row, out_any));
  if (!*out_any) return rows->count ? TD_OK : none_found(rows);
  if (rows->keep) TD_TRY(keep_row(rows, out_row));
  rows->last_ps = out_row->at_ps;
  rows->count++;
  return TD_OK;
}

static td_status read_all(struct rows *rows) {
  struct row row;
  for (bool any = true; any;) TD_TRY(read_row(rows, &row, &any));
  rows->complete = true;
  return TD_OK;
}

td_status rows_open(const struct td_config *config, const struct td_cfg_source *source, int64_t block, uint64_t seed,
                    size_t kept_max, struct rows *out_rows) {
  *out_rows = (struct rows){.seed = seed, .kept_max = kept_max, .timed = source->arrivals == TD_ARRIVALS_TRACE};
  TD_TRY(trace_open(config, source, block, &out_rows->trace));
  out_rows->keep = (source->repeat || source->draw) && is_lengths_only(source->format);
  td_status status = source->draw ? read_all(out_rows) : TD_OK;
  if (status) rows_close(out_rows);
  return status;
}

void rows_close(struct rows *rows) {
  forget(rows);
  trace_close(&rows->trace);
}

static void give_kept(const struct rows *rows, size_t index, struct row *out_row) {
  const struct kept_row *kept = &rows->kept[index];
  *out_row = (struct row){
      .prompt = kept->prompt, .output = kept->output, .tier = -1, .at_ps = rows->timed ? rows->times[index] : 0};
}

/* The next pass begins where the window ends, or with the last row. One that takes no time never gets to a duration. */
static td_status begin_pass(struct rows *rows) {
  const struct trace *trace = &rows->trace;
  int64_t took = trace->end_ps ? trace->end_ps - trace->begin_ps : rows->last_ps;
  if (rows->timed && !took && !trace->source->requests) {
    return td_fail(TD_CORRUPT,
                   "%s: found rows of one time only, which repeat = true repeats at that time for ever, expected later "
                   "ones, or workload.source.requests",
                   trace->source->file);
  }
  rows->next = 0;
  if (rows->timed) TD_TRY(time_add(rows->pass_ps, took, &rows->pass_ps));
  rows->complete = rows->keep;
  return rows->keep ? TD_OK : trace_rewind(&rows->trace);
}

static td_status row_in_turn(struct rows *rows, struct row *out_row, bool *out_any) {
  if (rows->complete) {
    if (rows->next == rows->count) TD_TRY(begin_pass(rows));
    give_kept(rows, rows->next++, out_row);
    *out_any = true;
    return TD_OK;
  }
  TD_TRY(read_row(rows, out_row, out_any));
  if (*out_any || !rows->trace.source->repeat) return TD_OK;
  TD_TRY(begin_pass(rows));
  if (rows->complete) return row_in_turn(rows, out_row, out_any);
  rows->count = 0;
  return read_row(rows, out_row, out_any);
}

td_status rows_next(struct rows *rows, uint64_t i, struct row *out_row, bool *out_any) {
  if (draws(rows)) {
    double unit = td_random_unit(rows->seed, DRAW_ROW, i);
    give_kept(rows, (size_t)(unit * (double)rows->count), out_row);
    *out_any = true;
    return TD_OK;
  }
  TD_TRY(row_in_turn(rows, out_row, out_any));
  return *out_any && rows->timed ? time_add(out_row->at_ps, rows->pass_ps, &out_row->at_ps) : TD_OK;
}
