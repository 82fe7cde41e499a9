/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators by themselves: those of the made models, over rows and contexts, with weights and caches that come from
 * memory and activations that do not, as in a step.
 */
#include <stdlib.h>
#include <string.h>

#include "calibrate.h"
#include "tandem/base.h"

#define SECONDS 0.005 /* a round's: ten repeats of half a millisecond, short enough that some are not disturbed */
#define QUICK_SECONDS 0.002
/* Multiply-adds of the largest product: more would take longer than it tells. */
#define WORK_MAX (INT64_C(1) << 29)
#define QUICK_WORK_MAX (INT64_C(1) << 24)

/* An operator of a shape, timed once a round; one that the device refuses is not timed, and no step will have it. */
struct calibrate_case {
  struct bench_case item;
  enum td_op_kind kind;
  enum td_dtype type; /* of the entry that it is a row of: alike in cases that follow each other */
  int32_t family;
  double seconds[CALIBRATE_ROUNDS];
  int32_t rounds;
};

td_status calibrate_add_row(struct calibrate_rows *rows, const struct td_measured_row *row, int64_t count) {
  TD_TRY(td_grow((void **)&rows->items, &rows->capacity, rows->count + 1, sizeof *row));
  rows->items[rows->count++] = *row;
  if (count > rows->most) rows->most = count;
  return TD_OK;
}

void calibrate_rows_free(struct calibrate_rows *rows) {
  free(rows->items);
  *rows = (struct calibrate_rows){0};
}

/* An operator of a graph by itself, its rows those of a step's tokens. */
static struct bench_case extract(const struct td_graph *graph, const struct td_op *op) {
  struct bench_case item = bench_case_of(graph, op);
  item.warm = true;
  if (op->kind != TD_OP_SELECT) item.op.rows = TD_ROWS_TOKENS;
  return item;
}

static td_status add_case(struct calibrate *calibrate, struct bench_case *item, enum td_dtype type, int32_t family) {
  struct calibrate_case added = {.kind = item->op.kind, .type = type, .family = family};
  TD_TRY(td_format(item->name, sizeof item->name, "%s", td_op_kind_name(item->op.kind)));
  item->still = calibrate->options.quick;
  added.item = *item;
  TD_TRY(td_grow((void **)&calibrate->cases, &calibrate->case_capacity, calibrate->case_count + 1, sizeof added));
  calibrate->cases[calibrate->case_count++] = added;
  return TD_OK;
}

static td_status measure(struct calibrate *calibrate, struct calibrate_case *one, struct bench_shelf *shelf) {
  double seconds = calibrate->options.quick ? QUICK_SECONDS : SECONDS;
  struct bench_ceilings none = {.memory = NULL};
  struct bench_result result;
  td_progress_update(&calibrate->progress, calibrate->done++, calibrate->all);
  TD_TRY(bench_operator(calibrate->device, seconds, &one->item, &none, shelf, &result));
  if (result.times.seconds.count) one->seconds[one->rounds++] = result.times.seconds.median;
  return TD_OK;
}

td_status calibrate_operators_round(struct calibrate *calibrate) {
  struct bench_shelf shelf = {.weights = NULL};
  td_status status = TD_OK;
  for (size_t i = 0; i < calibrate->case_count && !status; i++) {
    status = measure(calibrate, &calibrate->cases[i], &shelf);
  }
  bench_shelf_close(calibrate->device, &shelf);
  return status;
}

static td_status add_case_row(struct calibrate_case *one, struct calibrate_rows *rows) {
  struct td_step_stats stats = {0};
  struct td_graph graph = bench_case_graph(&one->item);
  struct td_measured_use uses[TD_MEASURED_USES];
  const struct bench_case *item = &one->item;
  if (!one->rounds) return TD_OK;
  struct td_measured_row row = {.seconds = bench_spread_of(one->seconds, one->rounds).median, .family = one->family};
  td_step_stats_add(&stats, &item->shape, item->past, item->tokens, 1);
  int32_t count = td_measured_uses(&graph, &item->op, &stats, uses);
  for (int32_t i = 0; i < count; i++) row.uses[uses[i].term] += uses[i].factor * (double)stats.v[uses[i].symbol];
  return calibrate_add_row(rows, &row, item->op.kind == TD_OP_ATTENTION ? item->past + item->tokens : item->tokens);
}

td_status calibrate_operators_fit(struct calibrate *calibrate) {
  td_status status = TD_OK;
  for (size_t begin = 0, end; begin < calibrate->case_count && !status; begin = end) {
    const struct calibrate_case *first = &calibrate->cases[begin];
    struct calibrate_rows rows = {0};
    for (end = begin; end < calibrate->case_count && !status; end++) {
      struct calibrate_case *one = &calibrate->cases[end];
      if (one->kind != first->kind || one->type != first->type) break;
      status = add_case_row(one, &rows);
    }
    if (!status) status = calibrate_add_op(calibrate, &rows, first->kind, first->type);
    calibrate_rows_free(&rows);
  }
  return status;
}

td_status calibrate_add_op(struct calibrate *calibrate, const struct calibrate_rows *rows, enum td_op_kind kind,
                           enum td_dtype type) {
  struct td_device_params *params = &calibrate->params;
  size_t room = sizeof calibrate->ops / sizeof *calibrate->ops;
  if (!rows->count) return TD_OK;
  if ((size_t)params->measured_count == room) return td_fail(TD_INTERNAL, "calibrate: no room for another operator");
  struct td_measured_op *op = &calibrate->ops[params->measured_count];
  TD_TRY(td_measured_fit(kind, rows->items, (int64_t)rows->count, op));
  op->type = type;
  op->most = rows->most;
  op->source = calibrate->source;
  op->command = calibrate->command;
  params->measured = calibrate->ops;
  params->measured_count++;
  return TD_OK;
}

/* The operators of a kind of one model that are not alike, in order; *out_count of them. */
static void list_ops(const struct td_graph *graph, enum td_op_kind kind, const struct td_op **out, int32_t most,
                     int32_t *out_count) {
  *out_count = 0;
  for (int32_t i = 0; i < graph->op_count && *out_count < most; i++) {
    const struct td_op *op = &graph->ops[i];
    bool known = op->kind != kind;
    for (int32_t j = 0; j < *out_count && !known; j++) {
      const struct td_value *a = op->out >= 0 ? &graph->values[op->out] : NULL;
      const struct td_value *b = out[j]->out >= 0 ? &graph->values[out[j]->out] : NULL;
      known = out[j]->n == op->n && out[j]->k == op->k && (!a || !b || a->cols == b->cols);
    }
    if (!known) out[(*out_count)++] = op;
  }
}

/* ---- products ---- */

static td_status over_rows(struct calibrate *calibrate, struct bench_case *item, enum td_dtype type, int32_t family) {
  int64_t most = calibrate->options.quick ? QUICK_WORK_MAX : WORK_MAX;
  for (int32_t knot = 0; knot < TD_MEASURED_KNOTS; knot++) {
    item->past = 0;
    item->tokens = td_measured_knot(knot);
    if (knot && item->op.n * item->op.k > most / item->tokens) break;
    TD_TRY(add_case(calibrate, item, type, family));
  }
  return TD_OK;
}

static td_status list_products(struct calibrate *calibrate, enum td_dtype type) {
  int32_t family = 0;
  for (int32_t m = 0; m < calibrate->model_count; m++) {
    const struct td_graph *graph = calibrate->models[m].graph;
    const struct td_op *ops[8];
    int32_t count;
    list_ops(graph, TD_OP_MATMUL, ops, 8, &count);
    for (int32_t i = 0; i < count; i++) {
      struct bench_case item = extract(graph, ops[i]);
      item.weight.dtype = type;
      TD_TRY(over_rows(calibrate, &item, type, family++));
    }
  }
  return TD_OK;
}

/* ---- attention ---- */

struct reach {
  int64_t past, tokens;
};
static const struct reach reaches[] = {{16, 1},   {64, 1},    {128, 1}, {256, 1},  {512, 1}, {1024, 1},
                                       {2040, 1}, {0, 16},    {0, 64},  {0, 256},  {64, 16}, {256, 16},
                                       {256, 64}, {1024, 16}, {0, 512}, {512, 128}};
#define REACHES (sizeof reaches / sizeof *reaches)
#define QUICK_REACHES 9

/* Of each model: its heads, and the same number of twice the width. */
static td_status list_attention(struct calibrate *calibrate, enum td_op_kind kind, enum td_dtype type) {
  size_t count = calibrate->options.quick ? QUICK_REACHES : REACHES;
  for (int32_t m = 0; m < 2 * calibrate->model_count; m++) {
    const struct td_graph *graph = calibrate->models[m / 2].graph;
    const struct td_op *op;
    int32_t found;
    list_ops(graph, kind, &op, 1, &found);
    struct bench_case item = extract(graph, op);
    item.kv_dtype = type;
    if (m % 2) {
      item.op.head_dim *= 2;
      for (int i = 0; i <= TD_OP_INPUTS; i++) item.values[i].cols *= 2;
    }
    for (size_t i = 0; i < count; i++) {
      item.past = reaches[i].past;
      item.tokens = reaches[i].tokens;
      TD_TRY(add_case(calibrate, &item, type, m));
    }
  }
  return TD_OK;
}

/* ---- the others ---- */

static const int64_t row_counts[] = {1, 2, 4, 16, 64, 256};
#define ROW_COUNTS (sizeof row_counts / sizeof *row_counts)

static td_status list_pointwise(struct calibrate *calibrate, enum td_op_kind kind, enum td_dtype type) {
  int32_t family = 0;
  for (int32_t m = 0; m < calibrate->model_count; m++) {
    const struct td_graph *graph = calibrate->models[m].graph;
    const struct td_op *ops[4];
    int32_t count;
    list_ops(graph, kind, ops, 4, &count);
    for (int32_t i = 0; i < count; i++, family++) {
      struct bench_case item = extract(graph, ops[i]);
      if (kind == TD_OP_EMBED) item.weight.dtype = type;
      for (size_t r = 0; r < ROW_COUNTS; r++) {
        item.tokens = row_counts[r];
        TD_TRY(add_case(calibrate, &item, type, family));
      }
    }
  }
  return TD_OK;
}

static const enum td_op_kind vectors[] = {TD_OP_RMS_NORM, TD_OP_ROPE, TD_OP_ACTIVATION, TD_OP_ADD, TD_OP_SELECT};
#define VECTORS (sizeof vectors / sizeof *vectors)
static const enum td_dtype caches[] = {TD_F16, TD_F32};

td_status calibrate_operators_list(struct calibrate *calibrate) {
  for (int32_t i = 0; i < calibrate->type_count; i++) {
    TD_TRY(list_products(calibrate, calibrate->types[i]));
    TD_TRY(list_pointwise(calibrate, TD_OP_EMBED, calibrate->types[i]));
  }
  for (int i = 0; i < 2; i++) {
    TD_TRY(list_attention(calibrate, TD_OP_ATTENTION, caches[i]));
    TD_TRY(list_attention(calibrate, TD_OP_KV_APPEND, caches[i]));
  }
  for (size_t i = 0; i < VECTORS; i++) TD_TRY(list_pointwise(calibrate, vectors[i], TD_F32));
  return TD_OK;
}
