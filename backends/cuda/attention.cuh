/* SPDX-License-Identifier: Apache-2.0
 *
 * What the attention kernels share: the rows of a block, what each sees, and how a split's share joins the sum.
 */
#ifndef CUDA_ATTENTION_CUH
#define CUDA_ATTENTION_CUH

#include "arithmetic.cuh"

/* Positions [begin, end) of the cache. */
struct span {
  int begin, end;
};

CUDA_FN struct span visible_to(int position, int window) {
  return {td_visible_begin(position, window), td_visible_end(position)};
}
CUDA_FN float minus_infinity() {
  return td_bits_to_float(0xff800000u);
}

/* A share's maximum and total, and how much of it and of the sum before it count in the new sum. */
struct merge_weights {
  float before, share;
};
CUDA_FN struct merge_weights weigh(float maximum_before, float maximum_of_share, float maximum) {
  return {exponential(maximum_before - maximum), exponential(maximum_of_share - maximum)};
}
CUDA_FN float merged(float sum, float share, struct merge_weights weights) {
  return fmaf(share, weights.share, sum * weights.before);
}

#endif
