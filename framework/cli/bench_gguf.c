/* SPDX-License-Identifier: Apache-2.0
 *
 * Weights for a shape: a GGUF file with seeded numbers, written into memory and opened like any other.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"
#include "tandem/base.h"
#include "tandem/kernels.h"

#define SEED 20260101
#define TILE_ROWS 61 /* prime, so that rows of matrices of round sizes do not line up */
#define ALIGNMENT 32

/* ---- weights ---- */

static td_status make_tile(enum td_dtype dtype, int64_t rows, int64_t cols, uint64_t seed, uint64_t row_bytes,
                           float *values, unsigned char *tile) {
  float size = (float)sqrt(3.0 / (double)cols); /* uniform numbers of variance 1 / cols */
  for (int64_t row = 0; row < rows; row++) {
    for (int64_t i = 0; i < cols; i++) {
      values[i] = (float)(2 * td_random_unit(SEED, seed, (uint64_t)(row * cols + i)) - 1) * size;
    }
    TD_TRY(td_quantize(dtype, values, tile + (uint64_t)row * row_bytes, cols));
  }
  return TD_OK;
}

static void fill_ones(int64_t cols, void *dst) {
  for (int64_t i = 0; i < cols; i++) memcpy((float *)dst + i, &(float){1}, sizeof(float));
}

td_status bench_fill_weight(enum td_dtype dtype, int64_t rows, int64_t cols, uint64_t seed, void *dst) {
  if (rows == 1 && dtype == TD_F32) {
    fill_ones(cols, dst);
    return TD_OK;
  }
  uint64_t row_bytes;
  float *values;
  int64_t tile_rows = rows < TILE_ROWS ? rows : TILE_ROWS;
  TD_TRY(td_dtype_row_bytes(dtype, cols, &row_bytes));
  TD_TRY(td_alloc((size_t)cols, sizeof *values, (void **)&values));
  td_status status = make_tile(dtype, tile_rows, cols, seed, row_bytes, values, dst);
  free(values);
  TD_TRY(status);
  for (int64_t row = tile_rows; row < rows; row += tile_rows) {
    int64_t more = rows - row < tile_rows ? rows - row : tile_rows;
    memcpy((unsigned char *)dst + (uint64_t)row * row_bytes, dst, (uint64_t)more * row_bytes);
  }
  return TD_OK;
}

/* ---- the file's head ---- */

/* GGUF's value types: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md */
enum { GGUF_UINT32 = 4, GGUF_FLOAT32 = 6, GGUF_STRING = 8 };

struct writer {
  struct td_text head;
  const struct td_graph *graph;
  uint64_t values, tensors, data_bytes;
};

static void put_text(struct td_text *out, const char *text) {
  uint64_t bytes = strlen(text);
  td_text_add(out, &bytes, sizeof bytes);
  td_text_add(out, text, bytes);
}

/* A key of the architecture, "llama.block_count", or one that begins with "general.". */
static void put_key(struct writer *writer, const char *key, uint32_t type) {
  char whole[128];
  bool general = !strncmp(key, "general.", 8);
  snprintf(whole, sizeof whole, "%s%s%s", general ? "" : td_arch_name(writer->graph->shape.arch), general ? "" : ".",
           key);
  put_text(&writer->head, whole);
  td_text_add(&writer->head, &type, sizeof type);
  writer->values++;
}

static void put_string(struct writer *writer, const char *key, const char *value) {
  put_key(writer, key, GGUF_STRING);
  put_text(&writer->head, value);
}

/* 0: the model has no such thing. */
static void put_int(struct writer *writer, const char *key, int64_t value) {
  uint32_t number = (uint32_t)value;
  if (!value) return;
  put_key(writer, key, GGUF_UINT32);
  td_text_add(&writer->head, &number, sizeof number);
}

static void put_real(struct writer *writer, const char *key, double value) {
  float number = (float)value;
  put_key(writer, key, GGUF_FLOAT32);
  td_text_add(&writer->head, &number, sizeof number);
}

static void put_metadata(struct writer *writer) {
  const struct td_shape *shape = &writer->graph->shape;
  put_string(writer, "general.architecture", td_arch_name(shape->arch));
  put_string(writer, "general.name", shape->name);
  put_int(writer, "block_count", shape->layers);
  put_int(writer, "context_length", shape->context);
  put_int(writer, "embedding_length", shape->hidden);
  put_int(writer, "feed_forward_length", shape->ffn);
  put_int(writer, "attention.head_count", shape->heads);
  put_int(writer, "attention.head_count_kv", shape->kv_heads);
  put_int(writer, "attention.key_length", shape->head_dim);
  put_int(writer, "attention.value_length", shape->head_dim);
  put_real(writer, "attention.layer_norm_rms_epsilon", shape->norm_epsilon);
  put_real(writer, "rope.freq_base", shape->rope_theta);
  put_int(writer, "rope.dimension_count", shape->rope_dim);
  put_int(writer, "expert_count", shape->experts);
  put_int(writer, "expert_used_count", shape->experts_used);
  if (shape->arch == TD_ARCH_QWEN3MOE) put_int(writer, "expert_feed_forward_length", shape->expert_ffn);
  put_int(writer, "attention.sliding_window", shape->window);
}

/* ---- tensors ---- */

static bool is_first(const struct td_graph *graph, int32_t weight) {
  for (int32_t i = 0; i < weight; i++) {
    if (!strcmp(graph->weights[i].name, graph->weights[weight].name)) return false;
  }
  return true;
}

/* How many experts' matrices lie below each other in a weight; 0: it is no experts' weight. */
static int32_t experts_of(const struct td_graph *graph, int32_t weight) {
  for (int32_t i = 0; i < graph->op_count; i++) {
    if (graph->ops[i].weight == weight && graph->ops[i].kind == TD_OP_EXPERT_MATMUL) return graph->ops[i].experts;
  }
  return 0;
}

static uint64_t aligned(uint64_t bytes) {
  return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static td_status put_tensor(struct writer *writer, int32_t number) {
  const struct td_weight *weight = &writer->graph->weights[number];
  int32_t experts = experts_of(writer->graph, number);
  uint64_t row_bytes, dims[3] = {(uint64_t)weight->cols, (uint64_t)weight->rows, (uint64_t)experts};
  uint32_t type = (uint32_t)weight->dtype, axes = experts ? 3 : weight->rows == 1 ? 1 : 2;
  if (experts) dims[1] /= (uint64_t)experts;
  TD_TRY(td_dtype_row_bytes(weight->dtype, weight->cols, &row_bytes));
  put_text(&writer->head, weight->name);
  td_text_add(&writer->head, &axes, sizeof axes);
  td_text_add(&writer->head, dims, axes * sizeof *dims);
  td_text_add(&writer->head, &type, sizeof type);
  td_text_add(&writer->head, &writer->data_bytes, sizeof writer->data_bytes);
  writer->data_bytes += aligned(row_bytes * (uint64_t)weight->rows);
  writer->tensors++;
  return TD_OK;
}

/* The counts come first in the file and are known last. */
static td_status put_head(struct writer *writer) {
  static const char zeros[ALIGNMENT];
  uint32_t version = 3;
  td_text_add(&writer->head, "GGUF", 4);
  td_text_add(&writer->head, &version, sizeof version);
  td_text_add(&writer->head, zeros, 16);
  put_metadata(writer);
  for (int32_t i = 0; i < writer->graph->weight_count; i++) {
    if (is_first(writer->graph, i)) TD_TRY(put_tensor(writer, i));
  }
  td_text_add(&writer->head, zeros, aligned(writer->head.bytes) - writer->head.bytes);
  if (writer->head.failed) return td_fail(TD_NO_MEMORY, "no room for the head of a seeded model");
  memcpy(writer->head.data + 8, &writer->tensors, sizeof writer->tensors);
  memcpy(writer->head.data + 16, &writer->values, sizeof writer->values);
  return TD_OK;
}

static td_status fill(const struct writer *writer, unsigned char *file) {
  const struct td_graph *graph = writer->graph;
  unsigned char *at = file + writer->head.bytes;
  memcpy(file, writer->head.data, writer->head.bytes);
  for (int32_t i = 0; i < graph->weight_count; i++) {
    const struct td_weight *weight = &graph->weights[i];
    uint64_t row_bytes;
    if (!is_first(graph, i)) continue;
    TD_TRY(bench_fill_weight(weight->dtype, weight->rows, weight->cols, (uint64_t)i, at));
    TD_TRY(td_dtype_row_bytes(weight->dtype, weight->cols, &row_bytes));
    at += aligned(row_bytes * (uint64_t)weight->rows);
  }
  return TD_OK;
}

static td_status write_file(const struct writer *writer, int file) {
  uint64_t bytes = writer->head.bytes + writer->data_bytes;
  if (ftruncate(file, (off_t)bytes)) {
    return td_fail(TD_NO_MEMORY, "no room for a seeded model of %" PRIu64 " bytes: %s", bytes, strerror(errno));
  }
  void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (map == MAP_FAILED) {
    return td_fail(TD_NO_MEMORY, "no room for a seeded model of %" PRIu64 " bytes: %s", bytes, strerror(errno));
  }
  td_status status = fill(writer, map);
  munmap(map, bytes);
  return status;
}

static td_status make_file(struct writer *writer, int file, struct td_model **out_model) {
  char path[64];
  TD_TRY(put_head(writer));
  TD_TRY(write_file(writer, file));
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  return td_model_open(path, out_model); /* maps it: the descriptor may go */
}

td_status bench_gguf_open(const struct td_graph *graph, struct td_model **out_model) {
  struct writer writer = {.graph = graph};
  int file = memfd_create("tandem-bench", MFD_CLOEXEC);
  if (file < 0) return td_fail(TD_IO, "no file in memory for a seeded model: %s", strerror(errno));
  td_status status = make_file(&writer, file, out_model);
  td_text_free(&writer.head);
  close(file);
  return status ? td_fail_within(status, "seeded weights of %s", graph->shape.name) : TD_OK;
}
