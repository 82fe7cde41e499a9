/* SPDX-License-Identifier: Apache-2.0
 *
 * From a trace to the numbers of tandem/metrics.h.
 */
#include "tandem/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "index.h"

struct work {
  const struct td_trace *trace;
  struct td_metrics *metrics;
  double *gaps; /* ITL */
  uint64_t gap_count;
};

static double seconds(int64_t ps) {
  return (double)ps / 1e12;
}

/* The request's row and its tokens must tell one story. */
static td_status check_request(const struct td_row_request *row, const struct td_trace_token *tokens, uint64_t count) {
  if (!count) return TD_OK;
  if (tokens[0].time != row->first_token || tokens[count - 1].time > row->finished) {
    return td_fail(TD_CORRUPT,
                   "trace: request %" PRIu64 " has first_token %" PRId64 " and finished %" PRId64
                   ", its tokens came from %" PRId64 " to %" PRId64,
                   row->request, row->first_token, row->finished, tokens[0].time, tokens[count - 1].time);
  }
  for (uint64_t i = 1; i < count; i++) {
    if (tokens[i].time >= tokens[i - 1].time) continue;
    return td_fail(TD_CORRUPT, "trace: request %" PRIu64 " has token %" PRIu64 " before token %" PRIu64, row->request,
                   i, i - 1);
  }
  return TD_OK;
}

static void request_metrics(const struct td_row_request *row, const struct td_trace_token *tokens, uint64_t count,
                            struct td_request_metrics *out) {
  out->ttft = out->tpot = out->e2e = out->queueing = out->user_rate = NAN;
  if (row->first_step >= 0) out->queueing = seconds(row->first_step - row->arrival);
  if (!count) return;
  int64_t first = tokens[0].time, last = tokens[count - 1].time;
  out->ttft = seconds(first - row->arrival);
  out->e2e = seconds(last - row->arrival);
  if (count < 2) return;
  out->tpot = seconds(last - first) / (double)(count - 1);
  if (last > first) out->user_rate = (double)(count - 1) / seconds(last - first);
}

static td_status take_request(struct work *work, uint64_t row_number) {
  const struct td_row_request *row = &work->trace->requests[row_number];
  struct td_request_metrics *out = &work->metrics->per_request[row_number];
  struct td_trace_token *tokens = NULL;
  uint64_t count = 0;
  TD_TRY(td_trace_request_tokens(work->trace, row->request, &tokens, &count));
  td_status status = check_request(row, tokens, count);
  if (!status) {
    out->row = row_number;
    request_metrics(row, tokens, count, out);
    for (uint64_t i = 1; i < count; i++) work->gaps[work->gap_count++] = seconds(tokens[i].time - tokens[i - 1].time);
    for (uint64_t i = 0; i < count; i++) work->metrics->devices[tokens[i].device].output_tokens++;
  }
  free(tokens);
  return status;
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
    intervals[i] = (struct interval){rows[i].start, rows[i].start + rows[i].duration};
  }
  metrics->transfer_busy_s = seconds(covered(intervals, metrics->transfers));
  free(intervals);
  return TD_OK;
}

static void add_rates(const struct work *work) {
  const struct td_trace *trace = work->trace;
  struct td_metrics *metrics = work->metrics;
  int64_t begin = INT64_MAX, end = 0;
  for (uint64_t i = 0; i < metrics->requests; i++) {
    if (trace->requests[i].arrival < begin) begin = trace->requests[i].arrival;
    if (trace->requests[i].finished > end) end = trace->requests[i].finished;
  }
  metrics->makespan_s = metrics->requests && end > begin ? seconds(end - begin) : NAN;
  metrics->output_tokens_per_s = (double)metrics->output_tokens / metrics->makespan_s;
  for (uint64_t i = 0; i < trace->count[TD_TABLE_DEVICES]; i++) {
    struct td_device_metrics *device = &metrics->devices[i];
    device->tokens_per_s = (double)device->output_tokens / metrics->makespan_s;
    if (!device->steps) device->energy_j = NAN;
  }
}

/* ---- summaries ---- */

/* Summarises one member of the per-request metrics, without the requests that have none. */
static void summarize_member(const struct td_metrics *metrics, size_t offset, double *scratch, struct td_summary *out) {
  uint64_t count = 0;
  for (uint64_t i = 0; i < metrics->requests; i++) {
    double value = *(const double *)(const void *)((const char *)&metrics->per_request[i] + offset);
    if (!isnan(value)) scratch[count++] = value;
  }
  td_summarize(scratch, count, out);
}

static td_status summarize(struct td_metrics *metrics) {
  double *scratch = NULL;
  TD_TRY(td_alloc(metrics->requests, sizeof *scratch, (void **)&scratch));
  summarize_member(metrics, offsetof(struct td_request_metrics, ttft), scratch, &metrics->ttft);
  summarize_member(metrics, offsetof(struct td_request_metrics, tpot), scratch, &metrics->tpot);
  summarize_member(metrics, offsetof(struct td_request_metrics, e2e), scratch, &metrics->e2e);
  summarize_member(metrics, offsetof(struct td_request_metrics, queueing), scratch, &metrics->queueing);
  summarize_member(metrics, offsetof(struct td_request_metrics, user_rate), scratch, &metrics->user_rate);
  free(scratch);
  return TD_OK;
}

static td_status count_tokens(const struct td_trace *trace, struct td_metrics *metrics) {
  metrics->requests = trace->count[TD_TABLE_REQUESTS];
  for (uint64_t i = 0; i < metrics->requests; i++) {
    if (trace->requests[i].finish != TD_FINISH_REFUSED) metrics->prompt_tokens += trace->requests[i].prompt_tokens;
    metrics->output_tokens += trace->requests[i].output_tokens;
  }
  if (metrics->output_tokens <= TD_TRACE_MAX_TOKENS) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "trace: found %" PRIu64 " output tokens, expected at most %" PRIu64,
                 metrics->output_tokens, TD_TRACE_MAX_TOKENS);
}

static td_status compute(struct work *work) {
  struct td_metrics *metrics = work->metrics;
  const struct td_keys *requests = &work->trace->index->requests;
  TD_TRY(count_tokens(work->trace, metrics));
  TD_TRY(td_alloc(work->trace->count[TD_TABLE_DEVICES], sizeof *metrics->devices, (void **)&metrics->devices));
  TD_TRY(td_alloc(metrics->requests, sizeof *metrics->per_request, (void **)&metrics->per_request));
  TD_TRY(td_alloc(metrics->output_tokens, sizeof *work->gaps, (void **)&work->gaps));
  for (uint64_t i = 0; i < requests->count; i++) TD_TRY(take_request(work, requests->items[i].row));
  td_summarize(work->gaps, work->gap_count, &metrics->itl);
  add_steps(work);
  TD_TRY(add_transfers(work));
  add_rates(work);
  return summarize(metrics);
}

td_status td_metrics_compute(const struct td_trace *trace, struct td_metrics *out_metrics) {
  struct td_metrics metrics = {0};
  struct work work = {.trace = trace, .metrics = &metrics};
  td_status status = compute(&work);
  free(work.gaps);
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
