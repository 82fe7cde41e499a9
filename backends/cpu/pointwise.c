/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators without a sum over tokens or positions: each output row from the same row of the inputs.
 */
#include <string.h>

#include "rows.h"
#include "tandem/kernels.h"

static void embed_row(const struct cpu_rows *rows, int64_t row) {
  const struct td_op_call *call = rows->call;
  const struct td_view *weight = &call->weight;
  const struct td_dtype_info *info = td_dtype_info((uint32_t)weight->dtype);
  uint64_t bytes = (uint64_t)(weight->cols / info->block_elements) * (uint64_t)info->block_bytes;
  float *out = cpu_row(&call->out, row);
  td_dequantize(weight->dtype, weight->buffer->data + weight->offset + (uint64_t)call->batch->ids[row] * bytes, out,
                weight->cols);
  if (call->op->scale == 1.0) return;
  for (int64_t i = 0; i < weight->cols; i++) out[i] = (float)((double)out[i] * call->op->scale);
}

td_status cpu_embed(struct cpu_device *device, const struct td_op_call *call) {
  struct cpu_rows rows = {.call = call, .work = embed_row};
  cpu_rows_run(device, &rows, call->out.cols);
  return TD_OK;
}

/* A weight of one row, as float32 in scratch memory. */
static td_status fetch(struct cpu_device *device, const struct td_view *weight, const float **out_values) {
  TD_TRY(cpu_scratch(device, weight->cols));
  float *values = cpu_scratch_of(device, 0);
  td_dequantize(weight->dtype, weight->buffer->data + weight->offset, values, weight->cols);
  *out_values = values;
  return TD_OK;
}

static void norm_row(const struct cpu_rows *rows, int64_t row) {
  const struct td_op *op = rows->call->op;
  const float *in = cpu_row(&rows->call->in[0], row);
  float *out = cpu_row(&rows->call->out, row);
  int64_t part = op->n / op->groups;
  for (int64_t at = 0; at < op->n; at += part) {
    rows->kernels->norm(in + at, rows->table, part, (float)op->epsilon, out + at);
  }
}

td_status cpu_rms_norm(struct cpu_device *device, const struct td_op_call *call) {
  struct cpu_rows rows = {.call = call, .work = norm_row};
  TD_TRY(fetch(device, &call->weight, &rows.table));
  cpu_rows_run(device, &rows, call->out.cols);
  return TD_OK;
}

static void silu_row(const struct cpu_rows *rows, int64_t row) {
  const struct td_op_call *call = rows->call;
  rows->kernels->silu_mul(cpu_row(&call->in[0], row), cpu_row(&call->in[1], row), call->op->n,
                          cpu_row(&call->out, row));
}

static void gelu_row(const struct cpu_rows *rows, int64_t row) {
  const struct td_op_call *call = rows->call;
  rows->kernels->gelu_mul(cpu_row(&call->in[0], row), cpu_row(&call->in[1], row), call->op->n,
                          cpu_row(&call->out, row));
}

td_status cpu_activation(struct cpu_device *device, const struct td_op_call *call) {
  struct cpu_rows rows = {.call = call};
  if (call->op->activation == TD_ACT_SILU) rows.work = silu_row;
  if (call->op->activation == TD_ACT_GELU) rows.work = gelu_row;
  if (!rows.work) return td_fail(TD_UNSUPPORTED, "cpu: activation %d is priced only", (int)call->op->activation);
  cpu_rows_run(device, &rows, call->out.cols);
  return TD_OK;
}

static void add_row(const struct cpu_rows *rows, int64_t row) {
  const struct td_op_call *call = rows->call;
  const float *a = cpu_row(&call->in[0], row), *b = rows->table ? rows->table : cpu_row(&call->in[1], row);
  float *out = cpu_row(&call->out, row);
  for (int64_t i = 0; i < call->op->n; i++) out[i] = a[i] + b[i];
}

td_status cpu_add(struct cpu_device *device, const struct td_op_call *call) {
  struct cpu_rows rows = {.call = call, .work = add_row};
  if (!call->in[1].buffer) TD_TRY(fetch(device, &call->weight, &rows.table));
  cpu_rows_run(device, &rows, call->out.cols);
  return TD_OK;
}

td_status cpu_select(struct cpu_device *device, const struct td_op_call *call) {
  (void)device;
  for (int64_t i = 0; i < call->batch->logit_count; i++) {
    memcpy(cpu_row(&call->out, i), cpu_row(&call->in[0], call->batch->logit_rows[i]),
           (size_t)call->op->n * sizeof(float));
  }
  return TD_OK;
}
