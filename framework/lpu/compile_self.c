/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of the rows of one sequence among themselves. Queries are the lanes: they are installed as columns, keys
 * pass, and a vector of scores is one key's with a block of queries. So the maximum over the keys is one of vectors,
 * lane by lane, and the exponentials are, as they lie, the rows of a tile that values pass through. Values must come
 * as rows of elements for that, with tokens in their lanes, and what comes out has queries in its lanes: passes of unit
 * vectors through what is installed turn both, exactly.
 */
#include <stdlib.h>

#include "compile_self.h"
#include "tandem/base.h"

int32_t lpu_self_row(const struct lpu_compiler *compiler, int32_t vector) {
  return vector * compiler->rows;
}

int32_t lpu_self_slots(const struct lpu_self *self, int32_t vector) {
  int32_t left = self->heads - vector * self->slots;
  return left < self->slots ? left : self->slots;
}

int32_t lpu_self_tokens(const struct lpu_compiler *compiler, int32_t block) {
  int32_t left = compiler->rows - block * compiler->machine->lanes;
  return left < compiler->machine->lanes ? left : compiler->machine->lanes;
}

td_status lpu_self_pair(struct lpu_compiler *compiler, int32_t image, int32_t lane, struct lpu_tensor **out) {
  return lpu_part_tensor(compiler->builder, image, 2 * lane, TD_LPU_F16, out);
}

/* ---- state ---- */

/* Vectors that LOAD takes, so many a word. */
static td_status new_tiles(struct lpu_compiler *compiler, const char *name, int32_t number, int32_t hemisphere,
                           int32_t vectors, int32_t *out_image) {
  int32_t of_word = compiler->machine->load_vectors;
  char full[48];
  TD_TRY(td_format(full, sizeof full, "%s.%d", name, number));
  TD_TRY(lpu_new_outer(compiler, full, TD_IMAGE_SCRATCH, TD_LPU_F16, hemisphere, 0, 2 * of_word, vectors / of_word,
                       out_image));
  compiler->builder->program->images[*out_image].rows = vectors;
  compiler->builder->program->images[*out_image].cols = compiler->machine->lanes;
  return TD_OK;
}

int32_t lpu_encoder_words(const struct lpu_compiler *compiler) {
  const struct lpu_self *self = &compiler->self;
  int32_t steps = compiler->rows / compiler->machine->load_vectors;
  int32_t width = self->heads * self->head_dim / compiler->machine->load_vectors;
  return (self->heads + 1) / 2 * steps + (self->vectors + 1) / 2 * steps +
         (self->slots + 1) / 2 * self->query_blocks * steps + (self->query_blocks + 1) / 2 * width;
}

td_status lpu_add_self_tiles(struct lpu_compiler *compiler) {
  struct lpu_self *self = &compiler->self;
  int32_t image = 0, first = compiler->builder->program->image_count;
  self->q = first;
  for (int32_t i = 0; i < self->heads * self->query_blocks; i++) {
    TD_TRY(new_tiles(compiler, "q", i, i / self->query_blocks % 2, self->query_lanes, &image));
  }
  self->v = image + 1;
  for (int32_t i = 0; i < self->vectors * self->token_blocks; i++) {
    int32_t tokens = lpu_self_tokens(compiler, i % self->token_blocks);
    TD_TRY(new_tiles(compiler, "v", i, i / self->token_blocks % 2, tokens, &image));
  }
  self->p = image + 1;
  for (int32_t i = 0; i < self->slots * self->query_blocks; i++) {
    TD_TRY(new_tiles(compiler, "p", i, i / self->query_blocks % 2, compiler->rows, &image));
  }
  self->mixed = image + 1;
  for (int32_t i = 0; i < self->query_blocks; i++) {
    TD_TRY(new_tiles(compiler, "mixed", i, i % 2, self->heads * self->head_dim, &image));
  }
  return TD_OK;
}

/* Row i has a 1 in lane i: binary16. */
static td_status add_identity(struct lpu_compiler *compiler, int32_t *out) {
  int32_t lanes = compiler->machine->lanes;
  uint64_t bytes = 2 * (uint64_t)lanes * (uint64_t)lanes;
  TD_TRY(lpu_new_vectors(compiler, "identity", TD_IMAGE_CONSTANT, TD_LPU_F16, lanes, out));
  if (compiler->places_only) return TD_OK;
  struct td_lpu_program *program = compiler->builder->program;
  TD_TRY(lpu_add_data(compiler->builder, bytes, &program->images[*out].data));
  program->images[*out].data_bytes = bytes;
  uint8_t *data = program->data + program->images[*out].data;
  for (int32_t i = 0; i < lanes; i++) data[(2 * i + 1) * lanes + i] = 0x3c; /* of 0x3c00 */
  return TD_OK;
}

static td_status add_numbers(struct lpu_compiler *compiler) {
  int32_t lanes = compiler->machine->lanes, rows = compiler->rows;
  float *data = NULL;
  TD_TRY(td_alloc((size_t)rows * (size_t)lanes, sizeof *data, (void **)&data));
  for (int32_t row = 0; row < rows; row++) {
    for (int32_t lane = 0; lane < lanes; lane++) data[row * lanes + lane] = (float)row;
  }
  td_status status = lpu_new_constants(compiler, "tokens", compiler->place.constant_turn++ % 2, rows, lanes,
                                       compiler->places_only ? NULL : data, &compiler->self.number);
  free(data);
  return status;
}

static td_status add_masks(struct lpu_compiler *compiler) {
  struct lpu_self *self = &compiler->self;
  if (self->slots > LPU_MOST_SLOTS) return td_fail(TD_UNSUPPORTED, "LPU: %d heads of a vector", self->slots);
  for (int32_t slot = 0; slot < self->slots; slot++) {
    float data[TD_LPU_MOST_LANES] = {0.0f};
    char name[16];
    int32_t lane = td_lpu_kv_lane(compiler->machine, self->head_dim, slot);
    for (int32_t i = 0; i < self->head_dim; i++) data[lane + i] = 1.0f;
    TD_TRY(td_format(name, sizeof name, "slot.%d", slot));
    TD_TRY(lpu_new_constants(compiler, name, slot % 2, 1, compiler->machine->lanes, data, &self->mask[slot]));
  }
  return TD_OK;
}

td_status lpu_add_self(struct lpu_compiler *compiler) {
  struct lpu_self *self = &compiler->self;
  const enum td_lpu_image_kind scratch = TD_IMAGE_SCRATCH;
  bool twins = compiler->place.outer_quads > 0;
  TD_TRY(add_numbers(compiler));
  TD_TRY(add_masks(compiler));
  TD_TRY(lpu_new_vectors(compiler, "last", TD_IMAGE_INPUT, TD_LPU_F32, 1, &self->last));
  self->hidden_count = !twins ? 2 : compiler->layout.shared ? LPU_MOST_HIDDEN / 2 : LPU_MOST_HIDDEN;
  for (int32_t i = 0; i < self->hidden_count; i++) {
    char name[16];
    TD_TRY(td_format(name, sizeof name, "hidden.%d", i));
    TD_TRY(lpu_new_vectors(compiler, name, scratch, TD_LPU_F32, compiler->rows, &self->hidden[i]));
  }
  self->k[1] = self->identity[1] = -1;
  for (int i = 0; i < (twins ? 2 : 1); i++) {
    const char *name = i == 0 ? "k" : "k.twin";
    TD_TRY(lpu_new_vectors(compiler, name, scratch, TD_LPU_F16, self->vectors * compiler->rows, &self->k[i]));
  }
  for (int i = 0; i < (twins ? 2 : 1); i++) TD_TRY(add_identity(compiler, &self->identity[i]));
  self->v_turned = compiler->builder->program->image_count;
  for (int32_t slot = 0; slot < self->slots; slot++) {
    int32_t image = 0, count = (self->head_dim + 1) * self->token_blocks;
    char name[16];
    TD_TRY(td_format(name, sizeof name, "v.turned.%d", slot));
    TD_TRY(lpu_new_vectors(compiler, name, scratch, TD_LPU_F16, count, &image));
  }
  return TD_OK;
}

/* ---- K, Q and V of all rows ---- */

/* Rows first, first + stride, ... of what a chain has taken as rows 0, 1, ... */
static void take_rows(struct lpu_chain *chain, int32_t first, int32_t stride) {
  for (int32_t i = 0; i < chain->input_count; i++) {
    chain->inputs[i].offset += first * chain->inputs[i].stride;
    chain->inputs[i].stride *= stride;
  }
}

static td_status place_keys(struct lpu_compiler *compiler, const struct lpu_sums *sums) {
  const struct lpu_self *self = &compiler->self;
  struct lpu_tensor *k[2] = {NULL, NULL};
  for (int i = 0; i < 2 && self->k[i] >= 0; i++) TD_TRY(lpu_view(compiler, self->k[i], &k[i]));
  for (int32_t v = 0; v < self->vectors; v++) {
    struct lpu_chain chain;
    lpu_chain_begin(&chain, compiler->chip, compiler->rows);
    struct lpu_operand value = lpu_scaled(&chain, sums, self->vectors + v);
    for (int i = 0; i < 2 && k[i]; i++) {
      value = lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
      lpu_chain_result(&chain, value, k[i], lpu_self_row(compiler, v), 1);
    }
    TD_TRY(lpu_run_rows(compiler, &chain));
  }
  return TD_OK;
}

static const struct lpu_tensor *column_of(const struct lpu_tensor *tensor, int32_t v) {
  return tensor->columns ? tensor->columns[v] : tensor;
}

static td_status settle_heads(struct lpu_compiler *compiler, const struct lpu_sums *sums, int32_t v,
                              struct lpu_tensor **out) {
  struct lpu_chain chain;
  if (!*out) TD_TRY(lpu_new_apart(compiler, TD_LPU_F16, compiler->rows, column_of(sums->sums, v), out));
  lpu_chain_begin(&chain, compiler->chip, compiler->rows);
  struct lpu_operand value = lpu_scaled(&chain, sums, v);
  if (value.from == LPU_FROM_INPUT) value = lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
  lpu_chain_result(&chain, value, *out, 0, 1);
  return lpu_run_rows(compiler, &chain);
}

/* One head's queries of a block: zeros in the lanes of the others, so that keys of all heads may pass. */
static td_status place_queries(struct lpu_compiler *compiler, struct lpu_tensor *queries, int32_t head, int32_t block) {
  const struct lpu_self *self = &compiler->self;
  int32_t of_word = compiler->machine->load_vectors;
  struct lpu_tensor *mask = NULL;
  TD_TRY(lpu_view(compiler, self->mask[head % self->slots], &mask));
  for (int32_t lane = 0; lane < of_word; lane++) {
    struct lpu_tensor *pair = NULL;
    struct lpu_chain chain;
    TD_TRY(lpu_self_pair(compiler, self->q + head * self->query_blocks + block, lane, &pair));
    lpu_chain_begin(&chain, compiler->chip, self->query_lanes / of_word);
    struct lpu_operand value = lpu_chain_input(&chain, queries, 0, 1);
    take_rows(&chain, block * self->query_lanes + lane, of_word);
    value = lpu_chain_step(&chain, TD_ALU_MUL, value, lpu_chain_input(&chain, mask, 0, 0), lpu_nothing);
    lpu_chain_result(&chain, value, pair, 0, 1);
    TD_TRY(lpu_run_rows(compiler, &chain));
  }
  return TD_OK;
}

static td_status place_values(struct lpu_compiler *compiler, struct lpu_tensor *values, int32_t v, int32_t block) {
  const struct lpu_self *self = &compiler->self;
  int32_t of_word = compiler->machine->load_vectors;
  for (int32_t lane = 0; lane < of_word; lane++) {
    struct lpu_tensor *pair = NULL;
    struct lpu_chain chain;
    TD_TRY(lpu_self_pair(compiler, self->v + v * self->token_blocks + block, lane, &pair));
    lpu_chain_begin(&chain, compiler->chip, lpu_self_tokens(compiler, block) / of_word);
    struct lpu_operand value = lpu_chain_input(&chain, values, 0, 1);
    value = lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
    take_rows(&chain, block * compiler->machine->lanes + lane, of_word);
    lpu_chain_result(&chain, value, pair, 0, 1);
    TD_TRY(lpu_run_rows(compiler, &chain));
  }
  return TD_OK;
}

#define SETTLED 8
td_status lpu_self_heads(struct lpu_compiler *compiler, const struct lpu_activation *x) {
  const struct lpu_self *self = &compiler->self;
  struct lpu_sums sums;
  /* Where Q and V are on their way: one place each where there are few, not in turn with the sums' own. */
  struct lpu_tensor *ring[SETTLED] = {NULL};
  int32_t turns = compiler->place.outer_quads > 0 ? SETTLED : 1;
  TD_TRY(lpu_sum_up(compiler, &compiler->qkv, x, NULL, &sums));
  TD_TRY(place_keys(compiler, &sums));
  for (int32_t v = 0; v < self->vectors; v++) {
    struct lpu_tensor *queries = ring[v % turns];
    TD_TRY(settle_heads(compiler, &sums, v, &queries));
    ring[v % turns] = queries;
    for (int32_t i = 0; i < lpu_self_slots(self, v) * self->query_blocks; i++) {
      TD_TRY(place_queries(compiler, queries, v * self->slots + i / self->query_blocks, i % self->query_blocks));
    }
  }
  for (int32_t v = 0; v < self->vectors; v++) {
    struct lpu_tensor *values = ring[v % turns];
    TD_TRY(settle_heads(compiler, &sums, 2 * self->vectors + v, &values));
    ring[v % turns] = values;
    for (int32_t block = 0; block < self->token_blocks; block++) TD_TRY(place_values(compiler, values, v, block));
  }
  return TD_OK;
}
