/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: from names to files.
 */
#ifndef TANDEM_COST_DEVICE_FOLDER_H
#define TANDEM_COST_DEVICE_FOLDER_H

#include "tandem/config.h"
#include "tandem/devices.h"

/* Opens the file at `path`; a rack is refused unless `racks`: the parts of a rack are none. */
td_status td_device_file_open(const char *path, bool racks, struct td_device_params **out_params);

/* Opens the file of part `name`, which key `key` names: it lies in the rack's folder. */
td_status td_rack_part(const struct td_config *config, const char *key, const char *name,
                       struct td_device_params **out);

/* Checks what belongs to a rack only: its parts are there, and its sums do not contradict their files. */
td_status td_rack_check(const struct td_config *config, const struct td_device_params *params, bool racks);

#endif
