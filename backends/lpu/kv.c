/* SPDX-License-Identifier: Apache-2.0
 *
 * Positions of a cache between canonical order and SRAM; of a cache that no plan has bound, host memory.
 */
#include <string.h>

#include "lpu_device.h"

/* Where position `i` of a sequence's share lies. */
static void place_of(const struct td_kv_view *view, const struct td_seq *seq, int64_t i, int32_t *block,
                     int32_t *slot) {
  int64_t position = seq->past + i;
  *block = seq->blocks[position / view->block_tokens];
  *slot = (int32_t)(position % view->block_tokens);
}

static uint64_t token_bytes(const struct td_kv_view *view) {
  return (uint64_t)view->kv_heads * (uint64_t)view->head_dim * (view->dtype == TD_F16 ? 2u : 4u);
}

static uint64_t host_offset(const struct td_kv_view *view, int32_t block, int32_t slot) {
  return ((uint64_t)block * (uint64_t)view->block_tokens + (uint64_t)slot) * token_bytes(view);
}

td_status lpu_kv_export(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq, void *k,
                        void *v) {
  struct td_plan *plan = view->k->plan;
  uint64_t bytes = token_bytes(view);
  unsigned char *to[2] = {k, v};
  (void)device;
  for (int64_t i = 0; i < seq->tokens; i++, to[0] += bytes, to[1] += bytes) {
    int32_t block, slot;
    place_of(view, seq, i, &block, &slot);
    if (plan) {
      TD_TRY(td_lpu_host_kv_read(plan->host, &plan->kv, view->k->layer, block, slot, (uint16_t *)(void *)to[0],
                                 (uint16_t *)(void *)to[1]));
      continue;
    }
    memcpy(to[0], view->k->data + host_offset(view, block, slot), bytes);
    memcpy(to[1], view->v->data + host_offset(view, block, slot), bytes);
  }
  return TD_OK;
}

td_status lpu_kv_import(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq,
                        const void *k, const void *v) {
  struct td_plan *plan = view->k->plan;
  uint64_t bytes = token_bytes(view);
  const unsigned char *from[2] = {k, v};
  (void)device;
  for (int64_t i = 0; i < seq->tokens; i++, from[0] += bytes, from[1] += bytes) {
    int32_t block, slot;
    place_of(view, seq, i, &block, &slot);
    if (plan) {
      TD_TRY(td_lpu_host_kv_write(plan->host, &plan->kv, view->k->layer, block, slot,
                                  (const uint16_t *)(const void *)from[0], (const uint16_t *)(const void *)from[1]));
      continue;
    }
    memcpy(view->k->data + host_offset(view, block, slot), from[0], bytes);
    memcpy(view->v->data + host_offset(view, block, slot), from[1], bytes);
    view->k->touched = view->v->touched = true;
  }
  return TD_OK;
}
