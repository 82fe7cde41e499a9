/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine's parts: the message queue between threads, step plans, the policies' choice.
 */
#include <pthread.h>

#include "../support.h"
#include "engine/fleet.h"
#include "engine/inbox.h"
#include "tandem/base.h"
#include "tandem/experiment.h"
#include "tandem/policy.h"

enum { SENDERS = 3, EACH = 3000 };
static struct inbox shared;

static void *send_many(void *argument) {
  for (uint32_t i = 0; i < EACH; i++) {
    struct td_message message = {.type = i, .worker = (uint32_t)(uintptr_t)argument, .data = malloc(8)};
    inbox_push(&shared, &message);
  }
  return NULL;
}

static void inbox_keeps_each_senders_order(void **state) {
  (void)state;
  pthread_t threads[SENDERS];
  uint32_t next[SENDERS] = {0};
  inbox_init(&shared);
  for (uintptr_t i = 0; i < SENDERS; i++) assert_int_equal(pthread_create(&threads[i], NULL, send_many, (void *)i), 0);
  for (int i = 0; i < SENDERS * EACH; i++) {
    struct td_message message;
    assert_true(inbox_pop(&shared, -1, &message));
    assert_int_equal(message.type, next[message.worker]++);
    free(message.data);
  }
  for (int i = 0; i < SENDERS; i++) pthread_join(threads[i], NULL);
  struct td_message message;
  assert_false(inbox_pop(&shared, 0, &message));
  assert_false(inbox_pop(&shared, TD_PS_PER_SECOND / 1000, &message));
  inbox_clear(&shared);
}

static void plans_are_checked(void **state) {
  (void)state;
  struct td_slice whole = {-1, 5, TD_PART_ALL};
  int32_t prefill, decode;
  struct td_step_plan plan = td_plan_whole(3, whole);
  assert_int_equal(td_plan_resolve(&plan, whole, &prefill, &decode), TD_OK);
  assert_int_equal(prefill, 3);
  assert_int_equal(decode, 3);
  plan = td_plan_split(1, 2, whole);
  assert_int_equal(td_plan_resolve(&plan, whole, &prefill, &decode), TD_OK);
  assert_int_equal(prefill, 1);
  assert_int_equal(decode, 2);
  plan.edge_count = 0;
  assert_int_equal(td_plan_resolve(&plan, whole, &prefill, &decode), TD_INTERNAL);
  plan = td_plan_split(1, 2, whole);
  plan.nodes[1].slice.layer_end = 2;
  assert_int_equal(td_plan_resolve(&plan, whole, &prefill, &decode), TD_UNSUPPORTED);
  assert_non_null(strstr(td_error_text(), "node 1"));
  plan = td_plan_split(1, 2, whole);
  plan.nodes[1].phases = TD_PHASE_PREFILL;
  assert_int_equal(td_plan_resolve(&plan, whole, &prefill, &decode), TD_UNSUPPORTED);
}

static void least_work_wins(void **state) {
  (void)state;
  struct td_worker_view workers[] = {
      {.role = TD_ROLE_PREFILL, .free_sequences = 1, .free_blocks = 9, .waiting_tokens = 50, .active = 1},
      {.role = TD_ROLE_PREFILL, .free_sequences = 1, .free_blocks = 9, .waiting_tokens = 10, .active = 7},
      {.role = TD_ROLE_DECODE, .free_sequences = 1, .free_blocks = 2, .active = 0},
      {.role = TD_ROLE_DECODE, .free_sequences = 1, .free_blocks = 9, .active = 4},
      {.role = TD_ROLE_DECODE, .free_sequences = 1, .free_blocks = 9, .active = 4},
  };
  struct td_cluster_view cluster = {.workers = workers, .worker_count = 5, .whole = {-1, 3, TD_PART_ALL}};
  struct td_request_view request = {.prefill_blocks = 3, .decode_blocks = 5};
  struct td_step_plan plan;
  const struct td_policy *policy = td_policy_find("disaggregated");
  assert_non_null(policy);
  assert_int_equal(policy->check(&cluster), TD_OK);
  assert_true(policy->route(&cluster, &request, &plan));
  assert_int_equal(plan.nodes[0].worker, 1);
  assert_int_equal(plan.nodes[1].worker, 3);
  request.decode_blocks = 10;
  assert_false(policy->route(&cluster, &request, &plan));
  assert_int_equal(td_policy_find("colocated")->check(&cluster), TD_CONFIG);
  assert_null(td_policy_find("nonsense"));
}

static void time_has_an_end(void **state) {
  (void)state;
  int64_t sum;
  assert_int_equal(fleet_later(5, 7, &sum), TD_OK);
  assert_int_equal(sum, 12);
  assert_int_equal(fleet_later(INT64_MAX - 3, 4, &sum), TD_UNSUPPORTED);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(inbox_keeps_each_senders_order),
      cmocka_unit_test(plans_are_checked),
      cmocka_unit_test(least_work_wins),
      cmocka_unit_test(time_has_an_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
