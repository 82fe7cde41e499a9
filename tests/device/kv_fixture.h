/* SPDX-License-Identifier: Apache-2.0
 *
 * A small KV store on the template device whose every element has a known value.
 */
#ifndef TESTS_KV_FIXTURE_H
#define TESTS_KV_FIXTURE_H

#include "support.h"
#include "tandem/base.h"
#include "tandem/device.h"
#include "tandem/kernels.h"

#define LAYERS 3
#define KV_HEADS 2
#define HEAD_DIM 4
#define WIDTH (KV_HEADS * HEAD_DIM)
#define CONTEXT 64

#define assert_ok(expr)                                   \
  do {                                                    \
    if (expr) fail_msg("%s: %s", #expr, td_error_text()); \
  } while (0)

/* `expr` must fail with `code` and say `words`. */
#define assert_refused(expr, code, words)                                                               \
  do {                                                                                                  \
    assert_int_equal(expr, code);                                                                       \
    if (!strstr(td_error_text(), words)) fail_msg("found '%s', expected '%s'", td_error_text(), words); \
  } while (0)

static const struct td_shape kv_shape = {.name = "kv",
                                         .layers = LAYERS,
                                         .hidden = 8,
                                         .heads = 4,
                                         .kv_heads = KV_HEADS,
                                         .head_dim = HEAD_DIM,
                                         .ffn = 8,
                                         .vocab = 100,
                                         .context = CONTEXT,
                                         .rope_dim = 4,
                                         .rope_theta = 10000,
                                         .norm_epsilon = 1e-5};

static inline struct td_device *open_template(void) {
  struct td_device *device = NULL;
  assert_ok(td_device_open("template", &(struct td_device_options){.threads = 1}, &device));
  return device;
}

static inline struct td_kv_store *open_store(struct td_device *device, enum td_dtype dtype, int32_t block_tokens,
                                             int32_t blocks) {
  struct td_kv_store *store = NULL;
  assert_ok(td_kv_store_open(device, &kv_shape, dtype, 0, LAYERS, block_tokens, blocks, &store));
  return store;
}

/* The value of an element: exact in float16, different for every place and salt. */
static inline float element(int salt, int layer, int half, int64_t position, int head, int dim) {
  int64_t n = ((((int64_t)layer * 2 + half) * CONTEXT + position) * KV_HEADS + head) * HEAD_DIM + dim + salt * 37;
  return (float)(n % 2039 - 1000) / 4.0f;
}

static inline void encode(enum td_dtype dtype, float value, char *out) {
  uint16_t half = td_float_to_half(value);
  if (dtype == TD_F16) {
    memcpy(out, &half, 2);
  } else {
    memcpy(out, &value, 4);
  }
}

static inline uint64_t element_bytes(enum td_dtype dtype) {
  return dtype == TD_F16 ? 2 : 4;
}

/* Byte offset of (position, first head) in a pool. */
static inline uint64_t pool_offset(const struct td_kv_view *view, const int32_t *blocks, int64_t position) {
  int64_t slot = (int64_t)blocks[position / view->block_tokens] * view->block_tokens + position % view->block_tokens;
  return (uint64_t)slot * WIDTH * element_bytes(view->dtype);
}

static inline void write_position(struct td_device *device, const struct td_kv_view *view, const int32_t *blocks,
                                  int salt, int layer, int64_t position) {
  for (int half = 0; half < 2; half++) {
    char row[WIDTH * 4];
    for (int i = 0; i < WIDTH; i++) {
      float value = element(salt, layer, half, position, i / HEAD_DIM, i % HEAD_DIM);
      encode(view->dtype, value, row + (uint64_t)i * element_bytes(view->dtype));
    }
    assert_ok(td_device_write(device, half ? view->v : view->k, pool_offset(view, blocks, position), row,
                              WIDTH * element_bytes(view->dtype)));
  }
}

/* A request with `tokens` positions of known values, as steps would have left it. */
static inline void fill(struct td_device *device, struct td_kv_store *store, uint64_t request, int64_t tokens,
                        int salt) {
  const int32_t *blocks = NULL;
  int32_t count = 0;
  assert_ok(td_kv_reserve(store, request, tokens));
  assert_ok(td_kv_blocks(store, request, &blocks, &count));
  for (int layer = 0; layer < LAYERS; layer++) {
    struct td_kv_view view;
    assert_ok(td_kv_store_view(store, layer, &view));
    for (int64_t position = 0; position < tokens; position++) {
      write_position(device, &view, blocks, salt, layer, position);
    }
  }
  assert_ok(td_kv_advance(store, request, tokens));
}

/* Does the store hold the known values at every position? */
static inline bool holds(struct td_device *device, const struct td_kv_store *store, uint64_t request, int64_t tokens,
                         int salt) {
  const int32_t *blocks = NULL;
  int32_t count = 0;
  assert_ok(td_kv_blocks(store, request, &blocks, &count));
  for (int layer = 0; layer < LAYERS; layer++) {
    struct td_kv_view view;
    assert_ok(td_kv_store_view(store, layer, &view));
    for (int64_t i = 0; i < tokens * WIDTH * 2; i++) {
      int64_t position = i / 2 / WIDTH;
      int half = (int)(i % 2), at = (int)(i / 2 % WIDTH);
      char found[4], want[4];
      uint64_t bytes = element_bytes(view.dtype);
      encode(view.dtype, element(salt, layer, half, position, at / HEAD_DIM, at % HEAD_DIM), want);
      assert_ok(td_device_read(device, half ? view.v : view.k,
                               pool_offset(&view, blocks, position) + (uint64_t)at * bytes, found, bytes));
      if (memcmp(found, want, bytes)) return false;
    }
  }
  return true;
}

/* Hash of everything a store's pools hold: "unchanged" is checked to the byte. */
static inline uint64_t pools_hash(struct td_device *device, const struct td_kv_store *store, int32_t blocks) {
  uint64_t hash = TD_HASH_INIT;
  for (int layer = 0; layer < LAYERS; layer++) {
    struct td_kv_view view;
    assert_ok(td_kv_store_view(store, layer, &view));
    uint64_t bytes = (uint64_t)blocks * (uint64_t)view.block_tokens * WIDTH * element_bytes(view.dtype);
    char *data = malloc(bytes);
    assert_non_null(data);
    assert_ok(td_device_read(device, view.k, 0, data, bytes));
    hash = td_hash(hash, data, bytes);
    assert_ok(td_device_read(device, view.v, 0, data, bytes));
    hash = td_hash(hash, data, bytes);
    free(data);
  }
  return hash;
}

#endif
