/* SPDX-License-Identifier: Apache-2.0
 *
 * Products with a weight matrix on processors. A work-item computes ROWS weight rows times up to TOKENS tokens, in
 * tiles of four by four whose sums stay in registers. Rows that are not float32 are expanded CHUNK values at a time
 * into private memory when several tokens share them. Whatever the tile, an output's sum is that of fold (form.cl).
 */
#define TILE 4
#define LANES 16

/* One weight row times one token. */
static inline float16 one_row(__global const uchar *w, __global const float *x, int k) {
  float16 s = 0;
#if WEIGHT_BLOCK == 1
  int i = 0;
  for (; i + LANES <= k; i += LANES) s = multiply_add(fetch(w, i), vload16(0, x + i), s);
  if (i < k) s = multiply_add(fetch_last(w, i, k - i), load_last(x + i, k - i), s);
#else
  float16 first, second;
  for (int i = 0; i < k; i += WEIGHT_BLOCK, w += OF_WEIGHT(TD_BLOCK_BYTES_)) {
#pragma unroll
    for (int at = 0; at < WEIGHT_BLOCK; at += 2 * LANES) {
      block_pair(w, at, &first, &second);
      s = multiply_add(first, vload16(0, x + i + at), s);
      s = multiply_add(second, vload16(0, x + i + at + LANES), s);
    }
  }
#endif
  return s;
}
/* Four weight rows times one token. */
static inline float4 one_token(__global const uchar *const *w, __global const float *x, int k) {
  return fold4(one_row(w[0], x, k), one_row(w[1], x, k), one_row(w[2], x, k), one_row(w[3], x, k));
}

/* The sums of a tile: s[4 * row + token]. Macros, so that every index is a literal and s stays in registers. */
#define ADD_ROW(r, v)                                 \
  do {                                                \
    s[4 * r] = multiply_add(v, x0, s[4 * r]);         \
    s[4 * r + 1] = multiply_add(v, x1, s[4 * r + 1]); \
    s[4 * r + 2] = multiply_add(v, x2, s[4 * r + 2]); \
    s[4 * r + 3] = multiply_add(v, x3, s[4 * r + 3]); \
  } while (0)
#define ADD_TILE(W, X)                                         \
  do {                                                         \
    float16 x0 = X(0), x1 = X(1), x2 = X(2), x3 = X(3), value; \
    value = W(0);                                              \
    ADD_ROW(0, value);                                         \
    value = W(1);                                              \
    ADD_ROW(1, value);                                         \
    value = W(2);                                              \
    ADD_ROW(2, value);                                         \
    value = W(3);                                              \
    ADD_ROW(3, value);                                         \
  } while (0)
#define X_FULL(t) vload16(0, x[t] + i)
#define X_LAST(t) load_last(x[t] + i, end - i)

/* What a work-item has to do: tokens [begin, end) of a list, or of all (list NULL), with weight rows from w on. */
struct job {
  __global const uchar *weight;
  __global const float *in;
  __global float *out;
  __global const int *list;
  int begin, end, row, rows, n, k, in_cols, used;
};

static inline int token_of(const struct job *job, int t) {
  int i = min(t, job->end - 1);
  return job->list ? job->list[i] : i;
}
static inline void inputs(const struct job *job, int t, __global const float **x) {
  for (int j = 0; j < TILE; j++) x[j] = input_of(job->in, token_of(job, t + j), job->in_cols, job->k, job->used);
}
static inline void keep(const struct job *job, int t, int row, float4 y) {
  __global float *to = job->out + token_of(job, t) * (long)job->n + row;
  int left = job->rows - row;
  if (left >= 4) {
    vstore4(y, 0, to);
  } else {
    to[0] = y.x;
    if (left > 1) to[1] = y.y;
    if (left > 2) to[2] = y.z;
  }
}

#if WEIGHT_IS_F32
static inline void tiles(const struct job *job, int row, __global const uchar *const *w) {
  int end = job->k;
  for (int t = job->begin; t < job->end; t += TILE) {
    __global const float *x[TILE];
    inputs(job, t, x);
    float16 s[16];
    for (int j = 0; j < 16; j++) s[j] = 0;
    int i = 0;
#define W_FULL(r) fetch(w[r], i)
#define W_LAST(r) fetch_last(w[r], i, end - i)
    for (; i + LANES <= end; i += LANES) ADD_TILE(W_FULL, X_FULL);
    if (i < end) ADD_TILE(W_LAST, X_LAST);
    for (int j = 0; j < TILE && t + j < job->end; j++)
      keep(job, t + j, row, fold4(s[j], s[j + 4], s[j + 8], s[j + 12]));
  }
}
#else
#define CHUNK 1024

/* Values [begin, end) of a row; what lies behind them up to a multiple of LANES is zero. */
static inline void expand(__global const uchar *w, int begin, int end, float *to) {
#if WEIGHT_BLOCK == 1
  for (int i = begin; i < end; i += LANES, to += LANES) {
    vstore16(end - i < LANES ? fetch_last(w, i, end - i) : fetch(w, i), 0, to);
  }
#else
  float16 first, second;
  w += row_bytes(begin);
  for (int i = begin; i < end; i += WEIGHT_BLOCK, w += OF_WEIGHT(TD_BLOCK_BYTES_)) {
#pragma unroll
    for (int at = 0; at < WEIGHT_BLOCK; at += 2 * LANES, to += 2 * LANES) {
      block_pair(w, at, &first, &second);
      vstore16(first, 0, to);
      vstore16(second, 1, to);
    }
  }
#endif
}

static inline void tiles(const struct job *job, int row, __global const uchar *const *w) {
  float expanded[TILE * CHUNK];
  float16 sums[TILE * TOKENS];
  for (int from = 0; from < job->k; from += CHUNK) {
    int end = min(job->k, from + CHUNK);
    for (int r = 0; r < TILE; r++) expand(w[r], from, end, expanded + r * CHUNK);
    for (int t = job->begin; t < job->end; t += TILE) {
      __global const float *x[TILE];
      inputs(job, t, x);
      float16 s[16];
      for (int j = 0; j < 16; j++) s[j] = from ? sums[(t - job->begin) * 4 + j] : 0;
      int i = from;
#define W_CHUNK(r) vload16(0, expanded + r * CHUNK + i - from)
      for (; i + LANES <= end; i += LANES) ADD_TILE(W_CHUNK, X_FULL);
      if (i < end) ADD_TILE(W_CHUNK, X_LAST);
      for (int j = 0; j < 16; j++) sums[(t - job->begin) * 4 + j] = s[j];
    }
  }
  for (int t = job->begin; t < job->end; t++) {
    const float16 *s = sums + (t - job->begin) / 4 * 16 + (t - job->begin) % 4;
    keep(job, t, row, fold4(s[0], s[4], s[8], s[12]));
  }
}
#endif

static inline void run_job(const struct job *job) {
  int last = min(job->n, job->row + ROWS);
  for (int row = job->row; row < last; row += TILE) {
    __global const uchar *w[TILE];
    for (int j = 0; j < TILE; j++) w[j] = job->weight + min(row + j, job->n - 1) * row_bytes(job->k);
    if (job->end - job->begin > 1) {
      tiles(job, row, w);
    } else {
      int token = token_of(job, job->begin);
      keep(job, job->begin, row, one_token(w, input_of(job->in, token, job->in_cols, job->k, job->used), job->k));
    }
  }
}

/* Item: (block of weight rows, unit). used 0: unit = block of tokens. Else tokens are (row, slot) pairs of experts, and
 * experts 0: unit = pair; experts > 0: unit = expert, its pairs from order (order_pairs). */
__kernel ONE_ALONE void matmul(BUFFER(weight), BUFFER(in), OUTPUT(out), BUFFER(routed), BUFFER(order), int n, int k,
                               int tokens, int in_cols, int used, int experts) {
  int unit = get_global_id(1), expert = 0, begin = unit * TOKENS, end = min(tokens, begin + TOKENS);
  struct job job = {BYTES(weight), FLOATS(in), FLOATS_OUT(out), 0, 0, 0, get_global_id(0) * ROWS, n, n, k,
                    in_cols,       used};
  if (experts > 0) {
    expert = unit;
    job.list = INTS(order) + experts + 1;
    begin = INTS(order)[unit];
    end = INTS(order)[unit + 1];
  } else if (used > 0) {
    expert = td_routed_id(FLOATS(routed) + unit / used * 2L * used, unit % used);
    begin = unit;
    end = unit + 1;
  }
  job.weight += td_expert_row(expert, n, 0) * row_bytes(k);
  for (job.begin = begin; job.begin < end; job.begin += TOKENS) {
    job.end = min(end, job.begin + TOKENS);
    run_job(&job);
  }
}
