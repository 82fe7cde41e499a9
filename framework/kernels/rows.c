/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows of operators: plain loops, sums in double and in one order.
 */
#include <math.h>

#include "tandem/kernels.h"
#include "tandem/positions.h"

double td_dot(const float *a, const float *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
  return sum;
}

void td_rms_norm_row(const float *in, const float *weight, float *out, int64_t n, double epsilon) {
  double scale = 1 / sqrt(td_dot(in, in, n) / (double)n + epsilon);
  for (int64_t i = 0; i < n; i++) out[i] = (float)(in[i] * scale * weight[i]);
}

void td_rope_row(const struct td_op *op, const float *factors, int32_t position, float *head) {
  int halves = op->rope_pairs == TD_ROPE_HALVES;
  for (int32_t i = 0; i < op->rope_dim / 2; i++) {
    double angle = position * op->position_scale / pow(op->theta, 2.0 * i / op->rope_dim);
    if (factors) angle /= factors[i];
    float *first = head + td_rope_first(i, halves), *second = head + td_rope_second(i, halves, op->rope_dim);
    double x = *first, y = *second;
    *first = (float)(x * cos(angle) - y * sin(angle));
    *second = (float)(x * sin(angle) + y * cos(angle));
  }
}

double td_activate(enum td_activation activation, double x) {
  switch (activation) {
    case TD_ACT_SILU:
      return x / (1 + exp(-x));
    case TD_ACT_GELU:
      return x / 2 * (1 + tanh(sqrt(2 / acos(-1.0)) * (x + 0.044715 * x * x * x)));
    case TD_ACT_RELU:
      return x > 0 ? x : 0;
    case TD_ACT_TANH:
      return tanh(x);
  }
  return NAN; /* no such activation */
}

void td_route_row(const float *logits, float *out, int32_t experts, int32_t used) {
  double sum = 0;
  for (int32_t slot = 0, last = -1; slot < used; slot++) { /* the best of those that come after the last one chosen */
    int32_t best = -1;
    for (int32_t e = 0; e < experts; e++) {
      if (last >= 0 && !td_routed_before(logits[last], last, logits[e], e)) continue;
      if (best < 0 || td_routed_before(logits[e], e, logits[best], best)) best = e;
    }
    out[slot] = (float)best;
    last = best;
  }
  double top = logits[(int32_t)out[0]];
  for (int32_t slot = 0; slot < used; slot++) sum += exp(logits[(int32_t)out[slot]] - top);
  for (int32_t slot = 0; slot < used; slot++) {
    out[used + slot] = (float)(exp(logits[(int32_t)out[slot]] - top) / sum);
  }
}

void td_expert_sum_row(const float *slots, const float *routed, float *out, int64_t n, int32_t used) {
  for (int64_t i = 0; i < n; i++) {
    double sum = 0;
    for (int32_t slot = 0; slot < used; slot++)
      sum += (double)td_routed_weight(routed, used, slot) * slots[slot * n + i];
    out[i] = (float)sum;
  }
}
