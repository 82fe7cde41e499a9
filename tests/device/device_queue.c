/* SPDX-License-Identifier: Apache-2.0
 *
 * KV chunks on a device with a queue: one wait per chunk out, none per chunk in, and none left after a failure.
 */
#include "queue_fixture.h"

#define TOKENS 10

static void test_chunks(void **state) {
  (void)state;
  struct td_device *device = open_queue();
  struct td_kv_store *from = open_store(device, TD_F16, 4, 8), *to = open_store(device, TD_F16, 4, 8);
  struct td_kv_chunk chunk;
  char payload[LAYERS * TOKENS * WIDTH * 2 * 2];
  int32_t ids[TOKENS] = {0};
  bool complete = false;
  fill(device, from, 1, TOKENS, 3);
  uint64_t submitted = device->submitted;
  assert_int_equal(queue.syncs, 0);
  assert_ok(td_kv_export(from, 1, 0, LAYERS, 0, TOKENS, payload, sizeof payload, &chunk));
  assert_int_equal(queue.syncs, 1); /* for 3 layers of 3 blocks */
  assert_int_equal(device->submitted - submitted, LAYERS * 3 * 2);
  assert_true(queue.synced == device->submitted && queue.count == 0);
  struct td_kv_expect expect = {
      .request = 1, .generation = 1, .tokens = TOKENS, .ids = ids, .layout = *td_kv_store_layout(from)};
  assert_ok(td_kv_import_begin(to, &expect));
  chunk.generation = 1;
  chunk.prefix_hash = td_hash(TD_HASH_INIT, ids, sizeof ids);
  assert_ok(td_kv_import(to, &chunk, payload, &complete));
  assert_true(complete);
  assert_int_equal(queue.syncs, 1);
  assert_ok(td_kv_import_commit(to, 1));
  assert_int_equal(queue.syncs, 2);
  assert_true(holds(device, to, 1, TOKENS, 3));
  td_kv_store_close(from);
  td_kv_store_close(to);
  device->table = queue.plain;
  td_device_close(device);
}

static int reads_left;

static td_status failing_read(struct td_device *device, struct td_buffer *buffer, uint64_t offset, void *dst,
                              uint64_t bytes) {
  if (reads_left-- == 0) return td_fail(TD_UNAVAILABLE, "the device is gone");
  return queue_read(device, buffer, offset, dst, bytes);
}

/* The payload belongs to the caller again: no read that was queued before the failure is under way. */
static void test_failed_export(void **state) {
  (void)state;
  struct td_device *device = open_queue();
  struct td_kv_store *store = open_store(device, TD_F32, 4, 8);
  struct td_kv_chunk chunk;
  char payload[LAYERS * TOKENS * WIDTH * 2 * 4];
  fill(device, store, 1, TOKENS, 3);
  queue.table.read = failing_read;
  reads_left = 5;
  assert_refused(td_kv_export(store, 1, 0, LAYERS, 0, TOKENS, payload, sizeof payload, &chunk), TD_UNAVAILABLE, "gone");
  assert_int_equal(queue.count, 0);
  td_kv_store_close(store);
  device->table = queue.plain;
  td_device_close(device);
}

static td_status own_export(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq, void *k,
                            void *v) {
  (void)device;
  memset(k, 1, (size_t)seq->tokens * WIDTH * element_bytes(view->dtype));
  memset(v, 2, (size_t)seq->tokens * WIDTH * element_bytes(view->dtype));
  return TD_OK;
}

/* An export of the device's own may overtake the queue: nothing waits for what is queued behind. */
static void test_own_export(void **state) {
  (void)state;
  struct td_device *device = open_queue();
  struct td_kv_store *store = open_store(device, TD_F32, 4, 8);
  struct td_kv_chunk chunk;
  char payload[LAYERS * TOKENS * WIDTH * 2 * 4];
  fill(device, store, 1, TOKENS, 3);
  queue.table.kv_export = own_export;
  uint64_t submitted = device->submitted;
  assert_ok(td_kv_export(store, 1, 0, LAYERS, 0, TOKENS, payload, sizeof payload, &chunk));
  assert_int_equal(queue.syncs, 0);
  assert_int_equal(device->submitted - submitted, LAYERS);
  td_kv_store_close(store);
  device->table = queue.plain;
  td_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_chunks),
      cmocka_unit_test(test_failed_export),
      cmocka_unit_test(test_own_export),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
