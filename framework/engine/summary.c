/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run comes to, counted while it goes.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tandem/base.h"
#include "tandem/engine.h"

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
  if (ps < 0) ps = 0;
  if (!tally->count || ps < tally->low) tally->low = ps;
  if (!tally->count || ps > tally->high) tally->high = ps;
  tally->count += times;
  tally->sum += (double)ps * (double)times;
  tally->bins[bin_of((uint64_t)ps)] += times;
}

double td_tally_quantile(const struct td_tally *tally, double percent) {
  double rank = percent / 100 * (double)tally->count;
  uint64_t seen = 0;
  if (!tally->count) return NAN;
  if (percent >= 100) return (double)tally->high;
  for (int32_t bin = 0; bin < TD_TALLY_BINS; bin++) {
    seen += tally->bins[bin];
    if (!tally->bins[bin] || (double)seen < rank) continue;
    double value = middle_of(bin);
    if (value < (double)tally->low) return (double)tally->low;
    return value > (double)tally->high ? (double)tally->high : value;
  }
  return (double)tally->high;
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

void td_run_goodput_print(const struct td_run_summary *summary, FILE *out) {
  double all = (double)(summary->requests + summary->refused), span = td_seconds(summary->makespan_ps);
  if (!(summary->slo.ttft > 0 || summary->slo.tpot > 0) || !(span > 0)) return;
  fprintf(out, "goodput %.6g requests/s: %.4g %% within the SLO (TTFT %.4g %%, TPOT %.4g %%)\n",
          (double)summary->within / span, 100 * (double)summary->within / all, 100 * (double)summary->within_ttft / all,
          100 * (double)summary->within_tpot / all);
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
  fprintf(out, "\n");
}

static void print_tools(const struct td_run_tools *tools, FILE *out) {
  if (!tools->on) return;
  fprintf(out,
          "%" PRIu64 " tool calls and %" PRIu64 " of text on %" PRId64 " cores of %" PRId64
          " orchestrators, %.4g %% of their time",
          tools->calls, tools->host_calls, tools->cores, tools->machines,
          tools->up_s > 0 ? 100 * tools->busy_s / tools->up_s : 0);
  if (isfinite(tools->energy_j)) {
    fprintf(out, "; %.6g J at calls, %.6g J idle", tools->energy_j, tools->energy_idle_j);
  }
  fprintf(out, "\n");
  if (!tools->failures) return;
  fprintf(out,
          "%" PRIu64 " failures of orchestrators, %.6g s of them down: %" PRIu64 " calls lost, which began again\n",
          tools->failures, td_seconds(tools->down_ps), tools->lost);
}

/* Of workers and of orchestrators; NaN if some watts are not known. */
static double all_energy(const struct td_run_summary *summary) {
  return summary->energy_j + summary->energy_idle_j + summary->tools.energy_j + summary->tools.energy_idle_j;
}

void td_run_summary_print(const struct td_run_summary *summary, FILE *out) {
  double span = td_seconds(summary->makespan_ps);
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
  if (summary->transfers) {
    fprintf(out, "%" PRIu64 " KV transfers, %.6g GB\n", summary->transfers, (double)summary->kv_bytes / 1e9);
  }
  if (summary->preemptions) fprintf(out, "%" PRIu64 " preemptions\n", summary->preemptions);
  print_prefix(&summary->prefix, out);
  print_tools(&summary->tools, out);
  if (summary->failures) {
    fprintf(out,
            "%" PRIu64 " failures, %.6g s of workers down: %" PRIu64 " steps and the KV of %" PRIu64
            " tokens lost, %" PRIu64 " requests started over\n",
            summary->failures, td_seconds(summary->down_ps), summary->lost_steps, summary->lost_tokens,
            summary->restarts);
  }
  td_run_goodput_print(summary, out);
  if (isfinite(summary->energy_j) && summary->output_tokens) {
    fprintf(out, "%.6g J in steps, %.6g J per output token\n", summary->energy_j,
            summary->energy_j / (double)summary->output_tokens);
  }
  double all = all_energy(summary);
  if (isfinite(all)) {
    fprintf(out, "%.6g J idle, %.6g J in all (power basis: %s): %.6g W in the mean, %.6g output tokens/J\n",
            summary->energy_idle_j, all, summary->power_basis, all / span, (double)summary->output_tokens / all);
  }
  fprintf(out, "%-9s %12s %12s %12s %12s %12s\n", "s", "mean", "p50", "p90", "p99", "max");
  print_tally("TTFT", &summary->ttft, out);
  print_tally("TPOT", &summary->tpot, out);
  print_tally("E2E", &summary->e2e, out);
  print_tally("queueing", &summary->queueing, out);
  if (summary->tools.on) print_tally("tools", &summary->tools.queueing, out);
  if (summary->tools.host_calls) print_tally("texts", &summary->tools.host_queueing, out);
}

static void number(FILE *out, const char *name, double value) {
  if (isfinite(value)) {
    fprintf(out, ", \"%s\": %.17g", name, value);
  } else {
    fprintf(out, ", \"%s\": null", name);
  }
}

static void json_tally(const char *name, const struct td_tally *tally, FILE *out) {
  fprintf(out, ", \"%s\": {\"count\": %" PRIu64, name, tally->count);
  number(out, "mean", mean_s(tally));
  number(out, "min", tally->count ? td_seconds(tally->low) : NAN);
  for (size_t i = 0; i < 3; i++) {
    char key[8];
    snprintf(key, sizeof key, "p%.0f", percents[i]);
    number(out, key, td_tally_quantile(tally, percents[i]) * 1e-12);
  }
  number(out, "max", tally->count ? td_seconds(tally->high) : NAN);
  fprintf(out, "}");
}

static void json_prefix(const struct td_run_prefix *prefix, FILE *out) {
  uint64_t all = prompt_tokens(prefix);
  if (!prefix->on) return;
  fprintf(out, ", \"prefix_cache\": {\"computed_tokens\": %" PRIu64, prefix->computed_tokens);
  number(out, "hit_share", share(all - prefix->computed_tokens, all));
  number(out, "load_s", prefix->load_s);
  fprintf(out, ", \"tiers\": [");
  for (int32_t i = 0; i < prefix->tier_count; i++) {
    const struct td_run_tier *tier = &prefix->tiers[i];
    fprintf(out, "%s{\"name\": ", i ? ", " : "");
    td_json_string(out, tier->name, strlen(tier->name));
    fprintf(out, ", \"hit_tokens\": %" PRIu64 ", \"evicted_tokens\": %" PRIu64 "}", tier->hit_tokens,
            tier->evicted_tokens);
  }
  fprintf(out, "]}");
}

static void json_tools(const struct td_run_tools *tools, FILE *out) {
  if (!tools->on) return;
  fprintf(out,
          ", \"tools\": {\"orchestrators\": %" PRId64 ", \"cores\": %" PRId64 ", \"calls\": %" PRIu64
          ", \"host_calls\": %" PRIu64 ", \"failures\": %" PRIu64 ", \"lost\": %" PRIu64,
          tools->machines, tools->cores, tools->calls, tools->host_calls, tools->failures, tools->lost);
  number(out, "down_s", td_seconds(tools->down_ps));
  number(out, "busy_core_s", tools->busy_s);
  number(out, "utilisation", tools->busy_s / tools->up_s);
  number(out, "energy_j", tools->energy_j);
  number(out, "energy_idle_j", tools->energy_idle_j);
  json_tally("queueing_s", &tools->queueing, out);
  json_tally("host_queueing_s", &tools->host_queueing, out);
  fprintf(out, "}");
}

void td_run_summary_json(const struct td_run_summary *summary, FILE *out) {
  double span = td_seconds(summary->makespan_ps);
  fprintf(out,
          "{\"requests\": %" PRIu64 ", \"refused\": %" PRIu64 ", \"prompt_tokens\": %" PRIu64
          ", \"output_tokens\": %" PRIu64 ", \"steps\": %" PRIu64 ", \"events\": %" PRIu64 ", \"within_ttft\": %" PRIu64
          ", \"within_tpot\": %" PRIu64 ", \"within_slo\": %" PRIu64 ", \"preemptions\": %" PRIu64
          ", \"decode_steps\": %" PRIu64 ", \"transfers\": %" PRIu64 ", \"kv_bytes\": %" PRIu64
          ", \"failures\": %" PRIu64 ", \"restarts\": %" PRIu64 ", \"lost_steps\": %" PRIu64
          ", \"lost_tokens\": %" PRIu64,
          summary->requests, summary->refused, summary->prompt_tokens, summary->output_tokens, summary->steps,
          summary->events, summary->within_ttft, summary->within_tpot, summary->within, summary->preemptions,
          summary->decode_steps, summary->transfers, summary->kv_bytes, summary->failures, summary->restarts,
          summary->lost_steps, summary->lost_tokens);
  number(out, "down_s", td_seconds(summary->down_ps));
  number(out, "mean_batch", (double)summary->decode_tokens / (double)summary->decode_steps);
  number(out, "makespan_s", span);
  number(out, "requests_per_s", (double)summary->requests / span);
  number(out, "output_tokens_per_s", (double)summary->output_tokens / span);
  double all = all_energy(summary);
  number(out, "energy_j", summary->energy_j);
  number(out, "energy_idle_j", summary->energy_idle_j);
  number(out, "energy_total_j", all);
  number(out, "watts", all / span);
  number(out, "tokens_per_j", (double)summary->output_tokens / all);
  fprintf(out, ", \"power_basis\": \"%s\"", summary->power_basis);
  json_prefix(&summary->prefix, out);
  json_tools(&summary->tools, out);
  json_tally("ttft_s", &summary->ttft, out);
  json_tally("tpot_s", &summary->tpot, out);
  json_tally("e2e_s", &summary->e2e, out);
  json_tally("queueing_s", &summary->queueing, out);
  fprintf(out, "}\n");
}
