/* SPDX-License-Identifier: Apache-2.0
 *
 * The FFN half of a layer: one FFN for all tokens, or a router and experts.
 */
#include "graph_builder.h"

static int32_t add_matmul(struct td_builder *b, enum td_role role, int32_t in, const char *name) {
  return td_build_matmul(b, td_build_weight(b, role), in, name);
}

static int32_t add_dense(struct td_builder *b, int32_t in) {
  int32_t inner;
  if (b->traits & TD_HAS_GATE) {
    int32_t gate = add_matmul(b, TD_ROLE_GATE, in, "gate");
    int32_t up = add_matmul(b, TD_ROLE_UP, in, "up");
    inner = td_build_activation(b, gate, up, "inner");
  } else {
    inner = add_matmul(b, TD_ROLE_UP, in, "up");
    inner = td_build_bias(b, TD_ROLE_UP_BIAS, inner, "up_biased");
    inner = td_build_pointwise(b, b->info->activation, inner, "inner");
  }
  int32_t out = add_matmul(b, TD_ROLE_DOWN, inner, "out");
  return td_build_bias(b, TD_ROLE_DOWN_BIAS, out, "out_biased");
}

/* n columns a slot: the rows of one expert's matrix. */
static int32_t add_expert_matmul(struct td_builder *b, enum td_role role, int32_t in, int32_t router, int64_t n,
                                 const char *name) {
  const struct td_shape *shape = &b->graph->shape;
  int32_t weight = td_build_weight(b, role);
  struct td_op *op = td_build_op(b, TD_OP_EXPERT_MATMUL, in, router, n);
  op->weight = weight;
  op->k = b->graph->weights[weight].cols;
  op->experts = shape->experts;
  op->experts_used = shape->experts_used;
  return op->out = td_build_value(b, n * shape->experts_used, name);
}

/* Row e of the bias is expert e's. */
static int32_t add_expert_bias(struct td_builder *b, enum td_role role, int32_t in, const char *name) {
  int32_t out = td_build_bias(b, role, in, name);
  if (out != in) b->graph->ops[b->graph->op_count - 1].experts = b->graph->shape.experts;
  return out;
}

static int32_t add_router(struct td_builder *b, int32_t in) {
  const struct td_shape *shape = &b->graph->shape;
  int32_t logits = add_matmul(b, TD_ROLE_ROUTER, in, "router_logits");
  logits = td_build_bias(b, TD_ROLE_ROUTER_BIAS, logits, "router_biased");
  struct td_op *op = td_build_op(b, TD_OP_ROUTER, logits, TD_NONE, 2 * (int64_t)shape->experts_used);
  op->experts = shape->experts;
  op->experts_used = shape->experts_used;
  return op->out = td_build_value(b, op->n, "router");
}

static int32_t add_shared(struct td_builder *b, int32_t in, int32_t routed) {
  int32_t gate = add_matmul(b, TD_ROLE_SHARED_GATE, in, "shared_gate");
  int32_t up = add_matmul(b, TD_ROLE_SHARED_UP, in, "shared_up");
  int32_t inner = td_build_activation(b, gate, up, "shared_inner");
  int32_t out = add_matmul(b, TD_ROLE_SHARED_DOWN, inner, "shared_out");
  return td_build_simple(b, TD_OP_ADD, routed, out, b->graph->shape.hidden, "out");
}

static int32_t add_experts(struct td_builder *b, int32_t in) {
  const struct td_shape *shape = &b->graph->shape;
  int32_t router = add_router(b, in);
  int32_t gate = add_expert_matmul(b, TD_ROLE_EXPERT_GATE, in, router, shape->expert_ffn, "gate");
  gate = add_expert_bias(b, TD_ROLE_EXPERT_GATE_BIAS, gate, "gate_biased");
  int32_t up = add_expert_matmul(b, TD_ROLE_EXPERT_UP, in, router, shape->expert_ffn, "up");
  up = add_expert_bias(b, TD_ROLE_EXPERT_UP_BIAS, up, "up_biased");
  int32_t inner = td_build_activation(b, gate, up, "inner");
  int32_t down = add_expert_matmul(b, TD_ROLE_EXPERT_DOWN, inner, router, shape->hidden, "down");
  down = add_expert_bias(b, TD_ROLE_EXPERT_DOWN_BIAS, down, "down_biased");
  bool shared = b->traits & TD_IS_SHARED_LAYER;
  struct td_op *op = td_build_op(b, TD_OP_EXPERT_SUM, down, router, shape->hidden);
  op->experts = shape->experts;
  op->experts_used = shape->experts_used;
  op->out = td_build_value(b, op->n, shared ? "routed" : "out");
  return shared ? add_shared(b, in, op->out) : op->out;
}

int32_t td_build_ffn(struct td_builder *b, int32_t residual) {
  int32_t in = residual;
  if (b->traits & TD_HAS_PRE_NORM) in = td_build_norm(b, TD_ROLE_FFN_NORM, in, 1, "norm");
  int32_t out = b->traits & TD_IS_EXPERT_LAYER ? add_experts(b, in) : add_dense(b, in);
  return td_build_residual(b, residual, out, TD_ROLE_FFN_BRANCH_NORM, TD_ROLE_FFN_POST_NORM);
}
