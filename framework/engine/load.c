/* SPDX-License-Identifier: Apache-2.0
 *
 * For each role a tree over the workers' numbers, eight below each node. A node has the least work and the most KV
 * blocks that a worker with a place free has below it, so that a search turns back where nobody has the room. A change
 * goes up only as far as it changes a node.
 */
#include "load.h"

#include <stdlib.h>

#include "tandem/base.h"

enum { ROLES = 3, ACTIVE_BITS = 17, BELOW = 8, ALL = (1 << BELOW) - 1, LEVELS = 12 };

#define NOBODY INT64_MAX /* the load where nobody has the role and a place; the room is -1 */

struct level {
  int64_t *loads; /* waiting tokens, then active requests */
  int32_t *rooms; /* most free blocks of those that have a place; -1: none has */
};
struct tree {
  struct level levels[LEVELS]; /* [0]: by worker; [top]: eight */
};
struct td_load_index {
  const struct td_worker_view *views;
  int32_t count, top;
  struct tree *trees[ROLES]; /* NULL: nobody has had the role */
  uint8_t *stale;            /* [count] */
  int32_t *changed;          /* those that are */
  int32_t changed_count;
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

td_status load_role(struct td_load_index *index, int role) {
  size_t nodes[LEVELS], all = count_nodes((size_t)index->count, nodes, &index->top);
  struct tree *tree;
  int64_t *loads;
  if (index->trees[role]) return TD_OK;
  TD_TRY(td_alloc(1, sizeof *tree, (void **)&tree));
  index->trees[role] = tree;
  TD_TRY(td_alloc_lines(all, sizeof *loads, (void **)&tree->levels[0].loads));
  TD_TRY(td_alloc_lines(all, sizeof *tree->levels[0].rooms, (void **)&tree->levels[0].rooms));
  for (size_t i = 0; i < all; i++) {
    tree->levels[0].loads[i] = NOBODY;
    tree->levels[0].rooms[i] = -1;
  }
  for (int32_t level = 0; level < index->top; level++) {
    tree->levels[level + 1].loads = tree->levels[level].loads + nodes[level];
    tree->levels[level + 1].rooms = tree->levels[level].rooms + nodes[level];
  }
  return TD_OK;
}

td_status load_open(const struct td_worker_view *views, int32_t count, struct td_load_index **out_index) {
  struct td_load_index *index;
  TD_TRY(td_alloc(1, sizeof *index, (void **)&index));
  index->views = views;
  index->count = count;
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
  for (int role = 0; role < ROLES; role++) {
    if (!index->trees[role]) continue;
    free(index->trees[role]->levels[0].loads);
    free(index->trees[role]->levels[0].rooms);
    free(index->trees[role]);
  }
  free(index->stale);
  free(index->changed);
  free(index);
}

/* ---- changes ---- */

void load_changed(struct td_load_index *index, int32_t worker) {
  if (index->stale[worker]) return;
  index->stale[worker] = 1;
  index->changed[index->changed_count++] = worker;
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

static void update(struct td_load_index *index, int32_t worker) {
  const struct td_worker_view *view = &index->views[worker];
  int64_t load = view->waiting_tokens << ACTIVE_BITS | view->active;
  int32_t room =
      view->free_blocks < INT32_MAX ? (int32_t)view->free_blocks : INT32_MAX; /* no request has so many positions */
  if (view->free_sequences < 1) { /* else those that are down would seem to have the least work, and be looked for */
    room = -1;
    load = NOBODY;
  }
  for (int role = 0; role < ROLES; role++) {
    if (!index->trees[role]) continue;
    bool has = role == view->role;
    set_load(index->trees[role], index->top, worker, has ? load : NOBODY);
    set_room(index->trees[role], index->top, worker, has ? room : -1);
  }
  index->stale[worker] = 0;
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

int32_t load_least(struct td_load_index *index, uint32_t roles, int64_t blocks) {
  for (int32_t i = 0; i < index->changed_count; i++) update(index, index->changed[i]);
  index->changed_count = 0;
  struct search search = {.blocks = blocks > 0 ? blocks : 0, .load = NOBODY, .worker = -1};
  for (int role = 0; role < ROLES; role++) {
    if (!(roles & 1u << role) || !index->trees[role]) continue;
    search.tree = index->trees[role];
    look(&search, index->top, 0);
  }
  return search.worker;
}
