/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a trace: loading and computing end, with yes or no. td_trace_load reads in a child process first, so a
 * fault inside HDF5 is an answer too; what this looks for is faults of our own.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tandem/diff.h"

static void use(const struct td_trace *trace) {
  const struct td_diff_options options = {0};
  struct td_metrics metrics;
  struct td_diff diff;
  if (td_metrics_compute(trace, &metrics)) return;
  FILE *out = fopen("/dev/null", "w");
  if (out && !td_diff_compute(trace, &metrics, trace, &metrics, &options, &diff)) {
    const struct td_diff_side side = {"fuzz", trace, &metrics};
    td_metrics_print(trace, &metrics, out);
    td_metrics_json(trace, &metrics, out);
    td_diff_json(&diff, &side, &side, out);
    td_diff_free(&diff);
  }
  if (out) fclose(out);
  td_metrics_free(&metrics);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char path[64];
  struct td_trace *trace = NULL;
  int file = memfd_create("trace", 0);
  if (file < 0 || write(file, data, size) != (ssize_t)size) abort();
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  if (!td_trace_load(path, &trace)) {
    use(trace);
    td_trace_free(trace);
  }
  close(file);
  return 0;
}
