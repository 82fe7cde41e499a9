/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the compiler: vectors between chips. The chips of a plan are numbered from 0 on.
 */
#ifndef TANDEM_LPU_EXCHANGE_H
#define TANDEM_LPU_EXCHANGE_H

#include "compile.h"

/* ---- one vector to a neighbour (compile_exchange.c) ---- */

/* Who sends next over which of the links that lead the same way. */
struct lpu_turns {
  int32_t count, hop; /* chips; cycles that lie between a vector's SENDs at least, on its way over several chips */
  int32_t *next;      /* [count][count] of giver and taker */
};
td_status lpu_turns_open(const struct lpu_builder *builder, int32_t count, struct lpu_turns *out);
void lpu_turns_close(struct lpu_turns *turns);

struct lpu_hop {
  struct lpu_tensor *from, *to; /* of one type */
  int32_t giver, taker;         /* their chips in the plan */
  int32_t vector, at;           /* of `from` and of `to` */
  int32_t not_before;           /* no byte is sent before this cycle */
  int32_t sent;                 /* found: the cycle of the last byte's SEND */
};
td_status lpu_send(struct lpu_builder *builder, struct lpu_turns *turns, struct lpu_hop *hop);

/* ---- trees over direct links (compile_routes.c) ---- */

struct lpu_plan {
  int32_t count;  /* chips */
  int16_t *links; /* [count][count] of direct links from one chip to another */
  int16_t *near;  /* [count][count] the chips that one is linked with, -1 behind the last */
  int32_t *load;  /* [count][count] vectors that go this way */
  int32_t *given; /* [count] vectors that one gives */
  int16_t *now;   /* [count] chips that got it in this hop */
};
td_status lpu_plan_open(const struct lpu_builder *builder, const int32_t *chips, int32_t count, struct lpu_plan *out);
void lpu_plan_close(struct lpu_plan *plan);
/* How a vector reaches all chips from those with hops[] 0 (the others' are -1 before): in as few hops as direct links
 * allow, each over the pair of neighbours that has least to do so far. *out_depth: the most hops. TD_UNSUPPORTED: links
 * do not lead to all. */
td_status lpu_plan_tree(const struct lpu_builder *builder, struct lpu_plan *plan, int16_t *giver, int16_t *hops,
                        int32_t *out_depth);

/* Trees of many vectors. */
struct lpu_trees {
  int32_t vectors, count, depth; /* the most hops */
  int16_t *giver, *hops;         /* [vectors][count]; hops 0: has it; -1: nobody has it */
};
td_status lpu_trees_open(int32_t vectors, int32_t count, struct lpu_trees *out);
void lpu_trees_close(struct lpu_trees *trees);
/* Vector v's: from chips [first, end), if there are any. */
td_status lpu_trees_grow(const struct lpu_builder *builder, struct lpu_plan *plan, struct lpu_trees *trees, int32_t v,
                         int32_t first, int32_t end);
/* Sends all along their trees, those first that come first: vector v of the trees is vector v % period of tensors[v /
 * period * count + chip]. `sent`: [vectors][count] when each chip got it: the cycle of its SEND; of those who have it
 * before: of the last SEND that it was made of, or INT32_MIN. */
struct lpu_following {
  struct lpu_tensor *const *tensors;
  int32_t period;
  int32_t *sent;
};
td_status lpu_trees_follow(struct lpu_builder *builder, struct lpu_turns *turns, const struct lpu_trees *trees,
                           const struct lpu_following *following);
/* The first cycle in which something that was sent in cycle `sent` may go on. */
int32_t lpu_goes_on(const struct lpu_turns *turns, int32_t sent);

#endif
