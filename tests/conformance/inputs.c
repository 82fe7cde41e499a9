/* SPDX-License-Identifier: Apache-2.0
 *
 * The data of operator cases: seeded by nothing but the parameters, so that a case is the same wherever it runs.
 */
#include <math.h>
#include <string.h>

#include "suite.h"
#include "tandem/base.h"

#define SEED 20240607
#define VOCAB 23

/* Values in [-1, 1). */
static td_status random_values(struct conform_run *run, uint64_t stream, int64_t count, float **out_values) {
  float *values;
  TD_TRY(conform_memory(run, (size_t)count, sizeof *values, &values));
  for (int64_t i = 0; i < count; i++) values[i] = (float)(2.0 * td_random_unit(SEED, stream, (uint64_t)i) - 1.0);
  *out_values = values;
  return TD_OK;
}

/* Encodes rows of values, and decodes them again: the decoded ones are the truth. */
static td_status encode(struct conform_run *run, enum td_dtype dtype, int64_t rows, int64_t cols, const float *values,
                        const void **out_encoded, const float **out_decoded) {
  uint64_t row_bytes;
  TD_TRY(td_dtype_row_bytes(dtype, cols, &row_bytes));
  unsigned char *encoded;
  float *decoded;
  TD_TRY(conform_memory(run, (size_t)rows, (size_t)row_bytes, &encoded));
  TD_TRY(conform_memory(run, (size_t)(rows * cols), sizeof *decoded, &decoded));
  for (int64_t r = 0; r < rows; r++) {
    TD_TRY(td_quantize(dtype, values + r * cols, encoded + (uint64_t)r * row_bytes, cols));
    td_dequantize(dtype, encoded + (uint64_t)r * row_bytes, decoded + r * cols, cols);
  }
  *out_encoded = encoded;
  *out_decoded = decoded;
  return TD_OK;
}

/* The router's logits: ties in row 0 and among the coarse numbers of every third row; extremes in row 1. */
static void put_router_specials(struct conform_inputs *in, float *values) {
  int64_t experts = in->op.experts;
  for (int64_t i = 0; i < in->out_rows * experts; i++) {
    int64_t row = i / experts, expert = i % experts;
    values[i] = row == 0 ? 0.25f : row % 3 == 0 ? rintf(4.0f * values[i]) / 2.0f : 6.0f * values[i];
    if (row == 1 && expert == 0) values[i] = 1e30f;
    if (row == 1 && expert == 1) values[i] = -3e38f;
    if (row == 1 && expert > 0 && expert == experts - 1) values[i] = -INFINITY;
    if (in->p.nans && (i * 7 + row) % 5 == 0) values[i] = NAN;
    if (in->p.nans && row == 2) values[i] = NAN;
  }
}

/* Large and tiny arguments for the activation (the cube of 1e13 is no float), a row of zeros for the norm. */
static void put_specials(struct conform_inputs *in, float *values) {
  static const float specials[] = {0.0f,  -0.0f,  100.0f,  -100.0f, 20.0f,  -20.0f, -87.5f,
                                   88.5f, 1e-30f, -1e-30f, 1e13f,   -1e13f, -3.0f,  -5.5f};
  int64_t count = in->out_rows * in->out_cols, special_count = (int64_t)(sizeof specials / sizeof specials[0]);
  if (in->op.kind == TD_OP_ACTIVATION) {
    for (int64_t i = 0; i < special_count && i < count; i++) values[i] = specials[i];
  }
  if (in->op.kind == TD_OP_ROUTER) put_router_specials(in, values);
  if (in->op.kind == TD_OP_RMS_NORM && in->out_rows > 1) memset(values, 0, (size_t)in->out_cols * sizeof *values);
}

static td_status make_input(struct conform_run *run, struct conform_inputs *in, int which, int64_t rows, int64_t cols) {
  float *values;
  TD_TRY(random_values(run, 10 + (uint64_t)which, rows * cols, &values));
  if (which == 0) put_specials(in, values);
  in->in[which] = values;
  in->in_cols[which] = cols;
  return TD_OK;
}

static td_status make_weight(struct conform_run *run, struct conform_inputs *in, int64_t rows, int64_t cols) {
  float *values;
  TD_TRY(random_values(run, 20, rows * cols, &values));
  if (in->op.kind == TD_OP_ROPE) { /* factors divide: 1 .. 9 */
    for (int64_t i = 0; i < cols; i++) values[i] = 5.0f + 4.0f * values[i];
  }
  in->weight_rows = rows;
  in->weight_cols = cols;
  return encode(run, in->p.weight, rows, cols, values, &in->weight, &in->weight_values);
}

/* What a router might have said: distinct experts in any order, weights that need not add up to 1. Neighbouring rows
 * choose some experts in common. */
static td_status make_routed(struct conform_run *run, struct conform_inputs *in) {
  int32_t experts = in->p.experts, used = in->p.used, *order;
  float *routed;
  TD_TRY(conform_memory(run, (size_t)experts, sizeof *order, &order));
  TD_TRY(conform_memory(run, (size_t)(in->p.rows * 2 * used), sizeof *routed, &routed));
  for (int32_t e = 0; e < experts; e++) order[e] = e;
  for (int64_t row = 0; row < in->p.rows; row++) {
    for (int32_t slot = 0; slot < used; slot++) {
      uint64_t place = (uint64_t)(row * used + slot);
      int32_t other = slot + (int32_t)(td_random(SEED, 50, place) % (uint64_t)(experts - slot)), kept = order[slot];
      order[slot] = order[other];
      order[other] = kept;
      routed[row * 2 * used + slot] = (float)order[slot];
      routed[row * 2 * used + used + slot] = (float)td_random_unit(SEED, 51, place);
    }
  }
  in->in[1] = routed;
  in->in_cols[1] = 2 * used;
  return TD_OK;
}

/* Sequences of uneven length over `rows` rows, the i-th with past + 5 i cached positions. */
static td_status make_seqs(struct conform_run *run, struct conform_inputs *in, struct td_seq **out_seqs) {
  int32_t count = in->p.seqs ? in->p.seqs : 1;
  struct td_seq *seqs;
  TD_TRY(conform_memory(run, (size_t)count, sizeof *seqs, &seqs));
  int64_t row = 0;
  for (int32_t s = 0; s < count; s++) {
    int64_t left = in->p.rows - row, after = count - 1 - s;
    int64_t tokens = after ? 1 + (left - after - 1) * (s % 2 + 1) / (after + 2) : left;
    seqs[s] = (struct td_seq){
        .request = 100 + (uint64_t)s, .past = in->p.past + 5 * s, .tokens = tokens, .first_row = row, .logits = true};
    row += tokens;
  }
  in->batch.seqs = seqs;
  in->batch.seq_count = count;
  *out_seqs = seqs;
  return TD_OK;
}

/* Block numbers in a seeded order with three blocks left over: no sequence's blocks are neighbours but by chance. */
static td_status make_tables(struct conform_run *run, struct conform_inputs *in, struct td_seq *seqs) {
  int64_t needed = 0, block = in->p.block_tokens;
  for (int32_t s = 0; s < in->batch.seq_count; s++) {
    seqs[s].block_count = (int32_t)((seqs[s].past + seqs[s].tokens + block - 1) / block);
    needed += seqs[s].block_count;
  }
  in->pool_blocks = needed + 3;
  int32_t *order;
  TD_TRY(conform_memory(run, (size_t)in->pool_blocks, sizeof *order, &order));
  for (int32_t i = 0; i < in->pool_blocks; i++) order[i] = i;
  for (int64_t i = in->pool_blocks - 1; i > 0; i--) {
    int64_t other = (int64_t)(td_random(SEED, 30, (uint64_t)i) % (uint64_t)(i + 1));
    int32_t kept = order[i];
    order[i] = order[other];
    order[other] = kept;
  }
  for (int32_t s = 0; s < in->batch.seq_count; order += seqs[s].block_count, s++) seqs[s].blocks = order;
  return TD_OK;
}

/* Pools filled everywhere, also where no sequence lives: reading from the wrong block shows. */
static td_status make_pools(struct conform_run *run, struct conform_inputs *in) {
  int64_t rows = in->pool_blocks * in->p.block_tokens, cols = (int64_t)in->op.kv_heads * in->op.head_dim;
  float *k, *v;
  TD_TRY(random_values(run, 40, rows * cols, &k));
  TD_TRY(random_values(run, 41, rows * cols, &v));
  TD_TRY(encode(run, in->p.kv, rows, cols, k, &in->k_pool, &in->k_values));
  return encode(run, in->p.kv, rows, cols, v, &in->v_pool, &in->v_values);
}

static td_status make_positions(struct conform_run *run, struct conform_inputs *in) {
  int32_t *positions, *ids;
  TD_TRY(conform_memory(run, (size_t)in->p.rows, sizeof *positions, &positions));
  TD_TRY(conform_memory(run, (size_t)in->p.rows, sizeof *ids, &ids));
  for (int32_t s = 0; s < in->batch.seq_count; s++) {
    const struct td_seq *seq = &in->batch.seqs[s];
    for (int64_t t = 0; t < seq->tokens; t++) positions[seq->first_row + t] = (int32_t)(seq->past + t);
  }
  for (int64_t r = 0; r < in->p.rows; r++) ids[r] = (int32_t)(r == 0 ? VOCAB - 1 : (r * 7) % VOCAB);
  in->batch.positions = positions;
  in->batch.ids = ids;
  return TD_OK;
}

/* SELECT wants every third row and the last; all other cases want none. */
static td_status make_logit_rows(struct conform_run *run, struct conform_inputs *in) {
  int32_t *rows;
  TD_TRY(conform_memory(run, (size_t)in->p.rows, sizeof *rows, &rows));
  for (int32_t r = 0; r < in->p.rows; r++) {
    if (r % 3 == 1 || r == in->p.rows - 1) rows[in->batch.logit_count++] = r;
  }
  in->batch.logit_rows = rows;
  in->op.rows = TD_ROWS_LOGITS;
  in->out_rows = in->batch.logit_count;
  return TD_OK;
}

static td_status make_operands(struct conform_run *run, struct conform_inputs *in) {
  const struct conform_params *p = &in->p;
  int64_t heads = (int64_t)p->heads * p->head_dim, kv = (int64_t)p->kv_heads * p->head_dim;
  switch (p->kind) {
    case TD_OP_EMBED:
      return make_weight(run, in, VOCAB, p->n);
    case TD_OP_RMS_NORM:
      TD_TRY(make_weight(run, in, 1, p->n / in->op.groups));
      return make_input(run, in, 0, p->rows, p->n);
    case TD_OP_MATMUL:
      TD_TRY(make_weight(run, in, p->n, p->k));
      return make_input(run, in, 0, p->rows, p->k);
    case TD_OP_ROPE:
      if (p->factors) TD_TRY(make_weight(run, in, 1, p->rope_dim / 2));
      return make_input(run, in, 0, p->rows, heads);
    case TD_OP_KV_APPEND:
      TD_TRY(make_pools(run, in));
      TD_TRY(make_input(run, in, 0, p->rows, kv));
      return make_input(run, in, 1, p->rows, kv);
    case TD_OP_ATTENTION:
      TD_TRY(make_pools(run, in));
      return make_input(run, in, 0, p->rows, heads);
    case TD_OP_ACTIVATION:
    case TD_OP_ADD:
      TD_TRY(p->bias ? make_weight(run, in, 1, p->n) : make_input(run, in, 1, p->rows, p->n));
      return make_input(run, in, 0, p->rows, p->n);
    case TD_OP_ROUTER:
      return make_input(run, in, 0, p->rows, p->experts);
    case TD_OP_EXPERT_MATMUL:
      TD_TRY(make_weight(run, in, p->experts * p->n, p->k));
      TD_TRY(make_routed(run, in));
      return make_input(run, in, 0, p->rows, p->per_slot ? p->used * p->k : p->k);
    case TD_OP_EXPERT_SUM:
      TD_TRY(make_routed(run, in));
      return make_input(run, in, 0, p->rows, p->used * p->n);
    case TD_OP_SELECT:
      TD_TRY(make_logit_rows(run, in));
      return make_input(run, in, 0, p->rows, p->n);
    default:
      break;
  }
  return td_fail(TD_INTERNAL, "no case data for operator %d", (int)p->kind);
}

td_status conform_inputs_make(struct conform_run *run, const struct conform_params *params,
                              struct conform_inputs *out_inputs) {
  struct conform_inputs in = {.p = *params};
  int64_t heads = (int64_t)params->heads * params->head_dim;
  in.op = (struct td_op){.kind = params->kind,
                         .rows = TD_ROWS_TOKENS,
                         .in = {-1, -1},
                         .out = -1,
                         .weight = -1,
                         .n = params->n ? params->n : heads,
                         .k = params->k,
                         .heads = params->heads,
                         .kv_heads = params->kv_heads,
                         .head_dim = params->head_dim,
                         .rope_dim = params->rope_dim,
                         .window = params->window,
                         .experts = params->experts,
                         .experts_used = params->used,
                         .rope_pairs = params->pairs,
                         .activation = params->activation,
                         .epsilon = 1e-5,
                         .theta = 10000.0,
                         .scale = params->scale ? params->scale : 1.0,
                         .position_scale = params->position_scale ? params->position_scale : 1.0};
  if (params->kind == TD_OP_ATTENTION && params->scale == 0) {
    in.op.scale = 1.0 / params->head_dim; /* no power of two by habit */
  }
  if (params->kind == TD_OP_RMS_NORM) in.op.groups = params->groups ? params->groups : 1;
  if (params->kind == TD_OP_ROUTER) in.op.n = 2 * (int64_t)params->used;
  in.batch.rows = params->rows;
  in.out_rows = params->rows;
  in.out_cols = params->kind == TD_OP_EXPERT_MATMUL ? params->used * params->n : in.op.n;
  struct td_seq *seqs;
  TD_TRY(make_seqs(run, &in, &seqs));
  if (params->block_tokens) TD_TRY(make_tables(run, &in, seqs));
  TD_TRY(make_positions(run, &in));
  TD_TRY(make_operands(run, &in));
  *out_inputs = in;
  return TD_OK;
}

/* The sequence that row `row` belongs to. */
static const struct td_seq *seq_of(const struct conform_inputs *inputs, int64_t row) {
  const struct td_seq *seq = inputs->batch.seqs;
  while (row >= seq->first_row + seq->tokens) seq++;
  return seq;
}

td_status conform_inputs_row(struct conform_run *run, const struct conform_inputs *inputs, int64_t row,
                             struct conform_inputs *out_inputs) {
  struct conform_inputs one = *inputs;
  struct td_seq *seq;
  TD_TRY(conform_memory(run, 1, sizeof *seq, &seq));
  *seq = *seq_of(inputs, row);
  seq->past += row - seq->first_row;
  seq->tokens = 1;
  seq->first_row = 0;
  one.batch = (struct td_batch){.rows = 1,
                                .ids = inputs->batch.ids + row,
                                .positions = inputs->batch.positions + row,
                                .seqs = seq,
                                .seq_count = 1};
  one.p.rows = one.out_rows = 1;
  for (int i = 0; i < TD_OP_INPUTS; i++) {
    if (one.in[i]) one.in[i] += row * one.in_cols[i];
  }
  *out_inputs = one;
  return TD_OK;
}

int64_t conform_place(const struct conform_inputs *inputs, const struct td_seq *seq, int64_t position) {
  int64_t block = inputs->p.block_tokens, slot = (int64_t)seq->blocks[position / block] * block + position % block;
  return slot * inputs->op.kv_heads * inputs->op.head_dim;
}

uint64_t conform_pool_bytes(const struct conform_inputs *inputs) {
  uint64_t element = (uint64_t)td_dtype_info((uint32_t)inputs->p.kv)->block_bytes;
  return (uint64_t)inputs->pool_blocks * (uint64_t)inputs->p.block_tokens * (uint64_t)inputs->op.kv_heads *
         (uint64_t)inputs->op.head_dim * element;
}
