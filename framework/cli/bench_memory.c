/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads and triads by threads of the host over arrays that no cache holds, a pass at a time. Threads and arrays stay
 * for the whole run and sleep between passes, so that a pass can stand beside any piece of work. A thread takes pieces
 * of its own share, which it touched first, and then of others', so that one that is kept waiting keeps nobody.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bench.h"
#include "tandem/base.h"

#define ARRAYS 3
#define LINE 8          /* doubles */
#define PIECE (1 << 17) /* doubles taken at once: 1 MiB */

struct share {
  struct bench_memory *memory;
  size_t begin, end;
  _Atomic size_t next; /* not taken yet in this pass */
  uint64_t sum;        /* so that the reads are needed */
  pthread_t thread;
};
struct bench_memory {
  double *arrays[ARRAYS];
  size_t length; /* of each array */
  int32_t threads, started;
  struct share *shares;
  pthread_mutex_t gate; /* held until all threads are there */
  pthread_barrier_t barrier;
  bool stop;
  enum td_ceiling which;
};

static void first_touch(const struct share *share) {
  for (int a = 0; a < ARRAYS; a++) {
    for (size_t i = share->begin; i < share->end; i++) share->memory->arrays[a][i] = 1.1 + a;
  }
}

/* Integer sums: the compiler may reorder those, so that the loop is bound by memory. */
static uint64_t read_all(const double *array, size_t begin, size_t end) {
  uint64_t sums[LINE] = {0}, all = 0;
  const uint64_t *words = (const uint64_t *)(const void *)array;
  for (size_t i = begin; i + LINE <= end; i += LINE) {
    for (size_t j = 0; j < LINE; j++) sums[j] += words[i + j];
  }
  for (size_t j = 0; j < LINE; j++) all += sums[j];
  return all;
}

static void triad(double *restrict a, const double *restrict b, const double *restrict c, size_t begin, size_t end) {
  for (size_t i = begin; i < end; i++) a[i] = b[i] + 3.0 * c[i];
}

static uint64_t do_piece(const struct bench_memory *memory, size_t begin, size_t end) {
  if (memory->which == TD_CEILING_READ) return read_all(memory->arrays[0], begin, end);
  triad(memory->arrays[0], memory->arrays[1], memory->arrays[2], begin, end);
  return 0;
}

/* What is left of `from`. */
static void take_pieces(struct share *share, struct share *from) {
  for (;;) {
    size_t begin = atomic_fetch_add(&from->next, PIECE);
    if (begin >= from->end) return;
    share->sum += do_piece(share->memory, begin, begin + PIECE < from->end ? begin + PIECE : from->end);
  }
}

static void pass(struct share *share) {
  struct bench_memory *memory = share->memory;
  int32_t mine = (int32_t)(share - memory->shares);
  for (int32_t i = 0; i < memory->threads; i++) take_pieces(share, &memory->shares[(mine + i) % memory->threads]);
}

static void *helper(void *argument) {
  struct share *share = argument;
  struct bench_memory *memory = share->memory;
  pthread_mutex_lock(&memory->gate);
  bool stop = memory->stop;
  pthread_mutex_unlock(&memory->gate);
  if (stop) return NULL;
  first_touch(share);
  for (;;) {
    pthread_barrier_wait(&memory->barrier);
    if (memory->stop) return NULL;
    pass(share);
    pthread_barrier_wait(&memory->barrier);
  }
}

/* Somebody has to ask for the sums, or the compiler might leave the reads out. What was written has bits enough that
 * together they are not zero. */
static td_status check_sums(const struct bench_memory *memory) {
  uint64_t all = 0;
  for (int32_t i = 0; i < memory->threads; i++) all |= memory->shares[i].sum;
  return all ? TD_OK : td_fail(TD_INTERNAL, "the host's threads read only zeros");
}

td_status bench_memory_pass(struct bench_memory *memory, enum td_ceiling which, double *out_rate) {
  double arrays = which == TD_CEILING_READ ? 1 : ARRAYS;
  memory->which = which;
  for (int32_t i = 0; i < memory->threads; i++) atomic_store(&memory->shares[i].next, memory->shares[i].begin);
  int64_t begin = td_now_ps(); /* before the others are woken: they may be done before this thread goes on */
  pthread_barrier_wait(&memory->barrier);
  pass(&memory->shares[0]);
  pthread_barrier_wait(&memory->barrier);
  int64_t elapsed = td_now_ps() - begin;
  if (elapsed <= 0) return td_fail(TD_INTERNAL, "the host's clock stood still over a pass through memory");
  *out_rate = arrays * (double)(memory->length * sizeof(double)) / td_seconds(elapsed);
  return which == TD_CEILING_READ ? check_sums(memory) : TD_OK;
}

td_status bench_memory_how(const struct bench_memory *memory, enum td_ceiling which, char *out, size_t size) {
  bool one = which == TD_CEILING_READ;
  return td_format(out, size, "%d array%s of %zu MiB, %d host thread%s", one ? 1 : ARRAYS, one ? "" : "s",
                   memory->length * sizeof(double) >> 20, (int)memory->threads, memory->threads == 1 ? "" : "s");
}

static void divide(struct bench_memory *memory) {
  size_t each = memory->length / (size_t)memory->threads / LINE * LINE;
  for (int32_t i = 0; i < memory->threads; i++) {
    struct share *share = &memory->shares[i];
    share->memory = memory;
    share->begin = each * (size_t)i;
    share->end = i + 1 == memory->threads ? memory->length : each * (size_t)(i + 1);
  }
}

static td_status take_arrays(struct bench_memory *memory) {
  for (int a = 0; a < ARRAYS; a++) {
    memory->arrays[a] = aligned_alloc(64, memory->length * sizeof(double));
    if (!memory->arrays[a]) {
      return td_fail(TD_NO_MEMORY, "no room for %d arrays of %zu bytes to measure memory with", ARRAYS,
                     memory->length * sizeof(double));
    }
  }
  return td_alloc((size_t)memory->threads, sizeof *memory->shares, (void **)&memory->shares);
}

/* The caller is the first thread. Those that started before one did not are sent home by the gate. */
static td_status start(struct bench_memory *memory) {
  divide(memory);
  pthread_mutex_lock(&memory->gate);
  for (memory->started = 1; memory->started < memory->threads; memory->started++) {
    struct share *share = &memory->shares[memory->started];
    if (pthread_create(&share->thread, NULL, helper, share)) break;
  }
  memory->stop = memory->started < memory->threads;
  pthread_mutex_unlock(&memory->gate);
  if (memory->stop) {
    return td_fail(TD_NO_MEMORY, "cannot start %d threads to measure memory with", (int)memory->threads);
  }
  first_touch(&memory->shares[0]);
  return TD_OK;
}

void bench_memory_close(struct bench_memory *memory) {
  if (!memory) return;
  if (memory->started == memory->threads) { /* they wait for a pass */
    memory->stop = true;
    pthread_barrier_wait(&memory->barrier);
  }
  for (int32_t i = 1; i < memory->started; i++) pthread_join(memory->shares[i].thread, NULL);
  pthread_barrier_destroy(&memory->barrier);
  pthread_mutex_destroy(&memory->gate);
  for (int a = 0; a < ARRAYS; a++) free(memory->arrays[a]);
  free(memory->shares);
  free(memory);
}

td_status bench_memory_open(int32_t threads, struct bench_memory **out_memory) {
  struct bench_memory *memory;
  TD_TRY(td_alloc(1, sizeof *memory, (void **)&memory));
  memory->threads = threads;
  memory->length = (size_t)(bench_host_beyond_caches() / sizeof(double));
  pthread_mutex_init(&memory->gate, NULL);
  pthread_barrier_init(&memory->barrier, NULL, (unsigned)threads);
  td_status status = take_arrays(memory);
  if (!status) status = start(memory);
  if (status) {
    bench_memory_close(memory);
    return status;
  }
  *out_memory = memory;
  return TD_OK;
}
