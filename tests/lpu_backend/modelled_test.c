/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem run` with an LPU that is emulated, and with the same one modelled: as long to the picosecond.
 */
#include <jansson.h>
#include <math.h>

#include "runs.h"
#include "support.h"
#include "tandem/devices.h"
#include "tandem/lpu_machine.h"

/* The steps of a backend's devices, those written as one row too. */
struct cursor {
  const struct td_trace *trace;
  const char *backend;
  uint64_t at, turn;
};

static const struct td_row_step *next_of(struct cursor *of, int64_t *out_start) {
  for (; of->at < of->trace->count[TD_TABLE_STEPS]; of->at++, of->turn = 0) {
    const struct td_row_step *step = &of->trace->steps[of->at];
    bool meant = strcmp(of->trace->devices[step->device].backend, of->backend) == 0;
    if (!meant || of->turn == step->count) continue;
    *out_start = step->start + (int64_t)of->turn++ * step->duration;
    assert_int_equal(step->slope, 0);
    return step;
  }
  return NULL;
}

static void same_requests(const struct td_trace *a, const struct td_trace *b) {
  assert_int_equal(a->count[TD_TABLE_REQUESTS], b->count[TD_TABLE_REQUESTS]);
  for (uint64_t r = 0; r < a->count[TD_TABLE_REQUESTS]; r++) {
    assert_int_equal(a->requests[r].first_token, b->requests[r].first_token);
    assert_int_equal(a->requests[r].finished, b->requests[r].finished);
    assert_int_equal(a->requests[r].output_tokens, b->requests[r].output_tokens);
  }
}

/* Step by step as long, to the picosecond, and as much energy: `run` on backend lpu, `priced` on a modelled one. */
static void same_times(const char *run, const char *priced, int64_t least) {
  struct td_trace *a = harness_load(run), *b = harness_load(priced);
  struct cursor left = {a, "lpu", 0, 0}, right = {b, "modelled", 0, 0};
  int64_t steps = 0, start = 0, other = 0;
  for (;; steps++) {
    const struct td_row_step *x = next_of(&left, &start), *y = next_of(&right, &other);
    assert_int_equal(!x, !y);
    if (!x || !y) break;
    assert_int_equal(x->time_kind, TD_TIME_EMULATED);
    assert_int_equal(y->time_kind, TD_TIME_MODELLED);
    assert_int_equal(start, other);
    assert_int_equal(x->duration, y->duration);
    assert_true(fabs(x->energy - y->energy) <= 1e-12 * x->energy);
  }
  assert_true(steps >= least);
  same_requests(a, b);
  td_trace_free(b);
  td_trace_free(a);
}

#define LPU_POOL(role, backend, lpu) \
  "{name=\"d\"; role=\"" role "\"; backend=\"" backend "\"; device=\"groq-lpu-v1\"; lpu={" lpu "};}"

/* Decode behind a prefill elsewhere: one row, one chip; several rows on two chips. */
static void test_modelled(void **state) {
  struct setup run = setup_of(PREFILL("cpu") LPU_POOL("decode", "lpu", "weights=\"i8\";"), "priced", 1);
  struct setup priced = setup_of(PREFILL("cpu") LPU_POOL("decode", "modelled", "weights=\"i8\";"), "priced", 1);
  (void)state;
  same_times(harness_run("lpu-run", &run), harness_run("lpu-modelled", &priced), 6 + 8 + 2);
}

/* Prompts too, in chunks of several passes; batches larger than a pass. KV blocks are short, so that passes of one step
 * have different numbers of them. */
static void test_modelled_batches(void **state) {
#define BATCHES "weights=\"i8\"; rows=5; chips=2; tensor=1; emulate_on=\"cpu\";"
#define PRICED "weights=\"i8\"; rows=5; chips=2; tensor=1;"
  struct setup run = setup_of(LPU_POOL("both", "lpu", BATCHES), "priced", 1);
  struct setup priced = setup_of(LPU_POOL("both", "modelled", PRICED), "priced", 1);
  (void)state;
  run.policy = priced.policy = "colocated";
  run.links = priced.links = "";
  run.extra = priced.extra = "block_tokens = 32; batch_sequences = 7;";
  run.workload = priced.workload =
      "requests = ({name=\"a\"; prompt_tokens=61; max_tokens=7;},{name=\"b\"; prompt_tokens=31;},"
      "{name=\"c\"; prompt_tokens=155; max_tokens=9;},{name=\"d\"; prompt_tokens=2;},{name=\"e\"; "
      "prompt_tokens=64;},{name=\"f\"; prompt_tokens=94;},{name=\"g\"; prompt_tokens=33;}); max_tokens=8; "
      "stop_at_end=false;";
  same_times(harness_run("lpu-batches", &run), harness_run("lpu-batches-modelled", &priced), 10);
}

/* ---- energy ---- */

/* Of a chip of the device file with all of its units idle. */
static double chip_watts(void) {
  struct td_device_params *file;
  if (td_device_params_open(test_source("devices/groq-lpu-v1.cfg"), &file)) fail_msg("%s", td_error_text());
  const struct td_lpu_machine *m = td_lpu_machine_of(file);
  double watts = m->power_base + m->mem_slices * m->power_idle[TD_UNIT_MEMORY] +
                 m->planes * m->power_idle[TD_UNIT_MATRIX] + m->alus * m->power_idle[TD_UNIT_VECTOR] +
                 TD_LPU_HEMISPHERES * m->switch_functions * m->power_idle[TD_UNIT_SWITCH] +
                 m->links_used * m->power_idle[TD_UNIT_LINK];
  td_device_params_close(file);
  return watts;
}

/* What it takes between two requests follows from how many chips it has. */
static void idle_for(const char *name, const char *pool, int chips) {
  static char out[1 << 16];
  struct setup setup = setup_of(pool, "priced", 1);
  setup.policy = "colocated";
  setup.links = "";
  setup.workload = "requests = ({prompt_tokens=33;},{prompt_tokens=3; arrival=0.5;}); max_tokens=4; stop_at_end=false;";
  const char *config = harness_config(name, &setup);
  assert_int_equal(
      test_run(out, sizeof out, "%s run %s --json -o %s/%s.h5", TANDEM_PROGRAM, config, harness_scratch(), name), 0);
  json_t *root = json_loads(out, 0, NULL), *device = json_array_get(json_object_get(root, "devices"), 0);
  double idle_s =
      json_number_value(json_object_get(root, "makespan_s")) - json_number_value(json_object_get(device, "busy_s"));
  double watts = json_number_value(json_object_get(root, "energy_idle_j")) / idle_s;
  if (!(idle_s > 0.49 && fabs(watts / (chips * chip_watts()) - 1) < 1e-9))
    fail_msg("%s: found %.12g W idle, expected %.12g", name, watts, chips * chip_watts());
  json_decref(root);
}

static void test_idle(void **state) {
  (void)state;
  idle_for("lpu-idle", LPU_POOL("both", "modelled", "weights=\"i8\";"), 1); /* as many as it takes */
  idle_for("lpu-idle-2", LPU_POOL("both", "modelled", "weights=\"i8\"; chips=2;"), 2);
  idle_for("lpu-idle-emulated", LPU_POOL("both", "lpu", "weights=\"i8\"; chips=2; emulate_on=\"cpu\";"), 2);
}

/* ---- live, and predicted ---- */

/* `tandem diff --json` of a metric: the largest difference of any request. */
static double largest(const char *a, const char *b, const char *metric) {
  static char out[65536];
  int code = test_run(out, sizeof out, "%s diff --json %s %s", TANDEM_PROGRAM, a, b);
  json_t *root = json_loads(out, 0, NULL), *of = json_object_get(root, metric);
  if (!root || code > 1) fail_msg("diff: exit %d: %s", code, out);
  assert_int_equal(json_integer_value(json_object_get(root, "paired")), 3);
  assert_true(json_integer_value(json_object_get(of, "count")) > 0);
  double value = json_number_value(json_object_get(of, "max_abs"));
  json_decref(root);
  return value;
}

/* Nothing but the LPU works here: a live run takes, request by request, what the model of it says. */
static void test_live_alone(void **state) {
  struct setup live = setup_of(LPU_POOL("both", "lpu", "weights=\"i8\"; emulate_on=\"cpu\";"), "measured", 1);
  struct setup modelled = setup_of(LPU_POOL("both", "modelled", "weights=\"i8\";"), "priced", 1);
  (void)state;
  live.policy = modelled.policy = "colocated";
  live.links = modelled.links = "";
  const char *a = harness_run("lpu-live", &live), *b = harness_run("lpu-predicted", &modelled);
  same_times(a, b, 10);
  assert_true(largest(a, b, "ttft") == 0.0);
  assert_true(largest(a, b, "tpot") == 0.0);
  assert_true(largest(a, b, "e2e") == 0.0);
}

#define LATE "requests = ({name=\"late\"; prompt_tokens=155; max_tokens=9;}); stop_at_end=false;"

/* A prompt on a processor takes as long as it takes, and its KV as well; what the LPU does then is predicted to the
 * picosecond, over two KV blocks. */
static void test_live(void **state) {
  struct setup live = setup_of(PREFILL("cpu") LPU_POOL("decode", "lpu", "weights=\"i8\";"), "wall", 1);
  struct setup modelled = setup_of(PREFILL("cpu") LPU_POOL("decode", "modelled", "weights=\"i8\";"), "wall", 1);
  (void)state;
  live.workload = modelled.workload = LATE;
  struct td_trace *a = harness_load(harness_run("lpu-live-wall", &live));
  struct td_trace *b = harness_load(harness_run("lpu-predicted-wall", &modelled));
  struct cursor left = {a, "lpu", 0, 0}, right = {b, "modelled", 0, 0};
  int64_t start, begin = 0, length = 0;
  for (int step = 0; step < 8; step++) {
    const struct td_row_step *x = next_of(&left, &start), *y = next_of(&right, &begin);
    assert_true(x && y);
    assert_int_equal(x->time_kind, TD_TIME_EMULATED);
    assert_int_equal(x->duration, y->duration);
    length += x->duration;
  }
  assert_null(next_of(&left, &start));
  assert_null(next_of(&right, &begin));
  assert_true(a->requests[0].finished - a->requests[0].first_token >= length);
  td_trace_free(b);
  td_trace_free(a);
}

/* ---- refused ---- */

/* Of a modelled LPU: what runs nothing has nothing to emulate on; what does not fit is said before the run. */
static void test_modelled_refused(void **state) {
  struct setup emulated = setup_of(PREFILL("cpu") LPU_POOL("decode", "modelled", "emulate_on=\"cpu\";"), "priced", 1);
  struct setup chip = setup_of(
      PREFILL("cpu") "{name=\"d\"; role=\"decode\"; backend=\"modelled\"; device=\"h100_sxm\"; lpu={rows=1;};}",
      "priced", 1);
  struct setup large = setup_of(PREFILL("cpu") "{name=\"d\"; role=\"decode\"; backend=\"modelled\"; "
                                               "device=\"groq-lpu-v1\"; kv_tokens=1000000; lpu={chips=1;};}",
                                "priced", 1);
  char out[4096];
  (void)state;
  assert_int_equal(harness_try("modelled-emulated", &emulated, out, sizeof out), 2);
  assert_non_null(strstr(out, "lpu.emulate_on: found \"cpu\", expected none: backend modelled runs nothing"));
  assert_int_equal(harness_try("modelled-chip", &chip, out, sizeof out), 2);
  assert_non_null(strstr(out, "beside a device of another kind, expected one of kind lpu"));
  assert_int_not_equal(harness_try("modelled-large", &large, out, sizeof out), 0);
  assert_non_null(strstr(out, "worker d.0"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_modelled),   cmocka_unit_test(test_modelled_batches),
      cmocka_unit_test(test_live_alone), cmocka_unit_test(test_idle),
      cmocka_unit_test(test_live),       cmocka_unit_test(test_modelled_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
