/* SPDX-License-Identifier: Apache-2.0 */
#include "lpu_codes.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* ---- operations ---- */

static struct td_lpu_code_place sram(int32_t vector) {
  return (struct td_lpu_code_place){vector, 0};
}
/* Through patch 1, which adds MOVED. */
static struct td_lpu_code_place patched(int32_t vector) {
  return (struct td_lpu_code_place){vector - MOVED, 1};
}
static struct td_lpu_code_place work(int32_t vector) {
  return (struct td_lpu_code_place){vector, TD_CODE_WORK};
}

/* The next operation: its result takes `vectors`. */
static struct td_lpu_code_op *next(struct lpu_code *code, int32_t kind, int32_t detail, int32_t vectors) {
  struct td_lpu_code_op *op = &code->ops[code->count++];
  *op = (struct td_lpu_code_op){.kind = kind, .detail = detail, .out = sram(OUT + code->out), .whole = -1, .count = 1};
  op->b = op->c = work(-1);
  code->out += vectors;
  return op;
}

static struct td_lpu_code_op *add_alu(struct lpu_code *code, int32_t detail, int32_t types, int32_t a, int32_t b,
                                      int32_t c) {
  int32_t type = types >> 12 & 15;
  struct td_lpu_code_op *op = next(code, TD_CODE_ALU, detail,
                                   type == TD_OPERAND_F16                           ? 2
                                   : type == TD_OPERAND_I8 || type == TD_OPERAND_F8 ? 1
                                                                                    : 4);
  op->types = types;
  op->a = patched(a);
  op->b = sram(b);
  op->c = sram(c);
  op->immediate = 0x40a80000; /* 5.25 */
  return op;
}

#define TYPES(a, b, c, out) (TD_OPERAND_##a | TD_OPERAND_##b << 4 | TD_OPERAND_##c << 8 | TD_OPERAND_##out << 12)

static void make_floats(struct lpu_code *code) {
  for (int32_t f = TD_CODE_MOVE; f < TD_CODE_TO_I32; f++) {
    add_alu(code, f, TYPES(32, 32, 32, 32), f % 2 ? ODD : A, f % 3 ? B : ODD, A);
  }
  add_alu(code, TD_CODE_MUL, TYPES(F16, IMMEDIATE, NONE, F16), H, 0, 0);
  add_alu(code, TD_CODE_ADD, TYPES(W8, F16, NONE, F16), TILE_I8, H, 0);
  add_alu(code, TD_CODE_MOVE, TYPES(W8, NONE, NONE, I8), TILE_I8 + 1, 0, 0);
}

static void make_integers(struct lpu_code *code) {
  for (int32_t f = TD_CODE_TO_I32; f < TD_CODE_ALU_COUNT; f++) {
    int32_t integer = f == TD_CODE_TO_F32 ? 0 : TD_CODE_INTEGER;
    add_alu(code, f, TYPES(32, 32, NONE, 32) | integer, f == TD_CODE_TO_I32 ? A : I, J, 0);
  }
  add_alu(code, TD_CODE_SHIFT_I32, TYPES(I8, IMMEDIATE, NONE, 32) | TD_CODE_INTEGER, TILE_I8, 0, 0)->immediate = -3;
  add_alu(code, TD_CODE_MOVE, TYPES(I8, NONE, NONE, I8) | TD_CODE_INTEGER, TILE_I8, 0, 0);
}

static void make_moves(struct lpu_code *code) {
  static const int32_t shifts[] = {0, 7, -9, 31, 32, -40};
  for (int32_t by = -17; by <= 17; by += 17) {
    struct td_lpu_code_op *op = next(code, TD_CODE_ROTATE, 0, 4);
    op->count = 4;
    op->a = patched(A);
    op->immediate = by;
  }
  for (size_t i = 0; i < sizeof shifts / sizeof *shifts; i++) {
    struct td_lpu_code_op *op = next(code, TD_CODE_SHIFT, 0, 1);
    op->a = sram(TILE_I8);
    op->immediate = shifts[i];
  }
  for (int32_t i = 0; i < 3; i++) {
    struct td_lpu_code_op *op = next(code, i ? TD_CODE_PERMUTE : TD_CODE_SELECT, i == 2 ? 2 : 0, 5);
    op->count = 5; /* with detail 2, the map is moved by patch 2 */
    op->a = sram(TILE_I8 + i);
    op->b = patched(TILE_I8 + 8);
  }
  struct td_lpu_code_op *turned = next(code, TD_CODE_TRANSPOSE, 0, 16), *copied = next(code, TD_CODE_COPY, 0, 9);
  turned->count = 16;
  turned->a = sram(TILE_I8);
  copied->count = 9;
  copied->a = patched(TILE_F16);
}

/* Sums of a pass, number 0 or 1. `steps`: how many of the tile's, the first not among them if they are not all. */
static void add_pass(struct lpu_code *code, int32_t tile, int32_t a, int32_t steps, int32_t number) {
  bool bytes = tile == TD_TILE_I8 || tile == TD_TILE_F8 || tile == TD_TILE_EIGHTS;
  int32_t all = bytes ? TILE_STEPS : TILE_STEPS / 2;
  struct td_lpu_code_op *op = next(code, TD_CODE_PASS, tile, 0);
  op->a = patched(a);
  op->out = work(-1);
  op->whole = SUMS + 8 * number;
  op->first = (tile == TD_TILE_F16 ? TILE_STEPS : 0) + all - steps;
  op->count = steps;
  op->immediate = bytes ? 0 : 3;
}

/* The same with columns. */
static void add_columns(struct lpu_code *code, int32_t type, int32_t a, int32_t steps, int32_t number) {
  struct td_lpu_code_op *expand = next(code, TD_CODE_EXPAND, type, 0);
  expand->out = work(TILE);
  expand->first = (type == TD_OPERAND_F16 ? TILE_STEPS : 0) + TILE_STEPS - steps;
  expand->count = steps;
  add_pass(code, type == TD_OPERAND_I8 ? TD_TILE_BYTES : TD_TILE_FLOATS, a, 0, number);
  code->ops[code->count - 1].b = work(TILE);
  if (type == TD_OPERAND_I8) code->ops[code->count - 1].immediate = 0;
}

static void add_sum(struct lpu_code *code, int32_t floats, bool both) {
  struct td_lpu_code_op *op = next(code, TD_CODE_SUM, floats, 4);
  op->a = work(SUMS);
  op->b = work(both ? SUMS + 8 : -1);
  op->whole = SUMS + 16;
}

static void make_int8(struct lpu_code *code) {
  for (int32_t steps = 0; steps <= TILE_STEPS; steps += 2) {
    add_pass(code, TD_TILE_I8, TILE_I8, steps, 0);
    add_pass(code, TD_TILE_I8, TILE_I8 + 5, TILE_STEPS, 1);
    add_sum(code, 0, true);
  }
  add_columns(code, TD_OPERAND_I8, TILE_I8 + 3, 3, 0);
  add_sum(code, 0, false);
}

static void make_fp16(struct lpu_code *code) {
  for (int32_t steps = 0; steps <= TILE_STEPS / 2; steps++) {
    add_pass(code, TD_TILE_W8, steps == 1 ? ENDLESS : H, steps, 0);
    add_pass(code, TD_TILE_F16, TILE_F16 + 2, steps, 1);
    add_sum(code, 1, true);
  }
  add_pass(code, TD_TILE_F16, ENDLESS, 2, 0);
  add_sum(code, 1, false);
  add_pass(code, TD_TILE_F16, ORDERED, 2, 0);
  add_sum(code, 1, false);
  add_columns(code, TD_OPERAND_W8, H, 3, 1);
  add_columns(code, TD_OPERAND_F16, TILE_F16, 4, 0);
  add_sum(code, 1, true);
  add_columns(code, TD_OPERAND_F16, ORDERED, 4, 0);
  add_sum(code, 1, false);
}

/* FP8 of either kind; the second's activations have a NaN. */
static void make_fp8(struct lpu_code *code) {
  for (int32_t steps = 0; steps <= TILE_STEPS; steps += 2) {
    add_pass(code, TD_TILE_F8, TILE_I8 + 3, steps, 0);
    add_pass(code, TD_TILE_F8, TILE_I8 + 9, TILE_STEPS, 1);
    add_sum(code, 1, false);
    add_sum(code, 1, true);
  }
  add_pass(code, TD_TILE_F8, TILE_I8 + 9, 1, 0);
  add_sum(code, 1, false);
  for (int32_t steps = 0; steps <= TILE_STEPS / 2; steps++) {
    add_pass(code, TD_TILE_WF8, steps == 1 ? ENDLESS : H, steps, 0);
    add_sum(code, 1, false);
  }
  add_columns(code, TD_OPERAND_F8, H, 3, 0);
  add_sum(code, 1, false);
  add_columns(code, TD_OPERAND_I8, TILE_I8 + 3, 3, 0);
  code->ops[code->count - 1].detail = TD_TILE_EIGHTS;
  add_sum(code, 1, false);
  add_alu(code, TD_CODE_MUL, TYPES(F8, 32, NONE, 32), TILE_I8 + 9, A, 0);
  add_alu(code, TD_CODE_MUL, TYPES(32, IMMEDIATE, NONE, F8), A, 0, 0);
  add_alu(code, TD_CODE_MOVE, TYPES(F8, NONE, NONE, F8), TILE_I8 + 9, 0, 0); /* a NaN has none: it fails */
}

/* ---- code and step as a device reads them ---- */

static int32_t put_words(struct lpu_code *code, const void *from, size_t bytes) {
  int32_t at = code->word_count;
  memcpy(code->words + at, from, bytes);
  code->word_count += (int32_t)(bytes / sizeof *code->words);
  return at;
}

static int32_t put_steps(struct lpu_code *code) {
  int32_t at = code->word_count;
  for (int32_t s = 0; s < CHIPS * 2 * TILE_STEPS; s++) {
    bool halves = s / TILE_STEPS % 2;
    int32_t step = s % TILE_STEPS, from = s / (2 * TILE_STEPS) * VECTORS;
    struct td_lpu_code_load load = {from + (halves ? TILE_F16 + 2 * LOAD * (step % 2) : TILE_I8 + LOAD * step), 0, step,
                                    0};
    put_words(code, &load, sizeof load);
  }
  return at;
}

/* Two maps: lanes turned round with gaps; one lane for all. */
static int32_t put_maps(struct lpu_code *code) {
  int32_t at = code->word_count;
  struct td_lpu_code_map map;
  for (int32_t m = 0; m < 2; m++) {
    memset(&map, 0, sizeof map);
    for (int32_t l = 0; l < TD_CODE_MAP_LANES; l++) map.lane[l] = m ? 9 : l % 5 == 2 || l >= LANES ? -1 : LANES - 1 - l;
    map.pieces = m;
    map.piece[0] = (struct td_lpu_code_map_piece){0, LANES, 9, 0};
    put_words(code, &map, sizeof map);
  }
  return at;
}

static void shift_place(struct td_lpu_code_place *at, int32_t chip) {
  if (at->patch != TD_CODE_WORK) at->vector += chip * VECTORS;
  if (at->patch == TD_CODE_WORK && at->vector >= 0) at->vector += chip * OWN_WORK;
}

/* Operations begin .. end - 1 again, for chip `chip` of the segment. */
static void add_for_chip(struct lpu_code *code, int32_t begin, int32_t end, int32_t chip, int32_t *count) {
  for (int32_t i = begin; i < end; i++) {
    struct td_lpu_code_op *op = &code->all[(*count)++];
    *op = code->ops[i];
    struct td_lpu_code_place *places[] = {&op->out, &op->a, &op->b, &op->c};
    for (int p = 0; p < 4; p++) shift_place(places[p], chip);
    if (op->whole >= 0) op->whole += chip * OWN_WORK;
    if (op->kind == TD_CODE_PASS || op->kind == TD_CODE_EXPAND) op->first += chip * 2 * TILE_STEPS;
  }
}

/* Between phases, each chip takes from the next one what it left in the workspace. */
static void add_links(struct lpu_code *code) {
  struct td_lpu_code_op *give = next(code, TD_CODE_COPY, 0, 0), *take = next(code, TD_CODE_COPY, 0, 3);
  give->count = take->count = 3;
  give->a = patched(ODD);
  give->out = take->a = work(SENT);
}

/* A segment of `chips` chips in two phases. */
static int32_t split_ops(struct lpu_code *code, int32_t chips, struct td_lpu_code_run *runs) {
  int32_t own = code->count, count = 0;
  add_links(code);
  for (int32_t r = 0; r < 2 * chips; r++) {
    int32_t chip = r % chips, second = r / chips, before = count;
    add_for_chip(code, second ? own / 2 : 0, second ? own : own / 2, chip, &count);
    add_for_chip(code, own + second, own + second + 1, chip, &count);
    if (second) code->all[count - 1].a.vector += ((chip + 1) % chips - chip) * OWN_WORK;
    runs[r] = (struct td_lpu_code_run){before, count - before};
  }
  return count;
}

static void put_code(struct lpu_code *code, int32_t chips) {
  struct td_lpu_code_run runs[2 * CHIPS];
  int32_t count = split_ops(code, chips, runs);
  struct td_lpu_code_head head = {.version = TD_CODE_VERSION,
                                  .chips = CHIPS,
                                  .lanes = LANES,
                                  .lanes_per_superlane = 16,
                                  .mem_slices = SLICES,
                                  .mem_words = WORDS,
                                  .load_vectors = LOAD,
                                  .plane_k = LANES,
                                  .work_vectors = WORK,
                                  .segments = 1,
                                  .runs = 2 * chips,
                                  .ops = count,
                                  .steps = CHIPS * 2 * TILE_STEPS,
                                  .maps = 2};
  const struct td_lpu_code_segment segment = {0, 2, chips};
  code->word_count = (int32_t)(sizeof head / sizeof(int32_t));
  head.at_segments = put_words(code, &segment, sizeof segment);
  head.at_runs = put_words(code, runs, (size_t)(2 * chips) * sizeof *runs);
  head.at_ops = put_words(code, code->all, (size_t)count * sizeof *code->all);
  head.at_steps = put_steps(code);
  head.at_maps = put_maps(code);
  head.words = code->word_count;
  memcpy(code->words, &head, sizeof head);
}

/* Two calls, from chip 0 and from the last chip that can be first on. */
static void put_step(struct lpu_code *code, int32_t chips) {
  static const int32_t patches[] = {0, MOVED, 1};
  const struct td_lpu_code_call calls[2] = {{0, 0, 0}, {0, CHIPS - chips, 0}};
  struct td_lpu_code_part parts[4];
  const struct td_lpu_code_step first = {2, 3, 4, chips};
  for (int32_t i = 0; i < 4; i++) parts[i] = (struct td_lpu_code_part){i / 2, 1, i % 2, chips};
  memcpy(code->step, &first, sizeof first);
  memcpy(code->step + 4, parts, sizeof parts);
  memcpy(code->step + 20, calls, sizeof calls);
  memcpy(code->step + 26, patches, sizeof patches);
  code->step_count = 29;
  code->parts = 4;
  code->most_chips = chips;
}

/* ---- SRAM ---- */

static uint32_t noise(uint32_t *seed) {
  *seed = *seed * 1664525u + 1013904223u;
  return *seed >> 8;
}

static void put_planar(uint8_t *at, int lane, uint32_t value, int bytes) {
  for (int i = 0; i < bytes; i++) at[i * LANES + lane] = (uint8_t)(value >> 8 * i);
}

/* Products 2^30, -2^30 and small ones, in lane 3 of the halves' rows and of column 7: what is left tells the order. */
static void fill_ordered(uint8_t *at) {
  static const uint32_t halves[] = {0x7800, 0xf800, 0x0155};
  for (int k = 0; k < LANES / 2; k++) {
    put_planar(at + (TILE_F16 + 2 * k) * LANES, 3, halves[k < 2 ? k : 2], 2);
    put_planar(at + (TILE_F16 + 2 * 7) * LANES, k, halves[k < 2 ? k : 2], 2);
  }
  for (int lane = 0; lane < LANES; lane++) put_planar(at + ORDERED * LANES, lane, lane < 5 ? 0x7800 : 0x0155, 2);
}

void lpu_code_fill(uint8_t *at, uint32_t *seed) {
  static const uint32_t odd[] = {0x00000000, 0x80000000, 0x7f800000, 0xff800000,
                                 0x7fc12345, 0x00000123, 0x807fffff, 0x7f7fffff};
  for (int i = 0; i < VECTORS * LANES; i++) at[i] = (uint8_t)noise(seed);
  for (int lane = 0; lane < LANES; lane++) {
    for (int v = 0; v < 3; v++) {
      float number = ((float)noise(seed) - 8388608.0f) / 2097152.0f;
      uint32_t bits;
      memcpy(&bits, &number, sizeof bits);
      put_planar(at + 4 * v * LANES, lane, v == 1 && lane % 3 == 0 ? odd[noise(seed) % 8] : bits, 4);
    }
    put_planar(at + I * LANES, lane, noise(seed) - 8388608u, 4);
    put_planar(at + J * LANES, lane, noise(seed) % 63 - 31, 4);
    put_planar(at + H * LANES, lane, noise(seed) & 0xbfff, 2);
    put_planar(at + ENDLESS * LANES, lane, lane == 4 ? 0x7c00 : noise(seed) & 0xbfff, 2);
  }
  for (int i = 0; i < LOAD * TILE_STEPS * LANES; i++) { /* no NaNs as FP8, but one */
    uint8_t *byte = &at[TILE_I8 * LANES + i];
    if ((*byte & 0x7f) == 0x7f) *byte ^= 4;
  }
  at[(TILE_I8 + 9) * LANES + 5] = 0xff;
  for (int i = 0; i < 2 * LOAD * TILE_STEPS / 2; i++) {
    for (int lane = 0; lane < LANES; lane++) at[(TILE_F16 + 2 * i + 1) * LANES + lane] &= 0xbf;
  }
  fill_ordered(at);
}

/* ---- codes by number ---- */

static const struct {
  const char *name;
  void (*make)(struct lpu_code *code);
} codes[] = {
    {"floats", make_floats}, {"integers", make_integers}, {"moves", make_moves},
    {"int8", make_int8},     {"fp16", make_fp16},         {"fp8", make_fp8},
};

const char *lpu_code_name(int64_t which) {
  return (size_t)which < sizeof codes / sizeof *codes ? codes[which].name : NULL;
}

void lpu_code_make(struct lpu_code *code, int64_t which, int32_t chips) {
  codes[which].make(code);
  put_code(code, chips);
  put_step(code, chips);
}
