/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix planes from SRAM to SRAM: every type, both orientations, halves, partial buffers, sums over several arrays,
 * installs while passes run; against plain C.
 */
#include <math.h>

#include "lpu/rig.h"
#include "tandem/kernels.h"
#include "tandem/lpu_math.h"

#define LANES 32
#define ROWS 4
#define LOAD_AT 60 /* the cycle in which the first step's vectors pass the plane */

struct product {
  enum td_lpu_type type; /* of the weights: I8, F16, W8, F8, WF8 */
  bool columns;
  int32_t plane, load_plane, load_half, pass_half;
  int32_t skip; /* a step that is not loaded; -1: none */
};

struct product_data {
  double w[LANES][LANES]; /* as stored: [row][lane] */
  double x[ROWS][LANES];
};

static bool is_whole(const struct product *p) {
  return p->type == TD_LPU_I8 || p->type == TD_LPU_F8; /* of one plane */
}
/* Of the activations. */
static enum td_lpu_type type_x(const struct product *p) {
  return is_whole(p) ? p->type : TD_LPU_F16;
}
static int32_t depth_of(const struct product *p) {
  return is_whole(p) ? 32 : 16;
}
static int32_t steps_of(const struct product *p) {
  return p->columns || is_whole(p) ? 2 : 1;
}

static enum td_lpu_type type_of_sum(const struct product *p) {
  return p->type == TD_LPU_I8 ? TD_LPU_I32 : p->type == TD_LPU_F8 ? TD_LPU_F8 : TD_LPU_F32;
}
static double noise_of(enum td_lpu_type type, uint32_t *seed) {
  float x = rig_noise(seed);
  if (type == TD_LPU_F16) return (double)td_half_to_float(td_float_to_half(x));
  if (type == TD_LPU_I8 || type == TD_LPU_W8) return (double)(int8_t)(x * 127);
  return (double)td_lpu_f8_to_f32(td_lpu_f32_to_f8(x * x * x * 448)); /* of many sizes */
}
static void noise_rows(double *out, int count, enum td_lpu_type type, uint32_t *seed) {
  for (int i = 0; i < count; i++) out[i] = noise_of(type, seed);
}

static void write_row(struct rig *rig, const char *image, int32_t row, const double *values, enum td_lpu_type type) {
  uint8_t bytes[LANES * 2];
  for (int i = 0; i < LANES; i++) {
    uint16_t half = td_float_to_half((float)values[i]);
    if (type == TD_LPU_F16) memcpy(bytes + 2 * i, &half, 2);
    if (type == TD_LPU_I8 || type == TD_LPU_W8) bytes[i] = (uint8_t)(int8_t)values[i];
    if (type == TD_LPU_F8 || type == TD_LPU_WF8) bytes[i] = td_lpu_f32_to_f8((float)values[i]);
  }
  rig_write(rig, image, row, bytes);
}

/* Weight k, n of the array that the loads make. */
static double weight(const struct product *p, const struct product_data *data, int32_t k, int32_t n) {
  int32_t row = p->columns ? n : k;
  if (row / 16 == p->skip) return 0;
  int32_t lane = p->columns ? (is_whole(p) ? k : p->load_half * 16 + k) : n;
  return data->w[row][lane];
}

/* The row of sums as the machine must give it: bits of a float, or an int32. */
static void expect_row(const struct product *p, const struct product_data *data, int32_t r, int32_t *out) {
  for (int32_t n = 0; n < LANES; n++) {
    double sum = 0;
    for (int32_t k = 0; k < depth_of(p); k++) {
      sum += data->x[r][is_whole(p) ? k : p->pass_half * 16 + k] * weight(p, data, k, n);
    }
    float rounded = (float)sum;
    if (p->type == TD_LPU_I8) out[n] = (int32_t)sum;
    if (p->type != TD_LPU_I8) memcpy(&out[n], &rounded, 4);
  }
}

/* Loads image `w` so that its steps pass the plane one after another from `at` on. Gives the cycle in which the last
 * has landed. */
static int32_t load_all(struct rig *rig, const struct product *p, int32_t w, int32_t at) {
  const struct td_lpu_machine *m = rig->machine;
  int32_t position = td_lpu_matrix_position(m, p->plane / 2), landed = 0;
  for (int32_t c = 0; c < steps_of(p); c++) {
    if (c == p->skip) continue;
    int32_t in = rig_feed(rig, w, c, position, at + c, 0), issue = at + c - m->delay[TD_LPU_LOAD].skew;
    if (p->columns) hand_load_columns(rig->code, issue, 0, p->load_plane, p->type, c, in, p->load_half);
    if (!p->columns) hand_load(rig->code, issue, 0, p->load_plane, p->type, c, in);
    landed = issue + m->delay[TD_LPU_LOAD].func + (p->columns ? m->transpose_cycles : 0);
  }
  return landed;
}

/* Passes row `r` of image `x` in `issue`, and sums it; EMIT: into row `r` of image `y`. */
static void pass_row(struct rig *rig, const struct product *p, int32_t x, int32_t y, int32_t r, int32_t issue,
                     int32_t flags, int32_t accumulator) {
  const struct td_lpu_machine *m = rig->machine;
  int32_t position = td_lpu_matrix_position(m, p->plane / 2);
  int32_t in = rig_feed(rig, x, r, position, issue + m->delay[TD_LPU_PASS].skew, 0);
  hand_pass(rig->code, issue, 0, p->plane, type_x(p), in, p->pass_half);
  int32_t sum = issue + m->delay[TD_LPU_PASS].func, out = TD_LPU_NO_STREAM;
  if (flags & TD_LPU_EMIT) out = rig_store(rig, y, r, position, sum + m->delay[TD_LPU_SUM].func, 8);
  hand_sum(rig->code, sum, 0, p->plane, type_of_sum(p), flags, accumulator, out);
}

static int32_t image_x(struct rig *rig, const struct product *p, int32_t rows) {
  return rig_image(rig, "x", type_x(p), 0, p->plane / 2, 32, rows, LANES, 0);
}
static int32_t image_y(struct rig *rig, const struct product *p, int32_t rows) {
  return rig_image(rig, "y", p->type == TD_LPU_I8 ? TD_LPU_I32 : TD_LPU_F32, 0, p->plane / 2, 36, rows, LANES, 0);
}
static int32_t image_w(struct rig *rig, const struct product *p, const char *name) {
  return rig_image(rig, name, p->type, 0, p->plane / 2, 0, 16 * steps_of(p), LANES, 16);
}

static void fill_weights(struct rig *rig, const struct product *p, const char *name, struct product_data *data,
                         uint32_t *seed) {
  for (int r = 0; r < 16 * steps_of(p); r++) {
    noise_rows(data->w[r], LANES, p->type, seed);
    write_row(rig, name, r, data->w[r], p->type);
  }
}
static void fill_rows(struct rig *rig, const struct product *p, struct product_data *data, uint32_t *seed) {
  for (int r = 0; r < ROWS; r++) {
    noise_rows(data->x[r], LANES, type_x(p), seed);
    write_row(rig, "x", r, data->x[r], type_x(p));
  }
}

static void run_product(const struct product *p) {
  struct rig rig;
  struct product_data data;
  uint32_t seed = 3;
  rig_open(&rig, 1);
  const struct td_lpu_machine *m = rig.machine;
  int32_t w = image_w(&rig, p, "w"), x = image_x(&rig, p, ROWS), y = image_y(&rig, p, ROWS);
  int32_t install = load_all(&rig, p, w, LOAD_AT);
  hand_install(rig.code, install, 0, p->plane);
  for (int r = 0; r < ROWS; r++) pass_row(&rig, p, x, y, r, install + m->install_cycles + r, TD_LPU_EMIT, 0);
  rig_ready(&rig);
  fill_weights(&rig, p, "w", &data, &seed);
  fill_rows(&rig, p, &data, &seed);
  rig_run(&rig);
  for (int r = 0; r < ROWS; r++) {
    int32_t got[LANES], want[LANES];
    rig_read(&rig, "y", r, got);
    expect_row(p, &data, r, want);
    if (memcmp(got, want, sizeof got)) fail_msg("type %d, columns %d, row %d differs", (int)p->type, p->columns, r);
  }
  assert_int_equal(rig.counts.issued[TD_LPU_PASS], ROWS);
  assert_int_equal(rig.counts.issued[TD_LPU_INSTALL], 1);
  int32_t loads = steps_of(p) - (p->skip >= 0), others = 1 + 2 * ROWS; /* none of them in one cycle */
  assert_int_equal(rig.counts.busy[TD_UNIT_MATRIX], loads + (is_whole(p) ? 1 : 2) * others);
  rig_close(&rig);
}

static void test_products(void **state) {
  (void)state;
  static const struct product products[] = {
      {TD_LPU_I8, false, 0, 0, 0, 0, -1},  {TD_LPU_I8, false, 1, 1, 0, 0, -1},  {TD_LPU_I8, true, 3, 3, 0, 0, -1},
      {TD_LPU_I8, false, 2, 2, 0, 0, 1},   {TD_LPU_I8, true, 0, 0, 0, 0, 0},    {TD_LPU_F16, false, 0, 0, 0, 0, -1},
      {TD_LPU_F16, false, 2, 3, 0, 1, -1}, {TD_LPU_F16, true, 0, 1, 0, 0, -1},  {TD_LPU_F16, true, 2, 2, 1, 1, -1},
      {TD_LPU_F16, true, 2, 2, 0, 1, 1},   {TD_LPU_W8, false, 0, 0, 0, 0, -1},  {TD_LPU_W8, false, 2, 3, 0, 1, -1},
      {TD_LPU_W8, true, 0, 1, 1, 0, -1},   {TD_LPU_F8, false, 1, 1, 0, 0, -1},  {TD_LPU_F8, true, 3, 3, 0, 0, -1},
      {TD_LPU_F8, false, 2, 2, 0, 0, 1},   {TD_LPU_WF8, false, 2, 3, 0, 1, -1}, {TD_LPU_WF8, true, 0, 1, 1, 0, -1},
  };
  for (size_t i = 0; i < sizeof products / sizeof *products; i++) run_product(&products[i]);
}

static float float_of(int32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

/* x times two arrays, the second loaded and installed while the first works; sums of the first kept and added to. */
static void run_two_arrays(const struct product *p) {
  struct rig rig;
  struct product_data one, two;
  uint32_t seed = 9;
  rig_open(&rig, 1);
  const struct td_lpu_machine *m = rig.machine;
  int32_t w = image_w(&rig, p, "w"), v = image_w(&rig, p, "v"), x = image_x(&rig, p, ROWS), y = image_y(&rig, p, ROWS);
  int32_t install = load_all(&rig, p, w, LOAD_AT);
  hand_install(rig.code, install, 0, p->plane);
  int32_t again = load_all(&rig, p, v, LOAD_AT + steps_of(p) + 2);
  int32_t first = again - ROWS; /* the last pass of the old array is issued the cycle before the new one comes */
  if (first < install + m->install_cycles) again += install + m->install_cycles - first, first = again - ROWS;
  hand_install(rig.code, again, 0, p->plane);
  for (int r = 0; r < ROWS; r++) {
    pass_row(&rig, p, x, y, r, first + r, TD_LPU_KEEP, 5 + r);
    pass_row(&rig, p, x, y, r, again + m->install_cycles + r, TD_LPU_ADD | TD_LPU_EMIT, 5 + r);
  }
  rig_ready(&rig);
  fill_weights(&rig, p, "w", &one, &seed);
  fill_weights(&rig, p, "v", &two, &seed);
  fill_rows(&rig, p, &one, &seed);
  memcpy(two.x, one.x, sizeof one.x);
  rig_run(&rig);
  for (int r = 0; r < ROWS; r++) {
    int32_t got[LANES], a[LANES], b[LANES];
    rig_read(&rig, "y", r, got);
    expect_row(p, &one, r, a);
    expect_row(p, &two, r, b);
    for (int n = 0; n < LANES; n++) {
      if (p->type == TD_LPU_I8) assert_int_equal(got[n], a[n] + b[n]);
      if (p->type != TD_LPU_I8) assert_true(float_of(got[n]) == float_of(a[n]) + float_of(b[n]));
    }
  }
  rig_close(&rig);
}

static void test_two_arrays(void **state) {
  (void)state;
  static const struct product products[] = {{TD_LPU_I8, false, 0, 0, 0, 0, -1},
                                            {TD_LPU_F16, true, 2, 3, 0, 0, -1},
                                            {TD_LPU_W8, false, 0, 0, 0, 0, -1},
                                            {TD_LPU_F8, false, 1, 1, 0, 0, -1},
                                            {TD_LPU_WF8, true, 2, 3, 0, 0, -1}};
  for (size_t i = 0; i < sizeof products / sizeof *products; i++) run_two_arrays(&products[i]);
}

/* The products of a pass are summed in binary64: 60000^2 - 60000^2 + 2^-20 keeps its small part, which binary32 loses.
 */
static void test_wide_sums(void **state) {
  (void)state;
  const struct product p = {TD_LPU_F16, false, 0, 0, 0, 0, -1};
  struct rig rig;
  rig_open(&rig, 1);
  int32_t w = image_w(&rig, &p, "w"), x = image_x(&rig, &p, 1), y = image_y(&rig, &p, 1);
  int32_t install = load_all(&rig, &p, w, LOAD_AT);
  hand_install(rig.code, install, 0, 0);
  pass_row(&rig, &p, x, y, 0, install + rig.machine->install_cycles, TD_LPU_EMIT, 0);
  rig_ready(&rig);
  double weights[LANES], factors[LANES] = {60000, -60000, 0x1p-10, 1};
  for (int k = 0; k < 16; k++) {
    for (int n = 0; n < LANES; n++) weights[n] = k < 2 ? 60000 : k == 2 ? 0x1p-10 : 0;
    write_row(&rig, "w", k, weights, TD_LPU_F16);
  }
  write_row(&rig, "x", 0, factors, TD_LPU_F16);
  rig_run(&rig);
  float got[LANES];
  rig_read(&rig, "y", 0, got);
  for (int n = 0; n < LANES; n++) assert_true(got[n] == 0x1p-20f);
  rig_close(&rig);
}

/* A sum of FP8 products is exact before it is rounded: 448 * 448 and 2^-18, which binary32 does not hold together. And
 * a NaN is what it meets: in the weights that of its lane, in the activations all. */
static void run_fp8(bool odd_weight, bool odd_x) {
  const struct product p = {TD_LPU_F8, false, 0, 0, 0, 0, 1}; /* the second step is not loaded */
  struct rig rig;
  rig_open(&rig, 1);
  int32_t w = image_w(&rig, &p, "w"), x = image_x(&rig, &p, 1), y = image_y(&rig, &p, 1);
  int32_t install = load_all(&rig, &p, w, LOAD_AT);
  hand_install(rig.code, install, 0, 0);
  pass_row(&rig, &p, x, y, 0, install + rig.machine->install_cycles, TD_LPU_EMIT, 0);
  rig_ready(&rig);
  double weights[LANES], factors[LANES] = {448, -448, 0x1p-9};
  if (odd_x) factors[20] = (double)NAN; /* meets a zero */
  for (int k = 0; k < 16; k++) {
    for (int n = 0; n < LANES; n++) weights[n] = k < 2 ? 448 : k == 2 ? 0x1p-9 : 0;
    if (odd_weight && k == 9) weights[5] = (double)NAN; /* times zero */
    write_row(&rig, "w", k, weights, TD_LPU_F8);
  }
  write_row(&rig, "x", 0, factors, TD_LPU_F8);
  rig_run(&rig);
  uint32_t got[LANES];
  rig_read(&rig, "y", 0, got);
  for (int n = 0; n < LANES; n++) {
    assert_int_equal(got[n], odd_x || (odd_weight && n == 5) ? TD_LPU_NAN : td_lpu_bits(0x1p-18f));
  }
  rig_close(&rig);
}

static void test_fp8(void **state) {
  (void)state;
  run_fp8(false, false);
  run_fp8(true, false);
  run_fp8(false, true);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_products), cmocka_unit_test(test_two_arrays),
                                     cmocka_unit_test(test_wide_sums), cmocka_unit_test(test_fp8)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
