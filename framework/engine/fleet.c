/* SPDX-License-Identifier: Apache-2.0
 *
 * The fleet's event loop, and what must hold when it is over.
 */
#include "fleet.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "fleet_hosted.h"
#include "fleet_outage.h"
#include "tandem/base.h"

/* ---- opening ---- */

bool fleet_is_modelled(const struct cluster *cluster) {
  return cluster->experiment->engine.pace == TD_PACE_PRICED && !cluster_executing(cluster);
}

static void init_replica(struct fleet *fleet, int32_t i) {
  const struct cluster_worker *worker = &fleet->cluster->workers[i];
  struct replica *replica = &fleet->replicas[i];
  *replica = (struct replica){.pool = worker->pool_index,
                              .blocks = worker->kv_blocks,
                              .free_blocks = worker->kv_blocks,
                              .prefill = {-1, -1},
                              .joining = {-1, -1},
                              .chunks = replica->own_chunks,
                              .chunk_capacity = OWN_CHUNKS};
  endings_open(&replica->endings, replica->own_endings, OWN_ENDINGS);
  int32_t ranks = cluster_ranks(worker->pool);
  fleet->ranked |= ranks > 1;
  fleet->views[i] = (struct td_worker_view){.pool = worker->pool->name,
                                            .role = worker->pool->role,
                                            .executes = worker->backend->executes,
                                            .blocks = worker->kv_blocks / ranks,
                                            .free_blocks = worker->kv_blocks / ranks,
                                            .free_sequences = fleet->batch_sequences * ranks};
}

static void close_replica(struct replica *replica) {
  if (replica->chunks != replica->own_chunks) free(replica->chunks);
  free(replica->phases);
  fleet_pipeline_close(replica);
  endings_close(&replica->endings, replica->own_endings);
  slot_queue_close(&replica->paused);
  slot_queue_close(&replica->swapped);
}

static td_status open_replicas(struct fleet *fleet) {
  const struct cluster *cluster = fleet->cluster;
  size_t workers = (size_t)cluster->worker_count;
  TD_TRY(td_alloc_lines(workers, sizeof *fleet->views, (void **)&fleet->views));
  TD_TRY(td_alloc_lines(workers, sizeof *fleet->replicas, (void **)&fleet->replicas));
  for (int32_t i = 0; i < cluster->worker_count; i++) init_replica(fleet, i);
  TD_TRY(td_alloc(workers, sizeof *fleet->touched, (void **)&fleet->touched));
  TD_TRY(td_alloc(workers, sizeof *fleet->is_touched, (void **)&fleet->is_touched));
  TD_TRY(td_alloc((size_t)cluster->pools, sizeof *fleet->pools, (void **)&fleet->pools));
  TD_TRY(worker_queue_open(&fleet->ends, cluster->worker_count));
  if (fleet->grow) TD_TRY(worker_queue_open(&fleet->growing, cluster->worker_count));
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    TD_TRY(fleet_price_open(fleet, i));
    TD_TRY(fleet_pipeline_open(fleet, i));
    if (fleet->grow) TD_TRY(fleet_kv_check(fleet, i));
  }
  if (fleet->cluster->experiment->engine.prefix_cache) TD_TRY(fleet_cache_open(fleet));
  return load_open(fleet->views, cluster->worker_count, fleet->policy->measures, &fleet->loads);
}

static td_status open_requests(struct fleet *fleet) {
  const struct cluster *cluster = fleet->cluster;
  if (td_source_given(&cluster->experiment->workload.source)) {
    TD_TRY(td_workload_open(cluster->config, cluster->experiment, &fleet->workload));
  }
  for (int64_t i = 0; i < cluster->workload.count; i++) {
    struct keyed_slot item = {cluster->workload.jobs[i].arrival_ps, (uint64_t)i, (int32_t)i};
    TD_TRY(slot_queue_push(&fleet->order, item));
  }
  return fleet_next_arrival(fleet);
}

td_status fleet_open(struct fleet *fleet) {
  const struct td_cfg_engine *engine = &fleet->cluster->experiment->engine;
  const struct td_shape *shape = &fleet->cluster->graph->shape;
  fleet->layers = shape->layers;
  fleet->block_tokens = engine->block_tokens;
  fleet->batch_sequences = engine->batch_sequences;
  fleet->batch_tokens = engine->batch_tokens;
  fleet->chunk_tokens = engine->chunk_tokens;
  fleet->merge = engine->merge;
  fleet->prompts_first = engine->first == TD_FIRST_PROMPTS;
  fleet->summary->slo = fleet->cluster->experiment->slo;
  fleet->grow = engine->kv == TD_KV_GROW;
  fleet->swap = engine->preemption == TD_PREEMPT_SWAP;
  fleet->by_member = shape->window > 0;
  fleet->bytes_per_position = td_kv_bytes(shape, fleet->cluster->kv_dtype, 1, 1);
  fleet->request_free = -1;
  fleet->expert_tokens = shape->experts ? 65536 : 0;
  if (fleet->expert_tokens) {
    TD_TRY(td_alloc((size_t)fleet->expert_tokens, sizeof *fleet->experts, (void **)&fleet->experts));
  }
  TD_TRY(td_policy_state(fleet->policy, &fleet->policy_state));
  TD_TRY(fleet_tick_open(fleet));
  TD_TRY(open_replicas(fleet));
  TD_TRY(fleet_outages_open(fleet));
  TD_TRY(fleet_power_open(fleet));
  TD_TRY(fleet_tools_open(fleet));
  TD_TRY(open_requests(fleet));
  return fleet_record_devices(fleet);
}

void fleet_close(struct fleet *fleet) {
  for (int32_t i = 0; fleet->replicas && i < fleet->cluster->worker_count; i++) close_replica(&fleet->replicas[i]);
  for (int32_t i = 0; i < fleet->request_used; i++) {
    free(fleet->requests[i].prefix);
    free(fleet->requests[i].keys);
  }
  fleet_cache_close(fleet);
  fleet_hosted_close(fleet);
  td_workload_close(fleet->workload);
  fleet_price_close(fleet);
  fleet_outages_close(fleet);
  fleet_power_close(fleet);
  fleet_tools_close(fleet);
  load_close(fleet->loads);
  slot_queue_close(&fleet->order);
  slot_queue_close(&fleet->waiting);
  slot_queue_close(&fleet->unplaced);
  slot_queue_close(&fleet->line);
  slot_queue_close(&fleet->transfers);
  worker_queue_close(&fleet->ends);
  worker_queue_close(&fleet->growing);
  worker_queue_close(&fleet->passing);
  free(fleet->requests);
  free(fleet->replicas);
  free(fleet->views);
  free(fleet->touched);
  free(fleet->is_touched);
  free(fleet->experts);
  free(fleet->policy_state);
}

/* ---- the loop ---- */

int64_t fleet_next_time(struct fleet *fleet) {
  int64_t next = fleet->arrival_ps;
  int64_t step = worker_queue_time(&fleet->ends);
  if (step < next) next = step;
  if (fleet->transfers.count && fleet->transfers.heap[0].key < next) next = fleet->transfers.heap[0].key;
  if (fleet->tools && fleet_tools_next(fleet) < next) next = fleet_tools_next(fleet);
  if (fleet->pipelined && worker_queue_time(&fleet->passing) < next) next = worker_queue_time(&fleet->passing);
  int64_t then = fleet_next_tick(fleet, next);
  return fleet->outages ? fleet_next_outage(fleet, next, then) : then;
}

/* What the next event needs is far away in memory: it may set out. */
static void look_ahead(struct fleet *fleet) {
  if (worker_queue_time(&fleet->ends) != INT64_MAX) fleet_fetch(fleet, worker_queue_first(&fleet->ends));
}

static td_status handle_instant(struct fleet *fleet) {
  while (worker_queue_time(&fleet->ends) == fleet->now_ps) {
    int32_t worker = worker_queue_pop(&fleet->ends);
    look_ahead(fleet);
    fleet->summary->events++;
    TD_TRY(fleet_end_step(fleet, worker));
  }
  if (fleet->pipelined) TD_TRY(fleet_passed(fleet));
  while (fleet->transfers.count && fleet->transfers.heap[0].key == fleet->now_ps) {
    fleet->summary->events++;
    TD_TRY(fleet_transferred(fleet, slot_queue_pop(&fleet->transfers).slot));
  }
  if (fleet->tools) TD_TRY(fleet_tools_end(fleet));
  while (fleet->arrival_ps == fleet->now_ps) {
    fleet->summary->events++;
    TD_TRY(fleet_arrive(fleet));
  }
  TD_TRY(fleet_tick(fleet));
  return fleet->outages ? fleet_outage(fleet) : TD_OK;
}

static td_status begin_steps(struct fleet *fleet) {
  if (fleet->pipelined) TD_TRY(fleet_pipeline_look(fleet));
  if (fleet->power) return fleet_power_give_out(fleet);
  for (int32_t i = 0; i < fleet->touched_count; i++) {
    int32_t worker = fleet->touched[i];
    fleet->is_touched[worker] = 0;
    if (!fleet->replicas[worker].busy) TD_TRY(fleet_begin_step(fleet, worker));
  }
  fleet->touched_count = 0;
  return TD_OK;
}

/* Who leaves when a step begins, for KV blocks, is routed again at once: another worker may be idle. */
static td_status give_out(struct fleet *fleet) {
  if (fleet->tools) TD_TRY(fleet_tools_give_out(fleet));
  for (bool first = true; first || fleet->route_again; first = false) {
    fleet->again |= !first;
    TD_TRY(fleet_route(fleet));
    TD_TRY(begin_steps(fleet));
  }
  return TD_OK;
}

/* For each pool what its worker with the most KV blocks free has. */
static void print_room(const struct fleet *fleet, struct td_text *out) {
  const struct td_worker_view *most = NULL;
  for (int32_t i = 0; i < fleet->cluster->worker_count; i++) {
    const struct td_worker_view *view = &fleet->views[i];
    if (!most || view->free_blocks > most->free_blocks) most = view;
    bool last = i + 1 == fleet->cluster->worker_count || fleet->replicas[i + 1].pool != fleet->replicas[i].pool;
    if (!last) continue;
    td_text_printf(out, "%spool %s %" PRId64 " of %" PRId64 " KV blocks and %" PRId64 " places", out->bytes ? ", " : "",
                   most->pool, most->free_blocks, most->blocks, most->free_sequences);
    most = NULL;
  }
}

static td_status stalled(const struct fleet *fleet) {
  /* who has been prefilled holds what the others wait for */
  const struct slot_queue *waiting = fleet->unplaced.count ? &fleet->unplaced : &fleet->waiting;
  if (!waiting->count && fleet->tools) return fleet_tools_stalled(fleet);
  if (!waiting->count) return td_fail(TD_INTERNAL, "stalled with %" PRId64 " requests in flight", fleet->live);
  const struct fleet_request *request = &fleet->requests[waiting->heap[0].slot];
  int64_t block = fleet->block_tokens, end = request->prompt + request->output - 1;
  struct td_text room = {0};
  print_room(fleet, &room);
  if (fleet->outages && fleet->outages->down) {
    td_text_printf(&room, "; %" PRId32 " of %" PRId32 " workers are down", fleet->outages->down,
                   fleet->cluster->worker_count);
  }
  td_status status = td_fail(
      TD_UNSUPPORTED,
      "stalled at %.6f s with %" PRId64 " of %" PRId64 " requests done: request %" PRIu64 " (%" PRId32
      " tokens to prefill = %" PRId64 " KV blocks, %" PRId32 " of %" PRId32 " output tokens left, %" PRId64
      " KV blocks in the end) waits for %s, policy %s finds no worker for it, and nothing else will happen; who has "
      "most free has: %s",
      td_seconds(fleet->now_ps), fleet->finished, fleet->arrived, request->number, request->target,
      (request->target + block - 1) / block, request->output - request->emitted, request->output,
      (end + block - 1) / block, waiting == &fleet->waiting ? "a route" : "a decode worker", fleet->policy->name,
      room.data ? room.data : "");
  td_text_free(&room);
  return status;
}

static td_status loop(struct fleet *fleet) {
  struct td_progress progress;
  td_status status = TD_OK;
  int64_t total = fleet->workload ? td_workload_total(fleet->workload) : fleet->cluster->workload.count;
  bool shown = !fleet->hosted || !fleet->hosted->options->on_token;
  td_progress_begin(&progress, "requests done");
  for (uint64_t turn = 0; !status; turn++) {
    int64_t next = INT64_MAX;
    if (!fleet->hosted) next = fleet_next_time(fleet);
    if (fleet->hosted) status = fleet_hosted_wait(fleet, &next);
    if (status || next == INT64_MAX) break;
    fleet->again = turn > 0 && fleet->now_ps == next;
    fleet->now_ps = next;
    status = handle_instant(fleet);
    if (!status && (!fleet->hosted || fleet_hosted_catch_up(fleet))) status = give_out(fleet);
    if (turn % 4096 && !fleet->hosted) continue;
    if (shown) td_progress_update(&progress, (uint64_t)fleet->finished, (uint64_t)(total < 0 ? 0 : total));
    if (!status && fleet->trace) status = td_trace_tick(fleet->trace);
  }
  td_progress_end(&progress);
  bool pending = fleet->live || (fleet->tools && fleet_tools_pending(fleet));
  if (!status && pending) status = stalled(fleet);
  return status;
}

/* ---- conservation, in every run: whatever was taken is given back, and whatever came went ---- */

static td_status check_replica(const struct fleet *fleet, int32_t worker) {
  const struct replica *replica = &fleet->replicas[worker];
  const struct td_worker_view *view = &fleet->views[worker];
  int64_t blocks = fleet_free_blocks(fleet, worker);
  if (blocks == replica->blocks && !view->active && !view->waiting_tokens && !replica->busy && !replica->context &&
      !replica->row.count && !replica->paused.count) {
    return TD_OK;
  }
  return td_fail(TD_INTERNAL,
                 "worker %s: %" PRId64 " of %" PRId64 " KV blocks free, %" PRId64 " requests, %" PRId64
                 " tokens waiting, %" PRId64 " positions after the last request",
                 fleet->cluster->workers[worker].name, blocks, replica->blocks, view->active, view->waiting_tokens,
                 replica->context);
}

static td_status check_cache(const struct fleet *fleet, int32_t worker) {
  if (!fleet->caches.of) return TD_OK;
  const struct prefix_cache *cache = &fleet->caches.of[worker];
  int64_t blocks = cache->tiers[0].count * fleet->caches.unit_blocks;
  if (!cache->in_use && blocks <= fleet->replicas[worker].blocks) return TD_OK;
  return td_fail(TD_INTERNAL,
                 "worker %s: %" PRId64 " blocks of prompts in use after the last request, and %" PRId64 " of %" PRId64
                 " KV blocks kept",
                 fleet->cluster->workers[worker].name, cache->in_use, blocks, fleet->replicas[worker].blocks);
}

static td_status check_prompts(const struct fleet *fleet) {
  int64_t had = fleet->prefilled_tokens + fleet->hit_tokens;
  if (had == fleet->done_tokens + fleet->given_up_tokens && fleet->found == (uint64_t)fleet->hit_tokens) return TD_OK;
  return td_fail(TD_INTERNAL,
                 "%" PRId64 " prompt tokens were computed and %" PRId64 " found, of them %" PRIu64
                 " by requests that ended; prefilled prompts had %" PRId64 ", those given up %" PRId64,
                 fleet->prefilled_tokens, fleet->hit_tokens, fleet->found, fleet->done_tokens, fleet->given_up_tokens);
}

/* What requests got hold of, tier by tier, they did not compute, or a failure took it before they began. */
static td_status check_hits(const struct fleet *fleet) {
  const struct td_run_prefix *prefix = &fleet->summary->prefix;
  uint64_t hits = 0;
  for (int32_t t = 0; t < prefix->tier_count; t++) hits += prefix->tiers[t].hit_tokens;
  if (hits == (uint64_t)(fleet->hit_tokens + fleet->unused_tokens)) return TD_OK;
  return td_fail(TD_INTERNAL,
                 "caches gave %" PRIu64 " tokens, %" PRId64 " were used and %" PRId64 " lost before they could be",
                 hits, fleet->hit_tokens, fleet->unused_tokens);
}

static void count_cache(struct fleet *fleet, int32_t worker) {
  struct td_run_prefix *counts = &fleet->summary->prefix;
  const struct fleet_pool *pool = &fleet->pools[fleet->replicas[worker].pool];
  if (!fleet->caches.of) return;
  const struct prefix_cache *cache = &fleet->caches.of[worker];
  for (int32_t t = 0; t < cache->tier_count; t++) {
    counts->tiers[pool->tiers[t].counter].evicted_tokens += cache->tiers[t].left * (uint64_t)fleet->caches.unit_tokens;
  }
}

static td_status check_balance(struct fleet *fleet) {
  struct td_run_summary *summary = fleet->summary;
  TD_TRY(check_prompts(fleet));
  TD_TRY(check_hits(fleet));
  TD_TRY(fleet_pipeline_check(fleet));
  summary->prefix.computed_tokens = (uint64_t)fleet->prefilled_tokens;
  for (int32_t i = 0; i < fleet->cluster->worker_count; i++) {
    TD_TRY(check_replica(fleet, i));
    TD_TRY(check_cache(fleet, i));
    count_cache(fleet, i);
    summary->energy_j += fleet->replicas[i].energy_j;
  }
  if (fleet->arrived != fleet->finished + fleet->refused) {
    return td_fail(TD_INTERNAL, "%" PRId64 " requests came, %" PRId64 " finished and %" PRId64 " were refused",
                   fleet->arrived, fleet->finished, fleet->refused);
  }
  uint64_t tokens = summary->decode_tokens + fleet->prefilled;
  if (tokens != summary->output_tokens) {
    return td_fail(TD_INTERNAL, "steps gave %" PRIu64 " output tokens, requests had %" PRIu64, tokens,
                   summary->output_tokens);
  }
  TD_TRY(fleet_tools_check(fleet));
  TD_TRY(fleet_power_balance(fleet));
  TD_TRY(fleet_check_ports(fleet));
  if (fleet->outages) fleet_outages_count(fleet);
  summary->steps = fleet->next_step;
  summary->makespan_ps = fleet->arrived ? fleet->now_ps - summary->first_arrival_ps : 0;
  fleet_tools_count(fleet);
  TD_TRY(fleet_power_count(fleet));
  summary->cached_tokens = fleet->found;
  summary->filled = true;
  return TD_OK;
}

static td_status open_hosted(struct fleet *fleet, struct node *node, const struct td_run_options *options) {
  if (node) TD_TRY(fleet_hosted_open(fleet, node, options));
  TD_TRY(fleet_open(fleet));
  return node ? fleet_hosted_ready(fleet) : TD_OK;
}

td_status fleet_run(const struct cluster *cluster, struct node *node, struct td_trace_writer *trace,
                    const struct td_run_options *options, struct td_run_summary *out_summary) {
  struct fleet fleet = {.cluster = cluster, .policy = cluster->policy, .trace = trace, .summary = out_summary};
  *out_summary = (struct td_run_summary){0};
  td_status status = open_hosted(&fleet, node, options);
  if (!status) status = loop(&fleet);
  if (!status) status = check_balance(&fleet);
  fleet_close(&fleet);
  return status;
}
