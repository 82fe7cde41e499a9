/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cluster_check.h"
#include "cluster_tools.h"
#include "tandem/base.h"
#include "tandem/cost.h"
#include "tandem/device.h"
#include "tandem/operators.h"

enum { WORKERS_MAX = 100000 };
#define MOST_POSITIONS 1e15 /* of a KV cache, as of a tier below it */

static const struct td_cfg_pool *pool_at(const struct cluster *cluster, int32_t i) {
  return (const struct td_cfg_pool *)cluster->experiment->cluster.pools.items + i;
}

static int32_t pool_find(const struct cluster *cluster, const char *name) {
  for (int32_t i = 0; i < cluster->pools; i++) {
    if (!strcmp(pool_at(cluster, i)->name, name)) return i;
  }
  return -1;
}

/* Several chips that act as one worker, or software that serves on one: only priced workers can. */
static td_status join_chips(const struct cluster *cluster, int32_t index) {
  const struct td_cfg_pool *pool = pool_at(cluster, index);
  const char *framework = *pool->framework ? pool->framework : NULL;
  const char *key = pool->tensor > 1 ? "tensor" : pool->expert > 1 ? "expert" : framework ? "framework" : "graphs";
  const struct td_serving serving = {.tensor = (int32_t)pool->tensor,
                                     .expert_tensor = pool->expert > 1 ? 1 : (int32_t)pool->tensor,
                                     .expert = (int32_t)pool->expert,
                                     .replicas = cluster_ranks(pool),
                                     .exchange = cluster_ranks(pool) > 1,
                                     .expert_link = cluster->expert_links[index],
                                     .no_graph = !pool->graphs,
                                     .framework = framework,
                                     .guesses = pool->tensor > 1 || pool->expert > 1 || framework};
  struct td_device_params *params = cluster->pool_params[index];
  char path[64];
  if (pool->tensor == 1 && pool->expert == 1 && pool->graphs && !framework) return TD_OK;
  TD_TRY(td_format(path, sizeof path, "cluster.pools.[%" PRId32 "].%s", index, key));
  if (!params || strcmp(pool->backend, "modelled")) {
    const struct td_backend *backend;
    TD_TRY(cluster_check_backend(cluster, index, &backend)); /* a name that is none is said as such */
    return td_config_fail(cluster->config, path, "found it on backend \"%s\", expected it on \"modelled\" only",
                          pool->backend);
  }
  if (framework && !td_device_fit(params, TD_E2E, framework)) {
    TD_TRY(td_format(path, sizeof path, "cluster.pools.[%" PRId32 "].framework", index));
    return td_config_fail(cluster->config, path, "found \"%s\", expected a framework that %s has a fit of e2e for",
                          framework, params->path);
  }
  td_status status = td_device_join(params, &serving);
  return status ? td_config_fail(cluster->config, path, "%s", td_error_text()) : TD_OK;
}

static td_status open_pool_links(struct cluster *cluster, int32_t index) {
  const struct td_cfg_pool *pool = pool_at(cluster, index);
  if (*pool->pipeline_link) TD_TRY(td_device_params_open(pool->pipeline_link, &cluster->stage_links[index]));
  return *pool->expert_link ? td_device_params_open(pool->expert_link, &cluster->expert_links[index]) : TD_OK;
}

static td_status open_params(struct cluster *cluster) {
  TD_TRY(td_alloc((size_t)cluster->pools, sizeof(void *), (void **)&cluster->stage_links));
  TD_TRY(td_alloc((size_t)cluster->pools, sizeof(void *), (void **)&cluster->expert_links));
  TD_TRY(td_alloc((size_t)cluster->pools, sizeof(void *), (void **)&cluster->pool_params));
  TD_TRY(td_alloc((size_t)cluster->pools * (size_t)cluster->pools, sizeof(void *), (void **)&cluster->links));
  for (int32_t i = 0; i < cluster->pools; i++) {
    if (*pool_at(cluster, i)->device) {
      TD_TRY(td_device_params_open(pool_at(cluster, i)->device, &cluster->pool_params[i]));
    }
    TD_TRY(open_pool_links(cluster, i));
    TD_TRY(join_chips(cluster, i));
  }
  const struct td_list *links = &cluster->experiment->cluster.links;
  for (int32_t i = 0; i < links->count; i++) {
    const struct td_cfg_link *link = (const struct td_cfg_link *)links->items + i;
    int32_t from = pool_find(cluster, link->from), to = pool_find(cluster, link->to);
    TD_TRY(td_device_params_open(link->device, &cluster->links[from * cluster->pools + to]));
  }
  return TD_OK;
}

static td_status name_worker(struct cluster_worker *worker, int64_t replica) {
  const char *pool = worker->pool->name;
  if (worker->pool->pipeline == 1) return td_format(worker->name, sizeof worker->name, "%s.%" PRId64, pool, replica);
  return td_format(worker->name, sizeof worker->name, "%s.%" PRId64 ".%" PRId32, pool, replica, worker->batch);
}

/* Replicas follow each other, batch by batch: of workers that are alike to a policy those of other replicas come
 * first. */
static td_status make_worker(struct cluster *cluster, int32_t pool, int64_t number, struct cluster_worker *worker) {
  worker->pool = pool_at(cluster, pool);
  worker->pool_index = pool;
  worker->params = cluster->pool_params[pool];
  worker->batch = (int32_t)(number / worker->pool->count);
  worker->leader = cluster->worker_count - worker->batch * (int32_t)worker->pool->count;
  if (name_worker(worker, number % worker->pool->count)) {
    return td_config_fail(cluster->config, "cluster.pools", "pool name %s", td_error_text());
  }
  return cluster_check_backend(cluster, pool, &worker->backend);
}

static td_status make_workers(struct cluster *cluster) {
  int64_t count = 0;
  for (int32_t i = 0; i < cluster->pools; i++) count += pool_at(cluster, i)->count * pool_at(cluster, i)->pipeline;
  if (count > WORKERS_MAX) {
    return td_config_fail(cluster->config, "cluster.pools", "found %" PRId64 " workers, expected at most %d", count,
                          WORKERS_MAX);
  }
  TD_TRY(td_alloc((size_t)count, sizeof *cluster->workers, (void **)&cluster->workers));
  for (int32_t i = 0; i < cluster->pools; i++) {
    int64_t workers = pool_at(cluster, i)->count * pool_at(cluster, i)->pipeline;
    for (int64_t number = 0; number < workers; number++) {
      TD_TRY(make_worker(cluster, i, number, &cluster->workers[cluster->worker_count]));
      cluster->worker_count++;
    }
  }
  return TD_OK;
}

int32_t cluster_executing(const struct cluster *cluster) {
  int32_t executing = 0;
  for (int32_t i = 0; i < cluster->worker_count; i++) executing += cluster->workers[i].backend->executes;
  return executing;
}

/* Executing workers are spread over the ranks in order; with ranks to spare rank 0 only orchestrates. Modelled workers
 * need no machine and stay beside the engine. */
static void place_workers(struct cluster *cluster, int32_t ranks) {
  int32_t executing = cluster_executing(cluster), placed = 0;
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    if (!cluster->workers[i].backend->executes) continue;
    cluster->workers[i].rank =
        ranks > executing ? placed + 1 : (int32_t)((int64_t)placed * ranks / (executing ? executing : 1));
    placed++;
  }
}

/* Workers of a pool follow each other, and so do those of them that share a rank. */
static void number_replicas(struct cluster *cluster) {
  for (int32_t i = 1; i < cluster->worker_count; i++) {
    struct cluster_worker *worker = &cluster->workers[i], *before = worker - 1;
    bool follows = worker->pool_index == before->pool_index && worker->rank == before->rank;
    worker->replica = follows ? before->replica + 1 : 0;
  }
}

td_status cluster_device(const struct cluster_worker *worker, char *out_spec, size_t size) {
  const struct td_backend *backend = NULL;
  int32_t index;
  TD_TRY(td_device_find(worker->pool->backend, &backend, &index));
  if (backend->numbered && !td_backend_on_host(backend, index)) index += worker->replica;
  TD_TRY(td_format(out_spec, size, "%s:%d", backend->name, (int)index));
  return td_device_find(out_spec, &backend, &index);
}

/* KV blocks for `tokens` positions. */
static int64_t blocks_of(const struct cluster *cluster, int64_t tokens) {
  int64_t block = cluster->experiment->engine.block_tokens;
  return (tokens + block - 1) / block;
}

int64_t cluster_max_rows(const struct cluster *cluster) {
  const struct td_cfg_engine *engine = &cluster->experiment->engine;
  bool again = engine->kv == TD_KV_GROW; /* who starts over has to prefill what it has put out too */
  int64_t longest = again ? cluster->workload.longest_total : cluster->workload.longest_prompt;
  return engine->chunk_tokens == 0 && longest > engine->batch_tokens ? longest : engine->batch_tokens;
}

/* Positions that fit beside the weights in the device file's memory. */
static td_status positions_from_memory(const struct cluster *cluster, const struct cluster_worker *worker,
                                       int64_t *out_tokens) {
  if (cluster_is_split(worker->pool)) return cluster_split_positions(cluster, worker, out_tokens);
  double memory = worker->params->memory_bytes.value;
  double weights = (double)td_model_weight_bytes(cluster->model);
  const struct td_shape *shape = td_model_shape(cluster->model);
  double position = (double)td_kv_bytes(shape, cluster->kv_dtype, shape->layers, 1);
  double tokens = (memory - weights) / position;
  bool fits = tokens >= (double)cluster->workload.longest_total;
  if (fits && tokens <= MOST_POSITIONS) {
    *out_tokens = (int64_t)tokens;
    return TD_OK;
  }
  char path[64];
  snprintf(path, sizeof path, "cluster.pools.[%d].device", worker->pool_index);
  if (fits) {
    return td_config_fail(
        cluster->config, path,
        "%s has %.4g GB: found room for %.4g positions of %.0f B, expected at most %g; kv_tokens says "
        "how many are used",
        worker->params->name, memory / 1e9, tokens, position, MOST_POSITIONS);
  }
  return td_config_fail(cluster->config, path,
                        "%s has %.4g GB: found weights of %.4g GB + %" PRId64
                        " positions of %.0f B = %.4g GB, expected at most that",
                        worker->params->name, memory / 1e9, weights / 1e9, cluster->workload.longest_total, position,
                        (weights + position * (double)cluster->workload.longest_total) / 1e9);
}

/* Default of an executing pool: the largest requests that can be in a step at once, each alone in its blocks. */
static int64_t positions_for_batch(const struct cluster *cluster) {
  int64_t sequences = cluster->experiment->engine.batch_sequences;
  if (sequences > cluster->workload.count) sequences = cluster->workload.count;
  return sequences * blocks_of(cluster, cluster->workload.longest_total) * cluster->experiment->engine.block_tokens;
}

/* Those that are really there have numbers of 32 bits. */
static td_status check_numbered(const struct cluster *cluster, const struct cluster_worker *worker, int64_t blocks) {
  char path[64];
  if (blocks <= INT32_MAX || (!worker->backend->executes && !cluster_is_lpu(worker))) return TD_OK;
  snprintf(path, sizeof path, "cluster.pools.[%d].kv_tokens", worker->pool_index);
  return td_config_fail(cluster->config, path,
                        "found 0, which stands for %" PRId64
                        " KV blocks here (as many of the longest request as engine.batch_sequences says), expected at "
                        "most %d",
                        blocks, INT32_MAX);
}

static td_status size_kv(struct cluster *cluster, struct cluster_worker *worker) {
  int64_t tokens = worker->pool->kv_tokens;
  bool from_file =
      worker->params && worker->params->memory_bytes.present && !worker->backend->executes && !cluster_is_lpu(worker);
  if (!tokens && from_file) TD_TRY(positions_from_memory(cluster, worker, &tokens));
  if (!tokens) tokens = positions_for_batch(cluster);
  int64_t groups = cluster_ranks(worker->pool);
  int64_t blocks = tokens / cluster->experiment->engine.block_tokens / worker->pool->pipeline / groups;
  int64_t need = blocks_of(cluster, cluster->workload.longest_total);
  if (blocks < need || blocks < 1) {
    const char *each = groups > 1                   ? " on each group of chips, for each batch in flight"
                       : worker->pool->pipeline > 1 ? " for each batch in flight"
                                                    : "";
    char path[64];
    snprintf(path, sizeof path, "cluster.pools.[%d].kv_tokens", worker->pool_index);
    if (!need && !tokens) {
      return td_config_fail(cluster->config, path,
                            "found 0, expected how many positions each replica holds: neither a memory in the device "
                            "file nor a longest request of a source says it");
    }
    if (!need) {
      return td_config_fail(cluster->config, path,
                            "found room for %" PRId64 " positions, expected at least a KV block of %" PRId64 "%s",
                            tokens, cluster->experiment->engine.block_tokens, each);
    }
    return td_config_fail(cluster->config, path,
                          "found %" PRId64 " KV blocks of %" PRId64 " positions%s, expected at least %" PRId64
                          " for the longest request",
                          blocks, cluster->experiment->engine.block_tokens, each, need);
  }
  worker->kv_blocks = blocks * groups;
  return check_numbered(cluster, worker, worker->kv_blocks);
}

static td_status take_identity(struct cluster *cluster) {
  char *text;
  struct td_experiment anywhere = *cluster->experiment;
  anywhere.model = ""; /* machines may keep it in different places; its digest is compared */
  TD_TRY(td_config_text(cluster->config, &td_experiment_group, &anywhere, &text));
  cluster->config_hash = td_hash(TD_HASH_INIT, text, strlen(text));
  cluster->model_digest = td_model_digest(cluster->model);
  free(text);
  return TD_OK;
}

static td_status open_all(struct cluster *cluster, bool exact) {
  cluster->pools = cluster->experiment->cluster.pools.count;
  cluster->kv_dtype = td_experiment_kv_dtype(cluster->experiment);
  TD_TRY(open_params(cluster));
  TD_TRY(make_workers(cluster));
  TD_TRY(cluster_open_orchestrators(cluster));
  place_workers(cluster, cluster->ranks);
  number_replicas(cluster);
  TD_TRY(cluster_check_devices(cluster));
  td_status status = td_model_open(cluster->experiment->model, &cluster->model);
  if (status) return cluster_check_model(cluster, status);
  TD_TRY(td_graph_build(cluster->model, &cluster->graph));
  TD_TRY(cluster_check_split(cluster));
  TD_TRY(workload_open(cluster->config, cluster->experiment, cluster->model, exact, &cluster->workload));
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    cluster->workers[i].slice = td_slice_whole(cluster->graph);
    TD_TRY(size_kv(cluster, &cluster->workers[i]));
  }
  if (exact) TD_TRY(take_identity(cluster));
  TD_TRY(cluster_find_policy(cluster));
  return cluster_check(cluster);
}

td_status cluster_open(const struct td_config *config, const struct td_experiment *experiment, int32_t ranks,
                       bool exact, struct cluster *out_cluster) {
  struct cluster cluster = {.config = config, .experiment = experiment, .ranks = ranks};
  td_status status = open_all(&cluster, exact);
  if (status) {
    cluster_close(&cluster);
    return status;
  }
  *out_cluster = cluster;
  return TD_OK;
}

static void close_all(struct td_device_params **params, int32_t count) {
  for (int32_t i = 0; params && i < count; i++) td_device_params_close(params[i]);
  free(params);
}

void cluster_close(struct cluster *cluster) {
  workload_close(&cluster->workload);
  td_graph_free(cluster->graph);
  td_model_close(cluster->model);
  close_all(cluster->links, cluster->pools * cluster->pools);
  close_all(cluster->pool_params, cluster->pools);
  close_all(cluster->stage_links, cluster->pools);
  close_all(cluster->expert_links, cluster->pools);
  cluster_close_orchestrators(cluster);
  free(cluster->workers);
  *cluster = (struct cluster){0};
}

const struct td_device_params *cluster_link(const struct cluster *cluster, int32_t from, int32_t to) {
  return cluster->links[cluster->workers[from].pool_index * cluster->pools + cluster->workers[to].pool_index];
}

bool cluster_prices_transfer(const struct cluster *cluster, int32_t from, int32_t to) {
  return cluster->experiment->engine.pace != TD_PACE_WALL || !cluster->workers[from].backend->executes ||
         !cluster->workers[to].backend->executes;
}
