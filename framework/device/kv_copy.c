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

static struct stretch stretch_at(const struct td_kv_view *view, const struct td_seq *seq, int64_t done) {
  int64_t position = seq->past + done, block_tokens = view->block_tokens;
  int64_t slot = position % block_tokens, count = block_tokens - slot;
  if (count > seq->tokens - done) count = seq->tokens - done;
  uint64_t token_bytes = td_kv_view_token_bytes(view);
  uint64_t first = (uint64_t)(seq->blocks[position / block_tokens] * block_tokens + slot);
  return (struct stretch){first * token_bytes, (uint64_t)done * token_bytes, (uint64_t)count * token_bytes};
}

td_status td_device_kv_export(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq,
                              void *k, void *v) {
  td_status (*own)(struct td_device *, const struct td_kv_view *, const struct td_seq *, void *, void *) =
      TD_ENTRY(device, kv_export);
  if (own) {
    device->submitted++;
    TD_TRY(own(device, view, seq, k, v));
    return td_device_sync(device);
  }
  int64_t done = 0;
  while (done < seq->tokens) {
    struct stretch part = stretch_at(view, seq, done);
    TD_TRY(td_device_read(device, view->k, part.device_offset, (char *)k + part.host_offset, part.bytes));
    TD_TRY(td_device_read(device, view->v, part.device_offset, (char *)v + part.host_offset, part.bytes));
    done += (int64_t)(part.bytes / td_kv_view_token_bytes(view));
  }
  return TD_OK;
}

td_status td_device_kv_import(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq,
                              const void *k, const void *v) {
  td_status (*own)(struct td_device *, const struct td_kv_view *, const struct td_seq *, const void *, const void *) =
      TD_ENTRY(device, kv_import);
  if (own) {
    device->submitted++;
    TD_TRY(own(device, view, seq, k, v));
    return td_device_sync(device);
  }
  int64_t done = 0;
  while (done < seq->tokens) {
    struct stretch part = stretch_at(view, seq, done);
    TD_TRY(td_device_write(device, view->k, part.device_offset, (const char *)k + part.host_offset, part.bytes));
    TD_TRY(td_device_write(device, view->v, part.device_offset, (const char *)v + part.host_offset, part.bytes));
    done += (int64_t)(part.bytes / td_kv_view_token_bytes(view));
  }
  return TD_OK;
}

td_status td_device_kv_truncate(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq) {
  td_status (*own)(struct td_device *, const struct td_kv_view *, const struct td_seq *) =
      TD_ENTRY(device, kv_truncate);
  return own ? own(device, view, seq) : TD_OK;
}
