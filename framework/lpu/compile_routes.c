/* SPDX-License-Identifier: Apache-2.0
 *
 * Trees along which vectors reach the chips of a plan.
 */
#include <stdlib.h>
#include <string.h>

#include "exchange.h"
#include "tandem/base.h"

/* What trees are made with. */
struct plan {
  const struct lpu_trees *trees;
  int32_t count;
  int16_t *links; /* [count][count] of direct links from one tensor's chip to another's */
  int16_t *near;  /* [count][count] the tensors that one's chip is linked with, -1 behind the last */
  int32_t *load;  /* [count][count] vectors that go this way */
  int32_t *given; /* [count] vectors that one gives */
  int16_t *now;   /* [count] tensors that got it in this hop */
};

static void close_plan(struct plan *plan) {
  free(plan->links);
  free(plan->near);
  free(plan->load);
  free(plan->given);
  free(plan->now);
}

static void count_links(const struct lpu_builder *builder, const int16_t *of_chip, struct plan *plan) {
  struct lpu_tensor *const *tensors = plan->trees->tensors;
  for (int32_t from = 0; from < plan->count; from++) {
    int32_t found = 0, peer = 0, far = 0;
    size_t row = (size_t)from * (size_t)plan->count;
    for (int32_t link = 0; link < builder->machine->links_used; link++) {
      if (!td_lpu_link_peer(builder->machine, builder->chips, tensors[from]->chip, link, &peer, &far)) continue;
      int32_t to = of_chip[peer] - 1;
      if (to < 0) continue;
      if (plan->links[row + (size_t)to]++ == 0) plan->near[row + (size_t)found++] = (int16_t)to;
    }
    if (found < plan->count) plan->near[row + (size_t)found] = -1;
  }
}

static td_status open_plan(const struct lpu_builder *builder, const struct lpu_trees *trees, struct plan *plan) {
  size_t count = (size_t)trees->count, pairs = count * count;
  int16_t *of_chip = NULL; /* number of the tensor + 1 */
  *plan = (struct plan){.trees = trees, .count = trees->count};
  td_status status = td_alloc((size_t)builder->chips, sizeof *of_chip, (void **)&of_chip);
  if (!status) status = td_alloc(pairs, sizeof *plan->links, (void **)&plan->links);
  if (!status) status = td_alloc(pairs, sizeof *plan->near, (void **)&plan->near);
  if (!status) status = td_alloc(pairs, sizeof *plan->load, (void **)&plan->load);
  if (!status) status = td_alloc(count, sizeof *plan->given, (void **)&plan->given);
  if (!status) status = td_alloc(count, sizeof *plan->now, (void **)&plan->now);
  for (int32_t i = 0; !status && i < trees->count; i++) of_chip[trees->tensors[i]->chip] = (int16_t)(i + 1);
  if (!status) count_links(builder, of_chip, plan);
  free(of_chip);
  return status;
}

/* Whether `a` is a better giver than `b`: less to do over each of its links to the taker, or in all. */
static bool is_freer(const struct plan *plan, int32_t a, int32_t b, int32_t taker) {
  size_t at = (size_t)a * (size_t)plan->count + (size_t)taker, bt = (size_t)b * (size_t)plan->count + (size_t)taker;
  int64_t left = (int64_t)plan->load[at] * plan->links[bt], right = (int64_t)plan->load[bt] * plan->links[at];
  return left != right ? left < right : plan->given[a] < plan->given[b];
}

/* All that those who got it in hop `depth` - 1 can give it to; *out_got: how many did. */
static void grow(struct plan *plan, int16_t *giver, int16_t *hops, int32_t depth, int32_t *out_got) {
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

/* One vector's; *out_depth: its hops. */
static td_status grow_tree(const struct lpu_builder *builder, struct plan *plan, int32_t vector, int16_t *giver,
                           int16_t *hops, int32_t *out_depth) {
  const struct lpu_trees *trees = plan->trees;
  int32_t reached = trees->have, got = 1, owner = trees->owner ? trees->owner[vector % trees->period] : -1;
  *out_depth = 0;
  memset(hops, 0xff, (size_t)plan->count * sizeof *hops);
  for (int32_t i = 0; i < trees->have; i++) hops[i] = 0;
  if (owner >= 0) hops[owner] = 0;
  reached += owner >= 0;
  while (reached > 0 && reached < plan->count && got > 0) {
    grow(plan, giver, hops, ++*out_depth, &got);
    reached += got;
  }
  if (got > 0) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "LPU %s: no direct links lead to %d of %d chips from chip %d on (%d links are wired)",
                 builder->machine->name, plan->count - reached, plan->count, trees->tensors[0]->chip,
                 builder->machine->links_used);
}

td_status lpu_spanning_open(const struct lpu_builder *builder, const struct lpu_trees *trees,
                            struct lpu_spanning *out) {
  struct plan plan;
  size_t cells = (size_t)trees->vectors * (size_t)trees->count;
  *out = (struct lpu_spanning){.vectors = trees->vectors, .count = trees->count};
  td_status status = open_plan(builder, trees, &plan);
  if (!status) status = td_alloc(cells, sizeof *out->giver, (void **)&out->giver);
  if (!status) status = td_alloc(cells, sizeof *out->hops, (void **)&out->hops);
  for (int32_t v = 0; !status && v < trees->vectors; v++) {
    size_t row = (size_t)v * (size_t)trees->count;
    int32_t depth = 0;
    status = grow_tree(builder, &plan, v, out->giver + row, out->hops + row, &depth);
    if (depth > out->depth) out->depth = depth;
  }
  close_plan(&plan);
  return status;
}

void lpu_spanning_close(struct lpu_spanning *tree) {
  free(tree->giver);
  free(tree->hops);
}
