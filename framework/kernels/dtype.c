/* SPDX-License-Identifier: Apache-2.0 */
#include "tandem/dtype.h"

#include <inttypes.h>
#include <stddef.h>
#include <strings.h>

#include "tandem/base.h"
#include "tandem/blocks.h"

#define STORED(name, T) \
  { name, TD_##T, TD_BLOCK_ELEMENTS_##T, TD_BLOCK_BYTES_##T, false }

static const struct td_dtype_info table[] = {
    STORED("f32", F32),
    STORED("f16", F16),
    STORED("bf16", BF16),
    STORED("q8_0", Q8_0),
    STORED("q4_0", Q4_0),
    STORED("q4_1", Q4_1),
    STORED("q5_0", Q5_0),
    STORED("q5_1", Q5_1),
    STORED("q2_k", Q2_K),
    STORED("q3_k", Q3_K),
    STORED("q4_k", Q4_K),
    STORED("q5_k", Q5_K),
    STORED("q6_k", Q6_K),
    STORED("iq4_nl", IQ4_NL),
    {"fp8", TD_FP8, 1, 1, true},
    {"mxfp4", TD_MXFP4, 32, 17, true},
    {"nvfp4", TD_NVFP4, 16, 9, true},
};
#define TABLE_ROWS ((int)(sizeof table / sizeof table[0]))

const struct td_dtype_info *td_dtype_info(uint32_t dtype) {
  for (int i = 0; i < TABLE_ROWS; i++) {
    if ((uint32_t)table[i].dtype == dtype) return &table[i];
  }
  return NULL;
}

const struct td_dtype_info *td_dtype_find(const char *name) {
  for (int i = 0; i < TABLE_ROWS; i++) {
    if (strcasecmp(table[i].name, name) == 0) return &table[i];
  }
  return NULL;
}

const struct td_dtype_info *td_dtype_at(int i) {
  return i >= 0 && i < TABLE_ROWS && !table[i].priced_only ? &table[i] : NULL;
}

td_status td_dtype_row_bytes(enum td_dtype dtype, int64_t elements, uint64_t *out_bytes) {
  const struct td_dtype_info *info = td_dtype_info((uint32_t)dtype);
  if (!info) return td_fail(TD_UNSUPPORTED, "tensor type %d: not one that tandem reads", (int)dtype);
  if (elements < 0 || elements % info->block_elements) {
    return td_fail(TD_UNSUPPORTED, "row of %" PRId64 " %s values: expected a multiple of %d", elements, info->name,
                   info->block_elements);
  }
  uint64_t bytes;
  if (!td_mul_size((uint64_t)(elements / info->block_elements), (uint64_t)info->block_bytes, &bytes)) {
    return td_fail(TD_UNSUPPORTED, "row of %" PRId64 " %s values: its bytes do not fit 64 bits", elements, info->name);
  }
  *out_bytes = bytes;
  return TD_OK;
}
