/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages from hosts, and how long the loop waits for them.
 */
#include "fleet_hosted.h"

#include <inttypes.h>
#include <stdlib.h>

#include "tandem/base.h"

/* The trace must not fall more than a second behind while the engine waits. */
enum { TICKS_PER_SECOND = 4 };

/* ---- opening ---- */

td_status fleet_hosted_open(struct fleet *fleet, struct node *node, const struct td_run_options *options) {
  const struct cluster *cluster = fleet->cluster;
  size_t members = (size_t)cluster->experiment->engine.batch_sequences;
  TD_TRY(td_alloc(1, sizeof *fleet->hosted, (void **)&fleet->hosted));
  struct fleet_hosted *hosted = fleet->hosted;
  hosted->node = node;
  hosted->options = options;
  hosted->pace = cluster->experiment->engine.pace;
  hosted->executes = cluster_executing(cluster) > 0;
  TD_TRY(td_alloc(members, sizeof *hosted->members, (void **)&hosted->members));
  return td_alloc((size_t)cluster->worker_count, sizeof *hosted->workers, (void **)&hosted->workers);
}

void fleet_hosted_close(struct fleet *fleet) {
  struct fleet_hosted *hosted = fleet->hosted;
  if (!hosted) return;
  for (int32_t i = 0; hosted->workers && i < fleet->cluster->worker_count; i++) free(hosted->workers[i].done.data);
  for (int32_t i = 0; i < fleet->request_used && (size_t)i < hosted->request_capacity; i++)
    free(hosted->requests[i].own);
  free(hosted->workers);
  free(hosted->requests);
  free(hosted->members);
  free(hosted);
}

/* ---- messages ---- */

int64_t fleet_hosted_time(const struct fleet *fleet, int32_t rank, int64_t clock_ps) {
  return clock_ps - fleet->hosted->node->transport->clock_offset[rank] - fleet->hosted->zero_ps;
}

static td_status take_failure(const struct td_message *message) {
  struct reader reader = reader_of(message);
  const struct failed_head *head = reader_take(&reader, sizeof *head);
  const char *text = head ? reader_take(&reader, head->bytes) : NULL;
  return text ? td_fail((enum td_code)head->code, "%.*s", (int)head->bytes, text) : message_short(message);
}

static td_status take_ready(struct fleet *fleet, const struct td_message *message) {
  const struct cluster *cluster = fleet->cluster;
  const struct cluster_worker *worker = &cluster->workers[message->worker];
  struct hosted_worker *hosted = &fleet->hosted->workers[message->worker];
  struct reader reader = reader_of(message);
  const struct ready_head *head = reader_take(&reader, sizeof *head);
  if (!head) return message_short(message);
  const char *other = head->config_hash != cluster->config_hash     ? "config"
                      : head->model_digest != cluster->model_digest ? "model"
                                                                    : NULL;
  if (other) {
    return td_fail(TD_CONFIG, "worker %s: rank %d reads another %s than rank 0", worker->name, worker->rank, other);
  }
  hosted->layout = head->layout;
  hosted->idle_watts = head->idle_watts;
  hosted->ready = true;
  return TD_OK;
}

static td_status take_message(struct fleet *fleet, struct td_message *message) {
  if (message->worker >= (uint32_t)fleet->cluster->worker_count) return message_short(message);
  switch (message->type) {
    case MESSAGE_DONE:
      return fleet_hosted_done(fleet, message);
    case MESSAGE_COMMITTED:
      return fleet_hosted_committed(fleet, message);
    case MESSAGE_READY:
      return take_ready(fleet, message);
    case MESSAGE_FAILED:
      return take_failure(message);
    default:
      return td_fail(TD_INTERNAL, "message type %u for the engine", message->type);
  }
}

static void look_at_clock(struct fleet_hosted *hosted) {
  hosted->clock_ps = td_now_ps() - hosted->zero_ps;
}

td_status fleet_hosted_pump(struct fleet *fleet, int64_t wait_ps, bool *out_got) {
  const int64_t tick = TD_PS_PER_SECOND / TICKS_PER_SECOND;
  struct td_message message;
  if (wait_ps > 3600 * TD_PS_PER_SECOND) wait_ps = 3600 * TD_PS_PER_SECOND; /* the caller looks again */
  int64_t until = td_now_ps() + wait_ps;
  for (;;) {
    int64_t left = wait_ps < 0 ? tick : until - td_now_ps();
    if (left < 0) left = 0;
    *out_got = inbox_pop(&fleet->hosted->node->engine, left < tick ? left : tick, &message);
    if (*out_got) break;
    if (fleet->trace) TD_TRY(td_trace_tick(fleet->trace));
    if (wait_ps >= 0 && td_now_ps() >= until) return TD_OK;
  }
  look_at_clock(fleet->hosted);
  td_status status = take_message(fleet, &message);
  free(message.data);
  return status;
}

td_status fleet_hosted_ready(struct fleet *fleet) {
  for (int32_t i = 0; i < fleet->cluster->worker_count; i++) {
    bool got;
    while (fleet->views[i].executes && !fleet->hosted->workers[i].ready) TD_TRY(fleet_hosted_pump(fleet, -1, &got));
  }
  fleet->hosted->zero_ps = td_now_ps();
  return TD_OK;
}

/* ---- the next event ---- */

/* An answer that lies waiting may be of an earlier event than those that are known. */
static td_status wait_wall(struct fleet *fleet, int64_t *out_ps) {
  struct fleet_hosted *hosted = fleet->hosted;
  for (;;) {
    bool got = true;
    while (got) TD_TRY(fleet_hosted_pump(fleet, 0, &got));
    look_at_clock(hosted);
    *out_ps = fleet_next_time(fleet);
    bool none = *out_ps == INT64_MAX;
    if (*out_ps <= hosted->clock_ps || (none && !fleet_hosted_busy(fleet))) return TD_OK;
    TD_TRY(fleet_hosted_pump(fleet, none ? -1 : *out_ps - hosted->clock_ps, &got));
  }
}

td_status fleet_hosted_wait(struct fleet *fleet, int64_t *out_ps) {
  bool got;
  if (fleet->hosted->pace == TD_PACE_WALL) return wait_wall(fleet, out_ps);
  while (fleet->hosted->in_flight) TD_TRY(fleet_hosted_pump(fleet, -1, &got));
  *out_ps = fleet_next_time(fleet);
  return TD_OK;
}

bool fleet_hosted_catch_up(struct fleet *fleet) {
  int64_t *latest = &fleet->hosted->latest_ps;
  if (fleet->now_ps < *latest) fleet->now_ps = *latest;
  *latest = fleet->now_ps;
  return fleet->hosted->pace != TD_PACE_WALL || fleet_next_time(fleet) > fleet->now_ps;
}
