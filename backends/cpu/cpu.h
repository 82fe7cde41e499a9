/* SPDX-License-Identifier: Apache-2.0
 *
 * The cpu backend's own parts: the device, its operators, and the inner loops in one form per instruction set.
 */
#ifndef CPU_CPU_H
#define CPU_CPU_H

#include "blas.h"
#include "pool.h"
#include "tandem/backend.h"

/* Sums over an inner dimension run in this many lanes, element i in lane i % 16, and are then folded by halves. Fixed
 * here, so that SSE2, AVX2 and AVX-512 add the same numbers in the same order. */
#define CPU_LANES 16

/* Weight rows of one item of the thread pool. */
#define CPU_ROW_BLOCK 16
/* Query rows that share one pass over the KV cache. */
#define CPU_QUERY_TILE 8
/* Values of a weight row that are unpacked together: one block of a K type, eight of the others. */
#define CPU_PIECE 256
/* Types are below this. */
#define CPU_TYPES (TD_BF16 + 1)

/* How a type's values come about: stored as floats, or q * scale [+ minimum] with a scale for 16 or 32 of them. */
enum cpu_form { CPU_PLAIN, CPU_BY_16, CPU_BY_16_MINIMUM, CPU_BY_32, CPU_BY_32_MINIMUM };

struct cpu_piece {
  int8_t q[CPU_PIECE];
  float scale[CPU_PIECE / 16], minimum[CPU_PIECE / 16];
};

/* A weight matrix and the rows that meet it: out[t][c] = sum_i x[t][i] * weight[c][i] for each row c of the matrix. */
struct cpu_product {
  const unsigned char *weight;
  enum td_dtype dtype;
  enum cpu_form form;
  int64_t block_elements, block_bytes;
  uint64_t row_bytes;
  int64_t n, k;
  const float *const *x;
  float *const *out;
  int64_t count;
};

/* A product with the rows still to come. TD_UNSUPPORTED if k is no whole number of blocks. */
td_status cpu_product_describe(enum td_dtype dtype, const unsigned char *weight, int64_t n, int64_t k,
                               struct cpu_product *out_product);

/* The inner loops. Strides are in elements. Every form gives the same bits. */
struct cpu_kernels {
  const char *name;
  bool (*here)(void);
  /* Columns first .. first + rows - 1 of a product, straight from the blocks: best for up to `few` rows of x. */
  void (*dots)(const struct cpu_product *product, int64_t first, int64_t rows);
  int64_t few;
  /* Weight row `row` as float32. */
  void (*expand)(const struct cpu_product *product, int64_t row, float *dst);
  /* The same columns from expanded weights, for any number of rows of x: w is CPU_ROW_BLOCK rows, each padded with
   * zeros to a multiple of CPU_LANES, of which `rows` are stored. */
  void (*products)(const struct cpu_product *product, const float *w, int64_t w_stride, int64_t first, int64_t rows);
  /* out[j] = scale * sum_i q[i] * keys[j * stride + i] */
  void (*scores)(const float *q, const float *keys, int64_t stride, int64_t count, int64_t dim, float scale,
                 float *out);
  /* out[i] += sum_j p[j] * values[j * stride + i], j ascending */
  void (*mix)(const float *p, const float *values, int64_t stride, int64_t count, int64_t dim, float *out);
  /* s[j] = exp(s[j] - max s); returns their sum */
  float (*soften)(float *s, int64_t count);
  /* out = x / sqrt(mean(x^2) + epsilon) * w */
  void (*norm)(const float *x, const float *w, int64_t n, float epsilon, float *out);
  /* out = f(a) * b */
  void (*silu_mul)(const float *a, const float *b, int64_t n, float *out);
  void (*gelu_mul)(const float *a, const float *b, int64_t n, float *out);
};
/* The widest that this CPU has, or the one that the environment variable TANDEM_CPU_ISA names ("plain", "avx2",
 * "avx512"); TD_CONFIG, TD_UNAVAILABLE. */
td_status cpu_kernels_choose(const struct cpu_kernels **out_kernels);

struct cpu_device {
  struct td_device base;
  const struct cpu_kernels *kernels;
  struct cpu_pool *pool;
  uint64_t capacity, used; /* bytes of buffers */
  uint64_t prepared;       /* of them: touched when allocated */
  float *scratch;          /* cpu_pool_threads pieces of scratch_floats */
  int64_t scratch_floats;
  void *list; /* an operator's own, list_bytes long */
  size_t list_bytes;
  cpu_sgemm sgemm; /* NULL: exact */
};

struct td_buffer {
  uint64_t bytes;
  void *block;         /* what free takes */
  unsigned char *data; /* aligned to 64 */
  bool prepared;
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

/* device->list, made at least `bytes` long. */
td_status cpu_list(struct cpu_device *device, uint64_t bytes, void **out_list);

/* The operators. */
td_status cpu_embed(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_rms_norm(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_matmul(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_rope(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_kv_append(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_attention(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_activation(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_add(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_router(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_expert_matmul(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_expert_sum(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_select(struct cpu_device *device, const struct td_op_call *call);
td_status cpu_lpu_run(struct cpu_device *device, const struct td_op_call *call);

#endif
