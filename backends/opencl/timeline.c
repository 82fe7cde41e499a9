/* SPDX-License-Identifier: Apache-2.0
 *
 * The time line over an in-order queue: a ring of events, one for the last command of each value. An older event being
 * done follows from a younger one's. Any error after opening ends the device: OpenCL does not say what still holds.
 */
#include <stdio.h>
#include <string.h>

#include "device.h"

td_status opencl_alive(const struct opencl_device *device) {
  return device->failed ? td_fail(device->failed, "%s", device->failure) : TD_OK;
}

td_status opencl_lose(struct opencl_device *device, const char *what, cl_int error) {
  if (!device->failed) {
    snprintf(device->failure, sizeof device->failure,
             "OpenCL device '%s' is lost: %s: found %s, expected success (%.0f of %.0f bytes were in use)",
             device->found->name, what, opencl_error(error), (double)device->used, (double)device->memory);
    device->failed = TD_UNAVAILABLE;
  }
  return opencl_alive(device);
}

/* Waits for the oldest mark and takes it off the ring. */
static td_status pass_mark(struct opencl_device *device) {
  struct opencl_mark *mark = &device->marks[device->mark_first];
  cl_int status = CL_COMPLETE;
  cl_int error = OPENCL(WaitForEvents)(1, &mark->event);
  if (error == CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST || !error) {
    cl_int asked = OPENCL(GetEventInfo)(mark->event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL);
    error = asked ? asked : status < 0 ? status : error;
  }
  OPENCL(ReleaseEvent)(mark->event);
  if (!error) device->reached = mark->value;
  device->mark_first = (device->mark_first + 1) % OPENCL_MARKS;
  device->mark_count--;
  return error ? opencl_lose(device, "a command of the queue", error) : TD_OK;
}

td_status opencl_mark(struct opencl_device *device, cl_event event) {
  int32_t newest = (device->mark_first + device->mark_count + OPENCL_MARKS - 1) % OPENCL_MARKS;
  if (device->mark_count > 0 && device->marks[newest].value == device->base.submitted) { /* a value's later command */
    OPENCL(ReleaseEvent)(device->marks[newest].event);
    device->marks[newest].event = event;
    return TD_OK;
  }
  td_status status = device->mark_count == OPENCL_MARKS ? pass_mark(device) : TD_OK;
  struct opencl_mark mark = {device->base.submitted, event};
  device->marks[(device->mark_first + device->mark_count++) % OPENCL_MARKS] = mark;
  return status;
}

td_status opencl_sync(struct td_device *base, uint64_t value) {
  struct opencl_device *device = opencl_of(base);
  TD_TRY(opencl_alive(device));
  if (value <= device->reached) return TD_OK;
  OPENCL_TRY(device, "clFlush", OPENCL(Flush)(device->queue));
  while (device->mark_count > 0 && device->reached < value) TD_TRY(pass_mark(device));
  if (device->mark_count == 0) device->reached = device->base.submitted; /* an export leaves no mark */
  opencl_free_staged(device, device->reached);
  return TD_OK;
}

void opencl_drop_marks(struct opencl_device *device) {
  for (; device->mark_count > 0; device->mark_count--) {
    OPENCL(ReleaseEvent)(device->marks[device->mark_first].event);
    device->mark_first = (device->mark_first + 1) % OPENCL_MARKS;
  }
}
