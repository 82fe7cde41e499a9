/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: from names to files.
 */
#ifndef TANDEM_COST_DEVICE_FOLDER_H
#define TANDEM_COST_DEVICE_FOLDER_H

#include "tandem/devices.h"

/* Opens the file at `path`. */
td_status td_device_file_open(const char *path, struct td_device_params **out_params);

#endif
