/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem bench` from outside: one JSON object whose numbers fit together, a table, errors. Nothing here is timed.
 */
#include <jansson.h>
#include <math.h>

#include "../support.h"

#define QUICK "--seconds 0.001 --prompt 8 --threads 2"

static char output[1 << 20];

static const char *tiny(void) {
  return test_source("tests/data/tiny/llama.gguf");
}

static json_t *bench_json(const char *device, const char *arguments) {
  int code = test_run(output, sizeof output, "%s bench %s %s --json " QUICK, TANDEM_PROGRAM, device, arguments);
  if (code) fail_msg("bench %s %s: exit %d: %s", device, arguments, code, output);
  json_error_t error;
  json_t *object = json_loads(output, 0, &error);
  if (!object) fail_msg("bench %s %s: line %d: %s", device, arguments, error.line, error.text);
  return object;
}

static double number(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_number(value)) fail_msg("%s: not a number", key);
  return json_number_value(value);
}

static const char *text(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_string(value)) fail_msg("%s: not a text", key);
  return json_string_value(value);
}

static void check_spread(const json_t *spread, int least) {
  assert_true(json_is_object(spread));
  assert_true(number(spread, "low") > 0);
  assert_true(number(spread, "low") <= number(spread, "median"));
  assert_true(number(spread, "median") <= number(spread, "high"));
  assert_true(number(spread, "count") >= least);
}

/* The share of the ceiling follows from the numbers beside it. */
static void check_bound(const json_t *report, const json_t *result) {
  const json_t *bound = json_object_get(result, "bound");
  double seconds = number(json_object_get(result, "seconds"), "median");
  assert_true(fabs(number(result, "bytes_per_s") * seconds / number(result, "bytes") - 1) < 1e-3);
  assert_true(fabs(number(result, "flops_per_s") * seconds - number(result, "flops")) <=
              1e-3 * number(result, "flops"));
  if (json_is_null(bound)) {
    assert_true(json_is_null(json_object_get(result, "of_bound")));
    return;
  }
  const json_t *ceiling = json_object_get(json_object_get(report, "ceilings"), json_string_value(bound));
  check_spread(ceiling, 3);
  assert_true(number(result, "of_bound") > 0);
  bool arithmetic = !strncmp(json_string_value(bound), "gemm", 4);
  const json_t *beside = json_object_get(result, "beside");
  double least = number(result, arithmetic ? "flops_per_s" : "bytes_per_s") / number(ceiling, "median");
  if (beside) { /* what the ceiling moved in the same time */
    check_spread(beside, 3);
    assert_false(arithmetic);
    least = number(result, "bytes") / number(beside, "median");
  }
  /* other parts of the work may meet another ceiling of the same kind */
  assert_true(number(result, "of_bound") >= least * 0.3 && number(result, "of_bound") <= least * 3);
}

static const json_t *find(const json_t *report, const char *list, const char *name) {
  const json_t *results = json_object_get(report, list), *found = NULL;
  for (size_t i = 0; i < json_array_size(results); i++) {
    const json_t *result = json_array_get(results, i);
    if (strcmp(text(result, "name"), name)) continue;
    assert_null(found); /* a name stands for one case */
    found = result;
  }
  if (!found) fail_msg("no %s of name %s", list, name);
  return found;
}

static void check_results(const json_t *report, const char *list) {
  const json_t *results = json_object_get(report, list);
  for (size_t i = 0; i < json_array_size(results); i++) {
    const json_t *result = json_array_get(results, i);
    assert_ptr_equal(find(report, list, text(result, "name")), result);
    if (!json_object_get(result, "seconds")) {
      assert_non_null(strstr(text(result, "note"), "not run: "));
      continue;
    }
    check_spread(json_object_get(result, "seconds"), 3);
    assert_true(number(result, "bytes") > 0);
    check_bound(report, result);
  }
}

static void check_own_model(const char *device) {
  char arguments[4200];
  snprintf(arguments, sizeof arguments, "--model %s", tiny());
  json_t *report = bench_json(device, arguments);
  assert_int_equal(strncmp(text(report, "device"), device, strlen(device)), 0);
  check_results(report, "operators");
  check_results(report, "steps");
  assert_int_equal(json_array_size(json_object_get(report, "steps")), 2);
  const json_t *prefill = find(report, "steps", "step/prefill"), *decode = find(report, "steps", "step/decode");
  assert_true(number(prefill, "tokens") == 8 && number(prefill, "past") == 0);
  assert_true(number(decode, "tokens") == 1 && number(decode, "past") == 8);
  assert_true(number(prefill, "flops") > 4 * number(decode, "flops"));
  assert_true(json_is_null(json_object_get(decode, "joules_per_token")));
  const json_t *model = json_object_get(report, "model");
  assert_true(number(model, "weight_bytes") > 0);
  check_spread(json_object_get(report, "call"), 3);
  json_decref(report);
}

static void template_has_the_right_shape(void **state) {
  (void)state;
  check_own_model("template");
}

static void cpu_has_the_right_shape(void **state) {
  (void)state;
  check_own_model("cpu");
}

static void opencl_has_the_right_shape(void **state) {
  (void)state;
  int code = test_run(output, sizeof output, "%s devices 2>&1", TANDEM_PROGRAM);
  const char *line = strstr(output, "\n  opencl");
  if (code || !line || strstr(line, "opencl     not here")) {
    printf("SKIPPED: no opencl device here\n");
    skip();
  }
  check_own_model("opencl");
}

/* Counts by hand: a product of 512 x 1024 by 32 experts, 8 used, in f32, by one row. */
static void counts_are_the_cost_models(void **state) {
  (void)state;
  json_t *report = bench_json("cpu", "--filter 'expert_matmul/f32/8of32-512x1024/decode'");
  const json_t *result = find(report, "operators", "expert_matmul/f32/8of32-512x1024/decode");
  assert_true(number(result, "flops") == 2.0 * 8 * 512 * 1024);
  assert_true(number(result, "bytes") > 4.0 * 8 * 512 * 1024);
  assert_true(number(result, "bytes") < 1.01 * 4.0 * 8 * 512 * 1024);
  const json_t *ceilings = json_object_get(report, "ceilings"), *beside = json_object_get(result, "beside");
  double read = number(json_object_get(ceilings, "read"), "median");
  double gemm = number(json_object_get(ceilings, "gemm_f32"), "median");
  bool reads = number(result, "bytes") / read >= number(result, "flops") / gemm; /* but for a most disturbed machine */
  assert_string_equal(text(result, "bound"), reads ? "read" : "gemm_f32");
  double best = reads ? number(result, "bytes") / read : number(result, "flops") / gemm;
  double share = beside ? number(result, "bytes") / number(beside, "median")
                        : best / number(json_object_get(result, "seconds"), "median");
  assert_true(fabs(number(result, "of_bound") / share - 1) < 1e-6);
  assert_int_equal(json_array_size(json_object_get(report, "operators")), 1);
  assert_int_equal(json_array_size(json_object_get(report, "steps")), 0);
  json_decref(report);
}

/* A shape gets seeded weights. */
static void shapes_get_weights(void **state) {
  (void)state;
  char path[4200], arguments[4300];
  snprintf(path, sizeof path, "%s/shape.cfg", test_scratch());
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file,
          "name = \"t\"; architecture = \"qwen3\"; layers = 2; hidden = 64; heads = 4; kv_heads = 2; head_dim = 32;\n"
          "ffn = 96; vocab = 128; context = 64; rope_dim = 32; rope_theta = 1e6; norm_epsilon = 1e-6;\n"
          "tied_output = true; weights = \"q8_0\";\n");
  fclose(file);
  snprintf(arguments, sizeof arguments, "--filter 'step/*' --model %s", path);
  json_t *report = bench_json("template", arguments);
  assert_string_equal(text(json_object_get(report, "model"), "weights"), "seeded");
  check_results(report, "steps");
  assert_int_equal(json_array_size(json_object_get(report, "steps")), 2);
  json_decref(report);
}

static void table_is_readable(void **state) {
  (void)state;
  int code = test_run(output, sizeof output, "%s bench template --model %s --filter 'm*/128x128/*' " QUICK,
                      TANDEM_PROGRAM, tiny());
  assert_int_equal(code, 0);
  static const char *const words[] = {"template:0", "ceilings", "read",    "triad",
                                      "gemm_f32",   "GB/s",     "GFLOP/s", "matmul/q8_0/128x128/decode"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    if (!strstr(output, words[i])) fail_msg("no \"%s\" in:\n%s", words[i], output);
  }
}

static void refuse(const char *arguments, int want, const char *words) {
  int code = test_run(output, sizeof output, "%s bench %s 2>&1 >/dev/null", TANDEM_PROGRAM, arguments);
  const char *newline = strchr(output, '\n');
  if (code != want || !strstr(output, words) || !newline || newline[1]) {
    fail_msg("bench %s: exit %d, expected %d and one line with \"%s\":\n%s", arguments, code, want, words, output);
  }
}

static void mistakes_are_told(void **state) {
  (void)state;
  char arguments[4200];
  refuse("", 2, "found no device");
  refuse("cqu", 2, "did you mean 'cpu'?");
  refuse("cpu:9", 1, "expected more than 9");
  refuse("modelled", 2, "executes none");
  refuse("cpu --seconds 0", 2, "--seconds");
  refuse("cpu --seconds nan", 2, "--seconds");
  refuse("cpu --threads 0", 2, "--threads");
  refuse("cpu --prompt 8192", 2, "expected 1 to 8191");
  refuse("cpu --filter nothing", 2, "found nothing named like \"nothing\"");
  refuse("cpu --sconds 1", 2, "did you mean --seconds?");
  refuse("cpu template", 2, "unexpected argument");
  refuse("cpu --model /nowhere/model.gguf", 1, "/nowhere/model.gguf");
  snprintf(arguments, sizeof arguments, "cpu --model %s", test_source("experiments/models/llama-3.1-405b.cfg"));
  refuse(arguments, 1, "free host memory, expected 2 x 8");
  snprintf(arguments, sizeof arguments, "cpu --model %s", test_source("experiments/models/bert-base.cfg"));
  refuse(arguments, 1, "which is only priced");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(template_has_the_right_shape),
      cmocka_unit_test(cpu_has_the_right_shape),
      cmocka_unit_test(opencl_has_the_right_shape),
      cmocka_unit_test(counts_are_the_cost_models),

      cmocka_unit_test(shapes_get_weights),
      cmocka_unit_test(table_is_readable),
      cmocka_unit_test(mistakes_are_told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
