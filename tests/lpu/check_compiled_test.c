/* SPDX-License-Identifier: Apache-2.0
 *
 * The checker on a program that the compiler made: the tiny llama, two rows in their second and third KV block.
 */
#include <stdlib.h>

#include "lpu/assemble.h"
#include "lpu/decoder.h"
#include "lpu/mutants_try.h"

#define MUTANTS_MOST 50 /* of each rule; some rules offer fewer: one chip has no links */
#ifdef TANDEM_SANITIZED
#define RANDOM_CASES 50
#else
#define RANDOM_CASES 300
#endif

static struct lpu_decoder decoder;
static struct td_lpu_step step;

static int open_decoder(void **state) {
  (void)state;
  const struct td_lpu_options options = {.chips = 1, .rows = 2, .block_tokens = 32, .context = 96};
  lpu_decoder_open(&decoder, "groq-lpu-v1", TANDEM_SOURCE_DIR "/tests/data/tiny/llama.gguf", &options);
  hand_mean_addresses(decoder.program);
  int32_t ids[2] = {5, 9}, positions[2] = {40, 70}, vocab = td_model_shape(decoder.model)->vocab;
  float *logits = malloc(2 * (size_t)vocab * sizeof *logits);
  if (!logits) return -1;
  lpu_decoder_step(&decoder, ids, positions, true, logits);
  free(logits);
  step = (struct td_lpu_step){decoder.rows, 2};
  return 0;
}
static int close_decoder(void **state) {
  (void)state;
  lpu_decoder_close(&decoder);
  return 0;
}

static void mutants_are_named(void **state) {
  (void)state;
  bool good = true;
  for (int rule = 0; rule < TD_LPU_RULE_COUNT; rule++) {
    struct mutant_tally tally = mutant_try_rule(decoder.program, &step, (enum td_lpu_rule)rule, MUTANTS_MOST);
    good = good && tally.named == tally.made;
  }
  assert_true(good);
}

static void random_changes_show(void **state) {
  (void)state;
  assert_int_equal(mutant_try_random(decoder.program, &step, decoder.system->sram, RANDOM_CASES), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(mutants_are_named), cmocka_unit_test(random_changes_show)};
  return cmocka_run_group_tests(tests, open_decoder, close_decoder);
}
