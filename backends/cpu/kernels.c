/* SPDX-License-Identifier: Apache-2.0
 *
 * The forms of the inner loops and the choice between them at run time: by target attributes, not -march, and by plain
 * pointers, because ifunc resolvers run before a sanitizer's own set-up. What differs between the sets beyond the width
 * of a vector stands here, before each inclusion of loops.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "tandem/blocks.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

typedef float cpu_quad __attribute__((vector_size(4 * sizeof(float))));
typedef uint32_t cpu_words __attribute__((vector_size(16)));
typedef uint16_t cpu_pairs __attribute__((vector_size(32)));
typedef int8_t cpu_codes __attribute__((vector_size(32)));

/* ---- plain ---- */

static bool plain_here(void) {
  return true;
}

static inline cpu_quad plain_bytes(const int8_t *q) {
  return (cpu_quad){q[0], q[1], q[2], q[3]};
}

static void plain_halves(const unsigned char *from, float *to, int64_t count) {
  for (int64_t i = 0; i < count; i++) to[i] = td_load_half(from + 2 * i);
}

static void plain_bfloats(const unsigned char *from, float *to, int64_t count) {
  for (int64_t i = 0; i < count; i++) to[i] = td_value_BF16(from + 2 * i, 0);
}

/* 32 nibbles less an offset: of a block's first half the low ones of 16 bytes, of the second the high ones. */
static inline void plain_four(const unsigned char *restrict nibbles, int offset, int8_t *restrict q) {
  for (int i = 0; i < 16; i++) q[i] = (int8_t)((nibbles[i] & 15) - offset);
  for (int i = 0; i < 16; i++) q[16 + i] = (int8_t)((nibbles[i] >> 4) - offset);
}

/* The same with a fifth bit each. */
static inline void plain_five(const unsigned char *restrict nibbles, const unsigned char *restrict bits, int offset,
                              int8_t *restrict q) {
  for (int i = 0; i < 32; i++) q[i] = (int8_t)((td_nibble(nibbles, i) | td_fifth_bit(bits, i)) - offset);
}

static inline void plain_levels(const unsigned char *restrict nibbles, int8_t *restrict q) {
  for (int i = 0; i < 32; i++) q[i] = (int8_t)td_level_of(td_nibble(nibbles, i));
}

#define LOOPS(name) plain_##name
#define LOOPS_NAME "plain"
#define LOOPS_TARGET
#define LOOPS_WIDTH 4
#define LOOPS_ROWS 1
#define LOOPS_TOKENS 2
#define LOOPS_BYTES plain_bytes
#define LOOPS_HALF td_load_half
#define LOOPS_HALVES plain_halves
#define LOOPS_BFLOATS plain_bfloats
#define LOOPS_FOUR plain_four
#define LOOPS_FIVE plain_five
#define LOOPS_LEVELS plain_levels
#include "loops.h"

#if defined(__x86_64__)

/* ---- AVX2 ---- */

#define AVX2 __attribute__((target("avx2,f16c")))
#define AVX2_INLINE static inline __attribute__((always_inline)) AVX2

static bool avx2_here(void) {
  unsigned a, b, c = 0, d; /* clang 14 has no name for F16C */
  return __builtin_cpu_supports("avx2") && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

AVX2_INLINE __m256 avx2_bytes(const int8_t *q) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)q)));
}

AVX2_INLINE float avx2_half(const unsigned char *from) {
  return _cvtsh_ss(td_load_u16(from));
}

AVX2_INLINE void avx2_halves(const unsigned char *from, float *to, int64_t count) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(from + 2 * i))));
  }
  for (; i < count; i++) to[i] = avx2_half(from + 2 * i);
}

AVX2_INLINE void avx2_bfloats(const unsigned char *from, float *to, int64_t count) {
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    __m256i upper = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)(from + 2 * i)));
    _mm256_storeu_si256((void *)(to + i), _mm256_slli_epi32(upper, 16));
  }
  plain_bfloats(from + 2 * i, to + i, count - i);
}

AVX2_INLINE __m256i avx2_split(const unsigned char *from) {
  __m128i low = _mm_loadu_si128((const void *)from), high = _mm_srli_epi16(low, 4);
  return _mm256_and_si256(_mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1), _mm256_set1_epi8(15));
}

AVX2_INLINE void avx2_write(int8_t *q, __m256i codes, int offset) {
  _mm256_storeu_si256((void *)q, _mm256_sub_epi8(codes, _mm256_set1_epi8((char)offset)));
}

AVX2_INLINE void avx2_four(const unsigned char *nibbles, int offset, int8_t *q) {
  avx2_write(q, avx2_split(nibbles), offset);
}

AVX2_INLINE void avx2_five(const unsigned char *nibbles, const unsigned char *bits, int offset, int8_t *q) {
  /* Byte i gets the byte that holds its bit, then only that bit, then 0xff or 0. */
  __m256i which = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
  __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32((int)td_load_u32(bits)), which);
  __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
  avx2_write(q, _mm256_or_si256(avx2_split(nibbles), _mm256_and_si256(set, _mm256_set1_epi8(16))), offset);
}

AVX2_INLINE void avx2_levels(const unsigned char *nibbles, int8_t *q) {
  __m128i table = _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
  avx2_write(q, _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), avx2_split(nibbles)), 0);
}

#define LOOPS(name) avx2_##name
#define LOOPS_NAME "avx2"
#define LOOPS_TARGET AVX2
#define LOOPS_WIDTH 8
#define LOOPS_ROWS 2
#define LOOPS_TOKENS 2
#define LOOPS_BYTES avx2_bytes
#define LOOPS_HALF avx2_half
#define LOOPS_HALVES avx2_halves
#define LOOPS_BFLOATS avx2_bfloats
#define LOOPS_FOUR avx2_four
#define LOOPS_FIVE avx2_five
#define LOOPS_LEVELS avx2_levels
#include "loops.h"

/* ---- AVX-512: what is not floats goes as in AVX2 ---- */

#define AVX512 __attribute__((target("avx512f,avx512vl,avx2,f16c")))
#define AVX512_INLINE static inline __attribute__((always_inline)) AVX512

static bool avx512_here(void) {
  return avx2_here() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
}

AVX512_INLINE __m512 avx512_bytes(const int8_t *q) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)q)));
}

AVX512_INLINE void avx512_halves(const unsigned char *from, float *to, int64_t count) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    _mm512_storeu_ps(to + i, _mm512_cvtph_ps(_mm256_loadu_si256((const void *)(from + 2 * i))));
  }
  avx2_halves(from + 2 * i, to + i, count - i);
}

AVX512_INLINE void avx512_bfloats(const unsigned char *from, float *to, int64_t count) {
  int64_t i = 0;
  for (; i + 16 <= count; i += 16) {
    __m512i upper = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(from + 2 * i)));
    _mm512_storeu_si512(to + i, _mm512_slli_epi32(upper, 16));
  }
  avx2_bfloats(from + 2 * i, to + i, count - i);
}

#define LOOPS(name) avx512_##name
#define LOOPS_NAME "avx512"
#define LOOPS_TARGET AVX512
#define LOOPS_WIDTH 16
#define LOOPS_ROWS 4
#define LOOPS_TOKENS 4
#define LOOPS_BYTES avx512_bytes
#define LOOPS_HALF avx2_half
#define LOOPS_HALVES avx512_halves
#define LOOPS_BFLOATS avx512_bfloats
#define LOOPS_FOUR avx2_four
#define LOOPS_FIVE avx2_five
#define LOOPS_LEVELS avx2_levels
#include "loops.h"
#endif

/* Widest first. */
static const struct cpu_kernels *const forms[] = {
#if defined(__x86_64__)
    &avx512_kernels, &avx2_kernels,
#endif
    &plain_kernels};
#define FORMS (sizeof forms / sizeof forms[0])

td_status cpu_kernels_choose(const struct cpu_kernels **out_kernels) {
  const char *wanted = getenv("TANDEM_CPU_ISA");
  for (size_t i = 0; i < FORMS; i++) {
    if (wanted && *wanted && strcmp(wanted, forms[i]->name) != 0) continue;
    if (forms[i]->here()) {
      *out_kernels = forms[i];
      return TD_OK;
    }
    if (wanted && *wanted)
      return td_fail(TD_UNAVAILABLE, "TANDEM_CPU_ISA=%s: this CPU has no such instructions", wanted);
  }
  return td_fail(TD_CONFIG, "TANDEM_CPU_ISA: found '%s', expected plain, avx2 or avx512", wanted);
}
