/* SPDX-License-Identifier: Apache-2.0
 *
 * Cache positions between the device and the host. Export runs on a stream of its own, behind the work that wrote the
 * positions but not behind what was queued later; import is a write like any other. Blocks that are neighbours in
 * memory travel in one copy.
 */
#include <string.h>

#include "device.h"

static uint64_t token_bytes(const struct td_kv_view *view) {
  return (uint64_t)view->kv_heads * (uint64_t)view->head_dim * (view->dtype == TD_F16 ? 2 : 4);
}

/* Bytes of the sequence that lie behind each other in the pool. */
struct stretch {
  uint64_t from, bytes;
};

/* The longest stretch that begins `*done` positions into the sequence, at most `most` bytes; false at the end. Advances
 * *done. */
static bool next_stretch(const struct td_kv_view *view, const struct td_seq *seq, uint64_t most, int64_t *done,
                         struct stretch *out_stretch) {
  if (*done >= seq->tokens) return false;
  int64_t block_tokens = view->block_tokens, position = seq->past + *done, count = 0;
  int64_t first = seq->blocks[position / block_tokens] * block_tokens + position % block_tokens;
  int64_t room = (int64_t)(most / token_bytes(view));
  for (; *done < seq->tokens && count < room; count++, (*done)++, position++) {
    if (seq->blocks[position / block_tokens] * block_tokens + position % block_tokens != first + count) break;
  }
  *out_stretch = (struct stretch){(uint64_t)first * token_bytes(view), (uint64_t)count * token_bytes(view)};
  return true;
}

/* Everything that the staging memory holds, to `to`. */
static td_status flush(struct cuda_device *device, unsigned char *to, uint64_t *used) {
  CUDA_TRY(device, cuStreamSynchronize(device->copy), "waiting for exported KV");
  memcpy(to, device->export_staging, (size_t)*used);
  *used = 0;
  return TD_OK;
}

static td_status export_half(struct cuda_device *device, const struct td_kv_view *view, const struct td_buffer *pool,
                             const struct td_seq *seq, unsigned char *to) {
  struct stretch at;
  uint64_t used = 0;
  for (int64_t done = 0; next_stretch(view, seq, CUDA_STAGING - used, &done, &at);) {
    if (at.bytes == 0) { /* full */
      uint64_t bytes = used;
      TD_TRY(flush(device, to, &used));
      to += bytes;
      continue;
    }
    CUDA_TRY(
        device,
        cuMemcpyDtoHAsync_v2(device->export_staging + used, pool->address + at.from, (size_t)at.bytes, device->copy),
        "exporting %llu bytes of KV", (unsigned long long)at.bytes);
    used += at.bytes;
  }
  return flush(device, to, &used);
}

td_status cuda_kv_export(struct td_device *base, const struct td_kv_view *view, const struct td_seq *seq, void *k,
                         void *v) {
  struct cuda_device *device = cuda_of(base);
  TD_TRY(cuda_enter(device));
  if (token_bytes(view) > CUDA_STAGING) {
    return td_fail(TD_UNSUPPORTED, "%s: KV of %llu bytes a position, expected at most %u", device->chip->name,
                   (unsigned long long)token_bytes(view), CUDA_STAGING);
  }
  uint64_t written = view->k->written > view->v->written ? view->k->written : view->v->written;
  TD_TRY(cuda_copy_after(device, written));
  TD_TRY(export_half(device, view, view->k, seq, k));
  return export_half(device, view, view->v, seq, v);
}

static td_status import_half(struct cuda_device *device, const struct td_kv_view *view, struct td_buffer *pool,
                             const struct td_seq *seq, const unsigned char *from) {
  struct stretch at;
  for (int64_t done = 0; next_stretch(view, seq, UINT64_MAX / 2, &done, &at); from += at.bytes) {
    TD_TRY(cuda_up(device, pool->address + at.from, from, at.bytes));
  }
  pool->written = device->base.submitted;
  return TD_OK;
}

td_status cuda_kv_import(struct td_device *base, const struct td_kv_view *view, const struct td_seq *seq, const void *k,
                         const void *v) {
  struct cuda_device *device = cuda_of(base);
  TD_TRY(cuda_enter(device));
  TD_TRY(import_half(device, view, view->k, seq, k));
  return import_half(device, view, view->v, seq, v);
}
