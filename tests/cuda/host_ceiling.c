/* SPDX-License-Identifier: Apache-2.0
 *
 * That ceilings are measured at all, and what they count: on the emulated driver, whose memory is the host's, no rate
 * says anything.
 */
#include "host_fixture.h"

static void expect(struct td_device *device, enum td_ceiling which, const char *words) {
  double rate = 0;
  const char *how = NULL;
  assert_ok(td_device_ceiling(device, which, &rate, &how));
  assert_true(rate > 0);
  if (!strstr(how, words)) fail_msg("found '%s', expected '%s'", how, words);
}

static void test_memory(void **state) {
  (void)state;
  struct td_device *device = open_emulated(false);
  expect(device, TD_CEILING_READ, "copying on the device reads and writes");
  expect(device, TD_CEILING_TRIAD, "own kernel");
  assert_ok(td_device_sync(device));
  td_device_close(device);
}

static int small_memory(size_t *left, size_t *total) {
  *left = 1 << 20;
  *total = 1 << 21;
  return 0;
}

/* Hardly any memory left: refused with the numbers, nothing kept. */
static void test_no_room(void **state) {
  (void)state;
  struct td_device *device = open_emulated(false);
  double rate;
  const char *how;
  test_driver.cuMemGetInfo_v2 = small_memory;
  assert_refused(td_device_ceiling(device, TD_CEILING_TRIAD, &rate, &how), TD_EXHAUSTED, "found 1048576 bytes free");
  test_driver.cuMemGetInfo_v2 = real_driver->cuMemGetInfo_v2;
  td_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_memory), cmocka_unit_test(test_no_room)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
