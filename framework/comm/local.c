/* SPDX-License-Identifier: Apache-2.0
 *
 * One process: a message is a function call.
 */
#include <stdlib.h>

#include "tandem/base.h"
#include "transport.h"

struct local {
  struct td_transport base;
  td_deliver deliver;
  void *context;
  int64_t offset;
};

static td_status local_send(struct td_transport *transport, int32_t to, struct td_message *message) {
  struct local *local = (struct local *)transport;
  if (to != 0) {
    free(message->data);
    return td_fail(TD_INTERNAL, "message to rank %d of 1", to);
  }
  local->deliver(local->context, message);
  return TD_OK;
}

static td_status local_start(struct td_transport *transport, td_deliver deliver, void *context) {
  struct local *local = (struct local *)transport;
  local->deliver = deliver;
  local->context = context;
  return TD_OK;
}

static void local_close(struct td_transport *transport) {
  free(transport);
}

static td_status local_agree(struct td_transport *transport, td_status status) {
  (void)transport;
  return status;
}

static const struct td_transport_table local_table = {
    .size = sizeof local_table,
    .name = "local",
    .send = local_send,
    .start = local_start,
    .close = local_close,
    .agree = local_agree,
};

td_status td_transport_open_local(struct td_transport **out_transport) {
  struct local *local;
  TD_TRY(td_alloc(1, sizeof *local, (void **)&local));
  local->base = (struct td_transport){.table = &local_table, .ranks = 1, .clock_offset = &local->offset};
  *out_transport = &local->base;
  return TD_OK;
}
