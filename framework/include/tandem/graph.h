/* SPDX-License-Identifier: Apache-2.0
 *
 * The step graph: one list of typed operators that a backend runs, a cost model prices and a compiler schedules.
 *
 * A graph describes ONE step of a model (a batch of sequences, each with some new tokens) with symbolic sizes. All
 * that changes from step to step are the six counts of struct td_step_stats; every FLOP and byte below is a linear
 * form in them, so a run of decode steps has a closed-form price. Nobody counts FLOPs or bytes anywhere else.
 * A td_graph is immutable and may be read from any thread.
 */
#ifndef TANDEM_GRAPH_H
#define TANDEM_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include "tandem/model.h"

/* The symbols. A step has S sequences; sequence i brings n_i new tokens after p_i tokens already in the KV cache. */
enum td_symbol {
  TD_SYM_ONE,     /* 1 */
  TD_SYM_TOKENS,  /* T = sum n_i */
  TD_SYM_LOGITS,  /* L = rows whose logits are wanted */
  TD_SYM_SEQS,    /* S */
  TD_SYM_CONTEXT, /* C = sum (p_i + n_i): cached positions read once per sequence */
  TD_SYM_PAIRS,   /* A = sum over new tokens of the positions they attend to = sum n_i p_i + n_i (n_i + 1) / 2 */
  TD_SYM_COUNT
};
struct td_step_stats {
  int64_t v[TD_SYM_COUNT];
};
/* A linear form: sum c[s] * v[s]. */
struct td_poly {
  int64_t c[TD_SYM_COUNT];
};
/* INT64_MAX if the sum does not fit: a step of that size cannot be priced. */
int64_t td_poly_eval(const struct td_poly *poly, const struct td_step_stats *stats);
struct td_poly td_poly_add(struct td_poly a, struct td_poly b);

/* Counts one more sequence into stats (v[ONE] is set to 1). `logits`: rows of it whose logits are wanted. */
void td_step_stats_add(struct td_step_stats *stats, int64_t past, int64_t tokens, int64_t logits);

enum td_op_kind {
  TD_OP_EMBED,     /* out[T, n] = row ids[t] of weight[vocab, n], as float32 */
  TD_OP_RMS_NORM,  /* out = in0 / sqrt(mean(in0^2) + epsilon) * weight[1, n] */
  TD_OP_MATMUL,    /* out[R, n] = in0[R, k] * weight[n, k]^T */
  TD_OP_ROPE,      /* out[T, heads * head_dim]: rotates pairs (2i, 2i+1) of the first rope_dim elements of each head of
                      in0 by position / (theta^(2i/rope_dim) * factor_i); weight, if any: factors [1, rope_dim / 2] */
  TD_OP_KV_APPEND, /* writes in0 = K and in1 = V, each [T, kv_heads * head_dim], into the KV cache of `layer` */
  TD_OP_ATTENTION, /* out[T, heads * head_dim] = causal softmax(in0 K^T * scale) V over the KV cache of `layer` */
  TD_OP_SILU_MUL,  /* out = in0 * sigmoid(in0) * in1 */
  TD_OP_ADD,       /* out = in0 + in1 */
  TD_OP_SELECT,    /* out[L, n] = the rows of in0[T, n] whose logits are wanted, in batch order */
  TD_OP_SAMPLE,    /* logits in0[L, n] -> one id a row; done on the host by the framework, never sent to a device */
  TD_OP_KIND_COUNT
};
const char *td_op_kind_name(enum td_op_kind kind);

enum td_rows { TD_ROWS_TOKENS, TD_ROWS_LOGITS };
enum td_part { TD_PART_ATTENTION = 1, TD_PART_FFN = 2, TD_PART_ENDS = 4, TD_PART_ALL = 7 };

/* A float32 activation [rows, cols]; each value has one producer. */
struct td_value {
  char name[TD_NAME_BYTES]; /* "layers.3.attention.residual", "logits", ... */
  enum td_rows rows;
  int64_t cols;
};
/* A weight as the graph refers to it. */
struct td_weight {
  char name[TD_NAME_BYTES]; /* the GGUF tensor's name */
  enum td_dtype dtype;
  int64_t rows, cols;
};

#define TD_OP_INPUTS 2

struct td_op {
  enum td_op_kind kind;
  int32_t layer; /* 0 .. layers-1; -1 for the embedding, `layers` for final norm, head and sampling */
  enum td_part part;
  enum td_rows rows;                           /* of the output (of the inputs for KV_APPEND and SAMPLE) */
  int32_t in[TD_OP_INPUTS];                    /* indices into values, -1 = none */
  int32_t out;                                 /* index into values, -1 for KV_APPEND and SAMPLE */
  int32_t weight;                              /* index into weights, -1 = none */
  int64_t n, k;                                /* output columns; MATMUL: also the inner dimension */
  int32_t heads, kv_heads, head_dim, rope_dim; /* ROPE, KV_APPEND, ATTENTION */
  double epsilon, theta, scale;                /* RMS_NORM; ROPE; ATTENTION */
};

struct td_graph {
  struct td_shape shape;
  struct td_op *ops; /* in execution order */
  int32_t op_count;
  struct td_value *values;
  int32_t value_count;
  struct td_weight *weights;
  int32_t weight_count;
};

/* Builds the graph of a model (with or without weights). TD_UNSUPPORTED, TD_CORRUPT name a missing or misshapen
 * tensor. Free with td_graph_free. */
td_status td_graph_build(const struct td_model *model, struct td_graph **out_graph);
void td_graph_free(struct td_graph *graph); /* NULL is fine */

/* What one operator costs. FLOPs: a multiply-add counts 2. Bytes: every operand once, as if nothing were cached
 * between operators (of an embedding, the rows looked up); activations are float32; KV elements are kv_dtype. A
 * softmax's exponentials are not counted, and SAMPLE costs nothing: it is the host's. */
struct td_op_cost {
  struct td_poly flops;
  struct td_poly weight_bytes;
  struct td_poly activation_bytes;
  struct td_poly kv_read_bytes;
  struct td_poly kv_write_bytes;
};
void td_op_cost(const struct td_graph *graph, const struct td_op *op, enum td_dtype kv_dtype,
                struct td_op_cost *out_cost);

/* ---- slices ---- */

/* The part of the graph between two cuts: operators with layer_begin <= layer < layer_end whose part is in `parts`.
 * Whole model: {-1, layers + 1, TD_PART_ALL}. */
struct td_slice {
  int32_t layer_begin, layer_end;
  uint32_t parts;
};
struct td_slice td_slice_whole(const struct td_graph *graph);

/* The operators of a slice (indices into graph->ops, ascending), its live-ins (values it reads and another slice
 * produces) and live-outs (values it produces and another slice reads, and "logits"). Free with
 * td_slice_ops_free. TD_CONFIG if the range is empty or outside the graph. */
struct td_slice_ops {
  int32_t *ops, op_count;
  int32_t *live_in, live_in_count;
  int32_t *live_out, live_out_count;
};
td_status td_slice_ops_build(const struct td_graph *graph, const struct td_slice *slice, struct td_slice_ops *out_ops);
void td_slice_ops_free(struct td_slice_ops *ops);

/* Range of real layers [*out_begin, *out_end) whose attention lies in the slice: the layers that own KV. */
void td_slice_kv_layers(const struct td_graph *graph, const struct td_slice *slice, int32_t *out_begin,
                        int32_t *out_end);

/* KV bytes of `tokens` positions of `layers` layers: layers * 2 * kv_heads * head_dim * element size * tokens. */
uint64_t td_kv_bytes(const struct td_shape *shape, enum td_dtype kv_dtype, int64_t layers, int64_t tokens);

#endif
