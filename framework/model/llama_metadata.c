/* SPDX-License-Identifier: Apache-2.0
 *
 * The llama architecture's metadata keys. A "llama." key that is not listed here is refused: it would have told us
 * something about the computation that we would then ignore.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "llama.h"
#include "tandem/base.h"

/* llama.cpp's value where a file gives none: part of the format as it is used. */
#define ROPE_THETA_DEFAULT 10000.0

struct int_key {
  const char *key;
  size_t offset; /* in td_shape, an int32_t */
  int64_t high;
  bool required;
};
static const struct int_key int_keys[] = {
    {"llama.block_count", offsetof(struct td_shape, layers), TD_LAYERS_MAX, true},
    {"llama.context_length", offsetof(struct td_shape, context), TD_CONTEXT_MAX, true},
    {"llama.embedding_length", offsetof(struct td_shape, hidden), TD_HIDDEN_MAX, true},
    {"llama.feed_forward_length", offsetof(struct td_shape, ffn), TD_FFN_MAX, true},
    {"llama.attention.head_count", offsetof(struct td_shape, heads), TD_HEADS_MAX, true},
    {"llama.attention.head_count_kv", offsetof(struct td_shape, kv_heads), TD_HEADS_MAX, false},
    {"llama.attention.key_length", offsetof(struct td_shape, head_dim), TD_HEAD_DIM_MAX, false},
    {"llama.rope.dimension_count", offsetof(struct td_shape, rope_dim), TD_HEAD_DIM_MAX, false},
};

/* Read elsewhere, or without any influence on what is computed. */
static const char *const other_keys[] = {
    "llama.attention.layer_norm_rms_epsilon",
    "llama.attention.value_length",
    "llama.attention.causal",
    "llama.rope.freq_base",
    "llama.rope.scaling.type",
    "llama.rope.scaling.factor",
    "llama.rope.scaling.original_context_length",
    "llama.rope.scaling.finetuned",
    "llama.rope.scale_linear",
    "llama.vocab_size",
    "llama.expert_count",
    "llama.expert_used_count",
    "llama.tensor_data_layout",
};

static bool is_known(struct td_span key) {
  for (size_t i = 0; i < sizeof int_keys / sizeof int_keys[0]; i++) {
    if (td_span_is(key, int_keys[i].key)) return true;
  }
  for (size_t i = 0; i < sizeof other_keys / sizeof other_keys[0]; i++) {
    if (td_span_is(key, other_keys[i])) return true;
  }
  return false;
}

static td_status check_keys(const struct td_gguf *gguf) {
  for (size_t i = 0; i < gguf->value_count; i++) {
    struct td_span key = gguf->values[i].key;
    if (key.bytes < 6 || memcmp(key.data, "llama.", 6) || is_known(key)) continue;
    return td_fail(TD_UNSUPPORTED, "%s: %.*s: found a parameter that tandem does not implement, expected a plain llama",
                   gguf->path, TD_SPAN_SHOW(key));
  }
  return TD_OK;
}

static td_status check_absent_or(const struct td_gguf *gguf, const char *key, int64_t want, const char *why) {
  int64_t found;
  if (!td_gguf_find(gguf, key)) return TD_OK;
  TD_TRY(td_gguf_int(gguf, key, 0, INT64_MAX, &found));
  if (found == want) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "%s: %s: found %" PRId64 ", expected %" PRId64 " (%s)", gguf->path, key, found, want,
                 why);
}

static td_status check_factor(const struct td_gguf *gguf, const char *key) {
  double factor;
  if (!td_gguf_find(gguf, key)) return TD_OK;
  TD_TRY(td_gguf_real(gguf, key, &factor));
  if (factor == 1.0) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "%s: %s: found %g, expected 1 (position interpolation is not implemented)", gguf->path,
                 key, factor);
}

/* Every scaling but "none" and "linear" by 1 changes the rotation. Llama 3.1's own scaling comes as a tensor. */
static td_status check_rope_scaling(const struct td_gguf *gguf) {
  struct td_span type = {"none", 4};
  if (td_gguf_find(gguf, "llama.rope.scaling.type")) TD_TRY(td_gguf_text(gguf, "llama.rope.scaling.type", &type));
  TD_TRY(check_factor(gguf, "llama.rope.scale_linear"));
  if (td_span_is(type, "none")) return TD_OK;
  if (td_span_is(type, "linear")) return check_factor(gguf, "llama.rope.scaling.factor");
  return td_fail(TD_UNSUPPORTED, "%s: llama.rope.scaling.type: found \"%.*s\", expected \"none\"", gguf->path,
                 TD_SPAN_SHOW(type));
}

static td_status check_layout(const struct td_gguf *gguf) {
  struct td_span layout;
  bool causal = true;
  if (td_gguf_find(gguf, "llama.attention.causal")) {
    TD_TRY(td_gguf_bool(gguf, "llama.attention.causal", &causal));
    if (!causal) return td_fail(TD_UNSUPPORTED, "%s: llama.attention.causal: found false, expected true", gguf->path);
  }
  if (!td_gguf_find(gguf, "llama.tensor_data_layout")) return TD_OK;
  TD_TRY(td_gguf_text(gguf, "llama.tensor_data_layout", &layout));
  if (td_span_is(layout, "Meta AI original pth")) return TD_OK; /* llama's usual permuted Q and K */
  return td_fail(TD_UNSUPPORTED, "%s: llama.tensor_data_layout: found \"%.*s\", expected \"Meta AI original pth\"",
                 gguf->path, TD_SPAN_SHOW(layout));
}

static td_status read_ints(const struct td_gguf *gguf, struct td_shape *shape) {
  for (size_t i = 0; i < sizeof int_keys / sizeof int_keys[0]; i++) {
    int64_t number;
    if (!int_keys[i].required && !td_gguf_find(gguf, int_keys[i].key)) continue;
    TD_TRY(td_gguf_int(gguf, int_keys[i].key, 1, int_keys[i].high, &number));
    *(int32_t *)((char *)shape + int_keys[i].offset) = (int32_t)number;
  }
  return TD_OK;
}

static td_status fill_absent(const struct td_gguf *gguf, struct td_shape *shape) {
  if (!shape->kv_heads) shape->kv_heads = shape->heads;
  if (!shape->head_dim) {
    if (shape->hidden % shape->heads) {
      return td_fail(TD_CORRUPT,
                     "%s: llama.embedding_length: found %" PRId32 ", expected a multiple of %" PRId32
                     " heads (no llama.attention.key_length)",
                     gguf->path, shape->hidden, shape->heads);
    }
    shape->head_dim = shape->hidden / shape->heads;
  }
  if (!shape->rope_dim) shape->rope_dim = shape->head_dim;
  return TD_OK;
}

/* A name is for people: what does not fit is cut before the character that would not, and says so. */
static void read_name(const struct td_gguf *gguf, struct td_shape *shape) {
  struct td_span name = {"unnamed", 7};
  const struct td_gguf_value *value = td_gguf_find(gguf, "general.name");
  if (value && value->type == TD_GGUF_STRING && !value->is_array) {
    const unsigned char *position = value->data;
    name = td_gguf_next_text(&position);
  }
  uint64_t room = TD_NAME_BYTES - 1, bytes = name.bytes;
  if (bytes > room) {
    bytes = room - 3;
    while (bytes && ((unsigned char)name.data[bytes] & 0xc0) == 0x80) bytes--;
  }
  memcpy(shape->name, name.data, bytes);
  if (bytes < name.bytes) memcpy(shape->name + bytes, "...", 3);
  for (char *c = shape->name; c < shape->name + bytes; c++) {
    if ((unsigned char)*c < ' ' || *c == 127) *c = '?';
  }
}

td_status td_llama_read_metadata(const struct td_gguf *gguf, struct td_shape *out_shape) {
  struct td_shape shape = {.arch = TD_ARCH_LLAMA, .rope_theta = ROPE_THETA_DEFAULT};
  TD_TRY(check_absent_or(gguf, "split.count", 1, "a model in several files is not read"));
  TD_TRY(check_absent_or(gguf, "llama.expert_count", 0, "mixtures of experts are not implemented"));
  TD_TRY(check_absent_or(gguf, "llama.expert_used_count", 0, "mixtures of experts are not implemented"));
  TD_TRY(check_keys(gguf));
  TD_TRY(check_rope_scaling(gguf));
  TD_TRY(check_layout(gguf));
  TD_TRY(read_ints(gguf, &shape));
  TD_TRY(fill_absent(gguf, &shape));
  TD_TRY(check_absent_or(gguf, "llama.attention.value_length", shape.head_dim, "the width of K"));
  TD_TRY(td_gguf_real(gguf, "llama.attention.layer_norm_rms_epsilon", &shape.norm_epsilon));
  if (td_gguf_find(gguf, "llama.rope.freq_base")) TD_TRY(td_gguf_real(gguf, "llama.rope.freq_base", &shape.rope_theta));
  TD_TRY(td_llama_check_shape(TD_CORRUPT, gguf->path, &shape));
  read_name(gguf, &shape);
  *out_shape = shape;
  return TD_OK;
}

static td_status refuse(enum td_code code, const char *path, const char *field, double found, const char *expected) {
  return td_fail(code, "%s: %s: found %.9g, expected %s", path, field, found, expected);
}

td_status td_llama_check_shape(enum td_code code, const char *path, const struct td_shape *shape) {
  if (shape->kv_heads > shape->heads || shape->heads % shape->kv_heads) {
    return refuse(code, path, "attention.head_count_kv (kv_heads)", shape->kv_heads,
                  "a divisor of the number of heads");
  }
  if (shape->rope_dim > shape->head_dim || shape->rope_dim % 2) {
    return refuse(code, path, "rope.dimension_count (rope_dim)", shape->rope_dim,
                  "an even number up to the head dimension");
  }
  if (!(shape->rope_theta > 0) || !isfinite(shape->rope_theta)) {
    return refuse(code, path, "rope.freq_base (rope_theta)", shape->rope_theta, "a positive number");
  }
  if (!(shape->norm_epsilon >= 0) || shape->norm_epsilon >= 1) {
    return refuse(code, path, "attention.layer_norm_rms_epsilon (norm_epsilon)", shape->norm_epsilon,
                  "a number from 0 to below 1");
  }
  return TD_OK;
}
