/* SPDX-License-Identifier: Apache-2.0
 *
 * LPU code: a program lowered to operations on whole vectors, which one interpreter executes (operator LPU_RUN). It is
 * data: arrays of int32, in this order of meaning: a step is CALLS of segments, a segment is PHASES, a phase is a run
 * of operations for each chip. Operations of one run go in order; runs of one phase touch nothing that another of the
 * phase writes, so chips may work beside each other. framework/lpu/lower*.c makes it.
 *
 * Vectors have `lanes` bytes. Where a vector is: SRAM vector v of a call begins at byte ((chip of the call * mem_words)
 * * mem_slices + v + patches[patch]) * lanes, with v = (chip * mem_words + word) * mem_slices + slice of the segment's
 * chip; work vector v at byte TD_CODE_STATE_BYTES + v * lanes of the workspace. Values wider than a byte are planar,
 * byte i of all lanes in vector v + i; or, in the workspace only, WHOLE: 32 bits a lane, lane after lane, in the room
 * of four vectors.
 */
#ifndef TANDEM_LPU_CODE_H
#define TANDEM_LPU_CODE_H

#include "tandem/portable.h"

#define TD_CODE_VERSION 2
#define TD_CODE_WORK (-1)      /* a place's patch: in the workspace */
#define TD_CODE_STATE_BYTES 64 /* struct td_lpu_code_state, in front of the workspace's vectors */
#define TD_CODE_MAP_LANES 512
#define TD_CODE_MAP_PIECES 31 /* at most */
#define TD_CODE_MAP_WORDS 640 /* int32 a map: struct td_lpu_code_map */

/* The code buffer begins with this; at_... are indices into it in int32. */
struct td_lpu_code_head {
  td_i32 version, words; /* of the whole buffer */
  td_i32 chips, lanes, lanes_per_superlane, mem_slices, mem_words, load_vectors, plane_k;
  td_i32 work_vectors;
  td_i32 segments, runs, ops, steps, maps; /* counts */
  td_i32 at_segments, at_runs, at_ops, at_steps, at_maps;
};
/* Run of chip c in phase p: first_run + p * chips + c. */
struct td_lpu_code_segment {
  td_i32 first_run, phases, chips;
};
struct td_lpu_code_run {
  td_i32 op, count;
};

/* A map, lane by lane (-1: zero), and as runs of lanes if a few are enough. */
struct td_lpu_code_map_piece {
  td_i32 to, count, from; /* from -1: zeros */
  td_i32 step;            /* 0: one lane to all, 1: lanes one after another */
};
struct td_lpu_code_map {
  td_i32 lane[TD_CODE_MAP_LANES];
  td_i32 pieces, unused[3]; /* 0 pieces: too many */
  struct td_lpu_code_map_piece piece[TD_CODE_MAP_PIECES];
};

/* The step buffer: this, then parts, then calls, then patches: a call's are at patch, patch + 1, ..., the first of them
 * 0. Parts are for devices that cannot make chips wait for each other inside a kernel: calls of segments of one chip
 * and one phase, or one phase of one call; they go in order. */
struct td_lpu_code_step {
  td_i32 calls, patches, parts, most_chips; /* of a part */
};
struct td_lpu_code_part {
  td_i32 call, calls, phase, chips;
};
struct td_lpu_code_call {
  td_i32 segment, chip, patch;
};

/* What stopped a run: operation `op` in call number `call` - 1; call 0: nothing did. */
struct td_lpu_code_state {
  td_i32 call, op, reason;
};
enum td_lpu_code_reason {
  TD_CODE_FINE,
  TD_CODE_NOT_INTEGER, /* ALU: out of range as an integer */
  TD_CODE_NOT_NARROW,  /* ALU: in the result's type */
  TD_CODE_WRAPS        /* SUM */
};

enum td_lpu_code_kind {
  TD_CODE_COPY, /* `count` vectors from a to out */
  TD_CODE_ALU,  /* detail: enum td_lpu_code_alu of a, b, c, as `types` says; result to `out` in its type and to `whole`
                 */
  TD_CODE_ROTATE, /* `count` vectors of a, by `immediate` */
  TD_CODE_SHIFT,
  TD_CODE_PERMUTE, /* by map `first` + patches[detail] */
  TD_CODE_SELECT,  /* of a and b, the same */
  TD_CODE_TRANSPOSE,
  TD_CODE_EXPAND, /* a tile of columns to `out`: int8 [k][lanes], or float32 [k][lanes]. detail: TD_OPERAND_I8 (any
                     bytes), _F16, _W8, _F8 */
  TD_CODE_PASS,   /* a: activations, from lane `immediate` on; detail: enum td_lpu_code_tile; `whole`: the sums */
  TD_CODE_SUM     /* whole a (+ whole b, unless its vector is -1), to `whole` and planar to `out`. detail: 1 floats */
};

/* Numbers and meanings are those of enum td_lpu_alu (tandem/lpu_machine.h). */
enum td_lpu_code_alu {
  TD_CODE_MOVE,
  TD_CODE_ADD,
  TD_CODE_SUB,
  TD_CODE_MUL,
  TD_CODE_MAX,
  TD_CODE_MIN,
  TD_CODE_ABS,
  TD_CODE_SELECT_LE,
  TD_CODE_EXP,
  TD_CODE_RSQRT,
  TD_CODE_RECIPROCAL,
  TD_CODE_TANH,
  TD_CODE_SIGMOID,
  TD_CODE_TO_I32,
  TD_CODE_TO_F32,
  TD_CODE_ADD_I32,
  TD_CODE_SUB_I32,
  TD_CODE_SHIFT_I32,
  TD_CODE_ALU_COUNT
};

/* What a PASS multiplies with. Up to WF8: `count` steps from `first` on, ascending; steps between are zero. */
enum td_lpu_code_tile {
  TD_TILE_I8,     /* vectors of int8: an int8 pass */
  TD_TILE_W8,     /* of int8, widened: an fp16 pass */
  TD_TILE_F16,    /* pairs of vectors */
  TD_TILE_F8,     /* vectors of FP8: an FP8 pass */
  TD_TILE_WF8,    /* of FP8, widened: an fp16 pass */
  TD_TILE_BYTES,  /* place b: int8 [plane_k][lanes] */
  TD_TILE_FLOATS, /* place b: float32 [plane_k / 2][lanes] */
  TD_TILE_EIGHTS, /* place b: FP8 [plane_k][lanes] */
  TD_TILE_COUNT
};

/* Operands of ALU, four bits each in `types`: a, b, c, then the result; bit 16: the result is an integer. */
enum td_lpu_code_operand {
  TD_OPERAND_NONE,
  TD_OPERAND_I8,
  TD_OPERAND_F16,
  TD_OPERAND_32, /* planar, of four vectors */
  TD_OPERAND_W8,
  TD_OPERAND_WHOLE,
  TD_OPERAND_IMMEDIATE,
  TD_OPERAND_F8
};
#define TD_CODE_INTEGER 0x10000

struct td_lpu_code_place {
  td_i32 vector, patch;
};
/* A result that nobody reads has vector -1, and is checked nevertheless. */
struct td_lpu_code_op {
  td_i32 kind, detail, types, immediate;
  struct td_lpu_code_place out, a, b, c;
  td_i32 whole, first, count, unused;
};
/* load_vectors vectors (or pairs) that are step `step` of a tile; of columns: from lane `lane` on. */
struct td_lpu_code_load {
  td_i32 vector, patch, step, lane;
};

#endif
