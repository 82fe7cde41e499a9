/* SPDX-License-Identifier: Apache-2.0
 *
 * The runner: takes a model's slice through a device, step by step. Everything is allocated when it opens.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runner_private.h"
#include "tandem/base.h"

/* ---- open ---- */

static td_status check_options(const struct td_runner_options *options) {
  if (options->kv_dtype != TD_F32 && options->kv_dtype != TD_F16) {
    return td_fail(TD_UNSUPPORTED, "runner: kv_dtype: found %d, expected f32 (0) or f16 (1)", (int)options->kv_dtype);
  }
  if (options->max_rows < 1 || options->max_rows > INT32_MAX) {
    return td_fail(TD_CONFIG, "runner: max_rows: found %" PRId64 ", expected 1 to %d", options->max_rows, INT32_MAX);
  }
  if (options->max_logits < 1 || options->max_logits > options->max_rows) {
    return td_fail(TD_CONFIG, "runner: max_logits: found %" PRId64 ", expected 1 to max_rows %" PRId64,
                   options->max_logits, options->max_rows);
  }
  return TD_OK;
}

static td_status check_support(const struct td_runner *runner) {
  for (int32_t i = 0; i < runner->ops.op_count; i++) {
    const struct td_op *op = &runner->graph->ops[runner->ops.ops[i]];
    if (op->kind == TD_OP_SAMPLE) continue;
    struct td_op_query query = {.op = op, .weight_dtype = TD_F32, .kv_dtype = runner->options.kv_dtype};
    if (op->weight >= 0) query.weight_dtype = runner->graph->weights[op->weight].dtype;
    td_status status = td_device_supports(runner->device, &query);
    if (!status) continue;
    return td_fail_within(status, "%s: %s of layer %d%s%s", td_device_label(runner->device).text,
                          td_op_kind_name(op->kind), (int)op->layer, op->weight >= 0 ? ", weight " : "",
                          op->weight >= 0 ? runner->graph->weights[op->weight].name : "");
  }
  return TD_OK;
}

static td_status alloc_array(void *out, int64_t count, size_t size) {
  void *memory;
  TD_TRY(td_alloc((size_t)count, size, &memory));
  memcpy(out, &memory, sizeof memory);
  return TD_OK;
}

static td_status alloc_host(struct td_runner *runner) {
  const struct td_graph *graph = runner->graph;
  int64_t rows = runner->options.max_rows, logits = runner->options.max_logits;
  TD_TRY(alloc_array(&runner->weights, graph->weight_count, sizeof *runner->weights));
  TD_TRY(alloc_array(&runner->kv_views, graph->shape.layers, sizeof *runner->kv_views));
  TD_TRY(alloc_array(&runner->values, graph->value_count, sizeof *runner->values));
  TD_TRY(alloc_array(&runner->calls, runner->ops.op_count, sizeof *runner->calls));
  TD_TRY(alloc_array(&runner->plan_in, runner->ops.live_in_count + 1, sizeof *runner->plan_in));
  TD_TRY(alloc_array(&runner->plan_out, runner->ops.live_out_count + 1, sizeof *runner->plan_out));
  TD_TRY(alloc_array(&runner->layer_values, graph->shape.layers, sizeof *runner->layer_values));
  TD_TRY(alloc_array(&runner->steps, rows, sizeof *runner->steps));
  TD_TRY(alloc_array(&runner->seqs, rows, sizeof *runner->seqs));
  TD_TRY(alloc_array(&runner->ids, rows, sizeof *runner->ids));
  TD_TRY(alloc_array(&runner->positions, rows, sizeof *runner->positions));
  TD_TRY(alloc_array(&runner->logit_rows, logits, sizeof *runner->logit_rows));
  if (runner->logits_value < 0) return TD_OK;
  return alloc_array(&runner->logits, logits, (size_t)graph->shape.vocab * sizeof(float));
}

static td_status open_kv(struct td_runner *runner) {
  int32_t begin, end;
  td_slice_kv_layers(runner->graph, &runner->slice, &begin, &end);
  if (begin == end) return TD_OK;
  TD_TRY(td_kv_store_open(runner->device, &runner->graph->shape, runner->options.kv_dtype, begin, end,
                          runner->options.block_tokens, runner->options.kv_blocks, &runner->kv));
  for (int32_t layer = begin; layer < end; layer++) {
    TD_TRY(td_kv_store_view(runner->kv, layer, &runner->kv_views[layer]));
  }
  return TD_OK;
}

static bool uses_kv(const struct td_op *op) {
  return op->kind == TD_OP_KV_APPEND || op->kind == TD_OP_ATTENTION;
}

/* Everything of the calls that no step changes. */
static void resolve_calls(struct td_runner *runner) {
  for (int32_t i = 0; i < runner->ops.op_count; i++) {
    const struct td_op *op = &runner->graph->ops[runner->ops.ops[i]];
    struct td_op_call *call = &runner->calls[i];
    call->op = op;
    call->batch = &runner->batch;
    if (op->weight >= 0) call->weight = runner->weights[op->weight];
    if (uses_kv(op)) call->kv = runner->kv_views[op->layer];
  }
}

static td_status make_plan(struct td_runner *runner) {
  struct td_device *device = runner->device;
  if (!TD_ENTRY(device, plan) || !TD_ENTRY(device, run)) return TD_OK;
  struct td_plan_bindings bindings = {runner->weights, runner->kv_views};
  td_status status = device->table->plan(device, runner->graph, &runner->slice, &bindings, &runner->plan);
  return status == TD_UNIMPLEMENTED ? TD_OK : status;
}

static void find_ends(struct td_runner *runner) {
  runner->logits_value = -1;
  for (int32_t i = 0; i < runner->ops.op_count; i++) {
    const struct td_op *op = &runner->graph->ops[runner->ops.ops[i]];
    if (op->kind == TD_OP_EMBED) runner->embeds = true;
    if (op->kind == TD_OP_SAMPLE) runner->logits_value = op->in[0];
  }
}

static td_status open_parts(struct td_runner *runner) {
  TD_TRY(td_slice_ops_build(runner->graph, &runner->slice, &runner->ops));
  find_ends(runner);
  TD_TRY(check_support(runner));
  if (!td_model_has_weights(runner->model)) {
    return td_fail(TD_UNSUPPORTED, "%s: found a shape without weights, expected a model to execute",
                   td_model_path(runner->model));
  }
  TD_TRY(alloc_host(runner));
  TD_TRY(td_runner_place_values(runner));
  TD_TRY(open_kv(runner));
  TD_TRY(td_runner_load_weights(runner));
  resolve_calls(runner);
  TD_TRY(make_plan(runner));
  return td_device_sync(runner->device);
}

td_status td_runner_open(struct td_device *device, const struct td_model *model, const struct td_graph *graph,
                         const struct td_slice *slice, const struct td_runner_options *options,
                         struct td_runner **out_runner) {
  TD_TRY(check_options(options));
  void *memory;
  TD_TRY(td_alloc(1, sizeof(struct td_runner), &memory));
  struct td_runner *runner = memory;
  *runner = (struct td_runner){
      .device = device, .model = model, .graph = graph, .slice = *slice, .options = *options, .logits_value = -1};
  td_status status = open_parts(runner);
  if (status) {
    td_runner_close(runner);
    return status;
  }
  *out_runner = runner;
  return TD_OK;
}

void td_runner_close(struct td_runner *runner) {
  if (!runner) return;
  if (runner->plan && TD_ENTRY(runner->device, plan_free))
    runner->device->table->plan_free(runner->device, runner->plan);
  td_runner_free_memory(runner);
  td_kv_store_close(runner->kv);
  td_slice_ops_free(&runner->ops);
  free(runner->weights);
  free(runner->kv_views);
  free(runner->values);
  free(runner->calls);
  free(runner->plan_in);
  free(runner->plan_out);
  free(runner->layer_values);
  free(runner->steps);
  free(runner->seqs);
  free(runner->ids);
  free(runner->positions);
  free(runner->logit_rows);
  free(runner->logits);
  free(runner);
}

struct td_kv_store *td_runner_kv(struct td_runner *runner) {
  return runner->kv;
}

/* ---- step ---- */

static struct td_view value_view(const struct td_runner *runner, int32_t value) {
  if (value < 0) return (struct td_view){0};
  struct td_view view = runner->values[value];
  view.rows = td_value_rows(&runner->graph->values[value], runner->batch.rows, runner->batch.logit_count);
  return view;
}

static uint64_t view_bytes(const struct td_view *view) {
  return (uint64_t)view->rows * (uint64_t)view->cols * sizeof(float);
}

static td_status write_live_ins(struct td_runner *runner, const float *const *live_in) {
  for (int32_t i = 0; i < runner->ops.live_in_count; i++) {
    struct td_view view = runner->plan_in[i] = value_view(runner, runner->ops.live_in[i]);
    if (!live_in || !live_in[i]) {
      return td_fail(TD_INTERNAL, "live-in %s: absent", runner->graph->values[runner->ops.live_in[i]].name);
    }
    TD_TRY(td_device_write(runner->device, view.buffer, view.offset, live_in[i], view_bytes(&view)));
  }
  return TD_OK;
}

/* Filled at the step's one sync; "logits" has its own way out. */
static td_status read_live_outs(struct td_runner *runner, float *const *live_out) {
  for (int32_t i = 0; i < runner->ops.live_out_count; i++) {
    int32_t value = runner->ops.live_out[i];
    struct td_view view = value_view(runner, value);
    if (value == runner->logits_value) continue;
    if (!live_out || !live_out[i]) {
      return td_fail(TD_INTERNAL, "live-out %s: absent", runner->graph->values[value].name);
    }
    TD_TRY(td_device_enqueue_read(runner->device, view.buffer, view.offset, live_out[i], view_bytes(&view)));
  }
  if (runner->batch.logit_count == 0) return TD_OK;
  struct td_view view = value_view(runner, runner->logits_value);
  return td_device_enqueue_read(runner->device, view.buffer, view.offset, runner->logits, view_bytes(&view));
}

/* The layer-done callback and where it stands. */
struct progress {
  td_layer_done done;
  void *context;
  int64_t begin_ps;
};

/* Tells that `layer` is done once the time line has reached `value`; without a listener, waits for nothing. */
static td_status layer_done(struct td_runner *runner, const struct progress *progress, int32_t layer, uint64_t value) {
  if (!progress->done || layer < 0 || layer >= runner->graph->shape.layers) return TD_OK;
  TD_TRY(runner->device->table->sync(runner->device, value));
  if (runner->kv) td_kv_step_layer(runner->kv, layer);
  return progress->done(progress->context, layer, td_device_now(runner->device) - progress->begin_ps);
}

static td_status run_op(struct td_runner *runner, struct td_op_call *call) {
  const struct td_op *op = call->op;
  if (op->kind == TD_OP_SAMPLE) return TD_OK;
  if (op->rows == TD_ROWS_LOGITS && runner->batch.logit_count == 0) return TD_OK;
  for (int i = 0; i < TD_OP_INPUTS; i++) call->in[i] = value_view(runner, op->in[i]);
  call->out = value_view(runner, op->out);
  td_status status = td_device_op(runner->device, call);
  if (!status) return TD_OK;
  return td_fail_within(status, "%s of layer %d", td_op_kind_name(op->kind), (int)op->layer);
}

static td_status interpret(struct td_runner *runner, const struct progress *progress) {
  for (int32_t i = 0; i < runner->ops.op_count; i++) {
    if (runner->options.stop && atomic_load(runner->options.stop)) return td_fail(TD_ABORTED, "the step was given up");
    TD_TRY(run_op(runner, &runner->calls[i]));
    int32_t layer = runner->calls[i].op->layer;
    bool last = i + 1 == runner->ops.op_count || runner->calls[i + 1].op->layer != layer;
    if (last) TD_TRY(layer_done(runner, progress, layer, runner->device->submitted));
  }
  return TD_OK;
}

/* Ascending, and values that this run took. */
static td_status check_layer_values(const struct td_runner *runner, int32_t count, uint64_t first) {
  const uint64_t *values = runner->layer_values;
  for (int32_t i = 0; i < count; i++) {
    uint64_t least = i > 0 ? values[i - 1] : first, most = runner->device->submitted;
    if (values[i] >= least && values[i] <= most) continue;
    return td_fail(TD_INTERNAL,
                   "%s: run: the slice's layer %d is done at value %" PRIu64 ", expected %" PRIu64 " to %" PRIu64,
                   td_device_label(runner->device).text, (int)i, values[i], least, most);
  }
  return TD_OK;
}

static td_status run_plan(struct td_runner *runner, const struct progress *progress) {
  struct td_device *device = runner->device;
  int32_t layers = runner->graph->shape.layers;
  int32_t begin = runner->slice.layer_begin > 0 ? runner->slice.layer_begin : 0;
  int32_t end = runner->slice.layer_end < layers ? runner->slice.layer_end : layers;
  uint64_t *values = progress->done ? runner->layer_values : NULL;
  for (int32_t i = 0; i < runner->ops.live_out_count; i++) {
    runner->plan_out[i] = value_view(runner, runner->ops.live_out[i]);
  }
  uint64_t first = ++device->submitted;
  TD_TRY(device->table->run(device, runner->plan, &runner->batch, runner->plan_in, runner->plan_out, values));
  if (!values) return TD_OK;
  TD_TRY(check_layer_values(runner, end - begin, first));
  for (int32_t layer = begin; layer < end; layer++) {
    TD_TRY(layer_done(runner, progress, layer, values[layer - begin]));
  }
  return TD_OK;
}

static td_status run_batch(struct td_runner *runner, const float *const *live_in, float *const *live_out,
                           const struct progress *progress) {
  TD_TRY(write_live_ins(runner, live_in));
  TD_TRY(runner->plan ? run_plan(runner, progress) : interpret(runner, progress));
  TD_TRY(read_live_outs(runner, live_out));
  return td_device_sync(runner->device);
}

td_status td_runner_step(struct td_runner *runner, const struct td_step_seq *seqs, int32_t count, bool all_logits,
                         const float *const *live_in, float *const *live_out, td_layer_done done, void *context,
                         const float **out_logits, int64_t *out_logit_count) {
  struct progress progress = {done, context, td_device_now(runner->device)};
  TD_TRY(td_runner_begin_step(runner, seqs, count, all_logits));
  td_status status = run_batch(runner, live_in, live_out, &progress);
  if (status) td_device_sync(runner->device); /* nothing may write into blocks that are about to be freed */
  if (runner->kv) td_kv_step_end(runner->kv, runner->steps, count, status != TD_OK);
  if (status) return status;
  if (out_logits) *out_logits = runner->logits_value >= 0 ? runner->logits : NULL;
  if (out_logit_count) *out_logit_count = runner->batch.logit_count;
  return TD_OK;
}
