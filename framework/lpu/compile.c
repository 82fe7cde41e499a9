/* SPDX-License-Identifier: Apache-2.0
 *
 * td_lpu_compile: from the graph's operators to places, segments and links.
 */
#include <stdlib.h>
#include <string.h>

#include "compile.h"
#include "tandem/base.h"

/* ---- options ---- */

td_status lpu_in_range(const char *name, int64_t value, int64_t low, int64_t high) {
  if (value >= low && value <= high) return TD_OK;
  return td_fail(TD_CONFIG, "lpu.%s: found %lld, expected %lld..%lld", name, (long long)value, (long long)low,
                 (long long)high);
}

static td_status check_options(const struct lpu_compiler *compiler) {
  const struct td_lpu_options *options = compiler->options;
  const struct td_lpu_machine *machine = compiler->machine;
  const struct td_op *op = &compiler->graph->ops[compiler->layer.attention];
  bool integers = options->activations != TD_LPU_ACTIVATIONS_F16;
  int32_t passes = options->activations == TD_LPU_ACTIVATIONS_I8X2 ? 2 : 1;
  TD_TRY(lpu_in_range("rows", options->rows, 1, machine->accumulator_depth * (integers ? 1 : 2) / passes));
  TD_TRY(lpu_in_range("block_tokens", options->block_tokens, machine->load_vectors, machine->lanes));
  TD_TRY(lpu_in_range("kv_blocks", options->kv_blocks, 1, machine->mem_words));
  TD_TRY(lpu_in_range("context", options->context, 1, compiler->graph->shape.context));
  if (options->block_tokens % machine->load_vectors) {
    return td_fail(TD_CONFIG, "lpu.block_tokens: found %d, expected a multiple of %d", options->block_tokens,
                   machine->load_vectors);
  }
  if (options->activations != TD_LPU_ACTIVATIONS_F16 && options->weights != TD_LPU_WEIGHTS_I8) {
    return td_fail(TD_CONFIG, "lpu.activations: found int8 with fp16 weights, expected int8 weights");
  }
  if (machine->lanes % op->head_dim) {
    return td_fail(TD_UNSUPPORTED, "LPU: heads of %d elements, expected a divisor of the %d lanes", op->head_dim,
                   machine->lanes);
  }
  if (op->heads > machine->accumulator_depth || compiler->head_halves * 2 < op->kv_heads) {
    return td_fail(TD_UNSUPPORTED, "LPU: %d KV heads of %d elements, expected at most %d in %d lanes", op->kv_heads,
                   op->head_dim, compiler->head_halves * 2, machine->lanes);
  }
  if (lpu_one_lane(compiler) < 0) return lpu_refuse(op, "expected a lane of V that no head needs");
  if (op->window > 0) return lpu_refuse(op, "sliding windows are not compiled");
  return TD_OK;
}

/* ---- segments and links ---- */

static td_status run(struct lpu_compiler *compiler, int32_t segment) {
  struct td_lpu_link link = {TD_LINK_RUN, segment, 0, 0, 0, 0};
  return lpu_add_link(compiler->builder, &link);
}

static td_status loop_from(struct lpu_compiler *compiler, enum td_lpu_variable variable, int32_t first, int32_t count) {
  struct td_lpu_link link = {TD_LINK_LOOP, 0, 0, (int32_t)variable, first, count};
  return lpu_add_link(compiler->builder, &link);
}

static td_status loop(struct lpu_compiler *compiler, enum td_lpu_variable variable, int32_t count) {
  return loop_from(compiler, variable, 0, count);
}

static td_status end(struct lpu_compiler *compiler) {
  struct td_lpu_link link = {TD_LINK_END, 0, 0, 0, 0, 0};
  return lpu_add_link(compiler->builder, &link);
}

static td_status loop_over_blocks(struct lpu_compiler *compiler, int32_t segment) {
  TD_TRY(loop(compiler, TD_VAR_BLOCK, 0));
  TD_TRY(run(compiler, segment));
  return end(compiler);
}

static td_status add_layers(struct lpu_compiler *compiler) {
  int32_t dense, row, scores, soft, values, merge, output;
  TD_TRY(lpu_segment_dense(compiler, &dense));
  TD_TRY(lpu_segment_row(compiler, &row));
  TD_TRY(lpu_segment_scores(compiler, &scores));
  TD_TRY(lpu_segment_soft(compiler, &soft));
  TD_TRY(lpu_segment_values(compiler, &values));
  TD_TRY(lpu_segment_merge(compiler, &merge));
  TD_TRY(lpu_segment_output(compiler, &output));
  TD_TRY(loop(compiler, TD_VAR_LAYER, compiler->layers));
  TD_TRY(run(compiler, dense));
  TD_TRY(loop(compiler, TD_VAR_ROW, 0));
  TD_TRY(run(compiler, row));
  TD_TRY(loop_over_blocks(compiler, scores));
  TD_TRY(run(compiler, soft));
  TD_TRY(loop_over_blocks(compiler, values));
  TD_TRY(run(compiler, merge));
  TD_TRY(end(compiler));
  TD_TRY(run(compiler, output));
  return end(compiler);
}

static int32_t vectors_of(const struct lpu_compiler *compiler, int64_t elements) {
  return (int32_t)((elements + compiler->machine->lanes - 1) / compiler->machine->lanes);
}

static void measure(struct lpu_compiler *compiler) {
  const struct td_graph *graph = compiler->graph;
  const struct td_op *op = &graph->ops[compiler->layer.attention];
  compiler->rows = compiler->options->rows;
  compiler->head_halves = compiler->machine->lanes / 2 / op->head_dim;
  compiler->hidden_vectors = vectors_of(compiler, graph->shape.hidden);
  compiler->q_vectors = vectors_of(compiler, (int64_t)op->heads * op->head_dim);
  compiler->ffn_vectors = vectors_of(compiler, graph->shape.ffn);
}

/* ---- whole ---- */

/* The entry of what was linked since the one before. */
static td_status add_entry(struct lpu_compiler *compiler, int32_t first_row) {
  const struct td_lpu_program *program = compiler->builder->program;
  const struct td_lpu_entry *before = program->entry_count ? &program->entries[program->entry_count - 1] : NULL;
  struct td_lpu_entry entry = {.rows = compiler->rows, .first_row = first_row};
  entry.link = before ? before->link + before->link_count : 0;
  entry.link_count = program->link_count - entry.link;
  return lpu_add_entry(compiler->builder, &entry);
}

static td_status run_head(struct lpu_compiler *compiler, int32_t segment, int32_t row) {
  TD_TRY(loop_from(compiler, TD_VAR_ROW, row, 1));
  TD_TRY(run(compiler, segment));
  TD_TRY(end(compiler));
  return add_entry(compiler, row);
}

/* All rows, or an entry for each group of them. */
static td_status add_head(struct lpu_compiler *compiler) {
  int32_t rows = compiler->rows, some = compiler->layout.head_rows, whole = rows / some * some, head = 0, rest = 0;
  TD_TRY(lpu_segment_head(compiler, some, 0, whole - some, &head));
  if (some == rows) {
    TD_TRY(run(compiler, head));
    return add_entry(compiler, 0);
  }
  if (whole < rows) TD_TRY(lpu_segment_head(compiler, rows - whole, whole, whole, &rest));
  for (int32_t row = 0; row < rows; row += some) TD_TRY(run_head(compiler, row < whole ? head : rest, row));
  return TD_OK;
}

td_status lpu_chip_segments(struct lpu_compiler *compiler) {
  TD_TRY(add_layers(compiler));
  return compiler->chip == compiler->chips - 1 ? add_head(compiler) : TD_OK;
}

td_status lpu_compile_all(struct lpu_compiler *compiler) {
  for (int32_t chip = 0; chip < compiler->chips; chip++) {
    struct lpu_compiler sender = *compiler;
    int32_t forward = 0;
    TD_TRY(lpu_place_chip(compiler, chip));
    if (chip > 0) { /* into places that had to be there first */
      TD_TRY(lpu_segment_forward(&sender, compiler->x, &forward));
      TD_TRY(run(compiler, forward));
    }
    TD_TRY(lpu_chip_segments(compiler));
  }
  return TD_OK;
}

td_status td_lpu_model_weights(const struct td_model *model, const struct td_graph *graph, const void ***out_weights) {
  *out_weights = NULL;
  if (!td_model_has_weights(model)) return TD_OK;
  TD_TRY(td_alloc((size_t)graph->weight_count, sizeof **out_weights, (void **)out_weights));
  for (int32_t i = 0; i < graph->weight_count; i++) {
    const struct td_tensor *tensor = td_model_tensor(model, graph->weights[i].name);
    (*out_weights)[i] = tensor ? tensor->data : NULL;
  }
  return TD_OK;
}

static td_status open_compiler(struct lpu_compiler *compiler, const struct lpu_layout *layout) {
  TD_TRY(lpu_check_slices(compiler->machine));
  TD_TRY(lpu_find_layer(compiler->graph, 0, &compiler->layer));
  measure(compiler);
  TD_TRY(check_options(compiler));
  if (!layout) return lpu_choose_chips(compiler);
  compiler->chips = compiler->options->chips;
  compiler->layout = *layout;
  return TD_OK;
}

td_status lpu_compile_laid_out(const struct td_lpu_machine *machine, const struct td_graph *graph,
                               const void *const *weights, const struct td_lpu_options *options,
                               const struct lpu_layout *layout, struct td_lpu_program **out_program) {
  struct lpu_compiler compiler = {.machine = machine, .weights = weights, .graph = graph, .options = options};
  TD_TRY(open_compiler(&compiler, layout));
  TD_TRY(lpu_builder_open(machine, compiler.chips, &compiler.builder));
  compiler.builder->program->block_tokens = options->block_tokens;
  td_status status = lpu_compile_all(&compiler);
  if (!status) status = lpu_builder_finish(compiler.builder, out_program);
  lpu_builder_close(compiler.builder);
  return status;
}

td_status td_lpu_compile(const struct td_lpu_machine *machine, const struct td_graph *graph,
                         const struct td_slice *slice, const void *const *weights, const struct td_lpu_options *options,
                         struct td_lpu_program **out_program) {
  struct td_slice whole = td_slice_whole(graph);
  if (slice->layer_begin != whole.layer_begin || slice->layer_end != whole.layer_end || slice->parts != whole.parts) {
    return td_fail(TD_UNSUPPORTED, "LPU: found a slice of layers %d..%d, expected the whole model", slice->layer_begin,
                   slice->layer_end - 1);
  }
  TD_TRY(lpu_check_layers(graph));
  return lpu_compile_laid_out(machine, graph, weights, options, NULL, out_program);
}
