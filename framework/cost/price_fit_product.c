/* SPDX-License-Identifier: Apache-2.0
 *
 * Products and experts of a step, whole or as one chip's part of them, and the sums over chips that follow.
 */
#include <inttypes.h>

#include "price_fit.h"
#include "tandem/base.h"
#include "tandem/cost.h"

static int32_t at_least_one(int32_t chips) {
  return chips > 1 ? chips : 1;
}

/* ---- sums over chips ---- */

/* Libraries take a kernel of their own for short messages where there is one; whichever is sooner done. */
static td_status add_sum(const struct td_fit_step *step, int32_t chips, int64_t values, struct td_fit_times *sum) {
  const struct td_op_shape family = {{2, chips}};
  struct td_fit_times library = {0}, one_shot = {0};
  if (chips < 2) return TD_OK;
  TD_TRY(td_fit_add(step, TD_COLLECTIVE, "all_reduce", &family, 2 * values, &library));
  if (td_device_fit(step->device, TD_COLLECTIVE, "one_shot_all_reduce")) {
    TD_TRY(td_fit_add(step, TD_COLLECTIVE, "one_shot_all_reduce", &family, 2 * values, &one_shot));
    if (one_shot.ps < library.ps) library = one_shot;
  }
  sum->ps += library.ps;
  sum->low += library.low;
  sum->high += library.high;
  return TD_OK;
}

/* ---- products ---- */

/* Which model prices products with such weights; NULL: none. The 16-bit types have the same kernels and peak. */
static const char *product_path(const struct td_fit_step *step, enum td_dtype dtype) {
  static const char *const halves[] = {"bfloat16", "float16", "half"};
  const char *path = dtype == TD_FP8 && step->device->serving.fp8_block ? "fp8_block" : "fp8";
  if (dtype == TD_NVFP4) path = "nvfp4";
  if (dtype == TD_FP8 || dtype == TD_NVFP4) return td_fit_wanted(step, TD_GEMM, path) ? path : NULL;
  if (dtype != TD_F16 && dtype != TD_BF16) return NULL;
  for (int i = 0; i < 3; i++) {
    if (td_device_fit(step->device, TD_GEMM, halves[i])) return halves[i];
  }
  return step->serving ? halves[0] : NULL;
}

/* With several chips, products of one input are taken together and each chip has a part. On one chip that holds too,
 * but without fits for the rest of the step every product stands for itself. */
static struct td_op_shape part_of(const struct td_fit_step *step, const struct td_op *op) {
  const struct td_serving *serving = &step->device->serving;
  int64_t chips = at_least_one(serving->tensor), n = step->serving ? op->fused_n : op->n, k = op->k;
  int64_t experts = step->graph->shape.experts;
  if (experts && op->n == experts) chips = 1; /* the router: every chip has all of it */
  if (op->joins) k = (k + chips - 1) / chips;
  if (!op->joins) n = (n + chips - 1) / chips;
  return (struct td_op_shape){{n, k}};
}

td_status td_fit_product(const struct td_fit_step *step, const struct td_op *op, struct td_fitted *out) {
  const struct td_serving *serving = &step->device->serving;
  const char *path = product_path(step, step->graph->weights[op->weight].dtype);
  const struct td_op_shape family = part_of(step, op);
  int64_t rows = step->stats->v[op->rows == TD_ROWS_LOGITS ? TD_SYM_LOGITS : TD_SYM_TOKENS];
  struct td_fit_times times = {0};
  if (step->serving && !op->fused_n && op->groups <= 1) {
    *out = (struct td_fitted){.is = true, .valid = INT64_MAX};
    return TD_OK;
  }
  if (!path || op->groups > 1 || !td_fit_has_basis(TD_GEMM, family, rows)) return TD_OK;
  TD_TRY(td_fit_add(step, TD_GEMM, path, &family, rows, &times));
  if (op->joins) TD_TRY(add_sum(step, serving->tensor, rows * op->n, &times));
  *out = td_fit_constant(step, &times, INT64_MAX);
  return TD_OK;
}

/* ---- experts ---- */

static const char *expert_path(enum td_dtype dtype) {
  switch (dtype) {
    case TD_F16:
    case TD_BF16:
      return "bfloat16";
    case TD_FP8:
      return "fp8";
    case TD_MXFP4:
      return "w4a16_mxfp4";
    case TD_NVFP4:
      return "nvfp4";
    default:
      return NULL;
  }
}

/* Real routers are uneven; the exponent of the load that public MoE timings are made with. */
#define SKEW 1200

/* ---- tokens on their way to experts and back ---- */

static td_status add_hop(const struct td_device_params *link, int64_t bytes, struct td_fit_times *sum) {
  const struct td_quantity *latency = &link->link_latency, *rate = &link->link_bandwidth;
  int64_t ps;
  TD_TRY(td_price_transfer(link, (uint64_t)bytes, &ps));
  sum->ps += ps;
  sum->low += latency->low + (double)bytes / rate->high;
  sum->high += latency->high + (double)bytes / rate->low;
  return TD_OK;
}

/* Each chip sends its part of its replica's tokens, once for each expert chosen; over a link, those that stay where
 * they are do not count. The replica's chips then gather what came back to each. */
static td_status add_exchange(const struct td_fit_step *step, int32_t chips, int32_t used, struct td_fit_times *sum) {
  const struct td_serving *serving = &step->device->serving;
  int64_t tensor = at_least_one(serving->tensor), hidden = step->graph->shape.hidden;
  int64_t own = step->stats->v[TD_SYM_TOKENS], bytes = (own + tensor - 1) / tensor * used * hidden * 2;
  const struct td_op_shape all = {{2, chips}}, group = {{2, tensor}};
  for (int way = 0; way < 2; way++) {
    TD_TRY(serving->expert_link ? add_hop(serving->expert_link, (bytes * (chips - 1) + chips - 1) / chips, sum)
                                : td_fit_add(step, TD_COLLECTIVE, "alltoall", &all, bytes, sum));
  }
  return tensor > 1 ? td_fit_add(step, TD_COLLECTIVE, "all_gather", &group, 2 * own * hidden, sum) : TD_OK;
}

static td_status add_way(const struct td_fit_step *step, int32_t chips, const struct td_op *op,
                         struct td_fit_times *sum) {
  int64_t tokens = step->stats->v[TD_SYM_TOKENS] * at_least_one(step->device->serving.replicas);
  if (step->device->serving.exchange) return add_exchange(step, chips, op->experts_used, sum);
  return chips > 1 ? add_sum(step, chips, tokens * step->graph->shape.hidden, sum) : TD_OK;
}

static td_status no_model(const struct td_fit_step *step, const struct td_op *op, enum td_dtype dtype) {
  const struct td_dtype_info *info = td_dtype_info(dtype);
  return td_fail(TD_UNSUPPORTED,
                 "device %s: found %" PRId32 " experts in %s over %" PRId32
                 " chips, expected a shape and element type that the model of experts has a basis for",
                 step->device->name, op->experts, info ? info->name : "an unknown type", step->device->serving.expert);
}

/* All of a layer's experts, at the operator that sums them; the last product before it is theirs. */
td_status td_fit_experts(const struct td_fit_step *step, const struct td_op *op, struct td_fitted *out) {
  const struct td_serving *serving = &step->device->serving;
  const struct td_op *down = op;
  while (op->kind == TD_OP_EXPERT_SUM && down->kind != TD_OP_EXPERT_MATMUL) down--;
  const char *path = expert_path(step->graph->weights[down->weight].dtype);
  const struct td_shape *shape = &step->graph->shape;
  int64_t tensor = at_least_one(serving->expert_tensor), groups = at_least_one(serving->expert);
  const struct td_op_shape family = {
      {shape->hidden, shape->expert_ffn, op->experts_used, op->experts, tensor, groups, SKEW, 3}};
  int64_t tokens = step->stats->v[TD_SYM_ALL_TOKENS];
  struct td_fit_times times = {0};
  if (!tokens) tokens = step->stats->v[TD_SYM_TOKENS] * at_least_one(serving->replicas);
  if (!path || !td_fit_wanted(step, TD_MOE, path) || !td_fit_has_basis(TD_MOE, family, tokens)) {
    return serving->exchange ? no_model(step, op, step->graph->weights[down->weight].dtype) : TD_OK;
  }
  if (op->kind == TD_OP_EXPERT_SUM) {
    TD_TRY(td_fit_add(step, TD_MOE, path, &family, tokens, &times));
    TD_TRY(add_way(step, (int32_t)(tensor * groups), op, &times));
  }
  *out = td_fit_constant(step, &times, INT64_MAX);
  return TD_OK;
}
