/* SPDX-License-Identifier: Apache-2.0
 *
 * Products with chosen experts. Few rows: every (row, slot) by itself. Many: the slots are sorted by expert first, so
 * that an expert's weights are read once for all of its rows.
 */
#include "operators.h"

/* Sorts the slots into scratch memory. */
static td_status order(struct cuda_device *device, struct cuda_expert_matmul_args *args) {
  uint64_t slots = (uint64_t)args->rows * (uint64_t)args->used;
  uint64_t starts = (slots * sizeof(int32_t) + 63) / 64 * 64;
  cuda_ptr scratch;
  TD_TRY(cuda_scratch(device, starts + ((uint64_t)args->experts + 1) * sizeof(int32_t), &scratch));
  args->order = scratch;
  args->starts = scratch + starts;
  struct cuda_expert_order_args sort = {.route = args->route,
                                        .order = args->order,
                                        .starts = args->starts,
                                        .rows = args->rows,
                                        .experts = args->experts,
                                        .used = args->used};
  struct cuda_grid grid = cuda_expert_order_grid(&sort);
  return cuda_launch(device, CUDA_KERNEL_EXPERT_ORDER, &grid, &sort);
}

td_status cuda_experts(struct cuda_device *device, const struct cuda_work *work) {
  const struct td_op *op = work->op;
  struct cuda_expert_matmul_args args = {.in = work->in[0],
                                         .weight = cuda_address(work->weight),
                                         .route = work->in[1],
                                         .out = work->out,
                                         .n = op->n,
                                         .k = op->k,
                                         .row_bytes = cuda_row_bytes(work->weight->dtype, op->k),
                                         .rows = work->rows,
                                         .experts = op->experts,
                                         .used = op->experts_used,
                                         .own_slots = work->in_cols != op->k};
  enum cuda_family family = cuda_expert_family(&args);
  if (family == CUDA_FAMILY_EXPERT_GEMM) TD_TRY(order(device, &args));
  struct cuda_grid grid = cuda_expert_grid(family, &args);
  return cuda_launch_family(device, family, work->weight->dtype, &grid, &args);
}
