/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole steps of a whole model, through td_runner: compiled by backends that have a plan, interpreted on the others.
 * Values against double precision; for exact backends chunks, batches, hand-over and truncation to the bit; for
 * emulated ones the clock against the price.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "step_model.h"
#include "tandem/base.h"

#define TOKENS 37
#define MAX_ROWS 96
/* Of a row's largest logit: float32 throughout, and KV (or more of the arithmetic) in fp16. */
#define BOUND_F32 1e-5
#define BOUND_F16 4e-3

struct world {
  struct conform_run *run;
  const struct conform_params *p;
  struct td_model *model;
  struct td_graph *graph;
  struct td_runner *a, *b;
  int32_t ids[STEP_CONTEXT];
};

static td_status open_runner(struct world *world, int32_t block_tokens, struct td_runner **out_runner) {
  const struct td_slice whole = td_slice_whole(world->graph);
  const struct td_runner_options options = {.kv_dtype = world->p->kv,
                                            .block_tokens = block_tokens,
                                            .kv_blocks = 4 * STEP_CONTEXT / block_tokens,
                                            .max_rows = MAX_ROWS,
                                            .max_logits = MAX_ROWS};
  return td_runner_open(world->run->device, world->model, world->graph, &whole, &options, out_runner);
}

static td_status step(struct td_runner *runner, const struct td_step_seq *seqs, int32_t count, bool all,
                      const float **out_logits) {
  int64_t rows;
  return td_runner_step(runner, seqs, count, all, NULL, NULL, NULL, NULL, out_logits, &rows);
}

static struct td_step_seq seq_of(const struct world *world, uint64_t request, int64_t past, int64_t tokens) {
  return (struct td_step_seq){
      .request = request, .past = past, .tokens = tokens, .ids = world->ids + past, .logits = true};
}

/* One sequence's share; *out_logits: of its last row, copied. */
static td_status feed(struct world *world, struct td_runner *runner, uint64_t request, int64_t past, int64_t tokens,
                      float **out_logits) {
  struct td_step_seq seq = seq_of(world, request, past, tokens);
  const float *logits = NULL;
  TD_TRY(step(runner, &seq, 1, false, &logits));
  TD_TRY(conform_memory(world->run, STEP_VOCAB, sizeof **out_logits, out_logits));
  memcpy(*out_logits, logits, STEP_VOCAB * sizeof **out_logits);
  return TD_OK;
}

/* ---- the bodies ---- */

static td_status values_body(struct world *world) {
  struct td_step_seq seq = seq_of(world, 1, 0, TOKENS);
  const float *got = NULL;
  double *want, *bound;
  TD_TRY(conform_memory(world->run, TOKENS * STEP_VOCAB, sizeof *want, &want));
  TD_TRY(conform_memory(world->run, TOKENS * STEP_VOCAB, sizeof *bound, &bound));
  TD_TRY(step_model_logits(world->model, TOKENS, want));
  for (int64_t row = 0; row < TOKENS; row++) {
    double most = 0.0;
    for (int i = 0; i < STEP_VOCAB; i++) most = fmax(most, fabs(want[row * STEP_VOCAB + i]));
    for (int i = 0; i < STEP_VOCAB; i++) {
      bound[row * STEP_VOCAB + i] = most * (world->p->kv == TD_F32 ? BOUND_F32 : BOUND_F16);
    }
  }
  TD_TRY(step(world->a, &seq, 1, true, &got));
  return conform_compare(world->run, got, want, bound, TOKENS, STEP_VOCAB);
}

static td_status chunks_body(struct world *world) {
  float *want, *got;
  TD_TRY(feed(world, world->a, 1, 0, TOKENS, &want));
  for (int64_t past = 0; past < TOKENS; past += world->p->count) {
    int64_t tokens = world->p->count < TOKENS - past ? world->p->count : TOKENS - past;
    TD_TRY(feed(world, world->a, 2, past, tokens, &got));
  }
  return conform_same("the prompt in chunks", got, want, 1, STEP_VOCAB);
}

static td_status batch_body(struct world *world) {
  struct td_step_seq seqs[3] = {seq_of(world, 2, 0, TOKENS), seq_of(world, 3, 0, 5), seq_of(world, 4, 0, TOKENS)};
  const float *got = NULL;
  float *want;
  TD_TRY(feed(world, world->a, 1, 0, TOKENS, &want));
  TD_TRY(step(world->a, seqs, 3, false, &got));
  TD_TRY(conform_same("the first of three sequences", got, want, 1, STEP_VOCAB));
  return conform_same("the last of three sequences", got + 2 * STEP_VOCAB, want, 1, STEP_VOCAB);
}

/* All layers of positions [begin, TOKENS), from runner a to runner b. */
static td_status hand_over(struct world *world, int64_t begin, int64_t end, bool *out_complete) {
  uint64_t bytes = td_kv_bytes(&world->graph->shape, world->p->kv, STEP_LAYERS, end - begin);
  struct td_kv_chunk chunk;
  void *payload;
  TD_TRY(conform_memory(world->run, bytes, 1, &payload));
  TD_TRY(td_kv_export(td_runner_kv(world->a), 1, 0, STEP_LAYERS, begin, end, payload, bytes, &chunk));
  chunk.generation = 1;
  chunk.prefix_hash = td_hash(TD_HASH_INIT, world->ids, (size_t)end * sizeof *world->ids);
  return td_kv_import(td_runner_kv(world->b), &chunk, payload, out_complete);
}

static td_status import_body(struct world *world) {
  struct td_kv_store *to;
  struct td_kv_expect expect = {.request = 1, .generation = 1, .tokens = TOKENS, .ids = world->ids};
  int64_t half = TOKENS / 2 / world->p->block_tokens * world->p->block_tokens;
  float *ignored, *want, *got;
  bool complete = false;
  TD_TRY(open_runner(world, (int32_t)world->p->count, &world->b));
  to = td_runner_kv(world->b);
  expect.layout = *td_kv_store_layout(td_runner_kv(world->a));
  TD_TRY(feed(world, world->b, 9, 0, 3, &ignored)); /* so that the blocks differ */
  TD_TRY(feed(world, world->a, 1, 0, TOKENS, &ignored));
  TD_TRY(td_kv_import_begin(to, &expect));
  TD_TRY(hand_over(world, half, TOKENS, &complete));
  if (half) TD_TRY(hand_over(world, 0, half, &complete));
  CONFORM_CHECK(complete, "an import with every chunk said incomplete");
  TD_TRY(td_kv_import_commit(to, 1));
  TD_TRY(feed(world, world->a, 1, TOKENS, 1, &want));
  TD_TRY(feed(world, world->b, 1, TOKENS, 1, &got));
  return conform_same("decoding after the hand-over", got, want, 1, STEP_VOCAB);
}

static td_status truncate_body(struct world *world) {
  float *want, *got, *ignored;
  TD_TRY(feed(world, world->a, 1, 0, TOKENS, &want));
  TD_TRY(feed(world, world->a, 1, TOKENS, 9, &ignored));
  TD_TRY(td_kv_truncate(td_runner_kv(world->a), 1, world->p->past));
  TD_TRY(feed(world, world->a, 1, world->p->past, TOKENS - world->p->past, &got));
  return conform_same("the positions written anew", got, want, 1, STEP_VOCAB);
}

/* The device's clock moves by what the price said. */
static td_status clock_body(struct world *world) {
  const struct td_slice whole = td_slice_whole(world->graph);
  const int64_t tokens[] = {TOKENS, 1, 1, 5, 1};
  int64_t past = 0;
  float *ignored;
  for (size_t i = 0; i < sizeof tokens / sizeof *tokens; past += tokens[i++]) {
    struct td_step_stats stats = {{[TD_SYM_TILE] = world->p->block_tokens}};
    struct td_price price;
    td_step_stats_add(&stats, &world->graph->shape, past, tokens[i], 1);
    TD_TRY(td_device_price(world->run->device, world->graph, &whole, world->p->kv, &stats, NULL, &price));
    int64_t before = td_device_now(world->run->device);
    TD_TRY(feed(world, world->a, 1, past, tokens[i], &ignored));
    int64_t counted = td_device_now(world->run->device) - before;
    CONFORM_CHECK(counted == price.base_ps,
                  "%" PRId64 " tokens after %" PRId64 ": counted %" PRId64 " ps, expected the price, %" PRId64,
                  tokens[i], past, counted, price.base_ps);
    CONFORM_CHECK(counted > 0, "a step took no time");
  }
  return TD_OK;
}

/* ---- opening and closing around a body ---- */

static td_status open_world(struct world *world) {
  TD_TRY(step_model_open(&world->model));
  TD_TRY(td_graph_build(world->model, &world->graph));
  for (int64_t i = 0; i < STEP_CONTEXT; i++) world->ids[i] = step_model_id(i);
  for (int32_t i = 0; i < world->graph->op_count; i++) {
    const struct td_op *op = &world->graph->ops[i];
    if (op->kind == TD_OP_SAMPLE) continue;
    enum td_dtype weight = op->weight >= 0 ? world->graph->weights[op->weight].dtype : TD_F32;
    TD_TRY(conform_supported(world->run, op, weight, world->p->kv));
  }
  return open_runner(world, world->p->block_tokens, &world->a);
}

static td_status with_world(struct conform_run *run, const struct conform_case *test, bool applies, const char *why,
                            td_status (*body)(struct world *)) {
  struct world world = {.run = run, .p = &test->p};
  if (!applies) {
    run->refused = true;
    return td_fail(TD_UNSUPPORTED, "%s", why);
  }
  td_status status = open_world(&world);
  if (!status) status = body(&world);
  td_runner_close(world.b);
  td_runner_close(world.a);
  td_graph_free(world.graph);
  td_model_close(world.model);
  return status;
}

static const char not_exact[] = "the backend does not promise exactness";

static td_status run_values(struct conform_run *run, const struct conform_case *test) {
  return with_world(run, test, true, "", values_body);
}
static td_status run_chunks(struct conform_run *run, const struct conform_case *test) {
  return with_world(run, test, run->backend->exact, not_exact, chunks_body);
}
static td_status run_batch(struct conform_run *run, const struct conform_case *test) {
  return with_world(run, test, run->backend->exact, not_exact, batch_body);
}
static td_status run_import(struct conform_run *run, const struct conform_case *test) {
  return with_world(run, test, run->backend->exact, not_exact, import_body);
}
static td_status run_truncate(struct conform_run *run, const struct conform_case *test) {
  return with_world(run, test, run->backend->exact, not_exact, truncate_body);
}
static td_status run_clock(struct conform_run *run, const struct conform_case *test) {
  return with_world(run, test, run->backend->emulates, "the device's time is the wall's", clock_body);
}

static void list_of(struct conform_list *list, struct conform_params *p, const char *type) {
  static const int32_t blocks[][2] = {{16, 32}, {32, 16}};
  p->block_tokens = 16;
  conform_add_operator(list, run_values, p, p->kv, "step_values/%s/tokens=%d,block=16", type, TOKENS);
  conform_add_operator(list, run_batch, p, p->kv, "step_batch/%s/sequences=3,block=16", type);
  for (p->count = 1; p->count < TOKENS; p->count = p->count * 4 + 3) {
    conform_add_operator(list, run_chunks, p, p->kv, "step_chunks/%s/tokens=%d,chunk=%" PRId64 ",block=16", type,
                         TOKENS, p->count);
  }
  for (int i = 0; i < 2; i++) {
    p->block_tokens = blocks[i][0];
    p->count = blocks[i][1];
    conform_add_operator(list, run_import, p, p->kv, "step_import/%s/tokens=%d,block=%d,into=%d", type, TOKENS,
                         p->block_tokens, (int)p->count);
  }
  p->block_tokens = 16;
  for (p->past = 0; p->past < TOKENS; p->past += 18) {
    conform_add_operator(list, run_truncate, p, p->kv, "step_truncate/%s/tokens=%d,to=%" PRId64, type, TOKENS, p->past);
  }
  conform_add_operator(list, run_clock, p, p->kv, "step_clock/%s/block=16", type);
}

void conform_list_step(struct conform_list *list) {
  static const enum td_dtype types[] = {TD_F32, TD_F16};
  for (int t = 0; t < 2; t++) {
    struct conform_params p = {.kv = types[t]};
    list_of(list, &p, td_dtype_info((uint32_t)p.kv)->name);
  }
}
