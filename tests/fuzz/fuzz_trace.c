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
#include "tandem/export.h"

/* A file can stand for more tokens and steps than a fuzzer has patience; none of them differs from a few of them. */
#define PATIENCE (UINT64_C(1) << 20)

static int is_long(const struct td_trace *trace) {
  uint64_t sum = 0;
  for (uint64_t i = 0; i < trace->count[TD_TABLE_RESIDENCY]; i++) {
    sum += trace->residency[i].count * trace->residency[i].tokens_per_step;
  }
  for (uint64_t i = 0; i < trace->count[TD_TABLE_STEPS]; i++) sum += trace->steps[i].count;
  return sum > PATIENCE;
}

static void stream(const struct td_trace *trace) {
  struct td_trace_stream *stream = NULL;
  const struct td_trace_token *rows;
  size_t count = 1;
  if (td_trace_stream_open(trace, &stream)) return;
  while (count && !td_trace_stream_next(stream, &rows, &count)) continue;
  td_trace_stream_close(stream);
}

static void use(const struct td_trace *trace) {
  static const char *const tables[] = {"devices",   "requests", "steps",         "tokens",    "residency",
                                       "transfers", "changes",  "orchestrators", "tool_calls"};
  const struct td_diff_options options = {0};
  struct td_metrics metrics;
  struct td_diff diff;
  if (is_long(trace)) return;
  FILE *out = fopen("/dev/null", "w");
  for (int i = 0; out && i < TD_TABLE_COUNT; i++) (void)td_export_csv(trace, tables[i], out);
  if (out) (void)td_export_perfetto(trace, 0, INT64_MAX, out);
  stream(trace);
  if (td_metrics_compute(trace, &metrics)) {
    if (out) fclose(out);
    return;
  }
  if (out && !td_diff_compute(trace, &metrics, trace, &metrics, &options, &diff)) {
    const struct td_diff_side side = {"fuzz", trace, &metrics};
    td_metrics_print(trace, &metrics, out);
    td_metrics_json(trace, &metrics, NULL, out);
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
