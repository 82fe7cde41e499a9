/* SPDX-License-Identifier: Apache-2.0
 *
 * Trying mutants on the checker, and printing what came of it.
 */
#ifndef TESTS_LPU_MUTANTS_TRY_H
#define TESTS_LPU_MUTANTS_TRY_H

#include "lpu/mutants.h"

struct mutant_tally {
  int32_t made, named;
};
/* At most `most` mutants of a rule, spread over the program; prints those that are not named, a few. */
struct mutant_tally mutant_try_rule(const struct td_lpu_program *program, const struct td_lpu_step *step,
                                    enum td_lpu_rule rule, int32_t most);
/* `cases` random changes, from seed `first_seed` on. Each must be rejected by the checker, or leave the outputs and the
 * KV cache as they were, for a reason; gives how many do neither. `sram`: what the step starts from, or NULL: what the
 * program's data say. Prints what changed nothing, by reason and field. */
int32_t mutant_try_random(const struct td_lpu_program *program, const struct td_lpu_step *step, const uint8_t *sram,
                          uint32_t first_seed, int32_t cases);

#endif
