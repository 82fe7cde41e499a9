/* SPDX-License-Identifier: Apache-2.0
 *
 * Every executed operator of tandem/graph.h as a kernel launch.
 */
#include "operators.h"

#include "blas.h"
#include "tandem/kernels.h"

int64_t cuda_row_bytes(enum td_dtype dtype, int64_t cols) {
  const struct td_dtype_info *info = td_dtype_info((uint32_t)dtype);
  return cols / info->block_elements * info->block_bytes;
}

static td_status embed(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *work) {
  struct cuda_embed_args args = {.weight = cuda_address(work->weight),
                                 .out = work->out,
                                 .ids = step->batch.ids,
                                 .n = work->op->n,
                                 .row_bytes = cuda_row_bytes(work->weight->dtype, work->op->n),
                                 .rows = work->rows,
                                 .dtype = (int32_t)work->weight->dtype,
                                 .scale = (float)work->op->scale};
  struct cuda_grid grid = cuda_rows_grid(args.rows);
  return cuda_launch(device, CUDA_KERNEL_EMBED, &grid, &args);
}

td_status cuda_add_norm(struct cuda_device *device, const struct cuda_work *norm, cuda_ptr add, cuda_ptr sum) {
  struct cuda_rms_norm_args args = {.in = norm->in[0],
                                    .add = add,
                                    .sum = sum,
                                    .weight = cuda_address(norm->weight),
                                    .out = norm->out,
                                    .n = norm->op->n,
                                    .rows = norm->rows,
                                    .groups = norm->op->groups,
                                    .dtype = (int32_t)norm->weight->dtype,
                                    .epsilon = (float)norm->op->epsilon};
  struct cuda_grid grid = cuda_rms_norm_grid(&args);
  return cuda_launch(device, CUDA_KERNEL_RMS_NORM, &grid, &args);
}

static td_status rms_norm(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *work) {
  (void)step;
  return cuda_add_norm(device, work, 0, 0);
}

static struct cuda_rope_args rope_args(const struct cuda_step *step, const struct cuda_work *work) {
  const struct td_op *op = work->op;
  return (struct cuda_rope_args){.in = work->in[0],
                                 .out = work->out,
                                 .factors = cuda_address(work->weight),
                                 .positions = step->batch.positions,
                                 .theta = op->theta,
                                 .position_scale = op->position_scale,
                                 .rows = work->rows,
                                 .heads = op->heads,
                                 .head_dim = op->head_dim,
                                 .rope_dim = op->rope_dim,
                                 .halves = op->rope_pairs == TD_ROPE_HALVES,
                                 .dtype = (int32_t)work->weight->dtype};
}

static td_status rope(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *work) {
  struct cuda_rope_args args = rope_args(step, work);
  struct cuda_grid grid = cuda_rows_grid(args.rows);
  return cuda_launch(device, CUDA_KERNEL_ROPE, &grid, &args);
}

static td_status kv_append(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *work) {
  struct cuda_kv_append_args args = {
      .k = work->in[0], .v = work->in[1], .batch = step->batch, .kv = cuda_cache(work->kv)};
  struct cuda_grid grid = cuda_rows_grid(work->rows);
  work->kv->k->written = work->kv->v->written = device->base.submitted;
  return cuda_launch(device, CUDA_KERNEL_KV_APPEND, &grid, &args);
}

td_status cuda_rope_append(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *rope_q,
                           cuda_ptr k, cuda_ptr v, const struct td_kv_view *kv) {
  struct cuda_rope_append_args args = {.rope = rope_args(step, rope_q),
                                       .append = {.k = k, .v = v, .batch = step->batch, .kv = cuda_cache(kv)}};
  struct cuda_grid grid = cuda_rows_grid(rope_q->rows);
  kv->k->written = kv->v->written = device->base.submitted;
  return cuda_launch(device, CUDA_KERNEL_ROPE_APPEND, &grid, &args);
}

static td_status activation(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *work) {
  (void)step;
  struct cuda_activation_args args = {.a = work->in[0],
                                      .b = work->in[1],
                                      .out = work->out,
                                      .count = work->rows * work->op->n,
                                      .gelu = work->op->activation == TD_ACT_GELU};
  struct cuda_grid grid = cuda_elements_grid(args.count);
  return cuda_launch(device, CUDA_KERNEL_ACTIVATION, &grid, &args);
}

static td_status add(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *work) {
  (void)step;
  struct cuda_add_args args = {.a = work->in[0],
                               .b = work->in[1],
                               .bias = work->in[1] ? 0 : cuda_address(work->weight),
                               .out = work->out,
                               .n = work->op->n,
                               .rows = work->rows,
                               .dtype = (int32_t)work->weight->dtype};
  struct cuda_grid grid = cuda_elements_grid(args.rows * args.n);
  return cuda_launch(device, CUDA_KERNEL_ADD, &grid, &args);
}

static td_status router(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *work) {
  (void)step;
  struct cuda_router_args args = {.in = work->in[0],
                                  .out = work->out,
                                  .rows = work->rows,
                                  .experts = work->op->experts,
                                  .used = work->op->experts_used};
  struct cuda_grid grid = cuda_rows_grid(args.rows);
  return cuda_launch(device, CUDA_KERNEL_ROUTER, &grid, &args);
}

static td_status expert_matmul(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *work) {
  (void)step;
  return cuda_experts(device, work);
}

static td_status expert_sum(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *work) {
  (void)step;
  struct cuda_expert_sum_args args = {.in = work->in[0],
                                      .route = work->in[1],
                                      .out = work->out,
                                      .n = work->op->n,
                                      .rows = work->rows,
                                      .used = work->op->experts_used};
  struct cuda_grid grid = cuda_rows_grid(args.rows);
  return cuda_launch(device, CUDA_KERNEL_EXPERT_SUM, &grid, &args);
}

static td_status select_rows(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *work) {
  struct cuda_select_args args = {
      .in = work->in[0], .out = work->out, .logit_rows = step->batch.logit_rows, .n = work->op->n, .count = work->rows};
  struct cuda_grid grid = cuda_rows_grid(args.count);
  return cuda_launch(device, CUDA_KERNEL_SELECT, &grid, &args);
}

static struct cuda_matmul_args product_args(cuda_ptr in, int32_t rows, const struct cuda_product_work *products,
                                            int32_t count) {
  const struct td_view *first = products[0].weight;
  struct cuda_matmul_args args = {
      .in = in, .k = first->cols, .row_bytes = cuda_row_bytes(first->dtype, first->cols), .rows = rows};
  for (int32_t i = 0; i < count; i++) {
    args.products[i] = (struct cuda_product){.weight = cuda_address(products[i].weight),
                                             .out = products[i].out,
                                             .bias = products[i].bias,
                                             .add = products[i].add,
                                             .n = products[i].weight->rows};
  }
  return args;
}

static td_status launch_products(struct cuda_device *device, enum td_dtype dtype, const struct cuda_matmul_args *args) {
  enum cuda_family family = cuda_matmul_family(args);
  struct cuda_grid grid = cuda_matmul_grid(family, args);
  return cuda_launch_family(device, family, dtype, &grid, args);
}

td_status cuda_products(struct cuda_device *device, cuda_ptr in, int32_t rows, const struct cuda_product_work *products,
                        int32_t count) {
  if (device->blas && cuda_blas_takes(device, rows, products, count)) {
    return cuda_blas_products(device, in, rows, products, count);
  }
  struct cuda_matmul_args args = product_args(in, rows, products, count);
  return launch_products(device, products[0].weight->dtype, &args);
}

td_status cuda_gated(struct cuda_device *device, cuda_ptr in, const struct cuda_product_work products[2],
                     const struct cuda_work *work) {
  if (device->blas && cuda_blas_takes(device, work->rows, products, 2)) {
    TD_TRY(cuda_blas_products(device, in, work->rows, products, 2));
    return activation(device, NULL, work);
  }
  struct cuda_matmul_args args = product_args(in, work->rows, products, 2);
  args.gate = work->op->activation == TD_ACT_GELU ? CUDA_GATE_GELU : CUDA_GATE_SILU;
  args.products[0].out = work->out;
  return launch_products(device, products[0].weight->dtype, &args);
}

static td_status matmul(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *work) {
  (void)step;
  struct cuda_product_work product = {.weight = work->weight, .out = work->out};
  return cuda_products(device, work->in[0], work->rows, &product, 1);
}

static td_status attention(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *work) {
  return cuda_attention(device, step, work);
}

td_status cuda_operator(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *work) {
  static td_status (*const operators[TD_OP_EXECUTED_COUNT])(struct cuda_device *, const struct cuda_step *,
                                                            const struct cuda_work *) = {
      [TD_OP_EMBED] = embed,           [TD_OP_RMS_NORM] = rms_norm,
      [TD_OP_MATMUL] = matmul,         [TD_OP_ROPE] = rope,
      [TD_OP_KV_APPEND] = kv_append,   [TD_OP_ATTENTION] = attention,
      [TD_OP_ACTIVATION] = activation, [TD_OP_ADD] = add,
      [TD_OP_ROUTER] = router,         [TD_OP_EXPERT_MATMUL] = expert_matmul,
      [TD_OP_EXPERT_SUM] = expert_sum, [TD_OP_SELECT] = select_rows,
  };
  return operators[work->op->kind](device, step, work);
}

/* ---- the table's entries ---- */

static td_status refuse_shape(const struct cuda_device *device, const struct td_op *op) {
  const char *chip = device->chip->name;
  bool heads = op->kind == TD_OP_ATTENTION || op->kind == TD_OP_ROPE || op->kind == TD_OP_KV_APPEND;
  if (heads && op->head_dim > CUDA_MAX_HEAD_DIM) {
    return td_fail(TD_UNSUPPORTED, "%s: heads of %d, expected at most %d", chip, (int)op->head_dim, CUDA_MAX_HEAD_DIM);
  }
  if (op->kind == TD_OP_ATTENTION && op->bidirectional) {
    return td_fail(TD_UNSUPPORTED, "%s: attention without a causal mask", chip);
  }
  if (op->kind == TD_OP_ACTIVATION && op->activation != TD_ACT_SILU && op->activation != TD_ACT_GELU) {
    return td_fail(TD_UNSUPPORTED, "%s: activation %d, expected SiLU or GELU", chip, (int)op->activation);
  }
  if (op->kind == TD_OP_ROUTER && (op->experts > CUDA_MAX_EXPERTS || op->experts_used > CUDA_MAX_USED)) {
    return td_fail(TD_UNSUPPORTED, "%s: %d of %d experts, expected at most %d of %d", chip, (int)op->experts_used,
                   (int)op->experts, CUDA_MAX_USED, CUDA_MAX_EXPERTS);
  }
  return TD_OK;
}

td_status cuda_supports(struct td_device *base, const struct td_op_query *query) {
  const struct cuda_device *device = cuda_of(base);
  const struct td_op *op = query->op;
  if (op->kind == TD_OP_LPU_RUN) return TD_OK; /* every GPU has the arithmetic: binary64, subnormals, no contraction */
  if (op->kind >= TD_OP_EXECUTED_COUNT || op->kind == TD_OP_SAMPLE) {
    return td_fail(TD_UNSUPPORTED, "%s: operator %s runs on no device", device->chip->name, td_op_kind_name(op->kind));
  }
  const struct td_dtype_info *weight = td_dtype_info((uint32_t)query->weight_dtype);
  if (!weight || weight->priced_only) {
    return td_fail(TD_UNSUPPORTED, "%s: weights of type %s", device->chip->name, weight ? weight->name : "unknown");
  }
  if (query->kv_dtype != TD_F32 && query->kv_dtype != TD_F16) {
    return td_fail(TD_UNSUPPORTED, "%s: KV of type %d, expected f32 or f16", device->chip->name, (int)query->kv_dtype);
  }
  return refuse_shape(device, op);
}

td_status cuda_op(struct td_device *base, const struct td_op_call *call) {
  struct cuda_device *device = cuda_of(base);
  const struct td_op *op = call->op;
  struct td_op_query query = {.op = op,
                              .weight_dtype = call->weight.buffer ? call->weight.dtype : TD_F32,
                              .kv_dtype = call->kv.k ? call->kv.dtype : TD_F32};
  TD_TRY(cuda_supports(base, &query));
  TD_TRY(cuda_enter(device));
  if (op->kind == TD_OP_LPU_RUN) return cuda_lpu_run(device, call);
  struct cuda_step step = {0};
  bool cache = op->kind == TD_OP_KV_APPEND || op->kind == TD_OP_ATTENTION;
  bool batch = cache || op->kind == TD_OP_EMBED || op->kind == TD_OP_ROPE || op->kind == TD_OP_SELECT;
  if (batch) TD_TRY(cuda_batch_upload(device, call->batch, cache, &step));
  struct cuda_work work = {.op = op,
                           .in = {cuda_address(&call->in[0]), cuda_address(&call->in[1])},
                           .out = cuda_address(&call->out),
                           .in_cols = call->in[0].cols,
                           .weight = &call->weight,
                           .kv = &call->kv,
                           .rows = (int32_t)(call->out.buffer ? call->out.rows : call->in[0].rows)};
  if (call->out.buffer) call->out.buffer->written = base->submitted;
  return cuda_operator(device, &step, &work);
}
