/* SPDX-License-Identifier: Apache-2.0
 *
 * The reference's operators that work row by row: all in binary32, in the order in which the text names them.
 */
#include <math.h>

#include "lpu/reference_parts.h"
#include "tandem/base.h"

td_status reference_round(const struct lpu_reference *reference, int32_t value, const float *in, int64_t count,
                          float *out) {
  for (int64_t i = 0; i < count; i++) {
    out[i] = lpu_reference_f16(in[i]);
    if (isfinite(out[i])) continue;
    return td_fail(TD_CORRUPT, "%s: %g is beyond binary16", reference->graph->values[value].name, (double)in[i]);
  }
  return TD_OK;
}

float reference_lane_tree(const struct lpu_reference *reference, float *v) {
  int32_t lanes = reference->options.lanes, superlane = reference->options.lanes_per_superlane;
  for (int32_t s = 0; s < lanes; s += superlane) {
    for (int32_t offset = superlane / 2; offset > 0; offset /= 2) {
      for (int32_t l = s; l < s + offset; l++) v[l] += v[l + offset];
    }
  }
  float sum = v[0];
  for (int32_t s = superlane; s < lanes; s += superlane) sum += v[s];
  return sum;
}

static void norm_group(const struct lpu_reference *reference, double epsilon, const float *weight, const float *in,
                       float *out, int64_t n) {
  float lanes[TD_LPU_MOST_LANES] = {0};
  for (int64_t i = 0; i < n; i++) lanes[i % reference->options.lanes] += in[i] * in[i];
  float mean = reference_lane_tree(reference, lanes) * (float)(1 / (double)n);
  float factor = lpu_reference_rsqrt(mean + (float)epsilon);
  for (int64_t i = 0; i < n; i++) out[i] = in[i] * factor * weight[i];
}

void reference_norm(const struct lpu_reference *reference, const struct td_op *op, const float *weight, const float *in,
                    float *out) {
  int64_t n = op->n / op->groups;
  for (int64_t i = 0; i < op->n; i += n) norm_group(reference, op->epsilon, weight, in + i, out + i, n);
}

/* The mean and the squares of what is left go by lanes, as those of the norm above. */
void reference_layer_norm(const struct lpu_reference *reference, const struct td_op *op, const float *weight,
                          const float *in, float *out) {
  float lanes[TD_LPU_MOST_LANES] = {0};
  int32_t width = reference->options.lanes;
  for (int64_t i = 0; i < op->n; i++) lanes[i % width] += in[i];
  float mean = reference_lane_tree(reference, lanes) * (float)(1 / (double)op->n);
  for (int32_t l = 0; l < width; l++) lanes[l] = 0;
  for (int64_t i = 0; i < op->n; i++) {
    out[i] = in[i] - mean;
    lanes[i % width] += out[i] * out[i];
  }
  float variance = reference_lane_tree(reference, lanes) * (float)(1 / (double)op->n);
  float factor = lpu_reference_rsqrt(variance + (float)op->epsilon);
  for (int64_t i = 0; i < op->n; i++) out[i] = out[i] * factor * weight[i] + weight[op->n + i];
}

static void rotate(const struct td_op *op, int32_t pair, float c, float s, const float *in, float *out) {
  bool adjacent = op->rope_pairs == TD_ROPE_ADJACENT;
  int32_t a = adjacent ? 2 * pair : pair, b = adjacent ? 2 * pair + 1 : pair + op->rope_dim / 2;
  for (int32_t head = 0; head < op->heads; head++, in += op->head_dim, out += op->head_dim) {
    out[a] = in[a] * c + in[b] * -s;
    out[b] = in[b] * c + in[a] * s;
  }
}

void reference_rope(const struct td_op *op, const float *factors, int32_t position, const float *in, float *out) {
  for (int64_t i = 0; i < op->n; i++) out[i] = in[i];
  for (int32_t pair = 0; pair < op->rope_dim / 2; pair++) {
    double angle = position * op->position_scale / pow(op->theta, 2.0 * pair / op->rope_dim);
    if (factors) angle /= (double)factors[pair];
    rotate(op, pair, (float)cos(angle), (float)sin(angle), in, out);
  }
}

static float gelu(float x) {
  float inner = x + 0.044715F * x * x * x;
  return x * 0.5F * (1 + lpu_reference_tanh((float)sqrt(2 / acos(-1.0)) * inner));
}

void reference_activate(const struct td_op *op, const float *gate, const float *up, float *out) {
  for (int64_t i = 0; i < op->n; i++) {
    float g = gate[i];
    out[i] = (op->activation == TD_ACT_SILU ? g * lpu_reference_sigmoid(g) : gelu(g)) * up[i];
  }
}

void reference_pointwise(const struct td_op *op, const float *in, float *out) {
  for (int64_t i = 0; i < op->n; i++) out[i] = op->activation == TD_ACT_TANH ? lpu_reference_tanh(in[i]) : gelu(in[i]);
}
