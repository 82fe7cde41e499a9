/* SPDX-License-Identifier: Apache-2.0
 *
 * KV caches as first-class objects: the paged store of a device, and what travels when a sequence is handed over.
 *
 * Reinterpreting KV bytes is the field's loudest bug: the output is wrong and nobody is told. So bytes never travel
 * without a td_kv_layout, the receiver learns the sender's layout and the request's tokens on a second road (from
 * the orchestrator), and a chunk that disagrees with either in any field is refused with that field named.
 */
#ifndef TANDEM_KV_H
#define TANDEM_KV_H

#include <stdbool.h>
#include <stdint.h>

#include "tandem/graph.h"

struct td_device;
struct td_buffer;

/* Order of the axes of one layer's K (or V) payload, slowest first. */
enum td_kv_order {
  TD_KV_TOKEN_HEAD_DIM = 1, /* canonical: what every backend exports by default */
  TD_KV_HEAD_TOKEN_DIM = 2,
  TD_KV_HEAD_DIM_TOKEN = 3 /* V stored transposed */
};
enum td_kv_position { TD_KV_POSITION_NONE = 1, TD_KV_POSITION_ROPE_APPLIED = 2 };

#define TD_KV_LAYOUT_VERSION 1u

/* How the payload bytes of a chunk are to be read. Fixed-width fields: this struct is also the wire record (little
 * endian). Byte strides are those within one layer's K (V) payload of a chunk; for orders in which a stride
 * depends on the chunk's token count, the stride is 0 and implied. */
struct td_kv_layout {
  uint32_t version;
  uint32_t dtype;                  /* enum td_dtype: TD_F32 or TD_F16 */
  uint32_t scale_granularity;      /* elements per scale; 0: unscaled */
  uint32_t k_order, v_order;       /* enum td_kv_order */
  uint32_t block_tokens;           /* the sender's KV block size; a chunk is whole blocks, but for the prompt's last */
  uint32_t head_begin, head_end;   /* KV heads contained */
  uint32_t layer_begin, layer_end; /* layers the sender owns */
  uint32_t head_dim;
  uint32_t position_encoding;             /* enum td_kv_position */
  uint64_t k_token_stride, k_head_stride; /* bytes */
  uint64_t v_token_stride, v_head_stride;
};

/* TD_OK if `got` equals `want` in every field; else TD_CORRUPT naming the first field, found and expected. */
td_status td_kv_layout_check(const struct td_kv_layout *got, const struct td_kv_layout *want);
/* The canonical layout of a store with these sizes. */
struct td_kv_layout td_kv_layout_canonical(const struct td_shape *shape, enum td_dtype dtype, int32_t block_tokens,
                                           int32_t layer_begin, int32_t layer_end);
/* TD_OK if payloads of `from` can be imported into a store described by `to`, converting axis order, dtype and block
 * size; TD_UNSUPPORTED naming the field that cannot be converted. Asked once, before the first hand-off. */
td_status td_kv_layout_convertible(const struct td_kv_layout *from, const struct td_kv_layout *to);

/* Header of the hand-off unit (request, layer range, token range). The payload follows: for each layer ascending, K
 * then V of the tokens, in the layout's order, without padding: exactly td_kv_bytes of them. Wire record. */
struct td_kv_chunk {
  struct td_kv_layout layout;
  uint64_t request;
  uint64_t generation; /* of the hand-off: a chunk of an older one is stale */
  uint32_t layer_begin, layer_end;
  uint64_t token_begin, token_end; /* positions */
  uint64_t prefix_hash;            /* td_hash over the int32 ids of positions 0 .. token_end-1 */
  uint64_t payload_bytes;
  uint64_t payload_hash; /* td_hash over the payload */
};

/* ---- the paged store of one device ---- */

struct td_kv_store;

/* Creates K and V pools for layers [layer_begin, layer_end) on `device`: per layer `blocks` blocks of `block_tokens`
 * positions in canonical order, [block][token][kv_head][dim]. Borrow `device` and `shape` until td_kv_store_close.
 * TD_EXHAUSTED with the arithmetic if the device has no room. Not thread-safe: one worker owns a store. */
td_status td_kv_store_open(struct td_device *device, const struct td_shape *shape, enum td_dtype dtype,
                           int32_t layer_begin, int32_t layer_end, int32_t block_tokens, int32_t blocks,
                           struct td_kv_store **out_store);
void td_kv_store_close(struct td_kv_store *store); /* NULL is fine */
const struct td_kv_layout *td_kv_store_layout(const struct td_kv_store *store);
int32_t td_kv_store_free_blocks(const struct td_kv_store *store);

/* Makes room for positions up to `tokens` of `request`, creating it on first use. TD_EXHAUSTED if blocks run out
 * (nothing is changed). */
td_status td_kv_reserve(struct td_kv_store *store, uint64_t request, int64_t tokens);
/* Positions written so far (by steps or by a committed import); 0 for an unknown request. */
int64_t td_kv_length(const struct td_kv_store *store, uint64_t request);
/* Records that positions up to `tokens` are written (a step has appended them). */
td_status td_kv_advance(struct td_kv_store *store, uint64_t request, int64_t tokens);
/* Drops positions from `tokens` on and frees whole blocks behind them (speculative decoding). */
td_status td_kv_truncate(struct td_kv_store *store, uint64_t request, int64_t tokens);
/* Forgets the request and frees its blocks, committed or not. Unknown requests are fine. */
void td_kv_release(struct td_kv_store *store, uint64_t request);
/* The request's block table; TD_PRECONDITION if unknown or its import is not committed. Borrowed until the next
 * change of this request. */
td_status td_kv_blocks(const struct td_kv_store *store, uint64_t request, const int32_t **out_blocks,
                       int32_t *out_count);

/* Copies positions [token_begin, token_end) of layers [layer_begin, layer_end) to `payload` (payload_bytes must be
 * td_kv_bytes) in the store's layout, and fills *out_chunk but for generation and prefix_hash. */
td_status td_kv_export(struct td_kv_store *store, uint64_t request, int32_t layer_begin, int32_t layer_end,
                       int64_t token_begin, int64_t token_end, void *payload, uint64_t payload_bytes,
                       struct td_kv_chunk *out_chunk);

/* What the receiver was told to expect by the orchestrator. `ids` are the prompt's token ids: the prefix hash of any
 * range follows from them. Borrowed during the call. */
struct td_kv_expect {
  uint64_t request, generation;
  int64_t tokens;             /* positions 0 .. tokens-1 will arrive, every layer of the store */
  const int32_t *ids;         /* [tokens] */
  struct td_kv_layout layout; /* the sender's, as declared when it opened */
};
/* Begins an import: reserves the blocks and remembers what must come. Until td_kv_import_commit the request is
 * invisible to steps. TD_PRECONDITION if the request exists; TD_UNSUPPORTED if the layout cannot be converted. */
td_status td_kv_import_begin(struct td_kv_store *store, const struct td_kv_expect *expect);
/* Takes one chunk, in any order. Every header field, the payload's size and hash are checked before a byte is written;
 * TD_CORRUPT (a field disagrees, named; a token or layer arrives twice) or TD_PRECONDITION (unknown request, stale
 * generation). A refused chunk changes nothing. *out_complete: everything has arrived. */
td_status td_kv_import(struct td_kv_store *store, const struct td_kv_chunk *chunk, const void *payload,
                       bool *out_complete);
/* Makes the request visible with length `tokens`; TD_PRECONDITION naming the first missing layer and token range. */
td_status td_kv_import_commit(struct td_kv_store *store, uint64_t request);

/* For backends that keep K and V elsewhere: the device buffers of one layer and the geometry. */
struct td_kv_view {
  struct td_buffer *k, *v; /* [blocks][block_tokens][kv_heads][head_dim] of dtype */
  enum td_dtype dtype;
  int32_t block_tokens, kv_heads, head_dim;
};
td_status td_kv_store_view(const struct td_kv_store *store, int32_t layer, struct td_kv_view *out_view);

#endif
