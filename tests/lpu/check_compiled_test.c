/* SPDX-License-Identifier: Apache-2.0
 *
 * The checker on programs that the compiler made: mutants of each rule are named, random changes are rejected or change
 * nothing. An argument says how many random changes to try: `lpu_check_compiled 10000`.
 */
#include <stdlib.h>
#include <string.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "lpu/decoder.h"
#include "lpu/mutants_try.h"

#ifdef TANDEM_SANITIZED /* slower there, and the same code */
#define MUTANTS_ENOUGH 12
#define EACH 3
#define RANDOM_CASES 60
#else
#define MUTANTS_ENOUGH 50 /* of each rule, over all programs */
#define EACH 13           /* of each rule and program, where it has as many */
#define RANDOM_CASES 1000
#endif

struct compiled {
  const char *name;
  int32_t chips, rows;
  enum td_lpu_weights weights;
  enum td_lpu_activations activations;
  int64_t product; /* rows of a product of its own instead of a model's step */
  struct lpu_decoder decoder;
  struct td_lpu_program *program;
  struct td_lpu_step step;
  const uint8_t *sram; /* what the step starts from */
};
/* Those that offer few mutants first: the others make up for them. */
static struct compiled all[] = {
    {"a product of int8", 1, 1, TD_LPU_WEIGHTS_I8, TD_LPU_ACTIVATIONS_I8, .product = 24},
    {"a product of fp16", 1, 1, TD_LPU_WEIGHTS_F16, TD_LPU_ACTIVATIONS_F16, .product = 24},
    {"int8 in two passes on one chip", 1, 1, TD_LPU_WEIGHTS_I8, TD_LPU_ACTIVATIONS_I8X2, .product = 0},
    {"FP8 on one chip", 1, 2, TD_LPU_WEIGHTS_F8, TD_LPU_ACTIVATIONS_F8, .product = 0},
    {"fp16 on one chip", 1, 2, TD_LPU_WEIGHTS_F16, TD_LPU_ACTIVATIONS_F16, .product = 0},
    {"fp16 on int8 weights on two chips", 2, 1, TD_LPU_WEIGHTS_I8, TD_LPU_ACTIVATIONS_F16, .product = 0},
    {"int8 on two chips", 2, 2, TD_LPU_WEIGHTS_I8, TD_LPU_ACTIVATIONS_I8, .product = 0},
};
#define PROGRAMS ((int32_t)(sizeof all / sizeof *all))
static int32_t random_cases = RANDOM_CASES;

/* A step in the second and third KV block. */
static void open_step(struct compiled *one) {
  const struct td_lpu_options options = {.chips = one->chips,
                                         .rows = one->rows,
                                         .weights = one->weights,
                                         .activations = one->activations,
                                         .block_tokens = 32,
                                         .context = 96};
  lpu_decoder_open(&one->decoder, "groq-lpu-v1", TANDEM_SOURCE_DIR "/tests/data/tiny/llama.gguf", &options);
  int32_t ids[2] = {5, 9}, positions[2] = {40, 70}, vocab = td_model_shape(one->decoder.model)->vocab;
  float *logits = malloc(2 * (size_t)vocab * sizeof *logits);
  assert_non_null(logits);
  lpu_decoder_step(&one->decoder, ids, positions, true, logits);
  free(logits);
  one->program = one->decoder.program;
  one->step = (struct td_lpu_step){one->decoder.rows, one->rows};
  one->sram = one->decoder.system->sram;
}

/* Bytes that are int8 numbers, and either byte of fp16 ones below 1. */
static void fill(struct td_lpu_system *system, const struct td_lpu_image *image) {
  const struct td_lpu_machine *machine = &system->program->machine;
  uint64_t slice = (uint64_t)(image->hemisphere * machine->mem_slices / 2 + image->slice);
  size_t bytes = (size_t)image->slices * (size_t)machine->lanes;
  for (int32_t w = image->word; w < image->word + image->words; w++) {
    uint8_t *row = system->sram + ((uint64_t)w * (uint64_t)machine->mem_slices + slice) * (uint64_t)machine->lanes;
    for (size_t i = 0; i < bytes; i++) row[i] = (uint8_t)(((uint64_t)w * bytes + i) * 2654435761u >> 24 & 0x3b);
  }
}

static void open_product(struct compiled *one) {
  static const struct td_lpu_row row = {.position = 0};
  struct lpu_decoder *decoder = &one->decoder;
  enum td_lpu_type type = one->weights == TD_LPU_WEIGHTS_F16 ? TD_LPU_F16 : TD_LPU_I8;
  assert_ok(td_device_params_open("groq-lpu-v1", &decoder->params));
  assert_ok(td_lpu_compile_product(td_lpu_machine_of(decoder->params), type, one->product, 640, 640, &one->program));
  assert_ok(td_lpu_system_open(one->program, &decoder->system));
  for (int32_t i = 0; i < one->program->image_count; i++) fill(decoder->system, &one->program->images[i]);
  decoder->program = one->program;
  one->step = (struct td_lpu_step){&row, 1};
  one->sram = decoder->system->sram;
}

static int open_programs(void **state) {
  (void)state;
  for (int32_t i = 0; i < PROGRAMS; i++) (all[i].product ? open_product : open_step)(&all[i]);
  return 0;
}
static int close_programs(void **state) {
  (void)state;
  for (int32_t i = 0; i < PROGRAMS; i++) lpu_decoder_close(&all[i].decoder);
  return 0;
}

static void mutants_are_named(void **state) {
  (void)state;
  bool good = true;
  for (int rule = 0; rule < TD_LPU_RULE_COUNT; rule++) {
    struct mutant_tally sum = {0, 0};
    for (int32_t i = 0; i < PROGRAMS; i++) {
      int32_t share = (MUTANTS_ENOUGH - sum.made) / (PROGRAMS - i) + 1, most = share > EACH ? share : EACH;
      struct mutant_tally tally = mutant_try_rule(all[i].program, &all[i].step, (enum td_lpu_rule)rule, most);
      sum.made += tally.made;
      sum.named += tally.named;
    }
    printf("%-8s %3d mutants, %3d named\n", td_lpu_rule_name((enum td_lpu_rule)rule), sum.made, sum.named);
    good = good && sum.named == sum.made && sum.made >= MUTANTS_ENOUGH;
  }
  assert_true(good);
}

static void random_changes_show(void **state) {
  (void)state;
  int32_t neither = 0, share = (random_cases + PROGRAMS - 1) / PROGRAMS;
  for (int32_t i = 0; i < PROGRAMS; i++) {
    printf("%s: ", all[i].name);
    neither += mutant_try_random(all[i].program, &all[i].step, all[i].sram, (uint32_t)(i * share), share);
  }
  assert_int_equal(neither, 0);
}

/* A program for another machine: its first FP8 is named. */
static void fp8_is_the_machines(void **state) {
  (void)state;
  struct compiled *one = all;
  while (one->weights != TD_LPU_WEIGHTS_F8) one++;
  struct td_lpu_violation found;
  int32_t entry = td_lpu_program_entry(one->program, one->rows);
  one->program->machine.fp8 = 0;
  assert_ok(td_lpu_check(one->program, entry, &one->step, &found));
  one->program->machine.fp8 = 1;
  assert_true(found.found);
  assert_int_equal(found.rule, TD_RULE_WIDTH);
  assert_non_null(strstr(found.text, "found FP8, which groq-lpu-v1 does not have"));
}

int main(int argc, char **argv) {
#ifdef __GLIBC__ /* thousands of checks take and give back the same memory: keep it, but for SRAM */
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 1 << 30);
#endif
  const struct CMUnitTest tests[] = {cmocka_unit_test(fp8_is_the_machines), cmocka_unit_test(mutants_are_named),
                                     cmocka_unit_test(random_changes_show)};
  if (argc > 1) random_cases = atoi(argv[1]);
  return cmocka_run_group_tests(tests, open_programs, close_programs);
}
