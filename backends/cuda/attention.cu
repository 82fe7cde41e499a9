/* SPDX-License-Identifier: Apache-2.0
 *
 * Exact attention over the paged cache: one block, up to ROWS query rows that read the same keys, CUDA_SPLIT positions
 * at a time. A score is summed over the head's elements in ascending order by one thread; a split's share over its
 * positions in ascending order; a total over 32 lanes, then folded. So a row's bits depend on neither its neighbours
 * nor on which of the kernels ran.
 */
#include "attention.cuh"

enum {
  ROWS = CUDA_QUERY_TILE,
  THREADS = CUDA_ATTENTION_THREADS,
  WARPS = THREADS / CUDA_LANES,
  ROW_STEP = THREADS / CUDA_SPLIT /* rows whose scores are summed side by side */
};

struct attention_shared {
  int64_t slots[CUDA_SPLIT];
  struct span visible[ROWS];
  float maximum[ROWS], total[ROWS];         /* of this split */
  float sum_maximum[ROWS], sum_total[ROWS]; /* of the splits so far */
  struct merge_weights weights[ROWS];
};

/* One block's work; rows beyond `rows` are computed on zeros and dropped. */
struct job {
  struct attention_shared *shared;
  float *queries; /* [ROWS][quads * 4] */
  float *tile;    /* [CUDA_SPLIT][stride]: keys, then values */
  float *scores;  /* [ROWS][CUDA_SPLIT] */
  const td_i32 *blocks;
  int rows, kv_head, quads, stride; /* quads: of a head's elements, the last one filled with zeros */
  int teams, team, quad; /* as many threads as a head has quads are a team: a row (or position) is one team's. The last
                            threads may have none: team == teams */
  struct span all;       /* what any of the rows sees */
};

CUDA_FN void lay_out(struct job &job, int head_dim, unsigned char *memory) {
  job.quads = (head_dim + 3) / 4;
  job.stride = cuda_attention_stride(head_dim);
  job.queries = reinterpret_cast<float *>(memory);
  job.tile = job.queries + ROWS * job.quads * 4;
  job.scores = job.tile + CUDA_SPLIT * job.stride;
  job.teams = THREADS / job.quads;
  job.team = static_cast<int>(threadIdx.x) / job.quads;
  job.quad = static_cast<int>(threadIdx.x) % job.quads;
}

/* ---- into shared memory ---- */

CUDA_FN float4 quad_of_floats(const float *from, int first, int head_dim) {
  if (head_dim % 4 == 0) return load_float4(from + first);
  float4 out = make_float4(from[first], 0.0f, 0.0f, 0.0f);
  if (first + 1 < head_dim) out.y = from[first + 1];
  if (first + 2 < head_dim) out.z = from[first + 2];
  if (first + 3 < head_dim) out.w = from[first + 3];
  return out;
}
CUDA_FN float4 quad_of_halves(const td_u16 *from, int first, int head_dim) {
  if (head_dim % 4 == 0) {
    uint2 words = *reinterpret_cast<const uint2 *>(from + first);
    return make_float4(low_half(words.x), high_half(words.x), low_half(words.y), high_half(words.y));
  }
  float4 out = make_float4(half_to_float(from[first]), 0.0f, 0.0f, 0.0f);
  if (first + 1 < head_dim) out.y = half_to_float(from[first + 1]);
  if (first + 2 < head_dim) out.z = half_to_float(from[first + 2]);
  if (first + 3 < head_dim) out.w = half_to_float(from[first + 3]);
  return out;
}

CUDA_FN void store_quad(float *to, float4 value) {
  *reinterpret_cast<float4 *>(to) = value;
}

/* The keys or values of the split's positions; those that no row sees are zeros, whatever the pool holds there. */
CUDA_FN void stage_tile(const struct job &job, const struct cuda_kv &kv, cuda_ptr pool, int begin) {
  const float *floats = pointer<const float>(pool);
  const td_u16 *halves = pointer<const td_u16>(pool);
  if (job.team == job.teams) return;
  CUDA_UNROLL_8
  for (int at = job.team; at < CUDA_SPLIT; at += job.teams) {
    float4 value = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (begin + at >= job.all.begin && begin + at < job.all.end) {
      int64_t element = td_kv_element(job.shared->slots[at], job.kv_head, kv.kv_heads, kv.head_dim);
      value = kv.half ? quad_of_halves(halves + element, job.quad * 4, kv.head_dim)
                      : quad_of_floats(floats + element, job.quad * 4, kv.head_dim);
    }
    store_quad(job.tile + at * job.stride + job.quad * 4, value);
  }
}

CUDA_FN void stage_slots(const struct job &job, const struct cuda_kv &kv, int begin) {
  for (int at = static_cast<int>(threadIdx.x); at < CUDA_SPLIT; at += THREADS) {
    bool seen = begin + at >= job.all.begin && begin + at < job.all.end;
    job.shared->slots[at] = seen ? td_kv_slot(job.blocks, begin + at, kv.block_tokens) : 0;
  }
}

/* `rows` rows of queries, `step` elements apart; those beyond the last one are zeros. */
CUDA_FN void stage_queries(const struct job &job, int rows, const float *from, int64_t step, int head_dim) {
  if (job.team == job.teams) return;
  for (int r = job.team; r < rows; r += job.teams) {
    float4 value = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    if (r < job.rows) value = quad_of_floats(from + r * step, job.quad * 4, head_dim);
    store_quad(job.queries + (r * job.quads + job.quad) * 4, value);
  }
}

/* ---- the steps of a split ---- */

/* A thread has one position and PER_THREAD rows. */
template <int PER_THREAD>
CUDA_FN void score(const struct job &job, float scale) {
  int at = static_cast<int>(threadIdx.x) % CUDA_SPLIT, first = static_cast<int>(threadIdx.x) / CUDA_SPLIT;
  float sums[PER_THREAD] = {};
  const float *key = job.tile + at * job.stride;
  for (int quad = 0; quad < job.quads; quad++) {
    float4 k = load_float4(key + quad * 4);
    CUDA_UNROLL
    for (int i = 0; i < PER_THREAD; i++) {
      float4 q = load_float4(job.queries + ((first + i * ROW_STEP) * job.quads + quad) * 4);
      sums[i] = fmaf(q.x, k.x, sums[i]);
      sums[i] = fmaf(q.y, k.y, sums[i]);
      sums[i] = fmaf(q.z, k.z, sums[i]);
      sums[i] = fmaf(q.w, k.w, sums[i]);
    }
  }
  CUDA_UNROLL
  for (int i = 0; i < PER_THREAD; i++) job.scores[(first + i * ROW_STEP) * CUDA_SPLIT + at] = sums[i] * scale;
}

/* Scores of a row become their shares of its maximum; a warp has every WARPS-th row, a lane positions l and l + 32. */
CUDA_FN void soften(const struct job &job, int begin) {
  static_assert(CUDA_SPLIT == 2 * CUDA_LANES, "a lane has two positions");
  for (int r = warp_index(); r < job.rows; r += WARPS) {
    struct span seen = job.shared->visible[r];
    float *row = job.scores + r * CUDA_SPLIT, value[2], maximum = minus_infinity(), total = 0.0f;
    bool visible[2];
    CUDA_UNROLL
    for (int i = 0; i < 2; i++) {
      int at = lane_index() + i * CUDA_LANES;
      visible[i] = begin + at >= seen.begin && begin + at < seen.end;
      value[i] = row[at];
      if (visible[i]) maximum = fmaxf(maximum, value[i]);
    }
    maximum = largest_of_warp(maximum);
    CUDA_UNROLL
    for (int i = 0; i < 2; i++) {
      value[i] = visible[i] ? exponential(value[i] - maximum) : 0.0f;
      total += value[i];
      row[lane_index() + i * CUDA_LANES] = value[i];
    }
    total = sum_of_warp(total);
    if (lane_index() == 0) {
      job.shared->maximum[r] = maximum;
      job.shared->total[r] = total;
    }
  }
}

/* A team's rows: team, team + teams, ... ; a thread has its quad of ITEMS of them. */
template <int ITEMS>
struct outputs {
  float4 of[ITEMS];
};
/* -1: the thread has no such row. */
CUDA_FN int row_of(const struct job &job, int item) {
  int r = job.team + item * job.teams;
  return job.team < job.teams && r < job.rows ? r : -1;
}

CUDA_FN float4 add_scaled(float4 sum, float p, float4 v) {
  return make_float4(fmaf(p, v.x, sum.x), fmaf(p, v.y, sum.y), fmaf(p, v.z, sum.z), fmaf(p, v.w, sum.w));
}

CUDA_FN bool meets(struct span seen, int begin) {
  return seen.begin < begin + CUDA_SPLIT && seen.end > begin;
}

/* Adds the values at split places [first, end) to each row that sees them; all do if MASKED is not set. */
template <int ITEMS, bool MASKED>
CUDA_FN void mix_range(const struct job &job, const int rows[ITEMS], int begin, int first, int end,
                       struct outputs<ITEMS> &out) {
  const float *values = job.tile + job.quad * 4;
  CUDA_UNROLL_4
  for (int at = first; at < end; at++) {
    float4 value = load_float4(values + at * job.stride);
    CUDA_UNROLL
    for (int i = 0; i < ITEMS; i++) {
      struct span seen = job.shared->visible[rows[i]];
      if (MASKED && (begin + at < seen.begin || begin + at >= seen.end)) continue;
      out.of[i] = add_scaled(out.of[i], job.scores[rows[i] * CUDA_SPLIT + at], value);
    }
  }
}

/* The values of the split's positions, ascending: first those that not all rows see, then those that all do. */
template <int ITEMS>
CUDA_FN void mix(const struct job &job, int begin, struct outputs<ITEMS> &out) {
  int rows[ITEMS];
  CUDA_UNROLL
  for (int i = 0; i < ITEMS; i++) {
    rows[i] = row_of(job, i) < 0 ? 0 : row_of(job, i);
    out.of[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  }
  int first = job.shared->visible[job.rows - 1].begin - begin, end = job.shared->visible[0].end - begin;
  first = first < 0 ? 0 : first > CUDA_SPLIT ? CUDA_SPLIT : first;
  end = end > CUDA_SPLIT ? CUDA_SPLIT : end < first ? first : end;
  mix_range<ITEMS, true>(job, rows, begin, 0, first, out);
  mix_range<ITEMS, false>(job, rows, begin, first, end, out);
  mix_range<ITEMS, true>(job, rows, begin, end, CUDA_SPLIT, out);
}

/* A split from its keys to its share: shared->maximum and total of each row, and the thread's outputs. */
template <int PER_THREAD, int ITEMS>
CUDA_FN void split_share(const struct job &job, const struct cuda_attention_args &args, int split,
                         struct outputs<ITEMS> &out) {
  int begin = split * CUDA_SPLIT;
  stage_slots(job, args.kv, begin);
  __syncthreads(); /* also: queries and spans are there, and what was in the tile is used up */
  stage_tile(job, args.kv, args.kv.k, begin);
  __syncthreads();
  score<PER_THREAD>(job, args.scale);
  __syncthreads();
  soften(job, begin);
  stage_tile(job, args.kv, args.kv.v, begin);
  __syncthreads();
  mix<ITEMS>(job, begin, out);
}

/* ---- decode: one block per (row, KV head, split); the query heads of the KV head are the block's rows ---- */

template <int PER_THREAD, int ITEMS>
CUDA_FN void decode_rows(struct job &job, const struct cuda_attention_args &args, const float *query, int split,
                         float *partial) {
  struct outputs<ITEMS> out;
  int head_dim = args.kv.head_dim;
  int64_t step = static_cast<int64_t>(args.max_splits) * (head_dim + 2); /* from head to head */
  stage_queries(job, PER_THREAD * ROW_STEP, query, head_dim, head_dim);
  split_share<PER_THREAD, ITEMS>(job, args, split, out);
  CUDA_UNROLL
  for (int i = 0; i < ITEMS; i++) {
    int r = row_of(job, i), first = job.quad * 4;
    if (r < 0) continue;
    float *to = partial + r * step, value[4] = {out.of[i].x, out.of[i].y, out.of[i].z, out.of[i].w};
    CUDA_UNROLL
    for (int e = 0; e < 4; e++) {
      if (first + e < head_dim) to[first + e] = value[e];
    }
  }
  int r = static_cast<int>(threadIdx.x);
  if (r < job.rows) {
    partial[r * step + head_dim] = job.shared->maximum[r];
    partial[r * step + head_dim + 1] = job.shared->total[r];
  }
}

CUDA_KERNEL(cuda_attention_decode, cuda_attention_args, CUDA_ATTENTION_THREADS, 4) {
  CUDA_SHARED(attention_shared, shared);
  CUDA_DYNAMIC_SHARED(memory, cuda_attention_shared(args.kv.head_dim));
  int row = pointer<const int32_t>(args.rows)[blockIdx.x], split = static_cast<int>(blockIdx.z);
  struct span seen = visible_to(pointer<const int32_t>(args.batch.positions)[row], args.window);
  if (!meets(seen, split * CUDA_SPLIT)) return;
  struct cuda_seq seq =
      pointer<const struct cuda_seq>(args.batch.seqs)[pointer<const int32_t>(args.batch.row_seq)[row]];
  int head_dim = args.kv.head_dim, group = args.heads / args.kv.kv_heads;
  struct job job;
  lay_out(job, head_dim, memory);
  job.shared = &shared;
  job.blocks = pointer<const td_i32>(args.batch.blocks) + seq.first_block;
  job.kv_head = static_cast<int>(blockIdx.y);
  job.all = seen;
  for (int done = 0; done < group; done += ROWS) {
    int head = job.kv_head * group + done;
    job.rows = group - done < ROWS ? group - done : ROWS;
    const float *query = pointer<const float>(args.q) + (static_cast<int64_t>(row) * args.heads + head) * head_dim;
    int64_t share = (static_cast<int64_t>(blockIdx.x) * args.heads + head) * args.max_splits + split;
    float *partial = pointer<float>(args.partial) + share * (head_dim + 2);
    __syncthreads();
    if (threadIdx.x < ROWS) shared.visible[threadIdx.x] = seen;
    if (job.rows <= 4 && head_dim <= 128)
      decode_rows<2, 1>(job, args, query, split, partial);
    else if (job.rows <= 4)
      decode_rows<2, 2>(job, args, query, split, partial);
    else if (head_dim <= 128)
      decode_rows<8, 4>(job, args, query, split, partial);
    else
      decode_rows<8, 8>(job, args, query, split, partial);
  }
}

/* ---- merge: one block per (row, head) ---- */

struct merge_shared {
  float maximum[THREADS], total[THREADS];
  struct merge_weights weights[THREADS];
};

/* Takes `count` shares into account, thread by thread: the running maximum, then the weights. Returns the maximum. */
CUDA_FN float weigh_shares(struct merge_shared &shared, const float *shares, int64_t stride, int count, float before) {
  int mine = static_cast<int>(threadIdx.x);
  __syncthreads();
  if (mine < count) {
    shared.maximum[mine] = shares[mine * stride];
    shared.total[mine] = shares[mine * stride + 1];
  }
  __syncthreads();
  float maximum = before, last = before;
  for (int i = 0; i <= mine && i < count; i++) {
    last = maximum;
    maximum = fmaxf(maximum, shared.maximum[i]);
  }
  if (mine < count) shared.weights[mine] = weigh(last, shared.maximum[mine], maximum);
  for (int i = mine + 1; i < count; i++) maximum = fmaxf(maximum, shared.maximum[i]);
  __syncthreads();
  return maximum;
}

CUDA_KERNEL(cuda_attention_merge, cuda_attention_args, CUDA_ATTENTION_THREADS, 8) {
  CUDA_SHARED(merge_shared, shared);
  int row = pointer<const int32_t>(args.rows)[blockIdx.x], head_dim = args.kv.head_dim;
  struct span seen = visible_to(pointer<const int32_t>(args.batch.positions)[row], args.window);
  int64_t head = static_cast<int64_t>(blockIdx.x) * args.heads + blockIdx.y, stride = head_dim + 2;
  const float *shares = pointer<const float>(args.partial) + head * args.max_splits * stride;
  float *out = pointer<float>(args.out) + (static_cast<int64_t>(row) * args.heads + blockIdx.y) * head_dim;
  int first = seen.begin / CUDA_SPLIT, end = (seen.end - 1) / CUDA_SPLIT + 1;
  float maximum = minus_infinity(), total = 0.0f, sums[2] = {}; /* elements threadIdx.x and threadIdx.x + THREADS */
  for (int split = first; split < end; split += THREADS) {
    int count = end - split < THREADS ? end - split : THREADS;
    const float *from = shares + split * stride;
    maximum = weigh_shares(shared, from + head_dim, stride, count, maximum);
    for (int i = 0; i < count; i++) {
      total = merged(total, shared.total[i], shared.weights[i]);
      CUDA_UNROLL
      for (int e = 0; e < 2; e++) {
        int at = static_cast<int>(threadIdx.x) + e * THREADS;
        if (at < head_dim) sums[e] = merged(sums[e], from[i * stride + at], shared.weights[i]);
      }
    }
  }
  CUDA_UNROLL
  for (int e = 0; e < 2; e++) {
    int at = static_cast<int>(threadIdx.x) + e * THREADS;
    if (at < head_dim) out[at] = sums[e] / total;
  }
}

/* ---- prefill: one block per (tile of rows, head), split after split ---- */

/* Joins the split's share to the rows' sums; rows that see nothing of it are left alone. */
template <int ITEMS>
CUDA_FN void join(const struct job &job, int begin, const struct outputs<ITEMS> &share, struct outputs<ITEMS> &sums) {
  struct attention_shared &shared = *job.shared;
  int mine = static_cast<int>(threadIdx.x);
  if (mine < job.rows && meets(shared.visible[mine], begin)) {
    float before = shared.sum_maximum[mine], maximum = fmaxf(before, shared.maximum[mine]);
    struct merge_weights weights = weigh(before, shared.maximum[mine], maximum);
    shared.weights[mine] = weights;
    shared.sum_maximum[mine] = maximum;
    shared.sum_total[mine] = merged(shared.sum_total[mine], shared.total[mine], weights);
  }
  __syncthreads();
  CUDA_UNROLL
  for (int i = 0; i < ITEMS; i++) {
    int r = row_of(job, i);
    if (r < 0 || !meets(shared.visible[r], begin)) continue;
    struct merge_weights weights = shared.weights[r];
    sums.of[i] =
        make_float4(merged(sums.of[i].x, share.of[i].x, weights), merged(sums.of[i].y, share.of[i].y, weights),
                    merged(sums.of[i].z, share.of[i].z, weights), merged(sums.of[i].w, share.of[i].w, weights));
  }
}

template <int ITEMS>
CUDA_FN void prefill_rows(const struct job &job, const struct cuda_attention_args &args, float *out) {
  struct outputs<ITEMS> sums = {}, share;
  for (int split = job.all.begin / CUDA_SPLIT; split * CUDA_SPLIT < job.all.end; split++) {
    split_share<ROWS / ROW_STEP, ITEMS>(job, args, split, share);
    join<ITEMS>(job, split * CUDA_SPLIT, share, sums);
  }
  int head_dim = args.kv.head_dim;
  CUDA_UNROLL
  for (int i = 0; i < ITEMS; i++) {
    int r = row_of(job, i), first = job.quad * 4;
    if (r < 0) continue;
    float value[4] = {sums.of[i].x, sums.of[i].y, sums.of[i].z, sums.of[i].w}, total = job.shared->sum_total[r];
    CUDA_UNROLL
    for (int e = 0; e < 4; e++) {
      if (first + e < head_dim) out[static_cast<int64_t>(r) * args.heads * head_dim + first + e] = value[e] / total;
    }
  }
}

CUDA_KERNEL(cuda_attention_prefill, cuda_attention_args, CUDA_ATTENTION_THREADS, 3) {
  CUDA_SHARED(attention_shared, shared);
  CUDA_DYNAMIC_SHARED(memory, cuda_attention_shared(args.kv.head_dim));
  struct cuda_tile tile = pointer<const struct cuda_tile>(args.tiles)[blockIdx.x];
  struct cuda_seq seq = pointer<const struct cuda_seq>(args.batch.seqs)[tile.seq];
  int head_dim = args.kv.head_dim, head = static_cast<int>(blockIdx.y), position = seq.past + tile.first;
  struct job job;
  lay_out(job, head_dim, memory);
  job.shared = &shared;
  job.blocks = pointer<const td_i32>(args.batch.blocks) + seq.first_block;
  job.rows = tile.rows;
  job.kv_head = td_kv_head(head, args.heads, args.kv.kv_heads);
  job.all = {visible_to(position, args.window).begin, visible_to(position + tile.rows - 1, args.window).end};
  int64_t first = (static_cast<int64_t>(seq.first_row + tile.first) * args.heads + head) * head_dim;
  const float *query = pointer<const float>(args.q) + first;
  stage_queries(job, ROWS, query, static_cast<int64_t>(args.heads) * head_dim, head_dim);
  if (threadIdx.x < ROWS) {
    int r = static_cast<int>(threadIdx.x);
    shared.visible[r] = visible_to(position + r, args.window);
    shared.sum_maximum[r] = minus_infinity();
    shared.sum_total[r] = 0.0f;
  }
  float *out = pointer<float>(args.out) + first;
  if (head_dim <= 64)
    prefill_rows<2>(job, args, out);
  else if (head_dim <= 128)
    prefill_rows<4>(job, args, out);
  else
    prefill_rows<8>(job, args, out);
}
