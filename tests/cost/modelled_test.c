/* SPDX-License-Identifier: Apache-2.0
 *
 * The modelled backend: opens only with a chip's file, counts memory against it, refuses everything that needs bytes.
 */
#include "../support.h"
#include "tandem/base.h"
#include "tandem/device.h"
#include "tandem/devices.h"

static void expect_error(td_status got, td_status want, const char *text) {
  assert_int_equal(got, want);
  if (!strstr(td_error_text(), text)) fail_msg("%s\n  has no: %s", td_error_text(), text);
}

static void needs_a_chip(void **state) {
  (void)state;
  struct td_device *device;
  struct td_device_params *link;
  expect_error(td_device_open("modelled", &(struct td_device_options){.threads = 1}, &device), TD_CONFIG,
               "found no device file, expected one");
  assert_int_equal(td_device_params_open(test_source("devices/nvlink4.cfg"), &link), TD_OK);
  expect_error(td_device_open("modelled", &(struct td_device_options){.params = link, .threads = 1}, &device),
               TD_CONFIG, "found the link nvlink4, expected");
  td_device_params_close(link);
  struct td_device_params empty = {.name = "empty", .path = "empty.cfg", .kind = TD_KIND_CHIP};
  expect_error(td_device_open("modelled", &(struct td_device_options){.params = &empty, .threads = 1}, &device),
               TD_CONFIG, "found no memory_bytes, expected");
}

static void counts_memory(void **state) {
  (void)state;
  struct td_device_params params = {.name = "small", .path = "small.cfg", .kind = TD_KIND_CHIP};
  params.memory_bytes = (struct td_quantity){.present = true, .value = 1000};
  struct td_device *device;
  struct td_buffer *first, *second;
  assert_int_equal(td_device_open("modelled", &(struct td_device_options){.params = &params, .threads = 1}, &device),
                   TD_OK);
  assert_int_equal(td_device_alloc(device, 600, TD_USE_WEIGHT, &first), TD_OK);
  expect_error(td_device_alloc(device, 401, TD_USE_KV, &second), TD_EXHAUSTED,
               "found 400 bytes left (memory_bytes 1000 - in use 600), expected 401 for KV cache");
  assert_int_equal(td_device_alloc(device, 400, TD_USE_KV, &second), TD_OK);
  td_device_free(device, first);
  assert_int_equal(td_device_alloc(device, 600, TD_USE_ACTIVATION, &first), TD_OK);
  expect_error(td_device_alloc(device, UINT64_MAX, TD_USE_KV, &second), TD_EXHAUSTED, "found 0 bytes left");
  td_device_free(device, first);
  td_device_free(device, second);
  td_device_close(device);
}

static void holds_no_bytes(void **state) {
  (void)state;
  struct td_device_params params = {.name = "small", .path = "small.cfg", .kind = TD_KIND_CHIP};
  params.memory_bytes = (struct td_quantity){.present = true, .value = 1000};
  struct td_device *device;
  struct td_buffer *buffer;
  char bytes[16] = "unchanged";
  assert_int_equal(td_device_open("modelled", &(struct td_device_options){.params = &params, .threads = 1}, &device),
                   TD_OK);
  assert_int_equal(td_device_alloc(device, 64, TD_USE_WEIGHT, &buffer), TD_OK);
  expect_error(td_device_write(device, buffer, 0, bytes, sizeof bytes), TD_UNSUPPORTED, "holds no bytes");
  expect_error(td_device_read(device, buffer, 0, bytes, sizeof bytes), TD_UNSUPPORTED, "holds no bytes");
  assert_string_equal(bytes, "unchanged");
  const struct td_op op = {.kind = TD_OP_ADD, .weight = -1, .n = 4};
  const struct td_op_query query = {.op = &op, .weight_dtype = TD_F32, .kv_dtype = TD_F16};
  expect_error(td_device_supports(device, &query), TD_UNSUPPORTED, "prices steps");
  td_device_free(device, buffer);
  td_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(needs_a_chip),
      cmocka_unit_test(counts_memory),
      cmocka_unit_test(holds_no_bytes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
