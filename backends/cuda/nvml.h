/* SPDX-License-Identifier: Apache-2.0
 *
 * The chip's energy counter through NVML: libnvidia-ml.so.1, or the file that TANDEM_CUDA_NVML names.
 */
#ifndef CUDA_NVML_H
#define CUDA_NVML_H

#include "device.h"

/* Joules since the driver was loaded; NaN without NVML, or on a chip without a counter (before Volta, a MIG slice). */
double cuda_energy(struct td_device *device);

#endif
