/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers in a row over chips, the ends with the last: how many each takes, and how many chips it needs.
 */
#include <stdio.h>

#include "compile.h"
#include "tandem/base.h"

/* Weights of a layer's matrices and of the head, by elements: what layers are dealt by. */
static void sizes(const struct lpu_compiler *compiler, double *out_layer, double *out_head) {
  const struct td_graph *graph = compiler->graph;
  *out_layer = *out_head = 0.0;
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    if (op->kind != TD_OP_MATMUL) continue;
    if (op->layer == 0) *out_layer += (double)op->n * (double)op->k;
    if (op->layer == graph->shape.layers) *out_head += (double)op->n * (double)op->k;
  }
}

/* Layers of chip `chip` of `chips`, so that the last one, which has the head too, holds about as much as the others. */
static int32_t layers_of(const struct lpu_compiler *compiler, int32_t chips, int32_t chip) {
  double layer, head;
  int32_t layers = compiler->graph->shape.layers;
  sizes(compiler, &layer, &head);
  int32_t last = (int32_t)((layers * layer + head) / chips / layer - head / layer);
  if (last < 1) last = 1;
  if (chips < 2) return layers;
  if (chip == chips - 1) return last;
  int32_t others = layers - last;
  return others / (chips - 1) + (chip < others % (chips - 1));
}

/* Weights and state of a chip, after those of the chip before. */
td_status lpu_place_chip(struct lpu_compiler *compiler, int32_t chip) {
  compiler->first_layer = chip == 0 ? 0 : compiler->first_layer + compiler->layers;
  compiler->chip = chip;
  compiler->layers = layers_of(compiler, compiler->chips, chip);
  if (compiler->layers < 1) {
    return td_fail(TD_CONFIG, "lpu.chips: found %d, expected at most one a layer: %d", compiler->chips,
                   compiler->graph->shape.layers);
  }
  lpu_place_begin(compiler);
  if (compiler->layout.spread) TD_TRY(lpu_spread_begin(compiler));
  TD_TRY(lpu_add_weights(compiler));
  TD_TRY(lpu_add_state(compiler));
  lpu_place_scratches(compiler);
  return TD_OK;
}

/* ---- layouts ---- */

/* Whether it fits `chips` chips so; the error text says what does not. */
static td_status try_layout(const struct lpu_compiler *compiler, int32_t chips, const struct lpu_layout *layout) {
  struct lpu_compiler trial = *compiler;
  trial.weights = NULL;
  trial.places_only = true;
  trial.chips = chips;
  trial.layout = *layout;
  TD_TRY(lpu_builder_open(compiler->machine, chips, &trial.builder));
  trial.builder->dry = true;
  td_status status = lpu_compile_all(&trial);
  lpu_builder_close(trial.builder);
  return status;
}

/* The head with as many rows at a time as fit, halving: the fewest first, to know whether any would do. */
static td_status try_heads(const struct lpu_compiler *compiler, int32_t chips, struct lpu_layout *layout) {
  layout->head_rows = 1;
  TD_TRY(try_layout(compiler, chips, layout));
  for (int32_t rows = compiler->rows; rows > 1; rows = (rows + 1) / 2) {
    layout->head_rows = rows;
    td_status status = try_layout(compiler, chips, layout);
    if (status != TD_EXHAUSTED) return status;
  }
  layout->head_rows = 1;
  return TD_OK;
}

/* The first layout in which it fits; the error text says what does not fit in the last. */
static td_status try_places(const struct lpu_compiler *compiler, int32_t chips, struct lpu_layout *out) {
  *out = (struct lpu_layout){.head_rows = compiler->rows};
  td_status status = try_layout(compiler, chips, out);
  if (status != TD_EXHAUSTED) return status;
  static const struct lpu_layout layouts[] = {{.shared = true},
                                              {.shared = true, .balanced = true},
                                              {.shared = true, .spread = true},
                                              {.shared = true, .spread = true, .balanced = true}};
  for (size_t i = 0; i < sizeof layouts / sizeof *layouts && status == TD_EXHAUSTED; i++) {
    if (layouts[i].spread && !lpu_can_spread(compiler->machine)) break;
    *out = layouts[i];
    status = try_heads(compiler, chips, out);
  }
  return status;
}

#define MOST_CHIPS 64
static int32_t most_chips(const struct lpu_compiler *compiler) {
  return compiler->graph->shape.layers < MOST_CHIPS ? compiler->graph->shape.layers : MOST_CHIPS;
}
static int32_t least_chips(const struct lpu_compiler *compiler, struct lpu_layout *out) {
  for (int32_t chips = 1; chips <= most_chips(compiler); chips++) {
    if (!try_places(compiler, chips, out)) return chips;
  }
  return 0;
}

/* A vector is received link_latency cycles after its SEND, all of it: a link that takes longer cannot hand it on. */
static td_status check_links(const struct lpu_compiler *compiler) {
  const struct td_lpu_machine *machine = compiler->machine;
  int32_t bytes = machine->lanes + machine->link_overhead_bytes;
  double cycles = bytes * machine->clock_hz / machine->link_bytes_per_second;
  if (compiler->chips == 1 || cycles <= machine->link_latency) return TD_OK;
  return td_fail(TD_UNSUPPORTED,
                 "LPU %s: %d chips need links, and a vector of %d B takes %.0f cycles of %g MHz on one of %g GB/s: "
                 "expected at most the %d of link_latency, that is %.3g GB/s",
                 machine->name, compiler->chips, bytes, cycles, machine->clock_hz / 1e6,
                 machine->link_bytes_per_second / 1e9, machine->link_latency,
                 bytes * machine->clock_hz / machine->link_latency / 1e9);
}

/* A vector of fp16 for K and one for V, a token and layer. */
static double kv_megabytes(const struct lpu_compiler *compiler) {
  double tokens = (double)compiler->options->kv_blocks * compiler->options->block_tokens;
  return tokens * compiler->graph->shape.layers * 4.0 * compiler->machine->lanes / 1e6;
}

static td_status choose_chips(struct lpu_compiler *compiler) {
  int32_t wanted = compiler->options->chips;
  if (wanted < 0 || wanted > MOST_CHIPS) TD_TRY(lpu_in_range("chips", wanted, 0, MOST_CHIPS));
  compiler->chips = wanted > 0 ? wanted : 1;
  td_status status = try_places(compiler, compiler->chips, &compiler->layout);
  if (status != TD_EXHAUSTED) return status;
  char why[512];
  snprintf(why, sizeof why, "%s", td_error_text());
  int32_t least = least_chips(compiler, &compiler->layout);
  if (wanted == 0 && least > 0) {
    compiler->chips = least;
    return TD_OK;
  }
  double layer, head;
  sizes(compiler, &layer, &head);
  double megabytes = (layer * compiler->graph->shape.layers + head) / 1e6 *
                     (compiler->options->weights == TD_LPU_WEIGHTS_F16 ? 2.0 : 1.0);
  char fit[64];
  snprintf(fit, sizeof fit, "no number of chips up to %d, one a layer, would do", most_chips(compiler));
  if (least > 0) snprintf(fit, sizeof fit, "%d chip%s would do", least, least > 1 ? "s" : "");
  return td_fail(TD_EXHAUSTED, "%s; weights of %.1f MB and a KV cache of %.1f MB on chips of %.1f MB each: %s", why,
                 megabytes, kv_megabytes(compiler),
                 (double)compiler->machine->mem_slices * compiler->machine->mem_words * compiler->machine->lanes / 1e6,
                 fit);
}

/* options->chips, or the least that fits. */
td_status lpu_choose_chips(struct lpu_compiler *compiler) {
  TD_TRY(choose_chips(compiler));
  return check_links(compiler);
}
