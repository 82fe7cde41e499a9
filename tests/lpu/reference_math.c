/* SPDX-License-Identifier: Apache-2.0
 *
 * The elementary functions of the vector unit, written from docs/lpu-numerics.md.
 */
#include <math.h>
#include <string.h>

#include "lpu/reference.h"

/* Hosts differ in the NaNs they make; the LPU makes one. */
static float quiet(float x) {
  static const uint32_t bits = 0x7fc00000;
  float not_a_number;
  memcpy(&not_a_number, &bits, sizeof bits);
  return isnan(x) ? not_a_number : x;
}

/* y * 2^n in two steps, of which only the second rounds. */
static float scaled(float y, int n) {
  int half = (int)floor(n / 2.0);
  return y * ldexpf(1, half) * ldexpf(1, n - half);
}

/* c[0] x^(count - 1) + ... + c[count - 1], Horner's rule. */
static float polynomial(const float *c, int count, float x) {
  float sum = c[0];
  for (int i = 1; i < count; i++) sum = sum * x + c[i];
  return sum;
}

float lpu_reference_exp(float x) {
  static const float c[] = {0x1.6a2434p-10F, 0x1.1239e2p-7F, 0x1.5558f2p-5F, 0x1.555492p-3F, 0x1.fffffcp-2F};
  if (isnan(x)) return quiet(x);
  float bounded = x < -105 ? -105 : x > 90 ? 90 : x;
  float whole = bounded * 0x1.715476p+0F + 0x1.8p23F - 0x1.8p23F;
  float rest = bounded - whole * 0x1.62p-1F - whole * 0x1.c85fep-10F;
  return scaled(polynomial(c, 5, rest) * (rest * rest) + rest + 1, (int)whole);
}

float lpu_reference_reciprocal(float x) {
  static const float c[] = {-0x1.c65286p-3F, 0x1.54bde4p+0F, -0x1.783c56p+1F, 0x1.6a09c2p+1F};
  int exponent;
  if (isnan(x)) return quiet(x);
  if (x == 0 || isinf(x)) return copysignf(x == 0 ? INFINITY : 0, x);
  float m = 2 * frexpf(fabsf(x), &exponent), y = polynomial(c, 4, m);
  for (int i = 0; i < 2; i++) y = y + y * (1 - m * y);
  return copysignf(scaled(y, 1 - exponent), x);
}

float lpu_reference_rsqrt(float x) {
  uint32_t bits;
  if (isnan(x) || x < 0) return quiet(NAN);
  if (x == 0 || isinf(x)) return x == 0 ? INFINITY : 0;
  bool small = x < 0x1p-100F;
  float a = small ? x * 0x1p24F : x, half = 0.5F * a, y;
  memcpy(&bits, &a, sizeof bits);
  bits = 0x5f3759df - (bits >> 1);
  memcpy(&y, &bits, sizeof bits);
  for (int i = 0; i < 3; i++) y = y + y * (0.5F - half * y * y);
  return small ? y * 0x1p12F : y;
}

float lpu_reference_tanh(float x) {
  static const float c[] = {-0x1.75e1c6p-8F, 0x1.52269ap-6F, -0x1.b83c5ap-5F, 0x1.110726p-3F, -0x1.555532p-2F};
  if (isnan(x)) return quiet(x);
  float a = fabsf(x), z = a * a;
  float small = a + a * z * polynomial(c, 5, z), large = 1 - 2 * lpu_reference_reciprocal(lpu_reference_exp(2 * a) + 1);
  return copysignf(a < 0.625F ? small : large, x);
}

float lpu_reference_sigmoid(float x) {
  if (isnan(x)) return quiet(x);
  float e = lpu_reference_exp(-fabsf(x)), y = lpu_reference_reciprocal(1 + e);
  return x < 0 ? e * y : y;
}

/* Adding and subtracting 1.5 * 2^(e + 13) leaves multiples of 2^(e - 10), the spacing of binary16 at 2^e. */
float lpu_reference_f16(float x) {
  uint32_t bits, magic_bits;
  memcpy(&bits, &x, sizeof bits);
  int32_t exponent = (int32_t)(bits >> 23 & 0xff) - 127;
  if (exponent > 15) return isnan(x) ? x : copysignf(INFINITY, x);
  if (exponent < -14) exponent = -14;
  magic_bits = (uint32_t)(exponent + 13 + 127) << 23 | 0x400000;
  float magic;
  memcpy(&magic, &magic_bits, sizeof magic);
  float rounded = copysignf(x + magic - magic, x);
  return fabsf(rounded) > 65504 ? copysignf(INFINITY, x) : rounded;
}

/* Three bits behind the first, down to 2^-9. */
float lpu_reference_f8(float x) {
  int exponent;
  if (!isfinite(x)) return x;
  frexpf(x, &exponent);
  float place = ldexpf(1, exponent < -5 ? -9 : exponent - 4), rounded = rintf(x / place) * place;
  return fabsf(rounded) > 448 ? copysignf(INFINITY, x) : copysignf(rounded, x);
}
