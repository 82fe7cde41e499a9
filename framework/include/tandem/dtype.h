/* SPDX-License-Identifier: Apache-2.0
 *
 * Element types. Values are GGUF's tensor type numbers (ggml, `enum ggml_type`), so a file's number needs no
 * table. A quantised type stores rows of blocks: `elements` consecutive values along the row share one block.
 */
#ifndef TANDEM_DTYPE_H
#define TANDEM_DTYPE_H

#include <stdbool.h>
#include <stdint.h>

#include "tandem/status.h"

enum td_dtype {
  TD_F32 = 0,
  TD_F16 = 1,
  TD_Q4_0 = 2,    /* f16 scale d, 16 bytes of nibbles: x = d * (q - 8); low nibbles are elements 0..15 */
  TD_Q4_1 = 3,    /* f16 scale d, f16 minimum m, 16 bytes: x = d * q + m */
  TD_Q5_0 = 6,    /* f16 d, 32 high bits, 16 bytes of nibbles: x = d * (q - 16) */
  TD_Q5_1 = 7,    /* f16 d, f16 m, 32 high bits, 16 bytes: x = d * q + m */
  TD_Q8_0 = 8,    /* f16 scale d, 32 int8: x = d * q */
  TD_Q2_K = 10,   /* 256 values in 16 groups, 4-bit scales and minima, 2-bit q */
  TD_Q3_K = 11,   /* 256 values in 16 groups, 6-bit scales, 3-bit q */
  TD_Q4_K = 12,   /* 256 values in 8 groups, 6-bit scales and minima, 4-bit q */
  TD_Q5_K = 13,   /* the same with 5-bit q */
  TD_Q6_K = 14,   /* 256 values in 16 groups, 8-bit scales, 6-bit q */
  TD_IQ4_NL = 20, /* f16 d, 16 bytes of nibbles: x = d * table[q], a fixed table of 16 int8 */
  TD_BF16 = 30,
  TD_MXFP4 = 39, /* priced only: 32 e2m1 values and one e8m0 scale (OCP Microscaling v1.0) */
  /* Not GGUF types: numbers of our own, priced only. */
  TD_FP8 = 1000,  /* e4m3 or e5m2, one byte a value; scales are too few to count */
  TD_NVFP4 = 1001 /* 16 e2m1 values and one e4m3 scale (NVIDIA Blackwell) */
};

struct td_dtype_info {
  const char *name; /* "f32", "q4_1", ... as configs write it */
  enum td_dtype dtype;
  int32_t block_elements; /* 1 for plain types */
  int32_t block_bytes;
  bool priced_only; /* a shape-only model may have it; no file with such tensors is read, no backend runs it */
};

/* NULL if tandem does not know this type. Look at priced_only before reading such data. */
const struct td_dtype_info *td_dtype_info(uint32_t dtype);
/* By name, in either case; NULL if unknown. */
const struct td_dtype_info *td_dtype_find(const char *name);
/* The i-th type whose data tandem reads (priced-only ones are left out), NULL past the end: for lists in messages,
 * tables and the conformance suite. */
const struct td_dtype_info *td_dtype_at(int i);

/* Bytes of a row of `elements` values. TD_UNSUPPORTED if `elements` is not a multiple of the block. */
td_status td_dtype_row_bytes(enum td_dtype dtype, int64_t elements, uint64_t *out_bytes);

#endif
