/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem run` with decode on an LPU, and `tandem lpu`: the same tokens for any rank count, every decode step as long
 * as the closed form says, marked as counted.
 */
#include <jansson.h>

#include "runs.h"
#include "support.h"

/* Cycles of a step at `position`, as `tandem lpu compile` says. */
static json_int_t closed_form(const char *config, int64_t position) {
  static char out[65536];
  int code = test_run(out, sizeof out, "%s lpu compile %s --json --position %lld", TANDEM_PROGRAM, config,
                      (long long)position);
  if (code) fail_msg("lpu compile: exit %d", code);
  json_t *root = json_loads(out, 0, NULL);
  assert_non_null(root);
  json_int_t cycles = json_integer_value(json_object_get(root, "cycles"));
  json_decref(root);
  assert_true(cycles > 0);
  return cycles;
}

/* Each decode step on the LPU: one sequence, whose position follows from the request's token that it yields. */
static void check_steps(const struct td_trace *trace, const char *config) {
  json_int_t first = closed_form(config, 20), second = closed_form(config, 161);
  int64_t steps = 0;
  assert_true(second > first);
  for (uint64_t t = 0; t < trace->count[TD_TABLE_TOKENS]; t++) {
    const struct td_row_token *token = &trace->tokens[t];
    const struct td_row_step *step = NULL;
    for (uint64_t s = 0; s < trace->count[TD_TABLE_STEPS]; s++) {
      if (trace->steps[s].step == token->step) step = &trace->steps[s];
    }
    assert_non_null(step);
    if (strcmp(trace->devices[step->device].backend, "lpu")) continue;
    int64_t position = trace->requests[token->request].prompt_tokens + (int64_t)token->index - 1;
    double ps = (double)(position >= 160 ? second : first) * 1e12 / 900e6;
    assert_int_equal(step->duration, (int64_t)(ps + 0.5));
    assert_int_equal(step->time_kind, TD_TIME_EMULATED);
    assert_true(step->energy > 0);
    steps++;
  }
  assert_int_equal(steps, 6 + 8 + 2);
}

static void same_tokens(const struct td_trace *a, const struct td_trace *b) {
  assert_int_equal(a->count[TD_TABLE_TOKENS], b->count[TD_TABLE_TOKENS]);
  for (uint64_t i = 0; i < a->count[TD_TABLE_TOKENS]; i++) {
    assert_int_equal(a->tokens[i].id, b->tokens[i].id);
    assert_memory_equal(&a->tokens[i].logprob, &b->tokens[i].logprob, sizeof(double));
  }
}

static void runs_of(const char *name, const char *pools) {
  char paced[64], ranked[64];
  snprintf(paced, sizeof paced, "%s-measured", name);
  snprintf(ranked, sizeof ranked, "%s-ranks", name);
  struct setup priced = setup_of(pools, "priced", 1), measured = setup_of(pools, "measured", 1);
  const char *path = harness_run(name, &priced), *other = harness_run(paced, &measured);
  struct td_trace *a = harness_load(path), *b = harness_load(other);
  check_steps(a, harness_config(name, &priced));
  check_steps(b, harness_config(name, &priced));
  same_tokens(a, b);
  td_trace_free(b);
  td_trace_free(a);
#ifdef TANDEM_HAVE_MPI
  struct setup ranks = setup_of(pools, "priced", 2);
  harness_identical(path, harness_run(ranked, &ranks));
#endif
}

static void test_f16(void **state) {
  (void)state;
  runs_of("f16", PREFILL("cpu") DECODE("f16"));
}

static void test_i8(void **state) {
  (void)state;
  runs_of("i8", PREFILL("cpu") DECODE("i8"));
}

/* What emulates the chips changes nothing that is in a trace. */
static void test_hosts(void **state) {
  struct setup step = setup_of(PREFILL("cpu") DECODE("i8"), "priced", 1);
  struct setup cpu = setup_of(PREFILL("cpu") "{name=\"d\"; role=\"decode\"; backend=\"lpu\"; device=\"groq-lpu-v1\"; "
                                             "lpu={weights=\"i8\"; rows=1; emulate_on=\"cpu\";};}",
                              "priced", 1);
  (void)state;
  harness_identical(harness_run("by-steps", &step), harness_run("on-cpu-host", &cpu));
}

/* Layers on two chips: the same bits, other times, which pace priced compares with the price. */
static void test_chips(void **state) {
  struct setup one = setup_of(PREFILL("cpu") DECODE("i8"), "priced", 1);
  struct setup two = setup_of(PREFILL("cpu") "{name=\"d\"; role=\"decode\"; backend=\"lpu\"; device=\"groq-lpu-v1\"; "
                                             "lpu={weights=\"i8\"; chips=2;};}",
                              "priced", 1);
  (void)state;
  struct td_trace *a = harness_load(harness_run("one-chip", &one));
  struct td_trace *b = harness_load(harness_run("two-chips", &two));
  same_tokens(a, b);
  assert_true(b->requests[1].finished > a->requests[1].finished);
  td_trace_free(b);
  td_trace_free(a);
}

/* Saved, opened, checked and printed again. */
static void test_saved(void **state) {
  struct setup setup = setup_of(PREFILL("cpu") DECODE("i8"), "priced", 1);
  char out[65536], path[4200];
  (void)state;
  snprintf(path, sizeof path, "%s/saved.lpu", harness_scratch());
  const char *config = harness_config("saved", &setup);
  assert_int_equal(test_run(out, sizeof out, "%s lpu compile %s -o %s", TANDEM_PROGRAM, config, path), 0);
  int code = test_run(out, sizeof out, "%s lpu check %s --position 161 2>&1", TANDEM_PROGRAM, path);
  if (code || !strstr(out, "valid: 1 row at position 161")) fail_msg("exit %d: %s", code, out);
  code = test_run(out, sizeof out, "%s lpu dump %s --segment scores 2>&1", TANDEM_PROGRAM, path);
  if (code || !strstr(out, "install")) fail_msg("exit %d: %s", code, out);
  code = test_run(out, sizeof out, "%s lpu check %s --rows 9 2>&1", TANDEM_PROGRAM, path);
  if (code != 2 || !strstr(out, "--rows")) fail_msg("exit %d: %s", code, out);
}

static void test_prefill_elsewhere(void **state) {
  struct setup on_cpu = setup_of(PREFILL("cpu") DECODE("f16"), "priced", 1);
  struct setup on_template = setup_of(PREFILL("template") DECODE("f16"), "priced", 1);
  (void)state;
  struct td_trace *a = harness_load(harness_run("on-cpu", &on_cpu));
  struct td_trace *b = harness_load(harness_run("on-template", &on_template));
  assert_int_equal(a->count[TD_TABLE_TOKENS], b->count[TD_TABLE_TOKENS]);
  for (uint64_t i = 0; i < a->count[TD_TABLE_TOKENS]; i++) assert_int_equal(a->tokens[i].id, b->tokens[i].id);
  td_trace_free(b);
  td_trace_free(a);
}

/* ---- the table and the command line ---- */

static void test_show_says_counted(void **state) {
  struct setup setup = setup_of(PREFILL("cpu") DECODE("i8"), "priced", 1);
  char out[16384];
  (void)state;
  const char *path = harness_run("shown", &setup);
  assert_int_equal(test_run(out, sizeof out, "%s show %s", TANDEM_PROGRAM, path), 0);
  if (!strstr(out, "emulated")) fail_msg("show says nothing of emulated time:\n%s", out);
}

static void refused(const char *set, const char *words) {
  struct setup setup = setup_of(PREFILL("cpu") DECODE("i8"), "priced", 1);
  char out[4096];
  const char *config = harness_config("refused", &setup);
  int code = test_run(out, sizeof out, "%s check %s --set '%s' 2>&1", TANDEM_PROGRAM, config, set);
  if (code != 2 || !strstr(out, words)) fail_msg("%s: exit %d, expected \"%s\" in: %s", set, code, words, out);
}

static void test_configs_refused(void **state) {
  (void)state;
  refused("cluster.pools.[1].lpu.emulate_on=modelled", "found \"modelled\"");
  refused("cluster.pools.[1].lpu.emulate_on=cpus", "did you mean");
  refused("cluster.pools.[1].lpu.emulate_on=\"\"", "expected \"step\"");
  setenv("TANDEM_CUDA_DRIVER", "/nowhere/libcuda.so", 1);
  refused("cluster.pools.[1].lpu.emulate_on=\"cuda:0\"", "lpu.emulate_on: device 'cuda:0': backend cuda has no device");
  unsetenv("TANDEM_CUDA_DRIVER");
  refused("cluster.pools.[1].lpu.weights=f8", "expected \"f16\" or \"i8\": groq-lpu-v1 has no FP8");
  refused("cluster.pools.[1].lpu.activations=f8", "expected weights = \"f8\"");
  refused("cluster.pools.[1].lpu.rows=0", "lpu.rows");
  refused("cluster.pools.[1].lpu.context=20", "the longest request");
  refused("cluster.pools.[1].lpu.context=2000", "what the KV cache holds");
  refused("cluster.pools.[1].lpu.chip=1", "did you mean chips?");
  refused("cluster.pools.[1].device=h100_sxm", "kind lpu");
  refused("cluster.pools.[1].device=\"\"", "kind lpu");
  refused("cluster.pools.[1].backend=cpu", "with backend lpu only");
  refused("engine.block_tokens=24", "multiple of 16");
  refused("engine.kv_dtype=f32", "expected \"f16\"");
  refused("cluster.pools.[1].lpu={activations=\"i8\";}", "lpu");
}

/* ---- tandem eval ---- */

static int eval(char *out, size_t size, const char *flags) {
  return test_run(out, size, "echo 1 2 3 40 50 60 | %s eval %s --ids - --device lpu %s 2>&1", TANDEM_PROGRAM,
                  test_source("tests/data/tiny/llama.gguf"), flags);
}

static void eval_refused(const char *flags, const char *words) {
  char out[4096];
  int code = eval(out, sizeof out, flags);
  if (!code || !strstr(out, words)) fail_msg("%s: exit %d, expected \"%s\" in: %s", flags, code, words, out);
}

static void test_eval(void **state) {
  char steps[4096], cpu[4096];
  (void)state;
  assert_int_equal(eval(steps, sizeof steps, "--device-file groq-lpu-v1 --kv f16 --lpu weights=i8,rows=4"), 0);
  assert_int_equal(eval(cpu, sizeof cpu, "--device-file groq-lpu-v1 --kv f16 --lpu weights=i8,emulate_on=cpu"), 0);
  assert_non_null(strstr(steps, "perplexity"));
  assert_string_equal(steps, cpu);
  eval_refused("--kv f16", "found no device file");
  eval_refused("--device-file groq-lpu-v1", "expected f16");
  eval_refused("--device-file groq-lpu-v1 --kv f16 --lpu weights=f4", "weights: found \"f4\"");
  eval_refused("--device-file groq-lpu-v1 --kv f16 --lpu weights=f8",
               "lpu.weights: found f8, but groq-lpu-v1 has no FP8");
  eval_refused("--device-file groq-lpu-v1 --kv f16 --lpu row=2", "found \"row\"");
  eval_refused("--device-file groq-lpu-v1 --kv f16 --lpu rows=", "rows");
  eval_refused("--device-file groq-lpu-v1 --kv f16 --lpu context=5", "context=5, expected at least the");
  eval_refused("--device cpu --lpu rows=2", "--device lpu");
}

static json_int_t sum_of(const json_t *object) {
  json_int_t sum = 0;
  const char *key;
  json_t *value;
  json_object_foreach((json_t *)object, key, value) sum += json_integer_value(value);
  return sum;
}

/* Every cycle of every segment is accounted for, and the paths see what they must: products wait for loads, trees for
 * the switch, nobody for a link on one chip. */
static void test_cycles_explained(void **state) {
  struct setup setup = setup_of(PREFILL("cpu") DECODE("i8"), "priced", 1);
  static char out[65536];
  (void)state;
  const char *config = harness_config("explained", &setup);
  assert_int_equal(test_run(out, sizeof out, "%s lpu compile %s --json", TANDEM_PROGRAM, config), 0);
  json_t *root = json_loads(out, 0, NULL), *segments = json_object_get(root, "segments"), *segment;
  size_t i;
  assert_true(json_array_size(segments) >= 8);
  json_array_foreach(segments, i, segment) {
    const json_t *path = json_object_get(segment, "critical_path");
    const char *name = json_string_value(json_object_get(segment, "name"));
    json_int_t cycles = json_integer_value(json_object_get(segment, "cycles"));
    assert_int_equal(sum_of(path), cycles);
    assert_int_equal(sum_of(json_object_get(segment, "spent")), cycles);
    assert_int_equal(json_integer_value(json_object_get(path, "links")), 0);
    assert_true(json_integer_value(json_object_get(path, "way")) > 0);
    if (!strcmp(name, "soft")) assert_true(json_integer_value(json_object_get(path, "switch")) > 0);
    if (!strcmp(name, "output")) assert_true(json_integer_value(json_object_get(path, "products")) > 0);
  }
  json_decref(root);
}

static void test_picture(void **state) {
  struct setup setup = setup_of(PREFILL("cpu") DECODE("i8"), "priced", 1);
  char out[65536], *text = NULL, path[4200];
  size_t bytes;
  (void)state;
  snprintf(path, sizeof path, "%s/picture.svg", harness_scratch());
  const char *config = harness_config("picture", &setup);
  assert_int_equal(test_run(out, sizeof out, "%s lpu compile %s --svg %s", TANDEM_PROGRAM, config, path), 0);
  if (!strstr(out, "SRAM, KiB") || !strstr(out, "what it does")) fail_msg("found no report:\n%s", out);
  assert_int_equal(td_read_file(path, 1 << 24, &text, &bytes), TD_OK);
  assert_non_null(strstr(text, "<svg"));
  assert_non_null(strstr(text, "matrix: pass"));
  assert_non_null(strstr(text, "</svg>"));
  free(text);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_f16),
      cmocka_unit_test(test_i8),
      cmocka_unit_test(test_prefill_elsewhere),
      cmocka_unit_test(test_hosts),
      cmocka_unit_test(test_chips),
      cmocka_unit_test(test_saved),
      cmocka_unit_test(test_show_says_counted),
      cmocka_unit_test(test_configs_refused),
      cmocka_unit_test(test_eval),
      cmocka_unit_test(test_cycles_explained),
      cmocka_unit_test(test_picture),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
