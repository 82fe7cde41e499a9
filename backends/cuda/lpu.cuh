/* SPDX-License-Identifier: Apache-2.0
 *
 * LPU code (tandem/lpu_code.h) interpreted: one block a chip, operations in order, one thread a lane. What the kernel's
 * parts share: where vectors are, and the block's shared memory.
 */
#ifndef CUDA_LPU_CUH
#define CUDA_LPU_CUH

#include "language.cuh"
#include "tandem/lpu_code.h"
#include "tandem/lpu_math.h"

enum {
  LPU_OPS = 64,      /* operations fetched at a time; also how far is looked for the next pass */
  LPU_HELD = 4,      /* 16-byte pieces of a tile that a thread has under way */
  LPU_ROWS = 512,    /* of a tile, at most */
  LPU_NUMBERS = 512, /* of an FP8 tile, at most; of an fp16 one half as many */
  LPU_STAGE = LPU_HELD * 16 * CUDA_LPU_THREADS
};
static_assert(TD_CODE_MAP_LANES <= CUDA_LPU_THREADS, "a lane has a thread of its own");
static_assert(sizeof(struct td_lpu_code_op) % sizeof(int) == 0, "operations are fetched as words");

typedef struct td_lpu_code_op lpu_op;
typedef struct td_lpu_code_load lpu_load;
typedef struct td_lpu_code_place lpu_place;
typedef struct td_lpu_code_map lpu_map;

struct lpu_shared {
  union {
    unsigned char bytes[LPU_STAGE]; /* rows of a tile */
    int sums[4 * CUDA_LPU_THREADS]; /* each group's, of an int8 pass */
  } stage;
  lpu_op ops[LPU_OPS];
  const td_u8 *rows[LPU_ROWS]; /* the tile's, in order */
  union {
    double numbers[LPU_NUMBERS]; /* the activation that each row is multiplied with */
    unsigned words[LPU_ROWS / 4];
  } x;
  /* Of an operation, by its number modulo 2, since threads that have left its last barrier run into the next one. */
  unsigned failed[2];  /* read after that barrier. 0, or the larger the lower enum td_lpu_code_reason is */
  unsigned spoiled[2]; /* read before it, and cleared during the operation after */
};

struct lpu_chip {
  struct lpu_shared *shared;
  const struct td_lpu_code_head *head;
  const lpu_load *steps;
  const lpu_map *maps;
  const td_i32 *patches; /* of the call */
  td_u8 *sram;           /* from the call's chip on */
  td_u8 *work;
  int lanes;
  int slot; /* of failed and spoiled */
};

CUDA_FN int lpu_lane() {
  return static_cast<int>(threadIdx.x);
}
CUDA_FN td_u8 *lpu_at(const struct lpu_chip &chip, int vector, int patch) {
  if (patch == TD_CODE_WORK) return chip.work + static_cast<int64_t>(vector) * chip.lanes;
  return chip.sram + (static_cast<int64_t>(vector) + chip.patches[patch]) * chip.lanes;
}
CUDA_FN td_u8 *lpu_at(const struct lpu_chip &chip, const lpu_place &place) {
  return lpu_at(chip, place.vector, place.patch);
}
CUDA_FN td_u32 *lpu_whole(const struct lpu_chip &chip, int vector) {
  return reinterpret_cast<td_u32 *>(chip.work + static_cast<int64_t>(vector) * chip.lanes);
}
/* Whether somebody reads the result. */
CUDA_FN bool lpu_read_later(const lpu_place &out) {
  return out.patch != TD_CODE_WORK || out.vector >= 0;
}
CUDA_FN void lpu_fail(const struct lpu_chip &chip, int reason) {
  atomicMax(&chip.shared->failed[chip.slot], static_cast<unsigned>(TD_CODE_WRAPS + 1 - reason));
}

CUDA_FN td_u16 lpu_half_bits(const td_u8 *low, int lanes) {
  return static_cast<td_u16>(low[0] | low[lanes] << 8);
}
CUDA_FN void lpu_split(td_u32 value, td_u8 *out, int lanes) {
  CUDA_UNROLL
  for (int byte = 0; byte < 4; byte++) out[byte * lanes] = static_cast<td_u8>(value >> 8 * byte);
}

#endif
