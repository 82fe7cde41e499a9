/* SPDX-License-Identifier: Apache-2.0
 *
 * The ICD loader, opened at run time: a table of the functions that are used. OPENCL(name)(...) calls clname.
 */
#ifndef OPENCL_LIBRARY_H
#define OPENCL_LIBRARY_H

#include <CL/cl.h>

#include "tandem/status.h"

/* clang-format off */
#define OPENCL_FUNCTIONS(X) \
  X(GetPlatformIDs) X(GetPlatformInfo) X(GetDeviceIDs) X(GetDeviceInfo) X(CreateSubDevices) X(ReleaseDevice) \
  X(CreateContext) X(ReleaseContext) X(CreateCommandQueue) X(ReleaseCommandQueue) X(Flush) X(Finish) \
  X(CreateBuffer) X(ReleaseMemObject) X(EnqueueFillBuffer) X(EnqueueWriteBuffer) X(EnqueueReadBuffer) \
  X(CreateProgramWithSource) X(CreateProgramWithBinary) X(BuildProgram) X(GetProgramBuildInfo) X(GetProgramInfo) \
  X(ReleaseProgram) X(CreateKernel) X(ReleaseKernel) X(SetKernelArg) X(EnqueueNDRangeKernel) \
  X(WaitForEvents) X(GetEventInfo) X(ReleaseEvent)
/* clang-format on */

struct opencl_library {
#define OPENCL_ENTRY(name) __typeof__(cl##name) *name;
  OPENCL_FUNCTIONS(OPENCL_ENTRY)
#undef OPENCL_ENTRY
};
extern struct opencl_library opencl_library;
#define OPENCL(name) (opencl_library.name)

/* Fills opencl_library from $TANDEM_OPENCL_LIBRARY or libOpenCL.so.1, once in a process. TD_UNAVAILABLE with the
 * system's reason. Not thread-safe: opencl_platforms calls it once. The library stays open: drivers do not survive its
 * closing. */
td_status opencl_library_open(void);

/* "CL_OUT_OF_RESOURCES"; "error -1234" for a code without a name. The result is good until the thread's next call. */
const char *opencl_error(cl_int error);

#endif
