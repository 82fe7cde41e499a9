/* SPDX-License-Identifier: Apache-2.0
 *
 * The report as one JSON object: rates in bytes/s and flop/s, times in seconds, null for what is not known.
 */
#include <jansson.h>
#include <math.h>
#include <time.h>

#include "bench.h"
#include "tandem_revision.h"

static json_t *real(double value) {
  return isfinite(value) ? json_real(value) : json_null();
}

static json_t *spread(const struct bench_spread *spread) {
  return json_pack("{s:o, s:o, s:o, s:i}", "median", real(spread->median), "low", real(spread->low), "high",
                   real(spread->high), "count", (int)spread->count);
}

static json_t *ceilings(const struct bench_ceilings *ceilings) {
  json_t *out = json_object();
  for (enum td_ceiling which = 0; which < TD_CEILING_COUNT; which++) {
    const struct bench_ceiling *ceiling = &ceilings->of[which];
    json_t *one = json_null();
    if (ceiling->rate.count) {
      one = spread(&ceiling->rate);
      json_object_set_new(one, "how", json_string(ceiling->how));
    }
    json_object_set_new(out, bench_ceiling_name(which), one);
  }
  return out;
}

static void add_rates(json_t *out, const struct bench_report *report, const struct bench_result *result) {
  enum td_ceiling bound;
  double share = bench_share(result, report->ceilings, &bound), seconds = result->times.seconds.median;
  double bytes = bench_work_bytes(&result->work), flops = bench_work_flops(&result->work);
  json_object_set_new(out, "seconds", spread(&result->times.seconds));
  json_object_set_new(out, "bytes", real(bytes));
  json_object_set_new(out, "flops", real(flops));
  json_object_set_new(out, "bytes_per_s", real(bytes / seconds));
  json_object_set_new(out, "flops_per_s", real(flops / seconds));
  json_object_set_new(out, "bound", result->cached ? json_null() : json_string(bench_ceiling_name(bound)));
  json_object_set_new(out, "of_bound", result->cached ? json_null() : real(share));
  if (!result->cached && bench_is_paired(result, bound)) {
    json_object_set_new(out, "beside", spread(&result->times.beside));
  }
  if (!result->is_step) return;
  json_object_set_new(out, "tokens_per_s", real((double)result->tokens / seconds));
  json_object_set_new(out, "joules_per_token", real(result->energy_j / (double)result->tokens));
}

static json_t *one_result(const struct bench_report *report, const struct bench_result *result) {
  json_t *out = json_pack("{s:s, s:I, s:I, s:s?}", "name", result->name, "tokens", (json_int_t)result->tokens, "past",
                          (json_int_t)result->past, "note", *result->note ? result->note : NULL);
  if (result->times.seconds.count) add_rates(out, report, result);
  return out;
}

static json_t *results(const struct bench_report *report, bool steps) {
  json_t *out = json_array();
  for (size_t i = 0; i < report->count; i++) {
    if (report->results[i].is_step == steps) json_array_append_new(out, one_result(report, &report->results[i]));
  }
  return out;
}

static json_t *build(const struct bench_report *report) {
  char processor[128], date[32], spec[96];
  time_t now = time(NULL);
  struct tm utc;
  bench_processor_name(processor, sizeof processor);
  strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
  snprintf(spec, sizeof spec, "%s:%d", report->device->backend->name, (int)report->device->index);
  json_t *model = json_pack("{s:s, s:s, s:I, s:I}", "name", report->shape->name, "weights", report->weights,
                            "weight_bytes", (json_int_t)report->weight_bytes, "prompt", (json_int_t)report->prompt);
  return json_pack("{s:s, s:s?, s:s, s:i, s:b, s:b, s:s, s:s, s:s, s:f, s:o, s:o, s:o, s:o, s:o}", "device", spec,
                   "device_name", report->device_name, "host", processor, "threads", (int)report->threads, "exact",
                   (int)report->device->backend->exact, "inexact", (int)report->inexact, "date", date, "version",
                   TANDEM_VERSION, "revision", TANDEM_REVISION, "seconds", report->seconds, "model", model, "ceilings",
                   ceilings(report->ceilings), "call", spread(&report->ceilings->call), "operators",
                   results(report, false), "steps", results(report, true));
}

td_status bench_print_json(const struct bench_report *report, FILE *out) {
  json_t *all = build(report);
  if (!all) return td_fail(TD_NO_MEMORY, "no room for the report");
  int failed = json_dumpf(all, out, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
  json_decref(all);
  if (failed) return td_fail(TD_IO, "standard output: cannot write");
  fputc('\n', out);
  return TD_OK;
}
