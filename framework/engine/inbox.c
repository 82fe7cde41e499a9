/* SPDX-License-Identifier: Apache-2.0 */
#include "inbox.h"

#include <stdlib.h>
#include <time.h>

#include "tandem/base.h"

void inbox_init(struct inbox *inbox) {
  *inbox = (struct inbox){0};
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&inbox->filled, &attributes);
  pthread_condattr_destroy(&attributes);
  pthread_mutex_init(&inbox->lock, NULL);
}

void inbox_clear(struct inbox *inbox) {
  for (size_t i = 0; i < inbox->count; i++) free(inbox->messages[(inbox->first + i) % inbox->capacity].data);
  free(inbox->messages);
  pthread_cond_destroy(&inbox->filled);
  pthread_mutex_destroy(&inbox->lock);
}

/* Without memory for a message the run cannot even report; there is nobody to return to on a transport's thread. */
static void grow(struct inbox *inbox) {
  size_t capacity = inbox->capacity ? inbox->capacity * 2 : 64;
  struct td_message *messages = malloc(capacity * sizeof *messages);
  if (!messages) abort();
  for (size_t i = 0; i < inbox->count; i++) {
    messages[i] = inbox->messages[(inbox->first + i) % inbox->capacity];
  }
  free(inbox->messages);
  inbox->messages = messages;
  inbox->capacity = capacity;
  inbox->first = 0;
}

void inbox_push(struct inbox *inbox, const struct td_message *message) {
  pthread_mutex_lock(&inbox->lock);
  if (inbox->count == inbox->capacity) grow(inbox);
  inbox->messages[(inbox->first + inbox->count++) % inbox->capacity] = *message;
  pthread_cond_signal(&inbox->filled);
  pthread_mutex_unlock(&inbox->lock);
}

static struct timespec deadline(int64_t wait_ps) {
  struct timespec until;
  clock_gettime(CLOCK_MONOTONIC, &until);
  int64_t ns = until.tv_nsec + wait_ps % TD_PS_PER_SECOND / TD_PS_PER_NS;
  until.tv_sec += (time_t)(wait_ps / TD_PS_PER_SECOND + ns / 1000000000);
  until.tv_nsec = (long)(ns % 1000000000);
  return until;
}

bool inbox_pop(struct inbox *inbox, int64_t wait_ps, struct td_message *out_message) {
  struct timespec until = deadline(wait_ps < 0 ? 0 : wait_ps);
  pthread_mutex_lock(&inbox->lock);
  int timed_out = 0;
  while (!inbox->count && !timed_out) {
    timed_out = wait_ps < 0    ? pthread_cond_wait(&inbox->filled, &inbox->lock)
                : wait_ps == 0 ? 1
                               : pthread_cond_timedwait(&inbox->filled, &inbox->lock, &until);
  }
  bool found = inbox->count > 0;
  if (found) {
    *out_message = inbox->messages[inbox->first];
    inbox->first = (inbox->first + 1) % inbox->capacity;
    inbox->count--;
  }
  pthread_mutex_unlock(&inbox->lock);
  return found;
}
