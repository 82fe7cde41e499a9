/* SPDX-License-Identifier: Apache-2.0
 *
 * Shape-only models: a libconfig file with the dimensions alone. Which keys make sense, and which must be there,
 * depends on the architecture: see `rules`.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "arch.h"
#include "internal.h"
#include "tandem/base.h"
#include "tandem/config.h"

/* As the option table writes it; the bounds make the narrowing in fill_shape safe. Integers that may be absent are 0
 * then, reals NaN. */
struct shape_options {
  const char *name;
  int architecture, weights, expert_weights;
  int64_t layers, hidden, heads, kv_heads, head_dim, ffn, vocab, context, rope_dim;
  int64_t experts, experts_used, expert_ffn, shared_ffn, dense_layers, window, window_period;
  int64_t q_lora, kv_lora, nope_dim, value_dim;
  double rope_theta, window_rope_theta, norm_epsilon;
  bool tied_output, rope_factors;
};

/* Both lists are turned into enums by name, so that they cannot drift apart: see dtype_of_choice, arch_of_choice. */
#define DTYPE_CHOICES "f32|f16|bf16|q8_0|q4_0|q4_1|q5_0|q5_1|q2_k|q3_k|q4_k|q5_k|q6_k|iq4_nl|fp8|mxfp4|nvfp4"
#define ARCH_CHOICES "llama|qwen2|qwen3|qwen3moe|gemma3|gpt-oss|deepseek3|opt|bert"
#define SAME_AS_WEIGHTS "weights"

#define AT(key) offsetof(struct shape_options, key)
#define INT_ROW(key, most, words) \
  { #key, TD_OPT_INT, NULL, NULL, words, AT(key), 1, most, NULL, NULL }
/* Required or not by the architecture. */
#define SOME_ROW(key, most, words) \
  { #key, TD_OPT_INT, NULL, "0", words, AT(key), 1, most, NULL, NULL }
#define SOME_REAL(key, words) \
  { #key, TD_OPT_REAL, NULL, "nan", words, AT(key), 1, 1e12, NULL, NULL }
#define BOOL_ROW(key, words) \
  { #key, TD_OPT_BOOL, NULL, "false", words, AT(key), 0, 0, NULL, NULL }

static const struct td_option options[] = {
    {"name", TD_OPT_TEXT, NULL, NULL, "what traces and tables call the model", AT(name), 0, 0, NULL, NULL},
    {"architecture", TD_OPT_CHOICE, NULL, NULL, "how the dimensions are to be read", AT(architecture), 0, 0,
     ARCH_CHOICES, NULL},
    INT_ROW(layers, TD_LAYERS_MAX, "transformer layers"),
    INT_ROW(hidden, TD_HIDDEN_MAX, "width of the residual stream"),
    INT_ROW(heads, TD_HEADS_MAX, "query heads"),
    SOME_ROW(kv_heads, TD_HEADS_MAX, "key and value heads; divides heads (not deepseek3, opt, bert)"),
    SOME_ROW(head_dim, TD_HEAD_DIM_MAX, "width of one head (not deepseek3, opt, bert)"),
    SOME_ROW(ffn, TD_FFN_MAX, "inner width of a dense FFN; of one expert for llama with experts"),
    INT_ROW(vocab, TD_VOCAB_MAX, "rows of the embedding"),
    {"context", TD_OPT_INT, "tokens", NULL, "positions the model was made for", AT(context), 1, TD_CONTEXT_MAX, NULL,
     NULL},
    SOME_ROW(rope_dim, TD_HEAD_DIM_MAX, "leading elements of a head that rotate; even (not opt, bert)"),
    SOME_REAL(rope_theta, "base of the rotary frequencies (not opt, bert)"),
    {"norm_epsilon", TD_OPT_REAL, NULL, NULL, "added to the mean square in norms", AT(norm_epsilon), 0, 0.1, NULL,
     NULL},
    BOOL_ROW(tied_output, "the output matrix is the embedding"),
    BOOL_ROW(rope_factors, "a vector of factors divides the rotary frequencies (Llama 3.1)"),
    {"weights", TD_OPT_CHOICE, NULL, NULL, "element type of every matrix", AT(weights), 0, 0, DTYPE_CHOICES, NULL},
    SOME_ROW(experts, TD_EXPERTS_MAX, "experts of a layer (llama, qwen3moe, gpt-oss, deepseek3)"),
    SOME_ROW(experts_used, TD_EXPERTS_MAX, "experts that a token is routed to"),
    SOME_ROW(expert_ffn, TD_FFN_MAX, "inner width of one expert; llama: ffn where not given"),
    {"expert_weights", TD_OPT_CHOICE, NULL, SAME_AS_WEIGHTS, "element type of the experts' matrices",
     AT(expert_weights), 0, 0, SAME_AS_WEIGHTS "|" DTYPE_CHOICES, NULL},
    SOME_ROW(shared_ffn, TD_FFN_MAX, "inner width of the experts that every token passes (deepseek3); absent: none"),
    SOME_ROW(dense_layers, TD_LAYERS_MAX, "first layers with a dense FFN instead of experts (deepseek3); absent: none"),
    SOME_ROW(window, TD_CONTEXT_MAX, "positions a windowed layer sees, itself included (gemma3, gpt-oss)"),
    SOME_ROW(window_period, TD_LAYERS_MAX, "every so many layers one sees everything; absent: gemma3 6, gpt-oss 2"),
    SOME_REAL(window_rope_theta, "rope base of windowed layers (gemma3); absent: 10000"),
    SOME_ROW(q_lora, TD_HIDDEN_MAX, "compressed width of Q (deepseek3)"),
    SOME_ROW(kv_lora, TD_HEAD_DIM_MAX, "compressed width of K and V: the latent (deepseek3)"),
    SOME_ROW(nope_dim, TD_HEAD_DIM_MAX, "unrotated part of a head's query and key (deepseek3)"),
    SOME_ROW(value_dim, TD_HEAD_DIM_MAX, "width of a head's value (deepseek3)"),
    {0},
};
static const struct td_option_group group = {"model", sizeof(struct shape_options), options};

/* A key that makes sense only with these traits, and must be there with `required`. */
struct rule {
  const char *key;
  size_t offset;
  bool real;
  uint32_t needs, required;
};
#define RULE(key_, needs_, required_) \
  { .key = #key_, .offset = AT(key_), .needs = needs_, .required = required_ }
#define REAL_RULE(key_, needs_, required_) \
  { .key = #key_, .offset = AT(key_), .real = true, .needs = needs_, .required = required_ }

static const struct rule rules[] = {
    RULE(kv_heads, TD_HAS_GQA, TD_HAS_GQA),
    RULE(head_dim, TD_HAS_GQA, TD_HAS_GQA),
    RULE(ffn, TD_HAS_DENSE_FFN, TD_HAS_DENSE_FFN),
    RULE(rope_dim, TD_HAS_ROPE, TD_HAS_ROPE),
    REAL_RULE(rope_theta, TD_HAS_ROPE, TD_HAS_ROPE),
    RULE(experts, TD_HAS_EXPERTS, TD_HAS_ONLY_EXPERTS),
    RULE(experts_used, TD_HAS_EXPERTS, TD_HAS_ONLY_EXPERTS),
    RULE(expert_ffn, TD_HAS_EXPERTS, TD_HAS_ONLY_EXPERTS),
    RULE(shared_ffn, TD_HAS_SHARED, 0),
    RULE(dense_layers, TD_HAS_SHARED, 0),
    RULE(window, TD_HAS_WINDOW, TD_HAS_WINDOW),
    RULE(window_period, TD_HAS_WINDOW, 0),
    REAL_RULE(window_rope_theta, TD_HAS_LOCAL_THETA, 0),
    RULE(q_lora, TD_HAS_MLA, TD_HAS_MLA),
    RULE(kv_lora, TD_HAS_MLA, TD_HAS_MLA),
    RULE(nope_dim, TD_HAS_MLA, TD_HAS_MLA),
    RULE(value_dim, TD_HAS_MLA, TD_HAS_MLA),
};

static bool is_given(const struct shape_options *in, const struct rule *rule) {
  const void *field = (const char *)in + rule->offset;
  return rule->real ? !isnan(*(const double *)field) : *(const int64_t *)field != 0;
}

static td_status stranger(const struct td_config *config, const char *key, const char *found,
                          const char *architecture) {
  return td_config_fail(config, key, "found %s, expected no such key for architecture \"%s\"", found, architecture);
}

static td_status check_rules(const struct td_config *config, const struct shape_options *in, enum td_arch arch) {
  uint32_t traits = td_arch_info(arch)->traits;
  for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
    bool given = is_given(in, &rules[i]);
    if (given && !(traits & rules[i].needs)) return stranger(config, rules[i].key, "it", td_arch_name(arch));
    if (!given && traits & rules[i].required) {
      return td_config_fail(config, rules[i].key, "found nothing, expected a number for architecture \"%s\"",
                            td_arch_name(arch));
    }
  }
  if (in->rope_factors && !(traits & TD_HAS_FACTORS)) {
    return stranger(config, "rope_factors", "true", td_arch_name(arch));
  }
  if (in->tied_output && !(traits & TD_HAS_HEAD)) return stranger(config, "tied_output", "true", td_arch_name(arch));
  if (!in->experts != !in->experts_used) {
    return td_config_fail(config, in->experts ? "experts_used" : "experts", "found nothing, expected both or neither");
  }
  if (in->experts) return TD_OK;
  if (in->expert_ffn) return td_config_fail(config, "expert_ffn", "found it without experts, expected experts too");
  if (in->expert_weights) {
    return td_config_fail(config, "expert_weights", "found it without experts, expected experts too");
  }
  return TD_OK;
}

static td_status word_of_choice(const char *choices, int choice, char *word, size_t size) {
  for (int i = 0; i < choice; i++) choices = strchr(choices, '|') + 1;
  return td_format(word, size, "%.*s", (int)strcspn(choices, "|"), choices);
}

static td_status dtype_of_choice(int choice, enum td_dtype *out_dtype) {
  char word[16];
  TD_TRY(word_of_choice(DTYPE_CHOICES, choice, word, sizeof word));
  const struct td_dtype_info *info = td_dtype_find(word);
  if (!info) return td_fail(TD_INTERNAL, "no element type \"%s\"", word);
  *out_dtype = info->dtype;
  return TD_OK;
}

static td_status arch_of_choice(int choice, enum td_arch *out_arch) {
  char word[16];
  TD_TRY(word_of_choice(ARCH_CHOICES, choice, word, sizeof word));
  if (td_arch_find((struct td_span){word, strlen(word)}, out_arch)) return TD_OK;
  return td_fail(TD_INTERNAL, "no architecture \"%s\"", word);
}

static void copy_numbers(const struct shape_options *in, struct td_shape *out) {
  out->layers = (int32_t)in->layers;
  out->hidden = (int32_t)in->hidden;
  out->heads = (int32_t)in->heads;
  out->kv_heads = (int32_t)in->kv_heads;
  out->head_dim = (int32_t)in->head_dim;
  out->ffn = (int32_t)in->ffn;
  out->vocab = (int32_t)in->vocab;
  out->context = (int32_t)in->context;
  out->rope_dim = (int32_t)in->rope_dim;
  out->experts = (int32_t)in->experts;
  out->experts_used = (int32_t)in->experts_used;
  out->expert_ffn = (int32_t)in->expert_ffn;
  out->shared_ffn = (int32_t)in->shared_ffn;
  out->dense_layers = (int32_t)in->dense_layers;
  out->window = (int32_t)in->window;
  out->window_period = (int32_t)in->window_period;
  out->q_lora = (int32_t)in->q_lora;
  out->kv_lora = (int32_t)in->kv_lora;
  out->nope_dim = (int32_t)in->nope_dim;
  out->value_dim = (int32_t)in->value_dim;
  out->rope_theta = isnan(in->rope_theta) ? 0 : in->rope_theta;
  out->rope_scale = 1;
  out->window_rope_theta = isnan(in->window_rope_theta) ? 0 : in->window_rope_theta;
  out->norm_epsilon = in->norm_epsilon;
  out->tied_output = in->tied_output;
  out->rope_factors = in->rope_factors;
}

/* What follows from other keys. */
static td_status derive(const struct td_config *config, struct td_shape *shape) {
  const struct td_arch_info *info = td_arch_info(shape->arch);
  if (info->traits & TD_HAS_MLA) {
    shape->kv_heads = 1;
    shape->head_dim = shape->nope_dim + shape->rope_dim;
  } else if (!(info->traits & TD_HAS_GQA)) {
    if (shape->hidden % shape->heads) {
      return td_config_fail(config, "hidden", "found %d, expected a multiple of %d heads", (int)shape->hidden,
                            (int)shape->heads);
    }
    shape->kv_heads = shape->heads;
    shape->head_dim = shape->hidden / shape->heads;
  }
  if (shape->experts && !shape->expert_ffn) shape->expert_ffn = shape->ffn;
  if (shape->window && !shape->window_period) shape->window_period = info->window_period;
  bool local = info->traits & TD_HAS_LOCAL_THETA;
  if (local && shape->window_rope_theta == 0) shape->window_rope_theta = TD_ROPE_THETA_DEFAULT;
  return TD_OK;
}

static td_status fill_shape(const struct td_config *config, const struct shape_options *in, struct td_shape *out) {
  *out = (struct td_shape){0};
  TD_TRY(arch_of_choice(in->architecture, &out->arch));
  TD_TRY(check_rules(config, in, out->arch));
  if (!*in->name || strlen(in->name) >= TD_NAME_BYTES) {
    return td_config_fail(config, "name", "found %zu bytes, expected 1 to %d", strlen(in->name), TD_NAME_BYTES - 1);
  }
  TD_TRY(td_format(out->name, sizeof out->name, "%s", in->name));
  copy_numbers(in, out);
  TD_TRY(derive(config, out));
  TD_TRY(dtype_of_choice(in->weights, &out->weight_dtype));
  out->expert_dtype = out->weight_dtype;
  if (in->expert_weights) TD_TRY(dtype_of_choice(in->expert_weights - 1, &out->expert_dtype));
  return td_arch_check_shape(TD_CONFIG, td_config_path(config), out);
}

td_status td_shape_read(const char *path, struct td_shape *out_shape) {
  struct td_config *config;
  struct shape_options parsed;
  struct td_shape shape;
  TD_TRY(td_config_open(path, NULL, 0, &config));
  td_status status = td_config_parse(config, &group, &parsed);
  if (status == TD_OK) status = fill_shape(config, &parsed, &shape);
  td_config_close(config);
  TD_TRY(status);
  *out_shape = shape;
  return TD_OK;
}
