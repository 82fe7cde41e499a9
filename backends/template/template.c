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
static double dot(const float *a, const float *b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
  return sum;
}

static void embed_or_select(const struct td_op_call *call) {
  bool embed = call->op->kind == TD_OP_EMBED;
  const int32_t *rows = embed ? call->batch->ids : call->batch->logit_rows;
  const struct td_view *from = embed ? &call->weight : &call->in[0];
  for (int64_t r = 0; r < call->out.rows; r++) fetch_row(from, rows[r], row_of(&call->out, r));
}

static void rms_norm(const struct td_op_call *call, float *weight) {
  fetch_row(&call->weight, 0, weight);
  for (int64_t r = 0, n = call->op->n; r < call->out.rows; r++) {
    const float *in = row_of(&call->in[0], r);
    double scale = 1 / sqrt(dot(in, in, n) / (double)n + call->op->epsilon);
    for (int64_t i = 0; i < n; i++) row_of(&call->out, r)[i] = (float)(in[i] * scale * weight[i]);
  }
}

static void matmul(const struct td_op_call *call, float *weight) {
  for (int64_t column = 0; column < call->op->n; column++) {
    fetch_row(&call->weight, column, weight);
    for (int64_t r = 0; r < call->out.rows; r++) {
      row_of(&call->out, r)[column] = (float)dot(row_of(&call->in[0], r), weight, call->op->k);
    }
  }
}

static void rope(const struct td_op_call *call, float *factors) {
  const struct td_op *op = call->op;
  if (call->weight.buffer) fetch_row(&call->weight, 0, factors);
  for (int64_t r = 0, half = op->rope_dim / 2; r < call->out.rows; r++) {
    memmove(row_of(&call->out, r), row_of(&call->in[0], r), (size_t)call->out.cols * sizeof(float));
    for (int64_t i = 0; i < op->heads * half; i++) {
      float *pair = row_of(&call->out, r) + i / half * op->head_dim + i % half * 2, x = pair[0], y = pair[1];
      double angle = call->batch->positions[r] / pow(op->theta, 2.0 * (double)(i % half) / op->rope_dim);
      if (call->weight.buffer) angle /= factors[i % half];
      pair[0] = (float)(x * cos(angle) - y * sin(angle));
      pair[1] = (float)(x * sin(angle) + y * cos(angle));
    }
  }
}

static void add_or_silu_mul(const struct td_op_call *call) {
  float *out = row_of(&call->out, 0), *a = row_of(&call->in[0], 0), *b = row_of(&call->in[1], 0);
  for (int64_t i = 0; i < call->out.rows * call->out.cols; i++) {
    out[i] = call->op->kind == TD_OP_ADD ? a[i] + b[i] : (float)(a[i] / (1 + exp(-(double)a[i])) * b[i]);
  }
}

/* Where (position, head) of a sequence lies in a cache [block][slot][head][dim]. */
static void *cached(const struct td_kv_view *kv, struct td_buffer *half, const struct td_seq *seq, int64_t p,
                    int64_t head) {
  int64_t slot = (int64_t)seq->blocks[p / kv->block_tokens] * kv->block_tokens + p % kv->block_tokens;
  return half->data + (slot * kv->kv_heads + head) * kv->head_dim * td_dtype_info(kv->dtype)->block_bytes;
}

static td_status kv_append(const struct td_op_call *call, const struct td_seq *seq) {
  const struct td_kv_view *kv = &call->kv;
  for (int64_t t = 0, width = call->in[0].cols; t < seq->tokens; t++) {
    const float *k = row_of(&call->in[0], seq->first_row + t), *v = row_of(&call->in[1], seq->first_row + t);
    TD_TRY(td_quantize(kv->dtype, k, cached(kv, kv->k, seq, seq->past + t, 0), width));
    TD_TRY(td_quantize(kv->dtype, v, cached(kv, kv->v, seq, seq->past + t, 0), width));
  }
  return TD_OK;
}

/* One query head of token t over the positions up to its own: a softmax that rescales when a larger score comes. */
static void attend(const struct td_op_call *call, const struct td_seq *seq, int64_t t, int64_t head, double *sums) {
  const struct td_kv_view *kv = &call->kv;
  int64_t dims = kv->head_dim, kv_head = head / (call->op->heads / kv->kv_heads), row = seq->first_row + t;
  float *query = row_of(&call->in[0], row) + head * dims, *out = row_of(&call->out, row) + head * dims;
  float *cache = (float *)(sums + dims);
  double top = -INFINITY, total = 0;
  for (int64_t i = 0; i < dims; i++) sums[i] = 0;
  for (int64_t p = 0; p <= seq->past + t; p++) {
    td_dequantize(kv->dtype, cached(kv, kv->k, seq, p, kv_head), cache, dims);
    double score = dot(query, cache, dims) * call->op->scale, before = top;
    top = fmax(top, score);
    double fade = exp(before - top), share = exp(score - top);
    td_dequantize(kv->dtype, cached(kv, kv->v, seq, p, kv_head), cache, dims);
    for (int64_t i = 0; i < dims; i++) sums[i] = sums[i] * fade + share * cache[i];
    total = total * fade + share;
  }
  for (int64_t i = 0; i < dims; i++) out[i] = (float)(sums[i] / total);
}

static td_status op(struct td_device *device, const struct td_op_call *call) {
  enum td_op_kind kind = call->op->kind;
  void *scratch; /* for one row of a weight, or for two of a head */
  td_status status = td_alloc((size_t)(call->weight.cols + 2 * call->op->head_dim + 1), sizeof(double), &scratch);
  if (status) return status;
  if (kind == TD_OP_EMBED || kind == TD_OP_SELECT) embed_or_select(call);
  if (kind == TD_OP_RMS_NORM) rms_norm(call, scratch);
  if (kind == TD_OP_MATMUL) matmul(call, scratch);
  if (kind == TD_OP_ROPE) rope(call, scratch);
  if (kind == TD_OP_ADD || kind == TD_OP_ACTIVATION) add_or_silu_mul(call);
  for (int32_t s = 0; s < call->batch->seq_count && !status; s++) {
    const struct td_seq *seq = &call->batch->seqs[s];
    if (kind == TD_OP_KV_APPEND) status = kv_append(call, seq);
    for (int64_t i = 0, heads = call->op->heads; kind == TD_OP_ATTENTION && i < seq->tokens * heads; i++) {
      attend(call, seq, i / heads, i % heads, scratch);
    }
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
  *out = calloc(1, sizeof **out);
  if (!*out) return td_fail(TD_NO_MEMORY, "found no memory for a device");
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
