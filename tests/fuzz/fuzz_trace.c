/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a trace: loading and computing end, with yes or no. td_trace_load reads in a child process first, so a
 * fault inside HDF5 is an answer too; what this looks for is faults of our own.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
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

/* A file of its own: HDF5 opens by name. */
static const char *scratch(void) {
  static char path[512];
  if (!*path) {
    const char *tmp = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/tandem-fuzz-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    int file = mkstemp(path);
    if (file < 0 || close(file)) abort();
  }
  return path;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct td_trace *trace = NULL;
  FILE *file = fopen(scratch(), "wb");
  if (!file || fwrite(data, 1, size, file) != size || fclose(file)) abort();
  if (!td_trace_load(scratch(), &trace)) {
    use(trace);
    td_trace_free(trace);
  }
  return 0;
}
