/* SPDX-License-Identifier: Apache-2.0 */
#include "host.h"

#include <stdlib.h>
#include <string.h>

#include "node.h"
#include "tandem/base.h"
#include "tandem/cost.h"

static td_status open_runner(struct host *host, const struct cluster_worker *worker) {
  const struct td_cfg_engine *engine = &host->cluster->experiment->engine;
  struct td_runner_options options = {
      .kv_dtype = host->cluster->kv_dtype,
      .block_tokens = (int32_t)engine->block_tokens,
      .kv_blocks = (int32_t)worker->kv_blocks,
      .max_rows = cluster_max_rows(host->cluster),
      .max_logits = engine->batch_sequences,
      .stop = &host->stopping,
  };
  return td_runner_open(host->device, host->cluster->model, host->cluster->graph, &worker->slice, &options,
                        &host->runner);
}

td_status host_open(struct host *host, struct node *node, const struct cluster *cluster, int32_t number) {
  const struct cluster_worker *worker = &cluster->workers[number];
  *host = (struct host){.node = node, .cluster = cluster, .worker = number};
  inbox_init(&host->inbox);
  size_t layers = (size_t)cluster->graph->shape.layers;
  TD_TRY(td_alloc(layers, sizeof(int64_t), (void **)&host->layer_done_ps));
  struct td_lpu_choice lpu = cluster_lpu(cluster, worker);
  struct td_device_options how = {.params = worker->params,
                                  .threads = (int32_t)worker->pool->threads,
                                  .inexact = !worker->pool->exact,
                                  .lpu = &lpu};
  char spec[TD_NAME_BYTES + 16];
  td_status status = cluster_device(worker, spec, sizeof spec);
  if (!status) status = td_device_open(spec, &how, &host->device);
  if (!status) status = open_runner(host, worker);
  return status ? td_fail_within(status, "worker %s", worker->name) : TD_OK;
}

void host_report_failure(struct host *host, td_status status) {
  struct td_text text = {0};
  struct td_message message;
  td_fail_within(status, "worker %s", host->cluster->workers[host->worker].name);
  struct failed_head head = {.code = (int32_t)status, .bytes = (uint32_t)strlen(td_error_text())};
  td_text_add(&text, &head, sizeof head);
  td_text_add(&text, td_error_text(), head.bytes);
  if (message_make(MESSAGE_FAILED, host->worker, &text, &message) || node_reply(host->node, &message)) abort();
}

/* Takes the message over. Failures are reported to the engine as MESSAGE_FAILED. */
static void handle(struct host *host, struct td_message *message) {
  td_status status = TD_OK;
  switch (message->type) {
    case MESSAGE_STEP:
      status = host_step(host, message);
      break;
    case MESSAGE_EXPECT:
      status = host_expect(host, message);
      break;
    case MESSAGE_CHUNK:
      status = host_chunk(host, message);
      break;
    case MESSAGE_HAND_OVER:
      status = host_hand_over(host, message);
      break;
    case MESSAGE_RELEASE:
      status = host_release(host, message);
      break;
    default:
      status = td_fail(TD_INTERNAL, "message type %u", message->type);
  }
  free(message->data);
  if (status) host_report_failure(host, status);
}

/* ---- before any request ---- */

#define WARM_ROWS 64
#define WARM_STEPS 3
#define WARM_REQUEST UINT64_MAX

/* As long a prompt as a step, the KV and the model's positions allow. */
static int64_t warm_rows(const struct host *host) {
  const struct cluster *cluster = host->cluster;
  int64_t room = cluster->workers[host->worker].kv_blocks * cluster->experiment->engine.block_tokens;
  int64_t rows = cluster_max_rows(cluster);
  if (room > cluster->graph->shape.context) room = cluster->graph->shape.context;
  if (rows > room - WARM_STEPS) rows = room - WARM_STEPS;
  return rows < WARM_ROWS ? rows : WARM_ROWS;
}

/* The prompt, then single tokens. */
static td_status warm_steps(struct host *host, int64_t rows) {
  const int32_t ids[WARM_ROWS] = {0};
  struct td_step_seq seq = {.request = WARM_REQUEST, .tokens = rows, .ids = ids, .logits = true};
  const float *logits;
  int64_t count;
  for (int i = 0; i < WARM_STEPS; i++) {
    TD_TRY(td_runner_step(host->runner, &seq, 1, false, NULL, NULL, NULL, NULL, &logits, &count));
    seq.past += seq.tokens;
    seq.tokens = 1;
  }
  return TD_OK;
}

/* A device's first steps last longer than the same ones later: kernels are loaded, memory is touched, processors wake.
 * No request pays for that, as with a server, which warms up before it takes any. What counts its own time, or takes it
 * from a price, has no need. */
static td_status warm_up(struct host *host) {
  bool clocked = host->cluster->experiment->engine.pace != TD_PACE_PRICED;
  int64_t rows = warm_rows(host);
  if (!clocked || host->cluster->workers[host->worker].backend->emulates || rows < 1) return TD_OK;
  td_status status = warm_steps(host, rows);
  td_kv_release(td_runner_kv(host->runner), WARM_REQUEST);
  return status;
}

static td_status send_ready(struct host *host) {
  struct td_text text = {0};
  struct td_message message;
  struct ready_head head = {.config_hash = host->cluster->config_hash,
                            .model_digest = host->cluster->model_digest,
                            .idle_watts = td_device_idle_watts(host->device),
                            .layout = *td_kv_store_layout(td_runner_kv(host->runner))};
  td_text_add(&text, &head, sizeof head);
  TD_TRY(message_make(MESSAGE_READY, host->worker, &text, &message));
  return node_reply(host->node, &message);
}

static void *host_thread(void *argument) {
  struct host *host = argument;
  struct td_message message;
  td_status status = warm_up(host);
  if (!status) status = send_ready(host);
  if (status) host_report_failure(host, status);
  while (inbox_pop(&host->inbox, -1, &message)) {
    if (message.type == MESSAGE_STOP || atomic_load(&host->stopping)) {
      free(message.data);
      break;
    }
    handle(host, &message);
  }
  return NULL;
}

td_status host_start(struct host *host) {
  host->threaded = true;
  if (pthread_create(&host->thread, NULL, host_thread, host)) {
    host->threaded = false;
    return td_fail(TD_NO_MEMORY, "cannot start a thread for worker %d", host->worker);
  }
  return TD_OK;
}

void host_stop(struct host *host) {
  if (!host->threaded) return;
  struct td_message stop = {.type = MESSAGE_STOP};
  atomic_store(&host->stopping, true);
  inbox_push(&host->inbox, &stop);
  pthread_join(host->thread, NULL);
}

void host_close(struct host *host) {
  td_runner_close(host->runner);
  td_device_close(host->device);
  for (size_t i = 0; i < host->incoming_count; i++) free(host->incoming[i].chunks);
  for (size_t i = 0; i < host->early_count; i++) free(host->early[i].data);
  for (size_t i = 0; i < host->outgoing_count; i++) free(host->outgoing[i].ids);
  free(host->incoming);
  free(host->early);
  free(host->outgoing);
  free(host->layer_done_ps);
  inbox_clear(&host->inbox);
}
