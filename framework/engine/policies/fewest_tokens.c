/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy `fewest_tokens`: colocated, and a request joins the worker with the fewest tokens to come in its next steps:
 * those of prompts that wait there, and one for each request. `colocated` looks at requests only where as many tokens
 * wait.
 */
#include "tandem/experiment.h"
#include "tandem/policy.h"

static td_status check(const struct td_cluster_view *cluster) {
  return td_policy_needs(cluster, "fewest_tokens", 1u << TD_ROLE_BOTH);
}

static enum td_verdict route(const struct td_cluster_view *cluster, const struct td_request_view *request,
                             struct td_step_plan *out_plan) {
  int32_t best = -1;
  int64_t fewest = 0;
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    const struct td_worker_view *worker = &cluster->workers[i];
    int64_t tokens = worker->waiting_tokens + worker->active;
    if (worker->role != TD_ROLE_BOTH || worker->free_sequences < 1) continue;
    if (worker->free_blocks < request->decode_blocks || (best >= 0 && tokens >= fewest)) continue;
    best = i;
    fewest = tokens;
  }
  if (best < 0) return TD_WAIT;
  *out_plan = td_plan_whole(best, cluster->whole);
  return TD_ROUTE;
}

const struct td_policy td_policy_fewest_tokens = {
    .size = sizeof(struct td_policy),
    .name = "fewest_tokens",
    .summary = "prefill and decode on the same worker, that with the fewest prompt tokens and requests, summed",
    .help =
        "A request counts as one token beside those of its prompt that are not computed yet. How the baselines of "
        "Splitwise (Patel et al., ISCA 2024) route in its simulator.",
    .check = check,
    .route = route,
};
