/* SPDX-License-Identifier: Apache-2.0
 *
 * Asking the table: a few products and sums, whatever the program.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "price.h"
#include "tandem/base.h"

/* ---- opening ---- */

static void count_work(const struct td_graph *graph, struct td_lpu_price *price) {
  price->graph_layers = graph->shape.layers;
  for (int32_t i = 0; i < graph->op_count; i++) {
    struct td_op_cost cost;
    td_op_cost(graph, &graph->ops[i], TD_F16, &cost);
    price->flops = td_poly_add(price->flops, cost.flops);
    price->bytes = td_poly_add(price->bytes, td_poly_add(td_poly_add(cost.weight_bytes, cost.activation_bytes),
                                                         td_poly_add(cost.kv_read_bytes, cost.kv_write_bytes)));
  }
}

td_status td_lpu_price_open(const struct td_lpu_program *program, const struct td_graph *graph,
                            struct td_lpu_price **out_price) {
  struct td_lpu_price *price = NULL;
  TD_TRY(td_alloc(1, sizeof *price, (void **)&price));
  price->machine = program->machine;
  price->ps_a_cycle = (double)TD_PS_PER_SECOND / program->machine.clock_hz;
  if (graph) count_work(graph, price);
  td_status status = lpu_price_build(program, price);
  if (status) {
    td_lpu_price_close(price);
    return status;
  }
  *out_price = price;
  return TD_OK;
}

td_status td_lpu_price_compile(const struct td_lpu_machine *machine, const struct td_graph *graph,
                               const struct td_slice *slice, const struct td_lpu_options *options,
                               struct td_lpu_price **out_price) {
  struct td_lpu_program *program = NULL;
  struct td_lpu_options alone = *options;
  alone.timing_only = true;
  TD_TRY(td_lpu_compile(machine, graph, slice, NULL, &alone, &program));
  td_status status = td_lpu_price_open(program, graph, out_price);
  td_lpu_program_free(program);
  return status;
}

void td_lpu_price_close(struct td_lpu_price *price) {
  if (!price) return;
  for (int32_t i = 0; i < price->part_count; i++) {
    free(price->parts[i].stages);
    free(price->parts[i].layers);
  }
  free(price->parts);
  free(price->part_of);
  free(price);
}

struct td_lpu_price_facts td_lpu_price_facts(const struct td_lpu_price *price) {
  return price->facts;
}

double td_lpu_price_idle_watts(const struct td_lpu_price *price) {
  static const int64_t none[TD_LPU_UNIT_COUNT];
  if (!price) return (double)NAN;
  return td_lpu_energy(&price->machine, price->facts.chips, 1, none) * price->facts.clock_hz;
}

int64_t td_lpu_price_ps(const struct td_lpu_price *price, int64_t cycles) {
  return (int64_t)llround((double)cycles * price->ps_a_cycle);
}

/* ---- a pass ---- */

static td_status check_pass(const struct td_lpu_price *price, int32_t rows, int64_t blocks) {
  if (rows < 1 || rows > price->facts.rows) {
    return td_fail(TD_CONFIG, "price of a pass: found %d rows, expected 1..%d", rows, price->facts.rows);
  }
  if (!price->facts.block_tokens || (blocks >= rows && blocks <= price->most_blocks)) return TD_OK;
  return td_fail(TD_CONFIG, "price of a pass: found %" PRId64 " KV blocks, expected %d..%" PRId64 " for %d rows",
                 blocks, rows, price->most_blocks, rows);
}

td_status td_lpu_price_pass(const struct td_lpu_price *price, int32_t rows, int64_t blocks, struct td_lpu_cost *out) {
  TD_TRY(check_pass(price, rows, blocks));
  const struct lpu_part *part = &price->parts[price->part_of[rows]];
  if (!price->facts.block_tokens) blocks = 0;
  out->cycles = lpu_form_at(&part->cycles, rows, blocks);
  out->stage_cycles = 0;
  for (int32_t i = 0; i < part->stage_count; i++) {
    int64_t cycles = lpu_form_at(&part->stages[i], rows, blocks);
    if (cycles > out->stage_cycles) out->stage_cycles = cycles;
  }
  out->spent[TD_SPENT_WAIT] = out->cycles;
  for (int i = 0; i < TD_SPENT_WAIT; i++) {
    out->spent[i] = lpu_form_at(&part->spent[i], rows, blocks);
    out->spent[TD_SPENT_WAIT] -= out->spent[i];
  }
  for (int i = 0; i < TD_LPU_UNIT_COUNT; i++) out->busy[i] = lpu_form_at(&part->busy[i], rows, blocks);
  out->energy_j = td_lpu_energy(&price->machine, price->facts.chips, out->cycles, out->busy);
  return TD_OK;
}

td_status td_lpu_price_context(const struct td_lpu_price *price, int32_t rows, int64_t context,
                               struct td_lpu_cost *out) {
  int64_t tokens = price->facts.block_tokens;
  if (context < 1 || context > INT32_MAX) {
    return td_fail(TD_CONFIG, "price of a pass: found a context of %" PRId64 " tokens, expected 1..%d", context,
                   INT32_MAX);
  }
  return td_lpu_price_pass(price, rows, tokens ? rows * ((context + tokens - 1) / tokens) : 0, out);
}

/* ---- a step of the engine ---- */

/* A step in passes of facts.rows, the last of the rest. */
struct step {
  int64_t rows, blocks; /* of all passes */
  int64_t fulls;        /* passes before the last */
  int32_t last_rows;
  int64_t last_blocks;
  int64_t valid;
};

/* Of one sequence blocks follow from its positions, whatever was counted; of several they must have been. */
static td_status count_blocks(const struct td_lpu_price *price, const struct td_step_stats *stats, struct step *step) {
  const int64_t *v = stats->v;
  struct td_step_stats own = *stats;
  int64_t tile = price->facts.block_tokens, pass = price->facts.rows;
  if (v[TD_SYM_SEQS] == 1) {
    own = (struct td_step_stats){{[TD_SYM_TILE] = tile, [TD_SYM_PASS] = pass}};
    td_step_stats_add(&own, &(struct td_shape){0}, v[TD_SYM_CONTEXT] - v[TD_SYM_TOKENS], v[TD_SYM_TOKENS], 0);
  } else if (v[TD_SYM_TILE] != tile) {
    return td_fail(TD_UNSUPPORTED,
                   "price of an LPU's step of %" PRId64 " sequences: found tiles of %" PRId64
                   " positions counted, expected KV blocks of %" PRId64,
                   v[TD_SYM_SEQS], v[TD_SYM_TILE], tile);
  }
  bool told = own.v[TD_SYM_PASS] == pass;
  step->blocks = own.v[TD_SYM_TILES];
  step->last_blocks = !step->fulls ? step->blocks : told ? own.v[TD_SYM_PASS_TILES] : step->last_rows;
  step->valid = v[TD_SYM_TOKENS] == v[TD_SYM_SEQS] ? own.v[TD_SYM_TILE_STEPS] : 1; /* 1: no decode step */
  return TD_OK;
}

static td_status take_step(const struct td_lpu_price *price, const struct td_step_stats *stats, struct step *out) {
  int64_t rows = stats->v[TD_SYM_TOKENS], most = price->facts.rows;
  if (price->facts.layers) {
    return td_fail(TD_UNSUPPORTED, "price of an LPU's step: found layers alone, expected a whole model");
  }
  if (rows < 1) return td_fail(TD_INTERNAL, "price of an LPU's step: found no tokens");
  *out = (struct step){.rows = rows, .fulls = (rows - 1) / most, .last_rows = (int32_t)((rows - 1) % most + 1)};
  out->valid = 1;
  return price->facts.block_tokens ? count_blocks(price, stats, out) : TD_OK;
}

/* What the full passes before the last take: linear, so one with the blocks of all is as good as each with its own. */
static td_status add_fulls(const struct td_lpu_price *price, const struct step *step, int64_t *cycles,
                           double *energy_j) {
  int32_t most = price->facts.rows;
  struct td_lpu_cost all, one;
  int64_t others;
  if (!step->fulls) return TD_OK;
  int64_t extra = step->blocks - step->last_blocks - step->fulls * most;
  TD_TRY(td_lpu_price_pass(price, most, most, &one));
  TD_TRY(td_lpu_price_pass(price, most, most + extra, &all));
  if (__builtin_mul_overflow(one.cycles, step->fulls - 1, &others) || others > INT64_MAX / 4) {
    return td_fail(TD_UNSUPPORTED, "price of an LPU's step: found %" PRId64 " rows, expected fewer", step->rows);
  }
  *cycles += others + all.cycles;
  *energy_j += (double)(step->fulls - 1) * one.energy_j + all.energy_j;
  return TD_OK;
}

static td_status place_layers(const struct td_lpu_price *price, const struct step *step, int64_t before,
                              int64_t *layer_done_ps) {
  const struct lpu_part *part = &price->parts[price->part_of[step->last_rows]];
  if (part->layer_count != price->graph_layers) {
    return td_fail(TD_INTERNAL, "price of an LPU's step: found loops over %d of %d layers", part->layer_count,
                   price->graph_layers);
  }
  for (int32_t i = 0; i < part->layer_count; i++) {
    int64_t cycles = before + lpu_form_at(&part->layers[i], step->last_rows, step->last_blocks);
    layer_done_ps[i] = td_lpu_price_ps(price, cycles);
  }
  return TD_OK;
}

static double work_of(const struct td_poly *poly, const struct td_step_stats *stats) {
  double sum = 0;
  for (int s = 0; s < TD_SYM_COUNT; s++) sum += (double)poly->c[s] * (double)stats->v[s];
  return sum;
}

td_status td_lpu_price_stats(const struct td_lpu_price *price, const struct td_step_stats *stats,
                             int64_t *layer_done_ps, struct td_price *out_price) {
  struct step step = {.rows = 0};
  struct td_lpu_cost last;
  struct td_price out = {.valid_steps = 1};
  int64_t before = 0;
  TD_TRY(take_step(price, stats, &step));
  TD_TRY(add_fulls(price, &step, &before, &out.energy_j));
  TD_TRY(td_lpu_price_pass(price, step.last_rows, step.last_blocks, &last));
  if (layer_done_ps) TD_TRY(place_layers(price, &step, before, layer_done_ps));
  out.base_ps = td_lpu_price_ps(price, before + last.cycles);
  out.low_ps = out.high_ps = (double)out.base_ps;
  out.energy_j += last.energy_j;
  out.valid_steps = step.valid;
  out.flops = work_of(&price->flops, stats);
  out.bytes = work_of(&price->bytes, stats);
  *out_price = out;
  return TD_OK;
}
