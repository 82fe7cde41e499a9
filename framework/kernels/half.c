/* SPDX-License-Identifier: Apache-2.0
 *
 * binary16, bfloat16 and binary32, in integer arithmetic, so that NaN payloads survive and no rounding mode matters.
 */
#include "half.h"

#include <string.h>

#include "tandem/kernels.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#include <stdatomic.h>
#endif

static uint32_t bits_of(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static float float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

float td_half_to_float(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000u) << 16, magnitude = half & 0x7fffu;
  if (magnitude >= 0x7c00u) return float_of(sign | 0x7f800000u | magnitude << 13);
  /* The half's fields, read as a float, are 2^112 too small, subnormals included; the product is exact. */
  return float_of(sign | bits_of(float_of(magnitude << 13) * 0x1p112f));
}

/* Values under the smallest normal half: units of 2^-24, to nearest, ties to even. */
static uint32_t subnormal_half(uint32_t magnitude) {
  uint32_t exponent = magnitude >> 23;
  if (exponent < 102) return 0;
  uint32_t mantissa = (magnitude & 0x7fffffu) | 0x800000u, shift = 126 - exponent;
  uint32_t kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), half = 1u << (shift - 1);
  return kept + (rest > half || (rest == half && (kept & 1u)));
}

uint16_t td_float_to_half(float value) {
  uint32_t bits = bits_of(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7fffffffu;
  uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7c00u | (magnitude >> 13 & 0x3ffu);
    if (half == 0x7c00u) half = 0x7e00u; /* the payload lay in the dropped bits: still a NaN */
  } else if (magnitude >= 0x477ff000u) {
    half = 0x7c00u; /* 65520 and up round to infinity */
  } else if (magnitude < 0x38800000u) {
    half = subnormal_half(magnitude);
  } else {
    uint32_t rest = magnitude & 0x1fffu;
    half = (magnitude - 0x38000000u) >> 13;
    half += rest > 0x1000u || (rest == 0x1000u && (half & 1u));
  }
  return (uint16_t)(sign | half);
}

float td_bf16_to_float(uint16_t value) {
  return float_of((uint32_t)value << 16);
}

void td_half_row_plain(const unsigned char *src, float *dst, int64_t elements) {
  for (int64_t i = 0; i < elements; i++) {
    uint16_t half;
    memcpy(&half, src + 2 * i, sizeof half);
    dst[i] = td_half_to_float(half);
  }
}

#if defined(__x86_64__)

static bool ask_cpu(void) {
  unsigned a, b, c, d;
  return __builtin_cpu_supports("avx") && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

/* Remembered, because under a hypervisor each CPUID costs microseconds. */
bool td_half_f16c_here(void) {
  static _Atomic int known; /* 0: not asked yet, 1: no, 2: yes */
  int answer = atomic_load_explicit(&known, memory_order_relaxed);
  if (!answer) {
    answer = ask_cpu() ? 2 : 1;
    atomic_store_explicit(&known, answer, memory_order_relaxed);
  }
  return answer == 2;
}

__attribute__((target("avx,f16c"))) void td_half_row_f16c(const unsigned char *src, float *dst, int64_t elements) {
  int64_t i = 0;
  const __m128i top = _mm_set1_epi16(0x7c00);
  for (; i + 8 <= elements; i += 8) {
    __m128i halves = _mm_loadu_si128((const __m128i *)(const void *)(src + 2 * i));
    /* The instruction makes signalling NaNs quiet; eights with an infinity or NaN take the exact way. */
    if (_mm_movemask_epi8(_mm_cmpeq_epi16(_mm_and_si128(halves, top), top))) {
      td_half_row_plain(src + 2 * i, dst + i, 8);
    } else {
      _mm256_storeu_ps(dst + i, _mm256_cvtph_ps(halves));
    }
  }
  td_half_row_plain(src + 2 * i, dst + i, elements - i);
}

#else

bool td_half_f16c_here(void) {
  return false;
}

void td_half_row_f16c(const unsigned char *src, float *dst, int64_t elements) {
  td_half_row_plain(src, dst, elements);
}

#endif
