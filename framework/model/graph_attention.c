/* SPDX-License-Identifier: Apache-2.0
 *
 * The attention half of a layer: heads that share keys and values, or one latent for all of them.
 */
#include "graph_builder.h"

static void set_heads(struct td_op *op, const struct td_shape *shape, int32_t heads) {
  op->heads = heads;
  op->kv_heads = shape->kv_heads;
  op->head_dim = shape->head_dim;
  op->rope_dim = shape->rope_dim;
}

/* Windowed layers of Gemma 3 rotate by a base of their own and unscaled positions. */
static struct td_op *add_rope(struct td_builder *b, int32_t in, int32_t heads, int64_t cols, const char *name) {
  const struct td_shape *shape = &b->graph->shape;
  bool local = b->traits & TD_HAS_LOCAL_THETA && td_shape_is_windowed(shape, b->layer);
  struct td_op *op = td_build_op(b, TD_OP_ROPE, in, TD_NONE, cols);
  set_heads(op, shape, heads);
  op->rope_pairs = b->info->rope_pairs;
  op->weight = b->factors;
  op->theta = local ? shape->window_rope_theta : shape->rope_theta;
  op->position_scale = local ? 1 : shape->rope_scale;
  op->out = td_build_value(b, op->n, name);
  return op;
}

/* `n`: what one key and one value are wide together, over all heads that share them. */
static int32_t add_attention(struct td_builder *b, int32_t q, int32_t q_more, int32_t k, int32_t v, int64_t kv_cols,
                             int64_t n) {
  const struct td_shape *shape = &b->graph->shape;
  struct td_op *append = td_build_op(b, TD_OP_KV_APPEND, k, v, kv_cols);
  set_heads(append, shape, shape->heads);
  struct td_op *op = td_build_op(b, TD_OP_ATTENTION, q, q_more, n);
  set_heads(op, shape, shape->heads);
  op->scale = td_attention_scale(shape);
  op->window = td_shape_is_windowed(shape, b->layer) ? shape->window : 0;
  op->bidirectional = !(b->traits & TD_HAS_HEAD);
  if (td_role_has(shape, TD_ROLE_SINKS, b->layer)) op->weight = td_build_weight(b, TD_ROLE_SINKS);
  return op->out = td_build_value(b, n, "heads");
}

static int32_t add_heads(struct td_builder *b, int32_t in) {
  const struct td_shape *shape = &b->graph->shape;
  int64_t q_cols = (int64_t)shape->heads * shape->head_dim, kv_cols = (int64_t)shape->kv_heads * shape->head_dim;
  int32_t q = td_build_matmul(b, td_build_weight(b, TD_ROLE_Q), in, "q");
  int32_t k = td_build_matmul(b, td_build_weight(b, TD_ROLE_K), in, "k");
  int32_t v = td_build_matmul(b, td_build_weight(b, TD_ROLE_V), in, "v");
  q = td_build_bias(b, TD_ROLE_Q_BIAS, q, "q_biased");
  k = td_build_bias(b, TD_ROLE_K_BIAS, k, "k_biased");
  v = td_build_bias(b, TD_ROLE_V_BIAS, v, "v_biased");
  if (b->traits & TD_HAS_QK_NORM) {
    q = td_build_norm(b, TD_ROLE_Q_NORM, q, shape->heads, "q_normed");
    k = td_build_norm(b, TD_ROLE_K_NORM, k, shape->kv_heads, "k_normed");
  }
  if (b->traits & TD_HAS_ROPE) {
    q = add_rope(b, q, shape->heads, q_cols, "q_rotated")->out;
    k = add_rope(b, k, shape->kv_heads, kv_cols, "k_rotated")->out;
  }
  return add_attention(b, q, TD_NONE, k, v, kv_cols, q_cols);
}

/* One matrix a head, which reads that head's part of the row. */
static int32_t add_head_matmul(struct td_builder *b, enum td_role role, int32_t in, const char *name) {
  int32_t out = td_build_matmul(b, td_build_weight(b, role), in, name);
  b->graph->ops[b->graph->op_count - 1].groups = b->graph->shape.heads;
  return out;
}

/* Multi-head latent attention as decoding does it: each head's query is carried into the space of the latents, all
 * heads attend over the one latent a position has, and the weighted latents are expanded to values. Prefill could
 * expand keys and values instead, for fewer FLOPs; the graph is the same for both (DeepSeek-V2, arXiv:2405.04434). */
static int32_t add_latent(struct td_builder *b, int32_t in) {
  const struct td_shape *shape = &b->graph->shape;
  int64_t q_cols = (int64_t)shape->heads * shape->head_dim, latent = (int64_t)shape->kv_lora + shape->rope_dim;
  int32_t q = td_build_matmul(b, td_build_weight(b, TD_ROLE_Q_A), in, "q_compressed");
  int32_t kv = td_build_matmul(b, td_build_weight(b, TD_ROLE_KV_A), in, "kv_compressed");
  q = td_build_norm(b, TD_ROLE_Q_A_NORM, q, 1, "q_normed");
  int32_t v = td_build_norm(b, TD_ROLE_KV_A_NORM, kv, 1, "latent");
  q = td_build_matmul(b, td_build_weight(b, TD_ROLE_Q_B), q, "q");
  q = add_rope(b, q, shape->heads, q_cols, "q_rotated")->out;
  struct td_op *k = add_rope(b, kv, 1, shape->rope_dim, "k_rotated");
  k->head_dim = shape->rope_dim;
  int32_t absorbed = add_head_matmul(b, TD_ROLE_K_ABSORB, q, "q_absorbed");
  int32_t heads = add_attention(b, absorbed, q, v, k->out, latent, (int64_t)shape->heads * shape->kv_lora);
  b->graph->ops[b->graph->op_count - 1].head_dim = (int32_t)latent;
  return add_head_matmul(b, TD_ROLE_V_EXPAND, heads, "values");
}

int32_t td_build_attention(struct td_builder *b, int32_t residual) {
  int32_t in = residual;
  if (b->traits & TD_HAS_PRE_NORM) in = td_build_norm(b, TD_ROLE_ATTN_NORM, in, 1, "norm");
  int32_t heads = b->traits & TD_HAS_MLA ? add_latent(b, in) : add_heads(b, in);
  int32_t out = td_build_matmul(b, td_build_weight(b, TD_ROLE_O), heads, "out");
  out = td_build_bias(b, TD_ROLE_O_BIAS, out, "out_biased");
  return td_build_residual(b, residual, out, TD_ROLE_ATTN_BRANCH_NORM, TD_ROLE_ATTN_POST_NORM);
}
