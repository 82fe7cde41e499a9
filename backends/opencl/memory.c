/* SPDX-License-Identifier: Apache-2.0
 *
 * Buffers. OpenCL allocates when memory is first touched, so every buffer is filled at once: what does not fit is known
 * here and not in the middle of a step.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "tandem/base.h"

#define ALIGNMENT 64u
/* Writes up to this size are copied and sent later; larger ones wait for the queue. */
#define STAGED_WRITE (UINT64_C(1) << 20)
#define STAGED_MOST (UINT64_C(32) << 20)

static td_status check_room(const struct opencl_device *device, uint64_t bytes) {
  if (bytes > device->largest) {
    return td_fail(TD_EXHAUSTED,
                   "'%s': asked for a buffer of %" PRIu64 " bytes, found at most %" PRIu64
                   " in one (CL_DEVICE_MAX_MEM_ALLOC_SIZE)",
                   device->found->name, bytes, device->largest);
  }
  if (device->used <= device->memory && bytes <= device->memory - device->used) return TD_OK;
  return td_fail(TD_EXHAUSTED, "'%s': asked for %" PRIu64 " bytes, found %" PRIu64 " free of %" PRIu64,
                 device->found->name, bytes, device->used < device->memory ? device->memory - device->used : 0,
                 device->memory);
}

static bool out_of_memory(cl_int error) {
  return error == CL_MEM_OBJECT_ALLOCATION_FAILURE || error == CL_OUT_OF_RESOURCES || error == CL_OUT_OF_HOST_MEMORY ||
         error == CL_INVALID_BUFFER_SIZE;
}

static cl_int fill(struct opencl_device *device, cl_mem memory, uint64_t bytes) {
  static const unsigned char zeros[16];
  cl_event event;
  cl_int status = CL_COMPLETE;
  cl_int error = OPENCL(EnqueueFillBuffer)(device->queue, memory, zeros, sizeof zeros, 0, bytes, 0, NULL, &event);
  if (error) return error;
  error = OPENCL(WaitForEvents)(1, &event);
  OPENCL(GetEventInfo)(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL);
  OPENCL(ReleaseEvent)(event);
  return status < 0 ? status : error;
}

/* Zeroed. */
static td_status take(struct opencl_device *device, uint64_t bytes, cl_mem *out_memory) {
  TD_TRY(check_room(device, bytes));
  uint64_t whole = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  TD_TRY(opencl_host_room(device, whole));
  cl_int error = CL_SUCCESS;
  cl_mem memory = OPENCL(CreateBuffer)(device->context, CL_MEM_READ_WRITE, whole, NULL, &error);
  if (!error) {
    error = fill(device, memory, whole);
    if (error) OPENCL(ReleaseMemObject)(memory);
  }
  if (out_of_memory(error)) {
    return td_fail(TD_EXHAUSTED, "'%s': asked for %" PRIu64 " bytes: %s (%" PRIu64 " of %" PRIu64 " bytes are in use)",
                   device->found->name, bytes, opencl_error(error), device->used, device->memory);
  }
  if (error) return opencl_lose(device, "a buffer", error);
  *out_memory = memory;
  return TD_OK;
}

td_status opencl_alloc(struct td_device *base, uint64_t bytes, enum td_buffer_use use, struct td_buffer **out) {
  struct opencl_device *device = opencl_of(base);
  void *memory;
  (void)use;
  TD_TRY(opencl_alive(device));
  TD_TRY(td_alloc(1, sizeof(struct td_buffer), &memory));
  struct td_buffer *buffer = memory;
  td_status status = take(device, bytes, &buffer->memory);
  if (status) {
    free(buffer);
    return status;
  }
  buffer->bytes = bytes;
  device->used += bytes;
  *out = buffer;
  return TD_OK;
}

/* A buffer's address may come again for another one: what was made from it is forgotten. */
static void forget(struct opencl_device *device, const struct td_buffer *buffer) {
  for (int i = 0; i < OPENCL_TURNS; i++) {
    if (device->turns[i].factors.buffer == buffer) device->turns[i].used = false;
  }
}

void opencl_free(struct td_device *base, struct td_buffer *buffer) {
  struct opencl_device *device = opencl_of(base);
  forget(device, buffer);
  OPENCL(ReleaseMemObject)(buffer->memory); /* lives on until the queue is done with it */
  device->used -= buffer->bytes;
  free(buffer);
}

td_status opencl_scratch(struct opencl_device *device, struct opencl_scratch *scratch, uint64_t bytes) {
  if (bytes <= scratch->bytes) return TD_OK;
  uint64_t doubled = 2 * scratch->bytes, wanted = bytes > doubled ? bytes : doubled;
  cl_mem memory;
  if (take(device, wanted, &memory)) {
    wanted = bytes;
    TD_TRY(take(device, wanted, &memory));
  }
  if (scratch->memory) OPENCL(ReleaseMemObject)(scratch->memory);
  device->used += wanted - scratch->bytes;
  *scratch = (struct opencl_scratch){memory, wanted};
  return TD_OK;
}

void opencl_free_staged(struct opencl_device *device, uint64_t value) {
  struct opencl_staged **at = &device->staged;
  while (*at && (*at)->value > value) at = &(*at)->next; /* newest first */
  for (struct opencl_staged *old = *at, *next; old; old = next) {
    next = old->next;
    free(old);
  }
  *at = NULL;
  if (!device->staged) device->staged_bytes = 0;
}

td_status opencl_send(struct opencl_device *device, cl_mem memory, uint64_t offset, const void *src, uint64_t bytes,
                      cl_event *out_event) {
  void *copy;
  if (device->staged_bytes + bytes > STAGED_MOST) TD_TRY(opencl_sync(&device->base, device->base.submitted));
  TD_TRY(td_alloc(1, sizeof(struct opencl_staged) + bytes, &copy));
  struct opencl_staged *staged = copy;
  memcpy(staged->data, src, bytes);
  staged->value = device->base.submitted;
  staged->next = device->staged;
  device->staged = staged;
  device->staged_bytes += bytes;
  OPENCL_TRY(
      device, "clEnqueueWriteBuffer",
      OPENCL(EnqueueWriteBuffer)(device->queue, memory, CL_FALSE, offset, bytes, staged->data, 0, NULL, out_event));
  return TD_OK;
}

td_status opencl_write(struct td_device *base, struct td_buffer *buffer, uint64_t offset, const void *src,
                       uint64_t bytes) {
  struct opencl_device *device = opencl_of(base);
  cl_event event;
  TD_TRY(opencl_alive(device));
  buffer->writes++;
  if (bytes <= STAGED_WRITE) {
    TD_TRY(opencl_send(device, buffer->memory, offset, src, bytes, &event));
  } else {
    OPENCL_TRY(device, "clEnqueueWriteBuffer",
               OPENCL(EnqueueWriteBuffer)(device->queue, buffer->memory, CL_TRUE, offset, bytes, src, 0, NULL, &event));
  }
  return opencl_mark(device, event);
}

td_status opencl_read(struct td_device *base, struct td_buffer *buffer, uint64_t offset, void *dst, uint64_t bytes) {
  struct opencl_device *device = opencl_of(base);
  cl_event event;
  TD_TRY(opencl_alive(device));
  OPENCL_TRY(device, "clEnqueueReadBuffer",
             OPENCL(EnqueueReadBuffer)(device->queue, buffer->memory, CL_FALSE, offset, bytes, dst, 0, NULL, &event));
  return opencl_mark(device, event);
}
