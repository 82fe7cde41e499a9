/* SPDX-License-Identifier: Apache-2.0
 *
 * What the OpenCL and the CUDA test feed to shared_kernels.h.
 */
#ifndef TESTS_KERNELS_SHARED_INPUT_H
#define TESTS_KERNELS_SHARED_INPUT_H

#define INPUT_BLOCKS 33
#define INPUT_BLOCK_BYTES 256
#define INPUT_POSITIONS 64
#define INPUT_TABLE \
  { 9, 2, 700000000, 0, 5, 1, 3, 4, 8, 11, 13, 12, 10 }
#define INPUT_ROUTED \
  { 6, 0, 3, 127, 0.5f, 0.25f, 0.25f, 0.5f }

/* The same bytes everywhere, all values of a byte. */
static inline void input_bytes(unsigned char *out, unsigned count) {
  unsigned state = 12345;
  for (unsigned i = 0; i < count; i++) {
    state = state * 1103515245u + 12345u;
    out[i] = (unsigned char)(state >> 16);
  }
}

#endif
