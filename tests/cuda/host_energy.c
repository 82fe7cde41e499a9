/* SPDX-License-Identifier: Apache-2.0
 *
 * Energy through a fake NVML: millijoules become joules, and a chip without a counter has none.
 */
#include <math.h>

#include "host_fixture.h"

static void test_counter(void **state) {
  (void)state;
  struct td_device *device = open_emulated(false);
  double before = device->table->energy(device), after = device->table->energy(device);
  assert_true(after - before > 1.4999 && after - before < 1.5001);
  td_device_close(device);
}

static void test_without(void **state) {
  (void)state;
  struct td_device *device = open_emulated(false);
  setenv("TANDEM_FAKE_NVML", "none", 1);
  assert_true(isnan(device->table->energy(device)));
  unsetenv("TANDEM_FAKE_NVML");
  td_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_counter), cmocka_unit_test(test_without)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
