/* SPDX-License-Identifier: Apache-2.0
 *
 * Elementary functions and sums of exact mode. Every operation is one IEEE rounding in an order written here (the
 * kernels are compiled with contraction off; fmaf is asked for where it is meant), so that all kernels, chips and the
 * host emulator give the same bits.
 */
#ifndef CUDA_ARITHMETIC_CUH
#define CUDA_ARITHMETIC_CUH

#include "language.cuh"

/* series(r) for e^r - 1 - r over r^2, |r| <= ln 2 / 2, to r^7 / 7!: the rest is under 2^-27. */
CUDA_FN float exponential_series(float r) {
  float s = 1.0f / 5040;
  s = fmaf(s, r, 1.0f / 720);
  s = fmaf(s, r, 1.0f / 120);
  s = fmaf(s, r, 1.0f / 24);
  s = fmaf(s, r, 1.0f / 6);
  return fmaf(s, r, 0.5f);
}

/* 2^n e^r from `shifted`, whose low bits are n. */
CUDA_FN float exponential_scaled(float shifted, float r) {
  float power = td_bits_to_float((__float_as_uint(shifted) << 23) + 0x3f800000u);
  float value = fmaf(exponential_series(r), r * r, r);
  return fmaf(value, power, power);
}

constexpr float round_magic = 12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest integer in the low bits */

/* e^x within 2 units in the last place; 0 below -87, infinity above 88. ln 2 in two pieces. */
CUDA_FN float exponential(float x) {
  float shifted = fmaf(x, 1.44269502f, round_magic), n = shifted - round_magic;
  float r = fmaf(n, -1.42860677e-6f, fmaf(n, -0.693145752f, x));
  float value = exponential_scaled(shifted, r);
  value = x < -87.0f ? 0.0f : value;
  return x > 88.0f ? td_bits_to_float(0x7f800000u) : value;
}

/* The same for an argument that has more digits than a float: its error would be the result's relative error. */
CUDA_FN float exponential_of_double(double x) {
  if (x < -87.0) return 0.0f;
  if (x > 88.0) return td_bits_to_float(0x7f800000u);
  float shifted = fmaf(static_cast<float>(x), 1.44269502f, round_magic);
  double r = x - static_cast<double>(shifted - round_magic) * 0.693147180559945309;
  return exponential_scaled(shifted, static_cast<float>(r));
}

CUDA_FN float silu(float x) {
  return x / (1.0f + exponential(-x));
}
/* x / 2 (1 + tanh u) = x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3) */
CUDA_FN float gelu(float x) {
  double wide = static_cast<double>(x);
  double twice = 1.5957691216057307118 * (wide + 0.044715 * wide * wide * wide);
  return x / (1.0f + exponential_of_double(-twice));
}
/* enum cuda_gate but none; cuda_activation_args' gelu + 1. */
CUDA_FN float activated(int gate, float x) {
  return gate == CUDA_GATE_GELU ? gelu(x) : silu(x);
}

/* Lane i takes lane i ^ 16, then i ^ 8, 4, 2, 1: every lane has the sum. */
CUDA_FN float sum_of_warp(float value) {
  CUDA_UNROLL
  for (int bit = 16; bit > 0; bit /= 2) value += __shfl_xor_sync(all_lanes, value, bit);
  return value;
}
CUDA_FN float largest_of_warp(float value) {
  CUDA_UNROLL
  for (int bit = 16; bit > 0; bit /= 2) value = fmaxf(value, __shfl_xor_sync(all_lanes, value, bit));
  return value;
}

/* Value i of a row of any stored type. Rows of plain types lie on whole elements: one load each. */
CUDA_FN float value_in_row(int dtype, const td_u8 *row, int64_t i) {
  switch (dtype) {
    case TD_F32:
      return reinterpret_cast<const float *>(row)[i];
    case TD_F16:
      return half_to_float(reinterpret_cast<const td_u16 *>(row)[i]);
    case TD_BF16:
      return td_bits_to_float(static_cast<td_u32>(reinterpret_cast<const td_u16 *>(row)[i]) << 16);
#define X(T)                                                                  \
  case TD_##T:                                                                \
    return td_value_##T(row + i / TD_BLOCK_ELEMENTS_##T * TD_BLOCK_BYTES_##T, \
                        static_cast<td_i32>(i % TD_BLOCK_ELEMENTS_##T));
      TD_QUANTISED_TYPES(X)
#undef X
    default:
      return td_bits_to_float(0x7fc00000u);
  }
}

#endif
