/* SPDX-License-Identifier: Apache-2.0
 *
 * Policies with the index that the engine keeps for them: the same answers as without it, and soon in a large fleet.
 */
#include <time.h>

#include "../support.h"
#include "engine/fleet.h"
#include "engine/load.h"
#include "tandem/base.h"
#include "tandem/experiment.h"
#include "tandem/policy.h"

enum { BLOCKS = 30, LARGE = 100000, ASKS = 50000 };

struct made {
  const struct td_policy *policy;
  struct td_cluster_view cluster;
};

static uint64_t draws;

static int64_t draw(int64_t below) {
  return (int64_t)(td_random(15, 1, draws++) % (uint64_t)below);
}

/* ---- clusters ---- */

/* Workers of role both, or of the other two, or of all three: the first that the policy takes. */
static void give_roles(const struct made *made, struct td_worker_view *workers) {
  static const int roles[][3] = {{TD_ROLE_BOTH, TD_ROLE_BOTH, TD_ROLE_BOTH},
                                 {TD_ROLE_PREFILL, TD_ROLE_DECODE, TD_ROLE_DECODE},
                                 {TD_ROLE_PREFILL, TD_ROLE_DECODE, TD_ROLE_BOTH}};
  for (int kind = 0; kind < 3; kind++) {
    for (int32_t i = 0; i < made->cluster.worker_count; i++) workers[i].role = roles[kind][i % 3];
    if (!made->policy->check(&made->cluster)) return;
  }
  fail_msg("%s: takes none of these clusters: give it one here", made->policy->name);
}

static void made_open(struct made *made, const struct td_policy *policy, struct td_worker_view *workers,
                      int32_t count) {
  static const struct td_cfg_tier_slo slo = {5};
  static const struct td_cfg_policy options = {.threshold_tokens = 250,
                                               .queue_limit = 3,
                                               .minimum_workers = 1,
                                               .slo_ttft = 1,
                                               .prefix_weight = 1,
                                               .high = 0.9,
                                               .low = 0.5,
                                               .tiers = {(void *)(uintptr_t)&slo, 1}};
  *made = (struct made){
      .policy = policy,
      .cluster = {.workers = workers, .worker_count = count, .whole = {-1, 3, TD_PART_ALL}, .options = &options}};
  assert_int_equal(td_policy_state(policy, &made->cluster.state), TD_OK);
}

static void made_close(struct made *made) {
  load_close(made->cluster.loads);
  free(made->cluster.state);
}

/* ---- the same answers ---- */

static void draw_view(struct td_worker_view *view) {
  view->blocks = BLOCKS;
  view->free_blocks = draw(BLOCKS);
  view->free_sequences = draw(4);
  view->waiting_tokens = draw(3) * 100;
  view->active = draw(4);
}

/* The workers of both phases; -1, -1: it waits. */
static void ask(const struct made *made, const struct td_request_view *request, int32_t out_workers[2]) {
  struct td_step_plan plan;
  out_workers[0] = out_workers[1] = -1;
  if (made->policy->route(&made->cluster, request, &plan) != TD_ROUTE) return;
  assert_int_equal(td_plan_resolve(&plan, made->cluster.whole, &out_workers[0], &out_workers[1]), TD_OK);
  if (out_workers[1] == TD_WORKER_LATER) out_workers[1] = made->policy->place(&made->cluster, request);
}

static void take(const struct made *made, struct td_worker_view *workers, int32_t worker, int64_t tokens) {
  if (worker < 0) return;
  workers[worker].active++;
  workers[worker].free_sequences--;
  workers[worker].waiting_tokens += tokens;
  load_changed(made->cluster.loads, worker);
}

/* Requests that have nothing to decode do not go to their decode worker. */
static void turn(const struct made *plain, const struct made *indexed, struct td_worker_view *workers) {
  const struct td_request_view request = {
      .prompt_tokens = draw(300), .max_tokens = 9, .prefill_blocks = draw(20), .decode_blocks = draw(BLOCKS + 5)};
  int32_t expected[2], found[2];
  for (int64_t i = draw(4); i > 0; i--) {
    int32_t worker = (int32_t)draw(plain->cluster.worker_count);
    draw_view(&workers[worker]);
    load_changed(indexed->cluster.loads, worker);
  }
  ask(plain, &request, expected);
  ask(indexed, &request, found);
  if (found[0] != expected[0] || found[1] != expected[1]) {
    fail_msg("%s: chose %d and %d, without an index %d and %d", plain->policy->name, (int)found[0], (int)found[1],
             (int)expected[0], (int)expected[1]);
  }
  take(indexed, workers, found[0], request.prompt_tokens);
  if (found[1] != found[0] && draw(4)) take(indexed, workers, found[1], 0);
}

static void compare(const struct td_policy *policy, int32_t count) {
  struct td_worker_view workers[100] = {{0}};
  struct made plain, indexed;
  for (int32_t i = 0; i < count; i++) draw_view(&workers[i]);
  made_open(&plain, policy, workers, count);
  made_open(&indexed, policy, workers, count);
  give_roles(&plain, workers);
  assert_int_equal(load_open(workers, count, policy->measures, &indexed.cluster.loads), TD_OK);
  for (int i = 0; i < 5000; i++) turn(&plain, &indexed, workers);
  made_close(&plain);
  made_close(&indexed);
}

static void an_index_changes_no_answer(void **state) {
  (void)state;
  static const int32_t counts[] = {3, 9, 70, 100};
  for (int i = 0; td_policies[i]; i++) {
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) compare(td_policies[i], counts[k]);
  }
}

/* ---- the same answers with prefix caches ---- */

enum { KEPT = 4, CHAINS = 3 };

/* Chains part behind their first block; now and then one comes without what is before it. */
static uint64_t key_of(int64_t chain, int64_t block) {
  return (uint64_t)(block ? 100 * (chain + 1) + block : 7);
}

static void caches_open(struct td_prefix_caches *caches, int32_t count, bool sought) {
  *caches = (struct td_prefix_caches){.unit_tokens = 16, .unit_blocks = 1};
  assert_int_equal(td_alloc((size_t)count, sizeof *caches->of, (void **)&caches->of), TD_OK);
  assert_int_equal(td_alloc((size_t)count, sizeof *caches->found, (void **)&caches->found), TD_OK);
  for (int32_t i = 0; i < count; i++) {
    prefix_cache_open(&caches->of[i], 1);
    caches->of[i].worker = i;
    if (sought) caches->of[i].holders = &caches->holders;
  }
}

static void caches_close(struct td_prefix_caches *caches, int32_t count) {
  for (int32_t i = 0; i < count; i++) prefix_cache_close(&caches->of[i]);
  holders_close(&caches->holders);
  free(caches->found);
  free(caches->of);
}

static void keep_some(struct td_prefix_caches *both[2], int32_t worker) {
  bool loses = draw(3) == 0;
  int64_t chain = draw(CHAINS), blocks = draw(KEPT + 1);
  for (int i = 0; i < 2; i++) {
    if (loses) prefix_cache_lose(&both[i]->of[worker], 0);
    for (int64_t block = blocks == KEPT ? 1 : 0; block < blocks; block++) {
      assert_int_equal(prefix_cache_use(&both[i]->of[worker], key_of(chain, block)), TD_OK);
    }
  }
}

static double cost_of(const struct made *made, const struct td_request_view *request, int32_t worker) {
  return (double)made->cluster.workers[worker].waiting_tokens -
         (double)td_policy_cached_tokens(&made->cluster, worker, request);
}

/* What `kv_aware` says, by looking at everybody. */
static int32_t cheapest(const struct made *made, const struct td_request_view *request) {
  int32_t best = td_policy_least_work(&made->cluster, 1u << TD_ROLE_BOTH, request->decode_blocks);
  for (int32_t i = 0; best >= 0 && i < made->cluster.worker_count; i++) {
    const struct td_worker_view *worker = &made->cluster.workers[i];
    if (worker->free_blocks < request->decode_blocks || worker->free_sequences < 1) continue;
    if (cost_of(made, request, i) < cost_of(made, request, best)) best = i;
  }
  return best;
}

static void turn_cached(const struct made *plain, const struct made *sought) {
  int32_t found[2], again[2];
  uint64_t keys[KEPT];
  int64_t chain = draw(CHAINS);
  for (int64_t block = 0; block < KEPT; block++) keys[block] = key_of(chain, block);
  const struct td_request_view request = {.prompt_tokens = 16 * KEPT - draw(2),
                                          .decode_blocks = draw(BLOCKS + 2),
                                          .keys = keys,
                                          .key_count = (int32_t)draw(KEPT + 1)};
  ask(plain, &request, again);
  ask(sought, &request, found);
  assert_int_equal(found[0], cheapest(plain, &request));
  assert_int_equal(again[0], found[0]);
}

static void compare_cached(int32_t count) {
  struct td_worker_view workers[100] = {{0}};
  struct td_prefix_caches plain_caches, sought_caches, *both[] = {&plain_caches, &sought_caches};
  struct made plain, sought;
  for (int32_t i = 0; i < count; i++) draw_view(&workers[i]);
  made_open(&plain, td_policy_find("kv_aware"), workers, count);
  made_open(&sought, td_policy_find("kv_aware"), workers, count);
  caches_open(&plain_caches, count, false);
  caches_open(&sought_caches, count, true);
  plain.cluster.caches = &plain_caches;
  sought.cluster.caches = &sought_caches;
  for (int i = 0; i < 5000; i++) {
    int32_t worker = (int32_t)draw(count);
    draw_view(&workers[worker]);
    workers[worker].waiting_tokens = draw(8) * 8;
    keep_some(both, (int32_t)draw(count));
    turn_cached(&plain, &sought);
  }
  caches_close(&plain_caches, count);
  caches_close(&sought_caches, count);
  made_close(&plain);
  made_close(&sought);
}

static void caches_are_asked_of_those_that_have_some(void **state) {
  (void)state;
  compare_cached(3);
  compare_cached(100);
}

/* ---- soon ---- */

static double seconds_since(clock_t begin) {
  return (double)(clock() - begin) / CLOCKS_PER_SEC;
}

/* Many have room; then nobody but who was asked last, who has it again. */
static void route_many(const struct made *made, struct td_worker_view *workers) {
  const struct td_request_view request = {
      .prompt_tokens = 100, .max_tokens = 9, .prefill_blocks = 1, .decode_blocks = 2};
  int32_t at[2];
  for (int32_t i = 0; i < ASKS; i++) {
    ask(made, &request, at);
    take(made, workers, at[0], i % 7);
    if (at[1] != at[0]) take(made, workers, at[1], 0);
  }
  for (int32_t i = 0; i < LARGE; i++) {
    workers[i].free_sequences = i == at[0] || i == at[1];
    load_changed(made->cluster.loads, i);
  }
  for (int32_t i = 0; i < ASKS; i++) {
    int32_t before[2] = {at[0], at[1]};
    ask(made, &request, at);
    assert_memory_equal(at, before, sizeof at);
  }
}

/* Looking at each worker for each request takes some seconds, which a policy of somebody's own may take. */
static void large_fleets_are_soon_routed(void **state) {
  static const char *const names[] = {"admission",     "autoscale",     "colocated", "conditional",
                                      "disaggregated", "fewest_tokens", "kv_aware",  "late",
                                      "mixed",         "round_robin",   "splitwise", "tiers"};
  (void)state;
  struct td_worker_view *workers;
  assert_int_equal(td_alloc(LARGE, sizeof *workers, (void **)&workers), TD_OK);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const struct td_policy *policy = td_policy_find(names[i]);
    struct made made;
    assert_non_null(policy);
    for (int32_t k = 0; k < LARGE; k++) {
      workers[k] = (struct td_worker_view){.blocks = BLOCKS, .free_blocks = BLOCKS, .free_sequences = 8};
    }
    made_open(&made, policy, workers, LARGE);
    give_roles(&made, workers);
    assert_int_equal(load_open(workers, LARGE, policy->measures, &made.cluster.loads), TD_OK);
    const clock_t begin = clock();
    route_many(&made, workers);
    if (seconds_since(begin) > 1) fail_msg("%s: took %g s", names[i], seconds_since(begin));
    made_close(&made);
  }
  free(workers);
}

/* A prompt whose first block all have, and the next one worker each. */
static void large_fleets_with_caches_too(void **state) {
  (void)state;
  struct td_worker_view *workers;
  struct td_prefix_caches caches;
  struct made made;
  assert_int_equal(td_alloc(LARGE, sizeof *workers, (void **)&workers), TD_OK);
  caches_open(&caches, LARGE, true);
  for (int32_t i = 0; i < LARGE; i++) {
    workers[i] = (struct td_worker_view){.blocks = BLOCKS, .free_blocks = BLOCKS, .free_sequences = 8};
    assert_int_equal(prefix_cache_use(&caches.of[i], 7), TD_OK);
    assert_int_equal(prefix_cache_use(&caches.of[i], (uint64_t)(1000 + i)), TD_OK);
  }
  made_open(&made, td_policy_find("kv_aware"), workers, LARGE);
  made.cluster.caches = &caches;
  assert_int_equal(load_open(workers, LARGE, made.policy->measures, &made.cluster.loads), TD_OK);
  const clock_t begin = clock();
  for (int32_t i = 0; i < ASKS; i++) {
    const uint64_t keys[] = {7, (uint64_t)(1000 + i)};
    const struct td_request_view request = {.prompt_tokens = 100, .decode_blocks = 2, .keys = keys, .key_count = 2};
    int32_t at[2];
    ask(&made, &request, at);
    assert_int_equal(at[0], i);
    take(&made, workers, at[0], 10);
  }
  if (seconds_since(begin) > 1) fail_msg("took %g s", seconds_since(begin));
  made_close(&made);
  caches_close(&caches, LARGE);
  free(workers);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_index_changes_no_answer),
      cmocka_unit_test(caches_are_asked_of_those_that_have_some),
      cmocka_unit_test(large_fleets_are_soon_routed),
      cmocka_unit_test(large_fleets_with_caches_too),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
