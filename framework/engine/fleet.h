/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine. A modelled worker's steps are priced, and nobody has to wait for them: its decode steps between two
 * changes of its batch are one event, whose time is an exact sum (struct td_price); with engine.merge = false every
 * step is an event of its own, and every byte of the trace is the same. A worker that executes is posted its steps one
 * by one, and its step is over when the completion that comes back says (fleet_hosted.h).
 *
 * A request's life, by slot (slots are used again, so memory grows with the requests in flight):
 *
 *   arrives -> waits for a route -> prefill queue -> [transfer -> ] joins decode -> decodes -> done
 *
 * Events of one instant are handled in the order steps, chunks through all stages, transfers, calls on orchestrators,
 * arrivals, each by number, then the policy's tick, then failures and repairs by worker; work is given out after the
 * last of them.
 */
#ifndef ENGINE_FLEET_H
#define ENGINE_FLEET_H

#include "cluster.h"
#include "fleet_pipeline.h"
#include "fleet_queue.h"
#include "load.h"
#include "prefix_cache.h"
#include "tandem/cost.h"
#include "tandem/engine.h"
#include "tandem/policy.h"
#include "tandem/trace.h"
#include "tandem/workload.h"

/* A list of slots through fleet_request.next. */
struct slots {
  int32_t first, last; /* -1: empty */
};

/* Whatever happens to a request in a run without a trace needs its first cache line, and when it comes the second. */
struct fleet_request {
  _Alignas(64) uint64_t number;
  int64_t arrival_ps, first_step_ps, first_token_ps;
  int32_t prompt, output; /* tokens in all */
  int32_t target;         /* tokens to prefill: the prompt, and after a preemption what came of it so far too */
  int32_t computed;       /* of them, those whose KV exists */
  int32_t emitted;        /* output tokens so far, of one that does not decode just now */
  int32_t prefill_worker, decode_worker; /* decode_worker may be TD_WORKER_LATER */
  int32_t next;

  uint64_t session;
  uint64_t place_in_line; /* how many came before it */
  int64_t admitted_ps;
  uint64_t kv_bytes, kv_expected; /* handed over; by the prompts that were prefilled to be */
  int64_t transferred_ps;         /* when the last push so far is through */
  int32_t tier, turn;
  int32_t pushed; /* of what is computed: handed over or on its way */
  int32_t held;   /* leading blocks that it is made of, of those its worker's cache knows */

  const char *name; /* of the config's own requests; NULL: r and its number */
  int64_t load_ps;  /* that some of the held ones take from tiers below */
  /* the stretch of residency that is open: its steps are of worker `stretch_worker`, which has no number before the
   * first; yields: tokens a step */
  uint64_t stretch_index;
  int32_t stretch_worker, stretch_count, stretch_token, stretch_yields;
  int64_t rank;      /* the policy's: those in line are served by it, then by place */
  int32_t fruitless; /* times in a row that it started over for a failure without a token since the last */
  uint32_t found;    /* tokens that it did not prefill because a cache had them */
  uint64_t *prefix;  /* [prefix_count], owned */
  int32_t prefix_count, prefix_tokens;

  uint64_t *keys; /* [text_count], owned: of the prompt's and output's whole blocks in a prefix cache */
  int32_t text_count;
  int32_t key_count;     /* of them, those of the tokens to prefill */
  int32_t interruptions; /* times it was preempted or started over for a failure */
  int32_t pauses;        /* steps in which it decoded not, for prompts */
  bool paused;           /* in its worker's last step, or this one */
  int64_t row;           /* of the source's file, 0: none */
};

/* A prompt's part in the step a worker is at. */
struct chunk {
  int32_t slot, tokens, rank; /* rank: with several, which group of chips takes it */
  int32_t push_begin, push_end;
};

/* Rows of steps alike stay open as long as only contexts grow. */
struct open_row {
  int64_t duration, slope; /* of the first; by how much each is longer than the one before */
  int64_t count;           /* done */
  double energy;           /* of the first */
};
/* What of it only the trace is told. */
struct told_row {
  int64_t start;
  uint32_t batch, tokens, interval, kind;
};

/* What KV goes through, in or out: see fleet_link.c. */
struct port {
  int64_t free_ps; /* when it is done with all it has to do */
  int64_t busy_ps;
  uint64_t bytes; /* in all */
  uint64_t open;  /* of hand-overs that are not through */
};

enum { OWN_ENDINGS = 8, OWN_CHUNKS = 2 };

/* A worker. "steps" are decode steps: those that every decoding sequence takes part in. An event in a fleet finds what
 * it needs far away: it is all in the first cache lines. */
struct replica {
  _Alignas(64) int64_t steps; /* decode steps so far */
  int64_t context;            /* sum over decoding sequences of their cached positions */
  int64_t start_ps, count;    /* of what is under way: `count` steps as one event */
  int64_t next_base;          /* of the step that follows the row's */
  int64_t row_valid;          /* steps the price holds for from there */
  uint64_t index;             /* device steps so far */
  struct slots prefill;       /* in order of admission */

  struct slots joining; /* will decode from the next step on */
  int32_t pool;
  bool busy, decodes, changed; /* changed: its batch is not the one the open row is of */
  bool freed;                  /* blocks were given back since somebody last had to leave */
  struct endings endings;      /* decoding requests */
  struct chunk *chunks;        /* of this step: `own_chunks`, or an allocation */
  size_t chunk_count;
  int64_t swap_ps; /* that the next step waits for KV to or from the host, or from a tier below */

  struct open_row row;
  int64_t busy_ps; /* at steps; of chips of a stage, with those of the replica's other batches as many as stages */
  double energy_j;
  size_t chunk_capacity;
  struct fleet_flow *flow; /* with pipeline stages */

  struct ending own_endings[OWN_ENDINGS];

  struct chunk own_chunks[OWN_CHUNKS];
  struct told_row told;
  int32_t *phases; /* [block_tokens] with kv = grow, once somebody decodes here: decoding sequences by (positions -
                      steps) mod block */

  int64_t blocks;       /* KV blocks it has */
  int64_t priced, more; /* the row's first step, and by how much the next are longer, before a cap makes it slower */
  int64_t slower;       /* steps of the row last so many 2^-32ths of that; 0: as priced, or of stages */
  struct port egress, ingress;
  struct slot_queue swapped; /* in the host's memory, by place in line */
  struct slot_queue paused;  /* those that the step under way leaves out, by the steps they have left */
  bool resumed;              /* some of the decoding ones are back from a pause */
  int64_t grown;             /* of the steps under way, those whose blocks the view lacks already */
  struct fleet_books *books; /* with pipeline stages, of batch 0 */
  int64_t free_blocks;       /* with several groups of chips, whose views have those of one: of all */
};

/* A tier of a pool's prefix caches; the first is the device's own memory. */
struct fleet_tier {
  int64_t tokens;
  double bytes_per_s;
  bool survives;
  int32_t counter; /* its place in the summary */
};

/* What a pool's workers share. */
struct fleet_pool {
  const struct cluster_worker *worker; /* the first */
  struct td_pricer *pricer;            /* of chips */
  struct td_device *device;            /* prices LPUs */
  struct fleet_stages *stages;         /* of chips in pipeline stages, in place of a pricer; NULL: none */
  int32_t ranks;                       /* groups of chips that deal out a step's sequences */
  int64_t *rank_tokens;                /* [ranks] */
  int64_t most_layers;                 /* of a stage: what moves between it and its host */
  int64_t *layer_done_ps;              /* [layers] */
  double power_cap;                    /* of each worker; 0: none */
  struct fleet_tier tiers[PREFIX_TIERS_MAX];
};

/* Prefix caches, and how long a block of hashes is: 0 until a job has one. */
struct td_prefix_caches {
  struct prefix_cache *of; /* [workers]; NULL: there are none */
  int64_t unit_tokens, unit_blocks;
  struct holders holders; /* kept if the policy seeks them */
  int32_t *found;         /* [workers]: else room for an answer */
};

struct fleet {
  const struct cluster *cluster;
  const struct td_policy *policy;
  struct td_trace_writer *trace; /* NULL: none is kept */
  struct td_run_summary *summary;
  struct fleet_hosted *hosted; /* NULL: no worker executes, and the run's pace is priced */
  int64_t layers, block_tokens, batch_sequences, batch_tokens, chunk_tokens;
  bool merge, grow, swap;
  bool prompts_first;                    /* engine.first */
  bool again;                            /* this instant has been given work before */
  bool by_member;                        /* steps are priced from each sequence's own position, not from sums alone */
  const struct cluster_worker *shortest; /* of LPUs whose programs have a bound, that with the least; NULL: none has */
  uint64_t bytes_per_position;
  int64_t now_ps;

  struct td_workload *workload; /* NULL: the config's own requests */
  struct slot_queue order;      /* those, by arrival */
  int64_t arrival_ps;           /* of the next request; INT64_MAX: none is known */

  struct fleet_request *requests;
  size_t request_capacity;
  int32_t request_used, request_free; /* slots ever used; first of the free ones */
  int64_t live, arrived, finished, refused;
  int64_t refused_ps, refused_then; /* when somebody was last, and how many at that instant */
  uint64_t prefilled;               /* prompts, each of which gave a token */

  struct slot_queue waiting;  /* for a route, by the policy's rank */
  struct slot_queue unplaced; /* prefilled, for a decode worker */
  struct slot_queue line;     /* empty between calls: who pauses last */

  struct replica *replicas;
  struct fleet_pool *pools;
  struct td_worker_view *views;
  struct td_load_index *loads;
  struct td_prefix_caches caches;
  void *policy_state;
  int64_t interval_ps, tick_ps; /* of the policy's ticks, and the next one; INT64_MAX: never */
  int64_t ticks_alone;          /* ticks in a row while nothing else was to come */
  int64_t queued_tokens, waiting_tokens, prefilled_tokens; /* see struct td_cluster_view */
  double prefill_s;
  int64_t hit_tokens, done_tokens; /* not computed but found; of all prompts that were prefilled */
  struct worker_queue growing;     /* with kv = grow: when workers amid merged steps take blocks next, or sooner */
  uint64_t found;                  /* of hit_tokens, by requests that have ended */
  int64_t given_up_tokens;         /* found or computed of prompts that started over before they were prefilled */
  int64_t unused_tokens;           /* found by prompts that started over before they began */
  struct worker_queue ends;        /* of steps, by worker */
  struct slot_queue transfers;     /* by time */
  int32_t *touched;                /* workers that may begin a step at this instant */
  int32_t touched_count;
  uint8_t *is_touched;
  uint64_t kv_given;  /* bytes handed over for requests that have ended */
  uint64_t next_step; /* step numbers given */
  int64_t *experts;   /* [expert_tokens]: td_expected_experts, 0: not yet known */
  int64_t expert_tokens;
  struct fleet_outages *outages; /* NULL: nobody ever fails */
  struct fleet_power *power;     /* NULL: the cluster has no cap */
  struct fleet_tools *tools;     /* NULL: the cluster has no orchestrators */
  bool route_again;
  bool crowded;                /* somebody waits for power: steps are not merged */
  bool pipelined;              /* some pool has stages */
  bool ranked;                 /* some pool has several groups of chips */
  struct worker_queue passing; /* then: when its workers' steps that yield no token have passed the last stage */
  bool split;                  /* a request was let in that decodes elsewhere */
  bool prefixes;               /* a request came with hashes of its prompt */
  bool settled;                /* nothing that a policy is shown has changed since its last tick did nothing */
};

struct node;

/* Is nobody waited for: pace priced and no worker executes? */
bool fleet_is_modelled(const struct cluster *cluster);
/* Runs it on rank 0. `node`: the hosts of its workers, and the road to those of other ranks; NULL where nobody is
 * waited for. `trace` may be NULL. */
td_status fleet_run(const struct cluster *cluster, struct node *node, struct td_trace_writer *trace,
                    const struct td_run_options *options, struct td_run_summary *out_summary);
/* Fails as that would at its beginning: see fleet_check.c. */
td_status fleet_check(const struct cluster *cluster);

/* ---- between the files ---- */

/* fleet.c */
td_status fleet_open(struct fleet *fleet);    /* with cluster, policy, trace and summary set */
void fleet_close(struct fleet *fleet);        /* also of one that did not open */
int64_t fleet_next_time(struct fleet *fleet); /* of an event that is known; INT64_MAX: there is none */

/* Does a worker of a run that is going on execute? */
static inline bool fleet_executes(const struct fleet *fleet, int32_t worker) {
  return fleet->hosted && fleet->views[worker].executes;
}

/* Does its step push KV of prompts to other workers? */
static inline bool fleet_hands_over(const struct replica *replica) {
  for (size_t i = 0; i < replica->chunk_count; i++) {
    if (replica->chunks[i].push_begin != replica->chunks[i].push_end) return true;
  }
  return false;
}

/* fleet_request.c */
td_status fleet_arrive(struct fleet *fleet); /* takes the next request */
/* Back to those that wait, at its place in line, with all that it has put out as part of what it must prefill. */
td_status fleet_start_over(struct fleet *fleet, int32_t slot);
void slots_add(struct fleet *fleet, struct slots *slots, int32_t slot);
int32_t slots_take(struct fleet *fleet, struct slots *slots); /* not empty */
td_status fleet_next_arrival(struct fleet *fleet);
#define FLEET_ROW_TEXT 4200
/* " of FILE:ROW" of the workload's source; "" where there is no row. */
td_status fleet_row_text(const struct fleet *fleet, int64_t row, char *out, size_t bytes);
td_status fleet_line_up(struct fleet *fleet, int32_t slot); /* it waits for a route, if it is admitted */
/* A request's answer is out and the tool that was called with it, if any, has run: whoever waits for it goes on. */
td_status fleet_tool_done(struct fleet *fleet, uint64_t number);
td_status fleet_finish(struct fleet *fleet, int32_t slot); /* its last token is out */
td_status fleet_refuse(struct fleet *fleet, int32_t slot);

/* fleet_check.c */
/* Fails for a request that no worker could ever have, whoever else there is. */
td_status fleet_check_room(const struct fleet *fleet, int32_t slot);

/* fleet_route.c */
int64_t fleet_rank(struct fleet *fleet, int32_t slot);
bool fleet_admits(struct fleet *fleet, int32_t slot);
void fleet_tell_finished(struct fleet *fleet, int32_t slot, int32_t worker);
td_status fleet_route(struct fleet *fleet);
struct td_cluster_view fleet_cluster_view(const struct fleet *fleet);
void fleet_view(struct fleet *fleet, int32_t worker, int64_t blocks, int64_t sequences, int64_t tokens);
void fleet_touch(struct fleet *fleet, int32_t worker);

/* A worker will be needed in a moment. */
static inline void fleet_fetch(const struct fleet *fleet, int32_t worker) {
  const char *replica = (const char *)&fleet->replicas[worker];
  for (size_t at = 0; at < offsetof(struct replica, blocks); at += 64) __builtin_prefetch(replica + at);
  __builtin_prefetch(&fleet->views[worker]);
}

/* fleet_tick.c */
td_status fleet_tick_open(struct fleet *fleet);
int64_t fleet_next_tick(const struct fleet *fleet, int64_t other_ps); /* other_ps: when anything else happens */
td_status fleet_tick(struct fleet *fleet);                            /* if it is due at this instant */

/* fleet_outage.c */
td_status fleet_outages_open(struct fleet *fleet);
void fleet_outages_close(struct fleet *fleet);
/* When the loop goes on: at next_ps, or when a worker fails or is repaired before. other_ps: when anything but that and
 * ticks happens. */
int64_t fleet_next_outage(struct fleet *fleet, int64_t other_ps, int64_t next_ps);
td_status fleet_outage(struct fleet *fleet);   /* those due at this instant */
void fleet_outages_count(struct fleet *fleet); /* at the run's end: who is still down */

/* fleet_tools.c: calls on orchestrators; fleet->tools is there, but for opening and closing */
/* Asks for the time that a request's prompt takes to be made tokens, which ends with fleet_line_up; or it takes none.
 */
td_status fleet_tools_tokenize(struct fleet *fleet, int32_t slot, bool *out_asked);
/* Request `number` has put out so many tokens, its last: what follows ends with fleet_tool_done. */
td_status fleet_tools_answered(struct fleet *fleet, uint64_t number, uint64_t session, int32_t tokens);
int64_t fleet_tools_next(const struct fleet *fleet); /* when a call ends; INT64_MAX: none runs */
bool fleet_tools_pending(const struct fleet *fleet); /* calls that run or wait */
td_status fleet_tools_end(struct fleet *fleet);      /* those that do at this instant */
td_status fleet_tools_give_out(struct fleet *fleet); /* calls begin */
td_status fleet_tools_fail(struct fleet *fleet, int32_t index);
void fleet_tools_repair(struct fleet *fleet, int32_t index);

struct fleet_tools;
struct tool_call;
bool fleet_tools_next_fits(const struct fleet_tools *tools,
                           int32_t index);                                /* cores are free for who is first in line */
td_status fleet_tools_begin(struct fleet *fleet, struct keyed_slot item); /* taken from the line */

/* fleet_tools_power.c: with a cap of the cluster's power */
int64_t cluster_call_uw(const struct cluster_orchestrator *machine, int64_t cores); /* beside idle cores */
int64_t fleet_call_uw(const struct fleet *fleet, const struct tool_call *call);
td_status fleet_tools_want_power(struct fleet *fleet, int32_t index); /* a machine, for who is first in line */
void fleet_tools_want_no_power(struct fleet *fleet, int32_t index);
td_status fleet_tools_power(struct fleet *fleet); /* calls begin that there is power for */

/* fleet_tools_count.c */
td_status fleet_tools_open(struct fleet *fleet);
void fleet_tools_close(struct fleet *fleet);
td_status fleet_tools_stalled(const struct fleet *fleet); /* fails: who waits for what */
td_status fleet_tools_check(struct fleet *fleet);         /* at the run's end: it balances */
void fleet_tools_count(struct fleet *fleet);              /* behind it, with the makespan known */

/* fleet_power.c */
td_status fleet_power_check(const struct cluster *cluster); /* before the run: caps can be kept */
td_status fleet_power_open(struct fleet *fleet);
void fleet_power_close(struct fleet *fleet);
/* What a pool's cap makes of a price, and of times within a step. */
td_status fleet_slow_price(const struct fleet *fleet, struct replica *replica, struct td_price *price);
void fleet_slow_times(int64_t slower, int64_t ps[2]);
/* With a cap of the cluster: */
void fleet_power_release(struct fleet *fleet, int32_t worker); /* it ends a step */
void fleet_power_forget(struct fleet *fleet, int32_t worker);  /* it has failed: it waits no more */
td_status fleet_power_give_out(struct fleet *fleet);           /* lets steps begin */
td_status fleet_power_balance(const struct fleet *fleet);      /* at the run's end: all of it is given back */
td_status fleet_power_count(struct fleet *fleet);              /* at the run's end, with or without a cap */

/* fleet_fail.c */
td_status fleet_fail(struct fleet *fleet, int32_t worker); /* its step, its KV and whoever counted on it */
/* The worker that was to decode it has failed while it was being prefilled elsewhere. */
bool fleet_is_orphan(const struct fleet_request *request);
td_status fleet_orphan(struct fleet *fleet, int32_t slot); /* taken out of the prefill queue: starts over */

/* fleet_fill.c: what a step is of */
td_status fleet_take_joining(struct fleet *fleet, int32_t worker);
td_status fleet_fill_chunks(struct fleet *fleet, int32_t worker);

/* fleet_step.c */
td_status fleet_too_long(void);                                      /* fails */
td_status fleet_later(int64_t ps, int64_t span_ps, int64_t *out_ps); /* the sum, which must be a time */
td_status fleet_lose_step(struct fleet *fleet,
                          int32_t worker); /* the one under way; those of its event done by now count */
td_status fleet_begin_step(struct fleet *fleet, int32_t worker);
/* When a step of those under way begins, 0 the first. */
int64_t fleet_step_begins(const struct replica *replica, int64_t step);
/* How many of the steps under way have begun by now. */
int64_t fleet_steps_by_now(const struct fleet *fleet, const struct replica *replica);
td_status fleet_interrupt(struct fleet *fleet, int32_t worker); /* its merged steps end with the one under way */
td_status fleet_join(struct fleet *fleet, int32_t slot);        /* decodes from its worker's next step on */

/* fleet_step_end.c */
td_status fleet_end_step(struct fleet *fleet, int32_t worker);

/* fleet_pause.c: steps that are filled with prompts first */
/* Whoever paused decodes again, until it pauses anew. */
td_status fleet_pause_end(struct fleet *fleet, int32_t worker);
/* Decoding requests that come before the prompts. */
int64_t fleet_pause_due(const struct fleet *fleet, int32_t worker);
/* Of the others all but `room` pause: those stay that paused in the last step, then those that joined first. */
td_status fleet_pause(struct fleet *fleet, int32_t worker, int64_t room);

/* fleet_kv.c: blocks with kv = grow */
td_status fleet_kv_check(const struct fleet *fleet, int32_t worker); /* before the run: its KV can be swapped */
td_status fleet_kv_join(struct fleet *fleet, struct replica *replica, const struct fleet_request *request);
void fleet_kv_leave(struct fleet *fleet, struct replica *replica, const struct fleet_request *request);
/* Before a step: what was swapped comes back, and who has to leaves, so that the step has its blocks. */
td_status fleet_kv_make_room(struct fleet *fleet, int32_t worker);
/* Its free places, none while some of its requests are swapped out. */
void fleet_kv_places(struct fleet *fleet, int32_t worker);
/* Steps that the free blocks are enough for. */
int64_t fleet_kv_steps(const struct fleet *fleet, int32_t worker);
/* Brings the views of workers in the middle of merged steps up to date. */
void fleet_kv_look(struct fleet *fleet);
/* The steps under way, or `count` of them, are done: their blocks are taken. */
void fleet_kv_taken(struct fleet *fleet, int32_t worker, int64_t count);
void fleet_kv_begun(struct fleet *fleet, int32_t worker); /* the first of the steps under way is */

/* fleet_cache.c: prefix caches; only with fleet->caches.of, but for fleet_cache_close */
td_status fleet_cache_open(struct fleet *fleet);
void fleet_cache_close(struct fleet *fleet);
/* Names its blocks, as the job does. */
td_status fleet_cache_arrive(struct fleet *fleet, struct fleet_request *request, const struct td_job *job);
/* It has another target now. */
void fleet_cache_target(const struct fleet *fleet, struct fleet_request *request);
/* fleet_view's part: the worker has so many more free blocks. */
void fleet_cache_view(struct fleet *fleet, int32_t worker, int64_t blocks);
/* Before its KV blocks are taken, a request gets hold of its leading blocks that the worker has, in any tier. */
td_status fleet_cache_hold(struct fleet *fleet, struct fleet_request *request, int32_t worker);
/* Tokens of its prompt in those blocks: no work for the worker. */
int32_t fleet_cache_held(const struct fleet *fleet, const struct fleet_request *request);
/* Leading tokens of one not begun that its worker need not compute, if it began now. */
int32_t fleet_cache_past(const struct fleet *fleet, const struct fleet_request *request, int32_t worker);
/* It begins now. */
td_status fleet_cache_load(struct fleet *fleet, struct fleet_request *request, int32_t worker);
/* The KV of so many positions is on the worker. */
td_status fleet_cache_keep(struct fleet *fleet, struct fleet_request *request, int32_t worker, int64_t positions);
/* It has left, and given its blocks back. */
void fleet_cache_release(struct fleet *fleet, struct fleet_request *request, int32_t worker);
/* It leaves likewise to start over; if its worker has failed, what it held is lost. */
void fleet_cache_leave(struct fleet *fleet, struct fleet_request *request, int32_t worker, bool failed);
/* The worker has failed: what it kept is lost, but for tiers that survive. Whoever held some leaves after this. */
void fleet_cache_lose(struct fleet *fleet, int32_t worker);

/* fleet_price.c */
/* Opens what prices a pool's steps. */
td_status fleet_price_open(struct fleet *fleet, int32_t worker);
void fleet_price_close(struct fleet *fleet);
/* When the first push of the step under way is ready, and the last, from the step's start. */
td_status fleet_milestones(struct fleet *fleet, const struct replica *replica, int64_t out_ps[2]);
td_status fleet_price_decode(struct fleet *fleet, const struct replica *replica, struct td_price *out_price);
td_status fleet_price_mixed(struct fleet *fleet, const struct replica *replica, struct td_price *out_price);

/* Most requests of a worker's step. */
static inline int64_t fleet_places(const struct fleet *fleet, int32_t worker) {
  return fleet->batch_sequences * fleet->pools[fleet->replicas[worker].pool].ranks;
}

/* KV blocks that nobody has. */
static inline int64_t fleet_free_blocks(const struct fleet *fleet, int32_t worker) {
  const struct replica *replica = &fleet->replicas[worker];
  bool several = fleet->ranked && fleet->pools[replica->pool].ranks > 1;
  return several ? replica->free_blocks : fleet->views[worker].free_blocks;
}

/* fleet_ranks.c: a step's counts where groups of chips deal out its sequences */
void fleet_rank_blocks(struct fleet *fleet, int32_t worker, int64_t blocks); /* so many more are free */
/* From counts of all decoding sequences to those of a group that has so many of them. */
void fleet_share(int64_t sequences, struct td_step_stats *stats);
/* The pool's rank_tokens: those of so many decoding sequences, to which the step's chunks are added. */
void fleet_rank_deal(const struct fleet *fleet, const struct replica *replica, int64_t sequences);
/* Tokens that all groups have room for beside those. */
int64_t fleet_rank_room(const struct fleet *fleet, const struct replica *replica);
/* The group with fewest. */
int32_t fleet_rank_idlest(const struct fleet *fleet, const struct replica *replica);
int32_t fleet_rank_busiest(const struct fleet *fleet, const struct replica *replica); /* of a whole step */
int64_t fleet_rank_sequences(const struct fleet *fleet, const struct replica *replica, int32_t rank);

/* fleet_pipeline.c: see fleet_pipeline.h */
td_status fleet_stages_open(struct fleet *fleet, const struct cluster_worker *worker, struct fleet_stages **out_stages);
void fleet_stages_close(struct fleet_stages *stages); /* NULL is fine */
td_status fleet_stages_price(struct fleet_stages *stages, const struct td_step_stats *stats,
                             struct td_price *out_price);
td_status fleet_stages_sum(const struct fleet_stages *stages, struct td_price *out_price); /* of the prices at hand */
td_status fleet_pipeline_open(struct fleet *fleet, int32_t worker);
void fleet_pipeline_close(struct replica *replica);
/* Before work is given out: merged steps of batches beside those that may begin one end with the one under way. */
td_status fleet_pipeline_look(struct fleet *fleet);
/* Before a worker begins a step: are batches beside it at one? They are in the books then. */
td_status fleet_pipeline_meet(struct fleet *fleet, int32_t worker, bool *out_others);
/* Does its step stay in the open row? *goes_on: nothing else is against it. */
td_status fleet_pipeline_go_on(struct fleet *fleet, int32_t worker, bool others, bool *goes_on);
/* It begins one at `price`, which becomes what it lasts among others. */
td_status fleet_pipeline_enter(struct fleet *fleet, int32_t worker, bool others, struct td_price *price);
void fleet_pipeline_forget(struct fleet *fleet, int32_t worker); /* it has failed */
/* Without stages these are as if a step were all work: */
int64_t fleet_pipeline_work(const struct replica *replica, int64_t steps); /* of the row, at stages */
double fleet_pipeline_effort(const struct replica *replica); /* all of the row's work over its first step's */
/* Of its step of that number in the row, `ps` after it began: time at stages. Of one that is not in the books, as it
 * meets nobody, an even part. */
int64_t fleet_pipeline_spent(const struct fleet *fleet, int32_t worker, int64_t step, int64_t ps);
void fleet_pipeline_count(struct fleet *fleet, int32_t worker, int64_t steps); /* they have ended */
void fleet_pipeline_rows(struct fleet *fleet, int32_t worker, int64_t rows, int64_t outputs);
td_status fleet_pipeline_check(const struct fleet *fleet); /* at the run's end */

/* fleet_pass.c: with pipeline stages, steps that yield no token and have ended for their batch */
td_status fleet_pass(struct fleet *fleet, int32_t worker, bool *out_passes); /* the one that ends now, if it is one */
td_status fleet_pass_push(struct fleet *fleet, int32_t worker, const struct chunk *chunk, const int64_t ready_ps[2]);
td_status fleet_passed(struct fleet *fleet); /* those that have passed the last stage at this instant */
void fleet_pass_drop(const struct fleet *fleet, int32_t worker, int32_t slot); /* its pushes are not to be */
void fleet_pass_forget(struct fleet *fleet, int32_t worker);                   /* it has failed */

/* fleet_link.c */
int64_t fleet_push_layers(const struct fleet *fleet); /* of one push */
td_status fleet_push_now(struct fleet *fleet, int32_t slot, int32_t begin, int32_t end, const int64_t ready_ps[2]);
/* Books a chunk's pushes: see fleet_milestones. */
td_status fleet_push(struct fleet *fleet, int32_t worker, const struct chunk *chunk, const int64_t ready_ps[2]);
/* Prices a request's first push between two workers, once so much of its prompt is computed. */
td_status fleet_try_push(const struct fleet *fleet, int32_t slot, int32_t from, int32_t to, int64_t computed);
td_status fleet_prefilled(struct fleet *fleet, int32_t slot); /* of a request that decodes elsewhere */
td_status fleet_transferred(struct fleet *fleet, int32_t slot);
/* It starts over: what was handed over so far was for nothing. */
void fleet_forget_pushes(struct fleet *fleet, struct fleet_request *request);
void fleet_cut_port(const struct fleet *fleet, struct port *port); /* what it has not done yet it never does */
/* At the run's end: whatever went in came out, for somebody. */
td_status fleet_check_ports(struct fleet *fleet);

/* fleet_record.c */
td_status fleet_record_devices(struct fleet *fleet);
td_status fleet_open_row(struct fleet *fleet, int32_t worker, const struct td_price *price, uint32_t kind);
td_status fleet_close_row(struct fleet *fleet, int32_t worker);
/* Steps of the same batch follow, which last otherwise: with pipeline stages the row goes on (see struct fleet_told).
 */
td_status fleet_turn_row(struct fleet *fleet, int32_t worker);
/* The request takes part in its worker's next `count` device steps, the first of number `index`. */
td_status fleet_resident(struct fleet *fleet, struct fleet_request *request, int32_t worker, uint64_t index,
                         int32_t count, int32_t yields);
td_status fleet_name_request(const struct fleet_request *request, char *out, size_t size);
td_status fleet_record_request(struct fleet *fleet, const struct fleet_request *request, int64_t finished_ps);
td_status fleet_record_refused(struct fleet *fleet, const struct fleet_request *request);
td_status fleet_record_change(struct fleet *fleet, int32_t worker, int change); /* now; enum td_change */

#endif
