/* SPDX-License-Identifier: Apache-2.0
 *
 * Shape-only models: a libconfig file with the dimensions alone.
 */
#include <stdio.h>
#include <string.h>

#include "internal.h"
#include "llama.h"
#include "tandem/base.h"
#include "tandem/config.h"

/* As the option table writes it; the bounds make the narrowing in fill_shape safe. */
struct shape_options {
  const char *name;
  int architecture, weights;
  int64_t layers, hidden, heads, kv_heads, head_dim, ffn, vocab, context, rope_dim;
  double rope_theta, norm_epsilon;
  bool tied_output, rope_factors;
};

/* Index = enum td_dtype by name, so that the two lists cannot drift apart: see fill_shape. */
#define DTYPE_CHOICES "f32|f16|bf16|q8_0|q4_0|q4_1"

#define INT_ROW(key, most, words) \
  { #key, TD_OPT_INT, NULL, NULL, words, offsetof(struct shape_options, key), 1, most, NULL, NULL }
#define BOOL_ROW(key, words) \
  { #key, TD_OPT_BOOL, NULL, "false", words, offsetof(struct shape_options, key), 0, 0, NULL, NULL }

static const struct td_option options[] = {
    {"name", TD_OPT_TEXT, NULL, NULL, "what traces and tables call the model", offsetof(struct shape_options, name), 0,
     0, NULL, NULL},
    {"architecture", TD_OPT_CHOICE, NULL, NULL, "how the dimensions are to be read",
     offsetof(struct shape_options, architecture), 0, 0, "llama", NULL},
    INT_ROW(layers, TD_LAYERS_MAX, "transformer layers"),
    INT_ROW(hidden, TD_HIDDEN_MAX, "width of the residual stream"),
    INT_ROW(heads, TD_HEADS_MAX, "query heads"),
    INT_ROW(kv_heads, TD_HEADS_MAX, "key and value heads; divides heads"),
    INT_ROW(head_dim, TD_HEAD_DIM_MAX, "width of one head"),
    INT_ROW(ffn, TD_FFN_MAX, "inner width of the SwiGLU block"),
    INT_ROW(vocab, TD_VOCAB_MAX, "rows of the embedding"),
    {"context", TD_OPT_INT, "tokens", NULL, "positions the model was made for", offsetof(struct shape_options, context),
     1, TD_CONTEXT_MAX, NULL, NULL},
    INT_ROW(rope_dim, TD_HEAD_DIM_MAX, "leading elements of a head that rotate; even"),
    {"rope_theta", TD_OPT_REAL, NULL, NULL, "base of the rotary frequencies",
     offsetof(struct shape_options, rope_theta), 1, 1e12, NULL, NULL},
    {"norm_epsilon", TD_OPT_REAL, NULL, NULL, "added to the mean square in RMS norms",
     offsetof(struct shape_options, norm_epsilon), 0, 0.1, NULL, NULL},
    BOOL_ROW(tied_output, "the output matrix is the embedding"),
    BOOL_ROW(rope_factors, "a vector of factors divides the rotary frequencies (Llama 3.1)"),
    {"weights", TD_OPT_CHOICE, NULL, NULL, "element type of every matrix", offsetof(struct shape_options, weights), 0,
     0, DTYPE_CHOICES, NULL},
    {0},
};
static const struct td_option_group group = {"model", sizeof(struct shape_options), options};

static td_status dtype_of_choice(int choice, enum td_dtype *out_dtype) {
  const char *name = DTYPE_CHOICES;
  for (int i = 0; i < choice; i++) name = strchr(name, '|') + 1;
  char word[16];
  TD_TRY(td_format(word, sizeof word, "%.*s", (int)strcspn(name, "|"), name));
  const struct td_dtype_info *info = td_dtype_find(word);
  if (!info) return td_fail(TD_INTERNAL, "no element type \"%s\"", word);
  *out_dtype = info->dtype;
  return TD_OK;
}

static td_status fill_shape(const struct td_config *config, const struct shape_options *in, struct td_shape *out) {
  *out = (struct td_shape){
      .arch = TD_ARCH_LLAMA,
      .layers = (int32_t)in->layers,
      .hidden = (int32_t)in->hidden,
      .heads = (int32_t)in->heads,
      .kv_heads = (int32_t)in->kv_heads,
      .head_dim = (int32_t)in->head_dim,
      .ffn = (int32_t)in->ffn,
      .vocab = (int32_t)in->vocab,
      .context = (int32_t)in->context,
      .rope_dim = (int32_t)in->rope_dim,
      .rope_theta = in->rope_theta,
      .norm_epsilon = in->norm_epsilon,
      .tied_output = in->tied_output,
      .rope_factors = in->rope_factors,
  };
  if (!*in->name || strlen(in->name) >= TD_NAME_BYTES) {
    return td_config_fail(config, "name", "found %zu bytes, expected 1 to %d", strlen(in->name), TD_NAME_BYTES - 1);
  }
  TD_TRY(td_format(out->name, sizeof out->name, "%s", in->name));
  TD_TRY(dtype_of_choice(in->weights, &out->weight_dtype));
  return td_llama_check_shape(TD_CONFIG, td_config_path(config), out);
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
