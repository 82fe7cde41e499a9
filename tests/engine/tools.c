/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls on orchestrators, call by call: against lines simulated apart, against tools that are delays, and what becomes
 * of them when machines fail.
 */
#include <math.h>
#include <stdlib.h>

#include "../support.h"
#include "random_cluster.h"
#include "rows.h"
#include "tandem/base.h"

static const char *folder;

enum { SESSIONS = 120, PS_PER_MS = 1000000000 };

/* Sessions whose times hardly ever coincide: waits are odd numbers of microseconds. */
static void write_sessions(void) {
  struct td_text text = {0};
  td_text_printf(&text, "session_id,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n");
  for (int session = 0; session < SESSIONS; session++) {
    int held = 0;
    for (int turn = 0; turn < 2 + session % 4; turn++) {
      uint64_t at = (uint64_t)(session * 8 + turn);
      int input = 1 + (int)(td_random(7, at, 0) % 40), output = 2 + (int)(td_random(7, at, 1) % 40);
      double wait = 0.001 * (double)(1 + td_random(7, at, 2) % 9999);
      td_text_printf(&text, "%d,%d,%d,%d,%d,%.3f\n", session, turn, held, input, output, wait);
      held += input + output;
    }
  }
  random_cluster_file(folder, "calls.csv", text.data);
  td_text_free(&text);
}

/* Workers of one place each, so that answers hardly ever end together; cluster: more keys of it. */
static const char *config_of(const char *cluster, const char *source) {
  static char path[4200];
  struct td_text text = {0};
  td_text_printf(
      &text,
      "name = \"tools\"; seed = 5; model = \"%s/dense.cfg\";\n"
      "engine = { pace = \"priced\"; policy = \"colocated\"; batch_sequences = 1; };\n"
      "cluster = { pools = ( { name = \"gpu\"; backend = \"modelled\"; device = \"%s/chip.cfg\"; count = 30; } "
      ");\n%s };\n"
      "workload = { source = { format = \"sessions\"; file = \"%s/calls.csv\"; %s }; };\n",
      folder, folder, cluster, folder, source);
  random_cluster_file(folder, "tools.cfg", text.data);
  td_text_free(&text);
  snprintf(path, sizeof path, "%s/tools.cfg", folder);
  return path;
}

#define POISSON "arrivals = \"poisson\"; rate = 700.0;"

static void run(const char *cluster, const char *source, struct rows *rows) {
  if (rows_run(config_of(cluster, source), "engine.merge=true", rows)) fail_msg("%s", td_error_text());
}

static const struct td_row_tool_call *calls_of(const struct rows *rows, int *out_count) {
  *out_count = (int)(rows->tables[TD_TABLE_TOOL_CALLS].bytes / sizeof(struct td_row_tool_call));
  return (const void *)rows->tables[TD_TABLE_TOOL_CALLS].data;
}

/* ---- lines, simulated apart ---- */

static int by_enqueued(const void *a, const void *b) {
  const struct td_row_tool_call *x = a, *y = b;
  return (x->enqueued > y->enqueued) - (x->enqueued < y->enqueued);
}

/* Of the machine's calls among the first `count`: cores asked for at an instant, or had. */
static int64_t cores_at(const struct td_row_tool_call *calls, int count, uint32_t machine, int64_t at, bool had) {
  int64_t sum = 0;
  for (int i = 0; i < count; i++) {
    if (calls[i].orchestrator != machine || calls[i].end <= at || (had && calls[i].start > at)) continue;
    sum += calls[i].cores;
  }
  return sum;
}

static uint32_t least_asked(const struct td_row_tool_call *calls, int count, const struct td_row_orchestrator *machines,
                            int machine_count) {
  uint32_t best = 0;
  int64_t best_asked = -1;
  for (uint32_t m = 0; m < (uint32_t)machine_count; m++) {
    int64_t asked = cores_at(calls, count, m, calls[count].enqueued, false);
    if (best_asked >= 0 && asked * machines[best].cores >= best_asked * machines[m].cores) continue;
    best = m;
    best_asked = asked;
  }
  return best;
}

/* When the last call's cores are free, nobody being passed. */
static int64_t begins(const struct td_row_tool_call *calls, int last, uint32_t cores) {
  const struct td_row_tool_call *call = &calls[last];
  int64_t at = call->enqueued;
  for (int i = 0; i < last; i++) {
    if (calls[i].orchestrator == call->orchestrator && calls[i].start > at) at = calls[i].start;
  }
  while (cores_at(calls, last, call->orchestrator, at, true) + call->cores > cores) {
    int64_t next = INT64_MAX;
    for (int i = 0; i < last; i++) {
      const struct td_row_tool_call *other = &calls[i];
      bool runs = other->orchestrator == call->orchestrator && other->start <= at && other->end > at;
      if (runs && other->end < next) next = other->end;
    }
    at = next;
  }
  return at;
}

static void same_lines(struct rows *rows, int *waited) {
  const struct td_row_orchestrator *machines = (const void *)rows->tables[TD_TABLE_ORCHESTRATORS].data;
  int count, machine_count = (int)(rows->tables[TD_TABLE_ORCHESTRATORS].bytes / sizeof *machines);
  struct td_row_tool_call *calls = malloc(rows->tables[TD_TABLE_TOOL_CALLS].bytes);
  assert_non_null(calls);
  memcpy(calls, calls_of(rows, &count), rows->tables[TD_TABLE_TOOL_CALLS].bytes);
  qsort(calls, (size_t)count, sizeof *calls, by_enqueued);
  for (int i = 0; i < count; i++) {
    if (i && calls[i].enqueued <= calls[i - 1].enqueued)
      fail_msg("calls of one instant, whose order is not known here");
    uint32_t to = least_asked(calls, i, machines, machine_count);
    int64_t at = begins(calls, i, machines[calls[i].orchestrator].cores);
    if (calls[i].orchestrator == to && calls[i].start == at) {
      *waited += at > calls[i].enqueued;
      continue;
    }
    fail_msg("call %d of %d: found it on %d at %lld ps, expected it on %d at %lld ps", i, count,
             (int)calls[i].orchestrator, (long long)calls[i].start, (int)to, (long long)at);
  }
  free(calls);
}

/* Kiefer and Wolfowitz's recursion over the same arrivals, to the picosecond. */
static void waits_are_exact(void **state) {
  (void)state;
  static const char *const clusters[] = {
      "orchestrators = { pools = ( { name = \"cpu\"; cores = 4; } ); };",
      "orchestrators = { pools = ( { name = \"cpu\"; cores = 4; } ); call_cores = 3; };",
      "orchestrators = { pools = ( { name = \"cpu\"; cores = 1; count = 3; }, { name = \"fast\"; cores = 3; speed = "
      "1.3; } ); };",
      "orchestrators = { pools = ( { name = \"cpu\"; cores = 2; count = 2; } ); detokenize = 0.0000013; };"};
  int waited = 0;
  for (size_t i = 0; i < sizeof clusters / sizeof *clusters; i++) {
    struct rows rows;
    run(clusters[i], POISSON, &rows);
    same_lines(&rows, &waited);
    rows_free(&rows);
  }
  printf("%d calls waited as they should\n", waited);
  assert_true(waited > 200);
}

/* ---- what a call is ---- */

static void durations(void **state) {
  (void)state;
  struct rows rows, fast;
  int count, fast_count;
  run("orchestrators = { pools = ( { name = \"cpu\"; cores = 4; } ); };", POISSON, &rows);
  run("orchestrators = { pools = ( { name = \"cpu\"; cores = 200; speed = 4.0; } ); call_cores = 2; };", POISSON,
      &fast);
  const struct td_row_tool_call *slow_calls = calls_of(&rows, &count), *fast_calls = calls_of(&fast, &fast_count);
  assert_int_equal(count, fast_count);
  int64_t slow_ps = 0, fast_ps = 0;
  for (int i = 0; i < count; i++) {
    slow_ps += slow_calls[i].end - slow_calls[i].start;
    fast_ps += fast_calls[i].end - fast_calls[i].start;
    assert_true(fast_calls[i].start == fast_calls[i].enqueued && fast_calls[i].cores == 2);
    assert_true(slow_calls[i].kind == TD_CALL_TOOL && slow_calls[i].session > 0 && !slow_calls[i].lost);
  }
  assert_int_equal(slow_ps, 4 * fast_ps); /* waits are whole microseconds */
  assert_int_equal(rows.summary->tools.calls, count);
  assert_true(fabs(rows.summary->tools.busy_s - (double)slow_ps * 1e-12) < 1e-9);
  rows_free(&rows);
  rows_free(&fast);
}

/* With a core for everybody a tool's time is the delay it was: the rest of the trace is the same. */
static void enough_cores_are_a_delay(void **state) {
  (void)state;
  static const char *const sources[] = {POISSON, "arrivals = \"closed\"; users = 9; think = 0.001;",
                                        "arrivals = \"constant\"; rate = 1000.0;"};
  for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
    struct rows with, without;
    run("orchestrators = { pools = ( { name = \"cpu\"; cores = 300; } ); };", sources[i], &with);
    run("", sources[i], &without);
    assert_int_equal(without.tables[TD_TABLE_TOOL_CALLS].bytes + without.tables[TD_TABLE_ORCHESTRATORS].bytes, 0);
    assert_true(with.tables[TD_TABLE_TOOL_CALLS].bytes > 0);
    td_text_free(&with.tables[TD_TABLE_TOOL_CALLS]);
    td_text_free(&with.tables[TD_TABLE_ORCHESTRATORS]);
    rows_same(&with, &without, sources[i]);
    assert_true(with.summary->energy_j == without.summary->energy_j);
    rows_free(&with);
    rows_free(&without);
  }
}

static void sticky_sessions_stay(void **state) {
  (void)state;
  uint32_t home[SESSIONS + 1];
  int moved[2] = {0};
  for (int sticky = 0; sticky < 2; sticky++) {
    struct rows rows;
    int count;
    run(sticky ? "orchestrators = { pools = ( { name = \"cpu\"; cores = 2; count = 3; } ); sticky = true; };"
               : "orchestrators = { pools = ( { name = \"cpu\"; cores = 2; count = 3; } ); };",
        POISSON, &rows);
    const struct td_row_tool_call *calls = calls_of(&rows, &count);
    for (int i = 0; i <= SESSIONS; i++) home[i] = UINT32_MAX;
    for (int i = 0; i < count; i++) {
      uint32_t *own = &home[calls[i].session];
      moved[sticky] += *own != UINT32_MAX && *own != calls[i].orchestrator;
      *own = calls[i].orchestrator;
    }
    rows_free(&rows);
  }
  assert_true(moved[0] > 20);
  assert_int_equal(moved[1], 0);
}

/* A prompt is made tokens before it is routed, an answer text before its tool is called. */
static void texts_take_cores(void **state) {
  (void)state;
  struct rows rows;
  int count, kinds[3] = {0};
  run("orchestrators = { pools = ( { name = \"cpu\"; cores = 1; } ); tokenize = 0.000002; detokenize = 0.000003; };",
      "arrivals = \"poisson\"; rate = 100.0;", &rows);
  const struct td_row_tool_call *calls = calls_of(&rows, &count);
  const struct td_row_request *requests = (const void *)rows.tables[TD_TABLE_REQUESTS].data;
  int request_count = (int)(rows.tables[TD_TABLE_REQUESTS].bytes / sizeof *requests);
  for (int i = 0; i < count; i++) {
    const struct td_row_request *request = requests;
    while (request->request != calls[i].request) request++;
    int64_t length = calls[i].end - calls[i].start;
    kinds[calls[i].kind]++;
    if (calls[i].kind == TD_CALL_TOKENIZE) {
      assert_int_equal(length, 2000000 * (int64_t)request->prompt_tokens);
      assert_true(calls[i].enqueued == request->arrival && calls[i].end <= request->first_step);
    } else if (calls[i].kind == TD_CALL_DETOKENIZE) {
      assert_int_equal(length, 3000000 * (int64_t)request->output_tokens);
      assert_int_equal(calls[i].enqueued, request->finished);
    } else {
      assert_true(calls[i].enqueued >= request->finished + 3000000 * (int64_t)request->output_tokens);
    }
  }
  assert_int_equal(kinds[TD_CALL_TOKENIZE], request_count);
  assert_int_equal(kinds[TD_CALL_DETOKENIZE], request_count);
  assert_int_equal(kinds[TD_CALL_TOOL], request_count - SESSIONS);
  assert_int_equal(rows.summary->tools.host_calls, 2 * request_count);
  rows_free(&rows);
}

/* ---- energy ---- */

static void joules_balance(void **state) {
  (void)state;
  struct rows rows;
  int count;
  double joules = 0, busy = 0;
  run("orchestrators = { pools = ( { name = \"cpu\"; cores = 4; count = 2; power_busy = 80.0; power_idle = 20.0; } ); "
      "};",
      POISSON, &rows);
  const struct td_row_tool_call *calls = calls_of(&rows, &count);
  const struct td_run_tools *tools = &rows.summary->tools;
  for (int i = 0; i < count; i++) {
    joules += calls[i].energy;
    busy += (double)(calls[i].end - calls[i].start) * 1e-12;
  }
  double span = td_seconds(rows.summary->makespan_ps);
  assert_true(fabs(tools->busy_s - busy) < 1e-12 * (double)count);
  assert_true(fabs(tools->up_s - 8 * span) < 1e-9);
  assert_true(fabs(tools->energy_j - 20 * busy) < 1e-9 * joules && fabs(joules - tools->energy_j) < 1e-9 * joules);
  assert_true(fabs(tools->energy_idle_j - 5 * (8 * span - busy)) < 1e-9 * joules);
  rows_free(&rows);
  /* a core's share of a device file's watts is by all of its cores; not known: nothing is said */
  run("orchestrators = { pools = ( { name = \"cpu\"; device = \"grace\"; cores = 8; } ); };", POISSON, &rows);
  assert_true(fabs(rows.summary->tools.energy_j - 250.0 / 72 * rows.summary->tools.busy_s) < 1e-9);
  assert_string_equal(rows.summary->power_basis, "chip");
  rows_free(&rows);
  run("orchestrators = { pools = ( { name = \"cpu\"; device = \"vera\"; } ); };", POISSON, &rows);
  assert_int_equal(rows.summary->tools.cores, 88);
  assert_true(isnan(rows.summary->tools.energy_j));
  rows_free(&rows);
}

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
  const struct td_row_tool_call *call = calls_of(rows, &calls);
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
  run(CAPPED(11050.0), POISSON, &rows);
  run(CAPPED(99000.0), POISSON, &free_rows);
  assert_int_equal(most_watts(&rows, 250, 400), 500); /* two steps, or a call */
  assert_true(most_watts(&free_rows, 250, 400) > 1200);
  const struct td_row_tool_call *calls = calls_of(&rows, &count);
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
  run("orchestrators = { pools = ( { name = \"cpu\"; cores = 3; count = 2; outages = ( { worker = 1; at = 0.1; lasts "
      "= "
      "0.04; } ); } ); };",
      POISSON, &rows);
  const struct td_row_tool_call *calls = calls_of(&rows, &count);
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
  assert_int_equal(rows.summary->tools.down_ps, back - down);
  assert_int_equal(rows.summary->tools.calls, count - lost);
  rows_free(&rows);
}

static void fails_with(const char *cluster, const char *source, td_status expected, const char *words) {
  struct rows rows;
  td_status status = rows_run(config_of(cluster, source), "engine.merge=true", &rows);
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
           folder, folder);
  random_cluster_file(folder, "live.cfg", text);
  snprintf(path, sizeof path, "%s/live.cfg", folder);
  assert_int_equal(rows_run(path, "seed=1", &rows), TD_CONFIG);
  if (!strstr(td_error_text(), "cluster.orchestrators: found some, expected none")) fail_msg("%s", td_error_text());
  rows_free(&rows);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(waits_are_exact),
                                     cmocka_unit_test(durations),
                                     cmocka_unit_test(enough_cores_are_a_delay),
                                     cmocka_unit_test(sticky_sessions_stay),
                                     cmocka_unit_test(texts_take_cores),
                                     cmocka_unit_test(joules_balance),
                                     cmocka_unit_test(steps_and_calls_share_a_cap),
                                     cmocka_unit_test(caps_that_cannot_be_kept),
                                     cmocka_unit_test(calls_begin_again),
                                     cmocka_unit_test(all_down_is_a_stall),
                                     cmocka_unit_test(live_runs_have_none),
                                     cmocka_unit_test(refusals)};
  folder = test_scratch();
  random_cluster_files(folder);
  write_sessions();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
