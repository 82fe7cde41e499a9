/* SPDX-License-Identifier: Apache-2.0
 *
 * The shapes that rows of an e2e table name, with the element types they say.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "e2e_model.h"
#include "tandem/base.h"

/* What follows a model's name without changing its shape. */
static const char *const suffixes[] = {"instruct", "fp8",  "fp4",  "nvfp4", "bf16", "hf",   "base",
                                       "chat",     "v0.1", "2507", "0528",  "0324", "v2",   "dynamic",
                                       "thinking", "it",   "0905", "w8a8",  "awq",  "mxfp4"};
/* Models of another one's shape. */
static const char *const same[][2] = {{"deepseek-r1", "deepseek-v3"},
                                      {"deepseek-v3.1", "deepseek-v3"},
                                      {"llama-3.3-70b", "llama-3.1-70b"},
                                      {"minimax-m2", "minimax-m2.5"}};

static bool exists(const char *folder, const char *name, struct td_text *path) {
  path->bytes = 0;
  td_text_printf(path, "%s/%s.cfg", folder, name);
  return !path->failed && !access(path->data, R_OK);
}

static bool drop_suffix(char *name) {
  char *dash = strrchr(name, '-');
  for (size_t i = 0; dash && i < sizeof suffixes / sizeof *suffixes; i++) {
    if (strcmp(dash + 1, suffixes[i])) continue;
    *dash = 0;
    return true;
  }
  return false;
}

/* "meta-llama/Llama-3.1-8B-Instruct" is llama-3.1-8b.cfg. */
static td_status find_shape(const char *folder, const char *model, struct td_text *path) {
  const char *slash = strrchr(model, '/'), *base = slash ? slash + 1 : model;
  char name[96];
  TD_TRY(td_format(name, sizeof name, "%s", base));
  for (char *c = name; *c; c++) *c = (char)tolower((unsigned char)*c);
  if (!strncmp(name, "meta-", 5)) memmove(name, name + 5, strlen(name + 5) + 1);
  do {
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
      if (!strcmp(name, same[i][0])) TD_TRY(td_format(name, sizeof name, "%s", same[i][1]));
    }
    if (exists(folder, name, path)) return TD_OK;
  } while (drop_suffix(name));
  return td_fail(TD_NOT_FOUND, "model_path: found \"%.80s\", expected the shape of a model: there is no %s/%s.cfg",
                 model, folder, name);
}

static td_status dtype_of(const char *column, const char *mode, enum td_dtype own, enum td_dtype *out) {
  static const struct {
    const char *name;
    enum td_dtype dtype;
  } modes[] = {{"", TD_BF16},         {"bfloat16", TD_BF16},  {"float16", TD_F16}, {"fp8", TD_FP8},
               {"fp8_block", TD_FP8}, {"fp8_static", TD_FP8}, {"nvfp4", TD_NVFP4}, {"w4a16_mxfp4", TD_MXFP4}};
  for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
    if (strcmp(modes[i].name, mode)) continue;
    *out = modes[i].dtype == TD_NVFP4 && own == TD_MXFP4 ? own : modes[i].dtype;
    return TD_OK;
  }
  return td_fail(TD_UNSUPPORTED, "%s: found \"%.40s\", expected nothing, bfloat16, float16, fp8, fp8_block or nvfp4",
                 column, mode);
}

/* Embedding, head and routers stay as they are. A model whose experts are published in MXFP4 ("nvfp4" where a table
 * has no word for it) keeps its own types. */
static td_status retype(struct td_graph *graph, const struct td_e2e_row *row) {
  const struct td_shape *shape = &graph->shape;
  bool own = false;
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    own = own || (op->kind == TD_OP_EXPERT_MATMUL && graph->weights[op->weight].dtype == TD_MXFP4);
  }
  own = own && !strcmp(row->gemm, "nvfp4");
  for (int32_t i = 0; i < graph->op_count && !own; i++) {
    const struct td_op *op = &graph->ops[i];
    bool router = shape->experts && op->n == shape->experts, experts = op->kind == TD_OP_EXPERT_MATMUL;
    bool product = op->kind == TD_OP_MATMUL && op->layer >= 0 && op->layer < shape->layers && !router;
    if (!product && !experts) continue;
    struct td_weight *weight = &graph->weights[op->weight];
    const char *mode = experts ? row->moe : row->gemm;
    TD_TRY(dtype_of(experts ? "moe_quant_mode" : "gemm_quant_mode", mode, weight->dtype, &weight->dtype));
  }
  td_graph_mark_alike(graph);
  return TD_OK;
}

static td_status build(const char *path, const struct td_e2e_row *row, struct td_e2e_model *model) {
  TD_TRY(td_model_open(path, &model->model));
  TD_TRY(td_graph_build(model->model, &model->graph));
  TD_TRY(retype(model->graph, row));
  TD_TRY(td_copy_text(row->model, &model->name));
  TD_TRY(td_copy_text(row->gemm, &model->gemm));
  return td_copy_text(row->moe, &model->moe);
}

td_status td_e2e_model_open(const char *folder, const struct td_e2e_row *row, struct td_e2e_model *out) {
  struct td_e2e_model model = {0};
  struct td_text path = {0};
  td_status status = find_shape(folder, row->model, &path);
  if (!status) status = build(path.data, row, &model);
  td_text_free(&path);
  if (status) {
    td_e2e_model_close(&model);
    return status;
  }
  *out = model;
  return TD_OK;
}

bool td_e2e_model_is(const struct td_e2e_model *model, const struct td_e2e_row *row) {
  return !strcmp(model->name, row->model) && !strcmp(model->gemm, row->gemm) && !strcmp(model->moe, row->moe);
}

void td_e2e_model_close(struct td_e2e_model *model) {
  td_graph_free(model->graph);
  td_model_close(model->model);
  free(model->name);
  free(model->gemm);
  free(model->moe);
  *model = (struct td_e2e_model){0};
}

/* Bytes of all weights of one chip. */
td_status td_e2e_weights(const struct td_graph *graph, const struct td_serving *serving, double *out_bytes) {
  double sum = 0;
  double tensor = serving->tensor > 1 ? serving->tensor : 1;
  double experts =
      (serving->expert_tensor > 1 ? serving->expert_tensor : 1) * (serving->expert > 1 ? serving->expert : 1);
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    uint64_t bytes;
    if (op->weight < 0) continue;
    const struct td_weight *weight = &graph->weights[op->weight];
    TD_TRY(td_dtype_row_bytes(weight->dtype, weight->cols, &bytes));
    sum += (double)bytes * (double)weight->rows / (op->kind == TD_OP_EXPERT_MATMUL ? experts : tensor);
  }
  *out_bytes = sum;
  return TD_OK;
}
