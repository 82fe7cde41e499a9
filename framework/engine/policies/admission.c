/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy `admission`: a request that would wait too long is refused when it arrives. How long is what prompts are ahead
 * of it over the rate at which prompts were computed so far.
 */
#include "tandem/policy.h"

#include <math.h>

#include "tandem/base.h"
#include "tandem/experiment.h"

struct known {
  int64_t prefillers; /* workers that compute prompts; 0: not yet counted */
};

static td_status check(const struct td_cluster_view *cluster) {
  if (isinf(cluster->options->slo_ttft) && cluster->options->queue_limit == INT64_MAX) {
    return td_fail(TD_CONFIG,
                   "policy admission: found neither slo_ttft nor queue_limit in engine.policy_options, expected one");
  }
  return td_policy_needs_any(cluster, "admission");
}

/* Roles do not change under this policy. */
static int64_t prefillers(const struct td_cluster_view *cluster) {
  struct known *known = cluster->state;
  if (known->prefillers) return known->prefillers;
  for (int32_t i = 0; i < cluster->worker_count; i++) known->prefillers += cluster->workers[i].role != TD_ROLE_DECODE;
  return known->prefillers;
}

/* Seconds until the prompt would be computed, were all workers at it; 0 as long as nothing has been measured. */
static double expected_delay(const struct td_cluster_view *cluster, const struct td_request_view *request) {
  if (!cluster->prefilled_tokens) return 0;
  double rate = (double)cluster->prefilled_tokens / cluster->prefill_s; /* tokens/s of a worker */
  int64_t ahead = cluster->queued_tokens + cluster->waiting_tokens;
  return (double)ahead / (rate * (double)prefillers(cluster)) + (double)request->prompt_tokens / rate;
}

static bool admit(const struct td_cluster_view *cluster, const struct td_request_view *request) {
  const struct td_cfg_policy *options = cluster->options;
  return cluster->waiting < options->queue_limit && expected_delay(cluster, request) <= options->slo_ttft;
}

static const struct td_policy_option options[] = {
    {"slo_ttft", INFINITY,
     "a request is refused if its first token would take longer: prompt tokens ahead of it / (workers x the rate so "
     "far) + its own / the rate"},
    {"queue_limit", INFINITY,
     "a request is refused if so many wait for a route already, as workers have no room for them; 0 refuses all"},
    {.name = NULL}};

const struct td_policy td_policy_admission = {
    .size = sizeof(struct td_policy),
    .name = "admission",
    .summary = "refuses requests that would wait too long when they arrive; workers by least work",
    .help =
        "The rate is measured: prompt tokens computed so far over the workers' time in steps with prompts; until "
        "there is one, only queue_limit refuses. Requests run on workers of role both, and when none has room split "
        "over the other two roles. At least one of the options must be given.",
    .options = options,
    .state_bytes = sizeof(struct known),
    .check = check,
    .route = td_policy_route_least,
    .admit = admit,
};
