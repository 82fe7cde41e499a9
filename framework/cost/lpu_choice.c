/* SPDX-License-Identifier: Apache-2.0
 *
 * From what a config says and the KV cache that is there to what the compiler is asked.
 */
#include "tandem/base.h"
#include "tandem/lpu.h"

const char *td_lpu_weights_name(enum td_lpu_weights weights) {
  static const char *const names[TD_LPU_WEIGHTS_COUNT] = {"f16", "i8", "f8"};
  return weights >= 0 && weights < TD_LPU_WEIGHTS_COUNT ? names[weights] : "?";
}

const char *td_lpu_activations_name(enum td_lpu_activations activations) {
  static const char *const names[TD_LPU_ACTIVATIONS_COUNT] = {"f16", "i8", "i8x2", "f8"};
  return activations >= 0 && activations < TD_LPU_ACTIVATIONS_COUNT ? names[activations] : "?";
}

td_status td_lpu_check_types(const struct td_lpu_machine *machine, enum td_lpu_weights weights,
                             enum td_lpu_activations activations) {
  if (machine && !machine->fp8 && weights == TD_LPU_WEIGHTS_F8) {
    return td_fail(TD_UNSUPPORTED,
                   "lpu.weights: found f8, but %s has no FP8 (fp8 = 0 in its device file), expected "
                   "f16 or i8",
                   machine->name);
  }
  enum td_lpu_weights expected = activations == TD_LPU_ACTIVATIONS_F8 ? TD_LPU_WEIGHTS_F8 : TD_LPU_WEIGHTS_I8;
  if (activations == TD_LPU_ACTIVATIONS_F16 || weights == expected) return TD_OK;
  return td_fail(TD_CONFIG, "lpu.activations: found %s with %s weights, expected %s weights",
                 td_lpu_activations_name(activations), td_lpu_weights_name(weights), td_lpu_weights_name(expected));
}

struct td_lpu_options td_lpu_choice_options(const struct td_lpu_choice *choice, const struct td_shape *shape,
                                            int32_t block_tokens, int32_t kv_blocks) {
  int64_t context = choice->context ? choice->context : shape->context, held = (int64_t)kv_blocks * block_tokens;
  int64_t rows = choice->rows ? choice->rows : 1, blocks = kv_blocks;
  if (blocks && !choice->context && held < context) context = held;
  if (!blocks) blocks = (context + block_tokens - 1) / block_tokens * rows;
  /* INT32_MAX: more than any machine has words for, which the compiler refuses */
  return (struct td_lpu_options){.weights = choice->weights,
                                 .activations = choice->activations,
                                 .chips = choice->chips,
                                 .tensor = choice->tensor,
                                 .objective = choice->objective,
                                 .latency_bound = choice->latency_bound,
                                 .rows = (int32_t)rows,
                                 .block_tokens = block_tokens,
                                 .kv_blocks = blocks < INT32_MAX ? (int32_t)blocks : INT32_MAX,
                                 .context = (int32_t)context,
                                 .expert_parts = choice->expert_parts,
                                 .expert_rows = choice->expert_rows,
                                 .expert_routed = choice->expert_routed};
}
