/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening a model of either kind, and what can be asked of it.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "internal.h"
#include "tandem/base.h"

#define DIGEST_EDGE 4096 /* bytes of a tensor's beginning and end that enter the digest */

struct td_model {
  struct td_shape shape;
  char *path;
  struct td_gguf *gguf; /* NULL: shape only */
  struct td_tokenizer *tokenizer;
  uint64_t weight_bytes;
};

static td_status read_architecture(const struct td_gguf *gguf, enum td_arch *out_arch) {
  struct td_span name;
  char known[128];
  TD_TRY(td_gguf_text(gguf, "general.architecture", &name));
  if (td_arch_find(name, out_arch) && td_arch_executes(*out_arch)) return TD_OK;
  td_arch_executed_names(known, sizeof known);
  return td_fail(TD_UNSUPPORTED, "%s: general.architecture: found \"%.*s\", expected one of %s", gguf->path,
                 TD_SPAN_SHOW(name), known);
}

static td_status read_gguf(struct td_model *model) {
  struct td_gguf *gguf = model->gguf;
  TD_TRY(read_architecture(gguf, &model->shape.arch));
  TD_TRY(td_arch_read_metadata(gguf, &model->shape));
  TD_TRY(td_gguf_place(gguf));
  TD_TRY(td_arch_check_tensors(gguf, &model->shape));
  for (size_t i = 0; i < gguf->info_count; i++) model->weight_bytes += gguf->tensors[i].bytes;
  return td_tokenizer_open(gguf, model->shape.vocab, &model->tokenizer);
}

td_status td_model_open_bytes(const char *path, const unsigned char *base, uint64_t size, bool mapped,
                              struct td_model **out_model) {
  struct td_model *model;
  TD_TRY(td_alloc(1, sizeof *model, (void **)&model));
  td_status status = td_copy_text(path, &model->path);
  if (status == TD_OK) status = td_gguf_parse(path, base, size, &model->gguf);
  if (status == TD_OK) status = read_gguf(model);
  if (status) {
    td_model_close(model);
    return status;
  }
  model->gguf->mapped = mapped;
  *out_model = model;
  return TD_OK;
}

static td_status add_weight(const struct td_shape *shape, enum td_role role, int32_t layer, uint64_t *sum) {
  struct td_weight weight;
  uint64_t row_bytes;
  if (!td_role_has(shape, role, layer)) return TD_OK;
  td_role_weight(shape, role, layer, &weight);
  TD_TRY(td_dtype_row_bytes(weight.dtype, weight.cols, &row_bytes));
  *sum += row_bytes * (uint64_t)weight.rows;
  return TD_OK;
}

static td_status shape_weight_bytes(const struct td_shape *shape, uint64_t *out_bytes) {
  uint64_t sum = 0;
  for (enum td_role role = 0; role < TD_ROLE_LAYER_FIRST; role++) TD_TRY(add_weight(shape, role, -1, &sum));
  for (int32_t layer = 0; layer < shape->layers; layer++) {
    for (enum td_role role = TD_ROLE_LAYER_FIRST; role < TD_ROLE_COUNT; role++) {
      TD_TRY(add_weight(shape, role, layer, &sum));
    }
  }
  *out_bytes = sum;
  return TD_OK;
}

static td_status open_shape(const char *path, struct td_model **out_model) {
  struct td_model *model;
  TD_TRY(td_alloc(1, sizeof *model, (void **)&model));
  td_status status = td_copy_text(path, &model->path);
  if (status == TD_OK) status = td_shape_read(path, &model->shape);
  if (status == TD_OK && (status = shape_weight_bytes(&model->shape, &model->weight_bytes))) {
    td_fail_within(status, "%s", path);
  }
  if (status) {
    td_model_close(model);
    return status;
  }
  *out_model = model;
  return TD_OK;
}

static bool is_config(const char *path, const unsigned char *base, uint64_t size) {
  size_t length = strlen(path);
  bool named = length > 4 && !strcmp(path + length - 4, ".cfg");
  return named && (size < 4 || memcmp(base, "GGUF", 4));
}

td_status td_model_open(const char *path, struct td_model **out_model) {
  const unsigned char *base;
  uint64_t size;
  TD_TRY(td_map_file(path, &base, &size));
  bool config = is_config(path, base, size);
  td_status status = config ? open_shape(path, out_model) : td_model_open_bytes(path, base, size, true, out_model);
  if (config || status) td_unmap_file(base, size);
  return status;
}

void td_model_close(struct td_model *model) {
  if (!model) return;
  td_tokenizer_close(model->tokenizer);
  td_gguf_close(model->gguf);
  free(model->path);
  free(model);
}

const struct td_shape *td_model_shape(const struct td_model *model) {
  return &model->shape;
}

const char *td_model_path(const struct td_model *model) {
  return model->path;
}

bool td_model_has_weights(const struct td_model *model) {
  return model->gguf != NULL;
}

const struct td_tensor *td_model_tensor(const struct td_model *model, const char *name) {
  return model->gguf ? td_gguf_tensor(model->gguf, name) : NULL;
}

uint64_t td_model_weight_bytes(const struct td_model *model) {
  return model->weight_bytes;
}

const struct td_tokenizer *td_model_tokenizer(const struct td_model *model) {
  return model->tokenizer;
}

static uint64_t hash_int(uint64_t state, int64_t number) {
  return td_hash(state, &number, sizeof number);
}

/* Field by field: a struct's padding would make the digest depend on what was in memory before. */
static uint64_t hash_shape(uint64_t state, const struct td_shape *shape) {
  const int64_t numbers[] = {
      shape->arch,      shape->layers,        shape->hidden,       shape->heads,        shape->kv_heads,
      shape->head_dim,  shape->ffn,           shape->vocab,        shape->context,      shape->rope_dim,
      shape->experts,   shape->experts_used,  shape->expert_ffn,   shape->shared_ffn,   shape->dense_layers,
      shape->window,    shape->window_period, shape->q_lora,       shape->kv_lora,      shape->nope_dim,
      shape->value_dim, shape->tied_output,   shape->rope_factors, shape->weight_dtype, shape->expert_dtype};
  const double reals[] = {shape->rope_theta, shape->rope_scale, shape->norm_epsilon, shape->window_rope_theta};
  state = td_hash(state, shape->name, strlen(shape->name) + 1);
  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) state = hash_int(state, numbers[i]);
  return td_hash(state, reals, sizeof reals);
}

static uint64_t hash_tensor(uint64_t state, const struct td_tensor *tensor) {
  state = td_hash(state, tensor->name, strlen(tensor->name) + 1);
  state = hash_int(state, tensor->dtype);
  state = hash_int(state, tensor->rows);
  state = hash_int(state, tensor->cols);
  uint64_t edge = tensor->bytes < DIGEST_EDGE ? tensor->bytes : DIGEST_EDGE;
  state = td_hash(state, tensor->data, edge);
  return td_hash(state, (const char *)tensor->data + tensor->bytes - edge, edge);
}

uint64_t td_model_digest(const struct td_model *model) {
  uint64_t state = hash_shape(TD_HASH_INIT, &model->shape);
  if (!model->gguf) return state;
  for (size_t i = 0; i < model->gguf->info_count; i++) state = hash_tensor(state, &model->gguf->tensors[i]);
  return state;
}
