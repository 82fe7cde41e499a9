/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products, written once and included by loops.h once per instruction set. Two ways that give the same bits:
 * many rows meet weights that were expanded to float32 before; few rows meet them while they are unpacked, a piece of
 * every row at a time, and the expanded weights never leave the registers.
 */

/* The sums of some weight rows and rows of x. */
struct LOOPS(sums) {
  struct LOOPS(lanes) of[LOOPS_ROWS][LOOPS_TOKENS];
};

/* LOOPS_ROWS x tokens sums, stored where rows and tokens say. */
INLINE void LOOPS(store)(struct LOOPS(sums) * sum, const int tokens, int64_t stored, float *const *out,
                         int64_t column) {
  for (int t = 0; t < tokens; t++) {
    for (int r = 0; r < LOOPS_ROWS; r++) {
      float value = LOOPS(fold)(&sum->of[r][t]);
      if (r < stored) out[t][column + r] = value;
    }
  }
}

INLINE void LOOPS(clear_all)(struct LOOPS(sums) * sum, const int tokens) {
  for (int r = 0; r < LOOPS_ROWS; r++) {
    for (int t = 0; t < tokens; t++) LOOPS(clear)(&sum->of[r][t]);
  }
}

/* ---- many rows: the weights are float32 already, each row padded with zeros to a multiple of CPU_LANES ---- */

/* LOOPS_ROWS x tokens dot products at once; `tokens` is a literal in every call. */
INLINE void LOOPS(tile)(const int tokens, const float *w, int64_t w_stride, const float *const *x, int64_t k,
                        int64_t stored, float *const *out, int64_t column) {
  struct LOOPS(sums) sum;
  struct LOOPS(lanes) a[LOOPS_ROWS], b;
  LOOPS(clear_all)(&sum, tokens);
  int64_t i = 0;
  for (; i + CPU_LANES <= k; i += CPU_LANES) {
    for (int r = 0; r < LOOPS_ROWS; r++) LOOPS(load)(w + r * w_stride + i, &a[r]);
    for (int t = 0; t < tokens; t++) {
      LOOPS(load)(x[t] + i, &b);
      for (int r = 0; r < LOOPS_ROWS; r++) LOOPS(add_product)(&sum.of[r][t], &a[r], &b);
    }
  }
  for (int t = 0; t < tokens && i < k; t++) {
    LOOPS(load_tail)(x[t] + i, k - i, &b);
    for (int r = 0; r < LOOPS_ROWS; r++) {
      LOOPS(load)(w + r * w_stride + i, &a[r]);
      LOOPS(add_product)(&sum.of[r][t], &a[r], &b);
    }
  }
  LOOPS(store)(&sum, tokens, stored, out, column);
}

LOOPS_TARGET static void LOOPS(products)(const struct cpu_product *product, const float *w, int64_t w_stride,
                                         int64_t first, int64_t rows) {
  const float *const *x = product->x;
  int64_t t = 0, k = product->k;
  for (; t + LOOPS_TOKENS <= product->count; t += LOOPS_TOKENS) {
    for (int64_t r = 0; r < rows; r += LOOPS_ROWS) {
      LOOPS(tile)(LOOPS_TOKENS, w + r * w_stride, w_stride, x + t, k, rows - r, product->out + t, first + r);
    }
  }
  for (; t < product->count; t++) {
    for (int64_t r = 0; r < rows; r += LOOPS_ROWS) {
      LOOPS(tile)(1, w + r * w_stride, w_stride, x + t, k, rows - r, product->out + t, first + r);
    }
  }
}

/* ---- few rows ---- */

/* Sixteen weights of an unpacked piece: q * scale + minimum, each rounded once, as td_dequantize has it. */
INLINE void LOOPS(scaled)(const struct cpu_piece *piece, const int group, const bool minimum, int64_t i,
                          struct LOOPS(lanes) * to) {
  for (int p = 0; p < PARTS; p++) {
    VECTOR w = LOOPS_BYTES(piece->q + i + p * LOOPS_WIDTH) * piece->scale[i / group];
    to->part[p] = minimum ? w + piece->minimum[i / group] : w;
  }
}

/* A row, or a whole number of blocks of one, to float32. */
INLINE void LOOPS(expand_scaled)(const struct cpu_product *product, const unsigned char *src, float *dst,
                                 const int group, const bool minimum) {
  struct cpu_piece piece;
  LOOPS(unpacker) *unpack = LOOPS(unpacker_of)(product->dtype);
  for (int64_t at = 0; at < product->k; at += CPU_PIECE) {
    int64_t count = product->k - at < CPU_PIECE ? product->k - at : CPU_PIECE, blocks = count / product->block_elements;
    unpack(src, blocks, &piece);
    src += blocks * product->block_bytes;
    for (int64_t i = 0; i < count; i += CPU_LANES) {
      struct LOOPS(lanes) w;
      LOOPS(scaled)(&piece, group, minimum, i, &w);
      memcpy(dst + at + i, &w, sizeof w);
    }
  }
}

INLINE void LOOPS(convert)(enum td_dtype dtype, const unsigned char *src, float *dst, int64_t count) {
  if (dtype == TD_F32) {
    memcpy(dst, src, (size_t)count * sizeof *dst);
  } else if (dtype == TD_F16) {
    LOOPS_HALVES(src, dst, count);
  } else {
    LOOPS_BFLOATS(src, dst, count);
  }
}

/* Weight row `row` as float32. */
LOOPS_TARGET static void LOOPS(expand)(const struct cpu_product *product, int64_t row, float *dst) {
  const unsigned char *src = product->weight + (uint64_t)row * product->row_bytes;
  switch (product->form) {
    case CPU_PLAIN:
      LOOPS(convert)(product->dtype, src, dst, product->k);
      break;
    case CPU_BY_16:
      LOOPS(expand_scaled)(product, src, dst, 16, false);
      break;
    case CPU_BY_16_MINIMUM:
      LOOPS(expand_scaled)(product, src, dst, 16, true);
      break;
    case CPU_BY_32:
      LOOPS(expand_scaled)(product, src, dst, 32, false);
      break;
    case CPU_BY_32_MINIMUM:
      LOOPS(expand_scaled)(product, src, dst, 32, true);
      break;
  }
}

/* The sums of one piece of LOOPS_ROWS rows, added to what is there. All but the first three are literals. */
INLINE void LOOPS(meet_scaled)(const struct cpu_piece *pieces, const float *const *x, int64_t at, int64_t count,
                               const int group, const bool minimum, const int tokens, struct LOOPS(sums) * sum) {
  struct LOOPS(lanes) w, b[LOOPS_TOKENS];
  for (int64_t g = 0; g < count; g += group) {
    for (int64_t i = g; i < g + group; i += CPU_LANES) {
      for (int t = 0; t < tokens; t++) LOOPS(load)(x[t] + at + i, &b[t]);
      for (int r = 0; r < LOOPS_ROWS; r++) {
        LOOPS(scaled)(&pieces[r], group, minimum, i, &w);
        for (int t = 0; t < tokens; t++) LOOPS(add_product)(&sum->of[r][t], &w, &b[t]);
      }
    }
  }
}

/* The same bytes of the tile that comes next: rows are too short for the hardware to see a stream in each. */
INLINE void LOOPS(fetch_ahead)(const struct cpu_product *product, const unsigned char *row, int64_t bytes) {
  uintptr_t next = (uintptr_t)row + LOOPS_ROWS * (uintptr_t)product->row_bytes;
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch((const void *)(next + (uintptr_t)i));
}

/* Rows row[0 .. LOOPS_ROWS-1] of a block type times rows t, t + 1, ... of x. */
INLINE void LOOPS(dots_scaled)(const struct cpu_product *product, const unsigned char **row, int64_t t,
                               const int tokens, const int group, const bool minimum, struct LOOPS(sums) * sum) {
  struct cpu_piece pieces[LOOPS_ROWS];
  LOOPS(unpacker) *unpack = LOOPS(unpacker_of)(product->dtype);
  for (int64_t at = 0; at < product->k; at += CPU_PIECE) {
    int64_t count = product->k - at < CPU_PIECE ? product->k - at : CPU_PIECE, blocks = count / product->block_elements;
    for (int r = 0; r < LOOPS_ROWS; r++) {
      LOOPS(fetch_ahead)(product, row[r], blocks * product->block_bytes);
      unpack(row[r], blocks, &pieces[r]);
      row[r] += blocks * product->block_bytes;
    }
    LOOPS(meet_scaled)(pieces, product->x + t, at, count, group, minimum, tokens, sum);
  }
}

/* `count` values of a plain type as floats, with zeros after the last: where they are, or in `piece`. */
INLINE const float *LOOPS(floats)(enum td_dtype dtype, const unsigned char *src, int64_t count, float *piece) {
  if (dtype == TD_F32 && count % CPU_LANES == 0 && (uintptr_t)src % _Alignof(float) == 0) {
    return (const float *)(const void *)src;
  }
  LOOPS(convert)(dtype, src, piece, count);
  for (int64_t i = count; i % CPU_LANES; i++) piece[i] = 0.0f;
  return piece;
}

/* `count` values of one row times rows of x, added to `sum`; values has zeros up to a multiple of the lanes. */
INLINE void LOOPS(meet_plain)(const float *values, const float *const *x, int64_t at, int64_t count, const int tokens,
                              struct LOOPS(lanes) * sum) {
  struct LOOPS(lanes) w, b;
  int64_t i = 0;
  for (; i + CPU_LANES <= count; i += CPU_LANES) {
    LOOPS(load)(values + i, &w);
    for (int u = 0; u < tokens; u++) {
      LOOPS(load)(x[u] + at + i, &b);
      LOOPS(add_product)(&sum[u], &w, &b);
    }
  }
  if (i == count) return;
  LOOPS(load)(values + i, &w);
  for (int u = 0; u < tokens; u++) {
    LOOPS(load_tail)(x[u] + at + i, count - i, &b);
    LOOPS(add_product)(&sum[u], &w, &b);
  }
}

/* The same as dots_scaled for plain types, but a row after the other: these go as fast as memory lets them, and memory
 * that is read as one stream is read twice as fast as four rows side by side (an EPYC of 2022: 97 and 56 % of what
 * plain reading reaches). */
INLINE void LOOPS(dots_plain)(const struct cpu_product *product, const unsigned char **row, int64_t t, const int tokens,
                              struct LOOPS(sums) * sum) {
  float piece[CPU_PIECE];
  for (int r = 0; r < LOOPS_ROWS; r++) {
    struct LOOPS(lanes) own[LOOPS_TOKENS];
    for (int u = 0; u < tokens; u++) LOOPS(clear)(&own[u]);
    for (int64_t at = 0; at < product->k; at += CPU_PIECE) {
      int64_t count = product->k - at < CPU_PIECE ? product->k - at : CPU_PIECE;
      const float *values = LOOPS(floats)(product->dtype, row[r] + at * product->block_bytes, count, piece);
      LOOPS(meet_plain)(values, product->x + t, at, count, tokens, own);
    }
    for (int u = 0; u < tokens; u++) sum->of[r][u] = own[u];
  }
}

#if LOOPS_WIDTH == CPU_LANES
#include "nibbles.h"
#else
INLINE bool LOOPS(quick)(const struct cpu_product *product, const unsigned char **row, const float *const *x,
                         const int tokens, struct LOOPS(sums) * sum) {
  (void)product, (void)row, (void)x, (void)tokens, (void)sum;
  return false;
}
#endif

INLINE void LOOPS(dots_tile)(const struct cpu_product *product, int64_t first, int64_t rows, int64_t t,
                             const int tokens) {
  struct LOOPS(sums) sum;
  const unsigned char *row[LOOPS_ROWS]; /* the last one again where there are fewer */
  for (int r = 0; r < LOOPS_ROWS; r++) {
    row[r] = product->weight + (uint64_t)(first + (r < rows ? r : rows - 1)) * product->row_bytes;
  }
  LOOPS(clear_all)(&sum, tokens);
  if (LOOPS(quick)(product, row, product->x + t, tokens, &sum)) {
    LOOPS(store)(&sum, tokens, rows, product->out + t, first);
    return;
  }
  switch (product->form) {
    case CPU_PLAIN:
      LOOPS(dots_plain)(product, row, t, tokens, &sum);
      break;
    case CPU_BY_16:
      LOOPS(dots_scaled)(product, row, t, tokens, 16, false, &sum);
      break;
    case CPU_BY_16_MINIMUM:
      LOOPS(dots_scaled)(product, row, t, tokens, 16, true, &sum);
      break;
    case CPU_BY_32:
      LOOPS(dots_scaled)(product, row, t, tokens, 32, false, &sum);
      break;
    case CPU_BY_32_MINIMUM:
      LOOPS(dots_scaled)(product, row, t, tokens, 32, true, &sum);
      break;
  }
  LOOPS(store)(&sum, tokens, rows, product->out + t, first);
}

LOOPS_TARGET static void LOOPS(dots)(const struct cpu_product *product, int64_t first, int64_t rows) {
  int64_t t = 0;
  for (; t + LOOPS_TOKENS <= product->count; t += LOOPS_TOKENS) {
    for (int64_t r = 0; r < rows; r += LOOPS_ROWS) LOOPS(dots_tile)(product, first + r, rows - r, t, LOOPS_TOKENS);
  }
  for (; t < product->count; t++) {
    for (int64_t r = 0; r < rows; r += LOOPS_ROWS) LOOPS(dots_tile)(product, first + r, rows - r, t, 1);
  }
}
