/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators that take rows one by one: a block of CUDA_ROW_THREADS for each.
 */
#include "arithmetic.cuh"

CUDA_KERNEL(cuda_embed, cuda_embed_args, CUDA_ROW_THREADS, 4) {
  int64_t row = blockIdx.x;
  const td_u8 *from = pointer<const td_u8>(args.weight) + pointer<const int32_t>(args.ids)[row] * args.row_bytes;
  float *out = pointer<float>(args.out) + row * args.n;
  for (int64_t i = threadIdx.x; i < args.n; i += CUDA_ROW_THREADS) {
    float value = value_in_row(args.dtype, from, i);
    out[i] = args.scale == 1.0f ? value : value * args.scale;
  }
}

CUDA_KERNEL(cuda_select, cuda_select_args, CUDA_ROW_THREADS, 4) {
  int64_t to = blockIdx.x, from = pointer<const int32_t>(args.logit_rows)[to];
  const float *in = pointer<const float>(args.in) + from * args.n;
  float *out = pointer<float>(args.out) + to * args.n;
  for (int64_t i = threadIdx.x; i < args.n; i += CUDA_ROW_THREADS) out[i] = in[i];
}

/* ---- norm ---- */

struct norm_shared {
  float warps[CUDA_ROW_THREADS / CUDA_LANES];
};

/* The block's sum, in one order: lanes of a warp, then warps ascending. */
CUDA_FN float sum_of_block(struct norm_shared &shared, float value) {
  value = sum_of_warp(value);
  if (lane_index() == 0) shared.warps[warp_index()] = value;
  __syncthreads();
  float sum = 0.0f;
  for (int w = 0; w < CUDA_ROW_THREADS / CUDA_LANES; w++) sum += shared.warps[w];
  return sum;
}

/* Elements of a thread that are under way together. */
enum { NORM_DEPTH = 8 };

/* in [+ add] of this thread's next elements: i, i + CUDA_ROW_THREADS, ...; zeros beyond the row. */
CUDA_FN void norm_inputs(const float *in, const float *add, int64_t i, int64_t width, float out[NORM_DEPTH]) {
  CUDA_UNROLL
  for (int d = 0; d < NORM_DEPTH; d++) {
    int64_t at = i + d * CUDA_ROW_THREADS;
    out[d] = at < width ? in[at] : 0.0f;
  }
  if (!add) return;
  CUDA_UNROLL
  for (int d = 0; d < NORM_DEPTH; d++) {
    int64_t at = i + d * CUDA_ROW_THREADS;
    if (at < width) out[d] += add[at];
  }
}

/* Every thread reads and writes its own elements only, so that sum may be in or add. */
CUDA_KERNEL(cuda_rms_norm, cuda_rms_norm_args, CUDA_ROW_THREADS, 4) {
  CUDA_SHARED(norm_shared, shared);
  int64_t width = args.n / args.groups, row = static_cast<int64_t>(blockIdx.x) * width;
  const float *in = pointer<const float>(args.in) + row, *add = pointer<const float>(args.add);
  float *sum = pointer<float>(args.sum), *out = pointer<float>(args.out) + row;
  const td_u8 *weight = pointer<const td_u8>(args.weight);
  float squares = 0.0f, values[NORM_DEPTH] = {};
  if (add) add += row;
  if (sum) sum += row;
  for (int64_t i = threadIdx.x; i < width; i += NORM_DEPTH * CUDA_ROW_THREADS) {
    norm_inputs(in, add, i, width, values);
    CUDA_UNROLL
    for (int d = 0; d < NORM_DEPTH; d++) squares = fmaf(values[d], values[d], squares);
    CUDA_UNROLL
    for (int d = 0; d < NORM_DEPTH; d++) {
      int64_t at = i + d * CUDA_ROW_THREADS;
      if (sum && at < width) sum[at] = values[d];
    }
  }
  float scale = 1.0f / sqrtf(sum_of_block(shared, squares) / static_cast<float>(width) + args.epsilon);
  bool kept = width <= NORM_DEPTH * CUDA_ROW_THREADS; /* the values are still here */
  for (int64_t i = threadIdx.x; i < width; i += NORM_DEPTH * CUDA_ROW_THREADS) {
    if (!kept) norm_inputs(sum ? sum : in, sum ? nullptr : add, i, width, values);
    CUDA_UNROLL
    for (int d = 0; d < NORM_DEPTH; d++) {
      int64_t at = i + d * CUDA_ROW_THREADS;
      if (at < width) out[at] = values[d] * scale * value_in_row(args.dtype, weight, at);
    }
  }
}

/* ---- rope and the cache ---- */

CUDA_FN void store_cached(const struct cuda_kv &kv, cuda_ptr pool, int64_t element, float value) {
  if (kv.half) {
    pointer<td_u16>(pool)[element] = float_to_half(value);
  } else {
    pointer<float>(pool)[element] = value;
  }
}

/* The element of (this row's position, head 0, 0) in a pool. */
CUDA_FN int64_t cached_row(const struct cuda_batch &batch, const struct cuda_kv &kv, int row) {
  struct cuda_seq seq = pointer<const struct cuda_seq>(batch.seqs)[pointer<const int32_t>(batch.row_seq)[row]];
  const td_i32 *blocks = pointer<const td_i32>(batch.blocks) + seq.first_block;
  int64_t slot = td_kv_slot(blocks, seq.past + row - seq.first_row, kv.block_tokens);
  return td_kv_element(slot, 0, kv.kv_heads, kv.head_dim);
}

CUDA_KERNEL(cuda_kv_append, cuda_kv_append_args, CUDA_ROW_THREADS, 4) {
  int row = static_cast<int>(blockIdx.x);
  int64_t width = static_cast<int64_t>(args.kv.kv_heads) * args.kv.head_dim, to = cached_row(args.batch, args.kv, row);
  const float *k = pointer<const float>(args.k) + row * width, *v = pointer<const float>(args.v) + row * width;
  for (int64_t i = threadIdx.x; i < width; i += CUDA_ROW_THREADS) {
    store_cached(args.kv, args.kv.k, to + i, k[i]);
    store_cached(args.kv, args.kv.v, to + i, v[i]);
  }
}

/* Angles in double: at position 100,000 a float32 angle is wrong in the third digit. */
CUDA_FN void turn(const struct cuda_rope_args &rope, int pair, int position, float *cosine, float *sine) {
  double slower = pow(rope.theta, 2.0 * pair / rope.rope_dim);
  if (rope.factors) {
    slower *= static_cast<double>(value_in_row(rope.dtype, pointer<const td_u8>(rope.factors), pair));
  }
  double angle = position * rope.position_scale / slower;
  *cosine = static_cast<float>(cos(angle));
  *sine = static_cast<float>(sin(angle));
}

/* Which element of a head is turned with which. */
struct rope_pair {
  int first, second;
  float cosine, sine;
};

CUDA_FN float turned_first(const struct rope_pair &pair, const float *head) {
  return head[pair.first] * pair.cosine - head[pair.second] * pair.sine;
}
CUDA_FN float turned_second(const struct rope_pair &pair, const float *head) {
  return head[pair.first] * pair.sine + head[pair.second] * pair.cosine;
}

/* A thread has one pair of every few heads: pairs of a warp lie side by side. `mine` is the first such head. */
CUDA_FN struct rope_pair rope_pair_of(const struct cuda_rope_args &rope, int pair, int position) {
  struct rope_pair out;
  out.first = td_rope_first(pair, rope.halves);
  out.second = td_rope_second(pair, rope.halves, rope.rope_dim);
  turn(rope, pair, position, &out.cosine, &out.sine);
  return out;
}

/* Threads [0, pairs * heads_at_once) turn; each has its pair for every heads_at_once-th head. */
CUDA_FN int rope_heads_at_once(int pairs) {
  return pairs < CUDA_ROW_THREADS ? CUDA_ROW_THREADS / pairs : 1;
}

CUDA_FN void rope_row(const struct cuda_rope_args &rope, int row, int position) {
  int64_t width = static_cast<int64_t>(rope.heads) * rope.head_dim;
  const float *in = pointer<const float>(rope.in) + row * width;
  float *out = pointer<float>(rope.out) + row * width;
  int pairs = rope.rope_dim / 2, step = rope_heads_at_once(pairs);
  for (int i = static_cast<int>(threadIdx.x); i < pairs * step; i += CUDA_ROW_THREADS) {
    struct rope_pair pair = rope_pair_of(rope, i % pairs, position);
    for (int head = i / pairs; head < rope.heads; head += step) {
      const float *from = in + static_cast<int64_t>(head) * rope.head_dim;
      float first = turned_first(pair, from), second = turned_second(pair, from);
      float *to = out + static_cast<int64_t>(head) * rope.head_dim;
      to[pair.first] = first;
      to[pair.second] = second;
    }
  }
  if (in == out || rope.rope_dim == rope.head_dim) return;
  for (int64_t i = threadIdx.x; i < width; i += CUDA_ROW_THREADS) {
    if (i % rope.head_dim >= rope.rope_dim) out[i] = in[i];
  }
}

CUDA_KERNEL(cuda_rope, cuda_rope_args, CUDA_ROW_THREADS, 4) {
  int row = static_cast<int>(blockIdx.x);
  rope_row(args, row, pointer<const int32_t>(args.positions)[row]);
}

CUDA_KERNEL(cuda_rope_append, cuda_rope_append_args, CUDA_ROW_THREADS, 4) {
  int row = static_cast<int>(blockIdx.x), position = pointer<const int32_t>(args.rope.positions)[row];
  rope_row(args.rope, row, position);
  const struct cuda_kv &kv = args.append.kv;
  int64_t width = static_cast<int64_t>(kv.kv_heads) * kv.head_dim, to = cached_row(args.append.batch, kv, row);
  const float *k = pointer<const float>(args.append.k) + row * width;
  const float *v = pointer<const float>(args.append.v) + row * width;
  int pairs = args.rope.rope_dim / 2, step = rope_heads_at_once(pairs);
  for (int i = static_cast<int>(threadIdx.x); i < pairs * step; i += CUDA_ROW_THREADS) {
    struct rope_pair pair = rope_pair_of(args.rope, i % pairs, position);
    for (int head = i / pairs; head < kv.kv_heads; head += step) {
      int64_t at = static_cast<int64_t>(head) * kv.head_dim;
      store_cached(kv, kv.k, to + at + pair.first, turned_first(pair, k + at));
      store_cached(kv, kv.k, to + at + pair.second, turned_second(pair, k + at));
    }
  }
  for (int64_t i = threadIdx.x; i < width; i += CUDA_ROW_THREADS) {
    store_cached(kv, kv.v, to + i, v[i]);
    if (i % kv.head_dim >= args.rope.rope_dim) store_cached(kv, kv.k, to + i, k[i]);
  }
}

/* ---- routers ---- */

struct router_shared {
  float top, weights[CUDA_ROW_THREADS], chosen[CUDA_ROW_THREADS];
};

/* How many experts are chosen before this one. */
CUDA_FN int rank_of(const float *logits, int experts, int expert) {
  int rank = 0;
  for (int other = 0; other < experts; other++) rank += td_routed_before(logits[other], other, logits[expert], expert);
  return rank;
}

/* At most CUDA_ROW_THREADS experts are used. */
CUDA_KERNEL(cuda_router, cuda_router_args, CUDA_ROW_THREADS, 4) {
  CUDA_SHARED(router_shared, shared);
  const float *logits = pointer<const float>(args.in) + static_cast<int64_t>(blockIdx.x) * args.experts;
  float *out = pointer<float>(args.out) + static_cast<int64_t>(blockIdx.x) * 2 * args.used;
  for (int expert = static_cast<int>(threadIdx.x); expert < args.experts; expert += CUDA_ROW_THREADS) {
    int rank = rank_of(logits, args.experts, expert);
    if (rank >= args.used) continue;
    out[rank] = static_cast<float>(expert);
    shared.chosen[rank] = logits[expert];
  }
  __syncthreads();
  int slot = static_cast<int>(threadIdx.x);
  float weight = 0.0f;
  if (slot < args.used) shared.weights[slot] = weight = exponential(shared.chosen[slot] - shared.chosen[0]);
  __syncthreads();
  if (slot >= args.used) return;
  float sum = 0.0f;
  for (int other = 0; other < args.used; other++) sum += shared.weights[other];
  out[args.used + slot] = weight / sum;
}

struct order_shared {
  int32_t begins[CUDA_ROW_THREADS], sums[CUDA_ROW_THREADS / CUDA_LANES];
};

CUDA_FN int expert_at(const float *route, int64_t slot, int used) {
  return td_routed_id(route + slot / used * 2 * used, static_cast<td_i32>(slot % used));
}

/* A thread has every CUDA_ROW_THREADS-th expert and goes through the slots in order: they are few, and ids come from
 * the cache. */
CUDA_KERNEL(cuda_expert_order, cuda_expert_order_args, CUDA_ROW_THREADS, 4) {
  CUDA_SHARED(order_shared, shared);
  const float *route = pointer<const float>(args.route);
  int32_t *order = pointer<int32_t>(args.order), *starts = pointer<int32_t>(args.starts);
  int64_t slots = static_cast<int64_t>(args.rows) * args.used;
  int32_t base = 0;
  for (int first = 0; first < args.experts; first += CUDA_ROW_THREADS) {
    int mine = first + static_cast<int>(threadIdx.x);
    int32_t count = 0, before = 0, all = 0;
    for (int64_t slot = 0; slot < slots; slot++) count += expert_at(route, slot, args.used) == mine;
    shared.begins[threadIdx.x] = count;
    __syncthreads();
    for (int t = 0; t < CUDA_ROW_THREADS; t++) {
      if (t < static_cast<int>(threadIdx.x)) before += shared.begins[t];
      all += shared.begins[t];
    }
    if (mine < args.experts) starts[mine] = base + before;
    int32_t to = base + before;
    for (int64_t slot = 0; slot < slots && count; slot++) {
      if (expert_at(route, slot, args.used) == mine) order[to++] = static_cast<int32_t>(slot);
    }
    base += all;
    __syncthreads();
  }
  if (threadIdx.x == 0) starts[args.experts] = base;
}
