/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernels for GPUs, on whatever device is here: correct, and exact, though slow on a processor. One type of each
 * layout; the others differ in weights.cl alone, which both forms share.
 */
#include "fixture.h"

static void expect_pass(const char *pattern) {
  char out[65536];
  int code = test_run(out, sizeof out, "TANDEM_OPENCL_FORM=gpu '%s' conform opencl --filter '%s' 2>&1", TANDEM_PROGRAM,
                      pattern);
  if (code) fail_msg("%s: %s", pattern, out);
  assert_null(strstr(out, "\n0 passed")); /* a pattern that matches nothing shows nothing */
}

static void test_pointwise(void **state) {
  (void)state;
  expect_pass("r[!o]*/f32/*");
  expect_pass("[a-z]*_sum/*");
  expect_pass("router/*");
  expect_pass("activation/*");
  expect_pass("rope/*");
  expect_pass("exact_rows/rms_norm/f32/*");
}

static void test_attention(void **state) {
  (void)state;
  expect_pass("attention/*");
  expect_pass("exact_chunks/*");
  expect_pass("kv_append/*");
}

static void test_products(void **state) {
  (void)state;
  expect_pass("*matmul/f32/*");
  expect_pass("*matmul/q4_k/*");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_pointwise), cmocka_unit_test(test_attention),
                                     cmocka_unit_test(test_products)};
  const char *reason = "";
  if (td_backend_find("opencl")->probe(&reason) <= 0) test_skip_all(reason);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
