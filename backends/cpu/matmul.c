/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products. Weights stay as they are stored. Few rows meet them while they are unpacked; for many, sixteen
 * weight rows at a time are expanded to float32 once. The order of summation is the same and does not know how many
 * rows there are, so prefill and decode agree to the bit. Opened inexact, OpenBLAS takes what has several rows.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "tandem/base.h"
#include "tandem/blocks.h"
#include "tandem/dtype.h"
#include "tandem/kernels.h"
#include "tandem/positions.h"

/* Rows from which on sgemm is worth its packing, and weight rows of one call of it. */
#define BLAS_TOKENS 16
#define BLAS_ROWS 128

/* Rows of x are taken this many bytes at a time, and at least so many rows. */
#define CACHED_BYTES (2 << 20)
#define CACHED_ROWS 32

static enum cpu_form form_of(enum td_dtype dtype) {
  switch (dtype) {
#define ROW(type)                                                                                 \
  case TD_##type:                                                                                 \
    return TD_GROUP_ELEMENTS_##type == 16 ? TD_HAS_MINIMUM_##type ? CPU_BY_16_MINIMUM : CPU_BY_16 \
           : TD_HAS_MINIMUM_##type        ? CPU_BY_32_MINIMUM                                     \
                                          : CPU_BY_32;
    TD_QUANTISED_TYPES(ROW)
#undef ROW
    default:
      return CPU_PLAIN;
  }
}

td_status cpu_product_describe(enum td_dtype dtype, const unsigned char *weight, int64_t n, int64_t k,
                               struct cpu_product *out_product) {
  const struct td_dtype_info *info = td_dtype_info((uint32_t)dtype);
  uint64_t row_bytes;
  TD_TRY(td_dtype_row_bytes(dtype, k, &row_bytes));
  *out_product = (struct cpu_product){.weight = weight,
                                      .dtype = dtype,
                                      .form = form_of(dtype),
                                      .block_elements = info->block_elements,
                                      .block_bytes = info->block_bytes,
                                      .row_bytes = row_bytes,
                                      .n = n,
                                      .k = k};
  return TD_OK;
}

static td_status describe(const struct td_op_call *call, struct cpu_product *out_product) {
  const struct td_view *weight = &call->weight;
  return cpu_product_describe(weight->dtype, weight->buffer->data + weight->offset, call->op->n, weight->cols,
                              out_product);
}

/* Blocks of weight rows that one worker takes one after the other; others help when they are done with their own. */
struct range {
  _Atomic int64_t next;
  int64_t end;
  unsigned char apart[64 - 2 * sizeof(int64_t)]; /* no two counters in a cache line */
};

/* Products with equal n and k; an item is a block of weight rows of one of them. */
struct job {
  const struct cpu_device *device;
  const struct cpu_product *products;
  struct range *ranges; /* of each worker; NULL: items as the pool deals them */
  int64_t blocks;       /* items of each product */
  int64_t padded;       /* k, rounded up to the lanes */
  int64_t rows;         /* of an item */
};

static void expand_rows(const struct job *job, const struct cpu_product *product, int64_t first, int64_t rows,
                        float *to) {
  size_t pad = (size_t)(job->padded - product->k) * sizeof *to;
  for (int64_t r = 0; r < rows; r++, to += job->padded) {
    job->device->kernels->expand(product, first + r, to);
    memset(to + product->k, 0, pad);
  }
}

/* An item that nobody has: of the worker's own range, else of the next one's. There are as many as calls. */
static int64_t take_item(const struct job *job, int32_t worker) {
  int32_t workers = cpu_pool_threads(job->device->pool);
  for (int32_t i = 0;; i++) {
    struct range *range = &job->ranges[(worker + i) % workers];
    int64_t item = atomic_fetch_add(&range->next, 1);
    if (item < range->end) return item;
  }
}

static void multiply_block(void *context, int32_t worker, int32_t dealt) {
  const struct job *job = context;
  int64_t item = job->ranges ? take_item(job, worker) : dealt;
  const struct cpu_product *product = &job->products[item / job->blocks];
  const struct cpu_kernels *kernels = job->device->kernels;
  int64_t first = item % job->blocks * CPU_ROW_BLOCK;
  int64_t rows = product->n - first < CPU_ROW_BLOCK ? product->n - first : CPU_ROW_BLOCK;
  if (product->count <= kernels->few) {
    kernels->dots(product, first, rows);
    return;
  }
  float *expanded = cpu_scratch_of(job->device, worker);
  expand_rows(job, product, first, rows, expanded);
  memset(expanded + rows * job->padded, 0, (size_t)((CPU_ROW_BLOCK - rows) * job->padded) * sizeof *expanded);
  kernels->products(product, expanded, job->padded, first, rows);
}

/* A worker's items lie together: memory is read faster in long runs than when workers take turns, and it is memory that
 * bounds few rows. Many rows keep the order of items, in which workers share what they expand for. */
static td_status divide(const struct cpu_device *device, int64_t items, struct range **out_ranges) {
  int64_t workers = cpu_pool_threads(device->pool);
  struct range *ranges;
  TD_TRY(td_alloc((size_t)workers, sizeof *ranges, (void **)&ranges));
  for (int64_t w = 0; w < workers; w++) {
    atomic_init(&ranges[w].next, items * w / workers);
    ranges[w].end = items * (w + 1) / workers;
  }
  *out_ranges = ranges;
  return TD_OK;
}

static td_status multiply(struct cpu_device *device, const struct cpu_product *products, int64_t count) {
  int64_t k = products->k;
  struct job job = {.device = device,
                    .products = products,
                    .blocks = (products->n + CPU_ROW_BLOCK - 1) / CPU_ROW_BLOCK,
                    .padded = (k + CPU_LANES - 1) / CPU_LANES * CPU_LANES};
  int64_t items = count * job.blocks;
  TD_TRY(cpu_scratch(device, CPU_ROW_BLOCK * job.padded));
  if (products->count <= device->kernels->few) TD_TRY(divide(device, items, &job.ranges));
  cpu_pool_run(device->pool, multiply_block, &job, (int32_t)items);
  free(job.ranges);
  return TD_OK;
}

/* ---- inexact: expanded tiles through sgemm ---- */

static void multiply_blas(void *context, int32_t worker, int32_t item) {
  const struct job *job = context;
  const struct cpu_product *product = job->products;
  int64_t first = item * job->rows;
  int rows = (int)(product->n - first < job->rows ? product->n - first : job->rows), k = (int)product->k;
  float *expanded = cpu_scratch_of(job->device, worker);
  expand_rows(job, product, first, rows, expanded);
  job->device->sgemm(CPU_BLAS_ROW_MAJOR, CPU_BLAS_AS_IS, CPU_BLAS_TRANSPOSED, (int)product->count, rows, k, 1.0f,
                     product->x[0], k, expanded, (int)job->padded, 0.0f, product->out[0] + first, (int)product->n);
}

static td_status multiply_inexact(struct cpu_device *device, const struct cpu_product *product) {
  struct job job = {.device = device, .products = product, .rows = BLAS_ROWS, .padded = product->k};
  TD_TRY(cpu_scratch(device, BLAS_ROWS * job.padded));
  cpu_pool_run(device->pool, multiply_blas, &job, (int32_t)((product->n + BLAS_ROWS - 1) / BLAS_ROWS));
  return TD_OK;
}

/* ---- MATMUL ---- */

/* Rows of x that meet all weights before the next do: what a core's share of the last cache holds. */
static int64_t rows_at_once(int64_t rows, int64_t k) {
  int64_t fitting = CACHED_BYTES / (k * (int64_t)sizeof(float));
  if (fitting < CACHED_ROWS) fitting = CACHED_ROWS;
  return fitting < rows ? fitting : rows;
}

/* The product's rows, `at_once` in each of `parts`. */
static void split_rows(const struct cpu_product *whole, int64_t at_once, struct cpu_product *parts) {
  for (int64_t t = 0; t < whole->count; t += at_once, parts++) {
    *parts = *whole;
    parts->x += t;
    parts->out += t;
    parts->count = whole->count - t < at_once ? whole->count - t : at_once;
  }
}

td_status cpu_matmul(struct cpu_device *device, const struct td_op_call *call) {
  struct cpu_product whole;
  int64_t rows = call->in[0].rows, n = call->op->n, k = call->op->k;
  int64_t at_once = rows_at_once(rows, k), parts = (rows + at_once - 1) / at_once;
  void *list;
  TD_TRY(describe(call, &whole));
  TD_TRY(cpu_list(device, (uint64_t)parts * sizeof whole + 2 * (uint64_t)rows * sizeof(float *), &list));
  struct cpu_product *products = list;
  const float **x = (const float **)(void *)(products + parts);
  float **out = (float **)(void *)(x + rows);
  for (int64_t t = 0; t < rows; t++) {
    x[t] = cpu_floats(&call->in[0]) + t * k;
    out[t] = cpu_floats(&call->out) + t * n;
  }
  whole.x = x;
  whole.out = out;
  whole.count = rows;
  bool fits = rows <= INT32_MAX && n <= INT32_MAX && k <= INT32_MAX; /* what CBLAS can count */
  if (device->sgemm && rows >= BLAS_TOKENS && fits) return multiply_inexact(device, &whole);
  split_rows(&whole, at_once, products);
  return multiply(device, products, parts);
}

/* ---- EXPERT_MATMUL: rows are gathered by expert, so that each expert's weights pass once a step ---- */

struct gather {
  const struct td_op_call *call;
  int64_t used, tokens;
  struct cpu_product *products; /* of the experts that have rows */
  int64_t *begin;               /* [experts + 1]: where an expert's rows lie in the lists */
  const float **x;
  float **out;
};

static const float *routed(const struct gather *gather, int64_t t) {
  return cpu_floats(&gather->call->in[1]) + t * 2 * gather->used;
}

/* Counts each expert's rows into begin[expert + 1]; the sums make places of them. */
static td_status count_rows(struct gather *gather) {
  const struct td_op *op = gather->call->op;
  memset(gather->begin, 0, (size_t)(op->experts + 1) * sizeof *gather->begin);
  for (int64_t t = 0; t < gather->tokens; t++) {
    for (int64_t slot = 0; slot < gather->used; slot++) {
      float id = routed(gather, t)[slot];
      if (!(id >= 0 && id < (float)op->experts)) {
        return td_fail(TD_INTERNAL, "cpu: row %" PRId64 ", slot %" PRId64 ": found expert %g, expected 0 to %d", t,
                       slot, (double)id, op->experts - 1);
      }
      gather->begin[(int32_t)id + 1]++;
    }
  }
  for (int32_t e = 0; e < op->experts; e++) gather->begin[e + 1] += gather->begin[e];
  return TD_OK;
}

/* Afterwards begin[e] is where expert e's rows end. */
static void place_rows(struct gather *gather) {
  const struct td_op_call *call = gather->call;
  int64_t in_cols = call->in[0].cols, n = call->op->n, k = call->op->k;
  for (int64_t t = 0; t < gather->tokens; t++) {
    for (int32_t slot = 0; slot < gather->used; slot++) {
      int64_t place = gather->begin[td_routed_id(routed(gather, t), slot)]++;
      gather->x[place] = cpu_floats(&call->in[0]) + t * in_cols + td_expert_input(slot, in_cols, k);
      gather->out[place] = cpu_floats(&call->out) + (t * gather->used + slot) * n;
    }
  }
}

/* One product for each expert with rows; returns how many. */
static int64_t make_products(struct gather *gather, const struct cpu_product *whole) {
  int64_t count = 0, from = 0;
  for (int32_t e = 0; e < gather->call->op->experts; e++) {
    int64_t end = gather->begin[e];
    if (end == from) continue;
    struct cpu_product *product = &gather->products[count++];
    *product = *whole;
    product->weight += (uint64_t)td_expert_row(e, whole->n, 0) * whole->row_bytes;
    product->x = gather->x + from;
    product->out = gather->out + from;
    product->count = end - from;
    from = end;
  }
  return count;
}

td_status cpu_expert_matmul(struct cpu_device *device, const struct td_op_call *call) {
  struct cpu_product whole;
  struct gather gather = {.call = call, .used = call->op->experts_used, .tokens = call->in[0].rows};
  uint64_t rows = (uint64_t)(gather.tokens * gather.used), experts = (uint64_t)call->op->experts;
  void *list;
  TD_TRY(describe(call, &whole));
  TD_TRY(
      cpu_list(device, experts * sizeof whole + (experts + 1) * sizeof(int64_t) + 2 * rows * sizeof(float *), &list));
  gather.products = list;
  gather.begin = (int64_t *)(void *)(gather.products + experts);
  gather.x = (const float **)(void *)(gather.begin + experts + 1);
  gather.out = (float **)(void *)(gather.x + rows);
  TD_TRY(count_rows(&gather));
  place_rows(&gather);
  return multiply(device, gather.products, make_products(&gather, &whole));
}
