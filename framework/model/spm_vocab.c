/* SPDX-License-Identifier: Apache-2.0
 *
 * The vocabulary of a SentencePiece-style tokenizer, as its encoding looks things up. A text is merged to normal and
 * unused tokens only, as in the sentencepiece library; a user-defined token is found whole, and control, unknown and
 * byte tokens never come out of merging.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"
#include "tokenizer.h"

#define HASH_BASE UINT64_C(0x9e3779b97f4a7c15)
/* Bits for pairs of characters: 8 for a byte of token text, up to half a megabyte, where a vocabulary of 256,000 tokens
 * sets some 7 % of them. */
#define JOINTS_MIN (UINT64_C(1) << 9)
#define JOINTS_MAX (UINT64_C(1) << 22)

static int hex_digit(char c) {
  return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int td_spm_byte(struct td_span text) {
  if (text.bytes != 6 || memcmp(text.data, "<0x", 3) != 0 || text.data[5] != '>') return -1;
  int high = hex_digit(text.data[3]), low = hex_digit(text.data[4]);
  return high < 0 || low < 0 ? -1 : high << 4 | low;
}

enum td_token_type td_spm_type(const struct td_tokenizer *tokenizer, int32_t id, struct td_span text) {
  if (!tokenizer->types && td_spm_byte(text) >= 0) return TD_TOKEN_BYTE;
  return td_token_type(tokenizer, id);
}

/* ---- texts by hash ---- */

uint64_t td_spm_hash(const char *text, size_t bytes) {
  uint64_t hash = 0;
  for (size_t i = 0; i < bytes; i++) hash = hash * HASH_BASE + (unsigned char)text[i] + 1;
  return hash;
}

uint64_t td_spm_hash_joined(const struct td_spm *spm, uint64_t left, uint64_t right, size_t right_bytes) {
  return left * spm->powers[right_bytes] + right;
}

/* The slot of a text, or the free one where it would go. */
static int32_t *find_slot(const struct td_spm *spm, uint64_t hash, const char *text, size_t bytes) {
  const struct td_slots *slots = &spm->slots;
  uint64_t at = td_mix(hash) & slots->mask;
  for (; slots->ids[at] >= 0; at = (at + 1) & slots->mask) {
    int32_t id = slots->ids[at];
    if (spm->hashes[id] != hash || spm->texts[id].bytes != bytes) continue;
    if (!memcmp(spm->texts[id].data, text, bytes)) break;
  }
  return &slots->ids[at];
}

int32_t td_spm_find(const struct td_spm *spm, uint64_t hash, const char *text, size_t bytes) {
  int32_t id = *find_slot(spm, hash, text, bytes);
  return id >= 0 && spm->ranks[id] >= 0 ? id : -1;
}

static td_status insert(struct td_spm *spm, int32_t id) {
  struct td_span text = spm->texts[id];
  if (!text.bytes) return TD_OK; /* padding: no text leads to it */
  spm->hashes[id] = td_spm_hash(text.data, text.bytes);
  int32_t *slot = find_slot(spm, spm->hashes[id], text.data, text.bytes);
  if (*slot >= 0) {
    return td_fail(TD_CORRUPT,
                   "%s: tokenizer.ggml.tokens[%" PRId32 "]: found \"%.*s\" again, expected it only at %" PRId32,
                   spm->path, id, TD_SPAN_SHOW(text), *slot);
  }
  *slot = id;
  return TD_OK;
}

static td_status build_slots(struct td_spm *spm) {
  TD_TRY(td_slots_open((size_t)spm->size, &spm->slots));
  TD_TRY(td_alloc((size_t)spm->size, sizeof *spm->hashes, (void **)&spm->hashes));
  for (int32_t id = 0; id < spm->size; id++) TD_TRY(insert(spm, id));
  return TD_OK;
}

/* ---- what each token is ---- */

static td_status add_byte(struct td_spm *spm, int32_t id) {
  int byte = td_spm_byte(spm->texts[id]);
  if (byte < 0 || spm->byte_id[byte] >= 0) {
    return td_fail(TD_CORRUPT,
                   "%s: tokenizer.ggml.tokens[%" PRId32
                   "]: found \"%.*s\", of type byte, expected <0x00> to <0xFF>, each once",
                   spm->path, id, TD_SPAN_SHOW(spm->texts[id]));
  }
  spm->byte_id[byte] = id;
  spm->byte_count++;
  return TD_OK;
}

static td_status sort_out(const struct td_tokenizer *tokenizer, struct td_spm *spm, int32_t id) {
  struct td_span text = spm->texts[id];
  enum td_token_type type = td_spm_type(tokenizer, id, text);
  spm->ranks[id] = text.bytes && (type == TD_TOKEN_NORMAL || type == TD_TOKEN_UNUSED) ? 0 : -1;
  if (spm->ranks[id] >= 0 && text.bytes > spm->max_bytes) spm->max_bytes = text.bytes;
  if (type == TD_TOKEN_BYTE) return add_byte(spm, id);
  if (type == TD_TOKEN_UNKNOWN && spm->unknown < 0) spm->unknown = id;
  bool inner = type == TD_TOKEN_USER && memmem(text.data, text.bytes, TD_SPM_SPACE, TD_SPM_SPACE_BYTES);
  return inner ? td_specials_add(&spm->inner, (struct td_special){text, id, true}) : TD_OK;
}

static td_status build_kinds(const struct td_tokenizer *tokenizer, struct td_spm *spm) {
  const unsigned char *position = tokenizer->tokens->data;
  TD_TRY(td_alloc((size_t)spm->size, sizeof *spm->texts, (void **)&spm->texts));
  TD_TRY(td_alloc((size_t)spm->size, sizeof *spm->ranks, (void **)&spm->ranks));
  memset(spm->byte_id, 0xff, sizeof spm->byte_id);
  for (int32_t id = 0; id < spm->size; id++) {
    spm->texts[id] = td_gguf_next_text(&position);
    TD_TRY(sort_out(tokenizer, spm, id));
  }
  td_specials_index(&spm->inner);
  return TD_OK;
}

static td_status build_powers(struct td_spm *spm) {
  TD_TRY(td_alloc(spm->max_bytes + 1, sizeof *spm->powers, (void **)&spm->powers));
  spm->powers[0] = 1;
  for (size_t i = 1; i <= spm->max_bytes; i++) spm->powers[i] = spm->powers[i - 1] * HASH_BASE;
  return TD_OK;
}

/* ---- ranks ---- */

struct scored {
  float score;
  int32_t id;
};

static int compare_scores(const void *a, const void *b) {
  float x = ((const struct scored *)a)->score, y = ((const struct scored *)b)->score;
  return (x < y) - (x > y);
}

static td_status build_ranks(const struct td_tokenizer *tokenizer, struct td_spm *spm) {
  struct scored *sorted;
  int32_t count = 0, rank = 0;
  TD_TRY(td_alloc((size_t)spm->size, sizeof *sorted, (void **)&sorted));
  for (int32_t id = 0; id < spm->size; id++) {
    if (spm->ranks[id] < 0) continue;
    sorted[count].id = id;
    memcpy(&sorted[count++].score, tokenizer->scores->data + (size_t)id * sizeof(float), sizeof(float));
  }
  if (count) qsort(sorted, (size_t)count, sizeof *sorted, compare_scores);
  for (int32_t i = 0; i < count; i++) {
    if (i && sorted[i].score < sorted[i - 1].score) rank++; /* equal scores: the leftmost pair merges first */
    spm->ranks[sorted[i].id] = rank;
  }
  free(sorted);
  return TD_OK;
}

/* ---- where texts may be cut ---- */

static uint64_t joint(const struct td_spm *spm, uint32_t left, uint32_t right) {
  return td_mix((uint64_t)left << 32 | right) & spm->joint_mask;
}

bool td_spm_joins(const struct td_spm *spm, uint32_t left, uint32_t right) {
  uint64_t bit = joint(spm, left, right);
  return spm->unused || spm->joints[bit / 8] >> bit % 8 & 1;
}

static void add_joints(struct td_spm *spm, struct td_span text) {
  uint32_t before = 0, character;
  for (size_t at = 0, bytes; at < text.bytes; at += bytes, before = character) {
    bytes = td_utf8_bytes(text.data + at, text.bytes - at);
    if (!bytes) return; /* texts are cut at what is no UTF-8, so nothing merges to this token */
    character = td_utf8_character(text.data + at, bytes);
    uint64_t bit = joint(spm, before, character);
    if (at) spm->joints[bit / 8] |= (unsigned char)(1u << bit % 8);
  }
}

static td_status build_joints(const struct td_tokenizer *tokenizer, struct td_spm *spm) {
  uint64_t bits = JOINTS_MIN;
  while (bits < JOINTS_MAX && bits / 8 < tokenizer->tokens->bytes) bits *= 2;
  spm->joint_mask = bits - 1;
  TD_TRY(td_alloc(bits / 8, 1, (void **)&spm->joints));
  for (int32_t id = 0; id < spm->size; id++) {
    if (spm->ranks[id] >= 0) add_joints(spm, spm->texts[id]);
  }
  return TD_OK;
}

/* ---- unused tokens ---- */

static bool has_hash(const struct td_spm *spm, uint64_t hash, size_t bytes) {
  const struct td_slots *slots = &spm->slots;
  for (uint64_t at = td_mix(hash) & slots->mask; slots->ids[at] >= 0; at = (at + 1) & slots->mask) {
    int32_t id = slots->ids[at];
    if (spm->hashes[id] == hash && spm->texts[id].bytes == bytes && spm->ranks[id] >= 0) return true;
  }
  return false;
}

/* Whether two parts, tokens or characters, can merge to it: padding like [PAD7] has none. */
static bool can_come_out(const struct td_spm *spm, int32_t id) {
  struct td_span text = spm->texts[id];
  uint64_t left_hash = 0;
  for (size_t left = 1; left < text.bytes; left++) {
    size_t right = text.bytes - left;
    left_hash = left_hash * HASH_BASE + (unsigned char)text.data[left - 1] + 1;
    uint64_t right_hash = spm->hashes[id] - left_hash * spm->powers[right];
    bool left_part = has_hash(spm, left_hash, left) || td_utf8_bytes(text.data, text.bytes) == left;
    if (!left_part) continue;
    if (has_hash(spm, right_hash, right) || td_utf8_bytes(text.data + left, right) == right) return true;
  }
  return false;
}

static td_status build_unused(const struct td_tokenizer *tokenizer, struct td_spm *spm) {
  for (int32_t id = 0; id < spm->size; id++) {
    if (td_token_type(tokenizer, id) != TD_TOKEN_UNUSED || !can_come_out(spm, id)) continue;
    if (!spm->unused) TD_TRY(td_alloc((size_t)spm->size, sizeof *spm->unused, (void **)&spm->unused));
    spm->unused[id] = true;
  }
  return TD_OK;
}

/* ---- all of it ---- */

static td_status build(const struct td_tokenizer *tokenizer, struct td_spm *spm) {
  TD_TRY(build_kinds(tokenizer, spm));
  TD_TRY(build_slots(spm));
  TD_TRY(build_powers(spm));
  TD_TRY(build_ranks(tokenizer, spm));
  TD_TRY(build_joints(tokenizer, spm));
  return build_unused(tokenizer, spm);
}

td_status td_spm_build(const struct td_tokenizer *tokenizer, struct td_spm **out) {
  struct td_spm *spm;
  TD_TRY(td_alloc(1, sizeof *spm, (void **)&spm));
  spm->path = tokenizer->path;
  spm->size = tokenizer->size;
  spm->unknown = tokenizer->unknown;
  td_status status = build(tokenizer, spm);
  if (status) {
    td_spm_free(spm);
    return status;
  }
  *out = spm;
  return TD_OK;
}

void td_spm_free(struct td_spm *spm) {
  if (!spm) return;
  free(spm->texts);
  free(spm->hashes);
  free(spm->powers);
  td_slots_free(&spm->slots);
  free(spm->ranks);
  free(spm->joints);
  free(spm->unused);
  td_specials_free(&spm->inner);
  free(spm);
}
