/* SPDX-License-Identifier: Apache-2.0
 *
 * The words in which the kernels are written: CUDA C++ under nvcc, plain C++ under the host emulator of tests/cuda,
 * which compiles the same files. What needs PTX stands here or in matrix.cuh, each with its host form beside it.
 */
#ifndef CUDA_LANGUAGE_CUH
#define CUDA_LANGUAGE_CUH

#include "launch.h"
#include "tandem/blocks.h"
#include "tandem/dtype.h"
#include "tandem/positions.h"

#if defined(CUDA_EMULATED)
#include "cuda_on_host.h"
#define CUDA_FN static inline __attribute__((always_inline))
#define CUDA_MEMBER inline __attribute__((always_inline))
#define CUDA_UNROLL
#define CUDA_UNROLL_4
#define CUDA_UNROLL_8
#define CUDA_ROLL
/* CUDA_KERNEL(NAME, ARGUMENTS, threads of a block, blocks that a multiprocessor should have room for) */
#define CUDA_KERNEL(name, type, bound, blocks)                                                                        \
  static void name(const struct type &args);                                                                          \
  static emulated::registration registered_##name(#name, sizeof(struct type), bound,                                  \
                                                  [](const void *a) { name(*static_cast<const struct type *>(a)); }); \
  static void name(const struct type &args)
/* A kernel's shared memory: one struct, static or dynamic. */
#define CUDA_SHARED(type, name) struct type &name = *static_cast<struct type *>(emulated::shared(sizeof(struct type)))
#define CUDA_DYNAMIC_SHARED(name, bytes) \
  unsigned char *name = static_cast<unsigned char *>(emulated::dynamic_shared(bytes))
#else
#define CUDA_FN static __device__ __forceinline__
#define CUDA_MEMBER __device__ __forceinline__
#define CUDA_UNROLL _Pragma("unroll")
#define CUDA_UNROLL_4 _Pragma("unroll 4")
#define CUDA_UNROLL_8 _Pragma("unroll 8")
#define CUDA_ROLL _Pragma("unroll 1")
#define CUDA_KERNEL(name, type, bound, blocks) \
  extern "C" __global__ void __launch_bounds__(bound, blocks) name(const __grid_constant__ struct type args)
#define CUDA_SHARED(type, name) __shared__ struct type name
#define CUDA_DYNAMIC_SHARED(name, bytes) extern __shared__ __align__(16) unsigned char name[]
#endif

enum { CUDA_LANES = 32 };
constexpr unsigned all_lanes = 0xffffffffu;

CUDA_FN int lane_index() {
  return static_cast<int>(threadIdx.x % CUDA_LANES);
}
CUDA_FN int warp_index() {
  return static_cast<int>(threadIdx.x / CUDA_LANES);
}

/* A device address as a pointer. */
template <class T>
CUDA_FN T *pointer(cuda_ptr address) {
#if defined(CUDA_EMULATED)
  return address ? static_cast<T *>(emulated::resolve(address)) : nullptr;
#else
  return reinterpret_cast<T *>(address);
#endif
}
template <class T>
CUDA_FN bool is_aligned(const T *address, unsigned bytes) {
  return reinterpret_cast<uintptr_t>(address) % bytes == 0;
}

/* ---- loads of what no thread writes while the kernel runs; streamed: read once, past the first-level cache ---- */

CUDA_FN uint4 load_streamed_16(const void *at) {
#if defined(CUDA_EMULATED)
  if (!is_aligned(at, 16)) emulated::fail("a load of 16 bytes at %p", at);
  return *static_cast<const uint4 *>(at);
#else
  uint4 v;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(at));
  return v;
#endif
}
CUDA_FN uint2 load_streamed_8(const void *at) {
#if defined(CUDA_EMULATED)
  if (!is_aligned(at, 8)) emulated::fail("a load of 8 bytes at %p", at);
  return *static_cast<const uint2 *>(at);
#else
  uint2 v;
  asm("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(at));
  return v;
#endif
}
/* Several lanes, or several loads of a lane, share the sectors of these: the first-level cache keeps them. */
CUDA_FN uint4 load_shared_16(const void *at) {
#if defined(CUDA_EMULATED)
  if (!is_aligned(at, 16)) emulated::fail("a load of 16 bytes at %p", at);
  return *static_cast<const uint4 *>(at);
#else
  uint4 v;
  asm("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(at));
  return v;
#endif
}
CUDA_FN unsigned load_shared_4(const void *at) {
#if defined(CUDA_EMULATED)
  if (!is_aligned(at, 4)) emulated::fail("a load of 4 bytes at %p", at);
  return *static_cast<const unsigned *>(at);
#else
  unsigned v;
  asm("ld.global.nc.u32 %0, [%1];" : "=r"(v) : "l"(at));
  return v;
#endif
}
CUDA_FN unsigned load_shared_2(const void *at) {
#if defined(CUDA_EMULATED)
  if (!is_aligned(at, 2)) emulated::fail("a load of 2 bytes at %p", at);
  return *static_cast<const td_u16 *>(at);
#else
  unsigned short v;
  asm("ld.global.nc.u16 %0, [%1];" : "=h"(v) : "l"(at));
  return v;
#endif
}
/* Four bytes of a block that is aligned to two only. */
CUDA_FN unsigned load_shared_2x2(const td_u8 *at) {
  return load_shared_2(at) | load_shared_2(at + 2) << 16;
}
CUDA_FN float4 load_float4(const float *at) {
#if defined(CUDA_EMULATED)
  if (!is_aligned(at, 16)) emulated::fail("a load of 16 bytes at %p", static_cast<const void *>(at));
#endif
  return *reinterpret_cast<const float4 *>(at);
}

/* sum + the products of four pairs of int8. */
CUDA_FN int dot_of_bytes(unsigned a, unsigned b, int sum) {
#if defined(CUDA_EMULATED)
  for (int i = 0; i < 32; i += 8) sum += static_cast<td_i8>(a >> i) * static_cast<td_i8>(b >> i);
  return sum;
#else
  return __dp4a(static_cast<int>(a), static_cast<int>(b), sum);
#endif
}

/* ---- halves ---- */

CUDA_FN float half_to_float(unsigned bits) {
#if defined(CUDA_EMULATED)
  return td_half_bits_to_float(static_cast<td_u16>(bits));
#else
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(static_cast<unsigned short>(bits)));
  return value;
#endif
}
CUDA_FN float low_half(unsigned pair) {
  return half_to_float(pair & 0xffffu);
}
CUDA_FN float high_half(unsigned pair) {
  return half_to_float(pair >> 16);
}
/* Round to nearest, ties to even. */
CUDA_FN td_u16 float_to_half(float value) {
#if defined(CUDA_EMULATED)
  td_u32 bits = __float_as_uint(value), sign = bits >> 16 & 0x8000u, size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return 0x7fffu;
  if (size >= 0x477ff000u) return static_cast<td_u16>(sign | 0x7c00u);
  if (size < 0x38800000u) { /* below 2^-14: a multiple of 2^-24 */
    float steps = std::nearbyintf(__uint_as_float(size) * 16777216.0f);
    return static_cast<td_u16>(sign | static_cast<td_u32>(steps));
  }
  td_u32 odd = size >> 13 & 1;
  return static_cast<td_u16>(sign | (size - 0x38000000u + 0xfffu + odd) >> 13);
#else
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return bits;
#endif
}

#endif
