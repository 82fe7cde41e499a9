/* SPDX-License-Identifier: Apache-2.0
 *
 * What happened, as rows of the trace.
 */
#include "state.h"

td_status record_devices(struct engine *engine) {
  for (int32_t i = 0; i < engine->cluster->worker_count; i++) {
    const struct worker *worker = &engine->workers[i];
    struct td_row_device row = {.device = (uint32_t)i,
                                .role = (uint32_t)worker->info->pool->role,
                                .executes = !worker->executes                 ? 0
                                            : worker->info->backend->emulates ? 2
                                                                              : 1,
                                .exact = worker->info->backend->exact && worker->info->pool->exact,
                                .layer_begin = worker->info->slice.layer_begin,
                                .layer_end = worker->info->slice.layer_end,
                                .parts = worker->info->slice.parts};
    TD_TRY(td_format(row.name, sizeof row.name, "%s", worker->info->name));
    TD_TRY(td_format(row.pool, sizeof row.pool, "%s", worker->info->pool->name));
    TD_TRY(td_format(row.backend, sizeof row.backend, "%s", worker->info->backend->name));
    if (worker->info->params) TD_TRY(td_format(row.file, sizeof row.file, "%s", worker->info->params->name));
    TD_TRY(td_trace_append(engine->trace, TD_TABLE_DEVICES, &row, 1));
  }
  return TD_OK;
}

static uint32_t step_kind(const struct engine *engine, const struct worker *worker) {
  bool prefill = false, decode = false;
  for (size_t i = 0; i < worker->share_count; i++) {
    bool decodes = engine->requests[worker->shares[i].request].state == REQUEST_DECODE;
    decode |= decodes;
    prefill |= !decodes;
  }
  return prefill && decode ? TD_STEP_MIXED : prefill ? TD_STEP_PREFILL : TD_STEP_DECODE;
}

td_status record_step(struct engine *engine, const struct worker *worker, const struct done_head *done) {
  struct td_row_step row = {.step = worker->step,
                            .index = worker->index,
                            .device = (uint32_t)(worker - engine->workers),
                            .kind = step_kind(engine, worker),
                            .start = worker->start_ps,
                            .duration = worker->duration_ps,
                            .count = 1,
                            .batch = (uint32_t)worker->share_count,
                            .time_kind = done->time_kind,
                            .interval = done->interval,
                            .energy = done->energy_j};
  for (size_t i = 0; i < worker->share_count; i++) row.tokens += (uint32_t)worker->shares[i].tokens;
  return td_trace_append(engine->trace, TD_TABLE_STEPS, &row, 1);
}

td_status record_token(struct engine *engine, int64_t number, const struct worker *worker,
                       const struct td_sample *sample, bool last) {
  const struct request *request = &engine->requests[number];
  const struct td_tokenizer *tokenizer = td_model_tokenizer(engine->cluster->model);
  const char *text = "";
  size_t bytes = 0;
  if (tokenizer) TD_TRY(td_tokenizer_piece(tokenizer, sample->id, &text, &bytes));
  struct td_row_token row = {.request = (uint64_t)number,
                             .index = (uint32_t)(request->output - 1),
                             .id = sample->id,
                             .text_bytes = (uint32_t)bytes,
                             .device = (uint32_t)(worker - engine->workers),
                             .time = engine->now_ps,
                             .step = worker->step,
                             .logprob = sample->logprob,
                             .gap = sample->top_gap};
  TD_TRY(td_trace_text(engine->trace, text, bytes, &row.text_offset));
  if (engine->options->on_token) {
    bool markup = last && request->finish == TD_FINISH_END; /* the end token is for the machine */
    engine->options->on_token(engine->options->context, (uint64_t)number, request->job->name, text, markup ? 0 : bytes,
                              last);
  }
  return td_trace_append(engine->trace, TD_TABLE_TOKENS, &row, 1);
}

static td_status close_stretch(struct engine *engine, struct stretch *stretch) {
  if (!stretch->open) return TD_OK;
  stretch->open = false;
  return td_trace_append(engine->trace, TD_TABLE_RESIDENCY, &stretch->row, 1);
}

td_status record_residency(struct engine *engine, int64_t number, const struct worker *worker, bool yields) {
  struct request *request = &engine->requests[number];
  struct td_row_residency *row = &request->stretch.row;
  uint32_t device = (uint32_t)(worker - engine->workers);
  if (request->stretch.open && row->device == device && row->tokens_per_step == yields &&
      row->first_index + row->count == worker->index) {
    row->count++;
    return TD_OK;
  }
  TD_TRY(close_stretch(engine, &request->stretch));
  request->stretch = (struct stretch){true,
                                      {.request = (uint64_t)number,
                                       .device = device,
                                       .tokens_per_step = yields,
                                       .first_index = worker->index,
                                       .count = 1,
                                       .first_token = (uint64_t)request->output}};
  return TD_OK;
}

td_status record_request(struct engine *engine, int64_t number) {
  struct request *request = &engine->requests[number];
  TD_TRY(close_stretch(engine, &request->stretch));
  struct td_row_request row = {.request = (uint64_t)number,
                               .arrival = request->job->arrival_ps,
                               .admitted = request->admitted_ps,
                               .first_step = request->first_step_ps,
                               .first_token = request->first_token_ps,
                               .finished = request->finished_ps,
                               .prompt_tokens = (uint32_t)request->job->prompt_tokens,
                               .output_tokens = (uint32_t)request->output,
                               .max_tokens = (uint32_t)request->job->max_tokens,
                               .finish = request->finish,
                               .prefill_device = (uint32_t)request->prefill_worker,
                               .decode_device = (uint32_t)request->decode_worker,
                               .kv_bytes = request->kv_bytes};
  TD_TRY(td_format(row.name, sizeof row.name, "%s", request->job->name));
  return td_trace_append(engine->trace, TD_TABLE_REQUESTS, &row, 1);
}
