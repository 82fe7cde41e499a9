/* SPDX-License-Identifier: Apache-2.0
 *
 * From a trace to the numbers of tandem/metrics.h.
 */
#include "tandem/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "gaps.h"
#include "walk.h"

struct work {
  const struct td_trace *trace;
  struct td_metrics *metrics;
  uint64_t gap_count; /* of ITL */
};

static double seconds(int64_t ps) {
  return (double)ps / 1e12;
}

/* When a request's tokens came. */
struct times {
  int64_t first, last;
};

/* The request's row and its tokens must tell one story. */
static td_status check_times(const struct td_row_request *row, struct times times) {
  if (times.first == row->first_token && times.last <= row->finished) return TD_OK;
  return td_fail(TD_CORRUPT,
                 "trace: request %" PRIu64 " has first_token %" PRId64 " and finished %" PRId64
                 ", its tokens came from %" PRId64 " to %" PRId64,
                 row->request, row->first_token, row->finished, times.first, times.last);
}

static td_status walk_request(struct work *work, struct td_walk *walk, struct times *times) {
  struct td_span span;
  for (bool more = true; more;) {
    TD_TRY(td_walk_span(walk, &span, &more));
    if (!more) continue;
    if (!span.index) times->first = times->last = span.time;
    if (span.time < times->last) {
      return td_fail(TD_CORRUPT, "trace: request %" PRIu64 " has token %" PRIu64 " before token %" PRIu64,
                     walk->request, span.index, span.index - 1);
    }
    times->last = td_span_time(&span, span.count - 1);
    work->metrics->devices[span.device].output_tokens += span.count * span.per_step;
  }
  return TD_OK;
}

static void request_metrics(const struct td_row_request *row, struct times times, struct td_request_metrics *out) {
  uint32_t count = row->output_tokens;
  out->ttft = out->tpot = out->e2e = out->queueing = out->user_rate = NAN;
  if (row->first_step >= 0) out->queueing = seconds(row->first_step - row->arrival);
  if (!count) return;
  out->ttft = seconds(times.first - row->arrival);
  out->e2e = seconds(times.last - row->arrival);
  if (count < 2) return;
  out->tpot = seconds(times.last - times.first) / (double)(count - 1);
  if (times.last > times.first) out->user_rate = (double)(count - 1) / seconds(times.last - times.first);
}

static bool within(int64_t ps, double bound_s) {
  return bound_s == 0 || (double)ps <= bound_s * 1e12;
}

static void count_slo(struct td_metrics *metrics, const struct td_row_request *row, struct times times) {
  int64_t more = (int64_t)row->output_tokens - 1;
  bool ttft = within(times.first - row->arrival, metrics->slo_ttft);
  bool tpot = within(more ? (times.last - times.first) / more : 0, metrics->slo_tpot);
  metrics->within_ttft += ttft;
  metrics->within_tpot += tpot;
  metrics->within += ttft && tpot;
}

static td_status take_requests(struct work *work) {
  const struct td_trace *trace = work->trace;
  struct td_walk walk = {.trace = trace};
  for (;;) {
    struct times times = {0, 0};
    bool more = false;
    TD_TRY(td_walk_next(&walk, &more));
    if (!more) return TD_OK;
    if (!walk.row) continue; /* has not finished */
    TD_TRY(walk_request(work, &walk, &times));
    if (walk.row->output_tokens) TD_TRY(check_times(walk.row, times));
    uint64_t number = (uint64_t)(walk.row - trace->requests);
    struct td_request_metrics *out = &work->metrics->per_request[number];
    out->row = number;
    request_metrics(walk.row, times, out);
    if (!walk.row->output_tokens) continue;
    work->gap_count += walk.row->output_tokens - 1;
    count_slo(work->metrics, walk.row, times);
  }
}

/* ---- devices and transfers ---- */

static double step_energy(const struct td_row_step *row) {
  if (row->count == 1) return row->energy;
  if (!row->duration) return row->energy * (double)row->count;
  return row->energy * ((double)td_step_end(row, row->count - 1) / (double)row->duration);
}

static void add_steps(const struct work *work) {
  for (uint64_t i = 0; i < work->trace->count[TD_TABLE_STEPS]; i++) {
    const struct td_row_step *row = &work->trace->steps[i];
    struct td_device_metrics *device = &work->metrics->devices[row->device];
    device->steps += row->count;
    device->time_kinds |= 1u << row->time_kind;
    device->tokens_computed += row->count * row->tokens;
    device->busy_s += seconds(td_step_end(row, row->count - 1));
    device->energy_j += step_energy(row);
    work->metrics->steps += row->count;
  }
}

struct interval {
  int64_t begin, end;
};

static int by_begin(const void *a, const void *b) {
  int64_t x = ((const struct interval *)a)->begin, y = ((const struct interval *)b)->begin;
  return (x > y) - (x < y);
}

/* Length of the union; sorts. Pushes overlap, so their durations do not add up to time. */
static int64_t covered(struct interval *intervals, uint64_t count) {
  int64_t sum = 0, reached = INT64_MIN;
  qsort(intervals, count, sizeof *intervals, by_begin);
  for (uint64_t i = 0; i < count; i++) {
    int64_t begin = intervals[i].begin > reached ? intervals[i].begin : reached;
    if (intervals[i].end <= begin) continue;
    sum += intervals[i].end - begin;
    reached = intervals[i].end;
  }
  return sum;
}

static td_status add_transfers(const struct work *work) {
  struct td_metrics *metrics = work->metrics;
  const struct td_row_transfer *rows = work->trace->transfers;
  struct interval *intervals;
  metrics->transfers = work->trace->count[TD_TABLE_TRANSFERS];
  TD_TRY(td_alloc(metrics->transfers, sizeof *intervals, (void **)&intervals));
  for (uint64_t i = 0; i < metrics->transfers; i++) {
    metrics->kv_bytes += rows[i].bytes;
    metrics->devices[rows[i].from].kv_sent += rows[i].bytes;
    metrics->devices[rows[i].to].kv_received += rows[i].bytes;
    intervals[i] = (struct interval){rows[i].start, rows[i].start + rows[i].duration};
  }
  metrics->transfer_busy_s = seconds(covered(intervals, metrics->transfers));
  free(intervals);
  return TD_OK;
}

static uint64_t rows_of(const struct td_metrics *metrics) {
  return metrics->requests + metrics->refused;
}

static void find_makespan(const struct td_trace *trace, int64_t *begin, int64_t *end) {
  *begin = INT64_MAX;
  *end = 0;
  for (uint64_t i = 0; i < trace->count[TD_TABLE_REQUESTS]; i++) {
    if (trace->requests[i].arrival < *begin) *begin = trace->requests[i].arrival;
    if (trace->requests[i].finished > *end) *end = trace->requests[i].finished;
  }
}

/* Of the time from `since` to `until` what lies within the makespan. */
static double down(int64_t since, int64_t until, int64_t begin, int64_t end) {
  if (since < begin) since = begin;
  if (until > end) until = end;
  return since < until ? seconds(until - since) : 0;
}

static td_status add_changes(const struct work *work) {
  const struct td_trace *trace = work->trace;
  struct td_metrics *metrics = work->metrics;
  int64_t begin, end, *since; /* when each went down, + 1; 0: it has not */
  find_makespan(trace, &begin, &end);
  TD_TRY(td_alloc(trace->count[TD_TABLE_DEVICES], sizeof *since, (void **)&since));
  for (uint64_t i = 0; i < trace->count[TD_TABLE_CHANGES]; i++) {
    const struct td_row_change *row = &trace->changes[i];
    int64_t *own = &since[row->device];
    metrics->role_changes += row->change < TD_CHANGE_DOWN;
    metrics->failures += row->change == TD_CHANGE_DOWN;
    if (row->change < TD_CHANGE_DOWN) continue;
    if (*own) metrics->down_s += down(*own - 1, row->time, begin, end);
    *own = row->change == TD_CHANGE_DOWN && row->time < INT64_MAX ? row->time + 1 : 0;
  }
  for (uint64_t i = 0; i < trace->count[TD_TABLE_DEVICES]; i++) {
    if (since[i]) metrics->down_s += down(since[i] - 1, end, begin, end);
  }
  free(since);
  return TD_OK;
}

static void add_rates(const struct work *work) {
  const struct td_trace *trace = work->trace;
  struct td_metrics *metrics = work->metrics;
  int64_t begin, end;
  find_makespan(trace, &begin, &end);
  metrics->makespan_s = end > begin ? seconds(end - begin) : NAN;
  metrics->output_tokens_per_s = (double)metrics->output_tokens / metrics->makespan_s;
  for (uint64_t i = 0; i < trace->count[TD_TABLE_DEVICES]; i++) {
    struct td_device_metrics *device = &metrics->devices[i];
    device->tokens_per_s = (double)device->output_tokens / metrics->makespan_s;
    metrics->energy_j += device->energy_j;
    if (!device->steps) device->energy_j = NAN;
  }
}

/* ---- summaries ---- */

/* Summarises one member of the per-request metrics, without the requests that have none. */
static void summarize_member(const struct td_metrics *metrics, size_t offset, double *scratch, struct td_summary *out) {
  uint64_t count = 0;
  for (uint64_t i = 0; i < rows_of(metrics); i++) {
    double value = *(const double *)(const void *)((const char *)&metrics->per_request[i] + offset);
    if (!isnan(value)) scratch[count++] = value;
  }
  td_summarize(scratch, count, out);
}

static td_status summarize(struct td_metrics *metrics) {
  double *scratch = NULL;
  TD_TRY(td_alloc(rows_of(metrics), sizeof *scratch, (void **)&scratch));
  summarize_member(metrics, offsetof(struct td_request_metrics, ttft), scratch, &metrics->ttft);
  summarize_member(metrics, offsetof(struct td_request_metrics, tpot), scratch, &metrics->tpot);
  summarize_member(metrics, offsetof(struct td_request_metrics, e2e), scratch, &metrics->e2e);
  summarize_member(metrics, offsetof(struct td_request_metrics, queueing), scratch, &metrics->queueing);
  summarize_member(metrics, offsetof(struct td_request_metrics, user_rate), scratch, &metrics->user_rate);
  free(scratch);
  return TD_OK;
}

static td_status count_tokens(const struct td_trace *trace, struct td_metrics *metrics) {
  metrics->slo_ttft = trace->slo_ttft;
  metrics->slo_tpot = trace->slo_tpot;
  for (uint64_t i = 0; i < trace->count[TD_TABLE_REQUESTS]; i++) {
    metrics->cached_tokens += trace->requests[i].cached_tokens;
    metrics->interruptions += trace->requests[i].interruptions;
    if (trace->requests[i].finish == TD_FINISH_REFUSED) {
      metrics->refused++;
      continue;
    }
    metrics->requests++;
    metrics->prompt_tokens += trace->requests[i].prompt_tokens;
    metrics->output_tokens += trace->requests[i].output_tokens;
  }
  if (metrics->output_tokens <= TD_METRICS_MAX_TOKENS) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "trace: found %" PRIu64 " output tokens, expected at most %" PRIu64,
                 metrics->output_tokens, TD_METRICS_MAX_TOKENS);
}

static td_status compute(struct work *work) {
  struct td_metrics *metrics = work->metrics;
  TD_TRY(count_tokens(work->trace, metrics));
  TD_TRY(td_alloc(work->trace->count[TD_TABLE_DEVICES], sizeof *metrics->devices, (void **)&metrics->devices));
  TD_TRY(td_alloc(rows_of(metrics), sizeof *metrics->per_request, (void **)&metrics->per_request));
  TD_TRY(take_requests(work));
  TD_TRY(td_gaps_summarize(work->trace, work->gap_count, &metrics->itl));
  add_steps(work);
  TD_TRY(add_transfers(work));
  TD_TRY(add_changes(work));
  add_rates(work);
  return summarize(metrics);
}

td_status td_metrics_compute(const struct td_trace *trace, struct td_metrics *out_metrics) {
  struct td_metrics metrics = {0};
  struct work work = {.trace = trace, .metrics = &metrics};
  td_status status = compute(&work);
  if (status) {
    td_metrics_free(&metrics);
    return status;
  }
  *out_metrics = metrics;
  return TD_OK;
}

void td_metrics_free(struct td_metrics *metrics) {
  free(metrics->devices);
  free(metrics->per_request);
  *metrics = (struct td_metrics){0};
}
