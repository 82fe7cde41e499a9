/* SPDX-License-Identifier: Apache-2.0
 *
 * What the cpu backend refuses, in one line with what was found and what was wanted.
 */
#include <errno.h>
#include <math.h>
#include <pthread.h>

#include "blas.h"
#include "harness.h"

/* The linker puts this in pthread_create's place: the call numbered `refused` fails. */
static int calls, refused;
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *), void *argument);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*main)(void *), void *argument) {
  if (++calls == refused) return EAGAIN;
  return __real_pthread_create(thread, attributes, main, argument);
}

static void expect(td_status status, td_status wanted, const char *text) {
  assert_int_equal(status, wanted);
  if (!strstr(td_error_text(), text)) printf("found '%s', expected '%s' in it\n", td_error_text(), text);
  assert_non_null(strstr(td_error_text(), text));
}

static void test_threads(void **state) {
  (void)state;
  struct td_device *device = NULL;
  for (refused = 1; refused <= 3; refused++) {
    char text[64];
    calls = 0;
    snprintf(text, sizeof text, "threads: wanted 4, found that the system starts %d: ", refused);
    expect(td_backend_cpu.open(0, &(struct td_device_options){.threads = 4}, &device), TD_EXHAUSTED, text);
    assert_null(device);
  }
  refused = 0;
}

static void test_memory(void **state) {
  (void)state;
  struct td_device *device = harness_open(1, false);
  struct td_buffer *buffer = NULL, *small;
  assert_int_equal(device->table->alloc(device, 4096, TD_USE_KV, &small), TD_OK);
  expect(device->table->alloc(device, UINT64_C(1) << 60, TD_USE_WEIGHT, &buffer), TD_EXHAUSTED,
         "memory: wanted 1152921504606846976 bytes, found ");
  expect(device->table->alloc(device, UINT64_MAX, TD_USE_WEIGHT, &buffer), TD_EXHAUSTED, "memory: wanted ");
  assert_null(buffer);
  device->table->free(device, small);
  device->table->close(device);
}

static void test_blas(void **state) {
  (void)state;
  cpu_sgemm sgemm = NULL;
  expect(cpu_blas_open("libnone-such.so.0", &sgemm), TD_UNAVAILABLE,
         "inexact products: found no library libnone-such.so.0 (OpenBLAS): ");
  expect(cpu_blas_open("libm.so.6", &sgemm), TD_UNAVAILABLE, "libm.so.6 has no function openblas_set_num_threads");
  assert_true(sgemm == NULL);
}

static void test_priced_only(void **state) {
  (void)state;
  struct td_device *device = harness_open(1, false);
  struct td_batch batch = {.rows = 1};
  struct td_view row = harness_view(device, TD_F32, 1, 32, NULL), out = harness_view(device, TD_F32, 1, 32, NULL);
  struct td_op op = {.kind = TD_OP_LAYER_NORM, .n = 32};
  struct td_op_call call = {.op = &op, .in = {row, row}, .out = out, .batch = &batch};
  expect(device->table->op(device, &call), TD_UNSUPPORTED, "is priced only");
  op.kind = TD_OP_ACTIVATION;
  op.activation = TD_ACT_RELU;
  expect(device->table->op(device, &call), TD_UNSUPPORTED, "activation 2 is priced only");
  op.kind = TD_OP_MATMUL;
  op.k = 32;
  call.weight = row;
  call.weight.dtype = TD_MXFP4;
  expect(device->table->op(device, &call), TD_UNSUPPORTED, "weights of type 39");
  call.weight.dtype = TD_FP8;
  expect(device->table->op(device, &call), TD_UNSUPPORTED, "weights of type 1000");
  device->table->free(device, row.buffer);
  device->table->free(device, out.buffer);
  device->table->close(device);
}

/* A router's ids come from memory: ids outside of the matrix are an error, not an address. */
static void test_router_ids(void **state) {
  (void)state;
  static const float bad[] = {-1.0f, 4.0f, 1e30f, -1e30f, NAN};
  struct td_device *device = harness_open(2, false);
  struct td_batch batch = {.rows = 2};
  struct td_op op = {.kind = TD_OP_EXPERT_MATMUL, .n = 8, .k = 32, .experts = 4, .experts_used = 2};
  float routed[8] = {3, 0, 0.5f, 0.5f, 1, 2, 0.5f, 0.5f};
  struct td_op_call call = {
      .op = &op,
      .in = {harness_view(device, TD_F32, 2, 32, NULL), harness_view(device, TD_F32, 2, 4, routed)},
      .weight = harness_view(device, TD_F32, 32, 32, NULL),
      .out = harness_view(device, TD_F32, 2, 16, NULL),
      .batch = &batch};
  assert_int_equal(device->table->op(device, &call), TD_OK);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    routed[5] = bad[i];
    assert_int_equal(device->table->write(device, call.in[1].buffer, 0, routed, sizeof routed), TD_OK);
    expect(device->table->op(device, &call), TD_INTERNAL, "row 1, slot 1: found expert ");
  }
  struct td_buffer *buffers[] = {call.in[0].buffer, call.in[1].buffer, call.weight.buffer, call.out.buffer};
  for (int i = 0; i < 4; i++) device->table->free(device, buffers[i]);
  device->table->close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads), cmocka_unit_test(test_memory),
                                     cmocka_unit_test(test_blas), cmocka_unit_test(test_priced_only),
                                     cmocka_unit_test(test_router_ids)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
