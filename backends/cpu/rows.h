/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators that make each output row from the same row of their inputs: the rows are dealt to the threads.
 */
#ifndef CPU_ROWS_H
#define CPU_ROWS_H

#include "cpu.h"

struct cpu_rows {
  const struct td_op_call *call;
  const struct cpu_kernels *kernels; /* filled in by cpu_rows_run */
  const float *table;                /* an operator's own: norm weights, a bias, cosines and sines */
  int64_t per_item;
  void (*work)(const struct cpu_rows *rows, int64_t row);
};

/* Calls work for every row of call->out. `elements`: a row's work, as values read or made. */
void cpu_rows_run(struct cpu_device *device, struct cpu_rows *rows, int64_t elements);

/* Row `row` of a float32 view. */
static inline float *cpu_row(const struct td_view *view, int64_t row) {
  return cpu_floats(view) + row * view->cols;
}

#endif
