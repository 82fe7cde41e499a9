/* SPDX-License-Identifier: Apache-2.0
 *
 * Workers of backend lpu, and modelled LPUs: the program that a run would have compiled for them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cluster.h"
#include "tandem/device.h"
#include "tandem/engine.h"

bool cluster_is_lpu(const struct cluster_worker *worker) {
  if (strcmp(worker->backend->name, "lpu") == 0) return true;
  return !worker->backend->executes && worker->params && td_lpu_machine_of(worker->params);
}

struct td_lpu_choice cluster_lpu(const struct cluster *cluster, const struct cluster_worker *worker) {
  struct td_lpu_choice choice = td_experiment_lpu(worker->pool);
  if (cluster_is_lpu(worker)) choice.kv_blocks = (int32_t)worker->kv_blocks;
  if (!choice.context) choice.context = (int32_t)cluster->workload.longest_total;
  return choice;
}

/* Longer requests would fail in the middle of the run; positions beyond the cache cannot be reached. */
static td_status check_context(const struct cluster *cluster, const struct cluster_worker *worker) {
  int64_t context = worker->pool->lpu.context, longest = cluster->workload.longest_total;
  int64_t held = worker->kv_blocks * cluster->experiment->engine.block_tokens;
  char path[64];
  if (!cluster_is_lpu(worker) || !context || (context >= longest && context <= held)) return TD_OK;
  snprintf(path, sizeof path, "cluster.pools.[%d].lpu.context", worker->pool_index);
  return td_config_fail(cluster->config, path,
                        "found %" PRId64 ", expected %" PRId64 " (the longest request) to %" PRId64
                        " (what the KV cache holds, see kv_tokens)",
                        context, longest, held);
}

/* As a worker's own device, what emulates it may be on another rank only. On a modelled LPU nothing does. */
static td_status check_host(const struct cluster *cluster, const struct cluster_worker *worker) {
  const char *spec = worker->pool->lpu.emulate_on;
  const struct td_backend *backend = NULL;
  int32_t index;
  char path[64];
  if (!cluster_is_lpu(worker) || !spec || strcmp(spec, "step") == 0) return TD_OK;
  td_status status = td_device_find(spec, &backend, &index);
  if (status == TD_UNAVAILABLE && cluster->ranks > 1) return TD_OK;
  snprintf(path, sizeof path, "cluster.pools.[%d].lpu.emulate_on", worker->pool_index);
  if (!worker->backend->executes) {
    return td_config_fail(cluster->config, path, "found \"%s\", expected none: backend %s runs nothing", spec,
                          worker->backend->name);
  }
  if (status) return td_config_fail(cluster->config, path, "%s", td_error_text());
  if (backend->executes && !backend->emulates) return TD_OK;
  return td_config_fail(cluster->config, path, "found \"%s\", expected \"step\" or a device that executes", spec);
}

/* What the compiler would refuse too, in words of the config. */
static td_status check_machine(const struct cluster *cluster, const struct cluster_worker *worker) {
  const struct td_lpu_machine *machine = worker->params ? td_lpu_machine_of(worker->params) : NULL;
  char path[64];
  if (!cluster_is_lpu(worker) || !machine) return TD_OK;
  if (machine->system_chips && worker->pool->lpu.chips > machine->system_chips) {
    snprintf(path, sizeof path, "cluster.pools.[%d].lpu.chips", worker->pool_index);
    return td_config_fail(cluster->config, path, "found %" PRId64 ", expected at most the %" PRId32 " of %s",
                          worker->pool->lpu.chips, machine->system_chips, machine->name);
  }
  if (worker->kv_blocks <= machine->mem_words) return TD_OK;
  snprintf(path, sizeof path, "cluster.pools.[%d].kv_tokens", worker->pool_index);
  return td_config_fail(cluster->config, path,
                        "found %" PRId64 " KV blocks of %" PRId64 " positions, expected at most %" PRId32
                        ", the words of a slice of %s",
                        worker->kv_blocks, cluster->experiment->engine.block_tokens, machine->mem_words, machine->name);
}

td_status cluster_check_lpu(const struct cluster *cluster) {
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    TD_TRY(check_machine(cluster, &cluster->workers[i]));
    TD_TRY(check_context(cluster, &cluster->workers[i]));
    TD_TRY(check_host(cluster, &cluster->workers[i]));
  }
  return TD_OK;
}

static td_status options_of(const struct cluster *cluster, int32_t pool, struct td_lpu_options *out_options) {
  int32_t i = 0;
  while (i < cluster->worker_count && cluster->workers[i].pool_index != pool) i++;
  const struct cluster_worker *worker = &cluster->workers[i];
  char path[64];
  snprintf(path, sizeof path, "cluster.pools.[%d].backend", pool);
  if (i == cluster->worker_count || !cluster_is_lpu(worker)) {
    return td_config_fail(cluster->config, path, "found another backend, expected lpu, or modelled on one");
  }
  struct td_lpu_choice choice = cluster_lpu(cluster, worker);
  *out_options = td_lpu_choice_options(&choice, td_model_shape(cluster->model),
                                       (int32_t)cluster->experiment->engine.block_tokens, choice.kv_blocks);
  return TD_OK;
}

td_status td_engine_lpu_options(const struct td_config *config, const struct td_experiment *experiment, int32_t pool,
                                struct td_lpu_options *out_options) {
  struct cluster cluster;
  TD_TRY(cluster_open(config, experiment, 1, true, &cluster));
  td_status status = options_of(&cluster, pool, out_options);
  cluster_close(&cluster);
  return status;
}
