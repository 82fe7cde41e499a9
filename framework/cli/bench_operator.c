/* SPDX-License-Identifier: Apache-2.0
 *
 * One operator on a device, over and over. What a real step would fetch from memory is there in as many copies as no
 * cache holds, taken in turn: weights and cache always, activations when they have more than one row.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "tandem/base.h"

#define SEED 7
#define COPIES_MAX 1024
#define OPERANDS (TD_OP_INPUTS + 1)

struct copies {
  int64_t weights, caches, activations, all;
};

struct turn {
  struct td_seq seq;
  struct td_batch batch;
};

struct rig {
  struct td_device *device;
  struct bench_case *item;
  struct copies copies;
  int64_t next;
  struct bench_shelf *shelf; /* weights and cache */
  struct td_buffer *operands[OPERANDS];
  uint64_t operand_bytes[OPERANDS]; /* of one copy, aligned */
  int64_t blocks;                   /* of one copy of the cache */
  struct turn *turns;               /* [copies.all] */
  int32_t *ids, *positions, *tables;
  int32_t logit_row;
};

/* ---- how much ---- */

static bool uses_cache(const struct td_op *op) {
  return op->kind == TD_OP_KV_APPEND || op->kind == TD_OP_ATTENTION;
}

/* Its second input is what a router said. */
static bool is_routed(const struct td_op *op) {
  return op->kind == TD_OP_EXPERT_MATMUL || op->kind == TD_OP_EXPERT_SUM;
}

static int64_t operand_rows(const struct bench_case *item, int operand) {
  if (item->op.rows == TD_ROWS_LOGITS && (operand == TD_OP_INPUTS || item->op.kind != TD_OP_SELECT)) return 1;
  return item->tokens;
}

static bool has_operand(const struct bench_case *item, int operand) {
  return operand == TD_OP_INPUTS ? item->op.out >= 0 : item->op.in[operand] >= 0;
}

static uint64_t operand_bytes(const struct bench_case *item, int operand) {
  if (!has_operand(item, operand)) return 0;
  uint64_t bytes = (uint64_t)operand_rows(item, operand) * (uint64_t)item->values[operand].cols * sizeof(float);
  return (bytes + 63) / 64 * 64;
}

static int64_t copies_of(uint64_t bytes, uint64_t beyond) {
  if (!bytes) return 1;
  uint64_t copies = (beyond + bytes - 1) / bytes;
  return copies > COPIES_MAX ? COPIES_MAX : (int64_t)copies;
}

static td_status weight_bytes(const struct bench_case *item, uint64_t *out_bytes) {
  *out_bytes = 0;
  if (item->op.weight < 0) return TD_OK;
  TD_TRY(td_dtype_row_bytes(item->weight.dtype, item->weight.cols, out_bytes));
  *out_bytes *= (uint64_t)item->weight.rows;
  return TD_OK;
}

static uint64_t block_bytes(const struct bench_case *item) {
  uint64_t element = item->kv_dtype == TD_F16 ? 2 : 4;
  return BENCH_BLOCK_TOKENS * (uint64_t)item->op.kv_heads * (uint64_t)item->op.head_dim * element;
}

static int64_t most(int64_t a, int64_t b) {
  return a > b ? a : b;
}

static td_status count_copies(struct rig *rig) {
  const struct bench_case *item = rig->item;
  uint64_t beyond = item->still ? 1 : bench_beyond_caches(rig->device), weight, activations = 0;
  TD_TRY(weight_bytes(item, &weight));
  for (int i = 0; i < OPERANDS; i++) activations += rig->operand_bytes[i] = operand_bytes(item, i);
  rig->blocks = (item->past + item->tokens + BENCH_BLOCK_TOKENS - 1) / BENCH_BLOCK_TOKENS;
  uint64_t cache = uses_cache(&item->op) ? 2 * (uint64_t)rig->blocks * block_bytes(item) : 0;
  bool matrix = item->weight.rows > 1 && item->op.kind != TD_OP_EMBED; /* of an embedding other rows are taken */
  rig->copies = (struct copies){.weights = matrix ? copies_of(weight, beyond) : 1,
                                .caches = copies_of(cache, beyond),
                                .activations = item->tokens > 1 && !item->warm ? copies_of(activations, beyond) : 1};
  rig->copies.all = most(most(rig->copies.weights, rig->copies.caches), rig->copies.activations);
  if (is_routed(&item->op) && item->tokens == 1) { /* all experts in turn, not the same few */
    rig->copies.activations = item->op.experts / item->op.experts_used;
    rig->copies.all = rig->copies.weights * rig->copies.activations;
  }
  if (item->op.kind == TD_OP_EMBED && !item->still) rig->copies.all = COPIES_MAX;
  return TD_OK;
}

/* ---- operands ---- */

/* What a router says: different experts in each row, equal weights. */
static void fill_routes(const struct bench_case *item, int64_t copy, float *out) {
  int32_t used = item->op.experts_used;
  for (int64_t row = 0; row < item->tokens; row++) {
    for (int32_t j = 0; j < used; j++) {
      out[row * 2 * used + j] = (float)(((copy + row) * used + j) % item->op.experts);
      out[row * 2 * used + used + j] = 1.0f / (float)used;
    }
  }
}

static void fill_operand(const struct bench_case *item, int operand, float *out) {
  int64_t count = operand_rows(item, operand) * item->values[operand].cols;
  for (int64_t i = 0; i < count; i++) {
    out[i] = i < 65536 ? (float)(2 * td_random_unit(SEED, (uint64_t)operand, (uint64_t)i) - 1) : out[i - 65536];
  }
}

static td_status make_operand(struct rig *rig, int operand) {
  uint64_t bytes = rig->operand_bytes[operand];
  float *host;
  bool routes = operand == 1 && is_routed(&rig->item->op);
  if (!bytes) return TD_OK;
  TD_TRY(td_device_alloc(rig->device, bytes * (uint64_t)rig->copies.activations, TD_USE_ACTIVATION,
                         &rig->operands[operand]));
  if (operand == TD_OP_INPUTS) return TD_OK;
  TD_TRY(td_alloc(1, bytes, (void **)&host));
  fill_operand(rig->item, operand, host);
  td_status status = TD_OK;
  for (int64_t i = 0; !status && i < rig->copies.activations; i++) {
    if (routes) fill_routes(rig->item, i, host);
    status = td_device_write(rig->device, rig->operands[operand], bytes * (uint64_t)i, host, bytes);
  }
  free(host);
  return status;
}

/* ---- batches ---- */

static void make_turn(struct rig *rig, int64_t number) {
  const struct bench_case *item = rig->item;
  struct turn *turn = &rig->turns[number];
  int64_t cache = number % rig->copies.caches;
  turn->seq = (struct td_seq){.request = 1,
                              .past = item->past,
                              .tokens = item->tokens,
                              .blocks = rig->tables + cache * rig->blocks,
                              .block_count = (int32_t)rig->blocks,
                              .logits = true};
  turn->batch = (struct td_batch){.rows = item->tokens,
                                  .ids = rig->ids + number * item->tokens,
                                  .positions = rig->positions,
                                  .seqs = &turn->seq,
                                  .seq_count = 1,
                                  .logit_rows = &rig->logit_row,
                                  .logit_count = 1};
}

static td_status make_batches(struct rig *rig) {
  const struct bench_case *item = rig->item;
  int64_t tokens = item->tokens, blocks = rig->blocks * rig->copies.caches;
  TD_TRY(td_alloc((size_t)rig->copies.all, sizeof *rig->turns, (void **)&rig->turns));
  TD_TRY(td_alloc((size_t)(rig->copies.all * tokens), sizeof *rig->ids, (void **)&rig->ids));
  TD_TRY(td_alloc((size_t)tokens, sizeof *rig->positions, (void **)&rig->positions));
  TD_TRY(td_alloc((size_t)blocks, sizeof *rig->tables, (void **)&rig->tables));
  int64_t vocab = item->op.kind == TD_OP_EMBED ? item->weight.rows : 1;
  for (int64_t i = 0; i < rig->copies.all * tokens; i++) {
    rig->ids[i] = (int32_t)(td_random(SEED, 1, (uint64_t)i) % (uint64_t)vocab);
  }
  for (int64_t i = 0; i < tokens; i++) rig->positions[i] = (int32_t)(item->past + i);
  for (int64_t i = 0; i < blocks; i++) rig->tables[i] = (int32_t)i;
  rig->logit_row = (int32_t)(tokens - 1);
  for (int64_t i = 0; i < rig->copies.all; i++) make_turn(rig, i);
  return TD_OK;
}

/* ---- calls ---- */

static struct td_view operand_view(const struct rig *rig, int operand, int64_t number) {
  if (!rig->operands[operand]) return (struct td_view){0};
  int64_t round = rig->item->tokens == 1 ? number / rig->copies.weights : number;
  return (struct td_view){.buffer = rig->operands[operand],
                          .offset = rig->operand_bytes[operand] * (uint64_t)(round % rig->copies.activations),
                          .dtype = TD_F32,
                          .rows = operand_rows(rig->item, operand),
                          .cols = rig->item->values[operand].cols};
}

static struct td_op_call make_call(const struct rig *rig, int64_t number) {
  const struct bench_case *item = rig->item;
  struct td_op_call call = {.op = &item->op,
                            .in = {operand_view(rig, 0, number), operand_view(rig, 1, number)},
                            .out = operand_view(rig, TD_OP_INPUTS, number),
                            .batch = &rig->turns[number].batch};
  if (item->op.weight >= 0) {
    call.weight = (struct td_view){.buffer = rig->shelf->weights[number % rig->copies.weights],
                                   .dtype = item->weight.dtype,
                                   .rows = item->weight.rows,
                                   .cols = item->weight.cols};
  }
  if (uses_cache(&item->op)) {
    call.kv = (struct td_kv_view){.k = rig->shelf->k,
                                  .v = rig->shelf->v,
                                  .dtype = item->kv_dtype,
                                  .block_tokens = BENCH_BLOCK_TOKENS,
                                  .kv_heads = item->op.kv_heads,
                                  .head_dim = item->op.head_dim};
  }
  return call;
}

static td_status go(void *context, int64_t calls) {
  struct rig *rig = context;
  for (int64_t i = 0; i < calls; i++) {
    struct td_op_call call = make_call(rig, rig->next);
    rig->next = (rig->next + 1) % rig->copies.all;
    TD_TRY(td_device_op(rig->device, &call));
  }
  return td_device_sync(rig->device);
}

static td_status open_rig(struct rig *rig) {
  TD_TRY(count_copies(rig));
  if (rig->item->op.weight >= 0) {
    TD_TRY(bench_shelf_weights(rig->device, &rig->item->weight, rig->copies.weights, SEED, rig->shelf));
  }
  for (int i = 0; i < OPERANDS; i++) TD_TRY(make_operand(rig, i));
  if (uses_cache(&rig->item->op)) {
    uint64_t bytes = (uint64_t)(rig->blocks * rig->copies.caches) * block_bytes(rig->item);
    TD_TRY(bench_shelf_cache(rig->device, rig->item->kv_dtype, bytes, rig->shelf));
  }
  TD_TRY(make_batches(rig));
  return td_device_sync(rig->device);
}

static void close_rig(struct rig *rig) {
  td_device_sync(rig->device); /* nothing may run on what is freed; its failure was told or is not ours */
  for (int i = 0; i < OPERANDS; i++) td_device_free(rig->device, rig->operands[i]);
  free(rig->turns);
  free(rig->ids);
  free(rig->positions);
  free(rig->tables);
}

static void add_work(const struct rig *rig, struct bench_result *result) {
  struct bench_case *item = rig->item;
  struct td_graph graph = bench_case_graph(item);
  struct td_step_stats stats = {0};
  td_step_stats_add(&stats, &item->shape, item->past, item->tokens, 1);
  bench_work_add(&result->work, &graph, &item->op, item->kv_dtype, &stats);
  double bytes = bench_work_bytes(&result->work) * (double)rig->copies.all;
  result->cached = bytes < (double)bench_beyond_caches(rig->device) / 2;
}

static td_status measure(struct td_device *device, double seconds, struct bench_case *item,
                         struct bench_ceilings *ceilings, struct bench_shelf *shelf, struct bench_result *result) {
  struct bench_shelf own = {.weights = NULL};
  struct rig rig = {.device = device, .item = item, .shelf = shelf ? shelf : &own};
  struct bench_beside beside;
  td_status status = open_rig(&rig);
  if (!status) {
    add_work(&rig, result);
    bool paired = bench_ceilings_beside(ceilings, &result->work, &beside) && !result->cached;
    result->beside = beside.which;
    status = bench_measure(device, seconds, rig.copies.all, go, &rig, paired ? &beside : NULL, &result->times);
  }
  close_rig(&rig);
  bench_shelf_close(device, &own);
  return status ? td_fail_within(status, "%s", item->name) : TD_OK;
}

td_status bench_operator(struct td_device *device, double seconds, struct bench_case *item,
                         struct bench_ceilings *ceilings, struct bench_shelf *shelf, struct bench_result *out_result) {
  struct bench_result result = {.tokens = item->tokens, .past = item->past, .energy_j = (double)NAN};
  const struct td_op_query query = {
      .op = &item->op, .weight_dtype = item->op.weight >= 0 ? item->weight.dtype : TD_F32, .kv_dtype = item->kv_dtype};
  TD_TRY(td_format(result.name, sizeof result.name, "%s", item->name));
  td_status status = td_device_supports(device, &query);
  if (status == TD_UNSUPPORTED) {
    TD_TRY(td_format(result.note, sizeof result.note, "not run: %.230s", td_error_text()));
  } else if (status) {
    return status;
  } else {
    TD_TRY(measure(device, seconds, item, ceilings, shelf, &result));
  }
  *out_result = result;
  return TD_OK;
}
