/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem calibrate --link TRACE`: latency and bandwidth of a link from the transfers that a run executed. A transfer's
 * time is that of an empty one and its bytes over the bandwidth; relative errors count, outliers weigh less.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "calibrate.h"
#include "cli_output.h"
#include "tandem/base.h"
#include "tandem/trace.h"

#define LEAST_ROWS 20
#define LEAST_RATIO 2 /* of the largest transfer to the smallest: from less nobody can tell latency from bandwidth */
#define FAMILIES 5    /* of requests: each is predicted from the others */
#define LATENCY_MOST 3600 /* what device files hold, seconds and bytes per second */
#define BANDWIDTH_LEAST 1
enum { LATENCY, BYTE }; /* the terms, as those of an operator that has a call and elements */

struct job {
  const struct td_trace *trace;
  const char *path, *name; /* the trace, and without its folder */
  const char *from, *to;   /* pools */
  struct calibrate_rows rows;
  uint64_t smallest, largest;
  struct td_measured_op fit;
};

static const char *pool_of(const struct td_trace *trace, uint32_t device) {
  return trace->devices[device].pool;
}

/* One link at a time: pools may be joined by links of different kinds. */
static td_status take_pools(struct job *job, const struct td_row_transfer *row) {
  const char *from = pool_of(job->trace, row->from), *to = pool_of(job->trace, row->to);
  if (!job->from) {
    job->from = from;
    job->to = to;
  }
  if (!strcmp(job->from, from) && !strcmp(job->to, to)) return TD_OK;
  return td_fail(TD_CONFIG,
                 "%s: found transfers from %.31s to %.31s and from %.31s to %.31s, expected those of one link",
                 job->path, job->from, job->to, from, to);
}

static td_status take_transfer(struct job *job, const struct td_row_transfer *row) {
  if (row->time_kind != TD_TIME_EXECUTED || !row->bytes || row->duration <= 0) return TD_OK;
  TD_TRY(take_pools(job, row));
  struct td_measured_row measured = {.seconds = td_seconds(row->duration),
                                     .family = (int32_t)(row->request % FAMILIES)};
  measured.uses[LATENCY] = 1;
  measured.uses[BYTE] = (double)row->bytes;
  if (!job->rows.count || row->bytes < job->smallest) job->smallest = row->bytes;
  if (row->bytes > job->largest) job->largest = row->bytes;
  return calibrate_add_row(&job->rows, &measured, 0);
}

/* Numbers families from 0 without gaps: the fit holds each of them back in turn. */
static void number_families(struct calibrate_rows *rows) {
  int32_t numbers[FAMILIES], count = 0;
  for (int32_t i = 0; i < FAMILIES; i++) numbers[i] = -1;
  for (size_t i = 0; i < rows->count; i++) {
    int32_t *number = &numbers[rows->items[i].family];
    if (*number < 0) *number = count++;
    rows->items[i].family = *number;
  }
}

static td_status check_rows(const struct job *job) {
  if (job->rows.count < LEAST_ROWS) {
    return td_fail(TD_CONFIG, "%s: found %zu executed transfers, expected %d or more to fit a link to", job->path,
                   job->rows.count, LEAST_ROWS);
  }
  if (job->largest / LEAST_RATIO >= job->smallest) return TD_OK;
  return td_fail(TD_CONFIG,
                 "%s: found executed transfers of %" PRIu64 " to %" PRIu64
                 " bytes, expected sizes that differ by a factor of %d or more to tell latency from bandwidth",
                 job->path, job->smallest, job->largest, LEAST_RATIO);
}

static td_status fit_link(struct job *job) {
  for (uint64_t i = 0; i < job->trace->count[TD_TABLE_TRANSFERS]; i++) {
    TD_TRY(take_transfer(job, &job->trace->transfers[i]));
  }
  TD_TRY(check_rows(job));
  number_families(&job->rows);
  TD_TRY(td_measured_fit(TD_OP_ADD, job->rows.items, (int64_t)job->rows.count, &job->fit));
  if (job->fit.terms[BYTE] > 0) return TD_OK;
  return td_fail(TD_CONFIG,
                 "%s: found executed transfers that take no longer with more bytes (%" PRIu64 " to %" PRIu64
                 "), expected a time that grows with them",
                 job->path, job->smallest, job->largest);
}

/* ---- the file ---- */

static td_status describe(const struct job *job, const char *command, struct td_text *source) {
  char date[32];
  time_t now = time(NULL);
  struct tm utc;
  strftime(date, sizeof date, "%Y-%m-%d", gmtime_r(&now, &utc));
  td_text_printf(
      source,
      "%s, %s: %zu executed transfers of %" PRIu64 " to %" PRIu64
      " B of %s; error on requests that the fit did not see: MAPE %.1f %%, p90 %.1f %%; low and high: 5th and "
      "95th percentile of measured / predicted",
      command, date, job->rows.count, job->smallest, job->largest, job->name, 100 * job->fit.mape, 100 * job->fit.p90);
  return source->failed ? td_fail(TD_NO_MEMORY, "calibrate: found no memory") : TD_OK;
}

static struct td_quantity measured(double value, double low, double high, const char *unit, const char *source) {
  return (struct td_quantity){.present = true,
                              .value = value,
                              .low = low < value ? low : value,
                              .high = high > value ? high : value,
                              .evidence = TD_MEASURED,
                              .unit = unit,
                              .source = source};
}

static td_status write_link(const struct job *job, const char *output, const char *source, bool json) {
  const struct td_measured_op *fit = &job->fit;
  double latency = fit->terms[LATENCY], bandwidth = 1 / fit->terms[BYTE];
  if (latency * fmax(1, fit->high) > LATENCY_MOST || bandwidth / fmax(1, fit->high) < BANDWIDTH_LEAST) {
    return td_fail(TD_UNSUPPORTED, "%s: found a link of %.3g s and %.3g B/s, expected at most %d s and at least %d B/s",
                   job->path, latency, bandwidth, LATENCY_MOST, BANDWIDTH_LEAST);
  }
  struct td_device_params params = {.kind = TD_KIND_LINK, .status = "sold"};
  const char *slash = strrchr(output, '/'), *base = slash ? slash + 1 : output;
  TD_TRY(td_format(params.name, sizeof params.name, "%.*s", (int)(strlen(base) - 4), base));
  TD_TRY(td_format(params.title, sizeof params.title, "Link from %.31s to %.31s, as transfers of a run took it",
                   job->from, job->to));
  params.link_bandwidth = measured(bandwidth, bandwidth / fit->high, bandwidth / fit->low, "B/s", source);
  params.link_latency = measured(latency, latency * fit->low, latency * fit->high, "s", source);
  TD_TRY(calibrate_write(&params, NULL, 0, output));
  (json ? td_device_params_json : td_device_params_print)(&params, stdout);
  if (json) fputc('\n', stdout);
  return TD_OK;
}

td_status calibrate_link(const char *path, const char *output, const char *command, bool json) {
  const char *slash = strrchr(path, '/');
  struct job job = {.path = path, .name = slash ? slash + 1 : path};
  struct td_text source = {0};
  struct td_trace *trace = NULL;
  TD_TRY(calibrate_check_output(output));
  TD_TRY(td_output_is_not(output, path, "the trace"));
  td_status status = td_trace_load(path, &trace);
  job.trace = trace;
  if (!status) status = fit_link(&job);
  if (!status) status = describe(&job, command, &source);
  if (!status) status = write_link(&job, output, source.data, json);
  td_text_free(&source);
  calibrate_rows_free(&job.rows);
  td_trace_free(trace);
  return status;
}
