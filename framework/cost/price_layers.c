/* SPDX-License-Identifier: Apache-2.0
 *
 * When the layers of a slice are done: the price of all operators up to the end of each.
 */
#include <stdlib.h>
#include <string.h>

#include "price_sum.h"
#include "step_model.h"
#include "tandem/base.h"

static int32_t place_of(const struct td_price_plan *plan, int32_t index) {
  const struct td_op *op = &plan->steps.graph->ops[index];
  const struct td_op *first = op->alike ? &plan->steps.graph->ops[op->alike - 1] : op;
  int32_t place = 0;
  while (plan->ops[place].op != first) place++; /* td_slice_groups_build has one for each operator of the slice */
  return place;
}

static void count_ops(const struct td_price_plan *plan, const struct td_slice_ops *ops, int32_t first,
                      struct td_price_layers *layers) {
  int32_t next = 0;
  for (int32_t i = 0; i < layers->count; i++) {
    int32_t *upto = layers->upto + (size_t)i * (size_t)layers->ops;
    if (i) memcpy(upto, upto - layers->ops, (size_t)layers->ops * sizeof *upto);
    for (; next < ops->op_count && plan->steps.graph->ops[ops->ops[next]].layer <= first + i; next++) {
      upto[place_of(plan, ops->ops[next])]++;
    }
  }
}

td_status td_price_layers_open(const struct td_price_plan *plan, const struct td_slice *slice,
                               struct td_price_layers *out) {
  const struct td_graph *graph = plan->steps.graph;
  struct td_slice_ops ops = {0};
  int32_t first = slice->layer_begin > 0 ? slice->layer_begin : 0;
  int32_t end = slice->layer_end < graph->shape.layers ? slice->layer_end : graph->shape.layers;
  struct td_price_layers layers = {.count = end > first ? end - first : 0, .ops = plan->begin[TD_DEPENDENCES]};
  TD_TRY(td_slice_ops_build(graph, slice, &ops));
  size_t counts = (size_t)layers.count * (size_t)layers.ops;
  td_status status = td_alloc(counts ? counts : 1, sizeof *layers.upto, (void **)&layers.upto);
  if (!status) status = td_alloc((size_t)layers.ops + 1, sizeof *layers.totals, (void **)&layers.totals);
  if (!status) count_ops(plan, &ops, first, &layers);
  td_slice_ops_free(&ops);
  if (status) {
    td_price_layers_close(&layers);
    return status;
  }
  *out = layers;
  return TD_OK;
}

void td_price_layers_close(struct td_price_layers *layers) {
  free(layers->upto);
  free(layers->totals);
  *layers = (struct td_price_layers){.upto = NULL};
}

/* Those that come before the end of the last layer. */
td_status td_price_layers_add(struct td_price_plan *plan, struct td_price_layers *layers,
                              const struct td_fit_step *step, const struct ahead *ahead, int32_t begin, int32_t end) {
  const int32_t *all = layers->upto + (size_t)(layers->count - 1) * (size_t)layers->ops;
  for (int32_t i = begin; i < end; i++) {
    if (all[i]) TD_TRY(td_price_one(plan, i, step, ahead, &layers->totals[i]));
  }
  return TD_OK;
}

struct td_total td_price_layers_sum(const struct td_price_plan *plan, const struct td_price_layers *layers,
                                    int32_t layer, int32_t begin, int32_t end) {
  const int32_t *upto = layers->upto + (size_t)layer * (size_t)layers->ops;
  struct td_total sum = {.rest = 0};
  for (int32_t i = begin; i < end; i++) {
    if (!upto[i]) continue;
    sum.rest += layers->totals[i].rest * upto[i];
    for (int s = 0; s < TD_GROWING && i >= plan->begin[TD_BY_ALL]; s++) {
      sum.growing[s] += layers->totals[i].growing[s] * upto[i];
    }
  }
  return sum;
}

/* Nobody measured layers: all take the same, and the ends of the model nothing. */
td_status td_price_layers_even(const struct td_price_plan *plan, const struct td_price_layers *layers,
                               const struct td_step_stats *stats, int32_t layer, int64_t *out_ps) {
  struct td_price price = {.flops = 0};
  TD_TRY(td_step_model_price(plan->steps.device, plan->model, stats, &price));
  *out_ps = (int64_t)((wide)price.base_ps * (layer + 1) / layers->count);
  return TD_OK;
}

td_status td_price_layers_ps(struct td_price_plan *plan, struct td_price_layers *layers,
                             const struct td_step_stats *stats, int64_t *out_ps) {
  struct ahead ahead = td_price_look_ahead(plan, stats);
  struct td_fit_step step = plan->steps;
  int64_t ignored;
  td_fit_step_at(&step, stats);
  if (layers->count && !plan->model) TD_TRY(td_price_layers_add(plan, layers, &step, &ahead, 0, layers->ops));
  for (int32_t i = 0; i < layers->count; i++) {
    const struct td_total sum = td_price_layers_sum(plan, layers, i, 0, layers->ops);
    TD_TRY(plan->model ? td_price_layers_even(plan, layers, stats, i, &out_ps[i])
                       : td_price_round(&sum, &ahead, stats, &out_ps[i], &ignored));
  }
  return TD_OK;
}
