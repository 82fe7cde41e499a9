/* SPDX-License-Identifier: Apache-2.0
 *
 * KV on its way. Each worker has one port that sends and one that receives, each a queue that works as long as there is
 * something to do: a hand-off of n pushes of d each, the first ready at r, keeps a port busy for n d from r or from
 * when the port is done with what came before. It is through when both ports have done it, and no sooner than d after
 * its last push is ready: layers go out while those behind them are still computed. Hand-offs come to a port when the
 * steps end that computed them: one of a longer step does not fill the time before what a shorter one has booked.
 */
#include <inttypes.h>
#include <stdio.h>

#include "cluster_check.h"
#include "fleet.h"
#include "fleet_hosted.h"
#include "tandem/base.h"

/* Work that is ready at `ready_ps`; *end_ps is not before the port is done with it. */
static td_status use_port(struct port *port, int64_t ready_ps, int64_t work_ps, uint64_t bytes, int64_t *end_ps) {
  int64_t from = port->free_ps > ready_ps ? port->free_ps : ready_ps;
  TD_TRY(fleet_later(from, work_ps, &port->free_ps));
  if (port->free_ps > *end_ps) *end_ps = port->free_ps;
  port->busy_ps += work_ps; /* no sooner than free_ps beyond what int64 holds */
  port->bytes += bytes;
  port->open += bytes;
  return TD_OK;
}

void fleet_cut_port(const struct fleet *fleet, struct port *port) {
  if (port->free_ps > fleet->now_ps) port->busy_ps -= port->free_ps - fleet->now_ps; /* it had no pause until then */
  port->free_ps = fleet->now_ps;
}

/* Pushes of so many layers each, of the same positions. */
struct pushes {
  int64_t bytes, work_ps, last_ps; /* all of them; how long the last one takes */
};

static td_status price_pushes(const struct fleet *fleet, const struct fleet_request *request, int64_t positions,
                              int64_t layers_each, struct pushes *out) {
  const struct td_device_params *link = cluster_link(fleet->cluster, request->prefill_worker, request->decode_worker);
  int64_t whole = fleet->layers / layers_each, rest = fleet->layers % layers_each;
  uint64_t layer = fleet->bytes_per_position * (uint64_t)positions;
  int64_t each_ps = 0, rest_ps = 0;
  if (whole) TD_TRY(td_price_transfer(link, layer * (uint64_t)layers_each, &each_ps));
  if (rest) TD_TRY(td_price_transfer(link, layer * (uint64_t)rest, &rest_ps));
  *out = (struct pushes){.bytes = (int64_t)(layer * (uint64_t)fleet->layers), .last_ps = rest ? rest_ps : each_ps};
  if (__builtin_mul_overflow(each_ps, whole, &out->work_ps)) return fleet_too_long();
  return fleet_later(out->work_ps, rest_ps, &out->work_ps);
}

td_status fleet_try_push(const struct fleet *fleet, int32_t slot, int32_t from, int32_t to, int64_t computed) {
  const struct fleet_request request = {.prefill_worker = from, .decode_worker = to};
  int64_t prompt = fleet->requests[slot].prompt, whole = computed - computed % fleet->block_tokens;
  bool blob = fleet->cluster->experiment->engine.handoff == TD_HANDOFF_BLOB;
  struct pushes pushes;
  return price_pushes(fleet, &request, blob || computed == prompt ? prompt : whole, fleet_push_layers(fleet), &pushes);
}

/* Whose ports a worker sends and receives through: batches in flight share their replica's. */
static struct replica *ports_of(const struct fleet *fleet, int32_t worker) {
  return &fleet->replicas[fleet->cluster->workers[worker].leader];
}

static td_status book(struct fleet *fleet, struct fleet_request *request, const struct pushes *pushes,
                      struct td_row_transfer row, int64_t last_ready_ps) {
  struct replica *from = ports_of(fleet, request->prefill_worker), *to = ports_of(fleet, request->decode_worker);
  int64_t end_ps;
  TD_TRY(fleet_later(last_ready_ps, pushes->last_ps, &end_ps));
  TD_TRY(use_port(&from->egress, row.start, pushes->work_ps, (uint64_t)pushes->bytes, &end_ps));
  TD_TRY(use_port(&to->ingress, row.start, pushes->work_ps, (uint64_t)pushes->bytes, &end_ps));
  row.request = request->number;
  row.from = (uint32_t)request->prefill_worker;
  row.to = (uint32_t)request->decode_worker;
  row.layer_end = (uint32_t)fleet->layers;
  row.bytes = (uint64_t)pushes->bytes;
  row.duration = end_ps - row.start;
  row.time_kind = TD_TIME_MODELLED;
  request->kv_bytes += row.bytes;
  if (end_ps > request->transferred_ps) request->transferred_ps = end_ps;
  fleet->summary->transfers++;
  fleet->summary->kv_bytes += row.bytes;
  return fleet->trace ? td_trace_append(fleet->trace, TD_TABLE_TRANSFERS, &row, 1) : TD_OK;
}

int64_t fleet_push_layers(const struct fleet *fleet) {
  const struct td_cfg_engine *config = &fleet->cluster->experiment->engine;
  bool all = config->handoff == TD_HANDOFF_BLOB || config->handoff_layers > fleet->layers;
  return all ? fleet->layers : config->handoff_layers;
}

td_status fleet_push_now(struct fleet *fleet, int32_t slot, int32_t begin, int32_t end, const int64_t ready_ps[2]) {
  struct fleet_request *request = &fleet->requests[slot];
  bool blob = fleet->cluster->experiment->engine.handoff == TD_HANDOFF_BLOB;
  struct pushes pushes;
  if (fleet->hosted && fleet_hosted_clocks(fleet, request)) {
    fleet_hosted_sent(fleet, request, end - begin);
    return TD_OK;
  }
  TD_TRY(price_pushes(fleet, request, end - begin, fleet_push_layers(fleet), &pushes));
  struct td_row_transfer row = {
      .token_begin = (uint64_t)begin, .token_end = (uint64_t)end, .start = blob ? fleet->now_ps : ready_ps[0]};
  return book(fleet, request, &pushes, row, blob ? fleet->now_ps : ready_ps[1]);
}

td_status fleet_push(struct fleet *fleet, int32_t worker, const struct chunk *chunk, const int64_t ready_ps[2]) {
  const struct replica *replica = &fleet->replicas[worker];
  const int64_t at_ps[2] = {replica->start_ps + ready_ps[0], replica->start_ps + ready_ps[1]};
  if (replica->flow && replica->flow->quiet) return fleet_pass_push(fleet, worker, chunk, at_ps);
  return fleet_push_now(fleet, chunk->slot, chunk->push_begin, chunk->push_end, at_ps);
}

/* All at once: where it goes was not known before. */
static td_status push_late(struct fleet *fleet, int32_t slot) {
  struct fleet_request *request = &fleet->requests[slot];
  struct pushes pushes;
  if (fleet->hosted) TD_TRY(fleet_hosted_hand_over(fleet, slot));
  if (fleet->hosted && fleet_hosted_clocks(fleet, request)) {
    fleet_hosted_sent(fleet, request, request->target - request->pushed);
    request->pushed = request->target;
    return TD_OK;
  }
  TD_TRY(price_pushes(fleet, request, request->target - request->pushed, fleet->layers, &pushes));
  struct td_row_transfer row = {
      .token_begin = (uint64_t)request->pushed, .token_end = (uint64_t)request->target, .start = fleet->now_ps};
  request->pushed = request->target;
  return book(fleet, request, &pushes, row, fleet->now_ps);
}

td_status fleet_prefilled(struct fleet *fleet, int32_t slot) {
  struct fleet_request *request = &fleet->requests[slot];
  struct keyed_slot item = {0, request->number, slot};
  if (request->decode_worker == TD_WORKER_LATER) {
    item.number = request->place_in_line;
    if (fleet->policy->rank) item.key = fleet_rank(fleet, slot);
    fleet->route_again = true;
    return slot_queue_push(&fleet->unplaced, item);
  }
  if (request->pushed < request->target) TD_TRY(push_late(fleet, slot));
  if (fleet->hosted && fleet_hosted_awaits(fleet, slot)) return TD_OK;
  item.key = request->transferred_ps > fleet->now_ps ? request->transferred_ps : fleet->now_ps;
  return slot_queue_push(&fleet->transfers, item);
}

td_status fleet_transferred(struct fleet *fleet, int32_t slot) {
  struct fleet_request *request = &fleet->requests[slot];
  uint64_t due = fleet->bytes_per_position * (uint64_t)fleet->layers * (uint64_t)request->target;
  if (fleet->hosted) TD_TRY(fleet_hosted_join_bytes(fleet, slot));
  request->kv_expected += due;
  ports_of(fleet, request->prefill_worker)->egress.open -= due;
  ports_of(fleet, request->decode_worker)->ingress.open -= due;
  if (request->kv_bytes != request->kv_expected) {
    return td_fail(TD_INTERNAL, "request %" PRIu64 ": %" PRIu64 " KV bytes were handed over, expected %" PRIu64,
                   request->number, request->kv_bytes, request->kv_expected);
  }
  fleet_view(fleet, request->prefill_worker, (request->target + fleet->block_tokens - 1) / fleet->block_tokens, 1, 0);
  if (fleet->caches.of) {
    fleet_cache_release(fleet, request, request->prefill_worker);
    TD_TRY(fleet_cache_keep(fleet, request, request->decode_worker, request->target));
  }
  if (fleet->grow) { /* what was swapped out there may come back, with its next step */
    fleet_touch(fleet, request->prefill_worker);
    TD_TRY(fleet_interrupt(fleet, request->prefill_worker));
  }
  fleet->route_again = true;
  if (fleet->hosted) TD_TRY(fleet_hosted_release(fleet, request->prefill_worker, request->number));
  /* its first token may have been its last, when its KV was on its way already */
  return request->emitted == request->output ? fleet_finish(fleet, slot) : fleet_join(fleet, slot);
}

void fleet_forget_pushes(struct fleet *fleet, struct fleet_request *request) {
  uint64_t lost = request->kv_bytes - request->kv_expected;
  if (fleet->pipelined && request->prefill_worker >= 0) {
    fleet_pass_drop(fleet, request->prefill_worker, (int32_t)(request - fleet->requests));
  }
  if (!lost) return;
  ports_of(fleet, request->prefill_worker)->egress.open -= lost;
  ports_of(fleet, request->decode_worker)->ingress.open -= lost;
  request->kv_expected = request->kv_bytes;
}

/* ---- the run's end ---- */

static void note_busiest(struct fleet *fleet, int32_t worker, const struct port *port, bool sends) {
  struct td_run_port *busiest = &fleet->summary->busiest_port;
  if (port->busy_ps <= busiest->busy_ps) return;
  *busiest = (struct td_run_port){.sends = sends, .bytes = port->bytes, .busy_ps = port->busy_ps};
  snprintf(busiest->worker, sizeof busiest->worker, "%s", fleet->cluster->workers[worker].name);
}

static td_status check_port(const struct fleet *fleet, int32_t worker, const struct port *port, const char *name) {
  if (!port->open) return TD_OK;
  return td_fail(TD_INTERNAL,
                 "worker %s: %" PRId64 " of %" PRIu64 " bytes that its port %s are of no hand-over that got through",
                 fleet->cluster->workers[worker].name, (int64_t)port->open, port->bytes, name);
}

td_status fleet_check_ports(struct fleet *fleet) {
  uint64_t sent = 0, received = 0, moved = fleet->summary->kv_bytes;
  for (int32_t i = 0; i < fleet->cluster->worker_count; i++) {
    struct replica *replica = &fleet->replicas[i];
    TD_TRY(check_port(fleet, i, &replica->egress, "sent"));
    TD_TRY(check_port(fleet, i, &replica->ingress, "received"));
    sent += replica->egress.bytes;
    received += replica->ingress.bytes;
    fleet_cut_port(fleet, &replica->egress);
    fleet_cut_port(fleet, &replica->ingress);
    note_busiest(fleet, i, &replica->egress, true);
    note_busiest(fleet, i, &replica->ingress, false);
  }
  if (sent == moved && received == moved && fleet->kv_given == moved) return TD_OK;
  return td_fail(TD_INTERNAL,
                 "ports sent %" PRIu64 " and received %" PRIu64 " bytes of KV, transfers moved %" PRIu64
                 " and requests were handed %" PRIu64,
                 sent, received, moved, fleet->kv_given);
}
