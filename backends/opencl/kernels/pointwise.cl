/* SPDX-License-Identifier: Apache-2.0
 *
 * Everything but products and the cache. Kernels over rows have items (lane, row): lane goes through its row in steps
 * of get_global_size(0), which is 1 on processors and GROUP elsewhere. In and out may be the same buffer where
 * tandem/graph.h says so, but are never read after they are written.
 */
#if FORM_CPU
#define FOR_MINE(i, count) \
  for (long i = get_global_id(0) * (long)SHARE, i##_end = min((long)(count), i + SHARE); i < i##_end; i += VEC)
#else
#define FOR_MINE(i, count) for (long i = get_global_id(0); i < (count); i += get_global_size(0))
#endif
#define FOR_LANE(i, n) for (int i = get_global_id(0) * VEC; i < (n); i += get_global_size(0) * VEC)

__kernel ONE_ITEM void add(BUFFER(a), BUFFER(b), OUTPUT(out), long count) {
  FOR_MINE(i, count)
  give(FLOATS_OUT(out) + i, take(FLOATS(a) + i, count - i) + take(FLOATS(b) + i, count - i), count - i);
}

__kernel ONE_ITEM void bias(BUFFER(in), BUFFER(weight), OUTPUT(out), int n) {
  long row = get_global_id(1) * (long)n;
  FOR_LANE(i, n) {
    give(FLOATS_OUT(out) + row + i, take(FLOATS(in) + row + i, n - i) + take(FLOATS(weight) + i, n - i), n - i);
  }
}

/* 2 sqrt(2 / pi) (x + 0.044715 x^3) to twice float's precision, since an error in an exponent is one of the result. */
static inline vec gelu_exponent(vec x, vec *rest) {
  const float a = 0x1.988454p+0f, a_rest = -0x1.857936p-25f; /* 2 sqrt(2 / pi) */
  const float b = 0x1.2444f2p-4f, b_rest = 0x1.49b16ap-29f;  /* 0.044715 times that */
  vec square = x * x, square_rest = fma(x, x, -square);
  vec term = b * square, term_rest = fma((vec)(b), square, -term) + b * square_rest + b_rest * square;
  vec sum = a + term, part = sum - a;
  vec sum_rest = (a - (sum - part)) + (term - part) + a_rest + term_rest;
  vec exponent = x * sum;
  *rest = fma(x, sum, -exponent) + x * sum_rest;
  return exponent;
}

/* kind: enum td_activation */
static inline vec activation(vec x, int kind) {
  if (kind == 0) return x / (1.0f + exponential(-x));
  if (kind == 2) return fmax(x, (vec)(0.0f));
  vec rest, near = x > 16.0f ? (vec)(16.0f) : x; /* beyond, the result is x or nothing */
  near = near < -16.0f ? (vec)(-16.0f) : near;
  vec exponent = gelu_exponent(near, &rest), e = exponential(-exponent);
  e = e - e * rest;
  return x / (1.0f + (exponent < -88.0f ? (vec)(INFINITY) : e));
}

__kernel ONE_ITEM void activate(BUFFER(gate), BUFFER(up), OUTPUT(out), long count, int kind) {
  FOR_MINE(i, count) {
    give(FLOATS_OUT(out) + i, activation(take(FLOATS(gate) + i, count - i), kind) * take(FLOATS(up) + i, count - i),
         count - i);
  }
}

__kernel ONE_ITEM void select_rows(BUFFER(in), BUFFER(rows), OUTPUT(out), int n) {
  long to = get_global_id(1) * (long)n, from = INTS(rows)[get_global_id(1)] * (long)n;
  FOR_LANE(i, n) give(FLOATS_OUT(out) + to + i, take(FLOATS(in) + from + i, n - i), n - i);
}

/* ---- norm: item (row, group of its columns); n: columns of one group ---- */

#if FORM_CPU
static inline float squares(__global const float *x, int n) {
  float16 sum = 0;
  for (int i = 0; i < n; i += VEC) {
    float16 v = take(x + i, n - i);
    sum = multiply_add(v, v, sum);
  }
  return fold(sum);
}
#else
static inline float squares(__global const float *x, int n, __local float *parts) {
  int lane = get_local_id(0);
  float sum = 0;
  for (int i = lane; i < n; i += GROUP) sum = multiply_add(x[i], x[i], sum);
  parts[lane] = sum;
  for (int half_of = GROUP / 2; half_of > 0; half_of /= 2) {
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane < half_of) parts[lane] += parts[lane + half_of];
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  return parts[0];
}
#endif

__kernel ONE_ITEM void rms_norm(BUFFER(in), BUFFER(weight), OUTPUT(out), int n, float epsilon) {
  long at = get_global_id(1) * (long)n;
#if FORM_CPU
  float sum = squares(FLOATS(in) + at, n);
#else
  __local float parts[GROUP];
  float sum = squares(FLOATS(in) + at, n, parts);
#endif
  float scale = 1.0f / sqrt(sum / n + epsilon);
  FOR_LANE(i, n)
  give(FLOATS_OUT(out) + at + i, take(FLOATS(in) + at + i, n - i) * scale * take(FLOATS(weight) + i, n - i), n - i);
}

/* ---- rope: item (lane, head, row); turns: cosine and sine of every row's pairs, made by the host in double ---- */

__kernel ONE_ITEM void rope(BUFFER(in), BUFFER(turns), OUTPUT(out), int heads, int head_dim, int rope_dim, int halves) {
  long at = (get_global_id(2) * (long)heads + get_global_id(1)) * head_dim;
  __global const float *from = FLOATS(in) + at, *turn = FLOATS(turns) + get_global_id(2) * (long)rope_dim;
  __global float *to = FLOATS_OUT(out) + at;
  int lane = get_global_id(0), lanes = get_global_size(0);
  for (int i = lane; i < rope_dim / 2; i += lanes) {
    int first = td_rope_first(i, halves), second = td_rope_second(i, halves, rope_dim);
    float x = from[first], y = from[second], cosine = turn[2 * i], sine = turn[2 * i + 1];
    to[first] = x * cosine - y * sine;
    to[second] = x * sine + y * cosine;
  }
  for (int i = rope_dim + lane; i < head_dim; i += lanes) to[i] = from[i];
}

/* ---- experts ---- */

/* Item: row. */
__kernel ONE_ALONE void route(BUFFER(logits), OUTPUT(out), int experts, int used) {
  __global const float *logit = FLOATS(logits) + get_global_id(0) * (long)experts;
  __global float *to = FLOATS_OUT(out) + get_global_id(0) * 2 * (long)used;
  float sum = 0, top = 0;
  for (int slot = 0, last = -1; slot < used; slot++) { /* the best of those that come after the last one chosen */
    int best = -1;
    for (int e = 0; e < experts; e++) {
      if (last >= 0 && !td_routed_before(logit[last], last, logit[e], e)) continue;
      if (best < 0 || td_routed_before(logit[e], e, logit[best], best)) best = e;
    }
    if (slot == 0) top = logit[best];
    to[slot] = best;
    to[used + slot] = exponential1(logit[best] - top);
    sum += to[used + slot];
    last = best;
  }
  for (int slot = 0; slot < used; slot++) to[used + slot] /= sum;
}

/* Sorts the (row, slot) pairs by expert, in their order within an expert. Item: expert. order: experts + 1 places where
 * each expert's pairs begin, then the pairs. */
__kernel ONE_ALONE void order_pairs(BUFFER(routed), OUTPUT(order), int rows, int used, int experts) {
  int expert = get_global_id(0), before = 0, mine = 0;
  __global int *begins = (__global int *)BYTES(order), *pairs = begins + experts + 1;
  for (int pair = 0; pair < rows * used; pair++) {
    before += td_routed_id(FLOATS(routed) + pair / used * 2L * used, pair % used) < expert;
  }
  for (int pair = 0; pair < rows * used; pair++) {
    if (td_routed_id(FLOATS(routed) + pair / used * 2L * used, pair % used) == expert) pairs[before + mine++] = pair;
  }
  begins[expert] = before;
  if (expert == experts - 1) begins[experts] = before + mine;
}

__kernel ONE_ITEM void expert_sum(BUFFER(in), BUFFER(routed), OUTPUT(out), int n, int used) {
  long row = get_global_id(1);
  __global const float *from = FLOATS(in) + row * used * n, *weights = FLOATS(routed) + row * 2 * used;
  FOR_LANE(i, n) {
    vec sum = td_routed_weight(weights, used, 0) * take(from + i, n - i);
    for (int slot = 1; slot < used; slot++) {
      sum = sum + td_routed_weight(weights, used, slot) * take(from + (long)slot * n + i, n - i);
    }
    give(FLOATS_OUT(out) + row * n + i, sum, n - i);
  }
}
