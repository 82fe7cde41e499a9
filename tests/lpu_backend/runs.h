/* SPDX-License-Identifier: Apache-2.0
 *
 * Experiments with an LPU behind a prefill, for the tests that run them.
 */
#ifndef TESTS_LPU_BACKEND_RUNS_H
#define TESTS_LPU_BACKEND_RUNS_H

#include "harness.h"

#define WORKLOAD                                                                                              \
  "requests = ({name=\"a\"; prompt_tokens=33; max_tokens=7;},{name=\"b\"; prompt_tokens=155; max_tokens=9;}," \
  "{name=\"c\"; prompt_tokens=1; max_tokens=3;}); stop_at_end=false;"
#define ENGINE "block_tokens = 160; batch_sequences = 1;"
#define DECODE(weights) \
  "{name=\"d\"; role=\"decode\"; backend=\"lpu\"; device=\"groq-lpu-v1\"; lpu={weights=\"" weights "\"; rows=1;};}"
#define PREFILL(backend) "{name=\"p\"; role=\"prefill\"; backend=\"" backend "\"; device=\"xeon-2vcpu\";},"

static inline struct setup setup_of(const char *pools, const char *pace, int ranks) {
  return (struct setup){.pace = pace,
                        .policy = "disaggregated",
                        .pools = pools,
                        .links = LINK_PD,
                        .extra = ENGINE,
                        .workload = WORKLOAD,
                        .kv = "f16",
                        .ranks = ranks,
                        .chunk = 64};
}

#endif
