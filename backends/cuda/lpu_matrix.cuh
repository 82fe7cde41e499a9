/* SPDX-License-Identifier: Apache-2.0
 *
 * LPU code: the matrix planes. An int8 pass is shared out by rows, since its sums are exact in any order; an fp16 pass
 * has one order, k ascending, so that a lane's sum is one thread's, and the tile comes through shared memory, where
 * many loads are under way at once. An FP8 pass goes the same way.
 */
#ifndef CUDA_LPU_MATRIX_CUH
#define CUDA_LPU_MATRIX_CUH

#include "lpu.cuh"

/* ---- numbers as doubles, exactly, without conversions to double: those are slow ---- */

CUDA_FN double lpu_double_of_bits(td_u32 high, td_u32 low) {
#if defined(CUDA_EMULATED)
  td_u64 bits = static_cast<td_u64>(high) << 32 | low;
  double value;
  memcpy(&value, &bits, sizeof value);
  return value;
#else
  return __hiloint2double(static_cast<int>(high), static_cast<int>(low));
#endif
}
/* In the last places of 2^52. */
CUDA_FN double lpu_double_of_byte(td_u8 byte) {
  return lpu_double_of_bits(0x43300000u, byte ^ 0x80u) - (0x1p52 + 128.0);
}
/* The exponent is brought over by a product, which also makes subnormals normal. */
CUDA_FN double lpu_double_of_half(td_u16 half) {
  if ((half & 0x7c00) == 0x7c00) return static_cast<double>(td_lpu_f16_to_f32(half));
  td_u32 sign = static_cast<td_u32>(half & 0x8000) << 16, rest = static_cast<td_u32>(half & 0x7fff) << 10;
  return lpu_double_of_bits(sign | rest, 0) * 0x1p1008;
}
/* As above; a NaN of either sign is one. */
CUDA_FN double lpu_double_of_eight(td_u8 eight) {
  td_u32 sign = static_cast<td_u32>(eight & 0x80) << 24, rest = static_cast<td_u32>(eight & 0x7f) << 17;
  if ((eight & 0x7f) == 0x7f) return lpu_double_of_bits(0x7ff80000u, 0);
  return lpu_double_of_bits(sign | rest, 0) * 0x1p1016;
}
/* The product is exact, so that fusing it with the sum changes nothing. */
CUDA_FN double lpu_add_product(double sum, double a, double b) {
#if defined(CUDA_EMULATED)
  return sum + a * b;
#else
  return fma(a, b, sum);
#endif
}
CUDA_FN bool lpu_is_number(double x) {
  return x * 0 == 0;
}

/* ---- a pass: its rows, and what each is multiplied with ---- */

/* Where step `step` of a tile was loaded from, -1: it was not. Steps ascend. */
CUDA_FN int lpu_find_step(const struct lpu_chip &chip, const lpu_op &op, int step) {
  if (step < op.count && chip.steps[op.first + step].step == step) return op.first + step;
  for (int s = op.first; s < op.first + op.count; s++) {
    if (chip.steps[s].step == step) return s;
  }
  return -1;
}

/* Bytes from row to row. */
CUDA_FN int lpu_row_bytes(const struct lpu_chip &chip, const lpu_op &op) {
  if (op.detail == TD_TILE_FLOATS) return 4 * chip.lanes;
  return op.detail == TD_TILE_F16 ? 2 * chip.lanes : chip.lanes;
}
CUDA_FN bool lpu_is_expanded(const lpu_op &op) {
  return op.detail >= TD_TILE_BYTES;
}
CUDA_FN bool lpu_is_eights(const lpu_op &op) {
  return op.detail == TD_TILE_F8 || op.detail == TD_TILE_EIGHTS;
}
CUDA_FN int lpu_row_count(const struct lpu_chip &chip, const lpu_op &op) {
  if (op.detail == TD_TILE_BYTES || op.detail == TD_TILE_EIGHTS) return chip.head->plane_k;
  if (op.detail == TD_TILE_FLOATS) return chip.head->plane_k / 2;
  return op.count * chip.head->load_vectors;
}

/* Row `row` of the tile; *out_k: the activation that goes with it. */
CUDA_FN const td_u8 *lpu_row(const struct lpu_chip &chip, const lpu_op &op, int row, int *out_k) {
  int vectors = chip.head->load_vectors, bytes = lpu_row_bytes(chip, op);
  *out_k = row;
  if (lpu_is_expanded(op)) return lpu_at(chip, op.b) + row * bytes;
  const lpu_load &load = chip.steps[op.first + row / vectors];
  *out_k = load.step * vectors + row % vectors;
  return lpu_at(chip, load.vector, load.patch) + row % vectors * bytes;
}

/* Asks for the tile of the pass after this one. */
CUDA_FN void lpu_fetch(const struct lpu_chip &chip, const lpu_op *then) {
#if defined(CUDA_EMULATED)
  (void)chip;
  (void)then;
#else
  if (!then || lpu_is_expanded(*then)) return;
  int bytes = lpu_row_bytes(chip, *then), rows = lpu_row_count(chip, *then), k;
  for (int row = lpu_lane(); row < rows; row += CUDA_LPU_THREADS) {
    const td_u8 *at = lpu_row(chip, *then, row, &k);
    for (int i = 0; i < bytes; i += 128) asm volatile("prefetch.global.L2 [%0];" ::"l"(at + i));
  }
#endif
}

/* ---- fp16 and FP8 passes ---- */

CUDA_FN double lpu_activation(const struct lpu_chip &chip, const lpu_op &op, int k) {
  const td_u8 *at = lpu_at(chip, op.a) + k;
  if (lpu_is_eights(op)) return lpu_double_of_eight(*at);
  return lpu_double_of_half(lpu_half_bits(at + op.immediate, chip.lanes));
}

/* Notes an activation that is no number and meets a step that was not loaded: zero times it is none. */
CUDA_FN void lpu_gather_numbers(const struct lpu_chip &chip, const lpu_op &op, int rows) {
  int own = lpu_lane(), most = lpu_is_eights(op) ? chip.head->plane_k : chip.head->plane_k / 2, k;
  if (own < most && !lpu_is_expanded(op) && !lpu_is_number(lpu_activation(chip, op, own)) &&
      lpu_find_step(chip, op, own / chip.head->load_vectors) < 0) {
    chip.shared->spoiled[chip.slot] = 1;
  }
  if (own >= rows) return;
  chip.shared->rows[own] = lpu_row(chip, op, own, &k);
  chip.shared->x.numbers[own] = lpu_activation(chip, op, k);
}

/* Piece `piece` of rows first .. end - 1 as they lie in the stage; a thread's pieces are CUDA_LPU_THREADS apart. */
CUDA_FN void lpu_hold(const struct lpu_chip &chip, int first, int end, int pieces, uint4 held[LPU_HELD]) {
  CUDA_UNROLL
  for (int h = 0; h < LPU_HELD; h++) {
    int piece = lpu_lane() + h * CUDA_LPU_THREADS, row = first + piece / pieces;
    if (row < end) held[h] = *reinterpret_cast<const uint4 *>(chip.shared->rows[row] + piece % pieces * 16);
  }
}
CUDA_FN void lpu_stage(const struct lpu_chip &chip, int count, const uint4 held[LPU_HELD]) {
  uint4 *stage = reinterpret_cast<uint4 *>(chip.shared->stage.bytes);
  CUDA_UNROLL
  for (int h = 0; h < LPU_HELD; h++) {
    int piece = lpu_lane() + h * CUDA_LPU_THREADS;
    if (piece < count) stage[piece] = held[h];
  }
}

/* Rows first .. end - 1, which are in the stage. */
CUDA_FN double lpu_add_staged(const struct lpu_chip &chip, int tile, int first, int end, double sum) {
  int lanes = chip.lanes;
  const double *x = chip.shared->x.numbers + first;
  const td_u8 *at = chip.shared->stage.bytes + lpu_lane();
  if (tile == TD_TILE_F16) {
    CUDA_UNROLL_8
    for (int r = 0; r < end - first; r++) {
      sum = lpu_add_product(sum, lpu_double_of_half(lpu_half_bits(at + 2 * r * lanes, lanes)), x[r]);
    }
  } else if (tile == TD_TILE_W8) {
    CUDA_UNROLL_8
    for (int r = 0; r < end - first; r++) sum = lpu_add_product(sum, lpu_double_of_byte(at[r * lanes]), x[r]);
  } else {
    CUDA_UNROLL_8
    for (int r = 0; r < end - first; r++) sum = lpu_add_product(sum, lpu_double_of_eight(at[r * lanes]), x[r]);
  }
  return sum;
}

/* As many rows as the stage holds at a time; while those are added up, the next are under way. */
CUDA_FN double lpu_add_rows(const struct lpu_chip &chip, const lpu_op &op, int rows) {
  int pieces = lpu_row_bytes(chip, op) / 16, most = LPU_STAGE / 16 / pieces;
  uint4 held[LPU_HELD];
  double sum = 0;
  lpu_hold(chip, 0, most < rows ? most : rows, pieces, held);
  for (int first = 0; first < rows; first += most) {
    int end = first + most < rows ? first + most : rows, after = end + most < rows ? end + most : rows;
    lpu_stage(chip, (end - first) * pieces, held);
    __syncthreads();
    lpu_hold(chip, end, after, pieces, held);
    if (lpu_lane() < chip.lanes) sum = lpu_add_staged(chip, op.detail, first, end, sum);
    __syncthreads();
  }
  return sum;
}

CUDA_FN double lpu_add_floats(const struct lpu_chip &chip, const lpu_op &op, int rows) {
  int lanes = chip.lanes;
  if (lpu_lane() >= lanes) return 0;
  const float *at = reinterpret_cast<const float *>(lpu_at(chip, op.b)) + lpu_lane();
  double sum = 0;
  CUDA_UNROLL_8
  for (int r = 0; r < rows; r++) {
    sum = lpu_add_product(sum, static_cast<double>(at[r * lanes]), chip.shared->x.numbers[r]);
  }
  return sum;
}

CUDA_FN void lpu_pass_wide(const struct lpu_chip &chip, const lpu_op &op, const lpu_op *then) {
  int rows = lpu_row_count(chip, op);
  lpu_gather_numbers(chip, op, rows);
  __syncthreads();
  lpu_fetch(chip, then);
  double sum = op.detail == TD_TILE_FLOATS ? lpu_add_floats(chip, op, rows) : lpu_add_rows(chip, op, rows);
  if (lpu_lane() >= chip.lanes) return;
  td_u32 bits = td_lpu_bits(td_lpu_quiet(static_cast<float>(sum)));
  lpu_whole(chip, op.whole)[lpu_lane()] = chip.shared->spoiled[chip.slot] ? TD_LPU_NAN : bits;
}

/* ---- int8 passes ---- */

/* Rows beyond the last, up to whole words of activations, count nothing. */
CUDA_FN void lpu_gather_bytes(const struct lpu_chip &chip, const lpu_op &op, int rows) {
  int own = lpu_lane(), k = 0;
  if (own >= (rows + 3) / 4 * 4) return;
  td_u8 *x = reinterpret_cast<td_u8 *>(chip.shared->x.words);
  chip.shared->rows[own] = lpu_row(chip, op, own < rows ? own : 0, &k);
  x[own] = own < rows ? lpu_at(chip, op.a)[k] : td_u8{0};
}

/* Four lanes of four rows: words become columns, which meet the activations byte by byte. */
CUDA_FN void lpu_add_four(const unsigned w[4], unsigned x, int sums[4]) {
  unsigned a = __byte_perm(w[0], w[1], 0x5140), b = __byte_perm(w[2], w[3], 0x5140);
  unsigned c = __byte_perm(w[0], w[1], 0x7362), d = __byte_perm(w[2], w[3], 0x7362);
  sums[0] = dot_of_bytes(__byte_perm(a, b, 0x5410), x, sums[0]);
  sums[1] = dot_of_bytes(__byte_perm(a, b, 0x7632), x, sums[1]);
  sums[2] = dot_of_bytes(__byte_perm(c, d, 0x5410), x, sums[2]);
  sums[3] = dot_of_bytes(__byte_perm(c, d, 0x7632), x, sums[3]);
}

/* This thread's four lanes of its group's rows. */
CUDA_FN void lpu_add_group(const struct lpu_chip &chip, int rows, int group, int groups, int lane, int sums[4]) {
  CUDA_UNROLL_4
  for (int row = 4 * group; row < rows; row += 4 * groups) {
    unsigned w[4];
    CUDA_UNROLL
    for (int i = 0; i < 4; i++) w[i] = *reinterpret_cast<const unsigned *>(chip.shared->rows[row + i] + lane);
    lpu_add_four(w, chip.shared->x.words[row / 4], sums);
  }
}

CUDA_FN void lpu_pass_bytes(const struct lpu_chip &chip, const lpu_op &op, const lpu_op *then) {
  int lanes = chip.lanes, rows = lpu_row_count(chip, op), groups = 4 * CUDA_LPU_THREADS / lanes;
  int group = 4 * lpu_lane() / lanes, lane = 4 * lpu_lane() % lanes, sums[4] = {0, 0, 0, 0};
  lpu_gather_bytes(chip, op, rows);
  __syncthreads();
  lpu_fetch(chip, then);
  if (group < groups) {
    lpu_add_group(chip, rows, group, groups, lane, sums);
    for (int i = 0; i < 4; i++) chip.shared->stage.sums[group * lanes + lane + i] = sums[i];
  }
  __syncthreads();
  if (lpu_lane() >= lanes) return;
  int sum = 0;
  for (int g = 0; g < groups; g++) sum += chip.shared->stage.sums[g * lanes + lpu_lane()];
  lpu_whole(chip, op.whole)[lpu_lane()] = static_cast<td_u32>(sum);
}

/* then: the pass after this one, or NULL. */
CUDA_FN void lpu_pass(const struct lpu_chip &chip, const lpu_op &op, const lpu_op *then) {
  if (op.whole < 0) return;
  if (op.detail == TD_TILE_I8 || op.detail == TD_TILE_BYTES) {
    lpu_pass_bytes(chip, op, then);
  } else {
    lpu_pass_wide(chip, op, then);
  }
}

/* ---- sums of passes ---- */

CUDA_FN void lpu_sum(const struct lpu_chip &chip, const lpu_op &op) {
  if (lpu_lane() >= chip.lanes) return;
  td_u32 total = lpu_whole(chip, op.a.vector)[lpu_lane()];
  if (op.b.vector >= 0) {
    td_u32 a = total, b = lpu_whole(chip, op.b.vector)[lpu_lane()];
    total = op.detail ? td_lpu_bits(td_lpu_quiet(td_bits_to_float(a) + td_bits_to_float(b))) : a + b;
    if (!op.detail && ((a ^ total) & (b ^ total)) >> 31) lpu_fail(chip, TD_CODE_WRAPS);
  }
  if (op.whole >= 0) lpu_whole(chip, op.whole)[lpu_lane()] = total;
  if (lpu_read_later(op.out)) lpu_split(total, lpu_at(chip, op.out) + lpu_lane(), chip.lanes);
}

/* ---- columns become rows: vector j of a step is column load_vectors * step + j ---- */

/* This thread's column as it lies, NULL if it was not loaded: zeros. */
CUDA_FN const td_u8 *lpu_column(const struct lpu_chip &chip, const lpu_op &op) {
  int vectors = chip.head->load_vectors, each = op.detail == TD_OPERAND_F16 ? 2 : 1;
  int s = lpu_find_step(chip, op, lpu_lane() / vectors);
  if (s < 0) return nullptr;
  const lpu_load &load = chip.steps[s];
  return lpu_at(chip, load.vector, load.patch) + lpu_lane() % vectors * each * chip.lanes + load.lane;
}

CUDA_FN float lpu_widened(const td_u8 *at, int detail, int lanes) {
  if (detail == TD_OPERAND_F16) return td_lpu_f16_to_f32(lpu_half_bits(at, lanes));
  if (detail == TD_OPERAND_F8) return td_lpu_f8_to_f32(*at);
  return static_cast<float>(static_cast<td_i8>(*at));
}

CUDA_FN void lpu_expand(const struct lpu_chip &chip, const lpu_op &op) {
  int lanes = chip.lanes, k = op.detail == TD_OPERAND_I8 ? chip.head->plane_k : chip.head->plane_k / 2;
  if (lpu_lane() >= lanes || !lpu_read_later(op.out)) return;
  const td_u8 *in = lpu_column(chip, op);
  td_u8 *bytes = lpu_at(chip, op.out) + lpu_lane();
  float *floats = reinterpret_cast<float *>(lpu_at(chip, op.out)) + lpu_lane();
  if (op.detail == TD_OPERAND_I8) {
    CUDA_UNROLL_8
    for (int i = 0; i < k; i++) bytes[i * lanes] = in ? in[i] : td_u8{0};
  } else {
    CUDA_UNROLL_8
    for (int i = 0; i < k; i++) floats[i * lanes] = in ? lpu_widened(in + i, op.detail, lanes) : 0.0f;
  }
}

#endif
