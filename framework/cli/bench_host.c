/* SPDX-License-Identifier: Apache-2.0
 *
 * What this machine's processors give: what their caches hold, and the float32 product of OpenBLAS, opened at run time
 * so that tandem neither needs nor links it.
 */
#include <dlfcn.h>
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

td_status bench_host_product(int32_t threads, double seconds, struct bench_ceiling *ceiling) {
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
