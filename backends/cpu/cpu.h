/* SPDX-License-Identifier: Apache-2.0
 *
 * The cpu backend's own parts: the device, its operators, and the inner loops in one form per instruction set.
 */
#ifndef CPU_CPU_H
#define CPU_CPU_H

#include "pool.h"
#include "tandem/backend.h"

/* Sums over an inner dimension run in this many lanes, element i in lane i % 16, and are then folded by halves. Fixed
 * here, so that SSE2, AVX2 and AVX-512 add the same numbers in the same order. */
#define CPU_LANES 16

/* Weight rows that are expanded and multiplied together: one item of the thread pool. */
#define CPU_ROW_BLOCK 16
/* Query rows that share one pass over the KV cache. */
#define CPU_QUERY_TILE 8

/* The inner loops. Strides are in elements. Every form gives the same bits. */
struct cpu_kernels {
  const char *name;
  bool (*here)(void);
  /* out[t * out_stride + r] = sum_i x[t * x_stride + i] * w[r * w_stride + i], r < CPU_ROW_BLOCK, r < rows stored.
   * w holds CPU_ROW_BLOCK rows, each padded with zeros to a multiple of CPU_LANES. */
  void (*products)(const float *w, int64_t w_stride, int64_t rows, const float *x, int64_t x_stride, int64_t tokens,
                   int64_t k, float *out, int64_t out_stride);
  /* out[j] = scale * sum_i q[i] * keys[j * stride + i] */
  void (*scores)(const float *q, const float *keys, int64_t stride, int64_t count, int64_t dim, float scale,
                 float *out);
  /* out[i] += sum_j p[j] * values[j * stride + i], j ascending */
  void (*mix)(const float *p, const float *values, int64_t stride, int64_t count, int64_t dim, float *out);
  /* s[j] = exp(s[j] - max s); returns their sum */
  float (*soften)(float *s, int64_t count);
  /* out = x / sqrt(mean(x^2) + epsilon) * w */
  void (*norm)(const float *x, const float *w, int64_t n, float epsilon, float *out);
  void (*silu_mul)(const float *a, const float *b, int64_t n, float *out);
};
/* The widest that this CPU has, or the one that the environment variable TANDEM_CPU_ISA names ("plain", "avx2",
 * "avx512"); TD_CONFIG, TD_UNAVAILABLE. */
td_status cpu_kernels_choose(const struct cpu_kernels **out_kernels);

struct cpu_device {
  struct td_device base;
  const struct cpu_kernels *kernels;
  struct cpu_pool *pool;
  uint64_t capacity, used; /* bytes of buffers */
  float *scratch;          /* cpu_pool_threads pieces of scratch_floats */
  int64_t scratch_floats;
};

struct td_buffer {
  uint64_t bytes;
  void *block;         /* what free takes */
  unsigned char *data; /* aligned to 64 */
};

static inline struct cpu_device *cpu_of(struct td_device *device) {
  return (struct cpu_device *)device;
}
static inline float *cpu_floats(const struct td_view *view) {
  return (float *)(void *)(view->buffer->data + view->offset);
}

/* Makes each worker's scratch at least `floats` long. */
td_status cpu_scratch(struct cpu_device *device, int64_t floats);
static inline float *cpu_scratch_of(const struct cpu_device *device, int32_t worker) {
  return device->scratch + worker * device->scratch_floats;
}

/* The operators. */
td_status cpu_embed(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_rms_norm(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_matmul(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_rope(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_kv_append(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_attention(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_silu_mul(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_add(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_select(struct cpu_device *device, const struct td_op_call *call);

#endif
