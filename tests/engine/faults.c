/* SPDX-License-Identifier: Apache-2.0
 *
 * Failures, repairs and power caps against what runs without them say: a request that lost its worker goes on as one
 * whose prompt is all it has so far.
 */
#include <math.h>

#include "../support.h"
#include "random_cluster.h"
#include "rows.h"
#include "tandem/base.h"

static const char *folder;

enum { PROMPT = 100, OUTPUT = 40 };

#define ONE "requests = ( { prompt_tokens = 100; max_tokens = 40; } );"
#define TWO "requests = ( { prompt_tokens = 100; max_tokens = 40; }, { prompt_tokens = 100; max_tokens = 40; } );"

struct setup {
  const char *pools[2]; /* more keys of a pool; the second is NULL in colocated runs */
  const char *cluster;  /* more keys of the cluster */
  int count;            /* workers of the first pool */
  const char *engine;
};

static const char *config_of(const struct setup *setup, const char *workload) {
  static char path[4200];
  bool split = setup->pools[1] != NULL;
  snprintf(path, sizeof path, "%s/faults.cfg", folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file,
          "name = \"faults\"; model = \"%s/dense.cfg\";\nengine = { pace = \"priced\"; policy = \"%s\"; chunk_tokens = "
          "0; %s };\n"
          "cluster = { %s pools = ( { name = \"a\"; role = \"%s\"; backend = \"modelled\"; device = \"%s/chip.cfg\"; "
          "kv_tokens = 20000; count = %d; %s }",
          folder, split ? "disaggregated" : "colocated", setup->engine ? setup->engine : "",
          setup->cluster ? setup->cluster : "", split ? "prefill" : "both", folder, setup->count ? setup->count : 1,
          setup->pools[0]);
  if (split) {
    fprintf(file,
            ", { name = \"b\"; role = \"decode\"; backend = \"modelled\"; device = \"%s/chip.cfg\"; kv_tokens = 20000; "
            "%s }",
            folder, setup->pools[1]);
  }
  fprintf(file, "); links = (");
  if (split) fprintf(file, "{ from = \"a\"; to = \"b\"; device = \"%s/slow.cfg\"; }", folder);
  fprintf(file, "); };\nworkload = { stop_at_end = false; %s };\n", workload);
  assert_int_equal(fclose(file), 0);
  return path;
}

/* Merged and step by step, with the same rows. */
static void run(const struct setup *setup, const char *workload, struct rows *rows) {
  struct rows single;
  const char *config = config_of(setup, workload);
  if (rows_run(config, "engine.merge=true", rows)) fail_msg("%s", td_error_text());
  if (rows_run(config, "engine.merge=false", &single)) fail_msg("%s", td_error_text());
  rows_same(rows, &single, "faults");
  assert_true(rows->summary->energy_j == single.summary->energy_j);
  assert_true(rows->summary->energy_idle_j == single.summary->energy_idle_j);
  assert_int_equal(rows->summary->lost_steps, single.summary->lost_steps);
  assert_int_equal(rows->summary->lost_tokens, single.summary->lost_tokens);
  rows_free(&single);
}

static void fails_with(const struct setup *setup, const char *set, td_status expected, const char *words) {
  struct rows rows;
  td_status status = rows_run(config_of(setup, ONE), set, &rows);
  rows_free(&rows);
  if (status == expected && strstr(td_error_text(), words)) return;
  fail_msg("found \"%s\", expected \"%s\" in it", status ? td_error_text() : "success", words);
}

static void fails(const struct setup *setup, td_status expected, const char *words) {
  fails_with(setup, "seed=1", expected, words);
}

static const struct td_row_request *request_of(const struct rows *rows, int i) {
  return (const struct td_row_request *)(const void *)rows->tables[TD_TABLE_REQUESTS].data + i;
}

static const struct td_row_step *step_of(const struct rows *rows, int i) {
  return (const struct td_row_step *)(const void *)rows->tables[TD_TABLE_STEPS].data + i;
}

static int64_t after_steps(const struct td_row_step *row, int64_t steps) {
  return row->start + row->duration * steps + row->slope * (steps * (steps - 1) / 2);
}

/* What one request of such lengths takes without failures, and its energy. */
static int64_t alone(struct setup setup, int prompt, int output, double *out_energy_j) {
  char workload[128];
  struct rows rows;
  for (int i = 0; i < 2 && setup.pools[i]; i++) setup.pools[i] = "";
  snprintf(workload, sizeof workload, "requests = ( { prompt_tokens = %d; max_tokens = %d; } );", prompt, output);
  run(&setup, workload, &rows);
  int64_t ps = request_of(&rows, 0)->finished;
  *out_energy_j = rows.summary->energy_j;
  rows_free(&rows);
  return ps;
}

/* The worker of `pool` fails at `at_ps`, when the request has put out `emitted` tokens, and is back 1 s later. */
static void starts_over(struct setup setup, int pool, int64_t at_ps, int emitted, int lost_tokens, int lost_steps) {
  char keys[128];
  double energy_j;
  struct rows rows;
  int64_t rest = alone(setup, PROMPT + emitted, OUTPUT - emitted, &energy_j);
  snprintf(keys, sizeof keys, "outages = ( { worker = 0; at = %.12f; lasts = 1.0; } );", (double)at_ps * 1e-12);
  setup.pools[pool] = keys;
  run(&setup, ONE, &rows);
  assert_int_equal(request_of(&rows, 0)->finished, at_ps + INT64_C(1000000000000) + rest);
  assert_int_equal(rows.summary->output_tokens, OUTPUT);
  assert_int_equal(rows.summary->failures, 1);
  assert_int_equal(rows.summary->restarts, 1);
  assert_int_equal(rows.summary->lost_steps, lost_steps);
  assert_int_equal(rows.summary->lost_tokens, lost_tokens);
  assert_true(rows.summary->down_s == 1);
  rows_free(&rows);
}

static void a_step_is_lost(void **state) {
  (void)state;
  const struct setup colocated = {.pools = {""}}, growing = {.pools = {""}, .engine = "kv = \"grow\";"};
  struct rows rows;
  run(&colocated, ONE, &rows);
  const struct td_row_step prefill = *step_of(&rows, 0), decode = *step_of(&rows, 1);
  assert_true(decode.count == OUTPUT - 1);
  rows_free(&rows);
  const struct setup *const all[] = {&colocated, &growing};
  for (int i = 0; i < 2; i++) {
    starts_over(*all[i], 0, prefill.duration / 2, 0, 0, 1);
    starts_over(*all[i], 0, prefill.duration, 1, PROMPT, 0);
    starts_over(*all[i], 0, after_steps(&decode, 7), 8, PROMPT + 7, 0);
    starts_over(*all[i], 0, after_steps(&decode, 7) + 1, 8, PROMPT + 7, 1);
    starts_over(*all[i], 0, after_steps(&decode, 8) - 1, 8, PROMPT + 7, 1);
  }
}

/* Its energy: that of the steps done, of the part of one, and of the run that begins anew. */
static void lost_energy_is_spent(void **state) {
  (void)state;
  const struct setup colocated = {.pools = {""}};
  struct setup failing = colocated;
  struct rows rows;
  char keys[128];
  double again_j;
  run(&colocated, ONE, &rows);
  int64_t at_ps = after_steps(step_of(&rows, 1), 7) + step_of(&rows, 1)->duration / 2;
  rows_free(&rows);
  alone(colocated, PROMPT + 8, OUTPUT - 8, &again_j);
  snprintf(keys, sizeof keys, "outages = ( { worker = 0; at = %.12f; lasts = 1.0; } );", (double)at_ps * 1e-12);
  failing.pools[0] = keys;
  run(&failing, ONE, &rows);
  assert_true(fabs(rows.summary->energy_j - (300 * td_seconds(at_ps) + again_j)) < 1e-9);
  assert_true(fabs(rows.summary->energy_idle_j) < 1e-9); /* it is at steps or down */
  rows_free(&rows);
}

static void kv_on_its_way_is_lost(void **state) {
  (void)state;
  const struct setup split = {.pools = {"", ""}};
  struct rows rows;
  run(&split, ONE, &rows);
  const struct td_row_step prefill = *step_of(&rows, 0), decode = *step_of(&rows, 1);
  int64_t prefilled = prefill.duration, arrived = decode.start;
  assert_true(arrived > prefilled + 4);
  rows_free(&rows);
  starts_over(split, 0, prefilled / 2, 0, 0, 1);                        /* where it is prefilled */
  starts_over(split, 1, prefilled / 2, 1, PROMPT, 0);                   /* where it would have gone */
  starts_over(split, 0, (prefilled + arrived) / 2, 1, PROMPT, 0);       /* the sender */
  starts_over(split, 1, (prefilled + arrived) / 2, 1, PROMPT, 0);       /* the receiver */
  starts_over(split, 1, after_steps(&decode, 3) + 1, 4, PROMPT + 3, 1); /* where it decodes */
}

static void others_go_on(void **state) {
  (void)state;
  struct setup two = {.pools = {"outages = ( { worker = 1; at = 0.0; lasts = 0.0; } );"}, .count = 2};
  struct rows rows;
  run(&two, TWO, &rows);
  assert_int_equal(request_of(&rows, 0)->decode_device, 0); /* one is down for good */
  assert_int_equal(request_of(&rows, 1)->decode_device, 0);
  assert_true(rows.summary->down_s == td_seconds(rows.summary->makespan_ps));
  rows_free(&rows);
}

static void never_back(void **state) {
  (void)state;
  struct setup setup = {.pools = {"outages = ( { worker = 0; at = 0.001; lasts = 0.0; } );"}};
  fails(&setup, TD_UNSUPPORTED, "1 of 1 workers are down");
  setup.pools[0] = "failures = { mean_time_between = 1e-6; mean_time_to_repair = 1e-6; law = \"constant\"; };";
  fails(&setup, TD_UNSUPPORTED, "workers fail too often for it");
  setup.pools[0] = "outages = ( { worker = 1; at = 0.001; lasts = 0.0; } );";
  fails(&setup, TD_CONFIG, "cluster.pools.[0].outages.[0].worker: found 1, expected a number below");
}

static void only_modelled(void **state) {
  (void)state;
  struct setup setup = {.pools = {"outages = ( { worker = 0; at = 0.001; lasts = 1.0; } );"}};
  fails_with(&setup, "engine.pace=\"measured\"", TD_CONFIG, "cluster.pools.[0].outages: found it, expected none where");
  setup.pools[0] = "power_cap = 100.0;";
  fails_with(&setup, "engine.pace=\"measured\"", TD_CONFIG, "cluster.pools.[0].power_cap: found it, expected none");
  setup = (struct setup){.pools = {""}, .cluster = "power_cap = 1000.0;"};
  fails_with(&setup, "engine.pace=\"measured\"", TD_CONFIG, "cluster.power_cap: found a cap, expected none where");
}

/* Times by chance are those of the seed and the worker: the same twice, others with another seed. */
static void chance_is_seeded(void **state) {
  (void)state;
  struct setup setup = {.pools = {"failures = { mean_time_between = 0.02; mean_time_to_repair = 0.001; };"},
                        .count = 4};
  const char *seeds[] = {"seed=1", "seed=1", "seed=2"};
  double down_s[3];
  struct rows rows;
  for (int i = 0; i < 3; i++) {
    if (rows_run(config_of(&setup, TWO), seeds[i], &rows)) fail_msg("%s", td_error_text());
    down_s[i] = rows.summary->down_s;
    rows_free(&rows);
  }
  assert_true(down_s[0] > 0 && down_s[0] == down_s[1] && down_s[0] != down_s[2]);
}

static void a_cap_of_the_cluster(void **state) {
  (void)state;
  struct setup setup = {.pools = {""}, .count = 2};
  struct rows rows;
  double energy_j;
  int64_t one = alone(setup, PROMPT, OUTPUT, &energy_j);
  setup.cluster = "power_cap = 400.0;"; /* 300 W at a step and 50 W idle: one at a time */
  run(&setup, TWO, &rows);
  const struct td_row_step *last = step_of(&rows, (int)(rows.tables[TD_TABLE_STEPS].bytes / sizeof *last) - 1);
  assert_int_equal(request_of(&rows, 1)->finished, 2 * one);
  assert_int_equal(request_of(&rows, 0)->finished, 2 * one - last->duration);
  assert_true(fabs(rows.summary->energy_j - 2 * energy_j) < 1e-9);
  assert_true(fabs(rows.summary->energy_idle_j - 50 * td_seconds(2 * one)) < 1e-9);
  assert_string_equal(rows.summary->power_basis, "chip");
  rows_free(&rows);
  setup.cluster = "power_cap = 600.0;";
  run(&setup, TWO, &rows);
  assert_int_equal(rows.summary->makespan_ps, one);
  rows_free(&rows);
  setup.cluster = "power_cap = 349.0;";
  fails(&setup, TD_CONFIG, "cluster.power_cap: found 349 W, expected at least 350 W");
}

static void a_cap_of_a_pool(void **state) {
  (void)state;
  struct setup setup = {.pools = {""}};
  struct rows rows;
  double energy_j;
  int64_t one = alone(setup, PROMPT, OUTPUT, &energy_j);
  setup.pools[0] = "power_cap = 150.0;"; /* of 300 W */
  run(&setup, ONE, &rows);
  assert_int_equal(request_of(&rows, 0)->finished, 2 * one);
  assert_true(fabs(rows.summary->energy_j - energy_j) < 1e-9);
  rows_free(&rows);
  setup.pools[0] = "power_cap = 301.0;";
  run(&setup, ONE, &rows);
  assert_int_equal(request_of(&rows, 0)->finished, one);
  rows_free(&rows);
  setup.pools[0] = "power_cap = 49.0;";
  fails(&setup, TD_CONFIG, "cluster.pools.[0].power_cap: found 49 W, expected at least 50 W");
}

static double watts(const struct td_row_step *row) {
  return row->energy / td_seconds(row->duration);
}

/* Steps of several chips take less than power_busy: a cap slows those that take more than it, and to no less. */
static void a_cap_slows_what_exceeds_it(void **state) {
  (void)state;
  struct setup setup = {.pools = {"tensor = 2;"}};
  struct rows free, rows;
  char keys[64];
  run(&setup, ONE, &free);
  double prompt_w = watts(step_of(&free, 0)), output_w = watts(step_of(&free, 1));
  const double most_w = prompt_w > output_w ? prompt_w : output_w, least_w = prompt_w + output_w - most_w;
  assert_true(most_w < 599 && least_w > 101 && most_w > 1.01 * least_w);
  const double caps[] = {1.001 * most_w, 0.5 * (most_w + least_w), 101};
  for (int i = 0; i < 3; i++) {
    snprintf(keys, sizeof keys, "tensor = 2; power_cap = %.9f;", caps[i]);
    setup.pools[0] = keys;
    run(&setup, ONE, &rows);
    for (int step = 0; step < 2; step++) {
      double before = watts(step_of(&free, step)), expected = before < caps[i] ? before : caps[i];
      assert_true(fabs(watts(step_of(&rows, step)) / expected - 1) < 1e-6);
    }
    assert_true(fabs(rows.summary->energy_j / free.summary->energy_j - 1) < 1e-6);
    assert_int_equal(rows.summary->makespan_ps == free.summary->makespan_ps, i == 0);
    rows_free(&rows);
  }
  rows_free(&free);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_step_is_lost),
                                     cmocka_unit_test(lost_energy_is_spent),
                                     cmocka_unit_test(kv_on_its_way_is_lost),
                                     cmocka_unit_test(others_go_on),
                                     cmocka_unit_test(never_back),
                                     cmocka_unit_test(only_modelled),
                                     cmocka_unit_test(chance_is_seeded),
                                     cmocka_unit_test(a_cap_of_the_cluster),
                                     cmocka_unit_test(a_cap_of_a_pool),
                                     cmocka_unit_test(a_cap_slows_what_exceeds_it)};
  folder = test_scratch();
  random_cluster_files(folder);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
