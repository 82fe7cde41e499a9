/* SPDX-License-Identifier: Apache-2.0
 *
 * cuBLASLt: weights converted once and kept, one cached descriptor and algorithm per shape, activations narrowed in
 * scratch memory. Row-major out[rows, n] = in[rows, k] * weight[n, k]^T is, column-major, (n x rows) = weight^T * in.
 */
#include "blas.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cublaslt.h"
#include "library.h"

#define WORKSPACE (32u << 20)
#define MOST_SHAPES 512
/* 16 bytes of the narrowest type: what cuBLASLt wants rows aligned to. */
#define ALIGNED_COLS 16

struct narrow_weight {
  const struct td_buffer *buffer;
  uint64_t offset;
  int64_t rows, cols;
  cuda_ptr data, owned; /* owned 0: the weight itself is narrow already */
  cuda_ptr scale;       /* e4m3: float, behind the data */
  enum cuda_narrow narrow;
};

struct shape {
  int64_t n, k, rows;
  int type; /* of both operands: CUDA_LT_BF16, ... */
  cuda_lt_desc desc;
  cuda_lt_layout a, b, c;
  struct cuda_lt_algo algo;
};

struct cuda_blas {
  cuda_lt handle;
  bool fp8;
  struct narrow_weight *weights;
  size_t weight_count, weight_capacity;
  struct shape *shapes;
  size_t shape_count, shape_capacity;
};

/* ---- the library, once per process ---- */

static struct cuda_lt_functions lt;
static char lt_reason[256];
static pthread_once_t lt_once = PTHREAD_ONCE_INIT;

static void lt_look(void) {
  static const char *const names[] = {"libcublasLt.so.13", "libcublasLt.so.12", NULL};
  static const struct cuda_library_source source = {"TANDEM_CUDA_CUBLASLT", names};
  static const struct cuda_symbol symbols[] = {
#define X(name, parameters) {#name, offsetof(struct cuda_lt_functions, name)},
      CUDA_LT(X)
#undef X
          {NULL, 0}};
  if (cuda_library_open(&source, symbols, &lt, lt_reason, sizeof lt_reason)) lt_reason[0] = 0;
}

static td_status lt_check(const struct cuda_device *device, int result, const char *what, const struct shape *shape) {
  if (!result) return TD_OK;
  return td_fail(TD_UNAVAILABLE, "%s: cuBLASLt: %s of %lld x %lld x %lld: status %d", device->chip->name, what,
                 (long long)shape->rows, (long long)shape->n, (long long)shape->k, result);
}
#define LT_TRY(call, what) TD_TRY(lt_check(device, lt.call, what, shape))

static td_status want_fp8(const struct cuda_device *device, bool *out_fp8) {
  const char *wanted = getenv("TANDEM_CUDA_FP8");
  *out_fp8 = false;
  if (!wanted || !*wanted || strcmp(wanted, "0") == 0) return TD_OK;
  if (strcmp(wanted, "1") != 0) return td_fail(TD_CONFIG, "TANDEM_CUDA_FP8: found '%s', expected 0 or 1", wanted);
  const struct cuda_chip *chip = device->chip;
  if (chip->major * 10 + chip->minor < 89) {
    return td_fail(TD_CONFIG, "TANDEM_CUDA_FP8=1: found %s of compute capability %d.%d, expected 8.9 or later",
                   chip->name, chip->major, chip->minor);
  }
  *out_fp8 = true;
  return TD_OK;
}

td_status cuda_blas_open(struct cuda_device *device) {
  bool fp8;
  TD_TRY(want_fp8(device, &fp8));
  pthread_once(&lt_once, lt_look);
  if (lt_reason[0]) return td_fail(TD_UNAVAILABLE, "cuBLASLt, for exact = false: %s", lt_reason);
  struct cuda_blas *blas;
  TD_TRY(td_alloc(1, sizeof *blas, (void **)&blas));
  blas->fp8 = fp8;
  int result = lt.cublasLtCreate(&blas->handle);
  if (result) {
    free(blas);
    return td_fail(TD_UNAVAILABLE, "%s: cuBLASLt does not start: status %d", device->chip->name, result);
  }
  device->blas = blas;
  return TD_OK;
}

static void free_shape(struct shape *shape) {
  if (shape->a) lt.cublasLtMatrixLayoutDestroy(shape->a);
  if (shape->b) lt.cublasLtMatrixLayoutDestroy(shape->b);
  if (shape->c) lt.cublasLtMatrixLayoutDestroy(shape->c);
  if (shape->desc) lt.cublasLtMatmulDescDestroy(shape->desc);
}

void cuda_blas_close(struct cuda_device *device) {
  struct cuda_blas *blas = device->blas;
  if (!blas) return;
  for (size_t i = 0; i < blas->shape_count; i++) free_shape(&blas->shapes[i]);
  for (size_t i = 0; i < blas->weight_count; i++) cuda_release(device, blas->weights[i].owned);
  lt.cublasLtDestroy(blas->handle);
  free(blas->shapes);
  free(blas->weights);
  free(blas);
  device->blas = NULL;
}

/* ---- narrowing ---- */

static uint64_t narrow_bytes(enum cuda_narrow narrow) {
  return narrow == CUDA_E4M3 ? 1 : 2;
}

static uint64_t padded(uint64_t bytes) {
  return (bytes + 255) / 256 * 256;
}

/* A matrix of any type, dense in a narrow one. With e4m3, `scale` is two floats and two counters. */
struct narrowing {
  cuda_ptr src, dst, scale;
  int64_t rows, cols;
  enum td_dtype dtype;
  enum cuda_narrow narrow;
};
#define SCALE_BYTES 256u

static td_status find_scale(struct cuda_device *device, const struct narrowing *n) {
  struct cuda_amax_args args = {.src = n->src,
                                .scale = n->scale,
                                .max_bits = n->scale + 2 * sizeof(float),
                                .counter = n->scale + 3 * sizeof(float),
                                .rows = n->rows,
                                .cols = n->cols,
                                .row_bytes = cuda_row_bytes(n->dtype, n->cols),
                                .dtype = (int32_t)n->dtype};
  CUDA_TRY(device, cuMemsetD8Async(args.max_bits, 0, 2 * sizeof(uint32_t), device->compute), "clearing a maximum");
  struct cuda_grid grid = cuda_elements_grid(n->rows * n->cols);
  return cuda_launch(device, CUDA_KERNEL_AMAX, &grid, &args);
}

static td_status narrow(struct cuda_device *device, const struct narrowing *n) {
  struct cuda_narrow_args args = {.src = n->src,
                                  .dst = n->dst,
                                  .rows = n->rows,
                                  .cols = n->cols,
                                  .row_bytes = cuda_row_bytes(n->dtype, n->cols),
                                  .dtype = (int32_t)n->dtype,
                                  .narrow = n->narrow};
  if (n->narrow == CUDA_E4M3) {
    TD_TRY(find_scale(device, n));
    args.inverse_scale = n->scale + sizeof(float);
  }
  struct cuda_grid grid = cuda_elements_grid(n->rows * n->cols);
  return cuda_launch(device, CUDA_KERNEL_NARROW, &grid, &args);
}

/* ---- weights ---- */

static enum cuda_narrow narrow_of(const struct cuda_blas *blas, const struct td_view *weight) {
  if (blas->fp8) return CUDA_E4M3;
  return weight->dtype == TD_F16 ? CUDA_FP16 : CUDA_BF16;
}

static td_status convert(struct cuda_device *device, const struct td_view *weight, struct narrow_weight *out) {
  out->narrow = narrow_of(device->blas, weight);
  out->data = cuda_address(weight);
  if (!device->blas->fp8 && (weight->dtype == TD_F16 || weight->dtype == TD_BF16)) return TD_OK;
  uint64_t bytes = padded((uint64_t)weight->rows * (uint64_t)weight->cols * narrow_bytes(out->narrow));
  TD_TRY(cuda_alloc(device, bytes + SCALE_BYTES, "a weight for cuBLASLt", &out->owned));
  out->data = out->owned;
  out->scale = out->owned + bytes;
  struct narrowing narrowing = {.src = cuda_address(weight),
                                .dst = out->data,
                                .scale = out->scale,
                                .rows = weight->rows,
                                .cols = weight->cols,
                                .dtype = weight->dtype,
                                .narrow = out->narrow};
  td_status status = narrow(device, &narrowing);
  if (status) cuda_release(device, out->owned);
  return status;
}

static td_status find_weight(struct cuda_device *device, const struct td_view *weight,
                             const struct narrow_weight **out_weight) {
  struct cuda_blas *blas = device->blas;
  for (size_t i = 0; i < blas->weight_count; i++) {
    const struct narrow_weight *had = &blas->weights[i];
    if (had->buffer != weight->buffer || had->offset != weight->offset) continue;
    if (had->rows != weight->rows || had->cols != weight->cols) continue;
    *out_weight = had;
    return TD_OK;
  }
  TD_TRY(td_grow((void **)&blas->weights, &blas->weight_capacity, blas->weight_count + 1, sizeof *blas->weights));
  struct narrow_weight made = {
      .buffer = weight->buffer, .offset = weight->offset, .rows = weight->rows, .cols = weight->cols};
  TD_TRY(convert(device, weight, &made));
  blas->weights[blas->weight_count] = made;
  *out_weight = &blas->weights[blas->weight_count++];
  return TD_OK;
}

td_status cuda_blas_prepare(struct cuda_device *device, const struct td_view *weight) {
  const struct narrow_weight *ignored;
  return find_weight(device, weight, &ignored);
}

void cuda_blas_forget(struct cuda_device *device, const struct td_buffer *buffer) {
  struct cuda_blas *blas = device->blas;
  for (size_t i = 0; blas && i < blas->weight_count;) {
    if (blas->weights[i].buffer != buffer) {
      i++;
      continue;
    }
    cuda_release(device, blas->weights[i].owned);
    blas->weights[i] = blas->weights[--blas->weight_count];
  }
}

/* ---- shapes ---- */

static td_status choose_algo(struct cuda_device *device, struct shape *shape, cuda_lt_preference preference) {
  size_t workspace = WORKSPACE;
  struct cuda_lt_result result;
  int found = 0;
  LT_TRY(cublasLtMatmulPreferenceSetAttribute(preference, CUDA_LT_PREFERENCE_WORKSPACE, &workspace, sizeof workspace),
         "a preference");
  LT_TRY(cublasLtMatmulAlgoGetHeuristic(device->blas->handle, shape->desc, shape->a, shape->b, shape->c, shape->c,
                                        preference, 1, &result, &found),
         "choosing an algorithm for a product");
  if (found < 1) return lt_check(device, -1, "no algorithm for a product", shape);
  shape->algo = result.algo;
  return TD_OK;
}

/* A (the weight) is k x n, transposed; B (the input) k x rows; C and D n x rows. */
static td_status describe(struct cuda_device *device, struct shape *shape) {
  int type = shape->type, transposed = CUDA_LT_TRANSPOSED;
  uint64_t n = (uint64_t)shape->n, k = (uint64_t)shape->k, rows = (uint64_t)shape->rows;
  LT_TRY(cublasLtMatmulDescCreate(&shape->desc, CUDA_LT_COMPUTE_F32, CUDA_LT_F32), "describing a product");
  LT_TRY(cublasLtMatmulDescSetAttribute(shape->desc, CUDA_LT_DESC_TRANSA, &transposed, sizeof transposed),
         "describing a product");
  LT_TRY(cublasLtMatrixLayoutCreate(&shape->a, type, k, n, shape->k), "describing a product");
  LT_TRY(cublasLtMatrixLayoutCreate(&shape->b, type, k, rows, shape->k), "describing a product");
  LT_TRY(cublasLtMatrixLayoutCreate(&shape->c, CUDA_LT_F32, n, rows, shape->n), "describing a product");
  cuda_lt_preference preference;
  LT_TRY(cublasLtMatmulPreferenceCreate(&preference), "a preference");
  td_status status = choose_algo(device, shape, preference);
  lt.cublasLtMatmulPreferenceDestroy(preference);
  return status;
}

/* A server sees ever new numbers of rows: a full list is begun anew. */
static void bound_shapes(struct cuda_blas *blas) {
  if (blas->shape_count < MOST_SHAPES) return;
  for (size_t i = 0; i < blas->shape_count; i++) free_shape(&blas->shapes[i]);
  blas->shape_count = 0;
}

static td_status find_shape(struct cuda_device *device, const struct shape *wanted, const struct shape **out_shape) {
  struct cuda_blas *blas = device->blas;
  for (size_t i = 0; i < blas->shape_count; i++) {
    const struct shape *had = &blas->shapes[i];
    if (had->n != wanted->n || had->k != wanted->k || had->rows != wanted->rows || had->type != wanted->type) {
      continue;
    }
    *out_shape = had;
    return TD_OK;
  }
  bound_shapes(blas);
  TD_TRY(td_grow((void **)&blas->shapes, &blas->shape_capacity, blas->shape_count + 1, sizeof *blas->shapes));
  struct shape made = *wanted;
  td_status status = describe(device, &made);
  if (status) {
    free_shape(&made);
    return status;
  }
  blas->shapes[blas->shape_count] = made;
  *out_shape = &blas->shapes[blas->shape_count++];
  return TD_OK;
}

/* ---- products ---- */

bool cuda_blas_takes(const struct cuda_device *device, int32_t rows, const struct cuda_product_work *products,
                     int32_t count) {
  (void)device;
  if (rows <= CUDA_FEW_ROWS) return false;
  for (int32_t i = 0; i < count; i++) {
    const struct td_view *weight = products[i].weight;
    if (weight->rows % ALIGNED_COLS || weight->cols % ALIGNED_COLS || cuda_address(weight) % ALIGNED_COLS) return false;
  }
  return true;
}

/* The narrowed input, and the library's workspace behind it. */
struct operand {
  cuda_ptr data, scale, workspace;
  enum cuda_narrow narrow;
};

static td_status narrow_input(struct cuda_device *device, cuda_ptr in, int32_t rows, int64_t k, enum cuda_narrow to,
                              struct operand *out) {
  uint64_t bytes = padded((uint64_t)rows * (uint64_t)k * narrow_bytes(to));
  TD_TRY(cuda_scratch(device, bytes + SCALE_BYTES + WORKSPACE, &out->data));
  out->scale = out->data + bytes;
  out->workspace = out->scale + SCALE_BYTES;
  out->narrow = to;
  struct narrowing narrowing = {
      .src = in, .dst = out->data, .scale = out->scale, .rows = rows, .cols = k, .dtype = TD_F32, .narrow = to};
  return narrow(device, &narrowing);
}

static td_status set_scales(struct cuda_device *device, const struct shape *shape, const struct narrow_weight *weight,
                            const struct operand *input) {
  if (shape->type != CUDA_LT_E4M3) return TD_OK;
  LT_TRY(cublasLtMatmulDescSetAttribute(shape->desc, CUDA_LT_DESC_A_SCALE, &weight->scale, sizeof weight->scale),
         "setting a scale");
  LT_TRY(cublasLtMatmulDescSetAttribute(shape->desc, CUDA_LT_DESC_B_SCALE, &input->scale, sizeof input->scale),
         "setting a scale");
  return TD_OK;
}

static void *pointer(cuda_ptr address) {
  return (void *)(uintptr_t)address;
}

static td_status add_bias(struct cuda_device *device, const struct cuda_product_work *product, int32_t rows) {
  struct cuda_add_args args = {.a = product->out,
                               .bias = product->bias,
                               .out = product->out,
                               .n = product->weight->rows,
                               .rows = rows,
                               .dtype = TD_F32};
  struct cuda_grid grid = cuda_elements_grid(rows * args.n);
  return cuda_launch(device, CUDA_KERNEL_ADD, &grid, &args);
}

static td_status multiply(struct cuda_device *device, const struct operand *input, int32_t rows,
                          const struct narrow_weight *weight, const struct cuda_product_work *product) {
  static const int types[] = {[CUDA_BF16] = CUDA_LT_BF16, [CUDA_FP16] = CUDA_LT_F16, [CUDA_E4M3] = CUDA_LT_E4M3};
  static const float one = 1.0f, zero = 0.0f;
  const struct shape wanted = {
      .n = product->weight->rows, .k = product->weight->cols, .rows = rows, .type = types[weight->narrow]};
  const struct shape *shape;
  TD_TRY(find_shape(device, &wanted, &shape));
  TD_TRY(set_scales(device, shape, weight, input));
  const void *c = pointer(product->add ? product->add : product->out);
  LT_TRY(cublasLtMatmul(device->blas->handle, shape->desc, &one, pointer(weight->data), shape->a, pointer(input->data),
                        shape->b, product->add ? &one : &zero, c, shape->c, pointer(product->out), shape->c,
                        &shape->algo, pointer(input->workspace), WORKSPACE, device->compute),
         "a product");
  return product->bias ? add_bias(device, product, rows) : TD_OK;
}

td_status cuda_blas_products(struct cuda_device *device, cuda_ptr in, int32_t rows,
                             const struct cuda_product_work *products, int32_t count) {
  struct operand input = {0};
  for (int32_t i = 0; i < count; i++) {
    const struct narrow_weight *weight;
    TD_TRY(find_weight(device, products[i].weight, &weight));
    if (i == 0 || weight->narrow != input.narrow) {
      TD_TRY(narrow_input(device, in, rows, products[i].weight->cols, weight->narrow, &input));
    }
    TD_TRY(multiply(device, &input, rows, weight, &products[i]));
  }
  return TD_OK;
}

td_status cuda_blas_square(struct cuda_device *device, bool wide, int64_t n, cuda_ptr a, cuda_ptr b, cuda_ptr out) {
  static const float one = 1.0f, zero = 0.0f;
  const struct shape wanted = {.n = n, .k = n, .rows = n, .type = wide ? CUDA_LT_F32 : CUDA_LT_BF16};
  const struct shape *shape;
  cuda_ptr workspace;
  TD_TRY(find_shape(device, &wanted, &shape));
  TD_TRY(cuda_scratch(device, WORKSPACE, &workspace));
  LT_TRY(cublasLtMatmul(device->blas->handle, shape->desc, &one, pointer(a), shape->a, pointer(b), shape->b, &zero,
                        pointer(out), shape->c, pointer(out), shape->c, &shape->algo, pointer(workspace), WORKSPACE,
                        device->compute),
         "a product");
  return TD_OK;
}
