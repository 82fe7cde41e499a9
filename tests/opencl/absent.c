/* SPDX-License-Identifier: Apache-2.0
 *
 * Machines without OpenCL: the program runs, says why there is no device, and fails in one line when one is asked for.
 */
#include "support.h"

/* One line on stderr, nothing on stdout, exit code 1. */
static void expect_line(const char *environment, const char *words) {
  char out[4096], stdout_only[64];
  int code = test_run(out, sizeof out, "%s '%s' conform opencl 2>&1", environment, TANDEM_PROGRAM);
  assert_int_equal(code, 1);
  if (!strstr(out, words)) fail_msg("'%s' lacks '%s'", out, words);
  assert_ptr_equal(strchr(out, '\n'), out + strlen(out) - 1);
  test_run(stdout_only, sizeof stdout_only, "%s '%s' conform opencl 2>/dev/null", environment, TANDEM_PROGRAM);
  assert_string_equal(stdout_only, "");
}

static void expect_listed(const char *environment, const char *words) {
  char out[8192];
  assert_int_equal(test_run(out, sizeof out, "%s '%s' devices 2>&1", environment, TANDEM_PROGRAM), 0);
  if (!strstr(out, words)) fail_msg("'%s' lacks '%s'", out, words);
  assert_non_null(strstr(out, "cpu "));
}

static void test_no_loader(void **state) {
  (void)state;
  const char *environment = "TANDEM_OPENCL_LIBRARY=/nonexistent/libOpenCL.so.1";
  expect_line(environment, "no OpenCL ICD loader: /nonexistent/libOpenCL.so.1: cannot open shared object file");
  expect_listed(environment, "not here: no OpenCL ICD loader: /nonexistent/libOpenCL.so.1");
}

static void test_not_a_loader(void **state) {
  (void)state;
  expect_line("TANDEM_OPENCL_LIBRARY=libm.so.6", "libm.so.6 lacks clGetPlatformIDs");
}

static void test_no_driver(void **state) {
  (void)state;
  char out[512];
  test_run(out, sizeof out, "'%s' devices opencl", TANDEM_PROGRAM);
  if (strstr(out, "no OpenCL ICD loader")) skip(); /* then the case above has just happened */
  expect_line("OCL_ICD_VENDORS=/nonexistent", "the OpenCL ICD loader found no platform");
  expect_listed("OCL_ICD_VENDORS=/nonexistent", "not here: the OpenCL ICD loader found no platform");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_loader), cmocka_unit_test(test_not_a_loader),
                                     cmocka_unit_test(test_no_driver)};
  char out[512];
  test_run(out, sizeof out, "'%s' devices opencl", TANDEM_PROGRAM);
  if (strstr(out, "built without OpenCL headers")) test_skip_all("built without OpenCL headers");
  return cmocka_run_group_tests(tests, NULL, NULL);
}
