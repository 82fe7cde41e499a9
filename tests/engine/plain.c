/* SPDX-License-Identifier: Apache-2.0 */
#include "plain.h"

#include "../support.h"
#include "tandem/cost.h"
#include "tandem/devices.h"
#include "tandem/model.h"

enum { MOST_WORKERS = 8 };

struct simulation {
  struct plain_run *run;
  struct td_graph *graph;
  struct td_device_params *device;
  int64_t now_ps, admitted, joined;
  int64_t start_ps[MOST_WORKERS], end_ps[MOST_WORKERS]; /* -1: idle */
  int32_t order[4096]; /* requests as they were admitted: their prompts are taken in this order */
};

static bool decodes(const struct plain_request *request) {
  return request->worker >= 0 && request->emitted > 0 && request->emitted < request->output;
}

static bool is_prompt(const struct plain_request *request) {
  return request->worker >= 0 && !request->emitted;
}

/* ---- routes ---- */

static int64_t blocks_of(const struct simulation *s, const struct plain_request *request) {
  return (request->prompt + request->output - 1 + s->run->block_tokens - 1) / s->run->block_tokens;
}

struct load {
  int64_t tokens, active, blocks;
};

static struct load load_of(const struct simulation *s, int32_t worker) {
  struct load load = {0};
  for (int32_t i = 0; i < s->run->count; i++) {
    const struct plain_request *request = &s->run->requests[i];
    if (request->worker != worker || request->finished_ps >= 0) continue;
    load.tokens += request->prompt - request->computed;
    load.active++;
    load.blocks += blocks_of(s, request);
  }
  return load;
}

static int32_t least_work(const struct simulation *s, const struct plain_request *request) {
  struct load best = {0};
  int32_t found = -1;
  for (int32_t w = 0; w < s->run->workers; w++) {
    struct load load = load_of(s, w);
    if (load.blocks + blocks_of(s, request) > s->run->blocks || load.active == s->run->batch_sequences) continue;
    bool less = load.tokens != best.tokens ? load.tokens < best.tokens : load.active < best.active;
    if (found >= 0 && !less) continue;
    found = w;
    best = load;
  }
  return found;
}

static struct plain_request *first_waiting(const struct simulation *s) {
  struct plain_request *first = NULL;
  for (int32_t i = 0; i < s->run->count; i++) {
    struct plain_request *request = &s->run->requests[i];
    if (request->waits && (!first || request->arrival_ps < first->arrival_ps)) first = request;
  }
  return first;
}

static void route(struct simulation *s) {
  for (struct plain_request *request; (request = first_waiting(s));) {
    int32_t worker = least_work(s, request);
    if (worker < 0) return;
    request->worker = worker;
    request->waits = false;
    s->order[s->admitted++] = (int32_t)(request - s->run->requests);
  }
}

/* ---- steps ---- */

/* Decoding requests of a worker that nothing has been decided about, of a kind, in the order in which they joined. */
static struct plain_request *next_decoding(const struct simulation *s, int32_t worker, bool paused, int64_t pauses) {
  struct plain_request *first = NULL;
  for (int32_t i = 0; i < s->run->count; i++) {
    struct plain_request *request = &s->run->requests[i];
    if (request->worker != worker || !decodes(request) || request->share) continue;
    if (paused && !(request->paused && request->pauses >= pauses)) continue;
    if (!first || request->joined < first->joined) first = request;
  }
  return first;
}

static void take_decoding(const struct simulation *s, int32_t worker, bool paused, int64_t pauses, int64_t *left,
                          int64_t *sequences) {
  struct plain_request *request;
  while (*left > 0 && (request = next_decoding(s, worker, paused, pauses))) {
    request->share = 1;
    --*left;
    ++*sequences;
  }
}

static void take_prompts(const struct simulation *s, int32_t worker, int64_t *left, int64_t *sequences) {
  const struct plain_run *run = s->run;
  for (int64_t i = 0; i < s->admitted && *sequences < run->batch_sequences; i++) {
    struct plain_request *request = &run->requests[s->order[i]];
    if (request->worker != worker || !is_prompt(request)) continue;
    int64_t tokens = request->prompt - request->computed;
    if (run->chunk_tokens && tokens > run->chunk_tokens) tokens = run->chunk_tokens;
    if (run->chunk_tokens && tokens > *left) tokens = *left;
    if (!tokens || (tokens > *left && *sequences)) return;
    request->share = tokens;
    *left = tokens > *left ? 0 : *left - tokens;
    ++*sequences;
  }
}

static void note_pauses(const struct simulation *s, int32_t worker) {
  for (int32_t i = 0; i < s->run->count; i++) {
    struct plain_request *request = &s->run->requests[i];
    if (request->worker != worker || !decodes(request)) continue;
    request->paused = !request->share;
    request->pauses += request->paused;
  }
}

/* Tokens of the step, 0: nothing to do. */
static int64_t fill(const struct simulation *s, int32_t worker) {
  int64_t left = s->run->batch_tokens, sequences = 0;
  if (s->run->prompts_first) {
    take_decoding(s, worker, true, s->run->pauses, &left, &sequences);
    take_prompts(s, worker, &left, &sequences);
    take_decoding(s, worker, true, 0, &left, &sequences);
    take_decoding(s, worker, false, 0, &left, &sequences);
    note_pauses(s, worker);
  } else {
    take_decoding(s, worker, false, 0, &left, &sequences);
    take_prompts(s, worker, &left, &sequences);
  }
  return sequences;
}

static int64_t price(const struct simulation *s, int32_t worker) {
  struct td_step_stats stats = {{[TD_SYM_TILE] = s->run->block_tokens}};
  struct td_slice whole = td_slice_whole(s->graph);
  struct td_price out;
  for (int32_t i = 0; i < s->run->count; i++) {
    const struct plain_request *request = &s->run->requests[i];
    if (request->worker != worker || !request->share) continue;
    int64_t past = request->emitted ? request->prompt + request->emitted - 1 : request->computed;
    bool logits = request->emitted || past + request->share == request->prompt;
    td_step_stats_add(&stats, &s->graph->shape, past, request->share, logits);
  }
  assert_int_equal(td_price_roofline(s->device, s->graph, &whole, TD_F16, &stats, &out), TD_OK);
  return out.base_ps;
}

static void end_share(struct simulation *s, struct plain_request *request, int64_t start_ps) {
  bool prompt = !request->emitted;
  if (request->first_step_ps < 0) request->first_step_ps = start_ps;
  if (prompt) request->computed += request->share;
  if (!prompt || request->computed == request->prompt) request->emitted++;
  if (prompt && request->emitted) {
    request->first_token_ps = s->now_ps;
    request->joined = s->joined++;
  }
  if (request->emitted == request->output) request->finished_ps = s->now_ps;
  request->share = 0;
}

/* Those that decode first, then prompts as they were admitted: who joins later, stands further back. */
static void end_step(struct simulation *s, int32_t worker) {
  for (int64_t i = 0; i < s->admitted; i++) {
    struct plain_request *request = &s->run->requests[s->order[i]];
    if (request->worker == worker && request->share) end_share(s, request, s->start_ps[worker]);
  }
  s->end_ps[worker] = -1;
}

static void begin_steps(struct simulation *s) {
  for (int32_t w = 0; w < s->run->workers; w++) {
    if (s->end_ps[w] >= 0 || !fill(s, w)) continue;
    s->start_ps[w] = s->now_ps;
    s->end_ps[w] = s->now_ps + price(s, w);
  }
}

/* ---- the run ---- */

static int64_t next_time(const struct simulation *s) {
  int64_t next = INT64_MAX;
  for (int32_t w = 0; w < s->run->workers; w++) {
    if (s->end_ps[w] >= 0 && s->end_ps[w] < next) next = s->end_ps[w];
  }
  for (int32_t i = 0; i < s->run->count; i++) {
    const struct plain_request *request = &s->run->requests[i];
    bool comes = request->worker < 0 && !request->waits;
    if (comes && request->arrival_ps < next) next = request->arrival_ps;
  }
  return next;
}

static void simulate(struct simulation *s) {
  while ((s->now_ps = next_time(s)) != INT64_MAX) {
    for (int32_t w = 0; w < s->run->workers; w++) {
      if (s->end_ps[w] == s->now_ps) end_step(s, w);
    }
    for (int32_t i = 0; i < s->run->count; i++) {
      struct plain_request *request = &s->run->requests[i];
      if (request->worker < 0 && request->arrival_ps == s->now_ps) request->waits = true;
    }
    route(s);
    begin_steps(s);
  }
}

void plain_simulate(struct plain_run *run) {
  struct simulation s = {.run = run};
  struct td_model *model;
  assert_in_range(run->workers, 1, MOST_WORKERS);
  assert_in_range(run->count, 1, (int)(sizeof s.order / sizeof *s.order));
  assert_int_equal(td_model_open(run->model, &model), TD_OK);
  assert_int_equal(td_graph_build(model, &s.graph), TD_OK);
  assert_int_equal(td_device_params_open(run->device, &s.device), TD_OK);
  for (int32_t w = 0; w < run->workers; w++) s.end_ps[w] = -1;
  for (int32_t i = 0; i < run->count; i++) {
    struct plain_request *request = &run->requests[i];
    request->worker = -1;
    request->first_step_ps = request->first_token_ps = request->finished_ps = -1;
  }
  simulate(&s);
  td_device_params_close(s.device);
  td_graph_free(s.graph);
  td_model_close(model);
}
