/* SPDX-License-Identifier: Apache-2.0
 *
 * The cpu backend opened inexact: many rows go through OpenBLAS and stay within the bound of the conformance suite, few
 * rows give the exact device's bits. Skipped where OpenBLAS is not installed.
 */
#include <math.h>

#include "harness.h"

#define N 300 /* more than two tiles of sgemm, and no multiple of one */
#define K 512
#define MANY 37
#define FEW 3

static float x[MANY * K], weight_values[N * K], out[2][MANY * N];
static unsigned char weight[N * K * 4];

static void fill(enum td_dtype dtype) {
  uint64_t row_bytes;
  assert_int_equal(td_dtype_row_bytes(dtype, K, &row_bytes), TD_OK);
  for (int64_t i = 0; i < MANY * K; i++) x[i] = (float)td_random_unit(1, 1, (uint64_t)i) - 0.5f;
  for (int64_t i = 0; i < N * K; i++) weight_values[i] = (float)td_random_unit(1, 2, (uint64_t)i) - 0.5f;
  for (int64_t r = 0; r < N; r++) {
    assert_int_equal(td_quantize(dtype, weight_values + r * K, weight + (uint64_t)r * row_bytes, K), TD_OK);
    td_dequantize(dtype, weight + (uint64_t)r * row_bytes, weight_values + r * K, K);
  }
}

static void multiply(struct td_device *device, enum td_dtype dtype, int64_t rows, float *result) {
  struct td_op op = {.kind = TD_OP_MATMUL, .n = N, .k = K};
  struct td_batch batch = {.rows = rows};
  struct td_op_call call = {.op = &op,
                            .in = {harness_view(device, TD_F32, rows, K, x)},
                            .weight = harness_view(device, dtype, N, K, weight),
                            .out = harness_view(device, TD_F32, rows, N, NULL),
                            .batch = &batch};
  assert_int_equal(device->table->op(device, &call), TD_OK);
  assert_int_equal(device->table->read(device, call.out.buffer, 0, result, (uint64_t)(rows * N) * sizeof(float)),
                   TD_OK);
  device->table->free(device, call.in[0].buffer);
  device->table->free(device, call.weight.buffer);
  device->table->free(device, call.out.buffer);
}

static void check_bound(const float *got) {
  for (int64_t t = 0; t < MANY; t++) {
    for (int64_t r = 0; r < N; r++) {
      double sum = 0, magnitude = 0;
      for (int64_t i = 0; i < K; i++) {
        double term = (double)x[t * K + i] * (double)weight_values[r * K + i];
        sum += term;
        magnitude += fabs(term);
      }
      assert_true(fabs((double)got[t * N + r] - sum) <= (sqrt(K) + 8) * 0x1p-24 * magnitude);
    }
  }
}

static void test_products(void **state) {
  (void)state;
  static const enum td_dtype types[] = {TD_F32, TD_F16, TD_Q8_0, TD_Q4_K, TD_Q6_K};
  struct td_device *exact = harness_open(2, false), *inexact = harness_open(2, true);
  for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
    fill(types[i]);
    multiply(exact, types[i], FEW, out[0]);
    multiply(inexact, types[i], FEW, out[1]);
    assert_memory_equal(out[0], out[1], FEW * N * sizeof(float));
    multiply(exact, types[i], MANY, out[0]);
    check_bound(out[0]);
    multiply(inexact, types[i], MANY, out[1]);
    check_bound(out[1]);
  }
  exact->table->close(exact);
  inexact->table->close(inexact);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_products)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
