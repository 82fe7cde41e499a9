/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrices as cuBLASLt takes them (inexact): of any stored type to bf16, fp16 or, divided by a scale, e4m3. A thread
 * takes eight elements of a row at a time.
 */
#include "arithmetic.cuh"
#include "matrix.cuh"

enum { PIECE = 8 };

/* Eight elements from `first` on, of which `count` exist; a block holds whole pieces. */
CUDA_FN void piece_of_row(int dtype, const td_u8 *row, int64_t first, int count, float out[PIECE]) {
  switch (dtype) {
#define X(T)                                                                       \
  case TD_##T: {                                                                   \
    const td_u8 *block = row + first / TD_BLOCK_ELEMENTS_##T * TD_BLOCK_BYTES_##T; \
    int within = static_cast<int>(first % TD_BLOCK_ELEMENTS_##T);                  \
    CUDA_UNROLL                                                                    \
    for (int e = 0; e < PIECE; e++) out[e] = td_value_##T(block, within + e);      \
    return;                                                                        \
  }
    TD_QUANTISED_TYPES(X)
#undef X
    default:
      CUDA_UNROLL
      for (int e = 0; e < PIECE; e++) out[e] = e < count ? value_in_row(dtype, row, first + e) : 0.0f;
  }
}

/* ---- rounding: to nearest, ties to even ---- */

CUDA_FN td_u16 float_to_bf16(float value) {
  td_u32 bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<td_u16>(bits >> 16 | 0x40u);
  return static_cast<td_u16>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16);
}

/* e4m3 without infinities (OCP 8-bit floating point, 1.0): 4 exponent bits of bias 7, 3 of mantissa, 448 at most.
 * Larger ones and NaN are 0x7f, its NaN. */
CUDA_FN td_u8 float_to_e4m3(float value) {
  td_u32 bits = __float_as_uint(value), sign = bits >> 24 & 0x80u, size = bits & 0x7fffffffu;
  if (size > 0x43e00000u) {
    bool rounds_down = size <= 0x43e80000u; /* halfway to 480; 448 is even */
    return static_cast<td_u8>(sign | (rounds_down ? 0x7eu : 0x7fu));
  }
  if (size < 0x3c800000u) {                                    /* below 2^-6: a multiple of 2^-9 */
    float steps = __uint_as_float(size) * 512.0f + 8388608.0f; /* rounds to whole steps */
    return static_cast<td_u8>(sign | (__float_as_uint(steps) & 0xffu));
  }
  td_u32 rounded = size + 0x7ffffu + (size >> 20 & 1);
  return static_cast<td_u8>(sign | ((rounded >> 20) - (120u << 3)));
}

/* ---- kernels ---- */

CUDA_FN int64_t pieces_per_row(int64_t cols) {
  return (cols + PIECE - 1) / PIECE;
}

CUDA_FN void store_piece(const struct cuda_narrow_args &args, int64_t at, int count, const float values[PIECE]) {
  CUDA_UNROLL
  for (int e = 0; e < PIECE; e++) {
    if (e >= count) continue;
    if (args.narrow == CUDA_E4M3) {
      pointer<td_u8>(args.dst)[at + e] = float_to_e4m3(values[e]);
    } else {
      pointer<td_u16>(args.dst)[at + e] =
          args.narrow == CUDA_BF16 ? float_to_bf16(values[e]) : float_to_half(values[e]);
    }
  }
}

/* A whole, aligned piece in one store. */
CUDA_FN void store_whole(const struct cuda_narrow_args &args, int64_t at, const float values[PIECE]) {
  unsigned words[4];
  if (args.narrow == CUDA_E4M3) {
    CUDA_UNROLL
    for (int w = 0; w < 2; w++) {
      words[w] = 0;
      CUDA_UNROLL
      for (int e = 0; e < 4; e++) words[w] |= static_cast<unsigned>(float_to_e4m3(values[w * 4 + e])) << 8 * e;
    }
    *reinterpret_cast<uint2 *>(pointer<td_u8>(args.dst) + at) = uint2{words[0], words[1]};
    return;
  }
  CUDA_UNROLL
  for (int w = 0; w < 4; w++) {
    float low = values[2 * w], high = values[2 * w + 1];
    words[w] = args.narrow == CUDA_FP16 ? pack_halves(low, high)
                                        : float_to_bf16(low) | static_cast<unsigned>(float_to_bf16(high)) << 16;
  }
  *reinterpret_cast<uint4 *>(pointer<td_u16>(args.dst) + at) = uint4{words[0], words[1], words[2], words[3]};
}

CUDA_KERNEL(cuda_narrow, cuda_narrow_args, CUDA_ROW_THREADS, 4) {
  const td_u8 *src = pointer<const td_u8>(args.src);
  float factor = args.inverse_scale ? *pointer<const float>(args.inverse_scale) : 1.0f;
  int64_t per_row = pieces_per_row(args.cols), count = per_row * args.rows;
  int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    int64_t row = i / per_row, first = i % per_row * PIECE, left = args.cols - first;
    int here = left < PIECE ? static_cast<int>(left) : static_cast<int>(PIECE);
    float values[PIECE] = {};
    piece_of_row(args.dtype, src + row * args.row_bytes, first, here, values);
    CUDA_UNROLL
    for (int e = 0; e < PIECE; e++) values[e] *= factor;
    if (args.cols % PIECE == 0)
      store_whole(args, row * args.cols + first, values);
    else
      store_piece(args, row * args.cols + first, here, values);
  }
}

/* The largest magnitude by its bits, which are ordered as the floats are. The block that finishes last knows that all
 * others' maxima are in. */
CUDA_KERNEL(cuda_amax, cuda_amax_args, CUDA_ROW_THREADS, 4) {
  const td_u8 *src = pointer<const td_u8>(args.src);
  int64_t per_row = pieces_per_row(args.cols), count = per_row * args.rows;
  int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  float largest = 0.0f;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    int64_t row = i / per_row, first = i % per_row * PIECE, left = args.cols - first;
    float values[PIECE] = {};
    piece_of_row(args.dtype, src + row * args.row_bytes, first,
                 left < PIECE ? static_cast<int>(left) : static_cast<int>(PIECE), values);
    CUDA_UNROLL
    for (int e = 0; e < PIECE; e++) largest = fmaxf(largest, fabsf(values[e]));
  }
  largest = largest_of_warp(largest);
  unsigned *bits = pointer<unsigned>(args.max_bits), *counter = pointer<unsigned>(args.counter);
  if (lane_index() == 0) {
    atomicMax(bits, __float_as_uint(largest));
    __threadfence();
    unsigned warps = gridDim.x * (blockDim.x / CUDA_LANES);
    if (atomicAdd(counter, 1u) + 1 == warps) {
      __threadfence();
      float most = __uint_as_float(atomicMax(bits, 0u)), *scale = pointer<float>(args.scale);
      scale[0] = most > 0.0f ? most / 448.0f : 1.0f;
      scale[1] = 1.0f / scale[0];
    }
  }
}
