/* SPDX-License-Identifier: Apache-2.0
 *
 * The arithmetic of `tandem bench`: medians, what bounds a piece of work, the list of cases, seeded models.
 */
#include <math.h>

#include "../support.h"
#include "bench.h"
#include "tandem/base.h"
#include "tandem/kernels.h"

static void medians(void **state) {
  (void)state;
  double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 2}, one[] = {7};
  struct bench_spread spread = bench_spread_of(odd, 3);
  assert_true(spread.median == 2 && spread.low == 1 && spread.high == 3 && spread.count == 3);
  spread = bench_spread_of(even, 4);
  assert_true(spread.median == 2.5 && spread.low == 1 && spread.high == 4);
  assert_true(bench_spread_of(one, 1).median == 7);
}

static void set(struct bench_ceilings *ceilings, enum td_ceiling which, double rate) {
  ceilings->of[which].rate = (struct bench_spread){.median = rate, .count = rate > 0};
}

static void the_longest_time_binds(void **state) {
  (void)state;
  struct bench_ceilings ceilings = {0};
  enum td_ceiling bound;
  set(&ceilings, TD_CEILING_READ, 10);
  set(&ceilings, TD_CEILING_TRIAD, 5);
  set(&ceilings, TD_CEILING_GEMM_F32, 100);
  set(&ceilings, TD_CEILING_GEMM_F16, 400);
  struct bench_work work = {.of = {[TD_CEILING_READ] = 20, [TD_CEILING_GEMM_F32] = 100}};
  assert_true(bench_work_bound(&work, &ceilings, &bound) == 2 && bound == TD_CEILING_READ);
  work.of[TD_CEILING_TRIAD] = 15;
  assert_true(bench_work_bound(&work, &ceilings, &bound) == 5 && bound == TD_CEILING_TRIAD);
  work.of[TD_CEILING_GEMM_F16] = 4000;
  assert_true(bench_work_bound(&work, &ceilings, &bound) == 11 && bound == TD_CEILING_GEMM_F16);
  set(&ceilings, TD_CEILING_GEMM_F16, 0); /* not measured: f32 stands in */
  assert_true(bench_work_bound(&work, &ceilings, &bound) == 41 && bound == TD_CEILING_GEMM_F32);
  set(&ceilings, TD_CEILING_READ, 0);
  set(&ceilings, TD_CEILING_GEMM_F32, 1e9);
  assert_true(bench_work_bound(&work, &ceilings, &bound) == 7 && bound == TD_CEILING_TRIAD);
}

static struct td_model *open_shape(const char *lines, struct td_graph **out_graph) {
  char path[4200];
  struct td_model *model;
  snprintf(path, sizeof path, "%s/shape.cfg", test_scratch());
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file,
          "name = \"t\"; layers = 2; hidden = 64; heads = 4; kv_heads = 2; head_dim = 32; vocab = 96; context = 64;\n"
          "rope_dim = 32; rope_theta = 1e6; norm_epsilon = 1e-6; weights = \"q4_0\"; %s\n",
          lines);
  fclose(file);
  if (td_model_open(path, &model)) fail_msg("%s", td_error_text());
  if (td_graph_build(model, out_graph)) fail_msg("%s", td_error_text());
  return model;
}

#define MIXTURE "architecture = \"qwen3moe\"; experts = 4; experts_used = 2; expert_ffn = 32; tied_output = false;"

static void check_weights(const struct td_graph *graph, const struct td_model *seeded) {
  for (int32_t i = 0; i < graph->weight_count; i++) {
    const struct td_tensor *tensor = td_model_tensor(seeded, graph->weights[i].name);
    float row[256];
    assert_non_null(tensor);
    assert_int_equal(tensor->dtype, graph->weights[i].dtype);
    assert_int_equal(tensor->rows, graph->weights[i].rows);
    assert_int_equal(tensor->cols, graph->weights[i].cols);
    assert_true(tensor->cols <= 256);
    td_dequantize(tensor->dtype, tensor->data, row, tensor->cols);
    for (int64_t j = 0; j < tensor->cols; j++) assert_true(row[j] >= -2 && row[j] <= 2);
  }
}

/* Seeded models are what their shape says, the same every time, and nothing in them is infinite. */
static void seeded_models(void **state) {
  (void)state;
  static const char *const shapes[] = {
      "architecture = \"llama\"; ffn = 96; tied_output = false; rope_factors = true;",
      "architecture = \"llama\"; ffn = 96; tied_output = true; experts = 4; experts_used = 2;",
      "architecture = \"qwen2\"; ffn = 96; tied_output = true;",
      "architecture = \"qwen3\"; ffn = 96; tied_output = true;",
      MIXTURE,
      "architecture = \"gemma3\"; ffn = 96; window = 16; window_period = 6; window_rope_theta = 10000.0; "
      "tied_output = true;",
  };
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
    struct td_graph *graph, *again;
    struct td_model *shape = open_shape(shapes[i], &graph), *first, *second;
    if (bench_gguf_open(graph, &first)) fail_msg("%s: %s", shapes[i], td_error_text());
    if (bench_gguf_open(graph, &second)) fail_msg("%s: %s", shapes[i], td_error_text());
    assert_true(td_model_has_weights(first));
    assert_int_equal(td_model_digest(first), td_model_digest(second));
    assert_int_equal(td_graph_build(first, &again), TD_OK);
    assert_int_equal(again->op_count, graph->op_count);
    check_weights(graph, first);
    td_graph_free(graph);
    td_graph_free(again);
    td_model_close(first);
    td_model_close(second);
    td_model_close(shape);
  }
}

static bool is_listed(const struct bench_cases *cases, const char *name) {
  for (size_t i = 0; i < cases->count; i++) {
    if (!strcmp(cases->items[i].name, name)) return true;
  }
  return false;
}

/* A model's own operators only; with a sweep also what it does not have. */
static void cases_of_a_model(void **state) {
  (void)state;
  struct td_graph *graph;
  struct td_model *shape = open_shape(MIXTURE, &graph);
  struct bench_cases own, all;
  assert_int_equal(bench_cases_list(graph, 16, false, &own), TD_OK);
  assert_int_equal(bench_cases_list(graph, 16, true, &all), TD_OK);
  assert_true(is_listed(&own, "expert_matmul/q4_0/2of4-32x64/decode"));
  assert_true(is_listed(&own, "rms_norm/4x32/prefill"));
  assert_true(is_listed(&own, "matmul/q4_0/96x64/decode"));
  assert_false(is_listed(&own, "matmul/q4_0/96x64/prefill")); /* the head: one row wants logits */
  assert_false(is_listed(&own, "matmul/q8_0/128x64/decode"));
  assert_true(is_listed(&all, "matmul/f16/128x64/decode"));
  assert_true(all.count > own.count);
  for (size_t i = 0; i < all.count; i++) {
    struct td_graph one = bench_case_graph(&all.items[i]);
    struct td_step_stats stats = {0};
    struct bench_work work = {0};
    td_step_stats_add(&stats, &all.items[i].shape, all.items[i].past, all.items[i].tokens, 1);
    bench_work_add(&work, &one, &all.items[i].op, all.items[i].kv_dtype, &stats);
    assert_true(bench_work_bytes(&work) > 0);
  }
  bench_cases_free(&own);
  bench_cases_free(&all);
  td_graph_free(graph);
  td_model_close(shape);
}

/* Every kind that executes, and every type of weight; names stand for one case each. */
static void the_default_list_is_complete(void **state) {
  (void)state;
  struct td_model *shape;
  struct td_graph *graph;
  struct bench_cases cases;
  const struct td_dtype_info *info;
  bool kinds[TD_OP_KIND_COUNT] = {[TD_OP_SAMPLE] = true}; /* the host's */
  assert_int_equal(td_model_open(test_source("experiments/models/smollm2-135m.cfg"), &shape), TD_OK);
  assert_int_equal(td_graph_build(shape, &graph), TD_OK);
  assert_int_equal(bench_cases_list(graph, 512, true, &cases), TD_OK);
  for (size_t i = 0; i < cases.count; i++) {
    kinds[cases.items[i].op.kind] = true;
    for (size_t j = 0; j < i; j++) assert_string_not_equal(cases.items[i].name, cases.items[j].name);
  }
  for (int kind = 0; kind < TD_OP_EXECUTED_COUNT; kind++) {
    if (!kinds[kind]) fail_msg("no case of %s", td_op_kind_name((enum td_op_kind)kind));
  }
  for (int i = 0; (info = td_dtype_at(i)); i++) {
    for (int phase = 0; phase < 2; phase++) {
      char name[BENCH_NAME];
      snprintf(name, sizeof name, "matmul/%s/576x1536/%s", info->name, phase ? "decode" : "prefill");
      if (!is_listed(&cases, name)) fail_msg("no case %s", name);
    }
  }
  bench_cases_free(&cases);
  td_graph_free(graph);
  td_model_close(shape);
}

/* ---- repeats, on a clock of our own ---- */

static int64_t clock_ps;
static int64_t fake_now(struct td_device *device) {
  (void)device;
  return clock_ps;
}
static td_status fake_go(void *context, int64_t calls) {
  int64_t *done = context;
  for (int64_t i = 0; i < calls; i++) clock_ps += ++*done == 1 ? TD_PS_PER_SECOND : TD_PS_PER_SECOND / 1000;
  return TD_OK;
}
static td_status still_go(void *context, int64_t calls) {
  (void)context;
  (void)calls;
  return TD_OK;
}

static void the_first_call_does_not_count(void **state) {
  (void)state;
  const struct td_device_table table = {.size = sizeof table, .now = fake_now};
  struct td_device device = {.table = &table};
  struct bench_times times;
  int64_t done = 0;
  assert_int_equal(bench_measure(&device, 0.1, 4, fake_go, &done, NULL, &times), TD_OK);
  assert_true(times.seconds.low > 0.00099 && times.seconds.high < 0.00101);
  assert_true(times.seconds.count >= 10);
  assert_int_equal(times.beside.count, 0);
  assert_true(done > 100 && done < 130); /* a tenth of a second, in repeats of ten calls */
  assert_int_equal(bench_measure(&device, 0.1, 4, still_go, NULL, NULL, &times), TD_INTERNAL);
}

/* A machine that gets slower by a tenth with every repeat: times scatter, what the ceiling moves in them does not. */
static double pace = 1;
static td_status paced_go(void *context, int64_t calls) {
  (void)context;
  clock_ps += (int64_t)((double)calls * TD_PS_PER_SECOND / 1000 * pace);
  return TD_OK;
}
static td_status paced_pass(const struct bench_beside *beside, double *out_rate) {
  (void)beside;
  *out_rate = 4e9 / pace;
  pace *= 1.1;
  return TD_OK;
}
static void pairs_keep_pace(void **state) {
  (void)state;
  const struct td_device_table table = {.size = sizeof table, .now = fake_now};
  struct td_device device = {.table = &table};
  const struct bench_beside beside = {.pass = paced_pass};
  struct bench_times times;
  assert_int_equal(bench_measure(&device, 0.1, 1, paced_go, NULL, &beside, &times), TD_OK);
  assert_true(times.seconds.high > 1.5 * times.seconds.low);
  assert_true(times.beside.count >= 3 && times.beside.count <= times.seconds.count);
  assert_true(fabs(times.beside.low / 4.2e6 - 1) < 1e-6 && fabs(times.beside.high / 4.2e6 - 1) < 1e-6);
  assert_int_equal(bench_measure(&device, 0.1, 1, still_go, NULL, &beside, &times), TD_INTERNAL);
}

/* The share follows the pairs where the ceiling that binds is the one beside, else the medians of the run. */
static void shares(void **state) {
  (void)state;
  struct bench_ceilings ceilings = {.threads = 1};
  enum td_ceiling bound;
  set(&ceilings, TD_CEILING_READ, 10);
  set(&ceilings, TD_CEILING_GEMM_F32, 100);
  struct bench_result result = {.beside = TD_CEILING_READ, .work = {.of = {[TD_CEILING_READ] = 20}}};
  result.times.seconds = (struct bench_spread){.median = 4, .count = 3};
  assert_true(bench_share(&result, &ceilings, &bound) == 0.5 && bound == TD_CEILING_READ);
  assert_false(bench_is_paired(&result, bound));
  result.times.beside = (struct bench_spread){.median = 25, .count = 3};
  assert_true(bench_is_paired(&result, bound));
  assert_true(fabs(bench_share(&result, &ceilings, &bound) - 0.8) < 1e-12);
  result.work.of[TD_CEILING_GEMM_F32] = 300;
  assert_true(bench_share(&result, &ceilings, &bound) == 0.75 && bound == TD_CEILING_GEMM_F32);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(medians),
      cmocka_unit_test(the_longest_time_binds),
      cmocka_unit_test(seeded_models),
      cmocka_unit_test(cases_of_a_model),
      cmocka_unit_test(the_default_list_is_complete),
      cmocka_unit_test(the_first_call_does_not_count),
      cmocka_unit_test(pairs_keep_pace),
      cmocka_unit_test(shares),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
