/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole steps through the runner, as the engine runs them: one sequence, logits of the last token.
 */
#include <math.h>
#include <stdlib.h>

#include "bench.h"
#include "tandem/base.h"

#define REQUEST 1
#define TRIAL_TOKENS 16
/* A prefill may take this many times `seconds`; a longer one is halved, and the output says so. */
#define PATIENCE 100

struct bench_stepper {
  struct td_device *device;
  struct td_graph *graph;
  struct td_runner *runner;
  int32_t *ids;
  int64_t asked, prompt; /* tokens; what was asked for, and what patience allows */
  double asked_seconds;  /* about what the prompt asked for would take */
  int64_t tokens, past;  /* of the step under measurement */
};

const char *bench_step_name(enum bench_step step) {
  return step == BENCH_PREFILL ? "step/prefill" : "step/decode";
}

static td_status open_parts(struct bench_stepper *stepper, const struct td_model *model) {
  TD_TRY(td_graph_build(model, &stepper->graph));
  struct td_slice whole = td_slice_whole(stepper->graph);
  struct td_runner_options options = {.kv_dtype = TD_F16,
                                      .block_tokens = BENCH_BLOCK_TOKENS,
                                      .kv_blocks = (int32_t)(stepper->prompt / BENCH_BLOCK_TOKENS + 1),
                                      .max_rows = stepper->prompt,
                                      .max_logits = 1};
  TD_TRY(td_alloc((size_t)stepper->prompt, sizeof *stepper->ids, (void **)&stepper->ids));
  for (int64_t i = 0; i < stepper->prompt; i++) {
    stepper->ids[i] = (int32_t)(td_random(1, 1, (uint64_t)i) % (uint64_t)stepper->graph->shape.vocab);
  }
  return td_runner_open(stepper->device, model, stepper->graph, &whole, &options, &stepper->runner);
}

void bench_stepper_close(struct bench_stepper *stepper) {
  if (!stepper) return;
  td_runner_close(stepper->runner);
  td_graph_free(stepper->graph);
  free(stepper->ids);
  free(stepper);
}

static td_status run_step(struct bench_stepper *stepper, int64_t past, int64_t tokens) {
  struct td_step_seq seq = {.request = REQUEST, .past = past, .tokens = tokens, .ids = stepper->ids, .logits = true};
  return td_runner_step(stepper->runner, &seq, 1, false, NULL, NULL, NULL, NULL, NULL, NULL);
}

/* Every step begins where the first did: what it appended is dropped, in no time to speak of. */
static td_status go(void *context, int64_t calls) {
  struct bench_stepper *stepper = context;
  for (int64_t i = 0; i < calls; i++) {
    TD_TRY(run_step(stepper, stepper->past, stepper->tokens));
    if (stepper->past) {
      TD_TRY(td_kv_truncate(td_runner_kv(stepper->runner), REQUEST, stepper->past));
    } else {
      td_kv_release(td_runner_kv(stepper->runner), REQUEST);
    }
  }
  return TD_OK;
}

/* Shortens the prompt until a prefill ends within patience, judged by a short one, the second of two. */
static td_status choose_prompt(struct bench_stepper *stepper, double seconds) {
  int64_t trial = stepper->asked < TRIAL_TOKENS ? stepper->asked : TRIAL_TOKENS;
  stepper->past = 0;
  stepper->tokens = trial;
  TD_TRY(go(stepper, 1));
  int64_t begin = td_device_now(stepper->device);
  TD_TRY(go(stepper, 1));
  double each = td_seconds(td_device_now(stepper->device) - begin) / (double)trial;
  stepper->asked_seconds = each * (double)stepper->asked;
  while (stepper->prompt > trial && each * (double)stepper->prompt > PATIENCE * seconds) stepper->prompt /= 2;
  return TD_OK;
}

td_status bench_stepper_open(struct td_device *device, const struct td_model *model, int64_t prompt, double seconds,
                             struct bench_stepper **out_stepper) {
  struct bench_stepper *stepper;
  TD_TRY(td_alloc(1, sizeof *stepper, (void **)&stepper));
  *stepper = (struct bench_stepper){.device = device, .asked = prompt, .prompt = prompt};
  td_status status = open_parts(stepper, model);
  if (!status) status = choose_prompt(stepper, seconds);
  if (status) {
    bench_stepper_close(stepper);
    return td_fail_within(status, "model %s", td_model_shape(model)->name);
  }
  *out_stepper = stepper;
  return TD_OK;
}

static td_status prepare(struct bench_stepper *stepper, enum bench_step step, struct bench_result *result) {
  stepper->past = step == BENCH_DECODE ? stepper->prompt : 0;
  stepper->tokens = step == BENCH_DECODE ? 1 : stepper->prompt;
  if (step == BENCH_DECODE) TD_TRY(run_step(stepper, 0, stepper->prompt));
  if (stepper->prompt == stepper->asked) return TD_OK;
  return td_format(result->note, sizeof result->note, "a prompt of %lld tokens would take about %.3g s",
                   (long long)stepper->asked, stepper->asked_seconds);
}

static void add_work(const struct bench_stepper *stepper, struct bench_result *result) {
  struct td_step_stats stats = {0};
  td_step_stats_add(&stats, &stepper->graph->shape, stepper->past, stepper->tokens, 1);
  for (int32_t i = 0; i < stepper->graph->op_count; i++) {
    bench_work_add(&result->work, stepper->graph, &stepper->graph->ops[i], TD_F16, &stats);
  }
  result->cached = bench_work_bytes(&result->work) < (double)bench_beyond_caches(stepper->device) / 2;
}

/* Joules of a step, by repeating it for `seconds`; one step is too short for most counters. */
static td_status measure_energy(struct bench_stepper *stepper, double seconds, struct bench_result *result) {
  double before = td_device_energy(stepper->device);
  double steps = ceil(seconds / result->times.seconds.median);
  if (isnan(before)) return TD_OK;
  TD_TRY(go(stepper, (int64_t)steps));
  result->energy_j = (td_device_energy(stepper->device) - before) / steps;
  return TD_OK;
}

td_status bench_stepper_run(struct bench_stepper *stepper, enum bench_step step, double seconds,
                            struct bench_ceilings *ceilings, struct bench_result *out_result) {
  struct bench_result result = {.is_step = true, .energy_j = (double)NAN};
  struct bench_beside beside;
  TD_TRY(td_format(result.name, sizeof result.name, "%s", bench_step_name(step)));
  TD_TRY(prepare(stepper, step, &result));
  result.tokens = stepper->tokens;
  result.past = stepper->past;
  add_work(stepper, &result);
  bool paired = bench_ceilings_beside(ceilings, &result.work, &beside) && !result.cached;
  result.beside = beside.which;
  td_status status = bench_measure(stepper->device, seconds, 2, go, stepper, paired ? &beside : NULL, &result.times);
  if (!status) status = measure_energy(stepper, seconds, &result);
  td_kv_release(td_runner_kv(stepper->runner), REQUEST);
  if (status) return td_fail_within(status, "%s", result.name);
  *out_result = result;
  return TD_OK;
}
