/* SPDX-License-Identifier: Apache-2.0
 *
 * The reference: opening a model, walking its graph, feeding tokens.
 */
#include "lpu/reference.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lpu/reference_parts.h"
#include "tandem/base.h"
#include "tandem/kernels.h"

struct lpu_reference_options lpu_reference_options(enum td_lpu_weights weights, enum td_lpu_activations activations,
                                                   int32_t context) {
  return (struct lpu_reference_options){.weights = weights,
                                        .activations = activations,
                                        .lanes = 320,
                                        .lanes_per_superlane = 16,
                                        .plane_k = 320,
                                        .block_tokens = 320,
                                        .sequences = 1,
                                        .context = context};
}

/* ---- opening ---- */

static td_status check_options(const struct lpu_reference_options *o) {
  bool lanes = o->lanes_per_superlane > 0 && o->lanes > 0 && o->lanes <= TD_LPU_MOST_LANES;
  if (!lanes || o->lanes % o->lanes_per_superlane || o->plane_k < 2 || o->plane_k % 2) {
    return td_fail(TD_CONFIG, "lanes %d, in superlanes of %d, plane_k %d: no such machine", (int)o->lanes,
                   (int)o->lanes_per_superlane, (int)o->plane_k);
  }
  if (o->block_tokens < 1 || o->block_tokens > o->lanes || o->sequences < 1 || o->context < 1) {
    return td_fail(TD_CONFIG, "block_tokens %d (1 to %d), sequences %d, context %d: out of range", (int)o->block_tokens,
                   (int)o->lanes, (int)o->sequences, (int)o->context);
  }
  enum td_lpu_weights own = o->activations == TD_LPU_ACTIVATIONS_F8 ? TD_LPU_WEIGHTS_F8 : TD_LPU_WEIGHTS_I8;
  if (o->activations != TD_LPU_ACTIVATIONS_F16 && o->weights != own) {
    return td_fail(TD_CONFIG, "int8 activations need int8 weights, FP8 ones FP8");
  }
  return TD_OK;
}

/* What LPUs run. */
static td_status check_op(const struct td_op *op) {
  bool gated = (op->kind == TD_OP_ACTIVATION && op->activation > TD_ACT_GELU) ||
               (op->kind == TD_OP_POINTWISE && op->activation != TD_ACT_GELU && op->activation != TD_ACT_TANH);
  bool odd = (op->kind == TD_OP_MATMUL && op->groups > 1) || gated ||
             (op->kind == TD_OP_ATTENTION && (op->weight >= 0 || op->in[1] >= 0));
  bool expert_bias = op->kind == TD_OP_ADD && op->experts > 0;
  if (expert_bias || op->kind >= TD_OP_LPU_RUN || odd) {
    return td_fail(TD_UNSUPPORTED, "layer %d: LPUs do not run %s", (int)op->layer, td_op_kind_name(op->kind));
  }
  return TD_OK;
}

static td_status allocate_values(struct lpu_reference *reference) {
  const struct td_graph *graph = reference->graph;
  TD_TRY(td_alloc((size_t)graph->value_count, sizeof *reference->values, (void **)&reference->values));
  for (int32_t i = 0; i < graph->value_count; i++) {
    size_t cols = (size_t)graph->values[i].cols;
    TD_TRY(td_alloc((size_t)reference->most_rows * cols, sizeof(float), (void **)&reference->values[i]));
  }
  return TD_OK;
}

static td_status allocate_scratch(struct lpu_reference *reference) {
  const struct td_graph *graph = reference->graph;
  size_t context = (size_t)reference->options.context, head_dim = (size_t)graph->shape.head_dim, most_k = 1;
  for (int32_t i = 0; i < graph->op_count; i++) {
    bool matrix = graph->ops[i].kind == TD_OP_MATMUL || graph->ops[i].kind == TD_OP_EXPERT_MATMUL;
    if (matrix && (size_t)graph->ops[i].k > most_k) most_k = (size_t)graph->ops[i].k;
  }
  TD_TRY(td_alloc(2 * (size_t)reference->most_rows * most_k, sizeof(double), (void **)&reference->products));
  TD_TRY(td_alloc((size_t)reference->most_rows, sizeof(float), (void **)&reference->row_scale));
  TD_TRY(td_alloc(context, sizeof(float), (void **)&reference->scores));
  return td_alloc(context > head_dim ? context : head_dim, sizeof(double), (void **)&reference->sums);
}

static td_status allocate_caches(struct lpu_reference *reference) {
  const struct td_shape *shape = &reference->graph->shape;
  size_t elements = (size_t)shape->layers * (size_t)shape->kv_heads * (size_t)shape->head_dim;
  size_t context = (size_t)reference->options.context, sequences = (size_t)reference->options.sequences;
  TD_TRY(td_alloc(sequences, sizeof *reference->caches, (void **)&reference->caches));
  for (size_t i = 0; i < sequences; i++) {
    TD_TRY(td_alloc(elements * context, sizeof(float), (void **)&reference->caches[i].k));
    TD_TRY(td_alloc(elements * context, sizeof(float), (void **)&reference->caches[i].v));
  }
  return TD_OK;
}

static td_status fill(struct lpu_reference *reference) {
  if (!reference->options.data && !td_model_has_weights(reference->model)) {
    return td_fail(TD_CONFIG, "%s: a shape without weights", td_model_path(reference->model));
  }
  TD_TRY(td_graph_build(reference->model, &reference->graph));
  for (int32_t i = 0; i < reference->graph->op_count; i++) TD_TRY(check_op(&reference->graph->ops[i]));
  TD_TRY(allocate_values(reference));
  TD_TRY(allocate_scratch(reference));
  TD_TRY(allocate_caches(reference));
  return reference_load_weights(reference);
}

td_status lpu_reference_open(const struct td_model *model, const struct lpu_reference_options *options,
                             struct lpu_reference **out_reference) {
  struct lpu_reference *reference;
  TD_TRY(check_options(options));
  TD_TRY(td_alloc(1, sizeof *reference, (void **)&reference));
  reference->options = *options;
  reference->model = model;
  reference->most_rows = options->rows ? options->rows : LPU_REFERENCE_ROWS;
  td_status status = fill(reference);
  if (status) {
    lpu_reference_close(reference);
    return status;
  }
  *out_reference = reference;
  return TD_OK;
}

void lpu_reference_close(struct lpu_reference *reference) {
  if (!reference) return;
  reference_free_weights(reference);
  for (int32_t i = 0; reference->values && i < reference->graph->value_count; i++) free(reference->values[i]);
  for (int32_t i = 0; reference->caches && i < reference->options.sequences; i++) {
    free(reference->caches[i].k);
    free(reference->caches[i].v);
  }
  free(reference->values);
  free(reference->caches);
  free(reference->products);
  free(reference->row_scale);
  free(reference->scores);
  free(reference->sums);
  td_graph_free(reference->graph);
  free(reference);
}

const struct td_graph *lpu_reference_graph(const struct lpu_reference *reference) {
  return reference->graph;
}

void lpu_reference_observe(struct lpu_reference *reference, lpu_reference_observer *observer, void *context) {
  reference->observer = observer;
  reference->observer_context = context;
}

float *lpu_reference_value(struct lpu_reference *reference, const char *name) {
  for (int32_t i = 0; i < reference->graph->value_count; i++) {
    if (strcmp(reference->graph->values[i].name, name) == 0) return reference->values[i];
  }
  return NULL;
}

void lpu_reference_set_length(struct lpu_reference *reference, int32_t sequence, int32_t length) {
  reference->caches[sequence].length = length;
}

/* ---- walking the graph ---- */

static td_status embed(const struct lpu_reference *reference, const struct td_op *op, int32_t id, float *out) {
  const struct td_tensor found = reference_tensor(reference, op->weight), *tensor = &found;
  uint64_t row_bytes;
  if (id < 0 || id >= tensor->rows) return td_fail(TD_CONFIG, "token %d: not in the vocabulary", (int)id);
  TD_TRY(td_dtype_row_bytes(tensor->dtype, tensor->cols, &row_bytes));
  td_dequantize(tensor->dtype, (const char *)tensor->data + (uint64_t)id * row_bytes, out, op->n);
  for (int64_t i = 0; i < op->n; i++) out[i] *= (float)op->scale;
  return TD_OK;
}

static void add(const struct lpu_reference *reference, const struct td_op *op, int32_t r, const float *in, float *out) {
  const float *other =
      op->in[1] >= 0 ? reference->values[op->in[1]] + r * op->n : reference->weights[op->weight].values;
  for (int64_t i = 0; i < op->n; i++) out[i] = in[i] + other[i];
}

static td_status run_row(struct lpu_reference *reference, const struct td_op *op, int32_t r) {
  const float *weight = op->weight >= 0 ? reference->weights[op->weight].values : NULL;
  const float *in = op->in[0] >= 0 ? reference->values[op->in[0]] + r * op->n : NULL;
  float *out = reference->values[op->out] + r * op->n;
  switch (op->kind) {
    case TD_OP_EMBED:
      return embed(reference, op, reference->ids[r], out);
    case TD_OP_RMS_NORM:
      reference_norm(reference, op, weight, in, out);
      return TD_OK;
    case TD_OP_LAYER_NORM:
      reference_layer_norm(reference, op, weight, in, out);
      return TD_OK;
    case TD_OP_POINTWISE:
      reference_pointwise(op, in, out);
      return TD_OK;
    case TD_OP_EMBED_POSITIONS:
      for (int64_t i = 0; i < op->n; i++) out[i] = in[i] + weight[(reference->position + r) * op->n + i];
      return TD_OK;
    case TD_OP_ROPE:
      reference_rope(op, weight, reference->position + r, in, out);
      return TD_OK;
    case TD_OP_ACTIVATION:
      reference_activate(op, in, reference->values[op->in[1]] + r * op->n, out);
      return TD_OK;
    case TD_OP_ADD:
      add(reference, op, r, in, out);
      return TD_OK;
    case TD_OP_SELECT: /* the last rows */
      in += (reference->rows - reference->logit_rows) * op->n;
      memcpy(out, in, (size_t)op->n * sizeof *out);
      return TD_OK;
    default:
      return td_fail(TD_INTERNAL, "%s is no operator of rows", td_op_kind_name(op->kind));
  }
}

static int32_t rows_of(const struct lpu_reference *reference, const struct td_op *op) {
  return op->rows == TD_ROWS_LOGITS ? reference->logit_rows : reference->rows;
}

static td_status run_op(struct lpu_reference *reference, const struct td_op *op) {
  switch (op->kind) {
    case TD_OP_MATMUL:
      return reference_matmul(reference, op, rows_of(reference, op));
    case TD_OP_EXPERT_MATMUL:
      return reference_expert_matmul(reference, op, reference->rows);
    case TD_OP_ROUTER:
      reference_route(reference, op, reference->rows);
      return TD_OK;
    case TD_OP_EXPERT_SUM:
      reference_expert_sum(reference, op, reference->rows);
      return TD_OK;
    case TD_OP_KV_APPEND:
      return reference_append(reference, op);
    case TD_OP_ATTENTION:
      return reference_attention(reference, op);
    case TD_OP_SAMPLE:
      return TD_OK;
    default:
      for (int32_t r = 0; r < rows_of(reference, op); r++) TD_TRY(run_row(reference, op, r));
      return TD_OK;
  }
}

static void show(const struct lpu_reference *reference, const struct td_op *op) {
  if (!reference->observer || op->out < 0) return;
  const struct td_value *value = &reference->graph->values[op->out];
  int32_t rows = rows_of(reference, op), first = reference->position + reference->rows - rows;
  for (int32_t r = 0; r < rows; r++) {
    reference->observer(reference->observer_context, value, first + r, reference->values[op->out] + r * value->cols);
  }
}

static td_status run_ops(struct lpu_reference *reference, const struct td_slice_ops *list) {
  for (int32_t i = 0; i < list->op_count; i++) {
    const struct td_op *op = &reference->graph->ops[list->ops[i]];
    TD_TRY(run_op(reference, op));
    show(reference, op);
  }
  return TD_OK;
}

static td_status run_slice(struct lpu_reference *reference, const struct td_slice *slice) {
  struct td_slice_ops list;
  TD_TRY(td_slice_ops_build(reference->graph, slice, &list));
  td_status status = run_ops(reference, &list);
  td_slice_ops_free(&list);
  return status;
}

td_status lpu_reference_run(struct lpu_reference *reference, const struct td_slice *slice, int32_t sequence,
                            int32_t position, int32_t rows, const int32_t *ids) {
  bool placed = position >= 0 && rows >= 1 && position <= reference->options.context - rows;
  if (sequence < 0 || sequence >= reference->options.sequences || rows > reference->most_rows || !placed) {
    return td_fail(TD_CONFIG, "sequence %d, position %d, rows %d: beyond %d sequences, %d positions, %d rows",
                   (int)sequence, (int)position, (int)rows, (int)reference->options.sequences,
                   (int)reference->options.context, (int)reference->most_rows);
  }
  reference->sequence = sequence;
  reference->position = position;
  reference->rows = reference->logit_rows = rows;
  reference->ids = ids;
  return run_slice(reference, slice);
}

/* ---- tokens ---- */

td_status lpu_reference_feed(struct lpu_reference *reference, int32_t sequence, const int32_t *ids, int32_t count,
                             int32_t logit_rows, float *logits) {
  struct td_slice all = td_slice_whole(reference->graph), body = all;
  int64_t vocab = reference->graph->shape.vocab;
  body.layer_end--; /* without final norm and head */
  const float *made = lpu_reference_value(reference, "logits");
  for (int32_t done = 0; done < count;) {
    int32_t rows = count - done < reference->most_rows ? count - done : reference->most_rows;
    if (done < count - logit_rows && rows > count - logit_rows - done) rows = count - logit_rows - done;
    bool wanted = done >= count - logit_rows;
    struct cache *cache = &reference->caches[sequence];
    TD_TRY(lpu_reference_run(reference, wanted ? &all : &body, sequence, cache->length, rows, ids + done));
    cache->length += rows;
    done += rows;
    if (!wanted) continue;
    memcpy(logits, made, (size_t)(rows * vocab) * sizeof *logits);
    logits += rows * vocab;
  }
  return TD_OK;
}

static int32_t likeliest(const float *logits, int64_t vocab) {
  int64_t best = 0;
  for (int64_t i = 1; i < vocab; i++) {
    if (logits[i] > logits[best]) best = i;
  }
  return (int32_t)best;
}

static td_status generate(struct lpu_reference *reference, int32_t sequence, int32_t count, float *logits,
                          int32_t *out_ids, int32_t *out_count) {
  const struct td_tokenizer *tokenizer = td_model_tokenizer(reference->model);
  int64_t vocab = reference->graph->shape.vocab;
  for (*out_count = 0; *out_count < count;) {
    int32_t id = out_ids[(*out_count)++] = likeliest(logits, vocab);
    if (*out_count == count || (tokenizer && td_tokenizer_is_end(tokenizer, id))) break;
    TD_TRY(lpu_reference_feed(reference, sequence, &id, 1, 1, logits));
  }
  return TD_OK;
}

td_status lpu_reference_greedy(struct lpu_reference *reference, int32_t sequence, const int32_t *prompt,
                               int32_t prompt_count, int32_t count, int32_t *out_ids, int32_t *out_count) {
  float *logits;
  if (prompt_count < 1) return td_fail(TD_CONFIG, "a prompt of %d tokens", (int)prompt_count);
  TD_TRY(td_alloc((size_t)reference->graph->shape.vocab, sizeof *logits, (void **)&logits));
  td_status status = lpu_reference_feed(reference, sequence, prompt, prompt_count, 1, logits);
  if (!status) status = generate(reference, sequence, count, logits, out_ids, out_count);
  free(logits);
  return status;
}
