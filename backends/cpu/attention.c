/* SPDX-License-Identifier: Apache-2.0
 *
 * The KV cache: appending to it and attending over it. Positions are taken in ascending absolute order and each (row,
 * head) is summed by itself, so a row's result does not know what else is in the batch, or how the cache is paged.
 */
#include <string.h>

#include "cpu.h"
#include "tandem/kernels.h"
#include "tandem/positions.h"

static size_t element_bytes(const struct td_kv_view *kv) {
  return kv->dtype == TD_F16 ? sizeof(uint16_t) : sizeof(float);
}

/* Element index of (position, kv head, 0) in the pool. */
static int64_t place(const struct td_kv_view *kv, const struct td_seq *seq, int64_t position, int32_t head) {
  return td_kv_element(td_kv_slot(seq->blocks, (int32_t)position, kv->block_tokens), head, kv->kv_heads, kv->head_dim);
}

static td_status append_row(const struct td_kv_view *kv, struct td_buffer *pool, int64_t at, const float *row) {
  unsigned char *to = pool->data + (uint64_t)at * element_bytes(kv);
  return td_quantize(kv->dtype, row, to, (int64_t)kv->kv_heads * kv->head_dim);
}

td_status cpu_kv_append(struct cpu_device *device, const struct td_op_call *call) {
  (void)device;
  const struct td_kv_view *kv = &call->kv;
  int64_t width = (int64_t)kv->kv_heads * kv->head_dim;
  for (int32_t s = 0; s < call->batch->seq_count; s++) {
    const struct td_seq *seq = &call->batch->seqs[s];
    for (int64_t t = 0; t < seq->tokens; t++) {
      int64_t at = place(kv, seq, seq->past + t, 0), row = (seq->first_row + t) * width;
      TD_TRY(append_row(kv, kv->k, at, cpu_floats(&call->in[0]) + row));
      TD_TRY(append_row(kv, kv->v, at, cpu_floats(&call->in[1]) + row));
    }
  }
  return TD_OK;
}

/* An item is a tile of one sequence's rows and a head. */
struct attend {
  struct cpu_device *device;
  const struct td_op_call *call;
  int64_t scores_stride; /* floats of scores per row of a tile */
};

struct tile {
  const struct td_seq *seq;
  int64_t begin, rows; /* of the sequence's new tokens */
  int64_t from, to;    /* positions that any of the rows sees; from begins a KV block */
  int32_t head, kv_head;
  float *scores;   /* row r sees position p at scores[r * scores_stride + p - from] */
  float *expanded; /* one KV block */
};

static int64_t tiles_of(const struct td_seq *seq) {
  return (seq->tokens + CPU_QUERY_TILE - 1) / CPU_QUERY_TILE;
}

/* Positions that row r of the tile sees: begin <= p < end. */
static int64_t seen_begin(const struct attend *attend, const struct tile *tile, int64_t r) {
  return td_visible_begin((int32_t)(tile->seq->past + tile->begin + r), attend->call->op->window);
}
static int64_t seen_end(const struct tile *tile, int64_t r) {
  return td_visible_end((int32_t)(tile->seq->past + tile->begin + r));
}

static struct tile find_tile(const struct attend *attend, int32_t worker, int32_t item) {
  const struct td_op *op = attend->call->op;
  const struct td_seq *seq = attend->call->batch->seqs;
  int64_t index = item / op->heads, block = attend->call->kv.block_tokens;
  while (index >= tiles_of(seq)) index -= tiles_of(seq++);
  struct tile tile = {.seq = seq, .begin = index * CPU_QUERY_TILE, .head = item % op->heads};
  int64_t left = seq->tokens - tile.begin;
  tile.rows = left < CPU_QUERY_TILE ? left : CPU_QUERY_TILE;
  tile.kv_head = td_kv_head(tile.head, op->heads, op->kv_heads);
  tile.from = seen_begin(attend, &tile, 0) / block * block;
  tile.to = seen_end(&tile, tile.rows - 1);
  tile.scores = cpu_scratch_of(attend->device, worker);
  tile.expanded = tile.scores + CPU_QUERY_TILE * attend->scores_stride;
  return tile;
}

/* `count` positions from `position` on, all in one block: as float32 with *out_stride between them. */
static const float *block_rows(const struct td_kv_view *kv, const struct td_buffer *pool, const struct tile *tile,
                               int64_t position, int64_t count, int64_t *out_stride) {
  int64_t at = place(kv, tile->seq, position, tile->kv_head), step = (int64_t)kv->kv_heads * kv->head_dim;
  const unsigned char *from = pool->data + (uint64_t)at * element_bytes(kv);
  if (kv->dtype == TD_F32) {
    *out_stride = step;
    return (const float *)(const void *)from;
  }
  for (int64_t j = 0; j < count; j++) {
    td_dequantize(kv->dtype, from + (uint64_t)(j * step) * element_bytes(kv), tile->expanded + j * kv->head_dim,
                  kv->head_dim);
  }
  *out_stride = kv->head_dim;
  return tile->expanded;
}

static int64_t row_offset(const struct attend *attend, const struct tile *tile, int64_t r) {
  const struct td_op *op = attend->call->op;
  return (tile->seq->first_row + tile->begin + r) * op->heads * op->head_dim + tile->head * op->head_dim;
}

static float *scores_of(const struct attend *attend, const struct tile *tile, int64_t r, int64_t position) {
  return tile->scores + r * attend->scores_stride + position - tile->from;
}

static void score_tile(const struct attend *attend, const struct tile *tile) {
  const struct td_op_call *call = attend->call;
  int64_t block = call->kv.block_tokens, stride;
  for (int64_t at = tile->from; at < tile->to; at += block) {
    int64_t count = tile->to - at < block ? tile->to - at : block;
    const float *keys = block_rows(&call->kv, call->kv.k, tile, at, count, &stride);
    for (int64_t r = 0; r < tile->rows; r++) {
      attend->device->kernels->scores(cpu_floats(&call->in[0]) + row_offset(attend, tile, r), keys, stride, count,
                                      call->op->head_dim, (float)call->op->scale, scores_of(attend, tile, r, at));
    }
  }
}

/* The values of one KV block, `count` positions from `at` on, as far as row r sees them. */
static void mix_row(const struct attend *attend, const struct tile *tile, int64_t r, int64_t at, int64_t count,
                    const float *values, int64_t stride) {
  int64_t begin = seen_begin(attend, tile, r), end = seen_end(tile, r);
  if (begin < at) begin = at;
  if (end > at + count) end = at + count;
  if (begin >= end) return;
  attend->device->kernels->mix(scores_of(attend, tile, r, begin), values + (begin - at) * stride, stride, end - begin,
                               attend->call->op->head_dim,
                               cpu_floats(&attend->call->out) + row_offset(attend, tile, r));
}

static void mix_tile(const struct attend *attend, const struct tile *tile) {
  const struct td_op_call *call = attend->call;
  int64_t block = call->kv.block_tokens, stride;
  for (int64_t at = tile->from; at < tile->to; at += block) {
    int64_t count = tile->to - at < block ? tile->to - at : block;
    const float *values = block_rows(&call->kv, call->kv.v, tile, at, count, &stride);
    for (int64_t r = 0; r < tile->rows; r++) mix_row(attend, tile, r, at, count, values, stride);
  }
}

static void attend_tile(void *context, int32_t worker, int32_t item) {
  const struct attend *attend = context;
  struct tile tile = find_tile(attend, worker, item);
  int64_t dim = attend->call->op->head_dim;
  float sums[CPU_QUERY_TILE];
  score_tile(attend, &tile);
  for (int64_t r = 0; r < tile.rows; r++) {
    int64_t begin = seen_begin(attend, &tile, r);
    sums[r] = attend->device->kernels->soften(scores_of(attend, &tile, r, begin), seen_end(&tile, r) - begin);
    memset(cpu_floats(&attend->call->out) + row_offset(attend, &tile, r), 0, (size_t)dim * sizeof(float));
  }
  mix_tile(attend, &tile);
  for (int64_t r = 0; r < tile.rows; r++) {
    float *out = cpu_floats(&attend->call->out) + row_offset(attend, &tile, r);
    for (int64_t i = 0; i < dim; i++) out[i] /= sums[r];
  }
}

/* The most positions that a tile of this sequence looks at. */
static int64_t longest_view(const struct td_op_call *call, const struct td_seq *seq) {
  int64_t all = seq->past + seq->tokens;
  int64_t windowed = (int64_t)call->op->window + CPU_QUERY_TILE + call->kv.block_tokens;
  return call->op->window > 0 && windowed < all ? windowed : all;
}

td_status cpu_attention(struct cpu_device *device, const struct td_op_call *call) {
  struct attend attend = {.device = device, .call = call};
  int64_t items = 0;
  for (int32_t s = 0; s < call->batch->seq_count; s++) {
    const struct td_seq *seq = &call->batch->seqs[s];
    items += tiles_of(seq) * call->op->heads;
    if (longest_view(call, seq) > attend.scores_stride) attend.scores_stride = longest_view(call, seq);
  }
  TD_TRY(
      cpu_scratch(device, CPU_QUERY_TILE * attend.scores_stride + (int64_t)call->kv.block_tokens * call->kv.head_dim));
  cpu_pool_run(device->pool, attend_tile, &attend, (int32_t)items);
  return TD_OK;
}
