/* SPDX-License-Identifier: Apache-2.0
 *
 * Speculative verify: a step whose rows are tokens of one sequence, proposed ones among them. Each row must see those
 * before it in the same step and none behind, and what was refused must leave nothing: bit for bit the reference, which
 * is fed one right token after another.
 */
#include <stdlib.h>
#include <string.h>

#include "lpu/course.h"
#include "lpu/decoder.h"
#include "lpu/reference.h"
#include "tandem/base.h"
#include "tandem/lpu_price.h"

#define TINY(name) TANDEM_SOURCE_DIR "/tests/data/tiny/" name ".gguf"
enum { DRAFT = 3, ROWS = DRAFT + 1, BLOCK = 16, CONTEXT = 48 };

struct verified {
  struct lpu_decoder decoder;
  struct lpu_reference *reference;
  struct td_lpu_price *price;
  int32_t vocab;
  float *found, *expected; /* [ROWS][vocab], [vocab] */
};

static void open_verified(struct verified *of, const char *model, int32_t chips, int32_t tensor) {
  const struct td_lpu_options options = {.weights = TD_LPU_WEIGHTS_I8,
                                         .chips = chips,
                                         .tensor = tensor,
                                         .rows = ROWS,
                                         .block_tokens = BLOCK,
                                         .kv_blocks = CONTEXT / BLOCK,
                                         .context = CONTEXT};
  lpu_decoder_open(&of->decoder, "groq-lpu-v1", model, &options);
  struct lpu_reference_options numbers = lpu_reference_options(TD_LPU_WEIGHTS_I8, TD_LPU_ACTIVATIONS_F16, CONTEXT);
  numbers.block_tokens = BLOCK;
  assert_ok(lpu_reference_open(of->decoder.model, &numbers, &of->reference));
  assert_ok(td_lpu_price_open(of->decoder.program, of->decoder.graph, &of->price));
  of->vocab = td_model_shape(of->decoder.model)->vocab;
  of->found = calloc((size_t)(ROWS * of->vocab), sizeof *of->found);
  of->expected = calloc((size_t)of->vocab, sizeof *of->expected);
  assert_true(of->found && of->expected);
}

static void close_verified(struct verified *of) {
  free(of->found);
  free(of->expected);
  td_lpu_price_close(of->price);
  lpu_reference_close(of->reference);
  lpu_decoder_close(&of->decoder);
}

static int32_t right(const struct verified *of, int32_t position) {
  return lpu_course_id(3, position, of->vocab);
}

/* The closed form of a pass over rows of one sequence: their blocks in all. */
static void same_price(const struct verified *of, int32_t position, int32_t rows) {
  struct td_lpu_cost cost;
  struct td_lpu_step step = {of->decoder.rows, rows};
  int64_t blocks = 0;
  for (int32_t i = 0; i < rows; i++) blocks += (position + i) / BLOCK + 1;
  assert_ok(td_lpu_price_pass(of->price, rows, blocks, &cost));
  int32_t entry = td_lpu_program_entry(of->decoder.program, rows);
  assert_int_equal(cost.cycles, td_lpu_program_cycles(of->decoder.program, entry, &step));
}

/* A pass over the token at `position` and proposals behind it, the first `accepted` of which are right. Returns how
 * many positions the sequence has then. */
static int32_t verify(struct verified *of, int32_t position, int32_t accepted, bool check) {
  int32_t ids[ROWS], positions[ROWS];
  int32_t rows = CONTEXT - position < ROWS ? CONTEXT - position : ROWS;
  for (int32_t i = 0; i < rows; i++) {
    positions[i] = position + i;
    ids[i] = i <= accepted ? right(of, position + i) : (right(of, position + i) + 1 + i) % of->vocab;
  }
  lpu_decoder_step_of(&of->decoder, rows, ids, positions, check, of->found);
  same_price(of, position, rows);
  for (int32_t i = 0; i < rows && i <= accepted; i++) {
    assert_ok(lpu_reference_feed(of->reference, 0, &ids[i], 1, 1, of->expected));
    lpu_assert_same_bits(of->found + (int64_t)i * of->vocab, of->expected, of->vocab, "verify", i, positions[i]);
  }
  return position + (accepted < rows - 1 ? accepted : rows - 1) + 1;
}

/* From the first position over the ends of two KV blocks, none, some and all of the proposals accepted. */
static void verify_all(const char *model, int32_t chips, int32_t tensor) {
  struct verified of = {.vocab = 0};
  open_verified(&of, model, chips, tensor);
  int32_t passes = 0;
  for (int32_t position = 0; position < CONTEXT - BLOCK / 2; passes++) {
    int32_t accepted = (int32_t)(td_random(5, 6, (uint64_t)passes) % ROWS);
    position = verify(&of, position, accepted, passes < 2 || position % BLOCK > BLOCK - ROWS);
  }
  assert_true(passes > 2 * BLOCK / ROWS);
  close_verified(&of);
}

static void test_one_chip(void **state) {
  (void)state;
  verify_all(TINY("llama"), 1, 0);
}

static void test_stages(void **state) {
  (void)state;
  verify_all(TINY("llama"), 2, 1);
}

static void test_shared_layers(void **state) {
  (void)state;
  verify_all(TINY("llama"), 2, 2);
}

/* Sliding windows are masks too. */
static void test_windows(void **state) {
  (void)state;
  verify_all(TINY("gemma3-small"), 1, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_chip),
      cmocka_unit_test(test_stages),
      cmocka_unit_test(test_shared_layers),
      cmocka_unit_test(test_windows),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
