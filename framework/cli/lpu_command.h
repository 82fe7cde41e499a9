/* SPDX-License-Identifier: Apache-2.0
 *
 * Actions of `tandem lpu` that a config is given to, and what they are given beside it.
 */
#ifndef TANDEM_LPU_COMMAND_H
#define TANDEM_LPU_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "lpu_experts_run.h"
#include "tandem/status.h"

enum { LPU_SETS_MAX = 64 };

struct lpu_arguments {
  const char *positionals[2]; /* what to do, with what */
  const char *output, *picture, *pool, *part, *rows, *position, *segment, *against;
  struct lpu_experts_flags experts;
  const char *sets[LPU_SETS_MAX];
  int32_t set_count;
  double published; /* seconds; 0: none */
  bool dump, json, explain, sensitivity;
};

td_status lpu_compile_command(struct lpu_arguments *arguments);
td_status lpu_experts_command(struct lpu_arguments *arguments);

/* Refuses a flag that is given and only other actions take. */
td_status lpu_refuse_flag(const char *action, const char *flag, bool given);
/* Those of experts. */
td_status lpu_refuse_draws(const char *action, const struct lpu_experts_flags *flags);
/* Rows and position of the step that is looked at; `rows` and -1 where none are given. */
td_status lpu_read_step(const struct lpu_arguments *arguments, int32_t rows, int32_t *out_rows, int32_t *out_position);

#endif
