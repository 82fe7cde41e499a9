/* SPDX-License-Identifier: Apache-2.0
 *
 * What keeps calls on orchestrators from running: caps of power, machines that fail, configs that cannot be.
 */
#include <math.h>
#include <stdlib.h>

#include "../support.h"
#include "random_cluster.h"
#include "tandem/base.h"
#include "tools_runs.h"

/* ---- power ---- */

struct change {
  int64_t at;
  double watts;
};

static int by_time(const void *a, const void *b) {
  const struct change *x = a, *y = b;
  if (x->at != y->at) return x->at < y->at ? -1 : 1;
  return (x->watts > y->watts) - (x->watts < y->watts); /* who ends before who begins */
}

/* The most that steps and calls took at once beside idle power. */
static double most_watts(const struct rows *rows, double of_step, double of_core) {
  size_t steps, count = 0;
  int calls;
  struct td_row_step *step = rows_steps(rows, &steps);
  const struct td_row_tool_call *call = tools_calls(rows, &calls);
  struct change *changes = calloc(2 * (steps + (size_t)calls), sizeof *changes);
  assert_non_null(changes);
  for (size_t i = 0; i < steps; i++) {
    int64_t n = (int64_t)step[i].count, end = step[i].start + n * step[i].duration + n * (n - 1) / 2 * step[i].slope;
    changes[count++] = (struct change){step[i].start, of_step};
    changes[count++] = (struct change){end, -of_step};
  }
  for (int i = 0; i < calls; i++) {
    changes[count++] = (struct change){call[i].start, of_core * call[i].cores};
    changes[count++] = (struct change){call[i].end, -of_core * call[i].cores};
  }
  qsort(changes, count, sizeof *changes, by_time);
  double watts = 0, most = 0;
  for (size_t i = 0; i < count; i++) {
    watts += changes[i].watts;
    if (watts > most) most = watts;
  }
  free(changes);
  free(step);
  return most;
}

#define CAPPED(watts)                                                                                              \
  "orchestrators = { pools = ( { name = \"cpu\"; cores = 300; power_busy = 129000.0; power_idle = 9000.0; } ); };" \
  "power_cap = " #watts ";"

/* 30 chips take 50 W each idle and 250 W more at a step, cores 30 W idle and 400 W more at a call: 10,500 W idle. */
static void steps_and_calls_share_a_cap(void **state) {
  (void)state;
  struct rows rows, free_rows;
  int count, waited = 0;
  tools_run(CAPPED(11050.0), POISSON, &rows);
  tools_run(CAPPED(99000.0), POISSON, &free_rows);
  assert_int_equal(most_watts(&rows, 250, 400), 500); /* two steps, or a call */
  assert_true(most_watts(&free_rows, 250, 400) > 1200);
  const struct td_row_tool_call *calls = tools_calls(&rows, &count);
  for (int i = 0; i < count; i++) waited += calls[i].start > calls[i].enqueued; /* for power alone */
  printf("%d of %d calls waited for power\n", waited, count);
  assert_true(waited > count / 20);
  assert_true(rows.summary->tools.calls == free_rows.summary->tools.calls);
  assert_true(fabs(rows.summary->tools.energy_j / free_rows.summary->tools.energy_j - 1) < 1e-9);
  assert_true(fabs(rows.summary->energy_j / free_rows.summary->energy_j - 1) < 1e-9);
  rows_free(&rows);
  rows_free(&free_rows);
}

/* ---- failures ---- */

/* One of two machines goes for a while: what it was at is lost, begins again elsewhere, and everything still ends. */
static void calls_begin_again(void **state) {
  (void)state;
  struct rows rows;
  int count, lost = 0, there = 0;
  tools_run(
      "orchestrators = { pools = ( { name = \"cpu\"; cores = 3; count = 2; outages = ( { worker = 1; at = 0.1; lasts "
      "= "
      "0.04; } ); } ); };",
      POISSON, &rows);
  const struct td_row_tool_call *calls = tools_calls(&rows, &count);
  int64_t down = 100 * (int64_t)PS_PER_MS, back = 140 * (int64_t)PS_PER_MS;
  for (int i = 0; i < count; i++) {
    lost += (int)calls[i].lost;
    if (calls[i].lost) assert_true(calls[i].end == down && calls[i].orchestrator == 1);
    if (calls[i].orchestrator == 1) assert_true(calls[i].end <= down || calls[i].start >= back);
    there += calls[i].orchestrator == 1 && calls[i].start >= back;
    if (calls[i].lost || calls[i].start < down) continue;
    for (int j = 0; j < i; j++) { /* its lost beginning asked at the same time */
      if (calls[j].lost && calls[j].request == calls[i].request) assert_int_equal(calls[j].enqueued, calls[i].enqueued);
    }
  }
  printf("%d calls, %d lost, %d there again\n", count, lost, there);
  assert_true(lost > 0 && lost <= 3 && there > 0);
  assert_int_equal(rows.summary->tools.lost, lost);
  assert_int_equal(rows.summary->tools.failures, 1);
  assert_int_equal(rows.summary->failures, 0);
  assert_true(rows.summary->tools.down_s == td_seconds(back - down));
  assert_int_equal(rows.summary->tools.calls, count - lost);
  rows_free(&rows);
}

static void fails_with(const char *cluster, const char *source, td_status expected, const char *words) {
  struct rows rows;
  td_status status = rows_run(tools_config(cluster, source), "engine.merge=true", &rows);
  rows_free(&rows);
  if (status == expected && strstr(td_error_text(), words)) return;
  fail_msg("found \"%s\", expected \"%s\" in it", status ? td_error_text() : "success", words);
}

static void caps_that_cannot_be_kept(void **state) {
  (void)state;
  fails_with(
      CAPPED(10899.0), POISSON, TD_CONFIG,
      "cluster.power_cap: found 10899 W, expected at least 10900 W: all workers and orchestrators idle but the one "
      "that takes most");
  fails_with("orchestrators = { pools = ( { name = \"cpu\"; cores = 3; } ); }; power_cap = 9000.0;", POISSON, TD_CONFIG,
             "cluster.power_cap: found orchestrators cpu without watts, expected a device file with power_busy and "
             "power_idle");
}

static void all_down_is_a_stall(void **state) {
  (void)state;
  fails_with(
      "orchestrators = { pools = ( { name = \"cpu\"; cores = 3; outages = ( { worker = 0; at = 0.05; lasts = 0.0; "
      "} ); } ); };",
      POISSON, TD_UNSUPPORTED, "waits for a core, all 1 orchestrators are down");
}

/* ---- what is refused ---- */

static void refusals(void **state) {
  (void)state;
  static const struct {
    const char *pools, *words;
  } cases[] = {
      {"", "cluster.orchestrators.pools: found a list of 0"},
      {"{ name = \"cpu\"; }", "neither cores nor a device file"},
      {"{ name = \"gpu\"; cores = 3; }", "found the name of another pool"},
      {"{ name = \"c\"; cores = 3; }, { name = \"c\"; cores = 3; }", "found the name of another pool"},
      {"{ name = \"a b\"; cores = 3; }", "letters, digits"},
      {"{ name = \"c\"; cores = 3; speed = 0.0; }", "speed"},
      {"{ name = \"c\"; cores = -1; }", "cores"},
      {"{ name = \"c\"; core = 3; }", "cores"},
      {"{ name = \"c\"; device = \"xeon-2vcpu\"; }", "does not say how many"},
      {"{ name = \"c\"; device = \"nvlink4\"; cores = 3; }", "a device file of kind link"},
      {"{ name = \"c\"; device = \"greace\"; }", "grace"},
      {"{ name = \"c\"; cores = 3; power_busy = 1.0; power_idle = 2.0; }", "found less than power_idle"},
      {"{ name = \"c\"; cores = 3; outages = ( { worker = 1; at = 0.0; lasts = 1.0; } ); }", "no machine of the pool"},
      {"{ name = \"c\"; cores = 3; count = 90000; }, { name = \"d\"; cores = 3; count = 90000; }", "180000 machines"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char cluster[512];
    snprintf(cluster, sizeof cluster, "orchestrators = { pools = ( %s ); };", cases[i].pools);
    fails_with(cluster, POISSON, TD_CONFIG, cases[i].words);
  }
  fails_with("orchestrators = { pools = ( { name = \"c\"; cores = 3; } ); call_cores = 4; };", POISSON, TD_CONFIG,
             "at most the 3 cores");
  fails_with("orchestrators = { call_cores = 4; };", POISSON, TD_CONFIG, "cluster.orchestrators.pools");
}

/* Where somebody executes, or time is not priced, there are no calls to run. */
static void live_runs_have_none(void **state) {
  (void)state;
  struct rows rows;
  char path[4200], text[1024];
  snprintf(text, sizeof text,
           "name = \"tools\"; model = \"%s/dense.cfg\"; engine = { pace = \"measured\"; policy = \"colocated\"; };\n"
           "cluster = { pools = ( { name = \"gpu\"; backend = \"modelled\"; device = \"%s/chip.cfg\"; } );\n"
           "orchestrators = { pools = ( { name = \"cpu\"; cores = 2; } ); }; };\n"
           "workload = { requests = ( { prompt_tokens = 8; } ); };\n",
           tools_folder, tools_folder);
  random_cluster_file(tools_folder, "live.cfg", text);
  snprintf(path, sizeof path, "%s/live.cfg", tools_folder);
  assert_int_equal(rows_run(path, "seed=1", &rows), TD_CONFIG);
  if (!strstr(td_error_text(), "cluster.orchestrators: found some, expected none")) fail_msg("%s", td_error_text());
  rows_free(&rows);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(steps_and_calls_share_a_cap), cmocka_unit_test(caps_that_cannot_be_kept),
      cmocka_unit_test(calls_begin_again),           cmocka_unit_test(all_down_is_a_stall),
      cmocka_unit_test(live_runs_have_none),         cmocka_unit_test(refusals)};
  tools_folder = test_scratch();
  random_cluster_files(tools_folder);
  tools_write_sessions();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
