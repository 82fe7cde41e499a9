/* SPDX-License-Identifier: Apache-2.0
 *
 * What is lost when a worker fails: the step under way, all KV that is there, on its way there or from there, or in its
 * host's memory, and what its prefix cache kept outside of tiers that survive. Requests that had some start over, with
 * what they have put out as part of what they must prefill. So do those that would have decoded there and are still
 * prefilled elsewhere: at once, or when the chunk of theirs under way is done. Ports of others stay booked with what
 * was on its way.
 */
#include <inttypes.h>

#include "fleet.h"
#include "fleet_outage.h"
#include "tandem/base.h"

enum { MOST_FRUITLESS = 1000 };

static int64_t blocks_of(const struct fleet *fleet, int64_t positions) {
  return (positions + fleet->block_tokens - 1) / fleet->block_tokens;
}

/* What it holds where it is only prefilled. */
static int64_t prefill_blocks(const struct fleet *fleet, const struct fleet_request *request) {
  return blocks_of(fleet, request->target);
}

/* What it holds where it decodes, before it does. */
static int64_t decode_blocks(const struct fleet *fleet, const struct fleet_request *request) {
  return blocks_of(fleet, fleet->grow ? request->target : request->prompt + request->output - 1);
}

/* To a worker that goes on: somebody swapped out there may come back for it, at the next step at the earliest. */
static td_status give_back(struct fleet *fleet, int32_t worker, int64_t blocks) {
  fleet_view(fleet, worker, blocks, 1, 0);
  if (!fleet->grow) return TD_OK;
  fleet_touch(fleet, worker);
  return fleet_interrupt(fleet, worker);
}

/* Puts it to those that start over once all are known, so that each is ranked by the same views. */
static td_status lose(struct fleet *fleet, int32_t slot, int64_t positions) {
  fleet->summary->lost_tokens += (uint64_t)positions;
  return slot_queue_push(&fleet->outages->lost, (struct keyed_slot){0, fleet->requests[slot].place_in_line, slot});
}

/* What it holds of its worker's prefix cache it gives back; its worker is the one that failed, or goes on. */
static void let_go(struct fleet *fleet, int32_t slot, int32_t worker, int32_t failed) {
  if (fleet->caches.of) fleet_cache_leave(fleet, &fleet->requests[slot], worker, worker == failed);
}

/* Prompt tokens that are no work for its worker any more. */
static int32_t past_of(const struct fleet *fleet, const struct fleet_request *request) {
  return fleet->caches.of && !request->computed ? fleet_cache_held(fleet, request) : request->computed;
}

/* ---- on the worker ---- */

static td_status lose_decoding(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  if (fleet->prompts_first) TD_TRY(fleet_pause_end(fleet, worker));
  while (replica->endings.count) {
    const struct ending item = replica->endings.heap[0];
    struct fleet_request *request = &fleet->requests[item.slot];
    endings_remove(&replica->endings, 0);
    request->emitted = request->output - (int32_t)(item.step - replica->steps);
    request->stretch_count = (int32_t)(replica->index - request->stretch_index);
    int64_t cached = request->prompt + request->emitted - 1;
    replica->context -= cached;
    fleet_kv_leave(fleet, replica, request);
    fleet_view(fleet, worker, fleet->grow ? blocks_of(fleet, cached) : decode_blocks(fleet, request), 1, 0);
    let_go(fleet, item.slot, worker, worker);
    TD_TRY(lose(fleet, item.slot, cached));
  }
  return TD_OK;
}

static td_status lose_waiting_to_decode(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  while (replica->joining.first >= 0) {
    int32_t slot = slots_take(fleet, &replica->joining);
    fleet_view(fleet, worker, decode_blocks(fleet, &fleet->requests[slot]), 1, 0);
    let_go(fleet, slot, worker, worker);
    TD_TRY(lose(fleet, slot, fleet->requests[slot].target));
  }
  while (replica->swapped.count) {
    int32_t slot = slot_queue_pop(&replica->swapped).slot;
    fleet_view(fleet, worker, 0, 1, 0); /* its blocks went when it did */
    TD_TRY(lose(fleet, slot, fleet->requests[slot].prompt + fleet->requests[slot].emitted - 1));
  }
  return TD_OK;
}

static td_status lose_prefill(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  while (replica->prefill.first >= 0) {
    int32_t slot = slots_take(fleet, &replica->prefill);
    const struct fleet_request *request = &fleet->requests[slot];
    int32_t decode = request->decode_worker;
    int64_t blocks = decode == worker ? decode_blocks(fleet, request) : prefill_blocks(fleet, request);
    fleet_view(fleet, worker, blocks, 1, past_of(fleet, request) - request->target);
    let_go(fleet, slot, worker, worker);
    fleet->given_up_tokens += request->computed;
    if (decode >= 0 && decode != worker) TD_TRY(give_back(fleet, decode, decode_blocks(fleet, request)));
    TD_TRY(lose(fleet, slot, request->computed));
  }
  return TD_OK;
}

/* ---- on the way to it or from it, and before ---- */

static bool moves(const struct fleet_request *request, int32_t worker) {
  return request->prefill_worker == worker || request->decode_worker == worker;
}

/* Whoever concerns the worker leaves the queue: the others are put in again in place. */
static td_status leave_queue(struct fleet *fleet, int32_t worker, struct slot_queue *queue) {
  size_t count = queue->count;
  queue->count = 0;
  for (size_t i = 0; i < count; i++) {
    const struct keyed_slot item = queue->heap[i];
    const struct fleet_request *request = &fleet->requests[item.slot];
    int32_t from = request->prefill_worker, to = request->decode_worker;
    if (!moves(request, worker)) {
      TD_TRY(slot_queue_push(queue, item)); /* no further than where it was read */
      continue;
    }
    TD_TRY(give_back(fleet, from, prefill_blocks(fleet, request)));
    let_go(fleet, item.slot, from, worker);
    if (to >= 0) TD_TRY(give_back(fleet, to, decode_blocks(fleet, request)));
    TD_TRY(lose(fleet, item.slot, request->target));
  }
  return TD_OK;
}

bool fleet_is_orphan(const struct fleet_request *request) {
  return request->decode_worker == -1;
}

static td_status leave_prefill(struct fleet *fleet, int32_t slot) {
  const struct fleet_request *request = &fleet->requests[slot];
  fleet_view(fleet, request->prefill_worker, 0, 0, past_of(fleet, request) - request->target);
  if (request->computed < request->target) fleet->given_up_tokens += request->computed;
  TD_TRY(give_back(fleet, request->prefill_worker, prefill_blocks(fleet, request)));
  let_go(fleet, slot, request->prefill_worker, -1);
  return TD_OK;
}

static td_status restart(struct fleet *fleet, int32_t slot) {
  struct fleet_request *request = &fleet->requests[slot];
  bool nothing_new = request->target == request->prompt + request->emitted;
  request->fruitless = nothing_new ? request->fruitless + 1 : 0;
  if (request->fruitless == MOST_FRUITLESS) {
    return td_fail(TD_UNSUPPORTED,
                   "stalled at %.6f s with %" PRId64 " of %" PRId64 " requests done: request %" PRIu64 " (%" PRId32
                   " prompt and %" PRId32
                   " output tokens) started over %d times in a row without a token between: "
                   "workers fail too often for it",
                   td_seconds(fleet->now_ps), fleet->finished, fleet->arrived, request->number, request->prompt,
                   request->output, MOST_FRUITLESS);
  }
  fleet->summary->restarts++;
  request->interruptions++;
  fleet->route_again = true;
  return fleet_start_over(fleet, slot);
}

td_status fleet_orphan(struct fleet *fleet, int32_t slot) {
  fleet->summary->lost_tokens += (uint64_t)fleet->requests[slot].computed;
  TD_TRY(leave_prefill(fleet, slot));
  return restart(fleet, slot);
}

/* Of `other`'s prompts those that were to decode on `worker`. The first ones are of the step under way. Who is behind
 * one that leaves may fit into the next step beside those that decode, as it did not. */
static td_status leave_others(struct fleet *fleet, int32_t worker, int32_t other) {
  struct replica *replica = &fleet->replicas[other];
  size_t in_step = replica->busy ? replica->chunk_count : 0;
  struct slots all = replica->prefill;
  bool leaves = false;
  replica->prefill = (struct slots){-1, -1};
  for (size_t i = 0; all.first >= 0; i++) {
    int32_t slot = slots_take(fleet, &all);
    struct fleet_request *request = &fleet->requests[slot];
    bool concerned = request->decode_worker == worker;
    if (concerned) {
      fleet_view(fleet, worker, decode_blocks(fleet, request), 1, 0);
      fleet_forget_pushes(fleet, request);
      request->decode_worker = -1;
    }
    if (concerned && i < in_step) replica->chunks[i].push_begin = replica->chunks[i].push_end = 0;
    if (!concerned || i < in_step) {
      slots_add(fleet, &replica->prefill, slot);
      continue;
    }
    TD_TRY(leave_prefill(fleet, slot));
    TD_TRY(lose(fleet, slot, request->computed));
    leaves = true;
  }
  if (!leaves) return TD_OK;
  fleet_touch(fleet, other);
  return fleet_interrupt(fleet, other);
}

/* Whoever it is has a place on the worker: once nobody has one, nobody is left to look for. */
static td_status leave_elsewhere(struct fleet *fleet, int32_t worker) {
  const struct td_worker_view *view = &fleet->views[worker];
  if (view->active) TD_TRY(leave_queue(fleet, worker, &fleet->transfers));
  if (view->active) TD_TRY(leave_queue(fleet, worker, &fleet->unplaced));
  for (int32_t other = 0; other < fleet->cluster->worker_count && view->active; other++) {
    if (other != worker && fleet->replicas[other].prefill.first >= 0) TD_TRY(leave_others(fleet, worker, other));
  }
  return TD_OK;
}

/* ---- all of it ---- */

static td_status check_empty(const struct fleet *fleet, int32_t worker) {
  const struct td_worker_view *view = &fleet->views[worker];
  const struct replica *replica = &fleet->replicas[worker];
  int64_t blocks = fleet_free_blocks(fleet, worker);
  if (blocks == replica->blocks && !view->active && !view->waiting_tokens && !replica->context) return TD_OK;
  return td_fail(TD_INTERNAL,
                 "worker %s: %" PRId64 " of %" PRId64 " KV blocks free, %" PRId64 " requests, %" PRId64
                 " tokens waiting, %" PRId64 " positions after it failed",
                 fleet->cluster->workers[worker].name, blocks, replica->blocks, view->active, view->waiting_tokens,
                 replica->context);
}

td_status fleet_fail(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  struct slot_queue *lost = &fleet->outages->lost;
  TD_TRY(fleet_lose_step(fleet, worker));
  if (fleet->power) fleet_power_forget(fleet, worker);
  if (fleet->caches.of) fleet_cache_lose(fleet, worker);
  TD_TRY(lose_decoding(fleet, worker));
  TD_TRY(lose_waiting_to_decode(fleet, worker));
  TD_TRY(lose_prefill(fleet, worker));
  if (fleet->split) TD_TRY(leave_elsewhere(fleet, worker));
  TD_TRY(check_empty(fleet, worker));
  replica->swap_ps = 0;
  replica->freed = false;
  fleet->settled = false;
  fleet_cut_port(fleet, &replica->egress);
  fleet_cut_port(fleet, &replica->ingress);
  fleet_pipeline_forget(fleet, worker);
  fleet->views[worker].down = true;
  fleet->views[worker].free_sequences = 0;
  load_changed(fleet->loads, worker);
  while (lost->count) TD_TRY(restart(fleet, slot_queue_pop(lost).slot));
  return TD_OK;
}
