/* SPDX-License-Identifier: Apache-2.0
 *
 * Products price the tile and split that is soonest done, though not all of them are looked at; smooth corners.
 */
#include <inttypes.h>
#include <math.h>

#include "cost/op_model.h"
#include "support.h"
#include "tandem/base.h"
#include "tandem/operators.h"

static double parameter(const struct td_op_fit *fit, const char *name) {
  const char *unit;
  for (int32_t i = 0; i < td_operator_parameters(TD_GEMM); i++) {
    if (!strcmp(td_operator_parameter(TD_GEMM, i, &unit), name)) return fit->parameters[i];
  }
  fail_msg("no parameter %s", name);
  return 0;
}

/* A product of weights too large for the cache and few activations, every tile and split tried, in plain sums. */
static double every_tile(const struct td_op_chip *chip, const struct td_op_fit *fit, double m, double n, double k) {
  static const double sides[][2] = {{64, 32},  {64, 64},   {64, 128},  {64, 256},
                                    {128, 64}, {128, 128}, {128, 256}, {256, 128}};
  static const double splits[] = {1, 2, 3, 4, 6, 8, 12, 16, 32};
  double fill = 2 * m * (k + n) / (0.5 * chip->cache), cached = 1 / (1 + fill * fill), best[4] = {INFINITY};
  double seen = 2 * m * (k + n) * (1 - cached * (1 - parameter(fit, "cached_share")));
  double memory = (2 * n * k + seen) / (parameter(fit, "memory_share") * chip->bandwidth);
  double peak = chip->peak * parameter(fit, "compute_share"), ideal = 2 * m * n * k / peak;
  double warm = 1 + parameter(fit, "sustained") * ideal / (ideal + 2e-3), power = parameter(fit, "sharpness");
  for (size_t i = 0; i < 8 * 9; i++) {
    double high = sides[i / 9][0], wide = sides[i / 9][1], split = splits[i % 9], extra = 0;
    double count = ceil(m / high) * ceil(n / wide), depth = ceil(ceil(k / split) / 64) * 64;
    if (i % 9 && (count * splits[i % 9 - 1] >= 4 * chip->units || depth < 64 * 1.5)) continue;
    double waves = ceil(count * split / chip->units), operands = fmin(m, high) + fmin(n, wide);
    double compute = waves * high * wide * (depth + parameter(fit, "ramp")) * 2 * warm * chip->units / peak;
    double loads = operands * 2 * chip->units / (parameter(fit, "unit_load") * chip->bandwidth);
    double load = waves * depth * fmax(loads, parameter(fit, "depth") * 1e-9);
    if (split > 1) extra = parameter(fit, "split") * 1e-6;
    double longest = fmax(fmax(compute, load), memory) + extra;
    if (longest < best[0]) best[0] = longest, best[1] = compute, best[2] = load, best[3] = extra;
  }
  double sum = pow(best[1] / memory, power) + pow(best[2] / memory, power) + 1;
  return parameter(fit, "start") * 1e-6 + memory * pow(sum, 1 / power) + best[3];
}

static void the_soonest_tile_is_taken(void **state) {
  (void)state;
  struct td_device_params *chip;
  struct td_op_chip numbers;
  struct td_op_fit guesses;
  uint64_t counter = 0;
  if (td_device_params_open(test_source("devices/h100_sxm.cfg"), &chip)) fail_msg("%s", td_error_text());
  td_op_guesses(TD_GEMM, &guesses);
  assert_int_equal(td_op_chip_of(chip, TD_GEMM, "bfloat16", &numbers), TD_OK);
  for (int round = 0; round < 4000; round++) {
    int64_t m = 1 + (int64_t)(td_random(3, 1, counter++) % (UINT64_C(1) << (1 + round % 14)));
    int64_t n = 4096 + (int64_t)(td_random(3, 1, counter++) % 16384);
    int64_t k = 16384 + (int64_t)(td_random(3, 1, counter++) % 16384);
    double want = every_tile(&numbers, &guesses, (double)m, (double)n, (double)k);
    const struct td_op_shape shape = {{n, k, m}};
    struct td_op_price price;
    assert_int_equal(td_op_price(chip, TD_GEMM, "bfloat16", &shape, &price), TD_OK);
    if (fabs(price.seconds / want - 1) < 1e-9) continue;
    fail_msg("m %" PRId64 " n %" PRId64 " k %" PRId64 ": found %.9g, want %.9g", m, n, k, price.seconds, want);
  }
  td_device_params_close(chip);
}

static void corners_are_smooth(void **state) {
  (void)state;
  static const double values[] = {0, 1e-30, 1e-6, 0.3, 1, 1.0000001, 7, 1e12};
  for (size_t i = 0; i < 8 * 8 * 8; i++) {
    double a = values[i % 8], b = values[i / 8 % 8], c = values[i / 64], most = fmax(fmax(a, b), c);
    for (double sharpness = 1; sharpness < 50; sharpness *= 3) {
      double found = td_op_smooth_max_of_three(a, b, c, sharpness);
      double nested = td_op_smooth_max(td_op_smooth_max(a, b, sharpness), c, sharpness);
      assert_true(found >= most && found <= most * pow(3, 1 / sharpness) * (1 + 1e-12));
      assert_true(fabs(found - nested) <= 1e-12 * most);
      if (most > 0 && most < 1e3 && sharpness < 20) {
        double plain = pow(pow(a, sharpness) + pow(b, sharpness) + pow(c, sharpness), 1 / sharpness);
        assert_true(fabs(found / plain - 1) < 1e-12 || most < 1e-3);
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_soonest_tile_is_taken),
      cmocka_unit_test(corners_are_smooth),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
