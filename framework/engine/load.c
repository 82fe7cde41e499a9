/* SPDX-License-Identifier: Apache-2.0
 *
 * For each measure and role a tree over the workers' numbers, eight below each node. A node has the least of the
 * measure and the most KV blocks that a worker with a place free has below it, so that a search turns back where nobody
 * has the room. A change goes up only as far as it changes a node, and only once the measure is asked for.
 */
#include "load.h"

#include <stdlib.h>

#include "tandem/base.h"

enum { ROLES = 3, MEASURES = 8, BELOW = 8, ALL = (1 << BELOW) - 1, LEVELS = 12 };

#define NOBODY TD_NOT_HERE /* the load where nobody has the role and a place; the room is -1 */

struct level {
  int64_t *loads; /* what the measure says */
  int32_t *rooms; /* most free blocks of those that have a place; -1: none has */
};
struct tree {
  struct level levels[LEVELS]; /* [0]: by worker; [top]: eight */
};
struct measured {
  td_policy_measure measure;
  struct tree *trees[ROLES]; /* NULL: nobody has had the role */
  int32_t *changed;          /* [changed_count]: those that it has not seen since */
  int32_t changed_count;
};
struct td_load_index {
  int32_t count, top, measure_count;
  uint8_t *stale; /* [count]: of each worker the measures (bits) that have it among their changed ones */
  struct measured measures[MEASURES];
};

/* ---- opening ---- */

static size_t whole(size_t count) {
  return (count + BELOW - 1) / BELOW * BELOW;
}

/* Of each level, up to one of eight at most, and of all together. */
static size_t count_nodes(size_t workers, size_t nodes[LEVELS], int32_t *out_top) {
  int32_t top = 0;
  nodes[0] = whole(workers);
  size_t all = nodes[0];
  for (; nodes[top] > BELOW; top++) {
    nodes[top + 1] = whole(nodes[top] / BELOW);
    all += nodes[top + 1];
  }
  *out_top = top;
  return all;
}

static td_status open_tree(const struct td_load_index *index, struct tree **out_tree) {
  size_t nodes[LEVELS];
  int32_t top;
  size_t all = count_nodes((size_t)index->count, nodes, &top);
  struct tree *tree;
  TD_TRY(td_alloc(1, sizeof *tree, (void **)&tree));
  *out_tree = tree;
  TD_TRY(td_alloc_lines(all, sizeof *tree->levels[0].loads, (void **)&tree->levels[0].loads));
  TD_TRY(td_alloc_lines(all, sizeof *tree->levels[0].rooms, (void **)&tree->levels[0].rooms));
  for (size_t i = 0; i < all; i++) {
    tree->levels[0].loads[i] = NOBODY;
    tree->levels[0].rooms[i] = -1;
  }
  for (int32_t level = 0; level < top; level++) {
    tree->levels[level + 1].loads = tree->levels[level].loads + nodes[level];
    tree->levels[level + 1].rooms = tree->levels[level].rooms + nodes[level];
  }
  return TD_OK;
}

td_status load_role(struct td_load_index *index, int role) {
  for (int32_t i = 0; i < index->measure_count; i++) {
    struct tree **tree = &index->measures[i].trees[role];
    if (!*tree) TD_TRY(open_tree(index, tree));
  }
  return TD_OK;
}

static td_status add_measure(struct td_load_index *index, td_policy_measure measure) {
  if (index->measure_count == MEASURES) {
    return td_fail(TD_INTERNAL, "found more than %d measures of a policy, expected no more", MEASURES - 1);
  }
  struct measured *measured = &index->measures[index->measure_count++];
  measured->measure = measure;
  return td_alloc((size_t)index->count, sizeof *measured->changed, (void **)&measured->changed);
}

static td_status fill(struct td_load_index *index, const struct td_worker_view *views, const td_policy_measure *own) {
  size_t nodes[LEVELS];
  count_nodes((size_t)index->count, nodes, &index->top);
  TD_TRY(td_alloc((size_t)index->count, sizeof *index->stale, (void **)&index->stale));
  TD_TRY(add_measure(index, td_policy_work));
  for (; own && *own; own++) TD_TRY(add_measure(index, *own));
  for (int32_t i = 0; i < index->count; i++) {
    load_changed(index, i);
    TD_TRY(load_role(index, views[i].role));
  }
  return TD_OK;
}

td_status load_open(const struct td_worker_view *views, int32_t count, const td_policy_measure *own,
                    struct td_load_index **out_index) {
  struct td_load_index *index;
  TD_TRY(td_alloc(1, sizeof *index, (void **)&index));
  index->count = count;
  td_status status = fill(index, views, own);
  if (status) {
    load_close(index);
    return status;
  }
  *out_index = index;
  return TD_OK;
}

static void close_measure(struct measured *measured) {
  for (int role = 0; role < ROLES; role++) {
    if (!measured->trees[role]) continue;
    free(measured->trees[role]->levels[0].loads);
    free(measured->trees[role]->levels[0].rooms);
    free(measured->trees[role]);
  }
  free(measured->changed);
}

void load_close(struct td_load_index *index) {
  if (!index) return;
  for (int32_t i = 0; i < index->measure_count; i++) close_measure(&index->measures[i]);
  free(index->stale);
  free(index);
}

/* ---- changes ---- */

void load_changed(struct td_load_index *index, int32_t worker) {
  unsigned all = (1u << index->measure_count) - 1, fresh = all & ~(unsigned)index->stale[worker];
  if (!fresh) return;
  index->stale[worker] = (uint8_t)all;
  for (struct measured *each = index->measures; fresh; each++, fresh >>= 1) {
    if (fresh & 1u) each->changed[each->changed_count++] = worker;
  }
}

static int64_t less(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int32_t more(int32_t a, int32_t b) {
  return a > b ? a : b;
}

static int64_t least_of(const int64_t *x) {
  return less(less(less(x[0], x[1]), less(x[2], x[3])), less(less(x[4], x[5]), less(x[6], x[7])));
}

static int32_t most_of(const int32_t *x) {
  return more(more(more(x[0], x[1]), more(x[2], x[3])), more(more(x[4], x[5]), more(x[6], x[7])));
}

/* Up the tree as long as nodes change, as in raise_change of fleet_queue.c. */
static void set_load(const struct tree *tree, int32_t top, int32_t at, int64_t load) {
  int64_t before = tree->levels[0].loads[at];
  tree->levels[0].loads[at] = load;
  for (const struct level *level = tree->levels; level < tree->levels + top; level++) {
    at /= BELOW;
    int64_t *node = &level[1].loads[at], was = *node;
    if (load >= was) {
      if (before > was) return;
      load = least_of(&level->loads[at * BELOW]);
      if (load == was) return;
    }
    before = was;
    *node = load;
  }
}

static void set_room(const struct tree *tree, int32_t top, int32_t at, int32_t room) {
  int32_t before = tree->levels[0].rooms[at];
  tree->levels[0].rooms[at] = room;
  for (const struct level *level = tree->levels; level < tree->levels + top; level++) {
    at /= BELOW;
    int32_t *node = &level[1].rooms[at], was = *node;
    if (room <= was) {
      if (before < was) return;
      room = most_of(&level->rooms[at * BELOW]);
      if (room == was) return;
    }
    before = was;
    *node = room;
  }
}

static void update(const struct measured *measured, const struct td_cluster_view *cluster, int32_t top,
                   int32_t worker) {
  const struct td_worker_view *view = &cluster->workers[worker];
  int64_t load = view->free_sequences < 1 ? NOBODY : measured->measure(cluster, worker);
  int32_t room =
      view->free_blocks < INT32_MAX ? (int32_t)view->free_blocks : INT32_MAX; /* no request has so many positions */
  if (load == NOBODY) room = -1; /* else those that are down would seem to have the least work, and be looked for */
  for (int role = 0; role < ROLES; role++) {
    if (!measured->trees[role]) continue;
    bool has = role == view->role;
    set_load(measured->trees[role], top, worker, has ? load : NOBODY);
    set_room(measured->trees[role], top, worker, has ? room : -1);
  }
}

static void catch_up(struct td_load_index *index, const struct td_cluster_view *cluster, int32_t number) {
  struct measured *measured = &index->measures[number];
  for (int32_t i = 0; i < measured->changed_count; i++) {
    update(measured, cluster, index->top, measured->changed[i]);
    index->stale[measured->changed[i]] &= (uint8_t) ~(1u << number);
  }
  measured->changed_count = 0;
}

/* ---- questions ---- */

struct search {
  const struct tree *tree;
  int64_t blocks; /* that there must be room for, 0 or more */
  int64_t load;   /* of the best so far; NOBODY: there is none */
  int32_t worker;
};

static int32_t first_below(int32_t level, int32_t at) {
  while (level-- > 0) at *= BELOW;
  return at;
}

/* The first of the eight that has this load, which one has. Without a branch for each: nobody can guess them. */
static int32_t place_of(const int64_t *loads, int64_t load) {
  unsigned equal = 0;
  for (int i = 0; i < BELOW; i++) equal |= (unsigned)(loads[i] == load) << i;
  return __builtin_ctz(equal);
}

/* Of eight nodes those of a bit in `left`: the one with the least load, of equals the first; -1: nobody has room. */
static int32_t pick(const int64_t *loads, const int32_t *rooms, int64_t blocks, unsigned left) {
  int32_t best = -1;
  for (int32_t i = 0; left; i++, left >>= 1) {
    if (!(left & 1u) || rooms[i] < blocks || loads[i] == NOBODY) continue;
    if (best < 0 || loads[i] < loads[best]) best = i;
  }
  return best;
}

/* The same of all eight; mostly there is room where the load is least. */
static int32_t pick_first(const int64_t *loads, const int32_t *rooms, int64_t blocks) {
  int32_t i = place_of(loads, least_of(loads));
  return rooms[i] >= blocks ? i : pick(loads, rooms, blocks, ALL);
}

/* The better ones first, so that others are rarely looked into; of equals the smallest number wins. */
static void look(struct search *search, int32_t level, int32_t at) {
  const int64_t *loads = search->tree->levels[level].loads + at;
  const int32_t *rooms = search->tree->levels[level].rooms + at;
  int32_t i = pick_first(loads, rooms, search->blocks);
  for (unsigned left = ALL; i >= 0; i = pick(loads, rooms, search->blocks, left)) {
    if (loads[i] > search->load || (loads[i] == search->load && first_below(level, at + i) > search->worker)) return;
    if (level == 0) {
      search->load = loads[i];
      search->worker = at + i;
      return;
    }
    int32_t before = search->worker;
    look(search, level - 1, (at + i) * BELOW);
    if (search->worker != before && search->load == loads[i]) return; /* others have more, or greater numbers */
    left &= ~(1u << i);
  }
}

bool load_least(const struct td_cluster_view *cluster, td_policy_measure measure, uint32_t roles, int64_t blocks,
                int32_t *out_worker) {
  struct td_load_index *index = cluster->loads;
  int32_t number = 0;
  while (number < index->measure_count && index->measures[number].measure != measure) number++;
  if (number == index->measure_count) return false;
  catch_up(index, cluster, number);
  struct search search = {.blocks = blocks > 0 ? blocks : 0, .load = NOBODY, .worker = -1};
  for (int role = 0; role < ROLES; role++) {
    if (!(roles & 1u << role) || !index->measures[number].trees[role]) continue;
    search.tree = index->measures[number].trees[role];
    look(&search, index->top, 0);
  }
  *out_worker = search.worker;
  return true;
}

/* The first from `at` on that has the room, -1: none: along the eight, then beside the node above them, and down. */
static int32_t first_from(const struct tree *tree, int32_t top, int32_t at, int64_t blocks) {
  int32_t level = 0, above = at / BELOW;
  for (;; level++, at = above + 1, above /= BELOW) {
    const int32_t *rooms = tree->levels[level].rooms;
    int32_t end = (above + 1) * BELOW;
    while (at < end && rooms[at] < blocks) at++;
    if (at < end) break;
    if (level == top) return -1;
  }
  while (level-- > 0) {
    at *= BELOW;
    while (tree->levels[level].rooms[at] < blocks) at++;
  }
  return at;
}

int32_t load_next(const struct td_cluster_view *cluster, uint32_t roles, int64_t blocks, int32_t from) {
  struct td_load_index *index = cluster->loads;
  int32_t best = -1, nearest = index->count;
  if (blocks < 0) blocks = 0;
  for (int role = 0; role < ROLES; role++) {
    const struct tree *tree = index->measures[0].trees[role];
    if (!(roles & 1u << role) || !tree) continue;
    catch_up(index, cluster, 0);
    int32_t found = first_from(tree, index->top, from, blocks);
    if (found < 0) found = first_from(tree, index->top, 0, blocks);
    int32_t turns = found - from + (found < from ? index->count : 0);
    if (found < 0 || turns >= nearest) continue;
    best = found;
    nearest = turns;
  }
  return best;
}
