/* SPDX-License-Identifier: Apache-2.0
 *
 * The reference's KV cache and attention.
 */
#include <math.h>
#include <string.h>

#include "lpu/reference_parts.h"

/* One KV head of one layer: keys [head_dim][context], values [context][head_dim]. */
struct head {
  float *k, *v;
};

static struct head head_of(const struct lpu_reference *reference, int32_t sequence, int32_t layer, int32_t kv_head) {
  const struct td_shape *shape = &reference->graph->shape;
  int64_t index = (int64_t)layer * shape->kv_heads + kv_head;
  int64_t offset = index * shape->head_dim * reference->options.context;
  const struct cache *cache = &reference->caches[sequence];
  return (struct head){cache->k + offset, cache->v + offset};
}

static void put(struct lpu_reference *reference, int32_t sequence, int32_t layer, int32_t position, const float *k,
                const float *v) {
  const struct td_shape *shape = &reference->graph->shape;
  for (int32_t h = 0; h < shape->kv_heads; h++) {
    struct head head = head_of(reference, sequence, layer, h);
    for (int32_t d = 0; d < shape->head_dim; d++) {
      head.k[(int64_t)d * reference->options.context + position] = lpu_reference_f16(k[h * shape->head_dim + d]);
      head.v[(int64_t)position * shape->head_dim + d] = lpu_reference_f16(v[h * shape->head_dim + d]);
    }
  }
}

td_status lpu_reference_set_kv(struct lpu_reference *reference, int32_t sequence, int32_t layer, int32_t position,
                               const float *k, const float *v) {
  const struct td_shape *shape = &reference->graph->shape;
  for (int32_t i = 0; i < shape->kv_heads * shape->head_dim; i++) {
    if (isfinite(lpu_reference_f16(k[i])) && isfinite(lpu_reference_f16(v[i]))) continue;
    return td_fail(TD_CORRUPT, "KV of layer %d, position %d, element %d: %g, %g beyond binary16", (int)layer,
                   (int)position, (int)i, (double)k[i], (double)v[i]);
  }
  put(reference, sequence, layer, position, k, v);
  return TD_OK;
}

void lpu_reference_get_kv(const struct lpu_reference *reference, int32_t sequence, int32_t layer, int32_t position,
                          float *k, float *v) {
  const struct td_shape *shape = &reference->graph->shape;
  for (int32_t h = 0; h < shape->kv_heads; h++) {
    struct head head = head_of(reference, sequence, layer, h);
    for (int32_t d = 0; d < shape->head_dim; d++) {
      k[h * shape->head_dim + d] = head.k[(int64_t)d * reference->options.context + position];
      v[h * shape->head_dim + d] = head.v[(int64_t)position * shape->head_dim + d];
    }
  }
}

td_status reference_append(struct lpu_reference *reference, const struct td_op *op) {
  int64_t cols = (int64_t)op->kv_heads * op->head_dim;
  for (int32_t r = 0; r < reference->rows; r++) {
    TD_TRY(lpu_reference_set_kv(reference, reference->sequence, op->layer, reference->position + r,
                                reference->values[op->in[0]] + r * cols, reference->values[op->in[1]] + r * cols));
  }
  return TD_OK;
}

/* Positions a row sees. */
struct view {
  int32_t begin, end;
};

/* Scores of one head's query, scaled; parts of head_dim as parts of any k. */
static void score(struct lpu_reference *reference, const struct td_op *op, const float *q, const float *k,
                  struct view view) {
  int32_t part = reference->options.plane_k / 2;
  float *scores = reference->scores;
  double *sums = reference->sums;
  memset(scores, 0, (size_t)view.end * sizeof *scores);
  for (int32_t begin = 0; begin < op->head_dim; begin += part) {
    memset(sums, 0, (size_t)view.end * sizeof *sums);
    for (int32_t d = begin; d < op->head_dim && d < begin + part; d++) {
      const float *keys = k + (int64_t)d * reference->options.context;
      for (int32_t j = view.begin; j < view.end; j++) sums[j] += (double)q[d] * (double)keys[j];
    }
    for (int32_t j = view.begin; j < view.end; j++) scores[j] += (float)sums[j];
  }
  for (int32_t j = view.begin; j < view.end; j++) scores[j] *= (float)op->scale;
}

/* scores -> p, in binary16. */
static void softmax(struct lpu_reference *reference, struct view view) {
  float *scores = reference->scores, most = scores[view.begin];
  for (int32_t j = view.begin; j < view.end; j++) most = fmaxf(most, scores[j]);
  for (int32_t j = view.begin; j < view.end; j++) {
    scores[j] = lpu_reference_f16(lpu_reference_exp(scores[j] - most));
  }
}

/* Positions begin .. end - 1, one pass of a plane, added to out; the sum of p is what a V of 1 gives. */
static void weigh(struct lpu_reference *reference, const struct td_op *op, const float *v, int32_t begin, int32_t end,
                  float *out, float *total) {
  double *sums = reference->sums, ones = 0.0;
  memset(sums, 0, (size_t)op->head_dim * sizeof *sums);
  for (int32_t j = begin; j < end; j++) {
    double p = (double)reference->scores[j];
    ones += p;
    for (int32_t d = 0; d < op->head_dim; d++) sums[d] += p * (double)v[(int64_t)j * op->head_dim + d];
  }
  for (int32_t d = 0; d < op->head_dim; d++) out[d] += (float)sums[d];
  *total += (float)ones;
}

static int32_t least(int32_t a, int32_t b) {
  return a < b ? a : b;
}

/* Parts of half a plane from the start of each block. A part of which nothing is seen adds zeros: left out. */
static void weigh_all(struct lpu_reference *reference, const struct td_op *op, const float *v, struct view view,
                      float *out, float *total) {
  int32_t block = reference->options.block_tokens, part = reference->options.plane_k / 2;
  for (int32_t first = 0; first < view.end; first += block) {
    for (int32_t begin = first; begin < first + block; begin += part) {
      int32_t end = least(view.end, least(first + block, begin + part));
      int32_t seen = begin > view.begin ? begin : view.begin;
      if (seen < end) weigh(reference, op, v, seen, end, out, total);
    }
  }
}

static td_status attend(struct lpu_reference *reference, const struct td_op *op, int32_t h, struct view view,
                        const float *in, float *out) {
  float q[1024];
  if (op->head_dim > 1024) return td_fail(TD_UNSUPPORTED, "head_dim %d: at most 1024", (int)op->head_dim);
  struct head head = head_of(reference, reference->sequence, op->layer, h / (op->heads / op->kv_heads));
  TD_TRY(reference_round(reference, op->in[0], in, op->head_dim, q));
  score(reference, op, q, head.k, view);
  softmax(reference, view);
  memset(out, 0, (size_t)op->head_dim * sizeof *out);
  float total = 0.0f;
  weigh_all(reference, op, head.v, view, out, &total);
  float inverse = lpu_reference_reciprocal(total);
  for (int32_t d = 0; d < op->head_dim; d++) out[d] *= inverse;
  return TD_OK;
}

td_status reference_attention(struct lpu_reference *reference, const struct td_op *op) {
  for (int32_t r = 0; r < reference->rows; r++) {
    int32_t end = reference->position + (op->bidirectional ? reference->rows : r + 1);
    struct view view = {op->window > 0 && end > op->window ? end - op->window : 0, end};
    int64_t row = r * op->n;
    for (int32_t h = 0; h < op->heads; h++) {
      int64_t at = row + (int64_t)h * op->head_dim;
      float *out = reference->values[op->out] + at;
      TD_TRY(attend(reference, op, h, view, reference->values[op->in[0]] + at, out));
      if (op->bidirectional) TD_TRY(reference_round(reference, op->out, out, op->head_dim, out));
    }
  }
  return TD_OK;
}
