/* SPDX-License-Identifier: Apache-2.0 */
#include "queue.h"

#include <stdlib.h>

static bool is_before(const struct event *a, const struct event *b) {
  if (a->at_ps != b->at_ps) return a->at_ps < b->at_ps;
  if (!a->session != !b->session) return a->session != NULL;
  return a->session ? a->session->number < b->session->number : a->user < b->user;
}

td_status queue_put(struct queue *queue, struct event event) {
  TD_TRY(td_grow((void **)&queue->events, &queue->capacity, queue->count + 1, sizeof *queue->events));
  size_t at = queue->count++;
  for (size_t up; at && is_before(&event, &queue->events[up = (at - 1) / 2]); at = up) {
    queue->events[at] = queue->events[up];
  }
  queue->events[at] = event;
  return TD_OK;
}

struct event queue_take(struct queue *queue) {
  struct event first = queue->events[0], last = queue->events[--queue->count];
  size_t at = 0;
  for (size_t below; (below = 2 * at + 1) < queue->count; at = below) {
    if (below + 1 < queue->count && is_before(&queue->events[below + 1], &queue->events[below])) below++;
    if (!is_before(&queue->events[below], &last)) break;
    queue->events[at] = queue->events[below];
  }
  if (queue->count) queue->events[at] = last;
  return first;
}

/* What has no turn under way is in exactly one place, so nothing is freed twice. */
void queue_close(struct queue *queue) {
  for (size_t i = 0; i < queue->count; i++) session_close(queue->events[i].session);
  free(queue->events);
  *queue = (struct queue){0};
}

static size_t slot_of(const struct waiters *waiters, uint64_t number) {
  return (size_t)(number * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (waiters->capacity - 1);
}

static void insert(struct waiters *waiters, struct waiter waiter) {
  size_t slot = slot_of(waiters, waiter.number);
  while (waiters->slots[slot].number) slot = (slot + 1) & (waiters->capacity - 1);
  waiters->slots[slot] = waiter;
}

static td_status widen(struct waiters *waiters) {
  struct waiters wider = {.count = waiters->count, .capacity = waiters->capacity ? 2 * waiters->capacity : 64};
  TD_TRY(td_alloc(wider.capacity, sizeof *wider.slots, (void **)&wider.slots));
  for (size_t i = 0; i < waiters->capacity; i++) {
    if (waiters->slots[i].number) insert(&wider, waiters->slots[i]);
  }
  free(waiters->slots);
  *waiters = wider;
  return TD_OK;
}

td_status waiters_put(struct waiters *waiters, struct waiter waiter) {
  if (2 * (waiters->count + 1) > waiters->capacity) TD_TRY(widen(waiters));
  waiter.number++;
  insert(waiters, waiter);
  waiters->count++;
  return TD_OK;
}

/* Moves later ones of the same run into the hole, so that none is cut off from its place. */
static void close_gap(struct waiters *waiters, size_t hole) {
  size_t mask = waiters->capacity - 1;
  for (size_t at = (hole + 1) & mask; waiters->slots[at].number; at = (at + 1) & mask) {
    size_t home = slot_of(waiters, waiters->slots[at].number);
    if (((at - home) & mask) < ((at - hole) & mask)) continue;
    waiters->slots[hole] = waiters->slots[at];
    hole = at;
  }
  waiters->slots[hole].number = 0;
}

const struct waiter *waiters_find(const struct waiters *waiters, uint64_t number) {
  if (!waiters->count) return NULL;
  size_t slot = slot_of(waiters, number + 1);
  while (waiters->slots[slot].number != number + 1) {
    if (!waiters->slots[slot].number) return NULL;
    slot = (slot + 1) & (waiters->capacity - 1);
  }
  return &waiters->slots[slot];
}

bool waiters_take(struct waiters *waiters, uint64_t number, struct waiter *out_waiter) {
  const struct waiter *found = waiters_find(waiters, number);
  if (!found) return false;
  *out_waiter = *found;
  out_waiter->number = number;
  close_gap(waiters, (size_t)(found - waiters->slots));
  waiters->count--;
  return true;
}

void waiters_close(struct waiters *waiters) {
  for (size_t i = 0; i < waiters->capacity; i++) {
    if (waiters->slots[i].number) session_close(waiters->slots[i].session);
  }
  free(waiters->slots);
  *waiters = (struct waiters){0};
}
