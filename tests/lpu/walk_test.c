/* SPDX-License-Identifier: Apache-2.0
 *
 * The walk of a step against an expansion written out by hand, and against the closed form of its length.
 */
#include <inttypes.h>

#include "../support.h"
#include "tandem/base.h"
#include "tandem/lpu_program.h"

enum { TOKENS = 16, VECTORS = 4, MOST_CALLS = 4096 };

#define RUN(s, c) \
  { .kind = TD_LINK_RUN, .segment = s, .chip = c }
#define LOOP(v, f, n) \
  { .kind = TD_LINK_LOOP, .variable = TD_VAR_##v, .first = f, .count = n }
#define END \
  { .kind = TD_LINK_END }

/* Three layers, each once a row and once a block of it, with work on every level. */
static struct td_lpu_link nested[] = {
    RUN(0, 0), LOOP(LAYER, 0, 3), RUN(1, 1), LOOP(ROW, 0, 0), RUN(2, 0), LOOP(BLOCK, 0, 0), RUN(3, 2),
    END,       RUN(4, 0),         END,       RUN(1, 0),       END,       RUN(0, 1)};
/* The first block apart, the others in a loop from 1 on; rows outside of layers. */
static struct td_lpu_link peeled[] = {
    LOOP(ROW, 0, 0), RUN(2, 0), LOOP(LAYER, 5, 2), RUN(1, 0), LOOP(BLOCK, 1, 0), RUN(3, 0), END, END, END};
static struct td_lpu_link fixed_rows[] = {LOOP(ROW, 1, 2), RUN(2, 0), END, LOOP(LAYER, 0, 0), RUN(4, 0), END};
static struct td_lpu_link two_blocks[] = {LOOP(ROW, 0, 0), LOOP(BLOCK, 0, 2), RUN(3, 0), END, END};

static struct td_lpu_segment segments[] = {{.name = "a", .length = 7},
                                           {.name = "b", .length = 100},
                                           {.name = "c", .length = 13},
                                           {.name = "d", .length = 1000},
                                           {.name = "e", .length = 31}};

static struct td_lpu_program program_of(struct td_lpu_link *links, int32_t count) {
  static struct td_lpu_entry entries[3];
  entries[0] = (struct td_lpu_entry){.rows = 8, .layer = -1, .link_count = count};
  entries[1] = (struct td_lpu_entry){.rows = 1, .layer = -1, .link_count = count};
  entries[2] = (struct td_lpu_entry){.rows = 4, .layer = -1, .link_count = count};
  return (struct td_lpu_program){.machine = {.superlanes = 5, .lanes = 32, .load_vectors = VECTORS},
                                 .chips = 3,
                                 .block_tokens = TOKENS,
                                 .segments = segments,
                                 .segment_count = 5,
                                 .links = links,
                                 .link_count = count,
                                 .entries = entries,
                                 .entry_count = 3};
}
#define PROGRAM(links) program_of(links, (int32_t)(sizeof(links) / sizeof *(links)))

/* ---- steps ---- */

static const int32_t block_lists[3][4] = {{9, 2, 7, 4}, {1}, {6, 3}};
static const struct td_lpu_row rows[] = {{53, block_lists[0], 4}, {0, block_lists[1], 1}, {31, block_lists[2], 2}};

/* ---- what the walk says ---- */

struct calls {
  struct td_lpu_call call[MOST_CALLS];
  int32_t count;
};

static td_status keep(void *context, const struct td_lpu_call *call) {
  struct calls *calls = context;
  assert_in_range(calls->count, 0, MOST_CALLS - 1);
  calls->call[calls->count++] = *call;
  return TD_OK;
}

static struct calls walked, expected;

/* ---- the expansions ---- */

static int64_t clock_now;

static void expect(int32_t segment, int32_t chip, int32_t layer, int32_t row, int32_t block) {
  struct td_lpu_call *call = &expected.call[expected.count++];
  *call = (struct td_lpu_call){.segment = segment, .chip = chip, .cycle = clock_now};
  clock_now += segments[segment].length;
  if (layer >= 0) call->variable[TD_VAR_LAYER] = layer;
  if (row < 0) return;
  const struct td_lpu_row *of = &rows[row];
  call->variable[TD_VAR_ROW] = row;
  call->variable[TD_VAR_POSITION] = of->position;
  call->variable[TD_VAR_SLOT] = of->position % TOKENS / VECTORS;
  call->variable[TD_VAR_KV_BLOCK] = of->blocks[block >= 0 ? block : of->position / TOKENS];
  if (block >= 0) call->variable[TD_VAR_BLOCK] = block;
}

static void expand_nested(int32_t row_count) {
  expect(0, 0, -1, -1, -1);
  for (int32_t layer = 0; layer < 3; layer++) {
    expect(1, 1, layer, -1, -1);
    for (int32_t row = 0; row < row_count; row++) {
      expect(2, 0, layer, row, -1);
      for (int32_t block = 0; block < rows[row].block_count; block++) expect(3, 2, layer, row, block);
      expect(4, 0, layer, row, -1);
    }
    expect(1, 0, layer, -1, -1);
  }
  expect(0, 1, -1, -1, -1);
}

static void expand_peeled(int32_t row_count) {
  for (int32_t row = 0; row < row_count; row++) {
    expect(2, 0, -1, row, -1);
    for (int32_t layer = 5; layer < 7; layer++) {
      expect(1, 0, layer, row, -1);
      for (int32_t block = 1; block < rows[row].block_count; block++) expect(3, 0, layer, row, block);
    }
  }
}

static void expand_fixed_rows(int32_t row_count) {
  (void)row_count;
  expect(2, 0, -1, 1, -1);
  expect(2, 0, -1, 2, -1);
}

static void compare(const struct td_lpu_program *program, int32_t row_count, void (*expand)(int32_t row_count)) {
  const struct td_lpu_step step = {rows, row_count};
  expected.count = walked.count = 0;
  clock_now = 0;
  expand(row_count);
  td_status status = td_lpu_program_walk(program, 0, &step, keep, &walked);
  if (status) print_error("%s\n", td_error_text());
  assert_int_equal(status, TD_OK);
  assert_int_equal(walked.count, expected.count);
  for (int32_t i = 0; i < expected.count; i++) {
    assert_memory_equal(&walked.call[i], &expected.call[i], sizeof walked.call[i]);
  }
  assert_int_equal(td_lpu_program_cycles(program, 0, &step), clock_now + program->machine.superlanes - 1);
}

static void walks(void **state) {
  (void)state;
  struct td_lpu_program program = PROGRAM(nested);
  for (int32_t count = 1; count <= 3; count++) compare(&program, count, expand_nested);
  program = PROGRAM(peeled);
  for (int32_t count = 1; count <= 3; count++) compare(&program, count, expand_peeled);
  program = PROGRAM(fixed_rows);
  compare(&program, 3, expand_fixed_rows);
}

/* By hand, so that the two cannot be wrong together: three layers of rows with 4 + 1 blocks. */
static void length_by_hand(void **state) {
  (void)state;
  struct td_lpu_program program = PROGRAM(nested);
  const struct td_lpu_step step = {rows, 2};
  assert_int_equal(td_lpu_program_cycles(&program, 0, &step), 7 + 3 * (100 + 2 * 13 + 5 * 1000 + 2 * 31 + 100) + 7 + 4);
}

/* Random nests of loops: the closed form is the sum of what is walked. */
static int32_t grow(struct td_lpu_link *links, int32_t count, uint64_t seed, uint64_t *draw, unsigned open) {
  int32_t pieces = 1 + (int32_t)(td_random(seed, 0, (*draw)++) % 3);
  for (int32_t i = 0; i < pieces; i++) {
    uint64_t dice = td_random(seed, 1, (*draw)++);
    int variable = (int)(dice % 3); /* layer, row, block */
    bool may = !(open & 1u << variable) && (variable != TD_VAR_BLOCK || open & 1u << TD_VAR_ROW);
    if (dice >> 8 & 1 || !may) {
      links[count++] = (struct td_lpu_link){.kind = TD_LINK_RUN, .segment = (int32_t)(dice >> 16 & 3)};
      continue;
    }
    int32_t turns = variable == TD_VAR_LAYER ? (int32_t)(dice >> 20 & 3) : 0;
    links[count++] = (struct td_lpu_link){
        .kind = TD_LINK_LOOP, .variable = variable, .first = (int32_t)(dice >> 24 & 1), .count = turns};
    count = grow(links, count, seed, draw, open | 1u << variable);
    links[count++] = (struct td_lpu_link)END;
  }
  return count;
}

static void random_links(void **state) {
  (void)state;
  for (uint64_t seed = 0; seed < 300; seed++) {
    static struct td_lpu_link links[4096];
    uint64_t draw = 0;
    struct td_lpu_program program = program_of(links, grow(links, 0, seed, &draw, 0));
    for (int32_t count = 1; count <= 3; count++) {
      const struct td_lpu_step step = {rows, count};
      int64_t sum = 4;
      walked.count = 0;
      assert_int_equal(td_lpu_program_walk(&program, 0, &step, keep, &walked), TD_OK);
      for (int32_t i = 0; i < walked.count; i++) {
        assert_int_equal(walked.call[i].cycle, sum - 4);
        sum += segments[walked.call[i].segment].length;
      }
      assert_int_equal(td_lpu_program_cycles(&program, 0, &step), sum);
    }
  }
}

/* A long context costs no time to price: a million blocks. */
static void long_context(void **state) {
  (void)state;
  struct td_lpu_program program = PROGRAM(nested);
  struct td_lpu_row row = {.position = 16 * 1000000 - 1, .blocks = block_lists[0], .block_count = 1000000};
  const struct td_lpu_step step = {&row, 1};
  assert_int_equal(td_lpu_program_cycles(&program, 0, &step),
                   7 + 3 * (100 + 13 + INT64_C(1000000000) + 31 + 100) + 7 + 4);
}

static td_status stop_at_third(void *context, const struct td_lpu_call *call) {
  (void)call;
  return ++*(int *)context == 3 ? td_fail(TD_CORRUPT, "enough") : TD_OK;
}

static void stops(void **state) {
  (void)state;
  struct td_lpu_program program = PROGRAM(nested);
  const struct td_lpu_step step = {rows, 3};
  int count = 0;
  assert_int_equal(td_lpu_program_walk(&program, 0, &step, stop_at_third, &count), TD_CORRUPT);
  assert_int_equal(count, 3);
  assert_string_equal(td_error_text(), "enough");
}

static void entries(void **state) {
  (void)state;
  struct td_lpu_program program = PROGRAM(nested); /* entries of 8, 1 and 4 rows */
  static const int32_t best[] = {-1, 1, 2, 2, 2, 0, 0, 0, 0, -1};
  for (int32_t count = 0; count < 10; count++) assert_int_equal(td_lpu_program_entry(&program, count), best[count]);
  for (int32_t count = 0; count < 10; count++) {
    assert_int_equal(td_lpu_program_layer_entry(&program, -1, count), best[count]);
  }
  assert_int_equal(td_lpu_program_layer_entry(&program, 0, 1), -1);
  program.entries[2].layer = 7;
  assert_int_equal(td_lpu_program_entry(&program, 2), 0);
  assert_int_equal(td_lpu_program_layer_entry(&program, 7, 2), 2);
  assert_int_equal(td_lpu_program_layer_entry(&program, 7, 5), -1);
  assert_int_equal(td_lpu_program_entry(&program, -1), -1);
}

static void expect_wrong(const struct td_lpu_program *program, int32_t entry, const struct td_lpu_step *step,
                         const char *want) {
  walked.count = 0;
  assert_int_equal(td_lpu_program_walk(program, entry, step, keep, &walked), TD_CONFIG);
  assert_string_equal(td_error_text(), want);
}

static void wrong_steps(void **state) {
  (void)state;
  struct td_lpu_program program = PROGRAM(nested);
  struct td_lpu_row row = {.position = 16, .blocks = block_lists[0], .block_count = 1};
  struct td_lpu_step step = {&row, 1};
  expect_wrong(&program, 3, &step, "found entry 3, expected one of 3");
  expect_wrong(&program, 0, &step, "row 0: found 1 KV blocks, expected 2 of 16 tokens for position 16");
  row.position = -1;
  expect_wrong(&program, 0, &step, "row 0: found position -1, expected 0 or more");
  step.row_count = 0;
  expect_wrong(&program, 0, &step, "entry 0: found a step of 0 rows, expected 1..8");
  step.row_count = 2;
  expect_wrong(&program, 1, &step, "entry 1: found a step of 2 rows, expected 1..1");
  program = PROGRAM(fixed_rows);
  step = (struct td_lpu_step){rows, 2};
  expect_wrong(&program, 0, &step, "found a step of 2 rows, expected one with a row 2: the program's loop is over it");
  program = PROGRAM(two_blocks);
  expect_wrong(&program, 0, &step, "row 1: found 1 KV blocks, expected a block 1: the program's loop is over it");
}

/* ---- addresses ---- */

static void addresses(void **state) {
  (void)state;
  struct td_lpu_program program = PROGRAM(nested);
  struct td_lpu_patch patches[] = {
      {.coefficient = {100, 0, 0, 10, 0, 1}, .high = {9, 9, 9, 9, 99, 9}, .lane = -1},
      {.coefficient = {0, 0, 0, 0, 2, 0}, .high = {9, 9, 9, 9, 99, 9}, .lane = 1, .otherwise = 77}};
  struct td_lpu_segment own[5];
  memcpy(own, segments, sizeof own);
  own[2].patches = patches;
  own[2].patch_count = 2;
  program.segments = own;
  struct td_lpu_instruction instruction = {
      .address = {5, 6}, .stride = {3, -2}, .patch = {1, 2}, .repeat = 4, .gap = 1};
  struct td_lpu_call call = {.segment = 2, .variable = {4, 1, 2, 7, 53, 3}};
  assert_int_equal(td_lpu_address(&program, &call, &instruction, 0, 0), 5 + 400 + 70 + 3);
  assert_int_equal(td_lpu_address(&program, &call, &instruction, 0, 3), 5 + 400 + 70 + 3 + 9);
  assert_int_equal(td_lpu_address(&program, &call, &instruction, 1, 2), 6 + 106 - 4); /* 53 % 4 == 1 */
  call.variable[TD_VAR_POSITION] = 54;
  assert_int_equal(td_lpu_address(&program, &call, &instruction, 1, 2), 77);
  instruction.patch[1] = 0;
  assert_int_equal(td_lpu_address(&program, &call, &instruction, 1, 2), 2);
}

/* A position beyond what the program was compiled for is refused before anything moves. */
static void outside_of_bounds(void **state) {
  (void)state;
  struct td_lpu_program program = PROGRAM(nested);
  struct td_lpu_patch patch = {.coefficient = {0, 0, 0, 0, 1, 0}, .high = {9, 9, 9, 9, 30, 9}, .lane = -1};
  struct td_lpu_segment own[5];
  memcpy(own, segments, sizeof own);
  own[2].patches = &patch;
  own[2].patch_count = 1;
  program.segments = own;
  const struct td_lpu_step fits = {&rows[1], 1}, beyond = {&rows[2], 1};
  walked.count = 0;
  assert_int_equal(td_lpu_program_walk(&program, 0, &fits, keep, &walked), TD_OK);
  expect_wrong(&program, 0, &beyond, "segment c: found position 31, expected 0..30 (patch 0)");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(walks),        cmocka_unit_test(length_by_hand), cmocka_unit_test(random_links),
      cmocka_unit_test(long_context), cmocka_unit_test(stops),          cmocka_unit_test(entries),
      cmocka_unit_test(wrong_steps),  cmocka_unit_test(addresses),      cmocka_unit_test(outside_of_bounds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
