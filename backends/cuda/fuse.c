/* SPDX-License-Identifier: Apache-2.0
 *
 * Which operators share a kernel: only where the kernel gives the bits of the operators one after the other.
 *   MATMUL, ADD              the sum is made where the product is (a residual, or a float32 bias)
 *   MATMUL, MATMUL, MATMUL   of one input and one type (q, k, v; gate, up), each with its ADD
 *   MATMUL, MATMUL, ACTIVATION  of the two
 *   ADD, RMS_NORM            of the sum
 *   ROPE, ROPE, KV_APPEND    k goes straight into the cache
 */
#include <stdlib.h>

#include "plan.h"

struct fusing {
  struct td_plan *plan;
  int32_t *uses;     /* [graph->value_count]: how often the slice reads a value; live-outs count once more */
  int32_t *producer; /* [graph->value_count]: position in the slice; -1: a live-in */
  bool *taken;       /* [ops]: a stage has this operator */
};

static const struct td_op *op_at(const struct fusing *fusing, int32_t position) {
  const struct td_plan *plan = fusing->plan;
  return position < plan->ops.op_count ? &plan->graph->ops[plan->ops.ops[position]] : NULL;
}

static void look_at_values(const struct fusing *fusing) {
  const struct td_plan *plan = fusing->plan;
  for (int32_t i = 0; i < plan->graph->value_count; i++) fusing->producer[i] = -1;
  for (int32_t i = 0; i < plan->ops.op_count; i++) {
    const struct td_op *op = op_at(fusing, i);
    for (int j = 0; j < TD_OP_INPUTS; j++) {
      if (op->in[j] >= 0) fusing->uses[op->in[j]]++;
    }
    if (op->out >= 0) fusing->producer[op->out] = i;
  }
  for (int32_t i = 0; i < plan->ops.live_out_count; i++) fusing->uses[plan->ops.live_out[i]]++;
}

/* The position of the one ADD that reads `value`, if a stage that begins at `position` can make its sum: what is added
 * is there by then. -1 if not. */
static int32_t find_add(const struct fusing *fusing, int32_t position, int32_t value) {
  if (fusing->uses[value] != 1) return -1;
  int32_t at = fusing->producer[value] + 1;
  const struct td_op *op;
  while ((op = op_at(fusing, at)) && op->in[0] != value && op->in[1] != value) at++;
  if (!op || op->kind != TD_OP_ADD || fusing->taken[at]) return -1;
  if (op->in[1] < 0) return fusing->plan->graph->weights[op->weight].dtype == TD_F32 ? at : -1;
  int32_t other = op->in[0] == value ? op->in[1] : op->in[0];
  return fusing->producer[other] < position ? at : -1;
}

static bool same_products(const struct fusing *fusing, const struct td_op *a, int32_t position) {
  const struct td_op *b = op_at(fusing, position);
  const struct td_weight *weights = fusing->plan->graph->weights;
  return b && !fusing->taken[position] && b->kind == TD_OP_MATMUL && b->in[0] == a->in[0] && b->rows == a->rows &&
         b->k == a->k && weights[a->weight].dtype == weights[b->weight].dtype;
}

static void take(const struct fusing *fusing, int32_t position, struct cuda_stage *stage) {
  stage->ops[stage->count] = fusing->plan->ops.ops[position];
  stage->adds[stage->count++] = -1;
  fusing->taken[position] = true;
}

static bool gates(const struct fusing *fusing, int32_t position) {
  const struct td_op *gate = op_at(fusing, position), *up = op_at(fusing, position + 1);
  const struct td_op *f = op_at(fusing, position + 2);
  return same_products(fusing, gate, position + 1) && gate->n == up->n && f && f->kind == TD_OP_ACTIVATION &&
         f->in[0] == gate->out && f->in[1] == up->out && fusing->uses[gate->out] == 1 && fusing->uses[up->out] == 1;
}

static void take_products(const struct fusing *fusing, int32_t position, struct cuda_stage *stage) {
  const struct td_op *first = op_at(fusing, position);
  stage->kind = CUDA_STAGE_PRODUCTS;
  for (int32_t at = position; stage->count < CUDA_PRODUCTS && same_products(fusing, first, at); at++) {
    int32_t add = find_add(fusing, position, op_at(fusing, at)->out);
    take(fusing, at, stage);
    if (add < 0) continue;
    stage->adds[stage->count - 1] = fusing->plan->ops.ops[add];
    fusing->taken[add] = true;
  }
}

static bool equal(double a, double b) {
  return !(a < b) && !(a > b);
}

static bool same_ropes(const struct td_op *a, const struct td_op *b) {
  return b && b->kind == TD_OP_ROPE && a->head_dim == b->head_dim && a->rope_dim == b->rope_dim &&
         a->rope_pairs == b->rope_pairs && a->weight == b->weight && equal(a->theta, b->theta) &&
         equal(a->position_scale, b->position_scale);
}

static bool ropes_into_cache(const struct fusing *fusing, int32_t position) {
  const struct td_op *q = op_at(fusing, position), *k = op_at(fusing, position + 1);
  const struct td_op *append = op_at(fusing, position + 2);
  if (q->kind != TD_OP_ROPE || !same_ropes(q, k) || !append || append->kind != TD_OP_KV_APPEND) return false;
  return append->in[0] == k->out && fusing->uses[k->out] == 1 && append->in[1] != q->out && k->in[0] != q->out;
}

static bool norms_sum(const struct fusing *fusing, int32_t position) {
  const struct td_op *add = op_at(fusing, position), *norm = op_at(fusing, position + 1);
  return add->kind == TD_OP_ADD && add->in[1] >= 0 && norm && norm->kind == TD_OP_RMS_NORM && norm->in[0] == add->out &&
         norm->rows == add->rows;
}

static void take_many(const struct fusing *fusing, int32_t position, enum cuda_stage_kind kind, int32_t count,
                      struct cuda_stage *stage) {
  stage->kind = kind;
  for (int32_t i = 0; i < count; i++) take(fusing, position + i, stage);
}

static void fuse_at(const struct fusing *fusing, int32_t position, struct cuda_stage *stage) {
  *stage = (struct cuda_stage){.layer = op_at(fusing, position)->layer};
  if (op_at(fusing, position)->kind == TD_OP_MATMUL && gates(fusing, position)) {
    take_many(fusing, position, CUDA_STAGE_GATED, 3, stage);
  } else if (op_at(fusing, position)->kind == TD_OP_MATMUL) {
    take_products(fusing, position, stage);
  } else if (ropes_into_cache(fusing, position)) {
    take_many(fusing, position, CUDA_STAGE_ROPE_APPEND, 3, stage);
  } else if (norms_sum(fusing, position)) {
    take_many(fusing, position, CUDA_STAGE_ADD_NORM, 2, stage);
  } else {
    take_many(fusing, position, CUDA_STAGE_OPERATOR, 1, stage);
  }
}

static void fuse_all(const struct fusing *fusing) {
  struct td_plan *plan = fusing->plan;
  look_at_values(fusing);
  for (int32_t at = 0; at < plan->ops.op_count; at++) {
    if (fusing->taken[at] || op_at(fusing, at)->kind == TD_OP_SAMPLE) continue;
    fuse_at(fusing, at, &plan->stages[plan->stage_count++]);
  }
}

td_status cuda_fuse(struct td_plan *plan) {
  struct fusing fusing = {.plan = plan};
  size_t values = (size_t)plan->graph->value_count;
  td_status status = td_alloc(values, sizeof *fusing.uses, (void **)&fusing.uses);
  if (!status) status = td_alloc(values, sizeof *fusing.producer, (void **)&fusing.producer);
  if (!status) status = td_alloc((size_t)plan->ops.op_count, sizeof *fusing.taken, (void **)&fusing.taken);
  if (!status) fuse_all(&fusing);
  free(fusing.taken);
  free(fusing.producer);
  free(fusing.uses);
  return status;
}
