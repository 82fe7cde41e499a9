/* SPDX-License-Identifier: Apache-2.0 */
#include "lpu_experts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"

/* ---- the program of the part with most experts ---- */

static td_status find_layer(const struct td_graph *graph, struct lpu_experts *out) {
  out->layer = -1;
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    if (op->kind != TD_OP_ROUTER) continue;
    if (out->layer < 0) out->layer = op->layer;
    out->layers++;
    out->routing.experts = op->experts;
    out->routing.used = op->experts_used;
  }
  return out->layer >= 0 ? TD_OK : td_fail(TD_CONFIG, "model: found no layer with experts, expected some");
}

/* Parts are dealt evenly: the last has as many experts as any. What all tokens share is the first's. */
static struct td_lpu_options options_of(const struct lpu_experts_question *question, int32_t parts, int32_t part) {
  struct td_lpu_options options = question->options;
  options.expert_parts = parts;
  options.expert_part = part;
  if (options.chips == 0) options.chips = options.tensor ? options.tensor : 1;
  options.tensor = options.chips; /* there is one layer */
  return options;
}

static td_status compile_part(const struct lpu_experts_question *question, const struct lpu_experts *experts,
                              int32_t parts, int32_t part, struct td_lpu_program **out_program) {
  const struct td_slice slice = {experts->layer, experts->layer + 1, TD_PART_FFN};
  const struct td_lpu_options options = options_of(question, parts, part);
  return td_lpu_compile(question->machine, question->graph, &slice, NULL, &options, out_program);
}

/* As many experts on a part as its SRAM has bytes for, at most. */
static int32_t most_experts(const struct lpu_experts_question *question, const struct lpu_experts *experts) {
  const struct td_lpu_machine *machine = question->machine;
  double sram = (double)machine->mem_slices * machine->mem_words * machine->lanes, expert = 0.0, each;
  double bytes = question->options.weights == TD_LPU_WEIGHTS_F16 ? 2.0 : 1.0;
  for (int32_t i = 0; i < question->graph->op_count; i++) {
    const struct td_op *op = &question->graph->ops[i];
    bool counts = op->kind == TD_OP_EXPERT_MATMUL && op->layer == experts->layer;
    if (counts) expert += bytes * (double)op->n * (double)op->k;
  }
  each = sram * (question->options.chips > 0 ? question->options.chips : 1) / expert;
  return each < 1.0 ? 1 : each < experts->routing.experts ? (int32_t)each : experts->routing.experts;
}

/* ROUTE of the first part, which has what all tokens share; nothing where that is nothing. */
static td_status take_shared(const struct lpu_experts_question *question, int32_t parts, struct lpu_experts *out) {
  struct td_lpu_program *first = NULL;
  struct td_moe_costs costs;
  if (question->graph->shape.shared_ffn == 0 || parts == 1) return TD_OK;
  TD_TRY(compile_part(question, out, parts, 0, &first));
  td_status status = td_moe_costs_of(first, out->layer, &costs);
  td_lpu_program_free(first);
  memcpy(out->costs.routes, costs.routes, sizeof costs.routes);
  return status;
}

/* The fewest parts of `each` experts at most, one less where they do not fit. */
static td_status find_fewest(const struct lpu_experts_question *question, struct lpu_experts *out,
                             struct td_lpu_program **out_program) {
  int32_t experts = out->routing.experts;
  td_status status = TD_EXHAUSTED;
  for (int32_t each = most_experts(question, out); each > 0 && status == TD_EXHAUSTED; each--) {
    out->parts = (experts + each - 1) / each;
    status = compile_part(question, out, out->parts, out->parts - 1, out_program);
    if (status) continue;
    status = take_shared(question, out->parts, out);
    if (!status) return TD_OK;
    td_lpu_program_free(*out_program);
    *out_program = NULL;
  }
  return status;
}

static td_status find_program(const struct lpu_experts_question *question, struct lpu_experts *out,
                              struct td_lpu_program **out_program) {
  out->parts = question->options.expert_parts;
  if (out->parts == 0) return find_fewest(question, out, out_program);
  return compile_part(question, out, out->parts, out->parts - 1, out_program);
}

static td_status measure(const struct td_lpu_program *program, struct lpu_experts *out) {
  int64_t *bytes = NULL;
  const struct td_lpu_machine *machine = &program->machine;
  TD_TRY(td_alloc((size_t)program->chips, sizeof *bytes, (void **)&bytes));
  for (int32_t i = 0; i < program->image_count; i++) {
    const struct td_lpu_image *image = &program->images[i];
    if (image->kind == TD_IMAGE_WEIGHT) bytes[image->chip] += (int64_t)image->words * image->slices * machine->lanes;
  }
  for (int32_t i = 0; i < program->chips; i++) {
    if (bytes[i] > out->weight_bytes) out->weight_bytes = bytes[i];
  }
  free(bytes);
  out->sram_bytes = (int64_t)machine->mem_slices * machine->mem_words * machine->lanes;
  out->chips = program->chips;
  out->clock_hz = machine->clock_hz;
  return td_moe_costs_of(program, out->layer, &out->costs);
}

/* ---- batches ---- */

static int32_t first_of(const struct lpu_experts *experts, int32_t part) {
  return (int32_t)((int64_t)experts->routing.experts * part / experts->parts);
}

/* The longest part. */
static td_status longest(const struct lpu_experts *experts, const int32_t *loads, int64_t *out_cycles) {
  *out_cycles = 0;
  for (int32_t part = 0; part < experts->parts; part++) {
    struct td_moe_work work;
    int32_t first = first_of(experts, part);
    TD_TRY(td_moe_work_of(&experts->costs, loads + first, first_of(experts, part + 1) - first, &work));
    if (work.cycles > *out_cycles) *out_cycles = work.cycles;
  }
  return TD_OK;
}

/* Routed token i on expert i, of one part after another. */
static td_status count_even(const struct lpu_experts *experts, int32_t tokens, int32_t *loads, int64_t *out_cycles) {
  int32_t all = experts->routing.experts, routed = tokens * experts->routing.used, parts = experts->parts;
  for (int32_t e = 0; e < all; e++) loads[e] = 0;
  for (int32_t e = 0, round = 0; e < all; round++) {
    for (int32_t part = 0; part < parts && e < all; part++) {
      int32_t at = first_of(experts, part) + round;
      if (at >= first_of(experts, part + 1)) continue;
      loads[at] = routed / all + (e++ < routed % all);
    }
  }
  return longest(experts, loads, out_cycles);
}

/* All tokens choose the same experts, the first part's. */
static td_status count_same(const struct lpu_experts *experts, int32_t tokens, int32_t *loads, int64_t *out_cycles) {
  int32_t last = first_of(experts, experts->parts - 1), all = experts->routing.experts;
  for (int32_t e = 0; e < all; e++) loads[e] = 0;
  for (int32_t i = 0; i < experts->routing.used; i++) loads[(last + i) % all] = tokens;
  return longest(experts, loads, out_cycles);
}

/* Means of loads are those of a pass. */
static td_status count_draw(const struct lpu_experts *experts, int32_t tokens, uint64_t seed,
                            struct lpu_experts_batch *batch, int32_t *loads, int64_t *out_cycles) {
  int32_t distinct = 0, largest = 0;
  TD_TRY(td_moe_draw(&experts->routing, tokens, seed, loads));
  TD_TRY(longest(experts, loads, out_cycles));
  for (int32_t e = 0; e < experts->routing.experts; e++) {
    distinct += loads[e] > 0;
    if (loads[e] > largest) largest = loads[e];
  }
  batch->drawn_distinct += distinct;
  batch->drawn_largest += largest;
  return TD_OK;
}

static td_status count_draws(const struct lpu_experts_question *question, const struct lpu_experts *experts,
                             int32_t tokens, struct lpu_experts_batch *batch, int32_t *loads) {
  int32_t passes = batch->passes, all = question->draws * passes;
  for (int32_t draw = 0; draw < question->draws; draw++) {
    int64_t sum = 0, cycles;
    for (int32_t pass = 0; pass < passes; pass++) {
      uint64_t seed = td_random(question->seed, (uint64_t)pass, (uint64_t)draw);
      TD_TRY(count_draw(experts, tokens, seed, batch, loads, &cycles));
      sum += cycles;
    }
    batch->drawn += (double)sum / question->draws;
    if (sum > batch->drawn_most) batch->drawn_most = sum;
  }
  batch->drawn_distinct /= all;
  batch->drawn_largest /= all;
  return TD_OK;
}

static td_status count_batch(const struct lpu_experts_question *question, const struct lpu_experts *experts,
                             struct lpu_experts_batch *batch, int32_t *loads) {
  const struct td_moe_routing *routing = &experts->routing;
  int32_t rows = question->options.rows;
  batch->passes = (batch->tokens + rows - 1) / rows;
  int32_t tokens = (batch->tokens + batch->passes - 1) / batch->passes;
  batch->distinct = td_moe_distinct(routing->experts, routing->used, tokens);
  td_moe_largest(routing->experts, routing->used, tokens, &batch->largest_low, &batch->largest_high);
  batch->route = td_moe_route_cycles(&experts->costs, tokens) * batch->passes;
  TD_TRY(count_even(experts, tokens, loads, &batch->even));
  TD_TRY(count_same(experts, tokens, loads, &batch->same));
  batch->even *= batch->passes;
  batch->same *= batch->passes;
  return count_draws(question, experts, tokens, batch, loads);
}

/* 1, 2, 4, ... */
static td_status count_batches(const struct lpu_experts_question *question, struct lpu_experts *out) {
  int32_t *loads = NULL;
  td_status status = td_alloc((size_t)out->routing.experts, sizeof *loads, (void **)&loads);
  for (int32_t tokens = 1; !status && tokens <= question->most; tokens *= 2) {
    struct lpu_experts_batch *batch = &out->batches[out->batch_count++];
    batch->tokens = tokens;
    status = count_batch(question, out, batch, loads);
  }
  free(loads);
  return status;
}

td_status lpu_experts_make(const struct lpu_experts_question *question, struct lpu_experts *out) {
  struct td_lpu_program *program = NULL;
  *out = (struct lpu_experts){.routing = {.zipf = question->zipf}};
  TD_TRY(find_layer(question->graph, out));
  TD_TRY(td_moe_routing_check(&out->routing));
  TD_TRY(find_program(question, out, &program));
  td_status status = measure(program, out);
  if (!status) status = take_shared(question, out->parts, out);
  td_lpu_program_free(program);
  out->experts = out->routing.experts - first_of(out, out->parts - 1);
  return status ? status : count_batches(question, out);
}

/* ---- what nobody published ---- */

struct varied {
  const struct lpu_experts_question *question;
  const struct lpu_experts *experts;
  int32_t *loads;
};

/* The same batches, on another machine. */
static td_status count_varied(void *context, const struct td_lpu_program *program, int64_t *out_cycles) {
  const struct varied *varied = context;
  struct lpu_experts other = *varied->experts;
  struct lpu_experts_batch batch = {.tokens = varied->question->most};
  TD_TRY(td_moe_costs_of(program, other.layer, &other.costs));
  TD_TRY(count_batch(varied->question, &other, &batch, varied->loads));
  *out_cycles = (int64_t)(batch.drawn + 0.5);
  return TD_OK;
}

td_status lpu_experts_vary(const struct lpu_experts_question *question, const struct lpu_experts *experts,
                           struct lpu_sensitivity *out) {
  struct varied varied = {.question = question, .experts = experts};
  struct lpu_experts_batch batch = {.tokens = question->most};
  struct lpu_question asked = {.params = question->params,
                               .graph = question->graph,
                               .slice = {experts->layer, experts->layer + 1, TD_PART_FFN},
                               .options = options_of(question, experts->parts, experts->parts - 1),
                               .count = count_varied,
                               .context = &varied};
  TD_TRY(td_alloc((size_t)experts->routing.experts, sizeof *varied.loads, (void **)&varied.loads));
  td_status status = count_batch(question, experts, &batch, varied.loads);
  if (!status) status = lpu_sensitivity_open(&asked, (int64_t)(batch.drawn + 0.5), out);
  free(varied.loads);
  return status;
}

/* ---- printing ---- */

static double us(const struct lpu_experts *experts, double cycles) {
  return cycles / experts->clock_hz * 1e6;
}

void lpu_experts_print(const struct lpu_experts *experts, FILE *out) {
  const struct td_moe_costs *costs = &experts->costs;
  fprintf(out, "experts     %d, %d of a token, in %d layers; looked at: layer %d\n", experts->routing.experts,
          experts->routing.used, experts->layers, experts->layer);
  fprintf(out, "parts       %d of %d chip%s, up to %d experts each: %.1f MB of weights on a chip of %.1f MB\n",
          experts->parts, experts->chips, experts->chips == 1 ? "" : "s", experts->experts,
          (double)experts->weight_bytes / 1e6, (double)experts->sram_bytes / 1e6);
  fprintf(out, "segments    ");
  for (int32_t i = 0; i < costs->route_count; i++) {
    fprintf(out, "route %d: %" PRId64 ", ", costs->routes[i].rows, costs->routes[i].cycles);
  }
  for (int32_t i = 0; i < costs->run_count; i++) {
    fprintf(out, "expert %d: %" PRId64 ", ", costs->runs[i].rows, costs->runs[i].cycles);
  }
  fprintf(out, "take %" PRId64 ", give %" PRId64 " cycles\n\n", costs->take, costs->give);
  fprintf(out, "%-7s %6s %9s %14s %10s | %10s %10s %10s %10s | %9s %9s\n", "tokens", "passes", "distinct", "largest",
          "route", "even", "drawn", "most", "same", "drawn us", "same us");
  for (int32_t i = 0; i < experts->batch_count; i++) {
    const struct lpu_experts_batch *b = &experts->batches[i];
    fprintf(out,
            "%-7d %6d %9.1f %6.2f..%6.2f %10" PRId64 " | %10" PRId64 " %10.0f %10" PRId64 " %10" PRId64
            " | %9.2f %9.2f\n",
            b->tokens, b->passes, b->drawn_distinct, b->largest_low, b->largest_high, b->route, b->even, b->drawn,
            b->drawn_most, b->same, us(experts, b->drawn), us(experts, (double)b->same));
  }
}

static void batch_json(const struct lpu_experts *experts, const struct lpu_experts_batch *b, FILE *out) {
  fprintf(out,
          "{\"tokens\": %d, \"passes\": %d, \"distinct\": %.6g, \"largest_low\": %.6g, \"largest_high\": %.6g, "
          "\"route\": %" PRId64 ", \"even\": %" PRId64 ", \"drawn\": %.9g, \"drawn_most\": %" PRId64
          ", \"same\": %" PRId64 ", \"drawn_distinct\": %.6g, \"drawn_largest\": %.6g, \"drawn_us\": %.6g}",
          b->tokens, b->passes, b->distinct, b->largest_low, b->largest_high, b->route, b->even, b->drawn,
          b->drawn_most, b->same, b->drawn_distinct, b->drawn_largest, us(experts, b->drawn));
}

void lpu_experts_json(const struct lpu_experts *experts, FILE *out) {
  fprintf(out,
          "{\"experts\": %d, \"used\": %d, \"zipf\": %.6g, \"layers\": %d, \"parts\": %d, \"chips\": %d, "
          "\"part_experts\": %d, \"weight_bytes\": %" PRId64 ", \"sram_bytes\": %" PRId64
          ", \"clock_hz\": %.9g, \"take\": %" PRId64 ", \"give\": %" PRId64 ", \"runs\": [",
          experts->routing.experts, experts->routing.used, experts->routing.zipf, experts->layers, experts->parts,
          experts->chips, experts->experts, experts->weight_bytes, experts->sram_bytes, experts->clock_hz,
          experts->costs.take, experts->costs.give);
  for (int32_t i = 0; i < experts->costs.run_count; i++) {
    fprintf(out, "%s{\"rows\": %d, \"cycles\": %" PRId64 "}", i ? ", " : "", experts->costs.runs[i].rows,
            experts->costs.runs[i].cycles);
  }
  fprintf(out, "], \"batches\": [");
  for (int32_t i = 0; i < experts->batch_count; i++) {
    fputs(i ? ", " : "", out);
    batch_json(experts, &experts->batches[i], out);
  }
  fprintf(out, "]");
}
