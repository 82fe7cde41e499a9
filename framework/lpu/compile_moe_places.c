/* SPDX-License-Identifier: Apache-2.0
 *
 * Experts in SRAM: which of a layer's a program has, their weights, and what passes between a layer's entries.
 */
#include <stdlib.h>
#include <string.h>

#include "compile.h"
#include "tandem/base.h"

bool lpu_has_experts(const struct lpu_compiler *compiler) {
  return compiler->layer.router >= 0;
}

/* ---- what is asked for ---- */

static int32_t least(int32_t a, int32_t b) {
  return a < b ? a : b;
}

/* As many tokens as all rows route here, at most. */
static int32_t most_routed(const struct lpu_compiler *compiler) {
  const struct td_op *op = &compiler->graph->ops[compiler->layer.up];
  return compiler->rows * least(op->experts_used, compiler->moe.experts);
}

static td_status check_wishes(struct lpu_compiler *compiler, int32_t experts) {
  const struct td_lpu_options *options = compiler->options;
  int32_t parts = options->expert_parts ? options->expert_parts : 1;
  TD_TRY(lpu_in_range("expert_parts", options->expert_parts, 0, experts));
  TD_TRY(lpu_in_range("expert_part", options->expert_part, 0, parts - 1));
  struct lpu_moe *moe = &compiler->moe;
  moe->first = (int32_t)((int64_t)experts * options->expert_part / parts);
  moe->experts = (int32_t)((int64_t)experts * (options->expert_part + 1) / parts) - moe->first;
  int32_t most = most_routed(compiler);
  TD_TRY(lpu_in_range("expert_routed", options->expert_routed, 0, most));
  moe->routed = options->expert_routed ? options->expert_routed : most;
  TD_TRY(lpu_in_range("expert_rows", options->expert_rows, 0, least(compiler->rows, moe->routed)));
  moe->group_rows = options->expert_rows ? options->expert_rows : 1;
  return TD_OK;
}

td_status lpu_open_experts(struct lpu_compiler *compiler) {
  const struct td_lpu_options *options = compiler->options;
  if (lpu_has_experts(compiler)) {
    return check_wishes(compiler, compiler->graph->ops[compiler->layer.up].experts);
  }
  if (!options->expert_parts && !options->expert_part && !options->expert_rows && !options->expert_routed) return TD_OK;
  return td_fail(TD_CONFIG,
                 "lpu.expert_parts, expert_rows, expert_routed: found one, expected none: the layers have no "
                 "experts");
}

/* ---- weights ---- */

/* The columns of a row of results that the chip makes. */
static struct lpu_rows share_of(const struct lpu_compiler *compiler, int64_t n) {
  int64_t lanes = compiler->machine->lanes;
  int32_t blocks = (int32_t)((n + lanes - 1) / lanes);
  int64_t first = lanes * lpu_first_block(compiler, blocks, compiler->part);
  int64_t end = lanes * lpu_first_block(compiler, blocks, compiler->part + 1);
  return (struct lpu_rows){-1, first, (end < n ? end : n) - first};
}

/* An operator of struct lpu_layer in each of the chip's layers. */
typedef int32_t member(const struct lpu_layer *layer);
static int32_t gate_of(const struct lpu_layer *layer) {
  return layer->gate;
}
static int32_t up_of(const struct lpu_layer *layer) {
  return layer->up;
}
static int32_t down_of(const struct lpu_layer *layer) {
  return layer->down;
}
static int32_t gate_bias_of(const struct lpu_layer *layer) {
  return layer->gate_bias;
}
static int32_t up_bias_of(const struct lpu_layer *layer) {
  return layer->up_bias;
}
static int32_t down_bias_of(const struct lpu_layer *layer) {
  return layer->down_bias;
}

/* Expert e's rows of its layer's weight, and of them the chip's. */
static void list_rows(const struct lpu_compiler *compiler, member *op_of, struct lpu_rows *rows) {
  const struct lpu_moe *moe = &compiler->moe;
  for (int32_t layer = 0; layer < compiler->layers; layer++) {
    const struct td_op *op = &compiler->graph->ops[op_of(lpu_layer_of(compiler, layer))];
    struct lpu_rows share = share_of(compiler, op->n);
    for (int32_t e = 0; e < moe->experts; e++) {
      rows[layer * moe->experts + e] =
          (struct lpu_rows){op->weight, (moe->first + e) * op->n + share.first, share.rows};
    }
  }
}

static td_status add_bias(struct lpu_compiler *compiler, const char *name, member *op_of, const struct lpu_rows *share,
                          struct lpu_matrix *matrix) {
  const struct lpu_moe *moe = &compiler->moe;
  float *data = NULL, *whole = NULL;
  int32_t op = op_of(&compiler->layer), count = compiler->layers * moe->experts;
  if (op < 0 || share->rows == 0) return TD_OK;
  size_t n = (size_t)compiler->graph->weights[compiler->graph->ops[op].weight].cols;
  td_status status = td_alloc((size_t)count * (size_t)share->rows, sizeof *data, (void **)&data);
  if (!status) status = td_alloc(n, sizeof *whole, (void **)&whole);
  for (int32_t i = 0; !status && i < count; i++) {
    int32_t weight = compiler->graph->ops[op_of(lpu_layer_of(compiler, i / moe->experts))].weight;
    lpu_weight_row(compiler, weight, moe->first + i % moe->experts, whole);
    memcpy(data + i * share->rows, whole + share->first, (size_t)share->rows * sizeof *whole);
  }
  int32_t hemisphere = matrix->scale < 0 ? compiler->place.constant_turn++ % 2
                                         : 1 - compiler->builder->program->images[matrix->scale].hemisphere;
  if (!status) {
    status = lpu_new_constants(compiler, name, hemisphere, count, (int32_t)share->rows, compiler->weights ? data : NULL,
                               &matrix->bias);
  }
  free(whole);
  free(data);
  return status;
}

static td_status add_matrix(struct lpu_compiler *compiler, const char *name, member *op_of, member *bias_of,
                            struct lpu_matrix *out) {
  char bias[48];
  const struct td_op *op = &compiler->graph->ops[op_of(&compiler->layer)];
  const struct lpu_rows share = share_of(compiler, op->n);
  int64_t lanes = compiler->machine->lanes;
  struct lpu_rows *rows = NULL;
  int32_t count = compiler->layers * compiler->moe.experts;
  TD_TRY(td_format(bias, sizeof bias, "%s.bias", name));
  TD_TRY(td_alloc((size_t)count, sizeof *rows, (void **)&rows));
  list_rows(compiler, op_of, rows);
  td_status status = lpu_new_matrix(compiler, name, rows, 1, count, out);
  free(rows);
  TD_TRY(status);
  out->experts = compiler->moe.experts;
  out->row_blocks = (int32_t)((op->n + lanes - 1) / lanes);
  out->first_block = lpu_first_block(compiler, out->row_blocks, compiler->part);
  return add_bias(compiler, bias, bias_of, &share, out);
}

td_status lpu_add_expert_weights(struct lpu_compiler *compiler) {
  TD_TRY(add_matrix(compiler, "expert.gate", gate_of, gate_bias_of, &compiler->gate));
  TD_TRY(add_matrix(compiler, "expert.up", up_of, up_bias_of, &compiler->up));
  return add_matrix(compiler, "expert.down", down_of, down_bias_of, &compiler->down);
}

/* ---- state ---- */

static td_status named_vectors(struct lpu_compiler *compiler, const char *name, enum td_lpu_image_kind kind,
                               enum td_lpu_type type, int32_t count, int32_t *out_image) {
  char full[48];
  bool first = compiler->stage == 0 || kind == TD_IMAGE_INPUT;
  TD_TRY(first ? td_format(full, sizeof full, "%s", name)
               : td_format(full, sizeof full, "%s.%d", name, compiler->stage));
  return lpu_new_vectors(compiler, full, kind, type, count, out_image);
}

static td_status add_routes(struct lpu_compiler *compiler) {
  struct lpu_moe *moe = &compiler->moe;
  if (moe->router.tiles.blocks == 0) return TD_OK;
  TD_TRY(named_vectors(compiler, "routes", TD_IMAGE_OUTPUT, TD_LPU_F32, compiler->rows * moe->router.tiles.blocks,
                       &moe->routes));
  struct td_lpu_image *image = &compiler->builder->program->images[moe->routes];
  image->rows = compiler->rows;
  image->cols = (int32_t)moe->router.n;
  return TD_OK;
}

td_status lpu_add_expert_state(struct lpu_compiler *compiler) {
  struct lpu_moe *moe = &compiler->moe;
  const enum td_lpu_image_kind scratch = TD_IMAGE_SCRATCH;
  bool by_row = compiler->options->activations != TD_LPU_ACTIVATIONS_F16;
  int32_t passes = compiler->options->activations == TD_LPU_ACTIVATIONS_I8X2 ? 2 : 1;
  int32_t rows = compiler->rows, vectors = compiler->hidden_vectors;
  bool fp8 = compiler->options->activations == TD_LPU_ACTIVATIONS_F8;
  enum td_lpu_type type = fp8 ? TD_LPU_F8 : by_row ? TD_LPU_I8 : TD_LPU_F16;
  TD_TRY(add_routes(compiler));
  TD_TRY(named_vectors(compiler, "gates", TD_IMAGE_INPUT, TD_LPU_F32, moe->routed, &moe->gates));
  TD_TRY(named_vectors(compiler, "normed", scratch, type, rows * vectors * passes, &moe->x));
  TD_TRY(named_vectors(compiler, "routed", scratch, type, moe->routed * vectors * passes, &moe->routed_x));
  TD_TRY(named_vectors(compiler, "made", scratch, TD_LPU_F32, moe->routed * vectors, &moe->made));
  moe->scale = moe->routed_scale = -1;
  if (!by_row) return TD_OK;
  TD_TRY(named_vectors(compiler, "normed.scale", scratch, TD_LPU_F32, rows, &moe->scale));
  return named_vectors(compiler, "routed.scale", scratch, TD_LPU_F32, moe->routed, &moe->routed_scale);
}
