/* SPDX-License-Identifier: Apache-2.0
 *
 * Taking chunks in. The expectation came on another road than the bytes; nothing is written before every field of the
 * header, the payload's size and its hash agree with it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "kv_private.h"
#include "tandem/base.h"

/* ---- begin ---- */

void td_kv_import_free(struct td_kv_import_state *import) {
  if (!import) return;
  free(import->prefix_hashes);
  free(import->arrived);
  free(import);
}

/* Where the i-th unit (sender's block) ends. */
static int64_t unit_end(const struct td_kv_import_state *import, int64_t unit) {
  int64_t end = (unit + 1) * import->layout.block_tokens;
  return end < import->tokens ? end : import->tokens;
}

static void hash_prefixes(struct td_kv_import_state *import, const int32_t *ids) {
  uint64_t hash = TD_HASH_INIT;
  int64_t done = 0;
  for (int64_t unit = 0; unit < import->units; unit++) {
    int64_t end = unit_end(import, unit);
    hash = td_hash(hash, ids + done, (size_t)(end - done) * sizeof *ids);
    import->prefix_hashes[unit] = hash;
    done = end;
  }
}

static td_status fill_state(const struct td_kv_store *store, const struct td_kv_expect *expect,
                            struct td_kv_import_state *import) {
  int64_t layers = store->layer_end - store->layer_begin, block = expect->layout.block_tokens;
  import->generation = expect->generation;
  import->tokens = expect->tokens;
  import->layout = expect->layout;
  import->units = expect->tokens / block + (expect->tokens % block ? 1 : 0);
  import->missing = layers * import->units;
  void *hashes, *arrived;
  TD_TRY(td_alloc((size_t)import->units, sizeof(uint64_t), &hashes));
  import->prefix_hashes = hashes;
  TD_TRY(td_alloc((size_t)import->missing, 1, &arrived));
  import->arrived = arrived;
  hash_prefixes(import, expect->ids);
  return TD_OK;
}

static td_status check_expect(const struct td_kv_store *store, const struct td_kv_expect *expect) {
  if (td_kv_find(store, expect->request)) {
    return td_fail(TD_PRECONDITION, "KV import: request %" PRIu64 " is already in this store", expect->request);
  }
  if (expect->tokens < 1 || expect->tokens > store->shape->context) {
    return td_fail(TD_PRECONDITION, "KV import of request %" PRIu64 ": found %" PRId64 " positions, expected 1 to %d",
                   expect->request, expect->tokens, (int)store->shape->context);
  }
  return td_kv_layout_convertible(&expect->layout, &store->layout);
}

td_status td_kv_import_begin(struct td_kv_store *store, const struct td_kv_expect *expect) {
  TD_TRY(check_expect(store, expect));
  void *import;
  TD_TRY(td_alloc(1, sizeof(struct td_kv_import_state), &import));
  struct td_kv_request *request = NULL;
  td_status status = fill_state(store, expect, import);
  if (!status) status = td_kv_obtain(store, expect->request, &request);
  if (status) {
    td_kv_import_free(import);
    return status;
  }
  request->import = import;
  status = td_kv_grow(store, request, expect->tokens);
  if (status) td_kv_release(store, expect->request);
  return status;
}

/* ---- one chunk ---- */

static td_status find_import(const struct td_kv_store *store, uint64_t request, struct td_kv_request **out_request) {
  struct td_kv_request *record = td_kv_find(store, request);
  if (!record || !record->import) {
    return td_fail(TD_PRECONDITION, "KV chunk field request: found %" PRIu64 ", expected one with an import under way",
                   request);
  }
  *out_request = record;
  return TD_OK;
}

static td_status refuse(const char *field, uint64_t found, const char *relation, uint64_t expected) {
  return td_fail(TD_CORRUPT, "KV chunk field %s: found %" PRIu64 ", expected %s%" PRIu64, field, found, relation,
                 expected);
}

static td_status check_layers(const struct td_kv_store *store, const struct td_kv_chunk *chunk) {
  uint64_t begin = (uint64_t)store->layer_begin, end = (uint64_t)store->layer_end;
  if (chunk->layer_begin < begin) return refuse("layer_begin", chunk->layer_begin, "at least ", begin);
  if (chunk->layer_begin >= end) return refuse("layer_begin", chunk->layer_begin, "less than ", end);
  if (chunk->layer_end > end) return refuse("layer_end", chunk->layer_end, "at most ", end);
  if (chunk->layer_end <= chunk->layer_begin) {
    return refuse("layer_end", chunk->layer_end, "more than layer_begin ", chunk->layer_begin);
  }
  return TD_OK;
}

/* Chunks consist of whole sender's blocks; only the last block may be short. */
static td_status check_tokens(const struct td_kv_import_state *import, const struct td_kv_chunk *chunk) {
  uint64_t block = import->layout.block_tokens, tokens = (uint64_t)import->tokens;
  if (chunk->token_begin >= tokens) return refuse("token_begin", chunk->token_begin, "less than ", tokens);
  if (chunk->token_begin % block) return refuse("token_begin", chunk->token_begin, "a multiple of ", block);
  if (chunk->token_end > tokens) return refuse("token_end", chunk->token_end, "at most ", tokens);
  if (chunk->token_end <= chunk->token_begin) {
    return refuse("token_end", chunk->token_end, "more than token_begin ", chunk->token_begin);
  }
  if (chunk->token_end % block && chunk->token_end != tokens) {
    return refuse("token_end", chunk->token_end, "a whole block or the last position, ", tokens);
  }
  return TD_OK;
}

/* The size follows from four fields; which of the five is wrong cannot be told, so the line shows them all. */
static td_status refuse_size(const struct td_kv_chunk *chunk, uint64_t bytes) {
  return td_fail(TD_CORRUPT,
                 "KV chunk field payload_bytes: found %" PRIu64 ", expected %" PRIu64
                 " (layer_begin %u, layer_end %u, token_begin %" PRIu64 ", token_end %" PRIu64 ")",
                 chunk->payload_bytes, bytes, (unsigned)chunk->layer_begin, (unsigned)chunk->layer_end,
                 chunk->token_begin, chunk->token_end);
}

static td_status check_payload(const struct td_kv_store *store, const struct td_kv_import_state *import,
                               const struct td_kv_chunk *chunk, const void *payload) {
  int64_t last = (int64_t)((chunk->token_end - 1) / import->layout.block_tokens);
  if (chunk->prefix_hash != import->prefix_hashes[last]) {
    return td_fail(TD_CORRUPT,
                   "KV chunk field prefix_hash: found %016" PRIx64 ", expected %016" PRIx64 " for token_end %" PRIu64
                   "; these are positions of another prompt",
                   chunk->prefix_hash, import->prefix_hashes[last], chunk->token_end);
  }
  uint64_t bytes = td_kv_bytes(store->shape, (enum td_dtype)import->layout.dtype, chunk->layer_end - chunk->layer_begin,
                               (int64_t)(chunk->token_end - chunk->token_begin));
  if (chunk->payload_bytes != bytes) return refuse_size(chunk, bytes);
  uint64_t hash = td_hash(TD_HASH_INIT, payload, bytes);
  if (chunk->payload_hash == hash) return TD_OK;
  return td_fail(TD_CORRUPT,
                 "KV chunk field payload_hash: found %016" PRIx64 ", expected %016" PRIx64
                 ", the hash of the payload's bytes",
                 chunk->payload_hash, hash);
}

static uint8_t *arrived_row(const struct td_kv_store *store, const struct td_kv_import_state *import, uint32_t layer) {
  return import->arrived + ((int64_t)layer - store->layer_begin) * import->units;
}

static td_status check_duplicate(const struct td_kv_store *store, const struct td_kv_import_state *import,
                                 const struct td_kv_chunk *chunk) {
  uint64_t block = import->layout.block_tokens;
  for (uint32_t layer = chunk->layer_begin; layer < chunk->layer_end; layer++) {
    const uint8_t *arrived = arrived_row(store, import, layer);
    for (uint64_t unit = chunk->token_begin / block; unit * block < chunk->token_end; unit++) {
      if (!arrived[unit]) continue;
      return td_fail(TD_CORRUPT,
                     "KV chunk fields layer_begin, token_begin: layer %u, positions from %" PRIu64 " arrive twice",
                     (unsigned)layer, unit * block);
    }
  }
  return TD_OK;
}

static td_status check_chunk(const struct td_kv_store *store, const struct td_kv_import_state *import,
                             const struct td_kv_chunk *chunk, const void *payload) {
  if (chunk->generation != import->generation) {
    return td_fail(TD_PRECONDITION,
                   "KV chunk field generation: found %" PRIu64 ", expected %" PRIu64 "; the chunk is stale",
                   chunk->generation, import->generation);
  }
  TD_TRY(td_kv_layout_check(&chunk->layout, &import->layout));
  TD_TRY(check_layers(store, chunk));
  TD_TRY(check_tokens(import, chunk));
  TD_TRY(check_payload(store, import, chunk, payload));
  return check_duplicate(store, import, chunk);
}

/* ---- writing ---- */

static td_status reserve_scratch(struct td_kv_store *store, uint64_t bytes) {
  if (bytes <= store->scratch_bytes) return TD_OK;
  void *scratch;
  TD_TRY(td_alloc(bytes, 1, &scratch));
  free(store->scratch);
  store->scratch = scratch;
  store->scratch_bytes = bytes;
  return TD_OK;
}

/* One layer's K and V in canonical order and the store's dtype: the payload itself where it already is. */
static td_status canonical_layer(struct td_kv_store *store, const struct td_kv_layout *from, uint64_t tokens,
                                 const char *payload, const char *out_halves[2]) {
  uint64_t elements = tokens * (from->head_end - from->head_begin) * from->head_dim;
  uint64_t from_bytes = elements * (from->dtype == TD_F16 ? 2 : 4);
  uint64_t to_bytes = elements * (store->dtype == TD_F16 ? 2 : 4);
  const uint32_t orders[2] = {from->k_order, from->v_order};
  bool identical = from->dtype == (uint32_t)store->dtype;
  if (!identical || orders[0] != TD_KV_TOKEN_HEAD_DIM || orders[1] != TD_KV_TOKEN_HEAD_DIM) {
    TD_TRY(reserve_scratch(store, 2 * to_bytes));
  }
  for (int half = 0; half < 2; half++) {
    out_halves[half] = payload + (uint64_t)half * from_bytes;
    if (identical && orders[half] == TD_KV_TOKEN_HEAD_DIM) continue;
    char *converted = store->scratch + (uint64_t)half * to_bytes;
    td_kv_convert(from, orders[half], tokens, store->dtype, out_halves[half], converted);
    out_halves[half] = converted;
  }
  return TD_OK;
}

static td_status write_layers(struct td_kv_store *store, const struct td_kv_request *request,
                              const struct td_kv_chunk *chunk, const char *payload) {
  uint64_t tokens = chunk->token_end - chunk->token_begin;
  uint64_t layer_bytes = chunk->payload_bytes / (chunk->layer_end - chunk->layer_begin);
  struct td_seq seq = {.request = request->id,
                       .past = (int64_t)chunk->token_begin,
                       .tokens = (int64_t)tokens,
                       .blocks = request->blocks,
                       .block_count = request->block_count};
  for (uint32_t layer = chunk->layer_begin; layer < chunk->layer_end; layer++) {
    const char *halves[2];
    struct td_kv_view view;
    TD_TRY(td_kv_store_view(store, (int32_t)layer, &view));
    TD_TRY(canonical_layer(store, &request->import->layout, tokens, payload, halves));
    TD_TRY(td_device_kv_import(store->device, &view, &seq, halves[0], halves[1]));
    payload += layer_bytes;
  }
  return TD_OK;
}

static void mark_arrived(const struct td_kv_store *store, struct td_kv_import_state *import,
                         const struct td_kv_chunk *chunk) {
  uint64_t block = import->layout.block_tokens;
  for (uint32_t layer = chunk->layer_begin; layer < chunk->layer_end; layer++) {
    uint8_t *arrived = arrived_row(store, import, layer);
    for (uint64_t unit = chunk->token_begin / block; unit * block < chunk->token_end; unit++) {
      arrived[unit] = 1;
      import->missing--;
    }
  }
}

td_status td_kv_import(struct td_kv_store *store, const struct td_kv_chunk *chunk, const void *payload,
                       bool *out_complete) {
  struct td_kv_request *request = NULL;
  TD_TRY(find_import(store, chunk->request, &request));
  td_status status = check_chunk(store, request->import, chunk, payload);
  if (status) return td_fail_within(status, "KV import of request %" PRIu64, chunk->request);
  TD_TRY(write_layers(store, request, chunk, payload));
  mark_arrived(store, request->import, chunk);
  *out_complete = request->import->missing == 0;
  return TD_OK;
}

/* ---- commit ---- */

static td_status name_missing(const struct td_kv_store *store, const struct td_kv_request *request) {
  const struct td_kv_import_state *import = request->import;
  for (int32_t layer = store->layer_begin; layer < store->layer_end; layer++) {
    const uint8_t *arrived = arrived_row(store, import, (uint32_t)layer);
    const uint8_t *hole = memchr(arrived, 0, (size_t)import->units);
    if (!hole) continue;
    int64_t first = hole - arrived, end = first;
    while (end < import->units && !arrived[end]) end++;
    return td_fail(TD_PRECONDITION,
                   "KV commit of request %" PRIu64 ": layer %d, positions [%" PRId64 ", %" PRId64 ") are missing",
                   request->id, (int)layer, first * import->layout.block_tokens, unit_end(import, end - 1));
  }
  return TD_OK;
}

td_status td_kv_import_commit(struct td_kv_store *store, uint64_t request) {
  struct td_kv_request *record = NULL;
  TD_TRY(find_import(store, request, &record));
  TD_TRY(name_missing(store, record));
  TD_TRY(td_device_sync(store->device));
  record->length = record->pending = record->import->tokens;
  td_kv_import_free(record->import);
  record->import = NULL;
  return TD_OK;
}
