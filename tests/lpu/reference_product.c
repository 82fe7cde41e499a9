/* SPDX-License-Identifier: Apache-2.0
 *
 * The reference's matrix products. Every product of two operands (11 bits at most each) is exact in binary64, and
 * integer sums below 2^53 are exact in any case, so one loop serves all types; it goes through k in ascending order.
 */
#include <math.h>
#include <string.h>

#include "lpu/reference_parts.h"

#define ROWS 8 /* that share one reading of a panel */

typedef double wide __attribute__((vector_size(PANEL * sizeof(double)), aligned(sizeof(double))));
typedef float narrow __attribute__((vector_size(PANEL * sizeof(float)), aligned(sizeof(float))));

/* sums[r][j] = sum over k of x[k][r] * panel[k][j] */
#define PRODUCT_LOOP(NAME, TARGET, COUNT)                                                             \
  TARGET static void NAME(const double *x, const float *panel, int64_t k, double sums[ROWS][PANEL]) { \
    wide sum[COUNT] = {{0}};                                                                          \
    for (int64_t i = 0; i < k; i++) {                                                                 \
      wide weights = __builtin_convertvector(*(const narrow *)(panel + i * PANEL), wide);             \
      for (int r = 0; r < (COUNT); r++) sum[r] += weights * x[i * ROWS + r];                          \
    }                                                                                                 \
    memcpy(sums, sum, sizeof sum);                                                                    \
  }
PRODUCT_LOOP(all_rows, , ROWS)
PRODUCT_LOOP(one_row, , 1)

typedef void product_loop(const double *x, const float *panel, int64_t k, double sums[ROWS][PANEL]);

#if defined(__x86_64__)
PRODUCT_LOOP(all_rows_avx512, __attribute__((target("avx512f"))), ROWS)
PRODUCT_LOOP(all_rows_avx2, __attribute__((target("avx2"))), ROWS)
PRODUCT_LOOP(one_row_avx2, __attribute__((target("avx2"))), 1)

static product_loop *choose(int32_t rows) {
  if (rows == 1) return __builtin_cpu_supports("avx2") ? one_row_avx2 : one_row;
  if (__builtin_cpu_supports("avx512f")) return all_rows_avx512;
  return __builtin_cpu_supports("avx2") ? all_rows_avx2 : all_rows;
}
#else
static product_loop *choose(int32_t rows) {
  return rows == 1 ? one_row : all_rows;
}
#endif

/* How the activations of a step were prepared: `passes` operands per row, each product's parts along k. */
struct operands {
  int passes;
  int64_t k, part;
};

/* Operand `pass` of row r, element k: groups of ROWS rows lie together. */
static double *operand(const struct lpu_reference *reference, const struct operands *operands, int pass, int32_t r) {
  int64_t group = (int64_t)pass * (reference->most_rows / ROWS) + r / ROWS;
  return reference->products + group * ROWS * operands->k + r % ROWS;
}

static float largest(const float *in, int64_t k) {
  float most = 0;
  for (int64_t i = 0; i < k; i++) most = fmaxf(most, fabsf(in[i]));
  return most;
}

/* q of -steps .. steps; two passes: q = 128 * high + low. */
static td_status quantise(const float *in, int64_t k, float steps, double *high, double *low, float *out_step) {
  float most = fmaxf(largest(in, k), 0x1p-100F), factor = steps * lpu_reference_reciprocal(most);
  for (int64_t i = 0; i < k; i++) {
    float q = rintf(in[i] * factor);
    if (!(fabsf(q) <= steps)) return td_fail(TD_CORRUPT, "element %d, %g: no int8", (int)i, (double)in[i]);
    int32_t whole = (int32_t)q, upper = (whole + 64) >> 7;
    high[i * ROWS] = low ? upper : whole;
    if (low) low[i * ROWS] = whole - 128 * upper;
  }
  *out_step = most * (1 / steps);
  return TD_OK;
}

/* FP8 of -448 .. 448. */
static td_status round_fp8(const float *in, int64_t k, double *out, float *out_step) {
  float most = fmaxf(largest(in, k), 0x1p-100F), factor = 448 * lpu_reference_reciprocal(most);
  for (int64_t i = 0; i < k; i++) {
    float q = lpu_reference_f8(in[i] * factor);
    if (!isfinite(q)) return td_fail(TD_CORRUPT, "element %d, %g: no FP8", (int)i, (double)in[i]);
    out[i * ROWS] = (double)q;
  }
  *out_step = most * (1.0F / 448);
  return TD_OK;
}

static td_status prepare_row(struct lpu_reference *reference, const struct td_op *op, const struct operands *operands,
                             int32_t r) {
  const float *in = reference->values[op->in[0]] + r * op->k;
  double *first = operand(reference, operands, 0, r);
  if (reference->options.activations != TD_LPU_ACTIVATIONS_F16) {
    bool two = operands->passes == 2;
    double *second = two ? operand(reference, operands, 1, r) : NULL;
    td_status status = reference->options.activations == TD_LPU_ACTIVATIONS_F8
                           ? round_fp8(in, op->k, first, &reference->row_scale[r])
                           : quantise(in, op->k, two ? 16256 : 127, first, second, &reference->row_scale[r]);
    return status ? td_fail_within(status, "%s", reference->graph->values[op->in[0]].name) : TD_OK;
  }
  for (int64_t i = 0; i < op->k; i++) {
    float half;
    TD_TRY(reference_round(reference, op->in[0], in + i, 1, &half));
    first[i * ROWS] = (double)half;
  }
  return TD_OK;
}

static void finish(const struct lpu_reference *reference, const struct matrix *matrix, int64_t n, int32_t r,
                   const float *pass, float *out) {
  float y = pass[0];
  if (reference->options.activations == TD_LPU_ACTIVATIONS_I8X2) y = y * 128 + pass[1];
  if (reference->options.weights != TD_LPU_WEIGHTS_F16) y *= matrix->scale[n];
  if (reference->options.activations != TD_LPU_ACTIVATIONS_F16) y *= reference->row_scale[r];
  *out = y;
}

/* Rows first .. first + rows - 1 (at most ROWS, first a multiple of it) of outputs PANEL * p and on. */
static void product(struct lpu_reference *reference, const struct td_op *op, const struct operands *operands, int64_t p,
                    int32_t first, int32_t rows) {
  const struct matrix *matrix = &reference->weights[op->weight];
  product_loop *loop = choose(rows);
  float total[ROWS][PANEL][2] = {{{0}}};
  for (int pass = 0; pass < operands->passes; pass++) {
    const double *x = operand(reference, operands, pass, first);
    for (int64_t begin = 0; begin < op->k; begin += operands->part) {
      int64_t length = op->k - begin < operands->part ? op->k - begin : operands->part;
      double sums[ROWS][PANEL];
      loop(x + begin * ROWS, matrix->panels + (p * op->k + begin) * PANEL, length, sums);
      for (int32_t r = 0; r < rows; r++) {
        for (int j = 0; j < PANEL; j++) total[r][j][pass] += (float)sums[r][j];
      }
    }
  }
  for (int32_t r = 0; r < rows; r++) {
    float *out = reference->values[op->out] + (first + r) * op->n;
    for (int64_t j = 0; j < PANEL && p * PANEL + j < op->n; j++) {
      finish(reference, matrix, p * PANEL + j, first + r, total[r][j], &out[p * PANEL + j]);
    }
  }
}

td_status reference_matmul(struct lpu_reference *reference, const struct td_op *op, int32_t rows) {
  enum td_lpu_activations activations = reference->options.activations;
  int32_t plane_k = reference->options.plane_k;
  struct operands operands = {.passes = activations == TD_LPU_ACTIVATIONS_I8X2 ? 2 : 1,
                              .k = op->k,
                              .part = activations == TD_LPU_ACTIVATIONS_F16  ? plane_k / 2
                                      : activations == TD_LPU_ACTIVATIONS_F8 ? plane_k
                                                                             : op->k};
  for (int32_t r = 0; r < rows; r++) TD_TRY(prepare_row(reference, op, &operands, r));
  for (int64_t p = 0; p * PANEL < op->n; p++) {
    for (int32_t first = 0; first < rows; first += ROWS) {
      product(reference, op, &operands, p, first, rows - first < ROWS ? rows - first : ROWS);
    }
  }
  return TD_OK;
}
