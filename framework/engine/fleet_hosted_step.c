/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps of workers that execute: posted as they are filled, and what their completions say.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleet_hosted.h"
#include "tandem/base.h"

/* ---- out ---- */

static int by_joining(const void *left, const void *right) {
  const struct ending *a = left, *b = right;
  return (a->joined > b->joined) - (a->joined < b->joined);
}

/* A worker's decoding requests in the order in which they joined, which is theirs in a step. */
static const struct ending *members_of(const struct fleet *fleet, const struct replica *replica) {
  struct ending *members = fleet->hosted->members;
  memcpy(members, replica->endings.heap, (size_t)replica->endings.count * sizeof *members);
  qsort(members, (size_t)replica->endings.count, sizeof *members, by_joining);
  return members;
}

static int32_t emitted_of(const struct fleet *fleet, const struct replica *replica, const struct ending *member) {
  return fleet->requests[member->slot].output - (int32_t)(member->step - replica->steps);
}

static void add_member(const struct fleet *fleet, const struct replica *replica, const struct ending *member,
                       struct td_text *text) {
  const struct fleet_request *request = &fleet->requests[member->slot];
  int32_t emitted = emitted_of(fleet, replica, member);
  struct step_seq seq = {.request = request->number,
                         .generation = hosted_generation(request),
                         .past = request->prompt + emitted - 1,
                         .tokens = 1,
                         .stream = fleet_hosted_stream(fleet, request),
                         .output_index = (uint64_t)emitted,
                         .destination = request->decode_worker,
                         .flags = STEP_LOGITS};
  td_text_add(text, &seq, sizeof seq);
}

static void add_chunk(const struct fleet *fleet, const struct chunk *chunk, struct td_text *text) {
  const struct fleet_request *request = &fleet->requests[chunk->slot];
  struct step_seq seq = {.request = request->number,
                         .generation = hosted_generation(request),
                         .past = request->computed,
                         .tokens = chunk->tokens,
                         .push_begin = chunk->push_begin,
                         .push_end = chunk->push_end,
                         .stream = fleet_hosted_stream(fleet, request),
                         .output_index = (uint64_t)request->emitted,
                         .destination = request->decode_worker};
  if (request->computed + chunk->tokens == request->target) seq.flags = STEP_LOGITS;
  /* a modelled decode worker has nowhere to put real bytes */
  bool elsewhere = request->decode_worker >= 0 && request->decode_worker != request->prefill_worker;
  if (elsewhere && fleet_executes(fleet, request->decode_worker)) seq.flags |= STEP_HANDOFF;
  td_text_add(text, &seq, sizeof seq);
}

static void add_ids(const struct fleet *fleet, const struct replica *replica, const struct ending *members,
                    struct td_text *text) {
  for (int32_t i = 0; i < replica->endings.count; i++) {
    const struct hosted_request *request = hosted_request(fleet, members[i].slot);
    td_text_add(text, &request->last_id, sizeof request->last_id);
  }
  for (size_t i = 0; i < replica->chunk_count; i++) {
    const struct chunk *chunk = &replica->chunks[i];
    const struct fleet_request *request = &fleet->requests[chunk->slot];
    const int32_t *ids = hosted_request(fleet, chunk->slot)->ids;
    td_text_add(text, ids + request->computed, (size_t)chunk->tokens * sizeof *ids);
  }
}

static td_status post_step(struct fleet *fleet, int32_t worker) {
  const struct replica *replica = &fleet->replicas[worker];
  const struct ending *members = members_of(fleet, replica);
  struct td_text text = {0};
  struct td_message message;
  struct step_head head = {.step = fleet->hosted->workers[worker].step,
                           .seqs = (uint32_t)replica->endings.count + (uint32_t)replica->chunk_count,
                           .wants_layers = fleet_hands_over(replica)};
  td_text_add(&text, &head, sizeof head);
  for (int32_t i = 0; i < replica->endings.count; i++) add_member(fleet, replica, &members[i], &text);
  for (size_t i = 0; i < replica->chunk_count; i++) add_chunk(fleet, &replica->chunks[i], &text);
  add_ids(fleet, replica, members, &text);
  TD_TRY(message_make(MESSAGE_STEP, worker, &text, &message));
  return node_post(fleet->hosted->node, worker, &message);
}

td_status fleet_hosted_begin(struct fleet *fleet, int32_t worker) {
  struct fleet_hosted *hosted = fleet->hosted;
  struct replica *replica = &fleet->replicas[worker];
  replica->count = 1;
  replica->decodes = replica->endings.count > 0;
  hosted->workers[worker].step = hosted->posted++;
  hosted->in_flight++;
  TD_TRY(post_step(fleet, worker));
  /* pace measured: a step that executes runs alone */
  while (hosted->pace == TD_PACE_MEASURED && hosted->in_flight) {
    bool got;
    TD_TRY(fleet_hosted_pump(fleet, -1, &got));
  }
  return TD_OK;
}

/* ---- in ---- */

static td_status read_completion(const struct td_message *message, struct completion *out) {
  struct reader reader = reader_of(message);
  out->head = reader_take(&reader, sizeof *out->head);
  if (!out->head) return message_short(message);
  out->layer_done_ps = reader_take(&reader, out->head->layers * sizeof *out->layer_done_ps);
  if (!out->layer_done_ps) return message_short(message);
  out->samples = reader_take(&reader, out->head->samples * sizeof *out->samples);
  return out->samples ? TD_OK : message_short(message);
}

/* Live steps happened when their rank's clock says, as far as that can be: not before they were given out, and not
 * after their completion arrived. The clocks were compared once, and drift. */
static void place_live_step(struct fleet *fleet, int32_t worker, const struct done_head *head) {
  struct replica *replica = &fleet->replicas[worker];
  int64_t begin = fleet_hosted_time(fleet, fleet->cluster->workers[worker].rank, head->start_ps);
  int64_t latest = fleet->hosted->clock_ps - head->duration_ps;
  if (begin > latest) begin = latest;
  if (begin > replica->start_ps) replica->start_ps = begin;
}

td_status fleet_hosted_done(struct fleet *fleet, struct td_message *message) {
  const int32_t worker = (int32_t)message->worker;
  struct hosted_worker *hosted = &fleet->hosted->workers[worker];
  struct replica *replica = &fleet->replicas[worker];
  struct completion completion = {0};
  int64_t end_ps;
  TD_TRY(read_completion(message, &completion));
  const struct done_head *head = completion.head;
  if (!replica->busy || hosted->done.data || head->step != hosted->step) {
    return td_fail(TD_INTERNAL, "worker %s: completion of step %" PRIu64 ", expected %" PRIu64,
                   fleet->cluster->workers[worker].name, head->step, hosted->step);
  }
  if (fleet->hosted->pace == TD_PACE_WALL && head->time_kind == TD_TIME_EXECUTED) place_live_step(fleet, worker, head);
  TD_TRY(fleet_later(replica->start_ps, head->duration_ps, &end_ps));
  hosted->done = *message;
  hosted->sampled = 0;
  message->data = NULL;
  fleet->hosted->in_flight--;
  worker_queue_set(&fleet->ends, worker, end_ps);
  return TD_OK;
}

/* ---- its end ---- */

uint32_t fleet_hosted_time_kind(const struct fleet *fleet, int32_t worker) {
  return ((const struct done_head *)fleet->hosted->workers[worker].done.data)->time_kind;
}

td_status fleet_hosted_row(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  struct hosted_worker *hosted = &fleet->hosted->workers[worker];
  const struct done_head *done = hosted->done.data;
  struct td_price price = {.base_ps = done->duration_ps, .valid_steps = 1, .energy_j = done->energy_j};
  uint32_t kind = !replica->chunk_count ? TD_STEP_DECODE : replica->decodes ? TD_STEP_MIXED : TD_STEP_PREFILL;
  hosted->row = fleet->next_step;
  TD_TRY(fleet_open_row(fleet, worker, &price, kind));
  replica->told.interval = done->interval;
  return TD_OK;
}

static td_status next_sample(struct fleet *fleet, int32_t worker, int32_t slot, const struct td_sample **out_sample) {
  struct hosted_worker *hosted = &fleet->hosted->workers[worker];
  struct completion completion = {0};
  TD_TRY(read_completion(&hosted->done, &completion));
  const struct done_sample *sample = &completion.samples[hosted->sampled];
  if (hosted->sampled >= completion.head->samples || sample->request != fleet->requests[slot].number) {
    return td_fail(TD_INTERNAL, "worker %s: no sample for request %" PRIu64, fleet->cluster->workers[worker].name,
                   fleet->requests[slot].number);
  }
  hosted->sampled++;
  *out_sample = &sample->sample;
  return TD_OK;
}

/* Who ends with this step, before all that it may put out is out, is due to end with it. */
static td_status end_early(struct fleet *fleet, struct replica *replica, const struct ending *member) {
  struct ending early = *member;
  int32_t at = 0;
  while (replica->endings.heap[at].slot != member->slot) at++;
  fleet->requests[member->slot].output = emitted_of(fleet, replica, member) + 1;
  endings_remove(&replica->endings, at);
  early.step = replica->steps + 1;
  return endings_put_back(&replica->endings, replica->own_endings, early);
}

td_status fleet_hosted_tokens(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  const struct ending *members = members_of(fleet, replica);
  int32_t count = replica->endings.count;
  for (int32_t i = 0; i < count; i++) {
    const struct td_sample *sample = NULL;
    bool ends;
    TD_TRY(next_sample(fleet, worker, members[i].slot, &sample));
    TD_TRY(fleet_hosted_token(fleet, members[i].slot, worker, emitted_of(fleet, replica, &members[i]), sample, &ends));
    if (ends && members[i].step > replica->steps + 1) TD_TRY(end_early(fleet, replica, &members[i]));
  }
  return TD_OK;
}

td_status fleet_hosted_first_token(struct fleet *fleet, int32_t slot) {
  struct fleet_request *request = &fleet->requests[slot];
  const struct td_sample *sample = NULL;
  bool ends;
  TD_TRY(next_sample(fleet, request->prefill_worker, slot, &sample));
  TD_TRY(fleet_hosted_token(fleet, slot, request->prefill_worker, request->emitted, sample, &ends));
  if (!ends) return TD_OK;
  request->output = request->emitted + 1;
  if (request->decode_worker != TD_WORKER_LATER) return TD_OK;
  request->decode_worker = request->prefill_worker; /* nowhere else any more */
  hosted_request(fleet, slot)->held = request->prompt;
  return TD_OK;
}

td_status fleet_hosted_over(struct fleet *fleet, int32_t worker) {
  struct hosted_worker *hosted = &fleet->hosted->workers[worker];
  uint32_t given = ((const struct done_head *)hosted->done.data)->samples;
  free(hosted->done.data);
  hosted->done.data = NULL;
  if (hosted->sampled == given) return TD_OK;
  return td_fail(TD_INTERNAL, "worker %s: %" PRIu32 " samples, expected %" PRIu32, fleet->cluster->workers[worker].name,
                 given, hosted->sampled);
}

td_status fleet_hosted_milestones(struct fleet *fleet, int32_t worker, int64_t out_ps[2]) {
  struct completion completion = {0};
  TD_TRY(read_completion(&fleet->hosted->workers[worker].done, &completion));
  if (completion.head->layers != (uint32_t)fleet->layers) {
    return td_fail(TD_INTERNAL, "worker %s: no milestones", fleet->cluster->workers[worker].name);
  }
  out_ps[0] = completion.layer_done_ps[fleet_push_layers(fleet) - 1];
  out_ps[1] = completion.layer_done_ps[fleet->layers - 1];
  return TD_OK;
}
