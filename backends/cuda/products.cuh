/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix products of exact mode, for every weight type. An output is summed by one warp: each lane adds up its own
 * elements of K in ascending order (weights.cuh says which), then lanes are folded. How many rows and columns a warp
 * has in hand at once changes nothing of that, so GEMV and GEMM give the same bits.
 *
 * Of a type with scales, a lane sums x * code over a group, then adds scale * that sum [+ minimum * the sum of x].
 */
#ifndef CUDA_PRODUCTS_CUH
#define CUDA_PRODUCTS_CUH

#include "arithmetic.cuh"
#include "weights.cuh"

/* ---- one lane's part ---- */

template <class T, int ROWS, int COLS>
struct partial_sums {
  float of[ROWS][COLS];
};

/* Adds a group's sums to the lane's. */
template <class T, int ROWS, int COLS>
CUDA_FN void add_group(struct partial_sums<T, ROWS, COLS> &to, const float sums[ROWS][COLS], const float inputs[ROWS],
                       const typename T::raw raw[COLS], int group, int lane) {
  CUDA_UNROLL
  for (int c = 0; c < COLS; c++) {
    float scale = T::scale(raw[c], group, lane), minimum = 0.0f;
    if constexpr (T::MINIMUM) minimum = T::minimum(raw[c], group, lane);
    CUDA_UNROLL
    for (int r = 0; r < ROWS; r++) {
      to.of[r][c] = fmaf(scale, sums[r][c], to.of[r][c]);
      if constexpr (T::MINIMUM) to.of[r][c] = fmaf(minimum, inputs[r], to.of[r][c]);
    }
  }
}

template <int ROWS, int COLS>
CUDA_FN void add_run(float to[ROWS][COLS], float inputs[ROWS], const float4 x[ROWS], const float codes[COLS][4],
                     bool add_inputs) {
  CUDA_UNROLL
  for (int r = 0; r < ROWS; r++) {
    CUDA_UNROLL
    for (int c = 0; c < COLS; c++) {
      to[r][c] = fmaf(x[r].x, codes[c][0], to[r][c]);
      to[r][c] = fmaf(x[r].y, codes[c][1], to[r][c]);
      to[r][c] = fmaf(x[r].z, codes[c][2], to[r][c]);
      to[r][c] = fmaf(x[r].w, codes[c][3], to[r][c]);
    }
    if (add_inputs) inputs[r] = inputs[r] + x[r].x + x[r].y + x[r].z + x[r].w;
  }
}

/* One step of a lane: raw[] holds its part of COLS weight rows. */
template <class T, int ROWS, int COLS>
CUDA_FN void add_step(struct partial_sums<T, ROWS, COLS> &to, const float *const x[ROWS],
                      const typename T::raw raw[COLS], int64_t step, int lane) {
  CUDA_UNROLL
  for (int group = 0; group < T::RUNS / T::GROUP; group++) {
    float sums[ROWS][COLS] = {}, inputs[ROWS] = {};
    CUDA_UNROLL
    for (int run = group * T::GROUP; run < (group + 1) * T::GROUP; run++) {
      float codes[COLS][4];
      float4 values[ROWS];
      int64_t at = T::index(step, lane, run);
      CUDA_UNROLL
      for (int c = 0; c < COLS; c++) T::codes(raw[c], run, lane, codes[c]);
      CUDA_UNROLL
      for (int r = 0; r < ROWS; r++) values[r] = load_float4(x[r] + at);
      if constexpr (T::SCALED) {
        add_run<ROWS, COLS>(sums, inputs, values, codes, T::MINIMUM);
      } else {
        add_run<ROWS, COLS>(to.of, inputs, values, codes, false);
      }
    }
    if constexpr (T::SCALED) add_group<T, ROWS, COLS>(to, sums, inputs, raw, group, lane);
  }
}

/* Whether a lane has elements in this step: a block is whole or absent, and so are the plain types' runs here. */
template <class T>
CUDA_FN bool has_step(int64_t step, int lane, int64_t k) {
  return T::index(step, lane, T::RUNS - 1) < k;
}

template <class T, int ROWS, int COLS, int UNROLL>
CUDA_FN void sum_lane(struct partial_sums<T, ROWS, COLS> &to, const float *const x[ROWS], const td_u8 *const w[COLS],
                      int64_t k, int lane) {
  int64_t step = 0, whole = UNROLL > 1 ? k / T::STEP : 0; /* of one step at a time, the loop below takes all */
  for (; step + UNROLL <= whole; step += UNROLL) {
    typename T::raw raw[UNROLL][COLS];
    CUDA_UNROLL
    for (int u = 0; u < UNROLL; u++) {
      CUDA_UNROLL
      for (int c = 0; c < COLS; c++) T::load(raw[u][c], w[c], step + u, lane);
    }
    CUDA_UNROLL
    for (int u = 0; u < UNROLL; u++) add_step<T, ROWS, COLS>(to, x, raw[u], step + u, lane);
  }
  for (; step * T::STEP < k; step++) {
    if (!has_step<T>(step, lane, k)) break;
    typename T::raw raw[COLS];
    CUDA_UNROLL
    for (int c = 0; c < COLS; c++) T::load(raw[c], w[c], step, lane);
    add_step<T, ROWS, COLS>(to, x, raw, step, lane);
  }
}

/* ---- the same sums for any alignment and any k, by blocks.h, one output at a time ---- */

template <class T>
struct stored;
#define STORED(T, code_of, scale_of, minimum_of)                                                              \
  template <>                                                                                                 \
  struct stored<weights_##T> {                                                                                \
    CUDA_FN float code(const td_u8 *block, int i) { return static_cast<float>(code_of(block, i)); }           \
    CUDA_FN float scale(const td_u8 *block, int i) { return scale_of(block, i / TD_GROUP_ELEMENTS_##T); }     \
    CUDA_FN float minimum(const td_u8 *block, int i) { return minimum_of(block, i / TD_GROUP_ELEMENTS_##T); } \
  };
#define QUANTISED(T) STORED(T, td_code_##T, td_scale_##T, td_minimum_##T)
#define PLAIN(T) STORED(T, td_value_##T, unscaled, unscaled)
CUDA_FN float unscaled(const td_u8 *, int) {
  return 1.0f;
}
TD_QUANTISED_TYPES(QUANTISED)
PLAIN(F32)
PLAIN(F16)
PLAIN(BF16)
#undef STORED
#undef QUANTISED
#undef PLAIN

template <class T>
CUDA_FN float sum_lane_slowly(const float *x, const td_u8 *row, int64_t k, int lane) {
  float total = 0.0f;
  for (int64_t step = 0; step * T::STEP < k; step++) {
    for (int first = 0; first < T::RUNS; first += T::GROUP) {
      float sum = T::SCALED ? 0.0f : total, inputs = 0.0f;
      const td_u8 *block = row;
      int within = 0;
      for (int e = 0; e < 4 * T::GROUP; e++) {
        int64_t i = T::index(step, lane, first + e / 4) + e % 4;
        if (i >= k) continue;
        block = row + i / T::BLOCK * T::BYTES;
        within = static_cast<int>(i % T::BLOCK);
        sum = fmaf(x[i], stored<T>::code(block, within), sum);
        inputs += x[i];
      }
      if (!T::SCALED)
        total = sum;
      else if (T::index(step, lane, first) < k) {
        total = fmaf(stored<T>::scale(block, within), sum, total);
        if (T::MINIMUM) total = fmaf(stored<T>::minimum(block, within), inputs, total);
      }
    }
  }
  return total;
}

/* ---- a warp's outputs ---- */

/* Folds N sums of every lane as sum_of_warp would each, with N - 1 + log2(32 / N) exchanges in all: a lane hands half
 * of its sums to its partner and keeps the others. Lane l ends with output l * N / 32. */
template <int N, int BIT = CUDA_LANES / 2>
CUDA_FN float fold_lanes(float sums[N]) {
  if constexpr (BIT == 0) {
    return sums[0];
  } else if constexpr (N == 1) {
    sums[0] += __shfl_xor_sync(all_lanes, sums[0], BIT);
    return fold_lanes<1, BIT / 2>(sums);
  } else {
    bool upper = lane_index() & BIT;
    CUDA_UNROLL
    for (int i = 0; i < N / 2; i++) {
      float kept = upper ? sums[i + N / 2] : sums[i], given = upper ? sums[i] : sums[i + N / 2];
      sums[i] = kept + __shfl_xor_sync(all_lanes, given, BIT);
    }
    return fold_lanes<N / 2, BIT / 2>(sums);
  }
}

/* Of N outputs, the one that this lane has after fold_lanes; -1 for lanes that have another one's copy. */
template <int N>
CUDA_FN int output_of_lane() {
  return lane_index() % (CUDA_LANES / N) == 0 ? lane_index() / (CUDA_LANES / N) : -1;
}

/* ROWS x COLS outputs, row by row; a lane returns the one of output_of_lane. tile.x(r) and tile.w(c) say where rows and
 * columns begin; those beyond the last one repeat it. */
template <class T, int ROWS, int COLS, int UNROLL, class TILE>
CUDA_FN float warp_products(const TILE &tile, int64_t k, bool fast) {
  static_assert(CUDA_LANES % (ROWS * COLS) == 0, "a lane keeps one output");
  int lane = lane_index();
  if (!fast) {
    float mine = 0.0f;
    for (int i = 0; i < ROWS * COLS; i++) {
      float sum = sum_of_warp(sum_lane_slowly<T>(tile.x(i / COLS), tile.w(i % COLS), k, lane));
      mine = output_of_lane<ROWS * COLS>() == i ? sum : mine;
    }
    return mine;
  }
  const float *x[ROWS];
  const td_u8 *w[COLS];
  CUDA_UNROLL
  for (int r = 0; r < ROWS; r++) x[r] = tile.x(r);
  CUDA_UNROLL
  for (int c = 0; c < COLS; c++) w[c] = tile.w(c);
  struct partial_sums<T, ROWS, COLS> sums = {};
  sum_lane<T, ROWS, COLS, UNROLL>(sums, x, w, k, lane);
  float flat[ROWS * COLS];
  CUDA_UNROLL
  for (int i = 0; i < ROWS * COLS; i++) flat[i] = sums.of[i / COLS][i % COLS];
  return fold_lanes<ROWS * COLS>(flat);
}

/* Whether rows of these strides can be loaded in the type's widest words. */
template <class T>
CUDA_FN bool loads_wide(const float *x, const td_u8 *w, int64_t k, int64_t row_bytes) {
  bool steps = T::BLOCK > 1 || k % (4 * T::RUNS) == 0;
  return steps && k % 4 == 0 && is_aligned(x, 16) && is_aligned(w, T::ALIGN) && row_bytes % T::ALIGN == 0;
}

/* ---- MATMUL ---- */

/* `value` of the product, then the bias and what is to be added, each rounded by itself. */
CUDA_FN void store_product(const struct cuda_product &to, int64_t row, int64_t column, float value) {
  if (to.bias) value += pointer<const float>(to.bias)[column];
  if (to.add) value += pointer<const float>(to.add)[row * to.n + column];
  pointer<float>(to.out)[row * to.n + column] = value;
}

/* Rows from first_row and output columns from first_column on. */
struct matmul_source {
  const float *in;
  const td_u8 *weight;
  int64_t first_row, last_row, first_column, last_column, k, row_bytes;
  CUDA_MEMBER const float *x(int r) const { return in + (first_row + r < last_row ? first_row + r : last_row) * k; }
  CUDA_MEMBER const td_u8 *w(int c) const {
    return weight + (first_column + c < last_column ? first_column + c : last_column) * row_bytes;
  }
};

template <class T, int ROWS, int COLS, int UNROLL>
CUDA_FN float matmul_values(const struct cuda_matmul_args &args, const struct cuda_product &product, int64_t first_row,
                            int64_t first_column) {
  struct matmul_source tile = {pointer<const float>(args.in),
                               pointer<const td_u8>(product.weight),
                               first_row,
                               args.rows - 1,
                               first_column,
                               product.n - 1,
                               args.k,
                               args.row_bytes};
  bool fast = loads_wide<T>(tile.in, tile.weight, args.k, args.row_bytes);
  return warp_products<T, ROWS, COLS, UNROLL>(tile, args.k, fast);
}

template <class T, int ROWS, int COLS, int UNROLL>
CUDA_FN void matmul_tile(const struct cuda_matmul_args &args, const struct cuda_product &product, int64_t first_row,
                         int64_t first_column) {
  if (first_column >= product.n) return;
  float value = 0.0f, gate = 0.0f;
  CUDA_ROLL
  for (int pass = args.gate ? 0 : 1; pass < 2; pass++) { /* one copy of the code for gates and for what they gate */
    gate = value;
    value = matmul_values<T, ROWS, COLS, UNROLL>(args, args.gate && pass ? args.products[1] : product, first_row,
                                                 first_column);
  }
  if (args.gate) value = activated(args.gate, gate) * value;
  int mine = output_of_lane<ROWS * COLS>();
  int64_t row = first_row + mine / COLS, column = first_column + mine % COLS;
  if (mine >= 0 && row < args.rows && column < product.n) store_product(product, row, column, value);
}

/* The product that this block is for, read by a compile-time index: a run-time one would copy the arguments to memory.
 */
CUDA_FN struct cuda_product product_of(const struct cuda_matmul_args &args, unsigned index) {
  return index == 0 ? args.products[0] : index == 1 ? args.products[1] : args.products[2];
}

CUDA_FN int64_t gemv_column() {
  return (static_cast<int64_t>(blockIdx.x) * CUDA_GEMV_WARPS + warp_index()) * CUDA_GEMV_COLS;
}

template <class T>
CUDA_FN void gemv(const struct cuda_matmul_args &args) {
  matmul_tile<T, 1, CUDA_GEMV_COLS, T::UNROLL>(args, product_of(args, blockIdx.z), 0, gemv_column());
}

template <class T>
CUDA_FN void gemv_few(const struct cuda_matmul_args &args) {
  struct cuda_product product = product_of(args, blockIdx.z);
  if (args.rows <= CUDA_FEW_ROWS / 2) {
    matmul_tile<T, CUDA_FEW_ROWS / 2, CUDA_GEMV_COLS, 1>(args, product, 0, gemv_column());
    return;
  }
  CUDA_ROLL
  for (int c = 0; c < CUDA_GEMV_COLS; c += 2) { /* half the columns at a time: the sums have to fit the registers */
    matmul_tile<T, CUDA_FEW_ROWS, 2, 1>(args, product, 0, gemv_column() + c);
  }
}

enum { GEMM_ROWS = 8, GEMM_COLS = 4 }; /* of a warp's tile */

/* Warps side by side in a block's columns; each goes down its rows, while its weights stay in the cache. */
template <class T>
CUDA_FN void gemm(const struct cuda_matmul_args &args) {
  struct cuda_product product = product_of(args, blockIdx.z);
  int64_t column = static_cast<int64_t>(blockIdx.x) * CUDA_GEMM_COLS + warp_index() * GEMM_COLS;
  int64_t first = static_cast<int64_t>(blockIdx.y) * CUDA_GEMM_ROWS;
  for (int64_t row = first; row < first + CUDA_GEMM_ROWS && row < args.rows; row += GEMM_ROWS) {
    matmul_tile<T, GEMM_ROWS, GEMM_COLS, 1>(args, product, row, column);
  }
}

/* ---- EXPERT_MATMUL ---- */

/* Up to ROWS slots (row * used + j) that go to one expert: order[first ..], or, without an order, the slot `first`. */
struct expert_source {
  const float *in;
  const td_u8 *weight; /* the expert's */
  const int32_t *order;
  int64_t first, last, used, first_column, last_column, k, row_bytes; /* used: 1 if slots have their own input */
  CUDA_MEMBER int64_t slot(int r) const {
    int64_t at = first + r < last ? first + r : last;
    return order ? order[at] : at;
  }
  CUDA_MEMBER const float *x(int r) const { return in + slot(r) / used * k; }
  CUDA_MEMBER const td_u8 *w(int c) const {
    return weight + (first_column + c < last_column ? first_column + c : last_column) * row_bytes;
  }
};

template <class T, int ROWS, int COLS, int UNROLL>
CUDA_FN void expert_tile(const struct cuda_expert_matmul_args &args, int expert, const int32_t *order, int64_t first,
                         int64_t last, int64_t first_column) {
  if (first_column >= args.n) return;
  const td_u8 *weight = pointer<const td_u8>(args.weight) + td_expert_row(expert, args.n, 0) * args.row_bytes;
  struct expert_source tile = {pointer<const float>(args.in),  weight,       order,      first,  last,
                               args.own_slots ? 1 : args.used, first_column, args.n - 1, args.k, args.row_bytes};
  bool fast = loads_wide<T>(tile.in, weight, args.k, args.row_bytes);
  float value = warp_products<T, ROWS, COLS, UNROLL>(tile, args.k, fast);
  int mine = output_of_lane<ROWS * COLS>();
  int64_t column = first_column + mine % COLS;
  if (mine >= 0 && first + mine / COLS <= last && column < args.n) {
    pointer<float>(args.out)[tile.slot(mine / COLS) * args.n + column] = value;
  }
}

template <class T>
CUDA_FN void expert_gemv(const struct cuda_expert_matmul_args &args) {
  int64_t slot = blockIdx.y;
  const float *route = pointer<const float>(args.route) + slot / args.used * 2 * args.used;
  int expert = td_routed_id(route, static_cast<td_i32>(slot % args.used));
  expert_tile<T, 1, CUDA_GEMV_COLS, T::UNROLL>(args, expert, nullptr, slot, slot, gemv_column());
}

template <class T>
CUDA_FN void expert_gemm(const struct cuda_expert_matmul_args &args) {
  int expert = static_cast<int>(blockIdx.z);
  const int32_t *order = pointer<const int32_t>(args.order), *starts = pointer<const int32_t>(args.starts);
  int64_t column = static_cast<int64_t>(blockIdx.x) * CUDA_GEMM_COLS + warp_index() * GEMM_COLS;
  int64_t first = starts[expert] + static_cast<int64_t>(blockIdx.y) * CUDA_GEMM_ROWS, end = starts[expert + 1];
  for (int64_t at = first; at < first + CUDA_GEMM_ROWS && at < end; at += GEMM_ROWS) {
    expert_tile<T, GEMM_ROWS, GEMM_COLS, 1>(args, expert, order, at, end - 1, column);
  }
}

/* The kernels of one type, named as td_dtype_info names it. */
#define PRODUCT_KERNELS(T, name)                                                           \
  CUDA_KERNEL(cuda_gemv_##name, cuda_matmul_args, 32 * CUDA_GEMV_WARPS, 4) {               \
    gemv<weights_##T>(args);                                                               \
  }                                                                                        \
  CUDA_KERNEL(cuda_gemv_few_##name, cuda_matmul_args, 32 * CUDA_GEMV_WARPS, 3) {           \
    gemv_few<weights_##T>(args);                                                           \
  }                                                                                        \
  CUDA_KERNEL(cuda_gemm_##name, cuda_matmul_args, CUDA_GEMM_THREADS, 1) {                  \
    gemm<weights_##T>(args);                                                               \
  }                                                                                        \
  CUDA_KERNEL(cuda_expert_gemv_##name, cuda_expert_matmul_args, 32 * CUDA_GEMV_WARPS, 4) { \
    expert_gemv<weights_##T>(args);                                                        \
  }                                                                                        \
  CUDA_KERNEL(cuda_expert_gemm_##name, cuda_expert_matmul_args, CUDA_GEMM_THREADS, 1) {    \
    expert_gemm<weights_##T>(args);                                                        \
  }

#endif
