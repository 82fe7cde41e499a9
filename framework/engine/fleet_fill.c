/* SPDX-License-Identifier: Apache-2.0
 *
 * What a worker's step is of: one token for every decoding sequence first, then prefill chunks in order of admission
 * while the token budget lasts, or the other way round (fleet_pause.c).
 */
#include <string.h>

#include "fleet.h"
#include "tandem/base.h"

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
td_status fleet_fill_chunks(struct fleet *fleet, int32_t worker) {
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
