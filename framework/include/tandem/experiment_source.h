/* SPDX-License-Identifier: Apache-2.0
 *
 * workload.source of an experiment config: a trace or a generator of requests. The option table is
 * framework/config/experiment_source.c; tandem/workload.h gives the jobs.
 */
#ifndef TANDEM_EXPERIMENT_SOURCE_H
#define TANDEM_EXPERIMENT_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "tandem/config.h"

enum td_source_format {
  TD_SOURCE_GENERATED, /* no file: lengths by law */
  TD_SOURCE_AZURE,
  TD_SOURCE_BURSTGPT,
  TD_SOURCE_VIDUR,
  TD_SOURCE_SPLITWISE,
  TD_SOURCE_MOONCAKE,
  TD_SOURCE_BLIS,
  TD_SOURCE_SHAREGPT,
  TD_SOURCE_APEX,
  TD_SOURCE_SESSIONS,
  TD_SOURCE_LENGTHS,
  TD_SOURCE_FORMATS
};
enum td_arrivals {
  TD_ARRIVALS_TRACE,
  TD_ARRIVALS_POISSON,
  TD_ARRIVALS_GAMMA,
  TD_ARRIVALS_CONSTANT,
  TD_ARRIVALS_CLOSED
};
enum td_law { TD_LAW_TRACE, TD_LAW_CONSTANT, TD_LAW_UNIFORM, TD_LAW_LOGNORMAL, TD_LAW_EMPIRICAL };
enum td_think { TD_THINK_CONSTANT, TD_THINK_EXPONENTIAL };

struct td_cfg_lengths {
  int law; /* enum td_law; TD_LAW_TRACE also when the group is absent */
  double mean, cv;
  int64_t low, high;
  const char *file;
};
struct td_cfg_prefix {
  int64_t tokens, choices;
  double skew, share;
};
struct td_cfg_tier {
  double weight;
};
struct td_cfg_source {
  int format; /* enum td_source_format */
  const char *file, *header;
  int arrivals;    /* enum td_arrivals */
  double rate, cv; /* requests/s; of the gaps */
  int64_t users;
  double think; /* s */
  int think_law;
  double ramp;                      /* s */
  double scale;                     /* of the trace's times */
  double begin, end;                /* s, of the trace's times; end 0: none */
  double duration;                  /* s; 0: none */
  int64_t requests;                 /* 0: all */
  bool repeat, draw;                /* begin the file again; take rows at random */
  bool skip_failed;                 /* drop rows without output */
  int64_t least_output;             /* shorter outputs are lengthened to it */
  int64_t most_prompt, most_output; /* longer ones are cut to it; 0: none */
  int64_t block_tokens;             /* of a block of prefix hashes */
  struct td_cfg_lengths prompt, output;
  struct td_list prefixes; /* struct td_cfg_prefix, from the root of the tree */
  struct td_list tiers;    /* struct td_cfg_tier */
};

static inline bool td_source_given(const struct td_cfg_source *source) {
  return source->file != NULL;
}

#endif
