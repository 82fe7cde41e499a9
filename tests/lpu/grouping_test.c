/* SPDX-License-Identifier: Apache-2.0
 *
 * How many chips share each layer: what is chosen, what is refused, and FFNs alone.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lpu/course.h"
#include "lpu/decoder.h"
#include "lpu/small_model.h"
#include "tandem/devices.h"

static char four_heads[64], three_heads[64], wide_heads[64]; /* paths */

static int write_models(void **state) {
  (void)state;
  snprintf(four_heads, sizeof four_heads, "lpu_grouping_four_%ld.gguf", (long)getpid());
  snprintf(three_heads, sizeof three_heads, "lpu_grouping_three_%ld.gguf", (long)getpid());
  small_model_write(&(struct small_model){3, 192, 288, 12, 4}, four_heads);
  snprintf(wide_heads, sizeof wide_heads, "lpu_grouping_wide_%ld.gguf", (long)getpid());
  small_model_write(&(struct small_model){2, 96, 160, 6, 3}, three_heads);
  small_model_write(&(struct small_model){2, 512, 320, 8, 8}, wide_heads);
  return 0;
}

static int remove_models(void **state) {
  (void)state;
  return remove(four_heads) || remove(three_heads) || remove(wide_heads);
}

struct study {
  struct td_device_params *params;
  struct td_lpu_machine machine;
  struct td_model *model;
  struct td_graph *graph;
  struct td_slice whole;
};

static void open_study(struct study *study, const char *device, const char *model) {
  assert_ok(td_device_params_open(device, &study->params));
  study->machine = *td_lpu_machine_of(study->params);
  assert_ok(td_model_open(model, &study->model));
  assert_ok(td_graph_build(study->model, &study->graph));
  study->whole = td_slice_whole(study->graph);
}

static void close_study(struct study *study) {
  td_graph_free(study->graph);
  td_model_close(study->model);
  td_device_params_close(study->params);
}

static void refuse(const struct study *study, struct td_lpu_options options, td_status code, const char *words) {
  struct td_lpu_program *program = NULL;
  assert_int_equal(td_lpu_compile(&study->machine, study->graph, &study->whole, NULL, &options, &program), code);
  if (!strstr(td_error_text(), words)) fail_msg("found \"%s\", expected \"%s\"", td_error_text(), words);
}

static void test_refused(void **state) {
  (void)state;
  struct study study;
  struct td_lpu_options options = {
      .chips = 4, .tensor = 3, .rows = 1, .block_tokens = 32, .kv_blocks = 2, .context = 64};
  open_study(&study, "groq-lpu-v1", three_heads);
  refuse(&study, options, TD_CONFIG, "lpu.tensor: found 3, expected a divisor of lpu.chips: 4");
  options.chips = options.tensor = 7;
  refuse(&study, options, TD_CONFIG, "lpu.tensor: found 7, expected at most one chip per head: 6");
  options.tensor = 0;
  refuse(&study, options, TD_CONFIG, "lpu.chips: found 7, expected at most one a layer and head, 2 x 6");
  options.tensor = -1;
  refuse(&study, options, TD_CONFIG, "lpu.tensor: found -1, expected 0..4096");
  options.chips = options.tensor = 2;
  study.machine.links_used = 1;
  refuse(&study, options, TD_UNSUPPORTED, "no link leads from chip 0 to chip 1 of 2 (1 links are wired)");
  close_study(&study);
}

/* Compiles, and what was compared: the first is taken. It takes as long as `step` (may be NULL). */
static void compare(const struct study *study, struct td_lpu_options options, const struct td_lpu_step *step,
                    struct td_lpu_groupings *out) {
  struct td_lpu_program *program = NULL;
  assert_ok(td_lpu_compile_compared(&study->machine, study->graph, &study->whole, NULL, &options, out, &program));
  assert_int_equal(program->tensor, out->items[0].tensor);
  assert_int_equal(program->chips, out->items[0].tensor * out->items[0].stages);
  if (step) assert_int_equal(td_lpu_program_cycles(program, 0, step), out->items[0].cycles);
  td_lpu_program_free(program);
}

/* The fewest cycles first, and it is taken; all that fit are there. */
static void test_choice(void **state) {
  (void)state;
  struct study study;
  struct td_lpu_groupings compared;
  const struct td_lpu_grouping *items = compared.items;
  struct td_lpu_options options = {.chips = 4, .rows = 1, .block_tokens = 32, .kv_blocks = 2, .context = 64};
  const struct td_lpu_row row = {63, NULL, 2};
  open_study(&study, "groq-lpu-v1", four_heads);
  compare(&study, options, &(struct td_lpu_step){&row, 1}, &compared);
  assert_int_equal(compared.count, 2); /* three layers: not four stages */
  assert_true(items[0].cycles > 0 && items[0].cycles <= items[1].cycles);
  assert_int_equal(items[0].tensor * items[0].stages, 4);
  assert_int_equal(items[0].tensor + items[1].tensor, 2 + 4);
  options.chips = 0; /* one chip does */
  compare(&study, options, NULL, &compared);
  assert_int_equal(compared.count, 1);
  assert_int_equal(items[0].tensor * items[0].stages, 1);
  options.tensor = 2; /* two, then */
  compare(&study, options, NULL, &compared);
  assert_int_equal(items[0].tensor, 2);
  assert_int_equal(items[0].stages, 1);
  close_study(&study);
}

/* Chips may be left over; what a program of the best grouping says is what was compared. */
static void test_objectives(void **state) {
  (void)state;
  struct study study;
  struct td_lpu_groupings all, compared;
  struct td_lpu_program *program = NULL;
  struct td_lpu_options options = {.chips = 8, .rows = 1, .block_tokens = 32, .kv_blocks = 2, .context = 64};
  const struct td_lpu_row row = {63, NULL, 2};
  const struct td_lpu_step step = {&row, 1};
  open_study(&study, "groq-lpu-v1", four_heads);
  compare(&study, options, &step, &all);
  options.objective = TD_LPU_LATENCY;
  compare(&study, options, &step, &compared);
  assert_true(compared.count > 1 && compared.items[0].cycles <= all.items[0].cycles);
  assert_int_equal(compared.items[0].tensor, 1); /* links take longer than what they save of so small a model */
  assert_int_equal(compared.items[0].stages, 1);
  for (int32_t i = 1; i < compared.count; i++) assert_true(compared.items[i - 1].cycles <= compared.items[i].cycles);
  options.objective = TD_LPU_THROUGHPUT;
  compare(&study, options, &step, &compared);
  for (int32_t i = 1; i < compared.count; i++) {
    assert_true(compared.items[i - 1].interval <= compared.items[i].interval);
  }
  const struct td_lpu_grouping *best = &compared.items[0];
  assert_int_equal(best->stages, 3); /* a layer each */
  int64_t stages[3], slowest = 0;
  options.timing_only = true;
  assert_ok(td_lpu_compile(&study.machine, study.graph, &study.whole, NULL, &options, &program));
  assert_int_equal(program->chips, best->tensor * best->stages);
  td_lpu_program_stages(program, 0, &step, stages);
  for (int32_t i = 0; i < 3; i++) slowest = stages[i] > slowest ? stages[i] : slowest;
  assert_int_equal(slowest, best->interval);
  assert_true(slowest < best->cycles);
  td_lpu_program_free(program);
  close_study(&study);
}

/* The most steps in a time of those that are short enough. */
static void test_bound(void **state) {
  (void)state;
  struct study study;
  struct td_lpu_groupings free_choice, bound;
  struct td_lpu_options options = {.chips = 8, .rows = 1, .block_tokens = 32, .kv_blocks = 2, .context = 64};
  const struct td_lpu_row row = {63, NULL, 2};
  const struct td_lpu_step step = {&row, 1};
  struct td_lpu_program *program = NULL;
  open_study(&study, "groq-lpu-v1", four_heads);
  options.objective = TD_LPU_THROUGHPUT;
  compare(&study, options, &step, &free_choice);
  int64_t most = free_choice.items[0].cycles - 1; /* the best without a bound is too long */
  options.latency_bound = (double)most / study.machine.clock_hz;
  compare(&study, options, &step, &bound);
  assert_true(bound.count > 0 && bound.items[0].interval >= free_choice.items[0].interval);
  for (int32_t i = 0; i < bound.count; i++) assert_true(bound.items[i].cycles <= most);
  options.latency_bound = 1e-9;
  td_status status =
      td_lpu_compile_compared(&study.machine, study.graph, &study.whole, NULL, &options, &bound, &program);
  assert_int_equal(status, TD_CONFIG);
  assert_non_null(strstr(td_error_text(), "lpu.latency_bound: found 1e-09 s, expected more"));
  close_study(&study);
}

/* A stage of all chips has no way on that could be sampled. */
static void test_whole_system(void **state) {
  (void)state;
  struct study study;
  struct td_lpu_groupings compared;
  struct td_lpu_options options = {.chips = 4, .rows = 1, .block_tokens = 32, .kv_blocks = 2, .context = 64};
  const struct td_lpu_row row = {63, NULL, 2};
  const struct td_lpu_step step = {&row, 1};
  open_study(&study, "lpu-imagined-system:chips=4,wiring.[0].units=2,wiring.[1].units=2", four_heads);
  options.objective = TD_LPU_LATENCY;
  compare(&study, options, &step, &compared);
  bool found = false;
  for (int32_t i = 0; i < compared.count; i++) found = found || compared.items[i].tensor == 4;
  assert_true(found);
  close_study(&study);
}

/* What is compared is a full step that the KV cache holds, whatever the context: of a program that has entries for
 * fewer rows too. */
static void test_full_steps(void **state) {
  (void)state;
  enum { ROWS = 5 };
  struct study study;
  struct td_lpu_groupings compared;
  struct td_lpu_row rows[ROWS];
  struct td_lpu_options options = {.chips = 2, .rows = ROWS, .block_tokens = 32, .kv_blocks = 11, .context = 128};
  open_study(&study, "groq-lpu-v1", four_heads);
  for (int r = 0; r < ROWS; r++) rows[r] = (struct td_lpu_row){63, NULL, 2}; /* 11 / 5 blocks of each */
  compare(&study, options, &(struct td_lpu_step){rows, ROWS}, &compared);
  assert_int_equal(compared.count, 2);
  options.kv_blocks = 3; /* fewer than rows: of one sequence, then */
  for (int r = 0; r < ROWS; r++) rows[r] = (struct td_lpu_row){95, NULL, 3};
  compare(&study, options, &(struct td_lpu_step){rows, ROWS}, &compared);
  close_study(&study);
}

/* Eight KV heads of 64: four are a vector, and those of a group's chips must be. */
static void test_shares(void **state) {
  (void)state;
  struct study study;
  struct td_lpu_groupings compared;
  struct td_lpu_options options = {.rows = 1, .block_tokens = 32, .kv_blocks = 2, .context = 64};
  open_study(&study, "groq-lpu-v1", wide_heads);
  compare(&study, options, NULL, &compared);
  assert_int_equal(compared.count, 1);
  assert_int_equal(compared.items[0].tensor, 2);
  assert_int_equal(compared.items[0].stages, 1);
  options.chips = 4; /* four stages are too many */
  compare(&study, options, NULL, &compared);
  assert_int_equal(compared.count, 2);
  options.chips = 1;
  refuse(&study, options, TD_EXHAUSTED, "LPU: 8 KV heads of 64 elements on a chip, expected at most 4 in 320 lanes");
  refuse(&study, options, TD_EXHAUSTED, ": 2 chips would do");
  options.tensor = 1;
  refuse(&study, options, TD_CONFIG, "lpu.tensor: found 1, expected at least 2: LPU: 8 KV heads of 64 elements");
  options.chips = options.tensor = 0;
  int32_t wired = study.machine.links_used;
  study.machine.links_used = 1;
  refuse(&study, options, TD_UNSUPPORTED, "no link leads from chip 0 to chip 1 of 2 (1 links are wired)");
  study.machine.links_used = wired;
  study.machine.accumulator_depth = 3;
  compare(&study, options, NULL, &compared);
  assert_int_equal(compared.items[0].tensor, 3);
  options.chips = 2;
  refuse(&study, options, TD_EXHAUSTED, "LPU: 4 heads on a chip, expected at most one an accumulator of a plane: 3");
  refuse(&study, options, TD_EXHAUSTED, ": 3 chips would do");
  close_study(&study);
}

/* Two KV heads of 16 fill 32 lanes, and a row's sums want one more; a head of 32 is wider than a half. */
static void test_full_lanes(void **state) {
  (void)state;
  struct study study;
  struct td_lpu_groupings compared;
  struct td_lpu_options options = {.rows = 1, .block_tokens = 32, .kv_blocks = 2, .context = 64};
  open_study(&study, TANDEM_SOURCE_DIR "/devices/lpu-tiny.cfg", three_heads);
  options.chips = 1;
  refuse(&study, options, TD_EXHAUSTED, "3 KV heads of 16 elements on a chip, expected at most 2 in 32 lanes");
  refuse(&study, options, TD_EXHAUSTED, " chips would do");
  options.chips = 2;
  refuse(&study, options, TD_EXHAUSTED, "2 KV heads of 16 elements on a chip fill its 32 lanes");
  options.chips = 0;
  compare(&study, options, NULL, &compared);
  assert_int_equal(compared.items[0].tensor, 3);
  close_study(&study);
  open_study(&study, TANDEM_SOURCE_DIR "/devices/lpu-tiny.cfg", wide_heads);
  refuse(&study, options, TD_UNSUPPORTED, "LPU: heads of 64 elements");
  close_study(&study);
}

/* ---- FFNs alone ---- */

/* y of every layer: [layers][rows][hidden]. */
static void run_ffns(const struct study *study, const void *const *weights, int32_t chips, int32_t tensor, float *out) {
  enum { ROWS = 3 };
  const struct td_lpu_options options = {.weights = TD_LPU_WEIGHTS_I8,
                                         .activations = TD_LPU_ACTIVATIONS_I8X2,
                                         .chips = chips,
                                         .tensor = tensor,
                                         .rows = ROWS};
  const struct td_slice slice = {0, study->graph->shape.layers, TD_PART_FFN};
  int32_t hidden = study->graph->shape.hidden;
  struct td_lpu_row nowhere[ROWS] = {{0}};
  const struct td_lpu_step step = {nowhere, ROWS};
  struct td_lpu_program *program = NULL;
  struct td_lpu_system *system = NULL;
  struct td_lpu_violation violation;
  float x[512];
  assert_ok(td_lpu_compile(&study->machine, study->graph, &slice, weights, &options, &program));
  assert_int_equal(program->tensor, tensor);
  assert_ok(td_lpu_system_open(program, &system));
  for (int32_t layer = 0; layer < slice.layer_end; layer++) {
    int32_t entry = td_lpu_program_layer_entry(program, layer, ROWS);
    for (int32_t r = 0; r < ROWS; r++) {
      for (int32_t i = 0; i < hidden; i++) x[i] = (float)((i * 7 + r * 13 + layer) % 41 - 20) / 16.0f;
      assert_ok(td_lpu_image_write(system, "x", r, x));
    }
    assert_ok(td_lpu_check(program, entry, &step, &violation));
    if (violation.found) fail_msg("%s", violation.text);
    assert_ok(td_lpu_execute(system, entry, &step, NULL));
    const char *name = td_lpu_program_output(program, entry);
    for (int32_t r = 0; r < ROWS; r++, out += hidden) assert_ok(td_lpu_image_read(system, name, r, out));
  }
  td_lpu_system_close(system);
  td_lpu_program_free(program);
}

static void test_ffns(void **state) {
  (void)state;
  static const char *const narrow[] = {"superlanes=4", "plane_k=64", "mem_words=1024", "accumulator_depth=64"};
  static float alone[3 * 3 * 192], shared[3 * 3 * 192];
  struct study study;
  const void **weights = NULL;
  open_study(&study, TANDEM_SOURCE_DIR "/devices/lpu-tiny.cfg", four_heads);
  assert_ok(td_lpu_machine_vary(study.params, narrow, 4, &study.machine));
  assert_ok(td_lpu_model_weights(study.model, study.graph, &weights));
  run_ffns(&study, weights, 1, 1, alone);
  for (int32_t chips = 2; chips <= 5; chips++) {
    run_ffns(&study, weights, chips, chips == 4 ? 2 : chips, shared);
    lpu_assert_same_bits(shared, alone, 3 * 3 * 192, "FFNs", chips, 0);
  }
  struct td_lpu_options many = {.chips = 6, .tensor = 6, .rows = 1};
  study.whole = (struct td_slice){0, 3, TD_PART_FFN};
  refuse(&study, many, TD_CONFIG, "lpu.tensor: found 6, expected at most one chip per FFN block: 5");
  free(weights);
  close_study(&study);
}

/* SmolLM2 in fp16 on two chips, both ways: valid, and what each takes. */
static void test_smollm2(void **state) {
  (void)state;
  const char *path = test_model_path();
  struct td_lpu_options options = {.chips = 2, .rows = 1, .block_tokens = 320, .kv_blocks = 1, .context = 320};
  struct study study;
  if (!path) {
    printf("SKIPPED: no SmolLM2 here\n");
    skip();
  }
  open_study(&study, "groq-lpu-v1", path);
  for (options.tensor = 1; options.tensor <= 2; options.tensor++) {
    struct td_lpu_program *program = NULL;
    struct td_lpu_violation violation;
    const int32_t block = 0;
    const struct td_lpu_row row = {319, &block, 1};
    const struct td_lpu_step step = {&row, 1};
    assert_ok(td_lpu_compile(&study.machine, study.graph, &study.whole, NULL, &options, &program));
    assert_ok(td_lpu_check(program, 0, &step, &violation));
    if (violation.found) fail_msg("%s", violation.text);
    printf("SmolLM2, fp16, 2 chips in groups of %d: %lld cycles\n", options.tensor,
           (long long)td_lpu_program_cycles(program, 0, &step));
    td_lpu_program_free(program);
  }
  close_study(&study);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_choice),       cmocka_unit_test(test_full_steps), cmocka_unit_test(test_shares),
      cmocka_unit_test(test_objectives),   cmocka_unit_test(test_bound),      cmocka_unit_test(test_full_lanes),
      cmocka_unit_test(test_refused),      cmocka_unit_test(test_ffns),       cmocka_unit_test(test_smollm2),
      cmocka_unit_test(test_whole_system),
  };
  return cmocka_run_group_tests(tests, write_models, remove_models);
}
