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
  struct lpu_hop hop = {tensors[giver], tensors[taker], giver, taker, vector, 0, 0};
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

/* All hops of the trees, those first that come first. A vector that goes on is not sent before a hop's time is over. */
static td_status follow(struct lpu_builder *builder, struct lpu_turns *turns, struct lpu_tensor *const *tensors,
                        const struct lpu_spanning *tree, int32_t *sent) {
  for (int32_t depth = 1; depth <= tree->depth; depth++) {
    for (int32_t v = 0; v < tree->vectors; v++) {
      size_t row = (size_t)v * (size_t)tree->count;
      for (int32_t taker = 0; taker < tree->count; taker++) {
        if (tree->hops[row + (size_t)taker] != depth) continue;
        int32_t giver = tree->giver[row + (size_t)taker];
        struct lpu_hop hop = {tensors[giver], tensors[taker], giver, taker, v, 0, 0};
        if (depth > 1) hop.not_before = sent[row + (size_t)giver] + turns->hop;
        TD_TRY(lpu_send(builder, turns, &hop));
        sent[row + (size_t)taker] = hop.sent;
      }
    }
  }
  return TD_OK;
}

static td_status follow_all(struct lpu_builder *builder, struct lpu_tensor *const *tensors,
                            const struct lpu_spanning *tree) {
  struct lpu_turns turns;
  int32_t *sent = NULL;
  td_status status = lpu_turns_open(builder, tree->count, &turns);
  if (!status) status = td_alloc((size_t)tree->vectors * (size_t)tree->count, sizeof *sent, (void **)&sent);
  if (!status) status = follow(builder, &turns, tensors, tree, sent);
  lpu_turns_close(&turns);
  free(sent);
  return status;
}

static td_status gather_wired(struct lpu_builder *builder, const struct lpu_gather *gather) {
  struct lpu_trees trees = {gather->tensors, gather->count,  gather->tensors[0]->count, 0,
                            gather->owner,   gather->vectors};
  struct lpu_spanning tree;
  td_status status = lpu_spanning_open(builder, &trees, &tree);
  if (!status) status = follow_all(builder, gather->tensors, &tree);
  lpu_spanning_close(&tree);
  return status;
}

td_status lpu_exchange_gather(struct lpu_builder *builder, const struct lpu_gather *gather) {
  struct lpu_turns turns;
  if (builder->machine->levels) return gather_wired(builder, gather);
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

td_status lpu_exchange_pass(struct lpu_builder *builder, struct lpu_tensor *const *tensors, int32_t count) {
  struct lpu_turns turns;
  if (builder->machine->levels) return lpu_exchange_forward(builder, tensors, 1, count);
  td_status status = lpu_turns_open(builder, count, &turns);
  if (!status) status = pass_ring(builder, &turns, tensors, count);
  lpu_turns_close(&turns);
  return status;
}

td_status lpu_exchange_forward(struct lpu_builder *builder, struct lpu_tensor *const *tensors, int32_t have,
                               int32_t count) {
  struct lpu_trees trees = {tensors, count, tensors[0]->count, have, NULL, 0};
  struct lpu_spanning tree;
  if (builder->machine->levels == 0) return lpu_exchange_pass(builder, tensors + have - 1, count - have + 1);
  td_status status = lpu_spanning_open(builder, &trees, &tree);
  if (!status) status = follow_all(builder, tensors, &tree);
  lpu_spanning_close(&tree);
  return status;
}
