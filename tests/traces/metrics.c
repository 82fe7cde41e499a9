/* SPDX-License-Identifier: Apache-2.0
 *
 * The numbers of tandem/metrics.h against a trace small enough to compute them by hand.
 */
#include "tandem/metrics.h"

#include <math.h>

#include "../support.h"
#include "samples.h"

#define S TD_PS_PER_SECOND

static char path[4200];

static double slo_ttft, slo_tpot;

static struct td_trace_writer *begin(void) {
  struct td_trace_run run = sample_run(NULL);
  run.slo_ttft = slo_ttft;
  run.slo_tpot = slo_tpot;
  struct td_trace_writer *writer = NULL;
  assert_int_equal(td_trace_create(path, &run, &writer), TD_OK);
  const struct td_row_device devices[2] = {{.device = 0, .name = "p", .role = 1, .executes = 1},
                                           {.device = 1, .name = "d", .role = 2, .executes = 0}};
  assert_int_equal(td_trace_append(writer, TD_TABLE_DEVICES, devices, 2), TD_OK);
  return writer;
}

static struct td_trace *end(struct td_trace_writer *writer) {
  struct td_trace *trace = NULL;
  if (td_trace_finish(writer) || td_trace_load(path, &trace)) fail_msg("%s", td_error_text());
  return trace;
}

/* Request 0: arrives at 1 s, prefilled on 0 from 2 to 3 s, four more tokens in one row of steps on 1, from 4 s on:
 * durations 1, 1.5, 2 and 2.5 s, so at 5, 6.5, 8.5 and 11 s. Request 1: arrives at 0, its one token at 13 s. Request 2
 * is refused. */
static struct td_trace *by_hand(void) {
  struct td_trace_writer *writer = begin();
  const struct td_row_step steps[3] = {
      {0, 0, 0, TD_STEP_PREFILL, 2 * S, 1 * S, 0, 1, 1, 10, TD_TIME_EXECUTED, 0, NAN},
      {1, 0, 1, TD_STEP_DECODE, 4 * S, 1 * S, S / 2, 4, 1, 1, TD_TIME_MODELLED, 0, 8},
      {5, 1, 0, TD_STEP_PREFILL, 11 * S, 2 * S, 0, 1, 1, 20, TD_TIME_EXECUTED, 0, NAN}};
  const struct td_row_token tokens[2] = {{0, 0, 5, 0, 0, 0, 3 * S, 0, -1, 1}, {1, 0, 6, 0, 0, 0, 13 * S, 5, -1, 1}};
  const struct td_row_residency stay = {0, 1, 1, 0, 4, 1};
  const struct td_row_transfer transfers[2] = {{0, 0, 1, 0, 4, 0, 10, 600, 3 * S, S / 4, TD_TIME_MODELLED, 0},
                                               {0, 0, 1, 4, 8, 0, 10, 400, 3 * S, S / 2, TD_TIME_MODELLED, 0}};
  const struct td_row_request requests[3] = {
      {0, "a", 1 * S, 1 * S, 2 * S, 3 * S, 11 * S, 10, 5, 5, TD_FINISH_LENGTH, 0, 1, 1000, 6, 1},
      {1, "b", 0, 11 * S, 11 * S, 13 * S, 13 * S, 20, 1, 9, TD_FINISH_END, 0, 0, 0, 4, 0},
      {2, "c", 2 * S, -1, -1, -1, 3 * S, 40, 0, 9, TD_FINISH_REFUSED, 0, 0, 0, 0, 0}};
  /* the second device is down for 1.5 s, and again for good, of which 0.5 s are within the run */
  const struct td_row_change changes[5] = {{1 * S, 0, TD_CHANGE_BOTH},
                                           {1 * S, 1, TD_CHANGE_DOWN},
                                           {2 * S + S / 2, 1, TD_CHANGE_UP},
                                           {3 * S, 0, TD_CHANGE_PREFILL},
                                           {12 * S + S / 2, 1, TD_CHANGE_DOWN}};
  assert_int_equal(td_trace_append(writer, TD_TABLE_STEPS, steps, 3), TD_OK);
  assert_int_equal(td_trace_append(writer, TD_TABLE_TOKENS, tokens, 2), TD_OK);
  assert_int_equal(td_trace_append(writer, TD_TABLE_RESIDENCY, &stay, 1), TD_OK);
  assert_int_equal(td_trace_append(writer, TD_TABLE_TRANSFERS, transfers, 2), TD_OK);
  assert_int_equal(td_trace_append(writer, TD_TABLE_REQUESTS, requests, 3), TD_OK);
  assert_int_equal(td_trace_append(writer, TD_TABLE_CHANGES, changes, 5), TD_OK);
  return end(writer);
}

static void expansion(void **state) {
  (void)state;
  struct td_trace *trace = by_hand();
  struct td_trace_token *tokens = NULL;
  uint64_t count = 0;
  static const int64_t times[] = {3 * S, 5 * S, 6 * S + S / 2, 8 * S + S / 2, 11 * S};
  assert_int_equal(td_trace_request_tokens(trace, 0, &tokens, &count), TD_OK);
  assert_int_equal(count, 5);
  for (uint32_t i = 0; i < 5; i++) {
    assert_int_equal(tokens[i].index, i);
    assert_int_equal(tokens[i].time, times[i]);
    assert_int_equal(tokens[i].device, i > 0);
    assert_int_equal(tokens[i].id, i ? -1 : 5);
    assert_int_equal(isnan(tokens[i].logprob) != 0, i > 0);
  }
  free(tokens);
  assert_int_equal(td_trace_request_tokens(trace, 77, &tokens, &count), TD_OK);
  assert_int_equal(count, 0);
  td_trace_free(trace);
}

static void expect(double found, double wanted) {
  if (found != wanted) fail_msg("found %.17g, expected %.17g", found, wanted);
}

static void numbers(void **state) {
  (void)state;
  struct td_trace *trace = by_hand();
  struct td_metrics m;
  assert_int_equal(td_metrics_compute(trace, &m), TD_OK);
  assert_int_equal(m.requests, 2);
  assert_int_equal(m.refused, 1);
  assert_int_equal(m.prompt_tokens, 30);
  assert_int_equal(m.output_tokens, 6);
  expect(m.makespan_s, 13);
  expect(m.output_tokens_per_s, 6.0 / 13);
  expect(m.per_request[0].ttft, 2);
  expect(m.per_request[0].e2e, 10);
  expect(m.per_request[0].tpot, 2);
  expect(m.per_request[0].queueing, 1);
  expect(m.per_request[0].user_rate, 0.5);
  expect(m.ttft.mean, 7.5);
  expect(m.ttft.p50, 7.5);
  expect(m.ttft.max, 13);
  assert_int_equal(m.tpot.count, 1);
  assert_int_equal(m.itl.count, 4);
  expect(m.itl.mean, 2);
  expect(m.itl.p50, 2);
  expect(m.itl.max, 2.5);
  expect(m.itl.min, 1.5);
  expect(m.queueing.mean, 6);
  assert_int_equal(m.transfers, 2);
  assert_int_equal(m.kv_bytes, 1000);
  expect(m.transfer_busy_s, 0.5); /* they overlap for a quarter of a second */
  assert_int_equal(m.devices[0].steps, 2);
  assert_int_equal(m.devices[0].tokens_computed, 30);
  assert_int_equal(m.devices[0].output_tokens, 2);
  assert_int_equal(m.devices[1].steps, 4);
  assert_int_equal(m.devices[1].tokens_computed, 4);
  assert_int_equal(m.devices[1].output_tokens, 4);
  expect(m.devices[1].busy_s, 7);
  expect(m.devices[1].energy_j, 56); /* 8 W for 7 s */
  expect(m.devices[1].tokens_per_s, 4.0 / 13);
  assert_true(isnan(m.devices[0].energy_j));
  assert_int_equal(m.devices[0].kv_sent, 1000);
  assert_int_equal(m.devices[1].kv_received, 1000);
  assert_int_equal(m.devices[0].kv_received + m.devices[1].kv_sent, 0);
  assert_int_equal(m.cached_tokens, 10);
  assert_int_equal(m.interruptions, 1);
  assert_int_equal(m.role_changes, 2);
  assert_int_equal(m.failures, 2);
  expect(m.down_s, 2);
  assert_int_equal(m.steps, 6);
  td_metrics_free(&m);
  td_trace_free(trace);
}

/* Request a has a TTFT of 2 s and a TPOT of 2 s, b a TTFT of 13 s and one token. */
static void goodput(void **state) {
  (void)state;
  static const struct {
    double ttft, tpot;
    uint64_t within_ttft, within_tpot, within;
  } cases[] = {{2, 2, 1, 2, 1}, {1.999, 2, 0, 2, 0}, {13, 1.999, 2, 1, 1}, {0, 1.5, 2, 1, 1}, {2, 0, 1, 2, 1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct td_metrics m;
    slo_ttft = cases[i].ttft;
    slo_tpot = cases[i].tpot;
    struct td_trace *trace = by_hand();
    assert_int_equal(td_metrics_compute(trace, &m), TD_OK);
    assert_int_equal(m.within_ttft, cases[i].within_ttft);
    assert_int_equal(m.within_tpot, cases[i].within_tpot);
    assert_int_equal(m.within, cases[i].within);
    td_metrics_free(&m);
    td_trace_free(trace);
  }
  slo_ttft = slo_tpot = 0;
}

/* What is not all never reads as 100 %. */
static void nearly_all(void **state) {
  static const struct {
    double part, all;
    const char *text;
  } cases[] = {{1, 3, "33.33 %"},
               {3, 3, "100 %"},
               {0, 3, "0 %"},
               {0, 0, "0 %"},
               {199992, 200000, "99.996 %"},
               {999999, 1000000, "99.9999 %"},
               {999999999, 1000000000, "99.9999999 %"},
               {0x1.fffffffffffffp51, 0x1p52, "99.99999999999999 %"}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    td_print_percent(cases[i].part, cases[i].all, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, cases[i].text);
    free(text);
  }
  const struct td_metrics m = {.requests = 999999,
                               .refused = 1,
                               .makespan_s = 2,
                               .slo_ttft = 1,
                               .within_ttft = 999999,
                               .within_tpot = 1000000,
                               .within = 999999};
  char *text = NULL;
  size_t bytes = 0;
  FILE *out = open_memstream(&text, &bytes);
  assert_non_null(out);
  td_metrics_print_goodput(&m, out);
  assert_int_equal(fclose(out), 0);
  assert_string_equal(text, "goodput     500000 requests/s: 99.9999 % within the SLO (TTFT 99.9999 %, TPOT 100 %)\n");
  free(text);
}

static void nothing_happened(void **state) {
  (void)state;
  struct td_trace *trace = end(begin());
  struct td_metrics m;
  assert_int_equal(td_metrics_compute(trace, &m), TD_OK);
  assert_int_equal(m.requests, 0);
  assert_true(isnan(m.makespan_s) && isnan(m.ttft.p50) && isnan(m.itl.mean) && isnan(m.devices[0].tokens_per_s));
  td_metrics_print(trace, &m, stdout);
  td_metrics_print_requests(trace, &m, stdout);
  td_metrics_json(trace, &m, NULL, stdout);
  td_metrics_free(&m);
  td_trace_free(trace);
}

/* Of many devices, those of a pool together; of few, each. */
static void devices_of_a_pool(void **state) {
  (void)state;
  char *text = NULL;
  size_t bytes = 0;
  for (uint32_t count = 62; count < 64; count++) {
    struct td_trace_writer *writer = begin(); /* p and d */
    struct td_metrics m;
    for (uint32_t i = 2; i < 2 + count; i++) {
      struct td_row_device row = {.device = i};
      const struct td_row_step step = {.device = i, .start = i, .duration = S, .count = 2, .time_kind = 2, .energy = 3};
      snprintf(row.pool, sizeof row.pool, "many");
      snprintf(row.name, sizeof row.name, "many.%d", (int)i);
      assert_int_equal(td_trace_append(writer, TD_TABLE_DEVICES, &row, 1), TD_OK);
      if (i % 2) assert_int_equal(td_trace_append(writer, TD_TABLE_STEPS, &step, 1), TD_OK);
    }
    struct td_trace *trace = end(writer);
    assert_int_equal(td_metrics_compute(trace, &m), TD_OK);
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    td_metrics_print(trace, &m, out);
    fclose(out);
    assert_true(!strstr(text, "many.2 ") == (count == 63));
    const char *line = strstr(text, "many x 63 ");
    assert_true(!line == (count == 62));
    if (line) assert_true(strstr(line, "      62 ") && strstr(line, " 186\n")); /* steps; 31 busy ones of 6 J */
    free(text);
    td_metrics_free(&m);
    td_trace_free(trace);
  }
}

/* A part file: the running request has tokens, no row, and a residency that points to a step not written yet. */
static void unfinished_request(void **state) {
  (void)state;
  struct td_trace_writer *writer = begin();
  const struct td_row_step step = {0, 0, 0, TD_STEP_PREFILL, 0, S, 0, 1, 1, 9, TD_TIME_EXECUTED, 0, NAN};
  const struct td_row_token token = {3, 0, 5, 0, 0, 0, S, 0, -1, 1};
  const struct td_row_residency stay = {3, 1, 1, 0, 4, 1};
  assert_int_equal(td_trace_append(writer, TD_TABLE_STEPS, &step, 1), TD_OK);
  assert_int_equal(td_trace_append(writer, TD_TABLE_TOKENS, &token, 1), TD_OK);
  assert_int_equal(td_trace_append(writer, TD_TABLE_RESIDENCY, &stay, 1), TD_OK);
  td_trace_abandon(writer, "stopped");
  char part[4300];
  struct td_trace *trace = NULL;
  struct td_metrics m;
  struct td_trace_token *tokens = NULL;
  uint64_t count = 0;
  snprintf(part, sizeof part, "%s.part", path);
  assert_int_equal(td_trace_load(part, &trace), TD_OK);
  assert_int_equal(td_trace_request_tokens(trace, 3, &tokens, &count), TD_OK);
  assert_int_equal(count, 1);
  free(tokens);
  assert_int_equal(td_metrics_compute(trace, &m), TD_OK);
  assert_int_equal(m.requests, 0);
  assert_int_equal(m.devices[0].steps, 1);
  td_metrics_free(&m);
  td_trace_free(trace);
}

static void percentiles(void **state) {
  (void)state;
  const double values[] = {1, 2, 4, 8};
  expect(td_percentile(values, 4, 0), 1);
  expect(td_percentile(values, 4, 100), 8);
  expect(td_percentile(values, 4, 50), 3);
  expect(td_percentile(values, 1, 99), 1);
  assert_true(isnan(td_percentile(values, 0, 50)));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(expansion),
                                     cmocka_unit_test(numbers),
                                     cmocka_unit_test(nothing_happened),
                                     cmocka_unit_test(devices_of_a_pool),
                                     cmocka_unit_test(unfinished_request),
                                     cmocka_unit_test(percentiles),
                                     cmocka_unit_test(goodput),
                                     cmocka_unit_test(nearly_all)};
  const char *folder = test_scratch();
  snprintf(path, sizeof path, "%s/hand.h5", folder);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  test_run(NULL, 0, "rm -rf %s", folder);
  return failed;
}
