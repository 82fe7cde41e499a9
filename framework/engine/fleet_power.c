/* SPDX-License-Identifier: Apache-2.0 */
#include "fleet_power.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"
#include "fleet_hosted.h"
#include "fleet_outage.h"
#include "tandem/base.h"
#include "tandem/device.h"

__extension__ typedef __int128 wide;

enum { RATIO_BITS = 32 };

/* ---- opening ---- */

static td_status fail_pool(const struct cluster *cluster, int32_t pool, const char *key, const char *text) {
  char path[64];
  TD_TRY(td_format(path, sizeof path, "cluster.pools.[%" PRId32 "].%s", pool, key));
  return td_config_fail(cluster->config, path, "%s", text);
}

static const struct td_cfg_pool *pool_at(const struct cluster *cluster, int32_t i) {
  return (const struct td_cfg_pool *)cluster->experiment->cluster.pools.items + i;
}

static double busy_watts(const struct cluster *cluster, int32_t pool) {
  double busy = cluster->pool_params[pool]->power_busy.value, cap = pool_at(cluster, pool)->power_cap;
  return cap > 0 && cap < busy ? cap : busy;
}

/* What a worker takes at a step beside what it takes idle. */
static int64_t more_uw(const struct cluster *cluster, int32_t pool) {
  return llround((busy_watts(cluster, pool) - cluster->pool_params[pool]->power_idle.value) * 1e6);
}

static double all_idle(const struct cluster *cluster) {
  double watts = 0;
  for (int32_t i = 0; i < cluster->orchestrator_count; i++) {
    watts += cluster->orchestrators[i].core_idle * cluster->orchestrators[i].cores;
  }
  for (int32_t i = 0; i < cluster->pools; i++) {
    double workers = (double)(pool_at(cluster, i)->count * pool_at(cluster, i)->pipeline);
    watts += cluster->pool_params[i]->power_idle.value * workers;
  }
  return watts;
}

static td_status check_pool(const struct cluster *cluster, int32_t index) {
  const struct td_device_params *params = cluster->pool_params[index];
  double cap = pool_at(cluster, index)->power_cap, least = params->power_busy.value / 1000;
  char text[400];
  if (!params->power_busy.present || !params->power_idle.present) {
    TD_TRY(td_format(text, sizeof text,
                     "found %.300s, expected a device file with power_busy and power_idle: its power is capped",
                     params->name));
    return fail_pool(cluster, index, "device", text);
  }
  if (params->power_idle.value > least) least = params->power_idle.value;
  if (cap == 0 || cap >= least) return TD_OK;
  TD_TRY(td_format(text, sizeof text, "found %.6g W, expected at least %.6g W: idle, or a thousandth of busy", cap,
                   least));
  return fail_pool(cluster, index, "power_cap", text);
}

static td_status same_basis(const struct cluster *cluster, const char *basis) {
  const char *first = cluster->pool_params[0]->power_basis;
  if (!strcmp(first, basis)) return TD_OK;
  return td_config_fail(cluster->config, "cluster.power_cap",
                        "found pools whose device files count power as \"%s\" and as \"%s\", expected one basis", first,
                        basis);
}

/* Watts that the config gives orchestrators are of the basis of the others. */
static const char *own_basis(const struct cluster_orchestrator *machine) {
  bool given = !isnan(machine->pool->power_busy) && !isnan(machine->pool->power_idle);
  return machine->params && !given ? machine->params->power_basis : NULL;
}

static td_status check_basis(const struct cluster *cluster) {
  for (int32_t i = 1; i < cluster->pools; i++) TD_TRY(same_basis(cluster, cluster->pool_params[i]->power_basis));
  for (int32_t i = 0; i < cluster->orchestrator_count; i++) {
    const char *basis = own_basis(&cluster->orchestrators[i]);
    if (basis) TD_TRY(same_basis(cluster, basis));
  }
  return TD_OK;
}

static td_status check_orchestrators(const struct cluster *cluster) {
  for (int32_t i = 0; i < cluster->orchestrator_count; i++) {
    const struct cluster_orchestrator *machine = &cluster->orchestrators[i];
    if (!isnan(machine->core_busy) && !isnan(machine->core_idle)) continue;
    return td_config_fail(
        cluster->config, "cluster.power_cap",
        "found orchestrators %s without watts, expected a device file with power_busy and power_idle, "
        "or both in cluster.orchestrators: their power is capped",
        machine->pool->name);
  }
  return TD_OK;
}

/* What the step or call takes that takes most. */
static int64_t most_uw(const struct cluster *cluster) {
  int64_t most = 0;
  for (int32_t i = 0; i < cluster->pools; i++) {
    if (more_uw(cluster, i) > most) most = more_uw(cluster, i);
  }
  for (int32_t i = 0; i < cluster->orchestrator_count; i++) {
    int64_t call = cluster_call_uw(&cluster->orchestrators[i], cluster->experiment->cluster.orchestrators.call_cores);
    if (call > most) most = call;
  }
  return most;
}

td_status fleet_power_check(const struct cluster *cluster) {
  double cap = cluster->experiment->cluster.power_cap, idle;
  for (int32_t i = 0; i < cluster->pools; i++) {
    if (cap > 0 || pool_at(cluster, i)->power_cap > 0) TD_TRY(check_pool(cluster, i));
  }
  if (cap == 0) return TD_OK;
  TD_TRY(check_basis(cluster));
  TD_TRY(check_orchestrators(cluster));
  idle = all_idle(cluster);
  int64_t most = most_uw(cluster);
  if (cap >= idle && llround((cap - idle) * 1e6) >= most) return TD_OK;
  return td_config_fail(cluster->config, "cluster.power_cap",
                        "found %.6g W, expected at least %.6g W: all %s idle but the one that takes most", cap,
                        idle + (double)most * 1e-6,
                        cluster->orchestrator_count ? "workers and orchestrators" : "workers");
}

td_status fleet_power_open(struct fleet *fleet) {
  const struct cluster *cluster = fleet->cluster;
  double cap = cluster->experiment->cluster.power_cap;
  for (int32_t i = 0; i < cluster->pools; i++) fleet->pools[i].power_cap = pool_at(cluster, i)->power_cap;
  if (cap == 0) return TD_OK;
  TD_TRY(td_alloc(1, sizeof *fleet->power, (void **)&fleet->power));
  TD_TRY(worker_queue_open(&fleet->power->waiting, cluster->worker_count));
  TD_TRY(td_alloc((size_t)cluster->pools, sizeof *fleet->power->step_uw, (void **)&fleet->power->step_uw));
  for (int32_t i = 0; i < cluster->pools; i++) fleet->power->step_uw[i] = more_uw(cluster, i);
  fleet->power->free_uw = fleet->power->all_uw = llround((cap - all_idle(cluster)) * 1e6);
  return TD_OK;
}

void fleet_power_close(struct fleet *fleet) {
  if (!fleet->power) return;
  worker_queue_close(&fleet->power->waiting);
  free(fleet->power->step_uw);
  free(fleet->power);
}

/* ---- slower steps ---- */

static bool longer(int64_t slower, int64_t *ps) {
  wide scaled = ((wide)*ps * slower + ((wide)1 << RATIO_BITS) - 1) >> RATIO_BITS;
  if (scaled > INT64_MAX) return false;
  *ps = (int64_t)scaled;
  return true;
}

/* 0: it takes no more power than the cap. Joules are rounded, and not to make a step longer: not by 10^-12 of it. */
static int64_t how_much_slower(double cap, const struct td_price *price) {
  double ratio = price->energy_j / (td_seconds(price->base_ps) * cap) * (1 - 1e-12);
  return ratio > 1 ? (int64_t)ceil(ldexp(ratio, RATIO_BITS)) : 0;
}

static td_status slow_one(double cap, struct td_price *price, int64_t *out_slower) {
  int64_t slower = *out_slower = how_much_slower(cap, price);
  if (!slower) return TD_OK;
  if (!longer(slower, &price->base_ps) || !longer(slower, &price->slope_ps)) {
    return td_fail(TD_UNSUPPORTED, "the run lasts longer than 106 days");
  }
  if (price->slope_ps > 0 && price->valid_steps > (INT64_MAX - price->base_ps) / price->slope_ps) {
    price->valid_steps = (INT64_MAX - price->base_ps) / price->slope_ps + 1;
  }
  price->low_ps *= ldexp((double)slower, -RATIO_BITS);
  price->high_ps *= ldexp((double)slower, -RATIO_BITS);
  return TD_OK;
}

/* Of stages each for itself, hops as ever. */
td_status fleet_slow_price(const struct fleet *fleet, struct replica *replica, struct td_price *price) {
  struct fleet_stages *stages = fleet->pools[replica->pool].stages;
  double cap = fleet->pools[replica->pool].power_cap;
  if (cap == 0) return TD_OK;
  if (!stages) return slow_one(cap, price, &replica->slower);
  for (int32_t s = 0; s < stages->count; s++) {
    TD_TRY(slow_one(cap, &stages->of[s].price, &stages->of[s].slower));
  }
  const int64_t valid = price->valid_steps; /* of groups of chips, fewer than stages say */
  TD_TRY(fleet_stages_sum(stages, price));
  if (valid < price->valid_steps) price->valid_steps = valid;
  return TD_OK;
}

void fleet_slow_times(int64_t slower, int64_t ps[2]) {
  for (int i = 0; slower && i < 2; i++) (void)longer(slower, &ps[i]); /* no longer than the step, which was */
}

/* ---- power to steps ---- */

static int64_t step_uw(const struct fleet *fleet, int32_t worker) {
  return fleet->power->step_uw[fleet->replicas[worker].pool];
}

void fleet_power_release(struct fleet *fleet, int32_t worker) {
  fleet->power->free_uw += step_uw(fleet, worker);
}

void fleet_power_forget(struct fleet *fleet, int32_t worker) {
  if (!worker_queue_has(&fleet->power->waiting, worker)) return;
  worker_queue_remove(&fleet->power->waiting, worker);
  fleet->power->wanted_uw -= step_uw(fleet, worker);
}

static bool has_work(const struct replica *replica) {
  return replica->endings.count || replica->prefill.first >= 0 || replica->joining.first >= 0 ||
         replica->paused.count || replica->swapped.count;
}

/* Whoever may begin a step at this instant gets in line; who has nothing to do closes its row. */
static td_status line_up(struct fleet *fleet) {
  struct fleet_power *power = fleet->power;
  for (int32_t i = 0; i < fleet->touched_count; i++) {
    int32_t worker = fleet->touched[i];
    fleet->is_touched[worker] = 0;
    if (fleet->replicas[worker].busy || worker_queue_has(&power->waiting, worker)) continue;
    if (!has_work(&fleet->replicas[worker])) {
      TD_TRY(fleet_begin_step(fleet, worker));
      continue;
    }
    worker_queue_set(&power->waiting, worker, fleet->now_ps);
    power->wanted_uw += step_uw(fleet, worker);
  }
  fleet->touched_count = 0;
  return TD_OK;
}

static td_status begin_first(struct fleet *fleet) {
  struct fleet_power *power = fleet->power;
  int64_t since_ps = worker_queue_time(&power->waiting);
  int32_t worker = worker_queue_pop(&power->waiting);
  struct replica *replica = &fleet->replicas[worker];
  power->wanted_uw -= step_uw(fleet, worker);
  if (since_ps < fleet->now_ps) replica->changed = true; /* steps of one row follow each other */
  TD_TRY(fleet_begin_step(fleet, worker));
  if (replica->busy) power->free_uw -= step_uw(fleet, worker);
  return TD_OK;
}

td_status fleet_power_give_out(struct fleet *fleet) {
  struct fleet_power *power = fleet->power;
  bool before = fleet->crowded;
  TD_TRY(line_up(fleet));
  fleet->crowded = power->wanted_uw > power->free_uw;
  if (fleet->crowded && !before) {
    for (int32_t i = 0; i < fleet->cluster->worker_count; i++) TD_TRY(fleet_interrupt(fleet, i));
    if (fleet->tools) TD_TRY(fleet_tools_power(fleet));
    TD_TRY(line_up(fleet));
  }
  while (worker_queue_time(&power->waiting) != INT64_MAX &&
         step_uw(fleet, worker_queue_first(&power->waiting)) <= power->free_uw) {
    TD_TRY(begin_first(fleet));
  }
  return TD_OK;
}

td_status fleet_power_balance(const struct fleet *fleet) {
  const struct fleet_power *power = fleet->power;
  if (!power || (power->free_uw == power->all_uw && !power->wanted_uw)) return TD_OK;
  return td_fail(TD_INTERNAL, "%.6f W of %.6f W are free after the last step, and %.6f W are waited for",
                 (double)power->free_uw * 1e-6, (double)power->all_uw * 1e-6, (double)power->wanted_uw * 1e-6);
}

/* ---- energy ---- */

/* What all powers count, or "mixed". */
static const char *common_basis(const char *basis, const struct td_device_params *params) {
  const char *own = params->power_basis ? params->power_basis : "unknown";
  return !basis || !strcmp(basis, own) ? own : "mixed";
}

static const char *basis_of_orchestrators(const struct cluster *cluster, const char *basis) {
  for (int32_t i = 0; i < cluster->orchestrator_count; i++) {
    const struct cluster_orchestrator *machine = &cluster->orchestrators[i];
    if (own_basis(machine)) basis = common_basis(basis, machine->params);
  }
  return basis;
}

static int64_t down_ps(const struct fleet *fleet, int32_t worker) {
  return fleet->outages ? fleet->outages->workers[fleet->cluster->workers[worker].leader].down_ps : 0;
}

/* Nobody is at steps for longer than it is up: batches in flight together, for as many stages. */
static td_status check_idle(const struct fleet *fleet, int32_t leader) {
  const struct td_cfg_pool *pool = fleet->cluster->workers[leader].pool;
  wide idle_ps = 0;
  for (int64_t batch = 0; batch < pool->pipeline; batch++) {
    const int64_t busy_ps = fleet->replicas[leader + batch * pool->count].busy_ps;
    idle_ps += fleet->summary->makespan_ps - down_ps(fleet, leader) - busy_ps;
  }
  if (idle_ps >= 0 || fleet->hosted) return TD_OK;
  return td_fail(TD_INTERNAL, "worker %s was at steps for %.12f s more than it was up",
                 fleet->cluster->workers[leader].name, (double)-idle_ps * 1e-12);
}

static double idle_watts(const struct fleet *fleet, int32_t worker) {
  const struct cluster_worker *of = &fleet->cluster->workers[worker];
  struct td_device *lpu = fleet->pools[of->pool_index].device;
  if (of->backend->executes) return fleet->hosted->workers[worker].idle_watts;
  if (lpu) return td_device_idle_watts(lpu);
  return of->params->power_idle.present ? of->params->power_idle.value : (double)NAN;
}

td_status fleet_power_count(struct fleet *fleet) {
  struct td_run_summary *summary = fleet->summary;
  const char *basis = NULL;
  for (int32_t i = 0; i < fleet->cluster->worker_count; i++) {
    const struct td_device_params *params = fleet->cluster->workers[i].params;
    double idle_s = td_seconds(summary->makespan_ps - fleet->replicas[i].busy_ps - down_ps(fleet, i));
    if (!fleet->cluster->workers[i].batch) TD_TRY(check_idle(fleet, i));
    summary->energy_idle_j += idle_watts(fleet, i) * idle_s;
    if (params) basis = common_basis(basis, params);
  }
  basis = basis_of_orchestrators(fleet->cluster, basis);
  snprintf(summary->power_basis, sizeof summary->power_basis, "%s", basis ? basis : "unknown");
  return TD_OK;
}
