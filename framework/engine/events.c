/* SPDX-License-Identifier: Apache-2.0 */
#include "events.h"

#include <stdlib.h>

#include "tandem/base.h"

static bool before(const struct event *a, const struct event *b) {
  if (a->time_ps != b->time_ps) return a->time_ps < b->time_ps;
  if (a->kind != b->kind) return a->kind < b->kind;
  return a->subject < b->subject;
}

td_status events_push(struct events *events, struct event event) {
  TD_TRY(td_grow((void **)&events->heap, &events->capacity, events->count + 1, sizeof *events->heap));
  size_t at = events->count++;
  for (; at && before(&event, &events->heap[(at - 1) / 2]); at = (at - 1) / 2) {
    events->heap[at] = events->heap[(at - 1) / 2];
  }
  events->heap[at] = event;
  return TD_OK;
}

const struct event *events_first(const struct events *events) {
  return events->count ? events->heap : NULL;
}

struct event events_pop(struct events *events) {
  struct event first = events->heap[0], last = events->heap[--events->count];
  size_t at = 0;
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= events->count) break;
    if (child + 1 < events->count && before(&events->heap[child + 1], &events->heap[child])) child++;
    if (!before(&events->heap[child], &last)) break;
    events->heap[at] = events->heap[child];
    at = child;
  }
  if (events->count) events->heap[at] = last;
  return first;
}

void events_clear(struct events *events) {
  free(events->heap);
}
