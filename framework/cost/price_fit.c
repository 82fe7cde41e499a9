/* SPDX-License-Identifier: Apache-2.0
 *
 * From an operator of a step to its model, and from the model's times to the linear form that price.c sums.
 */
#include "price_fit.h"

#include "op_curve.h"
#include "tandem/base.h"

static const struct td_op_fit *framework_fit(const struct td_device_params *device) {
  const struct td_op_fit *found = NULL;
  if (device->serving.framework) return td_device_fit(device, TD_E2E, device->serving.framework);
  for (int32_t i = 0; i < device->fit_count; i++) {
    if (device->fits[i].op != TD_E2E) continue;
    if (found) return NULL;
    found = &device->fits[i];
  }
  return found;
}

void td_fit_steps_of(const struct td_device_params *device, const struct td_graph *graph, enum td_dtype kv_dtype,
                     struct td_fit_step *out) {
  const struct td_op_fit *e2e = device->op_cache ? framework_fit(device) : NULL;
  double scale = e2e ? td_e2e_parameter(e2e, TD_E2E_SCALE) : 1;
  *out = (struct td_fit_step){.device = device,
                              .graph = graph,
                              .kv_dtype = kv_dtype,
                              .e2e = e2e,
                              .scale = scale,
                              .scale_parts = (td_wide)(scale * (1 << TD_GRAIN_BITS) + 0.5),
                              .serving = device->op_cache && (device->serving.guesses || e2e)};
}

void td_fit_step_at(struct td_fit_step *step, const struct td_step_stats *stats) {
  step->stats = stats;
  step->prompts = stats->v[TD_SYM_TOKENS] > stats->v[TD_SYM_SEQS];
  step->launches = step->serving && (step->prompts || step->device->serving.no_graph);
}

bool td_fit_has_basis(enum td_operator op, struct td_op_shape shape, int64_t last) {
  shape.v[td_operator_fields(op) - 1] = last;
  return td_op_shape_is(op, &shape);
}

bool td_fit_wanted(const struct td_fit_step *step, enum td_operator op, const char *path) {
  return step->serving || td_device_fit(step->device, op, path);
}

td_status td_fit_add(const struct td_fit_step *step, enum td_operator op, const char *path,
                     const struct td_op_shape *family, int64_t value, struct td_fit_times *sum) {
  int64_t ps;
  double low, high;
  TD_TRY(td_op_cache_ps(step->device->op_cache, step->device, op, path, family, &value, 1, &ps, &low, &high));
  sum->ps += ps;
  sum->low += low * td_seconds(ps);
  sum->high += high * td_seconds(ps);
  return TD_OK;
}

struct td_fitted td_fit_constant(const struct td_fit_step *step, const struct td_fit_times *times, int64_t valid) {
  double launch = step->launches && times->ps ? td_e2e_parameter(step->e2e, TD_E2E_LAUNCH) * 1e-6 : 0;
  int64_t ps = times->ps + (int64_t)(launch * 1e12 + 0.5);
  return (struct td_fitted){true, (td_wide)ps << TD_GRAIN_BITS, 0, valid, times->low + launch, times->high + launch};
}

static struct td_fitted guessed(const struct td_fit_step *step, double seconds) {
  const struct td_fit_times times = {(int64_t)(seconds * 1e12 + 0.5), TD_GUESS_LOW * seconds, TD_GUESS_HIGH * seconds};
  return td_fit_constant(step, &times, INT64_MAX);
}

static bool is_expert_part(const struct td_op *op) {
  return op->kind == TD_OP_EXPERT_MATMUL || (op->kind == TD_OP_ADD && op->experts > 0);
}

/* Part of another operator's kernel: a bias of the product before it, what lies between an expert's products. */
static bool is_part(const struct td_fit_step *step, const struct td_op *op) {
  if (is_expert_part(op) || op->kind == TD_OP_ROUTER) return true;
  if (op->kind == TD_OP_ADD) return op->weight >= 0;
  return op->kind == TD_OP_ACTIVATION && op > step->graph->ops && is_expert_part(op - 1);
}

/* Of heads or of an FFN's inner values: chips in tensor parallel have a part each. */
static bool is_split(const struct td_op *op) {
  return op->kind == TD_OP_ROPE || op->kind == TD_OP_KV_APPEND || op->kind == TD_OP_ACTIVATION ||
         op->kind == TD_OP_POINTWISE || (op->kind == TD_OP_RMS_NORM && op->groups > 1);
}

/* Activations in 16 bits, where the graph counts 32. */
static struct td_fitted small(const struct td_fit_step *step, const struct td_op *op, double bytes) {
  const struct td_device_params *device = step->device;
  double parts = is_split(op) && device->serving.tensor > 1 ? device->serving.tensor : 1;
  double rate = device->memory_efficiency.value * device->memory_bandwidth.value;
  return guessed(step, td_e2e_parameter(step->e2e, TD_E2E_SMALL) * 1e-6 + bytes / 2 / parts / rate);
}

static struct td_fitted host(const struct td_fit_step *step) {
  double seqs = (double)step->stats->v[TD_SYM_SEQS];
  double us = td_e2e_parameter(step->e2e, TD_E2E_STEP) + td_e2e_parameter(step->e2e, TD_E2E_SEQUENCE) * seqs;
  const struct td_fit_times times = {(int64_t)(us * 1e6 + 0.5), TD_GUESS_LOW * us * 1e-6, TD_GUESS_HIGH * us * 1e-6};
  return (struct td_fitted){true, (td_wide)times.ps << TD_GRAIN_BITS, 0, INT64_MAX, times.low, times.high};
}

static td_status fitted_of(const struct td_fit_step *step, const struct td_op *op, double bytes,
                           struct td_fitted *out_fitted) {
  switch (op->kind) {
    case TD_OP_MATMUL:
      return td_fit_product(step, op, out_fitted);
    case TD_OP_ATTENTION:
      return td_fit_attention(step, op, out_fitted);
    case TD_OP_EXPERT_SUM:
    case TD_OP_EXPERT_MATMUL:
      return td_fit_experts(step, op, out_fitted);
    case TD_OP_SAMPLE:
      if (step->serving) *out_fitted = host(step);
      return TD_OK;
    default:
      if (!step->serving) return TD_OK;
      *out_fitted = is_part(step, op) ? (struct td_fitted){.is = true, .valid = INT64_MAX} : small(step, op, bytes);
      return TD_OK;
  }
}

void td_fit_scale(const struct td_fit_step *step, struct td_fitted *fitted) {
  if (!fitted->is || step->scale == 1) return;
  fitted->one = (fitted->one * step->scale_parts) >> TD_GRAIN_BITS;
  fitted->context = (fitted->context * step->scale_parts) >> TD_GRAIN_BITS;
  fitted->low *= step->scale;
  fitted->high *= step->scale;
}

td_status td_price_fitted(const struct td_fit_step *step, const struct td_op *op, double bytes,
                          struct td_fitted *out_fitted) {
  out_fitted->is = false;
  if (!step->device->op_cache) return TD_OK;
  TD_TRY(fitted_of(step, op, bytes, out_fitted));
  td_fit_scale(step, out_fitted);
  return TD_OK;
}
