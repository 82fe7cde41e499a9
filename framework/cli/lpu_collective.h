/* SPDX-License-Identifier: Apache-2.0
 *
 * tandem lpu collective, tandem lpu reach: what a system's wiring does, without a model.
 */
#ifndef TD_CLI_LPU_COLLECTIVE_H
#define TD_CLI_LPU_COLLECTIVE_H

#include "tandem/lpu.h"
#include "tandem/lpu_collective.h"

/* Both parse their own words: argv[0] is "lpu", argv[1] the action. */
td_status lpu_collective_command(int argc, char **argv);
td_status lpu_reach_command(int argc, char **argv);

/* Cycles of a collective's program. */
td_status lpu_collective_length(const struct td_lpu_machine *machine, const struct td_lpu_collective *what,
                                struct td_lpu_counts *out_counts, double *out_busy);

/* A message, compiled in each way that it can go. */
struct lpu_message {
  int64_t bytes;
  int64_t cycles[TD_LPU_COLLECTIVE_WAYS]; /* 0: not in this way */
  double busy[TD_LPU_COLLECTIVE_WAYS];    /* share of the wired links' time */
  enum td_lpu_collective_way best;
  double seconds, algorithm, bus; /* of the best; B/s */
};
/* The curve of bandwidth over size, as a picture. */
td_status lpu_collective_picture(const char *path, const char *title, const struct lpu_message *messages,
                                 int32_t count);

#endif
