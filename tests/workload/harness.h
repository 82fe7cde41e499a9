/* SPDX-License-Identifier: Apache-2.0
 *
 * What the workload tests share: a config around a source, files beside it, and a workload that is taken to its end.
 */
#ifndef TESTS_WORKLOAD_HARNESS_H
#define TESTS_WORKLOAD_HARNESS_H

#include "../scratch_files.h"
#include "tandem/base.h"
#include "tandem/workload.h"

struct opened {
  struct td_config *config;
  struct td_experiment *experiment; /* where it stays: the workload borrows it */
  struct td_workload *workload;
};

/* The config of a workload group's text; seed 42. */
static inline td_status open_config(const char *workload, struct opened *out) {
  char text[8192];
  snprintf(text, sizeof text,
           "name = \"t\"; model = \"m.gguf\"; seed = 42;\n"
           "cluster = { pools = ( { name = \"a\"; backend = \"cpu\"; } ); };\n"
           "workload = { %s };\n",
           workload);
  *out = (struct opened){.experiment = calloc(1, sizeof *out->experiment)};
  assert_non_null(out->experiment);
  const char *path = scratch_file("w.cfg", text);
  TD_TRY(td_experiment_open(path, NULL, 0, &out->config, out->experiment));
  return TD_OK;
}

static inline void close_opened(struct opened *opened) {
  td_workload_close(opened->workload);
  td_config_close(opened->config);
  free(opened->experiment);
  *opened = (struct opened){0};
}

static inline td_status open_source(const char *source, struct opened *out) {
  char text[7000];
  snprintf(text, sizeof text, "source = { %s };", source);
  TD_TRY(open_config(text, out));
  return td_workload_open(out->config, out->experiment, &out->workload);
}

static inline struct opened must_open(const char *source) {
  struct opened opened;
  if (open_source(source, &opened)) fail_msg("%s\n%s", source, td_error_text());
  return opened;
}

/* False: no job is left. */
static inline bool next_job(struct td_workload *workload, struct td_job *out) {
  int64_t at_ps = -1;
  bool any = false;
  if (td_workload_peek(workload, &at_ps, &any)) fail_msg("peek: %s", td_error_text());
  if (!any) return false;
  if (td_workload_take(workload, out)) fail_msg("take: %s", td_error_text());
  assert_true(out->arrival_ps == at_ps);
  return true;
}

struct sums {
  int64_t count, prompt, output, last_ps, hashes, shortest_output;
};

/* Takes all of an open workload. Numbers go up, times too. */
static inline struct sums take_all(struct td_workload *workload) {
  struct sums sums = {.shortest_output = INT64_MAX};
  struct td_job job;
  while (next_job(workload, &job)) {
    assert_true(job.number == (uint64_t)sums.count && job.arrival_ps >= sums.last_ps);
    assert_true(job.prompt_tokens >= 1 && job.output_tokens >= 1);
    sums.count++;
    sums.prompt += job.prompt_tokens;
    sums.output += job.output_tokens;
    sums.last_ps = job.arrival_ps;
    sums.hashes += job.prefix_count;
    if (job.output_tokens < sums.shortest_output) sums.shortest_output = job.output_tokens;
  }
  return sums;
}

/* A source must be refused, when it is opened or when its jobs are taken, with a text that has `text` in it. */
static inline void expect_refused(const char *source, const char *text) {
  struct opened opened;
  struct td_job job;
  td_status status = open_source(source, &opened);
  for (bool any = true; !status && any;) {
    int64_t at_ps;
    status = td_workload_peek(opened.workload, &at_ps, &any);
    if (!status && any) status = td_workload_take(opened.workload, &job);
    if (!status && any) status = td_workload_finished(opened.workload, job.number, job.arrival_ps);
  }
  if (!status || !strstr(td_error_text(), text)) {
    fail_msg("%s\nfound: %s\nexpected: %s", source, status ? td_error_text() : "no error", text);
  }
  assert_null(strchr(td_error_text(), '\n'));
  close_opened(&opened);
}

#endif
