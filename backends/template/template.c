/* SPDX-License-Identifier: Apache-2.0
 *
 * The student's page: a whole backend in one file. It is slow, synchronous and correct. To make your own, say student:
 *   1. cp -r backends/template backends/student && cd backends/student && mv template.c student.c
 *   2. sed -i s/template/student/g *
 *   3. Build as before: CMake finds the folder. `tandem conform student` passes before you change anything.
 *   4. Move memory: give struct td_buffer your device's pointer; change the four mem_ functions.
 *   5. Move operators to your device one at a time, matmul first, with `tandem conform student` after each.
 *   6. Let calls return early and do the waiting in sync. tandem/backend.h says what else a table can have.
 * The framework checks every view, range, block table and token id before a call gets here.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/backend.h"
#include "tandem/base.h"
#include "tandem/kernels.h"
#include "tandem/positions.h"

/* ---- memory: the device's is the host's ---- */

struct td_buffer {
  uint64_t bytes;
  unsigned char data[];
};

static td_status mem_alloc(struct td_device *device, uint64_t bytes, enum td_buffer_use use, struct td_buffer **out) {
  (void)device, (void)use;
  *out = bytes < SIZE_MAX / 2 ? calloc(1, sizeof **out + bytes) : NULL;
  return *out ? TD_OK : td_fail(TD_EXHAUSTED, "found no host memory for a buffer of %.0f bytes", (double)bytes);
}
static void mem_free(struct td_device *device, struct td_buffer *buffer) {
  (void)device, free(buffer);
}
static td_status mem_write(struct td_device *device, struct td_buffer *to, uint64_t at, const void *src, uint64_t n) {
  return (void)device, memcpy(to->data + at, src, n), TD_OK;
}
static td_status mem_read(struct td_device *device, struct td_buffer *from, uint64_t at, void *dst, uint64_t n) {
  return (void)device, memcpy(dst, from->data + at, n), TD_OK;
}

/* ---- operators: sums in double and in one order, so a row's result depends on that row alone ---- */

/* Row `row` of a float32 view, in place. */
static float *row_of(const struct td_view *view, int64_t row) {
  return (float *)(void *)(view->buffer->data + view->offset) + row * view->cols;
}
/* Row `row` of a view of any dtype, copied as float32. */
static void fetch_row(const struct td_view *view, int64_t row, float *out) {
  const struct td_dtype_info *info = td_dtype_info(view->dtype);
  int64_t row_bytes = view->cols / info->block_elements * info->block_bytes;
  td_dequantize(view->dtype, view->buffer->data + view->offset + row * row_bytes, out, view->cols);
}

/* Row `r` of an operator whose rows need only themselves; `weight` is its one row of weights, NULL if it has none. */
static void run_row(const struct td_op_call *call, int64_t r, const float *weight) {
  const struct td_op *op = call->op;
  const float *a = call->in[0].buffer ? row_of(&call->in[0], r) : NULL;
  const float *b = call->in[1].buffer ? row_of(&call->in[1], r) : weight;
  float *out = row_of(&call->out, r);
  int64_t width = op->kind == TD_OP_RMS_NORM ? op->n / op->groups : op->n; /* of a group: the row, or a head */
  switch (op->kind) {
    case TD_OP_EMBED:
      fetch_row(&call->weight, call->batch->ids[r], out);
      for (int64_t i = 0; i < op->n; i++) out[i] = (float)(out[i] * op->scale);
      break;
    case TD_OP_SELECT:
      fetch_row(&call->in[0], call->batch->logit_rows[r], out);
      break;
    case TD_OP_RMS_NORM:
      for (int64_t i = 0; i < op->n; i += width) td_rms_norm_row(a + i, weight, out + i, width, op->epsilon);
      break;
    case TD_OP_ROPE:
      memmove(out, a, (size_t)call->out.cols * sizeof *out);
      for (int32_t h = 0; h < op->heads; h++, out += op->head_dim)
        td_rope_row(op, weight, call->batch->positions[r], out);
      break;
    case TD_OP_ADD: /* of two activations, or of one and a bias */
      for (int64_t i = 0; i < op->n; i++) out[i] = a[i] + b[i];
      break;
    case TD_OP_ACTIVATION:
      for (int64_t i = 0; i < op->n; i++) out[i] = (float)(td_activate(op->activation, a[i]) * b[i]);
      break;
    case TD_OP_ROUTER:
      td_route_row(a, out, op->experts, op->experts_used);
      break;
    default: /* TD_OP_EXPERT_SUM */
      td_expert_sum_row(a, b, out, op->n, op->experts_used);
  }
}

/* Each row of the weight, with all rows of the input; of an expert's weight, with those routed to that expert. */
static void matmul(const struct td_op_call *call, float *weight) {
  int64_t n = call->op->n, k = call->op->k, slots = call->op->kind == TD_OP_EXPERT_MATMUL ? call->op->experts_used : 1;
  for (int64_t w = 0; w < call->weight.rows; w++) {
    bool fetched = false;
    for (int64_t r = 0, slot = 0; r < call->out.rows; slot = (slot + 1) % slots, r += slot == 0) {
      if (call->in[1].buffer && td_routed_id(row_of(&call->in[1], r), (int32_t)slot) != w / n) continue;
      if (!fetched) fetch_row(&call->weight, w, weight), fetched = true;
      const float *in = row_of(&call->in[0], r) + td_expert_input((int32_t)slot, call->in[0].cols, k);
      row_of(&call->out, r)[slot * n + w % n] = (float)td_dot(in, weight, k);
    }
  }
}

/* Where (position, head) of a sequence lies in a cache [block][slot][head][dim]. */
static void *cached(const struct td_kv_view *kv, struct td_buffer *pool, const struct td_seq *seq, int64_t p,
                    int32_t h) {
  int64_t slot = td_kv_slot(seq->blocks, (int32_t)p, kv->block_tokens);
  return pool->data + td_kv_element(slot, h, kv->kv_heads, kv->head_dim) * td_dtype_info(kv->dtype)->block_bytes;
}

static td_status kv_append(const struct td_op_call *call, const struct td_seq *seq, int64_t t) {
  const struct td_kv_view *kv = &call->kv;
  const float *k = row_of(&call->in[0], seq->first_row + t), *v = row_of(&call->in[1], seq->first_row + t);
  TD_TRY(td_quantize(kv->dtype, k, cached(kv, kv->k, seq, seq->past + t, 0), call->in[0].cols));
  return td_quantize(kv->dtype, v, cached(kv, kv->v, seq, seq->past + t, 0), call->in[1].cols);
}

/* One query head of token t over the positions it sees: a softmax that rescales when a larger score comes. */
static void attend(const struct td_op_call *call, const struct td_seq *seq, int64_t t, int32_t head, double *sums) {
  const struct td_kv_view *kv = &call->kv;
  int32_t position = (int32_t)(seq->past + t), kv_head = td_kv_head(head, call->op->heads, kv->kv_heads);
  int64_t dims = kv->head_dim, row = seq->first_row + t;
  float *query = row_of(&call->in[0], row) + head * dims, *out = row_of(&call->out, row) + head * dims;
  float *cache = (float *)(sums + dims);
  double top = -INFINITY, total = 0;
  for (int64_t i = 0; i < dims; i++) sums[i] = 0;
  for (int32_t p = td_visible_begin(position, call->op->window); p < td_visible_end(position); p++) {
    td_dequantize(kv->dtype, cached(kv, kv->k, seq, p, kv_head), cache, dims);
    double score = td_dot(query, cache, dims) * call->op->scale, before = top;
    top = fmax(top, score);
    double fade = exp(before - top), share = exp(score - top);
    td_dequantize(kv->dtype, cached(kv, kv->v, seq, p, kv_head), cache, dims);
    for (int64_t i = 0; i < dims; i++) sums[i] = sums[i] * fade + share * cache[i];
    total = total * fade + share;
  }
  for (int64_t i = 0; i < dims; i++) out[i] = (float)(sums[i] / total);
}

static td_status op_seq(const struct td_op_call *call, const struct td_seq *seq, double *sums) {
  for (int64_t t = 0; t < seq->tokens; t++) {
    if (call->op->kind == TD_OP_KV_APPEND) TD_TRY(kv_append(call, seq, t));
    for (int32_t h = 0; call->op->kind == TD_OP_ATTENTION && h < call->op->heads; h++) attend(call, seq, t, h, sums);
  }
  return TD_OK;
}

static td_status op(struct td_device *device, const struct td_op_call *call) {
  enum td_op_kind kind = call->op->kind;
  const float *weight = NULL;
  void *scratch; /* for one row of a weight, or for two of a head */
  td_status status = td_alloc((size_t)(call->weight.cols + 2 * call->op->head_dim + 1), sizeof(double), &scratch);
  if (status) return status;
  if (call->weight.rows == 1) fetch_row(&call->weight, 0, scratch), weight = scratch;
  if (kind == TD_OP_MATMUL || kind == TD_OP_EXPERT_MATMUL) {
    matmul(call, scratch);
  } else if (kind == TD_OP_KV_APPEND || kind == TD_OP_ATTENTION) {
    for (int32_t s = 0; s < call->batch->seq_count && !status; s++)
      status = op_seq(call, &call->batch->seqs[s], scratch);
  } else {
    for (int64_t r = 0; r < call->out.rows; r++) run_row(call, r, weight);
  }
  return (void)device, free(scratch), status;
}

/* ---- the two tables ---- */

static td_status sync_value(struct td_device *device, uint64_t value) {
  return (void)device, (void)value, TD_OK; /* every call has done its work when it returns */
}
static void dev_close(struct td_device *device) {
  free(device);
}
static const struct td_device_table table = {.size = sizeof table,
                                             .close = dev_close,
                                             .alloc = mem_alloc,
                                             .free = mem_free,
                                             .write = mem_write,
                                             .read = mem_read,
                                             .op = op,
                                             .sync = sync_value};
static int32_t probe(const char **out_reason) {
  return (void)out_reason, 1; /* the host is always here */
}
static td_status dev_open(int32_t index, const struct td_device_options *options, struct td_device **out) {
  (void)index, (void)options; /* one device, on the calling thread */
  if (!(*out = calloc(1, sizeof **out))) return td_fail(TD_NO_MEMORY, "found no memory for a device");
  (*out)->table = &table;
  return TD_OK;
}
const struct td_backend td_backend_template = {.size = sizeof td_backend_template,
                                               .name = "template",
                                               .summary = "the student's page: plain loops, one thread",
                                               .executes = true,
                                               .exact = true,
                                               .probe = probe,
                                               .open = dev_open};
