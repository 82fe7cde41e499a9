/* SPDX-License-Identifier: Apache-2.0
 *
 * From what a config says and the KV cache that is there to what the compiler is asked.
 */
#include "tandem/lpu.h"

struct td_lpu_options td_lpu_choice_options(const struct td_lpu_choice *choice, const struct td_shape *shape,
                                            int32_t block_tokens, int32_t kv_blocks) {
  int64_t context = choice->context ? choice->context : shape->context, held = (int64_t)kv_blocks * block_tokens;
  int64_t rows = choice->rows ? choice->rows : 1, blocks = kv_blocks;
  if (blocks && !choice->context && held < context) context = held;
  if (!blocks) blocks = (context + block_tokens - 1) / block_tokens * rows;
  return (struct td_lpu_options){.weights = choice->weights,
                                 .activations = choice->activations,
                                 .chips = choice->chips,
                                 .tensor = choice->tensor,
                                 .rows = (int32_t)rows,
                                 .block_tokens = block_tokens,
                                 .kv_blocks = blocks < INT32_MAX ? (int32_t)blocks : INT32_MAX,
                                 .context = (int32_t)context,
                                 .expert_parts = choice->expert_parts,
                                 .expert_rows = choice->expert_rows,
                                 .expert_routed = choice->expert_routed};
}
