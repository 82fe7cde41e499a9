/* SPDX-License-Identifier: Apache-2.0
 *
 * KV hand-off on the workers' side: layers pushed out while a step runs, chunks taken in and committed.
 */
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "node.h"
#include "tandem/base.h"

static struct outgoing_kv *find_outgoing(struct host *host, uint64_t request) {
  for (size_t i = 0; i < host->outgoing_count; i++) {
    if (host->outgoing[i].request == request) return &host->outgoing[i];
  }
  return NULL;
}

static struct incoming_kv *find_incoming(struct host *host, uint64_t request) {
  for (size_t i = 0; i < host->incoming_count; i++) {
    if (host->incoming[i].request == request) return &host->incoming[i];
  }
  return NULL;
}

td_status host_prefix(struct host *host, const struct step_seq *seq, const int32_t *ids, uint64_t *out_prefix) {
  struct outgoing_kv *outgoing = find_outgoing(host, seq->request);
  if (!outgoing) {
    TD_TRY(td_grow((void **)&host->outgoing, &host->outgoing_capacity, host->outgoing_count + 1, sizeof *outgoing));
    outgoing = &host->outgoing[host->outgoing_count++];
    *outgoing = (struct outgoing_kv){.request = seq->request, .hash = TD_HASH_INIT};
  }
  size_t tokens = (size_t)seq->tokens, pushed = (size_t)(seq->push_end - seq->push_begin);
  TD_TRY(td_grow((void **)&outgoing->ids, &outgoing->id_capacity, outgoing->id_count + tokens, sizeof *ids));
  memcpy(outgoing->ids + outgoing->id_count, ids, tokens * sizeof *ids);
  outgoing->id_count += tokens;
  outgoing->hash = td_hash(outgoing->hash, outgoing->ids, pushed * sizeof *ids);
  outgoing->id_count -= pushed;
  memmove(outgoing->ids, outgoing->ids + pushed, outgoing->id_count * sizeof *ids);
  *out_prefix = outgoing->hash;
  return TD_OK;
}

td_status host_push(struct host *host, const struct step_seq *seq, uint64_t prefix, int32_t layer_begin,
                    int32_t layer_end, int64_t ready_ps) {
  struct chunk_head head = {.from_worker = host->worker, .ready_ps = ready_ps};
  uint64_t bytes = td_kv_bytes(&host->cluster->graph->shape, host->cluster->kv_dtype, layer_end - layer_begin,
                               seq->push_end - seq->push_begin);
  char *data;
  TD_TRY(td_alloc(1, sizeof head + bytes, (void **)&data));
  td_status status = td_kv_export(td_runner_kv(host->runner), seq->request, layer_begin, layer_end, seq->push_begin,
                                  seq->push_end, data + sizeof head, bytes, &head.chunk);
  if (status) {
    free(data);
    return status;
  }
  head.chunk.generation = seq->generation;
  head.chunk.prefix_hash = prefix;
  memcpy(data, &head, sizeof head);
  struct td_message message = {.type = MESSAGE_CHUNK, .bytes = sizeof head + bytes, .data = data};
  return node_post(host->node, seq->destination, &message);
}

td_status host_hand_over(struct host *host, const struct td_message *message) {
  struct reader reader = reader_of(message);
  const struct hand_over_head *head = reader_take(&reader, sizeof *head);
  const int32_t *ids = head ? reader_take(&reader, (uint64_t)head->tokens * sizeof *ids) : NULL;
  if (!ids) return message_short(message);
  struct step_seq seq = {.request = head->request,
                         .generation = head->generation,
                         .push_end = head->tokens,
                         .destination = head->destination};
  uint64_t prefix = td_hash(TD_HASH_INIT, ids, (size_t)head->tokens * sizeof *ids);
  return host_push(host, &seq, prefix, 0, host->cluster->graph->shape.layers, td_now_ps());
}

static td_status send_committed(struct host *host, const struct incoming_kv *incoming) {
  struct td_text text = {0};
  struct td_message message;
  struct committed_head head = {
      .request = incoming->request, .slot = incoming->slot, .chunks = (uint32_t)incoming->count};
  td_text_add(&text, &head, sizeof head);
  td_text_add(&text, incoming->chunks, incoming->count * sizeof *incoming->chunks);
  TD_TRY(message_make(MESSAGE_COMMITTED, host->worker, &text, &message));
  return node_reply(host->node, &message);
}

static void forget_incoming(struct host *host, uint64_t request) {
  struct incoming_kv *incoming = find_incoming(host, request);
  if (!incoming) return;
  free(incoming->chunks);
  *incoming = host->incoming[--host->incoming_count];
}

static td_status take_chunk(struct host *host, struct incoming_kv *incoming, const struct td_message *message) {
  struct reader reader = reader_of(message);
  struct chunk_head head;
  const void *bytes = reader_take(&reader, sizeof head);
  if (!bytes) return message_short(message);
  memcpy(&head, bytes, sizeof head);
  if (head.chunk.payload_bytes != reader.left) {
    return td_fail(TD_CORRUPT, "KV chunk: payload_bytes: found %llu in the header, expected %llu, what arrived",
                   (unsigned long long)head.chunk.payload_bytes, (unsigned long long)reader.left);
  }
  bool complete;
  struct td_kv_store *store = td_runner_kv(host->runner);
  TD_TRY(td_kv_import(store, &head.chunk, reader.at, &complete));
  TD_TRY(td_grow((void **)&incoming->chunks, &incoming->capacity, incoming->count + 1, sizeof *incoming->chunks));
  incoming->chunks[incoming->count++] = (struct committed_chunk){
      .from_worker = head.from_worker,
      .layer_begin = head.chunk.layer_begin,
      .layer_end = head.chunk.layer_end,
      .token_begin = head.chunk.token_begin,
      .token_end = head.chunk.token_end,
      .bytes = head.chunk.payload_bytes,
      .ready_ps = head.ready_ps,
      .imported_ps = td_now_ps(),
  };
  if (!complete) return TD_OK;
  TD_TRY(td_kv_import_commit(store, incoming->request));
  TD_TRY(send_committed(host, incoming));
  forget_incoming(host, incoming->request);
  return TD_OK;
}

td_status host_chunk(struct host *host, struct td_message *message) {
  const struct chunk_head *head = message->data;
  if (message->bytes < sizeof *head) return message_short(message);
  struct incoming_kv *incoming = find_incoming(host, head->chunk.request);
  if (incoming) return take_chunk(host, incoming, message);
  /* the engine's word comes on another road and may be later */
  TD_TRY(td_grow((void **)&host->early, &host->early_capacity, host->early_count + 1, sizeof *host->early));
  host->early[host->early_count++] = *message;
  message->data = NULL;
  return TD_OK;
}

/* Takes one early chunk of `request` out of the list; false if there is none. */
static bool pop_early(struct host *host, uint64_t request, struct td_message *out_message) {
  for (size_t i = 0; i < host->early_count; i++) {
    if (((const struct chunk_head *)host->early[i].data)->chunk.request != request) continue;
    *out_message = host->early[i];
    host->early[i] = host->early[--host->early_count];
    host->early[host->early_count] = (struct td_message){0};
    return true;
  }
  return false;
}

/* The last chunk commits, and with that the request is no longer incoming. */
static td_status take_early(struct host *host, uint64_t request) {
  struct td_message message;
  td_status status = TD_OK;
  while (!status && find_incoming(host, request) && pop_early(host, request, &message)) {
    status = take_chunk(host, find_incoming(host, request), &message);
    free(message.data);
  }
  return status;
}

td_status host_expect(struct host *host, const struct td_message *message) {
  struct reader reader = reader_of(message);
  struct expect_head head;
  const void *bytes = reader_take(&reader, sizeof head);
  if (!bytes) return message_short(message);
  memcpy(&head, bytes, sizeof head);
  const int32_t *ids = reader_take(&reader, (uint64_t)head.tokens * sizeof *ids);
  if (!ids) return message_short(message);
  struct td_kv_expect expect = {
      .request = head.request, .generation = head.generation, .tokens = head.tokens, .ids = ids, .layout = head.layout};
  TD_TRY(td_kv_import_begin(td_runner_kv(host->runner), &expect));
  TD_TRY(td_grow((void **)&host->incoming, &host->incoming_capacity, host->incoming_count + 1, sizeof *host->incoming));
  host->incoming[host->incoming_count++] = (struct incoming_kv){.request = head.request, .slot = head.slot};
  return take_early(host, head.request);
}

td_status host_release(struct host *host, const struct td_message *message) {
  if (message->bytes < sizeof(uint64_t)) return message_short(message);
  uint64_t request;
  memcpy(&request, message->data, sizeof request);
  struct outgoing_kv *outgoing = find_outgoing(host, request);
  if (outgoing) {
    free(outgoing->ids);
    *outgoing = host->outgoing[--host->outgoing_count];
  }
  td_kv_release(td_runner_kv(host->runner), request);
  return TD_OK;
}
