/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products: a block of weight rows is expanded to float32 once and meets every token of the step. One order of
 * summation, whatever the number of tokens, so that prefill and decode agree to the bit.
 */
#include <string.h>

#include "cpu.h"
#include "tandem/kernels.h"

struct product {
  struct cpu_device *device;
  const struct td_op_call *call;
  uint64_t row_bytes;
  int64_t padded; /* k, rounded up to the lanes */
};

static void multiply_block(void *context, int32_t worker, int32_t item) {
  const struct product *product = context;
  const struct td_op_call *call = product->call;
  int64_t n = call->weight.rows, k = call->weight.cols, first = (int64_t)item * CPU_ROW_BLOCK;
  int64_t rows = n - first < CPU_ROW_BLOCK ? n - first : CPU_ROW_BLOCK;
  float *expanded = cpu_scratch_of(product->device, worker);
  const unsigned char *row = call->weight.buffer->data + call->weight.offset + (uint64_t)first * product->row_bytes;
  for (int64_t r = 0; r < CPU_ROW_BLOCK; r++, row += product->row_bytes) {
    float *to = expanded + r * product->padded;
    if (r < rows) td_dequantize(call->weight.dtype, row, to, k);
    int64_t filled = r < rows ? k : 0;
    memset(to + filled, 0, (size_t)(product->padded - filled) * sizeof *to);
  }
  product->device->kernels->products(expanded, product->padded, rows, cpu_floats(&call->in[0]), k, call->in[0].rows, k,
                                     cpu_floats(&call->out) + first, n);
}

td_status cpu_matmul(struct cpu_device *device, const struct td_op_call *call) {
  struct product product = {.device = device, .call = call};
  TD_TRY(td_dtype_row_bytes(call->weight.dtype, call->weight.cols, &product.row_bytes));
  product.padded = (call->weight.cols + CPU_LANES - 1) / CPU_LANES * CPU_LANES;
  TD_TRY(cpu_scratch(device, CPU_ROW_BLOCK * product.padded));
  cpu_pool_run(device->pool, multiply_block, &product,
               (int32_t)((call->weight.rows + CPU_ROW_BLOCK - 1) / CPU_ROW_BLOCK));
  return TD_OK;
}
