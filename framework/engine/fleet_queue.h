/* SPDX-License-Identifier: Apache-2.0
 *
 * The fleet's queues: events by worker, of which each worker has at most one; who of a worker's batch ends when; and
 * plain ones by key and number.
 */
#ifndef ENGINE_FLEET_QUEUE_H
#define ENGINE_FLEET_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tandem/status.h"

/* Workers by (time, worker): a tree over their numbers whose node has the least time of the eight below it. A node's
 * eight are one cache line, and most changes end one or two levels up, where somebody else is sooner. */
enum { WORKER_QUEUE_LEVELS = 12 };
struct worker_event {
  int64_t time_ps;
  int32_t worker;
};
struct worker_queue {
  int64_t *times[WORKER_QUEUE_LEVELS]; /* [0]: by worker, INT64_MAX: not in it; [top]: one */
  int32_t top;
  struct worker_event first; /* worker -1: nobody has looked yet */
};
td_status worker_queue_open(struct worker_queue *queue, int32_t workers);
void worker_queue_close(struct worker_queue *queue);
/* Puts a worker in, or moves it to another time. */
void worker_queue_set(struct worker_queue *queue, int32_t worker, int64_t time_ps);
void worker_queue_remove(struct worker_queue *queue, int32_t worker);
bool worker_queue_has(const struct worker_queue *queue, int32_t worker);
int32_t worker_queue_first(struct worker_queue *queue); /* not empty */
int32_t worker_queue_pop(struct worker_queue *queue);   /* not empty: takes the first out */
/* INT64_MAX: it is empty. */
static inline int64_t worker_queue_time(const struct worker_queue *queue) {
  return queue->times[queue->top][0];
}

/* A binary heap of decoding requests by (step that is their last, order of joining). */
struct ending {
  int64_t step;
  uint32_t joined;
  int32_t slot;
};
struct endings {
  struct ending *heap; /* first `own`, then an allocation */
  int32_t count, capacity;
  uint32_t joined; /* since the batch was empty, or they were numbered anew */
};
/* `own`: that many places which the owner has and keeps where they are. */
void endings_open(struct endings *endings, struct ending *own, int32_t count);
void endings_close(struct endings *endings, const struct ending *own);
td_status endings_push(struct endings *endings, const struct ending *own, int64_t step, int32_t slot);
/* One that had been in it, with its number; only those that had been, until all of them are back or gone. */
td_status endings_put_back(struct endings *endings, const struct ending *own, struct ending item);
int32_t endings_pop(struct endings *endings);             /* the slot; not empty */
void endings_remove(struct endings *endings, int32_t at); /* at < count */

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
struct keyed_slot slot_queue_pop(struct slot_queue *queue); /* not empty */
void slot_queue_close(struct slot_queue *queue);

#endif
