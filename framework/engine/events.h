/* SPDX-License-Identifier: Apache-2.0
 *
 * The event queue: a binary heap by (time, kind, subject), so that equal times have one order everywhere.
 */
#ifndef ENGINE_EVENTS_H
#define ENGINE_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tandem/status.h"

enum event_kind { EVENT_STEP_DONE, EVENT_TRANSFERRED, EVENT_ARRIVAL };
struct event {
  int64_t time_ps;
  enum event_kind kind;
  int64_t subject; /* worker of STEP_DONE, request of the others */
};
struct events {
  struct event *heap;
  size_t count, capacity;
};

td_status events_push(struct events *events, struct event event);
/* NULL when empty. Borrowed until the next push or pop. */
const struct event *events_first(const struct events *events);
struct event events_pop(struct events *events); /* not empty */
void events_clear(struct events *events);

#endif
