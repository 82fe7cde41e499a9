/* SPDX-License-Identifier: Apache-2.0
 *
 * KV that really moves: announced to its receiver, reported by it, let go. Where a price says how long that takes, what
 * fleet_link.c books is the hand-off, and the bytes only have to be there in time; where a clock does, its rows are
 * what the receiver reports, push by push.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fleet_hosted.h"
#include "tandem/base.h"

/* Do real bytes move? */
static bool moves_bytes(const struct fleet *fleet, const struct fleet_request *request) {
  bool placed = request->decode_worker >= 0 && request->decode_worker != request->prefill_worker;
  return placed && fleet_executes(fleet, request->prefill_worker) && fleet_executes(fleet, request->decode_worker);
}

bool fleet_hosted_clocks(const struct fleet *fleet, const struct fleet_request *request) {
  return !cluster_prices_transfer(fleet->cluster, request->prefill_worker, request->decode_worker);
}

static td_status expect(struct fleet *fleet, int32_t slot) {
  const struct fleet_request *request = &fleet->requests[slot];
  struct td_text text = {0};
  struct td_message message;
  struct expect_head head = {.request = request->number,
                             .generation = hosted_generation(request),
                             .tokens = request->target,
                             .slot = slot,
                             .layout = fleet->hosted->workers[request->prefill_worker].layout};
  const int32_t *ids = hosted_request(fleet, slot)->ids;
  td_text_add(&text, &head, sizeof head);
  td_text_add(&text, ids, (size_t)head.tokens * sizeof *ids);
  TD_TRY(message_make(MESSAGE_EXPECT, request->decode_worker, &text, &message));
  return node_post(fleet->hosted->node, request->decode_worker, &message);
}

static td_status more_requests(struct fleet_hosted *hosted, size_t wanted) {
  size_t before = hosted->request_capacity;
  if (wanted <= before) return TD_OK;
  TD_TRY(td_grow((void **)&hosted->requests, &hosted->request_capacity, wanted, sizeof *hosted->requests));
  memset(hosted->requests + before, 0, (hosted->request_capacity - before) * sizeof *hosted->requests);
  return TD_OK;
}

td_status fleet_hosted_admit(struct fleet *fleet, int32_t slot) {
  const struct fleet_request *request = &fleet->requests[slot];
  struct fleet_hosted *hosted = fleet->hosted;
  TD_TRY(more_requests(hosted, (size_t)slot + 1));
  const struct hosted_request before = hosted->requests[slot];
  hosted->requests[slot] = (struct hosted_request){.most = request->output,
                                                   .held = request->prompt + request->output - 1,
                                                   .finish = TD_FINISH_LENGTH,
                                                   .finished_ps = -1};
  if (request->emitted) { /* it starts over */
    hosted->requests[slot].ids = hosted->requests[slot].own = before.own;
  } else {
    free(before.own); /* of one that was refused when it had to start over */
  }
  if (fleet_executes(fleet, request->prefill_worker)) TD_TRY(fleet_hosted_prompt(fleet, slot));
  return moves_bytes(fleet, request) ? expect(fleet, slot) : TD_OK;
}

td_status fleet_hosted_hand_over(struct fleet *fleet, int32_t slot) {
  const struct fleet_request *request = &fleet->requests[slot];
  const int32_t *ids = hosted_request(fleet, slot)->ids;
  struct td_text text = {0};
  struct td_message message;
  struct hand_over_head head = {.request = request->number,
                                .generation = hosted_generation(request),
                                .tokens = request->target,
                                .destination = request->decode_worker};
  if (!moves_bytes(fleet, request)) return TD_OK;
  TD_TRY(expect(fleet, slot));
  td_text_add(&text, &head, sizeof head);
  td_text_add(&text, ids, (size_t)head.tokens * sizeof *ids);
  TD_TRY(message_make(MESSAGE_HAND_OVER, request->prefill_worker, &text, &message));
  return node_post(fleet->hosted->node, request->prefill_worker, &message);
}

void fleet_hosted_sent(struct fleet *fleet, const struct fleet_request *request, int64_t positions) {
  struct port *egress = &fleet->replicas[request->prefill_worker].egress;
  uint64_t bytes = fleet->bytes_per_position * (uint64_t)fleet->layers * (uint64_t)positions;
  egress->bytes += bytes;
  egress->open += bytes;
}

bool fleet_hosted_awaits(struct fleet *fleet, int32_t slot) {
  struct hosted_request *hosted = hosted_request(fleet, slot);
  if (!fleet_hosted_clocks(fleet, &fleet->requests[slot]) || hosted->committed) return false;
  hosted->awaited = true;
  fleet->hosted->awaited++;
  return true;
}

/* The clocks of ranks drift: a push ends when word of it comes at the latest, and begins after its request was
 * admitted. */
static td_status record_push(struct fleet *fleet, struct fleet_request *request, const struct committed_chunk *chunk) {
  const struct cluster_worker *sender = &fleet->cluster->workers[request->prefill_worker];
  const struct cluster_worker *receiver = &fleet->cluster->workers[request->decode_worker];
  struct td_row_transfer row = {.request = request->number,
                                .from = (uint32_t)request->prefill_worker,
                                .to = (uint32_t)request->decode_worker,
                                .layer_begin = chunk->layer_begin,
                                .layer_end = chunk->layer_end,
                                .token_begin = chunk->token_begin,
                                .token_end = chunk->token_end,
                                .bytes = chunk->bytes,
                                .start = fleet_hosted_time(fleet, sender->rank, chunk->ready_ps),
                                .time_kind = TD_TIME_EXECUTED};
  int64_t end = fleet_hosted_time(fleet, receiver->rank, chunk->imported_ps);
  if (end > fleet->hosted->clock_ps) end = fleet->hosted->clock_ps;
  if (row.start < request->admitted_ps) row.start = request->admitted_ps;
  if (end < row.start) end = row.start;
  row.duration = end - row.start;
  if (end > request->transferred_ps) request->transferred_ps = end;
  request->kv_bytes += row.bytes;
  fleet->summary->transfers++;
  fleet->summary->kv_bytes += row.bytes;
  return fleet->trace ? td_trace_append(fleet->trace, TD_TABLE_TRANSFERS, &row, 1) : TD_OK;
}

static td_status take_chunk(struct fleet *fleet, int32_t slot, const struct committed_chunk *chunk) {
  struct fleet_request *request = &fleet->requests[slot];
  struct port *ingress = &fleet->replicas[request->decode_worker].ingress;
  hosted_request(fleet, slot)->committed_bytes += chunk->bytes;
  if (!fleet_hosted_clocks(fleet, request)) return TD_OK; /* its row is booked with the step */
  ingress->bytes += chunk->bytes;
  ingress->open += chunk->bytes;
  return record_push(fleet, request, chunk);
}

/* The request that a message is about: it is in flight as long as its KV is. */
static td_status find_slot(const struct fleet *fleet, const struct committed_head *head, int32_t *out_slot) {
  bool there = head->slot >= 0 && head->slot < fleet->request_used;
  *out_slot = there ? (int32_t)head->slot : -1;
  if (there && fleet->requests[*out_slot].number == head->request) return TD_OK;
  return td_fail(TD_INTERNAL, "KV of request %" PRIu64 " was committed, which is not in flight", head->request);
}

td_status fleet_hosted_committed(struct fleet *fleet, const struct td_message *message) {
  struct reader reader = reader_of(message);
  const struct committed_head *head = reader_take(&reader, sizeof *head);
  int32_t slot = -1;
  if (!head) return message_short(message);
  TD_TRY(find_slot(fleet, head, &slot));
  const struct committed_chunk *chunks = reader_take(&reader, head->chunks * sizeof *chunks);
  if (!chunks) return message_short(message);
  for (uint32_t i = 0; i < head->chunks; i++) TD_TRY(take_chunk(fleet, slot, &chunks[i]));
  struct hosted_request *hosted = hosted_request(fleet, slot);
  hosted->committed = true;
  if (!hosted->awaited) return TD_OK;
  hosted->awaited = false;
  fleet->hosted->awaited--;
  return slot_queue_push(&fleet->transfers, (struct keyed_slot){fleet->hosted->clock_ps, head->request, slot});
}

td_status fleet_hosted_join_bytes(struct fleet *fleet, int32_t slot) {
  const struct fleet_request *request = &fleet->requests[slot];
  const struct hosted_request *hosted = hosted_request(fleet, slot);
  if (!moves_bytes(fleet, request)) return TD_OK;
  while (!hosted->committed) {
    bool got;
    TD_TRY(fleet_hosted_pump(fleet, -1, &got));
  }
  uint64_t expected = fleet->bytes_per_position * (uint64_t)fleet->layers * (uint64_t)request->target;
  if (hosted->committed_bytes == expected) return TD_OK;
  return td_fail(TD_INTERNAL, "request %" PRIu64 ": handed over %" PRIu64 " KV bytes, expected %" PRIu64,
                 request->number, hosted->committed_bytes, expected);
}

td_status fleet_hosted_release(struct fleet *fleet, int32_t worker, uint64_t request) {
  struct td_text text = {0};
  struct td_message message;
  if (!fleet_executes(fleet, worker)) return TD_OK;
  td_text_add(&text, &request, sizeof request);
  TD_TRY(message_make(MESSAGE_RELEASE, worker, &text, &message));
  return node_post(fleet->hosted->node, worker, &message);
}

td_status fleet_hosted_finish(struct fleet *fleet, int32_t slot, int64_t *positions, int64_t *finished_ps) {
  const struct fleet_request *request = &fleet->requests[slot];
  struct hosted_request *hosted = hosted_request(fleet, slot);
  if (!fleet->grow) *positions = hosted->held;
  free(hosted->own);
  hosted->own = NULL;
  if (hosted->finished_ps >= 0) *finished_ps = hosted->finished_ps;
  return fleet_hosted_release(fleet, request->decode_worker, request->number);
}
