/* SPDX-License-Identifier: Apache-2.0
 *
 * cluster.orchestrators: the machines that run sessions' tool calls.
 */
#include <inttypes.h>
#include <string.h>

#include "internal.h"
#include "options.h"
#include "tandem/base.h"
#include "tandem/devices.h"
#include "tandem/experiment.h"

#define MOST_POOLS 1024

static const struct td_option orchestrator_options[] = {
    TEXT(td_cfg_orchestrator, name, NULL, "the pool's name; its machines are NAME.0, NAME.1, ..."),
    TEXT(td_cfg_orchestrator, device, "",
         "device file of a CPU, for its cores and watts: a name of devices/ or a path; \"\" = none"),
    KEY(td_cfg_orchestrator, count, TD_OPT_INT, "machines", "1", 1, 100000, "machines alike"),
    KEY(td_cfg_orchestrator, cores, TD_OPT_INT, "cores", "0", 0, 65536,
        "cores of each that run calls; 0 = as many as the device file says (multiprocessors)"),
    KEY(td_cfg_orchestrator, speed, TD_OPT_REAL, NULL, "1", 1e-3, 1e3,
        "how fast a core runs tools, over the machine that the workload's tool times were taken on: a call of t takes "
        "t / speed"),
    KEY(td_cfg_orchestrator, power_busy, TD_OPT_REAL, "W", "nan", 0, 1e9,
        "of a machine with all of its cores at calls, by the basis of the device files; nan = the device file's"),
    KEY(td_cfg_orchestrator, power_idle, TD_OPT_REAL, "W", "nan", 0, 1e9,
        "of a machine without calls, likewise; a core takes its share, of the device file's watts by all cores of it"),
    BELOW(td_cfg_orchestrator, failures, TD_OPT_GROUP, "", &td_cfg_failures_group,
          "machines fail by chance; the calls of one that does begin anew, on another if there is one"),
    BELOW(td_cfg_orchestrator, outages, TD_OPT_LIST, "()", &td_cfg_outage_group,
          "failures at given times, beside those by chance; worker = the machine's number in its pool"),
    END};
static const struct td_option_group orchestrator_group = {"a pool of orchestrators", sizeof(struct td_cfg_orchestrator),
                                                          orchestrator_options};

static const struct td_option orchestrators_options[] = {
    BELOW(td_cfg_orchestrators, pools, TD_OPT_LIST, NULL, &orchestrator_group, "the machines, in pools of equal ones"),
    KEY(td_cfg_orchestrators, call_cores, TD_OPT_INT, "cores", "1", 1, 65536, "cores that a tool call takes"),
    KEY(td_cfg_orchestrators, sticky, TD_OPT_BOOL, NULL, "false", 0, 0,
        "a session's calls stay on the machine that took its first; false = each goes to the machine whose cores have "
        "the least asked of them, equals by number"),
    KEY(td_cfg_orchestrators, tokenize, TD_OPT_REAL, "s", "0", 0, 1,
        "time of a core for each token of a prompt, before the request is routed; 0 = none, and no call"),
    KEY(td_cfg_orchestrators, detokenize, TD_OPT_REAL, "s", "0", 0, 1,
        "time of a core for each output token, all of it behind the last one and before the tool is called; 0 = none, "
        "and no call"),
    END};
const struct td_option_group td_cfg_orchestrators_group = {"orchestrators", sizeof(struct td_cfg_orchestrators),
                                                           orchestrators_options};

static td_status wrong(const struct td_config *config, int32_t pool, const char *key, const char *text) {
  char path[96];
  TD_TRY(td_format(path, sizeof path, "cluster.orchestrators.pools.[%" PRId32 "].%s", pool, key));
  return td_config_fail(config, path, "%s", text);
}

/* Names of all pools must differ: tables and traces tell machines by them. */
static td_status check_unique(const struct td_config *config, const struct td_cfg_cluster *cluster, int32_t index) {
  const struct td_cfg_orchestrator *machines = cluster->orchestrators.pools.items;
  const struct td_cfg_pool *pools = cluster->pools.items;
  bool taken = false;
  for (int32_t i = 0; i < cluster->pools.count; i++) taken |= !strcmp(pools[i].name, machines[index].name);
  for (int32_t i = 0; i < index; i++) taken |= !strcmp(machines[i].name, machines[index].name);
  return taken ? wrong(config, index, "name", "found the name of another pool, expected one of its own") : TD_OK;
}

static td_status check_outages(const struct td_config *config, const struct td_cfg_orchestrator *pool, int32_t index) {
  const struct td_cfg_outage *outages = pool->outages.items;
  char key[64];
  for (int32_t i = 0; i < pool->outages.count; i++) {
    if (outages[i].worker < pool->count) continue;
    TD_TRY(td_format(key, sizeof key, "outages.[%" PRId32 "].worker", i));
    return wrong(config, index, key, "found a number that no machine of the pool has, expected one below its count");
  }
  return TD_OK;
}

static td_status check_pool(struct td_config *config, const struct td_cfg_cluster *cluster, int32_t index) {
  struct td_cfg_orchestrator *pool = (struct td_cfg_orchestrator *)cluster->orchestrators.pools.items + index;
  char path[96];
  TD_TRY(td_format(path, sizeof path, "cluster.orchestrators.pools.[%" PRId32 "].name", index));
  TD_TRY(td_cfg_check_pool_name(config, path, pool->name));
  TD_TRY(check_unique(config, cluster, index));
  if (!*pool->device && !pool->cores) {
    return wrong(config, index, "cores", "found neither cores nor a device file, expected one of them");
  }
  if (*pool->device) {
    TD_TRY(td_cfg_check_device(config, "cluster.orchestrators.pools", index, TD_KIND_CHIP, &pool->device));
  }
  return check_outages(config, pool, index);
}

td_status td_cfg_check_orchestrators(struct td_config *config, const struct td_cfg_cluster *cluster) {
  const struct td_list *pools = &cluster->orchestrators.pools;
  if (!cluster->orchestrators.call_cores) return TD_OK; /* the group is absent */
  if (pools->count < 1 || pools->count > MOST_POOLS) {
    return td_config_fail(config, "cluster.orchestrators.pools", "found a list of %" PRId32 ", expected 1..%d pools",
                          pools->count, MOST_POOLS);
  }
  for (int32_t i = 0; i < pools->count; i++) TD_TRY(check_pool(config, cluster, i));
  return TD_OK;
}
