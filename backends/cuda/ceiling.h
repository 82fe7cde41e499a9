/* SPDX-License-Identifier: Apache-2.0
 *
 * What this chip gives, for `tandem bench`: see td_device_table.ceiling.
 */
#ifndef CUDA_CEILING_H
#define CUDA_CEILING_H

#include "device.h"

td_status cuda_ceiling(struct td_device *device, enum td_ceiling which, double *out_rate, const char **out_how);

#endif
