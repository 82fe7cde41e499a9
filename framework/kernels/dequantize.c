/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocks to float32. A half times a 4- or 8-bit integer is exact in float32 and the minimum of Q4_1 is added with one
 * rounding, so every instruction set gives the same bits: the AVX2 form is the same C, compiled wider.
 */
#include <assert.h>
#include <string.h>

#include "half.h"
#include "tandem/kernels.h"

#define BLOCK 32

static inline __attribute__((always_inline)) float half_at(const unsigned char *src) {
  uint16_t half;
  memcpy(&half, src, sizeof half);
  return td_half_to_float(half);
}

static inline __attribute__((always_inline)) void q8_0(const unsigned char *src, float *dst, int64_t blocks) {
  for (int64_t b = 0; b < blocks; b++, src += 34, dst += BLOCK) {
    float d = half_at(src);
    for (int i = 0; i < BLOCK; i++) dst[i] = d * (float)(signed char)src[2 + i];
  }
}

/* Nibbles become bytes some blocks ahead of the arithmetic: gcc then uses vectors for both, and no load waits for a
 * store that it only half covers. */
#define AHEAD 16
typedef unsigned char nibble_vector __attribute__((vector_size(BLOCK / 2)));

/* Low nibbles are a block's first half. */
static inline __attribute__((always_inline)) void nibbles(const unsigned char *src, int64_t stride, int64_t blocks,
                                                          unsigned char *dst) {
  for (int64_t b = 0; b < blocks; b++, src += stride, dst += BLOCK) {
    nibble_vector both, low, high;
    memcpy(&both, src, sizeof both);
    low = both & 15;
    high = both >> 4;
    memcpy(dst, &low, sizeof low);
    memcpy(dst + BLOCK / 2, &high, sizeof high);
  }
}

static inline __attribute__((always_inline)) void q4_0(const unsigned char *src, float *dst, int64_t blocks) {
  unsigned char q[AHEAD * BLOCK];
  for (int64_t b = 0; b < blocks; b++, src += 18, dst += BLOCK) {
    int64_t at = b % AHEAD, left = blocks - b;
    if (at == 0) nibbles(src + 2, 18, left < AHEAD ? left : AHEAD, q);
    float d = half_at(src);
    for (int i = 0; i < BLOCK; i++) dst[i] = d * (float)(q[at * BLOCK + i] - 8);
  }
}

static inline __attribute__((always_inline)) void q4_1(const unsigned char *src, float *dst, int64_t blocks) {
  unsigned char q[AHEAD * BLOCK];
  for (int64_t b = 0; b < blocks; b++, src += 20, dst += BLOCK) {
    int64_t at = b % AHEAD, left = blocks - b;
    if (at == 0) nibbles(src + 4, 20, left < AHEAD ? left : AHEAD, q);
    float d = half_at(src), m = half_at(src + 2);
    for (int i = 0; i < BLOCK; i++) dst[i] = d * (float)q[at * BLOCK + i] + m;
  }
}

static void bf16(const unsigned char *src, float *dst, int64_t elements) {
  for (int64_t i = 0; i < elements; i++) {
    uint16_t value;
    memcpy(&value, src + 2 * i, sizeof value);
    uint32_t bits = (uint32_t)value << 16;
    memcpy(&dst[i], &bits, sizeof bits);
  }
}

static inline __attribute__((always_inline)) void blocks_of(enum td_dtype dtype, const unsigned char *src, float *dst,
                                                            int64_t blocks) {
  if (dtype == TD_Q8_0) q8_0(src, dst, blocks);
  if (dtype == TD_Q4_0) q4_0(src, dst, blocks);
  if (dtype == TD_Q4_1) q4_1(src, dst, blocks);
}

static void blocks_plain(enum td_dtype dtype, const unsigned char *src, float *dst, int64_t blocks) {
  blocks_of(dtype, src, dst, blocks);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void blocks_avx2(enum td_dtype dtype, const unsigned char *src, float *dst,
                                                        int64_t blocks) {
  blocks_of(dtype, src, dst, blocks);
}

static void blocks_best(enum td_dtype dtype, const unsigned char *src, float *dst, int64_t blocks) {
  if (__builtin_cpu_supports("avx2")) {
    blocks_avx2(dtype, src, dst, blocks);
  } else {
    blocks_plain(dtype, src, dst, blocks);
  }
}
#else
static void blocks_best(enum td_dtype dtype, const unsigned char *src, float *dst, int64_t blocks) {
  blocks_plain(dtype, src, dst, blocks);
}
#endif

void td_dequantize(enum td_dtype dtype, const void *src, float *dst, int64_t elements) {
  switch (dtype) {
    case TD_F32:
      memcpy(dst, src, (size_t)elements * sizeof *dst);
      return;
    case TD_F16:
      if (td_half_f16c_here()) {
        td_half_row_f16c(src, dst, elements);
      } else {
        td_half_row_plain(src, dst, elements);
      }
      return;
    case TD_BF16:
      bf16(src, dst, elements);
      return;
    case TD_Q8_0:
    case TD_Q4_0:
    case TD_Q4_1:
      assert(elements % BLOCK == 0);
      blocks_best(dtype, src, dst, elements / BLOCK);
      return;
  }
  assert(0 && "callers ask td_dtype_info first");
}
