/* SPDX-License-Identifier: Apache-2.0
 *
 * Orchestrators before the run and after it: what must balance, cores' time and energy.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "fleet.h"
#include "fleet_outage.h"
#include "fleet_tools.h"
#include "tandem/base.h"

/* ---- opening ---- */

static td_status record_machines(struct fleet *fleet) {
  const struct cluster *cluster = fleet->cluster;
  for (int32_t i = 0; fleet->trace && i < cluster->orchestrator_count; i++) {
    const struct cluster_orchestrator *machine = &cluster->orchestrators[i];
    struct td_row_orchestrator row = {.orchestrator = (uint32_t)i,
                                      .cores = (uint32_t)machine->cores,
                                      .speed = machine->pool->speed,
                                      .power_busy = machine->core_busy,
                                      .power_idle = machine->core_idle};
    TD_TRY(td_format(row.name, sizeof row.name, "%s", machine->name));
    TD_TRY(td_format(row.pool, sizeof row.pool, "%s", machine->pool->name));
    if (machine->params) TD_TRY(td_format(row.file, sizeof row.file, "%s", machine->params->name));
    TD_TRY(td_trace_append(fleet->trace, TD_TABLE_ORCHESTRATORS, &row, 1));
  }
  return TD_OK;
}

td_status fleet_tools_open(struct fleet *fleet) {
  const struct cluster *cluster = fleet->cluster;
  int32_t count = cluster->orchestrator_count;
  if (!count) return TD_OK;
  TD_TRY(td_alloc(1, sizeof *fleet->tools, (void **)&fleet->tools));
  struct fleet_tools *tools = fleet->tools;
  tools->free = -1;
  TD_TRY(worker_queue_open(&tools->least, count));
  TD_TRY(td_alloc((size_t)count, sizeof *tools->all, (void **)&tools->all));
  TD_TRY(td_alloc((size_t)count, sizeof *tools->touched, (void **)&tools->touched));
  TD_TRY(td_alloc((size_t)count, sizeof *tools->is_touched, (void **)&tools->is_touched));
  for (int32_t i = 0; i < count; i++) {
    tools->all[i].cores = cluster->orchestrators[i].cores;
    worker_queue_set(&tools->least, i, 0);
  }
  return record_machines(fleet);
}

void fleet_tools_close(struct fleet *fleet) {
  struct fleet_tools *tools = fleet->tools;
  if (!tools) return;
  struct tool_home *home = tools->homes, *next;
  HASH_CLEAR(hh, tools->homes); /* the table; the items are still chained */
  for (; home; home = next) {
    next = home->hh.next;
    free(home);
  }
  for (int32_t i = 0; tools->all && i < fleet->cluster->orchestrator_count; i++) {
    slot_queue_close(&tools->all[i].waiting);
  }
  worker_queue_close(&tools->least);
  slot_queue_close(&tools->unsent);
  slot_queue_close(&tools->ends);
  slot_queue_close(&tools->powered);
  free(tools->all);
  free(tools->touched);
  free(tools->is_touched);
  free(tools->calls);
  free(tools);
}

/* ---- at the end ---- */

td_status fleet_tools_stalled(const struct fleet *fleet) {
  const struct fleet_tools *tools = fleet->tools;
  if (!tools->unsent.count || worker_queue_time(&tools->least) != INT64_MAX) {
    return td_fail(TD_INTERNAL, "stalled with %" PRIu64 " calls under way", tools->asked - tools->done);
  }
  const struct tool_call *call = &tools->calls[tools->unsent.heap[0].slot];
  return td_fail(TD_UNSUPPORTED,
                 "stalled at %.6f s with %" PRIu64 " of %" PRIu64 " calls done: the %s of request %" PRIu64
                 " waits for a core, all %" PRId32 " orchestrators are down, and nothing else will happen",
                 td_seconds(fleet->now_ps), tools->done, tools->asked, call->kind == TD_CALL_TOOL ? "tool" : "text",
                 call->request, fleet->cluster->orchestrator_count);
}

/* Every call that was asked for has run whole, and machines had their cores at calls for as long as calls had them. */
td_status fleet_tools_check(struct fleet *fleet) {
  struct fleet_tools *tools = fleet->tools;
  core_time had = 0;
  if (!tools) return TD_OK;
  for (int32_t i = 0; i < fleet->cluster->orchestrator_count; i++) {
    const struct orchestrator *machine = &tools->all[i];
    had += machine->had;
    if (!machine->taken && !machine->asked && !machine->waiting.count) continue;
    return td_fail(TD_INTERNAL,
                   "orchestrator %s: %" PRId32 " cores taken and %" PRId64 " asked for after the last call",
                   fleet->cluster->orchestrators[i].name, machine->taken, machine->asked);
  }
  if (tools->asked == tools->done && tools->needed == tools->given && had == tools->rows && !tools->homes) return TD_OK;
  return td_fail(TD_INTERNAL,
                 "%" PRIu64 " calls of %.9g s were asked for, %" PRIu64
                 " of %.9g s ran; they had cores for %.9g s, "
                 "cores were taken for %.9g s; %u sessions have calls to come",
                 tools->asked, (double)tools->needed * 1e-12, tools->done, (double)tools->given * 1e-12,
                 (double)tools->rows * 1e-12, (double)had * 1e-12, HASH_COUNT(tools->homes));
}

/* Idle cores of a machine that is down take nothing. */
static void count_machine(struct fleet *fleet, int32_t index) {
  const struct cluster_orchestrator *machine = &fleet->cluster->orchestrators[index];
  struct td_run_summary *summary = fleet->summary;
  int32_t among = fleet->cluster->worker_count + index;
  int64_t down = fleet->outages ? fleet->outages->workers[among].down_ps : 0;
  double busy = (double)fleet->tools->all[index].had * 1e-12;
  double up = td_seconds(summary->makespan_ps - down) * machine->cores;
  summary->tools.busy_s += busy;
  summary->tools.up_s += up;
  summary->tools.energy_j += machine->core_busy * busy;
  summary->tools.energy_idle_j += machine->core_idle * (up - busy);
  summary->tools.cores += machine->cores;
}

void fleet_tools_count(struct fleet *fleet) {
  if (!fleet->tools) return;
  fleet->summary->tools.on = true;
  fleet->summary->tools.machines = fleet->cluster->orchestrator_count;
  for (int32_t i = 0; i < fleet->cluster->orchestrator_count; i++) count_machine(fleet, i);
}
