/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy `disaggregated`: prefill on the prefill worker with the least work, decode on the decode worker with the least
 * work; both are chosen, and their KV blocks taken, when the request is admitted, so that a finished prefill never
 * waits for a place to go.
 */
#include "tandem/policy.h"

#include "tandem/experiment.h"

enum { PREFILL = 1u << TD_ROLE_PREFILL, DECODE = 1u << TD_ROLE_DECODE };

static td_status check(const struct td_cluster_view *cluster) {
  return td_policy_needs(cluster, "disaggregated", PREFILL | DECODE);
}

const struct td_policy td_policy_disaggregated = {
    .size = sizeof(struct td_policy),
    .name = "disaggregated",
    .summary = "prefill on a pool with role prefill, decode on one with role decode, least work first",
    .help =
        "Both workers are chosen, and their KV blocks taken, when the request is admitted, so KV can leave layer by "
        "layer and a finished prefill never waits for a place to go.",
    .check = check,
    .route = td_policy_route_split,
};
