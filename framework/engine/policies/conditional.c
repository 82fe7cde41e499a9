/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy `conditional`: disaggregation for prompts that are worth it. A short prompt is computed where it decodes, as a
 * chunk beside the decode steps; a long one goes to a prefill worker and its KV over the link.
 */
#include "tandem/policy.h"

#include <math.h>

#include "tandem/experiment.h"

enum { PREFILL = 1u << TD_ROLE_PREFILL, DECODE = 1u << TD_ROLE_DECODE };

static td_status check(const struct td_cluster_view *cluster) {
  return td_policy_needs(cluster, "conditional", PREFILL | DECODE);
}

static enum td_verdict route(const struct td_cluster_view *cluster, const struct td_request_view *request,
                             struct td_step_plan *out_plan) {
  int32_t decode = td_policy_least_work(cluster, DECODE, request->decode_blocks);
  if (decode < 0) return TD_WAIT;
  if (request->prompt_tokens <= cluster->options->threshold_tokens) {
    *out_plan = td_plan_whole(decode, cluster->whole);
    return TD_ROUTE;
  }
  int32_t prefill = td_policy_least_work(cluster, PREFILL, request->prefill_blocks);
  if (prefill < 0) return TD_WAIT;
  *out_plan = td_plan_split(prefill, decode, cluster->whole);
  return TD_ROUTE;
}

static const struct td_policy_option options[] = {
    {"threshold_tokens", NAN, "prompts of at most so many tokens are computed on their decode worker"}, {.name = NULL}};

const struct td_policy td_policy_conditional = {
    .size = sizeof(struct td_policy),
    .name = "conditional",
    .summary = "short prompts prefill on their decode worker, long ones on a pool with role prefill, least work first",
    .help =
        "A short prompt costs the decoding requests beside it a longer step, and saves a hand-off; a long one costs "
        "them more than its hand-off takes.",
    .options = options,
    .check = check,
    .route = route,
};
