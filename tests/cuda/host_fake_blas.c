/* SPDX-License-Identifier: Apache-2.0
 *
 * A libcublasLt that computes on the host: out = alpha * op(A) * B + beta * C, column-major, from bf16, fp16, e4m3 or
 * float32 into float32, with the scales of e4m3 read from device memory. It moves its operands through the driver that
 * TANDEM_CUDA_DRIVER names.
 */
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cublaslt.h"

struct cublasLtContext {
  int (*down)(void *, unsigned long long, size_t, cuda_stream);
  int (*up)(unsigned long long, const void *, size_t, cuda_stream);
  int (*wait)(cuda_stream);
};
struct cuda_lt_desc_opaque {
  int transposed;
  unsigned long long scale[2]; /* device addresses, 0: none */
};
struct cuda_lt_layout_opaque {
  int type;
  uint64_t rows, cols;
  int64_t leading;
};
struct cuda_lt_preference_opaque {
  size_t workspace;
};

#define X(name, parameters) int name parameters;
CUDA_LT(X)
#undef X

#define MAKE(out) (((out) = calloc(1, sizeof *(out))) ? 0 : 3)

int cublasLtCreate(cuda_lt *handle) {
  const char *path = getenv("TANDEM_CUDA_DRIVER");
  void *driver = dlopen(path ? path : "libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!driver || MAKE(*handle)) return 1;
  void *symbols[] = {dlsym(driver, "cuMemcpyDtoHAsync_v2"), dlsym(driver, "cuMemcpyHtoDAsync_v2"),
                     dlsym(driver, "cuStreamSynchronize")};
  memcpy(*handle, symbols, sizeof symbols);
  return symbols[0] && symbols[1] && symbols[2] ? 0 : 1;
}
int cublasLtDestroy(cuda_lt handle) {
  free(handle);
  return 0;
}
int cublasLtMatmulDescCreate(cuda_lt_desc *desc, int compute, int scale_type) {
  if (compute != CUDA_LT_COMPUTE_F32 || scale_type != CUDA_LT_F32) return 7;
  return MAKE(*desc);
}
int cublasLtMatmulDescDestroy(cuda_lt_desc desc) {
  free(desc);
  return 0;
}
int cublasLtMatmulDescSetAttribute(cuda_lt_desc desc, int attribute, const void *value, size_t bytes) {
  if (attribute == CUDA_LT_DESC_TRANSA && bytes == sizeof desc->transposed) {
    memcpy(&desc->transposed, value, bytes);
  } else if ((attribute == CUDA_LT_DESC_A_SCALE || attribute == CUDA_LT_DESC_B_SCALE) && bytes == sizeof *desc->scale) {
    memcpy(&desc->scale[attribute - CUDA_LT_DESC_A_SCALE], value, bytes);
  } else {
    return 7;
  }
  return 0;
}
int cublasLtMatrixLayoutCreate(cuda_lt_layout *layout, int type, uint64_t rows, uint64_t cols, int64_t leading) {
  if (MAKE(*layout)) return 3;
  **layout = (struct cuda_lt_layout_opaque){type, rows, cols, leading};
  return 0;
}
int cublasLtMatrixLayoutDestroy(cuda_lt_layout layout) {
  free(layout);
  return 0;
}
int cublasLtMatmulPreferenceCreate(cuda_lt_preference *preference) {
  return MAKE(*preference);
}
int cublasLtMatmulPreferenceDestroy(cuda_lt_preference preference) {
  free(preference);
  return 0;
}
int cublasLtMatmulPreferenceSetAttribute(cuda_lt_preference preference, int attribute, const void *value,
                                         size_t bytes) {
  if (attribute != CUDA_LT_PREFERENCE_WORKSPACE || bytes != sizeof preference->workspace) return 7;
  memcpy(&preference->workspace, value, bytes);
  return 0;
}

/* What the real library demands of e4m3, and of any shape: TN, equal inner dimensions. */
int cublasLtMatmulAlgoGetHeuristic(cuda_lt handle, cuda_lt_desc desc, cuda_lt_layout a, cuda_lt_layout b,
                                   cuda_lt_layout c, cuda_lt_layout d, cuda_lt_preference preference, int wanted,
                                   struct cuda_lt_result *results, int *found) {
  *found = 0;
  if (!handle || wanted < 1 || !preference->workspace || c->type != CUDA_LT_F32 || d != c) return 7;
  if (!desc->transposed || a->rows != b->rows || a->cols != c->rows || b->cols != c->cols || a->type != b->type)
    return 7;
  if (a->type == CUDA_LT_E4M3 && (a->rows % 16 || a->cols % 16)) return 15;
  memset(results, 0, sizeof *results);
  results->algo.data[0] = a->rows * 1000003u + a->cols * 1009u + b->cols;
  *found = 1;
  return 0;
}

static float e4m3(unsigned char bits) {
  int exponent = bits >> 3 & 15, fraction = bits & 7;
  if ((bits & 127) == 127) return NAN;
  float value = exponent ? ldexpf((float)(8 + fraction), exponent - 10) : ldexpf((float)fraction, -9);
  return bits & 128 ? -value : value;
}
static float half(uint16_t bits) {
  int exponent = bits >> 10 & 31, fraction = bits & 1023;
  float value = exponent == 31 ? (fraction ? NAN : INFINITY)
                : exponent     ? ldexpf((float)(1024 + fraction), exponent - 25)
                               : ldexpf((float)fraction, -24);
  return bits & 0x8000 ? -value : value;
}
static float brain(uint16_t bits) {
  union {
    uint32_t bits;
    float value;
  } wide = {(uint32_t)bits << 16};
  return wide.value;
}

static size_t width(int type) {
  return type == CUDA_LT_F32 ? 4 : type == CUDA_LT_E4M3 ? 1 : 2;
}

/* A matrix as dense column-major floats; NULL if it cannot be read. */
static float *fetch(cuda_lt handle, const void *device, const struct cuda_lt_layout_opaque *layout,
                    cuda_stream stream) {
  size_t count = layout->rows * layout->cols;
  float *values = malloc(count * sizeof *values);
  unsigned char *raw = malloc(count * width(layout->type));
  uint16_t two;
  if (layout->leading != (int64_t)layout->rows || !values || !raw ||
      handle->down(raw, (unsigned long long)(uintptr_t)device, count * width(layout->type), stream) ||
      handle->wait(stream)) {
    free(values);
    free(raw);
    return NULL;
  }
  for (size_t i = 0; i < count; i++) {
    memcpy(&two, raw + i * 2 * (width(layout->type) == 2), 2 * (width(layout->type) == 2));
    if (layout->type == CUDA_LT_F32) memcpy(&values[i], raw + 4 * i, 4);
    if (layout->type == CUDA_LT_E4M3) values[i] = e4m3(raw[i]);
    if (layout->type == CUDA_LT_F16) values[i] = half(two);
    if (layout->type == CUDA_LT_BF16) values[i] = brain(two);
  }
  free(raw);
  return values;
}

static float scale_of(cuda_lt handle, unsigned long long address, cuda_stream stream) {
  float scale = 1;
  if (address && (handle->down(&scale, address, sizeof scale, stream) || handle->wait(stream))) return NAN;
  return scale;
}

static void multiply(const float *a, const float *b, float *c, uint64_t n, uint64_t k, uint64_t rows, float alpha,
                     float beta) {
  for (uint64_t r = 0; r < rows; r++) {
    for (uint64_t j = 0; j < n; j++) {
      float sum = 0;
      for (uint64_t i = 0; i < k; i++) sum += a[j * k + i] * b[r * k + i];
      c[r * n + j] = alpha * sum + (beta != 0.0f ? beta * c[r * n + j] : 0.0f);
    }
  }
}

int cublasLtMatmul(cuda_lt handle, cuda_lt_desc desc, const void *alpha, const void *a, cuda_lt_layout a_layout,
                   const void *b, cuda_lt_layout b_layout, const void *beta, const void *c, cuda_lt_layout c_layout,
                   void *d, cuda_lt_layout d_layout, const struct cuda_lt_algo *algo, void *workspace,
                   size_t workspace_bytes, cuda_stream stream) {
  if (algo->data[0] != a_layout->rows * 1000003u + a_layout->cols * 1009u + b_layout->cols) return 7;
  if (!workspace || !workspace_bytes || d_layout != c_layout) return 7;
  float *left = fetch(handle, a, a_layout, stream), *right = fetch(handle, b, b_layout, stream);
  float *sum = fetch(handle, c, c_layout, stream);
  int status = left && right && sum ? 0 : 14;
  float factors[2];
  memcpy(&factors[0], alpha, sizeof *factors);
  memcpy(&factors[1], beta, sizeof *factors);
  factors[0] *= scale_of(handle, desc->scale[0], stream) * scale_of(handle, desc->scale[1], stream);
  if (!status) {
    multiply(left, right, sum, a_layout->cols, a_layout->rows, b_layout->cols, factors[0], factors[1]);
    size_t bytes = c_layout->rows * c_layout->cols * sizeof *sum;
    status = handle->up((unsigned long long)(uintptr_t)d, sum, bytes, stream) || handle->wait(stream) ? 14 : 0;
  }
  free(left);
  free(right);
  free(sum);
  return status;
}
