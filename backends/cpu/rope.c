/* SPDX-License-Identifier: Apache-2.0
 *
 * ROPE: a table of cosines and sines for the rows of the step, then every head is rotated by it.
 */
#include <math.h>
#include <string.h>

#include "rows.h"
#include "tandem/kernels.h"

/* Pair i is (a[i * step], b[i * step]). */
static void rotate(const float *a, const float *b, float *out_a, float *out_b, int64_t step, const float *cosines,
                   const float *sines, int64_t pairs) {
  for (int64_t i = 0; i < pairs; i++) {
    float x = a[i * step], y = b[i * step];
    out_a[i * step] = x * cosines[i] - y * sines[i];
    out_b[i * step] = x * sines[i] + y * cosines[i];
  }
}

/* The table holds, for each row, rope_dim / 2 cosines and as many sines. */
static void rope_row(const struct cpu_rows *rows, int64_t row) {
  const struct td_op *op = rows->call->op;
  const float *in = cpu_row(&rows->call->in[0], row);
  float *out = cpu_row(&rows->call->out, row);
  int64_t pairs = op->rope_dim / 2;
  bool halves = op->rope_pairs == TD_ROPE_HALVES;
  int64_t second = halves ? pairs : 1, step = halves ? 1 : 2;
  const float *cosines = rows->table + row * op->rope_dim, *sines = cosines + pairs;
  if (out != in) memcpy(out, in, (size_t)rows->call->out.cols * sizeof *out);
  for (int64_t head = 0; head < op->heads; head++) {
    int64_t at = head * op->head_dim;
    rotate(in + at, in + at + second, out + at, out + at + second, step, cosines, sines, pairs);
  }
}

/* Angles in double: at position 100,000 a float32 angle is wrong in the third digit. */
static void fill_angles(const struct td_op_call *call, const float *factors, float *table) {
  const struct td_op *op = call->op;
  int64_t pairs = op->rope_dim / 2;
  for (int64_t i = 0; i < pairs; i++) {
    double divisor = pow(op->theta, (double)(2 * i) / op->rope_dim) * (factors ? (double)factors[i] : 1.0);
    for (int64_t row = 0; row < call->out.rows; row++) {
      double angle = (double)call->batch->positions[row] * op->position_scale / divisor;
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
  struct cpu_rows rows = {.call = call, .table = table, .work = rope_row};
  cpu_rows_run(device, &rows, call->out.cols);
  return TD_OK;
}
