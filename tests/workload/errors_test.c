/* SPDX-License-Identifier: Apache-2.0
 *
 * Traces that are wrong: one line with file, row, what was found and what was expected, in bounded time and memory.
 */
#include "harness.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <zlib.h>

#define VIDUR "format = \"vidur\"; file = \"v.csv\";"
#define HEAD "arrived_at,num_prefill_tokens,num_decode_tokens\n"

struct mistake {
  const char *text, *wrong;
};

static void expect_each(const char *file, const char *source, const struct mistake *mistakes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    scratch_file(file, mistakes[i].text);
    expect_refused(source, mistakes[i].wrong);
  }
}
#define EXPECT_EACH(file, source, list) expect_each(file, source, list, sizeof list / sizeof *list)

static void columns(void **state) {
  (void)state;
  static const struct mistake mistakes[] = {
      {"", "v.csv: found an empty file, expected a trace"},
      {"\n\n", "v.csv: found an empty file, expected a trace"},
      {HEAD, "v.csv: found no rows, expected at least one"},
      {"arrived_at,num_prefill_tokens\n0,1\n",
       "v.csv:1: found no column \"num_decode_tokens\", expected [arrived_at],num_prefill_tokens,num_decode_tokens,"},
      {"num_prefill_tokens,num_decode_tokens\n1,1\n", "v.csv:1: found no column \"arrived_at\", expected "},
      {"arrived_at,num_prefill_tokens,num_decode_tokens,colour\n0,1,1,red\n", "v.csv:1: found the column \"colour\""},
      {"arrived_at,num_prefill_tokens,num_decode_tokens,arrived_at\n0,1,1,0\n",
       "v.csv:1: found twice the column \"arrived_at\""},
      {"Arrived_at,num_prefill_tokens,num_decode_tokens\n0,1,1\n", "v.csv:1: found the column \"Arrived_at\""},
      {HEAD "0,1,1\n1,2\n", "v.csv:3: found 2 fields, expected 3"},
      {HEAD "0,1,1\n1\n", "v.csv:3: found 1 field, expected 3"},
      {HEAD "0,1,1\n1,2,3,4\n", "v.csv:3: found 4 fields, expected 3"},
      {HEAD "0,1,1\n\n2,1,1\n", "v.csv:3: found an empty line, expected one only at the end of the file"},
      {HEAD "0,\"1,1\n", "v.csv:2: found a quote that does not end in its line, expected it closed"},
      {HEAD "0,\"1\"2,1\n", "v.csv:2: found text behind a closing quote, expected a comma"},
      {HEAD "0,\xff\xfe,1\n", "v.csv:2: found bytes that are not UTF-8 after 2 others, expected text"},
      {HEAD "0,\xc0\xaf,1\n", "v.csv:2: found bytes that are not UTF-8"},
  };
  EXPECT_EACH("v.csv", VIDUR, mistakes);
}

static void values(void **state) {
  (void)state;
  static const struct mistake mistakes[] = {
      {HEAD "0,0,1\n", "v.csv:2: num_prefill_tokens: found \"0\", expected tokens, 1 to 10000000"},
      {HEAD "0,1,0\n", "v.csv:2: num_decode_tokens: found \"0\", expected tokens, 1 to 10000000"},
      {HEAD "0,1,1\n1,-5,1\n", "v.csv:3: num_prefill_tokens: found \"-5\", expected tokens"},
      {HEAD "0,1,1\n1,+5,1\n", "v.csv:3: num_prefill_tokens: found \"+5\", expected tokens"},
      {HEAD "0,nan,1\n", "v.csv:2: num_prefill_tokens: found \"nan\", expected tokens"},
      {HEAD "0,1.5,1\n", "v.csv:2: num_prefill_tokens: found \"1.5\", expected tokens"},
      {HEAD "0,,1\n", "v.csv:2: num_prefill_tokens: found \"\", expected tokens"},
      {HEAD "0,0x10,1\n", "v.csv:2: num_prefill_tokens: found \"0x10\", expected tokens"},
      {HEAD "0,10000001,1\n", "v.csv:2: num_prefill_tokens: found \"10000001\", expected tokens, 1 to 10000000"},
      {HEAD "0,18446744073709551617,1\n", "v.csv:2: num_prefill_tokens: found \"18446744073709551617\""},
      {HEAD "0,1,99999999999999999999999999999999999999999999999999999999999999999\n",
       "v.csv:2: num_decode_tokens: found \"999999999999999999999999999999999999999999999999999999999999...\""},
      {HEAD "nan,1,1\n", "v.csv:2: arrived_at: found \"nan\", expected a time, not negative"},
      {HEAD "inf,1,1\n", "v.csv:2: arrived_at: found \"inf\", expected a time"},
      {HEAD "-1,1,1\n", "v.csv:2: arrived_at: found \"-1\", expected a time"},
      {HEAD ",1,1\n", "v.csv:2: arrived_at: found \"\", expected a time"},
      {HEAD ".,1,1\n", "v.csv:2: arrived_at: found \".\", expected a time"},
      {HEAD "1e,1,1\n", "v.csv:2: arrived_at: found \"1e\", expected a time"},
      {HEAD "0x1p3,1,1\n", "v.csv:2: arrived_at: found \"0x1p3\", expected a time"},
      {HEAD "1e400,1,1\n", "v.csv:2: arrived_at: found \"1e400\", expected a time"},
      {HEAD "99999999999999999999,1,1\n", "v.csv:2: arrived_at: found \"99999999999999999999\", expected a time"},
      {HEAD "9300000,1,1\n", "v.csv:2: found a time 9300000 s after the trace's beginning, expected at most 9000000"},
      {HEAD "9000000.000000000001,1,1\n", "v.csv:2: found a time 9000000 s after the trace's beginning"},
      {HEAD "2,1,1\n1.999999999999,1,1\n", "v.csv:3: found a time before the previous row's, expected rows in order"},
  };
  EXPECT_EACH("v.csv", VIDUR, mistakes);
  /* A trace whose times do not count may have them in any order, but each must be one. */
  scratch_file("v.csv", HEAD "2,1,1\n1,1,1\n");
  struct opened opened = must_open(VIDUR "arrivals = \"poisson\"; rate = 1.0;");
  assert_int_equal(take_all(opened.workload).count, 2);
  close_opened(&opened);
  scratch_file("v.csv", HEAD "2,1,1\nnan,1,1\n");
  expect_refused(VIDUR "arrivals = \"poisson\"; rate = 1.0;", "v.csv:3: arrived_at: found \"nan\"");
}

static void stamps(void **state) {
  (void)state;
  static const char *const wrong[] = {"2023-02-29 00:00:00",       "2023-13-01 00:00:00",
                                      "2023-00-01 00:00:00",       "2023-01-01 24:00:00",
                                      "2023-01-01 00:60:00",       "2023-01-01 00:00",
                                      "1969-12-31 00:00:00",       "2023-01-01 00:00:00.",
                                      "2023-01-01 00:00:00+02:00", "12.5",
                                      "2023-1-01 00:00:00",        ""};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    char text[256], expected[256];
    snprintf(text, sizeof text, "TIMESTAMP,ContextTokens,GeneratedTokens\n%s,1,1\n", wrong[i]);
    snprintf(expected, sizeof expected, "a.csv:2: TIMESTAMP: found \"%s\", expected a time such as", wrong[i]);
    scratch_file("a.csv", text);
    expect_refused("format = \"azure\"; file = \"a.csv\";", expected);
  }
}

#define ROW(rest) "{\"timestamp\": 1, \"input_length\": 600, \"output_length\": 5" rest "\n"

static void json(void **state) {
  (void)state;
  static const struct mistake mistakes[] = {
      {"", "m.jsonl: found no rows, expected at least one"},
      {ROW("}"), "m.jsonl:1: found no key hash_ids, expected it"},
      {ROW(", \"hash_ids\": [1]}"),
       "m.jsonl:1: hash_ids: found 1, expected 2: input_length 600 in blocks of 512 tokens"},
      {ROW(", \"hash_ids\": [1, 2, 3]}"), "m.jsonl:1: hash_ids: found 3, expected 2"},
      {ROW(", \"hash_ids\": []}"), "m.jsonl:1: hash_ids: found 0, expected 2"},
      {ROW(", \"hash_ids\": [1, -2]}"), "m.jsonl:1: hash_ids: found \"-2\", expected whole numbers"},
      {ROW(", \"hash_ids\": [1, 18446744073709551616]}"), "m.jsonl:1: hash_ids: found \"18446744073709551616\""},
      {ROW(", \"hash_ids\": [1, 2"), "m.jsonl:1: found the end of the line, expected a comma or ]"},
      {ROW(", \"hash_ids\": 7}"), "m.jsonl:1: found \"7}\", expected a list of hash ids"},
      {ROW(", \"hash_ids\": [1, 2]} x"), "m.jsonl:1: found \"x\", expected the end of the line"},
      {ROW(", \"hash_ids\": [1, 2]"), "m.jsonl:1: found the end of the line, expected a comma or }"},
      {ROW(", \"hash_ids\": [1, 2], \"user\": 3}"), "m.jsonl:1: key: found \"user\", expected timestamp, input_length"},
      {ROW(", \"timestamp\": 2}"), "m.jsonl:1: key: found \"timestamp\", expected each key once"},
      {"[]\n", "m.jsonl:1: found \"[]\", expected an object { ... }"},
      {"{}\n", "m.jsonl:1: found \"}\", expected a key in quotes"},
      {"{\"timestamp\" 1}\n", "m.jsonl:1: found \"1}\", expected a colon"},
      {"{\"timestamp\": \"1\"}\n", "m.jsonl:1: timestamp: found \"\"1\"\", expected a time in ms, not negative"},
      {"{\"timestamp\": 1, \"input_length\": 0}\n", "m.jsonl:1: input_length: found \"0\", expected tokens"},
      {ROW(", \"hash_ids\": [1, 2]}") "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": "
                                      "[4]}\n",
       "m.jsonl:2: found a time before the previous row's"},
  };
  EXPECT_EACH("m.jsonl", "format = \"mooncake\"; file = \"m.jsonl\";", mistakes);
}

static void failed_requests(void **state) {
  (void)state;
  static const struct mistake mistakes[] = {
      {"Timestamp,Request tokens,Response tokens\n5,472,0\n",
       "b.csv:2: Response tokens: found \"0\", expected tokens, 1 to 10000000; skip_failed leaves out requests that "
       "failed"},
      {"Timestamp,Request tokens,Response tokens\n5,472,-1\n",
       "b.csv:2: Response tokens: found \"-1\", expected tokens, 1 to 10000000"},
  };
  EXPECT_EACH("b.csv", "format = \"burstgpt\"; file = \"b.csv\";", mistakes);
}

#define TURNS "session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n"

static void sessions(void **state) {
  (void)state;
  static const struct mistake mistakes[] = {
      {TURNS "a,0,1,0,5,5,0\n", "s.csv:2: round_idx: found 1, expected 0: a session's rounds stand together"},
      {TURNS "a,0,0,0,5,5,0\na,0,2,0,5,5,0\n", "s.csv:3: round_idx: found 2, expected 1"},
      {TURNS "a,0,0,0,5,5,0\nb,0,0,0,5,5,0\na,0,1,0,5,5,0\n", "s.csv:4: round_idx: found 1, expected 0"},
      {TURNS "a,0,0,0,5,5,0\na,0,1,11,5,5,0\n",
       "s.csv:3: prefix_len: found 11, expected at most 10, what the session has by then"},
      {TURNS "a,0,0,0,5,5,-1\n", "s.csv:2: tool_wait_after_ms: found \"-1\", expected milliseconds, 0 to 9e9"},
      {TURNS "a,0,0,0,5,5,nan\n", "s.csv:2: tool_wait_after_ms: found \"nan\""},
      {TURNS "a,0,0,0,5,5,1e12\n", "s.csv:2: tool_wait_after_ms: found \"1e12\""},
      {TURNS "a,0,x,0,5,5,0\n", "s.csv:2: round_idx: found \"x\", expected 0, 1, ..."},
      {TURNS ",0,0,0,5,5,0\n", "s.csv:2: session_id: found \"\", expected a session"},
      {TURNS "a,5,0,0,5,5,0\nb,4,0,0,5,5,0\n", "s.csv:3: found a time before the previous row's"},
      {TURNS "a,5,0,0,5,5,0\na,6,1,0,5,5,0\n",
       "s.csv:3: arrival_time: found another time than in the session's round before, expected the same"},
      {TURNS "a,5,0,0,5,5,0\nb,6,1,0,5,5,0\n", "s.csv:3: round_idx: found 1, expected 0"},
      {TURNS "a,0,0,9999999,9999999,5,0\n", "s.csv:2: found a prompt of 19999998 tokens with its prefix"},
  };
  EXPECT_EACH("s.csv", "format = \"sessions\"; file = \"s.csv\";", mistakes);
}

static void files(void **state) {
  (void)state;
  expect_refused("format = \"vidur\"; file = \"nowhere.csv\";", "w.cfg:3: workload.source.file: ");
  expect_refused("format = \"vidur\"; file = \"nowhere.csv\";", "nowhere.csv: No such file or directory");
  expect_refused("format = \"vidur\"; file = \"/\";", "/: found a folder, expected a file");
  expect_refused("format = \"vidur\"; file = \"/dev/zero\";", "/dev/zero: found a pipe or device, expected a file");
  char path[4300];
  snprintf(path, sizeof path, "%s/pipe", scratch_folder());
  assert_int_equal(mkfifo(path, 0600), 0);
  expect_refused("format = \"vidur\"; file = \"pipe\";", "pipe: found a pipe or device, expected a file");
  scratch_file("v.csv", HEAD "0,1,1\n1,1,1\n");
  expect_refused(VIDUR "requests = 3;", "w.cfg:3: workload.source.requests: found 2 rows in ");
  struct opened opened = must_open(VIDUR "requests = 2;");
  assert_int_equal(td_workload_total(opened.workload), 2);
  assert_int_equal(take_all(opened.workload).count, 2);
  close_opened(&opened);
}

static long resident_kib(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

/* Times beyond int64 picoseconds name the key that makes them; a trace without a span does not repeat for ever. */
static void too_late(void **state) {
  (void)state;
  scratch_file("v.csv", HEAD "0,1,1\n1,1,1\n");
  expect_refused(VIDUR " scale = 1e9;", "workload.source.scale: found a request beyond 9.2e6 s");
  expect_refused(VIDUR " arrivals = \"constant\"; rate = 1e-7;",
                 "workload.source.rate: found a request beyond 9.2e6 s");
  scratch_file("v.csv", HEAD "8000000,1,1\n");
  expect_refused(VIDUR " repeat = true; requests = 3;", "workload.source.repeat: found a request beyond 9.2e6 s");
  scratch_file("v.csv", HEAD "0,1,1\n0,2,1\n");
  expect_refused(VIDUR " repeat = true; duration = 1.0;", "v.csv: found rows of one time only");
  struct opened opened = must_open(VIDUR " repeat = true; requests = 9;");
  assert_int_equal(take_all(opened.workload).count, 9);
  close_opened(&opened);
}

/* A line of 10 GB, on a file system that keeps holes. */
static void an_endless_line(void **state) {
  (void)state;
  scratch_file("v.csv", HEAD "0,1,1\n");
  char path[4300];
  snprintf(path, sizeof path, "%s/v.csv", scratch_folder());
  long before = resident_kib();
  if (truncate(path, (off_t)10 << 30)) {
    print_message("SKIPPED: no file of 10 GB here\n");
    skip();
  }
  expect_refused(VIDUR, "v.csv:3: found a line of over 1048576 bytes, expected a shorter one");
  assert_int_equal(truncate(path, 4096), 0);
  expect_refused(VIDUR, "v.csv:3: found a byte of 0, expected text");
  assert_true(resident_kib() - before < 16 * 1024);
}

/* 64 MiB of one letter in 64 KiB of gzip; and gzip files that are cut short or broken. */
static void packed(void **state) {
  (void)state;
  char path[4300], block[4096];
  snprintf(path, sizeof path, "%s/v.csv", scratch_folder());
  long before = resident_kib();
  gzFile out = gzopen(path, "wb1");
  assert_non_null(out);
  gzputs(out, HEAD "0,1,1\n");
  memset(block, 'a', sizeof block);
  for (int i = 0; i < 16384; i++) assert_int_equal(gzwrite(out, block, sizeof block), sizeof block);
  assert_int_equal(gzclose(out), Z_OK);
  expect_refused(VIDUR, "v.csv:3: found a line of over 1048576 bytes");
  assert_true(resident_kib() - before < 16 * 1024);
  out = gzopen(path, "wb");
  gzputs(out, HEAD);
  for (int i = 0; i < 1000; i++) gzprintf(out, "%d,%d,1\n", i, 1 + i * 7919 % 4096);
  assert_int_equal(gzclose(out), Z_OK);
  struct opened opened = must_open(VIDUR);
  assert_int_equal(take_all(opened.workload).count, 1000);
  close_opened(&opened);
  struct stat found;
  assert_int_equal(stat(path, &found), 0);
  assert_int_equal(truncate(path, found.st_size - 9), 0);
  expect_refused(VIDUR, "v.csv: found a gzip file that is cut short");
  assert_int_equal(truncate(path, 5), 0);
  expect_refused(VIDUR, "v.csv: found ");
  scratch_bytes("v.csv", "\x1f\x8b\x08\0\0\0\0\0\0\3not gzip at all", 25);
  expect_refused(VIDUR, "v.csv: found gzip data that does not unpack");
}

/* One gzip stream after another is one file; what is behind them and no such stream is not passed over. */
static void packed_parts(void **state) {
  (void)state;
  char path[4300];
  snprintf(path, sizeof path, "%s/v.csv", scratch_folder());
  static const char *const parts[] = {HEAD "0,1,1\n1,2", "", ",1\n2,3,1\n"};
  for (int i = 0; i < 3; i++) {
    gzFile out = gzopen(path, i ? "ab" : "wb");
    assert_non_null(out);
    gzputs(out, parts[i]);
    assert_int_equal(gzclose(out), Z_OK);
  }
  struct opened opened = must_open(VIDUR "repeat = true; requests = 7;");
  assert_int_equal(take_all(opened.workload).prompt, 13);
  close_opened(&opened);
  FILE *file = fopen(path, "ab");
  assert_non_null(file);
  fputs("3,4,1\n", file);
  assert_int_equal(fclose(file), 0);
  expect_refused(VIDUR, "v.csv: found gzip data that does not unpack: incorrect header check");
}

/* A file may not change under a workload that reads it again. */
static void changed(void **state) {
  (void)state;
  scratch_file("m.jsonl", "{\"timestamp\": 0, \"input_length\": 1, \"output_length\": 1, \"hash_ids\": [4]}\n");
  struct opened opened = must_open("format = \"mooncake\"; file = \"m.jsonl\"; repeat = true; requests = 9;");
  struct td_job job;
  assert_true(next_job(opened.workload, &job));
  assert_true(next_job(opened.workload, &job));
  char path[4300];
  snprintf(path, sizeof path, "%s/m.jsonl", scratch_folder());
  FILE *file = fopen(path, "ab");
  assert_non_null(file);
  fputs(" ", file);
  fclose(file);
  int64_t at_ps;
  bool any;
  assert_int_equal(td_workload_peek(opened.workload, &at_ps, &any), TD_CORRUPT);
  assert_non_null(strstr(td_error_text(), "found it changed since its first reading"));
  close_opened(&opened);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(columns), cmocka_unit_test(values),          cmocka_unit_test(stamps),
      cmocka_unit_test(json),    cmocka_unit_test(sessions),        cmocka_unit_test(files),
      cmocka_unit_test(packed),  cmocka_unit_test(too_late),        cmocka_unit_test(an_endless_line),
      cmocka_unit_test(changed), cmocka_unit_test(failed_requests), cmocka_unit_test(packed_parts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
