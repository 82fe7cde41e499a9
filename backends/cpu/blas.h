/* SPDX-License-Identifier: Apache-2.0
 *
 * OpenBLAS, opened at run time and only when a device is opened inexact: its order of summation depends on the shapes.
 */
#ifndef CPU_BLAS_H
#define CPU_BLAS_H

#include <stdint.h>

#include "tandem/status.h"

/* What CBLAS calls its row-major order and its transpositions. */
enum { CPU_BLAS_ROW_MAJOR = 101, CPU_BLAS_AS_IS = 111, CPU_BLAS_TRANSPOSED = 112 };

typedef void (*cpu_sgemm)(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float *a,
                          int lda, const float *b, int ldb, float beta, float *c, int ldc);

#define CPU_BLAS_LIBRARY "libopenblas.so.0"

/* Opens the library for calls from several threads at once, each computing by itself. TD_UNAVAILABLE names what was
 * looked for and what the loader said. The library stays until the process ends. */
td_status cpu_blas_open(const char *library, cpu_sgemm *out_sgemm);

#endif
