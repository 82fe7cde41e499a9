/* SPDX-License-Identifier: Apache-2.0
 *
 * Picking a token from a row of logits. Sums run in one fixed order (eight lanes, then a tree) and the exponential and
 * the logarithm are our own, so the same logits give the same bits on every host; they are within 2 ulp of libm's.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"
#include "tandem/device.h"

/* ---- exp and ln ---- */

static const double ln2_high = 0x1.62e42fee00000p-1, ln2_low = 0x1.a39ef35793c76p-33;

/* e^x for x <= 0; below -708, where e^x is no longer a normal number, 0. Branch-free, so that loops vectorise. */
static inline double exp_negative(double x) {
  static const double shift = 0x1.8p52; /* adding it rounds to an integer in the low bits */
  double clamped = x < -708.0 ? -708.0 : x;
  double shifted = clamped * 0x1.71547652b82fep0 + shift;
  double n = shifted - shift;
  double r = (clamped - n * ln2_high) - n * ln2_low;
  double p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r * r + r + 1.0;
  uint64_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << 52) + (UINT64_C(1023) << 52); /* 2^n: the low bits of `shifted` hold n */
  double power;
  memcpy(&power, &bits, sizeof power);
  return x < -708.0 ? 0.0 : p * power;
}

/* ln x for finite x >= 1, by the series of atanh around a mantissa in [sqrt(1/2), sqrt(2)). */
static double ln(double x) {
  int exponent;
  double mantissa = frexp(x, &exponent);
  if (mantissa < 0.70710678118654752) {
    mantissa *= 2.0;
    exponent--;
  }
  double s = (mantissa - 1.0) / (mantissa + 1.0), square = s * s, sum = 0.0;
  for (int k = 23; k >= 1; k -= 2) sum = sum * square + 1.0 / k;
  return exponent * ln2_high + (exponent * ln2_low + 2.0 * s * sum);
}

/* ---- what a row says ---- */

struct row {
  int32_t top_id;
  float top, second;
};

static td_status find_top(const float *logits, int32_t vocab, struct row *out_row) {
  struct row row = {0, -INFINITY, -INFINITY};
  for (int32_t i = 0; i < vocab; i++) {
    float logit = logits[i];
    if (logit > row.top) {
      row.second = row.top;
      row.top = logit;
      row.top_id = i;
    } else if (logit > row.second) {
      row.second = logit;
    } else if (logit != logit) {
      return td_fail(TD_CORRUPT, "logits: found NaN at token id %d of %d, expected numbers", (int)i, (int)vocab);
    }
  }
  if (!isfinite(row.top)) {
    return td_fail(TD_CORRUPT, "logits: the largest of %d is %g, expected a finite number", (int)vocab,
                   (double)row.top);
  }
  *out_row = row;
  return TD_OK;
}

#define LANES 8
#define CHUNK 256

/* Sum of e^((logit - top) * scale); keeps the terms in weights if not NULL. */
static double sum_weights(const float *logits, int32_t vocab, double top, double scale, double *weights) {
  double lanes[LANES] = {0}, terms[CHUNK];
  for (int32_t begin = 0; begin < vocab; begin += CHUNK) {
    int32_t count = vocab - begin < CHUNK ? vocab - begin : CHUNK;
    for (int32_t i = 0; i < count; i++) terms[i] = exp_negative(((double)logits[begin + i] - top) * scale);
    for (int32_t i = count; i % LANES; i++) terms[i] = 0.0;
    for (int32_t i = 0; i < count; i += LANES) {
      for (int lane = 0; lane < LANES; lane++) lanes[lane] += terms[i + lane];
    }
    if (weights) memcpy(weights + begin, terms, (size_t)count * sizeof *terms);
  }
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

double td_logprob(const float *logits, int32_t vocab, int32_t id) {
  struct row row = {0};
  if (id < 0 || id >= vocab || find_top(logits, vocab, &row)) return NAN;
  return ((double)logits[id] - (double)row.top) - ln(sum_weights(logits, vocab, row.top, 1.0, NULL));
}

/* ---- filters: the kept ids in order of probability, from a heap, so that nothing is sorted that is not kept ---- */

struct heap {
  const float *logits;
  int32_t *ids;
  int32_t count;
};

/* Larger logit first, then smaller id: a total order, so the result does not depend on the algorithm. */
static bool before(const struct heap *heap, int32_t a, int32_t b) {
  float x = heap->logits[a], y = heap->logits[b];
  return x > y || (x == y && a < b);
}

static void sift(struct heap *heap, int32_t at) {
  int32_t id = heap->ids[at];
  for (;;) {
    int32_t child = 2 * at + 1;
    if (child >= heap->count) break;
    if (child + 1 < heap->count && before(heap, heap->ids[child + 1], heap->ids[child])) child++;
    if (!before(heap, heap->ids[child], id)) break;
    heap->ids[at] = heap->ids[child];
    at = child;
  }
  heap->ids[at] = id;
}

static int32_t pop(struct heap *heap) {
  int32_t id = heap->ids[0];
  heap->ids[0] = heap->ids[--heap->count];
  if (heap->count > 0) sift(heap, 0);
  return id;
}

/* The first id whose cumulative weight exceeds `target`, walking ids[0..count) (NULL: 0, 1, ...); the last id with
 * any weight if rounding leaves none. */
static int32_t walk(const int32_t *ids, int32_t count, const double *weights, double target) {
  double sum = 0.0;
  int32_t last = 0;
  for (int32_t i = 0; i < count; i++) {
    int32_t id = ids ? ids[i] : i;
    if (weights[id] <= 0.0) continue;
    last = id;
    sum += weights[id];
    if (sum > target) break;
  }
  return last;
}

/* Pops the most likely ids to the front part of `kept` until top_k are there or their share of `total` reaches top_p;
 * returns their number, and their weight in *out_sum. */
static int32_t keep(struct heap *heap, const double *weights, int32_t most, double enough, int32_t *kept,
                    double *out_sum) {
  int32_t count = 0;
  double sum = 0.0;
  while (count < most && heap->count > 0) {
    kept[count] = pop(heap);
    sum += weights[kept[count++]];
    if (sum >= enough) break;
  }
  *out_sum = sum;
  return count;
}

/* top_k first, then top_p of what is left. */
static int32_t pick_filtered(const float *logits, int32_t vocab, const struct td_sampling *sampling,
                             const double *weights, double total, double unit, int32_t *scratch) {
  int32_t *kept = scratch + vocab;
  struct heap heap = {logits, scratch, vocab};
  for (int32_t i = 0; i < vocab; i++) heap.ids[i] = i;
  for (int32_t i = vocab / 2 - 1; i >= 0; i--) sift(&heap, i);
  int32_t most = sampling->top_k > 0 && sampling->top_k < vocab ? sampling->top_k : vocab;
  if (sampling->top_k <= 0) {
    int32_t count = keep(&heap, weights, most, sampling->top_p * total, kept, &total);
    return walk(kept, count, weights, unit * total);
  }
  int32_t count = keep(&heap, weights, most, INFINITY, kept, &total);
  double enough = sampling->top_p < 1.0 ? sampling->top_p * total : INFINITY, sum = 0.0;
  for (int32_t i = 0; i < count && sum < enough; i++) {
    sum += weights[kept[i]];
    if (sum >= enough) count = i + 1;
  }
  return walk(kept, count, weights, unit * sum);
}

static td_status pick(const float *logits, int32_t vocab, const struct row *row, const struct td_sampling *sampling,
                      double unit, int32_t *out_id) {
  void *memory;
  TD_TRY(td_alloc((size_t)vocab, sizeof(double) + 2 * sizeof(int32_t), &memory));
  double *weights = memory;
  double total = sum_weights(logits, vocab, row->top, 1.0 / sampling->temperature, weights);
  if (sampling->top_k > 0 || sampling->top_p < 1.0) {
    *out_id = pick_filtered(logits, vocab, sampling, weights, total, unit, (int32_t *)(weights + vocab));
  } else {
    *out_id = walk(NULL, vocab, weights, unit * total);
  }
  free(memory);
  return TD_OK;
}

static td_status check_sampling(const struct td_sampling *sampling) {
  if (!(sampling->temperature >= 0.0) || isinf(sampling->temperature)) {
    return td_fail(TD_CONFIG, "sampling temperature: found %g, expected 0 (greedy) or more", sampling->temperature);
  }
  if (sampling->top_k < 0) {
    return td_fail(TD_CONFIG, "sampling top_k: found %d, expected 0 (off) or more", (int)sampling->top_k);
  }
  if (!(sampling->top_p > 0.0) || sampling->top_p > 1.0) {
    return td_fail(TD_CONFIG, "sampling top_p: found %g, expected more than 0 and at most 1 (off)", sampling->top_p);
  }
  return TD_OK;
}

td_status td_sample_row(const float *logits, int32_t vocab, const struct td_sampling *sampling, uint64_t request,
                        uint64_t index, struct td_sample *out_sample) {
  struct row row = {0};
  TD_TRY(check_sampling(sampling));
  TD_TRY(find_top(logits, vocab, &row));
  int32_t id = row.top_id;
  if (sampling->temperature > 0.0) {
    TD_TRY(pick(logits, vocab, &row, sampling, td_random_unit(sampling->seed, request, index), &id));
  }
  double log_sum = ln(sum_weights(logits, vocab, row.top, 1.0, NULL));
  *out_sample = (struct td_sample){.id = id,
                                   .logprob = ((double)logits[id] - (double)row.top) - log_sum,
                                   .top_id = row.top_id,
                                   .top_logprob = -log_sum,
                                   .top_gap = (double)row.top - (double)row.second};
  return TD_OK;
}
