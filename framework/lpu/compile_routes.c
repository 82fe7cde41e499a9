/* SPDX-License-Identifier: Apache-2.0
 *
 * Trees of direct links, along which vectors reach the chips of a plan.
 */
#include <stdlib.h>
#include <string.h>

#include "exchange.h"
#include "tandem/base.h"

/* ---- plans ---- */

void lpu_plan_close(struct lpu_plan *plan) {
  free(plan->links);
  free(plan->near);
  free(plan->load);
  free(plan->given);
  free(plan->now);
}

/* `of_chip`: number in the plan + 1. */
static void count_links(const struct lpu_builder *builder, const int32_t *chips, const int16_t *of_chip,
                        struct lpu_plan *plan) {
  for (int32_t from = 0; from < plan->count; from++) {
    int32_t found = 0, peer = 0, far = 0;
    size_t row = (size_t)from * (size_t)plan->count;
    for (int32_t link = 0; link < builder->machine->links_used; link++) {
      if (!td_lpu_link_peer(builder->machine, builder->chips, chips[from], link, &peer, &far)) continue;
      int32_t to = of_chip[peer] - 1;
      if (to < 0) continue;
      if (plan->links[row + (size_t)to]++ == 0) plan->near[row + (size_t)found++] = (int16_t)to;
    }
    if (found < plan->count) plan->near[row + (size_t)found] = -1;
  }
}

td_status lpu_plan_open(const struct lpu_builder *builder, const int32_t *chips, int32_t count, struct lpu_plan *out) {
  size_t pairs = (size_t)count * (size_t)count;
  int16_t *of_chip = NULL;
  *out = (struct lpu_plan){.count = count};
  td_status status = td_alloc((size_t)builder->chips, sizeof *of_chip, (void **)&of_chip);
  if (!status) status = td_alloc(pairs, sizeof *out->links, (void **)&out->links);
  if (!status) status = td_alloc(pairs, sizeof *out->near, (void **)&out->near);
  if (!status) status = td_alloc(pairs, sizeof *out->load, (void **)&out->load);
  if (!status) status = td_alloc((size_t)count, sizeof *out->given, (void **)&out->given);
  if (!status) status = td_alloc((size_t)count, sizeof *out->now, (void **)&out->now);
  for (int32_t i = 0; !status && i < count; i++) of_chip[chips[i]] = (int16_t)(i + 1);
  if (!status) count_links(builder, chips, of_chip, out);
  free(of_chip);
  return status;
}

/* ---- one vector ---- */

/* Whether `a` is a better giver than `b`: less to do over each of its links to the taker, or in all. */
static bool is_freer(const struct lpu_plan *plan, int32_t a, int32_t b, int32_t taker) {
  size_t at = (size_t)a * (size_t)plan->count + (size_t)taker, bt = (size_t)b * (size_t)plan->count + (size_t)taker;
  int64_t left = (int64_t)plan->load[at] * plan->links[bt], right = (int64_t)plan->load[bt] * plan->links[at];
  return left != right ? left < right : plan->given[a] < plan->given[b];
}

/* All that those who got it in hop `depth` - 1 can give it to; *out_got: how many did. */
static void grow(struct lpu_plan *plan, int16_t *giver, int16_t *hops, int32_t depth, int32_t *out_got) {
  *out_got = 0;
  for (int32_t from = 0; from < plan->count; from++) {
    const int16_t *near = &plan->near[(size_t)from * (size_t)plan->count];
    if (hops[from] != depth - 1) continue;
    for (int32_t i = 0; i < plan->count && near[i] >= 0; i++) {
      int32_t taker = near[i];
      if (hops[taker] == -1) {
        hops[taker] = (int16_t)depth;
        giver[taker] = (int16_t)from;
        plan->now[(*out_got)++] = (int16_t)taker;
      } else if (hops[taker] == depth && is_freer(plan, from, giver[taker], taker)) {
        giver[taker] = (int16_t)from;
      }
    }
  }
  for (int32_t i = 0; i < *out_got; i++) {
    int32_t taker = plan->now[i], from = giver[taker];
    plan->load[(size_t)from * (size_t)plan->count + (size_t)taker]++;
    plan->given[from]++;
  }
}

td_status lpu_plan_tree(const struct lpu_builder *builder, struct lpu_plan *plan, int16_t *giver, int16_t *hops,
                        int32_t *out_depth) {
  int32_t reached = 0, got = 1;
  *out_depth = 0;
  for (int32_t i = 0; i < plan->count; i++) reached += hops[i] == 0;
  while (reached < plan->count && got > 0) {
    grow(plan, giver, hops, ++*out_depth, &got);
    reached += got;
  }
  if (reached == plan->count) return TD_OK;
  return td_fail(TD_UNSUPPORTED,
                 "LPU %s: no direct links lead to %d of the %d chips that exchange (%d links are wired)",
                 builder->machine->name, plan->count - reached, plan->count, builder->machine->links_used);
}

/* ---- many vectors ---- */

td_status lpu_trees_open(int32_t vectors, int32_t count, struct lpu_trees *out) {
  size_t cells = (size_t)vectors * (size_t)count;
  *out = (struct lpu_trees){.vectors = vectors, .count = count};
  TD_TRY(td_alloc(cells, sizeof *out->giver, (void **)&out->giver));
  TD_TRY(td_alloc(cells, sizeof *out->hops, (void **)&out->hops));
  memset(out->hops, 0xff, cells * sizeof *out->hops);
  return TD_OK;
}

void lpu_trees_close(struct lpu_trees *trees) {
  free(trees->giver);
  free(trees->hops);
}

td_status lpu_trees_grow(const struct lpu_builder *builder, struct lpu_plan *plan, struct lpu_trees *trees, int32_t v,
                         int32_t first, int32_t end) {
  size_t row = (size_t)v * (size_t)trees->count;
  int32_t depth = 0;
  if (first >= end) return TD_OK;
  for (int32_t i = first; i < end; i++) trees->hops[row + (size_t)i] = 0;
  TD_TRY(lpu_plan_tree(builder, plan, trees->giver + row, trees->hops + row, &depth));
  if (depth > trees->depth) trees->depth = depth;
  return TD_OK;
}

int32_t lpu_goes_on(const struct lpu_turns *turns, int32_t sent) {
  return sent == INT32_MIN ? 0 : sent + turns->hop;
}

static td_status follow_hop(struct lpu_builder *builder, struct lpu_turns *turns, const struct lpu_trees *trees,
                            const struct lpu_following *following, int32_t v, int32_t taker) {
  int32_t count = trees->count, giver = trees->giver[(size_t)v * (size_t)count + (size_t)taker];
  int32_t *sent = following->sent + (size_t)v * (size_t)count, at = v % following->period;
  struct lpu_tensor *const *tensors = following->tensors + (size_t)(v / following->period) * (size_t)count;
  struct lpu_hop hop = {tensors[giver], tensors[taker], giver, taker, at, at, lpu_goes_on(turns, sent[giver]), 0};
  TD_TRY(lpu_send(builder, turns, &hop));
  sent[taker] = hop.sent;
  return TD_OK;
}

/* Vectors in the order of their numbers in a period, so that what is wanted first goes first. */
td_status lpu_trees_follow(struct lpu_builder *builder, struct lpu_turns *turns, const struct lpu_trees *trees,
                           const struct lpu_following *following) {
  int32_t period = following->period;
  for (int32_t depth = 1; depth <= trees->depth; depth++) {
    for (int32_t at = 0; at < period; at++) {
      for (int32_t v = at; v < trees->vectors; v += period) {
        const int16_t *hops = trees->hops + (size_t)v * (size_t)trees->count;
        for (int32_t taker = 0; taker < trees->count; taker++) {
          if (hops[taker] == depth) TD_TRY(follow_hop(builder, turns, trees, following, v, taker));
        }
      }
    }
  }
  return TD_OK;
}
