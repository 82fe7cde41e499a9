/* SPDX-License-Identifier: Apache-2.0
 *
 * An architecture's metadata keys. A key under the architecture's name that is not listed here is refused: it would
 * have told us something about the computation that we would then ignore. Names and defaults: llama.cpp's converter
 * and loader (gguf-py's constants, convert_hf_to_gguf), and Ollama's names for Gemma 3's rope.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "arch.h"
#include "tandem/base.h"

#define KEY_BYTES 96

enum key_kind {
  KEY_INT,   /* an int32 of the shape */
  KEY_REAL,  /* a double of the shape */
  KEY_OTHER, /* read elsewhere in this file or with the tensors, or without any influence on what is computed */
  KEY_FIXED  /* a number that must be `fixed`: what another would mean is not implemented */
};

struct key {
  const char *suffix;
  enum key_kind kind;
  size_t offset;  /* in td_shape */
  int64_t high;   /* INT */
  double fixed;   /* FIXED */
  uint32_t needs; /* traits of the architecture, all of them; without them the key is refused */
  bool required, may_be_zero;
};

#define FIELD(kind_, name, field, high_, needs_) \
  .suffix = name, .kind = kind_, .offset = offsetof(struct td_shape, field), .high = high_, .needs = needs_
#define NEEDED(name, field, high) \
  { FIELD(KEY_INT, name, field, high, 0), .required = true }
#define INT(name, field, high, needs) \
  { FIELD(KEY_INT, name, field, high, needs) }
#define COUNT(name, field, high, needs) \
  { FIELD(KEY_INT, name, field, high, needs), .may_be_zero = true }
#define REAL(name, field, needs) \
  { FIELD(KEY_REAL, name, field, 0, needs) }
#define OTHER(name, needs_) \
  { .suffix = name, .kind = KEY_OTHER, .needs = needs_ }
#define FIXED(name, value) \
  { .suffix = name, .kind = KEY_FIXED, .fixed = value }

static const struct key keys[] = {
    NEEDED("block_count", layers, TD_LAYERS_MAX),
    NEEDED("context_length", context, TD_CONTEXT_MAX),
    NEEDED("embedding_length", hidden, TD_HIDDEN_MAX),
    NEEDED("attention.head_count", heads, TD_HEADS_MAX),
    INT("feed_forward_length", ffn, TD_FFN_MAX, 0),
    INT("attention.head_count_kv", kv_heads, TD_HEADS_MAX, 0),
    INT("attention.key_length", head_dim, TD_HEAD_DIM_MAX, 0),
    INT("rope.dimension_count", rope_dim, TD_HEAD_DIM_MAX, 0),
    INT("expert_feed_forward_length", expert_ffn, TD_FFN_MAX, TD_HAS_EXPERTS),
    COUNT("expert_count", experts, TD_EXPERTS_MAX, TD_HAS_EXPERTS),
    COUNT("expert_used_count", experts_used, TD_EXPERTS_MAX, TD_HAS_EXPERTS),
    COUNT("attention.sliding_window", window, INT32_MAX, TD_HAS_WINDOW),
    {FIELD(KEY_REAL, "attention.layer_norm_rms_epsilon", norm_epsilon, 0, 0), .required = true},
    REAL("rope.global.freq_base", rope_theta, TD_HAS_LOCAL_THETA),
    REAL("rope.freq_base", rope_theta, 0),
    REAL("rope.local.freq_base", window_rope_theta, TD_HAS_LOCAL_THETA),
    REAL("rope.freq_base_swa", window_rope_theta, TD_HAS_LOCAL_THETA),
    OTHER("attention.value_length", 0),
    OTHER("attention.causal", 0),
    OTHER("attention.sliding_window_pattern", TD_HAS_WINDOW),
    OTHER("rope.scaling.type", 0),
    OTHER("rope.scaling.factor", 0),
    OTHER("rope.scale_linear", 0),
    OTHER("rope.scaling.original_context_length", 0),
    OTHER("rope.scaling.finetuned", 0),
    OTHER("tensor_data_layout", 0),
    OTHER("vocab_size", 0),
    OTHER("expert_weights_norm", TD_HAS_EXPERTS),
    FIXED("rope.scaling.attn_factor", 1),
    FIXED("attn_logit_softcapping", 0),
    FIXED("final_logit_softcapping", 0),
    FIXED("nextn_predict_layers", 0),
    FIXED("expert_count", 0), /* of architectures without experts */
    FIXED("expert_used_count", 0),
    FIXED("expert_shared_count", 0),
    FIXED("expert_shared_feed_forward_length", 0),
    FIXED("expert_group_count", 1),
    FIXED("expert_group_used_count", 1),
    FIXED("expert_gating_func", 1), /* softmax */
    FIXED("expert_weights_scale", 1),
};
#define KEYS (sizeof keys / sizeof keys[0])

/* A file being read. */
struct reader {
  const struct td_gguf *gguf;
  const struct td_arch_info *info;
  struct td_shape *shape;
};

/* "llama.block_count". The longest suffix fits by far. */
static const char *full_key(const struct reader *reader, const char *suffix, char out[KEY_BYTES]) {
  td_status status = td_format(out, KEY_BYTES, "%s.%s", reader->info->name, suffix);
  return status ? "" : out;
}

static bool present(const struct reader *reader, const char *suffix, char out[KEY_BYTES]) {
  return td_gguf_find(reader->gguf, full_key(reader, suffix, out)) != NULL;
}

static bool applies(const struct reader *reader, const struct key *key) {
  if ((reader->info->traits & key->needs) != key->needs) return false;
  /* of two rows for one key the one with a trait comes first */
  for (const struct key *before = keys; before < key; before++) {
    if (!strcmp(before->suffix, key->suffix) && applies(reader, before)) return false;
  }
  return true;
}

/* Gemma 3 files that describe an image encoder too: what text is computed does not depend on it. */
static bool is_other_medium(const struct reader *reader, struct td_span rest) {
  bool vision = rest.bytes > 7 && !memcmp(rest.data, "vision.", 7), mm = rest.bytes > 3 && !memcmp(rest.data, "mm.", 3);
  return reader->shape->arch == TD_ARCH_GEMMA3 && (vision || mm);
}

static bool is_known(const struct reader *reader, struct td_span rest) {
  for (size_t i = 0; i < KEYS; i++) {
    if (td_span_is(rest, keys[i].suffix) && applies(reader, &keys[i])) return true;
  }
  return is_other_medium(reader, rest);
}

static td_status check_keys(const struct reader *reader) {
  size_t prefix = strlen(reader->info->name) + 1;
  for (size_t i = 0; i < reader->gguf->value_count; i++) {
    struct td_span key = reader->gguf->values[i].key;
    bool ours = key.bytes >= prefix && !memcmp(key.data, reader->info->name, prefix - 1) && key.data[prefix - 1] == '.';
    if (!ours || is_known(reader, (struct td_span){key.data + prefix, key.bytes - prefix})) continue;
    return td_fail(TD_UNSUPPORTED,
                   "%s: %.*s: found a parameter that tandem does not implement, expected none beyond a plain %s",
                   reader->gguf->path, TD_SPAN_SHOW(key), reader->info->name);
  }
  return TD_OK;
}

/* An integer or a real, as files write either. */
static td_status read_number(const struct td_gguf *gguf, const char *key, double *out) {
  const struct td_gguf_value *value = td_gguf_find(gguf, key);
  int64_t number;
  if (value && !value->is_array && value->type == TD_GGUF_BOOL) {
    bool flag;
    TD_TRY(td_gguf_bool(gguf, key, &flag));
    *out = flag;
    return TD_OK;
  }
  if (value && (value->type == TD_GGUF_F32 || value->type == TD_GGUF_F64)) return td_gguf_real(gguf, key, out);
  TD_TRY(td_gguf_int(gguf, key, INT64_MIN, INT64_MAX, &number));
  *out = (double)number;
  return TD_OK;
}

/* llama.cpp takes a zero for "not given" in all of these. */
static td_status check_fixed(const struct reader *reader, const struct key *key, const char *name) {
  double found;
  TD_TRY(read_number(reader->gguf, name, &found));
  if (found == key->fixed || found == 0) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "%s: %s: found %g, expected %g (another is not implemented)", reader->gguf->path, name,
                 found, key->fixed);
}

static td_status read_key(const struct reader *reader, const struct key *key) {
  char name[KEY_BYTES];
  if (!present(reader, key->suffix, name) && !key->required) return TD_OK;
  void *field = (char *)reader->shape + key->offset;
  if (key->kind == KEY_FIXED) return check_fixed(reader, key, name);
  if (key->kind == KEY_REAL) return td_gguf_real(reader->gguf, name, field);
  int64_t number;
  TD_TRY(td_gguf_int(reader->gguf, name, key->may_be_zero ? 0 : 1, key->high, &number));
  *(int32_t *)field = (int32_t)number;
  return TD_OK;
}

static td_status read_keys(const struct reader *reader) {
  for (size_t i = 0; i < KEYS; i++) {
    if (keys[i].kind != KEY_OTHER && applies(reader, &keys[i])) TD_TRY(read_key(reader, &keys[i]));
  }
  return TD_OK;
}

/* ---- keys that need more than a number ---- */

/* As llama.cpp reads them: a missing type is "linear", a missing or zero factor is 1, the old key counts where the new
 * one is absent. Every type but "none" and "linear" rotates differently; Llama 3.1's own comes as a tensor. */
static td_status read_rope_scaling(const struct reader *reader) {
  char name[KEY_BYTES];
  double factor = 1;
  struct td_span type = {"linear", 6};
  if (present(reader, "rope.scaling.type", name)) TD_TRY(td_gguf_text(reader->gguf, name, &type));
  bool linear = td_span_is(type, "linear");
  if (!linear && !td_span_is(type, "none")) {
    return td_fail(TD_UNSUPPORTED, "%s: %s: found \"%.*s\", expected \"none\" or \"linear\"", reader->gguf->path, name,
                   TD_SPAN_SHOW(type));
  }
  if (present(reader, "rope.scaling.factor", name) || present(reader, "rope.scale_linear", name)) {
    TD_TRY(td_gguf_real(reader->gguf, name, &factor));
    if (factor == 0) factor = 1;
    if (!(factor > 0) || !isfinite(factor)) {
      return td_fail(TD_CORRUPT, "%s: %s: found %g, expected a positive number", reader->gguf->path, name, factor);
    }
  }
  reader->shape->rope_scale = linear ? 1 / factor : 1;
  return TD_OK;
}

/* One flag a layer, true for windowed: must be a period. */
static td_status read_window_flags(const struct reader *reader, const char *name) {
  const struct td_gguf_value *flags;
  struct td_shape *shape = reader->shape;
  TD_TRY(td_gguf_array(reader->gguf, name, TD_GGUF_BOOL, &flags));
  if (flags->count != (uint64_t)shape->layers) {
    return td_fail(TD_CORRUPT, "%s: %s: found %" PRIu64 " flags, expected %" PRId32 ", one a layer", reader->gguf->path,
                   name, flags->count, shape->layers);
  }
  int32_t full = 0;
  while (full < shape->layers && flags->data[full]) full++;
  shape->window_period = full < shape->layers ? full + 1 : 0;
  for (int32_t layer = 0; layer < shape->layers; layer++) {
    bool windowed = !shape->window_period || (layer + 1) % shape->window_period != 0;
    if ((flags->data[layer] != 0) == windowed) continue;
    return td_fail(TD_UNSUPPORTED,
                   "%s: %s: found layer %" PRId32 " %s, expected every layer %" PRId32 " times n to be the full one",
                   reader->gguf->path, name, layer, windowed ? "full" : "windowed", shape->window_period);
  }
  return TD_OK;
}

static td_status read_window(const struct reader *reader) {
  char name[KEY_BYTES];
  if (!(reader->info->traits & TD_HAS_WINDOW)) return TD_OK;
  if (!present(reader, "attention.sliding_window_pattern", name)) return TD_OK;
  if (td_gguf_find(reader->gguf, name)->is_array) return read_window_flags(reader, name);
  int64_t period;
  TD_TRY(td_gguf_int(reader->gguf, name, 0, TD_LAYERS_MAX, &period));
  reader->shape->window_period = (int32_t)period;
  return TD_OK;
}

static td_status check_flag(const struct reader *reader, const char *suffix) {
  char name[KEY_BYTES];
  bool flag = true;
  if (!present(reader, suffix, name)) return TD_OK;
  TD_TRY(td_gguf_bool(reader->gguf, name, &flag));
  return flag ? TD_OK : td_fail(TD_UNSUPPORTED, "%s: %s: found false, expected true", reader->gguf->path, name);
}

/* Llama's Q and K are permuted so that pairs are adjacent; that, said or not, is what the architecture means. */
static td_status check_layout(const struct reader *reader) {
  char name[KEY_BYTES];
  struct td_span layout;
  if (!present(reader, "tensor_data_layout", name)) return TD_OK;
  TD_TRY(td_gguf_text(reader->gguf, name, &layout));
  if (td_span_is(layout, "Meta AI original pth")) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "%s: %s: found \"%.*s\", expected \"Meta AI original pth\"", reader->gguf->path, name,
                 TD_SPAN_SHOW(layout));
}

static td_status check_parts(const struct td_gguf *gguf) {
  int64_t found;
  if (!td_gguf_find(gguf, "split.count")) return TD_OK;
  TD_TRY(td_gguf_int(gguf, "split.count", 0, INT64_MAX, &found));
  if (found == 1) return TD_OK;
  return td_fail(TD_UNSUPPORTED,
                 "%s: split.count: found %" PRId64 ", expected 1 (a model in several files is not read)", gguf->path,
                 found);
}

/* ---- what a file leaves out ---- */

static td_status missing(const struct reader *reader, const char *suffix) {
  char name[KEY_BYTES];
  return td_fail(TD_CORRUPT, "%s: %s: found no such key, expected one", reader->gguf->path,
                 full_key(reader, suffix, name));
}

static td_status fill_attention(const struct reader *reader) {
  struct td_shape *shape = reader->shape;
  char name[KEY_BYTES];
  if (!shape->kv_heads) shape->kv_heads = shape->heads;
  if (!shape->head_dim) {
    if (shape->hidden % shape->heads) {
      return td_fail(TD_CORRUPT,
                     "%s: %s: found %" PRId32 ", expected a multiple of %" PRId32 " heads (no %s.attention.key_length)",
                     reader->gguf->path, full_key(reader, "embedding_length", name), shape->hidden, shape->heads,
                     reader->info->name);
    }
    shape->head_dim = shape->hidden / shape->heads;
  }
  if (!shape->rope_dim) shape->rope_dim = shape->head_dim;
  if (!shape->window) shape->window_period = 0;
  int64_t value_length = shape->head_dim;
  if (present(reader, "attention.value_length", name)) {
    TD_TRY(td_gguf_int(reader->gguf, name, 0, INT64_MAX, &value_length));
  }
  if (value_length == shape->head_dim) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "%s: %s: found %" PRId64 ", expected %" PRId32 " (the width of K)", reader->gguf->path,
                 name, value_length, shape->head_dim);
}

/* llama with experts says an expert's width in feed_forward_length; qwen3moe has a key for it, and where a file leaves
 * that out llama.cpp divides the other by the experts used. */
static td_status fill_ffn(const struct reader *reader) {
  struct td_shape *shape = reader->shape;
  if (!shape->experts) return shape->ffn ? TD_OK : missing(reader, "feed_forward_length");
  if (shape->expert_ffn) return TD_OK;
  if (!shape->ffn) return missing(reader, "expert_feed_forward_length");
  bool divided = reader->info->traits & TD_HAS_ONLY_EXPERTS && shape->experts_used;
  shape->expert_ffn = divided ? shape->ffn / shape->experts_used : shape->ffn;
  return shape->expert_ffn ? TD_OK : missing(reader, "expert_feed_forward_length");
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

static td_status read_all(const struct reader *reader) {
  TD_TRY(check_parts(reader->gguf));
  TD_TRY(check_keys(reader));
  TD_TRY(read_keys(reader));
  TD_TRY(read_rope_scaling(reader));
  TD_TRY(read_window(reader));
  TD_TRY(check_flag(reader, "attention.causal"));
  TD_TRY(check_flag(reader, "expert_weights_norm"));
  TD_TRY(check_layout(reader));
  TD_TRY(fill_attention(reader));
  TD_TRY(fill_ffn(reader));
  return td_arch_check_shape(TD_CORRUPT, reader->gguf->path, reader->shape);
}

td_status td_arch_read_metadata(const struct td_gguf *gguf, struct td_shape *out_shape) {
  const struct td_arch_info *info = td_arch_info(out_shape->arch);
  struct td_shape shape = {.arch = out_shape->arch,
                           .rope_theta = TD_ROPE_THETA_DEFAULT,
                           .window_rope_theta = info->traits & TD_HAS_LOCAL_THETA ? TD_ROPE_THETA_DEFAULT : 0,
                           .window_period = info->window_period};
  TD_TRY(read_all(&(struct reader){.gguf = gguf, .info = info, .shape = &shape}));
  read_name(gguf, &shape);
  *out_shape = shape;
  return TD_OK;
}
