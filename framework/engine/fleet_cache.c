/* SPDX-License-Identifier: Apache-2.0
 *
 * Prompts whose beginning a worker has computed before (engine.prefix_cache). A hit saves computing and not room: a
 * request takes all of its KV blocks whatever it finds. From admission to its end it is made of the blocks that it
 * found then or when it began, and of those it computed; after that they are idle in the worker's free KV blocks, and
 * go, the longest unused first, as soon as others take these. Blocks of its output that the workload names are its own
 * from when it leaves: those behind them in line cannot have asked for them before, as their prompts are made of it.
 *
 * All of it changes at events that merged and single steps have in common, but for blocks that merged steps take as
 * they go (kv = grow): those are taken first, see catch_up.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"
#include "tandem/base.h"

/* ---- opening ---- */

static const struct td_cfg_tier_below *tiers_of(const struct cluster_worker *worker) {
  return worker->pool->tiers.items;
}

/* Where the summary counts what a tier does: tiers of one name are one. */
static td_status find_counter(struct fleet *fleet, const char *name, int32_t *out) {
  struct td_run_prefix *counts = &fleet->summary->prefix;
  int32_t i = 0;
  while (i < counts->tier_count && strcmp(counts->tiers[i].name, name) != 0) i++;
  if (i == TD_RUN_TIERS_MAX) {
    return td_config_fail(fleet->cluster->config, "cluster.pools", "found more than %d names of tiers, expected fewer",
                          TD_RUN_TIERS_MAX - 1);
  }
  if (i == counts->tier_count) {
    TD_TRY(td_format(counts->tiers[i].name, sizeof counts->tiers[i].name, "%s", name));
    counts->tier_count++;
  }
  *out = i;
  return TD_OK;
}

static td_status open_tier(struct fleet *fleet, const struct cluster_worker *worker, int32_t i,
                           struct fleet_tier *out) {
  const struct td_cfg_tier_below *tier = &tiers_of(worker)[i];
  bool given = tier->bandwidth > 0;
  if (!given && !worker->params->host_bandwidth.present) {
    char path[64];
    snprintf(path, sizeof path, "cluster.pools.[%d].tiers.[%d].bandwidth", worker->pool_index, i);
    return td_config_fail(fleet->cluster->config, path,
                          "found none, expected one, or a device file with host_bandwidth: %s has none",
                          worker->params->path);
  }
  /* batches in flight have equal parts; each stage has a host's link of its own for its layers */
  const struct fleet_pool *pool = &fleet->pools[worker->pool_index];
  double stages = (double)fleet->layers / (double)pool->most_layers;
  out->tokens = tier->tokens / worker->pool->pipeline;
  out->survives = tier->survives;
  out->bytes_per_s = given ? tier->bandwidth * 1e9 : worker->params->host_bandwidth.value * stages / pool->ranks;
  return find_counter(fleet, tier->name, &out->counter);
}

td_status fleet_cache_open(struct fleet *fleet) {
  const struct cluster *cluster = fleet->cluster;
  TD_TRY(td_alloc((size_t)cluster->worker_count, sizeof *fleet->caches.of, (void **)&fleet->caches.of));
  TD_TRY(td_alloc((size_t)cluster->worker_count, sizeof *fleet->caches.found, (void **)&fleet->caches.found));
  fleet->summary->prefix = (struct td_run_prefix){.on = true, .tier_count = 1, .tiers = {{.name = "kv"}}};
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    const struct cluster_worker *worker = &cluster->workers[i];
    struct fleet_pool *pool = &fleet->pools[worker->pool_index];
    int32_t below = worker->pool->tiers.count;
    prefix_cache_open(&fleet->caches.of[i], 1 + below);
    fleet->caches.of[i].worker = i;
    if (fleet->policy->seeks_holders) fleet->caches.of[i].holders = &fleet->caches.holders;
    for (int32_t t = 0; t < below && pool->worker == worker; t++) {
      TD_TRY(open_tier(fleet, worker, t, &pool->tiers[t + 1]));
    }
  }
  return TD_OK;
}

void fleet_cache_close(struct fleet *fleet) {
  for (int32_t i = 0; fleet->caches.of && i < fleet->cluster->worker_count; i++) {
    prefix_cache_close(&fleet->caches.of[i]);
  }
  holders_close(&fleet->caches.holders);
  free(fleet->caches.found);
  free(fleet->caches.of);
}

/* ---- keys ---- */

static td_status check_tier(const struct fleet *fleet, int32_t worker, int32_t tier) {
  const struct replica *replica = &fleet->replicas[worker];
  int64_t tokens = fleet->pools[replica->pool].tiers[tier].tokens;
  if (tokens >= fleet->caches.unit_tokens) return TD_OK;
  char path[64];
  snprintf(path, sizeof path, "cluster.pools.[%d].tiers.[%d].tokens", replica->pool, tier - 1);
  return td_config_fail(fleet->cluster->config, path,
                        "found %" PRId64 ", expected at least %" PRId64
                        ": a block of the workload's prefix hashes, which are what is kept",
                        tokens, fleet->caches.unit_tokens);
}

/* The first job with hashes says how long their blocks are; they are what is kept. */
static td_status set_unit(struct fleet *fleet, int64_t tokens) {
  fleet->caches.unit_tokens = tokens;
  fleet->caches.unit_blocks = (tokens + fleet->block_tokens - 1) / fleet->block_tokens;
  for (int32_t i = 0; i < fleet->cluster->worker_count; i++) {
    struct prefix_cache *cache = &fleet->caches.of[i];
    cache->tiers[0].most = fleet_free_blocks(fleet, i) / fleet->caches.unit_blocks;
    for (int32_t t = 1; t < cache->tier_count; t++) {
      TD_TRY(check_tier(fleet, i, t));
      cache->tiers[t].most = fleet->pools[fleet->replicas[i].pool].tiers[t].tokens / tokens;
    }
  }
  return TD_OK;
}

static int32_t at_most(int64_t tokens, int64_t most) {
  return (int32_t)(tokens < most ? tokens : most);
}

void fleet_cache_target(const struct fleet *fleet, struct fleet_request *request) {
  if (request->text_count)
    request->key_count = at_most(request->target / fleet->caches.unit_tokens, request->text_count);
}

/* Whole blocks only; the last token of an output is never computed. */
static int32_t named_blocks(const struct td_job *job) {
  if (job->answer_count) {
    return at_most((job->prompt_tokens + job->output_tokens - 1) / job->prefix_tokens,
                   (int64_t)job->prefix_count + job->answer_count);
  }
  return at_most(job->prompt_tokens / job->prefix_tokens, job->prefix_count);
}

td_status fleet_cache_arrive(struct fleet *fleet, struct fleet_request *request, const struct td_job *job) {
  uint64_t key = TD_HASH_INIT;
  if (!job->prefix_count && !job->answer_count) return TD_OK;
  if (!fleet->caches.unit_tokens) TD_TRY(set_unit(fleet, job->prefix_tokens));
  if (job->prefix_tokens != fleet->caches.unit_tokens) {
    return td_fail(TD_INTERNAL, "request %" PRIu64 ": prefix hashes of %" PRId32 " tokens, expected %" PRId64,
                   request->number, job->prefix_tokens, fleet->caches.unit_tokens);
  }
  fleet->prefixes = true;
  request->text_count = named_blocks(job);
  fleet_cache_target(fleet, request);
  TD_TRY(td_alloc((size_t)request->text_count + 1, sizeof *request->keys, (void **)&request->keys));
  for (int32_t i = 0; i < request->text_count; i++) {
    key = td_random(key, (uint64_t)i, job->prefix[i]); /* equal blocks are the same behind equal beginnings only */
    request->keys[i] = key;
  }
  return TD_OK;
}

/* ---- what requests do to a worker's cache ---- */

static void catch_up(struct fleet *fleet, int32_t worker) {
  const struct replica *replica = &fleet->replicas[worker];
  if (!fleet->grow || !replica->busy || replica->count < 2) return;
  fleet_kv_taken(fleet, worker, fleet_steps_by_now(fleet, replica));
}

/* Idle blocks are in free ones. */
static void trim(struct fleet *fleet, int32_t worker) {
  if (!fleet->caches.unit_blocks) return;
  prefix_cache_trim(&fleet->caches.of[worker], fleet_free_blocks(fleet, worker) / fleet->caches.unit_blocks);
}

void fleet_cache_view(struct fleet *fleet, int32_t worker, int64_t blocks) {
  if (blocks > 0) catch_up(fleet, worker);
  fleet_rank_blocks(fleet, worker, blocks);
  if (blocks < 0) trim(fleet, worker);
}

/* The last token is always computed: it gives the first one of the output. */
static int32_t tokens_of(const struct fleet *fleet, const struct fleet_request *request, int32_t blocks) {
  return at_most(blocks * fleet->caches.unit_tokens, request->target - 1);
}

int32_t fleet_cache_held(const struct fleet *fleet, const struct fleet_request *request) {
  return tokens_of(fleet, request, request->held);
}

int32_t fleet_cache_past(const struct fleet *fleet, const struct fleet_request *request, int32_t worker) {
  const struct prefix_cache *cache = &fleet->caches.of[worker];
  int32_t found = request->held;
  while (found < request->key_count && prefix_cache_tier(cache, request->keys[found]) >= 0) found++;
  return tokens_of(fleet, request, found);
}

static td_status add_load(struct fleet *fleet, const struct fleet_tier *tier, int64_t *wait_ps) {
  double bytes = (double)fleet->bytes_per_position * (double)fleet->layers * (double)fleet->caches.unit_tokens;
  int64_t ps;
  TD_TRY(td_ps_from_seconds(bytes / tier->bytes_per_s, &ps));
  fleet->summary->prefix.load_s += td_seconds(ps);
  if (!__builtin_add_overflow(*wait_ps, ps, wait_ps)) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "the run lasts longer than 106 days");
}

/* Gets hold of the leading blocks that the worker has. */
td_status fleet_cache_hold(struct fleet *fleet, struct fleet_request *request, int32_t worker) {
  struct prefix_cache *cache = &fleet->caches.of[worker];
  const struct fleet_tier *tiers = fleet->pools[fleet->replicas[worker].pool].tiers;
  catch_up(fleet, worker);
  while (request->held < request->key_count) {
    int32_t past = fleet_cache_held(fleet, request);
    int32_t tier = prefix_cache_tier(cache, request->keys[request->held]);
    if (tier < 0) return TD_OK;
    if (tier > 0) TD_TRY(add_load(fleet, &tiers[tier], &request->load_ps));
    TD_TRY(prefix_cache_use(cache, request->keys[request->held++]));
    fleet->summary->prefix.tiers[tiers[tier].counter].hit_tokens += (uint64_t)(fleet_cache_held(fleet, request) - past);
  }
  return TD_OK;
}

/* The worker's step waits for what comes from tiers below. */
td_status fleet_cache_load(struct fleet *fleet, struct fleet_request *request, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  int32_t held = fleet_cache_held(fleet, request);
  int64_t start_ps;
  TD_TRY(fleet_cache_hold(fleet, request, worker));
  request->computed = fleet_cache_held(fleet, request);
  fleet->hit_tokens += request->computed;
  request->found += (uint32_t)request->computed;
  fleet_view(fleet, worker, 0, 0, held - request->computed);
  if (__builtin_add_overflow(replica->swap_ps, request->load_ps, &replica->swap_ps) ||
      __builtin_add_overflow(replica->swap_ps, fleet->now_ps, &start_ps)) {
    return td_fail(TD_UNSUPPORTED, "the run lasts longer than 106 days");
  }
  request->load_ps = 0;
  return TD_OK;
}

td_status fleet_cache_keep(struct fleet *fleet, struct fleet_request *request, int32_t worker, int64_t positions) {
  if (!request->text_count) return TD_OK;
  int32_t whole = at_most(positions / fleet->caches.unit_tokens, request->text_count);
  catch_up(fleet, worker);
  while (request->held < whole) {
    TD_TRY(prefix_cache_use(&fleet->caches.of[worker], request->keys[request->held++]));
  }
  return TD_OK;
}

void fleet_cache_release(struct fleet *fleet, struct fleet_request *request, int32_t worker) {
  catch_up(fleet, worker);
  /* a beginning outlasts what follows it */
  while (request->held) prefix_cache_release(&fleet->caches.of[worker], request->keys[--request->held]);
  trim(fleet, worker);
}

/* ---- failures ---- */

void fleet_cache_leave(struct fleet *fleet, struct fleet_request *request, int32_t worker, bool failed) {
  if (!request->computed) fleet->unused_tokens += fleet_cache_held(fleet, request);
  request->load_ps = 0;
  if (failed) {
    request->held = 0;
  } else {
    fleet_cache_release(fleet, request, worker);
  }
}

void fleet_cache_lose(struct fleet *fleet, int32_t worker) {
  const struct fleet_tier *tiers = fleet->pools[fleet->replicas[worker].pool].tiers;
  struct prefix_cache *cache = &fleet->caches.of[worker];
  uint32_t kept = 0;
  for (int32_t t = 1; t < cache->tier_count; t++) kept |= (uint32_t)tiers[t].survives << t;
  fleet->summary->prefix.lost_tokens += (uint64_t)(prefix_cache_lose(cache, kept) * fleet->caches.unit_tokens);
}
