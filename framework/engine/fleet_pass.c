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

static td_status add(struct fleet *fleet, int32_t worker, struct passing item) {
  struct fleet_flow *flow = fleet->replicas[worker].flow;
  if (flow->passing_first && 2 * flow->passing_first >= flow->passing_count) {
    flow->passing_count -= flow->passing_first;
    memmove(flow->passing, flow->passing + flow->passing_first, flow->passing_count * sizeof *flow->passing);
    flow->passing_first = 0;
  }
  TD_TRY(td_grow((void **)&flow->passing, &flow->passing_capacity, flow->passing_count + 1, sizeof *flow->passing));
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
  const struct fleet_flow *flow = fleet->replicas[worker].flow;
  *out_passes = flow && flow->quiet;
  return *out_passes ? add(fleet, worker, (struct passing){.through_ps = flow->through_ps, .slot = PASSING_STEP})
                     : TD_OK;
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

void fleet_pass_forget(struct fleet *fleet, int32_t worker) {
  struct fleet_flow *flow = fleet->replicas[worker].flow;
  if (!flow || flow->passing_first == flow->passing_count) return;
  for (; flow->passing_first < flow->passing_count; flow->passing_first++) {
    if (flow->passing[flow->passing_first].slot == PASSING_STEP && fleet->power) fleet_power_release(fleet, worker);
  }
  worker_queue_remove(&fleet->passing, worker);
}
