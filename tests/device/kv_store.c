/* SPDX-License-Identifier: Apache-2.0
 *
 * The paged store: paging, truncation, release, export, and imports through every conversion.
 */
#include "kv_fixture.h"

static void test_paging(void **state) {
  (void)state;
  struct td_device *device = open_template();
  struct td_kv_store *store = open_store(device, TD_F32, 4, 8);
  const int32_t *a = NULL, *b = NULL;
  int32_t a_count = 0, b_count = 0;
  assert_int_equal(td_kv_store_free_blocks(store), 8);
  assert_ok(td_kv_reserve(store, 1, 5));
  assert_ok(td_kv_reserve(store, 2, 4));
  assert_ok(td_kv_reserve(store, 1, 13));
  assert_ok(td_kv_blocks(store, 1, &a, &a_count));
  assert_ok(td_kv_blocks(store, 2, &b, &b_count));
  assert_int_equal(a_count, 4);
  assert_int_equal(b_count, 1);
  for (int32_t i = 0; i < a_count; i++) assert_int_not_equal(a[i], b[0]);
  assert_int_equal(td_kv_store_free_blocks(store), 3);
  assert_refused(td_kv_reserve(store, 3, 13), TD_EXHAUSTED, "4 more blocks of 4, found 3 free");
  assert_refused(td_kv_reserve(store, 2, 17), TD_EXHAUSTED, "found 3 free");
  assert_int_equal(td_kv_store_free_blocks(store), 3);
  assert_refused(td_kv_blocks(store, 3, &a, &a_count), TD_PRECONDITION, "request 3");
  td_kv_store_close(store);
  td_device_close(device);
}

static void test_lengths(void **state) {
  (void)state;
  struct td_device *device = open_template();
  struct td_kv_store *store = open_store(device, TD_F16, 4, 8);
  assert_int_equal(td_kv_length(store, 9), 0);
  assert_refused(td_kv_advance(store, 9, 1), TD_PRECONDITION, "request 9");
  fill(device, store, 9, 10, 1);
  assert_int_equal(td_kv_length(store, 9), 10);
  assert_refused(td_kv_advance(store, 9, 13), TD_PRECONDITION, "expected 10 to 12");
  assert_refused(td_kv_advance(store, 9, 9), TD_PRECONDITION, "expected 10 to 12");
  assert_refused(td_kv_truncate(store, 9, 11), TD_PRECONDITION, "expected 0 to 10");
  assert_ok(td_kv_truncate(store, 9, 8));
  assert_int_equal(td_kv_length(store, 9), 8);
  assert_int_equal(td_kv_store_free_blocks(store), 6);
  assert_true(holds(device, store, 9, 8, 1));
  assert_ok(td_kv_truncate(store, 9, 3));
  assert_int_equal(td_kv_store_free_blocks(store), 7);
  td_kv_release(store, 9);
  td_kv_release(store, 9);
  assert_int_equal(td_kv_length(store, 9), 0);
  assert_int_equal(td_kv_store_free_blocks(store), 8);
  td_kv_store_close(store);
  td_device_close(device);
}

/* Many requests coming and going never share a block. */
static void test_reuse(void **state) {
  (void)state;
  struct td_device *device = open_template();
  struct td_kv_store *store = open_store(device, TD_F32, 2, 16);
  for (uint64_t round = 0; round < 40; round++) {
    uint64_t request = td_random(7, 0, round) % 6;
    td_kv_release(store, request);
    if (td_kv_store_free_blocks(store) >= 4)
      fill(device, store, request, 1 + (int64_t)(td_random(7, 1, round) % 7), (int)request);
    for (uint64_t other = 0; other < 6; other++) {
      int64_t length = td_kv_length(store, other);
      if (length) assert_true(holds(device, store, other, length, (int)other));
    }
  }
  td_kv_store_close(store);
  td_device_close(device);
}

static void test_sizes(void **state) {
  (void)state;
  struct td_device *device = open_template();
  struct td_kv_store *store = NULL;
  assert_refused(td_kv_store_open(device, &kv_shape, TD_Q8_0, 0, 3, 4, 4, &store), TD_UNSUPPORTED, "dtype");
  assert_refused(td_kv_store_open(device, &kv_shape, TD_F32, 0, 4, 4, 4, &store), TD_CONFIG, "layers [0, 4)");
  assert_refused(td_kv_store_open(device, &kv_shape, TD_F32, 2, 2, 4, 4, &store), TD_CONFIG, "layers [2, 2)");
  assert_refused(td_kv_store_open(device, &kv_shape, TD_F32, 0, 3, 0, 4, &store), TD_CONFIG, "block size");
  assert_refused(td_kv_store_open(device, &kv_shape, TD_F32, 0, 3, 4, 0, &store), TD_CONFIG, "blocks");
  td_device_close(device);
}

/* ---- export ---- */

static void test_export(void **state) {
  (void)state;
  struct td_device *device = open_template();
  struct td_kv_store *store = open_store(device, TD_F32, 4, 8);
  struct td_kv_chunk chunk;
  static float payload[2 * 2 * 3 * WIDTH];
  fill(device, store, 5, 11, 2);
  assert_int_equal(sizeof payload, td_kv_bytes(&kv_shape, TD_F32, 2, 3));
  assert_int_equal(sizeof payload, 2 * 2 * KV_HEADS * HEAD_DIM * 4 * 3);
  assert_ok(td_kv_export(store, 5, 1, 3, 8, 11, payload, sizeof payload, &chunk));
  assert_int_equal(chunk.payload_bytes, sizeof payload);
  assert_int_equal(chunk.payload_hash, td_hash(TD_HASH_INIT, payload, sizeof payload));
  assert_ok(td_kv_layout_check(&chunk.layout, td_kv_store_layout(store)));
  for (int i = 0; i < 2 * 2 * 3 * WIDTH; i++) {
    int layer = 1 + i / (2 * 3 * WIDTH), half = i / (3 * WIDTH) % 2, at = i % WIDTH;
    assert_true(payload[i] == element(2, layer, half, 8 + i / WIDTH % 3, at / HEAD_DIM, at % HEAD_DIM));
  }
  assert_refused(td_kv_export(store, 5, 1, 3, 8, 12, payload, sizeof payload, &chunk), TD_PRECONDITION, "[0, 11)");
  assert_refused(td_kv_export(store, 5, 1, 4, 8, 11, payload, sizeof payload, &chunk), TD_PRECONDITION,
                 "layers [1, 4)");
  assert_refused(td_kv_export(store, 5, 1, 3, 7, 10, payload, sizeof payload, &chunk), TD_PRECONDITION,
                 "token_begin 7");
  assert_refused(td_kv_export(store, 5, 1, 3, 8, 11, payload, 5, &chunk), TD_INTERNAL, "5 bytes");
  assert_refused(td_kv_export(store, 6, 1, 3, 8, 11, payload, sizeof payload, &chunk), TD_PRECONDITION, "request 6");
  td_kv_store_close(store);
  td_device_close(device);
}

/* ---- import ---- */

/* A sender that is not ours: writes its payload by its own formula. */
static uint64_t foreign_place(uint32_t order, uint64_t tokens, uint64_t token, uint64_t head, uint64_t dim) {
  switch (order) {
    case TD_KV_TOKEN_HEAD_DIM:
      return token * WIDTH + head * HEAD_DIM + dim;
    case TD_KV_HEAD_TOKEN_DIM:
      return head * tokens * HEAD_DIM + token * HEAD_DIM + dim;
    default:
      return head * HEAD_DIM * tokens + dim * tokens + token;
  }
}

static struct td_kv_layout foreign_layout(enum td_dtype dtype, uint32_t k_order, uint32_t v_order, int32_t block) {
  struct td_kv_layout layout = td_kv_layout_canonical(&kv_shape, dtype, block, 0, LAYERS);
  uint64_t bytes = element_bytes(dtype);
  const uint64_t token_stride[] = {0, WIDTH * bytes, HEAD_DIM * bytes, bytes};
  const uint64_t head_stride[] = {0, HEAD_DIM * bytes, 0, 0};
  layout.k_order = k_order;
  layout.v_order = v_order;
  layout.k_token_stride = token_stride[k_order];
  layout.v_token_stride = token_stride[v_order];
  layout.k_head_stride = head_stride[k_order];
  layout.v_head_stride = head_stride[v_order];
  return layout;
}

static void foreign_layer(const struct td_kv_layout *layout, int layer, int64_t begin, int64_t end, char *out) {
  uint64_t bytes = element_bytes((enum td_dtype)layout->dtype), tokens = (uint64_t)(end - begin);
  for (int half = 0; half < 2; half++) {
    uint32_t order = half ? layout->v_order : layout->k_order;
    for (uint64_t i = 0; i < tokens * WIDTH; i++) {
      uint64_t token = i / WIDTH, head = i % WIDTH / HEAD_DIM, dim = i % HEAD_DIM;
      encode((enum td_dtype)layout->dtype, element(3, layer, half, begin + (int64_t)token, (int)head, (int)dim),
             out + ((uint64_t)half * tokens * WIDTH + foreign_place(order, tokens, token, head, dim)) * bytes);
    }
  }
}

static void send(struct td_kv_store *store, const struct td_kv_expect *expect, int layer, int64_t begin, int64_t end,
                 bool *complete) {
  static char payload[2 * CONTEXT * WIDTH * 4];
  struct td_kv_chunk chunk = {.layout = expect->layout,
                              .request = expect->request,
                              .generation = expect->generation,
                              .layer_begin = (uint32_t)layer,
                              .layer_end = (uint32_t)layer + 1,
                              .token_begin = (uint64_t)begin,
                              .token_end = (uint64_t)end,
                              .prefix_hash = td_hash(TD_HASH_INIT, expect->ids, (size_t)end * sizeof(int32_t))};
  chunk.payload_bytes = td_kv_bytes(&kv_shape, (enum td_dtype)expect->layout.dtype, 1, end - begin);
  foreign_layer(&expect->layout, layer, begin, end, payload);
  chunk.payload_hash = td_hash(TD_HASH_INIT, payload, chunk.payload_bytes);
  assert_ok(td_kv_import(store, &chunk, payload, complete));
}

/* All layers in one chunk. */
static void send_layers(struct td_kv_store *store, const struct td_kv_expect *expect, int64_t begin, int64_t end,
                        bool *complete) {
  static char payload[LAYERS * 2 * CONTEXT * WIDTH * 4];
  struct td_kv_chunk chunk = {.layout = expect->layout,
                              .request = expect->request,
                              .generation = expect->generation,
                              .layer_end = LAYERS,
                              .token_begin = (uint64_t)begin,
                              .token_end = (uint64_t)end,
                              .prefix_hash = td_hash(TD_HASH_INIT, expect->ids, (size_t)end * sizeof(int32_t))};
  chunk.payload_bytes = td_kv_bytes(&kv_shape, (enum td_dtype)expect->layout.dtype, LAYERS, end - begin);
  for (int layer = 0; layer < LAYERS; layer++) {
    foreign_layer(&expect->layout, layer, begin, end, payload + (uint64_t)layer * chunk.payload_bytes / LAYERS);
  }
  chunk.payload_hash = td_hash(TD_HASH_INIT, payload, chunk.payload_bytes);
  assert_ok(td_kv_import(store, &chunk, payload, complete));
}

static void test_layers_of_one_chunk(void **state) {
  (void)state;
  struct td_device *device = open_template();
  struct td_kv_store *store = open_store(device, TD_F32, 4, 16);
  int32_t ids[CONTEXT] = {0};
  struct td_kv_expect expect = {
      .request = 4, .generation = 2, .tokens = 13, .ids = ids, .layout = *td_kv_store_layout(store)};
  bool complete = false;
  assert_ok(td_kv_import_begin(store, &expect));
  send_layers(store, &expect, 8, 13, &complete);
  assert_refused(td_kv_import_commit(store, 4), TD_PRECONDITION, "layer 0, positions [0, 8)");
  send_layers(store, &expect, 0, 8, &complete);
  assert_true(complete);
  assert_ok(td_kv_import_commit(store, 4));
  assert_true(holds(device, store, 4, 13, 3));
  td_kv_store_close(store);
  td_device_close(device);
}

/* One sender's layout into one store; chunks arrive last first. */
static void round_trip(struct td_device *device, const struct td_kv_layout *layout, enum td_dtype to,
                       int32_t to_block) {
  struct td_kv_store *store = open_store(device, to, to_block, CONTEXT / to_block);
  int32_t ids[CONTEXT];
  for (int i = 0; i < CONTEXT; i++) ids[i] = i * 3;
  struct td_kv_expect expect = {.request = 4, .generation = 2, .tokens = 21, .ids = ids, .layout = *layout};
  int64_t step = 2 * layout->block_tokens;
  bool complete = false;
  assert_ok(td_kv_import_begin(store, &expect));
  for (int64_t begin = 20 / step * step; begin >= 0; begin -= step) {
    int64_t end = begin + step < 21 ? begin + step : 21;
    for (int layer = LAYERS - 1; layer >= 0; layer--) {
      assert_false(complete);
      send(store, &expect, layer, begin, end, &complete);
    }
  }
  assert_true(complete);
  assert_ok(td_kv_import_commit(store, 4));
  assert_int_equal(td_kv_length(store, 4), 21);
  assert_true(holds(device, store, 4, 21, 3));
  td_kv_store_close(store);
}

static void test_conversions(void **state) {
  (void)state;
  struct td_device *device = open_template();
  const enum td_dtype dtypes[] = {TD_F32, TD_F16};
  const int32_t blocks[] = {1, 4, 7};
  for (int i = 0; i < 2 * 2 * 3 * 3 * 3 * 3; i++) {
    struct td_kv_layout layout =
        foreign_layout(dtypes[i % 2], (uint32_t)(1 + i / 4 % 3), (uint32_t)(1 + i / 12 % 3), blocks[i / 36 % 3]);
    round_trip(device, &layout, dtypes[i / 2 % 2], blocks[i / 108 % 3]);
  }
  td_device_close(device);
}

static void test_import_is_atomic(void **state) {
  (void)state;
  struct td_device *device = open_template();
  struct td_kv_store *store = open_store(device, TD_F32, 4, 4);
  int32_t ids[CONTEXT] = {0};
  struct td_kv_expect expect = {
      .request = 4, .generation = 1, .tokens = 9, .ids = ids, .layout = *td_kv_store_layout(store)};
  const int32_t *blocks = NULL;
  int32_t count = 0;
  bool complete = false;
  assert_ok(td_kv_import_begin(store, &expect));
  assert_refused(td_kv_import_begin(store, &expect), TD_PRECONDITION, "request 4");
  assert_int_equal(td_kv_store_free_blocks(store), 1);
  send(store, &expect, 1, 0, 8, &complete);
  assert_int_equal(td_kv_length(store, 4), 0);
  assert_refused(td_kv_blocks(store, 4, &blocks, &count), TD_PRECONDITION, "not committed");
  assert_refused(td_kv_reserve(store, 4, 10), TD_PRECONDITION, "not committed");
  assert_refused(td_kv_truncate(store, 4, 0), TD_PRECONDITION, "not committed");
  assert_refused(td_kv_import_commit(store, 4), TD_PRECONDITION, "layer 0, positions [0, 9)");
  send(store, &expect, 0, 0, 8, &complete);
  send(store, &expect, 0, 8, 9, &complete);
  assert_refused(td_kv_import_commit(store, 4), TD_PRECONDITION, "layer 1, positions [8, 9)");
  td_kv_release(store, 4);
  assert_int_equal(td_kv_store_free_blocks(store), 4);
  assert_refused(td_kv_import_commit(store, 4), TD_PRECONDITION, "request");
  expect.tokens = 17;
  assert_refused(td_kv_import_begin(store, &expect), TD_EXHAUSTED, "found 4 free");
  expect.tokens = CONTEXT + 1;
  assert_refused(td_kv_import_begin(store, &expect), TD_PRECONDITION, "expected 1 to 64");
  assert_int_equal(td_kv_store_free_blocks(store), 4);
  assert_int_equal(td_kv_length(store, 4), 0);
  td_kv_store_close(store);
  td_device_close(device);
}

/* ---- a device with entries of its own ---- */

static int truncated_from;

static td_status own_export(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq, void *k,
                            void *v) {
  (void)device;
  memset(k, 1, (size_t)seq->tokens * WIDTH * element_bytes(view->dtype));
  memset(v, 2, (size_t)seq->tokens * WIDTH * element_bytes(view->dtype));
  return TD_OK;
}

static td_status own_truncate(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq) {
  (void)device, (void)view;
  truncated_from += (int)seq->past;
  return TD_OK;
}

static void test_own_entries(void **state) {
  (void)state;
  struct td_device *device = open_template();
  const struct td_device_table *plain = device->table;
  struct td_device_table table = *plain;
  struct td_kv_store *store = open_store(device, TD_F16, 4, 4);
  struct td_kv_chunk chunk;
  char payload[2 * 2 * WIDTH * 2];
  table.kv_export = own_export;
  table.kv_truncate = own_truncate;
  device->table = &table;
  fill(device, store, 1, 6, 1);
  assert_ok(td_kv_export(store, 1, 1, 2, 4, 6, payload, sizeof payload, &chunk));
  assert_int_equal(payload[0], 1);
  assert_int_equal(payload[sizeof payload - 1], 2);
  assert_ok(td_kv_truncate(store, 1, 5));
  assert_int_equal(truncated_from, 5 * LAYERS);
  table.size = offsetof(struct td_device_table, kv_export); /* an older table: what lies behind its size is absent */
  assert_ok(td_kv_export(store, 1, 1, 2, 4, 5, payload, sizeof payload / 2, &chunk));
  char want[2];
  encode(TD_F16, element(1, 1, 0, 4, 0, 0), want);
  assert_memory_equal(payload, want, 2);
  assert_ok(td_kv_truncate(store, 1, 4));
  assert_int_equal(truncated_from, 5 * LAYERS);
  td_kv_store_close(store);
  device->table = plain;
  td_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_paging),      cmocka_unit_test(test_lengths),
      cmocka_unit_test(test_reuse),       cmocka_unit_test(test_sizes),
      cmocka_unit_test(test_export),      cmocka_unit_test(test_layers_of_one_chunk),
      cmocka_unit_test(test_conversions), cmocka_unit_test(test_import_is_atomic),
      cmocka_unit_test(test_own_entries),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
