/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention on processors. Item: (1, head, tile of up to QUERIES consecutive rows of a sequence). Positions are taken
 * SPAN at a time, from multiples of SPAN on, with a softmax that rescales when a larger score comes. What a row gets
 * out depends on its own positions alone: a neighbour's never enter its sums, not even as zeros.
 */
#define SPAN 32

/* Element i of a key or value and the 15 that follow, as far as there are so many. */
static inline float16 elements_within(__global const uchar *cache, long at, int left) {
  if (left >= 16) return elements(cache, at);
  float values[16] = {0};
  for (int c = 0; c < left; c++) values[c] = element(cache, at + c);
  return vload16(0, values);
}

/* Dot products of one query with four keys, or of four with four; both sum as fold does. */
static inline void score1(__global const float *q, __global const uchar *k, const long *at, int dim, float scale,
                          float *scores) {
  float16 a = 0, b = 0, c = 0, d = 0;
  for (int i = 0; i < dim; i += 16) {
    float16 query = take(q + i, dim - i);
    a = multiply_add(query, elements_within(k, at[0] + i, dim - i), a);
    b = multiply_add(query, elements_within(k, at[1] + i, dim - i), b);
    c = multiply_add(query, elements_within(k, at[2] + i, dim - i), c);
    d = multiply_add(query, elements_within(k, at[3] + i, dim - i), d);
  }
  vstore4(fold4(a, b, c, d) * scale, 0, scores);
}
static inline void score4(__global const float *const *q, __global const uchar *k, const long *at, int dim, float scale,
                          float *scores) {
  float16 s[16];
  for (int i = 0; i < 16; i++) s[i] = 0;
  for (int i = 0; i < dim; i += 16) {
    float16 key[4];
    for (int j = 0; j < 4; j++) key[j] = elements_within(k, at[j] + i, dim - i);
    for (int r = 0; r < 4; r++) {
      float16 query = take(q[r] + i, dim - i);
      for (int j = 0; j < 4; j++) s[4 * r + j] = multiply_add(query, key[j], s[4 * r + j]);
    }
  }
  for (int r = 0; r < 4; r++) {
    vstore4(fold4(s[4 * r], s[4 * r + 1], s[4 * r + 2], s[4 * r + 3]) * scale, 0, scores + r * SPAN);
  }
}

static inline float largest(float16 s) {
  float8 a = fmax(s.lo, s.hi);
  float4 b = fmax(a.lo, a.hi);
  float2 c = fmax(b.lo, b.hi);
  return fmax(c.x, c.y);
}

/* A row's scores [begin, end) of a span become shares; the others 0. */
static inline void soften(float *scores, int begin, int end, float *top, float *total, float *fade) {
  const int16 lane = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  float16 first = vload16(0, scores), second = vload16(1, scores);
  first = lane >= begin && lane < end ? first : (float16)(-INFINITY);
  second = lane + 16 >= begin && lane + 16 < end ? second : (float16)(-INFINITY);
  float most = fmax(*top, largest(fmax(first, second)));
  first = exponential(first - most);
  second = exponential(second - most);
  vstore16(first, 0, scores);
  vstore16(second, 1, scores);
  *fade = exponential1(*top - most);
  *total = *total * *fade + fold(first + second);
  *top = most;
}

/* out += sum over j in [begin, end) of share[j] * value[j], j ascending for every column. */
static inline void mix(const float *share, __global const uchar *v, const long *at, int begin, int end, int dim,
                       __global float *out) {
  int i = 0;
  for (; i + 64 <= dim; i += 64) {
    float16 a = vload16(0, out + i), b = vload16(1, out + i), c = vload16(2, out + i), d = vload16(3, out + i);
    for (int j = begin; j < end; j++) {
      a = multiply_add((float16)(share[j]), elements(v, at[j] + i), a);
      b = multiply_add((float16)(share[j]), elements(v, at[j] + i + 16), b);
      c = multiply_add((float16)(share[j]), elements(v, at[j] + i + 32), c);
      d = multiply_add((float16)(share[j]), elements(v, at[j] + i + 48), d);
    }
    vstore16(a, 0, out + i);
    vstore16(b, 1, out + i);
    vstore16(c, 2, out + i);
    vstore16(d, 3, out + i);
  }
  for (; i < dim; i += 16) {
    float16 a = take(out + i, dim - i);
    for (int j = begin; j < end; j++) {
      a = multiply_add((float16)(share[j]), elements_within(v, at[j] + i, dim - i), a);
    }
    give(out + i, a, dim - i);
  }
}

/* The same for four rows, whose shares lie SPAN apart, in one pass over the values. */
static inline void mix4(const float *share, __global const uchar *v, const long *at, int begin, int end, int dim,
                        __global float *out, long stride) {
  for (int i = 0; i < dim; i += 32) {
    float16 s[8];
    for (int r = 0; r < 4; r++) {
      s[2 * r] = take(out + r * stride + i, dim - i);
      s[2 * r + 1] = i + 16 < dim ? take(out + r * stride + i + 16, dim - i - 16) : 0;
    }
    for (int j = begin; j < end; j++) {
      float16 a = elements_within(v, at[j] + i, dim - i), b = 0;
      if (i + 16 < dim) b = elements_within(v, at[j] + i + 16, dim - i - 16);
      for (int r = 0; r < 4; r++) {
        s[2 * r] = multiply_add((float16)(share[r * SPAN + j]), a, s[2 * r]);
        s[2 * r + 1] = multiply_add((float16)(share[r * SPAN + j]), b, s[2 * r + 1]);
      }
    }
    for (int r = 0; r < 4; r++) {
      give(out + r * stride + i, s[2 * r], dim - i);
      if (i + 16 < dim) give(out + r * stride + i + 16, s[2 * r + 1], dim - i - 16);
    }
  }
}

/* Where positions at .. at + live - 1 lie; the rest of the last four repeats the last. One division per block. */
static inline void find_places(__global const int *table, int at, int live, int block_tokens, int kv_head, int kv_heads,
                               int dim, long *place) {
  for (int j = 0; j < live;) {
    int here = min(live - j, block_tokens - (at + j) % block_tokens);
    long element = td_kv_element(td_kv_slot(table, at + j, block_tokens), kv_head, kv_heads, dim);
    for (int end = j + here; j < end; j++, element += (long)kv_heads * dim) place[j] = element;
  }
  for (int j = live; j % 4 != 0; j++) place[j] = place[live - 1];
}

static inline void multiply(__global float *out, float factor, int dim) {
  for (int i = 0; i < dim; i++) out[i] *= factor;
}

/* tiles: pairs of a first row and a number of rows. */
__kernel ONE_ITEM void attention(BUFFER(in), BUFFER(k_cache), BUFFER(v_cache), OUTPUT(out), BUFFER(tiles),
                                 BUFFER(positions), BUFFER(tables), BUFFER(blocks), int heads, int kv_heads, int dim,
                                 int block_tokens, int window, float scale) {
  int head = get_global_id(1), row = INTS(tiles)[2 * get_global_id(2)], rows = INTS(tiles)[2 * get_global_id(2) + 1];
  int position = INTS(positions)[row], end = td_visible_end(position + rows - 1);
  int kv_head = td_kv_head(head, heads, kv_heads);
  __global const int *table = INTS(blocks) + INTS(tables)[row];
  __global const float *q[QUERIES];
  __global float *to = FLOATS_OUT(out) + (row * (long)heads + head) * dim;
  long stride = (long)heads * dim, place[SPAN];
  float scores[QUERIES * SPAN], top[QUERIES], total[QUERIES], fade;
  for (int r = 0; r < QUERIES; r++) {
    q[r] = FLOATS(in) + (row * (long)heads + head) * dim + min(r, rows - 1) * stride;
    top[r] = -INFINITY;
    total[r] = 0;
  }
  for (int i = 0; i < rows * dim; i++) to[i / dim * stride + i % dim] = 0;
  for (int at = td_visible_begin(position, window) / SPAN * SPAN; at < end; at += SPAN) {
    int live = min(SPAN, end - at), from[QUERIES], until[QUERIES], all_from = 0, all_until = live;
    find_places(table, at, live, block_tokens, kv_head, kv_heads, dim, place);
    for (int j = 0; j < live; j += 4) {
      if (rows == 1) {
        score1(q[0], BYTES(k_cache), place + j, dim, scale, scores + j);
      } else {
        score4(q, BYTES(k_cache), place + j, dim, scale, scores + j);
      }
    }
    for (int r = 0; r < rows; r++) {
      from[r] = max(0, td_visible_begin(position + r, window) - at);
      until[r] = max(from[r], min(live, td_visible_end(position + r) - at));
      all_from = max(all_from, from[r]);
      all_until = min(all_until, until[r]);
      if (from[r] == until[r]) continue;
      soften(scores + r * SPAN, from[r], until[r], &top[r], &total[r], &fade);
      multiply(to + r * stride, fade, dim);
    }
    /* What every row sees, in one pass; before and behind it, each by itself. */
    if (rows < QUERIES || all_from >= all_until) all_from = all_until = live;
    for (int r = 0; r < rows; r++) {
      mix(scores + r * SPAN, BYTES(v_cache), place, from[r], min(until[r], all_from), dim, to + r * stride);
    }
    if (all_from == all_until) continue;
    mix4(scores, BYTES(v_cache), place, all_from, all_until, dim, to, stride);
    for (int r = 0; r < rows; r++) {
      mix(scores + r * SPAN, BYTES(v_cache), place, max(from[r], all_until), until[r], dim, to + r * stride);
    }
  }
  for (int r = 0; r < rows; r++) multiply(to + r * stride, 1.0f / total[r], dim);
}
