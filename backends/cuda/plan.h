/* SPDX-License-Identifier: Apache-2.0
 *
 * A slice as this backend runs it: a list of stages (an operator, or a few in one kernel), a place for every value that
 * still exists after fusion, and the graphs captured so far.
 */
#ifndef CUDA_PLAN_H
#define CUDA_PLAN_H

#include "operators.h"

enum cuda_stage_kind {
  CUDA_STAGE_OPERATOR,   /* ops[0] */
  CUDA_STAGE_PRODUCTS,   /* ops[0 .. count - 1]: MATMULs of one input; adds[i]: the ADD behind the i-th, -1: none */
  CUDA_STAGE_GATED,      /* ops[0], ops[1]: MATMULs of one input; ops[2]: the ACTIVATION of the two */
  CUDA_STAGE_ADD_NORM,   /* ops[0]: an ADD; ops[1]: the RMS_NORM of its sum */
  CUDA_STAGE_ROPE_APPEND /* ops[0]: ROPE of q, ops[1]: ROPE of k, ops[2]: KV_APPEND */
};
struct cuda_stage {
  enum cuda_stage_kind kind;
  int32_t count, layer;
  int32_t ops[CUDA_PRODUCTS], adds[CUDA_PRODUCTS]; /* indices into graph->ops */
};

/* A value's life in stages, and its place in the activation buffer. */
struct cuda_value {
  int32_t first, last; /* first -2: the plan does not keep this value */
  uint64_t offset;
};
#define CUDA_NO_LIFE (-2)

/* What a captured graph depends on, beyond what a plan fixes. */
struct cuda_shape {
  int32_t rows, seq_count, logit_count, max_splits;
  uint64_t addresses; /* cuda_device.addresses, and the plan's own moves */
};
struct cuda_captured {
  struct cuda_shape shape;
  cuda_graph_exec exec; /* NULL: seen once, not captured yet */
  uint64_t used;        /* for eviction: when it last ran */
};
#define CUDA_GRAPHS 32

struct td_plan {
  const struct td_graph *graph;
  struct td_plan_bindings bindings;
  struct td_slice_ops ops;
  int32_t layer_begin, layer_end; /* real layers of the slice */
  struct cuda_stage *stages;
  int32_t stage_count;
  struct cuda_value *values; /* [graph->value_count] */
  cuda_ptr activation;       /* 0 until the first run */
  uint64_t activation_bytes;
  int64_t max_rows, max_logits; /* what it has room for */
  struct cuda_captured graphs[CUDA_GRAPHS];
  int32_t graph_count;
  uint64_t runs;
};

/* fuse.c: fills plan->stages from plan->ops. */
td_status cuda_fuse(struct td_plan *plan);
/* place.c: makes room for a step of that size; moves every value if it must. */
td_status cuda_place(struct cuda_device *device, struct td_plan *plan, int64_t rows, int64_t logits);
static inline cuda_ptr cuda_value_at(const struct td_plan *plan, int32_t value) {
  return value < 0 ? 0 : plan->activation + plan->values[value].offset;
}
/* Calls `use` with every value that a stage reads or writes. */
void cuda_stage_values(const struct td_plan *plan, const struct cuda_stage *stage,
                       void (*use)(void *context, int32_t value, bool written), void *context);
/* stages.c: queues one stage. */
td_status cuda_stage(struct cuda_device *device, const struct td_plan *plan, const struct cuda_step *step,
                     const struct cuda_stage *stage);

#endif
