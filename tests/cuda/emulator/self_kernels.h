/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SELF_KERNELS_H
#define SELF_KERNELS_H

#include <stdint.h>

#define SELF_THREADS 64

struct self_args {
  uint64_t in, out; /* device addresses */
  int32_t add, reserved;
};

#endif
