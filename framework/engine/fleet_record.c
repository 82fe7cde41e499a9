/* SPDX-License-Identifier: Apache-2.0
 *
 * What happened, as rows of the trace and sums of the summary. A row of steps begins when a batch changes or its price
 * ends to hold, and is written when the next one begins, merged or step by step.
 */
#include <inttypes.h>
#include <stdio.h>

#include "fleet.h"
#include "fleet_hosted.h"
#include "interval.h"
#include "tandem/base.h"

td_status fleet_record_devices(struct fleet *fleet) {
  for (int32_t i = 0; fleet->trace && i < fleet->cluster->worker_count; i++) {
    const struct cluster_worker *worker = &fleet->cluster->workers[i];
    struct td_row_device row = {.device = (uint32_t)i,
                                .role = (uint32_t)worker->pool->role,
                                .executes = !worker->backend->executes  ? 0
                                            : worker->backend->emulates ? 2
                                                                        : 1,
                                .exact = worker->backend->exact && worker->pool->exact,
                                .layer_begin = worker->slice.layer_begin,
                                .layer_end = worker->slice.layer_end,
                                .parts = worker->slice.parts};
    TD_TRY(td_format(row.name, sizeof row.name, "%s", worker->name));
    TD_TRY(td_format(row.pool, sizeof row.pool, "%s", worker->pool->name));
    TD_TRY(td_format(row.backend, sizeof row.backend, "%s", worker->backend->name));
    if (worker->params) TD_TRY(td_format(row.file, sizeof row.file, "%s", worker->params->name));
    TD_TRY(td_trace_append(fleet->trace, TD_TABLE_DEVICES, &row, 1));
  }
  return TD_OK;
}

/* ---- steps ---- */

td_status fleet_open_row(struct fleet *fleet, int32_t worker, const struct td_price *price, uint32_t kind) {
  struct replica *replica = &fleet->replicas[worker];
  uint32_t sequences = (uint32_t)replica->endings.count;
  replica->row = (struct open_row){.duration = price->base_ps, .slope = price->slope_ps, .energy = price->energy_j};
  replica->next_base = price->base_ps;
  replica->row_valid = price->valid_steps;
  if (!fleet->trace || (replica->flow && replica->flow->told.count)) return TD_OK;
  replica->told = (struct told_row){.start = replica->start_ps,
                                    .batch = sequences + (uint32_t)replica->chunk_count,
                                    .tokens = sequences,
                                    .interval = step_interval(price),
                                    .kind = kind};
  for (size_t i = 0; i < replica->chunk_count; i++) replica->told.tokens += (uint32_t)replica->chunks[i].tokens;
  return TD_OK;
}

static td_status tell_row(struct fleet *fleet, int32_t worker, const struct open_row *told) {
  const struct replica *replica = &fleet->replicas[worker];
  bool executes = fleet_executes(fleet, worker);
  const struct td_row_step row = {.step = fleet->next_step,
                                  .index = replica->index - (uint64_t)told->count,
                                  .device = (uint32_t)worker,
                                  .kind = replica->told.kind,
                                  .start = replica->told.start,
                                  .duration = told->duration,
                                  .slope = told->slope,
                                  .count = (uint64_t)told->count,
                                  .batch = replica->told.batch,
                                  .tokens = replica->told.tokens,
                                  .time_kind = executes ? fleet_hosted_time_kind(fleet, worker) : TD_TIME_MODELLED,
                                  .interval = replica->told.interval,
                                  .energy = told->energy};
  return td_trace_append(fleet->trace, TD_TABLE_STEPS, &row, 1);
}

static double time_of(const struct open_row *row) {
  double count = (double)row->count;
  return (double)row->duration * count + (double)row->slope * count * (count - 1) / 2;
}

/* Its steps are over; what is left of it is what the trace is told. */
static void end_row(struct replica *replica) {
  struct open_row *row = &replica->row;
  double first = (double)row->duration, time = time_of(row);
  if (replica->flow) row->energy *= fleet_pipeline_effort(replica) * first / time; /* waiting takes none */
  replica->energy_j += row->energy * time / first;
  replica->busy_ps += fleet_pipeline_work(replica, row->count);
  replica->row_valid = 0;
}

/* The row of a batch with pipeline stages has become a pace of what the trace is told. */
static td_status add_pace(struct fleet_told *told, const struct open_row *row, bool traced) {
  double firsts = time_of(row) / (double)row->duration;
  if (!told->count) {
    told->duration = row->duration;
    told->slope = row->slope;
  } else if (traced) {
    TD_TRY(td_grow((void **)&told->paces, &told->pace_capacity, told->pace_count + 1, sizeof *told->paces));
    told->paces[told->pace_count++] = (struct td_row_pace){(uint64_t)told->count, row->duration, row->slope};
  }
  told->count += row->count;
  told->energy += row->energy * firsts;
  told->firsts += firsts;
  return TD_OK;
}

td_status fleet_turn_row(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  if (!replica->flow) return fleet_close_row(fleet, worker);
  if (!replica->row.count) return TD_OK;
  end_row(replica);
  TD_TRY(add_pace(&replica->flow->told, &replica->row, fleet->trace != NULL));
  replica->row.count = 0;
  return TD_OK;
}

/* Paces go ahead of their row: whoever reads a trace that was cut off in between leaves them out. */
static td_status tell_paces(struct fleet *fleet, int32_t worker) {
  struct fleet_told *told = &fleet->replicas[worker].flow->told;
  for (size_t i = 0; i < told->pace_count; i++) told->paces[i].step += fleet->next_step;
  TD_TRY(td_trace_append(fleet->trace, TD_TABLE_PACES, told->paces, told->pace_count));
  const struct open_row row = {
      .duration = told->duration, .slope = told->slope, .count = told->count, .energy = told->energy / told->firsts};
  return tell_row(fleet, worker, &row);
}

static td_status close_told(struct fleet *fleet, int32_t worker) {
  TD_TRY(fleet_turn_row(fleet, worker));
  struct fleet_told *told = &fleet->replicas[worker].flow->told;
  if (!told->count) return TD_OK;
  if (fleet->trace) TD_TRY(tell_paces(fleet, worker));
  fleet->next_step += (uint64_t)told->count;
  told->count = 0;
  told->pace_count = 0;
  told->energy = told->firsts = 0;
  return TD_OK;
}

td_status fleet_close_row(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  if (replica->flow) return close_told(fleet, worker);
  if (!replica->row.count) return TD_OK;
  end_row(replica);
  if (fleet->trace) TD_TRY(tell_row(fleet, worker, &replica->row));
  fleet->next_step += (uint64_t)replica->row.count;
  replica->row.count = 0;
  return TD_OK;
}

/* ---- requests ---- */

static td_status close_stretch(struct fleet *fleet, struct fleet_request *request) {
  struct td_row_residency row = {.request = request->number,
                                 .device = (uint32_t)request->stretch_worker,
                                 .tokens_per_step = (uint32_t)request->stretch_yields,
                                 .first_index = request->stretch_index,
                                 .count = (uint64_t)request->stretch_count,
                                 .first_token = (uint64_t)request->stretch_token};
  if (request->stretch_worker < 0 || !row.count) return TD_OK;
  request->stretch_worker = -1;
  return td_trace_append(fleet->trace, TD_TABLE_RESIDENCY, &row, 1);
}

td_status fleet_resident(struct fleet *fleet, struct fleet_request *request, int32_t worker, uint64_t index,
                         int32_t count, int32_t yields) {
  if (!fleet->trace || fleet_executes(fleet, worker)) return TD_OK; /* who executes has rows of tokens */
  if (request->stretch_worker == worker && request->stretch_yields == yields &&
      request->stretch_index + (uint64_t)request->stretch_count == index) {
    request->stretch_count += count;
    return TD_OK;
  }
  TD_TRY(close_stretch(fleet, request));
  request->stretch_worker = worker;
  request->stretch_yields = yields;
  request->stretch_index = index;
  request->stretch_count = count;
  request->stretch_token = request->emitted;
  return TD_OK;
}

td_status fleet_name_request(const struct fleet_request *request, char *out, size_t size) {
  char digits[20];
  size_t count = 0;
  if (request->name) return td_format(out, size, "%s", request->name);
  uint64_t left = request->number; /* printf would take a tenth of a run's time */
  do {
    digits[count++] = (char)('0' + left % 10);
  } while (left /= 10);
  *out++ = 'r';
  while (count) *out++ = digits[--count];
  *out = 0;
  return TD_OK;
}

td_status fleet_record_request(struct fleet *fleet, const struct fleet_request *finished, int64_t finished_ps) {
  if (!fleet->trace) return TD_OK;
  struct fleet_request request = *finished;
  TD_TRY(close_stretch(fleet, &request));
  struct td_row_request row = {.request = request.number,
                               .arrival = request.arrival_ps,
                               .admitted = request.admitted_ps,
                               .first_step = request.first_step_ps,
                               .first_token = request.first_token_ps,
                               .finished = finished_ps,
                               .prompt_tokens = (uint32_t)request.prompt,
                               .output_tokens = (uint32_t)request.output,
                               .max_tokens = (uint32_t)request.output,
                               .finish = TD_FINISH_LENGTH,
                               .prefill_device = (uint32_t)request.prefill_worker,
                               .decode_device = (uint32_t)request.decode_worker,
                               .kv_bytes = request.kv_bytes,
                               .cached_tokens = request.found,
                               .interruptions = (uint32_t)request.interruptions};
  if (fleet->hosted) fleet_hosted_ended(fleet, (int32_t)(finished - fleet->requests), &row);
  TD_TRY(fleet_name_request(&request, row.name, sizeof row.name));
  return td_trace_append(fleet->trace, TD_TABLE_REQUESTS, &row, 1);
}

td_status fleet_record_refused(struct fleet *fleet, const struct fleet_request *request) {
  if (!fleet->trace) return TD_OK;
  struct td_row_request row = {.request = request->number,
                               .arrival = request->arrival_ps,
                               .admitted = -1,
                               .first_step = -1,
                               .first_token = -1,
                               .finished = fleet->now_ps,
                               .prompt_tokens = (uint32_t)request->prompt,
                               .max_tokens = (uint32_t)request->output,
                               .finish = TD_FINISH_REFUSED,
                               .kv_bytes = request->kv_bytes,
                               .cached_tokens = request->found,
                               .interruptions = (uint32_t)request->interruptions};
  TD_TRY(fleet_name_request(request, row.name, sizeof row.name));
  return td_trace_append(fleet->trace, TD_TABLE_REQUESTS, &row, 1);
}

/* ---- workers ---- */

td_status fleet_record_change(struct fleet *fleet, int32_t worker, int change) {
  struct td_row_change row = {fleet->now_ps, (uint32_t)worker, (uint32_t)change};
  return fleet->trace ? td_trace_append(fleet->trace, TD_TABLE_CHANGES, &row, 1) : TD_OK;
}
