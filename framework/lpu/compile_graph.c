/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds the operators of a layer in the graph, and what they must look like.
 */
#include <string.h>

#include "compile.h"

td_status lpu_refuse(const struct td_op *op, const char *why) {
  return td_fail(TD_UNSUPPORTED, "LPU: %s of layer %d: %s", td_op_kind_name(op->kind), op->layer, why);
}

/* The operators of a layer that are looked at. */
struct view {
  const struct td_graph *graph;
  int32_t layer;
  enum td_part part;
};

typedef bool wanted(const struct td_op *op);

static bool is_matrix(const struct td_op *op) {
  return op->kind == TD_OP_MATMUL && op->groups <= 1;
}
static bool is_bias(const struct td_op *op) {
  return op->kind == TD_OP_ADD && op->weight >= 0 && op->experts == 0;
}
static bool is_residual(const struct td_op *op) {
  return op->kind == TD_OP_ADD && op->weight < 0;
}
static bool is_norm(const struct td_op *op) {
  return (op->kind == TD_OP_RMS_NORM || op->kind == TD_OP_LAYER_NORM) && op->groups <= 1;
}
static bool is_head_norm(const struct td_op *op) {
  return op->kind == TD_OP_RMS_NORM;
}
static bool is_rope(const struct td_op *op) {
  return op->kind == TD_OP_ROPE;
}
static bool is_gated(const struct td_op *op) {
  return op->kind == TD_OP_ACTIVATION;
}
static bool is_pointwise(const struct td_op *op) {
  return op->kind == TD_OP_POINTWISE;
}

/* The n-th operator of the view that reads a value. */
static int32_t reader(const struct view *view, wanted *is, int32_t value, int32_t nth) {
  for (int32_t i = 0; value >= 0 && i < view->graph->op_count; i++) {
    const struct td_op *op = &view->graph->ops[i];
    if (op->layer != view->layer || op->part != view->part || !is(op)) continue;
    if ((op->in[0] == value || op->in[1] == value) && nth-- == 0) return i;
  }
  return -1;
}

/* Where a value goes next, if it goes through such an operator: *value becomes what that makes. */
static int32_t forth(const struct view *view, wanted *is, int32_t *value) {
  int32_t op = reader(view, is, *value, 0);
  if (op >= 0) *value = view->graph->ops[op].out;
  return op;
}

/* Where a value came from, if such an operator made it: *value becomes what that took. */
static int32_t back(const struct view *view, wanted *is, int32_t *value) {
  for (int32_t i = 0; i < view->graph->op_count; i++) {
    const struct td_op *op = &view->graph->ops[i];
    if (op->out != *value || *value < 0 || !is(op)) continue;
    *value = op->in[0];
    return i;
  }
  return -1;
}

/* From a matrix' output to the layer's next residual; *value becomes that. */
static td_status find_branch(const struct view *view, int32_t half, int32_t *value, struct lpu_layer *out) {
  out->branch[half] = forth(view, is_norm, value);
  out->add[half] = forth(view, is_residual, value);
  if (out->add[half] < 0) {
    return td_fail(TD_UNSUPPORTED, "LPU: layer %d: found no residual after the %s, expected one", view->layer,
                   half ? "FFN" : "attention");
  }
  out->post[half] = forth(view, is_norm, value);
  return TD_OK;
}

/* ---- attention ---- */

static td_status check_attention(const struct td_op *op) {
  if (op->in[1] >= 0) return lpu_refuse(op, "latents are not compiled, expected heads of keys and values");
  if (op->weight >= 0) return lpu_refuse(op, "sinks are not compiled");
  return TD_OK;
}

static td_status find_heads(const struct view *view, const struct td_op *op, struct lpu_layer *out) {
  int32_t q = op->in[0], k = view->graph->ops[out->append].in[0], v = view->graph->ops[out->append].in[1];
  out->rope_q = back(view, is_rope, &q);
  out->rope_k = back(view, is_rope, &k);
  out->q_norm = back(view, is_head_norm, &q);
  out->k_norm = back(view, is_head_norm, &k);
  out->q_bias = back(view, is_bias, &q);
  out->k_bias = back(view, is_bias, &k);
  out->v_bias = back(view, is_bias, &v);
  out->q = back(view, is_matrix, &q);
  out->k = back(view, is_matrix, &k);
  out->v = back(view, is_matrix, &v);
  if (out->q < 0 || out->k < 0 || out->v < 0) return lpu_refuse(op, "expected Q, K and V from matrices");
  if (q != k || q != v) return lpu_refuse(op, "expected Q, K and V of one value");
  if ((out->q_norm < 0) != (out->k_norm < 0) || (out->rope_q < 0) != (out->rope_k < 0)) {
    return lpu_refuse(op, "expected norms and ropes of both Q and K or of neither");
  }
  out->norm[0] = back(view, is_norm, &q);
  return TD_OK;
}

static td_status find_attention(const struct view *view, struct lpu_layer *out, int32_t *out_residual) {
  out->attention = out->append = -1;
  for (int32_t i = 0; i < view->graph->op_count; i++) {
    if (view->graph->ops[i].layer != view->layer) continue;
    if (view->graph->ops[i].kind == TD_OP_ATTENTION) out->attention = i;
    if (view->graph->ops[i].kind == TD_OP_KV_APPEND) out->append = i;
  }
  if (out->attention < 0 || out->append < 0) {
    return td_fail(TD_UNSUPPORTED, "LPU: layer %d has no attention", view->layer);
  }
  const struct td_op *op = &view->graph->ops[out->attention];
  int32_t value = op->out;
  TD_TRY(check_attention(op));
  TD_TRY(find_heads(view, op, out));
  out->o = forth(view, is_matrix, &value);
  if (out->o < 0) return lpu_refuse(op, "expected a matrix after it");
  /* Where a layer has no norm in front, the norm of the layer before is post[]. */
  if (out->norm[0] >= 0 && view->graph->ops[out->norm[0]].layer != view->layer) out->norm[0] = -1;
  out->o_bias = forth(view, is_bias, &value);
  TD_TRY(find_branch(view, 0, &value, out));
  *out_residual = value;
  return TD_OK;
}

/* What the attention half of a layer makes, whatever it is made of. */
static int32_t residual_of(const struct view *view) {
  int32_t value = -1;
  for (int32_t i = 0; i < view->graph->op_count; i++) {
    const struct td_op *op = &view->graph->ops[i];
    if (op->layer == view->layer && op->part == TD_PART_ATTENTION && op->out >= 0) value = op->out;
  }
  return value;
}

/* ---- FFN ---- */

static int32_t find_router(const struct view *view) {
  for (int32_t i = 0; i < view->graph->op_count; i++) {
    const struct td_op *op = &view->graph->ops[i];
    if (op->layer == view->layer && op->kind == TD_OP_ROUTER) return i;
  }
  return -1;
}

static td_status find_gate(const struct view *view, struct lpu_layer *out, int32_t *value) {
  const struct td_op *ops = view->graph->ops;
  out->activation = reader(view, is_gated, ops[out->up].out, 0);
  if (out->activation < 0) return lpu_refuse(&ops[out->up], "expected an FFN's gate and up through an activation");
  const struct td_op *op = &ops[out->activation];
  if (op->in[0] != ops[out->gate].out) {
    int32_t gate = out->gate;
    out->gate = out->up;
    out->up = gate;
  }
  if (op->in[0] != ops[out->gate].out || op->in[1] != ops[out->up].out) {
    return lpu_refuse(op, "expected the FFN's gate and up straight from matrices");
  }
  if (op->activation > TD_ACT_GELU) return lpu_refuse(op, "expected a gate through silu or gelu");
  *value = op->out;
  return TD_OK;
}

static td_status find_plain(const struct view *view, struct lpu_layer *out, int32_t *value) {
  const struct td_op *up = &view->graph->ops[out->up];
  *value = up->out;
  out->up_bias = forth(view, is_bias, value);
  out->activation = forth(view, is_pointwise, value);
  if (out->activation < 0) return lpu_refuse(up, "expected an FFN with gate and up, or with an activation");
  const struct td_op *op = &view->graph->ops[out->activation];
  return op->activation == TD_ACT_GELU ? TD_OK : lpu_refuse(op, "found another activation, expected gelu");
}

/* ---- experts ---- */

static bool is_expert_matrix(const struct td_op *op) {
  return op->kind == TD_OP_EXPERT_MATMUL;
}
static bool is_expert_bias(const struct td_op *op) {
  return op->kind == TD_OP_ADD && op->weight >= 0 && op->experts > 0;
}
static bool is_route(const struct td_op *op) {
  return op->kind == TD_OP_ROUTER;
}
static bool is_expert_sum(const struct td_op *op) {
  return op->kind == TD_OP_EXPERT_SUM;
}

/* Gate and up of `in` through an activation. */
static td_status find_pair(const struct view *view, wanted *is, int32_t first, int32_t in, int32_t pair[3],
                           int32_t *out_gate_bias, int32_t *out_up_bias) {
  const struct td_op *ops = view->graph->ops;
  pair[0] = reader(view, is, in, first);
  pair[1] = reader(view, is, in, first + 1);
  if (pair[0] < 0 || pair[1] < 0) {
    return td_fail(TD_UNSUPPORTED, "LPU: layer %d: found no gate and up of its experts, expected both", view->layer);
  }
  int32_t gate = ops[pair[0]].out, up = ops[pair[1]].out;
  *out_gate_bias = forth(view, is_expert_bias, &gate);
  *out_up_bias = forth(view, is_expert_bias, &up);
  pair[2] = reader(view, is_gated, up, 0);
  const struct td_op *op = pair[2] < 0 ? NULL : &ops[pair[2]];
  if (!op || op->in[0] != gate || op->in[1] != up || op->activation > TD_ACT_GELU) {
    return lpu_refuse(&ops[pair[1]], "expected an expert's gate and up through silu or gelu");
  }
  return TD_OK;
}

/* What all tokens share, and where it joins the experts' sum. */
static td_status find_shared(const struct view *view, int32_t in, int32_t *value, struct lpu_layer *out) {
  int32_t pair[3] = {-1, -1, -1}, none[2];
  if (reader(view, is_matrix, in, 1) < 0) return TD_OK;
  TD_TRY(find_pair(view, is_matrix, 1, in, pair, &none[0], &none[1]));
  out->shared_gate = pair[0];
  out->shared_up = pair[1];
  out->shared_activation = pair[2];
  int32_t inner = view->graph->ops[pair[2]].out;
  out->shared_down = forth(view, is_matrix, &inner);
  out->shared_add = forth(view, is_residual, value);
  if (out->shared_down >= 0 && out->shared_add >= 0 && view->graph->ops[out->shared_add].in[1] == inner) return TD_OK;
  return lpu_refuse(&view->graph->ops[pair[1]], "expected shared experts to be added to the routed ones");
}

/* Of the normed value. */
static td_status find_experts(const struct view *view, int32_t in, struct lpu_layer *out) {
  int32_t logits = in, pair[3] = {-1, -1, -1};
  out->router = forth(view, is_matrix, &logits);
  out->router_bias = forth(view, is_bias, &logits);
  out->route = forth(view, is_route, &logits);
  if (out->route < 0) return td_fail(TD_UNSUPPORTED, "LPU: layer %d: found no router of its norm", view->layer);
  TD_TRY(find_pair(view, is_expert_matrix, 0, in, pair, &out->gate_bias, &out->up_bias));
  out->gate = pair[0];
  out->up = pair[1];
  out->activation = pair[2];
  int32_t value = view->graph->ops[out->activation].out;
  out->down = forth(view, is_expert_matrix, &value);
  if (out->down < 0) return lpu_refuse(&view->graph->ops[out->activation], "expected a matrix after it");
  out->down_bias = forth(view, is_expert_bias, &value);
  out->expert_sum = forth(view, is_expert_sum, &value);
  if (out->expert_sum < 0) return lpu_refuse(&view->graph->ops[out->down], "expected a sum over experts after it");
  TD_TRY(find_shared(view, in, &value, out));
  TD_TRY(find_branch(view, 1, &value, out));
  if (out->branch[1] < 0 && out->post[1] < 0) return TD_OK;
  return lpu_refuse(&view->graph->ops[out->expert_sum], "norms behind experts are not compiled");
}

static td_status find_ffn(const struct view *view, int32_t residual, bool alone, struct lpu_layer *out) {
  int32_t value = residual, router = find_router(view);
  if (router >= 0 && !alone) {
    return lpu_refuse(&view->graph->ops[router], "experts are compiled with FFNs alone (--part ffn): the host routes");
  }
  out->norm[1] = forth(view, is_norm, &value);
  if (router >= 0) return find_experts(view, value, out);
  out->gate = reader(view, is_matrix, value, 0);
  out->up = reader(view, is_matrix, value, 1);
  out->up_bias = -1;
  if (out->gate < 0) return td_fail(TD_UNSUPPORTED, "LPU: layer %d has no FFN of matrices", view->layer);
  if (out->up < 0) {
    out->up = out->gate;
    out->gate = -1;
  }
  TD_TRY(out->gate < 0 ? find_plain(view, out, &value) : find_gate(view, out, &value));
  out->down = forth(view, is_matrix, &value);
  if (out->down < 0) return lpu_refuse(&view->graph->ops[out->activation], "expected a matrix after it");
  out->down_bias = forth(view, is_bias, &value);
  return find_branch(view, 1, &value, out);
}

td_status lpu_find_layer(const struct td_graph *graph, int32_t layer, uint32_t parts, struct lpu_layer *out) {
  struct view view = {graph, layer, TD_PART_ATTENTION};
  memset(out, 0xff, sizeof *out); /* -1 */
  int32_t residual = residual_of(&view);
  if (parts & TD_PART_ATTENTION) TD_TRY(find_attention(&view, out, &residual));
  view.part = TD_PART_FFN;
  return find_ffn(&view, residual, parts == TD_PART_FFN, out);
}
