/* SPDX-License-Identifier: Apache-2.0
 *
 * tandem devices, lpu collective and lpu reach as people call them: published numbers of systems, and mistakes.
 */
#include <stdlib.h>
#include <string.h>

#include "support.h"

static char out[1 << 16];

static int run(const char *arguments) {
  return test_run(out, sizeof out, "%s %s 2>&1", TANDEM_PROGRAM, arguments);
}

static void expect(const char *words) {
  if (!strstr(out, words)) fail_msg("found:\n%s\nexpected: %s", out, words);
}

/* Capacity and rates of a rack from its chip's file and the count; seven published times from two numbers. */
static void lpx(void **state) {
  (void)state;
  assert_int_equal(run("devices lpx-rack"), 0);
  expect("chips x SRAM of a chip; this file says 128 GB: -0.00 %");
  expect("this file says 38.4 PB/s: -0.16 %");
  expect("this file says 315 POP/s: -0.14 %");
  assert_int_equal(run("lpu reach --device lpx-9-racks --gigabytes 8,64,128,384,640,896,1152 "
                       "--against 0.35e-6,0.75e-6,1.15e-6,1.6e-6,2.05e-6,2.5e-6,2.95e-6"),
                   0);
  const char *table = strstr(out, "published");
  assert_non_null(table);
  int rows = 0;
  for (const char *line = strchr(table, '\n'); line && line[1]; line = strchr(line + 1, '\n'), rows++) {
    double gigabytes = 0, us = 0, published = 0, off = 0;
    int hops = 0;
    assert_int_equal(sscanf(line + 1, "%lf %d %lf %lf %lf", &gigabytes, &hops, &us, &published, &off), 5);
    assert_int_equal(hops, rows + 1);
    assert_true(off > -5 && off < 5);
  }
  assert_int_equal(rows, 7);
  assert_int_equal(run("lpu reach --device lpx-rack-announced --json"), 0);
  expect("{\"hops\": 2, \"chips\": 256,");
}

static void collective(void **state) {
  (void)state;
  assert_int_equal(run("lpu collective --device groq-lpu-v1-576 --chips 8 --bytes 1280,40960 --against 2.1e-6"), 0);
  expect("1280        407      0.452  direct");
  expect("scattered 1395");
  expect("interval    ");
  expect("published   2.1 us: outside");
  assert_int_equal(run("lpu collective --device lpu-tiny-system --chips 9 --op all-gather --type f16 --json"), 0);
  expect("\"op\": \"all-gather\", \"device\": \"lpu-tiny-system\", \"chips\": 9");
  assert_int_equal(run("lpu collective --device lpu-tiny-mesh --chips 9 --op broadcast --svg wired_curve.svg"), 0);
  assert_int_equal(test_run(out, sizeof out, "cat wired_curve.svg && rm wired_curve.svg"), 0);
  expect("<svg ");
  expect("bus bandwidth over message size");
  expect("</svg>");
}

static void mistakes(void **state) {
  (void)state;
  static const struct {
    const char *arguments, *words;
    int code;
  } cases[] = {
      {"lpu collective", "lpu collective: expected --device SYSTEM", 2},
      {"lpu collective --device h100_sxm", "found h100_sxm, a chip, expected an LPU or a system of LPUs", 2},
      {"lpu collective --device lpu-tiny-system --op reduce", "--op: found \"reduce\"", 2},
      {"lpu collective --device lpu-tiny-system --type i8", "--type: found \"i8\", expected f32 or f16", 2},
      {"lpu collective --device lpu-tiny-system --chips 19", "--chips: found \"19\"", 2},
      {"lpu collective --device lpu-tiny-system --bytes 5,x", "--bytes: found \"x\"", 2},
      {"lpu collective --device lpu-tiny-system --bytes 0", "--bytes: found \"0\"", 2},
      {"lpu collective --device lpu-tiny-system --against nan", "--against: found \"nan\"", 2},
      {"lpu reach", "lpu reach: expected --device SYSTEM", 2},
      {"lpu reach --device groq-lpu-v1", "found groq-lpu-v1, a lpu, expected a system of LPUs", 2},
      {"lpu reach --device lpx-rack --gigabytes 300", "found 300, expected at most the 128 of lpx-rack", 2},
      {"lpu reach --device lpx-rack --gigabytes 8 --against 1,2", "found 2 times", 2},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int code = run(cases[i].arguments);
    if (code != cases[i].code) fail_msg("%s: exit %d\n%s", cases[i].arguments, code, out);
    expect(cases[i].words);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(lpx), cmocka_unit_test(collective), cmocka_unit_test(mistakes)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
