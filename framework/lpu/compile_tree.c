/* SPDX-License-Identifier: Apache-2.0
 *
 * Sums and maxima over lanes, through the switches.
 */
#include <string.h>

#include "compile.h"

/* Iterations between two additions of a chain: so many rows share the switches without being in each other's way. */
static int32_t spacing(const struct lpu_compiler *compiler, enum td_lpu_alu operation) {
  int32_t func = compiler->machine->alu_func[operation] - compiler->machine->delay[TD_LPU_ALU].skew;
  return func > 1 ? func : 1;
}

static struct lpu_operand rotated(struct lpu_chain *chain, struct lpu_tensor *in, int32_t offset) {
  return lpu_chain_via(chain, in, 0, 1, LPU_VIA_ROTATE, offset);
}

static struct lpu_operand moved(struct lpu_chain *chain, struct lpu_operand value) {
  return lpu_chain_step(chain, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing);
}

/* Two rounds of v[l] = v[l] op v[l + offset] inside each superlane, offsets `offset` and half of it, on one way through
 * the switch: (v[0] op v[offset]) op (v[offset / 2] op v[offset / 2 + offset]). The switch rotates one vector a cycle,
 * so the three rotated ones come one after another, and moves hold back who is early. */
static struct lpu_operand two_rounds(struct lpu_chain *chain, const struct lpu_tree *tree, int32_t offset,
                                     struct lpu_tensor *in) {
  struct lpu_operand far = rotated(chain, in, offset);
  struct lpu_operand left = lpu_chain_step(chain, tree->operation, lpu_chain_input(chain, in, 0, 1), far, lpu_nothing);
  left = moved(chain, moved(chain, left));
  struct lpu_operand right = moved(chain, rotated(chain, in, offset + offset / 2));
  struct lpu_operand near = rotated(chain, in, offset / 2);
  /* Operands stay in order: which of two zeros or of two NaNs comes first is part of the numerics. */
  right = lpu_chain_step(chain, tree->operation, near, right, lpu_nothing);
  return lpu_chain_step(chain, tree->operation, left, right, lpu_nothing);
}

static struct lpu_operand one_round(struct lpu_chain *chain, const struct lpu_tree *tree, int32_t offset,
                                    struct lpu_tensor *in) {
  struct lpu_operand here = lpu_chain_input(chain, in, 0, 1);
  return lpu_chain_step(chain, tree->operation, here, rotated(chain, in, offset), lpu_nothing);
}

/* Rows [first, first + n) of `in` to rows 0 .. n - 1 of `out`. */
static td_status tree_rounds(struct lpu_compiler *compiler, const struct lpu_tree *tree, int32_t offset, bool twice,
                             struct lpu_tensor *in, int32_t first, struct lpu_tensor *out, int32_t n) {
  struct lpu_chain chain;
  lpu_chain_begin(&chain, compiler->chip, n);
  chain.chunk = spacing(compiler, tree->operation);
  lpu_chain_result(&chain, twice ? two_rounds(&chain, tree, offset, in) : one_round(&chain, tree, offset, in), out, 0,
                   1);
  for (int32_t i = 0; i < chain.input_count; i++) chain.inputs[i].offset += first;
  return lpu_chain_run(compiler->builder, &chain);
}

static struct lpu_operand finish(struct lpu_chain *chain, const struct lpu_tree *tree, struct lpu_operand total) {
  if (tree->finish == LPU_FINISH_NOTHING) return total;
  if (tree->finish == LPU_FINISH_RECIPROCAL) {
    return lpu_chain_step(chain, TD_ALU_RECIPROCAL, total, lpu_nothing, lpu_nothing);
  }
  struct lpu_operand mean = lpu_chain_step(chain, TD_ALU_MUL, total, lpu_chain_number(tree->scale), lpu_nothing);
  if (tree->finish == LPU_FINISH_MEAN) return mean;
  struct lpu_operand moved = lpu_chain_step(chain, TD_ALU_ADD, mean, lpu_chain_number(tree->epsilon), lpu_nothing);
  return lpu_chain_step(chain, TD_ALU_RSQRT, moved, lpu_nothing, lpu_nothing);
}

/* Lane 0 of every superlane, ascending, into all lanes: the switch spreads one superlane after the other. */
static td_status tree_superlanes(struct lpu_compiler *compiler, const struct lpu_tree *tree, struct lpu_tensor *in,
                                 struct lpu_tensor *out, int32_t first, int32_t n) {
  struct lpu_chain chain;
  lpu_chain_begin(&chain, compiler->chip, n);
  chain.chunk = spacing(compiler, tree->operation);
  const int32_t *maps = tree->width ? tree->maps : compiler->superlane_map;
  int32_t width = tree->width ? tree->width : compiler->machine->lanes;
  struct lpu_operand total = moved(&chain, lpu_chain_via(&chain, in, 0, 1, LPU_VIA_PERMUTE, maps[0]));
  for (int32_t s = 1; s * compiler->machine->lanes_per_superlane < width; s++) {
    struct lpu_operand next = lpu_chain_via(&chain, in, 0, 1, LPU_VIA_PERMUTE, maps[s]);
    total = lpu_chain_step(&chain, tree->operation, total, next, lpu_nothing);
  }
  lpu_chain_result(&chain, finish(&chain, tree, total), out, first, 1);
  return lpu_chain_run(compiler->builder, &chain);
}

/* ---- many rows: their superlanes' sums side by side in one vector ---- */

/* Rows whose sums fill a vector, and the maps that put them there, add them up and spread them. */
static int32_t packed_rows(const struct lpu_compiler *compiler) {
  return compiler->machine->lanes / compiler->machine->superlanes;
}

/* Lane l of row k's superlanes' sums is lane k * superlanes + s of the packed vector. */
static td_status pack_map(struct lpu_compiler *compiler, int32_t k, int32_t *out_map) {
  const struct td_lpu_machine *machine = compiler->machine;
  struct td_lpu_map map;
  memset(&map, 0xff, sizeof map);
  for (int32_t s = 0; s < machine->superlanes; s++) {
    map.lane[k * machine->superlanes + s] = (int16_t)(s * machine->lanes_per_superlane);
  }
  return lpu_add_map(compiler->builder, &map, out_map);
}

/* Lanes of a row's group take its superlane s. */
static td_status step_map(struct lpu_compiler *compiler, int32_t s, int32_t *out_map) {
  int32_t superlanes = compiler->machine->superlanes;
  struct td_lpu_map map;
  memset(&map, 0xff, sizeof map);
  for (int32_t lane = 0; lane < compiler->machine->lanes; lane++) {
    map.lane[lane] = (int16_t)(lane / superlanes * superlanes + s);
  }
  return lpu_add_map(compiler->builder, &map, out_map);
}

static td_status spread_map(struct lpu_compiler *compiler, int32_t k, int32_t *out_map) {
  struct td_lpu_map map;
  memset(&map, 0xff, sizeof map);
  for (int32_t lane = 0; lane < compiler->machine->lanes; lane++) {
    map.lane[lane] = (int16_t)(k * compiler->machine->superlanes);
  }
  return lpu_add_map(compiler->builder, &map, out_map);
}

/* A row has zeros where the others will be: adding them changes nothing but negative zeros. */
static td_status pack(struct lpu_compiler *compiler, struct lpu_tensor *in, struct lpu_tensor *packed) {
  struct lpu_chain chain;
  struct lpu_operand sum = lpu_nothing;
  int32_t rows = packed_rows(compiler);
  lpu_chain_begin(&chain, compiler->chip, packed->count);
  chain.chunk = spacing(compiler, TD_ALU_ADD);
  for (int32_t k = 0; k < rows; k++) {
    int32_t map = 0;
    TD_TRY(pack_map(compiler, k, &map));
    struct lpu_operand next = lpu_chain_via(&chain, in, k, rows, LPU_VIA_PERMUTE, map);
    sum = k == 0 ? moved(&chain, next) : lpu_chain_step(&chain, TD_ALU_ADD, sum, next, lpu_nothing);
  }
  lpu_chain_result(&chain, sum, packed, 0, 1);
  return lpu_chain_run(compiler->builder, &chain);
}

static td_status sum_packed(struct lpu_compiler *compiler, const struct lpu_tree *tree, struct lpu_tensor *packed,
                            struct lpu_tensor *totals) {
  struct lpu_chain chain;
  struct lpu_operand total = lpu_nothing;
  lpu_chain_begin(&chain, compiler->chip, packed->count);
  chain.chunk = spacing(compiler, tree->operation);
  for (int32_t s = 0; s < compiler->machine->superlanes; s++) {
    int32_t map = 0;
    TD_TRY(step_map(compiler, s, &map));
    struct lpu_operand next = lpu_chain_via(&chain, packed, 0, 1, LPU_VIA_PERMUTE, map);
    total = s == 0 ? moved(&chain, next) : lpu_chain_step(&chain, tree->operation, total, next, lpu_nothing);
  }
  lpu_chain_result(&chain, finish(&chain, tree, total), totals, 0, 1);
  return lpu_chain_run(compiler->builder, &chain);
}

/* All rows of `in`, whole groups of them, to rows `first` and on of `out`. */
static td_status tree_packed(struct lpu_compiler *compiler, const struct lpu_tree *tree, struct lpu_tensor *in,
                             struct lpu_tensor *out, int32_t first) {
  int32_t rows = packed_rows(compiler), groups = in->count / rows;
  struct lpu_tensor *packed = NULL, *totals = NULL;
  TD_TRY(lpu_new_inner(compiler, TD_LPU_F32, groups, &packed));
  TD_TRY(lpu_new_inner(compiler, TD_LPU_F32, groups, &totals));
  TD_TRY(pack(compiler, in, packed));
  TD_TRY(sum_packed(compiler, tree, packed, totals));
  for (int32_t k = 0; k < rows; k++) {
    struct lpu_chain chain;
    int32_t map = 0;
    TD_TRY(spread_map(compiler, k, &map));
    lpu_chain_begin(&chain, compiler->chip, groups);
    struct lpu_operand total = moved(&chain, lpu_chain_via(&chain, totals, 0, 1, LPU_VIA_PERMUTE, map));
    lpu_chain_result(&chain, total, out, first + k, rows);
    TD_TRY(lpu_chain_run(compiler->builder, &chain));
  }
  return TD_OK;
}

/* From so many rows on that is quicker: a row alone takes a permutation for each superlane. */
#define MANY_ROWS 32
static bool is_packed(const struct lpu_compiler *compiler, const struct lpu_tree *tree, int32_t n) {
  return n >= MANY_ROWS && n % packed_rows(compiler) == 0 && tree->width == 0 && tree->packs &&
         packed_rows(compiler) <= LPU_CHAIN_INPUTS;
}

/* Rows [first, first + n): both halves of the rows have a switch of their own from the last rounds on. */
static td_status tree_part(struct lpu_compiler *compiler, const struct lpu_tree *tree, struct lpu_tensor *in,
                           struct lpu_tensor *out, int32_t first, int32_t n) {
  int32_t begin = first, widest = compiler->machine->lanes_per_superlane;
  if (tree->width && tree->width < widest) widest = tree->width;
  for (int32_t offset = widest / 2; offset > 0;) {
    bool twice = offset > 1;
    struct lpu_tensor *next = NULL;
    TD_TRY(lpu_new_inner(compiler, TD_LPU_F32, n, &next));
    TD_TRY(tree_rounds(compiler, tree, offset, twice, in, begin, next, n));
    offset /= twice ? 4 : 2;
    in = next;
    begin = 0;
  }
  if (is_packed(compiler, tree, n)) return tree_packed(compiler, tree, in, out, first);
  return tree_superlanes(compiler, tree, in, out, first, n);
}

td_status lpu_lane_tree(struct lpu_compiler *compiler, const struct lpu_tree *tree, struct lpu_tensor *in,
                        struct lpu_tensor *out) {
  int32_t half = (tree->count + 1) / 2, rows = packed_rows(compiler);
  if (half >= MANY_ROWS) half = (half + rows - 1) / rows * rows;
  TD_TRY(tree_part(compiler, tree, in, out, 0, half));
  if (half == tree->count) return TD_OK;
  /* Scratches take turns between the hemispheres: one more, and this half's are opposite to the other's. */
  compiler->place.turn += 1;
  compiler->place.inner_turn += 1;
  return tree_part(compiler, tree, in, out, half, tree->count - half);
}
