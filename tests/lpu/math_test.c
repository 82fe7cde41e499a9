/* SPDX-License-Identifier: Apache-2.0
 *
 * tandem/lpu_math.h against libm in binary64, against the exact conversions of tandem_kernels, and at its edges.
 */
#include "tandem/lpu_math.h"

#include <math.h>

#include "support.h"
#include "tandem/kernels.h"

/* Distance in units of the last place of the correctly rounded result. */
static double off_by(float got, double want) {
  if ((double)got == want) return 0;
  if (fabs(want) >= 0x1.ffffffp127) return isinf(got) ? 0 : INFINITY;
  int exponent;
  frexp(want, &exponent);
  return fabs((double)got - want) / ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
}

struct sweep {
  const char *name;
  float (*function)(float x);
  double (*exact)(double x);
  uint32_t first, last, step; /* bit patterns */
  double most;
};

static double one_over(double x) {
  return 1 / x;
}
static double one_over_root(double x) {
  return 1 / sqrt(x);
}
static double logistic(double x) {
  return 1 / (1 + exp(-x));
}
static float our_exp(float x) {
  return td_lpu_exp(x);
}
static float our_reciprocal(float x) {
  return td_lpu_reciprocal(x);
}
static float our_rsqrt(float x) {
  return td_lpu_rsqrt(x);
}
static float our_tanh(float x) {
  return td_lpu_tanh(x);
}
static float our_sigmoid(float x) {
  return td_lpu_sigmoid(x);
}

static const struct sweep sweeps[] = {
    {"exp, up", our_exp, exp, 0x00000000u, 0x7f7fffffu, 3079, 1.1},
    {"exp, up, where most happens", our_exp, exp, 0x3c000000u, 0x42b17300u, 131, 1.1},
    {"exp, down", our_exp, exp, 0x80000000u, 0xff7fffffu, 3079, 1.1},
    {"exp, down, where most happens", our_exp, exp, 0xbc000000u, 0xc2d20000u, 131, 1.1},
    {"reciprocal", our_reciprocal, one_over, 0x00000001u, 0x7f7fffffu, 3079, 1.24},
    {"reciprocal, below zero", our_reciprocal, one_over, 0x80000001u, 0xff7fffffu, 6151, 1.24},
    {"reciprocal, one octave", our_reciprocal, one_over, 0x3f800000u, 0x3fffffffu, 13, 1.24},
    {"rsqrt", our_rsqrt, one_over_root, 0x00000001u, 0x7f7fffffu, 3079, 1.22},
    {"rsqrt, two octaves", our_rsqrt, one_over_root, 0x3f800000u, 0x407fffffu, 23, 1.22},
    {"tanh, up", our_tanh, tanh, 0x00000000u, 0x7f7fffffu, 3079, 1.5},
    {"tanh, down", our_tanh, tanh, 0x80000000u, 0xff7fffffu, 6151, 1.5},
    {"tanh, around the seam", our_tanh, tanh, 0x3e000000u, 0x41200000u, 97, 1.5},
    {"sigmoid, up", our_sigmoid, logistic, 0x00000000u, 0x7f7fffffu, 3079, 2.0},
    {"sigmoid, down", our_sigmoid, logistic, 0x80000000u, 0xff7fffffu, 3079, 3.1},
};

static void test_accuracy(void **state) {
  (void)state;
  for (size_t s = 0; s < sizeof sweeps / sizeof *sweeps; s++) {
    const struct sweep *sweep = &sweeps[s];
    double worst = 0;
    float at = 0;
    for (uint64_t bits = sweep->first; bits <= sweep->last; bits += sweep->step) {
      float x = td_bits_to_float((uint32_t)bits);
      double off = off_by(sweep->function(x), sweep->exact((double)x));
      if (off <= worst) continue;
      worst = off;
      at = x;
    }
    printf("%-30s %.3f ulp at %a\n", sweep->name, worst, (double)at);
    if (!(worst <= sweep->most)) fail_msg("%s: %g ulp at %a, expected %g", sweep->name, worst, (double)at, sweep->most);
  }
}

/* exp may nowhere fall: `count` patterns from `first` on, `step` apart. */
static void check_rising(uint32_t first, uint32_t count, uint32_t step) {
  bool down = first >> 31;
  float before = td_lpu_exp(td_bits_to_float(first));
  for (uint32_t i = 1; i < count; i++) {
    float x = td_bits_to_float(first + i * step), now = td_lpu_exp(x);
    if (down ? now > before : now < before) fail_msg("exp(%a) = %a after %a", (double)x, (double)now, (double)before);
    before = now;
  }
}

static void test_exp_is_monotone(void **state) {
  (void)state;
  check_rising(0x00000000u, 1200000, 932);
  check_rising(0x80000000u, 1200000, 934);
  for (int n = 0; n < 128; n++) { /* where the power of two changes */
    float seam = (float)((n + 0.5) * 0.6931471805599453);
    check_rising(td_lpu_bits(seam) - 2000, 4000, 1);
    check_rising(td_lpu_bits(-seam) - 2000, 4000, 1);
  }
}

#define SAME(got, want) assert_int_equal(td_lpu_bits(got), td_lpu_bits(want))

static void test_edges(void **state) {
  (void)state;
  const float infinite = td_bits_to_float(0x7f800000u), nan = td_bits_to_float(TD_LPU_NAN);
  SAME(td_lpu_exp(0.0f), 1.0f);
  SAME(td_lpu_exp(-0.0f), 1.0f);
  SAME(td_lpu_exp(-infinite), 0.0f);
  SAME(td_lpu_exp(-1e30f), 0.0f);
  SAME(td_lpu_exp(infinite), infinite);
  SAME(td_lpu_exp(88.73f), infinite);
  assert_true(td_lpu_exp(-100.0f) > 0 && td_lpu_exp(-100.0f) < 0x1p-126f); /* a subnormal */
  SAME(td_lpu_reciprocal(0.0f), infinite);
  SAME(td_lpu_reciprocal(-0.0f), -infinite);
  SAME(td_lpu_reciprocal(infinite), 0.0f);
  SAME(td_lpu_reciprocal(-infinite), -0.0f);
  SAME(td_lpu_reciprocal(0x1p-149f), infinite);
  for (int n = -126; n <= 126; n++) SAME(td_lpu_reciprocal(ldexpf(1, n)), ldexpf(1, -n));
  SAME(td_lpu_reciprocal(0x1p127f), 0x1p-127f);
  SAME(td_lpu_rsqrt(0.0f), infinite);
  SAME(td_lpu_rsqrt(-0.0f), infinite);
  SAME(td_lpu_rsqrt(infinite), 0.0f);
  SAME(td_lpu_rsqrt(-1.0f), nan);
  SAME(td_lpu_rsqrt(-infinite), nan);
  SAME(td_lpu_tanh(-0.0f), -0.0f);
  SAME(td_lpu_tanh(infinite), 1.0f);
  SAME(td_lpu_tanh(-20.0f), -1.0f);
  SAME(td_lpu_sigmoid(0.0f), 0.5f);
  SAME(td_lpu_sigmoid(infinite), 1.0f);
  SAME(td_lpu_sigmoid(-infinite), 0.0f);
  const uint32_t nans[] = {0x7fc00000u, 0xffc00000u, 0x7f800001u, 0xffffffffu};
  for (int i = 0; i < 4; i++) {
    float x = td_bits_to_float(nans[i]);
    SAME(td_lpu_exp(x), nan);
    SAME(td_lpu_reciprocal(x), nan);
    SAME(td_lpu_rsqrt(x), nan);
    SAME(td_lpu_tanh(x), nan);
    SAME(td_lpu_sigmoid(x), nan);
    SAME(td_lpu_quiet(x), nan);
  }
}

static void check_half(uint32_t bits) {
  float x = td_bits_to_float(bits);
  uint16_t want = x != x ? 0x7e00 : td_float_to_half(x);
  if (td_lpu_f32_to_f16(x) != want)
    fail_msg("f16 of %a: found %04x, expected %04x", (double)x, td_lpu_f32_to_f16(x), want);
  assert_int_equal(td_lpu_fits_f16(x), (want & 0x7c00) != 0x7c00);
}

/* All halves there; back, the halves, the middles between them, and what lies next to both. */
static void test_halves(void **state) {
  (void)state;
  for (uint32_t half = 0; half < 65536; half++) {
    float x = td_lpu_f16_to_f32((uint16_t)half), want = td_half_to_float((uint16_t)half);
    assert_int_equal(td_lpu_bits(x), td_lpu_bits(want));
    if ((half & 0x7c00u) == 0x7c00u) continue;
    uint32_t middle = td_lpu_bits(x) + ((half & 0x7c00u) ? 0x1000u : 0);
    if (!(half & 0x7c00u)) middle = td_lpu_bits(x + (half >> 15 ? -0x1p-25f : 0x1p-25f));
    for (uint32_t near = 0; near < 3; near++) {
      check_half(td_lpu_bits(x) + near - 1);
      check_half(middle + near - 1);
    }
  }
}

static void test_integers(void **state) {
  (void)state;
  for (uint64_t bits = 0; bits < UINT64_C(1) << 32; bits += 2053) {
    float x = td_bits_to_float((uint32_t)bits);
    bool fits = (double)x >= -2147483648.0 && (double)x < 2147483648.0;
    assert_int_equal(td_lpu_fits_i32(x), fits);
    assert_int_equal(td_lpu_f32_to_i32(x), fits ? (int32_t)nearbyint((double)x) : 0);
  }
  for (int32_t i = -100000; i < 100000; i++) {
    assert_int_equal(td_lpu_f32_to_i32((float)i * 0.5f), (int32_t)nearbyint(i * 0.5)); /* all ties */
  }
  SAME(td_lpu_i32_to_f32(16777217), 16777216.0f);
  SAME(td_lpu_i32_to_f32(16777219), 16777220.0f);
  SAME(td_lpu_i32_to_f32(INT32_MAX), 2147483648.0f);
}

/* ---- FP8 ---- */

/* What the 7 bits below the sign say; 0x7f is no number. */
static double eight(int code) {
  int exponent = code >> 3, fraction = code & 7;
  return exponent ? ldexp(8 + fraction, exponent - 10) : ldexp(fraction, -9);
}

static void test_f8_codes(void **state) {
  (void)state;
  for (int code = 0; code < 256; code++) {
    float value = td_lpu_f8_to_f32((uint8_t)code);
    if ((code & 0x7f) == 0x7f) {
      assert_int_equal(td_lpu_bits(value), TD_LPU_NAN);
      continue;
    }
    assert_true(fabs((double)value) == eight(code & 0x7f));
    assert_int_equal(td_lpu_bits(value) >> 31, code >> 7);
    assert_true(td_lpu_fits_f8(value));
    assert_int_equal(td_lpu_f32_to_f8(value), code);
  }
  assert_true(td_lpu_f8_to_f32(0x7e) == TD_LPU_F8_MOST);
}

/* The nearest of all codes, of two the even one; 0x7f: beyond 464. */
static int nearest_eight(double magnitude) {
  int best = 0;
  if (!(magnitude <= 464)) return 0x7f;
  for (int code = 1; code < 0x7f; code++) {
    double off = fabs(eight(code) - magnitude), least = fabs(eight(best) - magnitude);
    if (off < least || (off == least && code % 2 == 0)) best = code;
  }
  return best;
}

static void check_rounding(float x) {
  int found = td_lpu_f32_to_f8(x), sign = (int)(td_lpu_bits(x) >> 31), code = nearest_eight(fabs((double)x));
  if (found != (sign << 7 | code)) fail_msg("%a: found 0x%02x, expected 0x%02x", (double)x, found, sign << 7 | code);
  assert_int_equal(td_lpu_fits_f8(x) != 0, code != 0x7f);
}

/* All fp16, and what lies beside the middle of each two codes. */
static void test_f8_rounding(void **state) {
  (void)state;
  for (int32_t half = 0; half < 65536; half++) check_rounding(td_lpu_f16_to_f32((uint16_t)half));
  for (int code = 0; code < 0x7e; code++) {
    uint32_t middle = td_lpu_bits((float)((eight(code) + eight(code + 1)) / 2));
    for (int32_t by = -1; by <= 1; by++) check_rounding(td_bits_to_float(middle + (uint32_t)by));
  }
  check_rounding(464);
  check_rounding(nextafterf(464, 500));
  check_rounding(-3e38f);
  check_rounding(0x1p-149f);
}

/* What activations are scaled by never takes their largest beyond what rounds to 448, nor a weight's scale its row's.
 */
static void test_f8_scales(void **state) {
  (void)state;
  for (uint64_t bits = 0x0d800000u; bits < 0x7f800000u; bits += 1021) { /* from 2^-100 on */
    float most = td_bits_to_float((uint32_t)bits), factor = TD_LPU_F8_MOST * td_lpu_reciprocal(most);
    float scale = most / TD_LPU_F8_MOST;
    assert_int_equal(td_lpu_f32_to_f8(most * factor), 0x7e);
    assert_int_equal(td_lpu_f32_to_f8(most / scale), 0x7e);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_f8_codes), cmocka_unit_test(test_f8_rounding),     cmocka_unit_test(test_f8_scales),
      cmocka_unit_test(test_accuracy), cmocka_unit_test(test_exp_is_monotone), cmocka_unit_test(test_edges),
      cmocka_unit_test(test_halves),   cmocka_unit_test(test_integers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
