/* SPDX-License-Identifier: Apache-2.0 */
#include "node.h"

#include <stdlib.h>

#include "tandem/base.h"

/* Only at pace wall does anything depend on when a processor wakes. */
static td_status stay_awake(struct node *node) {
  const struct td_cfg_engine *engine = &node->cluster->experiment->engine;
  if (engine->pace != TD_PACE_WALL) return TD_OK;
  if (engine->awake == TD_AWAKE_NO) return td_format(node->awake, sizeof node->awake, "no");
  td_status status = td_awake_begin(&node->awake_file);
  if (!status) return td_format(node->awake, sizeof node->awake, "yes");
  if (engine->awake == TD_AWAKE_YES) return td_fail_within(status, "engine.awake: found \"yes\", expected \"no\" here");
  return td_format(node->awake, sizeof node->awake, "no: %s", td_error_text());
}

td_status node_open(struct node *node, struct td_transport *transport, const struct cluster *cluster) {
  *node = (struct node){.transport = transport, .cluster = cluster, .awake_file = -1};
  inbox_init(&node->engine);
  TD_TRY(td_alloc((size_t)cluster->worker_count, sizeof *node->hosts, (void **)&node->hosts));
  TD_TRY(stay_awake(node));
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    if (!cluster->workers[i].backend->executes || cluster->workers[i].rank != transport->rank) continue;
    TD_TRY(td_alloc(1, sizeof **node->hosts, (void **)&node->hosts[i]));
    TD_TRY(host_open(node->hosts[i], node, cluster, i));
  }
  return TD_OK;
}

void node_start(struct node *node) {
  for (int32_t i = 0; i < node->cluster->worker_count; i++) {
    td_status status = node->hosts[i] ? host_start(node->hosts[i]) : TD_OK;
    if (status) host_report_failure(node->hosts[i], status);
  }
}

void node_stop(struct node *node) {
  for (int32_t i = 0; node->hosts && i < node->cluster->worker_count; i++) {
    if (node->hosts[i]) host_stop(node->hosts[i]);
  }
}

void node_close(struct node *node) {
  for (int32_t i = 0; node->hosts && i < node->cluster->worker_count; i++) {
    if (!node->hosts[i]) continue;
    host_close(node->hosts[i]);
    free(node->hosts[i]);
  }
  free(node->hosts);
  td_awake_end(node->awake_file);
  inbox_clear(&node->engine);
}

static bool is_for_engine(const struct td_message *message) {
  return message->type >= MESSAGE_READY && message->type <= MESSAGE_SHUTDOWN;
}

void node_deliver(void *context, struct td_message *message) {
  struct node *node = context;
  struct host *host = is_for_engine(message) || message->worker >= (uint32_t)node->cluster->worker_count
                          ? NULL
                          : node->hosts[message->worker];
  inbox_push(host ? &host->inbox : &node->engine, message);
}

td_status node_post(struct node *node, int32_t worker, struct td_message *message) {
  message->worker = (uint32_t)worker;
  return node->transport->table->send(node->transport, node->cluster->workers[worker].rank, message);
}

td_status node_reply(struct node *node, struct td_message *message) {
  return node->transport->table->send(node->transport, 0, message);
}

td_status node_shutdown(struct node *node) {
  for (int32_t rank = 1; rank < node->transport->ranks; rank++) {
    struct td_message message = {.type = MESSAGE_SHUTDOWN};
    TD_TRY(node->transport->table->send(node->transport, rank, &message));
  }
  return TD_OK;
}

void node_wait(struct node *node) {
  struct td_message message = {0};
  do {
    free(message.data);
    inbox_pop(&node->engine, -1, &message);
  } while (message.type != MESSAGE_SHUTDOWN);
  free(message.data);
}
