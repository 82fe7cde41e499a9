/* SPDX-License-Identifier: Apache-2.0
 *
 * Builds GGUF files in memory from a description that tests may bend out of shape first.
 */
#ifndef TESTS_MODEL_GGUF_BUILDER_H
#define TESTS_MODEL_GGUF_BUILDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/gguf.h"

#define GB_VALUES 64
#define GB_TENSORS 192
#define GB_TOKENS 640

struct gb_value {
  char key[80];
  uint32_t type;
  unsigned char *payload; /* all that follows the type number */
  size_t bytes;
};

struct gb_tensor {
  char name[80];
  uint32_t type, dims;
  uint64_t ne[4];
  uint64_t offset, bytes; /* filled by gb_place; tests change them afterwards */
  float value;            /* F32: all elements */
};

struct gb_file {
  char magic[4];
  uint32_t version, alignment;
  int64_t tensor_count, value_count; /* -1: as many as there are */
  struct gb_value values[GB_VALUES];
  int values_used;
  struct gb_tensor tensors[GB_TENSORS];
  int tensors_used;
  const char *tokens[GB_TOKENS];
  int32_t types[GB_TOKENS];
  int token_count;
  char token_text[GB_TOKENS][8];
  int missing_byte; /* -1, or the byte whose token gb_byte_tokens leaves out */
};

void gb_init(struct gb_file *file);
void gb_free(struct gb_file *file);

/* Each replaces the key's value, or adds the key. */
void gb_raw(struct gb_file *file, const char *key, uint32_t type, const void *payload, size_t bytes);
void gb_u32(struct gb_file *file, const char *key, uint32_t value);
void gb_f32(struct gb_file *file, const char *key, float value);
void gb_bool(struct gb_file *file, const char *key, int value);
void gb_text(struct gb_file *file, const char *key, const char *value);
void gb_texts(struct gb_file *file, const char *key, const char *const *values, int count);
void gb_i32s(struct gb_file *file, const char *key, const int32_t *values, int count);
void gb_f32s(struct gb_file *file, const char *key, const float *values, int count);
void gb_drop(struct gb_file *file, const char *key);

struct gb_tensor *gb_tensor(struct gb_file *file, const char *name); /* adds it if absent */
void gb_shape(struct gb_file *file, const char *name, uint32_t type, uint64_t cols, uint64_t rows);
void gb_drop_tensor(struct gb_file *file, const char *name);

/* A llama of one layer: hidden 32, 2 heads of 16, 1 KV head, ffn 64, and the tokens below as its vocabulary. */
void gb_llama(struct gb_file *file);
/* The vocabulary: 256 byte tokens, then whatever gb_token added. gb_write_tokens puts it, and the merges, into the
 * metadata and sizes the embedding. */
void gb_byte_tokens(struct gb_file *file);
int32_t gb_token(struct gb_file *file, const char *text, int32_t type);
void gb_write_tokens(struct gb_file *file, const char *model, const char *pre, const char *const *merges, int count);

/* The same for a SentencePiece-style vocabulary: all of gb_token, with a score each. */
void gb_write_spm(struct gb_file *file, const float *scores);

/* Gives every tensor its place, one behind the other. */
void gb_place(struct gb_file *file);
/* The file's bytes in a block of exactly their size, so that reading behind it is seen by sanitizers. free() it. */
unsigned char *gb_bytes(const struct gb_file *file, uint64_t *out_size);
/* gb_bytes + td_model_open_bytes. *out_bytes must live as long as the model; free() it afterwards. */
td_status gb_open(const struct gb_file *file, unsigned char **out_bytes, struct td_model **out_model);

#endif
