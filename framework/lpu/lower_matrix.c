/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix planes. Weights are multiplied where they lie in SRAM; those that come in columns are turned into rows first,
 * when they are installed.
 */
#include <string.h>

#include "lower.h"
#include "tandem/base.h"

static struct lower_plane *plane_at(const struct lowering *lower, int32_t plane) {
  return &lower_chip_of(lower)->planes[plane];
}

/* Tiles of a pair of planes. */
static bool is_wide(int32_t type) {
  return type != TD_LPU_I8 && type != TD_LPU_F8;
}

/* ---- LOAD ---- */

td_status lower_load_take(struct lowering *lower, int32_t iteration) {
  const struct execute_op *op = lower->op;
  void *loads = lower->loads;
  TD_TRY(td_grow(&loads, &lower->load_capacity, lower->load_count + 1, sizeof *lower->loads));
  lower->loads = loads;
  struct lower_load *load = &lower->loads[lower->load_count];
  *load = (struct lower_load){
      .op = op, .instance = lower->instance, .step = op->of->address[0] + op->of->stride[0] * iteration};
  if (op->of->patch[0]) return lower_refuse(lower, "a patched step");
  for (int32_t i = 0; i < op->in_width[0]; i++) {
    const int32_t *ref = lower_passing(lower, op->of->in[0], i);
    if (!ref) return lower_refuse(lower, "an operand is not there");
    load->refs[i] = *ref;
  }
  lower->state[lower->instance] = (int32_t)lower->load_count++;
  if (!(lower->marks[lower->instance] & LOWER_COPY_LOAD)) return TD_OK;
  struct td_lpu_code_place from, to = {0, TD_CODE_WORK};
  TD_TRY(lower_place(lower, load->refs, op->in_width[0], &from));
  TD_TRY(lower_temp_new(lower, op->in_width[0], &to.vector));
  load = &lower->loads[lower->load_count - 1];
  for (int32_t i = 0; i < op->in_width[0]; i++) load->refs[i] = ~(to.vector + i);
  return lower_copy(lower, from, to, op->in_width[0]);
}

static bool filling(const struct lower_plane *plane, bool wide) {
  return plane->loaded && plane->wide == wide;
}

td_status lower_load_land(struct lowering *lower) {
  const struct td_lpu_instruction *of = lower->op->of;
  const struct td_lpu_machine *machine = lower->machine;
  bool wide = is_wide(of->type), columns = of->flags & TD_LPU_COLUMNS;
  int32_t index = lower->op->queue.index, even = index & ~1, number = lower->state[lower->instance];
  struct lower_plane *plane = plane_at(lower, wide ? even : index);
  bool clash = wide ? filling(plane_at(lower, even), false) || filling(plane_at(lower, even + 1), false)
                    : filling(plane_at(lower, even), true);
  if (clash || (plane->loaded && (plane->columns != columns || plane->type != of->type))) {
    return lower_refuse(lower, "a load of another type or orientation than the buffer's");
  }
  int32_t k = wide ? machine->plane_k / 2 : machine->plane_k, step = lower->loads[number].step;
  if (step < 0 || step >= (columns ? machine->lanes : k) / machine->load_vectors || plane->filling[step] >= 0) {
    return lower_refuse(lower, "step %d is not there, or loaded twice", step);
  }
  plane->filling[step] = number;
  plane->loaded++;
  plane->wide = wide;
  plane->columns = columns;
  plane->type = of->type;
  return TD_OK;
}

/* ---- INSTALL ---- */

static td_status add_step(struct lowering *lower, int32_t number, int32_t lane) {
  struct lower_load *load = &lower->loads[number];
  struct td_lpu_code_place place;
  void *steps = lower->steps, *loads = lower->step_loads;
  size_t here = lower->step_count - (size_t)lower->first_step;
  TD_TRY(lower_place(lower, load->refs, load->op->in_width[0], &place));
  if (place.patch == TD_CODE_WORK) {
    for (int32_t i = 0; i < load->op->in_width[0]; i++) load->refs[i] = ~(place.vector + i);
  }
  TD_TRY(td_grow(&steps, &lower->step_capacity, lower->step_count + 1, sizeof *lower->steps));
  lower->steps = steps;
  TD_TRY(td_grow(&loads, &lower->step_load_capacity, here + 1, sizeof *lower->step_loads));
  lower->step_loads = loads;
  lower->steps[lower->step_count++] = (struct td_lpu_code_load){place.vector, place.patch, load->step, lane};
  lower->step_loads[here] = number;
  return TD_OK;
}

static td_status expand(struct lowering *lower, int32_t type, struct lower_tile *tile) {
  int32_t k = lower->machine->plane_k;
  struct td_lpu_code_op op = {.kind = TD_CODE_EXPAND,
                              .detail = (int32_t)(tile->wide ? lower_types[type] : TD_OPERAND_I8),
                              .out = {0, TD_CODE_WORK},
                              .whole = -1,
                              .first = tile->first,
                              .count = tile->count};
  TD_TRY(lower_temp_new(lower, tile->wide ? 2 * k : k, &op.out.vector));
  tile->expanded = op.out.vector;
  return lower_emit(lower, &op);
}

static td_status make_tile(struct lowering *lower, struct lower_plane *plane, struct lower_tile *tile) {
  static const enum td_lpu_code_tile kinds[TD_LPU_TYPE_COUNT] = {[TD_LPU_I8] = TD_TILE_I8,
                                                                 [TD_LPU_W8] = TD_TILE_W8,
                                                                 [TD_LPU_F16] = TD_TILE_F16,
                                                                 [TD_LPU_F8] = TD_TILE_F8,
                                                                 [TD_LPU_WF8] = TD_TILE_WF8};
  int32_t steps = TD_LPU_MOST_LANES, k = plane->wide ? lower->machine->plane_k / 2 : lower->machine->plane_k;
  *tile = (struct lower_tile){.wide = plane->wide,
                              .fp8 = plane->type == TD_LPU_F8,
                              .kind = (int32_t)kinds[plane->type],
                              .first = (int32_t)lower->step_count,
                              .expanded = -1};
  for (int32_t s = 0; s < steps; s++) {
    if (plane->filling[s] < 0) continue;
    const struct td_lpu_instruction *of = lower->loads[plane->filling[s]].op->of;
    TD_TRY(add_step(lower, plane->filling[s], plane->wide ? of->half * k : 0));
    tile->count++;
    plane->filling[s] = -1;
  }
  if (!plane->columns) return TD_OK;
  tile->kind = plane->wide ? TD_TILE_FLOATS : tile->fp8 ? TD_TILE_EIGHTS : TD_TILE_BYTES;
  return expand(lower, plane->type, tile);
}

td_status lower_install(struct lowering *lower) {
  int32_t index = lower->op->queue.index, even = index & ~1;
  struct lower_plane *plane = plane_at(lower, index), *pair = plane_at(lower, even);
  void *tiles = lower->tiles;
  if (!plane->loaded) return lower_refuse(lower, "an empty weight buffer");
  TD_TRY(td_grow(&tiles, &lower->tile_capacity, lower->tile_count + 1, sizeof *lower->tiles));
  lower->tiles = tiles;
  TD_TRY(make_tile(lower, plane, &lower->tiles[lower->tile_count]));
  plane->loaded = 0;
  if (plane->wide) plane_at(lower, index + 1)->tile = -1;
  if (!plane->wide && pair->tile >= 0 && lower->tiles[pair->tile].wide) pair->tile = -1;
  plane->tile = (int32_t)lower->tile_count++;
  plane->usable = lower->now + lower->machine->install_cycles;
  return TD_OK;
}

/* ---- PASS ---- */

td_status lower_pass_bind(struct lowering *lower) {
  const struct lower_plane *plane = plane_at(lower, lower->op->queue.index);
  const struct lower_tile *tile = plane->tile < 0 ? NULL : &lower->tiles[plane->tile];
  int32_t type = lower->op->of->type;
  if (!tile || tile->wide != (type == TD_LPU_F16) || tile->fp8 != (type == TD_LPU_F8)) {
    return lower_refuse(lower, "no array of its type");
  }
  if (lower->now < plane->usable) return lower_refuse(lower, "a pass in an install's slots");
  lower->state[lower->instance] = plane->tile;
  return TD_OK;
}

/* Whether what a tile refers to was written since it was read: then its loads are copied. */
static void check_tile(struct lowering *lower, const struct lower_tile *tile) {
  if (tile->expanded >= 0) return;
  for (int32_t s = tile->first; s < tile->first + tile->count; s++) {
    struct lower_load *load = &lower->loads[lower->step_loads[s - lower->first_step]];
    bool stale = false;
    for (int32_t i = 0; i < load->op->in_width[0]; i++) stale |= lower_stale(lower, load->refs[i]);
    if (!stale) continue;
    lower->marks[load->instance] |= LOWER_COPY_LOAD;
    lower->again = true;
  }
}

td_status lower_pass_read(struct lowering *lower) {
  const struct td_lpu_machine *machine = lower->machine;
  const struct lower_tile *tile = &lower->tiles[lower->state[lower->instance]];
  struct lower_plane *plane = plane_at(lower, lower->op->queue.index);
  struct td_lpu_code_op op = {.kind = TD_CODE_PASS,
                              .detail = tile->kind,
                              .out = {-1, TD_CODE_WORK},
                              .first = tile->first,
                              .count = tile->count};
  int32_t issued = lower->now - lower->op->skew;
  if (tile->wide) op.immediate = lower->op->of->half * (machine->plane_k / 2);
  if (tile->expanded >= 0) {
    op.b = (struct td_lpu_code_place){tile->expanded, TD_CODE_WORK};
    op.first = op.count = 0;
  }
  check_tile(lower, tile);
  TD_TRY(lower_operand(lower, 0, lower->op->in_width[0], &op.a));
  TD_TRY(lower_temp_new(lower, 4, &op.whole));
  plane->rows[issued & lower->row_mask] = (struct lower_sum){issued, op.whole,
                                                             tile->wide  ? TD_LPU_F32
                                                             : tile->fp8 ? TD_LPU_F8
                                                                         : TD_LPU_I32};
  return lower_emit(lower, &op);
}

/* ---- SUM ---- */

td_status lower_sum(struct lowering *lower, int32_t iteration) {
  const struct td_lpu_instruction *of = lower->op->of;
  struct lower_plane *plane = plane_at(lower, lower->op->queue.index);
  int32_t issued = lower->now - lower->machine->delay[TD_LPU_PASS].func;
  const struct lower_sum *row = &plane->rows[issued & lower->row_mask];
  struct lower_sum *sum = NULL;
  struct td_lpu_code_op op = {.kind = TD_CODE_SUM,
                              .detail = of->type != TD_LPU_I32,
                              .out = {-1, TD_CODE_WORK},
                              .b = {-1, TD_CODE_WORK},
                              .whole = -1};
  if (row->issued != issued || row->type != of->type) return lower_refuse(lower, "no pass gives a row");
  op.a = (struct td_lpu_code_place){row->whole, TD_CODE_WORK};
  if (of->flags & (TD_LPU_ADD | TD_LPU_KEEP)) {
    int32_t number = of->address[0] + of->stride[0] * iteration;
    if (of->patch[0]) return lower_refuse(lower, "a patched accumulator");
    if (number < 0 || number >= lower->machine->accumulator_depth * (of->type == TD_LPU_F32 ? 2 : 1))
      return lower_refuse(lower, "no such accumulator");
    sum = &plane->sums[number];
  }
  if (of->flags & TD_LPU_ADD) {
    if (sum->issued == LOWER_NEVER || sum->type != of->type)
      return lower_refuse(lower, "an accumulator was never kept");
    op.b.vector = sum->whole;
  }
  if (of->flags & TD_LPU_ADD) TD_TRY(lower_temp_new(lower, 4, &op.whole));
  if (of->flags & TD_LPU_KEEP) *sum = (struct lower_sum){lower->now, op.whole >= 0 ? op.whole : row->whole, of->type};
  if (of->flags & TD_LPU_EMIT) {
    TD_TRY(lower_temp_new(lower, 4, &op.out.vector));
    lower_temp_at(lower, op.out.vector)->twin = op.whole >= 0 ? op.whole : row->whole;
    lower->state[lower->instance] = op.out.vector;
  }
  return of->flags & (TD_LPU_ADD | TD_LPU_EMIT) ? lower_emit(lower, &op) : TD_OK;
}
