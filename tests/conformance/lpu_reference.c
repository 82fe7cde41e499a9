/* SPDX-License-Identifier: Apache-2.0
 *
 * One operation at a time, one lane at a time. Elementary functions are those of tandem/lpu_math.h, which have tests of
 * their own (tests/lpu); how devices compile them is what the suite asks.
 */
#include "lpu_reference.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "tandem/lpu_math.h"

enum { LANES = LPU_CASE_LANES };

static td_u8 *place(const struct lpu_reference *of, struct td_lpu_code_place at) {
  if (at.patch == TD_CODE_WORK) return of->work + (ptrdiff_t)at.vector * LANES;
  return of->sram + (ptrdiff_t)(at.vector + of->patches[at.patch]) * LANES;
}
static td_u32 get_whole(const struct lpu_reference *of, int vector, int lane) {
  td_u32 value;
  memcpy(&value, of->work + (ptrdiff_t)vector * LANES + 4 * lane, sizeof value);
  return value;
}
static void put_whole(const struct lpu_reference *of, int vector, int lane, td_u32 value) {
  if (vector >= 0) memcpy(of->work + (ptrdiff_t)vector * LANES + 4 * lane, &value, sizeof value);
}
/* Planar, of `bytes` vectors. */
static td_u32 get(const td_u8 *in, int lane, int bytes) {
  td_u32 value = 0;
  for (int i = 0; i < bytes; i++) value |= (td_u32)in[i * LANES + lane] << 8 * i;
  return value;
}
static void put(const struct lpu_reference *of, struct td_lpu_code_place out, int lane, int bytes, td_u32 value) {
  if (out.patch == TD_CODE_WORK && out.vector < 0) return;
  for (int i = 0; i < bytes; i++) place(of, out)[i * LANES + lane] = (td_u8)(value >> 8 * i);
}
static float half_at(const td_u8 *in, int lane) {
  return td_lpu_f16_to_f32((td_u16)get(in, lane, 2));
}

/* ---- the vector unit ---- */

static td_u32 operand(const struct lpu_reference *of, const struct td_lpu_code_op *op, int which, int lane) {
  struct td_lpu_code_place at = which == 0 ? op->a : which == 1 ? op->b : op->c;
  switch (op->types >> 4 * which & 15) {
    case TD_OPERAND_NONE:
      return 0;
    case TD_OPERAND_I8:
      return (td_u32)(td_i32)(td_i8)place(of, at)[lane];
    case TD_OPERAND_W8:
      return td_lpu_bits((float)(td_i8)place(of, at)[lane]);
    case TD_OPERAND_F8:
      return td_lpu_bits(td_lpu_f8_to_f32(place(of, at)[lane]));
    case TD_OPERAND_F16:
      return td_lpu_bits(half_at(place(of, at), lane));
    case TD_OPERAND_32:
      return get(place(of, at), lane, 4);
    case TD_OPERAND_WHOLE:
      return get_whole(of, at.vector, lane);
    default:
      return (td_u32)op->immediate;
  }
}

static bool fits_i32(int64_t value) {
  return value == (td_i32)value;
}

static td_u32 integers(int operation, td_u32 bits_a, td_u32 bits_b, bool *good) {
  int64_t a = (td_i32)bits_a, b = (td_i32)bits_b, result = 0;
  switch (operation) {
    case TD_CODE_TO_I32:
      *good = td_lpu_fits_i32(td_bits_to_float(bits_a));
      return (td_u32)td_lpu_f32_to_i32(td_bits_to_float(bits_a));
    case TD_CODE_TO_F32:
      return td_lpu_bits((float)a);
    case TD_CODE_SHIFT_I32:
      *good = b >= -31 && b <= 31;
      return b >= 0 ? bits_a << (b & 31) : (td_u32)(a >> (-b & 31));
    default:
      result = operation == TD_CODE_ADD_I32 ? a + b : a - b;
      *good = fits_i32(result);
      return (td_u32)result;
  }
}

static float floats(int operation, float a, float b) {
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

static td_u32 operate(const struct td_lpu_code_op *op, td_u32 a, td_u32 b, td_u32 c, bool *good) {
  if (op->detail >= TD_CODE_TO_I32) return integers(op->detail, a, b, good);
  if (op->detail == TD_CODE_MOVE) return a;
  if (op->detail == TD_CODE_ABS) return a & 0x7fffffffu;
  if (op->detail == TD_CODE_SELECT_LE) {
    return td_bits_to_float(a) <= td_bits_to_float(b) ? c : (td_u32)op->immediate;
  }
  return td_lpu_bits(floats(op->detail, td_bits_to_float(a), td_bits_to_float(b)));
}

static bool narrow(const struct lpu_reference *of, const struct td_lpu_code_op *op, int lane, td_u32 value) {
  float number = td_bits_to_float(value);
  bool integer = op->types & TD_CODE_INTEGER;
  int whole = integer ? (td_i32)value : td_lpu_f32_to_i32(number);
  switch (op->types >> 12 & 15) {
    case TD_OPERAND_F16:
      put(of, op->out, lane, 2, td_lpu_f32_to_f16(number));
      return td_lpu_fits_f16(number);
    case TD_OPERAND_F8:
      put(of, op->out, lane, 1, td_lpu_f32_to_f8(number));
      return td_lpu_fits_f8(number);
    case TD_OPERAND_I8:
      put(of, op->out, lane, 1, (td_u32)whole);
      return (integer || td_lpu_fits_i32(number)) && whole >= -128 && whole <= 127;
    default:
      put(of, op->out, lane, 4, value);
      return true;
  }
}

static enum td_lpu_code_reason alu(const struct lpu_reference *of, const struct td_lpu_code_op *op) {
  bool integers_fit = true, all_fit = true;
  for (int lane = 0; lane < LANES; lane++) {
    bool good = true;
    td_u32 a = operand(of, op, 0, lane), b = operand(of, op, 1, lane), c = operand(of, op, 2, lane);
    td_u32 result = operate(op, a, b, c, &good);
    integers_fit &= good;
    put_whole(of, op->whole, lane, result);
    all_fit &= narrow(of, op, lane, result);
  }
  return !integers_fit ? TD_CODE_NOT_INTEGER : !all_fit ? TD_CODE_NOT_NARROW : TD_CODE_FINE;
}

/* ---- the switch ---- */

static td_u8 moved(const struct lpu_reference *of, const struct td_lpu_code_op *op, const td_u8 *a, int v, int lane) {
  int group = of->head->lanes_per_superlane, by = op->immediate, from;
  const td_u8 *in = a + v * LANES;
  const struct td_lpu_code_map *map = NULL;
  if (op->kind == TD_CODE_PERMUTE || op->kind == TD_CODE_SELECT) map = &of->maps[op->first + of->patches[op->detail]];
  switch (op->kind) {
    case TD_CODE_ROTATE:
      return in[lane / group * group + ((lane + by) % group + group) % group];
    case TD_CODE_SHIFT:
      return lane + by >= 0 && lane + by < LANES ? in[lane + by] : 0;
    case TD_CODE_TRANSPOSE:
      return a[lane % 16 * LANES + lane / 16 * 16 + v];
    case TD_CODE_COPY:
      return in[lane];
    default:
      from = map->lane[lane];
      if (op->kind == TD_CODE_SELECT) return from >= 0 ? in[lane] : place(of, op->b)[v * LANES + lane];
      return from < 0 ? 0 : in[from];
  }
}

static void move(const struct lpu_reference *of, const struct td_lpu_code_op *op) {
  for (int v = 0; v < op->count; v++) {
    for (int lane = 0; lane < LANES; lane++) {
      place(of, op->out)[v * LANES + lane] = moved(of, op, place(of, op->a), v, lane);
    }
  }
}

/* ---- the matrix planes ---- */

static const td_u8 *load_at(const struct lpu_reference *of, int step) {
  const struct td_lpu_code_load *load = &of->steps[step];
  return place(of, (struct td_lpu_code_place){load->vector, load->patch}) + load->lane;
}

/* An element of a tile of bytes. */
static double byte_as(const struct td_lpu_code_op *op, td_u8 byte) {
  bool fp8 = op->detail == TD_TILE_F8 || op->detail == TD_TILE_WF8 || op->detail == TD_TILE_EIGHTS;
  return fp8 ? (double)td_lpu_f8_to_f32(byte) : (double)(td_i8)byte;
}

/* Element (k, lane) of a pass's tile; false: it is of a step that was not loaded. */
static bool weight(const struct lpu_reference *of, const struct td_lpu_code_op *op, int k, int lane, double *out) {
  int vectors = of->head->load_vectors;
  float number;
  if (op->detail == TD_TILE_FLOATS) {
    memcpy(&number, place(of, op->b) + 4 * (k * LANES + lane), sizeof number);
    *out = (double)number;
    return true;
  }
  if (op->detail == TD_TILE_BYTES || op->detail == TD_TILE_EIGHTS) {
    *out = byte_as(op, place(of, op->b)[k * LANES + lane]);
    return true;
  }
  for (int s = op->first; s < op->first + op->count; s++) {
    if (of->steps[s].step != k / vectors) continue;
    const td_u8 *rows = load_at(of, s);
    bool halves = op->detail == TD_TILE_F16;
    *out = halves ? (double)half_at(rows + 2 * (k % vectors) * LANES, lane)
                  : byte_as(op, rows[k % vectors * LANES + lane]);
    return true;
  }
  *out = 0;
  return false;
}

static void pass(const struct lpu_reference *of, const struct td_lpu_code_op *op) {
  bool bytes = op->detail == TD_TILE_I8 || op->detail == TD_TILE_BYTES;
  bool fp8 = op->detail == TD_TILE_F8 || op->detail == TD_TILE_EIGHTS;
  int rows = bytes || fp8 ? of->head->plane_k : of->head->plane_k / 2;
  for (int lane = 0; lane < LANES; lane++) {
    double sum = 0, w;
    for (int k = 0; k < rows; k++) {
      const td_u8 *a = place(of, op->a);
      bool loaded = weight(of, op, k, lane, &w);
      double x = bytes || fp8 ? byte_as(op, a[k]) : (double)half_at(a, op->immediate + k);
      if (loaded || !bytes) sum += x * w;
    }
    td_u32 result = bytes ? (td_u32)(td_i32)sum : td_lpu_bits(td_lpu_quiet((float)sum));
    put_whole(of, op->whole, lane, result);
  }
}

static enum td_lpu_code_reason sum_rows(const struct lpu_reference *of, const struct td_lpu_code_op *op) {
  bool good = true;
  for (int lane = 0; lane < LANES; lane++) {
    td_u32 a = get_whole(of, op->a.vector, lane), b = op->b.vector < 0 ? 0 : get_whole(of, op->b.vector, lane);
    float real = td_lpu_quiet(td_bits_to_float(a) + td_bits_to_float(b));
    td_u32 total = op->b.vector < 0 ? a : op->detail ? td_lpu_bits(real) : a + b;
    if (!op->detail) good &= fits_i32((int64_t)(td_i32)a + (td_i32)b);
    put_whole(of, op->whole, lane, total);
    put(of, op->out, lane, 4, total);
  }
  return good ? TD_CODE_FINE : TD_CODE_WRAPS;
}

static void expand(const struct lpu_reference *of, const struct td_lpu_code_op *op) {
  bool wide = op->detail != TD_OPERAND_I8;
  int vectors = of->head->load_vectors, each = op->detail == TD_OPERAND_F16 ? 2 : 1;
  int rows = wide ? of->head->plane_k / 2 : of->head->plane_k;
  memset(place(of, op->out), 0, (size_t)(rows * LANES * (wide ? 4 : 1)));
  for (int s = op->first; s < op->first + op->count; s++) {
    for (int j = 0; j < vectors; j++) {
      const td_u8 *in = load_at(of, s) + j * each * LANES;
      int column = of->steps[s].step * vectors + j;
      for (int k = 0; k < rows; k++) {
        float number = each == 2                     ? half_at(in, k)
                       : op->detail == TD_OPERAND_F8 ? td_lpu_f8_to_f32(in[k])
                                                     : (float)(td_i8)in[k];
        td_u8 *out = place(of, op->out) + (k * LANES + column) * (wide ? 4 : 1);
        memcpy(out, wide ? (const void *)&number : (const void *)&in[k], wide ? 4 : 1);
      }
    }
  }
}

enum td_lpu_code_reason lpu_reference_op(const struct lpu_reference *of, const struct td_lpu_code_op *op) {
  switch (op->kind) {
    case TD_CODE_ALU:
      return alu(of, op);
    case TD_CODE_EXPAND:
      expand(of, op);
      return TD_CODE_FINE;
    case TD_CODE_PASS:
      pass(of, op);
      return TD_CODE_FINE;
    case TD_CODE_SUM:
      return sum_rows(of, op);
    default:
      move(of, op);
      return TD_CODE_FINE;
  }
}
