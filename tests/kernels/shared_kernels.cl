/* SPDX-License-Identifier: Apache-2.0 */
#define KERNEL __kernel
#define THREAD ((int)get_global_id(0))
#include "shared_kernels.h"
