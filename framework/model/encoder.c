/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables an encoding looks things up in: token by text, merge by pair, specials by prefix. Those of
 * SentencePiece-style vocabularies are in spm_vocab.c.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A table that finds no memory undoes the insertion and says so, instead of ending the program. */
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(entry) ((entry)->lost = true)
#include <uthash.h>

#include "tandem/base.h"
#include "tokenizer.h"

struct td_token_entry {
  struct td_span text; /* in the mapped file */
  int32_t id;
  bool lost;
  UT_hash_handle hh;
};

struct td_merge_key {
  int32_t left, right;
};
struct td_merge_entry {
  struct td_merge_key key;
  int32_t rank, merged;
  bool lost;
  UT_hash_handle hh;
};

static struct td_token_entry *find_token(const struct td_encoder *encoder, const char *text, size_t bytes) {
  struct td_token_entry *entry;
  HASH_FIND(hh, encoder->tokens, text, (unsigned)bytes, entry);
  return entry;
}

int32_t td_encoder_token(const struct td_encoder *encoder, const char *text, size_t bytes) {
  if (!bytes || bytes > TD_TOKEN_BYTES_MAX) return -1;
  const struct td_token_entry *entry = find_token(encoder, text, bytes);
  return entry ? entry->id : -1;
}

bool td_encoder_merge(const struct td_encoder *encoder, int32_t left, int32_t right, int32_t *out_rank,
                      int32_t *out_merged) {
  struct td_merge_key key = {left, right};
  const struct td_merge_entry *entry;
  HASH_FIND(hh, encoder->merges, &key, (unsigned)sizeof key, entry);
  if (!entry) return false;
  *out_rank = entry->rank;
  *out_merged = entry->merged;
  return true;
}

static td_status add_token(const struct td_tokenizer *tokenizer, struct td_encoder *encoder, int32_t id,
                           struct td_span text) {
  struct td_token_entry *entry = &encoder->token_memory[id];
  if (!text.bytes) return TD_OK; /* padding: no text leads to it */
  unsigned hash;
  const struct td_token_entry *same;
  HASH_VALUE(text.data, (unsigned)text.bytes, hash);
  HASH_FIND_BYHASHVALUE(hh, encoder->tokens, text.data, (unsigned)text.bytes, hash, same);
  if (same) {
    return td_fail(TD_CORRUPT,
                   "%s: tokenizer.ggml.tokens[%" PRId32 "]: found \"%.*s\" again, expected it only at %" PRId32,
                   tokenizer->path, id, TD_SPAN_SHOW(text), same->id);
  }
  entry->text = text;
  entry->id = id;
  HASH_ADD_KEYPTR_BYHASHVALUE(hh, encoder->tokens, entry->text.data, (unsigned)text.bytes, hash, entry);
  return entry->lost ? td_fail(TD_NO_MEMORY, "no memory for a table of %" PRId32 " tokens", tokenizer->size) : TD_OK;
}

static td_status build_tokens(const struct td_tokenizer *tokenizer, struct td_encoder *encoder) {
  TD_TRY(td_alloc((size_t)tokenizer->size, sizeof *encoder->token_memory, (void **)&encoder->token_memory));
  const unsigned char *position = tokenizer->tokens->data;
  for (int32_t id = 0; id < tokenizer->size; id++) {
    TD_TRY(add_token(tokenizer, encoder, id, td_gguf_next_text(&position)));
  }
  for (int byte = 0; byte < 256; byte++) {
    char text[2];
    size_t bytes = td_byte_to_text((unsigned char)byte, text);
    encoder->byte_id[byte] = td_encoder_token(encoder, text, bytes);
  }
  return TD_OK;
}

/* The halves of "left right" and the token they make. -1 in *out_merged: one of the three is no token. */
static td_status split_merge(const struct td_encoder *encoder, struct td_span text, char *joined,
                             struct td_merge_key *out_key, int32_t *out_merged) {
  *out_merged = -1;
  const char *space = text.bytes > 2 && text.bytes <= TD_TOKEN_BYTES_MAX ? memchr(text.data, ' ', text.bytes) : NULL;
  if (!space) return TD_OK;
  size_t left = (size_t)(space - text.data), right = text.bytes - left - 1;
  out_key->left = td_encoder_token(encoder, text.data, left);
  out_key->right = td_encoder_token(encoder, space + 1, right);
  memcpy(joined, text.data, left);
  memcpy(joined + left, space + 1, right);
  if (out_key->left >= 0 && out_key->right >= 0) *out_merged = td_encoder_token(encoder, joined, left + right);
  return TD_OK;
}

static td_status add_merge(const struct td_tokenizer *tokenizer, struct td_encoder *encoder, int32_t rank,
                           struct td_span text, char *joined) {
  struct td_merge_entry *entry = &encoder->merge_memory[rank], *same;
  TD_TRY(split_merge(encoder, text, joined, &entry->key, &entry->merged));
  if (entry->merged < 0) {
    return td_fail(TD_CORRUPT,
                   "%s: tokenizer.ggml.merges[%" PRId32
                   "]: found \"%.*s\", expected two tokens with a space between that join to a third",
                   tokenizer->path, rank, TD_SPAN_SHOW(text));
  }
  unsigned hash;
  HASH_VALUE(&entry->key, (unsigned)sizeof entry->key, hash);
  HASH_FIND_BYHASHVALUE(hh, encoder->merges, &entry->key, (unsigned)sizeof entry->key, hash, same);
  if (same) {
    return td_fail(TD_CORRUPT,
                   "%s: tokenizer.ggml.merges[%" PRId32 "]: found \"%.*s\" again, expected it only at %" PRId32,
                   tokenizer->path, rank, TD_SPAN_SHOW(text), same->rank);
  }
  entry->rank = rank;
  HASH_ADD_BYHASHVALUE(hh, encoder->merges, key, (unsigned)sizeof entry->key, hash, entry);
  return entry->lost ? td_fail(TD_NO_MEMORY, "no memory for a table of %" PRIu64 " merges", tokenizer->merges->count)
                     : TD_OK;
}

static td_status build_merges(const struct td_tokenizer *tokenizer, struct td_encoder *encoder) {
  int32_t count = (int32_t)tokenizer->merges->count;
  char *joined;
  TD_TRY(td_alloc((size_t)count, sizeof *encoder->merge_memory, (void **)&encoder->merge_memory));
  TD_TRY(td_alloc(TD_TOKEN_BYTES_MAX, 1, (void **)&joined));
  const unsigned char *position = tokenizer->merges->data;
  td_status status = TD_OK;
  for (int32_t rank = 0; rank < count && status == TD_OK; rank++) {
    status = add_merge(tokenizer, encoder, rank, td_gguf_next_text(&position), joined);
  }
  free(joined);
  return status;
}

/* ---- specials ---- */

/* SPM: a user-defined token that holds U+2581 is for the text with its spaces replaced, see td_spm. */
static bool is_special(const struct td_tokenizer *tokenizer, enum td_token_type type, struct td_span text) {
  if (!text.bytes) return false;
  if (type == TD_TOKEN_USER) return !tokenizer->spm || !memmem(text.data, text.bytes, TD_SPM_SPACE, TD_SPM_SPACE_BYTES);
  return type == TD_TOKEN_CONTROL || type == TD_TOKEN_UNKNOWN;
}

static td_status build_specials(const struct td_tokenizer *tokenizer, struct td_encoder *encoder) {
  const unsigned char *position = tokenizer->tokens->data;
  for (int32_t id = 0; id < tokenizer->size; id++) {
    enum td_token_type type = td_token_type(tokenizer, id);
    struct td_special special = {td_gguf_next_text(&position), id, type == TD_TOKEN_USER};
    if (is_special(tokenizer, type, special.text)) TD_TRY(td_specials_add(&encoder->specials, special));
  }
  td_specials_index(&encoder->specials);
  return TD_OK;
}

/* ---- all of it ---- */

static td_status build(const struct td_tokenizer *tokenizer, struct td_encoder *encoder) {
  TD_TRY(build_specials(tokenizer, encoder));
  if (tokenizer->spm) return td_spm_build(tokenizer, &encoder->spm);
  TD_TRY(build_tokens(tokenizer, encoder));
  TD_TRY(build_merges(tokenizer, encoder));
  return td_pretoken_rule_open(tokenizer->pre, &encoder->rule);
}

td_status td_encoder_build(const struct td_tokenizer *tokenizer, struct td_encoder **out) {
  struct td_encoder *encoder;
  TD_TRY(td_alloc(1, sizeof *encoder, (void **)&encoder));
  td_status status = build(tokenizer, encoder);
  if (status) {
    td_encoder_free(encoder);
    return status;
  }
  *out = encoder;
  return TD_OK;
}

void td_encoder_free(struct td_encoder *encoder) {
  if (!encoder) return;
  HASH_CLEAR(hh, encoder->tokens); /* the tables only: entries lie in the two blocks */
  HASH_CLEAR(hh, encoder->merges);
  free(encoder->token_memory);
  free(encoder->merge_memory);
  td_specials_free(&encoder->specials);
  td_spm_free(encoder->spm);
  td_pretoken_rule_close(encoder->rule);
  free(encoder);
}
