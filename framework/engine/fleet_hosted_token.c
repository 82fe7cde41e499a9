/* SPDX-License-Identifier: Apache-2.0
 *
 * Output tokens that were really computed.
 */
#include "fleet_hosted.h"
#include "tandem/base.h"

static bool is_end(const struct fleet *fleet, int32_t id) {
  const struct td_tokenizer *tokenizer = td_model_tokenizer(fleet->cluster->model);
  return tokenizer && fleet->cluster->experiment->workload.stop_at_end && td_tokenizer_is_end(tokenizer, id);
}

static void tell_listener(const struct fleet *fleet, int32_t slot, const char *text, size_t bytes, bool ends) {
  const struct td_run_options *options = fleet->hosted->options;
  const struct fleet_request *request = &fleet->requests[slot];
  bool markup = ends && hosted_request(fleet, slot)->finish == TD_FINISH_END; /* the end token is for the machine */
  char name[32];
  if (!options->on_token || fleet_name_request(request, name, sizeof name)) return;
  options->on_token(options->context, request->number, name, text, markup ? 0 : bytes, ends);
}

static td_status record_token(struct fleet *fleet, int32_t slot, struct td_row_token row, bool ends) {
  const struct td_tokenizer *tokenizer = td_model_tokenizer(fleet->cluster->model);
  const char *text = "";
  size_t bytes = 0;
  if (tokenizer) TD_TRY(td_tokenizer_piece(tokenizer, row.id, &text, &bytes));
  row.text_bytes = (uint32_t)bytes;
  tell_listener(fleet, slot, text, bytes, ends);
  if (!fleet->trace) return TD_OK;
  TD_TRY(td_trace_text(fleet->trace, text, bytes, &row.text_offset));
  return td_trace_append(fleet->trace, TD_TABLE_TOKENS, &row, 1);
}

td_status fleet_hosted_token(struct fleet *fleet, int32_t slot, int32_t worker, int32_t index,
                             const struct td_sample *sample, bool *out_ends) {
  const struct fleet_request *request = &fleet->requests[slot];
  struct hosted_request *hosted = hosted_request(fleet, slot);
  bool end = is_end(fleet, sample->id);
  *out_ends = end || index + 1 == request->output;
  hosted->last_id = sample->id;
  if (fleet->grow) hosted->own[request->prompt + index] = sample->id;
  hosted->finish = end ? TD_FINISH_END : TD_FINISH_LENGTH;
  if (*out_ends) hosted->finished_ps = fleet->now_ps;
  struct td_row_token row = {.request = request->number,
                             .index = (uint32_t)index,
                             .id = sample->id,
                             .device = (uint32_t)worker,
                             .time = fleet->now_ps,
                             .step = fleet->hosted->workers[worker].row,
                             .logprob = sample->logprob,
                             .gap = sample->top_gap};
  return record_token(fleet, slot, row, *out_ends);
}

void fleet_hosted_ended(const struct fleet *fleet, int32_t slot, struct td_row_request *row) {
  const struct hosted_request *hosted = hosted_request(fleet, slot);
  row->max_tokens = (uint32_t)hosted->most;
  row->finish = hosted->finish;
}
