/* SPDX-License-Identifier: Apache-2.0
 *
 * What steps cost. Without sliding windows and tiles a decode step's counts follow from the number of sequences and the
 * sum of their positions; otherwise they are counted sequence by sequence.
 */
#include <stdlib.h>

#include "fleet.h"
#include "fleet_hosted.h"
#include "tandem/base.h"
#include "tandem/device.h"

/* ---- what prices a pool ---- */

static void note_bound(struct fleet *fleet, const struct cluster_worker *worker) {
  int64_t context = worker->pool->lpu.context;
  if (!context || (fleet->shortest && fleet->shortest->pool->lpu.context <= context)) return;
  fleet->shortest = worker;
}

static td_status open_lpu(struct fleet *fleet, const struct cluster_worker *worker, struct fleet_pool *pool) {
  const struct cluster *cluster = fleet->cluster;
  struct td_lpu_choice lpu = cluster_lpu(cluster, worker);
  struct td_device_options how = {.params = worker->params, .threads = 1, .lpu = &lpu};
  struct td_step_stats stats = {{[TD_SYM_TILE] = fleet->block_tokens}};
  struct td_price price;
  note_bound(fleet, worker);
  char spec[TD_NAME_BYTES + 16];
  TD_TRY(cluster_device(worker, spec, sizeof spec));
  TD_TRY(td_device_open(spec, &how, &pool->device));
  /* it compiles its program when it is asked first: what does not fit is said before the run */
  td_step_stats_add(&stats, &cluster->graph->shape, 0, 1, 1);
  return td_device_price(pool->device, cluster->graph, &worker->slice, cluster->kv_dtype, &stats, NULL, &price);
}

static td_status open_pricer(struct fleet *fleet, const struct cluster_worker *worker, struct fleet_pool *pool) {
  if (cluster_is_lpu(worker)) return open_lpu(fleet, worker, pool);
  if (worker->pool->pipeline > 1) return fleet_stages_open(fleet, worker, &pool->stages);
  return td_pricer_open(worker->params, fleet->cluster->graph, &worker->slice, fleet->cluster->kv_dtype, &pool->pricer);
}

td_status fleet_price_open(struct fleet *fleet, int32_t number) {
  const struct cluster_worker *worker = &fleet->cluster->workers[number];
  struct fleet_pool *pool = &fleet->pools[worker->pool_index];
  if (pool->worker) return TD_OK;
  pool->worker = worker;
  pool->ranks = cluster_ranks(worker->pool);
  pool->most_layers = cluster_most_layers(fleet->cluster, worker->pool);
  TD_TRY(td_alloc((size_t)fleet->layers, sizeof *pool->layer_done_ps, (void **)&pool->layer_done_ps));
  TD_TRY(td_alloc((size_t)pool->ranks, sizeof *pool->rank_tokens, (void **)&pool->rank_tokens));
  if (worker->backend->executes) { /* its host says how long steps take */
    if (cluster_is_lpu(worker)) note_bound(fleet, worker);
    return TD_OK;
  }
  if (cluster_is_lpu(worker)) fleet->by_member = true;
  td_status status = open_pricer(fleet, worker, pool);
  return status ? td_fail_within(status, "worker %s", worker->name) : TD_OK;
}

void fleet_price_close(struct fleet *fleet) {
  for (int32_t i = 0; fleet->pools && i < fleet->cluster->pools; i++) {
    td_pricer_close(fleet->pools[i].pricer);
    fleet_stages_close(fleet->pools[i].stages);
    free(fleet->pools[i].rank_tokens);
    if (fleet->pools[i].device) td_device_close(fleet->pools[i].device);
    free(fleet->pools[i].layer_done_ps);
  }
  free(fleet->pools);
}

/* ---- counts ---- */

static int64_t expected_experts(struct fleet *fleet, int64_t tokens) {
  const struct td_shape *shape = &fleet->cluster->graph->shape;
  if (!shape->experts) return 0;
  if (tokens >= fleet->expert_tokens) return td_expected_experts(shape->experts, shape->experts_used, tokens);
  int64_t *known = &fleet->experts[tokens];
  if (!*known) *known = td_expected_experts(shape->experts, shape->experts_used, tokens);
  return *known;
}

static void count_sums(const struct replica *replica, struct td_step_stats *stats) {
  int64_t sequences = replica->endings.count, context = replica->context + sequences;
  stats->v[TD_SYM_ONE] = 1;
  stats->v[TD_SYM_TOKENS] = stats->v[TD_SYM_LOGITS] = stats->v[TD_SYM_SEQS] = sequences;
  stats->v[TD_SYM_CONTEXT] = stats->v[TD_SYM_PAIRS] = stats->v[TD_SYM_FULL_PAIRS] = context;
  stats->v[TD_SYM_WINDOW_CONTEXT] = stats->v[TD_SYM_WINDOW_PAIRS] = context;
  stats->v[TD_SYM_DECODES] = sequences;
  stats->v[TD_SYM_DECODE_CONTEXT] = context;
}

static void count_member(const struct fleet *fleet, const struct replica *replica, const struct ending *member,
                         struct td_step_stats *stats) {
  const struct fleet_request *request = &fleet->requests[member->slot];
  int64_t past = request->prompt + request->output - 1 - (member->step - replica->steps);
  td_step_stats_add(stats, &fleet->cluster->graph->shape, past, 1, 1);
}

/* Which passes an LPU takes them in depends on their order: as they joined. */
static void count_in_order(const struct fleet *fleet, const struct replica *replica, struct td_step_stats *stats) {
  uint32_t after = 0; /* all that joined before this one are counted */
  for (int32_t counted = 0; counted < replica->endings.count; counted++) {
    const struct ending *next = NULL;
    for (int32_t i = 0; i < replica->endings.count; i++) {
      const struct ending *member = &replica->endings.heap[i];
      if (member->joined >= after && (!next || member->joined < next->joined)) next = member;
    }
    count_member(fleet, replica, next, stats);
    after = next->joined + 1;
  }
}

static void count_members(const struct fleet *fleet, const struct replica *replica, struct td_step_stats *stats) {
  if (stats->v[TD_SYM_PASS] > 0) {
    count_in_order(fleet, replica, stats);
    return;
  }
  for (int32_t i = 0; i < replica->endings.count; i++) {
    count_member(fleet, replica, &replica->endings.heap[i], stats);
  }
}

static void count_decode(struct fleet *fleet, const struct replica *replica, struct td_step_stats *stats) {
  const struct cluster_worker *worker = fleet->pools[replica->pool].worker;
  if (fleet->pools[replica->pool].device) {
    stats->v[TD_SYM_TILE] = fleet->block_tokens;
    stats->v[TD_SYM_PASS] = worker->pool->lpu.rows > 0 ? worker->pool->lpu.rows : 1;
  }
  if (fleet->by_member) {
    count_members(fleet, replica, stats);
  } else {
    count_sums(replica, stats);
    stats->v[TD_SYM_EXPERTS] = expected_experts(fleet, stats->v[TD_SYM_TOKENS]);
  }
}

/* A step of decoding sequences only, of the group with most. */
static void count_shared(struct fleet *fleet, const struct replica *replica, struct td_step_stats *stats) {
  int32_t ranks = fleet->pools[replica->pool].ranks;
  count_decode(fleet, replica, stats);
  if (ranks == 1) return;
  fleet_share(fleet_rank_sequences(fleet, replica, 0), stats);
  stats->v[TD_SYM_EXPERTS] = expected_experts(fleet, stats->v[TD_SYM_TOKENS] * ranks);
}

static void count_chunk(const struct fleet *fleet, const struct chunk *chunk, struct td_step_stats *stats) {
  const struct fleet_request *request = &fleet->requests[chunk->slot];
  bool last = request->computed + chunk->tokens == request->target;
  td_step_stats_add(stats, &fleet->cluster->graph->shape, request->computed, chunk->tokens, last);
}

static void count_mixed(struct fleet *fleet, const struct replica *replica, struct td_step_stats *stats) {
  const struct fleet_pool *pool = &fleet->pools[replica->pool];
  int32_t most = pool->ranks > 1 ? fleet_rank_busiest(fleet, replica) : 0;
  int64_t all = replica->endings.count;
  count_decode(fleet, replica, stats);
  if (pool->ranks > 1) fleet_share(fleet_rank_sequences(fleet, replica, most), stats);
  for (size_t i = 0; i < replica->chunk_count; i++) {
    all += replica->chunks[i].tokens;
    if (replica->chunks[i].rank == most) count_chunk(fleet, &replica->chunks[i], stats);
  }
  if (pool->ranks == 1) return;
  stats->v[TD_SYM_ALL_TOKENS] = all;
  stats->v[TD_SYM_EXPERTS] = expected_experts(fleet, all);
}

/* ---- prices ---- */

static td_status ask(struct fleet *fleet, const struct replica *replica, const struct td_step_stats *stats,
                     struct td_price *out_price) {
  struct fleet_pool *pool = &fleet->pools[replica->pool];
  const struct cluster *cluster = fleet->cluster;
  if (pool->stages) {
    td_status status = fleet_stages_price(pool->stages, stats, out_price);
    return status ? td_fail_within(status, "worker %s", pool->worker->name) : TD_OK;
  }
  TD_TRY(pool->pricer ? td_pricer_step(pool->pricer, stats, out_price)
                      : td_device_price(pool->device, cluster->graph, &pool->worker->slice, cluster->kv_dtype, stats,
                                        NULL, out_price));
  if (out_price->base_ps > 0) return TD_OK;
  return td_fail(TD_UNSUPPORTED,
                 "worker %s: found a step that takes no time, expected a device file that gives it some",
                 pool->worker->name);
}

td_status fleet_price_decode(struct fleet *fleet, const struct replica *replica, struct td_price *out_price) {
  struct td_step_stats stats = {{0}};
  count_shared(fleet, replica, &stats);
  TD_TRY(ask(fleet, replica, &stats, out_price));
  /* sums do not say when the longest of a group's sequences reaches its window */
  if (fleet->pools[replica->pool].ranks > 1 && fleet->by_member) out_price->valid_steps = 1;
  return TD_OK;
}

td_status fleet_price_mixed(struct fleet *fleet, const struct replica *replica, struct td_price *out_price) {
  struct td_step_stats stats = {{0}};
  count_mixed(fleet, replica, &stats);
  return ask(fleet, replica, &stats, out_price);
}

/* In the stage that has the layer. */
static td_status stage_milestone(const struct fleet *fleet, const struct replica *replica,
                                 const struct td_step_stats *stats, int32_t layer, int64_t *out_ps) {
  const struct fleet_stages *stages = fleet->pools[replica->pool].stages;
  int64_t ends[2];
  int32_t s = 0;
  while (stages->of[s].slice.layer_end <= layer) s++;
  int32_t first = s ? stages->of[s].slice.layer_begin : 0;
  const int32_t layers[2] = {layer - first, layer - first};
  TD_TRY(td_pricer_layer_ends(stages->of[s].pricer, stats, layers, ends));
  fleet_slow_times(replica->flow->stages[s].slower, ends);
  *out_ps = replica->flow->stages[s].start_ps + ends[0];
  return TD_OK;
}

td_status fleet_milestones(struct fleet *fleet, const struct replica *replica, int64_t out_ps[2]) {
  const int32_t worker = (int32_t)(replica - fleet->replicas);
  if (fleet_executes(fleet, worker)) return fleet_hosted_milestones(fleet, worker, out_ps);
  struct fleet_pool *pool = &fleet->pools[replica->pool];
  const struct cluster *cluster = fleet->cluster;
  struct td_step_stats stats = {{0}};
  struct td_price price;
  count_mixed(fleet, replica, &stats);
  const int32_t layers[2] = {(int32_t)fleet_push_layers(fleet) - 1, (int32_t)fleet->layers - 1};
  for (int i = 0; i < 2 && pool->stages; i++) TD_TRY(stage_milestone(fleet, replica, &stats, layers[i], &out_ps[i]));
  if (pool->stages) return TD_OK;
  if (pool->pricer) {
    TD_TRY(td_pricer_layer_ends(pool->pricer, &stats, layers, out_ps));
  } else {
    TD_TRY(td_device_price(pool->device, cluster->graph, &pool->worker->slice, cluster->kv_dtype, &stats,
                           pool->layer_done_ps, &price));
    for (int i = 0; i < 2; i++) out_ps[i] = pool->layer_done_ps[layers[i]];
  }
  fleet_slow_times(replica->slower, out_ps);
  return TD_OK;
}
