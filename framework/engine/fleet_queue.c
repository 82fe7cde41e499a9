/* SPDX-License-Identifier: Apache-2.0 */
#include "fleet_queue.h"

#include <stdlib.h>

#include "tandem/base.h"

/* ---- events by worker ---- */

td_status worker_queue_open(struct worker_queue *queue, int32_t workers) {
  TD_TRY(td_alloc((size_t)workers, sizeof *queue->heap, (void **)&queue->heap));
  TD_TRY(td_alloc((size_t)workers, sizeof *queue->place, (void **)&queue->place));
  for (int32_t i = 0; i < workers; i++) queue->place[i] = -1;
  return TD_OK;
}

void worker_queue_close(struct worker_queue *queue) {
  free(queue->heap);
  free(queue->place);
}

static bool earlier(struct worker_event a, struct worker_event b) {
  return a.time_ps != b.time_ps ? a.time_ps < b.time_ps : a.worker < b.worker;
}

static void put(struct worker_queue *queue, int32_t at, struct worker_event event) {
  queue->heap[at] = event;
  queue->place[event.worker] = at;
}

static int32_t rise(struct worker_queue *queue, int32_t at, struct worker_event event) {
  for (; at && earlier(event, queue->heap[(at - 1) / 2]); at = (at - 1) / 2) {
    put(queue, at, queue->heap[(at - 1) / 2]);
  }
  return at;
}

static int32_t sink(struct worker_queue *queue, int32_t at, struct worker_event event) {
  for (;;) {
    int32_t child = 2 * at + 1;
    if (child >= queue->count) return at;
    if (child + 1 < queue->count && earlier(queue->heap[child + 1], queue->heap[child])) child++;
    if (!earlier(queue->heap[child], event)) return at;
    put(queue, at, queue->heap[child]);
    at = child;
  }
}

void worker_queue_set(struct worker_queue *queue, int32_t worker, int64_t time_ps) {
  struct worker_event event = {time_ps, worker};
  int32_t at = queue->place[worker] >= 0 ? queue->place[worker] : queue->count++;
  int32_t risen = rise(queue, at, event);
  put(queue, risen == at ? sink(queue, at, event) : risen, event);
}

struct worker_event worker_queue_pop(struct worker_queue *queue) {
  struct worker_event first = queue->heap[0], last = queue->heap[--queue->count];
  queue->place[first.worker] = -1;
  if (queue->count) put(queue, sink(queue, 0, last), last);
  return first;
}

void worker_queue_remove(struct worker_queue *queue, int32_t worker) {
  worker_queue_set(queue, worker, INT64_MIN);
  worker_queue_pop(queue);
}

/* ---- by key ---- */

static bool before(const struct keyed_slot *a, const struct keyed_slot *b) {
  return a->key != b->key ? a->key < b->key : a->number < b->number;
}

static void settle(struct slot_queue *queue, size_t at, struct keyed_slot item) {
  for (; at && before(&item, &queue->heap[(at - 1) / 2]); at = (at - 1) / 2) {
    queue->heap[at] = queue->heap[(at - 1) / 2];
  }
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= queue->count) break;
    if (child + 1 < queue->count && before(&queue->heap[child + 1], &queue->heap[child])) child++;
    if (!before(&queue->heap[child], &item)) break;
    queue->heap[at] = queue->heap[child];
    at = child;
  }
  queue->heap[at] = item;
}

td_status slot_queue_push(struct slot_queue *queue, struct keyed_slot item) {
  if (queue->count == queue->capacity) {
    TD_TRY(td_grow((void **)&queue->heap, &queue->capacity, queue->count + 1, sizeof item));
  }
  queue->count++;
  settle(queue, queue->count - 1, item);
  return TD_OK;
}

void slot_queue_remove(struct slot_queue *queue, size_t at) {
  struct keyed_slot last = queue->heap[--queue->count];
  if (at < queue->count) settle(queue, at, last);
}

struct keyed_slot slot_queue_pop(struct slot_queue *queue) {
  struct keyed_slot first = queue->heap[0];
  slot_queue_remove(queue, 0);
  return first;
}

void slot_queue_close(struct slot_queue *queue) {
  free(queue->heap);
}
