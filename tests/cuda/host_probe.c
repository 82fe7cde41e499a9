/* SPDX-License-Identifier: Apache-2.0
 *
 * A machine without a GPU, or with a driver that will not do: the program starts all the same, and says in one line
 * what is missing. Each case is a process of its own, because the driver is looked for once per process.
 */
#include "support.h"
#include "tandem/device.h"

struct answer {
  td_status status;
  char text[600];
};

/* Opens "cuda" in a child with these settings. */
static struct answer open_with(const char *driver, const char *mode) {
  struct answer answer = {0};
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    setenv("TANDEM_CUDA_DRIVER", driver, 1);
    setenv("TANDEM_FAKE_DRIVER", mode, 1);
    struct td_device_options options = {0};
    struct td_device *device;
    answer.status = td_device_open("cuda", &options, &device);
    snprintf(answer.text, sizeof answer.text, "%s", td_error_text());
    _exit(write(ends[1], &answer, sizeof answer) == sizeof answer ? 0 : 1);
  }
  close(ends[1]);
  assert_int_equal(read(ends[0], &answer, sizeof answer), sizeof answer);
  close(ends[0]);
  int ended;
  waitpid(child, &ended, 0);
  assert_int_equal(ended, 0);
  return answer;
}

static void expect(const char *driver, const char *mode, const char *words) {
  struct answer answer = open_with(driver, mode);
  assert_int_equal(answer.status, TD_UNAVAILABLE);
  if (!strstr(answer.text, words)) fail_msg("found '%s', expected '%s' in it", answer.text, words);
  assert_null(strchr(answer.text, '\n'));
}

static void test_no_driver(void **state) {
  (void)state;
  expect("", "", "no libcuda.so.1");
}
static void test_named_driver_missing(void **state) {
  (void)state;
  expect("/nowhere/libcuda.so.1", "", "TANDEM_CUDA_DRIVER=/nowhere/libcuda.so.1: ");
}
static void test_symbol_missing(void **state) {
  (void)state;
  expect(TEST_FAKE_SHORT, "", "libcuda.so.1 has no cuDriverGetVersion");
}
static void test_driver_too_old(void **state) {
  (void)state;
  expect(TEST_FAKE_DRIVER, "old", "driver too old: found one for CUDA 11.4, need CUDA 1");
}
static void test_driver_fails(void **state) {
  (void)state;
  expect(TEST_FAKE_DRIVER, "silent", "cuInit says CUDA_ERROR_UNKNOWN (999)");
}
static void test_no_device(void **state) {
  (void)state;
  expect(TEST_FAKE_DRIVER, "none", "no device: the driver found none");
  expect(TEST_FAKE_DRIVER, "empty", "no device: the driver found none");
}
static void test_chip_too_old(void **state) {
  (void)state;
  expect(TEST_FAKE_DRIVER, "v100", "found Old Chip of compute capability 7.0, need 8.0 or later");
}

int main(void) {
  const struct CMUnitTest with_nvcc[] = {
      cmocka_unit_test(test_named_driver_missing),
      cmocka_unit_test(test_symbol_missing),
      cmocka_unit_test(test_driver_too_old),
      cmocka_unit_test(test_driver_fails),
      cmocka_unit_test(test_no_device),
      cmocka_unit_test(test_chip_too_old),
  };
  struct answer answer = open_with("", "");
  if (strstr(answer.text, "built without nvcc")) test_skip_all("built without nvcc");
  if (answer.status == TD_OK) return cmocka_run_group_tests(with_nvcc, NULL, NULL); /* a machine with a GPU */
  const struct CMUnitTest without_driver[] = {cmocka_unit_test(test_no_driver)};
  int failed = strstr(answer.text, "no device") ? 0 : cmocka_run_group_tests(without_driver, NULL, NULL);
  return failed + cmocka_run_group_tests(with_nvcc, NULL, NULL);
}
