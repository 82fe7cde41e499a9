/* SPDX-License-Identifier: Apache-2.0
 *
 * Small kernels, most of them wrong, by which tests/cuda/emulator_test.c sees that the emulated device notices.
 */
#include "self_kernels.h"
#include "language.cuh"
#include "matrix.cuh"

#define SELF_KERNEL(name) CUDA_KERNEL(self_##name, self_args, SELF_THREADS, 1)

struct self_shared {
  int32_t values[SELF_THREADS];
};
struct alignas(16) self_pieces {
  uint4 pieces[SELF_THREADS];
};

/* out[i] = the neighbour's number, by way of shared memory. */
SELF_KERNEL(neighbours) {
  CUDA_SHARED(self_shared, shared);
  int32_t *out = pointer<int32_t>(args.out);
  shared.values[threadIdx.x] = static_cast<int32_t>(threadIdx.x);
  __syncthreads();
  out[threadIdx.x] = shared.values[(threadIdx.x + 1) % SELF_THREADS];
}
SELF_KERNEL(no_barrier) {
  CUDA_SHARED(self_shared, shared);
  int32_t *out = pointer<int32_t>(args.out);
  shared.values[threadIdx.x] = static_cast<int32_t>(threadIdx.x);
  out[threadIdx.x] = shared.values[(threadIdx.x + 1) % SELF_THREADS];
}
SELF_KERNEL(half_at_barrier) {
  if (threadIdx.x % 2) __syncthreads();
  pointer<int32_t>(args.out)[threadIdx.x] = 1;
}
SELF_KERNEL(two_barriers) {
  if (threadIdx.x % 2) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  pointer<int32_t>(args.out)[threadIdx.x] = 1;
}
SELF_KERNEL(shuffle) {
  int32_t mine = static_cast<int32_t>(threadIdx.x);
  pointer<int32_t>(args.out)[threadIdx.x] = __shfl_xor_sync(all_lanes, mine, 1);
}
SELF_KERNEL(half_shuffle) {
  int32_t mine = static_cast<int32_t>(threadIdx.x);
  if (threadIdx.x % 2) mine = __shfl_xor_sync(all_lanes, mine, 1);
  pointer<int32_t>(args.out)[threadIdx.x] = mine;
}
SELF_KERNEL(past_the_end) {
  pointer<int32_t>(args.out)[threadIdx.x + 1] = 1;
}
SELF_KERNEL(before_the_start) {
  pointer<int32_t>(args.out)[static_cast<int>(threadIdx.x) - 1] = 1;
}
SELF_KERNEL(past_shared) {
  CUDA_SHARED(self_shared, shared);
  int32_t *past = shared.values + threadIdx.x + 1;
  *past = args.add;
}
SELF_KERNEL(uninitialised) {
  CUDA_SHARED(self_shared, shared);
  pointer<int32_t>(args.out)[threadIdx.x] = shared.values[threadIdx.x];
}
SELF_KERNEL(copy_behind) {
  CUDA_SHARED(self_pieces, shared);
  copy_16_behind(&shared.pieces[threadIdx.x], pointer<const uint4>(args.in) + threadIdx.x, threadIdx.x % 2);
  copies_commit();
  copies_wait<0>();
  pointer<int32_t>(args.out)[threadIdx.x] = static_cast<int32_t>(shared.pieces[threadIdx.x].x);
}
SELF_KERNEL(copy_not_awaited) {
  CUDA_SHARED(self_pieces, shared);
  copy_16_behind(&shared.pieces[threadIdx.x], pointer<const uint4>(args.in) + threadIdx.x, true);
  copies_commit();
  pointer<int32_t>(args.out)[threadIdx.x] = static_cast<int32_t>(shared.pieces[threadIdx.x].x);
}
SELF_KERNEL(add_one) {
  int32_t *out = pointer<int32_t>(args.out);
  out[threadIdx.x] = pointer<const int32_t>(args.in)[threadIdx.x] + args.add;
}
