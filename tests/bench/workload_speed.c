/* SPDX-License-Identifier: Apache-2.0
 *
 * How many jobs a second a config's workload gives, and how long it takes to open: by hand, not a test.
 *
 *   workload_speed CONFIG [PATH=VALUE]...     e.g. workload.source.requests=20000000
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "tandem/base.h"
#include "tandem/workload.h"

static void must(td_status status) {
  if (!status) return;
  fprintf(stderr, "workload_speed: %s\n", td_error_text());
  exit(1);
}

/* Of this process, so that others on the machine do not count. */
static double cpu_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Every job is finished 1 s after it came: closed loops go on. */
static uint64_t take_all(struct td_workload *workload, uint64_t *out_check) {
  uint64_t count = 0;
  struct td_job job;
  for (bool any = true;; count++) {
    int64_t at_ps;
    must(td_workload_peek(workload, &at_ps, &any));
    if (!any) return count;
    must(td_workload_take(workload, &job));
    *out_check += (uint64_t)(job.arrival_ps + job.prompt_tokens * 7 + job.output_tokens * 31 + job.prefix_count);
    must(td_workload_finished(workload, job.number, job.arrival_ps));
  }
}

int main(int argc, char **argv) {
  struct td_config *config;
  struct td_experiment experiment;
  struct td_workload *workload;
  struct rusage usage;
  uint64_t check = 0;
  if (argc < 2) return 2;
  double start = cpu_seconds();
  must(td_experiment_open(argv[1], (const char *const *)argv + 2, argc - 2, &config, &experiment));
  double read = cpu_seconds();
  must(td_workload_open(config, &experiment, &workload));
  double opened = cpu_seconds();
  uint64_t count = take_all(workload, &check);
  double seconds = cpu_seconds() - opened;
  getrusage(RUSAGE_SELF, &usage);
  printf("config %.2f ms, open %.2f ms, %" PRIu64 " jobs in %.3f s: %.2f M jobs/s, %ld MB (check %016" PRIx64 ")\n",
         (read - start) * 1e3, (opened - read) * 1e3, count, seconds, (double)count / seconds / 1e6,
         usage.ru_maxrss / 1024, check);
  td_workload_close(workload);
  td_config_close(config);
  return 0;
}
