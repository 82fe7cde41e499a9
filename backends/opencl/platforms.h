/* SPDX-License-Identifier: Apache-2.0
 *
 * The devices of every platform, listed once in a process, in the loader's order.
 */
#ifndef OPENCL_PLATFORMS_H
#define OPENCL_PLATFORMS_H

#include <stdbool.h>
#include <stdint.h>

#include "library.h"

#define OPENCL_TEXT 256

struct opencl_found {
  cl_device_id id;
  bool processor; /* CL_DEVICE_TYPE_CPU */
  char name[OPENCL_TEXT], driver[OPENCL_TEXT], platform[OPENCL_TEXT];
};

/* How many devices fit: available, with a compiler, OpenCL 1.2 or newer, the full profile, little endian. 0 with the
 * reason. Thread-safe. */
int32_t opencl_platforms(const char **out_reason);
/* 0 <= index < opencl_platforms(). Static. */
const struct opencl_found *opencl_found(int32_t index);

#endif
