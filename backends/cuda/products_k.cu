/* SPDX-License-Identifier: Apache-2.0 */
#include "products.cuh"

PRODUCT_KERNELS(Q2_K, q2_k)
PRODUCT_KERNELS(Q3_K, q3_k)
PRODUCT_KERNELS(Q4_K, q4_k)
PRODUCT_KERNELS(Q5_K, q5_k)
PRODUCT_KERNELS(Q6_K, q6_k)
