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

/* Where a worker stands: its role, or between. */
struct state {
  uint8_t mixed[MOST_WORKERS];
};
enum side { PROMPTS = TD_ROLE_PREFILL, OUTPUTS = TD_ROLE_DECODE, MIXED, ANY };

static td_status check(const struct td_cluster_view *cluster) {
  if (td_policy_has_role(cluster, 1u << TD_ROLE_BOTH)) {
    return td_fail(TD_CONFIG, "policy splitwise: found a pool with role \"both\", expected only the other two");
  }
  if (cluster->worker_count > MOST_WORKERS) {
    return td_fail(TD_CONFIG, "policy splitwise: found %" PRId32 " workers, expected at most %d", cluster->worker_count,
                   MOST_WORKERS);
  }
  return td_policy_needs(cluster, "splitwise", 1u << TD_ROLE_PREFILL | 1u << TD_ROLE_DECODE);
}

static enum side side_of(const struct td_cluster_view *cluster, int32_t worker) {
  const struct state *state = cluster->state;
  return state->mixed[worker] ? MIXED : (enum side)cluster->workers[worker].role;
}

/* Prompt tokens that wait there, and one for each request. */
static int64_t tokens_of(const struct td_worker_view *worker) {
  return worker->waiting_tokens + worker->active;
}

static int64_t memory_of(const struct td_worker_view *worker) {
  return worker->blocks - worker->free_blocks;
}

/* The worker of a side with room for `blocks` that has the least of something; -1: none has the room. */
static int32_t least(const struct td_cluster_view *cluster, enum side side, int64_t blocks,
                     int64_t (*something)(const struct td_worker_view *worker)) {
  int32_t best = -1;
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    const struct td_worker_view *worker = &cluster->workers[i];
    if (worker->free_blocks < blocks || worker->free_sequences < 1) continue;
    if (side != ANY && side_of(cluster, i) != side) continue;
    if (best < 0 || something(worker) < something(&cluster->workers[best])) best = i;
  }
  return best;
}

/* As `least` by tokens; -1 also if the queue there would be too long with this prompt. */
static int32_t prompt_worker(const struct td_cluster_view *cluster, enum side side,
                             const struct td_request_view *request) {
  int32_t worker = least(cluster, side, request->prefill_blocks, tokens_of);
  if (worker < 0 || !cluster->workers[worker].waiting_tokens) return worker;
  int64_t tokens = tokens_of(&cluster->workers[worker]) + request->prompt_tokens;
  return tokens > cluster->options->threshold_tokens ? -1 : worker;
}

/* Whoever is idle is what its pool says again. */
static void return_idle(const struct td_cluster_view *cluster) {
  struct state *state = cluster->state;
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    if (!cluster->workers[i].active) state->mixed[i] = 0;
  }
}

static enum td_verdict route(const struct td_cluster_view *cluster, const struct td_request_view *request,
                             struct td_step_plan *out_plan) {
  struct state *state = cluster->state;
  return_idle(cluster);
  int32_t prompt = prompt_worker(cluster, PROMPTS, request);
  if (prompt < 0) prompt = prompt_worker(cluster, MIXED, request);
  int32_t output = least(cluster, OUTPUTS, request->decode_blocks, memory_of);
  if (output < 0) output = least(cluster, MIXED, request->decode_blocks, memory_of);
  int32_t helps_prompts = prompt < 0 ? least(cluster, OUTPUTS, request->prefill_blocks, tokens_of) : -1;
  int32_t helps_outputs = output < 0 ? least(cluster, PROMPTS, request->decode_blocks, memory_of) : -1;
  if (prompt < 0) prompt = helps_prompts;
  if (output < 0) output = helps_outputs;
  if (prompt < 0 || output < 0) {
    prompt = output = least(cluster, ANY, request->decode_blocks, tokens_of);
    if (prompt < 0) return TD_WAIT;
  } else {
    if (helps_prompts >= 0) state->mixed[helps_prompts] = 1;
    if (helps_outputs >= 0) state->mixed[helps_outputs] = 1;
  }
  *out_plan = prompt == output ? td_plan_whole(prompt, cluster->whole) : td_plan_split(prompt, output, cluster->whole);
  return TD_ROUTE;
}

static const struct td_policy_option options[] = {
    {"threshold_tokens", 8192, "where prompts wait already, a queue is too long that has more tokens with the new one"},
    {.name = NULL}};

/* Every worker may have to send to every other. */
enum { EITHER = 1u << TD_ROLE_PREFILL | 1u << TD_ROLE_DECODE };

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
    .sends = {[TD_ROLE_PREFILL] = EITHER, [TD_ROLE_DECODE] = EITHER},
    .state_bytes = sizeof(struct state),
    .check = check,
    .route = route,
};
