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

static td_status check_products(const struct lpu_compiler *compiler) {
  const struct td_lpu_options *options = compiler->options;
  const struct td_lpu_machine *machine = compiler->machine;
  bool one_plane = options->activations != TD_LPU_ACTIVATIONS_F16;
  int32_t passes = options->activations == TD_LPU_ACTIVATIONS_I8X2 ? 2 : 1;
  int32_t most = machine->accumulator_depth * (one_plane ? 1 : 2) / passes;
  if (!compiler->encoder) TD_TRY(lpu_in_range("rows", options->rows, 1, most));
  return td_lpu_check_types(machine, options->weights, options->activations);
}

static td_status check_options(const struct lpu_compiler *compiler) {
  const struct td_lpu_options *options = compiler->options;
  const struct td_lpu_machine *machine = compiler->machine;
  const struct td_op *op = &compiler->graph->ops[compiler->layer.attention];
  TD_TRY(lpu_in_range("block_tokens", options->block_tokens, machine->load_vectors, machine->lanes));
  TD_TRY(lpu_in_range("kv_blocks", options->kv_blocks, 1, machine->mem_words));
  TD_TRY(lpu_in_range("context", options->context, 1, compiler->graph->shape.context));
  if (options->block_tokens % machine->load_vectors) {
    return td_fail(TD_CONFIG, "lpu.block_tokens: found %d, expected a multiple of %d", options->block_tokens,
                   machine->load_vectors);
  }
  return compiler->layer.rope_q < 0 ? lpu_refuse(op, "expected Q and K through a rope") : TD_OK;
}

/* Heads are rotated, and their lanes summed up, where they come out of a product: so that all vectors are alike, a head
 * begins at every so many lanes. The next divisor; where heads have norms, one that a lane tree has. */
static int32_t find_stride(const struct lpu_compiler *compiler, int32_t head_dim) {
  int32_t lanes = compiler->machine->lanes, superlane = compiler->machine->lanes_per_superlane;
  for (int32_t stride = head_dim; stride <= lanes; stride++) {
    bool tree = stride < superlane ? !(stride & (stride - 1)) : stride % superlane == 0;
    if (lanes % stride == 0 && (tree || compiler->layer.q_norm < 0)) return stride;
  }
  return head_dim; /* wider than the lanes: refused by its share */
}

static int32_t vectors_of(const struct lpu_compiler *compiler, int64_t elements) {
  return (int32_t)((elements + compiler->machine->lanes - 1) / compiler->machine->lanes);
}

static void measure(struct lpu_compiler *compiler) {
  const struct td_graph *graph = compiler->graph;
  compiler->rows = compiler->options->rows;
  compiler->hidden_vectors = vectors_of(compiler, graph->shape.hidden);
  compiler->ffn_vectors = vectors_of(compiler, graph->ops[compiler->layer.up].n);
  if (compiler->ffn_only) return;
  const struct td_op *op = &graph->ops[compiler->layer.attention];
  compiler->encoder = op->bidirectional;
  compiler->head_halves = compiler->machine->lanes / 2 / op->head_dim;
  compiler->head_stride = find_stride(compiler, op->head_dim);
  compiler->q_vectors = vectors_of(compiler, (int64_t)op->heads * op->head_dim);
}

/* ---- whole ---- */

/* The chips of all stages, one stage after the other. */
static td_status place_stages(struct lpu_compiler *chips) {
  int32_t tensor = chips->tensor, stages = chips->stages;
  for (int32_t stage = 0; stage < stages; stage++) {
    struct lpu_compiler *own = chips + stage * tensor;
    if (stage > 0) memcpy(own, own - tensor, (size_t)tensor * sizeof *own);
    TD_TRY(lpu_place_stage(own, stage));
  }
  return TD_OK;
}

static td_status add_forward(struct lpu_compiler *chips, int32_t stage) {
  int32_t tensor = chips->tensor;
  struct lpu_compiler *own = chips + stage * tensor;
  own->forward = lpu_find_forward(chips, stage);
  if (own->forward < 0) return lpu_add_forward(own - tensor, own);
  return lpu_run_forward(own - tensor, own->forward);
}

/* Steps of up to `rows` rows. */
static td_status add_steps(struct lpu_compiler *chips, int32_t rows) {
  int32_t tensor = chips->tensor, stages = chips->stages;
  for (int32_t i = 0; i < tensor * stages; i++) chips[i].rows = rows;
  for (int32_t stage = 0; stage < stages; stage++) {
    struct lpu_compiler *own = chips + stage * tensor;
    const struct lpu_compiler *like = own->alike < stage ? chips + own->alike * tensor : NULL;
    if (stage > 0 && !own->ffn_only) TD_TRY(add_forward(chips, stage));
    if (stage > 0 && own->samples) return lpu_entry_of_rest(own, 0);
    TD_TRY(lpu_add_stage(own, like));
  }
  return TD_OK;
}

/* A step of few rows need not take as long as one of all: the next bucket has a quarter of them. */
#define FEWER 4
int32_t lpu_fewer_rows(const struct lpu_compiler *compiler, int32_t rows) {
  if (rows == 1 || compiler->encoder || compiler->full_steps_only) return 0;
  return rows > FEWER ? rows / FEWER : 1;
}

static td_status compile_steps(struct lpu_compiler *chips) {
  TD_TRY(place_stages(chips));
  TD_TRY(lpu_note_alike(chips));
  for (int32_t rows = chips->rows; rows > 0; rows = lpu_fewer_rows(chips, rows)) TD_TRY(add_steps(chips, rows));
  return TD_OK;
}

td_status lpu_compile_all(const struct lpu_compiler *compiler) {
  size_t count = (size_t)compiler->tensor;
  struct lpu_compiler *chips = NULL;
  TD_TRY(td_alloc(count * (size_t)compiler->stages, sizeof *chips, (void **)&chips));
  for (size_t i = 0; i < count; i++) chips[i] = *compiler;
  td_status status = compile_steps(chips);
  free(chips);
  return status;
}

td_status lpu_compile_candidate(const struct lpu_compiler *from, const struct lpu_candidate *candidate,
                                struct td_lpu_program **out_program) {
  struct lpu_compiler compiler = *from;
  compiler.layout = candidate->layout;
  compiler.tensor = candidate->grouping.tensor;
  compiler.stages = candidate->grouping.stages;
  compiler.chips = compiler.tensor * compiler.stages;
  TD_TRY(lpu_builder_open(compiler.machine, compiler.chips, &compiler.builder));
  compiler.builder->program->block_tokens = compiler.ffn_only || compiler.encoder ? 0 : compiler.options->block_tokens;
  compiler.builder->program->tensor = compiler.tensor;
  compiler.builder->counting = compiler.full_steps_only;
  td_status status = lpu_compile_all(&compiler);
  if (!status) status = lpu_builder_finish(compiler.builder, out_program);
  lpu_builder_close(compiler.builder);
  return status;
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

/* The whole model, or the FFNs of some layers. */
static td_status take_slice(struct lpu_compiler *compiler, const struct td_slice *slice) {
  struct td_slice whole = td_slice_whole(compiler->graph);
  int32_t layers = compiler->graph->shape.layers;
  compiler->end = layers;
  if (slice->layer_begin == whole.layer_begin && slice->layer_end == whole.layer_end && slice->parts == whole.parts) {
    return TD_OK;
  }
  bool inside = slice->layer_begin >= 0 && slice->layer_begin < slice->layer_end && slice->layer_end <= layers;
  if (!inside || slice->parts != TD_PART_FFN) {
    return td_fail(TD_UNSUPPORTED,
                   "LPU: found a slice of layers %d..%d, parts %u, expected the whole model, or the FFNs (parts %d) of "
                   "some of its layers 0..%d",
                   slice->layer_begin, slice->layer_end - 1, slice->parts, TD_PART_FFN, layers - 1);
  }
  compiler->begin = slice->layer_begin;
  compiler->end = slice->layer_end;
  compiler->ffn_only = true;
  return TD_OK;
}

uint32_t lpu_parts(const struct lpu_compiler *compiler) {
  return compiler->ffn_only ? TD_PART_FFN : TD_PART_ALL;
}

static td_status check_all(struct lpu_compiler *compiler) {
  measure(compiler);
  TD_TRY(lpu_check_layers(compiler));
  TD_TRY(check_products(compiler));
  TD_TRY(lpu_open_experts(compiler));
  if (compiler->encoder) return lpu_open_encoder(compiler);
  return compiler->ffn_only ? TD_OK : check_options(compiler);
}

/* What is there to compile; free(compiler->found) also where it fails. */
static td_status begin(const struct td_lpu_machine *machine, const struct td_graph *graph, const struct td_slice *slice,
                       const struct td_lpu_options *options, struct lpu_compiler *compiler) {
  memset(compiler, 0, sizeof *compiler);
  TD_TRY(lpu_check_slices(machine));
  compiler->machine = machine;
  compiler->graph = graph;
  compiler->options = options;
  TD_TRY(take_slice(compiler, slice));
  TD_TRY(lpu_find_layers(compiler));
  return check_all(compiler);
}

td_status td_lpu_compile_compared(const struct td_lpu_machine *machine, const struct td_graph *graph,
                                  const struct td_slice *slice, const void *const *weights,
                                  const struct td_lpu_options *options, struct td_lpu_groupings *out_groupings,
                                  struct td_lpu_program **out_program) {
  struct lpu_compiler compiler;
  struct lpu_candidate candidates[TD_LPU_MOST_GROUPINGS];
  int32_t count = 0;
  td_status status = begin(machine, graph, slice, options, &compiler);
  if (!status) status = lpu_choose(&compiler, candidates, &count);
  for (int32_t i = 0; i < count; i++) out_groupings->items[i] = candidates[i].grouping;
  out_groupings->count = count;
  compiler.weights = weights;
  compiler.repeats = compiler.places_only = options->timing_only && !weights;
  if (!status) status = lpu_compile_candidate(&compiler, &candidates[0], out_program);
  free(compiler.found);
  return status;
}

td_status td_lpu_compile(const struct td_lpu_machine *machine, const struct td_graph *graph,
                         const struct td_slice *slice, const void *const *weights, const struct td_lpu_options *options,
                         struct td_lpu_program **out_program) {
  struct td_lpu_groupings compared;
  return td_lpu_compile_compared(machine, graph, slice, weights, options, &compared, out_program);
}

td_status lpu_compile_laid_out(const struct td_lpu_machine *machine, const struct td_graph *graph,
                               const void *const *weights, const struct td_lpu_options *options,
                               const struct lpu_layout *layout, struct td_lpu_program **out_program) {
  struct lpu_compiler compiler;
  struct td_slice whole = td_slice_whole(graph);
  if (!layout) return td_lpu_compile(machine, graph, &whole, weights, options, out_program);
  struct lpu_candidate candidate = {.grouping = {.tensor = options->tensor ? options->tensor : 1}, .layout = *layout};
  candidate.grouping.stages = options->chips / candidate.grouping.tensor;
  td_status status = begin(machine, graph, &whole, options, &compiler);
  compiler.weights = weights;
  if (!status) status = lpu_compile_candidate(&compiler, &candidate, out_program);
  free(compiler.found);
  return status;
}
