/* SPDX-License-Identifier: Apache-2.0
 *
 * What measured operators are made of: terms, their names, and how often an operator of a step has each.
 */
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"
#include "tandem/devices.h"
#include "tandem/measured.h"

static const int64_t knots[TD_MEASURED_KNOTS] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512};

static const char *const product_terms[TD_MEASURED_TERMS] = {
    "call",      "input",     "output",     "weight_1",   "weight_2",  "weight_3",  "weight_4",
    "weight_6",  "weight_8",  "weight_12",  "weight_16",  "weight_24", "weight_32", "weight_48",
    "weight_64", "weight_96", "weight_128", "weight_256", "weight_512"};
static const char *const attention_terms[] = {"call", "row", "pair", "context"};
static const char *const step_terms[] = {
    "step", "logit", "matmul_few", "matmul_many", "attention_decode", "attention_prefill", "rest"};
static const char *const other_terms[] = {"call", "element"};

enum { CALL, INPUT, OUTPUT, WEIGHT };
enum { ROW = 1, PAIR, CONTEXT };
enum { ELEMENT = 1 };

#define FEW_ROWS 8

int64_t td_measured_knot(int32_t knot) {
  return knots[knot];
}

int32_t td_measured_terms(enum td_op_kind kind) {
  switch (kind) {
    case TD_OP_MATMUL:
      return TD_MEASURED_TERMS;
    case TD_OP_ATTENTION:
      return sizeof attention_terms / sizeof *attention_terms;
    case TD_OP_SAMPLE:
      return sizeof step_terms / sizeof *step_terms;
    default:
      return sizeof other_terms / sizeof *other_terms;
  }
}

const char *td_measured_term(enum td_op_kind kind, int32_t term, const char **out_unit) {
  *out_unit = kind == TD_OP_SAMPLE && term >= TD_MEASURED_RATIOS ? "1" : "s";
  switch (kind) {
    case TD_OP_MATMUL:
      return product_terms[term];
    case TD_OP_ATTENTION:
      return attention_terms[term];
    case TD_OP_SAMPLE:
      return step_terms[term];
    default:
      return other_terms[term];
  }
}

const char *td_measured_kind_name(enum td_op_kind kind) {
  return kind == TD_OP_SAMPLE ? "step" : td_op_kind_name(kind);
}

int32_t td_measured_class(const struct td_op *op, const struct td_step_stats *stats) {
  int64_t rows = stats->v[op->rows == TD_ROWS_LOGITS ? TD_SYM_LOGITS : TD_SYM_TOKENS];
  if (op->kind == TD_OP_MATMUL) return rows <= FEW_ROWS ? 0 : 1;
  if (op->kind == TD_OP_ATTENTION) return rows == stats->v[TD_SYM_SEQS] ? 2 : 3;
  return 4;
}

enum td_dtype td_measured_type(const struct td_graph *graph, const struct td_op *op, enum td_dtype kv_dtype) {
  if (op->kind == TD_OP_ATTENTION || op->kind == TD_OP_KV_APPEND) return kv_dtype;
  bool typed = op->kind == TD_OP_MATMUL || op->kind == TD_OP_EMBED || op->kind == TD_OP_EXPERT_MATMUL;
  return typed ? graph->weights[op->weight].dtype : TD_F32;
}

/* A product's rows stay what they are while a price is valid, so all of it is a constant. */
static int32_t product_uses(const struct td_op *op, int64_t rows, struct td_measured_use *uses) {
  double weights = (double)op->n * (double)op->k, m = (double)rows;
  int32_t above = 0, count = 0;
  uses[count++] = (struct td_measured_use){CALL, TD_SYM_ONE, 1};
  uses[count++] = (struct td_measured_use){INPUT, TD_SYM_ONE, m * (double)op->k};
  uses[count++] = (struct td_measured_use){OUTPUT, TD_SYM_ONE, m * (double)op->n};
  while (above < TD_MEASURED_KNOTS && knots[above] < rows) above++;
  if (above == TD_MEASURED_KNOTS) {
    double times = m / (double)knots[TD_MEASURED_KNOTS - 1];
    uses[count++] = (struct td_measured_use){WEIGHT + TD_MEASURED_KNOTS - 1, TD_SYM_ONE, weights * times};
  } else if (knots[above] == rows) {
    uses[count++] = (struct td_measured_use){WEIGHT + above, TD_SYM_ONE, weights};
  } else {
    double share = (double)(rows - knots[above - 1]) / (double)(knots[above] - knots[above - 1]);
    uses[count++] = (struct td_measured_use){WEIGHT + above - 1, TD_SYM_ONE, weights * (1 - share)};
    uses[count++] = (struct td_measured_use){WEIGHT + above, TD_SYM_ONE, weights * share};
  }
  return count;
}

static int32_t attention_uses(const struct td_op *op, struct td_measured_use *uses) {
  double wide = (double)op->heads * op->head_dim, cached = (double)op->kv_heads * op->head_dim;
  uses[0] = (struct td_measured_use){CALL, TD_SYM_ONE, 1};
  uses[1] = (struct td_measured_use){ROW, TD_SYM_TOKENS, op->heads};
  uses[2] = (struct td_measured_use){PAIR, op->window ? TD_SYM_WINDOW_PAIRS : TD_SYM_PAIRS, wide};
  uses[3] = (struct td_measured_use){CONTEXT, op->window ? TD_SYM_WINDOW_CONTEXT : TD_SYM_CONTEXT, cached};
  return 4;
}

int32_t td_measured_uses(const struct td_graph *graph, const struct td_op *op, const struct td_step_stats *stats,
                         struct td_measured_use *out_uses) {
  enum td_symbol rows = op->rows == TD_ROWS_LOGITS ? TD_SYM_LOGITS : TD_SYM_TOKENS;
  if (op->kind == TD_OP_MATMUL) return product_uses(op, stats->v[rows], out_uses);
  if (op->kind == TD_OP_ATTENTION) return attention_uses(op, out_uses);
  /* of KV_APPEND: keys and values */
  int64_t cols = op->out >= 0 ? graph->values[op->out].cols : 2 * graph->values[op->in[0]].cols;
  out_uses[0] = (struct td_measured_use){CALL, TD_SYM_ONE, 1};
  out_uses[1] = (struct td_measured_use){ELEMENT, rows, (double)cols};
  return 2;
}

const struct td_measured_op *td_measured_find(const struct td_device_params *device, enum td_op_kind kind,
                                              enum td_dtype type) {
  for (int32_t i = 0; i < device->measured_count; i++) {
    if (device->measured[i].kind == kind && device->measured[i].type == type) return &device->measured[i];
  }
  return NULL;
}
