/* SPDX-License-Identifier: Apache-2.0
 *
 * Appending to the paged cache and attending over it.
 */
#include "device.h"
#include "tandem/base.h"

static void pools(struct opencl_call *run, const struct td_kv_view *kv) {
  opencl_memory(run, kv->k->memory, 0);
  opencl_memory(run, kv->v->memory, 0);
}

static void places(struct opencl_call *run, const struct opencl_batch *batch) {
  opencl_memory(run, batch->memory.memory, batch->positions);
  opencl_memory(run, batch->memory.memory, batch->tables);
  opencl_memory(run, batch->memory.memory, batch->blocks);
}

td_status opencl_kv_append(struct opencl_device *device, const struct td_op_call *call) {
  const struct td_kv_view *kv = &call->kv;
  struct opencl_call run;
  TD_TRY(opencl_batch(device, call->batch));
  TD_TRY(opencl_begin(device, OPENCL_APPEND, kv->dtype, &run));
  opencl_view(&run, &call->in[0]);
  opencl_view(&run, &call->in[1]);
  pools(&run, kv);
  places(&run, &device->batch);
  opencl_int(&run, (int64_t)kv->kv_heads * kv->head_dim);
  opencl_int(&run, kv->block_tokens);
  kv->k->appended = kv->v->appended = device->base.submitted;
  return opencl_launch_rows(&run, 2, call->in[0].rows, true);
}

td_status opencl_attention(struct opencl_device *device, const struct td_op_call *call) {
  const struct td_op *op = call->op;
  struct opencl_call run;
  TD_TRY(opencl_batch(device, call->batch));
  TD_TRY(opencl_begin(device, OPENCL_ATTENTION, call->kv.dtype, &run));
  opencl_view(&run, &call->in[0]);
  pools(&run, &call->kv);
  opencl_view(&run, &call->out);
  if (device->cpu_form) opencl_memory(&run, device->batch.memory.memory, device->batch.tiles);
  places(&run, &device->batch);
  opencl_int(&run, op->heads);
  opencl_int(&run, op->kv_heads);
  opencl_int(&run, op->head_dim);
  opencl_int(&run, call->kv.block_tokens);
  opencl_int(&run, op->window);
  opencl_float(&run, op->scale);
  return opencl_launch_rows(&run, op->heads, device->cpu_form ? device->batch.tile_count : call->out.rows, true);
}
