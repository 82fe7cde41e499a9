/* SPDX-License-Identifier: Apache-2.0
 *
 * Text to ids: specials are cut out, what lies between is cut into words, words into bytes, and bytes are merged.
 * SentencePiece-style vocabularies take what lies between specials as it is (spm_encode.c).
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"
#include "tokenizer.h"

#define TEXT_BYTES_MAX INT32_MAX /* symbols of a word are counted in int32_t */

struct job {
  const struct td_tokenizer *tokenizer;
  const struct td_encoder *encoder;
  const char *text;
  size_t bytes;
  bool parse_special, whole_words;
  struct td_pretoken_walk walk;
  struct td_bpe bpe;
  struct td_spm_run run;
  struct td_id_list word, out;
  struct td_text spelled; /* a word as the vocabulary writes it */
};

static td_status byte_id(const struct job *job, size_t at, int32_t *out_id) {
  unsigned char byte = (unsigned char)job->text[at];
  *out_id = job->encoder->byte_id[byte];
  if (*out_id >= 0) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "%s: tokenizer.ggml.tokens: found no token for byte 0x%02x (byte %zu of the text)",
                 job->tokenizer->path, byte, at);
}

/* td_pretokenizer_keeps_words: a word that is a token is taken as it is, whatever the merges would make of it. */
static td_status whole_word(struct job *job, size_t begin, size_t bytes, int32_t *out_id) {
  *out_id = -1;
  if (!job->whole_words || bytes > TD_TOKEN_BYTES_MAX) return TD_OK;
  job->spelled.bytes = 0;
  for (size_t i = 0; i < bytes; i++) {
    char text[2];
    td_text_add(&job->spelled, text, td_byte_to_text((unsigned char)job->text[begin + i], text));
  }
  if (job->spelled.failed) return td_fail(TD_NO_MEMORY, "no memory for a word of %zu bytes", bytes);
  int32_t id = td_encoder_token(job->encoder, job->spelled.data, job->spelled.bytes);
  if (id >= 0 && td_token_type(job->tokenizer, id) == TD_TOKEN_NORMAL) *out_id = id;
  return TD_OK;
}

static td_status encode_word(struct job *job, size_t begin, size_t bytes) {
  int32_t id;
  TD_TRY(whole_word(job, begin, bytes, &id));
  if (id >= 0) return td_id_push(&job->out, id);
  job->word.count = 0;
  for (size_t i = 0; i < bytes; i++) {
    TD_TRY(byte_id(job, begin + i, &id));
    TD_TRY(td_id_push(&job->word, id));
  }
  return td_bpe_merge(&job->bpe, job->encoder, job->word.ids, bytes, &job->out);
}

static size_t valid_bytes(const char *text, size_t bytes) {
  size_t at = 0, length;
  while (at < bytes && (length = td_utf8_bytes(text + at, bytes - at))) at += length;
  return at;
}

static td_status encode_valid(struct job *job, size_t begin, size_t end) {
  for (size_t at = begin, bytes; at < end; at += bytes) {
    /* the text seems to end at `end`: rules look ahead, and a special or a broken byte is an end to them */
    TD_TRY(td_pretoken_next(&job->walk, job->text + begin, end - begin, at - begin, &bytes));
    TD_TRY(encode_word(job, at, bytes));
  }
  return TD_OK;
}

/* Without specials. A byte that is not UTF-8 is a word of its own. */
static td_status encode_plain(struct job *job, size_t begin, size_t end) {
  if (job->encoder->spm) {
    bool prefix = job->tokenizer->space_prefix; /* what lies here begins the text or follows a special */
    return td_spm_encode(&job->run, job->encoder->spm, job->text + begin, end - begin, prefix, &job->out);
  }
  while (begin < end) {
    size_t valid = valid_bytes(job->text + begin, end - begin);
    TD_TRY(encode_valid(job, begin, begin + valid));
    begin += valid;
    int32_t id;
    if (begin == end) break;
    TD_TRY(byte_id(job, begin++, &id));
    TD_TRY(td_id_push(&job->out, id));
  }
  return TD_OK;
}

static td_status encode_all(struct job *job) {
  size_t plain = 0;
  for (size_t at = 0; at < job->bytes;) {
    const struct td_special *special =
        td_specials_find(&job->encoder->specials, job->text + at, job->bytes - at, job->parse_special);
    if (!special) {
      at++;
      continue;
    }
    TD_TRY(encode_plain(job, plain, at));
    TD_TRY(td_id_push(&job->out, special->id));
    plain = at += special->text.bytes;
  }
  return encode_plain(job, plain, job->bytes);
}

static void free_scratch(struct job *job) {
  td_pretoken_walk_close(&job->walk);
  td_bpe_free(&job->bpe);
  td_spm_run_free(&job->run);
  free(job->word.ids);
  td_text_free(&job->spelled);
}

td_status td_tokenizer_encode(const struct td_tokenizer *tokenizer, const char *text, size_t bytes, bool parse_special,
                              int32_t **out_ids, int64_t *out_count) {
  struct job job = {.tokenizer = tokenizer, .text = text, .bytes = bytes, .parse_special = parse_special};
  TD_TRY(td_tokenizer_usable(tokenizer));
  if (bytes > TEXT_BYTES_MAX) {
    return td_fail(TD_UNSUPPORTED, "text: found %zu bytes, expected at most %d", bytes, TEXT_BYTES_MAX);
  }
  job.whole_words = td_pretokenizer_keeps_words(tokenizer->pre);
  TD_TRY(td_tokenizer_encoder(tokenizer, &job.encoder));
  if (job.encoder->rule) TD_TRY(td_pretoken_walk_open(job.encoder->rule, &job.walk));
  /* one place for the empty text, so that success always hands out memory */
  td_status status = td_grow((void **)&job.out.ids, &job.out.capacity, 1, sizeof *job.out.ids);
  if (status == TD_OK) status = encode_all(&job);
  free_scratch(&job);
  if (status) {
    free(job.out.ids);
    return status;
  }
  *out_ids = job.out.ids;
  *out_count = (int64_t)job.out.count;
  return TD_OK;
}
