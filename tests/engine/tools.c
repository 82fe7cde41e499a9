/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls on orchestrators, call by call: against lines simulated apart, and against tools that are delays.
 */
#include <math.h>
#include <stdlib.h>

#include "../support.h"
#include "random_cluster.h"
#include "tandem/base.h"
#include "tools_runs.h"

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
  memcpy(calls, tools_calls(rows, &count), rows->tables[TD_TABLE_TOOL_CALLS].bytes);
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
    tools_run(clusters[i], POISSON, &rows);
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
  tools_run("orchestrators = { pools = ( { name = \"cpu\"; cores = 4; } ); };", POISSON, &rows);
  tools_run("orchestrators = { pools = ( { name = \"cpu\"; cores = 200; speed = 4.0; } ); call_cores = 2; };", POISSON,
            &fast);
  const struct td_row_tool_call *slow_calls = tools_calls(&rows, &count), *fast_calls = tools_calls(&fast, &fast_count);
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
    tools_run("orchestrators = { pools = ( { name = \"cpu\"; cores = 300; } ); };", sources[i], &with);
    tools_run("", sources[i], &without);
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
    tools_run(sticky ? "orchestrators = { pools = ( { name = \"cpu\"; cores = 2; count = 3; } ); sticky = true; };"
                     : "orchestrators = { pools = ( { name = \"cpu\"; cores = 2; count = 3; } ); };",
              POISSON, &rows);
    const struct td_row_tool_call *calls = tools_calls(&rows, &count);
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
  tools_run(
      "orchestrators = { pools = ( { name = \"cpu\"; cores = 1; } ); tokenize = 0.000002; detokenize = 0.000003; };",
      "arrivals = \"poisson\"; rate = 100.0;", &rows);
  const struct td_row_tool_call *calls = tools_calls(&rows, &count);
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
  tools_run(
      "orchestrators = { pools = ( { name = \"cpu\"; cores = 4; count = 2; power_busy = 80.0; power_idle = 20.0; } ); "
      "};",
      POISSON, &rows);
  const struct td_row_tool_call *calls = tools_calls(&rows, &count);
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
  tools_run("orchestrators = { pools = ( { name = \"cpu\"; device = \"grace\"; cores = 8; } ); };", POISSON, &rows);
  assert_true(fabs(rows.summary->tools.energy_j - 250.0 / 72 * rows.summary->tools.busy_s) < 1e-9);
  assert_string_equal(rows.summary->power_basis, "chip");
  rows_free(&rows);
  tools_run("orchestrators = { pools = ( { name = \"cpu\"; device = \"vera\"; } ); };", POISSON, &rows);
  assert_int_equal(rows.summary->tools.cores, 88);
  assert_true(isnan(rows.summary->tools.energy_j));
  rows_free(&rows);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(waits_are_exact),          cmocka_unit_test(durations),
                                     cmocka_unit_test(enough_cores_are_a_delay), cmocka_unit_test(sticky_sessions_stay),
                                     cmocka_unit_test(texts_take_cores),         cmocka_unit_test(joules_balance)};
  tools_folder = test_scratch();
  random_cluster_files(tools_folder);
  tools_write_sessions();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
