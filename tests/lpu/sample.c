/* SPDX-License-Identifier: Apache-2.0
 *
 * Cycles are worked out from the cycle in which a vector passes a unit: fetch() and store() count back and on from it.
 */
#include "lpu/sample.h"

#include <stdlib.h>
#include <string.h>

#define ROWS 16
#define LAYERS 3
#define BLOCKS 4 /* of each sequence */
#define KV_BLOCKS 8
#define BLOCK_TOKENS 32

struct sample {
  struct hand_code *code;
  const struct td_lpu_machine *m;
  int32_t x, w, y, w8, x8, z, running, t8, turned, kv, key, query, scores, moved, out, back, twice, copied;
  int32_t layer_patch;
  uint32_t seed;
};

static const int32_t row_blocks[2][BLOCKS] = {{3, 0, 5, 6}, {1, 7, 2, 4}};
static const struct td_lpu_row step_rows[2] = {{101, row_blocks[0], BLOCKS}, {127, row_blocks[1], BLOCKS}};
static const struct td_lpu_step step = {step_rows, 2};
const struct td_lpu_step *sample_step(void) {
  return &step;
}

/* ---- cycles ---- */

static int32_t position_of(const struct sample *s, int32_t image, int32_t slice) {
  const struct td_lpu_image *at = hand_image_at(s->code, image);
  return td_lpu_memory_position(s->m, at->hemisphere, at->slice + slice);
}
static int32_t toward(int32_t from, int32_t to, int32_t stream) {
  return from < to ? TD_LPU_EAST | stream : stream;
}

/* A READ whose vector passes position `at` in cycle `when`. */
static int32_t fetch(struct sample *s, int32_t when, int32_t at, int32_t image, int32_t slice, int32_t word,
                     int32_t stream) {
  int32_t from = position_of(s, image, slice), way = abs(at - from);
  return hand_read(s->code, when - way - s->m->delay[TD_LPU_MEMORY].func, image, slice, word, toward(from, at, stream));
}
/* A WRITE of what `producer` puts on a stream at position `from` in cycle `when`. */
static int32_t store(struct sample *s, int32_t when, int32_t from, int32_t image, int32_t slice, int32_t word,
                     int32_t stream, int32_t producer, int32_t component) {
  int32_t to = position_of(s, image, slice);
  int32_t write = hand_write(s->code, when + abs(to - from) - s->m->memory_write_skew, image, slice, word,
                             toward(from, to, stream));
  hand_means(s->code, write, 0, producer, component);
  return write;
}
/* All bytes of a vector's type, from slice 0 on, repeated. The last handle: the others are just before it. */
static int32_t fetch_all(struct sample *s, int32_t when, int32_t at, int32_t image, int32_t word, int32_t stream,
                         int32_t bytes, int32_t repeat, int32_t gap) {
  int32_t read = 0;
  for (int32_t b = 0; b < bytes; b++) {
    read = fetch(s, when, at, image, b, word, stream + b);
    hand_repeat(s->code, read, repeat, gap, 1);
  }
  return read;
}
static void store_all(struct sample *s, int32_t when, int32_t from, int32_t image, int32_t word, int32_t stream,
                      int32_t bytes, int32_t producer, int32_t repeat, int32_t gap) {
  for (int32_t b = 0; b < bytes; b++) {
    hand_repeat(s->code, store(s, when, from, image, b, word, stream + b, producer, b), repeat, gap, 1);
  }
}
/* Operands `operand` .. are the bytes that fetch_all read. */
static void means_fetched(struct sample *s, int32_t instruction, int32_t operand, int32_t last, int32_t bytes) {
  for (int32_t b = 0; b < bytes; b++) hand_means(s->code, instruction, operand + b, last - bytes + 1 + b, 0);
}

/* ---- data ---- */

static uint32_t random_bits(struct sample *s) {
  s->seed = s->seed * 1664525u + 1013904223u;
  return s->seed >> 8;
}
/* Small numbers of the image's type: fp16 of -2 .. 2, int8 of -60 .. 60. */
static void fill(struct sample *s, int32_t image) {
  const struct td_lpu_image *at = hand_image_at(s->code, image);
  size_t lanes = (size_t)s->m->lanes, vectors = (size_t)at->words * (size_t)at->slices;
  uint8_t *bytes = malloc(vectors * lanes);
  if (!bytes) abort();
  for (size_t v = 0; v < vectors; v++) {
    for (size_t l = 0; l < lanes; l++) {
      uint32_t bits = random_bits(s);
      bool high = at->type == TD_LPU_F16 && v % (size_t)at->slices % 2 == 1;
      bytes[v * lanes + l] = (uint8_t)(at->type == TD_LPU_I8 ? bits % 121 - 60 : high ? (bits & 0x83) | 0x38 : bits);
    }
  }
  hand_image_data(s->code, image, bytes);
  free(bytes);
}
static int32_t image(struct sample *s, const char *name, enum td_lpu_image_kind kind, enum td_lpu_type type,
                     int32_t chip, int32_t hemisphere, int32_t slice, int32_t slices, int32_t word, int32_t words) {
  return hand_image(s->code, name, kind, type, chip, hemisphere, slice, slices, word, words);
}
static void add_images(struct sample *s) {
  s->x = image(s, "x", TD_IMAGE_CONSTANT, TD_LPU_F16, 0, 1, 4, 2, 0, ROWS);
  s->w = image(s, "w", TD_IMAGE_WEIGHT, TD_LPU_F16, 0, 1, 8, 32, 0, 2 * LAYERS);
  s->y = image(s, "y", TD_IMAGE_SCRATCH, TD_LPU_F32, 0, 1, 0, 4, 0, ROWS);
  s->w8 = image(s, "w8", TD_IMAGE_WEIGHT, TD_LPU_I8, 0, 0, 8, 16, 0, 2);
  s->x8 = image(s, "x8", TD_IMAGE_CONSTANT, TD_LPU_I8, 0, 0, 4, 1, 0, ROWS);
  s->z = image(s, "z", TD_IMAGE_OUTPUT, TD_LPU_F32, 0, 0, 0, 4, 0, ROWS);
  s->running = image(s, "running", TD_IMAGE_OUTPUT, TD_LPU_F16, 0, 0, 6, 2, 0, ROWS);
  s->t8 = image(s, "t8", TD_IMAGE_CONSTANT, TD_LPU_I8, 0, 1, 8, 16, 100, 1);
  s->turned = image(s, "turned", TD_IMAGE_OUTPUT, TD_LPU_I8, 0, 1, 24, 16, 100, 1);
  s->kv = image(s, "kv", TD_IMAGE_KV, TD_LPU_F16, 0, 1, 8, 32, 16, 2 * KV_BLOCKS + 1);
  s->key = image(s, "key", TD_IMAGE_CONSTANT, TD_LPU_F16, 0, 1, 6, 2, 0, 2);
  s->query = image(s, "query", TD_IMAGE_CONSTANT, TD_LPU_F16, 0, 1, 4, 2, 100, 2);
  s->scores = image(s, "scores", TD_IMAGE_OUTPUT, TD_LPU_F32, 0, 1, 0, 4, 100, 2 * BLOCKS);
  s->moved = image(s, "moved", TD_IMAGE_OUTPUT, TD_LPU_F32, 0, 1, 0, 4, 40, 4);
  s->out = image(s, "out", TD_IMAGE_OUTPUT, TD_LPU_F32, 1, 1, 0, 4, 0, ROWS);
  s->back = image(s, "back", TD_IMAGE_OUTPUT, TD_LPU_F32, 0, 1, 0, 4, 60, 2);
  s->twice = image(s, "twice", TD_IMAGE_SCRATCH, TD_LPU_I8, 0, 0, 20, 1, 100, ROWS);
  s->copied = image(s, "copied", TD_IMAGE_OUTPUT, TD_LPU_I8, 0, 0, 30, 1, 100, ROWS);
  const int32_t filled[] = {s->x, s->w, s->w8, s->x8, s->t8, s->key, s->query};
  for (size_t i = 0; i < sizeof filled / sizeof *filled; i++) fill(s, filled[i]);
  hand_image_matrix(s->code, s->scores, 2, BLOCKS * BLOCK_TOKENS, 0);
}

/* ---- y = x * w, fp16, two parts of k, the second's load behind the first's passes ---- */

static int32_t load_part(struct sample *s, int32_t part, int32_t issue) {
  int32_t at = td_lpu_matrix_position(s->m, 1), load = 0;
  for (int32_t v = 0; v < 32; v++) {
    int32_t read = fetch(s, issue + s->m->delay[TD_LPU_LOAD].skew, at, s->w, v, part, v);
    hand_patched(s->code, read, 0, s->layer_patch);
  }
  load = hand_load(s->code, issue, 0, 2, TD_LPU_F16, 0, TD_LPU_EAST);
  for (int32_t v = 0; v < 32; v++) hand_means(s->code, load, v, load - 32 + v, 0);
  return load;
}
static int32_t pass_part(struct sample *s, int32_t part, int32_t issue, int32_t install) {
  int32_t at = td_lpu_matrix_position(s->m, 1);
  int32_t read = fetch_all(s, issue + s->m->delay[TD_LPU_PASS].skew, at, s->x, 0, 0, 2, ROWS, 1);
  int32_t pass = hand_pass(s->code, issue, 0, 2, TD_LPU_F16, TD_LPU_EAST, part);
  hand_repeat(s->code, pass, ROWS, 1, 0);
  means_fetched(s, pass, 0, read, 2);
  hand_meaning(s->code, pass, (struct td_lpu_meaning){TD_MEANING_ARRAY, 0, 0, ROWS, install, 0, 0});
  return pass;
}
static int32_t install_part(struct sample *s, int32_t issue, int32_t load) {
  int32_t install = hand_install(s->code, issue, 0, 2);
  hand_means(s->code, install, TD_MEANING_STEP, load, 0);
  return install;
}
static void add_product(struct sample *s) {
  hand_segment(s->code, "product", 160);
  struct td_lpu_patch layer = {.lane = -1};
  layer.coefficient[TD_VAR_LAYER] = 2;
  layer.high[TD_VAR_LAYER] = LAYERS - 1;
  s->layer_patch = hand_patch(s->code, &layer);
  int32_t first = load_part(s, 0, 40), second = load_part(s, 1, 47), func = s->m->delay[TD_LPU_PASS].func;
  int32_t pass = pass_part(s, 0, 50, install_part(s, 46, first));
  int32_t keep = hand_sum(s->code, 50 + func, 0, 2, TD_LPU_F32, TD_LPU_KEEP, 0, TD_LPU_NO_STREAM);
  hand_repeat(s->code, keep, ROWS, 1, 1);
  hand_means(s->code, keep, TD_MEANING_ROW, pass, 0);
  pass = pass_part(s, 1, 72, install_part(s, 68, second));
  int32_t emit = hand_sum(s->code, 72 + func, 0, 2, TD_LPU_F32, TD_LPU_ADD | TD_LPU_EMIT, 0, 0);
  hand_repeat(s->code, emit, ROWS, 1, 1);
  hand_means(s->code, emit, TD_MEANING_ROW, pass, 0);
  hand_means(s->code, emit, TD_MEANING_TOTAL, keep, 0);
  store_all(s, 72 + func + s->m->delay[TD_LPU_SUM].func, td_lpu_matrix_position(s->m, 1), s->y, 0, 0, 4, emit, ROWS, 1);
}

/* ---- z = 0.5 * (x8 * w8) + y, and its running sum in fp16 ---- */

static int32_t add_int8(struct sample *s) {
  int32_t skew = s->m->delay[TD_LPU_LOAD].skew, read = 0;
  for (int32_t v = 0; v < 16; v++) {
    read = fetch(s, 40 + skew, 0, s->w8, v, 0, v);
    hand_repeat(s->code, read, 2, 1, 1);
  }
  int32_t load = hand_load(s->code, 40, 0, 0, TD_LPU_I8, 0, 0);
  hand_repeat(s->code, load, 2, 1, 1);
  means_fetched(s, load, 0, read, 16);
  int32_t install = hand_install(s->code, 47, 0, 0);
  hand_meaning(s->code, install, (struct td_lpu_meaning){TD_MEANING_STEP, 0, 0, 1, load, 0, 0});
  hand_meaning(s->code, install, (struct td_lpu_meaning){TD_MEANING_STEP, 1, 0, 1, load, 0, 1});
  read = fetch_all(s, 50 + s->m->delay[TD_LPU_PASS].skew, 0, s->x8, 0, 0, 1, ROWS, 3);
  int32_t pass = hand_pass(s->code, 50, 0, 0, TD_LPU_I8, 0, 0);
  hand_repeat(s->code, pass, ROWS, 3, 0);
  hand_means(s->code, pass, 0, read, 0);
  hand_meaning(s->code, pass, (struct td_lpu_meaning){TD_MEANING_ARRAY, 0, 0, ROWS, install, 0, 0});
  int32_t sum =
      hand_sum(s->code, 50 + s->m->delay[TD_LPU_PASS].func, 0, 0, TD_LPU_I32, TD_LPU_EMIT, 0, TD_LPU_EAST | 4);
  hand_repeat(s->code, sum, ROWS, 3, 0);
  hand_means(s->code, sum, TD_MEANING_ROW, pass, 0);
  return sum;
}
/* An ALU operation that reads its operands in cycle `when`, ROWS times, three cycles apart. */
static int32_t alu(struct sample *s, int32_t when, int32_t number, enum td_lpu_alu operation, enum td_lpu_type type,
                   int32_t out) {
  int32_t at = hand_alu(s->code, when - s->m->delay[TD_LPU_ALU].skew, 0, number, operation, type, out);
  hand_repeat(s->code, at, ROWS, 3, 0);
  return at;
}
/* Each adds to the sum of those before, which comes back from the ALU itself. */
static void add_running(struct sample *s, int32_t when, int32_t sum) {
  int32_t skew = s->m->delay[TD_LPU_ALU].skew, add = s->m->alu_func[TD_ALU_ADD];
  int32_t start = alu(s, when, 3, TD_ALU_ADD, TD_LPU_F16, 8);
  hand_repeat(s->code, start, 1, 1, 0);
  hand_chain(s->code, start, 0, 2);
  hand_value(s->code, start, 1, 0);
  hand_means(s->code, start, 0, sum, 0);
  int32_t more = alu(s, when + add - skew, 3, TD_ALU_ADD, TD_LPU_F16, 8);
  hand_repeat(s->code, more, ROWS - 1, 3, 0);
  hand_chain(s->code, more, 0, 2);
  hand_chain(s->code, more, 1, 3);
  hand_meaning(s->code, more, (struct td_lpu_meaning){0, 0, 0, ROWS, sum, 1, 1});
  hand_meaning(s->code, more, (struct td_lpu_meaning){1, 0, 0, 1, start, 0, 0});
  hand_meaning(s->code, more, (struct td_lpu_meaning){1, 0, 1, ROWS, more, 1, -1});
  int32_t vector = td_lpu_vector_position(s->m);
  store_all(s, when - skew + add, vector, s->running, 0, 8, 2, start, 1, 1);
  store_all(s, when - skew + add + 3, vector, s->running, 1, 8, 2, more, ROWS - 1, 3);
}
static void add_chain(struct sample *s) {
  hand_segment(s->code, "chain", 240);
  int32_t vector = td_lpu_vector_position(s->m), skew = s->m->delay[TD_LPU_ALU].skew;
  int32_t sum = add_int8(s), when = 50 + s->m->delay[TD_LPU_PASS].func + s->m->delay[TD_LPU_SUM].func + vector;
  int32_t real = alu(s, when, 0, TD_ALU_TO_F32, TD_LPU_F32, TD_LPU_NO_STREAM);
  hand_from(s->code, real, 0, TD_LPU_I32, TD_LPU_EAST | 4);
  hand_means_all(s->code, real, 0, sum, 0, 4);
  when += s->m->alu_func[TD_ALU_TO_F32] - skew;
  int32_t half = alu(s, when, 1, TD_ALU_MUL, TD_LPU_F32, TD_LPU_NO_STREAM);
  hand_chain(s->code, half, 0, 0);
  hand_value(s->code, half, 1, 0.5F);
  hand_means(s->code, half, 0, real, 0);
  when += s->m->alu_func[TD_ALU_MUL] - skew;
  int32_t add = alu(s, when, 2, TD_ALU_ADD, TD_LPU_F32, 0);
  int32_t read = fetch_all(s, when, vector, s->y, 0, 4, 4, ROWS, 3);
  hand_chain(s->code, add, 0, 1);
  hand_from(s->code, add, 1, TD_LPU_F32, 4);
  hand_means(s->code, add, 0, half, 0);
  means_fetched(s, add, 1, read, 4);
  when += s->m->alu_func[TD_ALU_ADD] - skew;
  store_all(s, when, vector, s->z, 0, 0, 4, add, ROWS, 3);
  add_running(s, when, add);
}

/* ---- the switch of hemisphere 1: y moved in four ways, 16 vectors transposed ---- */

static int32_t switch_operand(struct sample *s, int32_t issue, enum td_lpu_opcode opcode, int32_t from, int32_t word,
                              int32_t stream) {
  int32_t at = td_lpu_switch_position(s->m, 1);
  return fetch_all(s, issue + s->m->delay[opcode].skew, at, from, word, stream, 4, 1, 1);
}
static void switch_result(struct sample *s, int32_t issue, enum td_lpu_opcode opcode, int32_t word, int32_t instruction,
                          int32_t read) {
  means_fetched(s, instruction, 0, read, 4);
  store_all(s, issue + s->m->delay[opcode].func, td_lpu_switch_position(s->m, 1), s->moved, word, 8, 4, instruction, 1,
            1);
}
static void add_transpose(struct sample *s, int32_t issue) {
  int32_t at = td_lpu_switch_position(s->m, 1), east = TD_LPU_EAST;
  for (int32_t v = 0; v < 16; v++) fetch(s, issue + s->m->delay[TD_LPU_TRANSPOSE].skew, at, s->t8, v, 0, v);
  int32_t turn = hand_transpose(s->code, issue, 0, 1, east, 16);
  for (int32_t v = 0; v < 16; v++) hand_means(s->code, turn, v, turn - 16 + v, 0);
  for (int32_t v = 0; v < 16; v++) {
    store(s, issue + s->m->delay[TD_LPU_TRANSPOSE].func, at, s->turned, v, 0, 16 + v, turn, v);
  }
}
static void add_moves(struct sample *s) {
  int16_t lanes[TD_LPU_MOST_LANES];
  for (int32_t l = 0; l < s->m->lanes; l++) lanes[l] = (int16_t)(l % 5 == 4 ? -1 : s->m->lanes - 1 - l);
  int32_t map = hand_map(s->code, lanes), east = TD_LPU_EAST;
  hand_segment(s->code, "moves", 160);
  int32_t read = switch_operand(s, 30, TD_LPU_ROTATE, s->y, 0, 0);
  switch_result(s, 30, TD_LPU_ROTATE, 0, hand_rotate(s->code, 30, 0, 1, 4, east, 8, 3), read);
  read = switch_operand(s, 40, TD_LPU_SHIFT, s->y, 1, 0);
  switch_result(s, 40, TD_LPU_SHIFT, 1, hand_shift(s->code, 40, 0, 1, 4, east, 8, -5), read);
  read = switch_operand(s, 50, TD_LPU_PERMUTE, s->y, 2, 0);
  switch_result(s, 50, TD_LPU_PERMUTE, 2, hand_permute(s->code, 50, 0, 1, 4, east, 8, map), read);
  int32_t other = switch_operand(s, 62, TD_LPU_SELECT, s->z, 4, 4);
  read = switch_operand(s, 62, TD_LPU_SELECT, s->y, 3, 0);
  int32_t select = hand_select(s->code, 62, 0, 1, 4, east, east | 4, 8, map);
  means_fetched(s, select, 4, other, 4);
  switch_result(s, 62, TD_LPU_SELECT, 3, select, read);
  add_transpose(s, 80);
}

/* ---- KV: append a row's key; a block's scores ---- */

static struct td_lpu_patch kv_patch(void) {
  struct td_lpu_patch patch = {.lane = -1};
  patch.coefficient[TD_VAR_KV_BLOCK] = 2;
  patch.high[TD_VAR_KV_BLOCK] = KV_BLOCKS - 1;
  return patch;
}
static struct td_lpu_patch row_patch(int32_t words) {
  struct td_lpu_patch patch = {.lane = -1};
  patch.coefficient[TD_VAR_ROW] = words;
  patch.high[TD_VAR_ROW] = 1;
  return patch;
}
static void add_append(struct sample *s) {
  hand_segment(s->code, "append", 40);
  struct td_lpu_patch by_row = row_patch(1), by_block = kv_patch();
  int32_t patch = hand_patch(s->code, &by_row), from = position_of(s, s->key, 0);
  int32_t func = s->m->delay[TD_LPU_MEMORY].func, reads[2];
  for (int32_t b = 0; b < 2; b++) {
    reads[b] = hand_read(s->code, 4, s->key, b, 0, TD_LPU_EAST | b);
    hand_patched(s->code, reads[b], 0, patch);
  }
  by_block.coefficient[TD_VAR_SLOT] = 1;
  by_block.high[TD_VAR_SLOT] = 1;
  by_block.otherwise = hand_image_at(s->code, s->kv)->word + 2 * KV_BLOCKS;
  for (int32_t lane = 0; lane < 16; lane++) {
    by_block.lane = lane;
    patch = hand_patch(s->code, &by_block);
    for (int32_t b = 0; b < 2; b++) {
      int32_t write = store(s, 4 + func, from, s->kv, 2 * lane + b, 0, b, reads[b], 0);
      hand_patched(s->code, write, 1, patch);
    }
  }
}
static void add_scores(struct sample *s) {
  hand_segment(s->code, "scores", 140);
  struct td_lpu_patch by_block = kv_patch(), by_row = row_patch(1), by_both = row_patch(BLOCKS);
  by_both.coefficient[TD_VAR_BLOCK] = 1;
  by_both.high[TD_VAR_BLOCK] = BLOCKS - 1;
  int32_t block = hand_patch(s->code, &by_block), row = hand_patch(s->code, &by_row);
  int32_t both = hand_patch(s->code, &by_both), at = td_lpu_matrix_position(s->m, 1);
  for (int32_t v = 0; v < 32; v++) {
    int32_t read = fetch(s, 40 + s->m->delay[TD_LPU_LOAD].skew, at, s->kv, v, 0, v);
    hand_repeat(s->code, read, 2, 1, 1);
    hand_patched(s->code, read, 0, block);
  }
  int32_t load = hand_load_columns(s->code, 40, 0, 2, TD_LPU_F16, 0, TD_LPU_EAST, 0);
  hand_repeat(s->code, load, 2, 1, 1);
  for (int32_t v = 0; v < 32; v++) hand_means(s->code, load, v, load - 32 + v, 0);
  int32_t install = hand_install(s->code, 62, 0, 2);
  hand_meaning(s->code, install, (struct td_lpu_meaning){TD_MEANING_STEP, 0, 0, 1, load, 0, 0});
  hand_meaning(s->code, install, (struct td_lpu_meaning){TD_MEANING_STEP, 1, 0, 1, load, 0, 1});
  int32_t issue = 70, read = fetch_all(s, issue + s->m->delay[TD_LPU_PASS].skew, at, s->query, 0, 0, 2, 1, 1);
  hand_patched(s->code, read, 0, row);
  hand_patched(s->code, read - 1, 0, row);
  int32_t pass = hand_pass(s->code, issue, 0, 2, TD_LPU_F16, TD_LPU_EAST, 0);
  means_fetched(s, pass, 0, read, 2);
  hand_means(s->code, pass, TD_MEANING_ARRAY, install, 0);
  issue += s->m->delay[TD_LPU_PASS].func;
  int32_t sum = hand_sum(s->code, issue, 0, 2, TD_LPU_F32, TD_LPU_EMIT, 0, 0);
  hand_means(s->code, sum, TD_MEANING_ROW, pass, 0);
  for (int32_t b = 0; b < 4; b++) {
    int32_t write = store(s, issue + s->m->delay[TD_LPU_SUM].func, at, s->scores, b, 0, b, sum, b);
    hand_patched(s->code, write, 1, both);
  }
}

/* ---- z to chip 1 over its link 1, two rows of it back ---- */

static void add_exchange(struct sample *s) {
  hand_segment(s->code, "exchange", 660);
  int32_t start = 30, west = td_lpu_matrix_position(s->m, 0), east = td_lpu_matrix_position(s->m, 1);
  for (int32_t b = 0; b < 4; b++, start += 8 * ROWS) {
    int32_t read = fetch(s, start + s->m->delay[TD_LPU_SEND].skew, west, s->z, b, 0, b);
    hand_repeat(s->code, read, ROWS, 8, 1);
    int32_t send = hand_send(s->code, start, 0, 0, b);
    hand_repeat(s->code, send, ROWS, 8, 0);
    hand_means(s->code, send, 0, read, 0);
    int32_t receive = hand_receive(s->code, start + s->m->link_latency, 1, 1, b);
    hand_repeat(s->code, receive, ROWS, 8, 0);
    hand_means(s->code, receive, TD_MEANING_SENT, send, 0);
    int32_t put = start + s->m->link_latency + s->m->delay[TD_LPU_RECEIVE].func;
    hand_repeat(s->code, store(s, put, east, s->out, b, 0, b, receive, 0), ROWS, 8, 1);
  }
}
static void add_return(struct sample *s) {
  hand_segment(s->code, "return", 260);
  int32_t start = 40, west = td_lpu_matrix_position(s->m, 0), east = td_lpu_matrix_position(s->m, 1);
  for (int32_t b = 0; b < 4; b++, start += 24) {
    int32_t read = fetch(s, start + s->m->delay[TD_LPU_SEND].skew, west, s->out, b, 2, b);
    hand_repeat(s->code, read, 2, 8, 1);
    int32_t send = hand_send(s->code, start, 1, 0, b);
    hand_repeat(s->code, send, 2, 8, 0);
    hand_means(s->code, send, 0, read, 0);
    int32_t receive = hand_receive(s->code, start + s->m->link_latency, 0, 1, b);
    hand_repeat(s->code, receive, 2, 8, 0);
    hand_means(s->code, receive, TD_MEANING_SENT, send, 0);
    int32_t put = start + s->m->link_latency + s->m->delay[TD_LPU_RECEIVE].func;
    hand_repeat(s->code, store(s, put, east, s->back, b, 0, b, receive, 0), 2, 8, 1);
  }
}

/* ---- x8 copied twice: words written and read in one segment ---- */

static void add_copies(struct sample *s) {
  hand_segment(s->code, "copies", 80);
  int32_t from = position_of(s, s->x8, 0), way = position_of(s, s->twice, 0), func = s->m->delay[TD_LPU_MEMORY].func;
  int32_t read = hand_read(s->code, 0, s->x8, 0, 0, 5);
  hand_repeat(s->code, read, ROWS, 2, 1);
  int32_t write = store(s, func, from, s->twice, 0, 0, 5, read, 0);
  hand_repeat(s->code, write, ROWS, 2, 1);
  for (int32_t row = 0; row < ROWS; row++) {
    int32_t again = hand_read(s->code, 40 + row, s->twice, 0, row, 9);
    hand_meaning(s->code, again, (struct td_lpu_meaning){TD_MEANING_WORD, 0, 0, 1, write, 0, row});
    store(s, 40 + row + func, way, s->copied, 0, row, 9, again, 0);
  }
}

static void add_links(struct sample *s) {
  enum { PRODUCT, CHAIN, MOVES, APPEND, SCORES, EXCHANGE, RETURN, COPIES };
  hand_entry(s->code, 2);
  hand_loop(s->code, TD_VAR_LAYER, 0, LAYERS);
  hand_run(s->code, PRODUCT, 0);
  hand_end(s->code);
  hand_run(s->code, CHAIN, 0);
  hand_run(s->code, MOVES, 0);
  hand_loop(s->code, TD_VAR_ROW, 0, 0);
  hand_run(s->code, APPEND, 0);
  hand_loop(s->code, TD_VAR_BLOCK, 0, 0);
  hand_run(s->code, SCORES, 0);
  hand_end(s->code);
  hand_end(s->code);
  hand_run(s->code, EXCHANGE, 0);
  hand_run(s->code, RETURN, 0);
  hand_run(s->code, COPIES, 0);
}

struct td_lpu_program *sample_program(const struct td_lpu_machine *machine) {
  struct sample s = {.code = hand_begin(machine, 2), .m = machine, .seed = 5};
  hand_kv_block(s.code, BLOCK_TOKENS);
  add_images(&s);
  add_product(&s);
  add_chain(&s);
  add_moves(&s);
  add_append(&s);
  add_scores(&s);
  add_exchange(&s);
  add_return(&s);
  add_copies(&s);
  add_links(&s);
  return hand_finish(s.code);
}
