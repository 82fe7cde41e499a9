/* SPDX-License-Identifier: Apache-2.0
 *
 * Workers that execute. Each is a replica of the fleet like any other, but its step is posted to the host that has the
 * device (host.h), and ends when the completion that comes back says, not at a price. What only such workers need lies
 * here, beside the replicas and requests of the fleet, and is NULL in runs where nobody is waited for.
 *
 * A pace decides when the loop goes on, and nothing else:
 *   priced, measured: time stands still until every posted step is answered, then it is the first event's; measured
 *     posts one step at a time.
 *   wall: time is the clock's; whatever comes first is handled, an event that is due or a message.
 */
#ifndef ENGINE_FLEET_HOSTED_H
#define ENGINE_FLEET_HOSTED_H

#include "fleet.h"
#include "messages.h"
#include "node.h"

/* Of a request in flight, from its admission on. */
struct hosted_request {
  const int32_t *ids;       /* of its prompt; with kv = grow those it puts out follow, as it may have to start over */
  int32_t *own;             /* the same, owned; NULL: they are the config's */
  int32_t most;             /* output tokens that it has KV blocks for: an end token can come sooner */
  int32_t held;             /* positions that it has KV blocks for where it ends */
  int32_t last_id;          /* its newest token */
  uint32_t finish;          /* enum td_finish */
  int64_t finished_ps;      /* -1: its last token is not out */
  uint64_t committed_bytes; /* of KV, that arrived where it decodes */
  bool committed;           /* all of them */
  bool awaited;             /* it is prefilled, and decodes once they have */
};

/* A completion as its message has it. */
struct completion {
  const struct done_head *head;
  const int64_t *layer_done_ps;
  const struct done_sample *samples;
};

struct hosted_worker {
  bool ready;
  struct td_kv_layout layout; /* as the worker declared it */
  double idle_watts;          /* likewise */
  uint64_t step;              /* posted: the message's number */
  struct td_message done;     /* its completion, once it came; data NULL before */
  uint64_t row;               /* the step's number in the run, once it is over */
  uint32_t sampled;           /* of its samples, those that have been taken */
};

struct fleet_hosted {
  struct node *node;
  const struct td_run_options *options;
  int pace;
  bool executes;                   /* some worker does */
  int64_t zero_ps;                 /* td_now_ps of the run's time 0 */
  int64_t clock_ps;                /* wall: the last look at the clock */
  int64_t latest_ps;               /* of all events so far */
  uint64_t posted;                 /* steps so far */
  int64_t in_flight;               /* of them, those without a completion */
  int64_t awaited;                 /* requests whose KV has to come before they decode */
  struct hosted_request *requests; /* by slot */
  size_t request_capacity;
  struct hosted_worker *workers; /* [workers] */
  struct ending *members;        /* [batch_sequences]: room to sort a batch in */
};

/* fleet_hosted.c */
td_status fleet_hosted_open(struct fleet *fleet, struct node *node, const struct td_run_options *options);
void fleet_hosted_close(struct fleet *fleet);      /* also where nobody is waited for */
td_status fleet_hosted_ready(struct fleet *fleet); /* waits for all workers; the run's time begins */
/* Waits up to wait_ps (< 0: until one comes) for a message and handles it; flushes the trace meanwhile. *out_got: one
 * came. */
td_status fleet_hosted_pump(struct fleet *fleet, int64_t wait_ps, bool *out_got);
/* Waits for the next event; *out_ps INT64_MAX: none will come. */
td_status fleet_hosted_wait(struct fleet *fleet, int64_t *out_ps);
/* After the events of an instant: word from hosts can come late, but work is never given out in the past. False: more
 * is due before it is given out. */
bool fleet_hosted_catch_up(struct fleet *fleet);
/* A clock reading of a rank as the run's time. */
int64_t fleet_hosted_time(const struct fleet *fleet, int32_t rank, int64_t clock_ps);

/* fleet_hosted_step.c */
td_status fleet_hosted_begin(struct fleet *fleet, int32_t worker);            /* posts the step that is filled */
td_status fleet_hosted_done(struct fleet *fleet, struct td_message *message); /* MESSAGE_DONE, taken over */
/* When a step ends, in this order: its row, its decoding requests' tokens, and with first_token those of prompts. */
td_status fleet_hosted_row(struct fleet *fleet, int32_t worker);
td_status fleet_hosted_tokens(struct fleet *fleet, int32_t worker);
td_status fleet_hosted_first_token(struct fleet *fleet, int32_t slot);
td_status fleet_hosted_over(struct fleet *fleet, int32_t worker);
/* As fleet_milestones. */
td_status fleet_hosted_milestones(struct fleet *fleet, int32_t worker, int64_t out_ps[2]);
uint32_t fleet_hosted_time_kind(const struct fleet *fleet, int32_t worker); /* of the step that ends */

/* fleet_hosted_prompt.c */
/* Finds the ids of a request's prompt; those of a source's requests are drawn. A request that starts over has them. */
td_status fleet_hosted_prompt(struct fleet *fleet, int32_t slot);
/* What its draws go by, those of its prompt and of its tokens: its number. Turns are numbered as they come, which is a
 * matter of how fast workers are: what they say is not, and goes by their session and their place in it. */
uint64_t fleet_hosted_stream(const struct fleet *fleet, const struct fleet_request *request);
/* Fails for a prompt that no worker's step takes. */
td_status fleet_hosted_check_rows(const struct fleet *fleet, const struct td_job *job);

/* fleet_hosted_kv.c */
/* It has its workers: the one that decodes is told what will come. */
td_status fleet_hosted_admit(struct fleet *fleet, int32_t slot);
/* Does a clock say how long its hand-off takes? */
bool fleet_hosted_clocks(const struct fleet *fleet, const struct fleet_request *request);
/* Where it decodes was chosen after it was prefilled: its KV sets out. */
td_status fleet_hosted_hand_over(struct fleet *fleet, int32_t slot);
/* So many positions of such a one have been computed and are on their way. */
void fleet_hosted_sent(struct fleet *fleet, const struct fleet_request *request, int64_t positions);
/* It is prefilled. True: the receiver's word comes later, and with it the event. */
bool fleet_hosted_awaits(struct fleet *fleet, int32_t slot);
td_status fleet_hosted_committed(struct fleet *fleet, const struct td_message *message);
/* Priced transfers end by the clock of the run; the bytes behind them must be there too before anybody reads them. */
td_status fleet_hosted_join_bytes(struct fleet *fleet, int32_t slot);
/* It has ended: the positions that it has KV blocks for, and when its last token was out if that was executed. */
td_status fleet_hosted_finish(struct fleet *fleet, int32_t slot, int64_t *positions, int64_t *finished_ps);
/* Its KV leaves a worker. */
td_status fleet_hosted_release(struct fleet *fleet, int32_t worker, uint64_t request);

/* fleet_hosted_token.c */
/* An output token has come out of a worker's step. *out_ends: no more will. */
td_status fleet_hosted_token(struct fleet *fleet, int32_t slot, int32_t worker, int32_t index,
                             const struct td_sample *sample, bool *out_ends);
/* What of the row of a request that has ended only hosts tell. */
void fleet_hosted_ended(const struct fleet *fleet, int32_t slot, struct td_row_request *row);

/* How far the time has come when an event is handled: at pace wall it goes on meanwhile. */
static inline int64_t fleet_hosted_clock(const struct fleet *fleet) {
  bool later = fleet->hosted && fleet->hosted->pace == TD_PACE_WALL && fleet->hosted->clock_ps > fleet->now_ps;
  return later ? fleet->hosted->clock_ps : fleet->now_ps;
}

/* Will a host send word of something without being asked again? */
static inline bool fleet_hosted_busy(const struct fleet *fleet) {
  return fleet->hosted && (fleet->hosted->in_flight || fleet->hosted->awaited);
}

/* Of a request's hand-over: it can be handed over again if it has started over. */
static inline uint64_t hosted_generation(const struct fleet_request *request) {
  return 1 + (uint64_t)request->interruptions;
}

static inline struct hosted_request *hosted_request(const struct fleet *fleet, int32_t slot) {
  return &fleet->hosted->requests[slot];
}

#endif
