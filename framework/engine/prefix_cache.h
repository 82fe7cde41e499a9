/* SPDX-License-Identifier: Apache-2.0
 *
 * The prompt blocks whose KV a worker has kept, by key. A block that requests of the worker are made of is in use and
 * takes no room but theirs; any other is idle: in the worker's free KV blocks (tier 0), or in a tier below. Each tier
 * gives up the block that was used longest ago, to the tier below it or, the last one, for good.
 */
#ifndef ENGINE_PREFIX_CACHE_H
#define ENGINE_PREFIX_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "holders.h"
#include "tandem/status.h"

#define PREFIX_TIERS_MAX 8 /* tier 0 and what stands below it */

struct prefix_entry {
  uint64_t key;
  int32_t older, newer; /* in its tier; -1: none. Of one that is no entry any more, newer is the next such */
  int32_t uses;         /* by how many requests; idle at 0; -1: no entry any more */
  int32_t tier;         /* of an idle one */
};
struct prefix_tier {
  int32_t oldest, newest; /* -1: empty */
  int64_t count, most;
  uint64_t left; /* blocks that it gave up */
};
struct prefix_cache {
  struct prefix_tier tiers[PREFIX_TIERS_MAX];
  int32_t tier_count;
  int32_t worker; /* whose it is: for `holders` */
  int64_t in_use; /* blocks that requests are made of */
  struct prefix_entry *entries;
  size_t capacity;
  int32_t used, unused; /* entries ever made; first of those that are none any more */
  int32_t *slots;       /* [slot_count]: entries by key, -1 where none; a power of two, at most half full */
  size_t slot_count;
  struct holders *holders; /* are told what this one has; NULL: nobody is */
};

/* Tiers hold nothing yet, and nothing fits: see `most` of each. */
void prefix_cache_open(struct prefix_cache *cache, int32_t tier_count);
void prefix_cache_close(struct prefix_cache *cache);

/* Where a block is: its tier, 0 too if it is in use; -1: nowhere. */
int32_t prefix_cache_tier(const struct prefix_cache *cache, uint64_t key);
/* A request of this worker is made of the block from now on, wherever it was. */
td_status prefix_cache_use(struct prefix_cache *cache, uint64_t key);
/* And is no more. Its tier 0 may then hold more than it may: prefix_cache_trim. */
void prefix_cache_release(struct prefix_cache *cache, uint64_t key);
/* Tier 0 keeps at most `most` idle blocks. */
void prefix_cache_trim(struct prefix_cache *cache, int64_t most);
/* All is lost but what is idle in the tiers `kept` (bits 1 << tier): how many idle blocks that was. Those in use are
 * not to be released any more. */
int64_t prefix_cache_lose(struct prefix_cache *cache, uint32_t kept);

#endif
