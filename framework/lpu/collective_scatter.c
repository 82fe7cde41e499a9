/* SPDX-License-Identifier: Apache-2.0
 *
 * Collectives in which every chip has a part of the work: sums that are made on the way to the chip that has the part,
 * a broadcast whose vectors go to different chips first.
 */
#include <stdlib.h>
#include <string.h>

#include "collective.h"
#include "tandem/base.h"

/* ---- all-reduce ---- */

#define MOST_POOLS 8

struct reduction {
  struct lpu_collective *own;
  struct lpu_trees trees;    /* from each vector's owner: what it sums up comes the other way */
  struct lpu_cell *given;    /* [vectors][chips] what a chip gives, where its giver in the tree has it */
  struct lpu_cell *value;    /* [vectors][chips] what it gives, at its own place: its x or a sum */
  int32_t *arrivals;         /* [chips] words of scratch that it needs */
  struct lpu_cell *cells;    /* [chips] of one sum */
  struct lpu_tensor **pools; /* [chips][MOST_POOLS] */
  int32_t pool_count;
};

static void close_reduction(struct reduction *reduction) {
  lpu_trees_close(&reduction->trees);
  free(reduction->given);
  free(reduction->value);
  free(reduction->arrivals);
  free(reduction->cells);
  free(reduction->pools);
}

static td_status open_reduction(struct lpu_collective *own, struct reduction *out) {
  size_t chips = (size_t)own->of.chips, cells = chips * (size_t)own->of.vectors;
  *out = (struct reduction){.own = own};
  out->pool_count = TD_LPU_HEMISPHERES * own->quads < MOST_POOLS ? TD_LPU_HEMISPHERES * own->quads : MOST_POOLS;
  TD_TRY(lpu_trees_open(own->of.vectors, own->of.chips, &out->trees));
  TD_TRY(td_alloc(cells, sizeof *out->given, (void **)&out->given));
  TD_TRY(td_alloc(cells, sizeof *out->value, (void **)&out->value));
  TD_TRY(td_alloc(chips, sizeof *out->arrivals, (void **)&out->arrivals));
  TD_TRY(td_alloc(chips, sizeof *out->cells, (void **)&out->cells));
  return td_alloc(chips * MOST_POOLS, sizeof(struct lpu_tensor *), (void **)&out->pools);
}

static int32_t owner_of(const struct lpu_collective *own, int32_t vector) {
  return vector % own->of.chips;
}

/* A word of the chip's scratches, the next one in turn; its tensor when they are placed. */
static struct lpu_cell next_word(struct reduction *reduction, int32_t chip) {
  int32_t slot = reduction->arrivals[chip]++;
  struct lpu_tensor *pool = reduction->pools[chip * MOST_POOLS + slot % reduction->pool_count];
  return (struct lpu_cell){pool, slot / reduction->pool_count, INT32_MIN};
}

/* Gives every arrival and every sum on the way its word. Once to count, once for real. */
static void deal_words(struct reduction *reduction) {
  struct lpu_collective *own = reduction->own;
  int32_t chips = own->of.chips;
  memset(reduction->arrivals, 0, (size_t)chips * sizeof *reduction->arrivals);
  for (int32_t v = 0; v < own->of.vectors; v++) {
    const int16_t *giver = reduction->trees.giver + (size_t)v * (size_t)chips;
    struct lpu_cell *given = reduction->given + (size_t)v * (size_t)chips,
                    *value = reduction->value + (size_t)v * (size_t)chips;
    for (int32_t chip = 0; chip < chips; chip++) value[chip] = (struct lpu_cell){own->x[chip], v, INT32_MIN};
    for (int32_t chip = 0; chip < chips; chip++) {
      if (chip == owner_of(own, v)) continue;
      given[chip] = next_word(reduction, giver[chip]);
      if (value[giver[chip]].tensor == own->x[giver[chip]]) {
        bool owner = giver[chip] == owner_of(own, v);
        value[giver[chip]] =
            owner ? (struct lpu_cell){own->y[giver[chip]], v, INT32_MIN} : next_word(reduction, giver[chip]);
      }
    }
  }
}

static td_status place_words(struct reduction *reduction) {
  struct lpu_collective *own = reduction->own;
  deal_words(reduction);
  for (int32_t chip = 0; chip < own->of.chips; chip++) {
    int32_t words = (reduction->arrivals[chip] + reduction->pool_count - 1) / reduction->pool_count;
    for (int32_t pool = 0; words > 0 && pool < reduction->pool_count; pool++) {
      char name[32];
      TD_TRY(td_format(name, sizeof name, "way.%d", pool));
      TD_TRY(
          lpu_collective_place(own, chip, name, TD_IMAGE_SCRATCH, words, &reduction->pools[chip * MOST_POOLS + pool]));
    }
  }
  deal_words(reduction);
  return TD_OK;
}

/* What chip has of vector v, with all that came: its own first. */
static td_status add_up(struct reduction *reduction, int32_t v, int32_t chip) {
  struct lpu_collective *own = reduction->own;
  size_t row = (size_t)v * (size_t)own->of.chips;
  int32_t count = 1;
  reduction->cells[0] = (struct lpu_cell){own->x[chip], v, INT32_MIN};
  for (int32_t from = 0; from < own->of.chips; from++) {
    if (reduction->trees.hops[row + (size_t)from] <= 0 || reduction->trees.giver[row + (size_t)from] != chip) continue;
    reduction->cells[count++] = reduction->given[row + (size_t)from];
  }
  if (count == 1) return TD_OK;
  return lpu_collective_sum(own, reduction->cells, count, &reduction->value[row + (size_t)chip]);
}

static td_status give(struct reduction *reduction, int32_t v, int32_t chip) {
  struct lpu_collective *own = reduction->own;
  size_t at = (size_t)v * (size_t)own->of.chips + (size_t)chip;
  TD_TRY(add_up(reduction, v, chip));
  const struct lpu_cell *value = &reduction->value[at];
  struct lpu_cell *given = &reduction->given[at];
  struct lpu_hop hop = {.from = value->tensor,
                        .to = given->tensor,
                        .giver = chip,
                        .taker = reduction->trees.giver[at],
                        .vector = value->at,
                        .at = given->at,
                        .not_before = lpu_goes_on(&own->turns, value->sent)};
  TD_TRY(lpu_send(own->builder, &own->turns, &hop));
  given->sent = hop.sent;
  return TD_OK;
}

static td_status reduce(struct reduction *reduction) {
  struct lpu_collective *own = reduction->own;
  int32_t chips = own->of.chips;
  for (int32_t depth = reduction->trees.depth; depth > 0; depth--) {
    for (int32_t v = 0; v < own->of.vectors; v++) {
      const int16_t *hops = reduction->trees.hops + (size_t)v * (size_t)chips;
      for (int32_t chip = 0; chip < chips; chip++) {
        if (hops[chip] == depth) TD_TRY(give(reduction, v, chip));
      }
    }
  }
  for (int32_t v = 0; v < own->of.vectors; v++) TD_TRY(add_up(reduction, v, owner_of(own, v)));
  return TD_OK;
}

/* The sums go back along the trees. */
static td_status spread_sums(struct reduction *reduction) {
  struct lpu_collective *own = reduction->own;
  size_t chips = (size_t)own->of.chips;
  struct lpu_following following = {own->y, own->of.vectors, NULL};
  TD_TRY(td_alloc((size_t)own->of.vectors * chips, sizeof *following.sent, (void **)&following.sent));
  for (int32_t v = 0; v < own->of.vectors; v++) {
    size_t at = (size_t)v * chips + (size_t)owner_of(own, v);
    following.sent[at] = reduction->value[at].sent;
  }
  td_status status = lpu_trees_follow(own->builder, &own->turns, &reduction->trees, &following);
  free(following.sent);
  return status;
}

static td_status run(struct reduction *reduction) {
  struct lpu_collective *own = reduction->own;
  for (int32_t v = 0; v < own->of.vectors; v++) {
    int32_t owner = owner_of(own, v);
    TD_TRY(lpu_trees_grow(own->builder, &own->plan, &reduction->trees, v, owner, owner + 1));
  }
  TD_TRY(place_words(reduction));
  TD_TRY(reduce(reduction));
  return spread_sums(reduction);
}

td_status lpu_reduce_scattered(struct lpu_collective *own) {
  struct reduction reduction;
  td_status status = open_reduction(own, &reduction);
  if (!status) status = run(&reduction);
  close_reduction(&reduction);
  return status;
}

/* ---- broadcast ---- */

/* Of a tree from chip 0 only the way to `owner`; the others are not reached. */
static void keep_way(struct lpu_trees *trees, struct lpu_plan *plan, int32_t v, int32_t owner) {
  int32_t count = trees->count;
  int16_t *giver = trees->giver + (size_t)v * (size_t)count, *hops = trees->hops + (size_t)v * (size_t)count;
  for (int32_t at = owner; hops[at] > 0; at = giver[at]) {
    plan->load[(size_t)giver[at] * (size_t)count + (size_t)at]++;
    plan->given[giver[at]]++;
    hops[at] = (int16_t)(hops[at] + INT16_MAX / 2);
  }
  for (int32_t chip = 0; chip < count; chip++) {
    hops[chip] = (int16_t)(hops[chip] > INT16_MAX / 2 ? hops[chip] - INT16_MAX / 2 : hops[chip] ? -1 : 0);
  }
}

struct broadcast {
  struct lpu_plan ways; /* of the first part, whose trees are only partly used */
  struct lpu_trees first, rest;
  int32_t *sent;
};

static td_status grow_both(struct lpu_collective *own, struct broadcast *broadcast) {
  int32_t chips = own->of.chips;
  for (int32_t v = 0; v < own->of.vectors; v++) {
    size_t row = (size_t)v * (size_t)chips;
    int32_t depth = 0;
    TD_TRY(lpu_trees_grow(own->builder, &broadcast->ways, &broadcast->first, v, 0, 1));
    keep_way(&broadcast->first, &own->plan, v, owner_of(own, v));
    broadcast->sent[row] = INT32_MIN;
    for (int32_t i = 0; i < chips; i++)
      broadcast->rest.hops[row + (size_t)i] = broadcast->first.hops[row + (size_t)i] >= 0 ? 0 : -1;
    TD_TRY(lpu_plan_tree(own->builder, &own->plan, broadcast->rest.giver + row, broadcast->rest.hops + row, &depth));
    if (depth > broadcast->rest.depth) broadcast->rest.depth = depth;
  }
  return TD_OK;
}

static td_status run_broadcast(struct lpu_collective *own, struct broadcast *broadcast) {
  size_t cells = (size_t)own->of.vectors * (size_t)own->of.chips;
  int32_t *chips = NULL;
  TD_TRY(td_alloc((size_t)own->of.chips, sizeof *chips, (void **)&chips));
  for (int32_t i = 0; i < own->of.chips; i++) chips[i] = i;
  td_status status = lpu_plan_open(own->builder, chips, own->of.chips, &broadcast->ways);
  free(chips);
  TD_TRY(status);
  TD_TRY(lpu_trees_open(own->of.vectors, own->of.chips, &broadcast->first));
  TD_TRY(lpu_trees_open(own->of.vectors, own->of.chips, &broadcast->rest));
  TD_TRY(td_alloc(cells, sizeof *broadcast->sent, (void **)&broadcast->sent));
  TD_TRY(grow_both(own, broadcast));
  const struct lpu_following following = {own->y, own->of.vectors, broadcast->sent};
  TD_TRY(lpu_trees_follow(own->builder, &own->turns, &broadcast->first, &following));
  return lpu_trees_follow(own->builder, &own->turns, &broadcast->rest, &following);
}

td_status lpu_broadcast_scattered(struct lpu_collective *own) {
  struct broadcast broadcast = {.sent = NULL};
  td_status status = run_broadcast(own, &broadcast);
  lpu_plan_close(&broadcast.ways);
  lpu_trees_close(&broadcast.first);
  lpu_trees_close(&broadcast.rest);
  free(broadcast.sent);
  return status;
}
