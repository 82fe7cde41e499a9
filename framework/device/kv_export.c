/* SPDX-License-Identifier: Apache-2.0
 *
 * Taking positions out of a store, as the hand-off unit.
 */
#include <inttypes.h>

#include "kv_private.h"
#include "tandem/base.h"

static td_status check_layers(const struct td_kv_store *store, int32_t layer_begin, int32_t layer_end) {
  if (layer_begin >= store->layer_begin && layer_end <= store->layer_end && layer_begin < layer_end) return TD_OK;
  return td_fail(TD_PRECONDITION, "KV export: found layers [%d, %d), expected a range within [%d, %d)",
                 (int)layer_begin, (int)layer_end, (int)store->layer_begin, (int)store->layer_end);
}

/* Positions are there when a step has completed them, or when the step under way has passed these layers. */
static td_status check_tokens(const struct td_kv_store *store, const struct td_kv_request *request, int32_t layer_end,
                              int64_t token_begin, int64_t token_end) {
  int64_t written = layer_end <= store->step_layer_end ? request->pending : request->length;
  if (token_begin < 0 || token_begin >= token_end || token_end > written) {
    return td_fail(TD_PRECONDITION,
                   "KV export of request %" PRIu64 ": found positions [%" PRId64 ", %" PRId64
                   "), expected a range within [0, %" PRId64 "), which is written",
                   request->id, token_begin, token_end, written);
  }
  if (token_begin % store->block_tokens == 0) return TD_OK;
  return td_fail(TD_PRECONDITION,
                 "KV export of request %" PRIu64 ": found token_begin %" PRId64
                 ", expected a multiple of the block size %d",
                 request->id, token_begin, (int)store->block_tokens);
}

static td_status enqueue_layers(struct td_kv_store *store, const struct td_kv_request *request,
                                const struct td_kv_chunk *chunk, char *payload) {
  struct td_seq seq = {.request = request->id,
                       .past = (int64_t)chunk->token_begin,
                       .tokens = (int64_t)(chunk->token_end - chunk->token_begin),
                       .blocks = request->blocks,
                       .block_count = request->block_count};
  uint64_t half = (chunk->token_end - chunk->token_begin) * store->layout.k_token_stride;
  for (uint32_t layer = chunk->layer_begin; layer < chunk->layer_end; layer++) {
    struct td_kv_view view;
    TD_TRY(td_kv_store_view(store, (int32_t)layer, &view));
    TD_TRY(td_device_kv_export(store->device, &view, &seq, payload, payload + half));
    payload += 2 * half;
  }
  return TD_OK;
}

td_status td_kv_export(struct td_kv_store *store, uint64_t request, int32_t layer_begin, int32_t layer_end,
                       int64_t token_begin, int64_t token_end, void *payload, uint64_t payload_bytes,
                       struct td_kv_chunk *out_chunk) {
  struct td_kv_request *record = NULL;
  TD_TRY(td_kv_committed(store, request, &record));
  TD_TRY(check_layers(store, layer_begin, layer_end));
  TD_TRY(check_tokens(store, record, layer_end, token_begin, token_end));
  uint64_t bytes = td_kv_bytes(store->shape, store->dtype, layer_end - layer_begin, token_end - token_begin);
  if (payload_bytes != bytes) {
    return td_fail(TD_INTERNAL, "KV export: found a payload of %" PRIu64 " bytes, expected %" PRIu64, payload_bytes,
                   bytes);
  }
  struct td_kv_chunk chunk = {.layout = store->layout,
                              .request = request,
                              .layer_begin = (uint32_t)layer_begin,
                              .layer_end = (uint32_t)layer_end,
                              .token_begin = (uint64_t)token_begin,
                              .token_end = (uint64_t)token_end,
                              .payload_bytes = bytes};
  td_status status = enqueue_layers(store, record, &chunk, payload);
  td_status arrived = td_device_kv_exported(store->device); /* also after a failure: payload is the caller's again */
  if (status || arrived) return status ? status : arrived;
  chunk.payload_hash = td_hash(TD_HASH_INIT, payload, bytes);
  *out_chunk = chunk;
  return TD_OK;
}
