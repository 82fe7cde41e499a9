/* SPDX-License-Identifier: Apache-2.0
 *
 * How tokens fall on experts, against all ways that there are; how they are cut into runs, against all cuts.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "support.h"
#include "tandem/lpu_moe.h"

/* ---- every choice of every token ---- */

struct all_ways {
  int32_t experts, used, tokens;
  int32_t loads[8];
  double ways, distinct, largest;
};

static void count_ways(struct all_ways *all, int32_t token) {
  if (token == all->tokens) {
    int32_t distinct = 0, largest = 0;
    for (int32_t e = 0; e < all->experts; e++) {
      distinct += all->loads[e] > 0;
      if (all->loads[e] > largest) largest = all->loads[e];
    }
    all->ways += 1;
    all->distinct += distinct;
    all->largest += largest;
    return;
  }
  for (int32_t set = 0; set < 1 << all->experts; set++) {
    if (__builtin_popcount((unsigned)set) != all->used) continue;
    for (int32_t e = 0; e < all->experts; e++) all->loads[e] += set >> e & 1;
    count_ways(all, token + 1);
    for (int32_t e = 0; e < all->experts; e++) all->loads[e] -= set >> e & 1;
  }
}

static void test_closed_forms(void **state) {
  (void)state;
  static const int32_t cases[][3] = {{1, 1, 3}, {4, 1, 1}, {4, 1, 5}, {5, 2, 3},
                                     {6, 2, 4}, {6, 3, 4}, {4, 4, 2}, {3, 2, 6}};
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct all_ways all = {.experts = cases[i][0], .used = cases[i][1], .tokens = cases[i][2]};
    double low, high;
    count_ways(&all, 0);
    double distinct = all.distinct / all.ways, largest = all.largest / all.ways;
    assert_float_equal(td_moe_distinct(all.experts, all.used, all.tokens), distinct, 1e-9);
    td_moe_largest(all.experts, all.used, all.tokens, &low, &high);
    if (!(low <= largest + 1e-9 && largest <= high + 1e-9 && high >= low)) {
      fail_msg("%d of %d, %d tokens: largest load %g, bounds %g..%g", all.used, all.experts, all.tokens, largest, low,
               high);
    }
    assert_true(all.used == all.experts || high < 1.6 * largest); /* bounds that say something */
  }
  assert_float_equal(td_moe_distinct(8, 2, 0), 0.0, 0.0);
}

/* ---- draws ---- */

static double drawn_distinct(const struct td_moe_routing *routing, int32_t tokens, int32_t draws) {
  int32_t loads[64];
  double sum = 0;
  for (int32_t draw = 0; draw < draws; draw++) {
    int32_t routed = 0;
    assert_int_equal(td_moe_draw(routing, tokens, (uint64_t)draw, loads), TD_OK);
    for (int32_t e = 0; e < routing->experts; e++) {
      assert_true(loads[e] >= 0 && loads[e] <= tokens); /* different experts of a token */
      sum += loads[e] > 0;
      routed += loads[e];
    }
    assert_int_equal(routed, tokens * routing->used);
  }
  return sum / draws;
}

static void test_draws(void **state) {
  (void)state;
  int32_t a[64], b[64];
  const struct td_moe_routing even = {64, 4, 0.0}, steep = {64, 4, 1.2};
  assert_float_equal(drawn_distinct(&even, 16, 400), td_moe_distinct(64, 4, 16), 0.5);
  assert_true(drawn_distinct(&steep, 16, 400) < td_moe_distinct(64, 4, 16) - 5.0);
  assert_int_equal(td_moe_draw(&steep, 9, 5, a), TD_OK);
  assert_int_equal(td_moe_draw(&steep, 9, 5, b), TD_OK);
  assert_memory_equal(a, b, sizeof a);
  assert_int_equal(td_moe_draw(&steep, 9, 6, b), TD_OK);
  assert_true(memcmp(a, b, sizeof a) != 0);
}

/* One of two experts, chances 1 : 1/2: the mean of many draws. */
static void test_zipf(void **state) {
  (void)state;
  const struct td_moe_routing routing = {2, 1, 1.0};
  int32_t loads[2];
  double more = 0;
  for (uint64_t seed = 0; seed < 200; seed++) {
    assert_int_equal(td_moe_draw(&routing, 30, seed, loads), TD_OK);
    more += loads[0] > loads[1] ? loads[0] : loads[1];
  }
  assert_float_equal(more / 200 / 30, 2.0 / 3, 0.02);
}

static void test_refused(void **state) {
  (void)state;
  int32_t loads[4];
  static const struct td_moe_routing wrong[] = {{0, 1, 0},  {4, 0, 0}, {4, 5, 0},
                                                {4, 1, -1}, {4, 1, 9}, {4, 1, (double)NAN}};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    assert_int_equal(td_moe_draw(&wrong[i], 1, 1, loads), TD_CONFIG);
  }
}

/* ---- cuts ---- */

static const struct td_moe_costs costs = {.runs = {{1, 100}, {4, 150}, {16, 390}},
                                          .run_count = 3,
                                          .routes = {{4, 50}, {16, 80}},
                                          .route_count = 2,
                                          .take = 3,
                                          .give = 5,
                                          .tail = 19,
                                          .places = 64};

/* Runs of 16, 4 and 1 in any numbers that hold so many tokens. */
static int64_t fewest(int32_t tokens) {
  int64_t best = INT64_MAX;
  for (int32_t large = 0; large * 16 < tokens + 16; large++) {
    for (int32_t middle = 0; middle == 0 || large * 16 + middle * 4 < tokens + 4; middle++) {
      int32_t left = tokens - large * 16 - middle * 4, small = left > 0 ? left : 0;
      int64_t cycles = large * 390 + middle * 150 + small * 100;
      if (cycles < best) best = cycles;
    }
  }
  return best;
}

static void test_cuts(void **state) {
  (void)state;
  for (int32_t tokens = 1; tokens <= 60; tokens++) {
    struct td_moe_work work;
    assert_int_equal(td_moe_work_of(&costs, &tokens, 1, &work), TD_OK);
    int64_t fixed = tokens * (costs.take + costs.give) + work.entries * costs.tail;
    assert_int_equal(work.cycles, fewest(tokens) + fixed);
    assert_int_equal(work.passes, 1);
    assert_int_equal(work.routed, tokens);
    assert_int_equal(work.distinct, 1);
  }
}

/* More than the places take: several passes, and nothing is lost. */
static void test_passes(void **state) {
  (void)state;
  int32_t loads[6] = {0, 30, 1, 0, 200, 7};
  struct td_moe_work work, none;
  assert_int_equal(td_moe_work_of(&costs, loads, 6, &work), TD_OK);
  assert_int_equal(work.routed, 238);
  assert_int_equal(work.distinct, 4);
  assert_true(work.passes >= 4 && work.passes <= 8);
  assert_int_equal(td_moe_work_of(&costs, loads, 1, &none), TD_OK);
  assert_true(none.cycles == 0 && none.passes == 0 && none.entries == 0);
  loads[0] = -1;
  assert_int_equal(td_moe_work_of(&costs, loads, 6, &work), TD_CONFIG);
  assert_int_equal(td_moe_route_cycles(&costs, 4), 50 + 19);
  assert_int_equal(td_moe_route_cycles(&costs, 5), 80 + 19);
  assert_int_equal(td_moe_route_cycles(&costs, 17), -1);
}

/* ---- choosing ---- */

static void test_choose(void **state) {
  (void)state;
  static const float logits[] = {1.0F, 3.0F, 3.0F, -2.0F, 3.0F};
  int32_t ids[5];
  float gates[5];
  td_moe_choose(logits, 5, 4, ids, gates);
  static const int32_t expected[] = {1, 2, 4, 0};
  assert_memory_equal(ids, expected, sizeof expected);
  assert_float_equal(gates[0] + gates[1] + gates[2] + gates[3], 1.0, 1e-6);
  assert_float_equal(gates[3] / gates[0], exp(-2.0), 1e-6);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_closed_forms), cmocka_unit_test(test_draws), cmocka_unit_test(test_zipf),
      cmocka_unit_test(test_refused),      cmocka_unit_test(test_cuts),  cmocka_unit_test(test_passes),
      cmocka_unit_test(test_choose),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
