/* SPDX-License-Identifier: Apache-2.0
 *
 * Step plans: how a request's work is laid over workers. A plan is a small DAG: nodes (worker, model, slice, phase) and
 * edges (what must move from one node to another). It can say phase splits, pipeline stages, attention-FFN splits and
 * drafter and verifier pairs. Policies speak plans; td_plan_resolve refuses, by node, those this engine does not
 * execute yet: it runs one whole model per phase.
 */
#ifndef TANDEM_PLAN_H
#define TANDEM_PLAN_H

#include <stdint.h>

#include "tandem/graph.h"

enum td_phase { TD_PHASE_PREFILL = 1, TD_PHASE_DECODE = 2 };
enum td_move {
  TD_MOVE_KV,  /* the KV cache of the layers both nodes own, once prefill has written it */
  TD_MOVE_LIVE /* the live-outs of `from` that are live-ins of `to`, every step */
};

struct td_plan_node {
  int32_t worker;
  int32_t model; /* 0: the experiment's model */
  struct td_slice slice;
  uint32_t phases; /* of enum td_phase */
};
struct td_plan_edge {
  int32_t from, to; /* node numbers */
  enum td_move move;
};

#define TD_PLAN_NODES 32 /* a pipeline's stages, both phases */
#define TD_PLAN_EDGES 32
struct td_step_plan {
  struct td_plan_node nodes[TD_PLAN_NODES];
  int32_t node_count;
  struct td_plan_edge edges[TD_PLAN_EDGES];
  int32_t edge_count;
};

/* Both phases of the whole model on one worker. */
struct td_step_plan td_plan_whole(int32_t worker, struct td_slice whole);
/* Prefill on one worker, decode on another, the KV moving between. */
struct td_step_plan td_plan_split(int32_t prefill, int32_t decode, struct td_slice whole);

/* Checks a plan against what this engine executes: every phase on exactly one node holding the whole model, and a KV
 * edge where the phases' workers differ. TD_UNSUPPORTED or TD_INTERNAL names the node or edge. *out_prefill and
 * *out_decode are the workers. */
td_status td_plan_resolve(const struct td_step_plan *plan, struct td_slice whole, int32_t *out_prefill,
                          int32_t *out_decode);

#endif
