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
  const char *sets[64];             /* of the config */
  int32_t set_count;
  const char *batch, *context, *in_flight, *draft, *acceptance, *against;
  bool ranges, sensitivity, json;
};
/* Whether the command line is about steps on LPUs: a config comes first, or there is a --context or --model. */
bool price_lpu_is_asked(int argc, char **argv);
td_status price_lpu(int argc, char **argv);
td_status price_lpu_steps(const struct price_lpu_options *options);
/* What `tandem price --help` says of it. */
#define PRICE_LPU_HELP                                                                                              \
  "steps on LPUs (docs/lpu.md, Prices): CONFIG --context N,... or --model M --device D --context N,...\n"           \
  "  CONFIG            its first pool of backend lpu, or modelled with a group lpu (--pool NAME: that one)\n"       \
  "    --set PATH=VALUE  overrides a config key; may be repeated\n"                                                 \
  "  --model M --device D [--lpu KEY=VALUE,...]  without a config; keys as in the group lpu\n"                      \
  "  --batch N,...     sequences of a step (1)\n"                                                                   \
  "  --context N,...   tokens of each of them, the step's with them\n"                                              \
  "  --in-flight N,... batches that take turns on the stages (1); or full, alone: as many as fill them\n"           \
  "  --draft K --acceptance A  also passes that verify K proposed tokens, each accepted with probability A\n"       \
  "  --ranges          compiles at the fast and the slow ends of what is not published: the interval of each row\n" \
  "    --against SECONDS  says whether a published time of a step is inside\n"                                      \
  "  --sensitivity     at both ends of each of them, for the last row: as tandem lpu compile --sensitivity\n"       \
  "  --json            one JSON object\n"

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
