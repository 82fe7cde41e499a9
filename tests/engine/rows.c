/* SPDX-License-Identifier: Apache-2.0 */
#include "rows.h"

#include <stdlib.h>

#include "../support.h"
#include "paces.h"

struct td_trace_writer {
  struct rows *rows;
};
static struct td_trace_writer the_writer;

static const size_t row_bytes[TD_TABLE_COUNT] = {[TD_TABLE_DEVICES] = sizeof(struct td_row_device),
                                                 [TD_TABLE_REQUESTS] = sizeof(struct td_row_request),
                                                 [TD_TABLE_STEPS] = sizeof(struct td_row_step),
                                                 [TD_TABLE_TOKENS] = sizeof(struct td_row_token),
                                                 [TD_TABLE_RESIDENCY] = sizeof(struct td_row_residency),
                                                 [TD_TABLE_TRANSFERS] = sizeof(struct td_row_transfer),
                                                 [TD_TABLE_CHANGES] = sizeof(struct td_row_change),
                                                 [TD_TABLE_ORCHESTRATORS] = sizeof(struct td_row_orchestrator),
                                                 [TD_TABLE_TOOL_CALLS] = sizeof(struct td_row_tool_call),
                                                 [TD_TABLE_PACES] = sizeof(struct td_row_pace)};

/* ---- the writer that the engine finds ---- */

td_status td_trace_create(const char *path, const struct td_trace_run *run, struct td_trace_writer **out_writer) {
  (void)path, (void)run;
  *out_writer = &the_writer;
  return TD_OK;
}

td_status td_trace_append(struct td_trace_writer *writer, enum td_table table, const void *rows, size_t count) {
  td_text_add(&writer->rows->tables[table], rows, count * row_bytes[table]);
  return TD_OK;
}

td_status td_trace_text(struct td_trace_writer *writer, const char *bytes, size_t count, uint64_t *out_offset) {
  (void)writer, (void)bytes, (void)count;
  *out_offset = 0;
  return TD_OK;
}

td_status td_trace_tick(struct td_trace_writer *writer) {
  (void)writer;
  return TD_OK;
}

td_status td_trace_finish(struct td_trace_writer *writer) {
  (void)writer;
  return TD_OK;
}

void td_trace_abandon(struct td_trace_writer *writer, const char *reason) {
  (void)writer, (void)reason;
}

/* ---- runs ---- */

td_status rows_run(const char *config_path, const char *set, struct rows *out_rows) {
  struct td_config *config;
  struct td_experiment experiment;
  struct td_transport *transport;
  *out_rows = (struct rows){0};
  the_writer.rows = out_rows;
  TD_TRY(td_alloc(1, sizeof *out_rows->summary, (void **)&out_rows->summary));
  struct td_run_options options = {.trace_path = "rows", .summary = out_rows->summary};
  TD_TRY(td_experiment_open(config_path, &set, 1, &config, &experiment));
  td_status status = td_transport_open(&transport);
  if (!status) status = td_engine_run(config, &experiment, transport, &options);
  td_config_close(config);
  return status;
}

void rows_free(struct rows *rows) {
  for (int table = 0; table < TD_TABLE_COUNT; table++) td_text_free(&rows->tables[table]);
  free(rows->summary);
}

void rows_same(const struct rows *a, const struct rows *b, const char *words) {
  for (int table = 0; table < TD_TABLE_COUNT; table++) {
    const struct td_text *x = &a->tables[table], *y = &b->tables[table];
    size_t bytes = row_bytes[table], count = x->bytes / bytes;
    if (x->failed || y->failed) fail_msg("%s: no memory", words);
    for (size_t i = 0; i < count && (i + 1) * bytes <= y->bytes; i++) {
      if (memcmp(x->data + i * bytes, y->data + i * bytes, bytes)) {
        fail_msg("%s: table %d differs in row %d", words, table, (int)i);
      }
    }
    if (x->bytes != y->bytes)
      fail_msg("%s: table %d has %d and %d rows", words, table, (int)count, (int)(y->bytes / bytes));
  }
}

static void *copy_of(const struct td_text *table) {
  void *copy = malloc(table->bytes + 1);
  assert_non_null(copy);
  if (table->bytes) memcpy(copy, table->data, table->bytes);
  return copy;
}

struct td_row_step *rows_steps(const struct rows *rows, size_t *out_count) {
  const struct td_text *steps = &rows->tables[TD_TABLE_STEPS], *paces = &rows->tables[TD_TABLE_PACES];
  struct td_trace trace = {.steps = copy_of(steps), .paces = copy_of(paces), .complete = true};
  trace.count[TD_TABLE_STEPS] = steps->bytes / sizeof *trace.steps;
  trace.count[TD_TABLE_PACES] = paces->bytes / sizeof *trace.paces;
  if (td_paces_apply(&trace, "rows")) fail_msg("%s", td_error_text());
  free(trace.paces);
  *out_count = trace.count[TD_TABLE_STEPS];
  return trace.steps;
}

static int by_index(const void *left, const void *right) {
  const struct td_row_step *a = left, *b = right;
  if (a->device != b->device) return a->device < b->device ? -1 : 1;
  return a->index < b->index ? -1 : a->index > b->index;
}

/* When a step of a device ends; rows by device and index. -1: it has no row. */
static int64_t end_of(const struct td_row_step *steps, size_t count, uint32_t device, uint64_t index) {
  size_t low = 0;
  while (count) { /* the last row that begins no later */
    const struct td_row_step *middle = &steps[low + count / 2];
    bool before = middle->device != device ? middle->device < device : middle->index <= index;
    low += before ? count / 2 + 1 : 0;
    count = before ? count - count / 2 - 1 : count / 2;
  }
  if (!low || steps[low - 1].device != device || index - steps[low - 1].index >= steps[low - 1].count) return -1;
  const struct td_row_step *row = &steps[low - 1];
  int64_t done = (int64_t)(index - row->index + 1);
  return row->start + done * row->duration + done * (done - 1) / 2 * row->slope;
}

/* Request rows by number; NULL where there is none. */
static const struct td_row_request **by_number(const struct rows *rows, size_t *out_count) {
  const struct td_text *table = &rows->tables[TD_TABLE_REQUESTS];
  const struct td_row_request *row = (const void *)table->data;
  size_t count = table->bytes / sizeof *row, most = 0;
  for (size_t i = 0; i < count; i++) most = row[i].request >= most ? row[i].request + 1 : most;
  const struct td_row_request **found = calloc(most + 1, sizeof *found);
  assert_non_null(found);
  for (size_t i = 0; i < count; i++) found[row[i].request] = &row[i];
  *out_count = most;
  return found;
}

/* Every finished request's last token is that of one stretch, whose last step ends when the request does. */
static void check_last_tokens(const struct rows *rows, const char *words) {
  const struct td_text *table = &rows->tables[TD_TABLE_RESIDENCY];
  const struct td_row_residency *stay = (const void *)table->data;
  size_t requests, count, finished = 0;
  const struct td_row_request **row = by_number(rows, &requests);
  struct td_row_step *steps = rows_steps(rows, &count);
  qsort(steps, count, sizeof *steps, by_index);
  for (size_t i = 0; i < requests; i++) finished += row[i] && row[i]->output_tokens;
  for (size_t s = 0; s < table->bytes / sizeof *stay; s++) {
    uint64_t until = stay[s].first_token + stay[s].count * stay[s].tokens_per_step, request = stay[s].request;
    if (!stay[s].tokens_per_step || request >= requests || !row[request] || until != row[request]->output_tokens)
      continue;
    int64_t end = end_of(steps, count, stay[s].device, stay[s].first_index + stay[s].count - 1);
    if (end != row[request]->finished) {
      fail_msg("%s: request %d finished at %lld ps, its last step at %lld", words, (int)request,
               (long long)row[request]->finished, (long long)end);
    }
    finished--;
  }
  if (finished) fail_msg("%s: %d requests lack their last token, or have several", words, (int)finished);
  free(steps);
  free(row);
}

static uint64_t transferred(const struct rows *rows) {
  const struct td_text *table = &rows->tables[TD_TABLE_TRANSFERS];
  const struct td_row_transfer *row = (const void *)table->data;
  uint64_t bytes = 0;
  for (size_t i = 0; i < table->bytes / sizeof *row; i++) bytes += row[i].bytes;
  return bytes;
}

static uint64_t changes(const struct rows *rows, uint32_t first, uint32_t last) {
  const struct td_text *table = &rows->tables[TD_TABLE_CHANGES];
  const struct td_row_change *row = (const void *)table->data;
  uint64_t count = 0;
  for (size_t i = 0; i < table->bytes / sizeof *row; i++) count += row[i].change >= first && row[i].change <= last;
  return count;
}

void rows_add_up(const struct rows *rows, const char *words) {
  const struct td_run_summary *summary = rows->summary;
  const struct td_text *table = &rows->tables[TD_TABLE_REQUESTS];
  const struct td_row_request *row = (const void *)table->data;
  uint64_t cached = 0, interrupted = 0, bytes = 0;
  for (size_t i = 0; i < table->bytes / sizeof *row; i++) {
    cached += row[i].cached_tokens;
    interrupted += row[i].interruptions;
    bytes += row[i].kv_bytes;
  }
  bool same = cached == summary->cached_tokens && interrupted == summary->preemptions + summary->restarts &&
              bytes == summary->kv_bytes && transferred(rows) == bytes &&
              changes(rows, TD_CHANGE_BOTH, TD_CHANGE_DECODE) == summary->role_changes &&
              changes(rows, TD_CHANGE_DOWN, TD_CHANGE_DOWN) == summary->failures;
  if (!same) fail_msg("%s: rows and summary tell different stories", words);
  check_last_tokens(rows, words);
}

uint64_t rows_hash(uint64_t hash, const struct rows *rows) {
  for (int table = 0; table < TD_TABLE_COUNT; table++) {
    hash = td_hash(hash, rows->tables[table].data, rows->tables[table].bytes);
  }
  return hash;
}
