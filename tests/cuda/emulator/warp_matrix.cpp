/* SPDX-License-Identifier: Apache-2.0
 *
 * mma.sync.m16n8k16 and ldmatrix: every lane tells the others what it holds, then each computes its own results.
 * Layouts: PTX ISA, "Matrix Fragments for mma.m16n8k16", "ldmatrix".
 */
#include "cuda_on_host.h"
#include "tandem/portable.h"

namespace emulated {

namespace {

constexpr unsigned all = 0xffffffffu;

struct lanes {
  uint32_t word[warp_lanes][6]; /* a[4], b[2] */
};

void gather(lanes &to, const uint32_t own[6], int line) {
  for (int pair = 0; pair < 3; pair++) {
    const uint64_t *others = exchange(all, own[2 * pair] | static_cast<uint64_t>(own[2 * pair + 1]) << 32, line);
    for (unsigned i = 0; i < warp_lanes; i++) {
      to.word[i][2 * pair] = static_cast<uint32_t>(others[i]);
      to.word[i][2 * pair + 1] = static_cast<uint32_t>(others[i] >> 32);
    }
  }
}

float half_of(uint32_t word, unsigned index) {
  return td_half_bits_to_float(static_cast<td_u16>(word >> 16 * index));
}

}  // namespace

void mma_16x8x16(float d[4], const uint32_t a[4], const uint32_t b[2], int line) {
  lanes held;
  uint32_t own[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
  gather(held, own, line);
  unsigned group = lane() / 4, thread = lane() % 4;
  for (unsigned i = 0; i < 4; i++) {
    unsigned lower = i / 2, column = thread * 2 + i % 2;
    float sum = 0;
    for (unsigned k = 0; k < 16; k++) {
      unsigned upper = k / 8, pair = k % 8 / 2;
      sum += half_of(held.word[group * 4 + pair][upper * 2 + lower], k % 2) *
             half_of(held.word[column * 4 + pair][4 + upper], k % 2);
    }
    d[i] += sum;
  }
}

void load_matrix_rows(uint32_t d[4], const void *row, bool transposed, int line) {
  if (reinterpret_cast<uintptr_t>(row) % 16)
    fail("line %d: ldmatrix of a row at %p, not aligned to 16 bytes", line, row);
  uint64_t rows[warp_lanes];
  std::memcpy(rows, exchange(all, reinterpret_cast<uint64_t>(row), line), sizeof rows);
  unsigned group = lane() / 4, thread = lane() % 4;
  for (unsigned m = 0; m < 4; m++) {
    d[m] = 0;
    for (unsigned e = 0; e < 2; e++) {
      unsigned from = transposed ? thread * 2 + e : group, at = transposed ? group : thread * 2 + e;
      uint16_t value;
      std::memcpy(&value, reinterpret_cast<const char *>(rows[m * 8 + from]) + 2 * at, sizeof value);
      d[m] |= static_cast<uint32_t>(value) << 16 * e;
    }
  }
  warp_barrier(all, line); /* nobody overwrites a row that another lane still reads */
}

}  // namespace emulated
