/* SPDX-License-Identifier: Apache-2.0
 *
 * Moving messages between ranks behind a small table: one implementation for a single process, one over MPI.
 *
 * Messages between the same two ranks arrive in the order they were sent; between different pairs nothing is promised.
 */
#ifndef TANDEM_COMM_H
#define TANDEM_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tandem/status.h"

struct td_message {
  uint32_t type;   /* the sender's and receiver's business */
  uint32_t worker; /* addressed worker */
  uint64_t bytes;
  void *data; /* malloc'd; owned by whoever holds the message */
};

/* Takes the message over (frees data in the end). Called on the transport's thread for messages of other ranks, on the
 * sender's thread for a rank's messages to itself; must not block for long and may call send. */
typedef void (*td_deliver)(void *context, struct td_message *message);

struct td_transport;
struct td_transport_table {
  size_t size;
  const char *name;
  /* Thread-safe. Takes data over, also on failure. Returns when queued. */
  td_status (*send)(struct td_transport *transport, int32_t to, struct td_message *message);
  /* Starts delivery; before it, only agree may be called. */
  td_status (*start)(struct td_transport *transport, td_deliver deliver, void *context);
  /* Collective: sends what is queued, waits for all ranks, frees the transport. */
  void (*close)(struct td_transport *transport);
  /* Collective, before start: every rank gets the status of the lowest rank that failed, with its text as the error
   * text; TD_OK if none did. */
  td_status (*agree)(struct td_transport *transport, td_status status);
};
struct td_transport {
  const struct td_transport_table *table;
  int32_t rank, ranks;
  int64_t *clock_offset; /* [ranks] on rank 0: td_now_ps there minus td_now_ps here, measured at open; elsewhere 0 */
};

/* Opens the MPI transport when this process was started by an MPI launcher (looks at the environment, so that other
 * runs never pay for MPI_Init), else the in-process one. TD_UNAVAILABLE when launched with several ranks and built
 * without MPI. One transport per process. */
td_status td_transport_open(struct td_transport **out_transport);

#endif
