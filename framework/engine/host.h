/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker that executes, on the rank that owns it: a device, the runner on it, KV hand-offs in and out. It handles one
 * message at a time, on its own thread.
 */
#ifndef ENGINE_HOST_H
#define ENGINE_HOST_H

#include <stdatomic.h>

#include "cluster.h"
#include "inbox.h"
#include "messages.h"

struct node;

/* A request that is being handed over: the hash of the ids computed and pushed so far, so that each chunk can name its
 * prefix, and the ids computed since. */
struct outgoing_kv {
  uint64_t request, hash;
  int32_t *ids;
  size_t id_count, id_capacity;
};
/* A hand-off coming in. */
struct incoming_kv {
  uint64_t request;
  int64_t slot; /* as in expect_head */
  struct committed_chunk *chunks;
  size_t count, capacity;
};

struct host {
  struct node *node;
  const struct cluster *cluster;
  int32_t worker;
  struct td_device *device;
  struct td_runner *runner;
  struct inbox inbox;
  pthread_t thread;
  bool threaded;
  atomic_bool stopping;   /* the step under way ends before its next operator, what waits is dropped */
  int64_t *layer_done_ps; /* [layers] of the current step */
  struct outgoing_kv *outgoing;
  size_t outgoing_count, outgoing_capacity;
  struct incoming_kv *incoming;
  size_t incoming_count, incoming_capacity;
  struct td_message *early; /* chunks that came before their MESSAGE_EXPECT */
  size_t early_count, early_capacity;
};

/* Opens the device and loads the model. `host` is where it stays. */
td_status host_open(struct host *host, struct node *node, const struct cluster *cluster, int32_t worker);
/* Starts the thread, which warms the device up and then tells the engine that the worker is ready. */
td_status host_start(struct host *host);
void host_stop(struct host *host); /* ends the thread after the message it is at */
void host_close(struct host *host);

/* Sends this thread's error to the engine, which ends the run with it. */
void host_report_failure(struct host *host, td_status status);

/* host_step.c: MESSAGE_STEP */
td_status host_step(struct host *host, const struct td_message *message);
/* host_kv.c: the others, and the push of a step's finished layers */
td_status host_expect(struct host *host, const struct td_message *message);
td_status host_chunk(struct host *host, struct td_message *message);
td_status host_hand_over(struct host *host, const struct td_message *message);
td_status host_release(struct host *host, const struct td_message *message);
/* Notes the ids of a hand-off sequence before its step; *out_prefix is the hash up to its push_end. */
td_status host_prefix(struct host *host, const struct step_seq *seq, const int32_t *ids, uint64_t *out_prefix);
/* Sends layers [layer_begin, layer_end) of positions [push_begin, push_end) to seq->destination. */
td_status host_push(struct host *host, const struct step_seq *seq, uint64_t prefix, int32_t layer_begin,
                    int32_t layer_end, int64_t ready_ps);

#endif
