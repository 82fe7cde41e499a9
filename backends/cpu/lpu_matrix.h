/* SPDX-License-Identifier: Apache-2.0
 *
 * Part of lpu_loops.h: the matrix planes.
 */
/* ---- the matrix planes ---- */

/* Activations of an fp16 pass; whether all are numbers. */
LPU_TARGET static td_i32 LPU(activations)(const td_u8 *in, td_i32 lanes, td_i32 first, td_i32 k,
                                          double *TD_RESTRICT x) {
  const td_u8 *low = in + first, *high = low + lanes;
  td_i32 finite = 1;
  for (td_i32 i = 0; i < k; i++) {
    td_u16 half = (td_u16)(low[i] | (td_u32)high[i] << 8);
    finite &= (half & 0x7c00) != 0x7c00;
    x[i] = (double)td_lpu_f16_to_f32(half);
  }
  return finite;
}

/* Of an FP8 pass. */
LPU_TARGET static td_i32 LPU(activations_eights)(const td_u8 *in, td_i32 k, double *TD_RESTRICT x) {
  td_i32 finite = 1;
  for (td_i32 i = 0; i < k; i++) {
    finite &= (in[i] & 0x7f) != 0x7f;
    x[i] = (double)td_lpu_f8_to_f32(in[i]);
  }
  return finite;
}

/* Steps that were not loaded are zero, and zero times what is no number is none. */
LPU_TARGET static td_i32 LPU(spoiled)(const struct lpu_context *context, const struct td_lpu_code_op *op,
                                      const double *x, td_i32 k) {
  td_i32 vectors = context->head->load_vectors;
  char loaded[LPU_LANES] = {0};
  for (td_i32 s = op->first; s < op->first + op->count; s++) {
    memset(loaded + context->steps[s].step * vectors, 1, (size_t)vectors);
  }
  for (td_i32 i = 0; i < k; i++) {
    if (!loaded[i] && x[i] * 0 != 0) return 1;
  }
  return 0;
}

/* The rows that are wanted after those of step `step`: of the next step, or of the tile after this one. */
LPU_TARGET static const td_u8 *LPU(next_rows)(const struct lpu_context *context, const struct td_lpu_code_op *op,
                                              td_i32 step, const struct td_lpu_code_op *then) {
  const struct td_lpu_code_load *next = &context->steps[step + LPU_DISTANCE];
  td_i32 beyond = step + LPU_DISTANCE - (op->first + op->count);
  if (beyond >= 0) {
    if (!then || beyond >= then->count) return NULL;
    next = &context->steps[then->first + beyond];
  }
  return lpu_at(context, (struct td_lpu_code_place){next->vector, next->patch});
}

LPU_TARGET static void LPU(pass_wide)(const struct lpu_context *context, const struct td_lpu_code_op *op,
                                      const struct td_lpu_code_op *then, td_u32 *out) {
  const struct td_lpu_code_head *head = context->head;
  bool fp8 = op->detail == TD_TILE_F8 || op->detail == TD_TILE_EIGHTS;
  td_i32 lanes = head->lanes, k = fp8 ? head->plane_k : head->plane_k / 2, vectors = head->load_vectors;
  double sum[LPU_LANES], x[LPU_LANES];
  const td_u8 *in = lpu_at(context, op->a);
  td_i32 finite = fp8 ? LPU(activations_eights)(in, k, x) : LPU(activations)(in, lanes, op->immediate, k, x);
  for (td_i32 l = 0; l < lanes; l++) sum[l] = 0;
  if (op->detail == TD_TILE_FLOATS) {
    LPU_FLOATS(sum, (const float *)(const void *)lpu_at(context, op->b), x, k, lanes);
  } else if (op->detail == TD_TILE_EIGHTS) {
    LPU_EIGHTS(sum, lpu_at(context, op->b), x, k, lanes, NULL);
  }
  for (td_i32 s = op->first; s < op->first + op->count; s++) {
    const struct td_lpu_code_load *step = &context->steps[s];
    const td_u8 *rows = lpu_at(context, (struct td_lpu_code_place){step->vector, step->patch});
    const double *of = x + step->step * vectors;
    const td_u8 *next = LPU(next_rows)(context, op, s, then);
    if (op->detail == TD_TILE_W8) {
      LPU_WIDENED(sum, (const td_i8 *)rows, of, vectors, lanes, next);
    } else if (op->detail != TD_TILE_F16) {
      LPU_EIGHTS(sum, rows, of, vectors, lanes, next);
    } else {
      LPU_HALVES(sum, rows, of, vectors, lanes, next);
    }
  }
  bool none = !finite && op->detail < TD_TILE_BYTES && LPU(spoiled)(context, op, x, k);
  for (td_i32 l = 0; l < lanes; l++) out[l] = none ? TD_LPU_NAN : td_lpu_bits(td_lpu_quiet((float)sum[l]));
}

LPU_TARGET static void LPU(pass_bytes)(const struct lpu_context *context, const struct td_lpu_code_op *op,
                                       const struct td_lpu_code_op *then, td_i32 *out) {
  const struct td_lpu_code_head *head = context->head;
  td_i32 lanes = head->lanes, vectors = head->load_vectors;
  const td_i8 *x = (const td_i8 *)lpu_at(context, op->a);
  memset(out, 0, (size_t)lanes * sizeof *out);
  if (op->detail == TD_TILE_BYTES) {
    LPU_BYTES(out, (const td_i8 *)lpu_at(context, op->b), x, head->plane_k, lanes, NULL);
    return;
  }
  for (td_i32 s = op->first; s < op->first + op->count; s++) {
    const struct td_lpu_code_load *step = &context->steps[s];
    const td_u8 *rows = lpu_at(context, (struct td_lpu_code_place){step->vector, step->patch});
    LPU_BYTES(out, (const td_i8 *)rows, x + step->step * vectors, vectors, lanes, LPU(next_rows)(context, op, s, then));
  }
}

/* then: the pass after this one, or NULL. */
LPU_TARGET static void LPU(pass)(const struct lpu_context *context, const struct td_lpu_code_op *op,
                                 const struct td_lpu_code_op *then) {
  if (op->whole < 0) return;
  td_u32 *out = lpu_whole(context, op->whole);
  if (op->detail == TD_TILE_I8 || op->detail == TD_TILE_BYTES) {
    LPU(pass_bytes)(context, op, then, (td_i32 *)out);
  } else {
    LPU(pass_wide)(context, op, then, out);
  }
}

LPU_TARGET static enum td_lpu_code_reason LPU(sum)(const struct lpu_context *context, const struct td_lpu_code_op *op) {
  LPU(row) own;
  td_i32 lanes = context->head->lanes;
  const td_u32 *a = lpu_whole(context, op->a.vector), *total = a;
  if (op->b.vector >= 0) {
    const td_u32 *b = lpu_whole(context, op->b.vector);
    td_u32 *TD_RESTRICT out = op->whole >= 0 ? lpu_whole(context, op->whole) : own;
    total = out;
    if (!op->detail && !LPU(add_i32)(a, b, out, lanes)) return TD_CODE_WRAPS;
    for (td_i32 l = 0; l < lanes && op->detail; l++) {
      out[l] = td_lpu_bits(td_lpu_quiet(td_bits_to_float(a[l]) + td_bits_to_float(b[l])));
    }
  }
  if (op->out.vector >= 0) LPU(split)(total, lanes, lpu_at(context, op->out));
  return TD_CODE_FINE;
}

/* The lanes of vector j of a step are column n = load_vectors * step + j. */
LPU_TARGET static void LPU(expand_bytes)(const struct lpu_context *context, const struct td_lpu_code_op *op) {
  td_i32 lanes = context->head->lanes, k = context->head->plane_k, vectors = context->head->load_vectors;
  td_u8 *out = lpu_at(context, op->out);
  memset(out, 0, (size_t)k * (size_t)lanes);
  for (td_i32 s = op->first; s < op->first + op->count; s++) {
    const struct td_lpu_code_load *step = &context->steps[s];
    const td_u8 *in = lpu_at(context, (struct td_lpu_code_place){step->vector, step->patch}) + step->lane;
    for (td_i32 j = 0; j < vectors; j++) {
      td_u8 *to = out + step->step * vectors + j;
      for (td_i32 i = 0; i < k; i++) to[(td_i64)i * lanes] = in[(td_i64)j * lanes + i];
    }
  }
}

/* Places of a KV cache that nothing was written to are zero. */
LPU_TARGET static td_i32 LPU(empty)(const td_u8 *in, td_i32 each, td_i32 lanes, td_i32 k) {
  td_u8 any = 0;
  for (td_i32 e = 0; e < each; e++) {
    for (td_i32 i = 0; i < k; i++) any |= in[(td_i64)e * lanes + i];
  }
  return any == 0;
}

/* One column as floats. */
LPU_TARGET static void LPU(column)(const td_u8 *in, td_i32 type, td_i32 lanes, td_i32 k, float *TD_RESTRICT out) {
  const td_u8 *high = in + lanes;
  if (type == TD_OPERAND_W8) {
    for (td_i32 i = 0; i < k; i++) out[i] = (float)(td_i8)in[i];
    return;
  }
  if (type == TD_OPERAND_F8) {
    for (td_i32 i = 0; i < k; i++) out[i] = td_lpu_f8_to_f32(in[i]);
    return;
  }
  for (td_i32 i = 0; i < k; i++) out[i] = td_lpu_f16_to_f32((td_u16)(in[i] | (td_u32)high[i] << 8));
}

LPU_TARGET static void LPU(expand_step)(const struct lpu_context *context, const struct td_lpu_code_load *step,
                                        td_i32 type, float *out) {
  td_i32 lanes = context->head->lanes, k = context->head->plane_k / 2, vectors = context->head->load_vectors;
  td_i32 each = type == TD_OPERAND_F16 ? 2 : 1;
  const td_u8 *in = lpu_at(context, (struct td_lpu_code_place){step->vector, step->patch}) + step->lane;
  float columns[16][LPU_LANES / 2];
  for (td_i32 from = 0; from < vectors; from += 16) {
    td_i32 count = vectors - from < 16 ? vectors - from : 16, used = 0;
    for (td_i32 j = 0; j < count; j++) {
      used |= !LPU(empty)(in + (td_i64)(from + j) * each * lanes, each, lanes, k);
    }
    if (!used) continue;
    for (td_i32 j = 0; j < count; j++) {
      LPU(column)(in + (td_i64)(from + j) * each * lanes, type, lanes, k, columns[j]);
    }
    float *to = out + step->step * vectors + from;
    for (td_i32 i = 0; i < k; i++) {
      for (td_i32 j = 0; j < count; j++) to[(td_i64)i * lanes + j] = columns[j][i];
    }
  }
}

LPU_TARGET static void LPU(expand)(const struct lpu_context *context, const struct td_lpu_code_op *op) {
  td_i64 elements = (td_i64)(context->head->plane_k / 2) * context->head->lanes;
  if (op->out.vector < 0) return;
  if (op->detail == TD_OPERAND_I8) {
    LPU(expand_bytes)(context, op);
    return;
  }
  float *out = (float *)(void *)lpu_at(context, op->out);
  memset(out, 0, (size_t)elements * sizeof *out);
  for (td_i32 s = op->first; s < op->first + op->count; s++) {
    LPU(expand_step)(context, &context->steps[s], op->detail, out);
  }
}
