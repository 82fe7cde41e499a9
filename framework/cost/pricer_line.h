/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: decode steps between two knots of the mean context, where all attention is a fitted line
 * and bound by memory: what remains of a price is a handful of products.
 */
#ifndef TANDEM_COST_PRICER_LINE_H
#define TANDEM_COST_PRICER_LINE_H

#include "price_memory.h"
#include "price_sum.h"

#define TD_LINE_OPS 2

/* Attention of one kind, whatever the step. */
struct td_line_op {
  const struct td_op *op;
  int32_t count, chips;
  int32_t context, pairs; /* symbols that it counts */
  double flops, byte_one, byte_token, byte_context;
  wide compute, memory_one, memory_token, memory_context;
};
/* What lines of a plan have in common. */
struct td_line_plan {
  int32_t count; /* 0: no steps of this plan are lines */
  bool windows;
  double most; /* counts below this need no look at what fits */
  struct td_line_op ops[TD_LINE_OPS];
};
/* The operators' rooflines must be ready. */
void td_line_plan_of(const struct td_price_plan *plan, struct td_line_plan *out);

struct td_line {
  int64_t seqs, logits, experts; /* seqs 0: an empty place */
  int64_t least, end;            /* mean contexts */
  int64_t bound_ps, slope_ps;
  double low, high, flops, bytes; /* of all but attention */
  wide rest, growing;             /* of all */
  struct {
    wide one, context;
    double low, high;
  } ops[TD_LINE_OPS];
};
/* The line of a step that was just priced; false: it is none, and *out_line is as it was. */
bool td_line_of(const struct td_line_plan *plan, const struct td_fit_step *step, const struct td_price_part *rest,
                struct td_line *out_line);
/* Whether the step lies on the line; then its price is set. */
bool td_line_price(const struct td_price_plan *prices, const struct td_line_plan *plan, const struct td_line *line,
                   const struct td_fit_step *step, int64_t mean, struct td_price *out_price);

#endif
