/* SPDX-License-Identifier: Apache-2.0
 *
 * The promise of backends with .exact: a row's result depends on that row's inputs alone, to the bit.
 */
#include <inttypes.h>
#include <string.h>

#include "suite.h"
#include "tandem/base.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static td_status promised(struct conform_run *run) {
  if (run->backend->exact) return TD_OK;
  run->refused = true;
  return td_fail(TD_UNSUPPORTED, "backend %s does not promise exactness", run->backend->name);
}

static td_status prepare(struct conform_run *run, const struct conform_case *test, struct conform_inputs *out_inputs,
                         float **out_together) {
  TD_TRY(promised(run));
  TD_TRY(conform_inputs_make(run, &test->p, out_inputs));
  TD_TRY(conform_supported(run, &out_inputs->op, test->p.weight, test->p.kv));
  TD_TRY(conform_memory(run, (size_t)(out_inputs->out_rows * out_inputs->out_cols), sizeof(float), out_together));
  return conform_execute(run, run->device, out_inputs, *out_together);
}

/* Every row by itself equals that row among the others. */
static td_status run_rows(struct conform_run *run, const struct conform_case *test) {
  struct conform_inputs inputs, one;
  float *together, *alone;
  TD_TRY(prepare(run, test, &inputs, &together));
  TD_TRY(conform_memory(run, (size_t)inputs.out_cols, sizeof *alone, &alone));
  for (int64_t row = 0; row < inputs.out_rows; row++) {
    char what[48];
    TD_TRY(conform_inputs_row(run, &inputs, row, &one));
    TD_TRY(conform_execute(run, run->device, &one, alone));
    TD_TRY(td_format(what, sizeof what, "row %" PRId64 " alone", row));
    TD_TRY(conform_same(what, alone, together + row * inputs.out_cols, 1, inputs.out_cols));
  }
  return TD_OK;
}

/* The same call twice, and on devices with 1, 2 and 3 threads. */
static td_status run_threads(struct conform_run *run, const struct conform_case *test) {
  struct conform_inputs inputs;
  float *first, *again;
  TD_TRY(prepare(run, test, &inputs, &first));
  TD_TRY(conform_memory(run, (size_t)(inputs.out_rows * inputs.out_cols), sizeof *again, &again));
  for (int32_t threads = 1; threads <= CONFORM_THREADED; threads++) {
    struct td_device *device;
    char what[32];
    TD_TRY(conform_threaded(run, threads, &device));
    TD_TRY(conform_execute(run, device, &inputs, again));
    TD_TRY(td_format(what, sizeof what, "%d threads", (int)threads));
    TD_TRY(conform_same(what, again, first, inputs.out_rows, inputs.out_cols));
  }
  return TD_OK;
}

/* A prompt's rows [begin, end) appended and attended; the cache already holds what came before. */
static td_status run_chunk(struct conform_run *run, const struct conform_inputs *whole, const float *k, const float *v,
                           int64_t begin, int64_t end, const struct conform_inputs *cache, void *pools[2], float *out) {
  struct td_seq seq = whole->batch.seqs[0];
  seq.past = begin;
  seq.tokens = end - begin;
  struct conform_inputs chunk = *whole;
  chunk.batch =
      (struct td_batch){.rows = seq.tokens, .positions = whole->batch.positions + begin, .seqs = &seq, .seq_count = 1};
  struct conform_inputs append = *cache;
  append.batch = chunk.batch;
  append.in[0] = k + begin * append.in_cols[0];
  append.in[1] = v + begin * append.in_cols[0];
  append.k_pool = pools[0];
  append.v_pool = pools[1];
  TD_TRY(conform_execute_append(run, run->device, &append, pools[0], pools[1]));
  chunk.k_pool = pools[0];
  chunk.v_pool = pools[1];
  chunk.out_rows = seq.tokens;
  chunk.in[0] += begin * chunk.in_cols[0];
  return conform_execute(run, run->device, &chunk, out + begin * chunk.out_cols);
}

/* KV_APPEND then ATTENTION over a prompt in micro-batches of p.count equals the prompt in one piece. */
static td_status run_chunks(struct conform_run *run, const struct conform_case *test) {
  struct conform_inputs inputs, cache;
  float *whole, *pieces;
  void *pools[2];
  struct conform_params append = test->p;
  append.kind = TD_OP_KV_APPEND;
  append.heads = append.kv_heads;
  TD_TRY(prepare(run, test, &inputs, &whole));
  TD_TRY(conform_inputs_make(run, &append, &cache));
  TD_TRY(conform_memory(run, (size_t)(inputs.out_rows * inputs.out_cols), sizeof *pieces, &pieces));
  for (int i = 0; i < 2; i++) TD_TRY(conform_memory(run, (size_t)conform_pool_bytes(&inputs), 1, &pools[i]));
  TD_TRY(run_chunk(run, &inputs, cache.in[0], cache.in[1], 0, inputs.out_rows, &cache, pools, whole));
  for (int i = 0; i < 2; i++) memset(pools[i], 0, (size_t)conform_pool_bytes(&inputs));
  for (int64_t begin = 0; begin < inputs.out_rows; begin += test->p.count) {
    int64_t end = begin + test->p.count < inputs.out_rows ? begin + test->p.count : inputs.out_rows;
    TD_TRY(run_chunk(run, &inputs, cache.in[0], cache.in[1], begin, end, &cache, pools, pieces));
  }
  return conform_same("micro-batches", pieces, whole, inputs.out_rows, inputs.out_cols);
}

/* The last width of each kind with weights is for K types. */
static const struct conform_params shapes[] = {
    {.kind = TD_OP_MATMUL, .rows = 7, .n = 35, .k = 160},
    {.kind = TD_OP_MATMUL, .rows = 2, .n = 600, .k = 576},
    {.kind = TD_OP_MATMUL, .rows = 11, .n = 67, .k = 512},
    {.kind = TD_OP_RMS_NORM, .rows = 6, .n = 96},
    {.kind = TD_OP_RMS_NORM, .rows = 6, .n = 512, .groups = 2},
    {.kind = TD_OP_EMBED, .rows = 6, .n = 96},
    {.kind = TD_OP_EMBED, .rows = 6, .n = 256, .scale = 33.94112549695428},
    {.kind = TD_OP_ROPE, .rows = 6, .seqs = 2, .past = 11, .heads = 3, .head_dim = 32, .rope_dim = 32},
    {.kind = TD_OP_ROPE,
     .rows = 6,
     .seqs = 2,
     .past = 11,
     .heads = 3,
     .head_dim = 40,
     .rope_dim = 24,
     .pairs = TD_ROPE_HALVES,
     .position_scale = 0.125},
    {.kind = TD_OP_ACTIVATION, .rows = 40, .n = 1536},
    {.kind = TD_OP_ACTIVATION, .rows = 9, .n = 1000, .activation = TD_ACT_GELU},
    {.kind = TD_OP_ADD, .rows = 6, .n = 37},
    {.kind = TD_OP_ADD, .rows = 6, .n = 38, .bias = true},
    {.kind = TD_OP_ROUTER, .rows = 9, .experts = 60, .used = 4},
    {.kind = TD_OP_EXPERT_SUM, .rows = 9, .experts = 16, .used = 4, .n = 100},
    {.kind = TD_OP_EXPERT_MATMUL, .rows = 13, .experts = 5, .used = 2, .n = 37, .k = 96},
    {.kind = TD_OP_EXPERT_MATMUL, .rows = 13, .experts = 5, .used = 2, .n = 38, .k = 256, .per_slot = true},
    {.kind = TD_OP_ATTENTION,
     .rows = 12,
     .seqs = 3,
     .past = 30,
     .heads = 6,
     .kv_heads = 2,
     .head_dim = 64,
     .block_tokens = 16},
    {.kind = TD_OP_ATTENTION, .rows = 19, .past = 4, .heads = 2, .kv_heads = 1, .head_dim = 24, .block_tokens = 5},
    {.kind = TD_OP_ATTENTION,
     .rows = 21,
     .seqs = 2,
     .past = 40,
     .heads = 4,
     .kv_heads = 2,
     .head_dim = 32,
     .block_tokens = 16,
     .window = 19},
};

/* The name's second half: what tells the shapes of a kind apart. */
static td_status shape_text(const struct conform_params *p, char *out, size_t size) {
  int64_t seqs = p->seqs ? p->seqs : 1;
  if (p->experts) {
    return td_format(out, size, "rows=%" PRId64 ",experts=%d,used=%d,n=%" PRId64 ",k=%" PRId64 ",per_slot=%d", p->rows,
                     p->experts, p->used, p->n, p->k, p->per_slot);
  }
  if (p->head_dim) {
    return td_format(out, size, "rows=%" PRId64 ",seqs=%d,past=%" PRId64 ",heads=%d,head_dim=%d,window=%d,halves=%d",
                     p->rows, (int)seqs, p->past, p->heads, p->head_dim, p->window, p->pairs == TD_ROPE_HALVES);
  }
  return td_format(out, size, "rows=%" PRId64 ",n=%" PRId64 ",k=%" PRId64 "%s%s%s", p->rows, p->n, p->k,
                   p->bias ? ",bias=1" : "", p->scale != 0 ? ",scale=33.94" : "",
                   p->kind != TD_OP_ACTIVATION    ? ""
                   : p->activation == TD_ACT_GELU ? ",gelu"
                                                  : ",silu");
}

static void add_exact(struct conform_list *list, const struct conform_params *p, const char *type) {
  char shape[CONFORM_NAME];
  td_status status = shape_text(p, shape, sizeof shape);
  if (status) list->failed = status;
  conform_add(list, run_rows, p, "exact_rows/%s/%s/%s", td_op_kind_name(p->kind), type, shape);
  conform_add(list, run_threads, p, "exact_threads/%s/%s/%s", td_op_kind_name(p->kind), type, shape);
}

/* Elements of a row of weights; 0: the kind has none. */
static int64_t weight_cols(const struct conform_params *p) {
  if (p->kind == TD_OP_MATMUL || p->kind == TD_OP_EXPERT_MATMUL) return p->k;
  if (p->kind == TD_OP_RMS_NORM) return p->n / (p->groups ? p->groups : 1);
  return p->kind == TD_OP_EMBED ? p->n : 0;
}

/* Types that matter: of weights, of the cache for ATTENTION. */
static void list_types(struct conform_list *list, struct conform_params p) {
  int64_t cols = weight_cols(&p);
  for (int t = 0; td_dtype_at(t); t++) {
    const struct td_dtype_info *info = td_dtype_at(t);
    bool cached = p.kind == TD_OP_ATTENTION && info->dtype == TD_F16;
    if (cols ? cols % info->block_elements != 0 : !cached && info->dtype != TD_F32) continue;
    if (cols && cols % 256 == 0 && info->block_elements == 32) continue; /* they have their own shapes */
    p.weight = cols ? info->dtype : TD_F32;
    p.kv = p.kind == TD_OP_ATTENTION ? info->dtype : TD_F32;
    add_exact(list, &p, info->name);
  }
}

void conform_list_exact(struct conform_list *list) {
  static const int64_t chunks[] = {1, 7, 16};
  for (size_t i = 0; i < COUNT(shapes); i++) list_types(list, shapes[i]);
  for (size_t i = 0; i < 4 * COUNT(chunks); i++) {
    struct conform_params p = {.kind = TD_OP_ATTENTION,
                               .rows = 45,
                               .heads = 4,
                               .kv_heads = 2,
                               .head_dim = 32,
                               .block_tokens = 8,
                               .window = i % 4 < 2 ? 0 : 13,
                               .count = chunks[i / 4],
                               .kv = i % 2 ? TD_F16 : TD_F32};
    conform_add(list, run_chunks, &p, "exact_chunks/attention/%s/rows=%" PRId64 ",chunk=%" PRId64 ",block=%d,window=%d",
                td_dtype_info((uint32_t)p.kv)->name, p.rows, p.count, p.block_tokens, p.window);
  }
}
