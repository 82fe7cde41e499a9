/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "tandem/cli.h"
#include "tandem/metrics.h"

enum { TRACES_MAX = 16 };

struct arguments {
  const char *paths[TRACES_MAX + 1]; /* one more, to see that there are too many */
  int32_t count;
  bool json, requests;
};
struct shown {
  struct td_trace *traces[TRACES_MAX];
  struct td_metrics metrics[TRACES_MAX];
  struct td_column columns[TRACES_MAX];
};

static td_status read_arguments(int argc, char **argv, struct arguments *out) {
  const struct td_flag flags[] = {
      {.name = "--json", .given = &out->json}, {.name = "--requests", .given = &out->requests}, {0}};
  TD_TRY(td_flags_parse(argc, argv, flags, out->paths, TRACES_MAX + 1, &out->count));
  if (!out->count) return td_fail(TD_USAGE, "show: expected a trace, as in: tandem show FILE.h5");
  if (out->count > TRACES_MAX) return td_fail(TD_USAGE, "show: found more than %d traces", TRACES_MAX);
  if (out->requests && out->count > 1) {
    return td_fail(TD_USAGE, "--requests: found %d traces, expected one; --json has the requests of all", out->count);
  }
  return TD_OK;
}

static td_status open_trace(const char *path, struct shown *shown, int32_t i) {
  TD_TRY(td_trace_load(path, &shown->traces[i]));
  td_status status = td_metrics_compute(shown->traces[i], &shown->metrics[i]);
  if (status) return td_fail_within(status, "%s", path);
  shown->columns[i] = (struct td_column){path, shown->traces[i], &shown->metrics[i]};
  return TD_OK;
}

static void print_json(const struct shown *shown, int32_t count) {
  if (count > 1) printf("{\"traces\": [\n");
  for (int32_t i = 0; i < count; i++) {
    if (i) printf(",\n");
    td_metrics_json(shown->traces[i], &shown->metrics[i], NULL, stdout);
  }
  if (count > 1) printf("]}\n");
}

static td_status print(const struct arguments *arguments, const struct shown *shown) {
  for (int32_t i = 0; i < arguments->count; i++) {
    if (!shown->traces[i]->complete) td_warn("%s: the run did not finish; this is what it wrote", arguments->paths[i]);
  }
  if (arguments->json) {
    print_json(shown, arguments->count);
  } else if (arguments->count > 1) {
    return td_metrics_print_columns(shown->columns, arguments->count, stdout);
  } else {
    td_metrics_print(shown->traces[0], &shown->metrics[0], stdout);
    if (arguments->requests) td_metrics_print_requests(shown->traces[0], &shown->metrics[0], stdout);
  }
  return TD_OK;
}

static td_status run(int argc, char **argv, int *out_exit) {
  struct arguments arguments = {0};
  struct shown shown = {0};
  td_status status = TD_OK;
  (void)out_exit;
  TD_TRY(read_arguments(argc, argv, &arguments));
  for (int32_t i = 0; i < arguments.count && !status; i++) status = open_trace(arguments.paths[i], &shown, i);
  if (!status) status = print(&arguments, &shown);
  for (int32_t i = 0; i < arguments.count; i++) {
    td_metrics_free(&shown.metrics[i]);
    td_trace_free(shown.traces[i]);
  }
  return status;
}

const struct td_command td_command_show = {
    .name = "show",
    .usage = "TRACE [TRACE...] [--requests] [--json]",
    .summary = "summary of a trace: latencies, rates, KV moved, devices; several: side by side",
    .help =
        "  TRACE        FILE.h5, or FILE.h5.part of a run that did not finish; up to 16 are shown side by side\n"
        "  --requests   one line per request as well, of one trace\n"
        "  --json       one JSON object, full precision, times in seconds (per request too); of several traces\n"
        "               {\"traces\": [...]}, one such object each, in the order given\n",
    .run = run,
};
