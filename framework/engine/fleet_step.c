/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's steps: one token for every decoding sequence first, then prefill chunks in order of admission while the
 * token budget lasts, or the other way round (fleet_pause.c). Without chunks, decode steps run on as one event until a
 * sequence ends, the price changes its form, or somebody joins.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "fleet.h"
#include "tandem/base.h"

__extension__ typedef __int128 wide;

static wide steps_time(int64_t base, int64_t slope, int64_t count) {
  return (wide)base * count + (wide)slope * count * (count - 1) / 2;
}

td_status fleet_too_long(void) {
  return td_fail(TD_UNSUPPORTED, "the run lasts longer than 106 days");
}

td_status fleet_later(int64_t ps, int64_t span_ps, int64_t *out_ps) {
  return __builtin_add_overflow(ps, span_ps, out_ps) ? fleet_too_long() : TD_OK;
}

static td_status ends_at(const struct replica *replica, int64_t *out_ps) {
  wide end = replica->start_ps + steps_time(replica->next_base, replica->row.slope, replica->count);
  if (end > INT64_MAX) return fleet_too_long();
  *out_ps = (int64_t)end;
  return TD_OK;
}

/* ---- what a step is of ---- */

td_status fleet_take_joining(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  while (replica->joining.first >= 0) {
    int32_t slot = slots_take(fleet, &replica->joining);
    struct fleet_request *request = &fleet->requests[slot];
    if (fleet->prompts_first) request->paused = false;
    replica->context += request->prompt + request->emitted - 1;
    TD_TRY(fleet_kv_join(fleet, replica, request));
    replica->changed = true;
    TD_TRY(fleet_resident(fleet, request, worker, replica->index, 0, 1));
    TD_TRY(endings_push(&replica->endings, replica->own_endings, replica->steps + request->output - request->emitted,
                        slot));
  }
  return TD_OK;
}

/* KV leaves in whole blocks, and at the prompt's end with what is left; as a blob only then. */
static int32_t push_end(const struct fleet *fleet, const struct fleet_request *request, int32_t computed) {
  if (computed == request->target) return computed;
  if (fleet->cluster->experiment->engine.handoff == TD_HANDOFF_BLOB) return request->pushed;
  return computed - computed % (int32_t)fleet->block_tokens;
}

static td_status more_chunks(struct replica *replica) {
  bool own = replica->chunks == replica->own_chunks;
  struct chunk *chunks = own ? NULL : replica->chunks;
  size_t capacity = own ? 0 : replica->chunk_capacity;
  TD_TRY(td_grow((void **)&chunks, &capacity, 2 * replica->chunk_count, sizeof *chunks));
  if (own) memcpy(chunks, replica->own_chunks, sizeof replica->own_chunks);
  replica->chunks = chunks;
  replica->chunk_capacity = capacity;
  return TD_OK;
}

static td_status add_chunk(struct fleet *fleet, int32_t worker, int32_t slot, int64_t tokens, int32_t rank) {
  struct replica *replica = &fleet->replicas[worker];
  struct fleet_request *request = &fleet->requests[slot];
  if (fleet->caches.of && !request->computed) TD_TRY(fleet_cache_load(fleet, request, worker));
  struct chunk chunk = {.slot = slot, .tokens = (int32_t)tokens, .rank = rank};
  if (request->decode_worker != TD_WORKER_LATER && request->decode_worker != request->prefill_worker) {
    chunk.push_begin = request->pushed;
    chunk.push_end = push_end(fleet, request, request->computed + chunk.tokens);
  }
  if (replica->chunk_count == replica->chunk_capacity) TD_TRY(more_chunks(replica));
  replica->chunks[replica->chunk_count++] = chunk;
  return TD_OK;
}

/* Tokens that the worker has of it, or would have if it began now. */
static int32_t past_of(const struct fleet *fleet, const struct fleet_request *request, int32_t worker) {
  if (!fleet->caches.of || request->computed) return request->computed;
  return fleet_cache_past(fleet, request, worker);
}

/* All decoding requests come before the prompts, or those that have paused enough. Each prompt goes to the group of
 * chips that has fewest tokens so far; mostly there is one group. */
static td_status add_chunks(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  int64_t *rank_tokens = fleet->pools[replica->pool].rank_tokens;
  int64_t sequences = fleet->prompts_first ? fleet_pause_due(fleet, worker) : replica->endings.count;
  int64_t places = fleet_places(fleet, worker) - sequences;
  fleet_rank_deal(fleet, replica, sequences);
  replica->chunk_count = 0;
  for (int32_t slot = replica->prefill.first; slot >= 0 && places > 0; slot = fleet->requests[slot].next, places--) {
    int32_t rank = fleet_rank_idlest(fleet, replica);
    int64_t tokens = fleet->requests[slot].target - past_of(fleet, &fleet->requests[slot], worker);
    int64_t left = fleet->batch_tokens - rank_tokens[rank];
    if (fleet->chunk_tokens && tokens > fleet->chunk_tokens) tokens = fleet->chunk_tokens;
    if (fleet->chunk_tokens && tokens > left) tokens = left;
    if (tokens <= 0 || (tokens > left && rank_tokens[rank])) break;
    TD_TRY(add_chunk(fleet, worker, slot, tokens, rank));
    rank_tokens[rank] += tokens;
  }
  return fleet->prompts_first ? fleet_pause(fleet, worker, fleet_rank_room(fleet, replica)) : TD_OK;
}

/* ---- its beginning ---- */

/* Steps alike go on in their row. Step by step their price is asked again: it must be what the row says. For how long
 * it holds can be less than what is left of the row: sums of contexts say less about windows the longer they are. */
static td_status go_on(struct fleet *fleet, const struct replica *replica) {
  struct td_price price;
  if (fleet->merge) return TD_OK;
  TD_TRY(fleet_price_decode(fleet, replica, &price));
  int64_t expected = replica->priced + replica->more * replica->row.count;
  if (price.base_ps == expected) return TD_OK;
  return td_fail(TD_INTERNAL,
                 "a step of %" PRId32 " sequences and %" PRId64 " positions: found a price of %" PRId64
                 " ps, expected %" PRId64 " by the price of those before",
                 replica->endings.count, replica->context, price.base_ps, expected);
}

/* Prompts that had to wait for those that had paused are next. */
static bool waits_a_step(const struct fleet *fleet, const struct replica *replica) {
  return fleet->prompts_first && replica->prefill.first >= 0;
}

static td_status begin_decode(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  int64_t end_ps = 0, left = replica->endings.heap[0].step - replica->steps;
  bool others;
  TD_TRY(fleet_pipeline_meet(fleet, worker, &others));
  bool goes_on = !replica->changed && replica->row_valid > 0;
  TD_TRY(fleet_pipeline_go_on(fleet, worker, others, &goes_on));
  if (goes_on) {
    TD_TRY(go_on(fleet, replica));
  } else {
    struct td_price price;
    TD_TRY(replica->changed ? fleet_close_row(fleet, worker) : fleet_turn_row(fleet, worker));
    TD_TRY(fleet_price_decode(fleet, replica, &price));
    if (!fleet->merge) {
      replica->priced = price.base_ps;
      replica->more = price.slope_ps;
    }
    TD_TRY(fleet_slow_price(fleet, replica->pool, &price));
    TD_TRY(fleet_pipeline_enter(fleet, worker, others, &price));
    TD_TRY(fleet_open_row(fleet, worker, &price, TD_STEP_DECODE));
  }
  replica->count = left < replica->row_valid ? left : replica->row_valid;
  if (!fleet->merge || fleet->crowded || others || waits_a_step(fleet, replica)) replica->count = 1;
  replica->decodes = true;
  if (fleet->grow && replica->count > 1) {
    int64_t steps = fleet_kv_steps(fleet, worker);
    if (steps < replica->count) replica->count = steps;
  }
  TD_TRY(ends_at(replica, &end_ps));
  worker_queue_set(&fleet->ends, worker, end_ps);
  return TD_OK;
}

static td_status begin_mixed(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  struct td_price price;
  int64_t end_ps = 0;
  bool others;
  TD_TRY(fleet_pipeline_meet(fleet, worker, &others));
  TD_TRY(fleet_close_row(fleet, worker));
  TD_TRY(fleet_price_mixed(fleet, replica, &price));
  TD_TRY(fleet_slow_price(fleet, replica->pool, &price));
  TD_TRY(fleet_pipeline_enter(fleet, worker, others, &price));
  price.slope_ps = 0;
  price.valid_steps = 1;
  replica->decodes = replica->endings.count > 0;
  TD_TRY(fleet_open_row(fleet, worker, &price, replica->decodes ? TD_STEP_MIXED : TD_STEP_PREFILL));
  replica->count = 1;
  TD_TRY(ends_at(replica, &end_ps));
  worker_queue_set(&fleet->ends, worker, end_ps);
  return TD_OK;
}

td_status fleet_begin_step(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  if (fleet->prompts_first) TD_TRY(fleet_pause_end(fleet, worker));
  TD_TRY(fleet_take_joining(fleet, worker));
  if (fleet->grow) TD_TRY(fleet_kv_make_room(fleet, worker));
  TD_TRY(add_chunks(fleet, worker));
  if (!replica->chunk_count && !replica->endings.count) return fleet_close_row(fleet, worker);
  replica->busy = true;
  TD_TRY(fleet_later(fleet->now_ps, replica->swap_ps, &replica->start_ps));
  if (replica->swap_ps) replica->changed = true; /* steps of one row follow each other */
  replica->swap_ps = 0;
  TD_TRY(replica->chunk_count ? begin_mixed(fleet, worker) : begin_decode(fleet, worker));
  if (fleet->grow) fleet_kv_begun(fleet, worker);
  return TD_OK;
}

/* ---- somebody wants to join ---- */

/* How many of the steps under way have ended `elapsed` after the first began. */
static int64_t steps_ended(const struct replica *replica, int64_t elapsed) {
  int64_t base = replica->next_base, slope = replica->row.slope, steps;
  if (elapsed < base) return 0;
  if (slope > 0) {
    double half = (double)base / (double)slope - 0.5;
    steps = (int64_t)(sqrt(half * half + 2 * (double)elapsed / (double)slope) - half);
  } else {
    steps = elapsed / base;
  }
  while (steps_time(base, slope, steps + 1) <= elapsed) steps++;
  while (steps > 0 && steps_time(base, slope, steps) > elapsed) steps--;
  return steps;
}

int64_t fleet_step_begins(const struct replica *replica, int64_t step) {
  return replica->start_ps + (int64_t)steps_time(replica->next_base, replica->row.slope, step);
}

/* A step that would begin at this very instant has not, unless the instant has been given work before. */
int64_t fleet_steps_by_now(const struct fleet *fleet, const struct replica *replica) {
  int64_t elapsed = fleet->now_ps - replica->start_ps, ended = steps_ended(replica, elapsed);
  bool at_end = ended > 0 && steps_time(replica->next_base, replica->row.slope, ended) == elapsed;
  int64_t begun = at_end && !fleet->again ? ended : ended + 1;
  return begun < replica->count ? begun : replica->count;
}

/* Step by step the one that ends now would have ended before anybody joined. */
td_status fleet_interrupt(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  if (!replica->busy || replica->count < 2) return TD_OK;
  int64_t begun = fleet_steps_by_now(fleet, replica), end_ps = 0;
  if (begun == replica->count) return TD_OK;
  replica->count = begun;
  TD_TRY(ends_at(replica, &end_ps));
  if (end_ps > fleet->now_ps) {
    worker_queue_set(&fleet->ends, worker, end_ps);
    return TD_OK;
  }
  worker_queue_remove(&fleet->ends, worker);
  return fleet_end_step(fleet, worker);
}

td_status fleet_join(struct fleet *fleet, int32_t slot) {
  int32_t worker = fleet->requests[slot].decode_worker;
  slots_add(fleet, &fleet->replicas[worker].joining, slot);
  TD_TRY(fleet_interrupt(fleet, worker));
  fleet_touch(fleet, worker);
  return TD_OK;
}

td_status fleet_lose_step(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  if (!replica->busy) return fleet_close_row(fleet, worker);
  int64_t elapsed = fleet->now_ps - replica->start_ps, ended = steps_ended(replica, elapsed);
  int64_t spent = elapsed - (int64_t)steps_time(replica->next_base, replica->row.slope, ended);
  double watts = replica->row.energy / (double)replica->row.duration; /* per ps */
  bool lost = !ended || spent > 0;
  /* the step that is lost has taken its blocks, and kept ones had to leave for it */
  if (fleet->grow && replica->count > 1) fleet_kv_taken(fleet, worker, fleet_steps_by_now(fleet, replica));
  worker_queue_remove(&fleet->ends, worker);
  if (ended) {
    replica->count = ended;
    TD_TRY(fleet_end_step(fleet, worker));
  }
  if (replica->busy && fleet->power) fleet_power_release(fleet, worker);
  replica->busy = false; /* nobody is to take blocks for steps of it any more */
  if (fleet->grow) fleet_kv_taken(fleet, worker, 0);
  replica->changed = true;
  replica->chunk_count = 0;
  TD_TRY(fleet_close_row(fleet, worker));
  if (!lost) return TD_OK;
  fleet->summary->lost_steps++;
  if (spent < 0) return TD_OK; /* it still waited for KV from the host */
  replica->energy_j += watts * (double)spent;
  replica->busy_ps += fleet_pipeline_share(replica, spent);
  return TD_OK;
}

/* ---- its end ---- */

static td_status first_token(struct fleet *fleet, int32_t slot) {
  struct fleet_request *request = &fleet->requests[slot];
  fleet->prefilled++;
  fleet->done_tokens += request->target;
  if (fleet->caches.of) TD_TRY(fleet_cache_keep(fleet, request, request->prefill_worker, request->target));
  if (!request->emitted++) request->first_token_ps = fleet->now_ps;
  if (request->emitted == request->output) return fleet_finish(fleet, slot);
  if (fleet_is_orphan(request)) return fleet_orphan(fleet, slot);
  return request->decode_worker == request->prefill_worker ? fleet_join(fleet, slot) : fleet_prefilled(fleet, slot);
}

static td_status end_chunk(struct fleet *fleet, int32_t worker, const struct chunk *chunk, const int64_t ready_ps[2]) {
  struct replica *replica = &fleet->replicas[worker];
  struct fleet_request *request = &fleet->requests[chunk->slot];
  bool last = request->computed + chunk->tokens == request->target;
  if (request->first_step_ps < 0) request->first_step_ps = replica->start_ps;
  TD_TRY(fleet_resident(fleet, request, worker, replica->index, 1, last));
  if (chunk->push_begin != chunk->push_end) TD_TRY(fleet_push(fleet, worker, chunk, ready_ps));
  request->computed += chunk->tokens;
  fleet->prefilled_tokens += chunk->tokens;
  if (chunk->push_begin != chunk->push_end) request->pushed = chunk->push_end;
  fleet_pipeline_rows(fleet, worker, chunk->tokens, last);
  fleet_view(fleet, worker, 0, 0, -chunk->tokens);
  return TD_OK;
}

static td_status end_chunks(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  int64_t ready_ps[2] = {0};
  bool pushes = false;
  for (size_t i = 0; i < replica->chunk_count; i++) {
    pushes |= replica->chunks[i].push_begin != replica->chunks[i].push_end;
  }
  if (replica->chunk_count) fleet->prefill_ps += fleet->now_ps - replica->start_ps;
  if (pushes) TD_TRY(fleet_milestones(fleet, replica, ready_ps));
  for (size_t i = 0; i < replica->chunk_count; i++) {
    TD_TRY(end_chunk(fleet, worker, &replica->chunks[i], ready_ps));
  }
  return TD_OK;
}

/* The chunks are of the first prompts of the queue, in its order; a prompt can be done before one ahead of it. */
static td_status end_prompts(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  int32_t before = -1, slot = replica->prefill.first;
  for (size_t i = 0; i < replica->chunk_count; i++) {
    const struct fleet_request *request = &fleet->requests[slot];
    int32_t next = request->next;
    bool done = request->computed == request->target;
    if (!done && !fleet_is_orphan(request)) {
      before = slot;
    } else {
      *(before < 0 ? &replica->prefill.first : &fleet->requests[before].next) = next;
      if (next < 0) replica->prefill.last = before;
      TD_TRY(done ? first_token(fleet, slot) : fleet_orphan(fleet, slot));
    }
    slot = next;
  }
  return TD_OK;
}

static td_status end_decodes(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  int64_t sequences = replica->endings.count;
  if (fleet->grow) fleet_kv_taken(fleet, worker, replica->count);
  replica->grown = 0;
  if (!replica->decodes) return TD_OK;
  replica->steps += replica->count;
  replica->context += sequences * replica->count;
  fleet->summary->decode_steps += (uint64_t)replica->count;
  fleet->summary->decode_tokens += (uint64_t)(sequences * replica->count);
  fleet_pipeline_rows(fleet, worker, sequences * replica->count, sequences * replica->count);
  while (replica->endings.count && replica->endings.heap[0].step == replica->steps) {
    int32_t slot = endings_pop(&replica->endings);
    struct fleet_request *request = &fleet->requests[slot];
    request->emitted = request->output;
    replica->context -= request->prompt + request->output - 1;
    fleet_kv_leave(fleet, replica, request);
    replica->changed = true;
    if (fleet->trace) request->stretch_count = (int32_t)(replica->index - request->stretch_index);
    TD_TRY(fleet_finish(fleet, slot));
  }
  return TD_OK;
}

td_status fleet_end_step(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  if (replica->decodes) __builtin_prefetch(&fleet->requests[replica->endings.heap[0].slot]);
  if (replica->chunk_count) __builtin_prefetch(&fleet->requests[replica->chunks[0].slot]);
  bool passes = false;
  replica->busy = replica->changed = false;
  if (fleet->pipelined) TD_TRY(fleet_pass(fleet, worker, &passes));
  if (fleet->power && !passes) fleet_power_release(fleet, worker);
  fleet_pipeline_count(fleet, worker, replica->count);
  TD_TRY(end_chunks(fleet, worker));
  replica->index += (uint64_t)replica->count;
  replica->row.count += replica->count;
  replica->next_base += replica->row.slope * replica->count;
  replica->row_valid -= replica->count;
  /* a request's row follows those of its steps, so that a trace cut off in between can be read */
  bool ends = replica->decodes && replica->endings.heap[0].step == replica->steps + replica->count;
  if (ends || replica->chunk_count) TD_TRY(fleet_close_row(fleet, worker));
  TD_TRY(end_decodes(fleet, worker));
  TD_TRY(end_prompts(fleet, worker));
  fleet_touch(fleet, worker);
  return TD_OK;
}
