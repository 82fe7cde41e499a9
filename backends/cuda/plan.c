/* SPDX-License-Identifier: Apache-2.0
 *
 * A plan's life: made from a slice, run step by step, freed. A step whose rows all take the decode kernels runs as a
 * captured graph from the second time on that its shape comes; the first loads what it needs, which a capture may not.
 * All else is queued kernel by kernel, with a mark on the time line behind each layer if somebody waits for layers.
 */
#include "plan.h"

#include <stdlib.h>

#include "blas.h"

/* ---- made and freed ---- */

static td_status convert_weights(struct cuda_device *device, const struct td_plan *plan) {
  for (int32_t i = 0; device->blas && i < plan->ops.op_count; i++) {
    const struct td_op *op = &plan->graph->ops[plan->ops.ops[i]];
    if (op->kind != TD_OP_MATMUL) continue;
    const struct cuda_product_work product = {.weight = &plan->bindings.weights[op->weight]};
    if (!cuda_blas_takes(device, CUDA_FEW_ROWS + 1, &product, 1)) continue;
    td_status status = cuda_blas_prepare(device, product.weight);
    if (status) return td_fail_within(status, "weight %s", plan->graph->weights[op->weight].name);
  }
  return TD_OK;
}

static td_status fill(struct cuda_device *device, struct td_plan *plan, const struct td_slice *slice) {
  int32_t layers = plan->graph->shape.layers;
  plan->layer_begin = slice->layer_begin > 0 ? slice->layer_begin : 0;
  plan->layer_end = slice->layer_end < layers ? slice->layer_end : layers;
  TD_TRY(td_slice_ops_build(plan->graph, slice, &plan->ops));
  TD_TRY(td_alloc((size_t)plan->ops.op_count, sizeof *plan->stages, (void **)&plan->stages));
  TD_TRY(td_alloc((size_t)plan->graph->value_count, sizeof *plan->values, (void **)&plan->values));
  TD_TRY(cuda_fuse(plan));
  return convert_weights(device, plan);
}

td_status cuda_plan_make(struct td_device *base, const struct td_graph *graph, const struct td_slice *slice,
                         const struct td_plan_bindings *bindings, struct td_plan **out_plan) {
  struct cuda_device *device = cuda_of(base);
  TD_TRY(cuda_enter(device));
  struct td_plan *plan;
  TD_TRY(td_alloc(1, sizeof *plan, (void **)&plan));
  plan->graph = graph;
  plan->bindings = *bindings;
  td_status status = fill(device, plan, slice);
  if (status) {
    cuda_plan_free(base, plan);
    return status;
  }
  *out_plan = plan;
  return TD_OK;
}

void cuda_plan_free(struct td_device *base, struct td_plan *plan) {
  struct cuda_device *device = cuda_of(base);
  cuda_enter_to_free(device);
  for (int32_t i = 0; i < plan->graph_count; i++) {
    if (plan->graphs[i].exec) device->driver->cuGraphExecDestroy(plan->graphs[i].exec);
  }
  cuda_release(device, plan->activation);
  td_slice_ops_free(&plan->ops);
  free(plan->stages);
  free(plan->values);
  free(plan);
}

/* ---- stages ---- */

static td_status queue_stages(struct cuda_device *device, const struct td_plan *plan, const struct cuda_step *step) {
  for (int32_t i = 0; i < plan->stage_count; i++) TD_TRY(cuda_stage(device, plan, step, &plan->stages[i]));
  return TD_OK;
}

/* The first layer is done at the run's own value; each later layer, and the rest behind the last, takes another. */
static td_status mark_layer(struct cuda_device *device, const struct td_plan *plan, int32_t layer,
                            uint64_t *layer_values) {
  if (layer < plan->layer_begin || layer >= plan->layer_end) return TD_OK;
  layer_values[layer - plan->layer_begin] = device->base.submitted;
  TD_TRY(cuda_mark(device, device->base.submitted));
  device->base.submitted++;
  return TD_OK;
}

/* A layer without a stage is done with the one before it. */
static void fill_gaps(const struct td_plan *plan, uint64_t first, uint64_t *layer_values) {
  for (int32_t i = 0; i < plan->layer_end - plan->layer_begin; i++) {
    if (!layer_values[i]) layer_values[i] = i ? layer_values[i - 1] : first;
  }
}

static td_status queue_layers(struct cuda_device *device, const struct td_plan *plan, const struct cuda_step *step,
                              uint64_t *layer_values) {
  uint64_t first = device->base.submitted;
  for (int32_t i = plan->layer_begin; i < plan->layer_end; i++) layer_values[i - plan->layer_begin] = 0;
  for (int32_t i = 0; i < plan->stage_count; i++) {
    int32_t layer = plan->stages[i].layer;
    TD_TRY(cuda_stage(device, plan, step, &plan->stages[i]));
    bool last = i + 1 == plan->stage_count || plan->stages[i + 1].layer != layer;
    if (last) TD_TRY(mark_layer(device, plan, layer, layer_values));
  }
  fill_gaps(plan, first, layer_values);
  return TD_OK;
}

/* ---- graphs ---- */

static bool same_shape(const struct cuda_shape *a, const struct cuda_shape *b) {
  return a->rows == b->rows && a->seq_count == b->seq_count && a->logit_count == b->logit_count &&
         a->max_splits == b->max_splits && a->addresses == b->addresses;
}

static struct cuda_shape shape_of(const struct cuda_device *device, const struct cuda_step *step) {
  return (struct cuda_shape){.rows = step->batch.rows,
                             .seq_count = step->batch.seq_count,
                             .logit_count = step->batch.logit_count,
                             .max_splits = step->max_splits,
                             .addresses = device->addresses};
}

/* The entry of this shape, NULL if it was never seen. */
static struct cuda_captured *find_graph(struct td_plan *plan, const struct cuda_shape *shape) {
  for (int32_t i = 0; i < plan->graph_count; i++) {
    if (same_shape(&plan->graphs[i].shape, shape)) return &plan->graphs[i];
  }
  return NULL;
}

/* A new entry, in place of the one that ran longest ago if all are taken. */
static struct cuda_captured *add_graph(struct cuda_device *device, struct td_plan *plan) {
  if (plan->graph_count < CUDA_GRAPHS) return &plan->graphs[plan->graph_count++];
  struct cuda_captured *oldest = &plan->graphs[0];
  for (int32_t i = 1; i < CUDA_GRAPHS; i++) {
    if (plan->graphs[i].used < oldest->used) oldest = &plan->graphs[i];
  }
  if (oldest->exec) device->driver->cuGraphExecDestroy(oldest->exec);
  return oldest;
}

static td_status capture(struct cuda_device *device, const struct td_plan *plan, const struct cuda_step *step,
                         cuda_graph_exec *out_exec) {
  cuda_graph graph = NULL;
  CUDA_TRY(device, cuStreamBeginCapture_v2(device->compute, CUDA_CAPTURE_THREAD_LOCAL), "beginning a capture");
  td_status status = queue_stages(device, plan, step);
  int ended = device->driver->cuStreamEndCapture(device->compute, &graph); /* whatever happened in between */
  if (!status) status = cuda_check(device, ended, "ending a capture of %d stages", (int)plan->stage_count);
  if (!status) {
    status = cuda_check(device, device->driver->cuGraphInstantiateWithFlags(out_exec, graph, 0),
                        "instantiating a graph of %d stages", (int)plan->stage_count);
  }
  if (graph) device->driver->cuGraphDestroy(graph);
  return status;
}

static td_status replay(struct cuda_device *device, struct td_plan *plan, const struct cuda_step *step) {
  struct cuda_shape shape = shape_of(device, step);
  struct cuda_captured *graph = find_graph(plan, &shape);
  if (!graph) {
    TD_TRY(queue_stages(device, plan, step)); /* may move scratch memory: the shape is what it is afterwards */
    graph = add_graph(device, plan);
    *graph = (struct cuda_captured){.shape = shape_of(device, step), .used = ++plan->runs};
    return TD_OK;
  }
  if (!graph->exec) TD_TRY(capture(device, plan, step, &graph->exec));
  graph->used = ++plan->runs;
  CUDA_TRY(device, cuGraphLaunch(graph->exec, device->compute), "launching a graph of %d stages",
           (int)plan->stage_count);
  return TD_OK;
}

/* ---- a run ---- */

static td_status copy_value(struct cuda_device *device, const struct td_plan *plan, int32_t value,
                            const struct td_view *view, bool in) {
  uint64_t bytes = (uint64_t)view->rows * (uint64_t)view->cols * sizeof(float);
  if (bytes == 0) return TD_OK;
  cuda_ptr own = cuda_value_at(plan, value), other = cuda_address(view);
  CUDA_TRY(device, cuMemcpyDtoDAsync_v2(in ? own : other, in ? other : own, (size_t)bytes, device->compute),
           "copying value %s", plan->graph->values[value].name);
  if (!in) view->buffer->written = device->base.submitted;
  return TD_OK;
}

/* Every cache of the slice was written by this run; its layer's value says when. */
static void note_written(const struct cuda_device *device, const struct td_plan *plan, const uint64_t *layer_values) {
  for (int32_t layer = plan->layer_begin; layer < plan->layer_end; layer++) {
    const struct td_kv_view *kv = &plan->bindings.kv[layer];
    if (!kv->k) continue;
    kv->k->written = kv->v->written = layer_values ? layer_values[layer - plan->layer_begin] : device->base.submitted;
  }
}

static td_status run_stages(struct cuda_device *device, struct td_plan *plan, const struct cuda_step *step,
                            uint64_t *layer_values) {
  if (layer_values) return queue_layers(device, plan, step, layer_values);
  return step->tile_count ? queue_stages(device, plan, step) : replay(device, plan, step);
}

td_status cuda_plan_run(struct td_device *base, struct td_plan *plan, const struct td_batch *batch,
                        struct td_view *live_in, struct td_view *live_out, uint64_t *layer_values) {
  struct cuda_device *device = cuda_of(base);
  struct cuda_step step;
  TD_TRY(cuda_enter(device));
  TD_TRY(cuda_place(device, plan, batch->rows, batch->logit_count));
  TD_TRY(cuda_batch_upload(device, batch, true, &step));
  for (int32_t i = 0; i < plan->ops.live_in_count; i++) {
    TD_TRY(copy_value(device, plan, plan->ops.live_in[i], &live_in[i], true));
  }
  TD_TRY(run_stages(device, plan, &step, layer_values));
  for (int32_t i = 0; i < plan->ops.live_out_count; i++) {
    TD_TRY(copy_value(device, plan, plan->ops.live_out[i], &live_out[i], false));
  }
  note_written(device, plan, layer_values);
  return TD_OK;
}
