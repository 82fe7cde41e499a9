/* SPDX-License-Identifier: Apache-2.0
 *
 * The stream of token rows against an expansion that knows nothing of it: every step of every device in one array,
 * every token looked up there, then sorted.
 */
#include <math.h>

#include "../support.h"
#include "fleet.h"
#include "samples.h"
#include "tandem/metrics.h"

#define MS INT64_C(1000000000)

static char path[4200], part[4300];

static void expect_ok(td_status status) {
  if (status) fail_msg("%s", td_error_text());
}

static struct td_trace *load(const char *from) {
  struct td_trace *trace = NULL;
  expect_ok(td_trace_load(from, &trace));
  return trace;
}

/* ---- the expansion by hand ---- */

struct all {
  struct td_trace_token *rows;
  size_t count, room;
};

static void add(struct all *all, struct td_trace_token row) {
  expect_ok(td_grow((void **)&all->rows, &all->room, all->count + 1, sizeof *all->rows));
  all->rows[all->count++] = row;
}

static int64_t *ends_of(const struct td_trace *trace, uint32_t device) {
  int64_t *ends = NULL;
  uint64_t steps = 0;
  for (uint64_t i = 0; i < trace->count[TD_TABLE_STEPS]; i++) {
    const struct td_row_step *row = &trace->steps[i];
    if (row->device == device && row->index + row->count > steps) steps = row->index + row->count;
  }
  expect_ok(td_alloc(steps + 1, sizeof *ends, (void **)&ends));
  for (uint64_t i = 0; i < trace->count[TD_TABLE_STEPS]; i++) {
    const struct td_row_step *row = &trace->steps[i];
    int64_t end = row->start;
    for (uint64_t k = 0; k < row->count && row->device == device; k++) {
      end += row->duration + (int64_t)k * row->slope;
      ends[row->index + k] = end;
    }
  }
  return ends;
}

static int by_token(const void *left, const void *right) {
  const struct td_trace_token *a = left, *b = right;
  if (a->request != b->request) return a->request < b->request ? -1 : 1;
  return a->index < b->index ? -1 : a->index > b->index;
}

static struct all expand(const struct td_trace *trace) {
  struct all all = {0};
  for (uint64_t i = 0; i < trace->count[TD_TABLE_TOKENS]; i++) {
    const struct td_row_token *t = &trace->tokens[i];
    add(&all, (struct td_trace_token){t->request, t->time, t->index, t->id, t->device, t->logprob, t->gap});
  }
  for (uint32_t device = 0; device < trace->count[TD_TABLE_DEVICES]; device++) {
    int64_t *ends = ends_of(trace, device);
    for (uint64_t i = 0; i < trace->count[TD_TABLE_RESIDENCY]; i++) {
      const struct td_row_residency *r = &trace->residency[i];
      for (uint64_t k = 0; k < r->count * r->tokens_per_step && r->device == device; k++) {
        int64_t time = ends[r->first_index + k / r->tokens_per_step];
        add(&all, (struct td_trace_token){r->request, time, (uint32_t)(r->first_token + k), -1, device, NAN, NAN});
      }
    }
    free(ends);
  }
  qsort(all.rows, all.count, sizeof *all.rows, by_token);
  return all;
}

/* ---- comparing ---- */

static bool same(const struct td_trace_token *a, const struct td_trace_token *b) {
  return a->request == b->request && a->time == b->time && a->index == b->index && a->id == b->id &&
         a->device == b->device && !memcmp(&a->logprob, &b->logprob, 8) && !memcmp(&a->gap, &b->gap, 8);
}

static struct all stream_all(const struct td_trace *trace) {
  struct td_trace_stream *stream = NULL;
  const struct td_trace_token *rows = NULL;
  struct all all = {0};
  size_t count = 1;
  expect_ok(td_trace_stream_open(trace, &stream));
  while (count) {
    expect_ok(td_trace_stream_next(stream, &rows, &count));
    for (size_t i = 0; i < count; i++) add(&all, rows[i]);
  }
  expect_ok(td_trace_stream_next(stream, &rows, &count));
  assert_int_equal(count, 0); /* the end lasts */
  td_trace_stream_close(stream);
  return all;
}

static void compare_requests(const struct td_trace *trace, const struct all *expected) {
  for (size_t i = 0; i < expected->count;) {
    struct td_trace_token *rows = NULL;
    uint64_t count = 0;
    expect_ok(td_trace_request_tokens(trace, expected->rows[i].request, &rows, &count));
    assert_true(count > 0 && count <= expected->count - i);
    for (uint64_t j = 0; j < count; j++) assert_true(same(&rows[j], &expected->rows[i + j]));
    free(rows);
    i += count;
  }
}

static void compare_gaps(const struct td_trace *trace, const struct all *expected) {
  struct td_metrics metrics;
  struct td_summary itl;
  double *gaps = NULL;
  uint64_t count = 0;
  expect_ok(td_alloc(expected->count + 1, sizeof *gaps, (void **)&gaps));
  for (size_t i = 1; i < expected->count; i++) {
    const struct td_trace_token *row = &expected->rows[i];
    if (row->request == row[-1].request) gaps[count++] = (double)(row->time - row[-1].time) / 1e12;
  }
  td_summarize(gaps, count, &itl);
  free(gaps);
  expect_ok(td_metrics_compute(trace, &metrics));
  assert_int_equal(metrics.itl.count, count);
  if (count) assert_memory_equal(&metrics.itl, &itl, sizeof itl);
  td_metrics_free(&metrics);
}

static void compare(const struct td_trace *trace) {
  struct all expected = expand(trace), found = stream_all(trace);
  assert_int_equal(found.count, expected.count);
  for (size_t i = 0; i < found.count; i++) {
    if (!same(&found.rows[i], &expected.rows[i])) fail_msg("row %zu differs", i);
  }
  compare_requests(trace, &expected);
  compare_gaps(trace, &expected);
  free(expected.rows);
  free(found.rows);
}

/* ---- traces ---- */

static void fleets(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 4; seed++) {
    const struct fleet fleet = {
        .requests = 150, .seed = seed, .devices = 1 + 2 * (uint32_t)seed, .disaggregated = seed % 2};
    expect_ok(fleet_write(path, &fleet, NULL));
    struct td_trace *trace = load(path);
    assert_int_equal(trace->count[TD_TABLE_REQUESTS], 150);
    compare(trace);
    td_trace_free(trace);
  }
}

static void samples(void **state) {
  (void)state;
  for (int kind = SAMPLE_EXECUTED; kind <= SAMPLE_MIXED; kind++) {
    const struct sample sample = {.kind = (enum sample_kind)kind, .requests = 23, .seed = 9};
    expect_ok(sample_write(path, &sample));
    struct td_trace *trace = load(path);
    compare(trace);
    td_trace_free(trace);
  }
}

/* Paces say what rows of their own would. */
static void paces(void **state) {
  (void)state;
  struct td_trace *traces[2];
  for (int i = 0; i < 2; i++) {
    const struct sample sample = {.kind = SAMPLE_MODELLED, .requests = 23, .seed = 9, .paces = 1 + i};
    expect_ok(sample_write(path, &sample));
    traces[i] = load(path);
    compare(traces[i]);
  }
  const uint64_t *count = traces[0]->count, *paced = traces[1]->count;
  assert_int_equal(count[TD_TABLE_PACES], 0);
  assert_true(paced[TD_TABLE_PACES] > 20);
  assert_int_equal(count[TD_TABLE_STEPS], paced[TD_TABLE_STEPS]);
  assert_memory_equal(traces[0]->steps, traces[1]->steps, count[TD_TABLE_STEPS] * sizeof *traces[0]->steps);
  assert_int_equal(count[TD_TABLE_REQUESTS], paced[TD_TABLE_REQUESTS]);
  assert_memory_equal(traces[0]->requests, traces[1]->requests, count[TD_TABLE_REQUESTS] * sizeof *traces[0]->requests);
  td_trace_free(traces[0]);
  td_trace_free(traces[1]);
}

/* A run was killed when the last row's paces were written and the row was not. */
static void paces_without_their_row(void **state) {
  (void)state;
  struct td_trace_run run = sample_run(NULL);
  struct td_trace_writer *writer = NULL;
  const struct td_row_device device = {.name = "d"};
  const struct td_row_step step = {.duration = MS, .count = 4, .time_kind = TD_TIME_MODELLED};
  const struct td_row_pace some[2] = {{2, 5 * MS, 1}, {6, MS, 0}};
  run.paces = true;
  expect_ok(td_trace_create(path, &run, &writer));
  expect_ok(td_trace_append(writer, TD_TABLE_DEVICES, &device, 1));
  expect_ok(td_trace_append(writer, TD_TABLE_STEPS, &step, 1));
  expect_ok(td_trace_append(writer, TD_TABLE_PACES, some, 2));
  td_trace_abandon(writer, "enough");
  struct td_trace *trace = load(part);
  assert_int_equal(trace->count[TD_TABLE_STEPS], 2);
  assert_int_equal(trace->count[TD_TABLE_PACES], 1);
  assert_int_equal(trace->steps[1].start, 2 * MS);
  assert_int_equal(trace->steps[1].duration, 5 * MS);
  assert_int_equal(trace->steps[1].count, 2);
  td_trace_free(trace);
}

static struct td_trace_writer *begin(void) {
  struct td_trace_run run = sample_run(NULL);
  struct td_trace_writer *writer = NULL;
  const struct td_row_device devices[2] = {{.device = 0, .name = "p"}, {.device = 1, .name = "d"}};
  expect_ok(td_trace_create(path, &run, &writer));
  expect_ok(td_trace_append(writer, TD_TABLE_DEVICES, devices, 2));
  return writer;
}

static void put_steps(struct td_trace_writer *writer) {
  const struct td_row_step steps[] = {
      {.step = 0, .index = 0, .device = 1, .start = 10 * MS, .duration = MS, .slope = 7, .count = 5, .time_kind = 2},
      {.step = 5, .index = 0, .device = 0, .start = 2 * MS, .duration = 3 * MS, .count = 1, .time_kind = 2},
      {.step = 6,
       .index = 5,
       .device = 1,
       .start = 30 * MS,
       .duration = 2 * MS,
       .slope = -9,
       .count = 6,
       .time_kind = 2},
      {.step = 12, .index = 11, .device = 1, .start = 60 * MS, .duration = MS, .count = 1},
      {.step = 13, .index = 12, .device = 1, .start = 70 * MS, .duration = MS, .count = 4, .time_kind = 2}};
  expect_ok(td_trace_append(writer, TD_TABLE_STEPS, steps, 5));
}

/* Prefill chunks without tokens, several tokens in a step, a request put off twice, executed tokens before, between and
 * behind modelled ones, rows in any order. */
static void everything_at_once(void **state) {
  (void)state;
  struct td_trace_writer *writer = begin();
  put_steps(writer);
  const struct td_row_residency stays[] = {{1, 1, 2, 12, 3, 13}, {1, 1, 0, 0, 2, 0}, {1, 1, 3, 3, 4, 0},
                                           {0, 1, 1, 4, 3, 1},   {0, 0, 1, 0, 1, 0}, {0, 1, 0, 8, 1, 4},
                                           {0, 1, 1, 9, 2, 4},   {0, 1, 1, 12, 4, 7}};
  const struct td_row_token tokens[] = {{0, 6, 55, 0, 0, 1, 61 * MS, 12, -0.5, 3},
                                        {1, 12, 56, 0, 0, 1, 61 * MS, 12, -2, 1}};
  const struct td_row_request requests[] = {{1, "b", 0, 0, MS, 14 * MS + 42, 73 * MS, 5, 19, 19, 0, 1, 1, 0, 0, 0},
                                            {0, "a", 0, 0, 0, 5 * MS, 74 * MS, 5, 11, 11, 0, 0, 1, 0, 0, 0}};
  expect_ok(td_trace_append(writer, TD_TABLE_RESIDENCY, stays, 8));
  expect_ok(td_trace_append(writer, TD_TABLE_TOKENS, tokens, 2));
  struct td_row_request rows[2] = {requests[0], requests[1]};
  rows[0].first_token = 10 * MS + 4 * MS + 6 * 7; /* step 3 of device 1 */
  expect_ok(td_trace_append(writer, TD_TABLE_REQUESTS, rows, 2));
  expect_ok(td_trace_finish(writer));
  struct td_trace *trace = load(path);
  compare(trace);
  td_trace_free(trace);
}

/* Executed tokens with gaps from picoseconds to weeks: percentiles need every width of bucket. */
static void any_gaps(void **state) {
  (void)state;
  enum { TOKENS = 30000 };
  struct td_trace_writer *writer = begin();
  int64_t time = 0, first = 0;
  for (uint32_t i = 0; i < TOKENS; i++) {
    uint64_t width = td_random(3, 1, i) % 40;
    time += (int64_t)(td_random(3, 2, i) >> (63 - width));
    if (!i) first = time;
    struct td_row_token row = {.index = i, .id = 1, .time = time, .step = i};
    expect_ok(td_trace_append(writer, TD_TABLE_TOKENS, &row, 1));
  }
  const struct td_row_request request = {
      .name = "one", .first_token = first, .finished = time, .output_tokens = TOKENS, .max_tokens = TOKENS};
  expect_ok(td_trace_append(writer, TD_TABLE_REQUESTS, &request, 1));
  expect_ok(td_trace_finish(writer));
  struct td_trace *trace = load(path);
  compare(trace);
  td_trace_free(trace);
}

/* More tokens than a request may have at once, in few rows. */
static void no_limit(void **state) {
  (void)state;
  enum { REQUESTS = 3, EACH = 12000000 };
  struct td_trace_writer *writer = begin();
  const struct td_row_step step = {
      .device = 1, .duration = 1000, .count = REQUESTS * EACH, .time_kind = TD_TIME_MODELLED};
  expect_ok(td_trace_append(writer, TD_TABLE_STEPS, &step, 1));
  for (uint64_t i = 0; i < REQUESTS; i++) {
    const struct td_row_residency stay = {i, 1, 1, i * EACH, EACH, 0};
    const struct td_row_request request = {.request = i,
                                           .first_token = (int64_t)(i * EACH + 1) * 1000,
                                           .finished = (int64_t)(i + 1) * EACH * 1000,
                                           .output_tokens = EACH};
    expect_ok(td_trace_append(writer, TD_TABLE_RESIDENCY, &stay, 1));
    expect_ok(td_trace_append(writer, TD_TABLE_REQUESTS, &request, 1));
  }
  expect_ok(td_trace_finish(writer));
  struct td_trace *trace = load(path);
  struct td_trace_stream *stream = NULL;
  const struct td_trace_token *rows = NULL;
  size_t count = 1;
  uint64_t total = 0;
  expect_ok(td_trace_stream_open(trace, &stream));
  while (count) {
    expect_ok(td_trace_stream_next(stream, &rows, &count));
    total += count;
    if (count) assert_int_equal(rows[count - 1].time, (int64_t)total * 1000);
  }
  assert_int_equal(total, (uint64_t)REQUESTS * EACH);
  td_trace_stream_close(stream);
  td_trace_free(trace);
}

/* ---- contradictions ---- */

static void expect_corrupt(struct td_trace_writer *writer, const char *text) {
  struct td_trace_stream *stream = NULL;
  const struct td_trace_token *rows = NULL;
  size_t count = 1;
  td_status status = td_trace_finish(writer);
  expect_ok(status);
  struct td_trace *trace = load(path);
  expect_ok(td_trace_stream_open(trace, &stream));
  while (count && !status) status = td_trace_stream_next(stream, &rows, &count);
  if (status != TD_CORRUPT || !strstr(td_error_text(), text))
    fail_msg("%d, \"%s\", expected %s", status, td_error_text(), text);
  td_trace_stream_close(stream);
  td_trace_free(trace);
}

static struct td_trace_writer *with(uint32_t output, struct td_row_residency stay, struct td_row_residency again) {
  struct td_trace_writer *writer = begin();
  const struct td_row_request request = {.first_token = 1, .finished = 1, .output_tokens = output};
  put_steps(writer);
  expect_ok(td_trace_append(writer, TD_TABLE_REQUESTS, &request, 1));
  expect_ok(td_trace_append(writer, TD_TABLE_RESIDENCY, &stay, 1));
  expect_ok(td_trace_append(writer, TD_TABLE_RESIDENCY, &again, 1));
  return writer;
}

static void contradictions(void **state) {
  (void)state;
  const struct td_row_residency three = {0, 1, 1, 2, 3, 0}, none = {0, 1, 0, 0, 1, 0};
  expect_corrupt(with(6, three, (struct td_row_residency){0, 1, 1, 5, 3, 4}), "has token 4 where token 3 should be");
  expect_corrupt(with(6, three, (struct td_row_residency){0, 1, 1, 5, 3, 2}), "has token 2 where token 3 should be");
  expect_corrupt(with(2, three, none), "has more tokens than the 2 of its row");
  expect_corrupt(with(4, three, none), "has 3 tokens, its row says 4");
  expect_corrupt(with(9, (struct td_row_residency){0, 1, 1, 14, 9, 0}, none), "was in step 16 of device 1");
  expect_corrupt(with(9, (struct td_row_residency){0, 0, 1, 1, 9, 0}, none), "was in step 1 of device 0");
}

/* A part file: request 3 runs, and its last steps have no row yet. */
static void unfinished(void **state) {
  (void)state;
  struct td_trace_writer *writer = begin();
  const struct td_row_residency stays[] = {
      {3, 1, 1, 12, 9, 2}, {3, 1, 1, 0, 2, 0}, {7, 1, 1, 0, 2, 5}, {0, 1, 1, 0, 2, 5}};
  put_steps(writer);
  expect_ok(td_trace_append(writer, TD_TABLE_RESIDENCY, stays, 4));
  td_trace_abandon(writer, "stopped");
  struct td_trace *trace = load(part);
  struct all found = stream_all(trace);
  assert_int_equal(found.count, 6); /* 0, 1 and four of nine; of requests 0 and 7 the beginning is not there */
  for (uint32_t i = 0; i < 6; i++) assert_true(found.rows[i].request == 3 && found.rows[i].index == i);
  assert_int_equal(found.rows[5].time, 74 * MS);
  free(found.rows);
  td_trace_free(trace);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(fleets),
                                     cmocka_unit_test(samples),
                                     cmocka_unit_test(paces),
                                     cmocka_unit_test(paces_without_their_row),
                                     cmocka_unit_test(everything_at_once),
                                     cmocka_unit_test(any_gaps),
                                     cmocka_unit_test(no_limit),
                                     cmocka_unit_test(contradictions),
                                     cmocka_unit_test(unfinished)};
  const char *folder = test_scratch();
  snprintf(path, sizeof path, "%s/stream.h5", folder);
  snprintf(part, sizeof part, "%s.part", path);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  if (!failed) test_run(NULL, 0, "rm -rf %s", folder);
  return failed;
}
