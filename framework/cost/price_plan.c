/* SPDX-License-Identifier: Apache-2.0
 *
 * What prices of one slice on one device have in common: its operators by what their price depends on; its layers.
 */
#include <stdlib.h>
#include <string.h>

#include "price_sum.h"
#include "tandem/base.h"

static bool depends_only(const struct td_graph *graph, const struct td_op *op, enum td_dtype kv_dtype,
                         uint32_t symbols) {
  struct td_op_cost cost;
  td_op_cost(graph, op, kv_dtype, &cost);
  for (int s = 0; s < TD_SYM_COUNT; s++) {
    bool counts = cost.flops.c[s] || cost.weight_bytes.c[s] || cost.activation_bytes.c[s] || cost.kv_read_bytes.c[s] ||
                  cost.kv_write_bytes.c[s];
    if (counts && !(symbols >> s & 1)) return false;
  }
  return true;
}

#define BIT(symbol) (UINT32_C(1) << (symbol))

static enum td_dependence dependence_of(const struct td_fit_step *steps, const struct td_op *op) {
  const uint32_t tokens = BIT(TD_SYM_ONE) | BIT(TD_SYM_TOKENS) | BIT(TD_SYM_EXPERTS);
  const uint32_t logits = BIT(TD_SYM_ONE) | BIT(TD_SYM_LOGITS);
  bool of_logits = op->rows == TD_ROWS_LOGITS;
  if (op->kind == TD_OP_SAMPLE) return TD_BY_SEQS;
  if (op->kind == TD_OP_ATTENTION) return TD_BY_ALL;
  if (!depends_only(steps->graph, op, steps->kv_dtype, of_logits ? logits : tokens)) return TD_BY_ALL;
  return of_logits ? TD_BY_LOGITS : TD_BY_TOKENS;
}

static void place_ops(const struct td_slice_group *groups, int32_t count, struct td_price_plan *plan) {
  const struct td_op *ops = plan->steps.graph->ops;
  int32_t placed = 0;
  for (int by = 0; by < TD_DEPENDENCES; by++) {
    plan->begin[by] = placed;
    for (int32_t i = 0; i < count; i++) {
      const struct td_op *op = &ops[groups[i].op];
      if ((int)dependence_of(&plan->steps, op) != by) continue;
      plan->ops[placed].op = op;
      plan->ops[placed++].count = groups[i].count;
    }
  }
  plan->begin[TD_DEPENDENCES] = placed;
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
  if (!status) {
    place_ops(groups, count, &plan);
    *out = plan;
  }
  free(groups);
  return status;
}

void td_price_plan_close(struct td_price_plan *plan) {
  free(plan->ops);
}

/* ---- layers ---- */

static int32_t place_of(const struct td_price_plan *plan, int32_t index) {
  const struct td_op *op = &plan->steps.graph->ops[index];
  const struct td_op *first = op->alike ? &plan->steps.graph->ops[op->alike - 1] : op;
  int32_t place = 0;
  while (plan->ops[place].op != first) place++; /* td_slice_groups_build has one for each operator of the slice */
  return place;
}

static void fill_layers(const struct td_price_plan *plan, const struct td_slice_ops *ops, int32_t first,
                        struct td_price_layers *layers) {
  int32_t next = 0;
  for (int32_t i = 0; i < layers->count; i++) {
    for (; next < ops->op_count && plan->steps.graph->ops[ops->ops[next]].layer <= first + i; next++) {
      layers->ops[next] = place_of(plan, ops->ops[next]);
    }
    layers->ends[i] = next;
  }
}

td_status td_price_layers_open(const struct td_price_plan *plan, const struct td_slice *slice,
                               struct td_price_layers *out) {
  const struct td_graph *graph = plan->steps.graph;
  struct td_slice_ops ops = {0};
  int32_t first = slice->layer_begin > 0 ? slice->layer_begin : 0;
  int32_t end = slice->layer_end < graph->shape.layers ? slice->layer_end : graph->shape.layers;
  struct td_price_layers layers = {.count = end > first ? end - first : 0};
  size_t planned = (size_t)plan->begin[TD_DEPENDENCES];
  TD_TRY(td_slice_ops_build(graph, slice, &ops));
  td_status status = td_alloc((size_t)ops.op_count, sizeof *layers.ops, (void **)&layers.ops);
  if (!status) status = td_alloc((size_t)layers.count + 1, sizeof *layers.ends, (void **)&layers.ends);
  if (!status) status = td_alloc(planned, sizeof *layers.totals, (void **)&layers.totals);
  if (!status) status = td_alloc(planned, sizeof *layers.priced, (void **)&layers.priced);
  if (!status) fill_layers(plan, &ops, first, &layers);
  td_slice_ops_free(&ops);
  if (status) {
    td_price_layers_close(&layers);
    return status;
  }
  *out = layers;
  return TD_OK;
}

void td_price_layers_close(struct td_price_layers *layers) {
  free(layers->ops);
  free(layers->ends);
  free(layers->totals);
  free(layers->priced);
  *layers = (struct td_price_layers){.ops = NULL};
}

static void add_total(struct td_total *sum, const struct td_total *total, bool grows) {
  sum->rest += total->rest;
  for (int s = 0; s < TD_GROWING && grows; s++) sum->growing[s] += total->growing[s];
}

/* Nobody measured layers: all take the same, and the ends of the model nothing. */
static td_status even_layers(struct td_price_plan *plan, const struct td_price_layers *layers,
                             const struct td_step_stats *stats, int64_t *out_ps) {
  struct td_price price = {.flops = 0};
  TD_TRY(td_step_model_price(plan->steps.device, plan->model, stats, &price));
  for (int32_t i = 0; i < layers->count; i++) {
    out_ps[i] = (int64_t)((wide)price.base_ps * (i + 1) / layers->count);
  }
  return TD_OK;
}

td_status td_price_layers_ps(struct td_price_plan *plan, struct td_price_layers *layers,
                             const struct td_step_stats *stats, int64_t *out_ps) {
  struct ahead ahead = td_price_look_ahead(plan, stats);
  struct td_fit_step step = plan->steps;
  struct td_total sum = {.rest = 0};
  int32_t next = 0;
  int64_t ignored;
  if (plan->model) return even_layers(plan, layers, stats, out_ps);
  td_fit_step_at(&step, stats);
  memset(layers->priced, 0, (size_t)plan->begin[TD_DEPENDENCES] * sizeof *layers->priced);
  for (int32_t i = 0; i < layers->count; i++) {
    for (; next < layers->ends[i]; next++) {
      int32_t op = layers->ops[next];
      if (!layers->priced[op]) TD_TRY(td_price_one(plan, op, &step, &ahead, &layers->totals[op]));
      layers->priced[op] = true;
      add_total(&sum, &layers->totals[op], op >= plan->begin[TD_BY_ALL]);
    }
    TD_TRY(td_price_round(&sum, &ahead, stats, &out_ps[i], &ignored));
  }
  return TD_OK;
}
