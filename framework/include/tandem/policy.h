/* SPDX-License-Identifier: Apache-2.0
 *
 * Policies: where a request's phases run. One file in framework/engine/policies/ is one policy; the file NAME.c defines
 * `const struct td_policy td_policy_NAME`, and `engine.policy = "NAME"` chooses it. Nothing else is edited.
 *
 * A policy is a pure function of the cluster's state, so the same requests are routed the same way whether steps are
 * executed or priced. It is asked only when that state changes (an arrival, a finished request, freed KV blocks).
 */
#ifndef TANDEM_POLICY_H
#define TANDEM_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tandem/plan.h"

struct td_worker_view {
  const char *pool;
  int role;               /* enum td_role of tandem/experiment.h */
  bool executes;          /* really computes: its tokens are real */
  int64_t free_blocks;    /* KV blocks nobody has reserved */
  int64_t free_sequences; /* requests it may take beside those it has: engine.batch_sequences - active */
  int64_t waiting_tokens; /* prompt tokens routed here and not yet computed */
  int64_t active;         /* requests routed here and not finished here */
};
struct td_cluster_view {
  const struct td_worker_view *workers;
  int32_t worker_count;
  int64_t now_ps;
  struct td_slice whole; /* the slice that is the whole model */
};
struct td_request_view {
  uint64_t request;
  int64_t prompt_tokens, max_tokens, arrival_ps;
  int64_t prefill_blocks; /* KV blocks the prompt needs */
  int64_t decode_blocks;  /* KV blocks prompt and output need */
};

struct td_policy {
  size_t size; /* sizeof(struct td_policy) */
  const char *name;
  const char *summary; /* one line for `tandem devices` and the docs */
  /* Before the run: TD_CONFIG if the cluster lacks a role this policy needs. */
  td_status (*check)(const struct td_cluster_view *cluster);
  /* True and a plan in *out_plan, or false to leave the request waiting (first come, first served: those behind it wait
   * too). The workers named must have a free sequence and the blocks: prefill_blocks where prefill alone runs,
   * decode_blocks where decode runs. Must say yes on an empty cluster if the request can ever run. */
  bool (*route)(const struct td_cluster_view *cluster, const struct td_request_view *request,
                struct td_step_plan *out_plan);
};
extern const struct td_policy *const td_policies[]; /* generated; ends with NULL */
const struct td_policy *td_policy_find(const char *name);

/* The worker with a role in `roles` (bit 1 << role), `blocks` and a sequence free, and the least work: waiting tokens,
 * then active requests, then the smallest number. -1 if none has the room. */
int32_t td_policy_least_work(const struct td_cluster_view *cluster, uint32_t roles, int64_t blocks);
/* True if any worker has a role in `roles`. */
bool td_policy_has_role(const struct td_cluster_view *cluster, uint32_t roles);

#endif
