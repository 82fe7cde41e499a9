/* SPDX-License-Identifier: Apache-2.0
 *
 * Pools of backend lpu: their group `lpu`, and what the machine asks of the KV cache.
 */
#include <string.h>

#include "internal.h"
#include "tandem/devices.h"
#include "tandem/experiment.h"

static bool is_lpu(const struct td_cfg_pool *pool) {
  return strcmp(pool->backend, "lpu") == 0 || strncmp(pool->backend, "lpu:", 4) == 0;
}

static td_status wrong(const struct td_config *config, int32_t pool, const char *key, const char *text) {
  char path[64];
  TD_TRY(td_format(path, sizeof path, "cluster.pools.[%d].%s", pool, key));
  return td_config_fail(config, path, "%s", text);
}

static td_status check_group(const struct td_config *config, int32_t pool, const struct td_cfg_lpu *lpu) {
  if (lpu->activations != TD_LPU_ACTIVATIONS_F16 && lpu->weights != TD_LPU_WEIGHTS_I8) {
    return wrong(config, pool, "lpu.activations", "found int8 activations beside weights = \"f16\", expected \"i8\"");
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

static td_status check_machine(const struct td_config *config, int32_t pool, const char *device,
                               const struct td_cfg_engine *engine) {
  struct td_device_params *params = NULL;
  if (!*device) return wrong(config, pool, "device", "found none, expected a device file of kind lpu");
  TD_TRY(td_device_params_open(device, &params));
  const struct td_lpu_machine *machine = td_lpu_machine_of(params);
  td_status status = machine ? check_blocks(config, engine, machine)
                             : wrong(config, pool, "device", "found a device file of another kind, expected kind lpu");
  td_device_params_close(params);
  return status;
}

td_status td_cfg_check_lpu(const struct td_config *config, const struct td_experiment *experiment, int32_t index) {
  const struct td_cfg_pool *pool = (const struct td_cfg_pool *)experiment->cluster.pools.items + index;
  bool given = pool->lpu.emulate_on != NULL;
  if (given && !is_lpu(pool)) return wrong(config, index, "lpu", "found this group, expected it with backend lpu only");
  if (!is_lpu(pool)) return TD_OK;
  if (given) TD_TRY(check_group(config, index, &pool->lpu));
  return check_machine(config, index, pool->device, &experiment->engine);
}

struct td_lpu_choice td_experiment_lpu(const struct td_cfg_pool *pool) {
  const struct td_cfg_lpu *lpu = &pool->lpu;
  return (struct td_lpu_choice){.chips = (int32_t)lpu->chips,
                                .tensor = (int32_t)lpu->tensor,
                                .weights = (enum td_lpu_weights)lpu->weights,
                                .activations = (enum td_lpu_activations)lpu->activations,
                                .rows = (int32_t)lpu->rows,
                                .context = (int32_t)lpu->context,
                                .expert_parts = (int32_t)lpu->expert_parts,
                                .expert_rows = (int32_t)lpu->expert_rows,
                                .expert_routed = (int32_t)lpu->expert_routed,
                                .emulate_on = lpu->emulate_on};
}
