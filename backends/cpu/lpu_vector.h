/* SPDX-License-Identifier: Apache-2.0
 *
 * Part of lpu_loops.h: operands and results of the vector unit, and its operations.
 */
#include "tandem/lpu_math.h"

typedef td_u32 LPU(row)[LPU_LANES];

/* ---- widening and narrowing: as framework/lpu/execute_vector.c ---- */

LPU_TARGET static void LPU(join)(const td_u8 *in, td_i32 lanes, td_u32 *TD_RESTRICT out) {
  const td_u8 *b = in + lanes, *c = b + lanes, *d = c + lanes;
  for (td_i32 l = 0; l < lanes; l++) {
    out[l] = (td_u32)in[l] | (td_u32)b[l] << 8 | (td_u32)c[l] << 16 | (td_u32)d[l] << 24;
  }
}

LPU_TARGET static void LPU(widen_halves)(const td_u8 *in, td_i32 lanes, td_u32 *TD_RESTRICT out) {
  const td_u8 *high = in + lanes;
  for (td_i32 l = 0; l < lanes; l++) {
    out[l] = td_lpu_bits(td_lpu_f16_to_f32((td_u16)(in[l] | (td_u32)high[l] << 8)));
  }
}

/* An operand as 32 bits a lane: where it lies, or in `own`. */
LPU_TARGET static const td_u32 *LPU(operand)(const struct lpu_context *context, const struct td_lpu_code_op *op,
                                             int which, struct td_lpu_code_place place, td_u32 *TD_RESTRICT own) {
  td_i32 lanes = context->head->lanes, type = op->types >> (4 * which) & 15;
  if (type == TD_OPERAND_WHOLE) return lpu_whole(context, place.vector);
  if (type == TD_OPERAND_IMMEDIATE) {
    for (td_i32 l = 0; l < lanes; l++) own[l] = (td_u32)op->immediate;
    return own;
  }
  if (type == TD_OPERAND_NONE) return own;
  const td_u8 *in = lpu_at(context, place);
  switch (type) {
    case TD_OPERAND_I8:
      for (td_i32 l = 0; l < lanes; l++) own[l] = (td_u32)(td_i32)(td_i8)in[l];
      break;
    case TD_OPERAND_W8:
      for (td_i32 l = 0; l < lanes; l++) own[l] = td_lpu_bits((float)(td_i8)in[l]);
      break;
    case TD_OPERAND_F8:
      for (td_i32 l = 0; l < lanes; l++) own[l] = td_lpu_bits(td_lpu_f8_to_f32(in[l]));
      break;
    case TD_OPERAND_F16:
      LPU(widen_halves)(in, lanes, own);
      break;
    default:
      LPU(join)(in, lanes, own);
      break;
  }
  return own;
}

LPU_TARGET static void LPU(split)(const td_u32 *in, td_i32 lanes, td_u8 *TD_RESTRICT out) {
  for (td_i32 i = 0; i < 4; i++) {
    td_u8 *TD_RESTRICT to = out + (td_i64)i * lanes;
    for (td_i32 l = 0; l < lanes; l++) to[l] = (td_u8)(in[l] >> (8 * i));
  }
}

LPU_TARGET static td_i32 LPU(narrow_halves)(const td_u32 *in, td_i32 lanes, td_u8 *TD_RESTRICT out) {
  td_u8 *TD_RESTRICT high = out + lanes;
  td_i32 good = 1;
  for (td_i32 l = 0; l < lanes; l++) {
    float value = td_bits_to_float(in[l]);
    td_u32 half = td_lpu_f32_to_f16(value);
    good &= td_lpu_fits_f16(value);
    out[l] = (td_u8)half;
    high[l] = (td_u8)(half >> 8);
  }
  return good;
}

LPU_TARGET static td_i32 LPU(narrow_bytes)(const td_u32 *in, td_i32 lanes, td_u8 *TD_RESTRICT out) {
  td_i32 good = 1;
  for (td_i32 l = 0; l < lanes; l++) {
    td_i32 value = (td_i32)in[l];
    good &= (value >= -128) & (value <= 127);
    out[l] = (td_u8)value;
  }
  return good;
}

LPU_TARGET static td_i32 LPU(narrow_eights)(const td_u32 *in, td_i32 lanes, td_u8 *TD_RESTRICT out) {
  td_i32 good = 1;
  for (td_i32 l = 0; l < lanes; l++) {
    float value = td_bits_to_float(in[l]);
    good &= td_lpu_fits_f8(value);
    out[l] = td_lpu_f32_to_f8(value);
  }
  return good;
}

LPU_TARGET static td_i32 LPU(to_i32)(const td_u32 *a, td_i32 lanes, td_u32 *TD_RESTRICT out) {
  td_i32 good = 1;
  for (td_i32 l = 0; l < lanes; l++) {
    float value = td_bits_to_float(a[l]);
    good &= td_lpu_fits_i32(value);
    out[l] = (td_u32)td_lpu_f32_to_i32(value);
  }
  return good;
}

/* Into `out`, or nowhere: then it is looked at all the same. */
LPU_TARGET static td_i32 LPU(narrow)(td_i32 types, const td_u32 *in, td_i32 lanes, td_u8 *out) {
  LPU(row) whole;
  td_u8 nowhere[2 * LPU_LANES];
  td_i32 type = types >> 12 & 15;
  if (!out && type != TD_OPERAND_32) out = nowhere;
  switch (type) {
    case TD_OPERAND_F16:
      return LPU(narrow_halves)(in, lanes, out);
    case TD_OPERAND_F8:
      return LPU(narrow_eights)(in, lanes, out);
    case TD_OPERAND_I8:
    case TD_OPERAND_W8:
      if (types & TD_CODE_INTEGER) return LPU(narrow_bytes)(in, lanes, out);
      return LPU(to_i32)(in, lanes, whole) & LPU(narrow_bytes)(whole, lanes, out);
    case TD_OPERAND_32:
      if (out) LPU(split)(in, lanes, out);
      return 1;
    default:
      return 1;
  }
}

/* ---- the vector unit ---- */

#undef LPU_FLOAT_LOOP
#define LPU_FLOAT_LOOP(expression)                                      \
  for (td_i32 l = 0; l < lanes; l++) {                                  \
    const float A = td_bits_to_float(a[l]), B = td_bits_to_float(b[l]); \
    (void)A, (void)B;                                                   \
    out[l] = td_lpu_bits(expression);                                   \
  }                                                                     \
  return 1;

LPU_TARGET static td_i32 LPU(elementary)(td_i32 operation, const td_u32 *a, td_u32 *TD_RESTRICT out, td_i32 lanes) {
  const td_u32 *b = a;
  switch (operation) {
    case TD_CODE_EXP:
      LPU_FLOAT_LOOP(td_lpu_exp(A))
    case TD_CODE_RSQRT:
      LPU_FLOAT_LOOP(td_lpu_rsqrt(A))
    case TD_CODE_RECIPROCAL:
      LPU_FLOAT_LOOP(td_lpu_reciprocal(A))
    case TD_CODE_TANH:
      LPU_FLOAT_LOOP(td_lpu_tanh(A))
    default:
      LPU_FLOAT_LOOP(td_lpu_sigmoid(A))
  }
}

/* Wrapping is seen in the signs. */
LPU_TARGET static td_i32 LPU(add_i32)(const td_u32 *a, const td_u32 *b, td_u32 *TD_RESTRICT out, td_i32 lanes) {
  td_u32 wraps = 0;
  for (td_i32 l = 0; l < lanes; l++) {
    td_u32 sum = a[l] + b[l];
    wraps |= (a[l] ^ sum) & (b[l] ^ sum);
    out[l] = sum;
  }
  return wraps >> 31 ? 0 : 1;
}

LPU_TARGET static td_i32 LPU(sub_i32)(const td_u32 *a, const td_u32 *b, td_u32 *TD_RESTRICT out, td_i32 lanes) {
  td_u32 wraps = 0;
  for (td_i32 l = 0; l < lanes; l++) {
    td_u32 rest = a[l] - b[l];
    wraps |= (a[l] ^ b[l]) & (a[l] ^ rest);
    out[l] = rest;
  }
  return wraps >> 31 ? 0 : 1;
}

LPU_TARGET static td_i32 LPU(shift_i32)(const td_u32 *a, const td_u32 *b, td_u32 *TD_RESTRICT out, td_i32 lanes) {
  td_i32 good = 1;
  for (td_i32 l = 0; l < lanes; l++) {
    td_i32 by = (td_i32)b[l];
    good &= (by >= -31) & (by <= 31);
    out[l] = by >= 0 ? a[l] << (by & 31) : (td_u32)((td_i32)a[l] >> (-by & 31));
  }
  return good;
}

LPU_TARGET static td_i32 LPU(integers)(td_i32 operation, const td_u32 *a, const td_u32 *b, td_u32 *TD_RESTRICT out,
                                       td_i32 lanes) {
  switch (operation) {
    case TD_CODE_TO_I32:
      return LPU(to_i32)(a, lanes, out);
    case TD_CODE_TO_F32:
      for (td_i32 l = 0; l < lanes; l++) out[l] = td_lpu_bits(td_lpu_i32_to_f32((td_i32)a[l]));
      return 1;
    case TD_CODE_ADD_I32:
      return LPU(add_i32)(a, b, out, lanes);
    case TD_CODE_SUB_I32:
      return LPU(sub_i32)(a, b, out, lanes);
    default:
      return LPU(shift_i32)(a, b, out, lanes);
  }
}

LPU_TARGET static td_i32 LPU(operate)(const struct td_lpu_code_op *op, const td_u32 *a, const td_u32 *b,
                                      const td_u32 *c, td_u32 *TD_RESTRICT out, td_i32 lanes) {
  switch (op->detail) {
    case TD_CODE_MOVE:
      memcpy(out, a, (size_t)lanes * sizeof *out);
      return 1;
    case TD_CODE_ADD:
      LPU_FLOAT_LOOP(td_lpu_quiet(A + B))
    case TD_CODE_SUB:
      LPU_FLOAT_LOOP(td_lpu_quiet(A - B))
    case TD_CODE_MUL:
      LPU_FLOAT_LOOP(td_lpu_quiet(A * B))
    case TD_CODE_MAX:
      LPU_FLOAT_LOOP(td_lpu_quiet(A > B ? A : B))
    case TD_CODE_MIN:
      LPU_FLOAT_LOOP(td_lpu_quiet(A < B ? A : B))
    case TD_CODE_ABS:
      for (td_i32 l = 0; l < lanes; l++) out[l] = a[l] & 0x7fffffffu;
      return 1;
    case TD_CODE_SELECT_LE: {
      td_u32 otherwise = (td_u32)op->immediate;
      for (td_i32 l = 0; l < lanes; l++) {
        out[l] = td_bits_to_float(a[l]) <= td_bits_to_float(b[l]) ? c[l] : otherwise;
      }
      return 1;
    }
    case TD_CODE_EXP:
    case TD_CODE_RSQRT:
    case TD_CODE_RECIPROCAL:
    case TD_CODE_TANH:
    case TD_CODE_SIGMOID:
      return LPU(elementary)(op->detail, a, out, lanes);
    default:
      return LPU(integers)(op->detail, a, b, out, lanes);
  }
}

LPU_TARGET static enum td_lpu_code_reason LPU(alu)(const struct lpu_context *context, const struct td_lpu_code_op *op) {
  LPU(row) own_a, own_b, own_c, own;
  td_i32 lanes = context->head->lanes;
  const td_u32 *a = LPU(operand)(context, op, 0, op->a, own_a);
  const td_u32 *b = op->types >> 4 & 15 ? LPU(operand)(context, op, 1, op->b, own_b) : a;
  const td_u32 *c = op->types >> 8 & 15 ? LPU(operand)(context, op, 2, op->c, own_c) : a;
  td_u32 *out = op->whole >= 0 ? lpu_whole(context, op->whole) : own;
  if (!LPU(operate)(op, a, b, c, out, lanes)) return TD_CODE_NOT_INTEGER;
  td_u8 *to = op->out.vector >= 0 ? lpu_at(context, op->out) : NULL;
  return LPU(narrow)(op->types, out, lanes, to) ? TD_CODE_FINE : TD_CODE_NOT_NARROW;
}
