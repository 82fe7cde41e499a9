/* SPDX-License-Identifier: Apache-2.0
 *
 * What the Python tests need from C: sample traces, statistics of random values, README.md's tables.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"
#include "samples.h"
#include "schema.h"
#include "tandem/metrics.h"

static int write_sample(const char *kind, const char *path) {
  static const struct {
    const char *name;
    struct sample sample;
  } kinds[] = {{"executed", {.kind = SAMPLE_EXECUTED}},
               {"modelled", {.kind = SAMPLE_MODELLED}},
               {"mixed", {.kind = SAMPLE_MIXED}},
               {"executed_one", {.kind = SAMPLE_EXECUTED, .one_token = true}},
               {"modelled_one", {.kind = SAMPLE_MODELLED, .one_token = true}},
               {"mixed_one", {.kind = SAMPLE_MIXED, .one_token = true}},
               {"executed_tools", {.kind = SAMPLE_EXECUTED, .tools = true}},
               {"modelled_tools", {.kind = SAMPLE_MODELLED, .tools = true}},
               {"modelled_paces", {.kind = SAMPLE_MODELLED, .paces = 2}}};
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    struct sample sample = kinds[i].sample;
    sample.requests = 37;
    sample.seed = 11;
    if (strcmp(kind, kinds[i].name)) continue;
    if (!sample_write(path, &sample)) return 0;
    fprintf(stderr, "%s\n", td_error_text());
    return 1;
  }
  return 2;
}

static int write_fleet(bool disaggregated, const char *path) {
  const struct fleet fleet = {.requests = 900, .seed = 4, .devices = 3, .disaggregated = disaggregated};
  if (!fleet_write(path, &fleet, NULL)) return 0;
  fprintf(stderr, "%s\n", td_error_text());
  return 1;
}

/* Prints the values in their order, then mean min p50 p90 p95 p99 max. */
static int summarize(uint64_t count, uint64_t seed) {
  double *values = NULL;
  struct td_summary s;
  if (td_alloc(count, sizeof *values, (void **)&values)) return 1;
  for (uint64_t i = 0; i < count; i++) {
    values[i] = (double)(td_random(seed, 5, i) % 1000000007) / 1e12 * (1 + (double)(i % 3));
    printf("%.17g\n", values[i]);
  }
  td_summarize(values, count, &s);
  printf("%.17g\n%.17g\n%.17g\n%.17g\n%.17g\n%.17g\n%.17g\n", s.mean, s.min, s.p50, s.p90, s.p95, s.p99, s.max);
  free(values);
  return 0;
}

int main(int argc, char **argv) {
  if (argc == 2 && !strcmp(argv[1], "schema")) {
    td_schema_markdown(stdout);
    return 0;
  }
  if (argc >= 4 && !strcmp(argv[1], "summarize")) {
    int code = 0;
    for (int i = 3; i < argc && !code; i++) code = summarize(strtoull(argv[i], NULL, 10), strtoull(argv[2], NULL, 10));
    return code;
  }
  if (argc == 3 && !strcmp(argv[1], "fleet")) return write_fleet(false, argv[2]);
  if (argc == 3 && !strcmp(argv[1], "fleet_disaggregated")) return write_fleet(true, argv[2]);
  return argc == 3 ? write_sample(argv[1], argv[2]) : 2;
}
