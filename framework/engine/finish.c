/* SPDX-License-Identifier: Apache-2.0
 *
 * Completions: when a step is over, what its sequences became.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "state.h"

struct completion {
  const struct done_head *head;
  const int64_t *layer_done_ps;
  const struct done_sample *samples;
};

static td_status read_completion(const struct td_message *message, struct completion *out) {
  struct reader reader = reader_of(message);
  out->head = reader_take(&reader, sizeof *out->head);
  if (!out->head) return message_short(message);
  out->layer_done_ps = reader_take(&reader, out->head->layers * sizeof *out->layer_done_ps);
  if (!out->layer_done_ps) return message_short(message);
  out->samples = reader_take(&reader, out->head->samples * sizeof *out->samples);
  return out->samples ? TD_OK : message_short(message);
}

/* Live steps happened when their rank's clock says, as far as that can be: not before they were given out, and not
 * after their completion arrived. The clocks were compared once, and drift. */
static void place_live_step(struct engine *engine, struct worker *worker, const struct done_head *head) {
  int64_t begin = engine_run_time(engine, worker->info->rank, head->start_ps);
  int64_t latest = engine->now_ps - head->duration_ps;
  if (begin > latest) begin = latest;
  if (begin > worker->start_ps) worker->start_ps = begin;
}

/* Takes the completion in and decides when the step ends in the run's time: with dispatch's rule for pace measured,
 * this is all that a pace is. */
td_status engine_completion(struct engine *engine, struct td_message *message) {
  struct worker *worker = &engine->workers[message->worker];
  struct completion completion;
  int64_t end_ps;
  TD_TRY(read_completion(message, &completion));
  const struct done_head *head = completion.head;
  if (!worker->busy || worker->done.data || head->step != worker->step) {
    return td_fail(TD_INTERNAL, "worker %s: completion of step %" PRIu64 ", expected %" PRIu64, worker->info->name,
                   head->step, worker->step);
  }
  if (engine->pace == TD_PACE_WALL && head->time_kind == TD_TIME_EXECUTED) place_live_step(engine, worker, head);
  worker->duration_ps = head->duration_ps;
  TD_TRY(engine_add_ps(worker->start_ps, worker->duration_ps, &end_ps));
  worker->done = *message;
  message->data = NULL;
  engine->in_flight--;
  return events_push(&engine->events, (struct event){end_ps, EVENT_STEP_DONE, (int64_t)worker->done.worker});
}

static void remove_from(int64_t *list, size_t *count, int64_t item) {
  size_t at = 0;
  while (at < *count && list[at] != item) at++;
  if (at == *count) return;
  memmove(list + at, list + at + 1, (*count - at - 1) * sizeof *list);
  --*count;
}

static td_status end_request(struct engine *engine, int64_t number) {
  struct request *request = &engine->requests[number];
  TD_TRY(engine_release_decode(engine, number));
  request->state = REQUEST_DONE;
  engine->done_count++;
  return record_request(engine, number);
}

static td_status join_decode(struct engine *engine, int64_t number) {
  struct request *request = &engine->requests[number];
  struct worker *worker = &engine->workers[request->decode_worker];
  request->state = REQUEST_DECODE;
  TD_TRY(td_grow((void **)&worker->decode, &worker->decode_capacity, worker->decode_count + 1, sizeof number));
  worker->decode[worker->decode_count++] = number;
  return TD_OK;
}

td_status engine_handed_over(struct engine *engine, int64_t number) {
  return engine->requests[number].ended ? end_request(engine, number) : join_decode(engine, number);
}

/* An output token has come out of `worker`; `sample` is NULL if the step was modelled. */
static td_status take_token(struct engine *engine, int64_t number, const struct worker *worker,
                            const struct td_sample *sample) {
  struct request *request = &engine->requests[number];
  const struct td_tokenizer *tokenizer = td_model_tokenizer(engine->cluster->model);
  bool stops = engine->cluster->experiment->workload.stop_at_end;
  bool end = sample && stops && tokenizer && td_tokenizer_is_end(tokenizer, sample->id);
  request->output++;
  request->ended = end || request->output == request->job->max_tokens;
  if (request->output == 1) request->first_token_ps = engine->now_ps;
  if (request->ended) {
    request->finish = end ? TD_FINISH_END : TD_FINISH_LENGTH;
    request->finished_ps = engine->now_ps;
  }
  if (!sample) return TD_OK;
  request->last_id = sample->id;
  return record_token(engine, number, worker, sample, request->ended);
}

static td_status after_prefill(struct engine *engine, struct worker *worker, int64_t number) {
  const struct request *request = &engine->requests[number];
  remove_from(worker->prefill, &worker->prefill_count, number);
  return request->handoff ? engine_handoff_begin(engine, number) : engine_handed_over(engine, number);
}

static td_status finish_share(struct engine *engine, struct worker *worker, const struct share *share,
                              const struct completion *completion, uint32_t *sample) {
  struct request *request = &engine->requests[share->request];
  bool decoding = request->state == REQUEST_DECODE, yields = (share->flags & STEP_LOGITS) != 0;
  const struct td_sample *drawn = NULL;
  if (yields && worker->executes) {
    if (*sample == completion->head->samples) return td_fail(TD_INTERNAL, "worker %s: samples", worker->info->name);
    drawn = &completion->samples[(*sample)++].sample;
  }
  if (request->first_step_ps < 0) request->first_step_ps = worker->start_ps;
  request->computed = share->past + share->tokens;
  if (share->push_begin != share->push_end) {
    if (!completion->head->layers) return td_fail(TD_INTERNAL, "worker %s: no milestones", worker->info->name);
    TD_TRY(engine_book_pushes(engine, worker, share, completion->layer_done_ps));
  }
  if (!worker->executes) TD_TRY(record_residency(engine, share->request, worker, yields));
  if (yields) TD_TRY(take_token(engine, share->request, worker, drawn));
  if (!decoding) worker->waiting_tokens -= share->tokens;
  if (!decoding) return yields ? after_prefill(engine, worker, share->request) : TD_OK;
  if (!request->ended) return TD_OK;
  remove_from(worker->decode, &worker->decode_count, share->request);
  return end_request(engine, share->request);
}

td_status engine_step_done(struct engine *engine, int32_t number) {
  struct worker *worker = &engine->workers[number];
  struct completion completion;
  uint32_t sample = 0;
  TD_TRY(read_completion(&worker->done, &completion));
  td_status status = record_step(engine, worker, completion.head);
  for (size_t i = 0; i < worker->share_count && !status; i++) {
    status = finish_share(engine, worker, &worker->shares[i], &completion, &sample);
  }
  free(worker->done.data);
  worker->done.data = NULL;
  worker->busy = false;
  worker->index++;
  return status;
}
