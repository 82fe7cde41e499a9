/* SPDX-License-Identifier: Apache-2.0
 *
 * Two kernels over tandem/blocks.h and tandem/positions.h, as OpenCL C and as CUDA: KERNEL, THREAD and TD_GLOBAL are
 * the includer's. What they write is compared with what C says.
 */
#include "tandem/blocks.h"
#include "tandem/positions.h"

/* Expands block THREAD; every other thread value by value, the rest group by group. */
#define EXPAND(T)                                                                             \
  KERNEL void expand_##T(TD_GLOBAL const td_u8 *blocks, TD_GLOBAL float *out, td_i32 count) { \
    td_i32 b = THREAD;                                                                        \
    if (b >= count) return;                                                                   \
    TD_GLOBAL const td_u8 *block = blocks + (td_i64)b * TD_BLOCK_BYTES_##T;                   \
    TD_GLOBAL float *to = out + (td_i64)b * TD_BLOCK_ELEMENTS_##T;                            \
    float values[TD_GROUP_ELEMENTS_##T];                                                      \
    for (td_i32 i = 0; i < TD_BLOCK_ELEMENTS_##T; i++) {                                      \
      td_i32 at = i % TD_GROUP_ELEMENTS_##T;                                                  \
      if (at == 0) td_values_##T(block, i / TD_GROUP_ELEMENTS_##T, values);                   \
      to[i] = b % 2 ? td_value_##T(block, i) : values[at];                                    \
    }                                                                                         \
  }
TD_STORED_TYPES(EXPAND)

#define PLACES 9
TD_FN void places(TD_GLOBAL const td_i32 *table, TD_GLOBAL const float *routed, td_i32 p, TD_GLOBAL td_i64 *out) {
  out[0] = td_kv_slot(table, p, 5);
  out[1] = td_kv_element(out[0], p % 3, 3, 24);
  out[2] = td_kv_head(p % 12, 12, 3);
  out[3] = td_visible_begin(p, p % 7);
  out[4] = td_visible_end(p);
  out[5] = td_rope_second(p, p & 1, 32) * 1000 + td_rope_first(p, p & 1);
  out[6] = td_expert_row(td_routed_id(routed, p % 4), 500000000, p);
  out[7] = td_expert_input(p % 4, p & 1 ? 64 : 256, 64);
  out[8] = td_routed_before(routed[p % 8], p % 8, routed[p / 8 % 8], p / 8 % 8) +
           (td_i64)(td_routed_weight(routed, 4, p % 4) * 8) * 2;
}
KERNEL void all_places(TD_GLOBAL const td_i32 *table, TD_GLOBAL const float *routed, TD_GLOBAL td_i64 *out,
                       td_i32 count) {
  td_i32 p = THREAD;
  if (p < count) places(table, routed, p, out + (td_i64)p * PLACES);
}
