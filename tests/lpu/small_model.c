/* SPDX-License-Identifier: Apache-2.0 */
#include "lpu/small_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../model/gguf_builder.h"
#include "support.h"
#include "tandem/kernels.h"

static void add(struct gb_file *file, int32_t layer, const char *what, uint64_t cols, uint64_t rows) {
  char name[80];
  snprintf(name, sizeof name, "blk.%d.%s.weight", layer, what);
  gb_shape(file, name, rows > 1 ? TD_F16 : TD_F32, cols, rows);
}

static void describe(struct gb_file *file, const struct small_model *model) {
  uint64_t hidden = (uint64_t)model->hidden, ffn = (uint64_t)model->ffn;
  uint64_t kv = hidden / (uint64_t)model->heads * (uint64_t)model->kv_heads;
  gb_init(file);
  gb_llama(file);
  gb_byte_tokens(file);
  gb_write_tokens(file, "gpt2", "smollm", NULL, 0);
  gb_u32(file, "llama.block_count", (uint32_t)model->layers);
  gb_u32(file, "llama.embedding_length", (uint32_t)hidden);
  gb_u32(file, "llama.feed_forward_length", (uint32_t)ffn);
  gb_u32(file, "llama.attention.head_count", (uint32_t)model->heads);
  gb_u32(file, "llama.attention.head_count_kv", (uint32_t)model->kv_heads);
  gb_shape(file, "token_embd.weight", TD_F16, hidden, (uint64_t)file->token_count);
  gb_shape(file, "output_norm.weight", TD_F32, hidden, 1);
  for (int32_t layer = 0; layer < model->layers; layer++) {
    add(file, layer, "attn_norm", hidden, 1);
    add(file, layer, "attn_q", hidden, hidden);
    add(file, layer, "attn_k", hidden, kv);
    add(file, layer, "attn_v", hidden, kv);
    add(file, layer, "attn_output", hidden, hidden);
    add(file, layer, "ffn_norm", hidden, 1);
    add(file, layer, "ffn_gate", hidden, ffn);
    add(file, layer, "ffn_up", hidden, ffn);
    add(file, layer, "ffn_down", ffn, hidden);
  }
}

/* In [-1, 1). */
static float noise(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  return (float)(*state >> 8) / 8388608.0f - 1.0f;
}

static void fill(const struct gb_tensor *tensor, uint8_t *data, uint32_t *state) {
  for (uint64_t at = 0; at < tensor->bytes;) {
    float value = tensor->type == TD_F32 ? 1.0f + 0.25f * noise(state) : 0.25f * noise(state);
    uint16_t half = td_float_to_half(value);
    memcpy(data + at, tensor->type == TD_F32 ? (const void *)&value : &half, tensor->type == TD_F32 ? 4 : 2);
    at += tensor->type == TD_F32 ? 4 : 2;
  }
}

void small_model_write(const struct small_model *model, const char *path) {
  static struct gb_file file;
  uint64_t size = 0;
  uint32_t state = 7;
  describe(&file, model);
  gb_place(&file);
  uint8_t *bytes = gb_bytes(&file, &size);
  const struct gb_tensor *last = &file.tensors[file.tensors_used - 1];
  uint8_t *data = bytes + (size - last->offset - last->bytes);
  for (int i = 0; i < file.tensors_used; i++) fill(&file.tensors[i], data + file.tensors[i].offset, &state);
  FILE *out = fopen(path, "wb");
  assert_non_null(out);
  assert_int_equal(fwrite(bytes, 1, size, out), size);
  assert_int_equal(fclose(out), 0);
  free(bytes);
  gb_free(&file);
}
