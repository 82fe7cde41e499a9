/* SPDX-License-Identifier: Apache-2.0
 *
 * Is an operator call what enum td_op_kind says? Backends need not look: whatever passes here lies inside its buffers
 * and has matching shapes. A refusal is a bug of the caller (TD_INTERNAL) and names the operand.
 *
 * One thing only the device can see: the expert ids of a router's result. A backend's ROUTER always writes ids of
 * experts, whatever the logits (tandem/positions.h orders NaNs too), so EXPERT_MATMUL may trust them.
 */
#include <inttypes.h>
#include <math.h>

#include "device_private.h"
#include "tandem/base.h"

struct check {
  const struct td_device *device;
  const struct td_op_call *call;
};

static td_status refuse(const struct check *check, const char *operand, const char *what) {
  return td_fail(TD_INTERNAL, "%s: %s of layer %d: operand %s: %s", td_device_label(check->device).text,
                 td_op_kind_name(check->call->op->kind), (int)check->call->op->layer, operand, what);
}

static td_status view_bytes(const struct td_view *view, uint64_t *out_bytes) {
  uint64_t row = 0;
  TD_TRY(td_dtype_row_bytes(view->dtype, view->cols, &row));
  if (!td_mul_size((uint64_t)view->rows, row, out_bytes)) return td_fail(TD_INTERNAL, "size overflows");
  return TD_OK;
}

/* A view of exactly rows x cols that lies in its buffer. */
static td_status view(const struct check *check, const char *name, const struct td_view *view, int64_t rows,
                      int64_t cols) {
  uint64_t bytes, size;
  if (!view->buffer) return refuse(check, name, "absent");
  if (view->rows != rows || view->cols != cols || rows < 1 || cols < 1) {
    return td_fail(TD_INTERNAL,
                   "%s: %s of layer %d: operand %s: found %" PRId64 " x %" PRId64 ", expected %" PRId64 " x %" PRId64,
                   td_device_label(check->device).text, td_op_kind_name(check->call->op->kind),
                   (int)check->call->op->layer, name, view->rows, view->cols, rows, cols);
  }
  if (view_bytes(view, &bytes)) return refuse(check, name, td_error_text());
  if (td_dtype_info((uint32_t)view->dtype)->priced_only) return refuse(check, name, "of a type that is priced only");
  if (!td_books_find(check->device->books, view->buffer, &size)) return refuse(check, name, "foreign buffer");
  if (view->offset > size || bytes > size - view->offset) return refuse(check, name, "beyond its buffer");
  return TD_OK;
}

static td_status activation(const struct check *check, const char *name, const struct td_view *activation, int64_t rows,
                            int64_t cols) {
  if (activation->buffer && activation->dtype != TD_F32) return refuse(check, name, "not float32");
  return view(check, name, activation, rows, cols);
}

static td_status absent(const struct check *check, const char *name, const struct td_view *view) {
  return view->buffer ? refuse(check, name, "given, but this operator takes none") : TD_OK;
}

static bool overlap(const struct td_view *a, const struct td_view *b) {
  uint64_t a_bytes, b_bytes;
  if (!a->buffer || a->buffer != b->buffer || view_bytes(a, &a_bytes) || view_bytes(b, &b_bytes)) return false;
  return a->offset < b->offset + b_bytes && b->offset < a->offset + a_bytes;
}

/* `in_place`: out may be in[0]. */
static td_status check_overlap(const struct check *check, bool in_place) {
  const struct td_op_call *call = check->call;
  bool same = in_place && call->out.buffer == call->in[0].buffer && call->out.offset == call->in[0].offset;
  if (!same && overlap(&call->out, &call->in[0])) return refuse(check, "out", "overlaps in[0]");
  if (overlap(&call->out, &call->in[1])) return refuse(check, "out", "overlaps in[1]");
  return TD_OK;
}

static td_status check_seq(const struct check *check, const struct td_seq *seq, int64_t first_row, int64_t pool) {
  int32_t block_tokens = check->call->kv.block_tokens;
  if (seq->first_row != first_row || seq->tokens < 1 || seq->past < 0) return refuse(check, "batch", "rows have gaps");
  if (seq->past + seq->tokens > (int64_t)seq->block_count * block_tokens) {
    return refuse(check, "kv", "a sequence's block table is too short");
  }
  for (int32_t i = 0; i < seq->block_count; i++) {
    if (seq->blocks[i] < 0 || seq->blocks[i] >= pool) return refuse(check, "kv", "a block is outside of the pool");
  }
  return TD_OK;
}

/* The cache and the block tables of every sequence. */
static td_status check_kv(const struct check *check, int64_t rows) {
  const struct td_kv_view *kv = &check->call->kv;
  const struct td_op *op = check->call->op;
  const struct td_batch *batch = check->call->batch;
  uint64_t k_bytes, v_bytes;
  if (!kv->k || !td_books_find(check->device->books, kv->k, &k_bytes)) return refuse(check, "kv.k", "foreign buffer");
  if (!kv->v || !td_books_find(check->device->books, kv->v, &v_bytes)) return refuse(check, "kv.v", "foreign buffer");
  if (kv->dtype != TD_F32 && kv->dtype != TD_F16) return refuse(check, "kv", "neither f32 nor f16");
  if (kv->block_tokens < 1 || kv->kv_heads != op->kv_heads || kv->head_dim != op->head_dim) {
    return refuse(check, "kv", "its shape is not the operator's");
  }
  uint64_t block_bytes = td_kv_view_token_bytes(kv) * (uint64_t)kv->block_tokens;
  int64_t pool = (int64_t)((k_bytes < v_bytes ? k_bytes : v_bytes) / block_bytes);
  int64_t next = 0;
  for (int32_t i = 0; i < batch->seq_count; i++) {
    TD_TRY(check_seq(check, &batch->seqs[i], next, pool));
    next += batch->seqs[i].tokens;
  }
  return next == rows ? TD_OK : refuse(check, "batch", "its sequences do not add up to its rows");
}

/* Row-wise operators: `second` says whether in[1] is read, `cols` how wide in[0] is. */
static td_status check_rowwise(const struct check *check, int64_t rows, int64_t cols, bool second, bool in_place) {
  const struct td_op_call *call = check->call;
  TD_TRY(activation(check, "in[0]", &call->in[0], rows, cols));
  TD_TRY(second ? activation(check, "in[1]", &call->in[1], rows, cols) : absent(check, "in[1]", &call->in[1]));
  TD_TRY(activation(check, "out", &call->out, rows, call->op->n));
  return check_overlap(check, in_place);
}

static td_status check_embed(const struct check *check, int64_t rows) {
  const struct td_op_call *call = check->call;
  TD_TRY(absent(check, "in[0]", &call->in[0]));
  TD_TRY(view(check, "weight", &call->weight, call->weight.rows, call->op->n));
  TD_TRY(activation(check, "out", &call->out, rows, call->op->n));
  if (!isfinite(call->op->scale) || call->op->scale == 0) return refuse(check, "op", "scale 0 or no number");
  if (!call->batch->ids) return refuse(check, "batch", "without token ids");
  for (int64_t row = 0; row < rows; row++) {
    int32_t id = call->batch->ids[row];
    if (id < 0 || id >= call->weight.rows) return refuse(check, "batch", "a token id is outside of the vocabulary");
  }
  return TD_OK;
}

static td_status check_norm(const struct check *check, int64_t rows) {
  const struct td_op_call *call = check->call;
  const struct td_op *op = call->op;
  if (op->groups < 1 || op->n % op->groups) return refuse(check, "op", "groups do not divide n");
  TD_TRY(view(check, "weight", &call->weight, 1, op->n / op->groups));
  return check_rowwise(check, rows, op->n, false, false);
}

/* Of two activations, or of one and a bias. */
static td_status check_add(const struct check *check, int64_t rows) {
  const struct td_op_call *call = check->call;
  if (!call->weight.buffer) return check_rowwise(check, rows, call->op->n, true, true);
  TD_TRY(view(check, "weight", &call->weight, 1, call->op->n));
  return check_rowwise(check, rows, call->op->n, false, true);
}

/* Ids stand as float32, so they must be exact there. */
static td_status check_experts(const struct check *check) {
  const struct td_op *op = check->call->op;
  if (op->experts < 1 || op->experts > 1 << 24) return refuse(check, "op", "experts below 1 or above 2^24");
  if (op->experts_used < 1 || op->experts_used > op->experts) {
    return refuse(check, "op", "experts_used below 1 or above experts");
  }
  return op->n > INT32_MAX ? refuse(check, "op", "n above 2^31 - 1") : TD_OK;
}

static td_status check_router(const struct check *check, int64_t rows) {
  const struct td_op_call *call = check->call;
  TD_TRY(check_experts(check));
  TD_TRY(absent(check, "in[1]", &call->in[1]));
  TD_TRY(activation(check, "in[0]", &call->in[0], rows, call->op->experts));
  TD_TRY(activation(check, "out", &call->out, rows, 2 * (int64_t)call->op->experts_used));
  return check_overlap(check, false);
}

static td_status check_expert_matmul(const struct check *check, int64_t rows) {
  const struct td_op_call *call = check->call;
  const struct td_op *op = call->op;
  TD_TRY(check_experts(check));
  int64_t used = op->experts_used, cols = call->in[0].cols;
  if (op->k < 1 || op->k > INT32_MAX) return refuse(check, "op", "k below 1 or above 2^31 - 1");
  TD_TRY(view(check, "weight", &call->weight, op->experts * op->n, op->k));
  TD_TRY(activation(check, "in[0]", &call->in[0], rows, cols == op->k ? cols : used * op->k));
  TD_TRY(activation(check, "in[1]", &call->in[1], rows, 2 * used));
  TD_TRY(activation(check, "out", &call->out, rows, used * op->n));
  return check_overlap(check, false);
}

static td_status check_expert_sum(const struct check *check, int64_t rows) {
  const struct td_op_call *call = check->call;
  TD_TRY(check_experts(check));
  TD_TRY(activation(check, "in[0]", &call->in[0], rows, call->op->experts_used * call->op->n));
  TD_TRY(activation(check, "in[1]", &call->in[1], rows, 2 * (int64_t)call->op->experts_used));
  TD_TRY(activation(check, "out", &call->out, rows, call->op->n));
  return check_overlap(check, false);
}

static td_status check_rope(const struct check *check, int64_t rows) {
  const struct td_op_call *call = check->call;
  const struct td_op *op = call->op;
  int64_t cols = (int64_t)op->heads * op->head_dim;
  if (op->heads < 1 || op->head_dim < 1) return refuse(check, "op", "heads or head_dim below 1");
  if (!isfinite(op->position_scale) || op->position_scale == 0)
    return refuse(check, "op", "position_scale 0 or no number");
  if (op->rope_dim < 0 || op->rope_dim > op->head_dim || op->rope_dim % 2) return refuse(check, "op", "odd rope_dim");
  TD_TRY(activation(check, "in[0]", &call->in[0], rows, cols));
  TD_TRY(activation(check, "out", &call->out, rows, cols));
  if (call->weight.buffer) TD_TRY(view(check, "weight", &call->weight, 1, op->rope_dim / 2));
  if (!call->batch->positions) return refuse(check, "batch", "without positions");
  return check_overlap(check, true);
}

static td_status check_attention(const struct check *check, int64_t rows) {
  const struct td_op_call *call = check->call;
  const struct td_op *op = call->op;
  int64_t cols = (int64_t)op->heads * op->head_dim;
  if (op->heads < 1 || op->head_dim < 1) return refuse(check, "op", "heads or head_dim below 1");
  if (op->kv_heads < 1 || op->heads % op->kv_heads) return refuse(check, "op", "kv_heads do not divide heads");
  if (op->window < 0) return refuse(check, "op", "window below 0");
  TD_TRY(activation(check, "in[0]", &call->in[0], rows, cols));
  TD_TRY(activation(check, "out", &call->out, rows, cols));
  TD_TRY(check_kv(check, rows));
  return check_overlap(check, false);
}

static td_status check_append(const struct check *check, int64_t rows) {
  const struct td_op_call *call = check->call;
  int64_t cols = (int64_t)call->op->kv_heads * call->op->head_dim;
  if (call->op->kv_heads < 1 || call->op->head_dim < 1) return refuse(check, "op", "kv_heads or head_dim below 1");
  TD_TRY(activation(check, "in[0]", &call->in[0], rows, cols));
  TD_TRY(activation(check, "in[1]", &call->in[1], rows, cols));
  TD_TRY(absent(check, "out", &call->out));
  return check_kv(check, rows);
}

static td_status check_select(const struct check *check) {
  const struct td_op_call *call = check->call;
  const struct td_batch *batch = call->batch;
  TD_TRY(activation(check, "in[0]", &call->in[0], batch->rows, call->op->n));
  TD_TRY(activation(check, "out", &call->out, batch->logit_count, call->op->n));
  for (int64_t i = 0; i < batch->logit_count; i++) {
    if (batch->logit_rows[i] < 0 || batch->logit_rows[i] >= batch->rows) return refuse(check, "batch", "bad logit row");
  }
  return check_overlap(check, false);
}

/* The program itself is the caller's matter. */
static td_status check_lpu_run(const struct check *check) {
  const struct td_op_call *call = check->call;
  const struct {
    const char *name;
    const struct td_view *view;
  } operands[] = {{"weight", &call->weight}, {"in[0]", &call->in[0]}, {"in[1]", &call->in[1]}, {"out", &call->out}};
  for (int i = 0; i < 4; i++) {
    if (!operands[i].view->buffer) return refuse(check, operands[i].name, "absent: the operator needs all four");
    TD_TRY(activation(check, operands[i].name, operands[i].view, 1, operands[i].view->cols));
  }
  for (int i = 0; i < 3; i++) {
    if (overlap(operands[i].view, &call->out)) return refuse(check, operands[i].name, "overlaps out");
  }
  return TD_OK;
}

/* Why no backend is asked to run this; NULL: it may be. */
static const char *priced_only(const struct td_op *op, bool weight, bool second) {
  if (op->kind == TD_OP_LPU_RUN) return NULL;
  if ((unsigned)op->kind >= TD_OP_EXECUTED_COUNT) return "the operator is priced only";
  if (op->kind == TD_OP_SAMPLE) return "the operator is the host's";
  if (op->kind == TD_OP_MATMUL && op->groups > 1) return "a product in groups is priced only";
  if (op->kind == TD_OP_ATTENTION && op->bidirectional) return "attention without a causal mask is priced only";
  if (op->kind == TD_OP_ATTENTION && weight) return "attention with sinks is priced only";
  if (op->kind == TD_OP_ATTENTION && second) return "latent attention is priced only";
  if (op->kind == TD_OP_ADD && op->experts > 0) return "a bias of experts is priced only";
  bool gate = op->activation == TD_ACT_SILU || op->activation == TD_ACT_GELU;
  return op->kind == TD_OP_ACTIVATION && !gate ? "the activation is priced only" : NULL;
}

td_status td_op_query_check(const struct td_op_query *query) {
  const struct td_op *op = query->op; /* value and weight 0 are the embedding's, never an attention's */
  const char *why = priced_only(op, op->weight > 0, op->in[1] > 0);
  const struct td_dtype_info *weight = td_dtype_info((uint32_t)query->weight_dtype);
  if (!why && (!weight || weight->priced_only)) why = "the weight's type is priced only";
  return why ? td_fail(TD_UNSUPPORTED, "%s, no backend runs it", why) : TD_OK;
}

td_status td_op_call_check(const struct td_device *device, const struct td_op_call *call) {
  const struct check check = {device, call};
  const struct td_op *op = call->op;
  if (op->kind == TD_OP_LPU_RUN) return check_lpu_run(&check);
  if (!call->batch) return refuse(&check, "batch", "absent");
  const char *why = priced_only(op, call->weight.buffer != NULL, call->in[1].buffer != NULL);
  if (why) return refuse(&check, "op", why);
  int64_t rows = op->rows == TD_ROWS_LOGITS ? call->batch->logit_count : call->batch->rows;
  switch (op->kind) {
    case TD_OP_EMBED:
      return check_embed(&check, rows);
    case TD_OP_RMS_NORM:
      return check_norm(&check, rows);
    case TD_OP_MATMUL:
      TD_TRY(view(&check, "weight", &call->weight, op->n, op->k));
      return check_rowwise(&check, rows, op->k, false, false);
    case TD_OP_ROPE:
      return check_rope(&check, rows);
    case TD_OP_KV_APPEND:
      return check_append(&check, rows);
    case TD_OP_ATTENTION:
      return check_attention(&check, rows);
    case TD_OP_ACTIVATION:
      return check_rowwise(&check, rows, op->n, true, true);
    case TD_OP_ADD:
      return check_add(&check, rows);
    case TD_OP_ROUTER:
      return check_router(&check, rows);
    case TD_OP_EXPERT_MATMUL:
      return check_expert_matmul(&check, rows);
    case TD_OP_EXPERT_SUM:
      return check_expert_sum(&check, rows);
    case TD_OP_SELECT:
      return check_select(&check);
    default:
      break;
  }
  return refuse(&check, "op", "is never sent to a device");
}
