/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory grows with the jobs under way, not with the trace.
 */
#include <sys/resource.h>

#include "harness.h"
#include "workload/stream.h"

#define ROWS 300000
#define BOUND_KIB 2048 /* the file has 5 MB, its rows in memory would take 2.4 */

static long resident_kib(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

static void write_rows(void) {
  char path[4300];
  snprintf(path, sizeof path, "%s/long.csv", scratch_folder());
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  fputs("arrival_time_ns,input_tokens,output_tokens\n", file);
  for (int i = 0; i < ROWS; i++) fprintf(file, "%d00,%d,%d\n", i, 1 + i % 4099, 1 + i % 97);
  assert_int_equal(fclose(file), 0);
}

static void write_sessions(void) {
  char path[4300];
  snprintf(path, sizeof path, "%s/agents.csv", scratch_folder());
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  fputs("session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n", file);
  for (int s = 0; s < ROWS / 20; s++) {
    for (int r = 0; r < 5; r++) fprintf(file, "s%d,%d,%d,%d,90,10,1\n", s, s * 10, r, r * 100);
  }
  assert_int_equal(fclose(file), 0);
}

static void a_long_trace(void **state) {
  (void)state;
  write_rows();
  struct opened opened = must_open("format = \"sharegpt\"; file = \"long.csv\";");
  long before = resident_kib();
  assert_int_equal(take_all(opened.workload).count, ROWS);
  assert_true(resident_kib() - before < BOUND_KIB);
  close_opened(&opened);
  opened = must_open(
      "format = \"generated\"; requests = 400000; arrivals = \"gamma\"; cv = 2.0; rate = 1e4; prompt = { "
      "law = \"lognormal\"; mean = 800.0; }; output = { law = \"lognormal\"; mean = 200.0; };");
  assert_int_equal(take_all(opened.workload).count, 400000);
  assert_true(resident_kib() - before < BOUND_KIB);
  close_opened(&opened);
}

/* Fifteen thousand sessions one after another, each at its end before the next but two begin. */
static void many_sessions(void **state) {
  (void)state;
  write_sessions();
  struct opened opened = must_open("format = \"sessions\"; file = \"agents.csv\";");
  long before = resident_kib();
  struct td_job job;
  int64_t count = 0;
  for (; next_job(opened.workload, &job); count++) {
    assert_int_equal(td_workload_finished(opened.workload, job.number, job.arrival_ps), TD_OK);
  }
  assert_int_equal(count, ROWS / 4);
#ifndef TANDEM_SANITIZED /* which keeps what is freed for a while */
  assert_true(resident_kib() - before < BOUND_KIB);
#endif
  (void)before;
  close_opened(&opened);
}

static void repeated(void **state) {
  (void)state;
  struct opened opened = must_open("format = \"sharegpt\"; file = \"long.csv\"; repeat = true; requests = 750000;");
  struct td_job job;
  int64_t count = 0, last_ps = 0;
  for (; next_job(opened.workload, &job); count++) {
    int64_t row = count % ROWS;
    assert_true(job.prompt_tokens == 1 + row % 4099 && job.output_tokens == 1 + row % 97);
    assert_true(job.arrival_ps >= last_ps);
    last_ps = job.arrival_ps;
  }
  assert_int_equal(count, 750000);
  assert_true(last_ps == (2 * (INT64_C(100) * (ROWS - 1)) + 100 * (750000 - 2 * ROWS - 1)) * 1000);
  close_opened(&opened);
}

/* A repeated file is kept only up to a bound, and read again beyond it: the same rows either way. */
static void kept_or_read_again(void **state) {
  (void)state;
  char path[4300];
  snprintf(path, sizeof path, "%s/five.csv", scratch_folder());
  scratch_file("five.csv", "arrival_time_ns,input_tokens,output_tokens\n3,1,9\n5,2,8\n7,3,7\n9,4,6\n20,5,5\n");
  const struct td_cfg_source source = {
      .format = TD_SOURCE_SHAREGPT, .file = path, .header = "", .scale = 1, .repeat = true, .requests = 23};
  for (size_t kept_max = 0; kept_max < 100; kept_max += 16) {
    struct rows rows;
    assert_int_equal(rows_open(NULL, &source, 512, 42, kept_max, &rows), TD_OK);
    for (uint64_t i = 0; i < 23; i++) {
      struct row row;
      bool any;
      static const int64_t ns[] = {3, 5, 7, 9, 20};
      assert_int_equal(rows_next(&rows, i, &row, &any), TD_OK);
      assert_true(any && row.prompt == (int64_t)(i % 5) + 1 && row.output == 9 - (int64_t)(i % 5));
      assert_true(row.at_ps == ((int64_t)(i / 5) * 20 + ns[i % 5]) * TD_PS_PER_NS);
    }
    assert_int_equal(rows.keep, kept_max >= 80);
    rows_close(&rows);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_long_trace), cmocka_unit_test(many_sessions),
                                     cmocka_unit_test(repeated), cmocka_unit_test(kept_or_read_again)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
