/* SPDX-License-Identifier: Apache-2.0
 *
 * Merged steps and steps one by one give the same bytes: every policy on random clusters and workloads, some of whose
 * requests come at the very instants at which steps end.
 */
#include "../support.h"
#include "engine_data.h"
#include "random_cluster.h"
#include "tandem/base.h"
#include "tandem/policy.h"

enum { CLUSTERS = 56, BYTES = 1 << 16 };

static const char *folder;
static uint64_t digest = TD_HASH_INIT;
static int compared, stalled;

static void write_config(const char *path, const char *text) {
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  assert_int_equal(fclose(file), 0);
}

/* Up to 8 instants at which steps end that are not the last of their row: where merging has most to get wrong. */
static int step_ends(const struct td_trace *trace, int64_t *out) {
  int count = 0;
  for (uint64_t i = 0; i < trace->count[TD_TABLE_STEPS] && count < 8; i += 3) {
    const struct td_row_step *row = &trace->steps[i];
    int64_t steps = (int64_t)row->count / 2;
    if (steps) out[count++] = row->start + steps * row->duration + row->slope * (steps * (steps - 1) / 2);
  }
  return count;
}

/* Runs a config three times; the trace of the merged run, NULL if it fails the same way each time. */
static struct td_trace *compare(const char *config, uint64_t number, const char *policy) {
  struct td_trace *merged = NULL, *again = NULL, *single = NULL;
  char error[1200];
  td_status status = data_run(config, folder, "engine.merge=true", &merged);
  snprintf(error, sizeof error, "%s", status ? td_error_text() : "");
  compared++;
  if (status && (status != TD_UNSUPPORTED || !strstr(error, "stalled"))) {
    fail_msg("%s, cluster %d: %s", policy, (int)number, error);
  }
  td_status other = data_run(config, folder, "engine.merge=false", &single);
  if (status != other || (status && strcmp(error, td_error_text()) != 0)) {
    fail_msg("%s, cluster %d: merged: %s; step by step: %s", policy, (int)number, error, td_error_text());
  }
  stalled += status != TD_OK;
  if (status) return NULL;
  data_same(merged, single, policy, number);
  if (number % 8 == 0) {
    assert_int_equal(data_run(config, folder, "engine.merge=true", &again), TD_OK);
    data_same(merged, again, policy, number);
    td_trace_free(again);
  }
  td_trace_free(single);
  digest = data_digest(digest, merged);
  return merged;
}

static void compare_cluster(const char *policy, uint64_t number) {
  static char text[BYTES];
  char path[4200];
  int64_t ends[8];
  snprintf(path, sizeof path, "%s/random.cfg", folder);
  random_cluster(number, policy, folder, NULL, 0, text, sizeof text);
  write_config(path, text);
  struct td_trace *trace = compare(path, number, policy);
  if (!trace) return;
  int count = number % 2 ? step_ends(trace, ends) : 0;
  td_trace_free(trace);
  if (!count) return;
  random_cluster(number, policy, folder, ends, count, text, sizeof text);
  write_config(path, text);
  trace = compare(path, number, policy);
  if (trace) td_trace_free(trace);
}

static void every_policy(void **state) {
  (void)state;
  for (int i = 0; td_policies[i]; i++) {
    for (uint64_t cluster = 0; cluster < CLUSTERS; cluster++) {
      compare_cluster(td_policies[i]->name, (uint64_t)i * CLUSTERS + cluster);
    }
  }
  printf("%d clusters, %d of them stalled alike; digest %016llx\n", compared, stalled, (unsigned long long)digest);
  assert_true(compared - stalled >= 500);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_policy)};
  folder = test_scratch();
  random_cluster_files(folder);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
