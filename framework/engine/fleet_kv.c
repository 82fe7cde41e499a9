/* SPDX-License-Identifier: Apache-2.0
 *
 * KV blocks that grow with their requests (engine.kv = "grow"), and who leaves when there are none left.
 *
 * A sequence of c cached positions takes a block before a step if c is a multiple of the block's size. All decoding
 * sequences of a worker take a step together, so c minus the worker's steps stays what it is: the sequences are counted
 * by that difference modulo the block, and how many blocks k steps take is a sum over at most one round of it.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "fleet.h"
#include "fleet_hosted.h"
#include "tandem/base.h"

static td_status no_host(const struct fleet *fleet, const struct td_device_params *params) {
  return td_config_fail(fleet->cluster->config, "engine.preemption",
                        "found \"swap\", expected a device file with host_bandwidth: %s has none", params->path);
}

td_status fleet_kv_check(const struct fleet *fleet, int32_t worker) {
  const struct td_device_params *params = fleet->cluster->workers[worker].params;
  return fleet->swap && !params->host_bandwidth.present ? no_host(fleet, params) : TD_OK;
}

static int64_t cached(const struct fleet_request *request) {
  return request->prompt + request->emitted - 1;
}

static int64_t blocks_of(const struct fleet *fleet, int64_t positions) {
  return (positions + fleet->block_tokens - 1) / fleet->block_tokens;
}

static int32_t *phase_of(const struct fleet *fleet, const struct replica *replica,
                         const struct fleet_request *request) {
  int64_t block = fleet->block_tokens, phase = (cached(request) - replica->steps) % block;
  return &replica->phases[phase < 0 ? phase + block : phase];
}

/* A worker that nobody decodes on needs no memory for it. */
td_status fleet_kv_join(struct fleet *fleet, struct replica *replica, const struct fleet_request *request) {
  if (!fleet->grow) return TD_OK;
  if (!replica->phases) {
    TD_TRY(td_alloc((size_t)fleet->block_tokens, sizeof *replica->phases, (void **)&replica->phases));
  }
  ++*phase_of(fleet, replica, request);
  return TD_OK;
}

/* `emitted` must be up to date. */
void fleet_kv_leave(struct fleet *fleet, struct replica *replica, const struct fleet_request *request) {
  if (fleet->grow) --*phase_of(fleet, replica, request);
}

/* Sequences that take a block before the step of number `step` from now, counted from 0. */
static int64_t taken_by(const struct fleet *fleet, const struct replica *replica, int64_t step) {
  int64_t block = fleet->block_tokens, at = (replica->steps + step) % block;
  return replica->phases[at ? block - at : 0];
}

/* Blocks that the next `steps` steps take. */
static int64_t blocks_for(const struct fleet *fleet, const struct replica *replica, int64_t steps) {
  int64_t block = fleet->block_tokens, sum = replica->endings.count * (steps / block);
  if (!replica->endings.count) return 0;
  for (int64_t i = 0; i < steps % block; i++) sum += taken_by(fleet, replica, i);
  return sum;
}

int64_t fleet_kv_steps(const struct fleet *fleet, int32_t worker) {
  const struct replica *replica = &fleet->replicas[worker];
  int64_t sequences = replica->endings.count, free_blocks = fleet_free_blocks(fleet, worker);
  int64_t steps = free_blocks / sequences * fleet->block_tokens, left = free_blocks % sequences;
  for (int64_t i = 0; (left -= taken_by(fleet, replica, i)) >= 0; i++) steps++;
  return steps;
}

void fleet_kv_taken(struct fleet *fleet, int32_t worker, int64_t count) {
  struct replica *replica = &fleet->replicas[worker];
  int64_t blocks = blocks_for(fleet, replica, count) - blocks_for(fleet, replica, replica->grown);
  replica->grown = count;
  if (blocks) fleet_view(fleet, worker, -blocks, 0, 0);
}

/* Notes which of the steps under way takes blocks next. */
static void expect_growth(struct fleet *fleet, int32_t worker) {
  const struct replica *replica = &fleet->replicas[worker];
  int64_t step = replica->grown;
  while (step < replica->count && !taken_by(fleet, replica, step)) step++; /* within a block's size */
  if (step < replica->count) {
    worker_queue_set(&fleet->growing, worker, fleet_step_begins(replica, step));
  } else if (worker_queue_has(&fleet->growing, worker)) {
    worker_queue_remove(&fleet->growing, worker);
  }
}

void fleet_kv_begun(struct fleet *fleet, int32_t worker) {
  fleet_kv_taken(fleet, worker, 1);
  if (fleet->replicas[worker].count > 1) expect_growth(fleet, worker);
}

/* Steps that were cut short, ended or failed since leave their notes behind: who is not amid steps has none to take. */
void fleet_kv_look(struct fleet *fleet) {
  int64_t begun_ps = fleet->again ? fleet->now_ps : fleet->now_ps - 1; /* see fleet_steps_by_now */
  while (fleet->grow && worker_queue_time(&fleet->growing) <= begun_ps) {
    int32_t worker = worker_queue_first(&fleet->growing);
    const struct replica *replica = &fleet->replicas[worker];
    if (!replica->busy || replica->count < 2) {
      worker_queue_remove(&fleet->growing, worker);
      continue;
    }
    fleet_kv_taken(fleet, worker, fleet_steps_by_now(fleet, replica));
    expect_growth(fleet, worker);
  }
}

/* ---- who leaves ---- */

/* Does it stand in line behind the other? */
static bool stands_behind(const struct fleet_request *a, const struct fleet_request *b) {
  return a->rank != b->rank ? a->rank > b->rank : a->place_in_line > b->place_in_line;
}

/* The place in the heap of the decoding request that stands last in line. */
static int32_t last_in_line(const struct fleet *fleet, const struct replica *replica) {
  const struct ending *heap = replica->endings.heap;
  int32_t last = 0;
  for (int32_t i = 1; i < replica->endings.count; i++) {
    if (stands_behind(&fleet->requests[heap[i].slot], &fleet->requests[heap[last].slot])) last = i;
  }
  return last;
}

/* Its KV moves to or from the host before the next step. */
static td_status move(const struct fleet *fleet, struct replica *replica, const struct fleet_request *request) {
  int64_t ps = 0;
  const struct td_device_params *params = fleet->pools[replica->pool].worker->params;
  double layers = (double)fleet->pools[replica->pool].most_layers; /* stages each move their own at the same time */
  double bytes = (double)fleet->bytes_per_position * layers * (double)cached(request);
  double rate = params->host_bandwidth.value / fleet->pools[replica->pool].ranks;
  TD_TRY(td_ps_from_seconds(bytes / rate, &ps));
  return fleet_later(replica->swap_ps, ps, &replica->swap_ps);
}

/* Whoever comes new would take the blocks that those in the host's memory wait for. */
void fleet_kv_places(struct fleet *fleet, int32_t worker) {
  struct td_worker_view *view = &fleet->views[worker];
  bool closed = view->down || fleet->replicas[worker].swapped.count > 0;
  view->free_sequences = closed ? 0 : fleet_places(fleet, worker) - view->active;
}

static td_status swap_out(struct fleet *fleet, struct replica *replica, int32_t slot) {
  const struct fleet_request *request = &fleet->requests[slot];
  TD_TRY(move(fleet, replica, request));
  TD_TRY(slot_queue_push(&replica->swapped, (struct keyed_slot){request->rank, request->place_in_line, slot}));
  fleet_view(fleet, (int32_t)(replica - fleet->replicas), 0, 0, 0);
  return TD_OK;
}

static td_status preempt(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  int32_t at = last_in_line(fleet, replica);
  const struct ending item = replica->endings.heap[at];
  struct fleet_request *request = &fleet->requests[item.slot];
  endings_remove(&replica->endings, at);
  request->emitted = request->output - (int32_t)(item.step - replica->steps);
  request->stretch_count = (int32_t)(replica->index - request->stretch_index);
  request->interruptions++;
  replica->context -= cached(request);
  replica->changed = true;
  replica->freed = false;
  fleet_kv_leave(fleet, replica, request);
  fleet_view(fleet, worker, blocks_of(fleet, cached(request)), 0, 0);
  if (fleet->caches.of) {
    TD_TRY(fleet_cache_keep(fleet, request, worker, cached(request)));
    fleet_cache_release(fleet, request, worker);
  }
  fleet->summary->preemptions++;
  if (fleet->swap) return swap_out(fleet, replica, item.slot);
  if (fleet->hosted) TD_TRY(fleet_hosted_release(fleet, worker, request->number));
  fleet_view(fleet, worker, 0, 1, 0);
  fleet->route_again = true; /* another worker may have room for it */
  return fleet_start_over(fleet, item.slot);
}

/* Who was swapped out comes back, first come first, once blocks were given back and each sequence can have one more. */
static td_status swap_in(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  while (replica->swapped.count && replica->freed) {
    int32_t slot = replica->swapped.heap[0].slot;
    struct fleet_request *request = &fleet->requests[slot];
    int64_t blocks = blocks_of(fleet, cached(request));
    int64_t need = blocks_of(fleet, cached(request) + 1) + replica->endings.count;
    if (fleet_free_blocks(fleet, worker) < need) return TD_OK;
    if (fleet->views[worker].free_blocks < blocks_of(fleet, cached(request) + 1)) return TD_OK;
    TD_TRY(move(fleet, replica, request));
    slot_queue_pop(&replica->swapped);
    if (fleet->caches.of) TD_TRY(fleet_cache_keep(fleet, request, worker, cached(request)));
    fleet_view(fleet, worker, -blocks, 0, 0);
    fleet->route_again |= !replica->swapped.count;
    slots_add(fleet, &replica->joining, slot);
    TD_TRY(fleet_take_joining(fleet, worker));
  }
  return TD_OK;
}

td_status fleet_kv_make_room(struct fleet *fleet, int32_t worker) {
  const struct replica *replica = &fleet->replicas[worker];
  TD_TRY(swap_in(fleet, worker));
  while (replica->endings.count && blocks_for(fleet, replica, 1) > fleet_free_blocks(fleet, worker)) {
    TD_TRY(preempt(fleet, worker));
  }
  return TD_OK;
}
