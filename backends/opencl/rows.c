/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators that go along rows: norms, rotations, sums, activations, routing, selection.
 */
#include "device.h"
#include "tandem/base.h"

td_status opencl_rms_norm(struct opencl_device *device, const struct td_op_call *call) {
  const struct td_op *op = call->op;
  struct opencl_call run;
  cl_mem weight;
  uint64_t weight_at;
  TD_TRY(opencl_float_row(device, &call->weight, &weight, &weight_at));
  TD_TRY(opencl_begin(device, OPENCL_RMS_NORM, TD_F32, &run));
  opencl_view(&run, &call->in[0]);
  opencl_memory(&run, weight, weight_at);
  opencl_view(&run, &call->out);
  opencl_int(&run, op->n / op->groups);
  opencl_float(&run, op->epsilon);
  return opencl_launch_rows(&run, call->out.rows * op->groups, 1, true);
}

td_status opencl_rope(struct opencl_device *device, const struct td_op_call *call) {
  const struct td_op *op = call->op;
  struct opencl_call run;
  cl_mem turns;
  TD_TRY(opencl_turns(device, call, &turns));
  TD_TRY(opencl_begin(device, OPENCL_ROPE, TD_F32, &run));
  opencl_view(&run, &call->in[0]);
  opencl_memory(&run, turns, 0);
  opencl_view(&run, &call->out);
  opencl_int(&run, op->heads);
  opencl_int(&run, op->head_dim);
  opencl_int(&run, op->rope_dim);
  opencl_int(&run, op->rope_pairs == TD_ROPE_HALVES);
  return opencl_launch_rows(&run, op->heads, call->out.rows, true);
}

static td_status add_bias(struct opencl_device *device, const struct td_op_call *call) {
  struct opencl_call run;
  cl_mem weight;
  uint64_t weight_at;
  TD_TRY(opencl_float_row(device, &call->weight, &weight, &weight_at));
  TD_TRY(opencl_begin(device, OPENCL_BIAS, TD_F32, &run));
  opencl_view(&run, &call->in[0]);
  opencl_memory(&run, weight, weight_at);
  opencl_view(&run, &call->out);
  opencl_int(&run, call->op->n);
  return opencl_launch_rows(&run, call->out.rows, 1, true);
}

td_status opencl_add(struct opencl_device *device, const struct td_op_call *call) {
  int64_t count = call->out.rows * call->out.cols;
  struct opencl_call run;
  if (!call->in[1].buffer) return add_bias(device, call);
  TD_TRY(opencl_begin(device, OPENCL_ADD, TD_F32, &run));
  opencl_view(&run, &call->in[0]);
  opencl_view(&run, &call->in[1]);
  opencl_view(&run, &call->out);
  opencl_long(&run, count);
  return opencl_launch_dense(&run, count);
}

td_status opencl_activation(struct opencl_device *device, const struct td_op_call *call) {
  int64_t count = call->out.rows * call->out.cols;
  struct opencl_call run;
  TD_TRY(opencl_begin(device, OPENCL_ACTIVATE, TD_F32, &run));
  opencl_view(&run, &call->in[0]);
  opencl_view(&run, &call->in[1]);
  opencl_view(&run, &call->out);
  opencl_long(&run, count);
  opencl_int(&run, call->op->activation);
  return opencl_launch_dense(&run, count);
}

td_status opencl_select(struct opencl_device *device, const struct td_op_call *call) {
  struct opencl_call run;
  TD_TRY(opencl_batch(device, call->batch));
  TD_TRY(opencl_begin(device, OPENCL_SELECT, TD_F32, &run));
  opencl_view(&run, &call->in[0]);
  opencl_memory(&run, device->batch.memory.memory, device->batch.logit_rows);
  opencl_view(&run, &call->out);
  opencl_int(&run, call->op->n);
  return opencl_launch_rows(&run, call->out.rows, 1, true);
}

td_status opencl_route(struct opencl_device *device, const struct td_op_call *call) {
  struct opencl_call run;
  TD_TRY(opencl_begin(device, OPENCL_ROUTE, TD_F32, &run));
  opencl_view(&run, &call->in[0]);
  opencl_view(&run, &call->out);
  opencl_int(&run, call->op->experts);
  opencl_int(&run, call->op->experts_used);
  return opencl_launch(&run, (size_t[3]){(size_t)call->out.rows, 1, 1}, (size_t[3]){1, 1, 1}, true);
}

td_status opencl_expert_sum(struct opencl_device *device, const struct td_op_call *call) {
  struct opencl_call run;
  TD_TRY(opencl_begin(device, OPENCL_EXPERT_SUM, TD_F32, &run));
  opencl_view(&run, &call->in[0]);
  opencl_view(&run, &call->in[1]);
  opencl_view(&run, &call->out);
  opencl_int(&run, call->op->n);
  opencl_int(&run, call->op->experts_used);
  return opencl_launch_rows(&run, call->out.rows, 1, true);
}
