/* SPDX-License-Identifier: Apache-2.0
 *
 * Cost models: time and energy of a slice or a transfer on a device file, without running it. Pure functions.
 */
#ifndef TANDEM_COST_H
#define TANDEM_COST_H

#include <stdint.h>

#include "tandem/devices.h"
#include "tandem/graph.h"

/* The price of a step, and of the decode steps that follow it as long as only the contexts grow: step i (0-based) lasts
 * base_ps + i * slope_ps, exact for i < valid_steps; valid_steps >= 1. Integers, so k steps in one sum equal k single
 * steps bit for bit. */
struct td_price {
  int64_t base_ps, slope_ps, valid_steps;
  double energy_j;          /* of the first step; NaN if the device file has no power */
  double flops, bytes;      /* of the first step */
  int64_t compute_bound_ps; /* part of base_ps in operators bound by arithmetic */
};

/* Roofline: each operator lasts overhead + max(FLOPs / (efficiency * peak of the weight's dtype path), bytes /
 * (efficiency * bandwidth)), operators one after another; energy = busy power * time.
 * stats describe the first step; following steps add one token per sequence (CONTEXT and PAIRS grow by SEQS).
 * TD_UNSUPPORTED names a number the device file lacks. */
td_status td_price_roofline(const struct td_device_params *device, const struct td_graph *graph,
                            const struct td_slice *slice, enum td_dtype kv_dtype, const struct td_step_stats *stats,
                            struct td_price *out_price);

/* When layer `layer_begin + i` of the slice is done: out_ps[i], picoseconds from the step's start, for the real layers
 * of the slice; the last value plus what follows the layers is base_ps. `out_ps` holds layers values. */
td_status td_price_milestones(const struct td_device_params *device, const struct td_graph *graph,
                              const struct td_slice *slice, enum td_dtype kv_dtype, const struct td_step_stats *stats,
                              int64_t *out_ps);

/* latency + bytes / bandwidth, rounded up to a picosecond. */
td_status td_price_transfer(const struct td_device_params *link, uint64_t bytes, int64_t *out_ps);

#endif
