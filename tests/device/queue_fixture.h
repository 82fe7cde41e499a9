/* SPDX-License-Identifier: Apache-2.0
 *
 * A device whose reads return before the bytes are there. It counts who waits, and for which value of the time line.
 */
#ifndef TESTS_QUEUE_FIXTURE_H
#define TESTS_QUEUE_FIXTURE_H

#include "kv_fixture.h"

/* ---- the template with a queue: reads are done when somebody waits, or when later work could change the bytes ---- */

struct waiting {
  struct td_buffer *buffer;
  uint64_t offset, bytes, value;
  void *dst;
};

static struct {
  const struct td_device_table *plain;
  struct td_device_table table;
  struct waiting reads[64];
  int count;          /* reads under way */
  int syncs, writes;  /* calls so far */
  uint64_t synced;    /* the largest value waited for */
  int32_t last_layer; /* of the last operator */
} queue;

static inline void drain(struct td_device *device, uint64_t value) {
  int left = 0;
  for (int i = 0; i < queue.count; i++) {
    struct waiting *read = &queue.reads[i];
    if (read->value > value) {
      queue.reads[left++] = *read;
    } else {
      assert_ok(queue.plain->read(device, read->buffer, read->offset, read->dst, read->bytes));
    }
  }
  queue.count = left;
}

static inline td_status queue_read(struct td_device *device, struct td_buffer *buffer, uint64_t offset, void *dst,
                                   uint64_t bytes) {
  assert_true(queue.count < 64);
  queue.reads[queue.count++] = (struct waiting){buffer, offset, bytes, device->submitted, dst};
  memset(dst, 0xee, bytes);
  return TD_OK;
}

static inline td_status queue_write(struct td_device *device, struct td_buffer *buffer, uint64_t offset,
                                    const void *src, uint64_t bytes) {
  drain(device, UINT64_MAX);
  return queue.plain->write(device, buffer, offset, src, bytes);
}

static inline td_status queue_op(struct td_device *device, const struct td_op_call *call) {
  drain(device, UINT64_MAX);
  queue.last_layer = call->op->layer;
  return queue.plain->op(device, call);
}

static inline td_status queue_sync(struct td_device *device, uint64_t value) {
  assert_true(value <= device->submitted);
  drain(device, value);
  queue.syncs++;
  if (value > queue.synced) queue.synced = value;
  return TD_OK;
}

static inline struct td_device *open_queue(void) {
  struct td_device *device = open_template();
  memset(&queue, 0, sizeof queue);
  queue.plain = device->table;
  queue.table = *queue.plain;
  queue.table.read = queue_read;
  queue.table.write = queue_write;
  queue.table.op = queue_op;
  queue.table.sync = queue_sync;
  device->table = &queue.table;
  return device;
}

#endif
