/* SPDX-License-Identifier: Apache-2.0
 *
 * LPU_RUN, a part of a step: what moves vectors, and operations in order. A block is a chip; it meets after every
 * operation, and stops at the first that fails.
 */
#include "lpu_matrix.cuh"
#include "lpu_vector.cuh"

/* ---- moving ---- */

/* Vectors in order, unless none of them is both read and written: then all at once. */
CUDA_FN void lpu_copy(const struct lpu_chip &chip, const lpu_op &op) {
  if (!lpu_read_later(op.out)) return;
  const uint4 *from = reinterpret_cast<const uint4 *>(lpu_at(chip, op.a));
  uint4 *to = reinterpret_cast<uint4 *>(lpu_at(chip, op.out));
  int pieces = chip.lanes / 16, all = op.count * pieces, together = pieces;
  if (to >= from + all || from >= to + all) together = CUDA_LPU_THREADS;
  if (lpu_lane() >= together) return;
  for (int i = lpu_lane(); i < all; i += together) to[i] = from[i];
}

CUDA_FN td_u8 lpu_rotated(const td_u8 *in, int by, int group) {
  int lane = lpu_lane(), from = lane % group + by;
  return in[lane - lane % group + (from < group ? from : from - group)];
}
CUDA_FN td_u8 lpu_shifted(const td_u8 *in, int by, int lanes) {
  int64_t from = static_cast<int64_t>(lpu_lane()) + by;
  return from >= 0 && from < lanes ? in[from] : td_u8{0};
}
/* Vector v of the result is byte v of each superlane of all 16. */
CUDA_FN td_u8 lpu_transposed(const td_u8 *in, int v, int lanes) {
  return in[lpu_lane() % 16 * lanes + lpu_lane() / 16 * 16 + v];
}

/* This thread's lane of vector v of the result. mapped: what the map says of the lane. */
CUDA_FN td_u8 lpu_moved(const struct lpu_chip &chip, const lpu_op &op, const td_u8 *a, const td_u8 *b, int v,
                        int mapped) {
  int lanes = chip.lanes, group = chip.head->lanes_per_superlane;
  const td_u8 *in = a + v * lanes;
  switch (op.kind) {
    case TD_CODE_ROTATE:
      return lpu_rotated(in, (op.immediate % group + group) % group, group);
    case TD_CODE_SHIFT:
      return lpu_shifted(in, op.immediate, lanes);
    case TD_CODE_PERMUTE:
      return mapped < 0 ? td_u8{0} : in[mapped];
    case TD_CODE_SELECT:
      return mapped >= 0 ? in[lpu_lane()] : b[v * lanes + lpu_lane()];
    default:
      return lpu_transposed(a, v, lanes);
  }
}

/* Results never lie on operands, so that a value's four bytes may be read before the first of them is written. */
CUDA_FN void lpu_move(const struct lpu_chip &chip, const lpu_op &op) {
  int lanes = chip.lanes, mapped = 0;
  if (lpu_lane() >= lanes || !lpu_read_later(op.out)) return;
  const td_u8 *a = lpu_at(chip, op.a), *b = op.kind == TD_CODE_SELECT ? lpu_at(chip, op.b) : a;
  td_u8 *out = lpu_at(chip, op.out) + lpu_lane();
  if (op.kind == TD_CODE_SELECT || op.kind == TD_CODE_PERMUTE) {
    mapped = chip.maps[op.first + chip.patches[op.detail]].lane[lpu_lane()];
  }
  for (int first = 0; first < op.count; first += 4) {
    td_u8 moved[4];
    CUDA_UNROLL
    for (int i = 0; i < 4; i++) {
      if (first + i < op.count) moved[i] = lpu_moved(chip, op, a, b, first + i, mapped);
    }
    CUDA_UNROLL
    for (int i = 0; i < 4; i++) {
      if (first + i < op.count) out[(first + i) * lanes] = moved[i];
    }
  }
}

/* ---- operations in order ---- */

CUDA_FN void lpu_execute(const struct lpu_chip &chip, const lpu_op *op, const lpu_op *end) {
  const lpu_op *then = op + 1;
  switch (op->kind) {
    case TD_CODE_COPY:
      lpu_copy(chip, *op);
      break;
    case TD_CODE_ALU:
      lpu_alu(chip, *op);
      break;
    case TD_CODE_EXPAND:
      lpu_expand(chip, *op);
      break;
    case TD_CODE_PASS:
      while (then < end && then->kind != TD_CODE_PASS) then++;
      lpu_pass(chip, *op, then < end ? then : nullptr);
      break;
    case TD_CODE_SUM:
      lpu_sum(chip, *op);
      break;
    default:
      lpu_move(chip, *op);
      break;
  }
}

/* Chips of one phase may fail beside each other: the lowest one's failure stands. Later parts do nothing. */
CUDA_FN void lpu_tell(struct cuda_lpu_state *state, const struct cuda_lpu_state &mine) {
  while (atomicExch(&state->lock, 1u)) {
  }
  __threadfence();
  volatile struct cuda_lpu_state *told = state;
  if (!told->part || mine.chip < told->chip) {
    told->op = mine.op;
    told->reason = mine.reason;
    told->chip = mine.chip;
    told->call = mine.call;
    told->part = mine.part;
  }
  __threadfence();
  atomicExch(&state->lock, 0u);
}

/* The next operations of a run, fetched together. */
CUDA_FN void lpu_fetch_ops(const struct lpu_chip &chip, const lpu_op *ops, int count) {
  const int *from = reinterpret_cast<const int *>(ops);
  int *to = reinterpret_cast<int *>(chip.shared->ops), words = count * static_cast<int>(sizeof(lpu_op) / sizeof(int));
  for (int i = lpu_lane(); i < words; i += CUDA_LPU_THREADS) to[i] = from[i];
  __syncthreads();
}

/* Whether all went well; if not, *out_op and *out_reason say what did not. */
CUDA_FN bool lpu_run_ops(struct lpu_chip &chip, const lpu_op *ops, int first, int count, int *out_op, int *out_reason) {
  struct lpu_shared &shared = *chip.shared;
  for (int i = 0; i < count; i++) {
    int at = i % LPU_OPS, left = count - i < LPU_OPS - at ? count - i : LPU_OPS - at;
    if (!at) lpu_fetch_ops(chip, ops + first + i, left);
    chip.slot ^= 1;
    if (!lpu_lane()) shared.spoiled[chip.slot ^ 1] = 0;
    lpu_execute(chip, &shared.ops[at], &shared.ops[at + left]);
    __syncthreads();
    if (!shared.failed[chip.slot]) continue;
    *out_op = first + i;
    *out_reason = TD_CODE_WRAPS + 1 - static_cast<int>(shared.failed[chip.slot]);
    return false;
  }
  return true;
}

/* What a step is made of, in the order of tandem/lpu_code.h. */
struct lpu_step {
  const struct td_lpu_code_part *part;
  const struct td_lpu_code_call *calls;
  const td_i32 *patches;
};
CUDA_FN struct lpu_step lpu_step_of(const struct cuda_lpu_run_args &args) {
  const struct td_lpu_code_step *first = pointer<const struct td_lpu_code_step>(args.step);
  const struct td_lpu_code_part *parts = reinterpret_cast<const struct td_lpu_code_part *>(first + 1);
  const struct td_lpu_code_call *calls = reinterpret_cast<const struct td_lpu_code_call *>(parts + first->parts);
  return {parts + args.part, calls, reinterpret_cast<const td_i32 *>(calls + first->calls)};
}

CUDA_FN struct lpu_chip lpu_chip_of(const struct cuda_lpu_run_args &args, struct lpu_shared *shared) {
  const td_i32 *words = pointer<const td_i32>(args.code);
  const struct td_lpu_code_head *head = reinterpret_cast<const struct td_lpu_code_head *>(words);
  struct lpu_chip chip;
  chip.shared = shared;
  chip.head = head;
  chip.steps = reinterpret_cast<const lpu_load *>(words + head->at_steps);
  chip.maps = reinterpret_cast<const lpu_map *>(words + head->at_maps);
  chip.patches = nullptr;
  chip.sram = nullptr;
  chip.work = pointer<td_u8>(args.work) + TD_CODE_STATE_BYTES;
  chip.lanes = head->lanes;
  chip.slot = 1;
  return chip;
}

CUDA_KERNEL(cuda_lpu_run, cuda_lpu_run_args, CUDA_LPU_THREADS, 1) {
  CUDA_SHARED(lpu_shared, shared);
  struct cuda_lpu_state *state = pointer<struct cuda_lpu_state>(args.work);
  struct lpu_chip chip = lpu_chip_of(args, &shared);
  struct lpu_step step = lpu_step_of(args);
  const td_i32 *words = pointer<const td_i32>(args.code);
  const struct td_lpu_code_segment *segments =
      reinterpret_cast<const struct td_lpu_code_segment *>(words + chip.head->at_segments);
  const struct td_lpu_code_run *runs = reinterpret_cast<const struct td_lpu_code_run *>(words + chip.head->at_runs);
  const lpu_op *ops = reinterpret_cast<const lpu_op *>(words + chip.head->at_ops);
  struct cuda_lpu_state mine = {0, 0, 0, static_cast<int>(blockIdx.x), args.part + 1, 0};
  if (mine.chip >= step.part->chips || (state->part && state->part != mine.part)) return;
  if (!lpu_lane()) shared.failed[0] = shared.failed[1] = shared.spoiled[0] = shared.spoiled[1] = 0;
  for (int c = step.part->call; c < step.part->call + step.part->calls; c++) {
    const struct td_lpu_code_segment &segment = segments[step.calls[c].segment];
    const struct td_lpu_code_run &run = runs[segment.first_run + step.part->phase * segment.chips + mine.chip];
    chip.patches = step.patches + step.calls[c].patch;
    chip.sram = pointer<td_u8>(args.sram) +
                static_cast<int64_t>(step.calls[c].chip) * chip.head->mem_words * chip.head->mem_slices * chip.lanes;
    mine.call = c + 1;
    if (lpu_run_ops(chip, ops, run.op, run.count, &mine.op, &mine.reason)) continue;
    if (!lpu_lane()) lpu_tell(state, mine);
    return;
  }
}
