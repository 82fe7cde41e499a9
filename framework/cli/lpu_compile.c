/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem lpu compile` and `tandem lpu experts`: what a config's pool of LPUs would run.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli_output.h"
#include "lpu_command.h"
#include "lpu_explain.h"
#include "lpu_sensitivity.h"
#include "lpu_study.h"
#include "tandem/base.h"
#include "tandem/engine.h"
#include "tandem/experiment.h"

static td_status find_pool(const struct td_config *config, const struct td_experiment *experiment, const char *name,
                           int32_t *out_pool) {
  const struct td_cfg_pool *pools = experiment->cluster.pools.items;
  for (int32_t i = 0; i < experiment->cluster.pools.count; i++) {
    bool meant = name ? strcmp(pools[i].name, name) == 0 : strncmp(pools[i].backend, "lpu", 3) == 0;
    if (!meant) continue;
    *out_pool = i;
    return TD_OK;
  }
  if (name) return td_fail(TD_USAGE, "--pool: found no pool \"%s\" in %s", name, td_config_path(config));
  return td_config_fail(config, "cluster.pools", "found no pool of backend lpu, expected one");
}

static td_status read_part(const struct lpu_arguments *arguments, bool *out_ffn) {
  *out_ffn = arguments->part && strcmp(arguments->part, "ffn") == 0;
  if (!arguments->part || *out_ffn || strcmp(arguments->part, "all") == 0) return TD_OK;
  return td_fail(TD_USAGE, "--part: found \"%s\", expected all or ffn", arguments->part);
}

/* What the compiler was asked, what it chose among, and what it made. */
struct made {
  struct td_device_params *params;
  struct td_model *model;
  struct td_graph *graph;
  struct td_slice slice;
  struct td_lpu_options options;
  struct td_lpu_groupings groupings;
  struct td_lpu_program *program;
};

static void made_free(struct made *made) {
  td_lpu_program_free(made->program);
  td_graph_free(made->graph);
  td_device_params_close(made->params);
  td_model_close(made->model);
}

static td_status compile_graph(bool data, bool ffn, struct made *made) {
  const struct td_lpu_machine *machine = td_lpu_machine_of(made->params);
  const void **weights = NULL;
  TD_TRY(td_graph_build(made->model, &made->graph));
  const struct td_graph *graph = made->graph;
  made->slice = ffn ? (struct td_slice){0, graph->shape.layers, TD_PART_FFN} : td_slice_whole(graph);
  td_status status = data ? td_lpu_model_weights(made->model, graph, &weights) : TD_OK;
  made->options.timing_only = !data;
  if (!status) {
    status = td_lpu_compile_compared(machine, graph, &made->slice, weights, &made->options, &made->groupings,
                                     &made->program);
  }
  free(weights);
  return status;
}

/* What a run would ask the compiler; of a shape, which no run executes, what the pool says by itself. */
static td_status find_options(const struct td_config *config, const struct td_experiment *experiment, int32_t pool,
                              const struct td_model *model, struct td_lpu_options *out) {
  const struct td_cfg_pool *pools = experiment->cluster.pools.items;
  if (td_model_has_weights(model)) return td_engine_lpu_options(config, experiment, pool, out);
  struct td_lpu_choice choice = td_experiment_lpu(&pools[pool]);
  *out = td_lpu_choice_options(&choice, td_model_shape(model), (int32_t)experiment->engine.block_tokens, 0);
  return TD_OK;
}

static td_status open_pool(const struct td_config *config, const struct td_experiment *experiment, int32_t pool,
                           struct made *made) {
  const struct td_cfg_pool *pools = experiment->cluster.pools.items;
  TD_TRY(td_model_open(experiment->model, &made->model));
  TD_TRY(find_options(config, experiment, pool, made->model, &made->options));
  return td_device_params_open(pools[pool].device, &made->params);
}

static td_status compile_pool(const struct td_config *config, const struct td_experiment *experiment, int32_t pool,
                              bool data, bool ffn, struct made *made) {
  TD_TRY(open_pool(config, experiment, pool, made));
  return compile_graph(data, ffn, made);
}

static void print_head(const struct td_experiment *experiment, const struct td_lpu_options *options,
                       const struct td_lpu_program *program) {
  printf("model       %s\n", experiment->model);
  printf("weights     %s, activations %s, up to %d row%s", td_lpu_weights_name(options->weights),
         td_lpu_activations_name(options->activations), options->rows, options->rows == 1 ? "" : "s");
  if (program->block_tokens) printf(", context %d, %d KV blocks", options->context, options->kv_blocks);
  printf("\n");
}

static void print_grouping(const struct td_lpu_grouping *grouping, bool rate) {
  printf("%d stage%s of %d chip%s", grouping->stages, grouping->stages == 1 ? "" : "s", grouping->tensor,
         grouping->tensor == 1 ? "" : "s");
  if (grouping->cycles && rate) printf(" (one every %" PRId64 " of", grouping->interval);
  if (grouping->cycles) printf("%s%" PRId64 " cycles)", rate ? " " : " (", grouping->cycles);
}

/* Why the layers lie as they do. */
static void print_groupings(const struct made *made) {
  const char *why = made->options.tensor ? ": asked for" : ": nothing else fits";
  bool rate = made->options.objective == TD_LPU_THROUGHPUT;
  int32_t chips = made->program->chips;
  if (chips == 1 && made->options.chips <= 1) return;
  printf("grouping    ");
  print_grouping(&made->groupings.items[0], rate);
  for (int32_t i = 1; i < made->groupings.count; i++) {
    if (i == 1) printf(rate ? ": the most steps in a time with one in each stage" : ": the shortest");
    printf(i == 1 ? " of a full step at the end of what the KV cache holds, before " : ", ");
    print_grouping(&made->groupings.items[i], rate);
  }
  puts(made->groupings.count > 1 ? "" : why);
  if (chips < made->options.chips) {
    printf("chips       %d of %d: what is left over would not make it better\n", chips, made->options.chips);
  }
}

static void print_study(const struct lpu_arguments *arguments, const struct td_experiment *experiment,
                        const struct made *made, const struct lpu_study *study) {
  print_head(experiment, &made->options, made->program);
  print_groupings(made);
  lpu_study_print(study, stdout);
  if (arguments->dump) td_lpu_program_dump(made->program, -1, stdout);
}

/* On as many chips as the answer: machines are compared, not systems. */
static td_status find_sensitivity(const struct made *made, const struct lpu_study *study, int64_t cycles,
                                  struct lpu_sensitivity *out) {
  struct lpu_question question = {.params = made->params,
                                  .graph = made->graph,
                                  .slice = made->slice,
                                  .options = made->options,
                                  .rows = study->step.row_count,
                                  .position = study->position};
  question.options.chips = made->program->chips;
  return lpu_sensitivity_open(&question, cycles, out);
}

/* Of the weights that the slice multiplies with, as the program has them. */
static td_status count_matrix_bytes(const struct made *made, int64_t *out_bytes) {
  struct td_slice_ops ops;
  int64_t elements = 0;
  TD_TRY(td_slice_ops_build(made->graph, &made->slice, &ops));
  for (int32_t i = 0; i < ops.op_count; i++) {
    const struct td_op *op = &made->graph->ops[ops.ops[i]];
    if (op->kind == TD_OP_MATMUL) elements += op->n * op->k;
  }
  td_slice_ops_free(&ops);
  *out_bytes = elements * (made->options.weights == TD_LPU_WEIGHTS_F16 ? 2 : 1);
  return TD_OK;
}

/* What was asked for beside the study. */
struct asked {
  struct lpu_waterfall fall;
  struct lpu_sensitivity sensitivity;
};

static td_status find_asked(const struct lpu_arguments *arguments, const struct made *made,
                            const struct lpu_study *study, struct asked *out) {
  int64_t matrix_bytes;
  int32_t layers;
  int64_t cycles = lpu_study_layers(study, &layers);
  if (!layers) cycles = study->counts.cycles;
  if (arguments->explain) {
    TD_TRY(count_matrix_bytes(made, &matrix_bytes));
    TD_TRY(lpu_waterfall_make(study, matrix_bytes, &out->fall));
  }
  return arguments->sensitivity ? find_sensitivity(made, study, cycles, &out->sensitivity) : TD_OK;
}

static td_status report_study(const struct lpu_arguments *arguments, const struct td_experiment *experiment,
                              const struct made *made, const struct lpu_study *study) {
  struct asked asked = {0};
  TD_TRY(find_asked(arguments, made, study, &asked));
  if (arguments->json) {
    lpu_study_json(study, stdout);
    if (arguments->explain) lpu_waterfall_json(&asked.fall, stdout);
    if (arguments->sensitivity) lpu_sensitivity_json(&asked.sensitivity, arguments->published, stdout);
    puts("}");
  } else {
    print_study(arguments, experiment, made, study);
    if (arguments->explain) lpu_waterfall_print(study, &asked.fall, stdout);
    if (arguments->sensitivity) lpu_sensitivity_print(&asked.sensitivity, arguments->published, stdout);
  }
  lpu_sensitivity_close(&asked.sensitivity);
  return TD_OK;
}

static td_status report(const struct lpu_arguments *arguments, const struct td_experiment *experiment,
                        const struct made *made) {
  const struct td_lpu_program *program = made->program;
  struct lpu_study study;
  int32_t rows, position;
  TD_TRY(lpu_read_step(arguments, made->options.rows, &rows, &position));
  TD_TRY(lpu_study_open(program, rows, position, &study));
  td_status status = arguments->picture ? lpu_study_picture(&study, arguments->picture) : TD_OK;
  if (!status && arguments->output) status = td_lpu_program_save(program, arguments->output);
  if (!status) status = report_study(arguments, experiment, made, &study);
  lpu_study_close(&study);
  return status;
}

static td_status check_outputs(const struct lpu_arguments *arguments, const struct td_experiment *experiment) {
  const char *outputs[2] = {arguments->output, arguments->picture};
  for (int i = 0; i < 2; i++) {
    if (!outputs[i]) continue;
    TD_TRY(td_check_output(outputs[i]));
    TD_TRY(td_output_is_not(outputs[i], arguments->positionals[1], "the config"));
    TD_TRY(td_output_is_not(outputs[i], experiment->model, "the model"));
  }
  return TD_OK;
}

static td_status read_published(struct lpu_arguments *arguments) {
  char *end = NULL;
  if (!arguments->against) return TD_OK;
  if (!arguments->sensitivity) return td_fail(TD_USAGE, "--against: found no --sensitivity, expected it too");
  arguments->published = strtod(arguments->against, &end);
  if (end != arguments->against && !*end && isfinite(arguments->published) && arguments->published > 0) return TD_OK;
  return td_fail(TD_USAGE, "--against: found \"%s\", expected seconds, above 0", arguments->against);
}

td_status lpu_compile_command(struct lpu_arguments *arguments) {
  struct td_config *config;
  struct td_experiment experiment;
  struct made made = {.options = {.rows = 1}};
  int32_t pool = 0;
  bool ffn;
  TD_TRY(read_part(arguments, &ffn));
  TD_TRY(read_published(arguments));
  TD_TRY(lpu_refuse_flag("compile", "--segment", arguments->segment != NULL));
  TD_TRY(lpu_refuse_draws("compile", &arguments->experts));
  TD_TRY(lpu_refuse_flag("compile", "--dump beside --json", arguments->dump && arguments->json));
  TD_TRY(td_experiment_open(arguments->positionals[1], arguments->sets, arguments->set_count, &config, &experiment));
  td_status status = find_pool(config, &experiment, arguments->pool, &pool);
  if (!status) status = check_outputs(arguments, &experiment);
  if (!status) status = compile_pool(config, &experiment, pool, arguments->output != NULL, ffn, &made);
  if (!status) status = report(arguments, &experiment, &made);
  made_free(&made);
  td_config_close(config);
  return status;
}

/* ---- experts ---- */

static td_status refuse_files(const struct lpu_arguments *arguments) {
  TD_TRY(lpu_refuse_flag("experts", "-o", arguments->output != NULL));
  TD_TRY(lpu_refuse_flag("experts", "--svg", arguments->picture != NULL));
  TD_TRY(lpu_refuse_flag("experts", "--part", arguments->part != NULL));
  TD_TRY(lpu_refuse_flag("experts", "--segment", arguments->segment != NULL));
  TD_TRY(lpu_refuse_flag("experts", "--rows", arguments->rows != NULL));
  TD_TRY(lpu_refuse_flag("experts", "--position", arguments->position != NULL));
  TD_TRY(lpu_refuse_flag("experts", "--dump", arguments->dump));
  TD_TRY(lpu_refuse_flag("experts", "--explain", arguments->explain));
  return lpu_refuse_flag("experts", "--against", arguments->against != NULL);
}

td_status lpu_experts_command(struct lpu_arguments *arguments) {
  struct td_config *config;
  struct td_experiment experiment;
  struct made made = {.options = {.rows = 1}};
  int32_t pool = 0;
  TD_TRY(refuse_files(arguments));
  TD_TRY(td_experiment_open(arguments->positionals[1], arguments->sets, arguments->set_count, &config, &experiment));
  td_status status = find_pool(config, &experiment, arguments->pool, &pool);
  if (!status) status = open_pool(config, &experiment, pool, &made);
  if (!status) status = td_graph_build(made.model, &made.graph);
  struct lpu_experts_question question = {.graph = made.graph, .options = made.options};
  question.params = made.params;
  if (!status) question.machine = td_lpu_machine_of(made.params);
  arguments->experts.sensitivity = arguments->sensitivity;
  if (!status) status = lpu_experts_run(&arguments->experts, &experiment, pool, &question, arguments->json);
  made_free(&made);
  td_config_close(config);
  return status;
}
