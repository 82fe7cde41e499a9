/* SPDX-License-Identifier: Apache-2.0
 *
 * More and longer rows than the cpu backend takes at once: each row's result is the one it has alone, bit for bit.
 */
#include "harness.h"

#define N 19
#define K 20480 /* 80 KiB a row: a step of ROWS is dealt out in several parts */
#define ROWS 75

static float x[ROWS * K], weight_values[K], together[ROWS * N], alone[N];
static unsigned char weight[N * K];

static void multiply(struct td_device *device, struct td_view weights, int64_t first, int64_t rows, float *out) {
  struct td_op op = {.kind = TD_OP_MATMUL, .n = N, .k = K};
  struct td_batch batch = {.rows = rows};
  struct td_op_call call = {.op = &op,
                            .in = {harness_view(device, TD_F32, rows, K, x + first * K)},
                            .weight = weights,
                            .out = harness_view(device, TD_F32, rows, N, NULL),
                            .batch = &batch};
  assert_int_equal(device->table->op(device, &call), TD_OK);
  assert_int_equal(device->table->read(device, call.out.buffer, 0, out, (uint64_t)(rows * N) * sizeof *out), TD_OK);
  device->table->free(device, call.in[0].buffer);
  device->table->free(device, call.out.buffer);
}

static void test_parts(void **state) {
  (void)state;
  uint64_t row_bytes;
  assert_int_equal(td_dtype_row_bytes(TD_Q4_K, K, &row_bytes), TD_OK);
  for (int64_t i = 0; i < ROWS * K; i++) x[i] = (float)td_random_unit(1, 1, (uint64_t)i) - 0.5f;
  for (int64_t r = 0; r < N; r++) {
    for (int64_t i = 0; i < K; i++) weight_values[i] = (float)td_random_unit(2, (uint64_t)r, (uint64_t)i) - 0.5f;
    assert_int_equal(td_quantize(TD_Q4_K, weight_values, weight + (uint64_t)r * row_bytes, K), TD_OK);
  }
  struct td_device *device = harness_open(3, false);
  struct td_view weights = harness_view(device, TD_Q4_K, N, K, weight);
  multiply(device, weights, 0, ROWS, together);
  for (int64_t t = 0; t < ROWS; t++) {
    multiply(device, weights, t, 1, alone);
    assert_memory_equal(together + t * N, alone, sizeof alone);
  }
  device->table->free(device, weights.buffer);
  device->table->close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_parts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
