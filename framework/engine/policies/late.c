/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy `late`: the decode worker is chosen when prefill is done, by the load of that moment. Nothing is held on a
 * decode worker while a prompt waits and is computed; in return KV leaves all at once, after prefill.
 */
#include "tandem/policy.h"

#include "tandem/experiment.h"

enum { PREFILL = 1u << TD_ROLE_PREFILL, DECODE = 1u << TD_ROLE_DECODE };

static td_status check(const struct td_cluster_view *cluster) {
  return td_policy_needs(cluster, "late", PREFILL | DECODE);
}

static enum td_verdict route(const struct td_cluster_view *cluster, const struct td_request_view *request,
                             struct td_step_plan *out_plan) {
  int32_t prefill = td_policy_least_work(cluster, PREFILL, request->prefill_blocks);
  if (prefill < 0) return TD_WAIT;
  *out_plan = td_plan_split(prefill, TD_WORKER_LATER, cluster->whole);
  return TD_ROUTE;
}

static int32_t place(const struct td_cluster_view *cluster, const struct td_request_view *request) {
  return td_policy_least_work(cluster, DECODE, request->decode_blocks);
}

const struct td_policy td_policy_late = {
    .size = sizeof(struct td_policy),
    .name = "late",
    .summary =
        "prefill on a pool with role prefill; the decode worker is chosen when prefill is done, least work first",
    .help =
        "Nothing is held on a decode worker while a prompt waits and is computed. In return KV leaves all at once, "
        "and a prompt keeps its prefill worker's KV blocks until somebody has room for it.",
    .check = check,
    .route = route,
    .place = place,
};
