/* SPDX-License-Identifier: Apache-2.0
 *
 * Power of calls under a cap of the cluster. A machine's idle cores have theirs always; what a call takes beside that
 * it has while it runs. Machines get in line with the first call whose cores are free, all in the order in which these
 * calls were asked for.
 */
#include <math.h>

#include "fleet.h"
#include "fleet_power.h"
#include "fleet_tools.h"
#include "tandem/base.h"

int64_t cluster_call_uw(const struct cluster_orchestrator *machine, int64_t cores) {
  return llround((machine->core_busy - machine->core_idle) * (double)cores * 1e6);
}

int64_t fleet_call_uw(const struct fleet *fleet, const struct tool_call *call) {
  return cluster_call_uw(&fleet->cluster->orchestrators[call->orchestrator], call->cores);
}

void fleet_tools_want_no_power(struct fleet *fleet, int32_t index) {
  struct orchestrator *machine = &fleet->tools->all[index];
  if (!machine->wants_power) return;
  machine->wants_power = false;
  fleet->power->wanted_uw -= machine->power_uw;
}

/* Who is first in the machine's line may have changed: its old place stays behind, and is left out when it comes up. */
td_status fleet_tools_want_power(struct fleet *fleet, int32_t index) {
  struct fleet_tools *tools = fleet->tools;
  struct orchestrator *machine = &tools->all[index];
  const struct keyed_slot *first = machine->waiting.heap;
  bool fits = fleet_tools_next_fits(tools, index);
  if (fits && machine->wants_power && machine->power_place == first->number) return TD_OK;
  fleet_tools_want_no_power(fleet, index);
  if (!fits) return TD_OK;
  machine->wants_power = true;
  machine->power_place = first->number;
  machine->power_uw = fleet_call_uw(fleet, &tools->calls[first->slot]);
  fleet->power->wanted_uw += machine->power_uw;
  return slot_queue_push(&tools->powered, (struct keyed_slot){0, machine->power_place, index});
}

td_status fleet_tools_power(struct fleet *fleet) {
  struct slot_queue *line = &fleet->tools->powered;
  while (line->count) {
    const struct keyed_slot first = line->heap[0];
    struct orchestrator *machine = &fleet->tools->all[first.slot];
    bool stands = machine->wants_power && machine->power_place == first.number;
    if (stands && machine->power_uw > fleet->power->free_uw) return TD_OK;
    slot_queue_pop(line);
    if (!stands) continue;
    fleet_tools_want_no_power(fleet, first.slot);
    fleet->power->free_uw -= machine->power_uw;
    TD_TRY(fleet_tools_begin(fleet, slot_queue_pop(&machine->waiting)));
    TD_TRY(fleet_tools_want_power(fleet, first.slot));
  }
  return TD_OK;
}
