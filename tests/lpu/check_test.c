/* SPDX-License-Identifier: Apache-2.0
 *
 * The checker: valid programs pass, a smallest program of each rule fails, mutants are named by the rule that they
 * break, random changes are rejected or change nothing.
 */
#include "lpu/mutants_try.h"
#include "lpu/sample.h"
#include "lpu/smallest.h"
#include "support.h"

#define MUTANTS_ENOUGH 50 /* of each rule */
#define MUTANTS_MOST 200
#ifdef TANDEM_SANITIZED
#define RANDOM_CASES 2500 /* slower there, and the same code */
#else
#define RANDOM_CASES 10000
#endif

static struct td_device_params *params;
static struct td_lpu_program *sample;

static int open_sample(void **state) {
  (void)state;
  if (td_device_params_open(test_source("devices/lpu-tiny.cfg"), &params)) return -1;
  sample = sample_program(td_lpu_machine_of(params));
  return 0;
}
static int close_sample(void **state) {
  (void)state;
  td_lpu_program_free(sample);
  td_device_params_close(params);
  return 0;
}

static void valid_programs_pass(void **state) {
  (void)state;
  struct td_lpu_violation found;
  assert_int_equal(td_lpu_check(sample, 0, sample_step(), &found), TD_OK);
  if (found.found) fail_msg("%s", found.text);
}

static bool smallest_is_judged(enum td_lpu_rule rule, bool broken) {
  struct td_lpu_program *program = smallest_program(&sample->machine, rule, broken);
  struct td_lpu_violation found = {.found = false};
  td_status status = td_lpu_check(program, 0, smallest_step(), &found);
  bool good = status == TD_OK && found.found == broken && (!broken || found.rule == rule);
  if (!good) {
    printf("smallest program of %s, %s: %s\n", td_lpu_rule_name(rule), broken ? "broken" : "good",
           status        ? td_error_text()
           : found.found ? found.text
                         : "nothing found");
  }
  td_lpu_program_free(program);
  return good;
}
static void smallest_programs_fail(void **state) {
  (void)state;
  for (int rule = 0; rule < TD_LPU_RULE_COUNT; rule++) {
    assert_true(smallest_is_judged((enum td_lpu_rule)rule, false));
    assert_true(smallest_is_judged((enum td_lpu_rule)rule, true));
  }
}

static void mutants_are_named(void **state) {
  (void)state;
  bool good = true;
  for (int rule = 0; rule < TD_LPU_RULE_COUNT; rule++) {
    struct mutant_tally tally = mutant_try_rule(sample, sample_step(), (enum td_lpu_rule)rule, MUTANTS_MOST);
    printf("%-8s %3d mutants, %3d named\n", td_lpu_rule_name((enum td_lpu_rule)rule), tally.made, tally.named);
    good = good && tally.named == tally.made && tally.made >= MUTANTS_ENOUGH;
  }
  assert_true(good);
}

static void random_changes_show(void **state) {
  (void)state;
  assert_int_equal(mutant_try_random(sample, sample_step(), NULL, 0, RANDOM_CASES), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(valid_programs_pass), cmocka_unit_test(smallest_programs_fail),
                                     cmocka_unit_test(mutants_are_named), cmocka_unit_test(random_changes_show)};
  return cmocka_run_group_tests(tests, open_sample, close_sample);
}
