/* SPDX-License-Identifier: Apache-2.0
 *
 * Models: the shape, the weights of a GGUF file, or the shape alone from a libconfig file.
 *
 * A td_model is immutable after td_model_open and may be read from any number of threads.
 */
#ifndef TANDEM_MODEL_H
#define TANDEM_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tandem/dtype.h"

enum td_arch {
  /* executed: read from GGUF, and as shapes */
  TD_ARCH_LLAMA, /* also with experts (Mixtral) */
  TD_ARCH_QWEN2,
  TD_ARCH_QWEN3,
  TD_ARCH_QWEN3MOE,
  TD_ARCH_GEMMA3,
  /* shape-only: priced */
  TD_ARCH_GPT_OSS,
  TD_ARCH_DEEPSEEK3, /* multi-head latent attention, in the absorbed form that decode uses */
  TD_ARCH_OPT,
  TD_ARCH_BERT, /* an encoder: no causal mask, no KV cache that is read again, a pooler in place of a vocabulary head */
  TD_ARCH_COUNT
};
/* The name as GGUF and the .cfg files write it: "llama", "qwen3moe", "gpt-oss", "deepseek3". */
const char *td_arch_name(enum td_arch arch);

#define TD_NAME_BYTES 64

/* Dimensions of a transformer. Names in brackets are GGUF's metadata keys under "ARCHITECTURE."; 0 = the model has no
 * such thing. */
struct td_shape {
  char name[TD_NAME_BYTES]; /* [general.name]; one that does not fit ends in "..." */
  enum td_arch arch;
  int32_t layers;        /* [block_count] */
  int32_t hidden;        /* [embedding_length] */
  int32_t heads;         /* [attention.head_count] */
  int32_t kv_heads;      /* [attention.head_count_kv]; divides heads (GQA) */
  int32_t head_dim;      /* [attention.key_length], else hidden / heads */
  int32_t ffn;           /* [feed_forward_length]: inner width of a dense FFN (of one expert for llama with experts) */
  int32_t vocab;         /* rows of the embedding */
  int32_t context;       /* [context_length]: positions 0 .. context-1 exist */
  int32_t rope_dim;      /* [rope.dimension_count]: leading elements of a head that rotate; even */
  double rope_theta;     /* [rope.freq_base] */
  double rope_scale;     /* 1 / [rope.scaling.factor] for linear scaling (of full-attention layers only, in gemma3),
                            else 1 */
  double norm_epsilon;   /* [attention.layer_norm_rms_epsilon] */
  int32_t experts;       /* [expert_count] */
  int32_t experts_used;  /* [expert_used_count]: per token */
  int32_t expert_ffn;    /* [expert_feed_forward_length], else ffn: inner width of one expert */
  int32_t shared_ffn;    /* priced only: inner width of the experts that every token passes */
  int32_t dense_layers;  /* priced only: this many first layers have a dense FFN instead of experts */
  int32_t window;        /* [attention.sliding_window]: positions a windowed layer sees, itself included */
  int32_t window_period; /* layer i attends to everything if (i + 1) % window_period == 0, else to the window */
  double window_rope_theta;    /* rope base of windowed layers */
  int32_t q_lora, kv_lora;     /* priced only: latent attention's compressed widths of Q and of K and V */
  int32_t nope_dim, value_dim; /* priced only: latent attention's unrotated part of a head, and V's width */
  bool tied_output;            /* the output matrix is the embedding */
  bool rope_factors;           /* a tensor rope_freqs.weight divides the frequencies (Llama-3.1 scaling) */
  enum td_dtype weight_dtype;  /* shape-only models: of every matrix. GGUF: of layer 0's ffn_down, for tables */
  enum td_dtype expert_dtype;  /* shape-only models: of the experts' matrices */
};
/* Whether layer `layer` attends to the window only. */
bool td_shape_is_windowed(const struct td_shape *shape, int32_t layer);
/* Elements that one position occupies in the KV cache of one layer, K and V together. */
int64_t td_shape_kv_elements(const struct td_shape *shape);
/* Whether prices can deal a layer out to so many chips, each with as many heads as the others (key and value heads may
 * be fewer than chips, which then copy), or the layers to so many stages. TD_UNSUPPORTED: "found N, expected ...". */
td_status td_shape_check_tensor(const struct td_shape *shape, int64_t chips);
td_status td_shape_check_stages(const struct td_shape *shape, int64_t stages);
/* False for architectures that can only be priced. */
bool td_arch_executes(enum td_arch arch);

/* One tensor. rows x cols, row-major, cols is the fast axis (GGUF's ne[0]); a vector has rows = 1; the matrices of a
 * layer's experts (three axes in the file) lie one below the other. */
struct td_tensor {
  const char *name;
  enum td_dtype dtype;
  int64_t rows, cols;
  const void *data; /* inside the mapped file, checked to lie in it; NULL in a shape-only model */
  uint64_t bytes;
};

struct td_model;
struct td_tokenizer;

/* Opens a GGUF v3 file (mapped read-only; every offset, count, type and dimension checked against the file before
 * use) or, when the path ends in ".cfg", a shape-only libconfig file. Tells them apart by the file's first bytes
 * and refuses what it does not know by name: other architectures, tensors or "ARCHITECTURE." keys that it would have to
 * ignore, norms that are not F32. Errors name the file, the field, found and expected:
 * TD_NOT_FOUND, TD_IO, TD_CORRUPT, TD_UNSUPPORTED. */
td_status td_model_open(const char *path, struct td_model **out_model);
void td_model_close(struct td_model *model); /* NULL is fine */

const struct td_shape *td_model_shape(const struct td_model *model);
const char *td_model_path(const struct td_model *model);
/* False for shape-only models: they can be priced, not executed. */
bool td_model_has_weights(const struct td_model *model);
/* NULL if the model has no tensor of this name. Borrowed. For shape-only models: NULL always. */
const struct td_tensor *td_model_tensor(const struct td_model *model, const char *name);
/* Sum of the bytes of all tensors (for shape-only models: what they would be). */
uint64_t td_model_weight_bytes(const struct td_model *model);
/* FNV-1a over shape, tensor table and the first and last 4 KiB of every tensor: names a model in traces.
 * Cheap on purpose; it identifies, it does not protect. */
uint64_t td_model_digest(const struct td_model *model);
/* NULL if the file carries no tokenizer (or the model is shape-only). Borrowed. A file whose tokenizer is of a kind
 * that tandem does not know opens all the same, since it can be run on ids: see td_tokenizer_usable. A tokenizer whose
 * arrays contradict themselves is TD_CORRUPT: at opening for their types and lengths, at first use for their contents.
 */
const struct td_tokenizer *td_model_tokenizer(const struct td_model *model);

/* ---- tokenizer: byte-level BPE ("gpt2" model in GGUF) with the pre-tokenizers smollm, gpt-2, qwen2, llama-bpe,
 * tekken, gpt-4o, default and those that are one of these under another name; and SentencePiece-style BPE with byte
 * fallback ("llama" model in GGUF: Llama 2, Mistral, Gemma) ---- */

/* TD_OK, or TD_UNSUPPORTED with the kind the file names and those that tandem knows: then encode, piece and chat fail
 * with the same text, and size, bos and is_end still answer. */
td_status td_tokenizer_usable(const struct td_tokenizer *tokenizer);

/* Encodes `bytes` bytes of text (any bytes; invalid UTF-8 is encoded byte by byte and round-trips). With
 * parse_special, control tokens written out in the text ("<|im_start|>") become their ids; user-defined tokens always
 * do, the longest first. No BOS is added, and no Unicode normalisation is done. TD_UNSUPPORTED names a byte for which
 * the vocabulary has no token (SmolLM2's lacks 21 of the 256, 0xff among them): nothing is dropped in silence.
 * SentencePiece-style vocabularies write U+2581 and the space alike, a character they do not have as bytes or, without
 * byte tokens, a run of them as the unknown token, and put a space before the text and after each special token if the
 * file asks for it [tokenizer.ggml.add_space_prefix], as llama.cpp does.
 * *out_ids is malloc'd, the caller frees it. Thread-safe. The first call builds the tables, some 20 ms. */
td_status td_tokenizer_encode(const struct td_tokenizer *tokenizer, const char *text, size_t bytes, bool parse_special,
                              int32_t **out_ids, int64_t *out_count);
/* The bytes of one token: borrowed, not NUL-terminated, may be half a character. The space that encoding put before a
 * text is in its first piece: it is for the caller to take off. TD_NOT_FOUND if out of range. */
td_status td_tokenizer_piece(const struct td_tokenizer *tokenizer, int32_t id, const char **out_data,
                             size_t *out_bytes);
int32_t td_tokenizer_size(const struct td_tokenizer *tokenizer);
int32_t td_tokenizer_bos(const struct td_tokenizer *tokenizer); /* -1 if none */
/* Whether plain text should begin with td_tokenizer_bos, as the file says [tokenizer.ggml.add_bos_token] or, where it
 * is silent, as llama.cpp does: for SentencePiece-style vocabularies and llama-bpe. What td_tokenizer_chat
 * renders has the BOS written out already if its template wants one. */
bool td_tokenizer_adds_bos(const struct td_tokenizer *tokenizer);
/* True if generation ends after this id: the file's eos and eot ids, and tokens that end a turn or a text (<|im_end|>,
 * <|eot_id|>, <|eom_id|>, <end_of_turn>, <|endoftext|>, <|end_of_text|>, as control or user-defined tokens). */
bool td_tokenizer_is_end(const struct td_tokenizer *tokenizer, int32_t id);

struct td_chat_message {
  const char *role; /* "system", "user", "assistant" */
  const char *content;
};
/* Renders a conversation in the model's chat format, ending where the assistant's answer begins: runs the file's
 * tokenizer.chat_template, a Jinja program, on plain messages without tools, byte for byte as Hugging Face's
 * apply_chat_template does, BOS and default system message included. Today's date is not told: Llama-3.2's template
 * then writes its own, and one that must have it is refused (Mistral Small's without a system message). Formats:
 * ChatML, Llama-3, Mistral, Gemma; others are refused by name, and so is a construct that tandem does not know
 * (TD_UNSUPPORTED). Contents are not escaped: encoding them with parse_special reads control tokens that a user
 * wrote, as everywhere.
 * TD_CONFIG for other roles or no message, and for a conversation that the template itself refuses, with its words.
 * *out_text is malloc'd. */
td_status td_tokenizer_chat(const struct td_tokenizer *tokenizer, const struct td_chat_message *messages, int count,
                            char **out_text);

#endif
