/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of blocks to float32, group by group, upon tandem/blocks.h. No value's bits depend on the instruction set, so
 * where wider vectors are faster (measured: gcc 12 does not use them for groups of 16) the same C is compiled for them.
 */
#include <assert.h>
#include <string.h>

#include "half.h"
#include "tandem/blocks.h"
#include "tandem/kernels.h"

#define ROW_BODY(T)                                                           \
  for (int64_t b = 0; b < blocks; b++, src += TD_BLOCK_BYTES_##T) {           \
    for (int g = 0; g < TD_BLOCK_ELEMENTS_##T / TD_GROUP_ELEMENTS_##T; g++) { \
      td_values_##T(src, g, dst);                                             \
      dst += TD_GROUP_ELEMENTS_##T;                                           \
    }                                                                         \
  }
#define PLAIN_ROW(T)                                                          \
  static void row_##T(const unsigned char *src, float *dst, int64_t blocks) { \
    ROW_BODY(T)                                                               \
  }
TD_QUANTISED_TYPES(PLAIN_ROW)

#if defined(__x86_64__)
#define WIDE_ROW(T)                                                                                                \
  __attribute__((target("avx2"))) static void wide_row_##T(const unsigned char *src, float *dst, int64_t blocks) { \
    ROW_BODY(T)                                                                                                    \
  }                                                                                                                \
  static void best_row_##T(const unsigned char *src, float *dst, int64_t blocks) {                                 \
    (__builtin_cpu_supports("avx2") ? wide_row_##T : row_##T)(src, dst, blocks);                                   \
  }
WIDE_ROW(Q8_0)
WIDE_ROW(Q4_K)
WIDE_ROW(Q5_K)
#else
#define best_row_Q8_0 row_Q8_0
#define best_row_Q4_K row_Q4_K
#define best_row_Q5_K row_Q5_K
#endif

static void f16_row(const unsigned char *src, float *dst, int64_t elements) {
  if (td_half_f16c_here()) {
    td_half_row_f16c(src, dst, elements);
  } else {
    td_half_row_plain(src, dst, elements);
  }
}

static void bf16_row(const unsigned char *src, float *dst, int64_t elements) {
  for (int64_t i = 0; i < elements; i++) dst[i] = td_value_BF16(src + 2 * i, 0);
}

typedef void (*row_expander)(const unsigned char *src, float *dst, int64_t blocks);

static row_expander expander(enum td_dtype dtype) {
  switch (dtype) {
    case TD_F32:
    case TD_MXFP4:
    case TD_FP8:
    case TD_NVFP4:
      break;
    case TD_F16:
      return f16_row;
    case TD_BF16:
      return bf16_row;
    case TD_Q8_0:
      return best_row_Q8_0;
    case TD_Q4_0:
      return row_Q4_0;
    case TD_Q4_1:
      return row_Q4_1;
    case TD_Q5_0:
      return row_Q5_0;
    case TD_Q5_1:
      return row_Q5_1;
    case TD_Q2_K:
      return row_Q2_K;
    case TD_Q3_K:
      return row_Q3_K;
    case TD_Q4_K:
      return best_row_Q4_K;
    case TD_Q5_K:
      return best_row_Q5_K;
    case TD_Q6_K:
      return row_Q6_K;
    case TD_IQ4_NL:
      return row_IQ4_NL;
  }
  return NULL;
}

void td_dequantize(enum td_dtype dtype, const void *src, float *dst, int64_t elements) {
  if (dtype == TD_F32) {
    memcpy(dst, src, (size_t)elements * sizeof *dst);
    return;
  }
  row_expander expand = expander(dtype);
  assert(expand && "callers ask td_dtype_info first");
  int block = td_dtype_info((uint32_t)dtype)->block_elements;
  assert(elements % block == 0);
  expand(src, dst, elements / block);
}
