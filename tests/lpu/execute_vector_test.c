/* SPDX-License-Identifier: Apache-2.0
 *
 * The vector unit and the switch, one operation at a time, from SRAM to SRAM, against plain C.
 */
#include <math.h>

#include "lpu/rig.h"
#include "tandem/kernels.h"
#include "tandem/lpu_math.h"

#define LANES 32
#define READ_AT 80 /* the cycle in which operands pass the unit under test */

/* ---- one ALU operation ---- */

/* Values as an image of their type holds them. */
struct values {
  enum td_lpu_type type;
  double at[LANES]; /* of all types but F32 exact; F32 are floats */
};

static void store_values(struct rig *rig, const char *image, const struct values *values) {
  uint8_t bytes[LANES * 4];
  for (int i = 0; i < LANES; i++) {
    float real = (float)values->at[i];
    int32_t whole = (int32_t)(values->type == TD_LPU_F32 || values->type == TD_LPU_F16 ? 0 : values->at[i]);
    uint16_t half = td_float_to_half(real);
    int8_t small = (int8_t)whole;
    switch (values->type) {
      case TD_LPU_F32:
        memcpy(bytes + 4 * i, &real, 4);
        break;
      case TD_LPU_I32:
        memcpy(bytes + 4 * i, &whole, 4);
        break;
      case TD_LPU_F16:
        memcpy(bytes + 2 * i, &half, 2);
        break;
      case TD_LPU_F8:
        bytes[i] = td_lpu_f32_to_f8(real);
        break;
      default:
        memcpy(bytes + i, &small, 1);
        break;
    }
  }
  rig_write(rig, image, 0, bytes);
}

static double value_of(const uint8_t *bytes, enum td_lpu_type type) {
  float real;
  int32_t whole;
  uint16_t half;
  switch (type) {
    case TD_LPU_F32:
      memcpy(&real, bytes, 4);
      return (double)real;
    case TD_LPU_I32:
      memcpy(&whole, bytes, 4);
      return whole;
    case TD_LPU_F16:
      memcpy(&half, bytes, 2);
      return (double)td_half_to_float(half);
    case TD_LPU_F8:
    case TD_LPU_WF8:
      return (double)td_lpu_f8_to_f32(*bytes);
    default:
      return (int8_t)*bytes;
  }
}

struct alu_case {
  enum td_lpu_alu operation;
  enum td_lpu_type in, out;
  int operands;
  double scale; /* of the operands' noise */
  double (*exact)(double a, double b, double c);
  double ulps; /* 0: exact after rounding to the type */
};

static double add(double a, double b, double c) {
  return a + b + 0 * c;
}
static double sub(double a, double b, double c) {
  return a - b + 0 * c;
}
static double mul(double a, double b, double c) {
  return a * b + 0 * c;
}
static double larger(double a, double b, double c) {
  return (a > b ? a : b) + 0 * c;
}
static double smaller(double a, double b, double c) {
  return (a < b ? a : b) + 0 * c;
}
static double same(double a, double b, double c) {
  return a + 0 * (b + c);
}
static double size(double a, double b, double c) {
  return fabs(a) + 0 * (b + c);
}
static double select_le(double a, double b, double c) {
  return a <= b ? c : -7.25;
}
static double power(double a, double b, double c) {
  return exp(a) + 0 * (b + c);
}
static double root(double a, double b, double c) {
  return 1 / sqrt(fabs(a)) + 0 * (b + c);
}
static double inverse(double a, double b, double c) {
  return 1 / a + 0 * (b + c);
}
static double tangent(double a, double b, double c) {
  return tanh(a) + 0 * (b + c);
}
static double logistic(double a, double b, double c) {
  return 1 / (1 + exp(-a)) + 0 * (b + c);
}
static double nearest(double a, double b, double c) {
  return nearbyint(a) + 0 * (b + c);
}
static double shifted(double a, double b, double c) {
  (void)c;
  return b >= 0 ? a * ldexp(1, (int)b) : floor(ldexp(a, (int)b));
}

static const struct alu_case alu_cases[] = {
    {TD_ALU_MOVE, TD_LPU_F32, TD_LPU_F32, 1, 3, same, 0},
    {TD_ALU_MOVE, TD_LPU_I8, TD_LPU_I8, 1, 127, same, 0},
    {TD_ALU_MOVE, TD_LPU_I8, TD_LPU_I32, 1, 127, same, 0},
    {TD_ALU_MOVE, TD_LPU_W8, TD_LPU_F16, 1, 127, same, 0},
    {TD_ALU_MOVE, TD_LPU_I32, TD_LPU_I8, 1, 127, same, 0},
    {TD_ALU_MOVE, TD_LPU_F16, TD_LPU_F32, 1, 3, same, 0},
    {TD_ALU_MOVE, TD_LPU_F32, TD_LPU_F16, 1, 3, same, 0},
    {TD_ALU_MOVE, TD_LPU_F32, TD_LPU_I8, 1, 127, nearest, 0},
    {TD_ALU_MOVE, TD_LPU_F32, TD_LPU_W8, 1, 127, nearest, 0},
    {TD_ALU_MOVE, TD_LPU_F8, TD_LPU_F8, 1, 448, same, 0},
    {TD_ALU_MOVE, TD_LPU_F8, TD_LPU_F32, 1, 448, same, 0},
    {TD_ALU_MOVE, TD_LPU_F32, TD_LPU_F8, 1, 448, same, 0},
    {TD_ALU_MUL, TD_LPU_F8, TD_LPU_F32, 2, 448, mul, 0},
    {TD_ALU_MUL, TD_LPU_F8, TD_LPU_WF8, 2, 20, mul, 0},
    {TD_ALU_ADD, TD_LPU_F32, TD_LPU_F32, 2, 3, add, 0},
    {TD_ALU_ADD, TD_LPU_F16, TD_LPU_F16, 2, 3, add, 0},
    {TD_ALU_ADD, TD_LPU_W8, TD_LPU_F32, 2, 127, add, 0},
    {TD_ALU_SUB, TD_LPU_F32, TD_LPU_F32, 2, 3, sub, 0},
    {TD_ALU_MUL, TD_LPU_F32, TD_LPU_F32, 2, 3, mul, 0},
    {TD_ALU_MUL, TD_LPU_F16, TD_LPU_F32, 2, 3, mul, 0},
    {TD_ALU_MAX, TD_LPU_F32, TD_LPU_F32, 2, 3, larger, 0},
    {TD_ALU_MIN, TD_LPU_F32, TD_LPU_F32, 2, 3, smaller, 0},
    {TD_ALU_ABS, TD_LPU_F32, TD_LPU_F32, 1, 3, size, 0},
    {TD_ALU_SELECT_LE, TD_LPU_F32, TD_LPU_F32, 3, 3, select_le, 0},
    {TD_ALU_EXP, TD_LPU_F32, TD_LPU_F32, 1, 20, power, 1.2},
    {TD_ALU_EXP, TD_LPU_F32, TD_LPU_F16, 1, 9, power, 0.6},
    {TD_ALU_RECIPROCAL, TD_LPU_F32, TD_LPU_F32, 1, 3, inverse, 1.3},
    {TD_ALU_TANH, TD_LPU_F32, TD_LPU_F32, 1, 3, tangent, 1.6},
    {TD_ALU_SIGMOID, TD_LPU_F32, TD_LPU_F32, 1, 9, logistic, 3.2},
    {TD_ALU_TO_I32, TD_LPU_F32, TD_LPU_I32, 1, 1e6, nearest, 0},
    {TD_ALU_TO_I32, TD_LPU_F32, TD_LPU_I8, 1, 127, nearest, 0},
    {TD_ALU_TO_F32, TD_LPU_I32, TD_LPU_F32, 1, 1e9, same, 0},
    {TD_ALU_TO_F32, TD_LPU_I8, TD_LPU_F16, 1, 127, same, 0},
    {TD_ALU_ADD_I32, TD_LPU_I32, TD_LPU_I32, 2, 1e9, add, 0},
    {TD_ALU_SUB_I32, TD_LPU_I32, TD_LPU_I32, 2, 1e9, sub, 0},
    {TD_ALU_SHIFT_I32, TD_LPU_I32, TD_LPU_I32, 2, 14, shifted, 0},
};

static void make_values(struct values *values, const struct alu_case *test, uint32_t *seed) {
  values->type = test->in;
  for (int i = 0; i < LANES; i++) {
    double x = (double)rig_noise(seed) * test->scale;
    if (values->type == TD_LPU_F32) x = (double)(float)x;
    if (values->type == TD_LPU_F16) x = (double)td_half_to_float(td_float_to_half((float)x));
    if (values->type == TD_LPU_F8) x = (double)td_lpu_f8_to_f32(td_lpu_f32_to_f8((float)x));
    bool real = values->type == TD_LPU_F32 || values->type == TD_LPU_F16 || values->type == TD_LPU_F8;
    values->at[i] = real ? x : nearbyint(x);
  }
}

static double off_by(double got, double want, enum td_lpu_type type) {
  if (type == TD_LPU_I8 || type == TD_LPU_W8 || type == TD_LPU_I32) return got == want ? 0 : INFINITY;
  int exponent;
  frexp(want, &exponent);
  bool fp8 = type == TD_LPU_F8 || type == TD_LPU_WF8;
  if (fp8 && exponent < -5) exponent = -5;
  return fabs(got - want) / ldexp(1, exponent - (type == TD_LPU_F16 ? 11 : fp8 ? 4 : 24));
}

static void check_alu(const struct alu_case *test, const struct values *in, const uint8_t *bytes) {
  for (int i = 0; i < LANES; i++) {
    double want = test->exact(in[0].at[i], test->operands > 1 ? in[1].at[i] : 0, test->operands > 2 ? in[2].at[i] : 0);
    double got = value_of(bytes + i * td_lpu_type_bytes(test->out), test->out);
    double off = off_by(got, want, test->out), most = test->ulps > 0 ? test->ulps : 0.5;
    if (!(off <= most)) {
      fail_msg("%s of %g, %g: found %.9g, expected %.9g", td_lpu_alu_name(test->operation), in[0].at[i], in[1].at[i],
               got, want);
    }
  }
}

static void run_alu(const struct alu_case *test, int32_t alu) {
  struct rig rig;
  struct values in[3] = {{0}};
  const char *const names[] = {"a", "b", "c"};
  uint8_t bytes[LANES * 4];
  uint32_t seed = (uint32_t)alu * 77 + (uint32_t)test->operation;
  rig_open(&rig, 1);
  const struct td_lpu_machine *m = rig.machine;
  int32_t middle = td_lpu_vector_position(m), issue = READ_AT - m->delay[TD_LPU_ALU].skew;
  int32_t y = rig_image(&rig, "y", test->out, 0, 1, 3, 1, LANES, 0);
  int32_t out = rig_store(&rig, y, 0, middle, issue + m->alu_func[test->operation], 4);
  int32_t op = hand_alu(rig.code, issue, 0, alu, test->operation, test->out, out);
  if (test->operation == TD_ALU_SELECT_LE) hand_value(rig.code, op, 2, -7.25f);
  for (int i = 0; i < test->operands; i++) {
    int32_t image = rig_image(&rig, names[i], test->in, 0, i % 2, 4 + 4 * i, 1, LANES, 0);
    hand_from(rig.code, op, i, test->in, rig_feed(&rig, image, 0, middle, READ_AT, 8 * i));
    make_values(&in[i], test, &seed);
  }
  rig_ready(&rig);
  for (int i = 0; i < test->operands; i++) store_values(&rig, names[i], &in[i]);
  rig_run(&rig);
  assert_int_equal(rig.counts.issued[TD_LPU_ALU], 1);
  rig_read(&rig, "y", 0, bytes);
  check_alu(test, in, bytes);
  rig_close(&rig);
}

static void test_operations(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof alu_cases / sizeof *alu_cases; i++) run_alu(&alu_cases[i], (int32_t)i % 16);
}

static void test_rsqrt(void **state) {
  (void)state;
  struct rig rig;
  rig_open(&rig, 1);
  const struct td_lpu_machine *m = rig.machine;
  int32_t middle = td_lpu_vector_position(m), issue = READ_AT - m->delay[TD_LPU_ALU].skew;
  int32_t x = rig_image(&rig, "x", TD_LPU_F32, 0, 0, 0, 1, LANES, 0),
          y = rig_image(&rig, "y", TD_LPU_F32, 0, 0, 4, 1, LANES, 0);
  int32_t out = rig_store(&rig, y, 0, middle, issue + m->alu_func[TD_ALU_RSQRT], 0);
  int32_t op = hand_alu(rig.code, issue, 0, 2, TD_ALU_RSQRT, TD_LPU_F32, out);
  hand_from(rig.code, op, 0, TD_LPU_F32, rig_feed(&rig, x, 0, middle, READ_AT, 0));
  rig_ready(&rig);
  float in[LANES], got[LANES];
  for (int i = 0; i < LANES; i++) in[i] = ldexpf(1.25f, i - 16);
  rig_write(&rig, "x", 0, in);
  rig_run(&rig);
  rig_read(&rig, "y", 0, got);
  for (int i = 0; i < LANES; i++) assert_true(off_by((double)got[i], root((double)in[i], 0, 0), TD_LPU_F32) < 1.3);
  rig_close(&rig);
}

/* ---- chains ---- */

/* (a + a) -> exp on another ALU -> * 0.5 on a third: no streams between them. */
static void test_chain(void **state) {
  (void)state;
  struct rig rig;
  rig_open(&rig, 1);
  const struct td_lpu_machine *m = rig.machine;
  int32_t middle = td_lpu_vector_position(m), skew = m->delay[TD_LPU_ALU].skew, issue = READ_AT - skew;
  int32_t x = rig_image(&rig, "x", TD_LPU_F32, 0, 0, 0, 1, LANES, 0),
          y = rig_image(&rig, "y", TD_LPU_F32, 0, 1, 4, 1, LANES, 0);
  int32_t in = rig_feed(&rig, x, 0, middle, READ_AT, 0);
  int32_t op = hand_alu(rig.code, issue, 0, 0, TD_ALU_ADD, TD_LPU_F32, TD_LPU_NO_STREAM);
  hand_from(rig.code, op, 0, TD_LPU_F32, in);
  hand_from(rig.code, op, 1, TD_LPU_F32, in);
  issue += m->alu_func[TD_ALU_ADD] - skew;
  op = hand_alu(rig.code, issue, 0, 5, TD_ALU_EXP, TD_LPU_F32, TD_LPU_NO_STREAM);
  hand_chain(rig.code, op, 0, 0);
  issue += m->alu_func[TD_ALU_EXP] - skew;
  op = hand_alu(rig.code, issue, 0, 0, TD_ALU_MUL, TD_LPU_F32,
                rig_store(&rig, y, 0, middle, issue + m->alu_func[TD_ALU_MUL], 12));
  hand_chain(rig.code, op, 0, 5);
  hand_value(rig.code, op, 1, 0.5f);
  rig_ready(&rig);
  float a[LANES], got[LANES];
  for (int i = 0; i < LANES; i++) a[i] = (float)i * 0.125f;
  rig_write(&rig, "x", 0, a);
  rig_run(&rig);
  assert_int_equal(rig.counts.issued[TD_LPU_ALU], 3);
  assert_int_equal(rig.counts.busy[TD_UNIT_VECTOR], 3);
  rig_read(&rig, "y", 0, got);
  for (int i = 0; i < LANES; i++) assert_true(off_by((double)got[i], 0.5 * exp(2 * (double)a[i]), TD_LPU_F32) < 1.2);
  rig_close(&rig);
}

/* A running sum of rows: an ALU that takes its own result, in a repeated instruction. */
static void test_feedback(void **state) {
  (void)state;
  enum { ROWS = 6 };
  struct rig rig;
  rig_open(&rig, 1);
  const struct td_lpu_machine *m = rig.machine;
  int32_t middle = td_lpu_vector_position(m), skew = m->delay[TD_LPU_ALU].skew, func = m->alu_func[TD_ALU_ADD];
  int32_t gap = func - skew, from = td_lpu_memory_position(m, 0, 0);
  int32_t x = rig_image(&rig, "x", TD_LPU_F32, 0, 0, 0, ROWS, LANES, 0),
          y = rig_image(&rig, "y", TD_LPU_F32, 0, 1, 0, ROWS, LANES, 0);
  for (int32_t s = 0; s < 4; s++) {
    int32_t issue = READ_AT - (middle - from) - m->delay[TD_LPU_MEMORY].func;
    hand_repeat(rig.code, hand_read(rig.code, issue, x, s, 0, TD_LPU_EAST | s), ROWS, gap, 1);
    int32_t passes = READ_AT - skew + func + td_lpu_memory_position(m, 1, 0) - middle;
    hand_repeat(rig.code, hand_write(rig.code, passes - m->memory_write_skew, y, s, 0, TD_LPU_EAST | s), ROWS, gap, 1);
    rig.last = passes + (ROWS - 1) * gap;
  }
  int32_t first = hand_alu(rig.code, READ_AT - skew, 0, 3, TD_ALU_ADD, TD_LPU_F32, TD_LPU_EAST);
  hand_from(rig.code, first, 0, TD_LPU_F32, TD_LPU_EAST);
  hand_value(rig.code, first, 1, 0.0f);
  int32_t more = hand_alu(rig.code, READ_AT - skew + gap, 0, 3, TD_ALU_ADD, TD_LPU_F32, TD_LPU_EAST);
  hand_from(rig.code, more, 0, TD_LPU_F32, TD_LPU_EAST);
  hand_chain(rig.code, more, 1, 3);
  hand_repeat(rig.code, more, ROWS - 1, gap, 0);
  rig_ready(&rig);
  float a[ROWS][LANES], sum[LANES] = {0}, got[LANES];
  uint32_t seed = 5;
  for (int r = 0; r < ROWS; r++) {
    for (int i = 0; i < LANES; i++) a[r][i] = rig_noise(&seed);
    rig_write(&rig, "x", r, a[r]);
  }
  rig_run(&rig);
  for (int r = 0; r < ROWS; r++) {
    rig_read(&rig, "y", r, got);
    for (int i = 0; i < LANES; i++) {
      sum[i] += a[r][i];
      assert_true(got[i] == sum[i]);
    }
  }
  rig_close(&rig);
}

/* ---- the switch ---- */

struct switch_rig {
  struct rig rig;
  uint8_t in[2][LANES * 4], got[LANES * 4];
};

/* One operation of `type`'s width on images "a" (and "b"), hemisphere `side`. */
static void run_switch(struct switch_rig *test, enum td_lpu_opcode opcode, enum td_lpu_type type, int32_t side,
                       int32_t by, const int16_t *map) {
  struct rig *rig = &test->rig;
  rig_open(rig, 1);
  const struct td_lpu_machine *m = rig->machine;
  int32_t position = td_lpu_switch_position(m, side), width = td_lpu_type_bytes(type),
          issue = READ_AT - m->delay[opcode].skew;
  int32_t a = rig_image(rig, "a", type, 0, side, 0, 1, LANES, 0),
          b = rig_image(rig, "b", type, 0, side, 8, 1, LANES, 0);
  int32_t y = rig_image(rig, "y", type, 0, side, 4, 1, LANES, 0);
  int32_t in = rig_feed(rig, a, 0, position, READ_AT, 0), other = rig_feed(rig, b, 0, position, READ_AT, 4);
  int32_t out = rig_store(rig, y, 0, position, issue + m->delay[opcode].func, 8);
  int32_t number = map ? hand_map(rig->code, map) : 0;
  switch (opcode) {
    case TD_LPU_ROTATE:
      hand_rotate(rig->code, issue, 0, side, width, in, out, by);
      break;
    case TD_LPU_SHIFT:
      hand_shift(rig->code, issue, 0, side, width, in, out, by);
      break;
    case TD_LPU_PERMUTE:
      hand_permute(rig->code, issue, 0, side, width, in, out, number);
      break;
    default:
      hand_select(rig->code, issue, 0, side, width, in, other, out, number);
      break;
  }
  rig_ready(rig);
  for (int i = 0; i < LANES * width; i++) {
    test->in[0][i] = (uint8_t)(i * 7 + 1);
    test->in[1][i] = (uint8_t)(i * 11 + 130);
  }
  rig_write(rig, "a", 0, test->in[0]);
  rig_write(rig, "b", 0, test->in[1]);
  rig_run(rig);
  rig_read(rig, "y", 0, test->got);
  rig_close(rig);
}

static void check_lanes(const struct switch_rig *test, int width, const int *from) {
  static const uint8_t zero[4];
  for (int l = 0; l < LANES; l++) {
    const uint8_t *want = from[l] < 0 ? zero : test->in[from[l] / LANES] + from[l] % LANES * width;
    assert_memory_equal(test->got + l * width, want, (size_t)width);
  }
}

static void test_rotate_and_shift(void **state) {
  (void)state;
  static const int32_t amounts[] = {0, 1, 8, 15, -3, 17, 40, -40};
  static const enum td_lpu_type types[] = {TD_LPU_I8, TD_LPU_F16, TD_LPU_F32};
  for (int c = 0; c < 24; c++) {
    struct switch_rig test;
    int32_t by = amounts[c / 3];
    int from[LANES], width = td_lpu_type_bytes(types[c % 3]);
    run_switch(&test, TD_LPU_ROTATE, types[c % 3], c % 2, by, NULL);
    for (int l = 0; l < LANES; l++) from[l] = l / 16 * 16 + ((l + by) % 16 + 16) % 16;
    check_lanes(&test, width, from);
    run_switch(&test, TD_LPU_SHIFT, types[c % 3], c % 2, by, NULL);
    for (int l = 0; l < LANES; l++) from[l] = l + by >= 0 && l + by < LANES ? l + by : -1;
    check_lanes(&test, width, from);
  }
}

static void test_permute_and_select(void **state) {
  (void)state;
  static const enum td_lpu_type types[] = {TD_LPU_I8, TD_LPU_F16, TD_LPU_F32};
  int16_t map[LANES];
  int from[LANES];
  for (int l = 0; l < LANES; l++) map[l] = (int16_t)(l % 5 == 2 ? -1 : (l * 13 + 3) % LANES);
  for (int c = 0; c < 3; c++) {
    struct switch_rig test;
    run_switch(&test, TD_LPU_PERMUTE, types[c], 0, 0, map);
    for (int l = 0; l < LANES; l++) from[l] = map[l];
    check_lanes(&test, td_lpu_type_bytes(types[c]), from);
    run_switch(&test, TD_LPU_SELECT, types[c], 1, 0, map);
    for (int l = 0; l < LANES; l++) from[l] = map[l] >= 0 ? l : LANES + l;
    check_lanes(&test, td_lpu_type_bytes(types[c]), from);
  }
}

static void test_transpose(void **state) {
  (void)state;
  struct rig rig;
  rig_open(&rig, 1);
  const struct td_lpu_machine *m = rig.machine;
  int32_t position = td_lpu_switch_position(m, 0), issue = READ_AT - m->delay[TD_LPU_TRANSPOSE].skew;
  int32_t x = rig_image(&rig, "x", TD_LPU_I8, 0, 0, 0, 16, LANES, 16),
          y = rig_image(&rig, "y", TD_LPU_I8, 0, 0, 16, 16, LANES, 16);
  int32_t in = rig_feed(&rig, x, 0, position, READ_AT, 0);
  int32_t out = rig_store(&rig, y, 0, position, issue + m->delay[TD_LPU_TRANSPOSE].func, 16);
  hand_transpose(rig.code, issue, 0, 0, in, out);
  rig_ready(&rig);
  uint8_t a[16][LANES], got[LANES];
  for (int r = 0; r < 16; r++) {
    for (int l = 0; l < LANES; l++) a[r][l] = (uint8_t)(r * 37 + l * 5);
    rig_write(&rig, "x", r, a[r]);
  }
  rig_run(&rig);
  for (int r = 0; r < 16; r++) {
    rig_read(&rig, "y", r, got);
    for (int l = 0; l < LANES; l++) assert_int_equal(got[l], a[l % 16][l / 16 * 16 + r]);
  }
  rig_close(&rig);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_operations),
      cmocka_unit_test(test_rsqrt),
      cmocka_unit_test(test_chain),
      cmocka_unit_test(test_feedback),
      cmocka_unit_test(test_rotate_and_shift),
      cmocka_unit_test(test_permute_and_select),
      cmocka_unit_test(test_transpose),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
