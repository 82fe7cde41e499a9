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
                             const float *in, int32_t r) {
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

static struct operands operands_of(const struct lpu_reference *reference, const struct td_op *op) {
  enum td_lpu_activations activations = reference->options.activations;
  int32_t plane_k = reference->options.plane_k;
  return (struct operands){.passes = activations == TD_LPU_ACTIVATIONS_I8X2 ? 2 : 1,
                           .k = op->k,
                           .part = activations == TD_LPU_ACTIVATIONS_F16  ? plane_k / 2
                                   : activations == TD_LPU_ACTIVATIONS_F8 ? plane_k
                                                                          : op->k};
}

td_status reference_matmul(struct lpu_reference *reference, const struct td_op *op, int32_t rows) {
  struct operands operands = operands_of(reference, op);
  const float *in = reference->values[op->in[0]];
  for (int32_t r = 0; r < rows; r++) TD_TRY(prepare_row(reference, op, &operands, in + r * op->k, r));
  for (int64_t p = 0; p * PANEL < op->n; p++) {
    for (int32_t first = 0; first < rows; first += ROWS) {
      product(reference, op, &operands, p, first, rows - first < ROWS ? rows - first : ROWS);
    }
  }
  return TD_OK;
}

/* ---- experts ---- */

/* Row n of a weight times the row that was prepared. */
static float one_product(const struct lpu_reference *reference, const struct td_op *op, const struct operands *operands,
                         int64_t n) {
  const struct matrix *matrix = &reference->weights[op->weight];
  const float *row = matrix->panels + n / PANEL * PANEL * op->k + n % PANEL;
  float total[2] = {0, 0}, y;
  for (int pass = 0; pass < operands->passes; pass++) {
    const double *x = operand(reference, operands, pass, 0);
    for (int64_t begin = 0; begin < op->k; begin += operands->part) {
      double sum = 0;
      for (int64_t i = begin; i < op->k && i < begin + operands->part; i++) sum += x[i * ROWS] * (double)row[i * PANEL];
      total[pass] += (float)sum;
    }
  }
  finish(reference, matrix, n, 0, total, &y);
  return y;
}

td_status reference_expert_matmul(struct lpu_reference *reference, const struct td_op *op, int32_t rows) {
  struct operands operands = operands_of(reference, op);
  int32_t used = op->experts_used;
  int64_t slot_k = reference->graph->values[op->in[0]].cols == op->k ? 0 : op->k; /* each slot's own part, or one */
  int64_t row_k = slot_k ? slot_k * used : op->k;
  for (int32_t r = 0; r < rows; r++) {
    const float *chosen = reference->values[op->in[1]] + (int64_t)r * 2 * used;
    for (int32_t slot = 0; slot < used; slot++) {
      TD_TRY(prepare_row(reference, op, &operands, reference->values[op->in[0]] + r * row_k + slot * slot_k, 0));
      float *out = reference->values[op->out] + (r * used + slot) * op->n;
      for (int64_t n = 0; n < op->n; n++)
        out[n] = one_product(reference, op, &operands, (int64_t)chosen[slot] * op->n + n);
    }
  }
  return TD_OK;
}

/* Of equal logits the lower id first. */
static void route_row(const struct td_op *op, const float *logits, float *out) {
  double sum = 0;
  for (int32_t slot = 0; slot < op->experts_used; slot++) {
    int32_t best = -1;
    for (int32_t e = 0; e < op->experts; e++) {
      bool taken = false;
      for (int32_t s = 0; s < slot; s++) taken = taken || (int32_t)out[s] == e;
      if (!taken && (best < 0 || logits[e] > logits[best])) best = e;
    }
    out[slot] = (float)best;
    sum += exp((double)logits[best] - (double)logits[(int32_t)out[0]]);
  }
  for (int32_t slot = 0; slot < op->experts_used; slot++) {
    double of = exp((double)logits[(int32_t)out[slot]] - (double)logits[(int32_t)out[0]]);
    out[op->experts_used + slot] = (float)(of / sum);
  }
}

void reference_route(struct lpu_reference *reference, const struct td_op *op, int32_t rows) {
  for (int32_t r = 0; r < rows; r++) {
    route_row(op, reference->values[op->in[0]] + (int64_t)r * op->experts, reference->values[op->out] + r * op->n);
  }
}

void reference_expert_sum(struct lpu_reference *reference, const struct td_op *op, int32_t rows) {
  int32_t used = op->experts_used;
  for (int32_t r = 0; r < rows; r++) {
    const float *made = reference->values[op->in[0]] + r * used * op->n;
    const float *gates = reference->values[op->in[1]] + (int64_t)r * 2 * used + used;
    float *out = reference->values[op->out] + r * op->n;
    for (int64_t n = 0; n < op->n; n++) {
      out[n] = gates[0] * made[n];
      for (int32_t slot = 1; slot < used; slot++) out[n] += gates[slot] * made[slot * op->n + n];
    }
  }
}
