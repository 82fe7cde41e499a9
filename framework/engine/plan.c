/* SPDX-License-Identifier: Apache-2.0 */
#include "tandem/plan.h"

#include <stdbool.h>

struct td_step_plan td_plan_whole(int32_t worker, struct td_slice whole) {
  return (struct td_step_plan){
      .nodes = {{.worker = worker, .slice = whole, .phases = TD_PHASE_PREFILL | TD_PHASE_DECODE}}, .node_count = 1};
}

struct td_step_plan td_plan_split(int32_t prefill, int32_t decode, struct td_slice whole) {
  return (struct td_step_plan){.nodes = {{.worker = prefill, .slice = whole, .phases = TD_PHASE_PREFILL},
                                         {.worker = decode, .slice = whole, .phases = TD_PHASE_DECODE}},
                               .node_count = 2,
                               .edges = {{.from = 0, .to = 1, .move = TD_MOVE_KV}},
                               .edge_count = 1};
}

static bool is_whole(const struct td_plan_node *node, struct td_slice whole) {
  return node->model == 0 && node->slice.layer_begin == whole.layer_begin && node->slice.layer_end == whole.layer_end &&
         node->slice.parts == whole.parts;
}

static td_status find_phase(const struct td_step_plan *plan, uint32_t phase, int32_t *out_node) {
  *out_node = -1;
  for (int32_t i = 0; i < plan->node_count; i++) {
    if (!(plan->nodes[i].phases & phase)) continue;
    if (*out_node >= 0) return td_fail(TD_UNSUPPORTED, "step plan: nodes %d and %d share a phase", *out_node, i);
    *out_node = i;
  }
  return *out_node < 0 ? td_fail(TD_INTERNAL, "step plan: no node for phase %u", phase) : TD_OK;
}

static bool has_kv_edge(const struct td_step_plan *plan, int32_t from, int32_t to) {
  for (int32_t i = 0; i < plan->edge_count; i++) {
    const struct td_plan_edge *edge = &plan->edges[i];
    if (edge->from == from && edge->to == to && edge->move == TD_MOVE_KV) return true;
  }
  return false;
}

td_status td_plan_resolve(const struct td_step_plan *plan, struct td_slice whole, int32_t *out_prefill,
                          int32_t *out_decode) {
  int32_t prefill, decode;
  for (int32_t i = 0; i < plan->node_count; i++) {
    if (is_whole(&plan->nodes[i], whole)) continue;
    return td_fail(TD_UNSUPPORTED, "step plan: node %d holds part of a model; this engine runs whole models", i);
  }
  TD_TRY(find_phase(plan, TD_PHASE_PREFILL, &prefill));
  TD_TRY(find_phase(plan, TD_PHASE_DECODE, &decode));
  if (prefill != decode && !has_kv_edge(plan, prefill, decode)) {
    return td_fail(TD_INTERNAL, "step plan: no KV edge from node %d to node %d", prefill, decode);
  }
  *out_prefill = plan->nodes[prefill].worker;
  *out_decode = plan->nodes[decode].worker;
  return TD_OK;
}
