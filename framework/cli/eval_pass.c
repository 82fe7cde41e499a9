/* SPDX-License-Identifier: Apache-2.0 */
#include "eval_pass.h"

#include <math.h>
#include <stdlib.h>

#include "tandem/base.h"
#include "tandem/lpu.h"

#define REQUEST 1
#define GENERATION 1
#define BLOCK_TOKENS 16

static const struct td_sampling greedy = {.temperature = 0, .top_k = 0, .top_p = 1};

/* ---- rows ---- */

static td_status open_arrays(struct td_eval_rows *rows, size_t count, size_t generate) {
  TD_TRY(td_alloc(count, sizeof(double), (void **)&rows->next_logprob));
  TD_TRY(td_alloc(count, sizeof(int32_t), (void **)&rows->top_id));
  TD_TRY(td_alloc(count, sizeof(double), (void **)&rows->top_logprob));
  TD_TRY(td_alloc(count, sizeof(double), (void **)&rows->top_gap));
  TD_TRY(td_alloc(generate + 1, sizeof(int32_t), (void **)&rows->greedy_id));
  TD_TRY(td_alloc(generate + 1, sizeof(double), (void **)&rows->greedy_logprob));
  return td_alloc(generate + 1, sizeof(double), (void **)&rows->greedy_gap);
}

td_status td_eval_rows_open(const int32_t *ids, int64_t count, int64_t generate, struct td_eval_rows *out_rows) {
  struct td_eval_rows rows = {.ids = ids, .count = count};
  td_status status = open_arrays(&rows, (size_t)count, (size_t)generate);
  if (status) {
    td_eval_rows_free(&rows);
    return status;
  }
  *out_rows = rows;
  return TD_OK;
}

void td_eval_rows_free(struct td_eval_rows *rows) {
  free(rows->next_logprob);
  free(rows->top_id);
  free(rows->top_logprob);
  free(rows->top_gap);
  free(rows->greedy_id);
  free(rows->greedy_logprob);
  free(rows->greedy_gap);
  *rows = (struct td_eval_rows){0};
}

/* ---- workers ---- */

/* A whole model on one device. */
struct worker {
  struct td_device *device;
  struct td_runner *runner;
};

struct pass {
  const struct td_model *model;
  struct td_graph *graph;
  const struct td_eval_plan *plan;
  struct td_eval_rows *rows;
  td_eval_sink sink;
  void *context;
  struct worker prefill, decode;   /* without a hand-over, decode does everything */
  struct td_device_params *params; /* of decode's device; NULL: none */
  struct td_progress progress;
};

/* KV blocks of an LPU fill its lanes. */
static int32_t block_tokens(const struct td_device_params *params) {
  const struct td_lpu_machine *machine = params ? td_lpu_machine_of(params) : NULL;
  return machine ? machine->lanes / machine->load_vectors * machine->load_vectors : BLOCK_TOKENS;
}

static td_status open_worker(struct pass *pass, const char *flag, const char *spec,
                             const struct td_device_params *params, int64_t tokens, int64_t max_rows,
                             struct worker *worker) {
  int32_t block = block_tokens(params);
  const struct td_runner_options options = {.kv_dtype = pass->plan->kv_dtype,
                                            .block_tokens = block,
                                            .kv_blocks = (int32_t)((tokens + block - 1) / block),
                                            .max_rows = max_rows,
                                            .max_logits = max_rows};
  const struct td_device_options how = {
      .params = params, .threads = pass->plan->threads, .inexact = pass->plan->inexact, .lpu = pass->plan->lpu};
  struct td_slice slice = td_slice_whole(pass->graph);
  td_status status = td_device_open(spec, &how, &worker->device);
  if (status) return td_fail_within(status == TD_NOT_FOUND || status == TD_CONFIG ? TD_USAGE : status, "%s", flag);
  return td_runner_open(worker->device, pass->model, pass->graph, &slice, &options, &worker->runner);
}

static void close_worker(struct worker *worker) {
  td_runner_close(worker->runner);
  td_device_close(worker->device);
}

/* A text that an LPU's context is too short for. */
static td_status check_context(const struct td_eval_plan *plan, int64_t tokens) {
  if (!plan->lpu || plan->lpu->context == 0 || tokens <= plan->lpu->context) return TD_OK;
  return td_fail(TD_USAGE, "--lpu: found context=%d, expected at least the %lld positions of the text",
                 plan->lpu->context, (long long)tokens);
}

static td_status open_workers(struct pass *pass) {
  const struct td_eval_plan *plan = pass->plan;
  int64_t count = pass->rows->count, tokens = count + plan->generate;
  int64_t rows = plan->micro_batch < count ? plan->micro_batch : count;
  TD_TRY(check_context(plan, tokens));
  td_status status = plan->device_file ? td_device_params_open(plan->device_file, &pass->params) : TD_OK;
  if (status) return td_fail_within(TD_USAGE, "--device-file");
  if (!plan->prefill_device) {
    return open_worker(pass, "--device", plan->device, pass->params, tokens, rows, &pass->decode);
  }
  TD_TRY(open_worker(pass, "--prefill-device", plan->prefill_device, NULL, plan->split, rows, &pass->prefill));
  return open_worker(pass, "--device", plan->device, pass->params, tokens, 1, &pass->decode);
}

/* ---- steps ---- */

static td_status keep_row(struct pass *pass, int64_t position, const float *logits) {
  struct td_eval_rows *rows = pass->rows;
  int32_t vocab = pass->graph->shape.vocab;
  struct td_sample sample;
  TD_TRY(td_sample_row(logits, vocab, &greedy, REQUEST, 0, &sample));
  bool last = position + 1 == rows->count;
  rows->next_logprob[position] = last ? NAN : td_logprob(logits, vocab, rows->ids[position + 1]);
  rows->top_id[position] = sample.top_id;
  rows->top_logprob[position] = sample.top_logprob;
  rows->top_gap[position] = sample.top_gap;
  return TD_OK;
}

/* Positions first .. first + count - 1 in one step. */
static td_status step(struct pass *pass, struct worker *worker, int64_t first, int64_t count) {
  const struct td_step_seq seq = {
      .request = REQUEST, .past = first, .tokens = count, .ids = pass->rows->ids + first, .logits = true};
  const float *logits = NULL;
  int64_t logit_count = 0;
  TD_TRY(td_runner_step(worker->runner, &seq, 1, true, NULL, NULL, NULL, NULL, &logits, &logit_count));
  for (int64_t i = 0; i < logit_count; i++) {
    TD_TRY(keep_row(pass, first + i, logits + i * pass->graph->shape.vocab));
  }
  if (pass->sink) TD_TRY(pass->sink(pass->context, first, logit_count, logits));
  td_progress_update(&pass->progress, (uint64_t)(first + count), (uint64_t)(pass->rows->count + pass->plan->generate));
  return TD_OK;
}

static td_status steps(struct pass *pass, struct worker *worker, int64_t begin, int64_t end, int64_t micro_batch) {
  for (int64_t first = begin; first < end; first += micro_batch) {
    TD_TRY(step(pass, worker, first, end - first < micro_batch ? end - first : micro_batch));
  }
  return TD_OK;
}

/* ---- hand-over ---- */

static td_status send_layer(struct pass *pass, int32_t layer, void *payload, uint64_t bytes) {
  struct td_kv_store *from = td_runner_kv(pass->prefill.runner), *to = td_runner_kv(pass->decode.runner);
  struct td_kv_chunk chunk;
  bool complete;
  TD_TRY(td_kv_export(from, REQUEST, layer, layer + 1, 0, pass->plan->split, payload, bytes, &chunk));
  chunk.generation = GENERATION;
  chunk.prefix_hash = td_hash(TD_HASH_INIT, pass->rows->ids, (size_t)pass->plan->split * sizeof(int32_t));
  return td_kv_import(to, &chunk, payload, &complete);
}

static td_status send_layers(struct pass *pass) {
  const struct td_shape *shape = &pass->graph->shape;
  uint64_t bytes = td_kv_bytes(shape, pass->plan->kv_dtype, 1, pass->plan->split);
  void *payload;
  TD_TRY(td_alloc(bytes, 1, &payload));
  td_status status = TD_OK;
  for (int32_t layer = 0; layer < shape->layers && !status; layer++) status = send_layer(pass, layer, payload, bytes);
  free(payload);
  return status;
}

static td_status hand_over(struct pass *pass) {
  struct td_kv_store *from = td_runner_kv(pass->prefill.runner), *to = td_runner_kv(pass->decode.runner);
  const struct td_kv_expect expect = {.request = REQUEST,
                                      .generation = GENERATION,
                                      .tokens = pass->plan->split,
                                      .ids = pass->rows->ids,
                                      .layout = *td_kv_store_layout(from)};
  TD_TRY(td_kv_import_begin(to, &expect));
  TD_TRY(send_layers(pass));
  TD_TRY(td_kv_import_commit(to, REQUEST));
  td_kv_release(from, REQUEST);
  return TD_OK;
}

/* ---- the greedy continuation ---- */

static bool is_end(const struct pass *pass, int32_t id) {
  const struct td_tokenizer *tokenizer = td_model_tokenizer(pass->model);
  return tokenizer && td_tokenizer_is_end(tokenizer, id);
}

static void keep_greedy(struct td_eval_rows *rows, const struct td_sample *sample) {
  rows->greedy_id[rows->greedy_count] = sample->top_id;
  rows->greedy_logprob[rows->greedy_count] = sample->top_logprob;
  rows->greedy_gap[rows->greedy_count++] = sample->top_gap;
}

/* The first token is the last row's favourite; each further one needs a step. */
static td_status generate(struct pass *pass) {
  struct td_eval_rows *rows = pass->rows;
  int64_t last = rows->count - 1;
  struct td_sample sample = {
      .top_id = rows->top_id[last], .top_logprob = rows->top_logprob[last], .top_gap = rows->top_gap[last]};
  if (pass->plan->generate > 0) keep_greedy(rows, &sample);
  while (rows->greedy_count < pass->plan->generate && !is_end(pass, sample.top_id)) {
    int64_t past = last + rows->greedy_count;
    const struct td_step_seq seq = {
        .request = REQUEST, .past = past, .tokens = 1, .ids = &rows->greedy_id[rows->greedy_count - 1], .logits = true};
    const float *logits = NULL;
    TD_TRY(td_runner_step(pass->decode.runner, &seq, 1, false, NULL, NULL, NULL, NULL, &logits, NULL));
    TD_TRY(td_sample_row(logits, pass->graph->shape.vocab, &greedy, REQUEST, 0, &sample));
    keep_greedy(rows, &sample);
    td_progress_update(&pass->progress, (uint64_t)past, (uint64_t)(rows->count + pass->plan->generate));
  }
  return TD_OK;
}

/* ---- all ---- */

static td_status run(struct pass *pass) {
  const struct td_eval_plan *plan = pass->plan;
  TD_TRY(td_graph_build(pass->model, &pass->graph));
  TD_TRY(open_workers(pass));
  if (plan->prefill_device) {
    TD_TRY(steps(pass, &pass->prefill, 0, plan->split, plan->micro_batch));
    TD_TRY(hand_over(pass));
    TD_TRY(steps(pass, &pass->decode, plan->split, pass->rows->count, 1));
  } else {
    TD_TRY(steps(pass, &pass->decode, 0, pass->rows->count, plan->micro_batch));
  }
  return generate(pass);
}

td_status td_eval_pass(const struct td_model *model, const struct td_eval_plan *plan, struct td_eval_rows *rows,
                       td_eval_sink sink, void *context) {
  struct pass pass = {.model = model, .plan = plan, .rows = rows, .sink = sink, .context = context};
  td_progress_begin(&pass.progress, "eval");
  td_status status = run(&pass);
  td_progress_end(&pass.progress);
  close_worker(&pass.prefill);
  close_worker(&pass.decode);
  td_device_params_close(pass.params);
  td_graph_free(pass.graph);
  return status;
}
