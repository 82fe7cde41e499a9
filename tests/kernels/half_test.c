/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "kernels/half.h"
#include "support.h"
#include "tandem/base.h"
#include "tandem/kernels.h"

/* What a half means, by the definition. */
static double meaning(unsigned half) {
  int exponent = (int)(half >> 10 & 31u), mantissa = (int)(half & 1023u);
  double value = exponent ? ldexp(1024 + mantissa, exponent - 25) : ldexp(mantissa, -24);
  return half & 0x8000u ? -value : value;
}

static bool is_special(unsigned half) {
  return (half & 0x7c00u) == 0x7c00u;
}

static void test_every_half(void **state) {
  (void)state;
  for (unsigned half = 0; half < 65536; half++) {
    float value = td_half_to_float((uint16_t)half);
    if (!is_special(half)) assert_true((double)value == meaning(half));
    if (is_special(half)) assert_true(half & 1023u ? isnan(value) : isinf(value) && (value < 0) == (half >> 15));
    assert_int_equal(td_float_to_half(value), half);
  }
}

/* Between two neighbours the nearer wins, and the even one on a tie. */
static void test_rounding(void **state) {
  (void)state;
  for (unsigned half = 0; half < 0x7bff; half++) {
    float low = td_half_to_float((uint16_t)half), high = td_half_to_float((uint16_t)(half + 1));
    float middle = (low + high) / 2; /* exact: one more bit */
    assert_int_equal(td_float_to_half(middle), half + (half & 1u));
    assert_int_equal(td_float_to_half(nextafterf(middle, low)), half);
    assert_int_equal(td_float_to_half(nextafterf(middle, high)), half + 1);
    assert_int_equal(td_float_to_half(-middle), 0x8000u | (half + (half & 1u)));
  }
  assert_int_equal(td_float_to_half(65519.996f), 0x7bff);
  assert_int_equal(td_float_to_half(65520.0f), 0x7c00);
  assert_int_equal(td_float_to_half(3e38f), 0x7c00);
  assert_int_equal(td_float_to_half(-INFINITY), 0xfc00);
  assert_int_equal(td_float_to_half(0x1p-25f), 0);
  assert_int_equal(td_float_to_half(0x1.000002p-25f), 1);
  assert_int_equal(td_float_to_half(0x1p-149f), 0);
  uint32_t bits = 0x7f800001u; /* a NaN whose payload a half cannot hold */
  float odd;
  memcpy(&odd, &bits, sizeof odd);
  assert_true(isnan(td_half_to_float(td_float_to_half(odd))));
}

static void test_bf16(void **state) {
  (void)state;
  for (unsigned value = 0; value < 65536; value++) {
    float wide = td_bf16_to_float((uint16_t)value);
    uint32_t bits;
    memcpy(&bits, &wide, sizeof bits);
    assert_int_equal(bits, value << 16);
    unsigned char back[2];
    uint16_t half;
    assert_int_equal(td_quantize(TD_BF16, &wide, back, 1), TD_OK);
    memcpy(&half, back, 2);
    if (isnan(wide)) {
      assert_int_equal(half | 0x40u, value | 0x40u);
    } else {
      assert_int_equal(half, value);
    }
  }
}

static void test_twin(void **state) {
  (void)state;
  if (!td_half_f16c_here()) {
    printf("SKIPPED: this CPU has no F16C\n");
    skip();
  }
  static uint16_t halves[65536 + 5];
  static float plain[65536 + 5], twin[65536 + 5];
  for (unsigned i = 0; i < 65536 + 5; i++) halves[i] = (uint16_t)(i * 40503u); /* specials amid plain ones */
  td_half_row_plain((const unsigned char *)halves, plain, 65536 + 5);
  td_half_row_f16c((const unsigned char *)halves, twin, 65536 + 5);
  assert_memory_equal(plain, twin, sizeof plain);
  td_dequantize(TD_F16, halves, twin, 65536 + 5);
  assert_memory_equal(plain, twin, sizeof plain);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_half), cmocka_unit_test(test_rounding),
                                     cmocka_unit_test(test_bf16), cmocka_unit_test(test_twin)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
