/* SPDX-License-Identifier: Apache-2.0
 *
 * The loops over lanes of the matrix planes. A product of two f16 is exact in binary32, so it is made there, and only
 * the sum is in binary64.
 */
#include "execute_kernels.h"

#include <string.h>

#include "execute.h"
#include "tandem/lpu_math.h"

static float float_at(const uint8_t *const *in, int32_t type, int32_t lane) {
  if (type == TD_LPU_W8) return (float)(int8_t)in[0][lane];
  if (type == TD_LPU_WF8) return td_lpu_f8_to_f32(in[0][lane]);
  return td_lpu_f16_to_f32((uint16_t)(in[0][lane] | in[1][lane] << 8));
}

void execute_row_floats(const uint8_t *const *in, int32_t type, int32_t lanes, float *out) {
  const uint8_t *low = in[0];
  if (type == TD_LPU_W8) {
    for (int32_t l = 0; l < lanes; l++) out[l] = (float)(int8_t)low[l];
    return;
  }
  if (type == TD_LPU_WF8) {
    for (int32_t l = 0; l < lanes; l++) out[l] = td_lpu_f8_to_f32(low[l]);
    return;
  }
  const uint8_t *high = in[1];
  for (int32_t l = 0; l < lanes; l++) out[l] = td_lpu_f16_to_f32((uint16_t)(low[l] | high[l] << 8));
}

void execute_column_floats(const uint8_t *const *in, int32_t type, int32_t first, int32_t k, int32_t lanes,
                           float *out) {
  for (int32_t i = 0; i < k; i++) out[(int64_t)i * lanes] = float_at(in, type, first + i);
}

void execute_column_bytes(const uint8_t *in, int32_t k, int32_t lanes, int8_t *out) {
  for (int32_t i = 0; i < k; i++) out[(int64_t)i * lanes] = (int8_t)in[i];
}

void execute_pass_bytes(const int8_t *x, int32_t k, int32_t lanes, const int8_t *array, int32_t *TD_RESTRICT out) {
  memset(out, 0, (size_t)lanes * sizeof *out);
  for (int32_t i = 0; i < k; i++) {
    const int8_t *row = array + (int64_t)i * lanes;
    if (!x[i]) continue;
    for (int32_t l = 0; l < lanes; l++) out[l] += x[i] * row[l];
  }
}

void execute_pass_floats(const uint8_t *const *in, int32_t first, int32_t k, int32_t lanes, const float *array,
                         int32_t *TD_RESTRICT out) {
  double sum[TD_LPU_MOST_LANES];
  for (int32_t l = 0; l < lanes; l++) sum[l] = 0;
  for (int32_t i = 0; i < k; i++) {
    const float *row = array + (int64_t)i * lanes;
    float factor = float_at(in, TD_LPU_F16, first + i);
    for (int32_t l = 0; l < lanes; l++) sum[l] += (double)(factor * row[l]);
  }
  for (int32_t l = 0; l < lanes; l++) out[l] = (int32_t)td_lpu_bits(td_lpu_quiet((float)sum[l]));
}

void execute_pass_fp8(const uint8_t *x, int32_t k, int32_t lanes, const int8_t *array, int32_t *TD_RESTRICT out) {
  double sum[TD_LPU_MOST_LANES];
  for (int32_t l = 0; l < lanes; l++) sum[l] = 0;
  for (int32_t i = 0; i < k; i++) {
    const int8_t *row = array + (int64_t)i * lanes;
    float factor = td_lpu_f8_to_f32(x[i]);
    for (int32_t l = 0; l < lanes; l++) sum[l] += (double)(factor * td_lpu_f8_to_f32((uint8_t)row[l]));
  }
  for (int32_t l = 0; l < lanes; l++) out[l] = (int32_t)td_lpu_bits(td_lpu_quiet((float)sum[l]));
}

static bool add_integers(const int32_t *a, const int32_t *b, int32_t lanes, int32_t *TD_RESTRICT out) {
  int32_t wraps = 0;
  for (int32_t l = 0; l < lanes; l++) {
    uint32_t sum = (uint32_t)a[l] + (uint32_t)b[l];
    wraps |= (a[l] ^ (int32_t)sum) & (b[l] ^ (int32_t)sum);
    out[l] = (int32_t)sum;
  }
  return wraps >= 0;
}

bool execute_add_rows(const int32_t *a, const int32_t *b, bool floats, int32_t lanes, int32_t *TD_RESTRICT out) {
  if (!b) {
    memcpy(out, a, (size_t)lanes * sizeof *out);
    return true;
  }
  if (!floats) return add_integers(a, b, lanes, out);
  for (int32_t l = 0; l < lanes; l++) {
    float sum = td_bits_to_float((uint32_t)a[l]) + td_bits_to_float((uint32_t)b[l]);
    out[l] = (int32_t)td_lpu_bits(td_lpu_quiet(sum));
  }
  return true;
}

void execute_split(const int32_t *in, uint8_t *const *out, int32_t lanes) {
  for (int32_t i = 0; i < 4; i++) {
    uint8_t *TD_RESTRICT to = out[i];
    for (int32_t l = 0; l < lanes; l++) to[l] = (uint8_t)((uint32_t)in[l] >> (8 * i));
  }
}
