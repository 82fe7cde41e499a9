/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: from names to files.
 */
#ifndef TANDEM_COST_DEVICE_FOLDER_H
#define TANDEM_COST_DEVICE_FOLDER_H

#include "tandem/config.h"
#include "tandem/devices.h"

/* What is set in a file as it is read, as td_config_open takes it; and in that of the chip it is made of. */
struct td_device_sets {
  const char *const *own, *const *chip;
  int32_t own_count, chip_count;
};

/* Opens the file at `path`, as it is where `sets` is NULL; a rack is refused unless `racks`: the parts of a rack are
 * none. */
td_status td_device_file_open(const char *path, bool racks, const struct td_device_sets *sets,
                              struct td_device_params **out_params);

/* Opens "FILE:KEY=VALUE,..." (device_spec.c); `file` is its part before the colon, as a path. */
td_status td_device_spec_open(const char *file, const char *spec, struct td_device_params **out_params);
/* Where the numbers begin that a device's name sets; NULL: it sets none. */
const char *td_device_spec_of(const char *name_or_path);

/* Opens the file of part `name`, which key `key` names: it lies in the rack's folder. `sets`: NULL, or those whose
 * `chip` it takes. */
td_status td_rack_part(const struct td_config *config, const char *key, const char *name,
                       const struct td_device_sets *sets, struct td_device_params **out);

/* Checks what belongs to a rack only: its parts are there, and its sums do not contradict their files. */
td_status td_rack_check(const struct td_config *config, const struct td_device_params *params, bool racks);

#endif
