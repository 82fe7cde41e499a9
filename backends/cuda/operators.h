/* SPDX-License-Identifier: Apache-2.0
 *
 * One operator, or a few in one kernel, with device addresses: what op() and a plan's run both end in.
 */
#ifndef CUDA_OPERATORS_H
#define CUDA_OPERATORS_H

#include "device.h"

/* An operator's operands. */
struct cuda_work {
  const struct td_op *op;
  cuda_ptr in[TD_OP_INPUTS], out; /* 0: absent */
  int64_t in_cols;                /* of in[0] */
  const struct td_view *weight;   /* its buffer NULL: absent */
  const struct td_kv_view *kv;
  int32_t rows; /* of the output */
};
/* Queues it. The rows of `step` are what the operator reads of the batch. */
td_status cuda_operator(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *work);

/* Products of one input, as cuda_matmul_args has them. */
struct cuda_product_work {
  const struct td_view *weight;
  cuda_ptr out, bias, add; /* bias, add: 0: none */
};
td_status cuda_products(struct cuda_device *device, cuda_ptr in, int32_t rows, const struct cuda_product_work *products,
                        int32_t count);
/* out = f(gate) * up. Both products may or may not be stored on the way. */
td_status cuda_gated(struct cuda_device *device, cuda_ptr in, const struct cuda_product_work products[2],
                     const struct cuda_work *activation);
/* sum = in + add, out = norm(sum). */
td_status cuda_add_norm(struct cuda_device *device, const struct cuda_work *norm, cuda_ptr add, cuda_ptr sum);
/* rope of q (in[0] to out), rope of `k` into the cache, `v` into the cache. */
td_status cuda_rope_append(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *rope_q,
                           cuda_ptr k, cuda_ptr v, const struct td_kv_view *kv);

/* Bytes from one row of a weight to the next. */
int64_t cuda_row_bytes(enum td_dtype dtype, int64_t cols);

/* ---- experts.c, attention.c, lpu.c ---- */

td_status cuda_experts(struct cuda_device *device, const struct cuda_work *work);
td_status cuda_attention(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *work);
td_status cuda_lpu_run(struct cuda_device *device, const struct td_op_call *call);
struct cuda_kv cuda_cache(const struct td_kv_view *view);

#endif
