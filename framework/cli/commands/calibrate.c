/* SPDX-License-Identifier: Apache-2.0
 *
 * tandem calibrate: fits a device's cost parameters to a table of measurements, to this machine, or to transfers.
 */
#include <inttypes.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "calibrate.h"
#include "cli_output.h"
#include "e2e.h"
#include "tandem/base.h"
#include "tandem/cli.h"
#include "tandem/operators.h"

#define PATHS_MAX 16

struct options {
  const char *device, *op, *measured, *output, *path, *rows, *seed, *held_back, *source, *models, *link;
  bool analytic, json, single, both;
  /* of this machine */
  const char *backend, *threads, *types;
  bool quick, inexact;
};

struct job {
  struct options options;
  struct td_calibration how;
  struct td_device_params *device;
  struct td_op_table table;
  struct td_op_fit fits[PATHS_MAX];
  int32_t fit_count;
  struct td_text made_by, source;
};

static td_status check_given(const struct options *options) {
  static const char usage[] = "expected tandem calibrate --device D --op OP --measured FILE.csv -o FILE.cfg";
  if (!options->device) return td_fail(TD_USAGE, "calibrate: found no --device, %s", usage);
  if (!options->op) return td_fail(TD_USAGE, "calibrate: found no --op, %s", usage);
  if (!options->measured) return td_fail(TD_USAGE, "calibrate: found no --measured, %s", usage);
  if (!options->output) return td_fail(TD_USAGE, "calibrate: found no -o, %s", usage);
  if (options->source && strspn(options->source, " \t\n") == strlen(options->source)) {
    return td_fail(TD_USAGE, "--source: found an empty text, expected who measured the table, with the year");
  }
  if (options->single && options->both) {
    return td_fail(TD_USAGE, "calibrate: found --held-rows beside --held-both, expected one of them");
  }
  if (options->threads || options->types || options->quick || options->inexact) {
    return td_fail(TD_USAGE, "calibrate: found --threads, --types, --quick or --inexact without a BACKEND, %s", usage);
  }
  return TD_OK;
}

static td_status check_machine(const struct options *options) {
  static const char usage[] = "expected tandem calibrate BACKEND[:N] -o FILE.cfg";
  if (!options->output) return td_fail(TD_USAGE, "calibrate: found no -o, %s", usage);
  if (options->op || options->measured || options->path || options->rows || options->seed || options->held_back ||
      options->source || options->models || options->single || options->both || options->analytic) {
    return td_fail(TD_USAGE, "calibrate: found a flag that is of tables of measurements beside a BACKEND, %s", usage);
  }
  return TD_OK;
}

/* Flags that would do nothing. */
static td_status check_operator(const struct options *options, enum td_operator op) {
  bool of_others = options->rows || options->analytic || options->single || options->both;
  if (op == TD_E2E && of_others) {
    return td_fail(TD_USAGE,
                   "calibrate: found --rows, --analytic, --held-rows or --held-both beside --op e2e, which "
                   "has one scale of all configurations that are not held back");
  }
  if (op == TD_E2E || !options->models) return TD_OK;
  return td_fail(TD_USAGE, "calibrate: found --models beside --op %s, expected it with e2e", options->op);
}

static td_status take_numbers(const struct options *options, struct td_calibration *how) {
  int64_t per_cent = 20;
  how->seed = 1;
  if (!td_operator_find(options->op, &how->op)) {
    return td_fail(TD_USAGE,
                   "--op: found \"%.40s\", expected gemm, attention_context, attention_generation, moe, collective "
                   "or e2e",
                   options->op);
  }
  TD_TRY(check_operator(options, how->op));
  if (how->op == TD_E2E) per_cent = 50;
  if (options->rows) TD_TRY(td_flag_int("--rows", options->rows, 20, 1000000000, &how->rows));
  if (options->seed) TD_TRY(td_flag_int("--seed", options->seed, 0, INT64_MAX, &how->seed));
  if (options->held_back) TD_TRY(td_flag_int("--held-back", options->held_back, 0, 90, &per_cent));
  how->held_back = (double)per_cent / 100;
  how->analytic = options->analytic;
  how->held_as = options->both ? TD_HELD_BOTH : options->single ? TD_HELD_ROWS : TD_HELD_FAMILIES;
  return TD_OK;
}

/* As a shell takes it. */
static void put_word(struct td_text *text, const char *word) {
  static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./,:=+@%";
  if (*word && !word[strspn(word, plain)]) {
    td_text_printf(text, " %s", word);
    return;
  }
  td_text_printf(text, " '");
  for (; *word; word++) td_text_printf(text, *word == '\'' ? "'\\''" : "%c", *word);
  td_text_printf(text, "'");
}

/* What the file says of itself: the command, and the table by its name, without the folder it was in. */
static void describe_command(struct td_text *text, int argc, char **argv) {
  td_text_printf(text, "tandem calibrate");
  for (int i = 1; i < argc; i++) {
    const char *slash = argv[i][0] == '/' ? strrchr(argv[i], '/') : NULL;
    put_word(text, slash ? slash + 1 : argv[i]);
  }
}

static td_status describe(struct job *job, int argc, char **argv) {
  const struct options *options = &job->options;
  const char *slash = strrchr(options->measured, '/'), *name = slash ? slash + 1 : options->measured;
  describe_command(&job->made_by, argc, argv);
  if (options->source) {
    td_text_printf(&job->source, "%s", options->source);
  } else {
    td_text_printf(&job->source, "tandem fit to measurements %s", name);
  }
  if (job->made_by.failed || job->source.failed) return td_fail(TD_NO_MEMORY, "calibrate: found no memory");
  job->how.source = job->source.data;
  job->how.command = job->made_by.data;
  return TD_OK;
}

static td_status fit_paths(struct job *job) {
  const char *wanted = job->options.path;
  for (int32_t i = 0; i < job->table.path_count; i++) {
    if (wanted && strcmp(wanted, job->table.path_names[i])) continue;
    td_status status = td_op_calibrate(&job->how, &job->table, i, &job->fits[job->fit_count]);
    if (status) return td_fail_within(status, "%s", job->options.measured);
    job->fit_count++;
  }
  if (job->fit_count) return TD_OK;
  return td_fail(TD_CONFIG, "%s: found no row of path \"%.40s\", expected one of the table's, such as \"%s\"",
                 job->options.measured, wanted, job->table.path_names[0]);
}

static void print(const struct job *job) {
  if (job->options.json) fputs("{\"fits\": [", stdout);
  for (int32_t i = 0; i < job->fit_count; i++) {
    if (job->options.json) {
      if (i) fputs(",\n  ", stdout);
      td_op_fit_json(&job->fits[i], stdout);
    } else {
      td_op_fit_print(&job->fits[i], stdout);
    }
  }
  if (job->options.json) fputs("]}\n", stdout);
}

static td_status calibrate(struct job *job, int argc, char **argv) {
  TD_TRY(take_numbers(&job->options, &job->how));
  TD_TRY(describe(job, argc, argv));
  TD_TRY(calibrate_check_output(job->options.output));
  TD_TRY(td_output_is_not(job->options.output, job->options.measured, "the table"));
  TD_TRY(td_device_params_open(job->options.device, &job->device));
  job->how.device = job->device;
  if (job->how.op == TD_E2E) {
    TD_TRY(cli_calibrate_e2e(&job->how, job->options.models, job->options.measured, job->options.path,
                             job->options.json, job->fits, PATHS_MAX, &job->fit_count));
  } else {
    TD_TRY(td_op_table_read(job->options.measured, job->how.op, true, &job->table));
    TD_TRY(fit_paths(job));
  }
  TD_TRY(calibrate_write(job->device, job->fits, job->fit_count, job->options.output));
  print(job);
  return TD_OK;
}

/* ---- of this machine ---- */

static int32_t processors(void) {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

static td_status measure_machine(const struct options *options, struct calibrate *calibrate) {
  int64_t threads = processors();
  TD_TRY(check_machine(options));
  if (options->threads) TD_TRY(td_flag_int("--threads", options->threads, 1, 1024, &threads));
  calibrate->options = (struct calibrate_options){.spec = options->backend,
                                                  .output = options->output,
                                                  .types = options->types,
                                                  .base = options->device,
                                                  .threads = (int32_t)threads,
                                                  .quick = options->quick,
                                                  .inexact = options->inexact};
  TD_TRY(calibrate_check_output(options->output));
  TD_TRY(calibrate_machine(calibrate));
  TD_TRY(calibrate_write(&calibrate->params, NULL, 0, options->output));
  (options->json ? td_device_params_json : td_device_params_print)(&calibrate->params, stdout);
  if (options->json) fputc('\n', stdout);
  return TD_OK;
}

static td_status run_machine(const struct options *options, int argc, char **argv) {
  struct td_text command = {0};
  void *memory;
  TD_TRY(td_alloc(1, sizeof(struct calibrate), &memory));
  struct calibrate *calibrate = memory;
  describe_command(&command, argc, argv);
  calibrate->command = command.data;
  calibrate->awake_file = -1;
  td_status status =
      command.failed ? td_fail(TD_NO_MEMORY, "calibrate: found no memory") : measure_machine(options, calibrate);
  calibrate_machine_close(calibrate);
  td_text_free(&command);
  free(calibrate);
  return status;
}

/* ---- of a run's transfers ---- */

static td_status run_link(const struct options *options, int argc, char **argv) {
  struct td_text command = {0};
  if (!options->output) {
    return td_fail(TD_USAGE, "calibrate: found no -o, expected tandem calibrate --link TRACE -o FILE.cfg");
  }
  if (options->backend || options->device || options->op || options->measured || options->path || options->rows ||
      options->seed || options->held_back || options->source || options->models || options->threads || options->types ||
      options->single || options->both || options->analytic || options->quick || options->inexact) {
    return td_fail(TD_USAGE,
                   "calibrate: found more than -o and --json beside --link, expected tandem calibrate --link "
                   "TRACE -o FILE.cfg");
  }
  describe_command(&command, argc, argv);
  td_status status = command.failed ? td_fail(TD_NO_MEMORY, "calibrate: found no memory")
                                    : calibrate_link(options->link, options->output, command.data, options->json);
  td_text_free(&command);
  return status;
}

static td_status run(int argc, char **argv, int *out_exit) {
  struct job *job;
  void *memory;
  TD_TRY(td_alloc(1, sizeof *job, &memory));
  job = memory;
  struct options *options = &job->options;
  int32_t count;
  const struct td_flag flags[] = {
      {.name = "--device", .value = &options->device},
      {.name = "--op", .value = &options->op},
      {.name = "--measured", .value = &options->measured},
      {.name = "-o", .value = &options->output},
      {.name = "--path", .value = &options->path},
      {.name = "--rows", .value = &options->rows},
      {.name = "--seed", .value = &options->seed},
      {.name = "--held-back", .value = &options->held_back},
      {.name = "--source", .value = &options->source},
      {.name = "--held-rows", .given = &options->single},
      {.name = "--analytic", .given = &options->analytic},
      {.name = "--json", .given = &options->json},
      {.name = "--backend", .value = &options->backend},
      {.name = "--threads", .value = &options->threads},
      {.name = "--types", .value = &options->types},
      {.name = "--quick", .given = &options->quick},
      {.name = "--inexact", .given = &options->inexact},
      {.name = "--models", .value = &options->models},
      {.name = "--link", .value = &options->link},
      {.name = "--held-both", .given = &options->both},
      {0},
  };
  *out_exit = 0;
  const char *spec = NULL;
  td_status status = td_flags_parse(argc, argv, flags, &spec, 1, &count);
  if (!status && spec && options->backend) {
    status = td_fail(TD_USAGE, "calibrate: found BACKEND %s beside --backend, expected one of them", spec);
  }
  if (spec) options->backend = spec;
  if (!status && options->link) {
    status = run_link(options, argc, argv);
  } else if (!status && options->backend) {
    status = run_machine(options, argc, argv);
  } else {
    if (!status) status = check_given(options);
    if (!status) status = calibrate(job, argc, argv);
  }
  for (int32_t i = 0; i < job->fit_count; i++) td_op_fit_free(&job->fits[i]);
  td_op_table_free(&job->table);
  td_device_params_close(job->device);
  td_text_free(&job->made_by);
  td_text_free(&job->source);
  free(job);
  return status;
}

const struct td_command td_command_calibrate = {
    .name = "calibrate",
    .usage =
        "BACKEND[:N] -o FILE.cfg [--quick] | --device D --op OP --measured FILE.csv -o FILE.cfg [--analytic] | "
        "--link TRACE -o FILE.cfg",
    .summary = "fits a device's cost parameters to this machine, to a table of measurements, or to a run's transfers",
    .help =
        "This machine: tandem calibrate BACKEND[:N] -o FILE.cfg measures operators and steps, in a minute or two\n"
        "  --backend B       the same as BACKEND\n"
        "  --threads N       host threads of the device (all processors); the file holds for as many\n"
        "  --types LIST      types of weights (q4_1,q8_0,f16); steps are measured with the first\n"
        "  --quick           a few repeats of small shapes, in seconds: to try it out (f32)\n"
        "  --inexact         the device may take its fastest paths (vendor BLAS, tensor cores)\n"
        "  --device D        the device file of a chip that is not the host's processors: its numbers are carried "
        "over\n"
        "A table:\n"
        "  --device D        the device that was measured: a name or path of a device file, its datasheet and the "
        "fits\n"
        "                    that it has already are carried over\n"
        "  --op OP           gemm, attention_context, attention_generation, moe, collective; e2e: a scale per "
        "framework\n"
        "  --measured FILE   CSV, plain or gzip, with the columns of docs/calibration.md\n"
        "  --path P          only rows of these element types (\"bfloat16\", \"bfloat16/fp8\") or this collective\n"
        "  --analytic        parameters only, no table of residuals\n"
        "  --rows N          fit to a seeded sample of N of the rows that are not held back\n"
        "  --held-back P     per cent of the shapes to measure the error on (20; e2e: 50); 0: the error stays unknown\n"
        "  --held-rows       hold back single rows, not whole families of shapes ((n, k) pairs, head shapes, experts)\n"
        "  --held-both       hold back families and, of the rest, half as large a share of single rows\n"
        "  --seed S          of all three (1)\n"
        "  --source TEXT     who measured it, with the year, for the device file\n"
        "  --models DIR      e2e: folder of the models' shapes (experiments/models)\n"
        "A link:\n"
        "  --link TRACE      latency and bandwidth from the transfers that a run executed, all of one pool to another\n"
        "All:\n"
        "  -o FILE.cfg       the device file to write; the fit's error is in it\n"
        "  --json            one JSON object\n",
    .run = run,
};
