/* SPDX-License-Identifier: Apache-2.0
 *
 * What this machine's processors give: reads and triads by threads over arrays that no cache holds, and the float32
 * product of OpenBLAS, opened at run time so that tandem neither needs nor links it.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>

#include "bench.h"
#include "tandem/base.h"

#define GEMM_SIZE 1536
#define SAMPLES_MIN 3
#define SAMPLES_MAX 100 /* a round */
#define CACHE_MULTIPLE 4
#define CACHE_LEVELS 8
#define BEYOND_MIN ((uint64_t)64 << 20)
#define BEYOND_UNKNOWN ((uint64_t)256 << 20)
#define BEYOND_MAX ((uint64_t)256 << 20)

/* The largest cache that one processor sees, bytes; 0 if the system does not say. */
static uint64_t largest_cache(void) {
  uint64_t largest = 0;
  for (int i = 0; i < CACHE_LEVELS; i++) {
    char path[96], text[32];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", i);
    FILE *file = fopen(path, "r");
    if (!file) continue;
    uint64_t bytes = fgets(text, sizeof text, file) ? 1024 * strtoull(text, NULL, 10) : 0; /* "32768K" */
    fclose(file);
    if (bytes > largest) largest = bytes;
  }
  return largest;
}

uint64_t bench_host_beyond_caches(void) {
  uint64_t cache = largest_cache(), bytes = cache ? CACHE_MULTIPLE * cache : BEYOND_UNKNOWN;
  return bytes < BEYOND_MIN ? BEYOND_MIN : bytes > BEYOND_MAX ? BEYOND_MAX : bytes;
}

/* ---- memory ---- */

struct stream {
  enum td_ceiling which;
  double *arrays[3];
  size_t length; /* of each array */
  int32_t threads;
  double seconds;
  pthread_mutex_t gate; /* held until all threads are there */
  pthread_barrier_t barrier;
  bool stop;
  struct bench_ceiling *ceiling;
};
struct share {
  struct stream *stream;
  size_t begin, end;
  uint64_t sum; /* so that the reads are needed */
  pthread_t thread;
};

static void first_touch(const struct stream *stream, const struct share *share) {
  for (int a = 0; a < 3; a++) {
    for (size_t i = share->begin; stream->arrays[a] && i < share->end; i++) stream->arrays[a][i] = 1.1 + a;
  }
}

/* Integer sums: the compiler may reorder those, so that the loop is bound by memory. */
static uint64_t read_all(const double *array, size_t begin, size_t end) {
  uint64_t sums[8] = {0};
  const uint64_t *words = (const uint64_t *)(const void *)array;
  for (size_t i = begin; i + 8 <= end; i += 8) {
    for (size_t j = 0; j < 8; j++) sums[j] += words[i + j];
  }
  return sums[0] + sums[1] + sums[2] + sums[3] + sums[4] + sums[5] + sums[6] + sums[7];
}

static void triad(double *restrict a, const double *restrict b, const double *restrict c, size_t begin, size_t end) {
  for (size_t i = begin; i < end; i++) a[i] = b[i] + 3.0 * c[i];
}

static void pass(struct share *share) {
  const struct stream *stream = share->stream;
  if (stream->which == TD_CEILING_READ) {
    share->sum += read_all(stream->arrays[0], share->begin, share->end);
  } else {
    triad(stream->arrays[0], stream->arrays[1], stream->arrays[2], share->begin, share->end);
  }
}

static void *helper(void *argument) {
  struct share *share = argument;
  struct stream *stream = share->stream;
  pthread_mutex_lock(&stream->gate);
  bool stop = stream->stop;
  pthread_mutex_unlock(&stream->gate);
  if (stop) return NULL;
  first_touch(stream, share);
  for (;;) {
    pthread_barrier_wait(&stream->barrier);
    if (stream->stop) return NULL;
    pass(share);
    pthread_barrier_wait(&stream->barrier);
  }
}

/* The caller's share, and the clock. The first pass warms up. */
static void lead(struct stream *stream, struct share *share) {
  double bytes = (double)stream->length * sizeof(double) * (stream->which == TD_CEILING_READ ? 1 : 3), total = 0;
  int32_t done = 0;
  struct bench_spread *rate = &stream->ceiling->rate;
  first_touch(stream, share);
  while (rate->count < BENCH_SAMPLES && done <= SAMPLES_MAX && (done <= SAMPLES_MIN || total < stream->seconds)) {
    pthread_barrier_wait(&stream->barrier);
    int64_t begin = td_now_ps();
    pass(share);
    pthread_barrier_wait(&stream->barrier);
    double elapsed = td_seconds(td_now_ps() - begin);
    total += elapsed;
    if (done++ > 0) stream->ceiling->samples[rate->count++] = bytes / elapsed;
  }
  stream->stop = true;
  pthread_barrier_wait(&stream->barrier);
}

static void divide(struct stream *stream, struct share *shares) {
  size_t each = stream->length / (size_t)stream->threads / 8 * 8;
  for (int32_t i = 0; i < stream->threads; i++) {
    shares[i].stream = stream;
    shares[i].begin = each * (size_t)i;
    shares[i].end = i + 1 == stream->threads ? stream->length : each * (size_t)(i + 1);
  }
}

/* What was written has bits enough that no thread's sum is zero; somebody has to ask, or the compiler might leave the
 * reads out. */
static td_status check_sums(const struct stream *stream, const struct share *shares) {
  for (int32_t i = 0; stream->which == TD_CEILING_READ && i < stream->threads; i++) {
    if (shares[i].sum == 0) return td_fail(TD_INTERNAL, "host thread %d read only zeros", (int)i);
  }
  return TD_OK;
}

static td_status run_threads(struct stream *stream, struct share *shares) {
  int32_t started = 1;
  divide(stream, shares);
  pthread_mutex_lock(&stream->gate);
  for (; started < stream->threads; started++) {
    if (pthread_create(&shares[started].thread, NULL, helper, &shares[started])) break;
  }
  stream->stop = started < stream->threads;
  pthread_mutex_unlock(&stream->gate);
  bool complete = started == stream->threads;
  if (complete) lead(stream, &shares[0]);
  for (int32_t i = 1; i < started; i++) pthread_join(shares[i].thread, NULL);
  if (!complete) return td_fail(TD_NO_MEMORY, "cannot start %d threads to measure memory with", (int)stream->threads);
  return check_sums(stream, shares);
}

static td_status run_stream(struct stream *stream) {
  struct share *shares;
  int arrays = stream->which == TD_CEILING_READ ? 1 : 3;
  for (int a = 0; a < arrays; a++) {
    stream->arrays[a] = aligned_alloc(64, stream->length * sizeof(double));
    if (!stream->arrays[a]) {
      return td_fail(TD_NO_MEMORY, "no room for %d arrays of %zu bytes to measure memory with", arrays,
                     stream->length * sizeof(double));
    }
  }
  TD_TRY(td_alloc((size_t)stream->threads, sizeof *shares, (void **)&shares));
  pthread_mutex_init(&stream->gate, NULL);
  pthread_barrier_init(&stream->barrier, NULL, (unsigned)stream->threads);
  td_status status = run_threads(stream, shares);
  pthread_barrier_destroy(&stream->barrier);
  pthread_mutex_destroy(&stream->gate);
  free(shares);
  return status;
}

static td_status sample_memory(enum td_ceiling which, int32_t threads, double seconds, struct bench_ceiling *ceiling) {
  struct stream stream = {.which = which,
                          .length = (size_t)(bench_host_beyond_caches() / sizeof(double)),
                          .threads = threads,
                          .seconds = seconds,
                          .ceiling = ceiling};
  td_status status = run_stream(&stream);
  for (int a = 0; a < 3; a++) free(stream.arrays[a]);
  TD_TRY(status);
  return td_format(ceiling->how, sizeof ceiling->how, "%d array%s of %zu MiB, %d host thread%s",
                   which == TD_CEILING_READ ? 1 : 3, which == TD_CEILING_READ ? "" : "s",
                   stream.length * sizeof(double) >> 20, (int)threads, threads == 1 ? "" : "s");
}

/* ---- products ---- */

/* The part of cblas.h that is used here; the constants are the CBLAS standard's. */
enum { CBLAS_ROW_MAJOR = 101, CBLAS_NO_TRANSPOSE = 111, CBLAS_TRANSPOSE = 112 };
struct blas {
  void (*sgemm)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a, int lda,
                const float *b, int ldb, float beta, float *c, int ldc);
  void (*set_threads)(int threads);
  char *(*core)(void);
};

static td_status find(void *library, const char *name, void *out_function) {
  void *symbol = dlsym(library, name);
  if (!symbol) return td_fail(TD_UNAVAILABLE, "libopenblas.so.0 has no %s", name);
  *(void **)out_function = symbol;
  return TD_OK;
}

/* Never closed: its threads live as long as the program. */
static td_status open_blas(struct blas *out) {
  void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  if (!library) return td_fail(TD_UNAVAILABLE, "libopenblas.so.0 is not here");
  TD_TRY(find(library, "cblas_sgemm", &out->sgemm));
  TD_TRY(find(library, "openblas_set_num_threads", &out->set_threads));
  return find(library, "openblas_get_corename", &out->core);
}

static void sample_products(const struct blas *blas, double seconds, const float *a, const float *b, float *c,
                            struct bench_ceiling *ceiling) {
  const int n = GEMM_SIZE;
  double flops = 2.0 * n * n * n, total = 0;
  int32_t done = 0;
  while (ceiling->rate.count < BENCH_SAMPLES && done <= SAMPLES_MAX && (done <= SAMPLES_MIN || total < seconds)) {
    int64_t begin = td_now_ps();
    blas->sgemm(CBLAS_ROW_MAJOR, CBLAS_NO_TRANSPOSE, CBLAS_TRANSPOSE, n, n, n, 1.0f, a, n, b, n, 0.0f, c, n);
    double elapsed = td_seconds(td_now_ps() - begin);
    total += elapsed;
    if (done++ > 0) ceiling->samples[ceiling->rate.count++] = flops / elapsed;
  }
}

static td_status sample_gemm(int32_t threads, double seconds, struct bench_ceiling *ceiling) {
  struct blas blas = {0};
  float *matrices;
  const size_t size = (size_t)GEMM_SIZE * GEMM_SIZE;
  TD_TRY(open_blas(&blas));
  TD_TRY(td_alloc(3 * size, sizeof *matrices, (void **)&matrices));
  for (size_t i = 0; i < 2 * size; i++) matrices[i] = (float)(i % 17) * 0.0625f - 0.5f;
  blas.set_threads(threads);
  sample_products(&blas, seconds, matrices, matrices + size, matrices + 2 * size, ceiling);
  free(matrices);
  return td_format(ceiling->how, sizeof ceiling->how, "OpenBLAS (%.24s) sgemm %d x %d x %d, %d thread%s", blas.core(),
                   GEMM_SIZE, GEMM_SIZE, GEMM_SIZE, (int)threads, threads == 1 ? "" : "s");
}

td_status bench_host_ceiling(enum td_ceiling which, int32_t threads, double seconds, struct bench_ceiling *ceiling) {
  if (which == TD_CEILING_GEMM_F16) return td_fail(TD_UNAVAILABLE, "OpenBLAS has no half-precision product");
  if (which == TD_CEILING_GEMM_F32) return sample_gemm(threads, seconds, ceiling);
  return sample_memory(which, threads, seconds, ceiling);
}
