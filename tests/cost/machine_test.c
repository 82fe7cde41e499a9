/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem calibrate BACKEND` on the machine that the test runs on: the file opens, prices a step exactly as it says,
 * and what is wrong with a request or a file is said.
 */
#include <math.h>

#include "../config/files.h"
#include "cost/measure.h"
#include "tandem/base.h"
#include "tandem/cost.h"
#include "tandem/device.h"
#include "tandem/devices.h"

static char output[1 << 20];

static int calibrate(const char *arguments) {
  return test_run(output, sizeof output, "cd %s && " TANDEM_PROGRAM " calibrate %s 2>&1", scratch_folder(), arguments);
}

static const char *made_file(void) {
  static char path[4200];
  snprintf(path, sizeof path, "%s/machine.cfg", scratch_folder());
  if (access(path, R_OK)) {
    int code = calibrate("cpu --threads 1 --quick -o machine.cfg --json");
    if (code) fail_msg("exit %d: %s", code, output);
  }
  return path;
}

/* ---- fitting ---- */

/* Times made of known terms, one of them far off: the terms come back. */
static void finds_terms(void **state) {
  (void)state;
  const double terms[] = {2e-6, 3e-9, 5e-10, 7e-11};
  struct td_measured_row rows[60] = {0};
  for (int64_t i = 0; i < 60; i++) {
    const double uses[] = {1, (double)(i % 7 + 1) * 8, (double)(i % 11 + 1) * 4096, (double)(i % 5 + 1) * 16384};
    memcpy(rows[i].uses, uses, sizeof uses);
    for (int t = 0; t < 4; t++) rows[i].seconds += uses[t] * terms[t];
    rows[i].family = (int32_t)(i % 3);
  }
  rows[17].seconds *= 4;
  struct td_measured_op op;
  assert_int_equal(td_measured_fit(TD_OP_ATTENTION, rows, 60, &op), TD_OK);
  for (int t = 0; t < 4; t++) assert_true(fabs(op.terms[t] / terms[t] - 1) < 0.05);
  assert_true(op.mape < 0.1 && op.p90 < 0.05);
  assert_int_equal(td_measured_fit(TD_OP_ATTENTION, rows, 3, &op), TD_INTERNAL);
}

/* ---- the file ---- */

static void file_is_a_device(void **state) {
  (void)state;
  struct td_device_params *params;
  assert_int_equal(td_device_params_open(made_file(), &params), TD_OK);
  const struct td_measured_op *product = td_measured_find(params, TD_OP_MATMUL, TD_F32);
  const struct td_measured_op *step = td_measured_find(params, TD_OP_SAMPLE, TD_F32);
  assert_non_null(product);
  assert_non_null(step);
  assert_non_null(td_measured_find(params, TD_OP_ATTENTION, TD_F16));
  assert_null(td_measured_find(params, TD_OP_MATMUL, TD_Q4_1));
  assert_non_null(strstr(step->source, "measured on this machine"));
  assert_non_null(strstr(product->command, "tandem calibrate cpu --threads 1 --quick"));
  assert_true(step->low <= step->high && step->rows > 20);
  td_device_params_close(params);
}

static const char shape[] =
    "name = \"made\"; architecture = \"llama\"; layers = 3; hidden = 192; heads = 6; kv_heads = 2; head_dim = 32;\n"
    "ffn = 320; vocab = 640; context = 4096; rope_dim = 32; rope_theta = 1e4; norm_epsilon = 1e-5;\n"
    "tied_output = true; rope_factors = false; weights = \"%s\";\n";

static struct td_graph *graph_of(const char *type, struct td_model **out_model) {
  char text[1024];
  struct td_graph *graph;
  snprintf(text, sizeof text, shape, type);
  assert_int_equal(td_model_open(scratch_file("shape.cfg", text), out_model), TD_OK);
  assert_int_equal(td_graph_build(*out_model, &graph), TD_OK);
  return graph;
}

/* Random batches of decode steps: one sum of k steps is k single prices, bit for bit. */
static void steps_are_exact(void **state) {
  (void)state;
  struct td_device_params *params;
  struct td_model *model;
  struct td_graph *graph = graph_of("f32", &model);
  struct td_slice whole = td_slice_whole(graph);
  assert_int_equal(td_device_params_open(made_file(), &params), TD_OK);
  for (uint64_t round = 0; round < 100; round++) {
    struct td_step_stats stats = {0};
    int64_t sequences = 1 + (int64_t)(td_random(1, round, 0) % 20);
    struct td_price first, later;
    for (int64_t i = 0; i < sequences; i++) {
      td_step_stats_add(&stats, &graph->shape, (int64_t)(td_random(2, round, (uint64_t)i) % 900), 1, 1);
    }
    assert_int_equal(td_price_roofline(params, graph, &whole, TD_F16, &stats, &first), TD_OK);
    assert_true(first.valid_steps > 40 && first.slope_ps >= 0 && first.base_ps > 0);
    assert_true(first.low_ps <= first.high_ps && first.low_ps > 0);
    for (int64_t step = 1; step < 40; step++) {
      stats.v[TD_SYM_CONTEXT] += sequences;
      stats.v[TD_SYM_PAIRS] += sequences;
      stats.v[TD_SYM_FULL_PAIRS] += sequences;
      stats.v[TD_SYM_WINDOW_CONTEXT] += sequences;
      stats.v[TD_SYM_WINDOW_PAIRS] += sequences;
      assert_int_equal(td_price_roofline(params, graph, &whole, TD_F16, &stats, &later), TD_OK);
      assert_int_equal(later.base_ps, first.base_ps + step * first.slope_ps);
    }
  }
  td_device_params_close(params);
  td_graph_free(graph);
  td_model_close(model);
}

/* Beyond what was measured the interval grows, and says by how much. */
static void widens_beyond(void **state) {
  (void)state;
  struct td_device_params *params;
  struct td_model *model;
  struct td_graph *graph = graph_of("f32", &model);
  struct td_slice whole = td_slice_whole(graph);
  double ratios[2];
  assert_int_equal(td_device_params_open(made_file(), &params), TD_OK);
  for (int i = 0; i < 2; i++) {
    struct td_step_stats stats = {0};
    struct td_price price;
    td_step_stats_add(&stats, &graph->shape, 0, i ? 2048 : 64, 1);
    assert_int_equal(td_price_roofline(params, graph, &whole, TD_F16, &stats, &price), TD_OK);
    ratios[i] = price.high_ps / price.low_ps;
  }
  assert_true(ratios[1] > 1.5 * ratios[0]);
  td_device_params_close(params);
  td_graph_free(graph);
  td_model_close(model);
}

/* The milestones of a prefill rise, and its end lies behind the last. */
static void layers_add_up(void **state) {
  (void)state;
  struct td_device_params *params;
  struct td_model *model;
  struct td_graph *graph = graph_of("f32", &model);
  struct td_slice whole = td_slice_whole(graph);
  struct td_step_stats stats = {0};
  struct td_price price;
  int64_t done[3];
  assert_int_equal(td_device_params_open(made_file(), &params), TD_OK);
  td_step_stats_add(&stats, &graph->shape, 0, 23, 1);
  assert_int_equal(td_price_roofline(params, graph, &whole, TD_F16, &stats, &price), TD_OK);
  assert_int_equal(td_price_milestones(params, graph, &whole, TD_F16, &stats, done), TD_OK);
  assert_true(0 < done[0] && done[0] < done[1] && done[1] < done[2] && done[2] < price.base_ps);
  td_device_params_close(params);
  td_graph_free(graph);
  td_model_close(model);
}

/* No element type is priced as if it were another. */
static void refuses_what_was_not_measured(void **state) {
  (void)state;
  struct td_device_params *params;
  struct td_model *model;
  struct td_graph *graph = graph_of("q8_0", &model);
  struct td_slice whole = td_slice_whole(graph);
  struct td_step_stats stats = {0};
  struct td_price price;
  assert_int_equal(td_device_params_open(made_file(), &params), TD_OK);
  td_step_stats_add(&stats, &graph->shape, 0, 23, 1);
  assert_int_equal(td_price_roofline(params, graph, &whole, TD_F16, &stats, &price), TD_UNSUPPORTED);
  assert_non_null(strstr(td_error_text(), "of q8_0"));
  assert_non_null(strstr(td_error_text(), "--types"));
  td_device_params_close(params);
  td_graph_free(graph);
  td_model_close(model);
}

/* A run on the file and one on a datasheet: the first against itself cannot be decided, against the other it can. */
static void diff_says_what_it_cannot_decide(void **state) {
  (void)state;
  char text[1024];
  snprintf(text, sizeof text, shape, "f32");
  scratch_file("made.cfg", text);
  scratch_file("run.cfg",
               "name = \"t\"; model = \"made.cfg\"; engine = { pace = \"priced\"; };\n"
               "cluster = { pools = ( { name = \"a\"; backend = \"modelled\"; device = \"machine.cfg\"; } ); };\n"
               "workload = { requests = ( { prompt_tokens = 9; max_tokens = 5; }, { prompt_tokens = 30; max_tokens = "
               "3; } ); };\n");
  const char *folder = scratch_folder();
  made_file();
  int code =
      test_run(output, sizeof output,
               "cd %s && export TANDEM_DEVICES=%s && " TANDEM_PROGRAM " run run.cfg -o one.h5 2>&1 && " TANDEM_PROGRAM
               " run run.cfg --set 'cluster.pools.[0].device=h100_sxm' -o two.h5 2>&1",
               folder, test_source("devices"));
  if (code) fail_msg("exit %d: %s", code, output);
  assert_int_equal(test_run(output, sizeof output, "cd %s && " TANDEM_PROGRAM " diff one.h5 one.h5", folder), 0);
  assert_non_null(strstr(output, "not decidable"));
  assert_non_null(strstr(output, "if only steps were shorter or longer: queues and batches as they are"));
  assert_int_equal(test_run(output, sizeof output, "cd %s && " TANDEM_PROGRAM " diff --json one.h5 two.h5", folder), 0);
  assert_non_null(strstr(output, "\"decidable\": {\"ttft\": {\"verdict\": \"B is shorter\""));
}

/* ---- mistakes ---- */

static void expect(int code, const char *arguments, const char *text) {
  int found = calibrate(arguments);
  if (found == code && strstr(output, text)) return;
  fail_msg("calibrate %s: exit %d, expected %d with \"%s\": %s", arguments, found, code, text, output);
}

static void says_what_is_wrong(void **state) {
  (void)state;
  expect(2, "cpux --quick -o a.cfg", "cpux");
  expect(2, "modelled --quick -o a.cfg", "priced");
  expect(2, "lpu --quick -o a.cfg", "counted");
  expect(2, "cpu --quick -o a.txt", ".cfg");
  expect(2, "cpu --quick", "-o");
  expect(2, "cpu --quick --types q4_1,zz -o a.cfg", "zz");
  expect(2, "cpu --quick --types f32,f32 -o a.cfg", "twice");
  expect(2, "cpu --quick --types , -o a.cfg", "--types");
  expect(2, "cpu --threads 0 --quick -o a.cfg", "--threads");
  expect(2, "cpu --rows 30 -o a.cfg", "tables");
  expect(2, "cpu --backend cpu -o a.cfg", "--backend");
  expect(2, "--quick -o a.cfg", "--device");
  expect(1, "cpu --quick -o nowhere/a.cfg", "nowhere/a.cfg");
  assert_int_equal(test_run(output, sizeof output, "ls %s | grep -c '^a' ", scratch_folder()), 1);
}

/* What was there stays when the disk does not take the new one. */
static void writes_whole_or_not(void **state) {
  (void)state;
  char command[9000];
  snprintf(command, sizeof command, "mkdir -p %s/full.cfg.part; echo old > %s/full.cfg", scratch_folder(),
           scratch_folder());
  assert_int_equal(test_run(output, sizeof output, "%s", command), 0);
  expect(1, "cpu --quick -o full.cfg", "full.cfg.part");
  assert_int_equal(test_run(output, sizeof output, "cat %s/full.cfg", scratch_folder()), 0);
  assert_string_equal(output, "old\n");
}

/* One word of the file changed. */
static void damaged(const char *from, const char *to, const char *text) {
  int code =
      test_run(output, sizeof output, "sed 's/%s/%s/' %s > %s/bad.cfg && " TANDEM_PROGRAM " devices %s/bad.cfg 2>&1",
               from, to, made_file(), scratch_folder(), scratch_folder());
  if (code == 2 && strstr(output, "bad.cfg:") && strstr(output, text)) return;
  fail_msg("%s -> %s: exit %d, expected 2 with \"%s\": %s", from, to, code, text, output);
}

static void says_what_is_wrong_in_a_file(void **state) {
  (void)state;
  damaged("\"weight_16\"", "\"weight_17\"", "weight_16");
  damaged("operator = \"matmul\"", "operator = \"matmuls\"", "matmuls");
  damaged("type = \"f32\"", "type = \"f33\"", "f33");
  damaged("operator = \"select\"", "operator = \"add\"", "second");
  damaged("unit = \"s\"", "unit = \"h\"", "found h");
  damaged("rows = [0-9]*", "rows = 0", "rows");
  damaged("low = [0-9.e+-]*; high = [0-9.e+-]*;$", "low = 3.0; high = 2.0;", "range");
  damaged("kind = \"chip\"", "kind = \"site\"", "site");
  damaged("value = [0-9.e+-]*; unit = \"s\"; }", "value = -1.0; unit = \"s\"; }", "value");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(finds_terms),
      cmocka_unit_test(file_is_a_device),
      cmocka_unit_test(steps_are_exact),
      cmocka_unit_test(widens_beyond),
      cmocka_unit_test(layers_add_up),
      cmocka_unit_test(refuses_what_was_not_measured),
      cmocka_unit_test(diff_says_what_it_cannot_decide),
      cmocka_unit_test(says_what_is_wrong),
      cmocka_unit_test(writes_whole_or_not),
      cmocka_unit_test(says_what_is_wrong_in_a_file),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
