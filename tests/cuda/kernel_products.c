/* SPDX-License-Identifier: Apache-2.0
 *
 * Every form of a product gives the same bits: wide loads and narrow ones, one row and many, alone and fused.
 */
#include "kernel_fixture.h"

enum { ROWS = 37, N = 21, K = 768, EXPERTS = 5, USED = 2 };

/* An encoded matrix [rows, K]; malloc'd. */
static void *encoded(enum td_dtype dtype, int64_t rows, uint64_t stream, uint64_t *out_row_bytes) {
  assert_ok(td_dtype_row_bytes(dtype, K, out_row_bytes));
  unsigned char *out = malloc((size_t)rows * *out_row_bytes);
  assert_non_null(out);
  for (int64_t r = 0; r < rows; r++) {
    assert_ok(td_quantize(dtype, values(stream + (uint64_t)r, K), out + (uint64_t)r * *out_row_bytes, K));
  }
  return out;
}

static void multiply(enum cuda_family family, enum td_dtype dtype, const struct cuda_matmul_args *args) {
  launch_family(family, dtype, cuda_matmul_grid(family, args), args);
}

/* [ROWS, N] row by row with GEMV, from weights at `shift` bytes behind an aligned address. */
static void by_rows(enum td_dtype dtype, const void *weight, uint64_t row_bytes, uint64_t shift, float *out) {
  cuda_ptr in = sent(values(1, ROWS * K), ROWS * K * sizeof(float)), to = room(ROWS * N * sizeof(float));
  struct cuda_matmul_args args = {.k = K, .row_bytes = (int64_t)row_bytes, .rows = 1};
  args.products[0].weight = shifted(weight, N * row_bytes, shift);
  args.products[0].n = N;
  for (int r = 0; r < ROWS; r++) {
    args.in = in + (uint64_t)r * K * sizeof(float);
    args.products[0].out = to + (uint64_t)r * N * sizeof(float);
    multiply(CUDA_FAMILY_GEMV, dtype, &args);
  }
  fetch(to, out, ROWS * N * sizeof(float));
}

static void check_reference(const char *name, enum td_dtype dtype, const unsigned char *weight, uint64_t row_bytes,
                            const float *got) {
  float row[K];
  const float *in = values(1, ROWS * K);
  for (int c = 0; c < N; c++) {
    td_dequantize(dtype, weight + (uint64_t)c * row_bytes, row, K);
    for (int r = 0; r < ROWS; r++) {
      float want = (float)td_dot(in + r * K, row, K);
      assert_close(name, got + r * N + c, &want, 1, 2e-4);
    }
  }
}

static void check_type(const struct td_dtype_info *info) {
  static float wide[ROWS * N], other[ROWS * N];
  uint64_t row_bytes;
  void *weight = encoded(info->dtype, N, 100, &row_bytes);
  by_rows(info->dtype, weight, row_bytes, 0, wide);
  check_reference(info->name, info->dtype, weight, row_bytes, wide);
  if (info->block_elements > 1) { /* plain types lie on whole elements, wherever a buffer begins */
    by_rows(info->dtype, weight, row_bytes, 1, other);
    assert_same(info->name, other, wide, ROWS * N);
  }
  static const int counts[] = {2, 4, 5, CUDA_FEW_ROWS, CUDA_FEW_ROWS + 1, ROWS};
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    struct cuda_matmul_args args = {.in = sent(values(1, ROWS * K), ROWS * K * sizeof(float)), .k = K};
    args.row_bytes = (int64_t)row_bytes;
    args.rows = counts[i];
    args.products[0] = (struct cuda_product){.weight = sent(weight, N * row_bytes), .out = room(sizeof other), .n = N};
    multiply(cuda_matmul_family(&args), info->dtype, &args);
    fetch(args.products[0].out, other, sizeof other);
    assert_same(info->name, other, wide, counts[i] * N);
    float zero[ROWS * N] = {0};
    assert_same("rows that are not there", other + counts[i] * N, zero, (ROWS - counts[i]) * N);
  }
  free(weight);
}

static void test_forms(void **state) {
  for (int i = 0; td_dtype_at(i); i++) {
    check_type(td_dtype_at(i));
    kernel_release(state);
  }
}

/* A row shorter than a step, and one whose length no vector divides. */
static void test_ragged(void **state) {
  (void)state;
  static const int64_t lengths[] = {1, 3, 5, 37, 131};
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    int64_t k = lengths[i];
    float *in = values(1, 3 * k), *weight = values(2, 2 * k), got[6];
    struct cuda_matmul_args args = {.in = sent(in, (size_t)(3 * k) * 4), .k = k, .row_bytes = 4 * k, .rows = 3};
    args.products[0] =
        (struct cuda_product){.weight = sent(weight, (size_t)(2 * k) * 4), .out = room(sizeof got), .n = 2};
    multiply(CUDA_FAMILY_GEMV_FEW, TD_F32, &args);
    fetch(args.products[0].out, got, sizeof got);
    for (int o = 0; o < 6; o++) {
      float want = (float)td_dot(in + o / 2 * k, weight + o % 2 * k, k);
      assert_close("ragged", &got[o], &want, 1, 1e-5);
    }
  }
}

/* ---- fusions ---- */

struct fused {
  enum td_dtype dtype;
  struct cuda_matmul_args args;
  float out[3][ROWS * N];
};

static void run_fused(struct fused *fused) {
  multiply(cuda_matmul_family(&fused->args), fused->dtype, &fused->args);
  for (int i = 0; i < CUDA_PRODUCTS && fused->args.products[i].n; i++) {
    fetch(fused->args.products[i].out, fused->out[i], (size_t)fused->args.rows * N * sizeof(float));
  }
}

static void prepare(struct fused *fused, int rows) {
  uint64_t row_bytes;
  fused->dtype = TD_Q4_K;
  fused->args = (struct cuda_matmul_args){.in = sent(values(1, ROWS * K), ROWS * K * sizeof(float)), .k = K};
  fused->args.rows = rows;
  for (int i = 0; i < CUDA_PRODUCTS; i++) {
    void *weight = encoded(fused->dtype, N, 200 + 50 * (uint64_t)i, &row_bytes);
    fused->args.products[i] =
        (struct cuda_product){.weight = sent(weight, N * row_bytes), .out = room(ROWS * N * sizeof(float)), .n = N};
    free(weight);
  }
  fused->args.row_bytes = (int64_t)row_bytes;
}

/* Three products of one launch are those of three launches; bias and residual are added as ADD does. */
static void check_products(int rows) {
  static struct fused together, alone;
  float *bias = values(3, N), *residual = values(4, ROWS * N);
  prepare(&together, rows);
  alone = together;
  together.args.products[0].bias = sent(bias, N * sizeof(float));
  together.args.products[0].add = sent(residual, ROWS * N * sizeof(float));
  together.args.products[1].add = together.args.products[1].out; /* in place: zeros so far */
  run_fused(&together);
  for (int i = 0; i < CUDA_PRODUCTS; i++) {
    struct fused one = alone;
    memset(one.args.products, 0, sizeof one.args.products);
    one.args.products[0] = alone.args.products[i];
    run_fused(&one);
    for (int o = 0; i == 0 && o < rows * N; o++) {
      float with_bias = one.out[0][o] + bias[o % N];
      one.out[0][o] = with_bias + residual[o];
    }
    assert_same("product", together.out[i], one.out[0], rows * N);
  }
}

/* f(gate) * up in one launch is what three launches make. */
static void check_gate(int rows, enum cuda_gate gate) {
  static struct fused gated;
  static float want[ROWS * N];
  prepare(&gated, rows);
  gated.args.products[2].n = 0;
  run_fused(&gated);
  struct cuda_activation_args activation = {.a = gated.args.products[0].out,
                                            .b = gated.args.products[1].out,
                                            .out = room(sizeof want),
                                            .count = (int64_t)rows * N,
                                            .gelu = gate == CUDA_GATE_GELU};
  launch(CUDA_KERNEL_ACTIVATION, cuda_elements_grid(activation.count), &activation);
  fetch(activation.out, want, (size_t)rows * N * sizeof(float));
  gated.args.gate = (int32_t)gate;
  run_fused(&gated);
  assert_same("gated", gated.out[0], want, rows * N);
}

static void test_fused(void **state) {
  static const int counts[] = {1, 3, CUDA_FEW_ROWS, ROWS};
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    check_products(counts[i]);
    check_gate(counts[i], CUDA_GATE_SILU);
    check_gate(counts[i], CUDA_GATE_GELU);
    kernel_release(state);
  }
}

/* ---- experts ---- */

/* Slots of one expert together, or each by itself: the same bits, with shared inputs and with their own. */
static void check_experts(enum td_dtype dtype, int own_slots) {
  static float route[ROWS * 2 * USED], one_by_one[ROWS * USED * N], sorted[ROWS * USED * N];
  uint64_t row_bytes;
  void *weight = encoded(dtype, EXPERTS * N, 300, &row_bytes);
  for (int r = 0; r < ROWS; r++) {
    route[r * 2 * USED] = (float)(r * 7 % EXPERTS);
    route[r * 2 * USED + 1] = (float)((r * 7 + 1 + r % 3) % EXPERTS);
  }
  size_t in_count = (size_t)(ROWS * K * (own_slots ? USED : 1));
  struct cuda_expert_matmul_args args = {.in = sent(values(5, (int64_t)in_count), in_count * sizeof(float)),
                                         .weight = sent(weight, EXPERTS * N * row_bytes),
                                         .route = sent(route, sizeof route),
                                         .out = room(sizeof sorted),
                                         .order = room(ROWS * USED * sizeof(int32_t)),
                                         .starts = room((EXPERTS + 1) * sizeof(int32_t)),
                                         .n = N,
                                         .k = K,
                                         .row_bytes = (int64_t)row_bytes,
                                         .rows = ROWS,
                                         .experts = EXPERTS,
                                         .used = USED,
                                         .own_slots = own_slots};
  struct cuda_expert_order_args order = {args.route, args.order, args.starts, ROWS, EXPERTS, USED, 0};
  launch(CUDA_KERNEL_EXPERT_ORDER, cuda_rows_grid(1), &order);
  launch_family(CUDA_FAMILY_EXPERT_GEMM, dtype, cuda_expert_grid(CUDA_FAMILY_EXPERT_GEMM, &args), &args);
  fetch(args.out, sorted, sizeof sorted);
  args.out = room(sizeof one_by_one);
  launch_family(CUDA_FAMILY_EXPERT_GEMV, dtype, cuda_expert_grid(CUDA_FAMILY_EXPERT_GEMV, &args), &args);
  fetch(args.out, one_by_one, sizeof one_by_one);
  assert_same("experts", sorted, one_by_one, ROWS * USED * N);
  free(weight);
}

static void test_experts(void **state) {
  check_experts(TD_BF16, 0);
  kernel_release(state);
  check_experts(TD_Q6_K, 0);
}
static void test_experts_with_own_inputs(void **state) {
  (void)state;
  check_experts(TD_Q4_0, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(test_forms, kernel_release),
      cmocka_unit_test_teardown(test_ragged, kernel_release),
      cmocka_unit_test_teardown(test_fused, kernel_release),
      cmocka_unit_test_teardown(test_experts, kernel_release),
      cmocka_unit_test_teardown(test_experts_with_own_inputs, kernel_release),
  };
  return cmocka_run_group_tests(tests, kernel_open, kernel_close);
}
