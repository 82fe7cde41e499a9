/* SPDX-License-Identifier: Apache-2.0
 *
 * The numbers everyone must get the same way, defined once. All from a td_trace; times in seconds (float64 of the
 * integer picoseconds / 1e12).
 *
 *   TTFT      time of the first output token - arrival
 *   TPOT      (time of the last token - time of the first) / (output tokens - 1), per request with >= 2 tokens
 *   ITL       gaps between consecutive output tokens of a request, all requests pooled
 *   E2E       time of the last token - arrival
 *   queueing  start of the first step - arrival
 *   queueing of calls on orchestrators  start - enqueued, of calls that were not lost
 *   tokens/s per user   (output tokens - 1) / (last token - first token): 1 / TPOT, per request
 *   tokens/s per device output tokens whose step ran on the device / makespan; makespan = last finish - first arrival,
 *                       or the last call's end if that is later
 *   steps, busy, energy per device: every step of a row with count k counts; step i of such a row takes
 *                       energy x (its duration / the first one's), so a stretch has constant power
 *   transfers busy      sum of the transfers' durations
 *   within an SLO       TTFT at most slo_ttft, and (time of the last token - time of the first) / (output tokens - 1),
 *                       in whole picoseconds and 0 with one token, at most slo_tpot; a bound of 0 is none
 *   goodput             requests within both / makespan
 *   percentile p of n sorted values: linear interpolation at rank p/100 * (n-1), as numpy.percentile's default
 *   Values keep the order of the rows of `requests` (ITL: by request, then index) until they are summed: the mean is
 *   numpy.mean's pairwise sum / n, bit for bit. A request without tokens has no TTFT and no E2E, one whose tokens all
 *   have one time no rate per user. Only finished requests count.
 *   percentiles printed: 50, 90, 95, 99, and mean, min, max
 */
#ifndef TANDEM_METRICS_H
#define TANDEM_METRICS_H

#include "tandem/trace.h"

/* Sorts `values` in place. n = 0 gives NaN everywhere. The arithmetic equals numpy's bit for bit. */
struct td_summary {
  uint64_t count;
  double mean, min, p50, p90, p95, p99, max;
};
void td_summarize(double *values, uint64_t count, struct td_summary *out);
double td_percentile(const double *sorted, uint64_t count, double percent);

struct td_device_metrics {
  uint64_t steps, tokens_computed, output_tokens;
  uint32_t time_kinds;                   /* bit k: some step's time is of enum td_time_kind k */
  uint64_t kv_sent, kv_received;         /* bytes */
  double busy_s, tokens_per_s, energy_j; /* NaN when unknown */
};
struct td_request_metrics {
  uint64_t row;                                /* in td_trace.requests */
  double ttft, tpot, e2e, queueing, user_rate; /* s, tokens/s; NaN where there is none */
};
/* Of an orchestrator; lost calls count as well, they had their cores. */
struct td_orchestrator_metrics {
  uint64_t calls; /* that ended there, of any kind */
  uint64_t lost;
  double busy_s, energy_j; /* of cores at calls; NaN when unknown */
  double utilisation;      /* busy_s / (cores x makespan) */
};
struct td_tool_metrics {
  uint64_t machines, cores;         /* in all */
  uint64_t calls, host_calls, lost; /* that ended, of tools and of the host's work on texts; that were lost */
  double busy_s, energy_j;          /* of cores at calls, lost ones too; NaN when unknown */
};
struct td_metrics {
  uint64_t requests, prompt_tokens, output_tokens; /* of those that finished */
  uint64_t refused;                                /* requests */
  uint64_t cached_tokens, interruptions;           /* of all requests, see struct td_row_request */
  double slo_ttft, slo_tpot;                       /* s; 0: none */
  uint64_t within_ttft, within_tpot, within;       /* requests within the SLO: one bound and both */
  double makespan_s, output_tokens_per_s;
  struct td_summary ttft, tpot, itl, e2e, queueing, user_rate;
  uint64_t steps;
  uint64_t role_changes, failures; /* of workers */
  double down_s;                   /* of all workers, within the makespan */
  double energy_j;                 /* of steps; NaN when unknown */
  uint64_t transfers, kv_bytes;
  struct td_tool_metrics tools;
  struct td_summary tool_queueing;               /* of tool calls; none without orchestrators */
  struct td_summary host_queueing;               /* of the host's work on texts */
  double transfer_busy_s;                        /* time with at least one transfer on its way */
  struct td_device_metrics *devices;             /* [count[TD_TABLE_DEVICES]] */
  struct td_request_metrics *per_request;        /* [count[TD_TABLE_REQUESTS]], in the order of the rows */
  struct td_orchestrator_metrics *orchestrators; /* [count[TD_TABLE_ORCHESTRATORS]] */
};
/* Memory grows with the rows of the tables, never with the tokens of modelled steps: ITL's percentiles are found by
 * walking the tokens several times and are exact all the same. Only a file made to keep a program busy has more tokens
 * than this, and is TD_UNSUPPORTED. */
#define TD_METRICS_MAX_TOKENS (UINT64_C(1) << 31)
td_status td_metrics_compute(const struct td_trace *trace, struct td_metrics *out_metrics);
void td_metrics_free(struct td_metrics *metrics);

/* The tables of `tandem show` (of more than 64 devices, a line for those of a pool together), and the one of `show
 * --requests`. */
void td_metrics_print(const struct td_trace *trace, const struct td_metrics *metrics, FILE *out);
void td_metrics_print_requests(const struct td_trace *trace, const struct td_metrics *metrics, FILE *out);
/* "99.9 %": part of all in four digits, or as many as it takes to be told from 100 where it is not all. */
void td_print_percent(double part, double all, FILE *out);
/* Its line of an SLO; nothing without one. */
void td_metrics_print_goodput(const struct td_metrics *metrics, FILE *out);
/* One JSON object with everything above, times in seconds, and what `counted` has beside it (tandem/engine.h). Its keys
 * are always the same: what only a trace knows is null without one, what only the engine counts without `counted`. One
 * of the two may be NULL; then `metrics` says what the other one knows. */
struct td_run_summary;
void td_metrics_json(const struct td_trace *trace, const struct td_metrics *metrics,
                     const struct td_run_summary *counted, FILE *out);

/* The main numbers of several traces beside each other, one column each, with their units. */
struct td_column {
  const char *path;
  const struct td_trace *trace;
  const struct td_metrics *metrics;
};
td_status td_metrics_print_columns(const struct td_column *columns, int32_t count, FILE *out);

#endif
