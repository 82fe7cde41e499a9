/* SPDX-License-Identifier: Apache-2.0
 *
 * The tokenizer of a file: checking its arrays, and questions about single ids.
 */
#include "tokenizer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"

/* Tokens of these names end a turn or a text in every family that uses them. */
static const char *const end_names[] = {"<|im_end|>",      "<|eot_id|>", "<|endoftext|>",
                                        "<|end_of_text|>", "<|eom_id|>", "<end_of_turn>"};

enum td_token_type td_token_type(const struct td_tokenizer *tokenizer, int32_t id) {
  int32_t type;
  if (!tokenizer->types) return TD_TOKEN_NORMAL;
  memcpy(&type, tokenizer->types->data + (size_t)id * sizeof type, sizeof type);
  return (enum td_token_type)type;
}

static td_status check_length(const struct td_tokenizer *tokenizer, const char *key, uint64_t found) {
  if (found == (uint64_t)tokenizer->size) return TD_OK;
  return td_fail(TD_CORRUPT, "%s: %s: found %" PRIu64 " entries, expected %" PRId32 ", the rows of token_embd.weight",
                 tokenizer->path, key, found, tokenizer->size);
}

static td_status read_merges(const struct td_gguf *gguf, struct td_tokenizer *tokenizer) {
  TD_TRY(td_gguf_array(gguf, "tokenizer.ggml.merges", TD_GGUF_STRING, &tokenizer->merges));
  if (tokenizer->merges->count <= INT32_MAX) return TD_OK;
  return td_fail(TD_CORRUPT, "%s: tokenizer.ggml.merges: found %" PRIu64 " entries, expected at most 2^31 - 1",
                 tokenizer->path, tokenizer->merges->count);
}

static td_status read_scores(const struct td_gguf *gguf, struct td_tokenizer *tokenizer) {
  TD_TRY(td_gguf_array(gguf, "tokenizer.ggml.scores", TD_GGUF_F32, &tokenizer->scores));
  TD_TRY(check_length(tokenizer, "tokenizer.ggml.scores", tokenizer->scores->count));
  for (int32_t id = 0; id < tokenizer->size; id++) {
    float score;
    memcpy(&score, tokenizer->scores->data + (size_t)id * sizeof score, sizeof score);
    if (isnan(score)) {
      return td_fail(TD_CORRUPT, "%s: tokenizer.ggml.scores[%" PRId32 "]: found %g, expected a number", tokenizer->path,
                     id, (double)score);
    }
  }
  return TD_OK;
}

static td_status read_arrays(const struct td_gguf *gguf, struct td_tokenizer *tokenizer) {
  TD_TRY(td_gguf_array(gguf, "tokenizer.ggml.tokens", TD_GGUF_STRING, &tokenizer->tokens));
  TD_TRY(check_length(tokenizer, "tokenizer.ggml.tokens", tokenizer->tokens->count));
  TD_TRY(tokenizer->spm ? read_scores(gguf, tokenizer) : read_merges(gguf, tokenizer));
  if (!td_gguf_find(gguf, "tokenizer.ggml.token_type")) return TD_OK;
  TD_TRY(td_gguf_array(gguf, "tokenizer.ggml.token_type", TD_GGUF_I32, &tokenizer->types));
  return check_length(tokenizer, "tokenizer.ggml.token_type", tokenizer->types->count);
}

static td_status add_end(struct td_tokenizer *tokenizer, int32_t id) {
  if (id < 0 || td_tokenizer_is_end(tokenizer, id)) return TD_OK;
  if (tokenizer->end_count == TD_END_IDS_MAX) {
    return td_fail(TD_CORRUPT, "%s: tokenizer.ggml.tokens: found more than %d end tokens, expected each name once",
                   tokenizer->path, TD_END_IDS_MAX);
  }
  tokenizer->ends[tokenizer->end_count++] = id;
  return TD_OK;
}

static td_status check_token(struct td_tokenizer *tokenizer, int32_t id, struct td_span text) {
  enum td_token_type type = td_token_type(tokenizer, id);
  if (type < TD_TOKEN_NORMAL || type > TD_TOKEN_BYTE) {
    return td_fail(TD_CORRUPT, "%s: tokenizer.ggml.token_type[%" PRId32 "]: found %d, expected 1 to %d",
                   tokenizer->path, id, (int)type, TD_TOKEN_BYTE);
  }
  if (text.bytes > TD_TOKEN_BYTES_MAX) {
    return td_fail(TD_CORRUPT, "%s: tokenizer.ggml.tokens[%" PRId32 "]: found %" PRIu64 " bytes, expected at most %d",
                   tokenizer->path, id, text.bytes, TD_TOKEN_BYTES_MAX);
  }
  bool special = type == TD_TOKEN_CONTROL || type == TD_TOKEN_USER || type == TD_TOKEN_UNKNOWN;
  if (special && text.bytes > TD_SPECIAL_BYTES_MAX) {
    return td_fail(TD_UNSUPPORTED,
                   "%s: tokenizer.ggml.tokens[%" PRId32 "]: found %" PRIu64
                   " bytes in a token of type %d, expected at most %d",
                   tokenizer->path, id, text.bytes, (int)type, TD_SPECIAL_BYTES_MAX);
  }
  if (!special || type == TD_TOKEN_UNKNOWN) return TD_OK;
  for (size_t i = 0; i < sizeof end_names / sizeof end_names[0]; i++) {
    if (td_span_is(text, end_names[i])) return add_end(tokenizer, id);
  }
  return TD_OK;
}

static td_status check_tokens(struct td_tokenizer *tokenizer) {
  const unsigned char *position = tokenizer->tokens->data;
  for (int32_t id = 0; id < tokenizer->size; id++) {
    TD_TRY(check_token(tokenizer, id, td_gguf_next_text(&position)));
  }
  return TD_OK;
}

static td_status read_id(const struct td_gguf *gguf, const struct td_tokenizer *tokenizer, const char *key,
                         int32_t *out_id) {
  int64_t id = -1;
  if (td_gguf_find(gguf, key)) TD_TRY(td_gguf_int(gguf, key, 0, tokenizer->size - 1, &id));
  *out_id = (int32_t)id;
  return TD_OK;
}

static td_status read_ids(const struct td_gguf *gguf, struct td_tokenizer *tokenizer) {
  int32_t turn_end;
  TD_TRY(read_id(gguf, tokenizer, "tokenizer.ggml.bos_token_id", &tokenizer->bos));
  TD_TRY(read_id(gguf, tokenizer, "tokenizer.ggml.eos_token_id", &tokenizer->eos));
  TD_TRY(read_id(gguf, tokenizer, "tokenizer.ggml.eot_token_id", &turn_end));
  TD_TRY(read_id(gguf, tokenizer, "tokenizer.ggml.unknown_token_id", &tokenizer->unknown));
  TD_TRY(add_end(tokenizer, tokenizer->eos));
  return add_end(tokenizer, turn_end);
}

/* Not an error yet: a model can be run on ids without its tokenizer. */
static void refuse(struct td_tokenizer *tokenizer, const char *key, struct td_span found, const char *expected) {
  tokenizer->refusal = TD_UNSUPPORTED;
  snprintf(tokenizer->refusal_text, sizeof tokenizer->refusal_text, "%.300s: %s: found \"%.*s\", expected %s",
           tokenizer->path, key, TD_SPAN_SHOW(found), expected);
}

static td_status read_flag(const struct td_gguf *gguf, const char *key, bool absent, bool *out) {
  *out = absent;
  return td_gguf_find(gguf, key) ? td_gguf_bool(gguf, key, out) : TD_OK;
}

/* What a file leaves open is as llama.cpp has it, since that is where these files come from. */
static td_status read_spm_kind(const struct td_gguf *gguf, struct td_tokenizer *tokenizer) {
  bool trims;
  tokenizer->spm = true;
  TD_TRY(read_flag(gguf, "tokenizer.ggml.add_space_prefix", true, &tokenizer->space_prefix));
  TD_TRY(read_flag(gguf, "tokenizer.ggml.remove_extra_whitespaces", false, &trims));
  if (trims) refuse(tokenizer, "tokenizer.ggml.remove_extra_whitespaces", (struct td_span){"true", 4}, "false");
  if (td_gguf_find(gguf, "tokenizer.ggml.precompiled_charsmap")) {
    refuse(tokenizer, "tokenizer.ggml.precompiled_charsmap", (struct td_span){"a table", 7},
           "none: normalising texts is not implemented");
  }
  return read_flag(gguf, "tokenizer.ggml.add_bos_token", true, &tokenizer->adds_bos);
}

static td_status read_bpe_kind(const struct td_gguf *gguf, struct td_tokenizer *tokenizer) {
  struct td_span pre = {"", 0};
  if (td_gguf_find(gguf, "tokenizer.ggml.pre")) TD_TRY(td_gguf_text(gguf, "tokenizer.ggml.pre", &pre));
  if (!td_pretokenizer_find(pre, &tokenizer->pre)) {
    char known[400];
    TD_TRY(td_pretokenizer_names(known, sizeof known));
    refuse(tokenizer, "tokenizer.ggml.pre", pre, known);
  }
  bool adds = tokenizer->pre == TD_PRE_LLAMA_BPE || tokenizer->pre == TD_PRE_TEKKEN;
  return read_flag(gguf, "tokenizer.ggml.add_bos_token", adds, &tokenizer->adds_bos);
}

static td_status read_kind(const struct td_gguf *gguf, struct td_tokenizer *tokenizer) {
  struct td_span model;
  TD_TRY(td_gguf_text(gguf, "tokenizer.ggml.model", &model));
  if (td_span_is(model, "gpt2")) return read_bpe_kind(gguf, tokenizer);
  if (td_span_is(model, "llama")) return read_spm_kind(gguf, tokenizer);
  refuse(tokenizer, "tokenizer.ggml.model", model, "\"gpt2\" (byte-level BPE) or \"llama\" (SentencePiece-style BPE)");
  return TD_OK;
}

static td_status open_tokenizer(const struct td_gguf *gguf, struct td_tokenizer *tokenizer) {
  TD_TRY(read_ids(gguf, tokenizer));
  if (td_gguf_find(gguf, "tokenizer.chat_template")) {
    TD_TRY(td_gguf_text(gguf, "tokenizer.chat_template", &tokenizer->chat_template));
  }
  TD_TRY(read_kind(gguf, tokenizer));
  if (tokenizer->refusal) return TD_OK;
  TD_TRY(read_arrays(gguf, tokenizer));
  TD_TRY(check_tokens(tokenizer));
  TD_TRY(td_alloc(1, sizeof *tokenizer->tables, (void **)&tokenizer->tables));
  pthread_mutex_init(&tokenizer->tables->mutex, NULL);
  return TD_OK;
}

td_status td_tokenizer_open(const struct td_gguf *gguf, int32_t vocab, struct td_tokenizer **out_tokenizer) {
  struct td_tokenizer *tokenizer;
  *out_tokenizer = NULL;
  if (!td_gguf_find(gguf, "tokenizer.ggml.model")) return TD_OK;
  TD_TRY(td_alloc(1, sizeof *tokenizer, (void **)&tokenizer));
  tokenizer->path = gguf->path;
  tokenizer->size = vocab;
  td_status status = open_tokenizer(gguf, tokenizer);
  if (status) {
    td_tokenizer_close(tokenizer);
    return status;
  }
  *out_tokenizer = tokenizer;
  return TD_OK;
}

void td_tokenizer_close(struct td_tokenizer *tokenizer) {
  if (!tokenizer) return;
  if (tokenizer->tables) {
    td_pieces_free(atomic_load(&tokenizer->tables->pieces));
    td_encoder_free(atomic_load(&tokenizer->tables->encoder));
    pthread_mutex_destroy(&tokenizer->tables->mutex);
    free(tokenizer->tables);
  }
  free(tokenizer);
}

td_status td_tokenizer_usable(const struct td_tokenizer *tokenizer) {
  if (!tokenizer->refusal) return TD_OK;
  return td_fail(tokenizer->refusal, "%s", tokenizer->refusal_text);
}

int32_t td_tokenizer_size(const struct td_tokenizer *tokenizer) {
  return tokenizer->size;
}

int32_t td_tokenizer_bos(const struct td_tokenizer *tokenizer) {
  return tokenizer->bos;
}

bool td_tokenizer_adds_bos(const struct td_tokenizer *tokenizer) {
  return tokenizer->adds_bos && tokenizer->bos >= 0;
}

bool td_tokenizer_is_end(const struct td_tokenizer *tokenizer, int32_t id) {
  for (int32_t i = 0; i < tokenizer->end_count; i++) {
    if (tokenizer->ends[i] == id) return true;
  }
  return false;
}

td_status td_tokenizer_encoder(const struct td_tokenizer *tokenizer, const struct td_encoder **out) {
  struct td_tokenizer_tables *tables = tokenizer->tables;
  struct td_encoder *encoder = atomic_load_explicit(&tables->encoder, memory_order_acquire);
  td_status status = TD_OK;
  if (!encoder) {
    pthread_mutex_lock(&tables->mutex);
    encoder = atomic_load_explicit(&tables->encoder, memory_order_acquire);
    if (!encoder) status = td_encoder_build(tokenizer, &encoder);
    if (status == TD_OK) atomic_store_explicit(&tables->encoder, encoder, memory_order_release);
    pthread_mutex_unlock(&tables->mutex);
  }
  TD_TRY(status);
  *out = encoder;
  return TD_OK;
}

static td_status get_pieces(const struct td_tokenizer *tokenizer, const struct td_pieces **out) {
  struct td_tokenizer_tables *tables = tokenizer->tables;
  struct td_pieces *pieces = atomic_load_explicit(&tables->pieces, memory_order_acquire);
  td_status status = TD_OK;
  if (!pieces) {
    pthread_mutex_lock(&tables->mutex);
    pieces = atomic_load_explicit(&tables->pieces, memory_order_acquire);
    if (!pieces) status = td_pieces_build(tokenizer, &pieces);
    if (status == TD_OK) atomic_store_explicit(&tables->pieces, pieces, memory_order_release);
    pthread_mutex_unlock(&tables->mutex);
  }
  TD_TRY(status);
  *out = pieces;
  return TD_OK;
}

td_status td_tokenizer_piece(const struct td_tokenizer *tokenizer, int32_t id, const char **out_data,
                             size_t *out_bytes) {
  const struct td_pieces *pieces;
  TD_TRY(td_tokenizer_usable(tokenizer));
  if (id < 0 || id >= tokenizer->size) {
    return td_fail(TD_NOT_FOUND, "%s: token id: found %" PRId32 ", expected 0 to %" PRId32, tokenizer->path, id,
                   tokenizer->size - 1);
  }
  TD_TRY(get_pieces(tokenizer, &pieces));
  *out_data = pieces->data + pieces->begin[id];
  *out_bytes = pieces->begin[id + 1] - pieces->begin[id];
  return TD_OK;
}
