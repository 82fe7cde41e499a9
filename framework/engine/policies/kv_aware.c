/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy `kv_aware`: a prompt goes where its beginning has been before, unless too much waits there. With prefix caches
 * (engine.prefix_cache) it asks those workers that have some of it. Without, it keeps its own, bounded memory of which
 * block of which prompt it sent where, as the routers of llm-d and Dynamo do between their workers' reports.
 */
#include "tandem/policy.h"

#include "tandem/base.h"
#include "tandem/experiment.h"

enum { BOTH = 1u << TD_ROLE_BOTH, PREFILL = 1u << TD_ROLE_PREFILL, DECODE = 1u << TD_ROLE_DECODE };
/* Sets of places, each for a few of the blocks whose hash falls on it: a worker more pushes the oldest out. */
enum { SETS = 1 << 14, WAYS = 8 };

struct place {
  uint64_t block; /* the hash of a prompt up to the block's end; 0: free */
  int32_t worker;
};
struct memory {
  struct place sets[SETS][WAYS]; /* each with the latest first */
};

static td_status check(const struct td_cluster_view *cluster) {
  return td_policy_needs_any(cluster, "kv_aware");
}

/* Equal blocks are the same only behind equal beginnings. */
static uint64_t extend(uint64_t before, uint64_t block) {
  uint64_t hash = td_hash(before, &block, sizeof block);
  return hash ? hash : 1;
}

static struct place *set_of(const struct td_cluster_view *cluster, uint64_t block) {
  struct memory *memory = cluster->state;
  return memory->sets[(block ^ block >> 32) % SETS];
}

static bool knows(const struct place *set, uint64_t block, int32_t worker) {
  for (int way = 0; way < WAYS; way++) {
    if (set[way].block == block && set[way].worker == worker) return true;
  }
  return false;
}

/* Leading blocks of the prompt that a worker has seen. */
static int32_t match(const struct td_cluster_view *cluster, const struct td_request_view *request, int32_t worker) {
  uint64_t block = TD_HASH_INIT;
  for (int32_t i = 0; i < request->prefix_count; i++) {
    block = extend(block, request->prefix[i]);
    if (!knows(set_of(cluster, block), block, worker)) return i;
  }
  return request->prefix_count;
}

/* What waits there less what is known there, in prompt tokens. */
static double cost_if(const struct td_cluster_view *cluster, int32_t worker, int64_t known) {
  return (double)cluster->workers[worker].waiting_tokens - cluster->options->prefix_weight * (double)known;
}

static double cost_of(const struct td_cluster_view *cluster, const struct td_request_view *request, int32_t worker) {
  int64_t known = cluster->caches ? td_policy_cached_tokens(cluster, worker, request)
                                  : (int64_t)match(cluster, request, worker) * request->prefix_tokens;
  if (known > request->prompt_tokens) known = request->prompt_tokens; /* the last block may be shorter */
  return cost_if(cluster, worker, known);
}

struct choice {
  int32_t first; /* the worker with the least work */
  int32_t best;
  double least; /* what it costs */
};

/* Equals: the one with the least work, then by number; -1: would anybody of that cost be? */
static bool is_better(const struct choice *choice, int32_t worker, double cost) {
  return cost < choice->least || (cost == choice->least && choice->best != choice->first && worker < choice->best);
}

/* Of the worker with the least work and all those with caches, the cheapest. Those that know most are asked first,
 * until all that know less would cost more with no more to do than the first. */
static int32_t choose_cached(const struct td_cluster_view *cluster, const struct td_request_view *request,
                             uint32_t roles, int64_t blocks) {
  int32_t first = td_policy_least_work(cluster, roles, blocks);
  if (first < 0 || !request->key_count) return first;
  struct choice choice = {first, first, cost_of(cluster, request, first)};
  for (int32_t keys = request->key_count; keys > 0; keys--) {
    const int32_t *holders = NULL;
    const int64_t known = td_policy_key_tokens(cluster, request, keys);
    if (!is_better(&choice, -1, cost_if(cluster, first, known))) break;
    int32_t count = td_policy_holders(cluster, request->keys[keys - 1], &holders);
    for (int32_t i = 0; i < count; i++) {
      if (!td_policy_has_room(&cluster->workers[holders[i]], roles, blocks)) continue;
      if (!is_better(&choice, holders[i], cost_if(cluster, holders[i], known))) continue;
      double cost = cost_of(cluster, request, holders[i]);
      if (!is_better(&choice, holders[i], cost)) continue;
      choice.best = holders[i];
      choice.least = cost;
    }
  }
  return choice.best;
}

/* Of the worker with the least work and those that know the first block, the cheapest; equals: the one with the least
 * work, then the one seen last. */
static int32_t choose(const struct td_cluster_view *cluster, const struct td_request_view *request, uint32_t roles,
                      int64_t blocks) {
  if (cluster->caches) return choose_cached(cluster, request, roles, blocks);
  int32_t best = td_policy_least_work(cluster, roles, blocks);
  if (best < 0 || !request->prefix_count) return best;
  uint64_t first = extend(TD_HASH_INIT, request->prefix[0]);
  const struct place *set = set_of(cluster, first);
  double least = cost_of(cluster, request, best);
  for (int way = 0; way < WAYS; way++) {
    if (set[way].block != first || !td_policy_has_room(&cluster->workers[set[way].worker], roles, blocks)) continue;
    double cost = cost_of(cluster, request, set[way].worker);
    if (cost >= least) continue;
    least = cost;
    best = set[way].worker;
  }
  return best;
}

static void remember_block(struct place *set, uint64_t block, int32_t worker) {
  int way = 0;
  while (way < WAYS - 1 && set[way].block && !(set[way].block == block && set[way].worker == worker)) way++;
  for (; way; way--) set[way] = set[way - 1];
  set[0] = (struct place){block, worker};
}

static void remember(const struct td_cluster_view *cluster, const struct td_request_view *request, int32_t worker) {
  uint64_t block = TD_HASH_INIT;
  for (int32_t i = 0; i < request->prefix_count; i++) {
    block = extend(block, request->prefix[i]);
    remember_block(set_of(cluster, block), block, worker);
  }
}

static enum td_verdict route(const struct td_cluster_view *cluster, const struct td_request_view *request,
                             struct td_step_plan *out_plan) {
  int32_t both = choose(cluster, request, BOTH, request->decode_blocks);
  int32_t prefill = both >= 0 ? both : choose(cluster, request, PREFILL, request->prefill_blocks);
  int32_t decode = both >= 0 ? both : td_policy_least_work(cluster, DECODE, request->decode_blocks);
  if (prefill < 0 || decode < 0) return TD_WAIT;
  if (!cluster->caches) remember(cluster, request, prefill);
  *out_plan = prefill == decode ? td_plan_whole(both, cluster->whole) : td_plan_split(prefill, decode, cluster->whole);
  return TD_ROUTE;
}

static const struct td_policy_option options[] = {
    {"prefix_weight", 1, "waiting prompt tokens that a token of a known beginning makes up for; 0 = least work alone"},
    {.name = NULL}};

const struct td_policy td_policy_kv_aware = {
    .size = sizeof(struct td_policy),
    .name = "kv_aware",
    .summary = "prompts prefill where their beginning was computed before, weighed against what waits there",
    .help =
        "A worker costs the prompt tokens that wait there less prefix_weight x the prompt's tokens that it knows; the "
        "cheapest computes the prompt. With engine.prefix_cache it knows what its cache has, in any tier. Without, "
        "what was sent there before, which the policy remembers per block of the workload's prefix hashes, for the "
        "last 131,072 blocks or so. Prompts without hashes go by least work, as "
        "decode does. Requests run on workers of role both, and when none has room split over the other two "
        "roles.",
    .options = options,
    .state_bytes = sizeof(struct memory),
    .check = check,
    .route = route,
    .seeks_holders = true,
};
