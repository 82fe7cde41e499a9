/* SPDX-License-Identifier: Apache-2.0
 *
 * KV on the device through the framework's store: what KV_APPEND wrote comes out by export, goes into another store by
 * import, and is gone after truncate. The record checks of a hand-off have tests of their own (tests/device).
 */
#include <inttypes.h>
#include <string.h>

#include "suite.h"
#include "tandem/base.h"

#define LAYERS 3
#define KV_HEADS 2
#define HEAD_DIM 24
#define WIDTH (KV_HEADS * HEAD_DIM)
#define MAX_TOKENS 64

static const struct td_shape shape = {.name = "conformance",
                                      .layers = LAYERS,
                                      .hidden = 4 * HEAD_DIM,
                                      .heads = 4,
                                      .kv_heads = KV_HEADS,
                                      .head_dim = HEAD_DIM,
                                      .ffn = 64,
                                      .vocab = 32,
                                      .context = MAX_TOKENS,
                                      .rope_dim = HEAD_DIM,
                                      .rope_theta = 10000.0,
                                      .norm_epsilon = 1e-5};

/* The value of an element, from its place and a seed alone. `part`: 0 for K, 1 for V. */
static float element(uint64_t seed, int32_t layer, int part, int64_t position, int64_t i) {
  uint64_t stream = (uint64_t)layer * 2 + (uint64_t)part;
  return (float)(2.0 * td_random_unit(seed, stream, (uint64_t)(position * WIDTH + i)) - 1.0);
}

static td_status append_layer(struct conform_run *run, struct td_kv_store *store, const struct td_batch *batch,
                              int32_t layer, uint64_t seed) {
  static const struct td_op op = {
      .kind = TD_OP_KV_APPEND, .rows = TD_ROWS_TOKENS, .kv_heads = KV_HEADS, .heads = KV_HEADS, .head_dim = HEAD_DIM};
  const struct td_seq *seq = batch->seqs;
  struct td_op_call call = {.op = &op, .batch = batch};
  TD_TRY(td_kv_store_view(store, layer, &call.kv));
  float *values;
  uint64_t bytes = (uint64_t)(seq->tokens * WIDTH) * sizeof *values;
  TD_TRY(conform_memory(run, (size_t)(seq->tokens * WIDTH), sizeof *values, &values));
  for (int part = 0; part < 2; part++) {
    for (int64_t i = 0; i < seq->tokens * WIDTH; i++) {
      values[i] = element(seed, layer, part, seq->past + i / WIDTH, i % WIDTH);
    }
    call.in[part] = (struct td_view){.dtype = TD_F32, .rows = seq->tokens, .cols = WIDTH};
    TD_TRY(conform_buffer(run, run->device, bytes, &call.in[part].buffer));
    TD_TRY(td_device_write(run->device, call.in[part].buffer, 0, values, bytes));
  }
  return td_device_op(run->device, &call);
}

/* Appends positions [begin, end) of every layer, as a step would. The batch must live until the device has read it, and
 * an export may overtake what is queued: it counts on the work that wrote its positions to be done. */
static td_status append(struct conform_run *run, struct td_kv_store *store, uint64_t request, int64_t begin,
                        int64_t end, uint64_t seed) {
  struct td_seq seq = {.request = request, .past = begin, .tokens = end - begin};
  TD_TRY(td_kv_reserve(store, request, end));
  TD_TRY(td_kv_blocks(store, request, &seq.blocks, &seq.block_count));
  struct td_batch batch = {.rows = seq.tokens, .seqs = &seq, .seq_count = 1};
  td_status status = TD_OK;
  for (int32_t layer = 0; layer < LAYERS && !status; layer++) status = append_layer(run, store, &batch, layer, seed);
  td_status synced = td_device_sync(run->device);
  TD_TRY(status);
  TD_TRY(synced);
  return td_kv_advance(store, request, end);
}

/* Is this the payload of positions [begin, end) of all layers, positions from `split` on made with another seed? */
static td_status check_payload(struct conform_run *run, enum td_dtype dtype, const unsigned char *payload,
                               int64_t begin, int64_t end, int64_t split, uint64_t seed, uint64_t later_seed) {
  uint64_t element_bytes = (uint64_t)td_dtype_info((uint32_t)dtype)->block_bytes;
  float values[WIDTH];
  unsigned char *want;
  TD_TRY(conform_memory(run, WIDTH, element_bytes, &want));
  for (int32_t layer = 0; layer < LAYERS; layer++) {
    for (int part = 0; part < 2; part++) {
      for (int64_t p = begin; p < end; p++, payload += WIDTH * element_bytes) {
        for (int i = 0; i < WIDTH; i++) values[i] = element(p < split ? seed : later_seed, layer, part, p, i);
        TD_TRY(td_quantize(dtype, values, want, WIDTH));
        CONFORM_CHECK(memcmp(payload, want, WIDTH * element_bytes) == 0,
                      "layer %d, %s, position %" PRId64 ": not the values that were appended", (int)layer,
                      part ? "V" : "K", p);
      }
    }
  }
  return TD_OK;
}

static td_status export_all(struct conform_run *run, struct td_kv_store *store, enum td_dtype dtype, uint64_t request,
                            int64_t begin, int64_t end, unsigned char **out_payload, struct td_kv_chunk *out_chunk) {
  uint64_t bytes = td_kv_bytes(&shape, dtype, LAYERS, end - begin);
  TD_TRY(conform_memory(run, (size_t)bytes, 1, out_payload));
  return td_kv_export(store, request, 0, LAYERS, begin, end, *out_payload, bytes, out_chunk);
}

static td_status check_store(struct conform_run *run, struct td_kv_store *store, enum td_dtype dtype, uint64_t request,
                             int64_t tokens, int64_t split, uint64_t seed, uint64_t later_seed) {
  unsigned char *payload;
  struct td_kv_chunk chunk;
  TD_TRY(export_all(run, store, dtype, request, 0, tokens, &payload, &chunk));
  return check_payload(run, dtype, payload, 0, tokens, split, seed, later_seed);
}

/* ---- the cases: bodies with their stores open ---- */

struct stores {
  struct td_kv_store *a, *b;
};

static td_status export_body(struct conform_run *run, const struct conform_params *p, struct stores *stores) {
  int64_t block = p->block_tokens;
  TD_TRY(append(run, stores->a, 1, 0, p->rows, 50));
  TD_TRY(check_store(run, stores->a, p->kv, 1, p->rows, p->rows, 50, 50));
  unsigned char *payload;
  struct td_kv_chunk chunk;
  if (p->rows <= block) return TD_OK;
  TD_TRY(export_all(run, stores->a, p->kv, 1, block, p->rows, &payload, &chunk));
  return check_payload(run, p->kv, payload, block, p->rows, p->rows, 50, 50);
}

/* Two requests that grow by turns share no position. */
static td_status interleave_body(struct conform_run *run, const struct conform_params *p, struct stores *stores) {
  for (int64_t at = 0; at < p->rows; at += 5) {
    int64_t end = at + 5 < p->rows ? at + 5 : p->rows;
    TD_TRY(append(run, stores->a, 1, at, end, 60));
    TD_TRY(append(run, stores->a, 2, at, end, 61));
  }
  TD_TRY(check_store(run, stores->a, p->kv, 1, p->rows, p->rows, 60, 60));
  return check_store(run, stores->a, p->kv, 2, p->rows, p->rows, 61, 61);
}

/* One layer's share of positions [begin, end) from store a to store b. */
static td_status hand_over(struct conform_run *run, const struct conform_params *p, struct stores *stores,
                           int32_t layer, int64_t begin, int64_t end, const int32_t *ids, bool *out_complete) {
  unsigned char *payload;
  struct td_kv_chunk chunk;
  uint64_t bytes = td_kv_bytes(&shape, p->kv, 1, end - begin);
  TD_TRY(conform_memory(run, (size_t)bytes, 1, &payload));
  TD_TRY(td_kv_export(stores->a, 1, layer, layer + 1, begin, end, payload, bytes, &chunk));
  chunk.generation = 1;
  chunk.prefix_hash = td_hash(TD_HASH_INIT, ids, (size_t)end * sizeof *ids);
  return td_kv_import(stores->b, &chunk, payload, out_complete);
}

static td_status import_body(struct conform_run *run, const struct conform_params *p, struct stores *stores) {
  int32_t ids[MAX_TOKENS];
  bool complete = false;
  for (int32_t i = 0; i < MAX_TOKENS; i++) ids[i] = i * 3 % 32;
  TD_TRY(append(run, stores->a, 1, 0, p->rows, 70));
  struct td_kv_expect expect = {
      .request = 1, .generation = 1, .tokens = p->rows, .ids = ids, .layout = *td_kv_store_layout(stores->a)};
  TD_TRY(td_kv_import_begin(stores->b, &expect));
  int64_t half = p->rows / 2 / p->block_tokens * p->block_tokens;
  for (int32_t layer = LAYERS - 1; layer >= 0; layer--) { /* any order will do */
    TD_TRY(hand_over(run, p, stores, layer, half, p->rows, ids, &complete));
    CONFORM_CHECK(!complete || half == 0, "an import said complete too early");
    if (half) TD_TRY(hand_over(run, p, stores, layer, 0, half, ids, &complete));
  }
  CONFORM_CHECK(complete, "an import with every chunk said incomplete");
  TD_TRY(td_kv_import_commit(stores->b, 1));
  CONFORM_CHECK(td_kv_length(stores->b, 1) == p->rows, "length after import: found %" PRId64 ", expected %" PRId64,
                td_kv_length(stores->b, 1), p->rows);
  TD_TRY(check_store(run, stores->b, p->kv, 1, p->rows, p->rows, 70, 70));
  TD_TRY(append(run, stores->b, 1, p->rows, p->rows + 3, 71)); /* decoding goes on there */
  return check_store(run, stores->b, p->kv, 1, p->rows + 3, p->rows, 70, 71);
}

/* Positions from `past` on are dropped and written anew. */
static td_status truncate_body(struct conform_run *run, const struct conform_params *p, struct stores *stores) {
  TD_TRY(append(run, stores->a, 1, 0, p->rows, 80));
  int32_t free_before = td_kv_store_free_blocks(stores->a);
  TD_TRY(td_kv_truncate(stores->a, 1, p->past));
  CONFORM_CHECK(td_kv_length(stores->a, 1) == p->past, "length after truncate: found %" PRId64 ", expected %" PRId64,
                td_kv_length(stores->a, 1), p->past);
  CONFORM_CHECK(td_kv_store_free_blocks(stores->a) >= free_before, "truncate took blocks");
  if (p->past) TD_TRY(check_store(run, stores->a, p->kv, 1, p->past, p->past, 80, 80));
  TD_TRY(append(run, stores->a, 1, p->past, p->rows, 81));
  return check_store(run, stores->a, p->kv, 1, p->rows, p->past, 80, 81);
}

/* ---- opening and closing around a body ---- */

typedef td_status (*kv_body)(struct conform_run *, const struct conform_params *, struct stores *);

static td_status with_stores(struct conform_run *run, const struct conform_case *test, kv_body body) {
  static const struct td_op op = {
      .kind = TD_OP_KV_APPEND, .kv_heads = KV_HEADS, .heads = KV_HEADS, .head_dim = HEAD_DIM};
  const struct conform_params *p = &test->p;
  struct stores stores = {0};
  TD_TRY(conform_supported(run, &op, TD_F32, p->kv));
  td_status status = td_kv_store_open(run->device, &shape, p->kv, 0, LAYERS, p->block_tokens, 70, &stores.a);
  if (!status) {
    int32_t other_block = p->count ? (int32_t)p->count : p->block_tokens;
    status = td_kv_store_open(run->device, &shape, p->kv, 0, LAYERS, other_block, 70, &stores.b);
  }
  if (!status) status = body(run, p, &stores);
  td_kv_store_close(stores.b);
  td_kv_store_close(stores.a);
  return status;
}

static td_status run_export(struct conform_run *run, const struct conform_case *test) {
  return with_stores(run, test, export_body);
}
static td_status run_interleave(struct conform_run *run, const struct conform_case *test) {
  return with_stores(run, test, interleave_body);
}
static td_status run_import(struct conform_run *run, const struct conform_case *test) {
  return with_stores(run, test, import_body);
}
static td_status run_truncate(struct conform_run *run, const struct conform_case *test) {
  return with_stores(run, test, truncate_body);
}

void conform_list_kv(struct conform_list *list) {
  static const enum td_dtype types[] = {TD_F32, TD_F16};
  static const int32_t blocks[][2] = {{16, 16}, {32, 7}, {4, 16}, {1, 5}};
  for (int t = 0; t < 2; t++) {
    struct conform_params p = {.kv = types[t], .rows = 37};
    const char *type = td_dtype_info((uint32_t)p.kv)->name;
    for (int i = 0; i < 4; i++) {
      p.block_tokens = blocks[i][0];
      p.count = 0;
      conform_add_operator(list, run_export, &p, p.kv, "kv_export/%s/tokens=37,block=%d", type, p.block_tokens);
      p.count = blocks[i][1];
      conform_add_operator(list, run_import, &p, p.kv, "kv_import/%s/tokens=37,block=%d,into=%d", type, p.block_tokens,
                           (int)p.count);
    }
    p.count = 0;
    p.block_tokens = 4;
    conform_add_operator(list, run_interleave, &p, p.kv, "kv_interleave/%s/tokens=37,block=4", type);
    for (p.past = 0; p.past <= 36; p.past += 12) {
      conform_add_operator(list, run_truncate, &p, p.kv, "kv_truncate/%s/tokens=37,to=%" PRId64 ",block=4", type,
                           p.past);
    }
  }
}
