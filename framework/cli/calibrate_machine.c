/* SPDX-License-Identifier: Apache-2.0
 *
 * A device file of a backend on this machine: what is measured, in which order, and what the file says of it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "calibrate.h"
#include "tandem/base.h"

#define CEILING_SECONDS 0.5
#define QUICK_CEILING_SECONDS 0.01
#define DEFAULT_TYPES "q4_1,q8_0,f16"
#define QUICK_TYPES "f32"

/* Two shapes that are no model's: larger and smaller than caches hold. Widths are multiples of 256, so that weights of
 * every type fit. */
struct made {
  int layers, hidden, heads, kv_heads, ffn, vocab;
};
static const struct made made[] = {{14, 768, 12, 4, 2048, 32000}, {20, 512, 8, 2, 1280, 16384}};
static const struct made quick_made[] = {{3, 256, 4, 2, 512, 1024}, {2, 512, 8, 2, 768, 512}};

static td_status open_model(const struct made *shape, int number, const char *type, struct bench_model *out) {
  char text[512];
  TD_TRY(
      td_format(text, sizeof text,
                "name = \"made %d\"; architecture = \"llama\"; layers = %d; hidden = %d; heads = %d; kv_heads = %d;\n"
                "head_dim = 64; ffn = %d; vocab = %d; context = 8192; rope_dim = 64; rope_theta = 10000.0;\n"
                "norm_epsilon = 1e-5; tied_output = true; rope_factors = false; weights = \"%s\";\n",
                number, shape->layers, shape->hidden, shape->heads, shape->kv_heads, shape->ffn, shape->vocab, type));
  return bench_model_open_text(text, out);
}

static td_status open_models(struct calibrate *calibrate) {
  const struct made *shapes = calibrate->options.quick ? quick_made : made;
  const char *type = td_dtype_info((uint32_t)calibrate->types[0])->name;
  for (int i = 0; i < CALIBRATE_MODELS; i++) {
    TD_TRY(open_model(&shapes[i], i + 1, type, &calibrate->models[i]));
    calibrate->model_count++;
  }
  return TD_OK;
}

/* ---- what is asked for ---- */

static td_status add_type(struct calibrate *calibrate, const char *name) {
  const struct td_dtype_info *info = td_dtype_find(name);
  if (!info || info->priced_only) {
    return td_fail(TD_USAGE, "--types: found \"%.40s\", expected element types with commas between, such as %s", name,
                   DEFAULT_TYPES);
  }
  for (int32_t i = 0; i < calibrate->type_count; i++) {
    if (calibrate->types[i] == info->dtype) return td_fail(TD_USAGE, "--types: found %s twice", info->name);
  }
  if (calibrate->type_count == CALIBRATE_TYPES) {
    return td_fail(TD_USAGE, "--types: found more than %d, expected fewer", CALIBRATE_TYPES);
  }
  calibrate->types[calibrate->type_count++] = info->dtype;
  return TD_OK;
}

static td_status read_types(struct calibrate *calibrate) {
  const char *text = calibrate->options.types;
  if (!text) text = calibrate->options.quick ? QUICK_TYPES : DEFAULT_TYPES;
  for (;;) {
    char name[48];
    size_t bytes = strcspn(text, ",");
    snprintf(name, sizeof name, "%.*s", (int)(bytes < 47 ? bytes : 47), text);
    TD_TRY(add_type(calibrate, name));
    if (!text[bytes]) return TD_OK;
    text += bytes + 1;
  }
}

static td_status open_device(struct calibrate *calibrate) {
  const struct calibrate_options *options = &calibrate->options;
  const struct td_backend *backend;
  int32_t index;
  td_status status = td_device_find(options->spec, &backend, &index);
  if (status) return td_fail_within(status == TD_UNAVAILABLE ? status : TD_USAGE, "calibrate");
  if (!backend->executes || backend->emulates) {
    return td_fail(TD_USAGE, "calibrate: found backend %s, whose time is %s, expected one whose time is measured",
                   backend->name, backend->executes ? "counted" : "priced");
  }
  if (!options->base && !td_backend_on_host(backend, index)) {
    return td_fail(TD_USAGE,
                   "calibrate: found no --device, expected the device file of what %s computes on, for its memory",
                   options->spec);
  }
  if (options->base) TD_TRY(td_device_params_open(options->base, &calibrate->base));
  struct td_device_options how = {.threads = options->threads, .inexact = options->inexact};
  return td_device_open(options->spec, &how, &calibrate->device);
}

/* ---- what the file says ---- */

static td_status describe(struct calibrate *calibrate) {
  const struct td_backend *backend = calibrate->device->backend;
  const char *own = backend->device_name ? backend->device_name(calibrate->device->index) : NULL;
  char processor[96], date[32];
  time_t now = time(NULL);
  struct tm utc;
  bench_processor_name(processor, sizeof processor);
  strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &utc));
  TD_TRY(td_format(calibrate->title, sizeof calibrate->title, "%.40s, %d host thread%s of a machine with %.50s",
                   calibrate->options.spec, (int)calibrate->options.threads, calibrate->options.threads == 1 ? "" : "s",
                   processor));
  return td_format(calibrate->source, sizeof calibrate->source,
                   "measured on this machine (%.90s%s%.60s), %ld processors%s, %s%s", processor, own ? ", " : "",
                   own ? own : "", sysconf(_SC_NPROCESSORS_ONLN), calibrate->awake_file < 0 ? "" : " kept awake", date,
                   calibrate->options.quick ? ", --quick: a few repeats of small shapes" : "");
}

static struct td_quantity measured(const struct calibrate *calibrate, double value, double low, double high,
                                   const char *unit) {
  return (struct td_quantity){.present = true,
                              .value = value,
                              .low = low,
                              .high = high,
                              .evidence = TD_MEASURED,
                              .unit = unit,
                              .source = calibrate->source};
}

static struct td_quantity of_ceiling(const struct calibrate *calibrate, enum td_ceiling which, const char *unit) {
  const struct bench_spread *rate = &calibrate->ceilings.of[which].rate;
  return measured(calibrate, rate->median, rate->low, rate->high, unit);
}

/* Rates of the processors themselves, for people and for what is priced without measured operators: nothing is. */
static td_status measure_host(struct calibrate *calibrate) {
  double seconds = calibrate->options.quick ? QUICK_CEILING_SECONDS : CEILING_SECONDS;
  struct td_device_params *params = &calibrate->params;
  TD_TRY(bench_ceilings_open(calibrate->device, calibrate->options.threads, seconds, &calibrate->ceilings));
  TD_TRY(bench_ceilings_sample(calibrate->device, seconds, &calibrate->ceilings));
  double bytes = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGE_SIZE);
  const struct bench_spread *call = &calibrate->ceilings.call;
  params->kind = TD_KIND_CHIP;
  params->status = "sold";
  params->memory_bytes = measured(calibrate, bytes, bytes, bytes, "B");
  params->memory_bandwidth = of_ceiling(calibrate, TD_CEILING_READ, "B/s");
  params->memory_efficiency = measured(calibrate, 1, 1, 1, "1");
  params->flops_f32 = params->flops_f16 = params->flops_bf16 = of_ceiling(calibrate, TD_CEILING_GEMM_F32, "FLOP/s");
  params->compute_efficiency = measured(calibrate, 1, 1, 1, "1");
  params->op_overhead = measured(calibrate, call->median, call->low, call->high, "s");
  bench_ceilings_close(&calibrate->ceilings);
  return TD_OK;
}

static td_status start_params(struct calibrate *calibrate) {
  TD_TRY(describe(calibrate));
  if (calibrate->base) calibrate->params = *calibrate->base;
  if (!calibrate->base) TD_TRY(measure_host(calibrate));
  calibrate->params.measured = NULL;
  calibrate->params.measured_count = 0;
  TD_TRY(td_format(calibrate->params.name, sizeof calibrate->params.name, "%.40s", calibrate->options.spec));
  return td_format(calibrate->params.title, sizeof calibrate->params.title, "%s", calibrate->title);
}

/* ---- operators and steps ---- */

static td_status measure_all(struct calibrate *calibrate, struct calibrate_steps *steps) {
  int32_t rounds = calibrate->options.quick ? 1 : CALIBRATE_ROUNDS;
  calibrate->all = (uint64_t)rounds * (calibrate->case_count + calibrate_step_count(calibrate));
  for (int32_t round = 0; round < rounds; round++) {
    TD_TRY(calibrate_operators_round(calibrate));
    TD_TRY(calibrate_steps_round(calibrate, steps));
  }
  TD_TRY(calibrate_operators_fit(calibrate));
  return calibrate_steps_fit(calibrate, steps);
}

static td_status measure_rounds(struct calibrate *calibrate) {
  struct calibrate_steps *steps = NULL;
  td_status status = calibrate_operators_list(calibrate);
  if (!status) status = calibrate_steps_open(calibrate, &steps);
  if (!status) status = measure_all(calibrate, steps);
  calibrate_steps_close(steps);
  return status;
}

td_status calibrate_machine(struct calibrate *calibrate) {
  TD_TRY(read_types(calibrate));
  TD_TRY(open_device(calibrate));
  TD_TRY(open_models(calibrate));
#ifndef __OPTIMIZE__
  td_warn("this build is not optimised: what it measures is not what tandem takes");
#endif
  (void)td_awake_begin(&calibrate->awake_file); /* as live runs do it where they may; the file says which */
  td_progress_begin(&calibrate->progress, "calibrate");
  td_status status = start_params(calibrate);
  if (!status) status = measure_rounds(calibrate);
  td_progress_end(&calibrate->progress);
  return status;
}

void calibrate_machine_close(struct calibrate *calibrate) {
  td_awake_end(calibrate->awake_file);
  bench_ceilings_close(&calibrate->ceilings);
  free(calibrate->cases);
  for (int32_t i = 0; i < calibrate->model_count; i++) bench_model_close(&calibrate->models[i]);
  td_device_close(calibrate->device);
  td_device_params_close(calibrate->base);
}
