/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests: where they come from, the slots they live in, how they end.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"
#include "fleet_hosted.h"
#include "tandem/base.h"

enum { MOST_REFUSALS = 100000 }; /* of users at one instant, beside one for each */

/* ---- lists ---- */

void slots_add(struct fleet *fleet, struct slots *slots, int32_t slot) {
  fleet->requests[slot].next = -1;
  if (slots->first < 0) {
    slots->first = slot;
  } else {
    fleet->requests[slots->last].next = slot;
  }
  slots->last = slot;
}

int32_t slots_take(struct fleet *fleet, struct slots *slots) {
  int32_t slot = slots->first;
  slots->first = fleet->requests[slot].next;
  if (slots->first < 0) slots->last = -1;
  return slot;
}

/* ---- arrivals ---- */

td_status fleet_next_arrival(struct fleet *fleet) {
  fleet->arrival_ps = INT64_MAX;
  if (!fleet->workload) {
    if (fleet->order.count) fleet->arrival_ps = fleet->order.heap[0].key;
    return TD_OK;
  }
  bool any;
  int64_t at_ps;
  TD_TRY(td_workload_peek(fleet->workload, &at_ps, &any));
  if (any) fleet->arrival_ps = at_ps;
  return TD_OK;
}

static td_status take_job(struct fleet *fleet, struct td_job *out, const char **out_name) {
  *out_name = NULL;
  if (fleet->workload) return td_workload_take(fleet->workload, out);
  struct keyed_slot first = slot_queue_pop(&fleet->order);
  const struct job *job = &fleet->cluster->workload.jobs[first.slot];
  *out = (struct td_job){.number = (uint64_t)first.slot,
                         .arrival_ps = job->arrival_ps,
                         .prompt_tokens = job->prompt_tokens,
                         .output_tokens = job->max_tokens};
  *out_name = job->name;
  return TD_OK;
}

static td_status more_slots(struct fleet *fleet) {
  size_t wanted = fleet->request_capacity ? 2 * fleet->request_capacity : 64;
  struct fleet_request *grown;
  TD_TRY(td_alloc_lines(wanted, sizeof *grown, (void **)&grown));
  if (fleet->requests) memcpy(grown, fleet->requests, fleet->request_capacity * sizeof *grown);
  free(fleet->requests);
  fleet->requests = grown;
  fleet->request_capacity = wanted;
  return TD_OK;
}

static td_status new_slot(struct fleet *fleet, int32_t *out_slot) {
  if (fleet->request_free >= 0) {
    *out_slot = fleet->request_free;
    fleet->request_free = fleet->requests[*out_slot].next;
    return TD_OK;
  }
  if (fleet->request_used == INT32_MAX) return td_fail(TD_UNSUPPORTED, "more than %d requests in flight", INT32_MAX);
  if ((size_t)fleet->request_used == fleet->request_capacity) TD_TRY(more_slots(fleet));
  *out_slot = fleet->request_used++;
  return TD_OK;
}

static void free_slot(struct fleet *fleet, int32_t slot) {
  if (fleet->prefixes) {
    free(fleet->requests[slot].prefix);
    free(fleet->requests[slot].keys);
    fleet->requests[slot].prefix = fleet->requests[slot].keys = NULL;
  }
  fleet->found += fleet->requests[slot].found;
  fleet->kv_given += fleet->requests[slot].kv_bytes;
  fleet->requests[slot].next = fleet->request_free;
  fleet->request_free = slot;
  fleet->live--;
}

/* With room for as many keys. */
static td_status copy_prefix(struct fleet *fleet, const struct td_job *job, struct fleet_request *request) {
  if (job->prefix_count <= 0) return TD_OK;
  TD_TRY(td_alloc((size_t)job->prefix_count, sizeof *request->prefix, (void **)&request->prefix));
  fleet->prefixes = true;
  memcpy(request->prefix, job->prefix, (size_t)job->prefix_count * sizeof *request->prefix);
  request->prefix_count = job->prefix_count;
  request->prefix_tokens = job->prefix_tokens;
  return TD_OK;
}

td_status fleet_row_text(const struct fleet *fleet, int64_t row, char *out, size_t bytes) {
  *out = 0;
  return row ? td_format(out, bytes, " of %s:%" PRId64, fleet->cluster->experiment->workload.source.file, row) : TD_OK;
}

static td_status too_long(const struct fleet *fleet, const struct td_job *job, int64_t total, int64_t context) {
  char of[FLEET_ROW_TEXT];
  bool bound = fleet->cluster->experiment->engine.context > 0;
  TD_TRY(fleet_row_text(fleet, job->row, of, sizeof of));
  return td_config_fail(fleet->cluster->config, "engine.context",
                        "request %" PRIu64 "%s: found a prompt of %" PRId64 " tokens and an output of %" PRId64
                        " = %" PRId64 ", expected at most %s %" PRId64,
                        job->number, *of ? of : " of the workload", job->prompt_tokens, job->output_tokens, total,
                        bound ? "engine.context =" : "the model's context of", context);
}

static td_status check_length(const struct fleet *fleet, const struct td_job *job) {
  int64_t bound = fleet->cluster->experiment->engine.context;
  int64_t context = bound ? bound : td_model_shape(fleet->cluster->model)->context;
  bool encodes = shape_encodes(td_model_shape(fleet->cluster->model));
  int64_t total = job->prompt_tokens + (encodes ? 0 : job->output_tokens);
  if (job->prompt_tokens < 1 || job->output_tokens < 1) {
    return td_fail(TD_INTERNAL, "request %" PRIu64 ": a prompt of %" PRId64 " and an output of %" PRId64 " tokens",
                   job->number, job->prompt_tokens, job->output_tokens);
  }
  if (encodes && job->output_tokens != 1) {
    return td_config_fail(fleet->cluster->config, "workload",
                          "request %" PRIu64 ": found an output of %" PRId64 ", expected 1: %s is an encoder",
                          job->number, job->output_tokens, td_model_shape(fleet->cluster->model)->name);
  }
  if (total <= context) return TD_OK;
  return too_long(fleet, job, total, context);
}

/* Of a source nobody knew before how long its requests are. */
static td_status check_lpu_length(const struct fleet *fleet, const struct td_job *job) {
  const struct cluster_worker *worker = fleet->shortest;
  int64_t total = job->prompt_tokens + job->output_tokens;
  char path[64];
  if (!worker || total <= worker->pool->lpu.context) return TD_OK;
  TD_TRY(td_format(path, sizeof path, "cluster.pools.[%" PRId32 "].lpu.context", worker->pool_index));
  return td_config_fail(fleet->cluster->config, path,
                        "found %" PRId64 ", expected at least the %" PRId64 " positions of request %" PRIu64,
                        worker->pool->lpu.context, total, job->number);
}

static td_status admit_job(struct fleet *fleet, const struct td_job *job, const char *name) {
  int32_t slot = -1;
  TD_TRY(check_length(fleet, job));
  TD_TRY(check_lpu_length(fleet, job));
  if (fleet->hosted) TD_TRY(fleet_hosted_check_rows(fleet, job));
  TD_TRY(new_slot(fleet, &slot));
  struct fleet_request *request = &fleet->requests[slot];
  *request = (struct fleet_request){.number = job->number,
                                    .session = job->session,
                                    .place_in_line = (uint64_t)fleet->arrived,
                                    .turn = job->turn,
                                    .tier = job->tier,
                                    .arrival_ps = job->arrival_ps,
                                    .admitted_ps = -1,
                                    .first_step_ps = -1,
                                    .first_token_ps = -1,
                                    .prompt = (int32_t)job->prompt_tokens,
                                    .target = (int32_t)job->prompt_tokens,
                                    .output = (int32_t)job->output_tokens,
                                    .prefill_worker = -1,
                                    .decode_worker = -1,
                                    .stretch_worker = -1,
                                    .next = -1,
                                    .row = job->row};
  request->name = name;
  fleet->live++;
  TD_TRY(copy_prefix(fleet, job, request));
  if (fleet->caches.of) TD_TRY(fleet_cache_arrive(fleet, request, job));
  bool asked = false;
  if (fleet->tools) TD_TRY(fleet_tools_tokenize(fleet, slot, &asked));
  return asked ? TD_OK : fleet_line_up(fleet, slot);
}

td_status fleet_line_up(struct fleet *fleet, int32_t slot) {
  struct fleet_request *request = &fleet->requests[slot];
  fleet->settled = false;
  if (fleet->policy->admit && !fleet_admits(fleet, slot)) return fleet_refuse(fleet, slot);
  struct keyed_slot item = {0, request->place_in_line, slot};
  if (fleet->policy->rank) item.key = request->rank = fleet_rank(fleet, slot);
  fleet->queued_tokens += request->target;
  fleet->route_again = true;
  return slot_queue_push(&fleet->waiting, item);
}

td_status fleet_arrive(struct fleet *fleet) {
  struct td_job job;
  const char *name;
  TD_TRY(take_job(fleet, &job, &name));
  if (!fleet->arrived) fleet->summary->first_arrival_ps = job.arrival_ps;
  fleet->arrived++;
  TD_TRY(admit_job(fleet, &job, name));
  return fleet_next_arrival(fleet);
}

td_status fleet_start_over(struct fleet *fleet, int32_t slot) {
  struct fleet_request *request = &fleet->requests[slot];
  struct keyed_slot item = {0, request->place_in_line, slot};
  request->target = request->prompt + request->emitted;
  if (fleet->caches.of) fleet_cache_target(fleet, request);
  request->computed = request->pushed = 0;
  fleet_forget_pushes(fleet, request);
  request->prefill_worker = request->decode_worker = -1;
  request->transferred_ps = 0;
  fleet->queued_tokens += request->target;
  fleet->settled = false;
  if (fleet->policy->rank) item.key = fleet_rank(fleet, slot);
  return slot_queue_push(&fleet->waiting, item);
}

/* ---- ends ---- */

/* Word from hosts can come late; what it brings about does not. */
static int64_t latest_time(const struct fleet *fleet) {
  bool late = fleet->hosted && fleet->hosted->latest_ps > fleet->now_ps;
  return late ? fleet->hosted->latest_ps : fleet->now_ps;
}

/* Its slot is free again. */
static td_status tell_workload(struct fleet *fleet, uint64_t number, uint64_t session, int32_t output) {
  if (fleet->tools) return fleet_tools_answered(fleet, number, session, output);
  if (!fleet->workload) return TD_OK;
  TD_TRY(td_workload_finished(fleet->workload, number, latest_time(fleet)));
  return fleet_next_arrival(fleet);
}

td_status fleet_tool_done(struct fleet *fleet, uint64_t number) {
  if (!fleet->workload) return TD_OK;
  TD_TRY(td_workload_tool_done(fleet->workload, number, latest_time(fleet)));
  return fleet_next_arrival(fleet);
}

static bool within(int64_t ps, double bound_s) {
  return bound_s == 0 || (double)ps <= bound_s * 1e12;
}

static void count_slo(struct td_run_summary *summary, int64_t ttft_ps, int64_t tpot_ps) {
  bool ttft = within(ttft_ps, summary->slo.ttft), tpot = within(tpot_ps, summary->slo.tpot);
  summary->within_ttft += ttft;
  summary->within_tpot += tpot;
  summary->within += ttft && tpot;
}

/* Each token after the first took a step, and a step at least 1 ps. */
static void count_rate(struct td_run_summary *summary, int64_t tokens, int64_t ps) {
  double rate = (double)tokens / (double)ps * 1e18;
  int64_t whole = llround(rate);
  td_tally_add(&summary->user_rate, whole, 1);
  summary->user_rate.sum += rate - (double)whole;
}

static void count_times(struct fleet *fleet, const struct fleet_request *request, int64_t finished_ps) {
  struct td_run_summary *summary = fleet->summary;
  int64_t ttft = request->first_token_ps - request->arrival_ps, more = request->output - 1;
  int64_t tpot = more ? (finished_ps - request->first_token_ps) / more : 0;
  summary->requests++;
  summary->prompt_tokens += (uint64_t)request->prompt;
  summary->output_tokens += (uint64_t)request->output;
  td_tally_add(&summary->ttft, ttft, 1);
  td_tally_add(&summary->e2e, finished_ps - request->arrival_ps, 1);
  td_tally_add(&summary->queueing, request->first_step_ps - request->arrival_ps, 1);
  if (more) td_tally_add(&summary->tpot, tpot, 1);
  if (more) count_rate(summary, more, finished_ps - request->first_token_ps);
  count_slo(summary, ttft, tpot);
}

td_status fleet_finish(struct fleet *fleet, int32_t slot) {
  struct fleet_request *request = &fleet->requests[slot];
  const int32_t worker = request->decode_worker;
  int64_t positions = request->prompt + request->output - 1, finished_ps = fleet->now_ps, held = positions;
  if (fleet->hosted) TD_TRY(fleet_hosted_finish(fleet, slot, &held, &finished_ps));
  if (fleet->policy->finished) fleet_tell_finished(fleet, slot, worker);
  fleet_view(fleet, worker, (held + fleet->block_tokens - 1) / fleet->block_tokens, 1, 0);
  if (fleet->caches.of) {
    TD_TRY(fleet_cache_keep(fleet, request, worker, positions));
    fleet_cache_release(fleet, request, worker);
  }
  fleet->route_again = true;
  count_times(fleet, request, finished_ps);
  fleet->finished++;
  TD_TRY(fleet_record_request(fleet, request, finished_ps));
  uint64_t number = request->number, session = request->session;
  int32_t output = request->output;
  free_slot(fleet, slot);
  return tell_workload(fleet, number, session, output);
}

/* Users without a pause ask again at the instant they are refused, and may be refused for ever. */
static td_status check_refusals(struct fleet *fleet) {
  const struct td_cfg_source *source = &fleet->cluster->experiment->workload.source;
  if (fleet->refused_ps != fleet->now_ps) fleet->refused_then = 0;
  fleet->refused_ps = fleet->now_ps;
  fleet->refused_then++;
  if (!fleet->workload || source->arrivals != TD_ARRIVALS_CLOSED) return TD_OK;
  if (fleet->refused_then <= MOST_REFUSALS + source->users) return TD_OK;
  return td_config_fail(fleet->cluster->config, "workload.source.think",
                        "found %g s, expected more: policy %s refused %" PRId64
                        " requests at %.6f s, and who is refused asks again at once",
                        source->think, fleet->policy->name, fleet->refused_then, td_seconds(fleet->now_ps));
}

td_status fleet_refuse(struct fleet *fleet, int32_t slot) {
  uint64_t number = fleet->requests[slot].number, session = fleet->requests[slot].session;
  if (fleet->policy->finished) fleet_tell_finished(fleet, slot, -1);
  fleet->settled = false;
  TD_TRY(fleet_record_refused(fleet, &fleet->requests[slot]));
  fleet->refused++;
  fleet->summary->refused++;
  free_slot(fleet, slot);
  TD_TRY(check_refusals(fleet));
  return tell_workload(fleet, number, session, 0);
}
