/* SPDX-License-Identifier: Apache-2.0
 *
 * SentencePiece-style BPE: of all neighbours that join to a token, those that make the token of the highest score merge
 * first, the leftmost of equals, until nothing joins. What is then no token is written as bytes, or as the unknown
 * token where the vocabulary has no bytes.
 *
 * A text is one word to the sentencepiece library. Here it is cut wherever no token covers the characters on both
 * sides, which changes nothing and keeps the heap small.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"
#include "tokenizer.h"

#define NONE (-1)

struct td_spm_symbol {
  uint64_t hash;
  int32_t begin, bytes; /* in the piece of text being merged; 0 bytes: swallowed by its left neighbour */
  int32_t before, after;
};

struct job {
  struct td_spm_run *run;
  const struct td_spm *spm;
  struct td_id_list *out;
  const char *text; /* the piece being merged */
};

void td_spm_run_free(struct td_spm_run *run) {
  free(run->symbols);
  free(run->heap.pairs);
  free(run->splits);
  td_text_free(&run->text);
  *run = (struct td_spm_run){0};
}

/* ---- ids of what was merged ---- */

static td_status push(struct job *job, int32_t id) {
  job->run->after_unknown = false;
  return td_id_push(job->out, id);
}

static td_status push_bytes(struct job *job, const char *text, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) {
    unsigned char byte = (unsigned char)text[i];
    if (job->spm->byte_id[byte] < 0) {
      return td_fail(TD_UNSUPPORTED, "%s: tokenizer.ggml.tokens: found no token for byte 0x%02x of the text, <0x%02X>",
                     job->spm->path, byte, byte);
    }
    TD_TRY(push(job, job->spm->byte_id[byte]));
  }
  return TD_OK;
}

/* A run of unknown characters is one unknown token, as in the sentencepiece library. */
static td_status push_unknown(struct job *job, const char *text, size_t bytes) {
  if (job->spm->byte_count) return push_bytes(job, text, bytes);
  if (job->run->after_unknown) return TD_OK;
  if (job->spm->unknown < 0) {
    return td_fail(TD_UNSUPPORTED,
                   "%s: tokenizer.ggml.tokens: found no token for \"%.*s\" in the text, no byte tokens and no unknown "
                   "token",
                   job->spm->path, (int)bytes, text);
  }
  TD_TRY(push(job, job->spm->unknown));
  job->run->after_unknown = true;
  return TD_OK;
}

static td_status push_text(struct job *job, const char *text, size_t bytes) {
  int32_t id = bytes > job->spm->max_bytes ? -1 : td_spm_find(job->spm, td_spm_hash(text, bytes), text, bytes);
  return id < 0 ? push_unknown(job, text, bytes) : push(job, id);
}

/* Bytes of the left half that an unused token is taken apart into, 0 if `text` stays whole. */
static size_t split_at(const struct job *job, const char *text, size_t bytes) {
  int32_t id = td_spm_find(job->spm, td_spm_hash(text, bytes), text, bytes);
  return id >= 0 && job->spm->unused[id] ? (size_t)job->run->splits[id] : 0;
}

/* Halves first, without recursion: a token may be nested as deep as it is long. The heap, empty by now, is the stack of
 * right halves. */
static td_status push_apart(struct job *job, const char *text, size_t bytes) {
  struct td_heap *stack = &job->run->heap;
  for (;;) {
    size_t left = bytes > job->spm->max_bytes ? 0 : split_at(job, text, bytes);
    if (left) {
      struct td_pair right = {.left = (int32_t)(text + left - job->text), .merged = (int32_t)(bytes - left)};
      TD_TRY(td_grow((void **)&stack->pairs, &stack->capacity, stack->count + 1, sizeof right));
      stack->pairs[stack->count++] = right;
      bytes = left;
      continue;
    }
    TD_TRY(push_text(job, text, bytes));
    if (!stack->count) return TD_OK;
    struct td_pair next = stack->pairs[--stack->count];
    text = job->text + next.left;
    bytes = (size_t)next.merged;
  }
}

/* ---- merging ---- */

static td_status offer(struct job *job, int32_t at) {
  const struct td_spm_symbol *symbols = job->run->symbols;
  if (at == NONE || symbols[at].after == NONE) return TD_OK;
  const struct td_spm_symbol *left = &symbols[at], *right = &symbols[left->after];
  size_t bytes = (size_t)left->bytes + (size_t)right->bytes;
  if (bytes > job->spm->max_bytes) return TD_OK;
  uint64_t hash = td_spm_hash_joined(job->spm, left->hash, right->hash, (size_t)right->bytes);
  int32_t id = td_spm_find(job->spm, hash, job->text + left->begin, bytes);
  if (id < 0) return TD_OK;
  if (job->spm->unused && job->spm->unused[id]) job->run->splits[id] = left->bytes;
  return td_heap_push(
      &job->run->heap,
      (struct td_pair){
          .rank = job->spm->ranks[id], .left = at, .left_id = left->bytes, .right_id = right->bytes, .merged = id});
}

/* Either symbol may have grown or gone since the pair was offered. */
static bool is_stale(const struct td_spm_run *run, const struct td_pair *pair) {
  const struct td_spm_symbol *left = &run->symbols[pair->left];
  return left->bytes != pair->left_id || left->after == NONE || run->symbols[left->after].bytes != pair->right_id;
}

static td_status apply(struct job *job, const struct td_pair *pair) {
  struct td_spm_symbol *symbols = job->run->symbols, *left = &symbols[pair->left], *right = &symbols[left->after];
  left->bytes += right->bytes;
  left->hash = job->spm->hashes[pair->merged];
  left->after = right->after;
  right->bytes = 0;
  if (left->after != NONE) symbols[left->after].before = pair->left;
  TD_TRY(offer(job, left->before));
  return offer(job, pair->left);
}

static td_status add_symbols(struct job *job, size_t bytes, int32_t *out_count) {
  struct td_spm_run *run = job->run;
  int32_t count = 0;
  for (size_t at = 0, length; at < bytes; at += length, count++) {
    length = td_utf8_bytes(job->text + at, bytes - at);
    TD_TRY(td_grow((void **)&run->symbols, &run->symbol_capacity, (size_t)count + 1, sizeof *run->symbols));
    run->symbols[count] = (struct td_spm_symbol){td_spm_hash(job->text + at, length), (int32_t)at, (int32_t)length,
                                                 count - 1, at + length < bytes ? count + 1 : NONE};
  }
  *out_count = count;
  return TD_OK;
}

/* Valid UTF-8 without user-defined tokens. */
static td_status merge(struct job *job, const char *text, size_t bytes) {
  struct td_spm_run *run = job->run;
  int32_t count;
  if (!bytes) return TD_OK;
  if (bytes > INT32_MAX) {
    return td_fail(TD_UNSUPPORTED, "text: found %zu bytes between two tokens, expected at most %d", bytes, INT32_MAX);
  }
  job->text = text;
  run->heap.count = 0;
  TD_TRY(add_symbols(job, bytes, &count));
  for (int32_t i = 0; i < count; i++) TD_TRY(offer(job, i));
  while (run->heap.count) {
    struct td_pair pair = td_heap_pop(&run->heap);
    if (!is_stale(run, &pair)) TD_TRY(apply(job, &pair));
  }
  for (int32_t i = 0; i != NONE; i = run->symbols[i].after) {
    const char *piece = text + run->symbols[i].begin;
    size_t piece_bytes = (size_t)run->symbols[i].bytes;
    TD_TRY(job->spm->unused ? push_apart(job, piece, piece_bytes) : push_text(job, piece, piece_bytes));
  }
  return TD_OK;
}

/* ---- a text ---- */

/* The text with U+2581 for its spaces. */
static td_status replace_spaces(struct td_text *out, const char *text, size_t bytes, bool prefix) {
  out->bytes = 0;
  if (prefix) td_text_add(out, TD_SPM_SPACE, TD_SPM_SPACE_BYTES);
  for (size_t at = 0; at < bytes;) {
    const char *space = memchr(text + at, ' ', bytes - at);
    size_t plain = space ? (size_t)(space - text) - at : bytes - at;
    td_text_add(out, text + at, plain);
    if (space) td_text_add(out, TD_SPM_SPACE, TD_SPM_SPACE_BYTES);
    at += plain + (space ? 1 : 0);
  }
  return out->failed ? td_fail(TD_NO_MEMORY, "no memory for a text of %zu bytes", bytes) : TD_OK;
}

static td_status encode_all(struct job *job, const char *text, size_t bytes) {
  const struct td_spm *spm = job->spm;
  size_t begin = 0, length;
  uint32_t before = 0, character;
  for (size_t at = 0; at < bytes; at += length, before = character) {
    const struct td_special *whole =
        spm->inner.count ? td_specials_find(&spm->inner, text + at, bytes - at, true) : NULL;
    length = whole ? whole->text.bytes : td_utf8_bytes(text + at, bytes - at);
    character = length && !whole ? td_utf8_character(text + at, length) : 0;
    if (length && !whole && (at == begin || td_spm_joins(spm, before, character))) continue;
    TD_TRY(merge(job, text + begin, at - begin));
    begin = at;
    if (length && !whole) continue;
    if (!length) length = 1; /* not UTF-8 */
    TD_TRY(whole ? push(job, whole->id) : push_unknown(job, text + at, length));
    begin = at + length;
  }
  return merge(job, text + begin, bytes - begin);
}

td_status td_spm_encode(struct td_spm_run *run, const struct td_spm *spm, const char *text, size_t bytes, bool prefix,
                        struct td_id_list *out) {
  struct job job = {.run = run, .spm = spm, .out = out};
  if (!bytes) return TD_OK;
  if (spm->unused) {
    if (!run->splits) TD_TRY(td_alloc((size_t)spm->size, sizeof *run->splits, (void **)&run->splits));
    memset(run->splits, 0, (size_t)spm->size * sizeof *run->splits);
  }
  run->after_unknown = false;
  TD_TRY(replace_spaces(&run->text, text, bytes, prefix));
  return encode_all(&job, run->text.data, run->text.bytes);
}
