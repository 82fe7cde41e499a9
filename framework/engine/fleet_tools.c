/* SPDX-License-Identifier: Apache-2.0 */
#include "fleet_tools.h"

#include <math.h>
#include <stdlib.h>

#include "fleet.h"
#include "fleet_power.h"
#include "tandem/base.h"

enum { SHARE_BITS = 32 };

static const struct td_cfg_orchestrators *config_of(const struct fleet *fleet) {
  return &fleet->cluster->experiment->cluster.orchestrators;
}

/* ---- machines ---- */

/* What is asked of each of its cores. Cores are at most 2^16, so that shares that differ do so by 2^-32 at least. */
static int64_t share(const struct orchestrator *machine) {
  return (int64_t)(((core_time)machine->asked << SHARE_BITS) / (core_time)machine->cores);
}

static void ask(struct fleet_tools *tools, int32_t index, int64_t cores) {
  struct orchestrator *machine = &tools->all[index];
  machine->asked += cores;
  worker_queue_set(&tools->least, index, share(machine));
}

static void take(struct fleet *fleet, int32_t index, int32_t cores) {
  struct orchestrator *machine = &fleet->tools->all[index];
  machine->had += (core_time)machine->taken * (core_time)(fleet->now_ps - machine->since_ps);
  machine->since_ps = fleet->now_ps;
  machine->taken += cores;
}

static void touch(struct fleet_tools *tools, int32_t index) {
  if (tools->is_touched[index]) return;
  tools->is_touched[index] = 1;
  tools->touched[tools->touched_count++] = index;
}

static bool is_up(const struct fleet_tools *tools, int32_t index) {
  return worker_queue_has(&tools->least, index);
}

/* ---- asking ---- */

static td_status new_call(struct fleet_tools *tools, int32_t *out_call) {
  if (tools->free >= 0) {
    *out_call = tools->free;
    tools->free = tools->calls[*out_call].next;
    return TD_OK;
  }
  if (tools->used == INT32_MAX) return td_fail(TD_UNSUPPORTED, "more than %d calls in flight", INT32_MAX);
  TD_TRY(td_grow((void **)&tools->calls, &tools->capacity, (size_t)tools->used + 1, sizeof *tools->calls));
  *out_call = tools->used++;
  return TD_OK;
}

static td_status send_later(struct fleet_tools *tools, int32_t index) {
  struct tool_call *call = &tools->calls[index];
  call->orchestrator = -1;
  return slot_queue_push(&tools->unsent, (struct keyed_slot){0, call->place, index});
}

static td_status ask_for(struct fleet *fleet, struct tool_call call) {
  struct fleet_tools *tools = fleet->tools;
  int32_t index = -1;
  TD_TRY(new_call(tools, &index));
  call.place = tools->asked++;
  call.enqueued_ps = fleet->now_ps;
  call.start_ps = -1;
  call.next = -1;
  tools->needed += (core_time)call.needs_ps;
  tools->calls[index] = call;
  return send_later(tools, index);
}

td_status fleet_tools_tokenize(struct fleet *fleet, int32_t slot, bool *out_asked) {
  const struct fleet_request *request = &fleet->requests[slot];
  struct tool_call call = {
      .request = request->number, .session = request->session, .kind = TD_CALL_TOKENIZE, .cores = 1, .slot = slot};
  TD_TRY(td_ps_from_seconds(config_of(fleet)->tokenize * request->prompt, &call.needs_ps));
  *out_asked = call.needs_ps > 0;
  return *out_asked ? ask_for(fleet, call) : TD_OK;
}

static void forget_home(struct fleet_tools *tools, uint64_t session) {
  struct tool_home *home = NULL;
  HASH_FIND(hh, tools->homes, &session, sizeof session, home);
  if (!home) return;
  HASH_DEL(tools->homes, home);
  free(home);
}

/* What comes once an answer is text: the tool, or at once whatever waits for the answer. */
static td_status call_tool(struct fleet *fleet, uint64_t number, uint64_t session) {
  struct tool_call call = {.request = number,
                           .session = session,
                           .kind = TD_CALL_TOOL,
                           .cores = (int32_t)config_of(fleet)->call_cores,
                           .slot = -1};
  bool goes_on = false;
  if (fleet->workload) TD_TRY(td_workload_tool(fleet->workload, number, &call.needs_ps, &goes_on));
  if (!goes_on) forget_home(fleet->tools, session);
  return call.needs_ps ? ask_for(fleet, call) : fleet_tool_done(fleet, number);
}

td_status fleet_tools_answered(struct fleet *fleet, uint64_t number, uint64_t session, int32_t tokens) {
  struct tool_call call = {.request = number, .session = session, .kind = TD_CALL_DETOKENIZE, .cores = 1, .slot = -1};
  TD_TRY(td_ps_from_seconds(config_of(fleet)->detokenize * tokens, &call.needs_ps));
  return call.needs_ps ? ask_for(fleet, call) : call_tool(fleet, number, session);
}

/* ---- sending ---- */

static td_status home_of(struct fleet_tools *tools, uint64_t session, struct tool_home **out) {
  struct tool_home *home = NULL;
  HASH_FIND(hh, tools->homes, &session, sizeof session, home);
  if (!home) {
    TD_TRY(td_alloc(1, sizeof *home, (void **)&home));
    *home = (struct tool_home){.session = session, .orchestrator = -1};
    HASH_ADD(hh, tools->homes, session, sizeof home->session, home);
  }
  *out = home;
  return TD_OK;
}

/* Some machine is up. A session whose machine has failed finds another. */
static td_status choose(struct fleet *fleet, const struct tool_call *call, int32_t *out_machine) {
  struct fleet_tools *tools = fleet->tools;
  struct tool_home *home = NULL;
  *out_machine = worker_queue_first(&tools->least);
  if (!config_of(fleet)->sticky || !call->session) return TD_OK;
  TD_TRY(home_of(tools, call->session, &home));
  if (home->orchestrator < 0 || !is_up(tools, home->orchestrator)) home->orchestrator = *out_machine;
  *out_machine = home->orchestrator;
  return TD_OK;
}

static td_status send_all(struct fleet *fleet) {
  struct fleet_tools *tools = fleet->tools;
  while (tools->unsent.count && worker_queue_time(&tools->least) != INT64_MAX) {
    struct keyed_slot first = slot_queue_pop(&tools->unsent);
    struct tool_call *call = &tools->calls[first.slot];
    TD_TRY(choose(fleet, call, &call->orchestrator));
    ask(tools, call->orchestrator, call->cores);
    TD_TRY(slot_queue_push(&tools->all[call->orchestrator].waiting, first));
    touch(tools, call->orchestrator);
  }
  return TD_OK;
}

static td_status lasts(const struct fleet *fleet, const struct tool_call *call, int64_t *out_ps) {
  double speed = fleet->cluster->orchestrators[call->orchestrator].pool->speed;
  *out_ps = call->needs_ps;
  if (speed == 1) return TD_OK;
  double ps = ceil((double)call->needs_ps / speed);
  if (!(ps < 9.2e18)) return fleet_too_long();
  *out_ps = ps > 1 ? (int64_t)ps : 1;
  return TD_OK;
}

td_status fleet_tools_begin(struct fleet *fleet, struct keyed_slot item) {
  struct fleet_tools *tools = fleet->tools;
  struct tool_call *call = &tools->calls[item.slot];
  TD_TRY(lasts(fleet, call, &item.key));
  TD_TRY(fleet_later(fleet->now_ps, item.key, &item.key));
  call->start_ps = fleet->now_ps;
  take(fleet, call->orchestrator, call->cores);
  return slot_queue_push(&tools->ends, item);
}

bool fleet_tools_next_fits(const struct fleet_tools *tools, int32_t index) {
  const struct orchestrator *machine = &tools->all[index];
  const struct slot_queue *line = &machine->waiting;
  return line->count && tools->calls[line->heap[0].slot].cores <= machine->cores - machine->taken;
}

td_status fleet_tools_give_out(struct fleet *fleet) {
  struct fleet_tools *tools = fleet->tools;
  TD_TRY(send_all(fleet));
  for (int32_t i = 0; i < tools->touched_count; i++) {
    int32_t index = tools->touched[i];
    tools->is_touched[index] = 0;
    if (fleet->power) TD_TRY(fleet_tools_want_power(fleet, index));
    while (!fleet->power && fleet_tools_next_fits(tools, index)) {
      TD_TRY(fleet_tools_begin(fleet, slot_queue_pop(&tools->all[index].waiting)));
    }
  }
  tools->touched_count = 0;
  return fleet->power ? fleet_tools_power(fleet) : TD_OK;
}

/* ---- ends ---- */

int64_t fleet_tools_next(const struct fleet *fleet) {
  const struct slot_queue *ends = &fleet->tools->ends;
  return ends->count ? ends->heap[0].key : INT64_MAX;
}

bool fleet_tools_pending(const struct fleet *fleet) {
  return fleet->tools->asked > fleet->tools->done;
}

static td_status leave(struct fleet *fleet, const struct tool_call *call, bool lost) {
  const struct cluster_orchestrator *machine = &fleet->cluster->orchestrators[call->orchestrator];
  core_time had = (core_time)call->cores * (core_time)(fleet->now_ps - call->start_ps);
  fleet->tools->rows += had;
  take(fleet, call->orchestrator, -call->cores);
  if (fleet->power) fleet->power->free_uw += fleet_call_uw(fleet, call);
  if (!fleet->trace) return TD_OK;
  struct td_row_tool_call row = {.request = call->request,
                                 .session = call->session,
                                 .orchestrator = (uint32_t)call->orchestrator,
                                 .kind = call->kind,
                                 .cores = (uint32_t)call->cores,
                                 .lost = lost,
                                 .enqueued = call->enqueued_ps,
                                 .start = call->start_ps,
                                 .end = fleet->now_ps,
                                 .energy = machine->core_busy * ((double)had * 1e-12)};
  return td_trace_append(fleet->trace, TD_TABLE_TOOL_CALLS, &row, 1);
}

static void count_call(struct fleet *fleet, const struct tool_call *call) {
  struct td_run_tools *counts = &fleet->summary->tools;
  bool tool = call->kind == TD_CALL_TOOL;
  fleet->tools->done++;
  fleet->tools->given += (core_time)call->needs_ps;
  counts->calls += tool;
  counts->host_calls += !tool;
  td_tally_add(tool ? &counts->queueing : &counts->host_queueing, call->start_ps - call->enqueued_ps, 1);
}

static td_status end_call(struct fleet *fleet, int32_t index) {
  struct fleet_tools *tools = fleet->tools;
  const struct tool_call call = tools->calls[index];
  TD_TRY(leave(fleet, &call, false));
  ask(tools, call.orchestrator, -call.cores);
  touch(tools, call.orchestrator);
  count_call(fleet, &call);
  tools->calls[index].next = tools->free;
  tools->free = index;
  if (call.kind == TD_CALL_TOKENIZE) return fleet_line_up(fleet, call.slot);
  return call.kind == TD_CALL_TOOL ? fleet_tool_done(fleet, call.request)
                                   : call_tool(fleet, call.request, call.session);
}

td_status fleet_tools_end(struct fleet *fleet) {
  struct slot_queue *ends = &fleet->tools->ends;
  while (ends->count && ends->heap[0].key == fleet->now_ps) {
    fleet->summary->events++;
    TD_TRY(end_call(fleet, slot_queue_pop(ends).slot));
  }
  return TD_OK;
}

/* ---- failures ---- */

/* Its calls that run leave the ends: the others are put in again in place. */
static td_status lose_running(struct fleet *fleet, int32_t index) {
  struct fleet_tools *tools = fleet->tools;
  size_t count = tools->ends.count;
  tools->ends.count = 0;
  for (size_t i = 0; i < count; i++) {
    const struct keyed_slot item = tools->ends.heap[i];
    if (tools->calls[item.slot].orchestrator != index) {
      TD_TRY(slot_queue_push(&tools->ends, item)); /* no further than where it was read */
      continue;
    }
    TD_TRY(slot_queue_push(&tools->all[index].waiting, (struct keyed_slot){0, item.number, item.slot}));
  }
  return TD_OK;
}

td_status fleet_tools_fail(struct fleet *fleet, int32_t index) {
  struct fleet_tools *tools = fleet->tools;
  struct orchestrator *machine = &tools->all[index];
  worker_queue_remove(&tools->least, index);
  size_t in_line = machine->waiting.count;
  TD_TRY(lose_running(fleet, index));
  fleet->summary->tools.lost += machine->waiting.count - in_line;
  machine->asked = 0;
  if (fleet->power) fleet_tools_want_no_power(fleet, index);
  while (machine->waiting.count) { /* by place: rows of the lost ones are in one order */
    int32_t call = slot_queue_pop(&machine->waiting).slot;
    if (tools->calls[call].start_ps >= 0) TD_TRY(leave(fleet, &tools->calls[call], true));
    tools->calls[call].start_ps = -1;
    TD_TRY(send_later(tools, call));
  }
  return TD_OK;
}

void fleet_tools_repair(struct fleet *fleet, int32_t index) {
  worker_queue_set(&fleet->tools->least, index, 0);
}
