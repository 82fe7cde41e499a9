/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy `mixed`: three pools. Prompts go to the prefill pool and outputs to the decode pool; workers of role both take
 * what overflows from either, each phase for itself, and serve both at once when both do.
 */
#include "tandem/policy.h"

#include <math.h>

#include "tandem/experiment.h"

enum { BOTH = 1u << TD_ROLE_BOTH, PREFILL = 1u << TD_ROLE_PREFILL, DECODE = 1u << TD_ROLE_DECODE };

static td_status check(const struct td_cluster_view *cluster) {
  return td_policy_needs(cluster, "mixed", BOTH | PREFILL | DECODE);
}

/* A full queue overflows, but not to somebody with a longer one. */
static int32_t prefill_worker(const struct td_cluster_view *cluster, int64_t blocks) {
  int32_t own = td_policy_least_work(cluster, PREFILL, blocks);
  if (own >= 0 && cluster->workers[own].waiting_tokens <= cluster->options->threshold_tokens) return own;
  int32_t other = td_policy_least_work(cluster, BOTH, blocks);
  if (own < 0 || other < 0) return own < 0 ? other : own;
  return cluster->workers[other].waiting_tokens < cluster->workers[own].waiting_tokens ? other : own;
}

static enum td_verdict route(const struct td_cluster_view *cluster, const struct td_request_view *request,
                             struct td_step_plan *out_plan) {
  int32_t prefill = prefill_worker(cluster, request->prefill_blocks);
  int32_t decode = td_policy_least_work(cluster, DECODE, request->decode_blocks);
  int32_t both = td_policy_least_work(cluster, BOTH, request->decode_blocks);
  if (prefill < 0) return TD_WAIT;
  bool overflows = cluster->workers[prefill].role == TD_ROLE_BOTH;
  if (decode < 0 && both < 0) return TD_WAIT;
  if (decode < 0 && overflows) {
    *out_plan = td_plan_whole(both, cluster->whole); /* the one with room for all of it */
  } else {
    *out_plan = td_plan_split(prefill, decode < 0 ? both : decode, cluster->whole);
  }
  return TD_ROUTE;
}

static const struct td_policy_option options[] = {
    {"threshold_tokens", NAN,
     "a prompt overflows when more tokens than these wait even on the prefill worker with the fewest"},
    {.name = NULL}};

const struct td_policy td_policy_mixed = {
    .size = sizeof(struct td_policy),
    .name = "mixed",
    .summary = "a prefill pool, a decode pool, and a pool with role both that takes what overflows from either",
    .help =
        "A prompt overflows when the prefill pool has no room or too long queues, an output when the decode pool "
        "has no room. Requests of which both do stay where they are, without a hand-off. The mixed pool of "
        "Splitwise (Patel et al., ISCA 2024), with pools that do not change.",
    .options = options,
    .sends = {[TD_ROLE_PREFILL] = BOTH | DECODE, [TD_ROLE_BOTH] = DECODE},
    .check = check,
    .route = route,
};
