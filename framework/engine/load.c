/* SPDX-License-Identifier: Apache-2.0
 *
 * For each role a binary tree over the workers' numbers. A node has the least work below it and the most KV blocks that
 * a worker with a place free has there, so that a search turns back where nobody has the room.
 */
#include "load.h"

#include <stdlib.h>

#include "tandem/base.h"

enum { ROLES = 3, ACTIVE_BITS = 17 };

struct node {
  int64_t load; /* waiting tokens, then active requests; INT64_MAX: nobody of this role */
  int32_t room; /* most free blocks of those that have a place; -1: none has */
};
struct td_load_index {
  const struct td_worker_view *views;
  int32_t count, leaves;     /* leaves: a power of two */
  struct node *trees[ROLES]; /* [2 * leaves]: node i has 2 i and 2 i + 1 below it; leaves begin at `leaves`; NULL:
                                nobody has had the role */
  uint8_t *stale;            /* [count] */
  int32_t *changed;          /* those that are */
  int32_t changed_count;
};

static const struct node nobody = {INT64_MAX, -1};

td_status load_role(struct td_load_index *index, int role) {
  size_t nodes = 2 * (size_t)index->leaves;
  if (index->trees[role]) return TD_OK;
  TD_TRY(td_alloc(nodes, sizeof *index->trees[role], (void **)&index->trees[role]));
  for (size_t i = 0; i < nodes; i++) index->trees[role][i] = nobody;
  return TD_OK;
}

td_status load_open(const struct td_worker_view *views, int32_t count, struct td_load_index **out_index) {
  struct td_load_index *index;
  TD_TRY(td_alloc(1, sizeof *index, (void **)&index));
  index->views = views;
  index->count = count;
  index->leaves = 1;
  while (index->leaves < count) index->leaves *= 2;
  td_status status = td_alloc((size_t)count, 1, (void **)&index->stale);
  if (!status) status = td_alloc((size_t)count, sizeof *index->changed, (void **)&index->changed);
  for (int32_t i = 0; i < count && !status; i++) {
    load_changed(index, i);
    status = load_role(index, views[i].role);
  }
  if (status) {
    load_close(index);
    return status;
  }
  *out_index = index;
  return TD_OK;
}

void load_close(struct td_load_index *index) {
  if (!index) return;
  for (int role = 0; role < ROLES; role++) free(index->trees[role]);
  free(index->stale);
  free(index->changed);
  free(index);
}

void load_changed(struct td_load_index *index, int32_t worker) {
  if (index->stale[worker]) return;
  index->stale[worker] = 1;
  index->changed[index->changed_count++] = worker;
}

static bool less(const struct node *a, const struct node *b) {
  return a->load < b->load;
}

static struct node join(const struct node *a, const struct node *b) {
  struct node least = less(b, a) ? *b : *a; /* equals: the one of smaller numbers */
  least.room = a->room > b->room ? a->room : b->room;
  return least;
}

static void set_leaf(struct td_load_index *index, int role, int32_t worker, struct node leaf) {
  struct node *tree = index->trees[role];
  int32_t at = index->leaves + worker;
  tree[at] = leaf;
  while (at > 1) {
    at /= 2;
    tree[at] = join(&tree[2 * at], &tree[2 * at + 1]);
  }
}

static void update(struct td_load_index *index, int32_t worker) {
  const struct td_worker_view *view = &index->views[worker];
  int64_t room = view->free_blocks < INT32_MAX ? view->free_blocks : INT32_MAX; /* no request has so many positions */
  struct node leaf = {view->waiting_tokens << ACTIVE_BITS | view->active,
                      view->free_sequences > 0 ? (int32_t)room : -1};
  for (int role = 0; role < ROLES; role++) {
    if (index->trees[role]) set_leaf(index, role, worker, role == view->role ? leaf : nobody);
  }
  index->stale[worker] = 0;
}

struct search {
  const struct node *tree;
  int32_t leaves;
  int64_t blocks;
  struct node best;
  int32_t worker;
};

static int32_t first_below(const struct search *search, int32_t at) {
  while (at < search->leaves) at *= 2;
  return at - search->leaves;
}

/* The better side first, so that the other is rarely looked at; of equals the smallest number wins. */
static void look(struct search *search, int32_t at) {
  const struct node *node = &search->tree[at];
  if (node->room < search->blocks || node->room < 0 || less(&search->best, node)) return;
  if (search->worker >= 0 && !less(node, &search->best) && first_below(search, at) > search->worker) return;
  if (at >= search->leaves) {
    search->best = *node;
    search->worker = at - search->leaves;
    return;
  }
  int32_t right = less(&search->tree[2 * at + 1], &search->tree[2 * at]);
  look(search, 2 * at + right);
  look(search, 2 * at + 1 - right);
}

int32_t load_least(struct td_load_index *index, uint32_t roles, int64_t blocks) {
  for (int32_t i = 0; i < index->changed_count; i++) update(index, index->changed[i]);
  index->changed_count = 0;
  struct search best = {.best = nobody, .worker = -1};
  for (int role = 0; role < ROLES; role++) {
    if (!(roles & 1u << role) || !index->trees[role]) continue;
    struct search search = {
        .tree = index->trees[role], .leaves = index->leaves, .blocks = blocks, .best = nobody, .worker = -1};
    look(&search, 1);
    if (search.worker < 0) continue;
    bool ties = !less(&search.best, &best.best) && !less(&best.best, &search.best);
    if (best.worker < 0 || less(&search.best, &best.best) || (ties && search.worker < best.worker)) best = search;
  }
  return best.worker;
}
