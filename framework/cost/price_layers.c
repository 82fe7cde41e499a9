/* SPDX-License-Identifier: Apache-2.0
 *
 * When the layers of a step are done. Models repeat a few kinds of layers, so each kind is summed once.
 */
#include <stdlib.h>
#include <string.h>

#include "price_sum.h"
#include "tandem/base.h"

/* ---- what kinds there are ---- */

static int32_t place_of(const struct td_price_plan *plan, int32_t index) {
  const struct td_op *op = &plan->steps.graph->ops[index];
  const struct td_op *first = op->alike ? &plan->steps.graph->ops[op->alike - 1] : op;
  int32_t place = 0;
  while (plan->ops[place].op != first) place++; /* td_slice_groups_build has one for each operator of the slice */
  return place;
}

/* The kind of what stands in ops[begin .. end), which becomes a new one if there is none like it. */
static int32_t kind_of(struct td_price_layers *layers, int32_t begin, int32_t end) {
  size_t bytes = (size_t)(end - begin) * sizeof *layers->ops;
  for (int32_t kind = 0; kind < layers->kind_count; kind++) {
    int32_t first = kind ? layers->ends[kind - 1] : 0;
    if (layers->ends[kind] - first == end - begin && !memcmp(&layers->ops[first], &layers->ops[begin], bytes)) {
      return kind;
    }
  }
  layers->ends[layers->kind_count] = end;
  return layers->kind_count++;
}

/* Operators before the first layer are counted to it. */
static void fill(const struct td_price_plan *plan, const struct td_slice_ops *ops, int32_t first,
                 struct td_price_layers *layers) {
  int32_t next = 0;
  for (int32_t i = 0; i < layers->count; i++) {
    int32_t begin = layers->kind_count ? layers->ends[layers->kind_count - 1] : 0, end = begin;
    for (; next < ops->op_count && plan->steps.graph->ops[ops->ops[next]].layer <= first + i; next++) {
      layers->ops[end++] = place_of(plan, ops->ops[next]);
    }
    layers->kinds[i] = kind_of(layers, begin, end);
  }
}

static td_status allocate(const struct td_price_plan *plan, int32_t ops, struct td_price_layers *layers) {
  size_t count = (size_t)layers->count + 1, planned = (size_t)plan->begin[TD_DEPENDENCES];
  TD_TRY(td_alloc((size_t)ops, sizeof *layers->ops, (void **)&layers->ops));
  TD_TRY(td_alloc(count, sizeof *layers->ends, (void **)&layers->ends));
  TD_TRY(td_alloc(count, sizeof *layers->kinds, (void **)&layers->kinds));
  TD_TRY(td_alloc(count, sizeof *layers->of_kinds, (void **)&layers->of_kinds));
  TD_TRY(td_alloc(planned, sizeof *layers->totals, (void **)&layers->totals));
  return td_alloc(planned, sizeof *layers->priced, (void **)&layers->priced);
}

td_status td_price_layers_open(const struct td_price_plan *plan, const struct td_slice *slice,
                               struct td_price_layers *out) {
  const struct td_graph *graph = plan->steps.graph;
  struct td_slice_ops ops = {0};
  int32_t first = slice->layer_begin > 0 ? slice->layer_begin : 0;
  int32_t end = slice->layer_end < graph->shape.layers ? slice->layer_end : graph->shape.layers;
  struct td_price_layers layers = {.count = end > first ? end - first : 0};
  TD_TRY(td_slice_ops_build(graph, slice, &ops));
  td_status status = allocate(plan, ops.op_count, &layers);
  if (!status) fill(plan, &ops, first, &layers);
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
  free(layers->kinds);
  free(layers->of_kinds);
  free(layers->totals);
  free(layers->priced);
  *layers = (struct td_price_layers){.ops = NULL};
}

/* ---- a step ---- */

/* Adds the operators of a kind from `least` to before `most` in the plan. */
static td_status add_kind(struct td_price_plan *plan, struct td_price_layers *layers, int32_t kind, int32_t least,
                          int32_t most, const struct td_fit_step *step, const struct ahead *ahead,
                          struct td_total *sum) {
  for (int32_t i = kind ? layers->ends[kind - 1] : 0; i < layers->ends[kind]; i++) {
    int32_t op = layers->ops[i];
    if (op < least || op >= most) continue;
    if (!layers->priced[op]) TD_TRY(td_price_one(plan, op, step, ahead, &layers->totals[op]));
    layers->priced[op] = true;
    sum->rest += layers->totals[op].rest;
    for (int s = 0; s < TD_GROWING; s++) sum->growing[s] += layers->totals[op].growing[s];
  }
  return TD_OK;
}

static void begin_step(const struct td_price_plan *plan, struct td_price_layers *layers) {
  memset(layers->priced, 0, (size_t)plan->begin[TD_DEPENDENCES] * sizeof *layers->priced);
}

td_status td_price_layers_rests(struct td_price_plan *plan, struct td_price_layers *layers,
                                const struct td_fit_step *step, const struct ahead *ahead, wide *out_rests) {
  begin_step(plan, layers);
  for (int32_t kind = 0; kind < layers->kind_count && !plan->model; kind++) {
    struct td_total sum = {.rest = 0};
    TD_TRY(add_kind(plan, layers, kind, 0, plan->begin[TD_BY_TOKENS + 1], step, ahead, &sum));
    out_rests[kind] = sum.rest;
  }
  return TD_OK;
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

td_status td_price_layers_ps(struct td_price_plan *plan, struct td_price_layers *layers, const struct td_fit_step *step,
                             const struct ahead *ahead, const wide *rests, int64_t *out_ps) {
  struct td_total sum = {.rest = 0};
  int64_t ignored;
  bool grows = false;
  if (plan->model) return even_layers(plan, layers, step->stats, out_ps);
  begin_step(plan, layers);
  for (int32_t kind = 0; kind < layers->kind_count; kind++) {
    struct td_total *total = &layers->of_kinds[kind];
    *total = (struct td_total){.rest = rests[kind]};
    TD_TRY(
        add_kind(plan, layers, kind, plan->begin[TD_BY_TOKENS + 1], plan->begin[TD_DEPENDENCES], step, ahead, total));
    for (int s = 0; s < TD_GROWING; s++) grows = grows || total->growing[s];
  }
  for (int32_t i = 0; i < layers->count; i++) {
    const struct td_total *total = &layers->of_kinds[layers->kinds[i]];
    sum.rest += total->rest;
    for (int s = 0; s < TD_GROWING && grows; s++) sum.growing[s] += total->growing[s];
    TD_TRY(td_price_round(&sum, ahead, step->stats, &out_ps[i], &ignored));
  }
  return TD_OK;
}
