/* SPDX-License-Identifier: Apache-2.0
 *
 * The shared headers as CUDA: they compile for every chip, and on a GPU say what the same source says on the host.
 * Exit 77: compiled, but no GPU is here.
 */
#include <stdio.h>
#include <stdlib.h>

#include "shared_input.h"

#define KERNEL __global__
#define THREAD ((int)(blockIdx.x * blockDim.x + threadIdx.x))
#include "shared_kernels.h"

static void must(cudaError_t error) {
  if (error == cudaSuccess) return;
  printf("CUDA: %s\n", cudaGetErrorString(error));
  exit(1);
}

template <typename E>
static E *device_copy(const E *from, size_t count) {
  void *memory;
  must(cudaMalloc(&memory, count * sizeof(E)));
  must(from ? cudaMemcpy(memory, from, count * sizeof(E), cudaMemcpyHostToDevice) : cudaMemset(memory, 0, count));
  return static_cast<E *>(memory);
}

static int failures;
static unsigned char blocks[INPUT_BLOCKS * INPUT_BLOCK_BYTES];
static float got[INPUT_BLOCKS * 256];

static void compare(const char *type, int i, float want) {
  bool nans = got[i] != got[i] && want != want;
  if (memcmp(&got[i], &want, sizeof want) == 0 || nans) return;
  if (failures++ < 20) printf("%s: value %d: found %a, expected %a\n", type, i, got[i], want);
}

#define CHECK_TYPE(T)                                                                                            \
  {                                                                                                              \
    unsigned char *in = device_copy(blocks, sizeof blocks);                                                      \
    float *out = device_copy<float>(NULL, INPUT_BLOCKS * 256);                                                   \
    expand_##T<<<INPUT_BLOCKS, 1>>>(in, out, INPUT_BLOCKS);                                                      \
    must(cudaMemcpy(got, out, sizeof got, cudaMemcpyDeviceToHost));                                              \
    for (int i = 0; i < INPUT_BLOCKS * TD_BLOCK_ELEMENTS_##T; i++) {                                             \
      compare(#T, i,                                                                                             \
              td_value_##T(blocks + i / TD_BLOCK_ELEMENTS_##T * TD_BLOCK_BYTES_##T, i % TD_BLOCK_ELEMENTS_##T)); \
    }                                                                                                            \
    must(cudaFree(in));                                                                                          \
    must(cudaFree(out));                                                                                         \
  }

static void check_places(void) {
  const td_i32 table[] = INPUT_TABLE;
  const float routed[] = INPUT_ROUTED;
  td_i64 *out = device_copy<td_i64>(NULL, INPUT_POSITIONS * PLACES), found[INPUT_POSITIONS * PLACES], want[PLACES];
  all_places<<<INPUT_POSITIONS, 1>>>(device_copy(table, sizeof table / sizeof *table), device_copy(routed, 8), out,
                                     INPUT_POSITIONS);
  must(cudaMemcpy(found, out, sizeof found, cudaMemcpyDeviceToHost));
  for (int p = 0; p < INPUT_POSITIONS; p++) {
    places(table, routed, p, want);
    if (memcmp(want, found + p * PLACES, sizeof want) == 0) continue;
    failures++;
    printf("places of %d differ\n", p);
  }
}

int main() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    printf("SKIPPED: no GPU here\n");
    return 77;
  }
  input_bytes(blocks, sizeof blocks);
  TD_STORED_TYPES(CHECK_TYPE)
  check_places();
  printf("%d differences\n", failures);
  return failures ? 1 : 0;
}
