/* SPDX-License-Identifier: Apache-2.0
 *
 * Loads of experts against drawing them; residuals of groups that ran another kernel; what is held back.
 */
#include <inttypes.h>
#include <math.h>

#include "../scratch_files.h"
#include "cost/op_calibrate.h"
#include "cost/op_moe.h"
#include "support.h"
#include "tandem/base.h"
#include "tandem/operators.h"

/* ---- loads ---- */

#define MOST_EXPERTS 512
#define DRAWS 200

static uint64_t counter;

/* One more row for the expert of `count` that has the fewest, or one less for the one with the most. */
static void shift(int64_t *rows, int count, int64_t by) {
  int at = 0;
  for (int i = 1; i < count; i++) {
    if (by > 0 ? rows[i] < rows[at] : rows[i] > rows[at]) at = i;
  }
  rows[at] += by;
}

/* Rows of the experts of the busiest group, to `out`. */
static void draw(int64_t tokens, int top_k, int experts, int groups, double exponent, int64_t *out) {
  int64_t rows[MOST_EXPERTS], sum = 0, most = -1;
  double loads[MOST_EXPERTS], all = 0, power = 1 - exponent;
  bool few = tokens * top_k <= experts;
  double low = pow(few ? 0.01 : 1, power), high = pow(few ? 2 : 0.8 * (double)tokens, power);
  int here = experts / groups;
  for (int i = 0; i < experts; i++) {
    loads[i] = pow((high - low) * td_random_unit(9, 1, counter++) + low, 1 / power);
    all += loads[i];
  }
  for (int i = 0; i < experts; i++) {
    int64_t whole = llround(loads[i] / all * (double)(tokens * top_k));
    rows[i] = whole < tokens ? whole : tokens;
    sum += rows[i];
  }
  for (int group = 0; sum != tokens * top_k; group = (group + 1) % groups) {
    int64_t by = sum < tokens * top_k ? 1 : -1, had = 0;
    for (int i = 0; i < here; i++) had += rows[group * here + i];
    if (by < 0 ? had == 0 : had == here * tokens) continue;
    shift(rows + (ptrdiff_t)group * here, here, by);
    sum += by;
  }
  for (int group = 0; group < groups; group++) {
    int64_t had = 0;
    for (int i = 0; i < here; i++) had += rows[group * here + i];
    if (had <= most) continue;
    most = had;
    memcpy(out, rows + (ptrdiff_t)group * here, sizeof *out * (size_t)here);
  }
}

struct means {
  double rows, reached, tiles;
};

static struct means drawn(int64_t tokens, int top_k, int experts, int groups, double exponent) {
  struct means means = {0};
  for (int round = 0; round < DRAWS; round++) {
    int64_t rows[MOST_EXPERTS];
    draw(tokens, top_k, experts, groups, exponent, rows);
    for (int i = 0; i < experts / groups; i++) {
      means.rows += (double)rows[i] / DRAWS;
      means.reached += (double)(rows[i] > 0) / DRAWS;
      means.tiles += ceil((double)rows[i] / 64) / DRAWS;
    }
  }
  return means;
}

static void loads_are_as_drawn(void **state) {
  (void)state;
  static const int models[][2] = {{2, 8}, {8, 128}, {4, 128}, {8, 256}, {10, 512}};
  struct means off = {0};
  int count = 0;
  for (int i = 0; i < 5 * 2 * 3; i++) {
    int top_k = models[i % 5][0], experts = models[i % 5][1], groups = i / 10 == 0 ? 1 : i / 10 == 1 ? 8 : experts / 4;
    double exponent = i / 5 % 2 ? 1.2 : 1.01;
    for (int64_t tokens = 1; tokens <= 4096; tokens *= 8, count++) {
      struct td_moe_load load;
      struct means want = drawn(tokens, top_k, experts, groups, exponent);
      td_moe_load((double)tokens, top_k, experts, groups, exponent, &load);
      double rows = fabs(log(load.rows / want.rows)), reached = fabs(log(load.reached / want.reached));
      double tiles = fabs(log(td_moe_tiles(&load, 64) / want.tiles));
      if (rows > 0.5 || reached > 0.5 || tiles > 0.5) {
        fail_msg("%" PRId64
                 " tokens, %d of %d experts, %d groups, exponent %g: %.3g rows, %.3g experts, drawn %.3g, %.3g",
                 tokens, top_k, experts, groups, exponent, load.rows, load.reached, want.rows, want.reached);
      }
      off.rows += rows, off.reached += reached, off.tiles += tiles;
    }
  }
  printf("off by %.3f (rows), %.3f (experts reached), %.3f (tiles)\n", off.rows / count, off.reached / count,
         off.tiles / count);
  assert_true(off.rows / count < 0.1 && off.reached / count < 0.1 && off.tiles / count < 0.12);
}

static void even_loads_are_even(void **state) {
  (void)state;
  struct td_moe_load load;
  td_moe_load(1024, 8, 256, 8, 0, &load);
  assert_true(load.here == 32 && load.rows == 1024 && load.reached == 32 && td_moe_tiles(&load, 16) == 64);
  td_moe_load(3, 8, 256, 1, 0, &load);
  assert_true(load.rows == 24 && load.reached == 24 && td_moe_tiles(&load, 16) == 24);
  td_moe_load(1, 8, 256, 256, 0, &load);
  assert_true(load.rows == 1 && load.reached == 1);
}

static void all_loads_are_possible(void **state) {
  (void)state;
  static const double exponents[] = {0.001, 0.5, 0.999, 1, 1.001, 1.9, 2, 3, 4, 20, 100};
  for (int round = 0; round < 20000; round++) {
    double tokens = floor(exp2(26 * td_random_unit(9, 2, counter++))),
           experts = floor(exp2(12 * td_random_unit(9, 2, counter++)));
    double top_k = ceil(experts * td_random_unit(9, 2, counter++)),
           groups = ceil(experts * td_random_unit(9, 2, counter++));
    double exponent = exponents[round % 11];
    struct td_moe_load load;
    if (top_k < 1) top_k = 1;
    if (groups < 1) groups = 1;
    td_moe_load(tokens, top_k, experts, groups, exponent, &load);
    double tiles = td_moe_tiles(&load, 32), here = fmax(load.here, 1);
    bool possible = isfinite(load.rows) && load.rows >= 1 && load.rows <= tokens * top_k * (1 + 1e-9) &&
                    load.reached >= 1 && load.reached <= here && load.reached <= load.rows && isfinite(tiles) &&
                    tiles >= load.reached && tiles <= load.reached + load.rows / 32 + 1;
    if (possible) continue;
    fail_msg("%g tokens, %g of %g experts, %g groups, exponent %g: %g rows, %g experts, %g tiles", tokens, top_k,
             experts, groups, exponent, load.rows, load.reached, tiles);
  }
}

/* ---- groups ---- */

static struct td_device_params *open_chip(void) {
  struct td_device_params *chip;
  if (td_device_params_open(test_source("devices/h100_sxm.cfg"), &chip)) fail_msg("%s", td_error_text());
  return chip;
}

/* Two models of one local shape; the second one's was measured on a kernel four times slower. */
static void a_slow_group_is_its_own(void **state) {
  (void)state;
  struct td_device_params *device = open_chip();
  struct td_op_chip chip;
  struct td_op_residual points[2 * 12];
  struct td_op_fit fit = {.residuals = points, .residual_count = 24, .length = 1, .noise = 0.1};
  td_op_guesses(TD_MOE, &fit);
  fit.residuals = points, fit.residual_count = 24, fit.length = 1, fit.noise = 0.1;
  for (int i = 0; i < 24; i++) {
    const struct td_op_shape quick = {{4096, 2048, 8, 256, 4, 4, 0, 3, 1 << i % 12}};
    const struct td_op_shape slow = {{4096, 1024, 10, 512, 2, 8, 0, 3, 1 << i % 12}};
    points[i] = (struct td_op_residual){i < 12 ? quick : slow, i < 12 ? 0.1 : log(4)};
  }
  assert_int_equal(td_op_chip_of(device, TD_MOE, "bfloat16", &chip), TD_OK);
  assert_int_equal(td_op_residual_prepare(&chip, &fit), TD_OK);
  const struct td_op_shape quick = {{4096, 2048, 8, 256, 4, 4, 0, 3, 96}};
  const struct td_op_shape slow = {{4096, 1024, 10, 512, 2, 8, 0, 3, 96}};
  const struct td_op_shape other = {{4096, 1536, 10, 512, 3, 8, 0, 3, 96}};
  double is_quick = td_op_residual_at(&chip, &fit, &quick, 1), is_slow = td_op_residual_at(&chip, &fit, &slow, 1);
  double is_other = td_op_residual_at(&chip, &fit, &other, 1);
  assert_true(fabs(is_quick - 0.1) < 0.02);
  assert_true(fabs(is_slow - log(4)) < 0.1);
  assert_true(is_other > 0.02 && is_other < 0.12);
  const struct td_op_shape far = {{16384, 2048, 8, 256, 4, 4, 0, 3, 96}},
                           nongated = {{4096, 2048, 8, 256, 4, 4, 0, 2, 96}};
  assert_true(td_op_residual_gap(&fit, &quick) == 0 && td_op_residual_gap(&fit, &other) == 0);
  assert_true(fabs(td_op_residual_gap(&fit, &far) - 1) < 1e-6 && td_op_residual_gap(&fit, &nongated) > 1);
  free(fit.places);
  td_device_params_close(device);
}

/* ---- public timings ---- */

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

/* With the guesses, which lie between the fits of both types, half of the rows of NVIDIA's table are within a tenth. */
static void public_timings_agree(void **state) {
  (void)state;
  const char *path = test_shared("data/measurements/moe/h100_sxm_trtllm_1.3.0rc20.csv.gz");
  struct td_op_table table;
  if (!path) {
    printf("skipped: found no shared measurements\n");
    skip();
  }
  struct td_device_params *device = open_chip();
  if (td_op_table_read(path, TD_MOE, true, &table)) fail_msg("%s", td_error_text());
  for (int32_t i = 0; i < table.path_count; i++) {
    struct td_op_fit guesses;
    struct td_op_chip chip;
    int64_t count = 0;
    double *off = calloc((size_t)table.row_count, sizeof *off);
    assert_non_null(off);
    td_op_guesses(TD_MOE, &guesses);
    assert_int_equal(td_op_chip_of(device, TD_MOE, table.path_names[i], &chip), TD_OK);
    for (int64_t r = 0; r < table.row_count; r += 3) {
      const struct td_op_row *row = &table.rows[r];
      if (row->path == i) off[count++] = fabs(td_op_seconds(&chip, &guesses, &row->shape) / row->seconds - 1);
    }
    qsort(off, (size_t)count, sizeof *off, ascending);
    printf("%s: median %.2f %%\n", table.path_names[i], 100 * off[count / 2]);
    assert_true(count > 1000 && off[count / 2] < 0.1);
    free(off);
  }
  td_op_table_free(&table);
  td_device_params_close(device);
}

/* ---- what is held back ---- */

static const char *made_table(void) {
  struct td_text text = {0};
  td_text_printf(&text,
                 "kernel_source,moe_dtype,num_tokens,hidden_size,inter_size,topk,num_experts,moe_tp_size,"
                 "moe_ep_size,distribution,latency_ms\n");
  for (int i = 0; i < 12 * 3 * 8 * 3; i++) {
    static const char *const names[] = {"balanced", "power_law_1.01", "power_law_1.2"};
    int model = i / (3 * 8 * 3), tokens = 1 << i / 3 % 8, group = 1 << i / 24 % 3;
    td_text_printf(&text, "x,bfloat16,%d,%d,1024,8,64,1,%d,%s,%.6g\n", tokens, 1024 + 256 * model, group, names[i % 3],
                   0.05 + 0.001 * i / 72);
  }
  assert_false(text.failed);
  const char *path = scratch_file("made.csv", text.data);
  td_text_free(&text);
  return path;
}

static int64_t rows_held(enum td_held held_as) {
  struct td_device_params *chip = open_chip();
  struct td_op_table table;
  struct td_op_fit fit;
  const struct td_calibration how = {.device = chip,
                                     .op = TD_MOE,
                                     .analytic = true,
                                     .held_back = 0.3,
                                     .held_as = held_as,
                                     .seed = 1,
                                     .source = "made",
                                     .command = "a test"};
  if (td_op_table_read(made_table(), TD_MOE, true, &table)) fail_msg("%s", td_error_text());
  assert_int_equal(table.row_count, 12 * 72);
  td_status status = td_op_calibrate(&how, &table, 0, &fit);
  if (status && status != TD_UNAVAILABLE) fail_msg("%s", td_error_text());
  int64_t rows = status ? -1 : fit.errors[0].rows;
  if (!status) td_op_fit_free(&fit);
  td_op_table_free(&table);
  td_device_params_close(chip);
  return rows;
}

/* Of 12 models with 24 cells of three loads: whole models, whole cells, or both. */
static void loads_are_held_back_together(void **state) {
  (void)state;
  int64_t models = rows_held(TD_HELD_FAMILIES), cells = rows_held(TD_HELD_ROWS), both = rows_held(TD_HELD_BOTH);
  if (models < 0) {
    printf("skipped: tandem was built without NLopt\n");
    skip();
  }
  assert_true(models > 0 && models < 12 * 72 && models % 72 == 0);
  assert_true(cells > 0 && cells < 12 * 72 / 2 && cells % 3 == 0 && cells % 72 != 0);
  double share = (double)(both - models) / (double)(12 * 72 - models);
  assert_true((both - models) % 3 == 0 && share > 0.05 && share < 0.3);
}

/* ---- intervals ---- */

/* Of rows whose log(measured / predicted) is spread evenly within +-`spread`, one in ten of them `slow` times that. */
static struct td_op_error error_among(int64_t families, double spread, double slow) {
  enum { ROWS = 201 };
  struct td_op_compared rows[ROWS];
  struct td_op_error errors[TD_OP_CLASSES];
  for (int i = 0; i < ROWS; i++) {
    double off = spread * (2.0 * i / (ROWS - 1) - 1);
    rows[i] = (struct td_op_compared){.measured = exp(off) * (i % 10 == 9 ? slow : 1), .predicted = 1};
  }
  assert_int_equal(td_op_errors(rows, ROWS, families, errors), TD_OK);
  return errors[0];
}

/* Percentiles of two or three models' rows are no bounds of the next model's. */
static void few_models_say_less(void **state) {
  (void)state;
  struct td_op_error rows = error_among(0, 0.1, 1), many = error_among(20, 0.1, 1), three = error_among(3, 0.1, 1);
  assert_true(fabs(log(rows.high) - 0.09) < 0.001 && fabs(log(rows.low) + 0.09) < 0.001);
  assert_true(rows.low == many.low && rows.high == many.high && rows.mape == three.mape && rows.p90 == three.p90);
  double wider = 2.920 / 1.645 * sqrt(1 + 1.0 / 3);
  assert_true(fabs(log(three.high) - 0.09 * wider) < 0.001 && fabs(log(three.low) + 0.09 * wider) < 0.001);
  for (int64_t families = 2; families <= 20; families++) {
    struct td_op_error some = error_among(families - 1, 0.1, 1), more = error_among(families, 0.1, 1);
    assert_true(some.low < more.low && some.high > more.high);
  }
  struct td_op_error one = error_among(1, 0.1, 1), slow = error_among(2, 0.1, 5);
  assert_true(one.low == 0.5 && one.high == 2);
  assert_true(slow.high == error_among(0, 0.1, 5).high && slow.high > 4 && slow.low > 0.5 && slow.low < 0.7);
}

/* Rows that are each by themselves, as those of collectives: the next one is among nine of ten that would be told so.
 */
static void few_rows_say_less(void **state) {
  (void)state;
  struct td_op_compared rows[20];
  struct td_op_error errors[TD_OP_CLASSES];
  for (int count = 1; count <= 20; count++) {
    for (int i = 0; i < count; i++)
      rows[i] = (struct td_op_compared){.measured = exp(i % 2 ? 0.02 : -0.02), .predicted = 1};
    assert_int_equal(td_op_errors(rows, count, 0, errors), TD_OK);
    struct td_op_error all = errors[0];
    if (count == 1) assert_true(all.low == 0.5 && all.high == 2);
    if (count == 2) assert_true(fabs(log(all.high) - 6.314 * 0.02 * sqrt(3)) < 1e-6);
    if (count == 2 || count == 6) assert_true(fabs(log(all.low) + log(all.high)) < 1e-6);
    if (count == 6) assert_true(fabs(log(all.high) - 2.015 * sqrt(7.0 / 6 * 6 / 5) * 0.02) < 1e-6);
    assert_int_equal(td_op_errors(rows, count, count, errors), TD_OK); /* no less of as many families */
    assert_true(errors[0].low <= all.low && errors[0].high >= all.high);
    if (count == 20) assert_true(fabs(log(all.high) - 0.02) < 1e-6 && fabs(log(all.low) + 0.02) < 1e-6);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(loads_are_as_drawn),     cmocka_unit_test(even_loads_are_even),
      cmocka_unit_test(all_loads_are_possible), cmocka_unit_test(a_slow_group_is_its_own),
      cmocka_unit_test(public_timings_agree),   cmocka_unit_test(loads_are_held_back_together),
      cmocka_unit_test(few_models_say_less),    cmocka_unit_test(few_rows_say_less),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
