/* SPDX-License-Identifier: Apache-2.0
 *
 * Every function of the driver, answering "not initialised", for libraries that define only some better.
 */
#include "driver.h"

#pragma GCC diagnostic ignored "-Wunused-parameter"

#define X(name, parameters)                  \
  __attribute__((weak)) int name parameters; \
  int name parameters {                      \
    return 3;                                \
  }
CUDA_DRIVER(X)
