/* SPDX-License-Identifier: Apache-2.0
 *
 * The cluster's orchestrators: machines whose cores run tool calls.
 */
#include "cluster_tools.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "tandem/base.h"

enum { MACHINES_MAX = 100000 };

static const struct td_cfg_orchestrators *config_of(const struct cluster *cluster) {
  return &cluster->experiment->cluster.orchestrators;
}

static td_status fail_pool(const struct cluster *cluster, int32_t pool, const char *key, const char *text) {
  char path[80];
  TD_TRY(td_format(path, sizeof path, "cluster.orchestrators.pools.[%" PRId32 "].%s", pool, key));
  return td_config_fail(cluster->config, path, "%s", text);
}

/* A core's share: of what the config says, by the cores that it says; of a device file's watts, by all of the device's
 * cores, if more. */
static double core_watts(double given, const struct td_quantity *of_file, int32_t cores, double file_cores) {
  if (!isnan(given)) return given / cores;
  if (!of_file->present) return (double)NAN;
  return of_file->value / (file_cores > cores ? file_cores : cores);
}

/* What machines of a pool have alike. */
static td_status describe(const struct cluster *cluster, int32_t index, struct cluster_orchestrator *out) {
  static const struct td_device_params nothing = {0};
  const struct td_cfg_orchestrator *pool = (const struct td_cfg_orchestrator *)config_of(cluster)->pools.items + index;
  const struct td_device_params *params = cluster->orchestrator_params[index];
  const struct td_device_params *file = params ? params : &nothing;
  double file_cores = file->multiprocessors.present ? file->multiprocessors.value : 0;
  if (!pool->cores && !(file_cores >= 1 && file_cores <= 65536)) {
    return fail_pool(cluster, index, "cores", "found 0, expected 1..65536: the device file does not say how many");
  }
  *out = (struct cluster_orchestrator){
      .pool = pool, .params = params, .cores = (int32_t)(pool->cores ? pool->cores : (int64_t)file_cores)};
  out->core_busy = core_watts(pool->power_busy, &file->power_busy, out->cores, file_cores);
  out->core_idle = core_watts(pool->power_idle, &file->power_idle, out->cores, file_cores);
  if (out->core_busy < out->core_idle) {
    return fail_pool(cluster, index, "power_busy", "found less than power_idle, expected as much or more");
  }
  if (config_of(cluster)->call_cores <= out->cores) return TD_OK;
  return td_config_fail(cluster->config, "cluster.orchestrators.call_cores",
                        "found %" PRId64 ", expected at most the %" PRId32 " cores of each machine of pool \"%s\"",
                        config_of(cluster)->call_cores, out->cores, pool->name);
}

static td_status add_machines(struct cluster *cluster, int32_t index) {
  const struct td_cfg_orchestrator *pool = (const struct td_cfg_orchestrator *)config_of(cluster)->pools.items + index;
  struct cluster_orchestrator machine;
  if (*pool->device) TD_TRY(td_device_params_open(pool->device, &cluster->orchestrator_params[index]));
  TD_TRY(describe(cluster, index, &machine));
  for (int64_t i = 0; i < pool->count; i++) {
    if (td_format(machine.name, sizeof machine.name, "%s.%" PRId64, pool->name, i)) {
      return fail_pool(cluster, index, "name", td_error_text());
    }
    cluster->orchestrators[cluster->orchestrator_count++] = machine;
  }
  return TD_OK;
}

td_status cluster_open_orchestrators(struct cluster *cluster) {
  const struct td_list *pools = &config_of(cluster)->pools;
  int64_t count = 0;
  for (int32_t i = 0; i < pools->count; i++) count += ((const struct td_cfg_orchestrator *)pools->items)[i].count;
  if (!count) return TD_OK;
  if (count > MACHINES_MAX) {
    return td_config_fail(cluster->config, "cluster.orchestrators.pools",
                          "found %" PRId64 " machines, expected at most %d", count, MACHINES_MAX);
  }
  cluster->orchestrator_pools = pools->count;
  TD_TRY(td_alloc((size_t)pools->count, sizeof(void *), (void **)&cluster->orchestrator_params));
  TD_TRY(td_alloc((size_t)count, sizeof *cluster->orchestrators, (void **)&cluster->orchestrators));
  for (int32_t i = 0; i < pools->count; i++) TD_TRY(add_machines(cluster, i));
  return TD_OK;
}

void cluster_close_orchestrators(struct cluster *cluster) {
  for (int32_t i = 0; cluster->orchestrator_params && i < cluster->orchestrator_pools; i++) {
    td_device_params_close(cluster->orchestrator_params[i]);
  }
  free(cluster->orchestrator_params);
  free(cluster->orchestrators);
}
