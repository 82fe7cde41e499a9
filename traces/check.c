/* SPDX-License-Identifier: Apache-2.0 */
#include "check.h"

#include <inttypes.h>
#include <string.h>

#include "index.h"
#include "schema.h"

/* Sums of 2^31 steps need more than 64 bits on their way to the comparison. */
__extension__ typedef __int128 wide;

struct place {
  const struct td_trace *trace;
  const char *path;
  enum td_table table;
  uint64_t row;
};

static td_status bad(const struct place *at, const char *field, int64_t found, const char *expected) {
  return td_fail(TD_CORRUPT, "trace %s: %s[%" PRIu64 "].%s is %" PRId64 ", expected %s", at->path,
                 td_schema[at->table].name, at->row, field, found, expected);
}

static td_status below(const struct place *at, const char *field, uint64_t found, uint64_t bound) {
  if (found < bound) return TD_OK;
  return td_fail(TD_CORRUPT, "trace %s: %s[%" PRIu64 "].%s is %" PRIu64 ", expected a number below %" PRIu64, at->path,
                 td_schema[at->table].name, at->row, field, found, bound);
}

static td_status device_in_range(const struct place *at, const char *field, uint32_t device) {
  return below(at, field, device, at->trace->count[TD_TABLE_DEVICES]);
}

/* In a complete trace the requests are 0 .. n-1; in a part file some of them have no row yet. */
static td_status request_in_range(const struct place *at, uint64_t request) {
  return at->trace->complete ? below(at, "request", request, at->trace->count[TD_TABLE_REQUESTS]) : TD_OK;
}

static td_status text_ends(const struct place *at, const char *field, const char *text, size_t bytes) {
  if (memchr(text, 0, bytes)) return TD_OK;
  return td_fail(TD_CORRUPT, "trace %s: %s[%" PRIu64 "].%s has no end within its %zu bytes", at->path,
                 td_schema[at->table].name, at->row, field, bytes);
}

static td_status check_device(const struct place *at, const void *rows) {
  const struct td_row_device *row = (const struct td_row_device *)rows + at->row;
  if (row->device != at->row) return bad(at, "device", row->device, "the row's number");
  TD_TRY(text_ends(at, "name", row->name, sizeof row->name));
  TD_TRY(text_ends(at, "pool", row->pool, sizeof row->pool));
  TD_TRY(text_ends(at, "backend", row->backend, sizeof row->backend));
  TD_TRY(text_ends(at, "file", row->file, sizeof row->file));
  TD_TRY(below(at, "role", row->role, 3));
  TD_TRY(below(at, "executes", row->executes, 3));
  TD_TRY(below(at, "exact", row->exact, 2));
  if (row->layer_begin < -1) return bad(at, "layer_begin", row->layer_begin, "at least -1");
  if (row->layer_end < row->layer_begin) return bad(at, "layer_end", row->layer_end, "no less than layer_begin");
  return below(at, "parts", row->parts, 8);
}

/* -1 (never) or not before `earlier`. */
static td_status not_before(const struct place *at, const char *field, int64_t time, int64_t earlier) {
  if (time == -1 || time >= earlier) return TD_OK;
  return bad(at, field, time, earlier ? "a time not before the ones in front of it, or -1" : "a time >= 0, or -1");
}

static td_status check_request(const struct place *at, const void *rows) {
  const struct td_row_request *row = (const struct td_row_request *)rows + at->row;
  TD_TRY(request_in_range(at, row->request));
  TD_TRY(text_ends(at, "name", row->name, sizeof row->name));
  if (row->arrival < 0) return bad(at, "arrival", row->arrival, "a time >= 0");
  TD_TRY(not_before(at, "admitted", row->admitted, row->arrival));
  TD_TRY(not_before(at, "first_step", row->first_step, row->arrival));
  TD_TRY(not_before(at, "first_token", row->first_token, row->first_step > 0 ? row->first_step : row->arrival));
  TD_TRY(not_before(at, "finished", row->finished, row->first_token > 0 ? row->first_token : row->arrival));
  if (row->output_tokens && row->first_token < 0) return bad(at, "first_token", row->first_token, "a time");
  if (row->output_tokens && row->finished < 0) return bad(at, "finished", row->finished, "a time");
  TD_TRY(below(at, "finish", row->finish, 3));
  TD_TRY(device_in_range(at, "prefill_device", row->prefill_device));
  return device_in_range(at, "decode_device", row->decode_device);
}

static int64_t end_of(int64_t duration, int64_t slope, uint64_t i) {
  wide done = (wide)i + 1;
  return (int64_t)(done * duration + done * (done - 1) / 2 * slope);
}

int64_t td_step_end(const struct td_row_step *step, uint64_t i) {
  return end_of(step->duration, step->slope, i);
}

int64_t td_stretch_end(const struct td_stretch *stretch, uint64_t i) {
  return end_of(stretch->duration, stretch->slope, i);
}

/* The last end must fit int64, and so must everything before it: durations are checked not to be negative. */
static td_status check_step_times(const struct place *at, const struct td_row_step *row) {
  if (row->start < 0) return bad(at, "start", row->start, "a time >= 0");
  if (row->duration < 0) return bad(at, "duration", row->duration, "a time >= 0");
  if (row->count < 1 || row->count > INT32_MAX) return bad(at, "count", (int64_t)row->count, "1 .. 2147483647");
  wide n = row->count, last = row->duration + (n - 1) * row->slope;
  if (last < 0) return bad(at, "slope", row->slope, "a slope that leaves every duration >= 0");
  wide end = row->start + n * row->duration + n * (n - 1) / 2 * row->slope;
  if (end > INT64_MAX) return bad(at, "duration", row->duration, "an end below 2^63 ps");
  if (row->index > INT64_MAX - row->count) return bad(at, "index", (int64_t)row->index, "a number below 2^63");
  return TD_OK;
}

static td_status check_step(const struct place *at, const void *rows) {
  const struct td_row_step *row = (const struct td_row_step *)rows + at->row;
  TD_TRY(device_in_range(at, "device", row->device));
  TD_TRY(below(at, "kind", row->kind, 3));
  TD_TRY(below(at, "time_kind", row->time_kind, 3));
  TD_TRY(check_step_times(at, row));
  if (row->count > 1 && row->time_kind == TD_TIME_EXECUTED)
    return bad(at, "count", (int64_t)row->count, "1 (executed)");
  return TD_OK;
}

static td_status check_token(const struct place *at, const void *rows) {
  const struct td_row_token *row = (const struct td_row_token *)rows + at->row;
  TD_TRY(request_in_range(at, row->request));
  TD_TRY(device_in_range(at, "device", row->device));
  if (row->id < 0) return bad(at, "id", row->id, "a number >= 0");
  if (row->time < 0) return bad(at, "time", row->time, "a time >= 0");
  uint64_t end, bytes = at->trace->text_bytes;
  if (!td_add_size(row->text_offset, row->text_bytes, &end) || end > bytes) {
    return td_fail(TD_CORRUPT, "trace %s: tokens[%" PRIu64 "] ends at byte %" PRIu64 " of text, which has %" PRIu64,
                   at->path, at->row, row->text_offset + row->text_bytes, bytes);
  }
  return TD_OK;
}

static td_status check_residency(const struct place *at, const void *rows) {
  const struct td_row_residency *row = (const struct td_row_residency *)rows + at->row;
  TD_TRY(request_in_range(at, row->request));
  TD_TRY(device_in_range(at, "device", row->device));
  if (row->count < 1 || row->count > INT32_MAX) return bad(at, "count", (int64_t)row->count, "1 .. 2147483647");
  if (row->first_index > INT64_MAX - row->count) return bad(at, "first_index", (int64_t)row->first_index, "below 2^63");
  uint64_t tokens = row->count * row->tokens_per_step; /* both below 2^32 */
  if (row->first_token > UINT32_MAX || tokens > UINT32_MAX) {
    return bad(at, "first_token", (int64_t)row->first_token, "token indices below 2^32");
  }
  return TD_OK;
}

static td_status check_transfer(const struct place *at, const void *rows) {
  const struct td_row_transfer *row = (const struct td_row_transfer *)rows + at->row;
  TD_TRY(request_in_range(at, row->request));
  TD_TRY(device_in_range(at, "from", row->from));
  TD_TRY(device_in_range(at, "to", row->to));
  if (row->layer_end < row->layer_begin) return bad(at, "layer_end", row->layer_end, "no less than layer_begin");
  if (row->token_end < row->token_begin)
    return bad(at, "token_end", (int64_t)row->token_end, "no less than token_begin");
  if (row->start < 0) return bad(at, "start", row->start, "a time >= 0");
  if (row->duration < 0 || row->duration > INT64_MAX - row->start)
    return bad(at, "duration", row->duration, "a time >= 0");
  TD_TRY(below(at, "payload", row->payload, 2));
  return below(at, "time_kind", row->time_kind, 3);
}

static td_status check_change(const struct place *at, const void *rows) {
  const struct td_row_change *row = (const struct td_row_change *)rows + at->row;
  TD_TRY(device_in_range(at, "device", row->device));
  if (row->time < 0) return bad(at, "time", row->time, "a time >= 0");
  if (at->row && row->time < row[-1].time) return bad(at, "time", row->time, "a time not before the row in front");
  return below(at, "change", row->change, TD_CHANGE_UP + 1);
}

static td_status check_orchestrator(const struct place *at, const void *rows) {
  const struct td_row_orchestrator *row = (const struct td_row_orchestrator *)rows + at->row;
  if (row->orchestrator != at->row) return bad(at, "orchestrator", row->orchestrator, "the row's number");
  TD_TRY(text_ends(at, "name", row->name, sizeof row->name));
  TD_TRY(text_ends(at, "pool", row->pool, sizeof row->pool));
  TD_TRY(text_ends(at, "file", row->file, sizeof row->file));
  if (row->cores < 1 || row->cores > 65536) return bad(at, "cores", row->cores, "1 .. 65536");
  if (row->speed > 0) return TD_OK;
  return td_fail(TD_CORRUPT, "trace %s: orchestrators[%" PRIu64 "].speed is %g, expected a number above 0", at->path,
                 at->row, row->speed);
}

static td_status check_tool_call(const struct place *at, const void *rows) {
  const struct td_row_tool_call *row = (const struct td_row_tool_call *)rows + at->row;
  TD_TRY(request_in_range(at, row->request));
  TD_TRY(below(at, "orchestrator", row->orchestrator, at->trace->count[TD_TABLE_ORCHESTRATORS]));
  TD_TRY(below(at, "kind", row->kind, 3));
  TD_TRY(below(at, "lost", row->lost, 2));
  uint32_t cores = at->trace->orchestrators[row->orchestrator].cores;
  if (row->cores < 1 || row->cores > cores) return bad(at, "cores", row->cores, "at least 1 of its machine's");
  if (row->enqueued < 0) return bad(at, "enqueued", row->enqueued, "a time >= 0");
  if (row->start < row->enqueued) return bad(at, "start", row->start, "a time not before enqueued");
  return row->end < row->start ? bad(at, "end", row->end, "a time not before start") : TD_OK;
}

/* The rest is checked of the rows of steps that they have become: see paces.h. */
static td_status check_pace(const struct place *at, const void *rows) {
  const struct td_row_pace *row = (const struct td_row_pace *)rows + at->row;
  return row->duration < 0 ? bad(at, "duration", row->duration, "a time >= 0") : TD_OK;
}

td_status td_check_rows(const struct td_trace *trace, const char *path) {
  td_status (*const checks[])(const struct place *at, const void *rows) = {
      check_device,   check_request, check_step,         check_token,     check_residency,
      check_transfer, check_change,  check_orchestrator, check_tool_call, check_pace};
  const void *const rows[] = {trace->devices,    trace->requests,  trace->steps,   trace->tokens,
                              trace->residency,  trace->transfers, trace->changes, trace->orchestrators,
                              trace->tool_calls, trace->paces};
  for (int t = 0; t < TD_TABLE_COUNT; t++) {
    for (uint64_t i = 0; i < trace->count[t]; i++) {
      TD_TRY(checks[t](&(struct place){trace, path, (enum td_table)t, i}, rows[t]));
    }
  }
  return TD_OK;
}

static td_status check_requests_once(const struct td_trace *trace, const char *path) {
  const struct td_order *order = &trace->index->requests;
  for (uint64_t i = 1; i < order->count; i++) {
    uint64_t a = order->rows[i - 1], b = order->rows[i];
    if (trace->requests[a].request != trace->requests[b].request) continue;
    return td_fail(TD_CORRUPT, "trace %s: requests[%" PRIu64 "] and [%" PRIu64 "] are both request %" PRIu64, path, a,
                   b, trace->requests[a].request);
  }
  return TD_OK;
}

static td_status check_device_steps(const struct td_trace *trace, const char *path, uint32_t device) {
  const struct td_stretch *steps = trace->index->steps;
  const uint64_t *begin = &trace->index->device_steps[device];
  for (uint64_t i = begin[0] + 1; i < begin[1]; i++) {
    if (steps[i - 1].index + steps[i - 1].count <= steps[i].index) continue;
    return td_fail(TD_CORRUPT,
                   "trace %s: steps[%" PRIu32 "] and [%" PRIu32 "] both hold step %" PRIu64 " of device %" PRIu32, path,
                   steps[i - 1].row, steps[i].row, steps[i].index, device);
  }
  return TD_OK;
}

td_status td_check_order(const struct td_trace *trace, const char *path) {
  TD_TRY(check_requests_once(trace, path));
  for (uint32_t device = 0; device < trace->count[TD_TABLE_DEVICES]; device++) {
    TD_TRY(check_device_steps(trace, path, device));
  }
  return TD_OK;
}
