/* SPDX-License-Identifier: Apache-2.0
 *
 * Weights, scales, tables and maps of one chip.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compile.h"
#include "tandem/base.h"

/* ---- constants ---- */

static td_status norm_weights(struct lpu_compiler *compiler, const char *name, const int32_t *weights, int32_t layers,
                              int32_t *out_image) {
  int32_t cols = compiler->graph->shape.hidden;
  float *data = NULL;
  TD_TRY(td_alloc((size_t)layers * (size_t)cols, sizeof *data, (void **)&data));
  for (int32_t layer = 0; compiler->weights && layer < layers; layer++) {
    memcpy(data + (int64_t)layer * cols, compiler->weights[weights[layer]], (size_t)cols * sizeof *data);
  }
  td_status status = lpu_new_constants(compiler, name, compiler->place.constant_turn++ % 2, layers, cols,
                                       compiler->weights ? data : NULL, out_image);
  free(data);
  return status;
}

/* cos and signed sin of each lane's element at each position. */
static td_status rope_tables(struct lpu_compiler *compiler) {
  const struct td_op *op = &compiler->graph->ops[compiler->layer.rope_q];
  int32_t lanes = compiler->machine->lanes, rows = compiler->options->context;
  const float *factors = op->weight >= 0 && compiler->weights ? compiler->weights[op->weight] : NULL;
  float *tables = NULL;
  if (compiler->places_only) {
    TD_TRY(lpu_new_constants(compiler, "rope.cos", 0, rows, lanes, NULL, &compiler->cosine));
    return lpu_new_constants(compiler, "rope.sin", 1, rows, lanes, NULL, &compiler->sine);
  }
  TD_TRY(td_alloc((size_t)rows * (size_t)lanes * 2, sizeof *tables, (void **)&tables));
  float *cosine = tables, *sine = tables + (size_t)rows * (size_t)lanes;
  for (int32_t position = 0; position < rows; position++) {
    for (int32_t lane = 0; lane < lanes; lane++) {
      int32_t element = lane % op->head_dim, half = op->rope_dim / 2;
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
  td_status status = lpu_new_constants(compiler, "rope.cos", 0, rows, lanes, cosine, &compiler->cosine);
  if (!status) status = lpu_new_constants(compiler, "rope.sin", 1, rows, lanes, sine, &compiler->sine);
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

typedef int32_t member(const struct lpu_layer *layer);
static int32_t of_q(const struct lpu_layer *layer) {
  return layer->q;
}
static int32_t of_k(const struct lpu_layer *layer) {
  return layer->k;
}
static int32_t of_v(const struct lpu_layer *layer) {
  return layer->v;
}
static int32_t of_o(const struct lpu_layer *layer) {
  return layer->o;
}
static int32_t of_gate(const struct lpu_layer *layer) {
  return layer->gate;
}
static int32_t of_up(const struct lpu_layer *layer) {
  return layer->up;
}
static int32_t of_down(const struct lpu_layer *layer) {
  return layer->down;
}
static int32_t of_norm(const struct lpu_layer *layer) {
  return layer->norm[0];
}
static int32_t of_second_norm(const struct lpu_layer *layer) {
  return layer->norm[1];
}

/* The weight of the same operator in every layer. */
static td_status weights_of(const struct lpu_compiler *compiler, member *of, int32_t **out) {
  const struct td_graph *graph = compiler->graph;
  TD_TRY(td_alloc((size_t)compiler->layers, sizeof **out, (void **)out));
  for (int32_t layer = 0; layer < compiler->layers; layer++) {
    struct lpu_layer found;
    td_status status = lpu_find_layer(graph, compiler->first_layer + layer, &found);
    if (status) {
      free(*out);
      *out = NULL;
      return status;
    }
    (*out)[layer] = graph->ops[of(&found)].weight;
  }
  return TD_OK;
}

/* The weights of `count` operators, one below the other. */
static td_status add_matrix(struct lpu_compiler *compiler, const char *name, member *const *of, int32_t count,
                            struct lpu_matrix *out) {
  struct lpu_rows *rows = NULL;
  td_status status = td_alloc((size_t)compiler->layers * (size_t)count, sizeof *rows, (void **)&rows);
  for (int32_t i = 0; !status && i < count; i++) {
    int32_t *weights = NULL;
    status = weights_of(compiler, of[i], &weights);
    for (int32_t layer = 0; !status && layer < compiler->layers; layer++) {
      rows[layer * count + i] = (struct lpu_rows){weights[layer], 0, compiler->graph->weights[weights[layer]].rows};
    }
    free(weights);
  }
  if (!status) status = lpu_new_matrix(compiler, name, rows, count, compiler->layers, out);
  free(rows);
  return status;
}

static td_status add_norm(struct lpu_compiler *compiler, const char *name, member *of, int32_t *out_image) {
  int32_t *weights = NULL;
  TD_TRY(weights_of(compiler, of, &weights));
  td_status status = norm_weights(compiler, name, weights, compiler->layers, out_image);
  free(weights);
  return status;
}

static td_status add_ends(struct lpu_compiler *compiler) {
  const struct td_graph *graph = compiler->graph;
  if (compiler->chip < compiler->chips - 1) return TD_OK;
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    if (op->layer != graph->shape.layers) continue;
    if (op->kind == TD_OP_RMS_NORM) {
      TD_TRY(norm_weights(compiler, "norm.final", &op->weight, 1, &compiler->final_weight));
    }
    if (op->kind != TD_OP_MATMUL) continue;
    const struct lpu_rows rows = {op->weight, 0, graph->weights[op->weight].rows};
    TD_TRY(lpu_new_matrix(compiler, "head", &rows, 1, 1, &compiler->head));
  }
  return TD_OK;
}

td_status lpu_add_weights(struct lpu_compiler *compiler) {
  static member *const qkv[] = {of_q, of_k, of_v}, *const o[] = {of_o};
  static member *const gate[] = {of_gate}, *const up[] = {of_up}, *const down[] = {of_down};
  TD_TRY(add_matrix(compiler, "qkv", qkv, 3, &compiler->qkv));
  TD_TRY(add_matrix(compiler, "o", o, 1, &compiler->o));
  TD_TRY(add_matrix(compiler, "gate", gate, 1, &compiler->gate));
  TD_TRY(add_matrix(compiler, "up", up, 1, &compiler->up));
  TD_TRY(add_matrix(compiler, "down", down, 1, &compiler->down));
  TD_TRY(add_norm(compiler, "norm.attention", of_norm, &compiler->norm_weight[0]));
  TD_TRY(add_norm(compiler, "norm.ffn", of_second_norm, &compiler->norm_weight[1]));
  TD_TRY(add_ends(compiler));
  TD_TRY(rope_tables(compiler));
  TD_TRY(lane_numbers(compiler));
  TD_TRY(one_lane(compiler));
  return superlane_maps(compiler);
}
