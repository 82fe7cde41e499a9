/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy `tiers`: requests wait by tier of service, within a tier by deadline: arrival + the tier's time to first
 * token.
 */
#include "tandem/policy.h"

#include <math.h>

#include "tandem/base.h"
#include "tandem/experiment.h"

/* A rank is a tier above a deadline in nanoseconds: the largest arrival and SLO together stay below TIER. */
#define TIER (INT64_C(1) << 55)
#define TIERS 256

static td_status check(const struct td_cluster_view *cluster) {
  int32_t tiers = cluster->options->tiers.count;
  if (tiers > TIERS) {
    return td_fail(TD_CONFIG, "policy tiers: found %d tiers in engine.policy_options, expected at most %d", (int)tiers,
                   TIERS);
  }
  return td_policy_needs_any(cluster, "tiers");
}

static int64_t rank(const struct td_cluster_view *cluster, const struct td_request_view *request) {
  const struct td_list *tiers = &cluster->options->tiers;
  int32_t tier = request->tier < tiers->count ? request->tier : tiers->count - 1;
  double slo = ((const struct td_cfg_tier_slo *)tiers->items)[tier].slo_ttft;
  return tier * TIER + request->arrival_ps / TD_PS_PER_NS + (int64_t)(slo * 1e9);
}

static const struct td_policy_option options[] = {
    {"tiers", NAN,
     "the time to first token that each tier is to see, the most urgent first; the last one is of all tiers after it "
     "too"},
    {.name = NULL}};

const struct td_policy td_policy_tiers = {
    .size = sizeof(struct td_policy),
    .name = "tiers",
    .summary = "those that wait are served by tier, within a tier by deadline; workers by least work",
    .help =
        "A deadline is arrival + the tier's slo_ttft. Requests run on workers of role both, and when none has room "
        "split over the other two roles. The first in order waits until it has room, and all behind it with it.",
    .options = options,
    .check = check,
    .route = td_policy_route_least,
    .rank = rank,
};
