/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps that yield no token: chunks of prompts without their ends, and nobody decodes beside them. Their batch waits
 * for nothing that comes back, so it goes on as soon as they have left the first stage: the next chunk of a prompt is
 * at a stage while the one before is at those behind it, where its KV is in time, as stages serve in order. What is
 * left of such a step happens when it has passed the last stage: its KV may go out, and the power that it has is free.
 */
#include <string.h>

#include "fleet.h"
#include "tandem/base.h"

static size_t stage_count(const struct fleet *fleet, int32_t worker) {
  return (size_t)fleet->pools[fleet->replicas[worker].pool].stages->count;
}

static void move_up(struct fleet_flow *flow, size_t stages) {
  flow->passing_count -= flow->passing_first;
  memmove(flow->passing, flow->passing + flow->passing_first, flow->passing_count * sizeof *flow->passing);
  memmove(flow->spans, flow->spans + flow->passing_first * stages, flow->passing_count * stages * sizeof *flow->spans);
  flow->passing_first = 0;
}

/* Of the step under way, which is in the books. */
static void note_spans(const struct replica *replica, size_t stages, struct stage_span *out) {
  for (size_t s = 0; s < stages; s++) {
    const struct stage_time *stage = &replica->flow->stages[s];
    out[s].begin_ps = replica->start_ps + stage->start_ps;
    out[s].end_ps = out[s].begin_ps + stage->base_ps;
  }
}

static td_status add(struct fleet *fleet, int32_t worker, struct passing item) {
  struct fleet_flow *flow = fleet->replicas[worker].flow;
  const size_t stages = stage_count(fleet, worker);
  if (flow->passing_first && 2 * flow->passing_first >= flow->passing_count) move_up(flow, stages);
  TD_TRY(td_grow((void **)&flow->passing, &flow->passing_capacity, flow->passing_count + 1, sizeof *flow->passing));
  TD_TRY(td_grow((void **)&flow->spans, &flow->span_capacity, (flow->passing_count + 1) * stages, sizeof *flow->spans));
  note_spans(&fleet->replicas[worker], stages, flow->spans + flow->passing_count * stages);
  if (flow->passing_first == flow->passing_count) worker_queue_set(&fleet->passing, worker, item.through_ps);
  flow->passing[flow->passing_count++] = item;
  return TD_OK;
}

td_status fleet_pass_push(struct fleet *fleet, int32_t worker, const struct chunk *chunk, const int64_t ready_ps[2]) {
  return add(fleet, worker,
             (struct passing){.through_ps = fleet->replicas[worker].flow->through_ps,
                              .slot = chunk->slot,
                              .push_begin = chunk->push_begin,
                              .push_end = chunk->push_end,
                              .ready_ps = {ready_ps[0], ready_ps[1]}});
}

td_status fleet_pass(struct fleet *fleet, int32_t worker, bool *out_passes) {
  const struct replica *replica = &fleet->replicas[worker];
  const struct fleet_flow *flow = replica->flow;
  *out_passes = flow && flow->quiet;
  if (!*out_passes) return TD_OK;
  return add(fleet, worker,
             (struct passing){.through_ps = flow->through_ps, .slot = PASSING_STEP, .energy_j = replica->row.energy});
}

static td_status take(struct fleet *fleet, int32_t worker, const struct passing *item) {
  if (item->slot == PASSING_STEP && fleet->power) fleet_power_release(fleet, worker);
  if (item->slot < 0) return TD_OK;
  return fleet_push_now(fleet, item->slot, item->push_begin, item->push_end, item->ready_ps);
}

td_status fleet_passed(struct fleet *fleet) {
  while (worker_queue_time(&fleet->passing) == fleet->now_ps) {
    int32_t worker = worker_queue_pop(&fleet->passing);
    struct fleet_flow *flow = fleet->replicas[worker].flow;
    fleet->summary->events++;
    while (flow->passing_first < flow->passing_count &&
           flow->passing[flow->passing_first].through_ps == fleet->now_ps) {
      TD_TRY(take(fleet, worker, &flow->passing[flow->passing_first++]));
    }
    if (flow->passing_first == flow->passing_count) continue;
    worker_queue_set(&fleet->passing, worker, flow->passing[flow->passing_first].through_ps);
  }
  return TD_OK;
}

void fleet_pass_drop(const struct fleet *fleet, int32_t worker, int32_t slot) {
  struct fleet_flow *flow = fleet->replicas[worker].flow;
  for (size_t i = flow ? flow->passing_first : 0; flow && i < flow->passing_count; i++) {
    if (flow->passing[i].slot == slot) flow->passing[i].slot = PASSING_NOTHING;
  }
}

/* When its batch went on its work was counted as done at all stages. */
static void take_back(const struct fleet *fleet, struct replica *replica, const struct stage_span *spans, size_t stages,
                      double energy_j) {
  int64_t work_ps = 0, undone_ps = 0;
  for (size_t s = 0; s < stages; s++) {
    int64_t from = spans[s].begin_ps > fleet->now_ps ? spans[s].begin_ps : fleet->now_ps;
    if (spans[s].end_ps > from) undone_ps += spans[s].end_ps - from;
    work_ps += spans[s].end_ps - spans[s].begin_ps;
  }
  replica->busy_ps -= undone_ps;
  replica->energy_j -= energy_j * ((double)undone_ps / (double)work_ps);
}

void fleet_pass_forget(struct fleet *fleet, int32_t worker) {
  struct fleet_flow *flow = fleet->replicas[worker].flow;
  const size_t stages = flow ? stage_count(fleet, worker) : 0;
  if (!flow || flow->passing_first == flow->passing_count) return;
  for (; flow->passing_first < flow->passing_count; flow->passing_first++) {
    const struct passing *item = &flow->passing[flow->passing_first];
    if (item->slot != PASSING_STEP) continue;
    take_back(fleet, &fleet->replicas[worker], flow->spans + flow->passing_first * stages, stages, item->energy_j);
    if (fleet->power) fleet_power_release(fleet, worker);
  }
  worker_queue_remove(&fleet->passing, worker);
}
