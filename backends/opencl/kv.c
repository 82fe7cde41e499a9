/* SPDX-License-Identifier: Apache-2.0
 *
 * Positions of one layer between the cache and host memory. Exports go through a queue of their own, so that a layer
 * leaves while later ones are computed. Neighbouring blocks move in one piece.
 */
#include "device.h"

/* A run of positions that lie side by side in the pool. */
struct piece {
  uint64_t pool_offset, host_offset, bytes;
};

/* The piece that begins *done positions into the sequence; false at its end. Advances *done. */
static bool next_piece(const struct td_kv_view *view, const struct td_seq *seq, int64_t *done, struct piece *out) {
  if (*done >= seq->tokens) return false;
  uint64_t token_bytes = (uint64_t)view->kv_heads * (uint64_t)view->head_dim * (view->dtype == TD_F16 ? 2 : 4);
  int64_t position = seq->past + *done, begin = *done, block = position / view->block_tokens;
  int64_t slot = seq->blocks[block] * (int64_t)view->block_tokens + position % view->block_tokens;
  *done += view->block_tokens - position % view->block_tokens;
  while (*done < seq->tokens && seq->blocks[block + 1] == seq->blocks[block] + 1) {
    *done += view->block_tokens;
    block++;
  }
  if (*done > seq->tokens) *done = seq->tokens;
  *out = (struct piece){(uint64_t)slot * token_bytes, (uint64_t)begin * token_bytes,
                        (uint64_t)(*done - begin) * token_bytes};
  return true;
}

static td_status export_piece(struct opencl_device *device, struct td_buffer *pool, const struct piece *piece,
                              void *host) {
  OPENCL_TRY(device, "clEnqueueReadBuffer of an export",
             OPENCL(EnqueueReadBuffer)(device->exports, pool->memory, CL_FALSE, piece->pool_offset, piece->bytes,
                                       (char *)host + piece->host_offset, 0, NULL, NULL));
  return TD_OK;
}

/* The queue is in order: its end carries any error of what came before, and nothing may write to the host later. */
static td_status finish_export(struct opencl_device *device, const struct td_kv_view *view, td_status status) {
  unsigned char byte;
  cl_int error = OPENCL(EnqueueReadBuffer)(device->exports, view->k->memory, CL_TRUE, 0, 1, &byte, 0, NULL, NULL);
  if (error) OPENCL(Finish)(device->exports);
  if (status) return status;
  OPENCL_TRY(device, "a KV export", error);
  return TD_OK;
}

td_status opencl_kv_export(struct td_device *base, const struct td_kv_view *view, const struct td_seq *seq, void *k,
                           void *v) {
  struct opencl_device *device = opencl_of(base);
  struct piece piece;
  td_status status = TD_OK;
  TD_TRY(opencl_sync(base, view->k->appended)); /* done already, but for callers that did not wait */
  for (int64_t done = 0; !status && next_piece(view, seq, &done, &piece);) {
    status = export_piece(device, view->k, &piece, k);
    if (!status) status = export_piece(device, view->v, &piece, v);
  }
  return finish_export(device, view, status);
}

static td_status import_piece(struct opencl_device *device, struct td_buffer *pool, const struct piece *piece,
                              const void *host) {
  cl_event event;
  TD_TRY(opencl_send(device, pool->memory, piece->pool_offset, (const char *)host + piece->host_offset, piece->bytes,
                     &event));
  return opencl_mark(device, event);
}

td_status opencl_kv_import(struct td_device *base, const struct td_kv_view *view, const struct td_seq *seq,
                           const void *k, const void *v) {
  struct opencl_device *device = opencl_of(base);
  struct piece piece;
  TD_TRY(opencl_alive(device));
  for (int64_t done = 0; next_piece(view, seq, &done, &piece);) {
    TD_TRY(import_piece(device, view->k, &piece, k));
    TD_TRY(import_piece(device, view->v, &piece, v));
  }
  return TD_OK;
}
