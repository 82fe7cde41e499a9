/* SPDX-License-Identifier: Apache-2.0
 *
 * What the engine and the workers tell each other. A message is a head struct followed by arrays of plain structs,
 * copied as they are: all ranks of a run are the same program on the same kind of machine.
 */
#ifndef ENGINE_MESSAGES_H
#define ENGINE_MESSAGES_H

#include "tandem/base.h"
#include "tandem/comm.h"
#include "tandem/device.h"
#include "tandem/kv.h"

enum message_type {
  /* to a worker */
  MESSAGE_STEP = 1,  /* step_head, step_seq[seqs], int32 ids of each sequence */
  MESSAGE_EXPECT,    /* expect_head, int32 ids[tokens] */
  MESSAGE_CHUNK,     /* chunk_head, payload: from worker to worker */
  MESSAGE_HAND_OVER, /* hand_over_head, int32 ids[tokens]: all KV of a prompt whose steps did not know where it goes */
  MESSAGE_RELEASE,   /* uint64 request */
  MESSAGE_STOP,      /* empty: the worker's thread ends */
  /* to the engine */
  MESSAGE_READY,     /* ready_head: the worker is open */
  MESSAGE_DONE,      /* done_head, int64 layer_done_ps[layers], done_sample[samples] */
  MESSAGE_COMMITTED, /* committed_head, committed_chunk[chunks] */
  MESSAGE_FAILED,    /* failed_head, text */
  /* to a rank */
  MESSAGE_SHUTDOWN /* empty */
};

enum { STEP_LOGITS = 1, STEP_HANDOFF = 2 };
struct step_seq {
  uint64_t request, generation;
  int64_t past, tokens;
  int64_t push_begin,
      push_end;          /* with STEP_HANDOFF: positions to hand over as soon as this step has computed the last */
  uint64_t stream;       /* that its tokens are drawn by */
  uint64_t output_index; /* of the token its logits give */
  int32_t destination;   /* worker that gets the KV, with STEP_HANDOFF */
  uint32_t flags;
};
struct step_head {
  uint64_t step;
  uint32_t seqs;
  uint32_t wants_layers; /* some sequence hands KV over with this step */
};
struct expect_head {
  uint64_t request, generation;
  int64_t tokens;
  int64_t slot; /* the engine's own name for it, for the answer */
  struct td_kv_layout layout;
};
struct hand_over_head {
  uint64_t request, generation;
  int64_t tokens;
  int32_t destination, reserved;
};
struct chunk_head {
  int32_t from_worker;
  uint32_t reserved;
  int64_t ready_ps; /* the sender's clock when the layers were computed */
  struct td_kv_chunk chunk;
};
struct ready_head {
  uint64_t config_hash, model_digest; /* of what this rank reads: all must read the same */
  double idle_watts;                  /* of the device at no step */
  struct td_kv_layout layout;
};
struct done_head {
  uint64_t step;
  int64_t start_ps;    /* the clock of the worker's rank */
  int64_t duration_ps; /* by the clock that time_kind names: the host's, the device's own, or a price */
  double energy_j;
  uint32_t time_kind; /* enum td_time_kind */
  uint32_t layers;    /* 0: nobody asked when the layers were done */
  uint32_t samples;
  uint32_t interval; /* as td_row_step */
};
struct done_sample {
  uint64_t request;
  struct td_sample sample;
};
struct committed_head {
  uint64_t request;
  int64_t slot; /* as in expect_head */
  uint32_t chunks, reserved;
};
struct committed_chunk {
  int32_t from_worker;
  uint32_t layer_begin, layer_end, reserved;
  uint64_t token_begin, token_end, bytes;
  int64_t ready_ps, imported_ps; /* clocks of the sender's and of the receiver's rank */
};
struct failed_head {
  int32_t code;
  uint32_t bytes;
};

/* Finishes a message whose bytes were gathered in `text` (taken over). TD_NO_MEMORY if gathering failed. */
td_status message_make(enum message_type type, int32_t worker, struct td_text *text, struct td_message *out_message);

/* Reading: takes `bytes` bytes off the front; NULL when the message is shorter. 8-byte alignment is kept by heads and
 * structs of multiples of 8; only ids and texts at the end are not. */
struct reader {
  const char *at;
  uint64_t left;
};
struct reader reader_of(const struct td_message *message);
const void *reader_take(struct reader *reader, uint64_t bytes);
td_status message_short(const struct td_message *message);

#endif
