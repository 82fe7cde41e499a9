/* SPDX-License-Identifier: Apache-2.0
 *
 * Architectures as data: what each one is made of, and every weight with the condition under which a layer has it. The
 * GGUF reader checks files against these tables, shape-only models are sized by them, and the step graph is built from
 * them, so all three know the same tensors. A new architecture is a row of arch.c, and what it brings that no other
 * has.
 */
#ifndef TANDEM_MODEL_ARCH_H
#define TANDEM_MODEL_ARCH_H

#include "gguf.h"
#include "tandem/graph.h"

/* What a model, or one layer of it, has. */
enum td_trait {
  /* of the architecture */
  TD_HAS_GQA = 1 << 0,           /* heads of head_dim share kv_heads; else attention's widths follow from others */
  TD_HAS_MLA = 1 << 1,           /* multi-head latent attention */
  TD_HAS_ROPE = 1 << 2,          /* else learned positions are added to the embedding */
  TD_HAS_QK_NORM = 1 << 3,       /* RMS norm of each head of q and k, before rope */
  TD_HAS_QKV_BIAS = 1 << 4,      /* of q, k and v */
  TD_HAS_OUT_BIAS = 1 << 5,      /* of attention's output */
  TD_HAS_FFN_BIAS = 1 << 6,      /* of a dense FFN's matrices */
  TD_HAS_ROUTER_BIAS = 1 << 7,   /* of the router's logits */
  TD_HAS_EXPERT_BIAS = 1 << 8,   /* of the experts' matrices */
  TD_HAS_SINKS = 1 << 9,         /* one learned logit a head in attention's softmax */
  TD_HAS_PRE_NORM = 1 << 10,     /* attention and FFN read a norm of the residual stream */
  TD_HAS_BRANCH_NORM = 1 << 11,  /* what attention and FFN add is normed first */
  TD_HAS_POST_NORM = 1 << 12,    /* the residual stream itself is normed after each addition */
  TD_HAS_LAYER_NORM = 1 << 13,   /* norms subtract the mean and add a bias; else RMS norms */
  TD_HAS_GATE = 1 << 14,         /* FFNs multiply by an activated gate */
  TD_HAS_DENSE_FFN = 1 << 15,    /* some layer may have a dense FFN */
  TD_HAS_EXPERTS = 1 << 16,      /* layers may have experts */
  TD_HAS_ONLY_EXPERTS = 1 << 17, /* a model without experts is none of this architecture */
  TD_HAS_SHARED = 1 << 18,       /* every token may pass a shared expert, and first layers may be dense */
  TD_HAS_WINDOW = 1 << 19,       /* layers may attend to a sliding window */
  TD_HAS_LOCAL_THETA = 1 << 20,  /* windowed layers have a rope base of their own, and no position scaling */
  TD_HAS_EMBED_SCALE = 1 << 21,  /* embeddings are multiplied by sqrt(hidden) */
  TD_HAS_TOKEN_TYPES = 1 << 22,  /* an embedding of the text's segment is added */
  TD_HAS_HEAD = 1 << 23,         /* a vocabulary head; else a pooler over the first position: an encoder */
  TD_HAS_FACTORS = 1 << 24,      /* rope_freqs.weight may be there */
  /* of a shape, or of one layer: only td_traits sets them */
  TD_IS_UNTIED = 1 << 25,
  TD_IS_FACTORED = 1 << 26,
  TD_IS_DENSE_LAYER = 1 << 27,
  TD_IS_EXPERT_LAYER = 1 << 28,
  TD_IS_SHARED_LAYER = 1 << 29
};

struct td_arch_info {
  const char *name;
  bool executes;
  uint32_t traits;
  enum td_rope_pairs rope_pairs;
  enum td_activation activation;
  int32_t window_period;   /* where a model does not say */
  int32_t extra_positions; /* rows of the learned positions that no token uses */
};

/* Upper limits of a shape's numbers: above any real model, low enough that FLOPs and bytes of one operator fit int64
 * with room for millions of tokens. */
#define TD_LAYERS_MAX 4096
#define TD_HIDDEN_MAX (1 << 18)
#define TD_HEADS_MAX 4096
#define TD_HEAD_DIM_MAX 4096
#define TD_FFN_MAX (1 << 20)
#define TD_VOCAB_MAX (1 << 22)
#define TD_CONTEXT_MAX (1 << 28)
#define TD_EXPERTS_MAX (1 << 16)

/* Where neither file nor config says. Both are llama.cpp's: part of the format as it is used. */
#define TD_ROPE_THETA_DEFAULT 10000.0

const struct td_arch_info *td_arch_info(enum td_arch arch);
/* False if no architecture is called so. */
bool td_arch_find(struct td_span name, enum td_arch *out_arch);
/* "llama, qwen2, ..." of those that execute, for messages. */
void td_arch_executed_names(char *out, size_t size);

/* The traits of a layer; of the model's ends for a layer outside of it. */
uint32_t td_traits(const struct td_shape *shape, int32_t layer);
/* What attention multiplies its scores by. */
double td_attention_scale(const struct td_shape *shape);

/* The numbers of a shape against each other; `path` is for messages. Fails with `code`, naming the field. */
td_status td_arch_check_shape(enum td_code code, const char *path, const struct td_shape *shape);

/* ---- weights ---- */

enum td_role {
  TD_ROLE_EMBED,
  TD_ROLE_POSITIONS,
  TD_ROLE_TOKEN_TYPES,
  TD_ROLE_EMBED_NORM,
  TD_ROLE_OUTPUT_NORM,
  TD_ROLE_OUTPUT, /* absent when tied */
  TD_ROLE_POOLER,
  TD_ROLE_POOLER_BIAS,
  TD_ROLE_ROPE_FREQS,
  TD_ROLE_LAYER_FIRST,
  TD_ROLE_ATTN_NORM = TD_ROLE_LAYER_FIRST,
  TD_ROLE_Q,
  TD_ROLE_K,
  TD_ROLE_V,
  TD_ROLE_Q_BIAS,
  TD_ROLE_K_BIAS,
  TD_ROLE_V_BIAS,
  TD_ROLE_Q_NORM,
  TD_ROLE_K_NORM,
  TD_ROLE_Q_A,
  TD_ROLE_Q_A_NORM,
  TD_ROLE_Q_B,
  TD_ROLE_KV_A,
  TD_ROLE_KV_A_NORM,
  TD_ROLE_K_ABSORB, /* a head's unrotated query -> a query over the latent */
  TD_ROLE_V_EXPAND, /* a head's sum of latents -> its value */
  TD_ROLE_SINKS,
  TD_ROLE_O,
  TD_ROLE_O_BIAS,
  TD_ROLE_ATTN_BRANCH_NORM,
  TD_ROLE_ATTN_POST_NORM,
  TD_ROLE_FFN_NORM,
  TD_ROLE_GATE,
  TD_ROLE_UP,
  TD_ROLE_DOWN,
  TD_ROLE_UP_BIAS,
  TD_ROLE_DOWN_BIAS,
  TD_ROLE_ROUTER,
  TD_ROLE_ROUTER_BIAS,
  TD_ROLE_EXPERT_GATE,
  TD_ROLE_EXPERT_UP,
  TD_ROLE_EXPERT_DOWN,
  TD_ROLE_EXPERT_GATE_BIAS,
  TD_ROLE_EXPERT_UP_BIAS,
  TD_ROLE_EXPERT_DOWN_BIAS,
  TD_ROLE_SHARED_GATE,
  TD_ROLE_SHARED_UP,
  TD_ROLE_SHARED_DOWN,
  TD_ROLE_FFN_BRANCH_NORM,
  TD_ROLE_FFN_POST_NORM,
  TD_ROLE_COUNT
};

/* Whether a model of this shape has the weight, in this layer if it is one of a layer. */
bool td_role_has(const struct td_shape *shape, enum td_role role, int32_t layer);
/* Name, rows and columns of a weight; dtype as in a shape-only model (what td_role_is_f32 says is F32). The matrices
 * of experts lie one below the other. `layer` only matters to the roles from TD_ROLE_LAYER_FIRST on. */
void td_role_weight(const struct td_shape *shape, enum td_role role, int32_t layer, struct td_weight *out);
/* Norms, biases, sinks and rope factors: always F32. */
bool td_role_is_f32(enum td_role role);
/* Three axes in a file: columns, rows of one expert, experts. */
bool td_role_is_experts(enum td_role role);

/* ---- GGUF ---- */

/* Reads a file's metadata for the architecture that out_shape->arch already names (all but vocab, tied_output and
 * rope_factors, which its tensors tell). */
td_status td_arch_read_metadata(const struct td_gguf *gguf, struct td_shape *out_shape);
/* Completes the shape from the tensors and checks every tensor against it; unknown tensors are refused. */
td_status td_arch_check_tensors(const struct td_gguf *gguf, struct td_shape *shape);

#endif
