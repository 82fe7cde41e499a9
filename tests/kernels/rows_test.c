/* SPDX-License-Identifier: Apache-2.0
 *
 * The row functions of tandem/kernels.h against numbers worked out by hand, and the index arithmetic of
 * tandem/positions.h against its plain meaning.
 */
#include <math.h>

#include "support.h"
#include "tandem/kernels.h"
#include "tandem/positions.h"

static void test_dot_and_norm(void **state) {
  (void)state;
  const float a[] = {1e8f, 1.0f, -1e8f}, ones[] = {1.0f, 1.0f, 1.0f};
  assert_true(td_dot(a, ones, 3) == 1.0); /* in float32 it would be 0 */
  float row[] = {3.0f, 4.0f};
  const float weight[] = {1.0f, 10.0f};
  td_rms_norm_row(row, weight, row, 2, 12.5); /* mean square 12.5: divided by 5 */
  assert_true(fabsf(row[0] - 0.6f) < 1e-7f && fabsf(row[1] - 8.0f) < 1e-6f);
}

/* position * scale / factor = pi / 2 for the first pair, pi / 20 for the second: theta^(2/4) = 10. */
static void test_rope(void **state) {
  (void)state;
  struct td_op op = {.rope_dim = 4, .theta = 100.0, .position_scale = acos(-1.0) / 4, .rope_pairs = TD_ROPE_ADJACENT};
  const float factors[] = {2.0f, 2.0f};
  float head[] = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f};
  td_rope_row(&op, factors, 4, head);
  double c = cos(acos(-1.0) / 20), s = sin(acos(-1.0) / 20);
  const double want[] = {-2.0, 1.0, 3 * c - 4 * s, 3 * s + 4 * c, 5.0};
  for (int i = 0; i < 5; i++) assert_true(fabs(head[i] - want[i]) < 1e-6);
  float halves[] = {1.0f, 3.0f, 2.0f, 4.0f, 5.0f};
  op.rope_pairs = TD_ROPE_HALVES;
  td_rope_row(&op, factors, 4, halves);
  assert_true(halves[0] == head[0] && halves[2] == head[1] && halves[1] == head[2] && halves[3] == head[3]);
  td_rope_row(&op, NULL, 0, halves);
  assert_true(halves[0] == head[0] && halves[3] == head[3] && halves[4] == 5.0f);
}

static void test_activations(void **state) {
  (void)state;
  assert_true(td_activate(TD_ACT_SILU, 0.0) == 0.0 && td_activate(TD_ACT_GELU, 0.0) == 0.0);
  assert_true(fabs(td_activate(TD_ACT_SILU, 1.0) - 0.7310585786300049) < 1e-15);
  assert_true(fabs(td_activate(TD_ACT_GELU, 1.0) - 0.8411919906082768) < 1e-12);
  assert_true(fabs(td_activate(TD_ACT_GELU, -1.0) + 0.1588080093917232) < 1e-12);
  assert_true(td_activate(TD_ACT_GELU, 1e30) == 1e30 && td_activate(TD_ACT_SILU, 1e30) == 1e30);
  assert_true(td_activate(TD_ACT_GELU, -1e30) == 0.0 && td_activate(TD_ACT_SILU, -1e30) == 0.0);
  assert_true(td_activate(TD_ACT_RELU, -3.0) == 0.0 && td_activate(TD_ACT_RELU, 3.0) == 3.0);
  assert_true(isnan(td_activate((enum td_activation)9, 1.0)));
}

static void check_route(const float *logits, int32_t experts, int32_t used, const float *want) {
  float out[16];
  td_route_row(logits, out, experts, used);
  for (int32_t i = 0; i < used; i++) assert_true(out[i] == want[i]);
  for (int32_t i = used; i < 2 * used; i++) assert_true(fabsf(out[i] - want[i]) < 1e-6f);
}

static void test_route(void **state) {
  (void)state;
  const float inf = INFINITY, ln3 = logf(3.0f);
  check_route((const float[]){0.0f, ln3, -5.0f}, 3, 2, (const float[]){1, 0, 0.75f, 0.25f});
  check_route((const float[]){2.0f, 7.0f, 7.0f, 7.0f}, 4, 2, (const float[]){1, 2, 0.5f, 0.5f}); /* ties: lower first */
  check_route((const float[]){-inf, 3.0f, -inf}, 3, 3, (const float[]){1, 0, 2, 1, 0, 0});
  check_route((const float[]){-3e38f, 3e38f}, 2, 2, (const float[]){1, 0, 1, 0});
  check_route((const float[]){0.0f, -0.0f}, 2, 1, (const float[]){0, 1});
  float out[8];
  td_route_row((const float[]){NAN, 1.0f, NAN, 2.0f}, out, 4, 4); /* NaNs last, by id; ids stay ids */
  assert_true(out[0] == 3 && out[1] == 1 && out[2] == 0 && out[3] == 2);
}

static void test_masks(void **state) {
  (void)state;
  for (int32_t position = 0; position < 20; position++) {
    for (int32_t window = 0; window < 25; window++) {
      for (int32_t j = 0; j < 25; j++) {
        bool sees = j <= position && (window == 0 || j > position - window);
        assert_int_equal(sees, j >= td_visible_begin(position, window) && j < td_visible_end(position));
      }
    }
  }
  assert_int_equal(td_visible_begin(INT32_MAX, INT32_MAX), 1);
  assert_int_equal(td_visible_begin(5, INT32_MAX), 0);
}

static void test_places(void **state) {
  (void)state;
  const int32_t blocks[] = {7, 0, 1000000000};
  assert_int_equal(td_kv_slot(blocks, 3, 4), 31);
  assert_int_equal(td_kv_slot(blocks, 4, 4), 0);
  assert_int_equal(td_kv_slot(blocks, 11, 4), 4000000003);
  assert_int_equal(td_kv_element(4000000003, 1, 2, 64), (4000000003 * 2 + 1) * 64);
  assert_int_equal(td_kv_head(5, 6, 2), 1);
  assert_int_equal(td_expert_row(127, 100000000, 5), 12700000005);
  assert_int_equal(td_expert_input(3, 64, 64), 0);
  assert_int_equal(td_expert_input(3, 256, 64), 192);
  const float routed[] = {5, 2, 0.75f, 0.25f};
  assert_int_equal(td_routed_id(routed, 1), 2);
  assert_true(td_routed_weight(routed, 2, 1) == 0.25f);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_dot_and_norm), cmocka_unit_test(test_rope),
                                     cmocka_unit_test(test_activations),  cmocka_unit_test(test_route),
                                     cmocka_unit_test(test_masks),        cmocka_unit_test(test_places)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
