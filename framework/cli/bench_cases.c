/* SPDX-License-Identifier: Apache-2.0
 *
 * Which operators are measured: each that the model's graph has, taken out of it, and on request the types of weights
 * and the kinds of operators that this model does not have.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "tandem/base.h"

/* Experts of a small mixture, as in Granite 3.0 1B A400M: 32 of 512 x 1024, 8 used. */
enum { EXPERTS = 32, EXPERTS_USED = 8, EXPERT_FFN = 512, EXPERT_HIDDEN = 1024 };

struct lister {
  struct bench_cases *cases;
  const struct td_graph *graph;
  int64_t prompt;
};

struct td_graph bench_case_graph(struct bench_case *item) {
  return (struct td_graph){.shape = item->shape,
                           .ops = &item->op,
                           .op_count = 1,
                           .values = item->values,
                           .value_count = TD_OP_INPUTS + 1,
                           .weights = &item->weight,
                           .weight_count = 1};
}

/* ---- names ---- */

static void add_weight_name(struct td_text *name, const struct bench_case *item) {
  const char *dtype = td_dtype_info((uint32_t)item->weight.dtype)->name;
  td_text_printf(name, "/%s", dtype);
}

static void add_matrix_name(struct td_text *name, const struct bench_case *item) {
  const struct td_op *op = &item->op;
  add_weight_name(name, item);
  if (op->kind == TD_OP_EXPERT_MATMUL) {
    bool each = item->values[0].cols != op->k;
    td_text_printf(name, "/%dof%d-%s", op->experts_used, op->experts, each ? "down-" : "");
  } else {
    td_text_printf(name, "/");
  }
  td_text_printf(name, "%" PRId64 "x%" PRId64, item->weight.rows / (op->experts ? op->experts : 1), item->weight.cols);
}

static void add_heads_name(struct td_text *name, const struct bench_case *item) {
  const struct td_op *op = &item->op;
  bool cached = op->kind != TD_OP_ROPE, attends = op->kind == TD_OP_ATTENTION;
  if (cached) td_text_printf(name, "/%s", td_dtype_info((uint32_t)item->kv_dtype)->name);
  td_text_printf(name, "/%d", op->kind == TD_OP_KV_APPEND ? op->kv_heads : op->heads);
  if (attends) td_text_printf(name, "over%d", op->kv_heads);
  td_text_printf(name, "x%d", op->head_dim);
  if (attends && op->window) td_text_printf(name, "-window%d", op->window);
}

static void add_vector_name(struct td_text *name, const struct bench_case *item) {
  const struct td_op *op = &item->op;
  if (op->kind == TD_OP_ACTIVATION) td_text_printf(name, "/%s", op->activation == TD_ACT_GELU ? "gelu" : "silu");
  if (op->kind == TD_OP_ADD && op->weight >= 0) td_text_printf(name, "/bias");
  if (op->kind == TD_OP_ROUTER || op->kind == TD_OP_EXPERT_SUM) {
    td_text_printf(name, "/%dof%d", op->experts_used, op->experts);
  }
  if (op->kind == TD_OP_ROUTER) return;
  if (op->kind == TD_OP_RMS_NORM && op->groups > 1) {
    td_text_printf(name, "/%dx%" PRId64, op->groups, op->n / op->groups);
  } else {
    td_text_printf(name, "/%" PRId64, op->n);
  }
}

static td_status name_case(struct bench_case *item) {
  struct td_text name = {0};
  td_text_printf(&name, "%s", td_op_kind_name(item->op.kind));
  switch (item->op.kind) {
    case TD_OP_EMBED:
    case TD_OP_MATMUL:
    case TD_OP_EXPERT_MATMUL:
      add_matrix_name(&name, item);
      break;
    case TD_OP_ROPE:
    case TD_OP_KV_APPEND:
    case TD_OP_ATTENTION:
      add_heads_name(&name, item);
      break;
    default:
      add_vector_name(&name, item);
  }
  td_text_printf(&name, "/%s", item->past ? "decode" : "prefill");
  td_status status = name.failed ? td_fail(TD_NO_MEMORY, "no room for the name of a case")
                                 : td_format(item->name, sizeof item->name, "%s", name.data);
  td_text_free(&name);
  return status;
}

/* ---- the list ---- */

static bool is_listed(const struct bench_cases *cases, const char *name) {
  for (size_t i = 0; i < cases->count; i++) {
    if (!strcmp(cases->items[i].name, name)) return true;
  }
  return false;
}

static td_status add_case(struct lister *lister, struct bench_case item) {
  struct bench_cases *cases = lister->cases;
  TD_TRY(name_case(&item));
  if (is_listed(cases, item.name)) return TD_OK;
  TD_TRY(td_grow((void **)&cases->items, &cases->capacity, cases->count + 1, sizeof item));
  cases->items[cases->count++] = item;
  return TD_OK;
}

/* What comes after SELECT has one row in either phase, and SELECT has something to select from in one. */
static td_status add_phases(struct lister *lister, struct bench_case item) {
  bool last = item.op.rows == TD_ROWS_LOGITS, select = item.op.kind == TD_OP_SELECT;
  item.past = lister->prompt;
  item.tokens = 1;
  if (!select) TD_TRY(add_case(lister, item));
  item.past = 0;
  item.tokens = lister->prompt;
  return last && !select ? TD_OK : add_case(lister, item);
}

static td_status add_caches(struct lister *lister, struct bench_case item) {
  item.kv_dtype = TD_F32;
  if (item.op.kind != TD_OP_ATTENTION && item.op.kind != TD_OP_KV_APPEND) return add_phases(lister, item);
  TD_TRY(add_phases(lister, item));
  item.kv_dtype = TD_F16;
  return add_phases(lister, item);
}

struct bench_case bench_case_of(const struct td_graph *graph, const struct td_op *op) {
  struct bench_case item = {.shape = graph->shape, .op = *op};
  for (int i = 0; i < TD_OP_INPUTS; i++) {
    if (op->in[i] < 0) continue;
    item.values[i] = graph->values[op->in[i]];
    item.op.in[i] = i;
  }
  if (op->out >= 0) {
    item.values[TD_OP_INPUTS] = graph->values[op->out];
    item.op.out = TD_OP_INPUTS;
  }
  if (op->weight >= 0) {
    item.weight = graph->weights[op->weight];
    item.op.weight = 0;
  }
  return item;
}

static td_status add_of_model(struct lister *lister) {
  for (int32_t i = 0; i < lister->graph->op_count; i++) {
    const struct td_op *op = &lister->graph->ops[i];
    if (op->kind == TD_OP_SAMPLE || op->kind >= TD_OP_EXECUTED_COUNT) continue;
    TD_TRY(add_caches(lister, bench_case_of(lister->graph, op)));
  }
  return TD_OK;
}

/* ---- what the model does not have ---- */

static td_status add_with_dtype(struct lister *lister, const struct bench_case *item, enum td_dtype dtype) {
  struct bench_case changed = *item;
  if (changed.weight.cols % td_dtype_info((uint32_t)dtype)->block_elements) return TD_OK;
  changed.weight.dtype = dtype;
  return add_phases(lister, changed);
}

static td_status add_all_dtypes(struct lister *lister, const struct bench_case *item) {
  const struct td_dtype_info *info;
  for (int i = 0; (info = td_dtype_at(i)); i++) TD_TRY(add_with_dtype(lister, item, info->dtype));
  return TD_OK;
}

/* Every product in f32 and f16; the FFN's last in every type, because its rows are the longest. */
static td_status sweep_dtypes(struct lister *lister) {
  const struct td_op *longest = NULL;
  for (int32_t i = 0; i < lister->graph->op_count; i++) {
    const struct td_op *op = &lister->graph->ops[i];
    if (op->kind != TD_OP_MATMUL) continue;
    struct bench_case item = bench_case_of(lister->graph, op);
    TD_TRY(add_with_dtype(lister, &item, TD_F32));
    TD_TRY(add_with_dtype(lister, &item, TD_F16));
    if (!longest || op->k > longest->k) longest = op;
  }
  for (int32_t i = 0; i < lister->graph->op_count; i++) {
    const struct td_op *op = &lister->graph->ops[i];
    if (op->kind != TD_OP_EMBED && op != longest) continue;
    struct bench_case item = bench_case_of(lister->graph, op);
    TD_TRY(add_all_dtypes(lister, &item));
  }
  return TD_OK;
}

static struct bench_case expert_case(const struct td_shape *shape, enum td_op_kind kind, int64_t in0, int64_t in1,
                                     int64_t out) {
  struct bench_case item = {.shape = *shape, .kv_dtype = TD_F32};
  item.shape.experts = EXPERTS;
  item.shape.experts_used = EXPERTS_USED;
  item.op = (struct td_op){.kind = kind,
                           .in = {0, in1 ? 1 : -1},
                           .out = TD_OP_INPUTS,
                           .weight = -1,
                           .n = out,
                           .experts = EXPERTS,
                           .experts_used = EXPERTS_USED};
  item.values[0].cols = in0;
  item.values[1].cols = in1;
  item.values[TD_OP_INPUTS].cols = out;
  return item;
}

static td_status add_expert_matmul(struct lister *lister, int64_t n, int64_t k, bool down) {
  int64_t in = down ? EXPERTS_USED * k : k;
  struct bench_case item =
      expert_case(&lister->graph->shape, TD_OP_EXPERT_MATMUL, in, 2 * EXPERTS_USED, EXPERTS_USED * n);
  static const enum td_dtype dtypes[] = {TD_F32, TD_F16, TD_Q8_0, TD_Q4_0, TD_Q4_K};
  item.op.n = n;
  item.op.k = k;
  item.op.weight = 0;
  item.weight = (struct td_weight){.rows = EXPERTS * n, .cols = k};
  for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) TD_TRY(add_with_dtype(lister, &item, dtypes[i]));
  return TD_OK;
}

static td_status sweep_experts(struct lister *lister) {
  const struct td_shape *shape = &lister->graph->shape;
  if (shape->experts) return TD_OK;
  TD_TRY(add_phases(lister, expert_case(shape, TD_OP_ROUTER, EXPERTS, 0, 2 * EXPERTS_USED)));
  TD_TRY(add_expert_matmul(lister, EXPERT_FFN, EXPERT_HIDDEN, false));
  TD_TRY(add_expert_matmul(lister, EXPERT_HIDDEN, EXPERT_FFN, true));
  return add_phases(
      lister, expert_case(shape, TD_OP_EXPERT_SUM, EXPERTS_USED * EXPERT_HIDDEN, 2 * EXPERTS_USED, EXPERT_HIDDEN));
}

/* ---- in an order to be read: by kind, then as listed ---- */

static void sort_by_kind(struct bench_cases *cases) {
  for (size_t i = 1; i < cases->count; i++) { /* stable, and the list is short */
    struct bench_case item = cases->items[i];
    size_t j = i;
    for (; j > 0 && cases->items[j - 1].op.kind > item.op.kind; j--) cases->items[j] = cases->items[j - 1];
    cases->items[j] = item;
  }
}

td_status bench_cases_list(const struct td_graph *graph, int64_t prompt, bool sweep, struct bench_cases *out_cases) {
  struct bench_cases cases = {0};
  struct lister lister = {&cases, graph, prompt};
  td_status status = add_of_model(&lister);
  if (!status && sweep) status = sweep_dtypes(&lister);
  if (!status && sweep) status = sweep_experts(&lister);
  if (status) {
    bench_cases_free(&cases);
    return status;
  }
  sort_by_kind(&cases);
  *out_cases = cases;
  return TD_OK;
}

void bench_cases_free(struct bench_cases *cases) {
  free(cases->items);
  *cases = (struct bench_cases){0};
}
