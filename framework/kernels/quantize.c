/* SPDX-License-Identifier: Apache-2.0
 *
 * Float32 to stored types: plain types and blocks of 32. The scale comes from a block's extremes.
 */
#include "quantize.h"

#include <math.h>
#include <string.h>

#include "tandem/blocks.h"
#include "tandem/kernels.h"

#define BLOCK 32

float td_put_half(unsigned char *dst, float value) {
  uint16_t half = td_float_to_half(value);
  memcpy(dst, &half, sizeof half);
  return td_half_to_float(half);
}

int td_level(float value, float scale, int low, int high) {
  if (scale == 0.0f) return 0;
  float rounded = rintf(value / scale);
  if (!(rounded >= (float)low)) return low;
  return rounded > (float)high ? high : (int)rounded;
}

float td_extreme(const float *src, int count) {
  float best = 0.0f;
  for (int i = 0; i < count; i++) {
    if (fabsf(src[i]) > fabsf(best)) best = src[i];
  }
  return best;
}

/* ---- packing ---- */

/* Codes 0..15 (of more bits: the low four) two to a byte: the first half of the block in the low nibbles. */
static void put_nibbles(const int *codes, unsigned char *dst) {
  for (int i = 0; i < BLOCK / 2; i++) dst[i] = (unsigned char)((codes[i] & 15) | (codes[i + BLOCK / 2] & 15) << 4);
}

static void put_fifth_bits(const int *codes, unsigned char *dst) {
  uint32_t bits = 0;
  for (int i = 0; i < BLOCK; i++) bits |= (uint32_t)(codes[i] >> 4 & 1) << i;
  for (int i = 0; i < 4; i++) dst[i] = (unsigned char)(bits >> 8 * i);
}

/* ---- blocks of 32 ---- */

static void q8_0(const float *src, unsigned char *dst) {
  float d = td_put_half(dst, fabsf(td_extreme(src, BLOCK)) / 127.0f);
  for (int i = 0; i < BLOCK; i++) dst[2 + i] = (unsigned char)(signed char)td_level(src[i], d, -127, 127);
}

/* The extreme sits on level -half, the only one without a mirror image. */
static void symmetric(const float *src, int half, unsigned char *dst, int *codes) {
  float d = td_put_half(dst, td_extreme(src, BLOCK) / (float)-half);
  for (int i = 0; i < BLOCK; i++) codes[i] = td_level(src[i], d, -half, half - 1) + half;
}

static void q4_0(const float *src, unsigned char *dst) {
  int codes[BLOCK];
  symmetric(src, 8, dst, codes);
  put_nibbles(codes, dst + 2);
}

static void q5_0(const float *src, unsigned char *dst) {
  int codes[BLOCK];
  symmetric(src, 16, dst, codes);
  put_fifth_bits(codes, dst + 2);
  put_nibbles(codes, dst + 6);
}

static void with_minimum(const float *src, int top, unsigned char *dst, int *codes) {
  float low = src[0], high = src[0];
  for (int i = 1; i < BLOCK; i++) {
    low = fminf(low, src[i]);
    high = fmaxf(high, src[i]);
  }
  float d = td_put_half(dst, (high - low) / (float)top), m = td_put_half(dst + 2, low);
  for (int i = 0; i < BLOCK; i++) codes[i] = td_level(src[i] - m, d, 0, top);
}

static void q4_1(const float *src, unsigned char *dst) {
  int codes[BLOCK];
  with_minimum(src, 15, dst, codes);
  put_nibbles(codes, dst + 4);
}

static void q5_1(const float *src, unsigned char *dst) {
  int codes[BLOCK];
  with_minimum(src, 31, dst, codes);
  put_fifth_bits(codes, dst + 4);
  put_nibbles(codes, dst + 8);
}

/* The extreme sits on the table's first level, -127; the others take the nearest level. */
static void iq4_nl(const float *src, unsigned char *dst) {
  float d = td_put_half(dst, td_extreme(src, BLOCK) / -127.0f);
  int codes[BLOCK];
  for (int i = 0; i < BLOCK; i++) {
    float wanted = d == 0.0f ? 0.0f : src[i] / d;
    codes[i] = 0;
    for (int level = 1; level < 16; level++) {
      float gain = fabsf(wanted - (float)td_level_of(codes[i])) - fabsf(wanted - (float)td_level_of(level));
      if (gain > 0.0f) codes[i] = level;
    }
  }
  put_nibbles(codes, dst + 2);
}

/* ---- plain types ---- */

static uint16_t float_to_bf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u); /* a NaN stays one */
  return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static void f16_row(const float *src, unsigned char *dst, int64_t elements) {
  for (int64_t i = 0; i < elements; i++) td_put_half(dst + 2 * i, src[i]);
}

static void bf16_row(const float *src, unsigned char *dst, int64_t elements) {
  for (int64_t i = 0; i < elements; i++) {
    uint16_t value = float_to_bf16(src[i]);
    memcpy(dst + 2 * i, &value, sizeof value);
  }
}

static void f32_row(const float *src, unsigned char *dst, int64_t elements) {
  memcpy(dst, src, (size_t)elements * sizeof *src);
}

#define BLOCK_ROW(T, name)                                                                     \
  static void name##_row(const float *src, unsigned char *dst, int64_t elements) {             \
    for (int64_t i = 0; i < elements; i += TD_BLOCK_ELEMENTS_##T, dst += TD_BLOCK_BYTES_##T) { \
      name(src + i, dst);                                                                      \
    }                                                                                          \
  }
BLOCK_ROW(Q8_0, q8_0)
BLOCK_ROW(Q4_0, q4_0)
BLOCK_ROW(Q4_1, q4_1)
BLOCK_ROW(Q5_0, q5_0)
BLOCK_ROW(Q5_1, q5_1)
BLOCK_ROW(Q2_K, td_quantize_q2_k)
BLOCK_ROW(Q3_K, td_quantize_q3_k)
BLOCK_ROW(Q4_K, td_quantize_q4_k)
BLOCK_ROW(Q5_K, td_quantize_q5_k)
BLOCK_ROW(Q6_K, td_quantize_q6_k)
BLOCK_ROW(IQ4_NL, iq4_nl)

/* ---- rows ---- */

typedef void (*row_maker)(const float *src, unsigned char *dst, int64_t elements);

static row_maker maker(enum td_dtype dtype) {
  switch (dtype) {
    case TD_F32:
      return f32_row;
    case TD_F16:
      return f16_row;
    case TD_BF16:
      return bf16_row;
    case TD_Q8_0:
      return q8_0_row;
    case TD_Q4_0:
      return q4_0_row;
    case TD_Q4_1:
      return q4_1_row;
    case TD_Q5_0:
      return q5_0_row;
    case TD_Q5_1:
      return q5_1_row;
    case TD_Q2_K:
      return td_quantize_q2_k_row;
    case TD_Q3_K:
      return td_quantize_q3_k_row;
    case TD_Q4_K:
      return td_quantize_q4_k_row;
    case TD_Q5_K:
      return td_quantize_q5_k_row;
    case TD_Q6_K:
      return td_quantize_q6_k_row;
    case TD_IQ4_NL:
      return iq4_nl_row;
    case TD_MXFP4:
    case TD_FP8:
    case TD_NVFP4:
      break;
  }
  return NULL;
}

td_status td_quantize(enum td_dtype dtype, const float *src, void *dst, int64_t elements) {
  uint64_t bytes;
  TD_TRY(td_dtype_row_bytes(dtype, elements, &bytes));
  row_maker make = maker(dtype);
  if (!make) {
    return td_fail(TD_UNSUPPORTED, "tensor type %s: is priced only, expected one that tandem runs",
                   td_dtype_info((uint32_t)dtype)->name);
  }
  make(src, dst, elements);
  return TD_OK;
}
