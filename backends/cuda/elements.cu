/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators that take elements one by one, and the memory streams of the bench: grid-stride loops.
 */
#include "arithmetic.cuh"

CUDA_FN int64_t first_element() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
CUDA_FN int64_t element_step() {
  return static_cast<int64_t>(gridDim.x) * blockDim.x;
}

CUDA_KERNEL(cuda_activation, cuda_activation_args, CUDA_ROW_THREADS, 4) {
  const float *a = pointer<const float>(args.a), *b = pointer<const float>(args.b);
  float *out = pointer<float>(args.out);
  int gate = args.gelu ? CUDA_GATE_GELU : CUDA_GATE_SILU;
  for (int64_t i = first_element(); i < args.count; i += element_step()) out[i] = activated(gate, a[i]) * b[i];
}

CUDA_KERNEL(cuda_add, cuda_add_args, CUDA_ROW_THREADS, 4) {
  const float *a = pointer<const float>(args.a), *b = pointer<const float>(args.b);
  const td_u8 *bias = pointer<const td_u8>(args.bias);
  float *out = pointer<float>(args.out);
  int64_t count = args.n * args.rows;
  for (int64_t i = first_element(); i < count; i += element_step()) {
    out[i] = a[i] + (bias ? value_in_row(args.dtype, bias, i % args.n) : b[i]);
  }
}

/* Slots ascending. */
CUDA_KERNEL(cuda_expert_sum, cuda_expert_sum_args, CUDA_ROW_THREADS, 4) {
  float *out = pointer<float>(args.out);
  int64_t count = args.n * args.rows;
  for (int64_t i = first_element(); i < count; i += element_step()) {
    int64_t row = i / args.n;
    const float *in = pointer<const float>(args.in) + row * args.used * args.n + i % args.n;
    const float *route = pointer<const float>(args.route) + row * 2 * args.used;
    float sum = 0.0f;
    for (int slot = 0; slot < args.used; slot++) {
      sum = fmaf(td_routed_weight(route, args.used, slot), in[slot * args.n], sum);
    }
    out[i] = sum;
  }
}

/* ---- the bench's streams: four loads of 16 bytes under way in every thread ---- */

enum { STREAM_DEPTH = 4 };

/* Elements (of 16 bytes) of one thread: i, i + step, ... four at a time. */
CUDA_KERNEL(cuda_memory_read, cuda_memory_args, CUDA_ROW_THREADS, 4) {
  const uint4 *a = pointer<const uint4>(args.a);
  int64_t count = args.count / 4, step = element_step();
  float sum = 0.0f;
  for (int64_t i = first_element(); i < count; i += STREAM_DEPTH * step) {
    uint4 parts[STREAM_DEPTH];
    CUDA_UNROLL
    for (int p = 0; p < STREAM_DEPTH; p++) {
      if (i + p * step < count)
        parts[p] = load_streamed_16(a + i + p * step);
      else
        parts[p] = uint4{0, 0, 0, 0};
    }
    CUDA_UNROLL
    for (int p = 0; p < STREAM_DEPTH; p++) {
      sum += __uint_as_float(parts[p].x) + __uint_as_float(parts[p].y);
      sum += __uint_as_float(parts[p].z) + __uint_as_float(parts[p].w);
    }
  }
  sum = sum_of_warp(sum);
  if (threadIdx.x == 0) pointer<float>(args.out)[blockIdx.x] = sum; /* the first warp's: what keeps the loads alive */
}

CUDA_KERNEL(cuda_memory_copy, cuda_memory_args, CUDA_ROW_THREADS, 4) {
  const uint4 *a = pointer<const uint4>(args.a);
  uint4 *out = pointer<uint4>(args.out);
  int64_t count = args.count / 4, step = element_step();
  for (int64_t i = first_element(); i < count; i += STREAM_DEPTH * step) {
    uint4 parts[STREAM_DEPTH];
    CUDA_UNROLL
    for (int p = 0; p < STREAM_DEPTH; p++) {
      if (i + p * step < count) parts[p] = load_streamed_16(a + i + p * step);
    }
    CUDA_UNROLL
    for (int p = 0; p < STREAM_DEPTH; p++) {
      if (i + p * step < count) out[i + p * step] = parts[p];
    }
  }
}

CUDA_FN float4 triad(float4 a, float factor, float4 b) {
  return make_float4(a.x + factor * b.x, a.y + factor * b.y, a.z + factor * b.z, a.w + factor * b.w);
}

CUDA_KERNEL(cuda_memory_triad, cuda_memory_args, CUDA_ROW_THREADS, 4) {
  const float *a = pointer<const float>(args.a), *b = pointer<const float>(args.b);
  float4 *out = pointer<float4>(args.out);
  int64_t count = args.count / 4, step = element_step();
  for (int64_t i = first_element(); i < count; i += 2 * step) {
    float4 a0 = load_float4(a + 4 * i), b0 = load_float4(b + 4 * i);
    bool more = i + step < count;
    float4 a1 = more ? load_float4(a + 4 * (i + step)) : a0, b1 = more ? load_float4(b + 4 * (i + step)) : b0;
    out[i] = triad(a0, args.factor, b0);
    if (more) out[i + step] = triad(a1, args.factor, b1);
  }
}
