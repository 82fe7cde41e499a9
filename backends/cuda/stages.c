/* SPDX-License-Identifier: Apache-2.0
 *
 * A stage of a plan, queued: its values' addresses put into the operators' calls.
 */
#include "plan.h"

static int32_t rows_of(const struct td_op *op, const struct cuda_step *step) {
  return op->rows == TD_ROWS_LOGITS ? step->batch.logit_count : step->batch.rows;
}

static const struct td_view *weight_of(const struct td_plan *plan, const struct td_op *op) {
  static const struct td_view none;
  return op->weight >= 0 ? &plan->bindings.weights[op->weight] : &none;
}

static struct cuda_work work_of(const struct td_plan *plan, const struct cuda_step *step, const struct td_op *op) {
  struct cuda_work work = {
      .op = op, .out = cuda_value_at(plan, op->out), .weight = weight_of(plan, op), .rows = rows_of(op, step)};
  for (int i = 0; i < TD_OP_INPUTS; i++) work.in[i] = cuda_value_at(plan, op->in[i]);
  if (op->in[0] >= 0) work.in_cols = plan->graph->values[op->in[0]].cols;
  if (op->kind == TD_OP_KV_APPEND || op->kind == TD_OP_ATTENTION) work.kv = &plan->bindings.kv[op->layer];
  return work;
}

static td_status products(struct cuda_device *device, const struct td_plan *plan, const struct cuda_step *step,
                          const struct cuda_stage *stage) {
  const struct td_op *ops = plan->graph->ops, *first = &ops[stage->ops[0]];
  struct cuda_product_work out[CUDA_PRODUCTS];
  for (int32_t i = 0; i < stage->count; i++) {
    const struct td_op *op = &ops[stage->ops[i]];
    out[i] = (struct cuda_product_work){.weight = weight_of(plan, op), .out = cuda_value_at(plan, op->out)};
    if (stage->adds[i] < 0) continue;
    const struct td_op *add = &ops[stage->adds[i]];
    out[i].out = cuda_value_at(plan, add->out);
    if (add->in[1] < 0) {
      out[i].bias = cuda_address(weight_of(plan, add));
    } else {
      out[i].add = cuda_value_at(plan, add->in[0] == op->out ? add->in[1] : add->in[0]);
    }
  }
  return cuda_products(device, cuda_value_at(plan, first->in[0]), rows_of(first, step), out, stage->count);
}

static td_status gated(struct cuda_device *device, const struct td_plan *plan, const struct cuda_step *step,
                       const struct cuda_stage *stage) {
  const struct td_op *ops = plan->graph->ops, *gate = &ops[stage->ops[0]], *up = &ops[stage->ops[1]];
  const struct cuda_product_work products[2] = {
      {.weight = weight_of(plan, gate), .out = cuda_value_at(plan, gate->out)},
      {.weight = weight_of(plan, up), .out = cuda_value_at(plan, up->out)}};
  struct cuda_work work = work_of(plan, step, &ops[stage->ops[2]]);
  return cuda_gated(device, cuda_value_at(plan, gate->in[0]), products, &work);
}

static td_status add_norm(struct cuda_device *device, const struct td_plan *plan, const struct cuda_step *step,
                          const struct cuda_stage *stage) {
  const struct td_op *add = &plan->graph->ops[stage->ops[0]];
  struct cuda_work norm = work_of(plan, step, &plan->graph->ops[stage->ops[1]]);
  norm.in[0] = cuda_value_at(plan, add->in[0]);
  return cuda_add_norm(device, &norm, cuda_value_at(plan, add->in[1]), cuda_value_at(plan, add->out));
}

static td_status rope_append(struct cuda_device *device, const struct td_plan *plan, const struct cuda_step *step,
                             const struct cuda_stage *stage) {
  const struct td_op *ops = plan->graph->ops;
  struct cuda_work q = work_of(plan, step, &ops[stage->ops[0]]);
  const struct td_op *append = &ops[stage->ops[2]];
  return cuda_rope_append(device, step, &q, cuda_value_at(plan, ops[stage->ops[1]].in[0]),
                          cuda_value_at(plan, append->in[1]), &plan->bindings.kv[append->layer]);
}

td_status cuda_stage(struct cuda_device *device, const struct td_plan *plan, const struct cuda_step *step,
                     const struct cuda_stage *stage) {
  const struct td_op *first = &plan->graph->ops[stage->ops[0]];
  if (rows_of(first, step) == 0) return TD_OK;
  switch (stage->kind) {
    case CUDA_STAGE_PRODUCTS:
      return products(device, plan, step, stage);
    case CUDA_STAGE_GATED:
      return gated(device, plan, step, stage);
    case CUDA_STAGE_ADD_NORM:
      return add_norm(device, plan, step, stage);
    case CUDA_STAGE_ROPE_APPEND:
      return rope_append(device, plan, step, stage);
    case CUDA_STAGE_OPERATOR:
      break;
  }
  struct cuda_work work = work_of(plan, step, first);
  return cuda_operator(device, step, &work);
}

/* ---- which values a stage touches ---- */

typedef void (*use_value)(void *context, int32_t value, bool written);

static void use_op(const struct td_op *op, use_value use, void *context) {
  for (int i = 0; i < TD_OP_INPUTS; i++) {
    if (op->in[i] >= 0) use(context, op->in[i], false);
  }
  if (op->out >= 0) use(context, op->out, true);
}

/* A product that an ADD takes over is never stored. */
static void use_product(const struct td_op *op, const struct td_op *add, use_value use, void *context) {
  use(context, op->in[0], false);
  if (add && add->in[1] >= 0) use(context, add->in[0] == op->out ? add->in[1] : add->in[0], false);
  use(context, add ? add->out : op->out, true);
}

void cuda_stage_values(const struct td_plan *plan, const struct cuda_stage *stage,
                       void (*use)(void *context, int32_t value, bool written), void *context) {
  const struct td_op *ops = plan->graph->ops;
  for (int32_t i = 0; i < stage->count; i++) {
    const struct td_op *op = &ops[stage->ops[i]];
    bool roped_k = stage->kind == CUDA_STAGE_ROPE_APPEND && i == 1;
    if (stage->kind == CUDA_STAGE_PRODUCTS) {
      use_product(op, stage->adds[i] >= 0 ? &ops[stage->adds[i]] : NULL, use, context);
    } else if (roped_k) {
      use(context, op->in[0], false);
    } else if (stage->kind == CUDA_STAGE_ROPE_APPEND && i == 2) {
      use(context, op->in[1], false);
    } else {
      use_op(op, use, context);
    }
  }
}
