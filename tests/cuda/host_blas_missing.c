/* SPDX-License-Identifier: Apache-2.0
 *
 * exact = false without cuBLASLt, and e4m3 on a chip without it: refused with the reason. A process of its own, because
 * libraries are looked for once.
 */
#include "host_fixture.h"

static void test_missing(void **state) {
  (void)state;
  struct td_device *device;
  assert_refused(td_device_open("cuda", &(struct td_device_options){.inexact = true}, &device), TD_UNAVAILABLE,
                 "cuBLASLt, for exact = false: TANDEM_CUDA_CUBLASLT=/nowhere/libcublasLt.so: ");
  assert_ok(td_device_open("cuda", &(struct td_device_options){0}, &device)); /* exact needs no library */
  double rate;
  const char *how;
  assert_int_equal(td_device_ceiling(device, TD_CEILING_GEMM_F16, &rate, &how), TD_UNIMPLEMENTED);
  td_device_close(device);
}

static void test_no_fp8(void **state) {
  (void)state;
  struct td_device *device;
  setenv("TANDEM_CUDA_FP8", "1", 1);
  assert_refused(td_device_open("cuda", &(struct td_device_options){.inexact = true}, &device), TD_CONFIG,
                 "of compute capability 8.6, expected 8.9 or later");
  unsetenv("TANDEM_CUDA_FP8");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_missing), cmocka_unit_test(test_no_fp8)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
