/* SPDX-License-Identifier: Apache-2.0
 *
 * tandem/lpu_math.h as CUDA: it compiles, and on a GPU gives the bits that the host gives. Exit 77: no GPU is here.
 */
#include <stdio.h>
#include <stdlib.h>

#include "math_cases.h"

static __global__ void all_results(td_u32 *out) {
  int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);
  if (i >= MATH_COUNT) return;
  td_u32 results[MATH_RESULTS];
  math_results(math_pattern(i), results);
  for (int r = 0; r < MATH_RESULTS; r++) out[MATH_RESULTS * i + r] = results[r];
}

static void must(cudaError_t error) {
  if (error == cudaSuccess) return;
  printf("CUDA: %s\n", cudaGetErrorString(error));
  exit(1);
}

static td_u32 got[MATH_COUNT * MATH_RESULTS];

static int differences(int i) {
  td_u32 want[MATH_RESULTS];
  int found = 0;
  math_results(math_pattern(i), want);
  for (int r = 0; r < MATH_RESULTS; r++) {
    if (got[MATH_RESULTS * i + r] == want[r]) continue;
    found++;
    printf("result %d of %08x: found %08x, expected %08x\n", r, math_pattern(i), got[MATH_RESULTS * i + r], want[r]);
  }
  return found;
}

int main() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    printf("SKIPPED: no GPU here\n");
    return 77;
  }
  void *out;
  must(cudaMalloc(&out, sizeof got));
  all_results<<<(MATH_COUNT + 255) / 256, 256>>>(static_cast<td_u32 *>(out));
  must(cudaGetLastError());
  must(cudaMemcpy(got, out, sizeof got, cudaMemcpyDeviceToHost));
  int found = 0;
  for (int i = 0; i < MATH_COUNT && found < 20; i++) found += differences(i);
  printf("%d results, %d differences\n", MATH_COUNT * MATH_RESULTS, found);
  return found ? 1 : 0;
}
