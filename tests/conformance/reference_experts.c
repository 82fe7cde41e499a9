/* SPDX-License-Identifier: Apache-2.0
 *
 * The operators of mixtures of experts in double precision. Written apart from tandem/positions.h, so that a mistake
 * there shows.
 */
#include <math.h>

#include "reference.h"

/* How many logits of a row come before logit `e`: the slot in which it is chosen. NaNs come last. */
static int64_t rank_of(const float *logits, int64_t experts, int64_t e) {
  int64_t rank = 0;
  for (int64_t other = 0; other < experts; other++) {
    bool less = isnan(logits[e]) ? !isnan(logits[other]) : logits[other] > logits[e];
    bool same = isnan(logits[e]) ? isnan(logits[other]) : logits[other] == logits[e];
    rank += less || (same && other < e);
  }
  return rank;
}

void reference_router(const struct conform_inputs *in, double *want, double *bound) {
  int64_t experts = in->op.experts, used = in->op.experts_used;
  for (int64_t r = 0; r < in->out_rows; r++, want += 2 * used, bound += 2 * used) {
    const float *logits = in->in[0] + r * experts;
    double sum = 0.0;
    for (int64_t e = 0; e < experts; e++) {
      int64_t slot = rank_of(logits, experts, e);
      if (slot < used) want[slot] = (double)e;
    }
    double largest = (double)logits[(int64_t)want[0]];
    for (int64_t j = 0; j < used; j++) sum += exp((double)logits[(int64_t)want[j]] - largest);
    for (int64_t j = 0; j < used; j++) {
      double below = largest - (double)logits[(int64_t)want[j]];
      want[used + j] = exp(-below) / sum;
      bound[j] = 0.0;
      bound[used + j] = want[used + j] > 0.0 ? (16 + (double)used + 2 * below) * reference_unit * want[used + j] : 0.0;
      bound[used + j] += 1e-37;
    }
  }
}

static double product(const float *x, const float *w, int64_t k, double *out_magnitude) {
  double sum = 0.0;
  *out_magnitude = 0.0;
  for (int64_t i = 0; i < k; i++) {
    sum += (double)x[i] * (double)w[i];
    *out_magnitude += fabs((double)x[i] * (double)w[i]);
  }
  return sum;
}

void reference_expert_matmul(const struct conform_inputs *in, double *want, double *bound) {
  int64_t n = in->op.n, k = in->op.k, used = in->op.experts_used;
  for (int64_t r = 0; r < in->out_rows; r++) {
    for (int64_t slot = 0; slot < used; slot++) {
      int64_t expert = (int64_t)in->in[1][r * 2 * used + slot];
      const float *x = in->in[0] + (in->p.per_slot ? (r * used + slot) * k : r * k);
      for (int64_t j = 0; j < n; j++, want++, bound++) {
        double magnitude;
        *want = product(x, in->weight_values + (expert * n + j) * k, k, &magnitude);
        *bound = (sqrt((double)k) + 8) * reference_unit * magnitude;
      }
    }
  }
}

void reference_expert_sum(const struct conform_inputs *in, double *want, double *bound) {
  int64_t n = in->op.n, used = in->op.experts_used;
  for (int64_t r = 0; r < in->out_rows; r++) {
    const float *weights = in->in[1] + r * 2 * used + used, *slots = in->in[0] + r * used * n;
    for (int64_t i = 0; i < n; i++, want++, bound++) {
      double magnitude = 0.0;
      *want = 0.0;
      for (int64_t slot = 0; slot < used; slot++) {
        *want += (double)weights[slot] * (double)slots[slot * n + i];
        magnitude += fabs((double)weights[slot] * (double)slots[slot * n + i]);
      }
      *bound = (sqrt((double)used) + 8) * reference_unit * magnitude;
    }
  }
}
