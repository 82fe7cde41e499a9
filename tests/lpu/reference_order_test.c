/* SPDX-License-Identifier: Apache-2.0
 *
 * Sums whose rounding shows the order in which the reference added: 2^24 + 1 is 2^24 in binary32, 2^24 + 2 is not.
 */
#include "lpu/reference_parts.h"
#include "support.h"

#define BIG 0x1p24F

static float sum_of(const float *lanes, int32_t count) {
  float v[16] = {0};
  const struct lpu_reference reference = {.most_rows = LPU_REFERENCE_ROWS,
                                          .options = {.lanes = 16, .lanes_per_superlane = 4}};
  memcpy(v, lanes, (size_t)count * sizeof *v);
  return reference_lane_tree(&reference, v);
}

static void test_lane_tree(void **state) {
  (void)state;
  assert_true(sum_of((float[]){BIG, 1, 0, 1}, 4) == BIG + 2);                /* 1 + 1 first */
  assert_true(sum_of((float[]){BIG, 1, 1, 0}, 4) == BIG);                    /* each by itself */
  assert_true(sum_of((float[]){BIG, 0, 0, 0, 1, 0, 0, 0, 1}, 9) == BIG);     /* superlanes ascending */
  assert_true(sum_of((float[]){1, 0, 0, 0, 1, 0, 0, 0, BIG}, 9) == BIG + 2); /* superlanes ascending */
}

#define K 4

/* out[1, 1] = x[1, K] * w[1, K]^T on planes of K / 2 halves; `products` keeps the operands. */
static float product_of(enum td_lpu_activations activations, const float *x, const float *w, double *products) {
  float in[LPU_REFERENCE_ROWS * K] = {0}, out[LPU_REFERENCE_ROWS], panels[K * PANEL] = {0}, scale = 1;
  float row_scale[LPU_REFERENCE_ROWS];
  float *values[] = {in, out};
  struct td_value names[] = {{.name = "in", .cols = K}, {.name = "out", .cols = 1}};
  struct td_graph graph = {.values = names, .value_count = 2};
  struct matrix matrix = {.panels = panels, .scale = &scale, .n = 1, .k = K};
  const struct td_op op = {.kind = TD_OP_MATMUL, .in = {0, -1}, .out = 1, .n = 1, .k = K};
  memcpy(in, x, K * sizeof *x);
  for (int i = 0; i < K; i++) panels[i * PANEL] = w[i];
  struct lpu_reference reference = {
      .most_rows = LPU_REFERENCE_ROWS,
      .options = {.weights = activations ? TD_LPU_WEIGHTS_I8 : TD_LPU_WEIGHTS_F16,
                  .activations = activations,
                  .plane_k = K},
      .graph = &graph,
      .weights = &matrix,
      .values = values,
      .products = products,
      .row_scale = row_scale,
  };
  if (reference_matmul(&reference, &op, 1)) fail_msg("%s", td_error_text());
  return out[0];
}

static void test_parts(void **state) {
  static double products[2 * LPU_REFERENCE_ROWS * K];
  const float ones[K] = {512, 1, 1, 1};
  (void)state;
  const float across[K] = {0x1p15F, 1, 1, 0}, within[K] = {0x1p15F, 2, 0, 0}, later[K] = {0x1p15F, 0, 1, 1};
  assert_true(product_of(TD_LPU_ACTIVATIONS_F16, across, ones, products) == BIG); /* rounded after each part */
  assert_true(product_of(TD_LPU_ACTIVATIONS_F16, within, ones, products) == BIG + 2);
  assert_true(product_of(TD_LPU_ACTIVATIONS_F16, later, ones, products) == BIG + 2); /* a part's sum in binary64 */
}

/* q = 128 * hi + lo, lo in -64 .. 63, the largest x at 127 * 128. */
static void test_two_passes(void **state) {
  static double products[2 * LPU_REFERENCE_ROWS * K];
  const float x[K] = {1, -1, 64.0F / 16256, 63.0F / 16256}, w[K] = {127, 100, -3, 5};
  const double *high = products, *low = products + LPU_REFERENCE_ROWS * K;
  (void)state;
  float y = product_of(TD_LPU_ACTIVATIONS_I8X2, x, w, products);
  static const double highs[K] = {127, -127, 1, 0}, lows[K] = {0, 0, -64, 63};
  for (int i = 0; i < K; i++) { /* eight rows lie together */
    assert_true(high[8 * i] == highs[i]);
    assert_true(low[8 * i] == lows[i]);
  }
  assert_true(y == ((127 * 127 - 127 * 100 - 3) * 128.0F + (64 * 3 + 63 * 5)) * (1.0F / 16256));
}

static void test_one_pass(void **state) {
  static double products[2 * LPU_REFERENCE_ROWS * K];
  const float x[K] = {2, -2, 1, 0}, w[K] = {127, 100, -3, 5}, zeros[K] = {0};
  (void)state;
  float y = product_of(TD_LPU_ACTIVATIONS_I8, x, w, products);
  assert_true(products[16] == 64); /* 63.5 to even */
  assert_true(y == (127 * 127 - 127 * 100 - 3 * 64) * (2 * (1.0F / 127)));
  assert_true(product_of(TD_LPU_ACTIVATIONS_I8, zeros, w, products) == 0);
}

/* The factors of gelu: a bound on logits does not see the outer ones where a norm follows. */
static void test_gelu(void **state) {
  const struct td_op op = {.kind = TD_OP_ACTIVATION, .activation = TD_ACT_GELU, .n = 3};
  const float gate[] = {30, 1, -30}, up[] = {2, 1, 1};
  float out[3];
  (void)state;
  reference_activate(&op, gate, up, out);
  assert_true(out[0] == 60 && out[2] == 0);
  float inner = 1 + 0.044715F;
  assert_true(out[1] == 0.5F * (1 + lpu_reference_tanh(0.7978846F * inner)));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_lane_tree), cmocka_unit_test(test_parts),
                                     cmocka_unit_test(test_two_passes), cmocka_unit_test(test_one_pass),
                                     cmocka_unit_test(test_gelu)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
