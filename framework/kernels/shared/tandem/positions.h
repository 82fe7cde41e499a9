/* SPDX-License-Identifier: Apache-2.0
 *
 * Index arithmetic that every backend computes, once, for C, OpenCL C and CUDA: the paged KV cache, masks, heads, pairs
 * of a rope, routers and experts. Indices are in elements, not bytes; products that may pass 2^31 are 64-bit.
 */
#ifndef TANDEM_POSITIONS_H
#define TANDEM_POSITIONS_H

#include "tandem/portable.h"

/* ---- the KV cache of a layer: [block][token of the block][KV head][dim] ---- */

/* Where `position` of a sequence lies, in token slots from the pool's start. blocks: the sequence's table. */
TD_FN td_i64 td_kv_slot(TD_GLOBAL const td_i32 *blocks, td_i32 position, td_i32 block_tokens) {
  return (td_i64)blocks[position / block_tokens] * block_tokens + position % block_tokens;
}
/* The first element of a slot's head. */
TD_FN td_i64 td_kv_element(td_i64 slot, td_i32 kv_head, td_i32 kv_heads, td_i32 head_dim) {
  return (slot * kv_heads + kv_head) * head_dim;
}
/* The KV head that a query head reads. */
TD_FN td_i32 td_kv_head(td_i32 head, td_i32 heads, td_i32 kv_heads) {
  return head / (heads / kv_heads);
}

/* ---- masks: the query at `position` sees td_visible_begin <= j < td_visible_end; window 0 = none ---- */

TD_FN td_i32 td_visible_begin(td_i32 position, td_i32 window) {
  return window > 0 && position >= window ? position - window + 1 : 0;
}
TD_FN td_i32 td_visible_end(td_i32 position) {
  return position + 1;
}

/* ---- rope: pair i of a head, 0 <= i < rope_dim / 2; halves: enum td_rope_pairs is TD_ROPE_HALVES ---- */

TD_FN td_i32 td_rope_first(td_i32 pair, td_i32 halves) {
  return halves ? pair : 2 * pair;
}
TD_FN td_i32 td_rope_second(td_i32 pair, td_i32 halves, td_i32 rope_dim) {
  return halves ? pair + rope_dim / 2 : 2 * pair + 1;
}

/* ---- experts: a row of a ROUTER's result is `used` ids, then `used` weights ---- */

/* Whether logit a of expert a_id is chosen before logit b of expert b_id: larger first, NaNs last, ties by id. */
TD_FN int td_routed_before(float a, td_i32 a_id, float b, td_i32 b_id) {
  if (a > b) return 1;
  if (a < b) return 0;
  if (a == b) return a_id < b_id;
  if ((a != a) == (b != b)) return a_id < b_id;
  return b != b;
}
TD_FN td_i32 td_routed_id(TD_GLOBAL const float *routed, td_i32 slot) {
  return (td_i32)routed[slot];
}
TD_FN float td_routed_weight(TD_GLOBAL const float *routed, td_i32 used, td_i32 slot) {
  return routed[used + slot];
}
/* The row of the stacked matrices [experts * n, k] that makes column `column` of expert `expert`. */
TD_FN td_i64 td_expert_row(td_i32 expert, td_i64 n, td_i64 column) {
  return expert * n + column;
}
/* Where in its row of in0 a slot's input begins: in0 is [T, k], the same for all, or [T, used * k]. */
TD_FN td_i64 td_expert_input(td_i32 slot, td_i64 in_cols, td_i64 k) {
  return in_cols == k ? 0 : slot * k;
}

#endif
