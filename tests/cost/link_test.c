/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem calibrate --link`: a link's numbers come back from transfers made of them, and what no link can be fitted to
 * is refused with nothing written.
 */
#include <math.h>

#include "../config/files.h"
#include "tandem/base.h"
#include "tandem/cost.h"
#include "tandem/devices.h"
#include "tandem/trace.h"

#define REQUESTS 12
#define LATENCY_PS INT64_C(7000000) /* 7 us */
#define PS_PER_BYTE INT64_C(50)     /* 20 GB/s */

static char output[1 << 16];

/* What the transfers of a made trace are like. */
struct made {
  const char *name;
  int transfers, outlier_every; /* 0: none is far off */
  uint64_t least, most;         /* bytes */
  bool modelled, back;          /* back: the last goes the other way */
  int64_t ps_per_byte;
};

static void put(struct td_trace_writer *writer, enum td_table table, const void *row) {
  assert_int_equal(td_trace_append(writer, table, row, 1), TD_OK);
}

static void put_devices(struct td_trace_writer *writer) {
  for (uint32_t i = 0; i < 2; i++) {
    struct td_row_device row = {.device = i, .role = i + 1, .executes = 1};
    snprintf(row.name, sizeof row.name, "%s.0", i ? "decode" : "prefill");
    snprintf(row.pool, sizeof row.pool, "%s", i ? "decode" : "prefill");
    snprintf(row.backend, sizeof row.backend, "cpu");
    put(writer, TD_TABLE_DEVICES, &row);
  }
}

/* Times are up to 5 % off on either side; an outlier takes eight times as long. */
static void put_transfer(struct td_trace_writer *writer, const struct made *made, int number) {
  uint64_t which = (uint64_t)number, span = made->most - made->least;
  struct td_row_transfer row = {.request = which % REQUESTS, .to = 1, .layer_end = 1, .token_end = 1};
  row.bytes = made->least + (span ? td_random(1, 1, which) % (span + 1) : 0);
  if (number == 0) row.bytes = made->least;
  if (number == 1) row.bytes = made->most;
  double time = (double)(LATENCY_PS + made->ps_per_byte * (int64_t)row.bytes);
  time *= 0.95 + 0.1 * td_random_unit(1, 2, which);
  if (made->outlier_every && number % made->outlier_every == 0) time *= 8;
  row.duration = (int64_t)time;
  row.time_kind = made->modelled ? TD_TIME_MODELLED : TD_TIME_EXECUTED;
  if (made->back && number + 1 == made->transfers) {
    row.from = 1;
    row.to = 0;
  }
  put(writer, TD_TABLE_TRANSFERS, &row);
}

static void make_trace(const struct made *made) {
  struct td_trace_run run = {
      .config = "", .experiment = "made", .model = "none", .pace = "wall", .policy = "disaggregated", .ranks = 1};
  struct td_trace_writer *writer;
  char path[4200];
  snprintf(path, sizeof path, "%s/%s", scratch_folder(), made->name);
  assert_int_equal(td_trace_create(path, &run, &writer), TD_OK);
  put_devices(writer);
  for (int i = 0; i < made->transfers; i++) put_transfer(writer, made, i);
  for (uint64_t i = 0; i < REQUESTS; i++) {
    struct td_row_request row = {.request = i, .prompt_tokens = 1, .decode_device = 1, .first_token = -1};
    snprintf(row.name, sizeof row.name, "r%d", (int)i);
    put(writer, TD_TABLE_REQUESTS, &row);
  }
  assert_int_equal(td_trace_finish(writer), TD_OK);
}

static int calibrate(const char *arguments) {
  return test_run(output, sizeof output, "cd %s && " TANDEM_PROGRAM " calibrate %s 2>&1", scratch_folder(), arguments);
}

/* Latency, bandwidth, the error and its cause are in the file; a twentieth of the transfers is far off. */
static void finds_the_link(void **state) {
  (void)state;
  struct td_device_params *link;
  char path[4200];
  int64_t ps;
  make_trace(&(struct made){"good.h5", 400, 20, 1000, 2000000, false, false, PS_PER_BYTE});
  if (calibrate("--link good.h5 -o link.cfg --json")) fail_msg("%s", output);
  snprintf(path, sizeof path, "%s/link.cfg", scratch_folder());
  assert_int_equal(td_device_params_open(path, &link), TD_OK);
  assert_int_equal(link->kind, TD_KIND_LINK);
  assert_true(fabs(link->link_latency.value / 7e-6 - 1) < 0.1);
  assert_true(fabs(link->link_bandwidth.value / 2e10 - 1) < 0.02);
  assert_true(link->link_bandwidth.low < link->link_bandwidth.value);
  assert_non_null(strstr(link->link_latency.source, "400 executed transfers of 1000 to 2000000 B of good.h5"));
  assert_non_null(strstr(link->link_latency.source, "MAPE"));
  assert_non_null(strstr(link->link_latency.source, "tandem calibrate --link good.h5 -o link.cfg"));
  assert_int_equal(td_price_transfer(link, 1000000, &ps), TD_OK);
  assert_true(llabs(ps - (LATENCY_PS + 1000000 * PS_PER_BYTE)) < 2000000);
  td_device_params_close(link);
}

static void refused(int code, const char *arguments, const char *text) {
  int found = calibrate(arguments);
  if (found != code || !strstr(output, text)) {
    fail_msg("calibrate %s: exit %d, expected %d with \"%s\": %s", arguments, found, code, text, output);
  }
  assert_int_equal(test_run(output, sizeof output, "ls %s | grep -c '^no.cfg' ", scratch_folder()), 1);
}

static void refuses_what_is_no_line(void **state) {
  (void)state;
  static const struct {
    struct made made;
    const char *text;
  } cases[] = {
      {{"few.h5", 19, 0, 1000, 9000, false, false, PS_PER_BYTE}, "found 19 executed transfers"},
      {{"modelled.h5", 100, 0, 1000, 9000, true, false, PS_PER_BYTE}, "found 0 executed transfers"},
      {{"one.h5", 100, 0, 4096, 4096, false, false, PS_PER_BYTE}, "of 4096 to 4096 bytes"},
      {{"near.h5", 100, 0, 4096, 8191, false, false, PS_PER_BYTE}, "factor of 2"},
      {{"two.h5", 100, 0, 1000, 9000, false, true, PS_PER_BYTE}, "from prefill to decode and from decode to prefill"},
      {{"shrinks.h5", 100, 0, 1000, 5000, false, false, -1300}, "no longer with more bytes"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char arguments[64];
    make_trace(&cases[i].made);
    snprintf(arguments, sizeof arguments, "--link %s -o no.cfg", cases[i].made.name);
    refused(2, arguments, cases[i].text);
  }
}

static void says_what_is_wrong(void **state) {
  (void)state;
  make_trace(&(struct made){"good.h5", 40, 0, 1000, 9000, false, false, PS_PER_BYTE});
  refused(2, "--link good.h5", "-o");
  refused(2, "--link good.h5 -o no.txt", ".cfg");
  refused(2, "cpu --link good.h5 -o no.cfg", "beside --link");
  refused(2, "--link good.h5 --rows 30 -o no.cfg", "beside --link");
  refused(1, "--link nothing.h5 -o no.cfg", "nothing.h5");
  refused(1, "--link good.h5 -o nowhere/no.cfg", "nowhere");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(finds_the_link),
      cmocka_unit_test(refuses_what_is_no_line),
      cmocka_unit_test(says_what_is_wrong),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
