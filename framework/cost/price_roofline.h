/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: an operator's two times as linear forms in a step's counts (see price.c).
 */
#ifndef TANDEM_COST_PRICE_ROOFLINE_H
#define TANDEM_COST_PRICE_ROOFLINE_H

#include "price_fit.h"

typedef td_wide wide;

#define GRAIN_BITS TD_GRAIN_BITS
#define GRAINS_PER_PS 1048576.0
/* No operator may come near this many grains (2^63 ps), so sums of operators never overflow `wide`. */
#define MOST_GRAINS 9.6e24

/* Picoseconds, rounded. */
static inline wide td_grains_ps(wide grains) {
  return (grains + ((wide)1 << (GRAIN_BITS - 1))) >> GRAIN_BITS;
}

/* What a device file says, in grains. */
struct rates {
  const struct td_device_params *device;
  double byte; /* grains per byte */
  double compute_efficiency;
  wide overhead;
};

/* A linear form over the step's counts, in grains. */
struct form {
  wide c[TD_SYM_COUNT];
};

/* Whether decode steps may add to a count; what it adds is then always SEQS. These symbols stand next to each other. */
#define TD_GROWING (TD_SYM_FULL_PAIRS - TD_SYM_CONTEXT + 1)
static inline bool td_may_grow(int symbol) {
  return symbol >= TD_SYM_CONTEXT && symbol <= TD_SYM_FULL_PAIRS;
}

/* One chip's part of an operator on a device, whatever the step. */
struct td_roofline {
  struct td_poly flops, bytes;
  double flop, byte; /* grains each */
  struct form compute, memory;
  const struct td_quantity *peak; /* what the compute time is of; NULL without arithmetic */
  int32_t chips;
  uint32_t symbols; /* that have coefficients, a bit each */
  double most;      /* below so many of each the operator's time fits */
};

/* The same in one step; what is active decides. */
struct op_times {
  const struct td_roofline *of; /* NULL: neither time nor work */
  wide compute, memory;
  double flops, bytes;
  bool computes; /* bound by arithmetic */
};

/* What the counts of a step say about the steps after it. */
struct ahead {
  bool grows[TD_SYM_COUNT]; /* by SEQS a step */
  int64_t valid;            /* for so many steps */
};

td_status td_roofline_open(const struct td_device_params *device, struct rates *out);
/* Of an operator's cost, which counts say anything: a bit each. */
uint32_t td_roofline_symbols(const struct td_op_cost *cost);
/* FLOPs and bytes, and no times yet. */
void td_roofline_work(const struct td_device_params *device, const struct td_graph *graph, const struct td_op *op,
                      enum td_dtype kv_dtype, struct td_roofline *out);
td_status td_roofline_rate(const struct rates *rates, const struct td_graph *graph, const struct td_op *op,
                           enum td_dtype kv_dtype, struct td_roofline *roofline);
td_status td_roofline_step(const struct td_roofline *roofline, const struct td_step_stats *stats, struct op_times *out);
/* For how many steps from this one the operator keeps its bound. */
int64_t td_roofline_crossover(const struct op_times *times, const struct ahead *ahead,
                              const struct td_step_stats *stats);

#endif
