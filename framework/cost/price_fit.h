/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: operators of a step that a device file has fits for.
 */
#ifndef TANDEM_COST_PRICE_FIT_H
#define TANDEM_COST_PRICE_FIT_H

#include "tandem/graph.h"
#include "tandem/operators.h"

__extension__ typedef __int128 td_wide;
#define TD_GRAIN_BITS 20 /* times are integers in units of 2^-20 ps: see price.c */

/* An operator's time is one + context * v[CONTEXT], grains, for `valid` decode steps from this one. */
struct td_fitted {
  bool is; /* false: the device has no fit for it */
  td_wide one, context;
  int64_t valid;
  double low, high; /* seconds, of this step */
};
td_status td_price_fitted(const struct td_device_params *device, const struct td_graph *graph, const struct td_op *op,
                          enum td_dtype kv_dtype, const struct td_step_stats *stats, struct td_fitted *out_fitted);

#endif
