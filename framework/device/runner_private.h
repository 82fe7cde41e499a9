/* SPDX-License-Identifier: Apache-2.0
 *
 * The runner's insides, shared by the runner_*.c files.
 */
#ifndef TD_RUNNER_PRIVATE_H
#define TD_RUNNER_PRIVATE_H

#include "kv_private.h"

struct td_runner {
  struct td_device *device;
  const struct td_model *model;
  const struct td_graph *graph;
  struct td_slice slice;
  struct td_slice_ops ops;
  struct td_runner_options options;

  struct td_kv_store *kv;       /* NULL: no attention in the slice */
  struct td_view *weights;      /* [graph->weight_count]; equal names share one buffer */
  struct td_kv_view *kv_views;  /* [graph->shape.layers] */
  struct td_buffer *activation; /* all values of the slice; those that never live at once share bytes */
  struct td_view *values;       /* [graph->value_count]; rows are set per step; buffer NULL: not in the slice */
  struct td_op_call *calls;     /* [ops.op_count] */
  struct td_plan *plan;         /* NULL: the runner interprets `calls` */
  struct td_view *plan_in, *plan_out;
  uint64_t *layer_values; /* [graph->shape.layers]: where the plan's run says that layers are done */
  int32_t logits_value;   /* index into values; -1: no head in the slice */
  bool embeds;

  /* the step under way */
  struct td_batch batch;
  struct td_kv_step *steps; /* [max_rows] */
  struct td_seq *seqs;      /* [max_rows] */
  int32_t *ids, *positions; /* [max_rows] */
  int32_t *logit_rows;      /* [max_logits] */
  float *logits;            /* [max_logits, vocab], host */
};

/* Rows of a value for a batch of T tokens and L wanted logits. */
static inline int64_t td_value_rows(const struct td_value *value, int64_t tokens, int64_t logits) {
  return value->rows == TD_ROWS_LOGITS ? logits : tokens;
}

/* Brings the slice's weights onto the device, each name once. */
td_status td_runner_load_weights(struct td_runner *runner);
/* Places every value of the slice in one buffer. */
td_status td_runner_place_values(struct td_runner *runner);
/* TD_EXHAUSTED with the arithmetic if the device file says that weights, KV and activations do not fit. */
td_status td_runner_check_memory(const struct td_runner *runner, uint64_t activation_bytes);
uint64_t td_runner_weight_bytes(const struct td_runner *runner);
void td_runner_free_memory(struct td_runner *runner);

/* Checks the sequences and fills runner->batch, reserving KV. After success, td_kv_step_end is due. */
td_status td_runner_begin_step(struct td_runner *runner, const struct td_step_seq *seqs, int32_t count,
                               bool all_logits);

#endif
