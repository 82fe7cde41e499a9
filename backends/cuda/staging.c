/* SPDX-License-Identifier: Apache-2.0
 *
 * Pinned memory between the caller's and the device's: a copy from or to it really is asynchronous, and it lets a write
 * return before the device has read, and a read before the device has written.
 */
#include <stdlib.h>
#include <string.h>

#include "device.h"

#define HALF (CUDA_STAGING / 2)
#define ALIGN 64u

static td_status pinned(struct cuda_device *device, unsigned char **out_base) {
  void *base;
  CUDA_TRY(device, cuMemHostAlloc(&base, CUDA_STAGING, CUDA_HOST_PORTABLE), "%u bytes of pinned host memory",
           CUDA_STAGING);
  *out_base = base;
  return TD_OK;
}

td_status cuda_staging_open(struct cuda_device *device) {
  TD_TRY(pinned(device, &device->upload.base));
  TD_TRY(pinned(device, &device->download.base));
  TD_TRY(pinned(device, &device->export_staging));
  for (int i = 0; i < 2; i++) {
    CUDA_TRY(device, cuEventCreate(&device->upload.copied[i], CUDA_EVENT_DISABLE_TIMING), "creating an event");
  }
  return TD_OK;
}

void cuda_staging_close(struct cuda_device *device) {
  for (int i = 0; i < 2; i++) {
    if (device->upload.copied[i]) device->driver->cuEventDestroy_v2(device->upload.copied[i]);
  }
  if (device->upload.base) device->driver->cuMemFreeHost(device->upload.base);
  if (device->download.base) device->driver->cuMemFreeHost(device->download.base);
  if (device->export_staging) device->driver->cuMemFreeHost(device->export_staging);
  free(device->download.reads);
}

/* ---- up ---- */

/* Goes on in the other half once the copies out of it are done. */
static td_status switch_half(struct cuda_device *device) {
  struct cuda_upload *up = &device->upload;
  CUDA_TRY(device, cuEventRecord(up->copied[up->half], device->compute), "recording an event");
  up->pending[up->half] = true;
  up->half = !up->half;
  up->used = 0;
  if (!up->pending[up->half]) return TD_OK;
  CUDA_TRY(device, cuEventSynchronize(up->copied[up->half]), "waiting for a copy to the device");
  up->pending[up->half] = false;
  return TD_OK;
}

td_status cuda_up(struct cuda_device *device, cuda_ptr to, const void *src, uint64_t bytes) {
  struct cuda_upload *up = &device->upload;
  for (uint64_t done = 0, piece; done < bytes; done += piece) {
    if (up->used >= HALF) TD_TRY(switch_half(device));
    piece = bytes - done < HALF - up->used ? bytes - done : HALF - up->used;
    unsigned char *at = up->base + (uint64_t)up->half * HALF + up->used;
    memcpy(at, (const char *)src + done, (size_t)piece);
    CUDA_TRY(device, cuMemcpyHtoDAsync_v2(to + done, at, (size_t)piece, device->compute),
             "copying %llu bytes to the device", (unsigned long long)bytes);
    up->used += (piece + ALIGN - 1) / ALIGN * ALIGN;
  }
  return TD_OK;
}

/* ---- down ---- */

void cuda_forget_reads(struct cuda_device *device) {
  device->download.first = device->download.count = 0;
  device->download.used = 0;
}

void cuda_deliver(struct cuda_device *device, uint64_t value) {
  struct cuda_download *down = &device->download;
  while (down->first < down->count && down->reads[down->first].value <= value) {
    const struct cuda_read *read = &down->reads[down->first++];
    memcpy(read->to, read->from, (size_t)read->bytes);
  }
  if (down->first == down->count) cuda_forget_reads(device);
}

/* The staging memory is full: everything in it goes to where it belongs. */
static td_status drain(struct cuda_device *device) {
  CUDA_TRY(device, cuStreamSynchronize(device->compute), "waiting for copies from the device");
  cuda_deliver(device, UINT64_MAX);
  return TD_OK;
}

td_status cuda_down(struct cuda_device *device, cuda_ptr from, void *dst, uint64_t bytes, uint64_t value) {
  struct cuda_download *down = &device->download;
  for (uint64_t done = 0, piece; done < bytes; done += piece) {
    if (down->used >= CUDA_STAGING) TD_TRY(drain(device));
    piece = bytes - done < CUDA_STAGING - down->used ? bytes - done : CUDA_STAGING - down->used;
    TD_TRY(td_grow((void **)&down->reads, &down->capacity, down->count + 1, sizeof *down->reads));
    unsigned char *at = down->base + down->used;
    CUDA_TRY(device, cuMemcpyDtoHAsync_v2(at, from + done, (size_t)piece, device->compute),
             "copying %llu bytes from the device", (unsigned long long)bytes);
    down->reads[down->count++] = (struct cuda_read){(char *)dst + done, at, piece, value};
    down->used += (piece + ALIGN - 1) / ALIGN * ALIGN;
  }
  return TD_OK;
}
