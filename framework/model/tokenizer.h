/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the tokenizer: its parts and how they meet. Opening only checks the file's arrays; the tables below are
 * built when a text or an id is first translated, because most commands never do.
 */
#ifndef TANDEM_MODEL_TOKENIZER_H
#define TANDEM_MODEL_TOKENIZER_H

#include <pthread.h>
#include <stdatomic.h>

#include "internal.h"

/* GGUF's token_type numbers. */
enum td_token_type {
  TD_TOKEN_NORMAL = 1,
  TD_TOKEN_UNKNOWN = 2,
  TD_TOKEN_CONTROL = 3,
  TD_TOKEN_USER = 4,
  TD_TOKEN_UNUSED = 5
};

enum td_pretokenizer { TD_PRE_SMOLLM, TD_PRE_GPT2, TD_PRE_QWEN2, TD_PRE_LLAMA_BPE, TD_PRE_COUNT };

#define TD_TOKEN_BYTES_MAX 65535 /* of one token's text */
#define TD_END_IDS_MAX 16

struct td_pieces;  /* id -> bytes */
struct td_encoder; /* text -> ids */

struct td_tokenizer_tables {
  pthread_mutex_t mutex; /* held while a table is built */
  _Atomic(struct td_pieces *) pieces;
  _Atomic(struct td_encoder *) encoder;
};

struct td_tokenizer {
  const char *path;
  td_status refusal; /* not TD_OK: this kind is not supported, and refusal_text says why */
  char refusal_text[512];
  enum td_pretokenizer pre;
  const struct td_gguf_value *tokens, *types, *merges; /* of checked types and lengths */
  int32_t size, bos;
  int32_t ends[TD_END_IDS_MAX], end_count;
  struct td_span chat_template;
  struct td_tokenizer_tables *tables;
};

enum td_token_type td_token_type(const struct td_tokenizer *tokenizer, int32_t id);

/* ---- bytes as characters: GPT-2's printable stand-ins, U+0021 to U+0143 ---- */

/* Writes the one or two bytes of UTF-8 that stand for `byte`; returns how many. */
size_t td_byte_to_text(unsigned char byte, char *out);
/* Undoes it for a whole text. False (and *out_bytes untouched) if a character stands for no byte; `out` needs
 * text.bytes. */
bool td_text_to_bytes(struct td_span text, char *out, uint64_t *out_bytes);

/* ---- pieces ---- */

struct td_pieces {
  char *data;
  uint64_t *begin; /* size + 1 */
};
td_status td_pieces_build(const struct td_tokenizer *tokenizer, struct td_pieces **out);
void td_pieces_free(struct td_pieces *pieces);

/* ---- encoder ---- */

/* A token written out in a text that is taken whole. Sorted by text, so a prefix is a range. */
struct td_special {
  struct td_span text;
  int32_t id;
  bool always; /* user-defined tokens; control tokens only when asked for */
};

struct td_token_entry;
struct td_merge_entry;
struct td_pretoken_rule;

struct td_encoder {
  struct td_token_entry *tokens, *token_memory;
  struct td_merge_entry *merges, *merge_memory;
  int32_t byte_id[256]; /* -1: the vocabulary has no token for this byte */
  struct td_special *specials;
  int32_t special_count;
  int32_t special_begin[257]; /* by first byte */
  struct td_pretoken_rule *rule;
};
td_status td_encoder_build(const struct td_tokenizer *tokenizer, struct td_encoder **out);
void td_encoder_free(struct td_encoder *encoder);
/* Builds the encoder on first use. Borrowed. */
td_status td_tokenizer_encoder(const struct td_tokenizer *tokenizer, const struct td_encoder **out);

/* Id of a token by its text as the file has it; -1 if none. */
int32_t td_encoder_token(const struct td_encoder *encoder, const char *text, size_t bytes);
/* False if the pair does not merge. */
bool td_encoder_merge(const struct td_encoder *encoder, int32_t left, int32_t right, int32_t *out_rank,
                      int32_t *out_merged);

/* The longest special at the beginning of text; NULL if none. */
const struct td_special *td_special_find(const struct td_encoder *encoder, const char *text, size_t bytes, bool all);

/* ---- pre-tokenizer: cuts valid UTF-8 into words ---- */

/* False if the name is not known. */
bool td_pretokenizer_find(struct td_span name, enum td_pretokenizer *out);
td_status td_pretoken_rule_open(enum td_pretokenizer pre, struct td_pretoken_rule **out);
void td_pretoken_rule_close(struct td_pretoken_rule *rule);

/* Walks over one text; a walk belongs to one thread, a rule to all. */
struct td_pretoken_walk {
  const struct td_pretoken_rule *rule;
  void *match, *context;
};
td_status td_pretoken_walk_open(const struct td_pretoken_rule *rule, struct td_pretoken_walk *out);
void td_pretoken_walk_close(struct td_pretoken_walk *walk);
/* Bytes of the word at text[at]; at < bytes. */
td_status td_pretoken_next(struct td_pretoken_walk *walk, const char *text, size_t bytes, size_t at, size_t *out_bytes);

/* ---- merging ---- */

struct td_id_list {
  int32_t *ids;
  size_t count, capacity;
};
td_status td_id_push(struct td_id_list *list, int32_t id);

/* Scratch of one encoding, reused from word to word. Zero-initialise. */
struct td_bpe {
  struct td_bpe_symbol *symbols;
  size_t symbol_capacity;
  struct td_bpe_pair *heap;
  size_t heap_count, heap_capacity;
};
void td_bpe_free(struct td_bpe *bpe);
/* Appends the ids of one word, given as the ids of its bytes in `ids`. */
td_status td_bpe_merge(struct td_bpe *bpe, const struct td_encoder *encoder, const int32_t *ids, size_t count,
                       struct td_id_list *out);

#endif
