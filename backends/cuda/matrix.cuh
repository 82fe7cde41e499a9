/* SPDX-License-Identifier: Apache-2.0
 *
 * The tensor cores' 16 x 8 x 16 product of binary16 with float32 sums, what feeds it, and copies that run beside the
 * arithmetic (compute capability 8.0 and later). Fragment layouts: PTX ISA, "Matrix Fragments for mma.m16n8k16". With
 * g = lane / 4 and t = lane % 4, a lane holds
 *   a[0..3]  rows g, g + 8, g, g + 8 at columns 2t, 2t + 1 (a[2], a[3]: + 8)
 *   b[0..1]  column g at rows 2t, 2t + 1 (b[1]: + 8)
 *   d[0..3]  row g at columns 2t, 2t + 1, then row g + 8
 */
#ifndef CUDA_MATRIX_CUH
#define CUDA_MATRIX_CUH

#include "language.cuh"

/* d += a b */
#if defined(CUDA_EMULATED)
#define matrix_multiply(d, a, b) emulated::mma_16x8x16(d, a, b, __LINE__)
/* Four 8 x 8 matrices of halves: lane l gives the row l % 8 of matrix l / 8, 16 bytes in shared memory. */
#define load_matrices(d, row) emulated::load_matrix_rows(d, row, false, __LINE__)
#define load_transposed(d, row) emulated::load_matrix_rows(d, row, true, __LINE__)
#else
CUDA_FN void matrix_multiply(float d[4], const unsigned a[4], const unsigned b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
CUDA_FN unsigned shared_address(const void *at) {
  return static_cast<unsigned>(__cvta_generic_to_shared(at));
}
CUDA_FN void load_matrices(unsigned d[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(shared_address(row))
               : "memory");
}
CUDA_FN void load_transposed(unsigned d[4], const void *row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(d[0]), "=r"(d[1]), "=r"(d[2]), "=r"(d[3])
               : "r"(shared_address(row))
               : "memory");
}
#endif

/* Sixteen bytes to shared memory, in the background; zeros if not `wanted`. */
CUDA_FN void copy_16_behind(void *to, const void *from, bool wanted) {
#if defined(CUDA_EMULATED)
  emulated::copy_later(to, from, 16, wanted ? 16 : 0);
#else
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(wanted ? 16 : 0)
               : "memory");
#endif
}
CUDA_FN void copies_commit() {
#if defined(CUDA_EMULATED)
  emulated::copy_commit();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
/* All but the last GROUPS groups of this thread's copies are done; for the others' a barrier is needed as well. */
template <int GROUPS>
CUDA_FN void copies_wait() {
#if defined(CUDA_EMULATED)
  emulated::copy_wait(GROUPS);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
#endif
}

/* Two floats as halves, the first one low. */
CUDA_FN unsigned pack_halves(float low, float high) {
#if defined(CUDA_EMULATED)
  return float_to_half(low) | static_cast<unsigned>(float_to_half(high)) << 16;
#else
  unsigned pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#endif
}

/* 2^x to some 2 units in the last place; 0 for minus infinity. */
CUDA_FN float power_of_two(float x) {
#if defined(CUDA_EMULATED)
  return exp2f(x);
#else
  float value;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(value) : "f"(x));
  return value;
#endif
}

#endif
