/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "tandem/base.h"
#include "tandem/cli.h"

#define PROMPT 512
#define SECONDS 0.3
#define SECONDS_MAX 60
/* Ceilings are measured again when the last look at them is this old. */
#define CEILINGS_AGE_PS (10 * TD_PS_PER_SECOND)
#define SMALL_MODEL "smollm2-135m"
#define LARGE_MODEL "llama-3.1-8b"

struct options {
  const char *spec, *model, *filter;
  int32_t threads;
  int64_t prompt; /* 0: not given */
  double seconds;
  bool inexact, json;
};

struct bench {
  struct options options;
  struct td_device *device;
  struct bench_model model;
  const char *weights; /* what the report says of them */
  int64_t prompt;
  struct bench_ceilings ceilings;
  int64_t ceilings_ps; /* when they were last looked at */
  struct bench_cases cases;
  struct bench_result *results;
  size_t count;
  struct td_progress progress;
};

/* ---- the command line ---- */

static int32_t processors(void) {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

static td_status read_seconds(const char *text, double *out) {
  char *end;
  errno = 0;
  double value = strtod(text, &end);
  if (errno || end == text || *end || !(value >= 0.001) || value > SECONDS_MAX) {
    return td_fail(TD_USAGE, "--seconds: found \"%s\", expected a number from 0.001 to %d", text, SECONDS_MAX);
  }
  *out = value;
  return TD_OK;
}

static td_status read_options(int argc, char **argv, struct options *options) {
  const char *threads = NULL, *seconds = NULL, *prompt = NULL;
  int32_t given;
  const struct td_flag flags[] = {
      {.name = "--threads", .value = &threads},    {.name = "--model", .value = &options->model},
      {.name = "--prompt", .value = &prompt},      {.name = "--inexact", .given = &options->inexact},
      {.name = "--json", .given = &options->json}, {.name = "--filter", .value = &options->filter},
      {.name = "--seconds", .value = &seconds},    {0}};
  int64_t count = processors();
  TD_TRY(td_flags_parse(argc, argv, flags, &options->spec, 1, &given));
  if (!options->spec) return td_fail(TD_USAGE, "bench: found no device, expected BACKEND or BACKEND:N");
  if (threads) TD_TRY(td_flag_int("--threads", threads, 1, 1024, &count));
  if (prompt) TD_TRY(td_flag_int("--prompt", prompt, 1, 1 << 20, &options->prompt));
  options->threads = (int32_t)count;
  options->seconds = SECONDS;
  return seconds ? read_seconds(seconds, &options->seconds) : TD_OK;
}

/* ---- what is measured ---- */

static td_status find_backend(const struct options *options, const struct td_backend **out_backend,
                              int32_t *out_index) {
  td_status status = td_device_find(options->spec, out_backend, out_index);
  if (status) return td_fail_within(status == TD_UNAVAILABLE ? status : TD_USAGE, "bench");
  if ((*out_backend)->executes) return TD_OK;
  return td_fail(TD_USAGE, "bench: backend %s prices steps and executes none, expected one that executes",
                 (*out_backend)->name);
}

/* The small model fits anywhere and is large enough for a processor; other chips get a larger one, if the host has room
 * to make it in. */
static const char *default_model(const struct td_backend *backend, int32_t index) {
  if (td_backend_on_host(backend, index) || backend->emulates) return SMALL_MODEL;
  struct bench_model large;
  if (bench_model_open(LARGE_MODEL, &large)) return SMALL_MODEL;
  uint64_t bytes = td_model_weight_bytes(large.model);
  bench_model_close(&large);
  return bench_host_available() / 2 > bytes ? LARGE_MODEL : SMALL_MODEL;
}

static td_status choose_prompt(struct bench *bench) {
  int32_t context = td_model_shape(bench->model.model)->context;
  bench->prompt = bench->options.prompt ? bench->options.prompt : PROMPT < context ? PROMPT : context - 1;
  if (bench->prompt > 0 && bench->prompt < context) return TD_OK;
  return td_fail(TD_USAGE,
                 "--prompt: found %" PRId64 " tokens, expected 1 to %d: a decode step follows in a context of %d",
                 bench->prompt, (int)context - 1, (int)context);
}

static td_status open_model(struct bench *bench, const struct td_backend *backend, int32_t index) {
  const char *name = bench->options.model ? bench->options.model : default_model(backend, index);
  TD_TRY(bench_model_open(name, &bench->model));
  const struct td_shape *shape = td_model_shape(bench->model.model);
  if (!td_arch_executes(shape->arch)) {
    return td_fail(TD_UNSUPPORTED, "model %s: found architecture %s, which is only priced, expected one that executes",
                   shape->name, td_arch_name(shape->arch));
  }
  bench->weights = td_model_has_weights(bench->model.model) ? "its own" : "seeded";
  return choose_prompt(bench);
}

static bool is_wanted(const struct bench *bench, const char *name) {
  return !bench->options.filter || !fnmatch(bench->options.filter, name, 0);
}

/* Keeps the operators that are wanted, and counts the steps. */
static td_status choose_cases(struct bench *bench, size_t *out_total) {
  size_t kept = 0;
  TD_TRY(bench_cases_list(bench->model.graph, bench->prompt, !bench->options.model, &bench->cases));
  for (size_t i = 0; i < bench->cases.count; i++) {
    if (is_wanted(bench, bench->cases.items[i].name)) bench->cases.items[kept++] = bench->cases.items[i];
  }
  bench->cases.count = kept;
  *out_total = kept;
  for (enum bench_step step = BENCH_PREFILL; step <= BENCH_DECODE; step++) {
    *out_total += is_wanted(bench, bench_step_name(step));
  }
  if (*out_total) return TD_OK;
  return td_fail(TD_USAGE,
                 "--filter: found nothing named like \"%s\"; names are like matmul/f32/576x1536/decode or "
                 "step/prefill",
                 bench->options.filter);
}

/* ---- measuring ---- */

/* Of the weights, beside those made here: a device of the host's processors keeps its own. */
static int32_t copies_on_host(const struct bench *bench) {
  return td_backend_on_host(bench->device->backend, bench->device->index) ? 1 : 0;
}

static td_status sample_ceilings(struct bench *bench) {
  TD_TRY(bench_ceilings_sample(bench->device, bench->options.seconds, &bench->ceilings));
  bench->ceilings_ps = td_now_ps();
  return TD_OK;
}

static td_status refresh_ceilings(struct bench *bench) {
  return td_now_ps() - bench->ceilings_ps > CEILINGS_AGE_PS ? sample_ceilings(bench) : TD_OK;
}

static td_status run_operators(struct bench *bench, size_t total) {
  for (size_t i = 0; i < bench->cases.count; i++) {
    TD_TRY(refresh_ceilings(bench));
    td_progress_update(&bench->progress, bench->count, total);
    TD_TRY(bench_operator(bench->device, bench->options.seconds, &bench->cases.items[i], &bench->ceilings, NULL,
                          &bench->results[bench->count]));
    bench->count++;
  }
  return TD_OK;
}

static td_status run_steps(struct bench *bench, size_t total) {
  struct bench_stepper *stepper;
  const struct td_model *model;
  if (bench->cases.count == total) return TD_OK;
  TD_TRY(bench_model_weights(&bench->model, copies_on_host(bench), &model));
  TD_TRY(bench_stepper_open(bench->device, model, bench->prompt, bench->options.seconds, &stepper));
  td_status status = TD_OK;
  for (enum bench_step step = BENCH_PREFILL; !status && step <= BENCH_DECODE; step++) {
    td_progress_update(&bench->progress, bench->count, total);
    if (!is_wanted(bench, bench_step_name(step))) continue;
    status = bench_stepper_run(stepper, step, bench->options.seconds, &bench->ceilings, &bench->results[bench->count]);
    if (!status) bench->count++;
  }
  bench_stepper_close(stepper);
  return status;
}

/* Ceilings before, between and after, so that a machine that changes its pace shows in their spread. */
static td_status measure(struct bench *bench) {
  size_t total;
  TD_TRY(choose_cases(bench, &total));
  if (bench->cases.count < total) TD_TRY(bench_model_check_room(&bench->model, copies_on_host(bench)));
  TD_TRY(td_alloc(total, sizeof *bench->results, (void **)&bench->results));
  td_progress_begin(&bench->progress, "bench");
  td_status status = sample_ceilings(bench);
  if (!status) status = run_operators(bench, total);
  if (!status) status = run_steps(bench, total);
  if (!status) status = sample_ceilings(bench);
  td_progress_end(&bench->progress);
  return status;
}

static td_status report(const struct bench *bench) {
  const struct options *options = &bench->options;
  const struct td_backend *backend = bench->device->backend;
  struct bench_report out = {
      .device = bench->device,
      .device_name = backend->device_name ? backend->device_name(bench->device->index) : NULL,
      .shape = td_model_shape(bench->model.model),
      .weights = bench->weights,
      .weight_bytes = td_model_weight_bytes(bench->model.model),
      .threads = options->threads,
      .inexact = options->inexact,
      .seconds = options->seconds,
      .prompt = bench->prompt,
      .ceilings = &bench->ceilings,
      .results = bench->results,
      .count = bench->count,
  };
  if (options->json) return bench_print_json(&out, stdout);
  bench_print(&out, stdout);
  return TD_OK;
}

static td_status bench_all(struct bench *bench) {
  const struct td_backend *backend = NULL;
  int32_t index;
  TD_TRY(find_backend(&bench->options, &backend, &index));
  TD_TRY(open_model(bench, backend, index));
#ifndef __OPTIMIZE__
  td_warn("this build is not optimised: neither its rates nor its ceilings mean much");
#endif
  struct td_device_options how = {.threads = bench->options.threads, .inexact = bench->options.inexact};
  TD_TRY(td_device_open(bench->options.spec, &how, &bench->device));
  TD_TRY(bench_ceilings_open(bench->device, bench->options.threads, bench->options.seconds, &bench->ceilings));
  TD_TRY(measure(bench));
  return report(bench);
}

static td_status run_bench(int argc, char **argv, int *out_exit) {
  struct bench bench = {0};
  (void)out_exit;
  TD_TRY(read_options(argc, argv, &bench.options));
  td_status status = bench_all(&bench);
  bench_ceilings_close(&bench.ceilings);
  td_device_close(bench.device);
  bench_model_close(&bench.model);
  bench_cases_free(&bench.cases);
  free(bench.results);
  return status;
}

const struct td_command td_command_bench = {
    .name = "bench",
    .usage =
        "BACKEND[:N] [--threads N] [--model MODEL] [--prompt N] [--inexact] [--filter PATTERN] [--seconds S] "
        "[--json]",
    .summary = "measures operators and steps beside the device's ceilings",
    .help =
        "  --threads N       host threads, for the device and for ceilings measured on the host (all processors)\n"
        "  --model MODEL     the shapes to measure at: a GGUF file, a shape file (.cfg; seeded weights are made), or\n"
        "                    smollm2-135m, llama-3.1-8b; only its own types and operators then. Default: smollm2-135m\n"
        "                    on the host's processors, llama-3.1-8b elsewhere if the host has room to make it; with\n"
        "                    every type of weight and experts beside it\n"
        "  --prompt N        tokens of a prefill, and the context that decode steps follow (512, or what the model's\n"
        "                    context leaves)\n"
        "  --inexact         the device may take its fastest paths (vendor BLAS, tensor cores)\n"
        "  --filter PATTERN  only names that match, e.g. 'matmul/f32/*' or 'step/*'\n"
        "  --seconds S       measure each for about this long, at least three repeats (0.3)\n"
        "  --json            prints one JSON object\n\n"
        "Times are medians after a warm-up. Bytes and flops are what the cost model counts; weights and cache come\n"
        "from memory (as many copies as no cache holds), activations of one row from the cache. Ceilings are measured\n"
        "in the same run, before, every ten seconds between, and after: read (bytes/s of reading), triad (of\n"
        "a = b + s c), gemm_f32 and gemm_f16 (flop/s of a large product). The one that binds is the one that would\n"
        "take longest; what stays in a cache has none. On the host's processors read and triad are measured again\n"
        "between the repeats of what they bind, and shares are of these passes (\"beside\").\n",
    .run = run_bench,
};
