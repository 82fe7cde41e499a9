/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of the CUDA C++ language that the kernels of backends/cuda use, on the host: they compile as plain C++ with
 * this header, and grid.cpp runs their threads as fibers. Barriers and warp operations carry the line they stand on:
 * threads that meet at different lines, or that return while others wait, are an error, as on the device.
 */
#ifndef CUDA_ON_HOST_H
#define CUDA_ON_HOST_H

#include <cmath>
#include <cstdint>
#include <cstring>

#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))

struct uint3 {
  unsigned x, y, z;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
static inline float4 make_float4(float x, float y, float z, float w) {
  return {x, y, z, w};
}

namespace emulated {

constexpr unsigned warp_lanes = 32;

/* Where the running thread is; grid.cpp sets it when it switches threads. */
extern uint3 thread_index, block_index, block_size, grid_size;

void barrier(int line);
/* `value` of every lane of the warp, once all lanes of `mask` are at this line. The result is valid until this thread's
 * next warp operation. */
const uint64_t *exchange(unsigned mask, uint64_t value, int line);
void warp_barrier(unsigned mask, int line);
/* For what one thread alone can see to be wrong: ends the launch with this text. */
[[noreturn]] void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A kernel's static shared memory (one struct per kernel), poisoned at the start of each block; and its dynamic. */
void *shared(size_t bytes);
void *dynamic_shared(size_t bytes);

/* The host address behind a device address: it must lie in a live allocation. */
void *resolve(uint64_t address);

/* cp.async: the copy happens when the thread waits for it, not before. */
void copy_later(void *to, const void *from, unsigned bytes, unsigned filled);
void copy_commit();
void copy_wait(unsigned groups_left);

struct kernel {
  const char *name;
  size_t argument_bytes;
  unsigned threads; /* __launch_bounds__ */
  void (*call)(const void *arguments);
  kernel *next;
};
extern kernel *kernels;
struct registration : kernel {
  registration(const char *of, size_t bytes, unsigned bound, void (*body)(const void *)) {
    name = of, argument_bytes = bytes, threads = bound, call = body, next = kernels;
    kernels = this;
  }
};

template <class T>
uint64_t to_word(T value) {
  static_assert(sizeof(T) <= 8, "a warp exchanges at most 8 bytes a lane");
  uint64_t word = 0;
  std::memcpy(&word, &value, sizeof value);
  return word;
}
template <class T>
T from_word(uint64_t word) {
  T value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}
template <class T>
T shuffle(unsigned mask, T value, unsigned source, int line) {
  const uint64_t *lanes = exchange(mask, to_word(value), line);
  if (!(mask >> source & 1)) fail("line %d: a shuffle reads lane %u, which is not in mask %08x", line, source, mask);
  return from_word<T>(lanes[source]);
}
inline unsigned lane() {
  return thread_index.x % warp_lanes;
}
inline unsigned ballot(unsigned mask, bool set, int line) {
  const uint64_t *lanes = exchange(mask, set, line);
  unsigned bits = 0;
  for (unsigned i = 0; i < warp_lanes; i++) bits |= (mask >> i & 1 && lanes[i]) ? 1u << i : 0;
  return bits;
}

/* mma.sync and ldmatrix, see warp_matrix.cpp. */
void mma_16x8x16(float d[4], const uint32_t a[4], const uint32_t b[2], int line);
void load_matrix_rows(uint32_t d[4], const void *row, bool transposed, int line);

}  // namespace emulated

#define threadIdx emulated::thread_index
#define blockIdx emulated::block_index
#define blockDim emulated::block_size
#define gridDim emulated::grid_size
#define __syncthreads() emulated::barrier(__LINE__)
#define __syncwarp() emulated::warp_barrier(0xffffffffu, __LINE__)
#define __shfl_sync(mask, value, source) emulated::shuffle(mask, value, (source)&31u, __LINE__)
#define __shfl_xor_sync(mask, value, bits) emulated::shuffle(mask, value, emulated::lane() ^ (bits), __LINE__)
#define __ballot_sync(mask, set) emulated::ballot(mask, set, __LINE__)

static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  uint64_t both = (uint64_t)b << 32 | a;
  unsigned out = 0;
  for (int i = 0; i < 4; i++) out |= (unsigned)(both >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
  return out;
}
static inline float __uint_as_float(unsigned bits) {
  return emulated::from_word<float>(bits);
}
static inline unsigned __float_as_uint(float value) {
  return (unsigned)emulated::to_word(value);
}
static inline int __popc(unsigned bits) {
  return __builtin_popcount(bits);
}
/* Blocks run one after the other, threads between barriers too: plain operations are atomic. */
template <class T>
T atomicAdd(T *at, T value) {
  T old = *at;
  *at = old + value;
  return old;
}
static inline unsigned atomicExch(unsigned *at, unsigned value) {
  unsigned old = *at;
  *at = value;
  return old;
}
static inline unsigned atomicMax(unsigned *at, unsigned value) {
  unsigned old = *at;
  if (value > old) *at = value;
  return old;
}
static inline void __threadfence() {}

#endif
