/* SPDX-License-Identifier: Apache-2.0
 *
 * The event loop. One loop for live, modelled and mixed clusters: a pace only decides when the next event is due.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "drive.h"
#include "state.h"

/* The trace must not fall more than a second behind while the engine waits. */
enum { TICKS_PER_SECOND = 4 };

int64_t engine_run_time(const struct engine *engine, int32_t rank, int64_t clock_ps) {
  return clock_ps - engine->node->transport->clock_offset[rank] - engine->zero_ps;
}

td_status engine_add_ps(int64_t a, int64_t b, int64_t *out) {
  int64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return td_fail(TD_UNSUPPORTED, "the run lasts longer than 106 days");
  *out = sum;
  return TD_OK;
}

static td_status take_failure(const struct td_message *message) {
  struct reader reader = reader_of(message);
  const struct failed_head *head = reader_take(&reader, sizeof *head);
  const char *text = head ? reader_take(&reader, head->bytes) : NULL;
  return text ? td_fail((enum td_code)head->code, "%.*s", (int)head->bytes, text) : message_short(message);
}

static td_status take_ready(struct engine *engine, const struct td_message *message) {
  struct worker *worker = &engine->workers[message->worker];
  struct reader reader = reader_of(message);
  const struct ready_head *head = reader_take(&reader, sizeof *head);
  if (!head) return message_short(message);
  const char *other = head->config_hash != engine->cluster->config_hash     ? "config"
                      : head->model_digest != engine->cluster->model_digest ? "model"
                                                                            : NULL;
  if (other) {
    return td_fail(TD_CONFIG, "worker %s: rank %d reads another %s than rank 0", worker->info->name, worker->info->rank,
                   other);
  }
  worker->layout = head->layout;
  worker->ready = true;
  return TD_OK;
}

static td_status take_message(struct engine *engine, struct td_message *message) {
  if (message->worker >= (uint32_t)engine->cluster->worker_count) return message_short(message);
  switch (message->type) {
    case MESSAGE_DONE:
      return engine_completion(engine, message);
    case MESSAGE_COMMITTED:
      return engine_committed(engine, message);
    case MESSAGE_READY:
      return take_ready(engine, message);
    case MESSAGE_FAILED:
      return take_failure(message);
    default:
      return td_fail(TD_INTERNAL, "message type %u for the engine", message->type);
  }
}

td_status engine_pump(struct engine *engine, int64_t wait_ps, bool *out_got) {
  const int64_t tick = TD_PS_PER_SECOND / TICKS_PER_SECOND;
  struct td_message message;
  if (wait_ps > 3600 * TD_PS_PER_SECOND) wait_ps = 3600 * TD_PS_PER_SECOND; /* the caller looks again */
  int64_t until = td_now_ps() + wait_ps;
  for (;;) {
    int64_t left = wait_ps < 0 ? tick : until - td_now_ps();
    if (left < 0) left = 0;
    *out_got = inbox_pop(&engine->node->engine, left < tick ? left : tick, &message);
    if (*out_got) break;
    TD_TRY(td_trace_tick(engine->trace));
    if (wait_ps >= 0 && td_now_ps() >= until) return TD_OK;
  }
  if (engine->pace == TD_PACE_WALL) engine->now_ps = td_now_ps() - engine->zero_ps;
  td_status status = take_message(engine, &message);
  free(message.data);
  return status;
}

static td_status wait_ready(struct engine *engine) {
  for (int32_t i = 0; i < engine->cluster->worker_count; i++) {
    bool got;
    while (!engine->workers[i].ready) TD_TRY(engine_pump(engine, -1, &got));
  }
  return TD_OK;
}

static const char *waits_for(const struct request *request) {
  switch (request->state) {
    case REQUEST_WAITING:
      return "a route: no worker the policy may use has the KV blocks";
    case REQUEST_PREFILL:
      return "its prefill step";
    case REQUEST_HANDOFF:
      return "its KV transfer";
    case REQUEST_DECODE:
      return "its decode step";
    default:
      return "its arrival";
  }
}

static td_status stalled(const struct engine *engine) {
  for (int64_t i = 0; i < engine->cluster->workload.count; i++) {
    const struct request *request = &engine->requests[i];
    if (request->state == REQUEST_DONE) continue;
    return td_fail(TD_INTERNAL,
                   "stalled at %.6f s with %" PRId64 " of %" PRId64 " requests done: request %s waits for %s",
                   td_seconds(engine->now_ps), engine->done_count, engine->cluster->workload.count, request->job->name,
                   waits_for(request));
  }
  return td_fail(TD_INTERNAL, "stalled without a request");
}

/* Virtual paces: time stands still until every submitted step is answered, then jumps to the first event. */
static td_status next_event_virtual(struct engine *engine, struct event *out_event, bool *out_got) {
  bool got;
  while (engine->in_flight) TD_TRY(engine_pump(engine, -1, &got));
  if (!events_first(&engine->events)) return stalled(engine);
  *out_event = events_pop(&engine->events);
  *out_got = true;
  return td_trace_tick(engine->trace);
}

/* Is anything on its way that will send a message? */
static bool expects_message(const struct engine *engine) {
  if (engine->in_flight) return true;
  for (int64_t i = 0; i < engine->cluster->workload.count; i++) {
    if (engine->requests[i].state == REQUEST_HANDOFF) return true;
  }
  return false;
}

static td_status next_event_wall(struct engine *engine, struct event *out_event, bool *out_got) {
  bool more = true; /* an answer that lies waiting may be of an earlier event than those we know */
  while (more) TD_TRY(engine_pump(engine, 0, &more));
  engine->now_ps = td_now_ps() - engine->zero_ps;
  const struct event *first = events_first(&engine->events);
  if (first && first->time_ps <= engine->now_ps) {
    *out_event = events_pop(&engine->events);
    *out_got = true;
    return td_trace_tick(engine->trace);
  }
  *out_got = false;
  if (!first && !expects_message(engine)) return stalled(engine);
  bool got;
  return engine_pump(engine, first ? first->time_ps - engine->now_ps : -1, &got);
}

static td_status arrive(struct engine *engine, int64_t number) {
  TD_TRY(td_grow((void **)&engine->waiting, &engine->waiting_capacity, engine->waiting_count + 1, sizeof number));
  engine->waiting[engine->waiting_count++] = number;
  engine->requests[number].state = REQUEST_WAITING;
  engine->route_again = true;
  return TD_OK;
}

static td_status handle(struct engine *engine, const struct event *event) {
  switch (event->kind) {
    case EVENT_ARRIVAL:
      return arrive(engine, event->subject);
    case EVENT_TRANSFERRED:
      return engine_transferred(engine, event->subject);
    case EVENT_STEP_DONE:
      return engine_step_done(engine, (int32_t)event->subject);
  }
  return TD_OK;
}

/* Handles an event at its own time, not at when the engine looked, then gives out work. All events of one instant are
 * handled first: the batch sees them all. Word from another rank can come late, but work is never given out in the
 * past. */
static td_status advance(struct engine *engine, const struct event *event) {
  engine->now_ps = event->time_ps;
  TD_TRY(handle(engine, event));
  if (engine->now_ps < engine->latest_ps) engine->now_ps = engine->latest_ps;
  engine->latest_ps = engine->now_ps;
  const struct event *first = events_first(&engine->events);
  return first && first->time_ps <= engine->now_ps ? TD_OK : engine_dispatch(engine);
}

static td_status loop(struct engine *engine) {
  struct td_progress progress;
  td_progress_begin(&progress, "requests done");
  td_status status = TD_OK;
  while (!status && engine->done_count < engine->cluster->workload.count) {
    struct event event;
    bool got = false;
    status =
        engine->pace == TD_PACE_WALL ? next_event_wall(engine, &event, &got) : next_event_virtual(engine, &event, &got);
    if (!status && got) status = advance(engine, &event);
    if (!engine->options->on_token) {
      td_progress_update(&progress, (uint64_t)engine->done_count, (uint64_t)engine->cluster->workload.count);
    }
  }
  td_progress_end(&progress);
  return status;
}

/* What workers sent came in where it was to go. */
static td_status check_bytes(const struct engine *engine) {
  uint64_t sent = 0, received = 0, handed = 0;
  for (int32_t i = 0; i < engine->cluster->worker_count; i++) {
    sent += engine->workers[i].sent;
    received += engine->workers[i].received;
  }
  for (int64_t i = 0; i < engine->cluster->workload.count; i++) handed += engine->requests[i].kv_bytes;
  if (sent == received && sent == handed) return TD_OK;
  return td_fail(TD_INTERNAL,
                 "workers sent %" PRIu64 " bytes of KV and received %" PRIu64 ", requests were handed %" PRIu64, sent,
                 received, handed);
}

/* Conservation, in every run: whatever was taken is given back. */
static td_status check_balance(const struct engine *engine) {
  for (int32_t i = 0; i < engine->cluster->worker_count; i++) {
    const struct worker *worker = &engine->workers[i];
    if (worker->free_blocks == worker->info->kv_blocks && !worker->active && !worker->waiting_tokens && !worker->busy) {
      continue;
    }
    return td_fail(TD_INTERNAL,
                   "worker %s: %" PRId64 " of %" PRId64 " KV blocks free, %" PRId64 " requests, %" PRId64
                   " tokens waiting after the last request",
                   worker->info->name, worker->free_blocks, worker->info->kv_blocks, worker->active,
                   worker->waiting_tokens);
  }
  return check_bytes(engine);
}

static td_status engine_open(struct engine *engine) {
  const struct cluster *cluster = engine->cluster;
  size_t workers = (size_t)cluster->worker_count;
  TD_TRY(td_alloc((size_t)cluster->workload.count, sizeof *engine->requests, (void **)&engine->requests));
  TD_TRY(td_alloc(workers, sizeof *engine->workers, (void **)&engine->workers));
  TD_TRY(td_alloc(workers, sizeof *engine->views, (void **)&engine->views));
  TD_TRY(td_policy_state(engine->policy, &engine->policy_state));
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    engine->workers[i].info = &cluster->workers[i];
    engine->workers[i].executes = cluster->workers[i].backend->executes;
    engine->workers[i].free_blocks = cluster->workers[i].kv_blocks;
  }
  for (int64_t i = 0; i < cluster->workload.count; i++) {
    struct request *request = &engine->requests[i];
    *request = (struct request){
        .job = &cluster->workload.jobs[i], .first_step_ps = -1, .first_token_ps = -1, .finished_ps = -1};
    TD_TRY(events_push(&engine->events, (struct event){request->job->arrival_ps, EVENT_ARRIVAL, i}));
  }
  return TD_OK;
}

static void engine_close(struct engine *engine) {
  for (int32_t i = 0; engine->workers && i < engine->cluster->worker_count; i++) {
    free(engine->workers[i].prefill);
    free(engine->workers[i].decode);
    free(engine->workers[i].shares);
    free(engine->workers[i].done.data);
  }
  free(engine->workers);
  free(engine->requests);
  free(engine->views);
  free(engine->policy_state);
  struct link_use *link = engine->links;
  HASH_CLEAR(hh, engine->links); /* the table; the items are still chained */
  while (link) {
    struct link_use *next = link->hh.next;
    free(link);
    link = next;
  }
  free(engine->waiting);
  events_clear(&engine->events);
}

static td_status drive(struct engine *engine) {
  TD_TRY(engine_open(engine));
  TD_TRY(record_devices(engine));
  TD_TRY(wait_ready(engine));
  engine->zero_ps = td_now_ps();
  TD_TRY(loop(engine));
  return check_balance(engine);
}

td_status engine_drive(const struct cluster *cluster, struct node *node, struct td_trace_writer *trace,
                       const struct td_run_options *options) {
  struct engine engine = {.cluster = cluster,
                          .options = options,
                          .policy = cluster->policy,
                          .node = node,
                          .trace = trace,
                          .pace = cluster->experiment->engine.pace,
                          .whole = td_slice_whole(cluster->graph)};
  td_status status = drive(&engine);
  engine_close(&engine);
  return status;
}
