/* SPDX-License-Identifier: Apache-2.0
 *
 * KV hand-offs as the engine sees them: announced, booked on a link or reported by the receiver, finished.
 */
#include <inttypes.h>
#include <string.h>

#include "state.h"
#include "tandem/cost.h"

/* Do real bytes move? */
static bool moves_bytes(const struct engine *engine, const struct request *request) {
  return engine->workers[request->prefill_worker].executes && engine->workers[request->decode_worker].executes;
}

static bool is_priced(const struct engine *engine, const struct request *request) {
  return cluster_prices_transfer(engine->cluster, request->prefill_worker, request->decode_worker);
}

td_status engine_expect(struct engine *engine, int64_t number) {
  const struct request *request = &engine->requests[number];
  if (!moves_bytes(engine, request)) return TD_OK;
  struct td_text text = {0};
  struct td_message message;
  struct expect_head head = {.request = (uint64_t)number,
                             .generation = HANDOFF_GENERATION,
                             .tokens = request->job->prompt_tokens,
                             .layout = engine->workers[request->prefill_worker].layout};
  td_text_add(&text, &head, sizeof head);
  td_text_add(&text, request->job->ids, (size_t)head.tokens * sizeof *request->job->ids);
  TD_TRY(message_make(MESSAGE_EXPECT, request->decode_worker, &text, &message));
  return node_post(engine->node, request->decode_worker, &message);
}

static td_status record_push(struct engine *engine, int64_t number, struct td_row_transfer row) {
  struct request *request = &engine->requests[number];
  int64_t end_ps;
  row.request = (uint64_t)number;
  row.from = (uint32_t)request->prefill_worker;
  row.to = (uint32_t)request->decode_worker;
  request->kv_bytes += row.bytes;
  TD_TRY(engine_add_ps(row.start, row.duration, &end_ps));
  if (end_ps > request->transferred_ps) request->transferred_ps = end_ps;
  return td_trace_append(engine->trace, TD_TABLE_TRANSFERS, &row, 1);
}

static td_status find_link(struct engine *engine, const struct request *request, struct link_use **out_link) {
  struct link_use wanted = {.pair = {request->prefill_worker, request->decode_worker}}, *link;
  HASH_FIND(hh, engine->links, &wanted.pair, sizeof wanted.pair, link);
  if (!link) {
    TD_TRY(td_alloc(1, sizeof *link, (void **)&link));
    link->pair = wanted.pair;
    HASH_ADD(hh, engine->links, pair, sizeof link->pair, link);
  }
  *out_link = link;
  return TD_OK;
}

/* One push over the link: it starts when its layers are computed and the link is free. */
static td_status book_push(struct engine *engine, int64_t number, struct td_row_transfer row, int64_t ready_ps) {
  const struct request *request = &engine->requests[number];
  const struct cluster *cluster = engine->cluster;
  struct link_use *link;
  TD_TRY(find_link(engine, request, &link));
  row.bytes = td_kv_bytes(&cluster->graph->shape, cluster->kv_dtype, row.layer_end - row.layer_begin,
                          (int64_t)(row.token_end - row.token_begin));
  row.start = ready_ps > link->free_ps ? ready_ps : link->free_ps;
  row.time_kind = TD_TIME_MODELLED;
  TD_TRY(td_price_transfer(cluster_link(cluster, request->prefill_worker, request->decode_worker), row.bytes,
                           &row.duration));
  if (!moves_bytes(engine, request)) engine->workers[request->decode_worker].received += row.bytes;
  TD_TRY(engine_add_ps(row.start, row.duration, &link->free_ps));
  return record_push(engine, number, row);
}

td_status engine_book_pushes(struct engine *engine, const struct worker *worker, const struct share *share,
                             const int64_t *layer_done_ps) {
  const struct request *request = &engine->requests[share->request];
  const struct td_cfg_engine *config = &engine->cluster->experiment->engine;
  int32_t layers = engine->cluster->graph->shape.layers;
  engine->workers[request->prefill_worker].sent += td_kv_bytes(
      &engine->cluster->graph->shape, engine->cluster->kv_dtype, layers, share->push_end - share->push_begin);
  if (!is_priced(engine, request)) return TD_OK;
  struct td_row_transfer row = {.token_begin = (uint64_t)share->push_begin, .token_end = (uint64_t)share->push_end};
  if (config->handoff == TD_HANDOFF_BLOB) {
    row.layer_end = (uint32_t)layers;
    return book_push(engine, share->request, row, worker->start_ps + worker->duration_ps);
  }
  for (int32_t layer = 0; layer < layers; layer = (int32_t)row.layer_end) {
    int32_t end = layers - layer > config->handoff_layers ? layer + (int32_t)config->handoff_layers : layers;
    row.layer_begin = (uint32_t)layer;
    row.layer_end = (uint32_t)end;
    TD_TRY(book_push(engine, share->request, row, worker->start_ps + layer_done_ps[end - 1]));
  }
  return TD_OK;
}

static td_status take_committed_chunk(struct engine *engine, int64_t number, const struct committed_chunk *chunk) {
  struct request *request = &engine->requests[number];
  request->committed_bytes += chunk->bytes;
  engine->workers[request->decode_worker].received += chunk->bytes;
  if (is_priced(engine, request)) return TD_OK; /* its row is booked with the step */
  const struct cluster_worker *sender = &engine->cluster->workers[request->prefill_worker];
  const struct cluster_worker *receiver = &engine->cluster->workers[request->decode_worker];
  struct td_row_transfer row = {.layer_begin = chunk->layer_begin,
                                .layer_end = chunk->layer_end,
                                .token_begin = chunk->token_begin,
                                .token_end = chunk->token_end,
                                .bytes = chunk->bytes,
                                .start = engine_run_time(engine, sender->rank, chunk->ready_ps),
                                .time_kind = TD_TIME_EXECUTED};
  /* the clocks of ranks drift: a push ends when word of it comes at the latest, and begins after its request was
   * admitted */
  int64_t end = engine_run_time(engine, receiver->rank, chunk->imported_ps);
  if (end > engine->now_ps) end = engine->now_ps;
  if (row.start < request->admitted_ps) row.start = request->admitted_ps;
  if (end < row.start) end = row.start;
  row.duration = end - row.start;
  return record_push(engine, number, row);
}

td_status engine_committed(struct engine *engine, const struct td_message *message) {
  struct reader reader = reader_of(message);
  const struct committed_head *head = reader_take(&reader, sizeof *head);
  if (!head || head->request >= (uint64_t)engine->cluster->workload.count) return message_short(message);
  int64_t number = (int64_t)head->request;
  const struct committed_chunk *chunks = reader_take(&reader, head->chunks * sizeof *chunks);
  if (!chunks) return message_short(message);
  for (uint32_t i = 0; i < head->chunks; i++) TD_TRY(take_committed_chunk(engine, number, &chunks[i]));
  struct request *request = &engine->requests[number];
  request->committed = true;
  if (is_priced(engine, request) || request->state != REQUEST_HANDOFF) return TD_OK;
  return events_push(&engine->events, (struct event){engine->now_ps, EVENT_TRANSFERRED, number});
}

td_status engine_handoff_begin(struct engine *engine, int64_t number) {
  struct request *request = &engine->requests[number];
  request->state = REQUEST_HANDOFF;
  if (!is_priced(engine, request) && !request->committed) return TD_OK; /* the receiver's word will come */
  int64_t at = request->transferred_ps > engine->now_ps ? request->transferred_ps : engine->now_ps;
  return events_push(&engine->events, (struct event){at, EVENT_TRANSFERRED, number});
}

/* Priced transfers end by the clock of the run; the bytes behind them must be there too before anybody reads them. */
static td_status join_bytes(struct engine *engine, struct request *request) {
  if (!moves_bytes(engine, request)) return TD_OK;
  while (!request->committed) {
    bool got;
    TD_TRY(engine_pump(engine, -1, &got));
  }
  uint64_t expected = td_kv_bytes(&engine->cluster->graph->shape, engine->cluster->kv_dtype,
                                  engine->cluster->graph->shape.layers, request->job->prompt_tokens);
  if (request->committed_bytes == expected && request->kv_bytes == expected) return TD_OK;
  return td_fail(TD_INTERNAL, "request %s: handed over %" PRIu64 " KV bytes in %" PRIu64 " booked, expected %" PRIu64,
                 request->job->name, request->committed_bytes, request->kv_bytes, expected);
}

static td_status release(struct engine *engine, int32_t number, int64_t request, int64_t blocks) {
  struct worker *worker = &engine->workers[number];
  struct td_text text = {0};
  struct td_message message;
  uint64_t name = (uint64_t)request;
  worker->free_blocks += blocks;
  worker->active--;
  engine->route_again = true;
  if (!worker->executes) return TD_OK;
  td_text_add(&text, &name, sizeof name);
  TD_TRY(message_make(MESSAGE_RELEASE, number, &text, &message));
  return node_post(engine->node, number, &message);
}

td_status engine_release_decode(struct engine *engine, int64_t number) {
  const struct request *request = &engine->requests[number];
  return release(engine, request->decode_worker, number, engine_decode_blocks(engine, request));
}

td_status engine_transferred(struct engine *engine, int64_t number) {
  struct request *request = &engine->requests[number];
  TD_TRY(join_bytes(engine, request));
  TD_TRY(
      release(engine, request->prefill_worker, number, cluster_blocks(engine->cluster, request->job->prompt_tokens)));
  return engine_handed_over(engine, number);
}
