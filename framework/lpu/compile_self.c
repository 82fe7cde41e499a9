/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of the rows of one sequence among themselves. Queries are the lanes: they are installed as columns, keys
 * pass, and a vector of scores is one key's with a block of queries. So the maximum over the keys is one of vectors,
 * lane by lane, and the exponentials are, as they lie, the rows of a tile that values pass through. Values must come
 * as rows of elements for that, with tokens in their lanes, and what comes out has queries in its lanes: passes of unit
 * vectors through what is installed turn both, exactly.
 */
#include <stdlib.h>

#include "compile.h"
#include "tandem/base.h"

static int32_t row_of(const struct lpu_compiler *compiler, int32_t vector) {
  return vector * compiler->rows;
}

static int32_t slots_of(const struct lpu_self *self, int32_t vector) {
  int32_t left = self->heads - vector * self->slots;
  return left < self->slots ? left : self->slots;
}

static int32_t tokens_of(const struct lpu_compiler *compiler, int32_t block) {
  int32_t left = compiler->rows - block * compiler->machine->lanes;
  return left < compiler->machine->lanes ? left : compiler->machine->lanes;
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
  return (self->heads + 1) / 2 * steps + (self->vectors + 1) / 2 * steps + (self->slots + 1) / 2 * steps +
         (self->query_blocks + 1) / 2 * width;
}

static td_status add_tiles(struct lpu_compiler *compiler) {
  struct lpu_self *self = &compiler->self;
  int32_t image = 0, first = compiler->builder->program->image_count;
  self->q = first;
  for (int32_t i = 0; i < self->heads * self->query_blocks; i++) {
    TD_TRY(new_tiles(compiler, "q", i, i / self->query_blocks % 2, self->query_lanes, &image));
  }
  self->v = image + 1;
  for (int32_t i = 0; i < self->vectors * self->token_blocks; i++) {
    int32_t tokens = tokens_of(compiler, i % self->token_blocks);
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
static td_status add_identity(struct lpu_compiler *compiler) {
  int32_t lanes = compiler->machine->lanes, *out = &compiler->self.identity;
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
  TD_TRY(add_tiles(compiler));
  TD_TRY(add_identity(compiler));
  TD_TRY(add_numbers(compiler));
  TD_TRY(add_masks(compiler));
  TD_TRY(lpu_new_vectors(compiler, "last", TD_IMAGE_INPUT, TD_LPU_F32, 1, &self->last));
  TD_TRY(lpu_new_vectors(compiler, "hidden.0", scratch, TD_LPU_F32, compiler->rows, &self->hidden[0]));
  TD_TRY(lpu_new_vectors(compiler, "hidden.1", scratch, TD_LPU_F32, compiler->rows, &self->hidden[1]));
  TD_TRY(lpu_new_vectors(compiler, "k", scratch, TD_LPU_F16, self->vectors * compiler->rows, &self->k));
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

/* Pair `lane` of an image that LOAD takes: what a chain writes there is every load_vectors-th vector. */
static td_status pair_of(struct lpu_compiler *compiler, int32_t image, int32_t lane, struct lpu_tensor **out) {
  return lpu_part_tensor(compiler->builder, image, 2 * lane, TD_LPU_F16, out);
}

/* Rows first, first + stride, ... of what a chain has taken as rows 0, 1, ... */
static void take_rows(struct lpu_chain *chain, int32_t first, int32_t stride) {
  for (int32_t i = 0; i < chain->input_count; i++) {
    chain->inputs[i].offset += first * chain->inputs[i].stride;
    chain->inputs[i].stride *= stride;
  }
}

static td_status place_keys(struct lpu_compiler *compiler, const struct lpu_sums *sums) {
  const struct lpu_self *self = &compiler->self;
  struct lpu_tensor *k = NULL;
  TD_TRY(lpu_view(compiler, self->k, &k));
  for (int32_t v = 0; v < self->vectors; v++) {
    struct lpu_chain chain;
    lpu_chain_begin(&chain, compiler->chip, compiler->rows);
    struct lpu_operand value = lpu_scaled(&chain, sums, self->vectors + v);
    if (value.from == LPU_FROM_INPUT) value = lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
    lpu_chain_result(&chain, value, k, row_of(compiler, v), 1);
    TD_TRY(lpu_chain_run(compiler->builder, &chain));
  }
  return TD_OK;
}

/* One head's queries of a block: zeros in the lanes of the others, so that keys of all heads may pass. */
static td_status place_queries(struct lpu_compiler *compiler, const struct lpu_sums *sums, int32_t head,
                               int32_t block) {
  const struct lpu_self *self = &compiler->self;
  int32_t of_word = compiler->machine->load_vectors;
  struct lpu_tensor *mask = NULL;
  TD_TRY(lpu_view(compiler, self->mask[head % self->slots], &mask));
  for (int32_t lane = 0; lane < of_word; lane++) {
    struct lpu_tensor *pair = NULL;
    struct lpu_chain chain;
    TD_TRY(pair_of(compiler, self->q + head * self->query_blocks + block, lane, &pair));
    lpu_chain_begin(&chain, compiler->chip, self->query_lanes / of_word);
    struct lpu_operand value = lpu_scaled(&chain, sums, head / self->slots);
    take_rows(&chain, block * self->query_lanes + lane, of_word);
    value = lpu_chain_step(&chain, TD_ALU_MUL, value, lpu_chain_input(&chain, mask, 0, 0), lpu_nothing);
    lpu_chain_result(&chain, value, pair, 0, 1);
    TD_TRY(lpu_chain_run(compiler->builder, &chain));
  }
  return TD_OK;
}

static td_status place_values(struct lpu_compiler *compiler, const struct lpu_sums *sums, int32_t v, int32_t block) {
  const struct lpu_self *self = &compiler->self;
  int32_t of_word = compiler->machine->load_vectors;
  for (int32_t lane = 0; lane < of_word; lane++) {
    struct lpu_tensor *pair = NULL;
    struct lpu_chain chain;
    TD_TRY(pair_of(compiler, self->v + v * self->token_blocks + block, lane, &pair));
    lpu_chain_begin(&chain, compiler->chip, tokens_of(compiler, block) / of_word);
    struct lpu_operand value = lpu_scaled(&chain, sums, 2 * self->vectors + v);
    if (value.from == LPU_FROM_INPUT) value = lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
    take_rows(&chain, block * compiler->machine->lanes + lane, of_word);
    lpu_chain_result(&chain, value, pair, 0, 1);
    TD_TRY(lpu_chain_run(compiler->builder, &chain));
  }
  return TD_OK;
}

td_status lpu_self_heads(struct lpu_compiler *compiler, const struct lpu_activation *x) {
  const struct lpu_self *self = &compiler->self;
  struct lpu_sums sums;
  TD_TRY(lpu_sum_up(compiler, &compiler->qkv, x, NULL, &sums));
  TD_TRY(place_keys(compiler, &sums));
  for (int32_t head = 0; head < self->heads; head++) {
    for (int32_t block = 0; block < self->query_blocks; block++) {
      TD_TRY(place_queries(compiler, &sums, head, block));
    }
  }
  for (int32_t v = 0; v < self->vectors; v++) {
    for (int32_t block = 0; block < self->token_blocks; block++) TD_TRY(place_values(compiler, &sums, v, block));
  }
  return TD_OK;
}

/* ---- scores and exponentials of one head and block of queries ---- */

static struct lpu_tiles tiles_of(int32_t image, bool columns, int32_t half, int32_t steps) {
  return (struct lpu_tiles){.image = image,
                            .one_image = true,
                            .type = TD_LPU_F16,
                            .columns = columns,
                            .half = half,
                            .blocks = 1,
                            .parts = 1,
                            .steps = steps,
                            .last_steps = steps};
}

static int32_t half_of(const struct lpu_compiler *compiler, int32_t slot) {
  return slot / compiler->head_halves;
}

/* A chunk of the keys with the queries. */
static td_status pass_keys(struct lpu_compiler *compiler, int32_t head, int32_t block, int32_t chunk,
                           struct lpu_tensor *out) {
  const struct lpu_self *self = &compiler->self;
  int32_t slot = head % self->slots, rows = compiler->rows / LPU_CHUNKS;
  struct lpu_product product = {.chip = compiler->chip, .rows = rows, .plane = -1, .blocks = 1};
  product.tiles = tiles_of(self->q + head * self->query_blocks + block, true, half_of(compiler, slot),
                           self->query_lanes / compiler->machine->load_vectors);
  TD_TRY(lpu_view(compiler, self->k, &product.x));
  product.x_offset = row_of(compiler, head / self->slots) + chunk * rows;
  product.x_row_stride = 1;
  product.y = out;
  product.y_row_stride = 1;
  return lpu_product_run(compiler->builder, &product);
}

static bool is_beside(const struct lpu_tensor *a, const struct lpu_tensor *b) {
  return a->hemisphere != b->hemisphere || a->slice / 4 != b->slice / 4;
}

/* Scaled, and hidden behind the sequence's end. */
static td_status hide(struct lpu_compiler *compiler, int32_t chunk, struct lpu_tensor *raw, struct lpu_tensor *out) {
  const struct td_op *op = &compiler->graph->ops[compiler->layer.attention];
  struct lpu_tensor *hidden[2] = {NULL, NULL};
  struct lpu_chain chain;
  for (int i = 0; i < 2; i++) TD_TRY(lpu_view(compiler, compiler->self.hidden[i], &hidden[i]));
  lpu_chain_begin(&chain, compiler->chip, raw->count);
  struct lpu_operand score = lpu_chain_input(&chain, raw, 0, 1);
  score = lpu_chain_step(&chain, TD_ALU_MUL, score, lpu_chain_number((float)op->scale), lpu_nothing);
  struct lpu_tensor *from = is_beside(hidden[chunk % 2], raw) ? hidden[chunk % 2] : hidden[1 - chunk % 2];
  struct lpu_operand more = lpu_chain_input(&chain, from, chunk * raw->count, 1);
  score = lpu_chain_step(&chain, TD_ALU_ADD, score, more, lpu_nothing);
  lpu_chain_result(&chain, score, out, 0, 1);
  return lpu_chain_run(compiler->builder, &chain);
}

/* out[i] = the maximum of in[chunk][first + i] over the chunks. */
static td_status most_of_chunks(struct lpu_compiler *compiler, struct lpu_tensor *const *in, int32_t first,
                                struct lpu_tensor *out) {
  struct lpu_chain chain;
  lpu_chain_begin(&chain, compiler->chip, out->count);
  struct lpu_operand most =
      lpu_chain_step(&chain, TD_ALU_MOVE, lpu_chain_input(&chain, in[0], first, 1), lpu_nothing, lpu_nothing);
  for (int32_t chunk = 1; chunk < LPU_CHUNKS; chunk++) {
    most = lpu_chain_step(&chain, TD_ALU_MAX, most, lpu_chain_input(&chain, in[chunk], first, 1), lpu_nothing);
  }
  lpu_chain_result(&chain, most, out, 0, 1);
  return lpu_chain_run(compiler->builder, &chain);
}

/* out[0] = the maximum of all of in. */
static td_status most_of_all(struct lpu_compiler *compiler, struct lpu_tensor *in, struct lpu_tensor *out) {
  struct lpu_chain chain;
  lpu_chain_begin(&chain, compiler->chip, 1);
  struct lpu_operand most =
      lpu_chain_step(&chain, TD_ALU_MOVE, lpu_chain_input(&chain, in, 0, 0), lpu_nothing, lpu_nothing);
  for (int32_t i = 1; i < in->count; i++) {
    most = lpu_chain_step(&chain, TD_ALU_MAX, most, lpu_chain_input(&chain, in, i, 0), lpu_nothing);
  }
  lpu_chain_result(&chain, most, out, 0, 1);
  return lpu_chain_run(compiler->builder, &chain);
}

/* The maximum over the keys, in two places. */
static td_status find_tops(struct lpu_compiler *compiler, struct lpu_tensor *const *scores,
                           struct lpu_tensor *tops[2]) {
  int32_t steps = compiler->rows / compiler->machine->load_vectors;
  struct lpu_tensor *some[LPU_CHUNKS], *all = NULL;
  for (int32_t i = 0; i < LPU_CHUNKS; i++) {
    TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, scores[i]->count / LPU_CHUNKS, i > 0 ? some[i - 1] : NULL, &some[i]));
    TD_TRY(most_of_chunks(compiler, scores, i * (scores[i]->count / LPU_CHUNKS), some[i]));
  }
  TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, steps, NULL, &all));
  TD_TRY(most_of_chunks(compiler, some, 0, all));
  for (int i = 0; i < 2; i++) {
    TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, 1, i > 0 ? tops[0] : NULL, &tops[i]));
    TD_TRY(most_of_all(compiler, all, tops[i]));
  }
  return TD_OK;
}

/* p = f16(exp(score - maximum)), into the rows of a tile. */
static td_status weigh(struct lpu_compiler *compiler, int32_t image, int32_t chunk, struct lpu_tensor *scores,
                       struct lpu_tensor *const tops[2]) {
  int32_t of_word = compiler->machine->load_vectors, words = scores->count / of_word;
  struct lpu_tensor *top = is_beside(tops[0], scores) ? tops[0] : tops[1];
  for (int32_t lane = 0; lane < of_word; lane++) {
    struct lpu_tensor *pair = NULL;
    struct lpu_chain chain;
    TD_TRY(pair_of(compiler, image, lane, &pair));
    lpu_chain_begin(&chain, compiler->chip, words);
    struct lpu_operand score = lpu_chain_input(&chain, scores, lane, of_word);
    struct lpu_operand below =
        lpu_chain_step(&chain, TD_ALU_SUB, score, lpu_chain_input(&chain, top, 0, 0), lpu_nothing);
    struct lpu_operand weight = lpu_chain_step(&chain, TD_ALU_EXP, below, lpu_nothing, lpu_nothing);
    lpu_chain_result(&chain, weight, pair, chunk * words, 1);
    TD_TRY(lpu_chain_run(compiler->builder, &chain));
  }
  return TD_OK;
}

static td_status score_block(struct lpu_compiler *compiler, int32_t head, int32_t block) {
  const struct lpu_self *self = &compiler->self;
  int32_t image = self->p + head % self->slots * self->query_blocks + block, count = compiler->rows / LPU_CHUNKS;
  struct lpu_tensor *scores[LPU_CHUNKS], *tops[2], *raw = NULL, *keys = NULL;
  TD_TRY(lpu_view(compiler, self->k, &keys));
  for (int32_t chunk = 0; chunk < LPU_CHUNKS; chunk++) {
    TD_TRY(lpu_new_sums(compiler, TD_LPU_F32, count, count, &(struct lpu_activation){.x = keys}, NULL, &raw));
    TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, count, raw, &scores[chunk]));
    TD_TRY(pass_keys(compiler, head, block, chunk, raw));
    TD_TRY(hide(compiler, chunk, raw, scores[chunk]));
  }
  TD_TRY(find_tops(compiler, scores, tops));
  for (int32_t chunk = 0; chunk < LPU_CHUNKS; chunk++) {
    TD_TRY(weigh(compiler, image, chunk, scores[chunk], tops));
  }
  return TD_OK;
}

/* ---- values ---- */

/* A head's values of a block of tokens as rows of elements. */
static td_status turn_values(struct lpu_compiler *compiler, int32_t head, int32_t block) {
  const struct lpu_self *self = &compiler->self;
  int32_t slot = head % self->slots, width = self->head_dim;
  struct lpu_tensor *turned = NULL, *out = NULL;
  struct lpu_chain chain;
  struct lpu_product product = {.chip = compiler->chip, .rows = width, .plane = -1, .blocks = 1};
  product.tiles = tiles_of(self->v + head / self->slots * self->token_blocks + block, true, half_of(compiler, slot),
                           tokens_of(compiler, block) / compiler->machine->load_vectors);
  TD_TRY(lpu_view(compiler, self->identity, &product.x));
  TD_TRY(lpu_new_sums(compiler, TD_LPU_F32, width, width, &(struct lpu_activation){.x = product.x}, NULL, &turned));
  product.x_offset = td_lpu_kv_lane(compiler->machine, width, slot);
  product.x_row_stride = 1;
  product.y = turned;
  product.y_row_stride = 1;
  TD_TRY(lpu_product_run(compiler->builder, &product));
  TD_TRY(lpu_view(compiler, self->v_turned + slot, &out));
  lpu_chain_begin(&chain, compiler->chip, width);
  struct lpu_operand value = lpu_chain_input(&chain, turned, 0, 1);
  value = lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
  lpu_chain_result(&chain, value, out, block, self->token_blocks);
  return lpu_chain_run(compiler->builder, &chain);
}

/* The row of ones: its product with the exponentials is their sum. */
static td_status add_ones(struct lpu_compiler *compiler, int32_t slot) {
  const struct lpu_self *self = &compiler->self;
  struct lpu_tensor *out = NULL;
  struct lpu_chain chain;
  TD_TRY(lpu_view(compiler, self->v_turned + slot, &out));
  lpu_chain_begin(&chain, compiler->chip, self->token_blocks);
  struct lpu_operand one = lpu_chain_step(&chain, TD_ALU_MOVE, lpu_chain_number(1.0f), lpu_nothing, lpu_nothing);
  lpu_chain_result(&chain, one, out, self->head_dim * self->token_blocks, 1);
  return lpu_chain_run(compiler->builder, &chain);
}

static td_status segment_scores(struct lpu_compiler *compiler, int32_t vector, int32_t *out_segment) {
  const struct lpu_self *self = &compiler->self;
  char name[16];
  TD_TRY(td_format(name, sizeof name, "scores.%d", vector));
  TD_TRY(lpu_open_segment(compiler, name));
  for (int32_t slot = 0; slot < slots_of(self, vector); slot++) {
    int32_t head = vector * self->slots + slot;
    for (int32_t block = 0; block < self->query_blocks; block++) TD_TRY(score_block(compiler, head, block));
    for (int32_t block = 0; block < self->token_blocks; block++) TD_TRY(turn_values(compiler, head, block));
    TD_TRY(add_ones(compiler, slot));
  }
  return lpu_close_segment(compiler, out_segment);
}

/* Rows of elements through the exponentials, divided by their sum, into columns of a tile: its lanes are queries. */
static td_status mix(struct lpu_compiler *compiler, int32_t head, int32_t block) {
  const struct lpu_self *self = &compiler->self;
  const struct td_lpu_machine *machine = compiler->machine;
  int32_t slot = head % self->slots, width = self->head_dim, of_word = machine->load_vectors;
  int32_t part = machine->plane_k / 2 / of_word, steps = compiler->rows / of_word;
  struct lpu_tensor *sums = NULL;
  struct lpu_product product = {.chip = compiler->chip, .rows = width + 1, .plane = -1, .blocks = 1};
  product.tiles = tiles_of(self->p + slot * self->query_blocks + block, false, 0, part < steps ? part : steps);
  product.tiles.parts = (steps + part - 1) / part;
  product.tiles.last_steps = steps - (product.tiles.parts - 1) * product.tiles.steps;
  TD_TRY(lpu_view(compiler, self->v_turned + slot, &product.x));
  TD_TRY(
      lpu_new_sums(compiler, TD_LPU_F32, width + 1, width + 1, &(struct lpu_activation){.x = product.x}, NULL, &sums));
  product.x_row_stride = self->token_blocks;
  product.y = sums;
  product.y_row_stride = 1;
  TD_TRY(lpu_product_run(compiler->builder, &product));
  for (int32_t lane = 0; lane < of_word; lane++) {
    struct lpu_tensor *pair = NULL;
    struct lpu_chain chain;
    TD_TRY(pair_of(compiler, self->mixed + block, lane, &pair));
    lpu_chain_begin(&chain, compiler->chip, width / of_word);
    struct lpu_operand total = lpu_chain_input(&chain, sums, width, 0);
    total = lpu_chain_step(&chain, TD_ALU_RECIPROCAL, total, lpu_nothing, lpu_nothing);
    struct lpu_operand value = lpu_chain_input(&chain, sums, lane, of_word);
    value = lpu_chain_step(&chain, TD_ALU_MUL, value, total, lpu_nothing);
    lpu_chain_result(&chain, value, pair, head * width / of_word, 1);
    TD_TRY(lpu_chain_run(compiler->builder, &chain));
  }
  return TD_OK;
}

static td_status segment_values(struct lpu_compiler *compiler, int32_t vector, int32_t *out_segment) {
  const struct lpu_self *self = &compiler->self;
  char name[16];
  TD_TRY(td_format(name, sizeof name, "values.%d", vector));
  TD_TRY(lpu_open_segment(compiler, name));
  for (int32_t slot = 0; slot < slots_of(self, vector); slot++) {
    for (int32_t block = 0; block < self->query_blocks; block++) {
      TD_TRY(mix(compiler, vector * self->slots + slot, block));
    }
  }
  return lpu_close_segment(compiler, out_segment);
}

td_status lpu_link_self(struct lpu_compiler *compiler) {
  for (int32_t vector = 0; vector < compiler->self.vectors; vector++) {
    int32_t scores = 0, values = 0;
    TD_TRY(segment_scores(compiler, vector, &scores));
    TD_TRY(segment_values(compiler, vector, &values));
    TD_TRY(lpu_run_link(compiler, scores));
    TD_TRY(lpu_run_link(compiler, values));
  }
  return TD_OK;
}

/* ---- back to rows ---- */

/* Half a vector of a block's queries, one vector of their elements. */
static td_status turn_part(struct lpu_compiler *compiler, int32_t block, int32_t half, int32_t part,
                           struct lpu_tensor *out) {
  const struct lpu_self *self = &compiler->self;
  const struct td_lpu_machine *machine = compiler->machine;
  int32_t steps = self->heads * self->head_dim / machine->load_vectors,
          of_part = machine->lanes / machine->load_vectors;
  int32_t first = half * (machine->lanes / 2), count = self->query_lanes - first;
  struct lpu_product product = {.chip = compiler->chip, .plane = -1, .blocks = 1};
  product.rows = count < machine->lanes / 2 ? count : machine->lanes / 2;
  product.tiles = tiles_of(self->mixed + block, true, half, of_part < steps ? of_part : steps);
  product.tiles.parts = (steps + of_part - 1) / of_part;
  product.tiles.last_steps = steps - (product.tiles.parts - 1) * product.tiles.steps;
  TD_TRY(lpu_view(compiler, self->identity, &product.x));
  product.x_offset = first - part; /* a part of columns takes vector `part` of a row */
  product.x_row_stride = 1;
  product.y = out;
  product.y_offset = (block * self->query_lanes + first) * compiler->q_vectors;
  product.y_row_stride = compiler->q_vectors;
  product.y_part_stride = 1;
  const struct lpu_unit unit = {&product, 0, part, part + 1};
  return lpu_units_run(compiler->builder, &unit, 1);
}

td_status lpu_self_mixed(struct lpu_compiler *compiler, struct lpu_tensor **out) {
  const struct lpu_self *self = &compiler->self;
  int32_t count = compiler->rows * compiler->q_vectors, half = compiler->machine->lanes / 2;
  struct lpu_tensor *wide = NULL, *identity = NULL;
  struct lpu_chain chain;
  TD_TRY(lpu_view(compiler, self->identity, &identity));
  TD_TRY(lpu_new_sums(compiler, TD_LPU_F32, count, count, &(struct lpu_activation){.x = identity}, NULL, &wide));
  for (int32_t block = 0; block < self->query_blocks; block++) {
    for (int32_t h = 0; h * half < self->query_lanes; h++) {
      for (int32_t part = 0; part < compiler->q_vectors; part++) TD_TRY(turn_part(compiler, block, h, part, wide));
    }
  }
  TD_TRY(lpu_new_scratch(compiler, TD_LPU_F16, count, wide, out));
  lpu_chain_begin(&chain, compiler->chip, count);
  struct lpu_operand value = lpu_chain_input(&chain, wide, 0, 1);
  value = lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
  lpu_chain_result(&chain, value, *out, 0, 1);
  return lpu_chain_run(compiler->builder, &chain);
}
