/* SPDX-License-Identifier: Apache-2.0
 *
 * The reference's weights: dequantised from the file, then as the device would hold them.
 */
#include <math.h>
#include <stdlib.h>

#include "lpu/reference_parts.h"
#include "tandem/base.h"
#include "tandem/kernels.h"

static td_status to_f16(float *row, int64_t k, const char *name) {
  for (int64_t i = 0; i < k; i++) {
    row[i] = lpu_reference_f16(row[i]);
    if (!isfinite(row[i])) return td_fail(TD_CORRUPT, "%s: a weight is beyond binary16", name);
  }
  return TD_OK;
}

static float to_i8(float *row, int64_t k) {
  float most = 0;
  for (int64_t i = 0; i < k; i++) most = fmaxf(most, fabsf(row[i]));
  float scale = most / 127;
  for (int64_t i = 0; i < k; i++) row[i] = scale > 0 ? rintf(row[i] / scale) : 0;
  return scale;
}

static float to_f8(float *row, int64_t k) {
  float most = 0x1p-100F;
  for (int64_t i = 0; i < k; i++) most = fmaxf(most, fabsf(row[i]));
  float scale = most / 448;
  for (int64_t i = 0; i < k; i++) row[i] = lpu_reference_f8(row[i] / scale);
  return scale;
}

static td_status load_matrix(const struct lpu_reference *reference, const struct td_tensor *tensor, float *row,
                             struct matrix *matrix) {
  uint64_t row_bytes;
  TD_TRY(td_dtype_row_bytes(tensor->dtype, tensor->cols, &row_bytes));
  size_t panels = ((size_t)matrix->n + PANEL - 1) / PANEL;
  TD_TRY(td_alloc(panels * PANEL, (size_t)matrix->k * sizeof *row, (void **)&matrix->panels));
  TD_TRY(td_alloc((size_t)matrix->n, sizeof *row, (void **)&matrix->scale));
  for (int64_t n = 0; n < matrix->n; n++) {
    td_dequantize(tensor->dtype, (const char *)tensor->data + (uint64_t)n * row_bytes, row, matrix->k);
    if (reference->options.weights == TD_LPU_WEIGHTS_I8) {
      matrix->scale[n] = to_i8(row, matrix->k);
    } else if (reference->options.weights == TD_LPU_WEIGHTS_F8) {
      matrix->scale[n] = to_f8(row, matrix->k);
    } else {
      TD_TRY(to_f16(row, matrix->k, tensor->name));
    }
    float *panel = matrix->panels + n / PANEL * PANEL * matrix->k + n % PANEL;
    for (int64_t i = 0; i < matrix->k; i++) panel[i * PANEL] = row[i];
  }
  return TD_OK;
}

struct td_tensor reference_tensor(const struct lpu_reference *reference, int32_t weight) {
  const struct td_weight *of = &reference->graph->weights[weight];
  const struct td_tensor *tensor = td_model_tensor(reference->model, of->name);
  if (!reference->options.data) return tensor ? *tensor : (struct td_tensor){.data = NULL};
  return (struct td_tensor){.name = of->name,
                            .dtype = of->dtype,
                            .rows = of->rows,
                            .cols = of->cols,
                            .data = reference->options.data[weight]};
}

static td_status load(const struct lpu_reference *reference, const struct td_op *op) {
  struct matrix *matrix = &reference->weights[op->weight];
  const char *name = reference->graph->weights[op->weight].name;
  const struct td_tensor found = reference_tensor(reference, op->weight), *tensor = &found;
  if (!tensor->data) return td_fail(TD_UNSUPPORTED, "%s: the model has no such tensor", name);
  *matrix = (struct matrix){
      .panels = matrix->panels, .scale = matrix->scale, .values = matrix->values, .n = tensor->rows, .k = tensor->cols};
  if (op->kind != TD_OP_MATMUL && op->kind != TD_OP_EXPERT_MATMUL) {
    if (matrix->values) return TD_OK;
    size_t elements = (size_t)(tensor->rows * tensor->cols);
    TD_TRY(td_alloc(elements, sizeof *matrix->values, (void **)&matrix->values));
    td_dequantize(tensor->dtype, tensor->data, matrix->values, tensor->rows * tensor->cols);
    return TD_OK;
  }
  if (matrix->panels) return TD_OK;
  float *row;
  TD_TRY(td_alloc((size_t)tensor->cols, sizeof *row, (void **)&row));
  td_status status = load_matrix(reference, tensor, row, matrix);
  free(row);
  return status;
}

td_status reference_load_weights(struct lpu_reference *reference) {
  const struct td_graph *graph = reference->graph;
  TD_TRY(td_alloc((size_t)graph->weight_count, sizeof *reference->weights, (void **)&reference->weights));
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    if (op->weight >= 0 && op->kind != TD_OP_EMBED) TD_TRY(load(reference, op));
  }
  return TD_OK;
}

void reference_free_weights(struct lpu_reference *reference) {
  for (int32_t i = 0; reference->weights && i < reference->graph->weight_count; i++) {
    free(reference->weights[i].panels);
    free(reference->weights[i].scale);
    free(reference->weights[i].values);
  }
  free(reference->weights);
}
