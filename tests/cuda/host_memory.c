/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory and the time line on the emulated driver, which runs nothing before somebody waits: what is copied when, what
 * is said when memory or the context is gone, and a device that wanders from thread to thread.
 */
#include <pthread.h>

#include "host_fixture.h"
#include "tandem/base.h"

static int setup(void **state) {
  *state = open_emulated(false);
  return 0;
}
static int teardown(void **state) {
  td_device_close(*state);
  return 0;
}

static void fill(unsigned char *bytes, size_t count, uint64_t salt) {
  for (size_t i = 0; i < count; i++) bytes[i] = (unsigned char)td_random(salt, 1, i);
}

/* The source may be scribbled over as soon as write returns; the destination is filled by sync, not before. */
static void test_asynchronous(void **state) {
  struct td_device *device = *state;
  unsigned char sent[1000], kept[1000], got[1000];
  struct td_buffer *buffer = take(device, sizeof sent);
  fill(sent, sizeof sent, 1);
  memcpy(kept, sent, sizeof sent);
  memset(got, 0xee, sizeof got);
  assert_ok(td_device_write(device, buffer, 0, sent, sizeof sent));
  memset(sent, 0, sizeof sent);
  device->submitted++;
  assert_ok(device->table->read(device, buffer, 0, got, sizeof got));
  assert_int_equal(got[17], 0xee);
  assert_ok(td_device_sync(device));
  assert_memory_equal(got, kept, sizeof kept);
  td_device_free(device, buffer);
}

/* More than the pinned memory holds, with pieces that do not divide it. */
static void test_large(void **state) {
  struct td_device *device = *state;
  size_t bytes = 3 * (size_t)CUDA_STAGING + 12345;
  unsigned char *sent = malloc(bytes), *got = calloc(1, bytes);
  assert_true(sent && got);
  fill(sent, bytes, 2);
  struct td_buffer *buffer = take(device, bytes);
  assert_ok(td_device_write(device, buffer, 0, sent, 777));
  assert_ok(td_device_write(device, buffer, 777, sent + 777, bytes - 777));
  device->submitted++;
  assert_ok(device->table->read(device, buffer, 0, got, 1001));
  assert_ok(td_device_read(device, buffer, 1001, got + 1001, bytes - 1001));
  assert_memory_equal(got, sent, bytes);
  td_device_free(device, buffer);
  free(sent);
  free(got);
}

/* Many small reads, delivered in order. */
static void test_many_reads(void **state) {
  struct td_device *device = *state;
  struct td_buffer *buffer = take(device, sizeof(int32_t));
  int32_t got[500];
  for (int32_t i = 0; i < 500; i++) {
    assert_ok(td_device_write(device, buffer, 0, &i, sizeof i));
    device->submitted++;
    assert_ok(device->table->read(device, buffer, 0, &got[i], sizeof i));
  }
  assert_ok(td_device_sync(device));
  for (int32_t i = 0; i < 500; i++) assert_int_equal(got[i], i);
  td_device_free(device, buffer);
}

/* A mark lets a wait end before later work; without one the whole queue is waited for. */
static void test_marks(void **state) {
  struct td_device *device = *state;
  int32_t one = 1, two = 2, got[2] = {0, 0};
  struct td_buffer *buffer = take(device, sizeof one);
  assert_ok(td_device_write(device, buffer, 0, &one, sizeof one));
  device->submitted++;
  assert_ok(device->table->read(device, buffer, 0, &got[0], sizeof one));
  uint64_t early = device->submitted;
  assert_ok(cuda_mark(cuda_of(device), early));
  assert_ok(td_device_write(device, buffer, 0, &two, sizeof two));
  device->submitted++;
  assert_ok(device->table->read(device, buffer, 0, &got[1], sizeof two));
  int before = driver_calls.stream_syncs;
  assert_ok(device->table->sync(device, early));
  assert_int_equal(got[0], 1);
  assert_int_equal(got[1], 0);
  assert_int_equal(driver_calls.stream_syncs, before);
  assert_ok(td_device_sync(device));
  assert_int_equal(got[1], 2);
  int after = driver_calls.stream_syncs + driver_calls.event_syncs;
  assert_ok(device->table->sync(device, early)); /* known to be past */
  assert_int_equal(driver_calls.stream_syncs + driver_calls.event_syncs, after);
  td_device_free(device, buffer);
}

/* The ring of marks goes round: an old value is then waited for by a later mark. */
static void test_marks_wrap(void **state) {
  struct td_device *device = *state;
  int32_t got = 0;
  struct td_buffer *buffer = take(device, sizeof got);
  uint64_t first = 0;
  for (int32_t i = 0; i < CUDA_MARKS + 10; i++) {
    assert_ok(td_device_write(device, buffer, 0, &i, sizeof i));
    if (i == 0) {
      device->submitted++;
      assert_ok(device->table->read(device, buffer, 0, &got, sizeof got));
      first = device->submitted;
      got = 99;
    }
    assert_ok(cuda_mark(cuda_of(device), device->submitted));
  }
  assert_ok(device->table->sync(device, first));
  assert_int_equal(got, 0);
  td_device_free(device, buffer);
}

/* ---- failures ---- */

static void test_too_large(void **state) {
  struct td_device *device = *state;
  struct td_buffer *buffer;
  assert_refused(td_device_alloc(device, 1ull << 60, TD_USE_KV, &buffer), TD_EXHAUSTED,
                 "KV: 1152921504606846976 bytes wanted, found ");
  assert_ok(td_device_alloc(device, 64, TD_USE_KV, &buffer)); /* goes on */
  td_device_free(device, buffer);
}

static int no_memory(unsigned long long *address, size_t bytes) {
  (void)address, (void)bytes;
  return CUDA_RESULT_OUT_OF_MEMORY;
}

/* The driver refuses although it said there is room. */
static void test_driver_out_of_memory(void **state) {
  struct td_device *device = *state;
  struct td_buffer *buffer;
  test_driver.cuMemAlloc_v2 = no_memory;
  assert_refused(td_device_alloc(device, 4096, TD_USE_WEIGHT, &buffer), TD_EXHAUSTED, "weights: 4096 bytes wanted");
  assert_non_null(strstr(td_error_text(), "bytes free"));
  test_driver.cuMemAlloc_v2 = real_driver->cuMemAlloc_v2;
}

static td_status add_once(struct td_device *device, struct td_buffer *buffer) {
  static const struct td_op op = {
      .kind = TD_OP_ADD, .rows = TD_ROWS_TOKENS, .n = 16, .in = {0, 1}, .out = 2, .weight = -1};
  const struct td_batch batch = {.rows = 1};
  struct td_view view = {.buffer = buffer, .dtype = TD_F32, .rows = 1, .cols = 16};
  struct td_op_call call = {.op = &op, .in = {view, view}, .out = view, .batch = &batch};
  call.in[1].offset = 64;
  call.out.offset = 128;
  return td_device_op(device, &call);
}

/* The first cause is told by every later call, and closing still works. */
static void test_lost(void **state) {
  struct td_device *device = *state;
  struct td_buffer *buffer = take(device, 192);
  assert_ok(add_once(device, buffer));
  driver_calls.fail_kernel_at = 1;
  driver_calls.fail_with = 719;
  assert_refused(add_once(device, buffer), TD_UNAVAILABLE, "is lost: launching cuda_add");
  assert_non_null(strstr(td_error_text(), "CUDA_ERROR_LAUNCH_FAILED (719)"));
  float got[16];
  assert_refused(td_device_read(device, buffer, 0, got, sizeof got), TD_UNAVAILABLE, "is lost: launching cuda_add");
  assert_refused(td_device_sync(device), TD_UNAVAILABLE, "is lost: launching cuda_add");
  struct td_buffer *more;
  assert_refused(td_device_alloc(device, 64, TD_USE_KV, &more), TD_UNAVAILABLE, "is lost");
  td_device_free(device, buffer);
}

/* What breaks while the device works is told by the wait; a read that was under way is never delivered. */
static void test_lost_at_work(void **state) {
  struct td_device *device = *state;
  struct td_buffer *buffer = take(device, 192);
  float got[16];
  memset(got, 0xee, sizeof got);
  assert_ok(add_once(device, buffer));
  device->submitted++;
  assert_ok(device->table->read(device, buffer, 0, got, sizeof got));
  driver_calls.sync_fails_with = 700;
  assert_refused(td_device_sync(device), TD_UNAVAILABLE, "is lost: waiting for the work queued so far");
  driver_calls.sync_fails_with = 0;
  assert_refused(td_device_sync(device), TD_UNAVAILABLE, "CUDA_ERROR_ILLEGAL_ADDRESS (700)");
  assert_int_equal(((unsigned char *)got)[0], 0xee);
  td_device_free(device, buffer);
}

/* An error that leaves the context alone is told once. */
static void test_refused_launch(void **state) {
  struct td_device *device = *state;
  struct td_buffer *buffer = take(device, 192);
  driver_calls.fail_kernel_at = 1;
  driver_calls.fail_with = 701;
  assert_refused(add_once(device, buffer), TD_UNAVAILABLE, "launching cuda_add: grid");
  assert_ok(add_once(device, buffer));
  assert_ok(td_device_sync(device));
  td_device_free(device, buffer);
}

/* ---- threads ---- */

static void *use_and_close(void *argument) {
  struct td_device *device = argument;
  struct td_buffer *buffer = NULL;
  float got[16];
  intptr_t failed = td_device_alloc(device, 192, TD_USE_ACTIVATION, &buffer) || add_once(device, buffer) ||
                    td_device_read(device, buffer, 128, got, sizeof got);
  td_device_free(device, buffer);
  td_device_close(device);
  return (void *)failed;
}

static void test_wanders(void **state) {
  (void)state;
  struct td_device *device = open_emulated(false);
  pthread_t thread;
  void *failed;
  assert_int_equal(pthread_create(&thread, NULL, use_and_close, device), 0);
  pthread_join(thread, &failed);
  assert_null(failed);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_asynchronous, setup, teardown),
      cmocka_unit_test_setup_teardown(test_large, setup, teardown),
      cmocka_unit_test_setup_teardown(test_many_reads, setup, teardown),
      cmocka_unit_test_setup_teardown(test_marks, setup, teardown),
      cmocka_unit_test_setup_teardown(test_marks_wrap, setup, teardown),
      cmocka_unit_test_setup_teardown(test_too_large, setup, teardown),
      cmocka_unit_test_setup_teardown(test_driver_out_of_memory, setup, teardown),
      cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
      cmocka_unit_test_setup_teardown(test_lost_at_work, setup, teardown),
      cmocka_unit_test_setup_teardown(test_refused_launch, setup, teardown),
      cmocka_unit_test(test_wanders),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
