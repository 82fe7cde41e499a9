/* SPDX-License-Identifier: Apache-2.0
 *
 * Sampling: greedy, filters, statistics, determinism.
 */
#include <math.h>

#include "kv_fixture.h"

#define VOCAB 1000

static const struct td_sampling greedy = {.temperature = 0, .top_k = 0, .top_p = 1, .seed = 1};

static struct td_sample sample(const float *logits, int32_t vocab, struct td_sampling sampling, uint64_t index) {
  struct td_sample out = {0};
  assert_ok(td_sample_row(logits, vocab, &sampling, 3, index, &out));
  return out;
}

static void some_logits(float *logits) {
  for (int i = 0; i < VOCAB; i++) logits[i] = (float)(8 * td_random_unit(5, 5, (uint64_t)i) - 4);
}

/* ln p by libm in long double. */
static double reference_logprob(const float *logits, int32_t vocab, int32_t id) {
  long double top = -INFINITY, sum = 0;
  for (int32_t i = 0; i < vocab; i++) top = fmaxl(top, logits[i]);
  for (int32_t i = 0; i < vocab; i++) sum += expl(logits[i] - top);
  return (double)(logits[id] - top - logl(sum));
}

static void test_greedy(void **state) {
  (void)state;
  float logits[VOCAB];
  some_logits(logits);
  logits[400] = 6.5f;
  logits[70] = 6.25f;
  struct td_sample out = sample(logits, VOCAB, greedy, 0);
  assert_int_equal(out.id, 400);
  assert_int_equal(out.top_id, 400);
  assert_true(out.top_gap == 0.25);
  assert_true(fabs(out.logprob - reference_logprob(logits, VOCAB, 400)) < 1e-13);
  assert_true(out.logprob == out.top_logprob);
  for (int32_t id = 0; id < VOCAB; id += 37) {
    assert_true(fabs(td_logprob(logits, VOCAB, id) - reference_logprob(logits, VOCAB, id)) < 1e-13);
  }
  logits[30] = 6.5f;
  out = sample(logits, VOCAB, greedy, 0);
  assert_int_equal(out.id, 30);
  assert_true(out.top_gap == 0);
}

static void test_refusals(void **state) {
  (void)state;
  float logits[3] = {0, NAN, 2};
  struct td_sample out;
  assert_refused(td_sample_row(logits, 3, &greedy, 0, 0, &out), TD_CORRUPT, "NaN at token id 1");
  assert_true(isnan(td_logprob(logits, 3, 0)));
  logits[1] = INFINITY;
  assert_refused(td_sample_row(logits, 3, &greedy, 0, 0, &out), TD_CORRUPT, "finite");
  logits[0] = logits[1] = logits[2] = -INFINITY;
  assert_refused(td_sample_row(logits, 3, &greedy, 0, 0, &out), TD_CORRUPT, "finite");
  logits[2] = 1;
  assert_int_equal(sample(logits, 3, (struct td_sampling){.temperature = 1, .top_p = 1}, 0).id, 2);
  assert_true(td_logprob(logits, 3, 0) == -INFINITY);
  const struct td_sampling wrong[] = {
      {.temperature = -1, .top_p = 1}, {.temperature = NAN, .top_p = 1}, {.top_p = 0}, {.top_p = 1.5}, {.top_p = NAN},
      {.top_k = -1, .top_p = 1}};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    assert_int_equal(td_sample_row(logits, 3, &wrong[i], 0, 0, &out), TD_CONFIG);
  }
}

/* Frequencies of 20,000 draws lie within five standard deviations. */
static void check_frequencies(const float *logits, int32_t vocab, struct td_sampling sampling, const double *share) {
  enum { DRAWS = 20000 };
  int32_t counts[8] = {0};
  for (uint64_t i = 0; i < DRAWS; i++) counts[sample(logits, vocab, sampling, i).id]++;
  for (int32_t id = 0; id < vocab; id++) {
    double deviation = sqrt(DRAWS * share[id] * (1 - share[id]));
    assert_true(fabs(counts[id] - DRAWS * share[id]) <= 5 * deviation);
  }
}

static void test_frequencies(void **state) {
  (void)state;
  float logits[5];
  const double p[5] = {0.1, 0.4, 0.05, 0.25, 0.2};
  for (int i = 0; i < 5; i++) logits[i] = (float)log(p[i]) + 3;
  check_frequencies(logits, 5, (struct td_sampling){.temperature = 1, .top_p = 1, .seed = 1}, p);
  check_frequencies(logits, 5, (struct td_sampling){.temperature = 1, .top_k = 2, .top_p = 1, .seed = 2},
                    (double[]){0, 0.4 / 0.65, 0, 0.25 / 0.65, 0});
  check_frequencies(logits, 5, (struct td_sampling){.temperature = 1, .top_p = 0.8, .seed = 3},
                    (double[]){0, 0.4 / 0.85, 0, 0.25 / 0.85, 0.2 / 0.85});
  /* top_p counts what top_k left: 0.4 of 0.85 is 0.47 */
  check_frequencies(logits, 5, (struct td_sampling){.temperature = 1, .top_k = 3, .top_p = 0.47, .seed = 4},
                    (double[]){0, 1, 0, 0, 0});
  double squares = 0.01 + 0.16 + 0.0025 + 0.0625 + 0.04;
  check_frequencies(logits, 5, (struct td_sampling){.temperature = 0.5, .top_p = 1, .seed = 5},
                    (double[]){0.01 / squares, 0.16 / squares, 0.0025 / squares, 0.0625 / squares, 0.04 / squares});
}

/* The kept set of a large vocabulary equals a plain sort's, ties to the smallest id. */
static void test_filters_against_a_sort(void **state) {
  (void)state;
  float logits[VOCAB];
  bool kept[VOCAB] = {false};
  for (int i = 0; i < VOCAB; i++) logits[i] = (float)(td_random(9, 9, (uint64_t)i) % 50);
  const int32_t k = 60;
  for (int32_t id = 0; id < VOCAB; id++) {
    int32_t before = 0;
    for (int32_t other = 0; other < VOCAB; other++) {
      before += logits[other] > logits[id] || (logits[other] == logits[id] && other < id);
    }
    kept[id] = before < k;
  }
  for (uint64_t i = 0; i < 3000; i++) {
    struct td_sampling hot = {.temperature = 1000, .top_k = k, .top_p = 1, .seed = 8};
    assert_true(kept[sample(logits, VOCAB, hot, i).id]);
  }
}

static void test_determinism(void **state) {
  (void)state;
  float logits[VOCAB];
  some_logits(logits);
  struct td_sampling sampling = {.temperature = 0.9, .top_k = 50, .top_p = 0.95, .seed = 42};
  int different = 0;
  for (uint64_t i = 0; i < 50; i++) {
    struct td_sample a = sample(logits, VOCAB, sampling, i), b = sample(logits, VOCAB, sampling, i);
    assert_memory_equal(&a, &b, sizeof a);
    assert_true(a.logprob == td_logprob(logits, VOCAB, a.id));
    sampling.seed = 43;
    different += sample(logits, VOCAB, sampling, i).id != a.id;
    sampling.seed = 42;
  }
  assert_true(different > 10);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_greedy),      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_frequencies), cmocka_unit_test(test_filters_against_a_sort),
      cmocka_unit_test(test_determinism),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
