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

/* ---- by key ---- */

static bool before(const struct keyed_slot *a, const struct keyed_slot *b) {
  return a->key != b->key ? a->key < b->key : a->number < b->number;
}

td_status slot_queue_push(struct slot_queue *queue, struct keyed_slot item) {
  if (queue->count == queue->capacity) {
    TD_TRY(td_grow((void **)&queue->heap, &queue->capacity, queue->count + 1, sizeof item));
  }
  size_t at = queue->count++;
  for (; at && before(&item, &queue->heap[(at - 1) / 2]); at = (at - 1) / 2) {
    queue->heap[at] = queue->heap[(at - 1) / 2];
  }
  queue->heap[at] = item;
  return TD_OK;
}

struct keyed_slot slot_queue_pop(struct slot_queue *queue) {
  struct keyed_slot first = queue->heap[0], last = queue->heap[--queue->count];
  size_t at = 0;
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= queue->count) break;
    if (child + 1 < queue->count && before(&queue->heap[child + 1], &queue->heap[child])) child++;
    if (!before(&queue->heap[child], &last)) break;
    queue->heap[at] = queue->heap[child];
    at = child;
  }
  if (queue->count) queue->heap[at] = last;
  return first;
}

void slot_queue_close(struct slot_queue *queue) {
  free(queue->heap);
}
