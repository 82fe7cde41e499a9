/* SPDX-License-Identifier: Apache-2.0 */
#include "step_model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tandem/base.h"

#define SEED 20260102
#define ALIGNMENT 32
#define EPSILON 1e-5
#define THETA 10000.0
#define Q_WIDTH (STEP_HEADS * STEP_HEAD_DIM)
#define KV_WIDTH (STEP_KV_HEADS * STEP_HEAD_DIM)

int32_t step_model_id(int64_t position) {
  return (int32_t)(td_random(SEED, 99, (uint64_t)position) % STEP_VOCAB);
}

/* ---- the file: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md ---- */

enum { GGUF_UINT32 = 4, GGUF_FLOAT32 = 6, GGUF_STRING = 8 };

struct file {
  struct td_text head, data;
  uint64_t values, tensors;
};

static void put_text(struct td_text *out, const char *text) {
  uint64_t bytes = strlen(text);
  td_text_add(out, &bytes, sizeof bytes);
  td_text_add(out, text, bytes);
}

static void put_key(struct file *file, const char *key, uint32_t type) {
  put_text(&file->head, key);
  td_text_add(&file->head, &type, sizeof type);
  file->values++;
}

static void put_int(struct file *file, const char *key, uint32_t value) {
  put_key(file, key, GGUF_UINT32);
  td_text_add(&file->head, &value, sizeof value);
}

static void put_real(struct file *file, const char *key, float value) {
  put_key(file, key, GGUF_FLOAT32);
  td_text_add(&file->head, &value, sizeof value);
}

static void put_metadata(struct file *file) {
  put_key(file, "general.architecture", GGUF_STRING);
  put_text(&file->head, "llama");
  put_key(file, "general.name", GGUF_STRING);
  put_text(&file->head, "conformance");
  put_int(file, "llama.block_count", STEP_LAYERS);
  put_int(file, "llama.context_length", STEP_CONTEXT);
  put_int(file, "llama.embedding_length", STEP_HIDDEN);
  put_int(file, "llama.feed_forward_length", STEP_FFN);
  put_int(file, "llama.attention.head_count", STEP_HEADS);
  put_int(file, "llama.attention.head_count_kv", STEP_KV_HEADS);
  put_int(file, "llama.rope.dimension_count", STEP_HEAD_DIM);
  put_real(file, "llama.attention.layer_norm_rms_epsilon", (float)EPSILON);
  put_real(file, "llama.rope.freq_base", (float)THETA);
}

/* Uniform numbers of variance 1 / cols, around 1 for norms; F16, norms F32. */
static void put_data(struct file *file, uint64_t rows, uint64_t cols) {
  double size = rows > 1 ? sqrt(3.0 / (double)cols) : 0.5;
  for (uint64_t i = 0; i < rows * cols; i++) {
    float value = (float)((2.0 * td_random_unit(SEED, file->tensors, i) - 1.0) * size + (rows > 1 ? 0.0 : 1.0));
    uint16_t half = td_float_to_half(value);
    td_text_add(&file->data, rows > 1 ? (const void *)&half : (const void *)&value,
                rows > 1 ? sizeof half : sizeof value);
  }
}

static void pad(struct td_text *text) {
  static const char zeros[ALIGNMENT];
  td_text_add(text, zeros, (ALIGNMENT - text->bytes % ALIGNMENT) % ALIGNMENT);
}

/* layer -1: of none. */
static void tensor_name(const char *part, int layer, char *out, size_t size) {
  if (layer < 0) {
    snprintf(out, size, "%s.weight", part);
  } else {
    snprintf(out, size, "blk.%d.%s.weight", layer, part);
  }
}

static void put_tensor(struct file *file, uint64_t rows, uint64_t cols, const char *part, int layer) {
  char name[64];
  uint32_t axes = rows > 1 ? 2 : 1, type = rows > 1 ? TD_F16 : TD_F32;
  uint64_t dims[2] = {cols, rows}, offset = file->data.bytes;
  tensor_name(part, layer, name, sizeof name);
  put_text(&file->head, name);
  td_text_add(&file->head, &axes, sizeof axes);
  td_text_add(&file->head, dims, axes * sizeof *dims);
  td_text_add(&file->head, &type, sizeof type);
  td_text_add(&file->head, &offset, sizeof offset);
  put_data(file, rows, cols);
  pad(&file->data);
  file->tensors++;
}

static void put_tensors(struct file *file) {
  put_tensor(file, STEP_VOCAB, STEP_HIDDEN, "token_embd", -1);
  put_tensor(file, 1, STEP_HIDDEN, "output_norm", -1);
  put_tensor(file, STEP_VOCAB, STEP_HIDDEN, "output", -1);
  for (int layer = 0; layer < STEP_LAYERS; layer++) {
    put_tensor(file, 1, STEP_HIDDEN, "attn_norm", layer);
    put_tensor(file, Q_WIDTH, STEP_HIDDEN, "attn_q", layer);
    put_tensor(file, KV_WIDTH, STEP_HIDDEN, "attn_k", layer);
    put_tensor(file, KV_WIDTH, STEP_HIDDEN, "attn_v", layer);
    put_tensor(file, STEP_HIDDEN, Q_WIDTH, "attn_output", layer);
    put_tensor(file, 1, STEP_HIDDEN, "ffn_norm", layer);
    put_tensor(file, STEP_FFN, STEP_HIDDEN, "ffn_gate", layer);
    put_tensor(file, STEP_FFN, STEP_HIDDEN, "ffn_up", layer);
    put_tensor(file, STEP_HIDDEN, STEP_FFN, "ffn_down", layer);
  }
}

/* The counts come first in the file and are known last. */
static td_status make(struct file *file) {
  static const char zeros[16];
  uint32_t version = 3;
  td_text_add(&file->head, "GGUF", 4);
  td_text_add(&file->head, &version, sizeof version);
  td_text_add(&file->head, zeros, sizeof zeros);
  put_metadata(file);
  put_tensors(file);
  pad(&file->head);
  if (file->head.failed || file->data.failed) return td_fail(TD_NO_MEMORY, "no room for a seeded model");
  memcpy(file->head.data + 8, &file->tensors, sizeof file->tensors);
  memcpy(file->head.data + 16, &file->values, sizeof file->values);
  return TD_OK;
}

static td_status open_file(const struct file *file, int number, struct td_model **out_model) {
  char path[64];
  bool written = write(number, file->head.data, file->head.bytes) == (ssize_t)file->head.bytes &&
                 write(number, file->data.data, file->data.bytes) == (ssize_t)file->data.bytes;
  if (!written) return td_fail(TD_IO, "no room for a seeded model");
  snprintf(path, sizeof path, "/proc/self/fd/%d", number);
  return td_model_open(path, out_model);
}

td_status step_model_open(struct td_model **out_model) {
  struct file file = {.values = 0};
  int number = memfd_create("tandem-conform", MFD_CLOEXEC);
  if (number < 0) return td_fail(TD_IO, "no file in memory for a seeded model");
  td_status status = make(&file);
  if (!status) status = open_file(&file, number, out_model);
  td_text_free(&file.head);
  td_text_free(&file.data);
  close(number);
  return status;
}

/* ---- its logits ---- */

struct forward {
  const struct td_model *model;
  double *k, *v; /* [layers][positions][KV_WIDTH] */
  int64_t positions;
};

static double weight(const struct td_tensor *tensor, int64_t row, int64_t col) {
  const char *at = (const char *)tensor->data;
  float value;
  uint16_t half;
  if (tensor->dtype == TD_F32) {
    memcpy(&value, at + col * (int64_t)sizeof value, sizeof value);
    return (double)value;
  }
  memcpy(&half, at + (row * tensor->cols + col) * (int64_t)sizeof half, sizeof half);
  return (double)td_half_to_float(half);
}

static const struct td_tensor *tensor_of(const struct forward *forward, const char *name, int layer) {
  char whole[64];
  tensor_name(name, layer, whole, sizeof whole);
  return td_model_tensor(forward->model, whole);
}

static void multiply(const struct forward *forward, const char *name, int layer, const double *in, double *out) {
  const struct td_tensor *tensor = tensor_of(forward, name, layer);
  for (int64_t row = 0; row < tensor->rows; row++) {
    double sum = 0.0;
    for (int64_t i = 0; i < tensor->cols; i++) sum += weight(tensor, row, i) * in[i];
    out[row] = sum;
  }
}

static void normalise(const struct forward *forward, const char *name, int layer, const double *in, double *out) {
  const struct td_tensor *tensor = tensor_of(forward, name, layer);
  double sum = 0.0;
  for (int i = 0; i < STEP_HIDDEN; i++) sum += in[i] * in[i];
  for (int i = 0; i < STEP_HIDDEN; i++) {
    out[i] = in[i] / sqrt(sum / STEP_HIDDEN + (double)(float)EPSILON) * weight(tensor, 0, i);
  }
}

/* Adjacent pairs, as the architecture llama stores them. */
static void rotate(double *heads, int count, int64_t position) {
  for (int h = 0; h < count; h++, heads += STEP_HEAD_DIM) {
    for (int i = 0; i < STEP_HEAD_DIM; i += 2) {
      double angle = (double)position * pow(THETA, -(double)i / STEP_HEAD_DIM), a = heads[i], b = heads[i + 1];
      heads[i] = a * cos(angle) - b * sin(angle);
      heads[i + 1] = a * sin(angle) + b * cos(angle);
    }
  }
}

static void attend(const double *q, const double *k, const double *v, int64_t positions, double *out) {
  double scores[STEP_CONTEXT], total = 0.0, top = -INFINITY;
  for (int64_t p = 0; p < positions; p++) {
    scores[p] = 0.0;
    for (int i = 0; i < STEP_HEAD_DIM; i++) scores[p] += q[i] * k[p * KV_WIDTH + i];
    scores[p] /= sqrt(STEP_HEAD_DIM);
    if (scores[p] > top) top = scores[p];
  }
  memset(out, 0, STEP_HEAD_DIM * sizeof *out);
  for (int64_t p = 0; p < positions; p++) total += exp(scores[p] - top);
  for (int64_t p = 0; p < positions; p++) {
    for (int i = 0; i < STEP_HEAD_DIM; i++) out[i] += exp(scores[p] - top) / total * v[p * KV_WIDTH + i];
  }
}

static void run_layer(const struct forward *forward, int layer, int64_t position, double *x) {
  double norm[STEP_HIDDEN], q[Q_WIDTH], out[Q_WIDTH], gate[STEP_FFN], up[STEP_FFN], add[STEP_HIDDEN];
  double *k = forward->k + layer * forward->positions * KV_WIDTH, *v = k - forward->k + forward->v;
  normalise(forward, "attn_norm", layer, x, norm);
  multiply(forward, "attn_q", layer, norm, q);
  multiply(forward, "attn_k", layer, norm, k + position * KV_WIDTH);
  multiply(forward, "attn_v", layer, norm, v + position * KV_WIDTH);
  rotate(q, STEP_HEADS, position);
  rotate(k + position * KV_WIDTH, STEP_KV_HEADS, position);
  for (int h = 0; h < STEP_HEADS; h++) {
    int at = h / (STEP_HEADS / STEP_KV_HEADS) * STEP_HEAD_DIM;
    attend(q + h * STEP_HEAD_DIM, k + at, v + at, position + 1, out + h * STEP_HEAD_DIM);
  }
  multiply(forward, "attn_output", layer, out, add);
  for (int i = 0; i < STEP_HIDDEN; i++) x[i] += add[i];
  normalise(forward, "ffn_norm", layer, x, norm);
  multiply(forward, "ffn_gate", layer, norm, gate);
  multiply(forward, "ffn_up", layer, norm, up);
  for (int i = 0; i < STEP_FFN; i++) up[i] *= gate[i] / (1.0 + exp(-gate[i]));
  multiply(forward, "ffn_down", layer, up, add);
  for (int i = 0; i < STEP_HIDDEN; i++) x[i] += add[i];
}

td_status step_model_logits(const struct td_model *model, int64_t positions, double *logits) {
  struct forward forward = {.model = model, .positions = positions};
  void *caches = NULL;
  double x[STEP_HIDDEN], norm[STEP_HIDDEN];
  if (positions > STEP_CONTEXT) return td_fail(TD_INTERNAL, "a prompt beyond the seeded model's context");
  TD_TRY(td_alloc((size_t)(2 * STEP_LAYERS * positions * KV_WIDTH), sizeof(double), &caches));
  forward.k = caches;
  forward.v = forward.k + STEP_LAYERS * positions * KV_WIDTH;
  for (int64_t p = 0; p < positions; p++, logits += STEP_VOCAB) {
    const struct td_tensor *table = tensor_of(&forward, "token_embd", -1);
    for (int i = 0; i < STEP_HIDDEN; i++) x[i] = weight(table, step_model_id(p), i);
    for (int layer = 0; layer < STEP_LAYERS; layer++) run_layer(&forward, layer, p, x);
    normalise(&forward, "output_norm", -1, x, norm);
    multiply(&forward, "output", -1, norm, logits);
  }
  free(caches);
  return TD_OK;
}
