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
#include "tandem/base.h"

/* GGUF's token_type numbers. */
enum td_token_type {
  TD_TOKEN_NORMAL = 1,
  TD_TOKEN_UNKNOWN = 2,
  TD_TOKEN_CONTROL = 3,
  TD_TOKEN_USER = 4,
  TD_TOKEN_UNUSED = 5,
  TD_TOKEN_BYTE = 6
};

enum td_pretokenizer {
  TD_PRE_SMOLLM,
  TD_PRE_GPT2,
  TD_PRE_QWEN2,
  TD_PRE_LLAMA_BPE,
  TD_PRE_TEKKEN,
  TD_PRE_GPT4O,
  TD_PRE_DEFAULT,
  TD_PRE_COUNT
};

#define TD_TOKEN_BYTES_MAX 65535 /* of one token's text */
/* Of a token that is looked for at every byte of a text, which takes so many steps: 93 bytes are the most in use
 * (Gemma's runs of 31 spaces). */
#define TD_SPECIAL_BYTES_MAX 128
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
  char refusal_text[1024];
  bool spm;                 /* SentencePiece-style; else byte-level BPE */
  enum td_pretokenizer pre; /* BPE */
  bool space_prefix;        /* SPM: a space goes before the text, and before what follows a special token */
  bool adds_bos;
  const struct td_gguf_value *tokens, *types; /* of checked types and lengths; types may be NULL */
  const struct td_gguf_value *merges;         /* BPE */
  const struct td_gguf_value *scores;         /* SPM: float32 */
  int32_t size, bos, eos, unknown;            /* ids: -1 if none */
  int32_t ends[TD_END_IDS_MAX], end_count;
  struct td_span chat_template;
  struct td_tokenizer_tables *tables;
};

enum td_token_type td_token_type(const struct td_tokenizer *tokenizer, int32_t id);
/* Bytes of the UTF-8 character at `text` (RFC 3629), 0 if there is none; bytes > 0. */
size_t td_utf8_bytes(const char *text, size_t bytes);
/* That character; `bytes` as td_utf8_bytes said. */
uint32_t td_utf8_character(const char *text, size_t bytes);

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

/* ---- specials: tokens written out in a text that are taken whole ---- */

struct td_special {
  struct td_span text;
  int32_t id;
  bool always; /* user-defined tokens; control tokens only when asked for */
};

/* Sorted by text, so a prefix is a range. */
struct td_specials {
  struct td_special *list;
  int32_t count;
  size_t capacity;
  int32_t begin[257]; /* by first byte */
};
td_status td_specials_add(struct td_specials *specials, struct td_special special);
/* After the last td_specials_add. */
void td_specials_index(struct td_specials *specials);
void td_specials_free(struct td_specials *specials);
/* The longest one at the beginning of text; NULL if none. `all`: control tokens too. */
const struct td_special *td_specials_find(const struct td_specials *specials, const char *text, size_t bytes, bool all);

/* ---- tables ---- */

/* A table of the numbers 0 to count - 1, -1 where free; at most half of it is taken. What they stand for lies with the
 * user, who walks from td_mix(hash) & mask on. */
struct td_slots {
  int32_t *ids;
  uint64_t mask;
};
td_status td_slots_open(size_t count, struct td_slots *out);
void td_slots_free(struct td_slots *slots);
/* Every bit of the result depends on every bit of `hash`. */
uint64_t td_mix(uint64_t hash);

/* ---- encoder ---- */

struct td_pretoken_rule;
struct td_spm;

struct td_merge_rule {
  int32_t left, right, merged;
};

struct td_encoder {
  struct td_specials specials;
  struct td_spm *spm;           /* NULL: BPE, and what follows is there */
  const unsigned char **texts;  /* by id: length and text in the mapped file */
  struct td_merge_rule *merges; /* by rank */
  struct td_slots text_slots, merge_slots;
  int32_t byte_id[256]; /* -1: the vocabulary has no token for this byte */
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

/* ---- pre-tokenizer: cuts valid UTF-8 into words ---- */

/* False if the name is not known. */
bool td_pretokenizer_find(struct td_span name, enum td_pretokenizer *out);
/* For messages: all names, in quotes. */
td_status td_pretokenizer_names(char *out, size_t size);
/* Whether a word that is a token is taken as it is, whatever the merges would make of it. */
bool td_pretokenizer_keeps_words(enum td_pretokenizer pre);
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

/* Two neighbours that can merge. What `left_id`, `right_id` and `merged` say belongs to the merging at hand. */
struct td_pair {
  int32_t rank, left, left_id, right_id, merged;
};
/* The pair of lowest rank, and of these the leftmost, comes out first. */
struct td_heap {
  struct td_pair *pairs;
  size_t count, capacity;
};
td_status td_heap_push(struct td_heap *heap, struct td_pair pair);
struct td_pair td_heap_pop(struct td_heap *heap); /* count > 0 */

/* Scratch of one encoding, reused from word to word. Zero-initialise. */
struct td_bpe {
  struct td_bpe_symbol *symbols;
  size_t symbol_capacity;
  struct td_heap heap;
};
void td_bpe_free(struct td_bpe *bpe);
/* Appends the ids of one word, given as the ids of its bytes in `ids`. */
td_status td_bpe_merge(struct td_bpe *bpe, const struct td_encoder *encoder, const int32_t *ids, size_t count,
                       struct td_id_list *out);

/* ---- SentencePiece-style BPE ---- */

#define TD_SPM_SPACE "\xe2\x96\x81" /* U+2581 stands for the space */
#define TD_SPM_SPACE_BYTES 3

/* The byte of a token written "<0xXX>", -1 for other texts. */
int td_spm_byte(struct td_span text);
/* Like td_token_type; a file without types has byte tokens all the same. */
enum td_token_type td_spm_type(const struct td_tokenizer *tokenizer, int32_t id, struct td_span text);

/* The vocabulary as an encoding needs it. */
struct td_spm {
  const char *path;
  int32_t size, unknown;
  struct td_span *texts;
  uint64_t *hashes, *powers; /* of the texts; of the hash's base, up to max_bytes */
  struct td_slots slots;     /* by text */
  uint64_t joint_mask;
  int32_t *ranks;                   /* by falling score; -1: texts are not merged to this token */
  size_t max_bytes;                 /* of the longest token with a rank */
  int32_t byte_id[256], byte_count; /* -1: no token for this byte */
  unsigned char *joints;            /* bits: pairs of characters that stand side by side in some token */
  struct td_specials inner;         /* user-defined tokens that hold U+2581: found in the text as it is merged */
  bool *unused;                     /* tokens that may come out of merging and are taken apart again; NULL: none */
};
td_status td_spm_build(const struct td_tokenizer *tokenizer, struct td_spm **out);
void td_spm_free(struct td_spm *spm);

/* Polynomial, so that the hash of two texts one behind the other follows from theirs. */
uint64_t td_spm_hash(const char *text, size_t bytes);
uint64_t td_spm_hash_joined(const struct td_spm *spm, uint64_t left, uint64_t right, size_t right_bytes);
/* Id of a text that has a rank; -1 if none. */
int32_t td_spm_find(const struct td_spm *spm, uint64_t hash, const char *text, size_t bytes);
/* False if no token covers the two characters side by side; true may be wrong. */
bool td_spm_joins(const struct td_spm *spm, uint32_t left, uint32_t right);

/* Scratch of one encoding. Zero-initialise. */
struct td_spm_run {
  struct td_spm_symbol *symbols;
  size_t symbol_capacity;
  struct td_heap heap;
  struct td_text text;
  int32_t *splits; /* of td_spm.unused: bytes of the left half of the merge offered last; 0: none */
  bool after_unknown;
};
void td_spm_run_free(struct td_spm_run *run);
/* Appends the ids of a text without specials; with `prefix` a space goes before it. */
td_status td_spm_encode(struct td_spm_run *run, const struct td_spm *spm, const char *text, size_t bytes, bool prefix,
                        struct td_id_list *out);

#endif
