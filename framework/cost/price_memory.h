/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: what a pricer remembers of attention. Each table has so many places and no more; what
 * finds its place taken pushes the other out. What is remembered is what would be computed, bit for bit.
 */
#ifndef TANDEM_COST_PRICE_MEMORY_H
#define TANDEM_COST_PRICE_MEMORY_H

#include "price_fit.h"

/* The time of attention, one kernel: `batch` sequences of `value` positions, or new ones. */
struct td_asked {
  const struct td_op *op; /* NULL: an empty place */
  int64_t batch, value;
  struct td_fit_times times;
};
/* Decode attention from one knot of the mean context to the next. */
struct td_knot {
  const struct td_op *op; /* NULL: an empty place */
  int64_t seqs;
  int32_t knot;
  bool is;              /* false: it stays a roofline */
  td_wide one, context; /* as struct td_fitted, before a framework's scale */
  int64_t begin, end;   /* mean contexts: of this knot and the next */
  double low, high;     /* over the time */
};

struct td_fit_memory;
td_status td_fit_memory_open(struct td_fit_memory **out_memory);
void td_fit_memory_close(struct td_fit_memory *memory); /* NULL is fine */
/* The place, which holds what is meant or something else. */
struct td_asked *td_fit_asked(struct td_fit_memory *memory, const struct td_op *op, enum td_operator operator,
                              int64_t batch, int64_t value);
struct td_knot *td_fit_knot(struct td_fit_memory *memory, const struct td_op *op, int64_t seqs, int32_t knot);

/* The knot of a decode step that was priced with this memory; NULL: it has none, or no longer. */
const struct td_knot *td_fit_known_knot(const struct td_fit_step *step, const struct td_op *op);

#endif
