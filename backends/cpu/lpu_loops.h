/* SPDX-License-Identifier: Apache-2.0
 *
 * The interpreter of LPU code in one form: included with
 *   LPU(name)   names of this form
 *   LPU_TARGET  target attribute of its functions
 *   LPU_BYTES(sum, rows, x, count, lanes, next)    sum[l] += x[i] * rows[i][l], int8; next: rows wanted soon, or NULL
 *   LPU_WIDENED(sum, rows, x, count, lanes, next)  the same of int8 rows and doubles x, into doubles
 *   LPU_HALVES(sum, rows, x, count, lanes, next)   of planar f16 rows
 *   LPU_EIGHTS(sum, rows, x, count, lanes, next)   of FP8 rows
 *   LPU_FLOATS(sum, rows, x, count, lanes)         of float rows
 * Every form gives the same bits: lanes are independent, k ascends, products are exact.
 */
#include "lpu_vector.h"
/* uses that */
#include "lpu_matrix.h"

/* ---- the switch ---- */

LPU_TARGET static void LPU(rotate)(const td_u8 *in, td_u8 *out, td_i32 lanes, td_i32 group, td_i32 by) {
  by = (by % group + group) % group;
  for (td_i32 at = 0; at < lanes; at += group) {
    memcpy(out + at, in + at + by, (size_t)(group - by));
    memcpy(out + at + group - by, in + at, (size_t)by);
  }
}

LPU_TARGET static void LPU(shift)(const td_u8 *in, td_u8 *out, td_i32 lanes, td_i32 by) {
  memset(out, 0, (size_t)lanes);
  size_t kept = (size_t)lanes - (size_t)(by < 0 ? -by : by);
  if (by >= 0 && by < lanes) memcpy(out, in + by, kept);
  if (by < 0 && by > -lanes) memcpy(out - by, in, kept);
}

LPU_TARGET static void LPU(permute)(const td_u8 *in, td_u8 *TD_RESTRICT out, td_i32 lanes,
                                    const struct td_lpu_code_map *map) {
  for (td_i32 l = 0; l < lanes && !map->pieces; l++) out[l] = map->lane[l] < 0 ? 0 : in[map->lane[l]];
  for (td_i32 i = 0; i < map->pieces; i++) {
    const struct td_lpu_code_map_piece *piece = &map->piece[i];
    if (piece->step) {
      memcpy(out + piece->to, in + piece->from, (size_t)piece->count);
    } else {
      memset(out + piece->to, piece->from < 0 ? 0 : in[piece->from], (size_t)piece->count);
    }
  }
}

LPU_TARGET static void LPU(choose)(const td_u8 *a, const td_u8 *b, td_u8 *TD_RESTRICT out, td_i32 lanes,
                                   const struct td_lpu_code_map *map) {
  for (td_i32 l = 0; l < lanes; l++) out[l] = map->lane[l] >= 0 ? a[l] : b[l];
}

LPU_TARGET static void LPU(transpose)(const td_u8 *in, td_u8 *out, td_i32 lanes) {
  for (td_i32 v = 0; v < 16; v++) {
    for (td_i32 at = 0; at < lanes; at += 16) {
      for (td_i32 i = 0; i < 16; i++) out[(td_i64)i * lanes + at + v] = in[(td_i64)v * lanes + at + i];
    }
  }
}

LPU_TARGET static void LPU(move)(const struct lpu_context *context, const struct td_lpu_code_op *op) {
  const struct td_lpu_code_head *head = context->head;
  td_i32 lanes = head->lanes, by = op->immediate;
  if (op->out.vector < 0) return;
  const td_u8 *a = lpu_at(context, op->a), *b = op->kind == TD_CODE_SELECT ? lpu_at(context, op->b) : a;
  td_u8 *out = lpu_at(context, op->out);
  if (op->kind == TD_CODE_TRANSPOSE) {
    LPU(transpose)(a, out, lanes);
    return;
  }
  bool mapped = op->kind == TD_CODE_PERMUTE || op->kind == TD_CODE_SELECT;
  const struct td_lpu_code_map *map = mapped ? &context->maps[op->first + context->patches[op->detail]] : NULL;
  for (td_i32 i = 0; i < op->count; i++) {
    const td_u8 *in = a + (td_i64)i * lanes;
    td_u8 *to = out + (td_i64)i * lanes;
    if (op->kind == TD_CODE_ROTATE) LPU(rotate)(in, to, lanes, head->lanes_per_superlane, by);
    if (op->kind == TD_CODE_SHIFT) LPU(shift)(in, to, lanes, by);
    if (op->kind == TD_CODE_PERMUTE) LPU(permute)(in, to, lanes, map);
    if (op->kind == TD_CODE_SELECT) LPU(choose)(in, b + (td_i64)i * lanes, to, lanes, map);
  }
}

/* ---- operations in order ---- */

LPU_TARGET static void LPU(copy)(const struct lpu_context *context, const struct td_lpu_code_op *op) {
  size_t lanes = (size_t)context->head->lanes;
  if (op->out.patch == TD_CODE_WORK && op->out.vector < 0) return;
  const td_u8 *from = lpu_at(context, op->a);
  td_u8 *to = lpu_at(context, op->out);
  if (lanes % 64 == 0) { /* in the order of vectors too, but without a call each */
    for (size_t i = 0; i < (size_t)op->count * lanes; i += 64) {
      td_u8 line[64];
      memcpy(line, from + i, sizeof line);
      memcpy(to + i, line, sizeof line);
    }
    return;
  }
  for (td_i32 i = 0; i < op->count; i++) memmove(to + (size_t)i * lanes, from + (size_t)i * lanes, lanes);
}

LPU_TARGET static enum td_lpu_code_reason LPU(one)(const struct lpu_context *context, const struct td_lpu_code_op *op,
                                                   const struct td_lpu_code_op *end) {
  const struct td_lpu_code_op *then = op + 1;
  switch (op->kind) {
    case TD_CODE_COPY:
      LPU(copy)(context, op);
      return TD_CODE_FINE;
    case TD_CODE_ALU:
      return LPU(alu)(context, op);
    case TD_CODE_EXPAND:
      LPU(expand)(context, op);
      return TD_CODE_FINE;
    case TD_CODE_PASS:
      while (then < end && then < op + LPU_AHEAD && then->kind != TD_CODE_PASS) then++;
      LPU(pass)(context, op, then < end && then->kind == TD_CODE_PASS ? then : NULL);
      return TD_CODE_FINE;
    case TD_CODE_SUM:
      return LPU(sum)(context, op);
    default:
      LPU(move)(context, op);
      return TD_CODE_FINE;
  }
}

LPU_TARGET static enum td_lpu_code_reason LPU(run)(const struct lpu_context *context, const struct td_lpu_code_op *ops,
                                                   td_i32 count, td_i32 *out_failed) {
  for (td_i32 i = 0; i < count; i++) {
    enum td_lpu_code_reason reason = LPU(one)(context, &ops[i], ops + count);
    if (reason == TD_CODE_FINE) continue;
    *out_failed = i;
    return reason;
  }
  return TD_CODE_FINE;
}
