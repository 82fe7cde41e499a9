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

/* ---- many rows: as many as a superlane has lanes, in one vector ---- */

/* Rows of a vector: the lanes of a superlane. */
static int32_t packed_rows(const struct lpu_compiler *compiler) {
  return compiler->machine->lanes_per_superlane;
}

/* Two rows become one: lanes without `offset` in their number go on with the even row, the others with the odd one. Of
 * each, a map takes the nearer operand and one the farther; the lanes of the other row are zeros. */
struct halving {
  int32_t near, far; /* maps */
};

static td_status halving_map(struct lpu_compiler *compiler, int32_t offset, bool odd, bool far, int32_t *out_map) {
  struct td_lpu_map map;
  memset(&map, 0xff, sizeof map);
  for (int32_t lane = 0; lane < compiler->machine->lanes; lane++) {
    bool has = (lane % compiler->machine->lanes_per_superlane & offset) != 0;
    if (has == odd) map.lane[lane] = (int16_t)((lane & ~offset) + (far ? offset : 0));
  }
  return lpu_add_map(compiler->builder, &map, out_map);
}

/* The even or odd rows of `in`, two halves of their lanes combined. The switch permutes one vector a cycle: the nearer
 * ones come first, and a move holds them back. */
static td_status halve(struct lpu_compiler *compiler, struct lpu_chain *chain, const struct lpu_tree *tree,
                       int32_t offset, bool odd, struct lpu_tensor *in, int32_t first, struct lpu_operand *out) {
  int32_t near = 0, far = 0;
  TD_TRY(halving_map(compiler, offset, odd, false, &near));
  TD_TRY(halving_map(compiler, offset, odd, true, &far));
  struct lpu_operand a = moved(chain, lpu_chain_via(chain, in, first + odd, 2, LPU_VIA_PERMUTE, near));
  struct lpu_operand b = lpu_chain_via(chain, in, first + odd, 2, LPU_VIA_PERMUTE, far);
  *out = lpu_chain_step(chain, tree->operation, a, b, lpu_nothing);
  return TD_OK;
}

/* Rows first + 2 i and first + 2 i + 1 of `in` to vector i of `out`. Adding zeros changes nothing but negative zeros.
 */
static td_status pack_round(struct lpu_compiler *compiler, const struct lpu_tree *tree, int32_t offset,
                            struct lpu_tensor *in, int32_t first, struct lpu_tensor *out) {
  struct lpu_operand even, odd;
  struct lpu_chain chain;
  lpu_chain_begin(&chain, compiler->chip, out->count);
  chain.chunk = spacing(compiler, tree->operation);
  TD_TRY(halve(compiler, &chain, tree, offset, false, in, first, &even));
  even = moved(&chain, moved(&chain, even));
  TD_TRY(halve(compiler, &chain, tree, offset, true, in, first, &odd));
  lpu_chain_result(&chain, lpu_chain_step(&chain, TD_ALU_ADD, even, odd, lpu_nothing), out, 0, 1);
  return lpu_chain_run(compiler->builder, &chain);
}

/* Lanes take those of superlane s. */
static td_status step_map(struct lpu_compiler *compiler, int32_t s, int32_t *out_map) {
  int32_t rows = packed_rows(compiler);
  struct td_lpu_map map;
  memset(&map, 0xff, sizeof map);
  for (int32_t lane = 0; lane < compiler->machine->lanes; lane++) map.lane[lane] = (int16_t)(s * rows + lane % rows);
  return lpu_add_map(compiler->builder, &map, out_map);
}

/* All lanes take that of row k: the rounds put the last bit of its number first. */
static td_status spread_map(struct lpu_compiler *compiler, int32_t k, int32_t *out_map) {
  struct td_lpu_map map;
  int32_t place = 0;
  for (int32_t bit = 1, at = packed_rows(compiler) / 2; at > 0; bit *= 2, at /= 2) place += k & bit ? at : 0;
  memset(&map, 0xff, sizeof map);
  for (int32_t lane = 0; lane < compiler->machine->lanes; lane++) map.lane[lane] = (int16_t)place;
  return lpu_add_map(compiler->builder, &map, out_map);
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

/* `n` rows of `in` from `begin` on, whole groups of them, to rows `first` and on of `out`. */
static td_status tree_packed(struct lpu_compiler *compiler, const struct lpu_tree *tree, struct lpu_tensor *in,
                             int32_t begin, struct lpu_tensor *out, int32_t first, int32_t n) {
  int32_t rows = packed_rows(compiler), groups = n / rows;
  struct lpu_tensor *totals = NULL;
  for (int32_t offset = rows / 2; offset > 0; offset /= 2, begin = 0) {
    struct lpu_tensor *next = NULL;
    n /= 2;
    TD_TRY(lpu_new_inner(compiler, TD_LPU_F32, n, &next));
    TD_TRY(pack_round(compiler, tree, offset, in, begin, next));
    in = next;
  }
  TD_TRY(lpu_new_inner(compiler, TD_LPU_F32, groups, &totals));
  TD_TRY(sum_packed(compiler, tree, in, totals));
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
  int32_t rows = packed_rows(compiler);
  return n >= MANY_ROWS && n % rows == 0 && tree->width == 0 && tree->packs && (rows & (rows - 1)) == 0;
}

/* Rows [begin, begin + n) of `in`, to rows `first` and on of `out`: both halves of the rows have a switch of their own,
 * from the last rounds on or, if `in` is one of two, from the first. */
static td_status tree_part(struct lpu_compiler *compiler, const struct lpu_tree *tree, struct lpu_tensor *in,
                           int32_t begin, struct lpu_tensor *out, int32_t first, int32_t n) {
  int32_t widest = compiler->machine->lanes_per_superlane;
  if (is_packed(compiler, tree, n)) return tree_packed(compiler, tree, in, begin, out, first, n);
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
  return tree_superlanes(compiler, tree, in, out, first, n);
}

/* Halves, as above; of many rows those of the products' turns. */
int32_t lpu_tree_rows(const struct lpu_compiler *compiler, int32_t count) {
  int32_t once = lpu_rows_at_once(compiler, count), half = (once + 1) / 2, rows = packed_rows(compiler);
  half = half >= MANY_ROWS ? (half + rows - 1) / rows * rows : half;
  return once < count && (once % half || (count + half - 1) / half > LPU_TREE_PARTS) ? (count + 1) / 2 : half;
}

td_status lpu_lane_trees(struct lpu_compiler *compiler, const struct lpu_tree *tree, struct lpu_tensor *const *in,
                         struct lpu_tensor *out) {
  int32_t rows = lpu_tree_rows(compiler, tree->count);
  for (int32_t part = 0, first = 0; first < tree->count; part++, first += rows) {
    int32_t left = tree->count - first, begin = part > 0 && in[part] == in[0] ? first : 0;
    /* Scratches take turns between the hemispheres: one more, and this part's are opposite to the other's. */
    compiler->place.turn += part > 0;
    compiler->place.inner_turn += part > 0;
    TD_TRY(tree_part(compiler, tree, in[part], begin, out, first, left < rows ? left : rows));
  }
  return TD_OK;
}

td_status lpu_lane_tree(struct lpu_compiler *compiler, const struct lpu_tree *tree, struct lpu_tensor *in,
                        struct lpu_tensor *out) {
  struct lpu_tensor *parts[LPU_TREE_PARTS];
  for (int32_t i = 0; i < LPU_TREE_PARTS; i++) parts[i] = in;
  return lpu_lane_trees(compiler, tree, parts, out);
}
