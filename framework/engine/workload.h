/* SPDX-License-Identifier: Apache-2.0
 *
 * The requests of a run, from the config: names, prompt ids, lengths, arrivals. Every rank builds the same list.
 */
#ifndef ENGINE_WORKLOAD_H
#define ENGINE_WORKLOAD_H

#include "tandem/experiment.h"

struct job {
  char name[32];
  int32_t *ids; /* [prompt_tokens] */
  int64_t prompt_tokens, max_tokens;
  int64_t arrival_ps;
};
struct workload {
  struct job *jobs; /* in config order: a request's number is its place here */
  int64_t count;
  int64_t longest_prompt, longest_total; /* positions: prompt, prompt + output - 1 */
};

/* An encoder reads a prompt in one step and gives one result for it, which takes no position. */
static inline bool shape_encodes(const struct td_shape *shape) {
  return shape->arch == TD_ARCH_BERT;
}

/* TD_CONFIG with file:line for a request that cannot be: no tokenizer for its text, longer than the context,
 * more than one output of an encoder. `exact`
 * false: a plain text is taken for as many tokens as it has bytes, which is never too few and spares building the
 * tokenizer's tables; such a workload says whether requests fit and has no ids. */
td_status workload_open(const struct td_config *config, const struct td_experiment *experiment,
                        const struct td_model *model, bool exact, struct workload *out_workload);
void workload_close(struct workload *workload);

#endif
