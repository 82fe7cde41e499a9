/* SPDX-License-Identifier: Apache-2.0
 *
 * One operator on a device: operands up, the call, the result down.
 */
#include <string.h>

#include "suite.h"

/* A matrix in a buffer of its own, not at the buffer's beginning; contents NULL: left as allocated. */
static td_status upload(struct conform_run *run, struct td_device *device, enum td_dtype dtype, int64_t rows,
                        int64_t cols, const void *contents, struct td_view *out_view) {
  uint64_t row_bytes;
  TD_TRY(td_dtype_row_bytes(dtype, cols, &row_bytes));
  struct td_view view = {.offset = 192, .dtype = dtype, .rows = rows, .cols = cols};
  uint64_t bytes = (uint64_t)rows * row_bytes;
  TD_TRY(conform_buffer(run, device, view.offset + bytes, &view.buffer));
  if (contents) TD_TRY(td_device_write(device, view.buffer, view.offset, contents, bytes));
  *out_view = view;
  return TD_OK;
}

static td_status upload_pool(struct conform_run *run, struct td_device *device, const struct conform_inputs *inputs,
                             const void *contents, struct td_buffer **out_buffer) {
  TD_TRY(conform_buffer(run, device, conform_pool_bytes(inputs), out_buffer));
  return td_device_write(device, *out_buffer, 0, contents, conform_pool_bytes(inputs));
}

/* Everything but the output. */
static td_status upload_all(struct conform_run *run, struct td_device *device, const struct conform_inputs *inputs,
                            struct td_op_call *call) {
  for (int i = 0; i < TD_OP_INPUTS; i++) {
    if (!inputs->in[i]) continue;
    int64_t rows = inputs->batch.rows;
    TD_TRY(upload(run, device, TD_F32, rows, inputs->in_cols[i], inputs->in[i], &call->in[i]));
  }
  if (inputs->weight) {
    TD_TRY(
        upload(run, device, inputs->p.weight, inputs->weight_rows, inputs->weight_cols, inputs->weight, &call->weight));
  }
  if (!inputs->k_pool) return TD_OK;
  call->kv = (struct td_kv_view){.dtype = inputs->p.kv,
                                 .block_tokens = inputs->p.block_tokens,
                                 .kv_heads = inputs->op.kv_heads,
                                 .head_dim = inputs->op.head_dim};
  TD_TRY(upload_pool(run, device, inputs, inputs->k_pool, &call->kv.k));
  return upload_pool(run, device, inputs, inputs->v_pool, &call->kv.v);
}

td_status conform_execute(struct conform_run *run, struct td_device *device, const struct conform_inputs *inputs,
                          float *out) {
  struct td_op_call call = {.op = &inputs->op, .batch = &inputs->batch};
  TD_TRY(upload_all(run, device, inputs, &call));
  if (inputs->p.in_place) {
    call.out = call.in[0];
  } else {
    TD_TRY(upload(run, device, TD_F32, inputs->out_rows, inputs->out_cols, NULL, &call.out));
  }
  TD_TRY(td_device_op(device, &call));
  return td_device_read(device, call.out.buffer, call.out.offset, out,
                        (uint64_t)(inputs->out_rows * inputs->out_cols) * sizeof *out);
}

td_status conform_execute_append(struct conform_run *run, struct td_device *device, const struct conform_inputs *inputs,
                                 void *k_pool, void *v_pool) {
  struct td_op_call call = {.op = &inputs->op, .batch = &inputs->batch};
  TD_TRY(upload_all(run, device, inputs, &call));
  TD_TRY(td_device_op(device, &call));
  TD_TRY(td_device_read(device, call.kv.k, 0, k_pool, conform_pool_bytes(inputs)));
  return td_device_read(device, call.kv.v, 0, v_pool, conform_pool_bytes(inputs));
}
