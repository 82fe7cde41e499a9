/* SPDX-License-Identifier: Apache-2.0
 *
 * The step graph: one list of typed operators that a backend runs, a cost model prices and a compiler schedules.
 *
 * A graph describes ONE step of a model (a batch of sequences, each with some new tokens) with symbolic sizes. All
 * that changes from step to step are the few counts of struct td_step_stats; every FLOP and byte below is a linear
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
  TD_SYM_ONE,            /* 1 */
  TD_SYM_TOKENS,         /* T = sum n_i */
  TD_SYM_LOGITS,         /* L = rows whose logits are wanted */
  TD_SYM_SEQS,           /* S */
  TD_SYM_CONTEXT,        /* C = sum (p_i + n_i): cached positions read once per sequence */
  TD_SYM_PAIRS,          /* A = sum over new tokens of the positions they attend to = sum n_i p_i + n_i (n_i + 1) / 2 */
  TD_SYM_WINDOW_CONTEXT, /* sum min(p_i + n_i, n_i + window - 1): what a sliding-window layer reads */
  TD_SYM_WINDOW_PAIRS,   /* sum over new tokens of min(position + 1, window) */
  TD_SYM_FULL_PAIRS,     /* sum n_i (p_i + n_i): without a causal mask (encoders) */
  TD_SYM_EXPERTS,        /* distinct experts that T tokens are expected to reach in one layer: td_expected_experts */
  /* For devices whose attention takes whole tiles of positions (an LPU's KV blocks); no operator's cost counts them */
  TD_SYM_TILE,       /* positions of a tile: set before anything is added; 0: tiles are not counted */
  TD_SYM_TILES,      /* sum over new tokens of the tiles that hold the positions up to theirs */
  TD_SYM_TILE_STEPS, /* decode steps, this one included, until one of the sequences begins another tile */
  TD_SYM_PASS,       /* tokens that a device takes at a time: set before anything is added; 0: all */
  TD_SYM_PASS_TILES, /* TILES of the last such pass; of all where PASS is 0 */
  /* Of replicas that share their experts (struct td_serving), if their steps differ: TOKENS of all; 0: all are alike */
  TD_SYM_ALL_TOKENS,
  /* Of the sequences those that decode, one token after others: how many, and their part of C; no operator's cost
   * counts them */
  TD_SYM_DECODES,
  TD_SYM_DECODE_CONTEXT,
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

/* Counts one more sequence into stats (v[ONE] is set to 1). `logits`: rows of it whose logits are wanted. The window
 * and the experts are the shape's; without a window (0) the windowed counts equal the plain ones, without experts
 * v[EXPERTS] stays 0. */
void td_step_stats_add(struct td_step_stats *stats, const struct td_shape *shape, int64_t past, int64_t tokens,
                       int64_t logits);
/* Experts that at least one of `tokens` tokens is routed to, if each token picks `used` of `experts` at random and
 * independently: experts * (1 - (1 - used / experts)^tokens), in integer arithmetic (the same on every machine),
 * rounded to nearest, at least min(used, experts) for tokens > 0. Real routers are less even: an upper estimate. */
int64_t td_expected_experts(int64_t experts, int64_t used, int64_t tokens);

enum td_op_kind {
  /* out[T, n] = row ids[t] of weight[vocab, n] * scale, as float32 */
  TD_OP_EMBED,
  /* out = in0 / sqrt(mean(in0^2) + epsilon) * weight[1, n / groups], for each of `groups` equal parts of a row by
   * itself: 1, or a head each (QK norm) */
  TD_OP_RMS_NORM,
  /* out[R, n] = in0[R, k] * weight[n, k]^T */
  TD_OP_MATMUL,
  /* out[T, heads * head_dim]: rotates pairs of the first rope_dim elements of each head of in0, pair i
   * (0 <= i < rope_dim / 2) by position * position_scale / (theta^(2i/rope_dim) * factor_i). Pair i is (2i, 2i+1) or
   * (i, i + rope_dim/2), see enum td_rope_pairs. weight, if any: factors [1, rope_dim / 2] */
  TD_OP_ROPE,
  /* writes in0 = K and in1 = V, each [T, kv_heads * head_dim], into the KV cache of `layer` */
  TD_OP_KV_APPEND,
  /* out[T, heads * head_dim] = softmax(in0 K^T * scale) V over the KV cache of `layer`: position p sees positions
   * j <= p, and only those with j > p - window if window > 0 */
  TD_OP_ATTENTION,
  /* out = f(in0) * in1, f = enum td_activation */
  TD_OP_ACTIVATION,
  /* out = in0 + in1; without in1: out = in0 + weight[1, n] in every row (a bias) */
  TD_OP_ADD,
  /* in0[T, experts] = router logits -> out[T, 2 * experts_used]: first the ids of the experts_used largest (as float32;
   * descending, ties: the lower id first), then their weights, the softmax over those chosen (= the softmax over all,
   * renormalised) */
  TD_OP_ROUTER,
  /* in1 = the router's out; weight[experts * n, k], expert e's matrix in rows e n .. (e + 1) n - 1;
   * out[T, experts_used * n]: slot j = in0's row times the matrix of the j-th chosen expert, where in0 is [T, k] (the
   * same for every slot) or [T, experts_used * k] (slot j's own part) */
  TD_OP_EXPERT_MATMUL,
  /* out[T, n] = sum over slots j, ascending, of router weight j * in0[T, experts_used * n] slot j; in1 = the router's
   * out */
  TD_OP_EXPERT_SUM,
  /* out[L, n] = the rows of in0[T, n] whose logits are wanted, in batch order */
  TD_OP_SELECT,
  /* logits in0[L, n] -> one id a row; done on the host by the framework, never sent to a device */
  TD_OP_SAMPLE,
  /* -- priced only: in graphs of shape-only models; no backend needs them. Nor these forms of the kinds above: MATMUL
   * with groups > 1, where each of `groups` equal parts of out is the product of that part of the weight's rows and k
   * columns of in0 of its own; ATTENTION that is bidirectional, has sinks (weight[1, heads]) or reads latents (in0 and
   * in1 are the two parts of the query, keys are head_dim wide, out is as wide as the latents of all heads); ADD of a
   * weight of several rows, of which each token takes one, or with experts > 0 its experts' -- */
  /* out = (in0 - mean) / sqrt(variance + epsilon) * weight row 0 + row 1; weight[2, n] */
  TD_OP_LAYER_NORM,
  /* out[T, n] = in0 + row positions[t] of weight[context, n] (learned positions) */
  TD_OP_EMBED_POSITIONS,
  /* out = f(in0), f = enum td_activation (FFNs without a gate) */
  TD_OP_POINTWISE,
  /* -- of no model's graph: what backends that emulate an LPU on another device ask of it. A device may support it. */
  /* executes a step of a lowered LPU program (tandem/lpu_code.h) on SRAM images: weight = the code, in0 = the step's
   * calls, in1 = the workspace, out = SRAM of all chips, changed in place; n parts of at most k chips (struct
   * td_lpu_code_step) */
  TD_OP_LPU_RUN,
  TD_OP_KIND_COUNT
};
enum td_activation {
  TD_ACT_SILU, /* x / (1 + exp(-x)) */
  TD_ACT_GELU, /* tanh form: x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) */
  TD_ACT_RELU, /* priced only */
  TD_ACT_TANH  /* priced only */
};
enum td_rope_pairs { TD_ROPE_ADJACENT, TD_ROPE_HALVES };
/* The first kind that is priced only. */
#define TD_OP_EXECUTED_COUNT TD_OP_LAYER_NORM
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
  int64_t n, k;                                /* output columns (EXPERT_MATMUL: of one slot); the inner dimension */
  int32_t heads, kv_heads, head_dim, rope_dim; /* ROPE, KV_APPEND, ATTENTION */
  int32_t groups;                              /* RMS_NORM: >= 1, divides n (else 0, but see above) */
  int32_t window;                              /* ATTENTION: 0 = none */
  int32_t experts, experts_used;               /* ROUTER, EXPERT_MATMUL, EXPERT_SUM */
  enum td_rope_pairs rope_pairs;               /* ROPE */
  enum td_activation activation;               /* ACTIVATION, POINTWISE */
  bool bidirectional;                          /* ATTENTION without a causal mask: priced only */
  double epsilon, theta;                       /* RMS_NORM; ROPE */
  double scale;                                /* ATTENTION, EMBED (1 for most models) */
  double position_scale;                       /* ROPE (1 but for linear scaling: 1 / factor) */
  /* MATMUL: columns of this product and of those next to it with the same input and element type, which serving
   * kernels do as one (Q, K and V; gate and up); 0: it is part of the one before it */
  int64_t fused_n;
  /* MATMUL, EXPERT_SUM: what comes out goes to the residual stream. Split over several chips, each has a part of its
   * inner dimension and the parts are summed over the chips; other products are split by columns, with the heads */
  bool joins;
  int32_t alike; /* 1 + the first operator of the graph whose work is the same; 0: not known */
  /* Of such a first one: how many there are in all, and the next first one of the graph (the last has op_count) */
  int32_t alike_count, alike_next;
};

struct td_graph {
  struct td_shape shape;
  struct td_op *ops; /* in execution order */
  int32_t op_count;
  struct td_value *values;
  int32_t value_count;
  struct td_weight *weights;
  int32_t weight_count;
  int32_t distinct_count; /* operators whose work is that of none before them; 0: not known */
};

/* Sets fused_n and joins, and then `alike` of all operators: same kind, sizes, element types and cost, whatever layer
 * and values. td_graph_build has done it. */
void td_graph_mark_alike(struct td_graph *graph);

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
 * produces) and live-outs (values it produces and another slice reads, "logits", and what nothing reads: an encoder's
 * "pooled"). Free with td_slice_ops_free. TD_CONFIG if the range is empty or outside the graph. */
struct td_slice_ops {
  int32_t *ops, op_count;
  int32_t *live_in, live_in_count;
  int32_t *live_out, live_out_count;
};
td_status td_slice_ops_build(const struct td_graph *graph, const struct td_slice *slice, struct td_slice_ops *out_ops);
void td_slice_ops_free(struct td_slice_ops *ops);

/* The operators of a slice that are not alike, in order of their first appearance, and how often each is there: all
 * that a price needs, and few. Errors as td_slice_ops_build. Free *out_groups with free(). */
struct td_slice_group {
  int32_t op, count; /* op: an index into graph->ops, of this slice or alike one of it */
};
td_status td_slice_groups_build(const struct td_graph *graph, const struct td_slice *slice,
                                struct td_slice_group **out_groups, int32_t *out_count);

/* Bytes of the weights of a slice, each once, in its element type: of its experts, and of all else. TD_UNSUPPORTED as
 * td_dtype_row_bytes. */
td_status td_slice_weight_bytes(const struct td_graph *graph, const struct td_slice *slice, uint64_t *out_experts,
                                uint64_t *out_rest);

/* Range of real layers [*out_begin, *out_end) whose attention lies in the slice: the layers that own KV. */
void td_slice_kv_layers(const struct td_graph *graph, const struct td_slice *slice, int32_t *out_begin,
                        int32_t *out_end);

/* KV bytes of `tokens` positions of `layers` layers: layers * 2 * kv_heads * head_dim * element size * tokens; with
 * multi-head latent attention (kv_lora > 0) one latent of kv_lora + rope_dim elements instead. Every position is kept,
 * in sliding-window layers too. */
uint64_t td_kv_bytes(const struct td_shape *shape, enum td_dtype kv_dtype, int64_t layers, int64_t tokens);

#endif
