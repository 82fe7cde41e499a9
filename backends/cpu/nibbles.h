/* SPDX-License-Identifier: Apache-2.0
 *
 * Types of four bits where a vector holds sixteen floats (AVX-512): the sixteen values that a scale and a minimum allow
 * are one register, and a nibble is an index into it. Each value is level * scale + minimum as elsewhere, so the bits
 * are the same. Included by products.h for that set.
 */

/* The levels of nibbles 0 .. 15. */
INLINE __m512 LOOPS(levels)(enum td_dtype dtype) {
  const __m512 steps = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  if (dtype == TD_Q4_0) return _mm512_sub_ps(steps, _mm512_set1_ps(8));
  if (dtype != TD_IQ4_NL) return steps;
  return _mm512_setr_ps(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
}

INLINE __m512 LOOPS(half_everywhere)(const unsigned char *from) {
  return _mm512_cvtph_ps(_mm256_set1_epi16((short)td_load_u16(from)));
}

/* Sixteen bytes, one to a lane. */
INLINE __m512i LOOPS(spread)(const unsigned char *from) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)from));
}

/* Sixteen weights of row r meet x[0 .. tokens-1] at `at`. An index is the low four bits of a lane. */
INLINE void LOOPS(meet_nibbles)(__m512i nibbles, __m512 table, const float *const *x, int64_t at, int r,
                                const int tokens, struct LOOPS(sums) * sum) {
  struct LOOPS(lanes) w = {{_mm512_permutexvar_ps(nibbles, table)}}, b;
  for (int t = 0; t < tokens; t++) {
    LOOPS(load)(x[t] + at, &b);
    LOOPS(add_product)(&sum->of[r][t], &w, &b);
  }
}

/* Blocks of 32: a block's scale, its minimum if it has one, its nibbles. `dtype` is a literal. */
INLINE void LOOPS(dots_four)(const struct cpu_product *product, enum td_dtype dtype, const unsigned char **row,
                             const float *const *x, const int tokens, struct LOOPS(sums) * sum) {
  const __m512 levels = LOOPS(levels)(dtype);
  const int head = dtype == TD_Q4_1 ? 4 : 2;
  for (int64_t at = 0; at < product->k; at += 32) {
    for (int r = 0; r < LOOPS_ROWS; r++) {
      const unsigned char *block = row[r];
      if (at % 64 == 0) LOOPS(fetch_ahead)(product, block, 1);
      __m512 table = _mm512_mul_ps(levels, LOOPS(half_everywhere)(block));
      if (dtype == TD_Q4_1) table = _mm512_add_ps(table, LOOPS(half_everywhere)(block + 2));
      __m512i both = LOOPS(spread)(block + head);
      LOOPS(meet_nibbles)(both, table, x, at, r, tokens, sum);
      LOOPS(meet_nibbles)(_mm512_srli_epi32(both, 4), table, x, at + 16, r, tokens, sum);
      row[r] = block + head + 16;
    }
  }
}

/* One quarter of a Q4_K block: 32 bytes whose low nibbles are 32 values, and their high ones the next. */
INLINE void LOOPS(meet_quarter)(const unsigned char *nibbles, const float *scale, const float *minimum,
                                const float *const *x, int64_t at, int r, const int tokens, struct LOOPS(sums) * sum) {
  const __m512 levels = LOOPS(levels)(TD_Q4_K);
  __m512i left = LOOPS(spread)(nibbles), right = LOOPS(spread)(nibbles + 16);
  __m512 low = _mm512_add_ps(_mm512_mul_ps(levels, _mm512_set1_ps(scale[0])), _mm512_set1_ps(minimum[0]));
  __m512 high = _mm512_add_ps(_mm512_mul_ps(levels, _mm512_set1_ps(scale[1])), _mm512_set1_ps(minimum[1]));
  LOOPS(meet_nibbles)(left, low, x, at, r, tokens, sum);
  LOOPS(meet_nibbles)(right, low, x, at + 16, r, tokens, sum);
  LOOPS(meet_nibbles)(_mm512_srli_epi32(left, 4), high, x, at + 32, r, tokens, sum);
  LOOPS(meet_nibbles)(_mm512_srli_epi32(right, 4), high, x, at + 48, r, tokens, sum);
}

INLINE void LOOPS(dots_four_k)(const struct cpu_product *product, const unsigned char **row, const float *const *x,
                               const int tokens, struct LOOPS(sums) * sum) {
  struct cpu_piece pieces[LOOPS_ROWS]; /* scales and minima only */
  for (int64_t at = 0; at < product->k; at += CPU_PIECE) {
    for (int r = 0; r < LOOPS_ROWS; r++) {
      LOOPS(fetch_ahead)(product, row[r], TD_BLOCK_BYTES_Q4_K);
      LOOPS(k_scales)(row[r], &pieces[r]);
    }
    for (int quarter = 0; quarter < 4; quarter++) {
      for (int r = 0; r < LOOPS_ROWS; r++) {
        LOOPS(meet_quarter)
        (row[r] + 16 + 32 * quarter, pieces[r].scale + 2 * quarter, pieces[r].minimum + 2 * quarter, x,
         at + 64 * quarter, r, tokens, sum);
      }
    }
    for (int r = 0; r < LOOPS_ROWS; r++) row[r] += TD_BLOCK_BYTES_Q4_K;
  }
}

/* True if the type has four bits: its sums are then done. */
INLINE bool LOOPS(quick)(const struct cpu_product *product, const unsigned char **row, const float *const *x,
                         const int tokens, struct LOOPS(sums) * sum) {
  switch (product->dtype) {
    case TD_Q4_0:
      LOOPS(dots_four)(product, TD_Q4_0, row, x, tokens, sum);
      return true;
    case TD_Q4_1:
      LOOPS(dots_four)(product, TD_Q4_1, row, x, tokens, sum);
      return true;
    case TD_IQ4_NL:
      LOOPS(dots_four)(product, TD_IQ4_NL, row, x, tokens, sum);
      return true;
    case TD_Q4_K:
      LOOPS(dots_four_k)(product, row, x, tokens, sum);
      return true;
    default:
      return false;
  }
}
