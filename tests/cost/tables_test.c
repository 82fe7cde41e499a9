/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables that cannot be meant: headers, words and numbers that say two things, times of no device, and shapes beyond
 * what a fit saw.
 */
#include <inttypes.h>
#include <stdint.h>

#include "../config/files.h"
#include "cost/op_model.h"
#include "tandem/base.h"
#include "tandem/operators.h"

static void refuses(enum td_operator op, const char *text, const char *says) {
  struct td_op_table table;
  if (!td_op_table_read(scratch_file("table.csv", text), op, true, &table)) fail_msg("taken, expected %s", says);
  if (!strstr(td_error_text(), says)) fail_msg("%s, expected %s", td_error_text(), says);
}

/* ---- headers ---- */

/* `columns` beside the five that are needed, before or behind them. */
static const char *wide_table(int columns, bool before) {
  struct td_text text = {0};
  for (int line = 0; line < 2; line++) {
    const char *own = line ? "bfloat16,1,64,64,0.1" : "gemm_dtype,m,n,k,latency_ms";
    if (!before) td_text_printf(&text, "%s", own);
    for (int i = 0; i < columns; i++) td_text_printf(&text, before ? "x%d," : ",x%d", i);
    td_text_printf(&text, "%s\n", before ? own : "");
  }
  assert_false(text.failed);
  const char *path = scratch_file("wide.csv", text.data);
  td_text_free(&text);
  return path;
}

static void headers(void **state) {
  (void)state;
  struct td_op_table table;
  refuses(TD_GEMM, "gemm_dtype,m,n,k,latency_ms,latency_ms\nbfloat16,1,64,64,1,2\n",
          ":1: found two columns latency_ms");
  refuses(TD_GEMM, "m,gemm_dtype,m,n,k,latency_ms\n1,bfloat16,2,64,64,1\n", ":1: found two columns m, expected one");
  for (int before = 0; before < 2; before++) {
    assert_int_equal(td_op_table_read(wide_table(59, before), TD_GEMM, true, &table), TD_OK);
    td_op_table_free(&table);
    assert_int_equal(td_op_table_read(wide_table(60, before), TD_GEMM, true, &table), TD_CONFIG);
    assert_non_null(strstr(td_error_text(), ":1: found over 64 columns"));
  }
  const char *marked = scratch_file("marked.csv", "\xef\xbb\xbfm,gemm_dtype,n,k,latency_ms\n1,bfloat16,64,64,1\n");
  if (td_op_table_read(marked, TD_GEMM, true, &table)) fail_msg("%s", td_error_text());
  assert_string_equal(table.header, "m,gemm_dtype,n,k,latency_ms");
  td_op_table_free(&table);
  char wide[6000];
  snprintf(wide, sizeof wide, "%05000d,gemm_dtype,m,n,k,latency_ms\n1,bfloat16,1,64,64,1\n", 0);
  refuses(TD_GEMM, wide, "table.csv:1: found a line of 5028 bytes, expected at most 4095");
}

/* ---- rows ---- */

#define DECODE \
  "attn_dtype,kv_cache_dtype,batch_size,step,num_heads,num_key_value_heads,head_dim,window_size,latency_ms\n"
#define ONE_SHOT "allreduce_dtype,num_gpus,message_elements,latency_ms\n"
#define EXPERTS                                                                                                      \
  "kernel_source,moe_dtype,num_tokens,hidden_size,inter_size,topk,num_experts,moe_tp_size,moe_ep_size,distribution," \
  "latency_ms\n"

static void rows(void **state) {
  (void)state;
  refuses(TD_GEMM, "gemm_dtype,m,n,k,latency_ms\nbfloat16/fp8,1,64,64,1\n", ":2: found \"bfloat16/fp8\", expected");
  refuses(TD_ATTENTION_GENERATION, DECODE "bfloat16,,1,1,8,8,64,0,1\n",
          ":2: found \"\", expected the name of an element");
  refuses(TD_ATTENTION_GENERATION, DECODE "bfloat16,fp8,1,9223372036854775807,8,8,64,0,1\n",
          ":2: step + 1: found 9223372036854775807, expected 1..");
  refuses(TD_ATTENTION_GENERATION, DECODE "bfloat16,fp8,1,-1,8,8,64,0,1\n", ":2: step + 1: found 0, expected 1..");
  refuses(TD_COLLECTIVE, ONE_SHOT "bfloat16,2,-9223372036854775808,1\n",
          ":2: bytes: found -9223372036854775808, expected 1..");
  refuses(TD_MOE, EXPERTS "x,fp8,1,64,64,2,8,1,1,power_law_0.0001,1\n", ":2: distribution: found \"power_law_0.0001\"");
}

/* ---- times of no device ---- */

#define ROWS 64

/* All of 5 us but the row `odd`, of the element type `type` and the time `ms`. */
static const char *odd_table(int odd, const char *type, const char *ms) {
  struct td_text text = {0};
  td_text_printf(&text, "gemm_dtype,m,n,k,latency_ms\n");
  for (int i = 0; i < ROWS; i++) {
    td_text_printf(&text, "%s,%d,%d,64,%s\n", i == odd ? type : "bfloat16", i % 8 + 1, 64 + i / 8,
                   i == odd ? ms : "0.005");
  }
  assert_false(text.failed);
  const char *path = scratch_file("odd.csv", text.data);
  td_text_free(&text);
  return path;
}

/* Of the row's path; NULL: a tandem without NLopt. */
static const char *calibrate_error(const struct td_device_params *chip, const char *file, bool analytic) {
  struct td_calibration how = {.op = TD_GEMM, .device = chip, .analytic = analytic, .held_back = 0.4, .seed = 1};
  struct td_op_table table;
  struct td_op_fit fit;
  how.source = how.command = "a test";
  if (td_op_table_read(file, TD_GEMM, true, &table)) fail_msg("%s", td_error_text());
  td_status status = td_op_calibrate(&how, &table, table.path_count - 1, &fit);
  if (!status) fail_msg("%s: fitted, expected an error", file);
  td_op_table_free(&table);
  return status == TD_UNAVAILABLE ? NULL : td_error_text();
}

/* Held back or not, with residuals or without: no device file holds what a fit to them would be off by. */
static void times_of_no_device(void **state) {
  (void)state;
  struct td_device_params *chip;
  if (td_device_params_open(test_source("devices/h100_sxm.cfg"), &chip)) fail_msg("%s", td_error_text());
  for (int i = 0; i < 16; i++) {
    int odd = 1 + i * 8 % (ROWS - 1);
    const char *error = calibrate_error(chip, odd_table(odd, "bfloat16", i % 2 ? "1e-12" : "1e8"), i % 4 < 2);
    char line[64];
    if (!error) skip();
    snprintf(line, sizeof line, "gemm bfloat16: line %d: latency_ms: found 1e%s,", odd + 2, i % 2 ? "-12" : "+08");
    if (!strstr(error, line)) fail_msg("%s, expected %s", error, line);
  }
  const char *error = calibrate_error(chip, odd_table(5, "fp3", "0.005"), true);
  if (!strstr(error, "gemm fp3: line 7: element type: found \"fp3\"")) fail_msg("%s", error);
  td_device_params_close(chip);
}

/* ---- beyond what was measured ---- */

/* Loads are no sizes, but of more uneven ones than any measured a fit says as little as of larger ones. */
static void loads_have_ranges(void **state) {
  (void)state;
  static const int64_t exponents[] = {0, 1200, 1201, 2000, 5000, 100000};
  struct td_device_params *file;
  if (td_device_params_open(test_source("devices/h100_sxm.cfg"), &file)) fail_msg("%s", td_error_text());
  struct td_op_fit fit;
  struct td_device_params chip = *file;
  td_op_guesses(TD_MOE, &fit);
  snprintf(fit.path, sizeof fit.path, "bfloat16");
  fit.least = (struct td_op_shape){{1024, 256, 1, 8, 1, 1, 0, 3, 1}};
  fit.most = (struct td_op_shape){{8192, 8192, 8, 256, 8, 8, 1200, 3, 16384}};
  fit.errors[0] = (struct td_op_error){.rows = 100, .low = 0.9, .high = 1.1};
  chip.fits = &fit;
  chip.fit_count = 1;
  double before = 0;
  for (size_t i = 0; i < sizeof exponents / sizeof *exponents; i++) {
    const struct td_op_shape shape = {{4096, 1536, 8, 128, 1, 8, exponents[i], 3, 4096}};
    struct td_op_price price;
    assert_int_equal(td_op_price(&chip, TD_MOE, "bfloat16", &shape, &price), TD_OK);
    double wide = price.high / price.low;
    assert_true(i < 2 ? !price.note && wide < 1.23 : wide > before);
    if (i > 1) assert_string_equal(price.note, "outside the measured shapes");
    before = wide;
  }
  assert_true(before < 20);
  td_device_params_close(file);
}

/* All rows are mostly of other classes: a few of a class that were further off say so. */
static void classes_of_few_rows(void **state) {
  (void)state;
  static const struct {
    int64_t rows;
    double low, high, says_low, says_high;
  } cases[] = {{0, 0, 0, 0.99, 1.01}, {5, 0.6, 1.005, 0.6, 1.01}, {19, 1, 1.4, 0.99, 1.4}, {20, 1, 1.4, 1, 1.4}};
  const struct td_op_shape shape = {{2, 8, 1024}};
  struct td_op_fit fit;
  td_op_guesses(TD_COLLECTIVE, &fit);
  fit.least = fit.most = shape;
  fit.errors[0] = (struct td_op_error){.rows = 800, .low = 0.99, .high = 1.01};
  const struct td_op_basis basis = {.fit = &fit, .wider = 1};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct td_op_price price = {.seconds = 1};
    fit.errors[1] = (struct td_op_error){.rows = cases[i].rows, .low = cases[i].low, .high = cases[i].high};
    td_op_interval(&basis, &shape, 0, &price);
    assert_true(price.low == cases[i].says_low && price.high == cases[i].says_high && !price.note);
  }
}

/* What an odd row says of its neighbours, the model's own price says otherwise. */
static void odd_rows_are_in_doubt(void **state) {
  (void)state;
  struct td_device_params *file;
  if (td_device_params_open(test_source("devices/h100_sxm.cfg"), &file)) fail_msg("%s", td_error_text());
  struct td_op_residual rows[] = {{{{4096, 4096, 16}}, 0.6}};
  struct td_op_fit fit;
  struct td_device_params chip = *file;
  struct td_op_chip datasheet;
  struct td_op_price usual, odd;
  td_op_guesses(TD_GEMM, &fit);
  snprintf(fit.path, sizeof fit.path, "bfloat16");
  fit.least = (struct td_op_shape){{64, 64, 1}};
  fit.most = (struct td_op_shape){{8192, 8192, 4096}};
  fit.errors[0] = (struct td_op_error){.rows = 100, .low = 0.9, .high = 1.1};
  fit.residuals = rows;
  fit.residual_count = 1;
  fit.length = 3;
  fit.noise = 0.03;
  assert_int_equal(td_op_chip_of(&chip, TD_GEMM, "bfloat16", &datasheet), TD_OK);
  assert_int_equal(td_op_residual_prepare(&datasheet, &fit), TD_OK);
  chip.fits = &fit;
  chip.fit_count = 1;
  const struct td_op_shape near = {{4096, 4096, 17}};
  double modelled = td_op_model(TD_GEMM)->seconds(&datasheet, fit.parameters, near.v);
  assert_int_equal(td_op_price(&chip, TD_GEMM, "bfloat16", &near, &usual), TD_OK);
  assert_true(!usual.note && usual.low == usual.seconds * 0.9 && usual.high == usual.seconds * 1.1);
  rows[0].log_ratio = 4.6;
  assert_int_equal(td_op_price(&chip, TD_GEMM, "bfloat16", &near, &odd), TD_OK);
  assert_true(odd.seconds > 10 * modelled && odd.low < modelled && odd.high == odd.seconds * 1.1);
  assert_string_equal(odd.note, "measurements near it are over twice off the model");
  free(fit.places);
  td_device_params_close(file);
}

/* ---- files ---- */

/* The error of a file whose fit is of `path`. */
static const char *file_error(const struct td_device_params *chip, const char *path) {
  static char name[4200];
  struct td_device_params *read;
  struct td_op_fit fit;
  td_op_guesses(TD_GEMM, &fit);
  snprintf(fit.path, sizeof fit.path, "%s", path);
  fit.source = fit.command = "a test";
  fit.rows = 1;
  fit.length = fit.noise = 1;
  snprintf(name, sizeof name, "%s/path.cfg", scratch_folder());
  FILE *file = fopen(name, "w");
  assert_non_null(file);
  assert_int_equal(td_device_params_write(chip, &fit, 1, file), TD_OK);
  assert_int_equal(fclose(file), 0);
  assert_int_equal(td_device_params_open(name, &read), TD_CONFIG);
  return td_error_text();
}

static void files_have_a_basis_for_their_fits(void **state) {
  (void)state;
  struct td_device_params *chip;
  if (td_device_params_open(test_source("devices/h100_sxm.cfg"), &chip)) fail_msg("%s", td_error_text());
  const char *error = file_error(chip, "fp3");
  if (!strstr(error, ": fits.[0].path: element type: found \"fp3\", expected")) fail_msg("%s", error);
  error = file_error(chip, "nvfp4");
  if (!strstr(error, "path.cfg:") || !strstr(error, ": fits.[0].path: device path: found no flops_fp4")) {
    fail_msg("%s", error);
  }
  td_device_params_close(chip);
}

/* A calibrated file with the first `old` in it replaced. */
static const char *changed_file(const char *old, const char *new) {
  static char text[32768];
  FILE *file = fopen(test_source("devices/calibrated/h100_sxm-vllm.cfg"), "r");
  assert_non_null(file);
  size_t bytes = fread(text, 1, sizeof text - 1, file);
  assert_int_equal(fclose(file), 0);
  text[bytes] = 0;
  char *at = strstr(text, old);
  assert_non_null(at);
  struct td_text out = {0};
  td_text_printf(&out, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
  assert_false(out.failed);
  const char *path = scratch_file("changed.cfg", out.data);
  td_text_free(&out);
  return path;
}

/* Numbers of a fit that contradict each other, or are of no shape. */
static void fits_do_not_contradict_themselves(void **state) {
  (void)state;
  static const char *const cases[][3] = {
      {"context > 8192", "context > 8192", NULL},
      {"context > 8192", "all", ".errors: found all, expected each class of shapes once"},
      {"{ shapes = \"all\"", "{ shapes = \"sums of four\"",
       ".errors: found classes of shapes alone, expected the error"},
      {"least = 1; most = 96", "least = 1; most = 16777217",
       "num_heads = 1..16777217, expected a range within 0..65536"},
      {"least = 1; most = 96", "least = -1; most = 96", ".measured: found num_heads = -1..96, expected a range within"},
      {"least = 1; most = 96", "least = 97; most = 96",
       ".measured: found num_heads = 97..96, expected a range within"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct td_device_params *read;
    td_status status = td_device_params_open(changed_file(cases[i][0], cases[i][1]), &read);
    if (!status) td_device_params_close(read);
    assert_int_equal(status, cases[i][2] ? TD_CONFIG : TD_OK);
    if (status && !strstr(td_error_text(), cases[i][2])) fail_msg("%s, expected %s", td_error_text(), cases[i][2]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(headers),
                                     cmocka_unit_test(rows),
                                     cmocka_unit_test(times_of_no_device),
                                     cmocka_unit_test(loads_have_ranges),
                                     cmocka_unit_test(classes_of_few_rows),
                                     cmocka_unit_test(odd_rows_are_in_doubt),
                                     cmocka_unit_test(files_have_a_basis_for_their_fits),
                                     cmocka_unit_test(fits_do_not_contradict_themselves)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
