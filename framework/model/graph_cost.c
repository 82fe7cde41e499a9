/* SPDX-License-Identifier: Apache-2.0
 *
 * What an operator costs, as linear forms in a step's counts.
 *
 * FLOPs count additions and multiplications, divisions, square roots and exponentials as one each; a softmax's
 * exponentials are left out, as everywhere in the field: 4 x heads x head_dim per attended position is what published
 * utilisation figures divide by.
 */
#include <assert.h>
#include <stdint.h>

#include "tandem/base.h"
#include "tandem/graph.h"

#define ACTIVATION_BYTES ((int64_t)sizeof(float))

static bool add_overflows(int64_t a, int64_t b, int64_t *out) {
  return __builtin_add_overflow(a, b, out);
}

int64_t td_poly_eval(const struct td_poly *poly, const struct td_step_stats *stats) {
  int64_t sum = 0, product;
  for (int s = 0; s < TD_SYM_COUNT; s++) {
    if (__builtin_mul_overflow(poly->c[s], stats->v[s], &product) || add_overflows(sum, product, &sum)) {
      return INT64_MAX;
    }
  }
  return sum;
}

struct td_poly td_poly_add(struct td_poly a, struct td_poly b) {
  for (int s = 0; s < TD_SYM_COUNT; s++) {
    if (add_overflows(a.c[s], b.c[s], &a.c[s])) a.c[s] = INT64_MAX;
  }
  return a;
}

/* sum of 1 .. n: one of n and n + 1 is even */
static int64_t triangle(int64_t n) {
  return n % 2 ? (n + 1) / 2 * n : n / 2 * (n + 1);
}

/* Of positions past .. past + tokens - 1, each sees min(position + 1, window) positions. */
static int64_t window_pairs(int64_t window, int64_t past, int64_t tokens) {
  int64_t growing = window - past < 0 ? 0 : window - past < tokens ? window - past : tokens;
  return growing * past + triangle(growing) + (tokens - growing) * window;
}

void td_step_stats_add(struct td_step_stats *stats, const struct td_shape *shape, int64_t past, int64_t tokens,
                       int64_t logits) {
  int64_t pairs = tokens * past + triangle(tokens), window = shape->window;
  int64_t reach = window && tokens + window - 1 < past + tokens ? tokens + window - 1 : past + tokens;
  stats->v[TD_SYM_ONE] = 1;
  stats->v[TD_SYM_TOKENS] += tokens;
  stats->v[TD_SYM_LOGITS] += logits;
  stats->v[TD_SYM_SEQS] += 1;
  stats->v[TD_SYM_CONTEXT] += past + tokens;
  stats->v[TD_SYM_PAIRS] += pairs;
  stats->v[TD_SYM_WINDOW_CONTEXT] += reach;
  stats->v[TD_SYM_WINDOW_PAIRS] += window ? window_pairs(window, past, tokens) : pairs;
  stats->v[TD_SYM_FULL_PAIRS] += tokens * (past + tokens);
  if (shape->experts) {
    stats->v[TD_SYM_EXPERTS] =
        td_expected_experts(shape->experts, shape->experts_used, stats->v[TD_SYM_TOKENS]);
  }
}

int64_t td_expected_experts(int64_t experts, int64_t used, int64_t tokens) {
  (void)tokens;
  return used < experts ? used : experts; /* filled in with the architectures */
}

static int64_t row_bytes(enum td_dtype dtype, int64_t elements) {
  uint64_t bytes = 0;
  td_status status = td_dtype_row_bytes(dtype, elements, &bytes);
  assert(status == TD_OK); /* the model was checked when it was opened, the KV type when its store was */
  (void)status;
  return (int64_t)bytes;
}

static enum td_symbol rows_of(const struct td_op *op) {
  return op->rows == TD_ROWS_LOGITS ? TD_SYM_LOGITS : TD_SYM_TOKENS;
}

static void add(struct td_poly *poly, enum td_symbol symbol, int64_t coefficient) {
  poly->c[symbol] += coefficient;
}

/* Every operator reads its inputs and writes its output once. */
static void count_activations(const struct td_graph *graph, const struct td_op *op, struct td_op_cost *cost) {
  int64_t cols = op->out >= 0 ? graph->values[op->out].cols : 0;
  for (int i = 0; i < TD_OP_INPUTS; i++) {
    if (op->in[i] >= 0) cols += graph->values[op->in[i]].cols;
  }
  add(&cost->activation_bytes, rows_of(op), cols * ACTIVATION_BYTES);
}

/* All of the weight, but of an embedding only the rows that are looked up. */
static void count_weight(const struct td_graph *graph, const struct td_op *op, struct td_op_cost *cost) {
  if (op->weight < 0) return;
  const struct td_weight *weight = &graph->weights[op->weight];
  int64_t row = row_bytes(weight->dtype, weight->cols);
  if (op->kind == TD_OP_EMBED) {
    add(&cost->weight_bytes, TD_SYM_TOKENS, row);
  } else {
    add(&cost->weight_bytes, TD_SYM_ONE, row * weight->rows);
  }
}

static void count_kv(const struct td_op *op, enum td_dtype kv_dtype, struct td_op_cost *cost) {
  if (op->kind != TD_OP_KV_APPEND && op->kind != TD_OP_ATTENTION) return;
  int64_t position = 2 * op->kv_heads * row_bytes(kv_dtype, op->head_dim);
  if (op->kind == TD_OP_KV_APPEND) add(&cost->kv_write_bytes, TD_SYM_TOKENS, position);
  if (op->kind == TD_OP_ATTENTION) add(&cost->kv_read_bytes, TD_SYM_CONTEXT, position);
}

static void count_flops(const struct td_op *op, struct td_op_cost *cost) {
  enum td_symbol rows = rows_of(op);
  switch (op->kind) {
    case TD_OP_MATMUL:
      add(&cost->flops, rows, 2 * op->n * op->k);
      break;
    case TD_OP_ATTENTION:
      add(&cost->flops, TD_SYM_PAIRS, 4 * op->n);
      break;
    case TD_OP_RMS_NORM:
      add(&cost->flops, rows, 4 * op->n + 3);
      break; /* square, sum, two products; mean, eps, root */
    case TD_OP_ROPE:
      add(&cost->flops, rows, 3 * (int64_t)op->heads * op->rope_dim);
      break; /* 6 a pair */
    case TD_OP_ACTIVATION:
      add(&cost->flops, rows, 5 * op->n);
      break; /* exp, +, /, two products */
    case TD_OP_ADD:
      add(&cost->flops, rows, op->n);
      break;
    default:
      break; /* moves bytes only */
  }
}

void td_op_cost(const struct td_graph *graph, const struct td_op *op, enum td_dtype kv_dtype,
                struct td_op_cost *out_cost) {
  *out_cost = (struct td_op_cost){0};
  if (op->kind == TD_OP_SAMPLE) return; /* the framework's, on the host: not a device's time */
  count_flops(op, out_cost);
  count_weight(graph, op, out_cost);
  count_activations(graph, op, out_cost);
  count_kv(op, kv_dtype, out_cost);
  /* SELECT's input has T rows, of which it reads L: rows_of its output is right for both */
}

uint64_t td_kv_bytes(const struct td_shape *shape, enum td_dtype kv_dtype, int64_t layers, int64_t tokens) {
  uint64_t position = 2 * (uint64_t)shape->kv_heads * (uint64_t)row_bytes(kv_dtype, shape->head_dim);
  return (uint64_t)layers * position * (uint64_t)tokens;
}
