/* SPDX-License-Identifier: Apache-2.0
 *
 * A plan: the slice compiled for the machine, with weights and caches in SRAM.
 */
#include <stdlib.h>
#include <string.h>

#include "lpu_device.h"
#include "tandem/base.h"

td_status lpu_check_slice(const struct td_graph *graph, const struct td_slice *slice) {
  struct td_slice whole = td_slice_whole(graph);
  if (slice->layer_begin == whole.layer_begin && slice->layer_end == whole.layer_end && slice->parts == whole.parts) {
    return TD_OK;
  }
  return td_fail(TD_UNSUPPORTED, "backend lpu: found layers [%d, %d) and parts %u, expected the whole model",
                 slice->layer_begin, slice->layer_end, slice->parts);
}

/* ---- the caches ---- */

/* Every layer's, of one geometry, as no host memory yet. */
static td_status check_views(const struct td_graph *graph, const struct td_kv_view *views) {
  for (int32_t layer = 0; layer < graph->shape.layers; layer++) {
    const struct td_kv_view *view = &views[layer];
    if (!view->k || !view->v) return td_fail(TD_INTERNAL, "backend lpu: layer %d has no KV cache", layer);
    if (view->dtype != TD_F16) return td_fail(TD_UNSUPPORTED, "backend lpu: found no f16 KV cache, expected one");
    if (view->k->plan || view->v->plan || view->k->touched || view->v->touched) {
      return td_fail(TD_PRECONDITION, "backend lpu: layer %d: found a KV cache in use, expected a new one", layer);
    }
  }
  return TD_OK;
}

static int32_t blocks_of(const struct td_kv_view *view) {
  uint64_t token = (uint64_t)view->kv_heads * (uint64_t)view->head_dim * sizeof(uint16_t);
  uint64_t blocks = view->k->bytes / (token * (uint64_t)view->block_tokens);
  return blocks < INT32_MAX ? (int32_t)blocks : INT32_MAX;
}

static void bind(struct td_plan *plan, struct td_plan *to) {
  for (int32_t layer = 0; layer < plan->graph->shape.layers; layer++) {
    struct td_buffer *buffers[2] = {plan->views[layer].k, plan->views[layer].v};
    for (int i = 0; i < 2; i++) {
      buffers[i]->plan = to;
      buffers[i]->layer = layer;
    }
  }
}

/* ---- making it ---- */

static td_status take_embedding(struct td_plan *plan, const struct td_view *weights) {
  for (int32_t i = 0; i < plan->graph->op_count; i++) {
    const struct td_op *op = &plan->graph->ops[i];
    if (op->kind != TD_OP_EMBED) continue;
    plan->embedding = weights[op->weight];
    plan->scale = (float)op->scale;
    return TD_OK;
  }
  return td_fail(TD_UNSUPPORTED, "backend lpu: found a model without embedding, expected one");
}

static td_status compile(const struct lpu_device *lpu, struct td_plan *plan, const struct td_slice *slice,
                         const struct td_view *weights, const struct td_lpu_options *options) {
  const struct td_graph *graph = plan->graph;
  void *memory = NULL;
  TD_TRY(td_alloc((size_t)graph->weight_count, sizeof(const void *), &memory));
  const void **data = memory;
  for (int32_t i = 0; i < graph->weight_count; i++) {
    if (weights[i].buffer) data[i] = weights[i].buffer->data + weights[i].offset;
  }
  td_status status = td_lpu_compile(lpu->machine, graph, slice, data, options, &plan->program);
  free(data);
  return status;
}

static td_status make(const struct lpu_device *lpu, struct td_plan *plan, const struct td_slice *slice,
                      const struct td_plan_bindings *bindings) {
  const struct td_graph *graph = plan->graph;
  void *memory = NULL;
  TD_TRY(check_views(graph, bindings->kv));
  TD_TRY(take_embedding(plan, bindings->weights));
  TD_TRY(td_alloc((size_t)graph->shape.layers, sizeof *plan->views, &memory));
  plan->views = memory;
  memcpy(plan->views, bindings->kv, (size_t)graph->shape.layers * sizeof *plan->views);
  const struct td_kv_view *view = &plan->views[0];
  plan->kv = (struct td_lpu_kv){blocks_of(view), view->kv_heads, view->head_dim};
  struct td_lpu_options options =
      td_lpu_choice_options(&lpu->choice, &graph->shape, view->block_tokens, plan->kv.kv_blocks);
  plan->rows = options.rows;
  TD_TRY(compile(lpu, plan, slice, bindings->weights, &options));
  TD_TRY(td_lpu_price_open(plan->program, plan->graph, &plan->price));
  TD_TRY(td_lpu_host_open(plan->program, lpu->choice.emulate_on, &plan->host));
  if (td_lpu_host_note(plan->host)) td_warn("backend lpu: %s", td_lpu_host_note(plan->host));
  TD_TRY(td_alloc((size_t)graph->shape.hidden, sizeof(float), (void **)&plan->x));
  TD_TRY(td_alloc((size_t)lpu->machine->lanes, sizeof(float), (void **)&plan->position));
  return td_alloc((size_t)plan->rows, sizeof *plan->step, (void **)&plan->step);
}

static void free_parts(struct td_plan *plan) {
  td_lpu_host_close(plan->host);
  td_lpu_program_free(plan->program);
  td_lpu_price_close(plan->price);
  free(plan->views);
  free(plan->x);
  free(plan->position);
  free(plan->step);
  free(plan);
}

td_status lpu_plan(struct td_device *device, const struct td_graph *graph, const struct td_slice *slice,
                   const struct td_plan_bindings *bindings, struct td_plan **out_plan) {
  struct lpu_device *lpu = lpu_of(device);
  void *memory = NULL;
  TD_TRY(lpu_check_slice(graph, slice));
  TD_TRY(td_alloc(1, sizeof(struct td_plan), &memory));
  struct td_plan *plan = memory;
  plan->graph = graph;
  td_status status = make(lpu, plan, slice, bindings);
  if (status) {
    free_parts(plan);
    return status;
  }
  bind(plan, plan);
  lpu->last = plan;
  *out_plan = plan;
  return TD_OK;
}

void lpu_plan_free(struct td_device *device, struct td_plan *plan) {
  struct lpu_device *lpu = lpu_of(device);
  if (!plan) return;
  if (lpu->last == plan) lpu->last = NULL;
  bind(plan, NULL);
  free_parts(plan);
}
