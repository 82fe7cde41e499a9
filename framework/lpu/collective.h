/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the compiler: a collective under construction.
 */
#ifndef TANDEM_LPU_COLLECTIVE_PRIVATE_H
#define TANDEM_LPU_COLLECTIVE_PRIVATE_H

#include "exchange.h"
#include "tandem/lpu_collective.h"

struct lpu_collective {
  struct td_lpu_collective of;
  const struct td_lpu_machine *machine;
  struct lpu_builder *builder;
  struct lpu_turns turns;
  struct lpu_plan plan;       /* all chips */
  int32_t quads;              /* places for vectors in a hemisphere */
  int32_t *used;              /* [chips][hemispheres][quads] words */
  struct lpu_tensor **x, **y; /* [chips]; x: of an all-reduce */
};

/* A vector of a tensor, and when the last of what it was made of was sent (INT32_MIN: nothing was). */
struct lpu_cell {
  struct lpu_tensor *tensor;
  int32_t at, sent;
};

/* `words` vectors on a chip, where it has most room. */
td_status lpu_collective_place(struct lpu_collective *own, int32_t chip, const char *name, enum td_lpu_image_kind kind,
                               int32_t words, struct lpu_tensor **out);
/* *out: the sum of cells, in their order; out->tensor and out->at are set, out->sent is found. */
td_status lpu_collective_sum(struct lpu_collective *own, const struct lpu_cell *cells, int32_t count,
                             struct lpu_cell *out);

td_status lpu_reduce_levels(struct lpu_collective *own);    /* collective_levels.c */
td_status lpu_reduce_scattered(struct lpu_collective *own); /* collective_scatter.c */
td_status lpu_broadcast_scattered(struct lpu_collective *own);

#endif
