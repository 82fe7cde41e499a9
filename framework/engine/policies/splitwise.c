/* SPDX-License-Identifier: Apache-2.0
 *
 * Policy `splitwise`: a pool for prompts, one for outputs, and a mixed one between them that is empty at first. A
 * worker of either side goes there when the other side is full, takes both phases, and returns to its side once it is
 * idle.
 */
#include "tandem/policy.h"

#include <inttypes.h>

#include "tandem/base.h"
#include "tandem/experiment.h"

enum { MOST_WORKERS = 1 << 17 };

/* Who was mixed when it was last given work. */
struct state {
  uint8_t mixed[MOST_WORKERS];
};
enum { PROMPTS = 1u << TD_ROLE_PREFILL, OUTPUTS = 1u << TD_ROLE_DECODE, EITHER = PROMPTS | OUTPUTS };

static td_status check(const struct td_cluster_view *cluster) {
  if (td_policy_has_role(cluster, 1u << TD_ROLE_BOTH)) {
    return td_fail(TD_CONFIG, "policy splitwise: found a pool with role \"both\", expected only the other two");
  }
  if (cluster->worker_count > MOST_WORKERS) {
    return td_fail(TD_CONFIG, "policy splitwise: found %" PRId32 " workers, expected at most %d", cluster->worker_count,
                   MOST_WORKERS);
  }
  return td_policy_needs(cluster, "splitwise", EITHER);
}

/* Whoever is idle is what its pool says again. */
static bool is_mixed(const struct td_cluster_view *cluster, int32_t worker) {
  const struct state *state = cluster->state;
  return state->mixed[worker] && cluster->workers[worker].active;
}

static void set_mixed(const struct td_cluster_view *cluster, int32_t worker, bool mixed) {
  struct state *state = cluster->state;
  state->mixed[worker] = mixed;
  td_policy_changed(cluster, worker);
}

/* Prompt tokens that wait there, and one for each request. */
static int64_t tokens(const struct td_cluster_view *cluster, int32_t worker) {
  return cluster->workers[worker].waiting_tokens + cluster->workers[worker].active;
}

static int64_t memory(const struct td_cluster_view *cluster, int32_t worker) {
  return cluster->workers[worker].blocks - cluster->workers[worker].free_blocks;
}

static int64_t tokens_if_mixed(const struct td_cluster_view *cluster, int32_t worker) {
  return is_mixed(cluster, worker) ? tokens(cluster, worker) : TD_NOT_HERE;
}

static int64_t tokens_if_not(const struct td_cluster_view *cluster, int32_t worker) {
  return is_mixed(cluster, worker) ? TD_NOT_HERE : tokens(cluster, worker);
}

static int64_t memory_if_mixed(const struct td_cluster_view *cluster, int32_t worker) {
  return is_mixed(cluster, worker) ? memory(cluster, worker) : TD_NOT_HERE;
}

static int64_t memory_if_not(const struct td_cluster_view *cluster, int32_t worker) {
  return is_mixed(cluster, worker) ? TD_NOT_HERE : memory(cluster, worker);
}

static const td_policy_measure measures[] = {tokens,          tokens_if_mixed, tokens_if_not,
                                             memory_if_mixed, memory_if_not,   NULL};

/* As td_policy_least; -1 also if the queue there would be too long with this prompt. */
static int32_t prompt_worker(const struct td_cluster_view *cluster, td_policy_measure measure, uint32_t roles,
                             const struct td_request_view *request) {
  int32_t worker = td_policy_least(cluster, measure, roles, request->prefill_blocks);
  if (worker < 0 || !cluster->workers[worker].waiting_tokens) return worker;
  return tokens(cluster, worker) + request->prompt_tokens > cluster->options->threshold_tokens ? -1 : worker;
}

static enum td_verdict route(const struct td_cluster_view *cluster, const struct td_request_view *request,
                             struct td_step_plan *out_plan) {
  int32_t prompt = prompt_worker(cluster, tokens_if_not, PROMPTS, request);
  if (prompt < 0) prompt = prompt_worker(cluster, tokens_if_mixed, EITHER, request);
  int32_t output = td_policy_least(cluster, memory_if_not, OUTPUTS, request->decode_blocks);
  if (output < 0) output = td_policy_least(cluster, memory_if_mixed, EITHER, request->decode_blocks);
  bool help_prompts = prompt < 0, help_outputs = output < 0;
  if (help_prompts) prompt = td_policy_least(cluster, tokens_if_not, OUTPUTS, request->prefill_blocks);
  if (help_outputs) output = td_policy_least(cluster, memory_if_not, PROMPTS, request->decode_blocks);
  if (prompt < 0 || output < 0) {
    prompt = output = td_policy_least(cluster, tokens, EITHER, request->decode_blocks);
    if (prompt < 0) return TD_WAIT;
    help_prompts = help_outputs = false;
  }
  bool mixed[] = {help_prompts || is_mixed(cluster, prompt), help_outputs || is_mixed(cluster, output)};
  if (prompt == output) mixed[0] = mixed[1] = mixed[0] || mixed[1];
  set_mixed(cluster, prompt, mixed[0]);
  set_mixed(cluster, output, mixed[1]);
  *out_plan = prompt == output ? td_plan_whole(prompt, cluster->whole) : td_plan_split(prompt, output, cluster->whole);
  return TD_ROUTE;
}

static const struct td_policy_option options[] = {
    {"threshold_tokens", 8192, "where prompts wait already, a queue is too long that has more tokens with the new one"},
    {.name = NULL}};

const struct td_policy td_policy_splitwise = {
    .size = sizeof(struct td_policy),
    .name = "splitwise",
    .summary = "a pool for prompts, one for outputs, and workers of either that do both while the other side is full",
    .help =
        "A prompt goes to the worker with the fewest tokens of its pool (those of prompts that wait there, and one for "
        "each request), an output to that with the least KV. Where the queues of prompts are too long, or no KV is "
        "left, mixed workers are asked, and if they are full too a worker of the other side becomes one, until it has "
        "nothing to do. With both sides full a request stays on the one worker with the fewest tokens. Links must join "
        "both pools, both ways, and each pool of several workers with itself. The scheduler of Splitwise (Patel et "
        "al., ISCA 2024) as in its simulator.",
    .options = options,
    .sends = {[TD_ROLE_PREFILL] = EITHER, [TD_ROLE_DECODE] = EITHER}, /* every worker to every other */
    .state_bytes = sizeof(struct state),
    .check = check,
    .route = route,
    .measures = measures,
};
