/* SPDX-License-Identifier: Apache-2.0
 *
 * The LPU's arithmetic, once, for C, OpenCL C 1.2 and CUDA: what its vector unit and its conversions give, to the bit.
 * IEEE binary32, round to nearest even, subnormals kept, no contraction, no division, no library call; every step is
 * one rounded operation in the order written. docs/lpu-numerics.md says the same in formulas.
 *
 * All functions take any argument. Where a result is not a number it is the NaN 0x7fc00000, because hosts differ in the
 * NaNs that they make; td_lpu_quiet does this for the sums and products of users.
 *
 * No branches: each function is selects over straight lines, so that compilers make vectors of a loop over lanes.
 */
#ifndef TANDEM_LPU_MATH_H
#define TANDEM_LPU_MATH_H

#include "tandem/portable.h"

#if defined(__OPENCL_VERSION__) || defined(__OPENCL_C_VERSION__)
#define td_lpu_bits(value) as_uint((float)(value))
#else
TD_FN td_u32 td_lpu_bits(float value) {
  td_u32 bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
#endif

#define TD_LPU_NAN 0x7fc00000u

TD_FN float td_lpu_quiet(float x) {
  return x != x ? td_bits_to_float(TD_LPU_NAN) : x;
}

/* 2^n for -126 <= n <= 127. */
TD_FN float td_lpu_power(td_i32 n) {
  return td_bits_to_float(((td_u32)n + 127u) << 23);
}
/* y * 2^n for 0.5 <= |y| < 2, |n| <= 160: rounded once, in the second product. */
TD_FN float td_lpu_scaled(float y, td_i32 n) {
  td_i32 first = n >> 1;
  return y * td_lpu_power(first) * td_lpu_power(n - first);
}

/* Nearest integer, ties to even, for |x| < 2^22: adding 1.5 * 2^23 leaves no bit for a fraction. */
#define TD_LPU_ROUNDER 0x1.8p23f

/* ---- conversions ---- */

/* Whether x has a binary16: false for NaN, infinities and what rounds to 65536 or more. */
TD_FN td_i32 td_lpu_fits_f16(float x) {
  return (td_lpu_bits(x) & 0x7fffffffu) < 0x477ff000u;
}
/* binary16 of x, nearest even; infinity where it does not fit, 0x7e00 for NaN. */
TD_FN td_u16 td_lpu_f32_to_f16(float x) {
  td_u32 bits = td_lpu_bits(x), magnitude = bits & 0x7fffffffu;
  td_u32 normal = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  td_u32 tiny = td_lpu_bits(td_bits_to_float(magnitude) + 0.5f) - 0x3f000000u; /* 0.5's last place is 2^-24 */
  td_u32 h16 = magnitude < 0x38800000u ? tiny : normal;
  h16 = magnitude >= 0x477ff000u ? 0x7c00u : h16;
  h16 = magnitude > 0x7f800000u ? 0x7e00u : h16;
  return (td_u16)(magnitude > 0x7f800000u ? h16 : h16 | (bits >> 16 & 0x8000u));
}
/* Exact; a NaN stays a NaN with its bits. */
TD_FN float td_lpu_f16_to_f32(td_u16 h16) {
  td_u32 sign = (td_u32)(h16 & 0x8000u) << 16, magnitude = h16 & 0x7fffu;
  td_u32 tiny = td_lpu_bits((float)(td_i32)magnitude * 0x1p-24f);
  td_u32 bits = magnitude < 0x0400u ? tiny : (magnitude << 13) + 0x38000000u;
  bits = magnitude >= 0x7c00u ? 0x7f800000u | (magnitude & 0x3ffu) << 13 : bits;
  return td_bits_to_float(sign | bits);
}

/* FP8 is OCP's E4M3: exponent bias 7, subnormals in units of 2^-9, at most 448, no infinities; 0x7f and 0xff are NaN.
 */
#define TD_LPU_F8_MOST 448.0f

/* Whether x has an FP8: false for NaN and what rounds to 480 or more (464 is a tie, and 448 the even one). */
TD_FN td_i32 td_lpu_fits_f8(float x) {
  return (td_lpu_bits(x) & 0x7fffffffu) <= 0x43e80000u;
}
/* FP8 of x, nearest even; a NaN with its sign where it does not fit. */
TD_FN td_u8 td_lpu_f32_to_f8(float x) {
  td_u32 bits = td_lpu_bits(x), magnitude = bits & 0x7fffffffu;
  td_u32 normal = (magnitude - 0x3c000000u + 0x7ffffu + (magnitude >> 20 & 1u)) >> 20;
  td_u32 tiny = td_lpu_bits(td_bits_to_float(magnitude) + 16384.0f) - 0x46800000u; /* 16384's last place is 2^-9 */
  td_u32 f8 = magnitude < 0x3c800000u ? tiny : normal;
  f8 = magnitude > 0x43e80000u ? 0x7fu : f8;
  return (td_u8)(f8 | (bits >> 24 & 0x80u));
}
/* Exact; a NaN becomes the NaN. */
TD_FN float td_lpu_f8_to_f32(td_u8 f8) {
  td_u32 sign = (td_u32)(f8 & 0x80u) << 24, magnitude = f8 & 0x7fu;
  td_u32 tiny = td_lpu_bits((float)(td_i32)magnitude * 0x1p-9f);
  td_u32 bits = magnitude < 8u ? tiny : (magnitude << 20) + 0x3c000000u;
  return td_bits_to_float(magnitude == 0x7fu ? TD_LPU_NAN : sign | bits);
}

/* Whether x rounds to an int32; false for NaN. */
TD_FN td_i32 td_lpu_fits_i32(float x) {
  return x >= -0x1p31f && x < 0x1p31f;
}
/* int32 of x, nearest even; 0 where it does not fit. Numbers of 2^22 and more that the rounder would spoil are cut
 * instead: between 2^22 and 2^23 they are halves, so the rounder serves up to there with 2^23 alone. */
TD_FN td_i32 td_lpu_f32_to_i32(float x) {
  float magnitude = td_bits_to_float(td_lpu_bits(x) & 0x7fffffffu);
  float rounded = magnitude < 0x1p23f ? (magnitude + 0x1p23f) - 0x1p23f : magnitude;
  td_i32 fits = magnitude < 0x1p31f;
  td_i32 value = (td_i32)(fits ? rounded : 0.0f);
  value = td_lpu_bits(x) >> 31 ? -value : value;
  return x == -0x1p31f ? (td_i32)(-0x7fffffff - 1) : value;
}
/* Nearest even. */
TD_FN float td_lpu_i32_to_f32(td_i32 x) {
  return (float)x;
}

/* ---- elementary functions ---- */

/* e^x = 2^n * e^r, n = x / ln 2 to the nearest integer, r = x - n ln 2 with ln 2 in two parts, the first of 8 bits so
 * that n times it is exact. */
TD_FN float td_lpu_exp(float x) {
  float bounded = x < -105.0f ? -105.0f : x > 90.0f ? 90.0f : x; /* e^-105 is under half the least subnormal */
  float shifted = bounded * 0x1.715476p+0f + TD_LPU_ROUNDER;
  td_i32 n = (td_i32)(td_lpu_bits(shifted) - 0x4b400000u);
  float whole = shifted - TD_LPU_ROUNDER;
  float r = (bounded - whole * 0x1.62p-1f) - whole * 0x1.c85fe0p-10f;
  float q = 0x1.6a2434p-10f;
  q = q * r + 0x1.1239e2p-7f;
  q = q * r + 0x1.5558f2p-5f;
  q = q * r + 0x1.555492p-3f;
  q = q * r + 0x1.fffffcp-2f;
  return td_lpu_quiet(td_lpu_scaled((q * (r * r) + r) + 1.0f, n));
}

/* 1 / x: x = m * 2^e with 1 <= |m| < 2; a cubic in m, off by 1/577 at most, and two Newton steps. 1 / 0 is infinite
 * with the sign of the zero. */
TD_FN float td_lpu_reciprocal(float x) {
  td_u32 given = td_lpu_bits(x), sign = given & 0x80000000u;
  td_i32 small = (given & 0x7fffffffu) < 0x00800000u;
  td_u32 bits = small ? td_lpu_bits(x * 0x1p24f) & 0x7fffffffu : given & 0x7fffffffu;
  td_i32 e = (td_i32)(bits >> 23) - (small ? 151 : 127);
  float m = td_bits_to_float((bits & 0x7fffffu) | 0x3f800000u);
  float y = -0x1.c65286p-3f;
  y = y * m + 0x1.54bde4p+0f;
  y = y * m + -0x1.783c56p+1f;
  y = y * m + 0x1.6a09c2p+1f;
  y = y + y * (1.0f - m * y);
  y = y + y * (1.0f - m * y);
  td_u32 result = td_lpu_bits(td_lpu_scaled(y, -e)) | sign;
  result = (given & 0x7fffffffu) == 0x7f800000u ? sign : result;
  result = x == 0.0f ? sign | 0x7f800000u : result;
  return td_lpu_quiet(x != x ? x : td_bits_to_float(result));
}

/* 1 / sqrt(x): a first guess from the bits (half the exponent, negated), off by 3.5 % at most, and three Newton steps.
 * Infinite for both zeros, NaN below. */
TD_FN float td_lpu_rsqrt(float x) {
  td_i32 small = x < 0x1p-100f; /* half of it stays a normal number */
  float a = small ? x * 0x1p24f : x;
  float y = td_bits_to_float(0x5f3759dfu - (td_lpu_bits(a) >> 1));
  float h = 0.5f * a;
  y = y + y * (0.5f - (h * y) * y);
  y = y + y * (0.5f - (h * y) * y);
  y = y + y * (0.5f - (h * y) * y);
  y = small ? y * 0x1p12f : y;
  td_u32 result = td_lpu_bits(y);
  result = td_lpu_bits(x) == 0x7f800000u ? 0u : result;
  result = x == 0.0f ? 0x7f800000u : result;
  result = x < 0.0f ? TD_LPU_NAN : result;
  return td_lpu_quiet(x != x ? x : td_bits_to_float(result));
}

/* Odd. Up to 0.625 x + x^3 times a polynomial in x^2, above it 1 - 2 / (e^2|x| + 1). */
TD_FN float td_lpu_tanh(float x) {
  td_u32 sign = td_lpu_bits(x) & 0x80000000u;
  float a = td_bits_to_float(td_lpu_bits(x) & 0x7fffffffu);
  float z = a * a;
  float q = -0x1.75e1c6p-8f;
  q = q * z + 0x1.52269ap-6f;
  q = q * z + -0x1.b83c5ap-5f;
  q = q * z + 0x1.110726p-3f;
  q = q * z + -0x1.555532p-2f;
  float near = a + (a * z) * q;
  float far = 1.0f - 2.0f * td_lpu_reciprocal(td_lpu_exp(2.0f * a) + 1.0f);
  float value = a < 0.625f ? near : far;
  return td_lpu_quiet(x != x ? x : td_bits_to_float(td_lpu_bits(value) | sign));
}

/* 1 / (1 + e^-x), below zero as e^x / (1 + e^x), which keeps small results exact. */
TD_FN float td_lpu_sigmoid(float x) {
  float e = td_lpu_exp(td_bits_to_float(td_lpu_bits(x) | 0x80000000u));
  float y = td_lpu_reciprocal(1.0f + e);
  return td_lpu_quiet(x != x ? x : x < 0.0f ? e * y : y);
}

#endif
