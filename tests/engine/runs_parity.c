/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole runs of the program: the same tokens whatever the cluster, the ranks and the pace.
 */
#include "../support.h"
#include "harness.h"
#include "runs.h"

static const int chunks[] = {1, 7, 64, 0};
#define CHUNKS (sizeof chunks / sizeof *chunks)

/* ---- colocated against disaggregated: the same bits ---- */

static void check_parity(const char *model, const char *workload, const char *both, const char *split, int ranks,
                         bool all_chunks) {
  const char *kv = all_chunks ? "f32" : "f16";
  struct setup one = {.model = model, .workload = workload, .kv = kv, .policy = "colocated", .pools = both};
  char baseline[4200];
  snprintf(baseline, sizeof baseline, "%s", harness_run("colocated", &one));
  for (size_t i = all_chunks ? 0 : CHUNKS - 2; i < CHUNKS; i++) {
    struct setup two = {.model = model,
                        .workload = workload,
                        .kv = kv,
                        .policy = "disaggregated",
                        .pools = split,
                        .ranks = ranks,
                        .chunk = chunks[i]};
    harness_diff(baseline, harness_run("disaggregated", &two), true);
    one.chunk = chunks[i];
    harness_diff(baseline, harness_run("chunked", &one), true);
  }
}

void parity_one_process(void **state) {
  (void)state;
  check_parity(NULL, NULL, POOL_BOTH("cpu", "1"), POOLS_PD("cpu", "cpu", "1", "1"), 1, true);
  check_parity(NULL, NULL, POOL_BOTH("cpu", "1"), POOLS_PD("cpu", "cpu", "2", "2"), 1, true);
  check_parity(NULL, NULL, POOL_BOTH("template", "1"), POOLS_PD("template", "template", "1", "1"), 1, false);
}

void parity_2_ranks(void **state) {
  (void)state;
  check_parity(NULL, NULL, POOL_BOTH("cpu", "1"), POOLS_PD("cpu", "cpu", "1", "1"), 2, true);
  check_parity(NULL, NULL, POOL_BOTH("cpu", "2"), POOLS_PD("cpu", "cpu", "2", "1"), 2, false);
}

void parity_4_ranks(void **state) {
  (void)state;
  check_parity(NULL, NULL, POOL_BOTH("cpu", "1"), POOLS_PD("cpu", "cpu", "1", "2"), 4, true);
  /* ranks to spare: one holds nothing */
  check_parity(NULL, NULL, POOL_BOTH("cpu", "1"), POOLS_PD("cpu", "cpu", "2", "1"), 4, false);
}

#define CHAT_WORKLOAD                                                                                      \
  "requests = ({name=\"sea\"; prompt=\"Name three harbours.\";},{name=\"sum\"; prompt=\"What is 2+2?\";}," \
  "{name=\"raw\"; prompt=\"The quick brown fox\"; chat=false;}); max_tokens=6;"

void parity_smollm2(void **state) {
  (void)state;
#ifdef TANDEM_SANITIZED
  test_skip_all("too slow under sanitizers; the tiny model covers the same code");
#endif
  const char *model = test_model_path();
  if (!model) test_skip_all("the SmolLM2 model is not in the cache (scripts/fetch-model)");
  check_parity(model, CHAT_WORKLOAD, POOL_BOTH("cpu", "2"), POOLS_PD("cpu", "cpu", "1", "1"), 1, false);
#ifdef TANDEM_HAVE_MPI
  check_parity(model, CHAT_WORKLOAD, POOL_BOTH("cpu", "1"), POOLS_PD("cpu", "cpu", "1", "1"), 2, false);
#endif
}

/* ---- paces ---- */

static void check_same_tokens_and_bytes(const char *path_a, const char *path_b) {
  harness_diff(path_a, path_b, true);
  struct td_trace *a = harness_load(path_a), *b = harness_load(path_b);
  assert_int_equal(a->count[TD_TABLE_REQUESTS], b->count[TD_TABLE_REQUESTS]);
  for (uint64_t i = 0; i < a->count[TD_TABLE_REQUESTS]; i++) {
    uint64_t j = 0;
    while (strcmp(a->requests[i].name, b->requests[j].name)) j++;
    assert_int_equal(a->requests[i].kv_bytes, b->requests[j].kv_bytes);
    assert_int_equal(a->requests[i].output_tokens, b->requests[j].output_tokens);
  }
  td_trace_free(a);
  td_trace_free(b);
}

static void check_paces(int ranks) {
  struct setup setup = {.policy = "disaggregated",
                        .pools = POOLS_PD("cpu", "cpu", "1", "2"),
                        .links = LINK_PD,
                        .chunk = 16,
                        .ranks = ranks};
  char wall[4200];
  setup.pace = "wall";
  snprintf(wall, sizeof wall, "%s", harness_run("wall", &setup));
  setup.pace = "measured";
  check_same_tokens_and_bytes(wall, harness_run("measured", &setup));
  setup.pace = "priced";
  check_same_tokens_and_bytes(wall, harness_run("priced", &setup));
}

void measured_paces(void **state) {
  (void)state;
  check_paces(1);
}

void paces_agree_under_mpi(void **state) {
  (void)state;
  check_paces(2);
}

void priced_ranks_identical(void **state) {
  (void)state;
  struct setup setup = {.pace = "priced",
                        .policy = "disaggregated",
                        .pools = POOLS_PD("cpu", "cpu", "1", "2"),
                        .links = LINK_PD,
                        .chunk = 7};
  char one[4200];
  snprintf(one, sizeof one, "%s", harness_run("ranks1", &setup));
  harness_identical(one, harness_run("again", &setup));
  setup.ranks = 2;
  harness_identical(one, harness_run("ranks2", &setup));
  setup.ranks = 4;
  harness_identical(one, harness_run("ranks4", &setup));
  setup.pools = POOLS_PD("cpu", "cpu", "2", "2");
  harness_identical(one, harness_run("threads2", &setup));
}
