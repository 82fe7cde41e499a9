/* SPDX-License-Identifier: Apache-2.0
 *
 * Products through cuBLASLt, for devices opened as inexact: both operands rounded to bf16, fp16 or e4m3 on the way in,
 * sums in float32. libcublasLt.so.13 (or .12), or the file that TANDEM_CUDA_CUBLASLT names.
 */
#ifndef CUDA_BLAS_H
#define CUDA_BLAS_H

#include "operators.h"

/* Opens the library for this device. TD_UNAVAILABLE with what is missing; TD_CONFIG if TANDEM_CUDA_FP8=1 asks for e4m3
 * on a chip without it. */
td_status cuda_blas_open(struct cuda_device *device);
void cuda_blas_close(struct cuda_device *device);

/* More rows than the quantised kernels serve well, and shapes that the narrow types can be aligned for. */
bool cuda_blas_takes(const struct cuda_device *device, int32_t rows, const struct cuda_product_work *products,
                     int32_t count);
td_status cuda_blas_products(struct cuda_device *device, cuda_ptr in, int32_t rows,
                             const struct cuda_product_work *products, int32_t count);

/* Converts a weight now rather than at its first product; TD_EXHAUSTED. */
td_status cuda_blas_prepare(struct cuda_device *device, const struct td_view *weight);
/* The buffer's converted weights go with it. */
void cuda_blas_forget(struct cuda_device *device, const struct td_buffer *buffer);

/* A plain product of two n x n matrices of bf16 (wide: float32) into float32, for measuring what the chip can do. */
td_status cuda_blas_square(struct cuda_device *device, bool wide, int64_t n, cuda_ptr a, cuda_ptr b, cuda_ptr out);

#endif
