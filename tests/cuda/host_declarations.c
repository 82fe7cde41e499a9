/* SPDX-License-Identifier: Apache-2.0
 *
 * Our own declarations of the driver and of cuBLASLt against the toolkit's headers. What is compared is compiled; there
 * is nothing left to run.
 */
#include <cublasLt.h>
#include <cuda.h>

#include "cublaslt.h"
#include "driver.h"

#define SAME(ours, theirs) _Static_assert((int)(ours) == (int)(theirs), #ours " is " #theirs)

SAME(CUDA_RESULT_OK, CUDA_SUCCESS);
SAME(CUDA_RESULT_OUT_OF_MEMORY, CUDA_ERROR_OUT_OF_MEMORY);
SAME(CUDA_RESULT_NO_DEVICE, CUDA_ERROR_NO_DEVICE);
SAME(CUDA_RESULT_NOT_FOUND, CUDA_ERROR_NOT_FOUND);
SAME(CUDA_ATTRIBUTE_CC_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
SAME(CUDA_ATTRIBUTE_CC_MINOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
SAME(CUDA_STREAM_NON_BLOCKING, CU_STREAM_NON_BLOCKING);
SAME(CUDA_EVENT_DISABLE_TIMING, CU_EVENT_DISABLE_TIMING);
SAME(CUDA_CAPTURE_THREAD_LOCAL, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
SAME(CUDA_HOST_PORTABLE, CU_MEMHOSTALLOC_PORTABLE);
SAME(CUDA_FUNCTION_MAX_SHARED, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
SAME(sizeof(cuda_ptr), sizeof(CUdeviceptr));

SAME(CUDA_LT_F32, CUDA_R_32F);
SAME(CUDA_LT_F16, CUDA_R_16F);
SAME(CUDA_LT_BF16, CUDA_R_16BF);
SAME(CUDA_LT_E4M3, CUDA_R_8F_E4M3);
SAME(CUDA_LT_COMPUTE_F32, CUBLAS_COMPUTE_32F);
SAME(CUDA_LT_TRANSPOSED, CUBLAS_OP_T);
SAME(CUDA_LT_DESC_TRANSA, CUBLASLT_MATMUL_DESC_TRANSA);
SAME(CUDA_LT_DESC_A_SCALE, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER);
SAME(CUDA_LT_DESC_B_SCALE, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER);
SAME(CUDA_LT_PREFERENCE_WORKSPACE, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
SAME(sizeof(struct cuda_lt_algo), sizeof(cublasLtMatmulAlgo_t));
SAME(sizeof(struct cuda_lt_result), sizeof(cublasLtMatmulHeuristicResult_t));
SAME(offsetof(struct cuda_lt_result, workspace), offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
SAME(offsetof(struct cuda_lt_result, state), offsetof(cublasLtMatmulHeuristicResult_t, state));

int main(void) {
  return 0;
}
