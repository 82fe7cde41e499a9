/* SPDX-License-Identifier: Apache-2.0 */
#include "gguf_builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/internal.h"
#include "model/tokenizer.h"
#include "tandem/base.h"

/* Not assert: a release build would leave it out. */
static void gb_require(bool condition) {
  if (!condition) abort();
}

void gb_init(struct gb_file *file) {
  memset(file, 0, sizeof *file);
  memcpy(file->magic, "GGUF", 4);
  file->version = 3;
  file->alignment = 32;
  file->tensor_count = file->value_count = file->missing_byte = -1;
}

void gb_free(struct gb_file *file) {
  for (int i = 0; i < file->values_used; i++) free(file->values[i].payload);
  file->values_used = 0;
}

static struct gb_value *find_value(struct gb_file *file, const char *key) {
  for (int i = 0; i < file->values_used; i++) {
    if (!strcmp(file->values[i].key, key)) return &file->values[i];
  }
  return NULL;
}

void gb_raw(struct gb_file *file, const char *key, uint32_t type, const void *payload, size_t bytes) {
  struct gb_value *value = find_value(file, key);
  if (!value) {
    gb_require(file->values_used < GB_VALUES);
    value = &file->values[file->values_used++];
    snprintf(value->key, sizeof value->key, "%s", key);
  }
  unsigned char *copy = malloc(bytes ? bytes : 1);
  if (!copy) abort();
  if (bytes) memcpy(copy, payload, bytes);
  free(value->payload);
  value->type = type;
  value->payload = copy;
  value->bytes = bytes;
}

void gb_u32(struct gb_file *file, const char *key, uint32_t value) {
  gb_raw(file, key, TD_GGUF_U32, &value, sizeof value);
}

void gb_f32(struct gb_file *file, const char *key, float value) {
  gb_raw(file, key, TD_GGUF_F32, &value, sizeof value);
}

void gb_bool(struct gb_file *file, const char *key, int value) {
  unsigned char byte = (unsigned char)value;
  gb_raw(file, key, TD_GGUF_BOOL, &byte, 1);
}

static void add_text(struct td_text *out, const char *value) {
  uint64_t bytes = strlen(value);
  td_text_add(out, &bytes, sizeof bytes);
  td_text_add(out, value, bytes);
}

void gb_text(struct gb_file *file, const char *key, const char *value) {
  struct td_text payload = {0};
  add_text(&payload, value);
  gb_raw(file, key, TD_GGUF_STRING, payload.data, payload.bytes);
  td_text_free(&payload);
}

static void add_array_head(struct td_text *out, uint32_t type, uint64_t count) {
  td_text_add(out, &type, sizeof type);
  td_text_add(out, &count, sizeof count);
}

void gb_texts(struct gb_file *file, const char *key, const char *const *values, int count) {
  struct td_text payload = {0};
  add_array_head(&payload, TD_GGUF_STRING, (uint64_t)count);
  for (int i = 0; i < count; i++) add_text(&payload, values[i]);
  gb_raw(file, key, TD_GGUF_ARRAY, payload.data, payload.bytes);
  td_text_free(&payload);
}

void gb_i32s(struct gb_file *file, const char *key, const int32_t *values, int count) {
  struct td_text payload = {0};
  add_array_head(&payload, TD_GGUF_I32, (uint64_t)count);
  td_text_add(&payload, values, (size_t)count * sizeof *values);
  gb_raw(file, key, TD_GGUF_ARRAY, payload.data, payload.bytes);
  td_text_free(&payload);
}

void gb_f32s(struct gb_file *file, const char *key, const float *values, int count) {
  struct td_text payload = {0};
  add_array_head(&payload, TD_GGUF_F32, (uint64_t)count);
  td_text_add(&payload, values, (size_t)count * sizeof *values);
  gb_raw(file, key, TD_GGUF_ARRAY, payload.data, payload.bytes);
  td_text_free(&payload);
}

void gb_drop(struct gb_file *file, const char *key) {
  struct gb_value *value = find_value(file, key);
  if (!value) return;
  free(value->payload);
  *value = file->values[--file->values_used];
  file->values[file->values_used] = (struct gb_value){0};
}

static int find_tensor(const struct gb_file *file, const char *name) {
  for (int i = 0; i < file->tensors_used; i++) {
    if (!strcmp(file->tensors[i].name, name)) return i;
  }
  return -1;
}

struct gb_tensor *gb_tensor(struct gb_file *file, const char *name) {
  int at = find_tensor(file, name);
  if (at >= 0) return &file->tensors[at];
  gb_require(file->tensors_used < GB_TENSORS);
  struct gb_tensor *tensor = &file->tensors[file->tensors_used++];
  memset(tensor, 0, sizeof *tensor);
  snprintf(tensor->name, sizeof tensor->name, "%s", name);
  tensor->value = 1;
  return tensor;
}

void gb_shape(struct gb_file *file, const char *name, uint32_t type, uint64_t cols, uint64_t rows) {
  struct gb_tensor *tensor = gb_tensor(file, name);
  tensor->type = type;
  tensor->dims = rows > 1 ? 2 : 1;
  tensor->ne[0] = cols;
  tensor->ne[1] = rows;
}

void gb_drop_tensor(struct gb_file *file, const char *name) {
  int at = find_tensor(file, name);
  gb_require(at >= 0);
  memmove(&file->tensors[at], &file->tensors[at + 1], (size_t)(--file->tensors_used - at) * sizeof file->tensors[0]);
}

void gb_byte_tokens(struct gb_file *file) {
  for (int byte = 0; byte < 256; byte++) {
    char text[3] = "";
    td_byte_to_text((unsigned char)byte, text);
    if (byte != file->missing_byte) gb_token(file, text, TD_TOKEN_NORMAL);
  }
}

int32_t gb_token(struct gb_file *file, const char *text, int32_t type) {
  int id = file->token_count++;
  gb_require(id < GB_TOKENS);
  file->types[id] = type;
  file->tokens[id] = text;
  if (strlen(text) < sizeof file->token_text[0]) { /* short ones may lie on a caller's stack */
    snprintf(file->token_text[id], sizeof file->token_text[0], "%s", text);
    file->tokens[id] = file->token_text[id];
  }
  return id;
}

void gb_write_tokens(struct gb_file *file, const char *model, const char *pre, const char *const *merges, int count) {
  gb_text(file, "tokenizer.ggml.model", model);
  gb_text(file, "tokenizer.ggml.pre", pre);
  gb_texts(file, "tokenizer.ggml.tokens", file->tokens, file->token_count);
  gb_i32s(file, "tokenizer.ggml.token_type", file->types, file->token_count);
  gb_texts(file, "tokenizer.ggml.merges", merges, count);
  gb_shape(file, "token_embd.weight", TD_F16, 32, (uint64_t)file->token_count);
}

void gb_write_spm(struct gb_file *file, const float *scores) {
  gb_text(file, "tokenizer.ggml.model", "llama");
  gb_texts(file, "tokenizer.ggml.tokens", file->tokens, file->token_count);
  gb_i32s(file, "tokenizer.ggml.token_type", file->types, file->token_count);
  gb_f32s(file, "tokenizer.ggml.scores", scores, file->token_count);
  gb_shape(file, "token_embd.weight", TD_F16, 32, (uint64_t)file->token_count);
}

void gb_llama(struct gb_file *file) {
  gb_text(file, "general.architecture", "llama");
  gb_text(file, "general.name", "built");
  gb_u32(file, "llama.block_count", 1);
  gb_u32(file, "llama.context_length", 128);
  gb_u32(file, "llama.embedding_length", 32);
  gb_u32(file, "llama.feed_forward_length", 64);
  gb_u32(file, "llama.attention.head_count", 2);
  gb_u32(file, "llama.attention.head_count_kv", 1);
  gb_f32(file, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
  gb_shape(file, "token_embd.weight", TD_F16, 32, 320);
  gb_shape(file, "output_norm.weight", TD_F32, 32, 1);
  gb_shape(file, "blk.0.attn_norm.weight", TD_F32, 32, 1);
  gb_shape(file, "blk.0.attn_q.weight", TD_Q8_0, 32, 32);
  gb_shape(file, "blk.0.attn_k.weight", TD_Q4_0, 32, 16);
  gb_shape(file, "blk.0.attn_v.weight", TD_Q4_1, 32, 16);
  gb_shape(file, "blk.0.attn_output.weight", TD_BF16, 32, 32);
  gb_shape(file, "blk.0.ffn_norm.weight", TD_F32, 32, 1);
  gb_shape(file, "blk.0.ffn_gate.weight", TD_F32, 32, 64);
  gb_shape(file, "blk.0.ffn_up.weight", TD_F16, 32, 64);
  gb_shape(file, "blk.0.ffn_down.weight", TD_Q8_0, 64, 32);
}

void gb_place(struct gb_file *file) {
  uint64_t offset = 0;
  for (int i = 0; i < file->tensors_used; i++) {
    struct gb_tensor *tensor = &file->tensors[i];
    uint64_t row = 0, rows = 1;
    const struct td_dtype_info *info = td_dtype_info(tensor->type);
    if (info) row = tensor->ne[0] / (uint64_t)info->block_elements * (uint64_t)info->block_bytes;
    for (uint32_t dim = 1; dim < tensor->dims; dim++) rows *= tensor->ne[dim];
    tensor->bytes = row * rows;
    tensor->offset = offset;
    offset += (tensor->bytes + file->alignment - 1) / file->alignment * file->alignment;
  }
}

static void add_value(struct td_text *out, const struct gb_value *value) {
  add_text(out, value->key);
  td_text_add(out, &value->type, sizeof value->type);
  td_text_add(out, value->payload, value->bytes);
}

static void add_info(struct td_text *out, const struct gb_tensor *tensor) {
  add_text(out, tensor->name);
  td_text_add(out, &tensor->dims, sizeof tensor->dims);
  for (uint32_t i = 0; i < tensor->dims && i < 4; i++) td_text_add(out, &tensor->ne[i], sizeof tensor->ne[i]);
  td_text_add(out, &tensor->type, sizeof tensor->type);
  td_text_add(out, &tensor->offset, sizeof tensor->offset);
}

static void pad(struct td_text *out, uint32_t alignment) {
  while (out->bytes % alignment) td_text_add(out, "", 1);
}

static void add_data(struct td_text *out, const struct gb_tensor *tensor) {
  for (uint64_t i = 0; i < tensor->bytes; i++) {
    unsigned char bytes[sizeof tensor->value];
    memcpy(bytes, &tensor->value, sizeof bytes);
    td_text_add(out, tensor->type == TD_F32 ? &bytes[i % sizeof bytes] : (const unsigned char *)"", 1);
  }
}

unsigned char *gb_bytes(const struct gb_file *file, uint64_t *out_size) {
  struct td_text out = {0};
  uint64_t tensors = (uint64_t)(file->tensor_count < 0 ? file->tensors_used : file->tensor_count);
  uint64_t values = (uint64_t)(file->value_count < 0 ? file->values_used : file->value_count);
  td_text_add(&out, file->magic, sizeof file->magic);
  td_text_add(&out, &file->version, sizeof file->version);
  td_text_add(&out, &tensors, sizeof tensors);
  td_text_add(&out, &values, sizeof values);
  for (int i = 0; i < file->values_used; i++) add_value(&out, &file->values[i]);
  for (int i = 0; i < file->tensors_used; i++) add_info(&out, &file->tensors[i]);
  pad(&out, file->alignment);
  for (int i = 0; i < file->tensors_used; i++) {
    add_data(&out, &file->tensors[i]);
    if (i + 1 < file->tensors_used) pad(&out, file->alignment);
  }
  unsigned char *exact = malloc(out.bytes);
  if (out.failed || !exact) abort();
  memcpy(exact, out.data, out.bytes);
  *out_size = out.bytes;
  td_text_free(&out);
  return exact;
}

td_status gb_open(const struct gb_file *file, unsigned char **out_bytes, struct td_model **out_model) {
  uint64_t size;
  unsigned char *bytes = gb_bytes(file, &size);
  td_status status = td_model_open_bytes("built.gguf", bytes, size, false, out_model);
  if (status) {
    free(bytes);
    return status;
  }
  *out_bytes = bytes;
  return TD_OK;
}
