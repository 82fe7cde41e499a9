/* SPDX-License-Identifier: Apache-2.0
 *
 * Loads of experts, as the collector of NVIDIA's aiconfigurator (2025) makes them for its tables: "power_law_a" draws a
 * load for each expert from the density x^-a between 1 and 0.8 tokens (between 0.01 and 2 when there are no more
 * choices than experts), scales them to the choices that there are, rounds them to whole rows, no more than one of a
 * token, and spreads what rounding left over evenly over devices, on the experts with the fewest rows. The device with
 * the most rows is measured. Here are the expected values in closed form, on average within 5 % of drawing them
 * (tests/cost/moe_test.c).
 */
#include "op_moe.h"

#include <math.h>
#include <stdbool.h>

/* Of the density times x^order, from x (whose power is `x_power`) to the law's end. */
static double integral(const struct td_moe_law *law, double x, double x_power, int order) {
  double power = law->power + order, a = x_power, b = law->high_power;
  for (int i = 0; i < order; i++) a *= x, b *= law->high;
  return fabs(power) < 1e-9 ? log(law->high / x) : (b - a) / power;
}

/* Shares of the experts and of the rows that are in loads of `rows` and more. */
static void tail(const struct td_moe_load *load, double rows, double *out_experts, double *out_rows) {
  const struct td_moe_law *law = &load->law;
  double x = rows / load->rows_unit;
  *out_experts = *out_rows = x <= law->low;
  if (x <= law->low || x >= law->high) return;
  double power = pow(x, law->power);
  *out_experts = integral(law, x, power, 0) / law->count;
  *out_rows = integral(law, x, power, 1) / law->sum;
}

static struct td_moe_law law_of(double tokens, bool few, double exponent) {
  struct td_moe_law law = {.power = 1 - exponent, .low = few ? 0.01 : 1, .high = few ? 2 : 0.8 * tokens};
  law.low_power = few ? pow(law.low, law.power) : 1;
  law.high_power = pow(law.high, law.power);
  law.count = integral(&law, law.low, law.low_power, 0);
  law.sum = integral(&law, law.low, law.low_power, 1);
  return law;
}

/* Squared deviation of a load over its squared mean. */
static double variation(const struct td_moe_law *law) {
  double mean = law->sum / law->count;
  double variance = integral(law, law->low, law->low_power, 2) / law->count - mean * mean;
  return variance > 0 ? variance / (mean * mean) : 0;
}

/* About where the largest of n normal deviates lies: the inverse normal of Hastings (Abramowitz and Stegun 26.2.23). */
static double largest_of(double n) {
  double t = sqrt(-2 * log(0.6 / (n + 0.2)));
  return t - (2.515517 + 0.802853 * t + 0.010328 * t * t) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
}

/* How much more than its part the busiest of so many groups has: sums of loads are nearly gamma distributed, of a total
 * that is given; its quantile after Wilson and Hilferty. */
static double busiest(const struct td_moe_load *load, double groups) {
  double varies = variation(&load->law);
  if (groups <= 1 || varies <= 0) return 1;
  double shape = (groups * load->here / varies + 1) / (groups - 1);
  double root = 1 - 1 / (9 * shape) + largest_of(groups) / (3 * sqrt(shape)), more = root * root * root;
  return more > 1 ? more : 1;
}

/* Rows of all loads, each rounded to whole ones and no more than the tokens. */
static double rounded(const struct td_moe_load *load, double tokens, double choices) {
  double experts[4], rows, most, sum = 0, each = load->rows_unit * load->law.sum / load->law.count;
  double count = choices / each;
  for (int i = 0; i < 4; i++) tail(load, i + 0.5, &experts[i], &rows);
  for (int i = 0; i < 3; i++) sum += experts[i] - experts[3];
  sum += rows * each;
  tail(load, tokens, &most, &rows);
  double over = rows * each - most * tokens;
  sum = (sum - (over > 0 ? over : 0)) * count;
  return sum < 0 ? 0 : sum < choices ? sum : choices;
}

static double least_of(double a, double b) {
  return a < b ? a : b;
}

/* Uneven loads: what is left over by rounding comes evenly to all devices, the rest more to the busiest. */
static void uneven(double tokens, double top_k, double groups, double even, struct td_moe_load *load) {
  double choices = tokens * top_k, here = load->here, some, twice, rows;
  double drawn = rounded(load, tokens, choices), more = busiest(load, groups);
  double left = (choices - drawn) / groups, most = least_of(load->law.high * load->rows_unit, tokens);
  left += (ceil(left - 1e-9) - left) * (1 - drawn / choices); /* whole rows: with few, some devices have none of them */
  load->rows = least_of(left + drawn / groups * more, left + here * most);
  if (load->rows < even) load->rows = even;
  load->rows = least_of(load->rows < 1 ? 1 : load->rows, tokens * (here < top_k && here >= 1 ? here : top_k));
  tail(load, 0.5, &some, &rows);
  tail(load, 2.5, &twice, &rows);
  double one = here * some + (1 - some) * least_of(1, here * groups * some);
  double many = here * some + least_of(more - 1, 4) * here * (some - twice);
  load->reached = left + (one > many ? one : many);
}

void td_moe_load(double tokens, double top_k, double experts, double groups, double skew, struct td_moe_load *out) {
  double even = tokens * top_k / groups, choices = tokens * top_k;
  struct td_moe_load load = {.here = experts / groups, .skew = skew, .rows = even > 1 ? even : 1};
  load.reached = load.rows;
  if (skew > 0) {
    load.law = law_of(tokens, choices <= experts, skew);
    load.rows_unit = choices / experts * load.law.count / load.law.sum;
    uneven(tokens, top_k, groups, even, &load);
  }
  load.reached = least_of(load.reached, least_of(load.here > 1 ? load.here : 1, load.rows));
  if (load.reached < 1) load.reached = 1;
  *out = load;
}

double td_moe_tiles(const struct td_moe_load *load, double tile) {
  if (load->skew <= 0) return load->reached * ceil(load->rows / load->reached / tile - 1e-9);
  double experts, rows;
  tail(load, tile, &experts, &rows);
  double tiles = load->reached + rows * load->rows / tile - experts * load->here / 2;
  return tiles > load->reached ? tiles : load->reached;
}
