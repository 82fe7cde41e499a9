/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli_output.h"
#include "tandem/base.h"
#include "tandem/cli.h"
#include "tandem/engine.h"
#include "tandem/metrics.h"

enum { SETS_MAX = 64, LINE_COLUMNS = 100, LARGE_TOKENS = 1000000 };

struct arguments {
  const char *config, *output;
  const char *sets[SETS_MAX];
  int32_t set_count;
  bool stream, json, no_trace;
};

static td_status read_arguments(int argc, char **argv, struct arguments *arguments) {
  int32_t positionals;
  const struct td_flag flags[] = {
      {.name = "-o", .value = &arguments->output},
      {.name = "--set", .list = arguments->sets, .list_count = &arguments->set_count, .list_max = SETS_MAX},
      {.name = "--stream", .given = &arguments->stream},
      {.name = "--json", .given = &arguments->json},
      {.name = "--no-trace", .given = &arguments->no_trace},
      {.name = NULL},
  };
  TD_TRY(td_flags_parse(argc, argv, flags, &arguments->config, 1, &positionals));
  if (!positionals) return td_fail(TD_USAGE, "run: expected a config file (see tandem run --help)");
  if (arguments->no_trace && arguments->output) return td_fail(TD_USAGE, "run: -o and --no-trace exclude each other");
  if (arguments->stream && arguments->json) return td_fail(TD_USAGE, "run: --stream and --json both want stdout");
  return TD_OK;
}

/* ---- --stream: the text of all requests as it comes, a line at a time behind each request's name ---- */

struct line {
  struct td_text text;
  char *name;
};
struct stream {
  struct line *lines; /* [capacity] by request */
  size_t capacity;
};

static void print_line(struct line *line) {
  printf("[%s] %.*s\n", line->name, (int)line->text.bytes, line->text.data);
  fflush(stdout);
  line->text.bytes = 0;
}

static void stream_token(void *context, uint64_t request, const char *name, const char *text, size_t bytes, bool last) {
  struct stream *stream = context;
  size_t had = stream->capacity;
  if (td_grow((void **)&stream->lines, &stream->capacity, request + 1, sizeof *stream->lines)) return;
  if (stream->capacity > had) memset(stream->lines + had, 0, (stream->capacity - had) * sizeof *stream->lines);
  struct line *line = &stream->lines[request];
  if (!line->name && td_copy_text(name, &line->name)) return;
  for (char *c = line->name; *c; c++) {
    if ((unsigned char)*c < 0x20) *c = '?'; /* a name cannot fake a line */
  }
  if (bytes && *text == ' ' && line->text.bytes >= LINE_COLUMNS) print_line(line);
  for (size_t i = 0; i < bytes; i++) {
    if (text[i] == '\n') {
      if (line->text.bytes) print_line(line);
    } else {
      td_text_add(&line->text, text + i, 1);
    }
  }
  if (last && line->text.bytes) print_line(line);
}

/* What is left belongs to requests whose last tokens were modelled, or to a run that failed. */
static void stream_end(struct stream *stream) {
  for (size_t i = 0; i < stream->capacity; i++) {
    struct line *line = &stream->lines[i];
    if (line->text.bytes) print_line(line);
    td_text_free(&line->text);
    free(line->name);
  }
  free(stream->lines);
}

/* ---- the run ---- */

static td_status run_experiment(const struct arguments *arguments, struct td_transport *transport,
                                const struct td_run_options *options) {
  struct td_config *config = NULL;
  struct td_experiment experiment;
  td_status status = td_experiment_open(arguments->config, arguments->sets, arguments->set_count, &config, &experiment);
  const char *path = options->trace_path;
  if (!status && path) status = td_output_is_not(path, arguments->config, "the config");
  if (!status && path) status = td_output_is_not(path, experiment.model, "the model");
  td_status agreed = transport->table->agree(transport, status);
  if (agreed) {
    transport->table->close(transport);
  } else {
    agreed = td_engine_run(config, &experiment, transport, options);
  }
  td_config_close(config);
  return agreed;
}

static td_status print_summary(const struct arguments *arguments, const struct td_run_summary *summary,
                               const char *path) {
  struct td_trace *trace;
  struct td_metrics metrics;
  TD_TRY(td_trace_load(path, &trace));
  td_status status = td_metrics_compute(trace, &metrics);
  if (!status && arguments->json) td_metrics_json(trace, &metrics, summary->filled ? summary : NULL, stdout);
  if (!status && !arguments->json) {
    td_metrics_print(trace, &metrics, stdout);
    if (summary->filled) td_run_counted_print(summary, stdout);
    printf("\ntrace: %s\n", path);
  }
  if (!status) td_metrics_free(&metrics);
  td_trace_free(trace);
  return status;
}

/* Of a run without a trace. */
static td_status print_counted(const struct arguments *arguments, const struct td_run_summary *summary) {
  if (arguments->json) {
    td_run_summary_json(summary, stdout);
  } else {
    td_run_summary_print(summary, stdout);
  }
  return TD_OK;
}

/* Of a large run the sums that were counted on the way; reading its trace again would take longer than the run. */
static td_status print_result(const struct arguments *arguments, const struct td_run_summary *summary,
                              const char *trace) {
  bool large = summary->filled && summary->output_tokens > LARGE_TOKENS;
  if (trace && !large) return print_summary(arguments, summary, trace);
  TD_TRY(print_counted(arguments, summary));
  if (trace && !arguments->json) printf("\ntrace: %s\n", trace);
  return TD_OK;
}

/* quickstart.cfg -> quickstart.h5 in the current folder */
static td_status default_output(const char *config, char *out, size_t size) {
  const char *base = strrchr(config, '/');
  base = base ? base + 1 : config;
  size_t length = strlen(base);
  if (length > 4 && !strcmp(base + length - 4, ".cfg")) length -= 4;
  return td_format(out, size, "%.*s.h5", (int)length, base);
}

static td_status run(int argc, char **argv, int *out_exit) {
  struct arguments arguments = {0};
  struct stream stream = {0};
  struct td_transport *transport;
  char path[4096];
  TD_TRY(read_arguments(argc, argv, &arguments));
  TD_TRY(arguments.output ? td_format(path, sizeof path, "%s", arguments.output)
                          : default_output(arguments.config, path, sizeof path));
  struct td_run_summary *summary;
  TD_TRY(td_alloc(1, sizeof *summary, (void **)&summary));
  struct td_run_options options = {.trace_path = arguments.no_trace ? NULL : path, .summary = summary};
  if (arguments.stream) {
    options.on_token = stream_token;
    options.context = &stream;
  }
  TD_TRY(td_transport_open(&transport));
  int32_t rank = transport->rank;
  td_status status = run_experiment(&arguments, transport, &options);
  stream_end(&stream);
  if (!rank && !status) status = print_result(&arguments, summary, options.trace_path);
  free(summary);
  if (!rank) return status;
  *out_exit = td_exit_code(status); /* rank 0 speaks for all */
  return TD_OK;
}

const struct td_command td_command_run = {
    .name = "run",
    .usage = "CONFIG [-o FILE.h5] [--set PATH=VALUE]... [--stream] [--json] [--no-trace]",
    .summary = "runs an experiment: live, modelled or mixed, as its cluster says",
    .help =
        "  -o FILE.h5        where the trace goes (default: the config's name with .h5, in this folder)\n"
        "  --set PATH=VALUE  overrides a config key, e.g. --set engine.chunk_tokens=7; may be repeated\n"
        "  --stream          prints the text of executed requests as it comes, one line per \"[request] ...\"\n"
        "  --json            prints the summary as one JSON object, with the keys of tandem show --json\n"
        "  --no-trace        keeps no trace; quantiles in the summary are within 0.4 %\n\n"
        "The summary is that of tandem show; of modelled runs of over 1,000,000 output tokens, and without a trace, "
        "it\n"
        "is counted on the way. In JSON it has the same keys, null where nothing is known.\n\n"
        "Under mpirun the workers are spread over the ranks: rank 0 orchestrates, and holds workers too unless there\n"
        "are ranks to spare. While it runs the trace is FILE.h5.part; it gets its name when the run is complete.\n",
    .run = run,
};
