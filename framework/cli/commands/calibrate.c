/* SPDX-License-Identifier: Apache-2.0
 *
 * tandem calibrate: fits a device's cost parameters to a table of measurements.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli_output.h"
#include "e2e.h"
#include "tandem/base.h"
#include "tandem/cli.h"
#include "tandem/operators.h"

#define PATHS_MAX 16

struct options {
  const char *device, *op, *measured, *output, *path, *rows, *seed, *held_back, *source, *models;
  bool analytic, json, single;
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
  size_t bytes = strlen(options->output);
  if (bytes > 4 && !strcmp(options->output + bytes - 4, ".cfg")) return TD_OK;
  return td_fail(TD_USAGE, "-o: found %s, expected the name of a device file, which ends in .cfg", options->output);
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
  if (how->op == TD_E2E) per_cent = 50;
  if (options->rows) TD_TRY(td_flag_int("--rows", options->rows, 20, 1000000000, &how->rows));
  if (options->seed) TD_TRY(td_flag_int("--seed", options->seed, 0, INT64_MAX, &how->seed));
  if (options->held_back) TD_TRY(td_flag_int("--held-back", options->held_back, 0, 90, &per_cent));
  how->held_back = (double)per_cent / 100;
  how->analytic = options->analytic;
  how->single = options->single;
  return TD_OK;
}

/* What the file says of itself: the command, and the table by its name, without the folder it was in. */
static td_status describe(struct job *job, int argc, char **argv) {
  const struct options *options = &job->options;
  const char *slash = strrchr(options->measured, '/'), *name = slash ? slash + 1 : options->measured;
  td_text_printf(&job->made_by, "tandem calibrate");
  for (int i = 1; i < argc; i++) {
    slash = argv[i][0] == '/' ? strrchr(argv[i], '/') : NULL;
    td_text_printf(&job->made_by, " %s", slash ? slash + 1 : argv[i]);
  }
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

static td_status write_file(const struct job *job) {
  struct td_text part = {0};
  td_text_printf(&part, "%s.part", job->options.output);
  if (part.failed) return td_fail(TD_NO_MEMORY, "calibrate: found no memory");
  FILE *out = fopen(part.data, "w");
  td_status status = TD_OK;
  if (!out) status = td_fail(TD_IO, "%s: %s", part.data, strerror(errno));
  if (out) {
    status = td_device_params_write(job->device, job->fits, job->fit_count, out);
    if (fclose(out) && !status) status = td_fail(TD_IO, "%s: %s", part.data, strerror(errno));
    if (!status && rename(part.data, job->options.output)) {
      status = td_fail(TD_IO, "%s: %s", job->options.output, strerror(errno));
    }
    if (status) unlink(part.data);
  }
  td_text_free(&part);
  return status;
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
  TD_TRY(td_check_output(job->options.output));
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
  TD_TRY(write_file(job));
  print(job);
  return TD_OK;
}

static td_status run(int argc, char **argv, int *out_exit) {
  struct job *job;
  void *memory;
  TD_TRY(td_alloc(1, sizeof *job, &memory));
  job = memory;
  struct options *options = &job->options;
  int32_t count;
  const struct td_flag flags[] = {
      {.name = "--device", .value = &options->device},     {.name = "--op", .value = &options->op},
      {.name = "--measured", .value = &options->measured}, {.name = "-o", .value = &options->output},
      {.name = "--path", .value = &options->path},         {.name = "--rows", .value = &options->rows},
      {.name = "--seed", .value = &options->seed},         {.name = "--held-back", .value = &options->held_back},
      {.name = "--source", .value = &options->source},     {.name = "--models", .value = &options->models},
      {.name = "--held-rows", .given = &options->single},  {.name = "--analytic", .given = &options->analytic},
      {.name = "--json", .given = &options->json},         {0},
  };
  *out_exit = 0;
  td_status status = td_flags_parse(argc, argv, flags, NULL, 0, &count);
  if (!status) status = check_given(options);
  if (!status) status = calibrate(job, argc, argv);
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
    .usage = "--device D --op OP --measured FILE.csv -o FILE.cfg [--analytic] [--rows N]",
    .summary = "fits a device's cost parameters to a table of measurements",
    .help =
        "  --device D        the device that was measured: a name or path of a device file, its datasheet and the "
        "fits\n"
        "                    that it has already are carried over\n"
        "  --op OP           gemm, attention_context, attention_generation, moe, collective; e2e: a scale per "
        "framework\n"
        "  --measured FILE   CSV, plain or gzip, with the columns of docs/calibration.md\n"
        "  -o FILE.cfg       the device file to write; the fit's error is in it\n"
        "  --path P          only rows of these element types (\"bfloat16\", \"bfloat16/fp8\") or this collective\n"
        "  --analytic        parameters only, no table of residuals\n"
        "  --rows N          fit to a seeded sample of N of the rows that are not held back\n"
        "  --held-back P     per cent of the shapes to measure the error on (20; e2e: 50); 0: the error stays unknown\n"
        "  --held-rows       hold back single rows, not whole families of shapes ((n, k) pairs, head shapes, experts)\n"
        "  --seed S          of both (1)\n"
        "  --source TEXT     who measured it, with the year, for the device file\n"
        "  --models DIR      e2e: folder of the models' shapes (experiments/models)\n"
        "  --json            one JSON object\n",
    .run = run,
};
