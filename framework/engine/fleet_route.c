/* SPDX-License-Identifier: Apache-2.0
 *
 * The policy's side: what it sees, what it is asked, what comes of its answers.
 */
#include <inttypes.h>

#include "cluster_check.h"
#include "fleet.h"
#include "fleet_hosted.h"
#include "tandem/base.h"

void fleet_view(struct fleet *fleet, int32_t worker, int64_t blocks, int64_t sequences, int64_t tokens) {
  struct td_worker_view *view = &fleet->views[worker];
  if (fleet->caches.of) {
    fleet_cache_view(fleet, worker, blocks);
  } else if (fleet->ranked) {
    fleet_rank_blocks(fleet, worker, blocks);
  } else {
    view->free_blocks += blocks;
  }
  if (blocks > 0 && sequences > 0) fleet->replicas[worker].freed = true;
  view->free_sequences += sequences;
  view->active -= sequences;
  if (fleet->swap) fleet_kv_places(fleet, worker);
  view->waiting_tokens += tokens;
  fleet->waiting_tokens += tokens;
  fleet->settled = false;
  load_changed(fleet->loads, worker);
}

void fleet_touch(struct fleet *fleet, int32_t worker) {
  if (fleet->is_touched[worker]) return;
  fleet->is_touched[worker] = 1;
  int32_t at = fleet->touched_count++;
  for (; at && fleet->touched[at - 1] > worker; at--) fleet->touched[at] = fleet->touched[at - 1];
  fleet->touched[at] = worker;
}

static int64_t blocks_of(const struct fleet *fleet, int64_t positions) {
  return (positions + fleet->block_tokens - 1) / fleet->block_tokens;
}

static int32_t last_position(const struct fleet_request *request) {
  return request->prompt + request->output - 1;
}

struct td_cluster_view fleet_cluster_view(const struct fleet *fleet) {
  return (struct td_cluster_view){.workers = fleet->views,
                                  .worker_count = fleet->cluster->worker_count,
                                  .now_ps = fleet->now_ps,
                                  .waiting = (int64_t)fleet->waiting.count,
                                  .whole = fleet->cluster->workers[0].slice,
                                  .engine = &fleet->cluster->experiment->engine,
                                  .options = &fleet->cluster->policy_options,
                                  .loads = fleet->loads,
                                  .caches = fleet->caches.of ? &fleet->caches : NULL,
                                  .state = fleet->policy_state,
                                  .queued_tokens = fleet->queued_tokens,
                                  .waiting_tokens = fleet->waiting_tokens,
                                  .prefilled_tokens = fleet->prefilled_tokens,
                                  .prefill_s = fleet->prefill_s};
}

static struct td_request_view ask_for(const struct fleet *fleet, const struct fleet_request *request) {
  return (struct td_request_view){
      .request = request->number,
      .prompt_tokens = request->prompt,
      .max_tokens = request->output,
      .arrival_ps = request->arrival_ps,
      .prefill_blocks = blocks_of(fleet, request->target),
      .decode_blocks = blocks_of(fleet, fleet->grow ? request->target : last_position(request)),
      .tier = request->tier,
      .turn = request->turn,
      .session = request->session,
      .prefill_worker = request->prefill_worker,
      .prefix = request->prefix,
      .prefix_count = request->prefix_count,
      .prefix_tokens = request->prefix_tokens,
      .keys = request->keys,
      .key_count = request->key_count};
}

int64_t fleet_rank(struct fleet *fleet, int32_t slot) {
  if (fleet->grow) fleet_kv_look(fleet);
  struct td_cluster_view cluster = fleet_cluster_view(fleet);
  struct td_request_view request = ask_for(fleet, &fleet->requests[slot]);
  return fleet->policy->rank(&cluster, &request);
}

bool fleet_admits(struct fleet *fleet, int32_t slot) {
  if (fleet->grow) fleet_kv_look(fleet);
  struct td_cluster_view cluster = fleet_cluster_view(fleet);
  struct td_request_view request = ask_for(fleet, &fleet->requests[slot]);
  return fleet->policy->admit(&cluster, &request);
}

void fleet_tell_finished(struct fleet *fleet, int32_t slot, int32_t worker) {
  if (fleet->grow) fleet_kv_look(fleet);
  struct td_cluster_view cluster = fleet_cluster_view(fleet);
  struct td_request_view request = ask_for(fleet, &fleet->requests[slot]);
  fleet->policy->finished(&cluster, &request, worker);
}

/* ---- routes ---- */

static td_status check_worker(const struct fleet *fleet, int32_t worker) {
  if (worker >= 0 && worker < fleet->cluster->worker_count) return TD_OK;
  return td_fail(TD_INTERNAL, "policy %s: found worker %d, expected a number below %d", fleet->policy->name, worker,
                 fleet->cluster->worker_count);
}

static td_status take_room(struct fleet *fleet, int32_t worker, int64_t blocks) {
  TD_TRY(check_worker(fleet, worker));
  const struct td_worker_view *view = &fleet->views[worker];
  if (view->free_blocks < blocks || view->free_sequences < 1) {
    return td_fail(TD_INTERNAL,
                   "policy %s: chose worker %s with %" PRId64 " free KV blocks and %" PRId64
                   " free sequences, expected at least %" PRId64 " and 1",
                   fleet->policy->name, fleet->cluster->workers[worker].name, view->free_blocks, view->free_sequences,
                   blocks);
  }
  fleet_view(fleet, worker, -blocks, -1, 0);
  return fleet->grow ? fleet_interrupt(fleet, worker) : TD_OK; /* the blocks its steps counted on are fewer now */
}

/* With kv = grow a request is let in for what it has, but in the end it must have all of its blocks. */
static td_status check_ever(const struct fleet *fleet, const struct fleet_request *request, int32_t worker) {
  int64_t most = blocks_of(fleet, last_position(request));
  if (!fleet->grow || worker < 0 || worker >= fleet->cluster->worker_count) return TD_OK;
  if (most <= fleet->views[worker].blocks) return TD_OK;
  char path[64];
  TD_TRY(td_format(path, sizeof path, "cluster.pools.[%" PRId32 "].kv_tokens", fleet->replicas[worker].pool));
  return td_config_fail(fleet->cluster->config, path,
                        "found %" PRId64 " KV blocks of %" PRId64 " positions, expected at least %" PRId64
                        " for request %" PRIu64,
                        fleet->views[worker].blocks, fleet->block_tokens, most, request->number);
}

static td_status admit(struct fleet *fleet, int32_t slot, const struct td_request_view *asked,
                       const struct td_step_plan *plan) {
  struct fleet_request *request = &fleet->requests[slot];
  int32_t prefill, decode;
  TD_TRY(td_plan_resolve(plan, fleet->cluster->workers[0].slice, &prefill, &decode));
  if (request->output == request->emitted + 1) decode = prefill; /* nothing to decode */
  if (decode == TD_WORKER_LATER && !fleet->policy->place) {
    return td_fail(TD_INTERNAL, "policy %s: leaves a decode worker for later and has no `place`", fleet->policy->name);
  }
  TD_TRY(check_worker(fleet, prefill));
  fleet_fetch(fleet, prefill);
  if (fleet->caches.of) TD_TRY(fleet_cache_hold(fleet, request, prefill));
  if (decode == prefill) {
    TD_TRY(check_ever(fleet, request, prefill));
    TD_TRY(take_room(fleet, prefill, asked->decode_blocks));
  } else {
    TD_TRY(take_room(fleet, prefill, asked->prefill_blocks));
    if (decode != TD_WORKER_LATER) {
      TD_TRY(check_ever(fleet, request, decode));
      TD_TRY(take_room(fleet, decode, asked->decode_blocks));
      TD_TRY(cluster_check_handoff(fleet->cluster, prefill, decode));
    }
  }
  request->prefill_worker = prefill;
  request->decode_worker = decode;
  if (fleet->hosted) TD_TRY(fleet_hosted_admit(fleet, slot));
  fleet->split |= decode != prefill;
  if (request->admitted_ps < 0) request->admitted_ps = fleet->now_ps;
  fleet_view(fleet, prefill, 0, 0, request->target - (fleet->caches.of ? fleet_cache_held(fleet, request) : 0));
  slots_add(fleet, &fleet->replicas[prefill].prefill, slot);
  TD_TRY(fleet_interrupt(fleet, prefill));
  fleet_touch(fleet, prefill);
  return TD_OK;
}

static td_status route_waiting(struct fleet *fleet) {
  while (fleet->waiting.count) {
    int32_t slot = fleet->waiting.heap[0].slot;
    struct td_cluster_view cluster = fleet_cluster_view(fleet);
    struct td_request_view asked = ask_for(fleet, &fleet->requests[slot]);
    struct td_step_plan plan;
    enum td_verdict verdict = fleet->policy->route(&cluster, &asked, &plan);
    if (verdict == TD_WAIT) return fleet_check_room(fleet, slot);
    slot_queue_pop(&fleet->waiting);
    fleet->queued_tokens -= fleet->requests[slot].target;
    TD_TRY(verdict == TD_REFUSE ? fleet_refuse(fleet, slot) : admit(fleet, slot, &asked, &plan));
  }
  return TD_OK;
}

/* ---- decode workers chosen late ---- */

static td_status decode_here(struct fleet *fleet, int32_t slot, const struct td_request_view *asked) {
  struct fleet_request *request = &fleet->requests[slot];
  int64_t more = asked->decode_blocks - asked->prefill_blocks;
  if (fleet->views[request->prefill_worker].free_blocks < more) {
    return td_fail(TD_INTERNAL, "policy %s: chose worker %s, which lacks %" PRId64 " more KV blocks",
                   fleet->policy->name, fleet->cluster->workers[request->prefill_worker].name, more);
  }
  fleet_view(fleet, request->prefill_worker, -more, 0, 0);
  return fleet_join(fleet, slot);
}

static td_status place_unplaced(struct fleet *fleet) {
  while (fleet->unplaced.count) {
    int32_t slot = fleet->unplaced.heap[0].slot;
    struct fleet_request *request = &fleet->requests[slot];
    struct td_cluster_view cluster = fleet_cluster_view(fleet);
    struct td_request_view asked = ask_for(fleet, request);
    int32_t worker = fleet->policy->place(&cluster, &asked);
    if (worker < 0) return fleet_check_room(fleet, slot);
    slot_queue_pop(&fleet->unplaced);
    request->decode_worker = worker;
    if (worker == request->prefill_worker) {
      TD_TRY(decode_here(fleet, slot, &asked));
      continue;
    }
    TD_TRY(check_ever(fleet, request, worker));
    TD_TRY(take_room(fleet, worker, asked.decode_blocks));
    TD_TRY(cluster_check_handoff(fleet->cluster, request->prefill_worker, worker));
    TD_TRY(fleet_prefilled(fleet, slot));
  }
  return TD_OK;
}

td_status fleet_route(struct fleet *fleet) {
  if (!fleet->route_again) return TD_OK;
  fleet->route_again = false;
  if (fleet->grow && fleet->waiting.count + fleet->unplaced.count) fleet_kv_look(fleet);
  TD_TRY(place_unplaced(fleet));
  return route_waiting(fleet);
}
