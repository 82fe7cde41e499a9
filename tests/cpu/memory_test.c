/* SPDX-License-Identifier: Apache-2.0
 *
 * What steps write is in memory before the first step, so that no step waits for pages; up to a bound.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "cpu.h"
#include "harness.h"

#define MIB (UINT64_C(1) << 20)

/* Share of the buffer's pages that are in memory, in percent. */
static uint64_t resident(const struct td_buffer *buffer) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = ((uintptr_t)buffer->data + page - 1) / page * page;
  size_t pages = ((uintptr_t)buffer->data + buffer->bytes - begin) / page, count = 0;
  unsigned char *in = malloc(pages);
  assert_non_null(in);
  assert_int_equal(mincore((void *)begin, pages * page, in), 0);
  for (size_t i = 0; i < pages; i++) count += in[i] & 1;
  free(in);
  return 100 * count / pages;
}

static uint64_t resident_new(struct td_device *device, uint64_t bytes, enum td_buffer_use use,
                             struct td_buffer **out_buffer) {
  assert_int_equal(device->table->alloc(device, bytes, use, out_buffer), TD_OK);
  return resident(*out_buffer);
}

static void test_touched(void **state) {
  struct td_device *device = harness_open(1, false);
  struct td_buffer *small, *kv, *activation, *weight;
  (void)state;
  assert_int_equal(resident_new(device, MIB, TD_USE_KV, &small), 100);
  assert_int_equal(resident_new(device, 9 * MIB + 5, TD_USE_KV, &kv), 100);
  assert_int_equal(resident_new(device, 17 * MIB, TD_USE_ACTIVATION, &activation), 100);
  for (uint64_t i = 0; i < kv->bytes; i++) assert_int_equal(kv->data[i], 0);
  assert_true(resident_new(device, 33 * MIB, TD_USE_WEIGHT, &weight) < 50); /* written by whoever loads it */
  device->table->free(device, weight);
  device->table->free(device, activation);
  device->table->free(device, kv);
  device->table->free(device, small);
  device->table->close(device);
}

/* A large cache costs what is used of it. What was given back counts no more. */
static void test_bounded(void **state) {
  struct td_device *device = harness_open(1, false);
  struct td_buffer *large, *other;
  (void)state;
  if (cpu_of(device)->capacity < 2048 * MIB) test_skip_all("less than 2 GiB of memory here");
  assert_true(resident_new(device, 1025 * MIB, TD_USE_KV, &large) < 50);
  assert_int_equal(resident_new(device, 20 * MIB, TD_USE_KV, &other), 100);
  assert_int_equal(cpu_of(device)->prepared, 20 * MIB);
  device->table->free(device, large);
  assert_int_equal(cpu_of(device)->prepared, 20 * MIB);
  device->table->free(device, other);
  assert_int_equal(cpu_of(device)->prepared, 0);
  device->table->close(device);
}

int main(void) {
#ifdef __SANITIZE_THREAD__
  test_skip_all("ThreadSanitizer's allocator touches all memory itself");
#endif
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_touched), cmocka_unit_test(test_bounded)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
