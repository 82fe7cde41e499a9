/* SPDX-License-Identifier: Apache-2.0
 *
 * The llama architecture's tensors.
 */
#include "llama.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"

static const char *const suffixes[TD_LLAMA_ROLE_COUNT] = {
    [TD_LLAMA_EMBED] = "token_embd.weight",
    [TD_LLAMA_OUTPUT_NORM] = "output_norm.weight",
    [TD_LLAMA_OUTPUT] = "output.weight",
    [TD_LLAMA_ROPE_FREQS] = "rope_freqs.weight",
    [TD_LLAMA_ATTN_NORM] = "attn_norm.weight",
    [TD_LLAMA_Q] = "attn_q.weight",
    [TD_LLAMA_K] = "attn_k.weight",
    [TD_LLAMA_V] = "attn_v.weight",
    [TD_LLAMA_O] = "attn_output.weight",
    [TD_LLAMA_FFN_NORM] = "ffn_norm.weight",
    [TD_LLAMA_GATE] = "ffn_gate.weight",
    [TD_LLAMA_UP] = "ffn_up.weight",
    [TD_LLAMA_DOWN] = "ffn_down.weight",
};

bool td_llama_has(const struct td_shape *shape, enum td_llama_role role) {
  if (role == TD_LLAMA_OUTPUT) return !shape->tied_output;
  if (role == TD_LLAMA_ROPE_FREQS) return shape->rope_factors;
  return true;
}

bool td_llama_is_vector(enum td_llama_role role) {
  return role == TD_LLAMA_OUTPUT_NORM || role == TD_LLAMA_ROPE_FREQS || role == TD_LLAMA_ATTN_NORM ||
         role == TD_LLAMA_FFN_NORM;
}

static int64_t weight_rows(const struct td_shape *shape, enum td_llama_role role) {
  switch (role) {
    case TD_LLAMA_EMBED:
    case TD_LLAMA_OUTPUT:
      return shape->vocab;
    case TD_LLAMA_Q:
      return (int64_t)shape->heads * shape->head_dim;
    case TD_LLAMA_K:
    case TD_LLAMA_V:
      return (int64_t)shape->kv_heads * shape->head_dim;
    case TD_LLAMA_GATE:
    case TD_LLAMA_UP:
      return shape->ffn;
    case TD_LLAMA_O:
    case TD_LLAMA_DOWN:
      return shape->hidden;
    default:
      return 1;
  }
}

static int64_t weight_cols(const struct td_shape *shape, enum td_llama_role role) {
  switch (role) {
    case TD_LLAMA_ROPE_FREQS:
      return shape->rope_dim / 2;
    case TD_LLAMA_O:
      return (int64_t)shape->heads * shape->head_dim;
    case TD_LLAMA_DOWN:
      return shape->ffn;
    default:
      return shape->hidden;
  }
}

void td_llama_weight(const struct td_shape *shape, enum td_llama_role role, int32_t layer, struct td_weight *out) {
  *out = (struct td_weight){.dtype = td_llama_is_vector(role) ? TD_F32 : shape->weight_dtype,
                            .rows = weight_rows(shape, role),
                            .cols = weight_cols(shape, role)};
  int used = role >= TD_LLAMA_LAYER_ROLES
                 ? snprintf(out->name, sizeof out->name, "blk.%" PRId32 ".%s", layer, suffixes[role])
                 : snprintf(out->name, sizeof out->name, "%s", suffixes[role]);
  assert(used > 0 && (size_t)used < sizeof out->name);
  (void)used;
}

/* ---- a file's tensors against the list ---- */

struct check {
  const struct td_gguf *gguf;
  const struct td_shape *shape;
  bool *known; /* per tensor of the file */
};

static td_status check_tensor(struct check *check, enum td_llama_role role, int32_t layer) {
  struct td_weight want;
  td_llama_weight(check->shape, role, layer, &want);
  const struct td_tensor *got = td_gguf_tensor(check->gguf, want.name);
  if (!got) {
    return td_fail(TD_CORRUPT, "%s: tensor %s: found none, expected %" PRId64 " x %" PRId64 " values",
                   check->gguf->path, want.name, want.rows, want.cols);
  }
  if (got->rows != want.rows || got->cols != want.cols) {
    return td_fail(TD_CORRUPT,
                   "%s: tensor %s: shape: found %" PRId64 " rows of %" PRId64 ", expected %" PRId64 " rows of %" PRId64,
                   check->gguf->path, want.name, got->rows, got->cols, want.rows, want.cols);
  }
  if (td_llama_is_vector(role) && got->dtype != TD_F32) {
    return td_fail(TD_UNSUPPORTED, "%s: tensor %s: type: found %s, expected f32", check->gguf->path, want.name,
                   td_dtype_info((uint32_t)got->dtype)->name);
  }
  check->known[got - check->gguf->tensors] = true;
  return TD_OK;
}

static td_status check_all(struct check *check) {
  for (enum td_llama_role role = 0; role < TD_LLAMA_LAYER_ROLES; role++) {
    if (td_llama_has(check->shape, role)) TD_TRY(check_tensor(check, role, 0));
  }
  for (int32_t layer = 0; layer < check->shape->layers; layer++) {
    for (enum td_llama_role role = TD_LLAMA_LAYER_ROLES; role < TD_LLAMA_ROLE_COUNT; role++) {
      TD_TRY(check_tensor(check, role, layer));
    }
  }
  for (size_t i = 0; i < check->gguf->info_count; i++) {
    if (check->known[i]) continue;
    return td_fail(TD_UNSUPPORTED,
                   "%s: tensor %s: found a tensor that is no part of a plain llama of %" PRId32
                   " layers, expected none that would be ignored",
                   check->gguf->path, check->gguf->tensors[i].name, check->shape->layers);
  }
  return TD_OK;
}

/* They divide frequencies: zero, negative or NaN would turn into positions that make no sense, silently. */
static td_status check_rope_factors(const struct td_gguf *gguf, const struct td_tensor *factors) {
  for (int64_t i = 0; i < factors->cols; i++) {
    float factor;
    memcpy(&factor, (const char *)factors->data + (size_t)i * sizeof factor, sizeof factor);
    if (!isfinite(factor) || factor <= 0) {
      return td_fail(TD_CORRUPT, "%s: tensor %s: value %" PRId64 ": found %g, expected a positive number", gguf->path,
                     factors->name, i, (double)factor);
    }
  }
  return TD_OK;
}

static td_status read_vocab(const struct td_gguf *gguf, struct td_shape *shape) {
  const struct td_tensor *embed = td_gguf_tensor(gguf, suffixes[TD_LLAMA_EMBED]);
  if (!embed) return td_fail(TD_CORRUPT, "%s: tensor token_embd.weight: found none, expected one", gguf->path);
  if (embed->rows > TD_VOCAB_MAX) {
    return td_fail(TD_CORRUPT, "%s: tensor token_embd.weight: rows: found %" PRId64 ", expected 1 to %d", gguf->path,
                   embed->rows, TD_VOCAB_MAX);
  }
  shape->vocab = (int32_t)embed->rows;
  if (!td_gguf_find(gguf, "llama.vocab_size")) return TD_OK;
  int64_t declared;
  TD_TRY(td_gguf_int(gguf, "llama.vocab_size", 1, TD_VOCAB_MAX, &declared));
  if (declared == shape->vocab) return TD_OK;
  return td_fail(TD_CORRUPT, "%s: llama.vocab_size: found %" PRId64 ", expected %" PRId32 ", the rows of %s",
                 gguf->path, declared, shape->vocab, embed->name);
}

td_status td_llama_check_tensors(const struct td_gguf *gguf, struct td_shape *shape) {
  TD_TRY(read_vocab(gguf, shape));
  shape->tied_output = !td_gguf_tensor(gguf, suffixes[TD_LLAMA_OUTPUT]);
  const struct td_tensor *factors = td_gguf_tensor(gguf, suffixes[TD_LLAMA_ROPE_FREQS]);
  shape->rope_factors = factors != NULL;
  struct check check = {.gguf = gguf, .shape = shape};
  TD_TRY(td_alloc(gguf->info_count, sizeof *check.known, (void **)&check.known));
  td_status status = check_all(&check);
  free(check.known);
  TD_TRY(status);
  shape->weight_dtype = td_gguf_tensor(gguf, "blk.0.ffn_down.weight")->dtype;
  return factors ? check_rope_factors(gguf, factors) : TD_OK;
}
