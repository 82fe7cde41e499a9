/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem calibrate` on public measurements (../shared/data, where it is there): the error on shapes that the fit did
 * not see stays inside stated bounds, and `tandem price` with the file it wrote says the same.
 */
#include <math.h>

#include <jansson.h>

#include "../config/files.h"

#define H100_GEMM "data/measurements/gemm/h100_sxm_trtllm_1.3.0rc20.csv.gz"
#define A100_GEMM "data/measurements/gemm/a100_sxm_sglang_0.5.10.csv.gz"
#define A100_NCCL "data/measurements/comm/a100_sxm_nccl_2.27.3.csv"
#define E2E "data/measurements/e2e/silicon_sample_h100.csv"
#define H100_NCCL "data/measurements/comm/h100_sxm_nccl_2.29.2.csv"

static char output[1 << 20];

static void calibrate(const char *device, const char *op, const char *table, const char *options) {
  int code = test_run(output, sizeof output,
                      "TANDEM_DEVICES=%s " TANDEM_PROGRAM
                      " calibrate --device %s --op %s --measured %s -o %s/fit.cfg --json %s 2>&1",
                      test_source("devices"), device, op, test_shared(table), scratch_folder(), options);
  if (code == 1 && strstr(output, "without NLopt")) test_skip_all("tandem was built without NLopt");
  if (code) fail_msg("exit %d: %s", code, output);
  printf("%s %s %s\n", device, op, options);
}

/* The named error of the first fit of the last calibration. */
static double error_of(const char *shapes) {
  json_t *root = json_loads(output, 0, NULL), *errors;
  assert_non_null(root);
  errors = json_object_get(json_array_get(json_object_get(root, "fits"), 0), "errors");
  json_t *error = json_object_get(errors, shapes);
  assert_non_null(error);
  double mape = json_number_value(json_object_get(error, "mape"));
  printf("  %s: MAPE %.2f %%\n", shapes, 100 * mape);
  assert_true(json_integer_value(json_object_get(error, "rows")) > 10);
  json_decref(root);
  return mape;
}

static void products(void **state) {
  (void)state;
  calibrate("h100_sxm", "gemm", H100_GEMM, "--path bfloat16 --rows 200");
  assert_true(error_of("all") <= 0.06);
  assert_true(error_of("sums of four") <= 0.04);
  calibrate("a100_sxm", "gemm", A100_GEMM, "--rows 200");
  assert_true(error_of("all") <= 0.105);
}

static void collectives(void **state) {
  (void)state;
  static const char *const options[] = {
      "--path all_reduce --analytic --seed 1", "--path all_reduce --analytic --seed 2",
      "--path all_reduce --analytic --seed 3", "--path all_reduce --analytic --seed 8",
      "--path all_reduce --analytic --seed 9"};
  for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
    calibrate("h100_sxm", "collective", H100_NCCL, options[i]);
    assert_true(error_of("all") <= 0.08);
    calibrate("a100_sxm", "collective", A100_NCCL, options[i]);
    assert_true(error_of("all") <= 0.08);
  }
}

/* ---- served models ---- */

/* "all  652 rows  MAPE  9.8% ..." of the last output. */
static double printed_mape(const char *label) {
  const char *line = strstr(output, label);
  double mape = NAN;
  if (!line || sscanf(line + strlen(label), "%*d rows MAPE %lf%%", &mape) != 1) fail_msg("no %s in: %s", label, output);
  return mape / 100;
}

static void price_served(const char *device) {
  int code = test_run(
      output, sizeof output,
      "TANDEM_DEVICES=%s TANDEM_MODELS=%s " TANDEM_PROGRAM " price --device %s --op e2e --in %s --out %s/e2e.csv 2>&1",
      test_source("devices"), test_source("experiments/models"), device, test_shared(E2E), scratch_folder());
  if (code) fail_msg("exit %d: %s", code, output);
  printf("%s\n%s", device, output);
}

/* Without a scale: the datasheet with the guesses, and with the operators' fits. */
static void served_models(void **state) {
  (void)state;
  char device[4200];
  price_served("h100_sxm");
  assert_true(printed_mape("\nall ") <= 0.25);
  snprintf(device, sizeof device, "%s", test_source("devices/calibrated/h100_sxm-trtllm.cfg"));
  price_served(device);
  assert_true(printed_mape("\nall ") <= 0.20);
  snprintf(device, sizeof device, "%s", test_source("devices/calibrated/h100_sxm-serving.cfg"));
  price_served(device);
  assert_true(printed_mape("\nall ") <= 0.10);
}

/* A scale from one half, the error on the other: of each framework, and of all rows together. */
static void framework_scales(void **state) {
  (void)state;
  char device[4200], options[64];
  double all = 0;
  snprintf(device, sizeof device, "%s", test_source("devices/calibrated/h100_sxm-serving.cfg"));
  for (int seed = 1; seed <= 4; seed++) {
    double sum = 0, rows = 0;
    snprintf(options, sizeof options, "--seed %d", seed);
    calibrate(device, "e2e", E2E, options);
    json_t *root = json_loads(output, 0, NULL), *fits = json_object_get(root, "fits");
    assert_int_equal(json_array_size(fits), 3);
    for (size_t i = 0; i < 3; i++) {
      json_t *error = json_object_get(json_object_get(json_array_get(fits, i), "errors"), "all");
      double count = json_number_value(json_object_get(error, "rows"));
      sum += count * json_number_value(json_object_get(error, "mape"));
      rows += count;
    }
    json_decref(root);
    printf("  other half: %.0f rows, MAPE %.2f %%\n", rows, 100 * sum / rows);
    assert_true(rows > 250 && rows < 400);
    all += sum / rows / 4;
  }
  assert_true(all <= 0.105);
}

/* A pool of four chips that act as one. */
static void several_chips(void **state) {
  (void)state;
  static const char config[] =
      "name = \"t\"; model = \"llama-3.1-70b.cfg\"; engine = { pace = \"priced\"; kv_dtype = \"f16\"; };\n"
      "cluster = { pools = ( { name = \"g\"; backend = \"modelled\"; device = \"h100_sxm\"; tensor = 4; } ); };\n"
      "workload = { requests = ( { prompt_tokens = 1024; max_tokens = 32; } ); };\n";
  static const struct {
    const char *set, *says;
    int code;
  } cases[] = {
      {"name=t", "TPOT", 0},
      {"cluster.pools.[0].graphs=false", "TPOT", 0},
      {"cluster.pools.[0].tensor=1", "expected at most that", 2},
      {"cluster.pools.[0].framework=vllm", "expected a framework that", 2},
      {"cluster.pools.[0].backend=modeled", "cluster.pools.[0].backend: device 'modeled': no backend", 2},
      {"cluster.pools.[0].tensor=6", "found 6, expected a divisor of the 64 heads", 2},
      {"cluster.pools.[0].backend=cpu", "expected it on \"modelled\" only", 2},
      {"cluster.pools.[0].device=cerebras-wse3", "expected it in the device file to price gemm", 2},
  };
  scratch_file("t.cfg", config);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int code = test_run(
        output, sizeof output,
        "cd %s && cp %s . && rm -f t.h5 && TANDEM_DEVICES=%s " TANDEM_PROGRAM " run t.cfg -o t.h5 --set '%s' 2>&1",
        scratch_folder(), test_source("experiments/models/llama-3.1-70b.cfg"), test_source("devices"), cases[i].set);
    if (code != cases[i].code || !strstr(output, cases[i].says))
      fail_msg("%s: exit %d: %s", cases[i].set, code, output);
  }
}

/* The file has the fit; pricing the table with it gives about the error that it states. */
static void prices(void **state) {
  (void)state;
  calibrate("h100_sxm", "collective", H100_NCCL, "--path all_reduce");
  double stated = error_of("all"), sum = 0;
  int rows = 0;
  char line[512];
  int code = test_run(
      output, sizeof output,
      "head -n 1 %s > %s/shapes.csv && grep all_reduce %s >> %s/shapes.csv && TANDEM_DEVICES=%s " TANDEM_PROGRAM
      " price --device %s/fit.cfg --op collective --in %s/shapes.csv --out %s/p.csv 2>&1",
      test_shared(H100_NCCL), scratch_folder(), test_shared(H100_NCCL), scratch_folder(), test_source("devices"),
      scratch_folder(), scratch_folder(), scratch_folder());
  if (code) fail_msg("exit %d: %s", code, output);
  snprintf(line, sizeof line, "%.400s/p.csv", scratch_folder());
  FILE *file = fopen(line, "r");
  assert_non_null(file);
  assert_non_null(fgets(line, sizeof line, file));
  assert_string_equal(
      line, "op_name,dtype,num_gpus,message_elements,bytes,latency_ms,predicted_ms,low_ms,high_ms,energy_j,note\n");
  while (fgets(line, sizeof line, file)) {
    double measured, predicted, low, high;
    assert_int_equal(sscanf(line, "all_reduce,%*[^,],%*d,%*d,%*d,%lf,%lf,%lf,%lf", &measured, &predicted, &low, &high),
                     4);
    assert_true(low <= predicted && predicted <= high);
    sum += fabs(predicted / measured - 1);
    rows++;
  }
  fclose(file);
  assert_true(rows > 50 && sum / rows < 1.5 * stated);
}

static void refusals(void **state) {
  (void)state;
  static const struct {
    const char *options, *says;
    int code;
  } cases[] = {
      {"calibrate --device h100_sxm --op gemm -o x.cfg", "found no --measured", 2},
      {"calibrate --device h100_sxm --op softmax --measured x.csv -o x.cfg", "--op: found \"softmax\"", 2},
      {"calibrate --device h100_sxm --op gemm --measured /nonexistent.csv -o x.cfg", "/nonexistent.csv: No such file",
       1},
      {"calibrate --device h100_sxm --op gemm --measured x.csv -o x.txt", "which ends in .cfg", 2},
      {"calibrate --device h100_sxm --op gemm --measured x.csv -o x.cfg --rows 3", "--rows", 2},
      {"calibrate --device h100_sxm --op moe --measured x.csv -o x.cfg --held-rows --held-both", "expected one of them",
       2},
      {"calibrate --device h100_sxm --op e2e --measured x.csv -o x.cfg --held-both", "beside --op e2e", 2},
      {"calibrate --device h100_sxm --op moe --measured x.csv -o x.cfg --models d", "--models beside --op moe", 2},
      {"calibrate --device h100_sxm --op gemm --measured x.csv -o x.cfg --source ' '", "--source: found an empty text",
       2},
      {"calibrate cpu --held-both -o x.cfg", "found a flag that is of tables", 2},
      {"calibrate cpu --models d -o x.cfg", "found a flag that is of tables", 2},
      {"calibrate --device nvlink4 --op gemm --measured few.csv -o x.cfg", "found a link", 1},
      {"calibrate --device h100_sxm --op gemm --measured few.csv -o x.cfg",
       "found 1 rows to fit to beside 0 held back, expected at least 20", 2},
      {"calibrate --device h100_sxm --op gemm --measured few.csv -o x.cfg --path fp8", "found no row of path \"fp8\"",
       2},
      {"price --device h100_sxm --op gemm --in few.csv", "found no --out", 2},
      {"price --device h100_sxm --op gemm --in few.csv --out few.csv", "would replace the shapes", 2},
      {"price --device h100_sxm --fits-of h100_sxm --op gemm --in few.csv --out p.csv", "found no fits, expected", 2},
      {"price --device nvlink4 --op gemm --in few.csv --out p.csv", "few.csv:2: device nvlink4: found a link", 1},
  };
  scratch_file("few.csv", "gemm_dtype,m,n,k,latency_ms\nbfloat16,1,64,64,0.1\n");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    int code = test_run(output, sizeof output, "cd %s && TANDEM_DEVICES=%s " TANDEM_PROGRAM " %s 2>&1",
                        scratch_folder(), test_source("devices"), cases[i].options);
    if (code != cases[i].code || !strstr(output, cases[i].says)) {
      fail_msg("%s: exit %d: %s, expected exit %d: %s", cases[i].options, code, output, cases[i].code, cases[i].says);
    }
  }
}

/* What a file says that it was made by, a shell takes. */
static void commands_are_words(void **state) {
  (void)state;
  char text[2048] = "op_name,dtype,num_gpus,bytes,latency_ms\n";
  for (int i = 0; i < 24; i++) {
    size_t used = strlen(text);
    snprintf(text + used, sizeof text - used, "all_gather,half,2,%d,%g\n", 512 << (i / 2), 0.01 + 0.001 * i);
    if (i % 2) snprintf(text + used, sizeof text - used, "all_gather,half,4,%d,%g\n", 512 << (i / 2), 0.01 + 0.001 * i);
  }
  scratch_file("all.csv", text);
  int code = test_run(output, sizeof output,
                      "cd %s && TANDEM_DEVICES=%s " TANDEM_PROGRAM
                      " calibrate --device h100_sxm --op collective --measured all.csv --held-back 0 -o 'my fit.cfg' "
                      "--source \"Bob's own (2025)\" 2>&1",
                      scratch_folder(), test_source("devices"));
  if (strstr(output, "without NLopt")) skip();
  if (code) fail_msg("exit %d: %s", code, output);
  static const char says[] = "--measured all.csv --held-back 0 -o 'my fit.cfg' --source 'Bob'\\''s own (2025)'\n";
  if (!strstr(output, says)) fail_msg("%s, expected %s", output, says);
}

int main(void) {
  const struct CMUnitTest always[] = {cmocka_unit_test(refusals), cmocka_unit_test(several_chips),
                                      cmocka_unit_test(commands_are_words)};
  const struct CMUnitTest tests[] = {cmocka_unit_test(products), cmocka_unit_test(collectives),
                                     cmocka_unit_test(prices), cmocka_unit_test(served_models),
                                     cmocka_unit_test(framework_scales)};
  int failed = cmocka_run_group_tests(always, NULL, NULL);
  if (failed) return failed;
  if (!test_shared(H100_GEMM) || !test_shared(A100_GEMM) || !test_shared(H100_NCCL) || !test_shared(A100_NCCL) ||
      !test_shared(E2E)) {
    test_skip_all("no ../shared/data/measurements");
  }
  return cmocka_run_group_tests(tests, NULL, NULL);
}
