/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention on devices with many lanes. A work-group has one (head, row); positions are taken GROUP at a time, from
 * multiples of GROUP on: each item scores one of them, then each adds up its share of the output's columns.
 */
static inline float reduce(__local float *parts, float mine, int largest) {
  int lane = get_local_id(0);
  barrier(CLK_LOCAL_MEM_FENCE);
  parts[lane] = mine;
  for (int half_of = GROUP / 2; half_of > 0; half_of /= 2) {
    barrier(CLK_LOCAL_MEM_FENCE);
    if (lane < half_of) {
      float other = parts[lane + half_of];
      parts[lane] = largest ? fmax(parts[lane], other) : parts[lane] + other;
    }
  }
  barrier(CLK_LOCAL_MEM_FENCE);
  return parts[0];
}

__kernel ONE_ITEM void attention(BUFFER(in), BUFFER(k_cache), BUFFER(v_cache), OUTPUT(out), BUFFER(positions),
                                 BUFFER(tables), BUFFER(blocks), int heads, int kv_heads, int dim, int block_tokens,
                                 int window, float scale) {
  __local float parts[GROUP], shares[GROUP];
  __local long places[GROUP];
  int lane = get_local_id(0), head = get_global_id(1), row = get_global_id(2),
      kv_head = td_kv_head(head, heads, kv_heads);
  int position = INTS(positions)[row], begin = td_visible_begin(position, window), end = td_visible_end(position);
  __global const int *table = INTS(blocks) + INTS(tables)[row];
  long row_at = (row * (long)heads + head) * dim;
  __global const float *q = FLOATS(in) + row_at;
  __global float *to = FLOATS_OUT(out) + row_at; /* an item reads and writes its own columns only */
  float top = -INFINITY, total = 0;
  for (int i = lane; i < dim; i += GROUP) to[i] = 0;
  for (int at = begin / GROUP * GROUP; at < end; at += GROUP) {
    int mine = at + lane, visible = mine >= begin && mine < end;
    float score = 0;
    long place = td_kv_element(td_kv_slot(table, clamp(mine, begin, end - 1), block_tokens), kv_head, kv_heads, dim);
    for (int i = 0; i < dim; i++) score = multiply_add(q[i], element(BYTES(k_cache), place + i), score);
    score = visible ? score * scale : -INFINITY;
    float most = fmax(top, reduce(parts, score, 1)), share = visible ? exponential1(score - most) : 0.0f;
    float fade = exponential1(top - most);
    total = total * fade + reduce(parts, share, 0);
    top = most;
    shares[lane] = share;
    places[lane] = place;
    barrier(CLK_LOCAL_MEM_FENCE);
    int from = max(begin - at, 0), until = min(end - at, GROUP);
    for (int i = lane; i < dim; i += GROUP) {
      float sum = to[i] * fade;
      for (int j = from; j < until; j++) sum = multiply_add(shares[j], element(BYTES(v_cache), places[j] + i), sum);
      to[i] = sum;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  for (int i = lane; i < dim; i += GROUP) to[i] *= 1.0f / total;
}
