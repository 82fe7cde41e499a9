/* SPDX-License-Identifier: Apache-2.0
 *
 * tandem price of a model's steps on LPUs.
 */
#ifndef TD_CLI_PRICE_LPU_H
#define TD_CLI_PRICE_LPU_H

#include "lpu_sensitivity.h"
#include "tandem/lpu_price.h"

/* The command line, as it stands there; NULL: not given. */
struct price_lpu_options {
  const char *config, *pool;        /* a pool of a config, or */
  const char *model, *device, *lpu; /* these */
  const char *const *sets;          /* [set_count] of the config */
  int32_t set_count;
  const char *batch, *context, *in_flight, *draft, *acceptance, *against;
  bool ranges, sensitivity, json;
};
td_status price_lpu(const struct price_lpu_options *options);

/* ---- what is printed ---- */

enum { PRICE_MOST = 32 }; /* of each list */

struct price_list {
  int64_t items[PRICE_MOST];
  int32_t count;
};

/* What is the same for all rows. */
struct price_head {
  const char *model, *device;
  bool encoder; /* a step is one sequence of `context` tokens, which count as one */
  struct td_lpu_options options;
  struct td_lpu_price_facts facts;
  struct price_list batches, contexts, in_flight;
  int32_t draft; /* proposed tokens; 0: none */
  double acceptance, tokens_a_pass;
  bool ranges;
  double published; /* seconds; 0: none */
  struct td_lpu_end_price ends[2];
  struct lpu_sensitivity *sensitivity; /* NULL: not asked */
};

/* Of a pass. */
struct price_pass {
  int32_t rows;
  struct td_lpu_cost cost;
  struct td_lpu_flow flows[PRICE_MOST]; /* one an item of in_flight; tokens are those of the pass's sequences */
};

struct price_row {
  int64_t batch, context;
  int64_t valid_steps;
  int32_t full; /* batches in flight with which the slowest stage never waits */
  struct price_pass step, verify;
  double seconds_low, seconds_high, joules_low, joules_high; /* of a step; NaN where no end was asked or priced */
};

void price_lpu_print(const struct price_head *head, const struct price_row *rows, int32_t count, FILE *out);
void price_lpu_json(const struct price_head *head, const struct price_row *rows, int32_t count, FILE *out);

#endif
