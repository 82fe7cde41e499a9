/* SPDX-License-Identifier: Apache-2.0
 *
 * What passes between segments and steps: inputs, KV caches, scratches that outlive a segment, logits.
 */
#include "compile.h"

int32_t lpu_cache_words(const struct lpu_compiler *compiler) {
  const struct td_lpu_options *options = compiler->options;
  int64_t words = (int64_t)compiler->layers * options->kv_blocks;
  words = words * (options->block_tokens / compiler->machine->load_vectors) + 1;
  return words < INT32_MAX ? (int32_t)words : INT32_MAX;
}

static td_status add_cache(struct lpu_compiler *compiler, const char *name, int32_t hemisphere, int32_t *out_image) {
  int32_t words = lpu_cache_words(compiler);
  TD_TRY(lpu_new_outer(compiler, name, TD_IMAGE_KV, TD_LPU_F16, hemisphere, 0, 2 * compiler->machine->load_vectors,
                       words, out_image));
  struct td_lpu_image *image = &compiler->builder->program->images[*out_image];
  image->rows = words * image->by_steps;
  image->cols = compiler->machine->lanes;
  return TD_OK;
}

td_status lpu_add_state(struct lpu_compiler *compiler) {
  int32_t rows = compiler->rows, heads = compiler->graph->ops[compiler->layer.attention].heads;
  int32_t blocks = compiler->builder->program->images[compiler->lane_number].rows;
  const enum td_lpu_image_kind scratch = TD_IMAGE_SCRATCH;
  bool first = compiler->chip == 0, last = compiler->chip == compiler->chips - 1;
  TD_TRY(lpu_new_vectors(compiler, first ? "x" : "x.in", first ? TD_IMAGE_INPUT : scratch, TD_LPU_F32,
                         rows * compiler->hidden_vectors, &compiler->x));
  TD_TRY(lpu_new_vectors(compiler, "position", TD_IMAGE_INPUT, TD_LPU_F32, rows, &compiler->position));
  TD_TRY(
      lpu_new_vectors(compiler, "qkv.out", scratch, TD_LPU_F32, rows * compiler->qkv.tiles.blocks, &compiler->qkv_out));
  TD_TRY(lpu_new_vectors(compiler, "heads", scratch, TD_LPU_F16, heads, &compiler->heads_q));
  TD_TRY(lpu_new_vectors(compiler, "scores", scratch, TD_LPU_F32, heads * blocks, &compiler->scores));
  TD_TRY(lpu_new_vectors(compiler, "top", scratch, TD_LPU_F32, heads, &compiler->top));
  TD_TRY(lpu_new_vectors(compiler, "product", scratch, TD_LPU_F32, heads, &compiler->product));
  TD_TRY(lpu_new_vectors(compiler, "attended", scratch, lpu_value_type(compiler), rows * compiler->q_vectors,
                         &compiler->attended));
  struct td_lpu_image *image = &compiler->builder->program->images[compiler->x];
  image->rows = rows;
  image->cols = compiler->graph->shape.hidden;
  if (last) {
    int32_t some = compiler->layout.head_rows;
    TD_TRY(lpu_new_vectors(compiler, "logits", TD_IMAGE_OUTPUT, TD_LPU_F32, some * compiler->head.tiles.blocks,
                           &compiler->logits));
    image = &compiler->builder->program->images[compiler->logits];
    image->rows = some;
    image->cols = compiler->graph->shape.vocab;
  }
  TD_TRY(add_cache(compiler, "k.cache", 0, &compiler->k_cache));
  return add_cache(compiler, "v.cache", 1, &compiler->v_cache);
}
