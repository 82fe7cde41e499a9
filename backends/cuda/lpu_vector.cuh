/* SPDX-License-Identifier: Apache-2.0
 *
 * LPU code: the vector unit. A thread has a lane, and all of its operands.
 */
#ifndef CUDA_LPU_VECTOR_CUH
#define CUDA_LPU_VECTOR_CUH

#include "lpu.cuh"

CUDA_FN td_u32 lpu_operand(const struct lpu_chip &chip, const lpu_op &op, int type, const lpu_place &place) {
  if (type == TD_OPERAND_NONE) return 0;
  if (type == TD_OPERAND_IMMEDIATE) return static_cast<td_u32>(op.immediate);
  int lanes = chip.lanes;
  const td_u8 *in = lpu_at(chip, place);
  if (type == TD_OPERAND_WHOLE) return reinterpret_cast<const td_u32 *>(in)[lpu_lane()];
  in += lpu_lane();
  switch (type) {
    case TD_OPERAND_I8:
      return static_cast<td_u32>(static_cast<int>(static_cast<td_i8>(*in)));
    case TD_OPERAND_W8:
      return td_lpu_bits(static_cast<float>(static_cast<td_i8>(*in)));
    case TD_OPERAND_F8:
      return td_lpu_bits(td_lpu_f8_to_f32(*in));
    case TD_OPERAND_F16:
      return td_lpu_bits(td_lpu_f16_to_f32(lpu_half_bits(in, lanes)));
    default:
      return static_cast<td_u32>(in[0]) | static_cast<td_u32>(in[lanes]) << 8 |
             static_cast<td_u32>(in[2 * lanes]) << 16 | static_cast<td_u32>(in[3 * lanes]) << 24;
  }
}

CUDA_FN td_u32 lpu_integers(int operation, td_u32 a, td_u32 b, bool &good) {
  td_u32 sum = operation == TD_CODE_ADD_I32 ? a + b : a - b;
  int by = static_cast<int>(b);
  switch (operation) {
    case TD_CODE_TO_I32:
      good = td_lpu_fits_i32(td_bits_to_float(a));
      return static_cast<td_u32>(td_lpu_f32_to_i32(td_bits_to_float(a)));
    case TD_CODE_TO_F32:
      return td_lpu_bits(td_lpu_i32_to_f32(static_cast<int>(a)));
    case TD_CODE_ADD_I32:
      good = ((a ^ sum) & (b ^ sum)) >> 31 == 0;
      return sum;
    case TD_CODE_SUB_I32:
      good = ((a ^ b) & (a ^ sum)) >> 31 == 0;
      return sum;
    default:
      good = by >= -31 && by <= 31;
      return by >= 0 ? a << (by & 31) : static_cast<td_u32>(static_cast<int>(a) >> (-by & 31));
  }
}

CUDA_FN float lpu_floats(int operation, float a, float b) {
  switch (operation) {
    case TD_CODE_ADD:
      return td_lpu_quiet(a + b);
    case TD_CODE_SUB:
      return td_lpu_quiet(a - b);
    case TD_CODE_MUL:
      return td_lpu_quiet(a * b);
    case TD_CODE_MAX:
      return td_lpu_quiet(a > b ? a : b);
    case TD_CODE_MIN:
      return td_lpu_quiet(a < b ? a : b);
    case TD_CODE_EXP:
      return td_lpu_exp(a);
    case TD_CODE_RSQRT:
      return td_lpu_rsqrt(a);
    case TD_CODE_RECIPROCAL:
      return td_lpu_reciprocal(a);
    case TD_CODE_TANH:
      return td_lpu_tanh(a);
    default:
      return td_lpu_sigmoid(a);
  }
}

CUDA_FN td_u32 lpu_operate(const lpu_op &op, td_u32 a, td_u32 b, td_u32 c, bool &good) {
  switch (op.detail) {
    case TD_CODE_MOVE:
      return a;
    case TD_CODE_ABS:
      return a & 0x7fffffffu;
    case TD_CODE_SELECT_LE:
      return td_bits_to_float(a) <= td_bits_to_float(b) ? c : static_cast<td_u32>(op.immediate);
    case TD_CODE_TO_I32:
    case TD_CODE_TO_F32:
    case TD_CODE_ADD_I32:
    case TD_CODE_SUB_I32:
    case TD_CODE_SHIFT_I32:
      return lpu_integers(op.detail, a, b, good);
    default:
      return td_lpu_bits(lpu_floats(op.detail, td_bits_to_float(a), td_bits_to_float(b)));
  }
}

/* ---- results ---- */

/* Whether it fits; out NULL: only that is asked. */
CUDA_FN bool lpu_narrow_half(td_u32 value, td_u8 *out, int lanes) {
  if (!td_lpu_fits_f16(td_bits_to_float(value))) return false;
  if (!out) return true;
  td_u16 bits = td_lpu_f32_to_f16(td_bits_to_float(value));
  out[0] = static_cast<td_u8>(bits);
  out[lanes] = static_cast<td_u8>(bits >> 8);
  return true;
}
CUDA_FN bool lpu_narrow_byte(const lpu_op &op, td_u32 value, td_u8 *out) {
  float number = td_bits_to_float(value);
  bool integer = op.types & TD_CODE_INTEGER;
  if (!integer && !td_lpu_fits_i32(number)) return false;
  int whole = integer ? static_cast<int>(value) : td_lpu_f32_to_i32(number);
  if (whole < -128 || whole > 127) return false;
  if (out) *out = static_cast<td_u8>(whole);
  return true;
}

CUDA_FN bool lpu_narrow_eight(td_u32 value, td_u8 *out) {
  if (!td_lpu_fits_f8(td_bits_to_float(value))) return false;
  if (out) *out = td_lpu_f32_to_f8(td_bits_to_float(value));
  return true;
}

CUDA_FN bool lpu_narrow(const struct lpu_chip &chip, const lpu_op &op, td_u32 value) {
  td_u8 *out = lpu_read_later(op.out) ? lpu_at(chip, op.out) + lpu_lane() : nullptr;
  switch (op.types >> 12 & 15) {
    case TD_OPERAND_F16:
      return lpu_narrow_half(value, out, chip.lanes);
    case TD_OPERAND_F8:
      return lpu_narrow_eight(value, out);
    case TD_OPERAND_I8:
    case TD_OPERAND_W8:
      return lpu_narrow_byte(op, value, out);
    case TD_OPERAND_32:
      if (out) lpu_split(value, out, chip.lanes);
      return true;
    default:
      return true;
  }
}

CUDA_FN void lpu_alu(const struct lpu_chip &chip, const lpu_op &op) {
  bool good = true;
  if (lpu_lane() >= chip.lanes) return;
  td_u32 a = lpu_operand(chip, op, op.types & 15, op.a);
  td_u32 b = lpu_operand(chip, op, op.types >> 4 & 15, op.b);
  td_u32 c = lpu_operand(chip, op, op.types >> 8 & 15, op.c);
  td_u32 result = lpu_operate(op, a, b, c, good);
  if (op.whole >= 0) lpu_whole(chip, op.whole)[lpu_lane()] = result;
  if (!good) {
    lpu_fail(chip, TD_CODE_NOT_INTEGER);
  } else if (!lpu_narrow(chip, op, result)) {
    lpu_fail(chip, TD_CODE_NOT_NARROW);
  }
}

#endif
