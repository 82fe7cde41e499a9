/* SPDX-License-Identifier: Apache-2.0
 *
 * Weights, scales, tables and maps of one chip.
 */
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "compile.h"
#include "tandem/base.h"
#include "tandem/kernels.h"

/* ---- constants ---- */

void lpu_weight_row(const struct lpu_compiler *compiler, int32_t weight, int64_t row, float *out) {
  const struct td_weight *from = &compiler->graph->weights[weight];
  uint64_t bytes = 0;
  if (!compiler->weights || td_dtype_row_bytes(from->dtype, from->cols, &bytes)) return;
  td_dequantize(from->dtype, (const char *)compiler->weights[weight] + (uint64_t)row * bytes, out, from->cols);
}

/* Row `row` of a weight of every layer. */
static td_status vectors_of_layers(struct lpu_compiler *compiler, const char *name, int32_t hemisphere,
                                   const int32_t *weights, int32_t layers, int64_t row, int32_t *out_image) {
  int32_t cols = (int32_t)compiler->graph->weights[weights[0]].cols;
  float *data = NULL;
  TD_TRY(td_alloc((size_t)layers * (size_t)cols, sizeof *data, (void **)&data));
  for (int32_t layer = 0; layer < layers; layer++) {
    lpu_weight_row(compiler, weights[layer], row, data + (int64_t)layer * cols);
  }
  td_status status =
      lpu_new_constants(compiler, name, hemisphere, layers, cols, compiler->weights ? data : NULL, out_image);
  free(data);
  return status;
}

/* Weights in one hemisphere, biases in the other: they are read side by side. */
static td_status norm_vectors(struct lpu_compiler *compiler, const char *name, const int32_t *weights, int32_t op,
                              int32_t layers, struct lpu_norm *out) {
  char bias[48];
  int32_t hemisphere = compiler->place.constant_turn++ % 2;
  *out = (struct lpu_norm){op, -1, -1, layers};
  TD_TRY(vectors_of_layers(compiler, name, hemisphere, weights, layers, 0, &out->weight));
  if (compiler->graph->ops[op].kind != TD_OP_LAYER_NORM) return TD_OK;
  TD_TRY(td_format(bias, sizeof bias, "%s.bias", name));
  return vectors_of_layers(compiler, bias, 1 - hemisphere, weights, layers, 1, &out->bias);
}

/* cos and signed sin of each lane's element at each position. */
static td_status rope_tables(struct lpu_compiler *compiler, struct lpu_kind *kind) {
  const struct td_op *op = &compiler->graph->ops[kind->layer.rope_q];
  int32_t lanes = compiler->machine->lanes, rows = compiler->options->context;
  const float *factors = op->weight >= 0 && compiler->weights ? compiler->weights[op->weight] : NULL;
  float *tables = NULL;
  if (compiler->places_only) {
    TD_TRY(lpu_new_constants(compiler, "rope.cos", 0, rows, lanes, NULL, &kind->cosine));
    return lpu_new_constants(compiler, "rope.sin", 1, rows, lanes, NULL, &kind->sine);
  }
  TD_TRY(td_alloc((size_t)rows * (size_t)lanes * 2, sizeof *tables, (void **)&tables));
  float *cosine = tables, *sine = tables + (size_t)rows * (size_t)lanes;
  for (int32_t position = 0; position < rows; position++) {
    for (int32_t lane = 0; lane < lanes; lane++) {
      int32_t element = lane % compiler->head_stride, half = op->rope_dim / 2;
      bool halves = op->rope_pairs == TD_ROPE_HALVES;
      int32_t pair = halves ? element % half : element / 2;
      bool first = halves ? element < half : element % 2 == 0;
      double angle = (double)position * op->position_scale / pow(op->theta, 2.0 * pair / op->rope_dim);
      if (factors && element < op->rope_dim) angle /= (double)factors[pair];
      size_t at = (size_t)position * (size_t)lanes + (size_t)lane;
      cosine[at] = element < op->rope_dim ? (float)cos(angle) : 1.0f;
      sine[at] = element < op->rope_dim ? (float)(first ? -sin(angle) : sin(angle)) : 0.0f;
    }
  }
  td_status status = lpu_new_constants(compiler, "rope.cos", 0, rows, lanes, cosine, &kind->cosine);
  if (!status) status = lpu_new_constants(compiler, "rope.sin", 1, rows, lanes, sine, &kind->sine);
  free(tables);
  return status;
}

static td_status lane_numbers(struct lpu_compiler *compiler) {
  int32_t lanes = compiler->machine->lanes, tokens = compiler->options->block_tokens;
  int32_t rows = (compiler->options->context + tokens - 1) / tokens;
  float *data = NULL;
  TD_TRY(td_alloc((size_t)rows * (size_t)lanes, sizeof *data, (void **)&data));
  for (int32_t row = 0; row < rows; row++) {
    for (int32_t lane = 0; lane < lanes; lane++) {
      /* Lanes beyond the block hold nobody's score. */
      data[row * lanes + lane] = lane < tokens ? (float)(row * tokens + lane) : 3.0e38f;
    }
  }
  td_status status = lpu_new_constants(compiler, "lanes", 0, rows, lanes, data, &compiler->lane_number);
  free(data);
  return status;
}

static td_status one_lane(struct lpu_compiler *compiler) {
  float data[TD_LPU_MOST_LANES] = {0.0f};
  data[lpu_one_lane(compiler)] = 1.0f;
  return lpu_new_constants(compiler, "one", 0, 1, compiler->machine->lanes, data, &compiler->one);
}

static td_status superlane_maps(struct lpu_compiler *compiler) {
  for (int32_t s = 0; s < compiler->machine->superlanes; s++) {
    struct td_lpu_map map;
    memset(&map, 0xff, sizeof map);
    for (int32_t lane = 0; lane < compiler->machine->lanes; lane++) {
      map.lane[lane] = (int16_t)(s * compiler->machine->lanes_per_superlane);
    }
    TD_TRY(lpu_add_map(compiler->builder, &map, &compiler->superlane_map[s]));
  }
  return TD_OK;
}

/* ---- weights ---- */

/* An operator of struct lpu_layer, by where it stands in it. */
#define OF(member) offsetof(struct lpu_layer, member)

static int32_t op_of(const struct lpu_layer *layer, size_t member) {
  int32_t op;
  memcpy(&op, (const char *)layer + member, sizeof op);
  return op;
}

/* Weights of one matrix in all layers are placed alike. */
static td_status check_alike(const struct lpu_compiler *compiler, int32_t first, int32_t op) {
  const struct td_graph *graph = compiler->graph;
  if (op < 0) return TD_OK;
  const struct td_weight *a = &graph->weights[graph->ops[first].weight], *b = &graph->weights[graph->ops[op].weight];
  if (a->rows == b->rows && a->cols == b->cols) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "LPU: %s: found %lld x %lld, expected what %s is: %lld x %lld", b->name,
                 (long long)b->rows, (long long)b->cols, a->name, (long long)a->rows, (long long)a->cols);
}

/* The weights of the same operator in every layer of the chip; *out is NULL if the layers have none. */
static td_status weights_of(const struct lpu_compiler *compiler, size_t member, int32_t **out) {
  const struct td_graph *graph = compiler->graph;
  int32_t first = op_of(&compiler->layer, member);
  td_status status = TD_OK;
  *out = NULL;
  if (first >= 0) TD_TRY(td_alloc((size_t)compiler->layers, sizeof **out, (void **)out));
  for (int32_t layer = 0; !status && layer < compiler->layers; layer++) {
    int32_t op = op_of(lpu_layer_of(compiler, layer), member);
    status = check_alike(compiler, first, op);
    if (!status && op >= 0) (*out)[layer] = graph->ops[op].weight;
  }
  if (status) {
    free(*out);
    *out = NULL;
  }
  return status;
}

/* Operators whose weights lie one below the other, and the biases of what they make. */
struct part {
  size_t op, bias;
  enum lpu_share share; /* what of the rows a chip has */
  bool apart;           /* heads at head_stride, with zeros between */
};
#define NO_BIAS SIZE_MAX

/* Runs of rows that a part is: its heads and the zeros behind each, or all in one. */
static int32_t runs_of(const struct lpu_compiler *compiler, const struct part *part) {
  const struct td_op *op = &compiler->attention;
  bool padded = part->apart && compiler->head_stride > op->head_dim;
  if (!padded) return 1;
  return 2 * (part->share == LPU_BY_HEADS ? op->heads : op->kv_heads);
}

static void put_runs(const struct lpu_compiler *compiler, const struct lpu_rows *whole, int32_t runs,
                     struct lpu_rows *out) {
  int64_t width = compiler->attention.head_dim;
  if (runs == 1) out[0] = *whole;
  for (int32_t i = 0; runs > 1 && i < runs; i += 2) {
    out[i] = (struct lpu_rows){whole->weight, whole->first + i / 2 * width, width};
    out[i + 1] = (struct lpu_rows){-1, 0, compiler->head_stride - width};
  }
}

/* `all`: the runs of a layer. */
static td_status add_rows(const struct lpu_compiler *compiler, const struct part *parts, int32_t count, int32_t all,
                          struct lpu_rows *rows) {
  for (int32_t i = 0; i < count; i++) {
    int32_t *weights = NULL, runs = runs_of(compiler, &parts[i]);
    TD_TRY(weights_of(compiler, parts[i].op, &weights));
    for (int32_t layer = 0; weights && layer < compiler->layers; layer++) {
      const struct lpu_rows whole = lpu_share_of(compiler, weights[layer], parts[i].share);
      put_runs(compiler, &whole, runs, rows + layer * all);
    }
    free(weights);
    rows += runs;
  }
  return TD_OK;
}

static void put_bias(const struct lpu_rows *rows, int32_t runs, const float *whole, float *out) {
  for (int32_t i = 0; i < runs; out += rows[i++].rows) {
    if (rows[i].weight >= 0) memcpy(out, whole + rows[i].first, (size_t)rows[i].rows * sizeof *whole);
  }
}

/* The bias of one part's rows into its columns of every layer's row; *out_some if there is one. */
static td_status take_bias(const struct lpu_compiler *compiler, const struct part *part, const struct lpu_rows *rows,
                           int64_t n, float *data, bool *out_some) {
  int32_t *weights = NULL;
  float *whole = NULL;
  if (part->bias == NO_BIAS) return TD_OK;
  TD_TRY(weights_of(compiler, part->bias, &weights));
  if (!weights) return TD_OK;
  td_status status = td_alloc((size_t)compiler->graph->weights[weights[0]].cols, sizeof *whole, (void **)&whole);
  for (int32_t layer = 0; !status && layer < compiler->layers; layer++) {
    lpu_weight_row(compiler, weights[layer], 0, whole);
    put_bias(rows, runs_of(compiler, part), whole, data + layer * n);
  }
  free(whole);
  free(weights);
  *out_some = true;
  return status;
}

static td_status take_biases(struct lpu_compiler *compiler, const char *name, const struct part *parts,
                             const struct lpu_rows *rows, int32_t count, float *data, struct lpu_matrix *matrix) {
  bool some = false;
  char full[48];
  int64_t above = 0;
  for (int32_t i = 0; i < count; i++) {
    TD_TRY(take_bias(compiler, &parts[i], rows, matrix->n, data + above, &some));
    for (int32_t run = runs_of(compiler, &parts[i]); run > 0; run--) above += (rows++)->rows;
  }
  if (!some) return TD_OK;
  /* Beside the scales, which are read with them. */
  int32_t hemisphere = matrix->scale < 0 ? compiler->place.constant_turn++ % 2
                                         : 1 - compiler->builder->program->images[matrix->scale].hemisphere;
  TD_TRY(td_format(full, sizeof full, "%s.bias", name));
  return lpu_new_constants(compiler, full, hemisphere, compiler->layers, (int32_t)matrix->n,
                           compiler->weights ? data : NULL, &matrix->bias);
}

static td_status add_biases(struct lpu_compiler *compiler, const char *name, const struct part *parts,
                            const struct lpu_rows *rows, int32_t count, struct lpu_matrix *matrix) {
  float *data = NULL;
  if (matrix->n == 0) return TD_OK;
  TD_TRY(td_alloc((size_t)compiler->layers * (size_t)matrix->n, sizeof *data, (void **)&data));
  td_status status = take_biases(compiler, name, parts, rows, count, data, matrix);
  free(data);
  return status;
}

static td_status add_matrix(struct lpu_compiler *compiler, const char *name, const struct part *parts, int32_t count,
                            struct lpu_matrix *out) {
  struct lpu_rows *rows = NULL;
  int32_t all = 0;
  if (op_of(&compiler->layer, parts[0].op) < 0) return TD_OK;
  for (int32_t i = 0; i < count; i++) all += runs_of(compiler, &parts[i]);
  td_status status = td_alloc((size_t)compiler->layers * (size_t)all, sizeof *rows, (void **)&rows);
  if (!status) status = add_rows(compiler, parts, count, all, rows);
  if (!status) status = lpu_new_matrix(compiler, name, rows, all, compiler->layers, out);
  if (!status) status = add_biases(compiler, name, parts, rows, count, out);
  if (!status && parts[0].share == LPU_BY_BLOCKS) lpu_place_blocks(compiler, rows[0].weight, out);
  free(rows);
  return status;
}

static td_status add_norm(struct lpu_compiler *compiler, const char *name, size_t member, struct lpu_norm *out) {
  int32_t *weights = NULL;
  *out = (struct lpu_norm){-1, -1, -1, 0};
  TD_TRY(weights_of(compiler, member, &weights));
  if (!weights) return TD_OK;
  td_status status = norm_vectors(compiler, name, weights, op_of(&compiler->layer, member), compiler->layers, out);
  free(weights);
  return status;
}

/* One head's weights into the lanes of all of them. */
static void repeat_heads(const struct lpu_compiler *compiler, int32_t op, int64_t heads, float *out) {
  int32_t weight = compiler->graph->ops[op].weight;
  for (int64_t head = 0; head < heads; head++) lpu_weight_row(compiler, weight, 0, out + head * compiler->head_stride);
}

/* Of Q's heads, then of K's, as the product has them; V's lanes are nobody's. */
static td_status head_weights(struct lpu_compiler *compiler) {
  const struct td_op *op = &compiler->attention;
  int32_t q = op->heads * compiler->head_stride, cols = q + op->kv_heads * compiler->head_stride;
  float *data = NULL;
  compiler->head_weight = -1;
  if (compiler->layer.q_norm < 0) return TD_OK;
  TD_TRY(td_alloc((size_t)compiler->layers * (size_t)cols, sizeof *data, (void **)&data));
  for (int32_t layer = 0; layer < compiler->layers; layer++) {
    const struct lpu_layer *of = lpu_layer_of(compiler, layer);
    repeat_heads(compiler, of->q_norm, op->heads, data + (int64_t)layer * cols);
    repeat_heads(compiler, of->k_norm, op->kv_heads, data + (int64_t)layer * cols + q);
  }
  td_status status = lpu_new_constants(compiler, "norm.heads", compiler->place.constant_turn++ % 2, compiler->layers,
                                       cols, compiler->weights ? data : NULL, &compiler->head_weight);
  free(data);
  return status;
}

/* Lanes of a head take the first one of its superlane s. */
static td_status group_maps(struct lpu_compiler *compiler) {
  int32_t width = compiler->head_stride, superlane = compiler->machine->lanes_per_superlane;
  for (int32_t s = 0; compiler->head_weight >= 0 && s * superlane < width; s++) {
    struct td_lpu_map map;
    memset(&map, 0xff, sizeof map);
    for (int32_t lane = 0; lane < compiler->machine->lanes; lane++) {
      map.lane[lane] = (int16_t)(lane / width * width + s * superlane);
    }
    TD_TRY(lpu_add_map(compiler->builder, &map, &compiler->group_map[s]));
  }
  return TD_OK;
}

td_status lpu_add_end_norm(struct lpu_compiler *compiler, const char *name, int32_t op, struct lpu_norm *out) {
  return norm_vectors(compiler, name, &compiler->graph->ops[op].weight, op, 1, out);
}

static td_status add_ends(struct lpu_compiler *compiler) {
  const struct td_graph *graph = compiler->graph;
  if (compiler->stage < compiler->stages - 1) return TD_OK;
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    if (op->layer != graph->shape.layers) continue;
    if (op->kind == TD_OP_RMS_NORM) {
      TD_TRY(lpu_add_end_norm(compiler, "norm.final", i, &compiler->final_norm));
    }
    if (op->kind != TD_OP_MATMUL) continue;
    const struct lpu_rows rows = lpu_share_of(compiler, op->weight, LPU_BY_BLOCKS);
    TD_TRY(lpu_new_matrix(compiler, "head", &rows, 1, 1, &compiler->head));
  }
  return TD_OK;
}

/* 1 where a row of the hidden width has elements, in its last vector: layer norms centre the others too. */
static td_status row_mask(struct lpu_compiler *compiler) {
  int32_t lanes = compiler->machine->lanes, used = compiler->graph->shape.hidden % lanes;
  float data[TD_LPU_MOST_LANES] = {0.0f};
  compiler->row_mask = -1;
  if (!used) return TD_OK;
  for (int32_t lane = 0; lane < used; lane++) data[lane] = 1.0f;
  return lpu_new_constants(compiler, "row.mask", compiler->place.constant_turn++ % 2, 1, lanes, data,
                           &compiler->row_mask);
}

/* What is beside the experts: their router, and what all tokens share, which is the first program's. */
static td_status add_beside_experts(struct lpu_compiler *compiler) {
  static const struct part router = {OF(router), OF(router_bias), LPU_BY_BLOCKS, false};
  static const struct part gate = {OF(shared_gate), NO_BIAS, LPU_BY_BLOCKS, false};
  static const struct part up = {OF(shared_up), NO_BIAS, LPU_BY_BLOCKS, false};
  static const struct part down = {OF(shared_down), NO_BIAS, LPU_BY_BLOCKS, false};
  struct lpu_moe *moe = &compiler->moe;
  TD_TRY(add_matrix(compiler, "router", &router, 1, &moe->router));
  moe->router.first_block = 0; /* each chip's logits are an image of their own */
  moe->router.row_blocks = moe->router.tiles.blocks;
  if (compiler->options->expert_part > 0) return TD_OK;
  TD_TRY(add_matrix(compiler, "shared.gate", &gate, 1, &moe->shared_gate));
  TD_TRY(add_matrix(compiler, "shared.up", &up, 1, &moe->shared_up));
  return add_matrix(compiler, "shared.down", &down, 1, &moe->shared_down);
}

static td_status add_ffn_matrices(struct lpu_compiler *compiler) {
  static const struct part gate = {OF(gate), NO_BIAS, LPU_BY_BLOCKS, false},
                           up = {OF(up), OF(up_bias), LPU_BY_BLOCKS, false};
  static const struct part down = {OF(down), OF(down_bias), LPU_BY_BLOCKS, false};
  TD_TRY(add_matrix(compiler, "gate", &gate, 1, &compiler->gate));
  TD_TRY(add_matrix(compiler, "up", &up, 1, &compiler->up));
  return add_matrix(compiler, "down", &down, 1, &compiler->down);
}

static td_status add_ffn(struct lpu_compiler *compiler) {
  bool experts = lpu_has_experts(compiler);
  if (experts) TD_TRY(add_beside_experts(compiler));
  TD_TRY(experts ? lpu_add_expert_weights(compiler) : add_ffn_matrices(compiler));
  TD_TRY(add_norm(compiler, "norm.ffn", OF(norm[1]), &compiler->norm[1]));
  TD_TRY(add_norm(compiler, "norm.ffn.out", OF(branch[1]), &compiler->branch[1]));
  TD_TRY(add_norm(compiler, "norm.ffn.post", OF(post[1]), &compiler->post[1]));
  TD_TRY(row_mask(compiler));
  return superlane_maps(compiler);
}

static td_status add_attention(struct lpu_compiler *compiler) {
  static const struct part qkv[] = {{OF(q), OF(q_bias), LPU_BY_HEADS, true},
                                    {OF(k), OF(k_bias), LPU_BY_KV_HEADS, true},
                                    {OF(v), OF(v_bias), LPU_BY_KV_HEADS, false}};
  static const struct part o = {OF(o), OF(o_bias), LPU_BY_BLOCKS, false};
  if (!compiler->encoder) TD_TRY(add_matrix(compiler, "qkv", qkv, 3, &compiler->qkv));
  TD_TRY(add_matrix(compiler, "o", &o, 1, &compiler->o));
  TD_TRY(add_norm(compiler, "norm.attention", OF(norm[0]), &compiler->norm[0]));
  TD_TRY(add_norm(compiler, "norm.attention.out", OF(branch[0]), &compiler->branch[0]));
  TD_TRY(add_norm(compiler, "norm.attention.post", OF(post[0]), &compiler->post[0]));
  TD_TRY(head_weights(compiler));
  return group_maps(compiler);
}

td_status lpu_add_weights(struct lpu_compiler *compiler) {
  if (compiler->ffn_only) return add_ffn(compiler);
  TD_TRY(add_attention(compiler));
  TD_TRY(add_ffn(compiler));
  if (compiler->encoder) return lpu_add_encoder_weights(compiler);
  TD_TRY(add_ends(compiler));
  TD_TRY(lpu_find_kinds(compiler));
  for (int32_t i = 0; i < compiler->kind_count; i++) TD_TRY(rope_tables(compiler, &compiler->kinds[i]));
  TD_TRY(lane_numbers(compiler));
  return one_lane(compiler);
}
