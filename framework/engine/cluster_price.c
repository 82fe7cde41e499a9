/* SPDX-License-Identifier: Apache-2.0
 *
 * At pace priced a step that is executed lasts as long as its worker's device file says: the first request's first
 * steps are priced there, so that what has no price is said before the run. Modelled workers: fleet_check.c.
 */
#include "cluster_check.h"
#include "tandem/base.h"
#include "tandem/cost.h"

static td_status ask(const struct cluster *cluster, const struct cluster_worker *worker, int64_t past, int64_t tokens,
                     bool last) {
  struct td_step_stats stats = {{[TD_SYM_TILE] = cluster->experiment->engine.block_tokens}};
  struct td_price price;
  td_step_stats_add(&stats, &cluster->graph->shape, past, tokens, last);
  return td_price_roofline(worker->params, cluster->graph, &worker->slice, cluster->kv_dtype, &stats, &price);
}

static td_status ask_both(const struct cluster *cluster, const struct cluster_worker *worker) {
  const struct job *job = &cluster->workload.jobs[0];
  int64_t chunk = cluster->experiment->engine.chunk_tokens, tokens = job->prompt_tokens;
  int role = worker->pool->role;
  if (chunk && tokens > chunk) tokens = chunk;
  if (role != TD_ROLE_DECODE) TD_TRY(ask(cluster, worker, 0, tokens, tokens == job->prompt_tokens));
  return role == TD_ROLE_PREFILL || job->max_tokens < 2 ? TD_OK : ask(cluster, worker, job->prompt_tokens, 1, true);
}

td_status cluster_check_prices(const struct cluster *cluster) {
  int32_t before = -1;
  if (cluster->experiment->engine.pace != TD_PACE_PRICED) return TD_OK;
  for (int32_t i = 0; i < cluster->worker_count && cluster->workload.count; i++) {
    const struct cluster_worker *worker = &cluster->workers[i];
    bool first = worker->pool_index != before;
    before = worker->pool_index;
    if (!first || !worker->backend->executes || cluster_is_lpu(worker)) continue; /* an LPU counts its time */
    td_status status = ask_both(cluster, worker);
    if (status) return td_fail_within(status, "worker %s", worker->name);
  }
  return TD_OK;
}
