/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy `autoscale`: workers change between prefill and decode, one a tick. A role asks for help when its pressure is
 * above `high`, and the other gives a worker only while its own is below `low`: between the two nothing moves.
 */
#include "tandem/policy.h"

#include <math.h>

#include "tandem/base.h"
#include "tandem/experiment.h"

enum { PREFILL = 1u << TD_ROLE_PREFILL, DECODE = 1u << TD_ROLE_DECODE };

/* A role's workers together. */
struct role {
  int64_t workers, waiting_tokens, active, places, used_blocks, blocks;
  int32_t idlest; /* the worker with the fewest requests, of equals the last */
};

static td_status check(const struct td_cluster_view *cluster) {
  const struct td_cfg_policy *options = cluster->options;
  if (options->low >= options->high) {
    return td_fail(TD_CONFIG,
                   "policy autoscale: found low = %g and high = %g in engine.policy_options, expected low "
                   "below high",
                   options->low, options->high);
  }
  if (td_policy_has_role(cluster, 1u << TD_ROLE_BOTH)) {
    return td_fail(TD_CONFIG, "policy autoscale: found a pool with role \"both\", expected only the other two");
  }
  return td_policy_needs(cluster, "autoscale", PREFILL | DECODE);
}

static struct role sum_of(const struct td_cluster_view *cluster, int role) {
  struct role sum = {.idlest = -1};
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    const struct td_worker_view *worker = &cluster->workers[i];
    if (worker->role != role || worker->down) continue;
    sum.workers++;
    sum.waiting_tokens += worker->waiting_tokens;
    sum.active += worker->active;
    sum.places += worker->active + worker->free_sequences;
    sum.used_blocks += worker->blocks - worker->free_blocks;
    sum.blocks += worker->blocks;
    if (sum.idlest < 0 || worker->active <= cluster->workers[sum.idlest].active) sum.idlest = i;
  }
  return sum;
}

/* The share of places or of KV blocks that is taken, whichever is more. */
static double decode_pressure(const struct role *decode) {
  if (!decode->workers) return INFINITY;
  double places = (double)decode->active / (double)decode->places;
  double blocks = (double)decode->used_blocks / (double)decode->blocks;
  return places > blocks ? places : blocks;
}

/* How long prompts wait, in units of slo_ttft. Prompts that wait for a route count unless it is decode that they wait
 * for. */
static double prefill_pressure(const struct td_cluster_view *cluster, const struct role *prefill, bool decode_full) {
  int64_t tokens = prefill->waiting_tokens + (decode_full ? 0 : cluster->queued_tokens);
  if (!prefill->workers) return tokens ? INFINITY : 0;
  if (!cluster->prefilled_tokens) return 0;
  double rate = (double)cluster->prefilled_tokens / cluster->prefill_s; /* tokens/s of a worker */
  return (double)tokens / (rate * (double)prefill->workers) / cluster->options->slo_ttft;
}

static td_status tick(const struct td_cluster_view *cluster, struct td_control *control) {
  const struct td_cfg_policy *options = cluster->options;
  struct role prefill = sum_of(cluster, TD_ROLE_PREFILL), decode = sum_of(cluster, TD_ROLE_DECODE);
  double full = decode_pressure(&decode), late = prefill_pressure(cluster, &prefill, full > options->high);
  if (late > options->high && full < options->low && decode.workers > options->minimum_workers) {
    return td_control_role(control, decode.idlest, TD_ROLE_PREFILL);
  }
  if (full > options->high && late < options->low && prefill.workers > options->minimum_workers) {
    return td_control_role(control, prefill.idlest, TD_ROLE_DECODE);
  }
  return TD_OK;
}

static const struct td_policy_option options[] = {
    {"slo_ttft", NAN, "the wait of prompts that counts as a pressure of 1"},
    {"high", 0.9, "above this pressure a role is given a worker"},
    {"low", 0.5, "only below this pressure a role gives one"},
    {"minimum_workers", 1, "so many workers each role keeps"},
    {.name = NULL}};

const struct td_policy td_policy_autoscale = {
    .size = sizeof(struct td_policy),
    .name = "autoscale",
    .summary = "disaggregated, and workers move between prefill and decode by pressure, at most one each tick",
    .help =
        "Every engine.policy_interval seconds. Prefill's pressure is how long the prompts that wait would take at "
        "the rate measured so far, over slo_ttft; decode's is the share of its places or KV blocks that is taken; that "
        "of a role none of whose workers is up has no bound. The worker with the fewest requests moves: what it has "
        "goes on, what is routed goes by the new role. Links must join all pools of both roles, and each pool of "
        "several workers with itself.",
    .options = options,
    .sends = {[TD_ROLE_PREFILL] = PREFILL | DECODE, [TD_ROLE_DECODE] = PREFILL | DECODE},
    .check = check,
    .route = td_policy_route_split,
    .tick = tick,
    .settles = true,
};
