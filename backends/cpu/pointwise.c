/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators without a sum over tokens or positions: each output row from the same row of the inputs.
 */
#include <math.h>
#include <string.h>

#include "cpu.h"
#include "tandem/kernels.h"

/* Elements that are worth waking a thread for. */
#define CHUNK_ELEMENTS 16384

struct rows {
  struct cpu_device *device;
  const struct td_op_call *call;
  const float *table; /* an operator's own: norm weights, rope frequencies */
  int64_t count, per_item;
  void (*work)(const struct rows *rows, int64_t row);
};

static void work_rows(void *context, int32_t worker, int32_t item) {
  (void)worker;
  const struct rows *rows = context;
  int64_t begin = item * rows->per_item, end = begin + rows->per_item;
  if (end > rows->count) end = rows->count;
  for (int64_t row = begin; row < end; row++) rows->work(rows, row);
}

static void run_rows(struct rows *rows, int64_t columns) {
  rows->per_item = columns < CHUNK_ELEMENTS ? CHUNK_ELEMENTS / columns : 1;
  cpu_pool_run(rows->device->pool, work_rows, rows, (int32_t)((rows->count + rows->per_item - 1) / rows->per_item));
}

static float *row_of(const struct td_view *view, int64_t row) {
  return cpu_floats(view) + row * view->cols;
}

static void embed_row(const struct rows *rows, int64_t row) {
  const struct td_view *weight = &rows->call->weight;
  uint64_t bytes = (uint64_t)(weight->cols / td_dtype_info((uint32_t)weight->dtype)->block_elements) *
                   (uint64_t)td_dtype_info((uint32_t)weight->dtype)->block_bytes;
  td_dequantize(weight->dtype, weight->buffer->data + weight->offset + (uint64_t)rows->call->batch->ids[row] * bytes,
                row_of(&rows->call->out, row), weight->cols);
}

td_status cpu_embed(struct cpu_device *device, const struct td_op_call *call) {
  struct rows rows = {.device = device, .call = call, .count = call->out.rows, .work = embed_row};
  run_rows(&rows, call->out.cols);
  return TD_OK;
}

static void norm_row(const struct rows *rows, int64_t row) {
  const struct td_op_call *call = rows->call;
  rows->device->kernels->norm(row_of(&call->in[0], row), rows->table, call->op->n, (float)call->op->epsilon,
                              row_of(&call->out, row));
}

td_status cpu_rms_norm(struct cpu_device *device, const struct td_op_call *call) {
  TD_TRY(cpu_scratch(device, call->op->n));
  float *weight = cpu_scratch_of(device, 0);
  td_dequantize(call->weight.dtype, call->weight.buffer->data + call->weight.offset, weight, call->op->n);
  struct rows rows = {.device = device, .call = call, .table = weight, .count = call->out.rows, .work = norm_row};
  run_rows(&rows, call->out.cols);
  return TD_OK;
}

/* Rotates the first rope_dim elements of one head. */
static void rotate_head(const float *in, float *out, const float *cosines, const float *sines, int64_t pairs) {
  for (int64_t i = 0; i < pairs; i++) {
    float x = in[2 * i], y = in[2 * i + 1];
    out[2 * i] = x * cosines[i] - y * sines[i];
    out[2 * i + 1] = x * sines[i] + y * cosines[i];
  }
}

/* The table holds, for each row, rope_dim / 2 cosines and as many sines. */
static void rope_row(const struct rows *rows, int64_t row) {
  const struct td_op *op = rows->call->op;
  const float *in = row_of(&rows->call->in[0], row);
  float *out = row_of(&rows->call->out, row);
  int64_t pairs = op->rope_dim / 2;
  const float *cosines = rows->table + row * op->rope_dim, *sines = cosines + pairs;
  if (out != in) memcpy(out, in, (size_t)rows->call->out.cols * sizeof *out);
  for (int64_t head = 0; head < op->heads; head++) {
    rotate_head(in + head * op->head_dim, out + head * op->head_dim, cosines, sines, pairs);
  }
}

/* Angles in double: at position 100,000 a float32 angle is wrong in the third digit. */
static void fill_angles(const struct td_op_call *call, const float *factors, float *table) {
  const struct td_op *op = call->op;
  int64_t pairs = op->rope_dim / 2;
  for (int64_t i = 0; i < pairs; i++) {
    double frequency = 1.0 / (pow(op->theta, (double)(2 * i) / op->rope_dim) * (factors ? (double)factors[i] : 1.0));
    for (int64_t row = 0; row < call->out.rows; row++) {
      double angle = (double)call->batch->positions[row] * frequency;
      table[row * op->rope_dim + i] = (float)cos(angle);
      table[row * op->rope_dim + pairs + i] = (float)sin(angle);
    }
  }
}

td_status cpu_rope(struct cpu_device *device, const struct td_op_call *call) {
  int64_t entries = call->out.rows * call->op->rope_dim, pairs = call->op->rope_dim / 2;
  TD_TRY(cpu_scratch(device, entries + pairs));
  float *table = cpu_scratch_of(device, 0), *factors = NULL;
  if (call->weight.buffer) {
    factors = table + entries;
    td_dequantize(call->weight.dtype, call->weight.buffer->data + call->weight.offset, factors, pairs);
  }
  fill_angles(call, factors, table);
  struct rows rows = {.device = device, .call = call, .table = table, .count = call->out.rows, .work = rope_row};
  run_rows(&rows, call->out.cols);
  return TD_OK;
}

static void silu_row(const struct rows *rows, int64_t row) {
  const struct td_op_call *call = rows->call;
  rows->device->kernels->silu_mul(row_of(&call->in[0], row), row_of(&call->in[1], row), call->op->n,
                                  row_of(&call->out, row));
}

td_status cpu_silu_mul(struct cpu_device *device, const struct td_op_call *call) {
  struct rows rows = {.device = device, .call = call, .count = call->out.rows, .work = silu_row};
  run_rows(&rows, call->out.cols);
  return TD_OK;
}

static void add_row(const struct rows *rows, int64_t row) {
  const float *a = row_of(&rows->call->in[0], row), *b = row_of(&rows->call->in[1], row);
  float *out = row_of(&rows->call->out, row);
  for (int64_t i = 0; i < rows->call->op->n; i++) out[i] = a[i] + b[i];
}

td_status cpu_add(struct cpu_device *device, const struct td_op_call *call) {
  struct rows rows = {.device = device, .call = call, .count = call->out.rows, .work = add_row};
  run_rows(&rows, call->out.cols);
  return TD_OK;
}

td_status cpu_select(struct cpu_device *device, const struct td_op_call *call) {
  (void)device;
  for (int64_t i = 0; i < call->batch->logit_count; i++) {
    memcpy(row_of(&call->out, i), row_of(&call->in[0], call->batch->logit_rows[i]),
           (size_t)call->op->n * sizeof(float));
  }
  return TD_OK;
}
