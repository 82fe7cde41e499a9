/* SPDX-License-Identifier: Apache-2.0 */
#include "draw.h"

#include <math.h>
#include <string.h>

#include "tandem/base.h"
#include "tandem/workload.h"

#define LN2_HIGH 0x1.62e42feep-1 /* 32 bits: a product with an exponent is exact */
#define LN2_LOW 0x1.a39ef35793c76p-33

uint64_t draw_seed(uint64_t experiment_seed) {
  return td_random(experiment_seed, UINT64_C(0x776f726b6c6f6164), 0); /* "workload" */
}

/* log m = 2 atanh((m - 1) / (m + 1)) of the mantissa m in [sqrt(1/2), sqrt(2)), as a series. */
double draw_log(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof bits);
  int exponent = (int)(bits >> 52) - 1023;
  bits = (bits & UINT64_C(0xfffffffffffff)) | UINT64_C(0x3ff0000000000000);
  double m;
  memcpy(&m, &bits, sizeof m);
  if (m > 0x1.6a09e667f3bcdp0) {
    m *= 0.5;
    exponent++;
  }
  double s = (m - 1) / (m + 1), z = s * s, z2 = z * z, z4 = z2 * z2;
  double low = (1.0 / 3 + z * (1.0 / 5)) + z2 * (1.0 / 7 + z * (1.0 / 9));
  double high = (1.0 / 11 + z * (1.0 / 13)) + z2 * (1.0 / 15 + z * (1.0 / 17));
  double top = (1.0 / 19 + z * (1.0 / 21)) + z2 * (1.0 / 23);
  double series = z * (low + z4 * (high + z4 * top));
  return exponent * LN2_HIGH + (2 * s + (2 * s * series + exponent * LN2_LOW));
}

double draw_exp(double x) {
  double k = floor(x * 0x1.71547652b82fep0 + 0.5);
  double r = (x - k * LN2_HIGH) - k * LN2_LOW, sum = 1;
  for (int n = 14; n > 0; n--) sum = 1 + sum * (r / n);
  return ldexp(sum, (int)k);
}

double td_random_exponential(uint64_t seed, uint64_t stream, uint64_t i) {
  return -draw_log(1 - td_random_unit(seed, stream, i));
}

double draw_exponential(uint64_t seed, enum draw_stream stream, uint64_t i) {
  return td_random_exponential(seed, stream, i);
}

/* Marsaglia's polar method; attempt a of a draw takes numbers 2a and 2a + 1 of a stream of its own. */
static double normal_of(uint64_t own, uint64_t stream) {
  for (uint64_t a = 0;; a += 2) {
    double x = 2 * td_random_unit(own, stream, a) - 1, y = 2 * td_random_unit(own, stream, a + 1) - 1;
    double r = x * x + y * y;
    if (r < 1 && r > 0) return x * sqrt(-2 * draw_log(r) / r);
  }
}

double draw_normal(uint64_t seed, enum draw_stream stream, uint64_t i) {
  return normal_of(td_random(seed, stream, i), 0);
}

/* Marsaglia and Tsang 2000, for shapes from 1 on. */
static double gamma_of(uint64_t own, double shape) {
  double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
  for (uint64_t a = 1;; a++) {
    double x = normal_of(own, a), v = 1 + c * x;
    if (v <= 0) continue;
    v = v * v * v;
    double u = 1 - td_random_unit(own, 0, a);
    if (draw_log(u) < 0.5 * x * x + d - d * v + d * draw_log(v)) return d * v;
  }
}

double draw_gamma(uint64_t seed, enum draw_stream stream, uint64_t i, double shape) {
  uint64_t own = td_random(seed, stream, i);
  if (shape >= 1) return gamma_of(own, shape) / shape;
  double power = draw_log(1 - td_random_unit(own, 0, 0)) / shape;
  double factor = power < -690 ? 0 : draw_exp(power);
  return gamma_of(own, shape + 1) * factor / shape;
}
