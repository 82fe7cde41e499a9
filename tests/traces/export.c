/* SPDX-License-Identifier: Apache-2.0
 *
 * Exports read back: every line of CSV against the rows, the timeline as JSON.
 */
#include <inttypes.h>
#include <jansson.h>
#include <math.h>

#include "../support.h"
#include "fleet.h"
#include "samples.h"
#include "tandem/export.h"

static char folder[4096], path[4200], out_path[4200];

static void expect_ok(td_status status) {
  if (status) fail_msg("%s", td_error_text());
}

static void expect_error(td_status status, td_status wanted, const char *part) {
  if (status != wanted || !strstr(td_error_text(), part)) {
    fail_msg("status %d, \"%s\"; expected %d and \"%s\"", status, td_error_text(), wanted, part);
  }
}

static struct td_trace *load(void) {
  struct td_trace *trace = NULL;
  expect_ok(td_trace_load(path, &trace));
  return trace;
}

static FILE *csv(const struct td_trace *trace, const char *table) {
  FILE *file = tmpfile();
  assert_non_null(file);
  expect_ok(td_export_csv(trace, table, file));
  rewind(file);
  return file;
}

static void expect_line(FILE *file, const char *expected) {
  char line[2048];
  if (!fgets(line, sizeof line, file)) fail_msg("no line, expected %s", expected);
  if (strcmp(line, expected)) fail_msg("found %s, expected %s", line, expected);
}

static void expect_end(FILE *file) {
  assert_int_equal(fgetc(file), EOF);
  fclose(file);
}

/* ---- tokens ---- */

static const char *real(double value, char out[32]) {
  *out = 0;
  if (!isnan(value)) snprintf(out, 32, "%.17g", value);
  return out;
}

static void compare_tokens(const struct td_trace *trace) {
  struct td_trace_stream *stream = NULL;
  const struct td_trace_token *rows = NULL;
  char line[512], logprob[32], gap[32];
  size_t count = 1;
  FILE *file = csv(trace, "tokens");
  expect_line(file, "request,index,id,time,device,logprob,gap\n");
  expect_ok(td_trace_stream_open(trace, &stream));
  while (count) {
    expect_ok(td_trace_stream_next(stream, &rows, &count));
    for (size_t i = 0; i < count; i++) {
      const struct td_trace_token *row = &rows[i];
      snprintf(line, sizeof line, "%" PRIu64 ",%" PRIu32 ",%" PRId32 ",%" PRId64 ",%" PRIu32 ",%s,%s\n", row->request,
               row->index, row->id, row->time, row->device, real(row->logprob, logprob), real(row->gap, gap));
      expect_line(file, line);
    }
  }
  td_trace_stream_close(stream);
  expect_end(file);
}

static void tokens(void **state) {
  (void)state;
  for (int kind = SAMPLE_EXECUTED; kind <= SAMPLE_MIXED; kind++) {
    const struct sample sample = {.kind = (enum sample_kind)kind, .requests = 14, .seed = 2};
    expect_ok(sample_write(path, &sample));
    struct td_trace *trace = load();
    compare_tokens(trace);
    td_trace_free(trace);
  }
  const struct fleet fleet = {.requests = 200, .seed = 5, .devices = 2, .disaggregated = true};
  expect_ok(fleet_write(path, &fleet, NULL));
  struct td_trace *trace = load();
  compare_tokens(trace);
  td_trace_free(trace);
}

/* ---- numbers of every length, texts that need quotes, stretches ---- */

static struct td_trace_writer *begin(void) {
  struct td_trace_run run = sample_run(NULL);
  struct td_trace_writer *writer = NULL;
  const struct td_row_device device = {0, "a,\"b\"", "pool", "cpu", "", 0, 1, 1, 0, -1, 31, 7};
  expect_ok(td_trace_create(path, &run, &writer));
  expect_ok(td_trace_append(writer, TD_TABLE_DEVICES, &device, 1));
  return writer;
}

static void numbers(void **state) {
  (void)state;
  struct td_trace_writer *writer = begin();
  char line[512];
  uint64_t power = 1;
  for (uint32_t i = 0; i < 3 * 20; i++) {
    struct td_row_transfer row = {.bytes = power - 1 + i % 3, .time_kind = TD_TIME_MODELLED};
    expect_ok(td_trace_append(writer, TD_TABLE_TRANSFERS, &row, 1));
    if (i % 3 == 2) power *= 10;
  }
  const struct td_row_transfer last = {.bytes = UINT64_MAX};
  const struct td_row_request request = {.name = "it",
                                         .arrival = 5,
                                         .admitted = -1,
                                         .first_step = -1,
                                         .first_token = -1,
                                         .finished = -1,
                                         .cached_tokens = 7,
                                         .interruptions = 2};
  const struct td_row_change change = {9, 0, TD_CHANGE_DECODE};
  expect_ok(td_trace_append(writer, TD_TABLE_TRANSFERS, &last, 1));
  expect_ok(td_trace_append(writer, TD_TABLE_REQUESTS, &request, 1));
  expect_ok(td_trace_append(writer, TD_TABLE_CHANGES, &change, 1));
  expect_ok(td_trace_finish(writer));
  struct td_trace *trace = load();
  FILE *file = csv(trace, "transfers");
  expect_line(file,
              "request,from,to,layer_begin,layer_end,token_begin,token_end,bytes,start,duration,time_kind,payload\n");
  for (uint64_t i = 0; i < trace->count[TD_TABLE_TRANSFERS]; i++) {
    const struct td_row_transfer *row = &trace->transfers[i];
    snprintf(line, sizeof line, "0,0,0,0,0,0,0,%" PRIu64 ",0,0,%d,0\n", row->bytes, (int)row->time_kind);
    expect_line(file, line);
  }
  expect_end(file);
  file = csv(trace, "requests");
  expect_line(file,
              "request,name,arrival,admitted,first_step,first_token,finished,prompt_tokens,output_tokens,max_tokens,"
              "finish,prefill_device,decode_device,kv_bytes,cached_tokens,interruptions\n");
  expect_line(file, "0,it,5,-1,-1,-1,-1,0,0,0,0,0,0,0,7,2\n");
  expect_end(file);
  file = csv(trace, "changes");
  expect_line(file, "time,device,change\n");
  expect_line(file, "9,0,2\n");
  expect_end(file);
  file = csv(trace, "devices");
  expect_line(file, "device,name,pool,backend,file,role,executes,exact,model,layer_begin,layer_end,parts\n");
  expect_line(file, "0,\"a,\"\"b\"\"\",pool,cpu,,0,1,1,0,-1,31,7\n");
  expect_end(file);
  expect_error(td_export_csv(trace, "rows", stdout), TD_USAGE, "expected one of devices, requests, steps, tokens");
  td_trace_free(trace);
}

static void stretches(void **state) {
  (void)state;
  struct td_trace_writer *writer = begin();
  const struct td_row_step steps[2] = {
      {.step = 3,
       .index = 7,
       .start = 100,
       .duration = 10,
       .slope = -2,
       .count = 3,
       .batch = 4,
       .time_kind = 2,
       .energy = 5},
      {.step = 6, .index = 10, .start = 130, .count = 2, .tokens = 8, .time_kind = 1, .energy = NAN}};
  expect_ok(td_trace_append(writer, TD_TABLE_STEPS, steps, 2));
  expect_ok(td_trace_finish(writer));
  struct td_trace *trace = load();
  FILE *file = csv(trace, "steps");
  expect_line(file, "step,index,device,kind,start,duration,batch,tokens,time_kind,interval,energy\n");
  expect_line(file, "3,7,0,0,100,10,4,0,2,0,5\n");
  expect_line(file, "4,8,0,0,110,8,4,0,2,0,4\n");
  expect_line(file, "5,9,0,0,118,6,4,0,2,0,3\n");
  expect_line(file, "6,10,0,0,130,0,0,8,1,0,\n");
  expect_line(file, "7,11,0,0,130,0,0,8,1,0,\n");
  expect_end(file);
  td_trace_free(trace);
}

/* Few rows that stand for more than anybody wants are refused before the first one. */
static void too_many(void **state) {
  (void)state;
  struct td_trace_writer *writer = begin();
  for (uint64_t i = 0; i < 3; i++) {
    const struct td_row_step step = {.index = i << 30, .count = 1u << 30, .time_kind = TD_TIME_MODELLED};
    const struct td_row_residency stay = {
        .tokens_per_step = 1, .first_index = i << 30, .count = 1u << 30, .first_token = i << 30};
    expect_ok(td_trace_append(writer, TD_TABLE_STEPS, &step, 1));
    expect_ok(td_trace_append(writer, TD_TABLE_RESIDENCY, &stay, 1));
  }
  const struct td_row_request request = {.output_tokens = 3u << 30};
  expect_ok(td_trace_append(writer, TD_TABLE_REQUESTS, &request, 1));
  expect_ok(td_trace_finish(writer));
  struct td_trace *trace = load();
  expect_error(td_export_csv(trace, "tokens", stdout), TD_UNSUPPORTED, "found 3221225472 rows of tokens");
  expect_error(td_export_csv(trace, "steps", stdout), TD_UNSUPPORTED, "found 3221225472 rows of steps");
  td_trace_free(trace);
}

/* ---- the timeline ---- */

static json_t *timeline(const struct td_trace *trace, int64_t from, int64_t until) {
  FILE *file = tmpfile();
  json_error_t error;
  assert_non_null(file);
  expect_ok(td_export_perfetto(trace, from, until, file));
  rewind(file);
  json_t *whole = json_loadf(file, 0, &error);
  if (!whole) fail_msg("%s", error.text);
  fclose(file);
  json_t *events = json_incref(json_object_get(whole, "traceEvents"));
  json_decref(whole);
  assert_true(json_is_array(events));
  return events;
}

static size_t count_of(const json_t *events, const char *phase, int process) {
  size_t count = 0, i;
  json_t *event;
  json_array_foreach(events, i, event) {
    count += !strcmp(json_string_value(json_object_get(event, "ph")), phase) &&
             json_integer_value(json_object_get(event, "pid")) == process;
  }
  return count;
}

static void perfetto(void **state) {
  (void)state;
  const struct sample sample = {.kind = SAMPLE_MIXED, .requests = 9, .seed = 2};
  expect_ok(sample_write(path, &sample));
  struct td_trace *trace = load();
  free(trace->changes);
  trace->changes = calloc(1, sizeof *trace->changes);
  assert_non_null(trace->changes);
  trace->count[TD_TABLE_CHANGES] = 1;
  json_t *events = timeline(trace, 0, INT64_MAX);
  assert_int_equal(count_of(events, "X", 1), trace->count[TD_TABLE_STEPS]);
  assert_int_equal(count_of(events, "M", 1), 1 + trace->count[TD_TABLE_DEVICES]);
  assert_int_equal(count_of(events, "b", 2), 4 * 9);
  assert_int_equal(count_of(events, "e", 2), 4 * 9);
  assert_int_equal(count_of(events, "b", 3), trace->count[TD_TABLE_TRANSFERS]);
  assert_int_equal(count_of(events, "i", 1), 1);
  double start = json_number_value(json_object_get(json_array_get(events, 5), "ts"));
  assert_true(fabs(start - (double)trace->steps[0].start / 1e6) < 1e-6);
  json_decref(events);
  events = timeline(trace, trace->steps[0].start, trace->steps[0].start);
  assert_int_equal(count_of(events, "X", 1), 1);
  json_decref(events);
  td_trace_free(trace);
}

static void too_many_events(void **state) {
  (void)state;
  struct td_trace_writer *writer = begin();
  struct td_row_step step = {.duration = 10, .count = 1, .time_kind = TD_TIME_MODELLED};
  for (uint64_t i = 0; i < 1000100; i++) {
    step.step = step.index = i;
    step.start = (int64_t)i * 10;
    expect_ok(td_trace_append(writer, TD_TABLE_STEPS, &step, 1));
  }
  expect_ok(td_trace_finish(writer));
  struct td_trace *trace = load();
  FILE *file = tmpfile();
  assert_non_null(file);
  expect_error(td_export_perfetto(trace, 0, INT64_MAX, file), TD_UNSUPPORTED, "found 1000101 events");
  assert_int_equal(ftell(file), 0);
  fclose(file);
  json_t *events = timeline(trace, 50, 109);
  assert_int_equal(count_of(events, "X", 1), 7); /* one ends at 50 */
  json_decref(events);
  td_trace_free(trace);
}

/* ---- the command ---- */

static void expect_run(const char *arguments, int code, const char *part) {
  char out[65536] = "";
  int found = test_run(out, sizeof out, "%s export %s 2>&1", TANDEM_PROGRAM, arguments);
  if (found != code || !strstr(out, part)) fail_msg("%s: %d, %s", arguments, found, out);
}

static void command(void **state) {
  (void)state;
  char line[9000];
  const struct sample sample = {.kind = SAMPLE_MODELLED, .requests = 3, .seed = 2};
  expect_ok(sample_write(path, &sample));
  expect_run("", 2, "expected a trace");
  snprintf(line, sizeof line, "%s", path);
  expect_run(line, 2, "--to: found none, expected csv or perfetto");
  snprintf(line, sizeof line, "%s --to xml", path);
  expect_run(line, 2, "found \"xml\"");
  snprintf(line, sizeof line, "%s --to csv --from 1", path);
  expect_run(line, 2, "--from: csv has whole tables");
  snprintf(line, sizeof line, "%s --to perfetto --table steps", path);
  expect_run(line, 2, "--table: perfetto has all in one");
  snprintf(line, sizeof line, "%s --to perfetto --from 2 --until 1", path);
  expect_run(line, 2, "expected no less than --from");
  snprintf(line, sizeof line, "%s --to perfetto --from=-1", path);
  expect_run(line, 2, "expected seconds");
  snprintf(line, sizeof line, "%s --to csv -o %s", path, path);
  expect_run(line, 2, "would replace the trace");
  snprintf(line, sizeof line, "%s --to csv --table nothing -o %s", path, out_path);
  expect_run(line, 2, "found no table \"nothing\"");
  assert_int_not_equal(access(out_path, F_OK), 0);
  snprintf(line, sizeof line, "%s --to csv", path);
  expect_run(line, 0, "request,index,id,time,device,logprob,gap\n0,0,-1,");
  snprintf(line, sizeof line, "%s --to csv > /dev/full", path);
  expect_run(line, 1, ""); /* and its error goes there too */
  snprintf(line, sizeof line, "%s --to perfetto -o %s", path, out_path);
  expect_run(line, 0, "");
  json_t *whole = json_load_file(out_path, 0, NULL);
  assert_true(json_is_array(json_object_get(whole, "traceEvents")));
  json_decref(whole);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(tokens),   cmocka_unit_test(numbers),  cmocka_unit_test(stretches),
      cmocka_unit_test(too_many), cmocka_unit_test(perfetto), cmocka_unit_test(too_many_events),
      cmocka_unit_test(command),
  };
  snprintf(folder, sizeof folder, "%s", test_scratch());
  snprintf(path, sizeof path, "%s/export.h5", folder);
  snprintf(out_path, sizeof out_path, "%s/export.out", folder);
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  if (!failed) test_run(NULL, 0, "rm -rf %s", folder);
  return failed;
}
