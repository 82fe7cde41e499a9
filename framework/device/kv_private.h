/* SPDX-License-Identifier: Apache-2.0
 *
 * The paged KV store's insides, shared by the kv_*.c files and the runner.
 */
#ifndef TD_KV_PRIVATE_H
#define TD_KV_PRIVATE_H

#include "device_private.h"
#include "tandem/kv.h"

/* Strides of a payload, bytes; head = 0 where it depends on the chunk's token count. */
struct td_kv_strides {
  uint64_t token, head;
};
struct td_kv_strides td_kv_strides_of(const struct td_kv_layout *layout, uint32_t order);
/* Expands one layer's K (V) payload of `tokens` positions in `order` to canonical order in dtype `to`. */
void td_kv_convert(const struct td_kv_layout *layout, uint32_t order, uint64_t tokens, enum td_dtype to,
                   const char *src, char *dst);

/* An import under way: what must come and what has come. One unit is one sender's block of one layer. */
struct td_kv_import_state {
  uint64_t generation;
  int64_t tokens;
  struct td_kv_layout layout; /* the sender's */
  int64_t units;              /* sender's blocks: ceil(tokens / layout.block_tokens) */
  uint64_t *prefix_hashes;    /* [units]: td_hash over the ids up to the unit's end */
  uint8_t *arrived;           /* [layers of the store][units] */
  int64_t missing;            /* zeros in `arrived` */
};

struct td_kv_request {
  uint64_t id;
  int64_t length;  /* positions written in every layer */
  int64_t pending; /* positions that the step under way writes; = length between steps */
  int32_t *blocks;
  int32_t block_count;
  size_t capacity;
  struct td_kv_import_state *import; /* NULL: committed */
};

struct td_kv_store {
  struct td_device *device;
  const struct td_shape *shape;
  struct td_kv_layout layout;
  enum td_dtype dtype;
  int32_t layer_begin, layer_end, block_tokens, blocks;
  struct td_buffer **pools; /* [layers][2]: K, V */
  int32_t *free_blocks;     /* a stack */
  int32_t free_count;
  struct td_kv_request **requests; /* sorted by id */
  size_t request_count, request_capacity;
  int32_t step_layer_end; /* layers below it have written the step's pending positions */
  char *scratch;          /* import conversions */
  size_t scratch_bytes;
};

struct td_kv_request *td_kv_find(const struct td_kv_store *store, uint64_t request);
/* Finds or creates. */
td_status td_kv_obtain(struct td_kv_store *store, uint64_t request, struct td_kv_request **out_request);
/* Makes the block table cover `tokens` positions; TD_EXHAUSTED changes nothing. */
td_status td_kv_grow(struct td_kv_store *store, struct td_kv_request *request, int64_t tokens);
/* Frees the blocks behind the first `block_count`. */
void td_kv_shrink(struct td_kv_store *store, struct td_kv_request *request, int64_t block_count);
/* A known, committed request; else TD_PRECONDITION. */
td_status td_kv_committed(const struct td_kv_store *store, uint64_t request, struct td_kv_request **out_request);
void td_kv_import_free(struct td_kv_import_state *import);

/* The runner's step (kv_step.c): between begin and end, `pending` positions may be exported from layers below
 * step_layer_end. Begin reserves for every sequence or for none. */
struct td_kv_step {
  uint64_t request;
  int64_t past, tokens;
  int32_t blocks_before; /* -1: the request did not exist */
};
td_status td_kv_step_begin(struct td_kv_store *store, struct td_kv_step *steps, int32_t count);
void td_kv_step_layer(struct td_kv_store *store, int32_t layer);
/* Advances every sequence, or, when the step failed, takes everything back to before begin. */
void td_kv_step_end(struct td_kv_store *store, const struct td_kv_step *steps, int32_t count, bool failed);

#endif
