/* SPDX-License-Identifier: Apache-2.0
 *
 * What a step costs without running it: the program's closed form. It depends on the rows and on the KV blocks that
 * they attend to, in all: which row has which blocks makes no difference to the sum.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lpu_device.h"
#include "tandem/base.h"
#include "tandem/cost.h"

struct pricing {
  const struct lpu_device *lpu;
  const struct td_lpu_program *program;
  const struct td_lpu_tally *tallies;
  int64_t rows, tiles; /* of the step */
};

void lpu_price_close(struct lpu_device *lpu) {
  td_lpu_program_free(lpu->timing);
  free(lpu->timing_tallies);
  lpu->timing = NULL;
  lpu->timing_tallies = NULL;
}

/* ---- the program that prices ---- */

static td_status compile_timing(struct lpu_device *lpu, const struct td_graph *graph, const struct td_slice *slice,
                                int64_t tile) {
  const struct td_lpu_machine *machine = lpu->machine;
  int32_t block = tile ? (int32_t)tile : machine->lanes / machine->load_vectors * machine->load_vectors;
  bool same = lpu->timing && lpu->timing->block_tokens == block &&
              memcmp(&lpu->timing_shape, &graph->shape, sizeof graph->shape) == 0;
  if (same) return TD_OK;
  lpu_price_close(lpu);
  struct td_lpu_options options = td_lpu_choice_options(&lpu->choice, &graph->shape, block, 0);
  options.timing_only = true;
  TD_TRY(td_lpu_compile(machine, graph, slice, NULL, &options, &lpu->timing));
  lpu->timing_shape = graph->shape;
  return td_lpu_program_tallies(lpu->timing, &lpu->timing_tallies);
}

static td_status find_program(struct lpu_device *lpu, const struct td_graph *graph, const struct td_slice *slice,
                              int64_t tile, struct pricing *out) {
  const struct td_plan *plan = lpu->last;
  *out = (struct pricing){.lpu = lpu};
  if (plan && plan->graph == graph) {
    out->program = plan->program;
    out->tallies = plan->tallies;
    return TD_OK;
  }
  TD_TRY(compile_timing(lpu, graph, slice, tile));
  out->program = lpu->timing;
  out->tallies = lpu->timing_tallies;
  return TD_OK;
}

/* ---- the step ---- */

/* Of one sequence the tiles follow from its positions, whatever the tile; of several they must have been counted. */
static td_status count_tiles(struct pricing *pricing, const struct td_step_stats *stats, int64_t *out_valid) {
  const int64_t *v = stats->v;
  int64_t tile = pricing->program->block_tokens;
  if (v[TD_SYM_SEQS] == 1) {
    struct td_step_stats own = {{[TD_SYM_TILE] = tile}};
    td_step_stats_add(&own, &(struct td_shape){0}, v[TD_SYM_CONTEXT] - v[TD_SYM_TOKENS], v[TD_SYM_TOKENS], 0);
    pricing->tiles = own.v[TD_SYM_TILES];
    *out_valid = own.v[TD_SYM_TILE_STEPS];
  } else if (v[TD_SYM_TILE] != tile) {
    return td_fail(TD_UNSUPPORTED,
                   "backend lpu: price of %" PRId64 " sequences: found tiles of %" PRId64
                   " positions counted, expected KV blocks of %" PRId64,
                   v[TD_SYM_SEQS], v[TD_SYM_TILE], tile);
  } else {
    pricing->tiles = v[TD_SYM_TILES];
    *out_valid = v[TD_SYM_TILE_STEPS];
  }
  if (v[TD_SYM_TOKENS] != v[TD_SYM_SEQS]) *out_valid = 1; /* no decode step */
  return TD_OK;
}

/* A step of `rows` rows and `tiles` KV blocks in all: cycles are linear in the blocks. */
static td_status count_piece(const struct pricing *pricing, struct td_lpu_row *room, int32_t rows, int64_t tiles,
                             struct td_lpu_counts *out) {
  struct td_lpu_step step = {room, rows};
  int32_t entry = td_lpu_program_entry(pricing->program, rows);
  if (entry < 0) return td_fail(TD_INTERNAL, "backend lpu: no entry of %d rows", rows);
  if (tiles - rows + 1 > INT32_MAX) return td_fail(TD_UNSUPPORTED, "backend lpu: %" PRId64 " KV blocks", tiles);
  for (int32_t i = 0; i < rows; i++) room[i].block_count = i ? 1 : (int32_t)(tiles - rows + 1);
  return td_lpu_program_counts(pricing->program, pricing->tallies, entry, &step, out);
}

/* The pieces of a step: each has its rows; all blocks beyond one a row are put into the first. */
static td_status count_step(const struct pricing *pricing, struct td_lpu_row *room, int64_t *out_cycles,
                            double *out_energy_j, int64_t *out_last) {
  int64_t most = pricing->lpu->choice.rows, extra = pricing->tiles - pricing->rows;
  *out_cycles = *out_last = 0;
  *out_energy_j = 0.0;
  for (int64_t done = 0; done < pricing->rows;) {
    int64_t rows = pricing->rows - done < most ? pricing->rows - done : most;
    struct td_lpu_counts counts;
    TD_TRY(count_piece(pricing, room, (int32_t)rows, rows + extra, &counts));
    *out_cycles += counts.cycles;
    *out_energy_j += counts.energy_j;
    *out_last = counts.cycles;
    extra = 0;
    done += rows;
  }
  return TD_OK;
}

/* ---- layers ---- */

/* Cycles of the step up to link `end` of its entry. */
static int64_t cycles_to(const struct pricing *pricing, const struct td_lpu_step *step, int32_t entry, int32_t end) {
  struct td_lpu_program program = *pricing->program;
  struct td_lpu_entry cut = program.entries[entry];
  cut.link_count = end - cut.link;
  program.entries = &cut;
  program.entry_count = 1;
  return td_lpu_program_cycles(&program, 0, step);
}

static int32_t end_of_loop(const struct td_lpu_program *program, int32_t loop) {
  int32_t depth = 0, i = loop;
  do {
    depth += program->links[i].kind == TD_LINK_LOOP ? 1 : program->links[i].kind == TD_LINK_END ? -1 : 0;
  } while (depth > 0 && ++i < program->link_count);
  return i + 1;
}

/* Layers pass one after another, in loops of equal ones: one loop, or one for each chip of a pipeline. `before`: cycles
 * of the step's earlier passes through the program. */
static td_status place_layers(const struct pricing *pricing, const struct td_lpu_step *step, int32_t layers,
                              int64_t before, int64_t *layer_done_ps) {
  const struct td_lpu_program *program = pricing->program;
  int32_t entry = td_lpu_program_entry(program, step->row_count), done = 0;
  int32_t last = program->entries[entry].link + program->entries[entry].link_count;
  for (int32_t i = program->entries[entry].link, end; i < last; i = end) {
    const struct td_lpu_link *link = &program->links[i];
    end = link->kind == TD_LINK_LOOP ? end_of_loop(program, i) : i + 1;
    if (link->kind != TD_LINK_LOOP || link->variable != TD_VAR_LAYER) continue;
    int64_t from = cycles_to(pricing, step, entry, i), all = cycles_to(pricing, step, entry, end) - from;
    for (int32_t j = 1; j <= link->count && done < layers; j++) {
      layer_done_ps[done++] = lpu_ps(pricing->lpu->machine, before + from + all / link->count * j);
    }
  }
  return done == layers ? TD_OK : td_fail(TD_INTERNAL, "backend lpu: found loops over %d of %d layers", done, layers);
}

static td_status price_step(const struct pricing *pricing, const struct td_graph *graph, int64_t *layer_done_ps,
                            struct td_price *out_price) {
  int64_t cycles, last, most = pricing->lpu->choice.rows;
  int64_t rows = pricing->rows % most ? pricing->rows % most : most; /* of the last pass; room holds them then */
  double energy_j;
  void *room = NULL;
  TD_TRY(td_alloc((size_t)most, sizeof(struct td_lpu_row), &room));
  const struct td_lpu_step step = {room, (int32_t)rows};
  td_status status = count_step(pricing, room, &cycles, &energy_j, &last);
  if (!status && layer_done_ps) {
    status = place_layers(pricing, &step, graph->shape.layers, cycles - last, layer_done_ps);
  }
  free(room);
  if (status) return status;
  out_price->base_ps = lpu_ps(pricing->lpu->machine, cycles);
  out_price->energy_j = energy_j;
  return TD_OK;
}

/* FLOPs and bytes as the graph counts them: what any device would be said to have done. */
static void add_work(const struct td_graph *graph, enum td_dtype kv_dtype, const struct td_step_stats *stats,
                     struct td_price *price) {
  for (int32_t i = 0; i < graph->op_count; i++) {
    struct td_op_cost cost;
    td_op_cost(graph, &graph->ops[i], kv_dtype, &cost);
    const struct td_poly *bytes[4] = {&cost.weight_bytes, &cost.activation_bytes, &cost.kv_read_bytes,
                                      &cost.kv_write_bytes};
    price->flops += (double)td_poly_eval(&cost.flops, stats);
    for (int j = 0; j < 4; j++) price->bytes += (double)td_poly_eval(bytes[j], stats);
  }
}

td_status lpu_price(struct td_device *device, const struct td_graph *graph, const struct td_slice *slice,
                    enum td_dtype kv_dtype, const struct td_step_stats *stats, int64_t *layer_done_ps,
                    struct td_price *out_price) {
  struct pricing pricing;
  struct td_price price = {.slope_ps = 0};
  if (kv_dtype != TD_F16) return td_fail(TD_UNSUPPORTED, "backend lpu: found no f16 KV cache, expected one");
  if (stats->v[TD_SYM_TOKENS] < 1) return td_fail(TD_INTERNAL, "backend lpu: a step of no tokens");
  TD_TRY(lpu_check_slice(graph, slice));
  TD_TRY(find_program(lpu_of(device), graph, slice, stats->v[TD_SYM_TILE], &pricing));
  pricing.rows = stats->v[TD_SYM_TOKENS];
  TD_TRY(count_tiles(&pricing, stats, &price.valid_steps));
  TD_TRY(price_step(&pricing, graph, layer_done_ps, &price));
  add_work(graph, kv_dtype, stats, &price);
  *out_price = price;
  return TD_OK;
}
