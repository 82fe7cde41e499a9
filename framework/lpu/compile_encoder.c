/* SPDX-License-Identifier: Apache-2.0
 *
 * Encoders: a step is one sequence, whose tokens see each other. Nothing is kept from step to step, so there is no KV
 * cache; the ends are the embedding's norm and the pooler, which takes the first row.
 */
#include <stdlib.h>
#include <string.h>

#include "compile.h"
#include "tandem/base.h"

static const struct td_op *attention_of(const struct lpu_compiler *compiler) {
  return &compiler->graph->ops[compiler->layer.attention];
}

/* ---- what is asked of model and options ---- */

static td_status check_heads(const struct lpu_compiler *compiler) {
  const struct td_lpu_machine *machine = compiler->machine;
  const struct td_op *op = attention_of(compiler);
  if (op->head_dim % machine->load_vectors || op->head_dim > machine->lanes / 2) {
    return td_fail(TD_UNSUPPORTED, "LPU: an encoder's heads of %d elements, expected a multiple of %d up to %d",
                   op->head_dim, machine->load_vectors, machine->lanes / 2);
  }
  if (op->kv_heads != op->heads) {
    return td_fail(TD_UNSUPPORTED, "LPU: an encoder of %d KV heads, expected one for each of its %d heads",
                   op->kv_heads, op->heads);
  }
  bool plain = compiler->layer.rope_q < 0 && compiler->layer.q_norm < 0 && op->window == 0;
  return plain ? TD_OK : lpu_refuse(op, "an encoder's ropes, norms of heads and windows are not compiled");
}

static void measure(struct lpu_compiler *compiler) {
  const struct td_op *op = attention_of(compiler);
  struct lpu_self *self = &compiler->self;
  int32_t lanes = compiler->machine->lanes, rows = compiler->rows;
  self->heads = op->heads;
  self->head_dim = op->head_dim;
  self->slots = compiler->head_halves * 2;
  self->vectors = (op->heads + self->slots - 1) / self->slots;
  self->token_blocks = (rows + lanes - 1) / lanes;
  self->query_blocks = self->token_blocks;
  self->query_lanes = rows / self->query_blocks;
}

td_status lpu_open_encoder(struct lpu_compiler *compiler) {
  const struct td_lpu_machine *machine = compiler->machine;
  const struct td_lpu_options *options = compiler->options;
  int32_t step = LPU_CHUNKS * machine->load_vectors, most = compiler->graph->shape.context;
  if (most > 2 * machine->accumulator_depth) most = 2 * machine->accumulator_depth;
  TD_TRY(lpu_in_range("rows", options->rows, step, most));
  if (options->rows % step) {
    return td_fail(TD_CONFIG, "lpu.rows: found %d, expected a multiple of %d: the tokens of an encoder's sequence",
                   options->rows, step);
  }
  if (options->activations == TD_LPU_ACTIVATIONS_F8) {
    return td_fail(TD_UNSUPPORTED, "LPU: found f8 activations, expected f16, i8 or i8x2: encoders are compiled so");
  }
  TD_TRY(check_heads(compiler));
  measure(compiler);
  return TD_OK;
}

/* ---- Q, K and V: heads where attention wants them ---- */

/* Rows of one of them: heads in the lanes of their slots, zeros between. */
static int32_t head_rows(const struct lpu_compiler *compiler, int32_t weight, struct lpu_rows *rows) {
  const struct lpu_self *self = &compiler->self;
  int32_t lanes = compiler->machine->lanes, count = 0;
  for (int32_t v = 0; v < self->vectors; v++) {
    int32_t lane = 0;
    for (int32_t slot = 0; slot < self->slots && v * self->slots + slot < self->heads; slot++) {
      int32_t begin = td_lpu_kv_lane(compiler->machine, self->head_dim, slot);
      if (begin > lane) rows[count++] = (struct lpu_rows){-1, 0, begin - lane};
      rows[count++] = (struct lpu_rows){weight, (int64_t)(v * self->slots + slot) * self->head_dim, self->head_dim};
      lane = begin + self->head_dim;
    }
    if (lane < lanes) rows[count++] = (struct lpu_rows){-1, 0, lanes - lane};
  }
  return count;
}

static int32_t layer_rows(const struct lpu_compiler *compiler, int32_t layer, struct lpu_rows *rows) {
  const struct lpu_layer *of = lpu_layer_of(compiler, layer);
  const int32_t ops[3] = {of->q, of->k, of->v};
  int32_t count = 0;
  for (int i = 0; i < 3; i++) count += head_rows(compiler, compiler->graph->ops[ops[i]].weight, rows + count);
  return count;
}

/* The biases of one layer in the lanes of their rows. */
static td_status layer_biases(const struct lpu_compiler *compiler, int32_t layer, const struct lpu_rows *rows,
                              int32_t count, float *out) {
  const struct lpu_layer *of = lpu_layer_of(compiler, layer);
  const int32_t biases[3] = {of->q_bias, of->k_bias, of->v_bias};
  int64_t above = 0, width = (int64_t)compiler->self.vectors * compiler->machine->lanes;
  float *row = NULL;
  TD_TRY(td_alloc((size_t)compiler->self.heads * (size_t)compiler->self.head_dim, sizeof *row, (void **)&row));
  for (int32_t i = 0, loaded = -1; i < count; above += rows[i++].rows) {
    int32_t part = (int32_t)(above / width), op = biases[part];
    if (rows[i].weight < 0 || op < 0) continue;
    if (loaded != part) lpu_weight_row(compiler, compiler->graph->ops[op].weight, 0, row);
    loaded = part;
    memcpy(out + above, row + rows[i].first, (size_t)rows[i].rows * sizeof *row);
  }
  free(row);
  return TD_OK;
}

static td_status add_head_biases(struct lpu_compiler *compiler, const struct lpu_rows *rows, int32_t count,
                                 struct lpu_matrix *matrix) {
  const struct lpu_layer *of = &compiler->layer;
  float *data = NULL;
  if (of->q_bias < 0 && of->k_bias < 0 && of->v_bias < 0) return TD_OK;
  TD_TRY(td_alloc((size_t)compiler->layers * (size_t)matrix->n, sizeof *data, (void **)&data));
  td_status status = TD_OK;
  for (int32_t layer = 0; !status && layer < compiler->layers; layer++) {
    status = layer_biases(compiler, layer, rows, count, data + layer * matrix->n);
  }
  int32_t hemisphere = matrix->scale < 0 ? compiler->place.constant_turn++ % 2
                                         : 1 - compiler->builder->program->images[matrix->scale].hemisphere;
  if (!status) {
    status = lpu_new_constants(compiler, "qkv.bias", hemisphere, compiler->layers, (int32_t)matrix->n,
                               compiler->weights ? data : NULL, &matrix->bias);
  }
  free(data);
  return status;
}

static td_status add_qkv(struct lpu_compiler *compiler) {
  const struct lpu_self *self = &compiler->self;
  size_t most = 3 * (size_t)self->vectors * (2 * (size_t)self->slots + 1);
  struct lpu_rows *rows = NULL;
  int32_t count = 0;
  TD_TRY(td_alloc(most * (size_t)compiler->layers, sizeof *rows, (void **)&rows));
  for (int32_t layer = 0; layer < compiler->layers; layer++) {
    count = layer_rows(compiler, layer, rows + (int64_t)layer * count);
  }
  td_status status = lpu_new_matrix(compiler, "qkv", rows, count, compiler->layers, &compiler->qkv);
  if (!status) status = add_head_biases(compiler, rows, count, &compiler->qkv);
  free(rows);
  return status;
}

/* ---- the ends ---- */

static td_status add_pooler(struct lpu_compiler *compiler, const struct td_op *matrix, const struct td_op *bias) {
  const struct lpu_rows rows = {matrix->weight, 0, compiler->graph->weights[matrix->weight].rows};
  float *data = NULL;
  TD_TRY(lpu_new_matrix(compiler, "pooler", &rows, 1, 1, &compiler->head));
  if (!bias) return TD_OK;
  TD_TRY(td_alloc((size_t)bias->n, sizeof *data, (void **)&data));
  lpu_weight_row(compiler, bias->weight, 0, data);
  td_status status = lpu_new_constants(compiler, "pooler.bias", compiler->place.constant_turn++ % 2, 1,
                                       (int32_t)bias->n, compiler->weights ? data : NULL, &compiler->head.bias);
  free(data);
  return status;
}

static td_status add_ends(struct lpu_compiler *compiler) {
  const struct td_graph *graph = compiler->graph;
  const struct td_op *matrix = NULL, *bias = NULL;
  compiler->embed_norm.op = -1;
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    bool norm = op->kind == TD_OP_LAYER_NORM || op->kind == TD_OP_RMS_NORM;
    if (op->layer < 0 && norm && compiler->chip == 0) {
      TD_TRY(lpu_add_end_norm(compiler, "norm.embedding", i, &compiler->embed_norm));
    }
    if (op->layer < graph->shape.layers) continue;
    if (op->kind == TD_OP_MATMUL) matrix = op;
    if (op->kind == TD_OP_ADD) bias = op;
  }
  if (compiler->chip < compiler->chips - 1) return TD_OK;
  return matrix ? add_pooler(compiler, matrix, bias) : td_fail(TD_UNSUPPORTED, "LPU: an encoder without a pooler");
}

td_status lpu_add_encoder_weights(struct lpu_compiler *compiler) {
  TD_TRY(add_qkv(compiler));
  return add_ends(compiler);
}

/* ---- state ---- */

td_status lpu_add_encoder_state(struct lpu_compiler *compiler) {
  bool first = compiler->chip == 0, last = compiler->chip == compiler->chips - 1;
  int32_t rows = compiler->rows, hidden = compiler->graph->shape.hidden;
  TD_TRY(lpu_add_self_tiles(compiler));
  lpu_open_outer(compiler);
  TD_TRY(lpu_new_rows_image(compiler, first ? "x" : "x.in", first ? TD_IMAGE_INPUT : TD_IMAGE_SCRATCH, TD_LPU_F32, rows,
                            compiler->hidden_vectors, &compiler->x));
  struct td_lpu_image *image = &compiler->builder->program->images[compiler->x];
  image->rows = rows;
  image->cols = hidden;
  if (last) {
    TD_TRY(lpu_new_vectors(compiler, "pooled", TD_IMAGE_OUTPUT, TD_LPU_F32, compiler->head.tiles.blocks,
                           &compiler->logits));
    image = &compiler->builder->program->images[compiler->logits];
    image->rows = 1;
    image->cols = hidden;
  }
  if (compiler->place.outer_quads == 0) {
    TD_TRY(lpu_new_vectors(compiler, "inner", TD_IMAGE_SCRATCH, lpu_value_type(compiler), rows * compiler->ffn_vectors,
                           &compiler->self.inner));
  }
  return lpu_add_self(compiler);
}

/* ---- segments ---- */

/* Where the sequence ends: tokens from there on are added so much that their exponentials are 0. */
static td_status segment_hide(struct lpu_compiler *compiler, int32_t *out_segment) {
  struct lpu_tensor *number = NULL, *last = NULL, *hidden = NULL, *x = NULL;
  TD_TRY(lpu_open_segment(compiler, "hide"));
  TD_TRY(lpu_view(compiler, compiler->self.number, &number));
  TD_TRY(lpu_view(compiler, compiler->self.last, &last));
  for (int32_t i = 0; i < compiler->self.hidden_count; i++) {
    struct lpu_chain chain;
    TD_TRY(lpu_view(compiler, compiler->self.hidden[i], &hidden));
    lpu_chain_begin(&chain, compiler->chip, compiler->rows);
    struct lpu_operand token = lpu_chain_input(&chain, number, 0, 1), end = lpu_chain_input(&chain, last, 0, 0);
    struct lpu_operand beyond = lpu_chain_step(&chain, TD_ALU_SUB, token, end, lpu_nothing);
    beyond = lpu_chain_step(&chain, TD_ALU_MAX, beyond, lpu_chain_number(0.0f), lpu_nothing);
    beyond = lpu_chain_step(&chain, TD_ALU_MIN, beyond, lpu_chain_number(1.0f), lpu_nothing);
    beyond = lpu_chain_step(&chain, TD_ALU_MUL, beyond, lpu_chain_number(-3.0e38f), lpu_nothing);
    lpu_chain_result(&chain, beyond, hidden, 0, 1);
    TD_TRY(lpu_chain_run(compiler->builder, &chain));
  }
  TD_TRY(lpu_view(compiler, compiler->x, &x));
  if (compiler->chip == 0 && compiler->embed_norm.op >= 0) {
    TD_TRY(lpu_normalize(compiler, x, &compiler->embed_norm, x));
  }
  return lpu_close_segment(compiler, out_segment);
}

static td_status segment_heads(struct lpu_compiler *compiler, int32_t *out_segment) {
  struct lpu_tensor *x = NULL;
  struct lpu_activation normed;
  TD_TRY(lpu_open_segment(compiler, "heads"));
  TD_TRY(lpu_view(compiler, compiler->x, &x));
  TD_TRY(lpu_normed(compiler, x, &compiler->norm[0], &normed));
  TD_TRY(lpu_self_heads(compiler, &normed));
  return lpu_close_segment(compiler, out_segment);
}

static td_status segment_project(struct lpu_compiler *compiler, int32_t *out_segment) {
  struct lpu_tensor *x = NULL, *mixed = NULL;
  TD_TRY(lpu_open_segment(compiler, "project"));
  TD_TRY(lpu_view(compiler, compiler->x, &x));
  TD_TRY(lpu_self_mixed(compiler, &mixed));
  TD_TRY(lpu_begin_residual(compiler, &compiler->o, mixed, 0, x, x));
  TD_TRY(lpu_end_residual(compiler, 0, x, x));
  return lpu_close_segment(compiler, out_segment);
}

/* In two, so that the scratches of one may lie where those of the other are. */
static td_status segment_up(struct lpu_compiler *compiler, int32_t *out_segment) {
  struct lpu_tensor *x = NULL, *inner = NULL;
  TD_TRY(lpu_open_segment(compiler, "up"));
  TD_TRY(lpu_view(compiler, compiler->x, &x));
  TD_TRY(lpu_view(compiler, compiler->self.inner, &inner));
  TD_TRY(lpu_ffn_up(compiler, x, inner));
  return lpu_close_segment(compiler, out_segment);
}

static td_status segment_down(struct lpu_compiler *compiler, int32_t *out_segment) {
  struct lpu_tensor *x = NULL, *inner = NULL;
  TD_TRY(lpu_open_segment(compiler, "down"));
  TD_TRY(lpu_view(compiler, compiler->x, &x));
  TD_TRY(lpu_view(compiler, compiler->self.inner, &inner));
  TD_TRY(lpu_begin_residual(compiler, &compiler->down, inner, 1, x, x));
  TD_TRY(lpu_end_residual(compiler, 1, x, x));
  return lpu_close_segment(compiler, out_segment);
}

/* The same at once: rows of the one follow those of the other. */
static td_status segment_ffn(struct lpu_compiler *compiler, int32_t *out_segment) {
  struct lpu_tensor *x = NULL, *inner = NULL;
  TD_TRY(lpu_open_segment(compiler, "ffn"));
  TD_TRY(lpu_view(compiler, compiler->x, &x));
  TD_TRY(lpu_new_rows(compiler, lpu_value_type(compiler), compiler->rows, compiler->ffn_vectors, NULL, &inner));
  TD_TRY(lpu_ffn_up(compiler, x, inner));
  TD_TRY(lpu_begin_residual(compiler, &compiler->down, inner, 1, x, x));
  TD_TRY(lpu_end_residual(compiler, 1, x, x));
  return lpu_close_segment(compiler, out_segment);
}

static td_status link_ffn(struct lpu_compiler *compiler) {
  int32_t up = 0, down = 0;
  if (compiler->place.outer_quads > 0) {
    TD_TRY(segment_ffn(compiler, &up));
    return lpu_run_link(compiler, up);
  }
  TD_TRY(segment_up(compiler, &up));
  TD_TRY(lpu_run_link(compiler, up));
  TD_TRY(segment_down(compiler, &down));
  return lpu_run_link(compiler, down);
}

/* The first row through the pooler. */
static td_status segment_pool(struct lpu_compiler *compiler, int32_t *out_segment) {
  int32_t vectors = compiler->hidden_vectors;
  struct lpu_tensor *x = NULL, *row = NULL, *made = NULL, *out = NULL;
  struct lpu_activation activation;
  struct lpu_chain chain;
  TD_TRY(lpu_open_segment(compiler, "pool"));
  TD_TRY(lpu_view(compiler, compiler->x, &x));
  TD_TRY(lpu_view(compiler, compiler->logits, &out));
  TD_TRY(lpu_new_scratch(compiler, lpu_value_type(compiler), vectors, x, &row));
  TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, out->count, NULL, &made));
  struct lpu_operand value;
  for (int32_t v = 0; v < vectors; v++) {
    lpu_chain_begin(&chain, compiler->chip, 1);
    value = lpu_chain_input(&chain, x, v, vectors);
    lpu_chain_result(&chain, lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing), row, v, vectors);
    TD_TRY(lpu_chain_run(compiler->builder, &chain));
  }
  TD_TRY(lpu_narrow(compiler, row, &activation));
  TD_TRY(lpu_project(compiler, &compiler->head, &activation, NULL, made));
  lpu_chain_begin(&chain, compiler->chip, out->count);
  value = lpu_chain_input(&chain, made, 0, 1);
  lpu_chain_result(&chain, lpu_chain_step(&chain, TD_ALU_TANH, value, lpu_nothing, lpu_nothing), out, 0, 1);
  TD_TRY(lpu_chain_run(compiler->builder, &chain));
  return lpu_close_segment(compiler, out_segment);
}

static td_status link_pool(struct lpu_compiler *compiler) {
  int32_t rows = compiler->rows, pool = 0;
  compiler->rows = 1;
  td_status status = segment_pool(compiler, &pool);
  compiler->rows = rows;
  if (!status) status = lpu_run_link(compiler, pool);
  return status ? status : lpu_entry_of_rest(compiler, 0);
}

/* Loads of tiles take the slices' ports for a moment every so many rows: what goes on for longer would wait for the
 * last of them. */
#define ROWS_AT_ONCE 8
/* A layer is `heads` (Q, K and V of all rows), `scores` and `values` for each vector of heads, `project`, `up` and
 * `down`. */
td_status lpu_chip_encoder(struct lpu_compiler *compiler) {
  compiler->builder->chunk = ROWS_AT_ONCE;
  int32_t hide = 0, heads = 0, project = 0;
  TD_TRY(segment_hide(compiler, &hide));
  TD_TRY(lpu_run_link(compiler, hide));
  TD_TRY(segment_heads(compiler, &heads));
  TD_TRY(lpu_loop_link(compiler, TD_VAR_LAYER, 0, compiler->layers));
  TD_TRY(lpu_run_link(compiler, heads));
  TD_TRY(lpu_link_self(compiler));
  TD_TRY(segment_project(compiler, &project));
  TD_TRY(lpu_run_link(compiler, project));
  TD_TRY(link_ffn(compiler));
  TD_TRY(lpu_end_link(compiler));
  return compiler->chip == compiler->chips - 1 ? link_pool(compiler) : TD_OK;
}
