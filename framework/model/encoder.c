/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables an encoding looks things up in: token by text, merge by pair, specials by prefix. Those of
 * SentencePiece-style vocabularies are in spm_vocab.c.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"
#include "tokenizer.h"

/* ---- tokens by text ---- */

static struct td_span text_of(const struct td_encoder *encoder, int32_t id) {
  const unsigned char *position = encoder->texts[id];
  return td_gguf_next_text(&position);
}

/* The slot of a text, or the free one where it would go. */
static int32_t *find_text(const struct td_encoder *encoder, struct td_span text) {
  const struct td_slots *slots = &encoder->text_slots;
  uint64_t at = td_mix(td_hash(TD_HASH_INIT, text.data, text.bytes)) & slots->mask;
  for (; slots->ids[at] >= 0; at = (at + 1) & slots->mask) {
    if (!td_span_compare(text_of(encoder, slots->ids[at]), text)) break;
  }
  return &slots->ids[at];
}

int32_t td_encoder_token(const struct td_encoder *encoder, const char *text, size_t bytes) {
  if (!bytes || bytes > TD_TOKEN_BYTES_MAX) return -1;
  return *find_text(encoder, (struct td_span){text, bytes});
}

static td_status add_token(const struct td_tokenizer *tokenizer, struct td_encoder *encoder, int32_t id) {
  struct td_span text = text_of(encoder, id);
  if (!text.bytes) return TD_OK; /* padding: no text leads to it */
  int32_t *slot = find_text(encoder, text);
  if (*slot >= 0) {
    return td_fail(TD_CORRUPT,
                   "%s: tokenizer.ggml.tokens[%" PRId32 "]: found \"%.*s\" again, expected it only at %" PRId32,
                   tokenizer->path, id, TD_SPAN_SHOW(text), *slot);
  }
  *slot = id;
  return TD_OK;
}

static td_status build_tokens(const struct td_tokenizer *tokenizer, struct td_encoder *encoder) {
  TD_TRY(td_alloc((size_t)tokenizer->size, sizeof *encoder->texts, (void **)&encoder->texts));
  TD_TRY(td_slots_open((size_t)tokenizer->size, &encoder->text_slots));
  const unsigned char *position = tokenizer->tokens->data;
  for (int32_t id = 0; id < tokenizer->size; id++) {
    encoder->texts[id] = position;
    td_gguf_next_text(&position);
    TD_TRY(add_token(tokenizer, encoder, id));
  }
  for (int byte = 0; byte < 256; byte++) {
    char text[2];
    size_t bytes = td_byte_to_text((unsigned char)byte, text);
    encoder->byte_id[byte] = td_encoder_token(encoder, text, bytes);
  }
  return TD_OK;
}

/* ---- merges by pair ---- */

/* The slot of a pair, or the free one where it would go. */
static int32_t *find_merge(const struct td_encoder *encoder, int32_t left, int32_t right) {
  const struct td_slots *slots = &encoder->merge_slots;
  uint64_t at = td_mix((uint64_t)(uint32_t)left << 32 | (uint32_t)right) & slots->mask;
  for (; slots->ids[at] >= 0; at = (at + 1) & slots->mask) {
    const struct td_merge_rule *rule = &encoder->merges[slots->ids[at]];
    if (rule->left == left && rule->right == right) break;
  }
  return &slots->ids[at];
}

bool td_encoder_merge(const struct td_encoder *encoder, int32_t left, int32_t right, int32_t *out_rank,
                      int32_t *out_merged) {
  int32_t rank = *find_merge(encoder, left, right);
  if (rank < 0) return false;
  *out_rank = rank;
  *out_merged = encoder->merges[rank].merged;
  return true;
}

/* The halves of "left right" and the token they make. -1 in out->merged: one of the three is no token. */
static void split_merge(const struct td_encoder *encoder, struct td_span text, char *joined,
                        struct td_merge_rule *out) {
  out->merged = -1;
  const char *space = text.bytes > 2 && text.bytes <= TD_TOKEN_BYTES_MAX ? memchr(text.data, ' ', text.bytes) : NULL;
  if (!space) return;
  size_t left = (size_t)(space - text.data), right = text.bytes - left - 1;
  out->left = td_encoder_token(encoder, text.data, left);
  out->right = td_encoder_token(encoder, space + 1, right);
  memcpy(joined, text.data, left);
  memcpy(joined + left, space + 1, right);
  if (out->left >= 0 && out->right >= 0) out->merged = td_encoder_token(encoder, joined, left + right);
}

static td_status add_merge(const struct td_tokenizer *tokenizer, struct td_encoder *encoder, int32_t rank,
                           struct td_span text, char *joined) {
  struct td_merge_rule *rule = &encoder->merges[rank];
  split_merge(encoder, text, joined, rule);
  if (rule->merged < 0) {
    return td_fail(TD_CORRUPT,
                   "%s: tokenizer.ggml.merges[%" PRId32
                   "]: found \"%.*s\", expected two tokens with a space between that join to a third",
                   tokenizer->path, rank, TD_SPAN_SHOW(text));
  }
  int32_t *slot = find_merge(encoder, rule->left, rule->right);
  if (*slot >= 0) {
    return td_fail(TD_CORRUPT,
                   "%s: tokenizer.ggml.merges[%" PRId32 "]: found \"%.*s\" again, expected it only at %" PRId32,
                   tokenizer->path, rank, TD_SPAN_SHOW(text), *slot);
  }
  *slot = rank;
  return TD_OK;
}

static td_status build_merges(const struct td_tokenizer *tokenizer, struct td_encoder *encoder) {
  int32_t count = (int32_t)tokenizer->merges->count;
  char *joined;
  TD_TRY(td_alloc((size_t)count, sizeof *encoder->merges, (void **)&encoder->merges));
  TD_TRY(td_slots_open((size_t)count, &encoder->merge_slots));
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
  free(encoder->texts);
  free(encoder->merges);
  td_slots_free(&encoder->text_slots);
  td_slots_free(&encoder->merge_slots);
  td_specials_free(&encoder->specials);
  td_spm_free(encoder->spm);
  td_pretoken_rule_close(encoder->rule);
  free(encoder);
}
