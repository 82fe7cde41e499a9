/* SPDX-License-Identifier: Apache-2.0
 *
 * Positions of one layer between the paged cache and host memory, in canonical order: the backend's own entry, or read
 * and write block by block.
 */
#include "device_private.h"
#include "tandem/base.h"

uint64_t td_kv_view_token_bytes(const struct td_kv_view *view) {
  uint64_t element = view->dtype == TD_F16 ? 2 : 4;
  return (uint64_t)view->kv_heads * (uint64_t)view->head_dim * element;
}

/* The stretch of a sequence that lies in one block. */
struct stretch {
  uint64_t device_offset, host_offset, bytes;
};

/* The stretch that begins `*done` positions into the sequence; false at its end. Advances *done. */
static bool next_stretch(const struct td_kv_view *view, const struct td_seq *seq, int64_t *done,
                         struct stretch *out_stretch) {
  if (*done >= seq->tokens) return false;
  int64_t position = seq->past + *done, block_tokens = view->block_tokens;
  int64_t slot = position % block_tokens, count = block_tokens - slot;
  if (count > seq->tokens - *done) count = seq->tokens - *done;
  uint64_t token_bytes = td_kv_view_token_bytes(view);
  uint64_t first = (uint64_t)(seq->blocks[position / block_tokens] * block_tokens + slot);
  *out_stretch = (struct stretch){first * token_bytes, (uint64_t)*done * token_bytes, (uint64_t)count * token_bytes};
  *done += count;
  return true;
}

td_status td_device_kv_export(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq,
                              void *k, void *v) {
  td_status (*own)(struct td_device *, const struct td_kv_view *, const struct td_seq *, void *, void *) =
      TD_ENTRY(device, kv_export);
  if (own) {
    device->submitted++;
    return own(device, view, seq, k, v);
  }
  struct stretch at;
  for (int64_t done = 0; next_stretch(view, seq, &done, &at);) {
    TD_TRY(td_device_enqueue_read(device, view->k, at.device_offset, (char *)k + at.host_offset, at.bytes));
    TD_TRY(td_device_enqueue_read(device, view->v, at.device_offset, (char *)v + at.host_offset, at.bytes));
  }
  return TD_OK;
}

td_status td_device_kv_exported(struct td_device *device) {
  return TD_ENTRY(device, kv_export) ? TD_OK : td_device_sync(device);
}

td_status td_device_kv_import(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq,
                              const void *k, const void *v) {
  td_status (*own)(struct td_device *, const struct td_kv_view *, const struct td_seq *, const void *, const void *) =
      TD_ENTRY(device, kv_import);
  if (own) {
    device->submitted++;
    return own(device, view, seq, k, v);
  }
  struct stretch at;
  for (int64_t done = 0; next_stretch(view, seq, &done, &at);) {
    TD_TRY(td_device_write(device, view->k, at.device_offset, (const char *)k + at.host_offset, at.bytes));
    TD_TRY(td_device_write(device, view->v, at.device_offset, (const char *)v + at.host_offset, at.bytes));
  }
  return TD_OK;
}

td_status td_device_kv_truncate(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq) {
  td_status (*own)(struct td_device *, const struct td_kv_view *, const struct td_seq *) =
      TD_ENTRY(device, kv_truncate);
  return own ? own(device, view, seq) : TD_OK;
}
