/* SPDX-License-Identifier: Apache-2.0 */
#include "tandem/export.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli_output.h"
#include "tandem/cli.h"

struct arguments {
  const char *path, *output, *table;
  bool perfetto;
  int64_t from, until; /* ps */
};

static td_status read_time(const char *flag, const char *text, int64_t *out_ps) {
  char *end;
  double seconds = strtod(text, &end);
  if (end == text || *end || !isfinite(seconds) || td_ps_from_seconds(seconds, out_ps)) {
    return td_fail(TD_USAGE, "%s: found \"%s\", expected seconds since the run began", flag, text);
  }
  return TD_OK;
}

static td_status check_arguments(struct arguments *out, const char *to, const char *from, const char *until) {
  if (!to) return td_fail(TD_USAGE, "--to: found none, expected csv or perfetto");
  out->perfetto = !strcmp(to, "perfetto");
  if (!out->perfetto && strcmp(to, "csv")) {
    return td_fail(TD_USAGE, "--to: found \"%s\", expected csv or perfetto", to);
  }
  if (out->perfetto && out->table) return td_fail(TD_USAGE, "--table: perfetto has all in one, expected it with csv");
  if (!out->perfetto && (from || until)) {
    return td_fail(TD_USAGE, "%s: csv has whole tables, expected it with perfetto", from ? "--from" : "--until");
  }
  if (!out->table) out->table = "tokens";
  if (from) TD_TRY(read_time("--from", from, &out->from));
  if (until) TD_TRY(read_time("--until", until, &out->until));
  if (out->until >= out->from) return TD_OK;
  return td_fail(TD_USAGE, "--until: found %s, expected no less than --from", until);
}

static td_status read_arguments(int argc, char **argv, struct arguments *out) {
  const char *to = NULL, *from = NULL, *until = NULL;
  const struct td_flag flags[] = {{.name = "--to", .value = &to},        {.name = "--table", .value = &out->table},
                                  {.name = "--from", .value = &from},    {.name = "--until", .value = &until},
                                  {.name = "-o", .value = &out->output}, {0}};
  int32_t count = 0;
  TD_TRY(td_flags_parse(argc, argv, flags, &out->path, 1, &count));
  if (!count) return td_fail(TD_USAGE, "export: expected a trace, as in: tandem export FILE.h5 --to csv -o FILE.csv");
  TD_TRY(check_arguments(out, to, from, until));
  if (!out->output) return TD_OK;
  TD_TRY(td_check_output(out->output));
  return td_output_is_not(out->output, out->path, "the trace");
}

static td_status write_to(const struct arguments *arguments, const struct td_trace *trace, FILE *out) {
  if (arguments->perfetto) return td_export_perfetto(trace, arguments->from, arguments->until, out);
  return td_export_csv(trace, arguments->table, out);
}

/* A file grows as FILE.part and gets its name when it is complete. */
static td_status write_file(const struct arguments *arguments, const struct td_trace *trace, const char *part) {
  FILE *out = fopen(part, "wb");
  if (!out) return td_fail(TD_IO, "%s: cannot create: %s", part, strerror(errno));
  td_status status = write_to(arguments, trace, out);
  if (fclose(out) && !status) status = td_fail(TD_IO, "%s: cannot write: %s", part, strerror(errno));
  if (!status && rename(part, arguments->output)) {
    status = td_fail(TD_IO, "%s: cannot rename to %s: %s", part, arguments->output, strerror(errno));
  }
  if (status) unlink(part);
  return status;
}

static td_status export(const struct arguments *arguments, const struct td_trace *trace) {
  struct td_text part = {0};
  if (!trace->complete) td_warn("%s: the run did not finish; this is what it wrote", arguments->path);
  if (!arguments->output) return write_to(arguments, trace, stdout);
  td_text_printf(&part, "%s.part", arguments->output);
  td_status status = part.failed ? td_fail(TD_NO_MEMORY, "%s: found no memory for its name", arguments->output)
                                 : write_file(arguments, trace, part.data);
  td_text_free(&part);
  return status;
}

static td_status run(int argc, char **argv, int *out_exit) {
  struct arguments arguments = {.until = INT64_MAX};
  struct td_trace *trace = NULL;
  (void)out_exit;
  TD_TRY(read_arguments(argc, argv, &arguments));
  TD_TRY(td_trace_load(arguments.path, &trace));
  td_status status = export(&arguments, trace);
  td_trace_free(trace);
  return status;
}

const struct td_command td_command_export = {
    .name = "export",
    .usage = "TRACE --to csv|perfetto [--table NAME] [--from S] [--until S] [-o FILE]",
    .summary = "a trace for other tools: tables as CSV, a timeline for Perfetto",
    .help =
        "  --to csv         one table; times in picoseconds, fields and units as in traces/README.md\n"
        "  --table NAME     which: tokens (default: every output token, executed and modelled alike), steps (one\n"
        "                   row each), requests, devices, residency, transfers, changes, orchestrators, tool_calls,\n"
        "                   paces\n"
        "  --to perfetto    Chrome's JSON trace, for ui.perfetto.dev: devices with their steps and changes, requests,\n"
        "                   transfers\n"
        "  --from S --until S   what of it, seconds since the run began; at most a million events\n"
        "  -o FILE          default: standard output\n",
    .run = run,
};
