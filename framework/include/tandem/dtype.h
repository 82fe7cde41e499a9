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
  TD_Q4_0 = 2, /* f16 scale d, 16 bytes of nibbles: x = d * (q - 8); low nibbles are elements 0..15 */
  TD_Q4_1 = 3, /* f16 scale d, f16 minimum m, 16 bytes: x = d * q + m */
  TD_Q8_0 = 8, /* f16 scale d, 32 int8: x = d * q */
  TD_BF16 = 30
};

struct td_dtype_info {
  const char *name; /* "f32", "q4_1", ... as configs write it */
  enum td_dtype dtype;
  int32_t block_elements; /* 1 for plain types */
  int32_t block_bytes;
};

/* NULL if tandem does not read this type. */
const struct td_dtype_info *td_dtype_info(uint32_t dtype);
/* By name, in either case; NULL if unknown. */
const struct td_dtype_info *td_dtype_find(const char *name);
/* The i-th readable type, NULL past the end: for lists in messages, tables and the conformance suite. */
const struct td_dtype_info *td_dtype_at(int i);

/* Bytes of a row of `elements` values. TD_UNSUPPORTED if `elements` is not a multiple of the block. */
td_status td_dtype_row_bytes(enum td_dtype dtype, int64_t elements, uint64_t *out_bytes);

#endif
