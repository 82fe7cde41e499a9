/* SPDX-License-Identifier: Apache-2.0
 *
 * One rank of a run: the workers that live here, and the roads between workers and the engine.
 */
#ifndef ENGINE_NODE_H
#define ENGINE_NODE_H

#include "cluster.h"
#include "host.h"
#include "inbox.h"

struct node {
  struct td_transport *transport;
  const struct cluster *cluster;
  struct host **hosts; /* [workers], NULL for modelled workers and those of other ranks */
  struct inbox engine; /* rank 0: messages for the engine; other ranks: the shutdown */
  int awake_file;      /* of td_awake_begin; -1 */
  char awake[128];     /* what the trace says of it: "", "yes", "no" and why */
};

td_status node_open(struct node *node, struct td_transport *transport, const struct cluster *cluster);
/* After the transport has started: starts the workers' threads. A failure reaches the engine as MESSAGE_FAILED. */
void node_start(struct node *node);
/* Ends the workers' threads. */
void node_stop(struct node *node);
/* After the transport is closed. */
void node_close(struct node *node);

/* td_deliver of the transport. */
void node_deliver(void *node, struct td_message *message);
/* To a worker, wherever it is; takes the message over. */
td_status node_post(struct node *node, int32_t worker, struct td_message *message);
/* From a worker to the engine on rank 0. */
td_status node_reply(struct node *node, struct td_message *message);
/* Rank 0: tells all other ranks to end. */
td_status node_shutdown(struct node *node);
/* Other ranks: waits for that. */
void node_wait(struct node *node);

#endif
