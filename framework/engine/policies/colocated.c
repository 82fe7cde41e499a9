/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy `colocated`: prefill and decode on the same worker, the one with the least work. To write your own: copy this
 * file to NAME.c in this folder, replace `colocated` by NAME, build, and set engine.policy = "NAME".
 */
#include "tandem/policy.h"

#include "tandem/experiment.h"

enum { ROLES = 1u << TD_ROLE_BOTH };

static td_status check(const struct td_cluster_view *cluster) {
  if (td_policy_has_role(cluster, ROLES)) return TD_OK;
  return td_fail(TD_CONFIG, "policy colocated: found no pool with role \"both\", expected one");
}

static enum td_verdict route(const struct td_cluster_view *cluster, const struct td_request_view *request,
                             struct td_step_plan *out_plan) {
  int32_t worker = td_policy_least_work(cluster, ROLES, request->decode_blocks);
  if (worker < 0) return TD_WAIT;
  *out_plan = td_plan_whole(worker, cluster->whole);
  return TD_ROUTE;
}

const struct td_policy td_policy_colocated = {
    .size = sizeof(struct td_policy),
    .name = "colocated",
    .summary = "prefill and decode on one worker of a pool with role both, least work first",
    .check = check,
    .route = route,
};
