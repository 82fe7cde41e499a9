/* SPDX-License-Identifier: Apache-2.0
 *
 * The few words that differ between C, OpenCL C 1.2 and CUDA, so that block layouts (blocks.h) and index arithmetic
 * (positions.h) stand once. What is written with them uses no pointers but TD_GLOBAL ones and private arrays, no 64-bit
 * division in hot code, no library calls, and float arithmetic without contraction (tandem compiles kernels with it
 * off), so every language gives the same bits.
 */
#ifndef TANDEM_PORTABLE_H
#define TANDEM_PORTABLE_H

#if defined(__OPENCL_VERSION__) || defined(__OPENCL_C_VERSION__)
#pragma OPENCL FP_CONTRACT OFF
#define TD_FN static inline
#define TD_GLOBAL __global
#define TD_RESTRICT restrict
typedef uchar td_u8;
typedef char td_i8;
typedef ushort td_u16;
typedef int td_i32;
typedef uint td_u32;
typedef long td_i64;
typedef ulong td_u64;
#define td_bits_to_float(bits) as_float((uint)(bits))
#else
#include <stdint.h>
#include <string.h>
typedef uint8_t td_u8;
typedef int8_t td_i8;
typedef uint16_t td_u16;
typedef int32_t td_i32;
typedef uint32_t td_u32;
typedef int64_t td_i64;
typedef uint64_t td_u64;
#if defined(__CUDACC__)
#define TD_FN static __host__ __device__ __forceinline__
#elif defined(__GNUC__)
#define TD_FN static inline __attribute__((always_inline)) /* also into functions of another target(...) */
#else
#define TD_FN static inline
#endif
#define TD_GLOBAL
#if defined(__GNUC__) || defined(__CUDACC__)
#define TD_RESTRICT __restrict__
#else
#define TD_RESTRICT restrict
#endif
TD_FN float td_bits_to_float(td_u32 bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
#endif

/* IEEE 754 binary16, exactly, subnormals included. */
TD_FN float td_half_bits_to_float(td_u16 bits) {
  td_u32 sign = (td_u32)(bits & 0x8000u) << 16, rest = bits & 0x7fffu;
  if (rest >= 0x7c00u) return td_bits_to_float(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
  if (rest >= 0x0400u) return td_bits_to_float(sign | ((rest << 13) + 0x38000000u));
  float tiny = (float)rest * 5.9604644775390625e-8f; /* 2^-24: exact */
  return sign ? -tiny : tiny;
}

#endif
