/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole steps of the made models, as the engine runs them, sampling included. What they take beyond their operators by
 * themselves is the entry "step": named times, and for each class of operators a ratio.
 */
#include <stdlib.h>

#include "calibrate.h"
#include "tandem/base.h"

#define ROUNDS 7
#define QUICK_ROUNDS 1
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
  double times[BATCHES][ROUNDS];
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

static td_status time_round(struct calibrate *calibrate, struct stepper *steppers, int32_t round) {
  for (size_t i = 0; i < BATCHES; i++) {
    for (int32_t m = 0; m < calibrate->model_count; m++) {
      td_progress_update(&calibrate->progress, calibrate->done++, calibrate->all);
      TD_TRY(time_batch(&steppers[m], &batches[i], &steppers[m].times[i][round]));
    }
  }
  return TD_OK;
}

/* All batches of all models in turn, again and again, so that a machine that changes its pace does so for all. What a
 * batch makes once, it makes in a round that does not count: the first one's times are written over. */
static td_status time_batches(struct calibrate *calibrate, struct stepper *steppers, int32_t rounds) {
  TD_TRY(time_round(calibrate, steppers, 0));
  for (int32_t round = 0; round < rounds; round++) TD_TRY(time_round(calibrate, steppers, round));
  return TD_OK;
}

/* A median is no batch's mean: now and then a step takes much longer. Seven repeats do not tell how often for a batch
 * by itself, all of them together do. Sorts the times. */
static double mean_over_median(struct stepper *steppers, int32_t count, int32_t rounds) {
  double sum = 0;
  for (int32_t m = 0; m < count; m++) {
    for (size_t i = 0; i < BATCHES; i++) {
      double *times = steppers[m].times[i], median = bench_spread_of(times, rounds).median;
      for (int32_t round = 0; round < rounds; round++) sum += times[round] / median;
    }
  }
  size_t all = (size_t)count * BATCHES * (size_t)rounds;
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

static td_status fit_steps(struct calibrate *calibrate, struct stepper *steppers, int32_t rounds) {
  struct calibrate_rows rows = {0};
  td_status status = TD_OK;
  double usual = mean_over_median(steppers, calibrate->model_count, rounds);
  for (int32_t m = 0; m < calibrate->model_count; m++) {
    for (size_t i = 0; i < BATCHES && !status; i++) {
      double seconds = bench_spread_of(steppers[m].times[i], rounds).median * usual;
      status = add_row(calibrate, &steppers[m], i, seconds, m, &rows);
    }
  }
  if (!status) status = calibrate_add_op(calibrate, &rows, TD_OP_SAMPLE, TD_F32);
  calibrate_rows_free(&rows);
  return status;
}

td_status calibrate_steps(struct calibrate *calibrate) {
  int32_t rounds = calibrate->options.quick ? QUICK_ROUNDS : ROUNDS;
  struct stepper *steppers = NULL;
  td_status status = td_alloc(CALIBRATE_MODELS, sizeof *steppers, (void **)&steppers);
  for (int32_t m = 0; m < calibrate->model_count && !status; m++) status = open_stepper(calibrate, m, &steppers[m]);
  if (!status) status = time_batches(calibrate, steppers, rounds);
  if (!status) status = fit_steps(calibrate, steppers, rounds);
  for (int32_t m = 0; m < calibrate->model_count && steppers; m++) close_stepper(&steppers[m]);
  free(steppers);
  return status;
}

uint64_t calibrate_step_count(const struct calibrate *calibrate) {
  uint64_t rounds = calibrate->options.quick ? QUICK_ROUNDS : ROUNDS;
  return (uint64_t)calibrate->model_count * BATCHES * (1 + rounds);
}
