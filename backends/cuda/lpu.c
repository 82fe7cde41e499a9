/* SPDX-License-Identifier: Apache-2.0
 *
 * LPU_RUN: a step of a lowered LPU program (tandem/lpu_code.h), queued at once: a launch for each of its parts, and
 * nothing comes back before the step is over.
 */
#include "operators.h"
#include "tandem/lpu_code.h"

_Static_assert(sizeof(struct cuda_lpu_state) <= TD_CODE_STATE_BYTES, "the state is in front of the workspace");
_Static_assert(offsetof(struct cuda_lpu_state, call) == offsetof(struct td_lpu_code_state, call) &&
                   offsetof(struct cuda_lpu_state, op) == offsetof(struct td_lpu_code_state, op) &&
                   offsetof(struct cuda_lpu_state, reason) == offsetof(struct td_lpu_code_state, reason),
               "the host reads it as a td_lpu_code_state");

td_status cuda_lpu_run(struct cuda_device *device, const struct td_op_call *call) {
  struct cuda_lpu_run_args args = {.code = cuda_address(&call->weight),
                                   .step = cuda_address(&call->in[0]),
                                   .work = cuda_address(&call->in[1]),
                                   .sram = cuda_address(&call->out)};
  struct cuda_grid grid = cuda_lpu_grid(call->op->k);
  call->in[1].buffer->written = call->out.buffer->written = device->base.submitted;
  CUDA_TRY(device, cuMemsetD8Async(args.work, 0, TD_CODE_STATE_BYTES, device->compute), "clearing an LPU's state");
  for (int64_t part = 0; part < call->op->n; part++) {
    args.part = (int32_t)part;
    TD_TRY(cuda_launch(device, CUDA_KERNEL_LPU_RUN, &grid, &args));
  }
  return TD_OK;
}
