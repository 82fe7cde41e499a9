/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy `round_robin`: workers in turn, whatever they have to do; who has no room is passed over.
 */
#include "tandem/policy.h"

#include "tandem/experiment.h"

enum { BOTH = 1u << TD_ROLE_BOTH, PREFILL = 1u << TD_ROLE_PREFILL, DECODE = 1u << TD_ROLE_DECODE };

struct turns {
  int32_t both, prefill, decode; /* who is next */
  bool looked, any_both;         /* is there a worker of role both? In a large fleet looking for each request is slow */
};

static td_status check(const struct td_cluster_view *cluster) {
  return td_policy_needs_any(cluster, "round_robin");
}

/* The first worker from `from` on, around the end, with the role and the room; -1: none. */
static int32_t next_worker(const struct td_cluster_view *cluster, uint32_t role, int32_t from, int64_t blocks) {
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    int32_t at = from + i < cluster->worker_count ? from + i : from + i - cluster->worker_count;
    const struct td_worker_view *worker = &cluster->workers[at];
    if (role & 1u << worker->role && worker->free_blocks >= blocks && worker->free_sequences > 0) return at;
  }
  return -1;
}

static enum td_verdict route(const struct td_cluster_view *cluster, const struct td_request_view *request,
                             struct td_step_plan *out_plan) {
  struct turns *turns = cluster->state;
  if (!turns->looked) turns->any_both = td_policy_has_role(cluster, BOTH);
  turns->looked = true;
  int32_t both = turns->any_both ? next_worker(cluster, BOTH, turns->both, request->decode_blocks) : -1;
  if (both >= 0) {
    turns->both = (both + 1) % cluster->worker_count;
    *out_plan = td_plan_whole(both, cluster->whole);
    return TD_ROUTE;
  }
  int32_t prefill = next_worker(cluster, PREFILL, turns->prefill, request->prefill_blocks);
  int32_t decode = prefill < 0 ? -1 : next_worker(cluster, DECODE, turns->decode, request->decode_blocks);
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
