/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of a prompt on tensor cores (inexact: halves in, float32 sums). One block takes up to CUDA_FAST_TILE rows
 * of one sequence and head over a cache of halves, four warps with sixteen rows each, CUDA_SPLIT positions at a time;
 * while scores are made, the values are on their way, and while values are mixed, the next keys.
 */
#include "attention.cuh"
#include "matrix.cuh"

enum { FAST_THREADS = CUDA_ATTENTION_THREADS, FAST_WARPS = FAST_THREADS / CUDA_LANES, WARP_ROWS = 16 };
static_assert(FAST_WARPS * WARP_ROWS == CUDA_FAST_TILE, "warps share the tile's rows");

struct fast_shared {
  int64_t slots[2][CUDA_SPLIT]; /* of this step's positions and of the next one's */
};

struct fast_job {
  struct fast_shared *shared;
  td_u16 *queries, *keys, *values; /* [CUDA_FAST_TILE] and [CUDA_SPLIT] rows of `stride` */
  const td_i32 *blocks;
  int head_dim, stride;        /* halves; an odd number of 16 bytes, so that eight rows lie in different banks */
  int kv_head, rows, position; /* of row 0 */
  int window;
  struct span all;
};

/* ---- into shared memory ---- */

/* Scaled, so that scores come out as exponents of two; rows beyond the last one are zeros. */
CUDA_FN void fast_queries(const struct fast_job &job, const float *from, int64_t step, float scale) {
  int pairs = job.head_dim / 2;
  for (int i = static_cast<int>(threadIdx.x); i < CUDA_FAST_TILE * pairs; i += FAST_THREADS) {
    int r = i / pairs, at = i % pairs * 2;
    unsigned pair = 0;
    if (r < job.rows) pair = pack_halves(from[r * step + at] * scale, from[r * step + at + 1] * scale);
    *reinterpret_cast<unsigned *>(job.queries + r * job.stride + at) = pair;
  }
}

CUDA_FN void fast_slots(const struct fast_job &job, int split, int block_tokens) {
  int at = static_cast<int>(threadIdx.x), position = split * CUDA_SPLIT + at;
  if (at >= CUDA_SPLIT) return;
  bool seen = position >= job.all.begin && position < job.all.end;
  job.shared->slots[split % 2][at] = seen ? td_kv_slot(job.blocks, position, block_tokens) : -1;
}

/* Starts the copies of a split's keys or values; positions that no row sees are zeros. */
CUDA_FN void fast_fetch(const struct fast_job &job, const struct cuda_kv &kv, cuda_ptr pool, td_u16 *to, int split) {
  const td_u16 *from = pointer<const td_u16>(pool);
  int chunks = job.head_dim / 8;
  for (int i = static_cast<int>(threadIdx.x); i < CUDA_SPLIT * chunks; i += FAST_THREADS) {
    int at = i / chunks, chunk = i % chunks;
    int64_t slot = job.shared->slots[split % 2][at];
    int64_t element = slot < 0 ? 0 : td_kv_element(slot, job.kv_head, kv.kv_heads, kv.head_dim) + chunk * 8;
    copy_16_behind(to + at * job.stride + chunk * 8, from + element, slot >= 0);
  }
  copies_commit();
}

/* ---- a warp's sixteen rows ---- */

enum { SCORE_TILES = CUDA_SPLIT / 8 };

/* What a lane holds: of rows g and g + 8, see matrix.cuh. DEPTH: sixteens of the head's elements, at most. */
template <int DEPTH>
struct fast_rows {
  float sums[2 * DEPTH][4];
  float maximum[2], total[2];
};

template <int DEPTH>
CUDA_FN void fast_scores(const struct fast_job &job, float scores[SCORE_TILES][4]) {
  int lane = lane_index();
  const td_u16 *query = job.queries + (warp_index() * WARP_ROWS + lane % 16) * job.stride + lane / 16 * 8;
  const td_u16 *key = job.keys + (lane % 8 + lane / 16 * 8) * job.stride + lane / 8 % 2 * 8;
  CUDA_UNROLL
  for (int depth = 0; depth < DEPTH; depth++) {
    if (depth * 16 >= job.head_dim) break;
    unsigned a[4], b[4];
    load_matrices(a, query + depth * 16);
    CUDA_UNROLL
    for (int tile = 0; tile < SCORE_TILES; tile += 2) {
      load_matrices(b, key + tile * 8 * job.stride + depth * 16);
      matrix_multiply(scores[tile], a, b);
      matrix_multiply(scores[tile + 1], a, b + 2);
    }
  }
}

/* Scores of positions that a row does not see become minus infinity. */
CUDA_FN void fast_mask(const struct fast_job &job, int begin, float scores[SCORE_TILES][4]) {
  int first = job.position + warp_index() * WARP_ROWS + lane_index() / 4;
  CUDA_UNROLL
  for (int half = 0; half < 2; half++) {
    struct span seen = visible_to(first + half * 8, job.window);
    CUDA_UNROLL
    for (int tile = 0; tile < SCORE_TILES; tile++) {
      CUDA_UNROLL
      for (int e = 0; e < 2; e++) {
        int at = begin + tile * 8 + lane_index() % 4 * 2 + e;
        if (at < seen.begin || at >= seen.end) scores[tile][half * 2 + e] = minus_infinity();
      }
    }
  }
}

/* Over the four lanes that share a row. */
CUDA_FN float largest_of_four(float value) {
  value = fmaxf(value, __shfl_xor_sync(all_lanes, value, 1));
  return fmaxf(value, __shfl_xor_sync(all_lanes, value, 2));
}
CUDA_FN float sum_of_four(float value) {
  value += __shfl_xor_sync(all_lanes, value, 1);
  return value + __shfl_xor_sync(all_lanes, value, 2);
}

/* Scores become shares of the rows' new maximum; what was summed before fades accordingly. */
template <int DEPTH>
CUDA_FN void fast_soften(struct fast_rows<DEPTH> &rows, float scores[SCORE_TILES][4]) {
  CUDA_UNROLL
  for (int half = 0; half < 2; half++) {
    float maximum = rows.maximum[half];
    CUDA_UNROLL
    for (int tile = 0; tile < SCORE_TILES; tile++) {
      maximum = fmaxf(maximum, fmaxf(scores[tile][half * 2], scores[tile][half * 2 + 1]));
    }
    maximum = largest_of_four(maximum);
    float base = maximum == minus_infinity() ? 0.0f : maximum; /* a row that has seen nothing yet */
    float fade = power_of_two(rows.maximum[half] - base), total = 0.0f;
    rows.maximum[half] = maximum;
    CUDA_UNROLL
    for (int tile = 0; tile < SCORE_TILES; tile++) {
      CUDA_UNROLL
      for (int e = half * 2; e < half * 2 + 2; e++) {
        scores[tile][e] = power_of_two(scores[tile][e] - base);
        total += scores[tile][e];
      }
    }
    rows.total[half] = rows.total[half] * fade + total;
    CUDA_UNROLL
    for (int tile = 0; tile < 2 * DEPTH; tile++) {
      rows.sums[tile][half * 2] *= fade;
      rows.sums[tile][half * 2 + 1] *= fade;
    }
  }
}

template <int DEPTH>
CUDA_FN void fast_mix(const struct fast_job &job, const float scores[SCORE_TILES][4], struct fast_rows<DEPTH> &rows) {
  int lane = lane_index();
  const td_u16 *value = job.values + lane % 16 * job.stride + lane / 16 * 8;
  CUDA_UNROLL
  for (int tile = 0; tile < SCORE_TILES; tile += 2) {
    const float *first = scores[tile], *second = scores[tile + 1];
    unsigned a[4] = {pack_halves(first[0], first[1]), pack_halves(first[2], first[3]),
                     pack_halves(second[0], second[1]), pack_halves(second[2], second[3])};
    CUDA_UNROLL
    for (int depth = 0; depth < DEPTH; depth++) {
      if (depth * 16 >= job.head_dim) break;
      unsigned b[4];
      load_transposed(b, value + tile * 8 * job.stride + depth * 16);
      matrix_multiply(rows.sums[2 * depth], a, b);
      matrix_multiply(rows.sums[2 * depth + 1], a, b + 2);
    }
  }
}

template <int DEPTH>
CUDA_FN void fast_store(const struct fast_job &job, struct fast_rows<DEPTH> &rows, float *out, int64_t step) {
  CUDA_UNROLL
  for (int half = 0; half < 2; half++) {
    float total = sum_of_four(rows.total[half]);
    int r = warp_index() * WARP_ROWS + lane_index() / 4 + half * 8;
    if (r >= job.rows) continue;
    CUDA_UNROLL
    for (int tile = 0; tile < 2 * DEPTH; tile++) {
      int at = tile * 8 + lane_index() % 4 * 2;
      if (tile * 8 >= job.head_dim) break;
      out[r * step + at] = rows.sums[tile][half * 2] / total;
      out[r * step + at + 1] = rows.sums[tile][half * 2 + 1] / total;
    }
  }
}

/* ---- the loop over splits ---- */

template <int DEPTH>
CUDA_FN void fast_attend(const struct fast_job &job, const struct cuda_attention_args &args, float *out, int64_t step) {
  struct fast_rows<DEPTH> rows = {};
  rows.maximum[0] = rows.maximum[1] = minus_infinity();
  int first = job.all.begin / CUDA_SPLIT, last = (job.all.end - 1) / CUDA_SPLIT;
  /* Splits in between are seen whole by every row. */
  int masked_before =
      job.window ? (visible_to(job.position + job.rows - 1, job.window).begin + CUDA_SPLIT - 1) / CUDA_SPLIT : 0;
  int masked_from = (job.position + 1) / CUDA_SPLIT;
  fast_slots(job, first, args.kv.block_tokens);
  __syncthreads();
  fast_fetch(job, args.kv, args.kv.k, job.keys, first);
  for (int split = first; split <= last; split++) {
    float scores[SCORE_TILES][4] = {};
    fast_fetch(job, args.kv, args.kv.v, job.values, split);
    fast_slots(job, split + 1, args.kv.block_tokens);
    copies_wait<1>();
    __syncthreads(); /* the keys are there, and the queries */
    fast_scores<DEPTH>(job, scores);
    __syncthreads(); /* the keys are used up; the next slots are there */
    if (split < last)
      fast_fetch(job, args.kv, args.kv.k, job.keys, split + 1);
    else
      copies_commit(); /* one group a step, so that the wait below is the same */
    if (split < masked_before || split >= masked_from) fast_mask(job, split * CUDA_SPLIT, scores);
    fast_soften<DEPTH>(rows, scores);
    copies_wait<1>();
    __syncthreads(); /* the values are there */
    fast_mix<DEPTH>(job, scores, rows);
    __syncthreads(); /* and used up */
  }
  fast_store<DEPTH>(job, rows, out, step);
}

CUDA_KERNEL(cuda_attention_fast, cuda_attention_args, CUDA_ATTENTION_THREADS, 2) {
  CUDA_SHARED(fast_shared, shared);
  CUDA_DYNAMIC_SHARED(memory, cuda_attention_fast_shared(args.kv.head_dim));
  struct cuda_tile tile = pointer<const struct cuda_tile>(args.tiles)[blockIdx.x];
  struct cuda_seq seq = pointer<const struct cuda_seq>(args.batch.seqs)[tile.seq];
  int head = static_cast<int>(blockIdx.y);
  struct fast_job job;
  job.shared = &shared;
  job.head_dim = args.kv.head_dim;
  job.stride = cuda_attention_fast_stride(job.head_dim);
  job.queries = reinterpret_cast<td_u16 *>(memory);
  job.keys = job.queries + CUDA_FAST_TILE * job.stride;
  job.values = job.keys + CUDA_SPLIT * job.stride;
  job.blocks = pointer<const td_i32>(args.batch.blocks) + seq.first_block;
  job.kv_head = td_kv_head(head, args.heads, args.kv.kv_heads);
  job.rows = tile.rows;
  job.position = seq.past + tile.first;
  job.window = args.window;
  job.all = {visible_to(job.position, job.window).begin, visible_to(job.position + job.rows - 1, job.window).end};
  int64_t step = static_cast<int64_t>(args.heads) * job.head_dim;
  int64_t at = (seq.first_row + tile.first) * step + static_cast<int64_t>(head) * job.head_dim;
  fast_queries(job, pointer<const float>(args.q) + at, step, args.scale * 1.44269502f);
  float *out = pointer<float>(args.out) + at;
  if (job.head_dim <= 64)
    fast_attend<4>(job, args, out, step);
  else if (job.head_dim <= 128)
    fast_attend<8>(job, args, out, step);
  else
    fast_attend<16>(job, args, out, step);
}
