/* SPDX-License-Identifier: Apache-2.0
 *
 * Pools of backend lpu, and modelled LPUs: their group `lpu`, and what the machine asks of the KV cache.
 */
#include <string.h>

#include "internal.h"
#include "tandem/devices.h"
#include "tandem/experiment.h"

static bool is_lpu(const struct td_cfg_pool *pool) {
  return strcmp(pool->backend, "lpu") == 0 || strncmp(pool->backend, "lpu:", 4) == 0;
}

static bool is_modelled(const struct td_cfg_pool *pool) {
  return strcmp(pool->backend, "modelled") == 0;
}

static td_status wrong(const struct td_config *config, int32_t pool, const char *key, const char *text) {
  char path[64];
  TD_TRY(td_format(path, sizeof path, "cluster.pools.[%d].%s", pool, key));
  return td_config_fail(config, path, "%s", text);
}

static td_status check_group(const struct td_config *config, int32_t pool, const struct td_cfg_lpu *lpu) {
  enum td_lpu_activations activations = (enum td_lpu_activations)lpu->activations;
  if (td_lpu_check_types(NULL, (enum td_lpu_weights)lpu->weights, activations)) {
    return wrong(config, pool, "lpu.activations",
                 activations == TD_LPU_ACTIVATIONS_F8
                     ? "found fp8 activations beside other weights, expected weights = \"f8\""
                     : "found int8 activations beside other weights, expected weights = \"i8\"");
  }
  if (lpu->latency_bound > 0 && lpu->objective != TD_LPU_THROUGHPUT) {
    return wrong(config, pool, "lpu.latency_bound",
                 "found it without objective = \"throughput\", expected it with that");
  }
  if (*lpu->emulate_on) return TD_OK;
  return wrong(config, pool, "lpu.emulate_on", "found \"\", expected \"step\" or a device");
}

/* KV blocks are what the matrix planes install. */
static td_status check_blocks(const struct td_config *config, const struct td_cfg_engine *engine,
                              const struct td_lpu_machine *machine) {
  int64_t block = engine->block_tokens;
  if (block % machine->load_vectors || block > machine->lanes) {
    return td_config_fail(config, "engine.block_tokens",
                          "found %d, expected a multiple of %d up to %d: the KV blocks of %s", (int)block,
                          machine->load_vectors, machine->lanes, machine->name);
  }
  if (engine->kv_dtype == 1) return TD_OK;
  return td_config_fail(config, "engine.kv_dtype",
                        "found \"f32\", expected \"f16\": a pool of backend lpu keeps KV so");
}

static td_status check_fp8(const struct td_config *config, int32_t pool, const struct td_cfg_lpu *lpu,
                           const struct td_lpu_machine *machine) {
  if (lpu->weights != TD_LPU_WEIGHTS_F8 || machine->fp8) return TD_OK;
  char path[64];
  TD_TRY(td_format(path, sizeof path, "cluster.pools.[%d].lpu.weights", pool));
  return td_config_fail(config, path, "found \"f8\", expected \"f16\" or \"i8\": %s has no FP8", machine->name);
}

static td_status check_machine(const struct td_config *config, int32_t pool, const char *device,
                               const struct td_cfg_engine *engine, const struct td_cfg_lpu *lpu) {
  struct td_device_params *params = NULL;
  if (!*device) return wrong(config, pool, "device", "found none, expected a device file of kind lpu");
  TD_TRY(td_device_params_open(device, &params));
  const struct td_lpu_machine *machine = td_lpu_machine_of(params);
  td_status status = machine ? check_blocks(config, engine, machine)
                             : wrong(config, pool, "device", "found a device file of another kind, expected kind lpu");
  if (!status) status = check_fp8(config, pool, lpu, machine);
  td_device_params_close(params);
  return status;
}

/* Of a modelled pool: a device file that cannot be read is reported with the cluster's others. */
static td_status check_modelled(const struct td_config *config, int32_t index, const struct td_cfg_pool *pool,
                                const struct td_cfg_engine *engine, bool given) {
  struct td_device_params *params = NULL;
  if (!*pool->device || td_device_params_open(pool->device, &params)) return TD_OK;
  const struct td_lpu_machine *machine = td_lpu_machine_of(params);
  td_status status = machine ? check_blocks(config, engine, machine) : TD_OK;
  if (machine && !status) status = check_fp8(config, index, &pool->lpu, machine);
  if (!machine && given) {
    status = wrong(config, index, "lpu", "found this group beside a device of another kind, expected one of kind lpu");
  }
  td_device_params_close(params);
  return status;
}

td_status td_cfg_check_lpu(const struct td_config *config, const struct td_experiment *experiment, int32_t index) {
  const struct td_cfg_pool *pool = (const struct td_cfg_pool *)experiment->cluster.pools.items + index;
  bool given = pool->lpu.emulate_on != NULL;
  if (given && !is_lpu(pool) && !is_modelled(pool)) {
    return wrong(config, index, "lpu", "found this group, expected it with backend lpu only, or a modelled LPU");
  }
  if (given) TD_TRY(check_group(config, index, &pool->lpu));
  if (is_modelled(pool)) return check_modelled(config, index, pool, &experiment->engine, given);
  return is_lpu(pool) ? check_machine(config, index, pool->device, &experiment->engine, &pool->lpu) : TD_OK;
}

struct td_lpu_choice td_experiment_lpu(const struct td_cfg_pool *pool) {
  const struct td_cfg_lpu *lpu = &pool->lpu;
  return (struct td_lpu_choice){.chips = (int32_t)lpu->chips,
                                .tensor = (int32_t)lpu->tensor,
                                .objective = (enum td_lpu_objective)lpu->objective,
                                .latency_bound = lpu->latency_bound,
                                .weights = (enum td_lpu_weights)lpu->weights,
                                .activations = (enum td_lpu_activations)lpu->activations,
                                .rows = (int32_t)lpu->rows,
                                .context = (int32_t)lpu->context,
                                .expert_parts = (int32_t)lpu->expert_parts,
                                .expert_rows = (int32_t)lpu->expert_rows,
                                .expert_routed = (int32_t)lpu->expert_routed,
                                .emulate_on = lpu->emulate_on};
}
