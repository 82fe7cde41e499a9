/* SPDX-License-Identifier: Apache-2.0
 *
 * Merged steps and steps one by one give the same bytes: every policy on random clusters and workloads, some of whose
 * requests come at the very instants at which steps end.
 *
 *   engine_exactness [CLUSTERS]   so many of each policy, whatever the build: scripts/same-bytes compares the hashes
 */
#include <stdlib.h>

#include "../support.h"
#include "random_cluster.h"
#include "rows.h"
#include "tandem/base.h"
#include "tandem/policy.h"

#ifdef TANDEM_SANITIZED
static int clusters[RANDOM_KINDS] = {24, 8, 8}; /* of each policy */
#else
static int clusters[RANDOM_KINDS] = {72, 48, 48};
#endif
enum { MOST_BYTES = 1 << 16 };

static bool all = true; /* as many as it takes to reach everything */
static char config[4200];
static const char *folder;
static uint64_t hash = TD_HASH_INIT;
static int compared, stalled;
static uint64_t refused, preempted, paused, failures, lost, staged;
static uint64_t hits[2], evicted[2]; /* of the KV cache, of tiers below */
static uint64_t lost_kept;           /* tokens kept on workers that failed */
static uint64_t calls, waited, lost_calls;

static void write_config(const char *text) {
  FILE *file = fopen(config, "w");
  assert_non_null(file);
  fputs(text, file);
  assert_int_equal(fclose(file), 0);
}

/* What caches did, tier by tier, is not all in the rows. */
static void same_prefix(const struct td_run_prefix *a, const struct td_run_prefix *b, const char *words) {
  if (a->on != b->on || a->tier_count != b->tier_count || a->computed_tokens != b->computed_tokens ||
      a->lost_tokens != b->lost_tokens || a->load_s != b->load_s || memcmp(a->tiers, b->tiers, sizeof a->tiers) != 0) {
    fail_msg("%s: merged and single steps count other hits or evictions", words);
  }
  lost_kept += a->lost_tokens;
  for (int32_t i = 0; i < a->tier_count; i++) {
    hits[i > 0] += a->tiers[i].hit_tokens;
    evicted[i > 0] += a->tiers[i].evicted_tokens;
  }
}

static void count_calls(const struct rows *rows) {
  const struct td_row_tool_call *row = (const void *)rows->tables[TD_TABLE_TOOL_CALLS].data;
  size_t count = rows->tables[TD_TABLE_TOOL_CALLS].bytes / sizeof *row;
  calls += count;
  for (size_t i = 0; i < count; i++) {
    waited += row[i].start > row[i].enqueued;
    lost_calls += row[i].lost;
  }
}

static void same_counts(const struct td_run_summary *a, const struct td_run_summary *b, const char *words) {
  bool same = a->role_changes == b->role_changes && a->cached_tokens == b->cached_tokens && a->within == b->within &&
              a->kv_bytes == b->kv_bytes && a->energy_idle_j == b->energy_idle_j &&
              a->busiest_port.busy_ps == b->busiest_port.busy_ps && a->busiest_port.bytes == b->busiest_port.bytes &&
              !strcmp(a->busiest_port.worker, b->busiest_port.worker);
  if (!same) fail_msg("%s: merged and single steps count differently", words);
  if (a->busiest_port.busy_ps > a->makespan_ps) fail_msg("%s: a port is busy for longer than the run", words);
  if (memcmp(&a->tools, &b->tools, sizeof a->tools) != 0)
    fail_msg("%s: merged and single steps count other calls", words);
}

/* A run that gets nowhere, and says so. */
static bool is_stall(const char *error) {
  return strstr(error, "stalled") || strstr(error, "have failed and come back");
}

/* Runs the config merged and step by step, which must give the same rows, or the same stall. True if it ended well. */
static bool compare(const char *policy, uint64_t number, struct rows *merged) {
  struct rows single = {0}, again = {0};
  char words[128], error[1200] = "";
  snprintf(words, sizeof words, "%s, cluster %d", policy, (int)number);
  td_status status = rows_run(config, "engine.merge=true", merged);
  if (status) snprintf(error, sizeof error, "%s", td_error_text());
  if (status && !is_stall(error)) fail_msg("%s: %s", words, error);
  if (rows_run(config, "engine.merge=false", &single) != status || (status && strcmp(error, td_error_text()) != 0)) {
    fail_msg("%s: merged: %s; step by step: %s", words, error, td_error_text());
  }
  rows_same(merged, &single, words);
  const struct td_run_prefix single_prefix = single.summary->prefix;
  same_counts(merged->summary, single.summary, words);
  if (!status) rows_add_up(merged, words);
  rows_free(&single);
  if (number % 8 == 0) {
    assert_int_equal(rows_run(config, "engine.merge=true", &again), status);
    rows_same(merged, &again, words);
    rows_free(&again);
  }
  same_prefix(&merged->summary->prefix, &single_prefix, words);
  refused += merged->summary->refused;
  preempted += merged->summary->preemptions;
  paused += merged->summary->pauses;
  failures += merged->summary->failures;
  lost += merged->summary->lost_tokens;
  staged += merged->summary->stage_bytes > 0;
  count_calls(merged);
  compared++;
  stalled += status != TD_OK;
  hash = rows_hash(hash, merged);
  return status == TD_OK;
}

/* An instant at which a step of some row ends, the row's last one or another: where merging has most to get wrong. */
static int64_t step_end(const struct rows *rows, uint64_t number) {
  size_t count;
  struct td_row_step *all_steps = rows_steps(rows, &count);
  int64_t end = 0;
  if (count) {
    const struct td_row_step *row = &all_steps[td_random(5, number, 0) % count];
    int64_t steps = (int64_t)(1 + td_random(5, number, 1) % row->count);
    if (td_random(5, number, 2) % 2) steps = (int64_t)row->count;
    end = row->start + steps * row->duration + row->slope * (steps * (steps - 1) / 2);
  }
  free(all_steps);
  return end;
}

/* And again with requests, or with failures, when a step ends. */
static bool comes_again(enum random_kind kind, uint64_t number) {
  return kind == RANDOM_PLAIN ? number % 4 != 0 : kind == RANDOM_CACHED && number % 3 == 1;
}

static bool compare_once(const struct random_which *which, int64_t *out_end_ps) {
  static char text[MOST_BYTES];
  struct rows rows = {0};
  random_cluster(which, folder, text, sizeof text);
  write_config(text);
  bool whole = compare(which->policy, which->number, &rows);
  *out_end_ps = step_end(&rows, which->number);
  rows_free(&rows);
  return whole;
}

static void compare_cluster(enum random_kind kind, const char *policy, uint64_t number) {
  struct random_which which = {kind, number, policy, -1};
  int64_t end_ps;
  bool whole = compare_once(&which, &which.instant_ps);
  if (whole && comes_again(kind, number)) compare_once(&which, &end_ps);
}

static void compare_all(enum random_kind kind) {
  hash = TD_HASH_INIT;
  compared = stalled = 0;
  preempted = failures = lost = staged = 0;
  for (int i = 0; td_policies[i]; i++) {
    for (int cluster = 0; cluster < clusters[kind]; cluster++) {
      compare_cluster(kind, td_policies[i]->name, (uint64_t)(i * clusters[kind] + cluster));
    }
  }
}

static void every_policy(void **state) {
  (void)state;
  compare_all(RANDOM_PLAIN);
  printf(
      "%d clusters, %d of them with stages, %d stalled alike, %d requests refused, %d preempted, %d pauses, "
      "%d failures, %d tokens lost; hash %016llx\n",
      compared, (int)staged, stalled, (int)refused, (int)preempted, (int)paused, (int)failures, (int)lost,
      (unsigned long long)hash);
  if (!all) return;
  assert_true(compared - stalled >= (compared > 1000 ? 500 : 200));
  assert_true(staged > (uint64_t)compared / 8);
  assert_true(refused > 100 && preempted > 10 && paused > 1000 && failures > 100 &&
              lost > 1000); /* else the draws no longer reach them */
}

static void every_policy_with_caches(void **state) {
  (void)state;
  compare_all(RANDOM_CACHED);
  printf(
      "%d clusters with caches, %d stalled alike, %d preempted, %d failures; tokens found %d and %d below, evicted %d "
      "and %d, lost with workers %d; hash %016llx\n",
      compared, stalled, (int)preempted, (int)failures, (int)hits[0], (int)hits[1], (int)evicted[0], (int)evicted[1],
      (int)lost_kept, (unsigned long long)hash);
  if (!all) return;
  assert_true(compared - stalled >= 8 * compared / 10);
  assert_true(failures > 50 && lost_kept > 1000 && staged > (uint64_t)compared / 16);
  assert_true(preempted > 10 && hits[0] > 10000 && hits[1] > 10000 && evicted[0] > 10000 && evicted[1] > 10000);
}

static void every_policy_with_tools(void **state) {
  (void)state;
  compare_all(RANDOM_TOOLED);
  printf("%d clusters with orchestrators, %d stalled alike; %d calls, %d had to wait, %d were lost; hash %016llx\n",
         compared, stalled, (int)calls, (int)waited, (int)lost_calls, (unsigned long long)hash);
  if (!all) return;
  assert_true(compared - stalled >= 8 * compared / 10);
  assert_true(calls > 1000 && waited > 300 && lost_calls > 10);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_policy), cmocka_unit_test(every_policy_with_caches),
                                     cmocka_unit_test(every_policy_with_tools)};
  if (argc > 1) {
    for (int kind = 0; kind < RANDOM_KINDS; kind++) clusters[kind] = atoi(argv[1]);
    all = false;
  }
  folder = test_scratch();
  snprintf(config, sizeof config, "%s/random.cfg", folder);
  random_cluster_files(folder);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
