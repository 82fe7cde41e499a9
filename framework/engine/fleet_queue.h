/* SPDX-License-Identifier: Apache-2.0
 *
 * The fleet's queues: events by worker, of which each worker has at most one, and plain ones by key and number.
 */
#ifndef ENGINE_FLEET_QUEUE_H
#define ENGINE_FLEET_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tandem/status.h"

/* A binary heap of workers by (time, worker) that knows where each worker stands. */
struct worker_event {
  int64_t time_ps;
  int32_t worker;
};
struct worker_queue {
  struct worker_event *heap;
  int32_t *place; /* [workers]; -1: not in it */
  int32_t count;
};
td_status worker_queue_open(struct worker_queue *queue, int32_t workers);
void worker_queue_close(struct worker_queue *queue);
/* Puts a worker in, or moves it to another time. */
void worker_queue_set(struct worker_queue *queue, int32_t worker, int64_t time_ps);
void worker_queue_remove(struct worker_queue *queue, int32_t worker); /* it is in it */
struct worker_event worker_queue_pop(struct worker_queue *queue);     /* not empty */

/* A binary heap of slots by (key, number). */
struct keyed_slot {
  int64_t key;
  uint64_t number;
  int32_t slot;
};
struct slot_queue {
  struct keyed_slot *heap;
  size_t count, capacity;
};
td_status slot_queue_push(struct slot_queue *queue, struct keyed_slot item);
struct keyed_slot slot_queue_pop(struct slot_queue *queue);  /* not empty */
void slot_queue_remove(struct slot_queue *queue, size_t at); /* at < count */
void slot_queue_close(struct slot_queue *queue);

#endif
