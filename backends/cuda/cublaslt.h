/* SPDX-License-Identifier: Apache-2.0
 *
 * What this backend uses of cuBLASLt, declared here so that it builds without a toolkit; tests/cuda compares the
 * declarations with the toolkit's header where there is one.
 */
#ifndef CUDA_CUBLASLT_H
#define CUDA_CUBLASLT_H

#include <stddef.h>
#include <stdint.h>

#include "driver.h"

typedef struct cublasLtContext *cuda_lt;
typedef struct cuda_lt_desc_opaque *cuda_lt_desc;
typedef struct cuda_lt_layout_opaque *cuda_lt_layout;
typedef struct cuda_lt_preference_opaque *cuda_lt_preference;

/* cudaDataType_t, cublasComputeType_t, cublasOperation_t, attributes. */
enum { CUDA_LT_F32 = 0, CUDA_LT_F16 = 2, CUDA_LT_BF16 = 14, CUDA_LT_E4M3 = 28 };
enum { CUDA_LT_COMPUTE_F32 = 68, CUDA_LT_TRANSPOSED = 1 };
enum { CUDA_LT_DESC_TRANSA = 3, CUDA_LT_DESC_A_SCALE = 17, CUDA_LT_DESC_B_SCALE = 18 };
enum { CUDA_LT_PREFERENCE_WORKSPACE = 1 };

struct cuda_lt_algo {
  uint64_t data[8];
};
struct cuda_lt_result {
  struct cuda_lt_algo algo;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};

/* Name and parameters; every function returns a cublasStatus_t. */
#define CUDA_LT(X)                                                                                                     \
  X(cublasLtCreate, (cuda_lt * handle))                                                                                \
  X(cublasLtDestroy, (cuda_lt handle))                                                                                 \
  X(cublasLtMatmulDescCreate, (cuda_lt_desc * desc, int compute, int scale_type))                                      \
  X(cublasLtMatmulDescDestroy, (cuda_lt_desc desc))                                                                    \
  X(cublasLtMatmulDescSetAttribute, (cuda_lt_desc desc, int attribute, const void *value, size_t bytes))               \
  X(cublasLtMatrixLayoutCreate, (cuda_lt_layout * layout, int type, uint64_t rows, uint64_t cols, int64_t leading))    \
  X(cublasLtMatrixLayoutDestroy, (cuda_lt_layout layout))                                                              \
  X(cublasLtMatmulPreferenceCreate, (cuda_lt_preference * preference))                                                 \
  X(cublasLtMatmulPreferenceDestroy, (cuda_lt_preference preference))                                                  \
  X(cublasLtMatmulPreferenceSetAttribute,                                                                              \
    (cuda_lt_preference preference, int attribute, const void *value, size_t bytes))                                   \
  X(cublasLtMatmulAlgoGetHeuristic,                                                                                    \
    (cuda_lt handle, cuda_lt_desc desc, cuda_lt_layout a, cuda_lt_layout b, cuda_lt_layout c, cuda_lt_layout d,        \
     cuda_lt_preference preference, int wanted, struct cuda_lt_result *results, int *found))                           \
  X(cublasLtMatmul, (cuda_lt handle, cuda_lt_desc desc, const void *alpha, const void *a, cuda_lt_layout a_layout,     \
                     const void *b, cuda_lt_layout b_layout, const void *beta, const void *c, cuda_lt_layout c_layout, \
                     void *d, cuda_lt_layout d_layout, const struct cuda_lt_algo *algo, void *workspace,               \
                     size_t workspace_bytes, cuda_stream stream))

struct cuda_lt_functions {
#define X(name, parameters) int(*name) parameters;
  CUDA_LT(X)
#undef X
};

#endif
