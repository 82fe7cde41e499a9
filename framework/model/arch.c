/* SPDX-License-Identifier: Apache-2.0
 *
 * The architectures. Facts: the models' own config.json and modelling code, and how llama.cpp converts and runs them
 * (src/models of that project), since GGUF files follow it.
 */
#include "arch.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "tandem/base.h"

/* RMS norms before attention and before a gated FFN, rotary positions, a vocabulary head. */
#define DECODER (TD_HAS_ROPE | TD_HAS_PRE_NORM | TD_HAS_GATE | TD_HAS_HEAD)
/* What the years before that looked like: LayerNorm, learned positions, biases everywhere, no gate. */
#define CLASSIC (TD_HAS_LAYER_NORM | TD_HAS_QKV_BIAS | TD_HAS_OUT_BIAS | TD_HAS_FFN_BIAS | TD_HAS_DENSE_FFN)

static const struct td_arch_info infos[TD_ARCH_COUNT] = {
    [TD_ARCH_LLAMA] = {.name = "llama",
                       .executes = true,
                       .traits = DECODER | TD_HAS_GQA | TD_HAS_DENSE_FFN | TD_HAS_EXPERTS | TD_HAS_FACTORS,
                       .rope_pairs = TD_ROPE_ADJACENT,
                       .activation = TD_ACT_SILU},
    [TD_ARCH_QWEN2] = {.name = "qwen2",
                       .executes = true,
                       .traits = DECODER | TD_HAS_GQA | TD_HAS_DENSE_FFN | TD_HAS_QKV_BIAS,
                       .rope_pairs = TD_ROPE_HALVES,
                       .activation = TD_ACT_SILU},
    [TD_ARCH_QWEN3] = {.name = "qwen3",
                       .executes = true,
                       .traits = DECODER | TD_HAS_GQA | TD_HAS_DENSE_FFN | TD_HAS_QK_NORM,
                       .rope_pairs = TD_ROPE_HALVES,
                       .activation = TD_ACT_SILU},
    [TD_ARCH_QWEN3MOE] = {.name = "qwen3moe",
                          .executes = true,
                          .traits = DECODER | TD_HAS_GQA | TD_HAS_QK_NORM | TD_HAS_EXPERTS | TD_HAS_ONLY_EXPERTS,
                          .rope_pairs = TD_ROPE_HALVES,
                          .activation = TD_ACT_SILU},
    [TD_ARCH_GEMMA3] = {.name = "gemma3",
                        .executes = true,
                        .traits = DECODER | TD_HAS_GQA | TD_HAS_DENSE_FFN | TD_HAS_QK_NORM | TD_HAS_BRANCH_NORM |
                                  TD_HAS_WINDOW | TD_HAS_LOCAL_THETA | TD_HAS_EMBED_SCALE,
                        .rope_pairs = TD_ROPE_HALVES,
                        .activation = TD_ACT_GELU,
                        .window_period = 6},
    [TD_ARCH_GPT_OSS] = {.name = "gpt-oss",
                         .traits = DECODER | TD_HAS_GQA | TD_HAS_QKV_BIAS | TD_HAS_OUT_BIAS | TD_HAS_SINKS |
                                   TD_HAS_EXPERTS | TD_HAS_ONLY_EXPERTS | TD_HAS_ROUTER_BIAS | TD_HAS_EXPERT_BIAS |
                                   TD_HAS_WINDOW,
                         .rope_pairs = TD_ROPE_HALVES,
                         .activation = TD_ACT_SILU,
                         .window_period = 2},
    [TD_ARCH_DEEPSEEK3] = {.name = "deepseek3",
                           .traits = DECODER | TD_HAS_MLA | TD_HAS_DENSE_FFN | TD_HAS_EXPERTS | TD_HAS_ONLY_EXPERTS |
                                     TD_HAS_ROUTER_BIAS | TD_HAS_SHARED,
                           .rope_pairs = TD_ROPE_ADJACENT,
                           .activation = TD_ACT_SILU},
    [TD_ARCH_OPT] = {.name = "opt",
                     .traits = CLASSIC | TD_HAS_PRE_NORM | TD_HAS_HEAD,
                     .activation = TD_ACT_RELU,
                     .extra_positions = 2},
    [TD_ARCH_BERT] = {.name = "bert",
                      .traits = CLASSIC | TD_HAS_POST_NORM | TD_HAS_TOKEN_TYPES,
                      .activation = TD_ACT_GELU},
};

const struct td_arch_info *td_arch_info(enum td_arch arch) {
  return &infos[arch];
}

const char *td_arch_name(enum td_arch arch) {
  return (unsigned)arch < TD_ARCH_COUNT ? infos[arch].name : "unknown";
}

bool td_arch_executes(enum td_arch arch) {
  return (unsigned)arch < TD_ARCH_COUNT && infos[arch].executes;
}

bool td_arch_find(struct td_span name, enum td_arch *out_arch) {
  for (int i = 0; i < TD_ARCH_COUNT; i++) {
    if (!td_span_is(name, infos[i].name)) continue;
    *out_arch = (enum td_arch)i;
    return true;
  }
  return false;
}

void td_arch_executed_names(char *out, size_t size) {
  size_t used = 0;
  *out = 0;
  for (int i = 0; i < TD_ARCH_COUNT; i++) {
    if (!infos[i].executes || used >= size) continue;
    int more = snprintf(out + used, size - used, "%s%s", used ? ", " : "", infos[i].name);
    used += more > 0 ? (size_t)more : 0;
  }
}

bool td_shape_is_windowed(const struct td_shape *shape, int32_t layer) {
  if (!shape->window) return false;
  return !shape->window_period || (layer + 1) % shape->window_period != 0;
}

td_status td_shape_check_tensor(const struct td_shape *shape, int64_t chips) {
  bool shared = shape->kv_heads % chips == 0 || chips % shape->kv_heads == 0;
  if (shape->heads % chips == 0 && shared) return TD_OK;
  return td_fail(TD_UNSUPPORTED,
                 "found %" PRId64 ", expected a divisor of the %" PRId32 " heads of %.64s that divides its %" PRId32
                 " key and value heads or is a multiple of them",
                 chips, shape->heads, shape->name, shape->kv_heads);
}

td_status td_shape_check_stages(const struct td_shape *shape, int64_t stages) {
  if (stages <= shape->layers) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "found %" PRId64 ", expected at most the %" PRId32 " layers of %.64s", stages,
                 shape->layers, shape->name);
}

int64_t td_shape_kv_elements(const struct td_shape *shape) {
  if (shape->kv_lora) return (int64_t)shape->kv_lora + shape->rope_dim;
  return 2 * (int64_t)shape->kv_heads * shape->head_dim;
}

uint32_t td_traits(const struct td_shape *shape, int32_t layer) {
  uint32_t traits = infos[shape->arch].traits;
  bool real = layer >= 0 && layer < shape->layers;
  bool experts = real && shape->experts > 0 && layer >= shape->dense_layers;
  if (!shape->tied_output) traits |= TD_IS_UNTIED;
  if (shape->rope_factors) traits |= TD_IS_FACTORED;
  if (real && !experts) traits |= TD_IS_DENSE_LAYER;
  if (experts) traits |= TD_IS_EXPERT_LAYER;
  if (experts && shape->shared_ffn) traits |= TD_IS_SHARED_LAYER;
  return traits;
}

/* Gemma 3's 27B scales by its hidden size per head instead of the head's own width (query_pre_attn_scalar = 168 in its
 * config.json). GGUF has no key for it: llama.cpp tells that model by its 62 layers, so files mean the same here. */
#define GEMMA3_27B_LAYERS 62

double td_attention_scale(const struct td_shape *shape) {
  bool by_hidden = shape->arch == TD_ARCH_GEMMA3 && shape->layers == GEMMA3_27B_LAYERS;
  int32_t width = by_hidden ? shape->hidden / shape->heads : shape->head_dim;
  return 1.0 / sqrt((double)width);
}

/* ---- a shape's numbers against each other ---- */

struct checked {
  enum td_code code;
  const char *path;
};

static td_status refuse(const struct checked *checked, const char *field, double found, const char *expected) {
  return td_fail(checked->code, "%s: %s: found %.9g, expected %s", checked->path, field, found, expected);
}

static td_status check_attention(const struct checked *checked, const struct td_shape *shape) {
  if (shape->kv_heads > shape->heads || shape->heads % shape->kv_heads) {
    return refuse(checked, "attention.head_count_kv (kv_heads)", shape->kv_heads, "a divisor of the number of heads");
  }
  return TD_OK;
}

static td_status check_rope(const struct checked *checked, const struct td_shape *shape) {
  if (shape->rope_dim > shape->head_dim || shape->rope_dim % 2) {
    return refuse(checked, "rope.dimension_count (rope_dim)", shape->rope_dim,
                  "an even number up to the head dimension");
  }
  if (!(shape->rope_theta > 0) || !isfinite(shape->rope_theta)) {
    return refuse(checked, "rope.freq_base (rope_theta)", shape->rope_theta, "a positive number");
  }
  bool local = infos[shape->arch].traits & TD_HAS_LOCAL_THETA;
  if (local && (!(shape->window_rope_theta > 0) || !isfinite(shape->window_rope_theta))) {
    return refuse(checked, "rope.freq_base_swa (window_rope_theta)", shape->window_rope_theta, "a positive number");
  }
  return TD_OK;
}

static td_status check_experts(const struct checked *checked, const struct td_shape *shape) {
  if (!shape->experts != !shape->experts_used || shape->experts_used > shape->experts) {
    return refuse(checked, "expert_used_count (experts_used)", shape->experts_used,
                  shape->experts ? "1 up to the number of experts" : "none without experts");
  }
  if (!shape->experts && infos[shape->arch].traits & TD_HAS_ONLY_EXPERTS) {
    return refuse(checked, "expert_count (experts)", shape->experts, "at least 1 in this architecture");
  }
  if (shape->dense_layers > shape->layers) {
    return refuse(checked, "dense_layers", shape->dense_layers, "at most the number of layers");
  }
  return TD_OK;
}

td_status td_arch_check_shape(enum td_code code, const char *path, const struct td_shape *shape) {
  const struct checked checked = {code, path};
  TD_TRY(check_attention(&checked, shape));
  if (infos[shape->arch].traits & TD_HAS_ROPE) TD_TRY(check_rope(&checked, shape));
  TD_TRY(check_experts(&checked, shape));
  if (!(shape->norm_epsilon >= 0) || shape->norm_epsilon >= 1) {
    return refuse(&checked, "attention.layer_norm_rms_epsilon (norm_epsilon)", shape->norm_epsilon,
                  "a number from 0 to below 1");
  }
  return TD_OK;
}
