/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention on processors. Item: (1, head, tile of up to QUERIES consecutive rows of a sequence). Positions are taken SPAN
 * at a time, from multiples of SPAN on, with a softmax that rescales when a larger score comes. What a row gets out
 * depends on its own positions alone: a neighbour's never enter its sums, not even as zeros.
 */
#define SPAN 32

/* Dot products of four queries with four keys: scores[query][key]. */
static inline void score4(__global const float *const *q, __global const uchar *k, const long *at, int dim, float scale,
                          float *scores) {
  float16 s[16];
  for (int i = 0; i < 16; i++) s[i] = 0;
  for (int i = 0; i < dim; i += 16) {
    float16 key[4];
    for (int j = 0; j < 4; j++) {
      if (i + 16 <= dim) {
        key[j] = elements(k, at[j] + i);
      } else {
        float values[16] = {0};
        for (int c = 0; i + c < dim; c++) values[c] = element(k, at[j] + i + c);
        key[j] = vload16(0, values);
      }
    }
    for (int r = 0; r < 4; r++) {
      float16 query = take(q[r] + i, dim - i);
      for (int j = 0; j < 4; j++) s[4 * r + j] = multiply_add(query, key[j], s[4 * r + j]);
    }
  }
  for (int r = 0; r < 4; r++) {
    vstore4(fold4(s[4 * r], s[4 * r + 1], s[4 * r + 2], s[4 * r + 3]) * scale, 0, scores + r * SPAN);
  }
}

/* Row r's scores [begin, end) of a span become shares; the others 0. */
static inline void soften(float *scores, int begin, int end, float *top, float *total, float *fade) {
  float most = *top;
  for (int j = begin; j < end; j++) most = fmax(most, scores[j]);
  for (int j = 0; j < SPAN; j++) scores[j] = j >= begin && j < end ? scores[j] - most : -INFINITY;
  float16 first = exponential(vload16(0, scores)), second = exponential(vload16(1, scores));
  vstore16(first, 0, scores);
  vstore16(second, 1, scores);
  *fade = exponential1(*top - most);
  *total = *total * *fade + fold(first + second);
  *top = most;
}

/* out += sum over j in [begin, end) of share[j] * value[j], sixteen columns at a time. */
static inline void mix(float *const share, __global const uchar *v, const long *at, int begin, int end, int dim,
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
  for (; i + 16 <= dim; i += 16) {
    float16 a = vload16(0, out + i);
    for (int j = begin; j < end; j++) a = multiply_add((float16)(share[j]), elements(v, at[j] + i), a);
    vstore16(a, 0, out + i);
  }
  for (; i < dim; i++) {
    for (int j = begin; j < end; j++) out[i] = multiply_add(share[j], element(v, at[j] + i), out[i]);
  }
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
    int live = min(SPAN, end - at);
    for (int j = 0; j < SPAN; j++) {
      place[j] = td_kv_element(td_kv_slot(table, min(at + j, end - 1), block_tokens), kv_head, kv_heads, dim);
    }
    for (int j = 0; j < live; j += 4) score4(q, BYTES(k_cache), place + j, dim, scale, scores + j);
    for (int r = 0; r < rows; r++) {
      int from = max(0, td_visible_begin(position + r, window) - at);
      int until = min(live, td_visible_end(position + r) - at);
      if (from >= until) continue;
      soften(scores + r * SPAN, from, until, &top[r], &total[r], &fade);
      multiply(to + r * stride, fade, dim);
      mix(scores + r * SPAN, BYTES(v_cache), place, from, until, dim, to + r * stride);
    }
  }
  for (int r = 0; r < rows; r++) multiply(to + r * stride, 1.0f / total[r], dim);
}
