/* SPDX-License-Identifier: Apache-2.0
 *
 * The group /run: who ran what, where. Facts that differ between equal runs live here and never in a data set.
 */
#ifndef TRACES_RUN_GROUP_H
#define TRACES_RUN_GROUP_H

#include <hdf5.h>

#include "tandem/trace.h"

#define TD_REASON_BYTES 1024 /* any error text: who waited for what can be long */

/* Creates the group with all its attributes. Negative on failure. */
hid_t td_run_create(hid_t file, const struct td_trace_run *run);
/* Sets `complete` and, if not NULL, `reason` (cut at TD_REASON_BYTES - 1). Negative on failure. */
herr_t td_run_close(hid_t run, int complete, const char *reason);

#endif
