/* SPDX-License-Identifier: Apache-2.0
 *
 * Products with weight matrices, plain and of experts, and looking up embeddings. Both forms and both kinds of experts'
 * batches (few pairs: each by itself; many: sorted by expert) come to the same bits for a row.
 */
#include "device.h"
#include "tandem/base.h"

struct product {
  const struct td_op_call *call;
  int64_t n, k, tokens, in_cols; /* tokens: rows, or (row, slot) pairs */
  int32_t used, experts;         /* 0 for plain products */
};

static size_t blocks_of(int64_t count, int64_t block) {
  return (size_t)((count + block - 1) / block);
}

/* Absent operands still need an argument. */
static void order_or_any(struct opencl_call *call, const struct product *product) {
  cl_mem order = call->device->order.memory;
  opencl_memory(call, order ? order : product->call->in[0].buffer->memory, 0);
}
static void routed_or_any(struct opencl_call *call, const struct product *product) {
  opencl_view(call, product->used ? &product->call->in[1] : &product->call->in[0]);
}

static void operands(struct opencl_call *call, const struct product *product) {
  opencl_view(call, &product->call->weight);
  opencl_view(call, &product->call->in[0]);
  opencl_view(call, &product->call->out);
}

static td_status run_cpu(struct opencl_device *device, const struct product *product, bool sorted) {
  struct opencl_call call;
  TD_TRY(opencl_begin(device, OPENCL_MATMUL, product->call->weight.dtype, &call));
  operands(&call, product);
  routed_or_any(&call, product);
  order_or_any(&call, product);
  opencl_int(&call, product->n);
  opencl_int(&call, product->k);
  opencl_int(&call, product->tokens);
  opencl_int(&call, product->in_cols);
  opencl_int(&call, product->used);
  opencl_int(&call, sorted ? product->experts : 0);
  size_t units = product->used == 0 ? blocks_of(product->tokens, OPENCL_TOKENS) : (size_t)product->tokens;
  if (sorted) units = (size_t)product->experts;
  return opencl_launch(&call, (size_t[3]){blocks_of(product->n, OPENCL_ROWS), units, 1}, (size_t[3]){1, 1, 1}, true);
}

static td_status run_gpu(struct opencl_device *device, const struct product *product, bool sorted) {
  const size_t side = OPENCL_SIDE / OPENCL_MINE;
  struct opencl_call call;
  TD_TRY(opencl_begin(device, OPENCL_MATMUL, product->call->weight.dtype, &call));
  operands(&call, product);
  order_or_any(&call, product);
  opencl_int(&call, product->n);
  opencl_int(&call, product->k);
  opencl_int(&call, product->tokens);
  opencl_int(&call, product->in_cols);
  opencl_int(&call, sorted ? product->used : 0);
  opencl_int(&call, sorted ? product->experts : 0);
  size_t units = sorted ? (size_t)product->experts : blocks_of(product->tokens, OPENCL_SIDE);
  return opencl_launch(&call, (size_t[3]){blocks_of(product->n, OPENCL_SIDE) * side, units * side, 1},
                       (size_t[3]){side, side, 1}, true);
}

static td_status run_few(struct opencl_device *device, const struct product *product) {
  struct opencl_call call;
  TD_TRY(opencl_begin(device, OPENCL_FEW, product->call->weight.dtype, &call));
  operands(&call, product);
  routed_or_any(&call, product);
  opencl_int(&call, product->n);
  opencl_int(&call, product->k);
  opencl_int(&call, product->in_cols);
  opencl_int(&call, product->used);
  return opencl_launch(&call,
                       (size_t[3]){blocks_of(product->n, OPENCL_FEW_ROWS) * OPENCL_GROUP, (size_t)product->tokens, 1},
                       (size_t[3]){OPENCL_GROUP, 1, 1}, true);
}

td_status opencl_matmul(struct opencl_device *device, const struct td_op_call *call) {
  struct product product = {call, call->op->n, call->op->k, call->out.rows, call->op->k, 0, 0};
  if (device->cpu_form) return run_cpu(device, &product, false);
  return product.tokens <= OPENCL_FEW_TOKENS ? run_few(device, &product) : run_gpu(device, &product, false);
}

/* Sorts the pairs of a step by expert. */
static td_status order_pairs(struct opencl_device *device, const struct product *product) {
  uint64_t bytes = ((uint64_t)product->experts + 1 + (uint64_t)product->tokens) * sizeof(cl_int);
  struct opencl_call call;
  TD_TRY(opencl_scratch(device, &device->order, bytes));
  TD_TRY(opencl_begin(device, OPENCL_ORDER_PAIRS, TD_F32, &call));
  opencl_view(&call, &product->call->in[1]);
  opencl_memory(&call, device->order.memory, 0);
  opencl_int(&call, product->call->out.rows);
  opencl_int(&call, product->used);
  opencl_int(&call, product->experts);
  return opencl_launch(&call, (size_t[3]){(size_t)product->experts, 1, 1}, (size_t[3]){1, 1, 1}, false);
}

td_status opencl_expert_matmul(struct opencl_device *device, const struct td_op_call *call) {
  const struct td_op *op = call->op;
  struct product product = {
      call, op->n, op->k, call->out.rows * op->experts_used, call->in[0].cols, op->experts_used, op->experts};
  bool sorted = product.tokens > 2 * (int64_t)op->experts; /* so that an expert's rows meet several tokens */
  if (sorted) TD_TRY(order_pairs(device, &product));
  if (device->cpu_form) return run_cpu(device, &product, sorted);
  return sorted ? run_gpu(device, &product, true) : run_few(device, &product);
}

/* Rows `rows` (int32 on the device) of a weight, times scale, as float32. */
static td_status look_up(struct opencl_device *device, const struct td_view *weight, cl_mem rows, uint64_t rows_at,
                         int64_t count, double scale, cl_mem out, uint64_t out_at, bool last) {
  struct opencl_call call;
  TD_TRY(opencl_begin(device, OPENCL_EMBED, weight->dtype, &call));
  opencl_view(&call, weight);
  opencl_memory(&call, rows, rows_at);
  opencl_memory(&call, out, out_at);
  opencl_int(&call, weight->cols);
  opencl_float(&call, scale);
  return opencl_launch(&call, (size_t[3]){blocks_of(weight->cols, 16), (size_t)count, 1}, (size_t[3]){1, 1, 1}, last);
}

td_status opencl_embed(struct opencl_device *device, const struct td_op_call *call) {
  TD_TRY(opencl_batch(device, call->batch));
  return look_up(device, &call->weight, device->batch.memory.memory, device->batch.ids, call->out.rows, call->op->scale,
                 call->out.buffer->memory, call->out.offset, true);
}

td_status opencl_float_row(struct opencl_device *device, const struct td_view *weight, cl_mem *out_memory,
                           uint64_t *out_offset) {
  if (weight->dtype == TD_F32) {
    *out_memory = weight->buffer->memory;
    *out_offset = weight->offset;
    return TD_OK;
  }
  /* The scratch row begins with the number of the weight's only row. */
  const uint64_t front = 64;
  TD_TRY(opencl_scratch(device, &device->row, front + (uint64_t)weight->cols * sizeof(float)));
  *out_memory = device->row.memory;
  *out_offset = front;
  return look_up(device, weight, device->row.memory, 0, 1, 1.0, device->row.memory, front, false);
}
