/* SPDX-License-Identifier: Apache-2.0
 *
 * Bringing one layer's K or V payload into canonical order and the store's dtype.
 */
#include <string.h>

#include "kv_private.h"
#include "tandem/kernels.h"

/* Where element (token, head, dim) of a payload of `tokens` positions lies, in elements. */
static uint64_t place(uint32_t order, uint64_t tokens, uint64_t heads, uint64_t dims, uint64_t token, uint64_t head,
                      uint64_t dim) {
  if (order == TD_KV_TOKEN_HEAD_DIM) return (token * heads + head) * dims + dim;
  if (order == TD_KV_HEAD_TOKEN_DIM) return (head * tokens + token) * dims + dim;
  return (head * dims + dim) * tokens + token;
}

static void convert_element(enum td_dtype from, const char *src, enum td_dtype to, char *dst) {
  uint16_t half;
  float value;
  if (from == to) {
    memcpy(dst, src, to == TD_F16 ? 2 : 4);
  } else if (to == TD_F16) {
    memcpy(&value, src, sizeof value);
    half = td_float_to_half(value);
    memcpy(dst, &half, sizeof half);
  } else {
    memcpy(&half, src, sizeof half);
    value = td_half_to_float(half);
    memcpy(dst, &value, sizeof value);
  }
}

void td_kv_convert(const struct td_kv_layout *layout, uint32_t order, uint64_t tokens, enum td_dtype to,
                   const char *src, char *dst) {
  uint64_t heads = layout->head_end - layout->head_begin, dims = layout->head_dim;
  enum td_dtype from = (enum td_dtype)layout->dtype;
  uint64_t from_bytes = from == TD_F16 ? 2 : 4, to_bytes = to == TD_F16 ? 2 : 4;
  for (uint64_t token = 0; token < tokens; token++) {
    for (uint64_t head = 0; head < heads; head++) {
      for (uint64_t dim = 0; dim < dims; dim++) {
        uint64_t at = place(order, tokens, heads, dims, token, head, dim);
        convert_element(from, src + at * from_bytes, to, dst);
        dst += to_bytes;
      }
    }
  }
}
