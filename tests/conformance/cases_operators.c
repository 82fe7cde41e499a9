/* SPDX-License-Identifier: Apache-2.0
 *
 * Each operator against the double-precision reference, over types and shapes. Names print every parameter.
 */
#include <inttypes.h>
#include <string.h>

#include "reference.h"

td_status conform_run_operator(struct conform_run *run, const struct conform_case *test) {
  struct conform_inputs inputs;
  double *want, *bound;
  float *got;
  TD_TRY(conform_inputs_make(run, &test->p, &inputs));
  TD_TRY(conform_supported(run, &inputs.op, test->p.weight, test->p.kv));
  size_t count = (size_t)(inputs.out_rows * inputs.out_cols);
  TD_TRY(conform_memory(run, count, sizeof *want, &want));
  TD_TRY(conform_memory(run, count, sizeof *bound, &bound));
  TD_TRY(conform_memory(run, count, sizeof *got, &got));
  TD_TRY(reference_compute(run, &inputs, want, bound));
  TD_TRY(conform_execute(run, run->device, &inputs, got));
  return conform_compare(run, got, want, bound, inputs.out_rows, inputs.out_cols);
}

/* ---- KV_APPEND: the pools, every byte of them ---- */

/* What one pool must hold afterwards. */
static td_status append_expected(const struct conform_inputs *inputs, const void *before, const float *rows,
                                 unsigned char *expected) {
  int64_t width = inputs->in_cols[0];
  uint64_t element = (uint64_t)td_dtype_info((uint32_t)inputs->p.kv)->block_bytes;
  memcpy(expected, before, conform_pool_bytes(inputs));
  for (int32_t s = 0; s < inputs->batch.seq_count; s++) {
    const struct td_seq *seq = &inputs->batch.seqs[s];
    for (int64_t t = 0; t < seq->tokens; t++) {
      uint64_t at = (uint64_t)conform_place(inputs, seq, seq->past + t) * element;
      TD_TRY(td_quantize(inputs->p.kv, rows + (seq->first_row + t) * width, expected + at, width));
    }
  }
  return TD_OK;
}

static td_status compare_pool(const struct conform_inputs *inputs, const char *name, const unsigned char *got,
                              const unsigned char *want) {
  uint64_t bytes = conform_pool_bytes(inputs);
  if (memcmp(got, want, bytes) == 0) return TD_OK;
  uint64_t at = 0, element = (uint64_t)td_dtype_info((uint32_t)inputs->p.kv)->block_bytes;
  while (got[at] == want[at]) at++;
  uint64_t slot = at / element / (uint64_t)inputs->in_cols[0];
  return CONFORM_FAIL("%s pool: block %" PRIu64 ", slot %" PRIu64 ", byte %" PRIu64 ": found 0x%02x, expected 0x%02x",
                      name, slot / (uint64_t)inputs->p.block_tokens, slot % (uint64_t)inputs->p.block_tokens, at,
                      got[at], want[at]);
}

static td_status run_append(struct conform_run *run, const struct conform_case *test) {
  struct conform_inputs inputs;
  TD_TRY(conform_inputs_make(run, &test->p, &inputs));
  TD_TRY(conform_supported(run, &inputs.op, TD_F32, test->p.kv));
  unsigned char *got[2], *want;
  size_t bytes = (size_t)conform_pool_bytes(&inputs);
  for (int i = 0; i < 2; i++) TD_TRY(conform_memory(run, bytes, 1, &got[i]));
  TD_TRY(conform_memory(run, bytes, 1, &want));
  TD_TRY(conform_execute_append(run, run->device, &inputs, got[0], got[1]));
  TD_TRY(append_expected(&inputs, inputs.k_pool, inputs.in[0], want));
  TD_TRY(compare_pool(&inputs, "K", got[0], want));
  TD_TRY(append_expected(&inputs, inputs.v_pool, inputs.in[1], want));
  return compare_pool(&inputs, "V", got[1], want);
}

/* ---- the lists ---- */

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void list_matmul(struct conform_list *list) {
  static const struct {
    int64_t rows, n, k;
  } shapes[] = {{1, 1, 32},    {1, 96, 64},    {3, 96, 64},  {7, 33, 160},  {17, 17, 96},
                {40, 40, 576}, {2, 576, 1536}, {1, 1, 1},    {3, 5, 7},     {9, 19, 37},
                {1, 1, 256},   {3, 96, 256},   {7, 33, 768}, {40, 40, 512}, {17, 17, 1280}};
  for (int t = 0; td_dtype_at(t); t++) {
    const struct td_dtype_info *type = td_dtype_at(t);
    for (size_t i = 0; i < COUNT(shapes); i++) {
      struct conform_params p = {
          .kind = TD_OP_MATMUL, .weight = type->dtype, .rows = shapes[i].rows, .n = shapes[i].n, .k = shapes[i].k};
      if (p.k % type->block_elements || (type->block_elements < 256 && i >= 10)) continue;
      conform_add_operator(list, conform_run_operator, &p, type->dtype,
                           "matmul/%s/rows=%" PRId64 ",n=%" PRId64 ",k=%" PRId64, type->name, p.rows, p.n, p.k);
    }
  }
}

/* Operators over rows of `n`, with one row of weights or a row of the table; K types take the last two widths. */
static void list_weighted_rows(struct conform_list *list, enum td_dtype type, int64_t rows, int64_t n) {
  struct conform_params p = {.kind = TD_OP_EMBED, .weight = type, .rows = rows, .n = n, .groups = 1, .scale = 1.0};
  const char *name = td_dtype_info((uint32_t)type)->name;
  conform_add_operator(list, conform_run_operator, &p, type, "embed/%s/rows=%" PRId64 ",n=%" PRId64, name, rows, n);
  p.scale = 33.94112549695428; /* sqrt(1152), as a model of that width has it */
  conform_add_operator(list, conform_run_operator, &p, type, "embed/%s/rows=%" PRId64 ",n=%" PRId64 ",scale=33.94",
                       name, rows, n);
  p.kind = TD_OP_RMS_NORM;
  conform_add_operator(list, conform_run_operator, &p, type, "rms_norm/%s/rows=%" PRId64 ",n=%" PRId64, name, rows, n);
  p.kind = TD_OP_ADD;
  p.bias = true;
  p.in_place = rows > 1;
  conform_add_operator(list, conform_run_operator, &p, type, "add/bias=%s/rows=%" PRId64 ",n=%" PRId64 ",in_place=%d",
                       name, rows, n, p.in_place);
}

static void list_embed_norm_bias(struct conform_list *list) {
  static const int64_t rows[] = {1, 6}, columns[] = {64, 576, 37, 256, 768};
  static const struct conform_params groups[] = {{.rows = 1, .n = 64, .groups = 2},
                                                 {.rows = 6, .n = 576, .groups = 9},
                                                 {.rows = 5, .n = 30, .groups = 6},
                                                 {.rows = 3, .n = 512, .groups = 2},
                                                 {.rows = 2, .n = 37, .groups = 37}};
  for (int t = 0; td_dtype_at(t); t++) {
    const struct td_dtype_info *type = td_dtype_at(t);
    for (size_t i = 0; i < COUNT(rows) * COUNT(columns); i++) {
      int64_t n = columns[i / 2];
      if (n % type->block_elements || (type->block_elements < 256 && n % 256 == 0)) continue;
      list_weighted_rows(list, type->dtype, rows[i % 2], n);
    }
    for (size_t i = 0; i < COUNT(groups); i++) {
      struct conform_params p = groups[i];
      if (p.n / p.groups % type->block_elements) continue;
      p.kind = TD_OP_RMS_NORM;
      p.weight = type->dtype;
      conform_add_operator(list, conform_run_operator, &p, p.weight,
                           "rms_norm/%s/rows=%" PRId64 ",n=%" PRId64 ",groups=%d", type->name, p.rows, p.n, p.groups);
    }
  }
}

static void list_rope(struct conform_list *list) {
  static const struct conform_params shapes[] = {
      {.rows = 1, .heads = 1, .head_dim = 64, .rope_dim = 64},
      {.rows = 5, .heads = 9, .head_dim = 64, .rope_dim = 64, .past = 37},
      {.rows = 5, .heads = 3, .head_dim = 64, .rope_dim = 64, .past = 2000, .in_place = true},
      {.rows = 7, .seqs = 3, .heads = 4, .head_dim = 32, .rope_dim = 16, .past = 9},
      {.rows = 4, .heads = 2, .head_dim = 6, .rope_dim = 2, .past = 1, .in_place = true},
      {.rows = 6, .seqs = 2, .heads = 2, .head_dim = 64, .rope_dim = 64, .past = 100, .factors = true},
      {.rows = 3, .heads = 2, .head_dim = 80, .rope_dim = 20, .past = 5, .factors = true, .in_place = true},
      {.rows = 6, .heads = 3, .head_dim = 64, .rope_dim = 64, .past = 900, .position_scale = 0.125},
      {.rows = 3, .heads = 2, .head_dim = 24, .rope_dim = 8, .past = 6, .position_scale = 0.4, .factors = true},
  };
  for (size_t i = 0; i < 2 * COUNT(shapes); i++) {
    struct conform_params p = shapes[i / 2];
    p.kind = TD_OP_ROPE;
    p.pairs = i % 2 ? TD_ROPE_HALVES : TD_ROPE_ADJACENT;
    if (!p.seqs) p.seqs = 1;
    if (p.position_scale == 0) p.position_scale = 1;
    conform_add_operator(list, conform_run_operator, &p, TD_F32,
                         "rope/%s/rows=%" PRId64 ",seqs=%d,past=%" PRId64
                         ",heads=%d,head_dim=%d,rope_dim=%d,factors=%d,scale=%g,in_place=%d",
                         i % 2 ? "halves" : "adjacent", p.rows, p.seqs, p.past, p.heads, p.head_dim, p.rope_dim,
                         p.factors, p.position_scale, p.in_place);
  }
}

static const enum td_dtype kv_types[] = {TD_F32, TD_F16};

static void add_cache_case(struct conform_list *list, struct conform_params p) {
  const char *type = td_dtype_info((uint32_t)p.kv)->name;
  if (!p.seqs) p.seqs = 1;
  if (p.kind == TD_OP_KV_APPEND) {
    conform_add_operator(list, run_append, &p, p.kv,
                         "kv_append/%s/rows=%" PRId64 ",seqs=%d,past=%" PRId64 ",kv_heads=%d,head_dim=%d,block=%d",
                         type, p.rows, p.seqs, p.past, p.kv_heads, p.head_dim, p.block_tokens);
  } else {
    conform_add_operator(list, conform_run_operator, &p, p.kv,
                         "attention/%s/rows=%" PRId64 ",seqs=%d,past=%" PRId64
                         ",heads=%d,kv_heads=%d,head_dim=%d,block=%d,window=%d",
                         type, p.rows, p.seqs, p.past, p.heads, p.kv_heads, p.head_dim, p.block_tokens, p.window);
  }
}

/* Scores of hundreds, of either sign: their exponentials overflow or vanish unless the largest is taken off first. */
static void add_large_scores(struct conform_list *list, enum td_dtype kv) {
  static const int64_t rows[][2] = {{1, 37}, {33, 0}}; /* and past */
  struct conform_params p = {.kind = TD_OP_ATTENTION, .kv = kv, .seqs = 1, .heads = 4, .kv_heads = 2, .head_dim = 64};
  p.block_tokens = 16;
  p.scale = 200;
  for (size_t i = 0; i < COUNT(rows); i++) {
    p.rows = rows[i][0];
    p.past = rows[i][1];
    conform_add_operator(list, conform_run_operator, &p, kv, "attention/%s/rows=%" PRId64 ",past=%" PRId64 ",scale=%g",
                         td_dtype_info((uint32_t)kv)->name, p.rows, p.past, p.scale);
  }
}

static void list_cache(struct conform_list *list) {
  static const struct conform_params shapes[] = {
      {.rows = 1, .heads = 1, .kv_heads = 1, .head_dim = 64, .block_tokens = 16},
      {.rows = 1, .past = 37, .heads = 9, .kv_heads = 3, .head_dim = 64, .block_tokens = 16},
      {.rows = 1, .past = 15, .heads = 2, .kv_heads = 2, .head_dim = 32, .block_tokens = 16},
      {.rows = 1, .past = 16, .heads = 2, .kv_heads = 2, .head_dim = 32, .block_tokens = 16},
      {.rows = 33, .heads = 4, .kv_heads = 2, .head_dim = 64, .block_tokens = 16},
      {.rows = 9, .past = 5, .heads = 4, .kv_heads = 1, .head_dim = 24, .block_tokens = 7},
      {.rows = 12, .past = 7, .seqs = 3, .heads = 9, .kv_heads = 3, .head_dim = 64, .block_tokens = 16},
      {.rows = 5, .past = 20, .seqs = 5, .heads = 6, .kv_heads = 2, .head_dim = 128, .block_tokens = 8},
      {.rows = 4, .past = 3, .seqs = 2, .heads = 3, .kv_heads = 1, .head_dim = 5, .block_tokens = 1},
      {.rows = 3, .past = 300, .heads = 2, .kv_heads = 1, .head_dim = 64, .block_tokens = 32},
  };
  /* Windows of one position, inside of a block, across blocks, of the whole context, larger than it. */
  static const struct conform_params windows[] = {
      {.rows = 1, .past = 20, .heads = 2, .kv_heads = 1, .head_dim = 32, .block_tokens = 16, .window = 1},
      {.rows = 1, .past = 31, .heads = 2, .kv_heads = 2, .head_dim = 32, .block_tokens = 16, .window = 16},
      {.rows = 1, .past = 32, .heads = 2, .kv_heads = 2, .head_dim = 32, .block_tokens = 16, .window = 16},
      {.rows = 1, .past = 300, .heads = 3, .kv_heads = 1, .head_dim = 64, .block_tokens = 32, .window = 100},
      {.rows = 33, .heads = 4, .kv_heads = 2, .head_dim = 64, .block_tokens = 16, .window = 7},
      {.rows = 70, .past = 9, .heads = 2, .kv_heads = 1, .head_dim = 24, .block_tokens = 16, .window = 32},
      {.rows = 12, .past = 7, .seqs = 3, .heads = 6, .kv_heads = 3, .head_dim = 64, .block_tokens = 5, .window = 11},
      {.rows = 5, .past = 11, .heads = 2, .kv_heads = 1, .head_dim = 16, .block_tokens = 4, .window = 16},
      {.rows = 5, .past = 11, .heads = 2, .kv_heads = 1, .head_dim = 16, .block_tokens = 4, .window = 1000},
      {.rows = 5, .past = 11, .heads = 2, .kv_heads = 1, .head_dim = 16, .block_tokens = 4, .window = INT32_MAX},
  };
  for (size_t t = 0; t < COUNT(kv_types); t++) {
    for (size_t i = 0; i < COUNT(shapes); i++) {
      struct conform_params p = shapes[i];
      p.kv = kv_types[t];
      p.kind = TD_OP_ATTENTION;
      add_cache_case(list, p);
      p.kind = TD_OP_KV_APPEND;
      p.heads = p.kv_heads;
      add_cache_case(list, p);
    }
    for (size_t i = 0; i < COUNT(windows); i++) {
      struct conform_params p = windows[i];
      p.kv = kv_types[t];
      p.kind = TD_OP_ATTENTION;
      add_cache_case(list, p);
    }
    add_large_scores(list, kv_types[t]);
  }
}

static void list_pointwise(struct conform_list *list) {
  static const struct conform_params shapes[] = {{.rows = 1, .n = 1},
                                                 {.rows = 1, .n = 1536},
                                                 {.rows = 5, .n = 37},
                                                 {.rows = 5, .n = 37, .in_place = true},
                                                 {.rows = 33, .n = 576, .in_place = true}};
  for (size_t i = 0; i < COUNT(shapes); i++) {
    struct conform_params p = shapes[i];
    p.kind = TD_OP_ACTIVATION;
    for (p.activation = TD_ACT_SILU; p.activation <= TD_ACT_GELU; p.activation++) {
      conform_add_operator(list, conform_run_operator, &p, TD_F32,
                           "activation/%s/rows=%" PRId64 ",n=%" PRId64 ",in_place=%d",
                           p.activation == TD_ACT_GELU ? "gelu" : "silu", p.rows, p.n, p.in_place);
    }
    p.activation = TD_ACT_SILU;
    p.kind = TD_OP_ADD;
    conform_add_operator(list, conform_run_operator, &p, TD_F32, "add/rows=%" PRId64 ",n=%" PRId64 ",in_place=%d",
                         p.rows, p.n, p.in_place);
    if (p.in_place) continue;
    p.kind = TD_OP_SELECT;
    conform_add_operator(list, conform_run_operator, &p, TD_F32, "select/rows=%" PRId64 ",n=%" PRId64, p.rows, p.n);
  }
}

void conform_list_operators(struct conform_list *list) {
  list_matmul(list);
  list_embed_norm_bias(list);
  list_rope(list);
  list_cache(list);
  list_pointwise(list);
}
