/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the compiler: vectors between chips. The tensors of a plan are numbered, one a chip.
 */
#ifndef TANDEM_LPU_EXCHANGE_H
#define TANDEM_LPU_EXCHANGE_H

#include "compile.h"

/* Who sends next over which of the links that lead the same way. */
struct lpu_turns {
  int32_t count, hop; /* tensors; cycles that lie between a vector's SENDs at least, on its way over several chips */
  int32_t *next;      /* [count][count] of giver and taker */
};
td_status lpu_turns_open(const struct lpu_builder *builder, int32_t count, struct lpu_turns *out);
void lpu_turns_close(struct lpu_turns *turns);

/* One vector to a neighbour. */
struct lpu_hop {
  struct lpu_tensor *from, *to; /* of one type */
  int32_t giver, taker;         /* their numbers in the plan */
  int32_t vector;               /* of both */
  int32_t not_before;           /* no byte is sent before this cycle */
  int32_t sent;                 /* found: the cycle of the last byte's SEND */
};
td_status lpu_send(struct lpu_builder *builder, struct lpu_turns *turns, struct lpu_hop *hop);

/* Along which hops every vector reaches all tensors: from those that have it, in as few hops as the links between their
 * chips allow, over the pairs of neighbours that have least to do (compile_routes.c). */
struct lpu_spanning {
  int32_t vectors, count, depth; /* the most hops */
  int16_t *giver, *hops;         /* [vectors][count]; hops 0: has it; -1: nobody has it */
};
struct lpu_trees {
  struct lpu_tensor *const *tensors;
  int32_t count, vectors;
  int32_t have;         /* so many tensors, the first ones, have all vectors */
  const int32_t *owner; /* NULL: nobody else has any; else of vector v: owner[v % period]; -1: nobody */
  int32_t period;
};
td_status lpu_spanning_open(const struct lpu_builder *builder, const struct lpu_trees *trees, struct lpu_spanning *out);
void lpu_spanning_close(struct lpu_spanning *tree);

#endif
