/* SPDX-License-Identifier: Apache-2.0
 *
 * Choosing a device by number or by a part of its name.
 */
#include "fixture.h"

static void find(const char *spec, int32_t index) {
  const struct td_backend *backend = NULL;
  int32_t found = -1;
  assert_ok(td_device_find(spec, &backend, &found));
  assert_ptr_equal(backend, td_backend_find("opencl"));
  assert_int_equal(found, index);
}

static void test_found(void **state) {
  (void)state;
  find("opencl", 0);
  find("opencl:0", 0);
  find("opencl:1", 1);
  find("opencl:GT", 0);
  find("opencl:gt 1030", 0);
  find("opencl:epyc", 1);
}

static void test_not_found(void **state) {
  (void)state;
  const struct td_backend *backend = NULL;
  int32_t index;
  assert_refused(td_device_find("opencl:H200", &backend, &index), TD_NOT_FOUND,
                 "no name contains 'H200'; found 0 'Acme GT 1030', 1 'Acme EPYC'");
  assert_refused(td_device_find("opencl:acme", &backend, &index), TD_CONFIG,
                 "2 names contain 'acme', expected one; found 0 'Acme GT 1030', 1 'Acme EPYC'");
  assert_refused(td_device_find("opencl:2", &backend, &index), TD_UNAVAILABLE, "found 2 device(s)");
  assert_refused(td_device_find("opencl:1x", &backend, &index), TD_CONFIG, "'1x'");
  assert_refused(td_device_find("opencl:", &backend, &index), TD_CONFIG, "a device number or a part of its name");
  assert_refused(td_device_find("template:acme", &backend, &index), TD_CONFIG, "devices of template have no names");
}

static void test_listed(void **state) {
  (void)state;
  char out[8192];
  assert_int_equal(test_run(out, sizeof out, "%s devices opencl", TANDEM_PROGRAM), 0);
  assert_non_null(strstr(out, "opencl:0 Acme GT 1030\n"));
  assert_non_null(strstr(out, "opencl:1 Acme EPYC\n"));
  assert_int_equal(test_run(out, sizeof out, "%s devices opencl --json", TANDEM_PROGRAM), 0);
  assert_non_null(strstr(out, "\"names\": [\"Acme GT 1030\", \"Acme EPYC\"]"));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_found), cmocka_unit_test(test_not_found),
                                     cmocka_unit_test(test_listed)};
  setenv("SHIM_NAMES", "Acme GT 1030,Acme EPYC", 1);
  use_shim();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
