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
  if (!td_policy_has_role(cluster, PREFILL)) {
    return td_fail(TD_CONFIG, "policy disaggregated: found no pool with role \"prefill\", expected one");
  }
  if (!td_policy_has_role(cluster, DECODE)) {
    return td_fail(TD_CONFIG, "policy disaggregated: found no pool with role \"decode\", expected one");
  }
  return TD_OK;
}

static enum td_verdict route(const struct td_cluster_view *cluster, const struct td_request_view *request,
                             struct td_step_plan *out_plan) {
  int32_t prefill = td_policy_least_work(cluster, PREFILL, request->prefill_blocks);
  int32_t decode = td_policy_least_work(cluster, DECODE, request->decode_blocks);
  if (prefill < 0 || decode < 0) return TD_WAIT;
  *out_plan = td_plan_split(prefill, decode, cluster->whole);
  return TD_ROUTE;
}

const struct td_policy td_policy_disaggregated = {
    .size = sizeof(struct td_policy),
    .name = "disaggregated",
    .summary = "prefill on a pool with role prefill, decode on one with role decode, least work first",
    .check = check,
    .route = route,
};
