/* SPDX-License-Identifier: Apache-2.0
 *
 * Programs that are right but for one thing, which the emulator must name.
 */
#include "lpu/rig.h"

#define LANES 32
#define READ_AT 80

/* One program that touches most units: loads two steps, installs, passes one row, keeps it, passes it again and adds,
 * converts the sums on the vector unit and stores them. */
struct scene {
  struct rig rig;
  int32_t load[2], install, pass[2], sum[2], feed, alu, store;
};

static void build_sums(struct scene *at) {
  struct rig *rig = &at->rig;
  const struct td_lpu_machine *m = rig->machine;
  int32_t x = rig_image(rig, "x", TD_LPU_I8, 0, 0, 32, 1, LANES, 0),
          y = rig_image(rig, "y", TD_LPU_I8, 0, 1, 0, 1, LANES, 0);
  int32_t middle = td_lpu_vector_position(m), issue = hand_at(rig->code, at->install)->cycle + m->install_cycles,
          sum = 0;
  for (int i = 0; i < 2; i++) {
    at->feed = rig_feed(rig, x, 0, 0, issue + i + m->delay[TD_LPU_PASS].skew, 0);
    at->pass[i] = hand_pass(rig->code, issue + i, 0, 0, TD_LPU_I8, at->feed, 0);
    sum = issue + i + m->delay[TD_LPU_PASS].func;
    at->sum[i] =
        hand_sum(rig->code, sum, 0, 0, TD_LPU_I32, i ? TD_LPU_ADD | TD_LPU_EMIT : TD_LPU_KEEP, 3, TD_LPU_EAST | 4);
  }
  int32_t passes = sum + m->delay[TD_LPU_SUM].func + middle,
          out = passes - m->delay[TD_LPU_ALU].skew + m->alu_func[TD_ALU_MOVE];
  at->alu = hand_alu(rig->code, passes - m->delay[TD_LPU_ALU].skew, 0, 1, TD_ALU_MOVE, TD_LPU_I8, TD_LPU_EAST | 9);
  hand_from(rig->code, at->alu, 0, TD_LPU_I32, TD_LPU_EAST | 4);
  rig_store(rig, y, 0, middle, out, 9);
}

static void begin_scene(struct scene *at) {
  *at = (struct scene){.feed = 0};
  rig_open(&at->rig, 1);
  const struct td_lpu_machine *m = at->rig.machine;
  int32_t w = rig_image(&at->rig, "w", TD_LPU_I8, 0, 0, 0, 32, LANES, 16), landed = 0;
  for (int32_t c = 0; c < 2; c++) {
    int32_t issue = READ_AT + c - m->delay[TD_LPU_LOAD].skew;
    at->load[c] = hand_load(at->rig.code, issue, 0, 0, TD_LPU_I8, c, rig_feed(&at->rig, w, c, 0, READ_AT + c, 0));
    landed = issue + m->delay[TD_LPU_LOAD].func;
  }
  at->install = hand_install(at->rig.code, landed, 0, 0);
  build_sums(at);
}

static struct td_lpu_instruction *op(struct scene *at, int32_t handle) {
  return hand_at(at->rig.code, handle);
}

/* A copy of instruction `handle`, which the caller changes. */
static struct td_lpu_instruction *another(struct scene *at, int32_t handle) {
  struct td_lpu_instruction copy = *op(at, handle);
  struct td_lpu_instruction *added = op(at, hand_install(at->rig.code, 0, 0, 0));
  *added = copy;
  return added;
}

static void late_operand(struct scene *at) {
  op(at, at->load[1])->cycle++;
  op(at, at->install)->cycle++;
}
static void late_alu(struct scene *at) {
  op(at, at->alu)->cycle--;
}
static void wrong_direction(struct scene *at) {
  op(at, at->alu)->in[0] = 4;
}
static void early_pass(struct scene *at) {
  op(at, at->install)->cycle = op(at, at->pass[1])->cycle + 1;
}
static void pass_in_install(struct scene *at) {
  op(at, at->install)->cycle++;
}
static void no_loads(struct scene *at) {
  op(at, at->install)->cycle = op(at, at->load[0])->cycle;
}
static void other_plane(struct scene *at) {
  op(at, at->install)->queue = (uint16_t)td_lpu_matrix_queue(at->rig.machine, 1, TD_MATRIX_INSTALL);
}
static void same_step(struct scene *at) {
  op(at, at->load[1])->address[0] = 0;
}
static void no_such_step(struct scene *at) {
  op(at, at->load[1])->address[0] = 2;
}
static void mixed_type(struct scene *at) {
  op(at, at->load[1])->type = TD_LPU_W8;
  op(at, at->load[1])->queue = (uint16_t)td_lpu_matrix_queue(at->rig.machine, 1, TD_MATRIX_LOAD);
}
static void fp8_load(struct scene *at) {
  op(at, at->load[1])->type = TD_LPU_F8;
}
static void fp8_pass(struct scene *at) {
  op(at, at->pass[0])->type = TD_LPU_F8;
}
static void fp8_sum(struct scene *at) {
  op(at, at->sum[0])->type = TD_LPU_F8;
}
static void other_type(struct scene *at) {
  op(at, at->pass[1])->type = TD_LPU_F16;
}
static void float_sum(struct scene *at) {
  op(at, at->sum[1])->type = TD_LPU_F32;
}
static void late_sum(struct scene *at) {
  op(at, at->sum[1])->cycle++;
}
static void never_kept(struct scene *at) {
  op(at, at->sum[0])->address[0] = 4;
}
static void no_accumulator(struct scene *at) {
  op(at, at->sum[1])->address[0] = 32;
}
static void two_producers(struct scene *at) {
  struct td_lpu_instruction *twin = another(at, at->alu);
  twin->queue++;
}
static void no_chain(struct scene *at) {
  struct td_lpu_instruction *twin = another(at, at->alu);
  twin->queue++;
  twin->source[0] = TD_SOURCE_CHAIN;
  twin->in[0] = 1;
}
static void busy_queue(struct scene *at) {
  op(at, at->pass[0])->repeat = 2;
}
static void past_the_end(struct scene *at) {
  op(at, at->alu)->cycle += 100;
}
static void wrong_queue(struct scene *at) {
  op(at, at->alu)->queue = 0;
}
static void no_such_queue(struct scene *at) {
  op(at, at->alu)->queue = 124;
}
static void odd_pair(struct scene *at) {
  op(at, at->pass[1])->type = TD_LPU_F16;
  op(at, at->pass[1])->in[0] = 1;
}
static void no_such_stream(struct scene *at) {
  op(at, at->alu)->out = 32;
}
static void float_operand(struct scene *at) {
  op(at, at->alu)->operation = TD_ALU_EXP;
}
static void float_result(struct scene *at) {
  op(at, at->alu)->out_type = TD_LPU_F16;
  op(at, at->alu)->out = TD_LPU_EAST | 8;
}
static void nothing(struct scene *at) {
  (void)at;
}
static void big_sums(struct scene *at) {
  op(at, at->sum[1])->flags = TD_LPU_EMIT | TD_LPU_ADD;
}

static const struct {
  void (*change)(struct scene *at);
  int8_t weight;
  const char *words; /* NULL: runs */
} scenes[] = {
    {nothing, 1, NULL},
    {late_operand, 1,
     "chip 0, queue 96 (plane 0 load), cycle 82 (82 of segment bench): ARRIVE: found nothing on stream west"},
    {late_alu, 1, "ARRIVE: found nothing on stream east 4 at position 12, expected an operand of alu"},
    {wrong_direction, 1, "ARRIVE: found nothing on stream west 4"},
    {early_pass, 1, "INSTALL: found no array"},
    {pass_in_install, 1, "INSTALL: found a pass in an install's 2 slots"},
    {no_loads, 1, "BUFFER: found an empty weight buffer"},
    {other_plane, 1, "BUFFER: found an empty weight buffer"},
    {same_step, 1, "BUFFER: found step 0 of the weight buffer loaded twice"},
    {no_such_step, 1, "BUFFER: found step 2 of the weight buffer, expected 0..1"},
    {mixed_type, 1, "BUFFER: found a load of another type or orientation"},
    {other_type, 1, "INSTALL: found another array, expected one of type f16"},
    {fp8_load, 1, "BUFFER: found a load of another type or orientation"},
    {fp8_pass, 1, "INSTALL: found another array, expected one of type f8"},
    {fp8_sum, 1, "SUM: found no pass in cycle"},
    {float_sum, 1, "SUM: found no pass in cycle"},
    {late_sum, 1, "SUM: found no pass in cycle"},
    {never_kept, 1, "SUM: accumulator 3 was never kept"},
    {no_accumulator, 1, "SUM: found accumulator 32, expected 0..31"},
    {two_producers, 1, "STREAM: found two results on stream east 9 at position 12 in one cycle"},
    {no_chain, 1, "ARRIVE: found no result of ALU 1"},
    {busy_queue, 1, "QUEUE: the queue is busy until cycle"},
    {past_the_end, 1, "SEGMENT: ends in cycle"},
    {wrong_queue, 1, "the opcode does not belong into this queue"},
    {no_such_queue, 1, "the opcode does not belong into this queue"},
    {odd_pair, 1, "found an operand on 2 streams from 1 (0x01), expected them among 32 and a multiple of 2"},
    {no_such_stream, 1, "found a result on 1 streams from 32"},
    {float_operand, 1, "found an operand of type 3 for exp"},
    {float_result, 1, "found an integer result going out as type 1"},
    {big_sums, 4, "ALU: a lane of move in its result's type is out of range"},
};

static void test_scenes(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof scenes / sizeof *scenes; i++) {
    struct scene at;
    int8_t row[LANES];
    begin_scene(&at);
    scenes[i].change(&at);
    rig_ready(&at.rig);
    memset(row, scenes[i].weight, sizeof row);
    for (int k = 0; k < LANES; k++) rig_write(&at.rig, "w", k, row);
    rig_write(&at.rig, "x", 0, row);
    if (scenes[i].words) rig_refused(&at.rig, scenes[i].words);
    if (!scenes[i].words) rig_run(&at.rig);
    if (!scenes[i].words) {
      rig_read(&at.rig, "y", 0, row);
      for (int n = 0; n < LANES; n++) assert_int_equal(row[n], 64);
    }
    rig_close(&at.rig);
  }
}

static void test_no_fp8(void **state) {
  (void)state;
  static void (*const changes[])(struct scene * at) = {fp8_load, fp8_pass, fp8_sum};
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    struct scene at;
    begin_scene(&at);
    changes[i](&at);
    rig_ready(&at.rig);
    at.rig.program->machine.fp8 = 0;
    rig_refused(&at.rig, "found FP8, which lpu-tiny does not have");
    rig_close(&at.rig);
  }
}

static void test_orientations(void **state) {
  (void)state;
  struct rig rig;
  rig_open(&rig, 1);
  const struct td_lpu_machine *m = rig.machine;
  int32_t w = rig_image(&rig, "w", TD_LPU_I8, 0, 0, 0, 32, LANES, 16), skew = m->delay[TD_LPU_LOAD].skew;
  hand_load(rig.code, READ_AT - skew, 0, 0, TD_LPU_I8, 0, rig_feed(&rig, w, 0, 0, READ_AT, 0));
  hand_load_columns(rig.code, READ_AT + 1 - skew, 0, 0, TD_LPU_I8, 1, rig_feed(&rig, w, 1, 0, READ_AT + 1, 0), 0);
  rig.last = READ_AT + 1 - skew + m->delay[TD_LPU_LOAD].func + m->transpose_cycles;
  rig_ready(&rig);
  rig_refused(&rig, "BUFFER: found a load of another type or orientation");
  rig_close(&rig);
}

/* ---- numbers out of range ---- */

struct range_case {
  enum td_lpu_alu operation;
  enum td_lpu_type in, out;
  double a, b;
  const char *words; /* NULL: fits */
};
static const struct range_case ranges[] = {
    {TD_ALU_ADD, TD_LPU_F32, TD_LPU_F16, 65500, 19, NULL},
    {TD_ALU_ADD, TD_LPU_F32, TD_LPU_F16, 65500, 20, "ALU: a lane of add in its result's type is out of range"},
    {TD_ALU_MUL, TD_LPU_F32, TD_LPU_F16, 1e30, -1e30, "a lane of mul in its result's type"},
    {TD_ALU_MUL, TD_LPU_F32, TD_LPU_F32, 1e30, -1e30, NULL},
    {TD_ALU_MUL, TD_LPU_F32, TD_LPU_I8, 63.6, 2, NULL},
    {TD_ALU_MUL, TD_LPU_F32, TD_LPU_I8, 63.75, 2, "a lane of mul in its result's type"},
    {TD_ALU_MUL, TD_LPU_F32, TD_LPU_F8, -232, 2, NULL},
    {TD_ALU_MUL, TD_LPU_F32, TD_LPU_F8, 232.25, 2, "a lane of mul in its result's type is out of range"},
    {TD_ALU_TO_I32, TD_LPU_F32, TD_LPU_I32, 2147483520.0, 0, NULL},
    {TD_ALU_TO_I32, TD_LPU_F32, TD_LPU_I32, 2147483648.0, 0, "a lane of to_i32 as an integer is out of range"},
    {TD_ALU_ADD_I32, TD_LPU_I32, TD_LPU_I32, 2147483647, 0, NULL},
    {TD_ALU_ADD_I32, TD_LPU_I32, TD_LPU_I32, 2147483647, 1, "a lane of add_i32 as an integer"},
    {TD_ALU_SUB_I32, TD_LPU_I32, TD_LPU_I32, -2147483648.0, 1, "a lane of sub_i32 as an integer"},
    {TD_ALU_SUB_I32, TD_LPU_I32, TD_LPU_I8, -100, 28, NULL},
    {TD_ALU_SUB_I32, TD_LPU_I32, TD_LPU_I8, -100, 29, "a lane of sub_i32 in its result's type"},
    {TD_ALU_SHIFT_I32, TD_LPU_I32, TD_LPU_I32, 1, 31, NULL},
    {TD_ALU_SHIFT_I32, TD_LPU_I32, TD_LPU_I32, 1, 32, "a lane of shift_i32 as an integer"},
};

static void run_range(const struct range_case *test) {
  struct rig rig;
  rig_open(&rig, 1);
  const struct td_lpu_machine *m = rig.machine;
  int32_t middle = td_lpu_vector_position(m), issue = READ_AT - m->delay[TD_LPU_ALU].skew;
  int32_t y = rig_image(&rig, "y", test->out, 0, 1, 12, 1, LANES, 0);
  int32_t alu = hand_alu(rig.code, issue, 0, 7, test->operation, test->out,
                         rig_store(&rig, y, 0, middle, issue + m->alu_func[test->operation], 8));
  for (int i = 0; i < 2; i++) {
    int32_t image = rig_image(&rig, i ? "b" : "a", test->in, 0, 0, 4 * i, 1, LANES, 0);
    if (i == 0 || test->operation != TD_ALU_TO_I32)
      hand_from(rig.code, alu, i, test->in, rig_feed(&rig, image, 0, middle, READ_AT, 4 * i));
  }
  rig_ready(&rig);
  for (int i = 0; i < 2; i++) {
    union {
      int32_t whole[LANES];
      float real[LANES];
    } values = {{0}};
    double value = i ? test->b : test->a;
    if (test->in == TD_LPU_F32) values.real[17] = (float)value;
    if (test->in == TD_LPU_I32) values.whole[17] = (int32_t)value;
    rig_write(&rig, i ? "b" : "a", 0, &values);
  }
  if (test->words) rig_refused(&rig, test->words);
  if (!test->words) rig_run(&rig);
  rig_close(&rig);
}

static void test_ranges(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) run_range(&ranges[i]);
}

/* An int32 accumulator that takes the same row until it wraps: 32 * 128 * 128 = 2^19 each time, 4,096 times. */
static void run_until_wrap(int32_t times, const char *words) {
  struct rig rig;
  rig_open(&rig, 1);
  const struct td_lpu_machine *m = rig.machine;
  int32_t w = rig_image(&rig, "w", TD_LPU_I8, 0, 0, 0, 32, LANES, 16),
          x = rig_image(&rig, "x", TD_LPU_I8, 0, 0, 32, 1, LANES, 0);
  int32_t landed = 0;
  for (int32_t c = 0; c < 2; c++) {
    int32_t issue = READ_AT + c - m->delay[TD_LPU_LOAD].skew;
    hand_load(rig.code, issue, 0, 0, TD_LPU_I8, c, rig_feed(&rig, w, c, 0, READ_AT + c, 0));
    landed = issue + m->delay[TD_LPU_LOAD].func;
  }
  hand_install(rig.code, landed, 0, 0);
  int32_t issue = landed + m->install_cycles, sum = issue + m->delay[TD_LPU_PASS].func;
  int32_t hops = td_lpu_memory_position(m, 0, 32), skew = m->delay[TD_LPU_PASS].skew;
  int32_t read = hand_read(rig.code, issue + skew - hops - m->delay[TD_LPU_MEMORY].func, x, 0, 0, 20);
  hand_repeat(rig.code, read, times, 1, 0);
  hand_repeat(rig.code, hand_pass(rig.code, issue, 0, 0, TD_LPU_I8, 20, 0), times, 1, 0);
  hand_sum(rig.code, sum, 0, 0, TD_LPU_I32, TD_LPU_KEEP, 0, TD_LPU_NO_STREAM);
  int32_t more = hand_sum(rig.code, sum + 1, 0, 0, TD_LPU_I32, TD_LPU_ADD | TD_LPU_KEEP, 0, TD_LPU_NO_STREAM);
  hand_repeat(rig.code, more, times - 1, 1, 0);
  rig.last = sum + times - 1;
  rig_ready(&rig);
  int8_t row[LANES];
  memset(row, -128, sizeof row);
  for (int k = 0; k < LANES; k++) rig_write(&rig, "w", k, row);
  rig_write(&rig, "x", 0, row);
  if (words) rig_refused(&rig, words);
  if (!words) rig_run(&rig);
  rig_close(&rig);
}

static void test_wrapping(void **state) {
  (void)state;
  run_until_wrap(4095, NULL);
  run_until_wrap(4096, "SUM: a lane of accumulator 0 wraps");
}

/* ---- memory, seams, links ---- */

static void run_memory(int32_t read, int32_t write, int32_t patch, const char *words) {
  struct rig rig;
  rig_open(&rig, 1);
  const struct td_lpu_machine *m = rig.machine;
  int32_t a = rig_image(&rig, "a", TD_LPU_I8, 0, 0, 5, 1, LANES, 0),
          source = rig_image(&rig, "b", TD_LPU_I8, 0, 0, 12, 1, LANES, 0);
  int32_t passes = m->delay[TD_LPU_MEMORY].func + 2;
  hand_read(rig.code, 0, source, 0, 0, TD_LPU_EAST | 2);
  int32_t both = hand_read(rig.code, passes - m->memory_write_skew, a, 0, 0, 9);
  hand_also_write(rig.code, both, a, 0, TD_LPU_EAST | 2);
  hand_at(rig.code, both)->address[0] = read;
  hand_at(rig.code, both)->address[1] = write;
  struct td_lpu_patch by = {.coefficient = {[TD_VAR_LAYER] = patch}, .high = {[TD_VAR_LAYER] = 1}, .lane = -1};
  hand_patched(rig.code, both, 0, hand_patch(rig.code, &by));
  hand_entry(rig.code, 1);
  hand_loop(rig.code, TD_VAR_LAYER, 1, 1);
  hand_run(rig.code, 0, 0);
  hand_end(rig.code);
  rig_build(&rig);
  rig.last = passes - m->memory_write_skew + m->delay[TD_LPU_MEMORY].func;
  rig.program->segments[0].length = rig.last + 1;
  if (words) rig_refused(&rig, words);
  if (!words) rig_run(&rig);
  rig_close(&rig);
}

static void test_memory(void **state) {
  (void)state;
  run_memory(0, 256, 0, NULL);
  run_memory(0, 255, 0, "PORT: found a read of word 0 and a write of word 255 in one cycle, both in bank 0");
  run_memory(300, 511, 0, "PORT: found a read of word 300 and a write of word 511");
  run_memory(0, 512, 0, "ADDRESS: found word 512, expected 0..511");
  run_memory(-1, 300, 0, "ADDRESS: found word -1, expected 0..511");
  run_memory(5, 300, 507, "ADDRESS: found word 512, expected 0..511");
}

/* What segment 0 leaves on a stream is not there in segment 1. */
static void test_seam(void **state) {
  (void)state;
  struct rig rig;
  rig_open(&rig, 1);
  const struct td_lpu_machine *m = rig.machine;
  int32_t a = rig_image(&rig, "a", TD_LPU_I8, 0, 0, 39, 1, LANES, 0),
          b = rig_image(&rig, "b", TD_LPU_I8, 0, 1, 39, 1, LANES, 0);
  int32_t length = m->delay[TD_LPU_MEMORY].func + 1;
  int32_t passes = m->delay[TD_LPU_MEMORY].func + td_lpu_memory_position(m, 1, 39) - td_lpu_memory_position(m, 0, 39);
  hand_read(rig.code, 0, a, 0, 0, TD_LPU_EAST);
  hand_segment(rig.code, "after", 0);
  hand_write(rig.code, passes - m->memory_write_skew - length, b, 0, 0, TD_LPU_EAST);
  hand_entry(rig.code, 1);
  hand_run(rig.code, 0, 0);
  hand_run(rig.code, 1, 0);
  rig_build(&rig);
  rig.program->segments[0].length = length;
  rig.program->segments[1].length = 100;
  rig_refused(&rig, "of segment after): ARRIVE: found nothing on stream east 0");
  rig_refused(&rig, "of segment after): ARRIVE: found nothing on stream east 0"); /* nor after a step that failed */
  rig_close(&rig);
}

static void run_link(int32_t spacing, int32_t late, int32_t link, const char *words) {
  struct rig rig;
  rig_open(&rig, 2);
  const struct td_lpu_machine *m = rig.machine;
  int32_t x = rig_image(&rig, "x", TD_LPU_I8, 0, 0, 2, 1, LANES, 0),
          y = rig_image(&rig, "y", TD_LPU_I8, 1, 1, 2, 1, LANES, 0);
  int32_t skew = m->delay[TD_LPU_SEND].skew, arrives = READ_AT + m->link_latency + late;
  for (int i = 0; i < 2; i++) {
    int32_t issue = READ_AT + i * spacing;
    hand_send(rig.code, issue, 0, link, rig_feed(&rig, x, 0, 0, issue + skew, 3));
  }
  int32_t out = rig_store(&rig, y, 0, td_lpu_matrix_position(m, 1), arrives + m->delay[TD_LPU_RECEIVE].func, 3);
  hand_receive(rig.code, arrives, 1, 1, out);
  rig_ready(&rig);
  if (words) rig_refused(&rig, words);
  if (!words) rig_run(&rig);
  rig_close(&rig);
}

static void test_links(void **state) {
  (void)state;
  run_link(8, 0, 0, NULL); /* 40 bytes at 5 a cycle */
  run_link(7, 0, 0, "LINK: found a vector 7 cycles after the one before, expected 8");
  run_link(8, 1, 0, "LINK: found nothing that chip 0 sent on its link 0 40 cycles before");
  run_link(8, 0, 2, "LINK: link 2 of a system of 2 chips is not wired");
  run_link(8, 0, 3, "found link 3, expected one of the 3 wired ones");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_scenes), cmocka_unit_test(test_no_fp8),   cmocka_unit_test(test_orientations),
      cmocka_unit_test(test_ranges), cmocka_unit_test(test_wrapping), cmocka_unit_test(test_memory),
      cmocka_unit_test(test_seam),   cmocka_unit_test(test_links),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
