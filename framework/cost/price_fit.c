/* SPDX-License-Identifier: Apache-2.0
 *
 * From an operator of a step to a shape of a fitted model, and from its times to the linear form that price.c sums.
 */
#include "price_fit.h"

#include "op_curve.h"
#include "tandem/base.h"

/* Which fit prices products with such weights; NULL: none. The 16-bit types have the same kernels and peak. */
static const char *product_path(const struct td_device_params *device, enum td_dtype dtype) {
  static const char *const halves[] = {"bfloat16", "float16", "half"};
  const char *path = dtype == TD_FP8 ? "fp8" : dtype == TD_NVFP4 ? "nvfp4" : NULL;
  if (path) return td_device_fit(device, TD_GEMM, path) ? path : NULL;
  for (int i = 0; i < 3 && (dtype == TD_F16 || dtype == TD_BF16); i++) {
    if (td_device_fit(device, TD_GEMM, halves[i])) return halves[i];
  }
  return NULL;
}

static const char *attention_path(const struct td_device_params *device, enum td_operator op, enum td_dtype kv_dtype) {
  const char *path = kv_dtype == TD_F16 || kv_dtype == TD_BF16 ? "bfloat16/bfloat16"
                     : kv_dtype == TD_FP8                      ? "bfloat16/fp8"
                                                               : NULL;
  return path && td_device_fit(device, op, path) ? path : NULL;
}

/* A shape the model has no basis for, such as heads of no multiple, stays a roofline. */
static bool has_basis(enum td_operator op, struct td_op_shape shape, int64_t last) {
  shape.v[td_operator_fields(op) - 1] = last;
  return td_op_shape_is(op, &shape);
}

static td_wide grains(int64_t ps) {
  return (td_wide)ps << TD_GRAIN_BITS;
}

static td_status product(const struct td_device_params *device, const struct td_graph *graph, const struct td_op *op,
                         const struct td_step_stats *stats, struct td_fitted *out) {
  const char *path = product_path(device, graph->weights[op->weight].dtype);
  const struct td_op_shape family = {{op->n, op->k}};
  int64_t rows = stats->v[op->rows == TD_ROWS_LOGITS ? TD_SYM_LOGITS : TD_SYM_TOKENS], ps;
  double low, high;
  if (!path || op->groups > 1 || !has_basis(TD_GEMM, family, rows)) return TD_OK;
  TD_TRY(td_op_cache_ps(device->op_cache, device, TD_GEMM, path, &family, &rows, 1, &ps, &low, &high));
  *out = (struct td_fitted){true, grains(ps), 0, INT64_MAX, low * td_seconds(ps), high * td_seconds(ps)};
  return TD_OK;
}

static struct td_op_shape attention_family(const struct td_op *op, int64_t batch) {
  return (struct td_op_shape){{op->heads, op->kv_heads, op->head_dim, op->window, batch}};
}

/* All sequences of one length, the mean. From one knot to the next the time is a line in the sum of contexts. */
static td_status decode(const struct td_device_params *device, const struct td_op *op, enum td_dtype kv_dtype,
                        const struct td_step_stats *stats, struct td_fitted *out) {
  const char *path = attention_path(device, TD_ATTENTION_GENERATION, kv_dtype);
  int64_t seqs = stats->v[TD_SYM_SEQS], context = stats->v[TD_SYM_CONTEXT];
  const struct td_op_shape family = attention_family(op, seqs);
  if (!path || context < seqs || !has_basis(TD_ATTENTION_GENERATION, family, context / seqs)) return TD_OK;
  int32_t knot = td_op_knot_below(context / seqs);
  const int64_t ends[2] = {td_op_knot(knot), td_op_knot(knot + 1)};
  int64_t ps[2];
  double low, high;
  TD_TRY(td_op_cache_ps(device->op_cache, device, TD_ATTENTION_GENERATION, path, &family, ends, 2, ps, &low, &high));
  if (ps[1] < ps[0]) ps[1] = ps[0]; /* residuals may dip: a longer context takes no less time */
  td_wide slope = grains(ps[1] - ps[0]) / ((td_wide)seqs * (ends[1] - ends[0]));
  td_wide one = grains(ps[0]) - slope * seqs * ends[0];
  double seconds = (double)(one + slope * context) / (double)(1 << TD_GRAIN_BITS) * 1e-12;
  int64_t left = (int64_t)(((td_wide)seqs * ends[1] - context + seqs - 1) / seqs);
  *out = (struct td_fitted){true, one, slope, left, low * seconds, high * seconds};
  return TD_OK;
}

/* Prompts of several lengths become as many of one length as have the same tokens and the same pairs. */
static td_status prefill(const struct td_device_params *device, const struct td_op *op, enum td_dtype kv_dtype,
                         const struct td_step_stats *stats, struct td_fitted *out) {
  const char *path = attention_path(device, TD_ATTENTION_CONTEXT, kv_dtype);
  int64_t tokens = stats->v[TD_SYM_TOKENS], pairs = stats->v[TD_SYM_PAIRS], ps;
  if (!path || !tokens || pairs > INT64_MAX / 4) return TD_OK;
  int64_t length = (2 * pairs + tokens / 2) / tokens - 1;
  if (length < 1) length = 1;
  int64_t batch = (tokens + length / 2) / length;
  const struct td_op_shape family = attention_family(op, batch > 0 ? batch : 1);
  double low, high;
  if (!has_basis(TD_ATTENTION_CONTEXT, family, length)) return TD_OK;
  TD_TRY(td_op_cache_ps(device->op_cache, device, TD_ATTENTION_CONTEXT, path, &family, &length, 1, &ps, &low, &high));
  *out = (struct td_fitted){true, grains(ps), 0, 1, low * td_seconds(ps), high * td_seconds(ps)};
  return TD_OK;
}

td_status td_price_fitted(const struct td_device_params *device, const struct td_graph *graph, const struct td_op *op,
                          enum td_dtype kv_dtype, const struct td_step_stats *stats, struct td_fitted *out_fitted) {
  struct td_fitted fitted = {.is = false};
  const int64_t *v = stats->v;
  bool latent = op->kind == TD_OP_ATTENTION && op->in[1] >= 0;
  if (device->op_cache && op->kind == TD_OP_MATMUL) {
    TD_TRY(product(device, graph, op, stats, &fitted));
  } else if (device->op_cache && op->kind == TD_OP_ATTENTION && !op->bidirectional && !latent) {
    if (v[TD_SYM_TOKENS] == v[TD_SYM_SEQS]) {
      TD_TRY(decode(device, op, kv_dtype, stats, &fitted));
    } else if (v[TD_SYM_CONTEXT] == v[TD_SYM_TOKENS]) {
      TD_TRY(prefill(device, op, kv_dtype, stats, &fitted));
    }
  }
  *out_fitted = fitted;
  return TD_OK;
}
