/* SPDX-License-Identifier: Apache-2.0
 *
 * Two writings of docs/lpu-numerics.md, the reference's and tandem/lpu_math.h, give the same bits: over a sweep of all
 * binary32, and densely where the arguments of a model lie.
 */
#include <math.h>

#include "lpu/reference.h"
#include "support.h"
#include "tandem/lpu_math.h"

static float from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static uint32_t to_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static float shared_f16(float x) {
  return td_lpu_f16_to_f32(td_lpu_f32_to_f16(x));
}

struct pair {
  const char *name;
  float (*reference)(float), (*shared)(float);
};
static const struct pair pairs[] = {{"exp", lpu_reference_exp, td_lpu_exp},
                                    {"reciprocal", lpu_reference_reciprocal, td_lpu_reciprocal},
                                    {"rsqrt", lpu_reference_rsqrt, td_lpu_rsqrt},
                                    {"tanh", lpu_reference_tanh, td_lpu_tanh},
                                    {"sigmoid", lpu_reference_sigmoid, td_lpu_sigmoid},
                                    {"f16", lpu_reference_f16, shared_f16}};

static void compare(const struct pair *pair, uint32_t bits) {
  float x = from_bits(bits), a = pair->reference(x), b = pair->shared(x);
  bool any_nan = pair->shared == shared_f16 && isnan(x);
  if (to_bits(a) == to_bits(b) || (any_nan && isnan(a) && isnan(b))) return;
  fail_msg("%s(%a): %a by the reference, %a by tandem/lpu_math.h", pair->name, (double)x, (double)a, (double)b);
}

static void sweep(uint32_t first, uint32_t last, uint32_t step) {
  for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
    for (uint64_t bits = first; bits <= last; bits += step) compare(&pairs[i], (uint32_t)bits);
  }
}

static void test_everywhere(void **state) {
  (void)state;
  sweep(0, UINT32_MAX, 4243);
}

/* 1 <= |x| < 2, where reciprocal and rsqrt have their mantissas; then exp's and tanh's arguments. */
static void test_densely(void **state) {
  (void)state;
  sweep(to_bits(1), to_bits(4), 31);
  sweep(to_bits(-128), to_bits(-256), 257);
  sweep(to_bits(-0x1p-3F), to_bits(-128), 251);
  sweep(to_bits(0x1p-3F), to_bits(128), 251);
}

/* Zeros, the smallest and largest of each kind, infinities and their neighbours. */
static void test_edges(void **state) {
  static const float edges[] = {0,        0x1p-149F,     0x1p-126F, 0x1p-100F,        0x1p-25F,
                                0x1p-24F, 0x1.8p-24F,    0x1p-14F,  0.625F,           0x1.ffcp15F,
                                65519,    65520,         65536,     88.722839F,       0x1p126F,
                                90,       103.97208404F, 105,       0x1.fffffep+127F, INFINITY,
                                NAN};
  (void)state;
  for (size_t i = 0; i < sizeof edges / sizeof edges[0]; i++) {
    uint32_t bits = to_bits(edges[i]), low = bits < 64 ? 0 : bits - 64;
    sweep(low, bits + 64, 1);
    sweep(low | 0x80000000u, (bits + 64) | 0x80000000u, 1);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_everywhere), cmocka_unit_test(test_densely),
                                     cmocka_unit_test(test_edges)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
