/* SPDX-License-Identifier: Apache-2.0
 *
 * Draws: the logarithm and the exponential against the library's, and the moments of each law.
 */
#include <math.h>

#include "harness.h"
#include "workload/draw.h"

#define DRAWS 200000

static double units_apart(double a, double b) {
  return fabs(a - b) / (nextafter(fabs(b), INFINITY) - fabs(b));
}

static void logarithm(void **state) {
  (void)state;
  double worst = 0;
  assert_true(draw_log(1) == 0);
  for (uint64_t i = 0; i < DRAWS; i++) {
    double unit = td_random_unit(1, 1, i), x = i % 2 ? 1 - unit : ldexp(1 + unit, (int)(i % 120) - 60);
    if (x == 1) continue;
    double apart = units_apart(draw_log(x), log(x));
    if (apart > worst) worst = apart;
  }
  assert_true(worst <= 2);
  assert_true(units_apart(draw_log(0x1p-53), log(0x1p-53)) <= 2);
}

static void exponential(void **state) {
  (void)state;
  double worst = 0;
  for (uint64_t i = 0; i < DRAWS; i++) {
    double x = (2 * td_random_unit(1, 2, i) - 1) * (i % 2 ? 690 : 3);
    double apart = units_apart(draw_exp(x), exp(x));
    if (apart > worst) worst = apart;
  }
  assert_true(worst <= 3);
  assert_true(draw_exp(0) == 1);
}

struct moments {
  double mean, variance;
};

static struct moments moments_of(double (*draw)(uint64_t i, double argument), double argument) {
  double sum = 0, squares = 0;
  for (uint64_t i = 0; i < DRAWS; i++) {
    double x = draw(i, argument);
    sum += x;
    squares += x * x;
  }
  double mean = sum / DRAWS;
  return (struct moments){mean, squares / DRAWS - mean * mean};
}

static double normal(uint64_t i, double argument) {
  (void)argument;
  return draw_normal(5, DRAW_PROMPT, i);
}
static double exponential_draw(uint64_t i, double argument) {
  (void)argument;
  return draw_exponential(5, DRAW_PROMPT, i);
}
static double gamma_draw(uint64_t i, double shape) {
  return draw_gamma(5, DRAW_PROMPT, i, shape);
}

/* Within five standard errors of what the law says. A gamma of shape k and mean 1 has variance 1 / k and fourth central
 * moment (3 + 6 / k) / k^2. */
static void laws(void **state) {
  (void)state;
  static const double shapes[] = {0.0625, 0.25, 1, 2.5, 16, 1e4};
  struct moments found = moments_of(normal, 0);
  assert_true(fabs(found.mean) < 5 / sqrt(DRAWS) && fabs(found.variance - 1) < 5 * sqrt(2.0 / DRAWS));
  found = moments_of(exponential_draw, 0);
  assert_true(fabs(found.mean - 1) < 5 / sqrt(DRAWS) && fabs(found.variance - 1) < 5 * sqrt(8.0 / DRAWS));
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    double k = shapes[i], variance = 1 / k, spread = sqrt((2 + 6 / k) / (k * k) / DRAWS);
    found = moments_of(gamma_draw, k);
    if (fabs(found.mean - 1) > 5 * sqrt(variance / DRAWS) || fabs(found.variance - variance) > 5 * spread) {
      fail_msg("gamma %g: found mean %g, variance %g", k, found.mean, found.variance);
    }
  }
}

/* Kolmogorov and Smirnov's distance of exponential draws; above 1.95 / sqrt(n) is one in a thousand. */
static void exponential_shape(void **state) {
  (void)state;
  enum { BINS = 1000 };
  int counts[BINS] = {0};
  double worst = 0;
  for (uint64_t i = 0; i < DRAWS; i++) {
    int bin = (int)((1 - exp(-draw_exponential(9, DRAW_ARRIVAL, i))) * BINS);
    counts[bin < BINS ? bin : BINS - 1]++;
  }
  for (int b = 0, below = 0; b < BINS; b++) {
    below += counts[b];
    worst = fmax(worst, fabs((double)below / DRAWS - (double)(b + 1) / BINS));
  }
  assert_true(worst < 1.95 / sqrt(DRAWS));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(logarithm), cmocka_unit_test(exponential), cmocka_unit_test(laws),
                                     cmocka_unit_test(exponential_shape)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
