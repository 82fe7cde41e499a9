/* SPDX-License-Identifier: Apache-2.0 */
#include "library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct opencl_library opencl_library;

static const char *library_name(void) {
  const char *given = getenv("TANDEM_OPENCL_LIBRARY");
  return given && *given ? given : "libOpenCL.so.1";
}

/* A function's address into a pointer to it, which C does not let one cast. */
static td_status find(void *library, const char *name, void *out_function, size_t bytes) {
  void *found = dlsym(library, name);
  if (!found) return td_fail(TD_UNAVAILABLE, "%s lacks %s, which OpenCL 1.2 has", library_name(), name);
  memcpy(out_function, &found, bytes);
  return TD_OK;
}

td_status opencl_library_open(void) {
  void *library = dlopen(library_name(), RTLD_NOW | RTLD_LOCAL);
  if (!library) return td_fail(TD_UNAVAILABLE, "no OpenCL ICD loader: %s", dlerror());
#define OPENCL_FIND(name) TD_TRY(find(library, "cl" #name, &opencl_library.name, sizeof opencl_library.name));
  OPENCL_FUNCTIONS(OPENCL_FIND)
#undef OPENCL_FIND
  return TD_OK;
}

#define NAMED(code) \
  { code, #code }
static const struct {
  cl_int code;
  const char *name;
} errors[] = {
    NAMED(CL_DEVICE_NOT_FOUND),
    NAMED(CL_DEVICE_NOT_AVAILABLE),
    NAMED(CL_COMPILER_NOT_AVAILABLE),
    NAMED(CL_MEM_OBJECT_ALLOCATION_FAILURE),
    NAMED(CL_OUT_OF_RESOURCES),
    NAMED(CL_OUT_OF_HOST_MEMORY),
    NAMED(CL_BUILD_PROGRAM_FAILURE),
    NAMED(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST),
    NAMED(CL_DEVICE_PARTITION_FAILED),
    NAMED(CL_INVALID_VALUE),
    NAMED(CL_INVALID_DEVICE),
    NAMED(CL_INVALID_CONTEXT),
    NAMED(CL_INVALID_COMMAND_QUEUE),
    NAMED(CL_INVALID_MEM_OBJECT),
    NAMED(CL_INVALID_BINARY),
    NAMED(CL_INVALID_BUILD_OPTIONS),
    NAMED(CL_INVALID_PROGRAM_EXECUTABLE),
    NAMED(CL_INVALID_KERNEL_NAME),
    NAMED(CL_INVALID_KERNEL_ARGS),
    NAMED(CL_INVALID_ARG_INDEX),
    NAMED(CL_INVALID_ARG_VALUE),
    NAMED(CL_INVALID_ARG_SIZE),
    NAMED(CL_INVALID_WORK_GROUP_SIZE),
    NAMED(CL_INVALID_WORK_ITEM_SIZE),
    NAMED(CL_INVALID_GLOBAL_WORK_SIZE),
    NAMED(CL_INVALID_EVENT),
    NAMED(CL_INVALID_OPERATION),
    NAMED(CL_INVALID_BUFFER_SIZE),
    {-1001, "CL_PLATFORM_NOT_FOUND_KHR"}, /* cl_khr_icd */
};

const char *opencl_error(cl_int error) {
  static _Thread_local char text[32];
  for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
    if (errors[i].code == error) return errors[i].name;
  }
  snprintf(text, sizeof text, "error %d", (int)error);
  return text;
}
