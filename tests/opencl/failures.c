/* SPDX-License-Identifier: Apache-2.0
 *
 * What goes wrong with a device is one line that says what was asked and what there was.
 */
#include <sys/resource.h>

#include "fixture.h"

static int reset(void **state) {
  (void)state;
  forget_wishes();
  return 0;
}

static void test_buffer_too_large(void **state) {
  (void)state;
  struct td_buffer *buffer = NULL;
  setenv("SHIM_LARGEST", "4096", 1);
  struct td_device *device = open_opencl();
  assert_refused(td_device_alloc(device, 4097, TD_USE_WEIGHT, &buffer), TD_EXHAUSTED,
                 "asked for a buffer of 4097 bytes, found at most 4096");
  assert_ok(td_device_alloc(device, 4096, TD_USE_WEIGHT, &buffer));
  td_device_free(device, buffer);
  td_device_close(device);
}

static void test_device_full(void **state) {
  (void)state;
  struct td_buffer *first = NULL, *second = NULL;
  setenv("SHIM_MEMORY", "10000", 1);
  struct td_device *device = open_opencl();
  assert_ok(td_device_alloc(device, 8000, TD_USE_KV, &first));
  assert_refused(td_device_alloc(device, 4000, TD_USE_KV, &second), TD_EXHAUSTED,
                 "asked for 4000 bytes, found 2000 free of 10000");
  td_device_free(device, first);
  assert_ok(td_device_alloc(device, 4000, TD_USE_KV, &second));
  td_device_free(device, second);
  td_device_close(device);
}

/* Processors take the host's memory: a driver that finds none there may end the program. */
static void test_host_has_less(void **state) {
  (void)state;
  struct td_buffer *buffer = NULL;
  setenv("SHIM_MEMORY", "2000000000000000", 1);
  setenv("SHIM_LARGEST", "2000000000000000", 1);
  struct td_device *device = open_opencl();
  td_status status = td_device_alloc(device, UINT64_C(1) << 50, TD_USE_KV, &buffer);
  assert_int_equal(status, TD_EXHAUSTED);
  if (strstr(td_error_text(), "CL_")) skip(); /* a GPU, whose driver said so itself */
  if (!strstr(td_error_text(), "asked for 1125899906842624 bytes, found ")) fail_msg("'%s'", td_error_text());
  if (!strstr(td_error_text(), " available on the host")) fail_msg("'%s'", td_error_text());
  td_device_close(device);
}

static rlim_t address_space(void) {
  char line[64] = "";
  FILE *file = fopen("/proc/self/statm", "r");
  if (!file || !fgets(line, sizeof line, file) || fclose(file)) fail_msg("/proc/self/statm cannot be read");
  return (rlim_t)strtoul(line, NULL, 10) * (rlim_t)sysconf(_SC_PAGESIZE);
}

static void test_host_gives_none(void **state) {
  (void)state;
#ifdef TANDEM_SANITIZED
  skip(); /* their shadow memory needs more than any limit */
#endif
  struct td_buffer *buffer = NULL;
  struct rlimit before, tight;
  struct td_device *device = open_opencl();
  assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
  tight = before;
  tight.rlim_cur = address_space() + (64 << 20);
  assert_int_equal(setrlimit(RLIMIT_AS, &tight), 0);
  td_status status = td_device_alloc(device, 128 << 20, TD_USE_KV, &buffer);
  assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
  if (status == TD_OK) { /* a GPU */
    td_device_free(device, buffer);
    td_device_close(device);
    skip();
  }
  assert_int_equal(status, TD_EXHAUSTED);
  if (!strstr(td_error_text(), "asked for 134217728 bytes, found that the system gives none")) {
    fail_msg("'%s'", td_error_text());
  }
  td_device_close(device);
}

/* A driver that finds out late: when the memory is made, or when it is first touched. */
static void test_driver_refuses(void **state) {
  (void)state;
  static const char *const wishes[] = {"clCreateBuffer=-4", "clEnqueueFillBuffer=-4", "clEnqueueFillBuffer=-5"};
  struct td_device *device = open_opencl();
  struct sum sum;
  for (size_t i = 0; i < 3; i++) {
    struct td_buffer *buffer = NULL;
    setenv("SHIM_FAIL", wishes[i], 1);
    assert_refused(td_device_alloc(device, 1234, TD_USE_KV, &buffer), TD_EXHAUSTED, "asked for 1234 bytes: CL_");
    unsetenv("SHIM_FAIL");
  }
  prepare_sum(device, &sum); /* the device is as good as before */
  check_sum(device, &sum);
  td_device_free(device, sum.buffer);
  td_device_close(device);
}

/* Every later call tells the first error. */
static void expect_lost(struct td_device *device, struct sum *sum, const char *words) {
  struct td_buffer *buffer = NULL;
  char byte = 0;
  unsetenv("SHIM_FAIL");
  assert_refused(td_device_op(device, &sum->call), TD_UNAVAILABLE, words);
  assert_refused(td_device_read(device, sum->buffer, 0, &byte, 1), TD_UNAVAILABLE, words);
  assert_refused(td_device_write(device, sum->buffer, 0, &byte, 1), TD_UNAVAILABLE, words);
  assert_refused(td_device_alloc(device, 64, TD_USE_KV, &buffer), TD_UNAVAILABLE, words);
  assert_refused(td_device_sync(device), TD_UNAVAILABLE, words);
  td_device_free(device, sum->buffer);
  td_device_close(device);
}

static void test_launch_fails(void **state) {
  (void)state;
  struct td_device *device = open_opencl();
  struct sum sum;
  prepare_sum(device, &sum);
  setenv("SHIM_FAIL", "clEnqueueNDRangeKernel=-5", 1);
  assert_refused(td_device_op(device, &sum.call), TD_UNAVAILABLE, "is lost: add: found CL_OUT_OF_RESOURCES");
  expect_lost(device, &sum, "is lost: add: found CL_OUT_OF_RESOURCES");
}

/* A command that fails after its call had returned. */
static void test_command_fails(void **state) {
  (void)state;
  static const char *const wishes[] = {"clGetEventInfo=-36", "clWaitForEvents=-5"};
  static const char *const words[] = {"is lost: a command of the queue: found CL_INVALID_COMMAND_QUEUE",
                                      "is lost: a command of the queue: found CL_OUT_OF_RESOURCES"};
  for (int i = 0; i < 2; i++) {
    struct td_device *device = open_opencl();
    struct sum sum;
    prepare_sum(device, &sum);
    setenv("SHIM_FAIL", wishes[i], 1);
    assert_ok(td_device_op(device, &sum.call));
    assert_refused(td_device_sync(device), TD_UNAVAILABLE, words[i]);
    expect_lost(device, &sum, words[i]);
  }
}

static void test_read_fails(void **state) {
  (void)state;
  struct td_device *device = open_opencl();
  struct sum sum;
  float value;
  prepare_sum(device, &sum);
  setenv("SHIM_FAIL", "clEnqueueReadBuffer=-5", 1);
  assert_refused(td_device_read(device, sum.buffer, 0, &value, 4), TD_UNAVAILABLE, "is lost: clEnqueueReadBuffer");
  expect_lost(device, &sum, "is lost: clEnqueueReadBuffer");
}

/* The log's first lines, on one line; the device itself is well. */
static void test_build_fails(void **state) {
  (void)state;
  struct td_device *device = open_opencl();
  struct sum sum;
  prepare_sum(device, &sum);
  setenv("SHIM_PREPEND", "#error seeded mistake\n", 1);
  setenv("TANDEM_OPENCL_CACHE", "off", 1);
  assert_refused(td_device_op(device, &sum.call), TD_UNAVAILABLE, "does not build tandem's kernels");
  assert_non_null(strstr(td_error_text(), "seeded mistake"));
  assert_non_null(strstr(td_error_text(), "CL_BUILD_PROGRAM_FAILURE"));
  unsetenv("SHIM_PREPEND");
  check_sum(device, &sum);
  td_device_free(device, sum.buffer);
  td_device_close(device);
}

static void test_wrong_form(void **state) {
  (void)state;
  struct td_device *device = NULL;
  setenv("TANDEM_OPENCL_FORM", "vpu", 1);
  assert_refused(td_device_open("opencl", &(struct td_device_options){.threads = 1}, &device), TD_CONFIG,
                 "TANDEM_OPENCL_FORM: found 'vpu', expected cpu or gpu");
  unsetenv("TANDEM_OPENCL_FORM");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(test_buffer_too_large, reset), cmocka_unit_test_setup(test_device_full, reset),
      cmocka_unit_test_setup(test_driver_refuses, reset),   cmocka_unit_test_setup(test_launch_fails, reset),
      cmocka_unit_test_setup(test_command_fails, reset),    cmocka_unit_test_setup(test_read_fails, reset),
      cmocka_unit_test_setup(test_build_fails, reset),      cmocka_unit_test_setup(test_wrong_form, reset),
      cmocka_unit_test_setup(test_host_has_less, reset),    cmocka_unit_test_setup(test_host_gives_none, reset),
  };
  use_shim();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
