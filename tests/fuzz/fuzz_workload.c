/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a trace: what opens gives jobs that are in order and of sane lengths, the rest one line of text.
 *
 * Input: a byte for the format, a byte of choices, then the file. Format 0 is a file of empirical lengths; the highest
 * bit of the first byte makes the file a TraceV2 header.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scratch.h"
#include "tandem/base.h"
#include "tandem/workload.h"

#define JOBS_MAX 20000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char config_text[] =
    "name = \"f\"; model = \"m.cfg\"; seed = 1;\n"
    "cluster = { pools = ( { name = \"a\"; backend = \"cpu\"; } ); };\n"
    "workload = { source = { format = \"generated\"; arrivals = \"constant\"; rate = 1e3; requests = 100;\n"
    "  prompt = { law = \"constant\"; mean = 5.0; }; output = { law = \"constant\"; mean = 5.0; }; }; };\n";

/* The one config of all inputs; its source is then written over. */
static const struct td_config *the_config(struct td_experiment *out) {
  static struct td_config *config;
  static struct td_experiment experiment;
  if (!config) {
    write_file(scratch("f.cfg"), config_text, sizeof config_text - 1);
    if (td_experiment_open(scratch("f.cfg"), NULL, 0, &config, &experiment)) abort();
  }
  *out = experiment;
  return config;
}

/* Where each input is written. */
static const char *trace_path(void) {
  static char path[600];
  if (!*path) snprintf(path, sizeof path, "%s", scratch("file"));
  return path;
}

static void choose(uint8_t format, uint8_t choices, struct td_cfg_source *source) {
  source->format = (format & 0x7f) % TD_SOURCE_FORMATS;
  if (source->format == TD_SOURCE_GENERATED) {
    source->prompt.law = TD_LAW_EMPIRICAL;
    source->prompt.file = trace_path();
    return;
  }
  source->prompt.law = source->output.law = TD_LAW_TRACE;
  source->file = trace_path();
  if (format & 0x80 && source->format == TD_SOURCE_BLIS) source->header = trace_path();
  source->arrivals = choices & 1 || source->format == TD_SOURCE_LENGTHS ? TD_ARRIVALS_POISSON : TD_ARRIVALS_TRACE;
  if (choices & 2) source->arrivals = TD_ARRIVALS_CLOSED;
  source->users = 3;
  source->repeat = choices & 4;
  source->requests = source->repeat ? 1000 : 0;
  source->skip_failed = choices & 8;
  source->begin = choices & 16 ? 1 : 0;
  source->end = choices & 32 ? 2 : 0;
  source->block_tokens = choices & 64 ? 16 : 0;
  source->most_prompt = choices & 128 && source->format != TD_SOURCE_SESSIONS ? 700 : 0;
}

static td_status take_all(struct td_workload *workload) {
  int64_t at_ps, last_ps = 0;
  struct td_job job;
  for (uint64_t i = 0; i < JOBS_MAX; i++) {
    bool any;
    TD_TRY(td_workload_peek(workload, &at_ps, &any));
    if (!any) return TD_OK;
    TD_TRY(td_workload_take(workload, &job));
    if (job.number != i || job.arrival_ps != at_ps || at_ps < last_ps) abort();
    if (job.prompt_tokens < 1 || job.prompt_tokens > 10000000 || job.output_tokens < 1) abort();
    if ((int64_t)job.prefix_count * job.prefix_tokens >= job.prompt_tokens + job.prefix_tokens) abort();
    last_ps = at_ps;
    TD_TRY(td_workload_finished(workload, job.number, at_ps));
  }
  return TD_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct td_experiment experiment;
  struct td_workload *workload = NULL;
  if (size < 2) return 0;
  const struct td_config *config = the_config(&experiment);
  struct td_cfg_source *source = &experiment.workload.source;
  write_file(trace_path(), data + 2, size - 2);
  choose(data[0], data[1], source);
  td_status status = td_workload_open(config, &experiment, &workload);
  if (!status) status = take_all(workload);
  if (status && (!*td_error_text() || strchr(td_error_text(), '\n'))) abort();
  td_workload_close(workload);
  return 0;
}

#ifdef TANDEM_FUZZ_MAIN
#include "fuzz_main.h"
#endif
