/* SPDX-License-Identifier: Apache-2.0 */
#include "prefix_cache.h"

#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"

void prefix_cache_open(struct prefix_cache *cache, int32_t tier_count) {
  *cache = (struct prefix_cache){.tier_count = tier_count, .unused = -1};
  for (int32_t i = 0; i < tier_count; i++) cache->tiers[i].oldest = cache->tiers[i].newest = -1;
}

void prefix_cache_close(struct prefix_cache *cache) {
  free(cache->entries);
  free(cache->slots);
}

/* ---- by key: open addressing, each key at the first free slot from its own on ---- */

static size_t home(const struct prefix_cache *cache, uint64_t key) {
  return (size_t)(key ^ key >> 32) & (cache->slot_count - 1);
}

/* The slot of a key, or the free one where it would be. */
static size_t slot_of(const struct prefix_cache *cache, uint64_t key) {
  size_t slot = home(cache, key);
  while (cache->slots[slot] >= 0 && cache->entries[cache->slots[slot]].key != key) {
    slot = (slot + 1) & (cache->slot_count - 1);
  }
  return slot;
}

static int32_t find(const struct prefix_cache *cache, uint64_t key) {
  return cache->slot_count ? cache->slots[slot_of(cache, key)] : -1;
}

static td_status more_slots(struct prefix_cache *cache) {
  int32_t *slots = NULL, *before = cache->slots;
  size_t count = cache->slot_count ? 2 * cache->slot_count : 64, had = cache->slot_count;
  TD_TRY(td_alloc(count, sizeof *slots, (void **)&slots));
  memset(slots, 0xff, count * sizeof *slots);
  cache->slots = slots;
  cache->slot_count = count;
  for (size_t i = 0; i < had; i++) {
    if (before[i] >= 0) slots[slot_of(cache, cache->entries[before[i]].key)] = before[i];
  }
  free(before);
  return TD_OK;
}

/* What stands behind the slot moves up, as long as it is not before its own place. */
static void clear_slot(struct prefix_cache *cache, size_t hole) {
  size_t mask = cache->slot_count - 1;
  for (size_t at = (hole + 1) & mask; cache->slots[at] >= 0; at = (at + 1) & mask) {
    size_t from = home(cache, cache->entries[cache->slots[at]].key);
    if (((at - from) & mask) < ((at - hole) & mask)) continue;
    cache->slots[hole] = cache->slots[at];
    hole = at;
  }
  cache->slots[hole] = -1;
}

/* ---- entries ---- */

static td_status add(struct prefix_cache *cache, uint64_t key, int32_t *out_entry) {
  if (2 * (size_t)(cache->used + 1) > cache->slot_count) TD_TRY(more_slots(cache));
  if (cache->holders) TD_TRY(holders_add(cache->holders, key, cache->worker));
  int32_t entry = cache->unused;
  if (entry >= 0) {
    cache->unused = cache->entries[entry].newer;
  } else {
    if (cache->used == INT32_MAX / 4) return td_fail(TD_UNSUPPORTED, "more than %d kept blocks", cache->used);
    TD_TRY(td_grow((void **)&cache->entries, &cache->capacity, (size_t)cache->used + 1, sizeof *cache->entries));
    entry = cache->used++;
  }
  cache->entries[entry] = (struct prefix_entry){.key = key, .older = -1, .newer = -1};
  cache->slots[slot_of(cache, key)] = entry;
  *out_entry = entry;
  return TD_OK;
}

static void forget(struct prefix_cache *cache, int32_t entry) {
  if (cache->holders) holders_remove(cache->holders, cache->entries[entry].key, cache->worker);
  clear_slot(cache, slot_of(cache, cache->entries[entry].key));
  cache->entries[entry].uses = -1;
  cache->entries[entry].newer = cache->unused;
  cache->unused = entry;
}

/* ---- tiers ---- */

static void take_out(struct prefix_cache *cache, int32_t number) {
  const struct prefix_entry *entry = &cache->entries[number];
  struct prefix_tier *tier = &cache->tiers[entry->tier];
  *(entry->older < 0 ? &tier->oldest : &cache->entries[entry->older].newer) = entry->newer;
  *(entry->newer < 0 ? &tier->newest : &cache->entries[entry->newer].older) = entry->older;
  tier->count--;
}

static void put_in(struct prefix_cache *cache, int32_t number, int32_t at) {
  struct prefix_entry *entry = &cache->entries[number];
  struct prefix_tier *tier = &cache->tiers[at];
  entry->tier = at;
  entry->older = tier->newest;
  entry->newer = -1;
  *(tier->newest < 0 ? &tier->oldest : &cache->entries[tier->newest].newer) = number;
  tier->newest = number;
  tier->count++;
}

/* Gives up the oldest of a tier; what each tier below has too many of goes on down. */
static void push_down(struct prefix_cache *cache, int32_t at) {
  for (;; at++) {
    int32_t number = cache->tiers[at].oldest;
    take_out(cache, number);
    cache->tiers[at].left++;
    if (at + 1 == cache->tier_count) {
      forget(cache, number);
      return;
    }
    put_in(cache, number, at + 1);
    if (cache->tiers[at + 1].count <= cache->tiers[at + 1].most) return;
  }
}

/* ---- what others ask ---- */

int32_t prefix_cache_tier(const struct prefix_cache *cache, uint64_t key) {
  int32_t entry = find(cache, key);
  if (entry < 0) return -1;
  return cache->entries[entry].uses ? 0 : cache->entries[entry].tier;
}

td_status prefix_cache_use(struct prefix_cache *cache, uint64_t key) {
  int32_t entry = find(cache, key);
  if (entry < 0) {
    TD_TRY(add(cache, key, &entry));
  } else if (!cache->entries[entry].uses) {
    take_out(cache, entry);
  }
  if (!cache->entries[entry].uses++) cache->in_use++;
  return TD_OK;
}

void prefix_cache_release(struct prefix_cache *cache, uint64_t key) {
  int32_t entry = find(cache, key);
  if (--cache->entries[entry].uses) return;
  cache->in_use--;
  put_in(cache, entry, 0);
}

void prefix_cache_trim(struct prefix_cache *cache, int64_t most) {
  cache->tiers[0].most = most;
  while (cache->tiers[0].count > most) push_down(cache, 0);
}

int64_t prefix_cache_lose(struct prefix_cache *cache, uint32_t kept) {
  int64_t idle = 0;
  for (int32_t i = 0; i < cache->used; i++) {
    const struct prefix_entry *entry = &cache->entries[i];
    if (entry->uses < 0 || (!entry->uses && kept & 1u << entry->tier)) continue;
    if (!entry->uses) {
      take_out(cache, i);
      idle++;
    }
    forget(cache, i);
  }
  cache->in_use = 0;
  return idle;
}
