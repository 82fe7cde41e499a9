/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows times activations in plain C, for vectors of any width: what the wide forms fall back to. Included with
 * LPU_ROWS(name) and LPU_TARGET.
 */
LPU_TARGET static void LPU_ROWS(bytes)(td_i32 *TD_RESTRICT sum, const td_i8 *rows, const td_i8 *x, td_i32 count,
                                       td_i32 lanes, const td_u8 *next) {
  (void)next;
  for (td_i32 i = 0; i < count; i++) {
    const td_i8 *row = rows + (td_i64)i * lanes;
    if (!x[i]) continue;
    for (td_i32 l = 0; l < lanes; l++) sum[l] += (int16_t)(x[i] * row[l]);
  }
}

LPU_TARGET static void LPU_ROWS(widened)(double *TD_RESTRICT sum, const td_i8 *rows, const double *x, td_i32 count,
                                         td_i32 lanes, const td_u8 *next) {
  (void)next;
  for (td_i32 i = 0; i < count; i++) {
    const td_i8 *row = rows + (td_i64)i * lanes;
    for (td_i32 l = 0; l < lanes; l++) sum[l] += x[i] * (double)row[l];
  }
}

LPU_TARGET static void LPU_ROWS(floats)(double *TD_RESTRICT sum, const float *rows, const double *x, td_i32 count,
                                        td_i32 lanes) {
  for (td_i32 i = 0; i < count; i++) {
    const float *row = rows + (td_i64)i * lanes;
    for (td_i32 l = 0; l < lanes; l++) sum[l] += x[i] * (double)row[l];
  }
}

/* Whether all lanes are numbers: zero times such a row adds nothing to sums that began at +0. */
LPU_TARGET static td_i32 LPU_ROWS(numbers)(const td_u8 *high, td_i32 lanes) {
  td_u8 odd = 0;
  for (td_i32 l = 0; l < lanes; l++) odd |= (high[l] & 0x7c) == 0x7c;
  return !odd;
}

LPU_TARGET static void LPU_ROWS(halves)(double *TD_RESTRICT sum, const td_u8 *rows, const double *x, td_i32 count,
                                        td_i32 lanes, const td_u8 *next) {
  (void)next;
  for (td_i32 i = 0; i < count; i++) {
    const td_u8 *low = rows + (td_i64)i * 2 * lanes, *high = low + lanes;
    if (x[i] == 0 && LPU_ROWS(numbers)(high, lanes)) continue;
    for (td_i32 l = 0; l < lanes; l++) {
      sum[l] += x[i] * (double)td_lpu_f16_to_f32((td_u16)(low[l] | (td_u32)high[l] << 8));
    }
  }
}

/* FP8 rows. */
LPU_TARGET static void LPU_ROWS(eights)(double *TD_RESTRICT sum, const td_u8 *rows, const double *x, td_i32 count,
                                        td_i32 lanes, const td_u8 *next) {
  (void)next;
  for (td_i32 i = 0; i < count; i++) {
    const td_u8 *row = rows + (td_i64)i * lanes;
    for (td_i32 l = 0; l < lanes; l++) sum[l] += x[i] * (double)td_lpu_f8_to_f32(row[l]);
  }
}
