/* SPDX-License-Identifier: Apache-2.0
 *
 * Policies: where a request's phases run. One file in framework/engine/policies/ is one policy; the file NAME.c defines
 * `const struct td_policy td_policy_NAME`, and `engine.policy = "NAME"` chooses it. Nothing else is edited.
 *
 * A policy is a pure function of the cluster's state and its own, so the same requests are routed the same way whether
 * steps are executed or priced, one by one or merged. It is asked only when that state changes (an arrival, a finished
 * request, freed KV blocks, a tick).
 */
#ifndef TANDEM_POLICY_H
#define TANDEM_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tandem/plan.h"

struct td_worker_view {
  const char *pool;
  int role;               /* enum td_role of tandem/experiment.h */
  bool executes;          /* really computes: its tokens are real */
  bool down;              /* has failed and is not yet repaired: it has no free sequence */
  int64_t blocks;         /* KV blocks it has for one request: of several groups of chips, those of one group */
  int64_t free_blocks;    /* of them, those nobody has reserved; of several groups, of the one that has most */
  int64_t free_sequences; /* requests it may take beside those it has: engine.batch_sequences - active; 0 while some of
                             its own are swapped out */
  int64_t waiting_tokens; /* prompt tokens routed here, not in its prefix cache then and not yet computed */
  int64_t active;         /* requests routed here and not finished here */
};
struct td_load_index;
struct td_prefix_caches;
struct td_cfg_engine;
struct td_cfg_policy;
struct td_config;
struct td_cluster_view {
  const struct td_worker_view *workers;
  int32_t worker_count;
  int64_t now_ps;
  int64_t waiting;                       /* requests that wait for a route, this one included if it already does */
  struct td_slice whole;                 /* the slice that is the whole model */
  const struct td_cfg_engine *engine;    /* the config's group `engine` */
  const struct td_cfg_policy *options;   /* engine.policy_options with this policy's own values where none are given */
  struct td_load_index *loads;           /* for td_policy_least and td_policy_next; NULL: they look at all workers */
  const struct td_prefix_caches *caches; /* for td_policy_cached_tokens and others; NULL: engine.prefix_cache is off */
  void *state;                           /* the policy's own, state_bytes of it, zero when the run begins */
  /* All workers together. Prompt tokens: of those that wait for a route, routed and
   * not yet computed, computed so far; and for how long workers were at steps with prompts so far. */
  int64_t queued_tokens, waiting_tokens, prefilled_tokens;
  double prefill_s;
};
struct td_request_view {
  uint64_t request;
  int64_t prompt_tokens, max_tokens, arrival_ps;
  int64_t prefill_blocks; /* KV blocks the prompt needs */
  int64_t decode_blocks;  /* KV blocks prompt and output need */
  int32_t tier;           /* of service: 0 is the most urgent */
  int32_t turn;           /* of its session */
  uint64_t session;       /* 0: none */
  int32_t prefill_worker; /* when `place` is asked: where it was prefilled; else -1 */
  /* see struct td_job of tandem/workload.h */
  const uint64_t *prefix;
  int32_t prefix_count, prefix_tokens;
  const uint64_t *keys; /* with caches: of the leading blocks, each of the whole prompt up to its end */
  int32_t key_count;
};

/* A number of a worker, for td_policy_least, or TD_NOT_HERE. It goes by the worker's own view, the options and the
 * policy's state, and by nothing else. */
typedef int64_t (*td_policy_measure)(const struct td_cluster_view *cluster, int32_t worker);
#define TD_NOT_HERE INT64_MAX /* not this worker, whatever room it has */

enum td_verdict {
  TD_WAIT,  /* ask again when the state has changed; those behind it wait too */
  TD_ROUTE, /* the plan says where */
  TD_REFUSE /* never: the request ends without output (admission control) */
};
/* The decode worker of a plan that leaves the choice to `place`. */
#define TD_WORKER_LATER (-2)

/* What a tick may do. */
struct td_control;
/* Asks a worker to serve another role from now on: what it has goes on, what is routed goes by the new one. */
td_status td_control_role(struct td_control *control, int32_t worker, int role);

/* A key of engine.policy_options that a policy reads; one that it does not read is refused. */
struct td_policy_option {
  const char *name;
  double fallback;  /* taken when it is not given; NAN: it must be; INFINITY: no bound */
  const char *help; /* what this policy does with it */
};

struct td_policy {
  size_t size; /* sizeof(struct td_policy) */
  const char *name;
  const char *summary;                    /* one line for `tandem policies` and the docs */
  const char *help;                       /* a few sentences; NULL: the summary says it all */
  const struct td_policy_option *options; /* ends with a NULL name; NULL: it reads none */
  /* Roles (bits 1 << role) that get KV from pools of role [i]: `check` and `run` want links for them before they begin.
   * All zero: from prefill to decode. */
  uint32_t sends[3];
  size_t state_bytes; /* of cluster->state; at most 16 MiB */
  /* Before the run: TD_CONFIG if the cluster lacks a role this policy needs, or its options do not fit together. */
  td_status (*check)(const struct td_cluster_view *cluster);
  /* Where a request goes: a plan in *out_plan, or not yet, or never. The workers named must have a free sequence and
   * the blocks: prefill_blocks where prefill alone runs, decode_blocks where decode runs. Must not say TD_WAIT on an
   * empty cluster if the request can ever run. */
  enum td_verdict (*route)(const struct td_cluster_view *cluster, const struct td_request_view *request,
                           struct td_step_plan *out_plan);

  /* ---- optional; NULL: not needed ---- */
  /* At most 7, ends with NULL: the measures for which the engine keeps an index, so that td_policy_least need not look
   * at all workers. */
  const td_policy_measure *measures;
  bool seeks_holders; /* and one of who has what in its prefix cache, for td_policy_holders */
  /* May a request that has just arrived wait for a route? false: it is refused. */
  bool (*admit)(const struct td_cluster_view *cluster, const struct td_request_view *request);
  /* The decode worker of a request whose prefill is done and whose plan said TD_WORKER_LATER; -1: none has room yet. */
  int32_t (*place)(const struct td_cluster_view *cluster, const struct td_request_view *request);
  /* Order of those that wait: the smallest first, equals by arrival. Fixed once a request has arrived. */
  int64_t (*rank)(const struct td_cluster_view *cluster, const struct td_request_view *request);
  /* A request has finished on its decode worker, or was refused (-1). */
  void (*finished)(const struct td_cluster_view *cluster, const struct td_request_view *request, int32_t worker);
  /* Every engine.policy_interval seconds of the run, as long as requests are in flight; before those that wait are
   * routed again. */
  td_status (*tick)(const struct td_cluster_view *cluster, struct td_control *control);
  /* A tick and the routes after it go by what they are shown and not by now_ps or by how often they are asked, so that
   * ticks are left out until something has changed since one that did nothing. false: every tick is asked. */
  bool settles;
};
extern const struct td_policy *const td_policies[]; /* generated; ends with NULL */
const struct td_policy *td_policy_find(const char *name);

/* Has it a role in `roles` (bit 1 << role), and `blocks` and a sequence free? */
bool td_policy_has_room(const struct td_worker_view *worker, uint32_t roles, int64_t blocks);
/* Of the workers that have this room that for which a measure is
 * least, of equals the smallest number; -1: none has the room, or the measure leaves out those that have. The logarithm
 * of the workers' number if the policy lists the measure, else their number. */
int32_t td_policy_least(const struct td_cluster_view *cluster, td_policy_measure measure, uint32_t roles,
                        int64_t blocks);
/* To be called when the policy's own state has changed, or will before the next question, in what a measure says of a
 * worker. What changes in its view is known. */
void td_policy_changed(const struct td_cluster_view *cluster, int32_t worker);
/* The measure that most policies go by: waiting tokens, of equals active requests. It need not be listed. */
int64_t td_policy_work(const struct td_cluster_view *cluster, int32_t worker);
/* td_policy_least by td_policy_work. */
int32_t td_policy_least_work(const struct td_cluster_view *cluster, uint32_t roles, int64_t blocks);
/* The first worker from number `from` on, around the end, with a role in `roles`, `blocks` and a sequence free; -1:
 * none. The logarithm of the workers' number. */
int32_t td_policy_next(const struct td_cluster_view *cluster, uint32_t roles, int64_t blocks, int32_t from);
/* True if any worker has a role in `roles`. */
bool td_policy_has_role(const struct td_cluster_view *cluster, uint32_t roles);
/* TD_CONFIG in the words of policy `name` unless every role in `roles` has a worker. */
td_status td_policy_needs(const struct td_cluster_view *cluster, const char *name, uint32_t roles);

/* Leading tokens of the prompt that a worker would not compute if it began now: those in its prefix cache, in any tier
 * of it. 0 without caches. */
int64_t td_policy_cached_tokens(const struct td_cluster_view *cluster, int32_t worker,
                                const struct td_request_view *request);

/* The same of a worker that has the first so many of the request's keys. */
int64_t td_policy_key_tokens(const struct td_cluster_view *cluster, const struct td_request_view *request,
                             int32_t keys);
/* How many workers have the block of a key of the request's in their prefix caches, in any tier, and which, by number,
 * until the route is chosen. They need not have the keys before it. At once if the policy `seeks_holders`, else all
 * workers are looked at. 0 without caches. */
int32_t td_policy_holders(const struct td_cluster_view *cluster, uint64_t key, const int32_t **out_workers);

/* Split over the prefill and the decode worker with the least work; TD_WAIT if either kind lacks room. */
enum td_verdict td_policy_route_split(const struct td_cluster_view *cluster, const struct td_request_view *request,
                                      struct td_step_plan *out_plan);
/* For policies about other things than where: on the worker of role both with the least work, and if there is none with
 * room, split as by td_policy_route_split. */
enum td_verdict td_policy_route_least(const struct td_cluster_view *cluster, const struct td_request_view *request,
                                      struct td_step_plan *out_plan);
/* What td_policy_route_least needs: workers of role both, or of both other roles. */
td_status td_policy_needs_any(const struct td_cluster_view *cluster, const char *name);

/* engine.policy_options for a policy: what the config gives, else the policy's own. TD_CONFIG with file:line for a key
 * that the policy does not read (naming those that do) and for one that it needs. */
td_status td_policy_resolve(const struct td_config *config, const struct td_policy *policy,
                            const struct td_cfg_policy *given, struct td_cfg_policy *out_options);
/* A policy's zeroed state; free() it. */
td_status td_policy_state(const struct td_policy *policy, void **out_state);

/* A policy's documentation, as Markdown and as a JSON object; that of all of them. */
void td_policy_help(const struct td_policy *policy, FILE *out);
void td_policy_json(const struct td_policy *policy, FILE *out);
void td_policies_help(FILE *out);

#endif
