/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tandem/kernels.h"

#define BLOCK 32

static void put_half(unsigned char *dst, float value) {
  uint16_t half = td_float_to_half(value);
  memcpy(dst, &half, sizeof half);
}

static uint16_t float_to_bf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u); /* a NaN stays one */
  return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* value / scale, rounded and held to low..high: the extremes may round one step beyond them. */
static int level(float value, float scale, int low, int high) {
  if (scale == 0.0f) return 0;
  float rounded = rintf(value / scale);
  if (!(rounded >= (float)low)) return low;
  return rounded > (float)high ? high : (int)rounded;
}

/* The value of largest magnitude, with its sign. */
static float extreme(const float *src) {
  float best = 0.0f;
  for (int i = 0; i < BLOCK; i++) {
    if (fabsf(src[i]) > fabsf(best)) best = src[i];
  }
  return best;
}

static void q8_0(const float *src, unsigned char *dst) {
  put_half(dst, fabsf(extreme(src)) / 127.0f);
  uint16_t half;
  memcpy(&half, dst, sizeof half);
  float d = td_half_to_float(half);
  for (int i = 0; i < BLOCK; i++) dst[2 + i] = (unsigned char)(signed char)level(src[i], d, -127, 127);
}

/* The extreme sits on level -8, the only one without a mirror image. */
static void q4_0(const float *src, unsigned char *dst) {
  put_half(dst, extreme(src) / -8.0f);
  uint16_t half;
  memcpy(&half, dst, sizeof half);
  float d = td_half_to_float(half);
  for (int i = 0; i < BLOCK / 2; i++) {
    unsigned low = (unsigned)(level(src[i], d, -8, 7) + 8), high = (unsigned)(level(src[i + BLOCK / 2], d, -8, 7) + 8);
    dst[2 + i] = (unsigned char)(low | high << 4);
  }
}

static void q4_1(const float *src, unsigned char *dst) {
  float low = src[0], high = src[0];
  for (int i = 1; i < BLOCK; i++) {
    low = fminf(low, src[i]);
    high = fmaxf(high, src[i]);
  }
  put_half(dst, (high - low) / 15.0f);
  put_half(dst + 2, low);
  uint16_t halves[2];
  memcpy(halves, dst, sizeof halves);
  float d = td_half_to_float(halves[0]), m = td_half_to_float(halves[1]);
  for (int i = 0; i < BLOCK / 2; i++) {
    unsigned first = (unsigned)level(src[i] - m, d, 0, 15), second = (unsigned)level(src[i + BLOCK / 2] - m, d, 0, 15);
    dst[4 + i] = (unsigned char)(first | second << 4);
  }
}

static void plain(enum td_dtype dtype, const float *src, unsigned char *dst, int64_t elements) {
  for (int64_t i = 0; i < elements; i++) {
    uint16_t value = dtype == TD_F16 ? td_float_to_half(src[i]) : float_to_bf16(src[i]);
    memcpy(dst + 2 * i, &value, sizeof value);
  }
}

td_status td_quantize(enum td_dtype dtype, const float *src, void *dst, int64_t elements) {
  uint64_t bytes;
  TD_TRY(td_dtype_row_bytes(dtype, elements, &bytes));
  unsigned char *to = dst;
  if (dtype == TD_F32) {
    memcpy(to, src, (size_t)bytes);
    return TD_OK;
  }
  if (dtype == TD_F16 || dtype == TD_BF16) {
    plain(dtype, src, to, elements);
    return TD_OK;
  }
  int64_t block_bytes = td_dtype_info((uint32_t)dtype)->block_bytes;
  for (int64_t i = 0; i < elements; i += BLOCK, to += block_bytes) {
    if (dtype == TD_Q8_0) q8_0(src + i, to);
    if (dtype == TD_Q4_0) q4_0(src + i, to);
    if (dtype == TD_Q4_1) q4_1(src + i, to);
  }
  return TD_OK;
}
