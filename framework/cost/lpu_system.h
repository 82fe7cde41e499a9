/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: the wiring of a system of LPUs, as its device file gives it.
 */
#ifndef TANDEM_COST_LPU_SYSTEM_H
#define TANDEM_COST_LPU_SYSTEM_H

#include "lpu_table.h"

extern const struct td_option_group td_lpu_level_group; /* reads a struct td_lpu_level_text (lpu_system.c) */

/* The machine of a system: `chip`'s, with the wiring of the list. The sums that the system's own file gives must be
 * what its chips come to. */
td_status td_lpu_system_take(const struct td_config *config, const struct td_list *wiring,
                             const struct td_device_params *system, const struct td_device_params *chip,
                             struct td_lpu_params *out);

/* What no wiring can be; false, with a text, if it is that (lpu_wired.c). */
bool td_lpu_check_wiring(const struct td_lpu_machine *machine, char *text, size_t size);

/* What follows from chip and wiring, beside what the file says of it. */
void td_lpu_print_system(const struct td_device_params *params, FILE *out);
void td_lpu_json_system(const struct td_device_params *params, FILE *out);

#endif
