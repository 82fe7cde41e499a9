/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend's two tables: opening a chip's primary context with two streams, and the entries that are a line or
 * two each.
 */
#include "device.h"

#include <stdlib.h>

#include "blas.h"
#include "ceiling.h"
#include "nvml.h"

static td_status dev_alloc(struct td_device *base, uint64_t bytes, enum td_buffer_use use,
                           struct td_buffer **out_buffer) {
  static const char *const uses[] = {
      [TD_USE_WEIGHT] = "weights", [TD_USE_KV] = "KV", [TD_USE_ACTIVATION] = "activations"};
  struct cuda_device *device = cuda_of(base);
  TD_TRY(cuda_enter(device));
  struct td_buffer *buffer;
  TD_TRY(td_alloc(1, sizeof *buffer, (void **)&buffer));
  td_status status = cuda_alloc(device, bytes, uses[use], &buffer->address);
  if (!status) {
    status = cuda_check(device, device->driver->cuMemsetD8Async(buffer->address, 0, (size_t)bytes, device->compute),
                        "zeroing %llu bytes", (unsigned long long)bytes);
    if (status) cuda_release(device, buffer->address);
  }
  if (status) {
    free(buffer);
    return status;
  }
  buffer->bytes = bytes;
  *out_buffer = buffer;
  return TD_OK;
}

static void dev_free(struct td_device *base, struct td_buffer *buffer) {
  struct cuda_device *device = cuda_of(base);
  cuda_enter_to_free(device);
  cuda_blas_forget(device, buffer);
  cuda_release(device, buffer->address);
  free(buffer);
}

static td_status dev_write(struct td_device *base, struct td_buffer *buffer, uint64_t offset, const void *src,
                           uint64_t bytes) {
  struct cuda_device *device = cuda_of(base);
  TD_TRY(cuda_enter(device));
  buffer->written = base->submitted;
  cuda_blas_forget(device, buffer);
  return cuda_up(device, buffer->address + offset, src, bytes);
}

static td_status dev_read(struct td_device *base, struct td_buffer *buffer, uint64_t offset, void *dst,
                          uint64_t bytes) {
  struct cuda_device *device = cuda_of(base);
  TD_TRY(cuda_enter(device));
  return cuda_down(device, buffer->address + offset, dst, bytes, base->submitted);
}

static td_status dev_sync(struct td_device *base, uint64_t value) {
  struct cuda_device *device = cuda_of(base);
  TD_TRY(cuda_enter(device));
  return cuda_wait(device, value);
}

/* A lost context refuses most of this; what is the host's is freed all the same. */
static void close_parts(struct cuda_device *device) {
  const struct cuda_driver *driver = device->driver;
  cuda_enter_to_free(device);
  if (device->compute) driver->cuStreamSynchronize(device->compute);
  cuda_blas_close(device);
  cuda_batch_close(device);
  cuda_release(device, device->scratch);
  cuda_modules_close(device);
  cuda_staging_close(device);
  cuda_timeline_close(device);
  if (device->copy) driver->cuStreamDestroy_v2(device->copy);
  if (device->compute) driver->cuStreamDestroy_v2(device->compute);
  driver->cuCtxSetCurrent(NULL);
  driver->cuDevicePrimaryCtxRelease_v2(device->chip->device);
}

static void dev_close(struct td_device *base) {
  if (cuda_of(base)->context) close_parts(cuda_of(base));
  free(base);
}

static const struct td_device_table table = {
    .size = sizeof table,
    .close = dev_close,
    .alloc = dev_alloc,
    .free = dev_free,
    .write = dev_write,
    .read = dev_read,
    .op = cuda_op,
    .sync = dev_sync,
    .supports = cuda_supports,
    .plan = cuda_plan_make,
    .run = cuda_plan_run,
    .plan_free = cuda_plan_free,
    .kv_export = cuda_kv_export,
    .kv_import = cuda_kv_import,
    .energy = cuda_energy,
    .ceiling = cuda_ceiling,
};

static td_status open_parts(struct cuda_device *device, const struct td_device_options *options) {
  CUDA_TRY(device, cuDevicePrimaryCtxRetain(&device->context, device->chip->device), "opening its context");
  TD_TRY(cuda_enter(device));
  CUDA_TRY(device, cuStreamCreate(&device->compute, CUDA_STREAM_NON_BLOCKING), "creating a stream");
  CUDA_TRY(device, cuStreamCreate(&device->copy, CUDA_STREAM_NON_BLOCKING), "creating a stream");
  TD_TRY(cuda_timeline_open(device));
  TD_TRY(cuda_staging_open(device));
  return options->inexact ? cuda_blas_open(device) : TD_OK;
}

static td_status cuda_open(int32_t index, const struct td_device_options *options, struct td_device **out_device) {
  const struct cuda_system *system = cuda_system_get();
  if (index < 0 || index >= system->count) {
    return td_fail(TD_UNAVAILABLE, "found %d devices, expected one with number %d", (int)system->count, (int)index);
  }
  struct cuda_device *device;
  TD_TRY(td_alloc(1, sizeof *device, (void **)&device));
  device->base.table = &table;
  device->driver = &system->driver;
  device->chip = &system->chips[index];
  device->number = index;
  td_status status = open_parts(device, options);
  if (status) {
    dev_close(&device->base);
    return status;
  }
  *out_device = &device->base;
  return TD_OK;
}

static int32_t cuda_probe(const char **out_reason) {
  const struct cuda_system *system = cuda_system_get();
  *out_reason = system->reason;
  return system->count;
}

static const char *cuda_device_name(int32_t index) {
  const struct cuda_system *system = cuda_system_get();
  return index >= 0 && index < system->count ? system->chips[index].name : NULL;
}

const struct td_backend td_backend_cuda = {
    .size = sizeof(struct td_backend),
    .name = "cuda",
    .summary = "NVIDIA GPUs: own exact kernels, captured graphs; cuBLASLt where exact = false",
    .executes = true,
    .exact = true,
    .probe = cuda_probe,
    .open = cuda_open,
    .device_name = cuda_device_name,
    .numbered = true,
};
