/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole steps of the made models, as the engine runs them, sampling included. What they take beyond their operators by
 * themselves is the entry "step": named times, and for each class of operators a ratio.
 */
#include <stdlib.h>

#include "calibrate.h"
#include "tandem/base.h"

#define PASSES 2 /* of a round, over all batches */
#define TIMES (CALIBRATE_ROUNDS * PASSES)
#define SEQUENCES 16
#define CONTEXT 512
#define ROWS 256

/* A batch: so many sequences, each with so many tokens after so many. */
struct batch {
  int64_t sequences, past, tokens;
};
static const struct batch batches[] = {
    {1, 32, 1}, {1, 128, 1}, {1, 480, 1}, {2, 64, 1}, {3, 96, 1}, {4, 48, 1},  {4, 256, 1}, {6, 100, 1},
    {8, 64, 1}, {12, 80, 1}, {16, 60, 1}, {1, 0, 16}, {1, 0, 48}, {1, 0, 128}, {1, 0, 256}, {1, 128, 32},
    {2, 0, 24}, {4, 0, 16},  {4, 16, 16}, {4, 32, 5}, {8, 0, 16}, {3, 100, 4},
};
#define BATCHES (sizeof batches / sizeof *batches)

/* A made model, and what its batches took. */
struct stepper {
  struct td_graph *graph;
  struct td_runner *runner;
  int32_t *ids;
  double times[BATCHES][TIMES];
};

struct calibrate_steps {
  struct stepper steppers[CALIBRATE_MODELS];
  int32_t model_count, times; /* how often each batch was timed */
};

static td_status open_stepper(struct calibrate *calibrate, int32_t number, struct stepper *stepper) {
  const struct td_model *model;
  struct td_runner_options options = {.kv_dtype = TD_F16,
                                      .block_tokens = BENCH_BLOCK_TOKENS,
                                      .kv_blocks = SEQUENCES * (CONTEXT / BENCH_BLOCK_TOKENS),
                                      .max_rows = ROWS,
                                      .max_logits = SEQUENCES};
  TD_TRY(bench_model_weights(&calibrate->models[number], 1, &model));
  TD_TRY(td_graph_build(model, &stepper->graph));
  struct td_slice whole = td_slice_whole(stepper->graph);
  TD_TRY(td_alloc(ROWS, sizeof *stepper->ids, (void **)&stepper->ids));
  for (uint64_t i = 0; i < ROWS; i++) {
    stepper->ids[i] = (int32_t)(td_random(1, 1, i) % (uint64_t)stepper->graph->shape.vocab);
  }
  return td_runner_open(calibrate->device, model, stepper->graph, &whole, &options, &stepper->runner);
}

static void close_stepper(struct stepper *stepper) {
  td_runner_close(stepper->runner);
  td_graph_free(stepper->graph);
  free(stepper->ids);
}

/* As if `past` positions had been computed: their values do not change the time. */
static td_status prepare(const struct stepper *stepper, const struct batch *batch) {
  struct td_kv_store *kv = td_runner_kv(stepper->runner);
  for (int64_t i = 0; i < batch->sequences && batch->past; i++) {
    TD_TRY(td_kv_reserve(kv, (uint64_t)i, batch->past));
    TD_TRY(td_kv_advance(kv, (uint64_t)i, batch->past));
  }
  return TD_OK;
}

static td_status step(const struct stepper *stepper, const struct batch *batch) {
  struct td_step_seq seqs[SEQUENCES];
  const struct td_sampling greedy = {.top_p = 1};
  struct td_sample sample;
  const float *logits;
  int64_t rows;
  for (int64_t i = 0; i < batch->sequences; i++) {
    seqs[i] = (struct td_step_seq){
        .request = (uint64_t)i, .past = batch->past, .tokens = batch->tokens, .ids = stepper->ids, .logits = true};
  }
  TD_TRY(
      td_runner_step(stepper->runner, seqs, (int32_t)batch->sequences, false, NULL, NULL, NULL, NULL, &logits, &rows));
  for (int64_t i = 0; i < rows; i++) {
    TD_TRY(td_sample_row(logits + i * stepper->graph->shape.vocab, stepper->graph->shape.vocab, &greedy, (uint64_t)i, 0,
                         &sample));
  }
  return TD_OK;
}

static td_status time_batch(const struct stepper *stepper, const struct batch *batch, double *out_seconds) {
  td_status status = prepare(stepper, batch);
  int64_t begin = td_now_ps();
  if (!status) status = step(stepper, batch);
  *out_seconds = td_seconds(td_now_ps() - begin);
  for (int64_t i = 0; i < batch->sequences; i++) td_kv_release(td_runner_kv(stepper->runner), (uint64_t)i);
  return status;
}

static td_status time_pass(struct calibrate *calibrate, struct calibrate_steps *steps) {
  for (size_t i = 0; i < BATCHES; i++) {
    for (int32_t m = 0; m < steps->model_count; m++) {
      struct stepper *stepper = &steps->steppers[m];
      td_progress_update(&calibrate->progress, calibrate->done++, calibrate->all);
      TD_TRY(time_batch(stepper, &batches[i], &stepper->times[i][steps->times]));
    }
  }
  return TD_OK;
}

static int32_t passes(const struct calibrate *calibrate) {
  return calibrate->options.quick ? 1 : PASSES;
}

/* All batches of all models in turn, again and again, so that a machine that changes its pace does so for all. What a
 * batch makes once, it makes in a pass that does not count: the next one's times are written over. */
td_status calibrate_steps_round(struct calibrate *calibrate, struct calibrate_steps *steps) {
  if (!steps->times) TD_TRY(time_pass(calibrate, steps));
  for (int32_t i = 0; i < passes(calibrate); i++, steps->times++) TD_TRY(time_pass(calibrate, steps));
  return TD_OK;
}

uint64_t calibrate_step_count(const struct calibrate *calibrate) {
  return (uint64_t)calibrate->model_count * BATCHES * (uint64_t)passes(calibrate);
}

/* A median is no batch's mean: now and then a step takes much longer. Ten repeats do not tell how often for a batch
 * by itself, all of them together do. Sorts the times. */
static double mean_over_median(struct calibrate_steps *steps) {
  double sum = 0;
  for (int32_t m = 0; m < steps->model_count; m++) {
    for (size_t i = 0; i < BATCHES; i++) {
      double *times = steps->steppers[m].times[i], median = bench_spread_of(times, steps->times).median;
      for (int32_t j = 0; j < steps->times; j++) sum += times[j] / median;
    }
  }
  size_t all = (size_t)steps->model_count * BATCHES * (size_t)steps->times;
  return sum / (double)all;
}

static td_status add_row(const struct calibrate *calibrate, const struct stepper *stepper, size_t number,
                         double seconds, int32_t family, struct calibrate_rows *rows) {
  const struct batch *batch = &batches[number];
  struct td_slice whole = td_slice_whole(stepper->graph);
  struct td_step_stats stats = {0};
  struct td_measured_row row = {.seconds = seconds, .family = family};
  for (int64_t i = 0; i < batch->sequences; i++) {
    td_step_stats_add(&stats, &stepper->graph->shape, batch->past, batch->tokens, 1);
  }
  row.uses[TD_MEASURED_STEP] = 1;
  row.uses[TD_MEASURED_LOGIT] = (double)stats.v[TD_SYM_LOGITS] * stepper->graph->shape.vocab;
  TD_TRY(td_measured_sum(&calibrate->params, stepper->graph, &whole, TD_F16, &stats, row.uses + TD_MEASURED_RATIOS));
  return calibrate_add_row(rows, &row, stats.v[TD_SYM_TOKENS]);
}

td_status calibrate_steps_fit(struct calibrate *calibrate, struct calibrate_steps *steps) {
  struct calibrate_rows rows = {0};
  td_status status = TD_OK;
  double usual = mean_over_median(steps);
  for (int32_t m = 0; m < steps->model_count; m++) {
    struct stepper *stepper = &steps->steppers[m];
    for (size_t i = 0; i < BATCHES && !status; i++) {
      double seconds = bench_spread_of(stepper->times[i], steps->times).median * usual;
      status = add_row(calibrate, stepper, i, seconds, m, &rows);
    }
  }
  if (!status) status = calibrate_add_op(calibrate, &rows, TD_OP_SAMPLE, TD_F32);
  calibrate_rows_free(&rows);
  return status;
}

td_status calibrate_steps_open(struct calibrate *calibrate, struct calibrate_steps **out_steps) {
  struct calibrate_steps *steps;
  TD_TRY(td_alloc(1, sizeof *steps, (void **)&steps));
  *out_steps = steps;
  for (int32_t m = 0; m < calibrate->model_count; m++) {
    steps->model_count++;
    TD_TRY(open_stepper(calibrate, m, &steps->steppers[m]));
  }
  return TD_OK;
}

void calibrate_steps_close(struct calibrate_steps *steps) {
  if (!steps) return;
  for (int32_t m = 0; m < steps->model_count; m++) close_stepper(&steps->steppers[m]);
  free(steps);
}
