/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of the rows of one sequence: scores, exponentials, values, and rows again.
 */
#include "compile_self.h"
#include "tandem/base.h"

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

/* What is in both hemispheres, where there is room for that. */
static td_status view_both(struct lpu_compiler *compiler, const int32_t images[2], struct lpu_tensor **out,
                           struct lpu_tensor **out_twin) {
  *out_twin = NULL;
  TD_TRY(lpu_view(compiler, images[0], out));
  return images[1] < 0 ? TD_OK : lpu_view(compiler, images[1], out_twin);
}

/* All keys with a block of queries. */
static td_status pass_keys(struct lpu_compiler *compiler, int32_t head, int32_t block, struct lpu_tensor *out) {
  const struct lpu_self *self = &compiler->self;
  int32_t slot = head % self->slots;
  struct lpu_product product = {.chip = compiler->chip, .rows = compiler->rows, .plane = -1, .blocks = 1};
  product.tiles = tiles_of(self->q + head * self->query_blocks + block, true, half_of(compiler, slot),
                           self->query_lanes / compiler->machine->load_vectors);
  TD_TRY(view_both(compiler, self->k, &product.x, &product.twin));
  product.x_offset = lpu_self_row(compiler, head / self->slots);
  product.x_row_stride = 1;
  product.y = out;
  product.y_row_stride = 1;
  return lpu_product_run(compiler->builder, &product);
}

static bool is_beside(const struct lpu_tensor *a, const struct lpu_tensor *b) {
  return a->hemisphere != b->hemisphere || a->slice / 4 != b->slice / 4;
}

/* What is added to scores, where the chain has nothing else. */
static td_status view_hidden(struct lpu_compiler *compiler, int32_t turn, const struct lpu_tensor *raw,
                             const struct lpu_tensor *scores, struct lpu_tensor **out) {
  const struct lpu_self *self = &compiler->self;
  for (int32_t i = 0; i < self->hidden_count; i++) {
    TD_TRY(lpu_view(compiler, self->hidden[(turn + i) % self->hidden_count], out));
    if (is_beside(*out, raw) && is_beside(*out, scores)) return TD_OK;
  }
  for (int32_t i = 0; i < self->hidden_count; i++) {
    TD_TRY(lpu_view(compiler, self->hidden[i], out));
    if (is_beside(*out, raw)) return TD_OK;
  }
  return TD_OK;
}

/* Scaled, and hidden behind the sequence's end. */
static td_status hide(struct lpu_compiler *compiler, int32_t turn, int32_t chunk, struct lpu_tensor *raw,
                      struct lpu_tensor *out) {
  const struct td_op *op = &compiler->graph->ops[compiler->layer.attention];
  struct lpu_tensor *hidden = NULL;
  struct lpu_chain chain;
  TD_TRY(view_hidden(compiler, turn, raw, out, &hidden));
  lpu_chain_begin(&chain, compiler->chip, out->count);
  struct lpu_operand score = lpu_chain_input(&chain, raw, chunk * out->count, 1);
  score = lpu_chain_step(&chain, TD_ALU_MUL, score, lpu_chain_number((float)op->scale), lpu_nothing);
  struct lpu_operand more = lpu_chain_input(&chain, hidden, chunk * out->count, 1);
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
    TD_TRY(lpu_self_pair(compiler, image, lane, &pair));
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

static td_status raw_scores(struct lpu_compiler *compiler, int32_t head, int32_t block, struct lpu_tensor **out) {
  struct lpu_activation keys;
  TD_TRY(view_both(compiler, compiler->self.k, &keys.x, &keys.twin));
  TD_TRY(lpu_new_sums(compiler, TD_LPU_F32, compiler->rows, 1, &keys, NULL, out));
  return pass_keys(compiler, head, block, *out);
}

static td_status weigh_block(struct lpu_compiler *compiler, int32_t head, int32_t block, struct lpu_tensor *raw) {
  const struct lpu_self *self = &compiler->self;
  int32_t slot = head % self->slots, image = self->p + slot * self->query_blocks + block;
  int32_t count = compiler->rows / LPU_CHUNKS;
  struct lpu_tensor *scores[LPU_CHUNKS], *tops[2];
  for (int32_t chunk = 0; chunk < LPU_CHUNKS; chunk++) {
    TD_TRY(lpu_new_scratch(compiler, TD_LPU_F32, count, raw, &scores[chunk]));
    TD_TRY(hide(compiler, slot * self->query_blocks + block + chunk, chunk, raw, scores[chunk]));
  }
  TD_TRY(find_tops(compiler, scores, tops));
  for (int32_t chunk = 0; chunk < LPU_CHUNKS; chunk++) {
    TD_TRY(weigh(compiler, image, chunk, scores[chunk], tops));
  }
  return TD_OK;
}

/* ---- values ---- */

/* A head's values of a block of tokens as rows of elements. */
static td_status turn_values(struct lpu_compiler *compiler, int32_t head, int32_t block, struct lpu_tensor **out) {
  const struct lpu_self *self = &compiler->self;
  int32_t slot = head % self->slots, width = self->head_dim;
  struct lpu_product product = {.chip = compiler->chip, .rows = width, .plane = -1, .blocks = 1};
  product.tiles = tiles_of(self->v + head / self->slots * self->token_blocks + block, true, half_of(compiler, slot),
                           lpu_self_tokens(compiler, block) / compiler->machine->load_vectors);
  TD_TRY(view_both(compiler, self->identity, &product.x, &product.twin));
  const struct lpu_activation identity = {.x = product.x, .twin = product.twin};
  TD_TRY(lpu_new_sums(compiler, TD_LPU_F32, width, 1, &identity, NULL, out));
  product.x_offset = td_lpu_kv_lane(compiler->machine, width, slot);
  product.x_row_stride = 1;
  product.y = *out;
  product.y_row_stride = 1;
  return lpu_product_run(compiler->builder, &product);
}

static td_status keep_values(struct lpu_compiler *compiler, int32_t slot, int32_t block, struct lpu_tensor *turned) {
  const struct lpu_self *self = &compiler->self;
  struct lpu_tensor *out = NULL;
  struct lpu_chain chain;
  TD_TRY(lpu_view(compiler, self->v_turned + slot, &out));
  lpu_chain_begin(&chain, compiler->chip, self->head_dim);
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

/* Loads want all slices of a hemisphere at once: products are placed before what else uses slices. */
static td_status score_vector(struct lpu_compiler *compiler, int32_t vector) {
  const struct lpu_self *self = &compiler->self;
  struct lpu_tensor *raw[LPU_MOST_SLOTS * LPU_MOST_BLOCKS], *turned[LPU_MOST_SLOTS * LPU_MOST_BLOCKS];
  int32_t slots = lpu_self_slots(self, vector), scores = slots * self->query_blocks,
          values = slots * self->token_blocks;
  for (int32_t i = 0; i < scores; i++) {
    int32_t head = vector * self->slots + i / self->query_blocks;
    TD_TRY(raw_scores(compiler, head, i % self->query_blocks, &raw[i]));
  }
  for (int32_t i = 0; i < values; i++) {
    int32_t head = vector * self->slots + i / self->token_blocks;
    TD_TRY(turn_values(compiler, head, i % self->token_blocks, &turned[i]));
  }
  for (int32_t i = 0; i < scores; i++) {
    int32_t head = vector * self->slots + i / self->query_blocks;
    TD_TRY(weigh_block(compiler, head, i % self->query_blocks, raw[i]));
  }
  for (int32_t i = 0; i < values; i++) {
    TD_TRY(keep_values(compiler, i / self->token_blocks, i % self->token_blocks, turned[i]));
  }
  for (int32_t slot = 0; slot < slots; slot++) TD_TRY(add_ones(compiler, slot));
  return TD_OK;
}

static td_status segment_scores(struct lpu_compiler *compiler, int32_t vector, int32_t *out_segment) {
  char name[16];
  TD_TRY(td_format(name, sizeof name, "scores.%d", vector));
  TD_TRY(lpu_open_segment(compiler, name));
  TD_TRY(score_vector(compiler, vector));
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
  TD_TRY(lpu_new_sums(compiler, TD_LPU_F32, width + 1, 1, &(struct lpu_activation){.x = product.x}, NULL, &sums));
  product.x_row_stride = self->token_blocks;
  product.y = sums;
  product.y_row_stride = 1;
  TD_TRY(lpu_product_run(compiler->builder, &product));
  for (int32_t lane = 0; lane < of_word; lane++) {
    struct lpu_tensor *pair = NULL;
    struct lpu_chain chain;
    TD_TRY(lpu_self_pair(compiler, self->mixed + block, lane, &pair));
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
  for (int32_t slot = 0; slot < lpu_self_slots(self, vector); slot++) {
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
  TD_TRY(view_both(compiler, self->identity, &product.x, &product.twin));
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
  int32_t vectors = compiler->q_vectors, half = compiler->machine->lanes / 2;
  struct lpu_tensor *wide = NULL;
  struct lpu_activation identity;
  TD_TRY(view_both(compiler, self->identity, &identity.x, &identity.twin));
  TD_TRY(lpu_new_sums(compiler, TD_LPU_F32, compiler->rows, vectors, &identity, NULL, &wide));
  for (int32_t block = 0; block < self->query_blocks; block++) {
    for (int32_t h = 0; h * half < self->query_lanes; h++) {
      for (int32_t part = 0; part < vectors; part++) TD_TRY(turn_part(compiler, block, h, part, wide));
    }
  }
  *out = wide;
  if (lpu_value_type(compiler) == TD_LPU_F32) return TD_OK;
  TD_TRY(lpu_new_rows(compiler, TD_LPU_F16, compiler->rows, vectors, wide, out));
  for (int32_t v = 0; v < vectors; v++) {
    struct lpu_chain chain;
    lpu_chain_begin(&chain, compiler->chip, compiler->rows);
    struct lpu_operand value = lpu_chain_input(&chain, wide, v, vectors);
    value = lpu_chain_step(&chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
    lpu_chain_result(&chain, value, *out, v, vectors);
    TD_TRY(lpu_chain_run(compiler->builder, &chain));
  }
  return TD_OK;
}
