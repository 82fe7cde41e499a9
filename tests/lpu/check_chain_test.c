/* SPDX-License-Identifier: Apache-2.0
 *
 * What the checker says of scratches that share words, and of steps that are chains of entries. On lpu-tiny.cfg, like
 * the smallest programs: a word that is read in cycle 0 from slice 4 is written to slice 20 in 6.
 */
#include "lpu/assemble.h"
#include "support.h"
#include "tandem/devices.h"
#include "tandem/lpu.h"

static struct td_device_params *params;

static int open_machine(void **state) {
  (void)state;
  return td_device_params_open(test_source("devices/lpu-tiny.cfg"), &params) ? -1 : 0;
}
static int close_machine(void **state) {
  (void)state;
  td_device_params_close(params);
  return 0;
}

/* A segment that copies a constant to word 0 of an image, if there is one, then reads word 0 of another. */
static int32_t add_segment(struct hand_code *code, const char *name, int32_t x, int32_t to, int32_t from) {
  int32_t segment = hand_segment(code, name, 40), write = -1;
  if (to >= 0) {
    int32_t read = hand_read(code, 0, x, 0, 0, 5);
    write = hand_write(code, 6, to, 0, 0, 5);
    hand_means(code, write, 0, read, 0);
  }
  if (from >= 0) {
    int32_t again = hand_read(code, 12, from, 0, 0, 9);
    if (from == to) hand_means(code, again, TD_MEANING_WORD, write, 0);
  }
  return segment;
}

/* Two segments, run one after the other: `first` writes a, `second` writes `to` and reads `from`. */
struct program {
  struct hand_code *code;
  int32_t x, a, b;
};
static struct program begin(int32_t b_word) {
  struct program program = {.code = hand_begin(td_lpu_machine_of(params), 1)};
  program.x = hand_image(program.code, "x", TD_IMAGE_CONSTANT, TD_LPU_I8, 0, 0, 4, 1, 0, 4);
  program.a = hand_image(program.code, "a", TD_IMAGE_SCRATCH, TD_LPU_I8, 0, 0, 20, 1, 0, 4);
  program.b = hand_image(program.code, "b", TD_IMAGE_SCRATCH, TD_LPU_I8, 0, 0, 20, 1, b_word, 4);
  return program;
}

static struct td_lpu_violation judge(const struct td_lpu_program *program, int32_t entry, int32_t rows) {
  static const struct td_lpu_row row[3] = {{0, NULL, 0}, {0, NULL, 0}, {0, NULL, 0}};
  struct td_lpu_violation found = {.found = false};
  struct td_lpu_step step = {row, rows};
  if (td_lpu_check(program, entry, &step, &found)) fail_msg("%s", td_error_text());
  return found;
}

static void expect(const struct td_lpu_program *program, int32_t entry, int32_t rows, int rule) {
  struct td_lpu_violation found = judge(program, entry, rows);
  if (rule < 0 && found.found) fail_msg("found \"%s\", expected nothing", found.text);
  if (rule >= 0 && (!found.found || (int)found.rule != rule)) {
    fail_msg("found \"%s\", expected %s", found.found ? found.text : "nothing",
             td_lpu_rule_name((enum td_lpu_rule)rule));
  }
}

/* ---- scratches that share words ---- */

struct sharing {
  int32_t b_word, owner_a, owner_b;
  bool writes_b, reads_a; /* of the second segment */
  int rule;               /* -1: valid */
};

static void try_sharing(const struct sharing *sharing) {
  struct program made = begin(sharing->b_word);
  add_segment(made.code, "first", made.x, made.a, made.a);
  add_segment(made.code, "second", made.x, sharing->writes_b ? made.b : -1, sharing->reads_a ? made.a : made.b);
  hand_entry(made.code, 1);
  hand_run(made.code, 0, 0);
  hand_run(made.code, 1, 0);
  struct td_lpu_program *program = hand_finish(made.code);
  program->images[made.a].owner = sharing->owner_a;
  program->images[made.b].owner = sharing->owner_b;
  expect(program, 0, 1, sharing->rule);
  td_lpu_program_free(program);
}

static void owners(void **state) {
  (void)state;
  static const struct sharing all[] = {
      {0, 1, 2, true, false, -1},                 /* each has the words while it runs */
      {2, 1, 2, true, false, -1},                 /* and some of them */
      {0, 1, 2, false, false, TD_RULE_LIFETIME},  /* but not what another left there */
      {0, 0, 0, true, false, TD_RULE_ADDRESS},    /* what lives on shares nothing */
      {0, 1, 0, true, false, TD_RULE_ADDRESS},    /* not with a segment's own either */
      {3, 1, 1, true, false, TD_RULE_ADDRESS},    /* nor do two of one segment */
      {8, 1, 2, true, true, TD_RULE_ADDRESS},     /* the second reads what is the first's alone */
      {8, 0, 2, true, true, -1},                  /* unless it lives on */
      {8, 0, 1, true, false, TD_RULE_ADDRESS},    /* the second's own is said to be the first's */
      {8, 0, 2, false, false, TD_RULE_LIFETIME}}; /* nobody wrote it */
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) try_sharing(&all[i]);
}

/* ---- chains ---- */

/* Three entries: the first writes a, each writes the output and the later ones read a. */
static struct td_lpu_program *chain(bool last_writes) {
  struct program made = begin(8);
  int32_t out = hand_image(made.code, "out", TD_IMAGE_OUTPUT, TD_LPU_I8, 0, 0, 20, 1, 16, 1);
  hand_image_matrix(made.code, out, 1, td_lpu_machine_of(params)->lanes, 0);
  add_segment(made.code, "first", made.x, made.a, -1);
  add_segment(made.code, "give", made.x, out, made.a);
  if (!last_writes) add_segment(made.code, "look", made.x, -1, made.a);
  hand_entry(made.code, 3);
  hand_run(made.code, 0, 0);
  hand_run(made.code, 1, 0);
  hand_entry(made.code, 3);
  hand_run(made.code, 1, 0);
  hand_entry(made.code, 3);
  hand_run(made.code, last_writes ? 1 : 2, 0);
  struct td_lpu_program *program = hand_finish(made.code);
  program->entries[1].first_row = 1;
  program->entries[2].first_row = 2;
  return program;
}

static void chains(void **state) {
  (void)state;
  struct td_lpu_program *good = chain(true), *bad = chain(false);
  expect(good, 0, 3, -1);
  expect(good, 1, 3, TD_RULE_LIFETIME); /* nobody wrote a before */
  expect(bad, 0, 3, TD_RULE_FINISH);    /* what an earlier entry gave does not count */
  expect(bad, 0, 2, -1);                /* a step without the third row ends before */
  int64_t tail = good->machine.superlanes - 1;
  assert_int_equal(judge(bad, 0, 3).cycle, 40 + 40 + tail + 40 + tail + 40);
  td_lpu_program_free(good);
  td_lpu_program_free(bad);
}

/* The closed form, and which entries a step takes. */
static void lengths(void **state) {
  (void)state;
  static const struct td_lpu_row row[3] = {{0, NULL, 0}, {0, NULL, 0}, {0, NULL, 0}};
  struct td_lpu_program *program = chain(true);
  int64_t tail = program->machine.superlanes - 1, runs[3] = {0, 0, 0};
  for (int32_t rows = 1; rows <= 3; rows++) {
    struct td_lpu_step step = {row, rows};
    assert_int_equal(td_lpu_program_cycles(program, 0, &step), 40 + rows * (40 + tail));
    assert_int_equal(td_lpu_program_entry(program, rows), 0);
    td_lpu_program_runs(program, 0, &step, runs);
  }
  assert_int_equal(runs[0], 3);
  assert_int_equal(runs[1], 1 + 2 + 3);
  assert_int_equal(td_lpu_program_next(program, 0, 1), -1);
  assert_int_equal(td_lpu_program_next(program, 0, 2), 1);
  assert_int_equal(td_lpu_program_next(program, 1, 2), -1);
  assert_int_equal(td_lpu_program_next(program, 2, 3), -1);
  program->entries[2].rows = 3;
  assert_int_equal(td_lpu_program_outputs(program, 0, 3), 1);
  assert_int_equal(td_lpu_program_outputs(program, 2, 3), 1);
  program->entry_count = 2;
  assert_int_equal(td_lpu_program_outputs(program, 1, 3), 2);
  program->entry_count = 3;
  td_lpu_program_free(program);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(owners), cmocka_unit_test(chains), cmocka_unit_test(lengths)};
  return cmocka_run_group_tests(tests, open_machine, close_machine);
}
