/* SPDX-License-Identifier: Apache-2.0
 *
 * Every operator case of the suite on the cpu backend: the same bits for 1, 2 and 3 threads and for each instruction
 * set this machine has.
 */
#include "conformance/suite.h"
#include "support.h"
#include "tandem/base.h"

static struct conform_run run; /* what the cases hold */

static void must(td_status status) {
  if (status) printf("%s\n", td_error_text());
  assert_int_equal(status, TD_OK);
}

/* An operator's result, as bytes: of KV_APPEND both pools. */
static void *execute(struct td_device *device, const struct conform_inputs *inputs, size_t *out_bytes) {
  unsigned char *out;
  if (inputs->op.kind == TD_OP_KV_APPEND) {
    size_t pool = (size_t)conform_pool_bytes(inputs);
    must(conform_memory(&run, 2, pool, &out));
    must(conform_execute_append(&run, device, inputs, out, out + pool));
    *out_bytes = 2 * pool;
  } else {
    *out_bytes = (size_t)(inputs->out_rows * inputs->out_cols) * sizeof(float);
    must(conform_memory(&run, 1, *out_bytes, &out));
    must(conform_execute(&run, device, inputs, (float *)(void *)out));
  }
  return out;
}

/* The devices under test: instruction sets x threads, the plain single-threaded one first. */
static int open_all(struct td_device **devices) {
  static const char *const sets[] = {"plain", "avx2", "avx512"};
  int count = 0;
  for (size_t i = 0; i < 3; i++) {
    setenv("TANDEM_CPU_ISA", sets[i], 1);
    for (int32_t threads = 1; threads <= 3; threads++) {
      td_status status = td_device_open("cpu", &(struct td_device_options){.threads = threads}, &devices[count]);
      if (status == TD_UNAVAILABLE) printf("left out: %s\n", td_error_text());
      if (status == TD_UNAVAILABLE) break;
      must(status);
      count++;
    }
  }
  return count;
}

static void test_same_bits(void **state) {
  (void)state;
  struct td_device *devices[9];
  int count = open_all(devices);
  struct conform_list list = {0};
  conform_list_operators(&list);
  conform_list_experts(&list);
  must(list.failed);
  assert_true(list.count > 100);
  for (size_t i = 0; i < list.count; i++) {
    struct conform_inputs inputs;
    size_t bytes;
    must(conform_inputs_make(&run, &list.cases[i].p, &inputs));
    const void *first = execute(devices[0], &inputs, &bytes);
    for (int d = 1; d < count; d++) {
      const void *other = execute(devices[d], &inputs, &bytes);
      if (memcmp(first, other, bytes)) printf("device %d differs in %s\n", d, list.cases[i].name);
      assert_memory_equal(first, other, bytes);
    }
    conform_release(&run);
  }
  free(list.cases);
  for (int d = 0; d < count; d++) td_device_close(devices[d]);
}

static void test_refused(void **state) {
  (void)state;
  struct td_device *device;
  setenv("TANDEM_CPU_ISA", "mmx", 1);
  assert_int_equal(td_device_open("cpu", &(struct td_device_options){.threads = 1}, &device), TD_CONFIG);
  assert_non_null(strstr(td_error_text(), "found 'mmx', expected plain, avx2 or avx512"));
  unsetenv("TANDEM_CPU_ISA");
  assert_int_equal(td_device_open("cpu", &(struct td_device_options){.threads = 100000}, &device), TD_CONFIG);
  assert_int_equal(td_device_open("cpu", &(struct td_device_options){.threads = -1}, &device), TD_CONFIG);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_same_bits), cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
