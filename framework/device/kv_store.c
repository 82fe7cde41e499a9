/* SPDX-License-Identifier: Apache-2.0
 *
 * The paged store: pools of blocks on the device, block tables and lengths of requests on the host. Blocks are handed
 * out last-freed-first, so the same calls give the same tables.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kv_private.h"
#include "tandem/base.h"

static int32_t layers_of(const struct td_kv_store *store) {
  return store->layer_end - store->layer_begin;
}

/* ---- open and close ---- */

static td_status check_sizes(const struct td_shape *shape, enum td_dtype dtype, int32_t layer_begin, int32_t layer_end,
                             int32_t block_tokens, int32_t blocks) {
  if (dtype != TD_F32 && dtype != TD_F16) return td_fail(TD_UNSUPPORTED, "KV dtype: expected f32 or f16");
  if (layer_begin < 0 || layer_end > shape->layers || layer_begin >= layer_end) {
    return td_fail(TD_CONFIG, "KV store: found layers [%d, %d), expected a range within [0, %d)", (int)layer_begin,
                   (int)layer_end, (int)shape->layers);
  }
  if (block_tokens < 1) return td_fail(TD_CONFIG, "KV block size: found %d, expected 1 or more", (int)block_tokens);
  if (blocks < 1) return td_fail(TD_CONFIG, "KV blocks: found %d, expected 1 or more", (int)blocks);
  return TD_OK;
}

static td_status pool_bytes(const struct td_kv_store *store, uint64_t *out_bytes) {
  uint64_t token = store->layout.k_token_stride, positions;
  if (!td_mul_size((uint64_t)store->blocks, (uint64_t)store->block_tokens, &positions) ||
      !td_mul_size(positions, token, out_bytes)) {
    return td_fail(TD_EXHAUSTED, "KV pool: %d blocks of %d positions of %" PRIu64 " bytes do not fit any memory",
                   (int)store->blocks, (int)store->block_tokens, token);
  }
  return TD_OK;
}

static td_status open_pools(struct td_kv_store *store) {
  uint64_t bytes;
  TD_TRY(pool_bytes(store, &bytes));
  int32_t pools = 2 * layers_of(store);
  for (int32_t i = 0; i < pools; i++) {
    td_status status = td_device_alloc(store->device, bytes, TD_USE_KV, &store->pools[i]);
    if (!status) continue;
    return td_fail_within(status, "KV: %d layers x 2 x %d blocks x %d positions x %" PRIu64 " bytes = %.3g bytes",
                          (int)layers_of(store), (int)store->blocks, (int)store->block_tokens,
                          store->layout.k_token_stride, (double)bytes * pools);
  }
  return TD_OK;
}

static td_status open_tables(struct td_kv_store *store) {
  void *pools, *free_blocks;
  TD_TRY(td_alloc((size_t)(2 * layers_of(store)), sizeof(struct td_buffer *), &pools));
  store->pools = pools;
  TD_TRY(td_alloc((size_t)store->blocks, sizeof(int32_t), &free_blocks));
  store->free_blocks = free_blocks;
  for (int32_t i = 0; i < store->blocks; i++) store->free_blocks[i] = store->blocks - 1 - i;
  store->free_count = store->blocks;
  return open_pools(store);
}

td_status td_kv_store_open(struct td_device *device, const struct td_shape *shape, enum td_dtype dtype,
                           int32_t layer_begin, int32_t layer_end, int32_t block_tokens, int32_t blocks,
                           struct td_kv_store **out_store) {
  TD_TRY(check_sizes(shape, dtype, layer_begin, layer_end, block_tokens, blocks));
  void *memory;
  TD_TRY(td_alloc(1, sizeof(struct td_kv_store), &memory));
  struct td_kv_store *store = memory;
  *store = (struct td_kv_store){.device = device,
                                .shape = shape,
                                .layout = td_kv_layout_canonical(shape, dtype, block_tokens, layer_begin, layer_end),
                                .dtype = dtype,
                                .layer_begin = layer_begin,
                                .layer_end = layer_end,
                                .block_tokens = block_tokens,
                                .blocks = blocks};
  td_status status = open_tables(store);
  if (status) {
    td_kv_store_close(store);
    return status;
  }
  *out_store = store;
  return TD_OK;
}

static void free_request(struct td_kv_request *request) {
  td_kv_import_free(request->import);
  free(request->blocks);
  free(request);
}

void td_kv_store_close(struct td_kv_store *store) {
  if (!store) return;
  for (size_t i = 0; i < store->request_count; i++) free_request(store->requests[i]);
  for (int32_t i = 0; store->pools && i < 2 * layers_of(store); i++) td_device_free(store->device, store->pools[i]);
  free(store->requests);
  free(store->pools);
  free(store->free_blocks);
  free(store->scratch);
  free(store);
}

const struct td_kv_layout *td_kv_store_layout(const struct td_kv_store *store) {
  return &store->layout;
}

int32_t td_kv_store_free_blocks(const struct td_kv_store *store) {
  return store->free_count;
}

td_status td_kv_store_view(const struct td_kv_store *store, int32_t layer, struct td_kv_view *out_view) {
  if (layer < store->layer_begin || layer >= store->layer_end) {
    return td_fail(TD_INTERNAL, "KV store: found layer %d, expected one of [%d, %d)", (int)layer,
                   (int)store->layer_begin, (int)store->layer_end);
  }
  struct td_buffer *const *pools = &store->pools[2 * (layer - store->layer_begin)];
  *out_view = (struct td_kv_view){.k = pools[0],
                                  .v = pools[1],
                                  .dtype = store->dtype,
                                  .block_tokens = store->block_tokens,
                                  .kv_heads = store->shape->kv_heads,
                                  .head_dim = store->shape->head_dim};
  return TD_OK;
}

/* ---- requests ---- */

static size_t lower_bound(const struct td_kv_store *store, uint64_t request) {
  size_t low = 0, high = store->request_count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (store->requests[middle]->id < request) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

struct td_kv_request *td_kv_find(const struct td_kv_store *store, uint64_t request) {
  size_t at = lower_bound(store, request);
  return at < store->request_count && store->requests[at]->id == request ? store->requests[at] : NULL;
}

td_status td_kv_obtain(struct td_kv_store *store, uint64_t request, struct td_kv_request **out_request) {
  *out_request = td_kv_find(store, request);
  if (*out_request) return TD_OK;
  void *requests = store->requests, *memory;
  TD_TRY(td_grow(&requests, &store->request_capacity, store->request_count + 1, sizeof *store->requests));
  store->requests = requests;
  TD_TRY(td_alloc(1, sizeof(struct td_kv_request), &memory));
  size_t at = lower_bound(store, request);
  memmove(&store->requests[at + 1], &store->requests[at], (store->request_count - at) * sizeof *store->requests);
  store->requests[at] = memory;
  store->request_count++;
  *out_request = memory;
  (*out_request)->id = request;
  return TD_OK;
}

static int64_t blocks_for(const struct td_kv_store *store, int64_t tokens) {
  return tokens / store->block_tokens + (tokens % store->block_tokens ? 1 : 0);
}

void td_kv_shrink(struct td_kv_store *store, struct td_kv_request *request, int64_t block_count) {
  while (request->block_count > block_count) {
    store->free_blocks[store->free_count++] = request->blocks[--request->block_count];
  }
}

td_status td_kv_grow(struct td_kv_store *store, struct td_kv_request *request, int64_t tokens) {
  int64_t need = blocks_for(store, tokens);
  if (need <= request->block_count) return TD_OK;
  if (need - request->block_count > store->free_count) {
    return td_fail(TD_EXHAUSTED,
                   "KV of request %" PRIu64 ": %" PRId64 " positions need %" PRId64 " more blocks of %d, found %d free",
                   request->id, tokens, need - request->block_count, (int)store->block_tokens, (int)store->free_count);
  }
  void *blocks = request->blocks;
  TD_TRY(td_grow(&blocks, &request->capacity, (size_t)need, sizeof *request->blocks));
  request->blocks = blocks;
  while (request->block_count < need) {
    request->blocks[request->block_count++] = store->free_blocks[--store->free_count];
  }
  return TD_OK;
}

td_status td_kv_committed(const struct td_kv_store *store, uint64_t request, struct td_kv_request **out_request) {
  struct td_kv_request *found = td_kv_find(store, request);
  if (!found) return td_fail(TD_PRECONDITION, "KV of request %" PRIu64 ": unknown to this store", request);
  if (found->import) {
    return td_fail(TD_PRECONDITION, "KV of request %" PRIu64 ": its import of generation %" PRIu64 " is not committed",
                   request, found->import->generation);
  }
  *out_request = found;
  return TD_OK;
}

td_status td_kv_reserve(struct td_kv_store *store, uint64_t request, int64_t tokens) {
  if (tokens < 0) return td_fail(TD_INTERNAL, "td_kv_reserve: %" PRId64 " positions", tokens);
  struct td_kv_request *record = td_kv_find(store, request);
  if (record) {
    TD_TRY(td_kv_committed(store, request, &record));
    return td_kv_grow(store, record, tokens);
  }
  TD_TRY(td_kv_obtain(store, request, &record));
  td_status status = td_kv_grow(store, record, tokens);
  if (status) td_kv_release(store, request);
  return status;
}

int64_t td_kv_length(const struct td_kv_store *store, uint64_t request) {
  const struct td_kv_request *record = td_kv_find(store, request);
  return record ? record->length : 0;
}

td_status td_kv_advance(struct td_kv_store *store, uint64_t request, int64_t tokens) {
  struct td_kv_request *record = NULL;
  TD_TRY(td_kv_committed(store, request, &record));
  int64_t room = (int64_t)record->block_count * store->block_tokens;
  if (tokens < record->length || tokens > room) {
    return td_fail(TD_PRECONDITION,
                   "KV of request %" PRIu64 ": advance to %" PRId64 ", expected %" PRId64 " to %" PRId64
                   " (written to reserved)",
                   request, tokens, record->length, room);
  }
  record->length = record->pending = tokens;
  return TD_OK;
}

td_status td_kv_truncate(struct td_kv_store *store, uint64_t request, int64_t tokens) {
  struct td_kv_request *record = NULL;
  TD_TRY(td_kv_committed(store, request, &record));
  if (tokens < 0 || tokens > record->length) {
    return td_fail(TD_PRECONDITION, "KV of request %" PRIu64 ": truncate to %" PRId64 ", expected 0 to %" PRId64,
                   request, tokens, record->length);
  }
  struct td_seq seq = {.request = request,
                       .past = tokens,
                       .tokens = record->length - tokens,
                       .blocks = record->blocks,
                       .block_count = record->block_count};
  for (int32_t layer = store->layer_begin; layer < store->layer_end; layer++) {
    struct td_kv_view view;
    TD_TRY(td_kv_store_view(store, layer, &view));
    TD_TRY(td_device_kv_truncate(store->device, &view, &seq));
  }
  record->length = record->pending = tokens;
  td_kv_shrink(store, record, blocks_for(store, tokens));
  return TD_OK;
}

void td_kv_release(struct td_kv_store *store, uint64_t request) {
  size_t at = lower_bound(store, request);
  if (at == store->request_count || store->requests[at]->id != request) return;
  td_kv_shrink(store, store->requests[at], 0);
  free_request(store->requests[at]);
  store->request_count--;
  memmove(&store->requests[at], &store->requests[at + 1], (store->request_count - at) * sizeof *store->requests);
}

td_status td_kv_blocks(const struct td_kv_store *store, uint64_t request, const int32_t **out_blocks,
                       int32_t *out_count) {
  struct td_kv_request *record = NULL;
  TD_TRY(td_kv_committed(store, request, &record));
  *out_blocks = record->blocks;
  *out_count = record->block_count;
  return TD_OK;
}
