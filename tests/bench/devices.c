/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices in the engine: which of several chips a replica takes, and the energy that a chip's counter gives a step. The
 * chips are the template's plain loops, numbered, each with a counter.
 */
#include <math.h>
#include <stdatomic.h>

#include "../support.h"
#include "tandem/base.h"
#include "tandem/comm.h"
#include "tandem/device.h"
#include "tandem/engine.h"
#include "tandem/trace.h"

enum { CHIPS = 3 };
#define JOULES_A_CALL 0.25 /* an operator; exact in binary, so that sums are */

extern const struct td_backend td_backend_template;

static atomic_int opened[CHIPS];            /* how often each chip was opened */
static atomic_int operators[CHIPS];         /* run on each chip */
static const struct td_device_table *plain; /* the template's */
static struct td_device_table counting;

static td_status count_op(struct td_device *device, const struct td_op_call *call) {
  operators[device->index]++;
  return plain->op(device, call);
}
static double count_energy(struct td_device *device) {
  return JOULES_A_CALL * operators[device->index];
}
static int32_t chips_here(const char **out_reason) {
  (void)out_reason;
  return CHIPS;
}
static td_status open_chip(int32_t index, const struct td_device_options *options, struct td_device **out) {
  TD_TRY(td_backend_template.open(0, options, out));
  plain = (*out)->table;
  counting = *plain;
  counting.size = sizeof counting;
  counting.op = count_op;
  counting.energy = count_energy;
  (*out)->table = &counting;
  opened[index]++;
  return TD_OK;
}
static bool never(int32_t index) {
  (void)index;
  return false;
}
static bool always(int32_t index) {
  (void)index;
  return true;
}

#define CHIP(name_, on_host_)                                                                         \
  {                                                                                                   \
    .size = sizeof(struct td_backend), .name = name_, .summary = "", .executes = true, .exact = true, \
    .probe = chips_here, .open = open_chip, .numbered = true, .on_host = on_host_                     \
  }
static const struct td_backend chip = CHIP("chip", never), shared = CHIP("shared", always),
                               plainly = CHIP("plainly", NULL);
const struct td_backend *const td_backends[] = {&chip, &shared, &plainly, &td_backend_template, NULL};

/* ---- runs ---- */

static const char *config_file(const char *name, const char *policy, const char *pools, const char *pace) {
  static char path[4200], scratch[4096];
  if (!*scratch) snprintf(scratch, sizeof scratch, "%s", test_scratch());
  snprintf(path, sizeof path, "%s/%s.cfg", scratch, name);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file,
          "name = \"%s\"; model = \"%s\";\n"
          "engine = { pace = \"%s\"; policy = \"%s\"; };\n"
          "cluster = { pools = ( %s ); };\n"
          "workload = { max_tokens = 3; stop_at_end = false; requests = (\n"
          "  { prompt_tokens = 9; }, { prompt_tokens = 5; }, { prompt_tokens = 7; }, { prompt_tokens = 6; } ); };\n",
          name, test_source("tests/data/tiny/llama.gguf"), pace, policy, pools);
  fclose(file);
  return path;
}

static td_status run(const char *name, const char *policy, const char *pools, const char *pace,
                     struct td_trace **out_trace) {
  struct td_config *config;
  struct td_experiment experiment;
  struct td_transport *transport;
  char trace[4300];
  const char *path = config_file(name, policy, pools, pace);
  for (int i = 0; i < CHIPS; i++) opened[i] = operators[i] = 0;
  snprintf(trace, sizeof trace, "%s.h5", path);
  TD_TRY(td_experiment_open(path, NULL, 0, &config, &experiment));
  struct td_run_options options = {.trace_path = trace};
  td_status status = td_transport_open(&transport);
  if (!status) status = td_engine_run(config, &experiment, transport, &options);
  td_config_close(config);
  if (!status && out_trace) status = td_trace_load(trace, out_trace);
  return status;
}

static void expect_opened(int a, int b, int c) {
  const int want[CHIPS] = {a, b, c};
  for (int i = 0; i < CHIPS; i++) {
    if (opened[i] != want[i]) fail_msg("chip %d: opened %d times, expected %d", i, (int)opened[i], want[i]);
  }
}

static void must(td_status status) {
  if (status) fail_msg("%s", td_error_text());
}

static void replicas_take_chips_in_turn(void **state) {
  (void)state;
  must(run("three", "colocated", "{ name = \"a\"; backend = \"chip\"; count = 3; }", "wall", NULL));
  expect_opened(1, 1, 1);
  must(run("from", "colocated", "{ name = \"a\"; backend = \"chip:1\"; count = 2; }", "wall", NULL));
  expect_opened(0, 1, 1);
  must(run("default", "colocated", "{ name = \"a\"; backend = \"plainly\"; count = 2; }", "wall", NULL));
  expect_opened(1, 1, 0);
}

static void pools_may_name_the_same_chip(void **state) {
  (void)state;
  const char *same =
      "{ name = \"p\"; role = \"prefill\"; backend = \"chip:2\"; }, { name = \"d\"; role = \"decode\"; backend = "
      "\"chip:2\"; }";
  must(run("same", "disaggregated", same, "wall", NULL));
  expect_opened(0, 0, 2);
  const char *apart =
      "{ name = \"p\"; role = \"prefill\"; backend = \"chip\"; count = 2; }, { name = \"d\"; role = \"decode\"; "
      "backend = \"chip:2\"; }";
  must(run("apart", "disaggregated", apart, "wall", NULL));
  expect_opened(1, 1, 1);
}

/* A device that computes on the host's processors is there as often as it is asked for, like the host itself. */
static void replicas_share_the_host(void **state) {
  (void)state;
  must(run("host", "colocated", "{ name = \"a\"; backend = \"shared:1\"; count = 4; }", "wall", NULL));
  expect_opened(0, 4, 0);
}

static void too_few_chips(void **state) {
  (void)state;
  const char *pools = "{ name = \"a\"; backend = \"template\"; }, { name = \"b\"; backend = \"chip:1\"; count = 3; }";
  assert_int_equal(run("few", "colocated", pools, "wall", NULL), TD_CONFIG);
  static const char *const words[] = {"few.cfg:3: cluster.pools.[1].count",
                                      "found 3 replicas of pool \"b\"",
                                      "expected as many chips",
                                      "worker b.2",
                                      "chip:3",
                                      "found 3 device(s)"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    if (!strstr(td_error_text(), words[i])) fail_msg("no \"%s\" in: %s", words[i], td_error_text());
  }
  expect_opened(0, 0, 0);
}

/* ---- energy ---- */

#define WARM_STEPS 3 /* host.c */

/* Of workers with a chip each, steps' energies are what their chips counted, to the last operator; what they did before
 * the first request, to warm up, is no step's. */
static void steps_have_their_energy(void **state) {
  (void)state;
  static const char *const paces[] = {"wall", "measured"};
  for (int p = 0; p < 2; p++) {
    struct td_trace *trace;
    must(run("energy", "colocated", "{ name = \"a\"; backend = \"chip\"; count = 2; }", paces[p], &trace));
    double energy[2] = {0}, most = 0;
    for (uint64_t i = 0; i < trace->count[TD_TABLE_STEPS]; i++) {
      const struct td_row_step *step = &trace->steps[i];
      assert_true(step->energy > 0);
      energy[step->device] += step->energy;
      if (step->energy > most) most = step->energy; /* one that gives logits has all operators */
    }
    for (int i = 0; i < 2; i++) assert_true(energy[i] + WARM_STEPS * most == JOULES_A_CALL * operators[i]);
    td_trace_free(trace);
  }
}

static void unknown_energy_stays_unknown(void **state) {
  (void)state;
  struct td_trace *trace;
  must(run("unknown", "colocated", "{ name = \"a\"; backend = \"template\"; }", "wall", &trace));
  assert_true(trace->count[TD_TABLE_STEPS] > 0);
  for (uint64_t i = 0; i < trace->count[TD_TABLE_STEPS]; i++) assert_true(isnan(trace->steps[i].energy));
  td_trace_free(trace);
}

/* ---- the checked forms ---- */

static double ceiling_rate;
static td_status give_ceiling(struct td_device *device, enum td_ceiling which, double *out_rate, const char **out_how) {
  (void)device;
  (void)which;
  *out_rate = ceiling_rate;
  *out_how = "a guess";
  return TD_OK;
}

static void checked_forms(void **state) {
  (void)state;
  struct td_device *device;
  double rate = 7;
  const char *how = NULL;
  must(td_device_open("template", &(struct td_device_options){0}, &device));
  assert_true(isnan(td_device_energy(device)));
  assert_int_equal(td_device_ceiling(device, TD_CEILING_READ, &rate, &how), TD_UNIMPLEMENTED);
  struct td_device_table table = *device->table;
  const struct td_device_table *before = device->table;
  table.size = sizeof table;
  table.energy = count_energy;
  table.ceiling = give_ceiling;
  device->table = &table;
  assert_true(td_device_energy(device) >= 0);
  ceiling_rate = 3e9;
  must(td_device_ceiling(device, TD_CEILING_READ, &rate, &how));
  assert_true(rate == 3e9);
  assert_string_equal(how, "a guess");
  ceiling_rate = 0;
  assert_int_equal(td_device_ceiling(device, TD_CEILING_READ, &rate, &how), TD_INTERNAL);
  table.size = offsetof(struct td_device_table, energy); /* a table from before these entries */
  assert_true(isnan(td_device_energy(device)));
  assert_int_equal(td_device_ceiling(device, TD_CEILING_READ, &rate, &how), TD_UNIMPLEMENTED);
  device->table = before;
  td_device_close(device);
}

static void who_is_on_the_host(void **state) {
  (void)state;
  assert_true(td_backend_on_host(&td_backend_template, 0));
  assert_false(td_backend_on_host(&chip, 0));
  assert_true(td_backend_on_host(&shared, 0));
  assert_false(td_backend_on_host(&plainly, 0));
}

/* ---- encoders ---- */

static td_status check(const char *engine, const char *workload) {
  char path[4200], out[4096];
  snprintf(path, sizeof path, "%s/encoder.cfg", test_scratch());
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file,
          "name = \"e\"; model = \"%s\";\nengine = { pace = \"priced\"; %s };\n"
          "cluster = { pools = ( { name = \"a\"; backend = \"modelled\"; device = \"h100_sxm\"; } ); };\n"
          "workload = { %s };\n",
          test_source("experiments/models/bert-base.cfg"), engine, workload);
  fclose(file);
  int code = test_run(out, sizeof out, "%s run %s -o %s.h5 2>&1", TANDEM_PROGRAM, path, path);
  return code ? td_fail(TD_CONFIG, "%d: %s", code, out) : TD_OK;
}

static void refuse(const char *engine, const char *workload, const char *words) {
  assert_int_equal(check(engine, workload), TD_CONFIG);
  if (!strstr(td_error_text(), words)) fail_msg("no \"%s\" in: %s", words, td_error_text());
}

static void encoders_read_at_once(void **state) {
  (void)state;
  must(check("chunk_tokens = 0;", "max_tokens = 1; requests = ( { prompt_tokens = 512; }, { prompt_tokens = 3; } );"));
  refuse("", "max_tokens = 1; requests = ( { prompt_tokens = 5; } );", "engine.chunk_tokens: found 512, expected 0");
  refuse("chunk_tokens = 0;", "requests = ( { prompt_tokens = 5; } );", "workload.max_tokens: found 64, expected 1");
  refuse("chunk_tokens = 0;", "max_tokens = 1; requests = ( { prompt_tokens = 5; max_tokens = 2; } );",
         "workload.requests.[0].max_tokens: found 2, expected 1");
  refuse("chunk_tokens = 0;", "max_tokens = 1; requests = ( { prompt_tokens = 513; } );", "context of 512");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(replicas_take_chips_in_turn),
      cmocka_unit_test(pools_may_name_the_same_chip),
      cmocka_unit_test(replicas_share_the_host),
      cmocka_unit_test(too_few_chips),
      cmocka_unit_test(steps_have_their_energy),
      cmocka_unit_test(unknown_energy_stays_unknown),
      cmocka_unit_test(checked_forms),
      cmocka_unit_test(who_is_on_the_host),
      cmocka_unit_test(encoders_read_at_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
