/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine's state on rank 0 and the life of a request:
 *
 *   ARRIVING -> WAITING (for a route and KV blocks) -> PREFILL -> [HANDOFF ->] DECODE -> DONE
 *
 * With KV to hand over, a request may end (an end token right after prefill) while layers still travel: it then passes
 * through HANDOFF with `ended` set, so that every push is received, counted and freed.
 */
#ifndef ENGINE_STATE_H
#define ENGINE_STATE_H

#include <uthash.h>

#include "cluster.h"
#include "events.h"
#include "messages.h"
#include "node.h"
#include "tandem/engine.h"
#include "tandem/policy.h"
#include "tandem/trace.h"

/* A request is handed over once, so its only generation is the first. */
enum { HANDOFF_GENERATION = 1 };

enum request_state {
  REQUEST_ARRIVING,
  REQUEST_WAITING,
  REQUEST_PREFILL,
  REQUEST_HANDOFF,
  REQUEST_DECODE,
  REQUEST_DONE
};

/* A stretch of modelled steps of one request, see td_row_residency. */
struct stretch {
  bool open;
  struct td_row_residency row;
};

struct request {
  const struct job *job;
  enum request_state state;
  int32_t prefill_worker, decode_worker;
  bool handoff; /* prefill and decode run on different workers and there is a token to decode */
  bool ended;
  uint32_t finish;  /* enum td_finish */
  int64_t computed; /* positions whose KV exists */
  int64_t output;   /* output tokens so far */
  int32_t last_id;  /* the newest one, if executed */
  int64_t pauses;   /* steps in which it decoded not, for prompts */
  bool paused;      /* in its worker's last step */
  bool chosen;      /* while a step is filled: it takes part */
  int64_t admitted_ps, first_step_ps, first_token_ps, finished_ps;
  /* hand-off */
  int64_t pushed;           /* positions given to pushes so far: whole KV blocks until the prompt ends */
  uint64_t kv_bytes;        /* of the pushes recorded so far */
  uint64_t committed_bytes; /* that really arrived */
  bool committed;
  int64_t transferred_ps; /* when the last push so far is through */
  struct stretch stretch;
};

/* A request's share of the step a worker is at. */
struct share {
  int64_t request;
  int64_t past, tokens;
  int64_t push_begin, push_end; /* positions handed over with this step; none if equal */
  uint32_t flags;               /* STEP_* */
};

struct worker {
  const struct cluster_worker *info;
  bool executes, ready;
  struct td_kv_layout layout; /* as the worker declared it */
  int64_t free_blocks, waiting_tokens, active;
  uint64_t sent, received; /* bytes of KV: by its steps; as they came in, or were booked where none really move */
  /* requests here, first come first */
  int64_t *prefill, *decode;
  size_t prefill_count, prefill_capacity, decode_count, decode_capacity;
  /* the step it is at */
  bool busy;
  uint64_t step, index; /* in the run; on this worker */
  int64_t start_ps, duration_ps;
  struct share *shares;
  size_t share_count, share_capacity;
  struct td_message done; /* its completion, once it came; data NULL before */
};

/* A link between two workers that something has been sent over. */
struct link_use {
  struct {
    int32_t from, to;
  } pair;
  int64_t free_ps;
  UT_hash_handle hh;
};

struct engine {
  const struct cluster *cluster;
  const struct td_run_options *options;
  const struct td_policy *policy;
  void *policy_state;
  struct node *node;
  struct td_trace_writer *trace;
  int pace;
  struct td_slice whole;
  int64_t zero_ps;   /* wall: td_now_ps of the run's time 0 */
  int64_t now_ps;    /* of the event in hand; wall: of the last look at the clock, between events */
  int64_t latest_ps; /* of all events so far */
  struct events events;
  struct request *requests; /* [cluster->workload.count] */
  int64_t done_count;
  int64_t *waiting; /* routed in this order */
  size_t waiting_count, waiting_capacity;
  bool route_again; /* the cluster's state changed since the policy was asked */
  struct worker *workers;
  struct td_worker_view *views; /* [workers] */
  struct link_use *links;       /* uthash by the pair of workers: when each used link is free again */
  uint64_t next_step;
  int64_t in_flight; /* submitted steps without a completion */
};

/* engine.c: waits up to wait_ps (< 0: until one comes) for a message and handles it; flushes the trace meanwhile.
 * *out_got: one came. */
td_status engine_pump(struct engine *engine, int64_t wait_ps, bool *out_got);

/* dispatch.c */
td_status engine_dispatch(struct engine *engine); /* routes what waits, gives idle workers their next step */
int64_t engine_decode_blocks(const struct engine *engine, const struct request *request);

/* finish.c */
td_status engine_completion(struct engine *engine, struct td_message *message); /* MESSAGE_DONE, taken over */
td_status engine_step_done(struct engine *engine, int32_t worker);              /* EVENT_STEP_DONE */
td_status engine_handed_over(struct engine *engine, int64_t request);           /* its KV is where it decodes */

/* transfer.c */
td_status engine_expect(struct engine *engine, int64_t request); /* tells the decode worker what will come */
/* Books the pushes of one share (it has some) of a finished step on the link. */
td_status engine_book_pushes(struct engine *engine, const struct worker *worker, const struct share *share,
                             const int64_t *layer_done_ps);
td_status engine_committed(struct engine *engine, const struct td_message *message);
td_status engine_handoff_begin(struct engine *engine, int64_t request); /* the last chunk is computed */
td_status engine_transferred(struct engine *engine, int64_t request);   /* EVENT_TRANSFERRED */
td_status engine_release_decode(struct engine *engine, int64_t request);

/* engine.c: a clock reading of a rank as the run's time */
int64_t engine_run_time(const struct engine *engine, int32_t rank, int64_t clock_ps);
/* engine.c: time sums end somewhere: TD_UNSUPPORTED beyond int64 picoseconds, 106 days. */
td_status engine_add_ps(int64_t a, int64_t b, int64_t *out);

/* record.c: trace rows */
td_status record_devices(struct engine *engine);
td_status record_step(struct engine *engine, const struct worker *worker, const struct done_head *done);
td_status record_token(struct engine *engine, int64_t request, const struct worker *worker,
                       const struct td_sample *sample, bool last);
td_status record_residency(struct engine *engine, int64_t request, const struct worker *worker, bool yields);
td_status record_request(struct engine *engine, int64_t request);

#endif
