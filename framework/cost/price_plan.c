/* SPDX-License-Identifier: Apache-2.0
 *
 * What prices of one slice on one device have in common: its operators by what their price depends on.
 */
#include <stdlib.h>

#include "price_sum.h"
#include "tandem/base.h"

#define BIT(symbol) (UINT32_C(1) << (symbol))

static enum td_dependence dependence_of(const struct td_fit_step *steps, const struct td_op *op) {
  const uint32_t tokens = BIT(TD_SYM_ONE) | BIT(TD_SYM_TOKENS) | BIT(TD_SYM_EXPERTS);
  const uint32_t logits = BIT(TD_SYM_ONE) | BIT(TD_SYM_LOGITS);
  bool of_logits = op->rows == TD_ROWS_LOGITS;
  struct td_op_cost cost;
  if (op->kind == TD_OP_SAMPLE) return TD_BY_SEQS;
  if (op->kind == TD_OP_ATTENTION) return TD_BY_ALL;
  td_op_cost(steps->graph, op, steps->kv_dtype, &cost);
  if (td_roofline_symbols(&cost) & ~(of_logits ? logits : tokens)) return TD_BY_ALL;
  return of_logits ? TD_BY_LOGITS : TD_BY_TOKENS;
}

static td_status place_ops(const struct td_slice_group *groups, int32_t count, struct td_price_plan *plan) {
  const struct td_op *ops = plan->steps.graph->ops;
  int32_t placed = 0;
  unsigned char *dependences;
  TD_TRY(td_alloc((size_t)count, 1, (void **)&dependences));
  for (int32_t i = 0; i < count; i++) {
    dependences[i] = (unsigned char)dependence_of(&plan->steps, &ops[groups[i].op]);
  }
  for (int by = 0; by < TD_DEPENDENCES; by++) {
    plan->begin[by] = placed;
    for (int32_t i = 0; i < count; i++) {
      if (dependences[i] != by) continue;
      plan->ops[placed].op = &ops[groups[i].op];
      plan->ops[placed++].count = groups[i].count;
    }
  }
  plan->begin[TD_DEPENDENCES] = placed;
  free(dependences);
  return TD_OK;
}

td_status td_price_plan_open(const struct td_device_params *device, const struct td_graph *graph,
                             const struct td_slice *slice, enum td_dtype kv_dtype, struct td_price_plan *out) {
  struct td_price_plan plan = {.ops = NULL};
  struct td_slice_group *groups;
  int32_t count;
  if (device->step_count) {
    TD_TRY(td_step_model_find(device, graph, slice, &plan.model));
  } else {
    TD_TRY(td_roofline_open(device, &plan.rates));
  }
  td_fit_steps_of(device, graph, kv_dtype, &plan.steps);
  td_price_measured_step(device, graph, &plan.whole, &plan.step_low, &plan.step_high);
  TD_TRY(td_slice_groups_build(graph, slice, &groups, &count));
  td_status status = td_alloc((size_t)count, sizeof *plan.ops, (void **)&plan.ops);
  if (!status) status = place_ops(groups, count, &plan);
  free(groups);
  if (status) {
    free(plan.ops);
    return status;
  }
  *out = plan;
  return TD_OK;
}

void td_price_plan_close(struct td_price_plan *plan) {
  free(plan->ops);
}
