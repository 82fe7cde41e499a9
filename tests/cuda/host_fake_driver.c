/* SPDX-License-Identifier: Apache-2.0
 *
 * A libcuda.so.1 that has every symbol and no device: what it says is chosen by TANDEM_FAKE_DRIVER.
 *   old: a driver for CUDA 11.4     silent: cuInit fails     none: cuInit finds no device     empty: zero devices
 *   v100: one chip of compute capability 7.0
 */
#include <stdlib.h>
#include <string.h>

#include "driver.h"

static int says(const char *what) {
  const char *mode = getenv("TANDEM_FAKE_DRIVER");
  return mode && strcmp(mode, what) == 0;
}

#define X(name, parameters) int name parameters;
CUDA_DRIVER(X)
#undef X

int cuInit(unsigned flags) {
  (void)flags;
  return says("silent") ? 999 : says("none") ? 100 : 0;
}
int cuDriverGetVersion(int *version) {
  *version = says("old") ? 11040 : 99000;
  return 0;
}
int cuDeviceGetCount(int *count) {
  *count = says("v100") ? 1 : 0;
  return 0;
}
int cuDeviceGet(int *device, int ordinal) {
  *device = ordinal;
  return 0;
}
int cuDeviceGetName(char *name, int bytes, int device) {
  (void)bytes, (void)device;
  strcpy(name, "Old Chip");
  return 0;
}
int cuDeviceGetPCIBusId(char *text, int bytes, int device) {
  (void)bytes, (void)device;
  strcpy(text, "0000:01:00.0");
  return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  (void)device;
  *value = attribute == CUDA_ATTRIBUTE_CC_MAJOR ? 7 : 0;
  return 0;
}
int cuGetErrorName(int result, const char **name) {
  *name = result == 999 ? "CUDA_ERROR_UNKNOWN" : "CUDA_ERROR_NO_DEVICE";
  return 0;
}
