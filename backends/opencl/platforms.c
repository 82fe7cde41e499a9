/* SPDX-License-Identifier: Apache-2.0 */
#include "platforms.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_PLATFORMS 16
#define MOST_DEVICES 64

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct opencl_found devices[MOST_DEVICES];
static int32_t device_count;
static char reason[512];

static bool flag(cl_device_id id, cl_device_info what) {
  cl_bool value = CL_FALSE;
  return OPENCL(GetDeviceInfo)(id, what, sizeof value, &value, NULL) == CL_SUCCESS && value;
}

static void text(cl_device_id id, cl_device_info what, char out[OPENCL_TEXT]) {
  if (OPENCL(GetDeviceInfo)(id, what, OPENCL_TEXT, out, NULL) != CL_SUCCESS) out[0] = 0;
  out[OPENCL_TEXT - 1] = 0;
}

/* `version` is "OpenCL MAJOR.MINOR ...", as the standard has it; 0 where it is not. */
static long version_number(const char *version) {
  char *dot, *end;
  if (strncmp(version, "OpenCL ", 7) != 0) return 0;
  long major = strtol(version + 7, &dot, 10);
  if (*dot != '.' || major < 0 || major > 1000) return 0;
  long minor = strtol(dot + 1, &end, 10);
  return end > dot + 1 && minor >= 0 && minor < 10 ? major * 10 + minor : 0;
}

/* NULL, or what keeps a device from being used. */
static const char *lacks(cl_device_id id) {
  char version[OPENCL_TEXT], profile[OPENCL_TEXT];
  text(id, CL_DEVICE_VERSION, version);
  text(id, CL_DEVICE_PROFILE, profile);
  if (!flag(id, CL_DEVICE_AVAILABLE)) return "is not available";
  if (!flag(id, CL_DEVICE_COMPILER_AVAILABLE)) return "has no compiler";
  if (!flag(id, CL_DEVICE_ENDIAN_LITTLE)) return "is big endian";
  if (strcmp(profile, "FULL_PROFILE") != 0) return "has only the embedded profile";
  if (version_number(version) < 12) return "is older than OpenCL 1.2";
  return NULL;
}

static void add_device(cl_device_id id, const char *platform) {
  struct opencl_found *device = &devices[device_count];
  cl_device_type type = 0;
  text(id, CL_DEVICE_NAME, device->name);
  const char *lack = lacks(id);
  if (lack) {
    snprintf(reason, sizeof reason, "found no usable device: '%.200s' %s", device->name, lack);
    return;
  }
  OPENCL(GetDeviceInfo)(id, CL_DEVICE_TYPE, sizeof type, &type, NULL);
  text(id, CL_DRIVER_VERSION, device->driver);
  snprintf(device->platform, sizeof device->platform, "%s", platform);
  device->id = id;
  device->processor = (type & CL_DEVICE_TYPE_CPU) != 0;
  device_count++;
}

static void add_platform(cl_platform_id platform) {
  char version[OPENCL_TEXT] = "", name[OPENCL_TEXT] = "";
  cl_device_id ids[MOST_DEVICES];
  cl_uint count = 0;
  OPENCL(GetPlatformInfo)(platform, CL_PLATFORM_VERSION, sizeof version - 1, version, NULL);
  OPENCL(GetPlatformInfo)(platform, CL_PLATFORM_NAME, sizeof name - 1, name, NULL);
  cl_int error = OPENCL(GetDeviceIDs)(platform, CL_DEVICE_TYPE_ALL, MOST_DEVICES, ids, &count);
  if (error) count = 0;
  if (count == 0) {
    snprintf(reason, sizeof reason, "OpenCL platform '%s' has no device%s%s", name, error ? ": " : "",
             error ? opencl_error(error) : "");
  }
  for (cl_uint i = 0; i < count && i < MOST_DEVICES && device_count < MOST_DEVICES; i++) add_device(ids[i], version);
}

static void list_all(void) {
  cl_platform_id platforms[MOST_PLATFORMS];
  cl_uint count = 0;
  if (opencl_library_open()) {
    snprintf(reason, sizeof reason, "%s", td_error_text());
    return;
  }
  cl_int error = OPENCL(GetPlatformIDs)(MOST_PLATFORMS, platforms, &count);
  if (error || count == 0) {
    snprintf(reason, sizeof reason, "the OpenCL ICD loader found no platform (%s): no driver is installed",
             error ? opencl_error(error) : "an empty list");
    return;
  }
  for (cl_uint i = 0; i < count && i < MOST_PLATFORMS; i++) add_platform(platforms[i]);
}

int32_t opencl_platforms(const char **out_reason) {
  pthread_once(&once, list_all);
  if (device_count == 0 && out_reason) *out_reason = reason;
  return device_count;
}

const struct opencl_found *opencl_found(int32_t index) {
  return &devices[index];
}
