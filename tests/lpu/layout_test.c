/* SPDX-License-Identifier: Apache-2.0
 *
 * However a program lies in SRAM, it says bit for bit what the graph's reference says, and keeps every rule.
 */
#include <stdlib.h>
#include <string.h>

#include "lpu/decoder.h"
#include "lpu/modes.h"
#include "lpu/reference.h"

#define TINY TANDEM_SOURCE_DIR "/tests/data/tiny/llama.gguf"
enum { ROWS = 7, TOKENS = 16, CONTEXT = 32, WORDS = 640 };

static struct td_lpu_options options_of(const struct lpu_mode *mode, int32_t rows) {
  return (struct td_lpu_options){.weights = mode->weights,
                                 .activations = mode->activations,
                                 .chips = 1,
                                 .rows = rows,
                                 .block_tokens = TOKENS,
                                 .context = CONTEXT};
}

static void assert_same_bits(const float *found, const float *expected, int32_t count, const char *what, int32_t row) {
  for (int32_t i = 0; i < count; i++) {
    if (memcmp(&found[i], &expected[i], sizeof *found) == 0) continue;
    fail_msg("%s: row %d, logit %d: found %.9g, expected %.9g", what, row, i, (double)found[i], (double)expected[i]);
  }
}

/* Step after step, the first of them of fewer rows than the program takes. */
static void compare(struct lpu_decoder *decoder, const struct lpu_mode *mode, const int32_t *rows_of, int32_t steps) {
  struct lpu_reference *reference = NULL;
  struct lpu_reference_options numbers = lpu_reference_options(mode->weights, mode->activations, CONTEXT);
  int32_t rows = decoder->options.rows, vocab = td_model_shape(decoder->model)->vocab;
  numbers.block_tokens = TOKENS;
  numbers.sequences = rows;
  assert_ok(lpu_reference_open(decoder->model, &numbers, &reference));
  int32_t *ids = calloc((size_t)rows, sizeof *ids), *positions = calloc((size_t)rows, sizeof *positions);
  float *found = calloc((size_t)(rows * vocab), sizeof *found), *expected = calloc((size_t)vocab, sizeof *found);
  assert_true(ids && positions && found && expected);
  for (int32_t step = 0; step < steps; step++) {
    for (int32_t r = 0; r < rows_of[step]; r++) ids[r] = (r * 131 + positions[r] * 37 + 5) % vocab;
    lpu_decoder_step_of(decoder, rows_of[step], ids, positions, true, found);
    for (int32_t r = 0; r < rows_of[step]; r++) {
      assert_ok(lpu_reference_feed(reference, r, &ids[r], 1, 1, expected));
      assert_same_bits(found + (int64_t)r * vocab, expected, vocab, mode->name, r);
      positions[r]++;
    }
  }
  free(ids);
  free(positions);
  free(found);
  free(expected);
  lpu_reference_close(reference);
}

/* Whether a weight lies in the inner slices; whether two scratches share words. */
static bool is_spread(const struct td_lpu_program *program) {
  for (int32_t i = 0; i < program->image_count; i++) {
    const struct td_lpu_image *image = &program->images[i];
    if (image->kind == TD_IMAGE_WEIGHT && image->slice < lpu_weight_slice(&program->machine)) return true;
  }
  return false;
}

static bool is_shared(const struct td_lpu_program *program) {
  for (int32_t i = 0; i < program->image_count; i++) {
    if (program->images[i].owner > 0) return true;
  }
  return false;
}

/* That a step takes. */
static int32_t entries_of(const struct td_lpu_program *program, int32_t rows) {
  int32_t count = 0;
  for (int32_t entry = td_lpu_program_entry(program, rows); entry >= 0; count++) {
    entry = td_lpu_program_next(program, entry, rows);
  }
  return count;
}

static void try_layout(const struct lpu_mode *mode, const struct lpu_layout *layout, int32_t steps) {
  static const int32_t rows_of[] = {4, ROWS, 2, ROWS};
  struct td_lpu_options options = options_of(mode, ROWS);
  struct lpu_decoder decoder;
  lpu_decoder_open_laid_out(&decoder, "groq-lpu-v1", WORDS, TINY, &options, layout);
  assert_int_equal(entries_of(decoder.program, ROWS), (ROWS + layout->head_rows - 1) / layout->head_rows);
  assert_int_equal(is_spread(decoder.program), layout->spread);
  assert_int_equal(is_shared(decoder.program), layout->shared);
  compare(&decoder, mode, rows_of, steps);
  lpu_decoder_close(&decoder);
}

#ifdef td_lpu_execute
enum { STEPS = 1 }; /* every host does it again */
#elif defined TANDEM_SANITIZED
enum { STEPS = 2 };
#else
enum { STEPS = 4 };
#endif

/* Groups of rows that come out even, and ones with a rest. */
static void test_layouts(void **state) {
  (void)state;
  static const struct lpu_layout layouts[] = {{.head_rows = 3},
                                              {.shared = true, .head_rows = 1},
                                              {.shared = true, .spread = true, .head_rows = 3},
                                              {.shared = true, .spread = true, .balanced = true, .head_rows = ROWS}};
  for (size_t m = 0; m < LPU_MODES; m++) {
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
      if (STEPS == 1 && !layouts[i].spread) continue;
      try_layout(&lpu_modes[m], &layouts[i], STEPS);
    }
  }
}

/* Layers over two chips: the head's chip takes x from the links. */
static void test_chips(void **state) {
  (void)state;
  static const struct lpu_layout layout = {.shared = true, .spread = true, .head_rows = 2};
  static const int32_t rows_of[] = {3};
  struct td_lpu_options options = options_of(&lpu_modes[1], 3);
  struct lpu_decoder decoder;
  options.chips = 2;
  lpu_decoder_open_laid_out(&decoder, "groq-lpu-v1", WORDS, TINY, &options, &layout);
  compare(&decoder, &lpu_modes[1], rows_of, 1);
  lpu_decoder_close(&decoder);
}

#ifdef TANDEM_SANITIZED
enum { PREFILL = 80, PREFILL_HEAD = 30 };
#else
enum { PREFILL = 352, PREFILL_HEAD = 128 };
#endif

/* A short prefill: the rows of a step are one sequence's tokens, and each sees those before it. */
static void test_prefill(void **state) {
  (void)state;
  static const struct lpu_layout layout = {.shared = true, .head_rows = PREFILL_HEAD};
  const struct lpu_mode *mode = &lpu_modes[1];
  struct td_lpu_options options = options_of(mode, PREFILL);
  struct lpu_reference_options numbers = lpu_reference_options(mode->weights, mode->activations, PREFILL);
  struct lpu_reference *reference = NULL;
  struct lpu_decoder decoder;
  int32_t ids[PREFILL], positions[PREFILL];
  if (STEPS == 1) skip(); /* on hosts: test_layouts */
  options.block_tokens = numbers.block_tokens = 320;
  options.context = PREFILL;
  options.kv_blocks = (PREFILL + 319) / 320;
  lpu_decoder_open_laid_out(&decoder, "groq-lpu-v1", 4096, TINY, &options, &layout);
  assert_ok(lpu_reference_open(decoder.model, &numbers, &reference));
  int32_t vocab = td_model_shape(decoder.model)->vocab;
  float *found = calloc((size_t)(PREFILL * vocab), sizeof *found), *expected = calloc((size_t)vocab, sizeof *found);
  assert_true(found && expected);
  for (int32_t r = 0; r < PREFILL; r++) {
    positions[r] = r;
    ids[r] = (r * 37 + 5) % vocab;
  }
  lpu_decoder_step(&decoder, ids, positions, true, found);
  for (int32_t r = 0; r < PREFILL; r++) {
    assert_ok(lpu_reference_feed(reference, 0, &ids[r], 1, 1, expected));
    assert_same_bits(found + (int64_t)r * vocab, expected, vocab, "prefill", r);
  }
  free(found);
  free(expected);
  lpu_reference_close(reference);
  lpu_decoder_close(&decoder);
}

/* ---- the compiler's choice ---- */

/* Without weights: its places and cycles. */
static td_status compile_bare(const char *path, const struct td_lpu_options *options, int32_t words,
                              struct td_lpu_program **out_program) {
  struct td_device_params *params = NULL;
  struct td_model *model = NULL;
  struct td_graph *graph = NULL;
  assert_ok(td_device_params_open("groq-lpu-v1", &params));
  assert_ok(td_model_open(path, &model));
  assert_ok(td_graph_build(model, &graph));
  struct td_lpu_machine machine = *td_lpu_machine_of(params);
  machine.mem_words = words;
  struct td_slice whole = td_slice_whole(graph);
  td_status status = td_lpu_compile(&machine, graph, &whole, NULL, options, out_program);
  td_graph_free(graph);
  td_model_close(model);
  td_device_params_close(params);
  return status;
}

static bool fits(const struct lpu_mode *mode, int32_t rows, int32_t words) {
  struct td_lpu_program *program = NULL;
  struct td_lpu_options options = options_of(mode, rows);
  options.kv_blocks = rows * CONTEXT / TOKENS;
  td_status status = compile_bare(TINY, &options, words, &program);
  if (status && status != TD_EXHAUSTED) fail_msg("%s", td_error_text());
  td_lpu_program_free(program);
  return status == TD_OK;
}

/* In the fewest words that a model fits in, its weights are spread; in many, nothing is. */
static void test_least_words(void **state) {
  (void)state;
  static const int32_t rows_of[] = {10, 10};
  const struct lpu_mode *mode = &lpu_modes[0];
  struct td_lpu_options options = options_of(mode, 10);
  struct lpu_decoder decoder;
  int32_t low = 32, high = WORDS; /* low does not fit, high does */
  assert_false(fits(mode, 10, low));
  while (high - low > 1) {
    int32_t middle = (low + high) / 2;
    if (fits(mode, 10, middle)) {
      high = middle;
    } else {
      low = middle;
    }
  }
  lpu_decoder_open_laid_out(&decoder, "groq-lpu-v1", high, TINY, &options, NULL);
  assert_true(is_spread(decoder.program) && is_shared(decoder.program));
  compare(&decoder, mode, rows_of, STEPS == 1 ? 1 : 2);
  lpu_decoder_close(&decoder);
  lpu_decoder_open_laid_out(&decoder, "groq-lpu-v1", 8192, TINY, &options, NULL);
  assert_false(is_spread(decoder.program) || is_shared(decoder.program));
  assert_int_equal(entries_of(decoder.program, 10), 1);
  lpu_decoder_close(&decoder);
}

static int64_t cycles_of(const struct td_lpu_program *program, int32_t rows) {
  struct td_lpu_row row[16] = {{0}};
  for (int32_t r = 0; r < rows; r++) row[r].block_count = 1;
  const struct td_lpu_step step = {row, rows};
  return td_lpu_program_cycles(program, td_lpu_program_entry(program, rows), &step);
}

/* A step of few rows takes an entry of few rows: of one about as long as in a program for one. */
static void test_buckets(void **state) {
  (void)state;
  static const int32_t expected[] = {0, 1, 4, 4, 4, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16, 16};
  struct td_lpu_options options = options_of(&lpu_modes[1], 16), alone = options_of(&lpu_modes[1], 1);
  struct lpu_decoder decoder, one;
  lpu_decoder_open_laid_out(&decoder, "groq-lpu-v1", 8192, TINY, &options, NULL);
  lpu_decoder_open_laid_out(&one, "groq-lpu-v1", 8192, TINY, &alone, NULL);
  const struct td_lpu_program *program = decoder.program;
  assert_int_equal(program->entry_count, 3);
  for (int32_t rows = 1; rows <= 16; rows++) {
    assert_int_equal(program->entries[td_lpu_program_entry(program, rows)].rows, expected[rows]);
    if (rows > 1) assert_true(cycles_of(program, rows) > cycles_of(program, rows - 1));
  }
  assert_int_equal(td_lpu_program_entry(program, 17), -1);
  int64_t few = cycles_of(program, 1), least = cycles_of(one.program, 1);
  if (few * 10 > least * 11) fail_msg("found %lld cycles, alone %lld", (long long)few, (long long)least);
  lpu_decoder_close(&decoder);
  lpu_decoder_close(&one);
}

/* 64 sequences of 32 tokens with int8 weights: one chip, all but full. */
static void test_full_chip(void **state) {
  (void)state;
  const char *path = test_model_path();
  struct td_lpu_options options = {
      .weights = TD_LPU_WEIGHTS_I8, .chips = 1, .rows = 64, .block_tokens = 32, .kv_blocks = 64, .context = 32};
  struct td_lpu_program *program = NULL;
  struct td_lpu_violation violation;
  struct td_lpu_row rows[64];
  int32_t blocks[64];
  if (!path || STEPS == 1) {
    printf("SKIPPED: %s\n", path ? "nothing is executed" : "no SmolLM2 here");
    skip();
  }
  assert_ok(compile_bare(path, &options, 8192, &program));
  assert_true(is_spread(program) && is_shared(program) && program->entry_count > 1);
  /* What the entries of few rows want must not leave the head of all rows without room. */
  assert_in_range(entries_of(program, 64), 2, 8);
  for (int32_t r = 0; r < 64; r++) {
    blocks[r] = r;
    rows[r] = (struct td_lpu_row){31, &blocks[r], 1};
  }
#ifdef TANDEM_SANITIZED
  td_lpu_program_free(program);
  return; /* slow there, and small programs go the same ways */
#endif
  struct td_lpu_step step = {rows, 64};
  assert_ok(td_lpu_check(program, td_lpu_program_entry(program, 64), &step, &violation));
  if (violation.found) fail_msg("%s", violation.text);
  td_lpu_program_free(program);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_layouts), cmocka_unit_test(test_chips),
                                     cmocka_unit_test(test_prefill), cmocka_unit_test(test_least_words),
                                     cmocka_unit_test(test_buckets), cmocka_unit_test(test_full_chip)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
