/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem lpu check` and `dump`: programs that were saved.
 */
#ifndef TD_CLI_LPU_CHECK_H
#define TD_CLI_LPU_CHECK_H

#include "tandem/lpu.h"

/* Replays a step of `rows` rows; 0: one of every entry, with as many rows as it takes. Prints what was found, *out_exit
 * is 1 for a violation. */
td_status lpu_check_print(const struct td_lpu_program *program, int32_t rows, int32_t position, bool json,
                          int *out_exit);
/* Of segments called `name` (entries of fewer rows have their own); NULL: all. */
td_status lpu_dump_print(const struct td_lpu_program *program, const char *name);

#endif
