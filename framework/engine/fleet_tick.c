/* SPDX-License-Identifier: Apache-2.0
 *
 * The policy's ticks: at multiples of engine.policy_interval, as long as requests are in flight, after all that happens
 * at the same instant and before work is given out. They change what is routed from then on, never steps under way, so
 * merged steps need not end for them.
 *
 * A tick that did nothing would do nothing again, and nobody would be routed after it, until something that the policy
 * is shown has changed: those in between are left out (of policies that `settle`; with merge = false they are not).
 * What changes without an event are the free KV blocks of workers amid merged steps.
 */
#include <inttypes.h>

#include "fleet.h"
#include "fleet_hosted.h"
#include "tandem/base.h"

/* A policy can need a few ticks to see that somebody waits (its measures are means over them); one that has not helped
 * after so many will not. */
enum { TICKS_ALONE = 1000 };

struct td_control {
  struct fleet *fleet;
};

td_status fleet_tick_open(struct fleet *fleet) {
  const struct cluster *cluster = fleet->cluster;
  fleet->tick_ps = INT64_MAX;
  if (!fleet->policy->tick) return TD_OK;
  td_status status = td_ps_from_seconds(cluster->experiment->engine.policy_interval, &fleet->interval_ps);
  if (status || fleet->interval_ps < 1) {
    return td_config_fail(cluster->config, "engine.policy_interval", "found no time of at least 1 ps, expected one");
  }
  fleet->tick_ps = fleet->interval_ps;
  return TD_OK;
}

/* The first multiple of the interval after a time; INT64_MAX: it is too late to be a time. */
static int64_t tick_after(const struct fleet *fleet, int64_t ps) {
  return td_add_capped(ps - ps % fleet->interval_ps, fleet->interval_ps);
}

/* The next one that is not left out. Blocks taken at the very instant of a tick are not yet seen by it. */
static int64_t due_tick(const struct fleet *fleet) {
  int64_t seen_ps = INT64_MAX;
  if (!fleet->settled || !fleet->merge) return fleet->tick_ps;
  int64_t growth_ps = fleet->grow ? worker_queue_time(&fleet->growing) : INT64_MAX;
  if (growth_ps != INT64_MAX) seen_ps = tick_after(fleet, growth_ps);
  return seen_ps > fleet->tick_ps ? seen_ps : fleet->tick_ps;
}

int64_t fleet_next_tick(const struct fleet *fleet, int64_t other_ps) {
  bool alone = other_ps == INT64_MAX && !fleet_hosted_busy(fleet); /* and no steps are under way */
  if (!fleet->live || (alone && (fleet->settled || fleet->ticks_alone >= TICKS_ALONE))) return other_ps;
  int64_t due_ps = due_tick(fleet);
  return due_ps < other_ps ? due_ps : other_ps;
}

static bool nothing_else_comes(const struct fleet *fleet) {
  bool runs = worker_queue_time(&fleet->ends) != INT64_MAX || fleet->transfers.count ||
              (fleet->tools && fleet_tools_next(fleet) != INT64_MAX);
  return fleet->arrival_ps == INT64_MAX && !runs && !fleet_hosted_busy(fleet);
}

td_status fleet_tick(struct fleet *fleet) {
  if (fleet->tick_ps > fleet->now_ps) return TD_OK;
  bool due = fleet->live && fleet->now_ps % fleet->interval_ps == 0;
  fleet->tick_ps = tick_after(fleet, fleet_hosted_clock(fleet)); /* no row of those that the clock has passed */
  if (!due) return TD_OK;                                        /* those of a time when nobody was here are left out */
  struct td_control control = {fleet};
  if (fleet->grow) fleet_kv_look(fleet);
  struct td_cluster_view cluster = fleet_cluster_view(fleet);
  fleet->ticks_alone = nothing_else_comes(fleet) ? fleet->ticks_alone + 1 : 0;
  fleet->route_again = true;
  fleet->summary->events++;
  fleet->settled = fleet->policy->settles; /* unless it, or anybody from now on, changes something */
  return fleet->policy->tick(&cluster, &control);
}

td_status td_control_role(struct td_control *control, int32_t worker, int role) {
  struct fleet *fleet = control->fleet;
  if (worker < 0 || worker >= fleet->cluster->worker_count || role < TD_ROLE_BOTH || role > TD_ROLE_DECODE) {
    return td_fail(TD_INTERNAL,
                   "policy %s: asks worker %" PRId32 " of %" PRId32 " for role %d, expected a role of 0..2",
                   fleet->policy->name, worker, fleet->cluster->worker_count, role);
  }
  if (fleet->views[worker].role == role) return TD_OK;
  fleet->settled = false;
  fleet->views[worker].role = role;
  fleet->summary->role_changes++;
  TD_TRY(load_role(fleet->loads, role));
  load_changed(fleet->loads, worker);
  return fleet_record_change(fleet, worker, role);
}
