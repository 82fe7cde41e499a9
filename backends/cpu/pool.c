/* SPDX-License-Identifier: Apache-2.0
 *
 * One 64-bit ticket holds the job's number, its size and the next unclaimed item. A thread reads the job's fields, then
 * claims an item by compare-and-swap on the ticket: if that succeeds the fields belonged to this job, and the job
 * cannot end before the item is counted done. So nobody waits for a thread that has claimed nothing, however late it
 * wakes.
 */
#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"

/* Looks at the ticket before a thread goes to sleep: about 50 us, the gap between two operators of a step. Longer would
 * take the core from other workers of this machine. */
#define SPINS 2000

#define ITEM_BITS 16
#define ITEM_MASK ((UINT64_C(1) << ITEM_BITS) - 1)

struct cpu_pool {
  _Atomic uint64_t ticket; /* job number << 32 | items << 16 | next item */
  _Atomic(cpu_pool_work) work;
  _Atomic(void *) context;
  _Atomic int32_t first; /* what the job's item 0 is called */
  _Atomic int32_t done;  /* items of the current job */
  _Atomic int32_t sleepers;
  _Atomic bool caller_sleeps, stop;
  pthread_mutex_t mutex;
  pthread_cond_t wake, finished;
  int32_t threads, started;
  struct member {
    struct cpu_pool *pool;
    pthread_t thread;
    int32_t worker;
  } * members;
};

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static bool has_items(uint64_t ticket) {
  return (ticket & ITEM_MASK) < (ticket >> ITEM_BITS & ITEM_MASK);
}

static void count_done(struct cpu_pool *pool, int32_t items) {
  if (atomic_fetch_add(&pool->done, 1) + 1 != items || !atomic_load(&pool->caller_sleeps)) return;
  pthread_mutex_lock(&pool->mutex);
  pthread_cond_signal(&pool->finished);
  pthread_mutex_unlock(&pool->mutex);
}

/* Claims and does one item; false if none is left. */
static bool work_once(struct cpu_pool *pool, int32_t worker) {
  uint64_t ticket = atomic_load(&pool->ticket);
  if (!has_items(ticket)) return false;
  cpu_pool_work work = atomic_load(&pool->work);
  void *context = atomic_load(&pool->context);
  int32_t first = atomic_load(&pool->first);
  if (!atomic_compare_exchange_strong(&pool->ticket, &ticket, ticket + 1)) return true;
  work(context, worker, first + (int32_t)(ticket & ITEM_MASK));
  count_done(pool, (int32_t)(ticket >> ITEM_BITS & ITEM_MASK));
  return true;
}

static void sleep_until_work(struct cpu_pool *pool) {
  for (int i = 0; i < SPINS; i++) {
    if (has_items(atomic_load(&pool->ticket)) || atomic_load(&pool->stop)) return;
    relax();
  }
  pthread_mutex_lock(&pool->mutex);
  atomic_fetch_add(&pool->sleepers, 1);
  while (!has_items(atomic_load(&pool->ticket)) && !atomic_load(&pool->stop)) {
    pthread_cond_wait(&pool->wake, &pool->mutex);
  }
  atomic_fetch_sub(&pool->sleepers, 1);
  pthread_mutex_unlock(&pool->mutex);
}

static void *thread_main(void *argument) {
  struct member *member = argument;
  while (!atomic_load(&member->pool->stop)) {
    while (work_once(member->pool, member->worker)) continue;
    sleep_until_work(member->pool);
  }
  return NULL;
}

static void wake_all(struct cpu_pool *pool) {
  if (!atomic_load(&pool->sleepers)) return;
  pthread_mutex_lock(&pool->mutex);
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->mutex);
}

static void wait_done(struct cpu_pool *pool, int32_t items) {
  for (int i = 0; i < SPINS; i++) {
    if (atomic_load(&pool->done) == items) return;
    relax();
  }
  pthread_mutex_lock(&pool->mutex);
  atomic_store(&pool->caller_sleeps, true);
  while (atomic_load(&pool->done) != items) pthread_cond_wait(&pool->finished, &pool->mutex);
  atomic_store(&pool->caller_sleeps, false);
  pthread_mutex_unlock(&pool->mutex);
}

/* One job: what fits a ticket. */
static void run_job(struct cpu_pool *pool, cpu_pool_work work, void *context, int32_t first, int32_t items) {
  uint64_t job = (atomic_load(&pool->ticket) >> 2 * ITEM_BITS) + 1;
  atomic_store(&pool->work, work);
  atomic_store(&pool->context, context);
  atomic_store(&pool->first, first);
  atomic_store(&pool->done, 0);
  atomic_store(&pool->ticket, job << 2 * ITEM_BITS | (uint64_t)items << ITEM_BITS);
  wake_all(pool);
  while (work_once(pool, 0)) continue;
  wait_done(pool, items);
}

void cpu_pool_run(struct cpu_pool *pool, cpu_pool_work work, void *context, int32_t items) {
  if (pool->threads == 1 || items == 1) {
    for (int32_t i = 0; i < items; i++) work(context, 0, i);
    return;
  }
  for (int32_t first = 0; first < items; first += (int32_t)ITEM_MASK) {
    int32_t rest = items - first;
    run_job(pool, work, context, first, rest < (int32_t)ITEM_MASK ? rest : (int32_t)ITEM_MASK);
  }
}

int32_t cpu_pool_threads(const struct cpu_pool *pool) {
  return pool->threads;
}

static td_status start_threads(struct cpu_pool *pool) {
  for (; pool->started < pool->threads - 1; pool->started++) {
    struct member *member = &pool->members[pool->started];
    member->pool = pool;
    member->worker = pool->started + 1;
    int error = pthread_create(&member->thread, NULL, thread_main, member);
    if (error) {
      return td_fail(TD_EXHAUSTED, "cpu: threads: wanted %d, found that the system starts %d: %s", pool->threads,
                     pool->started + 1, strerror(error));
    }
  }
  return TD_OK;
}

td_status cpu_pool_open(int32_t threads, struct cpu_pool **out_pool) {
  struct cpu_pool *pool;
  void *members;
  TD_TRY(td_alloc((size_t)threads, sizeof *pool->members, &members));
  td_status status = td_alloc(1, sizeof *pool, (void **)&pool);
  if (status) {
    free(members);
    return status;
  }
  pool->members = members;
  pool->threads = threads;
  pthread_mutex_init(&pool->mutex, NULL);
  pthread_cond_init(&pool->wake, NULL);
  pthread_cond_init(&pool->finished, NULL);
  status = start_threads(pool);
  if (status) {
    cpu_pool_close(pool);
    return status;
  }
  *out_pool = pool;
  return TD_OK;
}

void cpu_pool_close(struct cpu_pool *pool) {
  if (!pool) return;
  atomic_store(&pool->stop, true);
  pthread_mutex_lock(&pool->mutex);
  pthread_cond_broadcast(&pool->wake);
  pthread_mutex_unlock(&pool->mutex);
  for (int32_t i = 0; i < pool->started; i++) pthread_join(pool->members[i].thread, NULL);
  pthread_cond_destroy(&pool->finished);
  pthread_cond_destroy(&pool->wake);
  pthread_mutex_destroy(&pool->mutex);
  free(pool->members);
  free(pool);
}
