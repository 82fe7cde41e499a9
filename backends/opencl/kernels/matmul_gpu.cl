/* SPDX-License-Identifier: Apache-2.0
 *
 * Products with a weight matrix on devices with many lanes. A sum is made of segments of SEGMENT elements, each added
 * up in order, then the segments in order: so one work-item per output (matmul, tiles through local memory) and one
 * item per segment (few) come to the same bits.
 */
#define SEGMENT 32

/* Sixteen values of a weight row, zeros behind its end. */
static inline float16 fetch_within(__global const uchar *row, int i, int k) {
  if (i >= k) return 0;
#if WEIGHT_BLOCK == 1
  if (i + 16 > k) return fetch_last(row, i, k - i);
#endif
  return fetch(row, i);
}
static inline float16 take_within(__global const float *x, int i, int k) {
  if (i >= k) return 0;
  return i + 16 > k ? load_last(x + i, k - i) : vload16(0, x + i);
}
static inline void spread(float16 value, __local float *to) {
  float values[16];
  vstore16(value, 0, values);
  for (int i = 0; i < 16; i++) to[i] = values[i];
}

/* Work-group: (SIDE weight rows, unit), 8 x 8 items. used 0: unit = SIDE tokens; else unit = expert, its pairs from
 * order. */
__kernel __attribute__((reqd_work_group_size(SIDE / MINE, SIDE / MINE, 1))) void matmul(BUFFER(weight), BUFFER(in),
                                                                                        OUTPUT(out), BUFFER(order),
                                                                                        int n, int k, int tokens,
                                                                                        int in_cols, int used,
                                                                                        int experts) {
  __local float w[SIDE * (SEGMENT + 1)], x[SIDE * (SEGMENT + 1)];
  int row0 = get_group_id(0) * SIDE, unit = get_group_id(1), item = get_local_id(1) * (SIDE / MINE) + get_local_id(0);
  __global const int *list = used > 0 ? INTS(order) + experts + 1 : 0;
  int begin = used > 0 ? INTS(order)[unit] : unit * SIDE;
  int end = used > 0 ? INTS(order)[unit + 1] : min(tokens, begin + SIDE);
  int loads = item / 2, piece = item % 2 * 16; /* the row (token) and half of a segment that this item brings */
  int expert = used > 0 ? unit : 0;
  __global const uchar *from = BYTES(weight) + td_expert_row(expert, n, min(row0 + loads, n - 1)) * row_bytes(k);
  for (; begin < end; begin += SIDE) {
    int mine = min(begin + loads, end - 1);
    __global const float *in_row = input_of(FLOATS(in), list ? list[mine] : mine, in_cols, k, used);
    float sums[MINE * MINE] = {0};
    for (int i = 0; i < k; i += SEGMENT) {
      barrier(CLK_LOCAL_MEM_FENCE);
      spread(fetch_within(from, i + piece, k), w + loads * (SEGMENT + 1) + piece);
      spread(take_within(in_row, i + piece, k), x + loads * (SEGMENT + 1) + piece);
      barrier(CLK_LOCAL_MEM_FENCE);
      float parts[MINE * MINE] = {0};
      for (int j = 0; j < SEGMENT; j++) {
        for (int r = 0; r < MINE; r++) {
          float value = w[(get_local_id(0) * MINE + r) * (SEGMENT + 1) + j];
          for (int t = 0; t < MINE; t++) {
            parts[r * MINE + t] =
                multiply_add(value, x[(get_local_id(1) * MINE + t) * (SEGMENT + 1) + j], parts[r * MINE + t]);
          }
        }
      }
      for (int j = 0; j < MINE * MINE; j++) sums[j] += parts[j];
    }
    for (int t = 0; t < MINE; t++) {
      int token = begin + (int)get_local_id(1) * MINE + t, row = row0 + (int)get_local_id(0) * MINE;
      if (token >= end) continue;
      __global float *to = FLOATS_OUT(out) + (list ? list[token] : token) * (long)n;
      for (int r = 0; r < MINE && row + r < n; r++) to[row + r] = sums[r * MINE + t];
    }
  }
}

/* Work-group: (FEW_ROWS weight rows, token or pair), GROUP items, each a segment at a time. */
__kernel ONE_ITEM void few(BUFFER(weight), BUFFER(in), OUTPUT(out), BUFFER(routed), int n, int k, int in_cols,
                           int used) {
  __local float parts[FEW_ROWS * (GROUP + 1)];
  int row0 = get_group_id(0) * FEW_ROWS, token = get_global_id(1), lane = get_local_id(0);
  int expert = used > 0 ? td_routed_id(FLOATS(routed) + token / used * 2L * used, token % used) : 0;
  __global const float *x = input_of(FLOATS(in), token, in_cols, k, used);
  __global const uchar *w = BYTES(weight) + td_expert_row(expert, n, row0) * row_bytes(k);
  float sum = 0;
  for (int i = 0; i < k; i += GROUP * SEGMENT) {
    int at = i + lane * SEGMENT, segments = min(GROUP, (k - i + SEGMENT - 1) / SEGMENT);
    float a[SEGMENT], b[SEGMENT];
    vstore16(take_within(x, at, k), 0, b);
    vstore16(take_within(x, at + 16, k), 1, b);
    for (int r = 0; r < min(FEW_ROWS, n - row0); r++) {
      vstore16(fetch_within(w + r * row_bytes(k), at, k), 0, a);
      vstore16(fetch_within(w + r * row_bytes(k), at + 16, k), 1, a);
      float part = 0;
      for (int j = 0; j < SEGMENT; j++) part = multiply_add(a[j], b[j], part);
      parts[r * (GROUP + 1) + lane] = part;
    }
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int s = 0; s < segments && lane < FEW_ROWS; s++) sum += parts[lane * (GROUP + 1) + s];
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (lane < FEW_ROWS && row0 + lane < n) FLOATS_OUT(out)[token * (long)n + row0 + lane] = sum;
}
