/* SPDX-License-Identifier: Apache-2.0
 *
 * LPU_RUN: a kernel that interprets lowered LPU programs, once per part of a step (tandem/lpu_code.h).
 */
#include "device.h"
#include "tandem/lpu_code.h"

td_status opencl_lpu_supports(const struct opencl_device *device) {
  cl_device_fp_config single = 0, wide = 0;
  const cl_device_fp_config need = CL_FP_DENORM | CL_FP_ROUND_TO_NEAREST | CL_FP_INF_NAN;
  OPENCL(GetDeviceInfo)(device->id, CL_DEVICE_SINGLE_FP_CONFIG, sizeof single, &single, NULL);
  OPENCL(GetDeviceInfo)(device->id, CL_DEVICE_DOUBLE_FP_CONFIG, sizeof wide, &wide, NULL);
  if ((single & need) == need && (wide & need) == need) return TD_OK;
  return td_fail(TD_UNSUPPORTED,
                 "OpenCL device '%s': found float arithmetic 0x%llx and double 0x%llx, expected both with subnormals, "
                 "rounding to nearest, infinities and NaNs (0x%llx): an LPU is not emulated to the bit without",
                 device->found->name, (unsigned long long)single, (unsigned long long)wide, (unsigned long long)need);
}

td_status opencl_lpu_run(struct opencl_device *device, const struct td_op_call *call) {
  const struct td_lpu_code_state fine = {0, 0, TD_CODE_FINE};
  size_t items = device->cpu_form ? 1 : OPENCL_LPU_GROUP;
  cl_event event = NULL;
  TD_TRY(opencl_send(device, call->in[1].buffer->memory, call->in[1].offset, &fine, sizeof fine,
                     call->op->n ? NULL : &event));
  if (!call->op->n) return opencl_mark(device, event);
  for (int64_t part = 0; part < call->op->n; part++) {
    struct opencl_call run;
    TD_TRY(opencl_begin(device, OPENCL_LPU_RUN, TD_F32, &run));
    opencl_view(&run, &call->weight);
    opencl_view(&run, &call->in[0]);
    opencl_view(&run, &call->in[1]);
    opencl_view(&run, &call->out);
    opencl_int(&run, part);
    TD_TRY(opencl_launch(&run, (size_t[3]){(size_t)call->op->k * items, 1, 1}, (size_t[3]){items, 1, 1},
                         part + 1 == call->op->n));
  }
  return TD_OK;
}
