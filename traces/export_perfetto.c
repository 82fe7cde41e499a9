/* SPDX-License-Identifier: Apache-2.0
 *
 * Process 1 holds the devices, a thread each, 2 the requests and 3 the transfers, which overlap and are therefore
 * asynchronous spans. Times are microseconds with all their picoseconds.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "check.h"
#include "tandem/export.h"
#include "values.h"

enum { DEVICES = 1, REQUESTS = 2, TRANSFERS = 3 };

struct work {
  const struct td_trace *trace;
  int64_t from, until;
  FILE *out; /* NULL: events are counted only */
  uint64_t events;
};

static bool overlaps(const struct work *work, int64_t begin, int64_t end) {
  return begin <= work->until && end >= work->from;
}

/* Counts an event; true if it shall be written. */
static bool next_event(struct work *work) {
  work->events++;
  if (!work->out) return false;
  fputs(",\n", work->out);
  return true;
}

static void write_time(FILE *out, const char *key, int64_t ps) {
  fprintf(out, ", \"%s\": %" PRId64 ".%06" PRId64, key, ps / 1000000, ps % 1000000);
}

static void write_name(FILE *out, const char *key, const char *name) {
  fprintf(out, "\"%s\": ", key);
  td_json_string(out, name, strlen(name));
}

/* ---- devices and their steps ---- */

static void name_thread(struct work *work, const struct td_row_device *row) {
  if (!next_event(work)) return;
  fprintf(work->out, "{\"ph\": \"M\", \"pid\": %d, \"tid\": %" PRIu32 ", \"name\": \"thread_name\", \"args\": {",
          DEVICES, row->device);
  write_name(work->out, "name", row->name);
  fprintf(work->out, "}}");
}

static void put_step(struct work *work, const struct td_row_step *row) {
  static const char *const kinds[] = {"prefill", "decode", "mixed"};
  static const char *const times[] = {"executed", "emulated", "modelled"};
  int64_t length = td_step_end(row, row->count - 1);
  if (!overlaps(work, row->start, row->start + length) || !next_event(work)) return;
  fprintf(work->out, "{\"ph\": \"X\", \"pid\": %d, \"tid\": %" PRIu32 ", \"name\": \"%s\"", DEVICES, row->device,
          kinds[row->kind]);
  write_time(work->out, "ts", row->start);
  write_time(work->out, "dur", length);
  fprintf(work->out,
          ", \"args\": {\"step\": %" PRIu64 ", \"steps\": %" PRIu64 ", \"batch\": %" PRIu32 ", \"tokens\": %" PRIu32
          ", \"time\": \"%s\"}}",
          row->step, row->count, row->batch, row->tokens, times[row->time_kind]);
}

static void put_change(struct work *work, const struct td_row_change *row) {
  static const char *const names[] = {"both roles", "prefill", "decode", "fails", "repaired"};
  if (!overlaps(work, row->time, row->time) || !next_event(work)) return;
  fprintf(work->out, "{\"ph\": \"i\", \"s\": \"t\", \"pid\": %d, \"tid\": %" PRIu32 ", \"name\": \"%s\"", DEVICES,
          row->device, names[row->change]);
  write_time(work->out, "ts", row->time);
  fprintf(work->out, "}");
}

/* ---- spans ---- */

struct async {
  int process;
  const char *category, *name;
  uint64_t id;
  int64_t begin, end;
};

static void put_edge(struct work *work, const struct async *span, char edge, int64_t time) {
  if (!next_event(work)) return;
  fprintf(work->out, "{\"ph\": \"%c\", \"pid\": %d, \"tid\": 0, \"cat\": \"%s\", \"id\": %" PRIu64 ", ", edge,
          span->process, span->category, span->id);
  write_name(work->out, "name", span->name);
  write_time(work->out, "ts", time);
  fprintf(work->out, "}");
}

/* A span never begun or ended (time -1) is left out. */
static void put_span(struct work *work, struct async span) {
  if (span.begin < 0 || span.end < span.begin || !overlaps(work, span.begin, span.end)) return;
  put_edge(work, &span, 'b', span.begin);
  put_edge(work, &span, 'e', span.end);
}

static void put_request(struct work *work, const struct td_row_request *row) {
  char number[32];
  snprintf(number, sizeof number, "request %" PRIu64, row->request);
  struct async span = {REQUESTS, "request", *row->name ? row->name : number, row->request, row->arrival, row->finished};
  put_span(work, span);
  span.name = "queued";
  span.end = row->first_step;
  put_span(work, span);
  span.name = "to first token";
  span.begin = row->first_step;
  span.end = row->first_token;
  put_span(work, span);
  span.name = "decode";
  span.begin = row->first_token;
  span.end = row->finished;
  put_span(work, span);
}

static void put_transfer(struct work *work, uint64_t number) {
  const struct td_row_transfer *row = &work->trace->transfers[number];
  char name[96];
  snprintf(name, sizeof name, "%s of %" PRIu64 ", layers %" PRIu32 "-%" PRIu32 ", %" PRIu64 " B",
           row->payload == TD_PAYLOAD_KV ? "KV" : "live values", row->request, row->layer_begin, row->layer_end,
           row->bytes);
  put_span(work, (struct async){TRANSFERS, "transfer", name, number, row->start, row->start + row->duration});
}

/* ---- the file ---- */

static void put_events(struct work *work) {
  const struct td_trace *trace = work->trace;
  for (uint64_t i = 0; i < trace->count[TD_TABLE_DEVICES]; i++) name_thread(work, &trace->devices[i]);
  for (uint64_t i = 0; i < trace->count[TD_TABLE_STEPS]; i++) put_step(work, &trace->steps[i]);
  for (uint64_t i = 0; i < trace->count[TD_TABLE_CHANGES]; i++) put_change(work, &trace->changes[i]);
  for (uint64_t i = 0; i < trace->count[TD_TABLE_REQUESTS]; i++) put_request(work, &trace->requests[i]);
  for (uint64_t i = 0; i < trace->count[TD_TABLE_TRANSFERS]; i++) put_transfer(work, i);
}

static void name_processes(FILE *out) {
  static const char *const names[] = {"devices", "requests", "transfers"};
  for (int i = 0; i < 3; i++) {
    fprintf(out, "%s\n{\"ph\": \"M\", \"pid\": %d, \"name\": \"process_name\", \"args\": {\"name\": \"%s\"}}",
            i ? "," : "", DEVICES + i, names[i]);
  }
}

td_status td_export_perfetto(const struct td_trace *trace, int64_t from, int64_t until, FILE *out) {
  struct work work = {.trace = trace, .from = from, .until = until};
  put_events(&work);
  if (work.events > TD_EXPORT_MAX_EVENTS) {
    return td_fail(TD_UNSUPPORTED,
                   "export: found %" PRIu64 " events, expected at most %" PRIu64
                   ": a shorter time (--from S, --until S) has fewer",
                   work.events, TD_EXPORT_MAX_EVENTS);
  }
  work.out = out;
  fprintf(out, "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [");
  name_processes(out);
  put_events(&work);
  fprintf(out, "\n]}\n");
  return ferror(out) ? td_fail(TD_IO, "export: cannot write: %s", strerror(errno)) : TD_OK;
}
