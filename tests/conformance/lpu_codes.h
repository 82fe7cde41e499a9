/* SPDX-License-Identifier: Apache-2.0
 *
 * Short LPU codes (tandem/lpu_code.h) for the suite, by hand: three chips of 256 vectors of 32 lanes, tiles of four
 * steps.
 */
#ifndef CONFORMANCE_LPU_CODES_H
#define CONFORMANCE_LPU_CODES_H

#include <stdint.h>

#include "lpu_reference.h"

enum {
  LANES = LPU_CASE_LANES,
  CHIPS = 3,
  SLICES = 4,
  WORDS = 64,
  VECTORS = SLICES * WORDS, /* of a chip */
  OWN_WORK = 170,           /* vectors of the workspace that a chip has */
  WORK = CHIPS * OWN_WORK,
  TILE_STEPS = 4,
  LOAD = 8,
  MOST_OPS = 32,
  CODE_WORDS = 6144,
  STEP_WORDS = 256
};
/* Where a chip's operands are, in vectors: float32, and some that are no plain numbers; int32; halves, some with an
 * infinity, some of very different sizes; a tile of int8, a tile of halves. Results go from OUT on. */
enum {
  A = 0,
  ODD = 4,
  B = 8,
  I = 12,
  J = 16,
  H = 20,
  ENDLESS = 22,
  ORDERED = 24,
  TILE_I8 = 32,
  TILE_F16 = 64,
  OUT = 128,
  MOVED = 40
};
/* Where in a chip's workspace: sums of passes, an expanded tile, what another chip takes. */
enum { SUMS = 0, TILE = 32, SENT = 100 };

struct lpu_code {
  struct td_lpu_code_op ops[MOST_OPS]; /* of one chip */
  struct td_lpu_code_op all[CHIPS * MOST_OPS];
  int32_t count, out; /* out: the next result's vector */
  int32_t words[CODE_WORDS], step[STEP_WORDS];
  int32_t word_count, step_count, parts, most_chips;
};

/* Codes by number; NULL behind the last. */
const char *lpu_code_name(int64_t which);
/* Fills `words` and `step`, from zeros: the code's operations on each of `chips` chips, in two phases between which
 * chips pass vectors on, called twice. */
void lpu_code_make(struct lpu_code *code, int64_t which, int32_t chips);
/* Operands for a chip, [VECTORS][LANES]. */
void lpu_code_fill(uint8_t *at, uint32_t *seed);

#endif
