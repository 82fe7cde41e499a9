/* SPDX-License-Identifier: Apache-2.0
 *
 * Vectors that some chip has go to all others. Around a ring both ways, one chip after another; in a wired system along
 * trees of direct links. Chips that are no neighbours get a vector through those between, which keep it: they want it
 * too.
 */
#include <stdlib.h>

#include "exchange.h"
#include "tandem/base.h"

/* ---- rings ---- */

static td_status send_on(struct lpu_builder *builder, struct lpu_turns *turns, struct lpu_tensor *const *tensors,
                         int32_t giver, int32_t taker, int32_t vector) {
  struct lpu_hop hop = {tensors[giver], tensors[taker], giver, taker, vector, vector, 0, 0};
  return lpu_send(builder, turns, &hop);
}

/* How many chips to the right of the owner get its vector from the left; the others come the other way. Around a ring
 * that has an odd one out, both sides take turns. */
static int32_t reach(const struct lpu_builder *builder, const struct lpu_gather *gather, int32_t owner, int32_t turn) {
  if (gather->count < builder->chips) return gather->count - 1 - owner;
  return (gather->count - 1 + turn % 2) / 2;
}

/* Step `distance` of a vector's way, to both sides. */
static td_status spread(struct lpu_builder *builder, struct lpu_turns *turns, const struct lpu_gather *gather,
                        int32_t owner, int32_t vector, int32_t distance) {
  int32_t count = gather->count, right = reach(builder, gather, owner, vector), left = count - 1 - right;
  if (distance <= right) {
    TD_TRY(
        send_on(builder, turns, gather->tensors, (owner + distance - 1) % count, (owner + distance) % count, vector));
  }
  if (distance > left) return TD_OK;
  return send_on(builder, turns, gather->tensors, (owner - distance + 1 + count) % count,
                 (owner - distance + count) % count, vector);
}

static td_status gather_ring(struct lpu_builder *builder, struct lpu_turns *turns, const struct lpu_gather *gather) {
  for (int32_t distance = 1; distance < gather->count; distance++) {
    for (int32_t vector = 0; vector < gather->tensors[0]->count; vector++) {
      int32_t owner = gather->owner[vector % gather->vectors];
      if (owner >= 0) TD_TRY(spread(builder, turns, gather, owner, vector, distance));
    }
  }
  return TD_OK;
}

/* ---- wired systems ---- */

static td_status open_plan(const struct lpu_builder *builder, struct lpu_tensor *const *tensors, int32_t count,
                           struct lpu_plan *out) {
  int32_t *chips = NULL;
  *out = (struct lpu_plan){.count = 0};
  TD_TRY(td_alloc((size_t)count, sizeof *chips, (void **)&chips));
  for (int32_t i = 0; i < count; i++) chips[i] = tensors[i]->chip;
  td_status status = lpu_plan_open(builder, chips, count, out);
  free(chips);
  return status;
}

static td_status follow(struct lpu_builder *builder, struct lpu_tensor *const *tensors, const struct lpu_trees *trees) {
  struct lpu_turns turns;
  size_t cells = (size_t)trees->vectors * (size_t)trees->count;
  struct lpu_following following = {tensors, trees->vectors, NULL};
  td_status status = lpu_turns_open(builder, trees->count, &turns);
  if (!status) status = td_alloc(cells, sizeof *following.sent, (void **)&following.sent);
  for (size_t i = 0; !status && i < cells; i++) following.sent[i] = INT32_MIN;
  if (!status) status = lpu_trees_follow(builder, &turns, trees, &following);
  free(following.sent);
  lpu_turns_close(&turns);
  return status;
}

/* Who has which vector: chips [*first, *end). */
typedef void owners(const void *context, int32_t vector, int32_t *first, int32_t *end);

static td_status spread_wired(struct lpu_builder *builder, struct lpu_tensor *const *tensors, int32_t count,
                              owners *who, const void *context) {
  struct lpu_plan plan;
  struct lpu_trees trees = {0};
  td_status status = open_plan(builder, tensors, count, &plan);
  if (!status) status = lpu_trees_open(tensors[0]->count, count, &trees);
  for (int32_t v = 0; !status && v < trees.vectors; v++) {
    int32_t first = 0, end = 0;
    who(context, v, &first, &end);
    status = lpu_trees_grow(builder, &plan, &trees, v, first, end);
  }
  if (!status) status = follow(builder, tensors, &trees);
  lpu_trees_close(&trees);
  lpu_plan_close(&plan);
  return status;
}

static void owner_of(const void *context, int32_t vector, int32_t *first, int32_t *end) {
  const struct lpu_gather *gather = context;
  int32_t owner = gather->owner[vector % gather->vectors];
  *first = owner < 0 ? 0 : owner;
  *end = owner + 1;
}

static void first_ones(const void *context, int32_t vector, int32_t *first, int32_t *end) {
  (void)vector;
  *first = 0;
  *end = *(const int32_t *)context;
}

td_status lpu_exchange_gather(struct lpu_builder *builder, const struct lpu_gather *gather) {
  struct lpu_turns turns;
  if (builder->machine->levels) return spread_wired(builder, gather->tensors, gather->count, owner_of, gather);
  td_status status = lpu_turns_open(builder, gather->count, &turns);
  if (!status) status = gather_ring(builder, &turns, gather);
  lpu_turns_close(&turns);
  return status;
}

/* ---- from one stage to the next ---- */

static td_status pass_ring(struct lpu_builder *builder, struct lpu_turns *turns, struct lpu_tensor *const *tensors,
                           int32_t count) {
  for (int32_t vector = 0; vector < tensors[0]->count; vector++) {
    for (int32_t i = 1; i < count; i++) TD_TRY(send_on(builder, turns, tensors, i - 1, i, vector));
  }
  return TD_OK;
}

/* All vectors of tensors[0] to tensors[1], from there to tensors[2], ...: `count` neighbours up the ring. */
static td_status exchange_pass(struct lpu_builder *builder, struct lpu_tensor *const *tensors, int32_t count) {
  struct lpu_turns turns;
  if (builder->machine->levels) return lpu_exchange_forward(builder, tensors, 1, count);
  td_status status = lpu_turns_open(builder, count, &turns);
  if (!status) status = pass_ring(builder, &turns, tensors, count);
  lpu_turns_close(&turns);
  return status;
}

td_status lpu_exchange_forward(struct lpu_builder *builder, struct lpu_tensor *const *tensors, int32_t have,
                               int32_t count) {
  if (builder->machine->levels) return spread_wired(builder, tensors, count, first_ones, &have);
  return exchange_pass(builder, tensors + have - 1, count - have + 1);
}
