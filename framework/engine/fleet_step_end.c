/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of a worker's step, or of its steps that were one event: what its requests became.
 */
#include "fleet.h"
#include "fleet_hosted.h"
#include "tandem/base.h"

static td_status first_token(struct fleet *fleet, int32_t slot) {
  struct fleet_request *request = &fleet->requests[slot];
  fleet->prefilled++;
  fleet->done_tokens += request->target;
  if (fleet->caches.of) TD_TRY(fleet_cache_keep(fleet, request, request->prefill_worker, request->target));
  if (fleet_executes(fleet, request->prefill_worker)) TD_TRY(fleet_hosted_first_token(fleet, slot));
  if (!request->emitted++) request->first_token_ps = fleet->now_ps;
  bool here = request->decode_worker == request->prefill_worker;
  if (request->emitted == request->output && here) return fleet_finish(fleet, slot);
  if (fleet_is_orphan(request)) return fleet_orphan(fleet, slot);
  return here ? fleet_join(fleet, slot) : fleet_prefilled(fleet, slot);
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
  if (replica->chunk_count) fleet->prefill_s += td_seconds(fleet->now_ps - replica->start_ps);
  if (fleet_hands_over(replica)) TD_TRY(fleet_milestones(fleet, replica, ready_ps));
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
  const bool executes = fleet_executes(fleet, worker);
  bool passes = false;
  replica->busy = replica->changed = false;
  if (executes) TD_TRY(fleet_hosted_row(fleet, worker));
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
  if (ends || replica->chunk_count || executes) TD_TRY(fleet_close_row(fleet, worker));
  if (executes) TD_TRY(fleet_hosted_tokens(fleet, worker));
  TD_TRY(end_decodes(fleet, worker));
  TD_TRY(end_prompts(fleet, worker));
  if (executes) TD_TRY(fleet_hosted_over(fleet, worker));
  fleet_touch(fleet, worker);
  return TD_OK;
}
