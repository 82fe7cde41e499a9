/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine: requests, continuous batching with chunked prefill, KV accounting, routing, hand-off, over integer
 * picoseconds, in one event loop. Workers that execute are posted their steps and answer with completions; steps of
 * modelled ones are priced, and those alike are one event (docs/fleets.md).
 */
#ifndef TANDEM_ENGINE_H
#define TANDEM_ENGINE_H

#include <stdio.h>

#include "tandem/comm.h"
#include "tandem/experiment.h"
#include "tandem/trace.h"

/* Checks what a config asks of this program: backends, devices, policy and roles exist; paces have prices and links;
 * the model opens; every prompt with its output fits the context and the KV capacity; the first request's first prefill
 * and decode step and its hand-off have a price on each pool that may get them (an LPU's program is compiled for that).
 * TD_CONFIG with file:line, or the error of the model or the price, as a run would give it. Executes nothing. */
td_status td_engine_check(const struct td_config *config, const struct td_experiment *experiment);

/* What a worker of pool `pool` would have compiled: rows, KV blocks and context as in a run. TD_CONFIG if the pool is
 * not of backend lpu. */
td_status td_engine_lpu_options(const struct td_config *config, const struct td_experiment *experiment, int32_t pool,
                                struct td_lpu_options *out_options);

/* Values counted as they come, in bins of 1/128 of their power of two: quantiles are within 0.4 %, means exact. */
#define TD_TALLY_BINS 7424
struct td_tally {
  uint64_t count, bins[TD_TALLY_BINS];
  double sum; /* ps */
  int64_t low, high;
};
void td_tally_add(struct td_tally *tally, int64_t ps, uint64_t times); /* ps: not negative */
/* The percentile, interpolated as tandem/metrics.h says, ps; NaN without values. */
double td_tally_quantile(const struct td_tally *tally, double percent);

/* What prefix caches did. Prompts that are prefilled again count again; evicted: given up, to the tier below or for
 * good; lost: kept, but on workers that failed. */
#define TD_RUN_TIERS_MAX 16
struct td_run_tier {
  char name[32];
  uint64_t hit_tokens, evicted_tokens;
};
struct td_run_prefix {
  bool on;
  uint64_t computed_tokens; /* of prompts; with hits all there were */
  uint64_t lost_tokens;
  double load_s; /* that steps waited for blocks of lower tiers */
  int32_t tier_count;
  struct td_run_tier tiers[TD_RUN_TIERS_MAX]; /* by name, the devices' own memory first */
};

/* What orchestrators did. */
struct td_run_tools {
  bool on;
  int64_t machines, cores;        /* in all */
  uint64_t calls, host_calls;     /* of tools; of the host's own work on texts */
  uint64_t failures, lost;        /* of machines; calls that began again for them */
  double down_s;                  /* of all machines, within the makespan */
  double busy_s, up_s;            /* of cores at calls, those that were lost too; of cores of machines that were up */
  double energy_j, energy_idle_j; /* of cores at calls, and of idle ones; NaN if their watts are not known */
  struct td_tally queueing, host_queueing; /* from when a call was asked for until its last beginning */
};

/* What KV goes through: each worker has a port that sends and one that receives. */
struct td_run_port {
  char worker[32];
  bool sends;
  uint64_t bytes;
  int64_t busy_ps; /* within the run */
};

/* What a run comes to without looking at its trace; the words are those of tandem/metrics.h. A run that ended well has
 * filled it on rank 0. */
struct td_run_summary {
  bool filled;
  char experiment[256], model[256], pace[12], policy[64]; /* names, cut where they are longer */
  uint64_t requests, refused, prompt_tokens, output_tokens;
  uint64_t cached_tokens;                      /* not prefilled, as prefix caches had them */
  uint64_t steps, decode_steps, decode_tokens; /* decode_tokens / decode_steps: the mean batch */
  uint64_t events;                             /* that the engine handled */
  uint64_t transfers, kv_bytes;
  struct td_run_port busiest_port; /* that was busy longest; busy_ps 0: none was */
  uint64_t stage_bytes;            /* between pipeline stages, back to the first too */
  uint64_t preemptions;
  uint64_t role_changes;            /* of workers, by the policy */
  uint64_t pauses;                  /* steps that decoding requests were left out of, for prompts */
  uint64_t failures, restarts;      /* of workers; requests that started over for them */
  uint64_t lost_steps, lost_tokens; /* under way; computed positions whose KV was lost */
  double down_s;                    /* of all workers, within the makespan */
  struct td_run_prefix prefix;
  struct td_run_tools tools;
  struct td_cfg_slo slo;                     /* of the config */
  uint64_t within_ttft, within_tpot, within; /* requests that see it, one and both */
  int64_t first_arrival_ps, makespan_ps;
  /* of steps, those that were lost too, and of workers idle (not down) within the makespan, LPUs by the idle units of
   * their chips; NaN if a worker has no device file with a power */
  double energy_j, energy_idle_j;
  char power_basis[12]; /* what the device files' powers count: "chip", "all-in", "utility"; "mixed", "unknown" */
  struct td_tally ttft, tpot, e2e, queueing;
  struct td_tally user_rate; /* not ps, but tokens in 10^6 s */
};
void td_run_summary_print(const struct td_run_summary *summary, FILE *out);
/* Of it what a trace does not tell: the busiest port, tiers of prefix caches, what was lost, idle energy. */
void td_run_counted_print(const struct td_run_summary *summary, FILE *out);
/* With the keys of td_metrics_json (tandem/metrics.h). */
void td_run_summary_json(const struct td_run_summary *summary, FILE *out);

struct td_run_options {
  const char *trace_path; /* where the trace goes (rank 0); NULL: no trace */
  /* Called on rank 0 for each executed output token, in event order; NULL: nobody listens. `last`: the request ends
   * with it. `text` may be half a character. */
  void (*on_token)(void *context, uint64_t request, const char *name, const char *text, size_t bytes, bool last);
  void *context;
  struct td_run_summary *summary; /* NULL: not wanted */
};

/* Runs an experiment on the ranks of `transport`: call it on every rank, with a transport not yet started; it is closed
 * when this returns. On failure the trace stays PATH.part, marked with the reason. A failure to open what executes is
 * returned on every rank; a later one on rank 0, which has told the others to end. */
td_status td_engine_run(const struct td_config *config, const struct td_experiment *experiment,
                        struct td_transport *transport, const struct td_run_options *options);

#endif
