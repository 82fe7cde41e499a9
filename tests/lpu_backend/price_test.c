/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem price` of steps on LPUs: the cycles of `tandem lpu compile`, sums that add up, rates that follow, and what is
 * refused.
 */
#include <jansson.h>
#include <math.h>

#include "support.h"

#define MODEL TANDEM_SOURCE_DIR "/tests/data/tiny/llama.gguf"

static json_t *price(const char *arguments) {
  static char out[1 << 16];
  int code = test_run(out, sizeof out, "%s price %s --json", TANDEM_PROGRAM, arguments);
  if (code) fail_msg("price %s: exit %d: %s", arguments, code, out);
  json_error_t error;
  json_t *root = json_loads(out, 0, &error);
  if (!root) fail_msg("price %s: %s at %d", arguments, error.text, error.position);
  return root;
}

static json_t *at(json_t *of, const char *name) {
  json_t *member = json_object_get(of, name);
  if (!member) fail_msg("found no \"%s\"", name);
  return member;
}

static double real(json_t *of, const char *name) {
  return json_number_value(at(of, name));
}

static json_int_t whole(json_t *of, const char *name) {
  return json_integer_value(at(of, name));
}

static void about(double found, double expected) {
  if (!(fabs(found - expected) <= 1e-6 * fabs(expected))) fail_msg("found %.12g, expected %.12g", found, expected);
}

static void check_pass(json_t *root, json_t *pass, double tokens, double sequences) {
  const char *name;
  json_t *member;
  json_int_t sum = 0, cycles = whole(pass, "cycles");
  double clock = real(root, "clock_hz");
  json_object_foreach(at(pass, "spent"), name, member) sum += json_integer_value(member);
  assert_int_equal(sum, cycles);
  about(real(pass, "seconds"), (double)cycles / clock);
  json_t *alone = json_array_get(at(pass, "in_flight"), 0);
  assert_int_equal(whole(alone, "batches"), 1);
  about(real(alone, "user_tokens_per_second"), tokens * clock / (double)cycles);
  about(real(alone, "tokens_per_second"), sequences * tokens * clock / (double)cycles);
  about(real(alone, "watts"), real(pass, "energy_j") / real(pass, "seconds"));
  about(real(alone, "tokens_per_joule"), sequences * tokens / real(pass, "energy_j"));
}

static void test_prices(void **state) {
  json_t *root = price("--model " MODEL
                       " --device groq-lpu-v1 --lpu weights=i8,chips=4,tensor=1 --batch 1,3 --context "
                       "64,500 --in-flight full --draft 3 --acceptance 0.5");
  (void)state;
  assert_int_equal(whole(root, "stages"), 4);
  assert_int_equal(whole(root, "rows"), 12);
  json_t *rows = at(root, "prices");
  assert_int_equal(json_array_size(rows), 4);
  for (size_t i = 0; i < 4; i++) {
    json_t *row = json_array_get(rows, i), *step = at(row, "step"), *verify = at(row, "verify");
    double sequences = i < 2 ? 1 : 3;
    assert_int_equal(whole(row, "batch"), (json_int_t)sequences);
    assert_int_equal(whole(row, "context"), i % 2 ? 500 : 64);
    assert_int_equal(whole(row, "valid_steps"), i % 2 ? 640 - 499 : 320 - 63);
    check_pass(root, step, 1.0, sequences);
    check_pass(root, verify, 1.875, sequences);
    assert_int_equal(whole(verify, "rows"), (json_int_t)(4 * sequences));
    json_t *full = json_array_get(at(step, "in_flight"), 1);
    assert_true(whole(full, "batches") >= whole(row, "full"));
    assert_true(real(full, "tokens_per_second") >
                2.5 * real(json_array_get(at(step, "in_flight"), 0), "tokens_per_second"));
    assert_true(whole(full, "beat_cycles") >= whole(step, "stage_cycles"));
  }
  json_decref(root);
}

/* The numbers of the program that `lpu compile` shows, from the same config. */
static void test_same_as_compile(void **state) {
  static char out[1 << 16];
  char config[1100];
  (void)state;
  snprintf(config, sizeof config, "%s/price.cfg", test_scratch());
  FILE *file = fopen(config, "w");
  assert_non_null(file);
  fprintf(file,
          "name = \"price\"; model = \"%s\"; engine = { kv_dtype = \"f16\"; block_tokens = 160; };\n"
          "cluster = { pools = ({ name = \"d\"; role = \"both\"; backend = \"lpu\"; device = \"groq-lpu-v1\";"
          " lpu = { weights = \"i8\"; rows = 2; chips = 2; }; }); };\n"
          "workload = { requests = ({ prompt_tokens = 300; max_tokens = 20; }); };\n",
          MODEL);
  assert_int_equal(fclose(file), 0);
  snprintf(out, sizeof out, "%s --batch 2 --context 200 --ranges --against 1", config);
  json_t *root = price(out), *row = json_array_get(at(root, "prices"), 0), *range = at(row, "range");
  assert_int_equal(test_run(out, sizeof out,
                            "%s lpu compile %s --json --rows 2 --position 199 --set "
                            "engine.batch_sequences=2 --set cluster.pools.[0].kv_tokens=640",
                            TANDEM_PROGRAM, config),
                   0);
  json_t *compiled = json_loads(out, 0, NULL);
  assert_non_null(compiled);
  assert_int_equal(whole(at(row, "step"), "cycles"), whole(compiled, "cycles"));
  about(real(at(row, "step"), "energy_j"), real(compiled, "energy_j"));
  double seconds = real(at(row, "step"), "seconds");
  assert_true(real(range, "seconds_low") < seconds && real(range, "seconds_high") > seconds);
  assert_true(real(range, "energy_low_j") < real(range, "energy_high_j"));
  assert_true(json_is_false(at(range, "inside")));
  assert_true(whole(at(root, "fast"), "moved") > 40 && whole(at(root, "slow"), "moved") > 40);
  json_decref(compiled);
  json_decref(root);
}

/* What nobody published is no number. */
static void test_no_power(void **state) {
  static char out[1 << 14];
  json_t *root = price("--model " MODEL " --device groq-3-lp30 --context 64");
  (void)state;
  json_t *step = at(json_array_get(at(root, "prices"), 0), "step");
  assert_true(json_is_null(at(step, "energy_j")));
  assert_true(json_is_null(at(json_array_get(at(step, "in_flight"), 0), "tokens_per_joule")));
  json_decref(root);
  assert_int_equal(
      test_run(out, sizeof out, "%s price --model " MODEL " --device groq-3-lp30 --context 64", TANDEM_PROGRAM), 0);
  assert_non_null(strstr(out, "not in the device file: no joules"));
  assert_null(strstr(out, "tokens/J"));
}

static void refuse(const char *arguments, const char *words) {
  static char out[1 << 14];
  int code = test_run(out, sizeof out, "%s price %s 2>&1", TANDEM_PROGRAM, arguments);
  if (code < 1 || !strstr(out, words))
    fail_msg("price %s: exit %d, expected \"%s\" in: %s", arguments, code, words, out);
}

static void test_refused(void **state) {
  (void)state;
#define LPU "--model " MODEL " --device groq-lpu-v1 "
  refuse(LPU, "found no --context");
  refuse(LPU "--context 0", "--context: found \"0\", expected a whole number from 1");
  refuse(LPU "--context 64, --batch 1", "--context: found \"\"");
  refuse(LPU "--context 64 --batch 1,x", "--batch: found \"x\"");
  refuse(LPU "--context 100000", "context: found 100000, expected 1..");
  refuse(LPU "--context 64 --batch 4 --lpu rows=2", "found a pass of 4 rows, expected at most the 2 of lpu.rows");
  refuse(LPU "--context 64 --draft 3", "found no --acceptance");
  refuse(LPU "--context 64 --draft 3 --acceptance 1.5", "--acceptance: found \"1.5\", expected a number from 0 to 1");
  refuse(LPU "--context 64 --against 1e-4", "found no --ranges");
  refuse(LPU "--context 64 --op gemm", "unknown option --op");
  refuse("--model " MODEL " --device h100_sxm --context 64", "found kind chip, expected lpu");
  refuse("--model " MODEL " --context 64", "found no --device");
  refuse("--device groq-lpu-v1 --context 64", "found --context without a model, expected CONFIG");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_prices),
      cmocka_unit_test(test_same_as_compile),
      cmocka_unit_test(test_no_power),
      cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
