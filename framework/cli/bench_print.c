/* SPDX-License-Identifier: Apache-2.0
 *
 * The report as a table for people.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "bench.h"
#include "tandem_revision.h"

void bench_processor_name(char *out, size_t size) {
  FILE *file = fopen("/proc/cpuinfo", "r");
  char line[512];
  snprintf(out, size, "unknown");
  while (file && fgets(line, sizeof line, file)) {
    const char *colon = strchr(line, ':');
    if (strncmp(line, "model name", 10) || !colon) continue;
    snprintf(out, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
    break;
  }
  if (file) fclose(file);
}

static void print_head(const struct bench_report *report, FILE *out) {
  char processor[128], date[32];
  time_t now = time(NULL);
  struct tm utc;
  bench_processor_name(processor, sizeof processor);
  strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", gmtime_r(&now, &utc));
  fprintf(out, "device    %s:%d%s%s, %d host thread%s, %s\n", report->device->backend->name, (int)report->device->index,
          report->device_name ? ", " : "", report->device_name ? report->device_name : "", (int)report->threads,
          report->threads == 1 ? "" : "s",
          report->inexact                  ? "inexact paths allowed"
          : report->device->backend->exact ? "exact"
                                           : "not exact");
  fprintf(out, "host      %s\n", processor);
  fprintf(out, "run       %s, tandem %s (%s)\n", date, TANDEM_VERSION, TANDEM_REVISION);
  fprintf(out, "model     %s, %s weights, %.4g MB; prompt of %" PRId64 " tokens, decode after it\n",
          report->shape->name, report->weights, (double)report->weight_bytes / 1e6, report->prompt);
}

static bool is_bandwidth(enum td_ceiling which) {
  return which == TD_CEILING_READ || which == TD_CEILING_TRIAD;
}

static void print_ceilings(const struct bench_report *report, FILE *out) {
  fprintf(out, "\nceilings, measured in this run, before, between and after: median (lowest .. highest)\n");
  for (enum td_ceiling which = 0; which < TD_CEILING_COUNT; which++) {
    const struct bench_ceiling *ceiling = &report->ceilings->of[which];
    const char *unit = is_bandwidth(which) ? "GB/s" : "GFLOP/s";
    if (!ceiling->rate.count) continue;
    fprintf(out, "  %-9s %9.4g %-7s (%.4g .. %.4g, %d samples)  %s\n", bench_ceiling_name(which),
            ceiling->rate.median / 1e9, unit, ceiling->rate.low / 1e9, ceiling->rate.high / 1e9,
            (int)ceiling->rate.count, ceiling->how);
  }
  const struct bench_spread *call = &report->ceilings->call;
  fprintf(out, "  %-9s %9.4g %-7s (%.4g .. %.4g, %d samples)  %s\n", "call", call->median * 1e6, "us", call->low * 1e6,
          call->high * 1e6, (int)call->count, "the device's shortest operator, an ADD of 16 numbers, many in a row");
}

/* Three or four digits, whatever the size. */
static const char *number(double value, char *text, size_t size) {
  int digits = value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3;
  snprintf(text, size, "%.*f", digits, value);
  return text;
}

static void print_rates(const struct bench_report *report, const struct bench_result *result, FILE *out) {
  char texts[5][24], spread[64];
  enum td_ceiling bound;
  const struct bench_spread *seconds = &result->times.seconds;
  double share = bench_share(result, report->ceilings, &bound);
  snprintf(spread, sizeof spread, "(%s .. %s)", number(seconds->low * 1e6, texts[0], sizeof texts[0]),
           number(seconds->high * 1e6, texts[1], sizeof texts[1]));
  fprintf(out, "%10s %-22s %9s %9s  ", number(seconds->median * 1e6, texts[2], sizeof texts[2]), spread,
          number(bench_work_bytes(&result->work) / seconds->median / 1e9, texts[3], sizeof texts[3]),
          number(bench_work_flops(&result->work) / seconds->median / 1e9, texts[4], sizeof texts[4]));
  if (result->cached) {
    fprintf(out, "      - (from cache)");
  } else {
    fprintf(out, "%5.1f %% of %s", 100 * share, bench_ceiling_name(bound));
    if (bench_is_paired(result, bound)) fprintf(out, " beside (%d pairs)", (int)result->times.beside.count);
  }
}

static void print_result(const struct bench_report *report, const struct bench_result *result, FILE *out) {
  fprintf(out, "  %-45s ", result->name);
  if (result->times.seconds.count) print_rates(report, result, out);
  if (result->is_step) {
    fprintf(out, "  %.4g tokens/s at context %" PRId64, (double)result->tokens / result->times.seconds.median,
            result->past);
    if (!isnan(result->energy_j)) fprintf(out, ", %.4g J a token", result->energy_j / (double)result->tokens);
    if (result->tokens > 1) fprintf(out, ", %" PRId64 " tokens", result->tokens);
  }
  if (*result->note) fprintf(out, "%s%s", result->times.seconds.count ? "; " : "", result->note);
  fputc('\n', out);
}

void bench_print(const struct bench_report *report, FILE *out) {
  print_head(report, out);
  print_ceilings(report, out);
  fprintf(out, "\n  %-45s %10s %-22s %9s %9s  %s\n", "operator: prefill at once, decode 1 row", "us a call",
          "(lowest .. highest)", "GB/s", "GFLOP/s", "of the ceiling that binds");
  for (size_t i = 0; i < report->count; i++) print_result(report, &report->results[i], out);
}
