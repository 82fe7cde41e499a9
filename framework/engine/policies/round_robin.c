/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy `round_robin`: workers in turn, whatever they have to do; who has no room is passed over.
 */
#include "tandem/policy.h"

#include "tandem/experiment.h"

enum { BOTH = 1u << TD_ROLE_BOTH, PREFILL = 1u << TD_ROLE_PREFILL, DECODE = 1u << TD_ROLE_DECODE };

struct turns {
  int32_t both, prefill, decode; /* who is next */
};

static td_status check(const struct td_cluster_view *cluster) {
  return td_policy_needs_any(cluster, "round_robin");
}

static enum td_verdict route(const struct td_cluster_view *cluster, const struct td_request_view *request,
                             struct td_step_plan *out_plan) {
  struct turns *turns = cluster->state;
  int32_t both = td_policy_next(cluster, BOTH, request->decode_blocks, turns->both);
  if (both >= 0) {
    turns->both = (both + 1) % cluster->worker_count;
    *out_plan = td_plan_whole(both, cluster->whole);
    return TD_ROUTE;
  }
  int32_t prefill = td_policy_next(cluster, PREFILL, request->prefill_blocks, turns->prefill);
  int32_t decode = prefill < 0 ? -1 : td_policy_next(cluster, DECODE, request->decode_blocks, turns->decode);
  if (decode < 0) return TD_WAIT;
  turns->prefill = (prefill + 1) % cluster->worker_count;
  turns->decode = (decode + 1) % cluster->worker_count;
  *out_plan = td_plan_split(prefill, decode, cluster->whole);
  return TD_ROUTE;
}

const struct td_policy td_policy_round_robin = {
    .size = sizeof(struct td_policy),
    .name = "round_robin",
    .summary = "each worker in turn, for prefill and decode together or for each of them",
    .help =
        "Workers take turns whatever they have to do; one without a free place or the KV blocks is passed over. "
        "Requests "
        "run on workers of role both, and when none has room split over the other two roles.",
    .state_bytes = sizeof(struct turns),
    .check = check,
    .route = route,
};
