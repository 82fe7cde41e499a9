/* SPDX-License-Identifier: Apache-2.0
 *
 * The time line over one in-order stream. Values cost nothing by themselves: a mark (an event) is set where somebody
 * may want to wait for less than everything, at the end of each layer of a plan's run. To wait for a value is to wait
 * for the first mark at or behind it, or else for the whole stream.
 */
#include "device.h"

td_status cuda_timeline_open(struct cuda_device *device) {
  for (int i = 0; i < CUDA_MARKS; i++) {
    CUDA_TRY(device, cuEventCreate(&device->timeline.events[i], CUDA_EVENT_DISABLE_TIMING), "creating an event");
  }
  return TD_OK;
}

void cuda_timeline_close(struct cuda_device *device) {
  for (int i = 0; i < CUDA_MARKS; i++) {
    if (device->timeline.events[i]) device->driver->cuEventDestroy_v2(device->timeline.events[i]);
  }
}

td_status cuda_mark(struct cuda_device *device, uint64_t value) {
  struct cuda_timeline *line = &device->timeline;
  CUDA_TRY(device, cuEventRecord(line->events[line->next], device->compute), "recording an event");
  line->values[line->next] = value;
  line->next = (line->next + 1) % CUDA_MARKS;
  return TD_OK;
}

/* The oldest mark at or behind `value`; NULL: none. */
static cuda_event find_mark(const struct cuda_timeline *line, uint64_t value, uint64_t *out_value) {
  for (int32_t i = 0; i < CUDA_MARKS; i++) {
    int32_t at = (line->next + i) % CUDA_MARKS;
    if (line->values[at] < value) continue;
    *out_value = line->values[at];
    return line->events[at];
  }
  return NULL;
}

static td_status wait_for_device(struct cuda_device *device, uint64_t value) {
  struct cuda_timeline *line = &device->timeline;
  uint64_t marked = device->base.submitted;
  cuda_event event = value < marked ? find_mark(line, value, &marked) : NULL;
  if (event) {
    CUDA_TRY(device, cuEventSynchronize(event), "waiting for value %llu of %llu", (unsigned long long)value,
             (unsigned long long)device->base.submitted);
  } else {
    CUDA_TRY(device, cuStreamSynchronize(device->compute), "waiting for the work queued so far");
  }
  line->reached = marked;
  return TD_OK;
}

td_status cuda_wait(struct cuda_device *device, uint64_t value) {
  td_status status = value > device->timeline.reached ? wait_for_device(device, value) : TD_OK;
  if (status) {
    cuda_forget_reads(device);
    return status;
  }
  cuda_deliver(device, device->timeline.reached);
  return TD_OK;
}

td_status cuda_copy_after(struct cuda_device *device, uint64_t value) {
  struct cuda_timeline *line = &device->timeline;
  if (value <= line->reached) return TD_OK;
  uint64_t marked;
  cuda_event event = find_mark(line, value, &marked);
  if (!event) {
    int32_t at = line->next;
    TD_TRY(cuda_mark(device, device->base.submitted));
    event = line->events[at];
  }
  CUDA_TRY(device, cuStreamWaitEvent(device->copy, event, 0), "making the copy stream wait");
  return TD_OK;
}
