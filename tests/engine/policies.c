/* SPDX-License-Identifier: Apache-2.0
 *
 * Who gets what: each policy's answers on small clusters made by hand.
 */
#include <math.h>

#include "../support.h"
#include "tandem/base.h"
#include "tandem/experiment.h"
#include "tandem/policy.h"

#define WORKER(role_, waiting, active_)                                                                        \
  {                                                                                                            \
    .role = TD_ROLE_##role_, .blocks = 100, .free_blocks = 50, .free_sequences = 8, .waiting_tokens = waiting, \
    .active = active_                                                                                          \
  }

struct made {
  struct td_cluster_view cluster;
  struct td_cfg_policy options;
  const struct td_policy *policy;
};

/* The policy's own values, then `change` to them. */
static void made_open(struct made *made, const char *policy, struct td_worker_view *workers, int32_t count) {
  static const struct td_cfg_policy none = {.threshold_tokens = 100,
                                            .queue_limit = TD_NO_INT,
                                            .minimum_workers = TD_NO_INT,
                                            .slo_ttft = 1,
                                            .prefix_weight = 1,
                                            .high = 0.9,
                                            .low = 0.5};
  static const struct td_cfg_tier_slo slos[] = {{0.5}, {5}};
  made->policy = td_policy_find(policy);
  assert_non_null(made->policy);
  made->options = none;
  made->options.queue_limit = 3;
  made->options.tiers = (struct td_list){(void *)(uintptr_t)slos, 2};
  made->cluster = (struct td_cluster_view){
      .workers = workers, .worker_count = count, .whole = {-1, 3, TD_PART_ALL}, .options = &made->options};
  assert_int_equal(td_policy_state(made->policy, &made->cluster.state), TD_OK);
}

static void made_close(struct made *made) {
  free(made->cluster.state);
}

static struct td_request_view request_of(int64_t prompt_tokens) {
  return (struct td_request_view){
      .prompt_tokens = prompt_tokens, .max_tokens = 10, .prefill_blocks = 5, .decode_blocks = 6, .prefill_worker = -1};
}

/* The workers of both phases; -1, -1: it waits. */
static void route(struct made *made, const struct td_request_view *request, int32_t prefill, int32_t decode) {
  struct td_step_plan plan = {0};
  int32_t found[2] = {-1, -1};
  enum td_verdict verdict = made->policy->route(&made->cluster, request, &plan);
  if (verdict == TD_ROUTE) {
    assert_int_equal(td_plan_resolve(&plan, made->cluster.whole, &found[0], &found[1]), TD_OK);
  }
  assert_int_equal(found[0], prefill);
  assert_int_equal(found[1], decode);
}

static void every_policy_checks_its_roles(void **state) {
  (void)state;
  struct td_worker_view decode_only[] = {WORKER(DECODE, 0, 0)};
  for (int i = 0; td_policies[i]; i++) {
    struct made made;
    made_open(&made, td_policies[i]->name, decode_only, 1);
    assert_int_equal(made.policy->check(&made.cluster), TD_CONFIG);
    assert_non_null(strstr(td_error_text(), td_policies[i]->name));
    assert_non_null(strstr(td_error_text(), "role"));
    assert_true(*made.policy->summary && strlen(made.policy->summary) < 120);
    made_close(&made);
  }
}

static void round_robin_takes_turns(void **state) {
  (void)state;
  struct td_worker_view workers[] = {WORKER(PREFILL, 900, 9), WORKER(DECODE, 0, 5), WORKER(PREFILL, 0, 0),
                                     WORKER(DECODE, 0, 0), WORKER(PREFILL, 0, 0)};
  struct td_request_view request = request_of(10);
  struct made made;
  made_open(&made, "round_robin", workers, 5);
  assert_int_equal(made.policy->check(&made.cluster), TD_OK);
  route(&made, &request, 0, 1);
  route(&made, &request, 2, 3);
  route(&made, &request, 4, 1);
  workers[0].free_blocks = 4; /* no room: passed over */
  route(&made, &request, 2, 3);
  workers[1].free_sequences = workers[3].free_sequences = 0;
  route(&made, &request, -1, -1);
  workers[3].free_sequences = 1; /* nobody lost a turn by waiting */
  route(&made, &request, 4, 3);
  made_close(&made);
}

static void conditional_parts_at_the_threshold(void **state) {
  (void)state;
  struct td_worker_view workers[] = {WORKER(PREFILL, 30, 1), WORKER(PREFILL, 20, 1), WORKER(DECODE, 8, 1),
                                     WORKER(DECODE, 7, 5)};
  struct td_request_view brief = request_of(100), longer = request_of(101);
  struct made made;
  made_open(&made, "conditional", workers, 4);
  route(&made, &brief, 3, 3);
  route(&made, &longer, 1, 3);
  workers[0].free_blocks = workers[1].free_blocks = 0;
  route(&made, &brief, 3, 3); /* needs no prefill worker */
  route(&made, &longer, -1, -1);
  made_close(&made);
}

static void mixed_overflows(void **state) {
  (void)state;
  struct td_worker_view workers[] = {WORKER(PREFILL, 100, 1), WORKER(DECODE, 0, 1), WORKER(BOTH, 40, 1),
                                     WORKER(BOTH, 30, 1)};
  struct td_request_view request = request_of(10);
  struct made made;
  made_open(&made, "mixed", workers, 4);
  route(&made, &request, 0, 1); /* 100 tokens wait: not more than the threshold */
  workers[0].waiting_tokens = 101;
  route(&made, &request, 3, 1);
  workers[1].free_blocks = 5; /* room for the prompt only: both overflow, and stay together */
  route(&made, &request, 3, 3);
  workers[0].waiting_tokens = 0;
  route(&made, &request, 0, 3);
  workers[2].free_sequences = workers[3].free_sequences = 0;
  route(&made, &request, -1, -1);
  workers[1].free_blocks = 50;
  workers[0].waiting_tokens = 500; /* a full queue is better than none */
  route(&made, &request, 0, 1);
  workers[2].free_sequences = 1;
  workers[2].waiting_tokens = 500; /* no shorter one there */
  route(&made, &request, 0, 1);
  made_close(&made);
}

static void fewest_tokens_adds_requests_to_tokens(void **state) {
  (void)state;
  struct td_worker_view workers[] = {WORKER(BOTH, 0, 30), WORKER(BOTH, 10, 1), WORKER(BOTH, 11, 0)};
  struct td_request_view request = request_of(10);
  struct made made;
  made_open(&made, "fewest_tokens", workers, 3);
  route(&made, &request, 1, 1); /* equals: the first */
  workers[1].free_blocks = 5;
  route(&made, &request, 2, 2);
  workers[2].free_sequences = 0;
  route(&made, &request, 0, 0);
  workers[0].free_blocks = 5;
  route(&made, &request, -1, -1);
  made_close(&made);
}

static void splitwise_moves_workers(void **state) {
  (void)state;
  struct td_worker_view workers[] = {WORKER(PREFILL, 0, 3), WORKER(PREFILL, 40, 1), WORKER(DECODE, 0, 1),
                                     WORKER(DECODE, 0, 2)};
  struct td_request_view request = request_of(60);
  struct made made;
  made_open(&made, "splitwise", workers, 4);
  assert_int_equal(made.policy->check(&made.cluster), TD_OK);
  workers[3].free_blocks = 60; /* the least KV, not the fewest requests */
  route(&made, &request, 0, 3);
  workers[0].waiting_tokens = 50;
  workers[1].waiting_tokens = 39; /* with one request and this prompt as many as the threshold */
  route(&made, &request, 1, 3);
  workers[1].waiting_tokens = 40; /* too many: worker 2 helps, which has fewer requests than worker 3 */
  route(&made, &request, 2, 3);
  workers[3].free_blocks = 5; /* worker 2 is mixed now, and has the only room */
  route(&made, &request, 2, 2);
  workers[1].waiting_tokens = 0;
  workers[2].active = 0;
  workers[0].free_blocks = 70;
  workers[3].free_blocks = 30;
  route(&made, &request, 1, 2); /* it was idle: of its pool again, with less KV than worker 3 */
  workers[2].free_blocks = workers[3].free_blocks = 5;
  route(&made, &request, 1, 0); /* no KV among the outputs: the prompts' worker with the least helps */
  for (int i = 0; i < 4; i++) workers[i].free_blocks = 5;
  route(&made, &request, -1, -1);
  made_close(&made);
}

static void late_decides_twice(void **state) {
  (void)state;
  struct td_worker_view workers[] = {WORKER(PREFILL, 100, 1), WORKER(PREFILL, 99, 1), WORKER(DECODE, 0, 3),
                                     WORKER(DECODE, 0, 2)};
  struct td_request_view request = request_of(10);
  struct made made;
  made_open(&made, "late", workers, 4);
  route(&made, &request, 1, TD_WORKER_LATER);
  request.prefill_worker = 1;
  assert_int_equal(made.policy->place(&made.cluster, &request), 3);
  workers[3].free_blocks = 5;
  assert_int_equal(made.policy->place(&made.cluster, &request), 2);
  workers[2].free_blocks = 5;
  assert_int_equal(made.policy->place(&made.cluster, &request), -1);
  made_close(&made);
}

static int64_t rank_of(const struct made *made, int32_t tier, double arrival) {
  struct td_request_view request = {.tier = tier, .arrival_ps = (int64_t)(arrival * 1e12)};
  return made->policy->rank(&made->cluster, &request);
}

static void tiers_go_by_tier_then_deadline(void **state) {
  (void)state;
  struct td_worker_view workers[] = {WORKER(BOTH, 0, 0)};
  struct made made;
  made_open(&made, "tiers", workers, 1);
  assert_true(rank_of(&made, 0, 9000000) < rank_of(&made, 1, 0)); /* the tier first, however late */
  assert_true(rank_of(&made, 1, 2) < rank_of(&made, 1, 3));
  assert_true(rank_of(&made, 1, 3) == rank_of(&made, 2, 3)); /* the last one is of all after it */
  made.options.tiers.count = 257;
  assert_int_equal(made.policy->check(&made.cluster), TD_CONFIG);
  made_close(&made);
}

static void admission_measures_the_rate(void **state) {
  (void)state;
  struct td_worker_view workers[] = {WORKER(PREFILL, 0, 0), WORKER(PREFILL, 0, 0), WORKER(DECODE, 0, 0)};
  struct td_request_view request = request_of(100);
  struct made made;
  made_open(&made, "admission", workers, 3);
  assert_true(made.policy->admit(&made.cluster, &request)); /* nothing known yet */
  made.cluster.waiting = 3;
  assert_false(made.policy->admit(&made.cluster, &request)); /* queue_limit */
  made.cluster.waiting = 2;
  made.cluster.prefilled_tokens = 5000;
  made.cluster.prefill_s = 5; /* 1000 tokens/s of a worker, of which two prefill */
  made.cluster.queued_tokens = 1000;
  made.cluster.waiting_tokens = 800; /* 0.9 s + 0.1 s of its own */
  assert_true(made.policy->admit(&made.cluster, &request));
  made.cluster.waiting_tokens = 801;
  assert_false(made.policy->admit(&made.cluster, &request));
  made.options.slo_ttft = INFINITY;
  assert_true(made.policy->admit(&made.cluster, &request));
  made.options.queue_limit = INT64_MAX;
  assert_int_equal(made.policy->check(&made.cluster), TD_CONFIG);
  made_close(&made);
}

static void kv_aware_weighs_prefix_and_load(void **state) {
  (void)state;
  struct td_worker_view workers[] = {WORKER(BOTH, 0, 0), WORKER(BOTH, 0, 0), WORKER(BOTH, 0, 0)};
  const uint64_t first[] = {7, 8, 9}, other[] = {7, 8, 5}, same_parts[] = {8, 7, 9};
  struct td_request_view request = request_of(48);
  struct made made;
  made_open(&made, "kv_aware", workers, 3);
  request.prefix = first;
  request.prefix_count = 3;
  request.prefix_tokens = 16;
  route(&made, &request, 0, 0);
  workers[0].waiting_tokens = 47; /* less than the 48 tokens it knows */
  route(&made, &request, 0, 0);
  request.prefix = other; /* two blocks of three */
  route(&made, &request, 1, 1);
  workers[0].waiting_tokens = 31;
  workers[1].waiting_tokens = 90;
  route(&made, &request, 0, 0); /* knows all three by now? no: two, and 31 < 32 */
  request.prefix = same_parts;  /* the same blocks in another order are others */
  route(&made, &request, 2, 2);
  request.prefix = first;
  workers[0].free_sequences = 0; /* who knows all has no place */
  workers[1].waiting_tokens = 31;
  route(&made, &request, 1, 1);
  made.options.prefix_weight = 0;
  route(&made, &request, 2, 2);
  made_close(&made);
}

/* Far more blocks than the memory holds: old ones go, nothing else happens. */
static void kv_aware_forgets(void **state) {
  (void)state;
  struct td_worker_view workers[] = {WORKER(BOTH, 0, 0), WORKER(BOTH, 0, 1)};
  struct td_request_view request = request_of(16);
  uint64_t block = 1;
  struct made made;
  made_open(&made, "kv_aware", workers, 2);
  request.prefix = &block;
  request.prefix_count = 1;
  request.prefix_tokens = 16;
  route(&made, &request, 0, 0);
  workers[0].waiting_tokens = 10;
  route(&made, &request, 0, 0);
  for (block = 2; block < 1000000; block++) route(&made, &request, 1, 1);
  block = 1;
  route(&made, &request, 1, 1);
  made_close(&made);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_policy_checks_its_roles),
      cmocka_unit_test(round_robin_takes_turns),
      cmocka_unit_test(conditional_parts_at_the_threshold),
      cmocka_unit_test(mixed_overflows),
      cmocka_unit_test(fewest_tokens_adds_requests_to_tokens),
      cmocka_unit_test(splitwise_moves_workers),
      cmocka_unit_test(late_decides_twice),
      cmocka_unit_test(tiers_go_by_tier_then_deadline),
      cmocka_unit_test(admission_measures_the_rate),
      cmocka_unit_test(kv_aware_weighs_prefix_and_load),
      cmocka_unit_test(kv_aware_forgets),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
