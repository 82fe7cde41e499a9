/* SPDX-License-Identifier: Apache-2.0
 *
 * The weights of all architectures: one row each.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "arch.h"

/* Sizes that a weight may have; see size_of. */
enum size {
  ONE,
  NORM, /* 2 with LayerNorm: weight and bias */
  SEGMENTS,
  HIDDEN,
  VOCAB,
  POSITIONS,
  ROPE_PAIRS,
  HEADS,
  HEAD,
  Q_WIDTH,
  KV_WIDTH,
  VALUES, /* what attention hands to its output matrix */
  FFN,
  EXPERTS,
  EXPERT_FFN,
  SHARED_FFN,
  Q_LORA,
  KV_LORA,
  KV_LATENT,
  NOPE,
  QUERY_LATENTS
};

#define SEGMENT_COUNT 2 /* BERT's type_vocab_size: a text and the one it is compared with */

struct row {
  const char *suffix;
  uint32_t needs; /* all of these traits */
  enum size rows, cols;
  bool f32, experts;
};

#define MATRIX(name, needs_, rows_, cols_) \
  { .suffix = name, .needs = needs_, .rows = rows_, .cols = cols_ }
#define F32(name, needs_, rows_, cols_) \
  { .suffix = name, .needs = needs_, .rows = rows_, .cols = cols_, .f32 = true }
/* `rows` of one expert. */
#define STACK(name, rows_, cols_) \
  { .suffix = name, .needs = TD_IS_EXPERT_LAYER, .rows = rows_, .cols = cols_, .experts = true }

/* Conditions that several rows share. Pooler and learned positions exist where a trait does not: see td_role_has. */
#define DENSE TD_IS_DENSE_LAYER
#define DENSE_BIAS (TD_IS_DENSE_LAYER | TD_HAS_FFN_BIAS)
#define EXPERT_BIAS (TD_IS_EXPERT_LAYER | TD_HAS_EXPERT_BIAS)

static const struct row rows[TD_ROLE_COUNT] = {
    [TD_ROLE_EMBED] = MATRIX("token_embd.weight", 0, VOCAB, HIDDEN),
    [TD_ROLE_POSITIONS] = MATRIX("position_embd.weight", 0, POSITIONS, HIDDEN),
    [TD_ROLE_TOKEN_TYPES] = MATRIX("token_types.weight", TD_HAS_TOKEN_TYPES, SEGMENTS, HIDDEN),
    [TD_ROLE_EMBED_NORM] = F32("token_embd_norm.weight", TD_HAS_POST_NORM, NORM, HIDDEN),
    [TD_ROLE_OUTPUT_NORM] = F32("output_norm.weight", TD_HAS_PRE_NORM, NORM, HIDDEN),
    [TD_ROLE_OUTPUT] = MATRIX("output.weight", TD_HAS_HEAD | TD_IS_UNTIED, VOCAB, HIDDEN),
    [TD_ROLE_POOLER] = MATRIX("pooler.weight", 0, HIDDEN, HIDDEN),
    [TD_ROLE_POOLER_BIAS] = F32("pooler.bias", 0, ONE, HIDDEN),
    [TD_ROLE_ROPE_FREQS] = F32("rope_freqs.weight", TD_IS_FACTORED, ONE, ROPE_PAIRS),
    [TD_ROLE_ATTN_NORM] = F32("attn_norm.weight", TD_HAS_PRE_NORM, NORM, HIDDEN),
    [TD_ROLE_Q] = MATRIX("attn_q.weight", 0, Q_WIDTH, HIDDEN),
    [TD_ROLE_K] = MATRIX("attn_k.weight", 0, KV_WIDTH, HIDDEN),
    [TD_ROLE_V] = MATRIX("attn_v.weight", 0, KV_WIDTH, HIDDEN),
    [TD_ROLE_Q_BIAS] = F32("attn_q.bias", TD_HAS_QKV_BIAS, ONE, Q_WIDTH),
    [TD_ROLE_K_BIAS] = F32("attn_k.bias", TD_HAS_QKV_BIAS, ONE, KV_WIDTH),
    [TD_ROLE_V_BIAS] = F32("attn_v.bias", TD_HAS_QKV_BIAS, ONE, KV_WIDTH),
    [TD_ROLE_Q_NORM] = F32("attn_q_norm.weight", TD_HAS_QK_NORM, ONE, HEAD),
    [TD_ROLE_K_NORM] = F32("attn_k_norm.weight", TD_HAS_QK_NORM, ONE, HEAD),
    [TD_ROLE_Q_A] = MATRIX("attn_q_a.weight", TD_HAS_MLA, Q_LORA, HIDDEN),
    [TD_ROLE_Q_A_NORM] = F32("attn_q_a_norm.weight", TD_HAS_MLA, ONE, Q_LORA),
    [TD_ROLE_Q_B] = MATRIX("attn_q_b.weight", TD_HAS_MLA, Q_WIDTH, Q_LORA),
    [TD_ROLE_KV_A] = MATRIX("attn_kv_a_mqa.weight", TD_HAS_MLA, KV_LATENT, HIDDEN),
    [TD_ROLE_KV_A_NORM] = F32("attn_kv_a_norm.weight", TD_HAS_MLA, ONE, KV_LORA),
    [TD_ROLE_K_ABSORB] = MATRIX("attn_k_b.weight", TD_HAS_MLA, QUERY_LATENTS, NOPE),
    [TD_ROLE_V_EXPAND] = MATRIX("attn_v_b.weight", TD_HAS_MLA, VALUES, KV_LORA),
    [TD_ROLE_SINKS] = F32("attn_sinks.weight", TD_HAS_SINKS, ONE, HEADS),
    [TD_ROLE_O] = MATRIX("attn_output.weight", 0, HIDDEN, VALUES),
    [TD_ROLE_O_BIAS] = F32("attn_output.bias", TD_HAS_OUT_BIAS, ONE, HIDDEN),
    [TD_ROLE_ATTN_BRANCH_NORM] = F32("post_attention_norm.weight", TD_HAS_BRANCH_NORM, NORM, HIDDEN),
    [TD_ROLE_ATTN_POST_NORM] = F32("attn_output_norm.weight", TD_HAS_POST_NORM, NORM, HIDDEN),
    [TD_ROLE_FFN_NORM] = F32("ffn_norm.weight", TD_HAS_PRE_NORM, NORM, HIDDEN),
    [TD_ROLE_GATE] = MATRIX("ffn_gate.weight", DENSE | TD_HAS_GATE, FFN, HIDDEN),
    [TD_ROLE_UP] = MATRIX("ffn_up.weight", DENSE, FFN, HIDDEN),
    [TD_ROLE_DOWN] = MATRIX("ffn_down.weight", DENSE, HIDDEN, FFN),
    [TD_ROLE_UP_BIAS] = F32("ffn_up.bias", DENSE_BIAS, ONE, FFN),
    [TD_ROLE_DOWN_BIAS] = F32("ffn_down.bias", DENSE_BIAS, ONE, HIDDEN),
    [TD_ROLE_ROUTER] = MATRIX("ffn_gate_inp.weight", TD_IS_EXPERT_LAYER, EXPERTS, HIDDEN),
    [TD_ROLE_ROUTER_BIAS] = F32("ffn_gate_inp.bias", TD_IS_EXPERT_LAYER | TD_HAS_ROUTER_BIAS, ONE, EXPERTS),
    [TD_ROLE_EXPERT_GATE] = STACK("ffn_gate_exps.weight", EXPERT_FFN, HIDDEN),
    [TD_ROLE_EXPERT_UP] = STACK("ffn_up_exps.weight", EXPERT_FFN, HIDDEN),
    [TD_ROLE_EXPERT_DOWN] = STACK("ffn_down_exps.weight", HIDDEN, EXPERT_FFN),
    [TD_ROLE_EXPERT_GATE_BIAS] = F32("ffn_gate_exps.bias", EXPERT_BIAS, EXPERTS, EXPERT_FFN),
    [TD_ROLE_EXPERT_UP_BIAS] = F32("ffn_up_exps.bias", EXPERT_BIAS, EXPERTS, EXPERT_FFN),
    [TD_ROLE_EXPERT_DOWN_BIAS] = F32("ffn_down_exps.bias", EXPERT_BIAS, EXPERTS, HIDDEN),
    [TD_ROLE_SHARED_GATE] = MATRIX("ffn_gate_shexp.weight", TD_IS_SHARED_LAYER, SHARED_FFN, HIDDEN),
    [TD_ROLE_SHARED_UP] = MATRIX("ffn_up_shexp.weight", TD_IS_SHARED_LAYER, SHARED_FFN, HIDDEN),
    [TD_ROLE_SHARED_DOWN] = MATRIX("ffn_down_shexp.weight", TD_IS_SHARED_LAYER, HIDDEN, SHARED_FFN),
    [TD_ROLE_FFN_BRANCH_NORM] = F32("post_ffw_norm.weight", TD_HAS_BRANCH_NORM, NORM, HIDDEN),
    [TD_ROLE_FFN_POST_NORM] = F32("layer_output_norm.weight", TD_HAS_POST_NORM, NORM, HIDDEN),
};

/* Weights that are there where a trait is not. */
static uint32_t excluded_by(enum td_role role) {
  switch (role) {
    case TD_ROLE_POSITIONS:
      return TD_HAS_ROPE;
    case TD_ROLE_POOLER:
    case TD_ROLE_POOLER_BIAS:
      return TD_HAS_HEAD;
    case TD_ROLE_Q:
    case TD_ROLE_K:
    case TD_ROLE_V:
      return TD_HAS_MLA;
    default:
      return 0;
  }
}

bool td_role_has(const struct td_shape *shape, enum td_role role, int32_t layer) {
  uint32_t traits = td_traits(shape, role < TD_ROLE_LAYER_FIRST ? -1 : layer), needs = rows[role].needs;
  return (traits & needs) == needs && !(traits & excluded_by(role));
}

bool td_role_is_f32(enum td_role role) {
  return rows[role].f32;
}

bool td_role_is_experts(enum td_role role) {
  return rows[role].experts;
}

static int64_t latent_size(const struct td_shape *shape, enum size size) {
  switch (size) {
    case Q_LORA:
      return shape->q_lora;
    case KV_LORA:
      return shape->kv_lora;
    case KV_LATENT:
      return (int64_t)shape->kv_lora + shape->rope_dim;
    case NOPE:
      return shape->nope_dim;
    case QUERY_LATENTS:
      return (int64_t)shape->heads * shape->kv_lora;
    default: /* VALUES */
      return (int64_t)shape->heads * (shape->kv_lora ? shape->value_dim : shape->head_dim);
  }
}

static int64_t size_of(const struct td_shape *shape, enum size size) {
  const struct td_arch_info *info = td_arch_info(shape->arch);
  switch (size) {
    case ONE:
      return 1;
    case NORM:
      return info->traits & TD_HAS_LAYER_NORM ? 2 : 1;
    case SEGMENTS:
      return SEGMENT_COUNT;
    case HIDDEN:
      return shape->hidden;
    case VOCAB:
      return shape->vocab;
    case POSITIONS:
      return (int64_t)shape->context + info->extra_positions;
    case ROPE_PAIRS:
      return shape->rope_dim / 2;
    case HEADS:
      return shape->heads;
    case HEAD:
      return shape->head_dim;
    case Q_WIDTH:
      return (int64_t)shape->heads * shape->head_dim;
    case KV_WIDTH:
      return (int64_t)shape->kv_heads * shape->head_dim;
    case FFN:
      return shape->ffn;
    case EXPERTS:
      return shape->experts;
    case EXPERT_FFN:
      return shape->expert_ffn;
    case SHARED_FFN:
      return shape->shared_ffn;
    default:
      return latent_size(shape, size);
  }
}

static enum td_dtype dtype_of(const struct td_shape *shape, const struct row *row) {
  if (row->f32) return TD_F32;
  return row->experts ? shape->expert_dtype : shape->weight_dtype;
}

void td_role_weight(const struct td_shape *shape, enum td_role role, int32_t layer, struct td_weight *out) {
  const struct row *row = &rows[role];
  *out = (struct td_weight){.dtype = dtype_of(shape, row),
                            .rows = size_of(shape, row->rows) * (row->experts ? shape->experts : 1),
                            .cols = size_of(shape, row->cols)};
  int used = role >= TD_ROLE_LAYER_FIRST
                 ? snprintf(out->name, sizeof out->name, "blk.%" PRId32 ".%s", layer, row->suffix)
                 : snprintf(out->name, sizeof out->name, "%s", row->suffix);
  assert(used > 0 && (size_t)used < sizeof out->name);
  (void)used;
}
