/* SPDX-License-Identifier: Apache-2.0
 *
 * Collectives: every rule kept, sums as they should be, cycles as counted in closed form; what is refused.
 */
#include <stdlib.h>
#include <string.h>

#include "lpu/decoder.h"
#include "tandem/base.h"
#include "tandem/kernels.h"
#include "tandem/lpu_collective.h"

struct trial {
  char device[20];
  int32_t chips, vectors, words; /* words: SRAM of the machine; 0: its own */
};

static struct td_lpu_machine machine;
static struct td_device_params *params;

static void open_machine(const struct trial *trial) {
  assert_ok(td_device_params_open(trial->device, &params));
  machine = *td_lpu_machine_of(params);
  if (trial->words) machine.mem_words = trial->words;
  assert_ok(td_lpu_machine_check(&machine));
}

/* Small whole numbers, whose sums are exact in any order, or any. */
static float number(bool whole, int32_t chip, int32_t vector, int32_t lane) {
  uint64_t at = (uint64_t)vector * 1000 + (uint64_t)lane;
  if (whole) return (float)((int)(td_random(3, (uint64_t)chip, at) % 15) - 7);
  return (float)(td_random_unit(3, (uint64_t)chip, at) * 2 - 1);
}

static void write_vector(struct td_lpu_system *system, const char *name, bool whole, int32_t chip, int32_t vector) {
  float row[TD_LPU_MOST_LANES];
  uint16_t half[TD_LPU_MOST_LANES];
  char image[32];
  snprintf(image, sizeof image, "%s.%d", name, chip);
  for (int32_t lane = 0; lane < machine.lanes; lane++) {
    row[lane] = number(whole, chip, vector, lane);
    half[lane] = td_float_to_half(row[lane]);
  }
  bool f16 = system->program->images[0].type == TD_LPU_F16;
  assert_ok(td_lpu_image_write(system, image, vector, f16 ? (void *)half : row));
}

static void read_vector(const struct td_lpu_system *system, int32_t chip, int32_t vector, float *out) {
  uint16_t half[TD_LPU_MOST_LANES];
  char image[32];
  snprintf(image, sizeof image, "y.%d", chip);
  bool f16 = system->program->images[0].type == TD_LPU_F16;
  assert_ok(td_lpu_image_read(system, image, vector, f16 ? (void *)half : out));
  for (int32_t lane = 0; f16 && lane < machine.lanes; lane++) out[lane] = td_half_to_float(half[lane]);
}

static void fill(struct td_lpu_system *system, const struct td_lpu_collective *what, bool whole) {
  for (int32_t chip = 0; chip < what->chips; chip++) {
    for (int32_t v = 0; v < what->vectors; v++) {
      if (what->op == TD_LPU_ALL_REDUCE) write_vector(system, "x", whole, chip, v);
      if (what->op == TD_LPU_BROADCAST && chip == 0) write_vector(system, "y", whole, 0, v);
      if (what->op == TD_LPU_ALL_GATHER && td_lpu_collective_owner(what, v) == chip) {
        write_vector(system, "y", whole, chip, v);
      }
    }
  }
}

static float round_to(enum td_lpu_type type, float value) {
  return type == TD_LPU_F16 ? td_half_to_float(td_float_to_half(value)) : value;
}

/* One after another, rounded behind every eight operands. */
static float sum_of(enum td_lpu_type type, const float *values, int32_t count) {
  float sum = values[0];
  for (int32_t i = 1; i < count; i++) {
    sum += values[i];
    if (i % 7 == 0 || i == count - 1) sum = round_to(type, sum);
  }
  return sum;
}

/* As the header says of BY_LEVELS and DIRECT. */
static float reduced(const struct td_lpu_collective *what, bool whole, int32_t vector, int32_t lane) {
  float values[128], sums[128];
  int32_t count = what->chips, size = 1;
  assert_true(count <= 128);
  for (int32_t chip = 0; chip < count; chip++) values[chip] = round_to(what->type, number(whole, chip, vector, lane));
  for (int32_t l = 0; size < what->chips; l++) {
    int32_t units = what->way == TD_LPU_BY_LEVELS ? machine.level[l].units : what->chips, groups = 0;
    for (int32_t first = 0; first < count; first += units) {
      int32_t some = count - first < units ? count - first : units;
      sums[groups++] = sum_of(what->type, values + first, some);
    }
    memcpy(values, sums, (size_t)groups * sizeof *values);
    count = groups;
    size *= units;
  }
  return values[0];
}

static float expected(const struct td_lpu_collective *what, bool whole, int32_t vector, int32_t lane) {
  if (what->op == TD_LPU_ALL_REDUCE) return reduced(what, whole, vector, lane);
  int32_t owner = what->op == TD_LPU_BROADCAST ? 0 : td_lpu_collective_owner(what, vector);
  return round_to(what->type, number(whole, owner, vector, lane));
}

static void compare(const struct td_lpu_system *system, const struct td_lpu_collective *what, bool whole) {
  float row[TD_LPU_MOST_LANES];
  for (int32_t v = 0; v < what->vectors; v++) {
    for (int32_t lane = 0; lane < machine.lanes; lane += 13) {
      float want = expected(what, whole, v, lane);
      for (int32_t chip = 0; chip < what->chips; chip++) {
        if (lane == 0) read_vector(system, chip, v, row);
        if (lane > 0) break;
        if (memcmp(row, &want, sizeof want)) {
          fail_msg("%s %s: chip %d vector %d: found %g, expected %g", td_lpu_collective_op_name(what->op),
                   td_lpu_collective_way_name(what->way), chip, v, row[0], want);
        }
      }
    }
    /* all lanes of one chip, which differs */
    int32_t chip = v % what->chips;
    read_vector(system, chip, v, row);
    for (int32_t lane = 0; lane < machine.lanes; lane++) {
      float want = expected(what, whole, v, lane);
      assert_memory_equal(&row[lane], &want, sizeof want);
    }
  }
}

static void check(const struct td_lpu_program *program) {
  struct td_lpu_row one = {0, NULL, 0};
  const struct td_lpu_step step = {&one, 1};
  struct td_lpu_violation violation;
  assert_ok(td_lpu_check(program, 0, &step, &violation));
  if (violation.found) fail_msg("%s", violation.text);
}

static void execute(const struct td_lpu_program *program, const struct td_lpu_collective *what, bool whole) {
  struct td_lpu_row one = {0, NULL, 0};
  const struct td_lpu_step step = {&one, 1};
  struct td_lpu_system *system = NULL;
  struct td_lpu_tally *tallies = NULL;
  struct td_lpu_counts counted, closed;
  assert_ok(td_lpu_system_open(program, &system));
  fill(system, what, whole);
  assert_ok(td_lpu_execute(system, 0, &step, &counted));
  compare(system, what, whole);
  assert_ok(td_lpu_program_tallies(program, &tallies));
  assert_ok(td_lpu_program_counts(program, tallies, 0, &step, &closed));
  assert_true(closed.cycles == counted.cycles);
  assert_true(closed.busy[TD_UNIT_LINK] == counted.busy[TD_UNIT_LINK]);
  free(tallies);
  td_lpu_system_close(system);
}

static void try_all(const struct trial *trial) {
  open_machine(trial);
  for (int way = 0; way < TD_LPU_COLLECTIVE_OPS * TD_LPU_COLLECTIVE_WAYS * 2; way++) {
    struct td_lpu_collective what = {
        .op = (enum td_lpu_collective_op)(way % TD_LPU_COLLECTIVE_OPS),
        .way = (enum td_lpu_collective_way)(way / TD_LPU_COLLECTIVE_OPS % TD_LPU_COLLECTIVE_WAYS),
        .type = way % 2 ? TD_LPU_F16 : TD_LPU_F32,
        .chips = trial->chips,
        .vectors = trial->vectors};
    if (!td_lpu_collective_has(&machine, &what)) continue;
    struct td_lpu_program *program = NULL;
    assert_ok(td_lpu_compile_collective(&machine, &what, &program));
    check(program);
    execute(program, &what, what.way == TD_LPU_SCATTERED && what.op == TD_LPU_ALL_REDUCE);
    td_lpu_program_free(program);
  }
  td_device_params_close(params);
}

static void small_systems(void **state) {
  (void)state;
  static const struct trial trials[] = {{"lpu-tiny", 3, 3, 0},        {"lpu-tiny", 4, 1, 0},
                                        {"lpu-tiny-mesh", 9, 2, 0},   {"lpu-tiny-system", 2, 5, 0},
                                        {"lpu-tiny-system", 7, 3, 0}, {"lpu-tiny-system", 18, 4, 0}};
  for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) try_all(&trials[i]);
}

static void v1(void **state) {
  (void)state;
  static const struct trial trials[] = {{"groq-lpu-v1-576", 8, 9, 64}, {"lpx-rack", 20, 2, 16}};
  for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) try_all(&trials[i]);
}

static struct td_lpu_program *compile(const struct td_lpu_collective *what) {
  struct td_lpu_program *program = NULL;
  assert_ok(td_lpu_compile_collective(&machine, what, &program));
  return program;
}

static int64_t cycles_of(const struct td_lpu_program *program) {
  struct td_lpu_row one = {0, NULL, 0};
  const struct td_lpu_step step = {&one, 1};
  struct td_lpu_tally *tallies = NULL;
  struct td_lpu_counts counts;
  assert_ok(td_lpu_program_tallies(program, &tallies));
  assert_ok(td_lpu_program_counts(program, tallies, 0, &step, &counts));
  free(tallies);
  return counts.cycles;
}

/* A node is one hop, a rack three, each of which takes link_hop as the compiler plans. */
static void hops(void **state) {
  (void)state;
  const struct trial trial = {"groq-lpu-v1-576", 64, 1, 16};
  int64_t cycles[2];
  open_machine(&trial);
  for (int i = 0; i < 2; i++) {
    struct td_lpu_collective what = {TD_LPU_ALL_REDUCE, TD_LPU_BY_LEVELS, TD_LPU_F16, 64, 1};
    if (i) machine.link_hop_seconds = 240e-9;
    struct td_lpu_program *program = compile(&what);
    check(program);
    if (i) execute(program, &what, false);
    cycles[i] = cycles_of(program);
    td_lpu_program_free(program);
  }
  assert_true(cycles[0] > 2 * 650 + 216 && cycles[0] < 3 * 650 + 216);
  assert_true(cycles[1] > 3 * 216 && cycles[1] < cycles[0]);
  td_device_params_close(params);
}

/* ---- mutants ---- */

static bool is_found(const struct td_lpu_program *program, enum td_lpu_rule *out_rule) {
  struct td_lpu_row one = {0, NULL, 0};
  const struct td_lpu_step step = {&one, 1};
  struct td_lpu_violation violation;
  assert_ok(td_lpu_check(program, 0, &step, &violation));
  *out_rule = violation.rule;
  return violation.found;
}

/* A vector that leaves, or is taken, a cycle late. */
static void late(struct td_lpu_program *program) {
  struct td_lpu_segment *segment = &program->segments[0];
  int32_t tried = 0, links = 0;
  for (int32_t i = 0; i < segment->instruction_count; i++) {
    struct td_lpu_instruction *at = &segment->instructions[i];
    enum td_lpu_rule rule;
    if (at->opcode != TD_LPU_SEND && at->opcode != TD_LPU_RECEIVE) continue;
    at->cycle++;
    if (!is_found(program, &rule)) fail_msg("instruction %d a cycle late: not found", i);
    at->cycle--;
    links += rule == TD_RULE_LINK || rule == TD_RULE_EPOCH;
    tried++;
  }
  assert_true(tried > 300 && links * 2 > tried);
}

/* Links that lead elsewhere. */
static void rewired(struct td_lpu_program *program) {
  for (int how = 0; how < 4; how++) {
    struct td_lpu_machine *wired = &program->machine;
    enum td_lpu_rule rule;
    if (how == 0) wired->level[1].spares = 0;
    if (how == 1) wired->level[1].wiring = TD_WIRED_RING;
    if (how == 2) wired->level[0].links = 1;
    if (how == 3) wired->levels = 0;
    if (!is_found(program, &rule)) fail_msg("rewired %d: not found", how);
    assert_int_equal(rule, TD_RULE_LINK);
    *wired = machine;
  }
}

static void mutants(void **state) {
  (void)state;
  const struct trial trial = {"lpu-tiny-system", 9, 2, 0};
  const struct td_lpu_collective what = {TD_LPU_ALL_REDUCE, TD_LPU_BY_LEVELS, TD_LPU_F32, 9, 2};
  open_machine(&trial);
  struct td_lpu_program *program = compile(&what);
  check(program);
  late(program);
  rewired(program);
  check(program);
  td_lpu_program_free(program);
  td_device_params_close(params);
}

/* ---- what is refused ---- */

static void expect(const struct td_lpu_collective *what, td_status code, const char *text) {
  struct td_lpu_program *program = NULL;
  assert_int_equal(td_lpu_compile_collective(&machine, what, &program), code);
  if (!strstr(td_error_text(), text)) fail_msg("found: %s\nexpected: %s", td_error_text(), text);
}

static void refused(void **state) {
  (void)state;
  const struct trial trial = {"lpu-tiny-system", 0, 0, 0};
  open_machine(&trial);
  expect(&(struct td_lpu_collective){TD_LPU_ALL_REDUCE, TD_LPU_DIRECT, TD_LPU_F32, 19, 1}, TD_CONFIG,
         "found 19 chips, expected 2..18 of lpu-tiny-system");
  expect(&(struct td_lpu_collective){TD_LPU_ALL_REDUCE, TD_LPU_DIRECT, TD_LPU_F32, 4, 0}, TD_CONFIG, "found 0 vectors");
  expect(&(struct td_lpu_collective){TD_LPU_ALL_REDUCE, TD_LPU_DIRECT, TD_LPU_I32, 4, 1}, TD_CONFIG, "type 3");
  expect(&(struct td_lpu_collective){TD_LPU_BROADCAST, TD_LPU_BY_LEVELS, TD_LPU_F32, 4, 2}, TD_CONFIG,
         "found broadcast by levels of 2 vectors on 4 chips, expected another way");
  machine.levels = 0;
  expect(&(struct td_lpu_collective){TD_LPU_ALL_REDUCE, TD_LPU_DIRECT, TD_LPU_F32, 32, machine.mem_words}, TD_EXHAUSTED,
         "found no room for");
  machine.links_used = 0;
  expect(&(struct td_lpu_collective){TD_LPU_ALL_REDUCE, TD_LPU_DIRECT, TD_LPU_F32, 4, 1}, TD_UNSUPPORTED,
         "no direct links lead to 3 of the 4 chips that exchange (0 links are wired)");
  td_device_params_close(params);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(small_systems), cmocka_unit_test(v1), cmocka_unit_test(hops),
                                     cmocka_unit_test(mutants), cmocka_unit_test(refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
