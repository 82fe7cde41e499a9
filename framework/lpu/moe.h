/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to tandem/lpu_moe.h's files: how the tokens of experts are cut into runs and passes.
 */
#ifndef TANDEM_LPU_MOE_PRIVATE_H
#define TANDEM_LPU_MOE_PRIVATE_H

#include <stdint.h>

#include "tandem/lpu_moe.h"

/* For each number of tokens of one expert, up to `most`: the run to begin with for the fewest cycles in all (an index
 * into costs->runs), and the places that all its runs take. */
struct moe_cuts {
  const struct td_moe_costs *costs;
  int32_t most;
  int64_t *cycles;
  int32_t *run, *places;
};
td_status moe_cuts_open(const struct td_moe_costs *costs, int32_t most, struct moe_cuts *out);
void moe_cuts_close(struct moe_cuts *cuts);

/* A run: tokens [first, first + count) of those of an expert, in places `place` and on. */
struct moe_run {
  int32_t pass, expert, run, first, count, place;
};
/* All runs of all experts in order of experts; passes take as many places as there are. */
typedef td_status moe_each(void *context, const struct moe_run *run);
td_status moe_cut(const struct moe_cuts *cuts, const int32_t *loads, int32_t experts, moe_each *each, void *context);

#endif
