/* SPDX-License-Identifier: Apache-2.0
 *
 * The checker on smallest programs for what random changes once got past it: each has a valid sibling.
 */
#include "lpu/assemble.h"
#include "lpu/decoder.h"

static struct td_device_params *params;
static const int32_t blocks[] = {0, 0, 0, 0};
static const struct td_lpu_row one_row = {0, blocks, 1};
static const struct td_lpu_step step = {&one_row, 1};

static int open_machine(void **state) {
  (void)state;
  return td_device_params_open(test_source("devices/lpu-tiny.cfg"), &params) ? -1 : 0;
}
static int close_machine(void **state) {
  (void)state;
  td_device_params_close(params);
  return 0;
}

/* x, a row of words, is copied to y; the words move by `patch`, if there is one. */
static struct td_lpu_program *copy_program(const struct td_lpu_patch *patch, int32_t layers, int32_t block_tokens) {
  struct hand_code *code = hand_begin(td_lpu_machine_of(params), 1);
  uint8_t bytes[8 * TD_LPU_MOST_LANES] = {1};
  int32_t x = hand_image(code, "x", TD_IMAGE_CONSTANT, TD_LPU_I8, 0, 0, 4, 1, 0, 8);
  int32_t other = hand_image(code, "other", TD_IMAGE_CONSTANT, TD_LPU_I8, 0, 0, 5, 1, 0, 8);
  int32_t y = hand_image(code, "y", TD_IMAGE_OUTPUT, TD_LPU_I8, 0, 0, 20, 1, 0, 8);
  hand_image_matrix(code, y, 8, td_lpu_machine_of(params)->lanes, 0);
  hand_image_data(code, x, bytes);
  hand_image_data(code, other, bytes);
  int32_t copy = hand_segment(code, "copy", 40), number = patch ? hand_patch(code, patch) : 0;
  int32_t read = hand_read(code, 0, x, 0, 0, 5), write = hand_write(code, 6, y, 0, 0, 5);
  hand_means(code, write, 0, read, 0);
  hand_repeat(code, read, 8 / layers, 1, 1);
  hand_repeat(code, write, 8 / layers, 1, 1);
  if (patch) hand_patched(code, read, 0, number);
  if (patch) hand_patched(code, write, 1, number);
  hand_kv_block(code, block_tokens);
  hand_entry(code, 1);
  hand_loop(code, TD_VAR_LAYER, 0, layers);
  hand_run(code, copy, 0);
  hand_end(code);
  return hand_finish(code);
}

static void valid(const struct td_lpu_program *program) {
  struct td_lpu_violation found = {.found = false};
  assert_ok(td_lpu_check(program, 0, &step, &found));
  if (found.found) fail_msg("%s", found.text);
}
static void violates(const struct td_lpu_program *program, enum td_lpu_rule rule, const char *words) {
  struct td_lpu_violation found = {.found = false};
  assert_ok(td_lpu_check(program, 0, &step, &found));
  if (!found.found || found.rule != rule || !strstr(found.text, words)) {
    fail_msg("found %s, expected %s, %s", found.found ? found.text : "nothing", td_lpu_rule_name(rule), words);
  }
}
static void corrupt(const struct td_lpu_program *program, const char *words) {
  struct td_lpu_violation found;
  assert_int_equal(td_lpu_check(program, 0, &step, &found), TD_CORRUPT);
  if (!strstr(td_error_text(), words)) fail_msg("found %s, expected %s", td_error_text(), words);
}

/* An output of more rows than a step has: all are written, in steps of the most rows. */
static void test_rows_of_outputs(void **state) {
  (void)state;
  struct td_lpu_program *program = copy_program(NULL, 1, 0);
  valid(program);
  for (int32_t i = 0; i < 2; i++) program->segments[0].instructions[i].repeat--;
  violates(program, TD_RULE_FINISH, "word 7 of slice 20 was not written");
  program->entries[0].rows = 8; /* of which this step has one */
  valid(program);
  td_lpu_program_free(program);
}

static const struct td_lpu_patch by_layer = {.coefficient = {4}, .high = {1}, .lane = -1};
static void test_loops(void **state) {
  (void)state;
  struct td_lpu_program *program = copy_program(&by_layer, 2, 0);
  struct td_lpu_patch *patch = &program->segments[0].patches[0];
  valid(program);
  program->images[2].kind = TD_IMAGE_SCRATCH; /* nobody misses the words */
  program->links[0].count = 1;
  violates(program, TD_RULE_SEGMENT, "its loops go from 0 to 0, patch 0 says 0..1");
  program->links[0].first = 1;
  violates(program, TD_RULE_SEGMENT, "its loops go from 1 to 1, patch 0 says 0..1");
  patch->low[TD_VAR_LAYER] = 1;
  valid(program);
  td_lpu_program_free(program);
}

/* Rows and blocks are the step's: loops over them begin where the patches say. */
static void test_loops_of_steps(void **state) {
  (void)state;
  const struct td_lpu_patch by_row = {.coefficient = {[TD_VAR_ROW] = 1}, .lane = -1};
  struct td_lpu_program *program = copy_program(&by_row, 1, 0);
  program->links[0].variable = TD_VAR_ROW;
  program->links[0].count = 0;
  valid(program);
  program->images[2].kind = TD_IMAGE_SCRATCH;
  program->links[0].first = 1; /* no row is left */
  violates(program, TD_RULE_SEGMENT, "its loops go from 1 on, patch 0 says 0..0");
  td_lpu_program_free(program);
}

static void test_segments_that_nobody_runs(void **state) {
  (void)state;
  struct td_lpu_program *program = copy_program(NULL, 1, 0);
  program->images[2].kind = TD_IMAGE_SCRATCH;
  valid(program);
  program->entries[0].link_count = 0;
  corrupt(program, "segment 0 (copy): found no entry that runs it");
  program->segments[0].instruction_count = 0;
  valid(program); /* a step that runs nothing */
  program->images[2].kind = TD_IMAGE_OUTPUT;
  violates(program, TD_RULE_FINISH, "word 0 of slice 20 was not written");
  td_lpu_program_free(program);
}

static void test_data(void **state) {
  (void)state;
  struct td_lpu_program *program = copy_program(NULL, 1, 0);
  struct td_lpu_image *x = &program->images[0], *other = &program->images[1];
  uint64_t had = other->data;
  valid(program);
  other->data = x->data; /* the same, which is fine */
  valid(program);
  other->data = had - 1;
  corrupt(program, "image other: found data inside those of x");
  td_lpu_program_free(program);
}

static void test_block_tokens(void **state) {
  (void)state;
  const struct td_lpu_patch by_block = {.coefficient = {[TD_VAR_KV_BLOCK] = 1}, .lane = -1};
  struct td_lpu_program *program = copy_program(&by_block, 1, 32);
  valid(program);
  program->block_tokens = 24;
  corrupt(program, "found KV blocks of 24 tokens, expected a multiple of 16 up to 32");
  program->block_tokens = 0;
  corrupt(program, "found KV blocks of 0 tokens");
  program->block_tokens = 48;
  corrupt(program, "found KV blocks of 48 tokens");
  td_lpu_program_free(program);
}

static void test_operations(void **state) {
  (void)state;
  struct hand_code *code = hand_begin(td_lpu_machine_of(params), 1);
  int32_t copy = hand_segment(code, "add", 40), add = hand_alu(code, 0, 0, 0, TD_ALU_ADD, TD_LPU_F32, 0);
  hand_value(code, add, 0, 1);
  hand_value(code, add, 1, 2);
  hand_entry(code, 1);
  hand_run(code, copy, 0);
  struct td_lpu_program *program = hand_finish(code);
  valid(program);
  program->segments[0].instructions[0].operation = TD_ALU_MUL;
  violates(program, TD_RULE_ALU, "computes mul, expected operation 1");
  td_lpu_program_free(program);
}

/* What a link takes longer to carry than until it is received. */
static void test_slow_link(void **state) {
  (void)state;
  struct hand_code *code = hand_begin(td_lpu_machine_of(params), 2);
  int32_t x = hand_image(code, "x", TD_IMAGE_CONSTANT, TD_LPU_I8, 0, 0, 4, 1, 0, 4);
  int32_t exchange = hand_segment(code, "exchange", 120);
  int32_t read = hand_read(code, 0, x, 0, 0, 5), send = hand_send(code, 4, 0, 0, 5);
  hand_means(code, send, 0, read, 0);
  hand_means(code, hand_receive(code, 44, 1, 1, 5), TD_MEANING_SENT, send, 0);
  hand_entry(code, 1);
  hand_run(code, exchange, 0);
  struct td_lpu_program *program = hand_finish(code);
  valid(program);
  program->machine.link_bytes_per_second = 0.05e9;
  violates(program, TD_RULE_LINK, "expected at most its latency of 40");
  program->machine.link_bytes_per_second = 1;
  violates(program, TD_RULE_LINK, "expected at most its latency of 40");
  program->machine.link_bytes_per_second = 0;
  violates(program, TD_RULE_LINK, "expected at most its latency of 40");
  td_lpu_program_free(program);
}

/* Violations of one cycle: the order of the rules, whoever is looked at first. */
static void test_order(void **state) {
  (void)state;
  struct td_lpu_program *program = copy_program(NULL, 1, 0);
  struct td_lpu_instruction *write = &program->segments[0].instructions[1];
  write->flags |= TD_LPU_READ;
  write->image[0] = 2;
  write->out = 7;
  write->address[0] = -1;
  write->address[1] = 0;
  violates(program, TD_RULE_ADDRESS, "leave image y"); /* a word that is not there has no port */
  write->address[0] = 0;
  violates(program, TD_RULE_PORT, "word 0 and writes word 0");
  td_lpu_program_free(program);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rows_of_outputs),
      cmocka_unit_test(test_loops),
      cmocka_unit_test(test_loops_of_steps),
      cmocka_unit_test(test_segments_that_nobody_runs),
      cmocka_unit_test(test_data),
      cmocka_unit_test(test_block_tokens),
      cmocka_unit_test(test_operations),
      cmocka_unit_test(test_slow_link),
      cmocka_unit_test(test_order),
  };
  return cmocka_run_group_tests(tests, open_machine, close_machine);
}
