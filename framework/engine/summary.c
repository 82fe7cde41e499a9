/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run comes to, counted while it goes.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tandem/base.h"
#include "tandem/engine.h"
#include "tandem/metrics.h"

/* ---- tallies ---- */

enum { FRACTION_BITS = 7, FRACTION = 1 << FRACTION_BITS };

/* Values below 128 ps each have a bin, the others 128 to each power of two. */
static int32_t bin_of(uint64_t value) {
  if (value < FRACTION) return (int32_t)value;
  int32_t power = 63 - __builtin_clzll(value);
  return (power - FRACTION_BITS + 1) * FRACTION + (int32_t)((value >> (power - FRACTION_BITS)) - FRACTION);
}

static double middle_of(int32_t bin) {
  if (bin < FRACTION) return bin;
  int32_t power = bin / FRACTION - 1;
  return ldexp((double)(FRACTION + bin % FRACTION) + 0.5, power);
}

void td_tally_add(struct td_tally *tally, int64_t ps, uint64_t times) {
  if (!tally->count || ps < tally->low) tally->low = ps;
  if (!tally->count || ps > tally->high) tally->high = ps;
  tally->count += times;
  tally->sum += (double)ps * (double)times;
  tally->bins[bin_of((uint64_t)ps)] += times;
}

/* The value that `rank` others come before. */
static double ranked(const struct td_tally *tally, uint64_t rank) {
  int32_t bin = 0;
  if (rank + 1 >= tally->count) return (double)tally->high;
  for (uint64_t seen = tally->bins[0]; seen <= rank; seen += tally->bins[bin]) bin++;
  double value = middle_of(bin);
  if (value < (double)tally->low) return (double)tally->low;
  return value > (double)tally->high ? (double)tally->high : value;
}

double td_tally_quantile(const struct td_tally *tally, double percent) {
  if (!tally->count) return NAN;
  double rank = percent / 100 * (double)(tally->count - 1), part = rank - floor(rank);
  double below = ranked(tally, (uint64_t)rank);
  return part > 0 ? below + part * (ranked(tally, (uint64_t)rank + 1) - below) : below;
}

/* ---- as a trace would say it ---- */

static struct td_summary summary_of(const struct td_tally *tally, double unit) {
  bool any = tally->count > 0;
  return (struct td_summary){.count = tally->count,
                             .mean = any ? tally->sum / (double)tally->count * unit : NAN,
                             .min = any ? (double)tally->low * unit : NAN,
                             .p50 = td_tally_quantile(tally, 50) * unit,
                             .p90 = td_tally_quantile(tally, 90) * unit,
                             .p95 = td_tally_quantile(tally, 95) * unit,
                             .p99 = td_tally_quantile(tally, 99) * unit,
                             .max = any ? (double)tally->high * unit : NAN};
}

static struct td_tool_metrics tools_of(const struct td_run_tools *tools) {
  return (struct td_tool_metrics){.machines = (uint64_t)tools->machines,
                                  .cores = (uint64_t)tools->cores,
                                  .calls = tools->calls,
                                  .host_calls = tools->host_calls,
                                  .lost = tools->lost,
                                  .busy_s = tools->busy_s,
                                  .energy_j = tools->energy_j};
}

static struct td_metrics metrics_of(const struct td_run_summary *summary) {
  double span = summary->makespan_ps > 0 ? td_seconds(summary->makespan_ps) : NAN;
  return (struct td_metrics){.requests = summary->requests,
                             .refused = summary->refused,
                             .prompt_tokens = summary->prompt_tokens,
                             .output_tokens = summary->output_tokens,
                             .cached_tokens = summary->cached_tokens,
                             .interruptions = summary->preemptions + summary->restarts,
                             .slo_ttft = summary->slo.ttft,
                             .slo_tpot = summary->slo.tpot,
                             .within_ttft = summary->within_ttft,
                             .within_tpot = summary->within_tpot,
                             .within = summary->within,
                             .makespan_s = span,
                             .output_tokens_per_s = (double)summary->output_tokens / span,
                             .ttft = summary_of(&summary->ttft, 1e-12),
                             .tpot = summary_of(&summary->tpot, 1e-12),
                             .e2e = summary_of(&summary->e2e, 1e-12),
                             .queueing = summary_of(&summary->queueing, 1e-12),
                             .user_rate = summary_of(&summary->user_rate, 1e-6),
                             .steps = summary->steps,
                             .role_changes = summary->role_changes,
                             .failures = summary->failures,
                             .down_s = summary->down_s,
                             .energy_j = summary->energy_j,
                             .transfers = summary->transfers,
                             .kv_bytes = summary->kv_bytes,
                             .tools = tools_of(&summary->tools),
                             .tool_queueing = summary_of(&summary->tools.queueing, 1e-12),
                             .host_queueing = summary_of(&summary->tools.host_queueing, 1e-12)};
}

/* ---- printing ---- */

static double mean_s(const struct td_tally *tally) {
  return tally->count ? tally->sum / (double)tally->count * 1e-12 : NAN;
}

static const double percents[] = {50, 90, 99};

/* What is of nothing is a dash. */
static void print_cell(double value, FILE *out) {
  if (isfinite(value)) {
    fprintf(out, " %12.6g", value);
  } else {
    fprintf(out, " %12s", "-");
  }
}

static void print_tally(const char *name, const struct td_tally *tally, FILE *out) {
  fprintf(out, "%-9s", name);
  print_cell(mean_s(tally), out);
  for (size_t i = 0; i < 3; i++) print_cell(td_tally_quantile(tally, percents[i]) * 1e-12, out);
  print_cell(tally->count ? td_seconds(tally->high) : NAN, out);
  fprintf(out, "\n");
}

static double share(uint64_t tokens, uint64_t all) {
  return all ? (double)tokens / (double)all : 0;
}

static uint64_t prompt_tokens(const struct td_run_prefix *prefix) {
  uint64_t sum = prefix->computed_tokens;
  for (int32_t i = 0; i < prefix->tier_count; i++) sum += prefix->tiers[i].hit_tokens;
  return sum;
}

static void print_prefix(const struct td_run_prefix *prefix, FILE *out) {
  uint64_t all = prompt_tokens(prefix);
  if (!prefix->on) return;
  fprintf(out, "%.4g %% of prompt tokens found in prefix caches:", 100 * share(all - prefix->computed_tokens, all));
  for (int32_t i = 0; i < prefix->tier_count; i++) {
    const struct td_run_tier *tier = &prefix->tiers[i];
    fprintf(out, "%s %s %" PRIu64 " (%" PRIu64 " evicted)", i ? "," : "", tier->name, tier->hit_tokens,
            tier->evicted_tokens);
  }
  if (prefix->tier_count > 1) fprintf(out, "; steps waited %.6g s for loads", prefix->load_s);
  if (prefix->lost_tokens) fprintf(out, "; %" PRIu64 " kept tokens lost with workers", prefix->lost_tokens);
  fprintf(out, "\n");
}

static void print_port(const struct td_run_port *port, double span, FILE *out) {
  if (!port->busy_ps) return;
  fprintf(out, "the busiest port, where %s %s, is busy ", port->worker, port->sends ? "sends" : "receives");
  td_print_percent(td_seconds(port->busy_ps), span, out);
  fprintf(out, " of the time\n");
}

static void print_lost(const struct td_run_summary *summary, FILE *out) {
  if (!summary->failures) return;
  fprintf(out,
          "%" PRIu64 " failures, %.6g s of workers down: %" PRIu64 " steps and the KV of %" PRIu64
          " tokens lost, %" PRIu64 " requests started over\n",
          summary->failures, summary->down_s, summary->lost_steps, summary->lost_tokens, summary->restarts);
}

static void print_tools(const struct td_run_tools *tools, FILE *out) {
  if (!tools->on) return;
  fprintf(out, "%" PRIu64 " tool calls and %" PRIu64 " of text on %" PRId64 " cores of %" PRId64 " orchestrators, ",
          tools->calls, tools->host_calls, tools->cores, tools->machines);
  td_print_percent(tools->busy_s, tools->up_s, out);
  fprintf(out, " of their time");
  if (isfinite(tools->energy_j)) {
    fprintf(out, "; %.6g J at calls, %.6g J idle", tools->energy_j, tools->energy_idle_j);
  }
  fprintf(out, "\n");
  if (!tools->failures) return;
  fprintf(out,
          "%" PRIu64 " failures of orchestrators, %.6g s of them down: %" PRIu64 " calls lost, which began again\n",
          tools->failures, tools->down_s, tools->lost);
}

/* Of workers and of orchestrators; NaN if some watts are not known. */
static double all_energy(const struct td_run_summary *summary) {
  return summary->energy_j + summary->energy_idle_j + summary->tools.energy_j + summary->tools.energy_idle_j;
}

static void print_energy(const struct td_run_summary *summary, double span, FILE *out) {
  double all = all_energy(summary);
  if (isfinite(summary->energy_j) && summary->output_tokens) {
    fprintf(out, "%.6g J in steps, %.6g J per output token\n", summary->energy_j,
            summary->energy_j / (double)summary->output_tokens);
  }
  if (!isfinite(all) || span <= 0) return;
  fprintf(out, "%.6g J idle, %.6g J in all (power basis: %s): %.6g W in the mean", summary->energy_idle_j, all,
          summary->power_basis, all / span);
  if (all > 0) fprintf(out, ", %.6g output tokens/J", (double)summary->output_tokens / all); /* not if all are down */
  fprintf(out, "\n");
}

void td_run_counted_print(const struct td_run_summary *summary, FILE *out) {
  double span = td_seconds(summary->makespan_ps);
  print_port(&summary->busiest_port, span, out);
  if (summary->stage_bytes) fprintf(out, "%.6g GB between pipeline stages\n", (double)summary->stage_bytes / 1e9);
  if (summary->pauses) fprintf(out, "%" PRIu64 " pauses\n", summary->pauses);
  print_prefix(&summary->prefix, out);
  print_tools(&summary->tools, out);
  print_lost(summary, out);
  print_energy(summary, span, out);
}

static void print_counts(const struct td_run_summary *summary, double span, FILE *out) {
  fprintf(out, "%" PRIu64 " requests", summary->requests);
  if (summary->refused) fprintf(out, " (%" PRIu64 " refused)", summary->refused);
  fprintf(out, ", %" PRIu64 " prompt and %" PRIu64 " output tokens in %.6g s", summary->prompt_tokens,
          summary->output_tokens, span);
  if (span > 0) {
    fprintf(out, ": %.6g requests/s, %.6g tokens/s", (double)summary->requests / span,
            (double)summary->output_tokens / span);
  }
  fprintf(out, "\n%" PRIu64 " steps, %" PRIu64 " events", summary->steps, summary->events);
  if (summary->decode_steps) {
    fprintf(out, "; mean batch of decode steps %.4g", (double)summary->decode_tokens / (double)summary->decode_steps);
  }
  fprintf(out, "\n");
}

void td_run_summary_print(const struct td_run_summary *summary, FILE *out) {
  const struct td_metrics metrics = metrics_of(summary);
  print_counts(summary, td_seconds(summary->makespan_ps), out);
  if (summary->transfers) {
    fprintf(out, "%" PRIu64 " KV transfers, %.6g GB\n", summary->transfers, (double)summary->kv_bytes / 1e9);
  }
  if (summary->preemptions) fprintf(out, "%" PRIu64 " preemptions\n", summary->preemptions);
  if (summary->role_changes) fprintf(out, "%" PRIu64 " changes of role\n", summary->role_changes);
  td_run_counted_print(summary, out);
  td_metrics_print_goodput(&metrics, out);
  fprintf(out, "%-9s %12s %12s %12s %12s %12s\n", "s", "mean", "p50", "p90", "p99", "max");
  print_tally("TTFT", &summary->ttft, out);
  print_tally("TPOT", &summary->tpot, out);
  print_tally("E2E", &summary->e2e, out);
  print_tally("queueing", &summary->queueing, out);
  if (summary->tools.on) print_tally("tools", &summary->tools.queueing, out);
  if (summary->tools.host_calls) print_tally("texts", &summary->tools.host_queueing, out);
}

void td_run_summary_json(const struct td_run_summary *summary, FILE *out) {
  const struct td_metrics metrics = metrics_of(summary);
  td_metrics_json(NULL, &metrics, summary, out);
}
