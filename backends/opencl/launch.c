/* SPDX-License-Identifier: Apache-2.0
 *
 * Setting a kernel's arguments and sending it off.
 */
#include "device.h"
#include "tandem/base.h"

td_status opencl_begin(struct opencl_device *device, enum opencl_kernel which, enum td_dtype dtype,
                       struct opencl_call *out_call) {
  *out_call = (struct opencl_call){.device = device, .name = opencl_kernel_name(which)};
  return opencl_kernel(device, which, dtype, &out_call->kernel);
}

static void set(struct opencl_call *call, const void *value, size_t bytes) {
  cl_int error = OPENCL(SetKernelArg)(call->kernel, call->next++, bytes, value);
  if (!call->error) call->error = error;
}

void opencl_memory(struct opencl_call *call, cl_mem memory, uint64_t offset) {
  cl_ulong at = offset;
  set(call, &memory, sizeof memory);
  set(call, &at, sizeof at);
}

void opencl_view(struct opencl_call *call, const struct td_view *view) {
  opencl_memory(call, view->buffer->memory, view->offset);
}

void opencl_int(struct opencl_call *call, int64_t value) {
  cl_int small = (cl_int)value;
  if (small != value && !call->error) call->error = CL_INVALID_ARG_VALUE;
  set(call, &small, sizeof small);
}

void opencl_long(struct opencl_call *call, int64_t value) {
  cl_long wide = value;
  set(call, &wide, sizeof wide);
}

void opencl_float(struct opencl_call *call, double value) {
  cl_float rounded = (cl_float)value;
  set(call, &rounded, sizeof rounded);
}

td_status opencl_launch(struct opencl_call *call, const size_t global[3], const size_t local[3], bool last) {
  cl_event event = NULL;
  cl_int error = call->error;
  if (!error) {
    error = OPENCL(EnqueueNDRangeKernel)(call->device->queue, call->kernel, 3, NULL, global, local, 0, NULL,
                                         last ? &event : NULL);
  }
  OPENCL_TRY(call->device, call->name, error);
  return last ? opencl_mark(call->device, event) : TD_OK;
}

td_status opencl_launch_rows(struct opencl_call *call, int64_t y, int64_t z, bool last) {
  size_t lanes = call->device->cpu_form ? 1 : OPENCL_GROUP;
  return opencl_launch(call, (size_t[3]){lanes, (size_t)y, (size_t)z}, (size_t[3]){lanes, 1, 1}, last);
}

td_status opencl_launch_dense(struct opencl_call *call, int64_t count) {
  size_t lanes = call->device->cpu_form ? 1 : OPENCL_GROUP,
         share = call->device->cpu_form ? OPENCL_SHARE : OPENCL_GROUP;
  size_t groups = ((size_t)count + share - 1) / share;
  return opencl_launch(call, (size_t[3]){groups * lanes, 1, 1}, (size_t[3]){lanes, 1, 1}, true);
}
