/* SPDX-License-Identifier: Apache-2.0
 *
 * The teacher-forced pass of `tandem eval`: one text through one device, or through two with a hand-over between.
 */
#ifndef TD_EVAL_PASS_H
#define TD_EVAL_PASS_H

#include "tandem/device.h"

struct td_eval_plan {
  const char *device;         /* computes everything, or what comes after the hand-over */
  const char *prefill_device; /* NULL: no hand-over */
  int64_t split;              /* positions computed on prefill_device */
  int64_t micro_batch;        /* rows per step where positions are computed in batches */
  int64_t generate;           /* greedy tokens after the text */
  bool inexact;               /* td_device_options.inexact */
  int32_t threads;
  enum td_dtype kv_dtype;
  const char *device_file;         /* of `device`; NULL: none */
  const struct td_lpu_choice *lpu; /* of `device`, if it is an LPU; NULL: defaults */
};

/* What each position says about the next one. */
struct td_eval_rows {
  int64_t count;
  const int32_t *ids;   /* [count], the caller's */
  double *next_logprob; /* [count]; the last is NaN */
  int32_t *top_id;
  double *top_logprob, *top_gap;
  int64_t greedy_count; /* <= plan.generate: an end token is the last */
  int32_t *greedy_id;
  double *greedy_logprob, *greedy_gap;
};
td_status td_eval_rows_open(const int32_t *ids, int64_t count, int64_t generate, struct td_eval_rows *out_rows);
void td_eval_rows_free(struct td_eval_rows *rows);

/* Gets the logits of positions first .. first + count - 1, [count, vocab], as they come. */
typedef td_status (*td_eval_sink)(void *context, int64_t first, int64_t count, const float *logits);

/* Runs the plan and fills the rows. `sink` may be NULL. */
td_status td_eval_pass(const struct td_model *model, const struct td_eval_plan *plan, struct td_eval_rows *rows,
                       td_eval_sink sink, void *context);

#endif
