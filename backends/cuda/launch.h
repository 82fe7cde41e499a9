/* SPDX-License-Identifier: Apache-2.0
 *
 * Between host (C) and kernels (CUDA): one plain struct per kernel, passed by value, and how each kernel is launched.
 *
 * Every kernel is `extern "C" __global__ void NAME(struct NAME_args args)`; which block and grid it expects is decided
 * here, in the inline rules, so that both sides read one text. Device addresses are uint64_t (cuda_ptr), 0 = absent;
 * sizes count elements. Matrices are dense and row-major; activations are float32.
 *
 * Exactness. Every kernel but those marked (inexact) gives an output row the same bits whatever the number of rows,
 * the grid and the neighbours. A fused kernel gives the bits of the operators it stands for, run one after the other.
 */
#ifndef CUDA_LAUNCH_H
#define CUDA_LAUNCH_H

#include <stdint.h>

#ifdef __CUDACC__
#define CUDA_DEVICE_RULE static inline __host__ __device__
#else
#define CUDA_DEVICE_RULE static inline __attribute__((unused))
#endif
#ifdef __cplusplus
#define CUDA_RULE static inline
#else
#include <stdbool.h>
#define CUDA_RULE static inline __attribute__((unused))
#endif

typedef uint64_t cuda_ptr;

/* How one launch is made. */
struct cuda_grid {
  uint32_t x, y, z; /* blocks */
  uint32_t threads; /* per block, in x */
  uint32_t shared;  /* bytes of dynamic shared memory */
};

/* ---- what a step's rows are, in device memory ---- */

/* One sequence of the batch: its rows are first_row .. first_row + tokens - 1, at positions past .. past + tokens - 1;
 * position p lies in KV block blocks[first_block + p / block_tokens]. */
struct cuda_seq {
  int32_t past, tokens, first_row, first_block;
};
struct cuda_batch {
  cuda_ptr ids;        /* int32_t [rows]; 0 without an embedding */
  cuda_ptr positions;  /* int32_t [rows] */
  cuda_ptr row_seq;    /* int32_t [rows]: index into seqs */
  cuda_ptr seqs;       /* struct cuda_seq [seq_count] */
  cuda_ptr blocks;     /* int32_t: the block tables, one after the other */
  cuda_ptr logit_rows; /* int32_t [logit_count] */
  int32_t rows, seq_count, logit_count, reserved;
};

/* One layer's cache: [block][block_tokens][kv_heads][head_dim] of float32, or of binary16 if half is set. */
struct cuda_kv {
  cuda_ptr k, v;
  int32_t half, block_tokens, kv_heads, head_dim;
};

/* ---- rows of their own ---- */

/* out[row] = ids[row]-th row of weight * scale */
struct cuda_embed_args {
  cuda_ptr weight, out, ids;
  int64_t n, row_bytes; /* of a weight row */
  int32_t rows, dtype;  /* enum td_dtype of weight */
  float scale;
  int32_t reserved;
};

/* sum = in + add, if add is given (sum may be in or add; 0: not stored); out = norm(sum) * weight[1, n / groups] for
 * each of `groups` parts of a row. Without add: out = norm(in). */
struct cuda_rms_norm_args {
  cuda_ptr in, add, sum, weight, out;
  int64_t n;
  int32_t rows, groups, dtype; /* of weight */
  float epsilon;
};

/* TD_OP_ROPE. out may be in. factors: dtype, rope_dim / 2 of them, 0 = none. */
struct cuda_rope_args {
  cuda_ptr in, out, factors, positions;
  double theta, position_scale;
  int32_t rows, heads, head_dim, rope_dim, halves, dtype; /* halves: pairs (i, i + rope_dim / 2); dtype of factors */
};

/* TD_OP_KV_APPEND. */
struct cuda_kv_append_args {
  cuda_ptr k, v; /* [rows, kv_heads * head_dim] */
  struct cuda_batch batch;
  struct cuda_kv kv;
};

/* Fused: rope of q in place (or into q_out), rope of k straight into the cache, v into the cache. The roped k is not
 * stored anywhere else. rope.in, out and heads are q's. */
struct cuda_rope_append_args {
  struct cuda_rope_args rope;
  struct cuda_kv_append_args append;
};

/* out = f(a) * b */
struct cuda_activation_args {
  cuda_ptr a, b, out;
  int64_t count;
  int32_t gelu, reserved; /* 0: SiLU, 1: GELU, tanh form */
};

/* out = a + b, or, with bias, out[row] = a[row] + bias[1, n]. out may be a. */
struct cuda_add_args {
  cuda_ptr a, b, bias, out;
  int64_t n;
  int32_t rows, dtype; /* of bias */
};

/* TD_OP_ROUTER: in[rows, experts] -> out[rows, 2 * used] */
struct cuda_router_args {
  cuda_ptr in, out;
  int32_t rows, experts, used, reserved;
};

/* TD_OP_EXPERT_SUM: in[rows, used * n], route = a router's out. */
struct cuda_expert_sum_args {
  cuda_ptr in, route, out;
  int64_t n;
  int32_t rows, used;
};

/* TD_OP_SELECT: out[i] = in[logit_rows[i]] */
struct cuda_select_args {
  cuda_ptr in, out, logit_rows;
  int64_t n;
  int32_t count, reserved;
};

/* ---- products ---- */

/* out[rows, n] = in[rows, k] * weight[n, k]^T, then, if given, + bias[1, n] (float32), then + add[rows, n] (add may be
 * out): each sum rounded once, as the ADD operator does. Up to three weights of one type share an input and a launch.
 */
#define CUDA_PRODUCTS 3
struct cuda_product {
  cuda_ptr weight, out, bias, add;
  int64_t n; /* 0: absent, and so are those behind */
};
struct cuda_matmul_args {
  cuda_ptr in;
  int64_t k, row_bytes; /* of a weight row */
  struct cuda_product products[CUDA_PRODUCTS];
  int32_t rows;
  int32_t gate; /* enum cuda_gate. Not CUDA_GATE_NONE: products[0] is a gate, [1] of the same n the factor beside it,
                   and products[0].out = f(gate) * factor, as ACTIVATION has it; no bias, no add, products[1].out is not
                   written */
};
enum cuda_gate { CUDA_GATE_NONE, CUDA_GATE_SILU, CUDA_GATE_GELU };

/* TD_OP_EXPERT_MATMUL: out[rows, used * n]; slot j of row r = in * weight rows [e n, (e + 1) n), e = route[r][j]. in is
 * [rows, k], or [rows, used * k] if own_slots. order, starts: from cuda_expert_order, 0 where the rule needs none. */
struct cuda_expert_matmul_args {
  cuda_ptr in, weight, route, out, order, starts;
  int64_t n, k, row_bytes;
  int32_t rows, experts, used, own_slots;
};
/* order[rows * used]: the slots (row * used + j) sorted by expert, then by slot; starts[experts + 1]: where each
 * expert's begin. One block. */
struct cuda_expert_order_args {
  cuda_ptr route, order, starts;
  int32_t rows, experts, used, reserved;
};

/* ---- attention ---- */

/* TD_OP_ATTENTION. Positions are cut into splits of CUDA_SPLIT at absolute multiples of it. A split's share is summed
 * by itself; shares are merged in ascending order. decode: one block per (i-th of `rows`, kv head, split) writes its
 * share to partial [row_count][heads][max_splits][head_dim + 2] (the sums, then maximum and total), and
 * cuda_attention_merge merges; splits that a row does not have are left out by both. prefill: one block per tile of
 * CUDA_QUERY_TILE rows of one sequence and head loops over the splits, merging as it goes; partial is 0. Same bits
 * either way. */
#define CUDA_SPLIT 64
/* Sequences with up to this many new tokens take the decode kernels, longer ones the prefill kernel. */
#define CUDA_DECODE_TOKENS 8
#define CUDA_QUERY_TILE 16 /* attention_prefill */
#define CUDA_FAST_TILE                                                                               \
  64 /* attention_fast: at most this many rows to a tile, a cache of halves, and head_dim a multiple \
        of 16 */
struct cuda_attention_args {
  cuda_ptr q, out, partial;
  cuda_ptr rows;  /* decode, merge: int32_t [row_count], the rows of the batch that this launch is for, ascending */
  cuda_ptr tiles; /* prefill: struct cuda_tile [tile_count]; a batch may need both, each for its own rows */
  struct cuda_batch batch;
  struct cuda_kv kv;
  float scale;
  int32_t heads, window, max_splits, row_count, tile_count;
};
/* Rows first .. first + rows - 1 of the sequence's new tokens. */
struct cuda_tile {
  int32_t seq, first, rows, reserved;
};

/* ---- (inexact) helpers of the cuBLASLt path ---- */

/* Elements as cuBLASLt takes them. */
enum cuda_narrow { CUDA_BF16, CUDA_FP16, CUDA_E4M3 };

/* dst[rows, cols] (dense) = src of dtype * *inverse_scale (float in device memory; 0: 1), as enum cuda_narrow. */
struct cuda_narrow_args {
  cuda_ptr src, dst, inverse_scale;
  int64_t rows, cols, row_bytes; /* of a source row */
  int32_t dtype, narrow;
};
/* scale[0] = max |src| / 448 (1 if all are 0), scale[1] = 1 / scale[0]: the scale of an e4m3 tensor. Two launches'
 * worth of work in one: blocks reduce into max_bits (uint32_t, zeroed before by the host), the last one (counter,
 * zeroed before) finishes. */
struct cuda_amax_args {
  cuda_ptr src, scale, max_bits, counter;
  int64_t rows, cols, row_bytes;
  int32_t dtype, reserved;
};

/* read: sums of a go to out[one float per block]; copy: out = a; triad: out = a + factor * b. count floats, a multiple
 * of 4, 16-byte aligned; cuda_elements_grid(count / 16). */
struct cuda_memory_args {
  cuda_ptr a, b, out;
  int64_t count;
  float factor;
  int32_t reserved;
};

/* ---- LPU_RUN ---- */

/* Part `part` of a step (tandem/lpu_code.h): one block a chip. Parts are launched in order; where one has failed, those
 * after it do nothing. */
struct cuda_lpu_run_args {
  cuda_ptr code, step, work, sram;
  int32_t part, reserved;
};
/* In front of the workspace, zeros before the first part: what the host reads as struct td_lpu_code_state, and how
 * chips that fail beside each other agree on it. */
struct cuda_lpu_state {
  int32_t call, op, reason;
  int32_t chip, part; /* of the failure; part: plus 1 */
  uint32_t lock;
};

/* ---- names ---- */

/* Kernels that exist once. */
#define CUDA_KERNELS(X)                                                                                \
  X(EMBED, embed)                                                                                      \
  X(RMS_NORM, rms_norm)                                                                                \
  X(ROPE, rope)                                                                                        \
  X(KV_APPEND, kv_append)                                                                              \
  X(ROPE_APPEND, rope_append)                                                                          \
  X(ACTIVATION, activation)                                                                            \
  X(ADD, add)                                                                                          \
  X(ROUTER, router)                                                                                    \
  X(EXPERT_ORDER, expert_order)                                                                        \
  X(EXPERT_SUM, expert_sum)                                                                            \
  X(SELECT, select)                                                                                    \
  X(ATTENTION_DECODE, attention_decode)   /* cuda_attention_args */                                    \
  X(ATTENTION_MERGE, attention_merge)     /* cuda_attention_args */                                    \
  X(ATTENTION_PREFILL, attention_prefill) /* cuda_attention_args */                                    \
  X(ATTENTION_FAST, attention_fast)       /* cuda_attention_args, prefill on tensor cores (inexact) */ \
  X(LPU_RUN, lpu_run)                                                                                  \
  X(NARROW, narrow)                                                                                    \
  X(AMAX, amax)                                                                                        \
  X(MEMORY_READ, memory_read)   /* cuda_memory_args: the bench's ceilings */                           \
  X(MEMORY_COPY, memory_copy)   /* cuda_memory_args */                                                 \
  X(MEMORY_TRIAD, memory_triad) /* cuda_memory_args */
/* Kernels that exist per weight type, named cuda_FAMILY_TYPE with TYPE as td_dtype_info names it: cuda_gemv_q4_k. */
#define CUDA_FAMILIES(X)                                                               \
  X(GEMV, gemv)               /* cuda_matmul_args, 1 row */                            \
  X(GEMV_FEW, gemv_few)       /* cuda_matmul_args, 2 to CUDA_FEW_ROWS rows */          \
  X(GEMM, gemm)               /* cuda_matmul_args, more rows */                        \
  X(EXPERT_GEMV, expert_gemv) /* cuda_expert_matmul_args, one (row, slot) at a time */ \
  X(EXPERT_GEMM, expert_gemm) /* cuda_expert_matmul_args with order and starts */

enum cuda_kernel {
#define X(upper, lower) CUDA_KERNEL_##upper,
  CUDA_KERNELS(X)
#undef X
      CUDA_KERNEL_COUNT
};
enum cuda_family {
#define X(upper, lower) CUDA_FAMILY_##upper,
  CUDA_FAMILIES(X)
#undef X
      CUDA_FAMILY_COUNT
};

/* ---- rules ---- */

/* What `supports` refuses beyond. */
#define CUDA_MAX_EXPERTS 1024
#define CUDA_MAX_USED 32

#define CUDA_FEW_ROWS 8
#define CUDA_ROW_THREADS 256

CUDA_RULE uint32_t cuda_ceil(int64_t a, int64_t b) {
  return (uint32_t)((a + b - 1) / b);
}
/* One block per row (rms_norm: per row and group). */
CUDA_RULE struct cuda_grid cuda_rows_grid(int64_t rows) {
  struct cuda_grid grid = {(uint32_t)rows, 1, 1, CUDA_ROW_THREADS, 0};
  return grid;
}
CUDA_RULE struct cuda_grid cuda_rms_norm_grid(const struct cuda_rms_norm_args *args) {
  return cuda_rows_grid((int64_t)args->rows * args->groups);
}
CUDA_RULE struct cuda_grid cuda_expert_order_grid(const struct cuda_expert_order_args *args) {
  (void)args;
  return cuda_rows_grid(1);
}
/* One thread per element (activation, add with n * rows elements, narrow, amax: grid-stride loops). */
CUDA_RULE struct cuda_grid cuda_elements_grid(int64_t count) {
  int64_t blocks = (count + CUDA_ROW_THREADS - 1) / CUDA_ROW_THREADS;
  struct cuda_grid grid = {(uint32_t)(blocks < 65536 ? blocks : 65536), 1, 1, CUDA_ROW_THREADS, 0};
  return grid;
}

/* gemv, gemv_few: CUDA_GEMV_COLS output columns to a warp, GEMV_WARPS to a block; z = product (a gate's two products
 * are one). */
#define CUDA_GEMV_WARPS 4
#define CUDA_GEMV_COLS 4
/* gemm: CUDA_GEMM_ROWS x CUDA_GEMM_COLS outputs to a block; z = product. */
#define CUDA_GEMM_ROWS 32
#define CUDA_GEMM_COLS 32
#define CUDA_GEMM_THREADS 256

CUDA_RULE enum cuda_family cuda_matmul_family(const struct cuda_matmul_args *args) {
  if (args->rows == 1) return CUDA_FAMILY_GEMV;
  return args->rows <= CUDA_FEW_ROWS ? CUDA_FAMILY_GEMV_FEW : CUDA_FAMILY_GEMM;
}
CUDA_RULE struct cuda_grid cuda_matmul_grid(enum cuda_family family, const struct cuda_matmul_args *args) {
  int64_t widest = 0;
  uint32_t products = 0;
  for (int i = 0; i < CUDA_PRODUCTS && args->products[i].n; i++, products++) {
    if (args->products[i].n > widest) widest = args->products[i].n;
  }
  if (args->gate) products = 1;
  struct cuda_grid grid = {cuda_ceil(widest, CUDA_GEMV_WARPS * CUDA_GEMV_COLS), 1, products, 32 * CUDA_GEMV_WARPS, 0};
  if (family == CUDA_FAMILY_GEMM) {
    grid.x = cuda_ceil(widest, CUDA_GEMM_COLS);
    grid.y = cuda_ceil(args->rows, CUDA_GEMM_ROWS);
    grid.threads = CUDA_GEMM_THREADS;
  }
  return grid;
}

CUDA_RULE enum cuda_family cuda_expert_family(const struct cuda_expert_matmul_args *args) {
  return args->rows <= CUDA_FEW_ROWS ? CUDA_FAMILY_EXPERT_GEMV : CUDA_FAMILY_EXPERT_GEMM;
}
/* expert_gemv: y = slot (row * used + j). expert_gemm: y = tile of the expert's slots (those it lacks return at once),
 * z = expert. */
CUDA_RULE struct cuda_grid cuda_expert_grid(enum cuda_family family, const struct cuda_expert_matmul_args *args) {
  struct cuda_grid grid = {cuda_ceil(args->n, CUDA_GEMV_WARPS * CUDA_GEMV_COLS), (uint32_t)(args->rows * args->used), 1,
                           32 * CUDA_GEMV_WARPS, 0};
  if (family == CUDA_FAMILY_EXPERT_GEMM) {
    grid.x = cuda_ceil(args->n, CUDA_GEMM_COLS);
    grid.y = cuda_ceil(args->rows, CUDA_GEMM_ROWS); /* a row reaches an expert at most once */
    grid.z = (uint32_t)args->experts;
    grid.threads = CUDA_GEMM_THREADS;
  }
  return grid;
}

/* attention_decode: x = i-th of rows, y = kv head, z = split. merge: x = i-th of rows, y = head. prefill and fast: x =
 * tile, y = head. */
#define CUDA_ATTENTION_THREADS 128
#define CUDA_MAX_HEAD_DIM 256
/* Floats from position to position of a tile in shared memory: whole quads, and one more against bank conflicts. */
CUDA_DEVICE_RULE int32_t cuda_attention_stride(int32_t head_dim) {
  return (head_dim + 3) / 4 * 4 + 4;
}
/* Bytes of dynamic shared memory of the exact kernels: queries, a tile of keys or values, scores. */
CUDA_DEVICE_RULE uint32_t cuda_attention_shared(int32_t head_dim) {
  int32_t floats = CUDA_QUERY_TILE * ((head_dim + 3) / 4 * 4) + CUDA_SPLIT * cuda_attention_stride(head_dim) +
                   CUDA_QUERY_TILE * CUDA_SPLIT;
  return (uint32_t)floats * 4;
}
/* The same of attention_fast, in halves: queries, keys, values. */
CUDA_DEVICE_RULE int32_t cuda_attention_fast_stride(int32_t head_dim) {
  return head_dim + 8;
}
CUDA_DEVICE_RULE uint32_t cuda_attention_fast_shared(int32_t head_dim) {
  return (uint32_t)((CUDA_FAST_TILE + 2 * CUDA_SPLIT) * cuda_attention_fast_stride(head_dim)) * 2;
}
CUDA_RULE struct cuda_grid cuda_attention_grid(enum cuda_kernel kernel, const struct cuda_attention_args *args) {
  struct cuda_grid grid = {(uint32_t)args->tile_count, (uint32_t)args->heads, 1, CUDA_ATTENTION_THREADS,
                           cuda_attention_shared(args->kv.head_dim)};
  if (kernel == CUDA_KERNEL_ATTENTION_FAST) grid.shared = cuda_attention_fast_shared(args->kv.head_dim);
  if (kernel == CUDA_KERNEL_ATTENTION_DECODE) {
    grid.x = (uint32_t)args->row_count;
    grid.y = (uint32_t)args->kv.kv_heads;
    grid.z = (uint32_t)args->max_splits;
  }
  if (kernel == CUDA_KERNEL_ATTENTION_MERGE) {
    grid.x = (uint32_t)args->row_count;
    grid.shared = 0;
  }
  return grid;
}

/* lpu_run: one block per chip of the part that has most; one thread per lane. */
#define CUDA_LPU_THREADS 512
CUDA_RULE struct cuda_grid cuda_lpu_grid(int64_t chips) {
  struct cuda_grid grid = {(uint32_t)chips, 1, 1, CUDA_LPU_THREADS, 0};
  return grid;
}

/* rope: one block per row. rope_append: x = row. kv_append: x = row. router: x = row. */

#endif
