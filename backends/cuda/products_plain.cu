/* SPDX-License-Identifier: Apache-2.0 */
#include "products.cuh"

PRODUCT_KERNELS(F32, f32)
PRODUCT_KERNELS(F16, f16)
PRODUCT_KERNELS(BF16, bf16)
