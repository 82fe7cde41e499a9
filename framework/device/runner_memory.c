/* SPDX-License-Identifier: Apache-2.0
 *
 * What a runner keeps on the device: weights, each tensor once, and one buffer in which values share bytes when they
 * never live at the same time.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runner_private.h"
#include "tandem/base.h"
#include "tandem/devices.h"

#define VALUE_ALIGNMENT 64u

/* ---- weights ---- */

/* The first weight of this name that is already on the device; a tied output matrix is the embedding. */
static const struct td_view *loaded_before(const struct td_runner *runner, int32_t weight) {
  const struct td_weight *weights = runner->graph->weights;
  for (int32_t i = 0; i < runner->graph->weight_count; i++) {
    if (i != weight && runner->weights[i].buffer && strcmp(weights[i].name, weights[weight].name) == 0) {
      return &runner->weights[i];
    }
  }
  return NULL;
}

static td_status find_tensor(const struct td_runner *runner, const struct td_weight *weight,
                             const struct td_tensor **out_tensor) {
  const char *path = td_model_path(runner->model);
  const struct td_tensor *tensor = td_model_tensor(runner->model, weight->name);
  if (!tensor || !tensor->data) return td_fail(TD_CORRUPT, "%s: tensor %s: not found", path, weight->name);
  if (tensor->dtype != weight->dtype || tensor->rows != weight->rows || tensor->cols != weight->cols) {
    return td_fail(TD_CORRUPT,
                   "%s: tensor %s: found %" PRId64 " x %" PRId64 " of type %d, expected %" PRId64 " x %" PRId64
                   " of type %d",
                   path, weight->name, tensor->rows, tensor->cols, (int)tensor->dtype, weight->rows, weight->cols,
                   (int)weight->dtype);
  }
  *out_tensor = tensor;
  return TD_OK;
}

static td_status load_weight(struct td_runner *runner, int32_t index) {
  const struct td_weight *weight = &runner->graph->weights[index];
  struct td_view *view = &runner->weights[index];
  if (view->buffer) return TD_OK;
  const struct td_view *before = loaded_before(runner, index);
  if (before) {
    *view = *before;
    return TD_OK;
  }
  const struct td_tensor *tensor = NULL;
  TD_TRY(find_tensor(runner, weight, &tensor));
  struct td_view loaded = {.dtype = weight->dtype, .rows = weight->rows, .cols = weight->cols};
  td_status status = td_device_alloc(runner->device, tensor->bytes, TD_USE_WEIGHT, &loaded.buffer);
  if (status) {
    return td_fail_within(status, "weight %s (%" PRIu64 " of %" PRIu64 " bytes of weights)", weight->name,
                          tensor->bytes, td_runner_weight_bytes(runner));
  }
  *view = loaded;
  return td_device_write(runner->device, loaded.buffer, 0, tensor->data, tensor->bytes);
}

td_status td_runner_load_weights(struct td_runner *runner) {
  for (int32_t i = 0; i < runner->ops.op_count; i++) {
    int32_t weight = runner->graph->ops[runner->ops.ops[i]].weight;
    if (weight >= 0) TD_TRY(load_weight(runner, weight));
  }
  return TD_OK;
}

/* Is this the slice's first use of a weight of this name? */
static bool first_use(const struct td_runner *runner, int32_t position) {
  const struct td_graph *graph = runner->graph;
  const char *name = graph->weights[graph->ops[runner->ops.ops[position]].weight].name;
  for (int32_t i = 0; i < position; i++) {
    int32_t weight = graph->ops[runner->ops.ops[i]].weight;
    if (weight >= 0 && strcmp(graph->weights[weight].name, name) == 0) return false;
  }
  return true;
}

uint64_t td_runner_weight_bytes(const struct td_runner *runner) {
  uint64_t bytes = 0;
  for (int32_t i = 0; i < runner->ops.op_count; i++) {
    int32_t weight = runner->graph->ops[runner->ops.ops[i]].weight;
    if (weight < 0 || !first_use(runner, i)) continue;
    const struct td_tensor *tensor = td_model_tensor(runner->model, runner->graph->weights[weight].name);
    if (tensor) bytes += tensor->bytes;
  }
  return bytes;
}

/* ---- activations ---- */

/* A value's life in operators of the slice, and its place in the buffer. */
struct life {
  int32_t value, first, last;
  uint64_t offset, bytes;
};

static td_status value_bytes(const struct td_runner *runner, int32_t value, uint64_t *out_bytes) {
  const struct td_value *v = &runner->graph->values[value];
  int64_t rows = td_value_rows(v, runner->options.max_rows, runner->options.max_logits);
  uint64_t elements, bytes;
  if (!td_mul_size((uint64_t)rows, (uint64_t)v->cols, &elements) || !td_mul_size(elements, sizeof(float), &bytes) ||
      !td_add_size(bytes, VALUE_ALIGNMENT - 1, &bytes)) {
    return td_fail(TD_EXHAUSTED, "value %s: %" PRId64 " rows of %" PRId64 " do not fit any memory", v->name, rows,
                   v->cols);
  }
  *out_bytes = bytes / VALUE_ALIGNMENT * VALUE_ALIGNMENT;
  return TD_OK;
}

static void use(struct life *lives, int32_t value, int32_t at) {
  if (value < 0) return;
  struct life *life = &lives[value];
  if (life->value < 0) *life = (struct life){.value = value, .first = at};
  life->last = at;
}

/* Live-ins exist before the first operator, live-outs until after the last. */
static void find_lives(const struct td_runner *runner, struct life *lives) {
  const struct td_slice_ops *ops = &runner->ops;
  for (int32_t i = 0; i < runner->graph->value_count; i++) lives[i].value = -1;
  for (int32_t i = 0; i < ops->live_in_count; i++) use(lives, ops->live_in[i], -1);
  for (int32_t i = 0; i < ops->op_count; i++) {
    const struct td_op *op = &runner->graph->ops[ops->ops[i]];
    for (int j = 0; j < TD_OP_INPUTS; j++) use(lives, op->in[j], i);
    use(lives, op->out, i);
  }
  for (int32_t i = 0; i < ops->live_out_count; i++) use(lives, ops->live_out[i], ops->op_count);
}

/* The lowest offset at which `life` meets none of the placed lives that overlap it in time. */
static uint64_t find_place(const struct life *placed, int32_t count, const struct life *life) {
  uint64_t offset = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (int32_t i = 0; i < count; i++) {
      const struct life *other = &placed[i];
      if (other->last < life->first || other->first > life->last) continue;
      if (offset >= other->offset + other->bytes || other->offset >= offset + life->bytes) continue;
      offset = other->offset + other->bytes;
      moved = true;
    }
  }
  return offset;
}

static int by_birth(const void *a, const void *b) {
  const struct life *x = a, *y = b;
  if (x->first != y->first) return x->first < y->first ? -1 : 1;
  return x->value < y->value ? -1 : x->value > y->value;
}

/* Drops the values that are not of the slice and orders the rest by birth. */
static int32_t sort_lives(struct life *lives, int32_t count) {
  int32_t kept = 0;
  for (int32_t i = 0; i < count; i++) {
    if (lives[i].value >= 0) lives[kept++] = lives[i];
  }
  qsort(lives, (size_t)kept, sizeof *lives, by_birth);
  return kept;
}

static td_status place(struct td_runner *runner, struct life *lives) {
  find_lives(runner, lives);
  int32_t count = sort_lives(lives, runner->graph->value_count), oldest = 0;
  uint64_t bytes = VALUE_ALIGNMENT;
  for (int32_t i = 0; i < count; i++) {
    TD_TRY(value_bytes(runner, lives[i].value, &lives[i].bytes));
    while (oldest < i && lives[oldest].last < lives[i].first) oldest++; /* the dead at the front need no look */
    lives[i].offset = find_place(lives + oldest, i - oldest, &lives[i]);
    if (lives[i].offset + lives[i].bytes > bytes) bytes = lives[i].offset + lives[i].bytes;
  }
  TD_TRY(td_runner_check_memory(runner, bytes));
  td_status status = td_device_alloc(runner->device, bytes, TD_USE_ACTIVATION, &runner->activation);
  if (status) return td_fail_within(status, "activations of %" PRId64 " rows", runner->options.max_rows);
  for (int32_t i = 0; i < count; i++) {
    runner->values[lives[i].value] = (struct td_view){.buffer = runner->activation,
                                                      .offset = lives[i].offset,
                                                      .dtype = TD_F32,
                                                      .cols = runner->graph->values[lives[i].value].cols};
  }
  return TD_OK;
}

td_status td_runner_place_values(struct td_runner *runner) {
  void *lives;
  TD_TRY(td_alloc((size_t)runner->graph->value_count, sizeof(struct life), &lives));
  td_status status = place(runner, lives);
  free(lives);
  return status;
}

/* ---- all of it ---- */

td_status td_runner_check_memory(const struct td_runner *runner, uint64_t activation_bytes) {
  const struct td_device_params *params = runner->device->params;
  if (!params || !params->memory_bytes.present) return TD_OK;
  int32_t begin, end;
  td_slice_kv_layers(runner->graph, &runner->slice, &begin, &end);
  double weights = (double)td_runner_weight_bytes(runner), activations = (double)activation_bytes;
  double tokens = (double)runner->options.kv_blocks * runner->options.block_tokens;
  double kv = (double)td_kv_bytes(&runner->graph->shape, runner->options.kv_dtype, end - begin, 1) * tokens;
  if (weights + kv + activations <= params->memory_bytes.value) return TD_OK;
  return td_fail(TD_EXHAUSTED, "%s: weights %.0f + KV %.0f + activations %.0f = %.0f bytes, found %.0f on %s",
                 td_device_label(runner->device).text, weights, kv, activations, weights + kv + activations,
                 params->memory_bytes.value, params->name);
}

void td_runner_free_memory(struct td_runner *runner) {
  td_device_free(runner->device, runner->activation);
  for (int32_t i = 0; runner->weights && i < runner->graph->weight_count; i++) {
    struct td_buffer *buffer = runner->weights[i].buffer;
    for (int32_t j = i; buffer && j < runner->graph->weight_count; j++) {
      if (runner->weights[j].buffer == buffer) runner->weights[j].buffer = NULL;
    }
    td_device_free(runner->device, buffer);
  }
}
