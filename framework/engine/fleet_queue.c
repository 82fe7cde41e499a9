/* SPDX-License-Identifier: Apache-2.0 */
#include "fleet_queue.h"

#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"

/* ---- events by worker ---- */

enum { BELOW = 8 }; /* a node */

static size_t whole(size_t count) {
  return (count + BELOW - 1) / BELOW * BELOW;
}

td_status worker_queue_open(struct worker_queue *queue, int32_t workers) {
  size_t counts[WORKER_QUEUE_LEVELS] = {(size_t)workers}, all = whole(counts[0]);
  int32_t top = 0;
  while (counts[top] > 1) {
    counts[top + 1] = whole(counts[top]) / BELOW;
    all += whole(counts[++top]);
  }
  int64_t *times = NULL;
  TD_TRY(td_alloc_lines(all, sizeof *times, (void **)&times));
  for (size_t i = 0; i < all; i++) times[i] = INT64_MAX;
  *queue = (struct worker_queue){.top = top, .first = {.worker = -1}};
  for (int32_t level = 0; level <= top; level++) {
    queue->times[level] = times;
    times += whole(counts[level]);
  }
  return TD_OK;
}

void worker_queue_close(struct worker_queue *queue) {
  free(queue->times[0]);
}

static int64_t sooner(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t least_of(const int64_t *times) {
  int64_t a = sooner(sooner(times[0], times[1]), sooner(times[2], times[3]));
  int64_t b = sooner(sooner(times[4], times[5]), sooner(times[6], times[7]));
  return sooner(a, b);
}

/* The first of the eight that has this time, which one has. Without a branch for each: nobody can guess them. */
static int32_t place_of(const int64_t *times, int64_t time_ps) {
  unsigned equal = 0;
  for (int i = 0; i < BELOW; i++) equal |= (unsigned)(times[i] == time_ps) << i;
  return __builtin_ctz(equal);
}

static bool earlier(struct worker_event a, struct worker_event b) {
  return a.time_ps != b.time_ps ? a.time_ps < b.time_ps : a.worker < b.worker;
}

/* Up the tree as long as nodes change: `before` and `time_ps` are of the node just below. */
static void raise_change(struct worker_queue *queue, int32_t at, int64_t before, int64_t time_ps) {
  for (int32_t level = 0; level < queue->top; level++) {
    at /= BELOW;
    int64_t *node = &queue->times[level + 1][at], was = *node;
    if (time_ps >= was) {
      if (before > was) return; /* somebody else is sooner, then and now */
      time_ps = least_of(&queue->times[level][at * BELOW]);
      if (time_ps == was) return;
    }
    before = was;
    *node = time_ps;
  }
}

void worker_queue_set(struct worker_queue *queue, int32_t worker, int64_t time_ps) {
  const struct worker_event event = {time_ps, worker};
  int64_t before = queue->times[0][worker];
  if (queue->first.worker == worker) {
    queue->first.worker = -1;
  } else if (queue->first.worker >= 0 && earlier(event, queue->first)) {
    queue->first = event;
  }
  queue->times[0][worker] = time_ps;
  raise_change(queue, worker, before, time_ps);
}

void worker_queue_remove(struct worker_queue *queue, int32_t worker) {
  worker_queue_set(queue, worker, INT64_MAX);
}

bool worker_queue_has(const struct worker_queue *queue, int32_t worker) {
  return queue->times[0][worker] != INT64_MAX;
}

int32_t worker_queue_first(struct worker_queue *queue) {
  if (queue->first.worker >= 0) return queue->first.worker;
  int64_t time_ps = worker_queue_time(queue);
  int32_t at = 0;
  for (int32_t level = queue->top; level-- > 0;) {
    at = at * BELOW + place_of(&queue->times[level][at * BELOW], time_ps);
  }
  queue->first = (struct worker_event){time_ps, at};
  return at;
}

int32_t worker_queue_pop(struct worker_queue *queue) {
  int32_t worker = worker_queue_first(queue);
  worker_queue_remove(queue, worker);
  return worker;
}

/* ---- a worker's batch ---- */

void endings_open(struct endings *endings, struct ending *own, int32_t count) {
  *endings = (struct endings){.heap = own, .capacity = count};
}

void endings_close(struct endings *endings, const struct ending *own) {
  if (endings->heap != own) free(endings->heap);
}

static bool ends_before(struct ending a, struct ending b) {
  return a.step != b.step ? a.step < b.step : a.joined < b.joined;
}

static void settle_ending(struct endings *endings, int32_t at, struct ending item) {
  struct ending *heap = endings->heap;
  for (; at && ends_before(item, heap[(at - 1) / 2]); at = (at - 1) / 2) heap[at] = heap[(at - 1) / 2];
  for (;;) {
    int32_t child = 2 * at + 1;
    if (child >= endings->count) break;
    if (child + 1 < endings->count && ends_before(heap[child + 1], heap[child])) child++;
    if (!ends_before(heap[child], item)) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = item;
}

static td_status more_places(struct endings *endings, const struct ending *own) {
  struct ending *heap = endings->heap == own ? NULL : endings->heap;
  size_t capacity = heap ? (size_t)endings->capacity : 0;
  TD_TRY(td_grow((void **)&heap, &capacity, (size_t)endings->count * 2, sizeof *heap));
  if (endings->heap == own) memcpy(heap, own, (size_t)endings->count * sizeof *heap);
  endings->heap = heap;
  endings->capacity = (int32_t)capacity;
  return TD_OK;
}

/* Numbers are at their end: those who are there get the first ones, in their order. */
static void number_anew(struct endings *endings) {
  for (uint32_t next = 0; next < (uint32_t)endings->count; next++) {
    struct ending *first = NULL;
    for (int32_t i = 0; i < endings->count; i++) {
      struct ending *item = &endings->heap[i];
      if (item->joined >= next && (!first || item->joined < first->joined)) first = item;
    }
    first->joined = next;
  }
  endings->joined = (uint32_t)endings->count;
}

td_status endings_push(struct endings *endings, const struct ending *own, int64_t step, int32_t slot) {
  if (endings->count == endings->capacity) TD_TRY(more_places(endings, own));
  if (!endings->count) endings->joined = 0;
  if (endings->joined == UINT32_MAX) number_anew(endings);
  endings->count++;
  settle_ending(endings, endings->count - 1, (struct ending){step, endings->joined++, slot});
  return TD_OK;
}

td_status endings_put_back(struct endings *endings, const struct ending *own, struct ending item) {
  if (endings->count == endings->capacity) TD_TRY(more_places(endings, own));
  if (endings->joined <= item.joined) endings->joined = item.joined + 1;
  endings->count++;
  settle_ending(endings, endings->count - 1, item);
  return TD_OK;
}

void endings_remove(struct endings *endings, int32_t at) {
  struct ending last = endings->heap[--endings->count];
  if (at < endings->count) settle_ending(endings, at, last);
}

int32_t endings_pop(struct endings *endings) {
  int32_t slot = endings->heap[0].slot;
  endings_remove(endings, 0);
  return slot;
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

struct keyed_slot slot_queue_pop(struct slot_queue *queue) {
  struct keyed_slot first = queue->heap[0], last = queue->heap[--queue->count];
  if (queue->count) settle(queue, 0, last);
  return first;
}

void slot_queue_close(struct slot_queue *queue) {
  free(queue->heap);
}
