/* SPDX-License-Identifier: Apache-2.0
 *
 * From the caller's sequences to the batch that operators see.
 */
#include <inttypes.h>
#include <string.h>

#include "runner_private.h"
#include "tandem/base.h"

static td_status check_ids(const struct td_runner *runner, const struct td_step_seq *seq) {
  if (!runner->embeds) return TD_OK;
  if (!seq->ids) return td_fail(TD_INTERNAL, "request %" PRIu64 ": a step without token ids", seq->request);
  for (int64_t i = 0; i < seq->tokens; i++) {
    if (seq->ids[i] >= 0 && seq->ids[i] < runner->graph->shape.vocab) continue;
    return td_fail(TD_PRECONDITION, "request %" PRIu64 ": position %" PRId64 ": found token id %d, expected 0 to %d",
                   seq->request, seq->past + i, (int)seq->ids[i], (int)runner->graph->shape.vocab - 1);
  }
  return TD_OK;
}

static td_status check_seq(const struct td_runner *runner, const struct td_step_seq *seq) {
  int64_t context = runner->graph->shape.context;
  if (seq->tokens < 1 || seq->past < 0) {
    return td_fail(TD_INTERNAL, "request %" PRIu64 ": a step of %" PRId64 " tokens after %" PRId64, seq->request,
                   seq->tokens, seq->past);
  }
  if (seq->past >= context || seq->tokens > context - seq->past) {
    int64_t position = seq->tokens < INT64_MAX - seq->past ? seq->past + seq->tokens - 1 : INT64_MAX;
    return td_fail(TD_PRECONDITION,
                   "request %" PRIu64 ": found position %" PRId64
                   ", expected less than the model's context of %" PRId64,
                   seq->request, position, context);
  }
  return check_ids(runner, seq);
}

static td_status check_counts(const struct td_runner *runner, const struct td_step_seq *seqs, int32_t count,
                              bool all_logits) {
  int64_t rows = 0, logits = 0;
  if (count < 1) return td_fail(TD_INTERNAL, "a step of %d sequences", (int)count);
  for (int32_t i = 0; i < count; i++) {
    TD_TRY(check_seq(runner, &seqs[i]));
    rows += seqs[i].tokens;
    logits += all_logits ? seqs[i].tokens : seqs[i].logits;
    if (rows > runner->options.max_rows) break; /* before a sum could overflow */
  }
  if (rows > runner->options.max_rows) {
    return td_fail(TD_EXHAUSTED, "a step of %" PRId64 " rows or more, expected at most %" PRId64, rows,
                   runner->options.max_rows);
  }
  if (runner->logits_value >= 0 && logits > runner->options.max_logits) {
    return td_fail(TD_EXHAUSTED, "a step with logits of %" PRId64 " rows, expected at most %" PRId64, logits,
                   runner->options.max_logits);
  }
  return TD_OK;
}

static void add_rows(struct td_runner *runner, const struct td_step_seq *seq, bool all_logits) {
  struct td_batch *batch = &runner->batch;
  for (int64_t i = 0; i < seq->tokens; i++) {
    int32_t row = (int32_t)(batch->rows + i);
    runner->positions[row] = (int32_t)(seq->past + i);
    if (runner->embeds) runner->ids[row] = seq->ids[i];
    bool wanted = all_logits || (seq->logits && i == seq->tokens - 1);
    if (wanted && runner->logits_value >= 0) runner->logit_rows[batch->logit_count++] = row;
  }
  batch->rows += seq->tokens;
}

static td_status add_seq(struct td_runner *runner, const struct td_step_seq *seq, bool all_logits) {
  struct td_seq *out = &runner->seqs[runner->batch.seq_count++];
  *out = (struct td_seq){.request = seq->request,
                         .past = seq->past,
                         .tokens = seq->tokens,
                         .first_row = runner->batch.rows,
                         .logits = seq->logits};
  add_rows(runner, seq, all_logits);
  return runner->kv ? td_kv_blocks(runner->kv, seq->request, &out->blocks, &out->block_count) : TD_OK;
}

static td_status reserve(struct td_runner *runner, const struct td_step_seq *seqs, int32_t count) {
  for (int32_t i = 0; i < count; i++) {
    runner->steps[i] = (struct td_kv_step){.request = seqs[i].request, .past = seqs[i].past, .tokens = seqs[i].tokens};
  }
  return runner->kv ? td_kv_step_begin(runner->kv, runner->steps, count) : TD_OK;
}

td_status td_runner_begin_step(struct td_runner *runner, const struct td_step_seq *seqs, int32_t count,
                               bool all_logits) {
  TD_TRY(check_counts(runner, seqs, count, all_logits));
  TD_TRY(reserve(runner, seqs, count));
  runner->batch = (struct td_batch){.ids = runner->embeds ? runner->ids : NULL,
                                    .positions = runner->positions,
                                    .seqs = runner->seqs,
                                    .logit_rows = runner->logit_rows,
                                    .all_logits = all_logits};
  for (int32_t i = 0; i < count; i++) {
    td_status status = add_seq(runner, &seqs[i], all_logits);
    if (!status) continue;
    td_kv_step_end(runner->kv, runner->steps, count, true);
    return status;
  }
  return TD_OK;
}
