/* SPDX-License-Identifier: Apache-2.0
 *
 * A queue of messages that one thread empties: a worker's inbox and the engine's completion queue.
 */
#ifndef ENGINE_INBOX_H
#define ENGINE_INBOX_H

#include <pthread.h>
#include <stdbool.h>

#include "tandem/comm.h"

struct inbox {
  pthread_mutex_t lock;
  pthread_cond_t filled;
  struct td_message *messages; /* ring */
  size_t capacity, first, count;
};

void inbox_init(struct inbox *inbox);
/* Frees what was not taken. */
void inbox_clear(struct inbox *inbox);
/* Takes the message over. Thread-safe. */
void inbox_push(struct inbox *inbox, const struct td_message *message);
/* Waits up to wait_ps for a message (forever if negative). False when none came. */
bool inbox_pop(struct inbox *inbox, int64_t wait_ps, struct td_message *out_message);

#endif
