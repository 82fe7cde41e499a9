/* SPDX-License-Identifier: Apache-2.0 */
#include "fleet_outage.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "fleet.h"
#include "tandem/base.h"
#include "tandem/workload.h"

/* A request may need several workers, which are up together only now and then; one that so many outages of each of them
 * have not helped waits for something else, unless somebody is down who has not come back since and will. */
enum { OUTAGES_ALONE = 100 };

/* Failures so fast that hardly anything else happens make a run that does not end; so many of all workers, and of each,
 * between two other events are too many. Ends of merged steps would be such events: halfway there merged ones are cut.
 */
enum { MOST_BETWEEN = 1000000, MOST_OF_EACH = 1000 };

/* ---- opening ---- */

static int by_worker_and_time(const void *left, const void *right) {
  const struct planned_outage *a = left, *b = right;
  if (a->worker != b->worker) return a->worker < b->worker ? -1 : 1;
  return (a->at_ps > b->at_ps) - (a->at_ps < b->at_ps);
}

static td_status plan_pool(struct fleet_outages *outages, const struct td_list *list, int32_t first) {
  const struct td_cfg_outage *all = list->items;
  for (int32_t i = 0; i < list->count; i++) {
    struct planned_outage *plan = &outages->plans[outages->plan_count++];
    *plan = (struct planned_outage){.worker = first + (int32_t)all[i].worker, .lasts_ps = INT64_MAX};
    TD_TRY(td_ps_from_seconds(all[i].at, &plan->at_ps));
    if (all[i].lasts > 0) TD_TRY(td_ps_from_seconds(all[i].lasts, &plan->lasts_ps));
    if (plan->lasts_ps < 1) plan->lasts_ps = 1;
  }
  return TD_OK;
}

/* What fails in a pool. */
struct failing {
  const struct td_list *outages;
  const struct td_cfg_failures *failures;
  int32_t count; /* workers, or orchestrators */
};

static int32_t pools_of(const struct cluster *cluster) {
  return cluster->experiment->cluster.pools.count + cluster->experiment->cluster.orchestrators.pools.count;
}

static struct failing pool_at(const struct cluster *cluster, int32_t index) {
  const struct td_list *pools = &cluster->experiment->cluster.pools;
  if (index < pools->count) {
    const struct td_cfg_pool *pool = (const struct td_cfg_pool *)pools->items + index;
    return (struct failing){&pool->outages, &pool->failures, (int32_t)(pool->count * pool->pipeline)};
  }
  const struct td_cfg_orchestrator *pool =
      (const struct td_cfg_orchestrator *)cluster->experiment->cluster.orchestrators.pools.items + index - pools->count;
  return (struct failing){&pool->outages, &pool->failures, (int32_t)pool->count};
}

static int32_t machines_of(const struct cluster *cluster) {
  return cluster->worker_count + cluster->orchestrator_count;
}

static const struct td_cfg_failures *failures_of(const struct cluster *cluster, int32_t worker) {
  int32_t orchestrator = worker - cluster->worker_count;
  return orchestrator < 0 ? &cluster->workers[worker].pool->failures
                          : &cluster->orchestrators[orchestrator].pool->failures;
}

/* Each worker's own stand together, in order of time. */
static td_status plan_all(const struct cluster *cluster, struct fleet_outages *outages) {
  for (int32_t i = 0, first = 0; i < pools_of(cluster); i++) {
    struct failing pool = pool_at(cluster, i);
    TD_TRY(plan_pool(outages, pool.outages, first));
    first += pool.count;
  }
  if (!outages->plan_count) return TD_OK;
  qsort(outages->plans, outages->plan_count, sizeof *outages->plans, by_worker_and_time);
  for (size_t i = 0; i < outages->plan_count; i++) {
    struct worker_outages *own = &outages->workers[outages->plans[i].worker];
    if (!own->plans) own->plan = i;
    own->plans = i + 1;
  }
  return TD_OK;
}

/* The next time of a worker: between failures and to repairs in turn. */
static int64_t draw(struct fleet *fleet, int32_t worker, double mean_s) {
  struct fleet_outages *outages = fleet->outages;
  struct worker_outages *own = &outages->workers[worker];
  bool constant = failures_of(fleet->cluster, worker)->law == TD_FAILURE_CONSTANT;
  int64_t ps;
  double s = constant ? mean_s : mean_s * td_random_exponential(outages->seed, (uint64_t)worker, own->drawn++);
  if (td_ps_from_seconds(s, &ps)) return INT64_MAX;
  return ps > 0 ? ps : 1; /* time passes between any two */
}

static void set_due(struct fleet_outages *outages, int32_t worker) {
  const struct worker_outages *own = &outages->workers[worker];
  int64_t due = own->chance_ps;
  if (own->plan < own->plans && outages->plans[own->plan].at_ps < due) due = outages->plans[own->plan].at_ps;
  if (own->down && own->until_ps < due) due = own->until_ps;
  worker_queue_set(&outages->due, worker, due);
}

static size_t count_plans(const struct cluster *cluster, bool *out_any) {
  size_t count = 0;
  *out_any = false;
  for (int32_t i = 0; i < pools_of(cluster); i++) {
    struct failing pool = pool_at(cluster, i);
    count += (size_t)pool.outages->count;
    *out_any |= pool.outages->count || pool.failures->mean_time_between > 0;
  }
  return count;
}

td_status fleet_outages_open(struct fleet *fleet) {
  const struct cluster *cluster = fleet->cluster;
  struct fleet_outages *outages;
  bool any;
  size_t plans = count_plans(cluster, &any);
  if (!any) return TD_OK;
  TD_TRY(td_alloc(1, sizeof *outages, (void **)&fleet->outages));
  outages = fleet->outages;
  outages->seed = td_random((uint64_t)cluster->experiment->seed, UINT64_C(0x6661696c75726573), 0); /* "failures" */
  TD_TRY(worker_queue_open(&outages->due, machines_of(cluster)));
  TD_TRY(td_alloc((size_t)machines_of(cluster), sizeof *outages->workers, (void **)&outages->workers));
  if (plans) TD_TRY(td_alloc(plans, sizeof *outages->plans, (void **)&outages->plans));
  TD_TRY(plan_all(cluster, outages));
  for (int32_t i = 0; i < machines_of(cluster); i++) {
    bool follows = i < cluster->worker_count && cluster->workers[i].batch; /* its replica's first batch fails for it */
    double mean_s = follows ? 0 : failures_of(cluster, i)->mean_time_between;
    outages->workers[i].chance_ps = mean_s > 0 ? draw(fleet, i, mean_s) : INT64_MAX;
    set_due(outages, i);
  }
  return TD_OK;
}

void fleet_outages_close(struct fleet *fleet) {
  if (!fleet->outages) return;
  worker_queue_close(&fleet->outages->due);
  slot_queue_close(&fleet->outages->lost);
  free(fleet->outages->workers);
  free(fleet->outages->plans);
  free(fleet->outages);
}

/* ---- the loop ---- */

/* Others can fail hundreds of times during one long outage. */
static bool one_is_to_come_back(const struct fleet *fleet) {
  const struct fleet_outages *outages = fleet->outages;
  for (int32_t i = 0; i < machines_of(fleet->cluster); i++) {
    const struct worker_outages *own = &outages->workers[i];
    if (own->down && own->until_ps != INT64_MAX && own->back_ps <= outages->alone_ps) return true;
  }
  return false;
}

static bool is_in_vain(struct fleet *fleet) {
  struct fleet_outages *outages = fleet->outages;
  if (outages->alone < (int64_t)OUTAGES_ALONE * machines_of(fleet->cluster)) return false;
  if (!one_is_to_come_back(fleet)) return true;
  outages->alone = 0; /* asked again after as many */
  return false;
}

int64_t fleet_next_outage(struct fleet *fleet, int64_t other_ps, int64_t next_ps) {
  struct fleet_outages *outages = fleet->outages;
  int64_t due = worker_queue_time(&outages->due);
  bool pending = fleet->live || (fleet->tools && fleet_tools_pending(fleet));
  outages->between = due < next_ps ? outages->between + 1 : 0;
  if (other_ps != INT64_MAX) {
    outages->alone = 0;
    outages->alone_ps = fleet->now_ps;
  } else if (!pending || is_in_vain(fleet)) {
    return next_ps;
  }
  return due < next_ps ? due : next_ps;
}

/* Of the time a worker was down, what lies within the makespan. */
static void count_down(struct fleet *fleet, int32_t worker) {
  struct worker_outages *own = &fleet->outages->workers[worker];
  int64_t from = fleet->summary->first_arrival_ps > own->since_ps ? fleet->summary->first_arrival_ps : own->since_ps;
  if (!fleet->arrived || fleet->now_ps <= from) return;
  own->down_ps += fleet->now_ps - from;
  bool serves = worker < fleet->cluster->worker_count;
  *(serves ? &fleet->summary->down_s : &fleet->summary->tools.down_s) += td_seconds(fleet->now_ps - from);
}

/* Failures of a worker that are due: until when the longest lasts; 0: none is. */
static int64_t begin_due(struct fleet *fleet, int32_t worker) {
  struct fleet_outages *outages = fleet->outages;
  struct worker_outages *own = &outages->workers[worker];
  const struct td_cfg_failures *failures = failures_of(fleet->cluster, worker);
  int64_t until = 0, end;
  for (; own->plan < own->plans && outages->plans[own->plan].at_ps == fleet->now_ps; own->plan++) {
    end = td_add_capped(fleet->now_ps, outages->plans[own->plan].lasts_ps);
    if (end > until) until = end;
  }
  if (own->chance_ps == fleet->now_ps) {
    end = td_add_capped(fleet->now_ps, draw(fleet, worker, failures->mean_time_to_repair));
    own->chance_ps = td_add_capped(end, draw(fleet, worker, failures->mean_time_between));
    if (end > until) until = end;
  }
  return until;
}

/* All batches of a replica with pipeline stages at once; the first speaks for them. */
static td_status go_down(struct fleet *fleet, int32_t worker, int64_t until_ps) {
  struct worker_outages *own = &fleet->outages->workers[worker];
  if (own->down) {
    if (until_ps > own->until_ps) own->until_ps = until_ps;
    return TD_OK;
  }
  own->down = true;
  own->since_ps = fleet->now_ps;
  own->until_ps = until_ps;
  if (worker >= fleet->cluster->worker_count) {
    fleet->summary->tools.failures++;
    return fleet_tools_fail(fleet, worker - fleet->cluster->worker_count);
  }
  const struct td_cfg_pool *pool = fleet->cluster->workers[worker].pool;
  fleet->outages->down += (int32_t)pool->pipeline;
  fleet->summary->failures++;
  TD_TRY(fleet_record_change(fleet, worker, TD_CHANGE_DOWN));
  for (int64_t batch = 0; batch < pool->pipeline; batch++) {
    TD_TRY(fleet_fail(fleet, worker + (int32_t)(batch * pool->count)));
  }
  return TD_OK;
}

static td_status come_back(struct fleet *fleet, int32_t worker) {
  struct worker_outages *own = &fleet->outages->workers[worker];
  count_down(fleet, worker);
  own->down = false;
  own->back_ps = fleet->now_ps;
  if (worker >= fleet->cluster->worker_count) {
    fleet_tools_repair(fleet, worker - fleet->cluster->worker_count);
    return TD_OK;
  }
  const struct td_cfg_pool *pool = fleet->cluster->workers[worker].pool;
  fleet->outages->down -= (int32_t)pool->pipeline;
  for (int64_t batch = 0; batch < pool->pipeline; batch++) {
    int32_t each = worker + (int32_t)(batch * pool->count);
    fleet->views[each].down = false;
    fleet->views[each].free_sequences = fleet_places(fleet, each);
    load_changed(fleet->loads, each);
  }
  fleet->settled = false;
  fleet->route_again = true;
  return fleet_record_change(fleet, worker, TD_CHANGE_UP);
}

static td_status key_of_failures(const struct cluster *cluster, int32_t worker, char *path, size_t bytes) {
  int32_t orchestrator = worker - cluster->worker_count;
  if (orchestrator < 0) {
    return td_format(path, bytes, "cluster.pools.[%" PRId32 "].failures", cluster->workers[worker].pool_index);
  }
  const struct td_cfg_orchestrator *first = cluster->experiment->cluster.orchestrators.pools.items;
  return td_format(path, bytes, "cluster.orchestrators.pools.[%d].failures",
                   (int)(cluster->orchestrators[orchestrator].pool - first));
}

/* Whose failures to name: the orchestrators' where only calls are under way, and of these whose come most often. */
static int32_t least_reliable(const struct fleet *fleet) {
  bool steps = worker_queue_time(&fleet->ends) != INT64_MAX, calls = fleet->tools && fleet_tools_pending(fleet);
  int32_t worst = worker_queue_first(&fleet->outages->due), first = calls && !steps ? fleet->cluster->worker_count : 0;
  double least_s = INFINITY;
  for (int32_t i = first; i < machines_of(fleet->cluster); i++) {
    const struct td_cfg_failures *failures = failures_of(fleet->cluster, i);
    double cycle_s = failures->mean_time_between + failures->mean_time_to_repair;
    if (!(failures->mean_time_between > 0) || cycle_s >= least_s) continue;
    least_s = cycle_s;
    worst = i;
  }
  return worst;
}

static td_status too_often(const struct fleet *fleet) {
  int32_t worker = least_reliable(fleet);
  const struct td_cfg_failures *failures = failures_of(fleet->cluster, worker);
  bool serves = worker < fleet->cluster->worker_count;
  char path[96];
  TD_TRY(key_of_failures(fleet->cluster, worker, path, sizeof path));
  return td_config_fail(fleet->cluster->config, path,
                        "found %g s between failures and %g s to repair, expected more: at %.6f s %s have failed "
                        "and come back %" PRId64 " times since anything else happened",
                        failures->mean_time_between, failures->mean_time_to_repair, td_seconds(fleet->now_ps),
                        serves ? "workers" : "orchestrators", fleet->outages->between);
}

td_status fleet_outage(struct fleet *fleet) {
  struct fleet_outages *outages = fleet->outages;
  int64_t most = MOST_BETWEEN + (int64_t)MOST_OF_EACH * machines_of(fleet->cluster);
  if (outages->between == most / 2) {
    for (int32_t i = 0; i < fleet->cluster->worker_count; i++) TD_TRY(fleet_interrupt(fleet, i));
  }
  if (outages->between > most) return too_often(fleet);
  while (worker_queue_time(&outages->due) == fleet->now_ps) {
    int32_t worker = worker_queue_first(&outages->due);
    struct worker_outages *own = &outages->workers[worker];
    int64_t until = begin_due(fleet, worker);
    fleet->summary->events++;
    outages->alone++;
    if (until) {
      TD_TRY(go_down(fleet, worker, until));
    } else if (own->down && own->until_ps == fleet->now_ps) {
      TD_TRY(come_back(fleet, worker));
    }
    set_due(outages, worker);
  }
  return TD_OK;
}

void fleet_outages_count(struct fleet *fleet) {
  for (int32_t i = 0; i < machines_of(fleet->cluster); i++) {
    if (fleet->outages->workers[i].down) count_down(fleet, i);
  }
}
