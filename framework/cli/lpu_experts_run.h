/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem lpu experts`: its flags and what it prints.
 */
#ifndef TD_CLI_LPU_EXPERTS_RUN_H
#define TD_CLI_LPU_EXPERTS_RUN_H

#include "lpu_experts.h"
#include "tandem/experiment.h"

/* As they were given; NULL: not. */
struct lpu_experts_flags {
  const char *zipf, *draws, *seed, *most, *attention, *context;
  bool sensitivity;
};
/* question: machine, graph and options of pool `lpus`; the flags say the rest. */
td_status lpu_experts_run(const struct lpu_experts_flags *flags, const struct td_experiment *experiment, int32_t lpus,
                          const struct lpu_experts_question *question, bool json);

#endif
