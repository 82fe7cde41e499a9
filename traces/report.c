/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables of `tandem show`.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "report.h"
#include "tandem/metrics.h"
#include "tools.h"
#include "values.h"

enum { DEVICES_LISTED = 64 };

const char *const td_finish_names[] = {"length", "end", "refused"};

void td_report_lines(const struct td_metrics *metrics, struct td_line out[TD_LINES]) {
  out[0] = (struct td_line){"TTFT", "ttft", &metrics->ttft, true};
  out[1] = (struct td_line){"TPOT", "tpot", &metrics->tpot, true};
  out[2] = (struct td_line){"ITL", "itl", &metrics->itl, true};
  out[3] = (struct td_line){"E2E", "e2e", &metrics->e2e, true};
  out[4] = (struct td_line){"queueing", "queueing", &metrics->queueing, true};
  out[5] = (struct td_line){"per user", "user_rate", &metrics->user_rate, false};
}

static void print_fact(const char *title, const char *value, FILE *out) {
  fprintf(out, "%-11s ", title);
  td_print_text(out, 0, value);
  fprintf(out, "\n");
}

static void print_header(const struct td_trace *trace, const struct td_metrics *metrics, FILE *out) {
  print_fact("experiment", trace->experiment, out);
  print_fact("model", trace->model, out);
  print_fact("pace", trace->pace, out);
  if (trace->awake && *trace->awake) print_fact("kept awake", trace->awake, out);
  print_fact("policy", trace->policy, out);
  if (!trace->complete) {
    print_fact("INCOMPLETE", *trace->reason ? trace->reason : "the run was stopped; finished requests count below",
               out);
  }
  fprintf(out, "requests    %" PRIu64 " finished, ", metrics->requests);
  if (metrics->refused) fprintf(out, "%" PRIu64 " refused, ", metrics->refused);
  fprintf(out, "%" PRIu64 " prompt tokens, %" PRIu64 " output tokens", metrics->prompt_tokens, metrics->output_tokens);
  if (!isnan(metrics->makespan_s)) {
    fprintf(out, " in %.6g s: %.6g tokens/s", metrics->makespan_s, metrics->output_tokens_per_s);
  }
  fprintf(out, "\n");
}

static void print_line(const struct td_line *line, FILE *out) {
  const struct td_summary *s = line->summary;
  const double values[] = {s->mean, s->min, s->p50, s->p90, s->p95, s->p99, s->max};
  const struct td_scale scale = line->is_time ? td_scale_for(s->max) : (struct td_scale){"tokens/s", 1};
  fprintf(out, "%-9s %-8s %7" PRIu64, line->title, s->count ? scale.unit : "-", s->count);
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) td_print_value(out, 11, values[i] * scale.factor);
  fprintf(out, "\n");
}

/* The sum of devices [begin, end). An idle one has no energy and adds none. */
static struct td_device_metrics sum_devices(const struct td_metrics *metrics, uint64_t begin, uint64_t end) {
  struct td_device_metrics sum = {.energy_j = NAN};
  for (uint64_t i = begin; i < end; i++) {
    const struct td_device_metrics *device = &metrics->devices[i];
    if (device->steps) sum.energy_j = sum.steps ? sum.energy_j + device->energy_j : device->energy_j;
    sum.steps += device->steps;
    sum.tokens_computed += device->tokens_computed;
    sum.output_tokens += device->output_tokens;
    sum.time_kinds |= device->time_kinds;
    sum.busy_s += device->busy_s;
    sum.tokens_per_s += device->tokens_per_s;
  }
  return sum;
}

/* Devices [begin, end), which are alike, as one line. */
static void print_group(const struct td_trace *trace, const struct td_metrics *metrics, uint64_t begin, uint64_t end,
                        FILE *out) {
  const struct td_row_device *row = &trace->devices[begin];
  struct td_device_metrics sum = sum_devices(metrics, begin, end);
  char name[sizeof row->pool + 32];
  snprintf(name, sizeof name, "%s", row->name);
  if (end - begin > 1) snprintf(name, sizeof name, "%s x %" PRIu64, row->pool, end - begin);
  td_print_text(out, 14, name);
  fprintf(out, " ");
  td_print_text(out, 10, row->backend);
  fprintf(out, " %-8s %-8s %-8s %7" PRIu64 " %9" PRIu64 " %8" PRIu64, td_role_name(row->role),
          td_executes_name(row->executes), td_times_name(sum.time_kinds), sum.steps, sum.tokens_computed,
          sum.output_tokens);
  td_print_value(out, 12, sum.tokens_per_s);
  td_print_value(out, 12, sum.busy_s);
  td_print_value(out, 12, sum.energy_j);
  fprintf(out, "\n");
}

static bool alike(const struct td_row_device *a, const struct td_row_device *b) {
  return !strcmp(a->pool, b->pool) && !strcmp(a->backend, b->backend) && a->role == b->role &&
         a->executes == b->executes;
}

/* A line each; of more than anybody reads, a line for each pool's devices behind one another. */
static void print_devices(const struct td_trace *trace, const struct td_metrics *metrics, FILE *out) {
  uint64_t count = trace->count[TD_TABLE_DEVICES], end;
  fprintf(out, "\n%-14s %-10s %-8s %-8s %-8s %7s %9s %8s %11s %11s %11s\n", "device", "backend", "role", "tokens",
          "times", "steps", "computed", "output", "tokens/s", "busy s", "energy J");
  for (uint64_t begin = 0; begin < count; begin = end) {
    end = begin + 1;
    while (count > DEVICES_LISTED && end < count && alike(&trace->devices[begin], &trace->devices[end])) end++;
    print_group(trace, metrics, begin, end, out);
  }
}

/* A quotient below 1 stays below 100 when it is multiplied by it, so that 17 digits always tell. */
void td_print_percent(double part, double all, FILE *out) {
  char text[32];
  int digits = 4;
  do snprintf(text, sizeof text, "%.*g", digits++, all > 0 ? 100 * (part / all) : 0);
  while (part < all && !strcmp(text, "100") && digits <= 17);
  fprintf(out, "%s %%", text);
}

void td_metrics_print_goodput(const struct td_metrics *metrics, FILE *out) {
  double all = (double)(metrics->requests + metrics->refused);
  if (!(metrics->slo_ttft > 0 || metrics->slo_tpot > 0) || !(metrics->makespan_s > 0)) return;
  fprintf(out, "goodput     %.6g requests/s: ", (double)metrics->within / metrics->makespan_s);
  td_print_percent((double)metrics->within, all, out);
  fprintf(out, " within the SLO (TTFT ");
  td_print_percent((double)metrics->within_ttft, all, out);
  fprintf(out, ", TPOT ");
  td_print_percent((double)metrics->within_tpot, all, out);
  fprintf(out, ")\n");
}

/* What many runs have nothing of. */
static void print_rest(const struct td_metrics *metrics, FILE *out) {
  if (metrics->cached_tokens) {
    fprintf(out, "kept        %" PRIu64 " tokens were not prefilled, as prefix caches had them\n",
            metrics->cached_tokens);
  }
  if (metrics->interruptions) {
    fprintf(out, "interrupted %" PRIu64 " times: requests were preempted, or their worker failed\n",
            metrics->interruptions);
  }
  if (metrics->role_changes + metrics->failures) {
    fprintf(out, "workers     %" PRIu64 " changes of role, %" PRIu64 " failures, %.6g s down\n", metrics->role_changes,
            metrics->failures, metrics->down_s);
  }
  td_metrics_print_goodput(metrics, out);
}

void td_metrics_print(const struct td_trace *trace, const struct td_metrics *metrics, FILE *out) {
  struct td_line all[TD_LINES];
  td_report_lines(metrics, all);
  print_header(trace, metrics, out);
  fprintf(out, "\n%-9s %-8s %7s %10s %10s %10s %10s %10s %10s %10s\n", "", "", "n", "mean", "min", "p50", "p90", "p95",
          "p99", "max");
  for (int i = 0; i < TD_LINES; i++) print_line(&all[i], out);
  print_devices(trace, metrics, out);
  fprintf(out, "\nKV moved    %" PRIu64 " B in %" PRIu64 " transfers, on the way for %.6g s\n", metrics->kv_bytes,
          metrics->transfers, metrics->transfer_busy_s);
  td_tools_print(trace, metrics, out);
  print_rest(metrics, out);
}

void td_metrics_print_requests(const struct td_trace *trace, const struct td_metrics *metrics, FILE *out) {
  struct td_scale ttft = td_scale_for(metrics->ttft.max), tpot = td_scale_for(metrics->tpot.max);
  struct td_scale e2e = td_scale_for(metrics->e2e.max), queueing = td_scale_for(metrics->queueing.max);
  fprintf(out, "\n%-20s %8s %8s %8s %7s    TTFT %-3s    TPOT %-3s     E2E %-3s  queued %-3s %12s\n", "request",
          "prompt", "cached", "output", "finish", ttft.unit, tpot.unit, e2e.unit, queueing.unit, "KV bytes");
  for (uint64_t i = 0; i < trace->count[TD_TABLE_REQUESTS]; i++) {
    const struct td_request_metrics *request = &metrics->per_request[i];
    const struct td_row_request *row = &trace->requests[request->row];
    td_print_text(out, 20, row->name);
    fprintf(out, " %8" PRIu32 " %8" PRIu32 " %8" PRIu32 " %7s", row->prompt_tokens, row->cached_tokens,
            row->output_tokens, td_finish_names[row->finish]);
    td_print_value(out, 12, request->ttft * ttft.factor);
    td_print_value(out, 12, request->tpot * tpot.factor);
    td_print_value(out, 12, request->e2e * e2e.factor);
    td_print_value(out, 12, request->queueing * queueing.factor);
    fprintf(out, " %12" PRIu64 "\n", row->kv_bytes);
  }
}
