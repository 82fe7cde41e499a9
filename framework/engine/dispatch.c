/* SPDX-License-Identifier: Apache-2.0
 *
 * Routing and continuous batching: requests to workers, and for an idle worker the next step: one token for every
 * decoding sequence first, then prefill chunks in order of admission while the token budget lasts, or the other way
 * round (engine.first).
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cluster_check.h"
#include "state.h"

int64_t engine_decode_blocks(const struct engine *engine, const struct request *request) {
  /* the last output token is never fed back, so it has no position */
  return cluster_blocks(engine->cluster, request->job->prompt_tokens + request->job->max_tokens - 1);
}

static int64_t free_sequences(const struct engine *engine, const struct worker *worker) {
  return engine->cluster->experiment->engine.batch_sequences - worker->active;
}

static struct td_cluster_view cluster_view(struct engine *engine) {
  for (int32_t i = 0; i < engine->cluster->worker_count; i++) {
    const struct worker *worker = &engine->workers[i];
    engine->views[i] = (struct td_worker_view){.pool = worker->info->pool->name,
                                               .role = worker->info->pool->role,
                                               .executes = worker->executes,
                                               .free_sequences = free_sequences(engine, worker),
                                               .blocks = worker->info->kv_blocks,
                                               .free_blocks = worker->free_blocks,
                                               .waiting_tokens = worker->waiting_tokens,
                                               .active = worker->active};
  }
  return (struct td_cluster_view){.workers = engine->views,
                                  .worker_count = engine->cluster->worker_count,
                                  .now_ps = engine->now_ps,
                                  .whole = engine->whole,
                                  .engine = &engine->cluster->experiment->engine,
                                  .options = &engine->cluster->policy_options,
                                  .state = engine->policy_state,
                                  .waiting = (int64_t)engine->waiting_count};
}

static td_status take_blocks(struct engine *engine, int32_t number, int64_t blocks) {
  struct worker *worker = &engine->workers[number];
  if (worker->free_blocks < blocks || free_sequences(engine, worker) < 1) {
    return td_fail(TD_INTERNAL,
                   "policy %s: chose worker %s with %" PRId64 " free KV blocks and %" PRId64
                   " free sequences, expected at least %" PRId64 " and 1",
                   engine->policy->name, worker->info->name, worker->free_blocks, free_sequences(engine, worker),
                   blocks);
  }
  worker->free_blocks -= blocks;
  worker->active++;
  return TD_OK;
}

static td_status append(int64_t **list, size_t *count, size_t *capacity, int64_t item) {
  TD_TRY(td_grow((void **)list, capacity, *count + 1, sizeof **list));
  (*list)[(*count)++] = item;
  return TD_OK;
}

static td_status admit(struct engine *engine, int64_t number, const struct td_step_plan *plan) {
  struct request *request = &engine->requests[number];
  TD_TRY(td_plan_resolve(plan, engine->whole, &request->prefill_worker, &request->decode_worker));
  int32_t workers = engine->cluster->worker_count;
  if (request->prefill_worker < 0 || request->prefill_worker >= workers || request->decode_worker < 0 ||
      request->decode_worker >= workers) {
    return td_fail(TD_INTERNAL, "policy %s: found workers %d and %d, expected numbers below %d", engine->policy->name,
                   request->prefill_worker, request->decode_worker, workers);
  }
  if (request->job->max_tokens == 1) request->decode_worker = request->prefill_worker; /* nothing to decode */
  request->handoff = request->prefill_worker != request->decode_worker;
  if (request->handoff) {
    TD_TRY(cluster_check_handoff(engine->cluster, request->prefill_worker, request->decode_worker));
  }
  TD_TRY(take_blocks(engine, request->decode_worker, engine_decode_blocks(engine, request)));
  if (request->handoff) {
    TD_TRY(take_blocks(engine, request->prefill_worker, cluster_blocks(engine->cluster, request->job->prompt_tokens)));
    TD_TRY(engine_expect(engine, number));
  }
  struct worker *prefill = &engine->workers[request->prefill_worker];
  prefill->waiting_tokens += request->job->prompt_tokens;
  request->state = REQUEST_PREFILL;
  request->admitted_ps = engine->now_ps;
  return append(&prefill->prefill, &prefill->prefill_count, &prefill->prefill_capacity, number);
}

static td_status route_waiting(struct engine *engine) {
  size_t routed = 0;
  td_status status = TD_OK;
  for (; routed < engine->waiting_count && !status; routed++) {
    struct request *request = &engine->requests[engine->waiting[routed]];
    struct td_cluster_view view = cluster_view(engine);
    struct td_request_view asked = {.request = (uint64_t)engine->waiting[routed],
                                    .prompt_tokens = request->job->prompt_tokens,
                                    .max_tokens = request->job->max_tokens,
                                    .arrival_ps = request->job->arrival_ps,
                                    .prefill_worker = -1,
                                    .prefill_blocks = cluster_blocks(engine->cluster, request->job->prompt_tokens),
                                    .decode_blocks = engine_decode_blocks(engine, request)};
    struct td_step_plan plan = {0};
    enum td_verdict verdict = engine->policy->route(&view, &asked, &plan);
    if (verdict == TD_WAIT) break;
    if (verdict == TD_REFUSE) {
      return td_fail(TD_UNSUPPORTED, "policy %s: refuses request %s, expected it not to where workers execute",
                     engine->policy->name, request->job->name);
    }
    status = admit(engine, engine->waiting[routed], &plan);
  }
  engine->waiting_count -= routed;
  if (routed) memmove(engine->waiting, engine->waiting + routed, engine->waiting_count * sizeof *engine->waiting);
  engine->route_again = false;
  return status;
}

static td_status add_share(struct worker *worker, struct share share) {
  TD_TRY(td_grow((void **)&worker->shares, &worker->share_capacity, worker->share_count + 1, sizeof share));
  worker->shares[worker->share_count++] = share;
  return TD_OK;
}

/* KV leaves in whole blocks, and at the prompt's end with what is left; as a blob only then. */
static int64_t push_end(const struct engine *engine, int64_t computed, bool last, int64_t pushed) {
  const struct td_cfg_engine *config = &engine->cluster->experiment->engine;
  if (last) return computed;
  if (config->handoff == TD_HANDOFF_BLOB) return pushed;
  return computed - computed % config->block_tokens;
}

static td_status add_chunk(struct engine *engine, struct worker *worker, int64_t number, int64_t tokens) {
  const struct request *request = &engine->requests[number];
  bool last = request->computed + tokens == request->job->prompt_tokens;
  struct share share = {.request = number,
                        .past = request->computed,
                        .tokens = tokens,
                        .push_begin = request->pushed,
                        .push_end = request->pushed,
                        .flags = last ? STEP_LOGITS : 0};
  if (request->handoff) {
    share.flags |= STEP_HANDOFF;
    share.push_end = push_end(engine, share.past + tokens, last, request->pushed);
  }
  return add_share(worker, share);
}

/* Tokens of a prompt's next chunk; 0: there is no room for it in this step. */
static int64_t chunk_of(const struct engine *engine, int64_t number, int64_t left, bool alone) {
  const struct td_cfg_engine *limits = &engine->cluster->experiment->engine;
  const struct request *request = &engine->requests[number];
  int64_t tokens = request->job->prompt_tokens - request->computed;
  if (limits->chunk_tokens && tokens > limits->chunk_tokens) tokens = limits->chunk_tokens;
  if (limits->chunk_tokens && tokens > left) tokens = left;
  return tokens > left && !alone ? 0 : tokens;
}

/* Adds prompts in order of admission to a step of `sequences` already. `left`: tokens, then those that are. */
static td_status add_chunks(struct engine *engine, struct worker *worker, int64_t sequences, int64_t *left) {
  for (size_t i = 0; i < worker->prefill_count; i++, sequences++) {
    if (sequences >= engine->cluster->experiment->engine.batch_sequences) return TD_OK;
    int64_t tokens = chunk_of(engine, worker->prefill[i], *left, !sequences);
    if (!tokens) return TD_OK;
    TD_TRY(add_chunk(engine, worker, worker->prefill[i], tokens));
    *left = tokens > *left ? 0 : *left - tokens;
  }
  return TD_OK;
}

static td_status add_decode(struct engine *engine, struct worker *worker, int64_t number) {
  return add_share(
      worker,
      (struct share){.request = number, .past = engine->requests[number].computed, .tokens = 1, .flags = STEP_LOGITS});
}

static td_status fill_outputs_first(struct engine *engine, struct worker *worker) {
  const struct td_cfg_engine *limits = &engine->cluster->experiment->engine;
  int64_t left = limits->batch_tokens;
  for (size_t i = 0; i < worker->decode_count && left && (int64_t)i < limits->batch_sequences; i++, left--) {
    TD_TRY(add_decode(engine, worker, worker->decode[i]));
  }
  return add_chunks(engine, worker, (int64_t)worker->share_count, &left);
}

/* ---- prompts first: see fleet_pause.c, which does the same where nothing executes ---- */

/* The decoding requests that a step takes in, one kind after the other. */
enum kind { KIND_DUE, KIND_PAUSED, KIND_OTHER, KINDS };

static enum kind kind_of(const struct engine *engine, const struct request *request) {
  if (!request->paused) return KIND_OTHER;
  return request->pauses >= engine->cluster->experiment->engine.pauses ? KIND_DUE : KIND_PAUSED;
}

/* Lets up to `left` of a kind take part; those that do are no longer paused. Returns how many. */
static int64_t choose(struct engine *engine, struct worker *worker, enum kind kind, int64_t left) {
  int64_t count = 0;
  for (size_t i = 0; i < worker->decode_count && count < left; i++) {
    struct request *request = &engine->requests[worker->decode[i]];
    if (request->chosen || kind_of(engine, request) != kind) continue;
    request->chosen = true;
    count++;
  }
  return count;
}

/* Decoding requests stand before the prompts in a step, whatever it was filled with first. */
static td_status add_chosen(struct engine *engine, struct worker *worker) {
  size_t chunks = worker->share_count;
  for (size_t i = 0; i < worker->decode_count; i++) {
    struct request *request = &engine->requests[worker->decode[i]];
    if (request->chosen) TD_TRY(add_decode(engine, worker, worker->decode[i]));
    request->paused = !request->chosen;
    request->pauses += request->paused;
    request->chosen = false;
  }
  if (!chunks) return TD_OK;
  for (size_t i = 0; i < chunks; i++) TD_TRY(add_share(worker, worker->shares[i]));
  worker->share_count -= chunks;
  memmove(worker->shares, worker->shares + chunks, worker->share_count * sizeof *worker->shares);
  return TD_OK;
}

static td_status fill_prompts_first(struct engine *engine, struct worker *worker) {
  int64_t left = engine->cluster->experiment->engine.batch_tokens, due = choose(engine, worker, KIND_DUE, left);
  left -= due;
  TD_TRY(add_chunks(engine, worker, due, &left));
  left -= choose(engine, worker, KIND_PAUSED, left);
  choose(engine, worker, KIND_OTHER, left);
  return add_chosen(engine, worker);
}

static td_status fill_step(struct engine *engine, struct worker *worker) {
  bool prompts = engine->cluster->experiment->engine.first == TD_FIRST_PROMPTS;
  worker->share_count = 0;
  return prompts ? fill_prompts_first(engine, worker) : fill_outputs_first(engine, worker);
}

static void add_ids(struct td_text *text, const struct request *request, const struct share *share) {
  if (request->state == REQUEST_DECODE) {
    td_text_add(text, &request->last_id, sizeof request->last_id);
  } else {
    td_text_add(text, request->job->ids + share->past, (size_t)share->tokens * sizeof *request->job->ids);
  }
}

static bool hands_over(const struct worker *worker) {
  for (size_t i = 0; i < worker->share_count; i++) {
    if (worker->shares[i].push_begin != worker->shares[i].push_end) return true;
  }
  return false;
}

static td_status post_step(struct engine *engine, int32_t number) {
  struct worker *worker = &engine->workers[number];
  struct td_text text = {0};
  struct step_head head = {.step = worker->step,
                           .seqs = (uint32_t)worker->share_count,
                           .has_ids = worker->executes,
                           .wants_layers = hands_over(worker)};
  td_text_add(&text, &head, sizeof head);
  for (size_t i = 0; i < worker->share_count; i++) {
    const struct share *share = &worker->shares[i];
    const struct request *request = &engine->requests[share->request];
    struct step_seq seq = {.request = (uint64_t)share->request,
                           .generation = HANDOFF_GENERATION,
                           .past = share->past,
                           .tokens = share->tokens,
                           .push_begin = share->push_begin,
                           .push_end = share->push_end,
                           .output_index = (uint64_t)request->output,
                           .destination = request->decode_worker,
                           .flags = share->flags};
    /* a modelled decode worker has nowhere to put real bytes */
    if (!engine->workers[request->decode_worker].executes) seq.flags &= ~(uint32_t)STEP_HANDOFF;
    td_text_add(&text, &seq, sizeof seq);
  }
  for (size_t i = 0; i < worker->share_count && worker->executes; i++) {
    add_ids(&text, &engine->requests[worker->shares[i].request], &worker->shares[i]);
  }
  struct td_message message;
  TD_TRY(message_make(MESSAGE_STEP, number, &text, &message));
  return node_post(engine->node, number, &message);
}

static td_status submit(struct engine *engine, int32_t number) {
  struct worker *worker = &engine->workers[number];
  worker->busy = true;
  worker->step = engine->next_step++;
  worker->start_ps = engine->now_ps;
  engine->in_flight++;
  for (size_t i = 0; i < worker->share_count; i++) {
    struct request *request = &engine->requests[worker->shares[i].request];
    if (request->state != REQUEST_PREFILL) continue;
    request->pushed = worker->shares[i].push_end;
  }
  TD_TRY(post_step(engine, number));
  /* pace measured: a step that executes runs alone */
  while (engine->pace == TD_PACE_MEASURED && engine->in_flight) {
    bool got;
    TD_TRY(engine_pump(engine, -1, &got));
  }
  return TD_OK;
}

td_status engine_dispatch(struct engine *engine) {
  if (engine->route_again) TD_TRY(route_waiting(engine));
  for (int32_t i = 0; i < engine->cluster->worker_count; i++) {
    struct worker *worker = &engine->workers[i];
    if (worker->busy) continue;
    TD_TRY(fill_step(engine, worker));
    if (worker->share_count) TD_TRY(submit(engine, i));
  }
  return TD_OK;
}
