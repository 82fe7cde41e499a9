/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices of which whole steps were measured: their files, refused with the line; the formulas; the files we ship,
 * against what was published.
 */
#include <inttypes.h>
#include <math.h>

#include "steps.h"
#include "tandem/base.h"
#include "tandem/operators.h"

/* ---- files ---- */

static void mistakes(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {HEAD NAMED PREFILL "});",
       "2: steps.[0].decode.step: found nothing, expected a time (0 if there is none), or points"},
      {HEAD NAMED PREFILL "decode = { step = " ALL("1", "ms") "; }; });",
       "2: steps.[0].decode.sequence: found nothing, expected a time (0 if there is none), or points"},
      {HEAD NAMED DECODE "prefill = { step = 3; }; });", "2: steps.[0].prefill.step: found 3, expected a group"},
      {HEAD NAMED DECODE "prefill = { step = " ALL("1", "W") "; }; });",
       "2: steps.[0].prefill.step.unit: found \"W\", expected h, s, ms, us or ns"},
      {HEAD NAMED DECODE "prefill = { step = " ALL("-1", "ms") "; }; });",
       "2: steps.[0].prefill.step.value: found -1..-1 ms, expected it within 0..100000 s"},
      {HEAD NAMED DECODE "prefill = { points = (" POINT("1", "1") "); }; });",
       "2: steps.[0].prefill.points: found another number of points, expected 2 to 4096"},
      {HEAD NAMED DECODE "prefill = " POINTS(POINT("8", "1"), POINT("8", "2")) "});",
       "2: steps.[0].prefill.points.[1].at: found no more than before, expected more"},
      {HEAD NAMED DECODE
       "prefill = { step = " ALL("1", "ms") "; points = (" POINT("1", "1") ", " POINT("2", "1") "); }; });",
       "2: steps.[0].prefill.points: found them beside a formula, expected one of both"},
      {HEAD NAMED PREFILL "decode = " POINTS(POINT("1", "1"), POINT("2", "2")) "});",
       "2: steps.[0].mixed: found nothing, expected it because decode steps are points"},
      {HEAD NAMED PREFILL MIXED LARGE "decode = " POINTS(POINT("1", "1"), POINT("2", "2")) "});",
       "2: steps.[0].large: found it beside points"},
      {HEAD NAMED PREFILL DECODE "}, " NAMED PREFILL DECODE "});",
       "2: steps.[1].model: found a second one on as many chips, expected one"},
      {HEAD "{ model = \"\"; tensor = 1; " PREFILL DECODE "});",
       "2: steps.[0].model: found an empty text, expected the name of a shape"},
      {HEAD "{ model = \"m\"; tensor = 0; " PREFILL DECODE "});", "2: steps.[0].tensor: found 0"},
      {HEAD NAMED DECODE
       "prefill = { power = " ALL("7", "W") "; points = (" POINT("1", "1") ", " POINT("2", "1") "); }; });",
       "1: power_basis: found nothing, expected chip, all-in or utility beside a power"},
      {"title = \"t\"; kind = \"site\";\nsteps = (" NAMED PREFILL DECODE "});",
       "2: steps: found it in a site, expected it only in a chip"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct td_device_params *device;
    assert_int_equal(td_device_params_open(scratch_file("dev.cfg", cases[i][0]), &device), TD_CONFIG);
    if (!strstr(td_error_text(), cases[i][1])) fail_msg("%s: %s", cases[i][1], td_error_text());
  }
}

/* Nothing but what the file has. */
static void what_there_is(void **state) {
  (void)state;
  struct td_device_params *device =
      device_of(HEAD NAMED PREFILL DECODE "}, { model = \"B\"; tensor = 2; " PREFILL DECODE "});");
  struct td_graph *other = graph_of("llama-2-70b"), *graph = graph_of("opt-13b");
  struct td_step_stats stats = decode_stats(graph, 1, 5);
  struct td_price out;
  assert_int_equal(price(device, other, &stats, &out), TD_UNSUPPORTED);
  assert_string_equal(td_error_text(),
                      "device dev: found no steps of Llama-2-70B on 1 chips in its file, expected one "
                      "of those it has: OPT-13B on 1, B on 2");
  device->serving.tensor = 2;
  assert_int_equal(price(device, graph, &stats, &out), TD_UNSUPPORTED);
  assert_non_null(strstr(td_error_text(), "found no steps of OPT-13B on 2 chips"));
  device->serving.tensor = 1;
  device->serving.expert = 4;
  assert_int_equal(price(device, graph, &stats, &out), TD_UNSUPPORTED);
  device->serving.expert = 1;
  const struct td_slice part = {0, 3, TD_PART_ALL};
  struct td_pricer *pricer;
  assert_int_equal(td_price_roofline(device, graph, &part, TD_F16, &stats, &out), TD_UNSUPPORTED);
  assert_string_equal(td_error_text(),
                      "device dev: found a part of OPT-13B, expected all of it: the file has times of whole steps");
  assert_int_equal(td_pricer_open(device, graph, &part, TD_F16, &pricer), TD_UNSUPPORTED);
  td_graph_free(graph);
  td_graph_free(other);
  td_device_params_close(device);
}

/* ---- formulas ---- */

static void decode_steps(void **state) {
  (void)state;
  struct td_device_params *device = device_of(HEAD NAMED PREFILL DECODE LARGE "});");
  struct td_graph *graph = graph_of("opt-13b");
  for (int64_t seqs = 1; seqs < 9; seqs++) {
    struct td_step_stats stats = decode_stats(graph, seqs, 900), later = decode_stats(graph, seqs, 900 + 77);
    double context = (double)stats.v[TD_SYM_CONTEXT], many = (double)seqs;
    near(seconds_of(device, graph, &stats),
         seqs < 5 ? 20e-3 + 40e-6 * many + 600e-9 * context : 5e-3 + 150e-6 * many + 500e-9 * context);
    struct td_price first, then;
    assert_int_equal(price(device, graph, &stats, &first), TD_OK);
    assert_int_equal(price(device, graph, &later, &then), TD_OK);
    assert_int_equal(then.base_ps, first.base_ps + 77 * first.slope_ps); /* bit for bit */
    assert_int_equal(first.slope_ps, seqs * (seqs < 5 ? 600000 : 500000));
    assert_true(first.valid_steps > 1000000);
  }
  td_graph_free(graph);
  td_device_params_close(device);
}

static void prompts(void **state) {
  (void)state;
  struct td_device_params *device = device_of(HEAD NAMED PREFILL DECODE LARGE "});");
  struct td_graph *graph = graph_of("opt-13b");
  struct td_step_stats two = {0}, chunk = {0}, mixed = decode_stats(graph, 3, 100), many = decode_stats(graph, 6, 10);
  td_step_stats_add(&two, &graph->shape, 0, 300, 1);
  td_step_stats_add(&two, &graph->shape, 0, 50, 1);
  near(seconds_of(device, graph, &two), 10e-3 + 350 * 100e-6 + (300 * 300 + 50 * 50) * 7e-9);
  td_step_stats_add(&chunk, &graph->shape, 300, 200, 1);
  near(seconds_of(device, graph, &chunk), 10e-3 + 200 * 100e-6 + (500 * 500 - 300 * 300) * 7e-9);
  td_step_stats_add(&mixed, &graph->shape, 0, 400, 1);
  near(seconds_of(device, graph, &mixed),
       10e-3 + 400 * 100e-6 + 400 * 400 * 7e-9 + 3 * 40e-6 + (101 + 102 + 103) * 600e-9);
  td_step_stats_add(&many, &graph->shape, 64, 64, 0);
  near(seconds_of(device, graph, &many),
       10e-3 + 64 * 100e-6 + (128 * 128 - 64 * 64) * 7e-9 + 6 * 150e-6 + (11 + 12 + 13 + 14 + 15 + 16) * 500e-9);
  td_graph_free(graph);
  td_device_params_close(device);
}

/* Nobody decodes where chunks of several prompts meet, and decodes are told from them exactly. */
static void several_chunks(void **state) {
  (void)state;
  struct td_device_params *device = device_of(HEAD NAMED PREFILL DECODE LARGE "});");
  struct td_graph *graph = graph_of("opt-13b");
  struct td_step_stats stats = {0};
  const double prompts = 10e-3 + (128 + 77) * 100e-6 + ((300 * 300 - 172 * 172) + 77 * 77) * 7e-9;
  td_step_stats_add(&stats, &graph->shape, 172, 128, 1);
  td_step_stats_add(&stats, &graph->shape, 0, 77, 0);
  near(seconds_of(device, graph, &stats), prompts);
  for (int64_t i = 0; i < 2; i++) td_step_stats_add(&stats, &graph->shape, 400 + i, 1, 1);
  near(seconds_of(device, graph, &stats), prompts + 2 * 40e-6 + (401 + 402) * 600e-9);
  td_graph_free(graph);
  td_device_params_close(device);
}

static void points(void **state) {
  (void)state;
  struct td_device_params
      *device = device_of("title = \"t\"; kind = \"chip\"; power_basis = \"chip\"; power_busy = " ALL(
          "50", "W") ";\nsteps = (" NAMED MIXED
                     "prefill = { power = " ALL("90", "W") "; points = (" POINT("100", "10") ", " POINT(
                         "200",
                         "30") "); };"
                               "decode = " POINTS(POINT("2", "5"), POINT("4", "6")) "});");
  struct td_graph *graph = graph_of("opt-13b");
  static const struct {
    int64_t at;
    double ms;
  } decodes[] = {{1, 4.5}, {2, 5}, {3, 5.5}, {4, 6}, {8, 8}}, prefills[] = {{100, 10}, {125, 15}, {200, 30}, {300, 50}};
  for (size_t i = 0; i < sizeof decodes / sizeof *decodes; i++) {
    struct td_step_stats stats = decode_stats(graph, decodes[i].at, 7);
    near(seconds_of(device, graph, &stats), decodes[i].ms * 1e-3);
  }
  struct td_price got;
  for (size_t i = 0; i < sizeof prefills / sizeof *prefills; i++) {
    struct td_step_stats stats = {0};
    td_step_stats_add(&stats, &graph->shape, 0, prefills[i].at, 1);
    near(seconds_of(device, graph, &stats), prefills[i].ms * 1e-3);
    assert_int_equal(price(device, graph, &stats, &got), TD_OK);
    near(got.energy_j, 90 * prefills[i].ms * 1e-3);
    assert_true((prefills[i].at > 200) == (got.high_ps > 1.05 * (double)got.base_ps));
  }
  struct td_step_stats mixed = decode_stats(graph, 25, 40), few = {0};
  assert_int_equal(price(device, graph, &mixed, &got), TD_OK);
  near(got.energy_j, 50 * td_seconds(got.base_ps));
  td_step_stats_add(&mixed, &graph->shape, 0, 100, 1);
  near(seconds_of(device, graph, &mixed), 1.1 * 15e-3);
  td_step_stats_add(&few, &graph->shape, 0, 2, 1); /* 10 ms - 98 * 0.2 ms */
  assert_int_equal(price(device, graph, &few, &got), TD_UNSUPPORTED);
  assert_non_null(
      strstr(td_error_text(), "found a step of 2, to which the nearest points, 100 and 200, give less than"));
  td_graph_free(graph);
  td_device_params_close(device);
}

static void layers(void **state) {
  (void)state;
  struct td_device_params *device = device_of(HEAD NAMED PREFILL DECODE "});");
  struct td_graph *graph = graph_of("opt-13b");
  struct td_step_stats stats = decode_stats(graph, 3, 100);
  const struct td_slice whole = td_slice_whole(graph);
  int64_t done[40];
  struct td_price all;
  assert_int_equal(graph->shape.layers, 40);
  assert_int_equal(price(device, graph, &stats, &all), TD_OK);
  assert_int_equal(td_price_milestones(device, graph, &whole, TD_F16, &stats, done), TD_OK);
  assert_int_equal(done[39], all.base_ps);
  assert_int_equal(done[9], all.base_ps / 4);
  td_graph_free(graph);
  td_device_params_close(device);
}

/* A step without end, and one of nothing. */
static void extremes(void **state) {
  (void)state;
  struct td_device_params *device = device_of(HEAD NAMED PREFILL DECODE "});");
  struct td_graph *graph = graph_of("opt-13b");
  struct td_step_stats none = {0}, long_one = {.v = {[TD_SYM_ONE] = 1}};
  struct td_price got;
  assert_int_equal(price(device, graph, &none, &got), TD_OK);
  assert_int_equal(got.base_ps, 0);
  static const int64_t counts[] = {INT64_MAX, INT64_MAX / 2, INT64_MAX / 4, INT64_C(1) << 50};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    long_one.v[TD_SYM_TOKENS] = long_one.v[TD_SYM_CONTEXT] = long_one.v[TD_SYM_PAIRS] = counts[i];
    long_one.v[TD_SYM_SEQS] = i % 2 ? counts[i] : 1;
    assert_int_equal(price(device, graph, &long_one, &got), TD_UNSUPPORTED);
    assert_non_null(strstr(td_error_text(), "found a step"));
  }
  td_graph_free(graph);
  td_device_params_close(device);
}

/* ---- the files we ship ---- */

static struct td_device_params *shipped(const char *name, int32_t tensor) {
  char path[128];
  struct td_device_params *device;
  const struct td_serving serving = {.tensor = tensor, .expert_tensor = tensor, .guesses = true};
  snprintf(path, sizeof path, "devices/profiled/%s.cfg", name);
  if (td_device_params_open(test_source(path), &device)) fail_msg("%s", td_error_text());
  if (tensor > 1 && td_device_join(device, &serving)) fail_msg("%s", td_error_text());
  return device;
}

/* The formulas that DistServe's simulator has, OPT-13B: 512 new tokens; 32 and 100 sequences at 600. */
static void distserve(void **state) {
  (void)state;
  static const struct {
    int32_t tensor;
    double prefill, decode, large;
  } cases[] = {{1, 18.1 + 0.1019 * 512 + 7.12e-6 * 512 * 512, 19.93 + 6.27e-4 * 19696 + 0.0385 * 32,
                7.17 + 5.80e-4 * 64950 + 0.158 * 100},
               {2, 14.74 + 0.0686 * 512 + 2.45e-6 * 512 * 512, 13.29 + 3.41e-4 * 19696 + 0.063 * 32,
                10.64 + 3.12e-4 * 64950 + 0.0856 * 100}};
  struct td_graph *graph = graph_of("opt-13b");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct td_device_params *device = shipped("a100_80g_distserve", cases[i].tensor);
    struct td_step_stats prompt = {0}, few = decode_stats(graph, 32, 599), many = decode_stats(graph, 100, 599);
    td_step_stats_add(&prompt, &graph->shape, 0, 512, 1);
    assert_int_equal(few.v[TD_SYM_CONTEXT], 19696);
    assert_int_equal(many.v[TD_SYM_CONTEXT], 64950);
    assert_true(fabs(seconds_of(device, graph, &prompt) * 1e3 / cases[i].prefill - 1) < 1e-3);
    assert_true(fabs(seconds_of(device, graph, &few) * 1e3 / cases[i].decode - 1) < 1e-3);
    assert_true(fabs(seconds_of(device, graph, &many) * 1e3 / cases[i].large - 1) < 2e-3);
    td_device_params_close(device);
  }
  td_graph_free(graph);
}

/* ---- Splitwise's table ---- */

struct measured {
  int64_t prompt, batch;
  double prefill_ms, decode_ms;
};

static int32_t read_rows(const char *path, const char *hardware, struct measured *rows, int32_t most) {
  char line[256], model[32], chip[32];
  int32_t count = 0;
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  while (count < most && fgets(line, sizeof line, file)) {
    struct measured row;
    double chips;
    if (sscanf(line, "%31[^,],%31[^,],%" SCNd64 ",%" SCNd64 ",%*[^,],%*[^,],%*[^,],%lf,%lf,%*[^,],%lf", model, chip,
               &row.prompt, &row.batch, &row.prefill_ms, &row.decode_ms, &chips) != 7) {
      continue;
    }
    if (!strcmp(model, "llama2-70b") && !strcmp(chip, hardware) && chips == 8) rows[count++] = row;
  }
  fclose(file);
  return count;
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

/* Of rows of so many prompt tokens (decode false), or of a batch after prompts of 512. */
static double median(const struct measured *rows, int32_t count, bool decode, int64_t at) {
  double values[256];
  int32_t found = 0;
  for (int32_t i = 0; i < count && found < 256; i++) {
    bool is = decode ? rows[i].prompt == 512 && rows[i].batch == at : rows[i].prompt * rows[i].batch == at;
    if (is) values[found++] = decode ? rows[i].decode_ms : rows[i].prefill_ms;
  }
  assert_true(found > 0);
  qsort(values, (size_t)found, sizeof *values, ascending);
  return (values[found / 2] + values[(found - 1) / 2]) / 2;
}

static void splitwise(void **state) {
  (void)state;
  static const char *const chips[][2] = {{"a100-80gb", "dgx_a100_splitwise"}, {"h100-80gb", "dgx_h100_splitwise"}};
  const char *path = test_shared("data/measurements/splitwise/perf_model.csv");
  struct td_graph *graph;
  if (!path) {
    print_message("no shared/data/measurements/splitwise: skipped\n");
    skip();
  }
  graph = graph_of("llama-2-70b");
  for (int chip = 0; chip < 2; chip++) {
    struct measured rows[256];
    int32_t count = read_rows(path, chips[chip][0], rows, 256);
    struct td_device_params *device = shipped(chips[chip][1], 8);
    assert_int_equal(count, 105);
    for (int64_t at = 128; at <= 32768; at *= 2) {
      struct td_step_stats stats = {0};
      for (int64_t left = at; left > 0; left -= 4096) {
        td_step_stats_add(&stats, &graph->shape, 0, left < 4096 ? left : 4096, 1);
      }
      double want = median(rows, count, false, at) * 1e-3;
      assert_true(fabs(seconds_of(device, graph, &stats) / want - 1) < 1e-5);
    }
    for (int64_t at = 1; at <= 64; at *= 2) {
      struct td_step_stats stats = decode_stats(graph, at, 600);
      double want = median(rows, count, true, at) * 1e-3;
      assert_true(fabs(seconds_of(device, graph, &stats) / want - 1) < 1e-5);
    }
    td_device_params_close(device);
  }
  td_graph_free(graph);
}

/* All of the folder, and what `tandem devices` prints of it. */
static void printed(void **state) {
  (void)state;
  static const char *const names[] = {"a100_80g_distserve", "dgx_a100_splitwise", "dgx_a100_splitwise-sim",
                                      "dgx_h100_splitwise", "dgx_h100_splitwise-sim"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    struct td_device_params *device = shipped(names[i], 1);
    char *text = NULL, *json = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    td_device_params_print(device, out);
    fclose(out);
    out = open_memstream(&json, &bytes);
    td_device_params_json(device, out);
    fclose(out);
    assert_non_null(strstr(text, i ? "steps of Llama-2-70B on 8 chips" : "steps of OPT-13B on 1 chip\n"));
    assert_non_null(strstr(text, i ? "prefill at 512" : "decode context"));
    assert_non_null(strstr(json, i ? "\"steps\": [{\"model\": \"Llama-2-70B\", \"tensor\": 8" : "\"large_from\": 95"));
    assert_int_equal(td_device_params_write(device, NULL, 0, stdout), TD_UNSUPPORTED);
    free(text);
    free(json);
    td_device_params_close(device);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(mistakes),  cmocka_unit_test(what_there_is),  cmocka_unit_test(decode_steps),
      cmocka_unit_test(prompts),   cmocka_unit_test(several_chunks), cmocka_unit_test(points),
      cmocka_unit_test(layers),    cmocka_unit_test(extremes),       cmocka_unit_test(distserve),
      cmocka_unit_test(splitwise), cmocka_unit_test(printed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
