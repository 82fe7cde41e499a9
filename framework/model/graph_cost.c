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

int64_t td_poly_eval(const struct td_poly *poly, const struct td_step_stats *stats) {
  int64_t sum = 0, product;
  for (int s = 0; s < TD_SYM_COUNT; s++) {
    if (__builtin_mul_overflow(poly->c[s], stats->v[s], &product) || __builtin_add_overflow(sum, product, &sum)) {
      return INT64_MAX;
    }
  }
  return sum;
}

struct td_poly td_poly_add(struct td_poly a, struct td_poly b) {
  for (int s = 0; s < TD_SYM_COUNT; s++) a.c[s] = td_add_capped(a.c[s], b.c[s]);
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

/* Tiles that hold positions 0 .. p, summed over p < positions. */
static int64_t tiles_below(int64_t tile, int64_t positions) {
  int64_t whole = positions / tile;
  return tile * triangle(whole) + positions % tile * (whole + 1);
}

/* After the tokens were counted: those of the last pass are all of this sequence's, its last ones, or come on top of
 * what earlier sequences have in it. */
static void add_pass_tiles(struct td_step_stats *stats, int64_t past, int64_t tokens) {
  int64_t tile = stats->v[TD_SYM_TILE], pass = stats->v[TD_SYM_PASS], *tiles = &stats->v[TD_SYM_PASS_TILES];
  int64_t all = stats->v[TD_SYM_TOKENS], first = pass > 0 ? (all - 1) / pass * pass : 0, begin = all - tokens;
  if (tokens <= 0) return;
  if (first >= begin) *tiles = 0;
  if (first > begin) past += first - begin;
  *tiles += tiles_below(tile, past + (first > begin ? all - first : tokens)) - tiles_below(tile, past);
}

static void add_tiles(struct td_step_stats *stats, int64_t past, int64_t tokens) {
  int64_t tile = stats->v[TD_SYM_TILE], left = tile - past % tile, *steps = &stats->v[TD_SYM_TILE_STEPS];
  stats->v[TD_SYM_TILES] += tiles_below(tile, past + tokens) - tiles_below(tile, past);
  if (*steps == 0 || left < *steps) *steps = left;
  add_pass_tiles(stats, past, tokens);
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
  if (tokens == 1 && past > 0) {
    stats->v[TD_SYM_DECODES] += 1;
    stats->v[TD_SYM_DECODE_CONTEXT] += past + 1;
  }
  if (stats->v[TD_SYM_TILE] > 0) add_tiles(stats, past, tokens);
  if (shape->experts) {
    stats->v[TD_SYM_EXPERTS] = td_expected_experts(shape->experts, shape->experts_used, stats->v[TD_SYM_TOKENS]);
  }
}

__extension__ typedef unsigned __int128 wide;

/* Fractions in units of 2^-60. */
#define UNIT_BITS 60

static uint64_t product(uint64_t a, uint64_t b) {
  return (uint64_t)(((wide)a * b) >> UNIT_BITS);
}

/* The share of experts that `tokens` tokens all miss: (1 - used / experts)^tokens, each step rounded down. What that
 * loses, below 2^-40 for up to TD_EXPERTS_MAX experts, is far less than lies between two counts of tokens before the
 * result has reached all experts, so the result never falls as tokens grow. */
static uint64_t missed_share(int64_t experts, int64_t used, int64_t tokens) {
  uint64_t power = (uint64_t)(((wide)(experts - used) << UNIT_BITS) / (uint64_t)experts);
  uint64_t share = UINT64_C(1) << UNIT_BITS;
  for (; tokens; tokens >>= 1) {
    if (tokens & 1) share = product(share, power);
    power = product(power, power);
  }
  return share;
}

int64_t td_expected_experts(int64_t experts, int64_t used, int64_t tokens) {
  if (experts <= 0 || used <= 0 || tokens <= 0) return 0;
  if (used >= experts) return experts;
  wide reached = (wide)experts * ((UINT64_C(1) << UNIT_BITS) - missed_share(experts, used, tokens));
  return (int64_t)((reached + (UINT64_C(1) << (UNIT_BITS - 1))) >> UNIT_BITS);
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

/* All of the weight once; but of an embedding the rows that are looked up, of experts those that are reached. */
static void count_weight(const struct td_graph *graph, const struct td_op *op, struct td_op_cost *cost) {
  if (op->weight < 0) return;
  const struct td_weight *weight = &graph->weights[op->weight];
  int64_t row = row_bytes(weight->dtype, weight->cols);
  if (op->kind == TD_OP_EMBED || op->kind == TD_OP_EMBED_POSITIONS) {
    add(&cost->weight_bytes, TD_SYM_TOKENS, row);
  } else if (op->experts) {
    add(&cost->weight_bytes, TD_SYM_EXPERTS, row * (weight->rows / op->experts));
  } else {
    add(&cost->weight_bytes, TD_SYM_ONE, row * weight->rows);
  }
}

/* One position of one layer; a head's K and V are rows of their own, and so is a latent. */
static int64_t position_bytes(const struct td_shape *shape, int32_t kv_heads, int32_t head_dim,
                              enum td_dtype kv_dtype) {
  if (shape->kv_lora) return row_bytes(kv_dtype, td_shape_kv_elements(shape));
  return 2 * (int64_t)kv_heads * row_bytes(kv_dtype, head_dim);
}

static void count_kv(const struct td_graph *graph, const struct td_op *op, enum td_dtype kv_dtype,
                     struct td_op_cost *cost) {
  if (op->kind != TD_OP_KV_APPEND && op->kind != TD_OP_ATTENTION) return;
  int64_t position = position_bytes(&graph->shape, op->kv_heads, op->head_dim, kv_dtype);
  if (op->kind == TD_OP_KV_APPEND) {
    add(&cost->kv_write_bytes, TD_SYM_TOKENS, position);
  } else {
    add(&cost->kv_read_bytes, op->window ? TD_SYM_WINDOW_CONTEXT : TD_SYM_CONTEXT, position);
  }
}

/* Which pairs of a new token and a position attend to one another. */
static enum td_symbol pairs_of(const struct td_op *op) {
  if (op->bidirectional) return TD_SYM_FULL_PAIRS;
  return op->window ? TD_SYM_WINDOW_PAIRS : TD_SYM_PAIRS;
}

/* A product of keys head_dim wide, and one of what comes out. */
static int64_t pair_flops(const struct td_op *op) {
  return 2 * (int64_t)op->heads * op->head_dim + 2 * op->n;
}

/* Of one element, see enum td_activation. */
static int64_t activation_flops(enum td_activation activation) {
  switch (activation) {
    case TD_ACT_SILU:
      return 4; /* sign, exp, +, / */
    case TD_ACT_GELU:
      return 9; /* five products, two sums, tanh, half */
    default:
      return 1;
  }
}

static int64_t row_flops(const struct td_op *op) {
  switch (op->kind) {
    case TD_OP_EMBED:
      return op->scale == 1 ? 0 : op->n;
    case TD_OP_MATMUL:
      return 2 * op->n * op->k;
    case TD_OP_EXPERT_MATMUL:
      return 2 * op->n * op->k * op->experts_used;
    case TD_OP_EXPERT_SUM:
      return 2 * op->n * op->experts_used;
    case TD_OP_ROUTER:
      return 4 * (int64_t)op->experts_used; /* a softmax over those chosen */
    case TD_OP_RMS_NORM:
      return 4 * op->n + 3 * (int64_t)op->groups; /* square, sum, two products; mean, eps, root */
    case TD_OP_LAYER_NORM:
      return 7 * op->n + 4; /* sum, difference, square, sum, two products, bias; two means, eps, root */
    case TD_OP_ROPE:
      return 3 * (int64_t)op->heads * op->rope_dim; /* 6 a pair */
    case TD_OP_ACTIVATION:
      return (activation_flops(op->activation) + 1) * op->n; /* and the product with in1 */
    case TD_OP_POINTWISE:
      return activation_flops(op->activation) * op->n;
    case TD_OP_ADD:
    case TD_OP_EMBED_POSITIONS:
      return op->n;
    default:
      return 0; /* moves bytes only */
  }
}

static void count_flops(const struct td_op *op, struct td_op_cost *cost) {
  if (op->kind == TD_OP_ATTENTION) {
    add(&cost->flops, pairs_of(op), pair_flops(op));
  } else {
    add(&cost->flops, rows_of(op), row_flops(op));
  }
}

void td_op_cost(const struct td_graph *graph, const struct td_op *op, enum td_dtype kv_dtype,
                struct td_op_cost *out_cost) {
  *out_cost = (struct td_op_cost){0};
  if (op->kind == TD_OP_SAMPLE) return; /* the framework's, on the host: not a device's time */
  count_flops(op, out_cost);
  count_weight(graph, op, out_cost);
  count_activations(graph, op, out_cost);
  count_kv(graph, op, kv_dtype, out_cost);
  /* SELECT's input has T rows, of which it reads L: rows_of its output is right for both */
}

uint64_t td_kv_bytes(const struct td_shape *shape, enum td_dtype kv_dtype, int64_t layers, int64_t tokens) {
  uint64_t position = (uint64_t)position_bytes(shape, shape->kv_heads, shape->head_dim, kv_dtype);
  return (uint64_t)layers * position * (uint64_t)tokens;
}
