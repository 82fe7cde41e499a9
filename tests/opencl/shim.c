/* SPDX-License-Identifier: Apache-2.0
 *
 * An ICD loader that misbehaves: TANDEM_OPENCL_LIBRARY names this library, whose functions pass calls on to the real
 * loader but for what the environment asks for at the time of each call:
 *   SHIM_FAIL=FUNCTION=CODE  that function returns (or reports) CODE; a clGetEventInfo's CODE is the command's status
 *   SHIM_MEMORY, SHIM_LARGEST  bytes: CL_DEVICE_GLOBAL_MEM_SIZE, CL_DEVICE_MAX_MEM_ALLOC_SIZE
 *   SHIM_PREPEND=TEXT  stands in front of every program's source
 *   SHIM_NAMES=A,B  there are two devices of these names
 *   SHIM_DRIVER=TEXT  the driver's version
 * Functions that are not here are the real loader's, which this library is linked with.
 */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How often programs were made from source, and from a binary. */
int shim_sources, shim_binaries;

#define REAL(name, pointer)                       \
  do {                                            \
    void *found_ = dlsym(RTLD_NEXT, #name);       \
    memcpy(&(pointer), &found_, sizeof(pointer)); \
  } while (0)

/* What `function` is to return; CL_SUCCESS: nothing in particular. */
static cl_int wanted(const char *function) {
  const char *given = getenv("SHIM_FAIL");
  size_t length = strlen(function);
  if (!given || strncmp(given, function, length) != 0 || given[length] != '=') return CL_SUCCESS;
  return atoi(given + length + 1);
}

static cl_int answer(const void *value, size_t bytes, size_t size, void *out, size_t *out_size) {
  if (out_size) *out_size = bytes;
  if (out && size < bytes) return CL_INVALID_VALUE;
  if (out) memcpy(out, value, bytes);
  return CL_SUCCESS;
}

static const char *const no_device;
/* Handles of the devices that SHIM_NAMES makes up: the second is a pointer of ours that stands for the first. */
static cl_device_id real_device;

static cl_device_id unmask(cl_device_id device) {
  return device == (cl_device_id)(void *)&no_device ? real_device : device;
}

cl_int clGetDeviceIDs(cl_platform_id platform, cl_device_type type, cl_uint entries, cl_device_id *devices,
                      cl_uint *count) {
  __typeof__(clGetDeviceIDs) *real;
  REAL(clGetDeviceIDs, real);
  cl_int error = real(platform, type, entries, devices, count);
  if (error || !getenv("SHIM_NAMES") || !devices || entries < 2) return error;
  real_device = devices[0];
  devices[1] = (cl_device_id)(void *)&no_device;
  if (count) *count = 2;
  return CL_SUCCESS;
}

static cl_int name_of(int second, size_t size, void *out, size_t *out_size) {
  char names[200];
  snprintf(names, sizeof names, "%s", getenv("SHIM_NAMES"));
  char *comma = strchr(names, ',');
  *comma = 0;
  const char *name = second ? comma + 1 : names;
  return answer(name, strlen(name) + 1, size, out, out_size);
}

cl_int clGetDeviceInfo(cl_device_id device, cl_device_info what, size_t size, void *out, size_t *out_size) {
  __typeof__(clGetDeviceInfo) *real;
  const char *variable = what == CL_DEVICE_GLOBAL_MEM_SIZE      ? "SHIM_MEMORY"
                         : what == CL_DEVICE_MAX_MEM_ALLOC_SIZE ? "SHIM_LARGEST"
                                                                : NULL;
  REAL(clGetDeviceInfo, real);
  if (variable && getenv(variable)) {
    cl_ulong bytes = strtoull(getenv(variable), NULL, 10);
    return answer(&bytes, sizeof bytes, size, out, out_size);
  }
  if (what == CL_DRIVER_VERSION && getenv("SHIM_DRIVER")) {
    return answer(getenv("SHIM_DRIVER"), strlen(getenv("SHIM_DRIVER")) + 1, size, out, out_size);
  }
  if (what == CL_DEVICE_NAME && getenv("SHIM_NAMES")) return name_of(unmask(device) != device, size, out, out_size);
  return real(unmask(device), what, size, out, out_size);
}

cl_mem clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void *host, cl_int *error) {
  __typeof__(clCreateBuffer) *real;
  REAL(clCreateBuffer, real);
  cl_int failure = wanted("clCreateBuffer");
  if (!failure) return real(context, flags, size, host, error);
  if (error) *error = failure;
  return NULL;
}

cl_int clEnqueueFillBuffer(cl_command_queue queue, cl_mem buffer, const void *pattern, size_t pattern_size,
                           size_t offset, size_t size, cl_uint waits, const cl_event *wait, cl_event *event) {
  __typeof__(clEnqueueFillBuffer) *real;
  REAL(clEnqueueFillBuffer, real);
  cl_int failure = wanted("clEnqueueFillBuffer");
  return failure ? failure : real(queue, buffer, pattern, pattern_size, offset, size, waits, wait, event);
}

cl_int clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dimensions, const size_t *offset,
                              const size_t *global, const size_t *local, cl_uint waits, const cl_event *wait,
                              cl_event *event) {
  __typeof__(clEnqueueNDRangeKernel) *real;
  REAL(clEnqueueNDRangeKernel, real);
  cl_int failure = wanted("clEnqueueNDRangeKernel");
  return failure ? failure : real(queue, kernel, dimensions, offset, global, local, waits, wait, event);
}

cl_int clEnqueueReadBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t size,
                           void *host, cl_uint waits, const cl_event *wait, cl_event *event) {
  __typeof__(clEnqueueReadBuffer) *real;
  REAL(clEnqueueReadBuffer, real);
  cl_int failure = wanted("clEnqueueReadBuffer");
  return failure ? failure : real(queue, buffer, blocking, offset, size, host, waits, wait, event);
}

cl_int clGetEventInfo(cl_event event, cl_event_info what, size_t size, void *out, size_t *out_size) {
  __typeof__(clGetEventInfo) *real;
  REAL(clGetEventInfo, real);
  cl_int failure = wanted("clGetEventInfo");
  if (what == CL_EVENT_COMMAND_EXECUTION_STATUS && failure)
    return answer(&failure, sizeof failure, size, out, out_size);
  return real(event, what, size, out, out_size);
}

cl_int clWaitForEvents(cl_uint count, const cl_event *events) {
  __typeof__(clWaitForEvents) *real;
  REAL(clWaitForEvents, real);
  cl_int failure = wanted("clWaitForEvents"), error = real(count, events);
  return failure ? failure : error;
}

cl_program clCreateProgramWithSource(cl_context context, cl_uint count, const char **text, const size_t *lengths,
                                     cl_int *error) {
  __typeof__(clCreateProgramWithSource) *real;
  const char *more[2] = {getenv("SHIM_PREPEND"), text[0]};
  REAL(clCreateProgramWithSource, real);
  shim_sources++;
  return more[0] ? real(context, 2, more, NULL, error) : real(context, count, text, lengths, error);
}

cl_program clCreateProgramWithBinary(cl_context context, cl_uint count, const cl_device_id *devices,
                                     const size_t *lengths, const unsigned char **binaries, cl_int *status,
                                     cl_int *error) {
  __typeof__(clCreateProgramWithBinary) *real;
  REAL(clCreateProgramWithBinary, real);
  shim_binaries++;
  return real(context, count, devices, lengths, binaries, status, error);
}
