/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzzes the tokenizer with vocabularies: an input describes a few tokens, merges and a text, which becomes the
 * metadata of a GGUF file. Byte-level BPE must encode or refuse; a SentencePiece-style vocabulary must also give the
 * ids that the rule, followed in the slowest way, gives. fuzz_tokenizer.c has the texts for one good vocabulary.
 *
 * Input: flags; number of tokens; each token: type and length in one byte, score, its bytes; number of merges; each:
 * two lengths in one byte, the bytes of both halves; the rest is the text. With -DTANDEM_FUZZ_MAIN a plain program that
 * replays the files it is given, for compilers without libFuzzer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer.h"
#include "tandem/base.h"

#define TOKENS_MAX 64
#define TEXT_MAX 96

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
  const uint8_t *data;
  size_t left;
};

static const uint8_t *take(struct input *input, size_t bytes, size_t *out_bytes) {
  const uint8_t *data = input->data;
  *out_bytes = bytes < input->left ? bytes : input->left;
  input->data += *out_bytes;
  input->left -= *out_bytes;
  return data;
}

static uint8_t take_byte(struct input *input) {
  size_t bytes;
  const uint8_t *data = take(input, 1, &bytes);
  return bytes ? *data : 0;
}

/* ---- a file ---- */

static void add_text(struct td_text *out, const void *data, uint64_t bytes) {
  td_text_add(out, &bytes, sizeof bytes);
  td_text_add(out, data, bytes);
}

static void add_key(struct td_text *out, const char *key, uint32_t type) {
  add_text(out, key, strlen(key));
  td_text_add(out, &type, sizeof type);
}

static void add_array(struct td_text *out, const char *key, uint32_t type, uint64_t count, const struct td_text *data) {
  add_key(out, key, TD_GGUF_ARRAY);
  td_text_add(out, &type, sizeof type);
  td_text_add(out, &count, sizeof count);
  td_text_add(out, data->data, data->bytes);
}

struct vocabulary {
  struct td_text tokens, types, scores, merges;
  uint64_t count, merge_count;
  bool spm;
};

static void read_vocabulary(struct input *input, struct vocabulary *out) {
  out->count = 1 + take_byte(input) % TOKENS_MAX;
  for (uint64_t i = 0; i < out->count; i++) {
    uint8_t head = take_byte(input);
    float score = (float)(take_byte(input) % 8);
    int32_t type = 1 + head % 6;
    size_t bytes;
    const uint8_t *text = take(input, head / 16, &bytes);
    add_text(&out->tokens, text, bytes);
    td_text_add(&out->types, &type, sizeof type);
    td_text_add(&out->scores, &score, sizeof score);
  }
  out->merge_count = out->spm ? 0 : take_byte(input) % TOKENS_MAX;
  for (uint64_t i = 0; i < out->merge_count; i++) {
    char merge[32];
    size_t left, right;
    uint8_t head = take_byte(input);
    memcpy(merge, take(input, head % 16, &left), left);
    merge[left] = ' ';
    const uint8_t *rest = take(input, head / 16, &right);
    memcpy(merge + left + 1, rest, right);
    add_text(&out->merges, merge, left + 1 + right);
  }
}

static void write_file(const struct vocabulary *vocabulary, uint8_t flags, struct td_text *out) {
  static const char *const pres[] = {"gpt-2", "smollm", "qwen2", "llama-bpe", "tekken", "gpt-4o", "default", "other"};
  const uint32_t version = 3;
  const uint64_t tensors = 0, keys = 6;
  const char *model = vocabulary->spm ? "llama" : "gpt2", *pre = pres[flags >> 4 & 7];
  uint8_t prefix = flags >> 2 & 1;
  td_text_add(out, "GGUF", 4);
  td_text_add(out, &version, sizeof version);
  td_text_add(out, &tensors, sizeof tensors);
  td_text_add(out, &keys, sizeof keys);
  add_key(out, "tokenizer.ggml.model", TD_GGUF_STRING);
  add_text(out, model, strlen(model));
  if (vocabulary->spm) {
    add_key(out, "tokenizer.ggml.add_space_prefix", TD_GGUF_BOOL);
    td_text_add(out, &prefix, 1);
  } else {
    add_key(out, "tokenizer.ggml.pre", TD_GGUF_STRING);
    add_text(out, pre, strlen(pre));
  }
  add_array(out, "tokenizer.ggml.tokens", TD_GGUF_STRING, vocabulary->count, &vocabulary->tokens);
  add_array(out, "tokenizer.ggml.token_type", TD_GGUF_I32, vocabulary->count, &vocabulary->types);
  add_array(out, "tokenizer.ggml.scores", TD_GGUF_F32, vocabulary->count, &vocabulary->scores);
  add_array(out, "tokenizer.ggml.merges", TD_GGUF_STRING, vocabulary->merge_count, &vocabulary->merges);
}

/* ---- the rule, the slow way ---- */

struct slow {
  const struct td_tokenizer *tokenizer;
  struct td_span texts[TOKENS_MAX];
  float scores[TOKENS_MAX];
};

static int32_t find(const struct slow *slow, const char *text, size_t bytes) {
  for (int32_t id = 0; id < slow->tokenizer->size; id++) {
    if (td_token_type(slow->tokenizer, id) != TD_TOKEN_NORMAL || slow->texts[id].bytes != bytes) continue;
    if (bytes && !memcmp(slow->texts[id].data, text, bytes)) return id;
  }
  return -1;
}

/* The end of symbol `at`; 0 behind the last. */
static size_t merge_slowly(const struct slow *slow, const char *text, size_t *ends, size_t count) {
  for (;;) {
    size_t best = count;
    float best_score = 0;
    for (size_t i = 0; i + 1 < count; i++) {
      size_t begin = i ? ends[i - 1] : 0;
      int32_t id = find(slow, text + begin, ends[i + 1] - begin);
      if (id < 0 || (best < count && slow->scores[id] <= best_score)) continue;
      best = i;
      best_score = slow->scores[id];
    }
    if (best == count) return count;
    memmove(&ends[best], &ends[best + 1], (count - best - 1) * sizeof *ends);
    count--;
  }
}

static void check_slowly(const struct td_tokenizer *tokenizer, const char *text, size_t bytes, const int32_t *ids,
                         int64_t id_count) {
  struct slow slow = {.tokenizer = tokenizer};
  const unsigned char *position = tokenizer->tokens->data;
  struct td_text plain = {0};
  size_t ends[4 * TEXT_MAX], count = 0;
  int64_t used = 0;
  for (int32_t id = 0; id < tokenizer->size; id++) slow.texts[id] = td_gguf_next_text(&position);
  memcpy(slow.scores, tokenizer->scores->data, (size_t)tokenizer->size * sizeof(float));
  if (tokenizer->space_prefix && bytes) td_text_add(&plain, TD_SPM_SPACE, TD_SPM_SPACE_BYTES);
  for (size_t i = 0; i < bytes; i++) {
    bool space = text[i] == ' ';
    td_text_add(&plain, space ? TD_SPM_SPACE : &text[i], space ? TD_SPM_SPACE_BYTES : 1);
  }
  for (size_t at = 0; at < plain.bytes; at = ends[count++]) {
    ends[count] = at + td_utf8_bytes(plain.data + at, plain.bytes - at);
  }
  count = merge_slowly(&slow, plain.data, ends, count);
  for (size_t i = 0; i < count && used < id_count; i++) {
    size_t begin = i ? ends[i - 1] : 0;
    int32_t id = find(&slow, plain.data + begin, ends[i] - begin);
    if (id >= 0 && ids[used] != id) abort();
    used += id >= 0 ? 1 : (int64_t)(ends[i] - begin); /* bytes */
  }
  if (used != id_count) abort();
  td_text_free(&plain);
}

/* Only what the slow way knows: no specials, no unused tokens, bytes for what is unknown. */
static bool is_plain(const struct td_tokenizer *tokenizer, const char *text, size_t bytes) {
  bool has_bytes = false;
  for (int32_t id = 0; id < tokenizer->size; id++) {
    enum td_token_type type = td_token_type(tokenizer, id);
    if (type != TD_TOKEN_NORMAL && type != TD_TOKEN_BYTE) return false;
    has_bytes = has_bytes || type == TD_TOKEN_BYTE;
  }
  for (size_t at = 0, length; at < bytes; at += length) {
    if (!(length = td_utf8_bytes(text + at, bytes - at))) return false;
  }
  return has_bytes;
}

/* ---- one input ---- */

static void use(const struct td_tokenizer *tokenizer, const char *text, size_t bytes, bool special) {
  int32_t *ids;
  int64_t count;
  if (td_tokenizer_encode(tokenizer, text, bytes, special, &ids, &count)) return;
  for (int64_t i = 0; i < count; i++) {
    const char *piece;
    size_t piece_bytes;
    if (td_tokenizer_piece(tokenizer, ids[i], &piece, &piece_bytes)) abort();
  }
  if (tokenizer->spm && bytes <= TEXT_MAX && is_plain(tokenizer, text, bytes)) {
    check_slowly(tokenizer, text, bytes, ids, count);
  }
  free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = {data, size};
  uint8_t flags = take_byte(&input);
  struct vocabulary vocabulary = {.spm = flags & 1};
  struct td_text file = {0};
  struct td_gguf *gguf;
  struct td_tokenizer *tokenizer;
  read_vocabulary(&input, &vocabulary);
  write_file(&vocabulary, flags, &file);
  if (td_gguf_parse("fuzz.gguf", (const unsigned char *)file.data, file.bytes, &gguf)) abort();
  if (td_tokenizer_open(gguf, (int32_t)vocabulary.count, &tokenizer) == TD_OK) {
    use(tokenizer, (const char *)input.data, input.left, flags & 2);
    td_tokenizer_close(tokenizer);
  }
  td_gguf_close(gguf);
  td_text_free(&file);
  td_text_free(&vocabulary.tokens);
  td_text_free(&vocabulary.types);
  td_text_free(&vocabulary.scores);
  td_text_free(&vocabulary.merges);
  return 0;
}

#ifdef TANDEM_FUZZ_MAIN
#include "fuzz_main.h"
#endif
