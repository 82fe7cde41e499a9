/* SPDX-License-Identifier: Apache-2.0
 *
 * Operator models: what tiles do, tables that are refused with their line, fits that find known parameters again, files
 * that read back as they were written, curves and steps that say what single prices say.
 */
#include <glob.h>
#include <inttypes.h>
#include <math.h>

#include "../config/files.h"
#include "cost/op_curve.h"
#include "tandem/base.h"
#include "tandem/cost.h"
#include "tandem/operators.h"

static struct td_device_params *open_chip(void) {
  struct td_device_params *chip;
  if (td_device_params_open(test_source("devices/h100_sxm.cfg"), &chip)) fail_msg("%s", td_error_text());
  return chip;
}

static double seconds_of(const struct td_device_params *chip, enum td_operator op, const char *path,
                         const struct td_op_shape *shape) {
  struct td_op_price price;
  if (td_op_price(chip, op, path, shape, &price)) fail_msg("%s", td_error_text());
  assert_true(price.low <= price.seconds && price.seconds <= price.high);
  return price.seconds;
}

static double gemm(const struct td_device_params *chip, const char *path, int64_t m, int64_t n, int64_t k) {
  const struct td_op_shape shape = {{n, k, m}};
  return seconds_of(chip, TD_GEMM, path, &shape);
}

/* ---- the models ---- */

static void products_have_bounds_and_steps(void **state) {
  (void)state;
  struct td_device_params *chip = open_chip();
  double flops = 2.0 * 8192 * 8192 * 8192, bytes = 2.0 * 16384 * 16384;
  double large = gemm(chip, "bfloat16", 8192, 8192, 8192), narrow = gemm(chip, "bfloat16", 1, 16384, 16384);
  assert_true(large > flops / chip->flops_bf16.value && large < 1.6 * flops / chip->flops_bf16.value);
  assert_true(narrow > bytes / chip->memory_bandwidth.value && narrow < 1.5 * bytes / chip->memory_bandwidth.value);
  assert_true(gemm(chip, "fp8", 8192, 8192, 8192) < 0.75 * large);
  assert_true(gemm(chip, "bfloat16", 1, 32, 32) > 1e-6); /* a launch */
  /* 132 units: 128 x 128 tiles of m = 2112 and n = 1024 are one wave of 17 x 8 = 136 tiles too many */
  double fits = gemm(chip, "bfloat16", 2048, 1024, 8192), over = gemm(chip, "bfloat16", 2304, 1024, 8192);
  assert_true(over > 1.1 * fits);
  /* inside a tile nothing changes but bytes */
  assert_true(gemm(chip, "bfloat16", 2047, 1024, 8192) > 0.995 * fits);
  td_device_params_close(chip);
}

static void attention_pads_and_windows_end(void **state) {
  (void)state;
  struct td_device_params *chip = open_chip();
  struct td_op_shape shape = {{32, 8, 128, 0, 64, 8192}};
  const char *path = "bfloat16/bfloat16";
  double whole = seconds_of(chip, TD_ATTENTION_GENERATION, path, &shape);
  assert_true(whole > 2.0 * 64 * 8 * 128 * 8192 * 2 / chip->memory_bandwidth.value); /* the cache's bytes */
  assert_true(seconds_of(chip, TD_ATTENTION_GENERATION, "bfloat16/fp8", &shape) < 0.7 * whole);
  shape.v[3] = 128;
  double windowed = seconds_of(chip, TD_ATTENTION_GENERATION, path, &shape);
  shape.v[5] = 65536;
  assert_true(windowed < 0.3 * whole);
  assert_true(seconds_of(chip, TD_ATTENTION_GENERATION, path, &shape) == windowed);
  shape.v[0] = 8, shape.v[3] = 0, shape.v[5] = 64; /* 8 heads or 32: one padded tile a group */
  double few = seconds_of(chip, TD_ATTENTION_GENERATION, path, &shape);
  shape.v[0] = 32;
  assert_true(fabs(seconds_of(chip, TD_ATTENTION_GENERATION, path, &shape) / few - 1) < 0.6);
  td_device_params_close(chip);
}

static void experts_and_collectives_grow(void **state) {
  (void)state;
  struct td_device_params *chip = open_chip();
  struct td_op_shape experts = {{4096, 1536, 8, 128, 1, 1, 0, 3, 1}}, ring = {{2, 2, 512}};
  double before = 0;
  for (int64_t tokens = 1; tokens <= 16384; tokens *= 4) {
    experts.v[8] = tokens;
    double now = seconds_of(chip, TD_MOE, "bfloat16", &experts);
    assert_true(now >= before);
    before = now;
  }
  experts.v[8] = 128; /* all experts are reached: their weights are read once */
  assert_true(seconds_of(chip, TD_MOE, "bfloat16", &experts) >
              128 * 3 * 4096.0 * 1536 * 2 / chip->memory_bandwidth.value);
  for (int64_t bytes = 512, last = 0; bytes <= 1 << 30; last = bytes, bytes *= 8) {
    const struct td_op_shape shorter = {{2, 8, last ? last : 256}};
    ring = (struct td_op_shape){{2, 8, bytes}};
    assert_true(seconds_of(chip, TD_COLLECTIVE, "all_reduce", &ring) >
                seconds_of(chip, TD_COLLECTIVE, "all_reduce", &shorter));
    assert_true(seconds_of(chip, TD_COLLECTIVE, "all_gather", &ring) <
                seconds_of(chip, TD_COLLECTIVE, "all_reduce", &ring));
  }
  td_device_params_close(chip);
}

static void shapes_without_a_basis(void **state) {
  (void)state;
  static const struct {
    enum td_operator op;
    const char *path;
    struct td_op_shape shape;
    const char *says;
  } cases[] = {
      {TD_GEMM, "bfloat16", {{64, 64, 0}}, "m: found 0, expected 1..16777216"},
      {TD_GEMM, "bfloat16", {{-1, 64, 1}}, "n: found -1, expected 1..16777216"},
      {TD_GEMM, "int4", {{64, 64, 1}}, "element type: found \"int4\", expected bfloat16"},
      {TD_GEMM, "nvfp4", {{64, 64, 1}}, "device h100_sxm: found no flops_fp4, expected it in the device file"},
      {TD_ATTENTION_CONTEXT,
       "bfloat16/bfloat16",
       {{7, 2, 64, 0, 1, 1}},
       "attention_context: found a shape the model has no basis for: num_heads is no multiple"},
      {TD_MOE, "bfloat16", {{64, 64, 9, 8, 1, 1, 0, 3, 1}}, "topk is more than num_experts"},
      {TD_COLLECTIVE, "all_reduce", {{2, 1, 512}}, "a collective has two devices or more"},
  };
  struct td_device_params *chip = open_chip();
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct td_op_price price;
    assert_int_equal(td_op_price(chip, cases[i].op, cases[i].path, &cases[i].shape, &price), TD_UNSUPPORTED);
    if (!strstr(td_error_text(), cases[i].says)) fail_msg("%s, expected %s", td_error_text(), cases[i].says);
  }
  td_device_params_close(chip);
}

/* ---- tables ---- */

#define GEMM_HEADER "kernel_source,gemm_dtype,m,n,k,latency_ms\n"

static void bad_tables(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {"", ":1: found no line"},
      {GEMM_HEADER, ": found no rows"},
      {"gemm_dtype,m,n,latency_ms\nbfloat16,1,2,3\n", ":1: found no column k, expected it in the header"},
      {"gemm_dtype,m,n,k\nbfloat16,1,2,3\n", ":1: found no column latency_ms"},
      {"m,n,k,latency_ms\n1,2,3,4\n", ":1: found no column gemm_dtype"},
      {GEMM_HEADER "x,bfloat16,1,64,64,0.1\nx,bfloat16,1,64,64\n", ":3: found 5 values, expected 6 as in the header"},
      {GEMM_HEADER "x,bfloat16,1,64,64,nan\n", ":2: latency_ms: found \"nan\", expected a positive number"},
      {GEMM_HEADER "x,bfloat16,1,64,64,-1\n", ":2: latency_ms: found \"-1\""},
      {GEMM_HEADER "x,bfloat16,1,64,64,0\n", ":2: latency_ms: found \"0\""},
      {GEMM_HEADER "x,bfloat16,1,64,64,inf\n", ":2: latency_ms: found \"inf\""},
      {GEMM_HEADER "x,bfloat16,1,64,64,0.1x\n", ":2: latency_ms: found \"0.1x\""},
      {GEMM_HEADER "x,bfloat16,1.5,64,64,0.1\n", ":2: m: found \"1.5\", expected a whole number"},
      {GEMM_HEADER "x,bfloat16,,64,64,0.1\n", ":2: m: found \"\""},
      {GEMM_HEADER "x,bfloat16,0,64,64,0.1\n", ":2: m: found 0, expected 1..16777216"},
      {GEMM_HEADER "x,bfloat16,99999999999999999999,64,64,0.1\n", ":2: m: found"},
      {GEMM_HEADER "x,,1,64,64,0.1\n", ":2: found \"\", expected the name of an element type"},
      {GEMM_HEADER "x,bfloat16,1,64,64,0.1\n\nx,bfloat16,2,64,64,0.1\nx,bfloat16,1,64,64,0.2\n",
       ":5: found the same shape and path as in line 2"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct td_op_table table;
    td_status status = td_op_table_read(scratch_file("bad.csv", cases[i][0]), TD_GEMM, true, &table);
    assert_int_equal(status, TD_CONFIG);
    if (!strstr(td_error_text(), cases[i][1])) fail_msg("%s, expected %s", td_error_text(), cases[i][1]);
  }
}

static void good_tables(void **state) {
  (void)state;
  struct td_op_table table;
  const char *windows = "latency_ms,k,n,m,gemm_dtype\r\n0.5,64,32,16,fp8\r\n0.25,64,32,16,bfloat16\r\n";
  assert_int_equal(td_op_table_read(scratch_file("good.csv", windows), TD_GEMM, true, &table), TD_OK);
  assert_int_equal(table.row_count, 2);
  assert_int_equal(table.path_count, 2);
  assert_string_equal(table.path_names[table.rows[1].path], "bfloat16");
  assert_true(table.rows[1].seconds == 0.25e-3 && table.rows[1].line == 3);
  assert_true(table.rows[0].shape.v[0] == 32 && table.rows[0].shape.v[1] == 64 && table.rows[0].shape.v[2] == 16);
  assert_string_equal(table.header, "latency_ms,k,n,m,gemm_dtype");
  assert_string_equal(table.lines[1], "0.25,64,32,16,bfloat16");
  td_op_table_free(&table);
  const char *moe =
      "kernel_source,moe_dtype,num_tokens,hidden_size,inter_size,topk,num_experts,moe_tp_size,moe_ep_size,"
      "distribution\n"
      "nongated,fp8,1,64,64,2,8,1,1,power_law_1.2\nx,fp8,1,64,64,2,8,1,1,balanced\n";
  assert_int_equal(td_op_table_read(scratch_file("moe.csv", moe), TD_MOE, false, &table), TD_OK);
  assert_true(table.rows[0].shape.v[6] == 1200 && table.rows[0].shape.v[7] == 2);
  assert_true(table.rows[1].shape.v[6] == 0 && table.rows[1].shape.v[7] == 3 && isnan(table.rows[1].seconds));
  td_op_table_free(&table);
}

/* ---- fits ---- */

/* Known parameters: the guesses times these; and noise. */
static double truth(int32_t parameter) {
  static const double away[] = {0.8, 0.9, 1.5, 1.2, 1.3, 1.4, 1.5, 0.7, 1.5};
  return parameter < 9 ? away[parameter] : 1;
}

static const char *made_table(const struct td_device_params *chip) {
  struct td_text text = {0};
  struct td_op_chip numbers;
  double parameters[TD_OP_PARAMS];
  assert_int_equal(td_op_chip_of(chip, TD_GEMM, "bfloat16", &numbers), TD_OK);
  for (int32_t i = 0; i < td_op_gemm.parameter_count; i++) parameters[i] = td_op_gemm.parameters[i].guess * truth(i);
  td_text_printf(&text, "%s", GEMM_HEADER);
  uint64_t counter = 0;
  for (int64_t n = 64; n <= 16384; n *= 4) {
    for (int64_t k = 128; k <= 16384; k = k * 5 / 2) {
      for (int64_t m = 1; m <= 8192; m = m * 4 + 1) {
        const int64_t v[TD_SHAPE_FIELDS] = {n, k, m};
        double noise = 1 + 0.02 * (td_random_unit(5, 6, counter++) - 0.5);
        td_text_printf(&text, "made,bfloat16,%" PRId64 ",%" PRId64 ",%" PRId64 ",%.6g\n", m, n, k,
                       1e3 * noise * td_op_gemm.seconds(&numbers, parameters, v));
      }
    }
  }
  assert_false(text.failed);
  const char *path = scratch_file("made.csv", text.data);
  td_text_free(&text);
  return path;
}

/* The device with a fit to the made table, read back from the file that was written; made once. NULL: no NLopt. */
struct made {
  bool tried;
  struct td_op_fit fit;
  struct td_device_params *read;
};
static struct made made[2]; /* with residuals; analytic */

static void calibrate(bool analytic, struct made *out) {
  static char path[4200];
  struct td_device_params *chip = open_chip();
  struct td_op_table table;
  struct td_calibration how = {.device = chip,
                               .analytic = analytic,
                               .held_back = 0.2,
                               .seed = 1,
                               .source = "made \"so\"",
                               .command = "a test\nrm"};
  if (td_op_table_read(made_table(chip), TD_GEMM, true, &table)) fail_msg("%s", td_error_text());
  td_status status = td_op_calibrate(&how, &table, 0, &out->fit);
  td_op_table_free(&table);
  if (status && status != TD_UNAVAILABLE) fail_msg("%s", td_error_text());
  if (!status) {
    snprintf(path, sizeof path, "%s/written.cfg", scratch_folder());
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(td_device_params_write(chip, &out->fit, 1, file), TD_OK);
    assert_int_equal(fclose(file), 0);
    if (td_device_params_open(path, &out->read)) fail_msg("%s", td_error_text());
  }
  td_device_params_close(chip);
}

static struct td_device_params *calibrated(bool analytic, const struct td_op_fit **out_fit) {
  struct made *this = &made[analytic];
  if (!this->tried) calibrate(analytic, this);
  this->tried = true;
  *out_fit = &this->fit;
  return this->read;
}

static int forget(void **state) {
  (void)state;
  for (int i = 0; i < 2; i++) {
    td_op_fit_free(&made[i].fit);
    td_device_params_close(made[i].read);
  }
  return 0;
}

#define NEEDS_NLOPT(chip_)                               \
  if (!(chip_)) {                                        \
    printf("skipped: tandem was built without NLopt\n"); \
    skip();                                              \
  }

static void fits_find_known_parameters(void **state) {
  (void)state;
  const struct td_op_fit *fit;
  struct td_device_params *read = calibrated(true, &fit);
  NEEDS_NLOPT(read)
  assert_true(fit->errors[0].rows > 20 && fit->errors[0].mape < 0.02);
  assert_true(fit->errors[0].low > 0.95 && fit->errors[0].high < 1.05);
  assert_int_equal(fit->residual_count, 0);
  for (int32_t i = 0; i < 3; i++) { /* the strong ones: compute, memory, start */
    double want = td_op_gemm.parameters[i].guess * truth(i);
    if (fabs(fit->parameters[i] / want - 1) > 0.05) {
      fail_msg("%s: found %g, expected %g", td_op_gemm.parameters[i].name, fit->parameters[i], want);
    }
  }
}

static void files_read_back(void **state) {
  (void)state;
  const struct td_op_fit *fit;
  struct td_device_params *read = calibrated(false, &fit);
  NEEDS_NLOPT(read)
  struct td_device_params *chip = open_chip();
  const struct td_op_fit *again = td_device_fit(read, TD_GEMM, "bfloat16");
  assert_non_null(again);
  assert_null(td_device_fit(read, TD_GEMM, "fp8"));
  assert_true(fit->residual_count > 100 && again->residual_count == fit->residual_count);
  assert_memory_equal(&again->least, &fit->least, sizeof fit->least);
  assert_memory_equal(&again->most, &fit->most, sizeof fit->most);
  assert_string_equal(again->source, "made \"so\"");
  assert_string_equal(again->command, "a test\nrm");
  assert_true(fabs(again->errors[0].mape / fit->errors[0].mape - 1) < 1e-6);
  for (int32_t i = 0; i < fit->residual_count; i++) {
    assert_memory_equal(&again->residuals[i], &fit->residuals[i], sizeof *fit->residuals);
  }
  assert_true(fabs(read->memory_bandwidth.value / chip->memory_bandwidth.value - 1) < 1e-8);
  assert_string_equal(read->memory_bandwidth.source, chip->memory_bandwidth.source);
  struct td_op_price inside, outside;
  const struct td_op_shape seen = {{1024, 2000, 13}}, unseen = {{1 << 20, 2000, 13}};
  assert_int_equal(td_op_price(read, TD_GEMM, "bfloat16", &seen, &inside), TD_OK);
  assert_int_equal(td_op_price(read, TD_GEMM, "bfloat16", &unseen, &outside), TD_OK);
  assert_null(inside.note);
  assert_string_equal(outside.note, "outside the measured shapes");
  assert_true(outside.high / outside.seconds > 1.5 * inside.high / inside.seconds);
  td_device_params_close(chip);
}

static void curves_say_what_prices_say(void **state) {
  (void)state;
  const struct td_op_fit *fit;
  struct td_device_params *read = calibrated(false, &fit);
  NEEDS_NLOPT(read)
  const struct td_op_shape family = {{4096, 2000}};
  struct td_op_curve *curve;
  if (td_op_curve_open(read, TD_GEMM, "bfloat16", &family, &curve)) fail_msg("%s", td_error_text());
  for (int round = 0; round < 2; round++) {
    for (int64_t m = 1; m < 9000; m += 1 + m / 7) {
      double want = gemm(read, "bfloat16", m, 4096, 2000), got = (double)td_op_curve_ps(curve, m) * 1e-12;
      if (fabs(got / want - 1) > 0.02) fail_msg("m = %" PRId64 ": found %g, expected %g", m, got, want);
    }
  }
  for (int64_t m = 1; m < 9000; m += 1 + m / 7) { /* what it remembers is what a new one says */
    struct td_op_curve *fresh;
    assert_int_equal(td_op_curve_open(read, TD_GEMM, "bfloat16", &family, &fresh), TD_OK);
    assert_int_equal(td_op_curve_ps(fresh, m), td_op_curve_ps(curve, m));
    td_op_curve_close(fresh);
  }
  td_op_curve_close(curve);
  for (int64_t value = 1; value < 100000; value += 1 + value / 5) {
    int32_t below = td_op_knot_below(value);
    assert_true(td_op_knot(below) <= value && value < td_op_knot(below + 1));
  }
}

/* ---- steps ---- */

/* A device file with fits of both attentions and of bfloat16 products, at the guesses but for residuals that dip. */
static struct td_device_params *fitted_chip(void) {
  static char path[4200];
  struct td_device_params *chip = open_chip(), *read;
  struct td_op_residual dips[] = {{{{32, 8, 128, 0, 4, 700}}, 0.2}, {{{32, 8, 128, 0, 4, 1100}}, -0.2}};
  struct td_op_fit fits[3] = {{.op = TD_GEMM, .path = "bfloat16"},
                              {.op = TD_ATTENTION_GENERATION, .path = "bfloat16/bfloat16"},
                              {.op = TD_ATTENTION_CONTEXT, .path = "bfloat16/bfloat16"}};
  for (int i = 0; i < 3; i++) {
    td_op_guesses(fits[i].op, &fits[i]);
    snprintf(fits[i].path, sizeof fits[i].path, "%s", i ? "bfloat16/bfloat16" : "bfloat16");
    fits[i].source = fits[i].command = "a test";
    fits[i].rows = 1;
    fits[i].length = 3, fits[i].noise = 0.1;
    for (int f = 0; f < td_operator_fields(fits[i].op); f++) {
      int64_t most = td_op_model(fits[i].op)->fields[f].most;
      fits[i].most.v[f] = most < 100000 ? most : 100000;
    }
  }
  fits[1].residuals = dips;
  fits[1].residual_count = 2;
  snprintf(path, sizeof path, "%s/fitted.cfg", scratch_folder());
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_int_equal(td_device_params_write(chip, fits, 3, file), TD_OK);
  assert_int_equal(fclose(file), 0);
  td_device_params_close(chip);
  if (td_device_params_open(path, &read)) fail_msg("%s", td_error_text());
  return read;
}

static struct td_price price_of(const struct td_device_params *chip, const struct td_graph *graph,
                                const struct td_step_stats *stats) {
  const struct td_slice whole = td_slice_whole(graph);
  struct td_price price;
  if (td_price_roofline(chip, graph, &whole, TD_BF16, stats, &price)) fail_msg("%s", td_error_text());
  assert_true(price.low_ps <= (double)price.base_ps && (double)price.base_ps <= price.high_ps);
  return price;
}

static struct td_graph *open_graph(void) {
  struct td_model *model;
  struct td_graph *graph;
  if (td_model_open(test_source("experiments/models/llama-3.1-8b.cfg"), &model)) fail_msg("%s", td_error_text());
  if (td_graph_build(model, &graph)) fail_msg("%s", td_error_text());
  td_model_close(model);
  return graph;
}

static void fitted_steps_are_sums(void **state) {
  (void)state;
  struct td_device_params *chip = fitted_chip(), *plain = open_chip();
  struct td_graph *graph = open_graph();
  uint64_t counter = 0;
  for (int round = 0; round < 12; round++) {
    struct td_step_stats stats = {0};
    int64_t seqs = 1 + (int64_t)(td_random(7, 8, counter++) % 9), checked = 0;
    for (int64_t i = 0; i < seqs; i++) {
      td_step_stats_add(&stats, &graph->shape, (int64_t)(td_random(7, 8, counter++) % 3000), 1, 1);
    }
    struct td_price first = price_of(chip, graph, &stats);
    assert_true(first.valid_steps >= 1 && first.base_ps != price_of(plain, graph, &stats).base_ps);
    for (int64_t i = 0; i < first.valid_steps && checked < 600; i++, checked++) {
      struct td_price now = price_of(chip, graph, &stats);
      assert_int_equal(now.base_ps, first.base_ps + i * first.slope_ps);
      assert_int_equal(now.valid_steps, first.valid_steps - i);
      stats.v[TD_SYM_CONTEXT] += seqs, stats.v[TD_SYM_PAIRS] += seqs, stats.v[TD_SYM_FULL_PAIRS] += seqs;
      stats.v[TD_SYM_WINDOW_CONTEXT] += seqs, stats.v[TD_SYM_WINDOW_PAIRS] += seqs;
    }
  }
  td_graph_free(graph);
  td_device_params_close(plain);
  td_device_params_close(chip);
}

/* Every file in devices/calibrated opens, and states an error for all it fits. */
static void calibrated_files(void **state) {
  (void)state;
  glob_t files;
  assert_int_equal(glob(test_source("devices/calibrated/*.cfg"), 0, NULL, &files), 0);
  assert_true(files.gl_pathc >= 4);
  for (size_t i = 0; i < files.gl_pathc; i++) {
    struct td_device_params *chip;
    if (td_device_params_open(files.gl_pathv[i], &chip)) fail_msg("%s", td_error_text());
    assert_true(chip->fit_count > 0);
    for (int32_t f = 0; f < chip->fit_count; f++) {
      assert_true(chip->fits[f].errors[0].rows > 0 && chip->fits[f].errors[0].mape < 0.2);
      assert_non_null(strstr(chip->fits[f].command, "tandem calibrate"));
    }
    td_device_params_close(chip);
  }
  globfree(&files);
}

static void fitted_prompts(void **state) {
  (void)state;
  struct td_device_params *chip = fitted_chip();
  struct td_graph *graph = open_graph();
  struct td_step_stats one = {0}, two = {0}, four = {0};
  td_step_stats_add(&one, &graph->shape, 0, 4096, 1);
  for (int i = 0; i < 2; i++) td_step_stats_add(&two, &graph->shape, 0, 2048, 1);
  for (int i = 0; i < 4; i++) td_step_stats_add(&four, &graph->shape, 0, 1024, 1);
  int64_t longest = price_of(chip, graph, &one).base_ps, middle = price_of(chip, graph, &two).base_ps;
  assert_true(longest > middle && middle > price_of(chip, graph, &four).base_ps); /* more pairs */
  double flops = price_of(chip, graph, &one).flops;
  assert_true(longest > (int64_t)(flops / chip->flops_bf16.value * 1e12));
  td_graph_free(graph);
  td_device_params_close(chip);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_have_bounds_and_steps),
      cmocka_unit_test(attention_pads_and_windows_end),
      cmocka_unit_test(experts_and_collectives_grow),
      cmocka_unit_test(shapes_without_a_basis),
      cmocka_unit_test(bad_tables),
      cmocka_unit_test(good_tables),
      cmocka_unit_test(fits_find_known_parameters),
      cmocka_unit_test(files_read_back),
      cmocka_unit_test(curves_say_what_prices_say),
      cmocka_unit_test(fitted_steps_are_sums),
      cmocka_unit_test(fitted_prompts),
      cmocka_unit_test(calibrated_files),
  };
  return cmocka_run_group_tests(tests, NULL, forget);
}
