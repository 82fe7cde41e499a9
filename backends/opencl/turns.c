/* SPDX-License-Identifier: Apache-2.0
 *
 * ROPE's cosines and sines. An angle may be a hundred thousand, where float32 has no digits left, and not every device
 * has double: so the host computes them, in double, once per step for each kind of rotation a model has.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "tandem/base.h"
#include "tandem/kernels.h"

static bool fits(const struct opencl_turns *turns, const struct td_op_call *call) {
  const struct td_op *op = call->op;
  const struct td_view *factors = &call->weight;
  if (!turns->used || turns->rope_dim != op->rope_dim) return false;
  if (turns->theta != op->theta || turns->position_scale != op->position_scale) return false;
  if (turns->factors.buffer != factors->buffer) return false;
  return !factors->buffer || (turns->factors.offset == factors->offset && turns->factors.dtype == factors->dtype &&
                              turns->factors_writes == factors->buffer->writes);
}

/* The factors lie on the device; they are read once. */
static td_status multiply_factors(struct opencl_device *device, const struct td_view *view, double *speeds) {
  uint64_t bytes = 0;
  void *memory;
  TD_TRY(td_dtype_row_bytes(view->dtype, view->cols, &bytes));
  TD_TRY(td_alloc(1, bytes + (size_t)view->cols * sizeof(float), &memory));
  float *factors = (float *)memory;
  unsigned char *stored = (unsigned char *)(factors + view->cols);
  cl_int error = OPENCL(EnqueueReadBuffer)(device->queue, view->buffer->memory, CL_TRUE, view->offset, bytes, stored, 0,
                                           NULL, NULL);
  td_status status = error ? opencl_lose(device, "clEnqueueReadBuffer of rope factors", error) : TD_OK;
  if (!status) td_dequantize(view->dtype, stored, factors, view->cols);
  for (int64_t i = 0; i < view->cols && !status; i++) speeds[i] /= (double)factors[i];
  free(memory);
  return status;
}

static td_status prepare(struct opencl_device *device, struct opencl_turns *turns, const struct td_op_call *call) {
  const struct td_op *op = call->op;
  void *speeds;
  TD_TRY(td_alloc((size_t)op->rope_dim / 2, sizeof(double), &speeds));
  free(turns->speeds);
  turns->speeds = speeds;
  turns->used = turns->fresh = false;
  turns->rope_dim = op->rope_dim;
  turns->theta = op->theta;
  turns->position_scale = op->position_scale;
  turns->factors = call->weight;
  for (int32_t i = 0; i < op->rope_dim / 2; i++) {
    turns->speeds[i] = op->position_scale / pow(op->theta, 2.0 * i / op->rope_dim);
  }
  if (call->weight.buffer) {
    turns->factors_writes = call->weight.buffer->writes;
    TD_TRY(multiply_factors(device, &call->weight, turns->speeds));
  }
  turns->used = true;
  return TD_OK;
}

static td_status fill(struct opencl_device *device, struct opencl_turns *turns, const struct td_batch *batch) {
  int64_t half = turns->rope_dim / 2;
  size_t count = (size_t)(batch->rows * half * 2);
  void *image = turns->image;
  td_status status = td_grow(&image, &turns->image_capacity, count, sizeof *turns->image);
  turns->image = image;
  TD_TRY(status);
  for (int64_t i = 0; i < batch->rows * half; i++) {
    int64_t row = i / half;
    double angle = batch->positions[row] * turns->speeds[i % half];
    turns->image[2 * i] = (float)cos(angle);
    turns->image[2 * i + 1] = (float)sin(angle);
  }
  TD_TRY(opencl_scratch(device, &turns->memory, count * sizeof *turns->image));
  TD_TRY(opencl_send(device, turns->memory.memory, 0, turns->image, count * sizeof *turns->image, NULL));
  turns->fresh = true;
  return TD_OK;
}

td_status opencl_turns(struct opencl_device *device, const struct td_op_call *call, cl_mem *out_memory) {
  struct opencl_turns *turns = NULL;
  for (int i = 0; i < OPENCL_TURNS && !turns; i++) {
    if (fits(&device->turns[i], call)) turns = &device->turns[i];
  }
  if (!turns) {
    turns = &device->turns[device->next_turns];
    device->next_turns = (device->next_turns + 1) % OPENCL_TURNS;
    TD_TRY(prepare(device, turns, call));
  }
  TD_TRY(opencl_batch(device, call->batch));
  if (!turns->fresh) TD_TRY(fill(device, turns, call->batch));
  *out_memory = turns->memory.memory;
  return TD_OK;
}

void opencl_drop_turns(struct opencl_device *device) {
  for (int i = 0; i < OPENCL_TURNS; i++) {
    if (device->turns[i].memory.memory) OPENCL(ReleaseMemObject)(device->turns[i].memory.memory);
    free(device->turns[i].speeds);
    free(device->turns[i].image);
  }
}
