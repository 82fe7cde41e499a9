/* SPDX-License-Identifier: Apache-2.0
 *
 * Where workers execute, or the pace is not priced: the first request's first steps on the pools whose steps are
 * priced, so that what has no price is said before the run.
 */
#include "cluster_check.h"
#include "tandem/base.h"
#include "tandem/cost.h"
#include "tandem/device.h"

struct pool_price {
  const struct cluster *cluster;
  const struct cluster_worker *worker;
  struct td_device *device; /* NULL: it executes, and is priced by its device file */
};

static td_status ask(const struct pool_price *pool, int64_t past, int64_t tokens, bool last) {
  const struct cluster *cluster = pool->cluster;
  struct td_step_stats stats = {{[TD_SYM_TILE] = cluster->experiment->engine.block_tokens}};
  struct td_price price;
  int64_t rows = pool->worker->pool->lpu.rows;
  if (cluster_is_lpu(pool->worker)) stats.v[TD_SYM_PASS] = rows > 0 ? rows : 1;
  td_step_stats_add(&stats, &cluster->graph->shape, past, tokens, last);
  if (pool->device) {
    return td_device_price(pool->device, cluster->graph, &pool->worker->slice, cluster->kv_dtype, &stats, NULL, &price);
  }
  return td_price_roofline(pool->worker->params, cluster->graph, &pool->worker->slice, cluster->kv_dtype, &stats,
                           &price);
}

static td_status ask_both(const struct pool_price *pool) {
  const struct job *job = &pool->cluster->workload.jobs[0];
  int64_t chunk = pool->cluster->experiment->engine.chunk_tokens, tokens = job->prompt_tokens;
  int role = pool->worker->pool->role;
  if (chunk && tokens > chunk) tokens = chunk;
  if (role != TD_ROLE_DECODE) TD_TRY(ask(pool, 0, tokens, tokens == job->prompt_tokens));
  return role == TD_ROLE_PREFILL || job->max_tokens < 2 ? TD_OK : ask(pool, job->prompt_tokens, 1, true);
}

static td_status ask_modelled(struct pool_price *pool) {
  struct td_lpu_choice lpu = cluster_lpu(pool->cluster, pool->worker);
  struct td_device_options how = {.params = pool->worker->params, .threads = 1, .lpu = &lpu};
  char spec[TD_NAME_BYTES + 16];
  TD_TRY(cluster_device(pool->worker, spec, sizeof spec));
  TD_TRY(td_device_open(spec, &how, &pool->device));
  td_status status = ask_both(pool);
  td_device_close(pool->device);
  return status;
}

td_status cluster_check_prices(const struct cluster *cluster) {
  bool priced = cluster->experiment->engine.pace == TD_PACE_PRICED;
  int32_t before = -1;
  for (int32_t i = 0; i < cluster->worker_count && cluster->workload.count; i++) {
    struct pool_price pool = {.cluster = cluster, .worker = &cluster->workers[i]};
    bool executes = pool.worker->backend->executes, first = pool.worker->pool_index != before;
    before = pool.worker->pool_index;
    if (!first || (executes && (!priced || cluster_is_lpu(pool.worker)))) continue;
    td_status status = executes ? ask_both(&pool) : ask_modelled(&pool);
    if (status) return td_fail_within(status, "worker %s", pool.worker->name);
  }
  return TD_OK;
}
