/* SPDX-License-Identifier: Apache-2.0
 *
 * The rows of a modelled fleet of any size, as a fast engine would append them: many requests at a time on every
 * device, steps in stretches, prefill chunks without tokens, requests that are put off and come back.
 */
#ifndef TESTS_TRACES_FLEET_H
#define TESTS_TRACES_FLEET_H

#include "tandem/trace.h"

struct fleet {
  uint64_t requests, seed;
  uint32_t devices;   /* that decode */
  bool disaggregated; /* one more device each that prefills, and transfers */
};
/* Takes one row; what it returns ends the fleet if it is not TD_OK. */
typedef td_status (*fleet_sink)(void *context, enum td_table table, const void *row);

td_status fleet_rows(const struct fleet *fleet, fleet_sink sink, void *context);
/* Writes a whole trace. *out_rows (may be NULL): how many rows it has. */
td_status fleet_write(const char *path, const struct fleet *fleet, uint64_t *out_rows);

#endif
