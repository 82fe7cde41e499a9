/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "tandem/cli.h"
#include "tandem/metrics.h"

struct arguments {
  const char *path;
  bool json, requests;
};

static td_status read_arguments(int argc, char **argv, struct arguments *out) {
  const struct td_flag flags[] = {
      {.name = "--json", .given = &out->json}, {.name = "--requests", .given = &out->requests}, {0}};
  int32_t count = 0;
  TD_TRY(td_flags_parse(argc, argv, flags, &out->path, 1, &count));
  return count == 1 ? TD_OK : td_fail(TD_USAGE, "show: expected a trace, as in: tandem show FILE.h5");
}

static td_status show(const struct arguments *arguments, const struct td_trace *trace) {
  struct td_metrics metrics;
  td_status status = td_metrics_compute(trace, &metrics);
  if (status) return td_fail_within(status, "%s", arguments->path);
  if (!trace->complete) td_warn("%s: the run did not finish; this is what it wrote", arguments->path);
  if (arguments->json) {
    td_metrics_json(trace, &metrics, stdout);
  } else {
    td_metrics_print(trace, &metrics, stdout);
    if (arguments->requests) td_metrics_print_requests(trace, &metrics, stdout);
  }
  td_metrics_free(&metrics);
  return TD_OK;
}

static td_status run(int argc, char **argv, int *out_exit) {
  struct arguments arguments = {0};
  struct td_trace *trace = NULL;
  (void)out_exit;
  TD_TRY(read_arguments(argc, argv, &arguments));
  TD_TRY(td_trace_load(arguments.path, &trace));
  td_status status = show(&arguments, trace);
  td_trace_free(trace);
  return status;
}

const struct td_command td_command_show = {
    .name = "show",
    .usage = "TRACE [--requests] [--json]",
    .summary = "summary of a trace: latencies, rates, KV moved, devices",
    .help =
        "  --requests   one line per request as well\n"
        "  --json       one JSON object, full precision, times in seconds (per request too)\n",
    .run = run,
};
