/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "tandem/cli.h"
#include "tandem/diff.h"

struct arguments {
  const char *paths[2];
  struct td_diff_options options;
  bool json;
};

static td_status read_real(const char *flag, const char *text, double *out) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || *end || !isfinite(value) || value < 0) {
    return td_fail(TD_USAGE, "%s: found \"%s\", expected a number >= 0", flag, text);
  }
  *out = value;
  return TD_OK;
}

static td_status read_arguments(int argc, char **argv, struct arguments *out) {
  const char *tolerance = NULL, *times = NULL, *bound = NULL;
  const struct td_flag flags[] = {{.name = "--json", .given = &out->json},
                                  {.name = "--tolerance", .value = &tolerance},
                                  {.name = "--bound", .value = &bound},
                                  {.name = "--times", .value = &times},
                                  {0}};
  int32_t count = 0;
  TD_TRY(td_flags_parse(argc, argv, flags, out->paths, 2, &count));
  if (count != 2) return td_fail(TD_USAGE, "diff: found %d traces, expected two, as in: tandem diff A.h5 B.h5", count);
  if (tolerance) TD_TRY(read_real("--tolerance", tolerance, &out->options.logprob_tolerance));
  if (bound) TD_TRY(read_real("--bound", bound, &out->options.bound));
  if (bound && !tolerance) out->options.logprob_tolerance = out->options.bound;
  if (times) TD_TRY(read_real("--times", times, &out->options.time_tolerance));
  out->options.times = times != NULL;
  out->options.time_tolerance /= 100;
  return TD_OK;
}

struct side {
  struct td_trace *trace;
  struct td_metrics metrics;
};

static td_status open_side(const char *path, struct side *out) {
  TD_TRY(td_trace_load(path, &out->trace));
  td_status status = td_metrics_compute(out->trace, &out->metrics);
  if (status) return td_fail_within(status, "%s", path);
  if (!out->trace->complete) td_warn("%s: the run did not finish; this is what it wrote", path);
  return TD_OK;
}

static void close_side(struct side *side) {
  td_metrics_free(&side->metrics);
  td_trace_free(side->trace);
}

static td_status compare(const struct arguments *arguments, const struct side *a, const struct side *b, int *out_exit) {
  struct td_diff diff;
  TD_TRY(td_diff_compute(a->trace, &a->metrics, b->trace, &b->metrics, &arguments->options, &diff));
  struct td_diff_side side_a = {arguments->paths[0], a->trace, &a->metrics};
  struct td_diff_side side_b = {arguments->paths[1], b->trace, &b->metrics};
  (arguments->json ? td_diff_json : td_diff_print)(&diff, &side_a, &side_b, stdout);
  *out_exit = diff.same ? 0 : 1;
  td_diff_free(&diff);
  return TD_OK;
}

static td_status run(int argc, char **argv, int *out_exit) {
  struct arguments arguments = {0};
  struct side a = {0}, b = {0};
  TD_TRY(read_arguments(argc, argv, &arguments));
  td_status status = open_side(arguments.paths[0], &a);
  if (!status) status = open_side(arguments.paths[1], &b);
  if (!status) status = compare(&arguments, &a, &b, out_exit);
  close_side(&a);
  close_side(&b);
  return status;
}

const struct td_command td_command_diff = {
    .name = "diff",
    .usage = "A B [--tolerance X] [--bound X] [--times PERCENT] [--json]",
    .summary = "request-by-request difference of two traces; exit 1 if they differ",
    .help =
        "  --tolerance X     log-probabilities may differ by X (default 0: the same bits)\n"
        "  --bound X         for runs on different kernels: ids may differ where A's first and second logit are "
        "closer\n"
        "                    than X; those positions are listed, and a request is compared up to the first that "
        "differs.\n"
        "                    Log-probabilities may differ by X too, unless --tolerance is given\n"
        "  --times PERCENT   TTFT, TPOT and E2E count too and may differ by PERCENT of A's (default: shown only)\n"
        "  --json            one JSON object; relative differences are fractions of A\n",
    .run = run,
};
