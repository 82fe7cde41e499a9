/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/workload: what closed loops have under way. Turns and users whose time will come, earliest
 * first, and the jobs that somebody waits for.
 */
#ifndef TANDEM_WORKLOAD_QUEUE_H
#define TANDEM_WORKLOAD_QUEUE_H

#include "stream.h"

/* A session's next turn, or with session NULL a user who will ask for a new unit. */
struct event {
  int64_t at_ps;
  struct session *session;
  int64_t user; /* -1: none */
};
struct queue {
  struct event *events;
  size_t count, capacity;
};
td_status queue_put(struct queue *queue, struct event event);
/* The earliest, at equal times sessions by number and then users by number: never by who came first. */
struct event queue_take(struct queue *queue);
void queue_close(struct queue *queue);

struct waiter {
  uint64_t number; /* of the job */
  struct session *session;
  int64_t user;
};
struct waiters {
  struct waiter *slots; /* number + 1; 0: empty */
  size_t count, capacity;
};
td_status waiters_put(struct waiters *waiters, struct waiter waiter);
/* NULL: nobody waits for this job. Until the next call of one of the others. */
const struct waiter *waiters_find(const struct waiters *waiters, uint64_t number);
/* False: nobody waits for this job. */
bool waiters_take(struct waiters *waiters, uint64_t number, struct waiter *out_waiter);
void waiters_close(struct waiters *waiters);

#endif
