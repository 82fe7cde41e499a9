/* SPDX-License-Identifier: Apache-2.0
 *
 * Open addressing, each key at the first free slot from its own on, as in prefix_cache.c.
 */
#include "holders.h"

#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"

void holders_close(struct holders *holders) {
  for (size_t i = 0; i < holders->slot_count; i++) {
    if (holders->slots[i].capacity) free(holders->slots[i].workers.many);
  }
  free(holders->slots);
}

/* ---- by key ---- */

static size_t home(const struct holders *holders, uint64_t key) {
  return (size_t)(key ^ key >> 32) & (holders->slot_count - 1);
}

/* The slot of a key, or the free one where it would be. */
static size_t slot_of(const struct holders *holders, uint64_t key) {
  size_t slot = home(holders, key);
  while (holders->slots[slot].count && holders->slots[slot].key != key) slot = (slot + 1) & (holders->slot_count - 1);
  return slot;
}

static td_status more_slots(struct holders *holders) {
  struct holders more = {.slot_count = holders->slot_count ? 2 * holders->slot_count : 64, .used = holders->used};
  TD_TRY(td_alloc(more.slot_count, sizeof *more.slots, (void **)&more.slots));
  for (size_t i = 0; i < holders->slot_count; i++) {
    const struct holder_list *list = &holders->slots[i];
    if (list->count) more.slots[slot_of(&more, list->key)] = *list;
  }
  free(holders->slots);
  *holders = more;
  return TD_OK;
}

/* What stands behind the slot moves up, as long as it is not before its own place. */
static void clear_slot(struct holders *holders, size_t hole) {
  size_t mask = holders->slot_count - 1;
  for (size_t at = (hole + 1) & mask; holders->slots[at].count; at = (at + 1) & mask) {
    size_t from = home(holders, holders->slots[at].key);
    if (((at - from) & mask) < ((at - hole) & mask)) continue;
    holders->slots[hole] = holders->slots[at];
    hole = at;
  }
  holders->slots[hole] = (struct holder_list){.count = 0};
}

/* ---- workers of a key ---- */

static int32_t *workers_of(struct holder_list *list) {
  return list->capacity ? list->workers.many : list->workers.few;
}

/* Of the first that is not smaller. */
static int32_t place_of(struct holder_list *list, int32_t worker) {
  const int32_t *workers = workers_of(list);
  int32_t low = 0, high = list->count;
  while (low < high) {
    int32_t middle = low + (high - low) / 2;
    if (workers[middle] < worker) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static td_status make_room(struct holder_list *list) {
  int32_t *many, room = list->capacity ? list->capacity : HOLDERS_FEW;
  if (list->count < room) return TD_OK;
  TD_TRY(td_alloc(2 * (size_t)room, sizeof *many, (void **)&many));
  memcpy(many, workers_of(list), (size_t)list->count * sizeof *many);
  if (list->capacity) free(list->workers.many);
  list->workers.many = many;
  list->capacity = 2 * room;
  return TD_OK;
}

/* ---- what others ask ---- */

td_status holders_add(struct holders *holders, uint64_t key, int32_t worker) {
  if (2 * (holders->used + 1) > holders->slot_count) TD_TRY(more_slots(holders));
  struct holder_list *list = &holders->slots[slot_of(holders, key)];
  TD_TRY(make_room(list));
  int32_t *workers = workers_of(list), at = place_of(list, worker);
  memmove(workers + at + 1, workers + at, (size_t)(list->count - at) * sizeof *workers);
  workers[at] = worker;
  holders->used += !list->count++;
  list->key = key;
  return TD_OK;
}

void holders_remove(struct holders *holders, uint64_t key, int32_t worker) {
  size_t slot = slot_of(holders, key);
  struct holder_list *list = &holders->slots[slot];
  int32_t *workers = workers_of(list), at = place_of(list, worker);
  list->count--;
  memmove(workers + at, workers + at + 1, (size_t)(list->count - at) * sizeof *workers);
  if (list->count) return;
  if (list->capacity) free(list->workers.many);
  clear_slot(holders, slot);
  holders->used--;
}

int32_t holders_of(const struct holders *holders, uint64_t key, const int32_t **out_workers) {
  if (!holders->slot_count) return 0;
  struct holder_list *list = &holders->slots[slot_of(holders, key)];
  *out_workers = workers_of(list);
  return list->count;
}
