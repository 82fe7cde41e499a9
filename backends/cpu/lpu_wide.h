/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows times activations with AVX2 and AVX-512 where lanes fill whole vectors. A product of an f16 and an int8 or an
 * f16 is exact in binary64, so a fused multiply-add rounds once, like the sum alone.
 */
#ifndef CPU_LPU_WIDE_H
#define CPU_LPU_WIDE_H

#include <immintrin.h>

#define LPU_AVX2 __attribute__((target("avx2,fma,f16c")))
#define LPU_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")))

/* `count` cache lines from the one numbered `line` on, of what is wanted soon. */
static inline __attribute__((always_inline)) void lpu_fetch(const td_u8 *next, td_i32 line, td_i32 count) {
  for (td_i32 i = line; next && i < line + count; i++) __builtin_prefetch(next + 64 * (td_i64)i, 0, 2);
}

/* Whether one of the rows' FP8 is a NaN. */
static inline __attribute__((always_inline)) bool lpu_odd(const td_u8 *rows, td_i32 count, td_i32 lanes) {
  td_u8 odd = 0;
  for (td_i64 i = 0; i < (td_i64)count * lanes; i++) odd |= (rows[i] & 0x7f) == 0x7f;
  return odd;
}

/* ---- AVX-512 ---- */

/* 4 rows of 64 lanes: bytes of rows 0 .. 3 together for each lane, lanes 4 i .. 4 i + 3 of each quarter in group i of
 * four. `order` is the lane that element e of out[q] then is: 16 (e / 4) + 4 q + e % 4. */
LPU_AVX512 static inline __attribute__((always_inline)) void avx512_four(const td_i8 *rows, td_i64 stride,
                                                                         __m512i out[4]) {
  const __m512i sign = _mm512_set1_epi8((char)0x80); /* int8 + 128 as an unsigned byte */
  __m512i a = _mm512_xor_si512(_mm512_loadu_si512(rows), sign);
  __m512i b = _mm512_xor_si512(_mm512_loadu_si512(rows + stride), sign);
  __m512i c = _mm512_xor_si512(_mm512_loadu_si512(rows + 2 * stride), sign);
  __m512i d = _mm512_xor_si512(_mm512_loadu_si512(rows + 3 * stride), sign);
  __m512i ab_low = _mm512_unpacklo_epi8(a, b), ab_high = _mm512_unpackhi_epi8(a, b);
  __m512i cd_low = _mm512_unpacklo_epi8(c, d), cd_high = _mm512_unpackhi_epi8(c, d);
  out[0] = _mm512_unpacklo_epi16(ab_low, cd_low);
  out[1] = _mm512_unpackhi_epi16(ab_low, cd_low);
  out[2] = _mm512_unpacklo_epi16(ab_high, cd_high);
  out[3] = _mm512_unpackhi_epi16(ab_high, cd_high);
}

/* Sums of 64 lanes in the order of avx512_four, back into lanes and added. */
LPU_AVX512 static inline __attribute__((always_inline)) void avx512_add_lanes(const __m512i in[4], td_i32 *sum) {
  __m512i x0 = _mm512_shuffle_i32x4(in[0], in[1], 0x44), x1 = _mm512_shuffle_i32x4(in[0], in[1], 0xee);
  __m512i y0 = _mm512_shuffle_i32x4(in[2], in[3], 0x44), y1 = _mm512_shuffle_i32x4(in[2], in[3], 0xee);
  __m512i lanes[4] = {_mm512_shuffle_i32x4(x0, y0, 0x88), _mm512_shuffle_i32x4(x0, y0, 0xdd),
                      _mm512_shuffle_i32x4(x1, y1, 0x88), _mm512_shuffle_i32x4(x1, y1, 0xdd)};
  for (int i = 0; i < 4; i++) {
    _mm512_storeu_si512(sum + 16 * i, _mm512_add_epi32(_mm512_loadu_si512(sum + 16 * i), lanes[i]));
  }
}

/* 64 `blocks` lanes of the rows, in the order in which they lie: sum of (w + 128) x less 128 sum of x. */
LPU_AVX512 static inline __attribute__((always_inline)) void avx512_bytes_of(td_i32 *sum, const td_i8 *rows,
                                                                             const td_i8 *x, td_i32 count,
                                                                             td_i64 stride, td_i32 blocks,
                                                                             const td_u8 *next) {
  __m512i total[5][4];
  td_i32 all = 0;
  for (td_i32 i = 0; i < count; i++) all += x[i];
  for (td_i32 b = 0; b < blocks; b++) {
    for (int q = 0; q < 4; q++) total[b][q] = _mm512_set1_epi32(-128 * all);
  }
  for (td_i32 i = 0; i < count; i += 4) {
    td_i32 four;
    memcpy(&four, x + i, sizeof four);
    const __m512i factors = _mm512_set1_epi32(four);
    for (td_i32 b = 0; b < blocks; b++) {
      __m512i w[4];
      lpu_fetch(next, (i / 4 * blocks + b) * 4, 4);
      avx512_four(rows + i * stride + 64 * b, stride, w);
      for (int q = 0; q < 4; q++) total[b][q] = _mm512_dpbusd_epi32(total[b][q], w[q], factors);
    }
  }
  for (td_i32 b = 0; b < blocks; b++) avx512_add_lanes(total[b], sum + 64 * b);
}

LPU_AVX512 static void avx512_bytes(td_i32 *sum, const td_i8 *rows, const td_i8 *x, td_i32 count, td_i32 lanes,
                                    const td_u8 *next) {
  td_i32 l = 0;
  if (count % 4 || lanes % 64) {
    avx512_rows_bytes(sum, rows, x, count, lanes, next);
    return;
  }
  for (; l + 320 <= lanes; l += 320)
    avx512_bytes_of(sum + l, rows + l, x, count, lanes, 5, next ? next + l * count : NULL);
  for (; l < lanes; l += 64) avx512_bytes_of(sum + l, rows + l, x, count, lanes, 1, next ? next + l * count : NULL);
}

#define LPU_BLOCK 8 /* vectors of sums that are held at a time */

LPU_AVX512 static void avx512_widened(double *sum, const td_i8 *rows, const double *x, td_i32 count, td_i32 lanes,
                                      const td_u8 *next) {
  if (lanes % 64) {
    avx512_rows_widened(sum, rows, x, count, lanes, next);
    return;
  }
  for (td_i32 l = 0; l < lanes; l += 64) {
    lpu_fetch(next, l / 64 * count, count);
    __m512d s[LPU_BLOCK];
    for (int v = 0; v < LPU_BLOCK; v++) s[v] = _mm512_loadu_pd(sum + l + 8 * v);
    for (td_i32 i = 0; i < count; i++) {
      const td_i8 *row = rows + (td_i64)i * lanes + l;
      const __m512d factor = _mm512_set1_pd(x[i]);
      for (int v = 0; v < LPU_BLOCK; v++) {
        __m256i words = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(row + 8 * v)));
        s[v] = _mm512_fmadd_pd(_mm512_cvtepi32_pd(words), factor, s[v]);
      }
    }
    for (int v = 0; v < LPU_BLOCK; v++) _mm512_storeu_pd(sum + l + 8 * v, s[v]);
  }
}

LPU_AVX512 static void avx512_floats(double *sum, const float *rows, const double *x, td_i32 count, td_i32 lanes) {
  if (lanes % 64) {
    avx512_rows_floats(sum, rows, x, count, lanes);
    return;
  }
  for (td_i32 l = 0; l < lanes; l += 64) {
    __m512d s[LPU_BLOCK];
    for (int v = 0; v < LPU_BLOCK; v++) s[v] = _mm512_loadu_pd(sum + l + 8 * v);
    for (td_i32 i = 0; i < count; i++) {
      const float *row = rows + (td_i64)i * lanes + l;
      const __m512d factor = _mm512_set1_pd(x[i]);
      for (int v = 0; v < LPU_BLOCK; v++) {
        s[v] = _mm512_fmadd_pd(_mm512_cvtps_pd(_mm256_loadu_ps(row + 8 * v)), factor, s[v]);
      }
    }
    for (int v = 0; v < LPU_BLOCK; v++) _mm512_storeu_pd(sum + l + 8 * v, s[v]);
  }
}

/* 16 lanes of a planar f16 row as floats. */
LPU_AVX512 static inline __attribute__((always_inline)) __m512 avx512_halves_16(const td_u8 *low, const td_u8 *high) {
  __m256i words = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)low));
  __m256i upper = _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)high));
  return _mm512_cvtph_ps(_mm256_or_si256(words, _mm256_slli_epi16(upper, 8)));
}

LPU_AVX512 static void avx512_halves(double *sum, const td_u8 *rows, const double *x, td_i32 count, td_i32 lanes,
                                     const td_u8 *next) {
  if (lanes % 64) {
    avx512_rows_halves(sum, rows, x, count, lanes, next);
    return;
  }
  td_i32 rows_used[LPU_LANES], used = 0;
  for (td_i32 i = 0; i < count; i++) {
    bool nothing = x[i] == 0 && avx512_rows_numbers(rows + (2 * (td_i64)i + 1) * lanes, lanes);
    if (!nothing) rows_used[used++] = i;
  }
  for (td_i32 l = 0; l < lanes; l += 64) {
    lpu_fetch(next, l / 64 * 2 * count, 2 * count);
    __m512d s[LPU_BLOCK];
    for (int v = 0; v < LPU_BLOCK; v++) s[v] = _mm512_loadu_pd(sum + l + 8 * v);
    for (td_i32 u = 0; u < used; u++) {
      td_i32 i = rows_used[u];
      const td_u8 *row = rows + (td_i64)i * 2 * lanes + l;
      const __m512d factor = _mm512_set1_pd(x[i]);
      for (int v = 0; v < LPU_BLOCK; v += 2) {
        __m512 w = avx512_halves_16(row + 8 * v, row + lanes + 8 * v);
        s[v] = _mm512_fmadd_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(w)), factor, s[v]);
        s[v + 1] = _mm512_fmadd_pd(_mm512_cvtps_pd(_mm512_extractf32x8_ps(w, 1)), factor, s[v + 1]);
      }
    }
    for (int v = 0; v < LPU_BLOCK; v++) _mm512_storeu_pd(sum + l + 8 * v, s[v]);
  }
}

/* 16 lanes of FP8 as floats of 2^-8 times the value: its bits as the upper ones of an f16 without the first of its
 * exponent. Not NaNs. */
LPU_AVX512 static inline __attribute__((always_inline)) __m512 avx512_eights_16(const td_u8 *row) {
  __m256i words = _mm256_slli_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)row)), 7);
  return _mm512_cvtph_ps(_mm256_and_si256(words, _mm256_set1_epi16((int16_t)0xbf80)));
}

LPU_AVX512 static void avx512_eights(double *sum, const td_u8 *rows, const double *x, td_i32 count, td_i32 lanes,
                                     const td_u8 *next) {
  if (lanes % 64 || lpu_odd(rows, count, lanes)) {
    avx512_rows_eights(sum, rows, x, count, lanes, next);
    return;
  }
  for (td_i32 l = 0; l < lanes; l += 64) {
    lpu_fetch(next, l / 64 * count, count);
    __m512d s[LPU_BLOCK];
    for (int v = 0; v < LPU_BLOCK; v++) s[v] = _mm512_loadu_pd(sum + l + 8 * v);
    for (td_i32 i = 0; i < count; i++) {
      const td_u8 *row = rows + (td_i64)i * lanes + l;
      const __m512d factor = _mm512_set1_pd(x[i] * 256);
      for (int v = 0; v < LPU_BLOCK; v += 2) {
        __m512 w = avx512_eights_16(row + 8 * v);
        s[v] = _mm512_fmadd_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(w)), factor, s[v]);
        s[v + 1] = _mm512_fmadd_pd(_mm512_cvtps_pd(_mm512_extractf32x8_ps(w, 1)), factor, s[v + 1]);
      }
    }
    for (int v = 0; v < LPU_BLOCK; v++) _mm512_storeu_pd(sum + l + 8 * v, s[v]);
  }
}

/* ---- AVX2 ---- */

/* 32 lanes of two rows at a time: words of both rows together for each lane, times two activations. */
LPU_AVX2 static inline __attribute__((always_inline)) void avx2_bytes_32(td_i32 *sum, const td_i8 *rows, const td_i8 *x,
                                                                         td_i32 count, td_i64 stride) {
  __m256i total[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
  for (td_i32 i = 0; i < count; i += 2) {
    __m256i a = _mm256_loadu_si256((const void *)(rows + i * stride));
    __m256i b = _mm256_loadu_si256((const void *)(rows + (i + 1) * stride));
    __m256i low = _mm256_unpacklo_epi8(a, b), high = _mm256_unpackhi_epi8(a, b);
    __m256i factors = _mm256_set1_epi32((td_i32)((td_u32)(uint16_t)x[i] | (td_u32)(uint16_t)x[i + 1] << 16));
    __m256i quarter[4] = {_mm256_cvtepi8_epi16(_mm256_castsi256_si128(low)),
                          _mm256_cvtepi8_epi16(_mm256_castsi256_si128(high)),
                          _mm256_cvtepi8_epi16(_mm256_extracti128_si256(low, 1)),
                          _mm256_cvtepi8_epi16(_mm256_extracti128_si256(high, 1))};
    for (int q = 0; q < 4; q++) total[q] = _mm256_add_epi32(total[q], _mm256_madd_epi16(quarter[q], factors));
  }
  for (int q = 0; q < 4; q++) {
    __m256i old = _mm256_loadu_si256((const void *)(sum + 8 * q));
    _mm256_storeu_si256((void *)(sum + 8 * q), _mm256_add_epi32(old, total[q]));
  }
}

LPU_AVX2 static void avx2_bytes(td_i32 *sum, const td_i8 *rows, const td_i8 *x, td_i32 count, td_i32 lanes,
                                const td_u8 *next) {
  if (count % 2 || lanes % 32) {
    avx2_rows_bytes(sum, rows, x, count, lanes, next);
    return;
  }
  for (td_i32 l = 0; l < lanes; l += 32) {
    if (l % 64 == 0) lpu_fetch(next, l / 64 * count, count);
    avx2_bytes_32(sum + l, rows + l, x, count, lanes);
  }
}

LPU_AVX2 static void avx2_widened(double *sum, const td_i8 *rows, const double *x, td_i32 count, td_i32 lanes,
                                  const td_u8 *next) {
  if (lanes % 32) {
    avx2_rows_widened(sum, rows, x, count, lanes, next);
    return;
  }
  for (td_i32 l = 0; l < lanes; l += 32) {
    if (l % 64 == 0) lpu_fetch(next, l / 64 * count, count);
    __m256d s[LPU_BLOCK];
    for (int v = 0; v < LPU_BLOCK; v++) s[v] = _mm256_loadu_pd(sum + l + 4 * v);
    for (td_i32 i = 0; i < count; i++) {
      const td_i8 *row = rows + (td_i64)i * lanes + l;
      const __m256d factor = _mm256_set1_pd(x[i]);
      for (int v = 0; v < LPU_BLOCK; v++) {
        __m128i words = _mm_cvtepi8_epi32(_mm_loadu_si32(row + 4 * v));
        s[v] = _mm256_fmadd_pd(_mm256_cvtepi32_pd(words), factor, s[v]);
      }
    }
    for (int v = 0; v < LPU_BLOCK; v++) _mm256_storeu_pd(sum + l + 4 * v, s[v]);
  }
}

LPU_AVX2 static void avx2_floats(double *sum, const float *rows, const double *x, td_i32 count, td_i32 lanes) {
  if (lanes % 32) {
    avx2_rows_floats(sum, rows, x, count, lanes);
    return;
  }
  for (td_i32 l = 0; l < lanes; l += 32) {
    __m256d s[LPU_BLOCK];
    for (int v = 0; v < LPU_BLOCK; v++) s[v] = _mm256_loadu_pd(sum + l + 4 * v);
    for (td_i32 i = 0; i < count; i++) {
      const float *row = rows + (td_i64)i * lanes + l;
      const __m256d factor = _mm256_set1_pd(x[i]);
      for (int v = 0; v < LPU_BLOCK; v++) {
        s[v] = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm_loadu_ps(row + 4 * v)), factor, s[v]);
      }
    }
    for (int v = 0; v < LPU_BLOCK; v++) _mm256_storeu_pd(sum + l + 4 * v, s[v]);
  }
}

LPU_AVX2 static void avx2_halves(double *sum, const td_u8 *rows, const double *x, td_i32 count, td_i32 lanes,
                                 const td_u8 *next) {
  if (lanes % 32) {
    avx2_rows_halves(sum, rows, x, count, lanes, next);
    return;
  }
  td_i32 rows_used[LPU_LANES], used = 0;
  for (td_i32 i = 0; i < count; i++) {
    bool nothing = x[i] == 0 && avx2_rows_numbers(rows + (2 * (td_i64)i + 1) * lanes, lanes);
    if (!nothing) rows_used[used++] = i;
  }
  for (td_i32 l = 0; l < lanes; l += 32) {
    if (l % 64 == 0) lpu_fetch(next, l / 64 * 2 * count, 2 * count);
    __m256d s[LPU_BLOCK];
    for (int v = 0; v < LPU_BLOCK; v++) s[v] = _mm256_loadu_pd(sum + l + 4 * v);
    for (td_i32 u = 0; u < used; u++) {
      td_i32 i = rows_used[u];
      const td_u8 *row = rows + (td_i64)i * 2 * lanes + l;
      const __m256d factor = _mm256_set1_pd(x[i]);
      for (int v = 0; v < LPU_BLOCK; v += 2) {
        __m128i low = _mm_loadl_epi64((const void *)(row + 4 * v));
        __m128i high = _mm_loadl_epi64((const void *)(row + lanes + 4 * v));
        __m256 w = _mm256_cvtph_ps(_mm_unpacklo_epi8(low, high));
        s[v] = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(w)), factor, s[v]);
        s[v + 1] = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(w, 1)), factor, s[v + 1]);
      }
    }
    for (int v = 0; v < LPU_BLOCK; v++) _mm256_storeu_pd(sum + l + 4 * v, s[v]);
  }
}

LPU_AVX2 static inline __attribute__((always_inline)) __m256 avx2_eights_8(const td_u8 *row) {
  __m128i words = _mm_slli_epi16(_mm_cvtepi8_epi16(_mm_loadl_epi64((const void *)row)), 7);
  return _mm256_cvtph_ps(_mm_and_si128(words, _mm_set1_epi16((int16_t)0xbf80)));
}

LPU_AVX2 static void avx2_eights(double *sum, const td_u8 *rows, const double *x, td_i32 count, td_i32 lanes,
                                 const td_u8 *next) {
  if (lanes % 32 || lpu_odd(rows, count, lanes)) {
    avx2_rows_eights(sum, rows, x, count, lanes, next);
    return;
  }
  for (td_i32 l = 0; l < lanes; l += 32) {
    if (l % 64 == 0) lpu_fetch(next, l / 64 * count, count);
    __m256d s[LPU_BLOCK];
    for (int v = 0; v < LPU_BLOCK; v++) s[v] = _mm256_loadu_pd(sum + l + 4 * v);
    for (td_i32 i = 0; i < count; i++) {
      const td_u8 *row = rows + (td_i64)i * lanes + l;
      const __m256d factor = _mm256_set1_pd(x[i] * 256);
      for (int v = 0; v < LPU_BLOCK; v += 2) {
        __m256 w = avx2_eights_8(row + 4 * v);
        s[v] = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(w)), factor, s[v]);
        s[v + 1] = _mm256_fmadd_pd(_mm256_cvtps_pd(_mm256_extractf128_ps(w, 1)), factor, s[v + 1]);
      }
    }
    for (int v = 0; v < LPU_BLOCK; v++) _mm256_storeu_pd(sum + l + 4 * v, s[v]);
  }
}

#endif
